//! A squashfs as a tree (Linux `fs/squashfs/squashfs_fs.h`; `inode.c`, `dir.c`, `xattr.c`, `id.c`).

use std::collections::{HashMap, HashSet};
use std::io;
use std::rc::Rc;

use super::{
    Attributes, Entry, Kind, MOST_ATTRIBUTES, MOST_ENTRIES, MOST_NAMES, MOST_PATH, ReadSeek, Tree, TreeError, too_big,
};
use crate::inspect::squashfs::{Fields, SUPERBLOCK_LEN, Superblock, Unpacking, unpack};
use crate::inspect::stream::{read_at, read_head};
use crate::inspect::{InspectError, Limits};

/// Unpacked size of a block of a table.
const TABLE_BLOCK: usize = 8192;
/// Blocks of tables that are kept unpacked: 2 MiB of them.
const KEPT_BLOCKS: usize = 256;
/// Fragments that are kept unpacked, each at most 1 MiB: files that lie near each other share them.
const KEPT_FRAGMENTS: usize = 8;
/// Most bytes that a folder's listing may take.
const MOST_LISTING: usize = 16 << 20;

const NO_FRAGMENT: u32 = u32::MAX;
const NO_ATTRIBUTES: u32 = u32::MAX;
const UNCOMPRESSED: u32 = 1 << 24;
const LENGTH: u32 = UNCOMPRESSED - 1;

/// Begins to go through the squashfs in `file`, which has that many bytes.
///
/// # Errors
/// Any [`InspectError`] of a superblock or a table of owners.
pub fn squashfs(file: &mut dyn ReadSeek, size: u64) -> Result<SquashfsTree<'_>, InspectError> {
    let mut file = file;
    let superblock = Superblock::read(&read_head(&mut file, size, SUPERBLOCK_LEN)?, size)?;
    let unpacking = Unpacking::new(superblock.compressor, &Limits::default());
    let mut tree = SquashfsTree {
        blocks: Blocks { file, superblock, unpacking, kept: HashMap::new(), fragments: Vec::new() },
        ids: Vec::new(),
        attributes: None,
        folders: Vec::new(),
        names: 0,
        path: Vec::new(),
        entered: HashSet::new(),
        first_names: HashMap::new(),
        entries: 0,
        file: None,
        begun: false,
    };
    tree.read_ids()?;
    tree.read_attribute_table()?;
    Ok(tree)
}

/// The entries of a squashfs: see [`squashfs`].
pub struct SquashfsTree<'a> {
    pub(super) blocks: Blocks<'a>,
    pub(super) ids: Vec<u32>,
    attributes: Option<AttributeTable>,
    /// The folders that are being gone through, the innermost last.
    folders: Vec<Folder>,
    /// Bytes of names that wait in `folders`, and of those in `first_names`.
    names: usize,
    path: Vec<u8>,
    /// Numbers of the folders that were entered: a folder has one place.
    entered: HashSet<u32>,
    /// Entries that may have more names, by their number, with what they are and where they came first.
    first_names: HashMap<u32, Vec<u8>>,
    entries: u64,
    /// The file that came last.
    file: Option<Data>,
    begun: bool,
}

/// What of a folder is still to come: names with the places of their inodes, the next one last.
struct Folder {
    left: Vec<(Vec<u8>, u64)>,
    /// How long its own path is.
    path: usize,
}

struct AttributeTable {
    start: u64,
    count: u32,
    pointers: u64,
}

/// Where the content of a file lies.
struct Data {
    size: u64,
    start: u64,
    fragment: u32,
    fragment_offset: u32,
    list: Cursor,
}

/// A place in a table: where the block begins in the file, and the offset in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    pub(super) block: u64,
    offset: usize,
}

struct Inode {
    kind: u16,
    entry: Entry,
    number: u32,
    links: u32,
    /// Of a folder: its listing, and how long that is.
    listing: Option<(Cursor, usize)>,
    file: Option<Data>,
}

pub(super) fn damaged(what: &str) -> InspectError {
    InspectError::Damaged(format!("in the squashfs, {what}"))
}

