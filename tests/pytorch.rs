//! What PyTorch computed, computed again: every file in `tests/fixtures/` and in the folder named by `BPTT_FIXTURES`, on
//! `Cpu<f64>`, `Cpu<f32>` and the GPU. `tests/fixtures/README.md` says what a file holds.

#![allow(clippy::neg_cmp_op_on_partial_ord)] // `!(a <= b)` also catches NaN

mod common;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bptt::config::{Head, LossKind, OptimizerKind};
use bptt::device::{Cpu, Device, Real};
use bptt::kernels::{Clip, Kernels, LossShape, LstmShape, Record, Rule};
use bptt::model::{Network, NetworkShape, Optimizer};
use common::{compare, compare_to_largest, doubles};
use pollster::block_on;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// Cases that need an option the crate does not have yet. A listed case that passes fails the test.
const EXCUSED: &[(&str, &str)] = &[
    ("classify", "cross entropy"),
    ("language_model", "cross entropy"),
    ("truncated", "state carried from chunk to chunk"),
    ("truncated_last", "state carried from chunk to chunk"),
    ("ragged", "sequences of unequal length"),
    ("ragged_every", "sequences of unequal length"),
    ("both_ways", "bidirectional"),
    ("both_ways_ragged", "bidirectional, sequences of unequal length"),
    ("projected", "proj_size"),
    ("projected_both", "proj_size, bidirectional"),
];

/// How far a backend may be from PyTorch's double precision, which the files hold rounded to f32.
struct Tolerance {
    value: f64,
    gradient: f64,
    scalar: f64,
    parameter: f64,
    parameter_norm: f64,
}
const SINGLE: Tolerance =
    Tolerance { value: 2e-6, gradient: 1e-5, scalar: 1e-5, parameter: 5e-4, parameter_norm: 2e-5 };
const DOUBLE: Tolerance =
    Tolerance { value: 1e-7, gradient: 1e-7, scalar: 1e-7, parameter: 1e-7, parameter_norm: 1e-7 };

struct Case {
    name: String,
    case: Value,
    tensors: HashMap<String, (Vec<usize>, Vec<f64>)>,
}

impl Case {
    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("a safetensors file");
        let case = serde_json::from_str(&metadata.metadata().as_ref().expect("metadata")["case"]).expect("a case");
        let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let tensors = file.tensors().into_iter().map(|(name, tensor)| {
            let values = tensor.data().chunks_exact(4).map(|b| {
                let b = [b[0], b[1], b[2], b[3]];
                if tensor.dtype() == Dtype::I32 {
                    f64::from(i32::from_le_bytes(b))
                } else {
                    f64::from(f32::from_le_bytes(b))
                }
            });
            (name, (tensor.shape().to_vec(), values.collect()))
        });
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        Self { name, case, tensors: tensors.collect() }
    }

    fn number(&self, key: &str) -> f64 {
        self.case[key].as_f64().unwrap_or_else(|| panic!("{}: no {key}", self.name))
    }
    fn size(&self, key: &str) -> usize {
        self.number(key) as usize
    }
    fn tensor(&self, name: &str) -> &[f64] {
        &self.tensors.get(name).unwrap_or_else(|| panic!("{}: no tensor {name}", self.name)).1
    }
    /// `[B, T, C]` as `[T, B, C]`; `[B, C]` stays.
    fn time_major(&self, name: &str) -> Vec<f64> {
        let (dims, values) = &self.tensors[name];
        match dims[..] {
            [b, t, c] => (0..t * b).flat_map(|row| values[((row % b) * t + row / b) * c..][..c].to_vec()).collect(),
            _ => values.clone(),
        }
    }

    fn shape(&self) -> Result<NetworkShape, String> {
        let (dims, _) = &self.tensors["x"];
        let lstm = LstmShape {
            steps: dims[1],
            batch: dims[0],
            input_size: dims[2],
            hidden_size: self.size("hidden_size"),
            num_layers: self.size("num_layers"),
            bias: self.case["bias"].as_bool().unwrap(),
        };
        let head = if self.case["head"] == "every" { Head::Every } else { Head::Last };
        let shape = NetworkShape { lstm, output_size: self.size("output_size"), head };
        for tensor in shape.tensors() {
            let dims = self.tensors.get(&format!("param.{}", tensor.name)).map(|(dims, _)| dims);
            if dims != Some(&tensor.dims) {
                return Err(format!("{}: {:?}, the file has {dims:?}", tensor.name, tensor.dims));
            }
        }
        Ok(shape)
    }

    fn loss(&self) -> Result<LossKind, String> {
        serde_json::from_value(self.case["loss"].clone()).map_err(|error| error.to_string())
    }

    fn rule(&self) -> Rule {
        let optimizer = &self.case["optimizer"];
        let number = |key: &str| optimizer[key].as_f64().unwrap();
        let clip = &self.case["clip"];
        Rule {
            kind: serde_json::from_value::<OptimizerKind>(optimizer["kind"].clone()).unwrap(),
            betas: (optimizer["betas"][0].as_f64().unwrap(), optimizer["betas"][1].as_f64().unwrap()),
            eps: number("eps"),
            weight_decay: number("weight_decay"),
            amsgrad: optimizer["amsgrad"].as_bool().unwrap(),
            momentum: number("momentum"),
            clip: match (clip["norm"].as_f64(), clip["value"].as_f64()) {
                (Some(norm), _) => Clip::Norm(norm),
                (_, Some(value)) => Clip::Value(value),
                _ => Clip::None,
            },
        }
    }
}

