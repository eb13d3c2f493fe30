//! Root files of strangers, gone through entry by entry; and a squashfs that is given another root.
#![no_main]

use std::io::{Cursor, Error};

use headwater_formats::tree::{self, Entry, Kind, Tree, Writer};

/// Goes through a tree and writes it, as long as it says nothing absurd of its files' lengths.
fn walk(tree: &mut dyn Tree) {
    let (mut writer, mut left) = (Writer::new(std::io::sink()), 32 << 20);
    while let Ok(Some(entry)) = tree.next() {
        let _ = tree::describe(&entry);
        if writer.entry(&entry).is_err() {
            return;
        }
        let taken = tree.content(&mut |bytes| {
            left -= bytes.len() as i64;
            if left < 0 { Err(Error::other("enough")) } else { writer.content(bytes) }
        });
        if taken.is_err() {
            return;
        }
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let size = data.len() as u64;
    let _ = headwater_formats::inspect::Packing::read(data, size);
    if let Ok(mut tree) = tree::squashfs(&mut Cursor::new(data), size) {
        walk(&mut tree);
    }
    if let Ok(mut tree) = tree::tarball(&mut Cursor::new(data), size) {
        walk(&mut tree);
    }
    let root =
        Entry { path: Vec::new(), kind: Kind::Directory, mode: 0o755, uid: 1, gid: 2, mtime: 3, attributes: Vec::new() };
    let _ = tree::set_root(&mut Cursor::new(data.to_vec()), size, &root, &[1, 2].into());
});
