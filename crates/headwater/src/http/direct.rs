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
//! A long file goes through a pipe of its connection (`splice(2)`), because `sendfile` has one of 64 KiB, which it fills and empties for each of these: a larger one
//! saves a tenth of the time. Only a few connections at a time have one; without one, the file goes by `sendfile`.
//!
//! Only for connections that are neither TLS nor HTTP/2, where bytes are changed on the way. This file does not know which
//! files these are, nor whether the disk has to be waited for.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::sockopt;
use rustix::pipe::{PipeFlags, SpliceFlags, splice};
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

impl Part {
    /// Sends what the socket takes; 0 when the file ended.
    fn sendfile(&mut self, socket: &TcpStream) -> io::Result<usize> {
        let sent = rustix::fs::sendfile(socket, &self.file, Some(&mut self.offset), self.length)?;
        self.length = self.length.saturating_sub(sent);
        Ok(sent)
    }
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
    fn send(&self, socket: &TcpStream, way: &mut Option<Way>, length: usize) -> io::Result<usize> {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let part = parts.front_mut().filter(|part| part.length == length);
        let part = part.ok_or_else(|| io::Error::other("what stands for a part of a file is not what was promised"))?;
        if part.more && way.is_none() {
            *way = Some(Way::begin(socket));
        }
        let sent = match way.as_mut().and_then(|way| way.pipe.as_mut()) {
            Some(pipe) => pipe.send(socket, part)?,
            None => part.sendfile(socket)?,
        };
        if sent == 0 {
            return Err(super::file_body::ended_early());
        }
        if part.length == 0 {
            match way {
                Some(way) if part.more => way.go_on(),
                way => Way::end(way, socket),
            }
            parts.pop_front();
        }
        Ok(sent)
    }
}

/// Bytes that a pipe holds.
const PIPE: usize = 1 << 20;

/// Up to so many connections that are in the middle of a file have a pipe each. More of them leave each other so little time that pipes gain nothing. Each pipe takes two of
/// the files that a process may have open, and together they take a quarter at most of what the pipes of a user may hold who is not root
/// (`/proc/sys/fs/pipe-user-pages-soft`, 64 MiB).
const FEW: usize = 16;

/// How many connections are in the middle of a file.
static SENDING: AtomicUsize = AtomicUsize::new(0);

/// One of them.
#[derive(Debug)]
struct Sending;

impl Sending {
    fn begin() -> Self {
        SENDING.fetch_add(1, Ordering::Relaxed);
        Self
    }

