//! A container's root file, as a squashfs whose blocks stay the same from version to version.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::process::ChildStdin;

use headwater_formats::image::{Compression, FileFormat};
use headwater_formats::inspect::{InspectError, Packing};
use headwater_formats::tree::{self, Entry, Kind, Sum, Tree, TreeError, Writer};
use sha2::{Digest as _, Sha256};

use super::child::{OUTPUT, Tool};
use super::{Outcome, RepackError, Stop};
use crate::blobs::{BlobError, Blobs, Staged};

/// Bytes of a block. Smaller ones make a delta smaller, and the file larger.
const BLOCK_SIZE: u32 = 128 << 10;
/// Most bytes that an image may unpack to.
const MOST_UNPACKED: u64 = 1 << 40;
/// The first release of squashfs-tools that reads tar streams.
const OLDEST: (u32, u32) = (4, 5);

const SQFSTAR: Tool = Tool {
    program: "sqfstar",
    advice: "it comes with squashfs-tools 4.5 or newer, which packing anew needs: on Debian and Ubuntu, `apt install squashfs-tools`",
};

pub(super) fn repack(
    blobs: &Blobs,
    root: &Staged,
    format: FileFormat,
    also: &mut Sha256,
    limit: u64,
    stop: &Stop,
) -> Result<Outcome, RepackError> {
    let (mut reader, size) = (root.reader(), root.size());
    let mut options = Options { compressor: "zstd", exportable: false };
    match format {
        FileFormat::Squashfs => {
            let packing = packing(&mut reader, size)?;
            if !packing.compressed {
                return Ok(Outcome::Left(
                    "its data are not compressed, which makes deltas as small as they get".to_owned(),
                ));
            }
            if packing.is_good_for_deltas() {
                return Ok(Outcome::Left("it is packed for small deltas already".to_owned()));
            }
            options = Options { compressor: packing.compression, exportable: packing.exportable };
            check_version(blobs, stop)?;
            let mut tree = tree::squashfs(&mut reader, size)?;
            write(blobs, &mut tree, &options, also, limit, stop)
        }
        FileFormat::Tar(Compression::None) => {
            check_version(blobs, stop)?;
            write(blobs, &mut tree::tarball(&mut reader, size)?, &options, also, limit, stop)
        }
        FileFormat::Tar(compression) => {
            check_version(blobs, stop)?;
            let unpacked = blobs.scratch().map_err(BlobError::from)?;
            let mut to = Stoppable { to: BufWriter::new(&unpacked), stop };
            let size = tree::unpack(&mut reader, size, compression, MOST_UNPACKED, &mut to)?;
            to.flush().map_err(BlobError::from)?;
            drop(to);
            write(blobs, &mut tree::tarball(&mut BufReader::new(unpacked), size)?, &options, also, limit, stop)
        }
        FileFormat::Qcow2 | FileFormat::Vcdiff => Ok(Outcome::Left("it is no container's root file".to_owned())),
    }
}

/// What of the packing is not always the same.
struct Options {
    compressor: &'static str,
    exportable: bool,
}

fn write(
    blobs: &Blobs,
    tree: &mut dyn Tree,
    options: &Options,
    also: &mut Sha256,
    limit: u64,
    stop: &Stop,
) -> Result<Outcome, RepackError> {
    let mut staged = blobs.stage()?;
    let mut said = Sum::default();
    staged.fill(also, |mut file| {
        let root = tree.next()?.ok_or_else(|| RepackError::Cannot("it is empty".to_owned()))?;
        let mut owners = BTreeSet::from([root.uid, root.gid]);
        said = pack(tree, &root, options, &mut owners, file, stop)?;
        let size = file.metadata().map_err(BlobError::from)?.len();
        let size = tree::set_root(&mut file, size, &root, &owners)?;
        file.set_len(size).map_err(BlobError::from)?;
        Ok::<(), RepackError>(())
    })?;
    if staged.size() > limit {
        return Err(RepackError::Cannot("packed so, it has more bytes than the server allows".to_owned()));
    }
    let mut reader = staged.reader();
    let mut written = tree::squashfs(&mut reader, staged.size())?;
    let found = sum(&mut written, stop)?;
    if !said.equals(&found) {
        return Err(RepackError::Tools(format!(
            "sqfstar has written something else than it was given ({}), so the image stays as it is; another release of squashfs-tools may do better",
            difference(&staged, &said, &found)
        )));
    }
    Ok(Outcome::New(staged, FileFormat::Squashfs))
}

/// Gives all of the tree behind its root to sqfstar, which writes into `file`; what was given, and who owns it.
fn pack(
    tree: &mut dyn Tree,
    root: &Entry,
    options: &Options,
    owners: &mut BTreeSet<u32>,
    file: &File,
    stop: &Stop,
) -> Result<Sum, RepackError> {
    if let Some((name, _)) = root.attributes.first() {
        let name = String::from_utf8_lossy(name);
        return Err(RepackError::Cannot(format!(
            "its topmost folder has the extended attribute {name:?}, which sqfstar cannot write; build the image without it, or leave it packed as it is"
        )));
    }
    let block_size = BLOCK_SIZE.to_string();
    let (mode, uid, gid, mtime) =
        (format!("{:o}", root.mode), root.uid.to_string(), root.gid.to_string(), root.mtime.to_string());
    let mut words = vec!["-quiet", "-no-progress", "-force", "-exit-on-error", "-mem", "256M", "-mkfs-time", "0"];
    words.extend(["-comp", options.compressor, "-b", &block_size, "-no-fragments"]);
    words.extend(["-root-mode", &mode, "-root-uid", &uid, "-root-gid", &gid, "-root-time", &mtime]);
    if options.exportable {
        words.push("-exports");
    }
    words.push(OUTPUT);
    SQFSTAR.feed(&words, file, stop, |to| {
        let mut sum = Sum::default();
        sum.add(root, Sha256::new());
        feed(tree, to, &mut sum, owners, stop)?;
        Ok(sum)
    })
}

