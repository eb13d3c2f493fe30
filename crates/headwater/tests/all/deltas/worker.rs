//! What a server does all day.

use std::time::{Duration, Instant};

use headwater::catalog::DeltaState::{Ready, Refused};
use headwater::catalog::StoredOperation;
use headwater::deltas::{Settings, Worker};
use headwater::operations::{Cancelled, Operations};
use headwater_formats::lxd::Status;
use tokio_util::sync::CancellationToken;

use super::kit::{Room, SETTINGS, noise, now, squashfs, versions};

struct Running {
    operations: Operations,
    ending: CancellationToken,
    working: tokio::task::JoinHandle<()>,
}

impl Running {
    fn new(room: &Room, settings: Settings) -> Self {
        let (operations, ending) = (Operations::new(room.app.catalog.clone(), now), CancellationToken::new());
        let worker = Worker::new(room.deltas(settings), operations.clone(), 1);
        Self { operations, ending: ending.clone(), working: tokio::spawn(worker.run(ending)) }
    }

    async fn end(self) -> Duration {
        let began = Instant::now();
        self.ending.cancel();
        self.working.await.unwrap();
        began.elapsed()
    }

    /// The operation of the build, as soon as it is like this.
    async fn operation(&self, like: impl Fn(&StoredOperation) -> bool) -> StoredOperation {
        let began = Instant::now();
        loop {
            if let Some(found) = self.operations.list(None).await.unwrap().into_iter().find(&like) {
                return found;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{:?}", self.operations.list(None).await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_is_published_gets_its_delta_by_itself() {
    let room = Room::new().await;
    let server = Running::new(&room, Settings { background: true, ..SETTINGS });
    let roots = versions(2);
    room.publish(1, roots[0].clone()).await;
    let image = room.publish(2, roots[1].clone()).await;
    let operation = server.operation(|operation| operation.status.is_final()).await;
    assert_eq!((operation.description.as_str(), operation.status), ("Building a delta", Status::Success));
    assert_eq!(operation.project.as_str(), "default");
    assert_eq!(operation.resources["images"], [format!("/1.0/images/{image}")]);
    let row = &room.rows().await[0];
    assert_eq!(row.state, Ready);
    let told = |key: &str| operation.metadata[key].as_str().unwrap().to_owned();
    assert_eq!((told("version"), told("base_version")), ("20250102_07:42".into(), "20250101_07:42".into()));
    assert_eq!(told("size"), row.file.unwrap().size.to_string());
    assert!(server.end().await < Duration::from_secs(1));
    room.is_tidy().await;
}

/// A pair that takes long to encode.
async fn slow(room: &Room) {
    let shared = noise(48 << 20, 1);
    room.publish(1, squashfs(&shared)).await;
    room.publish(2, squashfs(&[noise(1 << 20, 2), shared].concat())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_lets_go_within_a_second_and_another_one_goes_on() {
    let room = Room::new().await;
    slow(&room).await;
    let server = Running::new(&room, SETTINGS);
    let told = server.operation(|operation| operation.metadata.contains_key("delta_progress")).await;
    let progress = told.metadata["delta_progress"].as_str().unwrap();
    assert!(progress.starts_with("encoding: ") && progress.ends_with('%'), "{progress}");
    let took = server.end().await;
    assert!(took < Duration::from_millis(1500), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cancels_the_operation_refuses_the_delta() {
    let room = Room::new().await;
    slow(&room).await;
    let server = Running::new(&room, SETTINGS);
    let told = server.operation(|operation| operation.metadata.contains_key("delta_progress")).await;
    assert_eq!(
        server.operations.cancel(&std::sync::Arc::new(headwater::auth::Actor::server()), &told.id).await.unwrap(),
        Cancelled::Yes
    );
    server.operation(|operation| operation.status.is_final()).await;
    let row = &room.rows().await[0];
    let why = "somebody cancelled it; `headwater delta build` makes it";
    assert_eq!((row.state, row.why.as_str()), (Refused, why));
    server.end().await;
    room.is_tidy().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn builds_are_shown_to_those_who_see_the_project() {
    let room = Room::new().await;
    room.app.catalog.create_project(&"team".parse().unwrap(), "", now()).await.unwrap();
    for (number, root) in versions(2).into_iter().enumerate() {
        room.publish_in("team", number + 1, root, false).await;
    }
    let server = Running::new(&room, SETTINGS);
    let operation = server.operation(|operation| operation.status.is_final()).await;
    assert_eq!(operation.project.as_str(), "team");
    server.end().await;
}
