//! Little-endian numbers out of a few bytes.

use super::super::error::InspectError;

/// Reads one number after the other.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], InspectError> {
        let (first, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or_else(|| InspectError::Damaged("a table of the squashfs is too short".to_owned()))?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, InspectError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, InspectError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, InspectError> {
        self.array().map(u64::from_le_bytes)
    }
}
