//! The gradient through time: against central differences of a plain host-side LSTM whose hidden states are moved one by one,
//! against the gradients of start states, and on each device; what becomes of it in models that are known to forget or to
//! explode.

mod common;

use bptt::config::{Config, Head, LossKind};
use bptt::data::Scaler;
use bptt::device::{Cpu, Device, Real};
use bptt::inspector::{Cell, Finding, Inspection, Inspector, judge};
use bptt::interop::{Model, ModelInfo};
use bptt::kernels::{Kernels, LossShape, LstmShape, LstmState, Noise, Packing, Record};
use bptt::model::{Batch, HiddenGradient, InputGradients, Network, NetworkShape, start_parameters};
use bptt::rng::{Rng, Stream};
use common::{compare, compare_to_largest, doubles};
use pollster::block_on;

fn random(numbers: &mut Rng, len: usize, bound: f64) -> Vec<f64> {
    (0..len).map(|_| (2.0 * numbers.uniform() - 1.0) * bound).collect()
}

fn write<D: Kernels>(device: &D, buffer: &mut D::Buffer, values: &[f64]) {
    device.write(buffer, &values.iter().map(|&value| D::Element::of(value)).collect::<Vec<_>>());
}

fn read<D: Kernels>(device: &D, buffer: &D::Buffer, len: usize) -> Vec<f64> {
    block_on(device.read(buffer, 0..len)).expect("a read").into_iter().map(Real::double).collect()
}

/// A network at one point, with mean squared error.
struct Problem {
    shape: NetworkShape,
    packing: Packing,
    parameters: Vec<f64>,
    x: Vec<f64>,      // [rows, D]
    target: Vec<f64>, // [N or rows, O]
    h_0: Vec<f64>,    // [L · R, N, P]
    c_0: Vec<f64>,    // [L · R, N, H]
}

impl Problem {
    fn new(lstm: LstmShape, packing: Packing, head: Head, seed: u64) -> Self {
        let shape = NetworkShape { lstm, output_size: 2, parts: 1, head, classes: false, checkpoint_every: 0 };
        let numbers = &mut Rng::new(seed, Stream::Init);
        let states = lstm.cells() * packing.batch();
        Self {
            parameters: random(numbers, shape.parameters(), 0.8),
            x: random(numbers, packing.rows() * lstm.input_size, 1.5),
            target: random(numbers, shape.targets(&packing), 1.5),
            h_0: random(numbers, states * lstm.width(), 0.9),
            c_0: random(numbers, states * lstm.hidden_size, 1.2),
            shape,
            packing,
        }
    }

    fn tensor(&self, name: &str) -> &[f64] {
        let tensors = self.shape.tensors();
        &self.parameters[tensors.iter().find(|tensor| tensor.name == name).expect("a tensor").range()]
    }

    /// The loss after element `p` of the h that cell `cell` gives at `row` was moved.
    fn loss(&self, moved: (usize, usize, usize), by: f64) -> f64 {
        let lstm = &self.shape.lstm;
        let mut input = (self.x.clone(), lstm.input_size);
        for layer in 0..lstm.num_layers {
            let mut output = vec![0.0; self.packing.rows() * lstm.output_size()];
            for direction in 0..lstm.directions() {
                self.run(layer, direction, &input, &mut output, moved, by);
            }
            input = (output, lstm.output_size());
        }
        let rows = match self.shape.head {
            Head::Last => self.packing.last_rows(),
            Head::Every => (0..self.packing.rows()).collect(),
        };
        let (weight, bias, width) = (self.tensor("fc.weight"), self.tensor("fc.bias"), input.1);
        let outputs = rows.iter().flat_map(|row| {
            let y = &input.0[row * width..][..width];
            (0..2).map(move |output| bias[output] + dot(&weight[output * width..][..width], y))
        });
        let losses = outputs.zip(&self.target).map(|(output, target)| (output - target).powi(2));
        losses.sum::<f64>() / self.target.len() as f64
    }

