//! Broken deltas end in an error or in other bytes: without a panic, without end, or past a limit they never do.

use headwater_vcdiff::Limits;

use crate::kit::{Random, pair, undo, undo_rewindable, xdelta3};

#[test]
fn broken_deltas() {
    let (base, target) = pair(11, 60_000);
    let mut random = Random(12);
    let limits = Limits { window: 1 << 20, target: 4 << 20, ..Limits::default() };
    let mut refused = 0;
    for arguments in [&["-e", "-S", "none", "-W16384", "-n"][..], &["-e", "-S", "lzma", "-W16384"], &["-e", "-9"]] {
        let delta = xdelta3(arguments, &base, &target).unwrap();
        for round in 0..2000 {
            let mut broken = delta.clone();
            // Most breaks go where the frame is: the first bytes, and after them anywhere.
            for _ in 0..=random.below(3) {
                let end = if round % 3 == 0 { broken.len().min(64) } else { broken.len() };
                let at = random.below(end);
                match random.below(5) {
                    0 => broken[at] = random.next() as u8,
                    1 => broken[at] ^= 1 << random.below(8),
                    2 => broken[at] = [0, 0x7f, 0x80, 0xff][random.below(4)],
                    3 => drop(broken.remove(at)),
                    _ => broken.truncate(at.max(1)),
                }
            }
            match undo(&base, &broken, &limits) {
                Ok((made, _)) => assert!(made.len() <= 4 << 20),
                Err(error) => {
                    refused += 1;
                    assert!(error.to_string().contains(';'), "{error} does not say what to do");
                }
            }
        }
    }
    assert!(refused > 4000, "only {refused} refused: the breaks break nothing");
}

#[test]
fn every_beginning_of_a_delta() {
    let (base, target) = pair(13, 20_000);
    let delta = xdelta3(&["-e", "-S", "lzma", "-W16384"], &base, &target).unwrap();
    let whole = (0..delta.len()).filter(|len| undo_rewindable(&base, &delta[..*len]).is_ok()).count();
    // It can end without notice after its header and after each window but the last.
    assert_eq!(whole, 1 + target.len() / 16_384);
}
