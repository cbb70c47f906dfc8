//! On the CPU, and so the definition: each thread takes a few sequences through all time steps.

use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use super::{Lstm, LstmShape, LstmTape, gradients_from_gates, project_input};
use crate::device::{Cpu, Real};
use crate::kernels::product::{Matrix, ProductShape, multiply_add};

/// Sequences that one thread takes through time together: enough columns for the product to run at full speed, few
/// enough that a batch of 64 feeds several threads. Fixed, so that the bits do not depend on the number of threads.
const TILE: usize = 16;

impl<F: Real> Lstm for Cpu<F> {
    fn lstm_forward(&self, shape: &LstmShape, params: &Vec<F>, x: &Vec<F>, tape: &mut LstmTape<Vec<F>>) {
        let gates = shape.gates();
        for index in 0..shape.num_layers {
            project_input(self, shape, index, params, x, tape);
            let layer = &mut tape.layers[index];
            let places = shape.layer(index);
            let w_hh = &params[places.weight_hh..][..gates * shape.hidden_size];
            let w_hh_t = &mut tape.packed[..w_hh.len()];
            transpose(w_hh, w_hh_t, shape.hidden_size);
            let tiles = tiles(&mut layer.gates, shape, gates)
                .zip(tiles(&mut layer.h, shape, shape.hidden_size))
                .zip(tiles(&mut layer.c, shape, shape.hidden_size));
            tiles.collect::<Vec<_>>().into_par_iter().for_each(|((mut gates, mut h), mut c)| {
                for (t, gates) in gates.iter_mut().take(shape.steps).enumerate() {
                    let (h_before, h_t) = neighbours(&mut h, t);
                    let (c_before, c_t) = neighbours(&mut c, t);
                    add_recurrent(h_before, w_hh_t, gates, shape.hidden_size);
                    Arch::new().dispatch(ForwardStep { gates, c_before, c_t, h_t, hidden: shape.hidden_size });
                }
            });
        }
    }

    fn lstm_backward(
        &self,
        shape: &LstmShape,
        params: &Vec<F>,
        x: &Vec<F>,
        (d_y, from): (&Vec<F>, usize),
        tape: &mut LstmTape<Vec<F>>,
        d_params: &mut Vec<F>,
        mut d_x: Option<&mut Vec<F>>,
    ) {
        let (gates, hidden) = (shape.gates(), shape.hidden_size);
        for index in (0..shape.num_layers).rev() {
            let top = index + 1 == shape.num_layers;
            let (upstream, from) = if top { (d_y, from) } else { (&tape.between, 0) };
            let (layer, places) = (&mut tape.layers[index], shape.layer(index));
            let w_hh = &params[places.weight_hh..][..gates * hidden];
            let c = &layer.c;
            let tiles = tiles(&mut layer.gates, shape, gates)
                .zip(layer.d_h[..shape.state()].chunks_mut(TILE * hidden))
                .zip(layer.d_c[..shape.state()].chunks_mut(TILE * hidden))
                .enumerate();
            tiles.collect::<Vec<_>>().into_par_iter().for_each(|(tile, ((mut gates, d_h), d_c))| {
                let tile = tile * TILE * hidden..tile * TILE * hidden + d_h.len();
                let at = |step: usize| step * shape.state() + tile.start..step * shape.state() + tile.end;
                for (t, gates) in gates.iter_mut().take(shape.steps).enumerate().rev() {
                    if t >= from {
                        let d_y = &upstream[at(t - from)];
                        d_h.iter_mut().zip(d_y).for_each(|(d_h, &d_y)| *d_h = *d_h + d_y);
                    }
                    let c = [&c[at(t)], &c[at(t + 1)]];
                    Arch::new().dispatch(BackwardStep { gates, c, d_h: &*d_h, d_c: &mut *d_c, hidden });
                    d_h.fill(F::zero());
                    add_transposed(gates, w_hh, d_h, hidden);
                }
            });

            gradients_from_gates(self, shape, index, params, x, tape, d_params, d_x.as_deref_mut());
        }
    }

    fn packed_len(&self, shape: &LstmShape) -> usize {
        shape.gates() * shape.hidden_size
    }
}

/// Cuts `[steps, N, width]` into tiles of sequences: for each tile the list of its blocks, one a time step.
fn tiles<'a, F>(
    values: &'a mut [F],
    shape: &LstmShape,
    width: usize,
) -> impl Iterator<Item = Vec<&'a mut [F]>> + use<'a, F> {
    let mut tiles: Vec<Vec<&mut [F]>> =
        (0..shape.batch.div_ceil(TILE)).map(|_| Vec::with_capacity(shape.steps + 1)).collect();
    for step in values.chunks_exact_mut(shape.batch * width).take(shape.steps + 1) {
        tiles.iter_mut().zip(step.chunks_mut(TILE * width)).for_each(|(tile, block)| tile.push(block));
    }
    tiles.into_iter()
}

