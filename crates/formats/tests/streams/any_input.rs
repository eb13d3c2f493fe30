//! No input makes the readers stop with a panic.

use headwater_formats::alias;
use headwater_formats::filter::Filter;
use headwater_formats::simplestreams::client::Listing;
use headwater_formats::simplestreams::{Family, architecture_of_user_agent, convert, go, parse};
use headwater_formats::timestamp::Timestamp;
use headwater_formats::view::View;
use proptest::prelude::*;
use serde_json::Value;

fn read(text: &[u8]) {
    if let Ok(document) = parse::products(text) {
        for family in Family::ALL {
            let listing = Listing::of([&document], family);
            for image in &listing.images {
                let _ = (image.size(), image.filename());
            }
            convert::products(&document, family, Timestamp::EPOCH);
        }
    }
    let _ = go::products(text).map(|products| products.document());
    let _ = parse::index(text).map(|index| index.image_streams().count());
    let _ = go::index(text);
}

/// JSON that looks like a document here and there.
fn value() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("products"),
        Just("versions"),
        Just("items"),
        Just("20240101"),
        Just("ftype"),
        Just("path"),
        Just("size"),
        Just("sha256"),
        Just("combined_squashfs_sha256"),
        Just("lxd.tar.xz"),
        Just("squashfs"),
        Just("arch"),
        Just("amd64"),
        Just("os"),
        Just("release"),
        Just("aliases"),
        Just("_aliases"),
        Just("index"),
        Just("..//\\"),
        Just("0000000000000000000000000000000000000000000000000000000000000000"),
        Just("é0240101"),
        Just(""),
    ];
    let leaf = prop_oneof![
        word.clone().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(7, 200, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(word.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_read_or_refused(value in value()) {
        read(value.to_string().as_bytes());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read(&bytes);
    }

    #[test]
    fn any_text_is_a_filter_or_none(text in "(( |not|and|or|eq|ne|\"|os|[a-z.*+?()|^$\\[{,]|\\PC){0,4} ?){0,12}") {
        if let Ok(filter) = Filter::parse(&text) {
            filter.matches(|_| None);
        }
    }

    #[test]
    fn any_segments_are_a_view_or_none(segments in prop::collection::vec("((os|arch|release|alias|latest|type)=)?\\PC{0,8}", 0..20)) {
        let mut view = View::default();
        for segment in &segments {
            let _ = view.parse_segment(segment);
        }
        // What is printed asks for the same view, unless nothing can pass it.
        let printed = view.to_string();
        if !printed.contains("=/") {
            let mut again = View::default();
            for segment in printed.split("only/").filter(|segment| !segment.is_empty()) {
                again.parse_segment(&decode(segment.trim_end_matches('/'))).unwrap();
            }
            prop_assert_eq!(again, view);
        }
    }

    #[test]
    fn any_header_and_any_name_is_taken_apart(text in "(LXD|Incus)?[ ();a-z0-9_/]{0,30}") {
        let _ = (Family::of_user_agent(&text), architecture_of_user_agent(&text), alias::split_arch(&text));
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let hex: Vec<u8> = rest.by_ref().take(2).collect();
                u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    String::from_utf8(bytes).unwrap()
}
