//! When a build goes on, rests, and stops.
//!
//! An idle thread takes no time of a processor that another one wants, but caches and memory it shares with all. Where a server sends
//! files as fast as the machine can move bytes, a build beside it halves that (measured on loopback: 4.7 GiB/s alone, 2.7 beside a build that
//! only ran when nothing else did). So while more leaves than [`BUSY`], a build works for a tenth of the time. Networks of up to 10 Gbit/s do not get there.
//! Small answers count by their number, because they leave as few moments in which nothing else runs.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// What is served in a second from which on builds rest: bytes of files, and what requests and handshakes count for.
const BUSY: u64 = 1 << 30;
/// How long is worked before it is looked whether to rest.
const SPAN: Duration = Duration::from_millis(10);
/// Work is followed by so many times as much rest,
const REST: u32 = 9;
/// but by no more than this.
const LONGEST: Duration = Duration::from_secs(2);
/// How long it may take until a rest ends because the work is stopped.
const STEP: Duration = Duration::from_millis(50);

/// What all threads of the builds of one server look at.
#[derive(Debug)]
pub(super) struct Pace {
    /// All that was served.
    sent: Arc<AtomicU64>,
    since: Mutex<Look>,
}

/// When it was looked last, and what was sent by then.
#[derive(Debug, Clone, Copy)]
struct Look {
    at: Instant,
    sent: u64,
}

impl Pace {
    pub(super) fn new(sent: Arc<AtomicU64>) -> Self {
        let since = Look { at: Instant::now(), sent: sent.load(Ordering::Relaxed) };
        Self { sent, since: Mutex::new(since) }
    }

    fn look(&self) -> Look {
        Look { at: Instant::now(), sent: self.sent.load(Ordering::Relaxed) }
    }

    /// Rests, if it is time to. Whoever comes meanwhile rests, too.
    fn rest(&self, stop: &CancellationToken) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let look = self.look();
        let mut rest = rest(look.at.saturating_duration_since(since.at), look.sent.saturating_sub(since.sent));
        while let Some(left) = rest.filter(|left| !left.is_zero() && !stop.is_cancelled()) {
            let step = left.min(STEP);
            std::thread::sleep(step);
            rest = left.checked_sub(step);
        }
        if look.at.saturating_duration_since(since.at) >= SPAN {
            *since = self.look();
        }
    }
}

/// How long to rest after having worked so long while so many bytes were sent.
fn rest(worked: Duration, sent: u64) -> Option<Duration> {
    let a_second = u128::from(sent) * 1_000_000 / worked.as_micros().max(1);
    (worked >= SPAN && a_second > u128::from(BUSY)).then(|| worked.saturating_mul(REST).min(LONGEST))
}

/// How one build goes on.
#[derive(Debug, Clone, Default)]
pub(super) struct Going {
    pub(super) stop: CancellationToken,
    /// Without one, it never rests.
    pub(super) pace: Option<Arc<Pace>>,
}

impl Going {
    /// To be asked again and again while there is work, on the thread that does it: rests for as long as is right, and is an error when the work was
    /// stopped.
    pub(super) fn on(&self) -> io::Result<()> {
        if let Some(pace) = &self.pace {
            pace.rest(&self.stop);
        }
        // Not `Interrupted`, which would be tried again.
        if self.stop.is_cancelled() { Err(io::Error::other("the work was stopped")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_nine_times_as_long_as_it_worked_while_much_is_sent() {
        let ms = Duration::from_millis;
        assert_eq!(rest(ms(100), 0), None);
        assert_eq!(rest(ms(100), BUSY / 10), None);
        assert_eq!(rest(ms(100), BUSY / 10 + 100), Some(ms(900)));
        assert_eq!(rest(ms(9), u64::MAX), None, "too short to tell");
        assert_eq!(rest(ms(10), u64::MAX), Some(ms(90)));
        assert_eq!(rest(ms(3_600_000), u64::MAX), Some(LONGEST));
    }

    #[test]
    fn a_rest_is_over_when_the_work_is_stopped() {
        let sent = Arc::new(AtomicU64::new(0));
        let going = Going { stop: CancellationToken::new(), pace: Some(Arc::new(Pace::new(Arc::clone(&sent)))) };
        std::thread::sleep(SPAN * 10);
        sent.store(u64::MAX, Ordering::Relaxed);
        let (began, stop) = (Instant::now(), going.stop.clone());
        let resting = std::thread::spawn(move || going.on().map_err(|error| error.to_string()));
        std::thread::sleep(STEP);
        assert!(!resting.is_finished());
        stop.cancel();
        assert_eq!(resting.join().unwrap(), Err("the work was stopped".to_owned()));
        assert!(began.elapsed() < SPAN * 10 * REST, "{:?}", began.elapsed());
    }
}
