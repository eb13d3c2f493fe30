//! Bytes on their way whose digest and length are known before they come: what a process that was killed had of them is kept, and
//! the next one goes on.
//!
//! # Who holds what
//!
//! The file `partial/<digest>` has an exclusive `flock` as long as somebody writes to it, and from there on as long as anything is
//! there that was made of it: the lock belongs to the open file, which [`Complete`], its [`Staged`] and their
//! [`Placed`](super::Placed) share. It is never turned into a shared one: between letting go of the one and having the other, a
//! sweep or another process could come in. To a sweep it is all the same, because staged files are looked at through an exclusive
//! lock that is not waited for, and a staged file made here is a second name of the same file.
//!
//! Whoever has the lock makes sure that the name still leads to the file that it locked, and only who has the lock takes the
//! name away or gives it to other bytes. A file that has a second name (it is staged, or it is a blob) is never written to: when
//! its bytes are wrong, it loses the name, and another file gets it.
//!
//! Nothing is synced here. A killed process loses nothing of what it wrote; after a power failure bytes may be other than they were, which
//! hashing them shows. [`Staged::commit`] syncs, as ever.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use headwater_formats::digest::Digest;
use headwater_formats::timestamp::Timestamp;
use rustix::fs::FlockOperation;
use rustix::io::{Errno, retry_on_intr};
use sha2::{Digest as _, Sha256};

use super::BlobError;
use super::layout::{Layout, make_folder};
use super::open::{self, BlobReader};
use super::stage::{READ_AT_ONCE, Staged, set_aside};

/// Written bytes after which the disk is set to work, so that little is left to sync at the end.
const FLUSHED_AT_ONCE: u64 = 64 << 20;

/// A file that is being written, and that nobody else writes as long as this lives.
///
/// Dropped, its bytes stay for the next one; a file without any goes.
#[derive(Debug)]
pub struct Partial {
    held: Held,
    size: u64,
    length: u64,
    /// How many bytes from the beginning went through the hashers.
    hashed: u64,
    hasher: Sha256,
    also: Option<Also>,
    flush: Flush,
}

/// Another SHA-256 computation that the bytes go through.
#[derive(Debug, Clone)]
struct Also {
    before: Sha256,
    now: Sha256,
}

/// A file that has the digest and the length that it should have. As long as this lives, nobody else has it.
///
/// Dropped, the file stays where it is, so that it need not come again, unless it was to be [forgotten](Complete::forget).
#[derive(Debug)]
pub struct Complete {
    held: Held,
    size: u64,
    hasher: Sha256,
    also: Option<Sha256>,
}

/// Why a file is not complete.
#[derive(Debug)]
pub enum Incomplete {
    /// There are bytes to come.
    Short(Box<Partial>),
    /// All bytes were there, and they were others. They were thrown away.
    Wrong {
        /// What their digest was.
        found: Digest,
        /// The file, empty.
        partial: Box<Partial>,
    },
    /// The store failed.
    Blobs(BlobError),
}

/// The locked file, and its name.
#[derive(Debug)]
struct Held {
    layout: Arc<Layout>,
    digest: Digest,
    file: Arc<File>,
    /// Whether the name goes with this.
    forget: AtomicBool,
}

impl Drop for Held {
    fn drop(&mut self) {
        let path = self.layout.partial(&self.digest);
        if self.forget.load(Ordering::Relaxed) && names(&path, &self.file).unwrap_or(false) {
            // When this fails, a sweep finds it.
            let _ = fs::remove_file(path);
        }
    }
}

/// See [`super::Blobs::partial`].
pub(super) fn begin(layout: &Arc<Layout>, digest: &Digest, size: u64) -> Result<Option<Partial>, BlobError> {
    let path = layout.partial(digest);
    let mut linked = false;
    loop {
        let Some(file) = lock(&path)? else { return Ok(None) };
        let about = file.metadata()?;
        let length = about.len();
        if length < size && !linked && open::stat(layout, digest)? == Some(size) {
            // The store has got it. When it cannot be linked, it comes a second time.
            linked = true;
            fs::remove_file(&path)?;
            let _ = fs::hard_link(layout.blob(digest), &path);
            continue;
        }
        if length > size || (length < size && about.nlink() > 1) {
            fs::remove_file(&path)?;
            continue;
        }
        return Ok(Some(Partial::of(layout, digest, size, file, length)));
    }
}

/// See [`super::Blobs::partial_if_new`].
pub(super) fn begin_new(layout: &Arc<Layout>, digest: &Digest, size: u64) -> Result<Option<Partial>, BlobError> {
    let file = match OpenOptions::new().read(true).write(true).create_new(true).open(layout.partial(digest)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        // The first file of a store.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_folder(&layout.partials())?;
            return Ok(begin(layout, digest, size)?.filter(|partial| partial.length == 0));
        }
        Err(error) => return Err(error.into()),
    };
    if !try_lock(&file)? {
        return Ok(None);
    }
    // Somebody may have had the lock in between. Then there are bytes in it, or its name is gone.
    let about = file.metadata()?;
    let is_new = about.len() == 0 && about.nlink() == 1;
    Ok(is_new.then(|| Partial::of(layout, digest, size, Arc::new(file), 0)))
}