fn elements<D: Device>(values: &[f64]) -> Vec<D::Element> {
    values.iter().map(|&value| D::Element::of(value)).collect()
}

fn read<D: Device>(device: &D, buffer: &D::Buffer, range: std::ops::Range<usize>) -> Vec<f64> {
    block_on(device.read(buffer, range)).expect("a read").into_iter().map(Real::double).collect()
}

/// Runs one case; the worst error of each kind as a share of its tolerance.
fn check<D: Kernels>(device: &D, case: &Case, tolerance: &Tolerance) -> Result<String, String> {
    let shape = case.shape()?;
    let (lstm, steps) = (shape.lstm, case.size("steps"));
    let (kind, rule, p) = (case.loss()?, case.rule(), shape.parameters());
    let mut net = Network::new(device, shape);
    for tensor in shape.tensors() {
        assert_eq!(case.tensor(&format!("param.{}", tensor.name)).len(), tensor.len());
    }
    let flat = |prefix: &str| -> Vec<f64> {
        shape.tensors().iter().flat_map(|tensor| case.tensor(&format!("{prefix}.{}", tensor.name)).to_vec()).collect()
    };
    device.write(&mut net.params, &elements::<D>(&flat("param")));
    device.write(&mut net.x, &elements::<D>(&case.time_major("x")));
    device.write(&mut net.target, &elements::<D>(&case.time_major("y")));
    let given = case.tensors.contains_key("h0");
    for (index, layer) in net.tape.layers.iter_mut().enumerate().filter(|_| given) {
        let rows = index * lstm.state()..(index + 1) * lstm.state();
        device.write(&mut layer.h, &elements::<D>(&case.tensor("h0")[rows.clone()]));
        device.write(&mut layer.c, &elements::<D>(&case.tensor("c0")[rows]));
    }
    let mut history = device.buffer("history", 2 * steps);
    let mut optimizer = Optimizer::new(device, rule, p);
    let mut d_x = device.buffer("d_x", lstm.steps * lstm.batch * lstm.input_size);
    let loss = LossShape { kind, delta: 1.0, len: shape.predictions(lstm.batch), weight: 1.0 };
    let mut worst = Vec::new();
    for step in 0..steps {
        if given {
            net.forward_given(device, lstm.batch)
        } else {
            net.forward(device, lstm.batch)
        }
        net.loss(device, &loss, Record { row: step, add: false }, &mut history);
        net.zero_gradients(device);
        net.backward(device, lstm.batch, (step == 0).then_some(&mut d_x));
        if step == 0 {
            worst.push(("values", values(device, &net, case, tolerance)?));
            worst.push(("gradients", gradients(device, &net, &d_x, case, tolerance)?));
        }
        let lr = case.case["optimizer"]["lr"].as_f64().unwrap();
        optimizer.step(device, &mut net, step as u64 + 1, lr, step, &mut history);
        device.submit().map_err(|error| error.to_string())?;
    }
    let history = read(device, &history, 0..2 * steps);
    let column = |column: usize| history.iter().copied().skip(column).step_by(2).collect::<Vec<_>>();
    let losses = compare("loss", &column(0), case.tensor("loss"), 0.0, tolerance.scalar)?;
    let norms = compare("grad_norm", &column(1), case.tensor("grad_norm"), 0.0, tolerance.scalar)?;
    worst.push(("losses", losses.max(norms)));
    worst.push(("parameters", parameters(&read(device, &net.params, 0..p), &shape, case, tolerance)?));
    Ok(worst.iter().map(|(what, share)| format!("{what} {share:.3}")).collect::<Vec<_>>().join("  "))
}

