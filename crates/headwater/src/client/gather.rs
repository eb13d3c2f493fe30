//! A body that is gathered in memory, as it came or inflated, and never more of it than it may have.

use std::io::{self, ErrorKind, Write};

use flate2::write::MultiGzDecoder;

/// What there is of a body.
pub(super) enum Gathered {
    Plain(Bounded),
    /// It comes as gzip, perhaps in several members (RFC 1952, section 2.2).
    Gzip(Box<MultiGzDecoder<Bounded>>),
}

/// Bytes, and how many there may be.
pub(super) struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl Write for Bounded {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if piece.len() > self.limit - self.bytes.len() {
            return Err(ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Gathered {
    pub(super) fn new(limit: usize, gzip: bool) -> Self {
        let bounded = Bounded { bytes: Vec::new(), limit };
        match gzip {
            true => Self::Gzip(Box::new(MultiGzDecoder::new(bounded))),
            false => Self::Plain(bounded),
        }
    }

    /// Adds a piece.
    ///
    /// # Errors
    /// [`ErrorKind::FileTooLarge`] when that is too much; others when it is no gzip.
    pub(super) fn add(&mut self, piece: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(bounded) => bounded.write_all(piece),
            Self::Gzip(decoder) => decoder.write_all(piece),
        }
    }

    /// All of it.
    ///
    /// # Errors
    /// As [`Gathered::add`].
    pub(super) fn end(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain(bounded) => Ok(bounded.bytes),
            Self::Gzip(decoder) => Ok(decoder.finish()?.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn member(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn gathered(sent: &[u8], at_once: usize, limit: usize, gzip: bool) -> Result<Vec<u8>, ErrorKind> {
        let mut gathered = Gathered::new(limit, gzip);
        for piece in sent.chunks(at_once) {
            gathered.add(piece).map_err(|error| error.kind())?;
        }
        gathered.end().map_err(|error| error.kind())
    }

    #[test]
    fn it_is_what_was_sent_or_nothing() {
        let text: Vec<u8> = (0..10_000_u32).flat_map(|number| (number * 7).to_le_bytes()).collect();
        let (one, two) = text.split_at(11_111);
        let members = [member(one), member(two)].concat();
        for at_once in [1, 7, 1000, 1 << 20] {
            assert_eq!(gathered(&text, at_once, text.len(), false).unwrap(), text);
            assert_eq!(gathered(&members, at_once, text.len(), true).unwrap(), text);
            for gzip in [false, true] {
                let sent = if gzip { &members } else { &text };
                assert_eq!(gathered(sent, at_once, text.len() - 1, gzip), Err(ErrorKind::FileTooLarge));
            }
            for end in [0, 5, 1000, members.len() - 3] {
                let wrong = gathered(&members[..end], at_once, text.len(), true);
                assert!(wrong.is_err(), "{end} bytes of {} by {at_once}", members.len());
            }
            assert!(gathered(b"no gzip at all, as it seems", at_once, 1000, true).is_err());
        }
        let mut damaged = members;
        let place = damaged.len() - 6;
        damaged[place] ^= 1;
        assert!(gathered(&damaged, 1000, text.len(), true).is_err(), "its checksum is another");
    }
}
