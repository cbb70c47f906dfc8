//! The adapters of this machine, and which of them to take.

use super::Half;

/// What an adapter is and offers.
#[derive(Clone, Debug)]
pub struct AdapterReport {
    /// Its name, which `--adapter` can name in part.
    pub name: String,
    /// "hardware" or "software".
    pub kind: &'static str,
    /// Vulkan, Metal, Dx12 or WebGPU.
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
    /// Bytes of the largest buffer.
    pub max_buffer: u64,
    /// Bytes of the largest part of a buffer that a kernel can see.
    pub max_binding: u64,
    /// What it multiplies with products of 16-bit numbers; none if it has no such numbers.
    pub half: Option<Half>,
}

/// Every adapter this machine offers, the one that is taken by itself first.
pub async fn adapters() -> Vec<AdapterReport> {
    let report = |adapter: wgpu::Adapter| {
        let (info, limits) = (adapter.get_info(), adapter.limits());
        AdapterReport {
            name: info.name,
            kind: if info.device_type == wgpu::DeviceType::Cpu { "software" } else { "hardware" },
            backend: info.backend.to_string(),
            driver: format!("{} {}", info.driver, info.driver_info),
            max_buffer: limits.max_buffer_size,
            max_binding: limits.max_storage_buffer_binding_size,
            half: Half::of(&adapter),
        }
    };
    found().await.into_iter().map(report).collect()
}

/// Invocations of a subgroup, where kernels exchange numbers within it; else 1. Of Vulkan alone, where subgroups have one size, so that
/// asking for them changes no other kernel and a workgroup's neighbours are theirs: elsewhere nobody has tried them.
pub(super) fn lanes(adapter: &wgpu::Adapter) -> usize {
    let info = adapter.get_info();
    let one_size = info.subgroup_min_size == info.subgroup_max_size;
    let offered = info.backend == wgpu::Backend::Vulkan && adapter.features().contains(wgpu::Features::SUBGROUP);
    if offered && one_size { info.subgroup_min_size.max(1) as usize } else { 1 }
}

/// What a measured choice holds for: the adapter, its driver and this version's kernels.
pub(super) fn key(info: &wgpu::AdapterInfo) -> String {
    let wgpu::AdapterInfo { name, backend, driver, driver_info, .. } = info;
    format!("{name}; {backend} {driver} {driver_info}; bptt {}", env!("CARGO_PKG_VERSION"))
}

/// The same, to be opened.
pub(super) async fn found() -> Vec<wgpu::Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    #[cfg(not(target_arch = "wasm32"))]
    let found = {
        let mut found = instance.enumerate_adapters(wgpu::Backends::all()).await;
        found.sort_by_key(|adapter| rank(&adapter.get_info()));
        found
    };
    // A browser chooses itself.
    #[cfg(target_arch = "wasm32")]
    let found = instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await.into_iter().collect();
    found
}

/// The best adapter first: discrete, integrated, virtual, unknown, software.
#[cfg(not(target_arch = "wasm32"))]
fn rank(info: &wgpu::AdapterInfo) -> u32 {
    match info.device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}
