//! Gives the root of a squashfs its owners and time, which `sqfstar` before 4.6 takes from the process and the clock.
//!
//! ```text
//! … | inode table … root's block(s) | directories | fragments | export | ids | attributes
//! ```
//!
//! The root's inode is changed, and what comes behind it moves, with all that points there. The list of owners is written anew, since an owner that
//! only the process had may stand at its end. What is written is not compressed: it is a few KiB, and the same everywhere.

use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom, Write};

use super::squashfs::{Blocks, Cursor, damaged, squashfs};
use super::{Entry, TreeError, too_big};
use crate::inspect::InspectError;
use crate::inspect::squashfs::SUPERBLOCK_LEN;
use crate::inspect::stream::read_at;

const TABLE_BLOCK: usize = 8192;
/// What a table's blocks are stored as when they are not compressed.
const PLAIN: u16 = 1 << 15;
/// Files are padded to this, as mksquashfs pads them for loop devices.
const PADDING: u64 = 4096;
/// Most bytes behind the root's inode: the names of all files, above all.
const MOST_BEHIND: u64 = 1 << 30;

/// Where in a superblock numbers stand that change.
const IDS: usize = 26;
const END: usize = 40;
const ID_TABLE: usize = 48;
const ATTRIBUTE_TABLE: usize = 56;
const DIRECTORY_TABLE: usize = 72;
const FRAGMENT_TABLE: usize = 80;
const EXPORT_TABLE: usize = 88;
const NO_TABLE: u64 = u64::MAX;

/// Gives the root of a squashfs without fragments the mode, owners and time of `root`, also when it has them by chance, since that
/// would be other bytes. `owners` are the numbers of all owners and
/// groups of all entries; others that stand at the end of the list of owners go. The new length of the file.
///
/// # Errors
/// When the squashfs is damaged, or the file cannot be written; it is of no use then.
pub fn set_root<F: Read + Write + Seek>(
    mut file: &mut F,
    size: u64,
    root: &Entry,
    owners: &BTreeSet<u32>,
) -> Result<u64, TreeError> {
    let mut tree = squashfs(&mut file, size)?;
    let mut ids = tree.ids.clone();
    while ids.last().is_some_and(|id| !owners.contains(id)) {
        ids.pop();
    }
    let mut index = |owner: u32| {
        let known = ids.iter().position(|id| *id == owner);
        let at = known.unwrap_or_else(|| {
            ids.push(owner);
            ids.len() - 1
        });
        u16::try_from(at).map_err(|_| too_big("the squashfs has too many owners"))
    };
    let (uid, gid) = (index(root.uid)?, index(root.gid)?);
    let behind = Behind::read(&mut tree.blocks, (uid, gid), root)?;
    let (start, bytes, superblock) = behind.moved(&ids)?;
    let failed = TreeError::Taken;
    file.seek(SeekFrom::Start(start)).map_err(failed)?;
    file.write_all(&bytes).map_err(failed)?;
    let end = start + bytes.len() as u64;
    let padded = end.next_multiple_of(PADDING);
    file.write_all(&vec![0; usize::try_from(padded - end).unwrap_or(0)]).map_err(failed)?;
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    file.write_all(&superblock).map_err(failed)?;
    file.flush().map_err(failed)?;
    Ok(padded)
}

/// The file from the root's inode on.
struct Behind {
    superblock: Vec<u8>,
    /// Where the block with the root's inode begins.
    start: u64,
    /// What is in that block and the next ones of the table, with the root changed.
    inodes: Vec<u8>,
    /// Where the next table begins, and all bytes from there to the end.
    tables: u64,
    bytes: Vec<u8>,
    ids: u64,
}

impl Behind {
    fn read(blocks: &mut Blocks<'_>, (uid, gid): (u16, u16), root: &Entry) -> Result<Self, InspectError> {
        let mut superblock = vec![0; SUPERBLOCK_LEN];
        read_at(&mut blocks.file, 0, &mut superblock)?;
        let facts = blocks.superblock;
        let start = facts.inode_table.saturating_add(facts.root_inode >> 16);
        if facts.fragments > 0 || facts.end.saturating_sub(start) > MOST_BEHIND {
            return Err(damaged("the root is not where it should be"));
        }
        let (mut inodes, mut next) = (Vec::new(), start);
        while next < facts.directory_table {
            let (block, behind) = blocks.table_block(next)?;
            inodes.extend_from_slice(&block);
            next = behind;
        }
        let at = (facts.root_inode & 0xffff) as usize;
        let inode = inodes.get_mut(at..at + 16).filter(|_| next == facts.directory_table);
        let inode = inode.ok_or_else(|| damaged("the root is not where it should be"))?;
        inode[2..4].copy_from_slice(&root.mode.to_le_bytes());
        inode[4..6].copy_from_slice(&uid.to_le_bytes());
        inode[6..8].copy_from_slice(&gid.to_le_bytes());
        inode[8..12].copy_from_slice(&root.mtime.to_le_bytes());
        // Not more than `MOST_BEHIND`.
        let mut bytes = vec![0; usize::try_from(facts.end - next).unwrap_or(0)];
        read_at(&mut blocks.file, next, &mut bytes)?;
        let ids = blocks.pointed(facts.id_table, 0).map(|Cursor { block, .. }| block)?;
        Ok(Self { superblock, start, inodes, tables: next, bytes, ids })
    }

