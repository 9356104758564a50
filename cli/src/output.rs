//! The only place that prints to stdout: data, nothing else. A table on a terminal, header-less TSV
//! in a pipe, or what `-o` says. A reader that went away ends the program quietly.

use std::io::{ErrorKind, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, Value};

/// How data are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    Table,
    /// Tab-separated, no header; tabs and line ends in a value are escaped.
    Tsv,
    /// Comma-separated with a header.
    Csv,
    /// One JSON value.
    Json,
    /// One JSON object a line.
    Ndjson,
}

/// Terminals narrower than this are not wrapped to.
const WRAP_FROM: u16 = 40;

/// The reader of stdout is gone: nothing is wrong, and nothing more is to be said.
#[derive(Debug, thiserror::Error)]
#[error("stdout was closed")]
pub(crate) struct StdoutClosed;

/// Rows of the same columns.
pub(crate) struct Rows {
    pub(crate) columns: &'static [&'static str],
    pub(crate) rows: Vec<Vec<Value>>,
}

/// Stdout, buffered until `flush`.
pub(crate) struct Output {
    format: Format,
    buffer: Vec<u8>,
}

impl Output {
    pub(crate) fn new(asked: Option<Format>) -> Self {
        let default = if std::io::stdout().is_terminal() {
            Format::Table
        } else {
            Format::Tsv
        };
        Self {
            format: asked.unwrap_or(default),
            buffer: Vec::new(),
        }
    }

    /// Raw bytes, for message bodies.
    pub(crate) fn raw(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    pub(crate) fn rows(&mut self, rows: &Rows) {
        let text = render_rows(self.format, rows);
        self.buffer.extend_from_slice(text.as_bytes());
    }

    /// Objects that need not have the same fields: one JSON value, or one a line.
    pub(crate) fn objects(&mut self, objects: Vec<Value>) {
        let text = match self.format {
            Format::Json => pretty(&Value::Array(objects)),
            _ => lines(objects.iter().map(Value::to_string)),
        };
        self.buffer.extend_from_slice(text.as_bytes());
    }

    /// One thing with named values.
    pub(crate) fn record(&mut self, record: &[(impl AsRef<str>, Value)]) {
        let text = render_record(self.format, record);
        self.buffer.extend_from_slice(text.as_bytes());
    }

    /// Writes what is buffered. On a thread of its own: a slow reader must not stop the heartbeat.
    pub(crate) async fn flush(&mut self) -> anyhow::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut bytes = std::mem::take(&mut self.buffer);
        let written = tokio::task::spawn_blocking(move || {
            let mut stdout = std::io::stdout().lock();
            let result = stdout.write_all(&bytes).and_then(|()| stdout.flush());
            bytes.clear();
            (result, bytes)
        });
        let (result, bytes) = written.await?;
        self.buffer = bytes;
        match result {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(StdoutClosed.into()),
            other => Ok(other?),
        }
    }
}

fn render_rows(format: Format, rows: &Rows) -> String {
    let cells = |separator: &str, cell: fn(&Value) -> String| {
        let line = |row: &Vec<Value>| row.iter().map(cell).collect::<Vec<_>>().join(separator);
        lines(rows.rows.iter().map(line))
    };
    match format {
        Format::Table => table(Some(rows.columns), &rows.rows),
        Format::Tsv => cells("\t", |value| tsv(&plain(value))),
        Format::Csv => rows.columns.join(",") + "\n" + &cells(",", |value| csv(&plain(value))),
        Format::Json => {
            let objects = rows
                .rows
                .iter()
                .map(|row| object(rows.columns, row))
                .collect();
            pretty(&Value::Array(objects))
        }
        Format::Ndjson => {
            let objects = rows.rows.iter().map(|row| object(rows.columns, row));
            lines(objects.map(|object| object.to_string()))
        }
    }
}

