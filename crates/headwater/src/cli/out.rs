//! What is printed, and where: data on standard output in the format that was asked for, talk on standard error.
//!
//! ```text
//! let mut list = out.list(&["ALIAS", "TARGET"]);
//! list.add(&alias, || vec![alias.name.to_string(), target])?;
//! list.end()?;
//! ```
//!
//! Tables look as `lxc` draws them. It knows nothing of images.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use clap::ValueEnum;
use comfy_table::{Cell, CellAlignment, Table};
use serde::Serialize;

use super::human::one_line;
use super::stop::Stop;

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people: tables with borders, text for a single thing
    Table,
    /// For programs: all the fields, sizes in bytes, times in RFC 3339
    Json,
    /// As json, in YAML
    Yaml,
    /// The cells of the table, separated by commas, without a header line
    Csv,
    /// Tables without borders
    Compact,
}

/// The two streams.
#[derive(Debug, Clone, Copy)]
pub(super) struct Out {
    format: Option<Format>,
    quiet: bool,
}

impl Out {
    pub(super) fn new(format: Option<Format>, quiet: bool) -> Self {
        Self { format, quiet }
    }

    /// Writes data as it is.
    pub(super) fn data(&self, text: &str) -> Result<(), Stop> {
        self.bytes(text.as_bytes())
    }

