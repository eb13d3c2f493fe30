//! Finds the images in a folder, as the builders of images leave it.
//!
//! | builder | files |
//! | --- | --- |
//! | distrobuilder, split | `incus.tar.xz` (before: `lxd.tar.xz`, `meta.tar.xz`) and `rootfs.squashfs`, `rootfs.tar.xz` or `disk.qcow2` |
//! | distrobuilder, unified | one tarball of any other name |
//! | lxd-imagebuilder | `lxd.tar.xz`, `rootfs.squashfs`, `disk.qcow2`, perhaps `SHA256SUMS` |
//!
//! Each root file beside the metadata file is an image of its own; they share the metadata file and, by its dates, the
//! version. Names say which part a file plays; what it is, is told by its bytes when it is taken in. Other files
//! (`image.yaml`, deltas, logs, hidden files) are left alone, and folders in the folder are not looked into.
//!
//! Sources: distrobuilder `image/lxc.go` and `image/lxd.go`; lxd-imagebuilder `simplestream-maintainer/stream`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_formats::digest::Digest;
use headwater_formats::names::{AliasName, ProjectName};
use headwater_formats::timestamp::Timestamp;

use super::ingest::Expected;
use super::{Listing, Packing, Prepared, Progress, PublishError, Published, Publisher, Source, blocking, hash};
use crate::catalog::ImageAlias;

/// Endings of a tarball's name.
const TARBALL: &[&str] = &[".tar.xz", ".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.lz4", ".tar.lzma", ".tar"];
/// Names of metadata tarballs, without their ending.
const METADATA: &[&str] = &["incus", "lxd", "meta", "metadata"];
/// Names of root files, without their ending.
const ROOT: &[&str] = &["rootfs", "root", "disk"];
/// Most entries of a folder that are looked at: a folder with more was not left by a builder.
const MAX_ENTRIES: usize = 10_000;
/// Most bytes of a `SHA256SUMS`.
const MAX_SUMS: u64 = 1 << 20;

/// How the images of a folder are to be listed.
#[derive(Debug, Clone)]
pub struct DirectoryRequest {
    /// The project.
    pub project: ProjectName,
    /// Fixed aliases; only for a folder with one image.
    pub aliases: Vec<AliasName>,
    /// Whether guests may see the images.
    pub public: bool,
    /// Properties that are added to those of metadata.yaml, or replace them.
    pub properties: BTreeMap<String, String>,
    /// How root files are to be packed.
    pub packing: Packing,
}

/// An image that a folder holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedImage {
    /// The metadata file of a split image, or the only file of a unified one.
    pub first: PathBuf,
    /// The root file of a split image.
    pub root: Option<PathBuf>,
    /// What `SHA256SUMS` says of these files.
    pub expected: BTreeMap<PathBuf, Digest>,
}

/// What a name says of a file.
enum Part {
    Metadata,
    Root,
    Tarball,
}

fn part(name: &str) -> Option<Part> {
    if name.starts_with('.') {
        return None;
    }
    let tarball = TARBALL.iter().find_map(|ending| name.strip_suffix(ending));
    let disk = [".squashfs", ".qcow2"].iter().find_map(|ending| name.strip_suffix(ending));
    match (tarball, disk) {
        (Some(stem), _) if METADATA.contains(&stem) => Some(Part::Metadata),
        (Some(stem), _) if ROOT.contains(&stem) => Some(Part::Root),
        (Some(_), _) => Some(Part::Tarball),
        (None, Some(_)) => Some(Part::Root),
        (None, None) => None,
    }
}

/// Tells which images a folder holds, without changing anything.
///
/// # Errors
/// [`PublishError::Refused`] when there is none, or when it cannot be told which files belong together; the sentence
/// names the files.
pub fn plan_directory(folder: &Path) -> Result<Vec<PlannedImage>, PublishError> {
    let shown = folder.display().to_string();
    let refused = |reason: String| PublishError::refused(&shown, reason);
    let names = file_names(folder).map_err(|error| PublishError::read(&shown, error))?;
    let (mut metadata, mut roots, mut tarballs) = (Vec::new(), Vec::new(), Vec::new());
    for name in names {
        match part(&name) {
            Some(Part::Metadata) => metadata.push(name),
            Some(Part::Root) => roots.push(name),
            Some(Part::Tarball) => tarballs.push(name),
            None => {}
        }
    }
    if metadata.len() > 1 {
        one_of_equals(folder, &mut metadata)?;
    }
    let pairs: Vec<(String, Option<String>)> = match (&metadata[..], &roots[..], &tarballs[..]) {
        ([], [], []) => {
            return Err(refused(
                "there is no image in this folder; an image is a metadata tarball (incus.tar.xz, lxd.tar.xz, metadata.tar.xz) \
                 with a root file (rootfs.squashfs, rootfs.tar.xz, disk.qcow2), or one unified tarball"
                    .to_owned(),
            ));
        }
        ([], [], [unified]) => vec![(unified.clone(), None)],
        ([], [], several) => {
            return Err(refused(format!(
                "there are several tarballs in this folder ({}), and no telling which is the image; give one of them",
                several.join(", ")
            )));
        }
        ([], [squashfs], []) if squashfs.ends_with(".squashfs") => vec![(squashfs.clone(), None)],
        ([], roots, _) => {
            return Err(refused(format!(
                "there is a root file ({}), but no metadata tarball (incus.tar.xz, lxd.tar.xz or metadata.tar.xz) beside it; add one",
                roots.join(", ")
            )));
        }
        ([metadata], [], _) => {
            return Err(refused(format!(
                "there is a metadata tarball ({metadata}), but no root file (rootfs.squashfs, rootfs.tar.xz or disk.qcow2) beside it; add one"
            )));
        }
        ([metadata, ..], roots, _) => roots.iter().map(|root| (metadata.clone(), Some(root.clone()))).collect(),
    };
    let sums = checksums(folder)?;
    let planned = |(first, root): (String, Option<String>)| {
        let listed = |name: &String| sums.get(name).map(|digest| (folder.join(name), *digest));
        PlannedImage {
            expected: std::iter::once(&first).chain(&root).filter_map(listed).collect(),
            first: folder.join(first),
            root: root.map(|root| folder.join(root)),
        }
    };
    Ok(pairs.into_iter().map(planned).collect())
}

