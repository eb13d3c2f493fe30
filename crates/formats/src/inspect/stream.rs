//! The bytes of a tarball, whatever it is compressed with, with bounds on how many come out and what that costs.
//!
//! Knows nothing of tar: see [`super::tarball`].

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::rc::Rc;

use crate::image::Compression;

use super::error::{InspectError, count, from_io};
use super::limits::{Limits, Scope};

/// What every inspection reads from.
pub(crate) trait ReadSeek: Read + Seek {}

impl<T: Read + Seek + ?Sized> ReadSeek for T {}

const BUFFER: usize = 64 * 1024;

/// The file from its beginning to its promised size. Faults of the disk are wrapped, so that no decoder's error is
/// mistaken for one and no such fault for damaged data.
pub(super) struct Source<'a> {
    file: &'a mut dyn ReadSeek,
    left: u64,
    taken: Rc<Cell<u64>>,
}

impl Read for Source<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        loop {
            match self.file.read(&mut buf[..want]) {
                Ok(0) => return Err(missing(self.left).into_io()),
                Ok(got) => {
                    self.left -= got as u64;
                    self.taken.set(self.taken.get() + got as u64);
                    return Ok(got);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(InspectError::Read(error).into_io()),
            }
        }
    }
}

fn missing(bytes: u64) -> InspectError {
    InspectError::Truncated(format!("{} bytes of it are missing", count(bytes)))
}

/// Reads exactly `buf.len()` bytes at `offset` of the file.
pub(crate) fn read_at(file: &mut dyn ReadSeek, offset: u64, buf: &mut [u8]) -> Result<(), InspectError> {
    file.seek(SeekFrom::Start(offset)).map_err(InspectError::Read)?;
    file.read_exact(buf).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            InspectError::Truncated(format!("there is nothing at byte {}", count(offset + buf.len() as u64)))
        }
        _ => InspectError::Read(error),
    })
}

/// Reads up to `length` bytes at the beginning.
pub(crate) fn read_head(file: &mut dyn ReadSeek, size: u64, length: usize) -> Result<Vec<u8>, InspectError> {
    let mut head = vec![0; usize::try_from(size).unwrap_or(usize::MAX).min(length)];
    read_at(file, 0, &mut head)?;
    Ok(head)
}

/// The unpacked bytes of a file.
pub(crate) struct Stream<'a> {
    bytes: Bytes<'a>,
    /// For error messages: "the xz data".
    what: &'static str,
}

