// What all parts sum up, where they are neighbours in a subgroup, and the gates of each. Appended to the kernels that name this file.
// WGSL wants `enable subgroups;` for it, which naga does not read yet.

// With SPREAD so many gates of a unit are an invocation's own: those from `first_gate` on. Parts beyond the fourth activate what one of
// the first four does, but bring no inputs and biases into the sum and keep nothing.
const OWN = select(4u, 4u / min(PARTS, 4u), SPREAD);

fn first_gate() -> u32 {
    return OWN * part % 4u;
}

// Each part has them all.
fn over_parts(sum: vec4f) -> vec4f {
    var total = sum;
    for (var apart = 1u; apart < PARTS; apart *= 2u) {
        total += subgroupShuffleXor(total, apart);
    }
    return total;
}

// Of four parts or more each has one of the four sums, in all four places; of fewer each has them all.
fn own_over_parts(sum: vec4f) -> vec4f {
    if PARTS < 4u {
        return over_parts(sum);
    }
    return vec4f(one_of(two_of(sum)));
}

// The gates, each activated by those whose own it is.
fn gates_over_parts(sum: vec4f) -> vec4f {
    let two = two_of(sum);
    var own: vec2f;
    if OWN == 1u {
        let one = activated_one(one_of(two), part % 4u == 2u);
        let other = subgroupShuffleXor(one, 1u);
        own = select(vec2f(one, other), vec2f(other, one), part % 2u != 0u);
    } else {
        own = vec2f(activated_one(two.x, is_upper()), sigmoid(two.y));
    }
    let others = subgroupShuffleXor(own, NEAR);
    return select(vec4f(own, others), vec4f(others, own), is_upper());
}

// Half of the sums go to the part that has the other half, whose own come back.
const NEAR = min(PARTS, 4u) / 2u;

fn is_upper() -> bool {
    return (part & NEAR) != 0u;
}

fn two_of(sum: vec4f) -> vec2f {
    return select(sum.xy, sum.zw, is_upper()) + subgroupShuffleXor(select(sum.zw, sum.xy, is_upper()), NEAR);
}

fn one_of(two: vec2f) -> f32 {
    let odd = part % 2u != 0u;
    var one = select(two.x, two.y, odd) + subgroupShuffleXor(select(two.y, two.x, odd), 1u);
    for (var apart = 4u; apart < PARTS; apart *= 2u) {
        one += subgroupShuffleXor(one, apart);
    }
    return one;
}

// Zero but for the invocation's own gates.
fn only_own(four: vec4f) -> vec4f {
    return select(vec4f(), four, vec4<bool>(owns(0u), owns(1u), owns(2u), owns(3u)));
}

fn owns(gate: u32) -> bool {
    return OWN == 4u || gate / OWN == part;
}

fn own_gates(row: u32, j: u32) -> vec4f {
    if OWN == 4u {
        return four_gates(row, j);
    }
    let one = gates[row][first_gate()][j];
    var next = one;
    if OWN == 2u {
        next = gates[row][first_gate() + 1u][j];
    }
    return only_own(vec4f(one, next, one, next));
}

fn keep_own_gates(row: u32, j: u32, four: vec4f) {
    if OWN == 4u {
        keep_gates(row, j, four);
        return;
    }
    let two = select(four.xy, four.zw, is_upper());
    if OWN == 2u {
        gates[row][first_gate()][j] = two.x;
        gates[row][first_gate() + 1u][j] = two.y;
    } else if part < 4u {
        gates[row][part][j] = select(two.x, two.y, part % 2u != 0u);
    }
}
