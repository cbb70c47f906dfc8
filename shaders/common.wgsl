// Appended to every kernel.

// The index of this invocation when `grid()` has folded a long row of workgroups into two dimensions.
fn flat_index(group: vec3u, groups: vec3u, size: u32, local: u32) -> u32 {
    return (group.y * groups.x + group.x) * size + local;
}

// `x != x` is optimised away and `clamp` swallows a NaN on some drivers; the bits tell.
fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

fn sigmoid(x: f32) -> f32 {
    return select(falling(-clamp(x, -80.0, 80.0)), x, is_nan(x));
}

// From 1 to 0.
fn falling(x: f32) -> f32 {
    return 1.0 / (1.0 + exp(x));
}

// WGSL's own tanh is NaN beyond |x| = 44 to 88 on several drivers. Near 0 the quotient loses its digits and the odd
// polynomial (Cephes, tanhf) does not.
fn tangent(x: f32) -> f32 {
    return tangent_by(x, falling(min(2.0 * abs(x), 80.0)));
}

fn tangent_by(x: f32, falling: f32) -> f32 {
    let z = x * x;
    let near = ((((-5.70498872745e-3 * z + 2.06390887954e-2) * z - 5.37397155531e-2) * z + 1.33314422036e-1) * z
        - 3.33332819422e-1) * z * x + x;
    let far = 1.0 - 2.0 * falling;
    return select(select(select(far, -far, x < 0.0), near, abs(x) < 0.625), x, is_nan(x));
}

// The high word of a product of two words.
fn mul_high(a: u32, b: u32) -> u32 {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let mid = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
    let other = (a & 0xffffu) * (b >> 16u) + (mid & 0xffffu);
    return (a >> 16u) * (b >> 16u) + (mid >> 16u) + (other >> 16u);
}

// Philox4x32-10, as in `rng.rs`.
fn philox(counter: vec4u, key: vec2u) -> vec4u {
    var c = counter;
    var k = key;
    for (var round = 0u; round < 10u; round++) {
        let x = vec2u(mul_high(c.x, 0xD2511F53u), c.x * 0xD2511F53u);
        let y = vec2u(mul_high(c.z, 0xCD9E8D57u), c.z * 0xCD9E8D57u);
        c = vec4u(y.x ^ c.y ^ k.x, y.y, x.x ^ c.w ^ k.y, x.y);
        k += vec2u(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}

// a · bᵀ: column r of the result is row r of a block of a product.
fn outer(a: vec4f, b: vec4f) -> mat4x4f {
    return mat4x4f(a.x * b, a.y * b, a.z * b, a.w * b);
}
