//! The recurrence with every option at awkward shapes: the GPU and `Cpu<f32>` against `Cpu<f64>`, which defines it, and what its
//! masks must be.

#[path = "common/cases.rs"]
mod cases;
mod common;

use bptt::device::{Cpu, Gpu, Half, Need, Recurrence, Tuning};
use bptt::kernels::{
    Kernels, Lstm, LstmGradients, LstmShape, LstmState, LstmTape, Noise, Packing, Pass, Steps, Strategy, Tiles,
};
use cases::{Case, Numbers, Results, UNTOUCHED, bits, differences, filled, fresh, hold, hold_on, marked, read};
use common::{STEPS, compare, persistent, stacked, tiled};

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

/// Each way to run the recurrence on a GPU, in tiles of every kind, over shapes that no tile divides.
#[test]
fn strategies() {
    let mut cases = Vec::new();
    let zoneout = Noise { zoneout_h: 0.15, zoneout_c: 0.35, seed: 5, ..Noise::default() };
    let noise = Noise { recurrent_dropout: 0.4, weight_drop: 0.2, ..zoneout };
    for (index, sizes) in [[3, 5, 2, 7, 2], [4, 9, 4, 18, 1]].into_iter().enumerate() {
        let plain = LstmCase::new(sizes, true, index);
        cases.push(plain.clone());
        for draw in [Some(3), None] {
            cases.push(LstmCase { shape: LstmShape { noise: zoneout, ..plain.shape }, draw, ..plain.clone() });
        }
        let shape = LstmShape { bidirectional: true, ragged: true, noise, ..plain.shape };
        let lengths = (0..sizes[1]).map(|n| 1 + (n * 7 + 2) % sizes[0]).collect();
        cases.push(LstmCase { shape, lengths, from: 0, draw: Some(3), ..plain.clone() });
        let shape = LstmShape { bidirectional: true, ..plain.shape };
        cases.push(LstmCase { shape, capacity: sizes[1] + 3, ..plain });
    }
    for (sizes, layer_norm, proj_size) in
        [([3, 5, 2, 22, 2], true, 0), ([4, 9, 1, 18, 1], false, 7), ([3, 7, 2, 41, 1], true, 13)]
    {
        let plain = LstmCase::new(sizes, true, 1);
        let shape = LstmShape { layer_norm, proj_size, ..plain.shape };
        cases.push(LstmCase { shape, ..plain.clone() });
        let shape = LstmShape { bidirectional: true, ragged: true, noise, ..shape };
        let lengths = (0..sizes[1]).map(|n| 1 + (n * 7 + 2) % sizes[0]).collect();
        cases.push(LstmCase { shape, lengths, from: 0, draw: Some(3), ..plain });
    }
    // Without room for what a step writes beside what it reads, in several parts.
    cases.push(LstmCase::new([3, 9, 2, 68, 1], true, 1));
    // More terms than tiles of many sequences hold at a time.
    cases.push(LstmCase::new([3, 7, 2, 41, 1], true, 1));
    let tiles = [[256, 1, 10, 256], [8, 3, 2, 1], [40, 2, 1, 2], [16, 8, 0, 3]];
    let persistent = tiles.map(|[threads, sequences, blocks, steps]| persistent(threads, sequences, blocks, steps));
    let tiled = [[4, 1, 1], [8, 2, 2], [16, 2, 1], [32, 4, 2], [8, 16, 2]]
        .map(|[units, groups, quads]| tiled(units, groups, quads));
    let near = [
        (2, [60, 8, 0, 2]),
        (2, [60, 1, 1, 3]),
        (4, [256, 1, 10, 256]),
        (4, [256, 8, 0, 2]),
        (32, [256, 1, 10, 2]),
        (32, [256, 3, 2, 3]),
    ];
    let near = near.map(|(lanes, [threads, sequences, blocks, steps])| Recurrence {
        lanes,
        ..self::persistent(threads, sequences, blocks, steps)
    });
    let gpus: Vec<_> = [STEPS].into_iter().chain(tiled).chain(persistent).chain(near).map(common::recurring).collect();
    hold_on(&cases, &gpus);
}

/// Parts that are neighbours in a subgroup share the gates of a unit, two each, one each, or one for two of them.
#[test]
fn lanes_share_a_unit() {
    let noise = Noise { zoneout_h: 0.15, zoneout_c: 0.35, recurrent_dropout: 0.4, seed: 5, ..Noise::default() };
    let mut cases = Vec::new();
    for sizes in [[5, 6, 2, 30, 2], [3, 3, 1, 66, 1]] {
        let plain = LstmCase::new(sizes, true, 0);
        let lengths = (0..sizes[1]).map(|n| 1 + (n * 7 + 2) % sizes[0]).collect();
        let shape = LstmShape { bidirectional: true, ragged: true, noise, ..plain.shape };
        cases.push(LstmCase { shape, lengths, draw: Some(3), ..plain.clone() });
        // With its inputs multiplied along.
        cases.push(LstmCase { states: false, ..plain.clone() });
        cases.push(plain);
    }
    let gpus = [2, 4, 32].map(|lanes| common::recurring(Recurrence { lanes, ..persistent(256, 1, 10, 2) }));
    hold_on(&cases, &gpus);
}

/// Layer normalisation over tapes that a processor's caches may not hold: what it asks for ahead is there.
#[test]
fn layer_norm_over_long_tapes() {
    let plain = LstmCase::new([80, 32, 3, 64, 1], true, 79);
    let shape = LstmShape { layer_norm: true, ..plain.shape };
    let lengths = (0..32).map(|n| 80 - n % 3 * 7).collect();
    let uneven = LstmShape { bidirectional: true, ragged: true, ..shape };
    let uneven = LstmCase { shape: uneven, lengths, from: 0, ..plain.clone() };
    // As long as can be: the more threads, the fewer sequences each.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    pool.install(|| hold_on(&[uneven, LstmCase { shape, ..plain }], &[]));
}

