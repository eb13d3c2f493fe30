//! `headwater mirror add` and `edit`.

use std::path::{Path, PathBuf};

use headwater_formats::names::UpstreamName;
use headwater_formats::simplestreams::select::Selection;

use super::super::bytes::Bytes;
use super::super::duration::Seconds;
use super::super::out::Out;
use super::super::stop::Stop;
use super::super::{InProject, OnOff, now};
use crate::app::App;
use crate::catalog::{UpstreamProtocol, UpstreamSettings};
use crate::client::trust::Trust;
use crate::client::{Client, Limits};
use crate::openpgp::{Keyring, VerifyError};

/// Mirror another image server
///
/// Images that it lists, and that the filter lets pass, are kept here as it has them: with its products, versions, names and fields. A server
/// (`headwater serve`) runs the mirror when it is due; `headwater mirror run` runs it now.
///
/// The filter has the words of sstream-mirror, such as arch=amd64, release~(jammy|noble) or ftype!=root.tar.xz, and those of
/// views: os, release, variant, arch, type and alias with one value or several, and latest. An image passes that passes all.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  headwater mirror add images https://images.linuxcontainers.org --filter 'os=debian,alpine arch=amd64 latest=2' --public
  headwater mirror add ubuntu https://cloud-images.ubuntu.com/releases --filter 'release~(jammy|noble) arch=amd64' --schedule 1d --keep 3
  headwater mirror add cache https://cloud-images.ubuntu.com/releases --lazy --cache-size 50GiB --cache-age 30d --public
  headwater mirror add build https://build.example:8443 --protocol incus --certificate build.crt --project team-a")]
pub(in crate::cli) struct Add {
    /// What to call it: letters, digits, -, _ and .
    name: UpstreamName,
    /// The server's address, which begins with https://; a user and a password may stand in it
    #[arg(value_name = "URL")]
    server: String,
    /// What it speaks: simplestreams, lxd or incus
    #[arg(long, value_name = "PROTOCOL", default_value = "simplestreams")]
    protocol: UpstreamProtocol,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    project: InProject,
}

/// Change what is mirrored of an upstream, and when
///
/// What is not named stays as it is. What the new filter lets pass no more goes as if the upstream had ceased to list it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  headwater mirror edit images --filter 'os=debian arch=amd64,arm64'
  headwater mirror edit images --schedule 0s")]
pub(in crate::cli) struct Edit {
    /// Its name
    name: UpstreamName,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, clap::Args)]
struct Settings {
    /// What is taken, with blanks between filters; everything without one
    #[arg(long, value_name = "FILTERS")]
    filter: Option<Selection>,
    /// How long after a run the next one begins; 0s to run it by hand only [default: 6h]
    #[arg(long, value_name = "TIME")]
    schedule: Option<Seconds>,
    /// How many versions of a product stay, although the upstream lists fewer [default: those that it lists]
    #[arg(long, value_name = "VERSIONS")]
    keep: Option<u32>,
    /// How long images stay after the upstream ceased to list them [default: 24h]
    #[arg(long, value_name = "TIME")]
    grace: Option<Seconds>,
    /// Whether guests may see the images that are taken from now on [default: off]
    #[arg(long, value_enum, value_name = "on|off", num_args = 0..=1, default_missing_value = "on")]
    public: Option<OnOff>,
    /// Whether images that are listed for LXD alone, or for Incus alone, are offered to both [default: off]
    ///
    /// The bytes and the fingerprint stay the same. Containers work with either; a virtual machine needs the agent of the family
    /// that starts it, which older images bring for their own family only.
    #[arg(long, value_enum, value_name = "on|off", num_args = 0..=1, default_missing_value = "on")]
    both_families: Option<OnOff>,
    /// The certificate that the server has to show, in PEM; without it, one that the system trusts
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Public keys, in armor, of which one has to have signed the documents; without it, no signature is asked for
    ///
    /// For simplestreams alone. An empty file takes the keys away again.
    #[arg(long, value_name = "FILE")]
    verify_signature: Option<PathBuf>,
    /// Whether images are listed at once, and their files come when somebody asks for them [default: off]
    ///
    /// A file goes to who asks while it comes, and is kept for the next one. For simplestreams alone.
    #[arg(long, value_enum, value_name = "on|off", num_args = 0..=1, default_missing_value = "on")]
    lazy: Option<OnOff>,
    /// Most bytes that are kept of files that came because somebody asked, such as 50GiB; 0 for as many as come [default: 0]
    ///
    /// Those that were used longest ago go first, and come again when somebody asks for them.
    #[arg(long, value_name = "SIZE")]
    cache_size: Option<Bytes>,
    /// How long such a file is kept that nobody asks for any more; 0s for ever [default: 0s]
    #[arg(long, value_name = "TIME")]
    cache_age: Option<Seconds>,
    /// Most MiB a second; 0 for as many as come [default: 0]
    #[arg(long, value_name = "MIB")]
    rate: Option<u32>,
    /// How many images come at a time [default: 4]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=64))]
    connections: Option<u32>,
}

