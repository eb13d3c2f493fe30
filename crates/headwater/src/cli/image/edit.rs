//! `headwater image edit`

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Read, Write};
use std::process::Command;

use headwater_formats::image::Image;
use headwater_formats::lxd::WireTime;
use headwater_formats::timestamp::Timestamp;
use headwater_formats::yaml::{self, Entries, Text};
use serde::{Deserialize, Serialize};

use super::{Named, property};
use crate::app::App;
use crate::catalog::ImageEdit;
use crate::cli::now;
use crate::cli::out::{self, Out};
use crate::cli::stop::Stop;

/// Change what is said of an image: who sees it, its properties, its expiry
///
/// With options, does what they say. Without any, opens the YAML of `headwater image show` in an editor ($VISUAL, else
/// $EDITOR, else vi), or reads it from standard input when that is no terminal; keys that are left out stay as they
/// are, except that `properties` are all of them.
///
/// The bytes of an image never change. A change of os, release, variant or serial moves it to another product or version.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  headwater image edit debian/12 --public
  headwater image edit 1f2e3d --property variant=cloud --unset serial
  headwater image edit debian/12 --expires 2027-01-31
  headwater image edit debian/12")]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    image: Named,
    /// Let everybody see and download it
    #[arg(long)]
    public: bool,
    /// Hide it from guests
    #[arg(long, conflicts_with = "public")]
    private: bool,
    /// Set a property. May be repeated
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = property)]
    properties: Vec<(String, String)>,
    /// Remove a property. May be repeated
    #[arg(long = "unset", value_name = "KEY")]
    unset: Vec<String>,
    /// When it expires: 2027-01-31, 2027-01-31T12:00:00Z, or never
    #[arg(long, value_name = "DATE", value_parser = expiry, allow_hyphen_values = true)]
    expires: Option<Expiry>,
}

#[derive(Debug, Clone, Copy)]
struct Expiry(Option<Timestamp>);

fn expiry(text: &str) -> Result<Expiry, String> {
    if text == "never" {
        return Ok(Expiry(None));
    }
    Timestamp::parse_date(text)
        .or_else(|| Timestamp::parse_rfc3339(text))
        .map(|at| Expiry(Some(at)))
        .ok_or_else(|| "write a date as 2027-01-31 or 2027-01-31T12:00:00Z, or never".to_owned())
}

/// What can be changed, in the order in which `lxc image show` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Editable {
    auto_update: Option<bool>,
    properties: Option<BTreeMap<String, String>>,
    public: Option<bool>,
    expires_at: Option<WireTime>,
    profiles: Option<Vec<String>>,
}

/// The same as somebody wrote it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    auto_update: Option<bool>,
    properties: Option<Entries<Option<Text>>>,
    public: Option<bool>,
    expires_at: Option<WireTime>,
    profiles: Option<Vec<Text>>,
}

impl Editable {
    pub(super) fn of(image: &Image) -> Self {
        Self {
            auto_update: Some(image.auto_update),
            properties: Some(image.properties.clone()),
            public: Some(image.public),
            expires_at: Some(image.expires_at.into()),
            profiles: Some(image.profiles.clone()),
        }
    }

    /// Reads what somebody wrote, at most [`LONGEST`] bytes.
    fn parse(text: &str) -> Result<Self, Stop> {
        let written: Written = yaml::read(text)
            .map_err(|error| Stop::failed(format!("this is not what `headwater image show` prints: {error}")))?;
        Ok(Self {
            auto_update: written.auto_update,
            properties: written.properties.map(Entries::into_texts),
            public: written.public,
            expires_at: written.expires_at,
            profiles: written.profiles.map(|names| names.into_iter().map(|Text(name)| name).collect()),
        })
    }

    fn into_edit(self) -> ImageEdit {
        ImageEdit {
            public: self.public,
            properties: self.properties,
            expires_at: self.expires_at.map(|WireTime(at)| at),
            auto_update: self.auto_update,
            profiles: self.profiles,
            update_source: None,
        }
    }
}

/// The longest text that is read.
const LONGEST: u64 = 1 << 20;

const INTRODUCTION: &str = "\
# What can be changed of the image. Lines that begin with # are ignored. Keys that you take out stay as they are,
# properties that you take out go. expires_at 0001-01-01T00:00:00Z is never. An empty file changes nothing.
";