/// Both directions of a layer in one dispatch, and all layers of a stack: fewer and more layers than steps, whole batches and
/// parts, with what may be on beside that.
#[test]
fn layers_and_directions_go_together() {
    let noise = Noise { zoneout_h: 0.15, zoneout_c: 0.1, recurrent_dropout: 0.4, weight_drop: 0.2, seed: 5, ..NOISE };
    let mut cases = Vec::new();
    // Of few hidden sizes, so that a driver that compiles slowly has few kernels to compile.
    for (index, sizes) in [[6, 5, 2, 9, 2], [2, 9, 3, 24, 4], [1, 3, 1, 9, 3], [5, 17, 2, 24, 3], [37, 2, 1, 9, 3]]
        .into_iter()
        .enumerate()
    {
        let plain = LstmCase::new(sizes, index != 1, index.min(sizes[0] - 1));
        let drop = Noise { weight_drop: 0.2, seed: 7, ..Noise::default() };
        cases.push(LstmCase { shape: LstmShape { noise: drop, ..plain.shape }, draw: Some(2), ..plain.clone() });
        cases.push(LstmCase { states: false, inputs: false, ..plain.clone() });
        let kept = Noise { zoneout_h: 0.15, zoneout_c: 0.1, ..drop };
        let dropout = Noise { dropout: 0.3, locked: index == 1, ..kept };
        for noise in [kept, dropout].into_iter().flat_map(|noise| [noise, Noise { recurrent_dropout: 0.4, ..noise }]) {
            cases.push(LstmCase { shape: LstmShape { noise, ..plain.shape }, draw: Some(4), ..plain.clone() });
        }
        cases.push(LstmCase { capacity: sizes[1] + 3, ..plain.clone() });
        let shape = LstmShape { noise: Noise { recurrent_dropout: 0.4, seed: 3, ..Noise::default() }, ..plain.shape };
        for draw in [None, Some(1)] {
            cases.push(LstmCase { shape, draw, capacity: sizes[1] + 3, ..plain.clone() });
        }
        let both = LstmShape { bidirectional: true, ..plain.shape };
        cases.push(LstmCase { shape: both, ..plain.clone() });
        let lengths: Vec<_> = (0..sizes[1]).map(|n| 1 + (n * 7 + 2) % sizes[0]).collect();
        let shape = LstmShape { ragged: true, noise, ..both };
        let uneven = LstmCase { lengths, from: 0, draw: Some(3), ..plain.clone() };
        cases.push(LstmCase { shape, ..uneven.clone() });
        let recurrent = Noise { recurrent_dropout: 0.4, ..kept };
        for noise in [Noise::default(), recurrent, dropout, Noise { dropout: 0.3, ..recurrent }] {
            let shape = LstmShape { ragged: true, noise, ..plain.shape };
            cases.push(LstmCase { shape, capacity: sizes[1] + 3, ..uneven.clone() });
            cases.push(LstmCase { shape, states: false, inputs: false, ..uneven.clone() });
            cases.push(LstmCase { shape, draw: None, ..uneven.clone() });
        }
        // A batch of equal lengths where unequal ones may come.
        cases.push(LstmCase {
            shape: LstmShape { ragged: true, noise: dropout, ..plain.shape },
            draw: Some(2),
            ..plain.clone()
        });
        cases.push(plain);
    }
    let step_by_step = [stacked(4, 1, 1), stacked(8, 2, 2), stacked(16, 2, 1)];
    // Steps of all layers in chunks: as many as are asked for, and as few steps as one dispatch walks.
    let in_chunks = [persistent(256, 1, 10, 256), persistent(8, 3, 2, 2), persistent(16, 2, 4, 7)]
        .map(|recurrence| Recurrence { chunks: 3, ..recurrence });
    hold_on(&cases, &in_chunks.map(common::recurring));
    // As long as several chunks, they say nothing new of steps.
    cases.retain(|case| case.shape.steps < 16);
    hold_on(&cases, &step_by_step.map(common::recurring));
}

/// Likewise where rows are normalised or projected.
#[test]
fn layers_and_directions_of_rows_go_together() {
    let kept = Noise { zoneout_h: 0.15, zoneout_c: 0.1, weight_drop: 0.2, seed: 7, ..Noise::default() };
    let dropout = Noise { dropout: 0.3, ..kept };
    let mut cases = Vec::new();
    // Of one hidden size, likewise.
    for (index, sizes) in [[5, 9, 3, 18, 4], [37, 3, 1, 18, 2]].into_iter().enumerate() {
        // The gradient of the last step's output alone, or of almost all.
        let plain = LstmCase::new(sizes, index == 0, if index == 0 { 1 } else { sizes[0] - 1 });
        let lengths: Vec<_> = (0..sizes[1]).map(|n| 1 + (n * 7 + 2) % sizes[0]).collect();
        for (layer_norm, proj_size) in [(true, 0), (false, 7), (true, 9)] {
            let shape = LstmShape { layer_norm, proj_size, ..plain.shape };
            cases.push(LstmCase { shape, capacity: sizes[1] + 3, ..plain.clone() });
            let shape = LstmShape { noise: if index == 0 { kept } else { dropout }, ..shape };
            cases.push(LstmCase { shape, states: index == 1, draw: Some(2), ..plain.clone() });
            let shape = LstmShape { bidirectional: true, ragged: true, ..shape };
            cases.push(LstmCase { shape, lengths: lengths.clone(), from: 0, draw: Some(3), ..plain.clone() });
        }
    }
    let in_chunks = Recurrence { chunks: 3, ..persistent(16, 2, 4, 20) };
    hold_on(&cases, &[in_chunks, stacked(8, 2, 1)].map(common::recurring));
}

/// Likewise with as many layers as one dispatch takes, and with more.
#[test]
fn many_layers_go_together() {
    let plain = LstmCase::new([20, 4, 2, 3, 19], true, 1);
    let shape = LstmShape { ragged: true, ..plain.shape };
    let uneven = LstmCase { shape, lengths: vec![12, 1, 20, 19], from: 0, ..plain.clone() };
    let most = LstmCase { shape: LstmShape { num_layers: 17, ..shape }, ..uneven.clone() };
    let projected = LstmCase { shape: LstmShape { proj_size: 2, ..shape }, ..uneven.clone() };
    hold_on(&[plain, uneven, most, projected], &[common::recurring(stacked(4, 1, 1))]);
}

/// Nor do cells that go together read or write what a driver would have to keep them from.
#[test]
fn checks_change_no_bit_of_cells_together() {
    let plain = LstmCase { capacity: 5, ..LstmCase::new([37, 3, 2, 9, 3], true, 36) };
    let both = LstmShape { bidirectional: true, ragged: true, num_layers: 2, ..plain.shape };
    let lengths = vec![30, 7, 37];
    let masks = Noise { dropout: 0.3, recurrent_dropout: 0.4, zoneout_h: 0.1, seed: 5, ..Noise::default() };
    let masked = LstmCase { shape: LstmShape { noise: masks, ..plain.shape }, draw: Some(1), ..plain.clone() };
    let uneven = LstmCase { lengths, from: 0, ..plain.clone() };
    let shape = LstmShape { ragged: true, ..masked.shape };
    let stack = LstmCase { shape, draw: Some(1), ..uneven.clone() };
    let of_rows = LstmShape { layer_norm: true, proj_size: 4, ..shape };
    let rows = LstmCase { shape: of_rows, ..stack.clone() };
    // With zoneout, so that it takes the kernels of the one before.
    let noise = Noise { zoneout_h: 0.1, seed: 5, ..Noise::default() };
    let of_rows = LstmShape { layer_norm: true, proj_size: 4, noise, ..both };
    let rows_both_ways = LstmCase { shape: of_rows, draw: Some(1), ..uneven.clone() };
    let projected = LstmCase { shape: LstmShape { proj_size: 5, ..masked.shape }, ..masked.clone() };
    let mut cases = vec![LstmCase { shape: both, ..uneven }, stack, rows, rows_both_ways, projected, masked];
    for (layer_norm, proj_size) in [(true, 0), (false, 5), (true, 4)] {
        let noise = Noise { dropout: 0.3, zoneout_h: 0.1, seed: 5, ..Noise::default() };
        let shape = LstmShape { layer_norm, proj_size, noise, num_layers: 2, ..plain.shape };
        cases.push(LstmCase { shape, draw: Some(1), ..plain.clone() });
    }
    cases.push(plain);
    let in_chunks = Recurrence { chunks: 2, ..persistent(16, 2, 4, 256) };
    for recurrence in [stacked(8, 2, 1), in_chunks, Recurrence { lanes: 4, ..persistent(64, 2, 1, 256) }] {
        let tuning = Tuning { recurrence, ..Tuning::HARDWARE };
        let [trusted, checked] = [common::tuned(tuning), common::tuned_and_checked(tuning)];
        for case in &cases {
            assert_eq!(bits(&case.run(&trusted)), bits(&case.run(&checked)), "{recurrence:?} {:?}", case.shape);
        }
    }
}

