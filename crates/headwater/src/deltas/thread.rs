//! Threads for work that takes minutes. Not those of the runtime: a thread that makes way for others does so until it ends.

use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};
use tokio::sync::oneshot;

/// As nice as can be.
const NICE: i32 = 19;

/// Runs this on a thread of its own, and those that it makes; `None` when it panicked. In the background it gets what time of
/// processors and disks others leave.
pub(super) async fn run<T: Send + 'static>(background: bool, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = oneshot::channel();
    let begun = std::thread::Builder::new().name("delta".to_owned()).spawn(move || {
        if background {
            make_way();
        }
        // Nobody waits any more when the server ends.
        let _ = tell.send(work());
    });
    match begun {
        Ok(_) => told.await.ok(),
        Err(error) => {
            tracing::error!(%error, "no thread could be begun to build a delta");
            None
        }
    }
}

/// Idle threads run when no other wants to, and leave at once when one does (`sched(7)`); without an I/O class of their own they have the
/// idle one (`ioprio_set(2)`). Where that is not allowed, being nice is the next best. On Linux, both are the thread's, and those
/// of the threads that it begins.
fn make_way() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let this = thread_priority::thread_native_id();
    if let Err(error) = thread_priority::set_thread_priority_and_policy(this, ThreadPriority::Min, idle) {
        tracing::debug!(?error, "a thread that builds a delta cannot be idle");
    }
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "building a delta does not make way for others");
    }
}

#[cfg(test)]
mod tests {
    use thread_priority::{NormalThreadSchedulePolicy::Idle, ThreadSchedulePolicy::Normal};

    /// How nice this thread is, and whether it is idle.
    fn nice() -> (i32, bool) {
        let idle = thread_priority::thread_schedule_policy().unwrap() == Normal(Idle);
        (rustix::process::getpriority_process(None).unwrap(), idle)
    }

    #[tokio::test]
    async fn a_thread_makes_way_and_others_do_not() {
        let before = nice();
        assert_eq!(super::run(true, nice).await, Some((19, true)));
        assert_eq!(super::run(false, nice).await, Some(before));
        assert_eq!(nice(), before);
        let within = || std::thread::scope(|scope| scope.spawn(nice).join().unwrap());
        assert_eq!(super::run(true, within).await, Some((19, true)), "threads of such a thread, too");
    }
}
