//! One gzip member (RFC 1952) out of pieces that were compressed apart.
//!
//! A piece is deflated by itself, without looking back at anything, and ends at a full byte (a "sync flush", RFC 1951 section 3.2.4):
//! pieces one after another, between [`HEADER`] and an [`end`], are what their texts are one after another. The checksum at the end
//! is put together from those of the pieces.
//!
//! Members could be put one after another too, but not everybody reads on behind the first: `curl` gives up, and browsers show what they have.
//!
//! There is no name and no time stamp in it: the same text is the same bytes on every server.

use std::io;

use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress, Status};

/// How hard gzip tries for what many ask for.
const LEVEL: Compression = Compression::new(6);
/// What a member begins with: magic, deflate, no flags, no time, no extra flags, an unknown system.
pub(super) const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// An empty last block.
const LAST_BLOCK: [u8; 2] = [3, 0];
/// Bytes of an [`end`].
pub(super) const END: u64 = 10;

/// What a member ends with, whose text has this checksum and length.
pub(super) fn end(sum: &Crc) -> Vec<u8> {
    [&LAST_BLOCK[..], &sum.sum().to_le_bytes(), &sum.amount().to_le_bytes()].concat()
}

/// The checksum of a text.
pub(super) fn sum(text: &[u8]) -> Crc {
    let mut crc = Crc::new();
    crc.update(text);
    crc
}

/// The checksum of texts one after another.
pub(super) fn joined<'a>(sums: impl IntoIterator<Item = &'a Crc>) -> Crc {
    let mut all = Crc::new();
    for sum in sums {
        all.combine(sum);
    }
    all
}

/// Makes pieces, and is made once for many.
pub(super) struct Packer(Compress);

impl Packer {
    pub(super) fn new() -> Self {
        Self(Compress::new(LEVEL, false))
    }

    /// This text as a piece.
    pub(super) fn piece(&mut self, text: &[u8]) -> io::Result<Vec<u8>> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let mut out = Vec::with_capacity(text.len() / 2 + 64);
        self.0.reset();
        loop {
            let done = usize::try_from(self.0.total_in()).map_err(io::Error::other)?;
            self.0
                .compress_vec(text.get(done..).unwrap_or_default(), &mut out, FlushCompress::Sync)
                .map_err(io::Error::other)?;
            // All of it is out when there is room left.
            if out.len() < out.capacity() {
                out.shrink_to_fit();
                return Ok(out);
            }
            out.reserve(text.len() / 4 + 64);
        }
    }
}

/// Reads pieces that a [`Packer`] made.
pub(super) struct Unpacker(Decompress);

impl Unpacker {
    pub(super) fn new() -> Self {
        Self(Decompress::new(false))
    }

    /// The text of a piece, which is known to be that long and to have that checksum.
    pub(super) fn text(&mut self, piece: &[u8], length: usize, known: &Crc) -> io::Result<Vec<u8>> {
        // One byte more than needed: room to notice that there is more than there should be.
        let mut text = Vec::with_capacity(length + 1);
        self.0.reset(false);
        let status = self.0.decompress_vec(piece, &mut text, FlushDecompress::Sync);
        let whole = matches!(status, Ok(Status::Ok | Status::BufError)) && text.len() == length;
        if whole && sum(&text).sum() == known.sum() {
            return Ok(text);
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "a kept part of a document is damaged"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn pieces_are_one_member_and_are_the_same_whatever_was_packed_before() {
        let texts: Vec<Vec<u8>> = vec![
            Vec::new(),
            b"{}".to_vec(),
            b"0123456789abcdef".repeat(1000),
            (0..70_000u32).flat_map(|n| n.wrapping_mul(0x9e37_79b1).rotate_left(n % 32).to_le_bytes()).collect(),
        ];
        let mut packer = Packer::new();
        let mut unpacker = Unpacker::new();
        let mut member = HEADER.to_vec();
        let mut sums = Vec::new();
        for text in texts.iter().chain(texts.iter().rev()) {
            let piece = packer.piece(text).unwrap();
            assert_eq!(piece, Packer::new().piece(text).unwrap());
            assert_eq!(unpacker.text(&piece, text.len(), &sum(text)).unwrap(), *text);
            assert!(unpacker.text(&piece, text.len() + 1, &sum(text)).is_err());
            assert!(unpacker.text(&piece, text.len(), &sum(b"another")).is_err());
            member.extend(piece);
            sums.push(sum(text));
        }
        let end = end(&joined(&sums));
        assert_eq!(end.len() as u64, END);
        member.extend(end);
        // A reader of one member, which checks the sum, and finds nothing behind it.
        let mut decoder = flate2::bufread::GzDecoder::new(&member[..]);
        let mut read = Vec::new();
        decoder.read_to_end(&mut read).unwrap();
        assert_eq!(read, texts.iter().chain(texts.iter().rev()).flatten().copied().collect::<Vec<_>>());
        assert!(decoder.into_inner().is_empty());
    }
}
