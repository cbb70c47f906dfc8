//! The exponential moving average of the parameters over the steps.
//!
//! ```text
//! average = decay · average + (1 − decay) · p
//! ```
//!
//! As [`get_ema_avg_fn`](https://pytorch.org/docs/stable/optim.html#weight-averaging-swa-and-ema) of PyTorch's
//! `swa_utils`; averaging of iterates is from Polyak & Juditsky 1992.

use super::Status;
use super::optimizer::OF_PARAMETER;
use crate::device::threads::prelude::*;
use crate::device::{Cpu, CpuBuffer, Device, Gpu, Kernel, Real, kernel, params};

/// The moving average.
pub trait Average: Device {
    /// One step of the average of the first `len` parameters, unless a step was not finite.
    ///
    /// - `params` `[≥ len]`, after the optimizer's step
    /// - `status` as `gradient_norm` left it for that step
    /// - `average` `[≥ len]`, the parameters themselves before the first step
    fn average_step(
        &self,
        len: usize,
        decay: f64,
        params: &Self::Buffer,
        status: &Self::Buffer,
        average: &mut Self::Buffer,
    );
}

params! {
    struct AverageParams { len: u32, decay: f32, one_minus_decay: f32, before: u32 }
}
static AVERAGE: Kernel = kernel!("average", AverageParams, [Read, Read, Write]);
pub(super) static KERNELS: &[&Kernel] = &[&AVERAGE];

impl Average for Gpu {
    fn average_step(
        &self,
        len: usize,
        decay: f64,
        params: &Self::Buffer,
        status: &Self::Buffer,
        average: &mut Self::Buffer,
    ) {
        let (len_32, one_minus_decay) = (len as u32, (1.0 - decay) as f32);
        let uniform = AverageParams { len: len_32, decay: decay as f32, one_minus_decay, before: 0 };
        self.run_each(&AVERAGE, &uniform, &[params, status, average], len, OF_PARAMETER);
    }
}

/// Parameters that are worth a thread.
const BLOCK: usize = 16_384;

impl<F: Real> Average for Cpu<F> {
    fn average_step(
        &self,
        len: usize,
        decay: f64,
        params: &CpuBuffer<F>,
        status: &CpuBuffer<F>,
        average: &mut CpuBuffer<F>,
    ) {
        if status[Status::HELD] != F::zero() {
            return;
        }
        let (decay, complement) = (F::of(decay), F::of(1.0 - decay));
        let blocks = average[..len].par_chunks_mut(BLOCK).zip(params[..len].par_chunks(BLOCK));
        blocks.for_each(|(average, params)| {
            average.iter_mut().zip(params).for_each(|(average, &p)| *average = decay * *average + complement * p);
        });
    }
}
