//! `headwater image export`

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_formats::image::{FileRole, ImageFile, ImageFiles};
use headwater_formats::lxd::export;
use sha2::{Digest as _, Sha256};

use super::Named;
use crate::app::App;
use crate::blobs::Blobs;
use crate::catalog::StoredImage;
use crate::cli::bar;
use crate::cli::out::Out;
use crate::cli::stop::Stop;
use crate::publish::Progress;

/// Write the files of an image into a directory
///
/// A unified image becomes FINGERPRINT.tar.gz (or what it is compressed with), a split one meta-FINGERPRINT.tar.xz and
/// FINGERPRINT.squashfs. When TARGET is no directory, it is the name of the file instead: TARGET.tar.gz, or TARGET and
/// TARGET.root. Files that exist are never overwritten, and bytes are compared with their fingerprint on the way out.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  headwater image export debian/12
  headwater image export debian/12 /tmp/images/
  headwater image export 1f2e3d ./my-image")]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    image: Named,
    /// A directory, or the name for the file
    #[arg(default_value = ".")]
    target: PathBuf,
}

pub(super) async fn run(args: Args, app: &App, out: &Out) -> Result<(), Stop> {
    let stored = args.image.find(app).await?;
    let files = targets(&stored, &args.target);
    for (_, path) in &files {
        if path.symlink_metadata().is_ok() {
            return Err(Stop::failed(format!(
                "{} exists already; move it away, or choose another target",
                path.display()
            )));
        }
    }
    let digests: Vec<_> = files.iter().map(|(file, _)| file.digest).collect();
    if let Some(absent) = app.catalog.absent(&digests).await?.first() {
        return Err(Stop::failed(format!(
            "the bytes of {absent} are not here, because an upstream only promises them; copy the image from this server with a client, which brings \
             them, and export it then"
        )));
    }
    let (blobs, progress) = (app.blobs.clone(), bar::progress(out));
    let written = tokio::task::spawn_blocking(move || write_all(&blobs, files, &progress)).await??;
    out.data(&written.iter().map(|path| format!("{}\n", path.display())).collect::<String>())
}

/// Where each file goes.
fn targets(stored: &StoredImage, target: &Path) -> Vec<(ImageFile, PathBuf)> {
    let image = &stored.image;
    let names = export::names(&image.fingerprint, &image.files);
    let inside = target.is_dir() || target.as_os_str().as_encoded_bytes().ends_with(b"/");
    let appended = |suffix: &str| {
        let mut path = target.as_os_str().to_owned();
        path.push(suffix);
        PathBuf::from(path)
    };
    let unified = matches!(image.files, ImageFiles::Unified(_));
    let place = |((role, file), name): ((FileRole, ImageFile), String)| {
        let path = match role {
            _ if inside => target.join(name),
            FileRole::Root => appended(".root"),
            _ if unified => appended(&format!(".{}", file.format.extension())),
            _ => target.to_owned(),
        };
        (file, path)
    };
    image.files.iter().zip(names).map(place).collect()
}

/// Writes all the files, or none.
fn write_all(
    blobs: &Blobs,
    files: Vec<(ImageFile, PathBuf)>,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<PathBuf>, Stop> {
    let mut ready = Vec::new();
    for (file, path) in files {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        if !folder.is_dir() {
            return Err(Stop::failed(format!(
                "{} cannot be written: there is no folder {}; make it first",
                path.display(),
                folder.display()
            )));
        }
        // As other programs make files: readable to all, as far as the umask lets it.
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        let mut staged = tempfile::Builder::new()
            .prefix(".headwater-export-")
            .permissions(permissions)
            .tempfile_in(folder)
            .map_err(|error| {
                // The name of the staged file, which follows, is nobody's business.
                let error = error.to_string();
                let cause = error.split(" at path ").next().unwrap_or_default();
                Stop::failed(format!("{} cannot be written: {cause}", path.display()))
            })?;
        copy(blobs, &file, staged.as_file_mut(), &path, progress)?;
        ready.push((staged, path));
    }
    let mut written = Vec::new();
    for (staged, path) in ready {
        staged
            .persist_noclobber(&path)
            .map_err(|error| Stop::failed(format!("{} cannot be written: {}", path.display(), error.error)))?;
        written.push(path);
    }
    Ok(written)
}

fn copy(
    blobs: &Blobs,
    file: &ImageFile,
    target: &mut File,
    path: &Path,
    progress: &Arc<dyn Progress>,
) -> Result<(), Stop> {
    let Some(mut blob) = blobs.open_blob(&file.digest)? else {
        return Err(Stop::failed(format!(
            "the bytes of {} are missing from the store; `headwater verify` tells what else is",
            file.name()
        )));
    };
    progress.begin(&path.display().to_string(), Some(blob.size));
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 256 * 1024]);
    loop {
        let length = blob.file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        hasher.update(&buffer[..length]);
        target
            .write_all(&buffer[..length])
            .map_err(|error| Stop::failed(format!("{} cannot be written: {error}", path.display())))?;
        progress.advance(length as u64);
    }
    progress.end();
    if hasher.finalize().as_slice() != file.digest.as_bytes() {
        return Err(Stop::failed(format!(
            "the stored bytes of {} are damaged; publish the image again, `headwater verify` tells what else is",
            file.name()
        )));
    }
    Ok(())
}
