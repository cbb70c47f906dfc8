//! Every operation at awkward shapes: the GPU and `Cpu<f32>` against `Cpu<f64>`, which defines it. Fresh buffers hold NaN, and
//! what an operation must not write is there unchanged afterwards.

mod common;

use bptt::config::{LossKind, OptimizerKind};
use bptt::device::{Cpu, Device, Real};
use bptt::kernels::{
    Clip, Kernels, LossShape, LstmShape, LstmTape, Matrix, Product, ProductShape, Record, Rule, Status, WindowShape,
};
use bptt::rng::{Rng, Stream};
use common::compare;
use pollster::block_on;

/// Stands where an operation must not write. Exact in `f32`.
const UNTOUCHED: f64 = -12_345.625;

/// Numbers in ±1, multiples of 2⁻¹⁶ and so exact in `f32`. Equal calls in one order give equal numbers.
struct Numbers(Rng);

impl Numbers {
    fn new(seed: u64) -> Self {
        Self(Rng::new(seed, Stream::Init))
    }
    fn take(&mut self, len: usize) -> Vec<f64> {
        (0..len).map(|_| (f64::from(self.0.bits() >> 15) - 65_536.0) / 65_536.0).collect()
    }
    fn scaled(&mut self, len: usize, scale: f64) -> Vec<f64> {
        self.take(len).iter().map(|value| f64::from((value * scale) as f32)).collect()
    }
}

fn elements<D: Device>(values: &[f64]) -> Vec<D::Element> {
    values.iter().map(|&value| D::Element::of(value)).collect()
}

fn filled<D: Device>(device: &D, values: &[f64]) -> D::Buffer {
    let mut buffer = device.buffer("values", values.len());
    device.write(&mut buffer, &elements::<D>(values));
    buffer
}

/// A buffer of NaN.
fn fresh<D: Device>(device: &D, len: usize) -> D::Buffer {
    device.buffer("fresh", len)
}

/// NaN where the operation writes, the mark everywhere else.
fn marked(len: usize, written: std::ops::Range<usize>) -> Vec<f64> {
    (0..len).map(|i| if written.contains(&i) { f64::NAN } else { UNTOUCHED }).collect()
}

fn read<D: Device>(device: &D, buffer: &D::Buffer, len: usize) -> Vec<f64> {
    block_on(device.read(buffer, 0..len)).expect("a read").into_iter().map(Real::double).collect()
}

/// The named results of some operations on one device.
type Results = Vec<(String, Vec<f64>)>;

/// `got` is `want` within `share` of each result's largest element, or of `floor` if that is larger; the marks are where
/// they were.
fn differences(case: &str, got: &Results, want: &Results, (share, floor): (f64, f64)) -> Vec<String> {
    let mut problems = Vec::new();
    if got.len() != want.len() || want.is_empty() {
        problems.push(format!("{case}: {} results, not {}", got.len(), want.len()));
    }
    for ((name, got), (_, want)) in got.iter().zip(want) {
        if got.len() != want.len() {
            problems.push(format!("{case}: {name}: {} elements, not {}", got.len(), want.len()));
            continue;
        }
        let places: Vec<usize> = (0..want.len()).filter(|&i| want[i] != UNTOUCHED).collect();
        let marks = |values: &[f64]| values.iter().filter(|&&value| value == UNTOUCHED).count();
        if marks(got) != marks(want) || places.iter().any(|&i| got[i] == UNTOUCHED) {
            problems.push(format!("{case}: {name}: {} marks are left, not {}", marks(got), marks(want)));
        }
        let pick = |values: &[f64]| places.iter().map(|&i| values[i]).collect::<Vec<_>>();
        let want = pick(want);
        let largest = want.iter().fold(floor.max(f64::MIN_POSITIVE), |most, value| most.max(value.abs()));
        if let Err(problem) = compare(name, &pick(got), &want, share * largest, 0.0) {
            problems.push(format!("{case}: {problem}"));
        }
    }
    problems
}

/// An operation at one shape, run on any device.
trait Case {
    fn name(&self) -> String;
    fn run<D: Kernels>(&self, device: &D) -> Results;
    /// The tolerance in single precision as a share of the largest element, and the least that this may be taken for.
    fn tolerance(&self) -> (f64, f64) {
        (2e-6, 0.0)
    }
}

