//! Integers of RFC 3284, section 2: seven bits a byte, the highest first, the top bit set on all but the last.

/// The most bytes that 64 bits take.
pub(crate) const MAX: usize = 10;

/// Adds `value` to `out`.
pub(crate) fn put(out: &mut Vec<u8>, value: u64) {
    let mut bytes = [0u8; MAX];
    let mut start = MAX - 1;
    bytes[start] = (value & 0x7f) as u8;
    let mut rest = value >> 7;
    while rest > 0 {
        start -= 1;
        bytes[start] = 0x80 | (rest & 0x7f) as u8;
        rest >>= 7;
    }
    out.extend_from_slice(&bytes[start..]);
}

/// How many bytes [`put`] writes.
pub(crate) fn len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Why there is no integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    /// The bytes end before it does.
    Short,
    /// It does not fit into 64 bits.
    Large,
}

/// Takes one integer from bytes that `next` gives.
pub(crate) fn take_from<E: From<Bad>>(mut next: impl FnMut() -> Result<u8, E>) -> Result<u64, E> {
    let mut value = 0u64;
    for _ in 0..MAX {
        let byte = next()?;
        if value >> 57 != 0 {
            return Err(Bad::Large.into());
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Bad::Large.into())
}

/// Takes one integer from the front of `bytes`.
pub(crate) fn take(bytes: &mut &[u8]) -> Result<u64, Bad> {
    take_from(|| {
        let (first, rest) = bytes.split_first().ok_or(Bad::Short)?;
        *bytes = rest;
        Ok(*first)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        let mut out = Vec::new();
        put(&mut out, 123_456_789);
        assert_eq!(out, [0xba, 0xef, 0x9a, 0x15]);
        assert_eq!(take(&mut &out[..]), Ok(123_456_789));
    }

    #[test]
    fn every_length_there_and_back() {
        for bits in 0..64 {
            for value in [1u64 << bits, (1u64 << bits) - 1, u64::MAX >> bits] {
                let mut out = Vec::new();
                put(&mut out, value);
                assert_eq!(out.len(), len(value), "{value}");
                let mut rest = &out[..];
                assert_eq!(take(&mut rest), Ok(value));
                assert!(rest.is_empty());
            }
        }
    }

    #[test]
    fn what_is_no_integer() {
        assert_eq!(take(&mut &[0x80, 0x80][..]), Err(Bad::Short));
        assert_eq!(take(&mut &[0xff; 10][..]), Err(Bad::Large));
        assert_eq!(take(&mut &[0x80; 20][..]), Err(Bad::Large));
    }
}
