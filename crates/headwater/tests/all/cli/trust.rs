//! `headwater trust …`

use headwater::cli::now;
use headwater::http::tls::Files;
use headwater_formats::lxd::JoinToken;
use serde_json::json;

use super::kit::House;

/// A house whose server has run once, with the project `team`.
fn house() -> House {
    let house = House::new();
    house.run(&["project", "create", "team"]).ok();
    Files::in_data(&house.data()).make_if_missing("images.example", now()).unwrap();
    house
}

/// A client's certificate in PEM.
fn client(name: &str) -> rcgen::Certificate {
    let mut parameters = rcgen::CertificateParams::default();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
    parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap()
}

const HERE: [&str; 2] = ["--address", "images.example:8443"];

fn add(house: &House, arguments: &[&str]) -> super::kit::Ran {
    house.run(&[&["trust", "add"], arguments, &HERE].concat())
}

#[test]
fn a_word_is_printed_that_clients_take() {
    let house = house();
    let ran = add(&house, &["laptop", "--project", "team=publisher", "--address", "192.0.2.7:443"]).ok();
    assert_eq!(ran.out.lines().count(), 1, "nothing but the word: {}", ran.out);
    let word: JoinToken = ran.out.parse().unwrap();
    assert_eq!((word.client_name.as_str(), word.secret.len()), ("laptop", 64));
    assert_eq!(word.addresses, ["192.0.2.7:443", "images.example:8443"]);
    let certificate = house.read("data/tls/server.crt");
    let (_, pem) = x509_parser::pem::parse_x509_pem(&certificate).unwrap();
    assert_eq!(word.fingerprint, super::kit::fingerprint(&[&pem.contents]));
    let left = word.expires_at.0.unwrap().unix() - now().unix();
    assert!((86_300..=86_400).contains(&left), "a day: {left}");
    for words in ["lxc remote add headwater TOKEN", "incus remote add headwater TOKEN", "team publisher own"] {
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
    }
    assert!(!ran.err.contains(&word.secret), "talk may end in logs");

    let json = add(&house, &["ci", "--administrator", "--expires", "30m", "--format", "json"]).json();
    let word: JoinToken = json["token"].as_str().unwrap().parse().unwrap();
    assert_eq!((&json["name"], &json["administrator"], &json["grants"]), (&"ci".into(), &true.into(), &json!([])));
    assert_eq!(json["expires_at"], word.expires_at.to_string());
    assert_eq!(add(&house, &["x", "--administrator", "--quiet"]).ok().err, "");
}

#[test]
fn tokens_that_wait_are_listed_and_taken_back() {
    let house = house();
    add(&house, &["laptop", "--project", "team", "--expires", "never"]).ok();
    add(&house, &["ci", "--administrator"]).ok();
    let ran = house.run(&["trust", "list"]).ok();
    let cells = ran.cells();
    assert_eq!(cells[0], ["NAME", "KIND", "ID", "MAY", "EXPIRES", "LAST USED"]);
    assert_eq!((cells[1][..2].to_vec(), cells[1][3]), (vec!["ci", "join token"], "administrator"));
    assert_eq!((cells[2][0], cells[2][3], cells[2][4]), ("laptop", "team viewer", ""));
    let shown = house.run(&["trust", "show", "laptop", "--format", "json"]).json();
    assert_eq!(shown["grants"], json!([{"project": "team", "role": "viewer", "manages": "own"}]));
    assert_eq!((&shown["kind"], &shown["certificate"]), (&"join token".into(), &json!(null)));
    let id = shown["id"].as_str().unwrap();
    assert_eq!(
        house.run(&["trust", "remove", &id[..9]]).ok().err,
        "the token for laptop is good for nothing any more\n"
    );
    let why = "this is a token that nobody has used yet, which cannot be changed; remove it and make another one";
    house.run(&["trust", "edit", "ci", "--name", "x"]).fails(1, why);
    house.run(&["trust", "rm", "ci"]).ok();
    assert_eq!(house.run(&["trust", "ls", "--format", "json"]).json(), json!([]));
    let audit = house.run(&["audit", "--format", "json"]).json();
    let actions: Vec<&str> = audit.as_array().unwrap().iter().map(|line| line["action"].as_str().unwrap()).collect();
    let expected = ["join-token-created", "join-token-created", "join-token-revoked", "join-token-revoked"];
    assert_eq!(actions[actions.len() - 4..], expected);
    assert_eq!(audit[actions.len() - 1]["actor_kind"], "operator");
}

