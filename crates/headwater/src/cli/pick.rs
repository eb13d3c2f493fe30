//! Finds the image that somebody named: by alias, else by the first characters of its fingerprint, as `lxc` does.
//!
//! When there is none, or more than one, the error names the ones that may have been meant.

use headwater_formats::arch::Architecture;
use headwater_formats::digest::{Fingerprint, FingerprintPrefix};
use headwater_formats::image::ImageType;
use headwater_formats::names::{AliasName, ProjectName};

use super::place::check_project;
use super::stop::Stop;
use crate::app::App;
use crate::auth::Viewer;
use crate::catalog::{Found, StoredImage, Wanted};

/// How many names an error suggests.
const SUGGESTED: usize = 5;
/// How many aliases are looked through for one that resembles what was typed.
const LOOKED_THROUGH: usize = 10_000;

/// The image that this name leads to in that project.
pub(super) async fn image(app: &App, project: &ProjectName, name: &str, vm: bool) -> Result<StoredImage, Stop> {
    check_project(app, project).await?;
    let viewer = Viewer::operator();
    if let Ok(alias) = AliasName::new(name)
        && let Some(resolved) = app.catalog.resolve_alias(&viewer, project, &alias, &wanted(vm)).await?
        && let Found::One(image) = app.catalog.image(&viewer, project, &resolved.fingerprint.into()).await?
    {
        return Ok(image);
    }
    let Ok(prefix) = name.parse::<FingerprintPrefix>() else {
        return Err(nothing(app, project, name).await?);
    };
    match app.catalog.image(&viewer, project, &prefix).await? {
        Found::One(image) => Ok(image),
        Found::Nothing => Err(nothing(app, project, name).await?),
        Found::Several => Err(several(app, project, &prefix).await?),
    }
}

/// What this machine can use comes first; a virtual machine only on request.
fn wanted(vm: bool) -> Wanted {
    let mut architectures = Vec::new();
    if let Ok(host) = std::env::consts::ARCH.parse::<Architecture>() {
        architectures.push(host);
        architectures.extend(host.personalities());
    }
    Wanted { architectures, image_type: vm.then_some(ImageType::VirtualMachine) }
}

async fn nothing(app: &App, project: &ProjectName, name: &str) -> Result<Stop, Stop> {
    let mut sentence = format!("there is no image {name:?}");
    if !project.is_default() {
        sentence.push_str(&format!(" in the project {:?}", project.as_str()));
    }
    let close = similar(app, project, name).await?;
    if close.is_empty() {
        sentence.push_str("; `headwater image list` shows the ones there are");
    } else {
        sentence.push_str(&format!("; did you mean {}?", close.join(", ")));
    }
    Ok(Stop::failed(sentence))
}

async fn several(app: &App, project: &ProjectName, prefix: &FingerprintPrefix) -> Result<Stop, Stop> {
    let (mut after, mut found) = (first_of(prefix), Vec::new());
    while found.len() <= SUGGESTED {
        let page = app.catalog.images(&Viewer::operator(), project, after, SUGGESTED + 1).await?;
        let fitting = page.iter().map(|stored| stored.image.fingerprint.to_string());
        let before = found.len();
        found.extend(fitting.filter(|fingerprint| fingerprint.starts_with(prefix.as_str())));
        after = page.last().map(|stored| stored.image.fingerprint);
        if found.len() == before || after.is_none() {
            break;
        }
    }
    let more = if found.len() > SUGGESTED { ", …" } else { "" };
    found.truncate(SUGGESTED);
    // Just enough characters to tell the ones that are shown from each other.
    let length = (12..64).find(|&length| all_differ(&found, length)).unwrap_or(64);
    let names: Vec<&str> = found.iter().filter_map(|fingerprint| fingerprint.get(..length)).collect();
    Ok(Stop::failed(format!(
        "more than one image has a fingerprint that begins with {:?}: {}{more}; type more of it",
        prefix.as_str(),
        names.join(", ")
    )))
}

fn all_differ(fingerprints: &[String], length: usize) -> bool {
    let mut starts: Vec<_> = fingerprints.iter().filter_map(|fingerprint| fingerprint.get(..length)).collect();
    starts.dedup();
    starts.len() == fingerprints.len()
}

/// The last fingerprint before all those with this prefix; `None` when there is none.
fn first_of(prefix: &FingerprintPrefix) -> Option<Fingerprint> {
    let padded: Fingerprint = format!("{:0<64}", prefix.as_str()).parse().ok()?;
    let mut bytes = *padded.as_bytes();
    for byte in bytes.iter_mut().rev() {
        let (less, borrow) = byte.overflowing_sub(1);
        *byte = less;
        if !borrow {
            return Some(Fingerprint::from_bytes(bytes));
        }
    }
    None
}

/// Aliases that resemble what was typed, best first, in quotes.
pub(super) async fn similar(app: &App, project: &ProjectName, name: &str) -> Result<Vec<String>, Stop> {
    let aliases = app.catalog.aliases(&Viewer::operator(), project, None, LOOKED_THROUGH).await?;
    let mut close: Vec<(usize, &str)> = aliases
        .iter()
        .map(|alias| (distance(&alias.name.as_str().to_lowercase(), &name.to_lowercase()), alias.name.as_str()))
        .filter(|(distance, _)| *distance <= 1 + name.chars().count() / 6)
        .collect();
    close.sort_unstable();
    Ok(close.into_iter().take(SUGGESTED).map(|(_, name)| format!("{name:?}")).collect())
}

/// How many characters have to be typed, deleted or changed to make one text of the other (Levenshtein). Long texts are
/// never similar.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len() > 255 || b.len() > 255 || a.len().abs_diff(b.len()) > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let changed = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [("", "", 0), ("debian", "debain", 2), ("debian/12", "debian/13", 1), ("", "abc", 3)] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn a_page_begins_before_the_prefix() {
        let prefix = |text: &str| text.parse::<FingerprintPrefix>().unwrap();
        assert_eq!(first_of(&prefix("ab")).unwrap().to_string(), format!("aa{}", "f".repeat(62)));
        assert_eq!(first_of(&prefix("000")), None);
    }
}
