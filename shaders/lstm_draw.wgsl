// The number of this draw of masks, for kernels whose own parameters must not change from draw to draw.
// One invocation.

struct Params {
    draw: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> mask: array<u32>;  // its first word

@compute @workgroup_size(1)
fn main() {
    mask[0] = params.draw;
}