/// See [`super::Blobs::is_known`].
pub(super) fn is_known(layout: &Layout, digest: &Digest) -> bool {
    // What cannot be looked at may be there.
    let is_there =
        |path: &Path| fs::symlink_metadata(path).map_or_else(|error| error.kind() != io::ErrorKind::NotFound, |_| true);
    is_there(&layout.partial(digest)) || is_there(&layout.blob(digest))
}

/// See [`super::Blobs::open_coming`].
pub(super) fn open(layout: &Layout, digest: &Digest) -> Result<Option<File>, BlobError> {
    match File::open(layout.partial(digest)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(open::open(layout, digest)?.map(|blob| blob.file)),
        Err(error) => Err(error.into()),
    }
}

impl Partial {
    /// A file whose lock is held, with so many bytes.
    fn of(layout: &Arc<Layout>, digest: &Digest, size: u64, file: Arc<File>, length: u64) -> Self {
        let forget = AtomicBool::new(length == 0);
        Self {
            held: Held { layout: Arc::clone(layout), digest: *digest, file, forget },
            size,
            length,
            hashed: 0,
            hasher: Sha256::new(),
            also: None,
            flush: Flush::default(),
        }
    }

    /// Lets all bytes, also those that are there, go through another SHA-256 computation: the fingerprint of a split image goes on from
    /// its metadata file to its root file.
    #[must_use]
    pub fn through(mut self, hasher: Sha256) -> Self {
        self.hashed = 0;
        self.hasher = Sha256::new();
        self.also = Some(Also { before: hasher.clone(), now: hasher });
        self
    }

    /// How many bytes there are.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// How many there will be.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What their digest will be.
    pub fn digest(&self) -> Digest {
        self.held.digest
    }

    /// Sets disk space aside for what is still to come: see [`Staged::reserve`].
    pub fn reserve(&self) -> Result<(), BlobError> {
        let about = self.held.file.metadata()?;
        // What was set aside by a process that was killed is still there.
        let there = about.len().max(about.blocks().saturating_mul(512));
        set_aside(&self.held.file, self.length..self.size, self.size.saturating_sub(there))
    }

    /// Reads what was there before, once. `go_on` is told how many more bytes were read; when it says no, the rest is read
    /// when it is needed. Without this call, all of it is.
    pub fn catch_up(&mut self, go_on: &mut dyn FnMut(u64) -> bool) -> Result<(), BlobError> {
        if self.hashed >= self.length {
            return Ok(());
        }
        let mut buffer = vec![0; buffer_for(self.length - self.hashed)];
        while self.hashed < self.length {
            let read = read_some(&self.held.file, &mut buffer, self.hashed, self.length)?;
            self.hash(&buffer[..read]);
            if !go_on(read as u64) {
                break;
            }
        }
        Ok(())
    }

    fn hash(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        if let Some(also) = &mut self.also {
            also.now.update(bytes);
        }
        self.hashed += bytes.len() as u64;
    }

    /// Throws the bytes away.
    pub fn restart(&mut self) -> Result<(), BlobError> {
        let path = self.held.layout.partial(&self.held.digest);
        // Bytes that have a second name are not ours alone.
        while self.held.file.metadata()?.nlink() > 1 {
            fs::remove_file(&path)?;
            // Somebody who came in between has the lock, and all of the work.
            self.held.file = lock(&path)?.ok_or(Errno::WOULDBLOCK)?;
        }
        self.held.file.set_len(0)?;
        self.held.forget.store(true, Ordering::Relaxed);
        (self.length, self.hashed, self.hasher) = (0, 0, Sha256::new());
        if let Some(also) = &mut self.also {
            also.now = also.before.clone();
        }
        Ok(())
    }

    /// The complete file, when all bytes are there and they are the right ones. Reads what was not read before.
    ///
    /// # Errors
    /// When the store fails, its bytes stay.
    pub fn complete(mut self) -> Result<Complete, Incomplete> {
        if self.length < self.size {
            return Err(Incomplete::Short(Box::new(self)));
        }
        self.catch_up(&mut |_| true).map_err(Incomplete::Blobs)?;
        let found = Digest::from_bytes(self.hasher.clone().finalize().into());
        if found != self.held.digest {
            self.restart().map_err(Incomplete::Blobs)?;
            return Err(Incomplete::Wrong { found, partial: Box::new(self) });
        }
        self.held.forget.store(false, Ordering::Relaxed);
        let also = self.also.map(|also| also.now);
        Ok(Complete { held: self.held, size: self.size, hasher: self.hasher, also })
    }
}

