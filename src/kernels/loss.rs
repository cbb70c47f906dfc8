//! The loss of a batch and its gradient, in one pass.
//!
//! With e = prediction − target, averaged over all M elements
//! ([`MSELoss`](https://pytorch.org/docs/stable/generated/torch.nn.MSELoss.html),
//! [`L1Loss`](https://pytorch.org/docs/stable/generated/torch.nn.L1Loss.html),
//! [`HuberLoss`](https://pytorch.org/docs/stable/generated/torch.nn.HuberLoss.html)):
//!
//! ```text
//! mse    e²                                    d_e = 2e
//! l1     |e|                                   d_e = sign(e), 0 at 0
//! huber  e²/2 if |e| ≤ δ, else δ(|e| − δ/2)    d_e = e limited to ±δ
//! ```

use crate::config::LossKind;
use crate::device::{Cpu, Device, Gpu, Kernel, Real, kernel, params};

/// What to compute the loss of.
#[derive(Clone, Copy, Debug)]
pub struct LossShape {
    /// Which loss.
    pub kind: LossKind,
    /// δ of the Huber loss.
    pub delta: f64,
    /// M, elements of prediction and target.
    pub len: usize,
    /// The loss and its gradient are multiplied by this: 1, or the share of one of several accumulated batches.
    pub weight: f64,
}

/// Where in `history` the loss goes.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Row of `history`.
    pub row: usize,
    /// Whether to add to what is there (a further accumulated batch) rather than replace it.
    pub add: bool,
}

/// The loss over a batch.
pub trait Loss: Device {
    /// - `prediction`, `target` `[M]`
    /// - `d_prediction` `[M]`, written
    /// - `history` `[≥ row + 1, 2]`: the loss goes to column 0 of the record's row
    fn loss(
        &self,
        shape: &LossShape,
        record: Record,
        prediction: &Self::Buffer,
        target: &Self::Buffer,
        d_prediction: &mut Self::Buffer,
        history: &mut Self::Buffer,
    );
}

params! {
    struct LossParams { kind: u32, len: u32, delta: f32, weight: f32, row: u32, add: u32 }
}
static LOSS: Kernel = kernel!("loss", LossParams, [Read, Read, Write, Write], varying);
pub(super) static KERNELS: &[&Kernel] = &[&LOSS];

impl Loss for Gpu {
    fn loss(
        &self,
        shape: &LossShape,
        record: Record,
        prediction: &Self::Buffer,
        target: &Self::Buffer,
        d_prediction: &mut Self::Buffer,
        history: &mut Self::Buffer,
    ) {
        let params = LossParams {
            kind: shape.kind as u32,
            len: shape.len as u32,
            delta: shape.delta as f32,
            weight: shape.weight as f32,
            row: record.row as u32,
            add: u32::from(record.add),
        };
        self.run(&LOSS, &params, &[prediction, target, d_prediction, history], [1, 1, 1]);
    }
}

impl<F: Real> Loss for Cpu<F> {
    fn loss(
        &self,
        shape: &LossShape,
        record: Record,
        prediction: &Vec<F>,
        target: &Vec<F>,
        d_prediction: &mut Vec<F>,
        history: &mut Vec<F>,
    ) {
        let delta = shape.delta;
        let mut sum = 0.0;
        let pairs = prediction.iter().zip(target).zip(d_prediction).take(shape.len);
        for ((&prediction, &target), d_prediction) in pairs {
            let e = (prediction - target).double();
            let (value, slope) = match shape.kind {
                LossKind::Mse => (e * e, 2.0 * e),
                LossKind::L1 if e == 0.0 => (0.0, 0.0),
                LossKind::L1 => (e.abs(), e.signum()),
                LossKind::Huber if e.abs() <= delta => (e * e / 2.0, e),
                LossKind::Huber => (delta * (e.abs() - delta / 2.0), delta * e.signum()),
            };
            sum += value;
            *d_prediction = F::of(slope * shape.weight / shape.len as f64);
        }
        let loss = F::of(sum * shape.weight / shape.len as f64);
        let place = &mut history[2 * record.row];
        *place = if record.add { *place + loss } else { loss };
    }
}
