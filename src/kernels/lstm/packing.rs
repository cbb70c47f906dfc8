//! How the sequences of a batch lie in memory.

use crate::error::{Error, Result};
use crate::order;

/// The rows of a batch, time step by time step, as PyTorch's
/// [`PackedSequence`](https://pytorch.org/docs/stable/generated/torch.nn.utils.rnn.PackedSequence.html): the longest sequence
/// comes first, so that the sequences that are not over at a step are the first ones, and a sequence that is over has no row
/// and costs nothing. With equal lengths this is `[T, N]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packing {
    first: Vec<usize>, // [T + 1], the row where each step begins
}

/// One step of a walk through time, forwards or in reverse. Sequence `n` of the step has row `row + n`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub t: usize,
    /// First row of the step.
    pub row: usize,
    /// Sequences that have the step.
    pub present: usize,
    /// Sequences that also have the step walked before it; the others start here.
    pub ongoing: usize,
    /// Sequences that have the step walked after it. Those beyond `present` start there, or those beyond these end here.
    pub joining: usize,
}

impl Packing {
    /// `batch` sequences of `steps` steps each.
    pub fn even(steps: usize, batch: usize) -> Self {
        Self { first: (0..=steps).map(|t| t * batch).collect() }
    }

    /// Sequences of these lengths, at most `steps` each and in any order, and the order in which they are packed: the longest
    /// first, equal ones as they came.
    ///
    /// # Errors
    /// If there is no sequence, or one is empty or longer than `steps`.
    pub fn new(lengths: &[usize], steps: usize) -> Result<(Self, Vec<usize>)> {
        let wrong = |problem: String, remedy: &str| Err(Error::option("lengths", problem, remedy));
        if lengths.is_empty() {
            return wrong("are none".into(), "give one for each sequence");
        }
        if let Some(n) = lengths.iter().position(|&length| length == 0) {
            return wrong(format!("are 0 for sequence {n}"), "leave empty sequences out");
        }
        if let Some(n) = lengths.iter().position(|&length| length > steps) {
            let problem = format!("are {} for sequence {n}, and the batch has {steps} time steps", lengths[n]);
            return wrong(problem, "cut the sequence, or give more time steps");
        }
        let order = order::by_key(lengths.len(), |n| !(lengths[n] as u64));
        let mut first = vec![0];
        let mut active = lengths.len();
        for t in 0..lengths[order[0]] {
            while lengths[order[active - 1]] <= t {
                active -= 1;
            }
            first.push(first[t] + active);
        }
        Ok((Self { first }, order))
    }

    /// T, steps of the longest sequence.
    pub fn steps(&self) -> usize {
        self.first.len() - 1
    }
    /// N, sequences.
    pub fn batch(&self) -> usize {
        self.active(0)
    }
    /// Rows in all: the sum of the lengths.
    pub fn rows(&self) -> usize {
        self.first[self.steps()]
    }
    /// The row where step `t` begins.
    pub fn row(&self, t: usize) -> usize {
        self.first[t]
    }
    /// Sequences that have step `t`.
    pub fn active(&self, t: usize) -> usize {
        if t < self.steps() { self.first[t + 1] - self.first[t] } else { 0 }
    }
    /// Those of each step.
    pub(super) fn actives(&self) -> Vec<usize> {
        (0..self.steps()).map(|t| self.active(t)).collect()
    }
    /// Whether all sequences are equally long.
    pub fn is_even(&self) -> bool {
        self.rows() == self.steps() * self.batch()
    }
    /// Steps `from .. to` of equally long sequences.
    ///
    /// # Panics
    /// If the sequences differ in length.
    pub fn part(&self, from: usize, to: usize) -> Self {
        assert!(self.is_even(), "parts of sequences of unequal length");
        Self::even(to - from, self.batch())
    }
    /// The row of each sequence's last step.
    pub fn last_rows(&self) -> Vec<usize> {
        let last = |n: usize| (0..self.steps()).rfind(|&t| n < self.active(t)).expect("no sequence is empty");
        (0..self.batch()).map(|n| self.row(last(n)) + n).collect()
    }
    /// The sequence that each row belongs to.
    pub fn sequences(&self) -> Vec<usize> {
        (0..self.steps()).flat_map(|t| 0..self.active(t)).collect()
    }

