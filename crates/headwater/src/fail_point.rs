//! Named places where a test can end the process, to prove that a crash there does no harm.
//!
//! ```text
//! HEADWATER_FAIL_POINT=publish::before-commit headwater publish image.tar.xz
//! ```
//!
//! In a build with the feature `fail-points`, the process kills itself (SIGKILL) when it comes to the place that
//! `HEADWATER_FAIL_POINT` names. In other builds the calls are nothing.

/// Every place there is, in the order in which a publisher comes through them, then a sweep's. The kill test walks
/// through all of them.
pub const ALL: &[&str] = &[
    "blobs::staged",
    "publish::staged",
    "publish::hashed",
    "publish::inspected",
    "publish::packed",
    "blobs::before-link",
    "blobs::after-link",
    "blobs::placed",
    "publish::placed-metadata",
    "publish::placed-root",
    "publish::before-commit",
    "publish::ensured",
    "publish::after-commit",
    "sweep::settled",
    "sweep::before-delete",
    "sweep::after-delete",
    "sweep::forgotten",
];

/// A named place, one of [`ALL`].
#[inline]
pub fn reached(name: &str) {
    debug_assert!(ALL.contains(&name), "{name} is missing in fail_point::ALL");
    #[cfg(feature = "fail-points")]
    if std::env::var("HEADWATER_FAIL_POINT").is_ok_and(|wanted| wanted == name) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
    let _ = name;
}