/// A step that would take long goes in several dispatches, down to one for each workgroup, whether it is one of a dispatch for each
/// or of one for all.
#[test]
fn parts_of_a_step_are_the_whole() {
    let plain = LstmCase::new([3, 37, 2, 20, 3], true, 1);
    let noise = Noise { dropout: 0.3, zoneout_h: 0.1, recurrent_dropout: 0.4, seed: 5, ..Noise::default() };
    let lengths = (0..37).map(|n| 1 + n % 3).collect();
    let uneven = LstmCase { lengths, from: 0, draw: Some(1), ..plain.clone() };
    let uneven = [(false, 0), (true, 0), (false, 18), (true, 18)].into_iter().flat_map(|(layer_norm, proj_size)| {
        let shape = LstmShape { ragged: true, noise, layer_norm, proj_size, ..plain.shape };
        let both = LstmShape { bidirectional: true, num_layers: 2, ..shape };
        [shape, both].map(|shape| LstmCase { shape, ..uneven.clone() })
    });
    let cases: Vec<_> = uneven.chain([plain.clone()]).collect();
    // Of one step each: the sums that layer normalisation makes on the way depend on how many a dispatch walks.
    let by_itself = persistent(16, 8, 4, 1);
    let in_chunks = Recurrence { chunks: 2, inputs: 0, ..by_itself };
    for recurrence in [STEPS, tiled(8, 1, 1), stacked(8, 1, 1), by_itself, in_chunks] {
        let [whole, parts] =
            [0, 1].map(|operations| common::tuned(Tuning { operations, recurrence, ..Tuning::SOFTWARE }));
        for case in &cases {
            assert_eq!(bits(&case.run(&whole)), bits(&case.run(&parts)), "{recurrence:?} {:?}", case.shape);
        }
    }
}

/// A dispatch for each step whose product is of 16-bit numbers, where the adapter has matrices of them; hidden sizes that they do
/// not fit take 32 bits. The gradients that go in are near 1, where no scale is needed.
#[test]
fn steps_of_16_bits() {
    let mut cases = Vec::new();
    let noise = Noise { zoneout_h: 0.15, zoneout_c: 0.1, recurrent_dropout: 0.4, seed: 5, ..Noise::default() };
    for (index, sizes) in [[3, 4, 2, 16, 2], [5, 9, 3, 48, 1], [2, 70, 5, 32, 2], [3, 3, 2, 176, 1], [4, 5, 3, 12, 1]]
        .into_iter()
        .enumerate()
    {
        let plain = LstmCase::new(sizes, true, 1);
        let weight_drop = if index == 1 { 0.2 } else { 0.0 };
        let shape =
            LstmShape { bidirectional: true, ragged: true, noise: Noise { weight_drop, ..noise }, ..plain.shape };
        let lengths = (0..sizes[1]).map(|n| 1 + (n * 7 + 2) % sizes[0]).collect();
        let other = match index % 2 {
            0 => LstmShape { layer_norm: true, ..plain.shape },
            _ => LstmShape { proj_size: 16, ..plain.shape },
        };
        let masked = LstmShape { noise: Noise { dropout: 0.4, recurrent_dropout: 0.0, ..noise }, ..other };
        cases.push(LstmCase { shape: masked, draw: Some(3), ..plain.clone() });
        cases.push(LstmCase { shape: other, ..plain.clone() });
        let uneven = LstmCase { lengths, from: 0, draw: Some(3), ..plain.clone() };
        if index == 0 {
            // A stack with a projection, dropout's multipliers of several layers in one buffer.
            let stack = LstmShape { proj_size: 16, hidden_size: 32, num_layers: 3, ..masked };
            let stack = LstmShape { layer_norm: false, ..stack };
            cases.push(LstmCase { shape: stack, draw: Some(3), ..plain.clone() });
            cases.push(LstmCase { shape: LstmShape { ragged: true, ..stack }, ..uneven.clone() });
        }
        cases.push(LstmCase { shape: LstmShape { bidirectional: false, ..shape }, ..uneven.clone() });
        cases.push(LstmCase { shape, ..uneven });
        for (dropout, recurrent_dropout) in [(0.0, 0.0), (0.4, 0.0), (0.0, 0.4), (0.4, 0.4)] {
            let noise = Noise { recurrent_dropout, weight_drop, dropout, locked: index == 0, ..noise };
            cases.push(LstmCase { shape: LstmShape { noise, ..plain.shape }, draw: Some(3), ..plain.clone() });
        }
        cases.push(plain);
    }
    let gpus: Vec<_> =
        [tiled, stacked].into_iter().flat_map(|of| common::halves_recurring(false, of(8, 2, 1))).collect();
    let exact = Cpu::<f64>::poisoned();
    for case in cases {
        let want = case.run(&exact);
        for gpu in &gpus {
            let problems =
                differences(&format!("{:?} {}", gpu.half(), case.name()), &case.run(gpu), &want, (4e-3, 0.0));
            assert!(problems.is_empty(), "{}", problems.join("\n"));
            let steps = matches!(Strategy::of(gpu, &case.shape), Strategy::Steps(Steps::Matrices(_)));
            let fits =
                matches!(gpu.half(), Some(Half::Matrices { side, .. }) if case.shape.hidden_size.is_multiple_of(side));
            assert_eq!(steps, fits, "{:?}", case.shape);
        }
    }
}

/// Those kernels, too, read and write nothing that a driver would have to keep them from.
#[test]
fn checks_change_no_bit_of_16() {
    let [trusted, checked] = [false, true].map(|checked| common::halves_recurring(checked, stacked(8, 2, 1)));
    let plain = LstmCase::new([3, 9, 5, 48, 2], true, 0);
    let shape = LstmShape { proj_size: 32, bidirectional: true, ..plain.shape };
    let normed = LstmShape { layer_norm: true, ..plain.shape };
    let uneven = LstmCase { lengths: vec![3, 1, 2, 2, 3, 1, 1, 3, 2], ..plain.clone() };
    let stack = LstmCase { shape: LstmShape { ragged: true, ..plain.shape }, ..uneven };
    let masks = Noise { dropout: 0.3, seed: 5, ..Noise::default() };
    let projected = LstmShape { proj_size: 32, noise: masks, ..stack.shape };
    let projected = LstmCase { shape: projected, draw: Some(1), ..stack.clone() };
    for case in
        [projected, LstmCase { shape, ..plain.clone() }, LstmCase { shape: normed, ..plain.clone() }, stack, plain]
    {
        for (trusted, checked) in trusted.iter().zip(&checked) {
            assert_eq!(bits(&case.run(trusted)), bits(&case.run(checked)), "{:?} {:?}", trusted.half(), case.shape);
        }
    }
}

