//! The operations, one a file: contract, [`Gpu`] implementation, [`Cpu`] implementation. `Cpu<f64>` is the definition of
//! each.
//!
//! Letters in shapes, here and in the WGSL: `N` batch, `T` time, `D` inputs, `H` hidden, `P` the width of h (and beside no
//! h all parameters), `R` directions, `O` outputs, `L` layers, `K` the summed dimension of a product; `4H` in PyTorch's gate
//! order i f g o. Sequences are time-major `[T, N, …]`, so that one time step of a batch is one block of memory; where they
//! differ in length the rows are those of a [`Packing`]. A gradient is `d_` and the name of its value.

mod average;
mod dropout;
mod loss;
mod loss_scale;
mod lstm;
mod optimizer;
mod product;
mod rows;
mod unroll;
mod weight_gradients;
mod windows;

pub use average::Average;
pub use dropout::{Drop, DropShape, Dropout, Masks, Source};
pub use loss::{Loss, LossShape, Record, freedom_from_raw, scale_from_raw};
pub use loss_scale::LossScale;
pub use lstm::{
    CellTape, LayerTape, Lstm, LstmGradients, LstmShape, LstmState, LstmTape, Noise, Packing, Pass, StepMatrices,
    Steps, Strategy, Tensor, Tiles,
};
pub use optimizer::{Clip, Optimize, Rule, Status};
use product::TileKernels;
pub use product::{Matrix, Onto, Product, ProductShape};
pub use rows::{Listed, Rows, RowsShape};
pub use weight_gradients::{Affine, AffineInput, AffineSize, WeightGradients};
pub use windows::{WindowShape, Windows};

use crate::device::{Cpu, Gpu, Kernel, Real};

/// Every operation a training run needs. A device that misses one does not compile.
pub trait Kernels:
    Windows + Product + WeightGradients + Rows + Dropout + Lstm + Loss + LossScale + Optimize + Average
{
}
impl Kernels for Gpu {}
impl<F: Real> Kernels for Cpu<F> {}

/// What takes longest to compile, once: the crates of a build for tests share the instances of generic functions that this one has,
/// and compile those that it has not each for itself. Nobody calls it.
#[cfg(debug_assertions)]
#[doc(hidden)]
pub fn instances() -> [[*const (); 5]; 2] {
    fn of<F: Real>() -> [*const (); 5] {
        [
            Cpu::<F>::lstm_forward as *const (),
            Cpu::<F>::lstm_backward as *const (),
            Cpu::<F>::product as *const (),
            Cpu::<F>::weight_gradients as *const (),
            Cpu::<F>::optimizer_step as *const (),
        ]
    }
    [of::<f32>(), of::<f64>()]
}

/// The kernels of products of 16-bit matrices, made for matrices of so many rows and subgroups of so many invocations, for the
/// tests that validate them.
#[cfg(not(target_arch = "wasm32"))]
pub fn of_matrices(sizes: impl IntoIterator<Item = (usize, usize)>) -> impl Iterator<Item = &'static Kernel> {
    let tiles = sizes.into_iter().flat_map(|size| [64, 128].map(|tile| (size, tile)));
    tiles.flat_map(|((side, lanes), tile)| {
        [&product::PRODUCT, &weight_gradients::WEIGHTS].map(|kernels| kernels.of_matrices(side, lanes, tile))
    })
}

/// Every WGSL kernel, for the tests that validate them.
pub fn all() -> impl Iterator<Item = &'static Kernel> {
    let each = [
        windows::KERNELS,
        product::KERNELS,
        rows::KERNELS,
        dropout::KERNELS,
        loss::KERNELS,
        loss_scale::KERNELS,
        optimizer::KERNELS,
        average::KERNELS,
    ];
    let products = [&product::PRODUCT, &weight_gradients::WEIGHTS].into_iter().flat_map(TileKernels::all);
    each.into_iter().chain(lstm::KERNELS.iter().copied()).flatten().copied().chain(products)
}

#[cfg(test)]
mod tests {
    use crate::device::bare::bared;

    #[test]
    fn every_kernel_is_valid_as_a_page_loads_it() {
        for kernel in super::all() {
            let whole = kernel.wgsl();
            let [whole, bare] = [&whole, &bared(&whole)].map(|text| {
                let module =
                    naga::front::wgsl::parse_str(text).unwrap_or_else(|error| panic!("{}: {error}", kernel.name));
                (module.functions.len(), module.global_variables.len(), module.types.len())
            });
            assert_eq!(whole, bare, "{}", kernel.name);
        }
    }
}
