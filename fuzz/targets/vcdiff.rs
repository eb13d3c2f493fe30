//! Deltas of strangers, applied to a base of a few bytes; one that can be applied, twice with the same result.
#![no_main]

use std::io::Cursor;

use headwater_vcdiff::{Forward, Limits, Rewindable, decode};

/// Bytes at the front of the input that are the base.
const BASE: usize = 64;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (base, delta) = data.split_at(data.len().min(BASE));
    let limits = Limits { window: 1 << 20, target: 4 << 20, ..Limits::default() };
    let mut target = Rewindable(Cursor::new(Vec::new()));
    if let Ok(decoded) = decode(Cursor::new(base), delta, &mut target, &limits) {
        let target = target.0.into_inner();
        assert_eq!(decoded.target, target.len() as u64);
        assert!(target.len() <= 4 << 20);
        let mut again = Vec::new();
        if decode(Cursor::new(base), delta, &mut Forward(&mut again), &limits).is_ok() {
            assert_eq!(again, target);
        }
    }
});
