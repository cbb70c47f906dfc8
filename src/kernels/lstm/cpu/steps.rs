//! The element-wise parts of a time step. Types and no closures, because only a method that is always inlined is compiled
//! anew for each instruction set.

use pulp::NullaryFnOnce;

use crate::device::Real;

/// Splits a row of gates into i, f, g and o.
#[inline(always)]
pub fn quarters<F>(gates: &mut [F], hidden: usize) -> [&mut [F]; 4] {
    let (i, rest) = gates.split_at_mut(hidden);
    let (f, rest) = rest.split_at_mut(hidden);
    let (g, o) = rest.split_at_mut(hidden);
    [i, f, g, &mut o[..hidden]]
}

/// The element-wise part of a forward step on `n` sequences.
pub struct ForwardStep<'a, F> {
    pub gates: &'a mut [F], // [n, 4H], in: before activation, out: after
    pub c_before: &'a [F],  // [n, H]
    pub c_t: &'a mut [F],   // [n, H], written
    pub h_t: &'a mut [F],   // [n, H], written
    pub hidden: usize,
}

impl<F: Real> NullaryFnOnce for ForwardStep<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { gates, c_before, c_t, h_t, hidden } = self;
        for (n, gates) in gates.chunks_exact_mut(4 * hidden).enumerate() {
            let [i, f, g, o] = quarters(gates, hidden);
            let row = n * hidden..(n + 1) * hidden;
            let (c_before, c_t, h_t) = (&c_before[row.clone()], &mut c_t[row.clone()], &mut h_t[row]);
            for j in 0..hidden {
                i[j] = i[j].sigmoid();
                f[j] = f[j].sigmoid();
                g[j] = g[j].tangent();
                o[j] = o[j].sigmoid();
                c_t[j] = f[j] * c_before[j] + i[j] * g[j];
                h_t[j] = o[j] * c_t[j].tangent();
            }
        }
    }
}

/// The element-wise part of a backward step on `n` sequences.
pub struct BackwardStep<'a, F> {
    pub gates: &'a mut [F], // [n, 4H], in: activated gates, out: their gradients before activation
    pub c: [&'a [F]; 2],    // [n, H] each: before the step and after it
    pub d_h: &'a [F],       // [n, H]
    pub d_c: &'a mut [F],   // [n, H], in: from the step after, out: for the step before
    pub hidden: usize,
}

impl<F: Real> NullaryFnOnce for BackwardStep<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { gates, c: [c_before, c_t], d_h, d_c, hidden } = self;
        let one = F::one();
        for (n, gates) in gates.chunks_exact_mut(4 * hidden).enumerate() {
            let [i, f, g, o] = quarters(gates, hidden);
            let row = n * hidden..(n + 1) * hidden;
            let (c_before, c_t, d_h, d_c) =
                (&c_before[row.clone()], &c_t[row.clone()], &d_h[row.clone()], &mut d_c[row]);
            for j in 0..hidden {
                let tanh_c = c_t[j].tangent();
                let d_c_t = d_c[j] + d_h[j] * o[j] * (one - tanh_c * tanh_c);
                d_c[j] = d_c_t * f[j];
                o[j] = d_h[j] * tanh_c * o[j] * (one - o[j]);
                f[j] = d_c_t * c_before[j] * f[j] * (one - f[j]);
                let d_g = d_c_t * i[j] * (one - g[j] * g[j]);
                i[j] = d_c_t * g[j] * i[j] * (one - i[j]);
                g[j] = d_g;
            }
        }
    }
}
