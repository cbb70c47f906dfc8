//! Zoneout on the CPU: what of h and c keeps its value from the step before.

use pulp::NullaryFnOnce;

use super::tiles::{Before, Tile};
use crate::device::Real;
use crate::device::wide::dispatch;
use crate::kernels::Pass;
use crate::rng::{MaskKey, Purpose};

/// The kept shares of one tile at one time step, and what the backward pass sets aside.
pub struct Zone<'a, F> {
    pass: &'a Pass<'a>,
    key: Option<MaskKey>,
    first: usize,    // sequence
    z_h: Vec<F>,     // [n, P]
    z_c: Vec<F>,     // [n, H]
    d_h: Vec<F>,     // [n, P], the kept part of the gradient
    d_c: Vec<F>,     // [n, H]
    c_fresh: Vec<F>, // [n, H]
}

impl<'a, F: Real> Zone<'a, F> {
    /// None if nothing is kept.
    pub fn new(pass: &'a Pass, cell: usize, tile: &Tile<F>) -> Option<Self> {
        let noise = &pass.shape.noise;
        if !pass.shape.zones() {
            return None;
        }
        let (h, c) = (tile.count * pass.shape.width(), tile.count * pass.shape.hidden_size);
        let zeros = |len: usize| vec![F::zero(); len];
        Some(Self {
            pass,
            key: pass.key(Purpose::Zoneout, cell),
            first: tile.first,
            // In evaluation each element keeps the share that it keeps on average.
            z_h: vec![F::of(noise.zoneout_h); h],
            z_c: vec![F::of(noise.zoneout_c); c],
            d_h: zeros(h),
            d_c: zeros(c),
            c_fresh: zeros(c),
        })
    }

    /// Draws the masks of step `t` for the tile's first `n` sequences.
    pub fn draw(&mut self, t: usize, n: usize) {
        let (shape, noise) = (self.pass.shape, &self.pass.shape.noise);
        let Some(key) = self.key else { return };
        let quads = self.pass.packing.batch().div_ceil(4);
        for quad in 0..n.div_ceil(4) {
            let block = ((self.pass.first_step + t) * quads + self.first / 4 + quad) * shape.hidden_size;
            let (width, hidden) = (shape.width(), shape.hidden_size);
            dispatch(DrawQuad {
                key,
                block: block as u32,
                rates: [noise.zoneout_h, noise.zoneout_c],
                z_h: &mut self.z_h[4 * quad * width..],
                z_c: &mut self.z_c[4 * quad * hidden..],
                width,
                hidden,
            });
        }
    }

    /// h = z ∘ h_before + (1 − z) ∘ h
    pub fn keep_h(&self, before: &[F], h: &mut [F]) {
        keep(&self.z_h, before, h);
    }

    /// c = z ∘ c_before + (1 − z) ∘ c
    pub fn keep_c(&self, before: &Before<F>, c: &mut [F]) {
        let (ongoing, starting) = c.split_at_mut(before.ongoing.len());
        keep(&self.z_c, before.ongoing, ongoing);
        keep(&self.z_c[before.ongoing.len()..], before.starting, starting);
    }

    /// Sets the kept part of the gradients aside and leaves the rest.
    pub fn split(&mut self, d_h: &mut [F], d_c: &mut [F]) {
        for (z, kept, d) in [(&self.z_h, &mut self.d_h, d_h), (&self.z_c, &mut self.d_c, d_c)] {
            for ((d, kept), &z) in d.iter_mut().zip(kept).zip(z) {
                *kept = z * *d;
                *d = *d - *kept;
            }
        }
    }

    /// Adds them again.
    pub fn add_kept(&self, d_h: &mut [F], d_c: &mut [F]) {
        d_h.iter_mut().zip(&self.d_h).for_each(|(d, &kept)| *d = *d + kept);
        d_c.iter_mut().zip(&self.d_c).for_each(|(d, &kept)| *d = *d + kept);
    }

    /// c̃ = f ∘ c_before + i ∘ g, as it was before zoneout.
    pub fn cell_before_zoneout(&mut self, gates: &[F], before: &Before<F>) -> &[F] {
        let hidden = self.pass.shape.hidden_size;
        let before = before.ongoing.chunks_exact(hidden).chain(before.starting.chunks_exact(hidden));
        for ((gates, before), c) in gates.chunks_exact(4 * hidden).zip(before).zip(self.c_fresh.chunks_mut(hidden)) {
            for (j, c) in c.iter_mut().enumerate() {
                *c = gates[hidden + j] * before[j] + gates[j] * gates[2 * hidden + j];
            }
        }
        &self.c_fresh
    }
}

fn keep<F: Real>(z: &[F], before: &[F], now: &mut [F]) {
    now.iter_mut().zip(before).zip(z).for_each(|((now, &before), &z)| *now = z * before + (F::one() - z) * *now);
}

/// The masks of four sequences: one block of words for each unit, one word for each sequence, its low half for h and its
/// high half for c.
struct DrawQuad<'a, F> {
    key: MaskKey,
    block: u32,
    rates: [f64; 2],
    z_h: &'a mut [F],
    z_c: &'a mut [F],
    width: usize,
    hidden: usize,
}

impl<F: Real> NullaryFnOnce for DrawQuad<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { key, block, rates, z_h, z_c, width, hidden } = self;
        let [limit_h, limit_c] = rates.map(|rate| (rate * 65_536.0).round() as u32);
        let mask = |word: u32, limit: u32| if word < limit { F::one() } else { F::zero() };
        for first in (0..hidden).step_by(8) {
            let words = key.blocks(block.wrapping_add(first as u32));
            for (n, words) in words.iter().enumerate() {
                let units = first..hidden.min(first + 8);
                if let Some(z_c) = z_c.get_mut(n * hidden..(n + 1) * hidden) {
                    z_c[units.clone()].iter_mut().zip(words).for_each(|(z, &word)| *z = mask(word >> 16, limit_c));
                }
                if let Some(z_h) = z_h.get_mut(n * width..(n + 1) * width) {
                    let units = units.start.min(width)..units.end.min(width);
                    z_h[units].iter_mut().zip(words).for_each(|(z, &word)| *z = mask(word & 0xffff, limit_h));
                }
            }
        }
    }
}
