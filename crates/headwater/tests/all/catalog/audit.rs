//! Every change leaves a line that says what, to what, where, and by whom; a change that did not happen leaves none.

use std::collections::BTreeMap;

use headwater::auth::Actor;
use headwater::catalog::{AliasTarget, AuditEntry, AuditQuery, Catalog, Download, ImageEdit};
use headwater_formats::timestamp::Timestamp;

use super::{Home, commit, on_both_engines};
use crate::kit::images::{Change as _, alias, image, minute, new, project};

on_both_engines! {
    every_change_leaves_a_line,
    what_did_not_happen_leaves_none,
    an_edit_tells_what_it_changed,
    lines_are_found,
    old_lines_go_in_pieces,
    downloads_name_who_had_them,
}

async fn lines(catalog: &Catalog) -> Vec<AuditEntry> {
    catalog.audit(&AuditQuery::default(), 1000).await.unwrap()
}

fn detail(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The lines of a change: action, project, subject, detail.
async fn told(catalog: &Catalog, after: i64) -> Vec<(String, String, String, BTreeMap<String, String>)> {
    let query = AuditQuery { after: Some(after), ..AuditQuery::default() };
    let lines = catalog.audit(&query, 1000).await.unwrap();
    lines
        .into_iter()
        .map(|line| {
            assert_eq!((line.actor_kind.as_str(), line.actor_name.as_str()), ("operator", "anna"));
            (line.action, line.project.unwrap().to_string(), line.subject, line.detail)
        })
        .collect()
}

/// Action, project, subject, details.
type Line<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)]);

async fn every_change_leaves_a_line(home: &Home) {
    let catalog = home.open().await.acting(Actor::operator("anna"));
    let (team, moved) = (project("team"), project("moved"));
    let fingerprint = image(1).fingerprint;
    let subject = fingerprint.to_string();
    let target = AliasTarget::Image(fingerprint);
    let follows = AliasTarget::Follows { os: "debian".into(), release: "12".into(), variant: "default".into() };
    let mut last = 0;
    let mut expect = async |catalog: &Catalog, lines: &[Line<'_>]| {
        let lines: Vec<_> = lines
            .iter()
            .map(|(action, project, subject, pairs)| {
                ((*action).to_owned(), (*project).to_owned(), (*subject).to_owned(), detail(pairs))
            })
            .collect();
        assert_eq!(told(catalog, last).await, lines);
        last = catalog.last_audit().await.unwrap();
    };

    catalog.create_project(&team, "", minute(1)).await.unwrap();
    expect(&catalog, &[("project-created", "team", "team", &[])]).await;
    catalog.edit_project(&team, "ours", minute(2)).await.unwrap();
    expect(&catalog, &[("project-updated", "team", "team", &[("description", "ours")])]).await;
    catalog.create_alias(&team, &alias("next"), "", &follows, minute(3)).await.unwrap();
    expect(&catalog, &[("image-alias-created", "team", "next", &[("target", "debian:12:default")])]).await;
    commit(&catalog, "team", image(1), &["mine", "next"]).await;
    let bytes: u64 = image(1).files.iter().map(|(_, file)| file.size).sum();
    let filename = image(1).filename;
    let created =
        [("filename", filename.as_str()), ("public", "true"), ("size", &bytes.to_string()), ("type", "container")];
    expect(
        &catalog,
        &[
            ("image-created", "team", &subject, &created),
            ("image-alias-created", "team", "mine", &[("target", &subject)]),
            ("image-alias-updated", "team", "next", &[("target", &subject)]),
        ],
    )
    .await;
    let private = ImageEdit { public: Some(false), ..ImageEdit::default() };
    catalog.edit_image(&team, &fingerprint, &private, minute(4)).await.unwrap();
    expect(&catalog, &[("image-updated", "team", &subject, &[("public", "false")])]).await;
    catalog.create_alias(&team, &alias("other"), "", &target, minute(5)).await.unwrap();
    expect(&catalog, &[("image-alias-created", "team", "other", &[("target", &subject)])]).await;
    catalog.rename_alias(&team, &alias("other"), &alias("renamed"), minute(6)).await.unwrap();
    expect(&catalog, &[("image-alias-renamed", "team", "other", &[("new_name", "renamed")])]).await;
    catalog.delete_alias(&team, &alias("renamed"), minute(7)).await.unwrap();
    expect(&catalog, &[("image-alias-deleted", "team", "renamed", &[])]).await;
    catalog.delete_image(&team, &fingerprint, minute(8)).await.unwrap();
    let deleted = [("aliases", "mine, next"), ("filename", filename.as_str()), ("public", "false")];
    expect(&catalog, &[("image-deleted", "team", &subject, &deleted)]).await;
    catalog.rename_project(&team, &moved, minute(9)).await.unwrap();
    expect(&catalog, &[("project-renamed", "team", "team", &[("new_name", "moved")])]).await;
    catalog.delete_project(&moved, minute(10)).await.unwrap();
    expect(&catalog, &[("project-deleted", "moved", "moved", &[])]).await;
}

