//! What every store of bytes must do. A backend is done when [`all`] passes for it.

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::Barrier;

use headwater_formats::digest::Digest;
use sha2::{Digest as _, Sha256};

use super::{Blobs, Deleted, Intake, IntakeError};

pub(super) fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

/// Bytes of any length that do not repeat.
pub(super) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(length).collect()
}

fn put(store: &Blobs, bytes: &[u8]) -> Digest {
    let mut staged = store.stage().unwrap();
    staged.write_all(bytes).unwrap();
    staged.commit().unwrap().digest()
}

fn get(store: &Blobs, digest: &Digest) -> Option<Vec<u8>> {
    let blob = store.open_blob(digest).unwrap()?;
    let mut bytes = Vec::new();
    blob.reader().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, blob.size);
    Some(bytes)
}

/// Runs every check, each on a store that `make` gives it empty.
pub(super) fn all<S: std::ops::Deref<Target = Blobs> + Sync>(make: impl Fn() -> S) {
    what_was_put_is_there(&make());
    nothing_is_there_before_commit(&make());
    ranges(&make());
    equal_bytes_are_stored_once(&make());
    deleted_is_gone_and_can_come_back(&make());
    listed_in_order(&make());
    what_is_about_to_be_needed_stays(&make());
    one_pass_takes_in_all_lengths(&make());
    many_at_once(&make());
    sweeps_beside_writers(&make());
}

fn what_was_put_is_there(store: &Blobs) {
    for bytes in [&b""[..], b"x", &noise(3_000_001, 1)] {
        let digest = put(store, bytes);
        assert_eq!(digest, digest_of(bytes));
        assert_eq!(store.stat(&digest).unwrap(), Some(bytes.len() as u64));
        assert_eq!(get(store, &digest).unwrap(), bytes);
    }
    let missing = digest_of(b"never put");
    assert_eq!(store.stat(&missing).unwrap(), None);
    assert_eq!(get(store, &missing), None);
}

fn nothing_is_there_before_commit(store: &Blobs) {
    let mut staged = store.stage().unwrap();
    staged.write_all(b"half").unwrap();
    assert_eq!(staged.size(), 4);
    assert_eq!(staged.digest(), digest_of(b"half"));
    let mut read = String::new();
    staged.reader().read_to_string(&mut read).unwrap();
    assert_eq!(read, "half");
    assert_eq!(store.stat(&digest_of(b"half")).unwrap(), None);
    assert_eq!(store.list().count(), 0);
    drop(staged);
    assert_eq!(store.list().count(), 0);
    assert_eq!(store.dead().unwrap().files(), 0, "nothing is left of what was dropped");
}

fn ranges(store: &Blobs) {
    let bytes = noise(100_000, 2);
    let blob = store.open_blob(&put(store, &bytes)).unwrap().unwrap();
    let mut part = [0u8; 1000];
    blob.file.read_exact_at(&mut part, 98_999).unwrap();
    assert_eq!(part, bytes[98_999..99_999]);
    let mut reader = blob.reader();
    assert_eq!(reader.seek(SeekFrom::End(-10)).unwrap(), 99_990);
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, bytes[99_990..]);
    assert!(reader.seek(SeekFrom::Current(-100_001)).is_err(), "before the beginning");
    assert_eq!(reader.seek(SeekFrom::Start(1 << 40)).unwrap(), 1 << 40);
    assert_eq!(reader.read(&mut part).unwrap(), 0, "behind the end");
}

fn equal_bytes_are_stored_once(store: &Blobs) {
    let first = put(store, b"same");
    assert_eq!(put(store, b"same"), first);
    assert_eq!(store.list().map(Result::unwrap).collect::<Vec<_>>(), [first]);
}

fn deleted_is_gone_and_can_come_back(store: &Blobs) {
    let digest = put(store, b"come and go");
    let open = store.open_blob(&digest).unwrap().unwrap();
    assert_eq!(store.delete(&digest).unwrap(), Deleted::Gone);
    assert_eq!(store.delete(&digest).unwrap(), Deleted::Absent);
    assert_eq!(get(store, &digest), None);
    let mut bytes = Vec::new();
    open.reader().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"come and go", "who has it open can read on");
    put(store, b"come and go");
    assert!(get(store, &digest).is_some());
}

fn listed_in_order(store: &Blobs) {
    let mut put: Vec<Digest> = (0..600u32).map(|n| put(store, &n.to_le_bytes())).collect();
    put.sort();
    assert_eq!(store.list().map(Result::unwrap).collect::<Vec<_>>(), put);
}