#[test]
fn certificates_in_files_are_known_at_once() {
    let house = house();
    let (one, two) = (client("one"), client("two"));
    house.file("one.crt", one.pem().as_bytes());
    house.file("two.crt", one.der());
    let fingerprint = super::kit::fingerprint(&[one.der()]);
    let ran = house.run(&["trust", "add", "anna", "--project", "team", "--certificate", "one.crt"]).ok();
    assert_eq!(
        (ran.out.trim_end(), ran.err),
        (&*fingerprint, format!("anna is known by the certificate {fingerprint}\n"))
    );
    house
        .run(&["trust", "add", "anna", "--administrator", "--certificate", "two.crt"])
        .fails(1, &format!("{fingerprint} is known here already; remove it first, or change what it may do"));
    house.file("two.crt", two.der());
    let json =
        house.run(&["trust", "add", "anna", "--administrator", "--certificate", "two.crt", "--format", "json"]).json();
    assert_eq!((&json["kind"], &json["administrator"]), (&"certificate".into(), &true.into()));
    assert_eq!(json["expires_at"], json!(null));

    let ran = house.run(&["trust", "show", "anna"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("\"anna\" may be anna ("), "{}", ran.err);
    assert!(ran.err.ends_with("name one of them by what stands in brackets\n"), "{}", ran.err);
    let shown = house.run(&["trust", "show", &fingerprint[..10], "--format", "json"]).json();
    assert_eq!(
        (&shown["id"], &shown["certificate"]),
        (&fingerprint.as_str().into(), &one.pem().replace("\r\n", "\n").into())
    );
    let ran = house.run(&["trust", "remove", &fingerprint]).ok();
    assert_eq!(ran.err, format!("anna ({}) is not known any more\n", &fingerprint[..12]));
    assert_eq!(house.run(&["trust", "list", "--format", "json"]).json().as_array().unwrap().len(), 1);

    house.file("no.crt", b"no certificate");
    let ran = house.run(&["trust", "add", "x", "--administrator", "--certificate", "no.crt"]);
    assert!(ran.err.starts_with("Error: this is no certificate; give the client's client.crt"), "{}", ran.err);
    let ran = house.run(&["trust", "add", "x", "--administrator", "--certificate", "missing.crt"]);
    assert!(ran.err.starts_with("Error: missing.crt: No such file"), "{}", ran.err);
}

#[test]
fn what_a_client_may_do_is_changed() {
    let house = house();
    house.file("one.crt", client("one").pem().as_bytes());
    house.run(&["trust", "add", "anna", "--project", "team", "--certificate", "one.crt"]).ok();
    let edited = |arguments: &[&str]| house.run(&[&["trust", "edit", "anna"], arguments].concat()).ok().err;
    let both = edited(&["--project", "team=admin", "--project", "default", "--role", "publisher", "--all-images"]);
    assert_eq!(both, "anna may: default publisher all, team admin\n");
    assert_eq!(edited(&["--description", "Anna's", "--expires", "2100-01-01"]).lines().count(), 1);
    let shown = house.run(&["trust", "show", "anna", "--format", "json"]).json();
    assert_eq!((&shown["description"], &shown["expires_at"]), (&"Anna's".into(), &"2100-01-01T00:00:00Z".into()));
    assert_eq!(shown["grants"].as_array().unwrap().len(), 2, "what is not named stays");
    assert_eq!(edited(&["--administrator", "--expires", "never"]), "anna may: administrator\n");
    assert_eq!(edited(&["--project", "team"]), "anna may: team viewer\n", "no administrator any more");
    let why = "say what to change: --name, --description, --project with --role, --administrator or --expires";
    house.run(&["trust", "edit", "anna"]).fails(2, why);
    edited(&["--name", "Anna B."]);
    let why = "nothing here is called \"anna\", or known by that; `headwater trust list` shows what there is";
    house.run(&["trust", "edit", "anna", "--administrator"]).fails(1, why);
}

#[test]
fn what_makes_no_sense_is_told() {
    let house = house();
    let why = "say what \"ci\" may do: --project PROJECT (with --role publisher or --role admin for more than seeing and \
               downloading), or --administrator for everything";
    add(&house, &["ci"]).fails(2, why);
    let nowhere = "there is no project \"nowhere\"; `headwater project list` shows the ones there are";
    add(&house, &["ci", "--project", "nowhere"]).fails(1, nowhere);
    let over = "--expires names a moment that is over; name one that is to come";
    add(&house, &["ci", "--administrator", "--expires", "2020-01-01"]).fails(2, over);
    let publishers = "--all-images is for publishers: a viewer changes nothing, and an admin changes all images anyway";
    add(&house, &["ci", "--project", "team", "--all-images"]).fails(2, publishers);
    for (arguments, words) in [
        (
            vec!["ci", "--project", "team=owner"],
            "there is no role \"owner\"; the roles are viewer, publisher and admin",
        ),
        (vec!["ci", "--project", "a/b"], "a project name may not hold '/'"),
        (vec!["ci", "--role", "admin"], "--project"),
        (vec!["ci", "--administrator", "--project", "team"], "cannot be used with"),
        (vec!["", "--administrator"], "a name has at least one character"),
        (vec!["a\nb", "--administrator"], "a name holds no control characters"),
        (vec!["ci", "--administrator", "--expires", "soon"], "write how long it is good, as 90d, 24h or 30m"),
        (vec!["ci", "--administrator", "--address", "https://x"], "write a host and a port"),
    ] {
        let ran = add(&house, &arguments);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(ran.err.starts_with("Error: ") && ran.err.contains(words), "{words}: {}", ran.err);
    }
    assert_eq!(house.run(&["trust", "list", "--format", "json"]).json(), json!([]), "and nothing is left of it");

    let fresh = House::new();
    fresh.run(&["project", "create", "team"]).ok();
    let why = "the server has no certificate yet, by which clients would know it; start `headwater serve` once, then try again";
    add(&fresh, &["ci", "--administrator"]).fails(1, why);
}

#[test]
fn addresses_come_from_the_configuration() {
    let house = house();
    house.file("headwater.toml", b"server_name = \"images.example\"\nlisten = [\"192.0.2.7:8443\"]");
    let word = |options: &[&str]| -> JoinToken {
        house.run(&[&["trust", "add", "x", "--administrator"], options].concat()).ok().out.parse().unwrap()
    };
    assert_eq!(word(&["--config", "headwater.toml"]).addresses, ["192.0.2.7:8443"]);
    house.file("headwater.toml", b"addresses = [\"images.example:443\"]");
    assert_eq!(word(&["--config", "headwater.toml"]).addresses, ["images.example:443"]);
    assert_eq!(word(&["--config", "headwater.toml", "--address", "x:1"]).addresses, ["x:1"]);
}
