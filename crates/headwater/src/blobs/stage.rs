use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_formats::digest::Digest;
use rustix::fs::FlockOperation;
use rustix::io::{Errno, retry_on_intr};
use sha2::{Digest as _, Sha256};

use super::BlobError;
use super::layout::{Layout, make_folder, sync_folder};
use super::open::{self, BlobReader};
use crate::fail_point;

/// Bytes that are read at once when what others wrote is hashed.
pub(super) const READ_AT_ONCE: usize = 1 << 20;

/// A file in the staging folder that no sweep touches as long as this lives, and that goes with it.
#[derive(Debug)]
struct StagedFile {
    path: PathBuf,
    file: Arc<File>,
    /// Whether it is named after its digest, so that [`delete`] sees that somebody is about to need a blob.
    announced: bool,
}

impl StagedFile {
    fn create(layout: &Layout) -> Result<Self, BlobError> {
        make_folder(&layout.staging())?;
        loop {
            let path = layout.staged();
            let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
            let staged = Self { path, file: Arc::new(file), announced: false };
            retry_on_intr(|| rustix::fs::flock(&*staged.file, FlockOperation::LockShared))?;
            // A sweep that came between making and locking has taken the name away.
            if staged.file.metadata()?.nlink() > 0 {
                return Ok(staged);
            }
        }
    }
}

impl StagedFile {
    /// Names it after its digest.
    fn announce(&mut self, layout: &Layout, digest: &Digest) -> io::Result<()> {
        let announced = layout.announced(digest);
        fs::rename(&self.path, &announced)?;
        (self.path, self.announced) = (announced, true);
        Ok(())
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        // When this fails, the next sweep finds it: the lock goes with the file.
        let _ = fs::remove_file(&self.path);
    }
}

/// A blob that is being written. Dropped without [`Staged::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct Staged {
    layout: Arc<Layout>,
    staged: StagedFile,
    hasher: Sha256,
    pub(super) size: u64,
}

impl Staged {
    pub(super) fn new(layout: &Arc<Layout>) -> Result<Self, BlobError> {
        let staged = StagedFile::create(layout)?;
        fail_point::reached("blobs::staged");
        Ok(Self { layout: Arc::clone(layout), staged, hasher: Sha256::new(), size: 0 })
    }

    /// Bytes that are in a file already, all of them and no more, which gets another name and is not copied: that of their digest. Whoever gives them
    /// holds a lock on the file, which goes on as long as this does.
    pub(super) fn linked(
        layout: &Arc<Layout>,
        path: &Path,
        (digest, size): (&Digest, u64),
        locked: Arc<File>,
        hasher: Sha256,
    ) -> Result<Self, BlobError> {
        let announced = layout.announced(digest);
        match fs::hard_link(path, &announced) {
            // Most likely the folder is missing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_folder(&layout.staging())?;
                fs::hard_link(path, &announced)?;
            }
            done => done?,
        }
        let staged = StagedFile { path: announced, file: locked, announced: true };
        Ok(Self { layout: Arc::clone(layout), staged, hasher, size })
    }

    pub(super) fn parts(&mut self) -> (&File, &mut Sha256) {
        (&self.staged.file, &mut self.hasher)
    }

    /// How many bytes were written.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The SHA-256 of what was written.
    pub fn digest(&self) -> Digest {
        Digest::from_bytes(self.hasher.clone().finalize().into())
    }

    /// The SHA-256 computation so far, to go on with other bytes (as the fingerprint of a split image does).
    pub fn hasher(&self) -> Sha256 {
        self.hasher.clone()
    }

    /// Reads what was written, from its beginning.
    pub fn reader(&self) -> BlobReader<'_> {
        BlobReader { file: &self.staged.file, position: 0, size: self.size }
    }

    /// Sets disk space aside, so that a full disk shows before the bytes were moved. File systems that cannot do this
    /// do without.
    pub fn reserve(&self, size: u64) -> Result<(), BlobError> {
        set_aside(&self.staged.file, 0..size, size)
    }

    /// Lets something else write the bytes: a program that writes here and there, and the beginning last. Then reads them for their
    /// digest; `also` goes through the same bytes. What was there before is lost.
    ///
    /// # Errors
    /// Those of the work, and those of reading. The staged blob is of no use afterwards: drop it.
    pub fn fill<E: From<BlobError>>(
        &mut self,
        also: &mut Sha256,
        work: impl FnOnce(&File) -> Result<(), E>,
    ) -> Result<(), E> {
        work(&self.staged.file)?;
        (self.hasher, self.size) = (Sha256::new(), 0);
        let size = self.staged.file.metadata().map_err(BlobError::from)?.len();
        let mut buffer = vec![0; READ_AT_ONCE];
        while self.size < size {
            let read = self.staged.file.read_at(&mut buffer, self.size).map_err(BlobError::from)?;
            if read == 0 {
                return Err(BlobError::from(io::Error::from(io::ErrorKind::UnexpectedEof)).into());
            }
            self.hasher.update(&buffer[..read]);
            also.update(&buffer[..read]);
            self.size += read as u64;
        }
        Ok(())
    }

    /// Makes the blob durable under its digest. When equal bytes are there already, they stay.
    pub fn commit(self) -> Result<Placed, BlobError> {
        let mut placed = self.announced()?;
        placed.put()?;
        fail_point::reached("blobs::placed");
        Ok(placed)
    }

    fn announced(self) -> Result<Placed, BlobError> {
        let (digest, size) = (self.digest(), self.size);
        let staged = self.staged;
        let mut placed = Placed { layout: self.layout, staged, digest, size, synced: false, durable: None };
        if !placed.staged.announced {
            // Gives back what `reserve` took too much of.
            placed.staged.file.set_len(size)?;
            placed.staged.announce(&placed.layout, &digest)?;
        }
        Ok(placed)
    }
}

