//! Files of every kind, good and bad: what is read, what is noted, and what each error says.

use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;
use serde::de::IntoDeserializer;

use bptt::config::Missing;
use bptt::data::{
    Columns, CsvOptions, Parsed, Scaler, Scorer, Scores, Series, Split, Step, TimeIndex, check_constant,
    constant_columns, parse_csv, read_csv, repeat_last, seasonal, windows,
};

fn options() -> CsvOptions {
    CsvOptions::default()
}

fn with_missing(missing: Missing) -> CsvOptions {
    CsvOptions { missing, ..options() }
}

fn with_columns(names: &[&str]) -> CsvOptions {
    CsvOptions { columns: strings(names), ..options() }
}

fn with_time(name: &str) -> CsvOptions {
    CsvOptions { time: Some(name.into()), ..options() }
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.into()).collect()
}

#[track_caller]
fn parse(text: &str) -> Parsed {
    parse_as(text, &options())
}

#[track_caller]
fn parse_as(text: &str, options: &CsvOptions) -> Parsed {
    parse_csv("x.csv", text.as_bytes(), options).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn error_of(bytes: impl AsRef<[u8]>, options: &CsvOptions) -> String {
    parse_csv("x.csv", bytes.as_ref(), options).expect_err("this must not be read").to_string()
}

/// The error's text must be `place: problem` in its first line and hold `remedy` in its second.
#[track_caller]
fn assert_error(error: &str, first_line: &str, remedy: &str) {
    let (first, second) = error.split_once('\n').unwrap_or((error, ""));
    assert!(first == first_line && second.contains(remedy), "got\n{error}\nbut want\n{first_line}\n  …{remedy}…");
}

#[track_caller]
fn refuses(text: &str, first_line: &str, remedy: &str) {
    assert_error(&error_of(text, &options()), first_line, remedy);
}

#[track_caller]
fn time_of(text: &str) -> TimeIndex {
    parse(text).series.time.expect("a time column")
}

/// A file of one value column below `d`, its values being 0, 1, 2, …
fn dated(dates: &[&str]) -> String {
    let rows: Vec<_> = dates.iter().enumerate().map(|(row, date)| format!("{date},{row}\n")).collect();
    format!("d,v\n{}", rows.concat())
}

#[track_caller]
fn assert_near(got: f64, want: f64, tolerance: f64) {
    assert!((got - want).abs() <= tolerance, "{got} is not {want} ± {tolerance}");
}

// ---- reading ----

#[test]
#[should_panic(expected = "but want")]
fn a_wrong_error_text_is_found() {
    refuses("a\nx\n", "x.csv: something else", "");
}

#[test]
#[should_panic(expected = "is not")]
fn a_wrong_number_is_found() {
    assert_near(f64::NAN, 1.0, 1.0);
}

#[test]
fn every_separator_line_ending_and_quoting_reads_back_equal() {
    let values = [[1.5, -2.0, 1e5], [0.25, 3.0, -0.125], [100.0, 1e-3, 7.0]];
    let mut read = 0;
    for separator in [",", ";", "\t"] {
        for ending in ["\n", "\r\n", "\r"] {
            for quote in ["", "\""] {
                for (bom, tail) in [("", ""), ("\u{feff}", ending), ("", &ending.repeat(3))] {
                    for decimal in if separator == "," { &["."][..] } else { &[".", ","] } {
                        let field = |text: &str| format!("{quote}{text}{quote}");
                        let mut lines = vec![["date", "a", "b", "c"].map(field).join(separator)];
                        for (row, values) in values.iter().enumerate() {
                            let numbers = values.map(|value| field(&value.to_string().replace('.', decimal)));
                            lines.push(format!("2020-01-0{}{separator}{}", row + 1, numbers.join(separator)));
                        }
                        let text = format!("{bom}{}{tail}", lines.join(ending));
                        let Parsed { series, notes } = parse(&text);
                        assert_eq!(series.columns, ["a", "b", "c"], "{text:?}");
                        assert_eq!(series.values, values.concat(), "{text:?}");
                        assert_eq!(series.time.expect("dates").label(2), "2020-01-03", "{text:?}");
                        assert_eq!(notes, Vec::<String>::new(), "{text:?}");
                        read += 1;
                    }
                }
            }
        }
    }
    assert_eq!(read, 90);
}

#[test]
fn the_separator_is_the_one_that_lines_agree_on() {
    let series = parse("v;speed, mean, in km/h\n1;2,5\n3;4\n").series;
    assert_eq!((series.columns, series.values), (strings(&["v", "speed, mean, in km/h"]), vec![1.0, 2.5, 3.0, 4.0]));
}

#[test]
fn numbers_are_read_in_all_their_spellings() {
    assert_eq!(parse("a,b\n1e5,+3\n -2.5 ,.5\n5.,1E-2\n").series.values, [1e5, 3.0, -2.5, 0.5, 5.0, 0.01]);
    refuses("a\n1\n1_000\n", "x.csv, line 3, column `a`: `1_000` is not a number", "`features`");
    refuses("a\n1\ninf\n", "x.csv, line 3, column `a`: `inf` is infinite", "correct it");
    refuses("a\n1\n1e999\n", "x.csv, line 3, column `a`: `1e999` is too large for a number", "correct it");
    refuses(
        "a;b\n1,5;2\n1.234;2\n",
        "x.csv, line 3, column `a`: `1.234` has another decimal mark than the numbers before",
        "",
    );
    refuses("a;b\n1.234,5;2\n3;2\n", "x.csv, line 2, column `a`: `1.234,5` is not a number", "");
}

#[test]
fn quoted_fields_may_hold_separators_quotes_and_line_ends() {
    let text = "\"a, in °C\",\"say \"\"b\"\"\",note\n1,2,\"x\ny, z\"\n3,oops,w\n";
    assert_eq!(parse(&text.replace("oops", "4")).series.columns, ["a, in °C", "say \"b\""]);
    assert_eq!(parse(&text.replace("oops", "4")).series.values, [1.0, 2.0, 3.0, 4.0]);
    refuses(text, "x.csv, line 4, column `say \"b\"`: `oops` is not a number", "");
}

#[test]
fn lines_are_the_files_own() {
    for ending in ["\n", "\r\n", "\r"] {
        let text = ["", "a,b", "", "1,2", "", "", "3,x"].join(ending);
        refuses(&text, "x.csv, line 7, column `b`: `x` is not a number", "");
    }
}

#[test]
fn a_blank_line_is_a_missing_value_where_there_is_one_column_only() {
    for ending in ["\n", "\r\n", "\r"] {
        let text = ["a", "1", "", "3", "", ""].join(ending);
        refuses(&text, "x.csv, line 3, column `a`: the value is missing (the only one)", "--missing");
        assert_eq!(parse_as(&text, &with_missing(Missing::Interpolate)).series.values, [1.0, 2.0, 3.0]);
    }
}

#[test]
fn rows_without_values_at_the_end_are_left_out() {
    assert_eq!(parse("a;b\n1;2\n;\n ; \n   \n").series.values, [1.0, 2.0]);
    refuses("a;b\n1;2\n;\n3;4\n", "x.csv, line 3, column `a`: the value is missing (the first of 2)", "--missing");
}

#[test]
fn columns_of_text_are_left_out_with_a_note() {
    let Parsed { series, notes } = parse("place,v,empty\nSvalbard,1,\nJan Mayen,2,NA\n");
    assert_eq!((series.columns, series.values), (strings(&["v"]), vec![1.0, 2.0]));
    assert_eq!(
        notes,
        ["column `place` is text (`Svalbard`) and is left out", "column `empty` is empty and is left out"]
    );
}

#[test]
fn text_is_an_error_in_a_column_that_was_asked_for_or_has_numbers() {
    let text = "a,b\nx,1\ny,2\n";
    let error = error_of(text, &with_columns(&["a"]));
    assert_error(&error, "x.csv, line 2, column `a`: `x` is not a number", "`features`");
    let long = format!("a\n1\n{}\n", "é".repeat(50));
    let first = format!("x.csv, line 3, column `a`: `{}…` is not a number", "é".repeat(40));
    refuses(&long, &first, "correct it");
}

#[test]
fn columns_that_are_not_needed_are_not_judged() {
    let Parsed { series, notes } = parse_as("a,b,c\n1,?,3\n4,5,6\n", &with_columns(&["c", "a"]));
    assert_eq!((series.columns, series.values), (strings(&["a", "c"]), vec![1.0, 3.0, 4.0, 6.0]));
    assert!(notes.is_empty(), "{notes:?}");
}

#[test]
fn a_column_without_a_name_may_be_the_time_but_is_no_data() {
    let parsed = parse(",v\n2020-01-01,1\n2020-01-02,2\n");
    assert_eq!(parsed.series.time.expect("dates").name, "column 1");
    assert!(parsed.notes.is_empty(), "{:?}", parsed.notes);
    let Parsed { series, notes } = parse(",v\n0,1\n1,2\n");
    assert_eq!((series.columns, series.time), (strings(&["v"]), None));
    assert_eq!(notes, ["column `column 1` has no name and is left out"]);
}

#[test]
fn files_that_are_no_table_say_what_they_are() {
    refuses("", "x.csv: the file is empty", "a line of column names");
    refuses("\u{feff}\r\n \n", "x.csv: the file is empty", "a line of column names");
    refuses("\na,b\n\n", "x.csv, line 2: no line follows the header", "one line of values");
    refuses("1,2.5\n3,4\n", "x.csv, line 1: no header line: this line holds values only", "names of the columns");
    refuses("2020-01-01,2.5\n2020-01-02,4\n", "x.csv, line 1: no header line: this line holds values only", "names");
    refuses("a,b\nx,y\n", "x.csv: no column holds numbers", "`,`");
    let utf16: Vec<u8> = "a,b\n1,2\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [utf16.clone(), [&b"\xff\xfe"[..], &utf16].concat(), b"\xfe\xff\0a\0\n".to_vec()] {
        assert_error(&error_of(bytes, &options()), "x.csv: the text is UTF-16", "as UTF-8");
    }
    let binary = error_of(b"PAR1\x15\x00\x15\x80\x00\x00\x00\x02", &options());
    assert_error(&binary, "x.csv: this is a binary file, not a CSV file", "save the table as CSV");
    let latin1 = b"a,b\r\n1,2\r\n3,caf\xe9\r\n";
    assert_error(&error_of(latin1, &options()), "x.csv, line 3: the byte 0xE9 is not UTF-8", "as UTF-8");
    let sheet = "x.csv: this is a spreadsheet or an archive, not a CSV file";
    assert_error(&error_of(b"PK\x03\x04....", &options()), sheet, "save the sheet as CSV");
}

