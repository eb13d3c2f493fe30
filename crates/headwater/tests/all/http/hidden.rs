//! What somebody may not see is told like what is not there: the same bytes, the same headers, and as soon.

use std::time::{Duration, Instant};

use headwater::auth::{Actor, Manages, Role};
use headwater::http::Connection;
use headwater::http::incoming::Incoming;
use headwater::operations::{NewTask, Operations};
use headwater_formats::names::ProjectName;
use http::{Method, Request};

use super::kit::{Answer, Sample, Server, listed, now};
use super::people::{May, bearer, certificate, from_address};

/// Both answers, and what they were about.
struct Pair {
    what: String,
    hidden: Answer,
    missing: Answer,
}

impl Pair {
    fn check(&self) {
        let Self { what, hidden, missing } = self;
        assert_eq!(hidden.status, missing.status, "{what}: {hidden:?} {missing:?}");
        assert_eq!(hidden.headers, missing.headers, "{what}");
        assert_eq!(hidden.body, missing.body, "{what}: {hidden:?} {missing:?}");
        assert!(hidden.status.is_client_error(), "{what}: {hidden:?}");
    }
}

async fn ask(
    server: &Server,
    from: &Connection,
    method: &Method,
    path: &str,
    headers: &[String],
    body: &str,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for line in headers {
        let (name, value) = line.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    server.send(from, request.body(Incoming::full(body.to_owned())).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_and_missing_are_the_same_bytes() {
    let server = Server::new().await;
    for name in ["team", "other"] {
        server.make_project(name).await;
    }
    let file = Sample::default().unified();
    let hidden = server.publish_in("default", std::slice::from_ref(&file), &["secret"], false).await;
    let missing = "0123456789abcdef".repeat(4);
    server.publish_in("team", &[Sample { os: "Team", ..Sample::default() }.unified()], &["secret"], false).await;
    let joined = certificate("joined", (-1, 1));
    let identity = server.trust(&joined, May::manage("team", Role::Publisher, Manages::All)).await;
    let operations = Operations::new(server.app.catalog.clone(), now);
    let task = NewTask { with_secret: true, ..NewTask::new("Downloading image", ProjectName::new("team").unwrap()) };
    let task = operations.done(&Actor::identity(&identity, None).into(), task, Ok(Default::default())).await.unwrap();
    let nobody_s = "00000000-0000-4000-8000-000000000000";

    let short = |fingerprint: &str| fingerprint[..12].to_owned();
    let mut addresses: Vec<(Method, String, String)> = Vec::new();
    let mut both = |method: Method, form: &str, hidden: &str, missing: &str| {
        addresses.push((method, form.replace("{}", hidden), form.replace("{}", missing)));
    };
    for (hidden, missing) in [(&hidden, &missing), (&short(&hidden), &short(&missing))] {
        for form in
            ["/1.0/images/{}", "/1.0/images/{}/export", "/1.0/images/{}?secret=abc", "/1.0/images/{}/export?secret=abc"]
        {
            both(Method::GET, form, hidden, missing);
        }
        both(Method::PUT, "/1.0/images/{}", hidden, missing);
        both(Method::DELETE, "/1.0/images/{}", hidden, missing);
        both(Method::POST, "/1.0/images/{}/secret", hidden, missing);
        both(Method::POST, "/1.0/images/{}/refresh", hidden, missing);
        both(Method::POST, "/1.0/images/{}/export", hidden, missing);
    }
    for method in [Method::GET, Method::HEAD] {
        both(method.clone(), "/images/{}.tar", &hidden, &missing);
        both(method, "/p/{}/streams/v1/index.json", "team", "nobodys");
    }
    both(Method::GET, "/1.0/images/aliases/{}", "secret", "nobodys");
    for method in [Method::PUT, Method::PATCH, Method::POST, Method::DELETE] {
        both(method, "/1.0/images/aliases/{}", "secret", "nobodys");
    }
    for form in ["images", "images/aliases", "images/aliases/secret", "operations", "events"] {
        both(Method::GET, &format!("/1.0/{form}?project={{}}"), "team", "nobodys");
    }
    for (method, form) in [
        (Method::POST, "images"),
        (Method::POST, "images/aliases"),
        (Method::DELETE, "images/aliases/secret"),
        (Method::PUT, "images/00"),
        (Method::PATCH, "images/00"),
        (Method::DELETE, "images/00"),
        (Method::POST, "images/00/secret"),
    ] {
        both(method, &format!("/1.0/{form}?project={{}}"), "team", "nobodys");
    }
    both(Method::GET, "/1.0/projects/{}", "team", "nobodys");
    for method in [Method::GET, Method::DELETE] {
        both(method, "/1.0/operations/{}", &task.id, nobody_s);
    }
    both(Method::GET, "/1.0/operations/{}/wait", &task.id, nobody_s);
    both(Method::GET, "/1.0/operations/{}/wait?secret=abc", &task.id, nobody_s);
    for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE] {
        both(method, "/1.0/certificates/{}", &joined.fingerprint, &missing);
    }

    let (other, _) = server.token("other", May::be("other", Role::Admin)).await;
    let (nothing, _) = server.token("nothing", May::nothing()).await;
    let body = r#"{"target":"00","name":"new","properties":{}}"#;
    for (number, credentials) in [vec![], vec![bearer(&other)], vec![bearer(&nothing)]].into_iter().enumerate() {
        for (at, (method, hidden, missing)) in addresses.iter().enumerate() {
            // A network of its own for each, so that nobody waits for the wrong secrets of others.
            let from = from_address(&format!("10.{number}.{}.{}", at / 250, at % 250 + 1));
            let what = format!("{method} {hidden} {credentials:?}");
            let hidden = ask(&server, &from, method, hidden, &credentials, body).await;
            let missing = ask(&server, &from, method, missing, &credentials, body).await;
            Pair { what, hidden, missing }.check();
        }
    }
}

/// Ten thousand tries of each kind, in turn, and a second lot of missing ones as the control: what those two differ by is noise.
#[tokio::test(flavor = "multi_thread")]
async fn hidden_and_missing_take_the_same_time() {
    const TRIES: u32 = 10_000;
    const IMAGES: u32 = 100;
    let server = Server::new().await;
    let mut hidden = Vec::new();
    for number in 0..IMAGES {
        let mut new = listed(number);
        new.image.public = false;
        server.app.catalog.commit_image(&new, now(), || Ok(())).await.unwrap();
        hidden.push(format!("/1.0/images/{}", new.image.fingerprint));
    }
    let missing =
        |from: u32| (from..from + IMAGES).map(|n| format!("/1.0/images/{}", listed(n).image.fingerprint)).collect();
    let kinds: [Vec<String>; 3] = [hidden, missing(1000), missing(2000)];
    let mut times = [const { Vec::new() }; 3];
    for attempt in 0..TRIES {
        // Each kind is first, second and third equally often.
        for place in 0..3 {
            let kind = (attempt + place) as usize % 3;
            let path = &kinds[kind][(attempt / 3 % IMAGES) as usize];
            let since = Instant::now();
            let answer = server.get(path, &[]).await;
            times[kind].push(since.elapsed());
            assert_eq!(answer.status, 404);
        }
    }
    // Medians of blocks that were measured at the same time: a busy moment of the machine makes one block slower, not one kind.
    let block = |kind: usize, at: usize| median(times[kind][at * 250..(at + 1) * 250].to_vec()).as_secs_f64();
    let blocks = TRIES as usize / 250;
    let differences = |a: usize, b: usize| {
        let mut all: Vec<f64> = (0..blocks).map(|at| block(a, at) / block(b, at) - 1.0).collect();
        all.sort_by(f64::total_cmp);
        all
    };
    let (found, control) = (differences(0, 1), differences(2, 1));
    let middle = |all: &[f64]| all[all.len() / 2];
    // Half of the control's blocks lie between these.
    let noise = control[blocks * 3 / 4] - control[blocks / 4];
    let allowed = (3.0 * noise).max(0.05) + middle(&control).abs();
    assert!(
        middle(&found).abs() < allowed,
        "hidden ones take {:+.1}% of the time of missing ones, of which {:.1}% can be noise (control {:+.1}%)",
        100.0 * middle(&found),
        100.0 * allowed,
        100.0 * middle(&control),
    );
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
