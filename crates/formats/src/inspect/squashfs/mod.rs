//! A small reader for squashfs, for the few files at the top of a unified image that is one.
//!
//! ```text
//! superblock | data blocks and fragments | inode table | directory table | fragment table | ids, xattrs
//! ```
//!
//! Tables are chains of blocks of 8 KiB, each compressed by itself ([`Table`]). To find a file: the superblock names
//! the root's inode, that names the listing, that names the file's inode, and that lists the file's blocks; a tail
//! shorter than a block may lie in a fragment, shared with other tails. Nothing is unpacked that is not on this way,
//! so that the size of the image does not matter (Linux `Documentation/filesystems/squashfs.rst`,
//! `fs/squashfs/squashfs_fs.h`).
//!
//! Does not know of owners, modes, links, extended attributes, nor of any folder but the topmost: [`crate::tree`] reads all of it.

mod bytes;
mod packing;
mod superblock;
mod unpack;

pub(crate) use bytes::Fields;
pub use packing::Packing;
pub(crate) use superblock::{SUPERBLOCK_LEN, Superblock, Unpacking};
pub(crate) use unpack::{Compressor, unpack};

use super::error::{InspectError, count};
use super::limits::Limits;
use super::stream::{ReadSeek, read_at, read_head};

/// Unpacked size of a block of a table.
const TABLE_BLOCK: usize = 8192;
/// How long the listing of the root may be: room for thousands of names, where an image has three.
const MOST_LISTING: usize = 1024 * 1024;
const NO_FRAGMENT: u32 = u32::MAX;

/// A squashfs in a file.
pub(super) struct Squashfs<'a> {
    file: &'a mut dyn ReadSeek,
    superblock: Superblock,
    unpacking: Unpacking,
}

/// Something in the root folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    File(File),
    Directory,
    /// Links, devices and the like.
    Other,
}

/// Where the content of a file lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) size: u64,
    start: u64,
    fragment: u32,
    fragment_offset: u32,
    /// Where its list of block lengths begins: block in the inode table, offset in it.
    list: (u64, usize),
}

fn damaged(what: &str) -> InspectError {
    InspectError::Damaged(format!("in the squashfs, {what}"))
}

impl<'a> Squashfs<'a> {
    pub(super) fn open(file: &'a mut dyn ReadSeek, size: u64, limits: &Limits) -> Result<Self, InspectError> {
        let head = read_head(file, size, SUPERBLOCK_LEN)?;
        let superblock = Superblock::read(&head, size)?;
        let unpacking = Unpacking::new(superblock.compressor, limits);
        Ok(Self { file, superblock, unpacking })
    }

    /// What stands under these names in the root folder.
    pub(super) fn look_up<const N: usize>(&mut self, names: [&[u8]; N]) -> Result<[Option<Node>; N], InspectError> {
        let inodes = self.find(&names)?;
        let mut nodes = [const { None }; N];
        for (node, inode) in nodes.iter_mut().zip(inodes) {
            if let Some((block, offset)) = inode {
                *node = Some(self.inode(block, offset)?);
            }
        }
        Ok(nodes)
    }

    /// The places of these names' inodes.
    fn find<const N: usize>(&mut self, names: &[&[u8]; N]) -> Result<[Option<(u64, usize)>; N], InspectError> {
        let (block, offset) = (self.superblock.root_inode >> 16, self.superblock.root_inode & 0xffff);
        let (listing, offset, length) = self.root(block, offset as usize)?;
        let mut found = [None; N];
        // The length counts three bytes for `.` and `..`, which are not stored.
        let mut left = (length as usize).saturating_sub(3);
        if left > MOST_LISTING {
            return Err(InspectError::TooBig(
                "the topmost folder of the squashfs has far more in it than an image has; leave only metadata.yaml, rootfs and templates there".to_owned(),
            ));
        }
        let mut table = self.table(self.superblock.directory_table, listing, offset);
        while left > 0 {
            let mut header = [0; 12];
            left = left.checked_sub(header.len()).ok_or_else(|| damaged("a folder's listing is cut off"))?;
            table.read(&mut header)?;
            let mut fields = Fields::new(&header);
            let entries = fields.u32()?;
            let block = u64::from(fields.u32()?);
            if entries > 255 {
                return Err(damaged("a folder's listing is malformed"));
            }
            for _ in 0..=entries {
                let mut entry = [0; 8];
                table.read(&mut entry)?;
                let mut fields = Fields::new(&entry);
                let offset = usize::from(fields.u16()?);
                let _number_and_type = fields.u32()?;
                let mut name = vec![0; usize::from(fields.u16()?) + 1];
                if name.len() > 256 {
                    return Err(damaged("a name is longer than Linux allows"));
                }
                left = left
                    .checked_sub(entry.len() + name.len())
                    .ok_or_else(|| damaged("a folder's listing is cut off"))?;
                table.read(&mut name)?;
                if let Some(index) = names.iter().position(|wanted| *wanted == name) {
                    found[index] = Some((block, offset));
                }
            }
        }
        Ok(found)
    }

