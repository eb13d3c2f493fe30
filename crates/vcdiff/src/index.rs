//! Where in the base each few bytes stand: a table over the anchors of all of it.
//!
//! An anchor is a position whose eight bytes have a hash of a certain kind: one of eight, or of more when memory is short. The same
//! bytes are an anchor wherever they stand, so that only the anchors of a target have to be looked up, and finding out that a
//! position is none takes no look at memory. What two files have in common has the same anchors in both.
//!
//! A bucket holds four positions, so that one look at memory tells of four candidates, and what is left of a position's 32 bits
//! holds a piece of the hash, so that most candidates that are none are known without a look at the base.
//!
//! The table is the same however many threads make it: each reads every so-many-th piece of the base, and fills a part of the table with
//! what all found, in the order of the base.

use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::error::Error;
use crate::pages::ReadAt;

/// Bytes of a key.
pub(crate) const KEY: usize = 8;

/// Positions that are looked through together.
pub(crate) const TOGETHER: usize = 512;

/// One position of this many is an anchor when there is memory for it.
const FINEST: u64 = 8;
/// And when there is hardly any.
const COARSEST: u64 = 1 << 16;

/// The least memory that a table is made for.
const LEAST: u64 = 1 << 20;

/// Positions of a bucket.
pub(crate) const WAYS: usize = 4;

/// The most bits of an entry that say a position; a larger base is known by cells of several bytes.
const POSITION: u32 = 28;

/// Bytes that a thread reads before it hands on what it found.
const PIECE: usize = 256 << 10;

/// A bucket: positions, counted from 1, below a piece of the hash; 0 is empty.
pub(crate) type Bucket = [u32; WAYS];

/// Positions of the base by the bytes that stand there.
pub(crate) struct Index {
    buckets: Vec<Bucket>,
    sieve: Sieve,
    form: Form,
}

/// How an entry is read.
#[derive(Debug, Clone, Copy)]
struct Form {
    /// Bits of a position; those above are the piece of the hash.
    bits: u32,
    /// Bits of a position that are not kept.
    dropped: u32,
}

/// Which positions are anchors: those with all of these bits set in what their bytes are mixed to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sieve(u64);

/// A position whose bytes are an anchor.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Anchor {
    pub(crate) at: u32,
    pub(crate) hash: u64,
}