async fn what_did_not_happen_leaves_none(home: &Home) {
    let catalog = home.open().await;
    let default = project("default");
    commit(&catalog, "default", image(1), &["mine"]).await;
    let before = catalog.last_audit().await.unwrap();
    let again = new("default", image(1), &["mine"]);
    catalog.commit_image(&again, minute(2), || Ok(())).await.unwrap();
    let broken = new("default", image(2), &[]);
    let failed = catalog.commit_image(&broken, minute(2), || Err(std::io::Error::other("no"))).await;
    failed.unwrap_err();
    catalog.create_project(&default, "", minute(2)).await.unwrap_err();
    catalog.delete_project(&default, minute(2)).await.unwrap_err();
    catalog.rename_project(&default, &project("other"), minute(2)).await.unwrap_err();
    catalog.edit_project(&default, "", minute(2)).await.unwrap();
    let target = AliasTarget::Image(image(1).fingerprint);
    catalog.create_alias(&default, &alias("mine"), "", &target, minute(2)).await.unwrap_err();
    catalog.delete_alias(&default, &alias("none"), minute(2)).await.unwrap_err();
    catalog.edit_image(&default, &image(1).fingerprint, &ImageEdit::default(), minute(2)).await.unwrap();
    catalog.delete_image(&default, &image(2).fingerprint, minute(2)).await.unwrap_err();
    assert_eq!(catalog.last_audit().await.unwrap(), before);
}

async fn an_edit_tells_what_it_changed(home: &Home) {
    let catalog = home.open().await;
    commit(&catalog, "default", image(1), &[]).await;
    let mut properties = image(1).properties;
    properties.remove("os");
    properties.insert("new".into(), "value".into());
    let edit = ImageEdit {
        public: Some(true),
        properties: Some(properties),
        expires_at: Some(Some(minute(0))),
        auto_update: Some(true),
        profiles: Some(vec!["a".into(), "b".into()]),
        update_source: None,
    };
    catalog.edit_image(&project("default"), &image(1).fingerprint, &edit, minute(2)).await.unwrap();
    let never = ImageEdit { expires_at: Some(None), ..ImageEdit::default() };
    catalog.edit_image(&project("default"), &image(1).fingerprint, &never, minute(3)).await.unwrap();
    let [_, edited, endless] = lines(&catalog).await.try_into().unwrap();
    let changed = detail(&[
        ("properties", "new, os"),
        ("expires_at", &minute(0).rfc3339()),
        ("auto_update", "true"),
        ("profiles", "a, b"),
    ]);
    assert_eq!(edited.detail, changed, "it was public before");
    assert_eq!(endless.detail, detail(&[("expires_at", "never")]));
}

