//! Zoneout on the CPU: what of h and c keeps its value from the step before.

use pulp::NullaryFnOnce;

use super::steps::quarters;
use super::tiles::{Before, Tile};
use crate::device::Real;
use crate::device::wide::dispatch;
use crate::kernels::Pass;
use crate::rng::{LANES, MaskKey, Purpose};

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
        let first = ((self.pass.first_step + t) * quads + self.first / 4) * shape.hidden_size;
        let [(z_h, limit_h), (z_c, limit_c)] = [
            (&mut self.z_h[..n * shape.width()], noise.zoneout_h),
            (&mut self.z_c[..n * shape.hidden_size], noise.zoneout_c),
        ]
        .map(|(z, rate)| (z, (rate * 65_536.0).round() as u32));
        let (width, hidden) = (shape.width(), shape.hidden_size);
        dispatch(Draw { key, first: first as u32, z_h, limit_h, z_c, limit_c, width, hidden });
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
        split(&self.z_h, &mut self.d_h, d_h);
        split(&self.z_c, &mut self.d_c, d_c);
    }

    /// Adds them again.
    pub fn add_kept(&self, d_h: &mut [F], d_c: &mut [F]) {
        add(&self.d_h, d_h);
        add(&self.d_c, d_c);
    }

    /// c̃ = f ∘ c_before + i ∘ g, as it was before zoneout.
    pub fn cell_before_zoneout(&mut self, gates: &[F], before: &Before<F>) -> &[F] {
        let hidden = self.pass.shape.hidden_size;
        let (ongoing, starting) = self.c_fresh.split_at_mut(before.ongoing.len());
        let (gates, gates_starting) = gates.split_at(4 * before.ongoing.len());
        cell(gates, before.ongoing, ongoing, hidden);
        cell(gates_starting, before.starting, starting, hidden);
        &self.c_fresh
    }
}

/// now = z ∘ before + (1 − z) ∘ now
fn keep<F: Real>(z: &[F], before: &[F], now: &mut [F]) {
    let (z, before) = (&z[..now.len()], &before[..now.len()]);
    dispatch(move || {
        for j in 0..now.len() {
            now[j] = z[j] * before[j] + (F::one() - z[j]) * now[j];
        }
    });
}

/// kept = z ∘ d, and d is what is left of it.
fn split<F: Real>(z: &[F], kept: &mut [F], d: &mut [F]) {
    let (z, kept) = (&z[..d.len()], &mut kept[..d.len()]);
    dispatch(move || {
        for j in 0..d.len() {
            kept[j] = z[j] * d[j];
            d[j] = d[j] - kept[j];
        }
    });
}

/// d += kept
fn add<F: Real>(kept: &[F], d: &mut [F]) {
    dispatch(move || d.iter_mut().zip(kept).for_each(|(d, &kept)| *d = *d + kept));
}

/// c = f ∘ before + i ∘ g; of gates `[n, 4H]`, the others `[n, H]`.
fn cell<F: Real>(gates: &[F], before: &[F], c: &mut [F], hidden: usize) {
    dispatch(move || {
        let rows = before.chunks_exact(hidden).zip(c.chunks_exact_mut(hidden));
        for (gates, (before, c)) in gates.chunks_exact(4 * hidden).zip(rows) {
            let [i, f, g, _] = quarters(gates, hidden);
            for j in 0..hidden {
                c[j] = f[j] * before[j] + i[j] * g[j];
            }
        }
    });
}

/// The masks of sequences: for four of them one block of words for each unit, one word for each sequence, its low half for h
/// and its high half for c.
struct Draw<'a, F> {
    key: MaskKey,
    first: u32,       // block
    z_h: &'a mut [F], // [n, P]
    limit_h: u32,     // halves below this are kept
    z_c: &'a mut [F], // [n, H]
    limit_c: u32,
    width: usize,
    hidden: usize,
}

impl<F: Real> NullaryFnOnce for Draw<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { key, first, z_h, limit_h, z_c, limit_c, width, hidden } = self;
        let quads = z_h.chunks_mut(4 * width).zip(z_c.chunks_mut(4 * hidden));
        for (quad, (z_h, z_c)) in quads.enumerate() {
            for unit in (0..hidden).step_by(LANES) {
                let words = key.blocks(first.wrapping_add((quad * hidden + unit) as u32));
                let rows = z_h.chunks_exact_mut(width).zip(z_c.chunks_exact_mut(hidden));
                for ((z_h, z_c), words) in rows.zip(&words) {
                    masks(words, |word| word >> 16 < limit_c, &mut z_c[unit..]);
                    masks(words, |word| word & 0xffff < limit_h, z_h.get_mut(unit..).unwrap_or_default());
                }
            }
        }
    }
}

/// 1 for each word that is `kept`, else 0.
#[inline(always)]
fn masks<F: Real>(words: &[u32; LANES], kept: impl Fn(u32) -> bool, z: &mut [F]) {
    let mut masks = [F::zero(); LANES];
    for lane in 0..LANES {
        masks[lane] = if kept(words[lane]) { F::one() } else { F::zero() };
    }
    match z.first_chunk_mut() {
        Some(z) => *z = masks,
        None => z.iter_mut().zip(masks).for_each(|(z, mask)| *z = mask),
    }
}