/// Runs every case on the GPU and on `Cpu<f32>` against `Cpu<f64>`; all failures at once.
fn hold<C: Case>(cases: &[C]) {
    let (exact, cpu, gpu) = (Cpu::<f64>::poisoned(), Cpu::<f32>::poisoned(), common::gpu(false));
    let mut problems = Vec::new();
    for case in cases {
        let want = case.run(&exact);
        problems.extend(differences(&format!("Cpu<f32> {}", case.name()), &case.run(&cpu), &want, case.tolerance()));
        problems.extend(differences(&format!("Gpu {}", case.name()), &case.run(&gpu), &want, case.tolerance()));
    }
    assert!(problems.is_empty(), "{} of {} cases:\n{}", problems.len(), 2 * cases.len(), problems.join("\n"));
}

/// Stored as it is or transposed, with rows further apart than they are long.
#[derive(Clone, Copy, Debug)]
struct Layout {
    transposed: bool,
    offset: usize,
    gap: usize,
}

impl Layout {
    fn matrix(self, rows: usize, columns: usize) -> Matrix {
        match self.transposed {
            false => Matrix::rows(self.offset, columns + self.gap),
            true => Matrix::rows(self.offset, rows + self.gap).transposed(),
        }
    }
    fn len(self, rows: usize, columns: usize) -> usize {
        let (rows, columns) = if self.transposed { (columns, rows) } else { (rows, columns) };
        self.offset + rows * (columns + self.gap)
    }
}

#[derive(Debug)]
struct ProductCase {
    sizes: [usize; 3],
    a: Layout,
    b: Layout,
    c: usize,
    biases: usize,
    add: bool,
}

impl Case for ProductCase {
    fn name(&self) -> String {
        format!("{self:?}")
    }
    fn run<D: Kernels>(&self, device: &D) -> Results {
        let [m, n, k] = self.sizes;
        let mut numbers = Numbers::new((m * 31 + n * 17 + k) as u64);
        let shape = ProductShape { m, n, k, a: self.a.matrix(m, k), b: self.b.matrix(k, n), c: self.c };
        let a = filled(device, &numbers.take(self.a.len(m, k)));
        let b = filled(device, &numbers.take(self.b.len(k, n)));
        let written = self.c..self.c + m * n;
        let mut values = marked(self.c + m * n + 5, written.clone());
        let bias = filled(device, &numbers.take(3 * n + 2));
        let before = numbers.take(m * n);
        if self.add {
            values[written].copy_from_slice(&before);
            let mut c = filled(device, &values);
            let mut scratch = fresh(device, device.scratch_len(m, n, k));
            device.product_add(&shape, &a, &b, &mut c, &mut scratch);
            device.product_add(&shape, &a, &b, &mut c, &mut scratch);
            return vec![("c".into(), read(device, &c, values.len()))];
        }
        let mut c = filled(device, &values);
        device.product(&shape, &a, &b, &bias, &[2, 2 * n + 1][..self.biases], &mut c);
        vec![("c".into(), read(device, &c, values.len()))]
    }
    /// A sum of K products of numbers in ±1 may cancel: it is held to what it would be without that.
    fn tolerance(&self) -> (f64, f64) {
        (2e-6, (self.sizes[2] as f64).sqrt() / 3.0)
    }
}

#[test]
fn products() {
    let layouts = [(false, 0, 0), (true, 0, 0), (false, 3, 2), (true, 7, 5)];
    let layouts = layouts.map(|(transposed, offset, gap)| Layout { transposed, offset, gap });
    let mut cases = Vec::new();
    let spans = [1, 2, 63, 64, 65, 127, 128, 129, 255, 256, 257, 700, 1025];
    for (index, k) in spans.into_iter().enumerate() {
        for (turn, (m, n)) in [(1, 1), (7, 33), (129, 31), (33, 129)].into_iter().enumerate() {
            let (a, b) = (layouts[(index + turn) % 4], layouts[(index / 2 + 3 * turn) % 4]);
            let c = [0, 11][(index + turn) % 2];
            cases.push(ProductCase { sizes: [m, n, k], a, b, c, biases: (index + turn) % 3, add: false });
            cases.push(ProductCase { sizes: [m, n, k], a, b, c, biases: 0, add: true });
        }
    }
    for a in layouts {
        for (b, biases) in layouts.into_iter().zip([0, 1, 2, 2]) {
            cases.push(ProductCase { sizes: [5, 9, 70], a, b, c: 2, biases, add: false });
            cases.push(ProductCase { sizes: [5, 9, 300], a, b, c: 2, biases, add: true });
        }
    }
    let gpu = common::gpu(false);
    let split = cases.iter().filter(|case| {
        let [m, n, k] = case.sizes;
        case.add && gpu.scratch_len(m, n, k) > m * n
    });
    assert!(split.count() > 10, "hardly a product is cut into splits");
    hold(&cases);
}

