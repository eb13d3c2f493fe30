//! Images whose files an upstream promises: listed before their bytes are here, complete with them, and let go of.

use std::sync::Mutex;

use headwater::auth::Viewer;
use headwater::catalog::{
    Cached, Catalog, CatalogError, Committed, Given, GivenProduct, Kept, NewImage, Promise, Unproven, Upstream,
    UpstreamProtocol, UpstreamSettings,
};
use headwater_formats::digest::Digest;
use headwater_formats::image::{FileFormat, Image, ImageFiles};
use headwater_formats::names::{UpstreamName, VersionName};
use headwater_formats::timestamp::Timestamp;

use super::{Home, commit, on_both_engines};
use crate::kit::images::{image, minute, new, project};

on_both_engines![
    an_image_is_listed_before_its_bytes_are_here,
    files_that_are_here_are_not_only_promised,
    a_publication_fulfils_a_promise,
    an_image_is_proven_when_both_files_are_here,
    an_image_that_is_wrong_goes_and_is_remembered,
    what_was_used_longest_ago_is_let_go_of_first,
    what_something_else_needs_stays,
    an_upstream_takes_what_is_not_here_with_it,
    what_is_promised_is_no_stray_and_sets_nothing_free,
    last_uses_are_written_rarely,
    paths_follow_the_upstream,
];

async fn upstream(catalog: &Catalog, text: &str, lazy: bool) -> Upstream {
    let name = UpstreamName::new(text).unwrap();
    let settings = UpstreamSettings { lazy, cache_size: 1000, cache_age: 60, ..UpstreamSettings::default() };
    let server = "https://images.example";
    let protocol = UpstreamProtocol::SimpleStreams;
    catalog.create_upstream(&name, &project("default"), protocol, server, &settings, minute(0)).await.unwrap();
    let made = catalog.upstream(&name).await.unwrap();
    assert_eq!(made.settings, settings, "the limits are kept");
    made
}

fn files(image: &Image) -> [Digest; 2] {
    let ImageFiles::Split { metadata, root } = image.files else { panic!("a split image") };
    [metadata.digest, root.digest]
}

fn given(upstream: &Upstream, image: Image) -> NewImage {
    let product =
        GivenProduct { key: "com.example:12:amd64".into(), names: Some(Vec::new()), ..GivenProduct::default() };
    let version = VersionName::new(format!("2024010{}", 1 + image.fingerprint.as_bytes()[3] % 8)).unwrap();
    let given = Given {
        upstream: Some(upstream.id),
        product,
        version,
        version_extra: std::collections::BTreeMap::default(),
        placed: true,
    };
    NewImage { given: Some(given), ..new("default", image, &[]) }
}

fn promises(image: &Image) -> Vec<Promise> {
    files(image).map(|digest| Promise { digest, path: format!("images/{digest}") }).to_vec()
}

async fn promise(catalog: &Catalog, upstream: &Upstream, image: Image) -> Committed {
    let (promises, new) = (promises(&image), given(upstream, image));
    catalog.promise_images(&[new], &[promises], minute(1)).await.unwrap().pop().unwrap()
}

async fn fulfil(catalog: &Catalog, digest: &Digest, at: Timestamp) -> Vec<Unproven> {
    catalog.fulfil(digest, at, || Ok(())).await.unwrap().unwrap()
}

/// Lets go of all that may go, in the order in which it is told.
async fn let_go_of_all(catalog: &Catalog, upstream: &Upstream) -> Vec<Digest> {
    let mut gone = Vec::new();
    for cached in catalog.cached(upstream.id, None, 100).await.unwrap() {
        if catalog.let_go(upstream.id, &cached, || Ok(())).await.unwrap() {
            gone.push(cached.digest);
        }
    }
    gone
}

