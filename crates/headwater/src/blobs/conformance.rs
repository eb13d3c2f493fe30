//! What every store of bytes must do. A backend is done when [`all`] passes for it.

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::Barrier;

use headwater_formats::digest::Digest;
use headwater_formats::timestamp::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{Blobs, Complete, Deleted, Idle, Incomplete, Intake, IntakeError, Partial};

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

fn many_together(store: &Blobs) {
    for count in [0, 1, 7, 8, 40] {
        let there = put(store, b"there already");
        // Two of each, and one that is there.
        let bytes: Vec<Vec<u8>> = (0..count).map(|number| noise(100 + number / 2, count as u64)).collect();
        let staged = bytes.iter().map(Vec::as_slice).chain([&b"there already"[..]]).map(|bytes| {
            let mut staged = store.stage().unwrap();
            staged.write_all(bytes).unwrap();
            staged
        });
        let mut placed = store.commit_all(staged.collect()).unwrap();
        for (placed, bytes) in placed.iter().zip(&bytes) {
            assert_eq!(placed.digest(), digest_of(bytes), "in their order");
            assert_eq!(get(store, &placed.digest()).as_ref(), Some(bytes));
        }
        assert_eq!(placed.last().unwrap().digest(), there);
        assert_eq!(store.delete(&there).unwrap(), Deleted::Needed, "somebody is about to name it");
        placed.iter_mut().try_for_each(|blob| blob.ensure()).unwrap();
        drop(placed);
        assert_eq!(store.dead().unwrap().files(), 0, "nothing is left in staging");
    }
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
    many_together(&make());
    many_at_once(&make());
    sweeps_beside_writers(&make());
    what_came_stays_and_is_gone_on_with(&make());
    complete_ones_are_staged_as_they_are(&make());
    wrong_bytes_are_thrown_away(&make());
    what_is_stored_is_complete_at_once(&make());
    what_is_new_begins_in_fewer_steps(&make());
    one_writer_at_a_time(&make());
    idle_ones_go(&make());
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

/// Seconds since 1970 before which, and after which, files of these tests were written.
const LONG_AGO: i64 = 0;
const FAR_OFF: i64 = 1 << 36;

fn partial(store: &Blobs, bytes: &[u8]) -> Partial {
    store.partial(&digest_of(bytes), bytes.len() as u64).unwrap().expect("nobody else is at it")
}

fn complete(store: &Blobs, bytes: &[u8]) -> Complete {
    let mut partial = partial(store, bytes);
    let had = usize::try_from(partial.length()).unwrap();
    partial.write_all(&bytes[had..]).unwrap();
    partial.complete().unwrap()
}

fn idle(store: &Blobs, before: i64) -> Idle {
    let before = Timestamp::from_unix(before).unwrap();
    let found = store.idle(before, &|_| false).unwrap();
    assert_eq!(store.remove_idle(before, &|_| false).unwrap(), found, "what is found is what goes");
    found
}

fn what_came_stays_and_is_gone_on_with(store: &Blobs) {
    let bytes = noise(3_000_001, 20);
    for (from, to) in [(0, 0), (0, 1), (1, 1_500_000), (1_500_000, 3_000_000)] {
        let mut partial = partial(store, &bytes).through(Sha256::new_with_prefix(b"before "));
        assert_eq!((partial.length(), partial.size()), (from as u64, 3_000_001));
        partial.reserve().unwrap();
        partial.write_all(&bytes[from..to]).unwrap();
        assert_eq!(partial.length(), to as u64);
        match partial.complete() {
            Err(Incomplete::Short(partial)) => assert_eq!(partial.length(), to as u64),
            other => panic!("{other:?}"),
        }
    }
    let mut partial = partial(store, &bytes).through(Sha256::new_with_prefix(b"before "));
    let mut read = 0;
    partial
        .catch_up(&mut |more| {
            read += more;
            read < 1 << 20
        })
        .unwrap();
    assert_eq!(read, 1 << 20, "who says no is not told more");
    let error = partial.write_all(b"xy").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
    partial.write_all(&bytes[3_000_000..]).unwrap();
    let complete = partial.complete().unwrap();
    assert_eq!((complete.digest(), complete.size()), (digest_of(&bytes), 3_000_001));
    let together = digest_of(&[b"before ".as_slice(), &bytes].concat());
    assert_eq!(Digest::from_bytes(complete.also().unwrap().finalize().into()), together);
    let again = complete.through(Sha256::new_with_prefix(b"before "), &mut |_| true).unwrap().unwrap();
    assert_eq!(Digest::from_bytes(again.finalize().into()), together);
    assert!(complete.through(Sha256::new(), &mut |_| false).unwrap().is_none());
    assert_eq!(store.stat(&digest_of(&bytes)).unwrap(), None, "nothing is in place");
}

fn complete_ones_are_staged_as_they_are(store: &Blobs) {
    for bytes in [&b""[..], b"x", &noise(1_000_000, 21)] {
        let complete = complete(store, bytes);
        let digest = complete.digest();
        let (staged, other) = (complete.staged().unwrap(), complete.staged().unwrap());
        assert_eq!((staged.digest(), staged.size()), (digest, bytes.len() as u64));
        let mut read = Vec::new();
        staged.reader().read_to_end(&mut read).unwrap();
        assert_eq!(read, bytes);
        assert_eq!(store.dead().unwrap().files(), 0, "the staged names are held");
        drop(other);
        let mut placed = staged.commit().unwrap();
        assert_eq!(get(store, &digest).unwrap(), bytes);
        assert_eq!(store.delete(&digest).unwrap(), Deleted::Needed);
        complete.forget();
        drop(complete);
        placed.ensure().unwrap();
        drop(placed);
        assert_eq!(store.dead().unwrap().files(), 0);
        assert_eq!(idle(store, FAR_OFF), Idle::default(), "what was forgotten is gone");
        assert_eq!(get(store, &digest).unwrap(), bytes);
    }
    // A process that died before its image was listed: the file is complete for the next one.
    let bytes = noise(100_000, 22);
    drop(complete(store, &bytes).staged().unwrap().commit().unwrap());
    assert_eq!(store.delete(&digest_of(&bytes)).unwrap(), Deleted::Gone);
    let partial = partial(store, &bytes);
    assert_eq!(partial.length(), 100_000, "nothing of it has to come again");
    partial.complete().unwrap();
}

fn wrong_bytes_are_thrown_away(store: &Blobs) {
    let bytes = noise(50_000, 23);
    let mut wrong = partial(store, &bytes).through(Sha256::new());
    wrong.write_all(&noise(50_000, 24)).unwrap();
    let mut partial = match wrong.complete() {
        Err(Incomplete::Wrong { found, partial }) => {
            assert_eq!(found, digest_of(&noise(50_000, 24)));
            partial
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(partial.length(), 0);
    partial.write_all(&bytes).unwrap();
    let complete = partial.complete().unwrap();
    assert_eq!(Digest::from_bytes(complete.also().unwrap().finalize().into()), digest_of(&bytes));
    drop(complete);
    // More than belongs there cannot be a part of it.
    assert_eq!(store.partial(&digest_of(&bytes), 49_999).unwrap().unwrap().length(), 0);
    let mut given_up = store.partial(&digest_of(b"other"), 5).unwrap().unwrap();
    given_up.write_all(b"oth").unwrap();
    given_up.restart().unwrap();
    drop(given_up);
    assert_eq!(idle(store, FAR_OFF).files, 0, "files without a byte are not kept");
}

fn what_is_stored_is_complete_at_once(store: &Blobs) {
    let bytes = noise(70_000, 25);
    let mut begun = partial(store, &bytes);
    begun.write_all(&bytes[..1000]).unwrap();
    drop(begun);
    let digest = put(store, &bytes);
    let partial = partial(store, &bytes);
    assert_eq!(partial.length(), 70_000);
    let placed = partial.complete().unwrap().staged().unwrap().commit().unwrap();
    assert_eq!(placed.digest(), digest);
    drop(placed);
    // The blob is the same file: throwing it away, or beginning anew with another length, must not reach it.
    let mut partial = self::partial(store, &bytes);
    partial.restart().unwrap();
    partial.write_all(&[7; 100]).unwrap();
    assert_eq!(get(store, &digest).unwrap(), bytes);
    drop(partial);
    assert_eq!(self::partial(store, &bytes).length(), 70_000);
    assert_eq!(store.partial(&digest, 60_000).unwrap().unwrap().length(), 0);
    assert_eq!(store.partial(&digest, 80_000).unwrap().unwrap().length(), 0);
    assert_eq!(get(store, &digest).unwrap(), bytes);
}

fn what_is_new_begins_in_fewer_steps(store: &Blobs) {
    let bytes = noise(5000, 27);
    let (digest, size) = (digest_of(&bytes), 5000);
    assert!(!store.is_known(&digest));
    let mut first = store.partial_if_new(&digest, size).unwrap().expect("nothing of it is here");
    assert!(store.partial_if_new(&digest, size).unwrap().is_none(), "it is not new any more");
    assert!(store.partial(&digest, size).unwrap().is_none(), "and somebody is at it");
    drop(first);
    assert!(!store.is_known(&digest), "nothing came, and nothing is left");
    first = store.partial_if_new(&digest, size).unwrap().unwrap();
    first.write_all(&bytes[..1]).unwrap();
    drop(first);
    assert!(store.partial_if_new(&digest, size).unwrap().is_none());
    let mut rest = partial(store, &bytes);
    assert_eq!(rest.length(), 1, "what came is gone on with in the ordinary way");
    rest.write_all(&bytes[1..]).unwrap();
    drop(rest.complete().unwrap().staged().unwrap().commit().unwrap());
    // Sweeps that remove whatever nobody holds come between making a file and locking it.
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut stored = 0;
                    for round in 0..300 {
                        let bytes = noise(100, 10_000 + round);
                        let Some(mut new) = store.partial_if_new(&digest_of(&bytes), 100).unwrap() else { continue };
                        new.write_all(&bytes).unwrap();
                        let complete = new.complete().unwrap();
                        let placed = complete.staged().unwrap().commit().unwrap();
                        complete.forget();
                        drop((complete, placed));
                        assert_eq!(get(store, &digest_of(&bytes)).as_ref(), Some(&bytes));
                        stored += 1;
                    }
                    stored
                })
            })
            .collect();
        while !writers.iter().all(|writer| writer.is_finished()) {
            store.remove_idle(Timestamp::from_unix(FAR_OFF).unwrap(), &|_| false).unwrap();
        }
        let stored: u32 = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        assert!(stored >= 100, "{stored} files were stored beside sweeps");
    });
    assert_eq!(idle(store, FAR_OFF), Idle::default(), "none of them is left on its way");
}

