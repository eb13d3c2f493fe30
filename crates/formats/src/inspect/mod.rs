//! Tells what an image file is by looking into it: what it says of itself, whether it holds a container or a virtual
//! machine, and whether all of it is there.
//!
//! ```
//! use std::io::Cursor;
//!
//! use headwater_formats::image::{Compression, FileFormat, ImageType};
//! use headwater_formats::inspect::{self, Limits};
//!
//! let mut tarball = tar::Builder::new(Vec::new());
//! let yaml = b"architecture: amd64\ncreation_date: 1704240000\nproperties: {os: Debian, release: 12}\n";
//! let mut header = tar::Header::new_gnu();
//! header.set_size(yaml.len() as u64);
//! tarball.append_data(&mut header, "metadata.yaml", &yaml[..])?;
//! header.set_size(0);
//! tarball.append_data(&mut header, "rootfs/etc/hostname", &b""[..])?;
//! let file = tarball.into_inner()?;
//!
//! let size = file.len() as u64;
//! let found = inspect::inspect_unified(&mut Cursor::new(file), size, &Limits::default())?;
//! assert_eq!(found.format, FileFormat::Tar(Compression::None));
//! assert_eq!(found.image_type, ImageType::Container);
//! assert_eq!(found.metadata.properties["release"], "12");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An image is one file or two (LXD `lxd/images.go`, `getImgPostInfo`): a unified one goes to [`inspect_unified`], the
//! files of a split one to [`inspect_metadata`] and [`inspect_root`].
//!
//! **What it costs.** Reading stops as soon as the questions are answered, so that a squashfs, a qcow2 disk and a
//! unified image with metadata.yaml in front take milliseconds, whatever their size. Files may be hostile: [`Limits`]
//! bounds what is unpacked, and memory is a few MiB at the most, plus the window that a compressed file asks its
//! decoder for. Reading blocks: asynchronous code calls this from a thread that may wait.
//!
//! **What is not noticed.** Damage in what is not read: the content of the root. Truncation of a tarball compressed
//! with gzip, bzip2 or lzma, since only unpacking it would tell.
//!
//! It knows nothing of file names, fingerprints or stores, extracts nothing, and never makes a path of what stands in
//! an archive.

mod ending;
pub(crate) mod error;
pub(crate) mod limits;
mod qcow2;
pub(crate) mod squashfs;
pub(crate) mod stream;
mod tarball;
#[cfg(test)]
mod tests;

use std::io::{Read, Seek};

use crate::image::{Compression, FileFormat, ImageType};
use crate::metadata::{MAX_METADATA, Metadata, MetadataError};
use crate::sniff;

pub use error::InspectError;
pub use limits::Limits;
pub use squashfs::Packing;

use limits::Scope;
use squashfs::{Node, SUPERBLOCK_LEN, Squashfs, Superblock};
use stream::{ReadSeek, Stream, read_head};
use tarball::{Entry, Kind, Walk};

/// What a unified image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// What it says of itself.
    pub metadata: Metadata,
    /// A container when there is `rootfs/`, a virtual machine when there is `rootfs.img`.
    pub image_type: ImageType,
    /// The file's format.
    pub format: FileFormat,
}

/// The part that a file is to play in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The only file.
    Unified,
    /// The metadata tarball, which comes first.
    Metadata,
    /// The root file.
    Root,
}

impl Part {
    /// What stands after "this is a zip archive, not …".
    fn wanted(self) -> &'static str {
        match self {
            Self::Unified => {
                "an image; give a tarball or squashfs with metadata.yaml and a root in it, or a metadata tarball and a root file"
            }
            Self::Metadata => "a metadata tarball; give the metadata tarball first, then the root file",
            Self::Root => "a root file; give a squashfs, a tarball or a qcow2 disk",
        }
    }
}

/// Tells by its beginning whether a file can play that part at all, so that nobody takes in gigabytes of something else. `head` is
/// the first [`sniff::DESCRIBE_LEN`] bytes, or all of a shorter file.
///
/// # Errors
///
/// [`InspectError::WrongKind`], in the words that the whole inspection would use.
pub fn look(head: &[u8], part: Part) -> Result<FileFormat, InspectError> {
    let wrong = |found, wanted| Err(InspectError::WrongKind { found, wanted });
    match (part, sniff::sniff(head)) {
        (_, None) => wrong(sniff::describe(head), part.wanted()),
        (Part::Unified, Some(format @ FileFormat::Qcow2)) => {
            wrong(sniff::describe_format(format), "a whole image; give its metadata tarball too")
        }
        (Part::Metadata, Some(format @ (FileFormat::Qcow2 | FileFormat::Squashfs))) => {
            wrong(sniff::describe_format(format), part.wanted())
        }
        (_, Some(format)) => Ok(format),
    }
}

