//! A trained model under the lens: how far its gradient reaches back through time, and what its gates do.
//!
//! Back-propagation through time multiplies the gradient, step by step, with the same recurrent weights and with derivatives
//! below one: over many steps it vanishes or explodes (Hochreiter 1991, "Untersuchungen zu dynamischen neuronalen Netzen";
//! Bengio, Simard & Frasconi 1994, "Learning long-term dependencies with gradient descent is difficult"; Pascanu, Mikolov &
//! Bengio 2013, "On the difficulty of training recurrent neural networks"). An LSTM's forget gate near 1 holds it up. Whether
//! it does in a given model is measured here, from the real backward pass on the chosen device:
//!
//! | file | what it holds |
//! | --- | --- |
//! | `curve.rs` | the norm of ∂loss/∂h by distance from the window's last step, and where it ends |
//! | `gates.rs` | how often the gates are shut or wide open, and the memory that the forget gates give |
//! | `clipping.rs` | how many of a run's logged steps were clipped |
//! | `verdict.rs` | all of that in words, with what may help |

mod clipping;
mod curve;
mod gates;
mod verdict;

pub use clipping::Clipping;
pub use curve::Curve;
pub use gates::{Ends, Gates};
pub use verdict::{Finding, Verdict, judge};

use serde::Serialize;

use crate::config::{Config, Head, LossKind, Precision};
use crate::data::Windows;
use crate::device::{Need, Real};
use crate::error::{Error, Result};
use crate::interop::Model;
use crate::kernels::{Kernels, Record};
use crate::model::{Batch, Network};
use curve::Squares;
use gates::Count;

/// What an inspection found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// Windows it is the mean over.
    pub windows: usize,
    /// T, rows in each.
    pub window: usize,
    /// Each layer from the input up, its two directions one after the other.
    pub cells: Vec<Cell>, // [L · R]
}

/// What was found in one direction of one layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// The layer, counted from 0 as PyTorch does.
    pub layer: usize,
    /// Whether it takes the steps from the last to the first.
    pub reverse: bool,
    /// The gradient of each window's own loss.
    pub gradient: Curve,
    /// The gradient of the loss at the window's last step alone, which shows how far back it reaches; the same where the head
    /// reads the last step only.
    pub last_step: Curve,
    /// What the gates do.
    pub gates: Gates,
}

/// One window as it went through one direction of one layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trace {
    /// The layer, counted from 0.
    pub layer: usize,
    /// Whether it takes the steps from the last to the first.
    pub reverse: bool,
    /// The activated gates i, f, g, o.
    pub gates: Vec<f32>, // [T, 4H]
    /// The cell states after each step.
    pub c: Vec<f32>, // [T, H]
    /// The hidden states after each step.
    pub h: Vec<f32>, // [T, P]
    /// The norm of the gradient of the window's loss.
    pub gradient: Curve,
}

/// The most windows worth looking at, as evenly spread as they come: those to test on, or all where there are none.
pub fn sample(windows: &Windows, most: usize) -> Vec<u32> {
    let all = match windows.test.is_empty() {
        true => [&windows.train[..], &windows.validation].concat(),
        false => windows.test.clone(),
    };
    let count = all.len().min(most);
    (0..count).map(|index| all[index * all.len() / count]).collect()
}

/// A model on a device, with room for its backward pass.
pub struct Inspector<D: Kernels> {
    device: D,
    config: Config,
    channels: usize, // columns of the targets
    net: Network<D>,
    inputs: D::Buffer,  // [R, D], scaled
    targets: D::Buffer, // [R, channels], scaled, or class ids
    starts: D::Indices, // [windows]
    history: D::Buffer, // [1, 2]
    scratch: D::Buffer, // [rows, R · P]
}

