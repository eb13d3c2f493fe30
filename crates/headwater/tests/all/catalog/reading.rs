use headwater::auth::Viewer;
use headwater::catalog::{AliasTarget, Catalog, CatalogError, Found, ImageEdit, Wanted};
use headwater_formats::digest::{Fingerprint, FingerprintPrefix};

use super::{Home, commit, names, on_both_engines};
use crate::kit::images::{Change as _, alias, image, minute, project};

on_both_engines! {
    each_viewer_sees_their_images,
    a_hidden_project_is_a_missing_project,
    a_hidden_image_is_a_missing_image,
    a_guest_learns_nothing_from_a_private_newest_image,
    projects_count_what_the_viewer_sees,
    projects_are_made_and_removed,
    a_prefix_finds_one_or_several,
    lists_come_in_pages,
    products_come_in_pages_with_all_their_versions,
    a_product_has_all_its_names,
    an_image_has_the_names_that_lead_to_it,
}

/// Viewers that matter, by name: guest, somebody with a grant for `team`, one for another project, the operator.
fn viewers() -> [(&'static str, Viewer); 4] {
    [
        ("guest", Viewer::guest()),
        ("team", Viewer::granted([project("team")])),
        ("other", Viewer::granted([project("other"), project("unknown")])),
        ("operator", Viewer::operator()),
    ]
}

/// `default`: 1 public, 2 private. `team`: 3 private. `mixed`: 4 public, 5 private. `empty`: nothing.
async fn four_projects(home: &Home) -> Catalog {
    let catalog = home.open().await;
    for name in ["team", "mixed", "empty", "other"] {
        catalog.create_project(&project(name), "", minute(0)).await.unwrap();
    }
    commit(&catalog, "default", image(1), &["one"]).await;
    commit(&catalog, "default", image(2).private(), &["two"]).await;
    commit(&catalog, "team", image(3).private(), &["three"]).await;
    commit(&catalog, "mixed", image(4), &[]).await;
    commit(&catalog, "mixed", image(5).private(), &[]).await;
    catalog
}

async fn each_viewer_sees_their_images(home: &Home) {
    let catalog = four_projects(home).await;
    for (who, viewer) in viewers() {
        for (name, seen) in [
            ("default", if who == "operator" { Some(vec![1, 2]) } else { Some(vec![1]) }),
            ("team", if who == "operator" || who == "team" { Some(vec![3]) } else { None }),
            ("mixed", if who == "operator" { Some(vec![4, 5]) } else { Some(vec![4]) }),
            ("empty", if who == "operator" { Some(vec![]) } else { None }),
            ("other", if who == "operator" || who == "other" { Some(vec![]) } else { None }),
        ] {
            let label = format!("{who} in {name}");
            let images = catalog.images(&viewer, &project(name), None, 10).await;
            let products = catalog.products(&viewer, &project(name), None, 10).await;
            let aliases = catalog.aliases(&viewer, &project(name), None, 10).await;
            let known = catalog.project(&viewer, &project(name)).await.unwrap();
            let Some(seen) = seen else {
                assert!(matches!(images, Err(CatalogError::NoProject(_))), "{label}: {images:?}");
                assert!(matches!(products, Err(CatalogError::NoProject(_))), "{label}: {products:?}");
                assert!(matches!(aliases, Err(CatalogError::NoProject(_))), "{label}: {aliases:?}");
                assert_eq!(known, None, "{label}");
                continue;
            };
            let expected: Vec<Fingerprint> = seen.iter().map(|number| image(*number).fingerprint).collect();
            let found: Vec<Fingerprint> = images.unwrap().iter().map(|stored| stored.image.fingerprint).collect();
            assert_eq!(found, expected, "{label}");
            assert_eq!(known.unwrap().images, expected.len() as u64, "{label}");
            let listed = products.unwrap().into_iter().flat_map(|product| product.versions);
            let listed: Vec<Fingerprint> =
                listed.flat_map(|version| version.images).map(|image| image.fingerprint).collect();
            assert_eq!(listed, expected, "{label}, in streams");
            let fixed = aliases.unwrap().into_iter().filter_map(|alias| match alias.target {
                AliasTarget::Image(fingerprint) => Some(fingerprint),
                AliasTarget::Follows { .. } => None,
            });
            for fingerprint in fixed {
                assert!(expected.contains(&fingerprint), "{label} has an alias that leads to something hidden");
            }
        }
        for number in 1..=5 {
            for file in [0x1000_0000, 0x2000_0000]
                .map(|part| headwater_formats::digest::Digest::from_bytes(crate::kit::images::bytes(number + part)))
            {
                let seen = match number {
                    1 | 4 => true,
                    3 => who == "operator" || who == "team",
                    _ => who == "operator",
                };
                let found = catalog.file(&viewer, &file).await.unwrap();
                assert_eq!(found.is_some(), seen, "{who} and the file {file} of image {number}");
            }
        }
    }
}

async fn a_hidden_project_is_a_missing_project(home: &Home) {
    let catalog = four_projects(home).await;
    let guest = Viewer::guest();
    for name in ["team", "empty", "other", "unknown"] {
        let expected = format!("there is no project {name:?}; `headwater project list` shows the ones there are");
        let name = project(name);
        let prefix = FingerprintPrefix::from(image(3).fingerprint);
        let wanted = Wanted::default();
        for said in [
            catalog.image(&guest, &name, &prefix).await.unwrap_err(),
            catalog.images(&guest, &name, None, 1).await.unwrap_err(),
            catalog.products(&guest, &name, None, 1).await.unwrap_err(),
            catalog.aliases(&guest, &name, None, 1).await.unwrap_err(),
            catalog.resolve_alias(&guest, &name, &alias("three"), &wanted).await.unwrap_err(),
        ] {
            assert_eq!(said.to_string(), expected);
        }
        assert_eq!(catalog.project(&guest, &name).await.unwrap(), None);
    }
    // The one public image goes, and the project with it.
    assert_eq!(catalog.images(&guest, &project("mixed"), None, 9).await.unwrap().len(), 1);
    let edit = ImageEdit { public: Some(false), ..ImageEdit::default() };
    catalog.edit_image(&project("mixed"), &image(4).fingerprint, &edit, minute(9)).await.unwrap();
    let gone = catalog.images(&guest, &project("mixed"), None, 9).await;
    assert!(matches!(gone, Err(CatalogError::NoProject(_))), "{gone:?}");
}

async fn a_hidden_image_is_a_missing_image(home: &Home) {
    let catalog = four_projects(home).await;
    let guest = Viewer::guest();
    for number in [2, 99] {
        let prefix = FingerprintPrefix::from(image(number).fingerprint);
        let found = catalog.image(&guest, &project("default"), &prefix).await.unwrap();
        assert_eq!(found, Found::Nothing);
    }
    for name in ["two", "none"] {
        let wanted = Wanted::default();
        let found = catalog.resolve_alias(&guest, &project("default"), &alias(name), &wanted).await.unwrap();
        assert_eq!(found, None);
    }
    // A short prefix that means one public and one private image means one to a guest.
    let prefix: FingerprintPrefix = "0000000".parse().unwrap();
    let found = catalog.image(&guest, &project("default"), &prefix).await.unwrap();
    assert!(matches!(found, Found::One(stored) if stored.image.fingerprint == image(1).fingerprint));
    let found = catalog.image(&Viewer::operator(), &project("default"), &prefix).await.unwrap();
    assert_eq!(found, Found::Several);
}

async fn a_guest_learns_nothing_from_a_private_newest_image(home: &Home) {
    let catalog = home.open().await;
    commit(&catalog, "default", image(1).property("version", "12.1"), &[]).await;
    let secret = image(2)
        .property("version", "secret")
        .property("release_codename", "codeword")
        .property("release_title", "Secret title")
        .property("os", "DeBiAn")
        .private();
    commit(&catalog, "default", secret, &["fixed-secret"]).await;
    let guest = Viewer::guest();
    let default = project("default");
    let product = catalog.products(&guest, &default, None, 10).await.unwrap().remove(0);
    assert_eq!(product.line.os, "Debian");
    assert_eq!((product.release_title, product.release_codename), (None, None));
    assert_eq!(product.version.as_deref(), Some("12.1"));
    let listed = catalog.aliases(&guest, &default, None, 100).await.unwrap();
    let aliases = product.aliases.iter().map(String::as_str).chain(listed.iter().map(|alias| alias.name.as_str()));
    for name in aliases {
        assert!(!name.contains("secret") && !name.contains("codeword"), "{name}");
    }
    for name in ["debian/secret", "debian/codeword", "fixed-secret"] {
        let found = catalog.resolve_alias(&guest, &default, &alias(name), &Wanted::default()).await.unwrap();
        assert_eq!(found, None, "{name}");
        let found =
            catalog.resolve_alias(&Viewer::operator(), &default, &alias(name), &Wanted::default()).await.unwrap();
        assert_eq!(found.unwrap().fingerprint, image(2).fingerprint, "{name}");
    }
    let found = catalog.resolve_alias(&guest, &default, &alias("debian/12.1"), &Wanted::default()).await.unwrap();
    assert_eq!(found.unwrap().fingerprint, image(1).fingerprint, "the newest that a guest sees");
    let found = catalog.resolve_alias(&Viewer::operator(), &default, &alias("debian/12.1"), &Wanted::default()).await;
    assert_eq!(found.unwrap(), None, "the newest of all has another version");
    let seen = catalog.images(&guest, &default, None, 10).await.unwrap();
    assert!(names(&seen[0]).contains(&"debian/12.1"), "it is the newest one that they see: {:?}", seen[0].aliases);
}

async fn projects_count_what_the_viewer_sees(home: &Home) {
    let catalog = four_projects(home).await;
    for (who, viewer) in viewers() {
        let found = catalog.projects(&viewer).await.unwrap();
        let found: Vec<(&str, u64)> = found.iter().map(|one| (one.name.as_str(), one.images)).collect();
        let expected: &[(&str, u64)] = match who {
            "guest" => &[("default", 1), ("mixed", 1)],
            "team" => &[("default", 1), ("mixed", 1), ("team", 1)],
            "other" => &[("default", 1), ("mixed", 1), ("other", 0)],
            _ => &[("default", 2), ("empty", 0), ("mixed", 2), ("other", 0), ("team", 1)],
        };
        assert_eq!(found, expected, "{who}");
    }
}

async fn projects_are_made_and_removed(home: &Home) {
    let catalog = home.open().await;
    let made = project("made");
    catalog.create_project(&made, "Über uns", minute(3)).await.unwrap();
    let found = catalog.project(&Viewer::operator(), &made).await.unwrap().unwrap();
    assert_eq!((found.description.as_str(), found.created_at), ("Über uns", minute(3)));
    let said = catalog.create_project(&made, "", minute(4)).await.unwrap_err().to_string();
    assert_eq!(said, "there is a project \"made\" already; choose another name");

    commit(&catalog, "made", image(1), &["one"]).await;
    let follows = AliasTarget::Follows { os: "debian".into(), release: "12".into(), variant: "default".into() };
    catalog.create_alias(&made, &alias("follow"), "", &follows, minute(4)).await.unwrap();
    let said = catalog.delete_project(&made, minute(5)).await.unwrap_err().to_string();
    assert_eq!(said, "the project \"made\" still has images; delete them first (`headwater image list` shows them)");
    catalog.delete_image(&made, &image(1).fingerprint, minute(5)).await.unwrap();
    let said = catalog.delete_project(&made, minute(5)).await.unwrap_err().to_string();
    assert_eq!(said, "the project \"made\" still has aliases; delete them first (`headwater alias list` shows them)");
    let listed = catalog.aliases(&Viewer::operator(), &made, None, 10).await.unwrap();
    assert_eq!(listed.len(), 1, "the operator sees the alias that leads nowhere, to be able to delete it");
    catalog.delete_alias(&made, &alias("follow"), minute(5)).await.unwrap();
    catalog.delete_project(&made, minute(5)).await.unwrap();
    assert_eq!(catalog.project(&Viewer::operator(), &made).await.unwrap(), None);
    assert!(matches!(catalog.delete_project(&made, minute(6)).await, Err(CatalogError::NoProject(_))));
    let said = catalog.delete_project(&project("default"), minute(6)).await.unwrap_err().to_string();
    assert_eq!(said, "the project \"default\" cannot be deleted; every catalog has it");
}

async fn a_prefix_finds_one_or_several(home: &Home) {
    let catalog = home.open().await;
    for number in [0x1234_5678, 0x1234_56ff, 0xffff_ffff] {
        commit(&catalog, "default", image(number), &[]).await;
    }
    let find = async |prefix: &str| {
        catalog.image(&Viewer::guest(), &project("default"), &prefix.parse().unwrap()).await.unwrap()
    };
    for (prefix, number) in [("12345678", 0x1234_5678), ("123456f", 0x1234_56ff), ("f", 0xffff_ffff)] {
        let Found::One(found) = find(prefix).await else { panic!("{prefix} is one image's") };
        assert_eq!(found.image.fingerprint, image(number).fingerprint);
    }
    assert_eq!(find("123456").await, Found::Several);
    assert_eq!(find("1").await, Found::Several);
    assert_eq!(find("0").await, Found::Nothing);
    assert_eq!(find("123457").await, Found::Nothing);
    let Found::One(_) = find(&"f".repeat(64)).await else { panic!("the last fingerprint there can be") };
}

async fn lists_come_in_pages(home: &Home) {
    let catalog = home.open().await;
    for number in (1..=9).rev() {
        let stored = if number % 3 == 0 { image(number).private() } else { image(number) };
        let name = format!("n/{number}");
        commit(&catalog, "default", stored, &[&name]).await;
    }
    for (viewer, expected) in
        [(Viewer::guest(), vec![1, 2, 4, 5, 7, 8]), (Viewer::operator(), (1..=9).collect::<Vec<u32>>())]
    {
        for limit in [1, 2, 4, 100] {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = catalog.images(&viewer, &project("default"), after, limit).await.unwrap();
                assert!(page.len() <= limit);
                let Some(last) = page.last() else { break };
                after = Some(last.image.fingerprint);
                seen.extend(page.iter().map(|stored| stored.image.fingerprint));
            }
            assert_eq!(seen, expected.iter().map(|number| image(*number).fingerprint).collect::<Vec<_>>());

            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = catalog.aliases(&viewer, &project("default"), after.as_ref(), limit).await.unwrap();
                assert!(page.len() <= limit);
                let Some(last) = page.last() else { break };
                after = Some(last.name.clone());
                seen.extend(page.iter().map(|alias| alias.name.as_str().to_owned()));
            }
            let generated = ["debian/12", "debian/12/default", "debian/bookworm", "debian/bookworm/default"];
            let fixed = expected.iter().map(|number| format!("n/{number}"));
            assert_eq!(seen, generated.map(str::to_owned).into_iter().chain(fixed).collect::<Vec<_>>());
        }
    }
}

