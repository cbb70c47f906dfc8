//! A device, and a run on it.

use js_sys::{Array, Object};
use wasm_bindgen::prelude::*;

use super::look::{Held, Writer, inspect, trace};
use super::now;
use super::source::Source;
use super::values::{Fault, bytes, doubles, forecast_ahead, number, object, places, set, singles, to_js, to_object};
use crate::checkpoint::Checkpoint;
use crate::config::{Config, DeviceKind, Precision, Task};
use crate::data::Dataset;
use crate::device::{Cpu, Device as _, Engine, Gpu, Need, Tuned};
use crate::error::Error;
use crate::interop::{Model, read_parameters};
use crate::kernels::Kernels;
use crate::model::NetworkShape;
use crate::trainer::{Change, Event, Report, Trainer};
use crate::tuner::{Measured, Row, Table, measure};

/// Steps handed to a GPU before one waits for them, at most.
const MOST_TOGETHER: u32 = 1024;

/// The same on whichever device a run has.
macro_rules! on {
    ($run:expr, $trainer:ident => $body:expr) => {
        match $run {
            Kind::Gpu($trainer) => $body,
            Kind::Cpu($trainer) => $body,
        }
    };
}

/// A device to compute on, made once for each run.
#[wasm_bindgen]
pub struct Device {
    engine: Engine,
}

#[wasm_bindgen]
impl Device {
    /// `auto` (a hardware GPU, else the CPU), `gpu` or `cpu`; a GPU computes as `tuned` says, JSON of an earlier `tune`.
    ///
    /// # Errors
    /// No adapter, or one that refuses.
    pub async fn open(kind: &str, tuned: Option<String>) -> Result<Device, Fault> {
        let kind = match kind {
            "gpu" => DeviceKind::Gpu,
            "cpu" => DeviceKind::Cpu,
            _ => DeviceKind::Auto,
        };
        let tuned = tuned.and_then(|text| serde_json::from_str::<Tuned>(&text).ok());
        Ok(Self { engine: Engine::open(kind, None, Precision::F32, tuned.into_iter().collect()).await? })
    }

    /// Measures which kernels are fastest on its GPU: `{tuned, products, recurrences, stacks}`, the tables as `{hidden, rows: [{candidate,
    /// seconds}], chosen}`; `null` on the CPU.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn tune(&mut self) -> Result<JsValue, Fault> {
        let Engine::Gpu(gpu) = &mut self.engine else { return Ok(JsValue::NULL) };
        let Measured { tuned, products, recurrences, stacks } = measure(gpu, || now() / 1000.0).await?;
        let stacks = stacks.as_ref().map(times);
        Ok(object! { tuned: to_js(&tuned)?, products: times(&products), recurrences: times(&recurrences), stacks: stacks }.into())
    }

    /// `{kind, adapter}`: `gpu` or `cpu`, and its name.
    pub fn describe(&self) -> JsValue {
        crate::on!(&self.engine, device => object! { kind: device.kind(), adapter: device.adapter() }.into())
    }

    /// The memory that a run with `options` on `source` needs here, before anything is allocated: `{bytes, largest, lower,
    /// fits, problem, smaller}`, where `smaller` are options with which it fits, if it does not.
    ///
    /// # Errors
    /// Options that cannot be used on this data.
    pub fn need(&self, source: &mut Source, options: &JsValue) -> Result<JsValue, Fault> {
        let config = source.config(options)?;
        let data = source.dataset(&config, None)?;
        Ok(crate::on!(&self.engine, device => need(device, &config, &data))?.into())
    }
}

fn times(table: &Table) -> Object {
    let row = |row: &Row| object! { candidate: row.candidate, seconds: doubles(&row.seconds) };
    let rows = table.rows.iter().map(row).collect::<Array>();
    object! { hidden: places(table.hidden.iter().copied()), rows: rows, chosen: table.chosen }
}

fn need<D: Kernels>(device: &D, config: &Config, data: &Dataset) -> Result<Object, Fault> {
    let size = |need: &Need| need.len as f64 * size_of::<D::Element>() as f64;
    let needs = Trainer::needs(device, config, data)?;
    let largest = needs.iter().max_by(|a, b| size(a).total_cmp(&size(b)));
    let problem = device.check(&needs).err();
    let smaller = problem.as_ref().and_then(|_| smaller(device, config, data));
    Ok(object! {
        bytes: needs.iter().map(size).sum::<f64>(),
        largest: largest.map(|need| object! { name: need.name, bytes: size(need), lower: need.lower }),
        fits: problem.is_none(),
        problem: problem.map(|problem| problem.to_string()),
        smaller: smaller,
    })
}

