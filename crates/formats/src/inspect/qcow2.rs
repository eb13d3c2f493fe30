//! QEMU's disk images: whether one could be used, and whether all of it is there. Reads the header and the tables that
//! say where the data lies, never the data (QEMU `docs/interop/qcow2.txt`).
//!
//! ```text
//! header -> L1 table -> L2 tables -> clusters of data
//!        -> refcount table
//! ```
//!
//! A disk that names another file (a backing file, an external data file) is refused: the file would be somebody
//! else's, on the machine that runs the client. Knows nothing of partitions or file systems.

use super::error::{InspectError, count};
use super::stream::{ReadSeek, read_at, read_head};

/// How many bytes of the beginning [`header`] needs at the most.
pub(super) const HEADER_LEN: usize = 112;

/// QEMU's own limit for the L1 table.
const MOST_L1: u64 = 32 * 1024 * 1024;
/// How many bytes of L2 tables are looked at: those of a disk with 512 GiB of data in it.
const MOST_L2: u64 = 64 * 1024 * 1024;

const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const EXTENDED_L2: u64 = 1 << 4;
/// Dirty, corrupt, external data file, compression type, extended L2 entries.
const KNOWN: u64 = 0x1f;

const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;

/// What the header says, after it was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Size of the disk as its guest sees it, in bytes.
    pub(super) virtual_size: u64,
    cluster_bits: u32,
    l1_offset: u64,
    l1_entries: u64,
    extended_l2: bool,
}

fn unsupported(what: impl Into<String>) -> InspectError {
    InspectError::Unsupported(what.into())
}

/// Big-endian numbers out of the header; zero where an older header has ended.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u32(&self, at: usize) -> u32 {
        self.0.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
    }

    fn u64(&self, at: usize) -> u64 {
        self.0.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
    }
}

/// Checks a header by itself. `head` is the beginning of the disk image, `size` its length in bytes.
pub(super) fn header(head: &[u8], size: u64) -> Result<Header, InspectError> {
    let version = Fields(head).u32(4);
    let least: usize = match version {
        2 => 72,
        3 => 104,
        _ => {
            return Err(unsupported(format!(
                "the qcow2 disk is of version {version}, and clients read 2 and 3; convert it with \"qemu-img convert -O qcow2\""
            )));
        }
    };
    if head.len() < least || size < least as u64 {
        return Err(InspectError::Truncated("it stops within the header of the qcow2 disk".to_owned()));
    }
    let fields = Fields(&head[..if version == 2 { 72 } else { head.len() }]);
    let incompatible = if version == 3 { fields.u64(72) } else { 0 };
    if fields.u64(8) != 0 {
        return Err(unsupported(
            "the qcow2 disk has a backing file, which no client would have; make it one file with \"qemu-img convert -O qcow2\"",
        ));
    }
    if incompatible & EXTERNAL_DATA != 0 {
        return Err(unsupported(
            "the data of the qcow2 disk is in another file; make it one file with \"qemu-img convert -O qcow2\"",
        ));
    }
    if fields.u32(32) != 0 {
        return Err(unsupported(
            "the qcow2 disk is encrypted, and no client would have its key; decrypt it with \"qemu-img convert\"",
        ));
    }
    if incompatible & CORRUPT != 0 {
        return Err(unsupported("the qcow2 disk is marked as corrupt; repair it with \"qemu-img check -r all\""));
    }
    if incompatible & !KNOWN != 0 {
        return Err(unsupported(
            "the qcow2 disk uses features that are not known here; convert it with \"qemu-img convert -O qcow2 -o compat=1.1\"",
        ));
    }
    if version == 3 && fields.u32(100) < 104 {
        return Err(InspectError::Damaged("the length of its qcow2 header is impossible".to_owned()));
    }
    let cluster_bits = fields.u32(20);
    if !(9..=21).contains(&cluster_bits) {
        return Err(InspectError::Damaged("the cluster size of the qcow2 disk is impossible".to_owned()));
    }
    let header = Header {
        virtual_size: fields.u64(24),
        cluster_bits,
        l1_offset: fields.u64(40),
        l1_entries: u64::from(fields.u32(36)),
        extended_l2: incompatible & EXTENDED_L2 != 0,
    };
    let refcounts = u64::from(fields.u32(56)) << cluster_bits;
    header.check_tables(fields.u64(48), refcounts, size)?;
    Ok(header)
}

