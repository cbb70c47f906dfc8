//! On the GPU: a dispatch for each map, its rows cut into parts, and one that adds the parts of all in a fixed order.

use std::ops::Range;

use super::{Affine, AffineInput, AffineSize, WeightGradients};
use crate::device::{Cost, Gpu, GpuBuffer, Tile, grid, kernel, params};
use crate::kernels::product::{Splits, TileKernels, tile_kernels};
use crate::order;

params! {
    struct WeightParams {
        rows: u32, outputs: u32, d: u32, d_row: u32,
        x: u32, x_row: u32, x_width: u32,
        h: u32, h_row: u32, h_width: u32,
        biases: u32, d_w_x: u32, d_w_h: u32, d_b_0: u32, d_b_1: u32,
        add: u32, stride: u32, rows_per_split: u32,
    }
}
pub(in crate::kernels) static WEIGHTS: TileKernels =
    tile_kernels!("weight_gradients", WeightParams, [Read, Read, Read, Write]);

/// Columns of [x | h | 1] as the kernel sees them: whole blocks of 8.
fn columns(size: &AffineSize) -> usize {
    size.widths.iter().map(|width| width.next_multiple_of(8)).sum::<usize>() + if size.bias { 8 } else { 0 }
}

/// Where the sums over the rows go: to the gradients themselves, or split by split to scratch.
struct Sums<'a> {
    to: &'a GpuBuffer,
    splits: usize,
    /// Place among the parameters that is the first in `to`.
    first: usize,
    stride: usize,
}

impl Gpu {
    fn weight_tile(&self, size: &AffineSize) -> Tile {
        self.tile_of(size.outputs, columns(size), size.rows, true)
    }

    /// How many parts the rows are cut into: the same for all maps, so that one dispatch adds them all.
    fn weight_splits(&self, sizes: &[AffineSize]) -> usize {
        let tiles: usize = sizes.iter().map(|size| self.weight_tile(size).count(size.outputs, columns(size))).sum();
        let rows = sizes.iter().map(|size| size.rows).max().unwrap_or(0);
        self.tuning().splits(tiles.div_ceil(sizes.len().max(1)), rows)
    }

    fn partial_sums(&self, map: &Affine<GpuBuffer>, sums: &Sums) {
        let (d, rows) = map.d;
        let inputs = [&map.x, &map.h];
        let whole = inputs.into_iter().flatten().all(|input| input.rows.column == 1);
        assert!(whole && rows.column == 1, "rows in pieces");
        assert!(map.biases.len() <= 2, "{} biases", map.biases.len());
        // A buffer for the binding even where there is no input.
        let [x, h] = inputs.map(|input| input.as_ref().map_or(d, |input| input.values));
        let number = |input: usize, number: fn(&AffineInput<GpuBuffer>) -> usize| {
            inputs[input].as_ref().map_or(0, |input| number(input) as u32)
        };
        let place = |place: usize| (place - sums.first) as u32;
        let bias = |index: usize| map.biases.get(index).map_or(0, |&at| place(at));
        let weight = |input: usize| inputs[input].as_ref().map_or(0, |input| place(input.weight));
        let params = WeightParams {
            rows: map.rows as u32,
            outputs: map.outputs as u32,
            d: rows.offset as u32,
            d_row: rows.row as u32,
            x: number(0, |x| x.rows.offset),
            x_row: number(0, |x| x.rows.row),
            x_width: number(0, |x| x.width),
            h: number(1, |h| h.rows.offset),
            h_row: number(1, |h| h.rows.row),
            h_width: number(1, |h| h.width),
            biases: map.biases.len() as u32,
            d_w_x: weight(0),
            d_w_h: weight(1),
            d_b_0: bias(0),
            d_b_1: bias(1),
            add: u32::from(sums.splits == 1),
            stride: sums.stride as u32,
            rows_per_split: map.rows.div_ceil(sums.splits) as u32,
        };
        let size = map.size();
        let tile = self.weight_tile(&size);
        let width = size.widths.iter().sum::<usize>();
        let moved = map.rows * (map.outputs + width) + map.outputs * (width + map.biases.len()) * sums.splits;
        self.cost(Cost::new(map.rows * map.outputs * (2 * width + usize::from(size.bias)), moved));
        let [across, down, _] = grid(tile.count(size.outputs, columns(&size)), 1);
        // Sums alone lose digits in 16 bits and gain nothing.
        let half = self.half().filter(|_| width > 0);
        self.run(WEIGHTS.of(tile, half), &params, &[d, x, h, sums.to], [across, down, sums.splits as u32]);
    }
}

impl WeightGradients for Gpu {
    fn weight_gradients(&self, maps: &[Affine<GpuBuffer>], d_params: &mut GpuBuffer, scratch: &mut GpuBuffer) {
        let sizes: Vec<_> = maps.iter().map(Affine::size).collect();
        let splits = self.weight_splits(&sizes);
        if splits == 1 {
            let sums = Sums { to: d_params, splits, first: 0, stride: 0 };
            return maps.iter().for_each(|map| self.partial_sums(map, &sums));
        }
        let spans = merged(maps.iter().flat_map(Affine::spans).collect());
        let (Some(first), Some(last)) = (spans.first(), spans.last()) else { return };
        let (first, stride) = (first.start, last.end - first.start);
        assert!(splits * stride <= scratch.len(), "{splits} splits of {stride} in {}", scratch.len());
        let sums = Sums { to: scratch, splits, first, stride };
        maps.iter().for_each(|map| self.partial_sums(map, &sums));
        for span in spans {
            let splits = Splits { count: span.len(), splits, first: span.start - first, stride };
            self.reduce_splits(&splits, scratch, span.start, d_params);
        }
    }

    fn weight_scratch_len(&self, sizes: &[AffineSize], span: usize) -> usize {
        match self.weight_splits(sizes) {
            1 => 0,
            splits => splits * span,
        }
    }
}

/// The same places in as few ranges as can be, in order.
fn merged(spans: Vec<Range<usize>>) -> Vec<Range<usize>> {
    let mut merged: Vec<Range<usize>> = Vec::new();
    for place in order::by_key(spans.len(), |place| spans[place].start as u64) {
        let span = spans[place].clone();
        match merged.last_mut() {
            Some(last) if last.end == span.start => last.end = span.end,
            _ => merged.push(span),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::merged;

    #[test]
    fn neighbouring_places_are_one_range() {
        assert_eq!(merged(vec![10..14, 0..3, 3..10, 20..21]), [0..14, 20..21]);
        assert!(merged(Vec::new()).is_empty());
    }
}
