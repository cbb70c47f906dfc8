// C [M, N] = A [M, K] · B [K, N] in tiles. Appended to the kernels that name this file; they say what the matrices are:
//   a_quad(i, k)          A[i, k] to A[i + 3, k]
//   b_quad(part, j, k)    B[k, j] to B[k, j + 3]; `part` is what `part_of(j)` says of a column, the same for 8 columns
//   store(i, j, row)      takes C[i, j] to C[i, j + 3]
//   along_k()             whether neighbours in A, and in B, are neighbours in memory along K
// What lies beyond the edge of A or B is read as anything and not stored. Sums of sums lose fewer digits than a long chain.

const TERMS = 16u;  // of K, in workgroup memory at a time
const CHAIN = 64u;

var<workgroup> a_tile: array<vec4f, 512>;  // [TERMS, quads of rows ≤ 32]
var<workgroup> b_tile: array<vec4f, 512>;  // [TERMS, quads of columns ≤ 32]

// a · bᵀ: column r of the result is row r of a block of C.
fn outer(a: vec4f, b: vec4f) -> mat4x4f {
    return mat4x4f(a.x * b, a.y * b, a.z * b, a.w * b);
}

fn store_block(i: u32, j: u32, block: mat4x4f) {
    store(i, j, block[0]);
    store(i + 1u, j, block[1]);
    store(i + 2u, j, block[2]);
    store(i + 3u, j, block[3]);
}

// Two quads a row.
alias Rows8 = array<vec4f, 16>;

fn store_8(i: u32, j: u32, rows: Rows8) {
    var all = rows;
    // A loop: software compiles each call of `store` anew.
    for (var quad = 0u; quad < 16u; quad++) {
        store(i + quad / 2u, j + 4u * (quad % 2u), all[quad]);
    }
}

// Rows i .. i + 8 and columns j .. j + 8 by one invocation, straight from storage.
fn block_8(i: u32, j: u32, part: u32, terms: vec2u) -> Rows8 {
    var sum_00 = mat4x4f();
    var sum_01 = mat4x4f();
    var sum_10 = mat4x4f();
    var sum_11 = mat4x4f();
    for (var first = terms.x; first < terms.y; first += CHAIN) {
        var part_00 = mat4x4f();
        var part_01 = mat4x4f();
        var part_10 = mat4x4f();
        var part_11 = mat4x4f();
        for (var k = first; k < min(first + CHAIN, terms.y); k++) {
            let a_0 = a_quad(i, k);
            let a_1 = a_quad(i + 4u, k);
            let b_0 = b_quad(part, j, k);
            let b_1 = b_quad(part, j + 4u, k);
            part_00 += outer(a_0, b_0);
            part_01 += outer(a_0, b_1);
            part_10 += outer(a_1, b_0);
            part_11 += outer(a_1, b_1);
        }
        sum_00 += part_00;
        sum_01 += part_01;
        sum_10 += part_10;
        sum_11 += part_11;
    }
    return Rows8(
        sum_00[0], sum_01[0], sum_00[1], sum_01[1], sum_00[2], sum_01[2], sum_00[3], sum_01[3],
        sum_10[0], sum_11[0], sum_10[1], sum_11[1], sum_10[2], sum_11[2], sum_10[3], sum_11[3],
    );
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
        a_tile[a_at.y * quads + a_at.x] = select(vec4f(), a_values, k + a_at.y < end);
        let b_at = loaded(index, quads, along.y);
        let column = j + 4u * b_at.x;
        let b_values = b_quad(part_of(column), column, min(k + b_at.y, end - 1u));
        b_tile[b_at.y * quads + b_at.x] = select(vec4f(), b_values, k + b_at.y < end);
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
            part += outer(a_tile[16u * k + row], b_tile[16u * k + column]);
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
            let a_0 = a_tile[32u * k + row];
            let a_1 = a_tile[32u * k + row + 16u];
            let b_0 = b_tile[32u * k + column];
            let b_1 = b_tile[32u * k + column + 16u];
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
