//! Members of gzip (RFC 1952), whole and one at a time. A file may be several members one after another, and means what they mean
//! one after another (section 2.2): so documents are joined compressed.
//!
//! Members have no name and no time stamp: the same text is the same bytes on every server.

use std::io;

use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress, Status};

/// How hard gzip tries for what many ask for.
const LEVEL: Compression = Compression::new(6);
/// Magic, deflate, no flags, no time, no extra flags, an unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// Checksum and length.
const TRAILER: usize = 8;

/// This text as a gzip member, the same on every server: to be sent before or after the bytes of
/// [`Snapshot::reader`](super::Snapshot::reader) in [`Form::Gzip`](super::Form::Gzip).
///
/// # Errors
/// None is known: it is written into memory.
pub fn gzip_member(text: &[u8]) -> io::Result<Vec<u8>> {
    Packer::new().member(text)
}

/// Makes members, and is made once for many.
pub(super) struct Packer(Compress);

impl Packer {
    pub(super) fn new() -> Self {
        Self(Compress::new(LEVEL, false))
    }

    /// This text as a member.
    pub(super) fn member(&mut self, text: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(HEADER.len() + text.len() / 2 + 64);
        out.extend_from_slice(&HEADER);
        self.0.reset();
        loop {
            let done = usize::try_from(self.0.total_in()).map_err(io::Error::other)?;
            let status = self.0.compress_vec(&text[done.min(text.len())..], &mut out, FlushCompress::Finish);
            match status.map_err(io::Error::other)? {
                Status::StreamEnd => break,
                Status::Ok | Status::BufError => out.reserve(text.len() / 4 + 64),
            }
        }
        let mut crc = Crc::new();
        crc.update(text);
        out.extend_from_slice(&crc.sum().to_le_bytes());
        out.extend_from_slice(&crc.amount().to_le_bytes());
        Ok(out)
    }
}

/// Reads members that a [`Packer`] made.
pub(super) struct Unpacker(Decompress);

impl Unpacker {
    pub(super) fn new() -> Self {
        Self(Decompress::new(false))
    }

    /// The text of a member, which is known to be that long.
    pub(super) fn text(&mut self, member: &[u8], length: usize) -> io::Result<Vec<u8>> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a kept part of a document is damaged");
        let end = member.len().checked_sub(TRAILER).ok_or_else(damaged)?;
        let deflated = member.get(HEADER.len()..end).ok_or_else(damaged)?;
        // One byte more than needed: room to notice that there is more than there should be.
        let mut text = Vec::with_capacity(length + 1);
        self.0.reset(false);
        let status = self.0.decompress_vec(deflated, &mut text, FlushDecompress::Finish);
        let mut crc = Crc::new();
        crc.update(&text);
        let whole = matches!(status, Ok(Status::StreamEnd)) && text.len() == length;
        if whole && member[end..end + 4] == crc.sum().to_le_bytes() { Ok(text) } else { Err(damaged()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn members_are_read_by_others_and_are_the_same_whatever_was_packed_before() {
        let texts: Vec<Vec<u8>> = vec![
            Vec::new(),
            b"{}".to_vec(),
            b"0123456789abcdef".repeat(1000),
            (0..70_000u32).flat_map(|n| n.wrapping_mul(0x9e37_79b1).to_le_bytes()).collect(),
        ];
        let mut packer = Packer::new();
        let mut unpacker = Unpacker::new();
        let mut joined = Vec::new();
        for text in texts.iter().chain(texts.iter().rev()) {
            let member = packer.member(text).unwrap();
            assert_eq!(member, Packer::new().member(text).unwrap());
            assert_eq!(unpacker.text(&member, text.len()).unwrap(), *text);
            assert!(unpacker.text(&member, text.len() + 1).is_err());
            let mut damaged = member.clone();
            let at = damaged.len() - 6;
            damaged[at] ^= 1;
            assert!(unpacker.text(&damaged, text.len()).is_err());
            joined.extend(member);
        }
        let mut read = Vec::new();
        flate2::read::MultiGzDecoder::new(&joined[..]).read_to_end(&mut read).unwrap();
        assert_eq!(read, texts.iter().chain(texts.iter().rev()).flatten().copied().collect::<Vec<_>>());
    }
}
