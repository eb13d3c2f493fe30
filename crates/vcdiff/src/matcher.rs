//! Which parts of a target window are copies, and of what.

use crate::address_cache::AddressCache;
use crate::confine::Kept;
use crate::error::Error;
use crate::index::{Anchor, Bucket, Index, TOGETHER};
use crate::near::Near;
use crate::pages::Pages;
use crate::varint;
use crate::window::{self, Chains, same_from_start, same_to_end};

/// A piece of the window that is a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Copy {
    /// Where in the window it begins.
    pub(crate) at: usize,
    pub(crate) len: usize,
    /// Where it is copied from: a position in the base, or behind the base one in the window.
    pub(crate) from: u64,
}

/// Bytes from which on a run is not copied from the base.
const RUN: usize = 64;
/// Copies that are as long as this are taken without a look at what else there is.
const GOOD: usize = 128;
/// Positions of a chain that are tried.
const DEPTH: usize = 32;
/// Bytes without a copy after which the base nearby is looked at.
const ALONE: usize = 3;
/// Bytes without a copy after which nothing short is expected any more.
const LONELY: usize = 1024;
/// Shifts between base and target that were right lately and are tried first.
const SHIFTS: usize = 4;
/// A shift that leads nowhere.
const NOWHERE: i64 = i64::MIN;

/// Finds copies; made once for each thread.
pub(crate) struct Matcher<'a> {
    index: &'a Index,
    base: Pages<'a>,
    size: u64,
    chains: Chains,
    near: Near,
    anchors: [Anchor; TOGETHER],
    buckets: [Bucket; TOGETHER],
}

/// What is being matched.
struct Scan<'w> {
    window: &'w [u8],
    /// The addresses used so far, in the base followed by the window: what a copy costs depends on them. The window's segment, which
    /// is known only when all its copies are, changes little of that.
    addresses: AddressCache,
    /// What anchors have led to, in the order of the window, and which of it comes next.
    hits: Vec<Hit>,
    next: usize,
    /// The byte before which all anchors are known.
    seen: usize,
    /// Base position less window position, the last one used first.
    shifts: [i64; SHIFTS],
    /// What the decoder has at hand.
    kept: Kept,
    /// The first byte that is in no copy yet.
    free: usize,
}

/// Bytes of the window that stood elsewhere before.
#[derive(Debug, Clone, Copy)]
struct Hit {
    at: usize,
    /// As in [`Copy`].
    from: u64,
}

#[derive(Clone, Copy)]
struct Found {
    copy: Copy,
    /// Bytes that the delta becomes smaller by, less what the copy costs the decoder.
    gain: i64,
}

impl<'a> Matcher<'a> {
    pub(crate) fn new(index: &'a Index, base: Pages<'a>, size: u64) -> Self {
        Self {
            index,
            base,
            size,
            chains: Chains::new(),
            near: Near::new(),
            anchors: [Anchor::default(); TOGETHER],
            buckets: [Bucket::default(); TOGETHER],
        }
    }

    /// The copies of a window that begins at `start` in the target, in their order.
    pub(crate) fn copies(&mut self, window: &[u8], start: u64) -> Result<Vec<Copy>, Error> {
        let mut copies = Vec::new();
        self.chains.clear();
        self.near.clear();
        let mut shifts = [NOWHERE; SHIFTS];
        // What nothing was done to stands where it stood.
        shifts[0] = start as i64;
        let mut scan = Scan {
            window,
            addresses: AddressCache::new(),
            hits: Vec::new(),
            next: 0,
            seen: 0,
            shifts,
            kept: Kept::new(self.size),
            free: 0,
        };
        let mut at = 0;
        while at < window.len() {
            let Some(mut found) = self.best(&mut scan, at)? else {
                self.chains.add(window, at);
                at = scan.onward(at);
                continue;
            };
            // A copy that begins a byte later may be the better one.
            while found.copy.len < GOOD && at + 1 < window.len() {
                self.chains.add(window, at);
                at += 1;
                match self.best(&mut scan, at)? {
                    Some(later) if later.gain > found.gain + 1 => found = later,
                    _ => break,
                }
            }
            let copy = self.own_run(window, found.copy);
            let end = copy.at + copy.len;
            self.remember(window, at, end);
            scan.addresses.used(copy.from);
            if copy.from < self.size {
                scan.kept.copied(copy.from, copy.len);
                let shift = copy.from as i64 - copy.at as i64;
                let place = scan.shifts.iter().position(|other| *other == shift).unwrap_or(SHIFTS - 1);
                scan.shifts[..=place].rotate_right(1);
                scan.shifts[0] = shift;
            }
            scan.free = end;
            at = end;
            copies.push(copy);
        }
        Ok(copies)
    }