#[test]
fn headers_and_rows_must_agree() {
    refuses("a,b,a\n1,2,3\n", "x.csv, line 1, column `a`: columns 1 and 3 have the same name", "rename");
    refuses("a,b\n1,2\n3\n", "x.csv, line 3: 1 field, but the header has 2", "`,`");
    refuses("a\tb\n1\t2\n3\t4\t5\n", "x.csv, line 3: 3 fields, but the header has 2", "a tab");
    refuses("a,b,c\n1,\"2\n3,4,5\n", "x.csv, line 2: 2 fields, but the header has 3", "quote");
    let unclosed = "x.csv, line 3: a quote is opened and not closed before the end of the file";
    refuses("a,note\n1,x\n2,\"y\n3,z\n", unclosed, "close it");
    let error = error_of("a,b\n1,2\n", &with_columns(&["b", "OT"]));
    assert_error(&error, "x.csv: there is no column `OT`", "`a`, `b`");
    assert_error(&error_of("a,b\n1,2\n", &with_time("when")), "x.csv: there is no column `when`", "`a`, `b`");
}

#[test]
fn files_are_read_and_named_as_the_user_did() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("v.csv");
    std::fs::write(&path, "a\n1\n2\n").expect("a file");
    let read = read_csv(&path, &options()).expect("a series").series;
    assert_eq!((read.rows(), read.file), (2, path.display().to_string()));
    let error = |path: &Path| read_csv(path, &options()).expect_err("no such file").to_string();
    let place = folder.path().display();
    assert_error(&error(folder.path()), &format!("{place}: this is a folder"), "a CSV file in it");
    let absent = folder.path().join("absent.csv");
    assert_error(&error(&absent), &format!("{}: there is no such file", absent.display()), "check its name");
}

