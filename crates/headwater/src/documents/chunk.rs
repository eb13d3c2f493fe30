//! A listing as a sequence of chunks, which are shared between the moments in which they are the same.
//!
//! Where a chunk begins, the keys decide, not the order in which products came: so the parts of an index are the same bytes on
//! every server. There are some hundred products in a chunk.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use flate2::Crc;
use headwater_formats::simplestreams::render::{DOCUMENT_SEPARATOR, index_key};
use sha2::{Digest, Sha256};

use super::gzip::{Packer, joined, sum};
use super::spool::{Fragment, Hash, Spool};

/// Products that follow one another.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) fragments: Vec<Arc<Fragment>>,
    /// Bytes of their texts, each with the separator before it.
    pub(super) plain: u64,
    /// The checksum of their texts.
    pub(super) sum: Crc,
    /// Bytes of their pieces.
    pub(super) gzip: u64,
    /// How many files they name.
    pub(super) names: u64,
    /// Bytes of memory that they take.
    pub(super) memory: u64,
    /// Over the digests of the texts.
    pub(super) digest: Hash,
    keys: OnceLock<Arc<Keys>>,
    /// Where they all lie; `None` when that is not one place.
    spool: Option<Arc<Spool>>,
}

/// Their part of an index.
#[derive(Debug)]
pub(super) struct Keys {
    /// Bytes of the text, with the separator before each key.
    pub(super) plain: u64,
    /// The piece.
    pub(super) gzip: Bytes,
    /// The checksum of the text.
    pub(super) sum: Crc,
    /// Of the text.
    pub(super) digest: Hash,
}

impl Chunk {
    fn new(fragments: Vec<Arc<Fragment>>) -> Self {
        let mut digest = Sha256::new();
        let (mut plain, mut gzip, mut names, mut memory) = (0, 0, 0, 0);
        for fragment in &fragments {
            digest.update(fragment.digest);
            plain += fragment.plain;
            gzip += fragment.gzip;
            names += fragment.names;
            memory += fragment.memory();
        }
        let spool = fragments.first().map(|first| Arc::clone(&first.spool));
        let spool = spool.filter(|spool| fragments.iter().all(|one| Arc::ptr_eq(&one.spool, spool)));
        let (digest, keys) = (digest.finalize().into(), OnceLock::new());
        let sum = joined(fragments.iter().map(|fragment| &fragment.sum));
        Self { sum, fragments, plain, gzip, names, memory, digest, keys, spool }
    }

    /// Whether they all lie in that spool.
    pub(super) fn is_within(&self, spool: &Arc<Spool>) -> bool {
        self.spool.as_ref().is_some_and(|own| Arc::ptr_eq(own, spool))
    }

    /// The same, lying in that spool.
    pub(super) fn moved(&self, spool: &Arc<Spool>) -> io::Result<Self> {
        Ok(Self { keys: self.keys.clone(), ..Self::new(spool.adopt(&self.fragments)?) })
    }

    fn first_key(&self) -> &str {
        self.fragments.first().map_or("", |fragment| &fragment.key)
    }

    /// The keys as an index lists them, with the separator before each.
    pub(super) fn key_text(&self) -> Vec<u8> {
        self.fragments
            .iter()
            .flat_map(|fragment| [DOCUMENT_SEPARATOR.to_vec(), index_key(&fragment.key)].concat())
            .collect()
    }

    /// The part of an index, made when it is asked for the first time.
    pub(super) fn keys(&self, packer: &mut Packer) -> io::Result<&Keys> {
        if let Some(keys) = self.keys.get() {
            return Ok(keys);
        }
        let text = self.key_text();
        let made = Arc::new(Keys {
            plain: text.len() as u64,
            gzip: packer.piece(&text)?.into(),
            sum: sum(&text),
            digest: Sha256::digest(&text).into(),
        });
        Ok(self.keys.get_or_init(|| made))
    }
}

/// What a product is replaced with; `None` takes it out.
pub(super) type Edits = BTreeMap<String, Option<Arc<Fragment>>>;

enum Run {
    Kept(Arc<Chunk>),
    New(Vec<Arc<Fragment>>),
}

/// The sequence with these changes in it. Costs the number of changes times the size of a chunk, and the number of chunks.
pub(super) fn edited(chunks: &[Arc<Chunk>], edits: Edits) -> Vec<Arc<Chunk>> {
    let mut runs: Vec<Run> = Vec::with_capacity(chunks.len() + 1);
    let mut edits = edits.into_iter().peekable();
    if chunks.is_empty() {
        add(&mut runs, edits.by_ref().filter_map(|(_, fragment)| fragment).collect());
    }
    for (place, chunk) in chunks.iter().enumerate() {
        let end = chunks.get(place + 1).map(|next| next.first_key());
        let mut here = Vec::new();
        while let Some(edit) = edits.next_if(|(key, _)| end.is_none_or(|end| key.as_str() < end)) {
            here.push(edit);
        }
        let fragments = merged(&chunk.fragments, here);
        match fragments {
            None if chunk.fragments.first().is_some_and(|first| first.begins_chunk) || runs.is_empty() => {
                runs.push(Run::Kept(Arc::clone(chunk)));
            }
            None => add(&mut runs, chunk.fragments.clone()),
            Some(fragments) => add(&mut runs, fragments),
        }
    }
    let chunk = |run| match run {
        Run::Kept(chunk) => chunk,
        Run::New(fragments) => Arc::new(Chunk::new(fragments)),
    };
    runs.into_iter().map(chunk).collect()
}

