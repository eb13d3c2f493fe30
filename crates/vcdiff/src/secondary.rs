//! Sections that are compressed once more, with LZMA as `xdelta3 -S lzma` does it.
//!
//! There is one xz stream for each of the three kinds of section, and it goes on from window to window: its header
//! stands in the first section that is compressed, each later section is the next piece of the same stream, flushed to
//! a byte, and the stream never ends. A section begins with the number of its bytes before compression. Sections that
//! the delta indicator does not name are plain and take no part in the stream. (Read off what `xdelta3` 3.0.11 writes.)

use liblzma::stream::{Action, Error as LzmaError, Status, Stream};

use crate::error::Error;
use crate::varint;

/// The stream of one kind of section.
pub(crate) struct Section {
    stream: Option<Stream>,
}

/// Why a section cannot be decompressed.
pub(crate) enum Failed {
    Damaged(&'static str),
    Other(Error),
}

impl Section {
    pub(crate) fn new() -> Self {
        Self { stream: None }
    }

    /// Decompresses one section of at most `limit` bytes into `out`, with at most `memory` bytes for the dictionary.
    pub(crate) fn decompress(
        &mut self,
        packed: &[u8],
        out: &mut Vec<u8>,
        limit: u64,
        memory: u64,
    ) -> Result<(), Failed> {
        const BROKEN: Failed = Failed::Damaged("a section cannot be decompressed");
        let mut rest = packed;
        let len = varint::take(&mut rest).map_err(|_| BROKEN)?;
        if len > limit {
            return Err(Failed::Other(Error::TooLarge { what: "a decompressed section", size: len, limit }));
        }
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(Stream::new_stream_decoder(memory, 0).map_err(|_| BROKEN)?),
        };
        out.clear();
        out.resize(len as usize, 0);
        let mut made = 0;
        // One call more than seems needed: the decoder may make the last byte before it has taken the last of its input.
        while made < out.len() || !rest.is_empty() {
            let (took, gave) = (stream.total_in(), stream.total_out());
            let status = stream.process(rest, &mut out[made..], Action::Run);
            let took = (stream.total_in() - took) as usize;
            let gave = (stream.total_out() - gave) as usize;
            match status {
                Ok(Status::Ok | Status::GetCheck) if took + gave > 0 => {}
                Err(LzmaError::MemLimit) => {
                    let size = stream.memlimit().max(memory.saturating_add(1));
                    return Err(Failed::Other(Error::TooLarge {
                        what: "the dictionary of the delta's LZMA",
                        size,
                        limit: memory,
                    }));
                }
                _ => return Err(BROKEN),
            }
            rest = &rest[took..];
            made += gave;
        }
        Ok(())
    }
}
