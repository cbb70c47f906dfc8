//! How kernels are carried out: what is fastest differs between adapters, and what is computed does not, but for the order of
//! long sums and so the last bits.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// The tiles of a matrix product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tile {
    /// 128 × 8 by 8 invocations, straight from storage: for software, where barriers and workgroup memory are dear.
    Direct,
    /// 64 × 64 by 256 invocations through workgroup memory.
    Medium,
    /// 128 × 128 likewise.
    Large,
}

impl Tile {
    /// Rows and columns of one.
    pub fn size(self) -> (usize, usize) {
        match self {
            Self::Direct => (128, 8),
            Self::Medium => (64, 64),
            Self::Large => (128, 128),
        }
    }

    /// How many of them cover `[rows, columns]`.
    pub fn count(self, rows: usize, columns: usize) -> usize {
        let (high, wide) = self.size();
        rows.div_ceil(high) * columns.div_ceil(wide)
    }
}

/// What a device computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tuning {
    /// The tiles of most products.
    pub tile: Tile,
    /// Products of so many large tiles, counting the parts that a long sum is cut into, are computed in those.
    pub large_from: usize,
    /// Long sums are cut into parts until there is work for so many workgroups.
    pub workgroups: usize,
    /// Operations of a dispatch at most, so that none takes much longer than 100 ms in software or on a large GPU, nor a small one's
    /// whole 2 s before it is stopped; 0 for any number. A tile, the parts of a sum that go side by side, a loss, and what is small
    /// beside the dispatches around it are never cut.
    #[serde(default)] // A run that was begun before there was such a limit goes on without.
    pub operations: u64,
    /// The recurrence.
    pub recurrence: Recurrence,
}

/// How the recurrence is run: in one dispatch for all time steps, the recurrent weights on chip, or in one for each. A kernel
/// takes less of what is a most, where its sizes or the limits of WebGPU ask for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recurrence {
    /// The largest hidden size whose time steps take one dispatch. Beyond, most weights come from memory again at every step,
    /// through one workgroup each.
    pub persistent_to: usize,
    /// Invocations of a workgroup at most.
    pub threads: usize,
    /// Hidden units for each of them, as far as there are invocations; 0 takes all invocations whatever the hidden size.
    pub units: usize,
    /// Sequences of a workgroup at most.
    pub sequences: usize,
    /// Workgroups that there are before one takes a second sequence; 0 gives each as many as it may have.
    pub groups: usize,
    /// 4 × 4 blocks of weights that an invocation keeps in registers.
    pub blocks: usize,
    /// Bytes of workgroup memory at most, where an adapter has so many, that are filled with more of them; the others are read at
    /// every step.
    #[serde(default)] // A run that was begun before there were any there goes on without.
    pub memory: usize,
    /// Time steps that one dispatch walks at most, fewer where [`Tuning::operations`] says so. Longer ways take several, so that
    /// none keeps a device from its other work for long.
    pub steps: usize,
    /// In how many chunks the steps of a stack are walked back, a layer one chunk after the one above it, so that layers walk side
    /// by side; 1 for one layer after the other. Chunks have at least 16 steps, and no more than a dispatch walks. Each chunk is
    /// a dispatch more, and a product between two layers; on the way forward, whose steps are shorter, layers follow one another
    /// as far as a dispatch walks.
    #[serde(default)] // A run that was begun before there were any goes on without.
    pub chunks: usize,
    /// The widest input of a first layer, at most 4, that is multiplied where the steps are walked; wider ones, and those of
    /// invocations with more than two pairs of a unit and a sequence, in a product over all time steps before.
    #[serde(default)] // Likewise.
    pub inputs: usize,
    /// Neighbours in a subgroup, at most, who share a unit, on adapters where kernels can have that: through workgroup memory, as
    /// with 0, each step waits once more.
    #[serde(default)] // Likewise.
    pub lanes: usize,
    /// What takes a dispatch for each time step: in tiles, or an invocation for each unit and four sequences.
    pub step: Option<StepTiles>,
    /// The largest hidden size at which such a dispatch takes up to 17 layers of a stack, each a step after the one below.
    /// Beyond, a layer's input is better multiplied for all time steps at once. Measured of plain stacks with equal lengths.
    #[serde(default)] // Likewise.
    pub stack_to: usize,
}

