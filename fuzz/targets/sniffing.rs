//! Files of strangers, in every role that a file can have in an image: archives, squashfs, qcow2.
#![no_main]

use std::io::Cursor;

use headwater_formats::inspect::{Limits, inspect_metadata, inspect_root, inspect_unified};
use headwater_formats::sniff;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = sniff::sniff(data);
    let _ = sniff::describe(data);
    let size = data.len() as u64;
    let limits = Limits::default();
    let _ = inspect_unified(&mut Cursor::new(data), size, &limits);
    let _ = inspect_metadata(&mut Cursor::new(data), size, &limits);
    let _ = inspect_root(&mut Cursor::new(data), size, &limits);
});
