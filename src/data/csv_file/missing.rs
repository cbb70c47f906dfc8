//! Missing values: refused, filled in, or left out with their rows.

use crate::error::{Error, Result};

use super::column::Column;
use super::source::Source;
use crate::config::Missing;

/// Resolves the missing values (NaN) of all columns; for [`Missing::Drop`] returns which rows are kept.
pub(super) fn resolve(
    source: &Source,
    columns: &mut [Column],
    offsets: &[usize],
    missing: Missing,
    notes: &mut Vec<String>,
) -> Result<Option<Vec<bool>>> {
    let first_in = |column: &Column| column.values.iter().position(|value| value.is_nan());
    let found = columns.iter().filter_map(|column| Some((first_in(column)?, column.name.clone())));
    let Some((row, name)) = found.min_by_key(|&(row, _)| row) else { return Ok(None) };
    let place = |row: usize, name: &str| source.place(offsets[row]).column(name);
    let count = columns.iter().flat_map(|column| &column.values).filter(|value| value.is_nan()).count();
    let how = match missing {
        Missing::Error => {
            let of = if count == 1 { "the only one".into() } else { format!("the first of {count}") };
            return Err(Error::file(
                place(row, &name),
                format!("the value is missing ({of})"),
                "fill it in, or choose `--missing interpolate` (between its neighbours), `--missing forward` (the last value \
                 before) or `--missing drop` (without such rows)",
            ));
        }
        Missing::Drop => {
            let keep = drop_rows(columns, offsets.len());
            let dropped = keep.iter().filter(|&&kept| !kept).count();
            if dropped == keep.len() {
                return Err(Error::file(
                    place(row, &name),
                    "every row misses a value, so `drop` leaves none",
                    "choose `--missing interpolate`, or fewer columns with `features` and `target`",
                ));
            }
            let (s, a) = if dropped == 1 { ("", "a ") } else { ("s", "") };
            let line = source.line_at(offsets[row]);
            notes.push(format!("dropped {dropped} row{s} with {a}missing value{s}, first at line {line}"));
            return Ok(Some(keep));
        }
        Missing::Interpolate => {
            columns.iter_mut().for_each(|column| interpolate(&mut column.values));
            "interpolated"
        }
        Missing::Forward => {
            if let Some(column) = columns.iter().find(|column| column.values[0].is_nan()) {
                return Err(Error::file(
                    place(0, &column.name),
                    "the value is missing and no value is before it",
                    "fill it in, or choose `--missing interpolate` or `--missing drop`",
                ));
            }
            columns.iter_mut().for_each(|column| forward(&mut column.values));
            "carried forward into"
        }
    };
    let (s, line) = (if count == 1 { "" } else { "s" }, source.line_at(offsets[row]));
    notes.push(format!("{how} {count} missing value{s}, first at line {line}, column `{name}`"));
    Ok(None)
}

/// Removes the rows in which any column misses a value.
fn drop_rows(columns: &mut [Column], rows: usize) -> Vec<bool> {
    let keep: Vec<bool> = (0..rows).map(|row| columns.iter().all(|column| !column.values[row].is_nan())).collect();
    for column in columns {
        let mut kept = keep.iter();
        column.values.retain(|_| *kept.next().expect("one flag a row"));
    }
    keep
}

/// Fills in NaN on the line between its neighbours, at the ends by the nearest value. At least one value must be there.
fn interpolate(values: &mut [f64]) {
    let mut before: Option<usize> = None;
    for row in 0..values.len() {
        if values[row].is_nan() {
            continue;
        }
        let from = before.map_or(0, |before| before + 1);
        for gap in from..row {
            values[gap] = match before {
                Some(before) => {
                    let share = (gap - before) as f64 / (row - before) as f64;
                    values[before] * (1.0 - share) + values[row] * share
                }
                None => values[row],
            };
        }
        before = Some(row);
    }
    let last = before.expect("a column without values is no column");
    let nearest = values[last];
    values[last + 1..].fill(nearest);
}

/// Fills in NaN by the last value before. The first value must be there.
fn forward(values: &mut [f64]) {
    for row in 1..values.len() {
        if values[row].is_nan() {
            values[row] = values[row - 1];
        }
    }
}
