//! All printing: results as a table or as one JSON document on stdout, messages on stderr.

use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value;

use super::CliError;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: one document, stable field names (docs/cli-json.md).
    Json,
}

/// One column of a table, or one line of a card.
#[derive(Clone, Copy)]
pub struct Column {
    title: &'static str,
    cell: Cell,
}

#[derive(Clone, Copy)]
enum Cell {
    Field(&'static str),
    With(fn(&Value) -> String),
}

impl std::fmt::Debug for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Column").field(&self.title).finish()
    }
}

impl Column {
    /// The field `name` of each row; `a/b` reaches into objects.
    pub const fn field(title: &'static str, name: &'static str) -> Self {
        Self {
            title,
            cell: Cell::Field(name),
        }
    }

    /// Whatever `cell` makes of each row.
    pub const fn with(title: &'static str, cell: fn(&Value) -> String) -> Self {
        Self {
            title,
            cell: Cell::With(cell),
        }
    }

    fn text(&self, row: &Value) -> String {
        match self.cell {
            Cell::Field(name) => plain(name.split('/').try_fold(row, |value, part| value.get(part))),
            Cell::With(cell) => printable(&cell(row)),
        }
    }
}

/// Where a command prints.
pub struct Output {
    format: Format,
    color: bool,
    stdout: Mutex<Box<dyn Write + Send>>,
    stderr: Mutex<Box<dyn Write + Send>>,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output")
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl Output {
    /// To the process's own streams. Colour only on a terminal and without `NO_COLOR`.
    pub fn standard(format: Format) -> Self {
        let color =
            std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && io::stderr().is_terminal();
        Self::new(
            format,
            color,
            Box::new(io::BufWriter::new(io::stdout())),
            Box::new(io::stderr()),
        )
    }

    /// To anything.
    pub fn new(format: Format, color: bool, out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Self {
        Self {
            format,
            color,
            stdout: Mutex::new(out),
            stderr: Mutex::new(err),
        }
    }

    /// Into memory, for tests: the output and what was written to stdout and stderr.
    pub fn captured(format: Format) -> (Self, Captured, Captured) {
        let (out, err) = (Captured::default(), Captured::default());
        (
            Self::new(format, false, Box::new(out.clone()), Box::new(err.clone())),
            out,
            err,
        )
    }

    /// The format asked for.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Prints rows: a table, or `rows` as it is. `rows` is a JSON array.
    pub fn list(&self, rows: &Value, columns: &[Column]) -> Result<(), CliError> {
        match self.format {
            Format::Json => self.json(rows),
            Format::Table => {
                let mut table = bare_table();
                table.set_header(columns.iter().map(|column| column.title));
                for row in rows.as_array().map(Vec::as_slice).unwrap_or_default() {
                    table.add_row(columns.iter().map(|column| column.text(row)));
                }
                self.table(&mut table)
            }
        }
    }

    /// Prints one object: a line per column (those without a value are left out), or `item` as it is.
    pub fn item(&self, item: &Value, columns: &[Column]) -> Result<(), CliError> {
        match self.format {
            Format::Json => self.json(item),
            Format::Table => {
                let mut table = bare_table();
                for column in columns {
                    let text = column.text(item);
                    if text != NOTHING {
                        table.add_row([format!("{}:", column.title), text]);
                    }
                }
                self.table(&mut table)
            }
        }
    }

    /// Says that something was done: a line on stderr for people, `item` on stdout for programs.
    pub fn done(&self, item: &impl Serialize, message: &str) -> Result<(), CliError> {
        match self.format {
            Format::Json => self.json(item),
            Format::Table => {
                self.note(message);
                Ok(())
            }
        }
    }

    /// Prints one JSON document.
    pub fn json(&self, document: &impl Serialize) -> Result<(), CliError> {
        let mut text = serde_json::to_vec_pretty(document)
            .map_err(|error| CliError::failed("cannot print the result", error))?;
        text.push(b'\n');
        self.data(&text)
    }

    /// Writes data to stdout as it is: an assertion, CSV, a script.
    pub fn data(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut stdout = self.stdout.lock().unwrap_or_else(PoisonError::into_inner);
        stdout.write_all(bytes).map_err(|error| CliError::writing(&error))
    }

    /// Like [`Output::data`], and makes sure it is seen now.
    pub fn data_now(&self, bytes: &[u8]) -> Result<(), CliError> {
        self.data(bytes)?;
        self.finish()
    }

    /// A line for people, on stderr.
    pub fn note(&self, message: &str) {
        self.message(&printable(message));
    }

    /// A warning, on stderr.
    pub fn warn(&self, message: &str) {
        let (start, end) = if self.color {
            ("\x1b[33m", "\x1b[0m")
        } else {
            ("", "")
        };
        self.message(&format!("{start}warning{end}: {}", printable(message)));
    }

    /// Why the command failed, on stderr.
    pub fn error(&self, message: &str) {
        let (start, end) = if self.color {
            ("\x1b[1;31m", "\x1b[0m")
        } else {
            ("", "")
        };
        self.message(&format!("{start}error{end}: {}", printable(message)));
    }

    /// Flushes stdout.
    pub fn finish(&self) -> Result<(), CliError> {
        let mut stdout = self.stdout.lock().unwrap_or_else(PoisonError::into_inner);
        stdout.flush().map_err(|error| CliError::writing(&error))
    }

    fn message(&self, line: &str) {
        // Results come before the messages about them; a message nobody can read is no reason to fail.
        let _closed = self.finish();
        let mut stderr = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let _closed = writeln!(stderr, "{line}");
    }

    fn table(&self, table: &mut comfy_table::Table) -> Result<(), CliError> {
        table.column_iter_mut().for_each(|column| {
            column.set_padding((0, 2));
        });
        let mut text = String::new();
        for line in table.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        self.data(text.as_bytes())
    }
}

/// What was written; for tests.
#[derive(Clone, Debug, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// The text so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Stands for "no value" in tables.
const NOTHING: &str = "-";

fn bare_table() -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table
        .load_preset(comfy_table::presets::NOTHING)
        .set_content_arrangement(comfy_table::ContentArrangement::Disabled);
    table
}

fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => NOTHING.to_owned(),
        Some(Value::Bool(yes)) => if *yes { "yes" } else { "no" }.to_owned(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) if text.is_empty() => NOTHING.to_owned(),
        Some(Value::String(text)) => printable(text),
        Some(Value::Array(items)) if items.is_empty() => NOTHING.to_owned(),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| plain(Some(item)))
            .collect::<Vec<_>>()
            .join(", "),
        Some(Value::Object(_)) => printable(&value.map(Value::to_string).unwrap_or_default()),
    }
}

