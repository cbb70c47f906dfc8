//! Gathers the windows of a batch from the series on the device.

use crate::device::{Cpu, CpuBuffer, Device, Gpu, Kernel, Real, grid, kernel, params};

/// Which part of each window to gather, and of how many windows.
#[derive(Clone, Copy, Debug)]
pub struct WindowShape {
    /// Place in `starts` of the batch's first window.
    pub first: usize,
    /// N, windows in the batch.
    pub batch: usize,
    /// Rows to skip from a window's start.
    pub offset: usize,
    /// T, time steps to gather.
    pub steps: usize,
    /// Rows gathered at each time step: 1 for inputs, the horizon for targets.
    pub width: usize,
    /// C, columns of the series; or where it holds class ids, one a row, the number of classes.
    pub channels: usize,
    /// Whether it does: each id then becomes C numbers, 1 in its own place and 0 in the others.
    pub one_hot: bool,
}

impl WindowShape {
    /// Elements written: T · N · width · C.
    pub fn len(&self) -> usize {
        self.steps * self.batch * self.width * self.channels
    }
    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// `windows[t, n, w, c] = rows[starts[first + n] + offset + t + w, c]`, or whether that row's id is c.
pub trait Windows: Device {
    /// - `rows` `[R, C]`, the scaled series, or `[R]` class ids
    /// - `starts` `[≥ first + N]`, each window's first row
    /// - `windows` `[T, N, width, C]`, written
    fn gather_windows(
        &self,
        shape: &WindowShape,
        rows: &Self::Buffer,
        starts: &Self::Indices,
        windows: &mut Self::Buffer,
    );
}

params! {
    struct GatherParams { first: u32, batch: u32, offset: u32, steps: u32, width: u32, channels: u32, one_hot: u32 }
}
static GATHER: Kernel = kernel!("gather_windows", GatherParams, [Read, Read, Write], varying);
pub(super) static KERNELS: &[&Kernel] = &[&GATHER];

impl Windows for Gpu {
    fn gather_windows(
        &self,
        shape: &WindowShape,
        rows: &Self::Buffer,
        starts: &Self::Indices,
        windows: &mut Self::Buffer,
    ) {
        let params = GatherParams {
            first: shape.first as u32,
            batch: shape.batch as u32,
            offset: shape.offset as u32,
            steps: shape.steps as u32,
            width: shape.width as u32,
            channels: shape.channels as u32,
            one_hot: u32::from(shape.one_hot),
        };
        self.run(&GATHER, &params, &[rows, starts, windows], grid(shape.len(), 64));
    }
}

impl<F: Real> Windows for Cpu<F> {
    fn gather_windows(&self, shape: &WindowShape, rows: &CpuBuffer<F>, starts: &Vec<u32>, windows: &mut CpuBuffer<F>) {
        let length = shape.width * shape.channels;
        for (index, window) in windows[..shape.len()].chunks_exact_mut(length).enumerate() {
            let (t, n) = (index / shape.batch, index % shape.batch);
            let row = starts[shape.first + n] as usize + shape.offset + t;
            if shape.one_hot {
                for (w, classes) in window.chunks_exact_mut(shape.channels).enumerate() {
                    classes.fill(F::zero());
                    classes[rows[row + w].double() as usize] = F::one();
                }
            } else {
                window.copy_from_slice(&rows[row * shape.channels..][..length]);
            }
        }
    }
}
