//! `headwater gc`

use headwater_formats::digest::Digest;
use serde::Serialize;

use super::duration::Seconds;
use super::out::Out;
use super::place::Place;
use super::stop::Stop;
use super::{human, now};
use crate::catalog::{Cached, Upstream};
use crate::publish::{LetGo, SweepTotals, Swept};

/// Free the space of deleted images
///
/// Files of deleted images stay for a while, because clients work with lists that are an hour old and downloads take time.
/// This removes the ones whose time is over, what crashed commands have left, and downloads that were begun and not gone on with for
/// a week. Files that came from a lazy upstream and are beyond its limits go, too; they come again when somebody asks for them. It may run beside
/// servers and publishers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  headwater gc --dry-run
  headwater gc
  headwater gc --grace 0s")]
pub(super) struct Args {
    /// Only tell what would go
    #[arg(long)]
    dry_run: bool,
    /// How long files stay after the last image that needed them was deleted
    ///
    /// Without it: what the configuration says, or 24h.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    grace: Option<Seconds>,
}

#[derive(Serialize)]
struct Row {
    digest: Digest,
    size: u64,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_at: Option<String>,
}

pub(super) async fn run(args: Args, place: &Place, out: &Out) -> Result<(), Stop> {
    let app = place.open().await?;
    let Seconds(grace) = args.grace.unwrap_or(place.grace);
    let mut list = out.findings(&["FILE", "SIZE", "REASON"]);
    let mut printed = Ok(());
    let mut tell = |swept| {
        let row = match swept {
            Swept::Retired(retired) => Row {
                digest: retired.digest,
                size: retired.size,
                reason: "deleted",
                deleted_at: Some(retired.retired_at.rfc3339()),
            },
            Swept::Stray { digest, size } => Row { digest, size, reason: "never published", deleted_at: None },
        };
        let added = list.add(&row, || vec![row.digest.to_string(), human::size(row.size), row.reason.to_owned()]);
        if printed.is_ok() {
            printed = added;
        }
    };
    let publisher = &app.publisher;
    let totals = if args.dry_run {
        publisher.plan_sweep(now(), grace, &mut tell).await?
    } else {
        publisher.sweep(now(), grace, &mut tell).await?
    };
    printed?;
    let mut printed = Ok(());
    let mut tell = |_: &Upstream, file: Cached| {
        let row =
            Row { digest: file.digest, size: file.size, reason: "beyond the limits of its upstream", deleted_at: None };
        let added = list.add(&row, || vec![row.digest.to_string(), human::size(row.size), row.reason.to_owned()]);
        if printed.is_ok() {
            printed = added;
        }
    };
    let cached = publisher.keep_limits(args.dry_run, now(), &mut tell).await?;
    printed?;
    list.end()?;
    out.say(summary(&totals, cached, args.dry_run));
    app.catalog.close().await;
    Ok(())
}

fn summary(totals: &SweepTotals, cached: LetGo, dry_run: bool) -> String {
    let mut parts = Vec::new();
    for (number, one, many) in [
        (totals.retired, "file of deleted images", "files of deleted images"),
        (totals.stray, "file that was never published", "files that were never published"),
        (totals.staged, "half-written file", "half-written files"),
        (totals.partial, "download that nobody goes on with", "downloads that nobody goes on with"),
        (cached.files, "file beyond the limits of its upstream", "files beyond the limits of their upstreams"),
    ] {
        if number > 0 {
            parts.push(human::counted(number, one, many));
        }
    }
    let bytes = human::size(totals.bytes().saturating_add(cached.bytes));
    match (parts.is_empty(), dry_run) {
        (true, _) => "nothing to remove".to_owned(),
        (false, true) => format!("would free {bytes}: {}", parts.join(", ")),
        (false, false) => format!("freed {bytes}: {}", parts.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_in_words() {
        let totals = SweepTotals { retired: 1, retired_bytes: 1024, staged: 2000, ..SweepTotals::default() };
        assert_eq!(
            summary(&totals, LetGo::default(), true),
            "would free 1.00KiB: 1 file of deleted images, 2,000 half-written files"
        );
        assert_eq!(summary(&SweepTotals::default(), LetGo::default(), false), "nothing to remove");
        let cached = LetGo { files: 2, bytes: 2048 };
        assert_eq!(
            summary(&SweepTotals::default(), cached, false),
            "freed 2.00KiB: 2 files beyond the limits of their upstreams"
        );
    }
}