#[test]
fn a_million_rows_are_read() {
    const ROWS: usize = 1_000_000;
    let mut text = String::from("date,a,b,c\n");
    for row in 0..ROWS {
        let (day, minute) = (1 + row / 1440 % 28, row % 1440);
        let (year, month) = (2000 + row / (1440 * 336), 1 + row / (1440 * 28) % 12);
        let (hour, minute) = (minute / 60, minute % 60);
        writeln!(text, "{year}-{month:02}-{day:02} {hour:02}:{minute:02},{row}.25,-1e-3,7").expect("a string");
    }
    let Parsed { series, notes } = parse(&text);
    assert_eq!((series.rows(), series.value(ROWS - 1, 0)), (ROWS, 999_999.25));
    assert_eq!(series.time.expect("times").describe(), "every minute");
    assert_eq!(notes.len(), 1, "months end on day 28 here: {notes:?}");
}

/// Numbers that only have to be all over the place.
fn scatter(seed: &mut u64, below: usize) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize % below
}

#[test]
fn damaged_files_are_read_or_refused_by_name() {
    const PIECES: [&str; 14] =
        ["\"", ",", ";", "\n", "\r", "\r\n\r\n", "\t", "NaN", "-", "1e400", "é", "2020-02-30", "9999999999999999", ""];
    let whole = "date,a,\"b\"\n2020-01-01,1,2\n2020-01-02,3,4\n2020-01-03,5,6\n";
    let (mut seed, mut refused) = (7, 0);
    for round in 0..20_000 {
        let mut text = whole.replace("date", ["date", "time", "x"][round % 3]);
        for _ in 0..1 + round % 4 {
            let ends: Vec<usize> = text.char_indices().map(|(index, _)| index).collect();
            let from = ends[scatter(&mut seed, ends.len())];
            let to = ends[scatter(&mut seed, ends.len())].clamp(from, from.max(text.len().min(from + 3)));
            if text.is_char_boundary(to) {
                text.replace_range(from..to, PIECES[scatter(&mut seed, PIECES.len())]);
            }
        }
        let missing = [Missing::Error, Missing::Interpolate, Missing::Forward, Missing::Drop][round / 3 % 4];
        match parse_csv("x.csv", text.as_bytes(), &with_missing(missing)) {
            Ok(Parsed { series, .. }) => {
                assert_eq!(series.values.len(), series.rows() * series.columns.len(), "{text:?}");
                assert!(series.values.iter().all(|value| value.is_finite()), "{text:?}");
                if let Some(time) = series.time {
                    assert_eq!(
                        (time.stamps.len(), time.after(3).len()),
                        (series.values.len() / series.columns.len(), 3)
                    );
                }
            }
            Err(error) => {
                let error = error.to_string();
                assert!(error.starts_with("x.csv") && error.contains("\n  "), "{text:?}: {error}");
                refused += 1;
            }
        }
    }
    assert!((5_000..19_000).contains(&refused), "{refused}");
}

