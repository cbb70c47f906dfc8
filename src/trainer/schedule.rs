//! The learning rate of each step.
//!
//! As [`torch.optim.lr_scheduler`](https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate) defines them,
//! with s the step from 0 on, S the steps of the whole run, e the epoch from 0 on, and W the steps of warm-up:
//!
//! ```text
//! constant   lr                                                                                 LinearLR
//! step       lr · lr_gamma^⌊e / lr_step_epochs⌋                                                 StepLR
//!            both times min(1, (s + 1) / W)
//! cosine     lr · (s + 1) / W for s < W, then                                                   SequentialLR,
//!            lr_min + (lr − lr_min) · (1 + cos(π(s − W) / (S − W))) / 2                         CosineAnnealingLR
//! one-cycle  from lr/25 up to lr at 0.3 S − 1, then down to lr/(25 · 10⁴) at S − 1,             OneCycleLR
//!            both on half a cosine
//! plateau    lr · lr_gamma^k, at least lr_min, k times lowered: each time that more than        ReduceLROnPlateau
//!            lr_patience epochs went by without gain
//! ```
//!
//! Cosine: Loshchilov & Hutter 2017 (SGDR) without restarts. One-cycle: Smith & Topin 2019, momentum left alone
//! (`cycle_momentum=False`). A gain is what early stopping takes for one.

use std::f64::consts::PI;

use super::Trainer;
use crate::checkpoint::Plateau;
use crate::config::{Config, LrSchedule};
use crate::kernels::Kernels;

/// Of one-cycle: share of the steps on which the rate rises, and the divisors of its first and of its last rate.
const PCT_START: f64 = 0.3;
const DIV_FACTOR: f64 = 25.0;
const FINAL_DIV_FACTOR: f64 = 1e4;

/// The learning rate of step `step`, counted from 0 over all epochs.
fn learning_rate(config: &Config, step: u64, steps_per_epoch: usize, plateau: Plateau) -> f64 {
    let Config { lr, lr_min, lr_gamma, .. } = *config;
    let (done, warmup) = (step as f64, config.warmup_steps as f64);
    let steps = config.epochs as f64 * steps_per_epoch as f64;
    let rising = if done < warmup { (done + 1.0) / warmup } else { 1.0 };
    match config.lr_schedule {
        LrSchedule::Constant => lr * rising,
        LrSchedule::Step => {
            let epoch = step / steps_per_epoch as u64;
            lr * lr_gamma.powf((epoch / config.lr_step_epochs as u64) as f64) * rising
        }
        LrSchedule::Cosine if done < warmup => lr * rising,
        LrSchedule::Cosine => anneal(lr, lr_min, (done - warmup) / (steps - warmup)),
        LrSchedule::OneCycle => one_cycle(lr, done, steps),
        LrSchedule::Plateau => (lr * lr_gamma.powf(f64::from(plateau.lowered))).max(lr_min),
    }
}

fn one_cycle(lr: f64, step: f64, steps: f64) -> f64 {
    let (first, last) = (lr / DIV_FACTOR, lr / DIV_FACTOR / FINAL_DIV_FACTOR);
    let (top, end) = (PCT_START * steps - 1.0, steps - 1.0);
    if step <= top { anneal(first, lr, step / top) } else { anneal(lr, last, (step - top) / (end - top)) }
}

/// From `from` to `to` on half a cosine as `share` goes from 0 to 1.
fn anneal(from: f64, to: f64, share: f64) -> f64 {
    to + (from - to) * (1.0 + (PI * share.min(1.0)).cos()) / 2.0
}

impl Plateau {
    /// Takes note of an epoch's end: whether it brought a gain, and how many epochs without any are allowed.
    pub(super) fn epoch_over(&mut self, gain: bool, patience: usize) {
        self.waited = if gain { 0 } else { self.waited + 1 };
        if self.waited > patience {
            *self = Self { waited: 0, lowered: self.lowered + 1 };
        }
    }
}

impl<D: Kernels> Trainer<D> {
    /// The learning rate of step `step`, counted from 0 over all epochs, as far as this epoch's state tells.
    pub(super) fn learning_rate(&self, step: u64) -> f64 {
        learning_rate(&self.config, step, self.steps_per_epoch(), self.position.plateau)
    }
}

/// The numbers are PyTorch 2.15's, made with
///
/// ```python
/// import torch
/// from torch.optim import SGD, lr_scheduler as s
///
/// def rates(steps, scheduler, metrics=None):         # scheduler: a function of the optimizer
///     optimizer = SGD([torch.zeros(1, requires_grad=True)], 0.1)
///     schedule = scheduler(optimizer)
///     for step in range(steps):
///         print(optimizer.param_groups[0]["lr"])
///         optimizer.step()
///         schedule.step(*([metrics[step]] if metrics else []))
///
/// rates(18, lambda o: s.StepLR(o, 6, 0.5))                                       # 6 = 3 steps an epoch, 2 epochs
/// rates(12, lambda o: s.SequentialLR(o, [s.LinearLR(o, 1/4, 1.0, 3), s.CosineAnnealingLR(o, 8, 0.01)], [4]))
/// rates(10, lambda o: s.CosineAnnealingLR(o, 10, 0.01))
/// rates(12, lambda o: s.OneCycleLR(o, 0.1, total_steps=12))
/// rates(15, lambda o: s.ReduceLROnPlateau(o, factor=0.5, patience=1, threshold=0.0, threshold_mode="abs", min_lr=0.02),
///       metrics=[1.0, 0.9, 0.95, 0.92, 0.91, 0.90, 0.8, 0.85, 0.85, 0.85, 0.85, 0.7, 0.9, 0.9, 0.9])
/// ```
#[cfg(test)]
mod tests {
    use super::*;

