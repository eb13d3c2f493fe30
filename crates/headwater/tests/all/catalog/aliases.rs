use headwater::auth::Viewer;
use headwater::catalog::{Alias, AliasTarget, Catalog, CatalogError, Wanted};
use headwater_formats::arch::Architecture::{self, Aarch64, I686, X86_64};
use headwater_formats::image::ImageType::{self, Container, VirtualMachine};

use super::{Home, commit, on_both_engines};
use crate::kit::images::{Change as _, alias, image, minute, project};

on_both_engines! {
    names_lead_where_the_table_says,
    a_hand_made_alias_wins_and_is_final,
    an_alias_that_leads_to_nothing_visible_is_passed_over,
    two_products_with_one_name_mean_the_newest,
    aliases_are_made_once_and_removed,
    listed_aliases_say_what_they_lead_to,
}

async fn resolve(catalog: &Catalog, name: &str, wanted: &Wanted) -> Option<u32> {
    let found = catalog.resolve_alias(&Viewer::guest(), &project("default"), &alias(name), wanted).await.unwrap()?;
    assert_eq!(found.name, alias(name), "the name as it was asked for");
    Some(u32::from_be_bytes(found.fingerprint.as_bytes()[..4].try_into().unwrap()))
}

fn follows(release: &str) -> AliasTarget {
    AliasTarget::Follows { os: "debian".into(), release: release.into(), variant: "default".into() }
}

async fn names_lead_where_the_table_says(home: &Home) {
    let catalog = home.open().await;
    let default = project("default");
    // amd64: containers 1 and 2 (newer), tarball 3 beside 2, machine 4. arm64: container 5, older. i686: machine 6, newest.
    commit(&catalog, "default", image(1).at(1), &["fixed"]).await;
    commit(&catalog, "default", image(2).at(2), &[]).await;
    commit(&catalog, "default", image(3).at(2).root_tar(), &[]).await;
    commit(&catalog, "default", image(4).at(1).machine(), &[]).await;
    commit(&catalog, "default", image(5).at(1).on(Aarch64), &["fixed-arm", "x/arm64"]).await;
    commit(&catalog, "default", image(6).at(9).machine().on(I686), &[]).await;
    commit(&catalog, "default", image(7).at(9).property("variant", "cloud"), &[]).await;
    catalog.create_alias(&default, &alias("latest"), "", &follows("Bookworm"), minute(5)).await.unwrap();

    type Row<'a> = (&'a str, &'a [Architecture], Option<ImageType>, Option<u32>);
    let table: &[Row<'_>] = &[
        // What is wanted first, then what comes next, then anything.
        ("debian/12", &[X86_64, I686], None, Some(2)),
        ("debian/bookworm", &[X86_64, I686], None, Some(2)),
        ("debian/12/default", &[X86_64, I686], None, Some(2)),
        ("debian/12", &[X86_64, I686], Some(Container), Some(2)),
        ("debian/12", &[X86_64, I686], Some(VirtualMachine), Some(4)),
        ("debian/12", &[Aarch64], None, Some(5)),
        ("debian/12", &[Aarch64], Some(VirtualMachine), Some(6)),
        ("debian/12", &[I686, X86_64], None, Some(6)),
        ("debian/12", &[I686, X86_64], Some(Container), Some(2)),
        ("debian/12", &[Architecture::Riscv64], None, Some(2)),
        ("debian/12", &[], Some(Container), Some(2)),
        ("debian/12/cloud", &[X86_64], None, Some(7)),
        ("debian/12/cloud", &[Aarch64], None, Some(7)),
        // An architecture in the name is strict.
        ("debian/12/arm64", &[X86_64], None, Some(5)),
        ("debian/12/aarch64", &[X86_64], None, Some(5)),
        ("debian/12/amd64", &[Aarch64], None, Some(2)),
        ("debian/12/amd64", &[Aarch64], Some(VirtualMachine), Some(4)),
        ("debian/12/arm64", &[], Some(VirtualMachine), None),
        ("debian/12/riscv64", &[X86_64], None, None),
        ("debian/12/cloud/arm64", &[Aarch64], None, None),
        // By hand.
        ("latest", &[Aarch64], None, Some(5)),
        ("latest/amd64", &[Aarch64], None, Some(2)),
        ("latest/i386", &[Aarch64], None, Some(6)),
        ("fixed", &[Aarch64], None, Some(1)),
        ("fixed", &[Aarch64], Some(VirtualMachine), None),
        ("fixed/amd64", &[], None, Some(1)),
        ("fixed/arm64", &[], None, None),
        ("fixed-arm", &[X86_64], Some(Container), Some(5)),
        ("x/arm64", &[X86_64], None, Some(5)),
        ("x", &[Aarch64], None, None),
        // Names are whole, and mean what they say.
        ("debian", &[X86_64], None, None),
        ("debian/1", &[X86_64], None, None),
        ("debian/1%", &[X86_64], None, None),
        ("DEBIAN/12", &[X86_64], None, None),
        ("amd64", &[X86_64], None, None),
    ];
    for (name, architectures, image_type, expected) in table {
        let wanted = Wanted { architectures: architectures.to_vec(), image_type: *image_type };
        assert_eq!(resolve(&catalog, name, &wanted).await, *expected, "{name} for {wanted:?}");
    }
    commit(&catalog, "default", image(8).at(3), &[]).await;
    let wanted = Wanted { architectures: vec![X86_64], image_type: None };
    for name in ["debian/12", "latest", "debian/bookworm/default/amd64"] {
        assert_eq!(resolve(&catalog, name, &wanted).await, Some(8), "{name} follows to the new version");
    }
    assert_eq!(resolve(&catalog, "fixed", &wanted).await, Some(1), "a fixed one stays");
    catalog.delete_image(&default, &image(8).fingerprint, minute(9)).await.unwrap();
    assert_eq!(resolve(&catalog, "debian/12", &wanted).await, Some(2), "and back");
}

