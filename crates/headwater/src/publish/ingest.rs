//! Takes files in, in one pass, and tells what they are: the half of publishing that happens before anything is changed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

use headwater_formats::arch::Architecture;
use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::image::{FileFormat, Image, ImageFile, ImageFiles, ImageType};
use headwater_formats::inspect::{self, InspectError, Inspected, Limits, Part};
use headwater_formats::metadata::Metadata;
use headwater_formats::sniff::DESCRIBE_LEN;
use headwater_formats::timestamp::Timestamp;
use sha2::{Digest as _, Sha256};

use super::repack::{self, Outcome, RepackError, Stop};
use super::{Filename, Opened, Packed, Packing, Progress, PublishError, Ready, Source, hash};
use crate::blobs::{Blobs, Intake, IntakeError, Placed, Staged};
use crate::fail_point;

/// Digests that files must turn out to have, by file name: what a `SHA256SUMS` beside them says.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected(pub(super) BTreeMap<String, Digest>);

/// An image that is staged and was found good. Dropped, it leaves nothing.
#[derive(Debug)]
pub(super) struct Staging {
    first: Staged,
    root: Option<Staged>,
    image_type: ImageType,
    fingerprint: Fingerprint,
    files: ImageFiles,
    first_name: String,
    root_name: Option<String>,
    metadata: Metadata,
    pub(super) packed: Packed,
}

/// Stages the files, checks and inspects them.
pub(super) fn stage(
    blobs: &Blobs,
    first: Source,
    root: Option<Source>,
    expected: &Expected,
    limit: u64,
    progress: &dyn Progress,
) -> Result<Staging, PublishError> {
    let intake = TakeIn { blobs, expected, limit, progress };
    let limits = Limits::default();
    match root {
        None => {
            let (first, name) = intake.file(first, Part::Unified, None, limit)?;
            let found = inspect::inspect_unified(&mut first.reader(), first.size(), &limits);
            let Inspected { metadata, image_type, format } = found.map_err(|error| refuse(&name, error))?;
            fail_point::reached("publish::inspected");
            Ok(Staging {
                files: ImageFiles::Unified(image_file(&first, format)),
                fingerprint: first.digest().as_unified_fingerprint(),
                first_name: filename(&name, format),
                root_name: None,
                first,
                root: None,
                image_type,
                metadata,
                packed: Packed::AsGiven,
            })
        }
        Some(root) => {
            let (first, name) = intake.file(first, Part::Metadata, None, limit)?;
            // Looked into before the root is read, which is usually a thousand times as long.
            let found = inspect::inspect_metadata(&mut first.reader(), first.size(), &limits);
            let (metadata, format) = found.map_err(|error| refuse_metadata(&name, error))?;
            let mut both = first.hasher();
            let (root, root_name) =
                intake.file(root, Part::Root, Some(&mut both), limit.saturating_sub(first.size()))?;
            let found = inspect::inspect_root(&mut root.reader(), root.size(), &limits);
            let (root_format, image_type) = found.map_err(|error| refuse(&root_name, error))?;
            fail_point::reached("publish::inspected");
            Ok(Staging {
                files: ImageFiles::Split { metadata: image_file(&first, format), root: image_file(&root, root_format) },
                fingerprint: Fingerprint::from_bytes(both.finalize().into()),
                first_name: filename(&name, format),
                root_name: Some(filename(&root_name, root_format)),
                first,
                root: Some(root),
                image_type,
                metadata,
                packed: Packed::AsGiven,
            })
        }
    }
}

impl Staging {
    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub(super) fn architecture(&self) -> Architecture {
        self.metadata.architecture
    }

    pub(super) fn image_type(&self) -> ImageType {
        self.image_type
    }

    pub(super) fn files(&self) -> ImageFiles {
        self.files
    }

