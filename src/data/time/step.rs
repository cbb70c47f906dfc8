//! The distance between rows: found from the times, named, and taken beyond the last row.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, Weekday};

use super::{shift, since_1970};

const DAY: i64 = 86_400;

/// The most frequent distance from one row to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Calendar months: 1 monthly, 3 quarterly, 12 yearly.
    Months(i32),
    /// Monday to Friday: days with no row on any weekend.
    Weekdays,
    /// A fixed time.
    Time(SignedDuration),
}

impl Step {
    /// The most frequent step of `stamps` (which increase), the smallest one among equals; `None` for fewer than two rows.
    pub(super) fn find(stamps: &[DateTime], anchor: i8) -> Option<Self> {
        let mut months = BTreeMap::new();
        let mut times = BTreeMap::new();
        for pair in stamps.windows(2) {
            *times.entry(between(pair[0], pair[1])).or_insert(0) += 1;
            if let Some(count) = whole_months(pair[0], pair[1], anchor) {
                *months.entry(count).or_insert(0) += 1;
            }
        }
        let (time, time_rows) = most_frequent(&times)?;
        match most_frequent(&months) {
            // Months differ in length, so the calendar explains at least as many rows as any fixed time does.
            Some((count, rows)) if rows >= time_rows => Some(Self::Months(count)),
            _ if time.as_secs() == DAY && skips_weekends(stamps) => Some(Self::Weekdays),
            _ => Some(Self::Time(time)),
        }
    }

    /// The time one step after `from`. `anchor` is the series' day of the month, 31 for the last one.
    pub(super) fn next(self, from: DateTime, anchor: i8) -> DateTime {
        match self {
            Self::Months(count) => {
                let month = month_number(from) + count;
                let Ok(first) = Date::new(month.div_euclid(12) as i16, month.rem_euclid(12) as i8 + 1, 1) else {
                    return DateTime::MAX;
                };
                let day = anchor.min(first.days_in_month());
                Date::new(first.year(), first.month(), day).map_or(DateTime::MAX, |date| date.to_datetime(from.time()))
            }
            Self::Weekdays => {
                let days = match from.weekday() {
                    Weekday::Friday => 3,
                    Weekday::Saturday => 2,
                    _ => 1,
                };
                later(from, SignedDuration::from_secs(days * DAY))
            }
            Self::Time(time) => later(from, time),
        }
    }

    /// The step in words: "monthly", "every 15 minutes".
    pub(super) fn describe(self) -> String {
        match self {
            Self::Months(1) => "monthly".into(),
            Self::Months(3) => "quarterly".into(),
            Self::Months(12) => "yearly".into(),
            Self::Months(count) if count % 12 == 0 => format!("every {} years", count / 12),
            Self::Months(count) => format!("every {count} months"),
            Self::Weekdays => "every weekday".into(),
            Self::Time(time) => describe_time(time),
        }
    }

    /// How many rows the natural season has: a year for months and weeks, a week for days, a day for less.
    pub(super) fn season(self) -> Option<usize> {
        match self {
            Self::Months(count) => (count < 12 && 12 % count == 0).then(|| 12 / count as usize),
            Self::Weekdays => Some(5),
            Self::Time(time) => {
                let day = DAY as i128 * 1_000_000_000;
                match time.as_nanos() {
                    nanoseconds if nanoseconds == 7 * day => Some(52),
                    nanoseconds if nanoseconds == day => Some(7),
                    nanoseconds if nanoseconds < day && day % nanoseconds == 0 => (day / nanoseconds).try_into().ok(),
                    _ => None,
                }
            }
        }
    }
}

/// The day of the month that a series by months keeps to: 31 if every row is on a month's last day.
pub(super) fn anchor_day(stamps: &[DateTime]) -> i8 {
    if stamps.iter().all(|stamp| stamp.day() == stamp.date().days_in_month()) {
        return 31;
    }
    stamps.iter().map(|stamp| stamp.day()).max().unwrap_or(1)
}

/// From one time to another.
fn between(from: DateTime, to: DateTime) -> SignedDuration {
    since_1970(to) - since_1970(from)
}

/// Later by `time`; the last time there is where that is beyond it.
fn later(from: DateTime, time: SignedDuration) -> DateTime {
    shift(from, time).unwrap_or(DateTime::MAX)
}

fn month_number(stamp: DateTime) -> i32 {
    i32::from(stamp.year()) * 12 + i32::from(stamp.month()) - 1
}

/// How many months lie between `from` and `to`, if both keep to the same day and hour.
fn whole_months(from: DateTime, to: DateTime, anchor: i8) -> Option<i32> {
    let keeps_day = |stamp: DateTime| stamp.day() == anchor.min(stamp.date().days_in_month());
    let count = month_number(to) - month_number(from);
    (count > 0 && from.time() == to.time() && keeps_day(from) && keeps_day(to)).then_some(count)
}

fn most_frequent<K: Copy>(counts: &BTreeMap<K, usize>) -> Option<(K, usize)> {
    let mut best: Option<(K, usize)> = None;
    for (&key, &count) in counts {
        if best.is_none_or(|(_, most)| count > most) {
            best = Some((key, count));
        }
    }
    best
}

/// Whether weekends were passed over and none has a row.
fn skips_weekends(stamps: &[DateTime]) -> bool {
    let [first, .., last] = stamps else { return false };
    between(*first, *last).as_secs() >= 7 * DAY
        && stamps.iter().all(|stamp| !matches!(stamp.weekday(), Weekday::Saturday | Weekday::Sunday))
}

fn describe_time(time: SignedDuration) -> String {
    if time.subsec_nanos() != 0 {
        return format!("every {} s", time.as_secs_f64());
    }
    let seconds = time.as_secs();
    match seconds {
        604_800 => return "weekly".into(),
        DAY => return "daily".into(),
        3600 => return "hourly".into(),
        _ => {}
    }
    let (size, unit) = *[(DAY, "day"), (3600, "hour"), (60, "minute"), (1, "second")]
        .iter()
        .find(|(size, _)| seconds % size == 0)
        .expect("every number is divisible by 1");
    match seconds / size {
        1 => format!("every {unit}"),
        count => format!("every {count} {unit}s"),
    }
}
