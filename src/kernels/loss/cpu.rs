//! The losses on the CPU: each row's sum and gradient, rows in parallel, their sums added in order.

use super::{Loss, LossShape, Record, likelihood};
use crate::config::LossKind;
use crate::device::threads::prelude::*;
use crate::device::{Cpu, CpuBuffer, Real};

/// Fewer rows than this are not worth a thread.
const ROWS: usize = 64;

impl<F: Real> Loss for Cpu<F> {
    fn loss(
        &self,
        shape: &LossShape,
        record: Record,
        prediction: &CpuBuffer<F>,
        target: &CpuBuffer<F>,
        d_prediction: &mut CpuBuffer<F>,
        _scratch: &mut CpuBuffer<F>,
        history: &mut CpuBuffer<F>,
    ) {
        shape.check();
        let target = &target[..shape.targets()];
        let share = shape.weight / averaged(shape, target) as f64;
        let width = shape.parts * shape.values;
        let rows = d_prediction[..shape.predictions()]
            .par_chunks_exact_mut(width)
            .zip(prediction.par_chunks_exact(width).zip(target.par_chunks_exact(shape.values)));
        let losses: Vec<f64> = rows
            .with_min_len(ROWS)
            .map(|(d_prediction, (prediction, target))| match shape.kind {
                LossKind::CrossEntropy => cross_entropy(shape, share, prediction, target[0], d_prediction),
                _ => row(shape, share, prediction, target, d_prediction),
            })
            .collect();
        let loss = F::of(losses.iter().sum::<f64>() * share);
        let place = &mut history[2 * record.row];
        *place = if record.add { *place + loss } else { loss };
    }

    fn loss_scratch_len(&self, _rows: usize) -> usize {
        0
    }
}

/// The number of terms that the loss is the mean of; 1 where there is none, for a mean of 0.
fn averaged<F: Real>(shape: &LossShape, target: &[F]) -> usize {
    match shape.kind {
        LossKind::CrossEntropy => target.iter().filter(|&&id| !ignored(shape, id)).count().max(1),
        LossKind::Quantile => shape.predictions(),
        _ => shape.targets(),
    }
}

fn ignored<F: Real>(shape: &LossShape, id: F) -> bool {
    id.double() == shape.ignore_index as f64
}

/// The sum over a row's values, and the gradient of `share` times that.
fn row<F: Real>(shape: &LossShape, share: f64, prediction: &[F], target: &[F], d_prediction: &mut [F]) -> f64 {
    let mut sum = 0.0;
    for (v, &y) in target.iter().enumerate() {
        let part = |k: usize| prediction[k * shape.values + v].double();
        let mut add = |loss: f64, slopes: &[f64], first: usize| {
            sum += loss;
            for (k, slope) in slopes.iter().enumerate() {
                d_prediction[(first + k) * shape.values + v] = F::of(slope * share);
            }
        };
        match shape.kind {
            LossKind::Gaussian => {
                let (loss, slopes) = likelihood::gaussian(y.double(), part(0), part(1));
                add(loss, &slopes, 0);
            }
            LossKind::StudentT => {
                let (loss, slopes) = likelihood::student_t(y.double(), part(0), part(1), part(2));
                add(loss, &slopes, 0);
            }
            _ => {
                for k in 0..shape.parts {
                    let (loss, slope) = distance(shape, k, (prediction[k * shape.values + v] - y).double());
                    add(loss, &[slope], k);
                }
            }
        }
    }
    sum
}

/// The loss of an error `e` in part `k`, and its slope.
fn distance(shape: &LossShape, k: usize, e: f64) -> (f64, f64) {
    let delta = shape.delta;
    match shape.kind {
        LossKind::L1 if e == 0.0 => (0.0, 0.0),
        LossKind::L1 => (e.abs(), e.signum()),
        LossKind::Huber if e.abs() <= delta => (e * e / 2.0, e),
        LossKind::Huber => (delta * (e.abs() - delta / 2.0), delta * e.signum()),
        LossKind::Quantile if e == 0.0 => (0.0, 0.0),
        LossKind::Quantile => {
            let slope = if e > 0.0 { 1.0 - shape.quantiles[k] } else { -shape.quantiles[k] };
            (slope * e, slope)
        }
        _ => (e * e, 2.0 * e),
    }
}

/// Loss and gradient of one row of classes.
fn cross_entropy<F: Real>(shape: &LossShape, share: f64, x: &[F], id: F, d_x: &mut [F]) -> f64 {
    if ignored(shape, id) {
        d_x.fill(F::zero());
        return 0.0;
    }
    let (classes, smoothing) = (x.len() as f64, shape.label_smoothing);
    let class = id.double();
    if !(class >= 0.0 && class < classes && class.fract() == 0.0) {
        d_x.fill(F::nan());
        return f64::NAN;
    }
    let largest = x.iter().fold(F::neg_infinity(), |most, &x| most.max(x));
    d_x.iter_mut().zip(x).for_each(|(power, &x)| *power = (x - largest).exp());
    let sum: f64 = d_x.iter().map(|power| power.double()).sum();
    for (k, d_x) in d_x.iter_mut().enumerate() {
        let wanted = smoothing / classes + if k as f64 == class { 1.0 - smoothing } else { 0.0 };
        *d_x = F::of((d_x.double() / sum - wanted) * share);
    }
    // Without smoothing a class of logit −∞ is one that cannot be, and no reason for an infinite loss.
    let mean = match smoothing {
        0.0 => 0.0,
        _ => x.iter().map(|&x| (x - largest).double()).sum::<f64>() / classes,
    };
    sum.ln() - (1.0 - smoothing) * (x[class as usize] - largest).double() - smoothing * mean
}