    /// The image, listed to nobody but its own project, with the properties of its metadata.yaml.
    pub(super) fn image(&self, named: &Filename, now: Timestamp) -> Image {
        let (ImageFiles::Unified(first) | ImageFiles::Split { metadata: first, .. }) = self.files;
        let filename = match named {
            Filename::First => self.first_name.clone(),
            Filename::Root => self.root_name.as_ref().unwrap_or(&self.first_name).clone(),
            Filename::Given(name) => filename(name, first.format),
        };
        Image {
            fingerprint: self.fingerprint,
            image_type: self.image_type,
            architecture: self.metadata.architecture,
            files: self.files,
            filename,
            created_at: self.metadata.creation_date,
            uploaded_at: now,
            public: false,
            expires_at: self.metadata.expiry_date,
            last_used_at: None,
            auto_update: false,
            properties: self.metadata.properties.clone(),
            // What LXD and Incus give to an image that names none.
            profiles: vec!["default".to_owned()],
            update_source: None,
        }
    }

    /// The same image with its root file packed anew, if that is wanted and can be. When only the project wants it, what cannot be stays.
    pub(super) fn packed(
        mut self,
        blobs: &Blobs,
        packing: Packing,
        limit: u64,
        stop: &Stop,
    ) -> Result<Self, PublishError> {
        let (ImageFiles::Split { metadata, root: given }, Some(root)) = (self.files, &self.root) else {
            if packing == Packing::ForDeltas {
                self.packed =
                    Packed::Left("it is a unified image, and only root files of split ones are packed anew".to_owned());
            }
            return Ok(self);
        };
        match packing {
            Packing::AsGiven => return Ok(self),
            // A disk becomes several times as large, which takes somebody who wants it.
            Packing::AsProjectSays if self.image_type == ImageType::VirtualMachine => return Ok(self),
            Packing::AsProjectSays if self.is_copy(given.digest) => {
                self.packed =
                    Packed::Left("its files are named as those of a copy are, which keeps its fingerprint".to_owned());
                return Ok(self);
            }
            Packing::AsProjectSays | Packing::ForDeltas => {}
        }
        let mut both = self.first.hasher();
        let limit = limit.saturating_sub(metadata.size);
        match repack::repack(blobs, root, given.format, &mut both, limit, stop) {
            Ok(Outcome::New(staged, format)) => {
                let new = image_file(&staged, format);
                self.packed = Packed::Anew { from: self.fingerprint, before: given.size, after: new.size };
                self.fingerprint = Fingerprint::from_bytes(both.finalize().into());
                self.files = ImageFiles::Split { metadata, root: new };
                self.root_name = self.root_name.map(|name| renamed(name, given.format, format));
                self.root = Some(staged);
            }
            Ok(Outcome::Left(why)) => self.packed = Packed::Left(why),
            Err(RepackError::Cannot(why)) if packing == Packing::AsProjectSays => self.packed = Packed::Left(why),
            Err(error) => return Err(error.of(self.root_name.as_deref().unwrap_or("the root file"))),
        }
        Ok(self)
    }

    /// Whether its files have the names that clients give to those of an image that they copy through themselves (`image copy --mode
    /// relay`): both are called what the original's file is called (LXD and Incus `client/lxd_images.go` `CopyImage`). A file that is named after
    /// its own fingerprint or digest, as those of exports and streams are, is a copy as well. Who copied an image looks for it by its fingerprint.
    fn is_copy(&self, root: Digest) -> bool {
        let known = [self.fingerprint.to_string(), root.to_string()];
        let Some(root_name) = &self.root_name else { return false };
        *root_name == self.first_name
            || known.iter().any(|known| self.first_name.contains(known) || root_name.contains(known))
    }

    /// Its files, metadata first.
    pub(super) fn into_files(self) -> Vec<Staged> {
        std::iter::once(self.first).chain(self.root).collect()
    }

    /// Makes the files durable. They are nobody's until the catalog names them.
    pub(super) fn place(self) -> Result<Vec<Placed>, PublishError> {
        let mut placed = vec![self.first.commit()?];
        fail_point::reached("publish::placed-metadata");
        if let Some(root) = self.root {
            placed.push(root.commit()?);
            fail_point::reached("publish::placed-root");
        }
        Ok(placed)
    }
}

