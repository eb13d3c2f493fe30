//! Doing things as somebody who is not root: root may write everywhere, which some tests cannot use.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// A user of this machine.
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The first of these users that the machine has, if this process is root's.
pub(crate) fn when_root(names: &[&str]) -> Option<User> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &&str| {
        let fields: Vec<&str> =
            users.lines().map(|line| line.split(':').collect()).find(|f: &Vec<&str>| f[0] == *name)?;
        Some(User { uid: fields[2].parse().ok()?, gid: fields[3].parse().ok()? })
    };
    Some(names.iter().find_map(find).expect("running as root, these tests need a user `nobody` to become"))
}

/// Runs one ignored test of this program as `nobody`, with this folder in `HEADWATER_TEST_FOLDER`.
pub(crate) fn run_test(user: &User, test: &str, folder: &Path) {
    // The program may lie where that user cannot reach it.
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = place.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let output = Command::new(&program)
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("HEADWATER_TEST_FOLDER", folder)
        .current_dir(place.path())
        .uid(user.uid)
        .gid(user.gid)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{test} failed as another user:\n{said}");
}
