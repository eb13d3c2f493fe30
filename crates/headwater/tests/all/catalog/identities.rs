use headwater::auth::{Actor, Grant, Identity, IdentityId, IdentityKind, Manages, Role, Secret, Viewer};
use headwater::catalog::{AuditQuery, Catalog, CatalogError, Credential, IdentityEdit, NewIdentity};
use headwater_formats::names::ViewName;

use super::{Home, commit, on_both_engines};
use crate::kit::images::{image, minute, project};

on_both_engines! {
    an_identity_is_found_by_its_credential,
    an_expired_one_is_not_known,
    an_expired_one_gives_way,
    a_credential_belongs_to_one,
    grants_are_replaced,
    a_new_credential_takes_the_place_of_the_old_one,
    a_deleted_project_takes_its_grants_along,
    numbers_are_not_used_again,
    images_outlive_who_published_them,
    uses_are_noted,
    a_token_is_bound_to_a_view,
    a_view_is_kept_as_it_was_written,
    a_view_keeps_its_project,
    what_is_done_is_written_down,
}

fn grant(name: &str, role: Role, manages: Manages) -> Grant {
    Grant { project: project(name), role, manages }
}

fn new(credential: Credential) -> NewIdentity {
    NewIdentity {
        credential,
        name: "ci".to_owned(),
        description: String::new(),
        administrator: false,
        grants: Vec::new(),
        view: None,
        expires_at: None,
    }
}

fn certificate(digit: char) -> Credential {
    Credential::Certificate { fingerprint: digit.to_string().repeat(64), der_base64: format!("{digit}AAA") }
}

fn token(secret: &Secret) -> Credential {
    Credential::Token { prefix: secret.prefix().to_owned(), hash: secret.hash() }
}

fn view(name: &str) -> ViewName {
    ViewName::new(name).unwrap()
}

async fn subjects(catalog: &Catalog) -> Vec<String> {
    catalog.identities().await.unwrap().into_iter().map(|identity| identity.subject).collect()
}

async fn an_identity_is_found_by_its_credential(home: &Home) {
    let catalog = home.open().await;
    catalog.create_project(&project("team"), "", minute(0)).await.unwrap();
    let secret = Secret::random().unwrap();
    let both = vec![grant("team", Role::Admin, Manages::Own), grant("default", Role::Publisher, Manages::All)];
    let with = NewIdentity {
        description: "What builds".into(),
        grants: both.clone(),
        expires_at: Some(minute(9)),
        ..new(token(&secret))
    };
    let made = catalog.add_identity(&with, minute(1)).await.unwrap();
    let expected = Identity {
        id: made.id,
        kind: IdentityKind::Token,
        name: "ci".into(),
        description: "What builds".into(),
        subject: secret.prefix().into(),
        certificate: None,
        administrator: false,
        grants: both.into_iter().rev().collect(),
        view: None,
        created_at: minute(1),
        expires_at: Some(minute(9)),
        last_used_at: None,
    };
    assert_eq!(made, expected, "grants come by project");
    let administrator = NewIdentity { administrator: true, ..new(certificate('a')) };
    let administrator = catalog.add_identity(&administrator, minute(2)).await.unwrap();
    assert_eq!((administrator.certificate.as_deref(), administrator.administrator), (Some("aAAA"), true));

    assert_eq!(catalog.identity_by_token(&secret.hash(), minute(3)).await.unwrap().as_ref(), Some(&made));
    assert_eq!(catalog.identity(made.id, minute(3)).await.unwrap().as_ref(), Some(&made));
    let fingerprint = "a".repeat(64);
    let found = catalog.identity_by_certificate(&fingerprint, minute(3)).await.unwrap();
    assert_eq!(found.as_ref(), Some(&administrator));
    assert_eq!(catalog.identities().await.unwrap(), [administrator.clone(), made.clone()]);

    let other = Secret::random().unwrap();
    assert_eq!(catalog.identity_by_token(&other.hash(), minute(3)).await.unwrap(), None);
    assert_eq!(catalog.identity_by_certificate(secret.prefix(), minute(3)).await.unwrap(), None, "a token is none");
    assert_eq!(catalog.identity_by_certificate(&fingerprint[1..], minute(3)).await.unwrap(), None, "nor a part");

    catalog.remove_identity(administrator.id, minute(4)).await.unwrap();
    assert_eq!(catalog.identity_by_certificate(&fingerprint, minute(4)).await.unwrap(), None);
    let again = catalog.remove_identity(administrator.id, minute(5)).await;
    assert!(matches!(again, Err(CatalogError::NoIdentity(_))), "{again:?}");
}

