//! Losses at given numbers: what PyTorch computes, outputs far outside of any range, and class ids that are ignored or wrong;
//! on each device.

mod common;

use bptt::config::LossKind;
use bptt::device::{Cpu, Real};
use bptt::kernels::{Kernels, LossShape, Record};
use common::{compare, compare_to_largest};
use pollster::block_on;

/// Loss and gradient of one batch on fresh buffers of NaN.
fn loss<D: Kernels>(device: &D, shape: &LossShape, prediction: &[f64], target: &[f64]) -> (f64, Vec<f64>) {
    let filled = |values: &[f64]| {
        let mut buffer = device.buffer("values", values.len());
        device.write(&mut buffer, &values.iter().map(|&value| D::Element::of(value)).collect::<Vec<_>>());
        buffer
    };
    assert_eq!((prediction.len(), target.len()), (shape.predictions(), shape.targets()));
    let (prediction, target) = (filled(prediction), filled(target));
    let (mut gradient, mut history) = (device.buffer("gradient", shape.predictions()), device.buffer("history", 2));
    let mut scratch = device.buffer("scratch", device.loss_scratch_len(shape.rows));
    let record = Record { row: 0, add: false };
    device.loss(shape, record, &prediction, &target, &mut gradient, &mut scratch, &mut history);
    let read = |buffer, len| -> Vec<f64> {
        block_on(device.read(buffer, 0..len)).expect("a read").into_iter().map(Real::double).collect()
    };
    (read(&history, 1)[0], read(&gradient, shape.predictions()))
}

/// A test on each device, with its name and the digits that it has.
fn everywhere(test: impl Fn(&str, f64, &dyn Fn(&LossShape, &[f64], &[f64]) -> (f64, Vec<f64>))) {
    let (exact, cpu, gpu) = (Cpu::<f64>::poisoned(), Cpu::<f32>::poisoned(), common::gpu(false));
    test("Cpu<f64>", 1e-12, &|shape, prediction, target| loss(&exact, shape, prediction, target));
    test("Cpu<f32>", 1e-6, &|shape, prediction, target| loss(&cpu, shape, prediction, target));
    test("Gpu", 2e-6, &|shape, prediction, target| loss(&gpu, shape, prediction, target));
}

const TARGET: [f64; 4] = [0.5, -1.0, 2.0, 0.25];
const MEAN: [[f64; 2]; 2] = [[0.25, 1.0], [-0.5, 0.25]];
const RAW_SCALE: [[f64; 2]; 2] = [[0.5, -2.0], [1.5, -0.25]];
const RAW_FREEDOM: [[f64; 2]; 2] = [[-1.0, 0.5], [2.0, 4.0]];
const LOGITS: [f64; 12] = [1.0, -2.0, 0.5, 3.0, 0.25, 0.0, -1.5, 2.0, -4.0, 1.0, 1.0, 0.75];

/// Rows of two values, of which each part is `[rows, 2]` as PyTorch has it.
fn rows(parts: &[[[f64; 2]; 2]]) -> Vec<f64> {
    (0..2).flat_map(|row| parts.iter().flat_map(move |part| part[row])).collect()
}

#[track_caller]
fn agree(device: &str, share: f64, got: (f64, Vec<f64>), want: (f64, &[f64])) {
    compare_to_largest(&format!("{device}: loss"), &[got.0], &[want.0], share).unwrap();
    compare_to_largest(&format!("{device}: gradient"), &got.1, want.1, share).unwrap();
}