    /// Adds what a copy covers to the chains; of a long one only its ends, because the index knows the rest.
    fn remember(&mut self, window: &[u8], from: usize, end: usize) {
        if end.saturating_sub(from) <= 256 {
            (from..end).for_each(|at| self.chains.add(window, at));
        } else {
            (from..from + 64).chain(end - 128..end).for_each(|at| self.chains.add(window, at));
        }
    }

    /// A copy of the base that is one byte over and over, as a copy of the window's own byte before: that costs a byte and ties
    /// the window to no place of the base.
    fn own_run(&self, window: &[u8], copy: Copy) -> Copy {
        let bytes = &window[copy.at..copy.at + copy.len];
        if copy.from < self.size && copy.len >= RUN && same_from_start(bytes, &bytes[1..]) == copy.len - 1 {
            return Copy { at: copy.at + 1, len: copy.len - 1, from: self.size + copy.at as u64 };
        }
        copy
    }

    /// The copy that saves most of those that cover the byte `at`.
    fn best(&mut self, scan: &mut Scan<'_>, at: usize) -> Result<Option<Found>, Error> {
        let (window, size, run) = (scan.window, self.size, at - scan.free);
        let Some(word) = word(window, at) else { return Ok(None) };
        let mut best: Option<Found> = None;
        for place in 0..if run < LONELY { SHIFTS } else { 1 } {
            let from = (at as i64).wrapping_add(scan.shifts[place]) as u64;
            if self.base.word(from)? == Some(word) {
                offer_base(&mut self.base, size, scan, at, from, &mut best)?;
                if best.is_some_and(|best| best.copy.len >= GOOD) {
                    return Ok(best);
                }
            }
        }
        self.look_ahead(scan, at)?;
        while let Some(hit) = scan.hits.get(scan.next).copied().filter(|hit| hit.at <= at) {
            scan.next += 1;
            if hit.at < at {
                continue;
            }
            match hit.from.checked_sub(size) {
                None => offer_base(&mut self.base, size, scan, at, hit.from, &mut best)?,
                Some(before) => {
                    let len = same_from_start(&window[at..], &window[before as usize..]);
                    offer_own(size, scan, at, before as usize, len, &mut best);
                }
            }
        }
        if run == ALONE {
            let place = (at as i64).wrapping_add(scan.shifts[0]) as u64;
            if place < size {
                self.near.go_to(place, &mut self.base)?;
            }
        }
        if run < LONELY {
            for from in self.near.candidates(&window[at..]) {
                if self.base.word(from)? == Some(word) {
                    offer_base(&mut self.base, size, scan, at, from, &mut best)?;
                }
            }
        }
        let depth = if run < 64 {
            DEPTH
        } else if run < LONELY {
            DEPTH / 4
        } else {
            1
        };
        let rest = &window[at..];
        let mut longest = window::KEY - 1;
        for candidate in self.chains.candidates(window, at).take(depth) {
            let before = &window[candidate..];
            // What is not longer than one that is nearer needs no closer look.
            let end = longest + 1 - window::KEY;
            if rest.len() <= longest || word_of(before, end) != word_of(rest, end) {
                continue;
            }
            let len = same_from_start(rest, before);
            if len <= longest {
                continue;
            }
            longest = len;
            offer_own(size, scan, at, candidate, len, &mut best);
            if len >= GOOD {
                break;
            }
        }
        Ok(best)
    }