/// As many dispatches as a strategy should take, and so that one.
#[test]
fn a_strategy_takes_its_dispatches() {
    let [step_by_step, persistent] = [STEPS, persistent(8, 2, 1, 4)].map(common::recurring);
    let count = |gpu: &Gpu, steps, layer_norm, proj_size, noise| {
        let plain = LstmCase { states: false, inputs: false, ..LstmCase::new([steps, 3, 2, 5, 2], true, 0) };
        let shape = LstmShape { layer_norm, proj_size, noise, ..plain.shape };
        let before = gpu.counts().dispatches;
        LstmCase { shape, draw: Some(1), ..plain }.run(gpu);
        gpu.counts().dispatches - before
    };
    let with = |gpu: &Gpu, steps, layer_norm, proj_size| {
        let noise = Noise { zoneout_c: if layer_norm { 0.1 } else { 0.0 }, ..Noise::default() };
        count(gpu, steps, layer_norm, proj_size, noise)
    };
    let dispatches = |gpu, steps| with(gpu, steps, false, 0);
    let both = |gpu: &Gpu, steps, layer_norm, proj_size| {
        let plain = LstmCase { states: false, inputs: false, ..LstmCase::new([steps, 3, 2, 5, 1], true, 0) };
        let shape = LstmShape { bidirectional: true, layer_norm, proj_size, ..plain.shape };
        let before = gpu.counts().dispatches;
        LstmCase { shape, ..plain }.run(gpu);
        gpu.counts().dispatches - before
    };
    // Two passes over two layers, forward and back.
    let tiled = common::recurring(tiled(4, 1, 1));
    for steps in [&step_by_step, &tiled] {
        assert_eq!(dispatches(steps, 9) - dispatches(steps, 5), 2 * 2 * 2 * 4);
    }
    // Of both layers together, each a step after the other: T + L − 1 in the place of T · L.
    let stacked = common::recurring(stacked(4, 1, 1));
    assert_eq!(dispatches(&stacked, 9) - dispatches(&stacked, 5), 2 * 2 * 4);
    let between = Noise { dropout: 0.3, zoneout_h: 0.1, zoneout_c: 0.2, ..Noise::default() };
    for noise in [between, Noise { recurrent_dropout: 0.4, ..between }] {
        let [many, few] = [9, 5].map(|steps| count(&stacked, steps, false, 0, noise));
        assert_eq!(many - few, 2 * 2 * 4);
    }
    // Two a step where rows are normalised or projected, and forwards one more with both.
    for (layer_norm, proj_size, each) in [(true, 0, 2 + 2), (false, 3, 2 + 2), (true, 3, 3 + 2)] {
        for (gpu, cells) in [(&stacked, 1), (&tiled, 2)] {
            let [many, few] = [9, 5].map(|steps| count(gpu, steps, layer_norm, proj_size, between));
            assert_eq!(many - few, 2 * cells * each * 4, "{layer_norm} {proj_size}");
        }
    }
    // Likewise both directions.
    for (layer_norm, proj_size, each) in [(false, 0, 1 + 1), (true, 0, 2 + 2), (false, 3, 2 + 2), (true, 3, 3 + 2)] {
        let [many, few] = [9, 5].map(|steps| both(&tiled, steps, layer_norm, proj_size));
        assert_eq!(many - few, 2 * each * 4, "{layer_norm} {proj_size}");
    }
    // Sequences of unequal length likewise, seventeen layers at a time.
    let uneven = |gpu: &Gpu, steps, layers| {
        let plain = LstmCase { states: false, inputs: false, ..LstmCase::new([steps, 3, 2, 5, layers], true, 0) };
        let before = gpu.counts().dispatches;
        LstmCase { shape: LstmShape { ragged: true, ..plain.shape }, lengths: vec![2, steps, 1], ..plain }.run(gpu);
        gpu.counts().dispatches - before
    };
    for layers in [2, 4] {
        assert_eq!(uneven(&stacked, 9, layers) - uneven(&stacked, 5, layers), 2 * 2 * 4, "{layers} layers");
        assert_eq!(uneven(&tiled, 9, layers) - uneven(&tiled, 5, layers), 2 * 2 * layers as u64 * 4, "{layers} layers");
    }
    assert_eq!(uneven(&stacked, 24, 18) - uneven(&stacked, 20, 18), 2 * 2 * 2 * 4);
    // The weights of the upper layer's input are packed, too; the way back has no product between the layers.
    assert_eq!(dispatches(&tiled, 9) - dispatches(&stacked, 9), 2 * (2 * (2 * 9 - 10) - 1 + 1));
    assert_eq!(dispatches(&persistent, 8), dispatches(&persistent, 5));
    // Back in two chunks of at least 16 steps: one more for all layers together, and one more product between two layers.
    let in_chunks = common::recurring(Recurrence { chunks: 2, ..self::persistent(8, 2, 1, 256) });
    assert_eq!(dispatches(&in_chunks, 40) - dispatches(&in_chunks, 16), 2 * (1 + 1));
    // Likewise where rows are normalised or projected.
    for (layer_norm, proj_size) in [(true, 0), (false, 3), (true, 3)] {
        let [many, few] = [40, 16].map(|steps| with(&in_chunks, steps, layer_norm, proj_size));
        assert_eq!(many - few, 2 * (1 + 1), "{layer_norm} {proj_size}");
    }
    // And once more dropout between them.
    let noise = Noise { dropout: 0.3, zoneout_h: 0.1, ..Noise::default() };
    let [many, few] = [40, 16].map(|steps| count(&in_chunks, steps, false, 0, noise));
    assert_eq!(many - few, 2 * (1 + 1 + 1));
    assert_eq!(dispatches(&persistent, 9) - dispatches(&persistent, 8), 2 * 2 * 2);
    // A narrow input is multiplied where the steps are walked.
    let [apart, along] =
        [0, 4].map(|inputs| common::recurring(Recurrence { inputs, ..self::persistent(8, 2, 1, 256) }));
    assert_eq!(dispatches(&apart, 9) - dispatches(&along, 9), 2);
    for (layer_norm, proj_size) in [(true, 0), (false, 3), (true, 3)] {
        assert_eq!(with(&persistent, 8, layer_norm, proj_size), with(&persistent, 5, layer_norm, proj_size));
        let [many, few] = [9, 8].map(|steps| both(&persistent, steps, layer_norm, proj_size));
        assert_eq!(many - few, 2 * 2, "{layer_norm} {proj_size}");
    }
}

/// Masks of every kind at once, at rates that nothing divides.
const NOISE: Noise = Noise {
    dropout: 0.3,
    locked: false,
    recurrent_dropout: 0.4,
    weight_drop: 0.2,
    zoneout_h: 0.15,
    zoneout_c: 0.35,
    seed: 0x0123_4567_89ab_cdef,
};

/// Every option alone, and each with all others.
fn option_cases() -> Vec<LstmCase> {
    let off = Noise { seed: NOISE.seed, ..Noise::default() };
    let noises = [
        off,
        Noise { dropout: 0.3, ..off },
        Noise { dropout: 0.3, locked: true, ..off },
        Noise { recurrent_dropout: 0.4, ..off },
        Noise { weight_drop: 0.2, ..off },
        Noise { zoneout_h: 0.15, ..off },
        Noise { zoneout_c: 0.35, ..off },
        NOISE,
        Noise { locked: true, ..NOISE },
    ];
    let mut cases = Vec::new();
    for (index, noise) in noises.into_iter().enumerate() {
        for options in 0..16 {
            let (bidirectional, projected) = (options & 1 > 0, options & 2 > 0);
            let (ragged, layer_norm) = (options & 4 > 0, options & 8 > 0);
            // A short row that layer normalisation finds nearly constant has gradients beyond single precision. Of few hidden
            // sizes, for a driver that compiles slowly.
            let last = if layer_norm { [6, 6, 4, 18, 2] } else { [6, 17, 1, 5, 2] };
            let sizes = [[5, 19, 3, 9, 2], [4, 6, 2, 18, 3], last][(index + options) % 3];
            let plain = LstmCase::new(sizes, (index + options) % 4 != 3, 0);
            let proj_size = if projected { sizes[3] / 2 } else { 0 };
            let shape = LstmShape { bidirectional, proj_size, ragged, layer_norm, noise, ..plain.shape };
            // Unsorted, with the longest, a single step and equal ones among them.
            let lengths = (0..sizes[1]).map(|n| 1 + (n * 7 + 2) % sizes[0]).collect();
            let lengths = if ragged { lengths } else { Vec::new() };
            let from = if ragged { 0 } else { (index + options) % sizes[0] };
            let draw = Some(7 * index as u32);
            cases.push(LstmCase { shape, lengths, from, draw, ..plain });
        }
    }
    cases
}

