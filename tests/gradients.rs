//! Every gradient against central differences of the loss, in `Cpu<f64>`: each parameter tensor by name, the input, and the
//! start state, for every loss and head, from random start states and over at least three time steps.

mod common;

use bptt::config::{Head, LossKind};
use bptt::device::{Cpu, CpuBuffer, Device};
use bptt::kernels::{LossShape, LstmShape, LstmState, Noise, Packing, Record};
use bptt::model::{Batch, InputGradients, Network, NetworkShape};
use bptt::rng::{Rng, Stream};
use common::compare;
use pollster::block_on;

type F64 = Cpu<f64>;

/// Half the distance between the inner two points of a difference: rounding errors of the loss, 1e-16, then have a share
/// near 1e-11. The outer two, twice as far apart, cancel the third derivative, which is large where a row that layer
/// normalisation divides by its deviation is nearly constant.
const HALF: f64 = 5e-6;
const TOLERANCE: (f64, f64) = (1e-9, 1e-7);

/// A point at which the loss is taken, and its gradient there.
#[derive(Clone)]
struct Groups(Vec<(String, Vec<f64>)>);

impl Groups {
    fn get(&self, name: &str) -> &[f64] {
        &self.0.iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("no group {name}")).1
    }
}

struct Problem {
    device: F64,
    shape: NetworkShape,
    loss: LossShape<'static>,
    target: Vec<f64>,
    batch: Batch,
    capacity: usize,
}

impl Problem {
    fn new(lstm: LstmShape, head: Head, kind: LossKind, weight: f64, numbers: &mut Rng) -> Self {
        Self::of(lstm, Packing::even(lstm.steps, lstm.batch), head, kind, weight, numbers)
    }

    /// Of sequences packed so, with all masks of the shape drawn and kept.
    fn of(lstm: LstmShape, packing: Packing, head: Head, kind: LossKind, weight: f64, numbers: &mut Rng) -> Self {
        let (values, parts) = match kind {
            LossKind::Mse | LossKind::L1 | LossKind::Huber => (2, 1),
            LossKind::CrossEntropy => (1, 5),
            LossKind::Gaussian => (2, 2),
            LossKind::Quantile | LossKind::StudentT => (2, 3),
        };
        let shape =
            NetworkShape { lstm, output_size: values * parts, parts, head, classes: false, checkpoint_every: 0 };
        let batch = Batch::of(packing).training(5).from_state();
        let rows = shape.prediction_rows(&batch.packing);
        let (quantiles, label_smoothing) = (&[0.1, 0.5, 0.9], 0.2);
        let settings = LossShape { delta: 0.6, quantiles, label_smoothing, ..LossShape::default() };
        let loss = LossShape { kind, rows, values, parts, weight, ..settings };
        let mut target = random(numbers, rows * values, 1.5);
        if kind == LossKind::CrossEntropy {
            // The class in the middle of five, or one beside it; the last row is ignored where it is not the only one.
            target.iter_mut().for_each(|value| *value = value.round() + 2.0);
            target[1..].iter_mut().skip(rows.saturating_sub(2)).for_each(|value| *value = -100.0);
        }
        Self { device: F64::poisoned(), shape, loss, target, batch, capacity: lstm.batch + 1 }
    }

    /// Every tensor by name, `x`, and each layer's start state.
    fn point(&self, numbers: &mut Rng) -> Groups {
        let lstm = self.shape.lstm;
        let mut groups: Vec<_> = self
            .shape
            .tensors()
            .into_iter()
            .map(|tensor| (tensor.name.clone(), random(numbers, tensor.len(), 0.8)))
            .collect();
        groups.push(("x".into(), random(numbers, self.batch.packing.rows() * lstm.input_size, 1.5)));
        let states = lstm.cells() * lstm.batch;
        groups.push(("h0".into(), random(numbers, states * lstm.width(), 0.9)));
        groups.push(("c0".into(), random(numbers, states * lstm.hidden_size, 1.2)));
        Groups(groups)
    }

    /// The network after a forward pass from `point`, the loss's row of history, and the loss.
    fn forward(&self, point: &Groups) -> (Network<F64>, f64) {
        let (device, lstm) = (&self.device, self.shape.lstm);
        let largest = LstmShape { batch: self.capacity, ..lstm };
        let mut net = Network::new(device, NetworkShape { lstm: largest, ..self.shape });
        let parameters: Vec<f64> =
            self.shape.tensors().iter().flat_map(|tensor| point.get(&tensor.name).to_vec()).collect();
        device.write(&mut net.params, &parameters);
        device.write(&mut net.x, point.get("x"));
        device.write(&mut net.target, &self.target);
        device.write(&mut net.state.h, point.get("h0"));
        device.write(&mut net.state.c, point.get("c0"));
        let mut history = device.buffer("history", 2);
        net.forward(device, &self.batch);
        net.loss(device, &self.loss, Record { row: 0, add: false }, &mut history);
        let loss = self.read(&history, 1)[0];
        (net, loss)
    }