fn what_is_about_to_be_needed_stays(store: &Blobs) {
    let place = || {
        let mut staged = store.stage().unwrap();
        staged.write_all(b"needed").unwrap();
        staged.commit().unwrap()
    };
    let mut first = place();
    let digest = first.digest();
    first.ensure().unwrap();
    assert_eq!(store.delete(&digest).unwrap(), Deleted::Needed);
    let mut second = place();
    drop(first);
    assert_eq!(store.delete(&digest).unwrap(), Deleted::Needed, "also by who found equal bytes there");
    second.ensure().unwrap();
    assert_eq!(get(store, &digest).unwrap(), b"needed");
    drop(second);
    assert_eq!(store.dead().unwrap().files(), 0);
    assert_eq!(store.delete(&digest).unwrap(), Deleted::Gone);
}

fn one_pass_takes_in_all_lengths(store: &Blobs) {
    const MIB: usize = 1 << 20;
    for length in [0, 1, MIB - 1, MIB, MIB + 1, 9 * MIB, 9 * MIB + 17] {
        let bytes = noise(length, 3);
        let mut also = Sha256::new_with_prefix(b"before ");
        let mut seen = 0;
        let mut staged = store.stage().unwrap();
        let intake = Intake { also: Some(&mut also), limit: length as u64, observe: &mut |more| seen += more };
        staged.take_in(&mut Trickle(&bytes), intake).unwrap();
        assert_eq!(seen, length as u64);
        assert_eq!(staged.size(), length as u64);
        let together = [b"before ".as_slice(), &bytes].concat();
        assert_eq!(Digest::from_bytes(also.finalize().into()), digest_of(&together), "{length}");
        let placed = staged.commit().unwrap();
        assert_eq!(placed.digest(), digest_of(&bytes));
        assert_eq!(get(store, &placed.digest()).unwrap(), bytes);
    }
    // So much that some of it is brought to the disk before the end.
    let long = 130 * MIB;
    let mut staged = store.stage().unwrap();
    let intake = Intake { also: None, limit: long as u64, observe: &mut |_| {} };
    staged.take_in(&mut std::io::repeat(7).take(long as u64), intake).unwrap();
    let mut hash = Sha256::new();
    (0..130).for_each(|_| hash.update(vec![7; MIB]));
    let placed = staged.commit().unwrap();
    assert_eq!((placed.size(), placed.digest()), (long as u64, Digest::from_bytes(hash.finalize().into())));
    assert_eq!(digest_of(&get(store, &placed.digest()).unwrap()), placed.digest());
    let refused = |reader: &mut dyn Read| {
        let mut staged = store.stage().unwrap();
        staged.take_in(reader, Intake { also: None, limit: 5 * MIB as u64, observe: &mut |_| {} }).unwrap_err()
    };
    let error = refused(&mut std::io::repeat(7));
    assert!(matches!(error, IntakeError::TooLarge(5_242_880)), "{error}");
    let error = refused(&mut Broken);
    assert_eq!(error.to_string(), "the source cannot be read: the cable was cut");
    assert_eq!(store.dead().unwrap().files(), 0);
}

/// Gives its bytes in odd pieces, as a socket does.
struct Trickle<'a>(&'a [u8]);
impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(77_777);
        self.0.read(&mut buffer[..length])
    }
}

struct Broken;
impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("the cable was cut"))
    }
}

fn many_at_once(store: &Blobs) {
    let start = Barrier::new(32);
    std::thread::scope(|scope| {
        for n in 0..32u64 {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                let bytes = noise(50_000, 10 + n % 2);
                assert_eq!(put(store, &bytes), digest_of(&bytes));
            });
        }
    });
    let mut expected = [digest_of(&noise(50_000, 10)), digest_of(&noise(50_000, 11))];
    expected.sort();
    assert_eq!(store.list().map(Result::unwrap).collect::<Vec<_>>(), expected);
}

fn sweeps_beside_writers(store: &Blobs) {
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4u64)
            .map(|writer| {
                scope.spawn(move || {
                    for round in 0..50 {
                        let bytes = noise(10_000, writer * 1000 + round);
                        assert_eq!(get(store, &put(store, &bytes)).unwrap(), bytes);
                    }
                })
            })
            .collect();
        while !writers.iter().all(|writer| writer.is_finished()) {
            // It may catch one that was made and not locked yet, which its writer notices.
            let dead = store.dead().unwrap();
            assert_eq!(dead.bytes, 0, "bytes of a living process were swept");
            store.remove_dead(dead).unwrap();
        }
    });
}