enum Bytes<'a> {
    /// Not compressed: skipping is seeking.
    Plain { file: BufReader<&'a mut dyn ReadSeek>, position: u64, size: u64 },
    /// Compressed: skipping is unpacking and forgetting.
    Packed { decoder: Box<dyn Read + 'a>, guard: Guard, scratch: Vec<u8> },
}

/// Counts what goes in and out of a decoder, and stops it when that gets out of hand.
struct Guard {
    taken: Rc<Cell<u64>>,
    given: u64,
    scope: Scope,
    limits: Limits,
}

impl Guard {
    fn gave(&mut self, bytes: usize) -> Result<(), InspectError> {
        self.given += bytes as u64;
        let most = self.scope.bytes(&self.limits);
        if self.given > most {
            return Err(unpacks_to_more(most, self.scope));
        }
        if self.given > self.limits.ratio_from && self.given / self.taken.get().max(1) > self.limits.ratio {
            return Err(InspectError::TooBig(format!(
                "the file unpacks to more than {} times its size, as no image does; build it anew, without huge empty files",
                count(self.limits.ratio)
            )));
        }
        Ok(())
    }

    /// Refuses at once what the limit would stop in the middle.
    fn will_give(&self, bytes: u64) -> Result<(), InspectError> {
        let most = self.scope.bytes(&self.limits);
        if self.given.saturating_add(bytes) > most { Err(unpacks_to_more(most, self.scope)) } else { Ok(()) }
    }
}

fn unpacks_to_more(most: u64, scope: Scope) -> InspectError {
    InspectError::TooBig(match scope {
        Scope::Metadata => {
            format!("the metadata tarball unpacks to more than {} bytes; {}", count(most), scope.advice())
        }
        Scope::Unified | Scope::Root => format!(
            "the first {} bytes of the unpacked archive do not tell what image it is; {}",
            count(most),
            scope.advice()
        ),
    })
}

impl<'a> Stream<'a> {
    /// Begins to read the file at its first byte.
    pub(crate) fn open(
        file: &'a mut dyn ReadSeek,
        size: u64,
        compression: Compression,
        scope: Scope,
        limits: &Limits,
    ) -> Result<Self, InspectError> {
        file.seek(SeekFrom::Start(0)).map_err(InspectError::Read)?;
        let what = match compression {
            Compression::None => {
                let file = BufReader::with_capacity(BUFFER / 4, file);
                return Ok(Self { bytes: Bytes::Plain { file, position: 0, size }, what: "the tarball" });
            }
            Compression::Gzip => "the gzip data",
            Compression::Xz => "the xz data",
            Compression::Lzma => "the lzma data",
            Compression::Bzip2 => "the bzip2 data",
            Compression::Zstd => "the zstd data",
            Compression::Lz4 => "the lz4 data",
        };
        let taken = Rc::new(Cell::new(0));
        let source = BufReader::with_capacity(BUFFER, Source { file, left: size, taken: Rc::clone(&taken) });
        let decoder = decoder(source, compression, limits).map_err(|error| from_io(error, what))?;
        let guard = Guard { taken, given: 0, scope, limits: *limits };
        Ok(Self { bytes: Bytes::Packed { decoder, guard, scratch: Vec::new() }, what })
    }

    /// What the data is called in error messages.
    pub(super) fn what(&self) -> &'static str {
        self.what
    }

    /// Fills `buf` as far as the data goes, and says how far that was.
    pub(crate) fn read_full(&mut self, buf: &mut [u8]) -> Result<usize, InspectError> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.read_some(&mut buf[filled..])? {
                0 => break,
                got => filled += got,
            }
        }
        Ok(filled)
    }

    fn read_some(&mut self, buf: &mut [u8]) -> Result<usize, InspectError> {
        match &mut self.bytes {
            Bytes::Plain { file, position, size } => {
                let left = usize::try_from(*size - *position).unwrap_or(usize::MAX);
                let want = buf.len().min(left);
                if want == 0 {
                    return Ok(0);
                }
                let got = retry(|| file.read(&mut buf[..want])).map_err(InspectError::Read)?;
                if got == 0 {
                    return Err(missing(*size - *position));
                }
                *position += got as u64;
                Ok(got)
            }
            Bytes::Packed { decoder, guard, .. } => {
                let got = retry(|| decoder.read(buf)).map_err(|error| from_io(error, self.what))?;
                guard.gave(got)?;
                Ok(got)
            }
        }
    }

    /// Passes over that many bytes; an error when there are fewer.
    pub(super) fn skip(&mut self, bytes: u64) -> Result<(), InspectError> {
        match &mut self.bytes {
            Bytes::Plain { file, position, size } => {
                let left = *size - *position;
                // The conversion fails only for more bytes than any file has.
                match i64::try_from(bytes) {
                    Ok(distance) if bytes <= left => {
                        file.seek_relative(distance).map_err(InspectError::Read)?;
                        *position += bytes;
                        Ok(())
                    }
                    _ => Err(missing(bytes.saturating_sub(left))),
                }
            }
            Bytes::Packed { decoder, guard, scratch } => {
                guard.will_give(bytes)?;
                scratch.resize(BUFFER / 2, 0);
                let mut left = bytes;
                while left > 0 {
                    let want = usize::try_from(left).unwrap_or(usize::MAX).min(scratch.len());
                    let got =
                        retry(|| decoder.read(&mut scratch[..want])).map_err(|error| from_io(error, self.what))?;
                    if got == 0 {
                        return Err(InspectError::Truncated(format!(
                            "{} bytes of the unpacked archive are missing",
                            count(left)
                        )));
                    }
                    guard.gave(got)?;
                    left -= got as u64;
                }
                Ok(())
            }
        }
    }

    /// Reads a compressed file to its end, so that its checksums are compared. Does nothing to a plain one.
    pub(super) fn finish(&mut self) -> Result<(), InspectError> {
        let Bytes::Packed { decoder, guard, scratch } = &mut self.bytes else { return Ok(()) };
        scratch.resize(BUFFER / 2, 0);
        loop {
            let got = retry(|| decoder.read(scratch)).map_err(|error| from_io(error, self.what))?;
            if got == 0 {
                return Ok(());
            }
            guard.gave(got)?;
        }
    }
}

