//! Named places where a test can end the process, to prove that a crash there does no harm.
//!
//! ```text
//! HEADWATER_FAIL_POINT=publish::before-commit headwater publish image.tar.xz
//! ```
//!
//! In a build with the feature `fail-points`, the process kills itself (SIGKILL) when it comes to the place that
//! `HEADWATER_FAIL_POINT` names. With `corrupt ` before the name, bytes that pass that place are damaged instead. In other
//! builds the calls are nothing.

/// Every place there is, in the order in which a publisher comes through them, then a sweep's. The kill test walks
/// through all of them. The last are those of who builds a delta.
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
    "catalog::committed",
    "publish::after-commit",
    "sweep::settled",
    "sweep::before-delete",
    "sweep::after-delete",
    "sweep::forgotten",
    "deltas::claimed",
    "deltas::encoded",
    "deltas::verified",
    "deltas::before-commit",
    "deltas::after-commit",
];

/// Places where bytes can be damaged: the base as it is read, the delta as it is read back, what the decoder makes of it.
pub const CORRUPT: &[&str] = &["deltas::base", "deltas::delta", "deltas::decoded"];

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

/// Damages bytes that pass a named place, one of [`CORRUPT`], if that is wanted.
#[inline]
pub fn corrupt(name: &str, bytes: &mut [u8]) {
    if is_corrupt(name)
        && let Some(byte) = bytes.last_mut()
    {
        *byte ^= 1;
    }
}

/// The same for bytes that belong to others; `None` when nothing is to be damaged.
#[inline]
pub fn corrupted(name: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    is_corrupt(name).then(|| {
        let mut bytes = bytes.to_vec();
        corrupt(name, &mut bytes);
        bytes
    })
}

#[inline]
fn is_corrupt(name: &str) -> bool {
    debug_assert!(CORRUPT.contains(&name), "{name} is missing in fail_point::CORRUPT");
    cfg!(feature = "fail-points")
        && std::env::var("HEADWATER_FAIL_POINT")
            .is_ok_and(|wanted| wanted.strip_prefix("corrupt ").is_some_and(|wanted| wanted == name))
}