    /// Sees that all anchors at `at` and after it, for a while, are known, with what they lead to.
    fn look_ahead(&mut self, scan: &mut Scan<'_>, at: usize) -> Result<(), Error> {
        if at < scan.seen {
            return Ok(());
        }
        scan.hits.clear();
        (scan.next, scan.seen) = (0, at + TOGETHER);
        let count = self.index.sieve().anchors(&scan.window[at..], &mut self.anchors);
        let anchors = &self.anchors[..count];
        // All at once, so that their ways to memory overlap.
        for (bucket, anchor) in self.buckets.iter_mut().zip(anchors) {
            *bucket = *self.index.bucket(anchor.hash);
        }
        for (bucket, anchor) in self.buckets.iter().zip(anchors) {
            let at = at + anchor.at as usize;
            let Some(key) = scan.window[at..].first_chunk() else { continue };
            if let Some(before) = self.chains.anchor(anchor.hash, at)
                && scan.window[before..].first_chunk() == Some(key)
            {
                scan.hits.push(Hit { at, from: self.size + before as u64 });
            }
            for entry in bucket {
                let Some(cell) = self.index.position(*entry, anchor.hash) else { continue };
                for from in cell..cell + self.index.cell() {
                    if self.base.may_have(from, key)? {
                        scan.hits.push(Hit { at, from });
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Scan<'_> {
    /// The next byte to look at when there is nothing at `at`. Where nothing was found for long, nothing short will be, and of something long
    /// any byte will do; an anchor that has led to something is not passed over.
    fn onward(&self, at: usize) -> usize {
        let next = at + 1 + ((at - self.free) >> 9).min(31);
        let hit = self.hits.get(self.next).map_or(self.seen, |hit| hit.at);
        next.min(hit).max(at + 1)
    }
}

/// The four bytes from `at` on.
#[inline]
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}

#[inline]
fn word_of(bytes: &[u8], at: usize) -> u32 {
    word(bytes, at).unwrap_or_default()
}

/// Measures a copy of `len` bytes of the window itself, from `before` to `at`.
fn offer_own(size: u64, scan: &Scan<'_>, at: usize, before: usize, len: usize, best: &mut Option<Found>) {
    let back = same_to_end(&scan.window[scan.free..at], &scan.window[..before]);
    offer(scan, size, Copy { at: at - back, len: len + back, from: size + (before - back) as u64 }, best);
}

/// Measures a copy of the base that has the byte `from` at `at`.
fn offer_base(
    base: &mut Pages<'_>,
    size: u64,
    scan: &Scan<'_>,
    at: usize,
    from: u64,
    best: &mut Option<Found>,
) -> Result<(), Error> {
    if from >= size {
        return Ok(());
    }
    let mut rest = &scan.window[at..];
    let mut end = from;
    loop {
        let there = base.from(end)?;
        let (same, whole) = (same_from_start(there, rest), there.len());
        end += same as u64;
        rest = &rest[same..];
        if same < whole || whole == 0 || rest.is_empty() {
            break;
        }
    }
    if end - from < 4 {
        return Ok(());
    }
    let mut free = &scan.window[scan.free..at];
    let mut begin = from;
    loop {
        let there = base.up_to(begin)?;
        let (same, whole) = (same_to_end(there, free), there.len());
        begin -= same as u64;
        free = &free[..free.len() - same];
        if same < whole || whole == 0 || free.is_empty() {
            break;
        }
    }
    let copy = Copy { at: scan.free + free.len(), len: (end - begin) as usize, from: begin };
    offer(scan, size, copy, best);
    Ok(())
}

/// Keeps a copy when it saves more than the best one yet.
fn offer(scan: &Scan<'_>, size: u64, copy: Copy, best: &mut Option<Found>) {
    // The instruction, its size, and the address.
    let written = scan.addresses.shortest(copy.from, size + copy.at as u64).len;
    let sized = if copy.len > 18 { varint::len(copy.len as u64) } else { 0 };
    let mut gain = copy.len as i64 - (1 + sized + written) as i64;
    let least = if copy.len <= 6 { 1 } else { 2 };
    if gain < least || best.is_some_and(|best| gain <= best.gain) {
        return;
    }
    if copy.from < size {
        gain -= scan.kept.price(copy.from, copy.len);
        if gain < least || best.is_some_and(|best| gain <= best.gain) {
            return;
        }
    }
    *best = Some(Found { copy, gain });
}