async fn an_expired_one_is_not_known(home: &Home) {
    let catalog = home.open().await;
    let secret = Secret::random().unwrap();
    let id = catalog
        .add_identity(&NewIdentity { expires_at: Some(minute(5)), ..new(token(&secret)) }, minute(0))
        .await
        .unwrap()
        .id;
    catalog
        .add_identity(&NewIdentity { expires_at: Some(minute(5)), ..new(certificate('a')) }, minute(0))
        .await
        .unwrap();
    for (now, known) in [(minute(4), true), (minute(5), false), (minute(6), false)] {
        let found = [
            catalog.identity(id, now).await.unwrap(),
            catalog.identity_by_token(&secret.hash(), now).await.unwrap(),
            catalog.identity_by_certificate(&"a".repeat(64), now).await.unwrap(),
        ];
        assert_eq!(found.map(|found| found.is_some()), [known; 3], "at {now:?}");
    }
    assert_eq!(catalog.identities().await.unwrap().len(), 2, "but listed");
    let edit = IdentityEdit { expires_at: Some(None), ..IdentityEdit::default() };
    assert_eq!(catalog.edit_identity(id, &edit, minute(6)).await.unwrap().expires_at, None);
    assert!(catalog.identity(id, minute(7)).await.unwrap().is_some(), "known again");
}

async fn an_expired_one_gives_way(home: &Home) {
    let catalog = home.open().await;
    let before = NewIdentity { administrator: true, expires_at: Some(minute(5)), ..new(certificate('a')) };
    let before = catalog.add_identity(&before, minute(0)).await.unwrap();
    let after = catalog.add_identity(&new(certificate('a')), minute(4)).await;
    assert!(matches!(after, Err(CatalogError::IdentityExists(_))), "it lives: {after:?}");
    let after = catalog.add_identity(&new(certificate('a')), minute(5)).await.unwrap();
    assert_ne!(before.id, after.id);
    assert_eq!(catalog.identities().await.unwrap(), [after], "and leaves nothing of what it might do");
}

async fn a_credential_belongs_to_one(home: &Home) {
    let catalog = home.open().await;
    catalog.add_identity(&new(certificate('a')), minute(0)).await.unwrap();
    let said = catalog.add_identity(&new(certificate('a')), minute(1)).await.unwrap_err().to_string();
    let fingerprint = "a".repeat(64);
    assert_eq!(said, format!("{fingerprint} is known here already; remove it first, or change what it may do"));

    // Two tokens whose beginning is the same could not be told apart by people.
    let (one, two) = (Secret::random().unwrap(), Secret::random().unwrap());
    catalog.add_identity(&new(token(&one)), minute(0)).await.unwrap();
    let clash = Credential::Token { prefix: one.prefix().to_owned(), hash: two.hash() };
    let refused = catalog.add_identity(&new(clash), minute(1)).await;
    assert!(matches!(&refused, Err(CatalogError::IdentityExists(prefix)) if prefix == one.prefix()), "{refused:?}");
    assert_eq!(catalog.identity_by_token(&two.hash(), minute(1)).await.unwrap(), None, "and nothing is kept of it");

    // A name may be that of several.
    catalog.add_identity(&new(certificate('b')), minute(0)).await.unwrap();
    let nowhere = NewIdentity { grants: vec![grant("nowhere", Role::Admin, Manages::All)], ..new(certificate('c')) };
    let refused = catalog.add_identity(&nowhere, minute(1)).await;
    assert!(matches!(refused, Err(CatalogError::NoProject(_))), "{refused:?}");
    assert_eq!(subjects(&catalog).await, [fingerprint, "b".repeat(64), one.prefix().to_owned()]);
}

