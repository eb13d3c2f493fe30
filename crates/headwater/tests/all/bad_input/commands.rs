//! Bad commands: names, texts, dates, filters, settings and folders that mean nothing. One row each, with the exact words.
//!
//! What is said on standard error begins with `Error: `; a command line that cannot be understood ends with code 2 and a hint
//! at `--help`, everything else with code 1.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use super::kit::{TIME, Table, bounded, run_bounded, stored, within};
use crate::cli::kit::{House, Sample, fingerprint, run};

/// What clap adds to an error of usage.
fn usage(sentence: &str) -> String {
    format!("{sentence}\n\nFor more information, try '--help'.")
}

/// A house with an image `good`, another whose fingerprint begins alike, and a project with an image.
fn house() -> (House, String) {
    let house = House::new();
    let print = house.publish(&Sample::default(), &["--alias", "good", "--public"]);
    let twin = (0..100)
        .map(|n| Sample { serial: format!("20250301_{:02}:{:02}", n / 60, n % 60).leak(), ..Sample::default() })
        .find(|sample| fingerprint(&[&sample.unified()])[..1] == print[..1])
        .unwrap();
    let twin = house.publish(&twin, &["--public"]);
    house.run(&["project", "create", "team"]).ok();
    house.publish(&Sample { os: "Alpine", ..Sample::default() }, &["--project", "team"]);
    let mut both = [&print[..12], &twin[..12]];
    both.sort_unstable();
    (house, both.join(", "))
}

/// Tries the rows: arguments, standard input, the code and the words.
fn tried<A: AsRef<std::ffi::OsStr>>(
    house: &House,
    table: &mut Table,
    arguments: &[A],
    input: &[u8],
    code: i32,
    words: &str,
) {
    let shown: Vec<_> = arguments.iter().map(|argument| argument.as_ref().to_string_lossy()).collect();
    let what = format!("{:.100}", shown.join(" "));
    let ran = table.row(&what, || run_bounded(house, arguments, input));
    let expected = format!("Error: {words}\n");
    table.same(&what, (ran.code, ran.out.as_str(), ran.err.as_str()), (Some(code), "", expected.as_str()));
    table.discreet(&what, &ran.err);
}

