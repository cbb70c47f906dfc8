//! What the optimizer keeps, and its step.

use super::Network;
use crate::device::Need;
use crate::kernels::{Kernels, Rule, Status};

/// An optimizer's rule and its buffers for one network.
pub struct Optimizer<D: Kernels> {
    /// Kind, settings and clipping.
    pub rule: Rule,
    /// Its moments; none for plain sgd.
    pub moments: D::Buffer, // [0 to 3, P]
    pub(super) status: D::Buffer, // norm, factor, stopped
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
        device.zero(&mut status, 0, Status::LEN);
        Self { rule, moments, status, scratch }
    }

    /// Step `t`, counted from 1, at rate `lr` with the gradients that `net` has gathered. Row `row` of `history` holds the
    /// loss and gets the norm. If either is not finite, neither this nor any later step changes anything.
    pub fn step(&mut self, device: &D, net: &mut Network<D>, t: u64, lr: f64, row: usize, history: &mut D::Buffer) {
        let p = net.shape.parameters();
        let Self { rule, moments, status, scratch } = self;
        device.gradient_norm(p, rule.clip, row, &net.d_params, scratch, status, history);
        device.optimizer_step(rule, p, t, lr, &net.d_params, status, moments, &mut net.params);
    }
}
