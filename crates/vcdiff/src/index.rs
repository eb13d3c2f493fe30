//! Where in the base each few bytes stand: a table over every so-many-th position of all of it.
//!
//! The key is the eight bytes at a position. A bucket holds four positions, so that one look at memory tells of four
//! candidates, and what is left of a position's 32 bits holds a piece of the hash, so that most candidates that are none
//! are known without a look at the base. The table is the same however many threads make it: each makes a part of its own.

use std::num::NonZero;

use crate::error::Error;
use crate::pages::{PAGE, ReadAt};

/// Bytes of a key.
pub(crate) const KEY: usize = 8;

/// Positions are at least this many bytes apart: what is shorter than two of these together is left to what is known of the base nearby.
const FINEST: u64 = 16;

/// The least memory that a table is made for.
const LEAST: u64 = 1 << 20;

/// Positions of a bucket.
pub(crate) const WAYS: usize = 4;

/// A bucket: positions divided by the step, counted from 1, below a piece of the hash; 0 is empty.
pub(crate) type Bucket = [u32; WAYS];

/// Positions of the base by the bytes that stand there.
pub(crate) struct Index {
    buckets: Vec<Bucket>,
    step: u64,
    /// Bits of a position in an entry; those above are the piece of the hash.
    bits: u32,
}

/// The hash of the eight bytes at the front of `bytes`, which has as many.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let key = bytes.first_chunk().map_or(0, |key| u64::from_le_bytes(*key));
    // Multiplying carries only upwards; folding brings the upper bytes down to all bits that are used.
    let mixed = (key ^ key >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

impl Index {
    /// Indexes the whole base, with a table of at most about `memory` bytes. Of `whole`, when it is there, nothing is read again.
    pub(crate) fn new(
        base: &dyn ReadAt,
        size: u64,
        whole: Option<&[u8]>,
        memory: u64,
        threads: NonZero<usize>,
    ) -> Result<Self, Error> {
        let room = memory.max(LEAST) / size_of::<Bucket>() as u64;
        // A third more places than positions: a bucket that is full forgets.
        let wanted = |step: u64| (size / step).div_ceil(3).max(1);
        let mut step = FINEST;
        while (wanted(step) > room && step < PAGE as u64) || size / step >= u64::from(u32::MAX) {
            step *= 2;
        }
        let bits = 64 - (size / step + 1).leading_zeros();
        let mut index = Self { buckets: vec![[0; WAYS]; wanted(step) as usize], step, bits };
        let all = index.buckets.len();
        let share = all.div_ceil(threads.get());
        let mut failed = Ok(());
        std::thread::scope(|scope| {
            let makers: Vec<_> = (index.buckets.chunks_mut(share).enumerate())
                .map(|(number, buckets)| {
                    let part = Part { buckets, first: number * share, all, step, bits };
                    scope.spawn(move || part.fill(base, size, whole))
                })
                .collect();
            for maker in makers {
                match maker.join() {
                    Ok(made) => failed = std::mem::replace(&mut failed, Ok(())).and(made),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
        failed.map(|()| index)
    }

    /// The bucket of a hash.
    pub(crate) fn bucket(&self, hash: u64) -> Bucket {
        self.buckets[place(hash, self.buckets.len())]
    }

    /// The position that an entry of the hash's bucket means, when it may be one with that hash.
    pub(crate) fn position(&self, entry: u32, hash: u64) -> Option<u64> {
        let number = u64::from(entry) & ((1 << self.bits) - 1);
        (number > 0 && u64::from(entry) >> self.bits == piece(hash, self.bits)).then(|| (number - 1) * self.step)
    }
}

/// The bucket that a hash belongs to: its upper half, scaled to their number.
fn place(hash: u64, all: usize) -> usize {
    (((hash >> 32) * all as u64) >> 32) as usize
}

fn piece(hash: u64, bits: u32) -> u64 {
    (hash & 0xffff_ffff) >> bits
}

/// The buckets that one thread fills.
struct Part<'a> {
    buckets: &'a mut [Bucket],
    first: usize,
    all: usize,
    step: u64,
    bits: u32,
}

impl Part<'_> {
    fn fill(mut self, base: &dyn ReadAt, size: u64, whole: Option<&[u8]>) -> Result<(), Error> {
        if let Some(whole) = whole {
            self.add(0, whole);
            return Ok(());
        }
        // Each piece ends with the beginning of the next one, so that no key is cut in two.
        let mut piece = vec![0; 16 * PAGE + KEY - 1];
        let mut start = 0;
        while start < size {
            let len = (size - start).min(piece.len() as u64) as usize;
            base.read_exact_at(start, &mut piece[..len]).map_err(Error::Base)?;
            self.add(start, &piece[..len]);
            start += 16 * PAGE as u64;
        }
        Ok(())
    }

    /// Adds the positions of `bytes`, which stand from `start` on in the base, a multiple of the step.
    fn add(&mut self, start: u64, bytes: &[u8]) {
        let mut before = 0;
        let mut number = start / self.step;
        for key in bytes.windows(KEY).step_by(self.step as usize) {
            number += 1;
            let hash = hash(key);
            // A run of one pattern would fill the bucket with itself.
            if std::mem::replace(&mut before, hash) == hash {
                continue;
            }
            let Some(bucket) = place(hash, self.all).checked_sub(self.first).and_then(|at| self.buckets.get_mut(at))
            else {
                continue;
            };
            // Without a branch, because the processor would wait for the bucket to come from memory before it goes on.
            let filled: usize = bucket.iter().map(|entry| usize::from(*entry != 0)).sum();
            let replaced = (number as usize).wrapping_mul(0x9e37) >> 8;
            let way = (if filled == WAYS { replaced } else { filled }) % WAYS;
            bucket[way] = (piece(hash, self.bits) << self.bits) as u32 | number as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(bytes: &[u8], memory: u64, threads: usize, whole: bool) -> Index {
        let whole = whole.then_some(bytes);
        Index::new(&bytes, bytes.len() as u64, whole, memory, NonZero::new(threads).unwrap()).unwrap()
    }

    #[test]
    fn finds_what_is_there() {
        let bytes: Vec<u8> =
            (0..300_000u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for memory in [16 << 20, 2 << 20, 1 << 20] {
            let index = make(&bytes, memory, 2, true);
            let positions = bytes.len() / index.step as usize - KEY;
            let found = (0..positions).map(|number| number * index.step as usize).filter(|at| {
                let hash = hash(&bytes[*at..]);
                index.bucket(hash).iter().any(|entry| index.position(*entry, hash) == Some(*at as u64))
            });
            let found = found.count();
            assert!(found * 20 >= positions * 17, "{found} of {positions} with {memory}");
            assert!(index.buckets.len() * 16 <= memory as usize);
        }
    }

    #[test]
    fn is_the_same_however_it_is_made() {
        let bytes: Vec<u8> = (0..900_000u32).flat_map(|number| (number / 3 * 7919).to_be_bytes()).collect();
        let one = make(&bytes, 1 << 20, 1, true).buckets;
        assert!(one == make(&bytes, 1 << 20, 3, true).buckets);
        assert!(one == make(&bytes, 1 << 20, 2, false).buckets);
    }
}