async fn a_hand_made_alias_wins_and_is_final(home: &Home) {
    let catalog = home.open().await;
    let default = project("default");
    commit(&catalog, "default", image(1).at(1), &[]).await;
    commit(&catalog, "default", image(2).at(2), &[]).await;
    commit(&catalog, "default", image(3).at(2).machine(), &[]).await;
    commit(&catalog, "default", image(4).at(9).property("release", "trixie"), &[]).await;
    let any = Wanted::default();
    catalog
        .create_alias(&default, &alias("debian/12"), "", &AliasTarget::Image(image(1).fingerprint), minute(3))
        .await
        .unwrap();
    assert_eq!(resolve(&catalog, "debian/12", &any).await, Some(1));
    assert_eq!(resolve(&catalog, "debian/12/amd64", &any).await, Some(1), "with its architecture, too");
    assert_eq!(resolve(&catalog, "debian/bookworm", &any).await, Some(2), "the other names go on following");
    let machine = Wanted { image_type: Some(VirtualMachine), ..Wanted::default() };
    assert_eq!(resolve(&catalog, "debian/12", &machine).await, None, "it does not mean something else by type");
    catalog.create_alias(&default, &alias("debian/bookworm"), "", &follows("trixie"), minute(3)).await.unwrap();
    assert_eq!(resolve(&catalog, "debian/bookworm", &any).await, Some(4));
    catalog.delete_alias(&default, &alias("debian/12"), minute(4)).await.unwrap();
    assert_eq!(resolve(&catalog, "debian/12", &any).await, Some(2), "the generated name is back");
}

async fn an_alias_that_leads_to_nothing_visible_is_passed_over(home: &Home) {
    let catalog = home.open().await;
    let default = project("default");
    commit(&catalog, "default", image(1).at(1), &[]).await;
    commit(&catalog, "default", image(2).at(2).private(), &["debian/12"]).await;
    catalog.create_alias(&default, &alias("debian/bookworm"), "", &follows("sid"), minute(3)).await.unwrap();
    let any = Wanted::default();
    assert_eq!(resolve(&catalog, "debian/12", &any).await, Some(1), "to a guest the private alias is not there");
    assert_eq!(resolve(&catalog, "debian/bookworm", &any).await, Some(1), "and one that leads to no image is neither");
    let operator = catalog.resolve_alias(&Viewer::operator(), &default, &alias("debian/12"), &any).await.unwrap();
    assert_eq!(operator.unwrap().fingerprint, image(2).fingerprint);
}