async fn an_image_is_listed_before_its_bytes_are_here(home: &Home) {
    let catalog = home.open().await;
    let upstream = upstream(&catalog, "lazy", true).await;
    let Committed::New(stored) = promise(&catalog, &upstream, image(1)).await else { panic!("it is new") };
    assert_eq!(stored.image.files, image(1).files);
    assert!(matches!(promise(&catalog, &upstream, image(1)).await, Committed::Already(_)));
    let [metadata, root] = files(&image(1));
    assert!(catalog.file(&Viewer::guest(), &root).await.unwrap().is_some(), "its files are named");
    assert_eq!(catalog.absent(&[metadata, root]).await.unwrap(), [metadata, root].into());
    let promised = catalog.who_promises(&root).await.unwrap();
    assert_eq!(promised, [(upstream.clone(), format!("images/{root}"))]);
    assert_eq!(catalog.who_promises(&files(&image(2))[0]).await.unwrap(), []);
    let fingerprints = [image(1).fingerprint, image(2).fingerprint];
    let project = project("default");
    assert_eq!(catalog.present(&project, &fingerprints).await.unwrap(), [fingerprints[0]].into());
    assert!(catalog.complete(&project, &fingerprints).await.unwrap().is_empty());

    assert_eq!(fulfil(&catalog, &root, minute(2)).await, []);
    assert_eq!(catalog.absent(&[metadata, root]).await.unwrap(), [metadata].into());
    fulfil(&catalog, &metadata, minute(2)).await;
    assert_eq!(catalog.complete(&project, &fingerprints).await.unwrap(), [fingerprints[0]].into());
    let size = image(1).files.size();
    let kept = Kept { files: 2, bytes: size, here: 2, here_bytes: size };
    assert_eq!(catalog.kept(upstream.id).await.unwrap(), kept);
    let unknown = catalog.fulfil(&files(&image(2))[0], minute(2), || Ok(())).await.unwrap();
    assert_eq!(unknown, None, "nothing knows such a file");
    let failed = catalog.fulfil(&root, minute(2), || Err(std::io::Error::other("disk"))).await;
    assert!(matches!(failed, Err(CatalogError::Bytes(_))), "{failed:?}");
}

async fn files_that_are_here_are_not_only_promised(home: &Home) {
    let catalog = home.open().await;
    let upstream = upstream(&catalog, "lazy", true).await;
    catalog.create_project(&project("team"), "", minute(0)).await.unwrap();
    commit(&catalog, "team", image(1), &[]).await;
    promise(&catalog, &upstream, image(1)).await;
    assert!(catalog.absent(&files(&image(1))).await.unwrap().is_empty());
    // What was deleted and not swept yet is here, too.
    catalog.delete_image(&project("team"), &image(1).fingerprint, minute(2)).await.unwrap();
    catalog.delete_image(&project("default"), &image(1).fingerprint, minute(2)).await.unwrap();
    promise(&catalog, &upstream, image(1)).await;
    assert!(catalog.absent(&files(&image(1))).await.unwrap().is_empty());
    assert_eq!(catalog.retired(minute(9), 9).await.unwrap(), []);
}

async fn a_publication_fulfils_a_promise(home: &Home) {
    let catalog = home.open().await;
    let upstream = upstream(&catalog, "lazy", true).await;
    let mut said = image(1);
    // An upstream knows neither length nor format for sure.
    if let ImageFiles::Split { root, .. } = &mut said.files {
        root.format = FileFormat::Tar(headwater_formats::image::Compression::Xz);
        root.size += 1;
    }
    promise(&catalog, &upstream, said).await;
    let published = catalog.commit_image(&new("default", image(1), &[]), minute(3), || Ok(())).await.unwrap();
    let Committed::Already(stored) = published else { panic!("it was listed") };
    assert_eq!(stored.image.files, image(1).files, "what the bytes tell counts");
    assert!(catalog.absent(&files(&image(1))).await.unwrap().is_empty());
    assert_eq!(fulfil(&catalog, &files(&image(1))[1], minute(4)).await, [], "nothing is left to prove");
    let refused =
        catalog.commit_image(&new("default", image(1), &[]), minute(3), || Err(std::io::Error::other("x"))).await;
    assert!(matches!(refused, Ok(Committed::Already(_))), "the bytes are here: {refused:?}");
}

async fn an_image_is_proven_when_both_files_are_here(home: &Home) {
    let catalog = home.open().await;
    let upstream = upstream(&catalog, "lazy", true).await;
    promise(&catalog, &upstream, image(1)).await;
    let [metadata, root] = files(&image(1));
    assert_eq!(catalog.metadata_before(&root).await.unwrap(), None, "it is not here");
    assert_eq!(fulfil(&catalog, &metadata, minute(2)).await, []);
    assert_eq!(catalog.metadata_before(&root).await.unwrap(), Some(metadata));
    let unproven = fulfil(&catalog, &root, minute(3)).await;
    let fingerprint = image(1).fingerprint;
    assert_eq!(unproven, [Unproven { project: project("default"), fingerprint, metadata, root }]);
    catalog.prove(&unproven[0], true, minute(3)).await.unwrap();
    assert_eq!(fulfil(&catalog, &root, minute(4)).await, [], "once is enough");
    assert_eq!(catalog.metadata_before(&root).await.unwrap(), None);
    assert!(catalog.present(&project("default"), &[fingerprint]).await.unwrap().contains(&fingerprint));
}

