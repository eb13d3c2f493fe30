//! Both documents of one revision, put together from fragments when they are read.
//!
//! Compressed, a document is an opening (all that comes before the second product, or the second part of the keys), pieces that are
//! kept, and an end. Plain, it is the same, decompressed. Nothing of it is in memory as a whole, unless it is small.

use std::io::{self, Read};
use std::sync::{Arc, OnceLock};

use bytes::{Buf, Bytes};
use flate2::read::GzEncoder;
use flate2::{Compression, Crc};
use headwater_formats::simplestreams::render::{self, DOCUMENT_SEPARATOR, DOCUMENT_TAIL, FilesAt, INDEX_TAIL};
use sha2::{Digest, Sha256};

use super::chunk::{Chunk, Keys};
use super::gzip::{self, Packer, Unpacker};
use super::spool::{Hash, Spool};
use crate::catalog::Revision;

/// A document of at most this many bytes is kept whole, once somebody has asked for it.
pub const SMALL: u64 = 256 * 1024;
/// How hard gzip tries for a document that is one caller's, for an hour: a third of the time for a tenth more bytes.
const PERSONAL: Compression = Compression::new(3);

/// Which document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `index.json`
    Index,
    /// `images.json`
    Products,
}

/// How it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// As it is.
    Plain,
    /// As gzip.
    Gzip,
}

/// A document around what is kept of it.
#[derive(Debug)]
struct Frame {
    /// What comes before the first product or key, as text.
    head: Bytes,
    /// What comes before the second product or part of keys, as a piece.
    opening: Bytes,
    /// What comes after the last, as text and as a piece.
    tail: (Bytes, Bytes),
    /// The checksum of the whole text.
    sum: Crc,
    /// Bytes of the whole text, and of all its pieces.
    plain: u64,
    gzip: u64,
    /// Over all of the text, by its parts.
    digest: Hash,
}

/// Both documents of one revision.
#[derive(Debug)]
pub struct Snapshot {
    revision: Revision,
    pub(super) chunks: Vec<Arc<Chunk>>,
    products: Arc<Frame>,
    index: OnceLock<Arc<Frame>>,
    names: u64,
    whole: [OnceLock<Bytes>; 4],
}

impl Snapshot {
    pub(super) fn new(revision: Revision, chunks: Vec<Arc<Chunk>>) -> io::Result<Self> {
        let head = render::document_head(revision.changed_at);
        let mut packer = Packer::new();
        let mut opening = head.clone();
        let first = chunks.first().and_then(|chunk| chunk.fragments.first());
        if let Some(first) = first {
            opening.extend_from_slice(without_separator(&first.text(&mut Unpacker::new())?));
        }
        let mut sum = gzip::sum(&opening);
        let opening = packer.piece(&opening)?;
        let tail = packer.piece(DOCUMENT_TAIL)?;
        let mut digest = Sha256::new();
        digest.update(&head);
        let (mut texts, mut pieces, mut names) = (0, 0, 0);
        for (place, chunk) in chunks.iter().enumerate() {
            digest.update(chunk.digest);
            texts += chunk.plain;
            pieces += chunk.gzip;
            names += chunk.names;
            match place {
                0 => sum.combine(&gzip::joined(chunk.fragments.iter().skip(1).map(|fragment| &fragment.sum))),
                _ => sum.combine(&chunk.sum),
            }
        }
        sum.update(DOCUMENT_TAIL);
        if let Some(first) = first {
            texts -= DOCUMENT_SEPARATOR.len() as u64;
            pieces -= first.gzip;
        }
        let products = Frame {
            plain: (head.len() + DOCUMENT_TAIL.len()) as u64 + texts,
            gzip: (opening.len() + tail.len()) as u64 + pieces,
            sum,
            head: head.into(),
            opening: opening.into(),
            tail: (Bytes::from_static(DOCUMENT_TAIL), tail.into()),
            digest: digest.finalize().into(),
        };
        let products = Arc::new(products);
        Ok(Self { revision, products, chunks, index: OnceLock::new(), names, whole: Default::default() })
    }

    /// Whether all that it shows lies in that spool.
    pub(super) fn is_within(&self, spool: &Arc<Spool>) -> bool {
        self.chunks.iter().all(|chunk| chunk.is_within(spool))
    }

