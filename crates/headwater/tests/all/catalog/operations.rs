use std::collections::BTreeMap;

use headwater::auth::{Actor, Grant, Manages, Role, SecretHash};
use headwater::catalog::{Catalog, Join, OperationClass, Purpose, Push, SECRET_GRACE, StoredOperation};
use headwater_formats::digest::Fingerprint;
use headwater_formats::lxd::Status;
use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;
use serde_json::json;

use super::{Home, on_both_engines};
use crate::kit::images::{bytes, minute, project};

on_both_engines! {
    kept_as_they_were_given,
    what_has_ended_stays_as_it_ended,
    what_is_being_cancelled_can_only_end,
    changes_are_numbered_in_order,
    a_join_token_is_taken_once,
    an_expired_join_token_is_gone_at_the_first_try,
    a_download_secret_is_good_for_a_while_after_its_first_use,
    a_download_secret_opens_one_image_of_one_project,
    a_push_secret_tells_what_was_agreed_until_it_is_used,
    a_cancelled_token_opens_nothing,
    tasks_of_a_dead_server_fail,
    old_operations_are_forgotten,
    one_project_or_all,
    a_project_that_is_renamed_keeps_its_tokens,
}

fn operation(id: &str) -> StoredOperation {
    StoredOperation {
        id: id.to_owned(),
        change: 0,
        class: OperationClass::Task,
        description: "Downloading image".into(),
        project: ProjectName::default_project(),
        created_at: minute(0),
        updated_at: minute(0),
        status: Status::Running,
        resources: BTreeMap::from([("images".to_owned(), vec!["/1.0/images/00".to_owned()])]),
        metadata: json!({"size": "12", "nested": {"list": [1, true, null]}}).as_object().unwrap().clone(),
        may_cancel: true,
        error: String::new(),
        server: "server-1".into(),
        identity: "hw_abcdefgh".into(),
        purpose: None,
        expires_at: None,
    }
}

fn token(id: &str, purpose: Purpose) -> StoredOperation {
    StoredOperation { class: OperationClass::Token, purpose: Some(purpose), ..operation(id) }
}

fn join(name: &str) -> Join {
    let grant = Grant { project: project("team"), role: Role::Publisher, manages: Manages::Own };
    Join { name: name.into(), description: "a laptop".into(), administrator: false, grants: vec![grant] }
}

fn fingerprint(number: u32) -> Fingerprint {
    Fingerprint::from_bytes(bytes(number))
}

fn push(number: u32) -> Push {
    Push {
        fingerprint: fingerprint(number),
        properties: BTreeMap::from([("os".to_owned(), "Debian".to_owned())]),
        public: true,
        auto_update: false,
        expires_at: Some(7),
        profiles: None,
        aliases: Vec::new(),
        published_by: None,
    }
}

fn hash(secret: &str) -> SecretHash {
    SecretHash::of(secret)
}

async fn found(catalog: &Catalog, id: &str) -> StoredOperation {
    catalog.operation(id).await.unwrap().expect("it is there")
}

async fn kept_as_they_were_given(home: &Home) {
    let catalog = home.open().await;
    for (at, mut given) in [
        operation("plain"),
        token("join", Purpose::Join(join("laptop"))),
        token("download", Purpose::Download { fingerprint: fingerprint(1) }),
        token("push", Purpose::Push(push(1))),
        StoredOperation {
            status: Status::Failure,
            error: "why".into(),
            may_cancel: false,
            expires_at: Some(minute(9)),
            updated_at: minute(3),
            ..operation("failed")
        },
    ]
    .into_iter()
    .enumerate()
    {
        given.change = catalog.add_operation(&given, None).await.unwrap();
        assert_eq!(given.change, at as i64 + 1);
        assert_eq!(found(&home.open().await, &given.id).await, given, "another server reads the same");
    }
    assert!(catalog.add_operation(&operation("plain"), None).await.is_err(), "an id is used once");
    for missing in ["", "nothing", "a\0b"] {
        assert_eq!(catalog.operation(missing).await.unwrap(), None);
        assert!(!catalog.is_operation_secret(missing, &hash("secret")).await.unwrap());
    }
    catalog.add_operation(&operation("guest"), Some(&hash("secret"))).await.unwrap();
    assert!(catalog.is_operation_secret("guest", &hash("secret")).await.unwrap());
    assert!(!catalog.is_operation_secret("guest", &hash("other")).await.unwrap());
    assert!(!catalog.is_operation_secret("plain", &hash("secret")).await.unwrap(), "that of another operation");
}

