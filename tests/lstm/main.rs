//! The recurrence at awkward shapes: the GPU and `Cpu<f32>` against `Cpu<f64>`, which defines it. Here is what such a case is; what
//! it may have and how it may be computed are modules of their own.

#[path = "../common/cases.rs"]
mod cases;
#[path = "../common/mod.rs"]
mod common;
mod extremes;
mod layer_norm;
mod options;
mod strategies;

use bptt::device::Cpu;
use bptt::kernels::{Kernels, LstmGradients, LstmShape, LstmState, LstmTape, Packing, Pass};
use cases::{Case, Numbers, Results, UNTOUCHED, differences, filled, hold, marked, read};

#[derive(Clone, Debug)]
struct LstmCase {
    shape: LstmShape,
    /// Lengths of the sequences, if they differ.
    lengths: Vec<usize>,
    from: usize,
    capacity: usize,
    /// Whether the gradients of x and of the start state are asked for.
    inputs: bool,
    /// Whether a start state and the gradient of a final state are given.
    states: bool,
    draw: Option<u32>,
}

impl LstmCase {
    fn new([t, n, d, h, l]: [usize; 5], bias: bool, from: usize) -> Self {
        let shape =
            LstmShape { steps: t, batch: n, input_size: d, hidden_size: h, num_layers: l, bias, ..Default::default() };
        Self { shape, lengths: Vec::new(), from, capacity: n, inputs: true, states: true, draw: None }
    }

    fn packing(&self) -> Packing {
        match self.lengths[..] {
            [] => Packing::even(self.shape.steps, self.shape.batch),
            _ => Packing::new(&self.lengths, self.shape.steps).unwrap().0,
        }
    }

    /// Two passes with one tape and fresh numbers each: nothing of the first may be left in the second.
    fn passes<D: Kernels>(&self, device: &D) -> Results {
        let (shape, packing) = (self.shape, self.packing());
        let capacity = LstmShape { batch: self.capacity, ..shape };
        let mut numbers = Numbers::new((shape.steps + 10 * shape.batch + 1000 * shape.hidden_size) as u64);
        let mut tape = LstmTape::new(device, &capacity);
        let list = |rows: Vec<usize>| rows.into_iter().map(|row| row as u32).collect::<Vec<_>>();
        let mut last = device.indices("last", shape.batch);
        device.write_indices(&mut last, &list(packing.last_rows()));
        if shape.ragged {
            device.write_indices(&mut tape.sequences, &list(packing.sequences()));
        }
        let mut results = Results::new();
        for turn in 0..2 {
            let pass =
                Pass { shape: &shape, packing: &packing, draw: self.draw.map(|draw| draw + turn), first_step: 3 };
            // The second time from zero.
            let found = self.pass(device, &pass, self.states && turn == 0, &mut numbers, &mut tape, &last);
            results.extend(found.into_iter().map(|(name, values)| (format!("{name} of pass {turn}"), values)));
        }
        results
    }

    fn pass<D: Kernels>(
        &self,
        device: &D,
        pass: &Pass,
        states: bool,
        numbers: &mut Numbers,
        tape: &mut LstmTape<D::Buffer, D::Indices>,
        last: &D::Indices,
    ) -> Results {
        let (shape, packing) = (self.shape, pass.packing);
        let p = shape.tensors().last().unwrap().range().end;
        let params = filled(device, &numbers.scaled(p, 1.5 / (shape.hidden_size as f64).sqrt()));
        let x_len = packing.rows() * shape.input_size;
        let x = filled(device, &numbers.scaled(3 + x_len, 2.0));
        let d_rows = packing.rows() - packing.row(self.from);
        let d_y = filled(device, &numbers.take(d_rows * shape.output_size()));
        let d_before = numbers.take(p);
        let mut d_params = filled(device, &[&d_before[..], &[UNTOUCHED; 5]].concat());
        let mut d_x = filled(device, &marked(2 + x_len + 5, 2..if self.inputs { 2 + x_len } else { 2 }));
        let cells = shape.cells() * packing.batch();
        let (h, c) = (cells * shape.width(), cells * shape.hidden_size);
        let mut state = |scale| LstmState {
            h: filled(device, &numbers.scaled(h, scale)),
            c: filled(device, &numbers.scaled(c, scale)),
        };
        let (start, d_final) = (state(1.0), state(0.5));
        let ends = || LstmState { h: filled(device, &marked(h + 2, 0..h)), c: filled(device, &marked(c + 2, 0..c)) };
        let (mut end, mut d_start) = (ends(), ends());

        let mut results = Results::new();
        device.lstm_forward(pass, &params, (&x, 3), states.then_some(&start), tape);
        device.lstm_final_state(pass, tape, last, &mut end);
        results.push(("final h".into(), read(device, &end.h, h + 2)));
        results.push(("final c".into(), read(device, &end.c, c + 2)));
        for l in 0..shape.num_layers {
            let (y, place) = tape.output(&shape, packing, l);
            let y = read(device, y, place.offset + packing.rows() * shape.output_size());
            results.push((format!("y of layer {l}"), y[place.offset..].to_vec()));
        }
        let parameters = read(device, &params, p);
        for (name, cell, kept) in gates_in("gates", device, tape, packing.rows() * shape.gates()) {
            results.push((name, activated::<D>(&shape, cell, &parameters, kept)));
        }
        let gradients = LstmGradients {
            d_y: &d_y,
            from: self.from,
            d_final: states.then_some(&d_final),
            d_params: &mut d_params,
            d_x: self.inputs.then_some((&mut d_x, 2)),
            d_start: self.inputs.then_some(&mut d_start),
        };
        device.lstm_backward(pass, &params, (&x, 3), tape, gradients);
        let d_gates = gates_in("d_gates", device, tape, packing.rows() * shape.gates());
        results.extend(d_gates.into_iter().map(|(name, _, values)| (name, values)));
        let gradient = read(device, &d_params, p + 5);
        for tensor in shape.tensors() {
            results.push((format!("d_{}", tensor.name), gradient[tensor.range()].to_vec()));
        }
        results.push(("beyond d_params".into(), gradient[p..].to_vec()));
        let d_x = read(device, &d_x, 2 + x_len + 5);
        results.push(("d_x".into(), d_x[2..].to_vec()));
        if self.inputs {
            results.push(("d_start h".into(), read(device, &d_start.h, h + 2)));
            results.push(("d_start c".into(), read(device, &d_start.c, c + 2)));
        }
        results
    }
}

