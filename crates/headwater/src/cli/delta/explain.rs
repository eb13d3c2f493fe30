//! `headwater delta explain`

use std::fmt::{self, Write};
use std::io::Read;

use headwater_formats::digest::{Digest, Fingerprint};
use headwater_formats::image::{FileFormat, ImageFile};
use headwater_formats::inspect::Packing;
use serde::Serialize;

use super::{images, pair, part, percent, root};
use crate::app::App;
use crate::catalog::{ClaimedDelta, DeltaRow, DeltaState, StoredImage};
use crate::cli::InProject;
use crate::cli::human::{count, one_line, size};
use crate::cli::out::Out;
use crate::cli::place::Place;
use crate::cli::stop::Stop;
use crate::deltas::{Deltas, Verdict};

/// Tell what deltas to an image save, or why there are none
///
/// For each base: what the delta saves when there is one, else why there is none and what a sample of the image promises. How the root file is
/// packed decides most of it, so that is told, too.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  headwater delta explain debian/12
  headwater delta explain debian/12 --from 1f2e3d4c5b6a
  headwater delta explain debian/12 --format json")]
pub(in crate::cli) struct Args {
    /// The image that hosts are to get: an alias, or the first characters of a fingerprint
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Only the delta from this older image
    #[arg(long, value_name = "IMAGE")]
    from: Option<String>,
    /// When an alias leads to a container and a virtual machine, take the virtual machine
    #[arg(long)]
    vm: bool,
    #[command(flatten)]
    project: InProject,
}