async fn two_products_with_one_name_mean_the_newest(home: &Home) {
    let catalog = home.open().await;
    commit(&catalog, "default", image(1).at(5), &[]).await;
    commit(&catalog, "default", image(2).at(3).property("release", "12"), &[]).await;
    let any = Wanted::default();
    assert_eq!(resolve(&catalog, "debian/12", &any).await, Some(1));
    commit(&catalog, "default", image(3).at(7).property("release", "12"), &[]).await;
    assert_eq!(resolve(&catalog, "debian/12", &any).await, Some(3));
    let listed = catalog.aliases(&Viewer::guest(), &project("default"), None, 100).await.unwrap();
    let listed: Vec<&str> = listed.iter().map(|alias| alias.name.as_str()).collect();
    assert_eq!(listed, ["debian/12", "debian/12/default", "debian/bookworm", "debian/bookworm/default"], "once each");
}

async fn aliases_are_made_once_and_removed(home: &Home) {
    let catalog = home.open().await;
    let default = project("default");
    let (one, two) = (alias("one"), alias("two"));
    commit(&catalog, "default", image(1), &["one"]).await;
    let said = catalog.create_alias(&default, &one, "", &follows("12"), minute(1)).await.unwrap_err().to_string();
    assert_eq!(said, "there is an alias \"one\" already; delete it first, or choose another name");
    let missing = AliasTarget::Image(image(9).fingerprint);
    let said = catalog.create_alias(&default, &two, "", &missing, minute(1)).await.unwrap_err().to_string();
    assert!(said.starts_with("there is no image \"00000009"), "{said}");
    let said = catalog.delete_alias(&default, &two, minute(1)).await.unwrap_err().to_string();
    assert_eq!(said, "there is no alias \"two\"; `headwater alias list` shows the ones there are");
    let generated = catalog.delete_alias(&default, &alias("debian/12"), minute(1)).await;
    assert!(matches!(generated, Err(CatalogError::NoAlias(_))), "generated names cannot be removed");
    let nowhere = catalog.create_alias(&project("nowhere"), &two, "", &follows("12"), minute(1)).await;
    assert!(matches!(nowhere, Err(CatalogError::NoProject(_))));
    let revision = catalog.revision().await.unwrap();
    catalog.delete_alias(&default, &one, minute(1)).await.unwrap();
    assert_eq!(catalog.revision().await.unwrap().number, revision.number + 1);
    assert_eq!(resolve(&catalog, "one", &Wanted::default()).await, None);
    // A commit takes a name over, from an alias that follows, too.
    catalog.create_alias(&default, &one, "kept", &follows("bookworm"), minute(1)).await.unwrap();
    commit(&catalog, "default", image(2).property("os", "Other"), &["one"]).await;
    let found = catalog.resolve_alias(&Viewer::guest(), &default, &one, &Wanted::default()).await.unwrap().unwrap();
    assert_eq!((found.fingerprint, found.description.as_str()), (image(2).fingerprint, "kept"));
}

async fn listed_aliases_say_what_they_lead_to(home: &Home) {
    let catalog = home.open().await;
    let default = project("default");
    commit(&catalog, "default", image(1), &[]).await;
    commit(&catalog, "default", image(2).private().property("os", "Hidden"), &["hidden"]).await;
    let target = AliasTarget::Image(image(1).fingerprint);
    catalog.create_alias(&default, &alias("debian/12"), "by hand", &target, minute(1)).await.unwrap();
    let hidden = AliasTarget::Follows { os: "HIDDEN".into(), release: "bookworm".into(), variant: "default".into() };
    catalog.create_alias(&default, &alias("hidden-line"), "", &hidden, minute(1)).await.unwrap();
    let listed = catalog.aliases(&Viewer::guest(), &default, None, 100).await.unwrap();
    let generated = |name: &str| Alias {
        name: alias(name),
        description: String::new(),
        target: follows("bookworm"),
        generated: true,
    };
    assert_eq!(
        listed,
        [
            Alias { name: alias("debian/12"), description: "by hand".into(), target, generated: false },
            generated("debian/12/default"),
            generated("debian/bookworm"),
            generated("debian/bookworm/default"),
        ]
    );
    let listed = catalog.aliases(&Viewer::operator(), &default, Some(&alias("hidden")), 100).await.unwrap();
    let names: Vec<&str> = listed.iter().map(|alias| alias.name.as_str()).collect();
    assert_eq!(names, ["hidden-line", "hidden/bookworm", "hidden/bookworm/default"]);
    let AliasTarget::Follows { os, .. } = &listed[0].target else { panic!("{listed:?}") };
    assert_eq!(os, "hidden", "kept in lower case");
}
