//! `headwater serve`, as far as the command line goes: what it prints, and that it ends when it is told to.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use super::kit::House;

#[test]
fn the_first_run_says_what_to_type_next_and_a_signal_ends_it() {
    let house = House::new();
    let mut command = house.command(&["serve", "--listen", "127.0.0.1:0"]);
    let mut server = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(server.stderr.take().unwrap());
    let mut said = String::new();
    // The greeting ends with commands; the last of them works on images.
    while !said.contains("headwater publish") {
        assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "{said}");
    }
    assert!(house.data().join("catalog.db").exists());
    let pid = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = server.wait().unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(status.code(), Some(0), "{said}{rest}");
    let mut out = String::new();
    server.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(out, "", "all that a server says is talk");
}

#[test]
fn the_printed_configuration_is_one_that_it_takes() {
    let house = House::new();
    let text = house.run(&["serve", "--print-config"]).ok().out;
    house.file("headwater.toml", format!("grace_hours = 1\n{text}").as_bytes());
    let ran = house.run(&["image", "list", "--config", "headwater.toml"]);
    assert!(ran.err.starts_with("Error: no Headwater data in "), "{}", ran.err);
    let ran = house.run(&["image", "list", "--config", "missing.toml"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.starts_with("Error: the configuration cannot be used: missing.toml: No such file"), "{}", ran.err);
}