    /// Where the listing of the root folder begins (block in the directory table, offset in it), and its length.
    fn root(&mut self, block: u64, offset: usize) -> Result<(u64, usize, u32), InspectError> {
        let mut table = self.table(self.superblock.inode_table, block, offset);
        let mut common = [0; 16];
        table.read(&mut common)?;
        match Fields::new(&common).u16()? {
            DIRECTORY => {
                let mut rest = [0; 16];
                table.read(&mut rest)?;
                let mut fields = Fields::new(&rest);
                let listing = u64::from(fields.u32()?);
                let _links = fields.u32()?;
                let length = u32::from(fields.u16()?);
                Ok((listing, usize::from(fields.u16()?), length))
            }
            LONG_DIRECTORY => {
                let mut rest = [0; 24];
                table.read(&mut rest)?;
                let mut fields = Fields::new(&rest);
                let _links = fields.u32()?;
                let length = fields.u32()?;
                let listing = u64::from(fields.u32()?);
                let _parent = fields.u32()?;
                let _index = fields.u16()?;
                Ok((listing, usize::from(fields.u16()?), length))
            }
            _ => Err(damaged("the root is no folder")),
        }
    }

    fn inode(&mut self, block: u64, offset: usize) -> Result<Node, InspectError> {
        let mut table = self.table(self.superblock.inode_table, block, offset);
        let mut common = [0; 16];
        table.read(&mut common)?;
        let file = match Fields::new(&common).u16()? {
            DIRECTORY | LONG_DIRECTORY => return Ok(Node::Directory),
            FILE => {
                let mut rest = [0; 16];
                table.read(&mut rest)?;
                let mut fields = Fields::new(&rest);
                let start = u64::from(fields.u32()?);
                let (fragment, fragment_offset) = (fields.u32()?, fields.u32()?);
                let size = u64::from(fields.u32()?);
                File { size, start, fragment, fragment_offset, list: table.position() }
            }
            LONG_FILE => {
                let mut rest = [0; 40];
                table.read(&mut rest)?;
                let mut fields = Fields::new(&rest);
                let (start, size) = (fields.u64()?, fields.u64()?);
                let _sparse = fields.u64()?;
                let _links = fields.u32()?;
                let (fragment, fragment_offset) = (fields.u32()?, fields.u32()?);
                File { size, start, fragment, fragment_offset, list: table.position() }
            }
            _ => return Ok(Node::Other),
        };
        Ok(Node::File(file))
    }

    /// Reads up to `length` bytes at the beginning of a file.
    pub(super) fn read(&mut self, file: &File, length: usize) -> Result<Vec<u8>, InspectError> {
        let block_size = u64::from(self.superblock.block_size);
        let want = usize::try_from(file.size).unwrap_or(usize::MAX).min(length);
        let blocks = if file.fragment == NO_FRAGMENT { file.size.div_ceil(block_size) } else { file.size / block_size };
        let mut out = Vec::new();
        let mut position = file.start;
        let mut index = 0;
        let (block, offset) = file.list;
        while out.len() < want && index < blocks {
            // The list is short as far as it is needed, so that reading it anew for each block costs little.
            let mut word = [0; 4];
            let mut table = self.table(self.superblock.inode_table, block, offset);
            table.pass(index * 4)?;
            table.read(&mut word)?;
            let word = u32::from_le_bytes(word);
            let here = (file.size - index * block_size).min(block_size);
            let data = self.data(position, word, here)?;
            position += u64::from(word & LENGTH);
            out.extend_from_slice(&data);
            index += 1;
        }
        if out.len() < want {
            let tail = self.fragment(file, file.size % block_size)?;
            out.extend_from_slice(&tail);
        }
        out.truncate(want);
        Ok(out)
    }

