//! A tree as a tar stream that says everything of every entry: the POSIX format with PAX records where the old header has no room
//! (POSIX.1-2024 `pax`, "ustar Interchange Format"), extended attributes as `SCHILY.xattr.`, as GNU tar and libarchive have them.

use std::io::{self, Write};

use super::{Entry, Kind};

const BLOCK: usize = 512;

/// Writes entries, each after the folder that it is in. What of the stream was written before an error is of no use.
///
/// The same entries give the same bytes. The root is left out: readers of tar streams disagree on what it means there.
pub struct Writer<W> {
    to: W,
    /// Bytes of content that the entry has promised and not got yet.
    left: u64,
    padding: usize,
}

impl<W: Write> Writer<W> {
    /// Writes to `to`.
    pub fn new(to: W) -> Self {
        Self { to, left: 0, padding: 0 }
    }

    /// Begins an entry; of a [file](Kind::File), all of its [content](Self::content) has to follow.
    ///
    /// # Errors
    /// Those of writing; [`io::ErrorKind::Unsupported`] for a [socket](Kind::Socket), which the format lacks;
    /// [`io::ErrorKind::InvalidInput`] when the content of the one before is not complete.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.close()?;
        if entry.path.is_empty() {
            return Ok(());
        }
        let (kind, size, target, device): (u8, u64, &[u8], _) = match &entry.kind {
            Kind::File(size) => (b'0', *size, b"", None),
            Kind::Link(target) => (b'1', 0, target, None),
            Kind::Symlink(target) => (b'2', 0, target, None),
            Kind::Character(major, minor) => (b'3', 0, b"", Some((*major, *minor))),
            Kind::Block(major, minor) => (b'4', 0, b"", Some((*major, *minor))),
            Kind::Directory => (b'5', 0, b"", None),
            Kind::Fifo => (b'6', 0, b"", None),
            Kind::Socket => return Err(io::ErrorKind::Unsupported.into()),
        };
        let mut header = Header::new(kind);
        let mut records = Vec::new();
        header.text(0, 100, &entry.path, b"path", &mut records);
        header.text(157, 100, target, b"linkpath", &mut records);
        header.number(100, 8, u64::from(entry.mode), b"", &mut records);
        header.number(108, 8, u64::from(entry.uid), b"uid", &mut records);
        header.number(116, 8, u64::from(entry.gid), b"gid", &mut records);
        header.number(124, 12, size, b"size", &mut records);
        header.number(136, 12, u64::from(entry.mtime), b"mtime", &mut records);
        let (major, minor) = device.unwrap_or((0, 0));
        header.number(329, 8, u64::from(major), b"", &mut records);
        header.number(337, 8, u64::from(minor), b"", &mut records);
        for (name, value) in &entry.attributes {
            record(&[b"SCHILY.xattr.", &name[..]].concat(), value, &mut records);
        }
        if !records.is_empty() {
            let mut extended = Header::new(b'x');
            extended.text(0, 100, b"PaxHeaders/entry", b"", &mut Vec::new());
            extended.number(124, 12, records.len() as u64, b"", &mut Vec::new());
            for at in [100, 108, 116, 329, 337] {
                extended.number(at, 8, 0, b"", &mut Vec::new());
            }
            extended.number(136, 12, 0, b"", &mut Vec::new());
            self.to.write_all(&extended.finished())?;
            self.to.write_all(&records)?;
            self.pad(padding(records.len() as u64))?;
        }
        self.to.write_all(&header.finished())?;
        (self.left, self.padding) = (size, padding(size));
        Ok(())
    }

    /// More of the entry's content.
    ///
    /// # Errors
    /// Those of writing; [`io::ErrorKind::InvalidInput`] when that is more than the entry has.
    pub fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
        self.to.write_all(bytes)
    }

    /// Ends the stream, and gives back what it was written to.
    ///
    /// # Errors
    /// As [`Self::entry`].
    pub fn finish(mut self) -> io::Result<W> {
        self.close()?;
        self.pad(2 * BLOCK)?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn close(&mut self) -> io::Result<()> {
        if self.left > 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let padding = std::mem::take(&mut self.padding);
        self.pad(padding)
    }

    fn pad(&mut self, bytes: usize) -> io::Result<()> {
        self.to.write_all(&[0; 2 * BLOCK][..bytes])
    }
}

fn padding(size: u64) -> usize {
    // Less than 512.
    (size.wrapping_neg() % BLOCK as u64) as usize
}

struct Header([u8; BLOCK]);

impl Header {
    fn new(kind: u8) -> Self {
        let mut bytes = [0; BLOCK];
        bytes[156] = kind;
        bytes[257..265].copy_from_slice(b"ustar\x0000");
        Self(bytes)
    }

    /// Writes a text, or the record that stands for it when the field is too short.
    fn text(&mut self, at: usize, room: usize, text: &[u8], key: &[u8], records: &mut Vec<u8>) {
        if text.len() > room {
            record(key, text, records);
        }
        let kept = text.len().min(room);
        self.0[at..at + kept].copy_from_slice(&text[..kept]);
    }

    /// Writes a number in octal digits, or the record that stands for it when they do not fit.
    fn number(&mut self, at: usize, room: usize, number: u64, key: &[u8], records: &mut Vec<u8>) {
        let mut digits = format!("{number:0width$o}", width = room - 1);
        if digits.len() >= room {
            record(key, number.to_string().as_bytes(), records);
            digits = "0".repeat(room - 1);
        }
        self.0[at..at + room - 1].copy_from_slice(digits.as_bytes());
    }

    fn finished(mut self) -> [u8; BLOCK] {
        self.0[148..156].fill(b' ');
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.0[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
        self.0[154] = 0;
        self.0
    }
}

/// Adds `LENGTH KEY=VALUE\n`, where the length counts all of it, its own digits included.
fn record(key: &[u8], value: &[u8], records: &mut Vec<u8>) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    for part in [&b" "[..], key, b"=", value, b"\n"] {
        records.extend_from_slice(part);
    }
}