    fn run(
        &self,
        layer: usize,
        direction: usize,
        (x, inputs): &(Vec<f64>, usize),
        y: &mut [f64],
        moved: (usize, usize, usize),
        by: f64,
    ) {
        let lstm = &self.shape.lstm;
        let (hidden, width, batch) = (lstm.hidden_size, lstm.width(), self.packing.batch());
        let cell = layer * lstm.directions() + direction;
        let name = |kind: &str| format!("lstm.{kind}_l{layer}{}", ["", "_reverse"][direction]);
        let [w_ih, w_hh, b_ih, b_hh] = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"].map(|k| self.tensor(&name(k)));
        let mut h = self.h_0[cell * batch * width..][..batch * width].to_vec();
        let mut c = self.c_0[cell * batch * hidden..][..batch * hidden].to_vec();
        let sigmoid = |value: f64| 1.0 / (1.0 + (-value).exp());
        for step in 0..self.packing.steps() {
            let t = if direction == 1 { self.packing.steps() - 1 - step } else { step };
            for n in 0..self.packing.active(t) {
                let row = self.packing.row(t) + n;
                let (x, h, c) = (&x[row * inputs..][..*inputs], &mut h[n * width..][..width], &mut c[n * hidden..]);
                let gate = |k: usize| {
                    b_ih[k] + b_hh[k] + dot(&w_ih[k * inputs..][..*inputs], x) + dot(&w_hh[k * width..][..width], h)
                };
                let gates: Vec<f64> = (0..4 * hidden).map(gate).collect();
                let mut u = vec![0.0; hidden];
                for j in 0..hidden {
                    let fresh = sigmoid(gates[hidden + j]) * c[j] + sigmoid(gates[j]) * gates[2 * hidden + j].tanh();
                    u[j] = sigmoid(gates[3 * hidden + j]) * fresh.tanh();
                    c[j] = lstm.noise.zoneout_c * c[j] + (1.0 - lstm.noise.zoneout_c) * fresh;
                }
                for p in 0..width {
                    let new = match lstm.proj_size {
                        0 => u[p],
                        _ => dot(&self.tensor(&name("weight_hr"))[p * hidden..][..hidden], &u),
                    };
                    h[p] = lstm.noise.zoneout_h * h[p] + (1.0 - lstm.noise.zoneout_h) * new;
                    if moved == (cell, row, p) {
                        h[p] += by;
                    }
                    y[row * lstm.output_size() + direction * width + p] = h[p];
                }
            }
        }
    }

    /// ∂loss/∂h for every cell and row by central differences.
    fn differences(&self) -> Vec<Vec<f64>> {
        let (rows, width) = (self.packing.rows(), self.shape.lstm.width());
        let half = 5e-6;
        let at = |cell: usize, place: usize| (cell, place / width, place % width);
        let slope = |moved| (self.loss(moved, half) - self.loss(moved, -half)) / (2.0 * half);
        (0..self.shape.lstm.cells())
            .map(|cell| (0..rows * width).map(|place| slope(at(cell, place))).collect())
            .collect()
    }