/// The largest half, quarter, … of the batch that fits, or else of the window.
fn smaller<D: Kernels>(device: &D, config: &Config, data: &Dataset) -> Option<Object> {
    let halves =
        |most: usize| std::iter::successors(Some(most / 2), |half| Some(half / 2)).take_while(|half| *half > 0);
    let fits = |config: &Config| Trainer::needs(device, config, data).is_ok_and(|needs| device.check(&needs).is_ok());
    let batch = halves(config.batch_size).find(|&batch_size| fits(&Config { batch_size, ..config.clone() }));
    let window = || halves(config.window).find(|&window| fits(&Config { window, ..config.clone() }));
    batch.map(|batch| object! { batch_size: batch }).or_else(|| window().map(|window| object! { window: window }))
}

#[expect(clippy::large_enum_variant, reason = "one is made per run")]
enum Kind {
    Gpu(Trainer<Gpu>),
    Cpu(Trainer<Cpu<f32>>),
}

/// A run. It goes on while [`advance`](Run::advance) is called; not to call is to pause.
#[wasm_bindgen]
pub struct Run {
    kind: Kind,
    together: u32, // steps that a GPU does in one slice
    told: usize,   // numbers of this epoch's losses that were told
    held: Held,
}

#[wasm_bindgen]
impl Run {
    /// A new run on `device`, from start weights, or from those in the bytes of a safetensors file.
    ///
    /// # Errors
    /// Options or data that cannot be used, or a run that does not fit the device.
    pub fn create(device: Device, source: &mut Source, options: &JsValue, init: Option<Vec<u8>>) -> Result<Run, Fault> {
        let config = source.config(options)?;
        let data = source.dataset(&config, None)?;
        let (inputs, outputs) = data.widths();
        let shape = NetworkShape::new(&config, inputs, outputs);
        let init = init.map(|bytes| read_parameters("the model", &bytes, &shape)).transpose()?;
        let problem = crate::on!(&device.engine, device => smaller_if_too_large(device, &config, &data));
        let kind = match device.engine {
            Engine::Gpu(gpu) => Trainer::new(gpu, config, data, init).map(Kind::Gpu),
            Engine::Cpu(cpu) => Trainer::new(cpu, config, data, init).map(Kind::Cpu),
        };
        let told = |error: Error| match problem {
            Some(smaller) => Fault::from(error).with("smaller", smaller),
            None => error.into(),
        };
        Ok(Self::of(kind.map_err(told)?))
    }

    /// The run of a checkpoint, `last.ckpt`'s bytes, going on after its last step.
    ///
    /// # Errors
    /// If the bytes are no checkpoint, or `source` does not hold the data it was trained on.
    pub fn resume(device: Device, source: &mut Source, bytes: &[u8]) -> Result<Run, Fault> {
        let mut checkpoint = Checkpoint::from_bytes("last.ckpt", bytes)?;
        let data = source.dataset_of(&mut checkpoint, None)?;
        Ok(Self::of(match device.engine {
            Engine::Gpu(gpu) => Kind::Gpu(Trainer::resume(gpu, checkpoint, data)?),
            Engine::Cpu(cpu) => Kind::Cpu(Trainer::resume(cpu, checkpoint, data)?),
        }))
    }

    fn of(kind: Kind) -> Self {
        let (told, held) =
            on!(&kind, trainer => (2 * trainer.position().step, Held::of(trainer.data(), trainer.config())));
        Self { kind, together: 1, told, held }
    }

    /// What is fixed about the run, and where it is: `{device, adapter, parameters, bytes, steps_per_epoch, config, position,
    /// epochs, notes}`.
    ///
    /// # Errors
    /// None.
    pub fn describe(&self) -> Result<JsValue, Fault> {
        on!(&self.kind, trainer => {
            let (device, data) = (trainer.device(), trainer.data());
            let (inputs, outputs) = data.widths();
            Ok(object! {
                device: device.kind(), adapter: device.adapter(), bytes: device.allocated(),
                parameters: NetworkShape::new(trainer.config(), inputs, outputs).parameters(),
                steps_per_epoch: trainer.steps_per_epoch(), config: to_js(trainer.config())?,
                task: to_js(&data.task)?, notes: data.notes.clone(), position: to_js(trainer.position())?,
                epochs: to_js(&trainer.epochs())?, naive_loss: naive(data),
            }
            .into())
        })
    }

