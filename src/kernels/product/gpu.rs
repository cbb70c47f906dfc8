//! On the GPU: tiles of C, one a workgroup; a long summed dimension is cut into parts that are added in a fixed order.

use super::tiles::{TileKernels, tile_kernels};
use super::{Matrix, Onto, Product, ProductShape};
use crate::device::{Cost, Device, Gpu, Kernel, Tile, Tuning, grid, kernel, params};

params! {
    struct ProductParams {
        m: u32, n: u32, k: u32,
        a: u32, a_row: u32, a_column: u32,
        b: u32, b_row: u32, b_column: u32,
        c: u32,
        biases: u32, bias_0: u32, bias_1: u32, add: u32,
        k_per_split: u32,
    }
}
params! {
    struct ReduceParams { count: u32, splits: u32, first: u32, stride: u32, place: u32 }
}
pub(in crate::kernels) static PRODUCT: TileKernels = tile_kernels!("product", ProductParams, [Read, Read, Read, Write]);
static REDUCE_SPLITS: Kernel = kernel!("reduce_splits", ReduceParams, [Read, Write]);
pub(in crate::kernels) static KERNELS: &[&Kernel] = &[&REDUCE_SPLITS];

/// Places of `splits` partial sums in a buffer: split s has its `count` numbers at `first + s · stride`.
pub(in crate::kernels) struct Splits {
    pub count: usize,
    pub splits: usize,
    pub first: usize,
    pub stride: usize,
}

impl Gpu {
    /// The tiles of a product whose sum is cut, and the parts.
    fn cut(&self, m: usize, n: usize, k: usize) -> (Tile, usize) {
        let tile = self.tile_of(m, n, k, true);
        (tile, self.tuning().splits(tile.count(m, n), k))
    }

    fn dispatch_product(
        &self,
        shape: &ProductShape,
        [a, b, c]: [&<Self as Device>::Buffer; 3],
        onto: &Onto<<Self as Device>::Buffer>,
        (tile, splits): (Tile, usize),
    ) {
        // A buffer for the binding even where there is no bias.
        let (bias, biases) = if let Onto::Biases(bias, biases) = onto { (*bias, *biases) } else { (b, &[][..]) };
        assert!(biases.len() <= 2, "{} biases", biases.len());
        let params = ProductParams {
            m: shape.m as u32,
            n: shape.n as u32,
            k: shape.k as u32,
            a: shape.a.offset as u32,
            a_row: shape.a.row as u32,
            a_column: shape.a.column as u32,
            b: shape.b.offset as u32,
            b_row: shape.b.row as u32,
            b_column: shape.b.column as u32,
            c: shape.c as u32,
            biases: biases.len() as u32,
            bias_0: biases.first().map_or(0, |&place| place as u32),
            bias_1: biases.get(1).map_or(0, |&place| place as u32),
            add: u32::from(matches!(onto, Onto::Kept)),
            k_per_split: shape.k.div_ceil(splits) as u32,
        };
        let [x, y, _] = grid(tile.count(shape.m, shape.n), 1);
        let ProductShape { m, n, k, .. } = *shape;
        self.cost(Cost::new(2 * m * n * k, m * k + k * n + m * n * splits));
        self.run(PRODUCT.of(tile, self.half()), &params, &[a, b, bias, c], [x, y, splits as u32]);
    }

    /// A product whose sums are not cut into parts that go side by side: as many rows of C, or of these as many terms, at a time as a
    /// dispatch may take.
    fn whole_product(
        &self,
        shape: &ProductShape,
        buffers: [&<Self as Device>::Buffer; 3],
        onto: Onto<<Self as Device>::Buffer>,
        tile: Tile,
    ) {
        let &ProductShape { m, n, k, a, b, c } = shape;
        for rows in self.tuning().pieces(m, tile.size().0, 2 * n as u64 * k as u64) {
            for terms in self.tuning().pieces(k.max(1), Tuning::TERMS, 2 * n as u64 * rows.len() as u64) {
                let a = Matrix { offset: a.offset + rows.start * a.row + terms.start * a.column, ..a };
                let b = Matrix { offset: b.offset + terms.start * b.row, ..b };
                let piece = ProductShape {
                    m: rows.len(),
                    k: terms.end.min(k) - terms.start,
                    a,
                    b,
                    c: c + rows.start * n,
                    ..*shape
                };
                let onto = if terms.start == 0 { &onto } else { &Onto::Kept };
                self.dispatch_product(&piece, buffers, onto, (tile, 1));
            }
        }
    }

    /// Adds the partial sums, in their order, to `c` from `place` on.
    pub(in crate::kernels) fn reduce_splits(
        &self,
        splits: &Splits,
        scratch: &<Self as Device>::Buffer,
        place: usize,
        c: &<Self as Device>::Buffer,
    ) {
        let params = ReduceParams {
            count: splits.count as u32,
            splits: splits.splits as u32,
            first: splits.first as u32,
            stride: splits.stride as u32,
            place: place as u32,
        };
        self.cost(Cost::new(splits.count * splits.splits, splits.count * (splits.splits + 2)));
        self.run(&REDUCE_SPLITS, &params, &[scratch, c], grid(splits.count, 64));
    }
}

impl Product for Gpu {
    fn product(
        &self,
        shape: &ProductShape,
        a: &Self::Buffer,
        b: &Self::Buffer,
        onto: Onto<Self::Buffer>,
        c: &mut Self::Buffer,
    ) {
        let tile = self.tile_of(shape.m, shape.n, shape.k, false);
        self.whole_product(shape, [a, b, c], onto, tile);
    }

    fn product_add(
        &self,
        shape: &ProductShape,
        a: &Self::Buffer,
        b: &Self::Buffer,
        c: &mut Self::Buffer,
        scratch: &mut Self::Buffer,
    ) {
        let (tile, splits) = self.cut(shape.m, shape.n, shape.k);
        if splits == 1 {
            return self.whole_product(shape, [a, b, c], Onto::Kept, tile);
        }
        self.dispatch_product(&ProductShape { c: 0, ..*shape }, [a, b, scratch], &Onto::Zero, (tile, splits));
        let count = shape.m * shape.n;
        self.reduce_splits(&Splits { count, splits, first: 0, stride: count }, scratch, shape.c, c);
    }

    fn scratch_len(&self, m: usize, n: usize, k: usize) -> usize {
        m * n * self.cut(m, n, k).1
    }
}
