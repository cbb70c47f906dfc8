//! A kernel in the language that Vulkan drivers read.

use bptt::device::Kernel;
use naga::ShaderStage;
use naga::back::pipeline_constants::process_overrides;
use naga::back::spv::{Options, PipelineOptions, WriterFlags, ZeroInitializeWorkgroupMemoryMode, write_vec};

use crate::Result;
use crate::kernels::{UNCHECKED, module};

/// As `wgpu` writes it for Vulkan 1.3.
pub fn spirv(kernel: &Kernel) -> Result<Vec<u32>> {
    let (module, info) = module(kernel)?;
    let entry = (ShaderStage::Compute, kernel.entry);
    let (module, info) = process_overrides(&module, &info, Some(entry), &Default::default())?;
    let options = Options {
        lang_version: (1, 6),
        flags: WriterFlags::LABEL_VARYINGS,
        bounds_check_policies: UNCHECKED,
        zero_initialize_workgroup_memory: ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..Options::default()
    };
    let pipeline = PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: kernel.entry.to_owned() };
    Ok(write_vec(&module, &info, &options, Some(&pipeline))?)
}
