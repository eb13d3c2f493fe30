//! Where in a target window each few bytes stood before.
//!
//! Chains of positions with the same four bytes lead back some way: what is short is worth a copy only from nearby, where its address is short,
//! too. What is long is found from anywhere in the window by its anchors.

/// Bytes of a key.
pub(crate) const KEY: usize = 4;
const HEADS: u32 = 17;
/// Positions whose chains are known.
const RING: usize = 1 << 18;
const FAR: usize = 1 << 18;

/// What is known of one window; kept for the next one by whoever matches.
pub(crate) struct Chains {
    /// The last position with a hash, counted from 1.
    heads: Vec<u32>,
    /// The position before each with the same hash, counted from 1.
    before: Vec<u32>,
    /// The last position of an anchor, counted from 1.
    far: Vec<u32>,
}

impl Chains {
    pub(crate) fn new() -> Self {
        Self { heads: vec![0; 1 << HEADS], before: vec![0; RING], far: vec![0; FAR] }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.heads.fill(0);
        self.far.fill(0);
    }

    /// Adds a position of the window.
    #[inline]
    pub(crate) fn add(&mut self, window: &[u8], at: usize) {
        if let Some(place) = place(window, at) {
            self.before[at % RING] = std::mem::replace(&mut self.heads[place], at as u32 + 1);
        }
    }

    /// The positions with the hash of the bytes at `at`, nearest first. The first may be anywhere, the others are not far from `at`.
    #[inline]
    pub(crate) fn candidates(&self, window: &[u8], at: usize) -> impl Iterator<Item = usize> {
        let mut next = place(window, at).map_or(0, |place| self.heads[place]);
        std::iter::from_fn(move || {
            let found = next.checked_sub(1)? as usize;
            // Further back, others have taken the places in the ring.
            next = if at - found < RING { self.before[found % RING] } else { 0 };
            Some(found)
        })
    }

    /// Adds an anchor, and says where one with its hash was before.
    #[inline]
    pub(crate) fn anchor(&mut self, hash: u64, at: usize) -> Option<usize> {
        let before = std::mem::replace(&mut self.far[hash as usize % FAR], at as u32 + 1);
        before.checked_sub(1).map(|before| before as usize)
    }
}

fn place(window: &[u8], at: usize) -> Option<usize> {
    let key = u32::from_le_bytes(*window.get(at..)?.first_chunk()?);
    Some((key.wrapping_mul(0x9e37_79b1) >> (32 - HEADS)) as usize)
}

/// How many bytes are the same from the beginning of both on.
pub(crate) fn same_from_start(a: &[u8], b: &[u8]) -> usize {
    let len = a.len().min(b.len());
    let (a, b) = (&a[..len], &b[..len]);
    let mut at = 0;
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        let difference = word(a) ^ word(b);
        if difference != 0 {
            return at + difference.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + a[at..].iter().zip(&b[at..]).take_while(|(a, b)| a == b).count()
}

/// How many bytes are the same back from the end of both.
pub(crate) fn same_to_end(a: &[u8], b: &[u8]) -> usize {
    let len = a.len().min(b.len());
    let (a, b) = (&a[a.len() - len..], &b[b.len() - len..]);
    let mut same = 0;
    for (a, b) in a.rchunks_exact(8).zip(b.rchunks_exact(8)) {
        let difference = word(a) ^ word(b);
        if difference != 0 {
            return same + difference.leading_zeros() as usize / 8;
        }
        same += 8;
    }
    let rest = len - same;
    same + a[..rest].iter().rev().zip(b[..rest].iter().rev()).take_while(|(a, b)| a == b).count()
}

fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same() {
        let a: Vec<u8> = (0..100).collect();
        for len in 0..100 {
            for at in 0..len {
                let mut b = a[..len].to_vec();
                b[at] ^= 0x80;
                assert_eq!(same_from_start(&a[..len], &b), at);
                assert_eq!(same_to_end(&a[..len], &b), len - at - 1);
            }
            assert_eq!(same_from_start(&a, &a[..len]), len);
            assert_eq!(same_to_end(&a, &a[100 - len..]), len);
        }
    }

    #[test]
    fn nearest_first() {
        let window = b"abcd-abcd-abcd-abcd";
        let mut chains = Chains::new();
        chains.clear();
        for at in 0..15 {
            chains.add(window, at);
        }
        assert_eq!(chains.candidates(window, 15).collect::<Vec<_>>(), [10, 5, 0]);
        assert_eq!(chains.candidates(window, 17).count(), 0, "the end of a window has no key");
        assert_eq!(chains.anchor(7, 3), None);
        assert_eq!(chains.anchor(7, 9), Some(3));
    }

    #[test]
    fn chains_end_where_the_ring_does() {
        let window = vec![5; 2 * RING + 1000];
        let mut chains = Chains::new();
        for at in [0, 10, 900, RING + 20, RING + 100] {
            chains.add(&window, at);
        }
        assert_eq!(chains.candidates(&window, RING + 200).collect::<Vec<_>>(), [RING + 100, RING + 20, 900, 10]);
        assert_eq!(chains.candidates(&window, 2 * RING + 500).take(2).collect::<Vec<_>>(), [RING + 100]);
    }
}
