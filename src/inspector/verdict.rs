//! The numbers in words: does the gradient vanish, explode, or reach across the window, and what may help.

use serde::Serialize;

use super::{Cell, Clipping, Inspection};
use crate::config::Config;

/// Less than this share of the near end's norm at the far end teaches nothing.
const VANISHED: f64 = 1e-3;
/// More than this many times the near end's norm on the way back.
const EXPLODED: f64 = 10.0;
/// A larger share of clipped steps, or of gates at their ends, is no exception any more.
const MOST: f64 = 0.5;

/// What becomes of the gradient on its way back through the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finding {
    /// Less than a thousandth of it arrives at the window's first step, in every layer.
    Vanishes,
    /// More than that, but it falls below 1 % of its largest within the window, in every layer.
    Fades,
    /// It grows more than tenfold in some layer, or is not finite.
    Explodes,
    /// None of these.
    Reaches,
    /// There is none.
    Nothing,
}

/// A finding, the numbers it rests on, and what may help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What becomes of the gradient.
    pub finding: Finding,
    /// The same in a sentence with its numbers.
    pub because: String,
    /// Options that may help, each with the number that speaks for it; the likeliest first.
    pub advice: Vec<String>,
}

/// Judges the gradient of the loss at the last step in the directions that read from first step to last; the other direction
/// begins where that loss is.
///
/// All layers are compared with the largest gradient of any at the last step, which is the top layer's as a rule: what a lower
/// one has there came down through the layers above at this step alone, and grows on the way back as more ways lead to it.
pub fn judge(inspection: &Inspection, config: &Config, clipping: Option<Clipping>) -> Verdict {
    let forward = || inspection.cells.iter().filter(|cell| !cell.reverse && cell.last_step.peak().1 != 0.0);
    let near = forward().map(|cell| cell.last_step.near()).fold(0.0, f64::max);
    let farthest = forward().max_by(|a, b| a.last_step.far().total_cmp(&b.last_step.far()));
    let steepest = forward().max_by(|a, b| growth(a, near).total_cmp(&growth(b, near)));
    let (Some(farthest), Some(steepest)) = (farthest, steepest) else { return nothing() };
    let mut verdict = if is_large(steepest.last_step.peak().1, near) {
        exploding(steepest, near, config, clipping)
    } else {
        arriving(farthest, near, inspection.window, config)
    };
    if verdict.finding != Finding::Explodes {
        verdict.advice.extend(often(clipping).map(|clipping| {
            format!("a higher --max-norm than {}, or a lower --lr: {}", config.max_norm, clipped(clipping))
        }));
    }
    verdict.advice.extend(saturated(inspection, config));
    verdict
}

/// How many times `near` a layer's largest norm is; what is no number has no sign and is the largest of all.
fn growth(cell: &Cell, near: f64) -> f64 {
    (cell.last_step.peak().1 / near).abs()
}

fn is_large(norm: f64, near: f64) -> bool {
    !norm.is_finite() || norm > EXPLODED * near
}

/// Clipping that is no exception.
fn often(clipping: Option<Clipping>) -> Option<Clipping> {
    clipping.filter(|clipping| clipping.share() > MOST)
}

fn nothing() -> Verdict {
    let because = "there is no gradient: the loss does not depend on the hidden states, or no target counts".into();
    Verdict { finding: Finding::Nothing, because, advice: Vec::new() }
}

fn exploding(cell: &Cell, near: f64, config: &Config, clipping: Option<Clipping>) -> Verdict {
    let (curve, lr) = (&cell.last_step, config.lr);
    let (at, layer) = (curve.peak().0, cell.layer);
    let grown = growth(cell, near);
    let times = if grown.is_finite() { format!("{} times", brief(grown)) } else { "no finite multiple of".into() };
    let because = format!(
        "the gradient EXPLODES on its way back: {at} rows back layer {layer} has {times} the gradient at the last row"
    );
    let mut advice = Vec::new();
    if config.max_norm == 0.0 && config.clip_value.is_none() {
        advice.push(format!("--max-norm 1: no step is clipped, and the gradient grows {}-fold", brief(grown)));
    }
    let why = often(clipping).map_or(format!("the gradient grows {}-fold", brief(grown)), clipped);
    advice.push(format!("a lower --lr than {lr}: {why}"));
    let far = curve.0.iter().position(|norm| is_large(*norm, near)).unwrap_or(at).max(1);
    let option = reach_option(config);
    advice.push(format!("a shorter reach, {option} {far}: from {far} rows back on it has grown more than tenfold"));
    Verdict { finding: Finding::Explodes, because, advice }
}

