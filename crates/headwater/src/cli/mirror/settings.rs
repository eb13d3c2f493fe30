//! `headwater mirror add` and `edit`.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use headwater_formats::lxd::{JoinToken, MAX_TOKEN_BYTES};
use headwater_formats::names::UpstreamName;
use headwater_formats::simplestreams::select::Selection;

use super::super::bytes::Bytes;
use super::super::duration::Seconds;
use super::super::out::Out;
use super::super::stop::Stop;
use super::super::{InProject, OnOff, now};
use crate::app::App;
use crate::auth::{Secret, Viewer};
use crate::catalog::{CatalogError, UpstreamCredential, UpstreamProtocol, UpstreamSettings};
use crate::client::credential::ClientCertificate;
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
  headwater mirror add build https://build.example:8443 --protocol incus --certificate build.crt --project team-a
  headwater mirror add build https://build.example:8443 --protocol lxd --token TOKEN --upstream-project ci
  headwater mirror add team https://images.example:8443/p/team --client-certificate client.crt --client-key client.key")]
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
    /// Versions that came less than so many days ago stay, although the upstream lists them no more [default: those that it lists]
    #[arg(long, value_name = "DAYS")]
    keep_days: Option<u32>,
    /// Whether images stay that a fixed alias leads to, although the upstream lists them no more [default: off]
    #[arg(long, value_enum, value_name = "on|off", num_args = 0..=1, default_missing_value = "on")]
    keep_aliased: Option<OnOff>,
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
    /// The project of the upstream whose images are taken; for LXD and Incus alone [default: what the upstream chooses]
    #[arg(long, value_name = "PROJECT")]
    upstream_project: Option<String>,
    #[command(flatten)]
    credential: Shown,
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

/// What the upstream is shown, so that it lists its private images, too.
#[derive(Debug, clap::Args)]
struct Shown {
    /// A certificate that the upstream knows, in PEM; with --client-key
    #[arg(long, value_name = "FILE", requires = "client_key", conflicts_with_all = ["token", "no_credential"])]
    client_certificate: Option<PathBuf>,
    /// The key of that certificate, in PEM without a password; kept in the catalog and never shown again
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    client_key: Option<PathBuf>,
    /// A token: one to join with, or one of a Headwater that is sent with each request; - reads it from standard input
    ///
    /// A token to join with is made by `lxc config trust add --name NAME`, `incus config trust add NAME` or `headwater trust add NAME` at the
    /// upstream. It is used at once: the upstream is shown a certificate that is made for it here, and has to be the server that the token
    /// names, which is believed from then on. A token that begins with hw_ is kept and sent.
    #[arg(long, value_name = "TOKEN", conflicts_with = "no_credential")]
    token: Option<String>,
    /// Show the upstream nothing any more
    #[arg(long)]
    no_credential: bool,
}

/// What is to be shown from now on.
enum Showing {
    /// What was shown before.
    Same,
    This(UpstreamCredential),
    /// A certificate that the upstream does not know yet.
    Joining(JoinToken),
}

impl Shown {
    fn read(self) -> Result<Showing, Stop> {
        let Self { client_certificate, client_key, token, no_credential } = self;
        if no_credential {
            return Ok(Showing::This(UpstreamCredential::default()));
        }
        if let (Some(certificate), Some(key)) = (client_certificate, client_key) {
            let (certificate, key) = (text(&certificate)?, text(&key)?);
            ClientCertificate::from_pem(&certificate, &key)?;
            return Ok(Showing::This(UpstreamCredential { certificate, key, ..UpstreamCredential::default() }));
        }
        let Some(token) = token else { return Ok(Showing::Same) };
        let token = if token == "-" { first_line()? } else { token };
        if let Ok(secret) = Secret::parse(token.trim()) {
            let token = secret.expose().to_owned();
            return Ok(Showing::This(UpstreamCredential { token, ..UpstreamCredential::default() }));
        }
        Ok(Showing::Joining(token.parse::<JoinToken>().map_err(|error| Stop::usage(error.to_string()))?))
    }
}

/// The first line of standard input: of no more bytes than a token has.
fn first_line() -> Result<String, Stop> {
    let mut line = String::new();
    let mut input = BufReader::new(std::io::stdin().take(MAX_TOKEN_BYTES as u64));
    input.read_line(&mut line).map_err(|error| Stop::failed(format!("standard input cannot be read: {error}")))?;
    Ok(line)
}

