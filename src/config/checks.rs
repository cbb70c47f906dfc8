//! Checks of the options for task, model, start values, losses, learning rate and averaging.

use super::{Config, Head, LossKind, LrSchedule, Task};
use crate::error::{Error, Result};

impl Config {
    pub(super) fn validate_task(&self) -> Result<()> {
        let (task, classes) = (self.task(), self.loss == LossKind::CrossEntropy);
        if matches!(task, Task::Text | Task::Copying) && !(classes && self.head == Head::Every && self.horizon == 1) {
            let problem = "of characters learns the next one at every step, by classes";
            let remedy = "use `--loss cross_entropy --head every --horizon 1`, or leave these three out";
            return Err(Error::option("task", problem, remedy));
        }
        if task == Task::Adding && (classes || self.horizon != 1 || self.head != Head::Last || self.bptt.is_some()) {
            let remedy = "use `--head last --horizon 1`, a loss for numbers and no `--bptt`";
            return Err(Error::option("task", "adding has one number for an answer, at the end", remedy));
        }
        if task == Task::Copying && self.bptt.is_some() {
            return Err(Error::option("bptt", "cuts the sequences of the task copying", "leave it out"));
        }
        let least = match task {
            Task::Adding => 2,
            Task::Copying => 22,
            _ => 1,
        };
        if self.window < least {
            let problem = format!("is {}, too short for the task", self.window);
            return Err(Error::option("window", problem, format!("use {least} or more")));
        }
        if self.data.is_some() && matches!(task, Task::Adding | Task::Copying) {
            let remedy = "leave the file out";
            return Err(Error::option("task", "makes its own data, but a file is given, too", remedy));
        }
        Ok(())
    }

    pub(super) fn validate_model(&self) -> Result<()> {
        let rates = [
            ("dropout", self.dropout),
            ("recurrent_dropout", self.recurrent_dropout),
            ("weight_drop", self.weight_drop),
            ("zoneout_h", self.zoneout_h),
            ("zoneout_c", self.zoneout_c),
        ];
        for (option, rate) in rates {
            if !(0.0..1.0).contains(&rate) {
                let remedy = "use a share from 0 up to, not including, 1, such as 0.2";
                return Err(Error::option(option, format!("is {rate}"), remedy));
            }
        }
        if self.dropout > 0.0 && self.num_layers == 1 {
            let remedy = "use two layers or more, or `recurrent_dropout`";
            return Err(Error::option("dropout", "acts between layers, and there is one", remedy));
        }
        if self.locked_dropout && self.dropout == 0.0 {
            return Err(Error::option("locked_dropout", "has no dropout to lock", "set `dropout`, or leave it out"));
        }
        if self.proj_size >= self.hidden_size {
            let problem = format!("is {}, and `hidden_size` is {}", self.proj_size, self.hidden_size);
            return Err(Error::option(
                "proj_size",
                problem,
                "use a number below `hidden_size`, or 0 for no projection",
            ));
        }
        self.validate_time()
    }

    fn validate_time(&self) -> Result<()> {
        let parts = [("bptt", self.bptt.is_some()), ("checkpoint_every", self.checkpoint_every > 0)];
        if let Some((option, _)) = parts.into_iter().find(|(_, given)| *given && self.bidirectional) {
            let problem = "goes through a sequence part by part, but the second direction begins at its end";
            return Err(Error::option(option, problem, "leave it out, or `bidirectional`"));
        }
        if self.bptt_jitter && self.bptt.is_none() {
            return Err(Error::option("bptt_jitter", "has no `bptt` to vary", "set `bptt`, or leave it out"));
        }
        let Some(bptt) = self.bptt else { return Ok(()) };
        if !(1..=1_000_000).contains(&bptt) {
            return Err(Error::option("bptt", format!("is {bptt}"), "use a whole number from 1 to 1000000"));
        }
        if self.head != Head::Every {
            return Err(Error::option("bptt", "learns at every time step, but `head` is last", "use `--head every`"));
        }
        if self.accumulate > 1 {
            let problem = "takes a step after each part, but `accumulate` adds up several";
            return Err(Error::option("bptt", problem, "leave `accumulate` out, and use a larger `batch_size`"));
        }
        Ok(())
    }

