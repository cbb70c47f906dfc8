//! Every WGSL file, without a GPU: it parses and validates, its parameter struct and bindings are those that Rust
//! declares, it keeps WebGPU's default limits, or the memory it is made for, and it asks for nothing beyond the base language,
//! but for the kernels of 16-bit numbers.

use std::collections::BTreeSet;
use std::path::Path;

use bptt::device::{Access, Kernel, StepTiles};
use bptt::kernels::{LstmShape, Noise, StepMatrices, Steps, Strategy, Tiles};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{
    AddressSpace, ArraySize, Expression, Function, MathFunction, Module, Scalar, ScalarKind, StorageAccess, TypeInner,
    VectorSize,
};

/// WebGPU's defaults: `maxStorageBuffersPerShaderStage`, `maxComputeInvocationsPerWorkgroup`,
/// `maxComputeWorkgroupStorageSize` and `maxComputeWorkgroupSizeX`, `Y`, `Z`.
const STORAGE_BUFFERS: usize = 8;
const INVOCATIONS: u32 = 256;
const WORKGROUP_BYTES: u32 = 16_384;
const WORKGROUP_SIZE: [u32; 3] = [256, 256, 64];

/// What is wrong with a kernel; nothing if all is well.
fn problems(kernel: &Kernel) -> Vec<String> {
    problems_within(kernel, WORKGROUP_BYTES)
}

/// Likewise of one that is made for an adapter whose workgroups have so many bytes.
fn problems_within(kernel: &Kernel, bytes: u32) -> Vec<String> {
    let text = kernel.wgsl();
    let module = match naga::front::wgsl::parse_str(&text) {
        Ok(module) => module,
        Err(error) => return vec![error.emit_to_string(&text)],
    };
    let mut problems = Vec::new();
    let matrices = Capabilities::COOPERATIVE_MATRIX | Capabilities::SUBGROUP;
    let (beyond, memory) = match kernel.entry {
        "half" | "half_large" => (Capabilities::SHADER_FLOAT16, bytes),
        entry if entry.starts_with("matrices") => (Capabilities::SHADER_FLOAT16 | matrices, 2 * WORKGROUP_BYTES),
        // Not for a page.
        _ if kernel.shared.iter().any(|(name, _)| *name == "lstm_persistent_lanes") => (Capabilities::SUBGROUP, bytes),
        _ => (Capabilities::empty(), bytes),
    };
    if !beyond.contains(Capabilities::SHADER_FLOAT16) && text.starts_with("enable ") {
        problems.push(format!("asks to {}", text.lines().next().unwrap_or_default()));
    }
    // `pack2x16float` is of the base language.
    let capabilities = beyond | Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    if let Err(error) = Validator::new(ValidationFlags::all(), capabilities).validate(&module) {
        problems.push(error.emit_to_string(&text));
    }
    problems.extend(parameter_problems(kernel, &module));
    problems.extend(binding_problems(kernel, &module));
    problems.extend(limit_problems(&module, kernel.entry, memory));
    let functions = module.functions.iter().map(|(_, function)| function);
    if functions.chain(module.entry_points.iter().map(|entry| &entry.function)).any(calls_tanh) {
        problems.push("calls the built-in tanh, which is not defined for large arguments".into());
    }
    problems.into_iter().map(|problem| format!("{}: {problem}", kernel.name)).collect()
}

/// The uniform struct has the fields of the Rust struct, one right after the other, and fits where the parameters of a
/// dispatch go.
fn parameter_problems(kernel: &Kernel, module: &Module) -> Vec<String> {
    let uniforms: Vec<_> =
        module.global_variables.iter().filter(|(_, global)| global.space == AddressSpace::Uniform).collect();
    let [(_, uniform)] = uniforms[..] else { return vec![format!("{} uniform buffers", uniforms.len())] };
    let mut problems = Vec::new();
    if uniform.binding.as_ref().map(|place| (place.group, place.binding)) != Some((0, 0)) {
        problems.push(format!("the uniform buffer is at {:?}", uniform.binding));
    }
    let bytes = module.types[uniform.ty].inner.size(module.to_ctx());
    if bytes > 256 {
        problems.push(format!("{bytes} bytes of parameters"));
    }
    let TypeInner::Struct { members, .. } = &module.types[uniform.ty].inner else {
        return vec!["the uniform buffer is no struct".into()];
    };
    let kind = |ty| match &module.types[ty].inner {
        TypeInner::Scalar(scalar) if scalar.width == 4 => match scalar.kind {
            ScalarKind::Uint => "u32",
            ScalarKind::Float => "f32",
            _ => "another scalar",
        },
        TypeInner::Array { base, size: ArraySize::Constant(size), stride: 16 } if size.get() == 5 => {
            match module.types[*base].inner {
                TypeInner::Vector { size: VectorSize::Quad, scalar: Scalar::U32 } => "Twenty",
                _ => "another array",
            }
        }
        _ => "no scalar",
    };
    let found: Vec<_> =
        members.iter().map(|m| (m.name.as_deref().unwrap_or("").to_owned(), kind(m.ty), m.offset)).collect();
    let mut end = 0;
    let after = |&(name, kind): &(&str, _)| {
        let offset = end;
        end += if kind == "Twenty" { 80 } else { 4 };
        (name.to_owned(), kind, offset)
    };
    let wanted: Vec<_> = kernel.params.iter().map(after).collect();
    if found != wanted {
        problems.push(format!("the parameters are\n  {found:?} in WGSL,\n  {wanted:?} in Rust"));
    }
    problems
}

