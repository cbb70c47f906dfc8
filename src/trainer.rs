//! The training loop: batch → forward → loss → backward → clip → step, an epoch of these, validation, and again.
//!
//! A shell pulls: each [`Trainer::next`] does one optimizer step or one validation and says what there is to show. To pause
//! is not to pull, to cancel is to drop, to go on later is [`Trainer::checkpoint`] and [`Trainer::resume`].

mod average;
mod batches;
mod change;
mod divergence;
mod events;
mod look;
mod needs;
mod schedule;
mod state;
mod streams;

pub use change::Change;
pub use events::{Event, Report, StepMeans, StepReport};

use crate::checkpoint::{Checkpoint, EpochReport, Position};
use crate::config::{Config, LrSchedule, Precision, Task};
use crate::data::{Dataset, Evaluation, Forecasts, Series};
use crate::device::{Need, Real};
use crate::error::{Error, Place, Result};
use crate::interop::{Model, ModelInfo};
use crate::kernels::{Kernels, LstmState, Rule};
use crate::model::{Average, Network, NetworkShape, Optimizer, start_parameters};
use batches::{Batch, InOrder, Part, streams};
use needs::Needs;

/// A training run on one device.
pub struct Trainer<D: Kernels> {
    device: D,
    config: Config,
    data: Dataset,
    fingerprint: u64, // of the series
    net: Network<D>,
    optimizer: Optimizer<D>,
    average: Option<Average<D>>,
    inputs: D::Buffer,      // [R, D], scaled
    targets: D::Buffer,     // [R, targets], scaled
    order: D::Indices,      // [training windows], this epoch's order; or [streams]
    validation: D::Indices, // [validation windows], or [streams]
    test: D::Indices,       // [test windows], or [streams], or the one window at the end of the series
    history: D::Buffer,     // [steps of an epoch or batches of a measurement, 2]
    in_order: Option<InOrder<D::Buffer>>,
    position: Position,
    epochs: Vec<EpochReport>,
    best: Option<Vec<f32>>,
    seen: Vec<f32>,               // loss and norm of this epoch's steps, as far as they were read
    ordered_epoch: Option<usize>, // the epoch whose order is on the device
}

impl<D: Kernels> Trainer<D> {
    /// A new run. The parameters start from config and seed, or from `init` `[P]`.
    ///
    /// # Errors
    /// Options that cannot be used, or a run that does not fit the device.
    pub fn new(device: D, config: Config, data: Dataset, init: Option<Vec<f32>>) -> Result<Self> {
        config.validate()?;
        let (inputs, targets) = data.widths();
        let shape = NetworkShape::new(&config, inputs, targets);
        let mut trainer = Self::allocate(device, config, data, shape)?;
        let parameters = init.unwrap_or_else(|| start_parameters(&trainer.config, &shape));
        assert_eq!(parameters.len(), shape.parameters(), "start parameters");
        trainer.device.write_f32(&mut trainer.net.params, &parameters);
        trainer.write_average(&parameters);
        Ok(trainer)
    }

    /// The run of `checkpoint`, going on after its last step; on the adapter where it was written with the same bits, however
    /// that has been tuned since.
    ///
    /// # Errors
    /// If `data` is not the data it was trained on.
    pub fn resume(mut device: D, checkpoint: Checkpoint, data: Dataset) -> Result<Self> {
        let Checkpoint {
            info,
            data: known,
            position,
            epochs,
            parameters,
            average,
            best,
            moments,
            history,
            state,
            loss_scale,
            tuned,
        } = checkpoint;
        if fingerprint(&data.series) != known {
            return Err(Error::file(
                Place::file(&data.series.file),
                "its values have changed since the checkpoint was written",
                "give the unchanged file, or begin a new run",
            ));
        }
        if let Some(tuned) = &tuned {
            device.compute_as(tuned);
        }
        let shape = info.shape();
        let mut trainer = Self::allocate(device, info.config, data, shape)?;
        trainer.device.write_f32(&mut trainer.net.params, &parameters);
        trainer.write_average(&average.unwrap_or_default());
        trainer.device.write_f32(&mut trainer.optimizer.moments, &moments);
        if let [norm, scale, steps] = loss_scale[..] {
            let known = [norm, scale, steps];
            trainer.optimizer.set_loss_scale(&trainer.device, known);
        }
        trainer.write_state(&state);
        trainer.position = position;
        trainer.cut_parts();
        trainer.epochs = epochs;
        trainer.best = best;
        trainer.seen = history;
        Ok(trainer)
    }

