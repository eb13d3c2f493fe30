//! Trees written and read back, damaged, given another root, compared.

use std::io::Cursor;
use std::process::Command;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

type All = Vec<(Entry, Vec<u8>)>;

/// Everything in a tree; content up to a limit, since a file of holes may say that it has any length.
fn read(tree: &mut dyn Tree) -> Result<All, String> {
    let mut all = Vec::new();
    let mut left = 64 << 20;
    while let Some(entry) = tree.next().map_err(|error| error.to_string())? {
        let mut content = Vec::new();
        let taken = tree.content(&mut |bytes| {
            left -= bytes.len() as i64;
            content.extend_from_slice(bytes);
            if left < 0 { Err(std::io::Error::other("enough")) } else { Ok(()) }
        });
        taken.map_err(|error| error.to_string())?;
        all.push((entry, content));
    }
    Ok(all)
}

fn read_tarball(bytes: &[u8]) -> Result<All, String> {
    read(&mut tarball(&mut Cursor::new(bytes), bytes.len() as u64).map_err(|error| error.to_string())?)
}

fn read_squashfs(bytes: &[u8]) -> Result<All, String> {
    read(&mut squashfs(&mut Cursor::new(bytes), bytes.len() as u64).map_err(|error| error.to_string())?)
}

fn write(all: &All) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, content) in all {
        writer.entry(entry).unwrap();
        for piece in content.chunks(1000) {
            writer.content(piece).unwrap();
        }
    }
    writer.finish().unwrap()
}

fn entry(path: &[u8], kind: Kind) -> Entry {
    Entry { path: path.to_vec(), kind, mode: 0o644, uid: 0, gid: 0, mtime: 1, attributes: Vec::new() }
}

/// The root that a tarball without one gets.
fn root(mtime: u32) -> (Entry, Vec<u8>) {
    (Entry { mode: 0o755, mtime, ..entry(b"", Kind::Directory) }, Vec::new())
}

fn names() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>().prop_filter("none in names", |b| !matches!(b, 0 | b'/')), 1..20),
        prop::collection::vec(prop::sample::select(b"ab .-\n".to_vec()), 1..4),
        Just(vec![b'n'; 255]),
        Just(b"-rf".to_vec()),
    ]
    .prop_filter("not these", |name| name != b"." && name != b"..")
}

