//! The two files of a split image out of one `multipart/form-data` body: first `metadata`, then `rootfs` or `rootfs.img`, and
//! nothing after it (LXD `lxd/images.go` `getImgPostInfo`).
//!
//! The files go one after the other through whoever reads them, and never lie in memory. So the second one is a source that
//! begins when the first was read: see [`Source::Later`]. The name of its part says nothing: daemons that push a virtual
//! machine call it `rootfs`, too; what it is, its bytes tell.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use multer::Multipart;
use tokio::runtime::Handle;
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::http::incoming::Incoming;
use crate::publish::{Opened, Source};

/// Most bytes between the files, before and after them: heads of parts, and what some programs write around.
const MOST_BETWEEN: usize = 64 * 1024;

/// The body is no such pair of files. The words are those of the daemons.
#[derive(Debug, thiserror::Error)]
#[error("Invalid multipart image")]
pub(super) struct Invalid;

/// The metadata file and the root file of a body, to be read in this order, where blocking is allowed.
pub(super) fn sources(body: Incoming, boundary: String, runtime: Handle) -> (Source, Source) {
    let wire = Wire(Arc::new(Mutex::new(Body { body, breath: false, between: Some(0) })));
    let form = Arc::new(Mutex::new(Form { parts: Multipart::new(wire.clone(), boundary), wire, runtime }));
    let second = Arc::clone(&form);
    let metadata = Source::Later(Box::new(move || {
        let (name, part) = lock(&form).next(&["metadata"])?;
        Ok(Opened { name, reader: Box::new(part) })
    }));
    let root = Source::Later(Box::new(move || {
        let (name, part) = lock(&second).next(&["rootfs", "rootfs.img"])?;
        Ok(Opened { name, reader: Box::new(LastPart { part: Some(part), form: second }) })
    }));
    (metadata, root)
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The body as a whole.
struct Form {
    parts: Multipart<'static>,
    wire: Wire,
    runtime: Handle,
}

impl Form {
    /// The next file, which has to have one of these names; and what the client calls it.
    fn next(&mut self, names: &[&str]) -> io::Result<(String, Part)> {
        self.wire.between();
        let field = self.runtime.block_on(self.parts.next_field()).map_err(broken)?.ok_or_else(invalid)?;
        self.wire.within();
        let known = field.name().filter(|name| names.contains(name)).ok_or_else(invalid)?;
        let name = field.file_name().filter(|name| !name.is_empty()).unwrap_or(known).to_owned();
        let bytes: Pieces = Box::pin(field.map_err(broken));
        Ok((name, SyncIoBridge::new_with_handle(StreamReader::new(bytes), self.runtime.clone())))
    }

    /// Reads on to the end of the body, which has to come now.
    fn end(&mut self) -> io::Result<()> {
        self.wire.between();
        if self.runtime.block_on(self.parts.next_field()).map_err(broken)?.is_some() {
            return Err(invalid());
        }
        // The client has to have ended its request, not only the form.
        let wire = &mut self.wire;
        self.runtime.block_on(async {
            while wire.try_next().await?.is_some() {}
            Ok(())
        })
    }
}

type Pieces = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;
type Part = SyncIoBridge<StreamReader<Pieces, Bytes>>;

/// The last file: at its end, so must the body be.
struct LastPart {
    part: Option<Part>,
    form: Arc<Mutex<Form>>,
}

impl Read for LastPart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(part) = &mut self.part else { return Ok(0) };
        let read = part.read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            // Before it is asked for another one: the parser gives out one at a time.
            self.part = None;
            lock(&self.form).end()?;
        }
        Ok(read)
    }
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Invalid)
}

/// What the parser says: the body's own error, or that it is no form of two files.
fn broken(error: multer::Error) -> io::Error {
    match error {
        multer::Error::StreamReadFailed(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        _ => invalid(),
    }
}

/// The body as the parser gets it: one piece at a time, because it takes as many as there are and keeps them; and only so
/// much between the files, because it looks for the end of a head without limit.
#[derive(Clone)]
struct Wire(Arc<Mutex<Body>>);

struct Body {
    body: Incoming,
    /// A piece was given, and whoever asks next is to come again.
    breath: bool,
    /// How much came since the last file ended; `None` within one.
    between: Option<usize>,
}

impl Wire {
    fn between(&self) {
        lock(&self.0).between = Some(0);
    }

    fn within(&self) {
        lock(&self.0).between = None;
    }
}

impl Stream for Wire {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let wire = &mut *lock(&self.0);
        if std::mem::take(&mut wire.breath) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if wire.between.is_some_and(|bytes| bytes > MOST_BETWEEN) {
            return Poll::Ready(Some(Err(invalid())));
        }
        let piece = ready!(Pin::new(&mut wire.body).poll_next(context));
        if let Some(Ok(bytes)) = &piece {
            wire.breath = true;
            wire.between = wire.between.map(|so_far| so_far.saturating_add(bytes.len()));
        }
        Poll::Ready(piece)
    }
}
