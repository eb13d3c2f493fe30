//! Stream documents of strangers: read leniently, never a panic; what the strict reader takes, the lenient one takes too.
#![no_main]

use headwater_formats::simplestreams::parse;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = parse::index(data);
    let _ = parse::products(data);
});
