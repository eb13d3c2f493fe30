//! `headwater delta build`

use tokio_util::sync::CancellationToken;

use super::{images, pair, percent, root};
use crate::app::App;
use crate::catalog::{ClaimedDelta, DeltaClaim, DeltaPlace, DeltaWish};
use crate::cli::out::Out;
use crate::cli::stop::{Stop, on_interrupt};
use crate::cli::{InProject, bar, human};
use crate::deltas::{Claim, Deltas, Ended, Planner};

/// Build deltas now
///
/// Without an image, it builds what is wanted and not there yet, which a server does by itself. With one, it builds the deltas to it from the
/// versions that pay most, or from the image that --from names, also when they were refused or failed before. It may run beside
/// servers: no pair is built twice.
///
/// A delta is listed only when it was decoded again and gave the right bytes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  headwater delta build
  headwater delta build debian/12
  headwater delta build debian/12 --from 1f2e3d4c5b6a")]
pub(in crate::cli) struct Args {
    /// The image that hosts are to get: an alias, or the first characters of a fingerprint
    #[arg(value_name = "IMAGE")]
    image: Option<String>,
    /// The older image that they have
    #[arg(long, value_name = "IMAGE", requires = "image")]
    from: Option<String>,
    /// When an alias leads to a container and a virtual machine, take the virtual machine
    #[arg(long)]
    vm: bool,
    #[command(flatten)]
    project: InProject,
}

/// What came of all of it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Totals {
    listed: u64,
    refused: u64,
    /// What went wrong, as sentences.
    failed: Vec<String>,
}

pub(super) async fn run(args: Args, app: &App, deltas: &Deltas, out: &Out) -> Result<(), Stop> {
    let (stop, interrupted) = on_interrupt();
    let build = Build { app, deltas, out, stop: stop.clone() };
    let done = match args.image {
        None => build.wanted().await,
        Some(name) => {
            let (image, base) = images(app, &args.project, args.vm, &name, args.from.as_deref()).await?;
            let mut files = vec![root(&image).map_err(Stop::failed)?.digest];
            files.extend(base.as_ref().and_then(|base| root(base).ok()).map(|file| file.digest));
            if let Some(absent) = app.catalog.absent(&files).await?.first() {
                return Err(Stop::failed(format!(
                    "the file {absent} is not here, because an upstream only promises it; copy the image from this server with a client, which brings \
                     it, and build the delta then"
                )));
            }
            let wishes = match base {
                Some(base) => vec![pair(&image, &base).map_err(Stop::failed)?],
                None => deltas.wishes_to(&root(&image).map_err(Stop::failed)?.digest).await?,
            };
            if wishes.is_empty() {
                let short = image.image.fingerprint.short();
                return Err(Stop::failed(format!(
                    "there is no older version that a delta to {short} could start from; `headwater delta explain {short}` says more"
                )));
            }
            build.these(&wishes).await
        }
    };
    interrupted.abort();
    let totals = done?;
    if stop.is_cancelled() {
        return Err(Stop::failed(
            "stopped; what was not built waits for a server, or for another `headwater delta build`",
        ));
    }
    out.say(summary(&totals));
    if totals.failed.is_empty() { Ok(()) } else { Err(Stop::failed(totals.failed.join("\n"))) }
}

struct Build<'a> {
    app: &'a App,
    deltas: &'a Deltas,
    out: &'a Out,
    stop: CancellationToken,
}

impl Build<'_> {
    /// What is wanted now.
    async fn wanted(&self) -> Result<Totals, Stop> {
        let (mut planner, mut totals) = (Planner::default(), Totals::default());
        let mut more = true;
        while more && !self.stop.is_cancelled() {
            while self.deltas.plan(&mut planner).await? {}
            more = self.deltas.plan_past(&mut planner).await?;
            while !self.stop.is_cancelled()
                && let Some(claim) = self.deltas.next(&self.stop).await?
            {
                // What the machine does not do now it would not do in a moment.
                if !self.one(claim, &mut totals).await? {
                    return Ok(totals);
                }
            }
        }
        Ok(totals)
    }

    /// These pairs, whatever came of them before.
    async fn these(&self, wishes: &[DeltaWish]) -> Result<Totals, Stop> {
        let mut totals = Totals::default();
        for wish in wishes {
            if self.stop.is_cancelled() {
                break;
            }
            match self.deltas.claim(wish, &self.stop).await? {
                Ok(claim) => drop(self.one(claim, &mut totals).await?),
                Err(DeltaClaim::Ready) => {
                    self.out.say(format!("the delta from {} is there already", short(&wish.base)))
                }
                Err(DeltaClaim::Busy) => {
                    self.out.say(format!("the delta from {} is being built by a server", short(&wish.base)));
                }
                Err(DeltaClaim::Unneeded | DeltaClaim::Taken(_)) => {
                    return Err(Stop::failed(
                        "one of the images is gone meanwhile; `headwater image list` shows what is there",
                    ));
                }
            }
        }
        Ok(totals)
    }

    /// Builds one; `false` when the machine did not do what it should.
    async fn one(&self, claim: Claim, totals: &mut Totals) -> Result<bool, Stop> {
        let pair = *claim.pair();
        let name = name(self.app.catalog.delta_place(&pair).await?.as_ref(), &pair);
        let built = self.deltas.build(&claim, bar::progress(self.out)).await;
        let ended = self.deltas.end(&claim, built).await?;
        match &ended {
            Ended::Listed(file) => {
                totals.listed += 1;
                let (size, full) = (human::size(file.size), human::size(pair.target.size));
                self.out.say(format!("{name}: {size}, {} of {full}", percent(file.size, pair.target.size)));
            }
            Ended::Refused(_) => {
                totals.refused += 1;
                self.out.say(format!("{name}: {ended}"));
            }
            Ended::Failed(_) | Ended::Trouble(_) => {
                totals.failed.push(format!("{name}: {ended}"));
            }
            Ended::Stopped | Ended::Lost => self.out.say(format!("{name}: {ended}")),
        }
        Ok(!matches!(ended, Ended::Trouble(_)))
    }
}

/// `debian:bookworm:amd64:default 20250102_07:42 from 20250101_07:42`
fn name(place: Option<&DeltaPlace>, pair: &ClaimedDelta) -> String {
    match place {
        Some(DeltaPlace { product, version, base_version, .. }) => format!("{product} {version} from {base_version}"),
        None => format!("{} from {}", short(&pair.target.digest), short(&pair.base.digest)),
    }
}

fn short(digest: &headwater_formats::digest::Digest) -> String {
    digest.to_string().chars().take(12).collect()
}

fn summary(totals: &Totals) -> String {
    let mut parts = Vec::new();
    for (number, one, many) in [
        (totals.listed, "delta is listed", "deltas are listed"),
        (totals.refused, "does not pay", "do not pay"),
        (totals.failed.len() as u64, "went wrong", "went wrong"),
    ] {
        if number > 0 {
            parts.push(human::counted(number, one, many));
        }
    }
    if parts.is_empty() { "there is nothing to build".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_in_words() {
        assert_eq!(summary(&Totals::default()), "there is nothing to build");
        let totals = Totals { listed: 1, refused: 2, failed: vec!["x".into()] };
        assert_eq!(summary(&totals), "1 delta is listed, 2 do not pay, 1 went wrong");
    }
}
