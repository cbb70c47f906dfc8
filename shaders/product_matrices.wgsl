// C [M, N] = A [M, K] · B [K, N] of 16-bit numbers, by matrices that the invocations of a subgroup multiply together, into sums
// of 32 bits. Appended to the kernels that name this file, with product_loads.wgsl; they say what the matrices are, as for other
// tiles.
// A workgroup of 256 invocations has a tile of TILE rows and columns; a subgroup has HIGH × WIDE matrices of it.
// Lines between `repeat X in COUNT` and `end` are compiled COUNT times, with 0, 1, … for X; as they stand here they are the
// kernel for a tile of 64, matrices of 8 and subgroups of 8.
enable f16;
enable wgpu_cooperative_matrix;

const TILE = 64u;
const SIDE = 8u;       // rows and columns of a matrix
const SUBGROUPS = 32u; // of a workgroup
const HIGH = 1u;
const WIDE = 2u;
const LOADS = 2u;      // of an invocation, for all TERMS
const L = 0u;
const R = 0u;
const Q = 0u;

alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sum = coop_mat8x8<f32, C>;

const TERMS = 32u;     // of K, in workgroup memory at a time
const QUADS = TILE / 4u;
const STRIDE = QUADS + 2u; // from one term to the next, so that they lie in other banks
const ACROSS = TILE / (SIDE * WIDE);

var<workgroup> a_tile: array<vec4<f16>, TERMS * STRIDE>;           // [TERMS, quads of rows]
var<workgroup> b_tile: array<vec4<f16>, TERMS * STRIDE>;           // [TERMS, quads of columns]
var<workgroup> done: array<f32, SUBGROUPS * SIDE * SIDE>;          // a matrix of each subgroup, by rows

fn placed(k: u32, quad: u32, quads: u32) -> u32 {
    return k * STRIDE + quad;
}

@compute @workgroup_size(256)
fn matrices(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let at = tile(group, groups, TILE, TILE);
    let part = terms(group, at);
    // The first row and column, in the tile, of the subgroup's matrices.
    let row = subgroup / ACROSS * HIGH * SIDE;
    let column = subgroup % ACROSS * WIDE * SIDE;
    // repeat R in HIGH
    // repeat Q in WIDE
    var sum_R_Q = Sum();
    // end
    // end
    // repeat L in LOADS
    let load_L = load_of(at.x, at.y, local + L * 256u, QUADS);
    var a_L = a_of(load_L, part.x, part.y);
    var b_L = b_of(load_L, part.x, part.y);
    // end
    for (var first = part.x; first < part.y; first += TERMS) {
        // repeat L in LOADS
        a_tile[load_L.to.x] = vec4<f16>(a_L);
        b_tile[load_L.to.y] = vec4<f16>(b_L);
        // end
        workgroupBarrier();
        // repeat L in LOADS
        a_L = a_of(load_L, first + TERMS, part.y);
        b_L = b_of(load_L, first + TERMS, part.y);
        // end
        for (var k = 0u; k < TERMS; k += SIDE) {
            // repeat R in HIGH
            let left_R = coopLoad<Left>(&a_tile[k * STRIDE + (row + R * SIDE) / 4u], STRIDE);
            // end
            // repeat Q in WIDE
            let right_Q = coopLoadT<Right>(&b_tile[k * STRIDE + (column + Q * SIDE) / 4u], STRIDE);
            // end
            // repeat R in HIGH
            // repeat Q in WIDE
            sum_R_Q = coopMultiplyAdd(left_R, right_Q, sum_R_Q);
            // end
            // end
        }
        workgroupBarrier();
    }
    let own = subgroup * SIDE * SIDE;
    // repeat R in HIGH
    // repeat Q in WIDE
    coopStoreT(sum_R_Q, &done[own], SIDE);
    workgroupBarrier();
    for (var quad = lane; quad < SIDE * SIDE / 4u; quad += 256u / SUBGROUPS) {
        let place = own + 4u * quad;
        let i = at.x + row + R * SIDE + 4u * quad / SIDE;
        let j = at.y + column + Q * SIDE + 4u * quad % SIDE;
        store(i, j, vec4f(done[place], done[place + 1u], done[place + 2u], done[place + 3u]));
    }
    workgroupBarrier();
    // end
    // end
}
