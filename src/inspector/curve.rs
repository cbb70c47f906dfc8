//! Gradients of hidden states → one number a distance.

use serde::Serialize;

use crate::kernels::Packing;

/// Below this share of the largest norm the gradient counts as gone.
const GONE: f64 = 0.01;

/// The norm of ∂loss/∂h_t by the distance of t from the window's last step: the root mean square, over the windows, of the
/// 2-norm of one window's gradient.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Curve(pub Vec<f64>); // [T]

impl Curve {
    /// The largest norm, the nearest of equal ones, and its distance. A norm that is not a number is the largest.
    pub fn peak(&self) -> (usize, f64) {
        let larger =
            |best: (usize, f64), next: (usize, f64)| if best.1.is_nan() || next.1 <= best.1 { best } else { next };
        self.0.iter().copied().enumerate().reduce(larger).unwrap_or((0, 0.0))
    }

    /// The norm at the window's last step.
    pub fn near(&self) -> f64 {
        self.0.first().copied().unwrap_or(0.0)
    }

    /// The norm at the window's first step.
    pub fn far(&self) -> f64 {
        self.0.last().copied().unwrap_or(0.0)
    }

    /// The norm at the window's first step over the norm at its last.
    pub fn far_to_near(&self) -> f64 {
        self.far() / self.near()
    }

    /// The smallest distance beyond that of the largest norm where less than 1 % of that is left; none if that lies beyond the
    /// window.
    pub fn reach(&self) -> Option<usize> {
        let (at, largest) = self.peak();
        (at..self.0.len()).find(|&distance| self.0[distance] < GONE * largest)
    }
}

/// Sums of squared norms on the way to a [`Curve`].
#[derive(Clone)]
pub(super) struct Squares {
    sums: Vec<f64>,      // [T]
    windows: Vec<usize>, // [T], that reach so far back
}

impl Squares {
    pub(super) fn new(steps: usize) -> Self {
        Self { sums: vec![0.0; steps], windows: vec![0; steps] }
    }

    /// Adds the gradients `d_h` `[rows, P]`, those of sequence `n` times `shares[n]`.
    pub(super) fn add(&mut self, packing: &Packing, d_h: &[f64], shares: &[f64]) {
        let width = d_h.len() / packing.rows();
        for t in 0..packing.steps() {
            let distance = packing.steps() - 1 - t;
            for (n, share) in shares.iter().enumerate().take(packing.active(t)) {
                let own = &d_h[(packing.row(t) + n) * width..][..width];
                self.sums[distance] += own.iter().map(|value| (share * value).powi(2)).sum::<f64>();
                self.windows[distance] += 1;
            }
        }
    }

    pub(super) fn curve(self) -> Curve {
        let mean = |(sum, windows): (f64, usize)| (sum / windows.max(1) as f64).sqrt();
        Curve(self.sums.into_iter().zip(self.windows).map(mean).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_knows_its_peak_and_its_end() {
        let curve = |values: &[f64]| Curve(values.to_vec());
        let fading = curve(&[2.0, 1.0, 0.02, 0.019, 0.5]);
        assert_eq!((fading.peak(), fading.reach(), fading.far_to_near()), ((0, 2.0), Some(3), 0.25));
        let rising = curve(&[0.001, 1.0, 5.0, 5.0, 1.0]);
        assert_eq!((rising.peak(), rising.reach(), rising.far_to_near()), ((2, 5.0), None, 1000.0));
        let none = curve(&[0.0, 0.0]);
        assert_eq!((none.peak(), none.reach()), ((0, 0.0), None));
        assert!(curve(&[1.0, f64::NAN, 2.0]).peak().1.is_nan() && curve(&[f64::NAN, 2.0]).peak().1.is_nan());
    }

    #[test]
    fn squares_are_averaged_over_the_windows() {
        let mut squares = Squares::new(2);
        // [T = 2, N = 2, P = 2]
        squares.add(&Packing::even(2, 2), &[0.0, 0.0, 3.0, 4.0, 1.0, 0.0, 0.0, 1.0], &[7.0, 2.0]);
        squares.add(&Packing::even(2, 1), &[0.0, 0.0, 2.0, 0.0], &[1.0]);
        let want = [((49.0 + 4.0 + 4.0) / 3.0f64).sqrt(), (100.0f64 / 3.0).sqrt()];
        assert_eq!(squares.curve(), Curve(want.to_vec()));
    }
}
