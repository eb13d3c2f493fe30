//! `headwater serve`: the server, from its configuration to its last connection.
//!
//! This file puts [`crate::http`] together with the rest and listens to signals; it answers no request itself.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use headwater_formats::timestamp::Timestamp;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::app::{App, OpenError};
use crate::config::{self, Config, ConfigError};
use crate::deltas::{Deltas, Worker};
use crate::fetch::Round;
use crate::first_run::{self, Greeting};
use crate::http::about::{self, Description};
use crate::http::accept;
use crate::http::listen::{self, ListenError};
use crate::http::tls::{Tls, TlsError};
use crate::http::{Settings, State};
use crate::mirror::{self, Mirrors};
use crate::publish::{LetGo, PruneTotals, Publisher, SweepTotals};
use crate::telemetry::{self, LogError, Logs};

/// How often the certificate's files are looked at.
const CERTIFICATE_EVERY: Duration = Duration::from_secs(5);
/// How often it is written down which images were downloaded.
const USED_EVERY: Duration = Duration::from_secs(60);
/// How often the audit is told who downloaded private images.
const DOWNLOADS_EVERY: Duration = Duration::from_secs(5);
/// How often the files of deleted images are removed whose grace is over, and what crashed publishers left; first at
/// the start.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// How long it counts that a client downloaded an image: 90 days.
const HELD_SECONDS: i64 = 90 * 24 * 3600;

/// About how often it is asked whether images that follow their source are due to be looked for there.
const REFRESH_EVERY: Duration = Duration::from_secs(600);

/// Run the server
///
/// It answers LXD and Incus in both of their protocols, on one port, over TLS; files of public images over plain
/// HTTP too. The first run makes a certificate and an empty catalog, and prints what to type next. It needs no
/// configuration.
///
/// Once an hour it deletes the images that no rule of their project keeps (`headwater project prune`), frees the space of images that were
/// deleted long enough ago, as `headwater gc` does, and forgets the lines of the audit that are too old.
///
/// SIGTERM ends it when running downloads are done; SIGHUP makes it read its certificate and log level again.
#[allow(rustdoc::broken_intra_doc_links, reason = "[::] is an address, and people read these words as they are")]
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Args {
    /// Where to listen; can be given several times [default: [::]:8443]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address)]
    pub listen: Vec<SocketAddr>,
    /// Print a configuration file with every setting, its meaning and its default
    #[arg(long)]
    pub print_config: bool,
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "write an IP address and a port, for example 192.0.2.7:8443 or [::]:8443")
}

/// What a server is started with, flags already laid over file and environment.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// The data folder.
    pub data: PathBuf,
    /// Whether commands have to be told the data folder to find the same one.
    pub data_is_default: bool,
    /// Where file and environment say to listen, which is what other commands know.
    pub told_to_listen: Vec<SocketAddr>,
    /// The settings.
    pub config: Config,
    /// The file that they came from, to read it again on SIGHUP.
    pub file: Option<PathBuf>,
}

/// Why the server did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data folder.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The sockets.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The logs.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The system.
    #[error("the server cannot run: {0}")]
    System(#[from] std::io::Error),
}

impl ServeConfig {
    /// Lays the flags over the file and the environment. `data` and `database` are what the global flags said, or the defaults
    /// that all commands share.
    pub fn new(
        args: &Args,
        file: Option<PathBuf>,
        data: Option<PathBuf>,
        default_data: PathBuf,
        database: Option<String>,
    ) -> Result<Self, ConfigError> {
        let mut config = Config::read(file.as_deref())?;
        let told_to_listen = config.listen.clone();
        if !args.listen.is_empty() {
            config.listen.clone_from(&args.listen);
        }
        config.database = database.or(config.database);
        let data = data.or_else(|| config.data.clone());
        let data_is_default = data.as_ref().is_none_or(|data| *data == default_data);
        Ok(Self { data: data.unwrap_or(default_data), data_is_default, told_to_listen, config, file })
    }
}

/// The text of `--print-config`.
pub fn config_template() -> String {
    config::template()
}

