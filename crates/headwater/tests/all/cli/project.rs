//! `headwater project …`

use serde_json::Value;

use super::kit::{House, Sample};

#[test]
fn projects_are_made_listed_and_deleted() {
    let house = House::new();
    let ran = house.run(&["project", "create", "team-a", "--description", "Images of team A"]).ok();
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", "made the project team-a\n"));
    house.publish(&Sample::default(), &["--project", "team-a"]);
    let ran = house.run(&["project", "list"]).ok();
    let cells = ran.cells();
    assert_eq!(cells[0], ["NAME", "IMAGES", "DESCRIPTION", "REPACK", "CREATED"]);
    assert_eq!(cells[1], ["default", "0", "", "", ""]);
    assert_eq!(cells[2][..3], ["team-a", "1", "Images of team A"]);
    let json = house.run(&["project", "list", "--format", "json"]).json();
    assert_eq!((&json[1]["name"], &json[1]["images"]), (&"team-a".into(), &1.into()));

    house.run(&["project", "create", "team-a"]).fails(1, "there is a project \"team-a\" already; choose another name");
    let ran = house.run(&["project", "delete", "team-a"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    assert!(ran.err.starts_with("Error: ") && ran.err.contains("team-a"), "{}", ran.err);
    let image = house.run(&["image", "list", "--project", "team-a", "--format", "json"]).json();
    let fingerprint = image[0]["fingerprint"].as_str().unwrap();
    house.run(&["image", "delete", fingerprint, "--project", "team-a"]).ok();
    assert_eq!(house.run(&["project", "delete", "team-a"]).ok().err, "deleted the project team-a\n");
    house
        .run(&["project", "delete", "team-a"])
        .fails(1, "there is no project \"team-a\"; `headwater project list` shows the ones there are");
    let ran = house.run(&["project", "delete", "default"]);
    assert_eq!(ran.code, Some(1));
    let ran = house.run(&["project", "create", "a/b"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("a project name may not hold '/'"), "{}", ran.err);
}

#[test]
fn a_project_is_renamed_and_described_with_what_is_in_it() {
    let house = House::new();
    house.run(&["project", "create", "team-a"]).ok();
    let image = house.publish(&Sample::default(), &["--project", "team-a"]);
    let ran = house.run(&["project", "rename", "team-a", "team-b"]).ok();
    assert_eq!(ran.err, "renamed the project team-a to team-b\n");
    let ran = house.run(&["project", "describe", "team-b", "Images of team B"]).ok();
    assert_eq!(ran.err, "changed the description of the project team-b\n");
    let json = house.run(&["project", "list", "--format", "json"]).json();
    assert_eq!((&json[1]["name"], &json[1]["description"]), (&"team-b".into(), &"Images of team B".into()));
    let images = house.run(&["image", "list", "--project", "team-b", "--format", "json"]).json();
    assert_eq!(images[0]["fingerprint"], image.as_str());

    let gone = "there is no project \"team-a\"; `headwater project list` shows the ones there are";
    house.run(&["project", "describe", "team-a", "x"]).fails(1, gone);
    house.run(&["project", "rename", "team-a", "x"]).fails(1, gone);
    house
        .run(&["project", "rename", "team-b", "default"])
        .fails(1, "there is a project \"default\" already; choose another name");
    house
        .run(&["project", "rename", "default", "x"])
        .fails(1, "the project \"default\" cannot be renamed; it is the one that is meant where none is named");
}

#[test]
fn whether_a_project_packs_anew_is_set_shown_and_told() {
    let house = House::new();
    house.run(&["project", "create", "team-a", "--repack", "on"]).ok();
    assert_eq!(house.run(&["project", "list"]).ok().cells()[2][..4], ["team-a", "0", "", "on"]);
    let shown = house.run(&["project", "show", "team-a", "--format", "json"]).json();
    assert_eq!((&shown["name"], &shown["repack"]), (&"team-a".into(), &true.into()));
    let ran = house.run(&["project", "edit", "team-a", "--repack", "off", "--description", "Ours"]).ok();
    assert_eq!(ran.err, "changed the project team-a\n");
    let shown = house.run(&["project", "show", "team-a"]).ok().out;
    assert!(shown.contains("repack: false\n") && shown.contains("description: Ours\n"), "{shown}");
    let lines = house.run(&["audit", "--format", "json"]).json();
    let detail: Vec<_> = lines.as_array().unwrap().iter().map(|line| line["detail"]["repack"].clone()).collect();
    assert_eq!(detail, [Value::Null, "on".into(), Value::Null, "off".into()]);
    // What stays as it is, is no line of the audit.
    house.run(&["project", "edit", "team-a", "--repack", "off"]).ok();
    assert_eq!(house.run(&["audit", "--format", "json"]).json().as_array().unwrap().len(), 4);
    house
        .run(&["project", "edit", "team-a"])
        .fails(2, "nothing to change; give --description, --repack, --keep, --keep-days or --keep-aliased");
    let gone = "there is no project \"team-b\"; `headwater project list` shows the ones there are";
    house.run(&["project", "edit", "team-b", "--repack", "on"]).fails(1, gone);
    house.run(&["project", "show", "team-b"]).fails(1, gone);
}

#[test]
fn rules_let_images_go_and_say_beforehand_which() {
    let house = House::new();
    let serials = ["20250101_07:42", "20250102_07:42", "20250103_07:42"];
    house.run(&["project", "create", "ci", "--keep-aliased"]).ok();
    let of = |serial| Sample { serial, ..Sample::default() };
    let published: Vec<String> = serials
        .iter()
        .map(|serial| house.publish(&of(serial), &["--project", "ci", "--alias", &format!("at-{}", &serial[..8])]))
        .collect();
    house.publish(&Sample { os: "", ..Sample::default() }, &["--project", "ci"]);
    house.run(&["alias", "delete", "at-20250102", "--project", "ci"]).ok();

    // Nothing goes without a rule by which it would.
    let none = "ci has no rule by which images go; `headwater project edit ci --keep 5` makes one\n";
    for options in [&["project", "prune", "ci"][..], &["project", "prune", "ci", "--quiet"]] {
        house.run(options).ok();
    }
    let ran = house.run(&["project", "prune", "ci", "--dry-run"]).ok();
    assert_eq!(ran.err, none);
    assert!(ran.cells()[1..].iter().all(|row| row[5..] == ["keep", "there is no rule"]), "{}", ran.out);

    house.run(&["project", "edit", "ci", "--keep", "1"]).ok();
    let shown = house.run(&["project", "show", "ci", "--format", "json"]).json();
    assert_eq!((&shown["keep"], &shown["keep_days"], &shown["keep_aliased"]), (&1.into(), &0.into(), &true.into()));
    let ran = house.run(&["project", "prune", "ci", "--dry-run"]).ok();
    assert_eq!(
        ran.err,
        "would delete 1 image of 3, 3.00KiB\n1 image stays whatever the rules say, because it is of no product: without os and release \
         there are no versions\n"
    );
    let cells = ran.cells();
    assert_eq!(cells[0], ["PRODUCT", "VERSION", "TYPE", "FINGERPRINT", "SIZE", "ACTION", "WHY"]);
    let product = "debian:bookworm:amd64:default";
    let row = |number: usize, action, why| {
        vec![product, serials[number], "container", &published[number][..12], "3.00KiB", action, why]
    };
    assert_eq!(cells[1], row(0, "keep", "the alias at-20250101 leads to it"));
    assert_eq!(cells[2], row(1, "remove", "no rule keeps it"));
    assert_eq!(cells[3], row(2, "keep", "the newest version"));
    let json = house.run(&["project", "prune", "ci", "--dry-run", "--format", "json"]).json();
    let told: Vec<_> = json.as_array().unwrap().iter().map(|row| (row["action"].clone(), row["why"].clone())).collect();
    let pair = |action: &str, why: &str| (Value::from(action), Value::from(why));
    assert_eq!(told, [pair("keep", "aliased"), pair("remove", "over"), pair("keep", "newest")]);
    assert_eq!((&json[1]["fingerprint"], &json[1]["size"]), (&published[1].as_str().into(), &3072.into()));
    // Age counts, too: all came today.
    house.run(&["project", "set", "ci", "--keep-days", "30"]).ok();
    let json = house.run(&["project", "prune", "ci", "--dry-run", "--format", "json"]).json();
    assert_eq!((&json[0]["why"], &json[2]["why"]), (&"young".into(), &"newest".into()));
    let ran = house.run(&["project", "prune", "ci"]).ok();
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", "deleted 0 images of 3, 0B\n"));

    house.run(&["project", "edit", "ci", "--keep-days", "0", "--keep-aliased", "off"]).ok();
    let ran = house.run(&["project", "prune", "ci", "--format", "json"]).ok();
    assert_eq!(ran.err, "deleted 2 images of 3, 6.00KiB\n");
    let json = ran.json();
    let gone: Vec<_> = json.as_array().unwrap().iter().map(|row| row["fingerprint"].as_str().unwrap()).collect();
    assert_eq!(gone, &published[..2]);
    let images = house.run(&["image", "list", "--project", "ci", "--format", "json"]).json();
    assert_eq!(images.as_array().unwrap().len(), 2);
    let audit = house.run(&["audit", "--image", &published[0], "--format", "json"]).json();
    let last = audit.as_array().unwrap().last().unwrap();
    assert_eq!((&last["action"], &last["detail"]["rule"]), (&"image-deleted".into(), &"keep=1".into()));
    let gone = "there is no project \"none\"; `headwater project list` shows the ones there are";
    house.run(&["project", "prune", "none"]).fails(1, gone);
    house.run(&["project", "edit", "none", "--keep", "1"]).fails(1, gone);
}

#[test]
fn a_rule_that_lets_nothing_go_says_so() {
    let house = House::new();
    let ran = house.run(&["project", "create", "ci", "--keep-aliased"]).ok();
    let said = "nothing of ci goes by itself, whatever leads to it; --keep or --keep-days says what does\nmade the project ci\n";
    assert_eq!(ran.err, said);
}