#[test]
fn lstm_options() {
    let mut cases = option_cases();
    // In evaluation nothing is drawn.
    cases.extend(option_cases().into_iter().rev().take(16).map(|case| LstmCase { draw: None, ..case }));
    // Nobody asks for the gradients of what goes in.
    cases.extend(option_cases().into_iter().rev().take(16).map(|case| LstmCase { inputs: false, ..case }));
    // Equal lengths where they may differ, and less than the tape was made for.
    let last = cases[0].clone();
    let shape = LstmShape { ragged: true, ..last.shape };
    cases.push(LstmCase { shape, lengths: vec![5; 19], capacity: 23, ..last.clone() });
    // Layer normalisation over rows that its workgroups take in several turns.
    for (sizes, capacity) in [([3, 4, 2, 129, 1], 7), ([2, 17, 5, 64, 2], 17)] {
        let plain = LstmCase::new(sizes, true, 1);
        let shape = LstmShape { layer_norm: true, ..plain.shape };
        cases.push(LstmCase { shape, capacity, ..plain });
    }
    hold(&cases);
}

/// Batches whose gradients the CPU sums in groups of sequences: a few tiles, more than there may be groups, long tiles with short ones,
/// of several chains, and of layers that are too large for it, alone and below another.
fn grouped_cases() -> Vec<LstmCase> {
    let mut cases: Vec<_> = option_cases().into_iter().rev().take(32).collect();
    for (index, case) in cases.iter_mut().enumerate() {
        // Half of them with dropped weights, and half of the others with the output in one buffer with h.
        let noise = &mut case.shape.noise;
        noise.weight_drop *= f64::from(u8::from(index >= 16));
        noise.recurrent_dropout *= f64::from(u8::from(index >= 8));
        let (input_size, hidden_size) = if case.shape.layer_norm { (4, 65) } else { (3, 5) };
        let shape = LstmShape { steps: 12, batch: 37, input_size, hidden_size, num_layers: 2, ..case.shape };
        let proj_size = if shape.proj_size > 0 { hidden_size / 2 } else { 0 };
        let lengths = if shape.ragged { (0..37).map(|n| 1 + (n * 7 + 2) % 12).collect() } else { Vec::new() };
        let from = if shape.ragged { 0 } else { 3 };
        *case = LstmCase {
            shape: LstmShape { proj_size, ..shape },
            lengths,
            from,
            capacity: [37, 70][index % 2],
            ..case.clone()
        };
    }
    for sizes in [[3, 530, 2, 3, 2], [2, 35, 190, 65, 1], [3, 40, 300, 50, 2], [40, 66, 1, 7, 2]] {
        cases.push(LstmCase::new(sizes, true, 1));
    }
    for batch in [61, 300] {
        let plain = LstmCase { from: 0, ..LstmCase::new([5, batch, 2, 6, 2], true, 1) };
        let lengths = (0..batch).map(|n| 1 + (n * 7 + 4) % 5).collect();
        cases.push(LstmCase { shape: LstmShape { ragged: true, ..plain.shape }, lengths, ..plain });
    }
    cases
}

#[test]
fn sums_in_groups() {
    hold(&grouped_cases());
}

/// However many threads share the work: more than there are groups, as many, and fewer.
#[test]
fn the_number_of_threads_changes_no_bit() {
    for case in grouped_cases() {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| case.run(&Cpu::<f32>::poisoned()))
        };
        let one = on(1);
        for threads in [2, 3, 11] {
            assert_eq!(bits(&one), bits(&on(threads)), "{threads} threads, {}", case.name());
        }
    }
}

/// The same where a persistent kernel would be taken by itself.
#[test]
fn lstm_options_step_by_step() {
    hold_on(&option_cases(), &[STEPS, stacked(8, 2, 1)].map(common::recurring));
}

