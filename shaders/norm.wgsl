// status = [norm, min(1, max_norm / (norm + 1e-6)), stopped], history[row, 1] = norm, with norm = √Σ parts
// One workgroup of one invocation for each part.

struct Params {
    parts: u32,
    max_norm: f32,
    row: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<f32>;          // [parts ≤ 256]
@group(0) @binding(2) var<storage, read_write> status: array<f32>;   // [norm, factor, stopped]
@group(0) @binding(3) var<storage, read_write> history: array<f32>;  // [rows, 2]

var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) local: u32) {
    sums[local] = 0.0;
    if local < params.parts {
        sums[local] = parts[local];
    }
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            sums[local] += sums[local + half];
        }
    }
    if local == 0u {
        let norm = sqrt(sums[0]);
        status[0] = norm;
        status[1] = min(1.0, params.max_norm / (norm + 1e-6));
        if !is_finite(norm) || !is_finite(history[2u * params.row]) {
            status[2] = 1.0;
        }
        history[2u * params.row + 1u] = norm;
    }
}
