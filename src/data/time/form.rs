//! How a file writes its times: recognised from the text, read, and written again for the rows that a forecast adds.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;

use super::since_1970;

/// From this size on an integer counts milliseconds: as seconds it would lie after the year 5138, as milliseconds in 1973.
const MILLISECONDS_FROM: i64 = 100_000_000_000;
/// Below this size (1973 in seconds) an integer is a plain count, say 0, 1, 2, …
const SECONDS_FROM: i64 = 100_000_000;

/// How one column writes its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// `1749`
    Year,
    /// `1749-01`
    YearMonth,
    /// `2016-07-01`
    Date,
    /// `2016-07-01 00:00`, `2016-07-01T00:00:00.000+02:00`, …
    DateTime(Clock),
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Milliseconds,
    /// Integers too small for a time since 1970; kept as seconds, but called steps.
    Count,
}

/// How a date-time writes what follows its date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    /// `T` or a space.
    separator: char,
    /// Whether seconds are written.
    seconds: bool,
    /// Digits of the fraction; a value with fewer is read too.
    digits: usize,
    /// The offset from UTC, where one is written.
    zone: Option<Zone>,
}

/// An offset from UTC and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Zone {
    seconds: i32,
    style: ZoneStyle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ZoneStyle {
    /// `Z`
    Zulu,
    /// `+02:00`
    Colon,
    /// `+0200`
    Plain,
    /// `+02`
    Hours,
}

impl Form {
    /// The forms there are, for messages.
    pub(crate) const KNOWN: &str =
        "2016-07-01, 2016-07-01 00:00:00 (or with `T`, `Z`, an offset), 2016-07, a year, or seconds since 1970";

    /// The form of `text`, if it is one.
    pub(crate) fn guess(text: &str) -> Option<Self> {
        if let Some(integer) = integer(text) {
            return Some(match integer.abs() {
                MILLISECONDS_FROM.. => Self::Milliseconds,
                SECONDS_FROM.. => Self::Seconds,
                _ if text.len() == 4 && integer > 0 => Self::Year,
                _ => Self::Count,
            });
        }
        calendar(text).map(|(form, _)| form)
    }

    /// Whether values of this form also are numbers, which may be meant as data.
    pub(crate) fn is_number(&self) -> bool {
        matches!(self, Self::Year | Self::Seconds | Self::Milliseconds | Self::Count)
    }

    /// Whether a column of this name is taken for time unasked. Dates always are; integers need a telling name.
    pub(crate) fn fits_name(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let name = name.as_str();
        match self {
            Self::Year => ["year", "years", "date", "time"].contains(&name),
            Self::Seconds | Self::Milliseconds | Self::Count => {
                ["time", "date", "datetime", "epoch", "ts", "unix", "unixtime"].contains(&name)
                    || name.ends_with("timestamp")
            }
            _ => true,
        }
    }

    /// Reads `text` in this form, as local time where offsets are written; the second part is then the offset in seconds.
    pub(crate) fn read(&mut self, text: &str) -> Option<(DateTime, Option<i32>)> {
        match self {
            Self::Year if text.len() == 4 => {
                Some((Date::new(integer(text)?.try_into().ok()?, 1, 1).ok()?.to_datetime(Default::default()), None))
            }
            Self::Year => None,
            Self::Seconds | Self::Count => {
                Some((Offset::UTC.to_datetime(Timestamp::from_second(integer(text)?).ok()?), None))
            }
            Self::Milliseconds => {
                Some((Offset::UTC.to_datetime(Timestamp::from_millisecond(integer(text)?).ok()?), None))
            }
            _ => {
                let (form, stamp) = calendar(text)?;
                self.merge(&form)?;
                Some((stamp, form.offset()))
            }
        }
    }

    /// Widens `self` so that it also covers `other`; `None` where the two differ in more than digits and offset.
    fn merge(&mut self, other: &Self) -> Option<()> {
        match (self, other) {
            (Self::DateTime(mine), Self::DateTime(other)) => {
                let same = mine.separator == other.separator && mine.zone.is_some() == other.zone.is_some();
                if !same || (mine.seconds != other.seconds) {
                    return None;
                }
                mine.digits = mine.digits.max(other.digits);
                Some(())
            }
            (mine, other) => (*mine == *other).then_some(()),
        }
    }

    fn offset(&self) -> Option<i32> {
        let Self::DateTime(Clock { zone: Some(zone), .. }) = self else { return None };
        Some(zone.seconds)
    }

    /// From here on times are UTC, written with `Z`: a column whose offset changes has no one local clock.
    pub(crate) fn set_utc(&mut self) {
        if let Self::DateTime(clock) = self {
            clock.zone = Some(Zone { seconds: 0, style: ZoneStyle::Zulu });
        }
    }

