//! From a base and a delta to the target.

use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

use crate::address_cache::AddressCache;
use crate::adler32::adler32;
use crate::base::Base;
use crate::code_table::{DEFAULT, Kind};
use crate::error::{Error, Secondary};
use crate::format::{Frame, Segment, Window};
use crate::secondary::{Failed, Section};
use crate::varint;

/// What a delta may cost. The memory that decoding takes is at most
/// `2 × window + 8 × sections + base_cache + 3 × dictionary` bytes and 1 MiB, `dictionary` only for deltas that are compressed
/// with LZMA; it grows with what the delta holds, not with what it promises.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of the target that one window may make. `xdelta3` itself takes no more than 16 MiB.
    pub window: u64,
    /// Bytes that the three sections of a window may have together, in the delta and decompressed.
    pub sections: u64,
    /// Bytes that the whole target may have.
    pub target: u64,
    /// Bytes of the base that are kept for further copies.
    pub base_cache: usize,
    /// Bytes that each of the three LZMA dictionaries may take. `xdelta3 -9` needs 65 MiB.
    pub dictionary: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { window: 16 << 20, sections: 20 << 20, target: u64::MAX, base_cache: 32 << 20, dictionary: 80 << 20 }
    }
}

/// What was decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Windows of the delta.
    pub windows: u64,
    /// Bytes of the delta.
    pub delta: u64,
    /// Bytes of the target.
    pub target: u64,
    /// Whether every window brought a checksum, which was right. Without, compare the target's hash.
    pub checked: bool,
    /// The application header: `xdelta3` puts the names of both files there.
    pub application: Option<Vec<u8>>,
}

/// Where a target goes. Implemented by [`Forward`] for everything that can be written, and by [`Rewindable`] for what
/// can be read back, too, as windows that copy from the target (VCD_TARGET) need it. `xdelta3` never writes those.
pub trait Target {
    /// Adds bytes to the end.
    ///
    /// # Errors
    ///
    /// What writing says.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Reads bytes that were added before; [`Unsupported`](io::ErrorKind::Unsupported) when that cannot be.
    ///
    /// # Errors
    ///
    /// What reading says.
    fn read_back(&mut self, start: u64, bytes: &mut [u8]) -> io::Result<()>;
}

/// A target that is only written.
#[derive(Debug)]
pub struct Forward<W>(pub W);

impl<W: Write> Target for Forward<W> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn read_back(&mut self, _: u64, _: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A target that can be read back, such as a file opened for both. It begins at position 0.
#[derive(Debug)]
pub struct Rewindable<F>(pub F);

impl<F: Read + Write + Seek> Target for Rewindable<F> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn read_back(&mut self, start: u64, bytes: &mut [u8]) -> io::Result<()> {
        let end = self.0.stream_position()?;
        self.0.seek(SeekFrom::Start(start))?;
        self.0.read_exact(bytes)?;
        self.0.seek(SeekFrom::Start(end)).map(drop)
    }
}

/// Writes to `target` what `delta` makes of `base`.
///
/// What was written before an error is not the target: throw it away. A delta without checksums that fits by accident gives
/// other bytes without an error, so compare the target's hash whenever it is known.
///
/// # Errors
///
/// [`Error`] says what is wrong with the delta, the base or the target, and which limit was passed.
pub fn decode(
    base: impl Read + Seek,
    delta: impl Read,
    target: &mut impl Target,
    limits: &Limits,
) -> Result<Decoded, Error> {
    let mut frame = Frame { inner: BufReader::with_capacity(128 << 10, delta), read: 0, window: 0 };
    let header = frame.header()?;
    let mut state = State {
        base: Base::new(base, limits.base_cache)?,
        limits,
        secondary: header.secondary,
        sections: [(); 3].map(|()| Section::new()),
        packed: Vec::new(),
        plain: Default::default(),
        out: Vec::new(),
        written: 0,
    };
    let mut checked = true;
    while let Some(window) = frame.window()? {
        checked &= window.adler32.is_some();
        state.window(&mut frame, &window, target)?;
        frame.window += 1;
    }
    let application = header.application;
    Ok(Decoded { windows: frame.window, delta: frame.read, target: state.written, checked, application })
}

struct State<'a, B> {
    base: Base<B>,
    limits: &'a Limits,
    secondary: Option<Secondary>,
    sections: [Section; 3],
    packed: Vec<u8>,
    plain: [Vec<u8>; 3],
    /// The window that is being made.
    out: Vec<u8>,
    written: u64,
}

