//! Paths, queries and headers of strangers: an address means one thing, or nothing.
#![no_main]

use headwater::http::conditional::{self, Range};
use headwater::http::query::Query;
use headwater::http::route::Route;

libfuzzer_sys::fuzz_target!(|input: (&str, &str, u64)| {
    let (path, header, size) = input;
    if let Ok(route) = Route::parse(path) {
        assert!(!route.endpoint().row().methods.is_empty());
    }
    let _ = Query::parse(Some(header));
    if let Ok(value) = header.parse() {
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::RANGE, value);
        if let Range::Part { first, last } = conditional::range(&headers, size, None, None) {
            assert!(first <= last && last < size);
        }
    }
});