/// What one workgroup of a time step takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTiles {
    /// Hidden units, or columns of h on the way back; a multiple of four.
    pub units: usize,
    /// Invocations beside each other, for four sequences each time.
    pub groups: usize,
    /// Times four sequences of an invocation.
    pub quads: usize,
    /// Tiles are made smaller until a step of one layer and direction has so many, as far as they are worth it.
    pub workgroups: usize,
}

impl StepTiles {
    /// For a large GPU: work for most of its multiprocessors, and no weights read by more workgroups than that takes.
    const HARDWARE: Self = Self { units: 32, groups: 4, quads: 2, workgroups: 100 };

    /// Sequences of a workgroup.
    pub fn sequences(&self) -> usize {
        4 * self.groups * self.quads
    }

    /// Those for a step of so many units and sequences; what WebGPU's 256 invocations and 16 KiB of workgroup memory have no room
    /// for is cut off.
    pub fn of(mut self, units: usize, sequences: usize) -> Self {
        self.units = (self.units / 4 * 4).clamp(4, 256);
        self.groups = self.groups.clamp(1, 256 / self.units);
        self.quads = self.quads.clamp(1, 256 / self.groups);
        while units.div_ceil(self.units) * sequences.div_ceil(self.sequences()) < self.workgroups {
            match self {
                Self { quads: 2.., .. } => self.quads /= 2,
                Self { units: 32.., .. } => self.units = self.units / 8 * 4,
                Self { groups: 3.., .. } => self.groups /= 2,
                _ => break,
            }
        }
        self
    }
}

impl Recurrence {
    /// For a software rasteriser, which pays for each group of 8 invocations at every barrier, far more for a load than for an
    /// operation, and compiles slowly what is written out: few invocations, large tiles, no weights kept. And lavapipe ends
    /// every loop of an invocation once they have turned 65,535 times together, and does not say so; a step takes up to 700
    /// turns with 192 units, fewer with others.
    const SOFTWARE: Self = Self {
        persistent_to: 192,
        threads: 256,
        units: 8,
        sequences: 16,
        groups: 1,
        blocks: 0,
        memory: 0,
        steps: 64,
        chunks: 1,
        inputs: 0,
        lanes: 0,
        step: None,
        stack_to: 0,
    };
    /// For a GPU: one sequence a workgroup as long as there are enough multiprocessors. A block takes 16 registers, and more
    /// than 10 spill where an invocation has 255. The steps take some milliseconds on a small device.
    const HARDWARE: Self = Self {
        persistent_to: 192,
        threads: 256,
        units: 0,
        sequences: 8,
        groups: 128,
        blocks: 10,
        memory: 49_152,
        steps: 256,
        chunks: 2,
        inputs: 4,
        lanes: 32,
        step: Some(StepTiles::HARDWARE),
        stack_to: 256,
    };

    /// What is worth measuring, with a name for each, whatever the hidden size: a dispatch for each step, then tiles.
    pub const CANDIDATES: &[(&str, Self)] = &[
        ("a dispatch for each step", Self { persistent_to: 0, ..Self::ALWAYS }),
        ("few invocations", Self { persistent_to: usize::MAX, ..Self::SOFTWARE }),
        ("256 invocations", Self::ALWAYS),
        ("256, sums through memory", Self { lanes: 0, ..Self::ALWAYS }),
        ("256, fewer workgroups", Self { groups: 16, ..Self::ALWAYS }),
        ("256, registers alone", Self { memory: 0, ..Self::ALWAYS }),
        ("256, fewer registers", Self { blocks: 4, ..Self::ALWAYS }),
        ("256, no weights kept", Self { blocks: 0, memory: 0, ..Self::ALWAYS }),
    ];
    const ALWAYS: Self = Self { persistent_to: usize::MAX, ..Self::HARDWARE };
}