#[derive(Serialize)]
struct Explained {
    image: Fingerprint,
    #[serde(skip_serializing_if = "Option::is_none")]
    product: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<RootFile>,
    /// Why there is no delta at all; empty when there may be some.
    why: String,
    deltas: Vec<One>,
    /// What would help.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

#[derive(Serialize)]
struct RootFile {
    digest: Digest,
    size: u64,
    format: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    compression: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_size: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fragments: Option<u32>,
}

#[derive(Serialize)]
struct One {
    base_version: String,
    base: Digest,
    base_size: u64,
    /// `none` when nobody asked for it.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    percent: Option<u64>,
    /// What a sample promises.
    #[serde(skip_serializing_if = "Option::is_none")]
    sampled_percent: Option<u64>,
    clients: u64,
    why: String,
}

pub(super) async fn run(args: Args, app: &App, deltas: &Deltas, place: &Place, out: &Out) -> Result<(), Stop> {
    let (image, base) = images(app, &args.project, args.vm, &args.image, args.from.as_deref()).await?;
    let mut explained = Explained {
        image: image.image.fingerprint,
        product: image.placement.as_ref().map(|place| place.product.clone()),
        version: image.placement.as_ref().map(|place| place.version.to_string()),
        root: None,
        why: String::new(),
        deltas: Vec::new(),
        advice: None,
    };
    match root(&image) {
        Ok(file) => {
            let packing = packing(app, &file).await?;
            explained.advice = packing.filter(|packing| !packing.is_good_for_deltas()).map(|packing| advice(&packing));
            explained.root = Some(RootFile {
                digest: file.digest,
                size: file.size,
                format: file.format.to_string(),
                compression: packing.map(|packing| packing.compression),
                block_size: packing.map(|packing| packing.block_size),
                fragments: packing.map(|packing| packing.fragments),
            });
            explained.deltas = each(app, deltas, &image, base.as_ref(), &file).await?;
            explained.why = why(&explained, &image, place);
        }
        Err(why) => explained.why = why,
    }
    let mut text = String::new();
    write(&mut text, &explained)?;
    out.object(&explained, || text)
}

/// What there is to say of each base.
async fn each(
    app: &App,
    deltas: &Deltas,
    image: &StoredImage,
    base: Option<&StoredImage>,
    target: &ImageFile,
) -> Result<Vec<One>, Stop> {
    let rows = known(app, image, target).await?;
    let mut all = Vec::new();
    match base {
        Some(base) => {
            let wish = pair(image, base).map_err(Stop::failed)?;
            let version = base.placement.as_ref().map(|place| place.version.to_string()).unwrap_or_default();
            let row = rows.into_iter().find(|row| row.base.digest == wish.base);
            all.push(one(deltas, target, &root(base).map_err(Stop::failed)?, version, row.as_ref(), 0).await?);
        }
        None => {
            let wishes = deltas.wishes_to(&target.digest).await?;
            for row in &rows {
                all.push(one(deltas, target, &row.base, row.place.base_version.to_string(), Some(row), 0).await?);
            }
            for wish in wishes.iter().filter(|wish| rows.iter().all(|row| row.base.digest != wish.base)) {
                let pair = ClaimedDelta { target: *target, base: ImageFile { digest: wish.base, ..*target } };
                let version = app.catalog.delta_place(&pair).await?.map(|place| place.base_version.to_string());
                let file = ImageFile { size: stored_size(app, &wish.base).await?, ..pair.base };
                all.push(one(deltas, target, &file, version.unwrap_or_default(), None, wish.clients).await?);
            }
        }
    }
    Ok(all)
}

/// The deltas to this file that the catalog knows, of this image's project.
async fn known(app: &App, image: &StoredImage, target: &ImageFile) -> Result<Vec<DeltaRow>, Stop> {
    let (mut found, mut after): (Vec<DeltaRow>, _) = (Vec::new(), None);
    loop {
        let (page, next) = app.catalog.deltas(&image.project, after.as_deref(), 500).await?;
        for row in page.into_iter().filter(|row| row.target.digest == target.digest) {
            // A base that several versions have is told once.
            if found.iter().all(|known| known.base.digest != row.base.digest) {
                found.push(row);
            }
        }
        after = next;
        if after.is_none() {
            return Ok(found);
        }
    }
}

async fn one(
    deltas: &Deltas,
    target: &ImageFile,
    base: &ImageFile,
    base_version: String,
    row: Option<&DeltaRow>,
    clients: u64,
) -> Result<One, Stop> {
    let made = row.and_then(|row| row.file);
    let sampled = match made {
        Some(_) => None,
        None => match deltas.look(&ClaimedDelta { target: *target, base: *base }).await {
            Ok(sampled) => sampled,
            Err(Verdict::Refused(why) | Verdict::Failed(why) | Verdict::Trouble(why)) => return Err(Stop::failed(why)),
            Err(Verdict::Stopped) => None,
        },
    };
    Ok(One {
        base_version,
        base: base.digest,
        base_size: base.size,
        state: row.map_or("none", |row| row.state.as_str()),
        size: made.map(|file| file.size),
        percent: made.map(|file| part(file.size, target.size)),
        sampled_percent: sampled.map(|sampled| sampled.percent()),
        clients: row.map_or(clients, |row| row.clients),
        why: row.map(|row| row.why.clone()).unwrap_or_default(),
    })
}

async fn stored_size(app: &App, digest: &Digest) -> Result<u64, Stop> {
    let (blobs, digest) = (app.blobs.clone(), *digest);
    let found = tokio::task::spawn_blocking(move || blobs.stat(&digest)).await??;
    Ok(found.unwrap_or_default())
}

/// How a squashfs was packed.
async fn packing(app: &App, file: &ImageFile) -> Result<Option<Packing>, Stop> {
    if file.format != FileFormat::Squashfs {
        return Ok(None);
    }
    let (blobs, file) = (app.blobs.clone(), *file);
    let read = move || -> std::io::Result<Option<Packing>> {
        let Some(blob) = blobs.open_blob(&file.digest)? else { return Ok(None) };
        let mut head = Vec::new();
        blob.reader().take(Packing::HEAD).read_to_end(&mut head)?;
        Ok(Packing::read(&head, blob.size).ok())
    };
    Ok(tokio::task::spawn_blocking(read).await??)
}

fn advice(packing: &Packing) -> String {
    let reason = match (packing.block_size > 128 << 10, packing.fragments > 0) {
        (true, true) => "its blocks are larger than 128 KiB, and the ends of many files share blocks",
        (true, false) => "its blocks are larger than 128 KiB",
        _ => "the ends of many files share blocks",
    };
    format!(
        "{reason}, so that a small change makes much of it new; `headwater publish --repack` packs it so that deltas are smaller"
    )
}

/// Why no delta to this image is listed; empty when one is.
fn why(explained: &Explained, image: &StoredImage, place: &Place) -> String {
    if explained.deltas.iter().any(|one| one.state == DeltaState::Ready.as_str()) {
        return String::new();
    }
    if image.placement.is_none() {
        return "it has no os and release, so that it is in no product, and deltas are listed in products".to_owned();
    }
    if explained.deltas.is_empty() {
        return "there is no older version of the same type that a delta could start from".to_owned();
    }
    if explained.deltas.iter().all(|one| one.state == "none") {
        return match place.config.deltas.enabled {
            true => "nobody has asked for one: a server makes those to the newest version; `headwater delta build` makes this one",
            false => "servers are set up to make none (deltas.enabled is false); `headwater delta build` makes one",
        }
        .to_owned();
    }
    String::new()
}

fn write(text: &mut String, explained: &Explained) -> fmt::Result {
    writeln!(text, "Image: {}", explained.image)?;
    if let (Some(product), Some(version)) = (&explained.product, &explained.version) {
        writeln!(text, "Product: {}", one_line(product))?;
        writeln!(text, "Version: {}", one_line(version))?;
    }
    if let Some(root) = &explained.root {
        write!(text, "Root file: {}, {}", root.format, size(root.size))?;
        if let (Some(compression), Some(block), Some(fragments)) = (root.compression, root.block_size, root.fragments) {
            let shared = if fragments > 0 { "with fragments" } else { "without fragments" };
            write!(text, ", {compression}, blocks of {}, {shared}", size(block.into()))?;
        }
        writeln!(text)?;
        for one in &explained.deltas {
            writeln!(text, "From {}: {}", one_line(&one.base_version), tell(one, root.size))?;
        }
    }
    if !explained.why.is_empty() {
        writeln!(text, "No delta: {}", one_line(&explained.why))?;
    }
    if let Some(advice) = &explained.advice {
        writeln!(text, "Packing: {advice}")?;
    }
    Ok(())
}

fn tell(one: &One, full: u64) -> String {
    let clients = match one.clients {
        0 => String::new(),
        1 => "; 1 client was seen to hold it".to_owned(),
        many => format!("; {} clients were seen to hold it", count(many)),
    };
    let state = match (one.size, one.state) {
        (Some(delta), _) => {
            let saved = size(full.saturating_sub(delta));
            format!("ready, {}, {} of the full file: saves {saved}", size(delta), percent(delta, full))
        }
        (None, "none") => "not asked for".to_owned(),
        (None, state) if one.why.is_empty() => state.to_owned(),
        (None, state) => format!("{state}: {}", one_line(&one.why)),
    };
    match one.sampled_percent {
        Some(percent) => format!("{state}; by a sample, it would have about {percent}% of the full file{clients}"),
        None => format!("{state}{clients}"),
    }
}
