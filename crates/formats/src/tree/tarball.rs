//! A plain tarball as a tree: as GNU tar unpacks it for LXD and Incus (`--numeric-owner --xattrs-include=*`).
//!
//! The archive is gone through once for an index; then its entries come in the order of trees, each with its content out of the middle of the
//! file. So the file must not be compressed: [`unpack`] takes care of that.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use tar::{EntryType, GnuExtSparseHeader, Header};

use super::{Entry, Kind, MOST_ATTRIBUTES, MOST_ENTRIES, MOST_NAMES, MOST_PATH, ReadSeek, Tree, TreeError, too_big};
use crate::image::Compression;
use crate::inspect::limits::Scope;
use crate::inspect::stream::{Stream, read_at};
use crate::inspect::{InspectError, Limits};

const BLOCK: u64 = 512;
/// Most bytes of one extended header.
const MOST_EXTENDED: u64 = 1 << 20;
/// Most pieces of one sparse file.
const MOST_PIECES: usize = 100_000;
/// How much of a file is read at once.
const PIECE: usize = 256 << 10;

/// Writes the unpacked bytes of a tarball.
///
/// # Errors
/// When the data are damaged, or unpack to more than `most` bytes, or cannot be written.
pub fn unpack(
    file: &mut dyn ReadSeek,
    size: u64,
    compression: Compression,
    most: u64,
    to: &mut dyn Write,
) -> Result<u64, TreeError> {
    let limits = Limits { unified_bytes: most, ..Limits::default() };
    let mut file = file;
    let mut stream = Stream::open(&mut file, size, compression, Scope::Root, &limits)?;
    let (mut piece, mut written) = (vec![0; PIECE], 0);
    loop {
        let got = stream.read_full(&mut piece)?;
        to.write_all(&piece[..got]).map_err(TreeError::Taken)?;
        written += got as u64;
        if got < piece.len() {
            return Ok(written);
        }
    }
}

/// Begins to go through the plain tarball in `file`, which has that many bytes.
///
/// # Errors
/// Any [`InspectError`]; [`InspectError::Unsupported`] for what a squashfs could not hold, or what is not the same for every
/// program that unpacks it.
pub fn tarball(file: &mut dyn ReadSeek, size: u64) -> Result<TarTree<'_>, InspectError> {
    let mut index = Index { file, size, position: 0, items: Vec::new(), names: 0, global: Extended::default() };
    index.read()?;
    let Index { file, items, .. } = index;
    let entries = ordered(items)?;
    Ok(TarTree { file, entries: entries.into_iter(), current: None })
}

/// The entries of a tarball: see [`tarball`].
pub struct TarTree<'a> {
    file: &'a mut dyn ReadSeek,
    entries: std::vec::IntoIter<Item>,
    current: Option<Item>,
}

/// An entry, and where its content is.
#[derive(Debug, Clone)]
struct Item {
    entry: Entry,
    /// Of a file: pieces with their offset in the file, their length, and where they are in the archive.
    pieces: Vec<(u64, u64, u64)>,
}

impl Tree for TarTree<'_> {
    fn next(&mut self) -> Result<Option<Entry>, InspectError> {
        self.current = self.entries.next();
        Ok(self.current.as_ref().map(|item| item.entry.clone()))
    }

    fn content(&mut self, to: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(), TreeError> {
        let Some(Item { entry: Entry { kind: Kind::File(size), .. }, pieces }) = self.current.take() else {
            return Ok(());
        };
        let mut buffer = vec![0; PIECE];
        let mut position = 0;
        for (offset, length, place) in pieces {
            hole(offset - position, &mut buffer, to)?;
            let mut done = 0;
            while done < length {
                let want = usize::try_from(length - done).unwrap_or(PIECE).min(PIECE);
                read_at(&mut self.file, place + done, &mut buffer[..want])?;
                to(&buffer[..want]).map_err(TreeError::Taken)?;
                done += want as u64;
            }
            position = offset + length;
        }
        hole(size - position, &mut buffer, to)
    }
}

fn hole(mut length: u64, buffer: &mut [u8], to: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(), TreeError> {
    buffer.fill(0);
    while length > 0 {
        let want = usize::try_from(length).unwrap_or(PIECE).min(buffer.len());
        to(&buffer[..want]).map_err(TreeError::Taken)?;
        length -= want as u64;
    }
    Ok(())
}

/// What extended headers say of the entry that follows.
#[derive(Debug, Clone, Default)]
struct Extended {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<u32>,
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Major and minor number of the sparse format, and the name and length of the file.
    sparse: Option<(u64, u64)>,
    sparse_name: Option<Vec<u8>>,
    real_size: Option<u64>,
}

struct Index<'a> {
    file: &'a mut dyn ReadSeek,
    size: u64,
    position: u64,
    items: Vec<Item>,
    names: usize,
    global: Extended,
}

