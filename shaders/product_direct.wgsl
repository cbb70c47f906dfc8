// C [M, N] = A [M, K] · B [K, N] straight from storage, 16 × 8 sums by one invocation: for software rasterisers, where barriers
// and workgroup memory are dear. Appended to the kernels that name this file; they say what the matrices are, as for the
// tiles through workgroup memory. Sums of sums lose fewer digits than a long chain.

const CHAIN = 64u;

// Two quads a row.
alias Rows16 = array<vec4f, 32>;

fn store_16(i: u32, j: u32, rows: Rows16) {
    var all = rows;
    // A loop: software compiles each call of `store` anew.
    for (var quad = 0u; quad < 32u; quad++) {
        store(i + quad / 2u, j + 4u * (quad % 2u), all[quad]);
    }
}

// Rows i .. i + 16 and columns j .. j + 8 by one invocation, straight from storage: what a rasteriser pays for is each number that it
// loads, 24 for 128 products.
fn block_16(i: u32, j: u32, part: u32, terms: vec2u) -> Rows16 {
    var sum_00 = mat4x4f();
    var sum_01 = mat4x4f();
    var sum_10 = mat4x4f();
    var sum_11 = mat4x4f();
    var sum_20 = mat4x4f();
    var sum_21 = mat4x4f();
    var sum_30 = mat4x4f();
    var sum_31 = mat4x4f();
    let a_0_at = a_at(i);
    let a_1_at = a_at(i + 4u);
    let a_2_at = a_at(i + 8u);
    let a_3_at = a_at(i + 12u);
    let b_0_at = b_at(part, j);
    let b_1_at = b_at(part, j + 4u);
    for (var first = terms.x; first < terms.y; first += CHAIN) {
        var part_00 = mat4x4f();
        var part_01 = mat4x4f();
        var part_10 = mat4x4f();
        var part_11 = mat4x4f();
        var part_20 = mat4x4f();
        var part_21 = mat4x4f();
        var part_30 = mat4x4f();
        var part_31 = mat4x4f();
        for (var k = first; k < min(first + CHAIN, terms.y); k++) {
            let a_0 = a_four(a_0_at + k * a_apart());
            let a_1 = a_four(a_1_at + k * a_apart());
            let a_2 = a_four(a_2_at + k * a_apart());
            let a_3 = a_four(a_3_at + k * a_apart());
            let b_0 = b_four(part, b_0_at + k * b_apart(part));
            let b_1 = b_four(part, b_1_at + k * b_apart(part));
            part_00 += outer(a_0, b_0);
            part_01 += outer(a_0, b_1);
            part_10 += outer(a_1, b_0);
            part_11 += outer(a_1, b_1);
            part_20 += outer(a_2, b_0);
            part_21 += outer(a_2, b_1);
            part_30 += outer(a_3, b_0);
            part_31 += outer(a_3, b_1);
        }
        sum_00 += part_00;
        sum_01 += part_01;
        sum_10 += part_10;
        sum_11 += part_11;
        sum_20 += part_20;
        sum_21 += part_21;
        sum_30 += part_30;
        sum_31 += part_31;
    }
    return Rows16(
        sum_00[0], sum_01[0], sum_00[1], sum_01[1], sum_00[2], sum_01[2], sum_00[3], sum_01[3],
        sum_10[0], sum_11[0], sum_10[1], sum_11[1], sum_10[2], sum_11[2], sum_10[3], sum_11[3],
        sum_20[0], sum_21[0], sum_20[1], sum_21[1], sum_20[2], sum_21[2], sum_20[3], sum_21[3],
        sum_30[0], sum_31[0], sum_30[1], sum_31[1], sum_30[2], sum_31[2], sum_30[3], sum_31[3],
    );
}

@compute @workgroup_size(8)
fn direct(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let at = tile(group, groups, 128u, 8u);
    let i = at.x + 16u * local;
    // The part is a constant of each loop, which software rasterisers would else decide on for every number.
    let part = part_of(at.y);
    var rows: Rows16;
    if part == 0u {
        rows = block_16(i, at.y, 0u, terms(group, at));
    } else if part == 1u {
        rows = block_16(i, at.y, 1u, terms(group, at));
    } else {
        rows = block_16(i, at.y, 2u, terms(group, at));
    }
    store_16(i, at.y, rows);
}