async fn lines_are_found(home: &Home) {
    let server = home.open().await;
    let anna = server.acting(Actor::operator("anna"));
    anna.create_project(&project("a"), "", minute(1)).await.unwrap();
    anna.create_project(&project("b"), "", minute(2)).await.unwrap();
    server.create_project(&project("aa"), "", minute(3)).await.unwrap();
    let named = Actor { subject: "0123abcd".into(), ..Actor::operator("%") };
    server.acting(named).delete_project(&project("a"), minute(4)).await.unwrap();
    let find = async |query: AuditQuery| {
        let found = server.audit(&query, 10).await.unwrap();
        found.iter().map(|line| line.at.unix() - minute(0).unix()).map(|s| s / 60).collect::<Vec<_>>()
    };
    let all = AuditQuery::default;
    let actor = |name: &str| AuditQuery { actor: Some(name.into()), ..all() };
    assert_eq!(find(all()).await, [1, 2, 3, 4]);
    assert_eq!(find(AuditQuery { project: Some(project("a")), ..all() }).await, [1, 4]);
    assert_eq!(find(AuditQuery { subject: Some("a".into()), ..all() }).await, [1, 3, 4], "by its beginning");
    assert_eq!(find(AuditQuery { subject: Some("%".into()), ..all() }).await, [0i64; 0], "a text is no pattern");
    assert_eq!(find(actor("anna")).await, [1, 2]);
    assert_eq!(find(actor("ann")).await, [0i64; 0], "names are whole");
    assert_eq!(find(actor("0123")).await, [4], "credentials by their beginning");
    assert_eq!(find(actor("%")).await, [4]);
    assert_eq!(find(AuditQuery { since: Some(minute(2)), until: Some(minute(4)), ..all() }).await, [2, 3]);
    let ids: Vec<i64> = lines(&server).await.iter().map(|line| line.id).collect();
    assert_eq!(find(AuditQuery { after: Some(ids[1]), ..all() }).await, [3, 4]);
    assert!(ids.is_sorted() && server.last_audit().await.unwrap() == ids[3]);
    let page = |lines: Vec<AuditEntry>| lines.iter().map(|line| line.id).collect::<Vec<_>>();
    assert_eq!(page(server.audit(&all(), 2).await.unwrap()), ids[..2]);
    assert_eq!(page(server.audit_end(&all(), 2).await.unwrap()), ids[2..]);
}

async fn old_lines_go_in_pieces(home: &Home) {
    let catalog = home.open().await;
    let download = |number: u32| Download {
        actor: Actor::server().into(),
        project: None,
        subject: number.to_string(),
        at: minute(i64::from(number % 10)),
    };
    let downloads: Vec<Download> = (0..12_000).map(download).collect();
    catalog.note_downloads(&downloads).await.unwrap();
    let last = catalog.last_audit().await.unwrap();
    assert_eq!(catalog.trim_audit(minute(0)).await.unwrap(), 0, "that moment itself stays");
    assert_eq!(catalog.trim_audit(minute(9)).await.unwrap(), 10_800);
    let left = catalog.audit(&AuditQuery::default(), 2000).await.unwrap();
    assert!(left.len() == 1200 && left.iter().all(|line| line.at == minute(9)));
    catalog.trim_audit(Timestamp::from_unix(i64::from(u32::MAX)).unwrap()).await.unwrap();
    catalog.create_project(&project("next"), "", minute(20)).await.unwrap();
    assert!(catalog.last_audit().await.unwrap() > last, "a number is never used again");
}

async fn downloads_name_who_had_them(home: &Home) {
    let catalog = home.open().await;
    commit(&catalog, "default", image(1).private(), &[]).await;
    let before = catalog.last_audit().await.unwrap();
    let revision = catalog.revision().await.unwrap();
    let download = Download {
        actor: Actor::secret(Some([192, 0, 2, 7].into())).into(),
        project: Some(project("default")),
        subject: image(1).fingerprint.to_string(),
        at: minute(5),
    };
    catalog.note_downloads(&[download]).await.unwrap();
    assert_eq!(catalog.revision().await.unwrap(), revision, "nothing that is listed has changed");
    let query = AuditQuery { after: Some(before), ..AuditQuery::default() };
    let [line] = catalog.audit(&query, 10).await.unwrap().try_into().unwrap();
    assert_eq!((line.action.as_str(), line.at), ("image-retrieved", minute(5)));
    assert_eq!((line.actor_kind.as_str(), line.address.as_str()), ("secret", "192.0.2.7"));
    assert_eq!((line.project, line.subject), (Some(project("default")), image(1).fingerprint.to_string()));
}
