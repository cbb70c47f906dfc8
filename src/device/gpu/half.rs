//! What an adapter has for products of 16-bit numbers, which are summed up in 32 bits.

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
        // Each subgroup of 256 invocations has at least one matrix of the smallest tile.
        let side = sides.map(|size| size.m_size as usize).filter(|side| side * side * 256 / lanes <= 64 * 64).max()?;
        Some(Self::Matrices { side, lanes })
    }

    #[cfg(target_arch = "wasm32")]
    fn matrices(_: &wgpu::Adapter) -> Option<Self> {
        None
    }

    const MATRICES: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(wgpu::Features::SUBGROUP);

    /// What has to be asked of the adapter.
    pub(super) fn features(self) -> wgpu::Features {
        let matrices = if matches!(self, Self::Matrices { .. }) { Self::MATRICES } else { wgpu::Features::empty() };
        wgpu::Features::SHADER_F16 | matrices
    }

    /// Whether wgpu calls that experimental.
    pub(super) fn experimental(self) -> wgpu::ExperimentalFeatures {
        match self {
            Self::Numbers => wgpu::ExperimentalFeatures::disabled(),
            // SAFETY: the kernels are this crate's own, load and store within their workgroup memory, and give every invocation
            // of a subgroup the same way. A driver's mistakes are as with any other feature.
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