// ---- missing values ----

#[test]
fn the_ways_with_missing_values_have_names_in_config_files() {
    let named = |name: &str| Missing::deserialize(IntoDeserializer::<serde::de::value::Error>::into_deserializer(name));
    let ways = [Missing::Error, Missing::Interpolate, Missing::Forward, Missing::Drop];
    assert_eq!(["error", "interpolate", "forward", "drop"].map(|name| named(name).expect("a way")), ways);
    assert!(named("guess").is_err());
}

const GAPS: &str = "a,b\n,10\n2,NaN\nNA,-\n5,null\n-,50\n";

#[test]
fn missing_values_are_an_error_by_default() {
    refuses(GAPS, "x.csv, line 2, column `a`: the value is missing (the first of 6)", "`--missing interpolate`");
    let error = error_of(GAPS, &with_columns(&["b"]));
    assert_error(&error, "x.csv, line 3, column `b`: the value is missing (the first of 3)", "`--missing drop`");
    refuses("a,b\n1,2\n3,\n", "x.csv, line 3, column `b`: the value is missing (the only one)", "`--missing forward`");
}

#[test]
fn missing_values_are_interpolated_by_rows() {
    let Parsed { series, notes } = parse_as(GAPS, &with_missing(Missing::Interpolate));
    assert_eq!(series.values, [2.0, 10.0, 2.0, 20.0, 3.5, 30.0, 5.0, 40.0, 5.0, 50.0]);
    assert_eq!(notes, ["interpolated 6 missing values, first at line 2, column `a`"]);
}

#[test]
fn missing_values_are_carried_forward() {
    let forward = with_missing(Missing::Forward);
    let first = "x.csv, line 2, column `a`: the value is missing and no value is before it";
    assert_error(&error_of(GAPS, &forward), first, "`--missing interpolate`");
    let Parsed { series, notes } = parse_as("a,b\n1,10\n,20\nn/a,30\n4,40\n", &forward);
    assert_eq!(series.values, [1.0, 10.0, 1.0, 20.0, 1.0, 30.0, 4.0, 40.0]);
    assert_eq!(notes, ["carried forward into 2 missing values, first at line 3, column `a`"]);
}

#[test]
fn rows_with_missing_values_are_dropped_and_leave_a_gap() {
    let drop = with_missing(Missing::Drop);
    let text = "date,a\n2020-01-01,1\n2020-01-02,2\n2020-01-03,\n2020-01-04,4\n2020-01-05,5\n";
    let Parsed { series, notes } = parse_as(text, &drop);
    assert_eq!(series.values, [1.0, 2.0, 4.0, 5.0]);
    assert_eq!(series.time.expect("dates").label(2), "2020-01-04");
    assert_eq!(
        notes,
        [
            "dropped 1 row with a missing value, first at line 4",
            "1 gap in `date` (daily), first after line 3; rows are taken as they follow"
        ]
    );
    let first = "x.csv, line 2, column `b`: every row misses a value, so `drop` leaves none";
    assert_error(&error_of("a,b\n1,\n,2\n", &drop), first, "interpolate");
}

// ---- time ----

#[test]
fn every_form_of_time_is_read_written_and_continued() {
    for (rows, following) in [
        (["1749-01", "1749-02", "1749-03"], "1749-04"),
        (["2016-02-27", "2016-02-28", "2016-02-29"], "2016-03-01"),
        (["2016-07-01 00:00:00", "2016-07-01 01:00:00", "2016-07-01 02:00:00"], "2016-07-01 03:00:00"),
        (["2016-07-01T22:30", "2016-07-01T23:00", "2016-07-01T23:30"], "2016-07-02T00:00"),
        (
            ["2016-07-01T00:00:00.500Z", "2016-07-01T00:00:01.000Z", "2016-07-01T00:00:01.500Z"],
            "2016-07-01T00:00:02.000Z",
        ),
        (
            ["2016-07-01 00:00:00+02:00", "2016-07-01 06:00:00+02:00", "2016-07-01 12:00:00+02:00"],
            "2016-07-01 18:00:00+02:00",
        ),
        (
            ["2016-12-30T00:00:00-0330", "2016-12-31T00:00:00-0330", "2017-01-01T00:00:00-0330"],
            "2017-01-02T00:00:00-0330",
        ),
        (["2016-07-01T00:00+02", "2016-07-01T00:01+02", "2016-07-01T00:02+02"], "2016-07-01T00:03+02"),
    ] {
        let time = time_of(&dated(&rows));
        assert_eq!((0..3).map(|row| time.label(row)).collect::<Vec<_>>(), rows);
        assert_eq!(time.after(1), [following]);
    }
}

