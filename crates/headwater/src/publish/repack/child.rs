//! Runs one of the tools: with a time limit, in the background of everything else, with nothing of ours in its environment but PATH, and without a
//! shell.

use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::{RepackError, Stop};

/// Longest that one run may take.
const LONGEST: Duration = Duration::from_secs(2 * 60 * 60);
/// How often is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(10);
/// How far everybody else goes first (nice(1)).
const NICENESS: i32 = 10;
/// Most of its messages that are kept, in bytes: their end says why it failed.
const KEPT: usize = 2048;
/// Bytes that are gathered before they are given to it.
const BUFFER: usize = 256 << 10;

/// Where a tool finds the file that it writes: its standard output, opened anew, so that it can be written in any order.
pub(super) const OUTPUT: &str = "/proc/self/fd/1";
/// Where it finds the file that it reads, when it is given one.
pub(super) const INPUT: &str = "/proc/self/fd/0";

/// A tool, and what it is part of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tool {
    pub(super) program: &'static str,
    /// What to do when it is missing.
    pub(super) advice: &'static str,
}

impl Tool {
    /// Runs it on a file; what it writes goes to `output`.
    pub(super) fn convert(self, words: &[&str], input: File, output: &File, stop: &Stop) -> Result<(), RepackError> {
        self.run(words, Stdio::from(input), output, stop, |_| Ok(()))
    }

    /// Runs it and feeds it; what it writes goes to `output`.
    pub(super) fn feed<T>(
        self,
        words: &[&str],
        output: &File,
        stop: &Stop,
        feed: impl FnOnce(BufWriter<ChildStdin>) -> Result<T, RepackError>,
    ) -> Result<T, RepackError> {
        self.run(words, Stdio::piped(), output, stop, |input| match input {
            Some(input) => feed(BufWriter::with_capacity(BUFFER, input)),
            None => Err(RepackError::Tools(format!("{} could not be given anything", self.program))),
        })
    }

    fn run<T>(
        self,
        words: &[&str],
        input: Stdio,
        output: &File,
        stop: &Stop,
        feed: impl FnOnce(Option<ChildStdin>) -> Result<T, RepackError>,
    ) -> Result<T, RepackError> {
        let failed = |error: io::Error| RepackError::Tools(format!("{} could not be run: {error}", self.program));
        let mut command = Command::new(self.program);
        command.args(words).stdin(input).stdout(output.try_clone().map_err(failed)?).stderr(Stdio::piped());
        command.env_clear().env("LC_ALL", "C").current_dir("/");
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        thread::scope(|scope| {
            let (started, when_started) = mpsc::channel();
            let watching = scope.spawn(move || {
                // Of this thread alone, and of what it starts. Without it, it is only less polite.
                let _ = rustix::process::nice(NICENESS);
                match command.spawn() {
                    Ok(mut child) => {
                        // Let go of what the command holds: the other ends of the pipes.
                        drop(command);
                        let _ = started.send(Ok(child.stdin.take()));
                        watch(child, stop).map(Some)
                    }
                    Err(error) => {
                        let _ = started.send(Err(error));
                        Ok(None)
                    }
                }
            });
            let input = match when_started.recv() {
                Ok(Ok(input)) => input,
                Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(RepackError::Tools(format!("{} is not installed; {}", self.program, self.advice)));
                }
                Ok(Err(error)) => return Err(failed(error)),
                Err(_) => return Err(failed(io::Error::other("it was not started"))),
            };
            // Its input is closed when this returns, so that it comes to its end.
            let fed = feed(input);
            let ended = watching.join().unwrap_or_else(|_| Err(io::Error::other("its watcher stopped")));
            let ended = ended.map_err(failed)?;
            match (ended, fed) {
                (Some(Ended { status, .. }), fed) if status.success() => fed,
                // What the image holds is why it got no more.
                (_, Err(error @ RepackError::Cannot(_))) => Err(error),
                (Some(Ended { status, said, stopped }), _) => {
                    let why = stopped.map_or_else(|| format!("{status}: {}", last_words(&said)), str::to_owned);
                    Err(RepackError::Tools(format!("{} failed ({why})", self.program)))
                }
                (None, _) => Err(failed(io::Error::other("it was not started"))),
            }
        })
    }
}

struct Ended {
    status: ExitStatus,
    said: Vec<u8>,
    /// Why it was not let come to its end.
    stopped: Option<&'static str>,
}

/// Waits until it has ended, or ends it.
fn watch(mut child: Child, stop: &Stop) -> io::Result<Ended> {
    let began = Instant::now();
    let messages = child.stderr.take();
    let listening = thread::spawn(move || messages.map(end_of).unwrap_or_default());
    let mut stopped = None;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if stop.is_set() {
            stopped = Some("nobody waits for it any more");
        } else if began.elapsed() > LONGEST {
            stopped = Some("it took more than two hours");
        }
        if stopped.is_some() {
            child.kill()?;
            break child.wait()?;
        }
        thread::sleep(LOOK);
    };
    Ok(Ended { status, said: listening.join().unwrap_or_default(), stopped })
}

/// The end of all that comes.
fn end_of(mut reader: impl Read) -> Vec<u8> {
    let (mut kept, mut piece) = (Vec::new(), [0; KEPT]);
    loop {
        match reader.read(&mut piece) {
            Ok(0) | Err(_) => return kept,
            Ok(got) => {
                kept.extend_from_slice(&piece[..got]);
                let surplus = kept.len().saturating_sub(KEPT);
                kept.drain(..surplus);
            }
        }
    }
}

fn last_words(said: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(said).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLEEP: Tool = Tool { program: "sleep", advice: "it is part of every system" };

    #[test]
    fn what_nobody_waits_for_any_more_is_ended_while_it_is_fed_and_after() {
        for fed in [u64::MAX, 0] {
            let (stop, began) = (Stop::default(), Instant::now());
            let guard = stop.guard();
            let leaving = thread::spawn(move || {
                thread::sleep(Duration::from_millis(200));
                drop(guard);
            });
            let output = tempfile::tempfile().unwrap();
            let ended = SLEEP.feed(&["600"], &output, &stop, |to| {
                // It reads nothing, so that this waits when the pipe is full.
                let taken = io::copy(&mut io::repeat(0).take(fed), &mut { to });
                taken.map_err(|error| RepackError::Tools(error.to_string()))
            });
            leaving.join().unwrap();
            assert_eq!(ended.unwrap_err().to_string(), "sleep failed (nobody waits for it any more)");
            assert!(began.elapsed() < Duration::from_secs(60));
        }
    }

    #[test]
    fn what_a_tool_says_is_kept_to_its_end_and_no_further() {
        let tool = Tool { program: "tail", advice: "" };
        let output = tempfile::tempfile().unwrap();
        let missing = "x".repeat(100_000);
        let ended = tool
            .convert(&[&missing], tempfile::tempfile().unwrap(), &output, &Stop::default())
            .unwrap_err()
            .to_string();
        assert!(
            ended.starts_with("tail failed (exit status: 1: xxx") && ended.ends_with("File name too long)"),
            "{ended}"
        );
        assert!(ended.len() < KEPT + 100);
        let none = Tool { program: "no-such-tool", advice: "install it" };
        let ended =
            none.convert(&[], tempfile::tempfile().unwrap(), &output, &Stop::default()).unwrap_err().to_string();
        assert_eq!(ended, "no-such-tool is not installed; install it");
    }
}