async fn grants_are_replaced(home: &Home) {
    let catalog = home.open().await;
    catalog.create_project(&project("team"), "", minute(0)).await.unwrap();
    let id = catalog
        .add_identity(
            &NewIdentity { grants: vec![grant("team", Role::Admin, Manages::All)], ..new(certificate('a')) },
            minute(0),
        )
        .await
        .unwrap()
        .id;
    let name = IdentityEdit { name: Some("laptop".into()), ..IdentityEdit::default() };
    let edited = catalog.edit_identity(id, &name, minute(1)).await.unwrap();
    assert_eq!((edited.name.as_str(), edited.grants.len()), ("laptop", 1), "what is not named stays");
    let other = vec![grant("default", Role::Viewer, Manages::Own)];
    let edit = IdentityEdit { grants: Some(other.clone()), ..IdentityEdit::default() };
    let edited = catalog.edit_identity(id, &edit, minute(2)).await.unwrap();
    assert_eq!(edited.grants, other);
    assert_eq!(catalog.identity(id, minute(2)).await.unwrap(), Some(edited.clone()));
    // All or nothing.
    let wrong = vec![grant("team", Role::Viewer, Manages::Own), grant("nowhere", Role::Viewer, Manages::Own)];
    let edit = IdentityEdit { grants: Some(wrong), administrator: Some(true), ..IdentityEdit::default() };
    let refused = catalog.edit_identity(id, &edit, minute(3)).await;
    assert!(matches!(refused, Err(CatalogError::NoProject(_))), "{refused:?}");
    assert_eq!(catalog.identity(id, minute(3)).await.unwrap(), Some(edited));
    let nobody = catalog.edit_identity(IdentityId(4711), &name, minute(3)).await;
    assert!(matches!(nobody, Err(CatalogError::NoIdentity(_))), "{nobody:?}");
}

async fn a_new_credential_takes_the_place_of_the_old_one(home: &Home) {
    let catalog = home.open().await;
    let secret = Secret::random().unwrap();
    let by_certificate = catalog.add_identity(&new(certificate('a')), minute(0)).await.unwrap();
    catalog.add_identity(&new(certificate('b')), minute(0)).await.unwrap();
    let by_token = catalog.add_identity(&new(token(&secret)), minute(0)).await.unwrap();
    let edit = |credential| IdentityEdit { credential: Some(credential), ..IdentityEdit::default() };

    let edited = catalog.edit_identity(by_certificate.id, &edit(certificate('c')), minute(1)).await.unwrap();
    assert_eq!((edited.id, edited.certificate.as_deref()), (by_certificate.id, Some("cAAA")));
    assert_eq!(catalog.identity_by_certificate(&"a".repeat(64), minute(1)).await.unwrap(), None);
    assert_eq!(catalog.identity_by_certificate(&"c".repeat(64), minute(1)).await.unwrap(), Some(edited));
    let taken = catalog.edit_identity(by_certificate.id, &edit(certificate('b')), minute(2)).await;
    assert!(matches!(taken, Err(CatalogError::IdentityExists(_))), "{taken:?}");

    let fresh = Secret::random().unwrap();
    catalog.edit_identity(by_token.id, &edit(token(&fresh)), minute(1)).await.unwrap();
    assert_eq!(catalog.identity_by_token(&secret.hash(), minute(1)).await.unwrap(), None);
    assert!(catalog.identity_by_token(&fresh.hash(), minute(1)).await.unwrap().is_some());
    let other_kind = catalog.edit_identity(by_token.id, &edit(certificate('d')), minute(2)).await;
    assert!(matches!(other_kind, Err(CatalogError::NoIdentity(_))), "{other_kind:?}");
}

async fn a_deleted_project_takes_its_grants_along(home: &Home) {
    let catalog = home.open().await;
    catalog.create_project(&project("team"), "", minute(0)).await.unwrap();
    let grants = vec![grant("team", Role::Admin, Manages::All), grant("default", Role::Viewer, Manages::Own)];
    let id = catalog.add_identity(&NewIdentity { grants, ..new(certificate('a')) }, minute(0)).await.unwrap().id;
    catalog.delete_project(&project("team"), minute(1)).await.unwrap();
    let left = vec![grant("default", Role::Viewer, Manages::Own)];
    assert_eq!(catalog.identity(id, minute(1)).await.unwrap().unwrap().grants, left);
    catalog.create_project(&project("team"), "", minute(2)).await.unwrap();
    let found = catalog.identity(id, minute(2)).await.unwrap().unwrap();
    assert_eq!(found.grants, left, "a new project of that name is another one");
}

