// What all parts sum up, where they are neighbours in a subgroup. Appended to the kernels that name this file.
// WGSL wants `enable subgroups;` for it, which naga does not read yet.

fn over_parts(sum: vec4f) -> vec4f {
    var total = sum;
    for (var apart = 1u; apart < PARTS; apart *= 2u) {
        total += subgroupShuffleXor(total, apart);
    }
    return total;
}