fn feed(
    tree: &mut dyn Tree,
    to: BufWriter<ChildStdin>,
    sum: &mut Sum,
    owners: &mut BTreeSet<u32>,
    stop: &Stop,
) -> Result<(), RepackError> {
    // The watcher knows better why the tool takes no more.
    let ended = |error: std::io::Error| RepackError::Tools(format!("sqfstar took no more: {error}"));
    let (mut writer, mut total) = (Writer::new(to), 0);
    while let Some(entry) = tree.next()? {
        stop.check().map_err(ended)?;
        if entry.kind == Kind::Socket {
            return Err(RepackError::Cannot(format!(
                "{:?} is a socket, which tar streams cannot hold; sockets are of no use in an image, so remove it, or leave the image packed as it is",
                String::from_utf8_lossy(&entry.path)
            )));
        }
        owners.extend([entry.uid, entry.gid]);
        if let Kind::File(size) = entry.kind {
            total = size.saturating_add(total);
            if total > MOST_UNPACKED {
                return Err(RepackError::Cannot("its files have more than 1 TiB, as no image has".to_owned()));
            }
        }
        writer.entry(&entry).map_err(ended)?;
        let mut content = Sha256::new();
        let given = tree.content(&mut |bytes| {
            stop.check()?;
            content.update(bytes);
            writer.content(bytes)
        });
        match given {
            Err(TreeError::Taken(error)) => return Err(ended(error)),
            other => other?,
        }
        sum.add(&entry, content);
    }
    writer.finish().map_err(ended)?;
    Ok(())
}

/// How a squashfs is packed.
fn packing(reader: &mut (impl Read + Seek), size: u64) -> Result<Packing, RepackError> {
    let mut head = Vec::new();
    reader.seek(SeekFrom::Start(0)).map_err(InspectError::Read)?;
    reader.by_ref().take(Packing::HEAD).read_to_end(&mut head).map_err(InspectError::Read)?;
    Ok(Packing::read(&head, size)?)
}

/// As [`tree::sum()`], unless nobody waits any more.
fn sum(tree: &mut dyn Tree, stop: &Stop) -> Result<Sum, RepackError> {
    let mut sum = Sum::default();
    while let Some(entry) = tree.next()? {
        stop.check().map_err(BlobError::from)?;
        let mut content = Sha256::new();
        tree.content(&mut |bytes| {
            content.update(bytes);
            stop.check()
        })?;
        sum.add(&entry, content);
    }
    Ok(sum)
}

/// The first entry that came out otherwise, in words.
fn difference(staged: &Staged, said: &Sum, found: &Sum) -> String {
    let Some(place) = said.differs_at(found) else { return "it cannot be told what".to_owned() };
    let mut reader = staged.reader();
    let Ok(mut tree) = tree::squashfs(&mut reader, staged.size()) else { return "it cannot be read".to_owned() };
    let mut number = 0;
    while let Ok(Some(entry)) = tree.next() {
        if number == place {
            return format!("entry {number} is {}", tree::describe(&entry));
        }
        number += 1;
    }
    format!("entry {number} is missing")
}

fn check_version(blobs: &Blobs, stop: &Stop) -> Result<(), RepackError> {
    let mut said = blobs.scratch().map_err(BlobError::from)?;
    SQFSTAR.feed(&["-version"], &said, stop, |_| Ok(()))?;
    said.seek(SeekFrom::Start(0)).map_err(BlobError::from)?;
    let mut text = String::new();
    // What it says may be in any encoding, and counts only if it is what is expected.
    let _ = said.take(4096).read_to_string(&mut text);
    match version(&text) {
        Some(found) if found >= OLDEST => Ok(()),
        Some((major, minor)) => Err(RepackError::Tools(format!(
            "sqfstar is of version {major}.{minor}, and packing anew needs squashfs-tools 4.5 or newer; update squashfs-tools"
        ))),
        None => {
            Err(RepackError::Tools("sqfstar does not tell its version; install squashfs-tools 4.5 or newer".to_owned()))
        }
    }
}

/// `sqfstar version 4.5.1 (2022/03/17)`; newer ones may have something behind the numbers.
fn version(text: &str) -> Option<(u32, u32)> {
    let numbers = text.split_once("version ")?.1;
    let mut numbers = numbers.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Takes no more when nobody waits.
struct Stoppable<'a, W> {
    to: W,
    stop: &'a Stop,
}

impl<W: Write> Write for Stoppable<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.stop.check()?;
        self.to.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_they_are_told() {
        assert_eq!(version("sqfstar version 4.5.1 (2022/03/17)\ncopyright"), Some((4, 5)));
        assert_eq!(version("sqfstar version 4.6-git.abc (2023/03/17)"), Some((4, 6)));
        assert_eq!(version("sqfstar version 5.0"), Some((5, 0)));
        assert_eq!(version("SYNTAX: sqfstar [OPTIONS]"), None);
        assert!((4, 10) > OLDEST && (4, 4) < OLDEST);
    }
}
