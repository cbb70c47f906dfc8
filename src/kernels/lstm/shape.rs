//! The sizes of a stack and where its parameters lie.

/// The sizes of a stack of layers and of the largest batch it runs over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LstmShape {
    /// T, time steps of the longest sequence.
    pub steps: usize,
    /// N, sequences.
    pub batch: usize,
    /// D, inputs of the first layer.
    pub input_size: usize,
    /// H, units of each layer and direction.
    pub hidden_size: usize,
    /// L, layers.
    pub num_layers: usize,
    /// Whether the layers have bias vectors.
    pub bias: bool,
    /// Whether each layer also reads its input from the last step to the first.
    pub bidirectional: bool,
    /// P, the width that h is projected to (Sak et al. 2014); 0 for none, h is then H wide.
    pub proj_size: usize,
    /// Whether what enters the gates and the cell state on its way into h are normalised over the units.
    pub layer_norm: bool,
    /// Whether the sequences of a batch may differ in length.
    pub ragged: bool,
    /// What is random in training.
    pub noise: Noise,
}

impl Default for LstmShape {
    /// One unit and one step of everything, with biases.
    fn default() -> Self {
        Self {
            steps: 1,
            batch: 1,
            input_size: 1,
            hidden_size: 1,
            num_layers: 1,
            bias: true,
            bidirectional: false,
            proj_size: 0,
            layer_norm: false,
            ragged: false,
            noise: Noise::default(),
        }
    }
}

/// Regularisation by random masks, each drawn from (seed, purpose, layer and direction, draw, place), so that the backward
/// pass draws again what the forward pass drew, on every device the same. Rates are probabilities in [0, 1); 0 is off.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Noise {
    /// Each element of a layer's input but the first layer's is zero, else divided by 1 − rate
    /// ([`nn.LSTM`](https://pytorch.org/docs/stable/generated/torch.nn.LSTM.html)'s `dropout`).
    pub dropout: f64,
    /// Whether `dropout` keeps one mask for all time steps of a sequence (Gal & Ghahramani 2016; Merity et al. 2018).
    pub locked: bool,
    /// Elements of h on its way into the gates, one mask for all time steps of a sequence (Gal & Ghahramani 2016).
    pub recurrent_dropout: f64,
    /// Elements of the recurrent matrix, one mask a batch (Wan et al. 2013; Merity et al. 2018).
    pub weight_drop: f64,
    /// Elements of h that keep their value from the step before (Krueger et al. 2017).
    pub zoneout_h: f64,
    /// Elements of c that keep theirs.
    pub zoneout_c: f64,
    /// The key of all masks.
    pub seed: u64,
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

/// Where the parameters of one layer and direction lie in the flat buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CellPlaces {
    /// D for the first layer, R · P for the others.
    pub input_size: usize,
    pub weight_ih: usize,             // [4H, D]
    pub weight_hh: usize,             // [4H, P]
    pub bias: Option<(usize, usize)>, // b_ih [4H], b_hh [4H]
    pub weight_hr: Option<usize>,     // [P, H]
    pub layer_norm: Option<usize>,    // the gains of the gates [4H] and of c [H], the bias of c [H]
}

impl CellPlaces {
    /// The biases' places as a list.
    pub fn biases(&self) -> Vec<usize> {
        self.bias.iter().flat_map(|&(ih, hh)| [ih, hh]).collect()
    }

    /// Those that are added to the products: none with layer normalisation, which adds them later.
    pub fn early_biases(&self) -> Vec<usize> {
        if self.layer_norm.is_some() { Vec::new() } else { self.biases() }
    }
}