async fn products_come_in_pages_with_all_their_versions(home: &Home) {
    let catalog = home.open().await;
    // In byte order upper-case comes before '_' and '_' before lower-case; languages order them otherwise.
    let releases = ["a", "a-b", "a.c", "a_d", "ab", "é"];
    for (line, release) in (0u32..).zip(releases) {
        for number in 0..3 {
            let stored = image(line * 10 + number).property("release", release);
            commit(&catalog, "default", stored.at(i64::from(10 - number)), &[]).await;
        }
    }
    let (mut seen, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = catalog.products(&Viewer::guest(), &project("default"), after.as_deref(), 4).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        seen.extend(page);
    }
    let mut expected: Vec<String> = releases.iter().map(|release| format!("debian:{release}:amd64:default")).collect();
    expected.sort();
    assert_eq!(seen.iter().map(|product| product.key.clone()).collect::<Vec<_>>(), expected);
    for product in &seen {
        let versions: Vec<&str> = product.versions.iter().map(|version| version.name.as_str()).collect();
        assert_eq!(versions, ["20250101_00:08", "20250101_00:09", "20250101_00:10"]);
    }
}

async fn a_product_has_all_its_names(home: &Home) {
    let catalog = home.open().await;
    let default = project("default");
    commit(&catalog, "default", image(1).at(1), &["old", "stable"]).await;
    commit(&catalog, "default", image(2).at(2), &["new", "with/amd64", "with/arm64", "debian/12"]).await;
    let follows = AliasTarget::Follows { os: "DEBIAN".into(), release: "Bookworm".into(), variant: "default".into() };
    catalog.create_alias(&default, &alias("latest"), "", &follows, minute(3)).await.unwrap();
    let names = async || catalog.products(&Viewer::guest(), &default, None, 10).await.unwrap().remove(0).aliases;
    assert_eq!(
        names().await,
        [
            "debian/bookworm/default",
            "debian/bookworm",
            "debian/12/default",
            "latest",
            "debian/12",
            "new",
            "with",
            "with/arm64"
        ],
        "generated, following, fixed ones of the newest version; without the product's architecture"
    );
    // A name that was given to an old image by hand does not mean the newest one.
    catalog.delete_alias(&default, &alias("debian/12"), minute(4)).await.unwrap();
    catalog
        .create_alias(&default, &alias("debian/12"), "", &AliasTarget::Image(image(1).fingerprint), minute(4))
        .await
        .unwrap();
    assert!(!names().await.contains(&"debian/12".to_owned()));
}

