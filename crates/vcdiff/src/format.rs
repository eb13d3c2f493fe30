//! The frame of a delta: its header and the header of each window (RFC 3284, section 4), with the checksum that
//! `xdelta3` adds.

use std::io::{self, Read};

use crate::error::{Error, Secondary};
use crate::varint;

pub(crate) const MAGIC: [u8; 3] = [0xd6, 0xc3, 0xc4];

const HEADER_SECONDARY: u8 = 1;
const HEADER_CODE_TABLE: u8 = 2;
const HEADER_APPLICATION: u8 = 4;

pub(crate) const WINDOW_SOURCE: u8 = 1;
const WINDOW_TARGET: u8 = 2;
pub(crate) const WINDOW_ADLER32: u8 = 4;

/// Bits of the delta indicator: which sections are compressed once more.
pub(crate) const COMPRESSED_DATA: u8 = 1;
pub(crate) const COMPRESSED_INSTRUCTIONS: u8 = 2;
pub(crate) const COMPRESSED_ADDRESSES: u8 = 4;

/// `xdelta3` writes two names there; more than this is nobody's.
const APPLICATION_MAX: u64 = 64 << 10;

/// What stands before the first window.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) secondary: Option<Secondary>,
    pub(crate) application: Option<Vec<u8>>,
}

/// Where a window's segment lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Segment {
    None,
    Base { start: u64, len: u64 },
    Target { start: u64, len: u64 },
}

/// What stands before a window's sections.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) segment: Segment,
    pub(crate) target: u64,
    /// Bits `COMPRESSED_…`.
    pub(crate) compressed: u8,
    /// Bytes of the data, instructions and addresses sections in the delta.
    pub(crate) sections: [u64; 3],
    pub(crate) adler32: Option<u32>,
}

/// Reads a delta's frame and counts what was read.
pub(crate) struct Frame<R> {
    pub(crate) inner: R,
    pub(crate) read: u64,
    pub(crate) window: u64,
}

impl<R: Read> Frame<R> {
    /// The next byte, `None` at the end.
    fn byte_or_end(&mut self) -> Result<Option<u8>, Error> {
        let mut byte = [0];
        loop {
            match self.inner.read(&mut byte) {
                Ok(0) => return Ok(None),
                Ok(_) => {
                    self.read += 1;
                    return Ok(Some(byte[0]));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Delta(error)),
            }
        }
    }

    fn byte(&mut self, place: &'static str) -> Result<u8, Error> {
        self.byte_or_end()?.ok_or(Error::Truncated(place))
    }

    fn integer(&mut self, place: &'static str) -> Result<u64, Error> {
        enum Stop {
            Large,
            Here(Error),
        }
        impl From<varint::Bad> for Stop {
            fn from(_: varint::Bad) -> Self {
                Self::Large
            }
        }
        varint::take_from(|| self.byte(place).map_err(Stop::Here)).map_err(|stop| match stop {
            Stop::Large => self.damaged("a number is larger than 64 bits"),
            Stop::Here(error) => error,
        })
    }

    /// Reads `len` bytes into `out`, which grows with what is there, not with what is promised.
    pub(crate) fn bytes(&mut self, len: u64, out: &mut Vec<u8>, place: &'static str) -> Result<(), Error> {
        out.clear();
        let read = self.inner.by_ref().take(len).read_to_end(out).map_err(Error::Delta)?;
        self.read += read as u64;
        if read as u64 == len { Ok(()) } else { Err(Error::Truncated(place)) }
    }

    pub(crate) fn damaged(&self, what: &'static str) -> Error {
        Error::Damaged { window: self.window, what }
    }

    /// Reads the header and refuses what cannot be decoded.
    pub(crate) fn header(&mut self) -> Result<Header, Error> {
        for expected in MAGIC {
            if self.byte_or_end()? != Some(expected) {
                return Err(Error::NotVcdiff);
            }
        }
        let version = self.byte("its header")?;
        if version != 0 {
            return Err(Error::Version(version));
        }
        let indicator = self.byte("its header")?;
        if indicator & !(HEADER_SECONDARY | HEADER_CODE_TABLE | HEADER_APPLICATION) != 0 {
            return Err(Error::Indicator { place: "header", value: indicator });
        }
        let mut header = Header { secondary: None, application: None };
        if indicator & HEADER_SECONDARY != 0 {
            // What cannot be decoded is refused by the first window that uses it, because xdelta3 names a compressor
            // that it then finds not worth using.
            header.secondary = Some(Secondary::from(self.byte("its header")?));
        }
        if indicator & HEADER_CODE_TABLE != 0 {
            return Err(Error::CodeTable);
        }
        if indicator & HEADER_APPLICATION != 0 {
            let len = self.integer("its header")?;
            if len > APPLICATION_MAX {
                return Err(Error::TooLarge { what: "the application header", size: len, limit: APPLICATION_MAX });
            }
            let mut application = Vec::new();
            self.bytes(len, &mut application, "its header")?;
            header.application = Some(application);
        }
        Ok(header)
    }

    /// Reads the header of the next window; `None` at the end of the delta.
    pub(crate) fn window(&mut self) -> Result<Option<Window>, Error> {
        const PLACE: &str = "the header of a window";
        let Some(indicator) = self.byte_or_end()? else { return Ok(None) };
        if indicator & !(WINDOW_SOURCE | WINDOW_TARGET | WINDOW_ADLER32) != 0 {
            return Err(Error::Indicator { place: "window", value: indicator });
        }
        let segment = match indicator & (WINDOW_SOURCE | WINDOW_TARGET) {
            0 => Segment::None,
            bits => {
                let (len, start) = (self.integer(PLACE)?, self.integer(PLACE)?);
                if start.checked_add(len).is_none() {
                    return Err(self.damaged("its segment ends past 64 bits"));
                }
                match bits {
                    WINDOW_SOURCE => Segment::Base { start, len },
                    WINDOW_TARGET => Segment::Target { start, len },
                    _ => return Err(self.damaged("it has two segments")),
                }
            }
        };
        let encoding = self.integer(PLACE)?;
        let begin = self.read;
        let target = self.integer(PLACE)?;
        let compressed = self.byte(PLACE)?;
        if compressed & !(COMPRESSED_DATA | COMPRESSED_INSTRUCTIONS | COMPRESSED_ADDRESSES) != 0 {
            return Err(Error::Indicator { place: "delta", value: compressed });
        }
        let sections = [self.integer(PLACE)?, self.integer(PLACE)?, self.integer(PLACE)?];
        let adler32 = match indicator & WINDOW_ADLER32 {
            0 => None,
            _ => Some(u32::from_be_bytes([self.byte(PLACE)?, self.byte(PLACE)?, self.byte(PLACE)?, self.byte(PLACE)?])),
        };
        let sum = sections.iter().try_fold(self.read - begin, |sum, len| sum.checked_add(*len));
        if sum != Some(encoding) {
            return Err(self.damaged("its length is not that of its parts"));
        }
        Ok(Some(Window { segment, target, compressed, sections, adler32 }))
    }
}
