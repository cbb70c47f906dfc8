//! The loss of a batch and its gradient, in one pass.
//!
//! A prediction has M rows of K parts of V values: part k of value v stands at `k·V + v` of its row. The target has M rows of
//! V values. With e = prediction − target and K = 1, averaged over all M·V values
//! ([`MSELoss`](https://pytorch.org/docs/stable/generated/torch.nn.MSELoss.html),
//! [`L1Loss`](https://pytorch.org/docs/stable/generated/torch.nn.L1Loss.html),
//! [`HuberLoss`](https://pytorch.org/docs/stable/generated/torch.nn.HuberLoss.html)):
//!
//! ```text
//! mse    e²                                    d_e = 2e
//! l1     |e|                                   d_e = sign(e), 0 at 0
//! huber  e²/2 if |e| ≤ δ, else δ(|e| − δ/2)    d_e = e limited to ±δ
//! ```
//!
//! Quantiles q₁ < … < q_K, one a part, averaged over all M·V·K (Koenker & Bassett 1978, "Regression Quantiles"):
//!
//! ```text
//! quantile  (1 − q)·e if e > 0, else −q·e      d_e = 1 − q above 0, −q below, 0 at 0
//! ```
//!
//! Likelihoods, averaged over all M·V: −ln p(y) where the parts are the parameters of a distribution, as in DeepAR (Salinas,
//! Flunkert, Gasthaus & Januschowski 2020). With softplus(r) = ln(1 + eʳ), σ = softplus(r) + 10⁻⁴, ν = 2 + softplus(s) and
//! z = (y − μ)/σ:
//!
//! ```text
//! gaussian   parts μ, r      ½z² + ln σ + ½ ln 2π
//! student_t  parts μ, r, s   (ν+1)/2 · ln(1 + z²/ν) + ln σ + ½ ln νπ + ln Γ(ν/2) − ln Γ((ν+1)/2)
//! ```
//!
//! Cross entropy over K classes with V = 1, the target a class id, averaged over the rows whose id is not `ignore_index`
//! ([`CrossEntropyLoss`](https://pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html); label smoothing ε by
//! Szegedy, Vanhoucke, Ioffe, Shlens & Wojna 2016). With w = (1 − ε) at the target's class and 0 elsewhere, plus ε/K:
//!
//! ```text
//! cross_entropy  −Σ_k w_k · ln softmax(x)_k        d_x = softmax(x) − w
//! ```
//!
//! An ignored row has no gradient; where all are, the loss is 0. A class id that is no whole number from 0 to K − 1 reads
//! nothing and makes the loss and its row's gradient NaN.

mod cpu;
mod gpu;
mod likelihood;

pub(super) use gpu::KERNELS;
pub use likelihood::{freedom_from_raw, scale_from_raw};

use crate::config::LossKind;
use crate::device::Device;

/// What to compute the loss of.
#[derive(Clone, Copy, Debug)]
pub struct LossShape<'a> {
    /// Which loss.
    pub kind: LossKind,
    /// M, rows of the prediction: a sequence's one, or one for each of its time steps.
    pub rows: usize,
    /// V, target values in a row.
    pub values: usize,
    /// K, outputs for each: quantiles, a distribution's parameters, classes.
    pub parts: usize,
    /// The loss and its gradient are multiplied by this: 1, or the share of one of several accumulated batches.
    pub weight: f64,
    /// δ of the Huber loss.
    pub delta: f64,
    /// The K quantiles of the quantile loss.
    pub quantiles: &'a [f64],
    /// ε of cross entropy.
    pub label_smoothing: f64,
    /// Class id of the rows that cross entropy leaves out.
    pub ignore_index: i64,
}

/// Mean squared error of no rows; PyTorch's defaults elsewhere.
impl Default for LossShape<'_> {
    fn default() -> Self {
        Self {
            kind: LossKind::Mse,
            rows: 0,
            values: 1,
            parts: 1,
            weight: 1.0,
            delta: 1.0,
            quantiles: &[],
            label_smoothing: 0.0,
            ignore_index: -100,
        }
    }
}

impl LossShape<'_> {
    /// M·V, elements of the target.
    pub fn targets(&self) -> usize {
        self.rows * self.values
    }

    /// M·K·V, elements of the prediction.
    pub fn predictions(&self) -> usize {
        self.targets() * self.parts
    }

    /// Panics where kind and sizes do not fit together.
    fn check(&self) {
        let fits = match self.kind {
            LossKind::Mse | LossKind::L1 | LossKind::Huber => self.parts == 1,
            LossKind::CrossEntropy => self.values == 1,
            LossKind::Quantile => self.parts == self.quantiles.len(),
            LossKind::Gaussian => self.parts == 2,
            LossKind::StudentT => self.parts == 3,
        };
        assert!(fits, "{} values of {} parts each, {} quantiles", self.values, self.parts, self.quantiles.len());
    }
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
    /// - `prediction` `[M, K, V]`
    /// - `target` `[M, V]`
    /// - `d_prediction` `[M, K, V]`, written
    /// - `scratch`: [`loss_scratch_len`](Loss::loss_scratch_len) elements
    /// - `history` `[≥ row + 1, 2]`: the loss goes to column 0 of the record's row
    fn loss(
        &self,
        shape: &LossShape,
        record: Record,
        prediction: &Self::Buffer,
        target: &Self::Buffer,
        d_prediction: &mut Self::Buffer,
        scratch: &mut Self::Buffer,
        history: &mut Self::Buffer,
    );
    /// Elements of scratch for the loss of `rows` rows.
    fn loss_scratch_len(&self, rows: usize) -> usize;
}
