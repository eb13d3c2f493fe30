//! What `xdelta3 -d -s` must do for a copy of the base, so that a delta is decoded quickly.
//!
//! `xdelta3` reads a base of more than 64 MiB in blocks of 2 MiB and keeps 32 of them, the ones used last; a copy from another block
//! reads all of it. Short copies from everywhere would make it read the base many times over. So a copy from a block that would have to
//! be read has a price, and the more the more blocks its window has had read already. A window's segment, from the first to the
//! last byte that it copies, must stay below what 32 bits count.

use crate::matcher::Copy;

const BLOCK: u64 = 2 << 20;
/// A base of this size is one block to `xdelta3`.
const ONE_BLOCK: u64 = 64 << 20;
/// Blocks that are taken to be kept: not all 32, because they are not counted over windows.
const KEPT: usize = 28;
/// What each of the first reads of a window costs, in bytes of the delta.
const LEAST: i64 = 8;
/// Reads after which they cost twice as much.
const DOUBLE: u32 = 32;
/// The most blocks from the first to the last of a window.
const REACH: usize = 2040;

/// The blocks that `xdelta3` keeps while it decodes a window.
pub(crate) struct Kept {
    /// The one used last is the last.
    blocks: Vec<u64>,
    reads: u32,
    free: bool,
}

fn blocks(from: u64, len: usize) -> std::ops::RangeInclusive<u64> {
    from / BLOCK..=(from + len as u64 - 1) / BLOCK
}

impl Kept {
    /// Nothing is kept yet; `size` is the base's.
    pub(crate) fn new(size: u64) -> Self {
        Self { blocks: Vec::with_capacity(KEPT), reads: 0, free: size <= ONE_BLOCK }
    }

    /// What has to be taken off what a copy from the base saves; 0 when no block has to be read for it.
    pub(crate) fn price(&self, from: u64, len: usize) -> i64 {
        if self.free || blocks(from, len).all(|block| self.blocks.contains(&block)) {
            return 0;
        }
        LEAST << (self.reads / DOUBLE).min(16)
    }

    /// A copy is made.
    pub(crate) fn copied(&mut self, from: u64, len: usize) {
        if self.free {
            return;
        }
        for block in blocks(from, len) {
            match self.blocks.iter().position(|kept| *kept == block) {
                Some(place) => drop(self.blocks.remove(place)),
                None => self.reads += 1,
            }
            if self.blocks.len() == KEPT {
                self.blocks.remove(0);
            }
            self.blocks.push(block);
        }
    }
}

/// Takes out of `copies` those that would make the window's segment too long; `size` is the base's.
pub(crate) fn confine(copies: &mut Vec<Copy>, size: u64) {
    if size <= REACH as u64 * BLOCK {
        return;
    }
    let mut copied = vec![0u64; size.div_ceil(BLOCK) as usize];
    for copy in copies.iter().filter(|copy| copy.from < size) {
        blocks(copy.from, copy.len).for_each(|block| copied[block as usize] += copy.len as u64);
    }
    let reach = reach(&copied);
    copies
        .retain(|copy| copy.from >= size || blocks(copy.from, copy.len).all(|block| reach.contains(&(block as usize))));
}

/// The stretch of at most [`REACH`] blocks that most is copied from.
fn reach(copied: &[u64]) -> std::ops::Range<usize> {
    let len = REACH.min(copied.len());
    let mut sum: u64 = copied[..len].iter().sum();
    let (mut best, mut most) = (0, sum);
    for start in 1..=copied.len() - len {
        sum = sum + copied[start + len - 1] - copied[start - 1];
        if sum > most {
            (best, most) = (start, sum);
        }
    }
    best..best + len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_of_one_block_is_free() {
        let mut kept = Kept::new(ONE_BLOCK);
        (0..32).for_each(|block| kept.copied(block * BLOCK, 10));
        assert_eq!(kept.price(0, 10), 0);
    }

    #[test]
    fn what_was_not_used_lately_price_more_and_more() {
        let mut kept = Kept::new(ONE_BLOCK + 1);
        assert_eq!(kept.price(5, 10), LEAST);
        kept.copied(5, 10);
        assert_eq!(kept.price(BLOCK - 10, 10), 0);
        assert_eq!(kept.price(BLOCK - 10, 11), LEAST, "its last byte is in the next block");
        (1..KEPT as u64).for_each(|block| kept.copied(block * BLOCK, 10));
        kept.copied(5, 10);
        kept.copied(90 * BLOCK, 10);
        assert_eq!(kept.price(5, 10), 0, "used again");
        assert_eq!(kept.price(BLOCK, 10), LEAST, "forgotten for another");
        (200..300).for_each(|block| kept.copied(block * BLOCK, 10));
        assert_eq!(kept.price(5, 10), LEAST << 4);
    }

    #[test]
    fn a_segment_is_not_longer_than_32_bits_count() {
        let copy = |block: u64, len: usize| Copy { at: 0, len, from: block * BLOCK + 5 };
        let size = 9000 * BLOCK;
        let own = Copy { at: 9, len: 4, from: size + 1 };
        let mut copies = vec![copy(10, 9000), own, copy(3000, 5000), copy(5000, 5000)];
        confine(&mut copies, size);
        assert_eq!(copies, [own, copy(3000, 5000), copy(5000, 5000)]);
    }
}