    /// The buffers that a run of `config` on `data` needs on `device`, for a shell that wants to know before it begins.
    ///
    /// # Errors
    /// Options that do not fit the data.
    pub fn needs(device: &D, config: &Config, data: &Dataset) -> Result<Vec<Need>> {
        config.validate()?;
        let (inputs, targets) = data.widths();
        let shape = NetworkShape::new(config, inputs, targets);
        let streams = streams(config, data)?;
        Ok(Needs::new(device, config, data, &shape, streams.as_ref()).all(device, &shape))
    }

    fn allocate(device: D, config: Config, data: Dataset, shape: NetworkShape) -> Result<Self> {
        let streams = streams(&config, &data)?;
        let validates = match &streams {
            Some([_, validation, _]) => !validation.starts.is_empty(),
            None => !data.windows.validation.is_empty(),
        };
        if config.lr_schedule == LrSchedule::Plateau && !validates {
            let remedy = "raise `validation_share`, or choose another schedule";
            return Err(Error::option(
                "lr_schedule",
                "`plateau` goes by the validation loss, and there is none",
                remedy,
            ));
        }
        if config.precision != device.precision() {
            let problem = format!("is not what `{}` computes with", device.adapter());
            return Err(Error::option(
                "precision",
                problem,
                "open the device with the run's own; `mixed` takes a GPU outside the browser",
            ));
        }
        let needs = Needs::new(&device, &config, &data, &shape, streams.as_ref());
        device.check(&needs.all(&device, &shape))?;

        let [inputs, targets, history] = needs.own.map(|need| device.buffer(need.name, need.len));
        let [order, validation, test] = needs.starts.map(|need| device.indices(need.name, need.len));
        let net = Network::new(&device, shape);
        let optimizer = Optimizer::new(&device, Rule::from(&config), shape.parameters());
        let average = needs.average.map(|_| Average::new(&device, config.ema, shape.parameters()));
        let in_order = streams.map(|streams| InOrder::new(streams, LstmState::new(&device, &shape.lstm)));
        let (position, epochs, seen) = Default::default();
        let mut trainer = Self {
            device,
            config,
            fingerprint: fingerprint(&data.series),
            data,
            net,
            optimizer,
            average,
            inputs,
            targets,
            order,
            validation,
            test,
            history,
            in_order,
            position,
            epochs,
            best: None,
            seen,
            ordered_epoch: None,
        };
        trainer.upload_data();
        trainer.cut_parts();
        Ok(trainer)
    }

    fn upload_data(&mut self) {
        let device = &self.device;
        device.write_f32(&mut self.inputs, &self.data.inputs());
        device.write_f32(&mut self.targets, &self.data.targets());
        self.upload_starts();
    }

    /// The run's options.
    pub fn config(&self) -> &Config {
        &self.config
    }
    /// The run's data.
    pub fn data(&self) -> &Dataset {
        &self.data
    }
    /// The run's device.
    pub fn device(&self) -> &D {
        &self.device
    }
    /// How far the run has come.
    pub fn position(&self) -> &Position {
        &self.position
    }
    /// The learning rate of the last step; before the first, that of the first.
    pub fn rate(&self) -> f64 {
        let (step, row) = (self.position.steps.saturating_sub(1), self.position.step.saturating_sub(1));
        self.learning_rate(step) * self.share_of_bptt(row)
    }
    /// The epochs behind it.
    pub fn epochs(&self) -> &[EpochReport] {
        &self.epochs
    }