fn damaged(what: &str) -> InspectError {
    InspectError::Damaged(format!("in the archive, {what}"))
}

fn refused(path: &[u8], why: &str) -> InspectError {
    InspectError::Unsupported(format!("{:?} {why}", String::from_utf8_lossy(path)))
}

impl Index<'_> {
    fn read(&mut self) -> Result<(), InspectError> {
        let mut extended = self.global.clone();
        while let Some(header) = self.header()? {
            let stored = header.entry_size().ok().filter(|size| *size <= i64::MAX as u64);
            let stored = stored.ok_or_else(|| damaged("an entry has an impossible size"))?;
            match header.entry_type() {
                EntryType::GNULongName => extended.name = Some(until_nul(self.extended(stored)?)),
                EntryType::GNULongLink => extended.target = Some(until_nul(self.extended(stored)?)),
                EntryType::XHeader => read_records(&self.extended(stored)?, &mut extended)?,
                EntryType::XGlobalHeader => {
                    read_records(&self.extended(stored)?, &mut self.global)?;
                    extended = self.global.clone();
                }
                _ => {
                    self.item(&header, stored, extended)?;
                    extended = self.global.clone();
                }
            }
        }
        Ok(())
    }

    fn header(&mut self) -> Result<Option<Header>, InspectError> {
        let mut header = Header::new_old();
        if self.size.saturating_sub(self.position) < BLOCK {
            return Ok(None);
        }
        read_at(&mut self.file, self.position, header.as_mut_bytes())?;
        self.position += BLOCK;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let mut summed = header.clone();
        summed.set_cksum();
        if header.cksum().ok() != summed.cksum().ok() {
            return Err(damaged("a header has a wrong checksum"));
        }
        Ok(Some(header))
    }

    /// The content of an extended header, which is passed.
    fn extended(&mut self, stored: u64) -> Result<Vec<u8>, InspectError> {
        if stored > MOST_EXTENDED {
            return Err(too_big("a name or the attributes of a file in the archive are too long"));
        }
        let mut bytes = vec![0; usize::try_from(stored).unwrap_or(0)];
        read_at(&mut self.file, self.position, &mut bytes)?;
        self.pass(stored)?;
        Ok(bytes)
    }

    fn pass(&mut self, stored: u64) -> Result<(), InspectError> {
        let end = self.position.checked_add(stored).filter(|end| *end <= self.size);
        let end = end.ok_or_else(|| InspectError::Truncated("a file in the archive is cut off".to_owned()))?;
        self.position = end.next_multiple_of(BLOCK);
        Ok(())
    }

    fn item(&mut self, header: &Header, stored: u64, extended: Extended) -> Result<(), InspectError> {
        if self.items.len() as u64 >= MOST_ENTRIES {
            return Err(too_big("the archive has too many files in it"));
        }
        let raw = extended.sparse_name.clone().or(extended.name.clone());
        let raw = raw.unwrap_or_else(|| header.path_bytes().into_owned());
        let path = clean(&raw)?;
        let number = |number: io::Result<u64>| number.ok().and_then(|number| u32::try_from(number).ok());
        let wrong =
            |what: &str| refused(&path, &format!("has {what} that a squashfs cannot keep; build the tarball anew"));
        let (uid, gid) = (extended.uid.or(number(header.uid())), extended.gid.or(number(header.gid())));
        let mtime = extended.mtime.or(number(header.mtime()));
        let mode = header.mode().map_err(|_| damaged("a mode is malformed"))?;
        let target = || extended.target.clone().or_else(|| header.link_name_bytes().map(|name| name.into_owned()));
        let device = || -> Result<(u32, u32), InspectError> {
            let device = (header.device_major().ok().flatten(), header.device_minor().ok().flatten());
            match device {
                (Some(major), Some(minor)) if major < 1 << 12 && minor < 1 << 20 => Ok((major, minor)),
                _ => Err(wrong("a device number")),
            }
        };
        let mut pieces = Vec::new();
        let mut content = 0;
        let kind = match header.entry_type() {
            // Archives from before POSIX mark a folder by the slash alone.
            EntryType::Regular if raw.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => {
                content = extended.size.unwrap_or(stored);
                let size = match (extended.sparse, extended.real_size) {
                    (None, None) => {
                        pieces.push((0, content, self.position));
                        content
                    }
                    (Some((1, 0)), Some(size)) => {
                        pieces = self.map_in_content(content)?;
                        size
                    }
                    _ => {
                        return Err(refused(
                            &path,
                            "is sparse in an old form of PAX; build the tarball anew, without --sparse or with --sparse-version=1.0",
                        ));
                    }
                };
                Kind::File(size)
            }
            EntryType::GNUSparse => {
                content = extended.size.unwrap_or(stored);
                let size = header.as_gnu().and_then(|gnu| gnu.real_size().ok());
                let size = size.ok_or_else(|| damaged("a sparse file has no length"))?;
                pieces = self.old_map(header)?;
                Kind::File(size)
            }
            EntryType::Link => Kind::Link(clean(&target().unwrap_or_default())?),
            EntryType::Symlink => Kind::Symlink(
                target().filter(|target| !target.is_empty()).ok_or_else(|| damaged("a symbolic link leads nowhere"))?,
            ),
            EntryType::Char => device().map(|(major, minor)| Kind::Character(major, minor))?,
            EntryType::Block => device().map(|(major, minor)| Kind::Block(major, minor))?,
            EntryType::Directory => Kind::Directory,
            EntryType::Fifo => Kind::Fifo,
            _ => return Err(refused(&path, "is of a kind that is no file; build the tarball anew")),
        };
        if let Kind::File(size) = kind {
            check_pieces(&pieces, size, self.position, content)?;
        }
        self.pass(content)?;
        for name in extended.attributes.keys() {
            let known: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
            if !known.iter().any(|prefix| name.starts_with(prefix)) {
                return Err(wrong(&format!("an extended attribute ({})", String::from_utf8_lossy(name))));
            }
        }
        let entry = Entry {
            kind,
            mode: (mode & 0o7777) as u16,
            uid: uid.ok_or_else(|| wrong("an owner"))?,
            gid: gid.ok_or_else(|| wrong("a group"))?,
            mtime: mtime.ok_or_else(|| wrong("a time"))?,
            attributes: extended.attributes.into_iter().collect(),
            path,
        };
        self.names += entry.path.len();
        if self.names > MOST_NAMES {
            return Err(too_big("the names in the archive are too long"));
        }
        self.items.push(Item { entry, pieces });
        Ok(())
    }

    /// The map of GNU's old format: four pieces in the header, more in blocks behind it.
    fn old_map(&mut self, header: &Header) -> Result<Vec<(u64, u64, u64)>, InspectError> {
        let malformed = || damaged("the map of a sparse file is malformed");
        let gnu = header.as_gnu().ok_or_else(malformed)?;
        let mut lengths = Vec::new();
        let mut add = |sparse: &tar::GnuSparseHeader| -> Result<(), InspectError> {
            if !sparse.is_empty() {
                let (offset, length) = (sparse.offset().ok(), sparse.length().ok());
                lengths.push(offset.zip(length).ok_or_else(malformed)?);
            }
            if lengths.len() > MOST_PIECES { Err(too_big("a sparse file has too many pieces")) } else { Ok(()) }
        };
        gnu.sparse.iter().try_for_each(&mut add)?;
        let mut more = gnu.is_extended();
        while more {
            let mut block = GnuExtSparseHeader::new();
            read_at(&mut self.file, self.position, block.as_mut_bytes())?;
            self.position += BLOCK;
            block.sparse().iter().try_for_each(&mut add)?;
            more = block.is_extended();
        }
        Ok(placed(&lengths, self.position))
    }

    /// The map of the PAX format 1.0: decimal numbers in lines, in front of the content, in whole blocks.
    fn map_in_content(&mut self, content: u64) -> Result<Vec<(u64, u64, u64)>, InspectError> {
        let malformed = || damaged("the map of a sparse file is malformed");
        let (mut numbers, mut wanted, mut digits, mut blocks) = (Vec::new(), 1, Vec::new(), 0);
        while numbers.len() < wanted {
            let mut block = [0; BLOCK as usize];
            if (blocks + 1) * BLOCK > content {
                return Err(malformed());
            }
            read_at(&mut self.file, self.position + blocks * BLOCK, &mut block)?;
            blocks += 1;
            for byte in block {
                match byte {
                    b'0'..=b'9' if digits.len() < 20 => digits.push(byte),
                    b'\n' => {
                        let number: u64 = std::str::from_utf8(&digits)
                            .ok()
                            .and_then(|text| text.parse().ok())
                            .ok_or_else(malformed)?;
                        digits.clear();
                        if numbers.is_empty() {
                            wanted = usize::try_from(number)
                                .ok()
                                .filter(|count| *count <= MOST_PIECES)
                                .ok_or_else(malformed)?
                                * 2
                                + 1;
                        }
                        numbers.push(number);
                        if numbers.len() == wanted {
                            break;
                        }
                    }
                    _ => return Err(malformed()),
                }
            }
        }
        let lengths: Vec<(u64, u64)> = numbers[1..].chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        Ok(placed(&lengths, self.position + blocks * BLOCK))
    }
}

