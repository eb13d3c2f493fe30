//! Walks over the entries of a tarball, one header after the other, keeping nothing but one name.
//!
//! The fields of a header are read by the `tar` crate; the walk is our own, since that crate takes extended headers
//! into memory whatever their size, and cannot pass over the content of a plain tarball without reading it. Knows
//! nothing of images, and never makes a path of a name.

use tar::{EntryType, Header};

use super::error::{InspectError, count};
use super::limits::{Limits, Scope};
use super::stream::Stream;

const BLOCK: u64 = 512;

/// What an entry is, as far as an image cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    /// A file with holes in it, whose stored bytes are not its bytes.
    Sparse,
    Directory,
    /// Links, devices and the like.
    Other,
}

/// One entry of the archive.
#[derive(Debug)]
pub(super) struct Entry {
    /// As it stands in the archive; one `./` in front is taken off.
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
    /// The number of stored bytes.
    pub(super) size: u64,
}

/// What was said by the extended headers in front of an entry.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

/// Goes through the entries in order.
pub(super) struct Walk<'a> {
    stream: Stream<'a>,
    /// Bytes of the current entry's content, and of its padding, that are still to be passed over.
    content: u64,
    padding: u64,
    entries: u64,
    most_entries: u64,
    most_header: u64,
    scope: Scope,
}

impl<'a> Walk<'a> {
    pub(super) fn new(stream: Stream<'a>, scope: Scope, limits: &Limits) -> Self {
        Self {
            stream,
            content: 0,
            padding: 0,
            entries: 0,
            most_entries: scope.entries(limits),
            most_header: limits.header_bytes,
            scope,
        }
    }

    /// The next entry, or `None` at the end of the archive.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, InspectError> {
        let mut extended = Extended::default();
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            let kind = header.entry_type();
            let stored = self.stored(&header)?;
            match kind {
                EntryType::GNULongName => {
                    self.enter(stored)?;
                    let mut name = self.read_header_content(stored)?;
                    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
                    name.truncate(end);
                    extended.name = Some(name);
                }
                EntryType::XHeader => {
                    self.enter(stored)?;
                    let records = self.read_header_content(stored)?;
                    read_pax(&records, &mut extended)?;
                }
                EntryType::GNULongLink | EntryType::XGlobalHeader => self.enter(stored)?,
                _ => return self.entry(&header, stored, extended).map(Some),
            }
        }
    }

    fn entry(&mut self, header: &Header, stored: u64, extended: Extended) -> Result<Entry, InspectError> {
        let mut name = extended.name.unwrap_or_else(|| header.path_bytes().into_owned());
        if name.starts_with(b"./") {
            name.drain(..2);
        }
        let kind = match header.entry_type() {
            EntryType::GNUSparse => Kind::Sparse,
            EntryType::Regular | EntryType::Continuous if extended.sparse => Kind::Sparse,
            // Archives from before POSIX mark a directory by the slash alone.
            EntryType::Regular if name.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Directory => Kind::Directory,
            _ => Kind::Other,
        };
        // Links, directories and devices have no content, whatever their size field says: as Go's reader has it.
        let has_content = match header.entry_type() {
            EntryType::Link
            | EntryType::Symlink
            | EntryType::Char
            | EntryType::Block
            | EntryType::Directory
            | EntryType::Fifo => false,
            _ => kind != Kind::Directory,
        };
        let size = if has_content { extended.size.unwrap_or(stored) } else { 0 };
        if header.entry_type() == EntryType::GNUSparse {
            self.pass_sparse_headers(header)?;
        }
        self.enter(size)?;
        Ok(Entry { name, kind, size })
    }

    /// Reads up to `length` bytes of the current entry's content.
    pub(super) fn read(&mut self, length: usize) -> Result<Vec<u8>, InspectError> {
        let mut buf = vec![0; usize::try_from(self.content).unwrap_or(usize::MAX).min(length)];
        let got = self.stream.read_full(&mut buf)?;
        if got < buf.len() {
            return Err(self.cut("a file in the archive is cut off"));
        }
        self.content -= got as u64;
        Ok(buf)
    }

    /// Reads what comes after the last entry, so that checksums are compared.
    pub(super) fn finish(mut self) -> Result<(), InspectError> {
        self.stream.finish()
    }

    fn enter(&mut self, size: u64) -> Result<(), InspectError> {
        self.entries += 1;
        if self.entries > self.most_entries {
            return Err(InspectError::TooBig(format!(
                "the archive has more than {} entries; {}",
                count(self.most_entries),
                self.scope.advice()
            )));
        }
        self.content = size;
        self.padding = size.wrapping_neg() % BLOCK;
        Ok(())
    }

    fn cut(&self, what: &str) -> InspectError {
        InspectError::Truncated(what.to_owned())
    }

    fn header(&mut self) -> Result<Option<Header>, InspectError> {
        self.stream.skip(self.content)?;
        self.stream.skip(self.padding)?;
        (self.content, self.padding) = (0, 0);
        let mut header = Header::new_old();
        match self.block(header.as_mut_bytes())? {
            // Archives may end without the two blocks of zeros.
            0 => return Ok(None),
            BLOCK => {}
            _ => return Err(self.cut("it stops in the middle of a file's header")),
        }
        if is_zero(header.as_bytes()) {
            let mut second = [0; BLOCK as usize];
            return match self.block(&mut second)? {
                0 => Ok(None),
                BLOCK if is_zero(&second) => Ok(None),
                BLOCK => Err(self.damaged("there is data after its end mark")),
                _ => Err(self.cut("it stops within the archive's end mark")),
            };
        }
        if !checksum_fits(&header) {
            return Err(if self.entries == 0 {
                InspectError::Damaged(format!("{} holds no tarball", self.stream.what()))
            } else {
                self.damaged(&format!("the header after entry {} has a wrong checksum", count(self.entries)))
            });
        }
        Ok(Some(header))
    }

    fn block(&mut self, block: &mut [u8; BLOCK as usize]) -> Result<u64, InspectError> {
        Ok(self.stream.read_full(block)? as u64)
    }

    fn damaged(&self, what: &str) -> InspectError {
        InspectError::Damaged(format!("in {}, {what}", if self.entries == 0 { "it" } else { "the archive" }))
    }

    fn stored(&self, header: &Header) -> Result<u64, InspectError> {
        let size = header.entry_size().ok().filter(|size| *size <= i64::MAX as u64);
        size.ok_or_else(|| self.damaged(&format!("entry {} has an impossible size", count(self.entries + 1))))
    }

    fn read_header_content(&mut self, size: u64) -> Result<Vec<u8>, InspectError> {
        if size > self.most_header {
            return Err(InspectError::TooBig(format!(
                "a name or a set of attributes in the archive takes {} bytes, and {} are allowed; build the archive anew",
                count(size),
                count(self.most_header)
            )));
        }
        self.read(usize::try_from(size).unwrap_or(usize::MAX))
    }

    /// In the old GNU format the map of a sparse file goes on in blocks of their own, which no size counts.
    fn pass_sparse_headers(&mut self, header: &Header) -> Result<(), InspectError> {
        let mut more = header.as_gnu().is_some_and(tar::GnuHeader::is_extended);
        while more {
            self.enter(0)?;
            let mut block = tar::GnuExtSparseHeader::new();
            if self.block(block.as_mut_bytes())? < BLOCK {
                return Err(self.cut("it stops within the map of a sparse file"));
            }
            more = block.is_extended();
        }
        Ok(())
    }
}

