//! What the forward pass keeps for the backward pass, and the states at both ends.

use super::{Lstm, LstmShape, Packing};
use crate::device::{Need, Real};
use crate::kernels::{AffineSize, Matrix};

/// h and c of every layer and direction at one end of the sequences, as PyTorch lays them out. With unequal lengths the
/// sequences are in the packing's order.
pub struct LstmState<B> {
    /// Hidden states.
    pub h: B, // [L · R, N, P]
    /// Cell states.
    pub c: B, // [L · R, N, H]
}

impl<B> LstmState<B> {
    /// The buffers for the largest batch of `shape`.
    pub fn new<D: Lstm<Buffer = B>>(device: &D, shape: &LstmShape) -> Self {
        let [h, c] = Self::needs(shape).map(|need| device.buffer(need.name, need.len));
        Self { h, c }
    }

    /// Their lengths.
    pub fn needs(shape: &LstmShape) -> [Need; 2] {
        let smaller = "`batch_size` or `hidden_size`";
        let len = |width| shape.cells() * shape.batch * width;
        [
            Need::new("the hidden states at the ends", len(shape.width()), smaller),
            Need::new("the cell states at the ends", len(shape.hidden_size), smaller),
        ]
    }
}

/// What one direction of one layer keeps. Rows are those of the batch's [`Packing`].
pub struct CellTape<B> {
    /// Activated gates, or with layer normalisation what a device keeps in their place ([`Lstm::KEEPS_GATES`]); after the backward
    /// pass the gradients of the gates before activation, and before normalisation where there is one.
    pub gates: B, // [rows, 4H]
    /// The h that entered each row, masked by recurrent dropout. Without that, and with one direction and equal lengths, N
    /// more rows follow, and row r + N is what row r gave.
    pub h_in: B, // [rows (+ N), P]
    /// Start states, then the cell states of each row.
    pub c: B, // [N + rows, H]
    /// o ∘ tanh(c), which is projected to h; only with a projection.
    pub u: B, // [rows, H]
    /// The gradient of each row's h; only with a projection or layer normalisation.
    pub d_h: B, // [rows, P]
    /// The gradients of h and of c on their way from step to step.
    pub d_state: B, // [N, P], [N, H]
    /// The number of the draw, then the mask of recurrent dropout.
    pub mask: B, // [1 + N · P]
    /// What layer normalisation keeps of each row; only with that.
    pub norm: B,
}

/// How many buffers a cell has.
const BUFFERS: usize = 8;

impl<B> CellTape<B> {
    /// Of its buffers, in the order of [`LstmShape::needs`].
    fn of(buffers: Vec<B>) -> Self {
        let Ok([gates, h_in, c, u, d_h, d_state, mask, norm]) = <[B; BUFFERS]>::try_from(buffers) else {
            panic!("a cell has {BUFFERS} buffers")
        };
        Self { gates, h_in, c, u, d_h, d_state, mask, norm }
    }
}

/// Where the parts of [`CellTape::norm`] lie for a batch.
pub(super) struct NormPlaces {
    /// 1 / σ of the gates' row a_t, mean and 1 / σ of c̃_t. Before them lies a_t less its mean `[rows, 4H]`, where the device keeps
    /// the gates too.
    pub moments: usize, // [rows, 3]
    /// The gradients of the layer's gains, of β_c and of b_ih and b_hh, to be added up over N; of
    /// [`Lstm::SUMMED_TOGETHER`] sequences S in one row.
    pub sums: usize, // [⌈N / S⌉, 10H]
    /// The device's own.
    pub own: usize,
}

impl NormPlaces {
    pub fn new<D: Lstm>(shape: &LstmShape, rows: usize, batch: usize) -> Self {
        let moments = if D::KEEPS_GATES { rows * shape.gates() } else { 0 };
        let sums = moments + 3 * rows;
        let own = sums + batch.div_ceil(D::SUMMED_TOGETHER) * shape.norm_sums();
        Self { moments, sums, own }
    }
}

/// What one layer keeps.
pub struct LayerTape<B> {
    /// One or two directions.
    pub cells: Vec<CellTape<B>>,
    /// Its output, where that is not in `h_in`; in a stack with as many rows as a device gives its cells.
    pub y: B, // [rows, R · P]
    /// Its input after dropout; only with dropout, and not for the first layer. Between a forward pass and its backward pass a device
    /// may have there what dropout multiplies by.
    pub x: B, // [rows, R · P]
}