    /// A block of a file, which holds `length` bytes. The word has its stored length, and a bit when it is not
    /// compressed; zero is a hole.
    fn data(&mut self, position: u64, word: u32, length: u64) -> Result<Vec<u8>, InspectError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let stored = (word & LENGTH) as usize;
        if stored == 0 {
            return Ok(vec![0; length]);
        }
        if stored > self.superblock.block_size as usize || position.saturating_add(stored as u64) > self.superblock.end
        {
            return Err(damaged("a block of a file lies outside of the file system"));
        }
        let mut raw = vec![0; stored];
        read_at(self.file, position, &mut raw)?;
        let data = if word & UNCOMPRESSED != 0 { raw } else { unpack(&raw, length, self.unpacking)? };
        if data.len() == length { Ok(data) } else { Err(damaged("a block of a file is too short or too long")) }
    }

    /// The tail of a file: `length` bytes out of a fragment.
    fn fragment(&mut self, file: &File, length: u64) -> Result<Vec<u8>, InspectError> {
        let missing = || damaged("the end of a file is missing");
        let table = self.superblock.fragment_table.filter(|_| file.fragment < self.superblock.fragments);
        let table = table.ok_or_else(missing)?;
        // The table is itself a list of positions, of one block for every 512 fragments.
        let mut pointer = [0; 8];
        read_at(self.file, table.saturating_add(u64::from(file.fragment / 512) * 8), &mut pointer)?;
        let mut entry = [0; 16];
        let mut entries = self.table(u64::from_le_bytes(pointer), 0, (file.fragment % 512) as usize * entry.len());
        entries.read(&mut entry)?;
        let mut fields = Fields::new(&entry);
        let (position, word) = (fields.u64()?, fields.u32()?);
        let stored = (word & LENGTH) as usize;
        let most = self.superblock.block_size as usize;
        if stored == 0 || stored > most || position.saturating_add(stored as u64) > self.superblock.end {
            return Err(damaged("a fragment lies outside of the file system"));
        }
        let mut raw = vec![0; stored];
        read_at(self.file, position, &mut raw)?;
        let data = if word & UNCOMPRESSED != 0 { raw } else { unpack(&raw, most, self.unpacking)? };
        let start = file.fragment_offset as usize;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let tail = start.checked_add(length).and_then(|end| data.get(start..end));
        tail.map(<[u8]>::to_vec).ok_or_else(missing)
    }

    fn table(&mut self, start: u64, block: u64, offset: usize) -> Table<'_> {
        Table {
            file: &mut *self.file,
            start,
            next: start.saturating_add(block),
            end: self.superblock.end,
            unpacking: self.unpacking,
            current: 0,
            bytes: Vec::new(),
            offset,
        }
    }
}

const DIRECTORY: u16 = 1;
const FILE: u16 = 2;
const LONG_DIRECTORY: u16 = 8;
const LONG_FILE: u16 = 9;

const UNCOMPRESSED: u32 = 1 << 24;
const LENGTH: u32 = UNCOMPRESSED - 1;

/// Reads a table from some place in it on, block after block. Blocks only ever come later in the file, so that no
/// chain of them is endless.
struct Table<'a> {
    file: &'a mut dyn ReadSeek,
    /// Where the table begins.
    start: u64,
    /// Where the block that is in `bytes` begins.
    current: u64,
    /// Where the next one does.
    next: u64,
    end: u64,
    unpacking: Unpacking,
    bytes: Vec<u8>,
    /// In `bytes`; may be beyond their end before the first block was read.
    offset: usize,
}

impl Table<'_> {
    /// The place that is read next: block in the table, offset in it.
    fn position(&self) -> (u64, usize) {
        (self.current.saturating_sub(self.start), self.offset)
    }

    fn read(&mut self, out: &mut [u8]) -> Result<(), InspectError> {
        let mut filled = 0;
        while filled < out.len() {
            let available = self.available()?;
            let length = available.len().min(out.len() - filled);
            out[filled..filled + length].copy_from_slice(&available[..length]);
            filled += length;
            self.offset += length;
        }
        Ok(())
    }

    fn pass(&mut self, mut bytes: u64) -> Result<(), InspectError> {
        while bytes > 0 {
            let length = (self.available()?.len() as u64).min(bytes);
            bytes -= length;
            self.offset += usize::try_from(length).unwrap_or(0);
        }
        Ok(())
    }

    /// At least one byte, from the next block if need be.
    fn available(&mut self) -> Result<&[u8], InspectError> {
        if self.bytes.is_empty() {
            self.next_block()?;
        }
        if self.offset >= self.bytes.len() {
            if self.offset > self.bytes.len() {
                return Err(damaged("a reference points behind the end of its block"));
            }
            // Only the last block of a table is short: else a table of tiny blocks would cost more than it holds.
            if self.bytes.len() < TABLE_BLOCK {
                return Err(damaged("a table ends too early"));
            }
            self.offset = 0;
            self.next_block()?;
        }
        Ok(&self.bytes[self.offset..])
    }

    fn next_block(&mut self) -> Result<(), InspectError> {
        let mut header = [0; 2];
        if self.next.saturating_add(2) > self.end {
            return Err(damaged(&format!("a table goes on behind byte {}, where it all ends", count(self.end))));
        }
        read_at(self.file, self.next, &mut header)?;
        let word = u16::from_le_bytes(header);
        let length = usize::from(word & 0x7fff);
        if length == 0 || length > TABLE_BLOCK || self.next + 2 + length as u64 > self.end {
            return Err(damaged("a block of a table is malformed"));
        }
        let mut raw = vec![0; length];
        read_at(self.file, self.next + 2, &mut raw)?;
        self.bytes = if word & 0x8000 != 0 { raw } else { unpack(&raw, TABLE_BLOCK, self.unpacking)? };
        if self.bytes.is_empty() {
            return Err(damaged("a block of a table is empty"));
        }
        self.current = self.next;
        self.next += 2 + length as u64;
        Ok(())
    }
}