impl<B: Read + Seek> State<'_, B> {
    fn window(&mut self, frame: &mut Frame<impl Read>, window: &Window, target: &mut impl Target) -> Result<(), Error> {
        let limits = self.limits;
        let within = |what, size, limit| if size > limit { Err(Error::TooLarge { what, size, limit }) } else { Ok(()) };
        within("a window of the target", window.target, limits.window)?;
        within("the target", self.written.saturating_add(window.target), limits.target)?;
        let sections = window.sections.iter().fold(0, |sum: u64, len| sum.saturating_add(*len));
        within("the sections of a window", sections, limits.sections)?;
        match window.segment {
            Segment::Base { start, len } if start + len > self.base.size => {
                return Err(Error::BaseTooShort { needed: start + len, size: self.base.size });
            }
            Segment::Target { start, len } if start + len > self.written => {
                return Err(frame.damaged("it copies from a part of the target that is not made yet"));
            }
            _ => {}
        }
        self.read_sections(frame, window)?;
        self.run(frame, window, target)?;
        if window.adler32.is_some_and(|sum| sum != adler32(&self.out)) {
            return Err(Error::Checksum { window: frame.window });
        }
        target.append(&self.out).map_err(Error::Target)?;
        self.written += self.out.len() as u64;
        Ok(())
    }

    fn read_sections(&mut self, frame: &mut Frame<impl Read>, window: &Window) -> Result<(), Error> {
        match self.secondary {
            _ if window.compressed == 0 => {}
            Some(Secondary::Lzma) => {}
            Some(other) => return Err(Error::Secondary(other)),
            None => return Err(frame.damaged("it is compressed, and the header names no compressor")),
        }
        let mut room = self.limits.sections;
        for (index, len) in window.sections.into_iter().enumerate() {
            let plain = &mut self.plain[index];
            if window.compressed & (1 << index) == 0 {
                frame.bytes(len, plain, "a window")?;
            } else {
                frame.bytes(len, &mut self.packed, "a window")?;
                self.sections[index].decompress(&self.packed, plain, room, self.limits.dictionary).map_err(
                    |failed| match failed {
                        Failed::Damaged(what) => frame.damaged(what),
                        Failed::Other(error) => error,
                    },
                )?;
            }
            room = room.saturating_sub(plain.len() as u64);
        }
        Ok(())
    }

    /// Runs the instructions. Each pass takes at least one byte of the instructions section, so there is an end.
    fn run(&mut self, frame: &Frame<impl Read>, window: &Window, target: &mut impl Target) -> Result<(), Error> {
        let Self { base, plain: [data, instructions, addresses], out, .. } = self;
        let (mut data, mut instructions, mut addresses) = (&data[..], &instructions[..], &addresses[..]);
        let segment = match window.segment {
            Segment::None => 0,
            Segment::Base { len, .. } | Segment::Target { len, .. } => len,
        };
        let total = window.target as usize;
        let mut cache = AddressCache::new();
        out.clear();
        while let Some((code, rest)) = instructions.split_first() {
            instructions = rest;
            for half in &DEFAULT[usize::from(*code)] {
                if half.kind == Kind::Noop {
                    continue;
                }
                let size = match half.size {
                    0 => varint::take(&mut instructions).map_err(|_| frame.damaged("an instruction has no size"))?,
                    size => u64::from(size),
                };
                if size > (total - out.len()) as u64 {
                    return Err(frame.damaged("its instructions make more than it holds"));
                }
                let size = size as usize;
                match half.kind {
                    Kind::Noop => {}
                    Kind::Add => {
                        let (bytes, rest) =
                            data.split_at_checked(size).ok_or_else(|| frame.damaged("it has too little data"))?;
                        out.extend_from_slice(bytes);
                        data = rest;
                    }
                    Kind::Run => {
                        let (byte, rest) = data.split_first().ok_or_else(|| frame.damaged("it has too little data"))?;
                        out.resize(out.len() + size, *byte);
                        data = rest;
                    }
                    Kind::Copy(mode) => {
                        let here = segment.saturating_add(out.len() as u64);
                        let address = cache
                            .take(mode, here, &mut addresses)
                            .filter(|address| *address < here)
                            .ok_or_else(|| frame.damaged("it copies from an address that is not there"))?;
                        let outside = segment.saturating_sub(address).min(size as u64) as usize;
                        match window.segment {
                            _ if outside == 0 => {}
                            Segment::None => {}
                            Segment::Base { start, .. } => base.append(start + address, outside, out)?,
                            Segment::Target { start, .. } => {
                                let at = out.len();
                                out.resize(at + outside, 0);
                                target.read_back(start + address, &mut out[at..]).map_err(|error| {
                                    match error.kind() {
                                        io::ErrorKind::Unsupported => Error::TargetOnlyWritten,
                                        _ => Error::Target(error),
                                    }
                                })?;
                            }
                        }
                        if outside < size {
                            let from = address.saturating_sub(segment) as usize;
                            repeat(out, from, size - outside);
                        }
                    }
                }
            }
        }
        if out.len() != total {
            return Err(frame.damaged("its instructions make less than it holds"));
        }
        if !data.is_empty() || !addresses.is_empty() {
            return Err(frame.damaged("its instructions do not use all of its data"));
        }
        Ok(())
    }
}

/// Adds `len` bytes of `out` from `from` on, which may be bytes that are being added.
fn repeat(out: &mut Vec<u8>, from: usize, len: usize) {
    let mut left = len;
    while left > 0 {
        let take = left.min(out.len() - from);
        out.extend_from_within(from..from + take);
        left -= take;
    }
}