impl<D: Kernels> Inspector<D> {
    /// Puts `model` on `device`, with room for `rows` rows and `windows` windows.
    ///
    /// # Errors
    /// If that does not fit the device, or its products are of 16-bit numbers, in which small gradients are zero.
    pub fn new(device: D, model: &Model, rows: usize, windows: usize) -> Result<Self> {
        if device.precision() == Precision::Mixed {
            let problem = "is `mixed`, in which small gradients are zero";
            return Err(Error::option("precision", problem, "open the device with f32"));
        }
        let info = &model.info;
        let mut shape = info.shape();
        shape.lstm.batch = shape.lstm.batch.min(windows.max(1));
        // The gradient is followed over the whole window.
        shape.checkpoint_every = 0;
        shape.lstm.steps = info.config.window;
        let channels = if info.config.loss == LossKind::CrossEntropy { 1 } else { info.targets.len() };
        let lower = "the rows of the file";
        let own = [
            Need::new("the features", rows * if shape.classes { 1 } else { shape.lstm.input_size }, lower),
            Need::new("the targets", rows * channels, lower),
            Need::new("the loss", 2, lower),
            Network::<D>::hidden_gradients_need(&shape.lstm),
        ];
        let places = Need::new("the windows", windows.max(1), lower);
        let needs = own.iter().cloned().chain([places.clone()]).chain(shape.needs(&device));
        device.check(&needs.collect::<Vec<_>>())?;
        let [inputs, targets, history, scratch] = own.map(|need| device.buffer(need.name, need.len));
        let starts = device.indices(places.name, places.len);
        let mut net = Network::new(&device, shape);
        device.write_f32(&mut net.params, &model.parameters);
        Ok(Self { device, config: info.config.clone(), channels, net, inputs, targets, starts, history, scratch })
    }

    /// Looks at the windows that begin at `starts`, of the scaled series `inputs` `[R, D]` and `targets` `[R, targets]`; for
    /// cross entropy both are class ids `[R]`.
    ///
    /// # Errors
    /// Those of the device.
    ///
    /// # Panics
    /// Without a window.
    pub async fn inspect(&mut self, inputs: &[f32], targets: &[f32], starts: &[u32]) -> Result<Inspection> {
        assert!(!starts.is_empty(), "no window to look at");
        self.write(inputs, targets, starts);
        let lstm = self.net.shape.lstm;
        let empty = || vec![Squares::new(lstm.steps); lstm.cells()];
        let (mut own, mut last) = (empty(), empty());
        let mut counts = vec![Count::new(lstm.hidden_size); lstm.cells()];
        for first in (0..starts.len()).step_by(lstm.batch) {
            let batch = Batch::even(lstm.steps, lstm.batch.min(starts.len() - first));
            self.forward(&batch, first);
            self.count_gates(&batch, &mut counts).await?;
            self.backward(&batch, false, &mut own).await?;
            if self.net.shape.head == Head::Every {
                self.forward(&batch, first);
                self.backward(&batch, true, &mut last).await?;
            }
        }
        let last = if self.net.shape.head == Head::Every { last } else { own.clone() };
        let cells = own.into_iter().zip(last).zip(counts).enumerate().map(|(cell, ((own, last), count))| Cell {
            layer: cell / lstm.directions(),
            reverse: cell % lstm.directions() == 1,
            gradient: own.curve(),
            last_step: last.curve(),
            gates: count.finish(lstm.noise.zoneout_c),
        });
        Ok(Inspection { windows: starts.len(), window: lstm.steps, cells: cells.collect() })
    }