#[derive(Debug)]
struct SumCase {
    rows: usize,
    columns: usize,
    places: Vec<usize>,
}

impl Case for SumCase {
    fn name(&self) -> String {
        format!("{self:?}")
    }
    fn run<D: Kernels>(&self, device: &D) -> Results {
        let Self { rows, columns, ref places } = *self;
        let mut numbers = Numbers::new((rows * 3 + columns) as u64);
        let values = filled(device, &numbers.take(rows * columns));
        let before = numbers.take(columns);
        let mut sums = vec![UNTOUCHED; places.last().unwrap() + columns + 3];
        places.iter().for_each(|&place| sums[place..][..columns].copy_from_slice(&before));
        let len = sums.len();
        let mut sums = filled(device, &sums);
        let mut scratch = fresh(device, device.scratch_len(1, columns, rows));
        device.column_sums(rows, columns, &values, places, &mut sums, &mut scratch);
        vec![("sums".into(), read(device, &sums, len))]
    }
    fn tolerance(&self) -> (f64, f64) {
        (2e-6, (self.rows as f64).sqrt())
    }
}

#[test]
fn column_sums() {
    let mut cases = Vec::new();
    for (index, rows) in [1, 2, 7, 127, 128, 129, 256, 700, 3001].into_iter().enumerate() {
        for columns in [1, 7, 63, 64, 65, 129] {
            let places = [vec![0], vec![2], vec![1, columns + 1], vec![0, 2 * columns + 5]][index % 4].clone();
            cases.push(SumCase { rows, columns, places });
        }
    }
    hold(&cases);
}

#[derive(Debug)]
struct WindowCase(WindowShape);

impl Case for WindowCase {
    fn name(&self) -> String {
        format!("{:?}", self.0)
    }
    fn run<D: Kernels>(&self, device: &D) -> Results {
        let shape = self.0;
        let windows = shape.first + shape.batch + 2;
        let starts: Vec<u32> = (0..windows).map(|n| ((n * 7 + 3) % 11) as u32).collect();
        let rows = 11 + shape.offset + shape.steps + shape.width;
        let series = filled(device, &Numbers::new(rows as u64).take(rows * shape.channels));
        let mut indices = device.indices("starts", windows);
        device.write_indices(&mut indices, &starts);
        let len = shape.len() + 70;
        let mut gathered = filled(device, &marked(len, 0..shape.len()));
        device.gather_windows(&shape, &series, &indices, &mut gathered);
        vec![("windows".into(), read(device, &gathered, len))]
    }
    /// Copied, so exact.
    fn tolerance(&self) -> (f64, f64) {
        (1e-300, 0.0)
    }
}

#[test]
fn windows() {
    let mut cases = Vec::new();
    for (first, offset) in [(0, 0), (5, 0), (0, 3), (4, 9)] {
        for (batch, steps, width, channels) in
            [(1, 1, 1, 1), (1, 7, 1, 1), (7, 1, 3, 2), (17, 9, 1, 3), (3, 5, 12, 1), (129, 7, 2, 3)]
        {
            cases.push(WindowCase(WindowShape { first, batch, offset, steps, width, channels }));
        }
    }
    hold(&cases);
}

#[derive(Debug)]
struct LstmCase {
    shape: LstmShape,
    from: usize,
    capacity: usize,
    d_x: bool,
}