fn retry(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Several streams or frames one after the other are one file, as the command line tools have it.
fn decoder<'a>(
    source: BufReader<Source<'a>>,
    compression: Compression,
    limits: &Limits,
) -> io::Result<Box<dyn Read + 'a>> {
    use liblzma::stream::{CONCATENATED, Stream as Lzma};
    Ok(match compression {
        Compression::None => Box::new(source),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(source)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(source)),
        Compression::Xz => {
            let stream = Lzma::new_stream_decoder(limits.decoder_memory, CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(source, stream))
        }
        Compression::Lzma => {
            let stream = Lzma::new_lzma_decoder(limits.decoder_memory)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(source, stream))
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
            decoder.window_log_max(limits.zstd_window_log)?;
            Box::new(decoder)
        }
        Compression::Lz4 => Box::new(Lz4Frames(lz4_flex::frame::FrameDecoder::new(source))),
    })
}

/// The frame decoder says "end" after every frame, and after an empty block; this one only at the end of the file.
struct Lz4Frames<'a>(lz4_flex::frame::FrameDecoder<BufReader<Source<'a>>>);

impl Read for Lz4Frames<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            let got = self.0.read(buf)?;
            // Every turn takes at least the four bytes of a block's length from the file, so that this ends.
            if got > 0 || self.0.get_mut().fill_buf()?.is_empty() {
                return Ok(got);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn a_file_shorter_than_it_was_said_to_be_is_truncated_and_not_damaged() {
        let mut packed = Cursor::new(zstd::encode_all(&[7u8; 5000][..], 1).unwrap());
        let length = packed.get_ref().len() as u64;
        let limits = Limits::default();
        let mut stream = Stream::open(&mut packed, length + 10, Compression::Zstd, Scope::Root, &limits).unwrap();
        let mut out = vec![0; 6000];
        let error = stream.read_full(&mut out).unwrap_err();
        assert_eq!(error.to_string(), "the file ends early: 10 bytes of it are missing; copy it again");
    }

    #[test]
    fn two_lz4_frames_are_one_stream() {
        let frame = |text: &[u8]| {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            io::Write::write_all(&mut encoder, text).unwrap();
            encoder.finish().unwrap()
        };
        let mut file = Cursor::new([frame(b"one "), frame(b""), frame(b"two")].concat());
        let length = file.get_ref().len() as u64;
        let mut stream = Stream::open(&mut file, length, Compression::Lz4, Scope::Root, &Limits::default()).unwrap();
        let mut out = vec![0; 100];
        let got = stream.read_full(&mut out).unwrap();
        assert_eq!(&out[..got], b"one two");
    }

    #[test]
    fn a_window_larger_than_allowed_is_refused_with_advice() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(28).unwrap();
        io::Write::write_all(&mut encoder, &[1; 100_000]).unwrap();
        let mut file = Cursor::new(encoder.finish().unwrap());
        let length = file.get_ref().len() as u64;
        let mut stream = Stream::open(&mut file, length, Compression::Zstd, Scope::Root, &Limits::default()).unwrap();
        let error = stream.read_full(&mut [0; 100]).unwrap_err();
        assert!(error.to_string().contains("without --long"), "{error}");
    }
}
