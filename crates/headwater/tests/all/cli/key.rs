//! `headwater key …`

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
    assert_eq!(cells[0], ["KEY", "CREATED", "SIGNS"]);
    let mut signs = [cells[1][2], cells[2][2]];
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
    assert_eq!(fields, ["created_at", "id", "signs"], "and nothing that signs");
}
