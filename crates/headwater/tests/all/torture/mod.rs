//! Every way out of the real server at once, and every byte of every answer compared with what it has to be.
//!
//! `HEADWATER_TORTURE` is how many requests are made (`./dev torture` makes 10,000), and `HEADWATER_TORTURE_SEED` repeats the
//! choices of a run: who asks for what in which way, not how the answers and the sweeps fall between each other.

mod dice;
mod plan;
mod things;
mod wire;

use std::collections::BTreeSet;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use self::dice::Dice;
use self::plan::Case;
use self::things::{Life, Made, NO_FILE, Thing, noise};
use self::wire::{Answer, Door, Http1, Manner, Request};
use crate::cli::kit::House;
use crate::http::private_streams::{paths, resolved};

/// Requests that the usual run of the tests makes.
const SOME: usize = 600;
/// Clients that ask at the same time.
const CLIENTS: usize = 6;
/// The agent whose documents are read.
const AGENT: &str = "LXD 5.0.2 (Linux; x86_64; 6.1; Debian GNU/Linux; 12)";

/// What all clients share.
struct Field {
    door: Door,
    steady: Vec<Arc<Thing>>,
    /// Things whose images are deleted and swept meanwhile.
    passing: Mutex<Vec<Arc<Thing>>>,
    left: AtomicUsize,
    over: AtomicBool,
    wrong: Mutex<Vec<String>>,
    counts: [AtomicUsize; 4],
}

