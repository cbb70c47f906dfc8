// The gradients of y = x · W_xᵀ + h · W_hᵀ + b from d = d_y: d_W_x = dᵀ · x, d_W_h = dᵀ · h, d_b = Σ_r d[r], added to what is
// there if `add`. They are one product dᵀ · [x | h | 1], in which each part takes up whole blocks of 8 columns.
// One workgroup per tile of it and per split of the rows. The tiles are those of product_direct.wgsl, or with product_loads.wgsl
// those of product_tiles.wgsl with product_single.wgsl or product_half.wgsl, or of product_matrices.wgsl.
// Split s writes its own sums s · stride further on; `reduce_splits` adds them in order.
// Through workgroup memory a dispatch takes several maps, splits after splits in the grid. All but the first are alike and may
// have their x in the buffer of h, where the map before it left what it gave.

struct Params {
    rows: u32,
    outputs: u32,
    d_row: u32,
    h_row: u32,
    h_width: u32,
    biases: u32,
    // The first map.
    d: u32,
    x: u32,
    x_row: u32,
    x_width: u32,
    h: u32,
    d_w_x: u32,
    d_w_h: u32,
    d_b_0: u32,
    d_b_1: u32,
    // The second, and how far apart the others are.
    next_x: u32,
    next_x_row: u32,
    next_x_width: u32,
    next_d_w_x: u32,
    next_d_w_h: u32,
    next_d_b_0: u32,
    next_d_b_1: u32,
    d_apart: u32,
    h_apart: u32,
    places_apart: u32,
    x_in_h: u32,       // whether the others' x lies in h
    add: u32,
    stride: u32,
    splits: u32,
    rows_per_split: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d: array<f32>;           // [rows, M], rows d_row apart
@group(0) @binding(2) var<storage, read> x: array<f32>;           // [rows, x_width], rows x_row apart
@group(0) @binding(3) var<storage, read> h: array<f32>;           // [rows, h_width], rows h_row apart
@group(0) @binding(4) var<storage, read_write> sums: array<f32>;  // [splits, stride]

const X = 0u;
const H = 1u;
const ONES = 2u;
const X_IN_H = 3u;

struct Map {
    d: u32,
    x: u32,
    x_row: u32,
    x_width: u32,
    x_part: u32,
    h: u32,
    d_w_x: u32,
    d_w_h: u32,
    d_b_0: u32,
    d_b_1: u32,
}

var<private> split: u32;
var<private> map: Map;

fn map_of(number: u32) -> Map {
    if number == 0u {
        return Map(
            params.d, params.x, params.x_row, params.x_width, X, params.h, params.d_w_x, params.d_w_h, params.d_b_0, params.d_b_1,
        );
    }
    let places = (number - 1u) * params.places_apart;
    return Map(
        params.d + number * params.d_apart,
        params.next_x + (number - 1u) * params.x_in_h * params.h_apart,
        params.next_x_row,
        params.next_x_width,
        select(X, X_IN_H, params.x_in_h != 0u),
        params.h + number * params.h_apart,
        params.next_d_w_x + places,
        params.next_d_w_h + places,
        params.next_d_b_0 + places,
        params.next_d_b_1 + places,
    );
}

// The columns of [x | h | 1] where h and 1 begin.
fn begins() -> vec2u {
    return begins_of(map.x_width);
}

fn begins_of(x_width: u32) -> vec2u {
    let x_columns = (x_width + 7u) / 8u * 8u;
    return vec2u(x_columns, x_columns + (params.h_width + 7u) / 8u * 8u);
}

// Rows and columns beyond the last read that one again.
fn a_at(i: u32) -> vec4u {
    return map.d + min(vec4u(i, i + 1u, i + 2u, i + 3u), vec4u(params.outputs - 1u));
}

fn a_apart() -> u32 {
    return params.d_row;
}

fn a_four(at: vec4u) -> vec4f {
    return vec4f(d[at.x], d[at.y], d[at.z], d[at.w]);
}

fn part_of(j: u32) -> u32 {
    let begin = begins();
    return select(select(ONES, H, j < begin.y), map.x_part, j < begin.x);
}

fn b_at(part: u32, j: u32) -> vec4u {
    let columns = vec4u(j, j + 1u, j + 2u, j + 3u);
    if part == ONES {
        return vec4u();
    }
    if part == H {
        return map.h + min(columns - begins().x, vec4u(params.h_width - 1u));
    }
    return map.x + min(columns, vec4u(map.x_width - 1u));
}

fn b_apart(part: u32) -> u32 {
    return select(map.x_row, params.h_row, part == H);
}

fn b_four(part: u32, at: vec4u) -> vec4f {
    if part == ONES {
        return vec4f(1.0);
    }
    if part == X {
        return vec4f(x[at.x], x[at.y], x[at.z], x[at.w]);
    }
    return vec4f(h[at.x], h[at.y], h[at.z], h[at.w]);
}

fn along_k() -> vec2<bool> {
    return vec2(false);
}

// Where the first row of a column of the product goes, and how far apart its rows lie; 0 if it goes nowhere. Both biases have a
// column of ones.
fn column_of(j: u32) -> vec2u {
    let begin = begins();
    let in_h = vec2u(map.d_w_h + j - begin.x, params.h_width);
    let bias = vec2u(select(map.d_b_1, map.d_b_0, j == begin.y), 1u);
    let beyond_x = select(select(vec2u(), bias, j - begin.y < params.biases), in_h, j - begin.x < params.h_width);
    return select(beyond_x, vec2u(map.d_w_x + j, map.x_width), j < map.x_width);
}

fn put(column: vec2u, i: u32, value: f32) {
    if i < params.outputs && column.y > 0u {
        let at = split * params.stride + column.x + i * column.y;
        sums[at] = select(value, value + sums[at], params.add != 0u);
    }
}

fn store(i: u32, j: u32, row: vec4f) {
    put(column_of(j), i, row.x);
    put(column_of(j + 1u), i, row.y);
    put(column_of(j + 2u), i, row.z);
    put(column_of(j + 3u), i, row.w);
}

// First row and first column of a workgroup's tile; in a map smaller than the largest there may be none.
fn tile(group: vec3u, groups: vec3u, rows: u32, columns: u32) -> vec2u {
    let own = map_of(group.z / params.splits);
    map = own;
    split = group.z % params.splits;
    let index = group.y * groups.x + group.x;
    let across = (begins_of(own.x_width).y + min(params.biases, 1u) * 8u + columns - 1u) / columns;
    return vec2u(index / across * rows, index % across * columns);
}

fn terms(group: vec3u, at: vec2u) -> vec2u {
    let part = group.z % params.splits;
    let rows = min(vec2u(part, part + 1u) * params.rows_per_split, vec2u(params.rows));
    return select(vec2u(), rows, at.x < params.outputs);
}