async fn an_image_has_the_names_that_lead_to_it(home: &Home) {
    let catalog = home.open().await;
    let default = project("default");
    let generated = ["debian/12", "debian/12/default", "debian/bookworm", "debian/bookworm/default"];
    let first = commit(&catalog, "default", image(1).at(1), &["first"]).await;
    assert_eq!(names(&first), [&generated[..], &["first"]].concat());
    let machine = commit(&catalog, "default", image(2).at(1).machine(), &[]).await;
    assert_eq!(names(&machine), generated, "the newest of its own type");
    let tar = commit(&catalog, "default", image(3).at(1).root_tar(), &[]).await;
    assert_eq!(names(&tar), [""; 0], "of one version the squashfs is preferred");
    let second = commit(&catalog, "default", image(4).at(2), &["first"]).await;
    assert_eq!(names(&second), [&generated[..], &["first"]].concat(), "a fixed alias that was there moves");
    let listed = catalog.images(&Viewer::guest(), &default, None, 10).await.unwrap();
    let listed: Vec<usize> = listed.iter().map(|stored| stored.aliases.len()).collect();
    assert_eq!(listed, [0, 4, 0, 5], "the machine keeps them, the older containers have none");

    let description = "The best one";
    catalog
        .create_alias(&default, &alias("best"), description, &AliasTarget::Image(image(3).fingerprint), minute(5))
        .await
        .unwrap();
    let listed = catalog.images(&Viewer::guest(), &default, None, 10).await.unwrap();
    assert_eq!(listed[2].aliases[0].description, description);

    catalog.delete_image(&default, &image(4).fingerprint, minute(6)).await.unwrap();
    let listed = catalog.images(&Viewer::guest(), &default, None, 10).await.unwrap();
    assert_eq!(names(&listed[0]), generated, "the one before is the newest again; its fixed alias went with the other");
}