#[test]
fn bad_names_and_texts_are_refused_in_words_and_change_nothing() {
    let (house, twins) = house();
    let before = stored(&house);
    let mut table = Table::new([house.folder.path().display().to_string()]);
    let short = &twins[..1];
    let long_alias = "a".repeat(256);
    let long_project = "a".repeat(64);
    let long_print = "0".repeat(65);
    let too_long_filter = format!("os={}", "a".repeat(5000));
    let rows: Vec<(Vec<&str>, i32, String)> = vec![
        // Aliases.
        (vec!["alias", "create", "", "good"], 2, "".into()),
        (vec!["alias", "create", "a,b", "good"], 2, "".into()),
        (vec!["alias", "create", " a", "good"], 2, "".into()),
        (vec!["alias", "create", "a\tb", "good"], 2, "".into()),
        (vec!["alias", "create", "a\u{1b}[2J", "good"], 2, "".into()),
        (vec!["alias", "create", &long_alias, "good"], 2, "".into()),
        (vec!["alias", "create", "good", "good"], 1, "".into()),
        (vec!["alias", "create", "new", "goof"], 1, "".into()),
        (vec!["alias", "create", "new"], 2, "".into()),
        (vec!["alias", "create", "new", "good", "--follow", "debian/bookworm"], 2, "".into()),
        (vec!["alias", "create", "new", "--follow", "debian"], 2, "".into()),
        (vec!["alias", "create", "new", "--follow", "a/b/c/d"], 2, "".into()),
        (vec!["alias", "create", "new", "--follow", "debian//cloud"], 2, "".into()),
        (vec!["alias", "create", "new", "good", "--project", "nowhere"], 1, "".into()),
        (vec!["alias", "delete", "nobody"], 1, "".into()),
        (vec!["alias", "delete", "debian/12"], 1, "".into()),
        (vec!["alias", "rename", "nobody", "new"], 1, "".into()),
        (vec!["alias", "rename", "good", "a,b"], 2, "".into()),
        (vec!["alias", "list", "--project", "nowhere"], 1, "".into()),
        // Projects.
        (vec!["project", "create", ""], 2, "".into()),
        (vec!["project", "create", "."], 2, "".into()),
        (vec!["project", "create", ".."], 2, "".into()),
        (vec!["project", "create", "a/b"], 2, "".into()),
        (vec!["project", "create", "a b"], 2, "".into()),
        (vec!["project", "create", "\u{e9}"], 2, "".into()),
        (vec!["project", "create", &long_project], 2, "".into()),
        (vec!["project", "create", "team"], 1, "".into()),
        (vec!["project", "create", "default"], 1, "".into()),
        (vec!["project", "delete", "default"], 1, "".into()),
        (vec!["project", "delete", "team"], 1, "".into()),
        (vec!["project", "delete", "nowhere"], 1, "".into()),
        // Images by name.
        (vec!["image", "show", ""], 1, "".into()),
        (vec!["image", "show", "goof"], 1, "".into()),
        (vec!["image", "show", "nobody"], 1, "".into()),
        (vec!["image", "show", short], 1, "".into()),
        (vec!["image", "show", &long_print], 1, "".into()),
        (vec!["image", "show", "../../etc/passwd"], 1, "".into()),
        (vec!["image", "show", "good", "--project", "nowhere"], 1, "".into()),
        (vec!["image", "show", "good", "--project", "team"], 1, "".into()),
        (vec!["image", "show", "good", "--project", "a/b"], 2, "".into()),
        (vec!["image", "show", "good", "--format", "csv"], 2, "".into()),
        (vec!["image", "show", "good", "--format", "xml"], 2, "".into()),
        (vec!["image", "delete", "nobody", "good"], 1, "".into()),
        (vec!["image", "delete", short], 1, "".into()),
        (vec!["image", "delete"], 2, "".into()),
        (vec!["image", "export", "good", "no/such/folder/x"], 1, "".into()),
        (vec!["image", "export", "nobody"], 1, "".into()),
        // Properties and dates.
        (vec!["image", "edit", "good", "--property", "os"], 2, "".into()),
        (vec!["image", "edit", "good", "--property", "=debian"], 2, "".into()),
        (vec!["image", "edit", "good", "--unset", "nothing"], 1, "".into()),
        (vec!["image", "edit", "good", "--expires", "tomorrow"], 2, "".into()),
        (vec!["image", "edit", "good", "--expires", "2025-02-30"], 2, "".into()),
        (vec!["image", "edit", "good", "--expires", "20250101"], 2, "".into()),
        (vec!["image", "edit", "good", "--expires", "99999-01-01"], 2, "".into()),
        (vec!["image", "edit", "good", "--expires", "-1"], 2, "".into()),
        (vec!["image", "edit", "good", "--public", "--private"], 2, "".into()),
        // Filters.
        (vec!["image", "list", "=debian"], 2, "".into()),
        (vec!["image", "list", "o s=debian"], 2, "".into()),
        (vec!["image", "list", "os=(a{1000}){1000}"], 2, "".into()),
        (vec!["image", "list", &too_long_filter], 2, "".into()),
        (vec!["image", "list", "--project", "nowhere"], 1, "".into()),
        (vec!["export", "--to", "tree", "--only", "colour=red"], 2, "".into()),
        (vec!["export", "--to", "tree", "--only", "os"], 2, "".into()),
        (vec!["export", "--to", "tree", "--only", "latest=-1"], 2, "".into()),
        (vec!["export", "--to", "tree", "--client", "docker"], 2, "".into()),
        (vec!["export", "--to", "tree", "--project", "nowhere"], 1, "".into()),
        (vec!["export"], 2, "".into()),
        // Times and the like.
        (vec!["gc", "--grace", "24"], 2, "".into()),
        (vec!["gc", "--grace", "-1h"], 2, "".into()),
        (vec!["gc", "--grace", "1.5h"], 2, "".into()),
        (vec!["gc", "--grace", "50000d"], 2, "".into()),
        (vec!["gc", "--grace", "99999999999999999999s"], 2, "".into()),
        // Words that are none of ours.
        (vec![], 2, "".into()),
        (vec!["pubish"], 2, "".into()),
        (vec!["image", "lits"], 2, "".into()),
        (vec!["--colour"], 2, "".into()),
        (vec!["completions", "csh"], 2, "".into()),
        (vec!["publish"], 2, "".into()),
        (vec!["publish", ""], 1, "".into()),
        (vec!["publish", "a", "b", "c"], 2, "".into()),
        (vec!["publish", "-", "-"], 2, "".into()),
        (vec!["publish", "-", "--property", "os"], 2, "".into()),
        (vec!["publish", "-", "--alias", "a,b"], 2, "".into()),
    ];
    for (arguments, code, words) in &rows {
        tried(&house, &mut table, arguments, b"", *code, words);
    }
    // Arguments in no encoding.
    for (words_before, code, words) in [
        (&["image", "show"][..], 2, ""),
        (&["alias", "create", "new"], 2, ""),
        (&["project", "create"], 2, ""),
        (&["publish"], 1, ""),
        (&["image", "edit", "good", "--unset"], 2, ""),
    ] {
        let arguments: Vec<OsString> =
            words_before.iter().map(OsString::from).chain([OsString::from_vec(b"caf\xe9".to_vec())]).collect();
        tried(&house, &mut table, &arguments, b"", code, words);
    }
    table.same("what is stored", stored(&house), before);
    table.end(90);
}