    /// Everything with the new owners: where it begins, the bytes, the superblock.
    fn moved(mut self, owners: &[u32]) -> Result<(u64, Vec<u8>, Vec<u8>), InspectError> {
        let wrong = || damaged("its tables are not where they should be");
        let number = |bytes: &[u8], at: usize| {
            bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes).ok_or_else(wrong)
        };
        let field = |superblock: &[u8], at: usize| number(superblock, at);
        let inside =
            |place: u64| place.checked_sub(self.tables).and_then(|at| usize::try_from(at).ok()).ok_or_else(wrong);
        let old_ids = u64::from(u16::from_le_bytes([self.superblock[IDS], self.superblock[IDS + 1]]));

        let mut out = Vec::new();
        for block in self.inodes.chunks(TABLE_BLOCK) {
            plain(block, &mut out);
        }
        let by = (self.start + out.len() as u64).wrapping_sub(self.tables);

        // Up to the owners everything is as it was, but its pointers.
        let export = field(&self.superblock, EXPORT_TABLE)?;
        if export != NO_TABLE {
            let first = number(&self.bytes, inside(export)?)?;
            // The list ends where the owners begin; it has at least one pointer.
            let _ = inside(first)?;
            shift(&mut self.bytes, inside(export)?, inside(self.ids)?, by)?;
        }
        out.extend_from_slice(self.bytes.get(..inside(self.ids)?).ok_or_else(wrong)?);
        let mut pointers = Vec::new();
        for block in owners.chunks(TABLE_BLOCK / 4) {
            pointers.extend_from_slice(&(self.start + out.len() as u64).to_le_bytes());
            plain(&block.iter().flat_map(|owner| owner.to_le_bytes()).collect::<Vec<u8>>(), &mut out);
        }
        let id_table = self.start + out.len() as u64;
        out.extend_from_slice(&pointers);

        let old_end = field(&self.superblock, ID_TABLE)? + old_ids.div_ceil(TABLE_BLOCK as u64 / 4) * 8;
        let by_more = (self.start + out.len() as u64).wrapping_sub(old_end);
        let attributes = field(&self.superblock, ATTRIBUTE_TABLE)?;
        if attributes != NO_TABLE {
            let at = inside(attributes)?;
            shift(&mut self.bytes, at, at + 8, by_more)?;
            let end = self.bytes.len();
            shift(&mut self.bytes, at + 16, end, by_more)?;
        }
        out.extend_from_slice(self.bytes.get(inside(old_end)?..).ok_or_else(wrong)?);

        let count = u16::try_from(owners.len()).map_err(|_| too_big("the squashfs has too many owners"))?;
        self.superblock[IDS..IDS + 2].copy_from_slice(&count.to_le_bytes());
        let end = self.start + out.len() as u64;
        for (at, by) in [(DIRECTORY_TABLE, by), (FRAGMENT_TABLE, by), (EXPORT_TABLE, by), (ATTRIBUTE_TABLE, by_more)] {
            if field(&self.superblock, at)? != NO_TABLE {
                shift(&mut self.superblock, at, at + 8, by)?;
            }
        }
        self.superblock[ID_TABLE..ID_TABLE + 8].copy_from_slice(&id_table.to_le_bytes());
        self.superblock[END..END + 8].copy_from_slice(&end.to_le_bytes());
        Ok((self.start, out, self.superblock))
    }
}

/// A block of a table that is not compressed.
fn plain(block: &[u8], out: &mut Vec<u8>) {
    // A block has at most 8 KiB.
    let length = u16::try_from(block.len()).unwrap_or(0);
    out.extend_from_slice(&(length | PLAIN).to_le_bytes());
    out.extend_from_slice(block);
}

/// Moves what the numbers of eight bytes from `start` to `end` point to.
fn shift(bytes: &mut [u8], start: usize, end: usize, by: u64) -> Result<(), InspectError> {
    let numbers = bytes.get_mut(start..end).ok_or_else(|| damaged("its tables are not where they should be"))?;
    for number in numbers.chunks_exact_mut(8) {
        let old = u64::from_le_bytes(number.try_into().unwrap_or_default());
        number.copy_from_slice(&old.wrapping_add(by).to_le_bytes());
    }
    Ok(())
}
