//! The kernels in Metal's language, for compilers that read C++.

use bptt::device::Kernel;
use naga::ShaderStage;
use naga::back::msl::{Options, PipelineOptions, write_string};

use crate::Result;
use crate::kernels::{UNCHECKED, made, module, name};

/// Of an NVIDIA GPU: invocations of a subgroup, and bytes of a workgroup's memory.
const LANES: usize = 32;
const MEMORY: usize = 49_152;

/// A JSON line for each kernel but those of 16-bit numbers and matrices, which have other names in each language.
pub fn print() -> Result<()> {
    for (kernel, made_for) in made(LANES, MEMORY, None) {
        let (name, entry) = name(kernel);
        let metal = metal(kernel)?;
        println!("{}", serde_json::json!({ "kernel": name, "entry": entry, "made_for": made_for, "metal": metal }));
    }
    Ok(())
}

fn metal(kernel: &Kernel) -> Result<String> {
    let (module, info) = module(kernel)?;
    let options = Options {
        bounds_check_policies: UNCHECKED,
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        lang_version: (2, 4),
        ..Options::default()
    };
    let entry_point = Some((ShaderStage::Compute, kernel.entry.to_owned()));
    let pipeline = PipelineOptions { entry_point, ..PipelineOptions::default() };
    Ok(write_string(&module, &info, &options, &pipeline)?.0)
}
