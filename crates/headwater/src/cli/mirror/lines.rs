//! What programs read of something that goes on for a while: a line for each event.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::super::out::Out;
use super::super::stop::Stop;

/// Prints lines for programs; people are told otherwise. Who prints goes on when nobody reads any more, and is told at the end.
pub(super) struct Lines {
    out: Out,
    /// Why nothing can be printed any more.
    broken: Mutex<Option<Stop>>,
}

impl Lines {
    pub(super) fn new(out: Out) -> Self {
        Self { out, broken: Mutex::new(None) }
    }

    pub(super) fn print(&self, line: &impl Serialize) {
        if self.out.for_people() {
            return;
        }
        if let Err(stop) = self.out.follow(line, &[]) {
            self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(stop);
        }
    }

    /// Whether all of it could be printed.
    pub(super) fn end(&self) -> Result<(), Stop> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}
