//! The base as the encoder sees it: read at any place by several threads, whole in memory when it fits.

use std::fs::File;
use std::io;

use crate::error::Error;
use crate::index::KEY;

/// Bytes of a page. Pages are what is read of a base that does not fit into memory.
pub(crate) const PAGE: usize = 64 << 10;

/// Bytes that can be read at any place, by several threads at once.
pub trait ReadAt: Sync {
    /// How many bytes there are.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn size(&self) -> io::Result<u64>;

    /// Fills `bytes` with what stands from `start` on.
    ///
    /// # Errors
    ///
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) when there is less, and what reading says.
    fn read_exact_at(&self, start: u64, bytes: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for [u8] {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_exact_at(&self, start: u64, bytes: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(start).ok().and_then(|start| self.get(start..)?.get(..bytes.len()));
        bytes.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> io::Result<u64> {
        self.as_slice().size()
    }

    fn read_exact_at(&self, start: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_exact_at(start, bytes)
    }
}

#[cfg(unix)]
impl ReadAt for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, start: u64, bytes: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, bytes, start)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }

    fn read_exact_at(&self, start: u64, bytes: &mut [u8]) -> io::Result<()> {
        (**self).read_exact_at(start, bytes)
    }
}

/// What one thread sees of the base.
pub(crate) enum Pages<'a> {
    Whole(&'a [u8]),
    Cached(Cached<'a>),
}

/// Pages that were read, each in the one place that it can be in.
pub(crate) struct Cached<'a> {
    base: &'a dyn ReadAt,
    size: u64,
    slots: Vec<(Option<u64>, Vec<u8>)>,
}

impl<'a> Pages<'a> {
    /// A view that keeps at most `memory` bytes, and at least a few pages.
    pub(crate) fn cached(base: &'a dyn ReadAt, size: u64, memory: u64) -> Self {
        let slots = (memory / PAGE as u64).max(16) as usize;
        Self::Cached(Cached { base, size, slots: vec![(None, Vec::new()); slots] })
    }

    /// The bytes from `start` on, as far as they are at hand; nothing only at the end of the base.
    pub(crate) fn from(&mut self, start: u64) -> Result<&[u8], Error> {
        match self {
            Self::Whole(bytes) => Ok(bytes.get(start as usize..).unwrap_or_default()),
            Self::Cached(cached) => {
                let page = cached.page(start / PAGE as u64)?;
                Ok(page.get(start as usize % PAGE..).unwrap_or_default())
            }
        }
    }

    /// The four bytes from `start` on, when they are there; four that are on two pages count as missing.
    #[inline]
    pub(crate) fn word(&mut self, start: u64) -> Result<Option<u32>, Error> {
        let there = match self {
            Self::Whole(bytes) => bytes.get(start as usize..).unwrap_or_default(),
            Self::Cached(cached) if start < cached.size => self.from(start)?,
            Self::Cached(_) => &[],
        };
        Ok(there.first_chunk().map(|word| u32::from_le_bytes(*word)))
    }

    /// Whether `key` stands at `start`, as far as can be seen on one page.
    #[inline]
    pub(crate) fn may_have(&mut self, start: u64, key: &[u8; KEY]) -> Result<bool, Error> {
        let there = self.from(start)?;
        Ok(there.first_chunk().map_or_else(|| key.starts_with(there), |there| there == key))
    }

    /// The bytes up to `end`, as far as they are at hand; nothing only at the beginning of the base.
    pub(crate) fn up_to(&mut self, end: u64) -> Result<&[u8], Error> {
        match self {
            Self::Whole(bytes) => Ok(bytes.get(..end as usize).unwrap_or_default()),
            Self::Cached(_) if end == 0 => Ok(&[]),
            Self::Cached(cached) => {
                let page = cached.page((end - 1) / PAGE as u64)?;
                Ok(page.get(..=(end - 1) as usize % PAGE).unwrap_or_default())
            }
        }
    }
}

impl Cached<'_> {
    fn page(&mut self, page: u64) -> Result<&[u8], Error> {
        let place = (page % self.slots.len() as u64) as usize;
        let (number, bytes) = &mut self.slots[place];
        if *number != Some(page) {
            let start = page * PAGE as u64;
            *number = None;
            bytes.resize(self.size.saturating_sub(start).min(PAGE as u64) as usize, 0);
            self.base.read_exact_at(start, bytes).map_err(Error::Base)?;
            *number = Some(page);
        }
        Ok(bytes)
    }
}
