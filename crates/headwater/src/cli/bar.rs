//! Progress on a terminal: bytes, rate, time left.
//!
//! It draws on standard error, and only when that is a terminal and nobody asked for silence.

use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};

use super::out::Out;
use crate::publish::{Progress, Silent};

/// A bar for each file in turn.
struct Bar(Mutex<Option<ProgressBar>>);

/// What draws progress where it may be drawn, and what says nothing elsewhere.
pub(super) fn progress(out: &Out) -> Arc<dyn Progress> {
    if out.may_animate() { Arc::new(Bar(Mutex::new(None))) } else { Arc::new(Silent) }
}

impl Bar {
    fn with(&self, act: impl FnOnce(&mut Option<ProgressBar>)) {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Progress for Bar {
    fn begin(&self, name: &str, total: Option<u64>) {
        let bar = match total {
            Some(total) => ProgressBar::new(total).with_style(style(
                "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left",
            )),
            None => ProgressBar::no_length().with_style(style("{msg} {spinner} {binary_bytes} {binary_bytes_per_sec}")),
        };
        bar.set_message(super::human::one_line(name));
        self.with(|slot| *slot = Some(bar));
    }

    fn advance(&self, bytes: u64) {
        self.with(|slot| {
            if let Some(bar) = slot {
                bar.inc(bytes);
            }
        });
    }

    fn end(&self) {
        self.with(|slot| {
            if let Some(bar) = slot.take() {
                bar.finish_and_clear();
            }
        });
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        // A failure leaves no half-drawn line before the error.
        self.end();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_ones_that_can_be_drawn() {
        for template in [
            "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left",
            "{msg} {spinner} {binary_bytes} {binary_bytes_per_sec}",
        ] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
        let bar = Bar(Mutex::new(None));
        bar.advance(1);
        bar.begin("a", Some(2));
        bar.advance(2);
        bar.end();
    }
}