fn is_zero(block: &[u8; BLOCK as usize]) -> bool {
    *block == [0; BLOCK as usize]
}

/// Whether the header's checksum is the sum of its bytes; old programs summed signed bytes.
fn checksum_fits(header: &Header) -> bool {
    let mut summed = header.clone();
    summed.set_cksum();
    let (Ok(promised), Ok(unsigned)) = (header.cksum(), summed.cksum()) else { return false };
    // A byte from 128 on counts 256 less when it is taken for a signed one. The field of the sum itself counts as
    // blanks.
    let signed = || {
        let bytes = header.as_bytes().iter().enumerate();
        let high = bytes.filter(|(index, byte)| **byte >= 128 && !(148..156).contains(index)).count();
        i64::from(unsigned) - 256 * high as i64
    };
    promised == unsigned || i64::from(promised) == signed()
}

/// The records of a PAX header, each `LENGTH KEY=VALUE\n` where LENGTH counts the whole record. Values may hold any
/// byte, line ends too.
fn read_pax(mut records: &[u8], extended: &mut Extended) -> Result<(), InspectError> {
    let malformed = || InspectError::Damaged("in the archive, an extended header (PAX) is malformed".to_owned());
    while !records.is_empty() {
        let blank = records.iter().take(21).position(|byte| *byte == b' ').ok_or_else(malformed)?;
        let length: usize =
            std::str::from_utf8(&records[..blank]).ok().and_then(|text| text.parse().ok()).ok_or_else(malformed)?;
        let record = records.get(blank + 1..length).ok_or_else(malformed)?;
        let record = record.strip_suffix(b"\n").ok_or_else(malformed)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        match key {
            // The true name of a sparse file stands in a record of its own and wins over `path`.
            b"GNU.sparse.name" => {
                extended.name = Some(value.to_vec());
                extended.sparse = true;
            }
            b"path" if !extended.sparse => extended.name = Some(value.to_vec()),
            b"size" => {
                let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                extended.size = Some(size.filter(|size| *size <= i64::MAX as u64).ok_or_else(malformed)?);
            }
            key if key.starts_with(b"GNU.sparse.") => extended.sparse = true,
            _ => {}
        }
        records = &records[length..];
    }
    Ok(())
}
