//! CSV files as people have them → [`Series`].

mod column;
mod missing;
mod source;

use std::path::Path;

use crate::error::{Error, Place, Result};

use super::series::list;
use super::{Series, TimeIndex};
use crate::config::{Config, Missing};
use column::{Column, Role, is_missing, is_value};
use source::Source;

/// Rows between two reports of how far a file is read.
const WATCHED_ROWS: usize = 8192;

/// How a CSV file is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CsvOptions {
    /// The column that holds the time; by default the first one whose every value is a time.
    pub time: Option<String>,
    /// What becomes of missing values.
    pub missing: Missing,
    /// The columns that are needed; none: every column of numbers.
    pub columns: Vec<String>,
}

/// What a run reads of its file.
impl From<&Config> for CsvOptions {
    fn from(config: &Config) -> Self {
        let columns = match config.features.is_empty() {
            // Without a list of features every numeric column is one.
            true => Vec::new(),
            false => config.features.iter().chain(&config.target).cloned().collect(),
        };
        Self { time: config.time.clone(), missing: config.missing, columns }
    }
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// Its numbers.
    pub series: Series,
    /// What the user should know about it: values filled in, gaps in time, columns left out.
    pub notes: Vec<String>,
}

/// Reads a CSV file.
///
/// # Errors
/// If it cannot be read, or for what [`parse_csv`] refuses.
pub fn read_csv(path: &Path, options: &CsvOptions) -> Result<Parsed> {
    let name = path.display().to_string();
    if path.is_dir() {
        return Err(Error::file(Place::file(name), "this is a folder", "name a CSV file in it"));
    }
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::file(
            Place::file(&name),
            "there is no such file",
            "check its name; a relative path starts at the current folder",
        ),
        _ => Error::io("read", path, error),
    })?;
    parse_csv(&name, &bytes, options)
}

/// Reads the bytes of a CSV file in UTF-8. `file_name` is for messages.
///
/// The first line names the columns. Fields are separated by `,`, `;` or tabs and may be quoted; with `;` and tabs numbers may
/// have a decimal comma. Columns of text are left out unless asked for.
///
/// # Errors
/// A file that is not such a table, at its first wrong line: no header, columns of one name, lines with too many or too few
/// fields, text among numbers, infinite numbers, missing values (as `options` say), time that does not increase.
pub fn parse_csv(file_name: &str, bytes: &[u8], options: &CsvOptions) -> Result<Parsed> {
    parse_csv_watched(file_name, bytes, options, &mut |_| {})
}

/// [`parse_csv`], which tells `watch` every few thousand rows what share of the bytes is read.
///
/// # Errors
/// Those of [`parse_csv`].
pub fn parse_csv_watched(
    file_name: &str,
    bytes: &[u8],
    options: &CsvOptions,
    watch: &mut dyn FnMut(f64),
) -> Result<Parsed> {
    let source = Source::new(file_name, bytes)?;
    let mut table = Table::read(&source, options, watch)?;
    let mut time = table.take_time(&source, options)?;
    let Table { columns, mut offsets, mut notes } = table;
    let mut columns = numeric(&source, columns, &offsets, &mut notes)?;
    if let Some(keep) = missing::resolve(&source, &mut columns, &offsets, options.missing, &mut notes)? {
        let mut rows = keep.iter();
        offsets.retain(|_| *rows.next().expect("one flag a row"));
        if let Some((_, reader)) = &mut time {
            reader.retain(&keep);
        }
    }
    let time = match time {
        Some((name, reader)) => {
            let line_of = |row: usize| source.line_at(offsets[row]);
            let (index, gaps) = TimeIndex::new(file_name, &name, reader, &line_of)?;
            notes.extend(gaps);
            Some(index)
        }
        None => None,
    };
    let mut values = Vec::with_capacity(offsets.len() * columns.len());
    for row in 0..offsets.len() {
        values.extend(columns.iter().map(|column| column.values[row]));
    }
    let columns = columns.into_iter().map(|column| column.name).collect();
    Ok(Parsed { series: Series { file: file_name.into(), columns, values, time }, notes })
}

/// All columns as read, before it is known which ones are numbers.
struct Table {
    columns: Vec<Column>,
    /// Where each row starts in the text.
    offsets: Vec<usize>, // [rows]
    notes: Vec<String>,
}