/// Adds fragments, split where chunks begin; what comes before the first beginning belongs to the chunk before.
fn add(runs: &mut Vec<Run>, fragments: Vec<Arc<Fragment>>) {
    for fragment in fragments {
        match runs.last_mut() {
            Some(last) if !fragment.begins_chunk => match last {
                Run::New(open) => open.push(fragment),
                Run::Kept(chunk) => {
                    let mut open = chunk.fragments.clone();
                    open.push(fragment);
                    *last = Run::New(open);
                }
            },
            _ => runs.push(Run::New(vec![fragment])),
        }
    }
}

/// The fragments with these edits, which are in the order of their keys; `None` when nothing is another then.
fn merged(old: &[Arc<Fragment>], edits: Vec<(String, Option<Arc<Fragment>>)>) -> Option<Vec<Arc<Fragment>>> {
    if edits.is_empty() {
        return None;
    }
    let mut out = Vec::with_capacity(old.len() + edits.len());
    let mut rest = old;
    let mut changed = false;
    for (key, new) in edits {
        let before = rest.partition_point(|fragment| *fragment.key < *key);
        out.extend_from_slice(&rest[..before]);
        rest = &rest[before..];
        let there = rest.first().filter(|fragment| *fragment.key == *key);
        changed |= match (there, &new) {
            (Some(there), Some(new)) => !Arc::ptr_eq(there, new),
            (None, None) => false,
            _ => true,
        };
        rest = if there.is_some() { &rest[1..] } else { rest };
        out.extend(new);
    }
    out.extend_from_slice(rest);
    changed.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::spool::tests::{rendered, spool};

    /// What a listing is, without how it came about.
    fn seen(chunks: &[Arc<Chunk>]) -> Vec<(Vec<String>, Hash, [u64; 3])> {
        let keys = |chunk: &Chunk| chunk.fragments.iter().map(|one| one.key.to_string()).collect();
        chunks.iter().map(|chunk| (keys(chunk), chunk.digest, [chunk.plain, chunk.gzip, chunk.names])).collect()
    }

    #[test]
    fn however_a_listing_came_about_its_chunks_are_the_same() {
        let spool = spool();
        let mut state = 7u32;
        let mut random = |below: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize % below
        };
        let mut all: BTreeMap<String, Arc<Fragment>> = BTreeMap::new();
        let mut chunks: Vec<Arc<Chunk>> = Vec::new();
        let mut split = 0;
        for round in 0..120 {
            // Grows at first, shrinks to nothing at the end.
            let gone = if round < 60 { 4 } else { 1 };
            let mut edits = Edits::new();
            for _ in 0..1 + random(40) {
                let key = format!("os:{:03}", random(900));
                edits.insert(key, None);
            }
            let keys: Vec<String> = edits.keys().cloned().collect();
            for key in keys {
                if random(gone) > 0 {
                    let fragment = spool.put(vec![rendered(&key, &random(3).to_string())]).unwrap().remove(0);
                    edits.insert(key, Some(fragment));
                }
            }
            if round == 119 {
                edits = all.keys().map(|key| (key.clone(), None)).collect();
            }
            for (key, edit) in &edits {
                match edit {
                    Some(fragment) => all.insert(key.clone(), Arc::clone(fragment)),
                    None => all.remove(key),
                };
            }
            chunks = edited(&chunks, edits);
            let fresh = edited(&[], all.iter().map(|(key, one)| (key.clone(), Some(Arc::clone(one)))).collect());
            assert_eq!(seen(&chunks), seen(&fresh), "round {round}");
            split = split.max(chunks.len());
            // The same again changes nothing, and copies nothing.
            let again = all.iter().map(|(key, one)| (key.clone(), Some(Arc::clone(one)))).collect();
            let again = edited(&chunks, again);
            assert!(again.iter().zip(&chunks).all(|(one, other)| Arc::ptr_eq(one, other)), "round {round}");
        }
        assert!(split > 3, "{split} chunks");
        assert_eq!(chunks.len(), 0);
    }

    #[test]
    fn one_change_touches_one_chunk() {
        let spool = spool();
        let many = (0..3000).map(|n| rendered(&format!("os:{n:04}"), "old")).collect();
        let fragments = spool.put(many).unwrap();
        let chunks = edited(&[], fragments.into_iter().map(|one| (one.key.to_string(), Some(one))).collect());
        assert!(chunks.len() > 10 && chunks.iter().all(|chunk| chunk.is_within(&spool)), "{} chunks", chunks.len());
        let new = spool.put(vec![rendered("os:1500", "new")]).unwrap().remove(0);
        let after = edited(&chunks, [("os:1500".to_owned(), Some(new))].into());
        let touched = after.iter().zip(&chunks).filter(|(one, other)| !Arc::ptr_eq(one, other)).count();
        assert_eq!((touched, after.len()), (1, chunks.len()));
    }
}
