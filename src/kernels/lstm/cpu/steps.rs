//! The element-wise parts of a time step.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::device::Real;
use crate::device::wide::{Along, Wide, ask_for, lanes, registers, registers_mut};

/// The parts i, f, g and o of a row of gates.
#[inline(always)]
pub fn quarters<F>(gates: &[F], hidden: usize) -> [&[F]; 4] {
    let (i, rest) = gates.split_at(hidden);
    let (f, rest) = rest.split_at(hidden);
    let (g, o) = rest.split_at(hidden);
    [i, f, g, &o[..hidden]]
}

/// Likewise, to be written.
#[inline(always)]
pub fn quarters_mut<F>(gates: &mut [F], hidden: usize) -> [&mut [F]; 4] {
    let (i, rest) = gates.split_at_mut(hidden);
    let (f, rest) = rest.split_at_mut(hidden);
    let (g, o) = rest.split_at_mut(hidden);
    [i, f, g, &mut o[..hidden]]
}

/// The element-wise part of a forward step on `n` sequences.
pub struct ForwardStep<'a, F> {
    pub z: &'a [F],         // [n, 4H], the gates before activation
    pub gates: &'a mut [F], // [n, 4H], written
    pub c_before: &'a [F],  // [n, H]
    pub c_t: &'a mut [F],   // [n, H], written
    pub h_t: &'a mut [F],   // [n, H], written
    pub hidden: usize,
}

impl<F: Real> WithSimd for ForwardStep<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { z, gates, c_before, c_t, h_t, hidden } = self;
        for (n, gates) in gates.chunks_exact_mut(4 * hidden).enumerate() {
            let row = n * hidden..(n + 1) * hidden;
            let mut step = ForwardRow {
                z: quarters(&z[4 * row.start..4 * row.end], hidden),
                gates: quarters_mut(gates, hidden),
                c_before: &c_before[row.clone()],
                c_t: &mut c_t[row.clone()],
                h_t: &mut h_t[row],
            };
            step.all(simd, hidden);
        }
    }
}

struct ForwardRow<'a, F> {
    z: [&'a [F]; 4],
    gates: [&'a mut [F]; 4],
    c_before: &'a [F],
    c_t: &'a mut [F],
    h_t: &'a mut [F],
}

impl<F: Real> Along<F> for ForwardRow<'_, F> {
    #[inline(always)]
    fn along<S: Simd>(&mut self, simd: S, range: Range<usize>) {
        let wide = |lanes| Wide::<F, S>::of(simd, lanes);
        let [z_i, z_f, z_g, z_o] = registers::<F, S, 4>(self.z, &range);
        let [c_before] = registers::<F, S, 1>([self.c_before], &range);
        let [i, f, g, o] = &mut self.gates;
        let [i, f, g, o, c_t, h_t] = registers_mut::<F, S, 6>([i, f, g, o, self.c_t, self.h_t], &range);
        for j in 0..range.len() / lanes::<F, S>() {
            let (input, forget) = (wide(z_i[j]).sigmoid(), wide(z_f[j]).sigmoid());
            let (candidate, output) = (wide(z_g[j]).tanh(), wide(z_o[j]).sigmoid());
            let c = forget.mul_add(wide(c_before[j]), input * candidate);
            (i[j], f[j], g[j], o[j]) = (input.lanes(), forget.lanes(), candidate.lanes(), output.lanes());
            c_t[j] = c.lanes();
            h_t[j] = (output * c.tanh()).lanes();
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
    pub ahead: &'a [F], // [n, 4H], the gates that are next on the way back, if they are in no cache
}

impl<F: Real> WithSimd for BackwardStep<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { gates, c: [c_before, c_t], d_h, d_c, hidden, ahead } = self;
        for (n, gates) in gates.chunks_exact_mut(4 * hidden).enumerate() {
            let row = n * hidden..(n + 1) * hidden;
            if let Some(ahead) = ahead.get(4 * row.start..4 * row.end) {
                ask_for(ahead);
            }
            let mut step = BackwardRow {
                gates: quarters_mut(gates, hidden),
                c_before: &c_before[row.clone()],
                c_t: &c_t[row.clone()],
                d_h: &d_h[row.clone()],
                d_c: &mut d_c[row],
            };
            step.all(simd, hidden);
        }
    }
}

struct BackwardRow<'a, F> {
    gates: [&'a mut [F]; 4],
    c_before: &'a [F],
    c_t: &'a [F],
    d_h: &'a [F],
    d_c: &'a mut [F],
}

impl<F: Real> Along<F> for BackwardRow<'_, F> {
    #[inline(always)]
    fn along<S: Simd>(&mut self, simd: S, range: Range<usize>) {
        let wide = |lanes| Wide::<F, S>::of(simd, lanes);
        let one = Wide::splat(simd, F::one());
        let [c_before, c_t, d_h] = registers::<F, S, 3>([self.c_before, self.c_t, self.d_h], &range);
        let [i, f, g, o] = &mut self.gates;
        let [i, f, g, o, d_c] = registers_mut::<F, S, 5>([i, f, g, o, self.d_c], &range);
        for j in 0..range.len() / lanes::<F, S>() {
            let (input, forget, candidate, output) = (wide(i[j]), wide(f[j]), wide(g[j]), wide(o[j]));
            let (tanh_c, d_h) = (wide(c_t[j]).tanh(), wide(d_h[j]).normal());
            let d_c_t = (d_h * output).mul_add(one - tanh_c * tanh_c, wide(d_c[j])).normal();
            d_c[j] = (d_c_t * forget).lanes();
            i[j] = (d_c_t * candidate * input * (one - input)).lanes();
            f[j] = (d_c_t * wide(c_before[j]) * forget * (one - forget)).lanes();
            g[j] = (d_c_t * input * (one - candidate * candidate)).lanes();
            o[j] = (d_h * tanh_c * output * (one - output)).lanes();
        }
    }
}
