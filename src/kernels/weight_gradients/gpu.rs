//! On the GPU: a dispatch for all maps whose buffers lie together, their rows cut into parts, and one that adds the parts of all in
//! a fixed order.

use std::ops::Range;

use super::{Affine, AffineInput, AffineSize, WeightGradients};
use crate::device::{Cost, Gpu, GpuBuffer, Tile, Tuning, grid, kernel, params};
use crate::kernels::product::{Splits, TileKernels, tile_kernels};
use crate::order;

params! {
    struct WeightParams {
        rows: u32, outputs: u32, d_row: u32, h_row: u32, h_width: u32, biases: u32,
        d: u32, x: u32, x_row: u32, x_width: u32, h: u32, d_w_x: u32, d_w_h: u32, d_b_0: u32, d_b_1: u32,
        next_x: u32, next_x_row: u32, next_x_width: u32, next_d_w_x: u32, next_d_w_h: u32, next_d_b_0: u32, next_d_b_1: u32,
        d_apart: u32, h_apart: u32, places_apart: u32, x_in_h: u32,
        add: u32, stride: u32, splits: u32, rows_per_split: u32,
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

    /// The sums of all maps, as many in each dispatch as lie together.
    fn all_partial_sums(&self, maps: &[Affine<GpuBuffer>], sums: &Sums) {
        let mut rest = maps;
        while !rest.is_empty() {
            // Tiles straight from storage take one map: what lies where would be decided at every number.
            let direct = self.weight_tile(&rest[0].size()) == Tile::Direct;
            let (maps, after) = rest.split_at(if direct { 1 } else { lie_together(rest) });
            let tile = self.weight_tile(&widest(maps));
            let (rows, of_row) = (maps[0].rows, 2 * maps.iter().map(|map| columns(&map.size()) as u64).sum::<u64>());
            for outputs in self.tuning().pieces(maps[0].outputs, tile.size().0, rows as u64 * of_row) {
                // Parts of sums that are cut are not added to what is there, so they stay whole.
                let least = if sums.splits > 1 { rows } else { Tuning::TERMS };
                for rows in self.tuning().pieces(rows, least, outputs.len() as u64 * of_row) {
                    let piece: Vec<_> = maps.iter().map(|map| map.part(rows.clone(), outputs.clone())).collect();
                    self.partial_sums(&piece, sums, tile);
                }
            }
            rest = after;
        }
    }

    fn partial_sums(&self, maps: &[Affine<GpuBuffer>], sums: &Sums, tile: Tile) {
        let (map, next) = (&maps[0], &maps[1.min(maps.len() - 1)]);
        let whole = [&map.x, &map.h].into_iter().flatten().all(|input| input.rows.column == 1);
        assert!(whole && map.d.1.column == 1, "rows in pieces");
        assert!(map.biases.len() <= 2, "{} biases", map.biases.len());
        let [d, x, h, d_w_x, d_w_h, d_b_0, d_b_1] = places(map, sums.first);
        let [next_d, next_x, next_h, next_d_w_x, next_d_w_h, next_d_b_0, next_d_b_1] = places(next, sums.first);
        let [rows, outputs, d_row, h_row, h_width, biases] = sizes(map);
        let [[x_row, x_width], [next_x_row, next_x_width]] = [map, next].map(size_of_x);
        let third = maps.get(2).map_or(next_d_w_x, |third| places(third, sums.first)[3]);
        let params = WeightParams {
            rows,
            outputs,
            d_row,
            h_row,
            h_width,
            biases,
            d,
            x,
            x_row,
            x_width,
            h,
            d_w_x,
            d_w_h,
            d_b_0,
            d_b_1,
            next_x,
            next_x_row,
            next_x_width,
            next_d_w_x,
            next_d_w_h,
            next_d_b_0,
            next_d_b_1,
            d_apart: next_d.wrapping_sub(d),
            h_apart: next_h.wrapping_sub(h),
            places_apart: third.wrapping_sub(next_d_w_x),
            x_in_h: u32::from(!have_same_x(map, next)),
            add: u32::from(sums.splits == 1),
            stride: sums.stride as u32,
            splits: sums.splits as u32,
            rows_per_split: map.rows.div_ceil(sums.splits) as u32,
        };
        let size = widest(maps);
        let (mut operations, mut moved) = (0, 0);
        for map in maps {
            let AffineSize { rows, outputs, widths, bias } = map.size();
            let width = widths.iter().sum::<usize>();
            operations += rows * outputs * (2 * width + usize::from(bias));
            moved += rows * (outputs + width) + outputs * (width + map.biases.len()) * sums.splits;
        }
        self.cost(Cost::new(operations, moved));
        let [across, down, _] = grid(tile.count(size.outputs, columns(&size)), 1);
        // Sums alone lose digits in 16 bits and gain nothing.
        let half = self.half().filter(|_| size.widths != [0; 2]);
        // A buffer for the binding even where there is no input.
        let d = map.d.0;
        let buffers = [Some(d), values(&map.x), values(&map.h)].map(|buffer| buffer.unwrap_or(d).whole());
        let grid = [across, down, (maps.len() * sums.splits) as u32];
        self.run(WEIGHTS.of(tile, half), &params, &[buffers[0], buffers[1], buffers[2], sums.to], grid);
    }
}

/// The size of the widest of maps that lie together: the first or any other.
fn widest(maps: &[Affine<GpuBuffer>]) -> AffineSize {
    let [first, next] = [&maps[0], &maps[1.min(maps.len() - 1)]].map(Affine::size);
    if first.widths[0] > next.widths[0] { first } else { next }
}

fn values<'a>(input: &Option<AffineInput<'a, GpuBuffer>>) -> Option<&'a GpuBuffer> {
    input.as_ref().map(|input| input.values)
}

