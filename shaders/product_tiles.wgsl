// C [M, N] = A [M, K] · B [K, N] in tiles through workgroup memory. Appended to the kernels that name this file, with
// product_loads.wgsl; they say what the matrices are, and
//   store(i, j, row)      takes C[i, j] to C[i, j + 3]
//   tile(…), terms(…)     a workgroup's tile and its part of K
// What lies beyond the edge of A or B is read as anything and not stored. Sums of sums lose fewer digits than a long chain.
// `Kept` is how four numbers lie in workgroup memory.

const TERMS = 16u;  // of K, in workgroup memory at a time

var<workgroup> a_tile: array<Kept, 512>;  // [TERMS, quads of rows ≤ 32]
var<workgroup> b_tile: array<Kept, 512>;  // [TERMS, quads of columns ≤ 32]

fn store_block(i: u32, j: u32, block: mat4x4f) {
    store(i, j, block[0]);
    store(i + 1u, j, block[1]);
    store(i + 2u, j, block[2]);
    store(i + 3u, j, block[3]);
}

// The quads of a term are exchanged, so that one quad of neighbouring terms lies in other banks.
fn placed(k: u32, quad: u32, quads: u32) -> u32 {
    return k * quads + (quad ^ (k % 8u));
}

fn keep(load: Load, a: vec4f, b: vec4f) {
    a_tile[load.to.x] = Kept(a);
    b_tile[load.to.y] = Kept(b);
}

// Rows i .. i + 64 and columns j .. j + 64 by 256 invocations, a block of 4 × 4 each.
fn tile_64(i: u32, j: u32, terms: vec2u, local: u32) {
    let row = local / 16u;
    let column = local % 16u;
    let load = load_of(i, j, local, 16u);
    var a = a_of(load, terms.x, terms.y);
    var b = b_of(load, terms.x, terms.y);
    var sum = mat4x4f();
    for (var first = terms.x; first < terms.y; first += TERMS) {
        keep(load, a, b);
        workgroupBarrier();
        a = a_of(load, first + TERMS, terms.y);
        b = b_of(load, first + TERMS, terms.y);
        var part = mat4x4f();
        for (var k = 0u; k < TERMS; k++) {
            part += outer(vec4f(a_tile[placed(k, row, 16u)]), vec4f(b_tile[placed(k, column, 16u)]));
        }
        sum += part;
        workgroupBarrier();
    }
    store_block(i + 4u * row, j + 4u * column, sum);
}

// Rows i .. i + 128 and columns j .. j + 128 by 256 invocations, four blocks of 4 × 4 each.
fn tile_128(i: u32, j: u32, terms: vec2u, local: u32) {
    let row = local / 16u;
    let column = local % 16u;
    let load_0 = load_of(i, j, local, 32u);
    let load_1 = load_of(i, j, local + 256u, 32u);
    var a_0 = a_of(load_0, terms.x, terms.y);
    var b_0 = b_of(load_0, terms.x, terms.y);
    var a_1 = a_of(load_1, terms.x, terms.y);
    var b_1 = b_of(load_1, terms.x, terms.y);
    var sum_00 = mat4x4f();
    var sum_01 = mat4x4f();
    var sum_10 = mat4x4f();
    var sum_11 = mat4x4f();
    for (var first = terms.x; first < terms.y; first += TERMS) {
        keep(load_0, a_0, b_0);
        keep(load_1, a_1, b_1);
        workgroupBarrier();
        a_0 = a_of(load_0, first + TERMS, terms.y);
        b_0 = b_of(load_0, first + TERMS, terms.y);
        a_1 = a_of(load_1, first + TERMS, terms.y);
        b_1 = b_of(load_1, first + TERMS, terms.y);
        var part_00 = mat4x4f();
        var part_01 = mat4x4f();
        var part_10 = mat4x4f();
        var part_11 = mat4x4f();
        for (var k = 0u; k < TERMS; k++) {
            let row_at = placed(k, row, 32u);
            let column_at = placed(k, column, 32u);
            let rows_0 = vec4f(a_tile[row_at]);
            let rows_1 = vec4f(a_tile[row_at + 16u]);
            let columns_0 = vec4f(b_tile[column_at]);
            let columns_1 = vec4f(b_tile[column_at + 16u]);
            part_00 += outer(rows_0, columns_0);
            part_01 += outer(rows_0, columns_1);
            part_10 += outer(rows_1, columns_0);
            part_11 += outer(rows_1, columns_1);
        }
        sum_00 += part_00;
        sum_01 += part_01;
        sum_10 += part_10;
        sum_11 += part_11;
        workgroupBarrier();
    }
    store_block(i + 4u * row, j + 4u * column, sum_00);
    store_block(i + 4u * row, j + 4u * column + 64u, sum_01);
    store_block(i + 4u * row + 64u, j + 4u * column, sum_10);
    store_block(i + 4u * row + 64u, j + 4u * column + 64u, sum_11);
}
