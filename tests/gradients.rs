//! Every gradient against central differences of the loss, in `Cpu<f64>`: each parameter tensor by name, the input, and the
//! start state, for every loss and head, from random start states and over at least three time steps.

mod common;

use bptt::config::{Head, LossKind};
use bptt::device::{Cpu, Device};
use bptt::kernels::{LossShape, LstmShape, Record};
use bptt::model::{Network, NetworkShape};
use bptt::rng::{Rng, Stream};
use common::compare;
use pollster::block_on;

type F64 = Cpu<f64>;

/// Half the distance between the two points of a difference: rounding errors of the loss, 1e-16, and the third derivative's
/// share, its square, are then both near 1e-11.
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
    loss: LossShape,
    target: Vec<f64>,
    capacity: usize,
}

impl Problem {
    fn new(lstm: LstmShape, head: Head, kind: LossKind, weight: f64, numbers: &mut Rng) -> Self {
        let shape = NetworkShape { lstm, output_size: 2, head };
        let len = shape.predictions(lstm.batch);
        let loss = LossShape { kind, delta: 0.6, len, weight };
        let target = random(numbers, len, 1.5);
        Self { device: F64::poisoned(), shape, loss, target, capacity: lstm.batch + 1 }
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
        groups.push(("x".into(), random(numbers, lstm.steps * lstm.batch * lstm.input_size, 1.5)));
        for layer in 0..lstm.num_layers {
            groups.push((format!("h0 of layer {layer}"), random(numbers, lstm.state(), 0.9)));
            groups.push((format!("c0 of layer {layer}"), random(numbers, lstm.state(), 1.2)));
        }
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
        for (index, layer) in net.tape.layers.iter_mut().enumerate() {
            device.write(&mut layer.h, point.get(&format!("h0 of layer {index}")));
            device.write(&mut layer.c, point.get(&format!("c0 of layer {index}")));
        }
        let mut history = device.buffer("history", 2);
        net.forward_given(device, lstm.batch);
        net.loss(device, &self.loss, Record { row: 0, add: false }, &mut history);
        let loss = self.read(&history, 1)[0];
        (net, loss)
    }

    /// The gradient of the loss at `point` by the backward pass.
    fn gradient(&self, point: &Groups) -> Groups {
        let (device, lstm) = (&self.device, self.shape.lstm);
        let (mut net, _) = self.forward(point);
        let len = lstm.steps * lstm.batch * lstm.input_size;
        let mut d_x = device.buffer("d_x", len);
        net.zero_gradients(device);
        net.backward(device, lstm.batch, Some(&mut d_x));
        let d_params = self.read(&net.d_params, self.shape.parameters());
        let mut groups: Vec<_> = self
            .shape
            .tensors()
            .into_iter()
            .map(|tensor| (tensor.name.clone(), d_params[tensor.range()].to_vec()))
            .collect();
        groups.push(("x".into(), self.read(&d_x, len)));
        for (index, layer) in net.tape.layers.iter().enumerate() {
            groups.push((format!("h0 of layer {index}"), self.read(&layer.d_h, lstm.state())));
            groups.push((format!("c0 of layer {index}"), self.read(&layer.d_c, lstm.state())));
        }
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
                let (above, below) = (at + HALF, at - HALF);
                *difference = (loss(above) - loss(below)) / (above - below);
                moved.0[group].1[place] = at;
            }
        }
        differences
    }

    fn read(&self, buffer: &Vec<f64>, len: usize) -> Vec<f64> {
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

const SHAPES: [LstmShape; 3] = [
    LstmShape { steps: 4, batch: 3, input_size: 2, hidden_size: 3, num_layers: 2, bias: true },
    LstmShape { steps: 3, batch: 2, input_size: 3, hidden_size: 5, num_layers: 2, bias: false },
    LstmShape { steps: 7, batch: 1, input_size: 1, hidden_size: 2, num_layers: 3, bias: true },
];

#[test]
fn every_gradient_is_the_slope_of_the_loss() {
    let mut wrong = Vec::new();
    for (seed, lstm) in SHAPES.into_iter().enumerate() {
        for head in [Head::Last, Head::Every] {
            for (kind, weight) in [(LossKind::Mse, 1.0), (LossKind::L1, 0.5), (LossKind::Huber, 1.0)] {
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
        net.forward_given(&problem.device, problem.shape.lstm.batch);
        net.loss(&problem.device, &problem.loss, Record { row: 0, add: false }, &mut history);
        net.backward(&problem.device, problem.shape.lstm.batch, None);
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
