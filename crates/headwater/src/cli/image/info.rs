//! `headwater image info`

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use headwater_formats::digest::Digest;

use super::{Named, wire, yes_no};
use crate::app::App;
use crate::catalog::StoredImage;
use crate::cli::human::{minute, one_line, size};
use crate::cli::out::Out;
use crate::cli::stop::Stop;

/// Tell all about an image
///
/// Text for people; with --format json or yaml, the image as the LXD API gives it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  headwater image info debian/12
  headwater image info 1f2e3d --format json")]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    image: Named,
}

pub(super) async fn run(args: Args, app: &App, out: &Out) -> Result<(), Stop> {
    let stored = args.image.find(app).await?;
    let mut text = String::new();
    let files: Vec<_> = stored.image.files.iter().map(|(_, file)| file.digest).collect();
    let absent = app.catalog.absent(&files).await?;
    write(&mut text, &stored, &absent)?;
    out.object(&wire(&stored), || text)
}

fn write(text: &mut String, stored: &StoredImage, absent: &BTreeSet<Digest>) -> fmt::Result {
    let image = &stored.image;
    writeln!(text, "Fingerprint: {}", image.fingerprint)?;
    writeln!(text, "Size: {}", size(image.files.size()))?;
    writeln!(text, "Architecture: {}", image.architecture)?;
    writeln!(text, "Type: {}", image.image_type)?;
    writeln!(text, "Public: {}", yes_no(image.public))?;
    writeln!(text, "Project: {}", stored.project)?;
    if let Some(placement) = &stored.placement {
        writeln!(text, "Product: {}", one_line(&placement.product))?;
        writeln!(text, "Version: {}", placement.version)?;
    }
    writeln!(text, "Files:")?;
    for (role, file) in image.files.iter() {
        let held = if absent.contains(&file.digest) { ", not held: it comes when somebody asks for it" } else { "" };
        writeln!(text, "    {}: {} ({}{held})", role.as_str(), file.name(), size(file.size))?;
    }
    let moment = |at: Option<_>| at.map_or_else(|| "never".to_owned(), minute);
    writeln!(text, "Timestamps:")?;
    writeln!(text, "    Created: {}", minute(image.created_at))?;
    writeln!(text, "    Uploaded: {}", minute(image.uploaded_at))?;
    writeln!(text, "    Expires: {}", moment(image.expires_at))?;
    writeln!(text, "    Last used: {}", moment(image.last_used_at))?;
    writeln!(text, "Properties:")?;
    for (key, value) in &image.properties {
        writeln!(text, "    {}: {}", one_line(key), one_line(value))?;
    }
    writeln!(text, "Aliases:")?;
    for alias in &stored.aliases {
        match alias.description.as_str() {
            "" => writeln!(text, "    - {}", one_line(alias.name.as_str()))?,
            description => writeln!(text, "    - {} ({})", one_line(alias.name.as_str()), one_line(description))?,
        }
    }
    writeln!(text, "Auto update: {}", if image.auto_update { "enabled" } else { "disabled" })?;
    if let Some(source) = &image.update_source {
        writeln!(text, "Source:")?;
        writeln!(text, "    Server: {}", one_line(&source.server))?;
        writeln!(text, "    Protocol: {}", one_line(&source.protocol))?;
        writeln!(text, "    Alias: {}", one_line(&source.alias))?;
    }
    if !image.profiles.is_empty() {
        writeln!(text, "Profiles:")?;
    }
    for profile in &image.profiles {
        writeln!(text, "    - {}", one_line(profile))?;
    }
    Ok(())
}