impl LstmCase {
    fn new([t, n, d, h, l]: [usize; 5], bias: bool, from: usize) -> Self {
        let shape = LstmShape { steps: t, batch: n, input_size: d, hidden_size: h, num_layers: l, bias };
        Self { shape, from, capacity: n, d_x: true }
    }
}

impl Case for LstmCase {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn run<D: Kernels>(&self, device: &D) -> Results {
        let shape = self.shape;
        let LstmShape { steps, batch, input_size, hidden_size, .. } = shape;
        let mut numbers = Numbers::new((steps + 10 * batch + 100 * input_size + 1000 * hidden_size) as u64);
        let p = shape.tensors().last().unwrap().range().end;
        let bound = 1.5 / (hidden_size as f64).sqrt();
        let params = filled(device, &numbers.scaled(p, bound));
        let x = filled(device, &numbers.scaled(steps * batch * input_size, 2.0));
        let d_y = filled(device, &numbers.take((steps - self.from) * shape.state()));
        let mut d_params = numbers.take(p);
        d_params.extend([UNTOUCHED; 5]);
        let mut d_params = filled(device, &d_params);
        let x_len = steps * batch * input_size;
        let mut d_x = filled(device, &marked(x_len + 5, 0..if self.d_x { x_len } else { 0 }));

        let capacity = LstmShape { batch: self.capacity, ..shape };
        let mut tape = LstmTape::new(device, &capacity);
        let (gates, states) = (capacity.steps * capacity.batch * capacity.gates(), (steps + 1) * capacity.state());
        let state = shape.state();
        for layer in &mut tape.layers {
            let start = |numbers: &mut Numbers| {
                let mut values = marked(states, 0..(steps + 1) * state);
                values[..state].copy_from_slice(&numbers.take(state));
                values
            };
            device.write(&mut layer.h, &elements::<D>(&start(&mut numbers)));
            device.write(&mut layer.c, &elements::<D>(&start(&mut numbers)));
            device.write(&mut layer.gates, &elements::<D>(&marked(gates, 0..steps * batch * shape.gates())));
            let last = |numbers: &mut Numbers| {
                let mut values = vec![UNTOUCHED; capacity.state()];
                values[..state].copy_from_slice(&numbers.take(state));
                values
            };
            device.write(&mut layer.d_h, &elements::<D>(&last(&mut numbers)));
            device.write(&mut layer.d_c, &elements::<D>(&last(&mut numbers)));
        }
        let mut results = Results::new();
        device.lstm_forward(&shape, &params, &x, &mut tape);
        for (l, layer) in tape.layers.iter().enumerate() {
            results.push((format!("gates of layer {l}"), read(device, &layer.gates, gates)));
            results.push((format!("h of layer {l}"), read(device, &layer.h, states)));
            results.push((format!("c of layer {l}"), read(device, &layer.c, states)));
        }
        let d_input = self.d_x.then_some(&mut d_x);
        device.lstm_backward(&shape, &params, &x, (&d_y, self.from), &mut tape, &mut d_params, d_input);
        for (l, layer) in tape.layers.iter().enumerate() {
            results.push((format!("d_gates of layer {l}"), read(device, &layer.gates, gates)));
            results.push((format!("h after of layer {l}"), read(device, &layer.h, states)));
            results.push((format!("c after of layer {l}"), read(device, &layer.c, states)));
            results.push((format!("d_h of layer {l}"), read(device, &layer.d_h, capacity.state())));
            results.push((format!("d_c of layer {l}"), read(device, &layer.d_c, capacity.state())));
        }
        let gradient = read(device, &d_params, p + 5);
        for tensor in shape.tensors() {
            results.push((format!("d_{}", tensor.name), gradient[tensor.range()].to_vec()));
        }
        results.push(("beyond d_params".into(), gradient[p..].to_vec()));
        results.push(("d_x".into(), read(device, &d_x, x_len + 5)));
        results
    }

    fn tolerance(&self) -> (f64, f64) {
        (1e-5, 0.0)
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
            cases.push(LstmCase::new(sizes, (index + turn) % 3 != 0, from));
        }
    }
    for (batch, capacity) in [(1, 2), (3, 17), (16, 17), (17, 33)] {
        cases.push(LstmCase { capacity, ..LstmCase::new([3, batch, 2, 7, 2], true, 1) });
        cases.push(LstmCase { capacity, d_x: false, ..LstmCase::new([3, batch, 2, 7, 1], false, 2) });
    }
    hold(&cases);
}

