//! One number for all of a tree, and what an entry is in words: for comparing two.

use sha2::{Digest as _, Sha256};

use super::{Entry, Kind, Tree, TreeError};

/// The SHA-256 of everything that a tree says: of each entry its path, kind, mode, owners, time, attributes and content. Also keeps a
/// few bytes for each entry, so that of two trees the first entry can be found that differs.
#[derive(Debug, Clone, Default)]
pub struct Sum {
    whole: Sha256,
    entries: Vec<u64>,
}

impl Sum {
    /// Adds the next entry, with the SHA-256 of its content (of nothing, if it has none).
    pub fn add(&mut self, entry: &Entry, content: Sha256) {
        let mut hash = Sha256::new();
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        field(&entry.path);
        let numbers = |numbers: &[u64]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
        let (kind, target) = match &entry.kind {
            Kind::Directory => ([0, 0, 0], &b""[..]),
            Kind::File(size) => ([1, *size, 0], &b""[..]),
            Kind::Symlink(target) => ([2, 0, 0], &target[..]),
            Kind::Link(first) => ([3, 0, 0], &first[..]),
            Kind::Block(major, minor) => ([4, u64::from(*major), u64::from(*minor)], &b""[..]),
            Kind::Character(major, minor) => ([5, u64::from(*major), u64::from(*minor)], &b""[..]),
            Kind::Fifo => ([6, 0, 0], &b""[..]),
            Kind::Socket => ([7, 0, 0], &b""[..]),
        };
        field(&numbers(&kind));
        field(target);
        field(&numbers(&[entry.mode.into(), entry.uid.into(), entry.gid.into(), entry.mtime.into()]));
        for (name, value) in &entry.attributes {
            field(name);
            field(value);
        }
        field(&content.finalize());
        let hash: [u8; 32] = hash.finalize().into();
        self.whole.update(hash);
        let [a, b, c, d, e, f, g, h, ..] = hash;
        self.entries.push(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }

    /// How many entries were added.
    pub fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Whether both are of equal trees.
    pub fn equals(&self, other: &Self) -> bool {
        self.whole.clone().finalize() == other.whole.clone().finalize()
    }

    /// The place of the first entry that differs, or that only one of them has; `None` when all are equal.
    pub fn differs_at(&self, other: &Self) -> Option<usize> {
        let pairs = self.entries.iter().zip(&other.entries);
        let unequal = pairs.take_while(|(one, other)| one == other).count();
        (unequal < self.entries.len().max(other.entries.len())).then_some(unequal)
    }
}

/// The sum of all that comes in a tree.
///
/// # Errors
/// Those of going through it.
pub fn sum(tree: &mut dyn Tree) -> Result<Sum, TreeError> {
    let mut sum = Sum::default();
    while let Some(entry) = tree.next()? {
        let mut content = Sha256::new();
        tree.content(&mut |bytes| {
            content.update(bytes);
            Ok(())
        })?;
        sum.add(&entry, content);
    }
    Ok(sum)
}

/// An entry in a line, for a message: `drwxr-xr-x` is `folder 755`.
pub fn describe(entry: &Entry) -> String {
    let kind = match &entry.kind {
        Kind::Directory => "folder".to_owned(),
        Kind::File(size) => format!("file of {size} bytes"),
        Kind::Symlink(target) => format!("symbolic link to {:?}", String::from_utf8_lossy(target)),
        Kind::Link(first) => format!("hard link to {:?}", String::from_utf8_lossy(first)),
        Kind::Block(major, minor) => format!("block device {major}:{minor}"),
        Kind::Character(major, minor) => format!("character device {major}:{minor}"),
        Kind::Fifo => "named pipe".to_owned(),
        Kind::Socket => "socket".to_owned(),
    };
    let names: Vec<_> = entry.attributes.iter().map(|(name, _)| String::from_utf8_lossy(name)).collect();
    format!(
        "{:?}: {kind}, mode {:o}, owner {}:{}, time {}, attributes {names:?}",
        String::from_utf8_lossy(&entry.path),
        entry.mode,
        entry.uid,
        entry.gid,
        entry.mtime
    )
}