    /// The gradient of the loss at `point` by the backward pass.
    fn gradient(&self, point: &Groups) -> Groups {
        let (device, lstm) = (&self.device, self.shape.lstm);
        let (mut net, _) = self.forward(point);
        let len = self.batch.packing.rows() * lstm.input_size;
        let mut d_x = device.buffer("d_x", len);
        let mut d_start = LstmState::new(device, &lstm);
        net.zero_gradients(device);
        net.backward(device, &self.batch, Some(InputGradients { d_x: &mut d_x, d_start: &mut d_start }));
        let d_params = self.read(&net.d_params, self.shape.parameters());
        let mut groups: Vec<_> = self
            .shape
            .tensors()
            .into_iter()
            .map(|tensor| (tensor.name.clone(), d_params[tensor.range()].to_vec()))
            .collect();
        groups.push(("x".into(), self.read(&d_x, len)));
        groups.push(("h0".into(), self.read(&d_start.h, d_start.h.len())));
        groups.push(("c0".into(), self.read(&d_start.c, d_start.c.len())));
        Groups(groups)
    }

    /// The same by central differences.
    fn differences(&self, point: &Groups) -> Groups {
        let mut differences = point.clone();
        let mut moved = point.clone();
        for (group, (_, values)) in differences.0.iter_mut().enumerate() {
            for (place, difference) in values.iter_mut().enumerate() {
                let at = point.0[group].1[place];
                let mut loss = |value: f64| {
                    moved.0[group].1[place] = value;
                    self.forward(&moved).1
                };
                let mut slope = |half: f64| {
                    let (above, below) = (at + half, at - half);
                    (loss(above) - loss(below)) / (above - below)
                };
                *difference = (4.0 * slope(HALF) - slope(2.0 * HALF)) / 3.0;
                moved.0[group].1[place] = at;
            }
        }
        differences
    }

    fn read(&self, buffer: &CpuBuffer<f64>, len: usize) -> Vec<f64> {
        block_on(self.device.read(buffer, 0..len)).expect("a read")
    }
}

fn random(numbers: &mut Rng, len: usize, bound: f64) -> Vec<f64> {
    (0..len).map(|_| (2.0 * numbers.uniform() - 1.0) * bound).collect()
}

/// Every group that differs, by name.
fn wrong_groups(got: &Groups, want: &Groups) -> Vec<String> {
    let mut wrong = Vec::new();
    assert_eq!(got.0.len(), want.0.len());
    for ((name, got), (same, want)) in got.0.iter().zip(&want.0) {
        assert_eq!(name, same);
        if let Err(problem) = compare(name, got, want, TOLERANCE.0, TOLERANCE.1) {
            wrong.push(problem);
        }
    }
    wrong
}

const fn sized(steps: usize, batch: usize, input_size: usize, hidden_size: usize, num_layers: usize) -> LstmShape {
    LstmShape {
        steps,
        batch,
        input_size,
        hidden_size,
        num_layers,
        bias: true,
        bidirectional: false,
        proj_size: 0,
        layer_norm: false,
        ragged: false,
        noise: Noise {
            dropout: 0.0,
            locked: false,
            recurrent_dropout: 0.0,
            weight_drop: 0.0,
            zoneout_h: 0.0,
            zoneout_c: 0.0,
            seed: 0,
        },
    }
}

const SHAPES: [LstmShape; 3] =
    [sized(4, 3, 2, 3, 2), LstmShape { bias: false, ..sized(3, 2, 3, 5, 2) }, sized(7, 1, 1, 2, 3)];