/// Of a gradient that does not explode.
fn arriving(cell: &Cell, near: f64, window: usize, config: &Config) -> Verdict {
    let (curve, layer) = (&cell.last_step, cell.layer);
    let (share, reach) = (curve.far() / near, curve.reach());
    let finding = match reach {
        _ if share < VANISHED => Finding::Vanishes,
        Some(_) => Finding::Fades,
        None => Finding::Reaches,
    };
    let word = match finding {
        Finding::Vanishes => "VANISHES on its way back",
        Finding::Fades => "fades on its way back",
        _ => "reaches across the window",
    };
    let most = format!("layer {layer}, which gets the most, has {} times the gradient at the last row", brief(share));
    let end =
        reach.map_or(String::new(), |reach| format!("; from {reach} rows back on it is below 1 % of its largest"));
    let because = format!("the gradient {word}: {} rows back {most}{end}", window - 1);
    let advice = if finding == Finding::Reaches {
        let arrives = format!("{} times the last row's gradient still arrives at the first", brief(share));
        let (option, now) = (reach_option(config), config.bptt.unwrap_or(window));
        vec![format!("a longer {option} than {now}, if the data remembers more than that: {arrives}")]
    } else {
        remember(cell, window, reach, config)
    };
    Verdict { finding, because, advice }
}

/// The option that says how far back-propagation goes.
fn reach_option(config: &Config) -> &'static str {
    if config.bptt.is_some() { "--bptt" } else { "--window" }
}

/// What makes the gradient last, or spares the rows that it does not reach.
fn remember(cell: &Cell, window: usize, reach: Option<usize>, config: &Config) -> Vec<String> {
    let (mean, memory) = (brief(cell.gates.forget_mean), brief(cell.gates.memory));
    let mut advice = Vec::new();
    let forgets = format!("the forget gates of layer {} are {mean} on average, a memory of {memory} rows", cell.layer);
    if !config.bias {
        advice.push(format!("--bias true with --forget-bias 1: {forgets}"));
    } else if config.chrono.is_none() {
        if config.forget_bias.is_none_or(|bias| bias < 1.0) {
            advice.push(format!("--forget-bias 1: {forgets}"));
        }
        let most = window.max(3);
        advice.push(format!("--chrono {most}, which starts with memories of up to {most} rows: now it is {memory}"));
    }
    advice.extend(reach.map(|reach| {
        let kept = reach.max(1);
        let option = reach_option(config);
        format!("a shorter reach, {option} {kept}: what lies farther back gives less than 1 % of the gradient")
    }));
    advice
}

/// The gate that is most often at its ends, where its derivative is small. An open forget gate is no fault.
fn saturated(inspection: &Inspection, config: &Config) -> Option<String> {
    let gates = inspection.cells.iter().flat_map(|cell| {
        let Cell { gates, layer, .. } = cell;
        let both = |ends: super::Ends| ends.shut + ends.open;
        let kinds = [
            (both(gates.input), "input gates i are below 0.1 or above 0.9"),
            (both(gates.output), "output gates o are below 0.1 or above 0.9"),
            (gates.candidate, "candidates g are beyond ± 0.9"),
        ];
        kinds.map(|(share, what)| (share, *layer, what))
    });
    let (share, layer, what) = gates.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|worst| worst.0 > MOST)?;
    let lr = config.lr;
    Some(format!("a lower --lr than {lr}, or --weight-decay: {:.0} % of layer {layer}'s {what}", 100.0 * share))
}

fn clipped(clipping: Clipping) -> String {
    format!("{:.0} % of the logged steps were clipped", 100.0 * clipping.share())
}