fn render_record(format: Format, record: &[(impl AsRef<str>, Value)]) -> String {
    let pairs = record
        .iter()
        .map(|(name, value)| (name.as_ref(), value.clone()));
    let (columns, row): (Vec<_>, Vec<_>) = pairs.unzip();
    match format {
        Format::Table => {
            let pairs = columns.into_iter().zip(row);
            let pairs = pairs.map(|(name, value)| vec![Value::from(name), value]);
            table(None, &pairs.collect::<Vec<_>>())
        }
        Format::Tsv => {
            let pair = |(name, value)| format!("{name}\t{}", tsv(&plain(value)));
            lines(columns.into_iter().zip(&row).map(pair))
        }
        Format::Csv => {
            let cells: Vec<_> = row.iter().map(|value| csv(&plain(value))).collect();
            format!("{}\n{}\n", columns.join(","), cells.join(","))
        }
        Format::Json => pretty(&object(&columns, &row)),
        Format::Ndjson => format!("{}\n", object(&columns, &row)),
    }
}

fn table(header: Option<&[&str]>, rows: &[Vec<Value>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    // A terminal that does not know its width, or has none to speak of, gets whole lines.
    if table.width().is_some_and(|width| width >= WRAP_FROM) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    if let Some(header) = header {
        table.set_header(header.iter().map(|name| name.to_uppercase()));
    }
    for row in rows {
        table.add_row(row.iter().map(plain));
    }
    table.trim_fmt() + "\n"
}

/// Each with a line end.
fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.flat_map(|line| [line, "\n".to_owned()]).collect()
}

fn object(columns: &[&str], row: &[Value]) -> Value {
    let pairs = columns
        .iter()
        .map(|name| (*name).to_owned())
        .zip(row.iter().cloned());
    Value::Object(pairs.collect::<Map<_, _>>())
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// A value outside JSON: text without quotes, nothing for null.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn tsv(text: &str) -> String {
    if !text.contains(['\t', '\n', '\r', '\\']) {
        return text.to_owned();
    }
    let escaped = text.replace('\\', "\\\\").replace('\t', "\\t");
    escaped.replace('\n', "\\n").replace('\r', "\\r")
}

fn csv(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Rows {
        Rows {
            columns: &["name", "ready"],
            rows: vec![
                vec!["jobs".into(), 3.into()],
                vec!["a,\"b\"\tc".into(), Value::Null],
            ],
        }
    }

    #[test]
    fn a_pipe_gets_tabs_without_a_header_and_one_line_a_row() {
        assert_eq!(
            render_rows(Format::Tsv, &sample()),
            "jobs\t3\na,\"b\"\\tc\t\n"
        );
    }

    #[test]
    fn csv_has_a_header_and_quotes_what_needs_it() {
        let expected = "name,ready\njobs,3\n\"a,\"\"b\"\"\tc\",\n";
        assert_eq!(render_rows(Format::Csv, &sample()), expected);
    }

    #[test]
    fn json_keeps_the_order_of_the_columns_and_ndjson_is_one_object_a_line() {
        let lines = render_rows(Format::Ndjson, &sample());
        assert!(
            lines.starts_with("{\"name\":\"jobs\",\"ready\":3}\n"),
            "{lines}"
        );
        let whole: Value = serde_json::from_str(&render_rows(Format::Json, &sample())).unwrap();
        assert_eq!(whole[0]["ready"], 3);
    }

    #[test]
    fn a_record_reads_as_pairs_or_as_one_object() {
        let record = [("name", Value::from("jobs")), ("ready", Value::from(3))];
        assert_eq!(
            render_record(Format::Tsv, &record),
            "name\tjobs\nready\t3\n"
        );
        assert_eq!(render_record(Format::Csv, &record), "name,ready\njobs,3\n");
        let json = render_record(Format::Ndjson, &record);
        assert_eq!(json, "{\"name\":\"jobs\",\"ready\":3}\n");
    }

    #[test]
    fn a_table_has_a_header_in_capitals_and_no_frame() {
        let text = render_rows(Format::Table, &sample());
        assert!(text.contains("NAME"), "{text}");
        assert!(!text.contains('|'), "{text}");
    }
}