#[test]
fn integers_are_times_only_where_the_name_says_so() {
    for (name, rows, following) in [
        ("timestamp", ["1467331200", "1467334800", "1467338400"], "1467342000"),
        ("time", ["1467331200000", "1467331260000", "1467331320000"], "1467331380000"),
        ("Year", ["1700", "1701", "1702"], "1703"),
        ("ts", ["10", "20", "30"], "40"),
    ] {
        let text = dated(&rows).replacen('d', name, 1);
        let time = time_of(&text);
        assert_eq!((time.label(0), time.after(1)), (rows[0].to_string(), strings(&[following])));
        let data = parse(&dated(&rows)).series;
        assert_eq!((data.columns, data.time), (strings(&["d", "v"]), None));
        let asked = parse_as(&dated(&rows), &with_time("d")).series;
        assert_eq!((asked.columns, asked.time.expect("asked").after(1)), (strings(&["v"]), strings(&[following])));
    }
    let hours = parse("time,v\n22,1\n23,2\n0,3\n").series;
    assert_eq!((hours.columns, hours.time), (strings(&["time", "v"]), None));
}

#[test]
fn steps_have_names_seasons_and_a_next_row() {
    for (rows, name, season, following) in [
        (["2020-01-01", "2020-02-01", "2020-03-01"], "monthly", Some(12), "2020-04-01"),
        (["2019-12-31", "2020-01-31", "2020-02-29"], "monthly", Some(12), "2020-03-31"),
        (["2019-12-30", "2020-01-30", "2020-02-29"], "monthly", Some(12), "2020-03-30"),
        (["2020-06-30", "2020-09-30", "2020-12-31"], "quarterly", Some(4), "2021-03-31"),
        (["2020-01-01", "2021-01-01", "2022-01-01"], "yearly", None, "2023-01-01"),
        (["2000-01", "2002-01", "2004-01"], "every 2 years", None, "2006-01"),
        (["2020-01-06", "2020-01-13", "2020-01-20"], "weekly", Some(52), "2020-01-27"),
        (["2020-01-06", "2020-01-07", "2020-01-08"], "daily", Some(7), "2020-01-09"),
        (["2020-01-06", "2020-01-09", "2020-01-12"], "every 3 days", None, "2020-01-15"),
        (["2020-01-06T10:00", "2020-01-06T11:00", "2020-01-06T12:00"], "hourly", Some(24), "2020-01-06T13:00"),
        (
            ["2020-01-06T10:00", "2020-01-06T10:15", "2020-01-06T10:30"],
            "every 15 minutes",
            Some(96),
            "2020-01-06T10:45",
        ),
        (["2020-01-06T10:00", "2020-01-06T17:00", "2020-01-07T00:00"], "every 7 hours", None, "2020-01-07T07:00"),
    ] {
        let time = time_of(&dated(&rows));
        assert_eq!((time.describe().as_str(), time.season(), time.after(1)), (name, season, strings(&[following])));
    }
    assert_eq!(time_of(&dated(&["2020-01", "2020-02"])).step(), Step::Months(1));
    let count = time_of("ts,v\n0,1\n5,2\n10,3\n");
    assert_eq!((count.describe().as_str(), count.season()), ("in steps of 5", None));
}

#[test]
fn weekdays_are_a_step_without_gaps() {
    let days = ["2020-01-09", "2020-01-10", "2020-01-13", "2020-01-14", "2020-01-15", "2020-01-16", "2020-01-17"];
    let Parsed { series, notes } = parse(&dated(&days));
    let time = series.time.expect("dates");
    assert_eq!(
        (time.step(), time.season(), time.after(2)),
        (Step::Weekdays, Some(5), strings(&["2020-01-20", "2020-01-21"]))
    );
    assert!(notes.is_empty(), "{notes:?}");
}

#[test]
fn time_must_increase() {
    let remedy = "sort the rows";
    let first = "x.csv, line 4, column `d`: `2020-01-01` is earlier than the line before (`2020-01-03`)";
    refuses(&dated(&["2020-01-02", "2020-01-03", "2020-01-01"]), first, remedy);
    let first = "x.csv, line 3, column `d`: `2020-01-02` stands on the line before as well";
    refuses(&dated(&["2020-01-02", "2020-01-02"]), first, "keep one row");
    let error = error_of("n,v\n3,1\n2,1\n", &with_time("n"));
    assert_error(&error, "x.csv, line 3, column `n`: `2` is earlier than the line before (`3`)", remedy);
}

