use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use sha2::{Digest as _, Sha256};

use super::{BlobError, Staged};

/// Bytes in one buffer.
const BUFFER: usize = 1 << 20;
/// Buffers that go round between reading, writing and hashing: all the memory that taking in a file of any size costs.
const BUFFERS: usize = 4;
/// A file of so many bytes or fewer is not worth the threads.
const SMALL: usize = 256 << 10;
/// Written bytes after which the disk is set to work, so that little is left to sync at the end.
const FLUSHED_AT_ONCE: usize = 64 << 20;

/// How bytes are to be taken in: see [`Staged::take_in`].
pub struct Intake<'a> {
    /// Another SHA-256 computation that the same bytes are to go through.
    pub also: Option<&'a mut Sha256>,
    /// Most bytes that are taken in.
    pub limit: u64,
    /// Told how many more bytes were read.
    pub observe: &'a mut dyn FnMut(u64),
}

/// Why bytes were not taken in.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The reader failed.
    #[error("the source cannot be read: {0}")]
    Read(#[source] io::Error),
    /// More bytes than the limit.
    #[error("the source has more than {0} bytes")]
    TooLarge(u64),
    /// The store failed.
    #[error(transparent)]
    Blobs(#[from] BlobError),
}

/// A buffer goes to all who work on it at once, and comes back when the last of them has let go of it.
struct Buffer {
    bytes: Vec<u8>,
    filled: usize,
}

impl Buffer {
    fn filled(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

impl Staged {
    /// Writes all that the reader gives, in one pass. Of a file that is not small, reading, writing and each hash computation run side by side over
    /// a few buffers that are used again and again. Of a large file, what is written goes to the disk meanwhile; that only makes
    /// [`Staged::commit`] quicker, which syncs as ever.
    ///
    /// # Errors
    /// The staged blob is of no use afterwards: drop it.
    pub fn take_in(&mut self, reader: &mut dyn Read, intake: Intake<'_>) -> Result<(), IntakeError> {
        let Intake { mut also, limit, observe } = intake;
        let (mut file, hasher) = self.parts();
        let mut beginning = Vec::new();
        reader.take(SMALL as u64 + 1).read_to_end(&mut beginning).map_err(IntakeError::Read)?;
        if beginning.len() <= SMALL {
            let size = beginning.len() as u64;
            observe(size);
            if size > limit {
                return Err(IntakeError::TooLarge(limit));
            }
            file.write_all(&beginning).map_err(BlobError::from)?;
            hasher.update(&beginning);
            if let Some(also) = &mut also {
                also.update(&beginning);
            }
            self.size += size;
            return Ok(());
        }
        let reader = &mut Cursor::new(beginning).chain(reader);
        let stopped = &AtomicBool::new(false);
        let size = thread::scope(|scope| {
            let (give_back, free) = sync_channel(BUFFERS);
            let (writer, to_write) = sync_channel(BUFFERS);
            let returns = give_back.clone();
            // Room for one: who is at it already will take the rest along the next time.
            let (flush, to_flush) = sync_channel(1);
            let flushed = scope.spawn(move || flush_all(file, to_flush, stopped));
            let written = scope.spawn(move || write_all(file, to_write, returns, flush, stopped));
            let mut workers = vec![writer];
            for hasher in std::iter::once(hasher).chain(also) {
                let (worker, to_hash) = sync_channel(BUFFERS);
                let returns = give_back.clone();
                scope.spawn(move || for_each(to_hash, returns, |bytes| hasher.update(bytes)));
                workers.push(worker);
            }
            let read = read_all(reader, limit, observe, (free, give_back), workers, stopped);
            // The channels are closed now, so the threads come to their end. What went wrong with writing is told first:
            // it is why reading stopped.
            for ended in [written.join(), flushed.join()] {
                match ended {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Err(IntakeError::Blobs(error.into())),
                    Err(_) => return Err(IntakeError::Blobs(io::Error::other("a writing thread stopped").into())),
                }
            }
            read
        })?;
        self.size += size;
        Ok(())
    }
}

type Share = Arc<Buffer>;

/// Reads to the end, giving each full buffer to all workers; how many bytes that were.
fn read_all(
    reader: &mut dyn Read,
    limit: u64,
    observe: &mut dyn FnMut(u64),
    (free, give_back): (Receiver<Buffer>, SyncSender<Buffer>),
    workers: Vec<SyncSender<Share>>,
    stopped: &AtomicBool,
) -> Result<u64, IntakeError> {
    let stop = || IntakeError::Blobs(io::Error::other("a thread stopped").into());
    for _ in 0..BUFFERS {
        give_back.send(Buffer { bytes: vec![0; BUFFER], filled: 0 }).map_err(|_| stop())?;
    }
    // From here on only the workers can give back, so that waiting for a buffer ends when they have ended.
    drop(give_back);
    let mut total = 0u64;
    loop {
        let mut buffer = free.recv().map_err(|_| stop())?;
        buffer.filled = fill(reader, &mut buffer.bytes, observe).map_err(IntakeError::Read)?;
        total += buffer.filled as u64;
        if total > limit {
            return Err(IntakeError::TooLarge(limit));
        }
        if stopped.load(Ordering::Relaxed) {
            return Err(stop());
        }
        let at_end = buffer.filled < BUFFER;
        // No hold on it stays here: the last worker that lets go gives it back.
        let mut share = Some(Arc::new(buffer));
        for (index, worker) in workers.iter().enumerate() {
            let hold = if index + 1 == workers.len() { share.take() } else { share.clone() };
            hold.and_then(|hold| worker.send(hold).ok()).ok_or_else(stop)?;
        }
        if at_end {
            return Ok(total);
        }
    }
}

/// Fills the buffer unless the reader comes to its end.
fn fill(reader: &mut dyn Read, buffer: &mut [u8], observe: &mut dyn FnMut(u64)) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => {
                filled += read;
                observe(read as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Works on each buffer and gives it back when nobody else has a hold on it.
fn for_each(shares: Receiver<Share>, give_back: SyncSender<Buffer>, mut work: impl FnMut(&[u8])) {
    for share in shares {
        work(share.filled());
        if let Some(buffer) = Arc::into_inner(share) {
            // Nobody waits for it any more when reading has ended.
            let _ = give_back.send(buffer);
        }
    }
}

/// Writes each buffer. After a failure it only gives the buffers back, and tells the reader to stop.
fn write_all(
    mut file: &File,
    shares: Receiver<Share>,
    give_back: SyncSender<Buffer>,
    flush: SyncSender<()>,
    stopped: &AtomicBool,
) -> io::Result<()> {
    let (mut result, mut unflushed) = (Ok(()), 0);
    for_each(shares, give_back, |bytes| {
        if result.is_ok() {
            result = file.write_all(bytes);
            if result.is_err() {
                stopped.store(true, Ordering::Relaxed);
            }
            unflushed += bytes.len();
            if unflushed >= FLUSHED_AT_ONCE && flush.try_send(()).is_ok() {
                unflushed = 0;
            }
        }
    });
    result
}

/// Brings to the disk what was written, whenever it is told to. A failure counts as one of writing: the system tells of it
/// once, here, and not again when the file is synced at the end.
fn flush_all(file: &File, told: Receiver<()>, stopped: &AtomicBool) -> io::Result<()> {
    for () in told {
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        file.sync_data().inspect_err(|_| stopped.store(true, Ordering::Relaxed))?;
    }
    Ok(())
}