    /// The network after forward, loss and backward pass on `device`; what each cell's h gets, and the start states.
    fn gradients<D: Kernels>(&self, device: &D) -> (Vec<HiddenGradient>, Vec<f64>, Network<D>, D::Buffer) {
        let lstm = self.shape.lstm;
        let largest = LstmShape { batch: lstm.batch + 1, ..lstm };
        let mut net = Network::new(device, NetworkShape { lstm: largest, ..self.shape });
        for (buffer, values) in [
            (&mut net.params, &self.parameters),
            (&mut net.x, &self.x),
            (&mut net.target, &self.target),
            (&mut net.state.h, &self.h_0),
            (&mut net.state.c, &self.c_0),
        ] {
            write(device, buffer, values);
        }
        let batch = self.batch();
        let mut history = device.buffer("history", 2);
        let rows = self.shape.prediction_rows(&self.packing);
        let loss = LossShape { rows, values: 2, ..LossShape::default() };
        net.forward(device, &batch);
        net.loss(device, &loss, Record { row: 0, add: false }, &mut history);
        net.zero_gradients(device);
        let mut d_x = device.buffer("d_x", self.x.len());
        let mut d_start = LstmState::new(device, &lstm);
        net.backward(device, &batch, Some(InputGradients { d_x: &mut d_x, d_start: &mut d_start }));
        let mut scratch = device.buffer("scratch", Network::<D>::hidden_gradients_need(&largest).len);
        let gradients = block_on(net.hidden_gradients(device, &batch, &mut scratch)).expect("gradients");
        (gradients, read(device, &d_start.h, self.h_0.len()), net, scratch)
    }

