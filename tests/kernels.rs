//! Every operation at awkward shapes: the GPU and `Cpu<f32>` against `Cpu<f64>`, which defines it. Fresh buffers hold NaN, and
//! what an operation must not write is there unchanged afterwards.

mod common;

use bptt::config::{LossKind, OptimizerKind};
use bptt::device::{Cpu, Device, Real};
use bptt::kernels::{
    Average, Clip, Drop, DropShape, Dropout, Kernels, Listed, LossShape, Lstm, LstmGradients, LstmShape, LstmState,
    LstmTape, Masks, Matrix, Noise, Onto, Packing, Pass, Product, ProductShape, Record, Rows, RowsShape, Rule, Source,
    Status, WindowShape,
};
use bptt::rng::{MaskKey, Purpose, Rng, Stream};
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
        let onto = if self.biases == 0 { Onto::Zero } else { Onto::Biases(&bias, &[2, 2 * n + 1][..self.biases]) };
        device.product(&shape, &a, &b, onto, &mut c);
        let once = read(device, &c, values.len());
        device.product(&shape, &a, &b, Onto::Kept, &mut c);
        vec![("c".into(), once), ("c, added to".into(), read(device, &c, values.len()))]
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
        let values = filled(device, &numbers.take(3 + rows * columns));
        let before = numbers.take(columns);
        let mut sums = vec![UNTOUCHED; places.last().unwrap() + columns + 3];
        places.iter().for_each(|&place| sums[place..][..columns].copy_from_slice(&before));
        let len = sums.len();
        let mut sums = filled(device, &sums);
        let mut scratch = fresh(device, device.scratch_len(1, columns, rows));
        device.column_sums(rows, columns, (&values, 3), places, &mut sums, &mut scratch);
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
        let mut series = Numbers::new(rows as u64).take(rows * shape.channels);
        if shape.one_hot {
            series = (0..rows).map(|row| (row * 5 % shape.channels) as f64).collect();
        }
        let series = filled(device, &series);
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
            for one_hot in [false, true] {
                cases.push(WindowCase(WindowShape { first, batch, offset, steps, width, channels, one_hot }));
            }
        }
    }
    hold(&cases);
}

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
        for (l, layer) in tape.layers.iter().enumerate() {
            let (y, place) = tape.output(&shape, packing, l);
            let y = read(device, y, place.offset + packing.rows() * shape.output_size());
            results.push((format!("y of layer {l}"), y[place.offset..].to_vec()));
            for (r, cell) in layer.cells.iter().enumerate() {
                let gates = read(device, &cell.gates, packing.rows() * shape.gates());
                results.push((format!("gates of layer {l}, direction {r}"), gates));
            }
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
            // A short row that layer normalisation finds nearly constant has gradients beyond single precision.
            let last = if layer_norm { [6, 17, 4, 65, 2] } else { [6, 17, 1, 5, 2] };
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

// What PyTorch 2 gives for the same LSTM written with its operations:
//
// ```python
// import torch
// torch.set_default_dtype(torch.float64)
// T, N, D, H = 3, 2, 2, 3
// wave = lambda n, first, scale: scale * torch.sin(torch.arange(first, first + n))
// def leaf(*dims, first, scale=1.0): return wave(torch.Size(dims).numel(), first, scale).reshape(dims).requires_grad_()
// p = [leaf(4*H, D, first=1), leaf(4*H, H, first=25), leaf(4*H, first=61), leaf(4*H, first=73),
//      leaf(4*H, first=85), leaf(4*H, first=97), leaf(H, first=109), leaf(H, first=112)]
// w_ih, w_hh, b_ih, b_hh, g_ih, g_hh, g_c, s_c = p
// x, h, c = leaf(T, N, D, first=200), leaf(N, H, first=300), leaf(N, H, first=400)
// start = (h, c)
// norm = torch.nn.functional.layer_norm
// ys = []
// for t in range(T):
//     z = norm(x[t] @ w_ih.T, (4*H,), g_ih) + norm(h @ w_hh.T, (4*H,), g_hh) + b_ih + b_hh
//     i, f, g, o = z.chunk(4, 1)
//     c = f.sigmoid() * c + i.sigmoid() * g.tanh()
//     h = o.sigmoid() * norm(c, (H,), g_c, s_c).tanh()
//     ys.append(h)
// y = torch.stack(ys)
// (y * wave(y.numel(), 500, 1.0).reshape(y.shape)).sum().backward()
// show = lambda name, v: print(name, [float(f"{e:.12g}") for e in v.flatten().tolist()])
// show("y", y); show("c", c)
// for name, v in zip("w_ih w_hh b_ih b_hh g_ih g_hh g_c s_c".split(), p): show(name, v.grad)
// show("x", x.grad); show("h0", start[0].grad); show("c0", start[1].grad)
// ```
const NORMED: &[(&str, &[f64])] = &[
    (
        "y",
        &[
            -0.782960288,
            -0.049626078,
            -0.2977905,
            -0.442593396,
            -0.0661229309,
            -0.288806024,
            -0.754011224,
            -0.0477114591,
            -0.233211444,
            -0.857308314,
            -0.117330047,
            0.308149794,
            -0.571978573,
            -0.0377515949,
            -0.0325366985,
            -0.497718349,
            -0.134554428,
            0.482396804,
        ],
    ),
    ("final c", &[-0.729499012, -0.987184885, -0.533448891, 0.113516015, 0.310007667, -0.368989172]),
    (
        "d_weight_ih_l0",
        &[
            0.0603531891,
            0.0959411144,
            -0.369706996,
            0.03188201,
            1.15752323,
            0.626809778,
            0.0179541291,
            0.0245490178,
            -0.190049349,
            0.103904672,
            -0.0627992078,
            -0.249754547,
            -0.0273053982,
            0.0119701482,
            0.00432199718,
            -0.0253960494,
            -0.362508554,
            -0.0617407622,
            0.00285175814,
            0.0706246216,
            -0.0631500321,
            -0.00365446494,
            -0.16748477,
            -0.625135537,
        ],
    ),
    (
        "d_weight_hh_l0",
        &[
            -0.593939545,
            -0.211856793,
            -0.140905041,
            -0.366197298,
            -0.021254762,
            -0.283696613,
            2.55152488,
            0.749947434,
            1.10672962,
            -0.107528952,
            -0.135646722,
            0.033098407,
            -0.459374552,
            -0.0561388625,
            -0.331773327,
            0.685602993,
            -0.102934385,
            0.738303091,
            -0.265695167,
            -0.102343695,
            -0.1306862,
            -0.277145029,
            -0.0874078388,
            -0.166535411,
            -0.0190920875,
            0.0481922726,
            -0.0971148008,
            0.00129385369,
            0.156933701,
            -0.356786211,
            -0.288315836,
            -0.143586186,
            0.0209224167,
            -0.861133263,
            -0.0939041649,
            -0.391555932,
        ],
    ),
    (
        "d_bias_ih_l0",
        &[
            -0.132923972,
            -0.771737894,
            0.24936877,
            0.601994402,
            0.534417531,
            -0.935915914,
            -0.152133782,
            0.185523713,
            -0.277226931,
            -0.439582635,
            -0.0128105297,
            0.597846674,
        ],
    ),
    (
        "d_bias_hh_l0",
        &[
            -0.132923972,
            -0.771737894,
            0.24936877,
            0.601994402,
            0.534417531,
            -0.935915914,
            -0.152133782,
            0.185523713,
            -0.277226931,
            -0.439582635,
            -0.0128105297,
            0.597846674,
        ],
    ),
    (
        "d_layer_norm_ih_l0",
        &[
            -0.337578729,
            0.144316864,
            2.23460694,
            -0.0321036028,
            -0.105513769,
            -0.530995608,
            0.167061459,
            -0.107668977,
            0.343388598,
            -0.480716665,
            0.00523250265,
            -0.00323825644,
        ],
    ),
    (
        "d_layer_norm_hh_l0",
        &[
            0.0976681716,
            -0.249803156,
            -0.339658197,
            0.0842202226,
            -0.351662011,
            -0.138936633,
            -0.254542317,
            -0.131777506,
            0.441909851,
            -0.740363685,
            -0.0161395568,
            -0.374794582,
        ],
    ),
    ("d_layer_norm_c_l0", &[-0.0911018023, 3.72216553, -2.45138393]),
    ("d_layer_norm_c_bias_l0", &[-0.129993853, -0.543278828, -1.29845713]),
    (
        "d_x",
        &[
            -6.2547094e-05,
            0.000829963643,
            -0.00434447844,
            0.00374532059,
            -0.189229311,
            -0.0535065167,
            0.318172411,
            -0.916569534,
            0.00177107293,
            -0.00108262068,
            -0.716665691,
            -0.682621673,
        ],
    ),
    ("d_start h", &[-0.00120824628, 0.0128862031, 0.0151331368, -0.166375828, 0.537447039, 0.747143577]),
    ("d_start c", &[-0.858134752, 0.699520758, 0.114639226, 1.53613603, 1.84449369, -2.42729639]),
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

/// More different parameters than are kept: the oldest go, and no command sees another's.
#[test]
fn parameters_without_end() {
    let gpu = common::gpu(false);
    let count = 70_000;
    let values: Vec<f64> = (0..count).map(|i| f64::from(i % 1000)).collect();
    let (from, mut to) = (filled(&gpu, &values), fresh(&gpu, values.len()));
    let before = gpu.counts().created;
    for place in 0..values.len() {
        let (from_place, to_place) = (Matrix::rows(values.len() - 1 - place, 1), Matrix::rows(place, 1));
        gpu.copy_rows(&RowsShape { rows: 1, width: 1, from: from_place, to: to_place }, Listed::No, &from, &mut to);
    }
    assert!(gpu.counts().created >= before + values.len() as u64);
    let want: Vec<f64> = values.iter().rev().copied().collect();
    assert!(read(&gpu, &to, values.len()) == want);
}

#[derive(Debug)]
struct DropCase {
    shape: DropShape,
    rate: f64,
    source: usize,
    add: bool,
}

impl Case for DropCase {
    fn name(&self) -> String {
        format!("{self:?}")
    }
    fn run<D: Kernels>(&self, device: &D) -> Results {
        let DropShape { rows, columns, .. } = self.shape;
        let len = rows * columns;
        let key = MaskKey { seed: 3 << 40, draw: 9, purpose: Purpose::Input, cell: 1 };
        let mut numbers = Numbers::new(len as u64);
        let x = filled(device, &numbers.take(len + 2));
        let mut sequences = device.indices("sequences", rows);
        device.write_indices(&mut sequences, &(0..rows as u32).map(|row| row * 5 % 3).collect::<Vec<_>>());
        let mut values = marked(len + 7, 4..4 + len);
        if self.add || self.source == 2 {
            values[4..4 + len].copy_from_slice(&numbers.take(len));
        }
        let mut out = filled(device, &values);
        let source = [Source::Ones, Source::Values(&x, 2), Source::Itself].into_iter().nth(self.source).unwrap();
        device.dropout(&Drop { rate: self.rate, key }, &self.shape, &sequences, source, (&mut out, 4), self.add);
        vec![("out".into(), read(device, &out, len + 7))]
    }
}

#[test]
fn dropout() {
    let mut cases = Vec::new();
    for (index, (rows, columns)) in [(1, 1), (3, 7), (17, 4), (40, 33), (5, 130)].into_iter().enumerate() {
        for masks in [Masks::Each, Masks::Every(4), Masks::Listed] {
            for source in 0..3 {
                let (first, rate) = ([0, 5, 1000][(index + source) % 3], [0.5, 0.1, 0.93][index % 3]);
                let shape = DropShape { rows, columns, first, masks };
                cases.push(DropCase { shape, rate, source, add: source == 1 && index % 2 == 0 });
            }
        }
    }
    hold(&cases);
}

/// Of 100,000 masks as many are zero as the rate says, within 4 standard deviations, in each place of a row alike, and rows
/// of one sequence share theirs.
#[test]
fn masks_have_their_rate() {
    let exact = Cpu::<f64>::poisoned();
    for rate in [0.1, 0.5, 0.8] {
        for purpose in [Purpose::Input, Purpose::Recurrent, Purpose::Weight] {
            let (rows, columns) = (10_000, 10);
            let mut masks = fresh(&exact, rows * columns);
            let drop = Drop { rate, key: MaskKey { seed: 11, draw: 2, purpose, cell: 0 } };
            let shape = DropShape { rows, columns, first: 0, masks: Masks::Each };
            exact.dropout(&drop, &shape, &exact.indices("none", 0), Source::Ones, (&mut masks, 0), false);
            assert!(masks.iter().all(|&mask| mask == 0.0 || (mask - 1.0 / (1.0 - rate)).abs() < 1e-12));
            for column in 0..columns {
                let dropped = masks.iter().skip(column).step_by(columns).filter(|&&mask| mask == 0.0).count() as f64;
                let (mean, deviation) = (rows as f64 * rate, (rows as f64 * rate * (1.0 - rate)).sqrt());
                assert!((dropped - mean).abs() < 4.0 * deviation, "{purpose:?} {rate}: {dropped} of {rows}");
            }
            let neighbours = masks.windows(2).filter(|pair| pair[0] == 0.0 && pair[1] == 0.0).count() as f64;
            let share = neighbours / masks.len() as f64;
            assert!((share - rate * rate).abs() < 0.01, "{purpose:?} {rate}: neighbours depend on each other: {share}");
            let shape = DropShape { masks: Masks::Every(5), ..shape };
            exact.dropout(&drop, &shape, &exact.indices("none", 0), Source::Ones, (&mut masks, 0), false);
            assert!((50..masks.len()).all(|place| masks[place] == masks[place - 50]), "a mask is not its sequence's");
        }
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

#[derive(Debug)]
struct RowsCase {
    rows: usize,
    width: usize,
    listed: usize,
}

impl Case for RowsCase {
    fn name(&self) -> String {
        format!("{self:?}")
    }
    fn run<D: Kernels>(&self, device: &D) -> Results {
        let Self { rows, width, listed } = *self;
        let (from, to) = (Matrix::rows(3, width + 2), Matrix::rows(1, width + 5));
        let mut numbers = Numbers::new(rows as u64);
        let values = filled(device, &numbers.take(3 + 2 * rows * (width + 2)));
        let mut list = device.indices("list", rows);
        let places: Vec<u32> = (0..rows as u32).map(|row| 2 * (rows as u32 - 1 - row)).collect();
        device.write_indices(&mut list, &places);
        let mut copied = filled(device, &[UNTOUCHED].repeat(1 + 2 * rows * (width + 5)));
        let listed = [Listed::No, Listed::From(&list), Listed::To(&list)].into_iter().nth(listed).unwrap();
        device.copy_rows(&RowsShape { rows, width, from, to }, listed, &values, &mut copied);
        vec![("copied".into(), read(device, &copied, 1 + 2 * rows * (width + 5)))]
    }
    /// Copied, so exact.
    fn tolerance(&self) -> (f64, f64) {
        (1e-300, 0.0)
    }
}

#[test]
fn rows() {
    let sizes = [(1, 1), (3, 7), (65, 2), (9, 40)];
    let cases = sizes.into_iter().flat_map(|(rows, width)| (0..3).map(move |listed| RowsCase { rows, width, listed }));
    hold(&cases.collect::<Vec<_>>());
}

#[derive(Debug)]
struct LossCase {
    kind: LossKind,
    /// Rows, values of a row, parts.
    sizes: [usize; 3],
    /// δ of Huber; as ε of cross entropy its tenth.
    delta: f64,
    weight: f64,
}

const LOSSES: [(LossKind, usize); 7] = [
    (LossKind::Mse, 1),
    (LossKind::L1, 1),
    (LossKind::Huber, 1),
    (LossKind::Quantile, 3),
    (LossKind::Gaussian, 2),
    (LossKind::StudentT, 3),
    (LossKind::CrossEntropy, 5),
];

impl LossCase {
    /// Every third value is met exactly by one part: |e| has no slope there. Every fourth class is to be ignored.
    fn target(&self, numbers: &mut Numbers, prediction: &[f64]) -> Vec<f64> {
        let [_, values, parts] = self.sizes;
        let met = |i: usize| (i / values * parts + i % parts) * values + i % values;
        let take = |(i, number): (usize, f64)| match self.kind {
            LossKind::CrossEntropy if i % 4 == 2 => -100.0,
            LossKind::CrossEntropy => ((number + 1.0) / 2.0 * parts as f64).floor().min(parts as f64 - 1.0),
            LossKind::Gaussian | LossKind::StudentT => number,
            _ if i % 3 == 1 => prediction.get(met(i)).copied().unwrap_or(number),
            _ => number,
        };
        numbers.take(self.sizes[0] * values + 3).into_iter().enumerate().map(take).collect()
    }
}

impl Case for LossCase {
    fn name(&self) -> String {
        format!("{self:?}")
    }
    fn run<D: Kernels>(&self, device: &D) -> Results {
        let Self { kind, sizes: [rows, values, parts], delta, weight } = *self;
        let len = rows * values * parts;
        let mut numbers = Numbers::new(len as u64);
        let prediction = numbers.scaled(len + 3, 3.0);
        let target = filled(device, &self.target(&mut numbers, &prediction));
        let prediction = filled(device, &prediction);
        let mut d_prediction = filled(device, &marked(len + 3, 0..len));
        let mut history = filled(device, &[UNTOUCHED; 8]);
        let mut scratch = fresh(device, device.loss_scratch_len(rows));
        let quantiles: Vec<f64> = (1..=parts).map(|k| k as f64 / (parts + 1) as f64).collect();
        let (smoothing, quantiles) = (delta / 10.0, &quantiles);
        let shape = LossShape {
            kind,
            rows,
            values,
            parts,
            weight,
            delta,
            quantiles,
            label_smoothing: smoothing,
            ignore_index: -100,
        };
        let mut results = Results::new();
        for (row, add) in [(2, false), (2, true), (0, false), (2, true)] {
            let record = Record { row, add };
            device.loss(&shape, record, &prediction, &target, &mut d_prediction, &mut scratch, &mut history);
            results.push(("d_prediction".into(), read(device, &d_prediction, len + 3)));
            results.push(("history".into(), read(device, &history, 8)));
        }
        results
    }
}

#[test]
fn losses() {
    let mut cases = Vec::new();
    for (kind, parts) in LOSSES {
        for rows in [1, 2, 7, 129, 255, 256, 257, 3001] {
            for (delta, weight) in [(1.0, 1.0), (0.25, 0.375), (2.5, 2.0)] {
                let values = if kind == LossKind::CrossEntropy { 1 } else { 1 + rows % 3 };
                cases.push(LossCase { kind, sizes: [rows, values, parts], delta, weight });
            }
        }
    }
    for (rows, classes) in [(1, 1), (3, 2), (70_001, 3), (9, 63), (9, 64), (5, 65), (17, 129), (40, 512), (3, 1000)] {
        let kind = LossKind::CrossEntropy;
        cases.push(LossCase { kind, sizes: [rows, 1, classes], delta: 1.0, weight: 1.0 });
        cases.push(LossCase { kind, sizes: [rows, 1, classes], delta: 0.0, weight: 0.5 });
    }
    cases.push(LossCase { kind: LossKind::Quantile, sizes: [7, 5, 9], delta: 1.0, weight: 1.0 });
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
struct AverageCase {
    len: usize,
    decay: f64,
}

impl Case for AverageCase {
    fn name(&self) -> String {
        format!("average of {} at {}", self.len, self.decay)
    }
    /// Three steps, then one that was stopped.
    fn run<D: Kernels>(&self, device: &D) -> Results {
        let Self { len, decay } = *self;
        let mut numbers = Numbers::new(len as u64);
        let mut start = numbers.take(len);
        start.extend([UNTOUCHED; 3]);
        let mut average = filled(device, &start);
        let mut results = Results::new();
        for stopped in [0.0, 0.0, 0.0, 1.0] {
            let (params, status) = (filled(device, &numbers.take(len)), filled(device, &[0.5, 1.0, stopped]));
            device.average_step(len, decay, &params, &status, &mut average);
            results.push((format!("stopped {stopped}"), read(device, &average, len + 3)));
        }
        results
    }
}

#[test]
fn averages() {
    let mut cases = Vec::new();
    for (turn, len) in [1, 7, 63, 65, 129, 20_000, 300_001].into_iter().enumerate() {
        cases.push(AverageCase { len, decay: [0.9, 0.0, 0.999][turn % 3] });
    }
    hold(&cases);
    for case in &cases {
        let results = case.run(&Cpu::<f64>::poisoned());
        assert_eq!(results[2].1, results[3].1, "a step that was stopped changes the average");
        assert_ne!(results[1].1, results[2].1);
    }
    let stopped = |results: Results| assert_eq!(bits(&results)[2].1, bits(&results)[3].1);
    stopped(cases[4].run(&Cpu::<f32>::poisoned()));
    stopped(cases[4].run(&common::gpu(false)));

    // From zero on with equal parameters, the average is 1 − decayⁿ of them.
    let device = Cpu::<f64>::poisoned();
    let (params, status, mut average) =
        (filled(&device, &[1.0, -4.0]), filled(&device, &[0.5, 1.0, 0.0]), filled(&device, &[0.0, 0.0]));
    for _ in 0..5 {
        device.average_step(2, 0.75, &params, &status, &mut average);
    }
    let want = 1.0 - 0.75f64.powi(5);
    compare("average", &read(&device, &average, 2), &[want, -4.0 * want], 1e-12, 0.0).unwrap();
}

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
        let case = LstmCase { shape: LstmShape { layer_norm: true, ..case.shape }, ..case };
        assert_eq!(bits(&case.run(&trusted)), bits(&case.run(&checked)), "{}", case.name());
    }
    let layout = Layout { transposed: true, offset: 1, gap: 2 };
    for add in [false, true] {
        let case = ProductCase { sizes: [33, 65, 700], a: layout, b: layout, c: 3, biases: 2, add };
        assert_eq!(bits(&case.run(&trusted)), bits(&case.run(&checked)), "{}", case.name());
    }
    for (kind, parts) in LOSSES {
        let case = LossCase { kind, sizes: [300, 1, parts], delta: 0.5, weight: 0.75 };
        assert_eq!(bits(&case.run(&trusted)), bits(&case.run(&checked)), "{}", case.name());
        assert_eq!(bits(&case.run(&trusted)), bits(&case.run(&trusted)), "{} again", case.name());
    }
    for rule in rules() {
        let case = StepCase { rule: Rule { clip: Clip::Norm(0.5), ..rule }, len: 1100, gradient: 1.0 };
        assert_eq!(bits(&case.run(&trusted)), bits(&case.run(&checked)), "{}", case.name());
    }
    let case = AverageCase { len: 1100, decay: 0.9 };
    assert_eq!(bits(&case.run(&trusted)), bits(&case.run(&checked)), "{}", case.name());
    let case =
        WindowCase(WindowShape { first: 1, batch: 5, offset: 2, steps: 6, width: 2, channels: 3, one_hot: false });
    assert_eq!(bits(&case.run(&trusted)), bits(&case.run(&checked)), "{}", case.name());
}

/// One layer of one unit over one step with `x` as its input and weight 1 into every gate, the start state 0.5.
fn one_unit<D: Kernels>(device: &D, inputs: &[f64], layer_norm: bool) -> [Vec<f64>; 4] {
    let batch = inputs.len();
    let shape = LstmShape { steps: 2, batch, bias: false, layer_norm, ..LstmShape::default() };
    let packing = Packing::even(2, batch);
    let pass = Pass { shape: &shape, packing: &packing, draw: None, first_step: 0 };
    let weights = [&[1.0, -1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], &[1.0; 10][..if layer_norm { 10 } else { 0 }]].concat();
    let params = filled(device, &weights);
    let x = filled(device, &[inputs, inputs].concat());
    let d_y = filled(device, &vec![1.0; 2 * batch]);
    let half = || filled(device, &vec![0.5; batch]);
    let mut tape = LstmTape::new(device, &shape);
    device.lstm_forward(&pass, &params, (&x, 0), Some(&LstmState { h: half(), c: half() }), &mut tape);
    let gates = read(device, &tape.layers[0].cells[0].gates, 8 * batch);
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

    for (kind, parts) in LOSSES {
        // In each part of one value, and in each class of one row.
        for bad in 0..parts {
            let mut prediction = vec![1.0; 3 * parts];
            prediction[parts + bad] = f64::NAN;
            let (prediction, target) = (filled(device, &prediction), filled(device, &[0.0; 3]));
            let mut d_prediction = fresh(device, 3 * parts);
            let (mut scratch, mut history) = (fresh(device, device.loss_scratch_len(3)), fresh(device, 2));
            let quantiles = &[0.1, 0.5, 0.9][..];
            let shape = LossShape { kind, rows: 3, parts, quantiles, ..LossShape::default() };
            let record = Record { row: 0, add: false };
            device.loss(&shape, record, &prediction, &target, &mut d_prediction, &mut scratch, &mut history);
            assert!(read(device, &history, 1)[0].is_nan(), "{kind:?} launders a NaN in part {bad}");
        }
    }
    let shape = ProductShape { m: 2, n: 2, k: 2, a: Matrix::rows(0, 2), b: Matrix::rows(0, 2), c: 0 };
    let (a, b) = (filled(device, &[1.0, f64::NAN, 1.0, 1.0]), filled(device, &[1.0, 2.0, 0.0, 0.0]));
    let mut c = fresh(device, 4);
    device.product(&shape, &a, &b, Onto::Zero, &mut c);
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
    let average = |decay| AverageCase { len: 65, decay };
    let (one, other) = (average(0.9), average(0.9001));
    assert!(!differences("decay", &one.run(&exact), &other.run(&exact), one.tolerance()).is_empty());
    let loss = |delta| LossCase { kind: LossKind::CrossEntropy, sizes: [9, 1, 5], delta, weight: 1.0 };
    assert!(!differences("ε", &loss(1.0).run(&exact), &loss(1.001).run(&exact), loss(1.0).tolerance()).is_empty());
    let step = |rule| StepCase { rule, len: 65, gradient: 1.0 };
    let (one, other) = (step(ADAM), step(Rule { eps: 1e-5, ..ADAM }));
    assert!(!differences("eps", &one.run(&exact), &other.run(&exact), one.tolerance()).is_empty());
}
