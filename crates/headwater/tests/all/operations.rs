//! Tasks, tokens and news: what the room promises, on servers that share a catalog.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use headwater::auth::{Actor, SecretHash};
use headwater::catalog::{Catalog, Join, Location, Purpose};
use headwater::operations::{AT_A_TIME, Begun, Cancelled, Event, NewTask, NewToken, Operations, Running};
use headwater_formats::lxd::Status;
use headwater_formats::names::ProjectName;
use headwater_formats::timestamp::Timestamp;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::sync::broadcast::Receiver;
use tokio::sync::oneshot;

fn now() -> Timestamp {
    Timestamp::from_unix(1_760_000_000).unwrap()
}

fn actor() -> Arc<Actor> {
    Arc::new(Actor { subject: "hw_abcdefgh".into(), ..Actor::operator("ann") })
}

fn task(description: &str) -> NewTask {
    NewTask::new(description, ProjectName::default_project())
}

fn metadata(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// A catalog in a folder, and servers on it.
struct Home {
    folder: TempDir,
}

impl Home {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    async fn catalog(&self) -> Catalog {
        Catalog::open(&Location::Sqlite(self.folder.path().join("catalog.db"))).await.unwrap()
    }

    async fn server(&self) -> Operations {
        Operations::new(self.catalog().await, now)
    }

    /// A server whose room is kept in order, as the program does it.
    async fn kept(&self) -> Operations {
        let operations = self.server().await;
        tokio::spawn({
            let operations = operations.clone();
            async move { operations.keep().await }
        });
        operations
    }
}

/// Begins a task that does nothing until it is cancelled.
async fn endless(operations: &Operations, task: NewTask) -> Begun {
    let work = |running: Running| async move {
        running.cancelled().cancelled().await;
        Err("stopped".to_owned())
    };
    operations.run(&actor(), task, work).await.unwrap()
}

async fn status(operations: &Operations, begun: &Begun) -> Status {
    operations.get(&begun.id).await.unwrap().unwrap().status
}

async fn wait(operations: &Operations, begun: &Begun) -> headwater::catalog::StoredOperation {
    let waiting = operations.wait(&begun.id, None);
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it ends").unwrap().unwrap()
}

/// The next events of an operation, until it has ended: status and metadata.
async fn events(events: &mut Receiver<Event>, id: &str) -> Vec<(Status, Value)> {
    let mut seen = Vec::new();
    loop {
        let event = tokio::time::timeout(Duration::from_secs(20), events.recv()).await.expect("an event").unwrap();
        if let Event::Operation(operation) = event
            && operation.id == id
        {
            seen.push((operation.status, Value::Object(operation.metadata.clone())));
            if operation.status.is_final() {
                return seen;
            }
        }
    }
}

#[tokio::test]
async fn what_a_task_gives_back_is_how_it_ended() {
    let home = Home::new();
    let operations = home.server().await;
    let image = "ab".repeat(32).parse().unwrap();
    let begun = operations
        .run(&actor(), task("Downloading image").on_image(&image), |_| async {
            Ok(metadata(json!({"fingerprint": "00"})))
        })
        .await
        .unwrap();
    assert_eq!((begun.operation.status, begun.secret.as_deref()), (Status::Running, None));
    let ended = wait(&operations, &begun).await;
    assert_eq!((ended.status, ended.may_cancel, ended.error.as_str()), (Status::Success, false, ""));
    assert_eq!(Value::Object(ended.metadata), json!({"fingerprint": "00"}));
    assert_eq!(ended.resources["images"], [format!("/1.0/images/{image}")]);
    assert_eq!(ended.identity, "hw_abcdefgh");

    let begun = operations.run(&actor(), task("Failing"), |_| async { Err("the disk is full".into()) }).await.unwrap();
    let ended = wait(&operations, &begun).await;
    assert_eq!((ended.status, ended.error.as_str()), (Status::Failure, "the disk is full"));
    assert_eq!(operations.wait("no such", None).await.unwrap(), None);
}

#[tokio::test]
async fn a_task_that_panics_has_failed() {
    let home = Home::new();
    let operations = home.server().await;
    let begun = operations.run(&actor(), task("Panicking"), |_| async { panic!("internals") }).await.unwrap();
    let ended = wait(&operations, &begun).await;
    assert_eq!(ended.status, Status::Failure);
    assert_eq!(ended.error, "the server failed to do this; its log says why");
    // Before its first wait, too.
    fn early(_: Running) -> std::future::Ready<Result<Map<String, Value>, String>> {
        panic!("internals")
    }
    let begun = operations.run(&actor(), task("Panicking"), early).await.unwrap();
    assert_eq!(wait(&operations, &begun).await.status, Status::Failure);
}

#[tokio::test]
async fn what_is_done_already_is_final_at_once() {
    let home = Home::new();
    let operations = home.server().await;
    let done = operations.done(&actor(), task("Deleting image"), Ok(Map::new())).await.unwrap();
    assert_eq!((done.operation.status, done.operation.may_cancel), (Status::Success, false));
    assert_eq!(operations.get(&done.id).await.unwrap(), Some(done.operation));
    let failed = operations.done(&actor(), task("Deleting image"), Err("why".into())).await.unwrap();
    assert_eq!((failed.operation.status, failed.operation.error.as_str()), (Status::Failure, "why"));
    assert_eq!(operations.cancel(&actor(), &done.id).await.unwrap(), Cancelled::Missing);
    assert_eq!(operations.list(None).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_guest_waits_with_a_secret() {
    let home = Home::new();
    let operations = home.server().await;
    let begun = endless(&operations, NewTask { with_secret: true, ..task("Downloading image") }).await;
    let secret = begun.secret.clone().unwrap();
    assert!(secret.len() == 64 && secret.bytes().all(|byte| byte.is_ascii_hexdigit()), "{secret}");
    let catalog = home.catalog().await;
    assert!(catalog.is_operation_secret(&begun.id, &SecretHash::of(&secret)).await.unwrap());
    let shown = format!("{:?}", operations.get(&begun.id).await.unwrap());
    assert!(!shown.contains(&secret), "what is kept does not tell it");
}

#[tokio::test]
async fn waiting_ends_with_the_operation_or_with_patience() {
    let home = Home::new();
    let operations = home.server().await;
    let (done, finish) = oneshot::channel::<()>();
    let begun = operations
        .run(&actor(), task("Waiting"), |_| async move {
            finish.await.map_err(|_| "gone".to_owned())?;
            Ok(Map::new())
        })
        .await
        .unwrap();
    let before = Instant::now();
    let stands = operations.wait(&begun.id, Some(Duration::from_millis(50))).await.unwrap().unwrap();
    assert_eq!(stands.status, Status::Running);
    assert!(before.elapsed() >= Duration::from_millis(50));
    let waiting = tokio::spawn({
        let (operations, id) = (operations.clone(), begun.id.clone());
        async move { operations.wait(&id, Some(Duration::from_secs(60))).await.unwrap().unwrap() }
    });
    tokio::task::yield_now().await;
    done.send(()).unwrap();
    assert_eq!(waiting.await.unwrap().status, Status::Success);
}

#[tokio::test]
async fn cancelled_here_and_from_another_server() {
    let home = Home::new();
    let [here, there] = [home.kept().await, home.kept().await];
    for from in [&here, &there] {
        let begun = endless(&here, task("Downloading image")).await;
        assert_eq!(status(&there, &begun).await, Status::Running);
        assert_eq!(from.cancel(&actor(), &begun.id).await.unwrap(), Cancelled::Yes);
        let ended = wait(&there, &begun).await;
        assert_eq!((ended.status, ended.error.as_str()), (Status::Cancelled, "stopped"));
        assert_eq!(from.cancel(&actor(), &begun.id).await.unwrap(), Cancelled::Missing);
    }
    let firm = endless(&here, NewTask { may_cancel: false, ..task("Firm") }).await;
    assert_eq!(there.cancel(&actor(), &firm.id).await.unwrap(), Cancelled::Refused);
    assert_eq!(status(&here, &firm).await, Status::Running);
    assert_eq!(here.cancel(&actor(), "unknown").await.unwrap(), Cancelled::Missing);
}

#[tokio::test]
async fn a_task_that_does_not_listen_is_dropped() {
    let home = Home::new();
    let operations = home.server().await;
    let dropped = Arc::new(());
    let held = Arc::clone(&dropped);
    let begun = operations
        .run(&actor(), task("Deaf"), |_| async move {
            let _held = held;
            std::future::pending().await
        })
        .await
        .unwrap();
    operations.cancel(&actor(), &begun.id).await.unwrap();
    let ended = wait(&operations, &begun).await;
    assert_eq!(ended.status, Status::Cancelled);
    assert_eq!(Arc::strong_count(&dropped), 1, "what it held is given back");
}

#[tokio::test]
async fn only_so_many_run_at_a_time() {
    let home = Home::new();
    let operations = home.server().await;
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let mut begun = Vec::new();
    for _ in 0..3 * AT_A_TIME {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        let work = move |_| async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(100)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(Map::new())
        };
        begun.push(operations.run(&actor(), task("Working"), work).await.unwrap());
    }
    for one in &begun {
        assert_eq!(wait(&operations, one).await.status, Status::Success);
    }
    assert!((1..=AT_A_TIME).contains(&most.load(Ordering::SeqCst)));
}

#[tokio::test]
async fn one_that_waits_for_its_turn_can_be_cancelled() {
    let home = Home::new();
    let operations = home.server().await;
    let mut busy = Vec::new();
    for _ in 0..AT_A_TIME {
        busy.push(endless(&operations, task("Busy")).await);
    }
    let waiting = endless(&operations, task("Waiting")).await;
    assert_eq!(waiting.operation.status, Status::Pending);
    assert_eq!(operations.cancel(&actor(), &waiting.id).await.unwrap(), Cancelled::Yes);
    let ended = wait(&operations, &waiting).await;
    assert_eq!((ended.status, ended.error.as_str()), (Status::Cancelled, "it was cancelled before it began"));
    let next = endless(&operations, task("Next")).await;
    operations.cancel(&actor(), &busy[0].id).await.unwrap();
    wait(&operations, &busy[0]).await;
    while status(&operations, &next).await != Status::Running {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn listeners_everywhere_are_told_the_same_in_order() {
    let home = Home::new();
    let [here, there] = [home.kept().await, home.kept().await];
    here.done(&actor(), task("Before"), Ok(Map::new())).await.unwrap();
    let mut listeners = [here.subscribe().await.unwrap(), there.subscribe().await.unwrap()];
    let begun = here
        .run(&actor(), task("Downloading image"), |running| async move {
            for percent in 0..100 {
                running.progress("download_progress", format!("{percent}%"));
                tokio::time::sleep(Duration::from_millis(6)).await;
            }
            running.works_on("images", "/1.0/images/00".into());
            Ok(metadata(json!({"fingerprint": "00"})))
        })
        .await
        .unwrap();
    let end = (Status::Success, json!({"fingerprint": "00"}));
    let told = events(&mut listeners[0], &begun.id).await;
    assert_eq!(here.get(&begun.id).await.unwrap().unwrap().status, Status::Success, "kept before it was told");
    assert_eq!(told.first(), Some(&(Status::Running, json!({}))));
    assert_eq!(told.last(), Some(&end));
    let progress = &told[1..told.len() - 1];
    assert!((1..=5).contains(&progress.len()), "a few times a second, not {}", progress.len());
    assert!(progress.iter().all(|(status, metadata)| {
        *status == Status::Running && metadata["download_progress"].as_str().is_some_and(|text| text.ends_with('%'))
    }));
    // The other server knows of no progress, and of nothing twice.
    let told = events(&mut listeners[1], &begun.id).await;
    assert_eq!(told.last(), Some(&end));
    assert!(told.len() <= 2, "{told:?}");
    let ended = there.get(&begun.id).await.unwrap().unwrap();
    assert_eq!(ended.resources["images"], ["/1.0/images/00"]);
}

#[tokio::test]
async fn a_token_waits_until_it_is_used() {
    let home = Home::new();
    let operations = home.server().await;
    let join = Join { name: "laptop".into(), description: String::new(), administrator: true, grants: Vec::new() };
    let token = || NewToken {
        description: "Joining".into(),
        project: ProjectName::default_project(),
        resources: Default::default(),
        metadata: metadata(json!({"request": {"name": "laptop"}})),
        purpose: Purpose::Join(join.clone()),
        expires_at: None,
    };
    let begun = operations.token(&actor(), token()).await.unwrap();
    assert_eq!((begun.operation.status, begun.operation.may_cancel), (Status::Running, true));
    let hash = SecretHash::of(&begun.secret.clone().unwrap());
    let catalog = home.catalog().await;
    assert_eq!(catalog.take_join_token(&hash, now()).await.unwrap(), Some(join.clone()));
    assert_eq!(wait(&operations, &begun).await.status, Status::Success);

    let begun = operations.token(&actor(), token()).await.unwrap();
    assert_eq!(operations.cancel(&actor(), &begun.id).await.unwrap(), Cancelled::Yes);
    assert_eq!(status(&operations, &begun).await, Status::Cancelled);
    let hash = SecretHash::of(&begun.secret.unwrap());
    assert_eq!(catalog.take_join_token(&hash, now()).await.unwrap(), None);
    assert_eq!(operations.cancel(&actor(), &begun.id).await.unwrap(), Cancelled::Missing);
}

#[tokio::test]
async fn the_end_of_the_server_ends_tasks_honestly() {
    let home = Home::new();
    let operations = home.server().await;
    let quick = operations
        .run(&actor(), task("Quick"), |_| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(Map::new())
        })
        .await
        .unwrap();
    let slow = endless(&operations, task("Slow")).await;
    let deaf = operations.run(&actor(), task("Deaf"), |_| std::future::pending()).await.unwrap();
    let waiting = tokio::spawn({
        let (operations, id) = (operations.clone(), slow.id.clone());
        async move { operations.wait(&id, None).await.unwrap().unwrap().status }
    });
    tokio::task::yield_now().await;
    operations.begin_ending();
    tokio::time::timeout(Duration::from_secs(30), operations.keep()).await.expect("the end comes");
    assert!(operations.ended().is_cancelled());
    assert_eq!(status(&operations, &quick).await, Status::Success);
    assert_eq!(status(&operations, &slow).await, Status::Cancelled);
    assert_eq!(status(&operations, &deaf).await, Status::Cancelled);
    assert_eq!(waiting.await.unwrap(), Status::Cancelled);
    let late = operations.run(&actor(), task("Late"), |_| async { Ok(Map::new()) }).await.unwrap();
    assert_eq!(late.operation.status, Status::Failure);
    assert_eq!(late.operation.error, "the server is ending; try again when it is back");
}

#[tokio::test]
async fn who_asks_for_a_task_may_leave_at_any_moment() {
    let home = Home::new();
    let operations = home.server().await;
    for number in 0..40 {
        let work = |_| async { Ok(Map::new()) };
        let who = actor();
        let asking = operations.run(&who, task("Left alone"), work);
        let _ = tokio::time::timeout(Duration::from_micros(number * 100), asking).await;
    }
    // What was begun ends, and nothing is left that seems to run.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let list = operations.list(None).await.unwrap();
        if !list.is_empty() && list.iter().all(|one| one.status == Status::Success) {
            break;
        }
        assert!(Instant::now() < deadline, "{list:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    operations.begin_ending();
    tokio::time::timeout(Duration::from_secs(3), operations.keep()).await.expect("nothing runs any more");
}
