//! On the GPU: products over all time steps before and after the loop, one fused dispatch per time step inside it.

use super::{Lstm, LstmShape, LstmTape, input_of};
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
        let rows = shape.steps * shape.batch;
        for index in 0..shape.num_layers {
            let (below, layers) = tape.layers.split_at_mut(index);
            let layer = &mut layers[0];
            let places = shape.layer(index);
            let (input, offset) = input_of(shape, index, x, below);
            let product = ProductShape {
                m: rows,
                n: shape.gates(),
                k: places.input_size,
                a: Matrix::rows(offset, places.input_size),
                b: Matrix::rows(places.weight_ih, places.input_size).transposed(),
                c: 0,
            };
            self.product(&product, input, params, params, &places.biases(), &mut layer.gates);
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
        let (rows, gates, hidden) = (shape.steps * shape.batch, shape.gates(), shape.hidden_size);
        let LstmTape { layers, between, scratch, .. } = tape;
        for index in (0..shape.num_layers).rev() {
            let (below, above) = layers.split_at_mut(index);
            let layer = &mut above[0];
            let places = shape.layer(index);
            let top = index + 1 == shape.num_layers;
            let (upstream, from) = if top { (d_y, from) } else { (&*between, 0) };
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

            let (input, offset) = input_of(shape, index, x, below);
            let weight =
                |n, b: Matrix, c| ProductShape { m: gates, n, k: rows, a: Matrix::rows(0, gates).transposed(), b, c };
            let w_ih = weight(places.input_size, Matrix::rows(offset, places.input_size), places.weight_ih);
            self.product_add(&w_ih, &layer.gates, input, d_params, scratch);
            let w_hh = weight(hidden, Matrix::rows(0, hidden), places.weight_hh);
            self.product_add(&w_hh, &layer.gates, &layer.h, d_params, scratch);
            if shape.bias {
                self.column_sums(rows, gates, &layer.gates, &places.biases(), d_params, scratch);
            }
            let d_input = if index > 0 { Some(&mut *between) } else { d_x.as_deref_mut() };
            if let Some(d_input) = d_input {
                let n = places.input_size;
                let b = Matrix::rows(places.weight_ih, n);
                let product = ProductShape { m: rows, n, k: gates, a: Matrix::rows(0, gates), b, c: 0 };
                self.product(&product, &layer.gates, params, params, &[], d_input);
            }
        }
    }

    fn packed_len(&self, shape: &LstmShape) -> usize {
        shape.gates() * shape.hidden_size
    }
}