    fn is_one_of_few(&self) -> bool {
        SENDING.load(Ordering::Relaxed) <= FEW
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        SENDING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How the parts of a file go that has more than one. The connection is corked meanwhile.
#[derive(Debug)]
struct Way {
    sending: Sending,
    /// By `sendfile` without one.
    pipe: Option<Pipe>,
}

impl Way {
    fn begin(socket: &TcpStream) -> Self {
        // When the system does not take the word, nothing is lost but time.
        let _ = sockopt::set_tcp_cork(socket, true);
        let mut way = Self { sending: Sending::begin(), pipe: None };
        way.go_on();
        way
    }

    /// For the next part: others may have come, or gone. Only one of a few gets a pipe, so that there are never more than [`FEW`].
    fn go_on(&mut self) {
        let pipe = self.pipe.take();
        self.pipe = if self.sending.is_one_of_few() { pipe.or_else(Pipe::new) } else { None };
    }

    /// Sends what the cork has kept.
    fn end(way: &mut Option<Self>, socket: &TcpStream) {
        if way.take().is_some() {
            let _ = sockopt::set_tcp_cork(socket, false);
        }
    }
}

/// What lies between a file and its connection: references to pages of the system's memory, no copies.
#[derive(Debug)]
struct Pipe {
    from: OwnedFd,
    to: OwnedFd,
    /// Bytes that are in it: of the part that is being sent, from its offset on.
    full: usize,
}

impl Pipe {
    /// `None` when the system gives none of that size.
    fn new() -> Option<Self> {
        let (from, to) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).ok()?;
        rustix::pipe::fcntl_setpipe_size(&to, PIPE).ok()?;
        Some(Self { from, to, full: 0 })
    }

    /// Sends of a part what the socket takes; 0 when the file ended.
    fn send(&mut self, socket: &TcpStream, part: &mut Part) -> io::Result<usize> {
        let mut sent = 0;
        while part.length > 0 {
            match self.send_some(socket, part) {
                Ok(0) => break,
                Ok(some) => {
                    part.offset += some as u64;
                    part.length -= some;
                    sent += some;
                    // The socket is full.
                    if self.full > 0 {
                        break;
                    }
                }
                // It comes again, if there is something to it.
                Err(_) if sent > 0 => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(sent)
    }

    fn send_some(&mut self, socket: &TcpStream, part: &Part) -> rustix::io::Result<usize> {
        if self.full == 0 {
            // The pipe is empty and as large as that: this waits for nobody.
            let (most, mut offset) = (part.length.min(PIPE), part.offset);
            self.full = splice(&part.file, Some(&mut offset), &self.to, None, most, SpliceFlags::empty())?;
            if self.full == 0 {
                return Ok(0);
            }
        }
        let sent = splice(&self.from, None, socket, None, self.full, SpliceFlags::NONBLOCK)?;
        self.full -= sent;
        Ok(sent)
    }
}

/// A connection that sends parts of files in the place of what stands for them.
#[derive(Debug)]
pub struct Sender {
    stream: TcpStream,
    direct: Direct,
    way: Option<Way>,
}

impl Sender {
    /// Sends what is promised to `direct`.
    pub fn new(stream: TcpStream, direct: Direct) -> Self {
        Self { stream, direct, way: None }
    }

    /// After other bytes: the rest of a file may be among them.
    fn let_go(&mut self) {
        Way::end(&mut self.way, &self.stream);
    }

    fn poll_send(&mut self, context: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            let Self { stream, direct, way } = self;
            let mut sent = 0;
            let tried = stream.try_io(Interest::WRITABLE, || {
                sent = direct.send(stream, way, length)?;
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
    use std::time::Duration;
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
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        sending.await.unwrap().unwrap();
        assert!(all == wanted);
        assert!(direct.0.lock().unwrap().is_empty());
    }

    /// Sends until the socket takes no more; what is left.
    async fn fill(sender: &mut Sender, mut rest: Bytes) -> Bytes {
        while let Ok(sent) = tokio::time::timeout(Duration::from_millis(200), sender.write(&rest)).await {
            bytes::Buf::advance(&mut rest, sent.unwrap());
            assert!(!rest.is_empty(), "sockets do not hold so much");
        }
        rest
    }

    #[tokio::test]
    async fn a_few_connections_have_pipes_of_which_nothing_is_lost() {
        let bytes: Vec<u8> = (0..24_000_000u32).map(|n| (n % 251) as u8).collect();
        let one = file(&bytes);
        let promised = |direct: &Direct| direct.promise(Arc::clone(&one), 5, u64::MAX, true);
        let wanted = &bytes[5..5 + LARGEST];

        let pipe = |sender: &Sender| sender.way.as_ref().and_then(|way| way.pipe.as_ref()).map(|pipe| pipe.full);
        for lost in [false, true] {
            let (mut sender, direct, client) = connected().await;
            let rest = fill(&mut sender, promised(&direct)).await;
            assert!(matches!(pipe(&sender), Some(1..)), "{sender:?}");
            if lost {
                sender.way = None;
            }
            assert!(receive(sender, rest, client).await == wanted);
        }

        let (mut sender, direct, client) = connected().await;
        let mut way = Way::begin(&sender.stream);
        assert!(way.pipe.is_some());
        let many: Vec<Sending> = (0..FEW).map(|_| Sending::begin()).collect();
        way.go_on();
        assert!(way.pipe.is_none(), "the others are too many");
        let rest = fill(&mut sender, promised(&direct)).await;
        assert!(sender.way.is_some());
        assert_eq!(pipe(&sender), None);
        drop(many);
        way.go_on();
        assert!(way.pipe.is_some(), "they have gone");
        assert!(receive(sender, rest, client).await == wanted);
    }

    async fn receive(mut sender: Sender, rest: Bytes, mut client: TcpStream) -> Vec<u8> {
        let sending = tokio::spawn(async move { write_all(&mut sender, VecDeque::from([rest])).await });
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        sending.await.unwrap().unwrap();
        all
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
