//! Gathers the windows of a batch from the series on the device.

use super::rows::OF_ELEMENT;
use crate::device::{Cpu, CpuBuffer, Device, Gpu, Kernel, Real, kernel, params};

/// Which part of each window to gather, and of how many windows.
#[derive(Clone, Copy, Debug)]
pub struct WindowShape {
    /// Place in `starts` of the batch's first window.
    pub first: usize,
    /// N, windows in the batch.
    pub batch: usize,
    /// Rows to skip from a window's start.
    pub offset: usize,
    /// T, time steps of `x`.
    pub steps: usize,
    /// D, columns of `inputs`; or where that holds class ids, one a row, the number of classes.
    pub features: usize,
    /// Whether it does: each id then becomes D numbers, 1 in its own place and 0 in the others.
    pub one_hot: bool,
    /// Rows from the first step's own to the first of its target.
    pub ahead: usize,
    /// Time steps of `target`; none without targets.
    pub target_steps: usize,
    /// Rows in the target of a time step, the horizon.
    pub width: usize,
    /// C, columns of `targets`.
    pub channels: usize,
}

impl WindowShape {
    /// Elements of `x`: T · N · D.
    pub fn inputs(&self) -> usize {
        self.steps * self.batch * self.features
    }
    /// Elements of `target`.
    pub fn targets(&self) -> usize {
        self.target_steps * self.batch * self.width * self.channels
    }
}

/// With row(t, n) = starts[first + n] + offset + t:
/// `x[t, n, d] = inputs[row(t, n), d]`, or whether that row's id is d;
/// `target[t, n, w, c] = targets[row(t, n) + ahead + w, c]`.
pub trait Windows: Device {
    /// - `inputs` `[R, D]`, the scaled features, or `[R]` class ids
    /// - `targets` `[R, C]`, the scaled targets; any buffer without targets
    /// - `starts` `[≥ first + N]`, each window's first row
    /// - `x` `[T, N, D]`, written
    /// - `target` `[target_steps, N, width, C]`, written
    fn gather_windows(
        &self,
        shape: &WindowShape,
        tables: [&Self::Buffer; 2],
        starts: &Self::Indices,
        windows: [&mut Self::Buffer; 2],
    );
}

params! {
    struct GatherParams {
        first: u32, batch: u32, offset: u32, steps: u32, features: u32, one_hot: u32,
        ahead: u32, target_steps: u32, width: u32, channels: u32, before: u32,
    }
}
static GATHER: Kernel = kernel!("gather_windows", GatherParams, [Read, Read, Read, Write, Write], varying);
pub(super) static KERNELS: &[&Kernel] = &[&GATHER];

impl Windows for Gpu {
    fn gather_windows(
        &self,
        shape: &WindowShape,
        [inputs, targets]: [&Self::Buffer; 2],
        starts: &Self::Indices,
        [x, target]: [&mut Self::Buffer; 2],
    ) {
        let params = GatherParams {
            first: shape.first as u32,
            batch: shape.batch as u32,
            offset: shape.offset as u32,
            steps: shape.steps as u32,
            features: shape.features as u32,
            one_hot: u32::from(shape.one_hot),
            ahead: shape.ahead as u32,
            target_steps: shape.target_steps as u32,
            width: shape.width as u32,
            channels: shape.channels as u32,
            before: 0,
        };
        let elements = shape.inputs() + shape.targets();
        self.run_each(&GATHER, &params, &[inputs, targets, starts, x, target], elements, OF_ELEMENT);
    }
}

impl<F: Real> Windows for Cpu<F> {
    fn gather_windows(
        &self,
        shape: &WindowShape,
        [inputs, targets]: [&CpuBuffer<F>; 2],
        starts: &Vec<u32>,
        [x, target]: [&mut CpuBuffer<F>; 2],
    ) {
        let row = |pair: usize| starts[shape.first + pair % shape.batch] as usize + shape.offset + pair / shape.batch;
        for (pair, features) in x[..shape.inputs()].chunks_exact_mut(shape.features).enumerate() {
            if shape.one_hot {
                features.fill(F::zero());
                features[inputs[row(pair)].double() as usize] = F::one();
            } else {
                features.copy_from_slice(&inputs[row(pair) * shape.features..][..shape.features]);
            }
        }
        let length = shape.width * shape.channels;
        for (pair, values) in target[..shape.targets()].chunks_exact_mut(length).enumerate() {
            values.copy_from_slice(&targets[(row(pair) + shape.ahead) * shape.channels..][..length]);
        }
    }
}