async fn numbers_are_not_used_again(home: &Home) {
    let catalog = home.open().await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let id = catalog.add_identity(&new(certificate('a')), minute(0)).await.unwrap().id;
        assert!(!seen.contains(&id), "{id:?} again");
        seen.push(id);
        catalog.remove_identity(id, minute(1)).await.unwrap();
    }
}

async fn images_outlive_who_published_them(home: &Home) {
    let catalog = home.open().await;
    let publisher = catalog.add_identity(&new(certificate('a')), minute(0)).await.unwrap();
    let stored = commit(&catalog.acting(Actor::identity(&publisher, None)), "default", image(1), &[]).await;
    assert_eq!(stored.published_by, Some(publisher.id));
    catalog.remove_identity(publisher.id, minute(1)).await.unwrap();
    let successor = catalog.add_identity(&new(certificate('a')), minute(2)).await.unwrap();
    let found = catalog.images(&Viewer::guest(), &project("default"), None, 9).await.unwrap();
    assert_eq!(found.iter().map(|stored| stored.published_by).collect::<Vec<_>>(), [None]);
    assert_ne!(successor.id, publisher.id);
}

async fn uses_are_noted(home: &Home) {
    let catalog = home.open().await;
    let one = catalog.add_identity(&new(certificate('a')), minute(0)).await.unwrap().id;
    let two = catalog.add_identity(&new(certificate('b')), minute(0)).await.unwrap().id;
    let revision = catalog.revision().await.unwrap();
    catalog.mark_identities_seen(&[], minute(1)).await.unwrap();
    catalog.mark_identities_seen(&[one, IdentityId(4711)], minute(5)).await.unwrap();
    catalog.mark_identities_seen(&[one], minute(3)).await.unwrap();
    let seen = async |id| catalog.identity(id, minute(9)).await.unwrap().unwrap().last_used_at;
    assert_eq!((seen(one).await, seen(two).await), (Some(minute(5)), None), "it never goes back");
    assert_eq!(catalog.revision().await.unwrap(), revision);
}

async fn a_token_is_bound_to_a_view(home: &Home) {
    let catalog = home.open().await;
    let arm = view("arm");
    let secret = Secret::random().unwrap();
    let bound = NewIdentity { view: Some(arm.clone()), ..new(token(&secret)) };
    let refused = catalog.add_identity(&bound, minute(0)).await.unwrap_err().to_string();
    assert_eq!(refused, "there is no view \"arm\"; `headwater view list` shows the ones there are");
    catalog.create_view(&arm, &project("default"), &"arch=arm64".parse().unwrap(), "", minute(0)).await.unwrap();
    let id = catalog.add_identity(&bound, minute(0)).await.unwrap().id;
    let found = catalog.identity_by_token(&secret.hash(), minute(1)).await.unwrap().unwrap();
    assert_eq!(found.view, Some(arm.clone()));
    let refused = catalog.delete_view(&arm, minute(1)).await.unwrap_err().to_string();
    let why = "the view \"arm\" is what tokens are bound to; revoke them first (`headwater token list` shows them)";
    assert_eq!(refused, why);
    catalog.remove_identity(id, minute(2)).await.unwrap();
    catalog.delete_view(&arm, minute(3)).await.unwrap();
    assert_eq!(catalog.saved_view(&arm).await.unwrap(), None);
}

async fn a_view_is_kept_as_it_was_written(home: &Home) {
    let catalog = home.open().await;
    let (one, two) = (view("one"), view("two"));
    let filter = "alias=a%20b,%C3%A9 arch=amd64,arm64 latest=2 release=12 release=bookworm type=vm".parse().unwrap();
    catalog.create_view(&two, &project("default"), &filter, "What we run", minute(1)).await.unwrap();
    let everything = "".parse().unwrap();
    catalog.create_view(&one, &project("default"), &everything, "", minute(2)).await.unwrap();
    let found = catalog.saved_view(&two).await.unwrap().unwrap();
    assert_eq!((&found.view, found.project.as_str()), (&filter, "default"));
    assert_eq!((found.description.as_str(), found.created_at), ("What we run", minute(1)));
    let listed: Vec<_> = catalog.saved_views().await.unwrap().into_iter().map(|saved| saved.name).collect();
    assert_eq!(listed, [one.clone(), two]);

    let taken = catalog.create_view(&one, &project("default"), &filter, "", minute(3)).await;
    assert!(matches!(taken, Err(CatalogError::ViewExists(_))), "{taken:?}");
    let nowhere = catalog.create_view(&view("three"), &project("nowhere"), &filter, "", minute(3)).await;
    assert!(matches!(nowhere, Err(CatalogError::NoProject(_))), "{nowhere:?}");
    let mut nothing = headwater_formats::view::View::default();
    nothing.parse_segment("os=debian").unwrap();
    nothing.parse_segment("os=alpine").unwrap();
    let refused = catalog.create_view(&view("three"), &project("default"), &nothing, "", minute(3)).await;
    assert!(matches!(refused, Err(CatalogError::EmptyView(_))), "{refused:?}");
    let missing = catalog.delete_view(&view("three"), minute(3)).await;
    assert!(matches!(missing, Err(CatalogError::NoView(_))), "{missing:?}");
}

