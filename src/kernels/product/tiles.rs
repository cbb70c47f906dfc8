//! The kernels of a product on a GPU, in every kind of tile.

use crate::device::{Gpu, Half, Kernel, Tile};
#[cfg(not(target_arch = "wasm32"))]
use crate::kernels::unroll::unrolled;

/// One product in every kind of tile; [`tile_kernels!`] makes them.
pub struct TileKernels {
    /// Straight from storage.
    pub direct: Kernel,
    /// Medium and large tiles of 32-bit numbers.
    pub single: [Kernel; 2],
    /// The same of 16-bit numbers.
    #[cfg(not(target_arch = "wasm32"))]
    pub half: [Kernel; 2],
    /// Of matrices of 16-bit numbers, to be unrolled.
    #[cfg(not(target_arch = "wasm32"))]
    pub matrices: Kernel,
}

/// The kernels of the product whose matrices a WGSL file describes.
macro_rules! tile_kernels {
    ($name:literal, $params:ty, $storage:tt) => {{
        const SINGLE: $crate::device::Kernel =
            kernel!($name + "product_loads" + "product_tiles" + "product_single", $params, $storage);
    const DIRECT: &[(&str, &str)] = &[("product_direct", kernel!(@ file "product_direct"))];
        #[cfg(not(target_arch = "wasm32"))]
        const HALF: $crate::device::Kernel =
            kernel!($name + "product_loads" + "product_tiles" + "product_half", $params, $storage);
        $crate::kernels::product::TileKernels {
            // Of the same text, which a page has to load.
            direct: $crate::device::Kernel { entry: "direct", shared: DIRECT, ..SINGLE },
            single: [SINGLE, SINGLE.entry("large")],
            #[cfg(not(target_arch = "wasm32"))]
            half: [HALF.entry("half"), HALF.entry("half_large")],
            #[cfg(not(target_arch = "wasm32"))]
            matrices: kernel!($name + "product_loads" + "product_matrices", $params, $storage).entry("matrices"),
        }
    }};
}
pub(in crate::kernels) use tile_kernels;

impl TileKernels {
    /// The kernel for `tile`, of 16-bit numbers if `half`.
    pub fn of(&'static self, tile: Tile, half: Option<Half>) -> &'static Kernel {
        let place = usize::from(tile == Tile::Large);
        match half {
            None if tile == Tile::Direct => &self.direct,
            None => &self.single[place],
            #[cfg(not(target_arch = "wasm32"))]
            Some(Half::Matrices { side, lanes }) => self.of_matrices(side, lanes, tile.size().0),
            #[cfg(not(target_arch = "wasm32"))]
            Some(Half::Numbers) => &self.half[place],
            #[cfg(target_arch = "wasm32")]
            Some(_) => unreachable!("a page has 32-bit numbers"),
        }
    }

    /// The kernel with matrices of `side` for subgroups of `lanes` invocations, a workgroup's tile of `tile` rows and columns.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn of_matrices(&'static self, side: usize, lanes: usize, tile: usize) -> &'static Kernel {
        let subgroups = 256 / lanes;
        // A subgroup's share of the tile, as square as can be.
        let share = tile * tile / (side * side * subgroups);
        let high = 1 << (share.ilog2() / 2);
        // Fours of 32 terms, a row or column each.
        let loads = 32 * (tile / 4) / 256;
        let constants = [
            ("TILE", tile),
            ("SIDE", side),
            ("SUBGROUPS", subgroups),
            ("HIGH", high),
            ("WIDE", share / high),
            ("LOADS", loads),
        ];
        unrolled(&self.matrices, &constants)
    }

    /// All of them, as they stand in the files.
    pub fn all(&'static self) -> Vec<&'static Kernel> {
        let kernels = [&self.direct].into_iter().chain(&self.single);
        #[cfg(not(target_arch = "wasm32"))]
        let kernels = kernels.chain(&self.half).chain([&self.matrices]);
        kernels.collect()
    }
}

impl Gpu {
    /// The tiles for C `[rows, columns]` whose sum over `terms` may be cut, if `cut`.
    pub(in crate::kernels) fn tile_of(&self, rows: usize, columns: usize, terms: usize, cut: bool) -> Tile {
        match self.tuning().tile_of(rows, columns, terms, cut) {
            // There is no such kernel of 16-bit numbers.
            Tile::Direct if self.half().is_some() => Tile::Medium,
            tile => tile,
        }
    }
}
