//! `headwater mirror run`: now, and seen.

use std::sync::Arc;

use headwater_formats::names::UpstreamName;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::super::bar;
use super::super::out::Out;
use super::super::serve::raise_file_limit;
use super::super::stop::{Stop, on_interrupt};
use super::human;
use super::lines::Lines;
use crate::mirror::{Course, Event, Mirrors, Planned, Step, Terms};
use crate::publish::Progress;

/// Run mirrors now
///
/// What is listed and not here is taken, the newest versions first; what the upstream ceased to list goes when its grace is over. A run that was stopped or killed is
/// taken up by the next one. Images are visible one after the other as they are complete.
///
/// When an upstream lists less than half of the products that came from it, nothing is done: that looks like a mistake.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  headwater mirror run images
  headwater mirror run images --dry-run
  headwater mirror run images --format json")]
pub(in crate::cli) struct Args {
    /// The upstreams
    #[arg(required = true, value_name = "NAME")]
    names: Vec<UpstreamName>,
    /// Say what would be done, with sizes, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// It is right that the upstream lists less than half of the products that came from it
    #[arg(long)]
    accept_loss: bool,
}

pub(super) async fn run(args: Args, mirrors: &Mirrors, out: &Out) -> Result<(), Stop> {
    raise_file_limit();
    let (stop, interrupted) = on_interrupt();
    let terms = Terms { accept_loss: args.accept_loss };
    let mut done = Ok(());
    for name in &args.names {
        done = if args.dry_run {
            plan(&mirrors.plan(name, terms).await?, out)
        } else {
            one(name, mirrors, terms, &stop, out).await
        };
        if done.is_err() {
            break;
        }
    }
    interrupted.abort();
    done
}

#[derive(Serialize)]
struct Wanted<'a> {
    action: &'static str,
    product: &'a str,
    version: &'a str,
    fingerprint: String,
    size: Option<u64>,
}

fn plan(planned: &Planned, out: &Out) -> Result<(), Stop> {
    let mut list = out.list(&["ACTION", "PRODUCT", "VERSION", "FINGERPRINT", "SIZE"]);
    let (mut add, plan) = (
        |action,
         product: &str,
         version: &str,
         fingerprint: headwater_formats::digest::Fingerprint,
         size: Option<u64>| {
            let row = Wanted { action, product, version, fingerprint: fingerprint.to_string(), size };
            let shown = size.map(human::size).unwrap_or_default();
            list.add(&row, || {
                vec![action.to_owned(), product.to_owned(), version.to_owned(), fingerprint.short().to_string(), shown]
            })
        },
        &planned.plan,
    );
    for take in &plan.take {
        for one in &take.images {
            let size = Some(one.image.files.size()).filter(|size| *size > 0);
            add("take", &take.product.key, one.version.as_str(), one.image.fingerprint, size)?;
        }
    }
    for fingerprint in &plan.remove {
        add("remove", "", "", *fingerprint, None)?;
    }
    list.end()?;
    out.say(format!(
        "{} listed, {} to take ({}), {} to remove",
        human::counted(plan.listed, "image is", "images are"),
        human::count(planned.images()),
        human::size(planned.bytes()),
        human::count(plan.remove.len() as u64),
    ));
    tell_of_nothing(&planned.upstream.name, plan.listed, out);
    Ok(())
}

/// Says why nothing is listed: a run that ends well and brings nothing would leave people to guess.
fn tell_of_nothing(name: &UpstreamName, listed: u64, out: &Out) {
    if listed == 0 {
        out.say(format!(
            "{name} lists no image that LXD or Incus can read and that the filter lets pass; `headwater mirror show {name}` shows \
             its address and the filter"
        ));
    }
}

/// What a program reads, a line each.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line<'a> {
    Planned { upstream: &'a str, listed: u64, images: u64, bytes: u64, removed: u64 },
    Taken { product: &'a str, version: &'a str, fingerprint: String, size: u64 },
    Failed { product: &'a str, version: &'a str, fingerprint: String, why: &'a str },
    Removed { images: u64 },
    Ended { upstream: &'a str, listed: u64, taken: u64, failed: u64, removed: u64, bytes: u64, why: &'a str },
}

/// Draws, or says, what happens.
struct Shown {
    upstream: UpstreamName,
    out: Out,
    bar: Arc<dyn Progress>,
    lines: Lines,
}

impl Shown {
    fn tell(&self, event: Event) {
        match event {
            Event::Planned { listed, images, bytes, removed } => {
                self.lines.print(&Line::Planned { upstream: self.upstream.as_str(), listed, images, bytes, removed });
                if images > 0 {
                    self.bar.begin(self.upstream.as_str(), Some(bytes).filter(|bytes| *bytes > 0));
                }
            }
            Event::Bytes(bytes) => self.bar.advance(bytes),
            Event::Taken(Step { product, version, fingerprint, size }) => {
                let (fingerprint, short) = (fingerprint.to_string(), fingerprint.short().to_string());
                self.lines.print(&Line::Taken { product: &product, version: &version, fingerprint, size });
                if self.out.for_people() && !self.out.may_animate() {
                    self.out.say(format!("took {product} {version}: {short}, {}", human::size(size)));
                }
            }
            Event::Failed(Step { product, version, fingerprint, .. }, why) => {
                let fingerprint = fingerprint.to_string();
                self.lines.print(&Line::Failed { product: &product, version: &version, fingerprint, why: &why });
                self.out.say(format!("{product} {version} could not be taken: {why}"));
            }
            Event::Removed(images) => self.lines.print(&Line::Removed { images }),
        }
    }
}

async fn one(
    name: &UpstreamName,
    mirrors: &Mirrors,
    terms: Terms,
    stop: &CancellationToken,
    out: &Out,
) -> Result<(), Stop> {
    let shown = Arc::new(Shown { upstream: name.clone(), out: *out, bar: bar::progress(out), lines: Lines::new(*out) });
    let telling = Arc::clone(&shown);
    let course = Course { tell: Arc::new(move |event| telling.tell(event)), stop: stop.clone() };
    let ended = mirrors.run(name, terms, &course).await;
    shown.bar.end();
    let run = ended?;
    shown.lines.print(&Line::Ended {
        upstream: name.as_str(),
        listed: run.listed,
        taken: run.taken,
        failed: run.failed,
        removed: run.removed,
        bytes: run.bytes,
        why: &run.why,
    });
    shown.lines.end()?;
    out.say(format!(
        "{name}: {} listed, {} taken ({}), {} removed",
        human::counted(run.listed, "image is", "images are"),
        human::count(run.taken),
        human::size(run.bytes),
        human::count(run.removed),
    ));
    if run.why.is_empty() {
        tell_of_nothing(name, run.listed, out);
    }
    if run.why.is_empty() { Ok(()) } else { Err(Stop::failed(format!("{name}: {}", run.why))) }
}
