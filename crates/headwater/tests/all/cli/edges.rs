//! What holds for every command: where the data is, what is printed where, and how it ends.

use std::process::{Command, Stdio};

use super::kit::{House, Sample, run};

#[test]
fn commands_that_read_make_no_data_directory() {
    let house = House::new();
    let data = house.data();
    for arguments in [
        &["image", "list"][..],
        &["image", "show", "x"],
        &["image", "delete", "x"],
        &["alias", "list"],
        &["project", "list"],
        &["audit"],
    ] {
        house.run(arguments).fails(
            1,
            &format!("no Headwater data in {}; `headwater serve` or `headwater publish` makes it", data.display()),
        );
        assert!(!data.exists());
    }
}

#[test]
fn the_data_directory_is_found() {
    let house = House::new();
    house.publish(&Sample::default(), &[]);
    let bare = |variables: &[(&str, &std::path::Path)], arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
        command.env_clear().envs(variables.iter().copied()).current_dir(house.folder.path()).args(arguments);
        run(command, b"")
    };
    assert_eq!(bare(&[], &["image", "list", "--data", "data", "--format", "csv"]).ok().out.lines().count(), 1);
    if std::path::Path::new("/var/lib/headwater").exists() {
        return; // Root would find that one.
    }
    let missing = |ran: super::kit::Ran, folder: &std::path::Path| {
        ran.fails(
            1,
            &format!("no Headwater data in {}; `headwater serve` or `headwater publish` makes it", folder.display()),
        );
    };
    let home = house.folder.path();
    missing(bare(&[("XDG_DATA_HOME", &home.join("x"))], &["alias", "list"]), &home.join("x/headwater"));
    missing(bare(&[("HOME", home)], &["alias", "list"]), &home.join(".local/share/headwater"));
    bare(&[], &["alias", "list"])
        .fails(2, "neither $XDG_DATA_HOME nor $HOME names a folder; say where the data is with --data DIR");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let house = House::new();
    house.publish(&Sample::default(), &[]);
    for format in ["table", "json", "yaml", "csv", "compact"] {
        let mut command = house.command(&["image", "list", "--format", format]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
    }
}

#[test]
fn texts_of_strangers_cannot_steer_the_terminal() {
    let house = House::new();
    house.publish(&Sample::default(), &["--property", "description=\u{1b}[2Jgone"]);
    let ran = house.run(&["image", "list"]).ok();
    assert!(ran.out.contains("\\u{1b}[2Jgone") && !ran.out.contains('\u{1b}'), "{}", ran.out);
}

#[test]
fn usage_errors_have_their_own_code() {
    let house = House::new();
    for arguments in [&[][..], &["imaeg"], &["image", "list", "--format", "xml"], &["publish"]] {
        let ran = house.run(arguments);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{arguments:?}: {ran:?}");
    }
    assert!(house.run(&["imaeg"]).err.starts_with("Error: unrecognized subcommand 'imaeg'"));
}

#[test]
fn help_and_version_are_data() {
    let house = House::new();
    let ran = house.run(&["--version"]).ok();
    assert_eq!((ran.out, ran.err.as_str()), (format!("headwater {}\n", env!("CARGO_PKG_VERSION")), ""));
    let ran = house.run(&["image", "list", "--help"]).ok();
    assert!(ran.out.contains("Examples:\n  headwater image list\n"), "{}", ran.out);
}

#[test]
fn help_shows_no_secrets_of_the_environment() {
    let house = House::new();
    let mut command = house.command(&["--help"]);
    command.env("HEADWATER_DATABASE", "postgres://me:hush-hush@db/x");
    let ran = run(command, b"").ok();
    assert!(ran.out.contains("HEADWATER_DATABASE") && !ran.out.contains("hush-hush"), "{}", ran.out);
}

#[test]
fn every_shell_gets_its_completions() {
    let house = House::new();
    for (shell, part) in [("bash", "_headwater()"), ("zsh", "#compdef headwater"), ("fish", "complete -c headwater")] {
        let ran = house.run(&["completions", shell]).ok();
        assert!(ran.out.contains(part), "{shell}");
        assert!(ran.out.contains("publish"), "{shell}");
    }
}
