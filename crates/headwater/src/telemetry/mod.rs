//! Logs: lines for people or objects for programs, on standard error.
//!
//! Each request is one event of the target `access` ([`crate::http::access`]); many of them are written together (`together.rs`). The level can be changed while the server runs.
//! This file does not know what is logged.

mod line;
mod together;

use std::io;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::LogFormat;
use together::Together;

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is none.
    #[error(
        "log.level {level:?} cannot be read ({reason}); use error, warn, info, debug or trace, or a list such as \"info,access=warn\""
    )]
    Level {
        /// What was given.
        level: String,
        /// Why.
        reason: String,
    },
    /// Somebody else in this process writes logs, or there can be no thread for it.
    #[error("logs cannot be written: {0}")]
    Taken(String),
}

/// The logs of this process.
#[derive(Debug, Clone)]
pub struct Logs(reload::Handle<EnvFilter, Registry>);

fn filter(level: &str) -> Result<EnvFilter, LogError> {
    let failed = |reason: String| LogError::Level { level: level.to_owned(), reason };
    if level.trim().is_empty() {
        return Err(failed("it is empty".to_owned()));
    }
    EnvFilter::builder().parse(level).map_err(|error| failed(error.to_string()))
}

/// Begins to write logs. Once per process.
pub fn start(format: LogFormat, level: &str) -> Result<Logs, LogError> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let out = Together::new(io::stderr()).map_err(|error| LogError::Taken(error.to_string()))?;
    let lines = match format {
        LogFormat::Text => fmt::layer().with_writer(out).event_format(line::Lines).boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(out).boxed(),
    };
    let started = tracing_subscriber::registry().with(filter).with(lines).try_init();
    started.map_err(|error| LogError::Taken(error.to_string()))?;
    Ok(Logs(handle))
}

impl Logs {
    /// Changes the level.
    pub fn set_level(&self, level: &str) -> Result<(), LogError> {
        let filter = filter(level)?;
        self.0.reload(filter).map_err(|error| LogError::Taken(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_is_none_is_told() {
        assert!(filter("info,access=warn").is_ok());
        for level in ["", "lots=of=noise"] {
            let error = filter(level).unwrap_err().to_string();
            assert!(error.starts_with(&format!("log.level {level:?} cannot be read")), "{error}");
        }
    }
}
