//! Whether a compressed file is whole, found out without unpacking it.
//!
//! | compression | what is looked at |
//! | --- | --- |
//! | xz | the footer and the index of every stream, from the end to the beginning |
//! | zstd, lz4 | the header of every frame and block; their content is passed over |
//! | gzip, bzip2, lzma | nothing: the only way to know is to unpack all of it |
//!
//! For the last row, a cut file is noticed where inspection reads to the end anyway (metadata tarballs), and else when
//! a client unpacks it. Knows nothing of what was compressed.

mod lz4;
mod xz;
mod zstd;

use std::io::{BufReader, Read};

use crate::image::Compression;

use super::error::{InspectError, count};
use super::stream::ReadSeek;

/// An error when the file is shorter than its own structure says, or has no such structure.
pub(super) fn check(file: &mut dyn ReadSeek, size: u64, compression: Compression) -> Result<(), InspectError> {
    match compression {
        Compression::Xz => xz::check(file, size),
        Compression::Zstd => zstd::check(&mut Hops::new(file, size)?),
        Compression::Lz4 => lz4::check(&mut Hops::new(file, size)?),
        Compression::None | Compression::Gzip | Compression::Bzip2 | Compression::Lzma => Ok(()),
    }
}

/// More blocks than this are not followed: at their usual size they hold more than a terabyte, and following tiny
/// ones would only cost time.
const MOST_HOPS: u64 = 10_000_000;

/// Goes forward through a file by reading small headers and passing over what they announce.
struct Hops<'a> {
    file: BufReader<&'a mut dyn ReadSeek>,
    position: u64,
    size: u64,
    hops: u64,
}

impl<'a> Hops<'a> {
    fn new(file: &'a mut dyn ReadSeek, size: u64) -> Result<Self, InspectError> {
        file.seek(std::io::SeekFrom::Start(0)).map_err(InspectError::Read)?;
        Ok(Self { file: BufReader::with_capacity(4096, file), position: 0, size, hops: 0 })
    }

    /// Passes over the frames that such a file is made of, one after another: skippable ones, and those with this magic number, after
    /// which `frame` goes on.
    fn frames(
        &mut self,
        name: &str,
        magic: u32,
        frame: fn(&mut Self) -> Result<(), InspectError>,
    ) -> Result<(), InspectError> {
        while !self.at_end() && !self.tired() {
            let start = self.position;
            let found = u32::from_le_bytes(self.take()?);
            if is_skippable(found) {
                let length = u32::from_le_bytes(self.take()?);
                self.pass(u64::from(length))?;
            } else if found == magic {
                frame(self)?;
            } else {
                return Err(InspectError::Damaged(format!("there is no {name} frame at byte {}", count(start))));
            }
        }
        Ok(())
    }

    fn at_end(&self) -> bool {
        self.position >= self.size
    }

    fn tired(&self) -> bool {
        self.hops > MOST_HOPS
    }

    fn left(&self) -> u64 {
        self.size.saturating_sub(self.position)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], InspectError> {
        let mut bytes = [0; N];
        self.hops += 1;
        if self.left() < N as u64 {
            return Err(InspectError::Truncated("it stops within the header of a block".to_owned()));
        }
        self.file.read_exact(&mut bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                InspectError::Truncated("it is shorter than it was said to be".to_owned())
            }
            _ => InspectError::Read(error),
        })?;
        self.position += N as u64;
        Ok(bytes)
    }

    fn pass(&mut self, bytes: u64) -> Result<(), InspectError> {
        let (true, Ok(distance)) = (bytes <= self.left(), i64::try_from(bytes)) else {
            return Err(InspectError::Truncated(format!(
                "its last block promises {} more bytes than there are",
                super::error::count(bytes.saturating_sub(self.left()))
            )));
        };
        self.file.seek_relative(distance).map_err(InspectError::Read)?;
        self.position += bytes;
        Ok(())
    }
}

/// The frames that both zstd and lz4 decoders pass over: sixteen magic numbers, then a length.
fn is_skippable(magic: u32) -> bool {
    magic & 0xffff_fff0 == 0x184d_2a50
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    fn cut_anywhere(whole: &[u8], compression: Compression) {
        let size = whole.len() as u64;
        check(&mut Cursor::new(whole), size, compression).unwrap();
        for length in (6..whole.len()).step_by(1 + whole.len() / 977) {
            let error = check(&mut Cursor::new(&whole[..length]), length as u64, compression)
                .expect_err(&format!("{compression:?} cut to {length} of {size} bytes passed"));
            assert!(error.to_string().starts_with("the file ends early: "), "{length}: {error}");
            assert!(error.to_string().ends_with("; copy it again"), "{length}: {error}");
        }
    }

    fn xz(data: &[u8]) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn lz4(data: &[u8], info: lz4_flex::frame::FrameInfo) -> Vec<u8> {
        let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_cut_xz_file_is_noticed_wherever_it_was_cut() {
        cut_anywhere(&xz(&noise(300_000)), Compression::Xz);
    }

    #[test]
    fn xz_streams_with_padding_between_and_after_are_whole() {
        let one = xz(b"one");
        let many = [&one[..], &[0; 8], &xz(&noise(9000)), &[0; 4], &xz(b""), &[0; 4096]].concat();
        check(&mut Cursor::new(&many), many.len() as u64, Compression::Xz).unwrap();
        let odd = [&one[..], &[0; 3]].concat();
        assert!(check(&mut Cursor::new(&odd), odd.len() as u64, Compression::Xz).is_err());
        let second_cut = [&one[..], &one[..one.len() - 7]].concat();
        assert!(check(&mut Cursor::new(&second_cut), second_cut.len() as u64, Compression::Xz).is_err());
        let first_cut = [&one[..one.len() - 8], &one[..]].concat();
        assert!(check(&mut Cursor::new(&first_cut), first_cut.len() as u64, Compression::Xz).is_err());
    }

    #[test]
    fn a_cut_zstd_file_is_noticed_wherever_it_was_cut() {
        cut_anywhere(&::zstd::encode_all(&noise(400_000)[..], 1).unwrap(), Compression::Zstd);
        let mut encoder = ::zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(&[b'a'; 3_000_000]).unwrap();
        cut_anywhere(&encoder.finish().unwrap(), Compression::Zstd);
    }

    #[test]
    fn zstd_frames_after_frames_and_skippable_ones_are_whole() {
        let one = ::zstd::encode_all(&b"one"[..], 1).unwrap();
        let skippable = [&0x184d_2a53u32.to_le_bytes()[..], &5u32.to_le_bytes(), b"hello"].concat();
        let many = [&one[..], &skippable, &one].concat();
        check(&mut Cursor::new(&many), many.len() as u64, Compression::Zstd).unwrap();
        let cut = &many[..one.len() + 11];
        assert!(check(&mut Cursor::new(cut), cut.len() as u64, Compression::Zstd).is_err());
        let tail = [&one[..], b"what is this"].concat();
        let error = check(&mut Cursor::new(&tail), tail.len() as u64, Compression::Zstd).unwrap_err();
        assert!(error.to_string().starts_with("the file is damaged: "), "{error}");
    }

    #[test]
    fn a_cut_lz4_file_is_noticed_wherever_it_was_cut() {
        let info = lz4_flex::frame::FrameInfo::new;
        cut_anywhere(&lz4(&noise(300_000), info()), Compression::Lz4);
        let checked = info().block_checksums(true).content_checksum(true).content_size(Some(300_000));
        cut_anywhere(&lz4(&[7; 300_000], checked), Compression::Lz4);
    }
}
