//! The kernels as a GPU runs them.

use bptt::device::{Half, Kernel, Recurrence, Tuning};
use bptt::kernels::{LstmShape, Noise, StepMatrices, Steps, Strategy, Tiles, all, of_matrices};
use naga::front::wgsl::parse_str;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

use crate::Result;

const BATCH: usize = 64;

/// Each with what it is made for. Subgroups have so many invocations, or 1 where no kernel asks for them, and workgroups so many
/// bytes; without `half` there are no 16-bit numbers.
pub fn made(lanes: usize, memory: usize, half: Option<Half>) -> Vec<(&'static Kernel, String)> {
    let mut made = Vec::new();
    for hidden_size in [64, 128, 192, 256, 512, 1024] {
        let plain = LstmShape { input_size: 1, hidden_size, batch: BATCH, steps: 128, ..LstmShape::default() };
        for (how, strategy, shape) in strategies(&Tuning::HARDWARE.recurrence, plain, lanes, memory, half) {
            made.extend(strategy.kernels(&shape).into_iter().map(|kernel| {
                let inputs = if kernel.name.ends_with(" INPUTS=1") { ", D=1" } else { "" };
                (kernel, format!("H={hidden_size}, N={BATCH}{inputs}{how}"))
            }));
        }
    }
    let products = of_matrices(sizes(half));
    made.extend(products.map(|kernel| (kernel, kernel.name.split(' ').nth(1).unwrap_or_default().to_owned())));
    // Those that no size is written into.
    let whole = all().filter(|kernel| {
        let wgsl = kernel.wgsl();
        !wgsl.contains("// repeat ") && (half.is_some() || !wgsl.starts_with("enable "))
    });
    made.extend(whole.map(|kernel| (kernel, String::new())));
    made
}

/// How the recurrence of this plain shape is run and what else there is for its size, with a name for that.
fn strategies(
    recurrence: &Recurrence,
    plain: LstmShape,
    lanes: usize,
    memory: usize,
    half: Option<Half>,
) -> Vec<(&'static str, Strategy, LstmShape)> {
    if let Some(tiles) = recurrence.step.filter(|_| plain.hidden_size > recurrence.persistent_to) {
        let tiles = Some(Steps::Tiles(tiles.of(plain.hidden_size, BATCH)));
        let matrices = sizes(half).filter(|(side, _)| plain.hidden_size.is_multiple_of(*side));
        let matrices = matrices.map(|(side, lanes)| Steps::Matrices(StepMatrices { side, subgroups: 256 / lanes }));
        let masks = Noise { dropout: 0.1, ..Noise::default() };
        let stack = LstmShape { num_layers: 2, noise: masks, ..plain };
        let each = [tiles, matrices].into_iter().flatten().map(Strategy::Steps);
        let shapes = |steps| [("", steps, plain), (", a stack with masks", steps, stack)];
        return each.flat_map(shapes).collect();
    }
    let tiles = Tiles::of(recurrence, &plain);
    let tiles = Tiles { memory: memory.min(tiles.memory), ..tiles };
    let near = (lanes > 1).then_some(Strategy::Persistent(Tiles { lanes: lanes.min(tiles.lanes), ..tiles }));
    let tiles = Strategy::Persistent(Tiles { lanes: 0, ..tiles });
    let normed = LstmShape { layer_norm: true, ..plain };
    let near = near.map(|near| (", lane to lane", near, plain));
    [near, Some(("", tiles, plain)), Some(("", tiles, normed))].into_iter().flatten().collect()
}

/// Rows of a matrix and invocations of a subgroup.
fn sizes(half: Option<Half>) -> Option<(usize, usize)> {
    match half {
        Some(Half::Matrices { side, lanes }) => Some((side, lanes)),
        _ => None,
    }
}

/// A kernel for people: its name without constants, and where it begins if that is not `main`.
pub fn name(kernel: &Kernel) -> (&'static str, &'static str) {
    (kernel.name.split(' ').next().unwrap_or_default(), kernel.entry)
}

/// A kernel as naga reads it.
pub fn module(kernel: &Kernel) -> Result<(naga::Module, ModuleInfo)> {
    let module = parse_str(&kernel.wgsl())?;
    let numbers = Capabilities::SHADER_FLOAT16 | Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    let capabilities = numbers | Capabilities::SUBGROUP | Capabilities::COOPERATIVE_MATRIX;
    let info = Validator::new(ValidationFlags::all(), capabilities).validate(&module)?;
    Ok((module, info))
}

/// Of every access.
pub const UNCHECKED: BoundsCheckPolicies = BoundsCheckPolicies {
    index: BoundsCheckPolicy::Unchecked,
    buffer: BoundsCheckPolicy::Unchecked,
    image_load: BoundsCheckPolicy::Unchecked,
    binding_array: BoundsCheckPolicy::Unchecked,
};
