//! The streams of an xz file ("The .xz File Format" 1.2.1): header, blocks, index, footer. Read from the end: the
//! footer says where the index is, the index how long the blocks are, and so where the stream begins.

use std::io::{BufReader, Read, SeekFrom};

use flate2::Crc;

use super::super::error::{InspectError, count};
use super::super::stream::{ReadSeek, read_at};

const HEADER: u64 = 12;
const FOOTER: u64 = 12;
/// An index has two to twelve bytes for each block, and `xz -T` makes blocks of megabytes.
const MOST_INDEX: u64 = 16 * 1024 * 1024;
const MOST_STREAMS: u64 = 100_000;

pub(super) fn check(file: &mut dyn ReadSeek, size: u64) -> Result<(), InspectError> {
    let mut end = size;
    let mut index_bytes = 0;
    for _ in 0..MOST_STREAMS {
        end = without_padding(file, end)?;
        end = stream(file, end, &mut index_bytes)?;
        if end == 0 {
            return Ok(());
        }
    }
    Err(InspectError::Unsupported(format!(
        "the file consists of more than {} xz streams; compress it again, in one run",
        count(MOST_STREAMS)
    )))
}

fn truncated(what: &str) -> InspectError {
    InspectError::Truncated(what.to_owned())
}

/// Where the last stream before `end` ends. Between and after streams there may be zeros, in fours.
fn without_padding(file: &mut dyn ReadSeek, end: u64) -> Result<u64, InspectError> {
    let mut chunk = vec![0; 64 * 1024];
    let mut position = end;
    loop {
        let length = position.min(chunk.len() as u64);
        if length == 0 {
            return Err(truncated("there is no xz stream in it"));
        }
        let tail = &mut chunk[..usize::try_from(length).unwrap_or(0)];
        read_at(file, position - length, tail)?;
        if let Some(last) = tail.iter().rposition(|byte| *byte != 0) {
            let stop = position - length + last as u64 + 1;
            return if (end - stop).is_multiple_of(4) {
                Ok(stop)
            } else {
                Err(truncated("the end of its last xz stream is missing"))
            };
        }
        position -= length;
    }
}

/// Checks the stream that ends at `end`, and says where it begins.
fn stream(file: &mut dyn ReadSeek, end: u64, index_bytes: &mut u64) -> Result<u64, InspectError> {
    if end < HEADER + FOOTER {
        return Err(truncated("it is shorter than an empty xz stream"));
    }
    let mut footer = [0; FOOTER as usize];
    read_at(file, end - FOOTER, &mut footer)?;
    let [c0, c1, c2, c3, b0, b1, b2, b3, flag0, flag1, y, z] = footer;
    let index = (u64::from(u32::from_le_bytes([b0, b1, b2, b3])) + 1) * 4;
    let footer_end = end - FOOTER;
    if [y, z] != *b"YZ" || crc(&footer[4..10]) != u32::from_le_bytes([c0, c1, c2, c3]) || index > footer_end - HEADER {
        return Err(truncated("the footer of its last xz stream is missing"));
    }
    *index_bytes += index;
    if *index_bytes > MOST_INDEX {
        return Err(InspectError::Unsupported(
            "the xz file is cut into too many blocks; compress it again, without --block-size".to_owned(),
        ));
    }
    let blocks = blocks(file, footer_end - index, index)?;
    let start = (footer_end - index)
        .checked_sub(blocks)
        .and_then(|at| at.checked_sub(HEADER))
        .ok_or_else(|| truncated("its xz index lists more bytes than there are"))?;
    let mut header = [0; HEADER as usize];
    read_at(file, start, &mut header)?;
    if !header.starts_with(b"\xfd7zXZ\0") || header[6..8] != [flag0, flag1] {
        return Err(truncated("its xz index does not fit what is in front of it, so that a piece is missing"));
    }
    Ok(start)
}

/// The sum of the lengths of all blocks, as the index lists them.
fn blocks(file: &mut dyn ReadSeek, start: u64, length: u64) -> Result<u64, InspectError> {
    let damaged = || InspectError::Damaged("its xz index is malformed".to_owned());
    file.seek(SeekFrom::Start(start)).map_err(InspectError::Read)?;
    let mut index = Index { bytes: BufReader::new(file).take(length - 4), crc: Crc::new() };
    if index.byte()? != 0 {
        return Err(damaged());
    }
    let records = index.number()?;
    let mut sum = 0u64;
    for _ in 0..records {
        let unpadded = index.number()?;
        index.number()?;
        sum = unpadded.checked_next_multiple_of(4).and_then(|padded| sum.checked_add(padded)).ok_or_else(damaged)?;
    }
    while index.bytes.limit() > 0 {
        if index.byte()? != 0 {
            return Err(damaged());
        }
    }
    let computed = index.crc.sum();
    let mut stored = [0; 4];
    index.bytes.into_inner().read_exact(&mut stored).map_err(InspectError::Read)?;
    if computed == u32::from_le_bytes(stored) { Ok(sum) } else { Err(damaged()) }
}

struct Index<R> {
    bytes: std::io::Take<R>,
    crc: Crc,
}

impl<R: Read> Index<R> {
    fn byte(&mut self) -> Result<u8, InspectError> {
        let mut byte = [0];
        self.bytes.read_exact(&mut byte).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => InspectError::Damaged("its xz index is malformed".to_owned()),
            _ => InspectError::Read(error),
        })?;
        self.crc.update(&byte);
        Ok(byte[0])
    }

    /// Seven bits in a byte, lowest first; at most nine bytes.
    fn number(&mut self) -> Result<u64, InspectError> {
        let mut value = 0u64;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(InspectError::Damaged("its xz index is malformed".to_owned()))
    }
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}