/// PyTorch 2.15 in float64, with the targets and outputs above and `gradient = x.grad` after `loss.backward()`:
///
/// ```python
/// F.cross_entropy(logits, torch.tensor([3, -100, 1]), label_smoothing=0 or 0.25)
/// F.cross_entropy(logits, torch.tensor([3, 0, 1]), ignore_index=1, label_smoothing=0.1)
/// ```
#[test]
fn cross_entropy_is_pytorchs() {
    let shape = LossShape { kind: LossKind::CrossEntropy, rows: 3, parts: 4, ..LossShape::default() };
    let plain = (
        0.6133473711166009,
        [
            0.055276875180869614,
            0.0027520735637918355,
            0.03352711957030574,
            -0.09155606831496715,
            0.0,
            0.0,
            0.0,
            0.0,
            0.0012094513219916632,
            -0.3205015085224297,
            0.1794984914775703,
            0.13979356572286766,
        ],
    );
    let smoothed = (
        1.0742848711166009,
        [
            0.024026875180869614,
            -0.028497926436208163,
            0.002277119570305741,
            0.002193931685032846,
            0.0,
            0.0,
            0.0,
            0.0,
            -0.030040548678008337,
            -0.2267515085224297,
            0.1482484914775703,
            0.10854356572286766,
        ],
    );
    let other_ignored = (
        1.2440777362869004,
        [
            0.04277687518086962,
            -0.009747926436208166,
            0.02102711957030574,
            -0.054056068314967176,
            -0.397625406632521,
            0.03802438411603164,
            -0.0012264860807890774,
            0.3608275085972784,
            0.0,
            0.0,
            0.0,
            0.0,
        ],
    );
    everywhere(|device, share, loss| {
        let ids = [3.0, -100.0, 1.0];
        agree(device, share, loss(&shape, &LOGITS, &ids), (plain.0, &plain.1));
        let smooth = LossShape { label_smoothing: 0.25, ..shape };
        agree(device, share, loss(&smooth, &LOGITS, &ids), (smoothed.0, &smoothed.1));
        let other = LossShape { label_smoothing: 0.1, ignore_index: 1, ..shape };
        agree(device, share, loss(&other, &LOGITS, &[3.0, 0.0, 1.0]), (other_ignored.0, &other_ignored.1));
    });
}

/// Likewise, with `sigma = F.softplus(r) + 1e-4`:
///
/// ```python
/// F.gaussian_nll_loss(mu, y, sigma**2, full=True, eps=1e-12)
/// -torch.distributions.StudentT(2 + F.softplus(s), mu, sigma).log_prob(y).mean()
/// ```
#[test]
fn likelihoods_are_pytorchs() {
    let two = LossShape { rows: 2, values: 2, ..LossShape::default() };
    let gaussian = LossShape { kind: LossKind::Gaussian, parts: 2, ..two };
    let d_gaussian = rows(&[
        [[-0.06585735552907722, 30.98639181317701], [-0.21587847044040795, 0.0]],
        [[0.14921975553905115, -57.9205806907527], [-0.1391985607728497, 0.1900145562981991]],
    ]);
    let student = LossShape { kind: LossKind::StudentT, parts: 3, ..two };
    let d_student = rows(&[
        [[-0.09171573551707297, 0.4908703992727209], [-0.17608080852344885, 0.0]],
        [[0.14508914319276434, -0.686664623284597], [-0.09139177457770345, 0.1900145562981991]],
        [[-0.00330435561073722, 0.23814796359487356], [-0.003797943916789251, -0.0016723866413077158]],
    ]);
    everywhere(|device, share, loss| {
        let got = loss(&gaussian, &rows(&[MEAN, RAW_SCALE]), &TARGET);
        agree(device, share, got, (31.65601782752083, &d_gaussian));
        let got = loss(&student, &rows(&[MEAN, RAW_SCALE, RAW_FREEDOM]), &TARGET);
        agree(device, share, got, (2.9482453038566256, &d_student));
    });
}

/// Likewise; two medians are exact, where PyTorch takes the mean of both slopes, which is our 0:
///
/// ```python
/// q = torch.tensor([0.1, 0.5, 0.9]).view(1, 3, 1); e = y.unsqueeze(1) - p
/// torch.maximum(q * e, (q - 1) * e).mean()
/// ```
#[test]
fn quantiles_are_pytorchs() {
    let p = [0.25, 1.0, 0.5, -1.5, 0.75, 2.0, -0.5, 0.0, 1.0, 0.25, 2.5, 0.0];
    let slopes = [-0.1, 0.9, 0.0, -0.5, 0.1, 0.1, -0.1, -0.1, -0.5, 0.0, 0.1, -0.9].map(|slope| slope / 12.0);
    let quantiles = &[0.1, 0.5, 0.9];
    let shape = LossShape { kind: LossKind::Quantile, rows: 2, values: 2, parts: 3, quantiles, ..LossShape::default() };
    everywhere(|device, share, loss| {
        agree(device, share, loss(&shape, &p, &TARGET), (0.2875, &slopes));
        let (_, gradient) = loss(&shape, &p, &TARGET);
        assert_eq!((gradient[2], gradient[9]), (0.0, 0.0), "{device}: an exact forecast has no slope");
    });
}

