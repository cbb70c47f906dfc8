//! `last.ckpt`: everything a run is, so that it can go on as if it had never stopped.
//!
//! The file is a safetensors file: `param.*`, `average.*` and `best.*` under PyTorch's names, `moments` of the optimizer, `history` of
//! the epoch under way, and the rest as metadata. The order of the windows needs no state: it follows from seed and epoch.

use serde::{Deserialize, Serialize};

use crate::config::Precision;
use crate::device::Tuned;
use crate::error::{Error, Place, Result};
use crate::interop::{Archive, ArchiveBuilder, ModelInfo};
use crate::kernels::Rule;

/// How far a run has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Whole epochs behind it.
    pub epoch: usize,
    /// Steps taken in the epoch under way.
    pub step: usize,
    /// Optimizer steps taken in all.
    pub steps: u64,
    /// The epoch with the smallest validation loss so far, counted from 1, and that loss.
    pub best: Option<(usize, f64)>,
    /// Whether training has ended: by the number of epochs or by early stopping.
    pub finished: bool,
    /// What the plateau schedule has seen.
    #[serde(default)]
    pub plateau: Plateau,
}

/// What the learning-rate schedule `plateau` goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plateau {
    /// Epochs without gain since the last gain or since the rate was lowered.
    pub waited: usize,
    /// How often the rate was lowered.
    pub lowered: u32,
}

/// One epoch, once it is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// The epoch, counted from 1.
    pub epoch: usize,
    /// Optimizer steps taken in all.
    pub step: u64,
    /// Mean training loss over the epoch's steps.
    pub train_loss: f64,
    /// Loss on the validation windows, if there are any.
    pub val_loss: Option<f64>,
    /// Mean norm of the gradients before clipping.
    pub grad_norm: f64,
    /// Learning rate of its last step.
    pub lr: f64,
    /// Whether its validation loss is the smallest so far, by more than `min_delta`.
    pub best: bool,
}

/// A run between two steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Config, columns and scaler. Here the config keeps the path of its data.
    pub info: ModelInfo,
    /// A number that tells this series from others.
    pub data: u64,
    /// How far the run has come.
    pub position: Position,
    /// The epochs behind it.
    pub epochs: Vec<EpochReport>,
    /// The parameters `[P]`.
    pub parameters: Vec<f32>,
    /// Their moving average `[P]`, if the config asks for it.
    pub average: Option<Vec<f32>>,
    /// The parameters of the best epoch `[P]`, or their average, once there is one.
    pub best: Option<Vec<f32>>,
    /// The optimizer's moments `[0 to 3, P]`.
    pub moments: Vec<f32>,
    /// Loss and gradient norm of each step of the epoch under way `[step, 2]`.
    pub history: Vec<f32>,
    /// h, then c, of the streams in the epoch under way; empty at its start and without streams.
    pub state: Vec<f32>,
    /// The last step's norm, the loss's scale, and for how many steps it has been; empty where products are of 32-bit numbers.
    pub loss_scale: Vec<f32>,
    /// How its GPU computed, so that it goes on with the same bits there.
    pub tuned: Option<Tuned>,
}

#[derive(Serialize, Deserialize)]
struct Metadata {
    info: ModelInfo,
    data: u64,
    position: Position,
    epochs: Vec<EpochReport>,
    #[serde(skip_deserializing)]
    tuned: Option<Tuned>,
}

/// Of the same object, read by itself, so that another version's way to tune is as good as none.
#[derive(Deserialize)]
struct HowTuned {
    tuned: Option<Tuned>,
}

impl Checkpoint {
    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let shape = self.info.shape();
        let mut archive = ArchiveBuilder::default();
        archive.add_parameters("param.", &shape, &self.parameters);
        if let Some(average) = &self.average {
            archive.add_parameters("average.", &shape, average);
        }
        if let Some(best) = &self.best {
            archive.add_parameters("best.", &shape, best);
        }
        archive.add("moments", self.moments.clone());
        archive.add("history", self.history.clone());
        if !self.state.is_empty() {
            archive.add("state", self.state.clone());
        }
        if !self.loss_scale.is_empty() {
            archive.add("loss_scale", self.loss_scale.clone());
        }
        let (info, epochs, tuned) = (self.info.clone(), self.epochs.clone(), self.tuned.clone());
        archive.finish(&Metadata { info, data: self.data, position: self.position.clone(), epochs, tuned })
    }

    /// Reads a file written by [`to_bytes`](Checkpoint::to_bytes); `file` names it in messages.
    ///
    /// # Errors
    /// If it is no such file, is cut short, or does not fit its own config.
    pub fn from_bytes(file: &str, bytes: &[u8]) -> Result<Self> {
        let archive = Archive::read(file, bytes)?;
        let Metadata { info, data, position, epochs, .. } =
            archive.metadata("give the last.ckpt of a run folder, or begin a new run")?;
        let tuned = archive.known().and_then(|HowTuned { tuned }| tuned);
        info.config.validate()?;
        let shape = info.shape();
        let parameters = archive.parameters("param.", &shape.tensors())?;
        let averaged = (info.config.ema > 0.0).then(|| archive.parameters("average.", &shape.tensors()));
        let average = averaged.transpose()?;
        let best = position.best.map(|_| archive.parameters("best.", &shape.tensors())).transpose()?;
        let (moments, history) = (archive.vector("moments")?, archive.vector("history")?);
        let wanted = (Rule::from(&info.config).moments() * shape.parameters(), 2 * position.step);
        if (moments.len(), history.len()) != wanted {
            let problem = format!("{} moments and {} losses, not {wanted:?}", moments.len(), history.len());
            return Err(Error::file(Place::file(file), problem, "use an unchanged checkpoint, or begin a new run"));
        }
        let numbers = |name: &str, len: usize| {
            let found = if len == 0 { Vec::new() } else { archive.vector(name)? };
            if found.len() == len {
                return Ok(found);
            }
            let problem = format!("`{name}` has {} numbers, not {len}", found.len());
            Err(Error::file(Place::file(file), problem, "use an unchanged checkpoint, or begin a new run"))
        };
        // Streams in the middle of an epoch carry a state.
        let (lstm, carried) = (&shape.lstm, info.config.bptt.is_some() && position.step > 0);
        let state = lstm.cells() * lstm.batch * (lstm.width() + lstm.hidden_size);
        let state = numbers("state", if carried { state } else { 0 })?;
        let loss_scale = numbers("loss_scale", if info.config.precision == Precision::Mixed { 3 } else { 0 })?;
        Ok(Self { info, data, position, epochs, parameters, average, best, moments, history, state, loss_scale, tuned })
    }
}