#[test]
fn every_gradient_is_the_slope_of_the_loss() {
    let mut wrong = Vec::new();
    for (seed, lstm) in SHAPES.into_iter().enumerate() {
        for head in [Head::Last, Head::Every] {
            for (kind, weight) in [
                (LossKind::Mse, 1.0),
                (LossKind::L1, 0.5),
                (LossKind::Huber, 1.0),
                (LossKind::CrossEntropy, 0.5),
                (LossKind::Quantile, 1.0),
                (LossKind::Gaussian, 1.0),
                (LossKind::StudentT, 0.5),
            ] {
                let mut numbers = Rng::new(seed as u64, Stream::Init);
                let problem = Problem::new(lstm, head, kind, weight, &mut numbers);
                let point = problem.point(&mut numbers);
                let gradient = problem.gradient(&point);
                for (name, values) in &gradient.0 {
                    assert!(values.iter().any(|value| *value != 0.0), "{lstm:?} {head:?} {kind:?}: {name} is all zero");
                }
                let found = wrong_groups(&gradient, &problem.differences(&point));
                wrong.extend(found.iter().map(|found| format!("{lstm:?} {head:?} {kind:?}\n  {found}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{} groups:\n{}", wrong.len(), wrong.join("\n"));
}

/// Each option alone and all at once, with the masks of one draw: two directions, a projection, unequal lengths, layer
/// normalisation, dropout between layers and in the recurrence, weight drop and zoneout.
#[test]
fn every_option_has_the_slope_of_its_loss() {
    let plain = Noise { seed: 4, ..Noise::default() };
    let all = Noise {
        dropout: 0.3,
        locked: true,
        recurrent_dropout: 0.25,
        weight_drop: 0.2,
        zoneout_h: 0.2,
        zoneout_c: 0.4,
        ..plain
    };
    let noises = [
        plain,
        Noise { dropout: 0.4, ..plain },
        Noise { recurrent_dropout: 0.4, ..plain },
        Noise { weight_drop: 0.3, ..plain },
        Noise { zoneout_h: 0.3, ..plain },
        Noise { zoneout_c: 0.3, ..plain },
        all,
    ];
    let mut wrong = Vec::new();
    for (index, noise) in noises.into_iter().enumerate() {
        for options in 0..16 {
            let (bidirectional, projected) = (options & 1 > 0, options & 2 > 0);
            let (ragged, layer_norm) = (options & 4 > 0, options & 8 > 0);
            let proj_size = if projected { 2 } else { 0 };
            let lstm = LstmShape { bidirectional, proj_size, ragged, layer_norm, noise, ..sized(4, 3, 2, 3, 2) };
            let packing = if ragged { Packing::new(&[2, 4, 1], 4).unwrap().0 } else { Packing::even(4, 3) };
            let head = if (index + options) % 2 == 0 { Head::Every } else { Head::Last };
            let mut numbers = Rng::new(options as u64, Stream::Init);
            let problem = Problem::of(lstm, packing, head, LossKind::Mse, 1.0, &mut numbers);
            let point = problem.point(&mut numbers);
            let found = wrong_groups(&problem.gradient(&point), &problem.differences(&point));
            wrong.extend(found.iter().map(|found| format!("{lstm:?} {head:?}\n  {found}")));
        }
    }
    assert!(wrong.is_empty(), "{} groups:\n{}", wrong.len(), wrong.join("\n"));
}

/// Computing parts again gives the gradients of keeping everything, also with masks.
#[test]
fn parts_computed_again_change_nothing() {
    for (every, layer_norm) in [1, 2, 3, 7].into_iter().flat_map(|every| [(every, false), (every, true)]) {
        for head in [Head::Last, Head::Every] {
            let noise =
                Noise { dropout: 0.3, recurrent_dropout: 0.2, zoneout_h: 0.2, zoneout_c: 0.2, ..Noise::default() };
            let lstm = LstmShape { noise, layer_norm, proj_size: 2, ..sized(7, 3, 2, 3, 2) };
            let mut numbers = Rng::new(3, Stream::Init);
            let mut problem = Problem::new(lstm, head, LossKind::Mse, 1.0, &mut numbers);
            let point = problem.point(&mut numbers);
            let kept = problem.gradient(&point);
            problem.shape.checkpoint_every = every;
            let again = problem.gradient(&point);
            for ((name, kept), (_, again)) in kept.0.iter().zip(&again.0) {
                compare(name, again, kept, 1e-15, 1e-13).unwrap_or_else(|problem| panic!("every {every}: {problem}"));
            }
        }
    }
}

/// Gradients are added to what is there, as accumulated batches need it.
#[test]
fn gradients_add_up() {
    let mut numbers = Rng::new(5, Stream::Init);
    let problem = Problem::new(SHAPES[0], Head::Every, LossKind::Mse, 1.0, &mut numbers);
    let point = problem.point(&mut numbers);
    let once: Vec<f64> =
        problem.shape.tensors().iter().flat_map(|tensor| problem.gradient(&point).get(&tensor.name).to_vec()).collect();
    let (mut net, _) = problem.forward(&point);
    let mut history = problem.device.buffer("history", 2);
    net.zero_gradients(&problem.device);
    for _ in 0..3 {
        net.forward(&problem.device, &problem.batch);
        net.loss(&problem.device, &problem.loss, Record { row: 0, add: false }, &mut history);
        net.backward(&problem.device, &problem.batch, None);
    }
    let three: Vec<f64> = once.iter().map(|value| 3.0 * value).collect();
    compare("three times", &problem.read(&net.d_params, three.len()), &three, 1e-14, 1e-12).unwrap();
}

/// Each group, changed by one part in a hundred thousand at one place, is found, and only that one.
#[test]
fn a_wrong_gradient_is_noticed() {
    let mut numbers = Rng::new(9, Stream::Init);
    let problem = Problem::new(SHAPES[0], Head::Every, LossKind::Mse, 1.0, &mut numbers);
    let point = problem.point(&mut numbers);
    let (gradient, differences) = (problem.gradient(&point), problem.differences(&point));
    assert!(wrong_groups(&gradient, &differences).is_empty());
    for group in 0..gradient.0.len() {
        let mut changed = gradient.clone();
        let (name, values) = &mut changed.0[group];
        let largest = (0..values.len()).max_by(|&a, &b| values[a].abs().total_cmp(&values[b].abs())).unwrap();
        values[largest] *= 1.0 + 1e-5;
        let name = name.clone();
        let wrong = wrong_groups(&changed, &differences);
        assert!(wrong.len() == 1 && wrong[0].starts_with(&format!("{name}[{largest}]")), "{name}: {wrong:?}");
        changed.0[group].1[0] = f64::NAN;
        assert_eq!(wrong_groups(&changed, &differences).len(), 1, "a NaN in {name}");
    }
}
