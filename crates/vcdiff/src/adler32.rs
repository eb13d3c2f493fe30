//! The checksum that `xdelta3` puts on every window (RFC 1950, section 8.2).

const BASE: u32 = 65_521;
/// The most bytes whose sums fit into 32 bits before the remainder is taken.
const RUN: usize = 5552;

/// Adler-32 of `bytes`.
pub(crate) fn adler32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1u32, 0u32);
    for run in bytes.chunks(RUN) {
        let lanes = run.chunks_exact(16);
        let rest = lanes.remainder();
        for lane in lanes {
            // The sums over 16 bytes have no order between them, so that the compiler can take them side by side.
            let (mut sum, mut weighted) = (0u32, 0u32);
            for (byte, weight) in lane.iter().zip((1..=16u32).rev()) {
                sum += u32::from(*byte);
                weighted += u32::from(*byte) * weight;
            }
            b += 16 * a + weighted;
            a += sum;
        }
        for byte in rest {
            a += u32::from(*byte);
            b += a;
        }
        a %= BASE;
        b %= BASE;
    }
    b << 16 | a
}

#[cfg(test)]
mod tests {
    use super::adler32;

    #[test]
    fn known_sums() {
        assert_eq!(adler32(b""), 1);
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
    }

    #[test]
    fn the_largest_bytes_do_not_overflow() {
        let bytes = vec![0xff; 100_003];
        let (mut a, mut b) = (1u64, 0u64);
        for byte in &bytes {
            a = (a + u64::from(*byte)) % 65_521;
            b = (b + a) % 65_521;
        }
        assert_eq!(u64::from(adler32(&bytes)), b << 16 | a);
    }
}
