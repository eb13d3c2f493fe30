//! Where rendered products lie: a file without a name, to which fragments are added and which is read from any number of threads.
//!
//! A fragment is a product as a member of a document (`,"key":{…}`, files at `images/`), compressed as a piece of its own (`gzip.rs`). In memory
//! stays where it lies. Beside it, in a second file, lies where in it the places of its files stand. Two listings that show the same
//! of a product share its fragment. What no listing shows any more is garbage; the file only grows, and when more than half of it is
//! garbage, a new one takes its place. An old one is there until the last fragment in it is let go.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use flate2::Crc;
use headwater_formats::simplestreams::render::{DOCUMENT_SEPARATOR, Draft, FilesAt};
use sha2::{Digest, Sha256};

use super::gzip::{Packer, Unpacker, joined, sum};

/// Gives a file without a name.
pub type Scratch = Arc<dyn Fn() -> io::Result<File> + Send + Sync>;

/// A SHA-256.
pub(super) type Hash = [u8; 32];

/// One product in this many begins a chunk; a power of two.
const CHUNK: u8 = 128;
/// A spool that is smaller is not written anew, in bytes.
const WORTH_WRITING_ANEW: u64 = 1 << 20;

/// A product, rendered, not stored yet.
pub(super) struct Rendered {
    key: Box<str>,
    /// With the separator before it.
    text: Vec<u8>,
    /// Where in `text` the place of a file stands.
    places: Vec<u32>,
    digest: Hash,
}

impl Rendered {
    pub(super) fn new(key: String, draft: &Draft) -> io::Result<Self> {
        let place = FilesAt::IMAGES.as_str().len();
        let mut text = DOCUMENT_SEPARATOR.to_vec();
        text.extend(draft.placed(&FilesAt::IMAGES));
        let before = DOCUMENT_SEPARATOR.len();
        let places = draft.names().iter().enumerate().map(|(number, at)| u32::try_from(before + at + number * place));
        let places = places.collect::<Result<_, _>>().map_err(io::Error::other)?;
        Ok(Self { digest: Sha256::digest(&text).into(), key: key.into(), places, text })
    }
}

/// A product, rendered and stored.
#[derive(Debug)]
pub(super) struct Fragment {
    pub(super) key: Box<str>,
    /// Of its text.
    pub(super) digest: Hash,
    /// Bytes of its text, with the separator before it.
    pub(super) plain: u64,
    /// Its checksum.
    pub(super) sum: Crc,
    /// Bytes of its piece.
    pub(super) gzip: u64,
    /// How many files it names.
    pub(super) names: u64,
    /// Whether a chunk begins with it: the key alone decides, so that all servers make the same chunks.
    pub(super) begins_chunk: bool,
    /// Where its piece begins.
    pub(super) at: u64,
    places_at: u64,
    pub(super) spool: Arc<Spool>,
}

impl Fragment {
    /// Bytes of memory that it takes, about, with all that leads to it.
    pub(super) fn memory(&self) -> u64 {
        const ABOUT: usize = size_of::<Fragment>() + 128;
        (ABOUT + self.key.len()) as u64
    }

    /// The text, with the separator before it.
    pub(super) fn text(&self, unpacker: &mut Unpacker) -> io::Result<Vec<u8>> {
        let mut piece = vec![0; usize::try_from(self.gzip).map_err(io::Error::other)?];
        self.spool.pieces.read_exact_at(&mut piece, self.at)?;
        unpacker.text(&piece, usize::try_from(self.plain).map_err(io::Error::other)?, &self.sum)
    }

    /// The text with the files in that place.
    pub(super) fn placed(&self, unpacker: &mut Unpacker, files: &FilesAt) -> io::Result<Vec<u8>> {
        let text = self.text(unpacker)?;
        let (old, new) = (FilesAt::IMAGES.as_str().len(), files.as_str().as_bytes());
        let places = self.places()?;
        let mut out = Vec::with_capacity(text.len() + places.len() * new.len());
        let mut done = 0;
        for place in places {
            let kept = text.get(done..place).ok_or(io::ErrorKind::InvalidData)?;
            out.extend_from_slice(kept);
            out.extend_from_slice(new);
            done = place + old;
        }
        out.extend_from_slice(text.get(done..).ok_or(io::ErrorKind::InvalidData)?);
        Ok(out)
    }

    fn places(&self) -> io::Result<Vec<usize>> {
        let mut bytes = vec![0; usize::try_from(self.names * 4).map_err(io::Error::other)?];
        self.spool.places.read_exact_at(&mut bytes, self.places_at)?;
        let (numbers, _) = bytes.as_chunks::<4>();
        Ok(numbers.iter().map(|number| u32::from_le_bytes(*number) as usize).collect())
    }
}

impl Drop for Fragment {
    fn drop(&mut self) {
        let mut state = self.spool.state();
        state.live -= self.gzip;
        if state.known.get(&self.digest).is_some_and(|known| known.strong_count() == 0) {
            state.known.remove(&self.digest);
        }
    }
}

