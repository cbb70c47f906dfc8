//! How kernels are carried out: what is fastest differs between adapters, and what is computed does not, but for the order of
//! long sums and so the last bits.

use serde::{Deserialize, Serialize};

/// The tiles of a matrix product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tile {
    /// 64 × 8 by 8 invocations, straight from storage: for software, where barriers and workgroup memory are dear.
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
            Self::Direct => (64, 8),
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
}

impl Tuning {
    /// For a software rasteriser.
    pub const SOFTWARE: Self = Self { tile: Tile::Direct, large_from: usize::MAX, workgroups: 1 };
    /// For a GPU: enough workgroups for a large one, and large tiles where they too keep it busy.
    pub const HARDWARE: Self = Self { tile: Tile::Medium, large_from: 256, workgroups: 512 };

    /// What is worth measuring, with a name for each.
    pub fn candidates() -> [(&'static str, Self); 5] {
        let large = Self { large_from: 1, ..Self::HARDWARE };
        let medium = Self { large_from: usize::MAX, ..Self::HARDWARE };
        [
            ("64 × 8 from storage", Self::SOFTWARE),
            ("64 × 8, long sums cut", Self { workgroups: 512, ..Self::SOFTWARE }),
            ("64 × 64", medium),
            ("128 × 128 where many", Self::HARDWARE),
            ("128 × 128", large),
        ]
    }

    /// The tiles for C `[rows, columns]` whose sum over `terms` may be cut, if `cut`.
    pub fn tile_of(&self, rows: usize, columns: usize, terms: usize, cut: bool) -> Tile {
        let parts = if cut { most_splits(terms) } else { 1 };
        if Tile::Large.count(rows, columns).saturating_mul(parts) >= self.large_from { Tile::Large } else { self.tile }
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

/// Parts have at least 128 terms.
fn most_splits(terms: usize) -> usize {
    (terms / 128).max(1)
}
