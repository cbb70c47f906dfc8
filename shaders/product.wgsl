// c[i, j] = Σ_k a[i, k] · b[k, j] + Σ biases[j], for matrices of any strides; added to c if `add`.
// One workgroup per 32 × 32 tile of C and per split of K; each invocation keeps a 4 × 4 block in registers.
// Split s writes its own C at c + s · M · N; `reduce_splits` adds them in order.

struct Params {
    m: u32,
    n: u32,
    k: u32,
    a: u32,
    a_row: u32,
    a_column: u32,
    b: u32,
    b_row: u32,
    b_column: u32,
    c: u32,
    biases: u32,
    bias_0: u32,
    bias_1: u32,
    add: u32,
    k_per_split: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;        // [M, K]
@group(0) @binding(2) var<storage, read> b: array<f32>;        // [K, N]
@group(0) @binding(3) var<storage, read> bias: array<f32>;     // [N] at bias_0 and bias_1
@group(0) @binding(4) var<storage, read_write> c: array<f32>;  // [splits, M, N]

@compute @workgroup_size(8, 8)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_id) local: vec3u,
) {
    let tile = group.y * groups.x + group.x;
    let tiles_n = (params.n + 31u) / 32u;
    let i = (tile / tiles_n) * 32u + local.y * 4u;
    let j = (tile % tiles_n) * 32u + local.x * 4u;
    if i >= params.m || j >= params.n {
        return;
    }
    // A block that hangs over the edge reads its last row or column again and does not store it.
    let rows = params.a + min(vec4u(i, i + 1u, i + 2u, i + 3u), vec4u(params.m - 1u)) * params.a_row;
    let columns = params.b + min(vec4u(j, j + 1u, j + 2u, j + 3u), vec4u(params.n - 1u)) * params.b_column;
    var sum_0 = vec4f();
    var sum_1 = vec4f();
    var sum_2 = vec4f();
    var sum_3 = vec4f();
    let end = min((group.z + 1u) * params.k_per_split, params.k);
    // Sums of sums: short ones lose fewer digits than a long one.
    for (var block = group.z * params.k_per_split; block < end; block += 64u) {
        var part_0 = vec4f();
        var part_1 = vec4f();
        var part_2 = vec4f();
        var part_3 = vec4f();
        for (var k = block; k < min(block + 64u, end); k++) {
            let at = rows + k * params.a_column;
            let bt = columns + k * params.b_row;
            let b_k = vec4f(b[bt.x], b[bt.y], b[bt.z], b[bt.w]);
            part_0 += a[at.x] * b_k;
            part_1 += a[at.y] * b_k;
            part_2 += a[at.z] * b_k;
            part_3 += a[at.w] * b_k;
        }
        sum_0 += part_0;
        sum_1 += part_1;
        sum_2 += part_2;
        sum_3 += part_3;
    }
    let c_s = params.c + group.z * params.m * params.n;
    store(c_s, i, j, sum_0);
    store(c_s, i + 1u, j, sum_1);
    store(c_s, i + 2u, j, sum_2);
    store(c_s, i + 3u, j, sum_3);
}

fn store(c_s: u32, i: u32, j: u32, sum: vec4f) {
    if i >= params.m {
        return;
    }
    for (var q = 0u; q < min(4u, params.n - j); q++) {
        var value = sum[q];
        if params.biases > 0u {
            value += bias[params.bias_0 + j + q];
        }
        if params.biases > 1u {
            value += bias[params.bias_1 + j + q];
        }
        let at = c_s + i * params.n + j + q;
        if params.add != 0u {
            value += c[at];
        }
        c[at] = value;
    }
}
