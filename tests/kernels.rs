//! Every operation at awkward shapes: the GPU and `Cpu<f32>` against `Cpu<f64>`, which defines it. Fresh buffers hold NaN, and
//! what an operation must not write is there unchanged afterwards.

#[path = "common/cases.rs"]
mod cases;
mod common;

use bptt::config::{LossKind, OptimizerKind};
use bptt::device::{Cpu, Device, Gpu, GpuOptions, Tile, Tuning};
use bptt::kernels::{
    Affine, AffineInput, AffineSize, Average, Clip, Drop, DropShape, Dropout, Kernels, Listed, LossShape, Masks,
    Matrix, Onto, Product, ProductShape, Record, Rows, RowsShape, Rule, Source, Status, WindowShape,
};
use bptt::rng::{MaskKey, Purpose};
use cases::{
    Case, Numbers, Results, UNTOUCHED, bits, differences, elements, filled, fresh, hold, hold_on, marked, read,
};
use common::compare;
use pollster::block_on;

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
    /// Of numbers that 16 bits hold.
    coarse: bool,
}

impl Case for ProductCase {
    fn name(&self) -> String {
        format!("{self:?}")
    }
    fn run<D: Kernels>(&self, device: &D) -> Results {
        let [m, n, k] = self.sizes;
        let seed = (m * 31 + n * 17 + k) as u64;
        let mut numbers = if self.coarse { Numbers::coarse(seed) } else { Numbers::new(seed) };
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

fn product_cases() -> Vec<ProductCase> {
    let layouts = [(false, 0, 0), (true, 0, 0), (false, 3, 2), (true, 7, 5)];
    let layouts = layouts.map(|(transposed, offset, gap)| Layout { transposed, offset, gap });
    let mut cases = Vec::new();
    let spans = [1, 2, 63, 64, 65, 127, 128, 129, 255, 256, 257, 700, 1025];
    for (index, k) in spans.into_iter().enumerate() {
        for (turn, (m, n)) in [(1, 1), (7, 33), (129, 131), (33, 129)].into_iter().enumerate() {
            let (a, b) = (layouts[(index + turn) % 4], layouts[(index / 2 + 3 * turn) % 4]);
            let c = [0, 11][(index + turn) % 2];
            cases.push(ProductCase {
                sizes: [m, n, k],
                a,
                b,
                c,
                biases: (index + turn) % 3,
                add: false,
                coarse: false,
            });
            cases.push(ProductCase { sizes: [m, n, k], a, b, c, biases: 0, add: true, coarse: false });
        }
    }
    for a in layouts {
        for (b, biases) in layouts.into_iter().zip([0, 1, 2, 2]) {
            cases.push(ProductCase { sizes: [5, 9, 70], a, b, c: 2, biases, add: false, coarse: false });
            cases.push(ProductCase { sizes: [5, 9, 300], a, b, c: 2, biases, add: true, coarse: false });
        }
    }
    cases
}

#[test]
fn products() {
    let cases = product_cases();
    hold(&cases);
    // Each way of computing on a seventh of them, of every layout and of most sizes.
    let cases: Vec<_> = cases.into_iter().step_by(7).collect();
    let gpus: Vec<_> = common::tunings().into_iter().map(common::tuned).collect();
    let split = |gpu: &&Gpu| {
        let cut = |case: &&ProductCase| {
            let [m, n, k] = case.sizes;
            case.add && gpu.scratch_len(m, n, k) > m * n
        };
        cases.iter().any(|case| cut(&case))
    };
    assert_eq!(gpus.iter().filter(split).count(), 3, "products are cut into splits where workgroups are wanted");
    hold_on(&cases, &gpus);
}

/// Several affine maps, side by side and with gaps between their parameters.
#[derive(Debug)]
struct WeightCase {
    rows: usize,
    outputs: usize,
    /// Widths of x and h of each map; 0 for none.
    widths: Vec<[usize; 2]>,
    biases: usize,
    gap: usize,
    /// Of numbers that 16 bits hold.
    coarse: bool,
}

impl WeightCase {
    /// The first place of each map's parameters, and the first after the last.
    fn places(&self) -> Vec<usize> {
        let len = |[x, h]: [usize; 2]| self.outputs * (x + h + self.biases) + self.gap;
        let ends = self.widths.iter().scan(3, |end, &widths| {
            *end += len(widths);
            Some(*end)
        });
        std::iter::once(3).chain(ends).collect()
    }
}

impl Case for WeightCase {
    fn name(&self) -> String {
        format!("{self:?}")
    }
    fn run<D: Kernels>(&self, device: &D) -> Results {
        let Self { rows, outputs, ref widths, biases, gap, coarse } = *self;
        let places = self.places();
        let seed = (rows * 31 + outputs) as u64;
        let mut numbers = if coarse { Numbers::coarse(seed) } else { Numbers::new(seed) };
        let len = places[widths.len()] + 2;
        let mut written = vec![UNTOUCHED; len];
        for (place, next) in places.iter().zip(&places[1..]) {
            written[*place..next - gap].copy_from_slice(&numbers.take(next - gap - place));
        }
        let mut d_params = filled(device, &written);
        let values: Vec<[D::Buffer; 3]> = widths
            .iter()
            .map(|&[x, h]| [outputs + 1, x + 2, h].map(|width| filled(device, &numbers.take(5 + rows * width.max(1)))))
            .collect();
        let map = |(index, &[x, h]): (usize, &[usize; 2])| {
            let ([d, x_values, h_values], place) = (&values[index], places[index]);
            let input = |values, row, width, weight| {
                (width > 0).then(|| AffineInput { values, rows: Matrix::rows(5, row), width, weight })
            };
            let weights = outputs * (x + h);
            Affine {
                rows,
                outputs,
                d: (d, Matrix::rows(if biases > 0 { 0 } else { 2 }, if biases > 0 { outputs } else { outputs + 1 })),
                x: input(x_values, x + 2, x, place),
                h: input(h_values, h, h, place + outputs * x),
                biases: (0..biases).map(|bias| place + weights + bias * outputs).collect(),
            }
        };
        let maps: Vec<_> = widths.iter().enumerate().map(map).collect();
        let sizes: Vec<_> =
            widths.iter().map(|&widths| AffineSize { rows, outputs, widths, bias: biases > 0 }).collect();
        let mut scratch = fresh(device, device.weight_scratch_len(&sizes, len));
        device.weight_gradients(&maps, &mut d_params, &mut scratch);
        vec![("d_params".into(), read(device, &d_params, len))]
    }
    fn tolerance(&self) -> (f64, f64) {
        (2e-6, (self.rows as f64).sqrt())
    }
}

fn weight_cases() -> Vec<WeightCase> {
    let mut cases = Vec::new();
    let widths =
        [vec![[1, 64]], vec![[7, 9], [9, 9]], vec![[3, 0], [0, 5]], vec![[70, 65]], vec![[8, 0]], vec![[0, 0]]];
    for (index, rows) in [1, 7, 129, 256, 700].into_iter().enumerate() {
        for (turn, widths) in widths.iter().enumerate() {
            let (outputs, biases) = ([1, 20, 65][(index + turn) % 3], [2, 0, 1][(index + turn) % 3]);
            let biases = if widths[0] == [0, 0] { 1 } else { biases };
            let (widths, gap) = (widths.clone(), [0, 4][index % 2]);
            cases.push(WeightCase { rows, outputs, widths, biases, gap, coarse: false });
        }
    }
    cases
}

#[test]
fn weight_gradients() {
    let cases = weight_cases();
    hold(&cases);
    let gpus: Vec<_> = common::tunings().into_iter().map(common::tuned).collect();
    hold_on(&cases.into_iter().step_by(3).collect::<Vec<_>>(), &gpus);
}

/// Where 16 bits hold the numbers, products are as exact as of 32 bits: so are the sums.
#[test]
fn products_of_16_bits_have_sums_of_32() {
    let gpus = common::halves();
    let products: Vec<_> =
        product_cases().into_iter().step_by(5).map(|case| ProductCase { coarse: true, ..case }).collect();
    hold_on(&products, &gpus);
    let weights: Vec<_> =
        weight_cases().into_iter().step_by(2).map(|case| WeightCase { coarse: true, ..case }).collect();
    hold_on(&weights, &gpus);
    // And 16 bits it is that they have.
    let layout = Layout { transposed: false, offset: 0, gap: 0 };
    let fine = ProductCase { sizes: [33, 65, 70], a: layout, b: layout, c: 0, biases: 0, add: false, coarse: false };
    let want = fine.run(&Cpu::<f64>::new());
    for gpu in gpus {
        // By this a scale of the loss that is too large is noticed.
        let (large, one) = (filled(&gpu, &[1e5]), filled(&gpu, &[1.0]));
        let mut c = fresh(&gpu, 1);
        let whole = Matrix::rows(0, 1);
        let shape = ProductShape { m: 1, n: 1, k: 1, a: whole, b: whole, c: 0 };
        gpu.product(&shape, &large, &one, Onto::Zero, &mut c);
        assert!(!read(&gpu, &c, 1)[0].is_finite(), "{:?} holds 1e5", gpu.half());
        let got = fine.run(&gpu);
        let apart = |share| differences("16 bits", &got, &want, (share, (fine.sizes[2] as f64).sqrt() / 3.0));
        assert!(apart(5e-4).is_empty(), "{:?}", apart(5e-4));
        assert!(!apart(5e-6).is_empty(), "{:?} has 32 bits", gpu.half());
    }
}

/// However many layers there are: one dispatch for each, and one that adds the parts where the sums are cut.
#[test]
fn weight_gradients_are_few_dispatches() {
    for tuning in common::tunings() {
        let gpu = common::tuned(Tuning { operations: 0, ..tuning });
        let widths = vec![[64, 64]; 5];
        let case = WeightCase { rows: 700, outputs: 256, widths, biases: 2, gap: 0, coarse: false };
        case.run(&gpu);
        assert_eq!(gpu.counts().dispatches, 5 + u64::from(tuning.workgroups > 1), "{tuning:?}");
    }
}

/// The maps of a recurrence, whose buffers lie together: the layers of a stack, each with what the one below gave, or both
/// directions with the same input.
#[derive(Clone, Copy, Debug)]
struct TogetherCase {
    rows: usize,
    width: usize,
    inputs: usize,
    maps: usize,
    stack: bool,
    biases: usize,
}

impl Case for TogetherCase {
    fn name(&self) -> String {
        format!("{self:?}")
    }
    fn run<D: Kernels>(&self, device: &D) -> Results {
        let Self { rows, width, inputs, maps, stack, biases } = *self;
        let (outputs, later) = (4 * width, 3); // rows from what enters to what is given
        let mut numbers = Numbers::new((rows * 7 + width) as u64);
        let mut several = |len: usize| {
            let mut buffers = device.buffers("of all maps", len, maps);
            buffers.iter_mut().for_each(|buffer| device.write(buffer, &elements::<D>(&numbers.take(len))));
            buffers
        };
        let (d, h) = (several(rows * outputs), several((rows + later) * width));
        let x = filled(device, &numbers.take(2 + rows * inputs));
        let (mut maps, mut place) = (Vec::new(), 1);
        for index in 0..self.maps {
            let (values, rows_of_x, x_width) = match index {
                1.. if stack => (&h[index - 1], Matrix::rows(later * width, width), width),
                _ => (&x, Matrix::rows(2, inputs), inputs),
            };
            let x = AffineInput { values, rows: rows_of_x, width: x_width, weight: place };
            let weight = place + outputs * x_width;
            let h = AffineInput { values: &h[index], rows: Matrix::rows(0, width), width, weight };
            let biases: Vec<_> = (0..biases).map(|bias| weight + outputs * (width + bias)).collect();
            place = weight + outputs * (width + biases.len());
            maps.push(Affine {
                rows,
                outputs,
                d: (&d[index], Matrix::rows(0, outputs)),
                x: Some(x),
                h: Some(h),
                biases,
            });
        }
        let size = |map: &Affine<D::Buffer>| AffineSize {
            rows,
            outputs,
            widths: [map.x.as_ref().unwrap().width, width],
            bias: biases > 0,
        };
        let sizes: Vec<_> = maps.iter().map(size).collect();
        let mut d_params = filled(device, &numbers.take(place));
        let mut scratch = fresh(device, device.weight_scratch_len(&sizes, place));
        device.weight_gradients(&maps, &mut d_params, &mut scratch);
        vec![("d_params".into(), read(device, &d_params, place))]
    }
    fn tolerance(&self) -> (f64, f64) {
        (2e-6, (self.rows as f64).sqrt())
    }
}

/// Through workgroup memory they are one dispatch; straight from storage one each.
#[test]
fn weight_gradients_of_what_lies_together() {
    let mut cases = Vec::new();
    for (index, maps) in [2, 2, 3, 5].into_iter().enumerate() {
        let sizes = [[1, 1, 1], [300, 17, 3], [129, 16, 70], [640, 5, 5]][index];
        let [rows, width, inputs] = sizes;
        for stack in [true, false] {
            cases.push(TogetherCase { rows, width, inputs, maps, stack, biases: index % 3 });
        }
    }
    for tuning in common::tunings() {
        hold_on(&cases, &[common::tuned(tuning)]);
        let gpu = common::tuned(Tuning { operations: 0, ..tuning });
        hold_on(&cases, std::slice::from_ref(&gpu));
        let before = gpu.counts().dispatches;
        for biases in [0, 2] {
            let case = TogetherCase { rows: 512, width: 16, inputs: 3, maps: 4, stack: true, biases };
            case.run(&gpu);
        }
        let each = if tuning.tile == Tile::Direct { 4 } else { 1 };
        assert_eq!(gpu.counts().dispatches - before, 2 * (each + u64::from(tuning.workgroups > 1)), "{tuning:?}");
        let [gpu, checked] = [common::tuned(tuning), common::tuned_and_checked(tuning)];
        for case in &cases {
            assert!(case.run(&gpu) == case.run(&checked), "{tuning:?} {case:?}");
        }
    }
}

/// A map without input: the sums of its columns.
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
        // Rows lie apart, and what is between them and after the last is not of them.
        let row = columns + rows % 3;
        let values = filled(device, &numbers.take(3 + (rows - 1) * row + columns));
        let before = numbers.take(columns);
        let mut sums = vec![UNTOUCHED; places.last().unwrap() + columns + 3];
        places.iter().for_each(|&place| sums[place..][..columns].copy_from_slice(&before));
        let len = sums.len();
        let mut sums = filled(device, &sums);
        let size = AffineSize { rows, outputs: columns, widths: [0; 2], bias: true };
        let mut scratch = fresh(device, device.weight_scratch_len(&[size], len));
        let (d, biases) = ((&values, Matrix::rows(3, row)), places.clone());
        let map = Affine { rows, outputs: columns, d, x: None, h: None, biases };
        device.weight_gradients(&[map], &mut sums, &mut scratch);
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

/// Each kernel's dispatches and its time, if the adapter tells it; what it cost, if the operation says it.
#[test]
fn a_profile_names_every_kernel() {
    let adapter = std::env::var("BPTT_ADAPTER").ok();
    let gpu = block_on(Gpu::open(GpuOptions { adapter, profile: true, ..GpuOptions::default() })).expect("an adapter");
    let case = SumCase { rows: 200, columns: 65, places: vec![0, 70] };
    let (from, mut to) = (filled(&gpu, &[1.0]), fresh(&gpu, 1));
    let shape = RowsShape { rows: 1, width: 1, from: Matrix::rows(0, 1), to: Matrix::rows(0, 1) };
    case.run(&gpu);
    (0..2).for_each(|_| gpu.copy_rows(&shape, Listed::No, &from, &mut to));
    let kernels = block_on(gpu.profile()).expect("a profile");
    let find = |name| kernels.iter().find(|kernel| kernel.name.starts_with(name)).expect("a kernel");
    let (sums, copy) = (find("weight_gradients"), find("copy_rows"));
    assert_eq!((sums.runs, copy.runs), (1, 2), "{kernels:?}");
    assert_eq!(sums.cost.map(|cost| cost.operations), Some(200.0 * 65.0));
    let times: Vec<_> = kernels.iter().flat_map(|kernel| kernel.seconds).collect();
    assert!(times.is_empty() || times.len() == 2 && times.iter().all(|time| (0.0..10.0).contains(time)), "{times:?}");
    assert!(block_on(gpu.profile()).expect("a profile").is_empty(), "nothing ran since");
    // More dispatches than one set of timestamps has room for.
    (0..2100).for_each(|_| gpu.copy_rows(&shape, Listed::No, &from, &mut to));
    let kernels = block_on(gpu.profile()).expect("a profile");
    assert_eq!((kernels.len(), kernels[0].runs), (1, 2100));
    let unasked = common::gpu(false);
    case.run(&unasked);
    assert!(block_on(unasked.profile()).expect("no profile").is_empty());
}

const WINDOWS: WindowShape = WindowShape {
    first: 1,
    batch: 5,
    offset: 2,
    steps: 6,
    features: 3,
    one_hot: false,
    ahead: 1,
    target_steps: 2,
    width: 2,
    channels: 3,
};

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
        let rows = 11 + shape.offset + shape.steps.max(shape.ahead + shape.target_steps) + shape.width;
        let mut numbers = Numbers::new(rows as u64);
        let inputs = if shape.one_hot {
            (0..rows).map(|row| (row * 5 % shape.features) as f64).collect()
        } else {
            numbers.take(rows * shape.features)
        };
        let targets = numbers.take(rows * shape.channels);
        let tables = [inputs, targets].map(|values| filled(device, &values));
        let mut indices = device.indices("starts", windows);
        device.write_indices(&mut indices, &starts);
        let lengths = [shape.inputs(), shape.targets()];
        let [mut x, mut target] = lengths.map(|len| filled(device, &marked(len + 70, 0..len)));
        device.gather_windows(&shape, tables.each_ref(), &indices, [&mut x, &mut target]);
        [("x", x), ("target", target)]
            .iter()
            .zip(lengths)
            .map(|((name, found), len)| ((*name).into(), read(device, found, len + 70)))
            .collect()
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
        for (batch, steps, features, width, channels) in
            [(1, 1, 1, 1, 1), (1, 7, 3, 1, 1), (7, 1, 2, 3, 2), (17, 9, 3, 1, 3), (3, 5, 1, 12, 1), (129, 7, 2, 2, 3)]
        {
            for (ahead, target_steps) in [(1, steps), (steps, 1), (1, 0)] {
                for one_hot in [false, true] {
                    cases.push(WindowCase(WindowShape {
                        first,
                        batch,
                        offset,
                        steps,
                        features,
                        one_hot,
                        ahead,
                        target_steps,
                        width,
                        channels,
                    }));
                }
            }
        }
    }
    hold(&cases);
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
    /// The loss's scale, and for how many steps it has been.
    scale: [f32; 2],
}