    fn batch(&self) -> Batch {
        Batch::of(self.packing.clone()).from_state()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Every option of a stack, alone and together, with both heads.
fn problems() -> impl Iterator<Item = Problem> {
    (0..32).map(|options: u64| {
        let has = |bit: u64| options & bit > 0;
        let noise = Noise { zoneout_h: 0.3, zoneout_c: 0.2, ..Noise::default() };
        let lstm = LstmShape {
            steps: 4,
            batch: 3,
            input_size: 2,
            hidden_size: 3,
            num_layers: 2,
            bidirectional: has(1),
            proj_size: if has(2) { 2 } else { 0 },
            ragged: has(4),
            noise: if has(8) { noise } else { Noise::default() },
            ..LstmShape::default()
        };
        let packing = if has(4) { Packing::new(&[2, 4, 1], 4).unwrap().0 } else { Packing::even(4, 3) };
        Problem::new(lstm, packing, if has(16) { Head::Every } else { Head::Last }, options)
    })
}

fn all(gradients: &[HiddenGradient]) -> Vec<f64> {
    gradients.iter().flat_map(|gradient| gradient.d_h.clone()).collect()
}

#[test]
fn the_gradient_of_each_hidden_state_is_the_slope_of_the_loss() {
    let device = Cpu::<f64>::poisoned();
    for problem in problems() {
        let what = format!("{:?} {:?}", problem.shape, problem.packing);
        let (gradients, d_start, ..) = problem.gradients(&device);
        compare(&what, &all(&gradients), &problem.differences().concat(), 1e-9, 1e-7).unwrap();
        let starts: Vec<f64> = gradients.iter().flat_map(|gradient| gradient.d_start.clone()).collect();
        compare(&what, &starts, &d_start, 1e-15, 1e-12).unwrap();
    }
}

#[test]
fn every_device_gives_the_same() {
    let (exact, cpu, gpu) = (Cpu::<f64>::poisoned(), Cpu::<f32>::poisoned(), common::gpu(false));
    let lstm =
        LstmShape { steps: 4, batch: 3, input_size: 2, hidden_size: 9, layer_norm: true, ..LstmShape::default() };
    let normed = [LstmShape { num_layers: 2, ..lstm }, LstmShape { bidirectional: true, proj_size: 5, ..lstm }];
    let normed = normed.map(|lstm| Problem::new(lstm, Packing::even(4, 3), Head::Every, 3));
    for problem in problems().chain(normed) {
        let what = format!("{:?}", problem.shape);
        let (want, d_start, ..) = problem.gradients(&exact);
        let (on_cpu, on_gpu) = (problem.gradients(&cpu), problem.gradients(&gpu));
        for (device, got, got_start) in [("cpu", &on_cpu.0, &on_cpu.1), ("gpu", &on_gpu.0, &on_gpu.1)] {
            compare_to_largest(&format!("{device} {what}"), &all(got), &all(&want), 1e-5).unwrap();
            compare_to_largest(&format!("{device} {what}"), got_start, &d_start, 1e-5).unwrap();
        }
    }
}

/// The rest of the window, begun with the state after step t, has the gradient of h_t as that of its start.
#[test]
fn the_tail_of_a_window_begins_with_the_gradient_there() {
    let device = Cpu::<f64>::poisoned();
    let noise = Noise { zoneout_h: 0.2, zoneout_c: 0.3, ..Noise::default() };
    let (steps, batch) = (9, 3);
    let lstm = LstmShape { steps, batch, input_size: 2, hidden_size: 4, num_layers: 2, ..LstmShape::default() };
    let normed = LstmShape { layer_norm: true, ..lstm };
    for lstm in [lstm, LstmShape { proj_size: 2, ..lstm }, LstmShape { noise, ..lstm }, normed] {
        let problem = Problem::new(lstm, Packing::even(steps, batch), Head::Last, 7);
        let (gradients, ..) = problem.gradients(&device);
        let top = batch * lstm.width()..2 * batch * lstm.width();
        for t in [0, 1, 4, 7] {
            // Forward to step t, then the rest from the state there.
            let first = Problem { packing: Packing::even(t + 1, batch), ..problem_of(&problem) };
            let (.., mut net, _) = first.gradients(&device);
            net.carry(&device, &first.batch());
            let state = [(&net.carried.h, problem.h_0.len()), (&net.carried.c, problem.c_0.len())];
            let [h_0, c_0] = state.map(|(buffer, len)| read(&device, buffer, len));
            let x = problem.x[(t + 1) * batch * lstm.input_size..].to_vec();
            let rest = Problem { packing: Packing::even(steps - 1 - t, batch), x, h_0, c_0, ..problem_of(&problem) };
            let d_start = rest.gradients(&device).1;
            let here = &gradients[1].d_h[t * batch * lstm.width()..][..batch * lstm.width()];
            compare(&format!("{lstm:?} at {t}"), here, &d_start[top.clone()], 1e-15, 1e-10).unwrap();
        }
    }
}

fn problem_of(problem: &Problem) -> Problem {
    Problem {
        shape: problem.shape,
        packing: problem.packing.clone(),
        parameters: problem.parameters.clone(),
        x: problem.x.clone(),
        target: problem.target.clone(),
        h_0: problem.h_0.clone(),
        c_0: problem.c_0.clone(),
    }
}

/// A single recurrent weight, input weight, head weight or share of zoneout that is off is seen.
#[test]
fn a_wrong_gradient_is_noticed() {
    let device = Cpu::<f64>::poisoned();
    let problem = problems().nth(8 + 2 + 16).expect("zoneout and projection");
    let (gradients, _, net, mut scratch) = problem.gradients(&device);
    let want = problem.differences().concat();
    let differs = |got: &[HiddenGradient]| compare("changed", &all(got), &want, 1e-9, 1e-7).is_err();
    assert!(!differs(&gradients));
    for name in ["lstm.weight_hh_l0", "lstm.weight_hh_l1", "lstm.weight_ih_l1"] {
        let (_, _, mut net, mut scratch) = problem.gradients(&device);
        let tensor = problem.shape.tensors().into_iter().find(|tensor| tensor.name == name).expect("a tensor");
        let mut changed = problem.parameters.clone();
        changed[tensor.offset] += 1e-3;
        write(&device, &mut net.params, &changed);
        let got = block_on(net.hidden_gradients(&device, &problem.batch(), &mut scratch)).expect("gradients");
        assert!(differs(&got), "{name}");
    }
    let mut net = net;
    net.shape.lstm.noise.zoneout_h = 0.301;
    assert!(differs(&block_on(net.hidden_gradients(&device, &problem.batch(), &mut scratch)).expect("gradients")));
    let mut other = problem_of(&problem);
    other.target[0] += 1e-3;
    assert!(differs(&other.gradients(&device).0), "the head");
}

// Inspections.

/// A model with start parameters, and a series to look at it with.
struct Subject {
    model: Model,
    inputs: Vec<f32>,
    targets: Vec<f32>,
    starts: Vec<u32>,
}

impl Subject {
    fn new(config: Config) -> Self {
        let rows = config.window + 30;
        let classes = config.loss == LossKind::CrossEntropy;
        let numbers = &mut Rng::new(3, Stream::Init);
        let mut values = |len: usize| -> Vec<f32> { random(numbers, len, 1.5).iter().map(|&v| v as f32).collect() };
        let (mut inputs, mut targets) = (values(2 * rows), values(rows));
        if classes {
            inputs = (0..rows).map(|row| (row * 3 % 5) as f32).collect();
            // Of classes 0 to 4; each third row counts for nothing.
            let id = |(row, value): (usize, f32)| if row % 3 == 0 { -100.0 } else { value.round() + 2.0 };
            targets = targets.into_iter().enumerate().map(id).collect();
        }
        let names = |count: usize| (0..count).map(|index| format!("c{index}")).collect::<Vec<_>>();
        let targets_named = if classes { names(5) } else { names(1) };
        let scaler = Scaler { mean: vec![0.0; 3], scale: vec![1.0; 3] };
        let alphabet = if classes { "abcde" } else { "" }.into();
        let info = ModelInfo { config, built_in: false, features: names(2), targets: targets_named, scaler, alphabet };
        let parameters = start_parameters(&info.config, &info.shape());
        Self { model: Model { info, parameters }, inputs, targets, starts: vec![3, 0, 17, 4, 11, 8, 20] }
    }

    fn scale(&mut self, tensors: &str, by: f32) {
        for tensor in self.model.info.shape().tensors().iter().filter(|tensor| tensor.name.contains(tensors)) {
            self.model.parameters[tensor.range()].iter_mut().for_each(|value| *value *= by);
        }
    }

    fn inspect<D: Kernels>(&self, device: D) -> Inspection {
        self.inspect_windows(device, &self.starts)
    }

    fn inspect_windows<D: Kernels>(&self, device: D, starts: &[u32]) -> Inspection {
        let mut inspector = Inspector::new(device, &self.model, self.targets.len(), starts.len()).expect("it fits");
        block_on(inspector.inspect(&self.inputs, &self.targets, starts)).expect("an inspection")
    }

    /// The same on every device, held to the definition's by a share of the largest norm.
    fn everywhere(&self, share: f64) -> Inspection {
        let want = self.inspect(Cpu::<f64>::poisoned());
        for got in [self.inspect(Cpu::<f32>::poisoned()), self.inspect(common::gpu(false))] {
            for (got, want) in got.cells.iter().zip(&want.cells) {
                compare_to_largest("gradient", &got.gradient.0, &want.gradient.0, share).unwrap();
                compare_to_largest("last step", &got.last_step.0, &want.last_step.0, share).unwrap();
                compare("mean f", &[got.gates.forget_mean], &[want.gates.forget_mean], 1e-5, 0.0).unwrap();
                compare("memory", &[got.gates.memory], &[want.gates.memory], 0.0, 1e-4).unwrap();
            }
        }
        want
    }
}

fn config(window: usize, head: Head, loss: LossKind) -> Config {
    Config { window, horizon: 1, hidden_size: 6, batch_size: 3, head, loss, seed: 5, ..Config::default() }
}

/// What a trace shows is one window's forward pass, and its gradient is that of an inspection of this window alone.
#[test]
fn a_trace_is_one_window_step_by_step() {
    for (head, layer_norm) in [(Head::Last, false), (Head::Every, false), (Head::Last, true)] {
        let subject = Subject::new(Config { layer_norm, ..config(7, head, LossKind::Mse) });
        let hidden = 6;
        let mut inspector = Inspector::new(Cpu::<f64>::poisoned(), &subject.model, subject.targets.len(), 1).unwrap();
        let traces = block_on(inspector.trace(&subject.inputs, &subject.targets, 4)).expect("a trace");
        let alone = subject.inspect_windows(Cpu::<f64>::poisoned(), &[4]);
        assert_eq!(traces.len(), 2);
        for (trace, cell) in traces.iter().zip(&alone.cells) {
            assert_eq!((trace.layer, trace.gradient.clone()), (cell.layer, cell.gradient.clone()));
            let mut c_before = vec![0.0f32; hidden];
            for t in 0..7 {
                let [c, h] = [&trace.c, &trace.h].map(|all| &all[t * hidden..][..hidden]);
                let gate = |gate: usize| &trace.gates[(4 * t + gate) * hidden..][..hidden];
                for j in 0..hidden {
                    let (want_c, o) = (gate(1)[j] * c_before[j] + gate(0)[j] * gate(2)[j], gate(3)[j]);
                    // Layer normalisation stands between c and the tanh.
                    let want_h = if layer_norm { h[j] } else { o * c[j].tanh() };
                    compare("c, h", &doubles(&[c[j], h[j]]), &doubles(&[want_c, want_h]), 1e-6, 0.0).unwrap();
                }
                c_before.copy_from_slice(c);
            }
        }
        let device = common::gpu(false);
        let mut inspector = Inspector::new(device, &subject.model, subject.targets.len(), 1).unwrap();
        let on_gpu = block_on(inspector.trace(&subject.inputs, &subject.targets, 4)).expect("a trace");
        for (got, want) in on_gpu.iter().zip(&traces) {
            compare("gates", &doubles(&got.gates), &doubles(&want.gates), 1e-5, 1e-5).unwrap();
            compare("c", &doubles(&got.c), &doubles(&want.c), 1e-5, 1e-5).unwrap();
            compare("h", &doubles(&got.h), &doubles(&want.h), 1e-5, 1e-5).unwrap();
            compare_to_largest("gradient", &got.gradient.0, &want.gradient.0, 1e-4).unwrap();
        }
    }
}

/// However the windows lie in batches, the curve is the root mean square of each window's own gradients.
#[test]
fn each_window_counts_with_its_own_loss() {
    for head in [Head::Last, Head::Every] {
        for loss in [LossKind::Mse, LossKind::CrossEntropy, LossKind::Quantile] {
            let subject = Subject::new(config(5, head, loss));
            let together = subject.everywhere(1e-4);
            let singly: Vec<_> =
                subject.starts.iter().map(|&start| subject.inspect_windows(Cpu::<f64>::poisoned(), &[start])).collect();
            for (index, cell) in together.cells.iter().enumerate() {
                for curve in [|cell: &Cell| cell.gradient.0.clone(), |cell: &Cell| cell.last_step.0.clone()] {
                    let mean = |t: usize| {
                        let squares = singly.iter().map(|one| curve(&one.cells[index])[t].powi(2));
                        (squares.sum::<f64>() / singly.len() as f64).sqrt()
                    };
                    let want: Vec<f64> = (0..5).map(mean).collect();
                    compare(&format!("{head:?} {loss:?}"), &curve(cell), &want, 1e-14, 1e-10).unwrap();
                }
                assert_eq!(cell.gradient == cell.last_step, head == Head::Last, "{head:?} {loss:?}");
                assert!(cell.gradient.0.iter().all(|norm| *norm > 0.0), "{cell:?}");
            }
        }
    }
}

/// The loss at the last step alone is the loss with all other targets hit.
#[test]
fn the_last_steps_loss_is_that_of_the_last_target() {
    let device = Cpu::<f64>::poisoned();
    let subject = Subject::new(config(5, Head::Every, LossKind::Mse));
    let found = subject.inspect_windows(Cpu::<f64>::poisoned(), &[4]);
    let shape =
        NetworkShape { lstm: LstmShape { batch: 1, ..subject.model.info.shape().lstm }, ..subject.model.info.shape() };
    let mut net = Network::new(&device, shape);
    let batch = Batch::even(5, 1);
    write(&device, &mut net.params, &doubles(&subject.model.parameters));
    write(&device, &mut net.x, &doubles(&subject.inputs[8..18]));
    net.forward(&device, &batch);
    let mut target = read(&device, &net.prediction, 5);
    target[4] = f64::from(subject.targets[9]);
    write(&device, &mut net.target, &target);
    let mut history = device.buffer("history", 2);
    net.loss(
        &device,
        &shape.loss(&subject.model.info.config, &batch.packing, 5.0),
        Record { row: 0, add: false },
        &mut history,
    );
    net.zero_gradients(&device);
    net.backward(&device, &batch, None);
    let mut scratch = device.buffer("scratch", Network::<Cpu<f64>>::hidden_gradients_need(&shape.lstm).len);
    let gradients = block_on(net.hidden_gradients(&device, &batch, &mut scratch)).expect("gradients");
    for (cell, gradient) in found.cells.iter().zip(&gradients) {
        let norms: Vec<f64> = gradient.d_h.chunks_exact(6).rev().map(|d_h| dot(d_h, d_h).sqrt()).collect();
        compare("last step", &cell.last_step.0, &norms, 1e-15, 1e-10).unwrap();
    }
}

/// With weights of zero every gate is what its bias says.
#[test]
fn gates_are_read_before_they_become_gradients() {
    let mut subject = Subject::new(Config { forget_bias: Some(3.0), ..config(4, Head::Last, LossKind::Mse) });
    subject.scale("weight_ih", 0.0);
    subject.scale("weight_hh", 0.0);
    let found = subject.everywhere(1e-4);
    let forget = 1.0 / (1.0 + (-3.0f64).exp());
    for cell in &found.cells {
        compare("f", &[cell.gates.forget_mean], &[forget], 1e-6, 0.0).unwrap();
        compare("memory", &[cell.gates.memory], &[1.0 / (1.0 - forget)], 0.0, 1e-5).unwrap();
        assert_eq!((cell.gates.forget.open, cell.gates.forget.shut, cell.gates.input.open), (1.0, 0.0, 0.0));
    }
}

#[test]
fn what_forgets_vanishes_and_what_is_scaled_up_explodes() {
    let plain = config(50, Head::Last, LossKind::Mse);
    let judged = |subject: &Subject, share| judge(&subject.everywhere(share), &subject.model.info.config, None);

    let forgetting = judged(&Subject::new(Config { forget_bias: Some(-5.0), ..plain.clone() }), 1e-4);
    assert_eq!(forgetting.finding, Finding::Vanishes, "{forgetting:?}");
    assert!(forgetting.advice.iter().any(|advice| advice.starts_with("--forget-bias 1: ")), "{forgetting:?}");

    let remembering = judged(&Subject::new(Config { forget_bias: Some(6.0), ..plain.clone() }), 1e-4);
    assert_eq!(remembering.finding, Finding::Reaches, "{remembering:?}");

    let mut exploding = Subject::new(Config { forget_bias: Some(1.0), hidden_size: 32, ..plain });
    exploding.scale("weight_hh", 6.0);
    // Rounding errors grow with the gradient.
    let exploding = judged(&exploding, 1e-2);
    assert_eq!(exploding.finding, Finding::Explodes, "{exploding:?}");
    assert!(exploding.advice.iter().any(|advice| advice.contains("--lr")), "{exploding:?}");
}

/// A head on every step has a gradient everywhere, even if none comes through time: that is not taken for memory.
#[test]
fn a_head_on_every_step_does_not_hide_that_it_vanishes() {
    let config = Config { forget_bias: Some(-5.0), ..config(50, Head::Every, LossKind::Mse) };
    let found = Subject::new(config.clone()).everywhere(1e-4);
    assert!(found.cells.iter().all(|cell| cell.gradient.far_to_near() > 0.1), "{found:?}");
    assert_eq!(judge(&found, &config, None).finding, Finding::Vanishes);
}
