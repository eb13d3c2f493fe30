//! `headwater mirror push`: the other direction.

use std::sync::Arc;

use headwater_formats::names::{ProjectName, UpstreamName};
use headwater_formats::simplestreams::select::Selection;
use serde::Serialize;

use super::super::bar;
use super::super::out::Out;
use super::super::stop::{Stop, on_interrupt};
use super::human;
use super::lines::Lines;
use crate::mirror::{AliasAction, Mirrors, PushCourse, PushEvent, PushPlan, PushTerms};
use crate::publish::Progress;

/// Send images to an upstream that does not have them
///
/// For a server that is reached from here and does not reach this one. It is an upstream of the protocol lxd or incus that knows us
/// (`headwater mirror add … --token`), and that we may publish to; with --schedule 0s, nothing is ever mirrored from it. Images go with their properties, by which
/// they have their place there, public or not, with their expiry and their fixed aliases. What is there already, by its fingerprint, is left as it is, so a push that
/// was cut short is gone on with by the next one. Nothing is taken away there.
///
/// An alias that leads to another image there is moved if this project has that image, too; else it stays where it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  headwater mirror push closed --dry-run
  headwater mirror push closed --filter 'os=debian latest=1'
  headwater mirror push closed --project team-a --to-project images --format json")]
pub(in crate::cli) struct Args {
    /// The upstream
    name: UpstreamName,
    /// Which images are sent: os=, release=, variant=, arch=, type=, alias= and latest=, with blanks between them; all without one
    #[arg(long, value_name = "FILTERS")]
    filter: Option<Selection>,
    /// The project whose images are sent [default: the one that the upstream is mirrored into]
    #[arg(long, value_name = "PROJECT")]
    project: Option<ProjectName>,
    /// The project there that gets them [default: the upstream's --upstream-project]
    #[arg(long, value_name = "PROJECT")]
    to_project: Option<String>,
    /// Say what would be sent, with sizes, and send nothing
    #[arg(long)]
    dry_run: bool,
}