impl Tree for SquashfsTree<'_> {
    fn next(&mut self) -> Result<Option<Entry>, InspectError> {
        self.file = None;
        if !self.begun {
            self.begun = true;
            return self.enter(self.blocks.superblock.root_inode, true).map(Some);
        }
        loop {
            let Some(folder) = self.folders.last_mut() else { return Ok(None) };
            self.path.truncate(folder.path);
            let Some((name, inode)) = folder.left.pop() else {
                self.folders.pop();
                continue;
            };
            self.names -= name.len();
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(&name);
            if self.path.len() > MOST_PATH {
                return Err(too_big("folders lie too deep in each other"));
            }
            return self.enter(inode, false).map(Some);
        }
    }

    fn content(&mut self, to: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(), TreeError> {
        let Some(mut data) = self.file.take() else { return Ok(()) };
        let block_size = u64::from(self.blocks.superblock.block_size);
        let tail = if data.fragment == NO_FRAGMENT { 0 } else { data.size % block_size };
        let (mut left, mut position) = (data.size - tail, data.start);
        while left > 0 {
            let length = left.min(block_size);
            let word = self.blocks.u32(&mut data.list)?;
            let block = self.blocks.data(position, word, length)?;
            to(&block).map_err(TreeError::Taken)?;
            position = position.saturating_add(u64::from(word & LENGTH));
            left -= length;
        }
        if tail > 0 {
            let fragment = self.blocks.fragment(data.fragment)?;
            let start = data.fragment_offset as usize;
            let end = usize::try_from(tail).ok().and_then(|tail| start.checked_add(tail));
            let piece = end.and_then(|end| fragment.get(start..end));
            to(piece.ok_or_else(|| damaged("the end of a file is missing"))?).map_err(TreeError::Taken)?;
        }
        Ok(())
    }
}

