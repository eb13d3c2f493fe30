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

/// A house with an image `good`, another whose fingerprint begins alike, and a project with an image. Gives the beginning of the
/// first one's fingerprint, and of both in order.
fn house() -> (House, String, String) {
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
    (house, print[..12].to_owned(), both.join(", "))
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
    let (house, good, twins) = house();
    let before = stored(&house);
    let mut table = Table::new([house.folder.path().display().to_string()]);
    let short = &twins[..1];
    let several = format!("more than one image has a fingerprint that begins with {short:?}: {twins}; type more of it");
    let long_alias = "a".repeat(256);
    let long_project = "a".repeat(64);
    let long_print = "0".repeat(65);
    let too_long_filter = format!("os={}", "a".repeat(5000));
    let rows: Vec<(Vec<&str>, i32, String)> = vec![
        // Aliases.
        (vec!["alias", "create", "", "good"], 2, usage("invalid value '' for '<NAME>': an alias is empty; give it at least one character")),
        (vec!["alias", "create", "a,b", "good"], 2, usage("invalid value 'a,b' for '<NAME>': an alias may not hold ','; commas and control characters cannot be listed by simplestreams")),
        (vec!["alias", "create", " a", "good"], 2, usage("invalid value ' a' for '<NAME>': an alias may not hold ' '; blanks may stand inside an alias, not at its ends")),
        (vec!["alias", "create", "a\tb", "good"], 2, usage("invalid value 'a\tb' for '<NAME>': an alias may not hold '\\t'; commas and control characters cannot be listed by simplestreams")),
        (vec!["alias", "create", "a\u{1b}[2J", "good"], 2, usage("invalid value 'a' for '<NAME>': an alias may not hold '\\u{1b}'; commas and control characters cannot be listed by simplestreams")),
        (vec!["alias", "create", &long_alias, "good"], 2, usage(&format!("invalid value '{long_alias}' for '<NAME>': an alias has 256 bytes, more than the 255 that are allowed; choose a shorter one"))),
        (vec!["alias", "create", "good", "good"], 1, "there is an alias \"good\" already; delete it first, or choose another name".into()),
        (vec!["alias", "create", "new", "goof"], 1, "there is no image \"goof\"; did you mean \"good\"?".into()),
        (vec!["alias", "create", "new"], 2, usage("the following required arguments were not provided:\n  <TARGET|--follow <OS/RELEASE[/VARIANT]>>\n\nUsage: headwater alias create --data <DIR> <TARGET|--follow <OS/RELEASE[/VARIANT]>> <NAME>")),
        (vec!["alias", "create", "new", "good", "--follow", "debian/bookworm"], 2, usage("the argument '[TARGET]' cannot be used with '--follow <OS/RELEASE[/VARIANT]>'\n\nUsage: headwater alias create --data <DIR> <TARGET|--follow <OS/RELEASE[/VARIANT]>> <NAME>")),
        (vec!["alias", "create", "new", "--follow", "debian"], 2, usage("invalid value 'debian' for '--follow <OS/RELEASE[/VARIANT]>': write os/release or os/release/variant, for example debian/bookworm/cloud")),
        (vec!["alias", "create", "new", "--follow", "a/b/c/d"], 2, usage("invalid value 'a/b/c/d' for '--follow <OS/RELEASE[/VARIANT]>': write os/release or os/release/variant, for example debian/bookworm/cloud")),
        (vec!["alias", "create", "new", "--follow", "debian//cloud"], 2, usage("invalid value 'debian//cloud' for '--follow <OS/RELEASE[/VARIANT]>': write os/release or os/release/variant, for example debian/bookworm/cloud")),
        (vec!["alias", "create", "new", "good", "--project", "nowhere"], 1, "there is no project \"nowhere\"; `headwater project list` shows the ones there are".into()),
        (vec!["alias", "delete", "nobody"], 1, "there is no alias \"nobody\"; `headwater alias list` shows the ones there are".into()),
        (vec!["alias", "delete", "debian/12"], 1, "the alias \"debian/12\" is generated from the properties of images and goes with the last of them; only aliases that were made by hand can be changed".into()),
        (vec!["alias", "rename", "nobody", "new"], 1, "there is no alias \"nobody\"; `headwater alias list` shows the ones there are".into()),
        (vec!["alias", "rename", "good", "a,b"], 2, usage("invalid value 'a,b' for '<NEW>': an alias may not hold ','; commas and control characters cannot be listed by simplestreams")),
        (vec!["alias", "list", "--project", "nowhere"], 1, "there is no project \"nowhere\"; `headwater project list` shows the ones there are".into()),
        // Projects.
        (vec!["project", "create", ""], 2, usage("invalid value '' for '<NAME>': a project name is empty; give it at least one character")),
        (vec!["project", "create", "."], 2, usage("invalid value '.' for '<NAME>': a project name may not be \".\"; choose another one")),
        (vec!["project", "create", ".."], 2, usage("invalid value '..' for '<NAME>': a project name may not be \"..\"; choose another one")),
        (vec!["project", "create", "a/b"], 2, usage("invalid value 'a/b' for '<NAME>': a project name may not hold '/'; use letters, digits, '-', '_' and '.'")),
        (vec!["project", "create", "a b"], 2, usage("invalid value 'a b' for '<NAME>': a project name may not hold ' '; use letters, digits, '-', '_' and '.'")),
        (vec!["project", "create", "\u{e9}"], 2, usage("invalid value 'é' for '<NAME>': a project name may not hold 'é'; use letters, digits, '-', '_' and '.'")),
        (vec!["project", "create", &long_project], 2, usage(&format!("invalid value '{long_project}' for '<NAME>': a project name has 64 bytes, more than the 63 that are allowed; choose a shorter one"))),
        (vec!["project", "create", "team"], 1, "there is a project \"team\" already; choose another name".into()),
        (vec!["project", "create", "default"], 1, "there is a project \"default\" already; choose another name".into()),
        (vec!["project", "delete", "default"], 1, "the project \"default\" cannot be deleted; every catalog has it".into()),
        (vec!["project", "delete", "team"], 1, "the project \"team\" still has images; delete them first (`headwater image list` shows them)".into()),
        (vec!["project", "delete", "nowhere"], 1, "there is no project \"nowhere\"; `headwater project list` shows the ones there are".into()),
        // Images by name.
        (vec!["image", "show", ""], 1, "there is no image \"\"; `headwater image list` shows the ones there are".into()),
        (vec!["image", "show", "goof"], 1, "there is no image \"goof\"; did you mean \"good\"?".into()),
        (vec!["image", "show", "nobody"], 1, "there is no image \"nobody\"; `headwater image list` shows the ones there are".into()),
        (vec!["image", "show", short], 1, several.clone()),
        (vec!["image", "show", &long_print], 1, format!("there is no image \"{long_print}\"; `headwater image list` shows the ones there are")),
        (vec!["image", "show", "../../etc/passwd"], 1, "there is no image \"../../etc/passwd\"; `headwater image list` shows the ones there are".into()),
        (vec!["image", "show", "good", "--project", "nowhere"], 1, "there is no project \"nowhere\"; `headwater project list` shows the ones there are".into()),
        (vec!["image", "show", "good", "--project", "team"], 1, "there is no image \"good\" in the project \"team\"; `headwater image list` shows the ones there are".into()),
        (vec!["image", "show", "good", "--project", "a/b"], 2, usage("invalid value 'a/b' for '--project <PROJECT>': a project name may not hold '/'; use letters, digits, '-', '_' and '.'")),
        (vec!["image", "show", "good", "--format", "csv"], 2, "only lists have the formats csv and compact; use table, json or yaml here".into()),
        (vec!["image", "show", "good", "--format", "xml"], 2, usage("invalid value 'xml' for '--format <FORMAT>'\n  [possible values: table, json, yaml, csv, compact]\n\n  tip: a similar value exists: 'yaml'")),
        (vec!["image", "delete", "nobody", "good"], 1, "there is no image \"nobody\"; `headwater image list` shows the ones there are".into()),
        (vec!["image", "delete", short], 1, several.clone()),
        (vec!["image", "delete"], 2, usage("the following required arguments were not provided:\n  <IMAGE>...\n\nUsage: headwater image delete --data <DIR> <IMAGE>...")),
        (vec!["image", "export", "good", "no/such/folder/x"], 1, "no/such/folder/x.tar cannot be written: there is no folder no/such/folder; make it first".into()),
        (vec!["image", "export", "nobody"], 1, "there is no image \"nobody\"; `headwater image list` shows the ones there are".into()),
        // Properties and dates.
        (vec!["image", "edit", "good", "--property", "os"], 2, usage("invalid value 'os' for '--property <KEY=VALUE>': a property is written KEY=VALUE, for example os=debian")),
        (vec!["image", "edit", "good", "--property", "=debian"], 2, usage("invalid value '=debian' for '--property <KEY=VALUE>': a property is written KEY=VALUE, for example os=debian")),
        (vec!["image", "edit", "good", "--unset", "nothing"], 1, format!("the image has no property \"nothing\"; `headwater image info {good}` shows the ones it has")),
        (vec!["image", "edit", "good", "--expires", "tomorrow"], 2, usage("invalid value 'tomorrow' for '--expires <DATE>': write a date as 2027-01-31 or 2027-01-31T12:00:00Z, or never")),
        (vec!["image", "edit", "good", "--expires", "2025-02-30"], 2, usage("invalid value '2025-02-30' for '--expires <DATE>': write a date as 2027-01-31 or 2027-01-31T12:00:00Z, or never")),
        (vec!["image", "edit", "good", "--expires", "20250101"], 2, usage("invalid value '20250101' for '--expires <DATE>': write a date as 2027-01-31 or 2027-01-31T12:00:00Z, or never")),
        (vec!["image", "edit", "good", "--expires", "99999-01-01"], 2, usage("invalid value '99999-01-01' for '--expires <DATE>': write a date as 2027-01-31 or 2027-01-31T12:00:00Z, or never")),
        (vec!["image", "edit", "good", "--expires", "-1"], 2, usage("invalid value '-1' for '--expires <DATE>': write a date as 2027-01-31 or 2027-01-31T12:00:00Z, or never")),
        (vec!["image", "edit", "good", "--public", "--private"], 2, usage("the argument '--public' cannot be used with '--private'\n\nUsage: headwater image edit --public --data <DIR> <IMAGE>")),
        // Filters.
        (vec!["image", "list", "=debian"], 2, "\"=debian\" is no filter; write key=value, for example os=debian".into()),
        (vec!["image", "list", "o s=debian"], 2, "\"o s=debian\" is no filter; write key=value, for example os=debian".into()),
        (vec!["image", "list", "os=(a{1000}){1000}"], 2, "\"os=(a{1000}){1000}\" is no filter: the value for \"os\" is too large a regular expression".into()),
        (vec!["image", "list", &too_long_filter], 2, "\"os=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\" is no filter: the filter has more than 4096 bytes".into()),
        (vec!["image", "list", "--project", "nowhere"], 1, "there is no project \"nowhere\"; `headwater project list` shows the ones there are".into()),
        (vec!["export", "--to", "tree", "--only", "colour=red"], 2, "--only colour=red: \"colour\" cannot be filtered by; use os, release, variant, arch, type, alias or latest".into()),
        (vec!["export", "--to", "tree", "--only", "os"], 2, "--only os: the filter \"os\" has no value; write it as key=value, for example arch=arm64".into()),
        (vec!["export", "--to", "tree", "--only", "latest=-1"], 2, "--only latest=-1: latest=-1 is no number of versions; use one number from 1 to 1000".into()),
        (vec!["export", "--to", "tree", "--client", "docker"], 2, usage("invalid value 'docker' for '--client <CLIENT>'\n  [possible values: lxd, incus, any]")),
        (vec!["export", "--to", "tree", "--project", "nowhere"], 1, "there is no project \"nowhere\"; `headwater project list` shows the ones there are".into()),
        (vec!["export"], 2, usage("the following required arguments were not provided:\n  --to <DIR|FILE.tar|->\n\nUsage: headwater export --to <DIR|FILE.tar|-> --data <DIR>")),
        // Times and the like.
        (vec!["gc", "--grace", "24"], 2, usage("invalid value '24' for '--grace <TIME>': write a number and a unit, s, m, h or d: 24h, 30m, 0s")),
        (vec!["gc", "--grace", "-1h"], 2, usage("invalid value '-1h' for '--grace <TIME>': write a number and a unit, s, m, h or d: 24h, 30m, 0s")),
        (vec!["gc", "--grace", "1.5h"], 2, usage("invalid value '1.5h' for '--grace <TIME>': write a number and a unit, s, m, h or d: 24h, 30m, 0s")),
        (vec!["gc", "--grace", "50000d"], 2, usage("invalid value '50000d' for '--grace <TIME>': this is longer than 136 years; choose a shorter time")),
        (vec!["gc", "--grace", "99999999999999999999s"], 2, usage("invalid value '99999999999999999999s' for '--grace <TIME>': write a number and a unit, s, m, h or d: 24h, 30m, 0s")),
        // Words that are none of ours.
        (vec![], 2, usage("'headwater' requires a subcommand but one was not provided\n  [subcommands: serve, publish, image, alias, project, trust, token, view, delta, mirror, audit, key, export, import, gc, verify, completions, help]\n\nUsage: headwater [OPTIONS] <COMMAND>")),
        (vec!["pubish"], 2, usage("unrecognized subcommand 'pubish'\n\n  tip: a similar subcommand exists: 'publish'\n\nUsage: headwater [OPTIONS] <COMMAND>")),
        (vec!["image", "lits"], 2, usage("unrecognized subcommand 'lits'\n\n  tip: a similar subcommand exists: 'list'\n\nUsage: headwater image [OPTIONS] <COMMAND>")),
        (vec!["--colour"], 2, usage("unexpected argument '--colour' found\n\nUsage: headwater [OPTIONS] <COMMAND>")),
        (vec!["completions", "csh"], 2, usage("invalid value 'csh' for '<SHELL>'\n  [possible values: bash, zsh, fish]\n\n  tip: a similar value exists: 'zsh'")),
        (vec!["publish"], 2, usage("the following required arguments were not provided:\n  <FILE|DIRECTORY|->\n\nUsage: headwater publish --data <DIR> <FILE|DIRECTORY|-> [ROOT]")),
        (vec!["publish", ""], 2, usage("a value is required for '<FILE|DIRECTORY|->' but none was supplied")),
        (vec!["publish", "a", "b", "c"], 2, usage("unexpected argument 'c' found\n\nUsage: headwater publish [OPTIONS] <FILE|DIRECTORY|-> [ROOT]")),
        (vec!["publish", "-", "-"], 2, "standard input can be one of the two files, not both".into()),
        (vec!["publish", "-", "--property", "os"], 2, usage("invalid value 'os' for '--property <KEY=VALUE>': a property is written KEY=VALUE, for example os=debian")),
        (vec!["publish", "-", "--alias", "a,b"], 2, usage("invalid value 'a,b' for '--alias <ALIAS>': an alias may not hold ','; commas and control characters cannot be listed by simplestreams")),
    ];
    for (arguments, code, words) in &rows {
        tried(&house, &mut table, arguments, b"", *code, words);
    }
    // Arguments in no encoding.
    for (words_before, code, words) in [
        (
            &["image", "show"][..],
            2,
            "invalid UTF-8 was detected in one or more arguments\n\nUsage: headwater image show [OPTIONS] <IMAGE>\n\nFor more information, try '--help'.",
        ),
        (
            &["alias", "create", "new"],
            2,
            "invalid UTF-8 was detected in one or more arguments\n\nUsage: headwater alias create [OPTIONS] <TARGET|--follow <OS/RELEASE[/VARIANT]>> <NAME>\n\nFor more information, try '--help'.",
        ),
        (
            &["project", "create"],
            2,
            "invalid UTF-8 was detected in one or more arguments\n\nUsage: headwater project create [OPTIONS] <NAME>\n\nFor more information, try '--help'.",
        ),
        (&["publish"], 1, "\"caf\u{fffd}\" cannot be read: No such file or directory (os error 2)"),
        (
            &["image", "edit", "good", "--unset"],
            2,
            "invalid UTF-8 was detected in one or more arguments\n\nUsage: headwater image edit [OPTIONS] <IMAGE>\n\nFor more information, try '--help'.",
        ),
    ] {
        let arguments: Vec<OsString> =
            words_before.iter().map(OsString::from).chain([OsString::from_vec(b"caf\xe9".to_vec())]).collect();
        tried(&house, &mut table, &arguments, b"", code, words);
    }
    table.same("what is stored", stored(&house), before);
    table.end(88);
}

