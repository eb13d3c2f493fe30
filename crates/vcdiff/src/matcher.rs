//! Which parts of a target window are copies, and of what.

use crate::address_cache::AddressCache;
use crate::confine::Kept;
use crate::error::Error;
use crate::index::{self, Bucket, Index};
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
/// Keys that are looked up together, so that their ways to memory overlap.
const TOGETHER: usize = 8;
/// Copies from the base that are as long as this are taken without a look at the next byte.
const GOOD: usize = 128;
/// Positions of a chain that are tried.
const DEPTH: usize = 32;
/// Positions of the base nearby that are tried.
const NEAR_DEPTH: usize = 8;
/// Bytes without a copy after which the base nearby is looked at.
const ALONE: usize = 3;
/// Shifts between base and target that were right lately and are tried first.
const SHIFTS: usize = 4;

/// Finds copies; made once for each thread.
pub(crate) struct Matcher<'a> {
    index: &'a Index,
    base: Pages<'a>,
    size: u64,
    chains: Chains,
    near: Near,
}

/// What is being matched.
struct Scan<'w> {
    window: &'w [u8],
    /// The addresses used so far, in the base followed by the window: what a copy costs depends on them. The window's segment, which
    /// is known only when all its copies are, changes little of that.
    addresses: AddressCache,
    /// What was looked up ahead, and from which byte on.
    ahead: [(u64, Bucket); TOGETHER],
    ahead_at: usize,
    /// Base position less window position, the last one used first.
    shifts: [i64; SHIFTS],
    /// What the decoder has at hand.
    kept: Kept,
    /// The first byte that is in no copy yet.
    free: usize,
}

#[derive(Clone, Copy)]
struct Found {
    copy: Copy,
    /// Bytes that the delta becomes smaller by.
    gain: i64,
}

impl<'a> Matcher<'a> {
    pub(crate) fn new(index: &'a Index, base: Pages<'a>, size: u64) -> Self {
        Self { index, base, size, chains: Chains::new(), near: Near::new() }
    }

    /// The copies of a window that begins at `start` in the target, in their order.
    pub(crate) fn copies(&mut self, window: &[u8], start: u64) -> Result<Vec<Copy>, Error> {
        let mut copies = Vec::new();
        self.chains.clear(window.len());
        self.near.clear();
        let mut scan = Scan {
            window,
            addresses: AddressCache::new(),
            ahead: [(0, [0; 4]); TOGETHER],
            ahead_at: usize::MAX,
            // What nothing was done to stands where it stood.
            shifts: [start as i64; SHIFTS],
            kept: Kept::new(self.size),
            free: 0,
        };
        let mut at = 0;
        while at < window.len() {
            let Some(mut found) = self.best(&mut scan, at)? else {
                self.chains.add(window, at);
                // Where nothing was found for long, nothing short will be, and of something long any byte will do. The
                // strides are odd: some byte of a few in a row is at a position that the index knows.
                at += 1 + ((at - scan.free) >> 9 & !1).min(30);
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
        let mut best: Option<Found> = None;
        for place in 0..SHIFTS {
            let shift = scan.shifts[place];
            if place > 0 && scan.shifts[place - 1] == shift {
                continue;
            }
            if let Some(from) = (at as i64).checked_add(shift).and_then(|from| u64::try_from(from).ok()) {
                offer_base(&mut self.base, self.size, scan, at, from, &mut best)?;
            }
            if best.is_some_and(|best| best.copy.len >= GOOD) {
                return Ok(best);
            }
        }
        let (hash, bucket) = self.look_up(scan, at);
        for entry in bucket {
            if let Some(from) = self.index.position(entry, hash) {
                offer_base(&mut self.base, self.size, scan, at, from, &mut best)?;
            }
        }
        let run = at - scan.free;
        if run == ALONE
            && let Some(place) = at.checked_add_signed(scan.shifts[0] as isize)
        {
            self.near.go_to(place as u64, &mut self.base)?;
        }
        if run < 1024 {
            for from in self.near.candidates(&scan.window[at..]).take(NEAR_DEPTH) {
                offer_base(&mut self.base, self.size, scan, at, from, &mut best)?;
            }
        }
        let depth = if run < 64 {
            DEPTH
        } else if run < 1024 {
            DEPTH / 4
        } else {
            1
        };
        let rest = &scan.window[at..];
        for candidate in self.chains.candidates(scan.window, at).take(depth) {
            let len = same_from_start(rest, &scan.window[candidate..]);
            if len < window::KEY {
                continue;
            }
            let back = same_to_end(&scan.window[scan.free..at], &scan.window[..candidate]);
            let copy = Copy { at: at - back, len: len + back, from: self.size + (candidate - back) as u64 };
            offer(scan, self.size, copy, &mut best);
            if len >= GOOD {
                break;
            }
        }
        Ok(best)
    }

    fn look_up(&self, scan: &mut Scan<'_>, at: usize) -> (u64, Bucket) {
        let ahead = at.wrapping_sub(scan.ahead_at);
        if ahead < TOGETHER {
            return scan.ahead[ahead];
        }
        scan.ahead = [(0, [0; 4]); TOGETHER];
        for (slot, key) in scan.ahead.iter_mut().zip(scan.window[at..].windows(index::KEY)) {
            let hash = index::hash(key);
            *slot = (hash, self.index.bucket(hash));
        }
        scan.ahead_at = at;
        scan.ahead[0]
    }
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
    // The instruction, its size, and the address; and an ADD before it that would not be there.
    let written = scan.addresses.shortest(copy.from, size + copy.at as u64).len;
    let sized = if copy.len > 18 { varint::len(copy.len as u64) } else { 0 };
    let gain = copy.len as i64 - (1 + sized + written) as i64;
    let least = if copy.len <= 6 { 1 } else { 2 };
    if gain < least || best.is_some_and(|best| gain <= best.gain) {
        return;
    }
    if copy.from < size && gain < scan.kept.must_save(copy.from, copy.len) {
        return;
    }
    *best = Some(Found { copy, gain });
}
