//! Where a step that was not finite went wrong.

use super::Trainer;
use super::batches::Batch;
use crate::device::Real;
use crate::error::{Error, Result};
use crate::kernels::{Kernels, Packing};

impl<D: Kernels> Trainer<D> {
    /// Runs the step that was not finite again, with the parameters it had, and looks for the tensor where it began.
    pub(super) async fn diverged(&mut self, step: usize) -> Result<Error> {
        let taken = (self.position.step - step) as u64;
        self.position.steps -= taken;
        self.position.step = step;
        let step_in_all = self.position.steps + 1;
        let error = |tensor| Error::Diverged { step: step_in_all, tensor };
        for batch in self.batches(step) {
            self.net.zero_gradients(&self.device);
            self.forward_backward(&batch);
            if let Some(tensor) = self.not_finite(&batch, step).await? {
                return Ok(error(tensor));
            }
        }
        Ok(error("the gradients' norm".into()))
    }

    /// The first tensor of the batch under way that holds a NaN or an infinity, in the order of computation.
    async fn not_finite(&self, batch: &Batch, step: usize) -> Result<Option<String>> {
        let (net, lstm) = (&self.net, self.net.shape.lstm);
        let packing = Packing::even(batch.steps.len(), batch.sequences.len());
        let rows = packing.rows();
        let mut found = vec![
            ("x".to_owned(), &net.x, 0..rows * lstm.input_size),
            ("target".to_owned(), &net.target, 0..net.shape.targets(&packing)),
        ];
        for (index, layer) in net.tape.layers.iter().enumerate() {
            for cell in &layer.cells {
                found.push((format!("c of layer {index}"), &cell.c, 0..(packing.batch() + rows) * lstm.hidden_size));
            }
            let (y, place) = net.tape.output(&lstm, &packing, index);
            found.push((format!("h of layer {index}"), y, place.offset..place.offset + rows * place.row));
        }
        found.push(("prediction".to_owned(), &net.prediction, 0..net.shape.predictions(&packing)));
        found.push(("loss".to_owned(), &self.history, 2 * step..2 * step + 1));
        for tensor in net.shape.tensors().into_iter().rev() {
            found.push((format!("gradient of {}", tensor.name), &net.d_params, tensor.range()));
        }
        for (name, buffer, range) in found {
            if self.device.read(buffer, range).await?.iter().any(|value| !value.double().is_finite()) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}
