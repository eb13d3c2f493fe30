//! All of a container's root file, entry by entry: every name, attribute and byte that a squashfs or a tarball holds.
//!
//! ```no_run
//! use headwater_formats::image::FileFormat;
//! use headwater_formats::tree::{self, Tree};
//!
//! let mut file = std::fs::File::open("rootfs.squashfs")?;
//! let size = file.metadata()?.len();
//! let mut tree = tree::squashfs(&mut file, size)?;
//! while let Some(entry) = tree.next()? {
//!     println!("{:o} {}", entry.mode, String::from_utf8_lossy(&entry.path));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Tree`]s give their entries in one order, whatever they are read from: the root first, a folder before what is in it, and what is
//! in one folder by its bytes. So two of them can be compared entry by entry ([`sum()`]), and what is [written](Writer) from one is the same
//! bytes each time. Names are bytes, as Linux has them; a line end, a leading dash or no UTF-8 is nothing special.
//!
//! Files may be hostile: entries, the lengths of names and lists, and depth are bounded, no folder is entered twice, and memory does
//! not grow with what the files hold. Knows nothing of disks, extracts nothing.

mod root;
mod squashfs;
mod sum;
mod tarball;
#[cfg(test)]
mod tests;
mod write;

use std::io::{self, Read, Seek};

use crate::inspect::InspectError;

pub use root::set_root;
pub use squashfs::{SquashfsTree, squashfs};
pub use sum::{Sum, describe, sum};
pub use tarball::{TarTree, tarball, unpack};
pub use write::Writer;

/// Most entries of one tree. Distributions' images have some ten thousand.
const MOST_ENTRIES: u64 = 4_000_000;
/// Most bytes of names (of paths, for a tarball) that are kept at the same time.
const MOST_NAMES: usize = 256 << 20;
/// Most bytes of a path.
const MOST_PATH: usize = 32 << 10;
/// Most bytes of all extended attributes of one entry.
const MOST_ATTRIBUTES: usize = 1 << 20;

/// Extended attributes: names and values.
pub type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

/// Something in a tree, with all that is known of it but its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Names with `/` between them, none in front; empty for the root.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// The lower twelve bits: permissions, setuid, setgid, sticky.
    pub mode: u16,
    /// Number of the owner.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
    /// When it was changed last, in seconds since 1970.
    pub mtime: u32,
    /// Extended attributes with their full names (`security.capability`), by name.
    pub attributes: Attributes,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Directory,
    /// A file of that many bytes.
    File(u64),
    /// A symbolic link to there.
    Symlink(Vec<u8>),
    /// Another name of the entry with this path, which came before. The attributes are those of that entry.
    Link(Vec<u8>),
    /// A block device with this major and minor number.
    Block(u32, u32),
    /// A character device with this major and minor number.
    Character(u32, u32),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// Goes through a tree.
pub trait Tree {
    /// The next entry, or `None` at the end.
    fn next(&mut self) -> Result<Option<Entry>, InspectError>;

    /// Gives the content of the [file](Kind::File) that came last, piece by piece; nothing for anything else.
    fn content(&mut self, to: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(), TreeError>;
}

/// Why a tree could not be gone through.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The file that it is read from.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// Whoever took the content.
    #[error("{0}")]
    Taken(#[source] io::Error),
}

/// What trees are read from.
pub trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

fn too_big(what: &str) -> InspectError {
    InspectError::TooBig(format!("{what}, as no image does; build it anew"))
}
