// What a time step multiplies by the recurrent weights, by matrices of 16-bit numbers as in product_matrices. Appended to the
// kernels that name this file; of a workgroup's SEQUENCES rows and COLUMNS columns each subgroup has one matrix and one part of
// the terms. The kernels say with left_four(k, s) what the terms k .. k + 4 of sequence s are, and have the weights in `packed`.
enable f16;
enable wgpu_cooperative_matrix;

const SEQUENCES = 8u;
const COLUMNS = 8u;
const SIDE = 8u;
const SUBGROUPS = 32u; // of a workgroup of 256 invocations
const TERMS = 256u;    // in workgroup memory at a time; a multiple of PARTS · SIDE

alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sum = coop_mat8x8<f32, C>;

const ACROSS = COLUMNS / SIDE;
const MATRICES = SEQUENCES / SIDE * ACROSS;
const PARTS = SUBGROUPS / MATRICES;
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
    for (var begin = skipped; begin < terms; begin += TERMS) {
        workgroupBarrier();
        for (var index = local; index < SEQUENCES * TERMS / 4u; index += 256u) {
            let s = index / (TERMS / 4u);
            let k = begin + 4u * (index % (TERMS / 4u));
            var four = vec4f();
            if k < terms {
                four = left_four(k, s);
            }
            left[s * STRIDE + (k - begin) / 4u] = vec4<f16>(four);
        }
        workgroupBarrier();
        for (var step = 0u; step < TERMS / PARTS; step += SIDE) {
            let k = part * (TERMS / PARTS) + step;
            let a = coopLoadT<Left>(&left[down * STRIDE + k / 4u], STRIDE);
            // Zeros on the left beyond the last term; what they are multiplied by has to be a number.
            let b = coopLoadT<Right>(&packed[weights + min(begin + k, terms - SIDE) * row / 4u], row / 4u);
            sum = coopMultiplyAdd(a, b, sum);
        }
    }
    coopStoreT(sum, &done[(part * SEQUENCES + down) * COLUMNS + across], COLUMNS);
    workgroupBarrier();
}

fn sum_of(s: u32, column: u32) -> f32 {
    var sum = 0.0;
    for (var part = 0u; part < PARTS; part++) {
        sum += done[(part * SEQUENCES + s) * COLUMNS + column];
    }
    return sum;
}
