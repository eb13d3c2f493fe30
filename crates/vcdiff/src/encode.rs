//! From a base and a target to the delta.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::num::NonZero;
use std::sync::{Mutex, mpsc};

use crate::adler32::adler32;
use crate::confine::confine;
use crate::error::Error;
use crate::format::{MAGIC, WINDOW_ADLER32, WINDOW_SOURCE};
use crate::index::Index;
use crate::instructions::Writer;
use crate::matcher::{Copy, Matcher};
use crate::pages::{Pages, ReadAt};
use crate::varint;

/// Bytes of the target that a window makes. `xdelta3` decodes windows of 16 MiB; its own have 8.
const WINDOW: usize = 8 << 20;
/// The most that one thread takes: 32 MiB for two windows on their way and what was made of them; while a window is matched, what is known
/// of it, and its copies, of which there are at most two million, since each has four bytes and saves one (72 MiB while their list grows);
/// while it is written, the list and twice the window, since what is written is not longer. And a few pages of a base that is not read whole.
const THREAD: u64 = 114 << 20;

/// How a delta is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of memory to take at most; 114 MiB for each thread and 2 MiB are taken in any case. Half of what is left when the threads have theirs is for
    /// the base, which is read whole when it fits there, and the rest for the index of it, which is the finer the more there is.
    pub memory: u64,
    /// Threads that match. The delta is the same for any number.
    pub threads: NonZero<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self { memory: 768 << 20, threads: NonZero::<usize>::MIN.saturating_add(1) }
    }
}

/// What was encoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Windows of the delta.
    pub windows: u64,
    /// Bytes of the base.
    pub base: u64,
    /// Bytes of the target.
    pub target: u64,
    /// Bytes of the delta.
    pub delta: u64,
    /// Bytes of the target that are copied from the base.
    pub copied: u64,
}