#[test]
fn bad_edits_are_refused_in_words_and_change_nothing() {
    let (house, _) = house();
    let before = stored(&house);
    let mut table = Table::new([house.folder.path().display().to_string()]);
    let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        laughs += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(","));
    }
    let deep = format!("properties: {}", "[".repeat(100_000));
    let large = vec![b'#'; (1 << 20) + 1];
    let value = format!("properties:\n  os: {}\n", "x".repeat(65_537));
    for (input, words) in [
        (&b"publik: true\n"[..], ""),
        (b"public: perhaps\n", ""),
        (b"properties: [a, b]\n", ""),
        (b"properties:\n  os: [a]\n", ""),
        (b"properties:\n  os: a\n  os: b\n", ""),
        (b"expires_at: tomorrow\n", ""),
        (b"properties: {a: \"x\\0y\"}\n", ""),
        (b"- a\n", ""),
        (b"{\n", ""),
        (b"public: true\n---\npublic: false\n", ""),
        (b"public: \xff\n", ""),
        (laughs.as_bytes(), ""),
        (deep.as_bytes(), ""),
        (&large, ""),
        (value.as_bytes(), ""),
    ] {
        let arguments = ["image", "edit", "good"];
        let what = String::from_utf8_lossy(&input[..input.len().min(40)]).into_owned();
        let ran = table.row(&what, || run_bounded(&house, &arguments, input));
        let expected = format!("Error: {words}\n");
        table.same(&what, (ran.code, ran.out.as_str(), ran.err.as_str()), (Some(1), "", expected.as_str()));
        table.discreet(&what, &ran.err);
    }
    table.same("what is stored", stored(&house), before);
    table.end(14);
}

