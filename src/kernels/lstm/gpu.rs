//! On the GPU: products over all time steps before and after the loop, one fused dispatch per time step inside it.

use super::{Lstm, LstmShape, LstmTape, gradients_from_gates, project_input};
use crate::device::{Gpu, GpuBuffer, Kernel, grid, kernel, params};
use crate::kernels::product::{Matrix, Product, ProductShape};

params! {
    struct TransposeParams { rows: u32, columns: u32, place: u32 }
}
params! {
    struct ForwardParams { t: u32, batch: u32, hidden: u32 }
}
params! {
    struct BackwardParams { t: u32, steps: u32, batch: u32, hidden: u32, w_hh: u32, has_d_y: u32, d_y: u32 }
}
static TRANSPOSE: Kernel = kernel!("transpose", TransposeParams, [Read, Write]);
static FORWARD_STEP: Kernel = kernel!("lstm_forward_step", ForwardParams, [Read, Write, Write, Write]);
static BACKWARD_STEP: Kernel = kernel!("lstm_backward_step", BackwardParams, [Read, Read, Read, Write, Write, Write]);
pub(in crate::kernels) static KERNELS: &[&Kernel] = &[&TRANSPOSE, &FORWARD_STEP, &BACKWARD_STEP];

/// Workgroups for all (unit, sequence) pairs of one step: 16 units and 16 sequences each, as in the WGSL.
fn step_grid(shape: &LstmShape) -> [u32; 3] {
    [shape.hidden_size.div_ceil(16) as u32, shape.batch.div_ceil(16) as u32, 1]
}

impl Lstm for Gpu {
    fn lstm_forward(&self, shape: &LstmShape, params: &GpuBuffer, x: &GpuBuffer, tape: &mut LstmTape<GpuBuffer>) {
        for index in 0..shape.num_layers {
            project_input(self, shape, index, params, x, tape);
            let (layer, places) = (&tape.layers[index], shape.layer(index));
            let transpose = TransposeParams {
                rows: shape.gates() as u32,
                columns: shape.hidden_size as u32,
                place: places.weight_hh as u32,
            };
            self.run(&TRANSPOSE, &transpose, &[params, &tape.packed], grid(shape.gates() * shape.hidden_size, 64));
            for t in 0..shape.steps {
                let step = ForwardParams { t: t as u32, batch: shape.batch as u32, hidden: shape.hidden_size as u32 };
                self.run(&FORWARD_STEP, &step, &[&tape.packed, &layer.gates, &layer.h, &layer.c], step_grid(shape));
            }
        }
    }

    fn lstm_backward(
        &self,
        shape: &LstmShape,
        params: &GpuBuffer,
        x: &GpuBuffer,
        (d_y, from): (&GpuBuffer, usize),
        tape: &mut LstmTape<GpuBuffer>,
        d_params: &mut GpuBuffer,
        mut d_x: Option<&mut GpuBuffer>,
    ) {
        let (gates, hidden) = (shape.gates(), shape.hidden_size);
        for index in (0..shape.num_layers).rev() {
            let top = index + 1 == shape.num_layers;
            let (upstream, from) = if top { (d_y, from) } else { (&tape.between, 0) };
            let (layer, places) = (&mut tape.layers[index], shape.layer(index));
            for t in (0..shape.steps).rev() {
                let step = BackwardParams {
                    t: t as u32,
                    steps: shape.steps as u32,
                    batch: shape.batch as u32,
                    hidden: hidden as u32,
                    w_hh: places.weight_hh as u32,
                    has_d_y: u32::from(t >= from),
                    d_y: (t.saturating_sub(from) * shape.state()) as u32,
                };
                let buffers = [params, upstream, &layer.c, &layer.gates, &layer.d_h, &layer.d_c];
                self.run(&BACKWARD_STEP, &step, &buffers, step_grid(shape));
            }
            let start = ProductShape {
                m: shape.batch,
                n: hidden,
                k: gates,
                a: Matrix::rows(0, gates),
                b: Matrix::rows(places.weight_hh, hidden),
                c: 0,
            };
            self.product(&start, &layer.gates, params, params, &[], &mut layer.d_h);
            gradients_from_gates(self, shape, index, params, x, tape, d_params, d_x.as_deref_mut());
        }
    }

    fn packed_len(&self, shape: &LstmShape) -> usize {
        shape.gates() * shape.hidden_size
    }
}
