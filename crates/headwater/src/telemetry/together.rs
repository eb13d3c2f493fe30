//! Lines of the access log, written together when there are many.
//!
//! A line for itself costs a system call, and with thousands of requests a second the threads that answer them wait for one another to
//! write. The first line after a quiet moment is written at once; those that follow within [`PAUSE`] are written together at its end. Every
//! other event is written at once, with all lines before it, so that the order is that in which things happened. A process that is killed
//! takes the lines of the last [`PAUSE`] with it.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

/// How long a line may wait for others.
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes that are written without waiting any longer, by who brings the last of them: so that no more are waiting than can be written.
const ENOUGH: usize = 256 * 1024;

/// Where the lines go.
#[derive(Debug)]
pub(super) struct Together<W>(Arc<Shared<W>>);

#[derive(Debug)]
struct Shared<W> {
    lines: Mutex<Lines>,
    waiting: Condvar,
    /// Always taken before `lines`, and held while they are written, so that they are written in the order in which they came.
    out: Mutex<Out<W>>,
}

#[derive(Debug, Default)]
struct Lines {
    waiting: Vec<u8>,
    written: Option<Instant>,
}

#[derive(Debug)]
struct Out<W> {
    out: W,
    /// What is being written; empty otherwise. Kept for its room.
    writing: Vec<u8>,
}

impl<W: Write + Send + 'static> Together<W> {
    /// Writes to `out`, with the help of a thread of its own that sleeps while there is nothing to do.
    pub(super) fn new(out: W) -> io::Result<Self> {
        let out = Mutex::new(Out { out, writing: Vec::new() });
        let shared = Arc::new(Shared { lines: Mutex::default(), waiting: Condvar::new(), out });
        let helper = Arc::clone(&shared);
        std::thread::Builder::new().name("access-log".into()).spawn(move || helper.write_late())?;
        Ok(Self(shared))
    }
}

impl<W: Write> Shared<W> {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_late(&self) {
        loop {
            let nothing = |lines: &mut Lines| lines.waiting.is_empty();
            let lines = self.waiting.wait_while(self.lines(), nothing).unwrap_or_else(PoisonError::into_inner);
            drop(lines);
            std::thread::sleep(PAUSE);
            // Nobody is left to be told that the log cannot be written.
            let _ = self.write();
        }
    }

    fn push(&self, line: &[u8], at_once: bool) -> io::Result<()> {
        let mut lines = self.lines();
        let first = lines.waiting.is_empty();
        lines.waiting.extend_from_slice(line);
        let rested = first && lines.written.is_none_or(|written| written.elapsed() > PAUSE);
        let enough = lines.waiting.len() >= ENOUGH;
        drop(lines);
        if at_once || rested || enough {
            return self.write();
        }
        if first {
            self.waiting.notify_one();
        }
        Ok(())
    }

    /// Writes what is waiting. Further lines can be brought meanwhile.
    fn write(&self) -> io::Result<()> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let Out { out, writing } = &mut *out;
        let mut lines = self.lines();
        std::mem::swap(&mut lines.waiting, writing);
        lines.written = Some(Instant::now());
        drop(lines);
        let outcome = out.write_all(writing).and_then(|()| out.flush());
        writing.clear();
        outcome
    }
}

/// Writes one event.
pub(super) struct Event<'a, W> {
    lines: &'a Shared<W>,
    at_once: bool,
}

impl<W: Write> Write for Event<'_, W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.push(line, self.at_once).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a, W: Write + 'a> MakeWriter<'a> for Together<W> {
    type Writer = Event<'a, W>;

    fn make_writer(&'a self) -> Self::Writer {
        Event { lines: &self.0, at_once: true }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Self::Writer {
        Event { lines: &self.0, at_once: event.target() != "access" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Sends on each piece that is written.
    struct Pieces(Sender<Vec<u8>>);

    impl Write for Pieces {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn together() -> (Together<Pieces>, Receiver<Vec<u8>>) {
        let (send, receive) = channel();
        (Together::new(Pieces(send)).unwrap(), receive)
    }

    #[test]
    fn the_first_line_is_written_at_once_and_the_next_ones_together_without_being_asked() {
        let (together, pieces) = together();
        together.0.push(b"a\n", false).unwrap();
        assert_eq!(pieces.try_recv().unwrap(), b"a\n");
        // However slow this test runs, a line is in one of the pieces, in order, and nothing is lost.
        for line in ["b\n", "c\n", "d\n"] {
            together.0.push(line.as_bytes(), false).unwrap();
        }
        let mut all = Vec::new();
        while all.len() < 6 {
            all.extend(pieces.recv_timeout(Duration::from_secs(10)).unwrap());
        }
        assert_eq!(all, b"b\nc\nd\n");
    }

    #[test]
    fn other_events_are_written_at_once_with_all_lines_before_them() {
        let (together, pieces) = together();
        together.0.push(b"a\n", false).unwrap();
        together.0.push(b"b\n", false).unwrap();
        together.0.push(b"an error\n", true).unwrap();
        let written: Vec<u8> = pieces.try_iter().flatten().collect();
        assert_eq!(written, b"a\nb\nan error\n");
    }
}
