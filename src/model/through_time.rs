//! The gradient on its way through time: what of the loss's gradient arrives at the hidden state after each step.
//!
//! After [`Network::backward`] the tape holds d_gates, the gradient of the gates before activation, and before normalisation where
//! there is one. In evaluation, with z the share that zoneout keeps of h, the gradient
//! of each layer's and direction's h_t is what comes from above and what the step after it sends:
//!
//! ```text
//! d_h_t = u_t + d_gates_{t+1} · W_hh + z · d_h_{t+1}        d_h_0 = d_gates_1 · W_hh + z · d_h_1
//! u_t   = d_prediction_t · W_fc for the top layer, Σ over the directions of d_gates_t · W_ih of the layer above for others
//! ```

use super::{Batch, Network};
use crate::config::Head;
use crate::device::{Need, Real};
use crate::error::Result;
use crate::kernels::{Kernels, LstmShape, Matrix, Onto, Packing, ProductShape};

/// The gradient of the loss with respect to the hidden states of one direction of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct HiddenGradient {
    /// Of h after each row's step.
    pub d_h: Vec<f64>, // [rows, P]
    /// Of the start h.
    pub d_start: Vec<f64>, // [N, P]
}

impl<D: Kernels> Network<D> {
    /// The buffer that [`hidden_gradients`](Network::hidden_gradients) computes in, for the largest batch of `shape`.
    pub fn hidden_gradients_need(shape: &LstmShape) -> Need {
        Need::new("the gradients of the hidden states", shape.rows() * shape.output_size(), "`batch_size` or `window`")
    }

    /// Leaves of the last [`loss`](Network::loss) the gradient of each sequence's last step alone.
    ///
    /// # Panics
    /// If the sequences differ in length.
    pub fn keep_last_step(&mut self, device: &D, batch: &Batch) {
        assert!(batch.packing.is_even(), "the last steps of sequences of unequal length");
        let before = self.shape.last_predictions(&batch.packing).start;
        device.zero(&mut self.d_prediction, 0, before);
    }

    /// The gradients of the last [`backward`](Network::backward) with respect to every h, for each layer and direction in the
    /// order of PyTorch's states. `scratch` is as long as [`hidden_gradients_need`](Network::hidden_gradients_need) says.
    ///
    /// # Errors
    /// Those of the device.
    ///
    /// # Panics
    /// In training, whose masks are gone, and where only parts of the batch are kept.
    pub async fn hidden_gradients(
        &self,
        device: &D,
        batch: &Batch,
        scratch: &mut D::Buffer,
    ) -> Result<Vec<HiddenGradient>> {
        let every = self.shape.checkpoint_every;
        assert!(batch.draw.is_none() && every == 0, "draw {:?}, {every} steps kept", batch.draw);
        let (lstm, packing) = (&self.shape.lstm, &batch.packing);
        let (outputs, width) = (lstm.output_size(), lstm.width());
        let mut cells = Vec::with_capacity(lstm.cells());
        let mut upstream = self.upstream_of_top(device, packing).await?;
        for layer in (0..lstm.num_layers).rev() {
            for direction in (0..lstm.directions()).rev() {
                let weight = Matrix::rows(lstm.cell(layer, direction).weight_hh, width);
                self.through_weight(device, packing, (layer, direction), weight, Onto::Zero, scratch);
                let sent = read(device, scratch, packing.rows() * width).await?;
                cells.push(back_through_time(lstm, packing, direction, &upstream, &sent));
            }
            if layer > 0 {
                for direction in 0..lstm.directions() {
                    let weight = Matrix::rows(lstm.cell(layer, direction).weight_ih, outputs);
                    let onto = if direction == 0 { Onto::Zero } else { Onto::Kept };
                    self.through_weight(device, packing, (layer, direction), weight, onto, scratch);
                }
                upstream = read(device, scratch, packing.rows() * outputs).await?;
            }
        }
        cells.reverse();
        Ok(cells)
    }

    /// The activated gates of one layer and direction in the last [`forward`](Network::forward), `[rows, 4H]`.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn gates(&self, device: &D, batch: &Batch, cell: (usize, usize)) -> Result<Vec<f32>> {
        let lstm = &self.shape.lstm;
        let kept = &self.tape.layers[cell.0].cells[cell.1].gates;
        let mut rows = device.read_f32(kept, 0..batch.packing.rows() * lstm.gates()).await?;
        let places = lstm.cell(cell.0, cell.1);
        if let Some(gains) = places.layer_norm.filter(|_| !D::KEEPS_GATES) {
            let read = |place: usize| device.read_f32(&self.params, place..place + lstm.gates());
            let gains = read(gains).await?;
            match places.bias {
                Some((ih, hh)) => lstm.activate(&mut rows, &gains, &[&read(ih).await?, &read(hh).await?]),
                None => lstm.activate(&mut rows, &gains, &[]),
            }
        }
        Ok(rows)
    }

    /// The head's gradient of the top layer's output `[rows, R · P]`.
    async fn upstream_of_top(&self, device: &D, packing: &Packing) -> Result<Vec<f64>> {
        let outputs = self.shape.lstm.output_size();
        let before = match self.shape.head {
            Head::Last if packing.is_even() => packing.rows() - packing.batch(),
            _ => 0,
        };
        let mut upstream = vec![0.0; before * outputs];
        upstream.extend(read(device, &self.d_y, (packing.rows() - before) * outputs).await?);
        Ok(upstream)
    }

    /// `to = d_gates · weight` for all rows of a layer and direction; `weight` is as wide as its rows are apart.
    fn through_weight(
        &self,
        device: &D,
        packing: &Packing,
        (layer, direction): (usize, usize),
        weight: Matrix,
        onto: Onto<D::Buffer>,
        to: &mut D::Buffer,
    ) {
        let gates = self.shape.lstm.gates();
        let d_gates = &self.tape.layers[layer].cells[direction].gates;
        let a = Matrix::rows(0, gates);
        let product = ProductShape { m: packing.rows(), n: weight.row, k: gates, a, b: weight, c: 0 };
        device.product(&product, d_gates, &self.params, onto, to);
    }
}

async fn read<D: Kernels>(device: &D, buffer: &D::Buffer, len: usize) -> Result<Vec<f64>> {
    Ok(device.read(buffer, 0..len).await?.into_iter().map(Real::double).collect())
}

/// From the last step that a direction takes to its first; `sent` `[rows, P]` is d_gates · W_hh.
fn back_through_time(
    lstm: &LstmShape,
    packing: &Packing,
    direction: usize,
    upstream: &[f64],
    sent: &[f64],
) -> HiddenGradient {
    let (width, outputs, kept) = (lstm.width(), lstm.output_size(), lstm.noise.zoneout_h);
    let mut d_h = vec![0.0; packing.rows() * width];
    let mut carried = vec![0.0; packing.batch() * width];
    for step in 0..packing.steps() {
        let t = if direction == 1 { step } else { packing.steps() - 1 - step };
        // A sequence that has not this step keeps what it carries: nothing yet, or what its start gets.
        for n in 0..packing.active(t) {
            let row = packing.row(t) + n;
            for p in 0..width {
                let arrived = upstream[row * outputs + direction * width + p] + carried[n * width + p];
                d_h[row * width + p] = arrived;
                carried[n * width + p] = sent[row * width + p] + kept * arrived;
            }
        }
    }
    HiddenGradient { d_h, d_start: carried }
}