    /// Does one step, or after an epoch's last step the validation; `None` once training has ended.
    ///
    /// # Errors
    /// The device's, and [`Error::Diverged`] when a loss or gradient is not finite. The parameters are then those before
    /// that step.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        if self.position.step == 0 {
            self.position.finished = self.is_over();
        }
        if self.position.finished {
            return Ok(None);
        }
        if self.position.step == self.steps_per_epoch() {
            return Ok(Some(Event::Epoch(self.end_epoch().await?)));
        }
        self.step()?;
        let at = self.position.step;
        let due = at.is_multiple_of(self.config.log_every) || at == self.steps_per_epoch();
        let means = if due { Some(self.means().await?) } else { None };
        let epoch = self.position.epoch + 1;
        Ok(Some(Event::Step(StepReport { epoch, step_in_epoch: at, step: self.position.steps, means })))
    }

    fn is_over(&self) -> bool {
        let Position { epoch, best, .. } = self.position;
        let waited = best.map_or(0, |(best, _)| epoch - best);
        epoch >= self.config.epochs || (self.config.patience > 0 && waited >= self.config.patience)
    }

    /// One optimizer step: the gradients of `accumulate` batches, together the mean over all their windows.
    fn step(&mut self) -> Result<()> {
        self.upload_order();
        let row = self.position.step;
        self.net.zero_gradients(&self.device);
        for batch in self.batches(row) {
            self.forward_backward(&batch);
        }
        let (t, lr) = (self.position.steps + 1, self.learning_rate(self.position.steps) * self.share_of_bptt(row));
        self.optimizer.step(&self.device, &mut self.net, t, lr, row, &mut self.history);
        if let Some(average) = &mut self.average {
            average.step(&self.device, &self.net, &self.optimizer);
        }
        self.device.submit()?;
        if self.in_order.is_some() {
            self.net.advance();
        }
        self.position.step += 1;
        self.position.steps += 1;
        Ok(())
    }

    fn forward_backward(&mut self, batch: &Batch) {
        self.gather(batch);
        let (device, net) = (&self.device, &mut self.net);
        // Each batch has masks of its own.
        let draw = self.position.steps * self.config.accumulate as u64
            + (batch.sequences.start / self.config.batch_size % self.config.accumulate) as u64;
        let sequences = batch.sequences().training(draw as u32);
        net.forward(device, &sequences);
        if self.in_order.is_some() {
            net.carry(device, &sequences);
        }
        let loss = net.shape.loss(&self.config, &sequences.packing, batch.weight);
        net.loss(device, &loss, batch.record, &mut self.history);
        self.optimizer.scale(device, net, &loss);
        net.backward(device, &sequences, None);
    }

    /// Reads the losses and norms of the steps since the last call.
    async fn collect(&mut self) -> Result<()> {
        let (from, to) = (self.seen.len(), 2 * self.position.step);
        if from < to {
            let new = self.device.read_f32(&self.history, from..to).await?;
            if let Some(bad) = new.iter().position(|value| !value.is_finite()) {
                return Err(self.diverged((from + bad) / 2).await?);
            }
            self.seen.extend(new);
        }
        Ok(())
    }

    async fn means(&mut self) -> Result<StepMeans> {
        let step = self.position.step;
        self.collect().await?;
        let since = (step - 1) / self.config.log_every * self.config.log_every;
        let (loss, grad_norm) = mean_pairs(&self.seen[2 * since..]);
        Ok(StepMeans {
            loss,
            grad_norm,
            lr: self.learning_rate(self.position.steps - 1) * self.share_of_bptt(step - 1),
        })
    }

    async fn end_epoch(&mut self) -> Result<EpochReport> {
        self.collect().await?;
        let val_loss = self.measure(Part::Validation).await?;
        let (train_loss, grad_norm) = mean_pairs(&self.seen);
        let lr = self.learning_rate(self.position.steps - 1);
        self.position.epoch += 1;
        self.position.step = 0;
        self.seen.clear();
        self.cut_parts();
        let epoch = self.position.epoch;
        // Without validation windows the last epoch is the best one there is.
        let best = match (val_loss, self.position.best) {
            (Some(loss), Some((_, least))) => loss < least - self.config.min_delta,
            _ => true,
        };
        if best {
            self.position.best = Some((epoch, val_loss.unwrap_or(train_loss)));
            self.best = Some(self.kept_parameters().await?);
        }
        if self.config.lr_schedule == LrSchedule::Plateau {
            self.position.plateau.epoch_over(best, self.config.lr_patience);
        }
        self.position.finished = self.is_over();
        let report = EpochReport { epoch, step: self.position.steps, train_loss, val_loss, grad_norm, lr, best };
        self.epochs.push(report.clone());
        Ok(report)
    }

    /// The mean loss over a part's rows, of the average if there is one. Nothing of the training state is touched.
    async fn measure(&mut self, part: Part) -> Result<Option<f64>> {
        let batches = self.measured(part).len();
        if batches == 0 {
            return Ok(None);
        }
        // Nothing is awaited between the exchanges: who drops this future finds parameters and state in their place.
        self.exchange();
        self.exchange_state();
        let given = self.losses_of(part);
        self.exchange_state();
        self.exchange();
        given?;
        let losses = self.device.read(&self.history, 0..2 * batches).await?;
        let loss: f64 = losses.iter().step_by(2).map(|loss| loss.double()).sum();
        if !loss.is_finite() {
            let tensor = if part == Part::Validation { "validation loss" } else { "test loss" };
            return Err(Error::Diverged { step: self.position.steps, tensor: tensor.into() });
        }
        Ok(Some(loss))
    }

    async fn parameters(&self) -> Result<Vec<f32>> {
        self.device.read_f32(&self.net.params, 0..self.net.shape.parameters()).await
    }

    /// Everything needed to go on.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn checkpoint(&mut self) -> Result<Checkpoint> {
        self.collect().await?;
        let moments = self.optimizer.rule.moments() * self.net.shape.parameters();
        let moments =
            if moments == 0 { Vec::new() } else { self.device.read_f32(&self.optimizer.moments, 0..moments).await? };
        let loss_scale = match self.device.precision() {
            Precision::F32 => Vec::new(),
            Precision::Mixed => self.optimizer.loss_scale(&self.device).await?,
        };
        Ok(Checkpoint {
            info: ModelInfo { config: self.config.clone(), ..ModelInfo::new(&self.config, &self.data) },
            data: self.fingerprint,
            position: self.position.clone(),
            epochs: self.epochs.clone(),
            parameters: self.parameters().await?,
            average: self.averaged().await?,
            best: self.best.clone(),
            moments,
            history: self.seen.clone(),
            state: self.state().await?,
            loss_scale,
            tuned: self.device.tuned(),
        })
    }

    /// The model with the best parameters so far.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn model(&self) -> Result<Model> {
        let parameters = match &self.best {
            Some(best) => best.clone(),
            None => self.kept_parameters().await?,
        };
        Ok(Model { info: ModelInfo::new(&self.config, &self.data), parameters })
    }

    /// The head's outputs as forecasts in the data's units.
    fn in_units(&self, outputs: &[f32]) -> Forecasts {
        self.data.unscale(&Forecasts::read(&self.config, self.data.columns.targets.len(), outputs))
    }

    /// Restores the best parameters, scores them on the test windows and forecasts beyond the last row.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn finish(mut self) -> Result<(Report, Model)> {
        let model = self.model().await?;
        self.device.write_f32(&mut self.net.params, &model.parameters);
        // What is kept is the average already.
        self.average = None;
        // A forecast in between has left its own starts there.
        self.upload_starts();
        let (test, test_forecasts, ahead) = match self.data.task {
            Task::Forecast => self.test_forecasts().await?,
            _ => Default::default(),
        };
        let test_loss = if test.is_none() { self.measure(Part::Test).await? } else { None };
        let best_epoch = self.position.best.map_or(0, |(epoch, _)| epoch);
        let kept = best_epoch.checked_sub(1).map(|index| &self.epochs[index]);
        let report = Report {
            epochs: self.position.epoch,
            steps: self.position.steps,
            best_epoch,
            train_loss: kept.map_or(f64::NAN, |epoch| epoch.train_loss),
            val_loss: kept.and_then(|epoch| epoch.val_loss),
            test,
            test_loss,
            test_forecasts,
            ahead,
        };
        Ok((report, model))
    }

    /// The scores on the test windows, their forecasts, and the forecast beyond the last row.
    async fn test_forecasts(&mut self) -> Result<(Option<Evaluation>, Forecasts, Forecasts)> {
        let (starts, window) = (self.data.windows.test.clone(), self.config.window);
        self.device.write_indices(&mut self.test, &starts);
        let scaled = self.net.predict(&self.device, &self.inputs, &self.test, starts.len(), window).await?;
        let forecasts = self.in_units(&scaled);
        let test = (!starts.is_empty()).then(|| self.data.evaluate(&starts, &forecasts));
        let end = (self.data.series.rows() - window) as u32;
        self.device.write_indices(&mut self.test, &[end]);
        let ahead = self.net.predict(&self.device, &self.inputs, &self.test, 1, window).await?;
        Ok((test, forecasts, self.in_units(&ahead)))
    }
}

/// Means of the two columns of `[rows, 2]`.
fn mean_pairs(pairs: &[f32]) -> (f64, f64) {
    let rows = (pairs.len() / 2) as f64;
    let sum = |column: usize| pairs.iter().skip(column).step_by(2).map(|&value| f64::from(value)).sum::<f64>();
    (sum(0) / rows, sum(1) / rows)
}

/// A number that tells one series from another: FNV-1a over its names and bits.
fn fingerprint(series: &Series) -> u64 {
    let names = series.columns.iter().flat_map(|name| name.bytes());
    let bits = series.values.iter().flat_map(|value| value.to_bits().to_le_bytes());
    let add = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    names.chain(bits).fold(0xcbf2_9ce4_8422_2325, add)
}
