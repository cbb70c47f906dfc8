//! A batch cut into tiles of sequences, one a thread.

use std::ops::Range;

use super::norm::Normed;
use crate::device::threads::current_num_threads;
use crate::device::{Cpu, Real};
use crate::kernels::lstm::packing::Step;
use crate::kernels::lstm::tape::NormPlaces;
use crate::kernels::product::CHAIN;
use crate::kernels::weight_gradients::RowOrder;
use crate::kernels::{AffineSize, Lstm, LstmShape, Pass};

/// Sequences that one thread takes through time together: as many as make every thread busy, at most so many that their rows
/// of a time step stay in a core's own cache. A sequence's bits do not depend on it.
pub fn tile_size(pass: &Pass) -> usize {
    tile_for(pass, current_num_threads())
}

/// With `threads` of them. A multiple of four, as the masks are drawn.
fn tile_for(pass: &Pass, threads: usize) -> usize {
    let batch = pass.packing.batch();
    batch.div_ceil(threads.max(least_tiles(batch, !pass.packing.is_even()))).next_multiple_of(4)
}

/// Tiles that a batch is cut into by itself: of 32 sequences at most, of 16 as long as that makes two, so that there are groups whose
/// gradients of the weights are summed on the way and not read once more from memory. Sequences of unequal length have unequal
/// work: of 16 always, which can be shared out more evenly.
fn least_tiles(batch: usize, ragged: bool) -> usize {
    let small = batch.div_ceil(16);
    if ragged { small } else { batch.div_ceil(32).max(small.min(2).min(Groups::MOST)) }
}

/// Sequences whose gradients of the weights are summed by themselves, before the sums of all of them are added up: the same ones
/// however many threads there are.
#[derive(Clone, Copy)]
pub struct Groups {
    /// How many there are.
    pub count: usize,
    tile: usize,
    /// Tiles of one group.
    pub together: usize,
}

impl Groups {
    /// So many groups at most, as each has sums of its own; in a browser, which has one thread, none, and less code to load.
    const MOST: usize = if cfg!(target_arch = "wasm32") { 1 } else { 16 };
    /// Elements of the sums of one layer and direction that stay in a core's own cache while rows pass by.
    const CACHED: usize = 1 << 16;

    /// None where one would be all, or no layer's sums are made in groups.
    pub fn of(pass: &Pass) -> Option<Self> {
        if Self::MOST == 1 || !(0..pass.shape.num_layers).any(|layer| Self::suit(pass.shape, layer)) {
            return None;
        }
        let tile = tile_for(pass, 1);
        let tiles = pass.packing.batch().div_ceil(tile);
        let together = Self::together(tiles, pass.packing.is_even());
        Some(Self { count: tiles.div_ceil(together), tile, together }).filter(|groups| groups.count > 1)
    }

    /// How many of so many tiles make a group. With unequal lengths a long one goes with a short one, where there are more than two
    /// and none is left over: fewer sums to begin and to add up.
    fn together(tiles: usize, even: bool) -> usize {
        let least = tiles.div_ceil(Self::MOST);
        let pairs = !even && (least > 1 || tiles > 2 && tiles.is_multiple_of(2));
        if pairs { least.next_multiple_of(2) } else { least }
    }

    /// Whether there is one for each thread, so that each may sum on its way back. Then tiles are those of one thread, as the
    /// order of the sums has them.
    pub fn busy_all_threads(&self) -> bool {
        self.count >= current_num_threads()
    }

    /// Whether the gradients of a map of this size, of this layer, are summed in groups: those of maps with inputs.
    pub fn take(shape: &LstmShape, layer: usize, map: &AffineSize) -> bool {
        map.widths != [0; 2] && Self::suit(shape, layer)
    }

    fn suit(shape: &LstmShape, layer: usize) -> bool {
        shape.gates() * (shape.layer_inputs(layer) + shape.width()) <= Self::CACHED
    }

    /// Elements of the sums of all groups of the largest batch.
    pub fn sums_len(shape: &LstmShape) -> usize {
        let groups = least_tiles(shape.batch, shape.ragged).min(Self::MOST);
        let columns = |layer| shape.layer_inputs(layer) + shape.width() + usize::from(shape.bias);
        let layers = (0..shape.num_layers).filter(|&layer| groups > 1 && Self::suit(shape, layer)).map(columns);
        groups * shape.directions() * shape.gates() * layers.sum::<usize>()
    }

