//! From the network to readers: files that arrive one after the other, while somebody reads them on another thread.
//!
//! A file that did not end as it should never looks as if it had: its reader fails, whatever the reason, until the sender
//! has said that the file is complete.

use std::future::Future;
use std::io::{self, Read};
use std::pin::Pin;

use bytes::{Buf, Bytes};
use data_encoding::HEXLOWER;
use headwater_formats::simplestreams::client::ListedFile;
use reqwest::{Method, Response, Url};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::ClientError;
use super::ask::Session;

/// Pieces that wait for their reader; a piece is what the network gave at a time.
const PIECES: usize = 8;

/// What moves the bytes. Its error says why they stopped; dropped, it breaks the download off.
pub type Pump = Pin<Box<dyn Future<Output = Result<(), ClientError>> + Send>>;

/// An image on its way. The readers give nothing unless the pump is driven at the same time; they block, and are for
/// threads that may. The first has to be read to its end before the root gives anything.
pub struct Delivery {
    /// The metadata file of a split image, or the only file of a unified one.
    pub first: Arriving,
    /// The root file.
    pub root: Option<Arriving>,
    /// What has to be driven.
    pub pump: Pump,
}

/// A file on its way.
pub struct Arriving {
    /// `metadata`, `rootfs`, or nothing for the only file: as daemons name it when they tell how far it is.
    pub label: &'static str,
    /// What it is called on the server.
    pub name: String,
    /// Its length, or that of the whole image when the server tells no other; `None` when it tells none.
    pub size: Option<u64>,
    /// Its bytes.
    pub reader: Reader,
}

/// Reads what a [`Sender`] sends.
pub struct Reader {
    pieces: mpsc::Receiver<Option<Bytes>>,
    current: Bytes,
    ended: bool,
}

/// The other end of a [`Reader`].
pub(super) struct Sender {
    pieces: mpsc::Sender<Option<Bytes>>,
}

pub(super) fn channel() -> (Sender, Reader) {
    let (sender, receiver) = mpsc::channel(PIECES);
    (Sender { pieces: sender }, Reader { pieces: receiver, current: Bytes::new(), ended: false })
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Some(piece)) => self.current = piece,
                Some(None) => self.ended = true,
                None => return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the download was broken off")),
            }
        }
        let length = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

impl Sender {
    /// Hands a piece over, waiting for room.
    pub(super) async fn piece(&mut self, piece: Bytes) -> Result<(), ClientError> {
        self.pieces.send(Some(piece)).await.map_err(|_| ClientError::GivenUp)
    }

    /// Says that the file is complete.
    pub(super) async fn finish(&mut self) -> Result<(), ClientError> {
        self.pieces.send(None).await.map_err(|_| ClientError::GivenUp)
    }

    /// A whole answer, which has to have that length and that hash.
    pub(super) async fn body(
        &mut self,
        session: &Session,
        mut response: Response,
        announced: Option<u64>,
        expected: Option<headwater_formats::digest::Digest>,
    ) -> Result<(), ClientError> {
        let mut hasher = expected.is_some().then(Sha256::new);
        let mut had = 0;
        while let Some(piece) = session.piece(&mut response, had).await? {
            had += piece.len() as u64;
            not_over(session, announced, had)?;
            if let Some(hasher) = &mut hasher {
                hasher.update(&piece);
            }
            self.piece(piece).await?;
        }
        not_under(session, announced, had)?;
        if let (Some(expected), Some(hasher)) = (expected, hasher) {
            let found = HEXLOWER.encode(&hasher.finalize());
            if found != expected.to_string() {
                let what = format!("sends a file whose SHA-256 is {found}, where its list says {expected}");
                return Err(ClientError::nonsense(&session.name, what));
            }
        }
        self.finish().await
    }

    /// A file that a stream lists.
    pub(super) async fn file(
        &mut self,
        session: &Session,
        address: Url,
        listed: &ListedFile,
    ) -> Result<(), ClientError> {
        let response = session.send(session.request(Method::GET, address)).await?;
        if response.status() != http::StatusCode::OK {
            return Err(session.refusal(response).await);
        }
        let announced = Some(listed.size).filter(|size| *size > 0);
        self.body(session, response, announced, listed.sha256).await
    }
}

/// More bytes than were announced are told as soon as they come.
pub(super) fn not_over(session: &Session, announced: Option<u64>, had: u64) -> Result<(), ClientError> {
    match announced {
        Some(announced) if had > announced => {
            let what = format!("sends more than the {announced} bytes that it announced");
            Err(ClientError::nonsense(&session.name, what))
        }
        _ => Ok(()),
    }
}

pub(super) fn not_under(session: &Session, announced: Option<u64>, had: u64) -> Result<(), ClientError> {
    match announced {
        Some(announced) if had < announced => {
            let what = format!("sends {had} bytes where it announced {announced}");
            Err(ClientError::nonsense(&session.name, what))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_complete_only_when_the_sender_says_so() {
        let (mut sender, mut reader) = channel();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(sender.piece(Bytes::from_static(b"abc"))).unwrap();
        runtime.block_on(sender.piece(Bytes::from_static(b"de"))).unwrap();
        runtime.block_on(sender.finish()).unwrap();
        drop(sender);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abcde");

        let (mut sender, mut reader) = channel();
        runtime.block_on(sender.piece(Bytes::from_static(b"abc"))).unwrap();
        drop(sender);
        let error = reader.read_to_string(&mut text).unwrap_err();
        assert_eq!(error.to_string(), "the download was broken off");
        drop(reader);

        let (mut sender, reader) = channel();
        drop(reader);
        let given_up = runtime.block_on(sender.piece(Bytes::new()));
        assert!(matches!(given_up, Err(ClientError::GivenUp)));
    }
}
