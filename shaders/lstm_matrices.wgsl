// What a time step multiplies by the recurrent weights, by matrices of 16-bit numbers as in product_matrices. Appended to the
// kernels that name this file; of a workgroup's SEQUENCES rows and COLUMNS columns each subgroup has one matrix and one part of
// the terms. The kernels say with left_four(k, s) what the terms k .. k + 4 of sequence s are, and have the weights in `packed`.
enable f16;
enable wgpu_cooperative_matrix;

const SEQUENCES = 8u;
const COLUMNS = 8u;
const SIDE = 8u;
const SUBGROUPS = 32u; // of a workgroup of 256 invocations
const AHEAD = 1u;      // matrices of weights that a subgroup asks for together
const FILLS = 2u;      // fours of `left` that an invocation fills: SEQUENCES · TERMS / 1024
const K = 0u;
const F = 0u;

alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sum = coop_mat8x8<f32, C>;

const ACROSS = COLUMNS / SIDE;
const MATRICES = SEQUENCES / SIDE * ACROSS;
const PARTS = SUBGROUPS / MATRICES;
const TERMS = PARTS * AHEAD * SIDE; // in workgroup memory at a time
const STRIDE = TERMS / 4u + 2u; // from one sequence to the next, so that they lie in other banks

var<workgroup> left: array<vec4<f16>, SEQUENCES * STRIDE>;
var<workgroup> done: array<f32, PARTS * SEQUENCES * COLUMNS>; // the sums of each part, by sequences

// The sums over the terms from `skipped` to `terms`, multiples of SIDE, with the weights at `place`, whose rows of `row` columns
// lie one after the other, from `column` on; the columns after the last are those before it again.
fn multiply(skipped: u32, terms: u32, place: u32, row: u32, column: u32, local: u32, subgroup: u32) {
    let part = subgroup / MATRICES;
    let down = subgroup % MATRICES / ACROSS * SIDE;
    let across = subgroup % ACROSS * SIDE;
    let weights = place + min(column + across, row - SIDE) / 4u;
    var sum = Sum();
    let lead = part * AHEAD * SIDE;
    for (var begin = skipped; begin < terms; begin += TERMS) {
        // All asked for together. Zeros on the left beyond the last term; what they are multiplied by has to be a number.
        // repeat K in AHEAD
        let b_K = coopLoadT<Right>(&packed[weights + min(begin + lead + K * SIDE, terms - SIDE) * row / 4u], row / 4u);
        // end
        // repeat F in FILLS
        let index_F = local + F * 256u;
        let four_F = left_or_zero(begin, terms, index_F);
        // end
        workgroupBarrier();
        // repeat F in FILLS
        if index_F < SEQUENCES * TERMS / 4u {
            left[index_F / (TERMS / 4u) * STRIDE + index_F % (TERMS / 4u)] = vec4<f16>(four_F);
        }
        // end
        workgroupBarrier();
        // repeat K in AHEAD
        let a_K = coopLoadT<Left>(&left[down * STRIDE + (lead + K * SIDE) / 4u], STRIDE);
        sum = coopMultiplyAdd(a_K, b_K, sum);
        // end
    }
    coopStoreT(sum, &done[(part * SEQUENCES + down) * COLUMNS + across], COLUMNS);
    workgroupBarrier();
}

// The four number `index` of those from term `begin` on.
fn left_or_zero(begin: u32, terms: u32, index: u32) -> vec4f {
    let k = begin + 4u * (index % (TERMS / 4u));
    if k >= terms {
        return vec4f();
    }
    return left_four(k, index / (TERMS / 4u));
}

fn sum_of(s: u32, column: u32) -> f32 {
    var sum = 0.0;
    for (var part = 0u; part < PARTS; part++) {
        sum += done[(part * SEQUENCES + s) * COLUMNS + column];
    }
    return sum;
}