impl Header {
    fn check_tables(&self, refcounts_at: u64, refcounts: u64, size: u64) -> Result<(), InspectError> {
        let cluster = 1u64 << self.cluster_bits;
        let l2_entry = if self.extended_l2 { 16 } else { 8 };
        let covered_by_l1_entry = (cluster / l2_entry).saturating_mul(cluster);
        if self.l1_entries * 8 > MOST_L1
            || self.l1_entries < self.virtual_size.div_ceil(covered_by_l1_entry)
            || !self.l1_offset.is_multiple_of(cluster)
            || !refcounts_at.is_multiple_of(cluster)
            || refcounts_at == 0
        {
            return Err(InspectError::Damaged("the tables of the qcow2 disk contradict its header".to_owned()));
        }
        within(self.l1_offset, self.l1_entries * 8, size)?;
        within(refcounts_at, refcounts, size)
    }
}

fn within(offset: u64, length: u64, size: u64) -> Result<(), InspectError> {
    match offset.checked_add(length) {
        Some(end) if end <= size => Ok(()),
        _ => Err(InspectError::Truncated(format!(
            "the qcow2 disk has a table that goes up to byte {}, and there are {}",
            count(offset.saturating_add(length)),
            count(size)
        ))),
    }
}

/// Checks the header and that the tables point to bytes that are there. What the last cluster lacks is not noticed,
/// since QEMU itself may leave it short.
pub(super) fn check(file: &mut dyn ReadSeek, size: u64) -> Result<Header, InspectError> {
    let head = read_head(file, size, HEADER_LEN)?;
    let header = header(&head, size)?;
    let mut budget = MOST_L2;
    let mut l1 = vec![0; 64 * 1024];
    let mut table = vec![0; 1 << header.cluster_bits];
    let l1_bytes = header.l1_entries * 8;
    let mut done = 0;
    while done < l1_bytes {
        let length = (l1_bytes - done).min(l1.len() as u64);
        let piece = &mut l1[..usize::try_from(length).unwrap_or(0)];
        read_at(file, header.l1_offset + done, piece)?;
        done += length;
        for entry in entries(piece, 8) {
            let offset = entry & OFFSET;
            if offset == 0 {
                continue;
            }
            within(offset, table.len() as u64, size)?;
            budget = match budget.checked_sub(table.len() as u64) {
                Some(left) => left,
                None => return Ok(header),
            };
            read_at(file, offset, &mut table)?;
            check_l2(&header, &table, size)?;
        }
    }
    Ok(header)
}

fn entries(table: &[u8], step: usize) -> impl Iterator<Item = u64> {
    table.chunks_exact(step).map(|chunk| Fields(chunk).u64(0))
}

fn check_l2(header: &Header, table: &[u8], size: u64) -> Result<(), InspectError> {
    // The offset of a compressed cluster has as many bits as the count of its sectors leaves free.
    let compressed_offset = (1u64 << (62 - (header.cluster_bits - 8))) - 1;
    for entry in entries(table, if header.extended_l2 { 16 } else { 8 }) {
        let offset = if entry & COMPRESSED != 0 { entry & compressed_offset } else { entry & OFFSET };
        if offset >= size && offset != 0 {
            return Err(InspectError::Truncated(format!(
                "the qcow2 disk has data at byte {}, and there are {}",
                count(offset),
                count(size)
            )));
        }
    }
    Ok(())
}
