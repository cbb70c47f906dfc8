//! The run's pictures as SVG: they read well in print, on light pages and on dark ones, and without colours.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `axis.rs` | ranges, ticks and their numbers; which rows get a label |
//! | `canvas.rs` | the drawing: frame, lines, legend, colours for light and dark |
//! | `gradient.rs` | the picture of the gradient through time |
//! | `lines.rs` | points → lines: gaps where values are missing, no more points than can be seen |

mod axis;
mod canvas;
mod gradient;
mod lines;

use axis::{Axis, number, row_labels};
use canvas::{AHEAD, BAND, BLUE, INK, MARK, NAIVE, ORANGE, Titles, draw};
use lines::{Line, split_at_gaps, thin};

pub use gradient::gradient;

/// The losses after one epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossPoint {
    /// Epochs trained.
    pub epoch: usize,
    /// Mean loss over the training windows, in scaled units.
    pub train: f64,
    /// Mean loss over the validation windows, in scaled units, where it was measured.
    pub validation: Option<f64>,
}

/// What [`forecast`] draws. Rows are indices into `labels`; values are in the target's own units.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forecast {
    /// Headline.
    pub title: String,
    /// Title of the y axis: the target column's name.
    pub unit: String,
    /// One for each row shown: its timestamp or number.
    pub labels: Vec<String>,
    /// The data, from row 0; it ends before `labels` where the forecast goes on alone. NaN leaves a gap.
    pub truth: Vec<f64>,
    /// The model's forecasts over rows that are known, one list of (row, value) a window.
    pub model: Vec<Vec<(usize, f64)>>,
    /// The best naive forecast's, likewise.
    pub naive: Vec<Vec<(usize, f64)>>,
    /// The model's forecast beyond the data: (row, value).
    pub ahead: Vec<(usize, f64)>,
    /// What the model expects the truth between, of each of its forecasts: (row, lowest, highest).
    pub bands: Vec<Vec<(usize, f64, f64)>>,
    /// How much of the truth that is, for the legend.
    pub interval: String,
    /// The row where the test part begins.
    pub split: Option<usize>,
}

/// Training and validation loss by epoch, on a logarithmic axis, as SVG. Losses that such an axis cannot show (NaN,
/// infinite, zero or less) are gaps.
pub fn loss(points: &[LossPoint]) -> String {
    let shown = |value: f64| if value > 0.0 && value.is_finite() { value } else { f64::NAN };
    let train: Line = points.iter().map(|p| (p.epoch as f64, shown(p.train))).collect();
    let validation: Line = points.iter().filter_map(|p| Some((p.epoch as f64, shown(p.validation?)))).collect();
    let best = validation.iter().copied().filter(|p| p.1.is_finite()).min_by(|a, b| a.1.total_cmp(&b.1));

    let x = Axis::exact(points.iter().map(|p| p.epoch as f64));
    let y = Axis::log(train.iter().chain(&validation).map(|p| p.1));
    let titles = Titles { x: "epoch", y: "loss (scaled units)", ..Titles::default() };
    draw(titles, x, y, |canvas| {
        canvas.frame(&x.whole_ticks());
        canvas.line(&train, BLUE);
        canvas.line(&validation, ORANGE);
        let visible = [(&train, "training", BLUE), (&validation, "validation", ORANGE)];
        let visible = visible.into_iter().filter(|(line, ..)| line.iter().any(|p| p.1.is_finite()));
        let mut legend: Vec<_> = visible.map(|(_, name, stroke)| (name.to_string(), stroke)).collect();
        if let Some((epoch, value)) = best {
            canvas.dot((epoch, value), MARK);
            legend.push((format!("lowest validation loss: {} at epoch {epoch}", number(value)), MARK));
        }
        canvas.legend(&legend);
    })
}

/// The data, the forecasts over their held-out part and the forecast beyond their end, as SVG.
pub fn forecast(figure: &Forecast) -> String {
    let truth: Vec<Line> = vec![figure.truth.iter().enumerate().map(|(row, &value)| (row as f64, value)).collect()];
    let (model, naive) = (windows(&figure.model), windows(&figure.naive));
    let ahead = windows(std::slice::from_ref(&figure.ahead));
    let drawn = [
        (&truth, "observed", INK),
        (&model, "model", BLUE),
        (&naive, "naive forecast", NAIVE),
        (&ahead, "model, beyond the data", AHEAD),
    ];
    let bands = edges(&figure.bands);
    let points = || {
        let lines = drawn.iter().flat_map(|(lines, ..)| lines.iter());
        lines.chain(bands.iter().flatten()).flatten().copied()
    };

    let last = figure.labels.len().saturating_sub(1) as f64;
    let x = Axis::exact(points().map(|p| p.0).chain([0.0, last]));
    let y = Axis::linear(points().map(|p| p.1));
    draw(Titles { title: &figure.title, x: "", y: &figure.unit }, x, y, |canvas| {
        canvas.frame(&row_labels(&figure.labels, canvas.plot_width() / x.span()));
        if let Some(split) = figure.split {
            canvas.split(split as f64, "test part begins");
        }
        bands.iter().for_each(|band| canvas.band(&band[0], &band[1], BAND));
        // The data last but for what lies beyond it: a thin line on a thick one leaves both to be seen.
        for index in [1, 2, 0, 3] {
            let (lines, _, stroke) = drawn[index];
            lines.iter().for_each(|line| canvas.line(line, stroke));
        }
        let visible = drawn.iter().filter(|(lines, ..)| lines.iter().flatten().any(|p| p.1.is_finite()));
        let mut legend: Vec<_> = visible.map(|&(_, name, stroke)| (name.to_string(), stroke)).collect();
        if bands.iter().flatten().flatten().any(|p| p.1.is_finite()) {
            legend.push((figure.interval.clone(), BAND));
        }
        canvas.legend(&legend);
    })
}

/// The lower and the upper edge of each band; bands of one row are one.
fn edges(bands: &[Vec<(usize, f64, f64)>]) -> Vec<[Line; 2]> {
    let edge = |band: &[(usize, f64, f64)]| -> [Line; 2] {
        [
            band.iter().map(|&(row, low, _)| (row as f64, low)).collect(),
            band.iter().map(|&(row, _, high)| (row as f64, high)).collect(),
        ]
    };
    if bands.iter().all(|band| band.len() < 2) {
        return vec![edge(&bands.concat())];
    }
    bands.iter().map(|band| edge(band)).collect()
}

/// Each window is a line of its own, unless they are too many to tell apart, or windows of one row: then all are one.
fn windows(windows: &[Vec<(usize, f64)>]) -> Vec<Line> {
    let line =
        |window: &Vec<(usize, f64)>| -> Line { window.iter().map(|&(row, value)| (row as f64, value)).collect() };
    let points: usize = windows.iter().map(Vec::len).sum();
    if points <= lines::MOST_POINTS && windows.iter().any(|window| window.len() > 1) {
        return windows.iter().map(line).collect();
    }
    let mut all: Line = windows.iter().flat_map(line).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    vec![all]
}

#[cfg(test)]
mod tests;
