//! How a command ends early: with a sentence and an exit code.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(super) enum Stop {
    /// Something failed: exit code 1.
    Failed(String),
    /// The command line makes no sense, in a way that only its verb can tell: exit code 2.
    Usage(String),
    /// All was said already: exit code 1.
    Said,
    /// Nobody reads what is printed any more: no failure, and nothing to say.
    NobodyReads,
}

impl Stop {
    /// A failure with this sentence.
    pub(super) fn failed(sentence: impl Into<String>) -> Self {
        Self::Failed(sentence.into())
    }

    /// A usage error with this sentence.
    pub(super) fn usage(sentence: impl Into<String>) -> Self {
        Self::Usage(sentence.into())
    }

    /// Why writing to standard output failed.
    pub(super) fn writing(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::NobodyReads,
            _ => Self::Failed(format!("standard output cannot be written: {error}")),
        }
    }

    /// Says what is to be said on standard error, and gives the exit code.
    pub(super) fn tell(self) -> ExitCode {
        let (sentence, code) = match self {
            Self::Failed(sentence) => (sentence, ExitCode::from(1)),
            Self::Usage(sentence) => (sentence, ExitCode::from(2)),
            Self::Said => return ExitCode::from(1),
            Self::NobodyReads => return ExitCode::SUCCESS,
        };
        // Where standard error is closed there is nobody left to tell.
        let _ = writeln!(io::stderr().lock(), "Error: {}", super::human::lines(&sentence));
        code
    }
}

impl<E: Error> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(chain(&error))
    }
}

/// What Ctrl-C cancels, and what listens for it: to be aborted when there is nothing to stop any more.
pub(super) fn on_interrupt() -> (CancellationToken, JoinHandle<()>) {
    let stop = CancellationToken::new();
    let listening = tokio::spawn({
        let stop = stop.clone();
        async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                stop.cancel();
            }
        }
    });
    (stop, listening)
}

/// Prints what clap has to say: help and version on standard output, usage errors on standard error.
pub(super) fn explain(error: &clap::Error) -> ExitCode {
    // A closed pipe is the only way for printing to fail, and then nobody reads.
    if error.use_stderr() {
        let text = error.render().to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let _ = write!(io::stderr().lock(), "Error: {text}");
    } else {
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// The sentence of an error and those of its sources, each once: many errors quote their source already.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        append(&mut text, source);
        next = source.source();
    }
    text
}

fn append(text: &mut String, source: &dyn Display) {
    let source = source.to_string();
    if !text.contains(&source) {
        text.push_str(": ");
        text.push_str(&source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the file cannot be read: {source}")]
    struct Quoting {
        source: io::Error,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("nothing was published")]
    struct Silent(#[source] Quoting);

    #[test]
    fn every_source_is_told_once() {
        let error = Silent(Quoting { source: io::Error::other("no disk") });
        assert_eq!(chain(&error), "nothing was published: the file cannot be read: no disk");
    }
}
