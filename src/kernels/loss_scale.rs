//! The loss's scale, with products of 16-bit numbers (Micikevicius et al. 2018, "Mixed Precision Training").
//!
//! Gradients are often smaller than 16 bits can tell from zero, 6e-8. So the backward pass begins with the loss's gradient
//! times [`Status::SCALE`], a power of two, and [`gradient_norm`](super::Optimize::gradient_norm) takes it out again. A norm
//! that is then not finite, while the loss is, says that the scale was too much: that step changes nothing, and the scale is
//! halved. After [`STEPS`] steps without that it is doubled, as PyTorch's
//! [`GradScaler`](https://pytorch.org/docs/stable/amp.html#torch.amp.GradScaler) does; here the device decides by itself, and the
//! host does not hear of it: a step that is left out counts as one in Adam's corrections and in the learning rate's schedule. A
//! scale of 1 stays.
//!
//! That a number beyond 65,504 becomes infinite on its way to 16 bits is what WGSL allows and the tests ask of an adapter.

use super::Status;
use crate::config::Precision;
use crate::device::{Cpu, CpuBuffer, Device, Gpu, Kernel, Real, grid, kernel, params};

/// Steps in a row after which the scale is doubled.
pub(super) const STEPS: u32 = 2000;
/// The scale before the first step.
const FIRST: f32 = 65_536.0;
/// What it is doubled to at most.
pub(super) const MOST: f32 = 16_777_216.0;

/// The scale of a loss.
pub trait LossScale: Device {
    /// The scale before the first step: 1 where products are of the numbers that the gradients are.
    fn first_scale(&self) -> f32 {
        match self.precision() {
            Precision::F32 => 1.0,
            Precision::Mixed => FIRST,
        }
    }
    /// Multiplies `len` gradients of predictions by the scale.
    fn scale_loss(&self, len: usize, status: &Self::Buffer, d_prediction: &mut Self::Buffer);
}

params! {
    struct ScaleParams { len: u32 }
}
static SCALE: Kernel = kernel!("loss_scale", ScaleParams, [Read, Write]);
pub(super) static KERNELS: &[&Kernel] = &[&SCALE];

impl LossScale for Gpu {
    fn scale_loss(&self, len: usize, status: &Self::Buffer, d_prediction: &mut Self::Buffer) {
        if self.precision() == Precision::Mixed {
            self.run(&SCALE, &ScaleParams { len: len as u32 }, &[status, d_prediction], grid(len, 64));
        }
    }
}

impl<F: Real> LossScale for Cpu<F> {
    fn scale_loss(&self, len: usize, status: &CpuBuffer<F>, d_prediction: &mut CpuBuffer<F>) {
        let scale = status[Status::SCALE];
        if scale == F::one() {
            return;
        }
        d_prediction[..len].iter_mut().for_each(|d| *d = *d * scale);
    }
}

/// What becomes of the scale after a step whose norm is `finite`: the scale, the steps since it was last changed, and whether
/// that step is left out.
pub(super) fn after_step(scale: f32, steps: u32, finite: bool) -> (f32, u32, bool) {
    match (finite, steps + 1) {
        _ if scale <= 1.0 => (scale, 0, false),
        (false, _) => ((scale / 2.0).max(2.0), 0, scale > 2.0),
        (true, STEPS) => ((2.0 * scale).min(MOST), 0, false),
        (true, steps) => (scale, steps, false),
    }
}