impl LstmShape {
    /// 4H, the width of the gates.
    pub fn gates(&self) -> usize {
        4 * self.hidden_size
    }
    /// R, directions: 1 or 2.
    pub fn directions(&self) -> usize {
        1 + usize::from(self.bidirectional)
    }
    /// P, the width of h: `proj_size`, or H without a projection.
    pub fn width(&self) -> usize {
        if self.proj_size > 0 { self.proj_size } else { self.hidden_size }
    }
    /// R · P, the width of a layer's output.
    pub fn output_size(&self) -> usize {
        self.directions() * self.width()
    }
    /// L · R, layers times directions, in the order of PyTorch's states.
    pub fn cells(&self) -> usize {
        self.num_layers * self.directions()
    }
    /// Each cell's layer and direction.
    pub(super) fn places(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let directions = self.directions();
        (0..self.cells()).map(move |cell| (cell / directions, cell % directions))
    }
    /// The most rows of a batch: T · N.
    pub fn rows(&self) -> usize {
        self.steps * self.batch
    }
    /// Whether a layer's output, one step on, is what its recurrence reads, so that both are one buffer.
    pub(super) fn shares_output(&self) -> bool {
        !self.bidirectional && !self.ragged && self.noise.recurrent_dropout == 0.0
    }
    /// Whether there are layers that may go together: several, of one direction.
    pub(super) fn is_stack(&self) -> bool {
        self.num_layers > 1 && !self.bidirectional
    }
    /// Whether what such layers hand up and what their next steps read may be two things: with masks on either, or where sequences
    /// end at steps of their own.
    pub(super) fn parts_ways(&self) -> bool {
        self.is_stack() && (self.noise.dropout > 0.0 || !self.shares_output())
    }
    /// Whether h keeps some of its elements.
    pub(super) fn zones(&self) -> bool {
        self.noise.zoneout_h > 0.0 || self.noise.zoneout_c > 0.0
    }

    pub(crate) fn cell(&self, layer: usize, direction: usize) -> CellPlaces {
        let below = (0..layer * self.directions() + direction).map(|cell| self.cell_len(cell / self.directions()));
        let input_size = self.layer_inputs(layer);
        let weight_ih = below.sum::<usize>();
        let weight_hh = weight_ih + self.gates() * input_size;
        let bias = weight_hh + self.gates() * self.width();
        let after = bias + if self.bias { 2 * self.gates() } else { 0 };
        let norm = after + self.proj_size * self.hidden_size;
        CellPlaces {
            input_size,
            weight_ih,
            weight_hh,
            bias: self.bias.then_some((bias, bias + self.gates())),
            weight_hr: (self.proj_size > 0).then_some(after),
            layer_norm: self.layer_norm.then_some(norm),
        }
    }

    pub(super) fn layer_inputs(&self, layer: usize) -> usize {
        if layer == 0 { self.input_size } else { self.output_size() }
    }

    pub(super) fn cell_len(&self, layer: usize) -> usize {
        let columns = self.layer_inputs(layer) + self.width() + if self.bias { 2 } else { 0 };
        let norm = if self.layer_norm { self.norm_parameters() } else { 0 };
        self.gates() * columns + self.proj_size * self.hidden_size + norm
    }

    /// 6H, the parameters of one cell's layer normalisation.
    pub(super) fn norm_parameters(&self) -> usize {
        6 * self.hidden_size
    }

    /// 10H, those and the biases, whose gradients layer normalisation sums up step by step.
    pub(super) fn norm_sums(&self) -> usize {
        self.norm_parameters() + self.gates()
    }

    /// The stack's parameters in PyTorch's order, from place 0 of the flat buffer on; those that PyTorch does not have come
    /// last in each layer and direction.
    pub fn tensors(&self) -> Vec<Tensor> {
        let mut tensors = Vec::new();
        for layer in 0..self.num_layers {
            for direction in 0..self.directions() {
                let cell = self.cell(layer, direction);
                let suffix = ["", "_reverse"][direction];
                let mut add = |name: &str, dims: &[usize], offset| {
                    tensors.push(Tensor { name: format!("{name}_l{layer}{suffix}"), dims: dims.to_vec(), offset });
                };
                add("weight_ih", &[self.gates(), cell.input_size], cell.weight_ih);
                add("weight_hh", &[self.gates(), self.width()], cell.weight_hh);
                if let Some((bias_ih, bias_hh)) = cell.bias {
                    add("bias_ih", &[self.gates()], bias_ih);
                    add("bias_hh", &[self.gates()], bias_hh);
                }
                if let Some(weight_hr) = cell.weight_hr {
                    add("weight_hr", &[self.proj_size, self.hidden_size], weight_hr);
                }
                if let Some(gains) = cell.layer_norm {
                    let (gates, hidden) = (self.gates(), self.hidden_size);
                    add("layer_norm", &[gates], gains);
                    add("layer_norm_c", &[hidden], gains + gates);
                    add("layer_norm_c_bias", &[hidden], gains + gates + hidden);
                }
            }
        }
        tensors
    }
}