struct TakeIn<'a> {
    blobs: &'a Blobs,
    expected: &'a Expected,
    limit: u64,
    progress: &'a dyn Progress,
}

impl TakeIn<'_> {
    /// Stages one file; its name for messages.
    fn file(
        &self,
        source: Source,
        part: Part,
        also: Option<&mut Sha256>,
        limit: u64,
    ) -> Result<(Staged, String), PublishError> {
        let known = match &source {
            Source::Known { file, .. } => Some(*file),
            Source::File(_) | Source::Stream { .. } | Source::Later(_) | Source::Staged(_) => None,
        };
        let (Opened { name, mut reader }, total) = match source {
            Source::Staged(ready) => return self.ready(*ready, part, also, limit),
            Source::Stream { name, reader } => (Opened { name, reader }, None),
            Source::Later(open) => (open().map_err(|error| PublishError::read("what comes next", error))?, None),
            Source::Known { file, open } => {
                (open().map_err(|error| PublishError::read(file.name(), error))?, Some(file.size))
            }
            Source::File(path) => open(&path)?,
        };
        let too_large = || self.too_large(&name);
        if total.is_some_and(|total| total > limit) {
            return Err(too_large());
        }
        let head = head(&mut *reader).map_err(|error| PublishError::read(&name, error))?;
        if head.is_empty() {
            return Err(empty(&name));
        }
        // What can be no image is not taken in first: it may have no end. A file that is known has one, and when it is damaged, that is
        // the reason to tell.
        if known.is_none() {
            inspect::look(&head, part).map_err(|error| refuse(&name, error))?;
        }
        let mut reader = Cursor::new(head).chain(reader);
        let mut staged = self.blobs.stage()?;
        if let Some(total) = total {
            staged.reserve(total)?;
        }
        fail_point::reached("publish::staged");
        self.progress.begin(&name, total);
        let intake = Intake { also, limit, observe: &mut |bytes| self.progress.advance(bytes) };
        staged.take_in(&mut reader, intake).map_err(|error| match error {
            IntakeError::Read(source) => PublishError::read(&name, source),
            IntakeError::TooLarge(_) => too_large(),
            IntakeError::Blobs(error) => error.into(),
        })?;
        self.progress.end();
        fail_point::reached("publish::hashed");
        if let Some(known) = known
            && (known.digest, known.size) != (staged.digest(), staged.size())
        {
            let reason = format!(
                "it has {} bytes with the SHA-256 {}, where {} with {} were announced, so it was damaged on its way; copy it again",
                staged.size(),
                staged.digest(),
                known.size,
                known.digest
            );
            return Err(PublishError::refused(&name, reason));
        }
        self.is_expected(&name, &staged)?;
        Ok((staged, name))
    }

    /// Looks at a file that is staged already.
    fn ready(
        &self,
        ready: Ready,
        part: Part,
        also: Option<&mut Sha256>,
        limit: u64,
    ) -> Result<(Staged, String), PublishError> {
        let Ready { name, staged, both } = ready;
        if staged.size() > limit {
            return Err(self.too_large(&name));
        }
        let head = head(&mut staged.reader()).map_err(|error| PublishError::read(&name, error))?;
        if head.is_empty() {
            return Err(empty(&name));
        }
        inspect::look(&head, part).map_err(|error| refuse(&name, error))?;
        self.progress.begin(&name, Some(staged.size()));
        self.progress.advance(staged.size());
        if let Some(also) = also {
            let before = Digest::from_bytes(also.clone().finalize().into());
            match both {
                Some((metadata, both)) if metadata == before => *also = both,
                _ => hash::each_part(&mut staged.reader(), &mut vec![0; hash::BUFFER], |part| also.update(part))
                    .map_err(|error| PublishError::read(&name, error))?,
            }
        }
        self.progress.end();
        fail_point::reached("publish::hashed");
        self.is_expected(&name, &staged)?;
        Ok((staged, name))
    }

    fn too_large(&self, name: &str) -> PublishError {
        let reason = format!(
            "the image has more than {} bytes, which is the limit; raise the limit, or publish a smaller one",
            self.limit
        );
        PublishError::refused(name, reason)
    }

    fn is_expected(&self, name: &str, staged: &Staged) -> Result<(), PublishError> {
        match self.expected.0.get(name) {
            Some(expected) if *expected != staged.digest() => {
                let reason = format!(
                    "its SHA-256 is {}, and SHA256SUMS beside it says {expected}; copy or build the folder again",
                    staged.digest()
                );
                Err(PublishError::refused(name, reason))
            }
            _ => Ok(()),
        }
    }
}

