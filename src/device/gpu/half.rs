//! What an adapter has for products of 16-bit numbers, which are summed up in 32 bits.

use super::GpuOptions;
use crate::config::Precision;
use crate::error::{Error, Result};

/// How an adapter multiplies 16-bit numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Each by itself.
    Numbers,
    /// Matrices of so many rows and columns, each by all invocations of a subgroup together: on tensor cores, where a GPU has
    /// them.
    Matrices {
        /// Rows and columns: 8 or 16.
        side: usize,
        /// Invocations of a subgroup.
        lanes: usize,
    },
}

impl Half {
    /// What `options` want of `adapter`; none where products are of 32-bit numbers.
    ///
    /// # Errors
    /// The adapter has no 16-bit numbers.
    pub(super) fn wanted(adapter: &wgpu::Adapter, options: &GpuOptions) -> Result<Option<Self>> {
        if cfg!(target_arch = "wasm32") || options.precision == Precision::F32 {
            return Ok(None);
        }
        let Some(half) = Self::of(adapter) else {
            let problem = format!("`{}` has no 16-bit numbers", adapter.get_info().name);
            return Err(Error::device(
                problem,
                "name another with `--adapter`, or use `--precision f32` for a new run",
            ));
        };
        Ok(Some(if options.no_matrices { Self::Numbers } else { half }))
    }

    /// The best that `adapter` has; none without 16-bit numbers.
    pub(super) fn of(adapter: &wgpu::Adapter) -> Option<Self> {
        let numbers = adapter.features().contains(wgpu::Features::SHADER_F16);
        numbers.then(|| Self::matrices(adapter).unwrap_or(Self::Numbers))
    }

    /// Its matrices, the larger ones first. They are used by Vulkan alone, where subgroups have one size: elsewhere nobody has
    /// tried them.
    #[cfg(not(target_arch = "wasm32"))]
    fn matrices(adapter: &wgpu::Adapter) -> Option<Self> {
        use wgpu::CooperativeScalarType::{F16, F32};
        let info = adapter.get_info();
        let lanes =
            Some(info.subgroup_min_size).filter(|&size| size == info.subgroup_max_size && size.is_power_of_two());
        let lanes = lanes.filter(|size| (8..=64).contains(size))? as usize;
        if info.backend != wgpu::Backend::Vulkan || !adapter.features().contains(Self::MATRICES) {
            return None;
        }
        let sizes = adapter.cooperative_matrix_properties().into_iter();
        let sizes = sizes.filter(|size| (size.ab_type, size.cr_type) == (F16, F32));
        let sides = sizes.filter(|size| size.m_size == size.n_size && size.n_size == size.k_size);
        // Each subgroup of 256 invocations has a matrix of the smallest tile at least, and the largest has room.
        let fits = |side: &usize| {
            let sums = side * side * 256 / lanes; // a matrix of each subgroup
            sums <= 64 * 64 && 4 * sums + Self::TILES <= Self::memory(adapter) as usize
        };
        let side = sides.map(|size| size.m_size as usize).filter(fits).max()?;
        Some(Self::Matrices { side, lanes })
    }

    #[cfg(target_arch = "wasm32")]
    fn matrices(_: &wgpu::Adapter) -> Option<Self> {
        None
    }

    const MATRICES: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(wgpu::Features::SUBGROUP);

    /// Bytes of workgroup memory that the largest tiles of matrices take beside a matrix of each subgroup.
    #[cfg(not(target_arch = "wasm32"))]
    const TILES: usize = 17_408;

    /// The workgroup memory of `adapter` that matrices may take: twice what WebGPU has by itself.
    #[cfg(not(target_arch = "wasm32"))]
    fn memory(adapter: &wgpu::Adapter) -> u32 {
        adapter.limits().max_compute_workgroup_storage_size.min(32_768)
    }

    /// What has to be asked of the adapter.
    pub(super) fn features(self) -> wgpu::Features {
        let matrices = if matches!(self, Self::Matrices { .. }) { Self::MATRICES } else { wgpu::Features::empty() };
        wgpu::Features::SHADER_F16 | matrices
    }

    /// Whether wgpu calls that experimental.
    pub(super) fn experimental(self) -> wgpu::ExperimentalFeatures {
        match self {
            Self::Numbers => wgpu::ExperimentalFeatures::disabled(),
            // SAFETY: the kernels are this crate's own and give every invocation of a subgroup the same way. They load and store
            // matrices within their workgroup memory, and load them within the packed weights, whose sizes are multiples of a
            // matrix's wherever such a kernel is taken. A driver's mistakes are as with any other feature.
            Self::Matrices { .. } => unsafe { wgpu::ExperimentalFeatures::enabled() },
        }
    }
}

impl std::fmt::Display for Half {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Numbers => f.write_str("16-bit numbers"),
            Self::Matrices { side, .. } => write!(f, "16-bit matrices of {side} × {side}"),
        }
    }
}
