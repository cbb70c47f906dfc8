//! Activated gates → how often they are shut or wide open, and how long the cells remember.

use serde::Serialize;

use crate::order;

/// Outside of these a gate's derivative is below 0.09, of at most 0.25.
const SHUT: f32 = 0.1;
const OPEN: f32 = 0.9;

/// Shares of a gate's values near its two ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Ends {
    /// Below 0.1.
    pub shut: f64,
    /// Above 0.9.
    pub open: f64,
}

/// What the gates of one direction of one layer do, over all windows, steps and units.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Gates {
    /// The input gate i.
    pub input: Ends,
    /// The forget gate f.
    pub forget: Ends,
    /// The output gate o.
    pub output: Ends,
    /// Share of the cell candidates g beyond ± 0.9.
    pub candidate: f64,
    /// f̄, the mean forget gate.
    pub forget_mean: f64,
    /// The median over the units of 1/(1 − f̄), the steps after which a cell holds 1/e of what it held; what zoneout keeps
    /// counts as not forgotten. Infinite where nothing is forgotten.
    pub memory: f64,
}

/// Counts on the way to [`Gates`].
#[derive(Clone)]
pub(super) struct Count {
    rows: usize,
    shut: [usize; 4],
    open: [usize; 4],
    forget: Vec<f64>, // [H], sums
}

impl Count {
    pub(super) fn new(hidden: usize) -> Self {
        Self { rows: 0, shut: [0; 4], open: [0; 4], forget: vec![0.0; hidden] }
    }

    /// Adds `gates` `[rows, 4H]`.
    pub(super) fn add(&mut self, gates: &[f32]) {
        let hidden = self.forget.len();
        for row in gates.chunks_exact(4 * hidden) {
            for (gate, values) in row.chunks_exact(hidden).enumerate() {
                self.shut[gate] += values.iter().filter(|value| **value < SHUT).count();
                // g is the one with a sign.
                self.open[gate] += values.iter().filter(|value| value.abs() > OPEN).count();
            }
            self.forget.iter_mut().zip(&row[hidden..]).for_each(|(sum, value)| *sum += f64::from(*value));
            self.rows += 1;
        }
    }

    /// The shares; of c, zoneout keeps `kept` from step to step.
    pub(super) fn finish(self, kept: f64) -> Gates {
        let hidden = self.forget.len();
        let share = |count: usize| count as f64 / (self.rows * hidden).max(1) as f64;
        let ends = |gate: usize| Ends { shut: share(self.shut[gate]), open: share(self.open[gate]) };
        let means = self.forget.iter().map(|sum| sum / self.rows.max(1) as f64);
        let memories: Vec<f64> = means.clone().map(|mean| 1.0 / ((1.0 - kept) * (1.0 - mean)).max(0.0)).collect();
        let order = order::by_key(hidden, |unit| order::key_of(memories[unit]));
        let memory = match hidden % 2 {
            0 => (memories[order[hidden / 2 - 1]] + memories[order[hidden / 2]]) / 2.0,
            _ => memories[order[hidden / 2]],
        };
        Gates {
            input: ends(0),
            forget: ends(1),
            output: ends(3),
            candidate: share(self.open[2]),
            forget_mean: means.sum::<f64>() / hidden as f64,
            memory,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows of two units.
    const GATES: [f32; 16] =
        [0.05, 0.95, 0.5, 0.75, -0.95, 0.05, 0.5, 0.5, 0.1, 0.95, 0.5, 1.0, 0.95, -0.5, 0.01, 0.02];

    #[test]
    fn ends_and_means_are_counted() {
        let mut count = Count::new(2);
        count.add(&GATES[..8]);
        count.add(&GATES[8..]);
        let gates = count.clone().finish(0.0);
        assert_eq!(gates.input, Ends { shut: 0.25, open: 0.5 });
        assert_eq!((gates.forget, gates.output), (Ends { shut: 0.0, open: 0.25 }, Ends { shut: 0.5, open: 0.0 }));
        assert_eq!((gates.candidate, gates.forget_mean), (0.5, 0.6875));
        // 1/(1 − 0.5) and 1/(1 − 0.875).
        assert_eq!(gates.memory, 5.0);
        assert_eq!(count.finish(0.5).memory, 10.0);
    }

    #[test]
    fn who_forgets_nothing_remembers_for_ever() {
        let mut count = Count::new(1);
        count.add(&[0.5, 1.0, 0.0, 0.5]);
        assert_eq!(count.finish(0.0).memory, f64::INFINITY);
    }
}