async fn what_has_ended_stays_as_it_ended(home: &Home) {
    let catalog = home.open().await;
    let mut task = operation("1");
    task.change = catalog.add_operation(&task, None).await.unwrap();
    let ended = StoredOperation {
        status: Status::Success,
        updated_at: minute(5),
        metadata: json!({"fingerprint": "00"}).as_object().unwrap().clone(),
        resources: BTreeMap::new(),
        may_cancel: false,
        change: task.change + 1,
        ..task.clone()
    };
    assert!(catalog.update_operation(&ended).await.unwrap());
    assert_eq!(found(&catalog, "1").await, ended);
    for status in [Status::Running, Status::Cancelling, Status::Failure] {
        let late = StoredOperation { status, updated_at: minute(6), ..task.clone() };
        assert!(!catalog.update_operation(&late).await.unwrap(), "{status:?}");
    }
    assert_eq!(found(&catalog, "1").await, ended);
    assert_eq!(catalog.last_operation_change().await.unwrap(), ended.change, "what changed nothing has no number");
    assert!(!catalog.update_operation(&operation("unknown")).await.unwrap());
}

async fn what_is_being_cancelled_can_only_end(home: &Home) {
    let catalog = home.open().await;
    let pending = StoredOperation { status: Status::Pending, ..operation("1") };
    catalog.add_operation(&pending, None).await.unwrap();
    let with = |status| StoredOperation { status, ..pending.clone() };
    assert!(catalog.update_operation(&with(Status::Cancelling)).await.unwrap());
    // The server that runs it did not know yet.
    assert!(!catalog.update_operation(&with(Status::Running)).await.unwrap());
    assert_eq!(found(&catalog, "1").await.status, Status::Cancelling);
    assert!(catalog.update_operation(&with(Status::Cancelled)).await.unwrap());
    assert_eq!(found(&catalog, "1").await.status, Status::Cancelled);
}

