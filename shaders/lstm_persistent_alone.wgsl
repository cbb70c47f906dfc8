// What all parts sum up, where there is one part, and its gates; FAR parts have no use for that. Appended to the kernels that name this
// file.

fn over_parts(sum: vec4f) -> vec4f {
    return sum;
}

fn own_over_parts(sum: vec4f) -> vec4f {
    return sum;
}

fn gates_over_parts(sum: vec4f) -> vec4f {
    return activated(sum);
}

fn own_gates(row: u32, j: u32) -> vec4f {
    return four_gates(row, j);
}

fn only_own(four: vec4f) -> vec4f {
    return four;
}

fn keep_own_gates(row: u32, j: u32, four: vec4f) {
    keep_gates(row, j, four);
}
