//! The LXD API's `filter=` and the `/only/…` filters: any text is a filter or a sentence, never a panic.
#![no_main]

use headwater_formats::filter::{Filter, Value};
use headwater_formats::view::View;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(filter) = Filter::parse(text) {
        filter.matches(|field| match field {
            "public" => Some(Value::Bool(true)),
            "size" => Some(Value::Int(284)),
            _ => Some(Value::Text(text.get(..4).unwrap_or("debian").into())),
        });
    }
    let mut view = View::default();
    if text.split('/').all(|segment| view.parse_segment(segment).is_ok()) {
        // What a view says of itself is a view again, and the same one. (Decoding `%` is the caller's; a view that
        // nothing can pass has no values left to read.)
        let written = view.to_string();
        if !written.contains('%') && !written.contains("=/") {
            let mut again = View::default();
            for segment in written.split('/').filter(|part| !part.is_empty() && *part != "only") {
                again.parse_segment(segment).expect("a view reads what it writes");
            }
            assert_eq!(view, again);
        }
    }
});
