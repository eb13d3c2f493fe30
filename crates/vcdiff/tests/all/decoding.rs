//! What `xdelta3` writes is read.

use headwater_vcdiff::{Error, Limits, Secondary};

use crate::kit::{assert_same, pair, undo, undo_rewindable, xdelta3};

fn reads(arguments: &[&str], base: &[u8], target: &[u8]) -> headwater_vcdiff::Decoded {
    let delta = xdelta3(arguments, base, target).unwrap();
    let (made, decoded) =
        undo(base, &delta, &Limits::default()).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
    assert_same(&made, target);
    assert_eq!(decoded.delta, delta.len() as u64);
    decoded
}

#[test]
fn every_level_and_compressor() {
    let (base, target) = pair(1, 400_000);
    for level in ["-0", "-1", "-3", "-9"] {
        for secondary in ["none", "lzma"] {
            for window in [None, Some("-W16384"), Some("-W65536")] {
                let mut arguments = vec!["-e", level, "-S", secondary];
                arguments.extend(window);
                let decoded = reads(&arguments, &base, &target);
                assert!(decoded.checked);
                assert_eq!(decoded.windows > 5, window.is_some());
            }
        }
    }
}

#[test]
fn files_of_few_bytes() {
    for (base, target) in
        [(&b""[..], &b""[..]), (b"", b"x"), (b"x", b""), (b"x", b"x"), (b"x", b"yyyyyyyyyyyyyyyyyyyyy")]
    {
        reads(&["-e"], base, target);
        reads(&["-e", "-S", "lzma"], base, target);
    }
}

#[test]
fn without_checksums() {
    let (base, target) = pair(2, 100_000);
    assert!(!reads(&["-e", "-n"], &base, &target).checked);
    assert!(!reads(&["-e", "-n", "-A", "-S", "none"], &base, &target).checked);
}

#[test]
fn the_application_header_is_told() {
    let (base, target) = pair(3, 100_000);
    assert_eq!(reads(&["-e", "-A=what it is"], &base, &target).application.as_deref(), Some(&b"what it is"[..]));
    assert_eq!(reads(&["-e", "-A"], &base, &target).application, None);
    assert!(reads(&["-e"], &base, &target).application.unwrap().starts_with(b"input/"));
}

#[test]
fn without_a_base() {
    let (base, target) = pair(4, 100_000);
    let delta = xdelta3(&["-e", "-S", "lzma"], b"", &target).unwrap();
    assert_same(&undo(&base, &delta, &Limits::default()).unwrap().0, &target);
}

#[test]
fn other_compressors_are_named() {
    let (base, target) = pair(5, 200_000);
    for (name, secondary) in [("djw", Secondary::Djw), ("fgk", Secondary::Fgk)] {
        let delta = xdelta3(&["-e", "-S", name], &base, &target).unwrap();
        match undo(&base, &delta, &Limits::default()) {
            Err(error @ Error::Secondary(found)) => {
                assert_eq!(found, secondary);
                assert!(error.to_string().contains(&name.to_uppercase()), "{error}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn the_wrong_base_is_noticed() {
    let (base, target) = pair(6, 200_000);
    let delta = xdelta3(&["-e"], &base, &target).unwrap();
    let mut other = base.clone();
    other[60_000] ^= 1;
    assert!(matches!(undo(&other, &delta, &Limits::default()), Err(Error::Checksum { window: 0 })));
    let short = &base[..base.len() / 2];
    assert!(matches!(undo(short, &delta, &Limits::default()), Err(Error::BaseTooShort { size: 100_000, .. })));
}

/// A window that copies from the target before it: nobody writes one, the RFC has them.
#[test]
fn copies_from_the_target() {
    let mut delta = vec![0xd6, 0xc3, 0xc4, 0, 0];
    // The first window: data 6, one instruction (ADD 6), no addresses.
    delta.extend([0, 12, 6, 0, 6, 1, 0]);
    delta.extend(b"abcdef");
    delta.push(7);
    // The second: segment "bcde" of the target, COPY 8 from its beginning, which runs on into what is being made.
    delta.extend([2, 4, 1, 7, 8, 0, 0, 1, 1, 24, 0]);
    assert_eq!(undo_rewindable(b"", &delta).unwrap(), b"abcdefbcdebcde");
    assert!(matches!(undo(b"", &delta, &Limits::default()), Err(Error::TargetOnlyWritten)));
    // And from where nothing is yet.
    let at = delta.len() - 9;
    delta[at] = 3;
    assert!(matches!(undo_rewindable(b"", &delta), Err(Error::Damaged { window: 1, .. })));
}

/// The RFC lets a copy begin in the segment and end in the window; xdelta3 does not.
#[test]
fn a_copy_runs_on_from_the_segment_into_the_window() {
    let delta = [0xd6, 0xc3, 0xc4, 0, 0, 1, 4, 0, 7, 8, 0, 0, 1, 1, 24, 2];
    assert_eq!(undo(b"abcd", &delta, &Limits::default()).unwrap().0, b"cdcdcdcd");
}

#[test]
fn what_is_not_read_is_said() {
    let said = |delta: &[u8]| undo(b"base", delta, &Limits::default()).unwrap_err();
    assert!(matches!(said(b""), Error::NotVcdiff));
    assert!(matches!(said(b"hsqs"), Error::NotVcdiff));
    assert!(matches!(said(&[0xd6, 0xc3, 0xc4]), Error::Truncated(_)));
    assert!(matches!(said(&[0xd6, 0xc3, 0xc4, b'S', 0]), Error::Version(b'S')));
    assert!(matches!(said(&[0xd6, 0xc3, 0xc4, 0, 2, 9]), Error::CodeTable));
    assert!(matches!(said(&[0xd6, 0xc3, 0xc4, 0, 8]), Error::Indicator { place: "header", value: 8 }));
    assert!(matches!(said(&[0xd6, 0xc3, 0xc4, 0, 0, 3, 1, 1]), Error::Damaged { .. }));
    assert!(matches!(said(&[0xd6, 0xc3, 0xc4, 0, 0, 0, 0xff]), Error::Truncated(_)));
}

#[test]
fn limits_hold() {
    let (base, target) = pair(7, 200_000);
    let delta = xdelta3(&["-e", "-W65536", "-S", "lzma"], &base, &target).unwrap();
    let refused = |limits: Limits| match undo(&base, &delta, &limits) {
        Err(Error::TooLarge { what, limit, size }) => {
            assert!(size > limit);
            what
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(Limits { window: 65_535, ..Limits::default() }), "a window of the target");
    assert_eq!(refused(Limits { target: 200_000, ..Limits::default() }), "the target");
    assert_eq!(refused(Limits { sections: 200, ..Limits::default() }), "the sections of a window");
    assert_eq!(refused(Limits { dictionary: 10_000, ..Limits::default() }), "the dictionary of the delta's LZMA");
    let little = Limits { window: 65_536, base_cache: 0, target: target.len() as u64, ..Limits::default() };
    assert_same(&undo(&base, &delta, &little).unwrap().0, &target);
}
