//! The parts of the base around the places that a target window has come to lately, known by every four bytes.
//!
//! The index of the whole base knows some positions, which finds everything that is long. What is short is worth a copy only when
//! its address is short, too, and so it is looked for here: where the last copies ended. What was looked at is kept until something else with the same
//! hash comes, so that going back and forth costs nothing.

use std::ops::Range;

use crate::error::Error;
use crate::pages::Pages;

const KEY: usize = 4;
/// Bytes before and after a place that become known.
const BEFORE: u64 = 128;
const AFTER: u64 = 1024;
/// How near to the end of what is known a place may be and still count as known.
const MARGIN: u64 = 256;
const HEADS: u32 = 13;
/// Positions with the same hash.
pub(crate) const WAYS: usize = 2;

/// Positions of the base by four bytes.
pub(crate) struct Near {
    /// The newest first, counted from 1.
    heads: Vec<[u64; WAYS]>,
    /// What was added last.
    known: Range<u64>,
    bytes: Vec<u8>,
}

impl Near {
    pub(crate) fn new() -> Self {
        Self { heads: vec![[0; WAYS]; 1 << HEADS], known: 0..0, bytes: Vec::new() }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.heads.fill([0; WAYS]);
        self.known = 0..0;
    }

    /// Sees that the base around `place` is known.
    pub(crate) fn go_to(&mut self, place: u64, base: &mut Pages<'_>) -> Result<(), Error> {
        let known = self.known.clone();
        let start = if known.contains(&place) {
            if place + MARGIN < known.end {
                return Ok(());
            }
            // What follows goes on where the last bytes that were added had no key any more.
            known.end.saturating_sub(KEY as u64 - 1).max(known.start)
        } else {
            let start = place.saturating_sub(BEFORE);
            self.known.start = start;
            start
        };
        self.bytes.clear();
        let len = (place + AFTER - start) as usize;
        while self.bytes.len() < len {
            let there = base.from(start + self.bytes.len() as u64)?;
            if there.is_empty() {
                break;
            }
            self.bytes.extend_from_slice(&there[..there.len().min(len - self.bytes.len())]);
        }
        for (at, key) in self.bytes.windows(KEY).enumerate() {
            let head = &mut self.heads[head(key)];
            head.copy_within(..WAYS - 1, 1);
            head[0] = start + at as u64 + 1;
        }
        self.known.end = start + self.bytes.len() as u64;
        Ok(())
    }

    /// Positions of the base that may have the same bytes as the front of `bytes`, the newest first.
    pub(crate) fn candidates(&self, bytes: &[u8]) -> impl Iterator<Item = u64> + use<> {
        let heads = bytes.get(..KEY).map_or([0; WAYS], |key| self.heads[head(key)]);
        heads.into_iter().map_while(|place| place.checked_sub(1))
    }
}

fn head(key: &[u8]) -> usize {
    let key = key.first_chunk().map_or(0, |key| u32::from_le_bytes(*key));
    (key.wrapping_mul(0x9e37_79b1) >> (32 - HEADS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_is_around() {
        let base: Vec<u8> =
            (0..10_000u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        let mut pages = Pages::Whole(&base);
        let mut near = Near::new();
        for place in [0, 3, 20_000, 20_900, 21_500, 39_700] {
            near.go_to(place, &mut pages).unwrap();
            for at in [place.saturating_sub(60), place, place + 200] {
                // Some were pushed out by others with the same hash, but not all of a few in a row.
                let found = (at..at + 6).any(|at| near.candidates(&base[at as usize..]).any(|found| found == at));
                assert!(found, "{at} near {place}");
            }
        }
        let kept = (20_000..20_500).filter(|at| near.candidates(&base[*at..]).any(|candidate| candidate == *at as u64));
        assert!(kept.count() > 400, "what was known is kept");
        near.clear();
        assert_eq!(near.candidates(&base).count(), 0);
        near.go_to(u64::from(u32::MAX), &mut pages).unwrap();
        assert_eq!(near.candidates(&base).count(), 0, "past the end there is nothing");
    }
}
