// The start states of one direction of one layer: c where its first step finds it, h, masked, on its way into the gates of
// the sequences that have that step.
// One invocation per (unit, sequence).

struct Params {
    row: u32,
    present: u32,
    batch: u32,
    hidden: u32,
    width: u32,
    has_start: u32,
    start_h: u32,
    start_c: u32,
    masked: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> h_0: array<f32>;          // [N, P] at start_h, if has_start
@group(0) @binding(2) var<storage, read> c_0: array<f32>;          // [N, H] at start_c, if has_start
@group(0) @binding(3) var<storage, read> mask: array<f32>;         // 1, then [N, P], if masked
@group(0) @binding(4) var<storage, read_write> h_in: array<f32>;   // [rows, P]
@group(0) @binding(5) var<storage, read_write> c: array<f32>;      // [N + rows, H]

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let index = flat_index(group, groups, 64u, local);
    let n = index / params.hidden;
    let j = index % params.hidden;
    if n >= params.batch {
        return;
    }
    var h = 0.0;
    var c_n = 0.0;
    if params.has_start != 0u {
        c_n = c_0[params.start_c + index];
    }
    c[index] = c_n;
    if n < params.present && j < params.width {
        let unit = n * params.width + j;
        if params.has_start != 0u {
            h = h_0[params.start_h + unit];
        }
        if params.masked != 0u {
            h *= mask[1u + unit];
        }
        h_in[params.row * params.width + unit] = h;
    }
}
