//! Files that go from the system's memory to a plain connection without passing through this program (`sendfile(2)`).
//!
//! The HTTP engine owns the connection and knows only bytes. So a part of a file is given to it as a piece of zeros that nobody ever
//! reads, of the right length: the engine counts them, queues them and hands them to the connection, which knows them by where they
//! are and sends the part of the file in their place. So framing, keep-alive, back-pressure and breaking off are the engine's, as for
//! any other answer. Parts are sent in the order in which they were promised; one that does not have the length of its zeros
//! breaks the connection off.
//!
//! While more of a file follows, the connection is corked (`TCP_CORK`): else each acknowledgement that comes while a part is being sent makes the system send
//! the packet that it is filling, and a gibibyte costs a tenth more.
//!
//! Only for connections that are neither TLS nor HTTP/2, where bytes are changed on the way. This file does not know which
//! files these are, nor whether the disk has to be waited for.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// Most bytes of one part: so many that what each part costs beside its sending does not count. A connection over a network takes less at a time.
pub const LARGEST: usize = 8 << 20;

/// What stands for parts of files. The system keeps no memory for zeros that are never read.
static STAND_IN: [u8; LARGEST] = [0; LARGEST];

fn is_stand_in(bytes: &[u8]) -> bool {
    STAND_IN.as_ptr_range().contains(&bytes.as_ptr())
}

/// The parts of files that were promised to one connection and are not sent yet.
#[derive(Debug, Clone, Default)]
pub struct Direct(Arc<Mutex<VecDeque<Part>>>);

#[derive(Debug)]
struct Part {
    file: Arc<File>,
    offset: u64,
    length: usize,
    /// Whether the file goes on after it.
    more: bool,
}

impl Direct {
    /// Promises up to `length` bytes of a file from `offset` on, and gives what stands for them. `more` says whether the file goes on after them.
    pub fn promise(&self, file: Arc<File>, offset: u64, length: u64, more: bool) -> Bytes {
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(LARGEST);
        let part = Part { file, offset, length, more };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(part);
        Bytes::from_static(&STAND_IN[..length])
    }

    /// Sends of the next part, of which `length` bytes are left, what the socket takes.
    fn send(&self, socket: &TcpStream, cork: &mut Cork, length: usize) -> io::Result<usize> {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let part = parts.front_mut().filter(|part| part.length == length);
        let part = part.ok_or_else(|| io::Error::other("what stands for a part of a file is not what was promised"))?;
        if part.more {
            cork.put_in(socket);
        }
        let sent = rustix::fs::sendfile(socket, &part.file, Some(&mut part.offset), length)?;
        if sent == 0 {
            return Err(super::file_body::ended_early());
        }
        part.length = part.length.saturating_sub(sent);
        if part.length == 0 {
            if !part.more {
                cork.take_out(socket);
            }
            parts.pop_front();
        }
        Ok(sent)
    }
}

/// Whether a connection keeps a packet that is not full. When the system does not take the word, nothing is lost but time.
#[derive(Debug, Default)]
struct Cork(bool);

impl Cork {
    fn put_in(&mut self, socket: &TcpStream) {
        if !self.0 {
            self.0 = sockopt::set_tcp_cork(socket, true).is_ok();
        }
    }

    /// Sends what was kept.
    fn take_out(&mut self, socket: &TcpStream) {
        if std::mem::take(&mut self.0) {
            let _ = sockopt::set_tcp_cork(socket, false);
        }
    }
}

/// A connection that sends parts of files in the place of what stands for them.
#[derive(Debug)]
pub struct Sender {
    stream: TcpStream,
    direct: Direct,
    cork: Cork,
}

impl Sender {
    /// Sends what is promised to `direct`.
    pub fn new(stream: TcpStream, direct: Direct) -> Self {
        Self { stream, direct, cork: Cork::default() }
    }

    /// After other bytes: the rest of a file may be among them.
    fn let_go(&mut self) {
        self.cork.take_out(&self.stream);
    }

    fn poll_send(&mut self, context: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            let Self { stream, direct, cork } = self;
            let mut sent = 0;
            let tried = stream.try_io(Interest::WRITABLE, || {
                sent = direct.send(stream, cork, length)?;
                // A full socket is not tried again before it is worth it. Said inside of the attempt, so that what happens meanwhile is not lost.
                if sent < length && !has_room(stream) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match tried {
                _ if sent > 0 => return Poll::Ready(Ok(sent)),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                outcome => return Poll::Ready(outcome.map(|()| sent)),
            }
        }
    }
}

/// Whether so much of a socket's buffer is free that it counts as writable. When not, the system is asked by this to tell when it is (`tcp_poll` in the
/// kernel's `net/ipv4/tcp.c`). Trying to send instead would cost more, and send little.
fn has_room(socket: &TcpStream) -> bool {
    let mut asked = [PollFd::new(socket, PollFlags::OUT)];
    // When it cannot be asked, trying tells.
    rustix::event::poll(&mut asked, Some(&Timespec::default())).map_or(true, |ready| ready > 0)
}

impl AsyncRead for Sender {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Sender {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if is_stand_in(bytes) {
            return self.poll_send(context, bytes.len());
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        self.let_go();
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match pieces.iter().position(|piece| is_stand_in(piece)) {
            Some(0) => self.poll_send(context, pieces[0].len()),
            before => {
                let before = before.unwrap_or(pieces.len());
                let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, &pieces[..before]));
                self.let_go();
                Poll::Ready(written)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{IoSlice, Write as _};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    fn file(bytes: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Arc::new(file)
    }