impl Tuning {
    /// For a software rasteriser.
    pub const SOFTWARE: Self = Self {
        tile: Tile::Direct,
        large_from: usize::MAX,
        workgroups: 1,
        operations: 1 << 26,
        recurrence: Recurrence::SOFTWARE,
    };
    /// For a GPU: enough workgroups for a large one, and large tiles where they too keep it busy.
    pub const HARDWARE: Self = Self {
        tile: Tile::Medium,
        large_from: 256,
        workgroups: 512,
        operations: 1 << 38,
        recurrence: Recurrence::HARDWARE,
    };

    /// The fewest terms of a part of a sum, but for the last part.
    pub const TERMS: usize = 128;

    /// What suits an adapter by its kind.
    pub fn suited_to(software: bool) -> Self {
        if software { Self::SOFTWARE } else { Self::HARDWARE }
    }

    /// Tiles of products that are worth measuring, with a name for each.
    pub const CANDIDATES: [(&str, Self); 5] = [
        ("128 × 8 from storage", Self::SOFTWARE),
        ("128 × 8, long sums cut", Self { workgroups: 512, ..Self::SOFTWARE }),
        ("64 × 64", Self { large_from: usize::MAX, ..Self::HARDWARE }),
        ("128 × 128 where many", Self::HARDWARE),
        ("128 × 128", Self { large_from: 1, ..Self::HARDWARE }),
    ];

    /// The tiles for C `[rows, columns]` whose sum over `terms` may be cut, if `cut`.
    pub fn tile_of(&self, rows: usize, columns: usize, terms: usize, cut: bool) -> Tile {
        let parts = if cut { most_splits(terms) } else { 1 };
        if Tile::Large.count(rows, columns).saturating_mul(parts) >= self.large_from { Tile::Large } else { self.tile }
    }

    /// How many of `count` items a dispatch takes where each takes so many operations: all, or a multiple of `step`, and about as
    /// many in each dispatch but for the last.
    pub fn at_a_time(&self, count: usize, step: usize, operations: u64) -> usize {
        let most = (self.operations / operations.max(1)).min(count as u64) as usize;
        if self.operations == 0 || most == count {
            return count.max(1);
        }
        let dispatches = count.div_ceil((most / step * step).max(step));
        count.div_ceil(dispatches).next_multiple_of(step)
    }

    /// `count` items in ranges of so many.
    pub fn pieces(&self, count: usize, step: usize, operations: u64) -> impl Iterator<Item = Range<usize>> {
        let each = self.at_a_time(count, step, operations);
        (0..count).step_by(each).map(move |begin| begin..count.min(begin + each))
    }

    /// How many parts sums of `terms` are cut into, of products that have `tiles` tiles each.
    pub fn splits(&self, tiles: usize, terms: usize) -> usize {
        (self.workgroups / tiles.max(1)).min(most_splits(terms)).max(1)
    }
}

/// How one adapter computes: measured, or what suits its kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tuned {
    /// Its name, its driver with version, and the version of `bptt`.
    pub adapter: String,
    /// The choice.
    pub tuning: Tuning,
}

fn most_splits(terms: usize) -> usize {
    (terms / Tuning::TERMS).max(1)
}

#[cfg(test)]
mod tests {
    use super::Tuning;

    #[test]
    fn pieces_are_short_and_alike() {
        let pieces = |operations, count, step, each| {
            let tuning = Tuning { operations, ..Tuning::SOFTWARE };
            tuning.pieces(count, step, each).map(|piece| (piece.start, piece.len())).collect::<Vec<_>>()
        };
        assert_eq!(pieces(0, 65, 64, u64::MAX), [(0, 65)], "no limit");
        assert_eq!(pieces(650, 65, 64, 10), [(0, 65)], "just short enough");
        assert_eq!(pieces(640, 65, 64, 10), [(0, 64), (64, 1)]);
        assert_eq!(pieces(1, 130, 64, 10), [(0, 64), (64, 64), (128, 2)], "no piece is less than a step");
        assert_eq!(pieces(400, 50, 1, 10), [(0, 25), (25, 25)]);
        assert_eq!(pieces(7, 0, 64, 10), []);
    }
}