/// The pieces lie one after the other from `place` on.
fn placed(lengths: &[(u64, u64)], mut place: u64) -> Vec<(u64, u64, u64)> {
    let piece = |(offset, length): &(u64, u64)| {
        let piece = (*offset, *length, place);
        place = place.saturating_add(*length);
        piece
    };
    lengths.iter().map(piece).collect()
}

/// Pieces come in order, within the file, and their bytes within the content.
fn check_pieces(pieces: &[(u64, u64, u64)], size: u64, start: u64, content: u64) -> Result<(), InspectError> {
    let mut position = 0;
    for (offset, length, place) in pieces {
        let end = offset.checked_add(*length).filter(|end| *end <= size);
        let stored = place.checked_add(*length).filter(|end| *end <= start.saturating_add(content));
        match end {
            Some(end) if *offset >= position && stored.is_some() => position = end,
            _ => return Err(damaged("the map of a sparse file is malformed")),
        }
    }
    Ok(())
}

fn until_nul(mut name: Vec<u8>) -> Vec<u8> {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    name.truncate(end);
    name
}

/// Names with `/` between them, none in front.
fn clean(raw: &[u8]) -> Result<Vec<u8>, InspectError> {
    let names = raw.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    let path = names.collect::<Vec<_>>().join(&b'/');
    if path.split(|byte| *byte == b'/').any(|name| name == b"..") {
        return Err(refused(raw, "leads out of the archive; build the tarball anew"));
    }
    if path.len() > MOST_PATH || path.split(|byte| *byte == b'/').any(|name| name.len() > 255) || path.contains(&0) {
        return Err(refused(raw, "is a name that Linux does not allow; build the tarball anew"));
    }
    Ok(path)
}