/// Control characters from a server or a file must not reach the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut safe, c| {
            if c.is_control() && c != '\n' {
                safe.extend(c.escape_default());
            } else {
                safe.push(c);
            }
            safe
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COLUMNS: &[Column] = &[
        Column::field("EMAIL", "email"),
        Column::field("BRAND", "brand/id"),
        Column::with("SIZE", |row| {
            row["roles"]
                .as_array()
                .map(Vec::len)
                .unwrap_or_default()
                .to_string()
        }),
    ];

    #[test]
    fn rows_become_a_table_without_borders() {
        let (output, out, _) = Output::captured(Format::Table);
        let rows = json!([{"email": "a@b.example", "brand": {"id": "acme"}, "roles": [1, 2]}, {"email": "c@d.example"}]);
        output.list(&rows, COLUMNS).unwrap();
        assert_eq!(
            out.text(),
            "EMAIL        BRAND  SIZE\na@b.example  acme   2\nc@d.example  -      0\n"
        );
    }

    #[test]
    fn json_is_one_document() {
        let (output, out, _) = Output::captured(Format::Json);
        output.list(&json!([{"email": "x"}]), COLUMNS).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&out.text()).unwrap(),
            json!([{"email": "x"}])
        );
    }

    #[test]
    fn an_item_leaves_out_what_it_does_not_have() {
        let (output, out, _) = Output::captured(Format::Table);
        output
            .item(&json!({"email": "a@b.example", "roles": []}), COLUMNS)
            .unwrap();
        assert_eq!(out.text(), "EMAIL:  a@b.example\nSIZE:   0\n");
    }

    #[test]
    fn control_characters_are_shown_not_obeyed() {
        let (output, out, err) = Output::captured(Format::Table);
        output
            .list(&json!([{"email": "\u{1b}[2Jx"}]), &COLUMNS[..1])
            .unwrap();
        output.error("cannot show \u{7}");
        assert!(
            !out.text().contains('\u{1b}') && out.text().contains("\\u{1b}[2Jx"),
            "{}",
            out.text()
        );
        assert_eq!(err.text(), "error: cannot show \\u{7}\n");
    }

    #[test]
    fn a_closed_pipe_is_success() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let output = Output::new(Format::Table, false, Box::new(Gone), Box::new(io::sink()));
        assert_eq!(output.data(b"x").unwrap_err().status(), 0);
    }
}