// What PyTorch 2 gives for the same LSTM written with its operations:
//
// ```python
// import torch
// torch.set_default_dtype(torch.float64)
// T, N, D, H = 3, 2, 2, 3
// wave = lambda n, first, scale: scale * torch.sin(torch.arange(first, first + n))
// def leaf(*dims, first, scale=1.0): return wave(torch.Size(dims).numel(), first, scale).reshape(dims).requires_grad_()
// p = [leaf(4*H, D, first=1), leaf(4*H, H, first=25), leaf(4*H, first=61), leaf(4*H, first=73),
//      leaf(4*H, first=85), leaf(H, first=97), leaf(H, first=100)]
// w_ih, w_hh, b_ih, b_hh, gain, g_c, s_c = p
// x, h, c = leaf(T, N, D, first=200), leaf(N, H, first=300), leaf(N, H, first=400)
// start = (h, c)
// norm = torch.nn.functional.layer_norm
// ys = []
// for t in range(T):
//     z = norm(x[t] @ w_ih.T + h @ w_hh.T, (4*H,), gain) + b_ih + b_hh
//     i, f, g, o = z.chunk(4, 1)
//     c = f.sigmoid() * c + i.sigmoid() * g.tanh()
//     h = o.sigmoid() * norm(c, (H,), g_c, s_c).tanh()
//     ys.append(h)
// y = torch.stack(ys)
// (y * wave(y.numel(), 500, 1.0).reshape(y.shape)).sum().backward()
// show = lambda name, v: print(name, [float(f"{e:.12g}") for e in v.flatten().tolist()])
// show("y", y); show("c", c)
// for name, v in zip("w_ih w_hh b_ih b_hh gain g_c s_c".split(), p): show(name, v.grad)
// show("x", x.grad); show("h0", start[0].grad); show("c0", start[1].grad)
// ```
/// Of either bias.
const D_BIAS: &[f64] = &[
    0.170425749,
    -0.803592513,
    -0.0246767757,
    0.583653002,
    0.290733537,
    -0.550785392,
    -0.064196697,
    0.287819195,
    -0.552664175,
    -0.00992538438,
    -0.0986053541,
    0.392673048,
];
const NORMED: &[(&str, &[f64])] = &[
    (
        "y",
        &[
            -0.488078409,
            0.67908756,
            -0.238461735,
            -0.464155813,
            0.505636693,
            -0.265821207,
            -0.440723788,
            0.706166467,
            -0.285978587,
            -0.602547524,
            0.110172184,
            0.127411285,
            -0.391312813,
            0.701399117,
            -0.151612566,
            -0.281598315,
            -0.107818815,
            0.532243569,
        ],
    ),
    ("final c", &[-0.781273123, -1.13500926, 0.0505796859, 0.0714396665, 0.184555662, -0.257512681]),
    (
        "d_weight_ih_l0",
        &[
            0.105692302,
            0.104950287,
            -0.448314716,
            -0.125949924,
            0.381644065,
            0.149687783,
            0.0927869506,
            0.0888000611,
            -0.158589844,
            -0.0241094143,
            -0.000397829507,
            -0.0549246066,
            -0.0112350845,
            -0.0286216297,
            0.221547807,
            0.082348279,
            -0.0952529115,
            0.0335910605,
            0.0488231798,
            0.113282084,
            -0.0608794039,
            -0.049298608,
            -0.075824515,
            -0.289755372,
        ],
    ),
    (
        "d_weight_hh_l0",
        &[
            0.109710314,
            -0.0233787496,
            0.00910556428,
            -0.263610772,
            0.287111707,
            -0.135239118,
            0.216872625,
            -0.058098302,
            0.0440747329,
            0.0826415339,
            -0.00400400002,
            0.00308617404,
            0.0298690478,
            0.106454207,
            -0.0706477868,
            -0.0175302337,
            -0.303133299,
            0.119563888,
            -0.0336800682,
            -0.049406301,
            0.0189150153,
            0.184243162,
            -0.0395242627,
            0.00825091471,
            0.0741093499,
            0.117715172,
            -0.0576751312,
            0.107827388,
            0.0363758056,
            -0.0223686914,
            0.00240606694,
            -0.147564581,
            0.0533141263,
            -0.492858413,
            0.077452604,
            0.029620311,
        ],
    ),
    ("d_bias_ih_l0", D_BIAS),
    ("d_bias_hh_l0", D_BIAS),
    (
        "d_layer_norm_l0",
        &[
            -0.248238659,
            0.167132258,
            1.07042833,
            -0.409565209,
            -0.27806199,
            -0.275378267,
            -0.0133185855,
            -0.309035611,
            1.01662801,
            -0.07116708,
            -0.144331739,
            -0.283237885,
        ],
    ),
    ("d_layer_norm_c_l0", &[-0.111616632, 1.9496427, -0.812678728]),
    ("d_layer_norm_c_bias_l0", &[-0.184966962, 0.859614063, -0.237490282]),
    (
        "d_x",
        &[
            -0.186465096,
            -0.0820440387,
            0.074960689,
            0.133761126,
            -0.208764888,
            -0.13376673,
            0.181377846,
            -0.600817013,
            -0.00665372995,
            0.00787830869,
            -0.19902533,
            -0.26815093,
        ],
    ),
    ("d_start h", &[0.124270933, -0.0422436886, -0.169919658, -0.164327753, 0.0516061566, 0.220093604]),
    ("d_start c", &[-1.35909325, 1.24936975, 0.194919426, 0.897904259, 1.20676222, -1.35560279]),
];

/// `len` values of a sine from `first` on.
fn wave(first: usize, len: usize) -> Vec<f64> {
    (first..first + len).map(|place| (place as f64).sin()).collect()
}