impl Table {
    fn read(source: &Source, options: &CsvOptions, watch: &mut dyn FnMut(f64)) -> Result<Self> {
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(source.separator)
            .has_headers(false)
            .flexible(true)
            .from_reader(source.text.as_bytes());
        let mut record = csv::StringRecord::new();
        read_record(source, &mut reader, &mut record)?;
        let header_offset = start_of(source, &record);
        let mut table =
            Self { columns: header(source, &record, header_offset, options)?, offsets: vec![], notes: vec![] };
        let mut blank = Vec::new();
        let mut last = None;
        while read_record(source, &mut reader, &mut record)? {
            let offset = start_of(source, &record);
            if table.offsets.len() % WATCHED_ROWS == WATCHED_ROWS - 1 {
                watch(offset as f64 / source.text.len() as f64);
            }
            last = record.iter().next_back().filter(|field| field.contains(['\n', '\r'])).map(|_| offset);
            if table.columns.len() == 1 {
                blank.extend(blank_lines(source, &record, offset));
            }
            if record.len() == table.columns.len() && record.iter().all(|field| field.trim().is_empty()) {
                blank.push(offset);
            } else if record.len() != 1 || table.columns.len() == 1 || !record[0].trim().is_empty() {
                // Rows without any value only count where others follow: files end in such lines.
                for offset in blank.drain(..) {
                    table.push(source, std::iter::repeat(""), offset);
                }
                check_length(source, &record, offset, table.columns.len())?;
                table.push(source, record.iter(), offset);
            }
        }
        check_end(source, last)?;
        if table.offsets.is_empty() {
            let remedy = "add one line of values for each time below the column names";
            return Err(Error::file(source.place(header_offset), "no line follows the header", remedy));
        }
        Ok(table)
    }

    fn push<'f>(&mut self, source: &Source, fields: impl Iterator<Item = &'f str>, offset: usize) {
        let row = self.offsets.len();
        for (column, field) in self.columns.iter_mut().zip(fields) {
            column.push(field.trim(), row, source.separator);
        }
        self.offsets.push(offset);
    }

    /// Takes the column of time out of the data: the one asked for, else the first one that is times throughout.
    fn take_time(&mut self, source: &Source, options: &CsvOptions) -> Result<Option<(String, super::time::Reader)>> {
        for column in &mut self.columns {
            let asked = options.time.as_ref() == Some(&column.name);
            let refusal = column.not_time().map(|(row, text)| (source.line_at(self.offsets[row]), text));
            if let Some(reader) = column.take_reader(asked) {
                if reader.is_mixed() {
                    let note = "the offsets from UTC differ; times are kept in UTC";
                    self.notes.push(format!("`{}`: {note}", column.name));
                }
                return Ok(Some((column.name.clone(), reader)));
            }
            let Some((line, text)) = refusal else { continue };
            if asked {
                let place = Place::file(source.file).line(line).column(&column.name);
                let remedy = format!("write every time in one form: {}", super::Form::KNOWN);
                return Err(Error::file(
                    place,
                    format!("{text} is not a time, or not in the form of the first one"),
                    remedy,
                ));
            }
            self.notes.push(format!(
                "`{}` is not taken for the time: {text} in line {line} is not in the form of the first one",
                column.name
            ));
        }
        Ok(None)
    }
}

/// Reads the next record; false at the end.
fn read_record(source: &Source, reader: &mut csv::Reader<&[u8]>, record: &mut csv::StringRecord) -> Result<bool> {
    reader
        .read_record(record)
        .map_err(|error| Error::file(Place::file(source.file), error.to_string(), "write the table as CSV in UTF-8"))
}

/// Where the record's first field starts: the reader's own position may lie before line ends and blank lines.
fn start_of(source: &Source, record: &csv::StringRecord) -> usize {
    let from = position(record);
    let skipped = source.text.as_bytes()[from..].iter().take_while(|&&byte| byte == b'\r' || byte == b'\n').count();
    from + skipped
}

fn position(record: &csv::StringRecord) -> usize {
    record.position().map_or(0, |position| position.byte() as usize)
}