impl Field {
    fn take(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
            && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    fn thing(&self, dice: &mut Dice) -> Arc<Thing> {
        let passing = self.passing.lock().unwrap();
        if !passing.is_empty() && dice.percent(25) {
            return Arc::clone(dice.pick(&passing));
        }
        Arc::clone(dice.pick(&self.steady))
    }

    fn note(&self, over: &str, case: &Case, outcome: std::io::Result<Answer>) {
        let judged = match outcome {
            Ok(answer) => {
                let count = match answer.status {
                    200 => 0,
                    206 => 1,
                    404 if case.thing.life.is_some() => 3,
                    _ => 2,
                };
                self.counts[count].fetch_add(1, Ordering::Relaxed);
                case.judge(&answer)
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(what) = judged {
            let mut wrong = self.wrong.lock().unwrap();
            wrong.push(format!("{over}: {:?} {:?}: {what}", case.request, case.manner));
            if wrong.len() >= 20 {
                self.over.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// The program as a server, its log in a file.
struct Serving {
    child: Child,
    log: std::path::PathBuf,
}

impl Serving {
    fn start(house: &House) -> (Self, Door) {
        let log = house.folder.path().join("log");
        let mut command = house.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
        let mut serving = Self { child: command.spawn().unwrap(), log };
        let begun = Instant::now();
        let address = loop {
            let said = serving.said();
            // A server that is started on data that is there says where it listens in its log only.
            if let Some(at) = said.find("127.0.0.1:")
                && said.contains("listening")
            {
                let digits = |c: char| !c.is_ascii_digit() && c != '.' && c != ':';
                let end = said[at..].find(digits).unwrap_or(said.len() - at);
                break said[at..at + end].trim_end_matches([':', '.']).parse().unwrap();
            }
            let alive = serving.child.try_wait().unwrap().is_none();
            assert!(alive && begun.elapsed() < Duration::from_secs(30), "{said}");
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(house.data().join("tls/server.crt")).unwrap()).unwrap();
        (serving, Door { address, roots })
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Nothing is left of what was asked, and it ends in peace.
    fn end(mut self, files_before: usize) {
        let begun = Instant::now();
        // Connections to the catalog may come and go.
        while self.open_files() > files_before + 24 {
            assert!(begun.elapsed() < Duration::from_secs(20), "{} files stay open", self.open_files());
            std::thread::sleep(Duration::from_millis(100));
        }
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{}", self.said());
        let said = self.said();
        assert!(!said.contains("panicked") && !said.contains("ERROR"), "{said}");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn publish(house: &House, name: &str, made: &Made, options: &[&str]) {
    let first = house.file(&format!("{name}.tar"), &made.metadata);
    let root = made.root.as_ref().map(|root| house.file(&format!("{name}.squashfs"), root));
    let mut arguments = vec!["publish", &first];
    arguments.extend(root.as_deref());
    arguments.extend(["--format", "json"]);
    arguments.extend(options);
    let json = house.run(&arguments).json();
    assert_eq!(json["fingerprint"], made.fingerprint(), "{json}");
}

/// Asks once, over TLS.
async fn fetch(door: &Door, path: &str, headers: &[(&'static str, &str)]) -> Answer {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let request = Request { method: "GET", path: path.to_owned(), headers };
    let mut connection = door.http1(true).await.unwrap();
    connection.send(std::slice::from_ref(&request)).await.unwrap();
    connection.answer(&request, Manner::Quickly).await.unwrap()
}

/// The boundary that a multipart answer says it has.
fn boundary(answer: &Answer) -> String {
    let content_type = answer.headers["content-type"].to_str().unwrap();
    content_type.strip_prefix("multipart/form-data; boundary=").unwrap().to_owned()
}

/// All that stays as it is: files, exports, signed addresses, documents, answers of the API, and what is not there.
async fn steady(house: &House, door: &Door, dice: &mut Dice) -> Vec<Arc<Thing>> {
    let (unified, split) =
        (Made::unified("Still", &noise(dice, 700_000)), Made::split("Quiet", &noise(dice, 2_500_000)));
    let (listed, small) = (Made::split("Calm", &noise(dice, 300_000)), Made::unified("Small", b"few"));
    let hidden = Made::split("Hidden", &noise(dice, 400_000));
    publish(house, "still", &unified, &["--public"]);
    publish(house, "quiet", &split, &["--public"]);
    for project in ["calm", "team"] {
        house.run(&["project", "create", project]).ok();
    }
    publish(house, "calm", &listed, &["--public", "--project", "calm", "--alias", "calm-one"]);
    publish(house, "small", &small, &["--public", "--project", "calm"]);
    publish(house, "hidden", &hidden, &["--project", "team"]);
    let mut things: Vec<Thing> = [&unified, &split, &listed, &small].into_iter().flat_map(Made::files).collect();

    things.push(Thing::export(&unified.metadata));
    let path = format!("/1.0/images/{}/export", split.fingerprint());
    let (metadata, root) = (&split.metadata, split.root.as_ref().unwrap());
    things.push(Thing::multipart(metadata, root, &boundary(&fetch(door, &path, &[]).await)));

    let token = house.run(&["token", "create", "reader", "--project", "team", "--format", "json"]).json();
    let prefix = format!("/t/{}", token["token"].as_str().unwrap());
    let images = fetch(door, &format!("{prefix}/streams/v1/images.json"), &[("User-Agent", AGENT)]).await;
    let mut signed = 0;
    for path in paths(&serde_json::from_slice(&images.body).unwrap()) {
        for file in hidden.files() {
            if file.path.rsplit_once('/').unwrap().1 == path.rsplit_once('/').unwrap().1 {
                things.push(file.signed(resolved(&prefix, &path)));
                signed += 1;
            }
        }
    }
    assert_eq!(signed, 2, "{:?}", String::from_utf8_lossy(&images.body));
    for file in hidden.files() {
        things.push(Thing::fixed(file.path, 404, "text/plain; charset=utf-8", NO_FILE.to_vec()));
    }

    let tags = Arc::default();
    for name in ["index.json", "images.json"] {
        let path = format!("/p/calm/streams/v1/{name}");
        let plain = fetch(door, &path, &[("User-Agent", AGENT)]).await.body;
        let document: Value = serde_json::from_slice(&plain).unwrap();
        if name == "images.json" {
            let listed: BTreeSet<String> = paths(&document).into_iter().map(|path| format!("/{path}")).collect();
            let meant = |thing: &Thing| listed.contains(&thing.path);
            assert!(
                Thing::clone(&things[3]).path.ends_with(".tar") && meant(&things[3]) && meant(&things[4]),
                "{listed:?}"
            );
        }
        things.push(Thing::document(&path, AGENT, &plain, false, &tags));
        things.push(Thing::document(&path, AGENT, &plain, true, &tags));
    }
    for (path, status, words) in [
        ("/1.0".to_owned(), 200, "api_extensions"),
        ("/1.0/images?project=calm".to_owned(), 200, listed_path(&listed).as_str()),
        ("/1.0/images?project=calm&recursion=1".to_owned(), 200, "\"os\":\"Calm\""),
        (format!("/1.0/images/{}?project=calm", listed.fingerprint()), 200, "\"os\":\"Calm\""),
        ("/1.0/images/aliases/calm-one?project=calm".to_owned(), 200, listed.fingerprint().as_str()),
        (format!("/1.0/images/{}", "0".repeat(64)), 404, "Image not found"),
    ] {
        let answer = fetch(door, &path, &[]).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status == status && text.contains(words), "{path}: {text}");
        let etag = answer.headers.get("etag").map(|tag| tag.to_str().unwrap().to_owned());
        things.push(Thing { etag, ..Thing::fixed(path, status, "application/json", answer.body) });
    }
    things.into_iter().map(Arc::new).collect()
}

fn listed_path(made: &Made) -> String {
    format!("/1.0/images/{}", made.fingerprint())
}

/// Whether the store holds a file.
fn stored(house: &House, thing: &Thing) -> bool {
    let digest = thing.etag.as_ref().unwrap().trim_matches('"').to_owned();
    let mut folders = vec![house.data().join("blobs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            } else if entry.file_name().to_string_lossy() == digest {
                return true;
            }
        }
    }
    false
}

/// Deletes an image, and sweeps until its files are gone.
fn remove(house: &House, made: &Made, life: &Life) {
    life.set(1);
    house.run(&["image", "delete", &made.fingerprint()]).ok();
    let files = made.files();
    for _ in 0..40 {
        house.run(&["gc", "--grace", "0s"]).ok();
        if !files.iter().any(|file| stored(house, file)) {
            life.set(2);
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("the files of {} are not swept", made.fingerprint());
}

/// Images that come and go while others are read: each is published, deleted after a while, and swept.
fn coming_and_going(house: &House, field: &Field, mut dice: Dice) {
    let api_gone = field.steady.iter().find(|thing| thing.path.ends_with(&"0".repeat(64))).unwrap().bytes.clone();
    let mut here: Vec<(Made, Arc<Life>)> = Vec::new();
    while !field.over.load(Ordering::Relaxed) {
        let os = format!("Passing{}", dice.below(1_000_000_000));
        let about = *dice.pick(&[20_000, 900_000, 3_000_000]);
        let made = if dice.percent(50) {
            Made::unified(&os, &noise(&mut dice, about))
        } else {
            Made::split(&os, &noise(&mut dice, about))
        };
        publish(house, "passing", &made, &["--public"]);
        let life = Arc::new(Life::default());
        let mut things: Vec<Thing> = made.files();
        if made.root.is_none() {
            things.push(Thing { gone: Arc::clone(&api_gone), ..Thing::export(&made.metadata) });
        }
        let mut passing = field.passing.lock().unwrap();
        passing.extend(things.into_iter().map(|thing| Arc::new(Thing { life: Some(Arc::clone(&life)), ..thing })));
        // Of those that are gone, some are asked for once more.
        let surplus = passing.len().saturating_sub(24);
        passing.drain(..surplus);
        drop(passing);
        here.push((made, life));
        while here.len() > 3 || (!here.is_empty() && dice.percent(40)) {
            let (made, life) = here.remove(0);
            remove(house, &made, &life);
        }
    }
}

/// Asks until there is nothing left to ask.
async fn client(field: Arc<Field>, mut dice: Dice) {
    let mut kept: [Option<Http1>; 2] = [None, None];
    let mut multiplexed = None;
    while field.take() {
        let mut cases: Vec<Case> = Vec::new();
        let way = dice.below(3);
        let several = if dice.percent(30) { 1 + dice.below(5) } else { 0 };
        for number in 0..=several {
            let mut thing = field.thing(&mut dice);
            while way == 0 && !thing.plain {
                thing = field.thing(&mut dice);
            }
            // The first one is counted already.
            if number == 0 || field.take() {
                cases.push(Case::of(&thing, &mut dice));
            }
        }
        if way == 2 {
            if multiplexed.is_none() || dice.percent(10) {
                multiplexed = field.door.http2().await.ok();
            }
            let Some(sender) = &multiplexed else {
                field.wrong.lock().unwrap().push("an HTTP/2 connection is refused".to_owned());
                return;
            };
            let answers = cases.iter().map(|case| {
                let mut sender = sender.clone();
                async move { wire::http2(&mut sender, &case.request, case.manner).await }
            });
            let answers = futures_util::future::join_all(answers).await;
            for (case, answer) in cases.iter().zip(answers) {
                field.note("HTTP/2", case, answer);
            }
            continue;
        }
        let name = ["plain HTTP/1.1", "HTTP/1.1 over TLS"][way];
        let connection = kept[way].take().filter(|_| dice.percent(85));
        let connection = match connection {
            Some(connection) => Ok(connection),
            None => field.door.http1(way == 1).await,
        };
        let mut connection = match connection {
            Ok(connection) => connection,
            Err(error) => {
                field.wrong.lock().unwrap().push(format!("{name}: no connection: {error}"));
                return;
            }
        };
        // What comes after an abort is never read.
        if let Some(end) = cases.iter().position(|case| matches!(case.manner, Manner::Abort(_))) {
            let unread = cases.split_off(end + 1).len();
            field.left.fetch_add(unread, Ordering::Relaxed);
        }
        let requests: Vec<Request> = cases.iter().map(|case| case.request.clone()).collect();
        let mut open = connection.send(&requests).await.is_ok();
        for case in &cases {
            let answer = connection.answer(&case.request, case.manner).await;
            open &= answer.as_ref().is_ok_and(|answer| !answer.headers.contains_key("connection"));
            open &= !matches!(case.manner, Manner::Abort(_));
            field.note(name, case, answer);
        }
        kept[way] = open.then_some(connection);
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn every_byte_is_right_whatever_is_asked_for_while_images_come_and_go() {
    // A hasher's keys are new in every process.
    let seed = number("HEADWATER_TORTURE_SEED").unwrap_or_else(|| RandomState::new().hash_one(()));
    let requests = number("HEADWATER_TORTURE").map_or(SOME, |number| number as usize);
    eprintln!("torture: {requests} requests, HEADWATER_TORTURE_SEED={seed}");
    let house = House::new();
    house.run(&["project", "create", "first"]).ok();
    let (serving, door) = Serving::start(&house);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut dice = Dice::new(seed);
    let steady = runtime.block_on(steady(&house, &door, &mut dice));
    let files_before = serving.open_files();
    let field = Arc::new(Field {
        door,
        steady,
        passing: Mutex::default(),
        left: AtomicUsize::new(requests),
        over: AtomicBool::new(false),
        wrong: Mutex::default(),
        counts: Default::default(),
    });
    let began = Instant::now();
    std::thread::scope(|scope| {
        let churn = scope.spawn(|| coming_and_going(&house, &field, Dice::new(seed ^ 0xdead_beef)));
        runtime.block_on(async {
            let clients = (0..CLIENTS).map(|at| {
                let dice = Dice::new(seed.wrapping_mul(31).wrapping_add(at as u64 + 1));
                tokio::spawn(client(Arc::clone(&field), dice))
            });
            for ended in futures_util::future::join_all(clients).await {
                ended.unwrap();
            }
        });
        field.over.store(true, Ordering::Relaxed);
        churn.join().unwrap();
    });
    let wrong = field.wrong.lock().unwrap();
    assert!(wrong.is_empty(), "seed {seed}: {} wrong answers:\n{}", wrong.len(), wrong.join("\n"));
    drop(runtime);
    serving.end(files_before);
    let [whole, part, told, missing] = field.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
    eprintln!("torture: {whole} whole, {part} parts, {told} others, {missing} gone, in {:.1?}", began.elapsed());
    assert!(whole + part + told + missing >= requests, "fewer answers than requests");
    assert!(part > requests / 10 && whole > requests / 10, "the dice are loaded");
}

/// A file that is swept while it is sent is sent to its end.
#[test]
fn a_file_that_is_swept_while_it_is_read_comes_whole() {
    let house = House::new();
    house.run(&["project", "create", "first"]).ok();
    let (serving, door) = Serving::start(&house);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut dice = Dice::new(7);
    for way in 0..3 {
        // More than the system's buffers between the two hold.
        let made = Made::split(&format!("Swept{way}"), &dice.bytes(24 << 20));
        publish(&house, "swept", &made, &["--public"]);
        let file = made.files().swap_remove(1);
        runtime.block_on(async {
            let mut things = vec![file.clone()];
            if way > 0 {
                let path = format!("/1.0/images/{}/export", made.fingerprint());
                let boundary = boundary(&fetch(&door, &path, &[]).await);
                things.push(Thing::multipart(&made.metadata, made.root.as_ref().unwrap(), &boundary));
            }
            let mut open = Vec::new();
            for thing in &things {
                let request = Request { method: "GET", path: thing.path.clone(), headers: Vec::new() };
                let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
                let (begun, has_begun) = tokio::sync::oneshot::channel::<()>();
                let door = door.clone();
                let reading = tokio::spawn(async move {
                    if way == 2 {
                        let mut sender = door.http2().await.unwrap();
                        return wire::http2_held(&mut sender, &request, begun, receiver).await.unwrap();
                    }
                    let mut connection = door.http1(way == 1).await.unwrap();
                    connection.send(std::slice::from_ref(&request)).await.unwrap();
                    connection.wait().await.unwrap();
                    let _ = begun.send(());
                    let _ = receiver.await;
                    connection.answer(&request, Manner::Quickly).await.unwrap()
                });
                has_begun.await.unwrap();
                open.push((thing, reading, sender));
            }
            tokio::task::block_in_place(|| remove(&house, &made, &Life::default()));
            for (thing, reading, go) in open {
                go.send(()).unwrap();
                let answer = reading.await.unwrap();
                assert_eq!(answer.status, 200, "{}", thing.path);
                assert!(answer.body == **thing.bytes, "{} over way {way}: {} bytes", thing.path, answer.body.len());
            }
            assert_eq!(fetch(&door, &file.path, &[]).await.status, 404, "it is gone for others");
        });
    }
    drop(runtime);
    serving.end(usize::MAX / 2);
}
