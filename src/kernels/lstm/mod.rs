//! The recurrence: a stack of LSTM layers over whole sequences, forward and back through time.
//!
//! For each layer and time step t, with PyTorch's names and gate order
//! ([`torch.nn.LSTM`](https://pytorch.org/docs/stable/generated/torch.nn.LSTM.html); Hochreiter & Schmidhuber 1997,
//! Gers et al. 2000 for the forget gate):
//!
//! ```text
//! (i, f, g, o) = x_t · W_ihᵀ + b_ih + h_{t−1} · W_hhᵀ + b_hh        i, f, o through σ, g through tanh
//! c_t = f ∘ c_{t−1} + i ∘ g
//! h_t = o ∘ tanh(c_t)
//! ```
//!
//! and back, from the last step to the first, with d_h_t the gradient from above plus what step t + 1 sends:
//!
//! ```text
//! d_c_t = d_h_t ∘ o ∘ (1 − tanh²(c_t)) + d_c_{t+1} ∘ f_{t+1}
//! d_i = d_c_t ∘ g ∘ i(1 − i)        d_f = d_c_t ∘ c_{t−1} ∘ f(1 − f)
//! d_g = d_c_t ∘ i ∘ (1 − g²)        d_o = d_h_t ∘ tanh(c_t) ∘ o(1 − o)
//! d_h_{t−1} += d_gates_t · W_hh     d_x_t = d_gates_t · W_ih
//! d_W_ih = Σ_t d_gates_tᵀ · x_t     d_W_hh = Σ_t d_gates_tᵀ · h_{t−1}     d_b = Σ_t d_gates_t
//! ```

mod cpu;
mod gpu;

use crate::device::Need;
use crate::kernels::{Matrix, Product, ProductShape};

pub(super) use gpu::KERNELS;

/// The sizes of a stack of layers and of the sequences it runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LstmShape {
    /// T, time steps.
    pub steps: usize,
    /// N, sequences.
    pub batch: usize,
    /// D, inputs of the first layer.
    pub input_size: usize,
    /// H, units of each layer.
    pub hidden_size: usize,
    /// L, layers.
    pub num_layers: usize,
    /// Whether the layers have bias vectors.
    pub bias: bool,
}

/// A named tensor inside the flat parameter buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// PyTorch's name, such as `weight_ih_l0`.
    pub name: String,
    /// Its dimensions, rows first.
    pub dims: Vec<usize>,
    /// Place of its first element.
    pub offset: usize,
}

impl Tensor {
    /// Its number of elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }
    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Its place in the flat buffer.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len()
    }
}

/// Where one layer's parameters lie in the flat buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerPlaces {
    /// D for the first layer, H for the others.
    pub input_size: usize,
    pub weight_ih: usize,             // [4H, D]
    pub weight_hh: usize,             // [4H, H]
    pub bias: Option<(usize, usize)>, // b_ih [4H], b_hh [4H]
}

impl LayerPlaces {
    /// The biases' places as a list.
    fn biases(&self) -> Vec<usize> {
        self.bias.iter().flat_map(|&(ih, hh)| [ih, hh]).collect()
    }
}

impl LstmShape {
    /// 4H, the width of the gates.
    pub fn gates(&self) -> usize {
        4 * self.hidden_size
    }

    /// N · H, elements of one time step's state.
    pub fn state(&self) -> usize {
        self.batch * self.hidden_size
    }

    pub(crate) fn layer(&self, layer: usize) -> LayerPlaces {
        let (gates, hidden) = (self.gates(), self.hidden_size);
        let biases = if self.bias { 2 * gates } else { 0 };
        let first = gates * (self.input_size + hidden) + biases;
        let above = gates * 2 * hidden + biases;
        let (input_size, weight_ih) =
            if layer == 0 { (self.input_size, 0) } else { (hidden, first + (layer - 1) * above) };
        let weight_hh = weight_ih + gates * input_size;
        let bias = weight_hh + gates * hidden;
        LayerPlaces { input_size, weight_ih, weight_hh, bias: self.bias.then_some((bias, bias + gates)) }
    }