/// Reads the records of a PAX header, each `LENGTH KEY=VALUE\n` where LENGTH counts the whole record.
fn read_records(mut records: &[u8], extended: &mut Extended) -> Result<(), InspectError> {
    let malformed = || damaged("an extended header (PAX) is malformed");
    while !records.is_empty() {
        let blank = records.iter().take(21).position(|byte| *byte == b' ').ok_or_else(malformed)?;
        let length: usize =
            std::str::from_utf8(&records[..blank]).ok().and_then(|text| text.parse().ok()).ok_or_else(malformed)?;
        let record =
            records.get(blank + 1..length).and_then(|record| record.strip_suffix(b"\n")).ok_or_else(malformed)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        let number = || std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok()).ok_or_else(malformed);
        let owner = || number().and_then(|number| u32::try_from(number).map_err(|_| malformed()));
        match key {
            b"path" => extended.name = Some(value.to_vec()),
            b"linkpath" => extended.target = Some(value.to_vec()),
            b"size" => extended.size = Some(number()?),
            b"uid" => extended.uid = Some(owner()?),
            b"gid" => extended.gid = Some(owner()?),
            // Parts of a second are left out, as a squashfs has none.
            b"mtime" => {
                let seconds = value.split(|byte| *byte == b'.').next().unwrap_or_default();
                let seconds = std::str::from_utf8(seconds).ok().and_then(|text| text.parse().ok());
                extended.mtime = Some(seconds.ok_or_else(|| {
                    InspectError::Unsupported("a file in the tarball was changed before 1970 or after 2105, which a squashfs cannot say; build it anew".to_owned())
                })?);
            }
            b"GNU.sparse.major" => extended.sparse = Some((number()?, extended.sparse.map_or(0, |sparse| sparse.1))),
            b"GNU.sparse.minor" => extended.sparse = Some((extended.sparse.map_or(0, |sparse| sparse.0), number()?)),
            b"GNU.sparse.name" => extended.sparse_name = Some(value.to_vec()),
            b"GNU.sparse.realsize" => extended.real_size = Some(number()?),
            key if key.starts_with(b"GNU.sparse.") => extended.sparse = extended.sparse.or(Some((0, 0))),
            key if key.starts_with(b"SCHILY.acl.") => {
                return Err(InspectError::Unsupported(
                    "files in the tarball have access control lists, which a squashfs cannot keep; leave the tarball as it is".to_owned(),
                ));
            }
            key => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    extended.attributes.insert(name.to_vec(), value.to_vec());
                    let bytes: usize = extended.attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
                    if bytes > MOST_ATTRIBUTES {
                        return Err(too_big("a file in the archive has too many extended attributes"));
                    }
                }
            }
        }
        records = &records[length..];
    }
    Ok(())
}