/// Blocks `t`, to read, and `t + 1`, to write.
fn neighbours<'a, F>(blocks: &'a mut [&mut [F]], t: usize) -> (&'a [F], &'a mut [F]) {
    let (before, after) = blocks.split_at_mut(t + 1);
    (&*before[t], &mut *after[0])
}

/// `transposed[j, i] = matrix[i, j]` for rows of `columns`.
fn transpose<F: Copy>(matrix: &[F], transposed: &mut [F], columns: usize) {
    let rows = matrix.len() / columns;
    for (i, row) in matrix.chunks_exact(columns).enumerate() {
        for (j, &value) in row.iter().enumerate() {
            transposed[j * rows + i] = value;
        }
    }
}

/// gates `[n, 4H]` += h `[n, H]` · W_hhᵀ `[H, 4H]`
fn add_recurrent<F: Real>(h: &[F], w_hh_t: &[F], gates: &mut [F], hidden: usize) {
    let (a, b) = (Matrix::rows(0, hidden), Matrix::rows(0, 4 * hidden));
    multiply_add(&ProductShape { m: h.len() / hidden, n: 4 * hidden, k: hidden, a, b, c: 0 }, h, w_hh_t, gates);
}

/// d_h `[n, H]` += d_gates `[n, 4H]` · W_hh `[4H, H]`, gate by gate: four short sums lose fewer digits than a long one.
fn add_transposed<F: Real>(d_gates: &[F], w_hh: &[F], d_h: &mut [F], hidden: usize) {
    for gate in 0..4 {
        let a = Matrix::rows(gate * hidden, 4 * hidden);
        let b = Matrix::rows(gate * hidden * hidden, hidden);
        let shape = ProductShape { m: d_h.len() / hidden, n: hidden, k: hidden, a, b, c: 0 };
        multiply_add(&shape, d_gates, w_hh, d_h);
    }
}

/// Splits a row of gates into i, f, g and o.
#[inline(always)]
fn quarters<F>(gates: &mut [F], hidden: usize) -> [&mut [F]; 4] {
    let (i, rest) = gates.split_at_mut(hidden);
    let (f, rest) = rest.split_at_mut(hidden);
    let (g, o) = rest.split_at_mut(hidden);
    [i, f, g, &mut o[..hidden]]
}

/// The element-wise part of a forward step on `n` sequences. It is a type and no closure, because only a method that is
/// always inlined is compiled anew for each instruction set.
struct ForwardStep<'a, F> {
    gates: &'a mut [F], // [n, 4H], in: before activation, out: after
    c_before: &'a [F],  // [n, H]
    c_t: &'a mut [F],   // [n, H], written
    h_t: &'a mut [F],   // [n, H], written
    hidden: usize,
}

impl<F: Real> NullaryFnOnce for ForwardStep<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { gates, c_before, c_t, h_t, hidden } = self;
        for (n, gates) in gates.chunks_exact_mut(4 * hidden).enumerate() {
            let [i, f, g, o] = quarters(gates, hidden);
            let row = n * hidden..(n + 1) * hidden;
            let (c_before, c_t, h_t) = (&c_before[row.clone()], &mut c_t[row.clone()], &mut h_t[row]);
            for j in 0..hidden {
                i[j] = i[j].sigmoid();
                f[j] = f[j].sigmoid();
                g[j] = g[j].tangent();
                o[j] = o[j].sigmoid();
                c_t[j] = f[j] * c_before[j] + i[j] * g[j];
                h_t[j] = o[j] * c_t[j].tangent();
            }
        }
    }
}

/// The element-wise part of a backward step on `n` sequences.
struct BackwardStep<'a, F> {
    gates: &'a mut [F], // [n, 4H], in: activated gates, out: their gradients before activation
    c: [&'a [F]; 2],    // [n, H] each: before the step and after it
    d_h: &'a [F],       // [n, H]
    d_c: &'a mut [F],   // [n, H], in: from the step after, out: for the step before
    hidden: usize,
}

impl<F: Real> NullaryFnOnce for BackwardStep<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { gates, c: [c_before, c_t], d_h, d_c, hidden } = self;
        let one = F::one();
        for (n, gates) in gates.chunks_exact_mut(4 * hidden).enumerate() {
            let [i, f, g, o] = quarters(gates, hidden);
            let row = n * hidden..(n + 1) * hidden;
            let (c_before, c_t, d_h, d_c) =
                (&c_before[row.clone()], &c_t[row.clone()], &d_h[row.clone()], &mut d_c[row]);
            for j in 0..hidden {
                let tanh_c = c_t[j].tangent();
                let d_c_t = d_c[j] + d_h[j] * o[j] * (one - tanh_c * tanh_c);
                d_c[j] = d_c_t * f[j];
                o[j] = d_h[j] * tanh_c * o[j] * (one - o[j]);
                f[j] = d_c_t * c_before[j] * f[j] * (one - f[j]);
                let d_g = d_c_t * i[j] * (one - g[j] * g[j]);
                i[j] = d_c_t * g[j] * i[j] * (one - i[j]);
                g[j] = d_g;
            }
        }
    }
}