    /// The stack's parameters in PyTorch's order, from place 0 of the flat buffer on.
    pub fn tensors(&self) -> Vec<Tensor> {
        let mut tensors = Vec::new();
        for index in 0..self.num_layers {
            let layer = self.layer(index);
            let mut add = |name: &str, dims: &[usize], offset| {
                tensors.push(Tensor { name: format!("{name}_l{index}"), dims: dims.to_vec(), offset });
            };
            add("weight_ih", &[self.gates(), layer.input_size], layer.weight_ih);
            add("weight_hh", &[self.gates(), self.hidden_size], layer.weight_hh);
            if let Some((bias_ih, bias_hh)) = layer.bias {
                add("bias_ih", &[self.gates()], bias_ih);
                add("bias_hh", &[self.gates()], bias_hh);
            }
        }
        tensors
    }

    /// The buffers of a [`LstmTape`] for this shape on `device`.
    pub fn needs<D: Lstm>(&self, device: &D) -> Vec<Need> {
        let smaller = "`batch_size`, `window` or `hidden_size`";
        let mut needs = Vec::new();
        for _ in 0..self.num_layers {
            needs.push(Need::new("the gates of one layer", self.steps * self.batch * self.gates(), smaller));
            needs.push(Need::new("the hidden states of one layer", (self.steps + 1) * self.state(), smaller));
            needs.push(Need::new("the cell states of one layer", (self.steps + 1) * self.state(), smaller));
            needs.push(Need::new("one layer's gradient of h", self.state(), smaller));
            needs.push(Need::new("one layer's gradient of c", self.state(), smaller));
        }
        needs.push(Need::new("the gradients between layers", self.between(), smaller));
        needs.push(Need::new("the packed weights", device.packed_len(self), "`hidden_size` or `num_layers`"));
        needs.push(Need::new("the partial sums of weight gradients", self.scratch_len(device), "`hidden_size`"));
        needs
    }

    /// Elements of the gradient that one layer hands to the one below.
    fn between(&self) -> usize {
        if self.num_layers > 1 { self.steps * self.state() } else { 0 }
    }

    fn scratch_len<D: Product>(&self, device: &D) -> usize {
        let rows = self.steps * self.batch;
        let widest = self.input_size.max(self.hidden_size);
        let sizes =
            [self.input_size, self.hidden_size, widest].map(|width| device.scratch_len(self.gates(), width, rows));
        sizes.into_iter().max().unwrap_or(0).max(device.scratch_len(1, self.gates(), rows))
    }
}

/// What one layer keeps from the forward pass for the backward pass.
pub struct LayerTape<B> {
    /// Activated gates; after the backward pass the gradients of the gates before activation.
    pub gates: B, // [T, N, 4H]
    /// Hidden states. Step 0 is the start state: write it before the forward pass.
    pub h: B, // [T + 1, N, H]
    /// Cell states. Step 0 is the start state: write it before the forward pass.
    pub c: B, // [T + 1, N, H]
    /// Before the backward pass the gradient of the final h, after it that of the start h.
    pub d_h: B, // [N, H]
    /// Before the backward pass the gradient of the final c, after it that of the start c.
    pub d_c: B, // [N, H]
}

/// What the stack keeps from the forward pass for the backward pass, made once for the largest batch of a run.
pub struct LstmTape<B> {
    /// The layers from the input up; the last one's `h` is the output.
    pub layers: Vec<LayerTape<B>>,
    between: B, // [T, N, H], the gradient one layer hands down
    packed: B,  // the device's own arrangement of the weights
    scratch: B, // partial sums of weight gradients
}

impl<B> LstmTape<B> {
    /// The buffers for `shape` on `device`: those of [`LstmShape::needs`].
    pub fn new<D: Lstm<Buffer = B>>(device: &D, shape: &LstmShape) -> Self {
        let mut needs = shape.needs(device).into_iter();
        let mut next = || {
            let need = needs.next().expect("as many needs as buffers");
            device.buffer(need.name, need.len)
        };
        let layers = (0..shape.num_layers)
            .map(|_| LayerTape { gates: next(), h: next(), c: next(), d_h: next(), d_c: next() })
            .collect();
        Self { layers, between: next(), packed: next(), scratch: next() }
    }
}

