//! rayon; in WebAssembly, which has no threads where no server sends special headers, its names for doing one thing after the
//! other. There rayon would do the same with a pool of one, and be a tenth of all that a page loads.

#[cfg(not(target_arch = "wasm32"))]
pub use rayon::{current_num_threads, prelude};

#[cfg(target_arch = "wasm32")]
pub use one_by_one as prelude;
#[cfg(target_arch = "wasm32")]
pub use one_by_one::current_num_threads;

#[cfg(target_arch = "wasm32")]
pub mod one_by_one {
    use std::slice::{Chunks, ChunksExact, ChunksExactMut, ChunksMut, Iter};

    pub fn current_num_threads() -> usize {
        1
    }

    pub trait Slices<T> {
        fn par_iter(&self) -> Iter<'_, T>;
        fn par_chunks(&self, len: usize) -> Chunks<'_, T>;
        fn par_chunks_exact(&self, len: usize) -> ChunksExact<'_, T>;
        fn par_chunks_mut(&mut self, len: usize) -> ChunksMut<'_, T>;
        fn par_chunks_exact_mut(&mut self, len: usize) -> ChunksExactMut<'_, T>;
    }

    impl<T> Slices<T> for [T] {
        fn par_iter(&self) -> Iter<'_, T> {
            self.iter()
        }
        fn par_chunks(&self, len: usize) -> Chunks<'_, T> {
            self.chunks(len)
        }
        fn par_chunks_exact(&self, len: usize) -> ChunksExact<'_, T> {
            self.chunks_exact(len)
        }
        fn par_chunks_mut(&mut self, len: usize) -> ChunksMut<'_, T> {
            self.chunks_mut(len)
        }
        fn par_chunks_exact_mut(&mut self, len: usize) -> ChunksExactMut<'_, T> {
            self.chunks_exact_mut(len)
        }
    }

    pub trait Vectors<T>: Sized {
        fn into_par_iter(self) -> std::vec::IntoIter<T>;
    }

    impl<T> Vectors<T> for Vec<T> {
        fn into_par_iter(self) -> std::vec::IntoIter<T> {
            self.into_iter()
        }
    }

    /// Hints on how to share the work out.
    pub trait Lengths: Iterator + Sized {
        fn with_min_len(self, _: usize) -> Self {
            self
        }
        fn with_max_len(self, _: usize) -> Self {
            self
        }
    }

    impl<I: Iterator> Lengths for I {}
}