/// Storage buffers lie at bindings 1, 2, … of group 0 with the access that Rust declares.
fn binding_problems(kernel: &Kernel, module: &Module) -> Vec<String> {
    let mut found = Vec::new();
    for (_, global) in module.global_variables.iter() {
        if let AddressSpace::Storage { access } = global.space {
            let place = global.binding.as_ref().map(|place| (place.group, place.binding));
            let access = if access.contains(StorageAccess::STORE) { Access::Write } else { Access::Read };
            found.push((place, access));
        }
    }
    found.sort_by_key(|(place, _)| *place);
    let wanted: Vec<_> = kernel.storage.iter().zip(1..).map(|(&access, i)| (Some((0, i)), access)).collect();
    if found == wanted {
        Vec::new()
    } else {
        vec![format!("the storage buffers are\n  {found:?} in WGSL,\n  {wanted:?} in Rust")]
    }
}

fn limit_problems(module: &Module, entry: &str, memory: u32) -> Vec<String> {
    let mut problems = Vec::new();
    let found = |point: &&naga::EntryPoint| point.name == entry && point.stage == naga::ShaderStage::Compute;
    let Some(entry) = module.entry_points.iter().find(found) else {
        let names: Vec<_> = module.entry_points.iter().map(|point| &point.name).collect();
        return vec![format!("no entry point `{entry}` among {names:?}")];
    };
    let size = entry.workgroup_size;
    if entry.workgroup_size_overrides.is_some() {
        problems.push("the workgroup's size is an override, so that its limit cannot be seen here".into());
    }
    if size.iter().product::<u32>() > INVOCATIONS || size.iter().zip(WORKGROUP_SIZE).any(|(&size, most)| size > most) {
        problems.push(format!("a workgroup of {size:?} invocations"));
    }
    let globals = || module.global_variables.iter().map(|(_, global)| global);
    let buffers = globals().filter(|global| matches!(global.space, AddressSpace::Storage { .. })).count();
    if buffers > STORAGE_BUFFERS {
        problems.push(format!("{buffers} storage buffers"));
    }
    let shared = globals().filter(|global| global.space == AddressSpace::WorkGroup);
    let bytes: u32 = shared.map(|global| module.types[global.ty].inner.size(module.to_ctx())).sum();
    if bytes > memory {
        problems.push(format!("{bytes} bytes of workgroup memory"));
    }
    problems
}

fn calls_tanh(function: &Function) -> bool {
    let mut expressions = function.expressions.iter();
    expressions.any(|(_, expression)| matches!(expression, Expression::Math { fun: MathFunction::Tanh, .. }))
}

