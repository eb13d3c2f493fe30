//! Who runs a mirror, and whether that process is still there: one that was killed must not keep the next one waiting until its claim runs out.
//!
//! Told by the machine's boot, the namespace of process numbers, the number, and when the process began (`proc(5)`): where any of the first two is
//! another one, nothing can be said, and the claim holds until it runs out.

use std::fs;

/// What tells processes of one machine apart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Who {
    /// The boot and the namespace.
    place: String,
    process: u32,
    began: String,
}

/// This process, as it stands in its claims: a random name, and where it can be looked for.
pub(super) fn myself() -> String {
    let name = uuid::Uuid::new_v4();
    match who(std::process::id()) {
        Some(Who { place, process, began }) => format!("{name} {place} {process} {began}"),
        None => name.to_string(),
    }
}

/// Whether who made this claim is known to be dead.
pub(super) fn is_dead(by: &str) -> bool {
    let words: Vec<&str> = by.split(' ').collect();
    let [_, place, process, began] = words[..] else { return false };
    let Ok(process) = process.parse() else { return false };
    let Some(here) = place_of_processes() else { return false };
    here == place && who(process).is_none_or(|there| there.began != began)
}

fn who(process: u32) -> Option<Who> {
    let place = place_of_processes()?;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name of the program stands in brackets, and may hold some.
    let began = stat.rsplit_once(") ")?.1.split(' ').nth(19)?.to_owned();
    Some(Who { place, process, began })
}

fn place_of_processes() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{}/{}", boot.trim(), namespace.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_living_and_the_dead_are_told_apart() {
        let me = myself();
        assert!(!is_dead(&me), "{me}");
        assert_ne!(me, myself(), "two claimers of one process");
        let mut other = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let Who { place, process, began } = who(other.id()).unwrap();
        let claim = format!("name {place} {process} {began}");
        assert!(!is_dead(&claim));
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(is_dead(&claim));
        // Another process has the number now.
        assert!(is_dead(&format!("name {place} {} 1", std::process::id())));
        // Of another machine, or another time, nothing can be said.
        assert!(!is_dead(&format!("name elsewhere {process} {began}")));
        for claim in ["", "name", "a b c", "a b c d e", &format!("name {place} x {began}")] {
            assert!(!is_dead(claim), "{claim}");
        }
    }
}