async fn changes_are_numbered_in_order(home: &Home) {
    let catalogs = [home.open().await, home.open().await];
    let mut writers = Vec::new();
    for writer in 0..8 {
        let catalog = catalogs[writer % 2].clone();
        writers.push(tokio::spawn(async move {
            for number in 0..5 {
                let mut task = operation(&format!("{writer}-{number}"));
                let added = catalog.add_operation(&task, None).await.unwrap();
                task.status = Status::Success;
                assert!(catalog.update_operation(&task).await.unwrap());
                assert!(found(&catalog, &task.id).await.change > added);
            }
        }));
    }
    // Who follows while they write misses none: a number that shows comes after all smaller ones.
    let mut last = 0;
    let mut ended = 0;
    while ended < 40 {
        let page = catalogs[0].operations_changed(last, 7).await.unwrap();
        assert!(page.len() <= 7);
        for changed in page {
            assert!(changed.change > last, "in the order of their changes");
            last = changed.change;
            ended += usize::from(changed.status == Status::Success);
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!((last, catalogs[1].last_operation_change().await.unwrap()), (80, 80));
    assert_eq!(catalogs[1].operations_changed(last, 7).await.unwrap(), []);
}

async fn a_join_token_is_taken_once(home: &Home) {
    let catalogs = [home.open().await, home.open().await];
    for round in 0..5 {
        let (id, secret) = (format!("id-{round}"), format!("secret-{round}"));
        let made = token(&id, Purpose::Join(join(&id)));
        let made = StoredOperation { expires_at: Some(minute(10)), ..made };
        catalogs[0].add_operation(&made, Some(&hash(&secret))).await.unwrap();
        let mut takers = Vec::new();
        for taker in 0..6 {
            let (catalog, secret) = (catalogs[taker % 2].clone(), secret.clone());
            takers.push(tokio::spawn(async move { catalog.take_join_token(&hash(&secret), minute(9)).await.unwrap() }));
        }
        let mut taken = Vec::new();
        for taker in takers {
            taken.extend(taker.await.unwrap());
        }
        assert_eq!(taken, [join(&id)], "one of six has it, whole");
        let left = found(&catalogs[0], &id).await;
        assert_eq!((left.status, left.may_cancel, left.updated_at), (Status::Success, false, minute(9)));
    }
    assert_eq!(catalogs[0].take_join_token(&hash("another"), minute(9)).await.unwrap(), None);
}

async fn an_expired_join_token_is_gone_at_the_first_try(home: &Home) {
    let catalog = home.open().await;
    let made = StoredOperation { expires_at: Some(minute(10)), ..token("1", Purpose::Join(join("late"))) };
    catalog.add_operation(&made, Some(&hash("secret"))).await.unwrap();
    assert_eq!(catalog.take_join_token(&hash("secret"), minute(10)).await.unwrap(), None);
    let left = found(&catalog, "1").await;
    assert_eq!((left.status, left.error.as_str()), (Status::Failure, "it has expired"));
    assert_eq!(
        catalog.take_join_token(&hash("secret"), minute(5)).await.unwrap(),
        None,
        "a clock set back helps nobody"
    );
}

async fn a_download_secret_is_good_for_a_while_after_its_first_use(home: &Home) {
    let catalogs = [home.open().await, home.open().await];
    let image = fingerprint(1);
    let made = StoredOperation { expires_at: Some(minute(60)), ..token("1", Purpose::Download { fingerprint: image }) };
    catalogs[0].add_operation(&made, Some(&hash("secret"))).await.unwrap();
    let opens = async |server: usize, now: Timestamp| {
        catalogs[server].use_download_secret(&project("default"), &image, &hash("secret"), now).await.unwrap()
    };
    assert_eq!(found(&catalogs[0], "1").await.status, Status::Running, "it waits as long as nobody comes");
    let first = minute(59);
    assert!(opens(0, first).await);
    assert_eq!(found(&catalogs[1], "1").await.status, Status::Success);
    assert!(opens(1, first.plus_seconds(1)).await, "for the file after the image, on another server");
    assert!(opens(0, first.plus_seconds(SECRET_GRACE - 1)).await, "though its time is over for a first use");
    assert!(!opens(0, first.plus_seconds(SECRET_GRACE)).await);
    assert!(!opens(1, first.plus_seconds(SECRET_GRACE + 1)).await);

    let made = StoredOperation { expires_at: Some(minute(60)), ..token("2", Purpose::Download { fingerprint: image }) };
    catalogs[0].add_operation(&made, Some(&hash("unused"))).await.unwrap();
    let unused = hash("unused");
    assert!(!catalogs[0].use_download_secret(&project("default"), &image, &unused, minute(60)).await.unwrap());
}

async fn a_download_secret_opens_one_image_of_one_project(home: &Home) {
    let catalog = home.open().await;
    let image = fingerprint(1);
    let made = StoredOperation { project: project("team"), ..token("1", Purpose::Download { fingerprint: image }) };
    catalog.add_operation(&made, Some(&hash("secret"))).await.unwrap();
    catalog.add_operation(&token("2", Purpose::Join(join("other"))), Some(&hash("join"))).await.unwrap();
    let opens = async |place: &str, image: u32, secret: &str| {
        let (place, image) = (project(place), fingerprint(image));
        catalog.use_download_secret(&place, &image, &hash(secret), minute(1)).await.unwrap()
    };
    assert!(!opens("default", 1, "secret").await);
    assert!(!opens("team", 2, "secret").await);
    assert!(!opens("team", 1, "secret2").await);
    assert!(!opens("default", 1, "join").await, "a token of another kind");
    assert_eq!(found(&catalog, "1").await.status, Status::Running, "a wrong use is none");
    assert!(opens("team", 1, "secret").await);
    assert!(!opens("team", 2, "secret").await);
}

async fn a_push_secret_tells_what_was_agreed_until_it_is_used(home: &Home) {
    let catalog = home.open().await;
    let made = StoredOperation { expires_at: Some(minute(10)), ..token("1", Purpose::Push(push(1))) };
    catalog.add_operation(&made, Some(&hash("secret"))).await.unwrap();
    let agreed = async |place: &str, image: u32, now: i64| {
        catalog.push_secret(&project(place), &fingerprint(image), &hash("secret"), minute(now)).await.unwrap()
    };
    assert_eq!(agreed("default", 1, 9).await, Some(push(1)));
    assert_eq!(agreed("default", 1, 9).await, Some(push(1)), "a second try of an upload that broke off");
    assert_eq!(agreed("default", 2, 9).await, None);
    assert_eq!(agreed("team", 1, 9).await, None);
    assert_eq!(agreed("default", 1, 10).await, None, "it has expired");
    let secret = hash("secret");
    assert!(!catalog.use_download_secret(&project("default"), &fingerprint(1), &secret, minute(1)).await.unwrap());
    assert_eq!(catalog.take_join_token(&secret, minute(1)).await.unwrap(), None);
    assert_eq!(agreed("default", 1, 9).await, Some(push(1)), "that did not end it");
    catalog.end_push_token(&secret, minute(9)).await.unwrap();
    assert_eq!(agreed("default", 1, 9).await, None);
    assert_eq!(found(&catalog, "1").await.status, Status::Success);
    catalog.end_push_token(&hash("unknown"), minute(9)).await.unwrap();
}

async fn a_cancelled_token_opens_nothing(home: &Home) {
    let catalog = home.open().await;
    let image = fingerprint(1);
    for (id, purpose) in [
        ("join", Purpose::Join(join("laptop"))),
        ("download", Purpose::Download { fingerprint: image }),
        ("push", Purpose::Push(push(1))),
    ] {
        let mut made = token(id, purpose);
        catalog.add_operation(&made, Some(&hash(id))).await.unwrap();
        (made.status, made.may_cancel) = (Status::Cancelled, false);
        assert!(catalog.acting(Actor::operator("ann")).update_operation(&made).await.unwrap());
    }
    let default = project("default");
    assert_eq!(catalog.take_join_token(&hash("join"), minute(1)).await.unwrap(), None);
    assert!(!catalog.use_download_secret(&default, &image, &hash("download"), minute(1)).await.unwrap());
    assert_eq!(catalog.push_secret(&default, &image, &hash("push"), minute(1)).await.unwrap(), None);
    for id in ["join", "download", "push"] {
        assert_eq!(found(&catalog, id).await.status, Status::Cancelled);
    }
}

async fn tasks_of_a_dead_server_fail(home: &Home) {
    let catalog = home.open().await;
    let on = |id: &str, server: &str| StoredOperation { server: server.into(), ..operation(id) };
    let mut ended = on("ended", "dead");
    catalog.add_operation(&ended, None).await.unwrap();
    ended.status = Status::Success;
    catalog.update_operation(&ended).await.unwrap();
    catalog.add_operation(&on("running", "dead"), None).await.unwrap();
    let secret = StoredOperation { server: "dead".into(), ..token("token", Purpose::Join(join("laptop"))) };
    catalog.add_operation(&secret, None).await.unwrap();
    catalog.add_operation(&on("elsewhere", "alive"), None).await.unwrap();
    catalog.server_seen("alive", minute(2), minute(0)).await.unwrap();
    assert_eq!(found(&catalog, "running").await.status, Status::Running, "not dead yet: who begins a task is alive");
    let before = catalog.last_operation_change().await.unwrap();
    catalog.server_seen("another", minute(3), minute(1)).await.unwrap();
    let changed = catalog.operations_changed(before, 10).await.unwrap();
    let [failed] = changed.as_slice() else { panic!("{changed:?}") };
    assert_eq!((failed.id.as_str(), failed.status, failed.updated_at), ("running", Status::Failure, minute(3)));
    assert_eq!(failed.error, "the server that did this ended before it was done; begin it again");
    assert!(!failed.may_cancel);
    assert_eq!(found(&catalog, "ended").await.status, Status::Success);
    assert_eq!(found(&catalog, "token").await.status, Status::Running, "tokens are good on every server");
    assert_eq!(found(&catalog, "elsewhere").await.status, Status::Running);
    let late = StoredOperation { status: Status::Success, ..on("running", "dead") };
    assert!(!catalog.update_operation(&late).await.unwrap(), "it was only asleep: too late");
    // The dead one is not there any more; seen again, it is a server like others.
    catalog.server_seen("dead", minute(4), minute(1)).await.unwrap();
    catalog.add_operation(&on("again", "dead"), None).await.unwrap();
    catalog.server_seen("alive", minute(4), minute(4)).await.unwrap();
    assert_eq!(found(&catalog, "again").await.status, Status::Running, "seen in minute 4");
    catalog.server_seen("alive", minute(5), minute(5)).await.unwrap();
    assert_eq!(found(&catalog, "again").await.status, Status::Failure);
}

async fn old_operations_are_forgotten(home: &Home) {
    let catalog = home.open().await;
    let at = |id: &str, status, minutes| StoredOperation { status, updated_at: minute(minutes), ..operation(id) };
    for one in [
        at("long ago", Status::Success, 1),
        at("just now", Status::Failure, 50),
        at("runs", Status::Running, 1),
        StoredOperation { expires_at: Some(minute(60)), ..token("expired", Purpose::Join(join("a"))) },
        StoredOperation { expires_at: Some(minute(61)), ..token("waits", Purpose::Join(join("b"))) },
        token("waits for ever", Purpose::Join(join("c"))),
    ] {
        catalog.add_operation(&one, None).await.unwrap();
    }
    assert_eq!(catalog.forget_operations(minute(1), minute(59)).await.unwrap(), 0);
    assert_eq!(catalog.forget_operations(minute(50), minute(60)).await.unwrap(), 2);
    let left: Vec<String> = catalog.operations(None).await.unwrap().into_iter().map(|one| one.id).collect();
    assert_eq!(left, ["just now", "runs", "waits", "waits for ever"]);
    assert_eq!(catalog.last_operation_change().await.unwrap(), 6, "numbers are never given again");
}

async fn one_project_or_all(home: &Home) {
    let catalog = home.open().await;
    for (id, place, created, status) in [
        ("c", "default", 3, Status::Running),
        ("a", "team", 1, Status::Success),
        ("b", "team", 2, Status::Pending),
        ("d", "team", 2, Status::Cancelled),
    ] {
        let created_at = minute(created);
        let one = StoredOperation { project: project(place), created_at, status, ..operation(id) };
        catalog.add_operation(&one, None).await.unwrap();
    }
    let ids = async |place: Option<&str>| {
        let place = place.map(project);
        let found = catalog.operations(place.as_ref()).await.unwrap();
        found.into_iter().map(|one| one.id).collect::<String>()
    };
    assert_eq!(ids(None).await, "abdc");
    assert_eq!(ids(Some("team")).await, "abd");
    assert_eq!(ids(Some("default")).await, "c");
    assert_eq!(ids(Some("nowhere")).await, "");
}

async fn a_project_that_is_renamed_keeps_its_tokens(home: &Home) {
    let catalog = home.open().await;
    catalog.create_project(&project("team"), "", minute(0)).await.unwrap();
    let image = fingerprint(1);
    let made = StoredOperation { project: project("team"), ..token("1", Purpose::Download { fingerprint: image }) };
    catalog.add_operation(&made, Some(&hash("secret"))).await.unwrap();
    catalog.rename_project(&project("team"), &project("crew"), minute(1)).await.unwrap();
    assert!(!catalog.use_download_secret(&project("team"), &image, &hash("secret"), minute(2)).await.unwrap());
    assert!(catalog.use_download_secret(&project("crew"), &image, &hash("secret"), minute(2)).await.unwrap());
}
