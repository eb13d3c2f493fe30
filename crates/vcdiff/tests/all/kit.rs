//! Files that resemble each other, and the real `xdelta3`.

use std::fs;
use std::io::Cursor;
use std::process::Command;

use headwater_vcdiff::{Decoded, Error, Forward, Limits, Rewindable, decode};

/// Numbers that are the same in every run (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// Lines of text: much that repeats, little that is the same.
pub(crate) fn text(random: &mut Random, len: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(len + 64);
    while text.len() < len {
        let (line, a, b) = (text.len(), random.below(1000), random.below(90) + 10);
        text.extend_from_slice(format!("entry {line}: name-{a} has {b} of size {a}{b}\n").as_bytes());
    }
    text.truncate(len);
    text
}

/// A base and what became of it: edits, a piece moved, a piece twice, something new, a run.
pub(crate) fn pair(seed: u64, len: usize) -> (Vec<u8>, Vec<u8>) {
    let mut random = Random(seed);
    let mut base = text(&mut random, len / 2);
    base.extend(random.bytes(len / 2));
    let mut target = base[len / 4..].to_vec();
    target.extend_from_slice(&base[..len / 4]);
    for _ in 0..50 {
        let at = random.below(target.len());
        target[at] ^= 0x55;
        let at = random.below(target.len());
        let few = random.below(12);
        target.splice(at..at, random.bytes(few));
    }
    target.extend(std::iter::repeat_n(7, 3000));
    let fresh = text(&mut random, len / 8);
    target.extend_from_slice(&fresh);
    target.extend(random.bytes(len / 8));
    target.extend_from_slice(&fresh);
    (base, target)
}

/// Runs the real program; these tests need it (`./dev setup` installs it).
pub(crate) fn xdelta3(arguments: &[&str], base: &[u8], input: &[u8]) -> Result<Vec<u8>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("base"), base).unwrap();
    fs::write(path("input"), input).unwrap();
    let output = Command::new("xdelta3")
        .arg("-f")
        .args(arguments)
        .arg("-s")
        .args([path("base"), path("input"), path("output")])
        .output()
        .expect("xdelta3 runs: ./dev setup installs it");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(fs::read(path("output")).unwrap())
}

/// Decodes in memory into something that is only written.
pub(crate) fn undo(base: &[u8], delta: &[u8], limits: &Limits) -> Result<(Vec<u8>, Decoded), Error> {
    let mut target = Vec::new();
    let decoded = decode(Cursor::new(base), delta, &mut Forward(&mut target), limits)?;
    assert_eq!(decoded.target, target.len() as u64);
    Ok((target, decoded))
}

/// Decodes in memory into something that can be read back.
pub(crate) fn undo_rewindable(base: &[u8], delta: &[u8]) -> Result<Vec<u8>, Error> {
    let mut target = Rewindable(Cursor::new(Vec::new()));
    decode(Cursor::new(base), delta, &mut target, &Limits::default())?;
    Ok(target.0.into_inner())
}

/// A few bytes as `{:02x?}` would make a failure unreadable: says where two files part.
pub(crate) fn assert_same(made: &[u8], expected: &[u8]) {
    if made != expected {
        let at = made.iter().zip(expected).take_while(|(a, b)| a == b).count();
        panic!("{} bytes instead of {}, different from byte {at} on", made.len(), expected.len());
    }
}

/// Encodes in memory, and holds that our own decoder and `xdelta3`, called as clients call it, both give the target.
pub(crate) fn round(base: &[u8], target: &[u8], options: &headwater_vcdiff::Options) -> Vec<u8> {
    let mut delta = Vec::new();
    let encoded = headwater_vcdiff::encode(&base.to_vec(), target, &mut delta, options).unwrap();
    assert_eq!((encoded.base, encoded.target), (base.len() as u64, target.len() as u64));
    assert_eq!(encoded.delta, delta.len() as u64);
    let (made, decoded) = undo(base, &delta, &Limits::default()).unwrap();
    assert_same(&made, target);
    assert!(decoded.checked);
    assert_eq!(decoded.windows, encoded.windows);
    assert_same(&xdelta3(&["-d"], base, &delta).unwrap(), target);
    delta
}