#[test]
fn gaps_are_noted() {
    let days = ["2020-01-03", "2020-01-04", "2020-01-05", "2020-01-07", "2020-01-08", "2020-01-11", "2020-01-12"];
    let Parsed { series, notes } = parse(&dated(&days));
    assert_eq!(series.rows(), 7);
    assert_eq!(notes, ["2 gaps in `d` (daily), first after line 4; rows are taken as they follow"]);
    let hours = ["2020-01-03T00:00", "2020-01-03T01:00", "2020-01-03T02:00", "2020-01-03T02:20"];
    assert_eq!(parse(&dated(&hours)).notes, ["1 row in `d` sooner than its step (hourly), first at line 5"]);
    let equally_often = ["2020-01-03T00:00", "2020-01-03T01:00", "2020-01-03T03:00"];
    assert_eq!(parse(&dated(&equally_often)).notes.len(), 1);
    assert_eq!(time_of(&dated(&equally_often)).describe(), "hourly");
    let months = ["2020-01", "2020-02", "2020-04", "2020-05"];
    assert_eq!(
        parse(&dated(&months)).notes,
        ["1 gap in `d` (monthly), first after line 3; rows are taken as they follow"]
    );
}

#[test]
fn offsets_that_differ_are_taken_to_utc() {
    let Parsed { series, notes } = parse(&dated(&["2020-10-25T02:00+02:00", "2020-10-25T02:00+01:00"]));
    let time = series.time.expect("times");
    assert_eq!(
        (time.label(0), time.label(1), time.after(1)),
        ("2020-10-25T00:00Z".into(), "2020-10-25T01:00Z".into(), strings(&["2020-10-25T02:00Z"]))
    );
    assert_eq!(notes, ["`d`: the offsets from UTC differ; times are kept in UTC"]);
}

#[test]
fn a_time_that_is_none_is_refused_if_asked_for_and_noted_if_not() {
    let text = dated(&["2020-01-01", "2020-01-02", "2020-13-03"]);
    let problem = "x.csv, line 4, column `d`: `2020-13-03` is not a time, or not in the form of the first one";
    assert_error(&error_of(&text, &with_time("d")), problem, "2016-07-01 00:00:00");
    let Parsed { series, notes } = parse(&text);
    assert_eq!((series.columns, series.time), (strings(&["v"]), None));
    assert_eq!(notes[0], "`d` is not taken for the time: `2020-13-03` in line 4 is not in the form of the first one");
    let error = error_of("when,v\nyesterday,1\ntoday,2\n", &with_time("when"));
    let problem = "x.csv, line 2, column `when`: `yesterday` is not a time, or not in the form of the first one";
    assert_error(&error, problem, "seconds since 1970");
}

#[test]
fn a_date_in_another_form_is_left_out_with_the_form_to_use() {
    let Parsed { series, notes } = parse("Date,v\n7/1/2016,1\n7/2/2016,2\n");
    assert_eq!((series.columns, series.time), (strings(&["v"]), None));
    assert_eq!(notes, ["column `Date` is text (`7/1/2016`, not a time like 2016-07-01) and is left out"]);
}

// ---- columns, parts, windows ----

#[test]
fn features_and_targets_are_found_by_name() {
    let series = parse("a,b,c\n1,2,3\n").series;
    let select = |features: &[&str], targets: &[&str]| series.select(&strings(features), &strings(targets));
    let columns =
        |features: &[usize], targets: &[usize]| Columns { features: features.into(), targets: targets.into() };
    assert_eq!(select(&[], &[]).expect("columns"), columns(&[0, 1, 2], &[2]));
    assert_eq!(select(&["b", "a"], &[]).expect("columns"), columns(&[1, 0], &[0]));
    assert_eq!(select(&[], &["b", "a"]).expect("columns"), columns(&[0, 1, 2], &[1, 0]));
    assert_eq!(select(&["c"], &["b"]).expect("columns"), columns(&[2], &[1]));
    let unknown = select(&["a"], &["OT"]).expect_err("unknown").to_string();
    assert_error(&unknown, "x.csv: there is no column `OT` of numbers", "`a`, `b`, `c`");
    let twice = select(&["a", "b", "a"], &[]).expect_err("twice").to_string();
    assert_error(&twice, "option `features`: `a` is given twice", "once");
}

