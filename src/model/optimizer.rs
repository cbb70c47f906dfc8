//! What the optimizer keeps, and its step.

use super::Network;
use crate::device::Need;
use crate::error::Result;
use crate::kernels::{Kernels, LossShape, Rule, Status};

/// An optimizer's rule and its buffers for one network.
pub struct Optimizer<D: Kernels> {
    /// Kind, settings and clipping.
    pub rule: Rule,
    /// Its moments; none for plain sgd.
    pub moments: D::Buffer, // [0 to 3, P]
    pub(super) status: D::Buffer, // as Status says
    scratch: D::Buffer,           // parts of the norm
}

impl<D: Kernels> Optimizer<D> {
    /// The buffers for `parameters` parameters.
    pub fn needs(device: &D, rule: &Rule, parameters: usize) -> [Need; 3] {
        let model = "`hidden_size` or `num_layers`";
        [
            Need::new("the optimizer's moments", rule.moments() * parameters, model),
            Need::new("the optimizer's status", Status::LEN, model),
            Need::new("the parts of the gradients' norm", device.norm_scratch_len(parameters), model),
        ]
    }

    /// An optimizer before its first step.
    pub fn new(device: &D, rule: Rule, parameters: usize) -> Self {
        let needs = Self::needs(device, &rule, parameters);
        let [mut moments, mut status, scratch] = needs.map(|need| device.buffer(need.name, need.len));
        device.zero(&mut moments, 0, rule.moments() * parameters);
        device.write_f32(&mut status, &Status::before([0.0, device.first_scale(), 0.0]));
        Self { rule, moments, status, scratch }
    }

    /// Multiplies the gradient of a loss by its scale, before the backward pass.
    pub fn scale(&self, device: &D, net: &mut Network<D>, loss: &LossShape) {
        device.scale_loss(loss.predictions(), &self.status, &mut net.d_prediction);
    }

    /// The last step's norm, the loss's scale, and for how many steps it has been.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn loss_scale(&self, device: &D) -> Result<Vec<f32>> {
        let status = device.read_f32(&self.status, 0..Status::LEN).await?;
        Ok([Status::NORM, Status::SCALE, Status::STEPS].map(|place| status[place]).into())
    }

    /// Goes on with that.
    pub fn set_loss_scale(&mut self, device: &D, known: [f32; 3]) {
        device.write_f32(&mut self.status, &Status::before(known));
    }

    /// Step `t`, counted from 1, at rate `lr` with the gradients that `net` has gathered. Row `row` of `history` holds the
    /// loss and gets the norm. If either is not finite, neither this nor any later step changes anything; where it may be the
    /// scale's fault, this step alone.
    pub fn step(&mut self, device: &D, net: &mut Network<D>, t: u64, lr: f64, row: usize, history: &mut D::Buffer) {
        let p = net.shape.parameters();
        let Self { rule, moments, status, scratch } = self;
        device.gradient_norm(p, rule.clip, row, &net.d_params, scratch, status, history);
        device.optimizer_step(rule, p, t, lr, &net.d_params, status, moments, &mut net.params);
    }
}
