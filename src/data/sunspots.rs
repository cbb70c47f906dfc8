//! The built-in series: monthly mean sunspot numbers (Andrews & Herzberg 1985). The program holds the numbers alone, since the
//! months follow one another: half of what a page would load of the file.

use super::{CsvOptions, Series, parse_csv};
use crate::error::sure;

const FILE: &[u8] = include_bytes!("sunspots.csv");
const FIRST_YEAR: usize = 1749;

/// Writes what stands behind the comma of each line but the first to `to`, as much as that holds; its whole length.
const fn scan(to: &mut [u8]) -> usize {
    let (mut at, mut len, mut line, mut kept) = (0, 0, 0, false);
    while at < FILE.len() {
        let byte = FILE[at];
        if line > 0 && (kept || byte == b'\n') {
            if len < to.len() {
                to[len] = byte;
            }
            len += 1;
        }
        kept = byte == b',' || kept && byte != b'\n';
        line += (byte == b'\n') as usize;
        at += 1;
    }
    len
}

static NUMBERS: [u8; scan(&mut [])] = {
    let mut numbers = [0; scan(&mut [])];
    scan(&mut numbers);
    numbers
};

/// The file, as far as a reader of CSV can tell.
fn text() -> String {
    let numbers = std::str::from_utf8(&NUMBERS).expect("ASCII");
    let month = |row: usize| (FIRST_YEAR + row / 12, row % 12 + 1);
    let line = |(row, number)| {
        let (year, month) = month(row);
        format!("{year}-{month:02},{number}\n")
    };
    std::iter::once("month,sunspots\n".to_owned()).chain(numbers.lines().enumerate().map(line)).collect()
}

impl Series {
    /// The built-in series: monthly mean sunspot numbers from 1749 to 1983 (Andrews & Herzberg 1985), column `sunspots`.
    pub fn sunspots() -> Self {
        let options = CsvOptions { time: Some("month".into()), ..CsvOptions::default() };
        sure(parse_csv("sunspots", text().as_bytes(), &options), "the built-in series is read by a test").series
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_months_of_the_file_follow_one_another() {
        assert_eq!(super::text().as_bytes(), super::FILE);
    }
}
