//! The gradient's norm, clipping, and the optimizer's step over the flat parameter buffer.
//!
//! As PyTorch defines them: [`clip_grad_norm_`](https://pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html),
//! [`Adam`](https://pytorch.org/docs/stable/generated/torch.optim.Adam.html),
//! [`AdamW`](https://pytorch.org/docs/stable/generated/torch.optim.AdamW.html),
//! [`SGD`](https://pytorch.org/docs/stable/generated/torch.optim.SGD.html). With g the clipped gradient, λ the weight
//! decay, and t the step from 1 on:
//!
//! ```text
//! clip   by norm: g · min(1, max_norm / (‖g‖ + 1e-6))        by value: g limited to ±clip_value
//! adam   g += λp        m = β₁m + (1−β₁)g    v = β₂v + (1−β₂)g²    p −= lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε)
//! adamw  p −= lr·λ·p    then as adam, without its λ
//!        amsgrad: the largest v so far in place of v
//! sgd    g += λp        m = μm + g (the first time m = g)         p −= lr · m
//! ```

use pulp::NullaryFnOnce;

use super::loss_scale;
use crate::config::{Config, OptimizerKind};
use crate::device::threads::prelude::*;
use crate::device::wide::dispatch;
use crate::device::{Cost, Cpu, CpuBuffer, Device, Gpu, Kernel, Real, kernel, params};

/// How gradients are clipped.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Clip {
    /// Not at all.
    #[default]
    None,
    /// All together, so that their 2-norm is at most this.
    Norm(f64),
    /// Each element, to ± this.
    Value(f64),
}

/// An optimizer with its settings.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Which optimizer.
    pub kind: OptimizerKind,
    /// β₁ and β₂ of Adam.
    pub betas: (f64, f64),
    /// ε of Adam.
    pub eps: f64,
    /// λ.
    pub weight_decay: f64,
    /// Adam with the largest second moment so far.
    pub amsgrad: bool,
    /// μ of SGD.
    pub momentum: f64,
    /// How gradients are clipped.
    pub clip: Clip,
}

impl From<&Config> for Rule {
    fn from(config: &Config) -> Self {
        let clip = match (config.clip_value, config.max_norm) {
            (Some(value), _) => Clip::Value(value),
            (None, 0.0) => Clip::None,
            (None, max) => Clip::Norm(max),
        };
        Self {
            kind: config.optimizer,
            betas: (config.beta1, config.beta2),
            eps: config.eps,
            weight_decay: config.weight_decay,
            amsgrad: config.amsgrad,
            momentum: config.momentum,
            clip,
        }
    }
}

impl Rule {
    /// Numbers the optimizer keeps per parameter.
    pub fn moments(&self) -> usize {
        match self.kind {
            OptimizerKind::Sgd if self.momentum == 0.0 => 0,
            OptimizerKind::Sgd => 1,
            _ => 2 + usize::from(self.amsgrad),
        }
    }

    /// Factor of the gradient's direction and divisor of √v at step `t`, counted from 1; computed in double precision.
    fn corrections(&self, t: u64, lr: f64) -> (f64, f64) {
        let (beta_1, beta_2) = self.betas;
        match self.kind {
            OptimizerKind::Sgd => (lr, 1.0),
            _ => (lr / (1.0 - beta_1.powf(t as f64)), (1.0 - beta_2.powf(t as f64)).sqrt()),
        }
    }
}

/// What `gradient_norm` leaves on the device for `optimizer_step`: `[norm, factor, held, scale, steps]`.
pub struct Status;

impl Status {
    /// Elements of the buffer.
    pub const LEN: usize = 5;
    /// Place of the norm before clipping.
    pub const NORM: usize = 0;
    /// Place of the factor that a gradient is multiplied by: that of clipping by norm, divided by the loss's scale.
    pub const FACTOR: usize = 1;
    /// Place of a mark, not 0 if the step changes nothing: [`ALL`](Status::ALL) from the first one on whose loss or norm is not
    /// finite, [`STEP`](Status::STEP) where it may be the scale's fault.
    pub const HELD: usize = 2;
    /// Place of the scale of the loss, as [`LossScale`](super::LossScale) says.
    pub const SCALE: usize = 3;
    /// Place of the number of steps since the scale was last changed.
    pub const STEPS: usize = 4;
    /// The step is held.
    pub const STEP: f64 = 1.0;
    /// It and all that follow.
    pub const ALL: f64 = 2.0;

    /// Before a step, after one of this norm, with a scale that has been for so many steps.
    pub fn before([norm, scale, steps]: [f32; 3]) -> [f32; Self::LEN] {
        [norm, 0.0, 0.0, scale, steps]
    }
}

