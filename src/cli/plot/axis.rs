//! Ranges, ticks and their numbers.

/// One axis: the range shown, and whether equal distances are equal ratios.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    log: bool,
}

impl Axis {
    /// From the least to the greatest finite value, with nothing beyond.
    pub(super) fn exact(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = extent(values).unwrap_or((0.0, 1.0));
        if low < high { Axis { low, high, log: false } } else { Axis { low: low - 0.5, high: high + 0.5, log: false } }
    }

    /// All finite values, with some air above and below.
    pub(super) fn linear(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = extent(values).unwrap_or((0.0, 1.0));
        let size = low.abs().max(high.abs());
        // Halves, since the difference of two huge values overflows.
        let mut air = 0.1 * (high / 2.0 - low / 2.0);
        if air < 1e-12 * size || air < 1e-280 {
            air = if size < 1e-270 { 1.0 } else { 0.1 * size };
        }
        // A count or a power that is never negative stands on its zero.
        let floor = if low >= 0.0 && size > 0.0 { 0.0 } else { -f64::MAX };
        Axis { low: (low - air).max(floor), high: (high + air).min(f64::MAX), log: false }
    }

    /// All finite positive values, with some air above and below.
    pub(super) fn log(values: impl Iterator<Item = f64>) -> Self {
        let positive = values.filter(|&value| value >= f64::MIN_POSITIVE);
        let (low, high) = extent(positive).unwrap_or((0.1, 1.0));
        let air = if low < high { 0.05 * (high.log10() - low.log10()) } else { 0.2 }.max(0.01);
        let (low, high) = (low.log10() - air, high.log10() + air);
        Axis { low: 10f64.powf(low.max(-307.0)), high: 10f64.powf(high.min(308.0)), log: true }
    }

    /// Where `value` lies: 0 at the axis' start, 1 at its end.
    pub(super) fn fraction(&self, value: f64) -> f64 {
        let Axis { low, high, log } = *self;
        if log {
            return (value.max(f64::MIN_POSITIVE) / low).log10() / (high / low).log10();
        }
        (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0)
    }

    /// Its length in its own units.
    pub(super) fn span(&self) -> f64 {
        self.high - self.low
    }

    /// About five round values and their text.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        if !self.log {
            return self.linear_ticks(0.0);
        }
        let decades = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        let power = |e: i32| format!("1e{e}").parse::<f64>().unwrap_or(f64::INFINITY);
        let shown = |value: &f64| (self.low..=self.high).contains(value);
        let mut values: Vec<f64> = decades.clone().map(power).filter(shown).collect();
        let stride = values.len().div_ceil(7).max(1);
        values = values.into_iter().step_by(stride).collect();
        if values.len() < 3 {
            values = decades.flat_map(|e| [1.0, 2.0, 5.0].map(|digit| digit * power(e))).filter(shown).collect();
        }
        if values.len() < 3 {
            return self.linear_ticks(0.0);
        }
        values.into_iter().map(|value| (value, number(value))).collect()
    }

    /// The same with whole numbers alone.
    pub(super) fn whole_ticks(&self) -> Vec<(f64, String)> {
        self.linear_ticks(1.0)
    }

    fn linear_ticks(&self, least_step: f64) -> Vec<(f64, String)> {
        let rough = (self.high / 2.0 - self.low / 2.0) / 2.5;
        let exponent = rough.log10().floor() as i32;
        let steps = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * 10f64.powi(exponent));
        let step = steps.into_iter().find(|step| *step >= 0.75 * rough).unwrap_or(rough).max(least_step);
        let multiples = (self.low / step).ceil() as i64..=(self.high / step).floor() as i64;
        let size = self.low.abs().max(self.high.abs());
        multiples.map(|k| k as f64 * step).map(|value| (value, spaced(value, step, size))).collect()
    }
}

fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|value| value.is_finite()).map(|value| (value, value)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

/// Four significant digits at most.
pub(super) fn number(value: f64) -> String {
    let (mantissa, exponent) = parts(value);
    if !(-4..6).contains(&exponent) {
        let digits = format!("{mantissa:.3}");
        return scientific(trim(&digits), exponent);
    }
    trim(&format!("{value:.0$}", (3 - exponent).max(0) as usize)).to_string()
}

/// A tick's text: as many digits as `step` needs, and one power of ten for all ticks up to `size`.
fn spaced(value: f64, step: f64, size: f64) -> String {
    let ((_, least), (_, most)) = (parts(step), parts(size));
    let text = if value == 0.0 {
        "0".to_string()
    } else if most < 6 && least > -5 {
        format!("{value:.0$}", (-least).max(0) as usize)
    } else {
        let scale: f64 = format!("1e{most}").parse().unwrap_or(f64::MAX);
        scientific(&format!("{:.*}", (most - least).clamp(0, 15) as usize, value / scale), most)
    };
    text.replace('-', "−")
}

/// Mantissa and exponent, after rounding to the four digits shown.
fn parts(value: f64) -> (f64, i32) {
    let text = format!("{value:.3e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    (mantissa.parse().unwrap_or(value), exponent.parse().unwrap_or(0))
}

fn trim(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

fn scientific(mantissa: &str, exponent: i32) -> String {
    let raised = |c: char| match c {
        '-' => '⁻',
        _ => ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][c.to_digit(10).unwrap_or(0) as usize],
    };
    let power: String = exponent.to_string().chars().map(raised).collect();
    if mantissa == "1" { format!("10{power}") } else { format!("{mantissa}×10{power}") }
}

/// Up to six rows and their labels, as round ones as there are (a year's first month, midnight, row 200), evenly spaced.
/// `row_width` is the distance of two rows on the page.
pub(super) fn row_labels(labels: &[String], row_width: f64) -> Vec<(f64, String)> {
    let Some(longest) = labels.iter().map(|label| super::canvas::text_width(label)).max_by(f64::total_cmp) else {
        return Vec::new();
    };
    let distance = longest.min(super::canvas::WIDEST_LABEL) + 14.0;
    let room = (row_width * labels.len() as f64 / distance).clamp(1.0, 6.0) as usize;
    let roundness: Vec<usize> = labels.iter().map(|label| roundness(label)).collect();
    let enough = (room * 2).div_ceil(3).min(labels.len());
    let rows_from = |level| -> Vec<usize> { (0..labels.len()).filter(|&row| roundness[row] >= level).collect() };
    let rows =
        (0..=roundness.iter().copied().max().unwrap_or(0)).rev().map(rows_from).find(|rows| rows.len() >= enough);
    let rows = rows.unwrap_or_default();
    let stride = rows.len().div_ceil(room).max(1);
    let every = |first: usize| rows.iter().copied().skip(first).step_by(stride);
    // Of the ways to take every `stride`-th, the roundest; the first of these.
    let first =
        (0..stride).rev().max_by_key(|&first| every(first).map(|row| roundness[row]).sum::<usize>()).unwrap_or(0);
    let mut shown: Vec<(f64, String)> = Vec::new();
    for row in every(first) {
        if shown.last().is_none_or(|last| (row as f64 - last.0) * row_width >= distance) {
            shown.push((row as f64, labels[row].clone()));
        }
    }
    shown
}

/// How many of its last digits a label could do without: 4 for `2020-01-01`, 2 for `08:00` and for `200`; row 0 is the
/// roundest of all.
fn roundness(label: &str) -> usize {
    let groups: Vec<&str> = label.split(|c: char| !c.is_ascii_digit()).filter(|group| !group.is_empty()).collect();
    if let [group] = groups[..]
        && group.bytes().all(|c| c == b'0')
    {
        return 9;
    }
    let mut digits = 0;
    for (place, group) in groups.iter().enumerate().rev() {
        // Months and days, the second and third group, count from 1; hours from 0.
        let whole = group.bytes().all(|c| c == b'0') || ((place == 1 || place == 2) && *group == "01");
        if whole {
            digits += group.len();
            continue;
        }
        // A tenth hour or month is not rounder than a ninth; a decade is.
        let counts = groups.len() == 1 || group.len() > 2;
        return digits + if counts { group.len() - group.trim_end_matches('0').len() } else { 0 };
    }
    digits
}
