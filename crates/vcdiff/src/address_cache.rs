//! The addresses that a window used last, so that they are written short (RFC 3284, section 5.3).
//!
//! An address counts in the source segment followed by the target window. It is written as itself (mode 0), as the
//! distance back from the place that is being made (1), forward from one of the four addresses used last (2 to 5), or
//! as the one byte that tells it among those used before with the same remainder (6 to 8).

use crate::varint;

const NEAR: usize = 4;
const SAME: usize = 3 * 256;

/// Both caches; new for every window.
#[derive(Debug)]
pub(crate) struct AddressCache {
    near: [u64; NEAR],
    next: usize,
    same: Box<[u64; SAME]>,
}

/// How an address is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) mode: u8,
    pub(crate) value: u64,
    /// Bytes in the addresses section.
    pub(crate) len: usize,
}

impl AddressCache {
    pub(crate) fn new() -> Self {
        Self { near: [0; NEAR], next: 0, same: Box::new([0; SAME]) }
    }

    /// Remembers an address that was used.
    pub(crate) fn used(&mut self, address: u64) {
        self.near[self.next] = address;
        self.next = (self.next + 1) % NEAR;
        self.same[(address % SAME as u64) as usize] = address;
    }

    /// Takes an address written in `mode` from the addresses section; `None` when it is not one.
    ///
    /// `here` is the address of the next byte that is made. What is returned may be at or after it: the caller checks.
    pub(crate) fn take(&mut self, mode: u8, here: u64, section: &mut &[u8]) -> Option<u64> {
        let mode = usize::from(mode);
        let address = match mode {
            0 => varint::take(section).ok()?,
            1 => here.checked_sub(varint::take(section).ok()?)?,
            2..=5 => self.near[mode - 2].checked_add(varint::take(section).ok()?)?,
            _ => {
                let (byte, rest) = section.split_first()?;
                *section = rest;
                *self.same.get((mode - 2 - NEAR) * 256 + usize::from(*byte))?
            }
        };
        self.used(address);
        Some(address)
    }

    /// The shortest way to write `address`, which is before `here`.
    pub(crate) fn shortest(&self, address: u64, here: u64) -> Written {
        let same = (address % SAME as u64) as usize;
        if self.same[same] == address {
            return Written { mode: (2 + NEAR + same / 256) as u8, value: (same % 256) as u64, len: 1 };
        }
        let mut best = Written { mode: 0, value: address, len: varint::len(address) };
        let mut offer = |mode: usize, value: u64| {
            let len = varint::len(value);
            if len < best.len {
                best = Written { mode: mode as u8, value, len };
            }
        };
        for (place, near) in self.near.iter().enumerate() {
            if let Some(value) = address.checked_sub(*near) {
                offer(2 + place, value);
            }
        }
        offer(1, here - address);
        best
    }

    /// Writes an address as [`AddressCache::shortest`] found it.
    pub(crate) fn put(&mut self, address: u64, written: Written, section: &mut Vec<u8>) {
        if usize::from(written.mode) >= 2 + NEAR {
            section.push(written.value as u8);
        } else {
            varint::put(section, written.value);
        }
        self.used(address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_there_and_back() {
        let addresses = [0, 5, 1_000_000, 1_000_001, 5, 2_999_999, 1_000_100, 40, 1_000_000, 768, 0, 3_000_000, 999];
        let here = 3_000_001;
        let (mut writer, mut section, mut modes) = (AddressCache::new(), Vec::new(), Vec::new());
        for address in addresses {
            let written = writer.shortest(address, here);
            let before = section.len();
            writer.put(address, written, &mut section);
            assert_eq!(section.len() - before, written.len);
            modes.push(written.mode);
        }
        let (mut reader, mut rest) = (AddressCache::new(), &section[..]);
        for (address, mode) in addresses.into_iter().zip(&modes) {
            assert_eq!(reader.take(*mode, here, &mut rest), Some(address));
        }
        assert!(rest.is_empty());
        assert!(modes.iter().any(|mode| *mode >= 6) && modes.iter().any(|mode| (2..6).contains(mode)));
        assert!(modes.contains(&0) && modes.contains(&1));
    }

    #[test]
    fn what_is_no_address() {
        let mut cache = AddressCache::new();
        assert_eq!(cache.take(1, 10, &mut &[11][..]), None, "before the beginning");
        assert_eq!(cache.take(0, 10, &mut &[0x80][..]), None, "cut off");
        assert_eq!(cache.take(6, 10, &mut &[][..]), None, "nothing");
        cache.used(u64::MAX);
        assert_eq!(cache.take(2, 10, &mut &[1][..]), None, "past 64 bits");
    }
}
