//! Named places where a test can end the process, to prove that a crash there does no harm.
//!
//! In a build with the feature `fail-points`, `HEADWATER_FAIL_POINT=publish::before-commit` in the environment makes
//! the process kill itself (SIGKILL) when it comes to that place. In other builds the calls are nothing.

/// A named place.
#[inline]
pub fn reached(name: &str) {
    #[cfg(feature = "fail-points")]
    if std::env::var("HEADWATER_FAIL_POINT").is_ok_and(|wanted| wanted == name) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
    let _ = name;
}
