//! `headwater mirror …`: what is kept of upstreams, and what is refused.

use super::kit::House;

#[test]
fn upstreams_are_added_shown_changed_and_forgotten() {
    let house = House::new();
    let url = "https://somebody:hidden@images.example/p/team";
    let made =
        house.run(&["mirror", "add", "up", url, "--filter", "latest=2 arch=amd64", "--keep", "3", "--public"]).ok();
    assert!(made.err.starts_with("added the upstream up, https://images.example: "), "{}", made.err);
    let shown = house.run(&["mirror", "show", "up", "--format", "json"]).json();
    assert_eq!(shown["filter"], "arch=amd64 latest=2");
    assert_eq!((&shown["keep"], &shown["public"], &shown["signed"]), (&3.into(), &true.into(), &false.into()));
    assert_eq!((&shown["schedule"], &shown["grace"]), (&"6h".into(), &"24h".into()));
    for list in [["mirror", "list"], ["mirror", "show"]] {
        let shown = house.run(if list[1] == "show" { &["mirror", "show", "up"] } else { &["mirror", "list"] }).ok().out;
        assert!(shown.contains("somebody:…@images.example") && !shown.contains("hidden"), "{shown}");
    }
    assert_eq!(house.run(&["mirror", "status"]).ok().cells()[1][..2], ["up", "never run"]);
    house.run(&["mirror", "edit", "up", "--schedule", "0s", "--keep", "5"]).ok();
    let shown = house.run(&["mirror", "show", "up", "--format", "json"]).json();
    assert_eq!((&shown["keep"], &shown["schedule"], &shown["public"]), (&5.into(), &"0s".into(), &true.into()));
    assert_eq!(shown["filter"], "arch=amd64 latest=2", "what is not named stays");
    house.run(&["mirror", "remove", "up"]).ok();
    house
        .run(&["mirror", "show", "up"])
        .fails(1, "there is no upstream \"up\"; `headwater mirror list` shows the ones there are");
}

#[test]
fn what_an_upstream_cannot_have_is_refused() {
    let house = House::new();
    house.run(&["mirror", "add", "up", "http://images.example"]).fails(
        1,
        "\"http://images.example\" is no address that images can be fetched from; give one that begins with https://",
    );
    let fields = ["mirror", "add", "up", "https://images.example", "--protocol", "lxd", "--filter", "ftype=squashfs"];
    house.run(&fields).fails(
        2,
        "an upstream of the protocol lxd has no fields of files; use os=, release=, variant=, arch=, type=, alias= and latest= alone",
    );
    house.run(&["mirror", "add", "up", "https://images.example", "--protocol", "lxd", "--filter", "os=debian"]).ok();
    let edited = house.run(&["mirror", "edit", "up", "--filter", "release~x"]);
    assert_eq!(edited.code, Some(2), "{}", edited.err);
    let shown = house.run(&["mirror", "show", "up", "--format", "json"]).json();
    assert_eq!(shown["filter"], "os=debian", "and nothing was changed");
}

#[test]
fn lazy_upstreams_have_limits_and_no_api() {
    let house = House::new();
    let add = ["mirror", "add", "up", "https://images.example", "--schedule", "0s"];
    let limits = [&add[..], &["--cache-size", "50GiB"]].concat();
    house.run(&limits).fails(
        2,
        "only files that come when somebody asks for them can go again; give --lazy as well, or leave --cache-size and --cache-age out",
    );
    let api = [&add[..], &["--lazy", "--protocol", "incus"]].concat();
    house.run(&api).fails(
        2,
        "an upstream of the protocol incus does not say which files an image is made of before it sends them, so that it cannot be lazy; \
         use its simplestreams, or leave --lazy out",
    );
    house.run(&[&add[..], &["--lazy", "--cache-size", "50GiB", "--cache-age", "30d"]].concat()).ok();
    let shown = || house.run(&["mirror", "show", "up", "--format", "json"]).json();
    assert_eq!((&shown()["lazy"], &shown()["cache_age"]), (&true.into(), &"30d".into()));
    assert_eq!(shown()["cache_size_bytes"], 50_u64 << 30);
    assert_eq!(house.run(&["mirror", "list"]).ok().cells()[1].last(), Some(&"yes"));
    let status = house.run(&["mirror", "status", "--format", "json"]).json();
    assert_eq!(status[0]["held"], serde_json::json!({"files": 0, "bytes": 0, "of_files": 0, "of_bytes": 0}));
    house.run(&["mirror", "edit", "up", "--cache-size", "0"]).ok();
    assert_eq!((&shown()["cache_size_bytes"], &shown()["cache_age"]), (&0.into(), &"30d".into()));
    house.run(&["mirror", "edit", "up", "--lazy", "off"]).ok();
    assert_eq!(shown()["lazy"], false);
    let said = house.run(&["mirror", "add", "two", "https://images.example", "--lazy", "--cache-size", "50"]);
    assert!(
        said.code == Some(2) && said.err.contains("write a number and a unit, KiB, MiB, GiB or TiB"),
        "{}",
        said.err
    );
}
