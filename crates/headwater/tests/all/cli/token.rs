//! `headwater token …`

use headwater::auth::Secret;
use serde_json::json;

use super::kit::House;

#[test]
fn a_token_is_shown_once() {
    let house = House::new();
    house.run(&["project", "create", "team"]).ok();
    let ran = house
        .run(&[
            "token",
            "create",
            "ci",
            "--project",
            "team",
            "--role",
            "publisher",
            "--expires",
            "90d",
            "--address",
            "x.example:8443",
        ])
        .ok();
    let secret = Secret::parse(ran.out.trim_end()).unwrap();
    assert_eq!(ran.out, format!("{}\n", secret.expose()));
    for words in [
        format!("https://x.example:8443/t/{}", secret.expose()),
        format!("https://token:{}@x.example:8443", secret.expose()),
        format!("Authorization: Bearer {}", secret.expose()),
        "It may: team publisher own".to_owned(),
    ] {
        assert!(ran.err.contains(&words), "{words}: {}", ran.err);
    }
    let ran = house.run(&["token", "list"]).ok();
    let cells = ran.cells();
    assert_eq!(cells[0], ["TOKEN", "NAME", "MAY", "EXPIRES", "LAST USED"]);
    assert_eq!(cells[1][..3], [secret.prefix(), "ci", "team publisher own"]);
    let json = house.run(&["token", "list", "--format", "json"]).json();
    assert_eq!(json[0]["grants"], json!([{"project": "team", "role": "publisher", "manages": "own"}]));
    assert!(!json.to_string().contains(secret.expose()), "it is kept nowhere");
    let file = house.read("data/catalog.db");
    assert!(!file.windows(43).any(|window| window == secret.expose().as_bytes()), "it is kept nowhere");

    let json = house.run(&["token", "create", "all", "--administrator", "--format", "json"]).json();
    assert!(Secret::parse(json["token"].as_str().unwrap()).is_ok());
    assert_eq!(
        (&json["name"], &json["administrator"], &json["expires_at"]),
        (&"all".into(), &true.into(), &json!(null))
    );
}

#[test]
fn tokens_are_revoked_by_any_of_their_names() {
    let house = House::new();
    house.run(&["project", "create", "team"]).ok();
    let make = |name| {
        let ran = house.run(&["token", "create", name, "--project", "team"]).ok();
        Secret::parse(ran.out.trim_end()).unwrap()
    };
    let [one, two, three] = ["one", "two", "three"].map(make);
    let ran = house.run(&["token", "revoke", "one", two.prefix(), three.expose()]).ok();
    let expected: Vec<String> = [("one", &one), ("two", &two), ("three", &three)]
        .map(|(name, secret)| format!("the token {name} ({}) is good for nothing any more", secret.prefix()))
        .into();
    assert_eq!(ran.err.lines().collect::<Vec<_>>(), expected);
    assert_eq!(house.run(&["token", "ls", "--format", "json"]).json(), json!([]));
    let why = "nothing here is called \"one\", or known by that; `headwater token list` shows what there is";
    house.run(&["token", "revoke", "one"]).fails(1, why);
    let audit = house.run(&["audit", "--format", "json"]).json();
    let last = audit.as_array().unwrap().last().unwrap();
    assert_eq!((&last["action"], &last["subject"]), (&"token-revoked".into(), &three.prefix().into()));
}

#[test]
fn a_token_is_bound_to_a_view() {
    let house = House::new();
    house.run(&["project", "create", "team"]).ok();
    house
        .run(&["token", "create", "kiosk", "--view", "arm"])
        .fails(1, "there is no view \"arm\"; `headwater view list` shows the ones there are");
    house.run(&["view", "create", "arm", "--filter", "arch=arm64", "--project", "team"]).ok();
    let ran = house.run(&["token", "create", "kiosk", "--view", "arm"]).ok();
    assert!(ran.err.contains("It sees what the view arm lets pass, and is not taken by the API"), "{}", ran.err);
    assert!(!ran.err.contains("Bearer"), "{}", ran.err);
    let json = house.run(&["token", "list", "--format", "json"]).json();
    assert_eq!(json[0]["view"], "arm");
    assert_eq!(json[0]["grants"], json!([{"project": "team", "role": "viewer", "manages": "own"}]));
    assert_eq!(house.run(&["token", "list"]).ok().cells()[1][2], "view arm");
    let ran = house.run(&["token", "create", "x", "--view", "arm", "--project", "team"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("cannot be used with"), "{}", ran.err);
    let why = "the view \"arm\" is what tokens are bound to; revoke them first (`headwater token list` shows them)";
    house.run(&["view", "delete", "arm"]).fails(1, why);
    house.run(&["token", "create", "ci"]).fails(
        2,
        "say what \"ci\" may do: --project PROJECT (with --role publisher or --role admin for more than seeing and \
         downloading), or --administrator for everything",
    );
}
