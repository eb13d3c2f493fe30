//! Bundles of strangers, taken into a store: raw bytes, or a manifest with a right header and one file behind it. Whatever
//! comes of it is an answer, nothing is left of it, and no image is listed that was not in it.
#![no_main]

use std::io::Cursor;
use std::sync::LazyLock;

use headwater::app::App;
use headwater::bundle::{Bundles, TakeRequest, Unseen};
use headwater_formats::timestamp::Timestamp;
use tokio::runtime::Runtime;

/// A folder that goes with the process, what is in it, and what runs it.
static HOUSE: LazyLock<(tempfile::TempDir, App, Runtime)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let app = runtime.block_on(App::open(folder.path(), None)).expect("an empty data folder");
    (folder, app, runtime)
});

fn tar(manifest: &[u8], file: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in [("manifest.jsonl", manifest), ("files/1111111111111111111111111111111111111111111111111111111111111111.tar.xz", file)] {
        if name.starts_with("manifest") || !bytes.is_empty() {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_entry_type(tar::EntryType::Regular);
            tar.append_data(&mut header, name, bytes).expect("memory takes it");
        }
    }
    tar.into_inner().expect("memory takes it")
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let bundle = match data.split_first() {
        None => return,
        Some((b'm', rest)) => {
            let (manifest, file) = rest.split_at(rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len()));
            tar(manifest, file)
        }
        Some((_, rest)) => rest.to_vec(),
    };
    let (folder, app, runtime) = &*HOUSE;
    let bundles = Bundles::new(app.publisher.clone(), || Timestamp::from_unix(1_750_000_000).expect("a time"));
    if let Ok(taken) = runtime.block_on(bundles.take(Box::new(Cursor::new(bundle)), TakeRequest::default(), &Unseen)) {
        assert!(taken.listed + taken.already + taken.missing <= taken.head.counts.images);
    }
    let staging = folder.path().join("blobs/staging");
    assert!(!staging.exists() || std::fs::read_dir(staging).expect("a folder").next().is_none(), "staged bytes are left");
});