#[derive(Debug)]
struct LossCase {
    kind: LossKind,
    len: usize,
    delta: f64,
    weight: f64,
}

impl Case for LossCase {
    fn name(&self) -> String {
        format!("{self:?}")
    }
    fn run<D: Kernels>(&self, device: &D) -> Results {
        let Self { kind, len, delta, weight } = *self;
        let mut numbers = Numbers::new(len as u64);
        let prediction = numbers.scaled(len + 3, 3.0);
        // Every third one is met exactly: |e| has no slope there.
        let target: Vec<f64> = numbers
            .take(len + 3)
            .iter()
            .zip(&prediction)
            .enumerate()
            .map(|(i, (t, p))| if i % 3 == 1 { *p } else { *t })
            .collect();
        let (prediction, target) = (filled(device, &prediction), filled(device, &target));
        let mut d_prediction = filled(device, &marked(len + 3, 0..len));
        let mut history = filled(device, &[UNTOUCHED; 8]);
        let shape = LossShape { kind, delta, len, weight };
        let mut results = Results::new();
        for (row, add) in [(2, false), (2, true), (0, false), (2, true)] {
            device.loss(&shape, Record { row, add }, &prediction, &target, &mut d_prediction, &mut history);
            results.push(("d_prediction".into(), read(device, &d_prediction, len + 3)));
            results.push(("history".into(), read(device, &history, 8)));
        }
        results
    }
}

#[test]
fn losses() {
    let mut cases = Vec::new();
    for kind in [LossKind::Mse, LossKind::L1, LossKind::Huber] {
        for len in [1, 2, 7, 129, 255, 256, 257, 3001] {
            for (delta, weight) in [(1.0, 1.0), (0.25, 0.375), (2.5, 2.0)] {
                cases.push(LossCase { kind, len, delta, weight });
            }
        }
    }
    hold(&cases);
}

struct StepCase {
    rule: Rule,
    len: usize,
    gradient: f64,
}

const ADAM: Rule = Rule {
    kind: OptimizerKind::Adam,
    betas: (0.9, 0.999),
    eps: 1e-8,
    weight_decay: 0.0,
    amsgrad: false,
    momentum: 0.0,
    clip: Clip::None,
};

impl StepCase {
    /// Six steps with new gradients each; the fourth is not finite if `bad` says where.
    fn steps<D: Kernels>(&self, device: &D, bad: Option<Bad>) -> Results {
        let Self { rule, len, gradient } = *self;
        let mut numbers = Numbers::new(len as u64);
        let (kept, rows) = (rule.moments() * len, 6);
        let mut params = numbers.take(len);
        params.extend([UNTOUCHED; 3]);
        let mut params = filled(device, &params);
        let mut moments = filled(device, &marked(kept + 3, 0..0));
        device.zero(&mut moments, 0, kept);
        let mut d_params = fresh(device, len + 3);
        let mut history = filled(device, &[UNTOUCHED; 14]);
        let mut scratch = fresh(device, device.norm_scratch_len(len));
        let mut status = fresh(device, Status::LEN);
        device.zero(&mut status, 0, Status::LEN);
        let mut results = Results::new();
        for step in 0..rows {
            let mut gradients = numbers.scaled(len, gradient / (1 + step) as f64);
            gradients.extend([UNTOUCHED; 3]);
            let mut losses = read(device, &history, 14);
            losses[2 * step] = 0.5;
            match bad.filter(|_| step == 3) {
                Some(Bad::Loss(value)) => losses[2 * step] = value,
                Some(Bad::Gradient(value)) => gradients[len / 2] = value,
                None => {}
            }
            device.write(&mut history, &elements::<D>(&losses));
            device.write(&mut d_params, &elements::<D>(&gradients));
            device.gradient_norm(len, rule.clip, step, &d_params, &mut scratch, &mut status, &mut history);
            device.optimizer_step(&rule, len, step as u64 + 1, 0.01, &d_params, &status, &mut moments, &mut params);
            results.push((format!("parameters after {step}"), read(device, &params, len + 3)));
            let moments = read(device, &moments, kept + 3);
            for (which, row) in moments[..kept].chunks(len).enumerate() {
                results.push((format!("moment {which} after {step}"), row.to_vec()));
            }
            results.push((format!("beyond the moments after {step}"), moments[kept..].to_vec()));
            results.push((format!("status after {step}"), read(device, &status, Status::LEN)));
            results.push((format!("history after {step}"), read(device, &history, 14)));
        }
        results
    }
}