/// Where no row counts the mean is of nothing: 0, and no gradient, whatever the logits are.
#[test]
fn a_batch_of_ignored_rows_is_no_loss() {
    let shape = LossShape { kind: LossKind::CrossEntropy, rows: 3, parts: 4, ..LossShape::default() };
    let mut logits = LOGITS;
    logits[5] = f64::NAN;
    everywhere(|device, _, loss| {
        let (value, gradient) = loss(&shape, &logits, &[-100.0; 3]);
        assert!(value == 0.0 && gradient.iter().all(|&slope| slope == 0.0), "{device}: {value} {gradient:?}");
    });
}

/// A class that there is none of reads nothing and stops the run: the loss is NaN, and so is its row's gradient alone.
#[test]
fn a_class_that_there_is_none_of_is_noticed() {
    let shape = LossShape { kind: LossKind::CrossEntropy, rows: 3, parts: 4, ..LossShape::default() };
    everywhere(|device, _, loss| {
        for id in [4.0, 5.0, 1e9, 3e38, -1.0, -99.0, 0.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let (value, gradient) = loss(&shape, &LOGITS, &[3.0, id, 1.0]);
            assert!(value.is_nan(), "{device}: the loss of class {id} is {value}");
            for (place, slope) in gradient.iter().enumerate() {
                assert_eq!(slope.is_nan(), place / 4 == 1, "{device}: class {id}: {slope} at {place}");
            }
        }
    });
}

/// Outputs of any size have a finite loss and gradient, the same on every device.
#[test]
fn extreme_outputs_are_harmless() {
    let exact = Cpu::<f64>::poisoned();
    let scales = [-3e38, -1e4, -100.0, -30.0, -15.0, -5.0, 0.0, 5.0, 15.0, 30.0, 100.0, 1e4, 1e15];
    let one = LossShape { rows: 1, ..LossShape::default() };
    everywhere(|device, _, loss| {
        let same = |shape: &LossShape, prediction: &[f64], target: &[f64]| {
            let (want, d_want) = self::loss(&exact, shape, prediction, target);
            let (got, d_got) = loss(shape, prediction, target);
            let name = format!("{device} {:?} of {prediction:?}", shape.kind);
            compare(&name, &[got], &[want], 2e-6, 5e-6).unwrap();
            compare(&name, &d_got, &d_want, 2e-6, 1e-5).unwrap();
        };
        for raw in scales {
            same(&LossShape { kind: LossKind::Gaussian, parts: 2, ..one }, &[0.5, raw], &[1.25]);
            for freedom in scales {
                same(&LossShape { kind: LossKind::StudentT, parts: 3, ..one }, &[0.5, raw, freedom], &[1.25]);
            }
        }
        for label_smoothing in [0.0, 0.1] {
            let shape = LossShape { kind: LossKind::CrossEntropy, parts: 4, label_smoothing, ..one };
            same(&shape, &[1e4, -1e4, 0.0, 3.0], &[0.0]);
            same(&shape, &[1e4, -1e4, 0.0, 3.0], &[1.0]);
            same(&shape, &[-1e4; 4], &[2.0]);
            same(&shape, &[1e30, -1e30, 1e30, 0.0], &[2.0]);
        }
        let shape = LossShape { kind: LossKind::CrossEntropy, parts: 3, ..one };
        let (value, gradient) = loss(&shape, &[0.0, f64::NEG_INFINITY, 0.0], &[0.0]);
        agree(device, 1e-6, (value, gradient), (2f64.ln(), &[-0.5, 0.0, 0.5]));
    });
}
