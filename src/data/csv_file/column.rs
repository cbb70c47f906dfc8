//! One column while it is read: its numbers, whether it could be the time, and why it cannot be used.

use crate::data::time::{Form, Reader};

/// How much of a field a message quotes.
const QUOTED: usize = 40;

/// What a column may become.
#[derive(Clone, Copy, Debug)]
pub(super) struct Role {
    /// It was asked for by name, as data.
    pub(super) wanted: bool,
    /// It is data if it holds numbers.
    pub(super) data: bool,
    /// It may be the time.
    pub(super) time: bool,
    /// It was asked for by name, as the time.
    pub(super) named_time: bool,
    /// The header does not name it.
    pub(super) nameless: bool,
}

/// One column.
pub(super) struct Column {
    pub(super) name: String,
    /// Its values; NaN where one is missing.
    pub(super) values: Vec<f64>, // [rows]
    role: Role,
    /// Fields that are numbers, infinite ones too.
    numbers: usize,
    /// The first field that is no usable number.
    bad: Option<Bad>,
    /// The decimal mark seen first, where both are possible.
    mark: Option<char>,
    time: Time,
}

struct Bad {
    row: usize,
    text: String,
    problem: &'static str,
}

enum Time {
    No,
    Unseen,
    Reading(Reader),
    Failed { row: usize, text: String },
}

/// What becomes of a column.
pub(super) enum Verdict {
    Keep,
    /// Nobody asked for it.
    Ignore,
    /// Left out, and the user is told.
    LeaveOut(String),
    Refuse {
        row: usize,
        problem: String,
        remedy: &'static str,
    },
}

/// What one field says.
enum Cell {
    Missing,
    Number(f64),
    Bad(&'static str),
}

impl Column {
    pub(super) fn new(name: String, role: Role) -> Self {
        let time = if role.time { Time::Unseen } else { Time::No };
        Self { name, values: Vec::new(), role, numbers: 0, bad: None, mark: None, time }
    }

    /// Adds the field of the next row.
    pub(super) fn push(&mut self, field: &str, row: usize, separator: u8) {
        self.push_time(field, row);
        if !self.role.data && !self.role.wanted {
            return;
        }
        let cell = match read_number(field, separator) {
            Cell::Number(_) if separator != b',' && !self.agrees_on_mark(field) => {
                Cell::Bad("has another decimal mark than the numbers before")
            }
            cell => cell,
        };
        self.numbers += usize::from(!matches!(cell, Cell::Missing | Cell::Bad(NOT_A_NUMBER)));
        self.values.push(if let Cell::Number(value) = cell { value } else { f64::NAN });
        if let (Cell::Bad(problem), None) = (cell, &self.bad) {
            self.bad = Some(Bad { row, text: quote(field), problem });
        }
    }

    fn push_time(&mut self, field: &str, row: usize) {
        if let Time::Unseen = self.time {
            let fits = |reader: &Reader| self.role.named_time || reader.form().fits_name(&self.name);
            self.time = match Reader::new(field).filter(fits) {
                Some(reader) => Time::Reading(reader),
                None if self.role.named_time => Time::Failed { row, text: quote(field) },
                None => Time::No,
            };
        }
        if let Time::Reading(reader) = &mut self.time
            && reader.push(field).is_none()
        {
            let is_number = reader.form().is_number() && !self.role.named_time;
            self.time = if is_number { Time::No } else { Time::Failed { row, text: quote(field) } };
        }
    }

    /// Whether `number` has the decimal mark of the numbers before, or none: `1.234` after `1,5` would be a thousand.
    fn agrees_on_mark(&mut self, number: &str) -> bool {
        match number.chars().find(|&character| character == ',' || character == '.') {
            Some(mark) => *self.mark.get_or_insert(mark) == mark,
            None => true,
        }
    }

    /// The times, if every value was one; the column then is no data any more unless it was asked for as both.
    pub(super) fn take_reader(&mut self, asked: bool) -> Option<Reader> {
        let Time::Reading(reader) = &self.time else { return None };
        // Integers that do not increase are data, say the hours of the day.
        if !asked && reader.form().is_number() && !reader.is_increasing() {
            return None;
        }
        self.role.data = false;
        self.role.nameless = false;
        match std::mem::replace(&mut self.time, Time::No) {
            Time::Reading(reader) => Some(reader),
            _ => None,
        }
    }

    /// The row and text of the first value that is no time, where the values before it were.
    pub(super) fn not_time(&self) -> Option<(usize, String)> {
        let Time::Failed { row, text } = &self.time else { return None };
        Some((*row, text.clone()))
    }

    pub(super) fn judge(&self) -> Verdict {
        let Role { wanted, data, nameless, .. } = self.role;
        if !wanted && !data {
            return if nameless { Verdict::LeaveOut("has no name".into()) } else { Verdict::Ignore };
        }
        match &self.bad {
            Some(bad) if wanted || self.numbers > 0 => Verdict::Refuse {
                row: bad.row,
                problem: format!("{} {}", bad.text, bad.problem),
                remedy: if wanted {
                    "correct it, or choose other columns with `features` and `target`"
                } else {
                    "correct it, or leave the column out by choosing others with `features` and `target`"
                },
            },
            Some(bad) => {
                let hint = if Form::Count.fits_name(&self.name) { ", not a time like 2016-07-01" } else { "" };
                Verdict::LeaveOut(format!("is text ({}{hint})", bad.text))
            }
            None if self.numbers > 0 => Verdict::Keep,
            None if wanted => Verdict::Refuse {
                row: 0,
                problem: "the column holds no value from here to the end".into(),
                remedy: "choose other columns with `features` and `target`",
            },
            None => Verdict::LeaveOut("is empty".into()),
        }
    }
}

const NOT_A_NUMBER: &str = "is not a number";

fn read_number(field: &str, separator: u8) -> Cell {
    let number = field.parse::<f64>().ok().or_else(|| {
        let comma = separator != b',' && field.contains(',') && !field.contains('.');
        comma.then(|| field.replacen(',', ".", 1).parse().ok()).flatten()
    });
    match number {
        Some(value) if value.is_finite() => Cell::Number(value),
        Some(value) if value.is_nan() => Cell::Missing,
        Some(_) if field.contains(|character: char| character.is_ascii_digit()) => {
            Cell::Bad("is too large for a number")
        }
        Some(_) => Cell::Bad("is infinite"),
        None if is_missing(field) => Cell::Missing,
        None => Cell::Bad(NOT_A_NUMBER),
    }
}

/// Whether a field stands for no value.
pub(super) fn is_missing(field: &str) -> bool {
    ["", "-", "nan", "na", "n/a", "#n/a", "<na>", "null", "none"].iter().any(|word| field.eq_ignore_ascii_case(word))
}

/// Whether a field of the first line is a value and so no column's name.
pub(super) fn is_value(field: &str) -> bool {
    matches!(read_number(field, b';'), Cell::Number(_)) || Form::guess(field).is_some()
}

/// The field in backquotes, cut where it is long and with its line ends made visible.
fn quote(field: &str) -> String {
    let visible = |character: char| if character.is_control() { '␤' } else { character };
    let cut: String = field.chars().take(QUOTED).map(visible).collect();
    let more = if field.chars().nth(QUOTED).is_some() { "…" } else { "" };
    format!("`{cut}{more}`")
}
