//! `headwater serve` as a program: its first words, its signals, its refusals.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::cli::kit::House;

struct Serving {
    child: Child,
    stderr: BufReader<ChildStderr>,
    said: String,
}

fn serve(mut command: Command) -> Serving {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    Serving { child, stderr, said: String::new() }
}

impl Serving {
    /// Reads what it says until a line holds this.
    fn until(&mut self, words: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.stderr.read_line(&mut line).unwrap(), 0, "no {words:?} in {}", self.said);
            self.said.push_str(&line);
            if line.contains(words) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn end(mut self) -> (Option<i32>, String) {
        self.signal(Signal::TERM);
        self.stderr.read_to_string(&mut self.said).unwrap();
        (self.child.wait().unwrap().code(), std::mem::take(&mut self.said))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const ANY_PORT: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];

#[test]
fn the_first_run_says_what_to_type_next_and_the_second_does_not() {
    let house = House::new();
    let mut first = serve(house.command(&ANY_PORT));
    first.until("incus remote add headwater-streams https://127.0.0.1:");
    let said = first.said.clone();
    for words in [
        "Headwater listens on https://127.0.0.1:",
        "/data/tls/server.crt",
        "fingerprint  ",
        "metadata.tar.xz rootfs.squashfs --public\n",
        "headwater publish --data ",
        " empty.tar.gz --public --alias first\n",
        "--public --accept-certificate && lxc image list headwater:",
        "--public --accept-certificate && incus image list headwater:",
        "/servercerts/headwater-streams.crt",
    ] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    let print = said.lines().find_map(|line| line.trim().strip_prefix("fingerprint")).unwrap().trim().to_owned();
    let (code, said) = first.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("ending when running requests are done") && said.trim_end().ends_with("ended"), "{said}");
    let mut second = serve(house.command(&ANY_PORT));
    let line = second.until("listening");
    assert!(line.contains(&print), "another certificate: {line}");
    let (code, said) = second.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("remote add"), "{said}");
}

#[test]
fn hangup_reads_the_certificate_and_the_log_level_again() {
    let house = House::new();
    let file = house.file("headwater.toml", b"listen = [\"127.0.0.1:0\"]\n[log]\nformat = \"json\"\n");
    let mut serving = serve(house.command(&["serve", "--config", &file]));
    let line = serving.until("\"listening\"");
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&json["level"], &json["message"]), (&"INFO".into(), &"listening".into()));
    house.file("headwater.toml", b"[log]\nlevel = \"info,headwater=debug\"\n");
    serving.until("remote add headwater-streams");
    serving.signal(Signal::HUP);
    serving.until("the certificate was read again");
    assert!(serving.until("the log level was read again").contains("info,headwater=debug"));
    house.file("data/tls/server.crt", b"nonsense");
    serving.signal(Signal::HUP);
    assert!(serving.until("the certificate was not read again").contains("holds no certificate in PEM"));
    assert_eq!(serving.end().0, Some(0));
}

#[test]
fn what_keeps_it_from_starting_is_told_with_a_way_out() {
    let house = House::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (port, _) = (address.rsplit_once(':').unwrap().1, ());
    let ran = house.run(&["serve", "--listen", &address]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains(&format!("port {port} on 127.0.0.1 is taken by another program")), "{}", ran.err);
    assert!(ran.err.contains("choose another port with --listen '127.0.0.1:"), "{}", ran.err);
    assert!(!house.data().exists(), "it touched the data first");
    let file = house.file("bad.toml", b"colour = 1\n");
    let ran = house.run(&["serve", "--config", &file]);
    assert!(ran.err.contains("unknown field `colour`") && ran.err.contains("--print-config"), "{}", ran.err);
    let ran = house.run(&["serve", "--print-config"]).ok();
    assert!(ran.out.contains("#listen = [\"[::]:8443\"]"), "{}", ran.out);
}
