//! Which copies of the base a window keeps, so that `xdelta3 -d -s` decodes it quickly.
//!
//! `xdelta3` reads a base of more than 64 MiB in blocks of 2 MiB and keeps 32 of them, the ones used last; every copy from
//! another block reads 2 MiB. A window whose short copies come from everywhere is decoded at the speed of reading the base many
//! times over. So a window has a few blocks that it copies from freely, those that save most, and others only for what is
//! worth a read. Its segment, from the first to the last byte that it copies, stays below what 32 bits count.

use crate::matcher::Copy;

const BLOCK: u64 = 2 << 20;
/// A base of this size is one block to `xdelta3`.
const ONE_BLOCK: u64 = 64 << 20;
/// Blocks that a window copies from freely: not all 32, so that the window before and after find theirs as well.
const FREE: usize = 28;
/// Bytes of a copy that are worth reading a block for.
const WORTH: usize = 2048;
/// The most blocks from the first to the last of a window.
const REACH: usize = 1000;

/// Takes out of `copies` what is not worth its cost to the decoder; `size` is the base's.
pub(crate) fn confine(copies: &mut Vec<Copy>, size: u64) {
    if size <= ONE_BLOCK {
        return;
    }
    let blocks = size.div_ceil(BLOCK) as usize;
    let mut copied = vec![0u64; blocks];
    let each = |copy: &Copy| (copy.from / BLOCK) as usize..=((copy.from + copy.len as u64 - 1) / BLOCK) as usize;
    for copy in copies.iter().filter(|copy| copy.from < size) {
        each(copy).for_each(|block| copied[block] += copy.len as u64);
    }
    let reach = reach(&copied);
    let mut order: Vec<usize> = (0..blocks).filter(|block| copied[*block] > 0 && reach.contains(block)).collect();
    order.sort_by_key(|block| (std::cmp::Reverse(copied[*block]), *block));
    let mut free = vec![false; blocks];
    order.iter().take(FREE).for_each(|block| free[*block] = true);
    copies.retain(|copy| {
        copy.from >= size || each(copy).all(|block| reach.contains(&block) && (free[block] || copy.len >= WORTH))
    });
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

    fn copy(block: u64, len: usize) -> Copy {
        Copy { at: 0, len, from: block * BLOCK + 5 }
    }

    #[test]
    fn a_base_of_one_block_is_free() {
        let mut copies: Vec<_> = (0..32).map(|block| copy(block, 10)).collect();
        confine(&mut copies, ONE_BLOCK);
        assert_eq!(copies.len(), 32);
    }

    #[test]
    fn short_copies_come_from_few_blocks() {
        let size = 100 * BLOCK;
        let mut copies: Vec<_> = (0..100).map(|block| copy(block, 10 + block as usize)).collect();
        copies.push(copy(3, WORTH));
        copies.push(Copy { at: 9, len: 4, from: size + 1 });
        confine(&mut copies, size);
        let blocks: Vec<_> = copies.iter().filter(|copy| copy.from < size).map(|copy| copy.from / BLOCK).collect();
        let mut expected = vec![3];
        expected.extend(100 - FREE as u64 + 1..100);
        expected.push(3);
        assert_eq!(blocks, expected, "those that save most, and all of a block that one long copy made worth it");
        assert_eq!(copies.last().unwrap().from, size + 1, "the window's own copies stay");
    }

    #[test]
    fn a_segment_is_not_longer_than_32_bits_count() {
        let size = 5000 * BLOCK;
        let mut copies = vec![copy(10, 9000), copy(3000, 5000), copy(3900, 5000)];
        confine(&mut copies, size);
        assert_eq!(copies, [copy(3000, 5000), copy(3900, 5000)]);
    }
}