/// Three digits, and a power of ten where those are far from the point.
fn brief(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if !size.is_finite() => if value.is_nan() { "NaN" } else { "∞" }.into(),
        size if !(1e-3..1e5).contains(&size) => format!("{value:.1e}"),
        size => format!("{value:.*}", (2 - size.log10().floor() as i32).clamp(0, 5) as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Curve, Ends, Gates};
    use super::*;

    fn cell(layer: usize, norms: &[f64]) -> Cell {
        let ends = Ends { shut: 0.1, open: 0.2 };
        let gates = Gates { input: ends, forget: ends, output: ends, candidate: 0.0, forget_mean: 0.5, memory: 2.0 };
        let curve = Curve(norms.to_vec());
        Cell { layer, reverse: false, gradient: curve.clone(), last_step: curve, gates }
    }

    fn judged(cells: &[Cell], config: &Config, clipping: Option<Clipping>) -> Verdict {
        let window = cells[0].gradient.0.len();
        judge(&Inspection { windows: 1, window, cells: cells.to_vec() }, config, clipping)
    }

    #[track_caller]
    fn assert_says(verdict: &Verdict, finding: Finding, words: &[&str]) {
        assert_eq!(verdict.finding, finding, "{verdict:?}");
        let text = format!("{}\n{}", verdict.because, verdict.advice.join("\n"));
        assert!(words.iter().all(|word| text.contains(word)), "{words:?} in\n{text}");
    }

    #[test]
    fn each_course_has_its_word_and_its_remedy() {
        let config = Config::default();
        let vanishing = [cell(0, &[1.0, 0.1, 0.001, 1e-7]), cell(1, &[1.0, 0.5, 0.005, 9e-4])];
        let words = ["3 rows back", "9.0e-4 times", "layer 1", "--forget-bias 1", "--chrono 4", "--window 2:", "0.500"];
        assert_says(&judged(&vanishing, &config, None), Finding::Vanishes, &words);
        let started = Config { chrono: Some(4), ..config.clone() };
        assert!(!judged(&vanishing, &started, None).advice.concat().contains("--chrono"));
        let unbiased = Config { bias: false, ..config.clone() };
        assert_says(&judged(&vanishing, &unbiased, None), Finding::Vanishes, &["--bias true"]);

        // What comes down to a lower layer at all stays, and is too little.
        let thin = judged(&[cell(0, &[1e-4; 3]), cell(1, &[1.0, 1e-3, 1e-6])], &config, None);
        assert_says(&thin, Finding::Vanishes, &["1.0e-4 times", "--forget-bias 1"]);
        assert!(!thin.advice.concat().contains("window"), "{thin:?}");

        let fading = [cell(0, &[1.0, 0.5, 0.0099]), cell(1, &[1.0, 0.1, 1e-9])];
        assert_says(&judged(&fading, &config, None), Finding::Fades, &["0.00990 times", "layer 0", "--window 2:"]);
        let reaching = [cell(0, &[1.0, 0.5, 0.3]), cell(1, &[1.0, 0.1, 1e-9])];
        assert_says(&judged(&reaching, &config, None), Finding::Reaches, &["0.300 times", "a longer --window than 3"]);
        let streams = Config { bptt: Some(2), ..config.clone() };
        assert_says(&judged(&reaching, &streams, None), Finding::Reaches, &["a longer --bptt than 2"]);
        assert_says(&judged(&fading, &streams, None), Finding::Fades, &["a shorter reach, --bptt 2:"]);

        let exploding = [cell(0, &[1.0, 9.0, 20.0, 3.0]), cell(1, &[1.0; 4])];
        let words = ["2 rows back layer 0 has 20.0 times", "a lower --lr than 0.001", "--window 2:"];
        assert_says(&judged(&exploding, &config, None), Finding::Explodes, &words);
        let unclipped = Config { max_norm: 0.0, ..config.clone() };
        assert_says(&judged(&exploding, &unclipped, None), Finding::Explodes, &["--max-norm 1"]);
        for odd in [f64::NAN, f64::INFINITY] {
            let odd = judged(&[cell(0, &[1.0, odd, 2.0])], &config, None);
            assert_says(&odd, Finding::Explodes, &["1 rows back", "no finite multiple of"]);
        }
        // A lower layer's gradient may grow to the top one's.
        let stack = [cell(0, &[0.01, 0.1, 0.3]), cell(1, &[1.0, 0.5, 0.2])];
        assert_says(&judged(&stack, &config, None), Finding::Reaches, &["0.300 times", "layer 0"]);
        assert_says(&judged(&[cell(0, &[0.0, 0.0])], &config, None), Finding::Nothing, &["no gradient"]);
        assert_says(&judged(&[cell(0, &[1.0])], &config, None), Finding::Reaches, &["a longer --window than 1"]);
    }

    #[test]
    fn the_direction_that_goes_the_other_way_is_not_judged() {
        let other = Cell { reverse: true, ..cell(0, &[1.0, 0.0, 0.0]) };
        let verdict = judged(&[cell(0, &[1.0, 0.5, 0.4]), other], &Config::default(), None);
        assert_eq!(verdict.finding, Finding::Reaches);
    }

    #[test]
    fn clipped_steps_and_gates_at_their_ends_are_told() {
        let config = Config::default();
        let mut cells = [cell(0, &[1.0, 0.5]), cell(1, &[1.0, 0.5])];
        assert_eq!(judged(&cells, &config, Some(Clipping { logged: 2, clipped: 1 })).advice.len(), 1);
        cells[1].gates.candidate = 0.77;
        let clipping = Some(Clipping { logged: 3, clipped: 2 });
        let words = ["a higher --max-norm than 1", "67 % of the logged steps", "77 % of layer 1's candidates g"];
        assert_says(&judged(&cells, &config, clipping), Finding::Reaches, &words);
        let exploding = judged(&[cell(0, &[1.0, 11.0])], &config, clipping);
        assert_says(&exploding, Finding::Explodes, &["a lower --lr than 0.001: 67 % of the logged steps"]);
        assert!(!exploding.advice.concat().contains("a higher --max-norm"));
        let seldom = judged(&[cell(0, &[1.0, 11.0])], &config, Some(Clipping { logged: 9, clipped: 0 }));
        assert_says(&seldom, Finding::Explodes, &["a lower --lr than 0.001: the gradient grows 11.0-fold"]);
    }

    #[test]
    fn numbers_are_short() {
        let cases = [(0.0, "0"), (1.0, "1.00"), (0.0123, "0.0123"), (123.4, "123"), (4e-9, "4.0e-9"), (2e7, "2.0e7")];
        for (value, want) in cases {
            assert_eq!(brief(value), want);
        }
    }
}
