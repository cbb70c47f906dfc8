//! The losses in WGSL. One workgroup suffices for all values of a batch; rows of classes are wider and get one each.

use super::likelihood::{LEAST_FREEDOM, LEAST_SCALE};
use super::{Loss, LossShape, Record};
use crate::config::LossKind;
use crate::device::{Gpu, GpuBuffer, Kernel, grid, kernel, params};

params! {
    struct LossParams {
        kind: u32, len: u32, values: u32, parts: u32, part: u32, limit: f32, share: f32, row: u32, add: u32,
    }
}
params! {
    struct LikelihoodParams {
        kind: u32, len: u32, values: u32, parts: u32, least_scale: f32, least_freedom: f32, share: f32, row: u32, add: u32,
    }
}
params! {
    struct CrossEntropyShareParams { rows: u32, ignore_index: f32, weight: f32 }
}
params! {
    struct CrossEntropyParams { rows: u32, classes: u32, ignore_index: f32, label_smoothing: f32, nan: f32 }
}
params! {
    struct CrossEntropySumParams { rows: u32, row: u32, add: u32 }
}
static LOSS: Kernel = kernel!("loss", LossParams, [Read, Read, Write, Write], varying);
static LIKELIHOOD: Kernel = kernel!("likelihood", LikelihoodParams, [Read, Read, Write, Write], varying);
static CROSS_ENTROPY_SHARE: Kernel = kernel!("cross_entropy_share", CrossEntropyShareParams, [Read, Write]);
static CROSS_ENTROPY: Kernel = kernel!("cross_entropy", CrossEntropyParams, [Read, Read, Write, Write]);
static CROSS_ENTROPY_SUM: Kernel = kernel!("cross_entropy_sum", CrossEntropySumParams, [Read, Write], varying);
pub(in crate::kernels) static KERNELS: &[&Kernel] =
    &[&LOSS, &LIKELIHOOD, &CROSS_ENTROPY_SHARE, &CROSS_ENTROPY, &CROSS_ENTROPY_SUM];

impl Loss for Gpu {
    fn loss(
        &self,
        shape: &LossShape,
        record: Record,
        prediction: &GpuBuffer,
        target: &GpuBuffer,
        d_prediction: &mut GpuBuffer,
        scratch: &mut GpuBuffer,
        history: &mut GpuBuffer,
    ) {
        shape.check();
        match shape.kind {
            LossKind::CrossEntropy => {
                cross_entropy(self, shape, record, prediction, target, d_prediction, scratch, history);
            }
            LossKind::Gaussian | LossKind::StudentT => {
                let params = LikelihoodParams {
                    kind: shape.kind as u32,
                    len: shape.targets() as u32,
                    values: shape.values as u32,
                    parts: shape.parts as u32,
                    least_scale: LEAST_SCALE as f32,
                    least_freedom: LEAST_FREEDOM as f32,
                    share: (shape.weight / shape.targets() as f64) as f32,
                    row: record.row as u32,
                    add: u32::from(record.add),
                };
                self.run(&LIKELIHOOD, &params, &[prediction, target, d_prediction, history], [1, 1, 1]);
            }
            _ => {
                for part in 0..shape.parts {
                    let params = distance_params(shape, record, part);
                    self.run(&LOSS, &params, &[prediction, target, d_prediction, history], [1, 1, 1]);
                }
            }
        }
    }

    fn loss_scratch_len(&self, rows: usize) -> usize {
        1 + rows
    }
}

/// Each part's mean is added to those before it.
fn distance_params(shape: &LossShape, record: Record, part: usize) -> LossParams {
    let limit = if shape.kind == LossKind::Quantile { shape.quantiles[part] } else { shape.delta };
    LossParams {
        kind: shape.kind as u32,
        len: shape.targets() as u32,
        values: shape.values as u32,
        parts: shape.parts as u32,
        part: part as u32,
        limit: limit as f32,
        share: (shape.weight / shape.predictions() as f64) as f32,
        row: record.row as u32,
        add: u32::from(record.add || part > 0),
    }
}

/// What a row's share is, each row's loss and gradient, and the sum.
fn cross_entropy(
    gpu: &Gpu,
    shape: &LossShape,
    record: Record,
    prediction: &GpuBuffer,
    target: &GpuBuffer,
    d_prediction: &GpuBuffer,
    scratch: &GpuBuffer,
    history: &GpuBuffer,
) {
    let (rows, ignore_index) = (shape.rows as u32, shape.ignore_index as f32);
    let share = CrossEntropyShareParams { rows, ignore_index, weight: shape.weight as f32 };
    gpu.run(&CROSS_ENTROPY_SHARE, &share, &[target, scratch], [1, 1, 1]);
    let params = CrossEntropyParams {
        rows,
        classes: shape.parts as u32,
        ignore_index,
        label_smoothing: shape.label_smoothing as f32,
        nan: f32::NAN,
    };
    gpu.run(&CROSS_ENTROPY, &params, &[prediction, target, d_prediction, scratch], grid(shape.rows, 1));
    let sum = CrossEntropySumParams { rows, row: record.row as u32, add: u32::from(record.add) };
    gpu.run(&CROSS_ENTROPY_SUM, &sum, &[scratch, history], [1, 1, 1]);
}