/// What the stack keeps from the forward pass for the backward pass, made once for the largest batch of a run.
pub struct LstmTape<B, I> {
    /// The layers from the input up.
    pub layers: Vec<LayerTape<B>>,
    /// The sequence of each row; only with unequal lengths.
    pub sequences: I, // [rows]
    pub(super) between: B,   // [rows, R · P], the gradient one layer hands down
    pub(super) packed: B,    // the device's own arrangement of the weights
    pub(super) dropped: B,   // [L · R, 4H, P], the recurrent weights after weight drop
    pub(super) d_dropped: B, // [4H, P], their gradient, where it is not masked as it is summed
    pub(super) scratch: B,   // partial sums of weight gradients
    /// The batch whose start state is known to be zero in every layer.
    pub(super) zero_start: Option<usize>,
}

impl LstmShape {
    /// The buffers of a [`LstmTape`] for this shape on `device`.
    pub fn needs<D: Lstm>(&self, device: &D) -> Vec<Need> {
        let smaller = "`batch_size`, `window` or `hidden_size`";
        let weights = "`hidden_size` or `num_layers`";
        let (rows, batch, hidden, width) = (self.rows(), self.batch, self.hidden_size, self.width());
        let only = |wanted: bool, len: usize| if wanted { len } else { 0 };
        let (shared, projected) = (self.shares_output(), self.proj_size > 0);
        let norm = NormPlaces::new::<D>(self, rows, batch).own + device.norm_len(self);
        let masked = self.noise.recurrent_dropout > 0.0 || self.zones();
        let of_rows = |rows| device.cell_rows(self, rows);
        let of_cells = [
            ("the gates of one layer", of_rows(rows) * self.gates()),
            ("the hidden states of one layer", of_rows(rows + only(shared, batch)) * width),
            ("the cell states of one layer", of_rows(rows + batch) * hidden),
            ("the states before projection", only(projected, of_rows(rows) * hidden)),
            ("the gradients of the projections", only(projected || self.layer_norm, of_rows(rows) * width)),
            ("one layer's gradient of the state", batch * (width + hidden)),
            ("the masks of h", only(masked, 1 + batch * width)),
            ("what layer normalisation keeps of one layer", only(self.layer_norm, norm)),
        ];
        let of_cell = |&(name, len): &(_, usize)| std::iter::repeat_n(Need::new(name, len, smaller), self.cells());
        let mut needs: Vec<_> = of_cells.iter().flat_map(of_cell).collect();
        let (output, input) = ("one layer's output", "one layer's input after dropout");
        let rows_of_y = if self.is_stack() { of_rows(rows) } else { rows };
        let outputs = Need::new(output, only(!shared, rows_of_y * self.output_size()), smaller);
        let inputs = Need::new(input, only(self.noise.dropout > 0.0, of_rows(rows) * self.output_size()), smaller);
        needs.extend(std::iter::repeat_n(outputs, self.num_layers));
        needs.extend(std::iter::repeat_n(inputs, self.num_layers - 1));
        let between = only(self.num_layers > 1, rows * self.output_size());
        let recurrent = only(self.noise.weight_drop > 0.0, self.gates() * width);
        needs.extend([
            Need::new("the sequence of each row", only(self.ragged, rows), smaller),
            Need::new("the gradients between layers", between, smaller),
            Need::new("the packed weights", device.packed_len(self), weights),
            Need::new("the weights after weight drop", self.cells() * recurrent, weights),
            Need::new("the gradients of weights after weight drop", only(!D::MASKS_SUMS, recurrent), weights),
            Need::new("the partial sums of weight gradients", self.scratch_len(device), "`hidden_size`"),
        ]);
        needs
    }

    /// Makes activated gates of the normalised `rows` `[rows, 4H]` that a device keeps in their place, with the `gains` of a layer
    /// and direction and the sum of its `biases`, `[4H]` each.
    pub fn activate<F: Real>(&self, rows: &mut [F], gains: &[F], biases: &[&[F]]) {
        for row in rows.chunks_exact_mut(self.gates()) {
            for (at, value) in row.iter_mut().enumerate() {
                let bias: f64 = biases.iter().map(|biases| biases[at].double()).sum();
                let z = gains[at].double() * value.double() + bias;
                let is_candidate = at / self.hidden_size == 2;
                *value = F::of(if is_candidate { z.tanh() } else { 1.0 / (1.0 + (-z).exp()) });
            }
        }
    }