#[test]
fn every_kernel_is_valid_and_as_rust_declares_it() {
    let problems: Vec<_> = bptt::kernels::all().flat_map(problems).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The kernels that are made for a size and a device: all weights in registers, some, none, some in workgroup memory; in one part and
/// in several.
#[test]
fn every_unrolled_kernel_is_valid() {
    let apart = Tiles { threads: 0, sequences: 0, blocks: 0, memory: 0, steps: 256, chunks: 1, inputs: 0, lanes: 0 };
    let tiles = |threads, sequences, blocks| Tiles { threads, sequences, blocks, ..apart };
    let in_memory =
        [tiles(256, 1, 10), tiles(256, 4, 64), tiles(1024, 8, 3), tiles(8, 8, 0), tiles(24, 3, 1), tiles(1, 1, 1)];
    let in_lanes =
        [(4, in_memory[1]), (32, in_memory[0]), (64, in_memory[2])].map(|(lanes, tiles)| Tiles { lanes, ..tiles });
    // As little as there is, and the most that is filled.
    let held = [(16_384, in_memory[4]), (49_152, in_memory[2]), (49_152, in_lanes[1])]
        .map(|(memory, tiles)| Tiles { memory, ..tiles });
    let all = [&in_memory[..], &in_lanes, &held].concat();
    let sizes: [usize; 10] = [1, 4, 7, 33, 64, 65, 128, 129, 192, 256];
    let mut kernels = Vec::new();
    for (hidden_size, options) in sizes.into_iter().flat_map(|size| (0..12).map(move |options| (size, options))) {
        // None, and narrow and wide ones.
        let proj_size = [0, hidden_size.div_ceil(3), hidden_size - hidden_size / 8][options % 3];
        let noise = Noise { zoneout_h: if options / 3 % 2 > 0 { 0.1 } else { 0.0 }, ..Noise::default() };
        let layer_norm = options >= 6;
        let shape = LstmShape { hidden_size, proj_size, layer_norm, noise, ..LstmShape::default() };
        for &tiles in &all {
            let made = Strategy::Persistent(tiles).kernels(&shape).into_iter();
            kernels.extend(made.map(|kernel| (kernel, WORKGROUP_BYTES.max(tiles.memory as u32))));
        }
    }
    assert_eq!(kernels.len(), 2 * 12 * sizes.len() * all.len());
    let usual = |kernel| (kernel, WORKGROUP_BYTES);
    // Inputs that are multiplied along with h.
    for (input_size, bidirectional, lanes) in [(1, false, 0), (4, true, 0), (4, false, 32), (1, true, 32)] {
        let shape = LstmShape { input_size, hidden_size: 65, bidirectional, ..LstmShape::default() };
        let along = Strategy::Persistent(Tiles { inputs: 4, lanes, ..tiles(256, 1, 10) }).kernels(&shape);
        assert_eq!(along.len(), 3);
        kernels.extend(along.into_iter().map(usual));
    }
    let tiles = |units, groups, quads| Strategy::Steps(Steps::Tiles(StepTiles { units, groups, quads, workgroups: 0 }));
    for hidden_size in [1, 7, 192, 1024] {
        // With dropout between layers for two of them.
        let noise = Noise { dropout: if hidden_size % 2 > 0 { 0.1 } else { 0.0 }, ..Noise::default() };
        let shape = LstmShape { hidden_size, num_layers: 2, noise, ..LstmShape::default() };
        let strategies =
            [tiles(32, 4, 2), tiles(16, 4, 1), tiles(16, 2, 1), tiles(4, 1, 1), tiles(8, 2, 4), tiles(8, 16, 2)];
        kernels.extend(strategies.iter().flat_map(|strategy| strategy.kernels(&shape)).map(usual));
    }
    for (side, subgroups) in [(8, 32), (16, 8), (16, 4)] {
        for (hidden_size, batch) in [(16, 1), (256, 64), (1024, 128), (48, 33)] {
            let noise = Noise { dropout: if batch % 2 > 0 { 0.1 } else { 0.0 }, ..Noise::default() };
            let shape = LstmShape { hidden_size, batch, num_layers: 2, noise, ..LstmShape::default() };
            let matrices = Steps::Matrices(StepMatrices { side, subgroups });
            kernels.extend(Strategy::Steps(matrices).kernels(&shape).into_iter().map(usual));
        }
    }
    // Matrices of both sizes, subgroups of the sizes that there are, both tiles.
    let of_matrices: Vec<_> = bptt::kernels::of_matrices([(16, 32), (16, 64), (8, 8), (8, 32)]).collect();
    assert_eq!(of_matrices.len(), 2 * 2 * 4);
    kernels.extend(of_matrices.into_iter().map(usual));
    let problems: Vec<_> = kernels.into_iter().flat_map(|(kernel, bytes)| problems_within(kernel, bytes)).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// No file is left out of the list, none is listed twice, and every listed one is the file of its name.
#[test]
fn the_list_of_kernels_is_the_folder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(&folder).expect("the folder `shaders`") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name in UTF-8");
        files.insert(name.strip_suffix(".wgsl").unwrap_or_else(|| panic!("{name} is no WGSL file")).to_owned());
    }
    assert!(files.remove("common"), "common.wgsl is appended to every kernel");
    let kernels: Vec<_> = bptt::kernels::all().collect();
    let shared: BTreeSet<_> = kernels.iter().flat_map(|kernel| kernel.shared).collect();
    for (name, text) in &shared {
        let file = folder.join(name).with_extension("wgsl");
        assert_eq!(*text, std::fs::read_to_string(&file).expect("a readable file"), "{name}");
    }
    let entries: BTreeSet<_> = kernels.iter().map(|kernel| (kernel.name, kernel.entry, kernel.shared)).collect();
    assert_eq!(entries.len(), kernels.len(), "an entry point is listed twice");
    let names: BTreeSet<_> = kernels.iter().map(|kernel| kernel.name.to_owned()).collect();
    assert!(names.len() >= 10, "only {} kernels were found", names.len());
    let shared: BTreeSet<_> = shared.into_iter().map(|(name, _)| (*name).to_owned()).collect();
    assert!(shared.is_disjoint(&names), "{shared:?}");
    assert_eq!(&names | &shared, files, "kernels::all() and shaders/");
    // A file may be appended for some of a kernel's entry points.
    let pairs = kernels.iter().flat_map(|kernel| kernel.shared.iter().map(|(name, _)| (kernel.name, *name)));
    let appended: BTreeSet<_> = pairs.collect();
    for kernel in kernels {
        for name in &shared {
            let named = kernel.source.contains(&format!("{name}.wgsl"));
            let appended = appended.contains(&(kernel.name, name.as_str()));
            assert_eq!(named, appended, "{} and {name}.wgsl", kernel.name);
        }
        let file = folder.join(kernel.name).with_extension("wgsl");
        assert_eq!(kernel.source, std::fs::read_to_string(&file).expect("a readable file"), "{}", kernel.name);
    }
}

