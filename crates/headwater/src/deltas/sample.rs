//! A look at a pair that takes a second instead of minutes.
//!
//! Pieces from all over the target are encoded against the whole base. Data that moved is found wherever it is, because the encoder looks for it as it
//! always does; what the pieces save is about what all of it would. A pair of which almost nothing is found is hopeless.

use std::io;

use headwater_vcdiff::{Options, ReadAt, encode};

/// Bytes of a piece: a compressed block of a squashfs and more.
const PIECE: u64 = 64 << 10;
/// How many there are. When a third of the target is in the base, fewer than [`LEAST_PERCENT`] of so many show it once in a million times.
const PIECES: u64 = 64;
/// A pair is hopeless when less of the sample than this is found.
const LEAST_PERCENT: u64 = 5;

/// What was found in a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampled {
    /// Bytes of the target that were looked at.
    pub bytes: u64,
    /// Bytes of the delta that makes them.
    pub delta: u64,
}

impl Sampled {
    /// The size of the delta in percent of what it makes, if the rest of the target is like the sample.
    pub fn percent(&self) -> u64 {
        (self.delta.saturating_mul(100) / self.bytes.max(1)).min(100)
    }

    /// Whether the whole would save almost nothing.
    pub fn is_hopeless(&self) -> bool {
        self.delta.saturating_mul(100) > self.bytes.saturating_mul(100 - LEAST_PERCENT)
    }
}

/// Looks at pieces of the target. `None` when it is so small that encoding all of it takes no longer.
pub(super) fn sample(
    base: &dyn ReadAt,
    target: &dyn ReadAt,
    options: &Options,
) -> Result<Option<Sampled>, headwater_vcdiff::Error> {
    let size = target.size().map_err(headwater_vcdiff::Error::Target)?;
    if size < 2 * PIECE * PIECES {
        return Ok(None);
    }
    let mut pieces = vec![0; (PIECE * PIECES) as usize];
    for (number, piece) in pieces.chunks_mut(PIECE as usize).enumerate() {
        // The first at the beginning, the last at the end.
        let start = (size - PIECE) / (PIECES - 1) * number as u64;
        target.read_exact_at(start, piece).map_err(headwater_vcdiff::Error::Target)?;
    }
    let encoded = encode(base, &pieces[..], io::sink(), options)?;
    Ok(Some(Sampled { bytes: encoded.target, delta: encoded.delta }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that nothing is found in.
    fn noise(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        (0..len).map(next).collect()
    }

    fn look(base: &[u8], target: &[u8]) -> Option<Sampled> {
        sample(&base, &target, &Options::default()).unwrap()
    }

    #[test]
    fn a_sample_tells_what_can_be_saved() {
        let base = noise(10 << 20, 1);
        let hopeless = look(&base, &noise(10 << 20, 2)).unwrap();
        assert!(hopeless.is_hopeless() && hopeless.percent() >= 99, "{hopeless:?}");
        // Moved as a whole, and a third of it new.
        let target = [noise(3 << 20, 3), base[3 << 20..].to_vec()].concat();
        let found = look(&base, &target).unwrap();
        assert!(!found.is_hopeless() && (25..40).contains(&found.percent()), "{found:?}");
        assert_eq!(found.bytes, 4 << 20);
        // A tenth is known: not hopeless, and most likely dropped when it is built.
        let target = [noise(9 << 20, 4), base[..1 << 20].to_vec()].concat();
        let found = look(&base, &target).unwrap();
        assert!(!found.is_hopeless() && found.percent() > 80, "{found:?}");
        assert_eq!(look(&base, &base[1..8 << 20]), None, "small ones are simply built");
    }
}