pub(super) async fn run(args: Args, app: &App, out: &Out) -> Result<(), Stop> {
    let stored = args.image.find(app).await?;
    let edit = match by_options(&args, &stored.image)? {
        Some(edit) => edit,
        None => {
            let before = Editable::of(&stored.image);
            let after = if io::stdin().is_terminal() { in_editor(&before)? } else { from_stdin()? };
            let same = |after: &Editable| {
                Editable {
                    auto_update: after.auto_update.or(before.auto_update),
                    properties: after.properties.clone().or(before.properties.clone()),
                    public: after.public.or(before.public),
                    expires_at: after.expires_at.or(before.expires_at),
                    profiles: after.profiles.clone().or(before.profiles.clone()),
                } == before
            };
            match after {
                Some(after) if !same(&after) => after.into_edit(),
                _ => {
                    out.say("nothing changed");
                    return Ok(());
                }
            }
        }
    };
    app.catalog.edit_image(&stored.project, &stored.image.fingerprint, &edit, now()).await?;
    out.say(format!("changed {}", stored.image.fingerprint));
    Ok(())
}

fn by_options(args: &Args, image: &Image) -> Result<Option<ImageEdit>, Stop> {
    let mut edit = ImageEdit::default();
    if args.public || args.private {
        edit.public = Some(args.public);
    }
    if !args.properties.is_empty() || !args.unset.is_empty() {
        let mut properties = image.properties.clone();
        for key in &args.unset {
            if properties.remove(key).is_none() {
                return Err(Stop::failed(format!(
                    "the image has no property {key:?}; `headwater image info {}` shows the ones it has",
                    image.fingerprint.short()
                )));
            }
        }
        properties.extend(args.properties.iter().cloned());
        edit.properties = Some(properties);
    }
    edit.expires_at = args.expires.map(|Expiry(at)| at);
    Ok((edit != ImageEdit::default()).then_some(edit))
}

/// `None` when nothing was written.
fn from_stdin() -> Result<Option<Editable>, Stop> {
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(LONGEST + 1).read_to_end(&mut bytes);
    read.map_err(|error| Stop::failed(format!("standard input cannot be read: {error}")))?;
    if bytes.len() as u64 > LONGEST {
        return Err(Stop::failed("standard input holds more than 1 MiB; no image has so many properties"));
    }
    let text =
        String::from_utf8(bytes).map_err(|_| Stop::failed("standard input is not written in UTF-8; save it as UTF-8"));
    meant(&text?)
}

/// Blank texts, comments aside, mean that nothing shall change.
fn meant(text: &str) -> Result<Option<Editable>, Stop> {
    let blank = text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    if blank { Ok(None) } else { Editable::parse(text).map(Some) }
}

/// Opens the editor, again and again while what it leaves cannot be read and the person wants to go on.
fn in_editor(before: &Editable) -> Result<Option<Editable>, Stop> {
    let mut file = tempfile::Builder::new().prefix("headwater-").suffix(".yaml").tempfile()?;
    write!(file, "{INTRODUCTION}\n{}", out::yaml(before)?)?;
    file.flush()?;
    let editor = ["VISUAL", "EDITOR"]
        .into_iter()
        .filter_map(std::env::var_os)
        .find(|value| !value.is_empty())
        .unwrap_or_else(|| OsString::from("vi"));
    loop {
        // Through a shell, because the variable may hold arguments: EDITOR="code --wait".
        let mut line = editor.clone();
        line.push(" \"$1\"");
        let status = Command::new("sh").arg("-c").arg(line).arg("sh").arg(file.path()).status()?;
        if !status.success() {
            return Err(Stop::failed(format!("the editor {editor:?} ended with {status}; nothing changed")));
        }
        let text = std::fs::read_to_string(file.path())?;
        match meant(&text) {
            Ok(after) => return Ok(after),
            Err(stop) => {
                let _ = stop.tell();
                let _ = writeln!(io::stderr().lock(), "Press enter to open the editor again, or ctrl+c to give up.");
                if io::stdin().read_line(&mut String::new())? == 0 {
                    return Err(Stop::Said);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_text_means_no_change() {
        assert_eq!(meant("\n# a\n  # b\n").unwrap(), None);
    }

    #[test]
    fn a_misspelt_key_is_an_error() {
        assert!(matches!(meant("publik: true\n"), Err(Stop::Failed(sentence)) if sentence.contains("publik")));
    }

    #[test]
    fn texts_stay_texts() {
        let editable = meant("properties:\n  release: 22.10\n  serial: 20240101\nexpires_at: 0001-01-01T00:00:00Z\n");
        let edit = editable.unwrap().unwrap().into_edit();
        let properties = edit.properties.unwrap();
        assert_eq!((properties["release"].as_str(), properties["serial"].as_str()), ("22.10", "20240101"));
        assert_eq!(edit.expires_at, Some(None));
        assert_eq!(edit.public, None);
    }
}