/// Clipping and the optimizer.
pub trait Optimize: Device {
    /// The 2-norm of the first `len` gradients without the loss's scale, and the factor for them, into `status`, with the scale
    /// for the next step; the norm also into column 1 of row `row` of `history` `[rows, 2]`, whose column 0 holds the step's
    /// loss. `scratch` holds [`norm_scratch_len`](Optimize::norm_scratch_len) elements.
    fn gradient_norm(
        &self,
        len: usize,
        clip: Clip,
        row: usize,
        d_params: &Self::Buffer,
        scratch: &mut Self::Buffer,
        status: &mut Self::Buffer,
        history: &mut Self::Buffer,
    );
    /// Step `t`, counted from 1, of `rule` at rate `lr` on the first `len` parameters.
    ///
    /// - `moments` `[rule.moments(), len]`, zero before the first step
    /// - `status` as `gradient_norm` left it
    fn optimizer_step(
        &self,
        rule: &Rule,
        len: usize,
        t: u64,
        lr: f64,
        d_params: &Self::Buffer,
        status: &Self::Buffer,
        moments: &mut Self::Buffer,
        params: &mut Self::Buffer,
    );
    /// Elements of scratch for the norm of `len` gradients.
    fn norm_scratch_len(&self, len: usize) -> usize;
}

params! {
    struct NormPartsParams { len: u32, parts: u32, part: u32 }
}
params! {
    struct NormParams { parts: u32, max_norm: f32, row: u32, scale_steps: u32, most_scale: f32 }
}
params! {
    struct OptimizerParams {
        kind: u32, len: u32, amsgrad: u32, clip_value: f32,
        beta_1: f32, beta_2: f32, one_minus_beta_1: f32, one_minus_beta_2: f32,
        eps: f32, weight_decay: f32, shrink: f32, momentum: f32,
        step_size: f32, v_divisor: f32, before: u32,
    }
}
static NORM_PARTS: Kernel = kernel!("norm_parts", NormPartsParams, [Read, Write]);
static NORM: Kernel = kernel!("norm", NormParams, [Read, Write, Write], varying);
static OPTIMIZER: Kernel = kernel!("optimizer", OptimizerParams, [Read, Read, Write, Write], varying);
pub(super) static KERNELS: &[&Kernel] = &[&NORM_PARTS, &NORM, &OPTIMIZER];

/// About as many operations of [`Tuning::operations`] as a parameter's step takes in software, and its part in the norm.
pub(super) const OF_PARAMETER: u64 = 64;
const OF_GRADIENT: usize = 16;

/// Limits of f32 stand for "no clipping": a gradient beyond them is not finite.
fn clip_params(clip: Clip) -> (f32, f32) {
    match clip {
        Clip::None => (f32::MAX, f32::MAX),
        Clip::Norm(max) => (max as f32, f32::MAX),
        Clip::Value(max) => (f32::MAX, max as f32),
    }
}

impl Optimize for Gpu {
    fn gradient_norm(
        &self,
        len: usize,
        clip: Clip,
        row: usize,
        d_params: &Self::Buffer,
        scratch: &mut Self::Buffer,
        status: &mut Self::Buffer,
        history: &mut Self::Buffer,
    ) {
        let parts = self.norm_scratch_len(len);
        self.cost(Cost::new(2 * len, len));
        for pieces in self.tuning().pieces(parts, 1, (OF_GRADIENT * len / parts) as u64) {
            let params = NormPartsParams { len: len as u32, parts: parts as u32, part: pieces.start as u32 };
            if pieces.start > 0 {
                self.cost(Cost::default());
            }
            self.run(&NORM_PARTS, &params, &[d_params, scratch], [pieces.len() as u32, 1, 1]);
        }
        let params = NormParams {
            parts: parts as u32,
            max_norm: clip_params(clip).0,
            row: row as u32,
            scale_steps: loss_scale::STEPS,
            most_scale: loss_scale::MOST,
        };
        self.cost(Cost::new(parts, parts));
        self.run(&NORM, &params, &[scratch, status, history], [1, 1, 1]);
    }

