//! What is written is read, by us and by `xdelta3`, and is small where it can be.

use std::num::NonZero;

use headwater_vcdiff::{Options, encode};
use proptest::prelude::*;

use crate::kit::{Random, pair, round, text, xdelta3};

#[test]
fn files_of_few_bytes() {
    let run = [b'y'; 40];
    for (base, target) in
        [(&b""[..], &b""[..]), (b"", b"x"), (b"x", b""), (b"x", b"x"), (b"x", b"y"), (b"", &run), (&run, b"y")]
    {
        round(base, target, &Options::default());
    }
}

#[test]
fn equal_files_are_a_few_bytes() {
    let bytes = Random(20).bytes(17 << 20);
    let delta = round(&bytes, &bytes, &Options::default());
    assert!(delta.len() < 100, "{} bytes", delta.len());
}

#[test]
fn nothing_in_common() {
    let (base, target) = (Random(21).bytes(1 << 20), Random(22).bytes(1 << 20));
    let delta = round(&base, &target, &Options::default());
    assert!(delta.len() < target.len() + 200, "{} bytes", delta.len());
    let base = vec![0; 100_000];
    let target = vec![1; 100_000];
    assert!(round(&base, &target, &Options::default()).len() < 40);
}

#[test]
fn moved_data_is_found_anywhere() {
    let base = Random(23).bytes(20 << 20);
    let mut target = Vec::new();
    for piece in base.chunks(1 << 20).rev() {
        target.extend_from_slice(piece);
        target.push(b'-');
    }
    for memory in [0, 200 << 20, 640 << 20] {
        let delta = round(&base, &target, &Options { memory, ..Options::default() });
        assert!(delta.len() < 1000, "{} bytes with {memory}", delta.len());
    }
}

/// Runs come from the window itself: else the zeros of a sparse file tie a window to places far from all that it needs.
#[test]
fn runs_are_not_copied_from_the_base() {
    let base = vec![0; 3 << 20];
    let mut delta = Vec::new();
    let target = vec![0; 2 << 20];
    let encoded = encode(&base, &target[..], &mut delta, &Options::default()).unwrap();
    assert_eq!(encoded.copied, 0);
    assert!(delta.len() < 40);
    round(&base, &target, &Options::default());
}

#[test]
fn not_larger_than_that_of_xdelta3() {
    for seed in 30..34 {
        let (base, target) = pair(seed, 1_000_000);
        let ours = round(&base, &target, &Options::default()).len();
        let theirs = xdelta3(&["-e", "-9", "-S", "none"], &base, &target).unwrap().len();
        assert!(ours * 100 <= theirs * 101, "{ours} bytes, and xdelta3 writes {theirs}");
    }
}

#[test]
fn the_same_for_any_number_of_threads() {
    let (base, target) = pair(40, 12_000_000);
    let with = |threads: usize| {
        let mut delta = Vec::new();
        let options = Options { threads: NonZero::new(threads).unwrap(), memory: 640 << 20 };
        encode(&base, &target[..], &mut delta, &options).unwrap();
        delta
    };
    assert!(with(1) == with(2), "one thread and two make different deltas");
}

#[test]
fn a_base_that_does_not_fit_into_memory() {
    let (base, target) = pair(41, 3_000_000);
    let large = round(&base, &target, &Options::default()).len();
    let small = round(&base, &target, &Options { memory: 0, ..Options::default() }).len();
    assert!(small >= large && small < target.len() / 2, "{small} and {large} bytes of {}", target.len());
}

/// A change to a file.
#[derive(Debug, Clone)]
enum Change {
    Replace { at: usize, with: Vec<u8> },
    Insert { at: usize, what: Vec<u8> },
    Remove { at: usize, len: usize },
    Move { from: usize, len: usize, to: usize },
    Repeat { from: usize, len: usize, times: usize },
    Run { at: usize, byte: u8, len: usize },
}

fn change() -> impl Strategy<Value = Change> {
    let place = || 0..1_000_000usize;
    let few = || proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        (place(), few()).prop_map(|(at, with)| Change::Replace { at, with }),
        (place(), few()).prop_map(|(at, what)| Change::Insert { at, what }),
        (place(), 0..5000usize).prop_map(|(at, len)| Change::Remove { at, len }),
        (place(), 0..9000usize, place()).prop_map(|(from, len, to)| Change::Move { from, len, to }),
        (place(), 1..300usize, 0..30usize).prop_map(|(from, len, times)| Change::Repeat { from, len, times }),
        (place(), any::<u8>(), 0..2000usize).prop_map(|(at, byte, len)| Change::Run { at, byte, len }),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    let size = bytes.len();
    let place = |at: usize| at % (size + 1);
    let piece = |from: usize, len: usize| place(from)..(place(from) + len).min(size);
    match change {
        Change::Replace { at, with } => drop(bytes.splice(piece(*at, with.len()), with.iter().copied())),
        Change::Insert { at, what } => drop(bytes.splice(place(*at)..place(*at), what.iter().copied())),
        Change::Remove { at, len } => drop(bytes.drain(piece(*at, *len))),
        Change::Move { from, len, to } => {
            let moved: Vec<u8> = bytes.drain(piece(*from, *len)).collect();
            let to = to % (bytes.len() + 1);
            bytes.splice(to..to, moved);
        }
        Change::Repeat { from, len, times } => {
            let repeated = bytes[piece(*from, *len)].repeat(*times);
            bytes.extend(repeated);
        }
        Change::Run { at, byte, len } => drop(bytes.splice(place(*at)..place(*at), std::iter::repeat_n(*byte, *len))),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn any_change_there_and_back(
        seed: u64,
        size in 0..60_000usize,
        random: bool,
        changes in proptest::collection::vec(change(), 0..20),
        memory in prop_oneof![Just(0u64), Just(640 << 20)],
    ) {
        let mut source = Random(seed);
        let base = if random { source.bytes(size) } else { text(&mut source, size) };
        let mut target = base.clone();
        changes.iter().for_each(|change| apply(&mut target, change));
        round(&base, &target, &Options { memory, ..Options::default() });
    }
}
