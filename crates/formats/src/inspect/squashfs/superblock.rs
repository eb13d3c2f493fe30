//! The first 96 bytes of a squashfs: where its tables are, and how much of the file it fills (Linux
//! `fs/squashfs/squashfs_fs.h`, `struct squashfs_super_block`).

use super::super::error::{InspectError, count};
use super::super::limits::Limits;
use super::Compressor;
use super::bytes::Fields;

pub(crate) const SUPERBLOCK_LEN: usize = 96;

/// Tables that a file system may lack are marked with this.
const NO_TABLE: u64 = u64::MAX;

/// What the superblock says, after it was checked: every table lies inside the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) compressor: Compressor,
    pub(crate) block_size: u32,
    pub(crate) fragments: u32,
    /// The bits of `SQUASHFS_…` flags.
    pub(crate) flags: u16,
    /// How many owners and groups there are.
    pub(crate) ids: u16,
    /// Position of the block (from the inode table) and offset in it.
    pub(crate) root_inode: u64,
    pub(crate) inode_table: u64,
    pub(crate) directory_table: u64,
    pub(crate) fragment_table: Option<u64>,
    pub(crate) id_table: u64,
    pub(crate) xattr_table: Option<u64>,
    /// Where the file system ends; only padding follows.
    pub(crate) end: u64,
}

impl Superblock {
    /// Reads `head`, the first bytes of a file of that many bytes.
    pub(crate) fn read(head: &[u8], size: u64) -> Result<Self, InspectError> {
        let damaged = |what: &str| InspectError::Damaged(format!("the squashfs superblock {what}"));
        let mut fields = Fields::new(head);
        if head.len() < SUPERBLOCK_LEN {
            return Err(InspectError::Truncated("it stops within the squashfs superblock".to_owned()));
        }
        if &fields.array::<4>()? != b"hsqs" {
            return Err(damaged("has a wrong magic number"));
        }
        let _inodes_and_time = fields.u64()?;
        let block_size = fields.u32()?;
        let fragments = fields.u32()?;
        let compressor = fields.u16()?;
        let block_log = fields.u16()?;
        let (flags, ids) = (fields.u16()?, fields.u16()?);
        let version = (fields.u16()?, fields.u16()?);
        let root_inode = fields.u64()?;
        let end = fields.u64()?;
        let id_table = fields.u64()?;
        let xattr_table = fields.u64()?;
        let inode_table = fields.u64()?;
        let directory_table = fields.u64()?;
        let fragment_table = fields.u64()?;
        let export_table = fields.u64()?;

        if version != (4, 0) {
            return Err(InspectError::Unsupported(format!(
                "the squashfs is of version {}.{}, and Linux reads 4.0; make it anew with mksquashfs",
                version.0, version.1
            )));
        }
        let compressor = Compressor::from_id(compressor)
            .ok_or_else(|| damaged(&format!("names compression {compressor}, which does not exist")))?;
        if !(12..=20).contains(&block_log) || block_size != 1 << block_log {
            return Err(damaged("has an impossible block size"));
        }
        if end > size {
            return Err(InspectError::Truncated(format!(
                "its superblock promises {} bytes, there are {}",
                count(end),
                count(size)
            )));
        }
        let inside = |table: u64| (SUPERBLOCK_LEN as u64..end).contains(&table);
        let optional = |table: u64| table == NO_TABLE || inside(table);
        if !inside(id_table)
            || !inside(inode_table)
            || !inside(directory_table)
            || directory_table < inode_table
            || !optional(fragment_table)
            || !optional(xattr_table)
            || !optional(export_table)
        {
            return Err(damaged("points to a table outside of the file system"));
        }
        let known = |table| Some(table).filter(|table| *table != NO_TABLE);
        Ok(Self {
            compressor,
            block_size,
            fragments,
            flags,
            ids,
            root_inode,
            inode_table,
            directory_table,
            fragment_table: known(fragment_table),
            id_table,
            xattr_table: known(xattr_table),
            end,
        })
    }
}

/// What is needed to unpack one block, apart from the block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unpacking {
    pub(super) compressor: Compressor,
    pub(super) memory: u64,
    pub(super) window_log: u32,
}

impl Unpacking {
    pub(crate) fn new(compressor: Compressor, limits: &Limits) -> Self {
        Self { compressor, memory: limits.decoder_memory, window_log: limits.zstd_window_log }
    }
}
