//! Threads for work that takes minutes. Not those of the runtime: a thread that makes way for others does so until it ends.

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

/// On Linux, the niceness is that of the thread, and of those that it begins. A thread without an I/O class of its own has the lowest
/// of the usual ones when it is as nice as this (`ioprio_set(2)`).
fn make_way() {
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "building a delta does not make way for others");
    }
}

#[cfg(test)]
mod tests {
    fn nice() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[tokio::test]
    async fn a_thread_makes_way_and_others_do_not() {
        let before = nice();
        assert_eq!(super::run(true, nice).await, Some(19));
        assert_eq!(super::run(false, nice).await, Some(before));
        assert_eq!(nice(), before);
        let within = || std::thread::scope(|scope| scope.spawn(nice).join().unwrap());
        assert_eq!(super::run(true, within).await, Some(19), "threads of such a thread, too");
    }
}
