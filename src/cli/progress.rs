//! The trainer's events on the terminal: a bar, or plain lines where there is none.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Instant;

use bptt::checkpoint::EpochReport;
use bptt::trainer::StepReport;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::Global;

/// Shows how training goes.
pub struct Progress {
    bar: Option<ProgressBar>,
    lines: bool,
    verbose: bool,
    losses: (Option<f64>, Option<f64>),
    begun: Instant,
    first_step: u64,
}

impl Progress {
    /// For a run of at most `steps` steps of which `done` are behind it.
    pub fn new(global: &Global, steps: u64, done: u64) -> Self {
        let terminal = std::io::stderr().is_terminal() && !global.quiet;
        let bar = terminal.then(|| {
            let template = "{bar:24} {msg}  {rate}  {eta} left at most";
            let style = ProgressStyle::with_template(template).expect("a valid template");
            let rate = |state: &ProgressState, text: &mut dyn Write| _ = write!(text, "{:.1} steps/s", state.per_sec());
            let style = style.with_key("rate", rate);
            let bar = ProgressBar::new(steps).with_style(style.progress_chars("━╸─")).with_position(done);
            bar.reset_eta();
            bar
        });
        Self {
            bar,
            lines: !terminal && !global.quiet,
            verbose: global.verbose,
            losses: (None, None),
            begun: Instant::now(),
            first_step: done,
        }
    }

    pub fn step(&mut self, report: &StepReport) {
        if let Some(means) = &report.means {
            self.losses.0 = Some(means.loss);
            if self.verbose {
                let (step, loss, norm, lr) = (report.step, means.loss, means.grad_norm, means.lr);
                self.line(&format!("step {step:6}  loss {loss:.5}  gradient norm {norm:.4}  lr {lr:.3e}"));
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_position(report.step);
            let show = |loss: Option<f64>| loss.map_or("–".to_owned(), |loss| format!("{loss:.4}"));
            let (train, validation) = (show(self.losses.0), show(self.losses.1));
            bar.set_message(format!("epoch {}  loss {train}  validation {validation}", report.epoch));
        }
    }

    pub fn epoch(&mut self, report: &EpochReport) {
        self.losses = (Some(report.train_loss), report.val_loss);
        if self.lines {
            let rate = (report.step - self.first_step) as f64 / self.begun.elapsed().as_secs_f64();
            let validation = report.val_loss.map_or(String::new(), |loss| format!("  validation {loss:.5}"));
            let best = if report.best { "  best" } else { "" };
            let (epoch, loss) = (report.epoch, report.train_loss);
            note!("epoch {epoch:4}  loss {loss:.5}{validation}  {rate:.1} steps/s{best}");
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None if self.lines => note!("{text}"),
            None => {}
        }
    }
}

/// Leaves the terminal clean, however training ended.
impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