    /// Writes `stamp` as the file would.
    pub(crate) fn write(&self, stamp: DateTime) -> String {
        match self {
            Self::Year => format!("{:04}", stamp.year()),
            Self::YearMonth => format!("{:04}-{:02}", stamp.year(), stamp.month()),
            Self::Date => write_date(stamp),
            Self::DateTime(clock) => clock.write(stamp),
            Self::Seconds | Self::Count => since_1970(stamp).as_secs().to_string(),
            Self::Milliseconds => since_1970(stamp).as_millis().to_string(),
        }
    }
}

fn write_date(stamp: DateTime) -> String {
    format!("{:04}-{:02}-{:02}", stamp.year(), stamp.month(), stamp.day())
}

impl Clock {
    fn write(&self, stamp: DateTime) -> String {
        let mut text = format!("{}{}{:02}:{:02}", write_date(stamp), self.separator, stamp.hour(), stamp.minute());
        if self.seconds {
            text += &format!(":{:02}", stamp.second());
        }
        if self.digits > 0 {
            text += &format!(".{:09}", stamp.subsec_nanosecond())[..=self.digits];
        }
        text + &self.zone.map(Zone::write).unwrap_or_default()
    }
}

impl Zone {
    fn write(self) -> String {
        let sign = if self.seconds < 0 { '-' } else { '+' };
        let (hours, minutes) = (self.seconds.abs() / 3600, self.seconds.abs() / 60 % 60);
        match self.style {
            ZoneStyle::Zulu => "Z".into(),
            ZoneStyle::Colon => format!("{sign}{hours:02}:{minutes:02}"),
            ZoneStyle::Plain => format!("{sign}{hours:02}{minutes:02}"),
            ZoneStyle::Hours => format!("{sign}{hours:02}"),
        }
    }
}

fn integer(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// Reads `1749-01`, `2016-07-01` and every date-time, with the form found.
fn calendar(text: &str) -> Option<(Form, DateTime)> {
    let mut rest = Rest(text.as_bytes());
    let year = rest.digits(4)? as i16;
    rest.eat(b'-')?;
    let month = rest.digits(2)? as i8;
    if rest.0.is_empty() {
        return Some((Form::YearMonth, Date::new(year, month, 1).ok()?.at(0, 0, 0, 0)));
    }
    rest.eat(b'-')?;
    let date = Date::new(year, month, rest.digits(2)? as i8).ok()?;
    if rest.0.is_empty() {
        return Some((Form::Date, date.at(0, 0, 0, 0)));
    }
    let separator = if rest.eat(b'T').is_some() { 'T' } else { rest.eat(b' ').map(|()| ' ')? };
    let hour = rest.digits(2)? as i8;
    rest.eat(b':')?;
    let minute = rest.digits(2)? as i8;
    let seconds = rest.eat(b':').is_some();
    let second = if seconds { rest.digits(2)? as i8 } else { 0 };
    let (digits, nanoseconds) = if seconds && rest.eat(b'.').is_some() { rest.fraction()? } else { (0, 0) };
    let zone = if rest.0.is_empty() { None } else { Some(rest.zone()?) };
    let time = jiff::civil::Time::new(hour, minute, second, nanoseconds).ok()?;
    Some((Form::DateTime(Clock { separator, seconds, digits, zone }), date.to_datetime(time)))
}

/// What is left to read of a time.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn eat(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    fn digits(&mut self, count: usize) -> Option<u32> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0')))
    }

    /// One to nine digits: how many, and their value in nanoseconds.
    fn fraction(&mut self) -> Option<(usize, i32)> {
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=9).contains(&count) {
            return None;
        }
        let value = self.digits(count)? * 10u32.pow(9 - count as u32);
        Some((count, value as i32))
    }

    /// `Z`, `+02:00`, `+0200` or `+02`, to the end of the text.
    fn zone(&mut self) -> Option<Zone> {
        if self.0 == b"Z" {
            return Some(Zone { seconds: 0, style: ZoneStyle::Zulu });
        }
        let sign = if self.eat(b'+').is_some() { 1 } else { self.eat(b'-').map(|()| -1)? };
        let hours = self.digits(2)?;
        let (style, minutes) = match self.0.len() {
            0 => (ZoneStyle::Hours, 0),
            2 => (ZoneStyle::Plain, self.digits(2)?),
            3 => {
                self.eat(b':')?;
                (ZoneStyle::Colon, self.digits(2)?)
            }
            _ => return None,
        };
        (hours < 24 && minutes < 60).then(|| Zone { seconds: sign * (hours * 3600 + minutes * 60) as i32, style })
    }
}
