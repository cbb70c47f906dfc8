//! A WGSL file as the host sees it: parameters, bindings, and how it becomes a pipeline.

/// How a kernel uses a storage buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `var<storage, read>`
    Read,
    /// `var<storage, read_write>`
    Write,
}

/// One WGSL file: its parameters at binding 0, its storage buffers at bindings 1, 2, …
#[derive(Debug)]
pub struct Kernel {
    /// The file's name without its ending.
    pub name: &'static str,
    /// The function that runs; a file may hold several that share its bindings.
    pub entry: &'static str,
    /// The file's text; that of `shared` and `common.wgsl` is appended before it is compiled.
    pub source: &'static str,
    /// Name and text of files that it shares with other kernels. Its comments name them.
    pub shared: &'static [(&'static str, &'static str)],
    /// The parameter struct's fields: name and WGSL type.
    pub params: &'static [(&'static str, &'static str)],
    /// The storage buffers in the order of their bindings.
    pub storage: &'static [Access],
    /// Whether the parameters change at every call (a step number, a learning rate), so that keeping them would leak.
    pub varying: bool,
}

impl Kernel {
    /// The same file from another function on.
    pub const fn entry(&self, entry: &'static str) -> Self {
        Self { entry, ..*self }
    }

    /// The whole text that is compiled; what a file enables has to stand before everything else.
    pub fn wgsl(&self) -> String {
        let shared: String = self.shared.iter().flat_map(|(_, text)| [*text, "\n"]).collect();
        let text = format!("{}\n{shared}{}", self.source, kernel!(@ file "common"));
        // What a page has enables nothing.
        if cfg!(target_arch = "wasm32") {
            return text;
        }
        let (enabled, rest): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with("enable "));
        [enabled, rest].concat().join("\n")
    }
}

/// Numbers that come first in a kernel's parameters, or after a multiple of four others: `array<vec4u, 5>` in WGSL.
pub type Twenty = [u32; 20];

/// A kernel's parameters: a `repr(C)` struct of `u32`, `f32` and [`Twenty`], declared with `params!`.
pub trait Params: bytemuck::Pod {
    /// Name and WGSL type of each field in order. A page does not load them: the tests compare them.
    const FIELDS: &'static [(&'static str, &'static str)];
}

/// Declares a kernel's parameter struct and its list of fields from one text.
macro_rules! params {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($field:ident: $kind:ident),* $(,)? }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
        $vis struct $name { $($vis $field: $kind),* }
        impl $crate::device::Params for $name {
            const FIELDS: &'static [(&'static str, &'static str)] =
                if cfg!(target_arch = "wasm32") { &[] } else { &[$((stringify!($field), stringify!($kind))),*] };
        }
    };
}
/// Names a WGSL file in `shaders/`, the files it shares with others, its parameter struct and the access to its storage
/// buffers.
macro_rules! kernel {
    ($name:literal $(+ $shared:literal)*, $params:ty, [$($access:ident),*] $(, $varying:ident)?) => {
        $crate::device::Kernel {
            name: $name,
            entry: "main",
            source: kernel!(@ file $name),
            shared: &[$(($shared, kernel!(@ file $shared))),*],
            params: <$params as $crate::device::Params>::FIELDS,
            storage: &[$($crate::device::Access::$access),*],
            varying: kernel!(@ $($varying)?),
        }
    };
    (@ file $name:literal) => {{
        const TEXT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $name, ".wgsl"));
        #[cfg(target_arch = "wasm32")]
        {
            #[allow(long_running_const_eval)]
            const BARE: &[u8; $crate::device::bare::len(TEXT)] = &$crate::device::bare::bytes(TEXT);
            $crate::device::bare::text(BARE)
        }
        #[cfg(not(target_arch = "wasm32"))]
        TEXT
    }};
    (@) => { false };
    (@ varying) => { true };
}
pub(crate) use {kernel, params};

/// The number of workgroups for `count` items at `size` a workgroup, folded into two dimensions where one is too short.
/// `common.wgsl`'s `flat_index` is the other half.
pub fn grid(count: usize, size: usize) -> [u32; 3] {
    let groups = count.div_ceil(size).max(1);
    let rows = groups.div_ceil(MAX_GROUPS);
    [groups.div_ceil(rows) as u32, rows as u32, 1]
}
pub(super) const MAX_GROUPS: usize = 65_535;

pub(super) fn compile(
    device: &wgpu::Device,
    kernel: &Kernel,
    checked: bool,
) -> (wgpu::ComputePipeline, wgpu::BindGroupLayout) {
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(kernel.name),
        source: wgpu::ShaderSource::Wgsl(kernel.wgsl().into()),
    };
    let module = if checked {
        device.create_shader_module(descriptor)
    } else {
        // SAFETY: only this crate's own kernels come here. `tests/shaders.rs` validates each; `tests/kernels.rs` and
        // `tests/lstm/` run each with the checks on and compare the bits.
        unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
    };
    let entry = |binding, ty, has_dynamic_offset| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None },
        count: None,
    };
    let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform, true)];
    entries.extend(kernel.storage.iter().zip(1..).map(|(access, binding)| {
        entry(binding, wgpu::BufferBindingType::Storage { read_only: *access == Access::Read }, false)
    }));
    let label = Some(kernel.name);
    let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label,
        layout: Some(&device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &[Some(&layout)],
            ..Default::default()
        })),
        module: &module,
        entry_point: Some(kernel.entry),
        // Every kernel writes what it reads of workgroup memory. To zero 16 KiB takes lavapipe's compiler minutes.
        compilation_options: wgpu::PipelineCompilationOptions {
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        },
        cache: None,
    });
    (pipeline, layout)
}