/// The whole stack over the whole sequence, so that a device may keep the recurrence on chip.
///
/// A batch smaller than the one the tape was made for uses the start of each buffer.
pub trait Lstm: Product {
    /// Runs the stack forward. The start state lies in step 0 of each layer's `h` and `c`.
    ///
    /// - `params` as laid out by [`LstmShape::tensors`]
    /// - `x` `[T, N, D]`
    /// - `tape`: `gates`, `h` and `c` are written
    fn lstm_forward(
        &self,
        shape: &LstmShape,
        params: &Self::Buffer,
        x: &Self::Buffer,
        tape: &mut LstmTape<Self::Buffer>,
    );

    /// Runs back through time, once after each forward pass.
    ///
    /// - `d_y` `[T − from, N, H]`, the loss's gradient of the top layer's h; it has none before step `from`
    /// - `tape`: `d_h` and `d_c` as said there; `gates` becomes their gradient
    /// - `d_params` is added to
    /// - `d_x` `[T, N, D]`, written where asked for
    fn lstm_backward(
        &self,
        shape: &LstmShape,
        params: &Self::Buffer,
        x: &Self::Buffer,
        d_y: (&Self::Buffer, usize),
        tape: &mut LstmTape<Self::Buffer>,
        d_params: &mut Self::Buffer,
        d_x: Option<&mut Self::Buffer>,
    );

    /// Elements of the device's own arrangement of the weights.
    fn packed_len(&self, shape: &LstmShape) -> usize;
}

/// A layer's input sequence and where it begins: `x`, or the states of the layer below after its start state.
fn input_of<'a, B>(shape: &LstmShape, layer: usize, x: &'a B, below: &'a [LayerTape<B>]) -> (&'a B, usize) {
    match layer {
        0 => (x, 0),
        _ => (&below[layer - 1].h, shape.state()),
    }
}

/// Before the loop, all time steps at once: `gates = x · W_ihᵀ + b_ih + b_hh`.
fn project_input<D: Lstm>(
    device: &D,
    shape: &LstmShape,
    index: usize,
    params: &D::Buffer,
    x: &D::Buffer,
    tape: &mut LstmTape<D::Buffer>,
) {
    let (below, layers) = tape.layers.split_at_mut(index);
    let (places, (input, offset)) = (shape.layer(index), input_of(shape, index, x, below));
    let product = ProductShape {
        m: shape.steps * shape.batch,
        n: shape.gates(),
        k: places.input_size,
        a: Matrix::rows(offset, places.input_size),
        b: Matrix::rows(places.weight_ih, places.input_size).transposed(),
        c: 0,
    };
    device.product(&product, input, params, params, &places.biases(), &mut layers[0].gates);
}

/// After the loop, all time steps at once: the gradients of the weights, and of the input where somebody needs it.
fn gradients_from_gates<D: Lstm>(
    device: &D,
    shape: &LstmShape,
    index: usize,
    params: &D::Buffer,
    x: &D::Buffer,
    tape: &mut LstmTape<D::Buffer>,
    d_params: &mut D::Buffer,
    d_x: Option<&mut D::Buffer>,
) {
    let LstmTape { layers, between, scratch, .. } = tape;
    let (below, above) = layers.split_at(index);
    let (layer, places) = (&above[0], shape.layer(index));
    let (rows, gates, hidden) = (shape.steps * shape.batch, shape.gates(), shape.hidden_size);
    let d_gates = Matrix::rows(0, gates);

    let (input, offset) = input_of(shape, index, x, below);
    let weight = |n, b: Matrix, c| ProductShape { m: gates, n, k: rows, a: d_gates.transposed(), b, c };
    let d_w_ih = weight(places.input_size, Matrix::rows(offset, places.input_size), places.weight_ih);
    device.product_add(&d_w_ih, &layer.gates, input, d_params, scratch);
    let d_w_hh = weight(hidden, Matrix::rows(0, hidden), places.weight_hh);
    device.product_add(&d_w_hh, &layer.gates, &layer.h, d_params, scratch);
    if shape.bias {
        device.column_sums(rows, gates, &layer.gates, &places.biases(), d_params, scratch);
    }
    if let Some(d_input) = if index > 0 { Some(between) } else { d_x } {
        let b = Matrix::rows(places.weight_ih, places.input_size);
        let product = ProductShape { m: rows, n: places.input_size, k: gates, a: d_gates, b, c: 0 };
        device.product(&product, &layer.gates, params, params, &[], d_input);
    }
}
