//! Rows by time: the first ones train, the next ones validate, the last ones test. And the windows in each.

use std::ops::Range;

use crate::error::{Error, Result};

/// Three consecutive parts of a series, in rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Rows that the weights and the scaler are fitted on.
    pub train: Range<usize>,
    /// Rows that choose the best weights.
    pub validation: Range<usize>,
    /// Rows that nothing is chosen on.
    pub test: Range<usize>,
}

/// The start rows of every window, by the part that its targets lie in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// Inputs and targets lie in the training part.
    pub train: Vec<u32>,
    /// Targets lie in the validation part.
    pub validation: Vec<u32>,
    /// Targets lie in the test part.
    pub test: Vec<u32>,
}

impl Split {
    /// Splits `rows` by shares: training ends at `⌊rows · train⌋`, validation at `⌊rows · (train + validation)⌋`.
    ///
    /// # Errors
    /// If the shares are not positive (validation may be 0) or exceed 1 together.
    pub fn by_time(rows: usize, train_share: f64, validation_share: f64) -> Result<Self> {
        for (option, share, least) in
            [("train_share", train_share, f64::MIN_POSITIVE), ("validation_share", validation_share, 0.0)]
        {
            if !(least..=1.0).contains(&share) {
                let range = if least > 0.0 { "more than 0 and at most 1" } else { "from 0 to 1" };
                return Err(Error::option(
                    option,
                    format!("{share} is no share of the rows"),
                    format!("give a number {range}, say 0.7"),
                ));
            }
        }
        // Rounded, so that 0.7 + 0.2 is the 0.9 that was meant and not the 0.8999… that the sum gives.
        let both = ((train_share + validation_share) * 1e9).round() / 1e9;
        if both > 1.0 {
            let problem =
                format!("with `train_share` {train_share} and this {validation_share} more than all rows are taken");
            return Err(Error::option(
                "validation_share",
                problem,
                "lower one of them, so that rows are left to test on",
            ));
        }
        let (train, validation) = ((rows as f64 * train_share) as usize, (rows as f64 * both) as usize);
        Ok(Self { train: 0..train, validation: train..validation, test: validation..rows })
    }

    /// The windows of all three parts. A part without rows has none.
    ///
    /// # Errors
    /// If a part that has rows, or the training part, has too few for one window.
    pub fn windows(&self, window: usize, horizon: usize) -> Result<Windows> {
        let find = |name: &str, part: &Range<usize>| {
            let found = windows(part, 0, window, horizon);
            if !found.is_empty() || (part.is_empty() && name != "training") {
                return Ok(found);
            }
            let reach = if part.start == 0 { window } else { window.saturating_sub(part.start) };
            let (rows, needed) = (part.len(), reach.saturating_add(horizon));
            Err(Error::option(
                "window",
                format!(
                    "the {name} part has {rows} row{}, too few for one window of {window} rows and a horizon of {horizon}: \
                     {needed} are needed",
                    if rows == 1 { "" } else { "s" }
                ),
                format!("lower `window` or `horizon`, give the {name} part a larger share, or use a longer series"),
            ))
        };
        Ok(Windows {
            train: find("training", &self.train)?,
            validation: find("validation", &self.validation)?,
            test: find("test", &self.test)?,
        })
    }
}

/// The start rows `s` of the windows whose targets, rows `s + window .. s + window + horizon`, lie wholly in `part`.
///
/// The inputs, rows `s .. s + window`, may reach back before `part`, but not before `first_row`: a validation or test window
/// sees the past as a forecast would.
///
/// # Panics
/// If `horizon` is 0 or a row does not fit 32 bits.
pub fn windows(part: &Range<usize>, first_row: usize, window: usize, horizon: usize) -> Vec<u32> {
    assert!(horizon > 0, "a horizon of {horizon} rows");
    assert!(u32::try_from(part.end).is_ok(), "row {} does not fit 32 bits", part.end);
    let first = first_row.max(part.start.saturating_sub(window));
    let Some(last) = part.end.checked_sub(window.saturating_add(horizon)) else { return Vec::new() };
    (first..last + 1).map(|start| start as u32).collect()
}