    /// Optimizer steps taken in all.
    pub fn steps(&self) -> f64 {
        on!(&self.kind, trainer => trainer.position().steps as f64)
    }

    /// Steps for about `budget` milliseconds, at most `most` of them, and at most to an epoch's end. Answers with what
    /// happened, in order:
    ///
    /// - `{type: "steps", epoch, step_in_epoch, steps_per_epoch, step, lr, losses: Float32Array}`: loss and gradient norm of
    ///   each step since the last such event
    /// - `{type: "epoch", epoch, step, train_loss, val_loss, grad_norm, lr, best}`
    /// - `{type: "end"}` once training has ended
    ///
    /// # Errors
    /// `diverged`, `lost`, `device`.
    pub async fn advance(&mut self, budget: f64, most: u32) -> Result<Array, Fault> {
        let events = Array::new();
        let begun = now();
        let waits = matches!(self.kind, Kind::Gpu(_));
        let (mut steps, mut ended) = (0, false);
        loop {
            if on!(&self.kind, trainer => trainer.position().step == trainer.steps_per_epoch()) {
                self.tell_steps(&events).await?;
            }
            match on!(&mut self.kind, trainer => trainer.next().await)? {
                Some(Event::Step(_)) => steps += 1,
                Some(Event::Epoch(report)) => {
                    self.told = 0;
                    events.push(&typed("epoch", to_object(&report)?));
                    break;
                }
                None => {
                    ended = true;
                    break;
                }
            }
            // What a GPU was told to do takes no time until one waits for it.
            if steps >= most || now() - begun > budget || (waits && steps >= self.together) {
                break;
            }
        }
        self.tell_steps(&events).await?;
        if waits && steps >= self.together {
            let longer = now() - begun < budget / 2.0;
            self.together = if longer { MOST_TOGETHER.min(2 * self.together) } else { self.together };
        }
        if waits && now() - begun > 1.5 * budget {
            self.together = (self.together / 2).max(1);
        }
        if ended {
            events.push(object! { type: "end" }.as_ref());
        }
        Ok(events)
    }

    /// Adds the steps that were not told yet; waits until the device has done them.
    async fn tell_steps(&mut self, events: &Array) -> Result<(), Fault> {
        let told = self.told;
        let event = on!(&mut self.kind, trainer => {
            let losses = match trainer.losses().await?.get(told..) {
                Some(new) if !new.is_empty() => singles(new),
                _ => return Ok(()),
            };
            self.told += losses.length() as usize;
            let at = trainer.position();
            object! {
                type: "steps", epoch: at.epoch + 1, step_in_epoch: at.step, steps_per_epoch: trainer.steps_per_epoch(),
                step: at.steps, lr: trainer.rate(), losses: losses,
            }
        });
        events.push(&event);
        Ok(())
    }

    /// Goes on with another `lr`, `max_norm`, `clip_value` or number of `epochs`.
    ///
    /// # Errors
    /// Values that cannot be used; then nothing has changed.
    pub fn change(&mut self, change: &JsValue) -> Result<(), Fault> {
        let change = Change {
            lr: number(change, "lr"),
            max_norm: number(change, "max_norm"),
            clip_value: number(change, "clip_value"),
            epochs: number(change, "epochs").map(|epochs| epochs as usize),
        };
        Ok(on!(&mut self.kind, trainer => trainer.change(&change))?)
    }