impl Sieve {
    /// Puts the anchors among the first positions of `bytes` into `found`, and says how many there are. Positions are those with
    /// [`KEY`] bytes, and no more than [`TOGETHER`].
    pub(crate) fn anchors(self, bytes: &[u8], found: &mut [Anchor; TOGETHER]) -> usize {
        let mut count = 0;
        for (at, key) in bytes.windows(KEY).take(TOGETHER).enumerate() {
            let key = key.first_chunk().map_or(0, |key| u64::from_le_bytes(*key));
            // Multiplying carries only upwards; folding brings the upper bytes down to all bits that are used.
            let hash = (key ^ key >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            // Written in any case and counted only if it is one: a branch would be guessed wrong at nearly every anchor.
            found[count % TOGETHER] = Anchor { at: at as u32, hash };
            count += usize::from(hash & self.0 == self.0);
        }
        for anchor in &mut found[..count] {
            anchor.hash = (anchor.hash ^ anchor.hash >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        }
        count
    }
}

impl Index {
    /// Indexes the whole base, with a table of at most about `memory` bytes. The base is left in `whole`, when that is there: as many bytes
    /// as it has.
    pub(crate) fn new(
        base: &dyn ReadAt,
        size: u64,
        whole: Option<&mut [u8]>,
        memory: u64,
        threads: NonZero<usize>,
    ) -> Result<Self, Error> {
        Self::with(base, size, whole, memory, threads, POSITION)
    }

    /// The same with positions of at most `position` bits.
    fn with(
        base: &dyn ReadAt,
        size: u64,
        whole: Option<&mut [u8]>,
        memory: u64,
        threads: NonZero<usize>,
        position: u32,
    ) -> Result<Self, Error> {
        let room = memory.max(LEAST) / size_of::<Bucket>() as u64;
        // A third more places than anchors: a bucket that is full forgets.
        let wanted = |one_of: u64| (size / one_of).div_ceil(3).max(1);
        let mut one_of = FINEST;
        while wanted(one_of) > room && one_of < COARSEST {
            one_of *= 2;
        }
        let bits = u64::BITS - (size + 1).leading_zeros();
        let dropped = bits.saturating_sub(position);
        let form = Form { bits: bits - dropped, dropped };
        // Bits of the upper half: the lower ones depend on fewer of the key's.
        let sieve = Sieve((one_of - 1) << 40);
        let mut buckets = vec![[0; WAYS]; wanted(one_of).min(room.max(1)) as usize];
        fill(&mut buckets, form, sieve, base, size, whole, threads)?;
        Ok(Self { buckets, sieve, form })
    }

    pub(crate) fn sieve(&self) -> Sieve {
        self.sieve
    }

    /// The bucket of a hash.
    pub(crate) fn bucket(&self, hash: u64) -> &Bucket {
        &self.buckets[place(hash, self.buckets.len())]
    }

    /// The position that an entry of the hash's bucket means, when it may be one with that hash: the first of a [cell](Self::cell).
    pub(crate) fn position(&self, entry: u32, hash: u64) -> Option<u64> {
        let number = u64::from(entry) & ((1 << self.form.bits) - 1);
        (number > 0 && u64::from(entry) >> self.form.bits == piece(hash, self.form.bits))
            .then(|| (number - 1) << self.form.dropped)
    }

    /// Bytes that are known by one position; 1 unless the base is large.
    pub(crate) fn cell(&self) -> u64 {
        1 << self.form.dropped
    }
}

/// The bucket that a hash belongs to: its upper half, scaled to their number.
fn place(hash: u64, all: usize) -> usize {
    (((hash >> 32) * all as u64) >> 32) as usize
}

fn piece(hash: u64, bits: u32) -> u64 {
    (hash & 0xffff_ffff) >> bits
}

/// An entry and the bucket that it goes to.
type Put = (u32, u32);

/// What one thread does: it looks through its pieces of the base, and fills its part of the table.
struct Maker<'a> {
    base: &'a dyn ReadAt,
    size: u64,
    sieve: Sieve,
    form: Form,
    /// Buckets of the whole table.
    all: usize,
    /// Its pieces of the base: where they begin, and where they are left.
    pieces: Vec<(u64, &'a mut [u8])>,
    buckets: &'a mut [Bucket],
    first: usize,
    /// To each thread, what belongs to its part.
    found: Vec<SyncSender<Vec<Put>>>,
    /// From each thread, what belongs here.
    to_put: Vec<Receiver<Vec<Put>>>,
}

fn fill(
    buckets: &mut [Bucket],
    form: Form,
    sieve: Sieve,
    base: &dyn ReadAt,
    size: u64,
    whole: Option<&mut [u8]>,
    threads: NonZero<usize>,
) -> Result<(), Error> {
    let threads = threads.get();
    let all = buckets.len();
    let share = all.div_ceil(threads);
    let mut makers: Vec<_> = (0..threads).map(|_| (Vec::new(), Vec::new(), Vec::new())).collect();
    let starts = (0..size).step_by(PIECE);
    match whole {
        Some(whole) => starts
            .zip(whole.chunks_mut(PIECE))
            .enumerate()
            .for_each(|(number, piece)| makers[number % threads].0.push(piece)),
        None => starts.enumerate().for_each(|(number, start)| makers[number % threads].0.push((start, &mut [][..]))),
    }
    for from in 0..threads {
        for to in 0..threads {
            let (send, receive) = sync_channel(2);
            makers[from].1.push(send);
            makers[to].2.push(receive);
        }
    }
    let mut parts = buckets.chunks_mut(share);
    let mut result = Ok(());
    std::thread::scope(|scope| {
        let makers: Vec<_> = (makers.into_iter().enumerate())
            .map(|(number, (pieces, found, to_put))| {
                let buckets = parts.next().unwrap_or_default();
                let first = number * share;
                let maker = Maker { base, size, sieve, form, all, pieces, buckets, first, found, to_put };
                scope.spawn(move || maker.run(share))
            })
            .collect();
        for maker in makers {
            match maker.join() {
                Ok(made) => result = std::mem::replace(&mut result, Ok(())).and(made),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    result
}

impl Maker<'_> {
    /// In turns of one piece for each thread. A thread that fails drops its ends of the channels, and so all end.
    fn run(mut self, share: usize) -> Result<(), Error> {
        let mut buffer = Vec::new();
        let threads = self.found.len() as u64;
        for turn in 0..self.size.div_ceil(PIECE as u64).div_ceil(threads) as usize {
            let mut puts = vec![Vec::new(); self.found.len()];
            if let Some((start, left)) = self.pieces.get_mut(turn) {
                let bytes = if left.is_empty() {
                    buffer.resize((self.size - *start).min(PIECE as u64) as usize, 0);
                    &mut buffer[..]
                } else {
                    left
                };
                self.base.read_exact_at(*start, bytes).map_err(Error::Base)?;
                find(self.sieve, self.form, *start, bytes, self.all, share, &mut puts);
            }
            if self.found.iter().zip(puts).any(|(found, puts)| found.send(puts).is_err()) {
                return Ok(());
            }
            for others in &self.to_put {
                let Ok(puts) = others.recv() else { return Ok(()) };
                put(&mut self.buckets[..], self.first, &puts);
            }
        }
        Ok(())
    }
}

/// Finds the anchors of a piece of the base, by the part of the table that they belong to. What is cut by the piece's end is none.
fn find(sieve: Sieve, form: Form, start: u64, bytes: &[u8], all: usize, share: usize, puts: &mut [Vec<Put>]) {
    let mut anchors = [Anchor::default(); TOGETHER];
    let (mut at, mut before) = (0, 0);
    while at < bytes.len() {
        let count = sieve.anchors(&bytes[at..], &mut anchors);
        for anchor in &anchors[..count] {
            // What is one pattern again and again would fill the bucket with itself.
            if std::mem::replace(&mut before, anchor.hash) == anchor.hash {
                continue;
            }
            let bucket = place(anchor.hash, all);
            let number = ((start + at as u64 + u64::from(anchor.at)) >> form.dropped) + 1;
            puts[bucket / share]
                .push((bucket as u32, (piece(anchor.hash, form.bits) << form.bits) as u32 | number as u32));
        }
        at += TOGETHER;
    }
}

/// Puts entries into a part of the table, which begins with the bucket `first`.
fn put(buckets: &mut [Bucket], first: usize, puts: &[Put]) {
    for (at, entry) in puts {
        let Some(bucket) = buckets.get_mut((*at as usize).wrapping_sub(first)) else { continue };
        // Without a branch, because the processor would wait for the bucket to come from memory before it goes on.
        let filled: usize = bucket.iter().map(|entry| usize::from(*entry != 0)).sum();
        let replaced = entry.wrapping_mul(0x9e37_79b1) >> 30;
        let way = if filled == WAYS { replaced as usize } else { filled };
        bucket[way % WAYS] = *entry;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(bytes: &[u8], memory: u64, threads: usize, whole: bool) -> Index {
        let mut copy = vec![0; bytes.len()];
        let index = Index::new(
            &bytes,
            bytes.len() as u64,
            whole.then_some(&mut copy[..]),
            memory,
            NonZero::new(threads).unwrap(),
        )
        .unwrap();
        assert!(!whole || copy == bytes, "the base is left where it is wanted");
        index
    }

    fn bytes() -> Vec<u8> {
        (0..300_000u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
    }

    #[test]
    fn finds_what_is_there() {
        let bytes = bytes();
        let mut all = bytes.len();
        for memory in [16 << 20, 2 << 20, 1 << 20] {
            let index = make(&bytes, memory, 2, true);
            let (mut positions, mut found) = (0, 0);
            let mut anchors = [Anchor::default(); TOGETHER];
            for start in (0..bytes.len()).step_by(TOGETHER) {
                let count = index.sieve().anchors(&bytes[start..], &mut anchors);
                positions += count;
                found += (anchors[..count].iter())
                    .filter(|anchor| {
                        let at = (start + anchor.at as usize) as u64;
                        let bucket = index.bucket(anchor.hash);
                        bucket.iter().any(|entry| index.position(*entry, anchor.hash) == Some(at))
                    })
                    .count();
            }
            assert!(positions > 1000 && positions <= all, "{positions} anchors with {memory}");
            assert!(found * 20 >= positions * 17, "{found} of {positions} with {memory}");
            assert!(index.buckets.len() * 16 <= memory as usize);
            all = positions;
        }
    }

    #[test]
    fn is_the_same_however_it_is_made() {
        let bytes = bytes();
        let one = make(&bytes, 1 << 20, 1, true).buckets;
        assert!(one == make(&bytes, 1 << 20, 3, true).buckets);
        assert!(one == make(&bytes, 1 << 20, 2, false).buckets);
    }

    #[test]
    fn a_position_of_a_large_base_is_a_cell() {
        let bytes = bytes();
        let size = bytes.len() as u64;
        let index = Index::with(&bytes, size, None, 4 << 20, NonZero::new(2).unwrap(), 18).unwrap();
        assert_eq!(index.cell(), 8);
        let mut anchors = [Anchor::default(); TOGETHER];
        let count = index.sieve().anchors(&bytes[5000..], &mut anchors);
        let found = anchors[..count].iter().filter(|anchor| {
            let cell = (5000 + u64::from(anchor.at)) / 8 * 8;
            index.bucket(anchor.hash).iter().any(|entry| index.position(*entry, anchor.hash) == Some(cell))
        });
        let found = found.count();
        assert!(found > 0 && found * 20 >= count * 17, "{found} of {count}");
    }
}