    pub(super) fn validate_init(&self) -> Result<()> {
        if let Some(value) = self.forget_bias.filter(|value| !(-100.0..=100.0).contains(value)) {
            return Err(Error::option(
                "forget_bias",
                format!("is {value}"),
                "use a number from -100 to 100, such as 1",
            ));
        }
        if let Some(most) = self.chrono.filter(|most| !(3..=1_000_000_000).contains(most)) {
            let remedy = "use the longest dependence in rows, a whole number from 3 to 1000000000";
            return Err(Error::option("chrono", format!("is {most}"), remedy));
        }
        if self.chrono.is_some() && self.forget_bias.is_some() {
            return Err(Error::option("chrono", "sets what `forget_bias` sets, too", "leave one of them out"));
        }
        let given = [("forget_bias", self.forget_bias.is_some()), ("chrono", self.chrono.is_some())];
        match given.into_iter().find(|(_, given)| *given && !self.bias) {
            Some((option, _)) => {
                Err(Error::option(option, "needs the bias vectors, but `bias` is false", "leave one of them out"))
            }
            None => Ok(()),
        }
    }

    pub(super) fn validate_loss(&self) -> Result<()> {
        let (quantiles, smoothing) = (&self.quantiles, self.label_smoothing);
        let inside = quantiles.iter().all(|&q| q > 0.0 && q < 1.0);
        if quantiles.is_empty() || !inside || quantiles.windows(2).any(|pair| pair[0] >= pair[1]) {
            let problem = format!("are {quantiles:?}");
            return Err(Error::option("quantiles", problem, "use rising numbers between 0 and 1, such as 0.1,0.5,0.9"));
        }
        if !self.loss.has_quantiles() && *quantiles != Self::default().quantiles {
            let remedy = "use the loss quantile, gaussian or student_t, or leave them out";
            return Err(Error::option("quantiles", "are given, but the loss forecasts none", remedy));
        }
        if !(0.0..1.0).contains(&smoothing) {
            let remedy = "use a number from 0 up to, not including, 1";
            return Err(Error::option("label_smoothing", format!("is {smoothing}"), remedy));
        }
        if self.loss != LossKind::CrossEntropy && smoothing != 0.0 {
            return Err(Error::option(
                "label_smoothing",
                "is given, but the loss knows no classes",
                "use the loss cross_entropy, or leave it out",
            ));
        }
        // Classes are stored in single precision, which is exact to here.
        if self.ignore_index.unsigned_abs() > 1 << 24 {
            let problem = format!("is {}", self.ignore_index);
            return Err(Error::option("ignore_index", problem, "use a whole number from -16777216 to 16777216"));
        }
        Ok(())
    }

    pub(super) fn validate_schedule(&self) -> Result<()> {
        if !(self.lr_gamma > 0.0 && self.lr_gamma < 1.0) {
            let problem = format!("is {}", self.lr_gamma);
            return Err(Error::option("lr_gamma", problem, "use a number above 0 and below 1"));
        }
        if self.lr_step_epochs == 0 {
            return Err(Error::option("lr_step_epochs", "is 0", "use a whole number from 1 on"));
        }
        if !(0.0..=self.lr).contains(&self.lr_min) {
            let problem = format!("is {}, and `lr` is {}", self.lr_min, self.lr);
            return Err(Error::option("lr_min", problem, "use a number from 0 to `lr`"));
        }
        let warms_up = !matches!(self.lr_schedule, LrSchedule::OneCycle | LrSchedule::Plateau);
        if self.warmup_steps > 0 && !warms_up {
            let problem = "goes with the schedules `constant`, `step` and `cosine` only";
            return Err(Error::option("warmup_steps", problem, "leave it out, or choose one of these"));
        }
        Ok(())
    }

    pub(super) fn validate_selection(&self) -> Result<()> {
        if !(self.min_delta >= 0.0 && self.min_delta.is_finite()) {
            return Err(Error::option("min_delta", format!("is {}", self.min_delta), "use 0 or a number above it"));
        }
        if !(0.0..1.0).contains(&self.ema) {
            let remedy = "use a number from 0 up to, not including, 1, such as 0.999; 0 switches it off";
            return Err(Error::option("ema", format!("is {}", self.ema), remedy));
        }
        Ok(())
    }
}