/// The blank lines before a record: in a file of one column each is a missing value.
fn blank_lines<'a>(
    source: &'a Source,
    record: &csv::StringRecord,
    start: usize,
) -> impl Iterator<Item = usize> + use<'a> {
    let bytes = source.text.as_bytes();
    let mut from = position(record);
    if from > 0 && bytes[from - 1] == b'\r' && bytes[from] == b'\n' {
        from += 1;
    }
    (from..start).filter(move |&offset| bytes[offset] == source.newline)
}

fn check_length(source: &Source, record: &csv::StringRecord, offset: usize, columns: usize) -> Result<()> {
    if record.len() == columns {
        return Ok(());
    }
    let s = if record.len() == 1 { "" } else { "s" };
    let problem = format!("{} field{s}, but the header has {columns}", record.len());
    let remedy = if record.iter().any(|field| field.contains('\n')) {
        "a quote that is opened here may not be closed".into()
    } else {
        format!("give every column one value; put quotes around a field that holds {}", source.separator_name())
    };
    Err(Error::file(source.place(offset), problem, remedy))
}

/// Refuses a file that ends within quotes. `last` is where its last record starts if its last field has several lines.
fn check_end(source: &Source, last: Option<usize>) -> Result<()> {
    let Some(offset) = last else { return Ok(()) };
    if source.text[offset..].matches('"').count().is_multiple_of(2) {
        return Ok(());
    }
    Err(Error::file(source.place(offset), "a quote is opened and not closed before the end of the file", "close it"))
}

/// The columns that the header names, each with its role.
fn header(source: &Source, record: &csv::StringRecord, offset: usize, options: &CsvOptions) -> Result<Vec<Column>> {
    let place = || source.place(offset);
    let names: Vec<String> = record
        .iter()
        .enumerate()
        .map(|(index, name)| if name.trim().is_empty() { format!("column {}", index + 1) } else { name.trim().into() })
        .collect();
    let mut fields = record.iter().map(str::trim);
    if fields.clone().all(|field| is_missing(field) || is_value(field)) && !fields.all(is_missing) {
        let remedy = "put a line with the names of the columns above the numbers";
        return Err(Error::file(place(), "no header line: this line holds values only", remedy));
    }
    for (index, name) in names.iter().enumerate() {
        if let Some(first) = names[..index].iter().position(|earlier| earlier == name) {
            let problem = format!("columns {} and {} have the same name", first + 1, index + 1);
            return Err(Error::file(place().column(name), problem, "rename one of them in the header"));
        }
    }
    if let Some(name) = options.columns.iter().chain(&options.time).find(|name| !names.contains(name)) {
        let remedy = format!("its columns are {}", list(&names));
        return Err(Error::file(Place::file(source.file), format!("there is no column `{name}`"), remedy));
    }
    Ok(std::iter::zip(record.iter(), names)
        .map(|(written, name)| {
            let role = Role {
                wanted: options.columns.contains(&name),
                data: options.columns.is_empty() && !written.trim().is_empty() && options.time.as_ref() != Some(&name),
                time: options.time.as_ref().map_or(!options.columns.contains(&name), |time| *time == name),
                named_time: options.time.as_ref() == Some(&name),
                nameless: written.trim().is_empty(),
            };
            Column::new(name, role)
        })
        .collect())
}

/// The columns of numbers, with notes on those left out.
fn numeric(source: &Source, columns: Vec<Column>, offsets: &[usize], notes: &mut Vec<String>) -> Result<Vec<Column>> {
    let mut kept = Vec::new();
    for column in columns {
        match column.judge() {
            column::Verdict::Keep => kept.push(column),
            column::Verdict::Ignore => {}
            column::Verdict::LeaveOut(reason) => {
                notes.push(format!("column `{}` {reason} and is left out", column.name))
            }
            column::Verdict::Refuse { row, problem, remedy } => {
                return Err(Error::file(source.place(offsets[row]).column(&column.name), problem, remedy));
            }
        }
    }
    if kept.is_empty() {
        return Err(Error::file(
            Place::file(source.file),
            "no column holds numbers",
            format!("values are read as separated by {}; is that so in this file?", source.separator_name()),
        ));
    }
    Ok(kept)
}