prop_compose! {
    fn attributes()(
        mode in 0u16..0o10000,
        uid in any::<u32>(),
        gid in prop::sample::select(vec![0, 0o7_777_777, 0o10_000_000, u32::MAX]),
        mtime in any::<u32>(),
        values in prop::collection::btree_map("(user|trusted|security)\\.[a-z]{1,9}", prop::collection::vec(any::<u8>(), 0..300), 0..3),
    ) -> Entry {
        let attributes = values.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
        Entry { path: Vec::new(), kind: Kind::Directory, mode, uid, gid, mtime, attributes }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_is_written_is_read_again(
        files in prop::collection::btree_map(names(), (attributes(), 0usize..8, prop::collection::vec(any::<u8>(), 0..2000)), 1..12),
    ) {
        let mut all: All = Vec::new();
        for (name, (about, kind, content)) in files {
            let first = all.iter().find(|(entry, _)| matches!(entry.kind, Kind::File(_))).map(|(entry, _)| entry.clone());
            let mut path = name.clone();
            let (kind, content) = match (kind, first) {
                (0, _) => (Kind::Directory, Vec::new()),
                (1, _) => (Kind::Symlink([b"/", &name[..], &content[..content.len().min(200)]].concat().into_iter().filter(|b| *b != 0).collect()), Vec::new()),
                (2, _) => (Kind::Block(content.len() as u32, 1_048_575), Vec::new()),
                (3, _) => (Kind::Character(4095, content.len() as u32), Vec::new()),
                (4, _) => (Kind::Fifo, Vec::new()),
                (5, Some(first)) => {
                    all.push((Entry { path, kind: Kind::Link(first.path.clone()), ..first }, Vec::new()));
                    continue;
                }
                (6, _) => {
                    all.push((Entry { path: path.clone(), ..about.clone() }, Vec::new()));
                    path.extend_from_slice(b"/in it");
                    (Kind::File(content.len() as u64), content)
                }
                _ => (Kind::File(content.len() as u64), content),
            };
            all.push((Entry { path, kind, ..about }, content));
        }
        let newest = all.iter().map(|(entry, _)| entry.mtime).max().unwrap();
        let bytes = write(&all);
        all.insert(0, root(newest));
        prop_assert_eq!(read_tarball(&bytes).unwrap(), all);
    }

    #[test]
    fn damaged_files_are_errors_or_trees(which in 0usize..100, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut in any::<prop::sample::Index>()) {
        let sound = &SOUND[which % SOUND.len()];
        let mut bytes = sound.clone();
        for (at, byte) in &changes {
            // Most damage to what is compressed shows at once; the superblock and the ends of tables are more telling.
            let at = if byte % 2 == 0 { at.index(bytes.len()) } else { at.index(96.min(bytes.len())) };
            bytes[at] = *byte;
        }
        let _ = read_squashfs(&bytes);
        let _ = read_tarball(&bytes);
        let _ = read_squashfs(&sound[..cut.index(sound.len())]);
        let _ = read_tarball(&sound[..cut.index(sound.len())]);
        let mut owned = Cursor::new(bytes);
        let size = owned.get_ref().len() as u64;
        let _ = set_root(&mut owned, size, &root(1).0, &[0].into());
    }
}

fn run(program: &str, words: &[&str], folder: &std::path::Path) {
    let output =
        Command::new(program).args(words).current_dir(folder).output().expect("it is installed: see ./dev setup");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn made(folder: &std::path::Path, options: &[&str]) -> Vec<u8> {
    run("mksquashfs", &[&["tree", "out", "-quiet", "-no-progress", "-noappend"], options].concat(), folder);
    std::fs::read(folder.join("out")).unwrap()
}

fn sample() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    std::fs::create_dir_all(tree.join("etc/deep/deeper")).unwrap();
    for number in 0..300 {
        std::fs::write(tree.join(format!("etc/file-{number}")), format!("{number}\n").repeat(number)).unwrap();
    }
    std::fs::write(
        tree.join("etc/deep/large"),
        (0..200_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect::<Vec<_>>(),
    )
    .unwrap();
    std::fs::hard_link(tree.join("etc/deep/large"), tree.join("again")).unwrap();
    std::os::unix::fs::symlink("etc/deep", tree.join("link")).unwrap();
    folder
}

static SOUND: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = sample();
    let mut files: Vec<Vec<u8>> = ["gzip", "xz", "zstd", "lz4"]
        .iter()
        .flat_map(|compressor| {
            [&["-b", "4096", "-nopad"][..], &["-noI", "-noD", "-noF", "-no-fragments", "-nopad"]]
                .map(|layout| made(folder.path(), &[&["-comp", compressor], layout].concat()))
        })
        .collect();
    let tar = Command::new("tar").args(["-C", "tree", "-cf", "-", "."]).current_dir(folder.path()).output().unwrap();
    files.push(tar.stdout);
    files
});

#[test]
fn the_sound_files_are_sound_and_all_the_same() {
    let (archive, others) = SOUND.split_last().unwrap();
    let expected = read_tarball(archive).unwrap();
    assert_eq!(expected.len(), 307);
    for file in others {
        let found = read_squashfs(file).unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            assert!(found == expected, "{} is not {}", describe(&found.0), describe(&expected.0));
        }
        assert_eq!(found.len(), expected.len());
    }
    let links: Vec<_> = expected
        .iter()
        .filter(|(entry, _)| matches!(entry.kind, Kind::Link(_)))
        .map(|(entry, _)| entry.path.clone())
        .collect();
    assert_eq!(links, [b"etc/deep/large".to_vec()], "the first name in order is the one with the content");
}