async fn a_view_keeps_its_project(home: &Home) {
    let catalog = home.open().await;
    let team = project("team");
    catalog.create_project(&team, "", minute(0)).await.unwrap();
    catalog.create_view(&view("all"), &team, &"".parse().unwrap(), "", minute(0)).await.unwrap();
    let refused = catalog.delete_project(&team, minute(1)).await.unwrap_err().to_string();
    let why = "the project \"team\" still has saved views; delete them first (`headwater view list` shows them)";
    assert_eq!(refused, why);
    catalog.delete_view(&view("all"), minute(1)).await.unwrap();
    catalog.delete_project(&team, minute(1)).await.unwrap();
}

async fn what_is_done_is_written_down(home: &Home) {
    let catalog = home.open().await.acting(Actor::operator("anna"));
    let secret = Secret::random().unwrap();
    catalog
        .create_view(&view("arm"), &project("default"), &"arch=arm64".parse().unwrap(), "", minute(1))
        .await
        .unwrap();
    let grants = vec![grant("default", Role::Publisher, Manages::All)];
    let known = catalog.add_identity(&NewIdentity { grants, ..new(certificate('a')) }, minute(2)).await.unwrap();
    let bound = NewIdentity { view: Some(view("arm")), ..new(token(&secret)) };
    let bound = catalog.add_identity(&bound, minute(3)).await.unwrap();
    let edit = IdentityEdit { administrator: Some(true), ..IdentityEdit::default() };
    catalog.edit_identity(known.id, &edit, minute(4)).await.unwrap();
    let edit = IdentityEdit { name: Some("kiosk".into()), ..IdentityEdit::default() };
    catalog.edit_identity(bound.id, &edit, minute(5)).await.unwrap();
    catalog.remove_identity(bound.id, minute(6)).await.unwrap();
    catalog.remove_identity(known.id, minute(7)).await.unwrap();
    catalog.delete_view(&view("arm"), minute(8)).await.unwrap();
    // What is refused leaves no line.
    catalog.remove_identity(known.id, minute(9)).await.unwrap_err();
    catalog.delete_view(&view("arm"), minute(9)).await.unwrap_err();

    let lines = catalog.audit(&AuditQuery::default(), 99).await.unwrap();
    let told: Vec<(&str, &str, String)> = lines
        .iter()
        .map(|line| {
            assert_eq!((line.actor_kind.as_str(), line.actor_name.as_str()), ("operator", "anna"));
            let detail: Vec<String> = line.detail.iter().map(|(key, value)| format!("{key}={value}")).collect();
            (line.action.as_str(), line.subject.as_str(), detail.join(" "))
        })
        .collect();
    let (fingerprint, prefix) = ("a".repeat(64), secret.prefix());
    let expected = [
        ("view-created", "arm", "filter=arch=arm64"),
        ("certificate-created", &fingerprint, "may=default publisher all name=ci"),
        ("token-created", prefix, "may= name=ci view=arm"),
        ("certificate-updated", &fingerprint, "may=administrator name=ci"),
        ("token-updated", prefix, "may= name=kiosk view=arm"),
        ("token-revoked", prefix, "may= name=kiosk view=arm"),
        ("certificate-deleted", &fingerprint, "may=administrator name=ci"),
        ("view-deleted", "arm", ""),
    ]
    .map(|(action, subject, detail)| (action, subject, detail.to_owned()));
    assert_eq!(told, expected);
}