/// Entries in the order of trees; folders that are missing are made, and of several names of a file the first has the content.
fn ordered(items: Vec<Item>) -> Result<Vec<Item>, InspectError> {
    let newest = items.iter().map(|item| item.entry.mtime).max().unwrap_or(0);
    // A `/` sorts before every other byte of a name, so that what is in a folder follows it at once.
    let key = |path: &[u8]| path.iter().map(|byte| if *byte == b'/' { 0 } else { *byte }).collect::<Vec<u8>>();
    let mut sorted: BTreeMap<Vec<u8>, Item> = BTreeMap::new();
    // Where the content of a link is: for each path that a file had when it came.
    let mut links: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for mut item in items {
        let at = key(&item.entry.path);
        if let Some(before) = sorted.get(&at)
            && (before.entry.kind != Kind::Directory || item.entry.kind != Kind::Directory)
        {
            return Err(refused(&item.entry.path, "is in the archive twice; build the tarball anew"));
        }
        if let Kind::Link(target) = &item.entry.kind {
            let first = sorted.get(&key(target)).filter(|first| first.entry.kind != Kind::Directory);
            let first = first.ok_or_else(|| {
                refused(&item.entry.path, "is a link to something that did not come before it; build the tarball anew")
            })?;
            let original = match &first.entry.kind {
                Kind::Link(original) => original.clone(),
                _ => target.clone(),
            };
            // All names have what the first one has.
            item.entry = Entry { path: item.entry.path, kind: Kind::Link(original.clone()), ..first.entry.clone() };
            links.push((original, item.entry.path.clone()));
        }
        sorted.insert(at, item);
    }
    let mut groups: HashMap<Vec<u8>, Vec<Vec<u8>>> = HashMap::new();
    for (original, name) in links {
        groups.entry(original.clone()).or_insert_with(|| vec![original]).push(name);
    }
    for (original, names) in groups {
        let first = names.iter().map(|name| key(name)).min().unwrap_or_default();
        let Some(content) = sorted.get(&key(&original)).cloned() else { continue };
        let path = names.iter().find(|name| key(name) == first).cloned().unwrap_or_default();
        for name in names {
            let at = key(&name);
            let item = if at == first {
                Item { entry: Entry { path: name, ..content.entry.clone() }, pieces: content.pieces.clone() }
            } else {
                let entry = Entry { path: name, kind: Kind::Link(path.clone()), ..content.entry.clone() };
                Item { entry, pieces: Vec::new() }
            };
            sorted.insert(at, item);
        }
    }
    let mut all: Vec<Item> = Vec::with_capacity(sorted.len() + 1);
    let folder = |path: &[u8]| Item {
        entry: Entry {
            path: path.to_vec(),
            kind: Kind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: newest,
            attributes: Vec::new(),
        },
        pieces: Vec::new(),
    };
    // The folders that the entry lies in which came last, the root first.
    let mut open: Vec<Vec<u8>> = Vec::new();
    for item in sorted.into_values() {
        let path = item.entry.path.clone();
        if path.is_empty() {
            if item.entry.kind != Kind::Directory {
                return Err(refused(b"/", "is no folder; build the tarball anew"));
            }
            open.push(Vec::new());
            all.push(item);
            continue;
        }
        while open.last().is_some_and(|folder| !within(folder, &path)) {
            open.pop();
        }
        if open.is_empty() {
            open.push(Vec::new());
            all.push(folder(b""));
        }
        let known = open.last().map_or(0, Vec::len);
        for (end, _) in path.iter().enumerate().filter(|(end, byte)| **byte == b'/' && *end > known) {
            // Something else may have this name.
            if all.last().is_some_and(|last| last.entry.path == path[..end]) {
                return Err(refused(&path, "lies in something that is no folder; build the tarball anew"));
            }
            open.push(path[..end].to_vec());
            all.push(folder(&path[..end]));
        }
        if item.entry.kind == Kind::Directory {
            open.push(path);
        }
        all.push(item);
    }
    if all.is_empty() {
        all.push(folder(b""));
    }
    Ok(all)
}

fn within(folder: &[u8], path: &[u8]) -> bool {
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with(b"/"))
}