/// Joins the upstream as a certificate that is made for it, when it is to be joined. Gives the settings with what it is shown, and its own certificate.
async fn join(
    name: &UpstreamName,
    server: &str,
    showing: Showing,
    settings: UpstreamSettings,
    out: &Out,
) -> Result<UpstreamSettings, Stop> {
    let token = match showing {
        Showing::Same => return Ok(settings),
        Showing::This(credential) => return Ok(UpstreamSettings { credential, ..settings }),
        Showing::Joining(token) => token,
    };
    let ours = ClientCertificate::generate(&format!("headwater-{name}"), now())?;
    let client = Client::new(Vec::new(), Limits::default());
    let theirs = client.join(server, &token, &ours, now()).await?;
    out.say(format!("joined as {}, by the certificate {}", token.client_name, ours.fingerprint()));
    let credential = UpstreamCredential {
        certificate: ours.certificate().to_owned(),
        key: ours.key().to_owned(),
        ..UpstreamCredential::default()
    };
    Ok(UpstreamSettings { credential, certificate: theirs, ..settings })
}

impl Settings {
    /// What is said here, and the rest as it was; and what is to be shown.
    fn over(self, before: UpstreamSettings) -> Result<(UpstreamSettings, Showing), Stop> {
        let certificate = self.certificate.as_deref().map(certificate).transpose()?;
        let keyring = self.verify_signature.as_deref().map(keyring).transpose()?;
        let lazy = self.lazy.map_or(before.lazy, |lazy| lazy == OnOff::On);
        if !lazy && (self.cache_size.is_some() || self.cache_age.is_some()) {
            return Err(Stop::usage(
                "only files that come when somebody asks for them can go again; give --lazy as well, or leave --cache-size and --cache-age out",
            ));
        }
        let showing = self.credential.read()?;
        let settings = UpstreamSettings {
            filter: self.filter.map_or(before.filter, |filter| filter.to_string()),
            public: self.public.map_or(before.public, |public| public == OnOff::On),
            both_families: self.both_families.map_or(before.both_families, |both| both == OnOff::On),
            every: self.schedule.map_or(before.every, |Seconds(every)| every),
            keep: self.keep.unwrap_or(before.keep),
            keep_days: self.keep_days.unwrap_or(before.keep_days),
            keep_aliased: self.keep_aliased.map_or(before.keep_aliased, |keep| keep == OnOff::On),
            grace: self.grace.map_or(before.grace, |Seconds(grace)| grace),
            certificate: certificate.unwrap_or(before.certificate),
            rate: self.rate.map_or(before.rate, |mib| u64::from(mib) << 20),
            connections: self.connections.unwrap_or(before.connections),
            keyring: keyring.unwrap_or(before.keyring),
            upstream_project: self.upstream_project.unwrap_or(before.upstream_project),
            credential: before.credential,
            lazy,
            cache_size: self.cache_size.map_or(before.cache_size, |Bytes(size)| size),
            cache_age: self.cache_age.map_or(before.cache_age, |Seconds(age)| age),
        };
        Ok((settings, showing))
    }
}

fn text(path: &Path) -> Result<String, Stop> {
    std::fs::read_to_string(path).map_err(|error| Stop::failed(format!("{} cannot be read: {error}", path.display())))
}

fn certificate(path: &Path) -> Result<String, Stop> {
    let text = text(path)?;
    Trust::from_pem(&text)?;
    Ok(text)
}

/// What only documents have cannot be asked of an API.
fn fits(protocol: UpstreamProtocol, settings: &UpstreamSettings) -> Result<(), Stop> {
    if protocol == UpstreamProtocol::SimpleStreams {
        return match settings.upstream_project.as_str() {
            "" => Ok(()),
            project => Err(Stop::usage(format!(
                "simplestreams knows no projects; leave --upstream-project out, and put /p/{project} behind the address of a Headwater"
            ))),
        };
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
    let (settings, showing) = settings.over(UpstreamSettings::default())?;
    fits(protocol, &settings)?;
    // A token to join with is good once: nothing else should be wrong by then.
    if app.catalog.upstream(&name).await.is_ok() {
        return Err(CatalogError::UpstreamExists(name).into());
    }
    if app.catalog.project(&Viewer::operator(), &project).await?.is_none() {
        return Err(CatalogError::NoProject(project.to_string()).into());
    }
    let settings = join(&name, &server, showing, settings, out).await?;
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
    let (settings, showing) = settings.over(upstream.settings)?;
    fits(upstream.protocol, &settings)?;
    let settings = join(&name, &upstream.server, showing, settings, out).await?;
    app.catalog.edit_upstream(&name, &settings, now()).await?;
    out.say(format!("changed the upstream {name}"));
    Ok(())
}