#[test]
fn the_root_is_given_its_owners_and_time() {
    let folder = sample();
    for options in [
        &["-no-fragments", "-exports"][..],
        &["-no-fragments", "-no-exports", "-comp", "zstd"],
        &["-no-fragments", "-no-exports", "-noI", "-all-root"],
        &["-no-fragments", "-no-xattrs", "-b", "4096", "-force-uid", "77"],
    ] {
        let bytes = made(folder.path(), options);
        let before = read_squashfs(&bytes).unwrap();
        let mut wanted = before.clone();
        wanted[0].0 = Entry { mode: 0o1751, uid: 70_000, gid: before[1].0.gid, mtime: 12345, ..before[0].0.clone() };
        let owners = wanted.iter().flat_map(|(entry, _)| [entry.uid, entry.gid]).collect();
        let (mut file, size) = (Cursor::new(bytes), 0);
        let size = size + file.get_ref().len() as u64;
        let new = set_root(&mut file, size, &wanted[0].0, &owners).unwrap();
        file.get_mut().truncate(new as usize);
        assert_eq!(new % 4096, 0);
        assert_eq!(read_squashfs(file.get_ref()).unwrap(), wanted, "{options:?}");
        // squashfs-tools read it as well.
        std::fs::write(folder.path().join("changed"), file.get_ref()).unwrap();
        run("unsquashfs", &["-quiet", "-no-progress", "-pf", "dump", "changed"], folder.path());
        let dump = std::fs::read(folder.path().join("dump")).unwrap();
        let first = format!("/ D 12345 1751 70000 {}\n", before[1].0.gid);
        assert!(dump.windows(first.len()).any(|window| window == first.as_bytes()), "{options:?}");
        // Given again, it is the same.
        let again = file.get_ref().clone();
        set_root(&mut file, new, &wanted[0].0, &owners).unwrap();
        assert!(*file.get_ref() == again, "{options:?}");
    }
}

#[test]
fn tarballs_that_do_not_say_one_thing_are_refused() {
    let file = |path: &[u8]| (entry(path, Kind::File(1)), b"x".to_vec());
    let link = |path: &[u8], to: &[u8]| (entry(path, Kind::Link(to.to_vec())), Vec::new());
    for (all, why) in [
        (vec![file(b"a"), file(b"a")], "\"a\" is in the archive twice; build the tarball anew"),
        (vec![file(b"a"), file(b"a/b")], "\"a/b\" lies in something that is no folder; build the tarball anew"),
        (vec![file(b"../a")], "\"../a\" leads out of the archive; build the tarball anew"),
        (
            vec![link(b"a", b"b"), file(b"b")],
            "\"a\" is a link to something that did not come before it; build the tarball anew",
        ),
        (
            vec![(
                Entry { attributes: vec![(b"system.posix_acl_access".to_vec(), vec![2])], ..entry(b"a", Kind::Fifo) },
                Vec::new(),
            )],
            "\"a\" has an extended attribute (system.posix_acl_access) that a squashfs cannot keep; build the tarball anew",
        ),
    ] {
        assert_eq!(read_tarball(&write(&all)).unwrap_err(), why);
    }
    let sound = write(&vec![file(b"a"), file(b"b")]);
    assert!(read_tarball(&sound[..512]).unwrap_err().contains("cut off"));
}

#[test]
fn names_of_one_file_in_any_order_are_one_file() {
    let file = (Entry { uid: 5, ..entry(b"m", Kind::File(1)) }, b"x".to_vec());
    let link = |path: &[u8], to: &[u8]| (entry(path, Kind::Link(to.to_vec())), Vec::new());
    let found = read_tarball(&write(&vec![file, link(b"z", b"m"), link(b"a/b", b"z"), link(b"c", b"a/b")])).unwrap();
    let told: Vec<String> = found.iter().skip(1).map(|(entry, _)| describe(entry)).collect();
    assert_eq!(
        told,
        [
            "\"a\": folder, mode 755, owner 0:0, time 1, attributes []",
            "\"a/b\": file of 1 bytes, mode 644, owner 5:0, time 1, attributes []",
            "\"c\": hard link to \"a/b\", mode 644, owner 5:0, time 1, attributes []",
            "\"m\": hard link to \"a/b\", mode 644, owner 5:0, time 1, attributes []",
            "\"z\": hard link to \"a/b\", mode 644, owner 5:0, time 1, attributes []",
        ]
    );
}

#[test]
fn sums_tell_where_trees_differ() {
    let sum_of = |all: &All| sum(&mut tarball(&mut Cursor::new(write(all)), write(all).len() as u64).unwrap()).unwrap();
    let all: All = [b"a", b"b", b"c"].iter().map(|name| (entry(*name, Kind::File(1)), b"x".to_vec())).collect();
    let whole = sum_of(&all);
    assert_eq!((whole.entries(), whole.differs_at(&whole)), (4, None));
    let mut other = all.clone();
    other[1].1 = b"y".to_vec();
    assert_eq!(whole.differs_at(&sum_of(&other)), Some(2));
    other[1] = all[1].clone();
    other[2].0.attributes = vec![(b"user.x".to_vec(), Vec::new())];
    assert!(!whole.equals(&sum_of(&other)));
    assert_eq!(whole.differs_at(&sum_of(&all[..2].to_vec())), Some(3));
    assert!(whole.equals(&sum_of(&all)));
}