/// The names of the files in the folder that are texts, in order.
fn file_names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)?.take(MAX_ENTRIES) {
        let entry = entry?;
        // Through links: builders on shared storage leave those.
        if fs::metadata(entry.path()).is_ok_and(|about| about.is_file())
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// A folder for both LXD and Incus has the same metadata under both names.
fn one_of_equals(folder: &Path, names: &mut Vec<String>) -> Result<(), PublishError> {
    let mut digests = Vec::new();
    for name in names.iter() {
        let path = folder.join(name);
        let digest = hash::of_file(&path).map_err(|error| PublishError::read(path.display().to_string(), error))?;
        digests.push(digest);
    }
    if digests.iter().any(|digest| *digest != digests[0]) {
        return Err(PublishError::refused(
            folder.display().to_string(),
            format!(
                "there are several metadata tarballs ({}) that differ, and no telling which is meant; give the files one by one",
                names.join(", ")
            ),
        ));
    }
    names.truncate(1);
    Ok(())
}

/// `SHA256SUMS`, as `sha256sum` writes it; nothing when there is none.
fn checksums(folder: &Path) -> Result<BTreeMap<String, Digest>, PublishError> {
    let path = folder.join("SHA256SUMS");
    let shown = path.display().to_string();
    let refused = |reason: &str| PublishError::refused(&shown, reason);
    let mut bytes = Vec::new();
    match File::open(&path) {
        Ok(file) => {
            file.take(MAX_SUMS + 1).read_to_end(&mut bytes).map_err(|error| PublishError::read(&shown, error))?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(PublishError::read(&shown, error)),
    };
    if bytes.len() as u64 > MAX_SUMS {
        // Half of it would leave files unchecked.
        return Err(refused("it has more than 1 MiB; write it with sha256sum, for the files beside it"));
    }
    let text = String::from_utf8(bytes).map_err(|_| refused("it is not written in UTF-8; write it with sha256sum"))?;
    let mut sums = BTreeMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        // Two blanks, or a blank and an asterisk, which stands for reading the file as it is.
        let parsed = line.split_once(' ').and_then(|(digest, name)| {
            let name = name.strip_prefix(['*', ' ']).unwrap_or(name);
            Some((name.trim_start_matches("./").to_owned(), digest.parse().ok()?))
        });
        let Some((name, digest)) = parsed else {
            let reason = format!("line {} is not a SHA-256 value and a file name; write it with sha256sum", number + 1);
            return Err(PublishError::refused(shown, reason));
        };
        sums.insert(name, digest);
    }
    Ok(sums)
}

impl Publisher {
    /// Publishes all images of a folder. All of them are staged and checked before the first is listed, so that a bad
    /// one leaves nothing. When the last step fails for one of them, those before it stay, and publishing again goes on.
    pub async fn publish_directory(
        &self,
        folder: &Path,
        request: DirectoryRequest,
        progress: Arc<dyn Progress>,
        now: Timestamp,
    ) -> Result<Vec<Published>, PublishError> {
        let packing = request.packing.in_project(&self.require_project(&request.project).await?);
        let owned = folder.to_owned();
        let planned = blocking(move || plan_directory(&owned)).await?;
        if planned.len() > 1 && !request.aliases.is_empty() {
            let reason = format!(
                "it holds {} images, and an alias leads to one; publish them file by file, or without an alias",
                planned.len()
            );
            return Err(PublishError::refused(folder.display().to_string(), reason));
        }
        let mut staged = Vec::new();
        for image in planned {
            let by_shown_name = image.expected.iter().map(|(path, digest)| (path.display().to_string(), *digest));
            let expected = Expected(by_shown_name.collect());
            let root = image.root.map(Source::File);
            staged.push(self.stage(Source::File(image.first), root, expected, packing, Arc::clone(&progress)).await?);
        }
        let DirectoryRequest { project, aliases, public, properties, packing: _ } = request;
        let aliases = aliases.into_iter().map(ImageAlias::from).collect();
        let listing = Listing { aliases, public, properties, ..Listing::default() };
        let mut published = Vec::new();
        for staging in staged {
            let prepared = Prepared { staging, project: project.clone(), listing: listing.clone() };
            published.push(self.list_one(prepared, now).await?);
        }
        Ok(published)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn plan(files: &[(&str, &str)]) -> Result<Vec<(String, Option<String>)>, String> {
        let folder = folder(files);
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        match plan_directory(folder.path()) {
            Ok(images) => Ok(images.iter().map(|i| (name(&i.first), i.root.as_deref().map(name))).collect()),
            Err(error) => Err(error.to_string().replace(folder.path().to_str().unwrap(), "FOLDER")),
        }
    }

    fn pair(first: &str, root: &str) -> (String, Option<String>) {
        (first.to_owned(), Some(root.to_owned()))
    }

    #[test]
    fn what_builders_leave_is_found() {
        assert_eq!(
            plan(&[("incus.tar.xz", "m"), ("rootfs.squashfs", "r"), ("image.yaml", ""), (".hidden.tar.xz", "")]),
            Ok(vec![pair("incus.tar.xz", "rootfs.squashfs")])
        );
        assert_eq!(
            plan(&[("lxd.tar.xz", "m"), ("rootfs.squashfs", "r"), ("disk.qcow2", "d"), ("SHA256SUMS", "")]),
            Ok(vec![pair("lxd.tar.xz", "disk.qcow2"), pair("lxd.tar.xz", "rootfs.squashfs")])
        );
        assert_eq!(
            plan(&[("meta.tar.xz", "m"), ("rootfs.tar.xz", "r")]),
            Ok(vec![pair("meta.tar.xz", "rootfs.tar.xz")])
        );
        assert_eq!(
            plan(&[("incus.tar.xz", "m"), ("lxd.tar.xz", "m"), ("rootfs.squashfs", "r")]),
            Ok(vec![pair("incus.tar.xz", "rootfs.squashfs")]),
            "the same metadata under both names"
        );
        assert_eq!(
            plan(&[("debian-bookworm-x86_64.tar.xz", "u"), ("build.log", "")]),
            Ok(vec![("debian-bookworm-x86_64.tar.xz".to_owned(), None)])
        );
        assert_eq!(plan(&[("unified.squashfs", "u")]), Ok(vec![("unified.squashfs".to_owned(), None)]));
    }

    #[test]
    fn what_cannot_be_told_is_said() {
        let said = |files: &[(&str, &str)]| plan(files).unwrap_err();
        assert_eq!(
            said(&[("README", "")]),
            "\"FOLDER\" cannot be published: there is no image in this folder; an image is a metadata tarball (incus.tar.xz, lxd.tar.xz, metadata.tar.xz) \
             with a root file (rootfs.squashfs, rootfs.tar.xz, disk.qcow2), or one unified tarball"
        );
        assert_eq!(
            said(&[("a.tar.xz", ""), ("b.tar.gz", "")]),
            "\"FOLDER\" cannot be published: there are several tarballs in this folder (a.tar.xz, b.tar.gz), and no telling which is the image; give one of them"
        );
        assert_eq!(
            said(&[("disk.qcow2", "")]),
            "\"FOLDER\" cannot be published: there is a root file (disk.qcow2), but no metadata tarball (incus.tar.xz, lxd.tar.xz or metadata.tar.xz) beside it; add one"
        );
        assert_eq!(
            said(&[("lxd.tar.xz", "")]),
            "\"FOLDER\" cannot be published: there is a metadata tarball (lxd.tar.xz), but no root file (rootfs.squashfs, rootfs.tar.xz or disk.qcow2) beside it; add one"
        );
        assert_eq!(
            said(&[("incus.tar.xz", "a"), ("lxd.tar.xz", "b"), ("rootfs.squashfs", "")]),
            "\"FOLDER\" cannot be published: there are several metadata tarballs (incus.tar.xz, lxd.tar.xz) that differ, and no telling which is meant; give the files one by one"
        );
        assert_eq!(
            said(&[("lxd.tar.xz", "a"), ("disk.qcow2", ""), ("SHA256SUMS", "not a sum\n")]),
            "\"FOLDER/SHA256SUMS\" cannot be published: line 1 is not a SHA-256 value and a file name; write it with sha256sum"
        );
        assert_eq!(
            plan_directory(Path::new("/nowhere/at/all")).unwrap_err().to_string(),
            "\"/nowhere/at/all\" cannot be read: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn checksums_are_read_as_sha256sum_writes_them() {
        let sum = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
        let sums = format!("{sum}  incus.tar.xz\n\n{sum} *./rootfs.squashfs\n");
        let folder = folder(&[("incus.tar.xz", "foo"), ("rootfs.squashfs", "foo"), ("SHA256SUMS", &sums)]);
        let planned = plan_directory(folder.path()).unwrap();
        assert_eq!(planned[0].expected.len(), 2);
        assert!(planned[0].expected.values().all(|digest| digest.to_string() == sum));
    }
}