impl Write for Partial {
    /// Appends. More bytes than the file should have are refused.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.catch_up(&mut |_| true)?;
        if bytes.len() as u64 > self.size - self.length {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "there are more bytes than the file should have"));
        }
        let written = self.held.file.write_at(bytes, self.length)?;
        self.length += written as u64;
        self.hash(&bytes[..written]);
        if written > 0 {
            self.held.forget.store(false, Ordering::Relaxed);
            self.flush.written(&self.held, written as u64);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Complete {
    /// Its digest.
    pub fn digest(&self) -> Digest {
        self.held.digest
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The SHA-256 computation so far, to go on with other bytes.
    pub fn hasher(&self) -> Sha256 {
        self.hasher.clone()
    }

    /// The other computation that the bytes went through, if there was one: see [`Partial::through`].
    pub fn also(&self) -> Option<Sha256> {
        self.also.clone()
    }

    /// Reads it from its beginning.
    pub fn reader(&self) -> BlobReader<'_> {
        BlobReader { file: &self.held.file, position: 0, size: self.size }
    }

    /// Reads it through one more computation. `go_on` as in [`Partial::catch_up`]; `None` when it said no.
    pub fn through(&self, mut hasher: Sha256, go_on: &mut dyn FnMut(u64) -> bool) -> Result<Option<Sha256>, BlobError> {
        let mut buffer = vec![0; buffer_for(self.size)];
        let mut at = 0;
        while at < self.size {
            let read = read_some(&self.held.file, &mut buffer, at, self.size)?;
            hasher.update(&buffer[..read]);
            at += read as u64;
            if !go_on(read as u64) {
                return Ok(None);
            }
        }
        Ok(Some(hasher))
    }

    /// A staged blob of the same bytes, which are not copied: another name of the file. There may be any number of them.
    pub fn staged(&self) -> Result<Staged, BlobError> {
        let Held { layout, digest, file, .. } = &self.held;
        Staged::linked(layout, &layout.partial(digest), (digest, self.size), Arc::clone(file), self.hasher.clone())
    }

    /// Says that the blob is in place, so that this is of no more use: its name goes when the last has let go of this.
    pub fn forget(&self) {
        self.held.forget.store(true, Ordering::Relaxed);
    }
}

/// Brings written bytes to the disk beside the writer, one thread at most. Only makes the sync at the end quicker, so what goes wrong here
/// does not matter: it is told there, too, because the file is opened a second time.
#[derive(Debug, Default)]
struct Flush {
    unflushed: u64,
    busy: Arc<AtomicBool>,
}

impl Flush {
    fn written(&mut self, held: &Held, bytes: u64) {
        self.unflushed += bytes;
        if self.unflushed < FLUSHED_AT_ONCE || self.busy.swap(true, Ordering::Relaxed) {
            return;
        }
        self.unflushed = 0;
        let (busy, path) = (Arc::clone(&self.busy), held.layout.partial(&held.digest));
        let begun = std::thread::Builder::new().name("flush".to_owned()).spawn(move || {
            let _ = File::open(path).and_then(|file| file.sync_data());
            busy.store(false, Ordering::Relaxed);
        });
        if begun.is_err() {
            self.busy.store(false, Ordering::Relaxed);
        }
    }
}

/// Opens or makes the file and locks it; `None` when somebody else has the lock.
fn lock(path: &Path) -> Result<Option<Arc<File>>, BlobError> {
    loop {
        let open = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = match (open(), path.parent()) {
            // The first file of a store.
            (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
                make_folder(folder)?;
                open()?
            }
            (opened, _) => opened?,
        };
        if !try_lock(&file)? {
            return Ok(None);
        }
        // Who had it before may have taken the name away.
        if names(path, &file)? {
            return Ok(Some(Arc::new(file)));
        }
    }
}

fn try_lock(file: &File) -> io::Result<bool> {
    match retry_on_intr(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether the name leads to this file.
fn names(path: &Path, file: &File) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(named) => {
            let about = file.metadata()?;
            Ok((named.dev(), named.ino()) == (about.dev(), about.ino()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Fills the buffer as far as one read does, not past the end; fails when the file is shorter.
fn read_some(file: &File, buffer: &mut [u8], at: u64, end: u64) -> io::Result<usize> {
    let length = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX).min(buffer.len());
    loop {
        match file.read_at(&mut buffer[..length], at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn buffer_for(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(READ_AT_ONCE).clamp(1, READ_AT_ONCE)
}

/// Files on their way that nobody goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Idle {
    /// How many.
    pub files: u64,
    /// How many bytes their removal sets free. A second name of a blob sets nothing free.
    pub bytes: u64,
}

/// See [`super::Blobs::idle`].
pub(super) fn idle(
    layout: &Layout,
    before: Timestamp,
    spared: &dyn Fn(&Digest) -> bool,
    remove: bool,
) -> Result<Idle, BlobError> {
    let mut idle = Idle::default();
    let entries = match fs::read_dir(layout.partials()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(idle),
        Err(error) => return Err(error.into()),
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Ok(digest) = name.parse::<Digest>() else { continue };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        if !try_lock(&file)? || !names(&path, &file)? {
            continue;
        }
        let about = file.metadata()?;
        let in_place = open::stat(layout, &digest)?.is_some() && !spared(&digest);
        if !in_place && about.mtime() >= before.unix() {
            continue;
        }
        if remove {
            fs::remove_file(&path)?;
        }
        idle.files += 1;
        idle.bytes += if about.nlink() == 1 { about.len().max(about.blocks() * 512) } else { 0 };
    }
    Ok(idle)
}