impl Settings {
    /// What is said here, and the rest as it was.
    fn over(self, before: UpstreamSettings) -> Result<UpstreamSettings, Stop> {
        let certificate = self.certificate.as_deref().map(certificate).transpose()?;
        let keyring = self.verify_signature.as_deref().map(keyring).transpose()?;
        let lazy = self.lazy.map_or(before.lazy, |lazy| lazy == OnOff::On);
        if !lazy && (self.cache_size.is_some() || self.cache_age.is_some()) {
            return Err(Stop::usage(
                "only files that come when somebody asks for them can go again; give --lazy as well, or leave --cache-size and --cache-age out",
            ));
        }
        Ok(UpstreamSettings {
            filter: self.filter.map_or(before.filter, |filter| filter.to_string()),
            public: self.public.map_or(before.public, |public| public == OnOff::On),
            both_families: self.both_families.map_or(before.both_families, |both| both == OnOff::On),
            every: self.schedule.map_or(before.every, |Seconds(every)| every),
            keep: self.keep.unwrap_or(before.keep),
            grace: self.grace.map_or(before.grace, |Seconds(grace)| grace),
            certificate: certificate.unwrap_or(before.certificate),
            rate: self.rate.map_or(before.rate, |mib| u64::from(mib) << 20),
            connections: self.connections.unwrap_or(before.connections),
            keyring: keyring.unwrap_or(before.keyring),
            lazy,
            cache_size: self.cache_size.map_or(before.cache_size, |Bytes(size)| size),
            cache_age: self.cache_age.map_or(before.cache_age, |Seconds(age)| age),
        })
    }
}

fn certificate(path: &Path) -> Result<String, Stop> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Stop::failed(format!("{} cannot be read: {error}", path.display())))?;
    Trust::from_pem(&text)?;
    Ok(text)
}

/// What only documents have cannot be asked of an API.
fn fits(protocol: UpstreamProtocol, settings: &UpstreamSettings) -> Result<(), Stop> {
    if protocol == UpstreamProtocol::SimpleStreams {
        return Ok(());
    }
    if settings.lazy {
        return Err(Stop::usage(format!(
            "an upstream of the protocol {} does not say which files an image is made of before it sends them, so that it cannot be lazy; \
             use its simplestreams, or leave --lazy out",
            protocol.as_str()
        )));
    }
    if settings.filter.parse::<Selection>()?.asks_for_fields() {
        return Err(Stop::usage(format!(
            "an upstream of the protocol {} has no fields of files; use os=, release=, variant=, arch=, type=, alias= and latest= alone",
            protocol.as_str()
        )));
    }
    if !settings.keyring.is_empty() {
        return Err(Stop::usage("only simplestreams documents are signed; leave --verify-signature out"));
    }
    Ok(())
}

/// Kept in armor, whatever it was.
fn keyring(path: &Path) -> Result<String, Stop> {
    let bytes =
        std::fs::read(path).map_err(|error| Stop::failed(format!("{} cannot be read: {error}", path.display())))?;
    if bytes.trim_ascii().is_empty() {
        return Ok(String::new());
    }
    let unusable = |error: VerifyError| Stop::failed(format!("{} cannot be used: {error}", path.display()));
    Keyring::read(&bytes).and_then(|keys| keys.to_armor()).map_err(unusable)
}

pub(super) async fn add(args: Add, app: &App, out: &Out) -> Result<(), Stop> {
    let Add { name, server, protocol, settings, project: InProject { project } } = args;
    let settings = settings.over(UpstreamSettings::default())?;
    fits(protocol, &settings)?;
    // Told now rather than by the first run.
    let trust = Trust::from_pem(&settings.certificate)?;
    let asked = Client::new(Vec::new(), Limits::default()).server(&server, &trust)?;
    app.catalog.create_upstream(&name, &project, protocol, server.trim(), &settings, now()).await?;
    let when = if settings.every > 0 { "a running server begins within seconds" } else { "nothing runs it by itself" };
    out.say(format!("added the upstream {name}, {}: {when}; `headwater mirror run {name}` runs it now", asked.name()));
    Ok(())
}

pub(super) async fn edit(args: Edit, app: &App, out: &Out) -> Result<(), Stop> {
    let Edit { name, settings } = args;
    let upstream = app.catalog.upstream(&name).await?;
    let settings = settings.over(upstream.settings)?;
    fits(upstream.protocol, &settings)?;
    app.catalog.edit_upstream(&name, &settings, now()).await?;
    out.say(format!("changed the upstream {name}"));
    Ok(())
}