fn values<D: Kernels>(device: &D, net: &Network<D>, case: &Case, tolerance: &Tolerance) -> Result<f64, String> {
    let lstm = net.shape.lstm;
    let (t, state) = (lstm.steps, lstm.state());
    let top = &net.tape.layers[lstm.num_layers - 1];
    let within = |name: &str, got: &[f64], want: &[f64]| compare(name, got, want, tolerance.value, tolerance.value);
    let mut worst = within("out", &read(device, &top.h, state..(t + 1) * state), &case.time_major("out"))?;
    for (index, layer) in net.tape.layers.iter().enumerate() {
        let rows = index * state..(index + 1) * state;
        worst = worst.max(within(
            "hn",
            &read(device, &layer.h, t * state..(t + 1) * state),
            &case.tensor("hn")[rows.clone()],
        )?);
        worst = worst.max(within("cn", &read(device, &layer.c, t * state..(t + 1) * state), &case.tensor("cn")[rows])?);
    }
    let prediction = read(device, &net.prediction, 0..net.shape.predictions(lstm.batch));
    Ok(worst.max(within("pred", &prediction, &case.time_major("pred"))?))
}

fn gradients<D: Kernels>(
    device: &D,
    net: &Network<D>,
    d_x: &D::Buffer,
    case: &Case,
    tolerance: &Tolerance,
) -> Result<f64, String> {
    let want = case.time_major("grad.x");
    let mut worst = compare_to_largest("grad.x", &read(device, d_x, 0..want.len()), &want, tolerance.gradient)?;
    let got = read(device, &net.d_params, 0..net.shape.parameters());
    for tensor in net.shape.tensors() {
        let name = format!("grad.{}", tensor.name);
        worst = worst.max(compare_to_largest(&name, &got[tensor.range()], case.tensor(&name), tolerance.gradient)?);
    }
    Ok(worst)
}

fn parameters(got: &[f64], shape: &NetworkShape, case: &Case, tolerance: &Tolerance) -> Result<f64, String> {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let mut worst = 0.0f64;
    for tensor in shape.tensors() {
        let name = format!("after.{}", tensor.name);
        let (got, want) = (&got[tensor.range()], case.tensor(&name));
        worst = worst.max(compare(&name, got, want, tolerance.parameter, 0.0)?);
        let apart = norm(&mut got.iter().zip(want).map(|(got, want)| got - want));
        let share = apart / norm(&mut want.iter().copied()) / tolerance.parameter_norm;
        if !(share <= 1.0) {
            return Err(format!("{name}: {share:.2} times the tolerance of the norm"));
        }
        worst = worst.max(share);
    }
    Ok(worst)
}

fn cases() -> Vec<Case> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let folders = [Some(here), std::env::var_os("BPTT_FIXTURES").map(PathBuf::from)];
    let mut paths = Vec::new();
    for folder in folders.into_iter().flatten() {
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        paths.extend(
            entries
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|e| e == "safetensors")),
        );
    }
    paths.sort();
    assert!(paths.len() >= 20, "only {} fixtures", paths.len());
    paths.iter().map(|path| Case::read(path)).collect()
}

/// Every case passes, or is excused and does not.
fn all_cases<D: Kernels>(backend: &str, device: &D, tolerance: &Tolerance) {
    let mut failures = Vec::new();
    for case in cases() {
        let excuse = EXCUSED.iter().find(|(name, _)| *name == case.name);
        match (check(device, &case, tolerance), excuse) {
            (Ok(worst), None) => println!("{backend} {:18} {worst}", case.name),
            (Err(_), Some((_, reason))) => println!("{backend} {:18} excused: {reason}", case.name),
            (Ok(_), Some(_)) => failures.push(format!("{}: passes, so take it off the list", case.name)),
            (Err(problem), None) => failures.push(format!("{}: {problem}", case.name)),
        }
    }
    assert!(failures.is_empty(), "{backend}:\n{}", failures.join("\n"));
}

#[test]
fn cpu_in_double_precision() {
    all_cases("Cpu<f64>", &Cpu::<f64>::poisoned(), &DOUBLE);
}

#[test]
fn cpu_in_single_precision() {
    all_cases("Cpu<f32>", &Cpu::<f32>::poisoned(), &SINGLE);
}

#[test]
fn gpu() {
    all_cases("Gpu", &common::gpu(false), &SINGLE);
}

/// A wrong gate order, a lost bias gradient or a shifted window must not pass.
#[test]
fn a_changed_fixture_fails() {
    let device = Cpu::<f64>::poisoned();
    let plain = || cases().into_iter().find(|case| case.name == "plain").expect("a plain case");
    assert!(check(&device, &plain(), &DOUBLE).is_ok());
    for name in ["out", "cn", "grad.x", "grad.lstm.bias_hh_l0", "after.fc.weight", "loss", "grad_norm"] {
        let mut case = plain();
        let values = &mut case.tensors.get_mut(name).unwrap().1;
        let last = values.len() - 1;
        values[last] = values[last] * 1.001 + 1e-5;
        assert!(check(&device, &case, &DOUBLE).is_err(), "{name} is not compared");
    }
    assert_eq!(doubles(&[1.5]), [1.5]);
}