    fn config(lr_schedule: LrSchedule) -> Config {
        Config { lr: 0.1, lr_schedule, epochs: 6, ..Config::default() }
    }

    #[track_caller]
    fn assert_rates(config: &Config, steps_per_epoch: usize, want: &[f64]) {
        for (step, &want) in want.iter().enumerate() {
            let got = learning_rate(config, step as u64, steps_per_epoch, Plateau::default());
            assert!((got - want).abs() <= 1e-12 * want, "step {step}: {got:e}, not {want:e}");
        }
    }

    #[test]
    fn constant_is_the_rate_itself() {
        let plain = config(LrSchedule::Constant);
        assert!((0..20).all(|step| learning_rate(&plain, step, 3, Plateau::default()) == 0.1));
        let warm = Config { warmup_steps: 4, ..plain };
        assert_rates(&warm, 3, &[0.025, 0.05, 0.075, 0.1, 0.1, 0.1]);
    }

    #[test]
    fn step_falls_every_few_epochs() {
        let config = Config { lr_step_epochs: 2, lr_gamma: 0.5, ..config(LrSchedule::Step) };
        let want = [[0.1; 6], [0.05; 6], [0.025; 6]].concat();
        assert_rates(&config, 3, &want);
        let warm = [&[0.1 / 7.0, 0.2 / 7.0, 0.3 / 7.0, 0.4 / 7.0, 0.5 / 7.0, 0.6 / 7.0, 0.05], &want[7..]].concat();
        assert_rates(&Config { warmup_steps: 7, ..config }, 3, &warm);
    }

    #[test]
    fn cosine_falls_to_its_floor() {
        let config = Config { lr_min: 0.01, epochs: 5, ..config(LrSchedule::Cosine) };
        let want = [
            0.1,
            0.09779754323328192,
            0.09140576474687263,
            0.08145033635316129,
            0.06890576474687264,
            0.05500000000000001,
            0.04109423525312737,
            0.028549663646838717,
            0.01859423525312737,
            0.012202456766718092,
        ];
        assert_rates(&config, 2, &want);
        let warm = [
            0.025,
            0.05,
            0.07500000000000001,
            0.1,
            0.1,
            0.0965745789630079,
            0.08681980515339463,
            0.07222075445642905,
            0.055,
            0.03777924554357096,
            0.023180194846605363,
            0.013425421036992097,
        ];
        assert_rates(&Config { warmup_steps: 4, epochs: 6, ..config.clone() }, 2, &warm);
        // A run that is over before its warm-up.
        assert_rates(&Config { warmup_steps: 100, ..config }, 2, &[0.001, 0.002, 0.003]);
    }

    #[test]
    fn one_cycle_rises_and_falls() {
        let want = [
            0.0040000000000000036,
            0.0349789654219583,
            0.08792851591221287,
            0.09944154354509119,
            0.09330129698414118,
            0.0811745653949763,
            0.06473789976951033,
            0.046263710266697504,
            0.028306099820869922,
            0.01334775301888306,
            0.0034566987425395223,
            4e-07,
        ];
        assert_rates(&config(LrSchedule::OneCycle), 2, &want);
        for epochs in 1..5 {
            let config = Config { epochs, ..config(LrSchedule::OneCycle) };
            let rates = (0..epochs as u64).map(|step| learning_rate(&config, step, 1, Plateau::default()));
            let rates: Vec<f64> = rates.collect();
            assert!(rates.iter().all(|rate| (4e-7..=0.1).contains(rate)), "{epochs} steps: {rates:?}");
        }
    }

    #[test]
    fn plateau_falls_where_there_is_no_gain() {
        let config = Config { lr_gamma: 0.5, lr_patience: 1, lr_min: 0.02, ..config(LrSchedule::Plateau) };
        let losses = [1.0, 0.9, 0.95, 0.92, 0.91, 0.90, 0.8, 0.85, 0.85, 0.85, 0.85, 0.7, 0.9, 0.9, 0.9];
        let want = [0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.025, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02];
        let (mut plateau, mut best) = (Plateau::default(), f64::INFINITY);
        for (epoch, (loss, want)) in losses.into_iter().zip(want).enumerate() {
            assert_eq!(learning_rate(&config, epoch as u64, 1, plateau), want, "epoch {epoch}");
            plateau.epoch_over(loss < best, config.lr_patience);
            best = best.min(loss);
        }
    }
}
