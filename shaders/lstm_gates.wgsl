// The formulas of one unit and sequence, for every kernel of the recurrence. Appended to those that name this file.

// i, f, g and o from their sums.
fn activated(z: vec4f) -> vec4f {
    return vec4f(sigmoid(z.x), sigmoid(z.y), tangent(z.z), sigmoid(z.w));
}

// One of them, the candidate g or another: which, a subgroup need not agree on.
fn activated_one(z: f32, candidate: bool) -> f32 {
    let share = falling(select(-clamp(z, -80.0, 80.0), min(2.0 * abs(z), 80.0), candidate));
    return select(select(share, z, is_nan(z)), tangent_by(z, share), candidate);
}

// f ∘ c_{t−1} + i ∘ g
fn cell_state(gates: vec4f, c_before: f32) -> f32 {
    return gates.y * c_before + gates.x * gates.z;
}

// x, zero where it is so small that products with it may not be normal numbers, which a software adapter's processor may take a
// hundred times as long for: below 2⁻⁹⁰, whose square is zero.
fn normal(x: f32) -> f32 {
    return select(x, 0.0, abs(x) < 8.077936e-28);
}

// ∂c_t by the sums of i, f and g.
fn cell_slopes(gates: vec4f, c_before: f32) -> vec3f {
    let i = gates.x;
    let f = gates.y;
    let g = gates.z;
    return vec3f(g * i * (1.0 - i), c_before * f * (1.0 - f), i * (1.0 - g * g));
}

// ∂(o ∘ tanh(v)) by v and by the sum of o.
fn output_slopes(o: f32, tanh_v: f32) -> vec2f {
    return vec2f(o * (1.0 - tanh_v * tanh_v), tanh_v * o * (1.0 - o));
}
