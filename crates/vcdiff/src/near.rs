//! The part of the base around the place that a target window has come to, known by every four bytes.
//!
//! The index of the whole base knows one position of many, which finds everything that is long. What is short is worth a copy only when
//! its address is short, too, and so it is looked for here: where the last copy ended. Filled only when a copy has ended and no
//! other goes on.

use crate::error::Error;
use crate::pages::Pages;

const KEY: usize = 4;
const BEFORE: u64 = 1024;
const AFTER: u64 = 3072;
/// How near to its ends a place may be and still count as in its middle.
const MARGIN: u64 = 512;
const HEADS: u32 = 12;

/// A few KiB of the base with chains of their positions.
pub(crate) struct Near {
    start: u64,
    bytes: Vec<u8>,
    /// The last position with a hash, counted from 1.
    heads: Vec<u16>,
    /// The position before each with the same hash, counted from 1.
    before: Vec<u16>,
}

impl Near {
    pub(crate) fn new() -> Self {
        Self { start: 0, bytes: Vec::new(), heads: vec![0; 1 << HEADS], before: Vec::new() }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.heads.fill(0);
    }

    /// Sees that the base around `place` is known.
    pub(crate) fn go_to(&mut self, place: u64, base: &mut Pages<'_>) -> Result<(), Error> {
        let end = self.start + self.bytes.len() as u64;
        if !self.bytes.is_empty() && (self.start + MARGIN..end.saturating_sub(MARGIN)).contains(&place) {
            return Ok(());
        }
        self.clear();
        self.start = place.saturating_sub(BEFORE);
        let len = (place - self.start + AFTER) as usize;
        while self.bytes.len() < len {
            let there = base.from(self.start + self.bytes.len() as u64)?;
            if there.is_empty() {
                break;
            }
            self.bytes.extend_from_slice(&there[..there.len().min(len - self.bytes.len())]);
        }
        self.before.resize(self.bytes.len(), 0);
        for (at, key) in self.bytes.windows(KEY).enumerate() {
            self.before[at] = std::mem::replace(&mut self.heads[head(key)], at as u16 + 1);
        }
        Ok(())
    }

    /// Positions of the base that may have the same bytes as the front of `bytes`.
    pub(crate) fn candidates(&self, bytes: &[u8]) -> impl Iterator<Item = u64> {
        let mut next = bytes.get(..KEY).map_or(0, |key| self.heads[head(key)]);
        std::iter::from_fn(move || {
            let found = next.checked_sub(1)?;
            next = self.before[usize::from(found)];
            Some(self.start + u64::from(found))
        })
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
        let base: Vec<u8> = (0..10_000u32).flat_map(|number| (number * 7919).to_be_bytes()).collect();
        let mut pages = Pages::Whole(&base);
        let mut near = Near::new();
        for place in [0, 3, 20_000, 20_100, 39_999] {
            near.go_to(place, &mut pages).unwrap();
            for at in [place.saturating_sub(400), place, (place + 400).min(39_990)] {
                let found = near.candidates(&base[at as usize..]).any(|candidate| candidate == at);
                assert!(found || at as usize + KEY > base.len(), "{at} near {place}");
            }
        }
        near.clear();
        assert_eq!(near.candidates(&base).count(), 0);
        near.go_to(u64::from(u32::MAX), &mut pages).unwrap();
        assert_eq!(near.candidates(&base).count(), 0, "past the end there is nothing");
    }
}