/// No scale.
const ONE: [f32; 2] = [1.0, 0.0];

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
        let Self { rule, len, gradient, scale: [scale, steps] } = *self;
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
        let mut status = filled(device, &common::doubles(&Status::before([0.0, scale, steps])));
        let mut results = Results::new();
        for step in 0..rows {
            let now = read(device, &status, Status::LEN)[Status::SCALE];
            let mut gradients = numbers.scaled(len, gradient / (1 + step) as f64);
            gradients.iter_mut().for_each(|gradient| *gradient *= now);
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
            cases.push(StepCase { rule: Rule { clip, ..rule }, len, gradient: [1.0, 30.0][turn % 2], scale: ONE });
        }
    }
    for (len, clip) in [(300_001, Clip::Norm(1.0)), (40_000, Clip::None), (64, Clip::Norm(1e-3))] {
        cases.push(StepCase { rule: Rule { clip, ..ADAM }, len, gradient: 1.0, scale: ONE });
    }
    hold(&cases);
}

/// A scaled loss's gradients change the parameters as without the scale, which doubles in time; where they are not finite, one
/// step is left out and the scale is halved, down to 2.
fn scales<D: Kernels>(device: &D) {
    let case = |scale| StepCase { rule: Rule { clip: Clip::Norm(0.5), ..ADAM }, len: 200, gradient: 1.0, scale };
    let last = |results: &Results, what: &str, step: usize| {
        let name = format!("{what} after {step}");
        results.iter().find(|(found, _)| *found == name).expect("a result").1.clone()
    };
    let plain = case(ONE).steps(device, None);
    for (scale, after) in
        [([256.0, 0.0], [256.0, 6.0]), ([2.0, 1996.0], [4.0, 2.0]), ([16_777_216.0, 1999.0], [16_777_216.0, 5.0])]
    {
        let scaled = case(scale).steps(device, None);
        assert_eq!(last(&scaled, "parameters", 5), last(&plain, "parameters", 5), "a power of two changes no bit");
        let status = last(&scaled, "status", 5);
        assert_eq!([status[Status::SCALE], status[Status::STEPS]], after, "after {scale:?}");
        assert_eq!(last(&scaled, "history", 5), last(&plain, "history", 5));
    }
    for bad in [f64::NAN, f64::INFINITY] {
        let held = case([256.0, 7.0]).steps(device, Some(Bad::Gradient(bad)));
        let marks: Vec<_> = (0..6).map(|step| last(&held, "status", step)[Status::HELD]).collect();
        assert_eq!(marks, [0.0, 0.0, 0.0, Status::STEP, 0.0, 0.0]);
        assert_eq!(last(&held, "parameters", 3), last(&held, "parameters", 2));
        assert_eq!(last(&held, "moment 1", 3), last(&held, "moment 1", 2));
        assert_ne!(last(&held, "parameters", 4), last(&held, "parameters", 3));
        let status = last(&held, "status", 5);
        assert_eq!([status[Status::SCALE], status[Status::STEPS]], [128.0, 2.0]);
        let history = last(&held, "history", 5);
        assert_eq!(history[7], history[5], "the norm before stands for that of a step that is left out");
        assert_eq!(history[9], last(&plain, "history", 5)[9]);
        // Nothing to halve, or the loss itself: the run is over.
        for (scale, bad) in [([2.0, 7.0], Bad::Gradient(bad)), ([256.0, 7.0], Bad::Loss(bad))] {
            let over = case(scale).steps(device, Some(bad));
            assert_eq!(last(&over, "status", 5)[Status::HELD], Status::ALL, "{bad:?}");
            assert_eq!(last(&over, "parameters", 5), last(&over, "parameters", 2));
        }
    }
}

