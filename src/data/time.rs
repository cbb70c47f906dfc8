//! The time of each row: which column holds it, that it increases, its step, and the labels beyond its end.

mod form;
mod step;

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

use crate::error::{Error, Place, Result};

pub use form::{Clock, Form};
pub use step::Step;

/// The column of a [`Series`](super::Series) that says when each row was.
///
/// Times are local where the file writes one offset from UTC, and UTC where its offsets differ.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeIndex {
    /// The column's name.
    pub name: String,
    /// The time of each row, increasing.
    pub stamps: Vec<DateTime>, // [rows]
    /// How the file writes them.
    pub form: Form,
    step: Step,
    /// The day of the month that steps by months keep to.
    anchor: i8,
}

impl TimeIndex {
    /// Checks that time increases and finds its step. The second part holds notes on gaps, for the user.
    ///
    /// # Errors
    /// A row that is not later than the row before it, at the line that `line_of(row)` gives.
    pub(super) fn new(
        file: &str,
        name: &str,
        reader: Reader,
        line_of: &dyn Fn(usize) -> u64,
    ) -> Result<(Self, Vec<String>)> {
        let Reader { form, stamps, .. } = reader;
        if let Some(row) = (1..stamps.len()).find(|&row| stamps[row] <= stamps[row - 1]) {
            let place = Place::file(file).line(line_of(row)).column(name);
            let time = form.write(stamps[row]);
            return Err(if stamps[row] == stamps[row - 1] {
                Error::file(
                    place,
                    format!("`{time}` stands on the line before as well"),
                    "keep one row for each time; a file holds one series, and clocks set back for winter need an offset or UTC",
                )
            } else {
                Error::file(
                    place,
                    format!("`{time}` is earlier than the line before (`{}`)", form.write(stamps[row - 1])),
                    "sort the rows by time, the oldest first",
                )
            });
        }
        let anchor = step::anchor_day(&stamps);
        let step = match form {
            Form::Count => Step::find(&stamps, anchor).filter(|step| matches!(step, Step::Time(_))),
            _ => Step::find(&stamps, anchor),
        };
        let index = Self { name: name.into(), step: step.unwrap_or_else(|| unit(&form)), stamps, form, anchor };
        let notes = index.irregular(line_of);
        Ok((index, notes))
    }

    /// The most frequent distance between rows; for a single row the form's own unit (a year, a month, a day, a second).
    pub fn step(&self) -> Step {
        self.step
    }

    /// The step in words: "monthly", "hourly", "every 15 minutes".
    pub fn describe(&self) -> String {
        match (&self.form, self.step) {
            (Form::Count, Step::Time(time)) => format!("in steps of {}", time.as_secs()),
            _ => self.step.describe(),
        }
    }

    /// How many rows the natural season has: monthly 12, quarterly 4, weekly 52, daily 7, weekdays 5, less than a day the
    /// rows of a day; `None` where nothing natural repeats.
    pub fn season(&self) -> Option<usize> {
        if self.form == Form::Count { None } else { self.step.season() }
    }

    /// The time of `row` as the file writes it.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn label(&self, row: usize) -> String {
        self.form.write(self.stamps[row])
    }

    /// The labels of the `n` rows that would follow the last one.
    pub fn after(&self, n: usize) -> Vec<String> {
        let last = self.stamps.last().copied().unwrap_or_default();
        let following = std::iter::successors(Some(last), |&stamp| Some(self.step.next(stamp, self.anchor)));
        following.skip(1).take(n).map(|stamp| self.form.write(stamp)).collect()
    }

    /// Notes on rows that come later or sooner than the step says.
    fn irregular(&self, line_of: &dyn Fn(usize) -> u64) -> Vec<String> {
        let (mut gaps, mut sooner) = (Tally::default(), Tally::default());
        for row in 1..self.stamps.len() {
            let expected = self.step.next(self.stamps[row - 1], self.anchor);
            match self.stamps[row].cmp(&expected) {
                std::cmp::Ordering::Greater => gaps.add(row),
                std::cmp::Ordering::Less => sooner.add(row),
                std::cmp::Ordering::Equal => {}
            }
        }
        let (name, step) = (&self.name, self.describe());
        let mut notes = Vec::new();
        if let Some(first) = gaps.first {
            let (count, s, line) = (gaps.count, if gaps.count == 1 { "" } else { "s" }, line_of(first - 1));
            notes.push(format!(
                "{count} gap{s} in `{name}` ({step}), first after line {line}; rows are taken as they follow"
            ));
        }
        if let Some(first) = sooner.first {
            let (count, s, line) = (sooner.count, if sooner.count == 1 { "" } else { "s" }, line_of(first));
            notes.push(format!("{count} row{s} in `{name}` sooner than its step ({step}), first at line {line}"));
        }
        notes
    }
}