fn empty(name: &str) -> PublishError {
    PublishError::refused(name, "it is empty; copy it again")
}

/// The beginning of a file, as much of it as tells what it is.
fn head(reader: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(DESCRIBE_LEN);
    reader.take(DESCRIBE_LEN as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// The bytes of a file, and how many there are when that is known.
fn open(path: &Path) -> Result<(Opened, Option<u64>), PublishError> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| PublishError::read(&name, error))?;
    let about = file.metadata().map_err(|error| PublishError::read(&name, error))?;
    if about.is_dir() {
        let reason = "it is a folder where a file was wanted; give the files in it, or the folder alone";
        return Err(PublishError::refused(name, reason));
    }
    // A hint that costs nothing when the file system does not take it.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Sequential);
    let total = about.is_file().then_some(about.len());
    Ok((Opened { name, reader: Box::new(file) }, total))
}

fn image_file(staged: &Staged, format: FileFormat) -> ImageFile {
    ImageFile { digest: staged.digest(), size: staged.size(), format }
}

fn refuse(name: &str, error: InspectError) -> PublishError {
    match error {
        InspectError::Read(source) => PublishError::Blobs(source.into()),
        error => PublishError::refused(name, error.to_string()),
    }
}

/// Somebody who gives the root first and the metadata second should hear so, also when the root is a small tarball.
fn refuse_metadata(name: &str, error: InspectError) -> PublishError {
    match error {
        InspectError::NoMetadata => PublishError::refused(
            name,
            format!("{error}; if it is the root file, give the metadata tarball first and this one second"),
        ),
        error => refuse(name, error),
    }
}

/// `rootfs.tar.xz` of a file that became a squashfs is `rootfs.squashfs`.
fn renamed(name: String, before: FileFormat, after: FileFormat) -> String {
    match name.strip_suffix(before.extension()) {
        Some(stem) if stem.ends_with('.') => format!("{stem}{}", after.extension()),
        _ => name,
    }
}

/// Longest file name of an image, in bytes: what file systems take.
const MAX_FILENAME: usize = 255;

/// The last part of the name, without what could do harm on a terminal or in a header.
fn filename(name: &str, format: FileFormat) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut clean: String = last.chars().filter(|c| !c.is_control()).collect();
    while clean.len() > MAX_FILENAME {
        clean.pop();
    }
    match clean.trim() {
        "" | "-" | "." | ".." => format!("image.{}", format.extension()),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use headwater_formats::image::Compression;

    use super::*;

    #[test]
    fn a_filename_has_no_folder_and_no_control_characters() {
        let format = FileFormat::Tar(Compression::Xz);
        for (name, expected) in [
            ("/srv/images/meta.tar.xz", "meta.tar.xz"),
            ("a\u{1b}[31m\nb.tar.xz", "a[31mb.tar.xz"),
            ("..", "image.tar.xz"),
            ("-", "image.tar.xz"),
            ("/srv/", "image.tar.xz"),
            ("C:\\images\\meta.tar.xz", "meta.tar.xz"),
        ] {
            assert_eq!(filename(name, format), expected, "{name:?}");
        }
        assert_eq!(filename(&"é".repeat(200), format).len(), 254);
    }
}