    async fn connected() -> (Sender, Direct, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let direct = Direct::default();
        (Sender::new(listener.accept().await.unwrap().0, direct.clone()), direct, client)
    }

    /// As the HTTP engine writes what it has queued.
    async fn write_all(sender: &mut Sender, mut queue: VecDeque<Bytes>) -> io::Result<()> {
        while !queue.is_empty() {
            let slices: Vec<IoSlice<'_>> = queue.iter().map(|bytes| IoSlice::new(bytes)).collect();
            let mut written = sender.write_vectored(&slices).await?;
            while let Some(first) = queue.front_mut() {
                let of_it = first.len().min(written);
                bytes::Buf::advance(first, of_it);
                written -= of_it;
                if !first.is_empty() {
                    break;
                }
                queue.pop_front();
            }
        }
        sender.shutdown().await
    }

    #[tokio::test]
    async fn parts_of_files_and_other_bytes_come_in_their_order() {
        let (mut sender, direct, mut client) = connected().await;
        let bytes: Vec<u8> = (0..10_000_000u32).map(|n| (n % 251) as u8).collect();
        let one = file(&bytes);
        let queue = VecDeque::from([
            Bytes::from_static(b"head"),
            direct.promise(Arc::clone(&one), 7, u64::MAX, true),
            direct.promise(Arc::clone(&one), 1_000_000, 100_000, true),
            Bytes::from_static(b"between"),
            Bytes::from_static(b"them"),
            direct.promise(file(b"another"), 1, 5, false),
        ]);
        // More than sockets hold: it is sent in several goes.
        let wanted =
            [b"head", &bytes[7..7 + LARGEST], &bytes[1_000_000..1_100_000], b"between", b"them", b"nothe"].concat();
        let sending = tokio::spawn(async move { write_all(&mut sender, queue).await });
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        sending.await.unwrap().unwrap();
        assert!(all == wanted);
        assert!(direct.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn nothing_is_kept_back_after_the_end_of_a_file() {
        let (mut sender, direct, mut client) = connected().await;
        let one = file(&[7; 300]);
        let corked = |sender: &Sender| sockopt::tcp_cork(&sender.stream).unwrap();
        let mut room = [0; 300];

        let all = [direct.promise(Arc::clone(&one), 0, 100, true), direct.promise(Arc::clone(&one), 100, 200, false)];
        sender.write_all(&all[0]).await.unwrap();
        assert!(corked(&sender), "there is more to come");
        sender.write_all(&all[1]).await.unwrap();
        assert!(!corked(&sender));
        client.read_exact(&mut room).await.unwrap();

        // The rest is so little that it is copied.
        let most = direct.promise(one, 0, 290, true);
        sender.write_all(&most).await.unwrap();
        sender.write_all(&[7; 10]).await.unwrap();
        assert!(!corked(&sender));
        client.read_exact(&mut room).await.unwrap();
    }

    #[tokio::test]
    async fn zeros_are_never_sent_in_the_place_of_a_file() {
        let (mut sender, direct, mut client) = connected().await;
        let short = direct.promise(file(b"short"), 0, 6, false);
        let error = write_all(&mut sender, VecDeque::from([short])).await.unwrap_err();
        assert_eq!(error.to_string(), "a stored file is shorter than the catalog says");
        drop(sender);

        let (mut sender, direct, mut other) = connected().await;
        let part = direct.promise(file(b"long enough"), 0, 11, false);
        for wrong in [part.slice(..4), part.slice(1..)] {
            let error = write_all(&mut sender, VecDeque::from([wrong])).await.unwrap_err();
            assert_eq!(error.to_string(), "what stands for a part of a file is not what was promised");
        }
        sender.write_all(&part).await.unwrap();
        let error = sender.write_all(&part).await.unwrap_err();
        assert_eq!(error.to_string(), "what stands for a part of a file is not what was promised");
        drop(sender);

        let (mut all, mut rest) = (Vec::new(), Vec::new());
        other.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"long enough");
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"short");
    }
}
