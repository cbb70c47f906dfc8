//! One JSON line for each kernel as a GPU runs it: its name, what it is made for, and its text in Metal's language, without
//! the checks that `bptt` leaves out too.

use std::error::Error;

use bptt::device::{Kernel, Recurrence, Tuning};
use bptt::kernels::{LstmShape, Noise, Steps, Strategy, Tiles, all};
use naga::ShaderStage;
use naga::back::msl::{Options, PipelineOptions, write_string};
use naga::front::wgsl::parse_str;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ValidationFlags, Validator};

const BATCH: usize = 64;
/// Of an NVIDIA GPU.
const LANES: usize = 32;

fn main() -> Result<(), Box<dyn Error>> {
    let recurrence = Tuning::HARDWARE.recurrence;
    for hidden_size in [64, 128, 192, 256, 512, 1024] {
        let plain = LstmShape { input_size: 1, hidden_size, batch: BATCH, steps: 128, ..LstmShape::default() };
        for (how, strategy, shape) in strategies(&recurrence, plain) {
            for kernel in strategy.kernels(&shape) {
                let inputs = if kernel.name.ends_with(" INPUTS=1") { ", D=1" } else { "" };
                print(kernel, &format!("H={hidden_size}, N={BATCH}{inputs}{how}"))?;
            }
        }
    }
    // Those that no size is written into.
    all().filter(|kernel| !kernel.source.contains("// repeat ")).try_for_each(|kernel| print(kernel, ""))
}

/// How the recurrence of this plain shape is run and what else there is for its size, with a name for that.
fn strategies(recurrence: &Recurrence, plain: LstmShape) -> Vec<(&'static str, Strategy, LstmShape)> {
    if let Some(tiles) = recurrence.step.filter(|_| plain.hidden_size > recurrence.persistent_to) {
        let steps = Strategy::Steps(Steps::Tiles(tiles.of(plain.hidden_size, BATCH)));
        let masks = Noise { dropout: 0.1, ..Noise::default() };
        let stack = LstmShape { num_layers: 2, noise: masks, ..plain.clone() };
        return vec![("", steps, plain), (", a stack with masks", steps, stack)];
    }
    let tiles = Tiles::of(recurrence, &plain);
    let near = Strategy::Persistent(Tiles { lanes: LANES, ..tiles });
    let tiles = Strategy::Persistent(tiles);
    let normed = LstmShape { layer_norm: true, ..plain.clone() };
    vec![("", tiles, plain.clone()), (", lane to lane", near, plain), ("", tiles, normed)]
}

fn print(kernel: &Kernel, made_for: &str) -> Result<(), Box<dyn Error>> {
    let wgsl = kernel.wgsl();
    // 16-bit numbers and matrices have other names in each language.
    if wgsl.starts_with("enable ") {
        return Ok(());
    }
    let module = parse_str(&wgsl)?;
    let capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32 | Capabilities::SUBGROUP;
    let info = Validator::new(ValidationFlags::all(), capabilities).validate(&module)?;
    let unchecked = BoundsCheckPolicy::Unchecked;
    let options = Options {
        bounds_check_policies: BoundsCheckPolicies {
            index: unchecked,
            buffer: unchecked,
            image_load: unchecked,
            binding_array: unchecked,
        },
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        lang_version: (2, 4),
        ..Options::default()
    };
    let entry_point = Some((ShaderStage::Compute, kernel.entry.to_owned()));
    let pipeline = PipelineOptions { entry_point, ..PipelineOptions::default() };
    let (metal, _) = write_string(&module, &info, &options, &pipeline)?;
    let (name, entry) = (kernel.name.split(' ').next(), kernel.entry);
    println!("{}", serde_json::json!({ "kernel": name, "entry": entry, "made_for": made_for, "metal": metal }));
    Ok(())
}
