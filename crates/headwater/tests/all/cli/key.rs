//! `headwater key …`

use headwater::openpgp::{KeyError, StreamKey};
use headwater_formats::timestamp::Timestamp;

use super::kit::{House, Sample};

#[test]
fn keys_are_listed_and_rotated_and_never_shown() {
    let house = House::new();
    house.publish(&Sample::default(), &[]);
    assert_eq!(house.run(&["key", "list", "--format", "json"]).json(), serde_json::json!([]));
    let ran = house.run(&["key", "rotate"]).ok();
    assert!(
        ran.err.ends_with("signs addresses of files from now on; those signed before end within 25 hours\n"),
        "{ran:?}"
    );
    house.run(&["key", "rotate"]).ok();
    let listed = house.run(&["key", "list"]).ok();
    let cells = listed.cells();
    assert_eq!(cells[0], ["KEY", "KIND", "NAME", "CREATED", "EXPIRES", "SIGNS"]);
    assert_eq!(cells[1][1], "address");
    let mut signs = [cells[1][5], cells[2][5]];
    // Tables are sorted by their first cell, and ids are random.
    signs.sort_unstable();
    assert_eq!((cells.len(), signs), (3, ["NO", "YES"]));
    assert_eq!(cells[1][0].len(), 8);
    let ran = house.run(&["key", "rotate", "--revoke-old"]).ok();
    assert!(ran.err.ends_with("those signed before are good no more\n"), "{ran:?}");
    let json = house.run(&["key", "list", "--format", "json"]).json();
    assert_eq!((json.as_array().unwrap().len(), &json[0]["signs"]), (1, &true.into()));
    assert!(ran.err.contains(json[0]["id"].as_str().unwrap()), "{ran:?}");
    let fields: Vec<&String> = json[0].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["created_at", "id", "kind", "signs"], "and nothing that signs");
}

fn testdata(file: &str) -> String {
    format!("{}/src/openpgp/testdata/{file}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_key_for_streams_is_made_followed_by_another_and_deleted() {
    let house = House::new();
    let ran = house.run(&["key", "create"]).ok();
    let first = ran.out.trim().to_owned();
    assert!(first.len() == 40 && first.bytes().all(|b| b.is_ascii_hexdigit()), "{ran:?}");
    assert!(ran.err.contains("was made and signs streams from now on"), "{ran:?}");
    let ran = house.run(&["key", "create", "--name", "Next <next@example.com>", "--format", "json"]).ok();
    let said = ran.err.clone();
    let json = ran.json();
    let next = json["id"].as_str().unwrap().to_owned();
    assert_eq!((&json["signs"], &json["kind"]), (&false.into(), &"stream".into()));
    assert!(said.contains(&format!("`headwater key use {}` says so", &next[24..])), "{said}");
    let signing = || -> Vec<(String, bool)> {
        let json = house.run(&["key", "list", "--format", "json"]).json();
        let rows = json.as_array().unwrap().iter();
        rows.map(|row| (row["id"].as_str().unwrap().to_owned(), row["signs"] == true)).collect()
    };
    assert_eq!(signing(), [(first.clone(), true), (next.clone(), false)]);

    house.run(&["key", "use", &next[30..]]).ok();
    assert_eq!(signing(), [(next.clone(), true), (first.clone(), false)]);
    house.run(&["key", "delete", &next]).fails(
        1,
        &format!(
            "the key {next} signs the streams; let another one sign first (`headwater key use`), or give --force: \
             then nothing is signed any more"
        ),
    );
    house.run(&["key", "delete", &format!("0x{}", first[24..].to_lowercase())]).ok();
    let ran = house.run(&["key", "delete", &next, "--force"]).ok();
    assert!(ran.err.ends_with("is gone; streams are not signed any more\n"), "{ran:?}");
    assert_eq!(signing(), []);
    house
        .run(&["key", "use", &next])
        .fails(1, &format!("there is no key \"{next}\" for streams; `headwater key list` shows the ones there are"));
    let ran = house.run(&["key", "use", "abc"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("\"abc\" is too short to name a key"), "{ran:?}");
}

#[test]
fn a_key_is_brought_with_its_passphrase() {
    let house = House::new();
    let file = testdata("ed25519-with-passphrase.asc");
    house
        .run(&["key", "import", &file])
        .fails(1, "the key is protected by a passphrase; give a file that holds it with --passphrase-file");
    house.file("pass", b"correct horse\nand more\n");
    house.file("wrong", b"correct pony\n");
    house
        .run(&["key", "import", &file, "--passphrase-file", "wrong"])
        .fails(1, "the passphrase does not open the key; check the file");
    let ran = house.run(&["key", "import", &file, "--passphrase-file", "pass"]).ok();
    assert_eq!(ran.out, "D0E1458D452BC3503A25760F622877F184542C3C\n");
    assert!(ran.err.contains("was imported and signs streams from now on"), "{ran:?}");
    house.run(&["key", "import", &file, "--passphrase-file", "pass"]).fails(
        1,
        "the key D0E1458D452BC3503A25760F622877F184542C3C is here already; `headwater key list` shows the ones there are",
    );
    let bytes = std::fs::read(testdata("rsa3072.asc")).unwrap();
    assert_eq!(house.run_with(&["key", "import", "-"], &bytes).ok().out, "8E6B4355DF689C06FD4824C9871682A2957A9245\n");
    let ran = house.run(&["key", "import", "nowhere.asc"]);
    assert!(ran.code == Some(1) && ran.err.contains("nowhere.asc cannot be read"), "{ran:?}");
    house.file("large", &vec![b'x'; (1 << 20) + 1]);
    let ran = house.run(&["key", "import", "large"]);
    assert!(ran.err.contains("larger than a key can be"), "{ran:?}");
}

#[test]
fn public_keys_are_exported_and_secrets_never() {
    let house = House::new();
    house.run(&["key", "create"]).ok();
    let both = house.run(&["key", "import", &testdata("rsa3072.asc")]).ok();
    let ran = house.run(&["key", "export"]).ok();
    assert!(ran.out.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----\n"), "{ran:?}");
    let one = house.run(&["key", "export", both.out.trim()]).ok();
    assert!(one.out.len() < ran.out.len() && one.out.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----\n"));
    let read = StreamKey::import(ran.out.as_bytes(), None, Timestamp::EPOCH);
    assert!(matches!(read, Err(KeyError::Public)), "{read:?}");
    let binary = house.command(&["key", "export", "--binary"]).output().unwrap();
    assert!(binary.status.success() && !binary.stdout.is_empty() && !binary.stdout.is_ascii());

    let house = House::new();
    house.publish(&Sample::default(), &[]);
    house.run(&["key", "export"]).fails(1, "there is no key for streams; `headwater key create` makes one");
}