async fn an_image_that_is_wrong_goes_and_is_remembered(home: &Home) {
    let catalog = home.open().await;
    let upstream = upstream(&catalog, "lazy", true).await;
    promise(&catalog, &upstream, image(1)).await;
    let [metadata, root] = files(&image(1));
    fulfil(&catalog, &metadata, minute(2)).await;
    let unproven = fulfil(&catalog, &root, minute(2)).await;
    let revision = catalog.revision().await.unwrap().number;
    catalog.prove(&unproven[0], false, minute(3)).await.unwrap();
    assert!(catalog.revision().await.unwrap().number > revision);
    let mirrored = catalog.mirrored(upstream.id, None, 9).await.unwrap();
    assert_eq!(mirrored.iter().map(|row| (row.came_at.is_some(), row.wrong)).collect::<Vec<_>>(), [(false, true)]);
    // Listed anew, perhaps with other files, it is open again.
    promise(&catalog, &upstream, image(1)).await;
    assert!(!catalog.mirrored(upstream.id, None, 9).await.unwrap()[0].wrong);
}

async fn what_was_used_longest_ago_is_let_go_of_first(home: &Home) {
    let catalog = home.open().await;
    let upstream = upstream(&catalog, "lazy", true).await;
    for number in 1..=3 {
        promise(&catalog, &upstream, image(number)).await;
    }
    let roots: Vec<Digest> = (1..=3).map(|number| files(&image(number))[1]).collect();
    for (root, at) in roots.iter().zip([30, 10, 20]) {
        fulfil(&catalog, root, minute(at)).await;
    }
    let order = [roots[1], roots[2], roots[0]];
    let cached = catalog.cached(upstream.id, None, 9).await.unwrap();
    assert_eq!(cached.iter().map(|one| one.digest).collect::<Vec<_>>(), order);
    assert_eq!(cached.iter().map(|one| one.size).sum::<u64>(), catalog.cached_bytes(upstream.id).await.unwrap());
    assert_eq!(catalog.cached(upstream.id, Some(&cached[0]), 1).await.unwrap(), cached[1..2]);
    // Used since it was found.
    catalog.use_promised(&roots[1..2], minute(100)).await.unwrap();
    assert!(!catalog.let_go(upstream.id, &cached[0], || panic!("it is not removed")).await.unwrap());
    let failed = catalog.let_go(upstream.id, &cached[1], || Err(std::io::Error::other("busy"))).await;
    assert!(matches!(failed, Err(CatalogError::Remove(_))), "{failed:?}");
    assert!(catalog.absent(&roots).await.unwrap().is_empty(), "and nothing was written");
    assert!(catalog.let_go(upstream.id, &cached[1], || Ok(())).await.unwrap());
    assert_eq!(catalog.absent(&roots).await.unwrap(), [roots[2]].into());
    assert_eq!(catalog.who_promises(&roots[2]).await.unwrap().len(), 1, "the promise stays");
    assert!(!catalog.let_go(upstream.id, &cached[1], || panic!("it is gone")).await.unwrap());
}

async fn what_something_else_needs_stays(home: &Home) {
    let catalog = home.open().await;
    let (lazy, eager) = (upstream(&catalog, "lazy", true).await, upstream(&catalog, "eager", false).await);
    catalog.create_project(&project("team"), "", minute(0)).await.unwrap();
    for number in 1..=3 {
        promise(&catalog, &lazy, image(number)).await;
        for digest in files(&image(number)) {
            fulfil(&catalog, &digest, minute(2)).await;
        }
    }
    commit(&catalog, "team", image(1), &[]).await;
    // The same project, and another upstream has listed it as its own.
    catalog.note_shared(eager.id, &[(image(2).fingerprint, "p".into(), "20240101".into())]).await.unwrap();
    let gone = let_go_of_all(&catalog, &lazy).await;
    assert!(files(&image(1)).iter().all(|digest| !gone.contains(digest)), "a published image needs them");
    assert!(
        files(&image(2)).iter().all(|digest| !gone.contains(digest)),
        "an upstream that is not lazy wants them here"
    );
    assert!(files(&image(3)).iter().all(|digest| gone.contains(digest)), "{gone:?}");
    // When the upstream is lazy no more, nothing of it goes.
    let name = UpstreamName::new("lazy").unwrap();
    fulfil(&catalog, &files(&image(3))[0], minute(3)).await;
    let settings = UpstreamSettings { lazy: false, ..lazy.settings.clone() };
    catalog.edit_upstream(&name, &settings, minute(4)).await.unwrap();
    assert_eq!(catalog.cached(lazy.id, None, 9).await.unwrap(), []);
}

