//! `docs/reference/commands.md` says what the program says. To write it anew:
//! `HEADWATER_UPDATE_DOCS=1 cargo test --package headwater cli::reference`.

use std::fmt::Write;
use std::path::Path;

use clap::{Arg, Command};

#[test]
fn the_reference_of_commands_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/commands.md");
    let mut root = headwater::cli::command();
    root.build();
    let mut text = "# Commands\n\n<!-- Made from the program by a test (crates/headwater/tests/all/cli/reference.rs). \
                    Do not edit. -->\n\n"
        .to_owned();
    page(&mut text, &root, "headwater", true);
    if std::env::var_os("HEADWATER_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "docs/reference/commands.md is not what the program says; HEADWATER_UPDATE_DOCS=1 in the environment of this test writes it anew"
    );
}

#[test]
fn every_command_teaches() {
    fn walk(command: &Command, path: &str) {
        let verbs: Vec<&Command> = command.get_subcommands().filter(|verb| verb.get_name() != "help").collect();
        assert!(command.get_about().is_some(), "{path} says nothing of itself");
        if verbs.is_empty() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Examples:\n") && help.contains(path), "{path} has no example");
        }
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{path}: {} has no help", argument.get_id());
        }
        for verb in verbs {
            walk(verb, &format!("{path} {}", verb.get_name()));
        }
    }
    walk(&headwater::cli::command(), "headwater");
}

fn page(text: &mut String, command: &Command, path: &str, top: bool) {
    let mut usage = command.clone().render_usage().to_string();
    if let Some(rest) = usage.strip_prefix("Usage: ") {
        usage = rest.to_owned();
    }
    writeln!(text, "{} `{path}`\n", if top { "##" } else { "###" }).unwrap();
    let about = command.get_long_about().or(command.get_about());
    writeln!(text, "{}\n", escape(&about.map(ToString::to_string).unwrap_or_default())).unwrap();
    writeln!(text, "```text\n{usage}\n```\n").unwrap();
    let mut arguments: Vec<&Arg> = command
        .get_arguments()
        .filter(|argument| {
            (top || !argument.is_global_set()) && !["help", "version"].contains(&argument.get_id().as_str())
        })
        .collect();
    arguments.sort_by_key(|argument| !argument.is_positional());
    if !arguments.is_empty() {
        writeln!(text, "| | |\n| --- | --- |").unwrap();
        for argument in arguments {
            row(text, argument);
        }
        writeln!(text).unwrap();
    }
    if let Some(help) = command.get_after_help() {
        let help = help.to_string();
        let examples = help.strip_prefix("Examples:\n").unwrap_or(&help).lines();
        let examples: Vec<&str> = examples.map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
        writeln!(text, "Examples:\n\n```text\n{}\n```\n", examples.join("\n")).unwrap();
    }
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        page(text, verb, &format!("{path} {}", verb.get_name()), false);
    }
}

fn row(text: &mut String, argument: &Arg) {
    let mut names = Vec::new();
    if argument.is_positional() {
        let name = argument.get_value_names().map_or(argument.get_id().as_str(), |names| names[0].as_str());
        names.push(format!("`{name}`"));
    }
    if let Some(short) = argument.get_short() {
        names.push(format!("`-{short}`"));
    }
    if let Some(long) = argument.get_long() {
        let takes = argument.get_num_args().is_some_and(|range| range.takes_values());
        let value = argument.get_value_names().filter(|_| takes).map(|names| format!(" {}", names[0]));
        names.push(format!("`--{long}{}`", value.unwrap_or_default()));
    }
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut notes = vec![escape(&help).replace("\n\n", "<br>").replace('\n', " ")];
    let values: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|_| argument.get_num_args().is_some_and(|range| range.takes_values()))
        .map(|value| match value.get_help() {
            Some(help) => format!("`{}`: {}", value.get_name(), escape(&help.to_string())),
            None => format!("`{}`", value.get_name()),
        })
        .collect();
    if !values.is_empty() {
        notes.push(format!("One of {}", values.join("; ")));
    }
    if let [default, ..] = argument.get_default_values()
        && !default.is_empty()
    {
        notes.push(format!("Default: `{}`", default.display()));
    }
    if let Some(variable) = argument.get_env() {
        notes.push(format!("Environment: `{}`", variable.display()));
    }
    writeln!(text, "| {} | {} |", names.join(", "), notes.join("<br>")).unwrap();
}

/// Texts of the program are plain; in Markdown some characters have a meaning.
fn escape(text: &str) -> String {
    let mut code = false;
    let mut escaped = String::new();
    for character in text.chars() {
        code ^= character == '`';
        if !code && matches!(character, '<' | '*' | '_' | '[') || character == '|' {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}
