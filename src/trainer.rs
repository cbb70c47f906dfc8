//! The training loop: batch → forward → loss → backward → clip → step, an epoch of these, validation, and again.
//!
//! A shell pulls: each [`Trainer::next`] does one optimizer step or one validation and says what there is to show. To pause
//! is not to pull, to cancel is to drop, to go on later is [`Trainer::checkpoint`] and [`Trainer::resume`].

mod average;
mod divergence;
mod events;
mod schedule;

pub use events::{Event, Report, StepMeans, StepReport};

use crate::checkpoint::{Checkpoint, EpochReport, Position};
use crate::config::{Config, LrSchedule};
use crate::data::{Dataset, Forecasts, Series};
use crate::device::{Need, Real};
use crate::error::{Error, Place, Result};
use crate::interop::{Model, ModelInfo};
use crate::kernels::{Kernels, Record, Rule};
use crate::model::{Average, Batch as Sequences, Network, NetworkShape, Optimizer, start_parameters};
use crate::rng::{Rng, Stream};

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
    order: D::Indices,      // [training windows], this epoch's order
    validation: D::Indices, // [validation windows]
    test: D::Indices,       // [test windows], or the one window at the end of the series
    history: D::Buffer,     // [steps of an epoch or batches of a validation, 2]
    position: Position,
    epochs: Vec<EpochReport>,
    best: Option<Vec<f32>>,
    seen: Vec<f32>,               // loss and norm of this epoch's steps, as far as they were read
    ordered_epoch: Option<usize>, // the epoch whose order is on the device
}

/// One batch of a step.
struct Batch {
    start: usize,   // place of its first window in this epoch's order
    len: usize,     // its windows
    weight: f64,    // its share of the step's windows
    record: Record, // where its loss goes
}

impl<D: Kernels> Trainer<D> {
    /// A new run. The parameters start from config and seed, or from `init` `[P]`.
    ///
    /// # Errors
    /// Options that cannot be used, or a run that does not fit the device.
    pub fn new(device: D, config: Config, data: Dataset, init: Option<Vec<f32>>) -> Result<Self> {
        config.validate()?;
        let shape = NetworkShape::new(&config, data.columns.features.len(), data.columns.targets.len());
        let mut trainer = Self::allocate(device, config, data, shape)?;
        let parameters = init.unwrap_or_else(|| start_parameters(&trainer.config, &shape));
        assert_eq!(parameters.len(), shape.parameters(), "start parameters");
        trainer.device.write_f32(&mut trainer.net.params, &parameters);
        trainer.write_average(&parameters);
        Ok(trainer)
    }

    /// The run of `checkpoint`, going on after its last step.
    ///
    /// # Errors
    /// If `data` is not the data it was trained on.
    pub fn resume(device: D, checkpoint: Checkpoint, data: Dataset) -> Result<Self> {
        let Checkpoint { info, data: known, position, epochs, parameters, average, best, moments, history } =
            checkpoint;
        if fingerprint(&data.series) != known {
            return Err(Error::file(
                Place::file(&data.series.file),
                "its values have changed since the checkpoint was written",
                "give the unchanged file, or begin a new run",
            ));
        }
        let shape = info.shape();
        let mut trainer = Self::allocate(device, info.config, data, shape)?;
        trainer.device.write_f32(&mut trainer.net.params, &parameters);
        trainer.write_average(&average.unwrap_or_default());
        trainer.device.write_f32(&mut trainer.optimizer.moments, &moments);
        trainer.position = position;
        trainer.epochs = epochs;
        trainer.best = best;
        trainer.seen = history;
        Ok(trainer)
    }

