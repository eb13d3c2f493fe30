//! The frames of a zstd file (RFC 8878): a header, blocks with their lengths, and perhaps a checksum.

use super::super::error::{InspectError, count};
use super::Hops;

pub(super) fn check(hops: &mut Hops<'_>) -> Result<(), InspectError> {
    hops.frames("zstd", 0xfd2f_b528, frame)
}

fn frame(hops: &mut Hops<'_>) -> Result<(), InspectError> {
    let [descriptor] = hops.take()?;
    let single_segment = descriptor & 0x20 != 0;
    let has_checksum = descriptor & 0x04 != 0;
    let window = u64::from(!single_segment);
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content_size = match descriptor >> 6 {
        0 => u64::from(single_segment),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    hops.pass(window + dictionary + content_size)?;
    loop {
        let [low, middle, high] = hops.take()?;
        let header = u32::from_le_bytes([low, middle, high, 0]);
        let length = u64::from(header >> 3);
        match (header >> 1) & 3 {
            // One byte, repeated.
            1 => hops.pass(1)?,
            0 | 2 => hops.pass(length)?,
            _ => {
                return Err(InspectError::Damaged(format!(
                    "the zstd block before byte {} is of no known type",
                    count(hops.position)
                )));
            }
        }
        if header & 1 != 0 || hops.tired() {
            break;
        }
    }
    if has_checksum && !hops.tired() {
        hops.pass(4)?;
    }
    Ok(())
}