#[test]
fn bad_edits_are_refused_in_words_and_change_nothing() {
    let (house, _, _) = house();
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
        (
            &b"publik: true\n"[..],
            "this is not what `headwater image show` prints: line 1: unknown field `publik`, expected one of auto_update, properties, public, expires_at, profiles",
        ),
        (b"public: perhaps\n", "this is not what `headwater image show` prints: line 1: this must be true or false"),
        (
            b"properties: [a, b]\n",
            "this is not what `headwater image show` prints: line 1: this must be a mapping; write one \"name: value\" on each line below it",
        ),
        (
            b"properties:\n  os: [a]\n",
            "this is not what `headwater image show` prints: line 2: \"os\": this must be one text, not a list or a mapping; put it in quotes",
        ),
        (
            b"properties:\n  os: a\n  os: b\n",
            "this is not what `headwater image show` prints: line 3: this name stands there twice; leave one",
        ),
        (
            b"expires_at: tomorrow\n",
            "this is not what `headwater image show` prints: line 1: a time is written like 2025-01-01T00:00:00Z",
        ),
        (
            b"properties: {a: \"x\\0y\"}\n",
            "this is not what `headwater image show` prints: line 1: \"a\": a text holds a NUL character; take it out",
        ),
        (
            b"- a\n",
            "this is not what `headwater image show` prints: line 1: this must be a mapping; write one \"name: value\" on each line below it",
        ),
        (b"{\n", "this is not what `headwater image show` prints: line 1: unclosed bracket '{'"),
        (
            b"public: true\n---\npublic: false\n",
            "this is not what `headwater image show` prints: line 3: there is more than one document in it; take the second \"---\" out",
        ),
        (b"public: \xff\n", "standard input is not written in UTF-8; save it as UTF-8"),
        (
            laughs.as_bytes(),
            "this is not what `headwater image show` prints: line 1: unknown field `a0`, expected one of auto_update, properties, public, expires_at, profiles",
        ),
        (
            deep.as_bytes(),
            "this is not what `headwater image show` prints: line 1: this must be a mapping; write one \"name: value\" on each line below it",
        ),
        (&large, "standard input holds more than 1 MiB; no image has so many properties"),
        (
            value.as_bytes(),
            "this is not what `headwater image show` prints: line 2: \"os\": a text has 65537 bytes, and 65536 are allowed; shorten it",
        ),
    ] {
        let arguments = ["image", "edit", "good"];
        let what = String::from_utf8_lossy(&input[..input.len().min(40)]).into_owned();
        let ran = table.row(&what, || run_bounded(&house, &arguments, input));
        let expected = format!("Error: {words}\n");
        table.same(&what, (ran.code, ran.out.as_str(), ran.err.as_str()), (Some(1), "", expected.as_str()));
        table.discreet(&what, &ran.err);
    }
    table.same("what is stored", stored(&house), before);
    table.end(15);
}

