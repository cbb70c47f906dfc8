// c[i, j] = Σ_k a[i, k] · b[k, j] + Σ biases[j], for matrices of any strides; added to c if `add`.
// One workgroup per tile of C and per split of K. The tiles are those of product_direct.wgsl, or with product_loads.wgsl those of
// product_tiles.wgsl with product_single.wgsl or product_half.wgsl, or of product_matrices.wgsl.
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

var<private> split: u32;

// Rows and columns beyond the last read that one again.
fn a_at(i: u32) -> vec4u {
    return params.a + min(vec4u(i, i + 1u, i + 2u, i + 3u), vec4u(params.m - 1u)) * params.a_row;
}

fn a_apart() -> u32 {
    return params.a_column;
}

fn a_four(at: vec4u) -> vec4f {
    return vec4f(a[at.x], a[at.y], a[at.z], a[at.w]);
}

fn part_of(j: u32) -> u32 {
    return 0u;
}

fn b_at(part: u32, j: u32) -> vec4u {
    return params.b + min(vec4u(j, j + 1u, j + 2u, j + 3u), vec4u(params.n - 1u)) * params.b_column;
}

fn b_apart(part: u32) -> u32 {
    return params.b_row;
}

fn b_four(part: u32, at: vec4u) -> vec4f {
    return vec4f(b[at.x], b[at.y], b[at.z], b[at.w]);
}

fn along_k() -> vec2<bool> {
    return vec2(params.a_column == 1u, params.b_row == 1u);
}

fn store(i: u32, j: u32, row: vec4f) {
    if i >= params.m || j >= params.n {
        return;
    }
    for (var q = 0u; q < min(4u, params.n - j); q++) {
        var value = row[q];
        if params.biases > 0u {
            value += bias[params.bias_0 + j + q];
        }
        if params.biases > 1u {
            value += bias[params.bias_1 + j + q];
        }
        let at = params.c + (split * params.m + i) * params.n + j + q;
        if params.add != 0u {
            value += c[at];
        }
        c[at] = value;
    }
}

// First row and first column of a workgroup's tile.
fn tile(group: vec3u, groups: vec3u, rows: u32, columns: u32) -> vec2u {
    let index = group.y * groups.x + group.x;
    let across = (params.n + columns - 1u) / columns;
    split = group.z;
    return vec2u(index / across * rows, index % across * columns);
}

fn terms(group: vec3u, at: vec2u) -> vec2u {
    return min(vec2u(group.z, group.z + 1u) * params.k_per_split, vec2u(params.k));
}
