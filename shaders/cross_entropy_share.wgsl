// scratch[0] = weight / number of rows whose class is not ignored, 0 if there is none
// One workgroup for all rows.

struct Params {
    rows: u32,
    ignore_index: f32,
    weight: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> target_class: array<f32>;   // [M]
@group(0) @binding(2) var<storage, read_write> scratch: array<f32>;  // [1 + M]

var<workgroup> counts: array<u32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) local: u32) {
    var count = 0u;
    for (var m = local; m < params.rows; m += 256u) {
        count += u32(target_class[m] != params.ignore_index);
    }
    counts[local] = count;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            counts[local] += counts[local + half];
        }
    }
    if local == 0u {
        scratch[0] = params.weight / f32(max(counts[0], 1u));
    }
}