fn layer_norm_as_pytorch<D: Kernels>(device: &D, tolerance: f64) {
    let (steps, batch, inputs, hidden) = (3, 2, 2, 3);
    let shape = LstmShape { layer_norm: true, ..LstmCase::new([steps, batch, inputs, hidden, 1], true, 0).shape };
    let packing = Packing::even(steps, batch);
    let pass = Pass { shape: &shape, packing: &packing, draw: None, first_step: 0 };
    let parameters = shape.tensors().last().unwrap().range().end;
    let (params, x) = (filled(device, &wave(1, parameters)), filled(device, &wave(200, steps * batch * inputs)));
    let start =
        LstmState { h: filled(device, &wave(300, batch * hidden)), c: filled(device, &wave(400, batch * hidden)) };
    let mut tape = LstmTape::new(device, &shape);
    device.lstm_forward(&pass, &params, (&x, 0), Some(&start), &mut tape);
    let (y, c) = (read(device, &tape.layers[0].cells[0].h_in, 24), read(device, &tape.layers[0].cells[0].c, 24));
    let mut got = vec![("y".to_owned(), y[6..].to_vec()), ("final c".into(), c[18..].to_vec())];
    let d_y = filled(device, &wave(500, 18));
    let (mut d_params, mut d_x) = (filled(device, &vec![0.0; parameters]), fresh(device, 12));
    let mut d_start = LstmState { h: fresh(device, 6), c: fresh(device, 6) };
    let gradients = LstmGradients {
        d_y: &d_y,
        from: 0,
        d_final: None,
        d_params: &mut d_params,
        d_x: Some((&mut d_x, 0)),
        d_start: Some(&mut d_start),
    };
    device.lstm_backward(&pass, &params, (&x, 0), &mut tape, gradients);
    let gradient = read(device, &d_params, parameters);
    got.extend(shape.tensors().iter().map(|tensor| (format!("d_{}", tensor.name), gradient[tensor.range()].to_vec())));
    got.push(("d_x".into(), read(device, &d_x, 12)));
    got.push(("d_start h".into(), read(device, &d_start.h, 6)));
    got.push(("d_start c".into(), read(device, &d_start.c, 6)));
    let want: Results = NORMED.iter().map(|(name, values)| ((*name).to_owned(), values.to_vec())).collect();
    assert_eq!(
        got.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        want.iter().map(|(name, _)| name).collect::<Vec<_>>()
    );
    let problems = differences(device.kind(), &got, &want, (tolerance, 0.0));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn layer_norm_is_that_of_pytorch() {
    layer_norm_as_pytorch(&Cpu::<f64>::poisoned(), 1e-8);
    layer_norm_as_pytorch(&Cpu::<f32>::poisoned(), 1e-5);
    layer_norm_as_pytorch(&common::gpu(false), 1e-5);
}

/// Without its masks a case gives other results, and another draw gives other masks; no rate leaves the plain results.
#[test]
fn masks_are_drawn() {
    let exact = Cpu::<f64>::poisoned();
    for case in option_cases() {
        let (once, other) = (case.run(&exact), LstmCase { draw: Some(1000), ..case.clone() }.run(&exact));
        let plain = LstmShape { noise: Noise::default(), ..case.shape };
        let without = LstmCase { shape: plain, ..case.clone() }.run(&exact);
        let random = case.shape.noise != Noise { seed: NOISE.seed, ..Noise::default() };
        assert_eq!(differences("draw", &other, &once, (1e-9, 0.0)).is_empty(), !random, "{}", case.name());
        assert_eq!(differences("noise", &without, &once, (1e-9, 0.0)).is_empty(), !random, "{}", case.name());
    }
}

/// Of h and of c as many elements keep their value as the rates say, within 4 standard deviations, independently of each
/// other, and in evaluation none does.
#[test]
fn zoneout_keeps_its_share() {
    let exact = Cpu::<f64>::poisoned();
    let noise = Noise { zoneout_h: 0.2, zoneout_c: 0.45, seed: 5, ..Noise::default() };
    let shape = LstmShape { steps: 40, batch: 14, input_size: 3, hidden_size: 20, noise, ..LstmShape::default() };
    let packing = Packing::even(shape.steps, shape.batch);
    let mut numbers = Numbers::new(1);
    let params = filled(&exact, &numbers.take(shape.tensors().last().unwrap().range().end));
    let x = filled(&exact, &numbers.take(shape.rows() * shape.input_size));
    let mut tape = LstmTape::new(&exact, &shape);
    let state = shape.batch * shape.hidden_size;
    for (draw, rates) in [(Some(3), [0.2, 0.45]), (None, [0.0, 0.0])] {
        let pass = Pass { shape: &shape, packing: &packing, draw, first_step: 0 };
        exact.lstm_forward(&pass, &params, (&x, 0), None, &mut tape);
        let cell = &tape.layers[0].cells[0];
        let kept = |values: &[f64]| -> Vec<bool> {
            (state..shape.steps * state + state).map(|place| values[place] == values[place - state]).collect()
        };
        let [h, c] = [kept(&cell.h_in), kept(&cell.c)];
        let within = |what: &str, count: usize, rate: f64| {
            let (all, count) = ((shape.steps * state) as f64, count as f64);
            let deviation = (all * rate * (1.0 - rate)).sqrt();
            assert!((count - all * rate).abs() <= 4.0 * deviation, "{what}: {count} of {all}, not {rate}");
        };
        within("h", h.iter().filter(|kept| **kept).count(), rates[0]);
        within("c", c.iter().filter(|kept| **kept).count(), rates[1]);
        within("both", h.iter().zip(&c).filter(|(h, c)| **h && **c).count(), rates[0] * rates[1]);
    }
}

/// One layer of one unit over one step with `x` as its input and weight 1 into every gate, the start state 0.5.
fn one_unit<D: Kernels>(device: &D, inputs: &[f64], layer_norm: bool) -> [Vec<f64>; 4] {
    let batch = inputs.len();
    let shape = LstmShape { steps: 2, batch, bias: false, layer_norm, ..LstmShape::default() };
    let packing = Packing::even(2, batch);
    let pass = Pass { shape: &shape, packing: &packing, draw: None, first_step: 0 };
    let weights = [&[1.0, -1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], &[1.0; 6][..if layer_norm { 6 } else { 0 }]].concat();
    let params = filled(device, &weights);
    let x = filled(device, &[inputs, inputs].concat());
    let d_y = filled(device, &vec![1.0; 2 * batch]);
    let half = || filled(device, &vec![0.5; batch]);
    let mut tape = LstmTape::new(device, &shape);
    device.lstm_forward(&pass, &params, (&x, 0), Some(&LstmState { h: half(), c: half() }), &mut tape);
    let gates = read(device, &tape.layers[0].cells[0].gates, pass.packing.rows() * shape.gates());
    let gates = activated::<D>(&shape, (0, 0), &weights, gates);
    let h = read(device, &tape.layers[0].cells[0].h_in, 3 * batch);
    let mut d_params = filled(device, &vec![0.0; weights.len()]);
    let gradients =
        LstmGradients { d_y: &d_y, from: 0, d_final: None, d_params: &mut d_params, d_x: None, d_start: None };
    device.lstm_backward(&pass, &params, (&x, 0), &mut tape, gradients);
    let d_gates = read(device, &tape.layers[0].cells[0].gates, 8 * batch);
    [gates, h, d_gates, read(device, &d_params, weights.len())]
}

/// Activations are right over the whole range, saturate where they must, and the gradient there is 0 and not NaN.
#[test]
fn activations_saturate() {
    let mut inputs: Vec<f64> =
        [1e4, 3e38, 100.0, 88.8, 88.0, 87.0, 45.0, 44.0, 20.0, 9.0, 1.0, 0.625, 0.1, 1e-4, 1e-20, 1e-38]
            .into_iter()
            .flat_map(|x: f64| [f64::from(x as f32), f64::from(-x as f32)])
            .collect();
    inputs.push(0.0);
    let exact = one_unit(&Cpu::<f64>::poisoned(), &inputs, false);
    let close = |backend: &str, got: [Vec<f64>; 4]| {
        for (name, (got, want)) in ["gates", "h", "d_gates"].into_iter().zip(got.iter().zip(&exact)) {
            let got = compare(name, got, want, 1e-30, 1e-5).or_else(|_| compare(name, got, want, 3e-7, 0.0));
            got.unwrap_or_else(|problem| panic!("{backend}: {problem}"));
        }
        assert!(got.iter().flatten().all(|value| value.is_finite()), "{backend}: {got:?}");
    };
    close("Cpu<f32>", one_unit(&Cpu::<f32>::poisoned(), &inputs, false));
    close("Gpu", one_unit(&common::gpu(false), &inputs, false));
    assert_eq!(exact[0][..4], [1.0, 0.0, 1.0, 1.0], "the first input saturates all gates");
}

/// The driver's bounds checks change no bit, and neither does running again.
#[test]
fn checks_change_no_bit() {
    let (trusted, checked) = (common::gpu(false), common::gpu(true));
    let steps = Tuning { recurrence: STEPS, ..Tuning::HARDWARE };
    let (by_steps, by_steps_checked) = (common::tuned(steps), common::tuned_and_checked(steps));
    for sizes in [[5, 17, 3, 16, 2], [3, 4, 1, 33, 1], [9, 33, 2, 16, 3]] {
        let case = LstmCase::new(sizes, true, 1);
        let once = case.run(&trusted);
        assert_eq!(bits(&once), bits(&case.run(&checked)), "{}", case.name());
        assert_eq!(bits(&once), bits(&case.run(&trusted)), "{} again", case.name());
        let case = LstmCase { shape: LstmShape { layer_norm: true, ..case.shape }, ..case };
        assert_eq!(bits(&case.run(&trusted)), bits(&case.run(&checked)), "{}", case.name());
        assert_eq!(bits(&case.run(&by_steps)), bits(&case.run(&by_steps_checked)), "{} by steps", case.name());
        let noise = Noise { zoneout_h: 0.3, ..Noise::default() };
        let case = LstmCase { shape: LstmShape { proj_size: 3, noise, ..case.shape }, draw: Some(1), ..case };
        assert_eq!(bits(&case.run(&trusted)), bits(&case.run(&checked)), "{}", case.name());
    }
}

/// Layer normalisation keeps of each row three moments, and where the gates are kept too the row itself.
#[test]
fn layer_norm_keeps_little() {
    let shape = LstmShape { steps: 7, batch: 5, hidden_size: 64, layer_norm: true, ..LstmShape::default() };
    let kept = |needs: Vec<Need>| needs.iter().find(|need| need.name.contains("layer normalisation")).expect("it").len;
    let moments = 3 * 7 * 5;
    assert_eq!(kept(shape.needs(&common::gpu(false))), moments + 5 * 10 * 64);
    assert_eq!(kept(shape.needs(&Cpu::<f32>::new())), 7 * 5 * 4 * 64 + moments + 2 * 10 * 64);
}

/// A NaN in an input comes out as NaN where it belongs, and nowhere else.
fn keeps_nan<D: Kernels>(device: &D) {
    let inputs = [0.5, f64::NAN, -0.5, 0.25];
    for layer_norm in [false, true] {
        let [gates, h, d_gates, d_params] = one_unit(device, &inputs, layer_norm);
        for (index, value) in gates.iter().enumerate() {
            assert_eq!(value.is_nan(), index / 4 % 4 == 1, "gate {index} is {value}");
        }
        for (index, value) in h.iter().enumerate() {
            assert_eq!(value.is_nan(), index >= 4 && index % 4 == 1, "h {index} is {value}");
        }
        for (index, value) in d_gates.iter().enumerate() {
            assert_eq!(value.is_nan(), index / 4 % 4 == 1, "d_gates {index} is {value}");
        }
        assert!(d_params.iter().all(|value| value.is_nan()), "every weight saw the NaN: {d_params:?}");
    }
}

#[test]
fn nan_stays_nan() {
    keeps_nan(&Cpu::<f64>::poisoned());
    keeps_nan(&Cpu::<f32>::poisoned());
    keeps_nan(&common::gpu(false));
    keeps_nan(&common::gpu(true));
}

/// One step more or less in the loss is not within the tolerance.
#[test]
fn a_changed_case_fails() {
    let exact = Cpu::<f64>::poisoned();
    let case = |from| LstmCase::new([3, 5, 2, 7, 2], true, from);
    assert!(!differences("from", &case(0).run(&exact), &case(1).run(&exact), case(0).tolerance()).is_empty());
}

/// So long a way that a driver which ends loops after so many turns would notice it, were it walked in one dispatch.
#[test]
fn long_ways() {
    let cases = |steps, hidden_size, from| {
        [(false, 8), (true, 2)].map(|(layer_norm, batch)| {
            // Of a loss far from the start too little would arrive there through layer normalisation; of one 200 steps away
            // nothing does at all, since what is below 2⁻⁹⁰ ends at zero.
            let case = LstmCase::new([steps, batch, 1, hidden_size, 1], true, if layer_norm { 0 } else { from });
            let noise = Noise { zoneout_h: if layer_norm { 0.1 } else { 0.0 }, ..Noise::default() };
            LstmCase { shape: LstmShape { layer_norm, noise, ..case.shape }, draw: Some(1), ..case }
        })
    };
    let gpu = common::gpu(false);
    let few = Recurrence { persistent_to: usize::MAX, ..Tuning::SOFTWARE.recurrence };
    // The most pairs of an invocation, each with random words.
    let many = LstmCase::new([64, 16, 1, 64, 1], true, 0);
    let noise = Noise { zoneout_h: 0.1, zoneout_c: 0.2, ..Noise::default() };
    let many = LstmCase { shape: LstmShape { noise, ..many.shape }, draw: Some(1), ..many };
    hold_on(&[cases(260, 192, 60).to_vec(), vec![many]].concat(), &[gpu]);
    // The largest hidden size that tuning may choose tiles for.
    hold_on(&cases(130, 256, 60), &[common::recurring(few)]);
}

/// A gradient that vanishes ends at zero: on the way there numbers below the smallest normal one would take some processors a
/// hundred times as long.
#[test]
fn vanishing_gradients_end_at_zero() {
    let gpus = [common::gpu(false), common::recurring(STEPS)];
    for (layer_norm, proj_size) in [(false, 0), (false, 5), (true, 0)] {
        let case = LstmCase::new([600, 3, 2, 9, 2], true, 599);
        let case = LstmCase { shape: LstmShape { layer_norm, proj_size, ..case.shape }, ..case };
        for results in [case.run(&Cpu::<f32>::poisoned())].into_iter().chain(gpus.iter().map(|gpu| case.run(gpu))) {
            for (name, values) in results.iter().filter(|(name, _)| name.starts_with("d_")) {
                let between = values.iter().filter(|x| **x != 0.0 && x.abs() < f64::from(f32::MIN_POSITIVE)).count();
                assert_eq!(between, 0, "{name} of {}", case.name());
            }
        }
    }
}

/// Weight drop takes the recurrent matrices out of the sums over all rows, which leaves them fewer tiles and so more parts; in
/// evaluation they are back.
#[test]
fn sums_in_parts() {
    let noise = Noise { weight_drop: 0.2, seed: 5, ..Noise::default() };
    let mut cases = Vec::new();
    for options in 0..8 {
        let (layer_norm, bias, draw) = (options & 1 > 0, options & 2 > 0, (options & 4 > 0).then_some(1));
        let plain = LstmCase::new([33, 16, 3, 20, 2], bias, 0);
        cases.push(LstmCase { shape: LstmShape { layer_norm, noise, ..plain.shape }, draw, ..plain });
    }
    let few = [Tuning::SOFTWARE, Tuning::HARDWARE].map(|tuning| common::tuned(Tuning { workgroups: 8, ..tuning }));
    hold_on(&cases, &few);
}

/// Tiles by hidden size and batch, steps beyond the largest hidden size.
#[test]
fn a_tuning_says_which_strategy() {
    let of =
        |gpu: &Gpu, hidden_size, batch| Strategy::of(gpu, &LstmShape { hidden_size, batch, ..LstmShape::default() });
    let [software, hardware] = [Tuning::SOFTWARE, Tuning::HARDWARE].map(common::tuned);
    let lanes = hardware.lanes().min(32);
    let tiles = |threads, sequences, blocks, steps| {
        let chunks = if steps == 256 { 2 } else { 1 };
        let inputs = if steps == 64 { 0 } else { 4 };
        let lanes = if steps == 256 { lanes } else { 0 };
        Strategy::Persistent(Tiles { threads, sequences, blocks, steps, chunks, inputs, lanes })
    };
    for (hidden, threads) in [(1, 8), (64, 8), (65, 16), (129, 24), (192, 24)] {
        assert_eq!(of(&software, hidden, 64), tiles(threads, 16, 0, 64), "{hidden} units");
    }
    assert_eq!(of(&software, 64, 5), tiles(8, 5, 0, 64));
    for (batch, sequences) in [(1, 1), (255, 1), (256, 2), (1024, 8), (4096, 8)] {
        assert_eq!(of(&hardware, 192, batch), tiles(256, sequences, 10, 256), "{batch} sequences");
    }
    assert_eq!(of(&software, 193, 64), Strategy::Steps(Steps::Plain));
    // A hundred workgroups or more, where there are tiles small enough.
    let large = [
        (193, 64, [16, 2, 1]),
        (256, 64, [16, 2, 1]),
        (512, 64, [16, 4, 1]),
        (1024, 128, [32, 4, 2]),
        (256, 1, [16, 2, 1]),
    ];
    for (hidden, batch, [units, groups, quads]) in large {
        let Strategy::Steps(Steps::Tiles(tiles)) = of(&hardware, hidden, batch) else {
            panic!("{hidden} units, {batch} sequences")
        };
        assert_eq!(
            [tiles.units, tiles.groups, tiles.quads],
            [units, groups, quads],
            "{hidden} units, {batch} sequences"
        );
    }
    // Where the weights in fours are more than any adapter binds.
    assert_eq!(of(&hardware, 32_768, 64), Strategy::Steps(Steps::Plain));
    assert_eq!(of(&common::recurring(STEPS), 1, 1), Strategy::Steps(Steps::Plain));
    assert_eq!(of(&common::recurring(persistent(40, 3, 1, 2)), 999, 1), tiles(40, 3, 1, 2));
    // As many neighbours as there are in a subgroup, which the software adapters have.
    let near = |wanted| {
        let gpu = common::recurring(Recurrence { lanes: wanted, ..persistent(40, 3, 1, 2) });
        let Strategy::Persistent(Tiles { lanes, .. }) = of(&gpu, 64, 1) else { panic!("one dispatch for each step") };
        assert_eq!(lanes, wanted.min(gpu.lanes()));
        lanes
    };
    assert!(near(4) == 4 || !software.is_software());
    near(64);
}