    fn allocate(device: D, config: Config, data: Dataset, shape: NetworkShape) -> Result<Self> {
        if config.lr_schedule == LrSchedule::Plateau && data.windows.validation.is_empty() {
            let remedy = "raise `validation_share`, or choose another schedule";
            return Err(Error::option(
                "lr_schedule",
                "`plateau` goes by the validation loss, and there is none",
                remedy,
            ));
        }
        let rule = Rule::from(&config);
        let steps = data.windows.train.len().div_ceil(config.batch_size * config.accumulate);
        let history = steps.max(data.windows.validation.len().div_ceil(config.batch_size));
        let rows = "the rows of the file";
        let own = [
            Need::new("the features", data.series.rows() * data.columns.features.len(), rows),
            Need::new("the targets", data.series.rows() * data.columns.targets.len(), rows),
            Need::new("the losses of an epoch", 2 * history, rows),
        ];
        let starts = [
            Need::new("the order of the windows", data.windows.train.len(), rows),
            Need::new("the validation windows", data.windows.validation.len(), rows),
            Need::new("the test windows", data.windows.test.len().max(1), rows),
        ];
        let optimizer = Optimizer::needs(&device, &rule, shape.parameters());
        let average = (config.ema > 0.0).then(|| Average::<D>::need(shape.parameters()));
        let known = own.iter().chain(&starts).chain(&optimizer).chain(&average).cloned();
        device.check(&known.chain(shape.needs(&device)).collect::<Vec<_>>())?;

        let [inputs, targets, history] = own.map(|need| device.buffer(need.name, need.len));
        let [order, validation, test] = starts.map(|need| device.indices(need.name, need.len));
        let net = Network::new(&device, shape);
        let optimizer = Optimizer::new(&device, rule, shape.parameters());
        let average = average.map(|_| Average::new(&device, config.ema, shape.parameters()));
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
            position,
            epochs,
            best: None,
            seen,
            ordered_epoch: None,
        };
        trainer.upload_data();
        Ok(trainer)
    }

    fn upload_data(&mut self) {
        let device = &self.device;
        device.write_f32(&mut self.inputs, &self.data.inputs());
        device.write_f32(&mut self.targets, &self.data.targets());
        device.write_indices(&mut self.validation, &self.data.windows.validation);
        device.write_indices(&mut self.test, &self.data.windows.test);
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
    /// The epochs behind it.
    pub fn epochs(&self) -> &[EpochReport] {
        &self.epochs
    }

    /// Optimizer steps in an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.data.windows.train.len().div_ceil(self.config.batch_size * self.config.accumulate)
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
        let (t, lr) = (self.position.steps + 1, self.learning_rate(self.position.steps));
        self.optimizer.step(&self.device, &mut self.net, t, lr, row, &mut self.history);
        if let Some(average) = &mut self.average {
            average.step(&self.device, &self.net, &self.optimizer);
        }
        self.device.submit()?;
        self.position.step += 1;
        self.position.steps += 1;
        Ok(())
    }

    /// The batches of step `row` of an epoch, counted from 0.
    fn batches(&self, row: usize) -> Vec<Batch> {
        let size = self.config.batch_size;
        let first = row * size * self.config.accumulate;
        let last = self.data.windows.train.len().min(first + size * self.config.accumulate);
        let batch = |start: usize| {
            let len = size.min(last - start);
            let weight = len as f64 / (last - first) as f64;
            Batch { start, len, weight, record: Record { row, add: start > first } }
        };
        (first..last).step_by(size).map(batch).collect()
    }

    fn forward_backward(&mut self, &Batch { start, len, weight, record }: &Batch) {
        let (device, net) = (&self.device, &mut self.net);
        let channels = self.data.columns.targets.len();
        net.gather_inputs(device, &self.inputs, &self.order, start, len);
        net.gather_targets(device, (&self.targets, channels), &self.order, start, len);
        let batch = Sequences::even(self.config.window, len).training(self.position.steps as u32);
        net.forward(device, &batch);
        let loss = net.shape.loss(&self.config, &batch.packing, weight);
        net.loss(device, &loss, record, &mut self.history);
        net.backward(device, &batch, None);
    }

    /// Puts this epoch's order of the training windows on the device.
    fn upload_order(&mut self) {
        let epoch = self.position.epoch;
        if self.ordered_epoch != Some(epoch) {
            let mut order = self.data.windows.train.clone();
            Rng::new(self.config.seed, Stream::Shuffle { epoch: epoch as u32 }).shuffle(&mut order);
            self.device.write_indices(&mut self.order, &order);
            self.ordered_epoch = Some(epoch);
        }
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
        Ok(StepMeans { loss, grad_norm, lr: self.learning_rate(self.position.steps - 1) })
    }

    async fn end_epoch(&mut self) -> Result<EpochReport> {
        self.collect().await?;
        let val_loss = self.validate().await?;
        let (train_loss, grad_norm) = mean_pairs(&self.seen);
        let lr = self.learning_rate(self.position.steps - 1);
        self.position.epoch += 1;
        self.position.step = 0;
        self.seen.clear();
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

    /// The mean loss over the validation windows, of the average if there is one. Nothing of the training state is touched.
    async fn validate(&mut self) -> Result<Option<f64>> {
        let windows = self.data.windows.validation.len();
        if windows == 0 {
            return Ok(None);
        }
        // Nothing is awaited between the two exchanges: who drops this future finds the parameters in their place.
        self.exchange();
        let given = self.validation_losses();
        self.exchange();
        given?;
        let size = self.config.batch_size;
        let losses = self.device.read(&self.history, 0..2 * windows.div_ceil(size)).await?;
        let loss: f64 = losses.iter().step_by(2).map(|loss| loss.double()).sum();
        if !loss.is_finite() {
            return Err(Error::Diverged { step: self.position.steps, tensor: "validation loss".into() });
        }
        Ok(Some(loss))
    }

    /// Gives the commands that leave the loss of each validation batch, as its share of the mean, in `history`.
    fn validation_losses(&mut self) -> Result<()> {
        let windows = self.data.windows.validation.len();
        let (size, channels) = (self.config.batch_size, self.data.columns.targets.len());
        for (row, first) in (0..windows).step_by(size).enumerate() {
            let (device, net, batch) = (&self.device, &mut self.net, size.min(windows - first));
            net.gather_inputs(device, &self.inputs, &self.validation, first, batch);
            net.gather_targets(device, (&self.targets, channels), &self.validation, first, batch);
            let weight = batch as f64 / windows as f64;
            let batch = Sequences::even(self.config.window, batch);
            net.forward(device, &batch);
            let loss = net.shape.loss(&self.config, &batch.packing, weight);
            net.loss(device, &loss, Record { row, add: false }, &mut self.history);
            device.submit()?;
        }
        Ok(())
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
    fn forecasts(&self, outputs: &[f32]) -> Forecasts {
        self.data.unscale(&Forecasts::read(&self.config, self.data.columns.targets.len(), outputs))
    }

    /// Restores the best parameters, scores them on the test windows and forecasts beyond the last row.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn finish(mut self) -> Result<(Report, Model)> {
        let model = self.model().await?;
        self.device.write_f32(&mut self.net.params, &model.parameters);
        let starts = self.data.windows.test.clone();
        let scaled = self.net.predict(&self.device, &self.inputs, &self.test, starts.len()).await?;
        let test_forecasts = self.forecasts(&scaled);
        let test = (!starts.is_empty()).then(|| self.data.evaluate(&starts, &test_forecasts));
        let end = (self.data.series.rows() - self.config.window) as u32;
        self.device.write_indices(&mut self.test, &[end]);
        let ahead = self.net.predict(&self.device, &self.inputs, &self.test, 1).await?;
        let best_epoch = self.position.best.map_or(0, |(epoch, _)| epoch);
        let kept = best_epoch.checked_sub(1).map(|index| &self.epochs[index]);
        let report = Report {
            epochs: self.position.epoch,
            steps: self.position.steps,
            best_epoch,
            train_loss: kept.map_or(f64::NAN, |epoch| epoch.train_loss),
            val_loss: kept.and_then(|epoch| epoch.val_loss),
            test,
            test_forecasts,
            ahead: self.forecasts(&ahead),
        };
        Ok((report, model))
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