/// Writes to `delta` what makes `target` of `base`, for any `xdelta3 -d`: plain sections, the default code table, a checksum on
/// every window, no application header.
///
/// ```
/// use std::io::Cursor;
/// use headwater_vcdiff::{Forward, Limits, Options, decode, encode};
///
/// let (base, target) = (b"what was there before".to_vec(), b"what was there before, and more");
/// let mut delta = Vec::new();
/// encode(&base, &target[..], &mut delta, &Options::default())?;
/// let mut made = Vec::new();
/// decode(Cursor::new(&base), &delta[..], &mut Forward(&mut made), &Limits::default())?;
/// assert_eq!(made, target);
/// # Ok::<(), headwater_vcdiff::Error>(())
/// ```
///
/// To stop it early, let `target` return an error. The same files and memory give the same delta.
///
/// # Errors
///
/// [`Error::Base`], [`Error::Target`] and [`Error::Delta`] say what could not be read or written.
pub fn encode(base: &dyn ReadAt, target: impl Read, delta: impl Write, options: &Options) -> Result<Encoded, Error> {
    let size = base.size().map_err(Error::Base)?;
    let threads = options.threads;
    let memory = options.memory.saturating_sub(THREAD * threads.get() as u64);
    let mut whole = (size <= memory / 2).then(|| vec![0; size as usize]);
    let cache = if whole.is_some() { 0 } else { memory / 4 };
    let rest = memory - whole.as_ref().map_or(cache, |_| size);
    let index = Index::new(base, size, whole.as_deref_mut(), rest, threads)?;

    let (jobs, waiting) = mpsc::sync_channel::<Job>(threads.get());
    let (done, results) = mpsc::channel();
    let waiting = Mutex::new(waiting);
    std::thread::scope(|scope| {
        for _ in 0..threads.get() {
            let (done, waiting, whole, index) = (done.clone(), &waiting, whole.as_deref(), &index);
            scope.spawn(move || {
                let pages = match whole {
                    Some(bytes) => Pages::Whole(bytes),
                    None => Pages::cached(base, size, cache / threads.get() as u64),
                };
                let mut matcher = Matcher::new(index, pages, size);
                // Whoever hands out the jobs has ended, or the last one to take a job panicked: nothing is left to do.
                while let Some(job) = waiting.lock().ok().and_then(|waiting| waiting.recv().ok()) {
                    let number = job.number;
                    let made = window(&mut matcher, job, size);
                    if done.send((number, made)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(done);
        let mut output = Output {
            delta,
            sum: Encoded { base: size, ..Encoded::default() },
            ready: BTreeMap::new(),
            spare: Vec::new(),
        };
        // The jobs' end of the channel goes with this, and the threads end.
        output.run(target, jobs, &results, threads.get())?;
        Ok(output.sum)
    })
}

/// A window to be matched.
struct Job {
    number: u64,
    start: u64,
    bytes: Vec<u8>,
}

/// A window as it stands in the delta.
struct Made {
    bytes: Vec<u8>,
    copied: u64,
    /// The job's bytes, whose memory the next job takes over: giving it back to the system and getting it again costs more
    /// than matching it.
    used: Vec<u8>,
}

/// Puts windows into their order.
struct Output<W> {
    delta: W,
    sum: Encoded,
    ready: BTreeMap<u64, Made>,
    spare: Vec<Vec<u8>>,
}

impl<W: Write> Output<W> {
    fn run(
        &mut self,
        mut target: impl Read,
        jobs: mpsc::SyncSender<Job>,
        results: &mpsc::Receiver<(u64, Result<Made, Error>)>,
        threads: usize,
    ) -> Result<(), Error> {
        self.put(&[MAGIC[0], MAGIC[1], MAGIC[2], 0, 0])?;
        let (mut sent, mut more) = (0, true);
        loop {
            // As many windows are on their way as threads, and one for each that is done first.
            while more && sent < self.sum.windows + 2 * threads as u64 {
                let mut bytes = self.spare.pop().unwrap_or_default();
                bytes.clear();
                bytes.reserve_exact(WINDOW);
                target.by_ref().take(WINDOW as u64).read_to_end(&mut bytes).map_err(Error::Target)?;
                more = bytes.len() == WINDOW;
                // An empty target has one empty window, as xdelta3 writes it.
                if bytes.is_empty() && sent > 0 {
                    break;
                }
                let start = self.sum.target;
                self.sum.target += bytes.len() as u64;
                if jobs.send(Job { number: sent, start, bytes }).is_err() {
                    break;
                }
                sent += 1;
            }
            if self.sum.windows == sent {
                return self.delta.flush().map_err(Error::Delta);
            }
            let Ok((number, made)) = results.recv() else {
                // Every thread panicked; the scope passes that on.
                return Err(Error::Ended);
            };
            self.ready.insert(number, made?);
            while let Some(made) = self.ready.remove(&self.sum.windows) {
                self.put(&made.bytes)?;
                self.sum.copied += made.copied;
                self.sum.windows += 1;
                self.spare.push(made.used);
            }
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.sum.delta += bytes.len() as u64;
        self.delta.write_all(bytes).map_err(Error::Delta)
    }
}

/// Makes one window: its copies, its segment, its sections.
fn window(matcher: &mut Matcher<'_>, job: Job, size: u64) -> Result<Made, Error> {
    let mut copies = matcher.copies(&job.bytes, job.start)?;
    confine(&mut copies, size);
    let of_base = || copies.iter().filter(|copy| copy.from < size);
    let first = of_base().map(|copy| copy.from).min().unwrap_or(0);
    let last = of_base().map(|copy| copy.from + copy.len as u64).max().unwrap_or(0);
    let copied = of_base().map(|copy| copy.len as u64).sum();
    let bytes = write(&job.bytes, &copies, size, first, last - first);
    Ok(Made { bytes, copied, used: job.bytes })
}

/// Writes a window whose segment of the base begins at `first` and has `segment` bytes.
fn write(target: &[u8], copies: &[Copy], size: u64, first: u64, segment: u64) -> Vec<u8> {
    let mut writer = Writer::new();
    let mut at = 0;
    for copy in copies {
        writer.add(&target[at..copy.at]);
        let address = if copy.from < size { copy.from - first } else { copy.from - size + segment };
        writer.copy(address, copy.len, segment + copy.at as u64);
        at = copy.at + copy.len;
    }
    writer.add(&target[at..]);
    let sections = writer.finish();

    let mut inner = Vec::new();
    varint::put(&mut inner, target.len() as u64);
    inner.push(0);
    for section in [&sections.data, &sections.instructions, &sections.addresses] {
        varint::put(&mut inner, section.len() as u64);
    }
    inner.extend_from_slice(&adler32(target).to_be_bytes());
    let len = inner.len() + sections.data.len() + sections.instructions.len() + sections.addresses.len();
    let mut bytes = Vec::with_capacity(len + 32);
    if segment > 0 {
        bytes.push(WINDOW_SOURCE | WINDOW_ADLER32);
        varint::put(&mut bytes, segment);
        varint::put(&mut bytes, first);
    } else {
        bytes.push(WINDOW_ADLER32);
    }
    varint::put(&mut bytes, len as u64);
    bytes.extend_from_slice(&inner);
    bytes.extend_from_slice(&sections.data);
    bytes.extend_from_slice(&sections.instructions);
    bytes.extend_from_slice(&sections.addresses);
    bytes
}
