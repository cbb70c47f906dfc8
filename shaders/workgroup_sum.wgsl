// Sums over a workgroup of 64 invocations, in an order that never changes. Appended to the kernels that name this file.

var<workgroup> terms: array<vec4f, 64>;
var<workgroup> sums: array<vec4f, 8>;

// The sum of all invocations' values, for each of them; every invocation has to call it.
fn workgroup_sum(value: vec4f, local: u32) -> vec4f {
    terms[local] = value;
    workgroupBarrier();
    if local < 8u {
        var sum = vec4f();
        for (var k = 0u; k < 8u; k++) {
            sum += terms[8u * local + k];
        }
        sums[local] = sum;
    }
    workgroupBarrier();
    var sum = vec4f();
    for (var k = 0u; k < 8u; k++) {
        sum += sums[k];
    }
    return sum;
}
