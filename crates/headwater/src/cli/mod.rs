//! The command line: one file per verb. Data goes to standard output, talk to standard error.
//!
//! ```no_run
//! let code: std::process::ExitCode = headwater::cli::main(["headwater", "image", "list", "os=debian"]);
//! ```
//!
//! Every verb works on the data directory (or the database) itself, whether or not a server runs beside it. What the
//! verbs share stands in files of its own: [`place`] finds the installation, [`pick`] the image that somebody
//! named, [`people`] the certificate or token, [`reach`] the server's addresses, [`out`] prints, [`human`] writes sizes and dates for people, [`stop`] turns errors into sentences and exit
//! codes, [`bar`] shows progress.
//!
//! This room knows no SQL, no HTTP and no layout of files on disk.

mod alias;
mod audit;
mod bar;
mod bytes;
mod completions;
mod delta;
mod duration;
mod export;
mod gc;
mod human;
mod image;
mod import;
mod key;
mod mirror;
mod out;
mod people;
mod pick;
mod place;
mod project;
mod publish;
mod reach;
pub mod serve;
mod stop;
mod token;
mod trust;
mod verify;
mod view;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;

use out::{Format, Out};
use place::Place;
use stop::Stop;

/// The image server for LXD and Incus
///
/// Headwater keeps one store of container and virtual machine images and gives it out over two protocols:
/// simplestreams and the LXD/Incus REST API. `headwater serve` runs the server; all other commands work on its
/// data directory, whether or not a server is running, and a running server notices what they change.
///
/// Data goes to standard output, talk goes to standard error. The exit code is 0 when all went well, 1 when something
/// failed, and 2 when the command line could not be understood.
#[derive(Debug, Parser)]
#[command(name = "headwater", version, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  headwater publish metadata.tar.xz rootfs.squashfs --alias debian/12 --public
  headwater image list os=debian
  headwater image export debian/12 .";

const SERVE_EXAMPLES: &str = "\
Examples:
  headwater serve
  headwater serve --data /srv/headwater --listen 192.0.2.7:8443
  headwater serve --print-config > headwater.toml
  headwater serve --config headwater.toml";

/// What every command takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// The data directory
    ///
    /// Without it: $XDG_DATA_HOME/headwater, else ~/.local/share/headwater; for root /var/lib/headwater where that
    /// exists.
    #[arg(long, global = true, value_name = "DIR", env = "HEADWATER_DATA", hide_env_values = true)]
    data: Option<PathBuf>,
    /// The configuration file (TOML)
    #[arg(long, global = true, value_name = "FILE", env = "HEADWATER_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// The PostgreSQL database that holds the catalog, as postgres://…; without it the catalog is a file in the data
    /// directory
    #[arg(long, global = true, value_name = "URL", env = "HEADWATER_DATABASE", hide_env_values = true)]
    database: Option<String>,
    /// How data is printed; csv has no header line
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// Say nothing on standard error except errors
    #[arg(long, short, global = true)]
    quiet: bool,
}

/// Whether something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OnOff {
    On,
    Off,
}

/// The project that a command works in.
#[derive(Debug, clap::Args)]
struct InProject {
    /// The project
    #[arg(long, value_name = "PROJECT", default_value = "default")]
    project: ProjectName,
}