#[derive(Clone, Copy, Debug)]
enum Bad {
    Loss(f64),
    Gradient(f64),
}

impl Case for StepCase {
    fn name(&self) -> String {
        format!("{:?} of {} at {}", self.rule, self.len, self.gradient)
    }
    fn run<D: Kernels>(&self, device: &D) -> Results {
        self.steps(device, None)
    }
    fn tolerance(&self) -> (f64, f64) {
        (1e-5, 0.0)
    }
}

fn rules() -> Vec<Rule> {
    let sgd = Rule { kind: OptimizerKind::Sgd, ..ADAM };
    let adamw = Rule { kind: OptimizerKind::Adamw, weight_decay: 0.1, ..ADAM };
    vec![
        ADAM,
        Rule { weight_decay: 0.05, betas: (0.8, 0.95), eps: 1e-3, ..ADAM },
        Rule { amsgrad: true, betas: (0.5, 0.6), ..ADAM },
        adamw,
        Rule { amsgrad: true, ..adamw },
        sgd,
        Rule { weight_decay: 0.2, ..sgd },
        Rule { momentum: 0.9, ..sgd },
        Rule { momentum: 0.5, weight_decay: 0.1, ..sgd },
    ]
}

#[test]
fn optimizers_and_clipping() {
    let mut cases = Vec::new();
    for (index, rule) in rules().into_iter().enumerate() {
        for (turn, clip) in [Clip::None, Clip::Norm(0.7), Clip::Norm(1e6), Clip::Value(0.3)].into_iter().enumerate() {
            let len = [1, 7, 63, 65, 129, 1025, 20_000][(index + 2 * turn) % 7];
            cases.push(StepCase { rule: Rule { clip, ..rule }, len, gradient: [1.0, 30.0][turn % 2] });
        }
    }
    for (len, clip) in [(300_001, Clip::Norm(1.0)), (40_000, Clip::None), (64, Clip::Norm(1e-3))] {
        cases.push(StepCase { rule: Rule { clip, ..ADAM }, len, gradient: 1.0 });
    }
    hold(&cases);
}

/// From the first loss or gradient that is not finite on, the mark is set and nothing changes any more.
fn stops<D: Kernels>(device: &D) {
    let kinds = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    for bad in kinds.into_iter().flat_map(|value| [Bad::Loss(value), Bad::Gradient(value)]) {
        for (rule, clip) in rules().into_iter().zip([Clip::None, Clip::Norm(1.0), Clip::Value(0.5)].into_iter().cycle())
        {
            let case = StepCase { rule: Rule { clip, ..rule }, len: 200, gradient: 1.0 };
            let results = case.steps(device, Some(bad));
            let find = |name: String| &results.iter().find(|(found, _)| *found == name).expect("a result").1;
            for what in ["parameters", "moment 0", "moment 1", "moment 2"] {
                if results.iter().any(|(name, _)| name.starts_with(what)) {
                    assert_ne!(
                        find(format!("{what} after 1")),
                        find(format!("{what} after 2")),
                        "{what} are not trained"
                    );
                    for step in 3..6 {
                        let (before, after) = (find(format!("{what} after 2")), find(format!("{what} after {step}")));
                        assert_eq!(before, after, "{}: {what} after {bad:?} changed", case.name());
                        assert!(after.iter().all(|value| value.is_finite()));
                    }
                }
            }
            for step in 0..6 {
                let stopped = find(format!("status after {step}"))[Status::STOPPED];
                assert_eq!(stopped != 0.0, step >= 3, "{}: {bad:?}, step {step}: {stopped}", case.name());
            }
        }
    }
}

#[test]
fn nothing_changes_after_a_step_that_is_not_finite() {
    stops(&Cpu::<f64>::poisoned());
    stops(&Cpu::<f32>::poisoned());
    stops(&common::gpu(false));
}