    /// The order in which rows are summed.
    pub fn order(&self, pass: &Pass, reverse: bool) -> RowOrder {
        let batch = pass.packing.batch();
        let tiles: Vec<usize> = (0..batch).step_by(self.tile).collect();
        let chains_of = |&first: &usize| chains(pass, first..batch.min(first + self.tile), reverse);
        let rows_of =
            |first: usize, step: &Step| step.row + first..step.row + batch.min(first + self.tile).min(step.present);
        let chain = |first: usize, chain: Vec<Step>| chain.iter().map(|step| rows_of(first, step)).collect::<Vec<_>>();
        let group = |tiles: &[usize]| {
            tiles.iter().flat_map(|first| chains_of(first).into_iter().map(move |steps| chain(*first, steps))).collect()
        };
        RowOrder(paired(tiles).chunks(self.together).map(group).collect())
    }
}

/// The steps that some sequences have, from the last walked to the first, in chains of rows that are summed in one go.
pub fn chains(pass: &Pass, sequences: Range<usize>, reverse: bool) -> Vec<Vec<Step>> {
    let (mut chains, mut left) = (Vec::new(), 0);
    for step in pass.packing.walk(reverse).rev().filter(|step| step.present > sequences.start) {
        let rows = step.present.min(sequences.end) - sequences.start;
        if rows > left {
            chains.push(Vec::new());
            left = CHAIN;
        }
        left -= rows;
        chains.last_mut().expect("at least one").push(step);
    }
    chains
}

/// The first and the last, the second and the last but one, and so on. The longest sequences come first in a batch, so that each such
/// pair, each half that a thread takes over, and each half of that, are about equal work.
pub fn paired<T>(tiles: Vec<T>) -> Vec<T> {
    let mut paired = Vec::with_capacity(tiles.len());
    let mut tiles = tiles.into_iter();
    while let Some(first) = tiles.next() {
        paired.push(first);
        paired.extend(tiles.next_back());
    }
    paired
}

/// What one thread works on: for each of its time steps the rows of its sequences.
pub struct Tile<'a, F> {
    /// First sequence.
    pub first: usize,
    /// Sequences.
    pub count: usize,
    pub gates: Vec<&'a mut [F]>, // T of [n, 4H]
    /// Whether those of all steps are more than a core's caches may hold.
    pub far: bool,
    pub h_in: Vec<&'a mut [F]>, // T (+ 1) of [n, P]
    pub c: Vec<&'a mut [F]>,    // 1 + T of [n, H], the start states first
    pub u: Vec<&'a mut [F]>,    // T of [n, H], or of [n, P] for its gradients
    /// What layer normalisation keeps.
    pub norm: Vec<Normed<'a, F>>, // T, or none without it
    pub sums: &'a mut [F],      // [⌈count / 4⌉, 10H], the gradients of its gains and biases
}

impl<F> Tile<'_, F> {
    /// Of the first `active` sequences of the batch, those in this tile.
    pub fn rows(&self, active: usize) -> usize {
        active.saturating_sub(self.first).min(self.count)
    }

    /// Time steps that its first sequence has.
    pub fn steps(&self) -> usize {
        self.c.len() - 1
    }
}

/// About the bytes of a tile's gates that a core's own cache and its share of the outer one hold beside the rest.
const FAR: usize = 1 << 20;

