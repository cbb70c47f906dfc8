//! Which cells, each one direction of one layer, go together in one dispatch, and which step each has where that is one step.

use std::ops::Range;

use super::step_kernels::{Steps, packed_len};
use super::{CellTape, LstmShape, Pass, Strategy, Tape};
use crate::device::{Gpu, GpuBuffer, Twenty};
use crate::kernels::lstm::packing::Step;

/// The cells that one dispatch takes: each at a step of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Company {
    /// One.
    None,
    /// Both directions of a layer.
    Directions,
    /// All layers of a stack, each a step, or a chunk of them, after the one below; in one dispatch of steps [`Wave::MOST`] at most.
    Layers,
}

impl Company {
    /// Of the cells of a shape. Where a stack goes step by step the weights of its inputs have to fit, too; the plain kernels
    /// take one cell. Persistent kernels write `y` of one layer.
    pub fn of(gpu: &Gpu, shape: &LstmShape) -> Self {
        let fits = |steps| 4 * packed_len(steps, shape, true) as u64 <= gpu.largest_binding();
        let strategy = Strategy::of(gpu, shape);
        match strategy {
            Strategy::Steps(Steps::Plain) => Self::None,
            _ if shape.bidirectional => Self::Directions,
            _ if !shape.is_stack() => Self::None,
            Strategy::Persistent(tiles) if shape.shares_output() && tiles.chunks > 1 => Self::Layers,
            Strategy::Steps(steps) if fits(steps) && shape.hidden_size <= gpu.tuning().recurrence.stack_to => {
                Self::Layers
            }
            _ => Self::None,
        }
    }

    /// The same, where the buffers of all cells lie together; where they are too large for one binding each cell is by itself. None but
    /// what layer normalisation keeps, of few steps, is larger than the gates.
    pub fn in_tape(self, shape: &LstmShape, tape: &Tape) -> Self {
        let CellTape { gates, norm, .. } = &tape.layers[0].cells[0];
        let lie_together = gates.all().is_some() && (norm.all().is_some() || !shape.layer_norm);
        if lie_together { self } else { Self::None }
    }

    /// The cells that go together with this one.
    pub fn with(self, cell: usize, shape: &LstmShape) -> Range<usize> {
        match self {
            Self::None => cell..cell + 1,
            Self::Directions => cell / 2 * 2..cell / 2 * 2 + 2,
            Self::Layers => 0..shape.cells(),
        }
    }

    /// Whether `cell` is the first on the way back of those that go together with it.
    pub fn begins_back(self, cell: usize, shape: &LstmShape) -> bool {
        match self {
            Self::None => true,
            Self::Directions => cell.is_multiple_of(2),
            Self::Layers => cell + 1 == shape.cells(),
        }
    }

    /// What a dispatch binds of one kind of buffer.
    pub fn all_of(self, buffer: &GpuBuffer) -> &GpuBuffer {
        match self {
            Self::None => buffer,
            _ => buffer.whole(),
        }
    }

    /// Elements from one cell's buffer to the next one's in [`all_of`](Self::all_of).
    pub fn apart(self, buffer: &GpuBuffer) -> usize {
        match self {
            Self::None => 0,
            _ => buffer.apart(),
        }
    }
}

/// What a dispatch takes of cells that go together: its first cell at a step and its second, from which all differ by as much;
/// the first once more where there is no other.
pub(super) struct Wave {
    pub cells: [usize; 2],
    pub steps: [Step; 2],
    pub count: usize,
    /// First rows of time steps one after the other: those of all cells, and each with one earlier and two later. A step that there is
    /// not has no rows.
    pub rows: Twenty,
    /// Where among them the first cell's step is, and how much further the second's.
    pub place: [u32; 2],
}

impl Wave {
    /// Layers that one dispatch takes of a stack.
    const MOST: usize = std::mem::size_of::<Twenty>() / 4 - 3;

    /// `cell` by itself, at a step of its walk.
    pub fn one(pass: &Pass, cell: usize, index: usize) -> Self {
        Self::apart(pass, [cell; 2], [index; 2], 1)
    }

