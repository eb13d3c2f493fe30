//! The body of an answer: bytes that are there, a file, several parts one after another, or a list that is made while it is sent.
//!
//! Each kind gives one piece at a time, when the connection has room for it, so that no answer is ever held in memory as a
//! whole that could be large. This file knows nothing of headers.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Frame, SizeHint};

use super::coming_body::ComingBody;
use super::direct::Direct;
use super::file_body::FileBody;
use super::read_body::ReadBody;

/// A list that is made while it is sent.
pub type Pieces = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// What is sent after the headers.
pub struct Body(Kind);

enum Kind {
    Parts(VecDeque<Part>),
    Stream(Pieces),
}

/// A part of a body whose length is known.
#[derive(Debug)]
pub enum Part {
    /// Bytes that are there.
    Bytes(Bytes),
    /// A piece of a file.
    File(FileBody),
    /// A piece of a file that is on its way.
    Coming(ComingBody),
    /// What a reader gives.
    Read(ReadBody),
    /// So many bytes that are told of and not sent.
    Unread(u64),
}

impl Part {
    /// Bytes that are still to come.
    pub fn remaining(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(file) => file.remaining(),
            Self::Coming(coming) => coming.remaining(),
            Self::Read(read) => read.remaining(),
            Self::Unread(length) => *length,
        }
    }
}

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Self(Kind::Parts(VecDeque::new()))
    }

    /// Bytes that are there.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self::parts([Part::Bytes(bytes.into())])
    }

    /// These parts, one after another.
    pub fn parts(parts: impl IntoIterator<Item = Part>) -> Self {
        Self(Kind::Parts(parts.into_iter().filter(|part| part.remaining() > 0).collect()))
    }

    /// A list of unknown length. An error in it breaks the connection off, so that the client does not take what it got for the whole.
    pub fn stream(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self(Kind::Stream(Box::pin(pieces)))
    }

    /// The bytes, if all of them are in memory.
    ///
    /// # Errors
    /// The body as it is, if not.
    pub fn into_bytes(self) -> Result<Bytes, Self> {
        match self.0 {
            Kind::Parts(parts) if parts.is_empty() => Ok(Bytes::new()),
            Kind::Parts(parts) => match &parts.as_slices() {
                ([Part::Bytes(bytes)], []) => Ok(bytes.clone()),
                _ => Err(Self(Kind::Parts(parts))),
            },
            Kind::Stream(pieces) => Err(Self(Kind::Stream(pieces))),
        }
    }

    /// The pieces of a list of unknown length.
    ///
    /// # Errors
    /// The body as it is, if it is none.
    pub fn into_stream(self) -> Result<Pieces, Self> {
        match self.0 {
            Kind::Stream(pieces) => Ok(pieces),
            parts @ Kind::Parts(_) => Err(Self(parts)),
        }
    }

    /// Has the connection itself send what comes from files, as far as it can.
    pub fn send_directly(&mut self, direct: &Direct) {
        if let Kind::Parts(parts) = &mut self.0 {
            for part in parts {
                match part {
                    Part::File(file) => file.send_directly(direct),
                    Part::Coming(coming) => coming.send_directly(direct),
                    Part::Bytes(_) | Part::Read(_) | Part::Unread(_) => {}
                }
            }
        }
    }

    /// Its length in bytes, when that is known.
    pub fn length(&self) -> Option<u64> {
        match &self.0 {
            Kind::Parts(parts) => Some(parts.iter().map(Part::remaining).sum()),
            Kind::Stream(_) => None,
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let parts = match &mut self.0 {
            Kind::Stream(pieces) => {
                return pieces.as_mut().poll_next(context).map(|piece| piece.map(|bytes| bytes.map(Frame::data)));
            }
            Kind::Parts(parts) => parts,
        };
        loop {
            match parts.front_mut() {
                None => return Poll::Ready(None),
                Some(part) => {
                    let piece = match part {
                        Part::Bytes(bytes) => Some(Ok(std::mem::take(bytes))),
                        Part::File(file) => ready!(file.poll_piece(context)),
                        Part::Coming(coming) => ready!(coming.poll_piece(context)),
                        Part::Read(read) => ready!(read.poll_piece(context)),
                        Part::Unread(_) => Some(Err(io::Error::other("bytes were asked for that are only told of"))),
                    };
                    if piece.is_none() || part.remaining() == 0 {
                        parts.pop_front();
                    }
                    if let Some(piece) = piece {
                        return Poll::Ready(Some(piece.map(Frame::data)));
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Kind::Parts(parts) if parts.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        self.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({:?} bytes)", self.length())
    }
}