/// Cuts the buffers of one direction of one layer into tiles. An empty buffer gives tiles without it.
pub fn tiles<'a, F: Real>(
    pass: &Pass,
    gates: &'a mut [F],
    h_in: &'a mut [F],
    c: &'a mut [F],
    u: &'a mut [F],
    norm: &'a mut [F],
) -> Vec<Tile<'a, F>> {
    let (shape, batch, tile) = (pass.shape, pass.packing.batch(), tile_size(pass));
    let steps = pass.packing.actives();
    let with_start: Vec<usize> = std::iter::once(batch).chain(steps.iter().copied()).collect();
    let h_rows = if shape.shares_output() { &with_start } else { &steps };
    // The forward pass keeps o ∘ tanh(c), the backward pass the gradients of the projection.
    let u_width = if h_in.is_empty() { shape.width() } else { shape.hidden_size };
    let mut gates = cut(gates, tile, &steps, shape.gates());
    let mut h_in = cut(h_in, tile, h_rows, shape.width());
    let mut c = cut(c, tile, &with_start, shape.hidden_size);
    let mut u = cut(u, tile, &steps, u_width);
    let NormPlaces { moments, sums, own } = pass.norm_places::<Cpu<F>>();
    let [moments, sums, own] = if norm.is_empty() { [0; 3] } else { [moments, sums, own] };
    let (kept, sums) = norm[..own].split_at_mut(sums);
    let (a, moments) = kept.split_at_mut(moments);
    let mut sums = sums.chunks_mut(tile / Cpu::<F>::SUMMED_TOGETHER * shape.norm_sums());
    let rows = cut(a, tile, &steps, shape.gates()).zip(cut(moments, tile, &steps, 3));
    let normed = |(a, moments): (_, &'a mut [F])| Normed { a, moments: moments.as_chunks_mut().0 };
    let mut norm = rows.map(|(a, moments)| a.into_iter().zip(moments).map(normed).collect());
    let cut_one = |first: usize| {
        let own = gates.next().unwrap_or_default();
        let bytes: usize = own.iter().map(|block| size_of_val(&**block)).sum();
        Tile {
            first,
            count: tile.min(batch - first),
            gates: own,
            far: bytes > FAR,
            h_in: h_in.next().unwrap_or_default(),
            c: c.next().unwrap_or_default(),
            u: u.next().unwrap_or_default(),
            norm: norm.next().unwrap_or_default(),
            sums: sums.next().unwrap_or_default(),
        }
    };
    (0..batch).step_by(tile).map(cut_one).collect()
}

/// `values` holds one block a time step, of `rows` rows each: the tiles of each block, gathered by tile.
pub fn cut<'a, F>(
    values: &'a mut [F],
    tile: usize,
    rows: &[usize],
    width: usize,
) -> std::vec::IntoIter<Vec<&'a mut [F]>> {
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

/// The block of step `t`, and that of the step before it on a direction's way.
pub fn with_earlier<T>(blocks: &mut [T], t: usize, reverse: bool) -> (&mut T, Option<&T>) {
    let (left, right) = blocks.split_at_mut(t);
    let (now, right) = right.split_first_mut().expect("a block for each step");
    (now, if reverse { right.first() } else { left.last() })
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

#[cfg(test)]
mod tests {
    use super::{Groups, least_tiles, tile_for};
    use crate::kernels::{LstmShape, Packing, Pass};

    #[test]
    fn groups_fit_their_sums_and_are_made_of_the_threads_tiles() {
        for (batch, uneven) in (2..=700).flat_map(|batch| [(batch, false), (batch, true)]) {
            let lengths: Vec<_> = (0..batch).map(|n| if uneven && n > 0 { 1 } else { 2 }).collect();
            let (packing, _) = Packing::new(&lengths, 2).unwrap();
            let shape = LstmShape { steps: 2, batch, ragged: uneven, ..LstmShape::default() };
            let pass = Pass { shape: &shape, packing: &packing, draw: None, first_step: 0 };
            let tiles = least_tiles(batch, uneven);
            let Some(groups) = Groups::of(&pass) else {
                assert!(tiles == 1, "{batch} sequences in {tiles} tiles");
                continue;
            };
            let pairs = uneven && (tiles > 16 || tiles > 2 && tiles.is_multiple_of(2));
            assert!(
                !pairs || groups.together.is_multiple_of(2),
                "{batch} sequences, {} tiles together",
                groups.together
            );
            assert!(groups.count >= tiles.min(16).div_ceil(2), "{batch} sequences in {} groups", groups.count);
            // One weight column, one of h and one of biases for each of four gates.
            assert!(12 * groups.count <= Groups::sums_len(&shape), "{batch} sequences in {} groups", groups.count);
            for threads in 1..=groups.count {
                assert_eq!(tile_for(&pass, threads), groups.tile, "{batch} sequences on {threads} threads");
            }
        }
    }
}
