//! A batch cut into tiles of sequences, one a thread.

use super::norm::Normed;
use crate::device::threads::current_num_threads;
use crate::device::{Cpu, Real};
use crate::kernels::lstm::tape::NormPlaces;
use crate::kernels::{Lstm, LstmShape, Pass};

/// Sequences that one thread takes through time together: as many as make every thread busy, at most so many that their rows
/// of a time step stay in a core's own cache. A multiple of four, as the masks are drawn. A sequence's bits do not depend
/// on it.
pub fn tile_size(pass: &Pass) -> usize {
    // Tiles of sequences of unequal length have unequal work: smaller ones can be shared out more evenly.
    let most = if pass.packing.is_even() { 32 } else { 16 };
    pass.packing.batch().div_ceil(current_num_threads()).next_multiple_of(4).min(most)
}

/// What one thread works on: for each of its time steps the rows of its sequences.
pub struct Tile<'a, F> {
    /// First sequence.
    pub first: usize,
    /// Sequences.
    pub count: usize,
    pub gates: Vec<&'a mut [F]>, // T of [n, 4H], or none with layer normalisation
    pub h_in: Vec<&'a mut [F]>,  // T (+ 1) of [n, P]
    pub c: Vec<&'a mut [F]>,     // 1 + T of [n, H], the start states first
    pub u: Vec<&'a mut [F]>,     // T of [n, H], or of [n, P] for its gradients
    pub y: Vec<&'a mut [F]>,     // T of [n, R · P]
    /// What layer normalisation keeps.
    pub norm: Vec<Normed<'a, F>>, // T, or none without it
    pub sums: &'a mut [F],       // [⌈count / 4⌉, 14H], the gradients of its gains and biases
}

impl<F> Tile<'_, F> {
    /// Of the first `active` sequences of the batch, those in this tile.
    pub fn rows(&self, active: usize) -> usize {
        active.saturating_sub(self.first).min(self.count)
    }
}

/// Cuts the buffers of one direction of one layer into tiles. An empty buffer gives tiles without it.
pub fn tiles<'a, F: Real>(
    pass: &Pass,
    gates: &'a mut [F],
    h_in: &'a mut [F],
    c: &'a mut [F],
    u: &'a mut [F],
    y: &'a mut [F],
    norm: &'a mut [F],
) -> Vec<Tile<'a, F>> {
    let (shape, batch, tile) = (pass.shape, pass.packing.batch(), tile_size(pass));
    let steps: Vec<usize> = (0..pass.packing.steps()).map(|t| pass.packing.active(t)).collect();
    let with_start: Vec<usize> = std::iter::once(batch).chain(steps.iter().copied()).collect();
    let h_rows = if shape.shares_output() { &with_start } else { &steps };
    // The forward pass keeps o ∘ tanh(c), the backward pass the gradients of the projection.
    let u_width = if h_in.is_empty() { shape.width() } else { shape.hidden_size };
    let mut gates = cut(gates, tile, &steps, shape.gates());
    let mut h_in = cut(h_in, tile, h_rows, shape.width());
    let mut c = cut(c, tile, &with_start, shape.hidden_size);
    let mut u = cut(u, tile, &steps, u_width);
    let mut y = cut(y, tile, &steps, shape.output_size());
    let places = pass.norm_places::<Cpu<F>>();
    let [sums, own] = if norm.is_empty() { [0; 2] } else { [places.sums, places.own] };
    let (kept, means) = norm.split_at_mut(own);
    let (kept, sums) = kept.split_at_mut(sums);
    let mut sums = sums.chunks_mut(tile / Cpu::<F>::SUMMED_TOGETHER * shape.norm_sums());
    let mut norm = cut_norm(shape, &places, kept, means, tile, &steps);
    let cut_one = |first: usize| Tile {
        first,
        count: tile.min(batch - first),
        gates: gates.next().unwrap_or_default(),
        h_in: h_in.next().unwrap_or_default(),
        c: c.next().unwrap_or_default(),
        u: u.next().unwrap_or_default(),
        y: y.next().unwrap_or_default(),
        norm: norm.next().unwrap_or_default(),
        sums: sums.next().unwrap_or_default(),
    };
    (0..batch).step_by(tile).map(cut_one).collect()
}

/// `values` holds one block a time step, of `rows` rows each: the tiles of each block, gathered by tile.
fn cut<'a, F>(values: &'a mut [F], tile: usize, rows: &[usize], width: usize) -> std::vec::IntoIter<Vec<&'a mut [F]>> {
    let mut tiles: Vec<Vec<&mut [F]>> = Vec::new();
    let mut rest = values;
    for &rows in rows {
        if rest.is_empty() {
            break;
        }
        let (block, after) = rest.split_at_mut(rows * width);
        rest = after;
        let blocks = block.chunks_mut(tile * width);
        tiles.resize_with(tiles.len().max(blocks.len()), Vec::new);
        tiles.iter_mut().zip(blocks).for_each(|(tile, block)| tile.push(block));
    }
    tiles.into_iter()
}

/// What layer normalisation keeps of each row, likewise.
fn cut_norm<'a, F>(
    shape: &LstmShape,
    places: &NormPlaces,
    kept: &'a mut [F],
    means: &'a mut [F],
    tile: usize,
    steps: &[usize],
) -> impl Iterator<Item = Vec<Normed<'a, F>>> + use<'a, F> {
    let [ih, scales] = if kept.is_empty() { [0; 2] } else { [places.ih, places.scales] };
    let (rest, scales) = kept.split_at_mut(scales);
    let (hh, ih) = rest.split_at_mut(ih);
    let gates = shape.gates();
    let wide = cut(hh, tile, steps, gates).zip(cut(ih, tile, steps, gates));
    let narrow = cut(scales, tile, steps, 3).zip(cut(means, tile, steps, 1));
    wide.zip(narrow).map(|((hh, ih), (scales, means))| {
        let step = |(((hh, ih), scales), means)| Normed { hh, ih, scales, means };
        hh.into_iter().zip(ih).zip(scales).zip(means).map(step).collect()
    })
}

/// The cell states before a step: those of the step before for the sequences that have it, and the start states of others.
pub struct Before<'a, F> {
    pub ongoing: &'a [F],  // [ongoing, H]
    pub starting: &'a [F], // [n − ongoing, H]
}

impl<'a, F> Before<'a, F> {
    /// Those before step `t`, and the step's own to write; of `c`, `ongoing` and `all` elements.
    pub fn of(c: &'a mut [&mut [F]], t: usize, reverse: bool, ongoing: usize, all: usize) -> (Self, &'a mut [F]) {
        let (left, right) = c.split_at_mut(t + 1);
        let (now, right) = right.split_first_mut().expect("a block for each step");
        let before: &[F] = match (reverse, right.first()) {
            _ if ongoing == 0 => &[],
            (true, Some(after)) => &after[..ongoing],
            _ => &left[t][..ongoing],
        };
        (Self { ongoing: before, starting: &left[0][ongoing..all] }, now)
    }
}
