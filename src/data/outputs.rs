//! What the outputs of a head say: a point forecast for each value and, where the loss gives a distribution, its quantiles.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

use super::Series;
use crate::config::{Config, LossKind};
use crate::error::sure;
use crate::kernels::{freedom_from_raw, scale_from_raw};

/// Forecasts of some windows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forecasts {
    /// The number that is scored and, beyond the horizon, read again: the mean, or the quantile nearest to ½.
    pub point: Vec<f64>, // [windows, horizon, targets]
    /// In rising order of their levels. Those of the quantile loss are learnt one by one and may cross.
    pub quantiles: Vec<Quantile>,
}

/// Values that the truth lies below with the same probability.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quantile {
    /// That probability.
    pub level: f64,
    /// As [`Forecasts::point`].
    pub values: Vec<f64>,
}

/// How well quantiles fit what came.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Mean over values and quantiles of the pinball loss, in the data's units: of the median alone half the mean absolute
    /// error.
    pub pinball: f64,
    /// Share of the values between the lowest and the highest quantile; `None` for a single quantile.
    pub coverage: Option<f64>,
    /// What that share would be if the quantiles were right.
    pub nominal: f64,
}

/// From this ν on Student's quantiles are the normal ones with one correction, to seven digits; the inverse of the incomplete
/// beta function loses them as ν grows.
const NORMAL_FROM: f64 = 1e4;

impl Forecasts {
    /// From a head's `outputs` `[windows, parts, horizon, targets]` as `config` was trained to mean them; in the same
    /// units, scaled.
    ///
    /// # Panics
    /// For cross entropy, whose classes are no forecast of numbers.
    pub fn read(config: &Config, targets: usize, outputs: &[f32]) -> Self {
        let values = config.horizon * targets;
        let part = |part: usize, parts: usize| -> Vec<f64> {
            let rows = outputs.chunks_exact(parts * values);
            rows.flat_map(|row| &row[part * values..][..values]).map(|&value| f64::from(value)).collect()
        };
        let at_every_level = |values: &dyn Fn(usize, f64) -> Vec<f64>| {
            let levels = config.quantiles.iter().enumerate();
            levels.map(|(place, &level)| Quantile { level, values: values(place, level) }).collect::<Vec<_>>()
        };
        match config.loss {
            LossKind::Mse | LossKind::L1 | LossKind::Huber => Self { point: part(0, 1), quantiles: Vec::new() },
            LossKind::Quantile => {
                let quantiles = at_every_level(&|place, _| part(place, config.quantiles.len()));
                Self { point: quantiles[config.median()].values.clone(), quantiles }
            }
            LossKind::Gaussian => {
                let (mean, raw_scale) = (part(0, 2), part(1, 2));
                let quantiles = at_every_level(&|_, level| {
                    let z = standard(f64::INFINITY, level);
                    mean.iter().zip(&raw_scale).map(|(mean, &raw)| mean + scale_from_raw(raw) * z).collect()
                });
                Self { point: mean, quantiles }
            }
            LossKind::StudentT => {
                let (mean, raw_scale, raw_freedom) = (part(0, 3), part(1, 3), part(2, 3));
                let quantiles = at_every_level(&|_, level| {
                    let rows = mean.iter().zip(&raw_scale).zip(&raw_freedom);
                    rows.map(|((mean, &scale), &freedom)| {
                        mean + scale_from_raw(scale) * standard(freedom_from_raw(freedom), level)
                    })
                    .collect()
                });
                Self { point: mean, quantiles }
            }
            LossKind::CrossEntropy => panic!("classes are no forecast of numbers"),
        }
    }

    /// Every value through `change`, which is given its place.
    pub fn map(&self, change: impl Fn(usize, f64) -> f64) -> Self {
        let all = |values: &[f64]| values.iter().enumerate().map(|(place, &value)| change(place, value)).collect();
        let quantiles = self.quantiles.iter().map(|q| Quantile { level: q.level, values: all(&q.values) });
        Self { point: all(&self.point), quantiles: quantiles.collect() }
    }

    /// Puts `more` behind what is here.
    ///
    /// # Panics
    /// If it has other quantiles.
    pub fn extend(&mut self, more: Self) {
        if self.point.is_empty() {
            *self = more;
            return;
        }
        assert_eq!(self.quantiles.len(), more.quantiles.len(), "quantiles");
        self.point.extend(more.point);
        self.quantiles.iter_mut().zip(more.quantiles).for_each(|(own, more)| own.values.extend(more.values));
    }

    /// Leaves the first `len` values.
    pub fn truncate(&mut self, len: usize) {
        self.point.truncate(len);
        self.quantiles.iter_mut().for_each(|quantile| quantile.values.truncate(len));
    }

    /// The lowest and the highest quantile, where there are two.
    pub fn interval(&self) -> Option<(&Quantile, &Quantile)> {
        match &self.quantiles[..] {
            [low, .., high] => Some((low, high)),
            _ => None,
        }
    }

    /// Forecasts `[rows, targets]` of the rows after the last one of `series` as CSV: the time, each target, then its
    /// quantiles.
    pub fn to_csv(&self, series: &Series, targets: &[String]) -> Vec<u8> {
        let (time, labels) = series.labels_after(self.point.len() / targets.len());
        let of_target = |name: &String| {
            let quantiles = self.quantiles.iter().map(|quantile| format!("{name}_q{}", quantile.level));
            std::iter::once(name.clone()).chain(quantiles).collect::<Vec<_>>()
        };
        let header = std::iter::once(time).chain(targets.iter().flat_map(of_target)).collect();
        let row = |(row, label): (usize, String)| -> Vec<String> {
            let places = row * targets.len()..(row + 1) * targets.len();
            let values = places.flat_map(|place| {
                let quantiles = self.quantiles.iter().map(move |quantile| quantile.values[place]);
                std::iter::once(self.point[place]).chain(quantiles)
            });
            std::iter::once(label).chain(values.map(|value| value.to_string())).collect()
        };
        let mut writer = csv::Writer::from_writer(Vec::new());
        for record in std::iter::once(header).chain(labels.into_iter().enumerate().map(row)) {
            sure(writer.write_record(record), "a vector takes everything, and all rows are as long as the header");
        }
        sure(writer.into_inner(), "a vector takes everything")
    }