/// Looks into a unified image: a tarball in any compression, or a squashfs, with metadata.yaml and the root in it.
///
/// `size` is the length of the file in bytes, all of which belongs to the image; where the file's cursor stands before
/// and after does not matter.
///
/// # Errors
///
/// Any [`InspectError`]; the sentences name what is wrong without naming the file.
pub fn inspect_unified<F: Read + Seek>(file: &mut F, size: u64, limits: &Limits) -> Result<Inspected, InspectError> {
    let file: &mut dyn ReadSeek = file;
    let format = format_of(file, size, Part::Unified)?;
    let (metadata, image_type) = match format {
        FileFormat::Squashfs => unified_squashfs(file, size, limits)?,
        FileFormat::Tar(compression) => unified_tarball(file, size, compression, limits)?,
        // `look` has refused them.
        FileFormat::Qcow2 | FileFormat::Vcdiff => return Err(InspectError::NoMetadataInUnified),
    };
    Ok(Inspected { metadata, image_type, format })
}

/// Looks into the metadata tarball of a split image, and reads it to its end.
///
/// # Errors
///
/// Any [`InspectError`]; [`InspectError::RootInMetadata`] when it is a unified image.
pub fn inspect_metadata<F: Read + Seek>(
    file: &mut F,
    size: u64,
    limits: &Limits,
) -> Result<(Metadata, FileFormat), InspectError> {
    let file: &mut dyn ReadSeek = file;
    let format = format_of(file, size, Part::Metadata)?;
    let FileFormat::Tar(compression) = format else { return Err(InspectError::NoMetadata) };
    if size > limits.metadata_bytes {
        return Err(InspectError::TooBig(format!(
            "a metadata tarball may have {} bytes, and this file has {}; if it is a unified image, give it alone, else give the metadata tarball first",
            error::count(limits.metadata_bytes),
            error::count(size)
        )));
    }
    ending::check(file, size, compression)?;
    let mut walk = Walk::new(Stream::open(file, size, compression, Scope::Metadata, limits)?, Scope::Metadata, limits);
    let mut metadata = None;
    while let Some(entry) = walk.next()? {
        match Member::of(&entry)? {
            Member::Metadata if metadata.is_none() => metadata = Some(read_metadata(&mut walk, &entry)?),
            Member::Metadata => return Err(twice()),
            Member::RootFolder => return Err(InspectError::RootInMetadata("rootfs/")),
            Member::RootImage => return Err(InspectError::RootInMetadata("rootfs.img")),
            Member::Else => {}
        }
    }
    walk.finish()?;
    Ok((metadata.ok_or(InspectError::NoMetadata)?, format))
}

/// Looks at the root file of a split image: a squashfs or a tarball is a container's, a qcow2 disk is a virtual
/// machine's.
///
/// # Errors
///
/// Any [`InspectError`]; [`InspectError::MetadataInRoot`] when it is a tarball with metadata.yaml in front.
pub fn inspect_root<F: Read + Seek>(
    file: &mut F,
    size: u64,
    limits: &Limits,
) -> Result<(FileFormat, ImageType), InspectError> {
    let file: &mut dyn ReadSeek = file;
    let format = format_of(file, size, Part::Root)?;
    let image_type = match format {
        FileFormat::Squashfs => {
            Superblock::read(&read_head(file, size, SUPERBLOCK_LEN)?, size)?;
            ImageType::Container
        }
        FileFormat::Qcow2 => {
            qcow2::check(file, size)?;
            ImageType::VirtualMachine
        }
        FileFormat::Tar(compression) => {
            root_tarball(file, size, compression, limits)?;
            ImageType::Container
        }
        // `look` knows no such file.
        FileFormat::Vcdiff => return Err(InspectError::NoMetadata),
    };
    Ok((format, image_type))
}

fn format_of(file: &mut dyn ReadSeek, size: u64, part: Part) -> Result<FileFormat, InspectError> {
    look(&read_head(file, size, sniff::DESCRIBE_LEN)?, part)
}

/// What an entry of an archive is to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Metadata,
    RootFolder,
    RootImage,
    Else,
}

const NOT_A_FILE: &str = "must be a plain file; build the archive anew, without links and without --sparse";

impl Member {
    fn of(entry: &Entry) -> Result<Self, InspectError> {
        match (&entry.name[..], entry.kind) {
            (b"metadata.yaml", Kind::File) => Ok(Self::Metadata),
            (b"metadata.yaml", _) => Err(InspectError::Unsupported(format!("metadata.yaml {NOT_A_FILE}"))),
            (b"rootfs.img", Kind::File | Kind::Sparse) => Ok(Self::RootImage),
            (b"rootfs.img", _) => Err(InspectError::Unsupported(format!("rootfs.img {NOT_A_FILE}"))),
            (name, _) if name.starts_with(b"rootfs/") => Ok(Self::RootFolder),
            _ => Ok(Self::Else),
        }
    }
}

fn twice() -> InspectError {
    InspectError::Unsupported("there are two metadata.yaml in it; leave one".to_owned())
}