/// Where d, x and h begin in all that was made together with them, and the gradients of W_x, W_h and the biases behind `first`.
fn places(map: &Affine<GpuBuffer>, first: usize) -> [u32; 7] {
    let (d, rows) = map.d;
    let begins = |input: &Option<AffineInput<GpuBuffer>>| {
        input.as_ref().map_or([0, first], |input| [input.values.place() + input.rows.offset, input.weight])
    };
    let [[x, w_x], [h, w_h]] = [begins(&map.x), begins(&map.h)];
    let [b_0, b_1] = [0, 1].map(|index| map.biases.get(index).copied().unwrap_or(first));
    let gradients = [w_x, w_h, b_0, b_1].map(|place| place - first);
    [d.place() + rows.offset, x, h, gradients[0], gradients[1], gradients[2], gradients[3]].map(|place| place as u32)
}

/// What all maps of a dispatch have alike.
fn sizes(map: &Affine<GpuBuffer>) -> [u32; 6] {
    let [h_row, h_width] = map.h.as_ref().map_or([0; 2], |h| [h.rows.row, h.width]);
    [map.rows, map.outputs, map.d.1.row, h_row, h_width, map.biases.len()].map(|size| size as u32)
}

/// What all but the first have alike.
fn size_of_x(map: &Affine<GpuBuffer>) -> [u32; 2] {
    map.x.as_ref().map_or([0; 2], |x| [x.rows.row as u32, x.width as u32])
}

fn have_same_x(a: &Affine<GpuBuffer>, b: &Affine<GpuBuffer>) -> bool {
    match (values(&a.x), values(&b.x)) {
        (Some(a_x), Some(b_x)) => std::ptr::eq(a_x, b_x) && size_of_x(a) == size_of_x(b),
        _ => false,
    }
}

/// How many of the maps, from the first on, have their buffers in one of each kind, where the kernel looks for them: x is the
/// same for all, or that of all but the first lies where h does.
fn lie_together(maps: &[Affine<GpuBuffer>]) -> usize {
    let Some(second) = maps.get(1) else { return 1 };
    let (first, third) = (&maps[0], maps.get(2).unwrap_or(second));
    let same_x = have_same_x(first, second);
    let [at_first, at_second, at_third] = [first, second, third].map(|map| places(map, 0));
    let apart = |place: usize| at_second[place].wrapping_sub(at_first[place]);
    let (d_apart, h_apart, places_apart) = (apart(0), apart(2), at_third[3].wrapping_sub(at_second[3]));
    let joins = |(index, map): &(usize, &Affine<GpuBuffer>)| {
        let behind = |from: u32, apart: u32, times: usize| from.wrapping_add(apart.wrapping_mul(times as u32));
        let at = places(map, 0);
        let gradients = 3..5 + map.biases.len();
        are_together(first.d.0, map.d.0)
            && are_together_if_some(&first.h, &map.h)
            && (if same_x { have_same_x(first, map) } else { are_together_if_some(&map.x, &map.h) })
            && sizes(first) == sizes(map)
            && size_of_x(second) == size_of_x(map)
            && at[0] == behind(at_first[0], d_apart, *index)
            && at[2] == behind(at_first[2], h_apart, *index)
            && at[1] == behind(at_second[1], if same_x { 0 } else { h_apart }, index - 1)
            && gradients.into_iter().all(|place| at[place] == behind(at_second[place], places_apart, index - 1))
    };
    1 + maps.iter().enumerate().skip(1).take_while(joins).count()
}

fn are_together(a: &GpuBuffer, b: &GpuBuffer) -> bool {
    a.all().zip(b.all()).is_some_and(|(a, b)| std::ptr::eq(a, b))
}

fn are_together_if_some(a: &Option<AffineInput<GpuBuffer>>, b: &Option<AffineInput<GpuBuffer>>) -> bool {
    values(a).zip(values(b)).is_some_and(|(a, b)| are_together(a, b))
}

impl WeightGradients for Gpu {
    fn weight_gradients(&self, maps: &[Affine<GpuBuffer>], d_params: &mut GpuBuffer, scratch: &mut GpuBuffer) {
        let sizes: Vec<_> = maps.iter().map(Affine::size).collect();
        let splits = self.weight_splits(&sizes);
        if splits == 1 {
            let sums = Sums { to: d_params, splits, first: 0, stride: 0 };
            return self.all_partial_sums(maps, &sums);
        }
        let spans = merged(maps.iter().flat_map(Affine::spans).collect());
        let (Some(first), Some(last)) = (spans.first(), spans.last()) else { return };
        let (first, stride) = (first.start, last.end - first.start);
        assert!(splits * stride <= scratch.len(), "{splits} splits of {stride} in {}", scratch.len());
        let sums = Sums { to: scratch, splits, first, stride };
        self.all_partial_sums(maps, &sums);
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