#[test]
fn parts_are_cut_as_the_reference_cuts_them() {
    let split = Split::by_time(2820, 0.7, 0.15).expect("a split");
    // 2820 · 0.7 is 1973.9999999999998 in floating point, and the reference truncates.
    assert_eq!(split, Split { train: 0..1973, validation: 1973..2397, test: 2397..2820 });
    for (train, validation, sum) in [(0.7, 0.15, 0.85), (0.7, 0.2, 0.9), (0.6, 0.3, 0.9), (0.1, 0.2, 0.3)] {
        for rows in 0..3000 {
            let split = Split::by_time(rows, train, validation).expect("a split");
            assert_eq!(split.train.end, (rows as f64 * train) as usize);
            assert_eq!(split.validation.end, (rows as f64 * sum) as usize, "{rows} rows, {train} + {validation}");
            assert_eq!((split.validation.start, split.test), (split.train.end, split.validation.end..rows));
        }
    }
    let refused = |train, validation| Split::by_time(100, train, validation).expect_err("refused").to_string();
    assert_error(&refused(0.0, 0.2), "option `train_share`: 0 is no share of the rows", "0.7");
    assert_error(&refused(f64::NAN, 0.2), "option `train_share`: NaN is no share of the rows", "0.7");
    assert_error(&refused(0.5, -0.1), "option `validation_share`: -0.1 is no share of the rows", "0.7");
    let problem = "option `validation_share`: with `train_share` 0.9 and this 0.2 more than all rows are taken";
    assert_error(&refused(0.9, 0.2), problem, "lower");
}

#[test]
fn windows_hold_their_targets_in_one_part_and_may_read_the_past() {
    for window in 0..6 {
        for horizon in 1..5 {
            for (start, end, first_row) in [(0, 9, 0), (3, 9, 0), (3, 9, 2), (5, 6, 0), (5, 5, 0), (8, 20, 0)] {
                let every = (first_row..30).filter(|start_row| {
                    let targets = start_row + window..start_row + window + horizon;
                    targets.start >= start && targets.end <= end
                });
                let want: Vec<u32> = every.map(|row| row as u32).collect();
                assert_eq!(
                    windows(&(start..end), first_row, window, horizon),
                    want,
                    "{window} {horizon} {start}..{end}"
                );
            }
        }
    }
}

#[test]
fn a_part_without_a_window_is_an_error() {
    let split = Split { train: 0..50, validation: 50..60, test: 60..100 };
    let refused = |window, horizon| split.windows(window, horizon).expect_err("too few").to_string();
    let problem = "option `window`: the training part has 50 rows, too few for one window of 48 rows and a horizon of 3: 51 \
                   are needed";
    assert_error(&refused(48, 3), problem, "lower `window` or `horizon`");
    let problem = "option `window`: the validation part has 10 rows, too few for one window of 5 rows and a horizon of 11: 11 \
                   are needed";
    assert_error(&refused(5, 11), problem, "give the validation part a larger share");
    let found = split.windows(40, 10).expect("windows");
    assert_eq!((found.train, found.validation, found.test.len()), (vec![0], vec![10], 31));
    let no_validation = Split { train: 0..50, validation: 50..50, test: 50..100 }.windows(10, 5).expect("windows");
    assert_eq!((no_validation.validation, no_validation.test.len()), (vec![], 46));
}

// ---- scaling and scores ----

#[test]
fn scaling_uses_the_training_rows_alone_and_reverts() {
    let series = parse("a,b\n1,5\n2,5\n3,5\n4,5\n1000,9\n").series;
    let scaler = Scaler::fit(&series, 0..4);
    assert_eq!((scaler.mean.as_slice(), scaler.scale.as_slice()), (&[2.5, 5.0][..], &[1.25f64.sqrt(), 1.0][..]));
    let both = scaler.transform(&series, &[1, 0]);
    assert_eq!(both.len(), 10);
    assert_eq!((both[8], both[9]), (4.0, (997.5 / 1.25f64.sqrt()) as f32));
    for row in 0..5 {
        for column in 0..2 {
            let value = series.value(row, column);
            assert_near(scaler.inverse(scaler.scaled(value, column), column), value, 1e-12);
        }
    }
}

#[test]
fn a_constant_target_is_an_error_and_a_constant_feature_a_note() {
    let series = parse("a,b\n1,0.1\n2,0.1\n3,0.1\n4,7\n").series;
    assert_eq!((constant_columns(&series, 0..3), constant_columns(&series, 0..4)), (vec![1], vec![]));
    let target = Columns { features: vec![0], targets: vec![1] };
    let error = check_constant(&series, 0..3, &target).expect_err("constant").to_string();
    let problem = "x.csv, column `b`: the target is 0.1 in all 3 rows of the training part";
    assert_error(&error, problem, "`target`");
    let feature = Columns { features: vec![0, 1], targets: vec![0] };
    let notes = check_constant(&series, 0..3, &feature).expect("notes");
    assert_eq!(notes, ["`b` does not change in the training part: the model learns nothing from it"]);
    assert_eq!(check_constant(&series, 0..4, &target).expect("notes"), Vec::<String>::new());
}