/// From so many blobs on, the file system is synced as a whole: twice, instead of four times for each blob.
const TOGETHER: usize = 8;

/// [`Staged::commit`] of many blobs, of one store. In the same order: all bytes are on the disk before the first name, and all names before this
/// returns.
pub(super) fn commit_all(layout: &Layout, staged: Vec<Staged>) -> Result<Vec<Placed>, BlobError> {
    if staged.len() < TOGETHER {
        return staged.into_iter().map(Staged::commit).collect();
    }
    let mut placed = staged.into_iter().map(Staged::announced).collect::<Result<Vec<_>, _>>()?;
    let folder = File::open(layout.blobs())?;
    leave_room(&folder, 0)?;
    rustix::fs::syncfs(&folder).map_err(io::Error::from)?;
    for blob in &mut placed {
        blob.synced = true;
        blob.link()?;
    }
    rustix::fs::syncfs(&folder).map_err(io::Error::from)?;
    for blob in &mut placed {
        blob.durable = Some(Named::of(&blob.staged.file.metadata()?));
    }
    fail_point::reached("blobs::placed");
    Ok(placed)
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = (&*self.staged.file).write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A blob that is durable under its digest, with a way to put it back.
///
/// Keep this until the catalog names the blob, and everybody can see that it does: as long as this is there, and after a
/// crash as long as the file is that it left, [`Blobs::delete`](super::Blobs::delete) refuses to remove the blob.
#[derive(Debug)]
pub struct Placed {
    layout: Arc<Layout>,
    staged: StagedFile,
    digest: Digest,
    size: u64,
    /// Whether our bytes are on the disk.
    synced: bool,
    /// Since the blob's name is: which file it leads to, and when that got or lost a name last.
    durable: Option<Named>,
}

impl Placed {
    /// The blob's name.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Makes sure that the blob is still in place, and puts it back when a sweep took it. One look when it is the file that was staged here; when equal
    /// bytes were there before, their name is synced again, and when these were swept, ours have to be synced first.
    ///
    /// To be called while no sweep can come between this and the row that names the blob.
    pub fn ensure(&mut self) -> io::Result<()> {
        if self.is_durable()? {
            return Ok(());
        }
        self.put().map_err(io::Error::from)
    }

    /// Whether the blob's name leads to the file that was staged here, and is the one that was made durable: whoever has taken that away since, or
    /// given one again, has changed the file's time.
    fn is_durable(&self) -> io::Result<bool> {
        let Some(durable) = self.durable else { return Ok(false) };
        match fs::symlink_metadata(self.layout.blob(&self.digest)) {
            Ok(named) => Ok(named.len() == self.size && Named::of(&named) == durable),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn put(&mut self) -> Result<(), BlobError> {
        self.link()?;
        // Also when the blob was there: whoever put it there may not have come to this line yet.
        sync_folder(&self.layout.folder_of(&self.digest))?;
        sync_folder(&self.layout.blobs())?;
        self.durable = Some(Named::of(&self.staged.file.metadata()?));
        Ok(())
    }

    /// Gives the bytes their name, which is not durable yet.
    fn link(&mut self) -> Result<(), BlobError> {
        let (mut made, mut looked) = (false, false);
        loop {
            // Bytes that are not on the disk yet need not get there when equal ones are in place; those that are can as well be tried first.
            let there = if self.synced && !looked { None } else { open::stat(&self.layout, &self.digest)? };
            looked = true;
            match there {
                // The name proves that these bytes are whole (see the room's description); re-hashing them would cost
                // every publisher a read.
                Some(size) if size == self.size => break,
                // No write of ours leaves such a thing. Something else damaged the disk, and we hold what mends it.
                Some(_) => {
                    self.sync()?;
                    let second_name = self.layout.staged();
                    fs::hard_link(&self.staged.path, &second_name)?;
                    fs::rename(&second_name, self.layout.blob(&self.digest))?;
                    break;
                }
                None => {
                    self.sync()?;
                    fail_point::reached("blobs::before-link");
                    match fs::hard_link(&self.staged.path, self.layout.blob(&self.digest)) {
                        Ok(()) => break,
                        // The first blob in its folder.
                        Err(error) if error.kind() == io::ErrorKind::NotFound && !made => {
                            make_folder(&self.layout.folder_of(&self.digest))?;
                            (made, looked) = (true, false);
                        }
                        // Another publisher of equal bytes was quicker: look again.
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        fail_point::reached("blobs::after-link");
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if !self.synced {
            leave_room(&self.staged.file, 0)?;
            self.staged.file.sync_all()?;
            self.synced = true;
        }
        Ok(())
    }
}

/// A file, and when it got or lost a name last, or was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Named {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

impl Named {
    fn of(about: &fs::Metadata) -> Self {
        Self { device: about.dev(), inode: about.ino(), changed: (about.ctime(), about.ctime_nsec()) }
    }
}

/// Most bytes of the disk that blobs leave free.
const MOST_SPARE: u64 = 64 << 20;

/// Blobs never fill a disk to its last byte, but leave a twentieth of a small one and 64 MiB of a large one: deleting
/// images takes room, too, for the catalog's rows. Without any left, nobody could make room.
fn leave_room(file: &File, wanted: u64) -> io::Result<()> {
    let disk = rustix::fs::fstatvfs(file)?;
    let spare = (disk.f_blocks.saturating_mul(disk.f_frsize) / 20).min(MOST_SPARE);
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    // Some file systems do not tell how large they are.
    if disk.f_blocks > 0 && free < wanted.saturating_add(spare) {
        return Err(Errno::NOSPC.into());
    }
    Ok(())
}

/// Sets disk space aside for a part of a file; `wanted` is how much of it is not there yet.
pub(super) fn set_aside(file: &File, part: Range<u64>, wanted: u64) -> Result<(), BlobError> {
    if part.is_empty() {
        return Ok(());
    }
    leave_room(file, wanted)?;
    let keep_size = rustix::fs::FallocateFlags::KEEP_SIZE;
    match retry_on_intr(|| rustix::fs::fallocate(file, keep_size, part.start, part.end - part.start)) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Staged files of processes that are dead.
#[derive(Debug, Default)]
pub struct Dead {
    paths: Vec<PathBuf>,
    /// How many bytes their removal sets free. A second name of a blob that is in place sets nothing free.
    pub bytes: u64,
}

impl Dead {
    /// How many there are.
    pub fn files(&self) -> u64 {
        self.paths.len() as u64
    }
}

pub(super) fn dead(layout: &Layout) -> Result<Dead, BlobError> {
    let mut dead = Dead::default();
    let entries = match fs::read_dir(layout.staging()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(dead),
        Err(error) => return Err(error.into()),
    };
    for entry in entries {
        let path = entry?.path();
        // Looks again after locking: its owner may have removed it and let go of it between.
        if let Some(bytes) = unless_held(&path, |path| fs::metadata(path).map(drop))? {
            dead.paths.push(path);
            dead.bytes += bytes;
        }
    }
    Ok(dead)
}

/// Removes them. No name is ever used again, so what was dead is dead.
pub(super) fn remove_dead(dead: Dead) -> Result<(), BlobError> {
    for path in &dead.paths {
        unless_held(path, |path| fs::remove_file(path))?;
    }
    Ok(())
}

/// Does something with a staged file that nobody holds; gives the bytes that its removal sets free.
fn unless_held(path: &Path, act: impl FnOnce(&Path) -> io::Result<()>) -> Result<Option<u64>, BlobError> {
    let acted = || -> io::Result<Option<u64>> {
        let file = File::open(path)?;
        match retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
        let about = file.metadata()?;
        act(path)?;
        Ok(Some(if about.nlink() == 1 { about.len().max(about.blocks() * 512) } else { 0 }))
    };
    match acted() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => Ok(other?),
    }
}

/// What came of deleting a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone.
    Gone,
    /// There was none with this digest.
    Absent,
    /// Somebody is about to need it, or died when about to: see [`Placed`].
    Needed,
}

pub(super) fn delete(layout: &Layout, digest: &Digest) -> Result<Deleted, BlobError> {
    if is_announced(layout, digest)? {
        return Ok(Deleted::Needed);
    }
    match fs::remove_file(layout.blob(digest)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Deleted::Absent),
        Err(error) => return Err(error.into()),
    }
    sync_folder(&layout.folder_of(digest))?;
    Ok(Deleted::Gone)
}

fn is_announced(layout: &Layout, digest: &Digest) -> io::Result<bool> {
    let digest = digest.to_string();
    let entries = match fs::read_dir(layout.staging()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    for entry in entries {
        if entry?.file_name().as_encoded_bytes().starts_with(digest.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}
