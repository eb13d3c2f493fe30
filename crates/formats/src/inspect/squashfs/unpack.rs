//! Unpacks one block of a squashfs. Blocks are small (8 KiB for tables, at most 1 MiB for files), and what comes out
//! is bounded by what may come out, so that no block is a bomb.

use std::io::Read;

use super::super::error::{InspectError, from_io};
use super::superblock::Unpacking;

/// How the blocks of a squashfs are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compressor {
    Gzip,
    Lzma,
    Lzo,
    Xz,
    Lz4,
    Zstd,
}

impl Compressor {
    pub(super) fn from_id(id: u16) -> Option<Self> {
        [Self::Gzip, Self::Lzma, Self::Lzo, Self::Xz, Self::Lz4, Self::Zstd]
            .get(usize::from(id).checked_sub(1)?)
            .copied()
    }
}

const WHAT: &str = "a block of the squashfs";

/// The content of `block`, which may be up to `most` bytes long.
pub(crate) fn unpack(block: &[u8], most: usize, how: Unpacking) -> Result<Vec<u8>, InspectError> {
    use liblzma::bufread::XzDecoder;
    use liblzma::stream::Stream as Lzma;
    let failed = |error| from_io(error, WHAT);
    let too_long = || InspectError::Damaged(format!("{WHAT} unpacks to more than a block holds"));
    let mut decoder: Box<dyn Read + '_> = match how.compressor {
        Compressor::Gzip => Box::new(flate2::bufread::ZlibDecoder::new(block)),
        Compressor::Xz => {
            let stream = Lzma::new_stream_decoder(how.memory, 0).map_err(|error| failed(error.into()))?;
            Box::new(XzDecoder::new_stream(block, stream))
        }
        Compressor::Lzma => {
            let stream = Lzma::new_lzma_decoder(how.memory).map_err(|error| failed(error.into()))?;
            Box::new(XzDecoder::new_stream(block, stream))
        }
        Compressor::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(block).map_err(failed)?;
            decoder.window_log_max(how.window_log).map_err(failed)?;
            Box::new(decoder.single_frame())
        }
        Compressor::Lz4 => {
            let mut out = vec![0; most];
            let length = lz4_flex::block::decompress_into(block, &mut out)
                .map_err(|error| InspectError::Damaged(format!("{WHAT} cannot be unpacked ({error})")))?;
            out.truncate(length);
            return Ok(out);
        }
        Compressor::Lzo => {
            return Err(InspectError::Unsupported(
                "a squashfs compressed with lzo cannot be read here; make it anew with \"mksquashfs -comp xz\" or \"-comp zstd\"".to_owned(),
            ));
        }
    };
    let mut out = Vec::new();
    decoder.by_ref().take(most as u64 + 1).read_to_end(&mut out).map_err(failed)?;
    if out.len() > most { Err(too_long()) } else { Ok(out) }
}