fn one_writer_at_a_time(store: &Blobs) {
    let bytes = noise(10_000, 26);
    let (digest, size) = (digest_of(&bytes), 10_000);
    let mut first = partial(store, &bytes);
    let nobody_else = || assert!(store.partial(&digest, size).unwrap().is_none());
    nobody_else();
    first.restart().unwrap();
    nobody_else();
    first.write_all(&bytes).unwrap();
    let complete = first.complete().unwrap();
    nobody_else();
    let staged = complete.staged().unwrap();
    drop(complete);
    nobody_else();
    let placed = staged.commit().unwrap();
    nobody_else();
    drop(placed);
    assert!(store.partial(&digest, size).unwrap().is_some());
    // Many who write, throw away, complete and sweep at once: whoever has it finds no other one's bytes under its hands.
    std::thread::scope(|scope| {
        for writer in 0..6usize {
            let bytes = &bytes;
            scope.spawn(move || {
                let other = noise(10_000, 27);
                let digest = digest_of(&other);
                for round in 0..100 {
                    let Some(mut partial) = store.partial(&digest, 10_000).unwrap() else { continue };
                    let had = usize::try_from(partial.length()).unwrap();
                    match (writer + round) % 4 {
                        0 => partial.restart().unwrap(),
                        1 => partial.write_all(&other[had..10_000.min(had + 3000)]).unwrap(),
                        2 => {
                            partial.write_all(&other[had..]).unwrap();
                            drop(partial.complete().unwrap().staged().unwrap());
                        }
                        _ => {
                            drop(partial);
                            let before = Timestamp::from_unix(if round % 2 == 0 { FAR_OFF } else { LONG_AGO });
                            store.remove_idle(before.unwrap(), &|_| false).unwrap();
                        }
                    }
                }
                put(store, bytes);
            });
        }
    });
    assert_eq!(get(store, &digest).unwrap(), bytes);
}

fn idle_ones_go(store: &Blobs) {
    let bytes = noise(10_000, 28);
    let mut held = partial(store, &bytes);
    held.write_all(&bytes[..5000]).unwrap();
    assert_eq!(idle(store, FAR_OFF), Idle::default(), "somebody is at it");
    drop(held);
    assert_eq!(idle(store, LONG_AGO), Idle::default(), "it was written to since");
    let found = idle(store, FAR_OFF);
    assert!(found.files == 1 && found.bytes >= 5000, "{found:?}");
    assert_eq!(partial(store, &bytes).length(), 0);
    // What is in place needs no second name.
    let complete = complete(store, &bytes);
    drop(complete.staged().unwrap().commit().unwrap());
    drop(complete);
    let digest = digest_of(&bytes);
    let before = Timestamp::from_unix(LONG_AGO).unwrap();
    assert_eq!(store.remove_idle(before, &|spared| *spared == digest).unwrap(), Idle::default());
    assert_eq!(idle(store, LONG_AGO), Idle { files: 1, bytes: 0 });
    assert_eq!(get(store, &digest).unwrap(), bytes);
}
