//! The gradients of the weights of affine maps, over all rows of a batch at once.
//!
//! For y = x · W_xᵀ + h · W_hᵀ + b, with d the gradient of y:
//!
//! ```text
//! d_W_x += dᵀ · x        d_W_h += dᵀ · h        d_b += Σ_r d[r]
//! ```
//!
//! The head is such a map with one input; each direction of a layer is one with the input and the h of the step before, and with
//! layer normalisation its gains and biases are others without inputs.

mod cpu;
mod gpu;

pub(super) use cpu::{MaskedMap, Piece, RowOrder, WeightSums, add_groups, means, weight_gradients_in_order};
pub(super) use gpu::WEIGHTS;

use std::ops::Range;

use super::{Matrix, Product};

/// One input of an affine map.
#[derive(Clone, Copy, Debug)]
pub struct AffineInput<'a, B> {
    /// The buffer it lies in.
    pub values: &'a B,
    /// Its rows `[R, width]` there.
    pub rows: Matrix,
    /// Its width.
    pub width: usize,
    /// Place of its weights `[M, width]` among the parameters.
    pub weight: usize,
}

/// One affine map of many rows.
#[derive(Clone, Debug)]
pub struct Affine<'a, B> {
    /// R, rows.
    pub rows: usize,
    /// M, outputs.
    pub outputs: usize,
    /// The gradient of the outputs: its buffer, and its rows `[R, M]` there.
    pub d: (&'a B, Matrix),
    /// x, if the gradient of its weights is wanted.
    pub x: Option<AffineInput<'a, B>>,
    /// h likewise.
    pub h: Option<AffineInput<'a, B>>,
    /// Up to two places of `[M]` biases, which all have the same gradient.
    pub biases: Vec<usize>,
}

/// The sizes of an affine map.
#[derive(Clone, Copy, Debug)]
pub struct AffineSize {
    /// R, rows.
    pub rows: usize,
    /// M, outputs.
    pub outputs: usize,
    /// The widths of x and h; 0 for none.
    pub widths: [usize; 2],
    /// Whether there is a bias.
    pub bias: bool,
}

impl<'a, B> Affine<'a, B> {
    /// The same map with these rows and outputs alone.
    fn part(&self, rows: Range<usize>, outputs: Range<usize>) -> Self {
        let (first, (d, at)) = (outputs.start, self.d);
        let from = |at: Matrix| Matrix { offset: at.offset + rows.start * at.row, ..at };
        let input = |input: &Option<AffineInput<'a, B>>| {
            input.as_ref().map(|&AffineInput { values, rows, width, weight }| AffineInput {
                values,
                rows: from(rows),
                width,
                weight: weight + first * width,
            })
        };
        Self {
            rows: rows.len(),
            outputs: outputs.len(),
            d: (d, Matrix { offset: from(at).offset + first * at.column, ..at }),
            x: input(&self.x),
            h: input(&self.h),
            biases: self.biases.iter().map(|place| place + first).collect(),
        }
    }

    pub(super) fn size(&self) -> AffineSize {
        let width = |input: &Option<AffineInput<B>>| input.as_ref().map_or(0, |input| input.width);
        let Self { rows, outputs, .. } = *self;
        AffineSize { rows, outputs, widths: [width(&self.x), width(&self.h)], bias: !self.biases.is_empty() }
    }

    /// Places of its parameters.
    fn spans(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let inputs = [&self.x, &self.h].into_iter().flatten();
        let weights = inputs.map(|input| input.weight..input.weight + self.outputs * input.width);
        weights.chain(self.biases.iter().map(|&place| place..place + self.outputs))
    }
}

/// The gradients of weights.
pub trait WeightGradients: Product {
    /// Adds the gradients of all `maps` to `d_params`. The sums over the rows run in an order that depends on the device's
    /// tuning and the sizes alone. `scratch` holds [`weight_scratch_len`](WeightGradients::weight_scratch_len) elements.
    fn weight_gradients(&self, maps: &[Affine<Self::Buffer>], d_params: &mut Self::Buffer, scratch: &mut Self::Buffer);
    /// Elements of scratch for maps of these sizes or fewer rows, whose parameters lie within `span` places of each other.
    fn weight_scratch_len(&self, sizes: &[AffineSize], span: usize) -> usize;
}