/// Settings of the file, of the environment and of the server's command line.
#[test]
fn bad_settings_are_refused_in_words_and_change_nothing() {
    let (house, _) = house();
    let before = stored(&house);
    let mut table = Table::new([house.folder.path().display().to_string(), "hunter2".into()]);
    let see = "; `headwater serve --print-config` shows what can be set";
    let wrong = |words: &str| format!("the configuration cannot be used: {words}{see}");
    for (name, bytes, words) in [
        ("a.toml", &b"colour = 1\n"[..], wrong("")),
        ("a.toml", b"[tls]\nallow_1_3 = true\n", wrong("")),
        ("a.toml", b"listen = \"127.0.0.1:0\"\n", wrong("")),
        ("a.toml", b"listen = [\"8443\"]\n", wrong("")),
        ("a.toml", b"listen = [\"localhost:8443\"]\n", wrong("")),
        ("a.toml", b"listen = []\n", "".into()),
        ("a.toml", b"grace_hours = -1\n", wrong("")),
        ("a.toml", b"grace_hours = \"long\"\n", wrong("")),
        ("a.toml", b"grace_hours = 99999999999\n", wrong("")),
        ("a.toml", b"architectures = [\"vax\"]\n", "".into()),
        ("a.toml", b"[tls]\ncertificate = \"a.pem\"\n", "".into()),
        ("a.toml", b"[limits]\nconnections = 0\n", "".into()),
        ("a.toml", b"[log]\nformat = \"xml\"\n", wrong("")),
        ("a.toml", b"listen = \n", wrong("")),
        ("a.toml", b"a = 1\na = 2\n", wrong("")),
        ("a.toml", b"data = \"\xff\"\n", wrong("")),
        ("a.toml", b"\0\0\0\0", wrong("")),
        ("a.conf", b"grace_hours = 1\n", wrong("")),
        ("a", b"grace_hours = 1\n", wrong("")),
    ] {
        house.file(name, bytes);
        let what = String::from_utf8_lossy(bytes).into_owned();
        let ran = table.row(&what, || run_bounded(&house, &["image", "list", "--config", name], b""));
        let expected = format!("Error: {words}\n");
        table.same(&what, (ran.code, ran.out.as_str(), ran.err.as_str()), (Some(1), "", expected.as_str()));
        table.discreet(&what, &ran.err);
    }
    for (arguments, code, words) in [
        (
            &["image", "list", "--config", "missing.toml"][..],
            1,
            wrong("missing.toml: No such file or directory (os error 2)"),
        ),
        (&["image", "list", "--config", "data"], 1, wrong("")),
        (&["serve", "--listen", "8443"], 2, "".into()),
        (&["serve", "--listen", ":8443"], 2, "".into()),
        (&["serve", "--listen", "localhost:8443"], 2, "".into()),
        (&["serve", "--listen", "127.0.0.1:99999"], 2, "".into()),
        (&["serve", "--listen", "256.0.0.1:1"], 2, "".into()),
        (&["serve", "--listen", "[::1]"], 2, "".into()),
        (&["serve", "--listen", "192.0.2.1:0"], 1, "".into()),
        (&["image", "list", "--database", "mysql://me:hunter2@db/x"], 1, "".into()),
        (&["image", "list", "--database", "postgres://me:hunter2@127.0.0.1:1/x"], 1, "".into()),
        (&["image", "list", "--database", "postgres://me:hunter2@[::1/x"], 1, "".into()),
        (&["image", "list", "--database", "nonsense"], 1, "".into()),
    ] {
        tried(&house, &mut table, arguments, b"", code, &words);
    }
    for (name, value, words) in [
        ("HEADWATER_GRACE_HOURS", &b"long"[..], wrong("")),
        ("HEADWATER_GRACE_HOURS", b"-1", wrong("")),
        ("HEADWATER_LISTEN", b"8443", wrong("")),
        ("HEADWATER_LISTEN", b"\xff", wrong("")),
        ("HEADWATER_TLS_ALLOW_1_2", b"perhaps", wrong("")),
        ("HEADWATER_TLS_CERTIFICATE", b"a.pem", "".into()),
        ("HEADWATER_LIMITS_CONNECTIONS", b"0", "".into()),
        ("HEADWATER_ARCHITECTURES", b"vax", "".into()),
        ("HEADWATER_LOG_FORMAT", b"xml", wrong("")),
        ("HEADWATER_LOG_LEVEL", b"shouting=very", "".into()),
        ("HEADWATER_CONFIG", b"missing.toml", wrong("missing.toml: No such file or directory (os error 2)")),
        ("HEADWATER_DATABASE", b"\xff", "".into()),
    ] {
        let value = std::ffi::OsStr::from_bytes(value);
        let what = format!("{name}={}", value.display());
        let mut command = bounded(&house, &["serve", "--listen", "127.0.0.1:0"]);
        command.env(name, value);
        let ran = table.row(&what, || run(within(TIME, command), b""));
        let expected = format!("Error: {words}\n");
        table.same(&what, (ran.code, ran.out.as_str(), ran.err.as_str()), (Some(1), "", expected.as_str()));
        table.discreet(&what, &ran.err);
    }
    table.same("what is stored", stored(&house), before);
    table.end(45);
}

/// Data directories that are none, or are of another time.
#[test]
fn bad_data_directories_are_refused_in_words_and_left_as_they_are() {
    let house = House::new();
    house.publish(&Sample::default(), &["--public"]);
    let mut table = Table::default();
    let data = |name: &str| house.folder.path().join(name).display().to_string();
    let copy = |name: &str| {
        let status = std::process::Command::new("cp").arg("-r").arg(house.data()).arg(data(name)).status().unwrap();
        assert!(status.success());
    };
    house.file("file", b"I am a file.\n");
    house.file("noise/catalog.db", &crate::kit::archives::noise(10_000));
    house.file(
        "text/catalog.db",
        b"I am no database, I am a text that is a little longer than the head of one would have to be.\n",
    );
    copy("other-blobs");
    house.file("other-blobs/blobs/VERSION", b"headwater-blobs 99\n");
    copy("no-version");
    house.file("no-version/blobs/VERSION", b"");
    for (name, arguments, words) in [
        (
            "missing",
            &["image", "list"][..],
            format!("no Headwater data in {}; `headwater serve` or `headwater publish` makes it", data("missing")),
        ),
        ("file", &["image", "list"], "".into()),
        ("file", &["publish", "file"], "".into()),
        ("noise", &["image", "list"], "".into()),
        ("text", &["image", "list"], "".into()),
        ("other-blobs", &["image", "list"], "".into()),
        ("no-version", &["image", "list"], "".into()),
    ] {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--data", name]);
        tried(&house, &mut table, &arguments, b"", 1, &words);
    }
    assert_eq!(house.read("file"), b"I am a file.\n");
    assert_eq!(house.read("noise/catalog.db"), crate::kit::archives::noise(10_000));
    table.end(7);
}