    /// The fit of the quantiles to `truth`, which is laid out as they are; `None` without quantiles.
    ///
    /// # Panics
    /// If there is no value.
    pub fn calibration(&self, truth: &[f64]) -> Option<Calibration> {
        assert!(!truth.is_empty() && truth.len() == self.point.len(), "{} values", truth.len());
        if self.quantiles.is_empty() {
            return None;
        }
        let pinball = |q: &Quantile| -> f64 {
            let errors = truth.iter().zip(&q.values).map(|(truth, value)| truth - value);
            errors.map(|e| (q.level * e).max((q.level - 1.0) * e)).sum()
        };
        let count = truth.len() as f64;
        let pinball = self.quantiles.iter().map(pinball).sum::<f64>() / (count * self.quantiles.len() as f64);
        let covered = |(low, high): (&Quantile, &Quantile)| {
            let inside = (0..truth.len()).filter(|&i| (low.values[i]..=high.values[i]).contains(&truth[i]));
            inside.count() as f64 / count
        };
        let nominal = self.interval().map_or(0.0, |(low, high)| high.level - low.level);
        Some(Calibration { pinball, coverage: self.interval().map(covered), nominal })
    }
}

/// The quantile at `level` of Student's distribution with ν = `freedom`, around 0 and of scale 1; of the normal one for an
/// infinite ν. NaN for a NaN.
fn standard(freedom: f64, level: f64) -> f64 {
    if freedom >= NORMAL_FROM {
        // Abramowitz & Stegun 26.7.5.
        let z = Normal::standard().inverse_cdf(level);
        return z + z * (z * z + 1.0) / (4.0 * freedom);
    }
    StudentsT::new(0.0, 1.0, freedom).map_or(f64::NAN, |student| student.inverse_cdf(level))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By mpmath with 30 digits: the zero of the distribution function, `betainc(ν/2, ½, 0, ν/(ν + t²), regularized=True)/2`
    /// below 0, less the level; and `sqrt(2)·erfinv(2·level − 1)`.
    #[test]
    fn standard_quantiles_are_right() {
        for (freedom, level, want) in [
            (2.0, 0.001, -22.327_124_770_1),
            (2.0, 0.25, -0.816_496_580_928),
            (2.0, 0.9, 1.885_618_083_16),
            (2.5, 0.1, -1.730_250_928_81),
            (2.5, 0.99, 5.353_111_173_03),
            (3.0, 0.001, -10.214_531_852_4),
            (3.0, 0.5, 0.0),
            (10.0, 0.25, -0.699_812_061_312),
            (10.0, 0.99, 2.763_769_458_11),
            (1000.0, 0.001, -3.098_402_163_91),
            (1000.0, 0.9, 1.282_398_721_46),
            (9990.0, 0.001, -3.091_048_332_25),
            (9990.0, 0.9, 1.281_636_314_49),
            (NORMAL_FROM, 0.001, -3.091_047_516_03),
            (NORMAL_FROM, 0.9, 1.281_636_229_73),
            (f64::INFINITY, 0.1, -1.281_551_565_544_6),
            (f64::INFINITY, 0.5, 0.0),
        ] {
            let got = standard(freedom, level);
            assert!((got - want).abs() <= 1e-6 * want.abs().max(1e-6), "ν {freedom}, {level}: {got}, not {want}");
        }
        assert!(standard(f64::NAN, 0.1).is_nan());
    }

    #[test]
    fn parts_stand_before_values() {
        let config = Config { horizon: 2, loss: LossKind::Quantile, ..Config::default() };
        let outputs: Vec<f32> = (0..12).map(|value| value as f32).collect();
        let read = Forecasts::read(&config, 1, &outputs);
        assert_eq!(read.point, [2.0, 3.0, 8.0, 9.0]);
        let values: Vec<_> = read.quantiles.iter().map(|q| (q.level, q.values.clone())).collect();
        let want = [(0.1, [0.0, 1.0, 6.0, 7.0]), (0.5, [2.0, 3.0, 8.0, 9.0]), (0.9, [4.0, 5.0, 10.0, 11.0])];
        assert_eq!(values, want.map(|(level, values)| (level, values.to_vec())));
    }

    #[test]
    fn calibration_counts_and_weighs() {
        let quantile = |level, values: [f64; 4]| Quantile { level, values: values.to_vec() };
        let quantiles = vec![quantile(0.25, [0.0; 4]), quantile(0.75, [1.0; 4])];
        let forecasts = Forecasts { point: vec![0.5; 4], quantiles };
        let found = forecasts.calibration(&[0.5, 1.0, 2.0, -4.0]).expect("quantiles");
        assert_eq!((found.coverage, found.nominal), (Some(0.5), 0.5));
        // 0.25·0.5, 0.25, 0.5, 0.75·4 at the lower, 0.25·0.5, 0, 0.75, 0.25·5 at the upper one.
        assert!((found.pinball - 6.0 / 8.0).abs() < 1e-12, "{found:?}");
        assert_eq!(Forecasts { point: vec![0.5], quantiles: Vec::new() }.calibration(&[1.0]), None);
    }
}