fn read_metadata(walk: &mut Walk<'_>, entry: &Entry) -> Result<Metadata, InspectError> {
    if entry.size > MAX_METADATA as u64 {
        return Err(MetadataError::TooBig(entry.size).into());
    }
    Ok(Metadata::parse(&walk.read(MAX_METADATA)?)?)
}

fn unified_tarball(
    file: &mut dyn ReadSeek,
    size: u64,
    compression: Compression,
    limits: &Limits,
) -> Result<(Metadata, ImageType), InspectError> {
    ending::check(file, size, compression)?;
    let mut walk = Walk::new(Stream::open(file, size, compression, Scope::Unified, limits)?, Scope::Unified, limits);
    let (mut metadata, mut image_type) = (None, None);
    loop {
        let Some(entry) = walk.next()? else {
            return Err(if metadata.is_none() { InspectError::NoMetadataInUnified } else { InspectError::NoRoot });
        };
        match Member::of(&entry)? {
            Member::Metadata if metadata.is_none() => metadata = Some(read_metadata(&mut walk, &entry)?),
            Member::Metadata => return Err(twice()),
            Member::RootFolder if image_type.is_none() => image_type = Some(ImageType::Container),
            Member::RootImage if image_type.is_none() => {
                // In a sparse file the stored bytes do not begin with the first ones.
                if entry.kind == Kind::File {
                    check_disk_head(&walk.read(sniff::DESCRIBE_LEN)?, entry.size)?;
                }
                image_type = Some(ImageType::VirtualMachine);
            }
            Member::RootFolder | Member::RootImage | Member::Else => {}
        }
        if let (Some(metadata), Some(image_type)) = (&metadata, image_type) {
            let metadata = metadata.clone();
            if compression == Compression::None {
                walk_to_end(&mut walk)?;
            }
            return Ok((metadata, image_type));
        }
    }
}

/// `rootfs.img` of a unified image, of which only the beginning is at hand.
fn check_disk_head(head: &[u8], size: u64) -> Result<(), InspectError> {
    if sniff::sniff(head) != Some(FileFormat::Qcow2) {
        return Err(InspectError::Unsupported(format!(
            "rootfs.img is {}, and clients take only a qcow2 disk; convert it with \"qemu-img convert -O qcow2\"",
            sniff::describe(head)
        )));
    }
    qcow2::header(head, size).map(|_| ())
}

/// A plain tarball is walked to its end, which shows whether all of it is there. That costs one small read for each
/// entry; an archive with more entries than the limit gets the benefit of the doubt.
fn walk_to_end(walk: &mut Walk<'_>) -> Result<(), InspectError> {
    loop {
        match walk.next() {
            Ok(Some(_)) => {}
            Ok(None) | Err(InspectError::TooBig(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn root_tarball(
    file: &mut dyn ReadSeek,
    size: u64,
    compression: Compression,
    limits: &Limits,
) -> Result<(), InspectError> {
    ending::check(file, size, compression)?;
    let mut walk = Walk::new(Stream::open(file, size, compression, Scope::Root, limits)?, Scope::Root, limits);
    match walk.next()? {
        None => Err(InspectError::Unsupported("the root tarball is empty; build it anew".to_owned())),
        Some(entry) if entry.name == b"metadata.yaml" => Err(InspectError::MetadataInRoot),
        Some(_) if compression == Compression::None => walk_to_end(&mut walk),
        Some(_) => Ok(()),
    }
}

fn unified_squashfs(
    file: &mut dyn ReadSeek,
    size: u64,
    limits: &Limits,
) -> Result<(Metadata, ImageType), InspectError> {
    let mut squashfs = Squashfs::open(file, size, limits)?;
    let [metadata, folder, disk] = squashfs.look_up([b"metadata.yaml", b"rootfs", b"rootfs.img"])?;
    let metadata = match metadata {
        None => return Err(InspectError::NoMetadataInUnified),
        Some(Node::File(file)) if file.size > MAX_METADATA as u64 => {
            return Err(MetadataError::TooBig(file.size).into());
        }
        Some(Node::File(file)) => Metadata::parse(&squashfs.read(&file, MAX_METADATA)?)?,
        Some(_) => return Err(InspectError::Unsupported(format!("metadata.yaml {NOT_A_FILE}"))),
    };
    match (folder, disk) {
        (Some(Node::Directory), None) => Ok((metadata, ImageType::Container)),
        (None, Some(Node::File(disk))) => {
            check_disk_head(&squashfs.read(&disk, sniff::DESCRIBE_LEN)?, disk.size)?;
            Ok((metadata, ImageType::VirtualMachine))
        }
        (None, None) => Err(InspectError::NoRoot),
        (Some(_), Some(_)) => Err(InspectError::Unsupported(
            "there are both rootfs and rootfs.img in it; leave the one that is the root".to_owned(),
        )),
        (Some(_), None) => {
            Err(InspectError::Unsupported("rootfs must be a folder; build the squashfs anew".to_owned()))
        }
        (None, Some(_)) => Err(InspectError::Unsupported(format!("rootfs.img {NOT_A_FILE}"))),
    }
}
