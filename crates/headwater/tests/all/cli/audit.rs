//! `headwater audit`

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use super::kit::{House, Sample};

/// Who runs the tests.
fn user() -> String {
    let output = std::process::Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn changes_are_told_with_who_made_them() {
    let house = House::new();
    let fingerprint = house.publish(&Sample::default(), &["--alias", "mine"]);
    house.run(&["project", "create", "team-a"]).ok();
    house.run(&["project", "describe", "team-a", "ours"]).ok();
    house.run(&["project", "rename", "team-a", "team-b"]).ok();
    let ran = house.run(&["audit"]).ok();
    let cells = ran.cells();
    assert_eq!(cells[0], ["TIME", "ACTION", "PROJECT", "SUBJECT", "WHO", "FROM", "DETAIL"]);
    let who = format!("operator {}", user());
    let told: Vec<[&str; 5]> = cells[1..].iter().map(|row| [row[1], row[2], row[3], row[4], row[5]]).collect();
    assert_eq!(
        told,
        [
            ["image-created", "default", &fingerprint[..12], &who, ""],
            ["image-alias-created", "default", "mine", &who, ""],
            ["project-created", "team-a", "team-a", &who, ""],
            ["project-updated", "team-a", "team-a", &who, ""],
            ["project-renamed", "team-a", "team-a", &who, ""],
        ],
        "the newest last"
    );
    assert_eq!(cells[5][6], "new_name=team-b");

    let json = |arguments: &[&str]| -> Vec<Value> {
        let all = [&["audit", "--format", "json"], arguments].concat();
        house.run(&all).json().as_array().unwrap().clone()
    };
    let all = json(&[]);
    assert_eq!(all.len(), 5);
    assert_eq!((&all[0]["subject"], &all[0]["actor_name"]), (&fingerprint.into(), &user().into()));
    assert_eq!(all[1]["detail"]["target"], all[0]["subject"]);
    let subjects = |lines: Vec<Value>| lines.iter().map(|line| line["id"].as_i64().unwrap()).collect::<Vec<_>>();
    assert_eq!(subjects(json(&["--project", "team-a"])), [3, 4, 5]);
    assert_eq!(subjects(json(&["--image", all[0]["subject"].as_str().unwrap().get(..4).unwrap()])), [1]);
    assert_eq!(subjects(json(&["--limit", "2"])), [4, 5]);
    assert_eq!(subjects(json(&["--actor", "nobody at all"])), [0i64; 0]);
    assert_eq!(subjects(json(&["--since", "1h", "--actor", &user()])).len(), 5);
    assert_eq!(subjects(json(&["--until", "2001-01-01"])), [0i64; 0]);
    let csv = house.run(&["audit", "--format", "csv", "--limit", "1"]).ok().out;
    assert!(csv.contains(",project-renamed,team-a,team-a,") && csv.lines().count() == 1, "{csv}");
}

#[test]
fn people_are_told_when_there_is_more() {
    let house = House::new();
    let publish = house.publish(&Sample::default(), &[]);
    for number in 0..50 {
        let name = format!("a{number}");
        house.run(&["alias", "create", &name, &publish]).ok();
        house.run(&["alias", "delete", &name]).ok();
    }
    let ran = house.run(&["audit"]).ok();
    assert_eq!(ran.cells().len(), 101);
    assert_eq!(ran.err, "these are the last 100 lines; --limit NUMBER shows more, --format json all\n");
    assert_eq!(house.run(&["audit", "--limit", "200"]).ok().err, "");
    assert_eq!(house.run(&["audit", "--format", "json"]).json().as_array().unwrap().len(), 101);
}

#[test]
fn what_happens_is_followed() {
    let house = House::new();
    house.run(&["project", "create", "before"]).ok();
    let mut command = house.command(&["audit", "--follow", "--format", "json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["subject"], "before");
    house.run(&["project", "create", "after"]).ok();
    assert_eq!(next()["subject"], "after");
    child.kill().unwrap();
    child.wait().unwrap();
    house.run(&["audit", "--since", "soon"]).code.filter(|code| *code == 2).unwrap();
}