    fn optimizer_step(
        &self,
        rule: &Rule,
        len: usize,
        t: u64,
        lr: f64,
        d_params: &Self::Buffer,
        status: &Self::Buffer,
        moments: &mut Self::Buffer,
        params: &mut Self::Buffer,
    ) {
        let (step_size, v_divisor) = rule.corrections(t, lr);
        let decoupled = rule.kind == OptimizerKind::Adamw;
        let uniform = OptimizerParams {
            kind: rule.kind as u32,
            len: len as u32,
            amsgrad: u32::from(rule.amsgrad),
            clip_value: clip_params(rule.clip).1,
            beta_1: rule.betas.0 as f32,
            beta_2: rule.betas.1 as f32,
            one_minus_beta_1: (1.0 - rule.betas.0) as f32,
            one_minus_beta_2: (1.0 - rule.betas.1) as f32,
            eps: rule.eps as f32,
            weight_decay: if decoupled { 0.0 } else { rule.weight_decay as f32 },
            shrink: if decoupled { (1.0 - lr * rule.weight_decay) as f32 } else { 1.0 },
            momentum: rule.momentum as f32,
            step_size: step_size as f32,
            v_divisor: v_divisor as f32,
            before: 0,
        };
        // About a dozen operations for Adam; the moments and the parameters are read and written.
        self.cost(Cost::new((3 + 5 * rule.moments()) * len, (3 + 2 * rule.moments()) * len));
        self.run_each(&OPTIMIZER, &uniform, &[d_params, status, moments, params], len, OF_PARAMETER);
    }

    fn norm_scratch_len(&self, len: usize) -> usize {
        len.div_ceil(1024).clamp(1, 256)
    }
}

/// Gradients summed by one thread at a time; fixed, so that the bits do not depend on the number of threads.
const BLOCK: usize = 4_096;

impl<F: Real> Optimize for Cpu<F> {
    fn gradient_norm(
        &self,
        len: usize,
        clip: Clip,
        row: usize,
        d_params: &CpuBuffer<F>,
        _scratch: &mut CpuBuffer<F>,
        status: &mut CpuBuffer<F>,
        history: &mut CpuBuffer<F>,
    ) {
        let blocks = d_params[..len].par_chunks(BLOCK);
        let sums: Vec<f64> = blocks.map(|block| dispatch(Squares(block))).collect();
        let (scale, steps) = (status[Status::SCALE].double(), status[Status::STEPS].double());
        let norm = sums.iter().sum::<f64>().sqrt() / scale;
        let (well, loss_well) = (F::of(norm).is_finite(), history[2 * row].is_finite());
        if status[Status::HELD] == F::of(Status::STEP) {
            status[Status::HELD] = F::zero();
        }
        let (next, steps, too_much) = loss_scale::after_step(scale as f32, steps as u32, well);
        status[Status::SCALE] = F::of(f64::from(next));
        status[Status::STEPS] = F::of(f64::from(steps));
        if too_much && loss_well {
            status[Status::HELD] = status[Status::HELD].max(F::of(Status::STEP));
            // The norm of the step before stands for this one's.
            history[2 * row + 1] = status[Status::NORM];
            return;
        }
        status[Status::NORM] = F::of(norm);
        let factor = if let Clip::Norm(max) = clip { (max / (norm + 1e-6)).min(1.0) } else { 1.0 };
        status[Status::FACTOR] = F::of(factor / scale);
        if !well || !loss_well {
            status[Status::HELD] = F::of(Status::ALL);
        }
        history[2 * row + 1] = status[Status::NORM];
    }

    fn optimizer_step(
        &self,
        rule: &Rule,
        len: usize,
        t: u64,
        lr: f64,
        d_params: &CpuBuffer<F>,
        status: &CpuBuffer<F>,
        moments: &mut CpuBuffer<F>,
        params: &mut CpuBuffer<F>,
    ) {
        if status[Status::HELD] != F::zero() {
            return;
        }
        let update = Update::new(rule, t, lr, status[Status::FACTOR]);
        let mut rest = &mut moments[..rule.moments() * len];
        let mut next = || {
            let taken = std::mem::take(&mut rest);
            let (row, after) = taken.split_at_mut(len.min(taken.len()));
            rest = after;
            row
        };
        let (m, v, v_max) = (next(), next(), next());
        let blocks = params[..len].par_chunks_mut(BLOCK).zip(d_params[..len].par_chunks(BLOCK));
        let blocks = blocks.enumerate().map(|(block, (p, g))| (block * BLOCK, p, g));
        match rule.kind {
            OptimizerKind::Sgd if m.is_empty() => blocks.for_each(|(_, p, g)| update.sgd(p, g)),
            OptimizerKind::Sgd => {
                blocks.zip(m.par_chunks_mut(BLOCK)).for_each(|((_, p, g), m)| update.momentum(p, g, m));
            }
            _ if rule.amsgrad => {
                let moments = m.par_chunks_mut(BLOCK).zip(v.par_chunks_mut(BLOCK)).zip(v_max.par_chunks_mut(BLOCK));
                blocks.zip(moments).for_each(|((_, p, g), ((m, v), v_max))| {
                    dispatch(Adam { update: &update, p, g, m, v, v_max: Some(v_max) });
                });
            }
            _ => {
                let moments = m.par_chunks_mut(BLOCK).zip(v.par_chunks_mut(BLOCK));
                blocks.zip(moments).for_each(|((_, p, g), (m, v))| {
                    dispatch(Adam { update: &update, p, g, m, v, v_max: None });
                });
            }
        }
    }