/// What the tape has for the gates of each layer and direction, which the backward pass replaces by their gradients.
fn gates_in<D: Kernels>(
    name: &str,
    device: &D,
    tape: &LstmTape<D::Buffer, D::Indices>,
    len: usize,
) -> Vec<(String, (usize, usize), Vec<f64>)> {
    let cells =
        tape.layers.iter().enumerate().flat_map(|(l, layer)| layer.cells.iter().enumerate().map(move |of| (l, of)));
    cells
        .map(|(l, (r, cell))| (format!("{name} of layer {l}, direction {r}"), (l, r), read(device, &cell.gates, len)))
        .collect()
}

/// The activated gates, from what the tape of a device has for them.
fn activated<D: Kernels>(
    shape: &LstmShape,
    (layer, direction): (usize, usize),
    params: &[f64],
    mut rows: Vec<f64>,
) -> Vec<f64> {
    let tensors = shape.tensors();
    let of_cell = format!("_l{layer}{}", ["", "_reverse"][direction]);
    let own = |name: &str| tensors.iter().find(|t| t.name == format!("{name}{of_cell}")).map(|t| &params[t.range()]);
    if let Some(gains) = own("layer_norm").filter(|_| !D::KEEPS_GATES) {
        let biases: Vec<_> = ["bias_ih", "bias_hh"].into_iter().filter_map(own).collect();
        shape.activate(&mut rows, gains, &biases);
    }
    rows
}

impl Case for LstmCase {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn run<D: Kernels>(&self, device: &D) -> Results {
        self.passes(device)
    }

    fn tolerance(&self) -> (f64, f64) {
        // Layer normalisation divides by deviations, so small ones make rounding errors large.
        (if self.shape.layer_norm { 1e-4 } else { 1e-5 }, 0.0)
    }
}

#[test]
fn lstm() {
    let mut cases = Vec::new();
    let shapes = [
        [1, 1, 1, 1, 1],
        [1, 17, 3, 7, 2],
        [2, 1, 1, 33, 1],
        [3, 7, 5, 1, 3],
        [5, 17, 2, 7, 3],
        [4, 3, 1, 33, 2],
        [7, 5, 33, 16, 1],
        [3, 129, 1, 7, 2],
        [2, 15, 4, 65, 2],
        [40, 9, 2, 5, 2],
        [3, 4, 2, 129, 1],
    ];
    for (index, sizes) in shapes.into_iter().enumerate() {
        let steps = sizes[0];
        for (turn, from) in [0, steps / 2, steps - 1].into_iter().enumerate() {
            let case = LstmCase::new(sizes, (index + turn) % 3 != 0, from);
            cases.push(LstmCase { states: turn != 1, inputs: turn != 2, ..case });
        }
    }
    for (batch, capacity) in [(1, 2), (3, 17), (16, 17), (17, 33)] {
        cases.push(LstmCase { capacity, ..LstmCase::new([3, batch, 2, 7, 2], true, 1) });
        cases.push(LstmCase { capacity, inputs: false, ..LstmCase::new([3, batch, 2, 7, 1], false, 2) });
    }
    hold(&cases);
}

/// One step more or less in the loss is not within the tolerance.
#[test]
fn a_changed_case_fails() {
    let exact = Cpu::<f64>::poisoned();
    let case = |from| LstmCase::new([3, 5, 2, 7, 2], true, from);
    assert!(!differences("from", &case(0).run(&exact), &case(1).run(&exact), case(0).tolerance()).is_empty());
}
