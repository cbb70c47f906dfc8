// C [M, N] = A [M, K] · B [K, N] in tiles through workgroup memory. Appended to the kernels that name this file; they say
// what the matrices are:
//   a_quad(i, k)          A[i, k] to A[i + 3, k]
//   b_quad(part, j, k)    B[k, j] to B[k, j + 3]; `part` is what `part_of(j)` says of a column, the same for 8 columns
//   store(i, j, row)      takes C[i, j] to C[i, j + 3]
//   along_k()             whether neighbours in A, and in B, are neighbours in memory along K
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

// Quad and term of the number `index` that a workgroup loads, so that neighbours read neighbours.
fn loaded(index: u32, quads: u32, along_k: bool) -> vec2u {
    return select(vec2u(index % quads, index / quads), vec2u(index / TERMS, index % TERMS), along_k);
}

// Terms k .. k + TERMS of `quads` quads of rows from i and of columns from j on; zero from term `end` on.
fn load(i: u32, j: u32, k: u32, end: u32, quads: u32, local: u32) {
    let along = along_k();
    for (var index = local; index < TERMS * quads; index += 256u) {
        let a_at = loaded(index, quads, along.x);
        let a_values = a_quad(i + 4u * a_at.x, min(k + a_at.y, end - 1u));
        a_tile[a_at.y * quads + a_at.x] = Kept(select(vec4f(), a_values, k + a_at.y < end));
        let b_at = loaded(index, quads, along.y);
        let column = j + 4u * b_at.x;
        let b_values = b_quad(part_of(column), column, min(k + b_at.y, end - 1u));
        b_tile[b_at.y * quads + b_at.x] = Kept(select(vec4f(), b_values, k + b_at.y < end));
    }
}

// Rows i .. i + 64 and columns j .. j + 64 by 256 invocations, a block of 4 × 4 each.
fn tile_64(i: u32, j: u32, terms: vec2u, local: u32) {
    let row = local / 16u;
    let column = local % 16u;
    var sum = mat4x4f();
    for (var first = terms.x; first < terms.y; first += TERMS) {
        load(i, j, first, terms.y, 16u, local);
        workgroupBarrier();
        var part = mat4x4f();
        for (var k = 0u; k < TERMS; k++) {
            part += outer(vec4f(a_tile[16u * k + row]), vec4f(b_tile[16u * k + column]));
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
    var sum_00 = mat4x4f();
    var sum_01 = mat4x4f();
    var sum_10 = mat4x4f();
    var sum_11 = mat4x4f();
    for (var first = terms.x; first < terms.y; first += TERMS) {
        load(i, j, first, terms.y, 32u, local);
        workgroupBarrier();
        var part_00 = mat4x4f();
        var part_01 = mat4x4f();
        var part_10 = mat4x4f();
        var part_11 = mat4x4f();
        for (var k = 0u; k < TERMS; k++) {
            let a_0 = vec4f(a_tile[32u * k + row]);
            let a_1 = vec4f(a_tile[32u * k + row + 16u]);
            let b_0 = vec4f(b_tile[32u * k + column]);
            let b_1 = vec4f(b_tile[32u * k + column + 16u]);
            part_00 += outer(a_0, b_0);
            part_01 += outer(a_0, b_1);
            part_10 += outer(a_1, b_0);
            part_11 += outer(a_1, b_1);
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