#[test]
fn naive_forecasts_repeat_the_last_values() {
    let series = parse("a,b\n0,1\n0,2\n0,3\n0,4\n0,5\n").series;
    assert_eq!(repeat_last(&series, 1, 3, 4), [3.0; 4]);
    assert_eq!(seasonal(&series, 1, 3, 5, 2), [2.0, 3.0, 2.0, 3.0, 2.0]);
    assert_eq!(seasonal(&series, 1, 5, 2, 4), [2.0, 3.0]);
}

#[test]
fn scores_are_those_of_a_hand_calculation() {
    let series = parse("a,b,c\n0,0,1\n2,10,1\n4,30,1\n9,99,1\n").series;
    let mut scorer = Scorer::new(&series, 0..3, &[0, 1], None);
    for (target, truth, forecast) in [(0, 1.0, 2.0), (0, 1.0, -2.0), (1, 10.0, 10.0), (1, 10.0, 16.0)] {
        scorer.push(target, truth, forecast);
    }
    // Units: |2|, |2| → 2 and |10|, |20| → 15; errors 1, 3 → 2 and 0, 6 → 3.
    let want = Scores { rmse: (46.0f64 / 4.0).sqrt(), mae: 2.5, mase: Some((2.0 / 2.0 + 3.0 / 15.0) / 2.0) };
    assert_eq!(scorer.finish(), want);
    for (targets, season) in [(&[2][..], None), (&[0][..], Some(3)), (&[0][..], Some(100))] {
        let mut undefined = Scorer::new(&series, 0..3, targets, season);
        undefined.push(0, 1.0, 3.0);
        assert_eq!(undefined.finish(), Scores { rmse: 2.0, mae: 2.0, mase: None });
    }
}

/// Scores of a naive forecast of one column over `starts`.
fn score(series: &Series, column: usize, split: &Split, window: usize, horizon: usize, season: usize) -> Scores {
    let mut scorer = Scorer::new(series, split.train.clone(), &[column], Some(season));
    for start in windows(&split.test, 0, window, horizon) {
        let origin = start as usize + window;
        for (step, forecast) in seasonal(series, column, origin, horizon, season).into_iter().enumerate() {
            scorer.push(0, series.value(origin + step, column), forecast);
        }
    }
    scorer.finish()
}

#[test]
fn the_built_in_sunspots_give_the_reference_scores() {
    let series = Series::sunspots();
    let time = series.time.clone().expect("months");
    assert_eq!((series.rows(), series.columns.as_slice()), (2820, &strings(&["sunspots"])[..]));
    assert_eq!((series.value(0, 0), series.value(1, 0)), (58.0, 62.6));
    assert_eq!((time.describe().as_str(), time.season()), ("monthly", Some(12)));
    assert_eq!(
        (time.label(0), time.label(2819), time.after(2)),
        ("1749-01".into(), "1983-12".into(), strings(&["1984-01", "1984-02"]))
    );
    let split = Split::by_time(2820, 0.7, 0.15).expect("a split");
    assert_eq!(split.windows(132, 12).expect("windows").test.len(), 412);
    let last = score(&series, 0, &split, 132, 12, 1);
    assert_near(last.rmse, 31.766, 5e-4);
    assert_near(last.mae, 23.689, 5e-4);
    let season = score(&series, 0, &split, 132, 12, 12);
    assert_near(season.rmse, 41.470, 5e-4);
    assert_near(season.mae, 31.646, 5e-4);
}

/// The electricity transformer data is no part of this project (CC BY-ND): `BPTT_DATA` names the folder that holds it.
#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn ett_gives_the_published_naive_scores() {
    let path = std::env::var_os("BPTT_DATA").map(|folder| Path::new(&folder).join("ETTh1.csv"));
    let Some(path) = path.filter(|path| path.exists()) else {
        eprintln!("skipped: no ETTh1.csv in the folder that BPTT_DATA names");
        return;
    };
    let Parsed { series, notes } = read_csv(&path, &options()).expect("a series");
    assert_eq!(
        (series.rows(), series.columns),
        (17_420, strings(&["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"]))
    );
    let time = series.time.expect("hours");
    assert_eq!(
        (time.describe().as_str(), time.season(), time.label(0)),
        ("hourly", Some(24), "2016-07-01 00:00:00".into())
    );
    assert!(notes.is_empty(), "{notes:?}");

    let series = read_csv(&path, &with_columns(&["OT"])).expect("a series").series;
    let split = Split { train: 0..8640, validation: 8640..11_520, test: 11_520..14_400 };
    let scores = score(&series, 0, &split, 336, 24, 1);
    let scale = Scaler::fit(&series, split.train.clone()).scale[0];
    assert_near(scores.rmse.powi(2) / scale.powi(2), 0.0343, 5e-5);
    assert_near(scores.mae / scale, 0.1394, 5e-5);
}