    /// `[N, T, width]` in the callers' order as rows. Values past a sequence's end are left out.
    pub fn pack<V: Copy>(&self, order: &[usize], padded: &[V], width: usize) -> Vec<V> {
        let steps = padded.len() / (order.len() * width);
        let row = |t: usize, n: usize| &padded[(order[n] * steps + t) * width..][..width];
        (0..self.steps()).flat_map(|t| (0..self.active(t)).flat_map(move |n| row(t, n))).copied().collect()
    }

    /// Rows as `[N, steps, width]` in the callers' order, `fill` past a sequence's end.
    pub fn unpack<V: Copy>(&self, order: &[usize], rows: &[V], width: usize, steps: usize, fill: V) -> Vec<V> {
        let mut padded = vec![fill; order.len() * steps * width];
        for t in 0..self.steps() {
            for (n, &place) in order.iter().enumerate().take(self.active(t)) {
                let row = &rows[(self.row(t) + n) * width..][..width];
                padded[(place * steps + t) * width..][..width].copy_from_slice(row);
            }
        }
        padded
    }

    /// The steps in the order in which a direction takes them.
    pub(super) fn walk(&self, reverse: bool) -> impl DoubleEndedIterator<Item = Step> + '_ {
        (0..self.steps()).map(move |index| self.step(index, reverse))
    }

    /// Step `index` of those.
    pub(super) fn step(&self, index: usize, reverse: bool) -> Step {
        let t = if reverse { self.steps() - 1 - index } else { index };
        let (present, earlier, later) =
            (self.active(t), if t > 0 { self.active(t - 1) } else { 0 }, self.active(t + 1));
        let (before, joining) = if reverse { (later, earlier) } else { (earlier, later) };
        Step { t, row: self.row(t), present, ongoing: present.min(before), joining }
    }
}

#[cfg(test)]
mod tests {
    use super::Packing;

    #[test]
    fn unequal_lengths_are_packed_and_unpacked() {
        let lengths = [2, 4, 1, 4];
        let (packing, order) = Packing::new(&lengths, 5).unwrap();
        assert_eq!(order, [1, 3, 0, 2]);
        assert_eq!((packing.steps(), packing.batch(), packing.rows()), (4, 4, 11));
        assert_eq!((0..5).map(|t| packing.active(t)).collect::<Vec<_>>(), [4, 3, 2, 2, 0]);
        assert_eq!(packing.last_rows(), [9, 10, 6, 3]);
        assert_eq!(packing.sequences(), [0, 1, 2, 3, 0, 1, 2, 0, 1, 0, 1]);
        let padded: Vec<i32> = (0..4 * 4 * 2).collect();
        let rows = packing.pack(&order, &padded, 2);
        assert_eq!(rows.len(), 22);
        assert_eq!(rows[..8], [8, 9, 24, 25, 0, 1, 16, 17]);
        let back = packing.unpack(&order, &rows, 2, 5, -1);
        for (n, &length) in lengths.iter().enumerate() {
            assert_eq!(back[n * 10..][..2 * length], padded[n * 8..][..2 * length]);
            assert!(back[n * 10 + 2 * length..(n + 1) * 10].iter().all(|&value| value == -1));
        }
        assert_eq!(Packing::new(&[3, 3], 3).unwrap().0, Packing::even(3, 2));
        let refused = |lengths: &[usize]| Packing::new(lengths, 5).unwrap_err().to_string();
        assert!(refused(&[]).starts_with("option `lengths`: are none"));
        assert!(refused(&[2, 0]).starts_with("option `lengths`: are 0 for sequence 1"));
        assert!(
            refused(&[5, 2, 6]).starts_with("option `lengths`: are 6 for sequence 2, and the batch has 5 time steps")
        );
    }

    #[test]
    fn both_walks_agree_on_who_continues() {
        let (packing, _) = Packing::new(&[5, 1, 3, 3, 2], 5).unwrap();
        for reverse in [false, true] {
            let steps: Vec<_> = packing.walk(reverse).collect();
            assert_eq!(steps[0].ongoing, 0);
            assert_eq!(steps[4].joining, 0);
            for pair in steps.windows(2) {
                assert_eq!(pair[0].present.min(pair[0].joining), pair[1].ongoing);
                assert_eq!(pair[0].joining, pair[1].present);
            }
        }
    }
}
