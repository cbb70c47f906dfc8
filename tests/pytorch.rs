//! What PyTorch computed, computed again: every file in `tests/fixtures/` and in the folder named by `BPTT_FIXTURES`, on
//! `Cpu<f64>`, `Cpu<f32>` and the GPU. `tests/fixtures/README.md` says what a file holds.

#![allow(clippy::neg_cmp_op_on_partial_ord)] // `!(a <= b)` also catches NaN

mod common;

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bptt::config::{Head, LossKind, OptimizerKind};
use bptt::device::{Cpu, Device, Real, Recurrence};
use bptt::kernels::{Clip, Kernels, LossShape, LstmShape, LstmState, Packing, Record, Rule};
use bptt::model::{Batch, InputGradients, Network, NetworkShape, Optimizer};
use common::{compare, compare_to_largest, doubles};
use pollster::block_on;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

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
const HALF: Tolerance = Tolerance { value: 1e-3, gradient: 4e-3, scalar: 4e-3, parameter: 2e-2, parameter_norm: 4e-3 };
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
    fn dims(&self, name: &str) -> &[usize] {
        &self.tensors.get(name).unwrap_or_else(|| panic!("{}: no tensor {name}", self.name)).0
    }
    /// B and T.
    fn sizes(&self) -> (usize, usize) {
        (self.dims("x")[0], self.dims("x")[1])
    }
    /// The sequences' rows, and the order in which they are packed.
    fn packing(&self) -> (Packing, Vec<usize>) {
        let (batch, steps) = self.sizes();
        match self.tensors.get("lengths") {
            Some((_, lengths)) => {
                Packing::new(&lengths.iter().map(|&length| length as usize).collect::<Vec<_>>(), steps).unwrap()
            }
            None => (Packing::even(steps, batch), (0..batch).collect()),
        }
    }
    /// Steps `part` of `[B, T, C]` as rows; `[B, C]` in the packing's order.
    fn rows(&self, name: &str, part: &Range<usize>) -> Vec<f64> {
        let (packing, order) = self.packing();
        let (dims, values) = &self.tensors[name];
        let (batch, steps) = self.sizes();
        if self.case["head"] == "last" && !name.ends_with('x') {
            let width = values.len() / batch;
            return order.iter().flat_map(|&n| values[n * width..][..width].to_vec()).collect();
        }
        assert_eq!(dims[..2], [batch, steps], "{}: {name}", self.name);
        let width = values.len() / (batch * steps);
        packing.pack(&order, values, width)[packing.row(part.start) * width..packing.row(part.end) * width].to_vec()
    }
    /// `[cells, B, width]` in the packing's order.
    fn states(&self, name: &str) -> Vec<f64> {
        let (_, order) = self.packing();
        let width = self.dims(name)[2];
        let cell = |cell: &[f64]| order.iter().flat_map(|&n| cell[n * width..][..width].to_vec()).collect::<Vec<_>>();
        self.tensor(name).chunks(order.len() * width).flat_map(cell).collect()
    }
    /// The time steps of each optimizer step.
    fn chunks(&self) -> Vec<Range<usize>> {
        let (_, steps) = self.sizes();
        match self.case["tbptt"].as_u64() {
            None => vec![0..steps; self.size("steps")],
            Some(k) => (0..steps).step_by(k as usize).map(|from| from..steps.min(from + k as usize)).collect(),
        }
    }

    fn shape(&self) -> Result<NetworkShape, String> {
        let (batch, _) = self.sizes();
        let lstm = LstmShape {
            steps: self.chunks()[0].len(),
            batch,
            input_size: self.dims("x")[2],
            hidden_size: self.size("hidden_size"),
            num_layers: self.size("num_layers"),
            bias: self.case["bias"].as_bool().unwrap(),
            bidirectional: self.case["bidirectional"].as_bool().unwrap(),
            proj_size: self.size("proj_size"),
            ragged: self.tensors.contains_key("lengths"),
            ..LstmShape::default()
        };
        let head = if self.case["head"] == "every" { Head::Every } else { Head::Last };
        let output_size = self.size("output_size");
        let parts = if self.case["loss"] == "cross_entropy" { output_size } else { 1 };
        let shape = NetworkShape { lstm, output_size, parts, head, classes: false, checkpoint_every: 0 };
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

/// The loss's scale where there is one: some cases' gradients are too large for that of a first step.
fn scale_of<D: Kernels>(device: &D) -> f32 {
    device.first_scale().min(256.0)
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
    let given = case.tensors.contains_key("h0");
    if given {
        device.write(&mut net.state.h, &elements::<D>(&case.states("h0")));
        device.write(&mut net.state.c, &elements::<D>(&case.states("c0")));
    }
    let mut history = device.buffer("history", 2 * steps);
    let mut optimizer = Optimizer::new(device, rule, p);
    optimizer.set_loss_scale(device, [0.0, scale_of(device), 0.0]);
    let mut d_x = device.buffer("d_x", lstm.rows() * lstm.input_size);
    let mut d_start = LstmState::new(device, &lstm);
    let (whole, _) = case.packing();
    let mut worst = Vec::new();
    for (step, chunk) in case.chunks().into_iter().enumerate() {
        device.write(&mut net.x, &elements::<D>(&case.rows("x", &chunk)));
        device.write(&mut net.target, &elements::<D>(&case.rows("y", &chunk)));
        let truncated = !case.case["tbptt"].is_null();
        let packing = if truncated { whole.part(chunk.start, chunk.end) } else { whole.clone() };
        let batch = Batch { stateful: given || (truncated && step > 0), ..Batch::of(packing) };
        net.forward(device, &batch);
        net.carry(device, &batch);
        let loss = LossShape { kind, rows: shape.targets(&batch.packing), parts: shape.parts, ..LossShape::default() };
        net.loss(device, &loss, Record { row: step, add: false }, &mut history);
        optimizer.scale(device, &mut net, &loss);
        net.zero_gradients(device);
        let inputs = InputGradients { d_x: &mut d_x, d_start: &mut d_start };
        net.backward(device, &batch, (step == 0).then_some(inputs));
        if step == 0 {
            worst.push(("values", values(device, &net, &batch, case, tolerance)?));
            worst.push(("gradients", gradients(device, &net, &d_x, case, tolerance)?));
        }
        if truncated {
            net.advance();
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

fn values<D: Kernels>(
    device: &D,
    net: &Network<D>,
    batch: &Batch,
    case: &Case,
    tolerance: &Tolerance,
) -> Result<f64, String> {
    let (lstm, packing) = (net.shape.lstm, &batch.packing);
    let within = |name: &str, got: &[f64], want: &[f64]| compare(name, got, want, tolerance.value, tolerance.value);
    let (y, place) = net.tape.output(&lstm, packing, lstm.num_layers - 1);
    let rows = read(device, y, place.offset..place.offset + packing.rows() * place.row);
    // As PyTorch pads it, zeros past the ends included.
    let (_, order) = case.packing();
    let out = packing.unpack(&order, &rows, lstm.output_size(), packing.steps(), 0.0);
    let mut worst = within("out", &out, case.tensor("out"))?;
    let state = |buffer, width: usize| read(device, buffer, 0..lstm.cells() * packing.batch() * width);
    worst = worst.max(within("hn", &state(&net.carried.h, lstm.width()), &case.states("hn"))?);
    worst = worst.max(within("cn", &state(&net.carried.c, lstm.hidden_size), &case.states("cn"))?);
    let prediction = read(device, &net.prediction, 0..net.shape.predictions(packing));
    let want = match net.shape.head {
        Head::Last => case.rows("pred", &(0..1)),
        Head::Every => packing.pack(&order, case.tensor("pred"), net.shape.output_size),
    };
    Ok(worst.max(within("pred", &prediction, &want)?))
}

fn gradients<D: Kernels>(
    device: &D,
    net: &Network<D>,
    d_x: &D::Buffer,
    case: &Case,
    tolerance: &Tolerance,
) -> Result<f64, String> {
    let want = case.rows("grad.x", &case.chunks()[0]);
    let scale = f64::from(scale_of(device));
    let unscaled = |buffer, len| read(device, buffer, 0..len).iter().map(|value| value / scale).collect::<Vec<_>>();
    let mut worst = compare_to_largest("grad.x", &unscaled(d_x, want.len()), &want, tolerance.gradient)?;
    let got = unscaled(&net.d_params, net.shape.parameters());
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

/// Every case passes.
fn all_cases<D: Kernels>(backend: &str, device: &D, tolerance: &Tolerance) {
    let mut failures = Vec::new();
    for case in cases() {
        match check(device, &case, tolerance) {
            Ok(worst) => println!("{backend} {:18} {worst}", case.name),
            Err(problem) => failures.push(format!("{}: {problem}", case.name)),
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

/// Also those ways to run the recurrence that this adapter would not take by itself.
#[test]
fn gpu_in_every_strategy() {
    let persistent = common::persistent(256, 2, 2, 7);
    let near = Recurrence { lanes: 4, blocks: 0, memory: usize::MAX, ..persistent };
    for recurrence in [common::STEPS, common::stacked(16, 2, 1), persistent, near] {
        all_cases(&format!("Gpu, {recurrence:?}"), &common::recurring(recurrence), &SINGLE);
    }
}

/// Where products are of 16-bit numbers: as near as those are.
#[test]
fn gpu_with_products_of_16_bits() {
    let gpus = [common::STEPS, common::stacked(16, 2, 1)]
        .into_iter()
        .flat_map(|recurrence| common::halves_recurring(false, recurrence));
    for gpu in common::halves().into_iter().chain(gpus) {
        all_cases(&format!("Gpu, {:?}", gpu.half()), &gpu, &HALF);
    }
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