async fn an_upstream_takes_what_is_not_here_with_it(home: &Home) {
    let catalog = home.open().await;
    let (lazy, other) = (upstream(&catalog, "lazy", true).await, upstream(&catalog, "other", true).await);
    for number in 1..=3 {
        promise(&catalog, &lazy, image(number)).await;
    }
    for digest in files(&image(1)) {
        fulfil(&catalog, &digest, minute(2)).await;
    }
    // Another one promises the same.
    catalog.promise(other.id, &promises(&image(2)), minute(2)).await.unwrap();
    let gone = catalog.delete_upstream(&UpstreamName::new("lazy").unwrap(), minute(3)).await.unwrap();
    assert_eq!(gone, 1);
    let mut left = catalog.fingerprints(&Viewer::operator(), &project("default"), 9).await.unwrap();
    left.sort();
    let mut expected = [image(1).fingerprint, image(2).fingerprint];
    expected.sort();
    assert_eq!(left, expected);
    assert_eq!(catalog.who_promises(&files(&image(2))[0]).await.unwrap().len(), 1);
    assert_eq!(catalog.who_promises(&files(&image(1))[0]).await.unwrap(), []);
}

async fn what_is_promised_is_no_stray_and_sets_nothing_free(home: &Home) {
    let catalog = home.open().await;
    let upstream = upstream(&catalog, "lazy", true).await;
    promise(&catalog, &upstream, image(1)).await;
    let [metadata, root] = files(&image(1));
    fulfil(&catalog, &metadata, minute(2)).await;
    assert_eq!(catalog.known_blobs(None, 9).await.unwrap(), [metadata], "of the other one nothing should lie here");
    let removed = Mutex::new(0);
    let remove = || {
        *removed.lock().unwrap() += 1;
        Ok(())
    };
    assert!(!catalog.remove_unknown_blob(&metadata, remove).await.unwrap());
    assert!(catalog.remove_unknown_blob(&root, remove).await.unwrap());
    assert_eq!(*removed.lock().unwrap(), 1);
    let uses = catalog.blobs_in_use(None, 9).await.unwrap();
    assert!(uses.len() == 2 && uses.iter().all(|one| one.promised), "{uses:?}");
    catalog.delete_image(&project("default"), &image(1).fingerprint, minute(3)).await.unwrap();
    let retired = catalog.retired(minute(9), 9).await.unwrap();
    let here: Vec<_> = retired.iter().map(|one| (one.digest == metadata, one.present)).collect();
    assert!(here.len() == 2 && here.iter().all(|(metadata, present)| metadata == present), "{retired:?}");
    assert_eq!(catalog.who_promises(&root).await.unwrap().len(), 1, "who was told of it can still have it");
    assert!(catalog.forget_blob(&root, minute(9), || Ok(())).await.unwrap());
    assert_eq!(catalog.who_promises(&root).await.unwrap(), []);
}

async fn last_uses_are_written_rarely(home: &Home) {
    let catalog = home.open().await;
    let upstream = upstream(&catalog, "lazy", true).await;
    promise(&catalog, &upstream, image(1)).await;
    let [metadata, root] = files(&image(1));
    fulfil(&catalog, &root, minute(10)).await;
    let used = async |at| {
        catalog.use_promised(&[metadata, root, files(&image(2))[0]], minute(at)).await.unwrap();
        let cached: Vec<Cached> = catalog.cached(upstream.id, None, 9).await.unwrap();
        cached[0].used_at
    };
    assert_eq!(used(69).await, minute(10), "within the hour");
    assert_eq!(used(71).await, minute(71));
    assert_eq!(used(5).await, minute(71), "never back");
}

async fn paths_follow_the_upstream(home: &Home) {
    let catalog = home.open().await;
    let upstream = upstream(&catalog, "lazy", true).await;
    promise(&catalog, &upstream, image(1)).await;
    let root = files(&image(1))[1];
    let moved = |digest| Promise { digest, path: "elsewhere/root".into() };
    catalog.promise(upstream.id, &[moved(root), moved(files(&image(2))[0])], minute(2)).await.unwrap();
    assert_eq!(catalog.who_promises(&root).await.unwrap()[0].1, "elsewhere/root");
    let all = catalog.promises(upstream.id, None, 9).await.unwrap();
    assert_eq!(all.len(), 2, "what nothing knows is not promised");
    let after = catalog.promises(upstream.id, Some(&all[0].digest), 9).await.unwrap();
    assert_eq!(after, all[1..]);
    // Lazy ones are asked first.
    let eager = self::upstream(&catalog, "eager", false).await;
    catalog.promise(eager.id, &[moved(root)], minute(2)).await.unwrap();
    let order: Vec<bool> =
        catalog.who_promises(&root).await.unwrap().iter().map(|(who, _)| who.settings.lazy).collect();
    assert_eq!(order, [true, false]);
}
