//! The state that streams carry from part to part.

use super::Trainer;
use crate::error::Result;
use crate::kernels::Kernels;

impl<D: Kernels> Trainer<D> {
    /// Elements of h and of c for all streams; none without streams.
    fn state_len(&self) -> (usize, usize) {
        let lstm = &self.net.shape.lstm;
        let rows = if self.in_order.is_some() { lstm.cells() * self.config.batch_size } else { 0 };
        (rows * lstm.width(), rows * lstm.hidden_size)
    }

    /// h, then c, with which the epoch under way goes on; empty at its start and without streams.
    pub(super) async fn state(&self) -> Result<Vec<f32>> {
        let (h, c) = self.state_len();
        if h == 0 || self.position.step == 0 {
            return Ok(Vec::new());
        }
        let mut state = self.device.read_f32(&self.net.state.h, 0..h).await?;
        state.extend(self.device.read_f32(&self.net.state.c, 0..c).await?);
        Ok(state)
    }

    /// Sets it.
    pub(super) fn write_state(&mut self, state: &[f32]) {
        let (h, _) = self.state_len();
        if !state.is_empty() {
            self.device.write_f32(&mut self.net.state.h, &state[..h]);
            self.device.write_f32(&mut self.net.state.c, &state[h..]);
        }
    }

    /// Puts the state of training aside, or back.
    pub(super) fn exchange_state(&mut self) {
        if let Some(streams) = &mut self.in_order {
            std::mem::swap(&mut self.net.state, &mut streams.waiting);
        }
    }

    /// With jitter the learning rate goes with a part's length (Merity, Keskar & Socher 2018).
    pub(super) fn share_of_bptt(&self, row: usize) -> f64 {
        match self.config.bptt.filter(|_| self.config.bptt_jitter) {
            Some(bptt) => self.batches(row)[0].steps.len() as f64 / bptt as f64,
            None => 1.0,
        }
    }
}