/// What a program reads, a line each; a dry run gives a list of them.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line<'a> {
    Planned { upstream: &'a str, listed: u64, images: u64, bytes: u64 },
    ToSend { product: &'a str, version: &'a str, fingerprint: String, size: u64 },
    ToName { alias: &'a str, fingerprint: String, action: &'static str },
    Sent { product: &'a str, version: &'a str, fingerprint: String, size: u64 },
    Failed { product: &'a str, version: &'a str, fingerprint: String, why: &'a str },
    Named { alias: &'a str, fingerprint: String },
    NotNamed { alias: &'a str, fingerprint: String, why: &'a str },
    Ended { upstream: &'a str, listed: u64, sent: u64, failed: u64, bytes: u64 },
}

pub(super) async fn push(args: Args, mirrors: &Mirrors, out: &Out) -> Result<(), Stop> {
    let Args { name, filter, project, to_project, dry_run } = args;
    let selection = filter.unwrap_or_default();
    if selection.asks_for_fields() {
        return Err(Stop::usage(
            "what is sent has no fields of files; use os=, release=, variant=, arch=, type=, alias= and latest= alone",
        ));
    }
    let plan = mirrors.plan_push(&name, PushTerms { project, to_project, selection }).await?;
    if dry_run {
        return show(&plan, out);
    }
    let left: Vec<String> = left(&plan).map(|alias| alias.name.clone()).collect();
    let (stop, interrupted) = on_interrupt();
    let shown = Arc::new(Shown { out: *out, bar: bar::progress(out), lines: Lines::new(*out) });
    let (listed, images, bytes) = (plan.listed, plan.send.len() as u64, plan.bytes());
    shown.lines.print(&Line::Planned { upstream: name.as_str(), listed, images, bytes });
    if images > 0 {
        shown.bar.begin(name.as_str(), Some(bytes));
    }
    let telling = Arc::clone(&shown);
    let course = PushCourse { tell: Arc::new(move |event| telling.tell(event)), stop };
    let ended = mirrors.push(plan, &course).await;
    shown.bar.end();
    interrupted.abort();
    let pushed = ended?;
    let (sent, failed, bytes) = (pushed.sent, pushed.failed, pushed.bytes);
    shown.lines.print(&Line::Ended { upstream: name.as_str(), listed, sent, failed, bytes });
    shown.lines.end()?;
    if !left.is_empty() {
        out.say(format!(
            "left where they are there, because this project does not have what they lead to: {}",
            left.join(", ")
        ));
    }
    out.say(format!(
        "{name}: {}, {} sent ({})",
        human::counted(listed, "image was chosen", "images were chosen"),
        human::count(sent),
        human::size(bytes)
    ));
    if failed > 0 {
        return Err(Stop::failed(format!("{name} did not take all; what is missing is tried again by the next push")));
    }
    Ok(())
}

fn left(plan: &PushPlan) -> impl Iterator<Item = &crate::mirror::PushAlias> {
    plan.aliases.iter().filter(|alias| alias.action == AliasAction::Leave)
}

fn show(plan: &PushPlan, out: &Out) -> Result<(), Stop> {
    let mut list = out.list(&["ACTION", "PRODUCT", "VERSION", "FINGERPRINT", "SIZE"]);
    for (step, _) in &plan.send {
        let (product, version, size) = (step.product.as_str(), step.version.as_str(), step.size);
        let fingerprint = step.fingerprint.to_string();
        list.add(&Line::ToSend { product, version, fingerprint, size }, || {
            let (product, version) = (product.to_owned(), version.to_owned());
            vec!["send".to_owned(), product, version, step.fingerprint.short().to_string(), human::size(size)]
        })?;
    }
    for alias in &plan.aliases {
        let action = match alias.action {
            AliasAction::Create => "create",
            AliasAction::Move => "move",
            AliasAction::Leave => "leave",
        };
        let fingerprint = alias.image.to_string();
        list.add(&Line::ToName { alias: &alias.name, fingerprint, action }, || {
            let what = format!("{action} alias");
            vec![what, alias.name.clone(), String::new(), alias.image.short().to_string(), String::new()]
        })?;
    }
    list.end()?;
    out.say(format!(
        "{}, {} to send ({})",
        human::counted(plan.listed, "image is chosen", "images are chosen"),
        human::count(plan.send.len() as u64),
        human::size(plan.bytes())
    ));
    Ok(())
}

/// Draws, or says, what happens.
struct Shown {
    out: Out,
    bar: Arc<dyn Progress>,
    lines: Lines,
}

impl Shown {
    fn tell(&self, event: PushEvent) {
        match event {
            PushEvent::Bytes(bytes) => self.bar.advance(bytes),
            PushEvent::Sent(step) => {
                let (product, version, size) = (step.product.as_str(), step.version.as_str(), step.size);
                self.lines.print(&Line::Sent { product, version, fingerprint: step.fingerprint.to_string(), size });
                if self.out.for_people() && !self.out.may_animate() {
                    let words = [product, version].join(" ");
                    let what = if product.is_empty() { "an image of no product" } else { &words };
                    self.out.say(format!("sent {what}: {}, {}", step.fingerprint.short(), human::size(size)));
                }
            }
            PushEvent::Failed(step, why) => {
                let (product, version) = (step.product.as_str(), step.version.as_str());
                let fingerprint = step.fingerprint.to_string();
                self.lines.print(&Line::Failed { product, version, fingerprint, why: &why });
                self.out.say(format!("{} could not be sent: {why}", step.fingerprint.short()));
            }
            PushEvent::Named(alias) => {
                self.lines.print(&Line::Named { alias: &alias.name, fingerprint: alias.image.to_string() });
            }
            PushEvent::NotNamed(alias, why) => {
                let fingerprint = alias.image.to_string();
                self.lines.print(&Line::NotNamed { alias: &alias.name, fingerprint, why: &why });
                self.out.say(format!("the alias {} could not be set: {why}", alias.name));
            }
        }
    }
}