impl SquashfsTree<'_> {
    /// Reads the inode at this place for the path that is being gone through, and goes into it if it is a folder.
    fn enter(&mut self, place: u64, root: bool) -> Result<Entry, InspectError> {
        self.entries += 1;
        if self.entries > MOST_ENTRIES {
            return Err(too_big("the squashfs has too many files in it"));
        }
        let mut inode = self.inode(place)?;
        inode.entry.path = self.path.clone();
        if let Some((listing, length)) = inode.listing {
            if !self.entered.insert(inode.number) {
                return Err(damaged("a folder lies in several places"));
            }
            let left = self.listing(listing, length)?;
            self.names += left.iter().map(|(name, _)| name.len()).sum::<usize>();
            if self.names > MOST_NAMES {
                return Err(too_big("the names in the squashfs are too long"));
            }
            self.folders.push(Folder { left, path: self.path.len() });
            return Ok(inode.entry);
        }
        if root {
            return Err(damaged("the root is no folder"));
        }
        if inode.links > 1 {
            if let Some(first) = self.first_names.get(&inode.number) {
                inode.entry.kind = Kind::Link(first.clone());
                return Ok(inode.entry);
            }
            self.names += self.path.len();
            if self.names > MOST_NAMES {
                return Err(too_big("the names in the squashfs are too long"));
            }
            self.first_names.insert(inode.number, self.path.clone());
        }
        self.file = inode.file;
        Ok(inode.entry)
    }

    fn inode(&mut self, place: u64) -> Result<Inode, InspectError> {
        let table = self.blocks.superblock.inode_table;
        let mut at = Cursor { block: table.saturating_add(place >> 16), offset: (place & 0xffff) as usize };
        let mut common = [0; 16];
        self.blocks.read(&mut at, &mut common)?;
        let mut fields = Fields::new(&common);
        let kind = fields.u16()?;
        let mode = fields.u16()? & 0o7777;
        let (uid, gid) = (fields.u16()?, fields.u16()?);
        let mtime = fields.u32()?;
        let number = fields.u32()?;
        let mut inode = Inode {
            kind,
            entry: Entry {
                path: Vec::new(),
                kind: Kind::Directory,
                mode,
                uid: self.id(uid)?,
                gid: self.id(gid)?,
                mtime,
                attributes: Vec::new(),
            },
            number,
            links: 1,
            listing: None,
            file: None,
        };
        let attributes = self.rest(&mut inode, &mut at)?;
        if attributes != NO_ATTRIBUTES {
            inode.entry.attributes = self.attributes(attributes)?;
        }
        Ok(inode)
    }

    /// Reads what stands behind an inode's common part; gives the number of its attributes.
    fn rest(&mut self, inode: &mut Inode, at: &mut Cursor) -> Result<u32, InspectError> {
        let directories = self.blocks.superblock.directory_table;
        let listing = |block: u32, offset: u16| Cursor {
            block: directories.saturating_add(u64::from(block)),
            offset: usize::from(offset),
        };
        let blocks = &mut self.blocks;
        match inode.kind {
            1 => {
                let rest: [u8; 16] = blocks.array(at)?;
                let mut fields = Fields::new(&rest);
                let (block, _links) = (fields.u32()?, fields.u32()?);
                let (length, offset) = (fields.u16()?, fields.u16()?);
                inode.listing = Some((listing(block, offset), usize::from(length)));
                Ok(NO_ATTRIBUTES)
            }
            8 => {
                let rest: [u8; 24] = blocks.array(at)?;
                let mut fields = Fields::new(&rest);
                let (_links, length, block, _parent) = (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
                let (_index, offset) = (fields.u16()?, fields.u16()?);
                inode.listing = Some((listing(block, offset), length as usize));
                fields.u32()
            }
            2 => {
                let rest: [u8; 16] = blocks.array(at)?;
                let mut fields = Fields::new(&rest);
                let start = u64::from(fields.u32()?);
                let (fragment, fragment_offset) = (fields.u32()?, fields.u32()?);
                let size = u64::from(fields.u32()?);
                inode.entry.kind = Kind::File(size);
                inode.file = Some(Data { size, start, fragment, fragment_offset, list: *at });
                Ok(NO_ATTRIBUTES)
            }
            9 => {
                let rest: [u8; 40] = blocks.array(at)?;
                let mut fields = Fields::new(&rest);
                let (start, size, _sparse) = (fields.u64()?, fields.u64()?, fields.u64()?);
                inode.links = fields.u32()?;
                let (fragment, fragment_offset) = (fields.u32()?, fields.u32()?);
                inode.entry.kind = Kind::File(size);
                inode.file = Some(Data { size, start, fragment, fragment_offset, list: *at });
                fields.u32()
            }
            3 | 10 => {
                inode.links = blocks.u32(at)?;
                let length = blocks.u32(at)? as usize;
                if length == 0 || length > MOST_PATH {
                    return Err(damaged("the target of a symbolic link is missing or too long"));
                }
                let mut target = vec![0; length];
                blocks.read(at, &mut target)?;
                inode.entry.kind = Kind::Symlink(target);
                if inode.kind == 10 { blocks.u32(at) } else { Ok(NO_ATTRIBUTES) }
            }
            4 | 5 | 11 | 12 => {
                inode.links = blocks.u32(at)?;
                let device = blocks.u32(at)?;
                // Linux `new_decode_dev`.
                let (major, minor) = ((device & 0xf_ff00) >> 8, (device & 0xff) | ((device >> 12) & 0xf_ff00));
                let block = matches!(inode.kind, 4 | 11);
                inode.entry.kind = if block { Kind::Block(major, minor) } else { Kind::Character(major, minor) };
                if inode.kind > 7 { blocks.u32(at) } else { Ok(NO_ATTRIBUTES) }
            }
            6 | 7 | 13 | 14 => {
                inode.links = blocks.u32(at)?;
                inode.entry.kind = if matches!(inode.kind, 6 | 13) { Kind::Fifo } else { Kind::Socket };
                if inode.kind > 7 { blocks.u32(at) } else { Ok(NO_ATTRIBUTES) }
            }
            other => Err(damaged(&format!("an entry is of kind {other}, which does not exist"))),
        }
    }

    /// The names in a folder with the places of their inodes, the first one last.
    fn listing(&mut self, mut at: Cursor, length: usize) -> Result<Vec<(Vec<u8>, u64)>, InspectError> {
        // The length counts three bytes for `.` and `..`, which are not stored.
        let mut left = length.saturating_sub(3);
        if left > MOST_LISTING {
            return Err(too_big("a folder in the squashfs has too many files in it"));
        }
        let mut names = Vec::new();
        let cut = || damaged("a folder's listing is cut off");
        while left > 0 {
            let header: [u8; 12] = self.blocks.array(&mut at)?;
            left = left.checked_sub(header.len()).ok_or_else(cut)?;
            let mut fields = Fields::new(&header);
            let (count, block) = (fields.u32()?, fields.u32()?);
            if count > 255 {
                return Err(damaged("a folder's listing is malformed"));
            }
            for _ in 0..=count {
                let head: [u8; 8] = self.blocks.array(&mut at)?;
                let mut fields = Fields::new(&head);
                let offset = fields.u16()?;
                let _number_and_type = fields.u32()?;
                let mut name = vec![0; usize::from(fields.u16()?) + 1];
                left = left.checked_sub(head.len() + name.len()).ok_or_else(cut)?;
                self.blocks.read(&mut at, &mut name)?;
                if name.len() > 256
                    || matches!(name[..], [b'.'] | [b'.', b'.'])
                    || name.iter().any(|b| matches!(b, 0 | b'/'))
                {
                    return Err(damaged("a name is none that Linux allows"));
                }
                names.push((name, u64::from(block) << 16 | u64::from(offset)));
            }
        }
        names.sort_unstable_by(|one, other| other.0.cmp(&one.0));
        if names.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(damaged("a folder has a name twice"));
        }
        Ok(names)
    }

    fn id(&self, index: u16) -> Result<u32, InspectError> {
        self.ids.get(usize::from(index)).copied().ok_or_else(|| damaged("an owner is missing"))
    }

    fn read_ids(&mut self) -> Result<(), InspectError> {
        let (table, count) = (self.blocks.superblock.id_table, usize::from(self.blocks.superblock.ids));
        for index in (0..count).step_by(TABLE_BLOCK / 4) {
            let mut at = self.blocks.pointed(table, (index / (TABLE_BLOCK / 4)) as u64)?;
            for _ in index..count.min(index + TABLE_BLOCK / 4) {
                self.ids.push(self.blocks.u32(&mut at)?);
            }
        }
        Ok(())
    }

    fn read_attribute_table(&mut self) -> Result<(), InspectError> {
        let Some(table) = self.blocks.superblock.xattr_table else { return Ok(()) };
        let mut head = [0; 16];
        read_at(&mut self.blocks.file, table, &mut head)?;
        let mut fields = Fields::new(&head);
        self.attributes = Some(AttributeTable { start: fields.u64()?, count: fields.u32()?, pointers: table + 16 });
        Ok(())
    }

    /// The attributes with this number, by name.
    fn attributes(&mut self, number: u32) -> Result<Attributes, InspectError> {
        let missing = || damaged("extended attributes are missing");
        let table = self.attributes.as_ref().filter(|table| number < table.count).ok_or_else(missing)?;
        let start = table.start;
        let mut at = self.blocks.pointed(table.pointers, u64::from(number / 512))?;
        at.offset = (number % 512) as usize * 16;
        let head: [u8; 16] = self.blocks.array(&mut at)?;
        let mut fields = Fields::new(&head);
        let (place, count) = (fields.u64()?, fields.u32()?);
        let cursor =
            |place: u64| Cursor { block: start.saturating_add(place >> 16), offset: (place & 0xffff) as usize };
        let (mut at, mut bytes, mut found) = (cursor(place), 0, Vec::new());
        for _ in 0..count {
            let head: [u8; 4] = self.blocks.array(&mut at)?;
            let mut fields = Fields::new(&head);
            let (kind, length) = (fields.u16()?, usize::from(fields.u16()?));
            let mut name = match kind & 0xff {
                0 => b"user.".to_vec(),
                1 => b"trusted.".to_vec(),
                2 => b"security.".to_vec(),
                _ => return Err(damaged("an extended attribute is of a kind that does not exist")),
            };
            let prefix = name.len();
            name.resize(prefix + length, 0);
            self.blocks.read(&mut at, &mut name[prefix..])?;
            let mut length = self.blocks.u32(&mut at)? as usize;
            // Long values that occur often are kept once, elsewhere.
            let mut elsewhere = None;
            if kind & 0x100 != 0 {
                let place: [u8; 8] = self.blocks.array(&mut at)?;
                let mut there = cursor(u64::from_le_bytes(place));
                length = self.blocks.u32(&mut there)? as usize;
                elsewhere = Some(there);
            }
            bytes += name.len().saturating_add(length);
            if bytes > MOST_ATTRIBUTES {
                return Err(too_big("a file in the squashfs has too many extended attributes"));
            }
            let mut value = vec![0; length];
            self.blocks.read(elsewhere.as_mut().unwrap_or(&mut at), &mut value)?;
            found.push((name, value));
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// The blocks of the file, unpacked, the latest of them kept.
pub(super) struct Blocks<'a> {
    pub(super) file: &'a mut dyn ReadSeek,
    pub(super) superblock: Superblock,
    unpacking: Unpacking,
    /// Blocks of tables, with where the next one begins.
    kept: HashMap<u64, (Rc<[u8]>, u64)>,
    fragments: Vec<(u32, Rc<[u8]>)>,
}

impl Blocks<'_> {
    fn array<const N: usize>(&mut self, at: &mut Cursor) -> Result<[u8; N], InspectError> {
        let mut bytes = [0; N];
        self.read(at, &mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self, at: &mut Cursor) -> Result<u32, InspectError> {
        self.array(at).map(u32::from_le_bytes)
    }

    /// Fills `out` from this place of a table on.
    fn read(&mut self, at: &mut Cursor, out: &mut [u8]) -> Result<(), InspectError> {
        let mut filled = 0;
        while filled < out.len() {
            let (block, next) = self.table_block(at.block)?;
            if at.offset > block.len() {
                return Err(damaged("a reference points behind the end of its block"));
            }
            if at.offset == block.len() {
                // Only the last block of a table is short: else a table of tiny blocks would cost more than it holds.
                if block.len() < TABLE_BLOCK {
                    return Err(damaged("a table ends too early"));
                }
                *at = Cursor { block: next, offset: 0 };
                continue;
            }
            let length = (block.len() - at.offset).min(out.len() - filled);
            out[filled..filled + length].copy_from_slice(&block[at.offset..at.offset + length]);
            filled += length;
            at.offset += length;
        }
        Ok(())
    }

    pub(super) fn table_block(&mut self, position: u64) -> Result<(Rc<[u8]>, u64), InspectError> {
        if let Some((block, next)) = self.kept.get(&position) {
            return Ok((Rc::clone(block), *next));
        }
        let end = self.superblock.end;
        if position.saturating_add(2) > end {
            return Err(damaged("a table goes on behind the end of it all"));
        }
        let mut header = [0; 2];
        read_at(&mut self.file, position, &mut header)?;
        let word = u16::from_le_bytes(header);
        let length = usize::from(word & 0x7fff);
        if length == 0 || length > TABLE_BLOCK || position + 2 + length as u64 > end {
            return Err(damaged("a block of a table is malformed"));
        }
        let mut raw = vec![0; length];
        read_at(&mut self.file, position + 2, &mut raw)?;
        let block = if word & 0x8000 != 0 { raw } else { unpack(&raw, TABLE_BLOCK, self.unpacking)? };
        if block.is_empty() {
            return Err(damaged("a block of a table is empty"));
        }
        if self.kept.len() >= KEPT_BLOCKS {
            self.kept.clear();
        }
        let (block, next): (Rc<[u8]>, _) = (block.into(), position + 2 + length as u64);
        self.kept.insert(position, (Rc::clone(&block), next));
        Ok((block, next))
    }

    /// Where the block begins that the pointer with this number, in the list at `list`, points to.
    pub(super) fn pointed(&mut self, list: u64, number: u64) -> Result<Cursor, InspectError> {
        let mut pointer = [0; 8];
        read_at(&mut self.file, list.saturating_add(number * 8), &mut pointer)?;
        Ok(Cursor { block: u64::from_le_bytes(pointer), offset: 0 })
    }

    /// A block of a file, which holds `length` bytes. The word has its stored length, and a bit when it is not
    /// compressed; zero is a hole.
    fn data(&mut self, position: u64, word: u32, length: u64) -> Result<Vec<u8>, InspectError> {
        // A block has at most 1 MiB.
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if word & LENGTH == 0 {
            return Ok(vec![0; length]);
        }
        let data = self.stored(position, word, length)?;
        if data.len() == length { Ok(data) } else { Err(damaged("a block of a file is too short or too long")) }
    }

    fn stored(&mut self, position: u64, word: u32, most: usize) -> Result<Vec<u8>, InspectError> {
        let stored = (word & LENGTH) as usize;
        let inside = position.saturating_add(stored as u64) <= self.superblock.end;
        if stored == 0 || stored > self.superblock.block_size as usize || !inside {
            return Err(damaged("a block of a file lies outside of the file system"));
        }
        let mut raw = vec![0; stored];
        read_at(&mut self.file, position, &mut raw)?;
        if word & UNCOMPRESSED != 0 { Ok(raw) } else { unpack(&raw, most, self.unpacking) }
    }

    fn fragment(&mut self, number: u32) -> Result<Rc<[u8]>, InspectError> {
        if let Some((_, fragment)) = self.fragments.iter().find(|(kept, _)| *kept == number) {
            return Ok(Rc::clone(fragment));
        }
        let table = self.superblock.fragment_table.filter(|_| number < self.superblock.fragments);
        let table = table.ok_or_else(|| damaged("the end of a file is missing"))?;
        let mut at = self.pointed(table, u64::from(number / 512))?;
        at.offset = (number % 512) as usize * 16;
        let entry: [u8; 16] = self.array(&mut at)?;
        let mut fields = Fields::new(&entry);
        let (position, word) = (fields.u64()?, fields.u32()?);
        let fragment: Rc<[u8]> = self.stored(position, word, self.superblock.block_size as usize)?.into();
        if self.fragments.len() >= KEPT_FRAGMENTS {
            self.fragments.remove(0);
        }
        self.fragments.push((number, Rc::clone(&fragment)));
        Ok(fragment)
    }
}