    /// The same, byte for byte, lying in that spool.
    pub(super) fn moved(&self, spool: &Arc<Spool>) -> io::Result<Self> {
        let moved = |chunk: &Arc<Chunk>| match chunk.is_within(spool) {
            true => Ok(Arc::clone(chunk)),
            false => chunk.moved(spool).map(Arc::new),
        };
        Ok(Self {
            revision: self.revision,
            chunks: self.chunks.iter().map(moved).collect::<io::Result<_>>()?,
            products: self.products.clone(),
            index: self.index.clone(),
            names: self.names,
            whole: self.whole.clone(),
        })
    }

    /// The revision of the catalog that they show.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// How many products they list.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.fragments.len()).sum()
    }

    /// Whether they list none.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Bytes of memory that they take, with what is kept whole of them, about.
    pub(super) fn memory(&self) -> u64 {
        let small = |plain: u64, gzip: u64| if plain <= SMALL { plain + gzip } else { 0 };
        let chunks: u64 = self.chunks.iter().map(|chunk| chunk.memory + 2048).sum();
        // The keys are shorter than the products.
        chunks + 2 * small(self.products.plain, self.products.gzip) + 4096
    }

    /// Bytes of disk that they take, about.
    pub(super) fn disk(&self) -> u64 {
        self.products.gzip
    }

    /// The bytes of a document. Work for a blocking thread.
    ///
    /// # Errors
    /// When what is kept cannot be read.
    pub fn length(&self, kind: Kind, form: Form) -> io::Result<u64> {
        let frame = self.frame(kind)?;
        Ok(match form {
            Form::Plain => frame.plain,
            Form::Gzip => gzip::HEADER.len() as u64 + frame.gzip + gzip::END,
        })
    }

    /// What tells one state of a document from any other, for strong entity tags: another one for each form. It depends on what the document says alone.
    ///
    /// # Errors
    /// As [`Snapshot::length`].
    pub fn digest(&self, kind: Kind, form: Form) -> io::Result<[u8; 32]> {
        self.told_apart(kind, form, "")
    }

    /// The same for [`Snapshot::placed`].
    ///
    /// # Errors
    /// As [`Snapshot::length`].
    pub fn placed_digest(&self, files: &FilesAt, form: Form) -> io::Result<[u8; 32]> {
        self.told_apart(Kind::Products, form, files.as_str())
    }

    fn told_apart(&self, kind: Kind, form: Form, files: &str) -> io::Result<[u8; 32]> {
        let what = format!("{kind:?} {form:?} {files}\n");
        Ok(Sha256::new().chain_update(what).chain_update(self.frame(kind)?.digest).finalize().into())
    }

    /// Reads a document from its beginning to its end, in a blocking thread. It stays what it is, whatever comes after it.
    ///
    /// # Errors
    /// As [`Snapshot::length`].
    pub fn reader(self: &Arc<Self>, kind: Kind, form: Form) -> io::Result<Reader> {
        self.between(kind, form, b"", b"").map(|(reader, _)| reader)
    }

    /// [`Snapshot::reader`] with other text before and after the document's, and the bytes of all together. Compressed, all of it is one text.
    ///
    /// # Errors
    /// As [`Snapshot::length`].
    pub fn between(self: &Arc<Self>, kind: Kind, form: Form, before: &[u8], after: &[u8]) -> io::Result<(Reader, u64)> {
        let (before, after) = match form {
            Form::Plain => (before.to_vec(), after.to_vec()),
            Form::Gzip => {
                let mut packer = Packer::new();
                let sums = [&gzip::sum(before), &self.frame(kind)?.sum, &gzip::sum(after)];
                let end = gzip::end(&gzip::joined(sums));
                ([&gzip::HEADER[..], &packer.piece(before)?].concat(), [packer.piece(after)?, end].concat())
            }
        };
        let frame = self.frame(kind)?;
        let own = if form == Form::Gzip { frame.gzip } else { frame.plain };
        let length = own + (before.len() + after.len()) as u64;
        let reader = Reader::new(Arc::clone(self), kind, form, FilesAt::IMAGES);
        Ok((Reader { now: Now::Bytes(before.into()), after: after.into(), ..reader }, length))
    }

    /// Reads the text of the products with the files in another place.
    pub fn placed(self: &Arc<Self>, files: &FilesAt) -> Reader {
        Reader::new(Arc::clone(self), Kind::Products, Form::Plain, files.clone())
    }

    /// The bytes of [`Snapshot::placed`].
    pub fn placed_length(&self, files: &FilesAt) -> u64 {
        let place = |files: &FilesAt| files.as_str().len() as u64;
        self.products.plain - self.names * place(&FilesAt::IMAGES) + self.names * place(files)
    }

    /// [`Snapshot::placed`], compressed as it is read.
    pub fn placed_gzip(self: &Arc<Self>, files: &FilesAt) -> impl Read + Send + use<> {
        GzEncoder::new(self.placed(files), PERSONAL)
    }

    /// A document as a whole, if it is there already.
    pub fn whole(&self, kind: Kind, form: Form) -> Option<Bytes> {
        self.whole[place(kind, form)].get().cloned()
    }

    /// A document as a whole, if it is [`SMALL`]: the same bytes as [`Snapshot::reader`] gives. Kept from now on.
    ///
    /// # Errors
    /// As [`Snapshot::length`].
    pub fn make_whole(self: &Arc<Self>, kind: Kind, form: Form) -> io::Result<Option<Bytes>> {
        if self.frame(kind)?.plain > SMALL {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(self.length(kind, form)?).unwrap_or_default());
        self.reader(kind, form)?.read_to_end(&mut bytes)?;
        Ok(Some(self.whole[place(kind, form)].get_or_init(|| bytes.into()).clone()))
    }

    fn frame(&self, kind: Kind) -> io::Result<&Frame> {
        match (kind, self.index.get()) {
            (Kind::Products, _) => Ok(&self.products),
            (Kind::Index, Some(index)) => Ok(index),
            (Kind::Index, None) => {
                let made = self.index()?;
                Ok(self.index.get_or_init(|| Arc::new(made)))
            }
        }
    }

    fn index(&self) -> io::Result<Frame> {
        let mut packer = Packer::new();
        let updated = self.revision.changed_at;
        let Some(first) = self.chunks.first() else {
            let head = render::index([], updated);
            let opening = packer.piece(&head)?;
            return Ok(Frame {
                plain: head.len() as u64,
                gzip: opening.len() as u64,
                digest: Sha256::digest(&head).into(),
                sum: gzip::sum(&head),
                opening: opening.into(),
                head: head.into(),
                tail: (Bytes::new(), Bytes::new()),
            });
        };
        let head = render::index_head(updated);
        let mut opening = head.clone();
        opening.extend_from_slice(without_separator(&first.key_text()));
        let mut sum = gzip::sum(&opening);
        let opening = packer.piece(&opening)?;
        let tail = packer.piece(INDEX_TAIL)?;
        let mut digest = Sha256::new();
        digest.update(&head);
        let mut plain = (head.len() + INDEX_TAIL.len() - DOCUMENT_SEPARATOR.len()) as u64;
        let mut pieces = (opening.len() + tail.len()) as u64;
        for (place, chunk) in self.chunks.iter().enumerate() {
            let keys: &Keys = chunk.keys(&mut packer)?;
            digest.update(keys.digest);
            plain += keys.plain;
            if place > 0 {
                pieces += keys.gzip.len() as u64;
                sum.combine(&keys.sum);
            }
        }
        sum.update(INDEX_TAIL);
        Ok(Frame {
            head: head.into(),
            opening: opening.into(),
            tail: (Bytes::from_static(INDEX_TAIL), tail.into()),
            plain,
            gzip: pieces,
            sum,
            digest: digest.finalize().into(),
        })
    }
}