/// Serves until SIGTERM or SIGINT. `say` is told, once, what a person should know after the first run.
pub async fn serve(config: ServeConfig, say: impl FnOnce(&str), now: fn() -> Timestamp) -> Result<(), ServeError> {
    let logs = telemetry::start(config.config.log.format, &config.config.log.level)?;
    let signals = Signals::new()?;
    raise_file_limit();
    // The port first: a second server on the same data should end before it touches anything.
    let listeners = listen::listen(&config.config.listen)?;
    let addresses: Vec<SocketAddr> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let app = App::open(&config.data, config.config.database.as_deref()).await?;
    let host = config.config.server_name.clone().unwrap_or_else(host_name);
    let (files, ours) = config.config.certificate(&config.data);
    let first_run = ours && files.make_if_missing(&host, now())?;
    let tls = Arc::new(Tls::load(files.clone(), config.config.tls.allow_1_2)?);
    let settings = Settings {
        architectures: config.config.architectures()?,
        document_cache: u64::from(config.config.cache.documents_mib) * 1024 * 1024,
        answer_cache: u64::from(config.config.cache.answers_mib) * 1024 * 1024,
        bind_addresses: config.config.private.bind_addresses,
        connect: config.config.connect,
        uploads: usize::try_from(config.config.limits.uploads).unwrap_or(usize::MAX),
        upload_bytes: u64::from(config.config.limits.upload_gib) << 30,
        ..Settings::default()
    };
    let catalog = app.catalog.clone();
    let keep = Keep { grace_hours: config.config.grace_hours, audit_days: config.config.audit_days };
    let publisher = app.publisher.clone();
    let mirrored = publisher.clone();
    let sweeping = tokio::spawn(sweep(publisher.clone(), keep, now));
    let reached = config.config.addresses.clone().unwrap_or_else(|| about::addresses(&host, &addresses));
    // Flags and handed-over sockets are not known to other commands.
    let known = config.config.addresses.clone().unwrap_or_else(|| about::addresses(&host, &config.told_to_listen));
    let unknown = (reached != known).then(|| reached.first().cloned()).flatten();
    let description = Description { name: server_name(&host, &tls), addresses: reached, tls: Some(Arc::clone(&tls)) };
    let state = Arc::new(State::new(app, settings, now).describing(description));
    let operations = state.operations().clone();
    let operating = tokio::spawn(async move { operations.keep().await });
    let ending = CancellationToken::new();
    let building = config.config.deltas.enabled.then(|| {
        let deltas = Deltas::new(publisher, config.config.deltas(true), now).resting_beside(state.served());
        let at_once = usize::try_from(config.config.deltas.at_once).unwrap_or(1);
        tokio::spawn(Worker::new(deltas, state.operations().clone(), at_once).run(ending.clone()))
    });
    let mirroring = config.config.connect.then(|| {
        let mirrors = Mirrors::new(state.fetcher().client().clone(), mirrored, now);
        tokio::spawn(mirror::Worker::new(mirrors).run(ending.clone()))
    });
    let background =
        tokio::spawn(background(signals, config.clone(), logs, Arc::clone(&tls), Arc::clone(&state), ending.clone()));
    let hours = if config.config.connect { config.config.auto_update_hours } else { 0 };
    let refreshing = tokio::spawn(refresh(Arc::clone(&state), hours, now));
    for address in &addresses {
        tracing::info!(%address, fingerprint = %tls.fingerprint(), "listening");
    }
    if first_run {
        say(&first_run::text(&Greeting {
            program: &program(),
            listening: &addresses,
            host: &host,
            fingerprint: &tls.fingerprint(),
            certificate: &absolute(&files.certificate),
            data: (!config.data_is_default).then_some(absolute(&config.data)).as_deref(),
            address: unknown.as_deref(),
        }));
    }
    tell_systemd(&[NotifyState::Ready]);
    let served = accept::run(listeners, Arc::clone(&state), tls, config.config.limits(), ending.clone()).await;
    // Also when it ended by itself.
    ending.cancel();
    background.abort();
    sweeping.abort();
    refreshing.abort();
    if let Some(building) = building
        && let Err(error) = building.await
    {
        tracing::error!(%error, "what builds deltas broke off");
    }
    if let Some(mirroring) = mirroring
        && let Err(error) = mirroring.await
    {
        tracing::error!(%error, "what runs mirrors broke off");
    }
    state.begin_draining();
    // What comes for nobody any more goes on when this server starts again.
    state.pull().stop();
    if let Err(error) = operating.await {
        tracing::error!(%error, "what keeps operations in order broke off");
    }
    state.flush_used().await;
    state.flush_downloads().await;
    catalog.close().await;
    tracing::info!("ended");
    Ok(served?)
}

/// The signals that a server listens to. From here on they no longer end the process by themselves, so it is made
/// before anything that an abrupt end could interrupt.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// Signals, the certificate's files and the notes of downloads, until the end.
async fn background(
    signals: Signals,
    config: ServeConfig,
    logs: Logs,
    tls: Arc<Tls>,
    state: Arc<State>,
    ending: CancellationToken,
) {
    let Signals { mut terminate, mut interrupt, mut hangup } = signals;
    let mut certificate = tokio::time::interval(CERTIFICATE_EVERY);
    let mut used = tokio::time::interval(USED_EVERY);
    let mut downloads = tokio::time::interval(DOWNLOADS_EVERY);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reload(&config, &logs, &tls),
            _ = certificate.tick() => {
                let tls = Arc::clone(&tls);
                let _ = tokio::task::spawn_blocking(move || tls.reload_if_changed()).await;
            }
            _ = used.tick() => state.flush_used().await,
            _ = downloads.tick() => state.flush_downloads().await,
        }
    }
    tracing::info!("ending when running requests are done; a second signal ends at once");
    tell_systemd(&[NotifyState::Stopping]);
    ending.cancel();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    std::process::exit(1);
}

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
struct Keep {
    /// Files of deleted images.
    grace_hours: u32,
    /// Lines of the audit; 0 is for ever.
    audit_days: u32,
}