/// Bits, so that a NaN equals itself and zeros of both signs differ.
fn bits(results: &Results) -> Vec<(&str, Vec<u64>)> {
    results.iter().map(|(name, values)| (name.as_str(), values.iter().map(|value| value.to_bits()).collect())).collect()
}

/// The driver's bounds checks change no bit, and neither does running again.
#[test]
fn checks_change_no_bit() {
    let (trusted, checked) = (common::gpu(false), common::gpu(true));
    for sizes in [[5, 17, 3, 7, 2], [3, 4, 1, 33, 1], [9, 33, 2, 16, 3]] {
        let case = LstmCase::new(sizes, true, 1);
        let once = case.run(&trusted);
        assert_eq!(bits(&once), bits(&case.run(&checked)), "{}", case.name());
        assert_eq!(bits(&once), bits(&case.run(&trusted)), "{} again", case.name());
    }
    let layout = Layout { transposed: true, offset: 1, gap: 2 };
    for add in [false, true] {
        let case = ProductCase { sizes: [33, 65, 700], a: layout, b: layout, c: 3, biases: 2, add };
        assert_eq!(bits(&case.run(&trusted)), bits(&case.run(&checked)), "{}", case.name());
    }
    for kind in [LossKind::Mse, LossKind::L1, LossKind::Huber] {
        let case = LossCase { kind, len: 300, delta: 0.5, weight: 0.75 };
        assert_eq!(bits(&case.run(&trusted)), bits(&case.run(&checked)), "{}", case.name());
    }
    for rule in rules() {
        let case = StepCase { rule: Rule { clip: Clip::Norm(0.5), ..rule }, len: 1100, gradient: 1.0 };
        assert_eq!(bits(&case.run(&trusted)), bits(&case.run(&checked)), "{}", case.name());
    }
    let case = WindowCase(WindowShape { first: 1, batch: 5, offset: 2, steps: 6, width: 2, channels: 3 });
    assert_eq!(bits(&case.run(&trusted)), bits(&case.run(&checked)), "{}", case.name());
}