    /// The bytes of `last.ckpt`, with which the command line goes on, too.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn checkpoint(&mut self) -> Result<Vec<u8>, Fault> {
        Ok(on!(&mut self.kind, trainer => trainer.checkpoint().await)?.to_bytes())
    }

    /// The bytes of `model.safetensors` with the best weights so far.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn model(&self) -> Result<Vec<u8>, Fault> {
        Ok(on!(&self.kind, trainer => trainer.model().await)?.to_bytes())
    }

    /// Forecasts by the model as it is now, of windows that do not overlap, the last `most` of the part (`validation` or
    /// `test`), beside the truth and the naive forecasts: `{part, origins, horizon, targets, point, quantiles, truth,
    /// repeat_last, seasonal}`. `null` if there is no window, or if the run forecasts no numbers.
    ///
    /// # Errors
    /// Those of the device.
    #[wasm_bindgen(js_name = heldOut)]
    pub async fn held_out(&mut self, part: &str, most: usize) -> Result<JsValue, Fault> {
        let held = &self.held;
        let starts = held.starts(part, most);
        if starts.is_empty() {
            return Ok(JsValue::NULL);
        }
        on!(&mut self.kind, trainer => {
            let forecasts = trainer.forecasts(&starts).await?;
            Ok(held.beside(&starts, &forecasts, trainer.data()).into())
        })
    }

    /// Writes text by the model as it is now.
    ///
    /// # Errors
    /// If it is no model of text.
    pub async fn writer(&self, seed: u32) -> Result<Writer, Fault> {
        Writer::of(&self.current().await?, seed)
    }

    /// How far the gradient reaches back in the model as it is now, over at most `windows` windows.
    ///
    /// # Errors
    /// Those of an inspection.
    pub async fn inspect(&self, windows: usize) -> Result<JsValue, Fault> {
        let model = self.current().await?;
        on!(&self.kind, trainer => inspect(&model, trainer.data(), windows).await)
    }

    /// Gates, states and gradient of one window, the one at place `index` of those to test on.
    ///
    /// # Errors
    /// Those of an inspection.
    pub async fn trace(&self, index: usize) -> Result<JsValue, Fault> {
        let model = self.current().await?;
        on!(&self.kind, trainer => trace(&model, trainer.data(), index).await)
    }

    async fn current(&self) -> Result<Model, Fault> {
        Ok(on!(&self.kind, trainer => trainer.current().await)?)
    }

    /// Ends the run: its best weights, their scores and the forecast beyond the data.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn finish(self) -> Result<JsValue, Fault> {
        let held = self.held;
        on!(self.kind, trainer => {
            let data = trainer.data().clone();
            let (report, model) = trainer.finish().await?;
            let told = tell_report(&report, &data)?;
            if let Some(shown) = held.of_report(&report, &data) {
                set(&told, "test_forecasts", shown);
            }
            set(&told, "model", bytes(&model.to_bytes()));
            Ok(told.into())
        })
    }
}

/// What is in a checkpoint, for a page that offers to go on: `{config, data, position, epochs}`.
///
/// # Errors
/// If it is none.
#[wasm_bindgen(js_name = checkpointInfo)]
pub fn checkpoint_info(bytes: &[u8]) -> Result<JsValue, Fault> {
    let Checkpoint { info, position, epochs, .. } = Checkpoint::from_bytes("last.ckpt", bytes)?;
    let (config, position) = (to_js(&info.config)?, to_js(&position)?);
    Ok(object! { config: config, position: position, epochs: to_js(&epochs)? }.into())
}

fn smaller_if_too_large<D: Kernels>(device: &D, config: &Config, data: &Dataset) -> Option<Object> {
    let too_large = Trainer::needs(device, config, data).is_ok_and(|needs| device.check(&needs).is_err());
    if too_large { smaller(device, config, data) } else { None }
}

fn typed(kind: &str, event: Object) -> Object {
    set(&event, "type", kind);
    event
}

fn naive(data: &Dataset) -> Option<Object> {
    data.naive_loss().map(|(loss, name)| object! { loss: loss, name: name })
}

/// The report's scores, and the forecast beyond the data with its file.
fn tell_report(report: &Report, data: &Dataset) -> Result<Object, Fault> {
    let test = report.test.as_ref();
    let best_naive = match test.map(|test| test.best_naive()) {
        Some((name, scores)) => Some(object! { name: name, scores: to_js(&scores)? }),
        None => None,
    };
    let told = object! {
        epochs: report.epochs, steps: report.steps, best_epoch: report.best_epoch,
        train_loss: report.train_loss, val_loss: report.val_loss, test: to_js(&test.map(|test| test.model))?,
        baselines: to_js(&test.map(|test| test.baselines))?, calibration: to_js(&test.and_then(|test| test.calibration))?,
        best_naive: best_naive, test_loss: report.test_loss, naive_loss: naive(data), season: data.season,
        test_windows: data.windows.test.len(),
    };
    if data.task == Task::Forecast {
        set(&told, "ahead", forecast_ahead(&report.ahead, data));
    }
    Ok(told)
}