/// The file, and what of it is in use.
#[derive(Debug)]
pub(super) struct Spool {
    pub(super) pieces: File,
    places: File,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    end: u64,
    places_end: u64,
    live: u64,
    known: HashMap<Hash, Weak<Fragment>>,
}

/// A fragment that is about to be stored.
struct Packed {
    key: Box<str>,
    digest: Hash,
    plain: u64,
    sum: Crc,
    piece: Vec<u8>,
    places: Vec<u8>,
}

impl Spool {
    pub(super) fn new(scratch: &Scratch) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { pieces: scratch()?, places: scratch()?, state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether more than half of it is garbage.
    pub(super) fn is_worn(&self) -> bool {
        let state = self.state();
        state.end > WORTH_WRITING_ANEW && state.live < state.end / 2
    }

    fn known(&self, digest: &Hash) -> Option<Arc<Fragment>> {
        self.state().known.get(digest).and_then(Weak::upgrade)
    }

    /// Stores these, or finds them; in their order.
    pub(super) fn put(self: &Arc<Self>, rendered: Vec<Rendered>) -> io::Result<Vec<Arc<Fragment>>> {
        let mut packer = Packer::new();
        self.store(
            rendered,
            |one| one.digest,
            |one| {
                Ok(Packed {
                    key: one.key,
                    digest: one.digest,
                    plain: one.text.len() as u64,
                    sum: sum(&one.text),
                    piece: packer.piece(&one.text)?,
                    places: one.places.iter().flat_map(|place| place.to_le_bytes()).collect(),
                })
            },
        )
    }

    /// Stores fragments of another spool in this one.
    pub(super) fn adopt(self: &Arc<Self>, fragments: &[Arc<Fragment>]) -> io::Result<Vec<Arc<Fragment>>> {
        self.store(
            fragments.to_vec(),
            |one| one.digest,
            |one| {
                let mut piece = vec![0; usize::try_from(one.gzip).map_err(io::Error::other)?];
                one.spool.pieces.read_exact_at(&mut piece, one.at)?;
                let mut places = vec![0; usize::try_from(one.names * 4).map_err(io::Error::other)?];
                one.spool.places.read_exact_at(&mut places, one.places_at)?;
                Ok(Packed {
                    key: one.key.clone(),
                    digest: one.digest,
                    plain: one.plain,
                    sum: joined([&one.sum]),
                    piece,
                    places,
                })
            },
        )
    }

    fn store<T>(
        self: &Arc<Self>,
        all: Vec<T>,
        digest: impl Fn(&T) -> Hash,
        mut pack: impl FnMut(T) -> io::Result<Packed>,
    ) -> io::Result<Vec<Arc<Fragment>>> {
        // Packed without the lock: at worst, two listings store the same.
        let mut found = Vec::with_capacity(all.len());
        for one in all {
            found.push(match self.known(&digest(&one)) {
                Some(known) => Ok(known),
                None => Err(pack(one)?),
            });
        }
        // Fragments must not be dropped while the lock is held: they take it.
        let mut state = self.state();
        let (mut pieces, mut places) = (Vec::new(), Vec::new());
        let (end, places_end) = (state.end, state.places_end);
        let mut stored = Vec::with_capacity(found.len());
        for one in found {
            let packed = match one {
                Ok(known) => {
                    stored.push(known);
                    continue;
                }
                Err(packed) => packed,
            };
            stored.push(Arc::new(Fragment {
                digest: packed.digest,
                plain: packed.plain,
                sum: packed.sum,
                gzip: packed.piece.len() as u64,
                names: (packed.places.len() / 4) as u64,
                begins_chunk: Sha256::digest(packed.key.as_bytes())[0] % CHUNK == 0,
                at: end + pieces.len() as u64,
                places_at: places_end + places.len() as u64,
                key: packed.key,
                spool: Arc::clone(self),
            }));
            pieces.extend(packed.piece);
            places.extend(packed.places);
        }
        // Counted at once: should writing fail, they are taken off again when they are dropped, after the lock.
        state.live += pieces.len() as u64;
        state.end += pieces.len() as u64;
        state.places_end += places.len() as u64;
        let written =
            self.pieces.write_all_at(&pieces, end).and_then(|()| self.places.write_all_at(&places, places_end));
        if written.is_ok() {
            for fragment in &stored {
                state.known.insert(fragment.digest, Arc::downgrade(fragment));
            }
        }
        drop(state);
        written.map(|()| stored)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn spool() -> Arc<Spool> {
        let scratch: Scratch = Arc::new(tempfile::tempfile);
        Spool::new(&scratch).unwrap()
    }

    /// A product that says this, with a file in it.
    pub(crate) fn rendered(key: &str, says: &str) -> Rendered {
        let mut draft = Draft::plain(format!("{}:{{", serde_json::Value::from(key)).into_bytes());
        draft.push(format!("\"says\":\"{says}\"}}").as_bytes());
        Rendered::new(key.to_owned(), &draft).unwrap()
    }

    #[test]
    fn the_same_is_stored_once_and_goes_with_who_has_it() {
        let spool = spool();
        let state = || {
            let state = spool.state();
            (state.live, state.end, state.known.len())
        };
        let text = |fragment: &Fragment| String::from_utf8(fragment.text(&mut Unpacker::new()).unwrap()).unwrap();
        let first = spool.put(vec![rendered("a", "1"), rendered("b", "2")]).unwrap();
        let again = spool.put(vec![rendered("b", "2"), rendered("a", "3")]).unwrap();
        assert!(Arc::ptr_eq(&first[1], &again[0]));
        assert_eq!(text(&first[0]), ",\n\"a\":{\"says\":\"1\"}");
        assert_eq!(text(&again[1]), ",\n\"a\":{\"says\":\"3\"}");
        let size = |fragments: &[&Arc<Fragment>]| fragments.iter().map(|one| one.gzip).sum::<u64>();
        let three = size(&[&first[0], &first[1], &again[1]]);
        assert_eq!(state(), (three, three, 3));
        drop(first);
        assert_eq!(state(), (size(&[&again[0], &again[1]]), three, 2));
        drop(again);
        assert_eq!(state(), (0, three, 0));
    }

    #[test]
    fn a_worn_spool_is_told_and_what_lies_in_it_can_move() {
        let old = spool();
        // Random enough to stay large.
        let noise = |seed: u32| -> String {
            (0..40_000u32)
                .map(|n| char::from(b'a' + (n.wrapping_mul(seed).wrapping_mul(0x9e37_79b1) >> 27) as u8 % 26))
                .collect()
        };
        let kept = old.put(vec![rendered("kept", &noise(1))]).unwrap();
        let mut seed = 2;
        while !old.is_worn() {
            assert!(old.state().end < 4 << 20);
            drop(old.put(vec![rendered("gone", &noise(seed))]).unwrap());
            seed += 1;
        }
        let new = spool();
        let moved = new.adopt(&kept).unwrap();
        let mut unpacker = Unpacker::new();
        assert_eq!(moved[0].text(&mut unpacker).unwrap(), kept[0].text(&mut unpacker).unwrap());
        assert_eq!((moved[0].digest, moved[0].begins_chunk), (kept[0].digest, kept[0].begins_chunk));
        assert!(Arc::ptr_eq(&new.adopt(&kept).unwrap()[0], &moved[0]));
    }

    #[test]
    fn files_are_put_at_another_place() {
        use headwater_formats::arch::Architecture;
        use headwater_formats::digest::{Digest, Fingerprint};
        use headwater_formats::image::{Compression, FileFormat, Image, ImageFile, ImageFiles, ImageType};
        use headwater_formats::product::{Line, Product, Version, version_name};
        use headwater_formats::simplestreams::{Family, render};
        use headwater_formats::timestamp::Timestamp;

        let file = |byte, format| ImageFile { digest: Digest::from_bytes([byte; 32]), size: 1, format };
        let properties = [("os", "Debian"), ("release", "12")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let image = Image {
            fingerprint: Fingerprint::from_bytes([9; 32]),
            image_type: ImageType::Container,
            architecture: Architecture::X86_64,
            files: ImageFiles::Split {
                metadata: file(1, FileFormat::Tar(Compression::Xz)),
                root: file(2, FileFormat::Squashfs),
            },
            filename: String::new(),
            created_at: Timestamp::EPOCH,
            uploaded_at: Timestamp::EPOCH,
            public: true,
            expires_at: None,
            last_used_at: None,
            auto_update: false,
            properties: properties.into(),
            profiles: Vec::new(),
            update_source: None,
        };
        let line = Line::of_image(&image).unwrap();
        // What upstream said looks like a file, and is none.
        let trap = serde_json::json!({"path": "images/trap"});
        let product = Product {
            key: line.key(),
            line,
            release_title: None,
            release_codename: None,
            version: None,
            aliases: vec!["images/".into()],
            extra: [("more".to_owned(), trap)].into(),
            versions: vec![Version {
                name: version_name(&image),
                extra: Default::default(),
                images: vec![image],
                deltas: Vec::new(),
            }],
        };
        let draft = render::product_fragment(&product, Family::Any, &mut Default::default()).unwrap();
        let stored = spool().put(vec![Rendered::new(product.key, &draft).unwrap()]).unwrap();
        assert!(stored[0].names >= 2);
        for files in [FilesAt::IMAGES, FilesAt::above(3, "g-r_a").unwrap()] {
            let placed = stored[0].placed(&mut Unpacker::new(), &files).unwrap();
            assert_eq!(placed, [DOCUMENT_SEPARATOR, &draft.placed(&files)].concat());
        }
    }
}