#[test]
fn the_scale_of_a_loss_follows_what_16_bits_hold() {
    scales(&Cpu::<f64>::poisoned());
    scales(&Cpu::<f32>::poisoned());
    scales(&common::gpu(false));
}

/// From the first loss or gradient that is not finite on, the mark is set and nothing changes any more.
fn stops<D: Kernels>(device: &D) {
    let kinds = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    for bad in kinds.into_iter().flat_map(|value| [Bad::Loss(value), Bad::Gradient(value)]) {
        for (rule, clip) in rules().into_iter().zip([Clip::None, Clip::Norm(1.0), Clip::Value(0.5)].into_iter().cycle())
        {
            let case = StepCase { rule: Rule { clip, ..rule }, len: 200, gradient: 1.0, scale: ONE };
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
                let stopped = find(format!("status after {step}"))[Status::HELD];
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

/// What is done once to each element goes in several dispatches where that takes long, down to one for each workgroup.
#[test]
fn parts_of_all_elements_are_the_whole() {
    let [whole, parts] = [0, 1].map(|operations| common::tuned(Tuning { operations, ..Tuning::SOFTWARE }));
    fn alike<C: Case>(case: &C, whole: &Gpu, parts: &Gpu, workgroups: u64) {
        let dispatches = |gpu: &Gpu| {
            let before = gpu.counts().dispatches;
            let results = case.run(gpu);
            (gpu.counts().dispatches - before, results)
        };
        let [(one, whole), (many, parts)] = [whole, parts].map(dispatches);
        assert_eq!(bits(&whole), bits(&parts), "{}", case.name());
        assert_eq!(many - one, workgroups, "{}", case.name());
    }
    for rule in rules() {
        // Six steps of 18 workgroups for the parameters and two for the norm.
        let case = StepCase { rule: Rule { clip: Clip::Norm(0.5), ..rule }, len: 1100, gradient: 1.0, scale: ONE };
        alike(&case, &whole, &parts, 6 * (17 + 1));
    }
    alike(&AverageCase { len: 1100, decay: 0.9 }, &whole, &parts, 4 * 17);
    // More workgroups than a row of a grid has: two parts would be folded.
    let long = common::tuned(Tuning { operations: 64 * 5_000_000, ..Tuning::SOFTWARE });
    alike(&AverageCase { len: 9_000_000, decay: 0.9 }, &whole, &long, 4 * 2);
    let shape = DropShape { rows: 40, columns: 33, first: 5, masks: Masks::Every(4) };
    alike(&DropCase { shape, rate: 0.5, source: 1, add: true }, &whole, &parts, (40 * 9) / 64);
    alike(&RowsCase { rows: 65, width: 3, listed: 1 }, &whole, &parts, 65 * 3 / 64);
    alike(&WindowCase(WINDOWS), &whole, &parts, (5 * 6 * 3 + 2 * 5 * 2 * 3) / 64);
}

/// The driver's bounds checks change no bit, and neither does running again.
#[test]
fn checks_change_no_bit() {
    let (trusted, checked) = (common::gpu(false), common::gpu(true));
    let layout = Layout { transposed: true, offset: 1, gap: 2 };
    for add in [false, true] {
        let case = ProductCase { sizes: [33, 65, 700], a: layout, b: layout, c: 3, biases: 2, add, coarse: false };
        assert_eq!(bits(&case.run(&trusted)), bits(&case.run(&checked)), "{}", case.name());
    }
    for tuning in common::tunings() {
        let (trusted, checked) = (common::tuned(tuning), common::tuned_and_checked(tuning));
        let product =
            ProductCase { sizes: [33, 65, 700], a: layout, b: layout, c: 3, biases: 2, add: true, coarse: false };
        let weights = WeightCase { rows: 300, outputs: 65, widths: vec![[9, 33]; 2], biases: 2, gap: 1, coarse: false };
        assert_eq!(bits(&product.run(&trusted)), bits(&product.run(&checked)), "{tuning:?}");
        assert_eq!(bits(&weights.run(&trusted)), bits(&weights.run(&checked)), "{tuning:?}");
        assert_eq!(bits(&weights.run(&trusted)), bits(&weights.run(&trusted)), "{tuning:?} again");
    }
    for (kind, parts) in LOSSES {
        let case = LossCase { kind, sizes: [300, 1, parts], delta: 0.5, weight: 0.75 };
        assert_eq!(bits(&case.run(&trusted)), bits(&case.run(&checked)), "{}", case.name());
        assert_eq!(bits(&case.run(&trusted)), bits(&case.run(&trusted)), "{} again", case.name());
    }
    for rule in rules() {
        let case = StepCase { rule: Rule { clip: Clip::Norm(0.5), ..rule }, len: 1100, gradient: 1.0, scale: ONE };
        assert_eq!(bits(&case.run(&trusted)), bits(&case.run(&checked)), "{}", case.name());
    }
    let case = AverageCase { len: 1100, decay: 0.9 };
    assert_eq!(bits(&case.run(&trusted)), bits(&case.run(&checked)), "{}", case.name());
    let case = WindowCase(WINDOWS);
    assert_eq!(bits(&case.run(&trusted)), bits(&case.run(&checked)), "{}", case.name());
}

/// A NaN in an input comes out as NaN where it belongs, and nowhere else.
fn keeps_nan<D: Kernels>(device: &D) {
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
    let layout = Layout { transposed: false, offset: 0, gap: 0 };
    let product =
        |biases| ProductCase { sizes: [5, 9, 70], a: layout, b: layout, c: 2, biases, add: false, coarse: false };
    assert!(!differences("bias", &product(1).run(&exact), &product(2).run(&exact), product(1).tolerance()).is_empty());
    let average = |decay| AverageCase { len: 65, decay };
    let (one, other) = (average(0.9), average(0.9001));
    assert!(!differences("decay", &one.run(&exact), &other.run(&exact), one.tolerance()).is_empty());
    let loss = |delta| LossCase { kind: LossKind::CrossEntropy, sizes: [9, 1, 5], delta, weight: 1.0 };
    assert!(!differences("ε", &loss(1.0).run(&exact), &loss(1.001).run(&exact), loss(1.0).tolerance()).is_empty());
    let step = |rule| StepCase { rule, len: 65, gradient: 1.0, scale: ONE };
    let (one, other) = (step(ADAM), step(Rule { eps: 1e-5, ..ADAM }));
    assert!(!differences("eps", &one.run(&exact), &other.run(&exact), one.tolerance()).is_empty());
}

/// Buffers made together are each by itself, wherever they lie: what is written, zeroed, copied and read of one is of that one.
fn together<D: Kernels>(device: &D) {
    for len in [1, 63, 64, 130] {
        let mut buffers = device.buffers("several", len, 3);
        let mut want: Vec<Vec<f32>> = (0..3).map(|b| (0..len).map(|at| (100 * b + at) as f32).collect()).collect();
        for (buffer, values) in buffers.iter_mut().zip(&want) {
            device.write_f32(buffer, values);
        }
        device.zero(&mut buffers[1], len - 1, 1);
        want[1][len - 1] = 0.0;
        let mut other = device.buffer("another", 2);
        for (place, buffer) in buffers.iter().enumerate().skip(1) {
            let (from, to) = (Matrix::rows(len - 1, 1), Matrix::rows(place - 1, 1));
            device.copy_rows(&RowsShape { rows: 1, width: 1, from, to }, Listed::No, buffer, &mut other);
        }
        let read = |buffer: &D::Buffer, len| pollster::block_on(device.read_f32(buffer, 0..len)).unwrap();
        assert_eq!(read(&other, 2), [want[1][len - 1], want[2][len - 1]], "{len} elements");
        let got: Vec<_> = buffers.iter().map(|buffer| read(buffer, len)).collect();
        assert_eq!(got, want, "{len} elements");
    }
}

#[test]
fn buffers_made_together() {
    together(&Cpu::<f32>::poisoned());
    together(&common::gpu(false));
    together(&common::gpu(true));
}