#[derive(Debug, Subcommand)]
enum Verb {
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(serve::Args),
    Publish(publish::Args),
    /// List, show, export, change and delete images
    Image {
        #[command(subcommand)]
        verb: image::Verb,
    },
    /// List, make, rename and delete aliases
    ///
    /// An alias is a name for an image. A fixed alias leads to one image for ever; one that follows leads to the newest
    /// version of a product, chosen by the architecture and type that the client can use. Names such as debian/12 and
    /// debian/12/cloud are generated from the properties of the images and need not be made.
    Alias {
        #[command(subcommand)]
        verb: alias::Verb,
    },
    /// List, make, rename, describe and delete projects
    ///
    /// A project is a namespace with images and aliases of its own. The project `default` exists always.
    Project {
        #[command(subcommand)]
        verb: project::Verb,
    },
    /// Decide which clients are known, by their certificates, and what they may do
    ///
    /// A client that nobody knows sees public images. One that is known may see the private images of its projects, or upload,
    /// or administer them, as its role says. Clients join with a token that `headwater trust add` makes; what they may do can be changed
    /// at any time.
    Trust {
        #[command(subcommand)]
        verb: trust::Verb,
    },
    /// Make and revoke tokens, which programs send with each request
    ///
    /// A token is for what has no certificate to show: simplestreams remotes, CI, curl. It may do what it was made for, until it ends or is
    /// revoked. Only its beginning and its hash are kept.
    Token {
        #[command(subcommand)]
        verb: token::Verb,
    },
    /// Make, list, show and delete saved views: filters with names
    ///
    /// A view is a part of a project, served at an address of its own to simplestreams remotes, which would otherwise download the list of
    /// everything.
    View {
        #[command(subcommand)]
        verb: view::Verb,
    },
    /// List, build and explain deltas, with which hosts download only what changed
    ///
    /// A host that has an older version of an image needs only what is new in the newest one. Servers make deltas by themselves, in the
    /// background, from the version before and from those that hosts were seen to have, and list them in the streams.
    Delta {
        #[command(subcommand)]
        verb: delta::Verb,
    },
    /// Mirror other image servers: simplestreams, LXD and Incus
    ///
    /// An upstream is a server whose images are kept here as it has them, so that hosts find them close by, and also when it is down. What is taken
    /// is chosen by a filter; a server runs mirrors by itself when they are due.
    Mirror {
        #[command(subcommand)]
        verb: mirror::Verb,
    },
    Audit(audit::Args),
    /// List and change the keys that sign streams, and those that sign addresses of private files
    ///
    /// With an OpenPGP key for streams, their documents are there with signatures, too: `headwater key create` makes one, `headwater key import`
    /// brings one.
    ///
    /// Lists of images for holders of a token name files at addresses that are signed, good for a day and for nobody else. The
    /// first key for that is made when it is needed, and a new one every 30 days.
    Key {
        #[command(subcommand)]
        verb: key::Verb,
    },
    Export(export::Args),
    Import(import::Args),
    Gc(gc::Args),
    Verify(verify::Args),
    Completions(completions::Args),
}

/// The whole command line as clap knows it, for completions and for the reference.
pub fn command() -> clap::Command {
    Cli::command()
}

/// The current time. Nobody else reads the clock: rooms take the time as a parameter.
#[allow(clippy::disallowed_methods, reason = "this is the one place where the clock is read")]
pub fn now() -> Timestamp {
    Timestamp::from_unix(time::OffsetDateTime::now_utc().unix_timestamp()).unwrap_or_default()
}

/// Runs the program with these arguments (the first is its name), and gives the exit code.
pub fn main<I, T>(arguments: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return stop::explain(&error),
    };
    let out = Out::new(cli.global.format, cli.global.quiet);
    let done = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Stop::from)
        .and_then(|runtime| runtime.block_on(run(cli, &out)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => stop.tell(),
    }
}

async fn run(cli: Cli, out: &Out) -> Result<(), Stop> {
    match &cli.verb {
        Verb::Completions(args) => return completions::run(args, out),
        Verb::Serve(args) if args.print_config => return out.data(&serve::config_template()),
        _ => {}
    }
    let place = Place::find(&cli.global)?;
    match cli.verb {
        Verb::Serve(args) => {
            let config = place.serve_config(&args, cli.global.config)?;
            Ok(serve::serve(config, |text| out.say_lines(text), now).await?)
        }
        Verb::Publish(args) => publish::run(args, &place, out).await,
        Verb::Image { verb } => image::run(verb, &place, out).await,
        Verb::Alias { verb } => alias::run(verb, &place, out).await,
        Verb::Project { verb } => project::run(verb, &place, out).await,
        Verb::Trust { verb } => trust::run(verb, &place, out).await,
        Verb::Token { verb } => token::run(verb, &place, out).await,
        Verb::View { verb } => view::run(verb, &place, out).await,
        Verb::Delta { verb } => delta::run(verb, &place, out).await,
        Verb::Mirror { verb } => mirror::run(verb, &place, out).await,
        Verb::Audit(args) => audit::run(args, &place, out).await,
        Verb::Key { verb } => key::run(verb, &place, out).await,
        Verb::Export(args) => export::run(args, &place, out).await,
        Verb::Import(args) => import::run(args, &place, out).await,
        Verb::Gc(args) => gc::run(args, &place, out).await,
        Verb::Verify(args) => verify::run(args, &place, out).await,
        Verb::Completions(_) => Ok(()),
    }
}