/// Settings of the file, of the environment and of the server's command line.
#[test]
fn bad_settings_are_refused_in_words_and_change_nothing() {
    let (house, _, _) = house();
    let before = stored(&house);
    let mut table = Table::new([house.folder.path().display().to_string(), "hunter2".into()]);
    let see = "; `headwater serve --print-config` shows what can be set";
    let wrong = |words: &str| format!("the configuration cannot be used: {words}{see}");
    for (name, bytes, words) in [
        ("a.toml", &b"colour = 1\n"[..], wrong("a.toml, line 1, column 1: unknown field `colour`, expected one of `data`, `database`, `listen`, `server_name`, `addresses`, `architectures`, `grace_hours`, `audit_days`, `connect`, `auto_update_hours`, `tls`, `private`, `limits`, `cache`, `deltas`, `log`")),
        ("a.toml", b"[tls]\nallow_1_3 = true\n", wrong("a.toml, line 2, column 1: unknown field `allow_1_3`, expected one of `certificate`, `key`, `allow_1_2`")),
        ("a.toml", b"listen = \"127.0.0.1:0\"\n", wrong("a.toml, line 1, column 10: invalid type: string \"127.0.0.1:0\", expected a list, as in [\"one\", \"two\"]")),
        ("a.toml", b"listen = [\"8443\"]\n", wrong("a.toml, line 1, column 11: this is no address with a port; write it as 192.0.2.7:8443 or [::]:8443")),
        ("a.toml", b"listen = [\"localhost:8443\"]\n", wrong("a.toml, line 1, column 11: this is no address with a port; write it as 192.0.2.7:8443 or [::]:8443")),
        ("a.toml", b"listen = []\n", "listen names no address; give at least one, for example \"[::]:8443\"".into()),
        ("a.toml", b"grace_hours = -1\n", wrong("a.toml, line 1, column 15: invalid value: integer `-1`, expected a whole number from 0 to 4294967295")),
        ("a.toml", b"grace_hours = \"long\"\n", wrong("a.toml, line 1, column 15: invalid type: string \"long\", expected a whole number from 0 to 4294967295")),
        ("a.toml", b"grace_hours = 99999999999\n", wrong("a.toml, line 1, column 15: invalid value: integer `99999999999`, expected a whole number from 0 to 4294967295")),
        ("a.toml", b"architectures = [\"vax\"]\n", "architectures: \"vax\" is no architecture that LXD or Incus knows; known ones are i686, x86_64, armv6l, armv7l, armv8l, aarch64, ppc, ppc64, ppc64le, s390x, mips, mips64, riscv32, riscv64, loongarch64".into()),
        ("a.toml", b"[tls]\ncertificate = \"a.pem\"\n", "tls.certificate and tls.key belong together; set both, or neither to use the one of the first run".into()),
        ("a.toml", b"[limits]\nconnections = 0\n", "limits.connections is 0, with which nothing would be served; give at least 1".into()),
        ("a.toml", b"[log]\nformat = \"xml\"\n", wrong("a.toml, line 2, column 10: unknown variant `xml`, expected `text` or `json`")),
        ("a.toml", b"listen = \n", wrong("a.toml, line 1, column 10: string values must be quoted, expected literal string")),
        ("a.toml", b"a = 1\na = 2\n", wrong("a.toml, line 2, column 1: duplicate key")),
        ("a.toml", b"data = \"\xff\"\n", wrong("a.toml: it is not written in UTF-8; save it as UTF-8")),
        ("a.toml", b"\0\0\0\0", wrong("a.toml, line 1, column 5: key with no value, expected `=`")),
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
        (&["image", "list", "--config", "data"], 1, wrong("data: Is a directory (os error 21)")),
        (&["serve", "--listen", "8443"], 2, usage("invalid value '8443' for '--listen <ADDRESS:PORT>': write an IP address and a port, for example 192.0.2.7:8443 or [::]:8443")),
        (&["serve", "--listen", ":8443"], 2, usage("invalid value ':8443' for '--listen <ADDRESS:PORT>': write an IP address and a port, for example 192.0.2.7:8443 or [::]:8443")),
        (&["serve", "--listen", "localhost:8443"], 2, usage("invalid value 'localhost:8443' for '--listen <ADDRESS:PORT>': write an IP address and a port, for example 192.0.2.7:8443 or [::]:8443")),
        (&["serve", "--listen", "127.0.0.1:99999"], 2, usage("invalid value '127.0.0.1:99999' for '--listen <ADDRESS:PORT>': write an IP address and a port, for example 192.0.2.7:8443 or [::]:8443")),
        (&["serve", "--listen", "256.0.0.1:1"], 2, usage("invalid value '256.0.0.1:1' for '--listen <ADDRESS:PORT>': write an IP address and a port, for example 192.0.2.7:8443 or [::]:8443")),
        (&["serve", "--listen", "[::1]"], 2, usage("invalid value '[::1]' for '--listen <ADDRESS:PORT>': write an IP address and a port, for example 192.0.2.7:8443 or [::]:8443")),
        (&["serve", "--listen", "192.0.2.1:0"], 1, "192.0.2.1:0 cannot be listened on: Cannot assign requested address (os error 99); choose another address with --listen".into()),
        (&["image", "list", "--database", "mysql://me:hunter2@db/x"], 1, "the catalog cannot be opened: its address does not begin with postgres://; write it as postgres://USER:PASSWORD@HOST/DATABASE".into()),
        (&["image", "list", "--database", "postgres://me:hunter2@127.0.0.1:1/x"], 1, "the catalog cannot be opened: its server cannot be reached (Connection refused (os error 111)); check the address and that the server runs".into()),
        (&["image", "list", "--database", "postgres://me:hunter2@[::1/x"], 1, "the catalog cannot be opened: its address cannot be read (invalid IPv6 address); write it as postgres://USER:PASSWORD@HOST/DATABASE".into()),
        (&["image", "list", "--database", "nonsense"], 1, "the catalog cannot be opened: its address does not begin with postgres://; write it as postgres://USER:PASSWORD@HOST/DATABASE".into()),
    ] {
        tried(&house, &mut table, arguments, b"", code, &words);
    }
    for (name, value, words) in [
        ("HEADWATER_GRACE_HOURS", &b"long"[..], wrong("HEADWATER_GRACE_HOURS: invalid value 'long', expected a whole number from 0 to 4294967295")),
        ("HEADWATER_GRACE_HOURS", b"-1", wrong("HEADWATER_GRACE_HOURS: invalid value '-1', expected a whole number from 0 to 4294967295")),
        ("HEADWATER_LISTEN", b"8443", wrong("HEADWATER_LISTEN: this is no address with a port; write it as 192.0.2.7:8443 or [::]:8443")),
        ("HEADWATER_LISTEN", b"\xff", wrong("HEADWATER_LISTEN: it is not written in UTF-8")),
        ("HEADWATER_TLS_ALLOW_1_2", b"perhaps", wrong("HEADWATER_TLS_ALLOW_1_2: neither true nor false: 'perhaps'")),
        ("HEADWATER_TLS_CERTIFICATE", b"a.pem", "tls.certificate and tls.key belong together; set both, or neither to use the one of the first run".into()),
        ("HEADWATER_LIMITS_CONNECTIONS", b"0", "limits.connections is 0, with which nothing would be served; give at least 1".into()),
        ("HEADWATER_ARCHITECTURES", b"vax", "architectures: \"vax\" is no architecture that LXD or Incus knows; known ones are i686, x86_64, armv6l, armv7l, armv8l, aarch64, ppc, ppc64, ppc64le, s390x, mips, mips64, riscv32, riscv64, loongarch64".into()),
        ("HEADWATER_LOG_FORMAT", b"xml", wrong("HEADWATER_LOG_FORMAT: unknown variant `xml`, expected `text` or `json`")),
        ("HEADWATER_LOG_LEVEL", b"shouting=very", "log.level \"shouting=very\" cannot be read (error parsing level filter: expected one of \"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\", or a number 0-5); use error, warn, info, debug or trace, or a list such as \"info,access=warn\"".into()),
        ("HEADWATER_CONFIG", b"missing.toml", wrong("missing.toml: No such file or directory (os error 2)")),
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
    table.end(41);
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
            "no Headwater data in missing; `headwater serve` or `headwater publish` makes it".to_owned(),
        ),
        ("file", &["image", "list"], "the data folder \"file\" cannot be used: it is a file; give another one with --data, or mend its permissions".into()),
        ("file", &["publish", "file"], "the data folder \"file\" cannot be used: it is a file; give another one with --data, or mend its permissions".into()),
        ("noise", &["image", "list"], "the catalog's database is damaged (file is not a database); stop headwater, keep a copy of the file, and restore a backup".into()),
        ("text", &["image", "list"], "the catalog's database is damaged (file is not a database); stop headwater, keep a copy of the file, and restore a backup".into()),
        ("other-blobs", &["image", "list"], "the blob store has layout \"headwater-blobs 99\", this program knows \"1\"; start the headwater that made it, or restore a backup".into()),
        ("no-version", &["image", "list"], "the blob store has layout \"\", this program knows \"1\"; start the headwater that made it, or restore a backup".into()),
    ] {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--data", name]);
        tried(&house, &mut table, &arguments, b"", 1, &words);
    }
    assert_eq!(house.read("file"), b"I am a file.\n");
    assert_eq!(house.read("noise/catalog.db"), crate::kit::archives::noise(10_000));
    table.end(7);
}
