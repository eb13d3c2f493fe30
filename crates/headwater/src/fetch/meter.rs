//! How far a download is, in the words of the daemons, which clients show as they are
//! (LXD `lxd/daemon_images.go`, `client/lxd_images.go`, `shared/units`).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Tell;
use crate::client::Delivery;
use crate::publish::Progress;

/// Most often.
const EVERY: Duration = Duration::from_millis(250);

/// Counts bytes and tells of them.
pub(super) struct Meter {
    files: [(&'static str, Option<u64>); 2],
    total: Option<u64>,
    tell: Tell,
    state: Mutex<State>,
}

struct State {
    /// Which file; `None` before the first.
    file: Option<usize>,
    began: Instant,
    told: Option<Instant>,
    /// Bytes of this file, and of those before it.
    had: u64,
    before: u64,
}

impl Meter {
    /// For these files, of so many bytes together.
    pub(super) fn new(delivery: &Delivery, total: Option<u64>, tell: Tell) -> Self {
        let root = delivery.root.as_ref().map_or(("", None), |root| (root.label, root.size));
        let files = [(delivery.first.label, delivery.first.size), root];
        let state = State { file: None, began: Instant::now(), told: None, had: 0, before: 0 };
        Self { files, total, tell, state: Mutex::new(state) }
    }

    fn text(&self, state: &State, elapsed: Duration) -> String {
        let (label, size) = state.file.and_then(|at| self.files.get(at)).copied().unwrap_or_default();
        let size = size.or(match state.file {
            // What is left for the last file, when only the whole is known.
            Some(1) => self.total.map(|total| total.saturating_sub(state.before)),
            _ => None,
        });
        line(label, state.had, size, elapsed)
    }
}

/// `rootfs: 45% (3.20MB/s)`, or bytes in place of the percentage when the length is not known.
pub fn line(label: &str, had: u64, size: Option<u64>, elapsed: Duration) -> String {
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "for people"
    )]
    let speed = (had as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
    let part = match size {
        Some(size) if size > 0 => {
            format!("{}%", u128::from(had.min(size)) * 100 / u128::from(size))
        }
        _ => bytes(had),
    };
    let label = if label.is_empty() { String::new() } else { format!("{label}: ") };
    format!("{label}{part} ({}/s)", bytes(speed))
}

/// As Go's `units.GetByteSizeString(n, 2)` writes it.
fn bytes(count: u64) -> String {
    if count < 1000 {
        return format!("{count}B");
    }
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let mut value = count as f64;
    for unit in ["kB", "MB", "GB", "TB", "PB"] {
        value /= 1000.0;
        if value < 1000.0 {
            return format!("{value:.2}{unit}");
        }
    }
    format!("{:.2}EB", value / 1000.0)
}

impl Progress for Meter {
    fn begin(&self, _: &str, _: Option<u64>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.file = Some(state.file.map_or(0, |at| at + 1));
        state.before += std::mem::take(&mut state.had);
        state.began = Instant::now();
        state.told = None;
    }

    fn advance(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.had += bytes;
        let now = Instant::now();
        if state.told.is_some_and(|told| now.duration_since(told) < EVERY) {
            return;
        }
        state.told = Some(now);
        let text = self.text(&state, now.duration_since(state.began));
        drop(state);
        (self.tell)(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_the_daemons() {
        let second = Duration::from_secs(1);
        assert_eq!(line("rootfs", 3_200_000, Some(7_000_000), second), "rootfs: 45% (3.20MB/s)");
        assert_eq!(line("", 999, Some(999), second), "100% (999B/s)");
        assert_eq!(line("metadata", 1500, None, second), "metadata: 1.50kB (1.50kB/s)");
        assert_eq!(line("", u64::MAX, Some(u64::MAX), Duration::from_secs(1 << 40)), "100% (16.78MB/s)");
        assert_eq!(bytes(u64::MAX), "18.45EB");
    }
}