/// Removes what nobody needs, for ever. One that is cut short by the end of the server is finished by the next.
async fn sweep(publisher: Publisher, keep: Keep, now: fn() -> Timestamp) {
    let mut every = tokio::time::interval(SWEEP_EVERY);
    loop {
        every.tick().await;
        match publisher.prune_all(now()).await {
            Ok(PruneTotals { gone: 0, .. }) => {}
            Ok(totals) => tracing::info!(
                deleted = totals.gone,
                bytes = totals.bytes,
                "images that no rule of their project keeps were deleted"
            ),
            Err(error) => {
                tracing::warn!(%error, "images that no rule keeps could not be deleted; the next try is in an hour")
            }
        }
        match publisher.sweep(now(), keep.grace_hours.saturating_mul(3600), &mut |_| ()).await {
            Ok(totals) if totals == SweepTotals::default() => {}
            Ok(totals) => tracing::info!(
                deleted = totals.retired,
                unknown = totals.stray,
                unfinished = totals.staged,
                downloads = totals.partial,
                bytes = totals.bytes(),
                "files that nobody needs were removed"
            ),
            Err(error) => {
                tracing::warn!(%error, "files that nobody needs could not be removed; the next try is in an hour")
            }
        }
        match publisher.keep_limits(false, now(), &mut |_, _| ()).await {
            Ok(gone) if gone == LetGo::default() => {}
            Ok(gone) => tracing::info!(
                files = gone.files,
                bytes = gone.bytes,
                "files beyond the limits of their upstreams were let go of"
            ),
            Err(error) => {
                tracing::warn!(%error, "files beyond the limits of their upstreams could not be let go of; the next try is in an hour")
            }
        }
        match publisher.catalog.forget_held(now().plus_seconds(-HELD_SECONDS)).await {
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "what clients held long ago could not be forgotten; the next try is in an hour")
            }
        }
        if keep.audit_days > 0 {
            let before = now().plus_seconds(-i64::from(keep.audit_days) * 24 * 3600);
            match publisher.catalog.trim_audit(before).await {
                Ok(0) => {}
                Ok(lines) => tracing::info!(lines, "old lines of the audit were removed"),
                Err(error) => {
                    tracing::warn!(%error, "old lines of the audit could not be removed; the next try is in an hour")
                }
            }
        }
    }
}

/// Looks for newer images at the sources of those that follow one, for ever. Which round is due is written in the catalog, so that
/// several servers take turns and a restart begins none.
async fn refresh(state: Arc<State>, hours: u32, now: fn() -> Timestamp) {
    if hours == 0 {
        return;
    }
    loop {
        // Not all servers of the world at the same minute.
        let jitter = getrandom::u32().map_or(0, |random| u64::from(random) % REFRESH_EVERY.as_secs());
        tokio::time::sleep(REFRESH_EVERY / 2 + Duration::from_secs(jitter)).await;
        match state.fetcher().refresh_all(hours, now).await {
            Ok(None) => {}
            Ok(Some(round)) if round == Round::default() => {}
            Ok(Some(Round { refreshed, current, failed })) => {
                tracing::info!(refreshed, current, failed, "images that follow their source were looked for there");
            }
            Err(error) => tracing::warn!(%error, "images that follow their source could not be looked for"),
        }
    }
}

fn reload(config: &ServeConfig, logs: &Logs, tls: &Tls) {
    let begun = NotifyState::monotonic_usec_now().ok();
    tell_systemd(&[Some(NotifyState::Reloading), begun].into_iter().flatten().collect::<Vec<_>>());
    match tls.reload() {
        Ok(()) => tracing::info!(fingerprint = %tls.fingerprint(), "the certificate was read again"),
        Err(error) => tracing::warn!(%error, "the certificate was not read again, the one before stays"),
    }
    let level = Config::read(config.file.as_deref()).map_err(ServeError::from).and_then(|config| {
        logs.set_level(&config.log.level)?;
        Ok(config.log.level)
    });
    match level {
        Ok(level) => tracing::info!(level, "the log level was read again; other settings need a restart"),
        Err(error) => tracing::warn!(%error, "the configuration was not read again"),
    }
    tell_systemd(&[NotifyState::Ready]);
}

fn tell_systemd(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}

/// Each connection and each download is an open file; the soft limit is low for the sake of programs that use `select`.
pub(super) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// How to call this program again: where it is, unless it was found by its name alone.
fn program() -> PathBuf {
    match std::env::args_os().next().map(PathBuf::from) {
        Some(called) if called.components().count() > 1 => absolute(&called),
        _ => PathBuf::from("headwater"),
    }
}

pub(super) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() || name == "(none)" { "localhost".to_owned() } else { name.to_owned() }
}

/// What the server calls itself. Clients take two servers of one name for the same one, and `localhost` is the name of many.
fn server_name(host: &str, tls: &Tls) -> String {
    match host {
        "localhost" => format!("headwater-{}", tls.fingerprint().get(..12).unwrap_or_default()),
        name => name.to_owned(),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
