//! The frames of an lz4 file ("LZ4 Frame Format Description" 1.6): a header, blocks with their lengths, an end mark,
//! and perhaps a checksum.

use super::super::error::InspectError;
use super::Hops;

pub(super) fn check(hops: &mut Hops<'_>) -> Result<(), InspectError> {
    hops.frames("lz4", 0x184d_2204, frame)
}

fn frame(hops: &mut Hops<'_>) -> Result<(), InspectError> {
    let [flags, _block_descriptor] = hops.take()?;
    let block_checksum = if flags & 0x10 != 0 { 4 } else { 0 };
    let content_size = if flags & 0x08 != 0 { 8 } else { 0 };
    let content_checksum = if flags & 0x04 != 0 { 4 } else { 0 };
    let dictionary = if flags & 0x01 != 0 { 4 } else { 0 };
    // The last byte of the header is its own checksum.
    hops.pass(content_size + dictionary + 1)?;
    loop {
        let block = u32::from_le_bytes(hops.take()?);
        if block == 0 {
            return hops.pass(content_checksum);
        }
        // The highest bit says that the block is stored as it is.
        hops.pass(u64::from(block & 0x7fff_ffff) + block_checksum)?;
        if hops.tired() {
            return Ok(());
        }
    }
}
