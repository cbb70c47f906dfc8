//! What goes from layer to layer, many time steps at once.

use std::ops::Range;

use super::{LayerTape, Pass, Tape};
use crate::device::{Device, Gpu, GpuBuffer};
use crate::kernels::dropout::{Dropout, Source};
use crate::kernels::lstm::tape::output;
use crate::kernels::lstm::{LstmTape, affine_maps, input_of};
use crate::kernels::{Matrix, Onto, Product, ProductShape, WeightGradients};

/// Before a layer's recurrences: dropout on its input in those `rows`, or in its place what dropout multiplies that by.
pub fn before_layer(gpu: &Gpu, pass: &Pass, layer: usize, rows: Range<usize>, masks: bool, tape: &mut Tape) {
    if let Some(drop) = pass.input_drop(layer) {
        let (below, above) = tape.layers.split_at_mut(layer);
        let (input, place) = output(&below[layer - 1], pass.shape, pass.packing);
        let (elements, at) = (pass.input_elements(&rows), rows.start * place.row);
        let from = if masks { Source::Ones } else { Source::Values(input, place.offset + at) };
        gpu.dropout(&drop, &elements, &tape.sequences, from, (&mut above[0].x, at), false);
    }
}

/// Before a recurrence, many time steps at once: `gates = x · W_ihᵀ + b_ih + b_hh` of those `rows`, the biases later with layer
/// normalisation.
pub fn input_products(
    gpu: &Gpu,
    pass: &Pass,
    (layer, direction): (usize, usize),
    params: &GpuBuffer,
    x: (&GpuBuffer, usize),
    rows: Range<usize>,
    tape: &mut Tape,
) {
    let places = pass.shape.cell(layer, direction);
    let (below, above) = tape.layers.split_at_mut(layer);
    let LayerTape { cells, x: dropped, .. } = &mut above[0];
    let below = below.last().map(|below| output(below, pass.shape, pass.packing));
    let (input, a) = input_of(pass, layer, x, below, dropped);
    let product = ProductShape {
        m: rows.len(),
        n: pass.shape.gates(),
        k: places.input_size,
        a: Matrix { offset: a.offset + rows.start * a.row, ..a },
        b: Matrix::rows(places.weight_ih, places.input_size).transposed(),
        c: rows.start * pass.shape.gates(),
    };
    gpu.product(&product, input, params, Onto::Biases(params, &places.early_biases()), &mut cells[direction].gates);
}

/// Before a recurrence: weight drop.
pub fn drop_weights(gpu: &Gpu, pass: &Pass, (layer, direction): (usize, usize), params: &GpuBuffer, tape: &mut Tape) {
    let cell = layer * pass.shape.directions() + direction;
    if let Some(drop) = pass.weight_drop(cell) {
        let from = Source::Values(params, pass.shape.cell(layer, direction).weight_hh);
        let to = (&mut tape.dropped, pass.dropped_at(cell));
        gpu.dropout(&drop, &pass.weight_elements(), &tape.sequences, from, to, false);
    }
}

/// After a recurrence with weight drop, all time steps at once: the gradient of W_hh, which [`weight_gradients`] leaves out.
pub fn dropped_gradient(
    gpu: &Gpu,
    pass: &Pass,
    (layer, direction): (usize, usize),
    tape: &mut Tape,
    d_params: &mut GpuBuffer,
) {
    let (shape, cell) = (pass.shape, layer * pass.shape.directions() + direction);
    let Some(drop) = pass.weight_drop(cell) else { return };
    let LstmTape { layers, sequences, d_dropped, scratch, .. } = tape;
    let tape = &layers[layer].cells[direction];
    let (m, n) = (shape.gates(), shape.width());
    gpu.zero(d_dropped, 0, m * n);
    let (a, b) = (Matrix::rows(0, m).transposed(), Matrix::rows(0, n));
    let product = ProductShape { m, n, k: pass.rows(), a, b, c: 0 };
    gpu.product_add(&product, &tape.gates, &tape.h_in, d_dropped, scratch);
    let (from, to) = (Source::Values(d_dropped, 0), (d_params, shape.cell(layer, direction).weight_hh));
    gpu.dropout(&drop, &pass.weight_elements(), sequences, from, to, true);
}

/// After all recurrences, all time steps at once: the gradients of the weights and biases of all layers.
pub fn weight_gradients(gpu: &Gpu, pass: &Pass, x: (&GpuBuffer, usize), tape: &mut Tape, d_params: &mut GpuBuffer) {
    let all = pass.shape.places().flat_map(|cell| affine_maps::<Gpu>(pass, cell, x, &tape.layers));
    // Sums for layer normalisation last, so that one dispatch takes all that is multiplied.
    let (mut maps, sums): (Vec<_>, Vec<_>) = all.partition(|map| map.x.is_some());
    maps.extend(sums);
    gpu.weight_gradients(&maps, d_params, &mut tape.scratch);
}

/// After a layer's recurrences: the gradient of its input before dropout in those `rows`.
pub fn after_layer(gpu: &Gpu, pass: &Pass, layer: usize, rows: Range<usize>, tape: &mut Tape) {
    if let Some(drop) = pass.input_drop(layer) {
        let elements = pass.input_elements(&rows);
        let to = (&mut tape.between, rows.start * elements.columns);
        gpu.dropout(&drop, &elements, &tape.sequences, Source::Itself, to, false);
    }
}