    /// Follows the one window that begins at `start`, of the same series, step by step.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn trace(&mut self, inputs: &[f32], targets: &[f32], start: u32) -> Result<Vec<Trace>> {
        self.write(inputs, targets, &[start]);
        let lstm = self.net.shape.lstm;
        let batch = Batch::even(lstm.steps, 1);
        self.forward(&batch, 0);
        let mut traces = self.activations(&batch).await?;
        let mut squares = vec![Squares::new(lstm.steps); lstm.cells()];
        self.backward(&batch, false, &mut squares).await?;
        for (trace, squares) in traces.iter_mut().zip(squares) {
            trace.gradient = squares.curve();
        }
        Ok(traces)
    }

    fn write(&mut self, inputs: &[f32], targets: &[f32], starts: &[u32]) {
        self.device.write_f32(&mut self.inputs, inputs);
        self.device.write_f32(&mut self.targets, targets);
        self.device.write_indices(&mut self.starts, starts);
    }

    /// The windows of `batch`, whose starts lie from place `first` on, through the network.
    fn forward(&mut self, batch: &Batch, first: usize) {
        let (device, net) = (&self.device, &mut self.net);
        let (sequences, steps) = (first..first + batch.packing.batch(), 0..batch.packing.steps());
        let targets = Some((&self.targets, self.channels));
        net.gather(device, &self.inputs, targets, &self.starts, sequences, steps);
        net.forward(device, batch);
    }

    /// And back: `squares` sees the gradients of the hidden states of each window's own loss, or of the loss at its last step
    /// alone.
    async fn backward(&mut self, batch: &Batch, last_step: bool, squares: &mut [Squares]) -> Result<()> {
        let (device, net) = (&self.device, &mut self.net);
        let loss = net.shape.loss(&self.config, &batch.packing, 1.0);
        net.loss(device, &loss, Record { row: 0, add: false }, &mut self.history);
        if last_step {
            net.keep_last_step(device, batch);
        }
        net.zero_gradients(device);
        net.backward(device, batch, None);
        let shares = self.shares(batch, last_step).await?;
        let gradients = self.net.hidden_gradients(&self.device, batch, &mut self.scratch).await?;
        for (squares, gradient) in squares.iter_mut().zip(&gradients) {
            squares.add(&batch.packing, &gradient.d_h, &shares);
        }
        Ok(())
    }

    /// What the forward pass of one window has left.
    async fn activations(&self, batch: &Batch) -> Result<Vec<Trace>> {
        let (lstm, device, packing) = (&self.net.shape.lstm, &self.device, &batch.packing);
        let (steps, hidden, width) = (packing.steps(), lstm.hidden_size, lstm.width());
        let mut traces = Vec::with_capacity(lstm.cells());
        for (layer, kept) in self.net.tape.layers.iter().enumerate() {
            let (y, place) = self.net.tape.output(lstm, packing, layer);
            let y = device.read_f32(y, place.offset..place.offset + steps * place.row).await?;
            for (direction, cell) in kept.cells.iter().enumerate() {
                let h = y.chunks_exact(place.row).flat_map(|row| &row[direction * width..][..width]);
                traces.push(Trace {
                    layer,
                    reverse: direction == 1,
                    gates: self.net.gates(device, batch, (layer, direction)).await?,
                    // The start state lies before the first step's.
                    c: device.read_f32(&cell.c, hidden..(1 + steps) * hidden).await?,
                    h: h.copied().collect(),
                    gradient: Curve(Vec::new()),
                });
            }
        }
        Ok(traces)
    }

    async fn count_gates(&self, batch: &Batch, counts: &mut [Count]) -> Result<()> {
        let directions = self.net.shape.lstm.directions();
        for (cell, count) in counts.iter_mut().enumerate() {
            let cell = (cell / directions, cell % directions);
            count.add(&self.net.gates(&self.device, batch, cell).await?);
        }
        Ok(())
    }

    /// For each window, how many times the gradient of the batch's mean loss the gradient of its own loss is: as often as its
    /// terms are contained in all. Rows that cross entropy leaves out are no terms.
    async fn shares(&self, batch: &Batch, last_step: bool) -> Result<Vec<f64>> {
        let (shape, windows) = (&self.net.shape, batch.packing.batch());
        let targets = shape.targets(&batch.packing);
        let rows = shape.prediction_rows(&batch.packing);
        let counted: Vec<bool> = match self.config.loss {
            LossKind::CrossEntropy => {
                let ignored = self.config.ignore_index as f64;
                let ids = self.device.read(&self.net.target, 0..targets).await?;
                ids.into_iter().map(|id| id.double() != ignored).collect()
            }
            _ => vec![true; rows],
        };
        let all = counted.iter().filter(|counted| **counted).count() as f64;
        let from = if last_step { rows - windows } else { 0 };
        let own = |window: usize| counted[from..].iter().skip(window).step_by(windows).filter(|c| **c).count();
        Ok((0..windows).map(|window| all / own(window).max(1) as f64).collect())
    }
}