fn place(kind: Kind, form: Form) -> usize {
    match (kind, form) {
        (Kind::Index, Form::Plain) => 0,
        (Kind::Index, Form::Gzip) => 1,
        (Kind::Products, Form::Plain) => 2,
        (Kind::Products, Form::Gzip) => 3,
    }
}

fn without_separator(text: &[u8]) -> &[u8] {
    text.strip_prefix(DOCUMENT_SEPARATOR).unwrap_or(text)
}

/// A document that is being read. Reading blocks on the disk, and takes no lock.
pub struct Reader {
    snapshot: Arc<Snapshot>,
    kind: Kind,
    form: Form,
    files: FilesAt,
    unpacker: Unpacker,
    /// What comes after the document.
    after: Bytes,
    next: Next,
    now: Now,
}

/// What comes after what is being read.
#[derive(Debug, Clone, Copy)]
enum Next {
    Head,
    /// This chunk, and this fragment in it.
    Part(usize, usize),
    After,
    End,
}

/// What is being read.
enum Now {
    Bytes(Bytes),
    /// Bytes of a spool.
    Stored {
        spool: Arc<Spool>,
        at: u64,
        length: u64,
    },
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("kind", &self.kind).field("form", &self.form).finish_non_exhaustive()
    }
}

impl Reader {
    fn new(snapshot: Arc<Snapshot>, kind: Kind, form: Form, files: FilesAt) -> Self {
        let now = Now::Bytes(Bytes::new());
        Self { snapshot, kind, form, files, unpacker: Unpacker::new(), after: Bytes::new(), next: Next::Head, now }
    }