    /// One or two cells whose steps have nothing to do with each other, at those of their walks.
    fn apart(pass: &Pass, cells: [usize; 2], walked: [usize; 2], count: usize) -> Self {
        let steps = [0, 1].map(|place| pass.packing.step(walked[place], pass.is_reverse(cells[place])));
        let mut rows = Twenty::default();
        for (rows, step) in rows.chunks_exact_mut(4).zip(&steps) {
            first_rows(pass, step.t, rows);
        }
        Self { cells, steps, count, rows, place: [1, 4] }
    }

    /// Layers of a stack, whose steps lie beside each other.
    fn beside(pass: &Pass, cells: [usize; 2], walked: [usize; 2], count: usize) -> Self {
        let later = walked[1] > walked[0]; // from layer to layer
        let steps = walked.map(|t| pass.packing.step(t, false));
        let earliest = if later { walked[0] } else { walked[0] + 1 - count };
        let mut rows = Twenty::default();
        first_rows(pass, earliest, &mut rows);
        let place = [1 + walked[0] - earliest, if later { 1 } else { usize::MAX }].map(|number| number as u32);
        Self { cells, steps, count, rows, place }
    }

    /// Those that take all steps of `first` and of the cells that go together with it, one after the other; `back` on the way
    /// back.
    pub fn all(company: Company, pass: &Pass, first: usize, back: bool) -> impl Iterator<Item = Self> {
        let behind = if company == Company::Layers { pass.shape.num_layers - 1 } else { 0 };
        (0..pass.packing.steps() + behind).flat_map(move |index| Self::at(company, pass, first, index, back))
    }

    /// The cells that have a step at once: one, both directions, or the layers of which each is a step behind the one before, as
    /// many together as one dispatch takes.
    fn at(company: Company, pass: &Pass, first: usize, index: usize, back: bool) -> impl Iterator<Item = Self> {
        let (steps, layers) = (pass.packing.steps(), pass.shape.num_layers);
        let stacked = company == Company::Layers;
        let cells = match company {
            Company::None => 0..1,
            Company::Directions => 0..2,
            Company::Layers => (index + 1).saturating_sub(steps)..layers.min(index + 1),
        };
        let cell = move |number: usize| if stacked && back { layers - 1 - number } else { first + number };
        let walked = move |number: usize| {
            let walked = index - if stacked { number } else { 0 };
            if back { steps - 1 - walked } else { walked }
        };
        let (end, make) = (cells.end, if stacked { Self::beside } else { Self::apart });
        cells.step_by(Self::MOST).map(move |from| {
            let count = Self::MOST.min(end - from);
            let numbers = [from, from + count.min(2) - 1];
            make(pass, numbers.map(cell), numbers.map(walked), count)
        })
    }

    /// Numbers of the first cell, and how much more those of the second are.
    pub fn numbers<const N: usize>(&self, of: impl Fn(usize, &Step) -> [usize; N]) -> [[u32; N]; 2] {
        let [first, mut apart] =
            [0, 1].map(|place| of(self.cells[place], &self.steps[place]).map(|number| number as u32));
        for (apart, first) in apart.iter_mut().zip(first) {
            *apart = apart.wrapping_sub(first);
        }
        [first, apart]
    }

    /// The most sequences of any cell, those that only join among them or not. Of a stack's steps, which none joins, the earliest has
    /// most.
    pub fn sequences(&self, joining: bool) -> usize {
        let of = |step: &Step| if joining { step.present.max(step.joining) } else { step.present };
        of(&self.steps[0]).max(of(&self.steps[1])).max((self.rows[2] - self.rows[1]) as usize)
    }

    /// The workgroups of one cell for each of them.
    pub fn of_each(&self, [x, y, _]: [u32; 3]) -> [u32; 3] {
        [x, y, self.count as u32]
    }

    /// Whether sequences begin with a step.
    pub fn begins(&self) -> bool {
        self.steps.iter().any(|step| step.ongoing < step.present)
    }
}

/// First rows from the step before `t` on.
fn first_rows(pass: &Pass, t: usize, rows: &mut [u32]) {
    for (row, after) in rows.iter_mut().zip(t..) {
        *row = pass.packing.row(after.saturating_sub(1).min(pass.packing.steps())) as u32;
    }
}