/// One layer of one unit over one step with `x` as its input and weight 1 into every gate, the start state 0.5.
fn one_unit<D: Kernels>(device: &D, inputs: &[f64]) -> [Vec<f64>; 4] {
    let batch = inputs.len();
    let shape = LstmShape { steps: 2, batch, input_size: 1, hidden_size: 1, num_layers: 1, bias: false };
    let params = filled(device, &[1.0, -1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    let x = filled(device, &[inputs, inputs].concat());
    let d_y = filled(device, &vec![1.0; 2 * batch]);
    let mut tape = LstmTape::new(device, &shape);
    let layer = &mut tape.layers[0];
    device.write(&mut layer.h, &elements::<D>(&vec![0.5; batch]));
    device.write(&mut layer.c, &elements::<D>(&vec![0.5; batch]));
    device.zero(&mut layer.d_h, 0, batch);
    device.zero(&mut layer.d_c, 0, batch);
    device.lstm_forward(&shape, &params, &x, &mut tape);
    let gates = read(device, &tape.layers[0].gates, 8 * batch);
    let h = read(device, &tape.layers[0].h, 3 * batch);
    let mut d_params = filled(device, &[0.0; 8]);
    device.lstm_backward(&shape, &params, &x, (&d_y, 0), &mut tape, &mut d_params, None);
    [gates, h, read(device, &tape.layers[0].gates, 8 * batch), read(device, &d_params, 8)]
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
    let exact = one_unit(&Cpu::<f64>::poisoned(), &inputs);
    let close = |backend: &str, got: [Vec<f64>; 4]| {
        for (name, (got, want)) in ["gates", "h", "d_gates"].into_iter().zip(got.iter().zip(&exact)) {
            let got = compare(name, got, want, 1e-30, 1e-5).or_else(|_| compare(name, got, want, 3e-7, 0.0));
            got.unwrap_or_else(|problem| panic!("{backend}: {problem}"));
        }
        assert!(got.iter().flatten().all(|value| value.is_finite()), "{backend}: {got:?}");
    };
    close("Cpu<f32>", one_unit(&Cpu::<f32>::poisoned(), &inputs));
    close("Gpu", one_unit(&common::gpu(false), &inputs));
    assert_eq!(exact[0][..4], [1.0, 0.0, 1.0, 1.0], "the first input saturates all gates");
}

/// A NaN in an input comes out as NaN where it belongs, and nowhere else.
fn keeps_nan<D: Kernels>(device: &D) {
    let inputs = [0.5, f64::NAN, -0.5, 0.25];
    let [gates, h, d_gates, d_params] = one_unit(device, &inputs);
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

    for kind in [LossKind::Mse, LossKind::L1, LossKind::Huber] {
        let (prediction, target) = (filled(device, &[1.0, f64::NAN, 2.0]), filled(device, &[0.5, 0.5, 0.5]));
        let (mut d_prediction, mut history) = (fresh(device, 3), fresh(device, 2));
        let shape = LossShape { kind, delta: 1.0, len: 3, weight: 1.0 };
        device.loss(&shape, Record { row: 0, add: false }, &prediction, &target, &mut d_prediction, &mut history);
        assert!(read(device, &history, 1)[0].is_nan(), "{kind:?} launders a NaN");
    }
    let shape = ProductShape { m: 2, n: 2, k: 2, a: Matrix::rows(0, 2), b: Matrix::rows(0, 2), c: 0 };
    let (a, b) = (filled(device, &[1.0, f64::NAN, 1.0, 1.0]), filled(device, &[1.0, 2.0, 0.0, 0.0]));
    let mut c = fresh(device, 4);
    device.product(&shape, &a, &b, &b, &[], &mut c);
    let c = read(device, &c, 4);
    assert!(c[0].is_nan() && c[1].is_nan() && c[2..] == [1.0, 2.0], "{c:?}");
}

#[test]
fn nan_stays_nan() {
    keeps_nan(&Cpu::<f64>::poisoned());
    keeps_nan(&Cpu::<f32>::poisoned());
    keeps_nan(&common::gpu(false));
    keeps_nan(&common::gpu(true));
}

/// The comparison itself: a wrong value, a NaN, a lost or an extra mark, a missing result.
#[test]
fn differences_are_found() {
    let results = |values: &[f64]| vec![("c".to_owned(), values.to_vec())];
    let want = results(&[1.0, 2.0, UNTOUCHED]);
    let found = |got: &Results| !differences("case", got, &want, (1e-6, 0.0)).is_empty();
    assert!(!found(&want));
    assert!(found(&results(&[1.0, 2.001, UNTOUCHED])));
    assert!(found(&results(&[1.0, f64::NAN, UNTOUCHED])));
    assert!(found(&results(&[1.0, 2.0, 0.0])));
    assert!(found(&results(&[1.0, 2.0, f64::NAN])));
    assert!(found(&results(&[1.0, UNTOUCHED, UNTOUCHED])));
    assert!(found(&results(&[UNTOUCHED, 2.0, 1.0])));
    assert!(found(&results(&[1.0, 2.0])));
    assert!(found(&Vec::new()));
    assert_ne!(bits(&results(&[0.0])), bits(&results(&[-0.0])));
    assert_eq!(bits(&results(&[f64::NAN])), bits(&results(&[f64::NAN])));
}

/// An operation that is off by one element, one bias or one step is not within the tolerance.
#[test]
fn a_changed_case_fails() {
    let exact = Cpu::<f64>::poisoned();
    let case = |from| LstmCase::new([3, 5, 2, 7, 2], true, from);
    assert!(!differences("from", &case(0).run(&exact), &case(1).run(&exact), case(0).tolerance()).is_empty());
    let layout = Layout { transposed: false, offset: 0, gap: 0 };
    let product = |biases| ProductCase { sizes: [5, 9, 70], a: layout, b: layout, c: 2, biases, add: false };
    assert!(!differences("bias", &product(1).run(&exact), &product(2).run(&exact), product(1).tolerance()).is_empty());
    let step = |rule| StepCase { rule, len: 65, gradient: 1.0 };
    let (one, other) = (step(ADAM), step(Rule { eps: 1e-5, ..ADAM }));
    assert!(!differences("eps", &one.run(&exact), &other.run(&exact), one.tolerance()).is_empty());
}
