//! Reading a base at any place, through a cache of blocks, so that many small copies are not many small reads.

use std::io::{Read, Seek, SeekFrom};

use crate::error::Error;

/// Bytes of a block. Copies that are larger go past the cache.
const BLOCK: usize = 64 << 10;

/// A base with its cache: each block has one place that it can be in.
pub(crate) struct Base<B> {
    inner: B,
    pub(crate) size: u64,
    slots: Vec<Slot>,
}

struct Slot {
    /// Number of the block that is in it.
    block: Option<u64>,
    bytes: Vec<u8>,
}

impl<B: Read + Seek> Base<B> {
    /// Wraps a base; the cache takes at most `memory` bytes, and at least one block.
    pub(crate) fn new(mut inner: B, memory: usize) -> Result<Self, Error> {
        let size = inner.seek(SeekFrom::End(0)).map_err(Error::Base)?;
        let blocks = size.div_ceil(BLOCK as u64).min((memory / BLOCK) as u64).max(1);
        let slots = (0..blocks).map(|_| Slot { block: None, bytes: Vec::new() }).collect();
        Ok(Self { inner, size, slots })
    }

    /// Reads the bytes from `start` on, which are known to be there, to the end of `out`.
    pub(crate) fn append(&mut self, start: u64, len: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        if len >= BLOCK {
            self.inner.seek(SeekFrom::Start(start)).map_err(Error::Base)?;
            let at = out.len();
            out.resize(at + len, 0);
            return self.inner.read_exact(&mut out[at..]).map_err(Error::Base);
        }
        let (mut start, mut left) = (start, len);
        while left > 0 {
            let (block, within) = (start / BLOCK as u64, (start % BLOCK as u64) as usize);
            let bytes = self.block(block)?;
            let Some(there) = bytes.get(within..).filter(|there| !there.is_empty()) else {
                return Err(Error::Base(std::io::ErrorKind::UnexpectedEof.into()));
            };
            let take = left.min(there.len());
            out.extend_from_slice(&there[..take]);
            start += take as u64;
            left -= take;
        }
        Ok(())
    }

    fn block(&mut self, block: u64) -> Result<&[u8], Error> {
        let place = (block % self.slots.len() as u64) as usize;
        let slot = &mut self.slots[place];
        if slot.block != Some(block) {
            slot.block = None;
            slot.bytes.clear();
            self.inner.seek(SeekFrom::Start(block * BLOCK as u64)).map_err(Error::Base)?;
            self.inner.by_ref().take(BLOCK as u64).read_to_end(&mut slot.bytes).map_err(Error::Base)?;
            slot.block = Some(block);
        }
        Ok(&slot.bytes)
    }
}
