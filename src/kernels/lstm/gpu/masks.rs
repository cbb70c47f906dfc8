//! The masks of one direction of one layer on their way into the kernels of either strategy.

use super::{CellTape, Pass};
use crate::device::{Gpu, GpuBuffer, Kernel, kernel, params};
use crate::kernels::dropout::{DropShape, Dropout, Masks, Source};
use crate::rng::Purpose;

params! {
    struct DrawParams { draw: u32 }
}
pub(super) static DRAW: Kernel = kernel!("lstm_draw", DrawParams, [Write], varying);

/// How a kernel is told of zoneout.
#[derive(Clone, Copy)]
pub(super) struct Zoneout {
    /// None, random or expected.
    pub kind: u32,
    /// Half words below this are kept.
    pub limit_h: u32,
    pub limit_c: u32,
    pub rate_h: f32,
    pub rate_c: f32,
    /// The words of the seed.
    pub seed: [u32; 2],
}

impl Zoneout {
    pub fn of(pass: &Pass) -> Self {
        let noise = &pass.shape.noise;
        let kind = match (pass.shape.zones(), pass.draw) {
            (false, _) => 0,
            (true, Some(_)) => 1,
            (true, None) => 2,
        };
        let limit = |rate: f64| (rate * 65_536.0).round() as u32;
        Self {
            kind,
            limit_h: limit(noise.zoneout_h),
            limit_c: limit(noise.zoneout_c),
            rate_h: noise.zoneout_h as f32,
            rate_c: noise.zoneout_c as f32,
            seed: [noise.seed as u32, (noise.seed >> 32) as u32],
        }
    }

    /// The number of a step in its whole sequence, where masks depend on it; else 0, so that equal steps share parameters.
    pub fn step(&self, number: usize) -> u32 {
        if self.kind == 1 { number as u32 } else { 0 }
    }
}

/// The number of the draw for zoneout, and the masks of recurrent dropout.
pub(super) fn draw(gpu: &Gpu, pass: &Pass, number: usize, sequences: &GpuBuffer, cell: &mut CellTape<GpuBuffer>) {
    if let Some(key) = pass.key(Purpose::Zoneout, number).filter(|_| pass.shape.zones()) {
        gpu.run(&DRAW, &DrawParams { draw: key.draw }, &[&cell.mask], [1, 1, 1]);
    }
    if let Some(drop) = pass.recurrent_drop(number) {
        let elements = DropShape { rows: pass.batch(), columns: pass.shape.width(), first: 0, masks: Masks::Each };
        gpu.dropout(&drop, &elements, sequences, Source::Ones, (&mut cell.mask, 1), false);
    }
}