    fn scratch_len<D: Lstm>(&self, device: &D) -> usize {
        let (rows, gates) = (self.rows(), self.gates());
        // As the maps of a pass, with the recurrent matrices or without: the fewer tiles, the more parts.
        let map = |widths, bias| AffineSize { rows, outputs: gates, widths, bias };
        let sequences = self.batch.div_ceil(D::SUMMED_TOGETHER);
        let sums = |outputs| AffineSize { rows: sequences, outputs, widths: [0; 2], bias: true };
        let maps = |recurrent: usize| {
            let mut maps = Vec::new();
            for input in (0..self.cells()).map(|cell| self.layer_inputs(cell / self.directions())) {
                maps.push(map([input, recurrent], self.bias && !self.layer_norm));
                if self.layer_norm {
                    maps.push(sums(self.norm_parameters()));
                    maps.extend(self.bias.then(|| sums(gates)));
                }
            }
            maps
        };
        let span = (0..self.cells()).map(|cell| self.cell_len(cell / self.directions())).sum();
        let drops = self.noise.weight_drop > 0.0 && !D::MASKS_SUMS;
        let only = |wanted: bool, m, n, k| if wanted { device.scratch_len(m, n, k) } else { 0 };
        [
            device.sums_len(self),
            device.weight_scratch_len(&maps(self.width()), span),
            if drops { device.weight_scratch_len(&maps(0), span) } else { 0 },
            only(drops, gates, self.width(), rows),
            only(self.proj_size > 0, self.proj_size, self.hidden_size, rows),
        ]
        .into_iter()
        .max()
        .unwrap_or(0)
    }
}

impl<B, I> LstmTape<B, I> {
    /// The buffers for `shape` on `device`: those of [`LstmShape::needs`].
    pub fn new<D: Lstm<Buffer = B, Indices = I>>(device: &D, shape: &LstmShape) -> Self {
        let needs = shape.needs(device);
        let (of_cells, of_others) = needs.split_at(BUFFERS * shape.cells());
        let mut cells: Vec<Vec<B>> = (0..shape.cells()).map(|_| Vec::new()).collect();
        for alike in of_cells.chunks(cells.len()) {
            let buffers = device.buffers(alike[0].name, alike[0].len, alike.len());
            cells.iter_mut().zip(buffers).for_each(|(cell, buffer)| cell.push(buffer));
        }
        let mut cells = cells.into_iter().map(CellTape::of);
        let (outputs, of_others) = of_others.split_at(shape.num_layers);
        let (inputs, of_others) = of_others.split_at(shape.num_layers - 1);
        let mut layers = Vec::new();
        for y in device.buffers(outputs[0].name, outputs[0].len, outputs.len()) {
            let cells = cells.by_ref().take(shape.directions()).collect();
            layers.push(LayerTape { cells, y, x: device.buffer(outputs[0].name, 0) });
        }
        if let [Need { name, len, .. }, ..] = inputs {
            let buffers = device.buffers(name, *len, inputs.len());
            layers[1..].iter_mut().zip(buffers).for_each(|(layer, x)| layer.x = x);
        }
        let mut needs = of_others.iter();
        let mut need = || needs.next().expect("as many needs as buffers");
        let sequences = need();
        let sequences = device.indices(sequences.name, sequences.len);
        let mut next = || {
            let need = need();
            device.buffer(need.name, need.len)
        };
        Self {
            layers,
            sequences,
            between: next(),
            packed: next(),
            dropped: next(),
            d_dropped: next(),
            scratch: next(),
            zero_start: None,
        }
    }

    /// The output of `layer` for a batch: its buffer, and where its rows `[rows, R · P]` lie.
    pub fn output(&self, shape: &LstmShape, packing: &Packing, layer: usize) -> (&B, Matrix) {
        output(&self.layers[layer], shape, packing)
    }
}

/// The output of one layer.
pub(super) fn output<'a, B>(layer: &'a LayerTape<B>, shape: &LstmShape, packing: &Packing) -> (&'a B, Matrix) {
    output_in(shape, packing, &layer.cells[0].h_in, &layer.y)
}

/// Likewise, in one of the two buffers.
pub(super) fn output_in<'a, B>(shape: &LstmShape, packing: &Packing, h_in: &'a B, y: &'a B) -> (&'a B, Matrix) {
    match shape.shares_output() {
        true => (h_in, Matrix::rows(packing.batch() * shape.width(), shape.width())),
        false => (y, Matrix::rows(0, shape.output_size())),
    }
}