    /// Writes data that is no text.
    pub(super) fn bytes(&self, bytes: &[u8]) -> Result<(), Stop> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| Stop::writing(&error))
    }

    /// Says a line to the person, unless they asked for silence.
    pub(super) fn say(&self, line: impl Display) {
        if !self.quiet {
            // Talk that nobody can hear is no reason to stop working.
            let _ = writeln!(io::stderr().lock(), "{}", one_line(&line.to_string()));
        }
    }

    /// Says a text of several lines.
    pub(super) fn say_lines(&self, text: &str) {
        text.lines().for_each(|line| self.say(line));
    }

    /// Whether moving things (progress) may be drawn on standard error.
    pub(super) fn may_animate(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Prints one thing: `text` for people, the object for programs.
    pub(super) fn object(&self, object: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Stop> {
        match self.format {
            None | Some(Format::Table) => self.data(&text()),
            Some(Format::Json) => self.data(&json_lines(object)?),
            Some(Format::Yaml) => self.data(&yaml(object)?),
            Some(Format::Csv | Format::Compact) => {
                Err(Stop::usage("only lists have the formats csv and compact; use table, json or yaml here"))
            }
        }
    }

    /// Prints one thing that has its best form in YAML: also for people.
    pub(super) fn document(&self, object: &impl Serialize) -> Result<(), Stop> {
        let text = yaml(object)?;
        self.object(object, || text)
    }

    /// Begins a list with these columns.
    pub(super) fn list(&self, columns: &[&'static str]) -> List {
        List { empty_is_shown: true, ..self.findings(columns) }
    }

    /// Begins a list whose rows stay in the order in which they come.
    pub(super) fn log(&self, columns: &[&'static str]) -> List {
        List { sorted: false, ..self.list(columns) }
    }

    /// Prints an item of a list that has no end: a line of JSON, an item of YAML, a line of CSV, or the cells beside each other.
    pub(super) fn follow(&self, object: &impl Serialize, cells: &[String]) -> Result<(), Stop> {
        match self.format {
            Some(Format::Json) => self.data(&(serde_json::to_string(object)? + "\n")),
            Some(Format::Yaml) => self.data(&yaml(&[object])?),
            Some(Format::Csv) => self.data(&csv_line(cells)),
            None | Some(Format::Table | Format::Compact) => {
                let cells: Vec<String> =
                    cells.iter().filter(|cell| !cell.is_empty()).map(|cell| one_line(cell)).collect();
                self.data(&(cells.join("  ") + "\n"))
            }
        }
    }

    /// Whether a person reads, rather than a program.
    pub(super) fn for_people(&self) -> bool {
        matches!(self.format, None | Some(Format::Table | Format::Compact))
    }

    /// Begins a list of what was found wrong, or was done: when there is nothing, people see no table.
    pub(super) fn findings(&self, columns: &[&'static str]) -> List {
        List {
            empty_is_shown: false,
            sorted: true,
            format: self.format.unwrap_or(Format::Table),
            columns: columns.to_vec(),
            rows: Vec::new(),
            count: 0,
            stdout: BufWriter::new(io::stdout()),
        }
    }
}

/// YAML of an object, as `lxc` writes it: no folding of long texts, a line feed at the end.
pub(super) fn yaml(object: &impl Serialize) -> Result<String, Stop> {
    let mut options = serde_saphyr::SerializerOptions::default();
    options.prefer_block_scalars = false;
    let mut text = String::new();
    serde_saphyr::to_fmt_writer_with_options(&mut text, object, options)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

fn json_lines(object: &impl Serialize) -> Result<String, Stop> {
    Ok(serde_json::to_string_pretty(object)? + "\n")
}

/// A list that is being printed. JSON and YAML are written as the items come; tables have to know all their rows first.
pub(super) struct List {
    format: Format,
    empty_is_shown: bool,
    sorted: bool,
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    count: u64,
    stdout: BufWriter<Stdout>,
}

impl List {
    /// The next item: the object for programs, the cells for people.
    pub(super) fn add(&mut self, object: &impl Serialize, cells: impl FnOnce() -> Vec<String>) -> Result<(), Stop> {
        let text = match self.format {
            Format::Json => {
                let before = if self.count == 0 { "[" } else { ",\n" };
                before.to_owned() + &serde_json::to_string(object)?
            }
            Format::Yaml => yaml(&[object])?,
            Format::Csv | Format::Table | Format::Compact => {
                self.rows.push(cells());
                String::new()
            }
        };
        self.count += 1;
        self.stdout.write_all(text.as_bytes()).map_err(|error| Stop::writing(&error))
    }

    /// Writes what is left to write. Rows of tables are sorted by their first cell, then by the others; rows without
    /// a first cell come last. Those of a [log](Out::log) stay as they are.
    pub(super) fn end(mut self) -> Result<(), Stop> {
        if self.sorted {
            self.rows.sort_by(|a, b| {
                let empty_last = |row: &[String]| row.first().is_some_and(String::is_empty);
                empty_last(a).cmp(&empty_last(b)).then_with(|| a.cmp(b))
            });
        }
        let text = match self.format {
            Format::Json if self.count == 0 => "[]\n".to_owned(),
            Format::Json => "]\n".to_owned(),
            Format::Yaml if self.count == 0 => "[]\n".to_owned(),
            Format::Yaml => String::new(),
            Format::Csv => self.rows.iter().map(|row| csv_line(row)).collect(),
            Format::Table | Format::Compact if self.rows.is_empty() && !self.empty_is_shown => String::new(),
            Format::Table => bordered(&self.columns, &self.rows),
            Format::Compact => borderless(&self.columns, &self.rows),
        };
        self.stdout.write_all(text.as_bytes()).and_then(|()| self.stdout.flush()).map_err(|error| Stop::writing(&error))
    }
}

/// One line by RFC 4180, except that it ends with a line feed alone.
fn csv_line(cells: &[String]) -> String {
    let mut line = String::new();
    for (index, cell) in cells.iter().enumerate() {
        if index > 0 {
            line.push(',');
        }
        if cell.contains([',', '"', '\n', '\r']) {
            line.push('"');
            line.push_str(&cell.replace('"', "\"\""));
            line.push('"');
        } else {
            line.push_str(cell);
        }
    }
    line.push('\n');
    line
}

/// The lines that `lxc` draws: `-`, `|` and `+`, with a rule under every row.
const RULED: &str = "||--+-++|-+++++++++";

fn table(preset: &str, columns: &[&str], rows: &[Vec<String>], header: CellAlignment) -> Table {
    let mut table = Table::new();
    table.load_preset(preset);
    table.set_header(columns.iter().map(|column| Cell::new(column).set_alignment(header)));
    for row in rows {
        table.add_row(row.iter().map(|cell| Cell::new(one_line(cell))));
    }
    table
}

fn bordered(columns: &[&str], rows: &[Vec<String>]) -> String {
    let drawn = table(RULED, columns, rows, CellAlignment::Center).to_string();
    // Without rows, the rule under the header is the end of the table; comfy-table draws one more.
    let lines = if rows.is_empty() { 3 } else { usize::MAX };
    drawn.lines().take(lines).flat_map(|line| [line, "\n"]).collect()
}

fn borderless(columns: &[&str], rows: &[Vec<String>]) -> String {
    format!("{}\n", table(comfy_table::presets::NOTHING, columns, rows, CellAlignment::Left).trim_fmt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<String>> {
        [["a", "x, \"y\""], ["longer name", "é\x1b"]].map(|row| row.map(str::to_owned).to_vec()).to_vec()
    }

    #[test]
    fn tables_look_as_lxc_draws_them() {
        let expected = "\
+-------------+---------+
|     NAME    |  VALUE  |
+-------------+---------+
| a           | x, \"y\"  |
+-------------+---------+
| longer name | é\\u{1b} |
+-------------+---------+
";
        assert_eq!(bordered(&["NAME", "VALUE"], &rows()), expected);
        assert_eq!(bordered(&["NAME"], &[]), "+------+\n| NAME |\n+------+\n");
    }

    #[test]
    fn compact_tables_have_no_lines() {
        let expected = " NAME         VALUE\n a            x, \"y\"\n longer name  é\\u{1b}\n";
        assert_eq!(borderless(&["NAME", "VALUE"], &rows()), expected);
    }

    #[test]
    fn csv_is_quoted_where_it_must_be() {
        assert_eq!(csv_line(&rows()[0]), "a,\"x, \"\"y\"\"\"\n");
    }

    #[test]
    fn yaml_reads_back_as_the_same_text() {
        let map = std::collections::BTreeMap::from(
            [("release", "22.10"), ("yes", "no"), ("text", "a: b\n#c"), ("empty", ""), ("long", &"word ".repeat(50))]
                .map(|(k, v)| (k.to_owned(), v.to_owned())),
        );
        let text = yaml(&map).unwrap();
        assert_eq!(serde_saphyr::from_str::<std::collections::BTreeMap<String, String>>(&text).unwrap(), map);
        assert!(!text.contains('>'), "{text}");
    }
}