/// How many rows, and the first of them.
#[derive(Default)]
struct Tally {
    count: usize,
    first: Option<usize>,
}

impl Tally {
    fn add(&mut self, row: usize) {
        self.count += 1;
        self.first.get_or_insert(row);
    }
}

/// The step assumed where a single row shows none.
fn unit(form: &Form) -> Step {
    match form {
        Form::Year => Step::Months(12),
        Form::YearMonth => Step::Months(1),
        Form::Date => Step::Time(SignedDuration::from_hours(24)),
        _ => Step::Time(SignedDuration::from_secs(1)),
    }
}

/// Collects a column's times while its file is read, as long as all have the first one's form.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    form: Form,
    stamps: Vec<DateTime>,
    /// The one offset from UTC so far, in seconds.
    offset: Option<i32>,
    /// Whether offsets differed, so that times are kept in UTC.
    utc: bool,
}

impl Reader {
    /// Starts with the column's first value, not yet pushed; `None` if it is no time.
    pub(super) fn new(first: &str) -> Option<Self> {
        Some(Self { form: Form::guess(first)?, stamps: Vec::new(), offset: None, utc: false })
    }

    pub(super) fn form(&self) -> &Form {
        &self.form
    }

    /// Adds the next row's time; `None` if `text` is not of the first row's form.
    pub(super) fn push(&mut self, text: &str) -> Option<()> {
        let (mut stamp, offset) = self.form.read(text)?;
        if let Some(offset) = offset {
            if offset != *self.offset.get_or_insert(offset) && !self.utc {
                self.switch_to_utc()?;
            }
            if self.utc {
                stamp = in_utc(stamp, offset)?;
            }
        }
        self.stamps.push(stamp);
        Some(())
    }

    fn switch_to_utc(&mut self) -> Option<()> {
        let offset = self.offset.unwrap_or(0);
        for stamp in &mut self.stamps {
            *stamp = in_utc(*stamp, offset)?;
        }
        self.form.set_utc();
        self.utc = true;
        Some(())
    }

    pub(super) fn is_increasing(&self) -> bool {
        self.stamps.is_sorted_by(|before, after| before < after)
    }

    /// Whether the file's offsets differ, so that labels are in UTC.
    pub(super) fn is_mixed(&self) -> bool {
        self.utc
    }

    /// Keeps the rows for which `keep` says so.
    pub(super) fn retain(&mut self, keep: &[bool]) {
        let mut rows = keep.iter();
        self.stamps.retain(|_| *rows.next().expect("one flag a row"));
    }
}

/// The time by a clock that never changes.
fn since_1970(stamp: DateTime) -> SignedDuration {
    Offset::UTC.to_timestamp(stamp).unwrap_or(Timestamp::MAX).as_duration()
}

/// `stamp` moved by `time`. By way of timestamps: the arithmetic of `DateTime` can panic with errors whose texts, in a browser,
/// are a twentieth of what is loaded.
fn shift(stamp: DateTime, time: SignedDuration) -> Option<DateTime> {
    let moved = since_1970(stamp).checked_add(time)?;
    Some(Offset::UTC.to_datetime(Timestamp::from_duration(moved).ok()?))
}

/// Local time in UTC, where the local clock is `offset` seconds ahead.
fn in_utc(local: DateTime, offset: i32) -> Option<DateTime> {
    shift(local, SignedDuration::from_secs(-i64::from(offset)))
}