    fn norm_scratch_len(&self, _len: usize) -> usize {
        0
    }
}

/// The numbers of one step, in the element type.
struct Update<F> {
    factor: F,
    clip_value: F,
    weight_decay: F,
    shrink: F,
    betas: (F, F),
    complements: (F, F),
    eps: F,
    momentum: F,
    step_size: F,
    v_divisor: F,
}

impl<F: Real> Update<F> {
    fn new(rule: &Rule, t: u64, lr: f64, factor: F) -> Self {
        let (step_size, v_divisor) = rule.corrections(t, lr);
        let decoupled = rule.kind == OptimizerKind::Adamw;
        Self {
            factor,
            clip_value: if let Clip::Value(max) = rule.clip { F::of(max) } else { F::infinity() },
            weight_decay: F::of(if decoupled { 0.0 } else { rule.weight_decay }),
            shrink: F::of(if decoupled { 1.0 - lr * rule.weight_decay } else { 1.0 }),
            betas: (F::of(rule.betas.0), F::of(rule.betas.1)),
            complements: (F::of(1.0 - rule.betas.0), F::of(1.0 - rule.betas.1)),
            eps: F::of(rule.eps),
            momentum: F::of(rule.momentum),
            step_size: F::of(step_size),
            v_divisor: F::of(v_divisor),
        }
    }

    /// The gradient after clipping, with weight decay's share.
    #[inline(always)]
    fn gradient(&self, g: F, p: F) -> F {
        let g = g * self.factor;
        let g = if g > self.clip_value { self.clip_value } else { g };
        let g = if g < -self.clip_value { -self.clip_value } else { g };
        g + self.weight_decay * p
    }

    fn sgd(&self, p: &mut [F], g: &[F]) {
        p.iter_mut().zip(g).for_each(|(p, &g)| *p = *p - self.step_size * self.gradient(g, *p));
    }

    fn momentum(&self, p: &mut [F], g: &[F], m: &mut [F]) {
        for ((p, &g), m) in p.iter_mut().zip(g).zip(m) {
            *m = self.momentum * *m + self.gradient(g, *p);
            *p = *p - self.step_size * *m;
        }
    }
}

/// Σ g², in eight sums side by side.
struct Squares<'a, F>(&'a [F]);

impl<F: Real> NullaryFnOnce for Squares<'_, F> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        let mut sums = [0.0; 8];
        let (eights, rest) = self.0.as_chunks::<8>();
        for eight in eights {
            for (sum, g) in sums.iter_mut().zip(eight) {
                *sum += g.double() * g.double();
            }
        }
        sums.iter().sum::<f64>() + rest.iter().map(|g| g.double() * g.double()).sum::<f64>()
    }
}

/// A step of Adam on some parameters; with `v_max` of its variant AMSGrad.
struct Adam<'a, F> {
    update: &'a Update<F>,
    p: &'a mut [F],
    g: &'a [F],
    m: &'a mut [F],
    v: &'a mut [F],
    v_max: Option<&'a mut [F]>,
}

impl<F: Real> NullaryFnOnce for Adam<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { update, p, g, m, v, v_max } = self;
        let len = p.len();
        let (g, m, v) = (&g[..len], &mut m[..len], &mut v[..len]);
        let Some(v_max) = v_max else {
            for j in 0..len {
                update.moments(g[j], p[j], &mut m[j], &mut v[j]);
                p[j] = update.along(p[j], m[j], v[j]);
            }
            return;
        };
        let v_max = &mut v_max[..len];
        for j in 0..len {
            update.moments(g[j], p[j], &mut m[j], &mut v[j]);
            v_max[j] = v_max[j].max(v[j]);
            p[j] = update.along(p[j], m[j], v_max[j]);
        }
    }
}

impl<F: Real> Update<F> {
    #[inline(always)]
    fn moments(&self, g: F, p: F, m: &mut F, v: &mut F) {
        let g = self.gradient(g, p);
        *m = self.betas.0 * *m + self.complements.0 * g;
        *v = self.betas.1 * *v + self.complements.1 * g * g;
    }

    #[inline(always)]
    fn along(&self, p: F, m: F, v: F) -> F {
        p * self.shrink - self.step_size * m / (v.sqrt() / self.v_divisor + self.eps)
    }
}