    /// Goes on to the next part; `false` at the end.
    fn advance(&mut self) -> io::Result<bool> {
        let snapshot = Arc::clone(&self.snapshot);
        let frame = snapshot.frame(self.kind)?;
        self.now = Now::Bytes(match (self.next, self.form) {
            (Next::End, _) => return Ok(false),
            (Next::After, _) => {
                self.next = Next::End;
                self.after.clone()
            }
            (Next::Head, Form::Plain) => {
                self.next = Next::Part(0, 0);
                frame.head.clone()
            }
            (Next::Head, Form::Gzip) => {
                // The opening holds the first product, or the first part of the keys.
                self.next = match self.kind {
                    Kind::Products => Next::Part(0, 1),
                    Kind::Index => Next::Part(1, 0),
                };
                frame.opening.clone()
            }
            (Next::Part(chunk, fragment), form) => match snapshot.chunks.get(chunk) {
                None => {
                    self.next = Next::After;
                    let (text, piece) = &frame.tail;
                    if form == Form::Plain { text.clone() } else { piece.clone() }
                }
                Some(part) if self.kind == Kind::Index => {
                    self.next = Next::Part(chunk + 1, 0);
                    match form {
                        Form::Plain => trimmed(part.key_text().into(), chunk == 0),
                        Form::Gzip => part.keys(&mut Packer::new())?.gzip.clone(),
                    }
                }
                Some(part) => match part.fragments.get(fragment) {
                    None => {
                        self.next = Next::Part(chunk + 1, 0);
                        Bytes::new()
                    }
                    Some(one) if form == Form::Plain => {
                        self.next = Next::Part(chunk, fragment + 1);
                        let text = if self.files == FilesAt::IMAGES {
                            one.text(&mut self.unpacker)?
                        } else {
                            one.placed(&mut self.unpacker, &self.files)?
                        };
                        trimmed(text.into(), (chunk, fragment) == (0, 0))
                    }
                    Some(one) => {
                        // As many as lie one after another.
                        let mut end = one.at;
                        let rest = part.fragments[fragment..].iter();
                        let together = rest
                            .take_while(|next| {
                                let follows = next.at == end && Arc::ptr_eq(&next.spool, &one.spool);
                                end += if follows { next.gzip } else { 0 };
                                follows
                            })
                            .count();
                        self.next = Next::Part(chunk, fragment + together);
                        self.now = Now::Stored { spool: Arc::clone(&one.spool), at: one.at, length: end - one.at };
                        return Ok(true);
                    }
                },
            },
        });
        Ok(true)
    }
}

fn trimmed(text: Bytes, first: bool) -> Bytes {
    let cut = text.len() - if first { without_separator(&text).len() } else { text.len() };
    text.slice(cut..)
}

impl Read for Reader {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        use std::os::unix::fs::FileExt;
        if room.is_empty() {
            return Ok(0);
        }
        loop {
            match &mut self.now {
                Now::Bytes(bytes) if bytes.has_remaining() => {
                    let length = bytes.len().min(room.len());
                    bytes.copy_to_slice(&mut room[..length]);
                    return Ok(length);
                }
                Now::Stored { spool, at, length } if *length > 0 => {
                    let wanted = usize::try_from(*length).unwrap_or(usize::MAX).min(room.len());
                    spool.pieces.read_exact_at(&mut room[..wanted], *at)?;
                    *at += wanted as u64;
                    *length -= wanted as u64;
                    return Ok(wanted);
                }
                _ => {
                    if !self.advance()? {
                        return Ok(0);
                    }
                }
            }
        }
    }
}