/// Changes the text of the kernel called `name`, which must then have a problem that says `expected`.
fn assert_noticed(name: &str, from: &str, to: &str, expected: &str) {
    let kernels: Vec<_> = bptt::kernels::all().filter(|kernel| kernel.name == name).collect();
    assert!(!kernels.is_empty() && kernels[0].source.contains(from), "{name} does not contain `{from}`");
    let source = kernels[0].source.replace(from, to).leak();
    let changed = kernels.iter().map(|kernel| Kernel { source, ..**kernel });
    let problems = changed.flat_map(|kernel| problems(&kernel)).collect::<Vec<_>>().join("\n");
    assert!(problems.contains(expected), "`{from}` as `{to}` in {name} gives:\n{problems}");
}

#[test]
fn a_wrong_kernel_is_noticed() {
    assert_noticed("transpose", "    place: u32,", "    position: u32,", "place");
    assert_noticed("transpose", "    rows: u32,\n    columns: u32,", "    columns: u32,\n    rows: u32,", "parameters");
    assert_noticed("transpose", "    place: u32,", "    place: u32,\n    more: u32,", "parameters");
    assert_noticed("loss", "    share: f32,", "    @align(16) share: f32,", "parameters");
    assert_noticed("transpose", "storage, read>", "storage, read_write>", "storage buffers");
    assert_noticed("transpose", "@binding(2)", "@binding(3)", "storage buffers");
    assert_noticed("transpose", "fn main(", "fn entry(", "entry point");
    assert_noticed("lstm_backward_step", "fn project(", "fn other(", "entry point");
    assert_noticed("transpose", "@workgroup_size(64)", "@workgroup_size(64, 8)", "[64, 8, 1] invocations");
    assert_noticed("norm", "array<f32, 256>", "array<f32, 4097>", "16388 bytes");
    assert_noticed("lstm_persistent_forward", "tangent(fresh)", "tanh(fresh)", "tanh");
    assert_noticed("transpose", "let j = index / params.rows;", "let j = index / params.rows", "expected");
    assert_noticed("transpose", "@group(0) @binding(0)", "enable f16;\n@group(0) @binding(0)", "asks to enable f16");
    assert_noticed("norm_parts", "var sum = 0.0;", "var sum = subgroupAdd(0.0);", "norm_parts");
}

/// A change on Rust's side alone.
#[test]
fn a_wrong_declaration_is_noticed() {
    let kernel = bptt::kernels::all().find(|kernel| kernel.name == "lstm_steps").expect("a kernel");
    assert_eq!(kernel.params, [("rows", "u32"), ("steps", "u32"), ("place", "u32")]);
    assert!(problems(kernel).is_empty());
    let other_type = Kernel { params: &[("rows", "u32"), ("steps", "u32"), ("place", "f32")], ..*kernel };
    let other_name = Kernel { params: &[("rows", "u32"), ("steps", "u32"), ("offset", "u32")], ..*kernel };
    let other_order = Kernel { params: &[("steps", "u32"), ("rows", "u32"), ("place", "u32")], ..*kernel };
    let shorter = Kernel { params: &[("rows", "u32"), ("steps", "u32")], ..*kernel };
    let other_access = Kernel { storage: &[Access::Read, Access::Read], ..*kernel };
    for changed in [other_type, other_name, other_order, shorter, other_access] {
        assert_eq!(problems(&changed).len(), 1, "{:?} {:?}", changed.params, changed.storage);
    }
}

/// A ninth storage buffer is beyond what every adapter has.
#[test]
fn too_many_buffers_are_noticed() {
    let kernel = bptt::kernels::all().find(|kernel| kernel.name == "transpose").expect("a kernel");
    let more: String =
        (3..10).map(|i| format!("@group(0) @binding({i}) var<storage, read> more_{i}: array<f32>;\n")).collect();
    let changed = Kernel { source: format!("{more}{}", kernel.source).leak(), ..*kernel };
    assert!(problems(&changed).join("\n").contains("9 storage buffers"));
}
