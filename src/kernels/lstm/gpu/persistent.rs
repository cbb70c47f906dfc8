//! A dispatch for all time steps of one direction of one layer, or of both, the recurrent weights on chip. Layers follow
//! each other, or walk back side by side, each a chunk of steps after the one above; what goes from one to another are products over
//! all steps, or those of a chunk.

mod full;

use std::ops::Range;

use bytemuck::Zeroable;

use super::masks::{self, Zoneout};
use super::strategy::Tiles;
use super::waves::Company;
use super::weights::{Layout, padded};
use super::{
    CellTape, LayerTape, LstmShape, LstmState, Pass, Tape, after_layer, before_layer, drop_weights, give_start,
    input_gradient, input_products, take_final,
};
use crate::device::{Gpu, GpuBuffer, Kernel, kernel, params};
use crate::kernels::Matrix;
use crate::kernels::rows::{Listed, Rows, RowsShape};
use crate::kernels::unroll::{Constant, unrolled};

params! {
    struct StepsParams { rows: u32, steps: u32, place: u32 }
}
params! {
    /// Of all kernels that walk through time; 0 where one has no use for a number.
    struct WalkParams {
        begin: u32, begin_apart: u32, chunk: u32, cell: u32, cell_apart: u32, rows_apart: u32, mask_apart: u32,
        state_apart: u32, norm_apart: u32, layers: u32, steps: u32, batch: u32, even: u32, paired: u32, table: u32,
        weights: u32, weights_apart: u32, x: u32, w_ih: u32, b_ih: u32, b_hh: u32, biases: u32, parameters_apart: u32,
        w_hr: u32, gains: u32, sums: u32, start: u32, outputs: u32, shared_output: u32, has_start: u32,
        d_y_from: u32, d_y_row: u32, has_final: u32, wants_start: u32, masked: u32,
        zoneout: u32, first_step: u32, limit_h: u32, limit_c: u32, rate_h: f32, rate_c: f32, seed_0: u32, seed_1: u32,
        group: u32,
    }
}
static STEPS: Kernel = kernel!("lstm_steps", StepsParams, [Read, Write]);
static FORWARD: Kernel = kernel!(
    "lstm_persistent_forward"
        + "lstm_persistent_shared"
        + "lstm_persistent_pairs"
        + "lstm_persistent_alone"
        + "lstm_persistent_held"
        + "lstm_gates"
        + "lstm_zone",
    WalkParams,
    [Read, Read, Read, Read, Write, Write, Write, Write]
);
static BACKWARD: Kernel = kernel!(
    "lstm_persistent_backward"
        + "lstm_persistent_shared"
        + "lstm_persistent_pairs"
        + "lstm_persistent_alone"
        + "lstm_persistent_held"
        + "lstm_gates"
        + "lstm_zone",
    WalkParams,
    [Read, Read, Read, Read, Read, Write, Write]
);
// The same with parts that are neighbours in a subgroup; a page has none of those.
#[cfg(not(target_arch = "wasm32"))]
static FORWARD_LANES: Kernel = kernel!(
    "lstm_persistent_forward"
        + "lstm_persistent_shared"
        + "lstm_persistent_pairs"
        + "lstm_persistent_lanes"
        + "lstm_persistent_held"
        + "lstm_gates"
        + "lstm_zone",
    WalkParams,
    [Read, Read, Read, Read, Write, Write, Write, Write]
);
#[cfg(not(target_arch = "wasm32"))]
static BACKWARD_LANES: Kernel = kernel!(
    "lstm_persistent_backward"
        + "lstm_persistent_shared"
        + "lstm_persistent_pairs"
        + "lstm_persistent_lanes"
        + "lstm_persistent_held"
        + "lstm_gates"
        + "lstm_zone",
    WalkParams,
    [Read, Read, Read, Read, Read, Write, Write]
);
pub(super) static KERNELS: &[&[&Kernel]] = &[
    &[
        &STEPS,
        &FORWARD,
        &BACKWARD,
        #[cfg(not(target_arch = "wasm32"))]
        &FORWARD_LANES,
        #[cfg(not(target_arch = "wasm32"))]
        &BACKWARD_LANES,
    ],
    full::KERNELS,
];

/// The plain kernels, forward and backward. What tells those of the same names apart are the constants that this looks at.
fn kernels(cut: &Cut) -> [&'static Kernel; 2] {
    match cut {
        #[cfg(not(target_arch = "wasm32"))]
        Cut { near: true, parts: 2.., .. } => [&FORWARD_LANES, &BACKWARD_LANES],
        _ => [&FORWARD, &BACKWARD],
    }
}

/// WebGPU's default limits.
const INVOCATIONS: usize = 256;
const WORKGROUP_BYTES: usize = 16_384;

/// Products of a block and a sequence that a plain kernel has side by side, each written out: with twice as many a software adapter
/// compiles for half a minute.
const WRITTEN_OUT: usize = 64;

/// A kernel and how many sequences one of its workgroups takes.
struct Tiled {
    kernel: &'static Kernel,
    sequences: usize,
}

/// `count` over at most `threads` invocations, then what is left of those over parts of `along`: invocations, items of one,
/// parts, items of a part.
fn split(count: usize, along: usize, threads: usize) -> [usize; 4] {
    let across = count.min(threads);
    let parts = (threads / across).min(along);
    [across, count.div_ceil(across), parts, along.div_ceil(parts)]
}

/// How a plain kernel's work is cut.
struct Cut {
    threads: usize, // invocations of a part
    items: usize,   // units, or fours of units, of an invocation
    parts: usize,
    blocks: usize, // of a part for each item
    /// Whether the sums of all parts stay with their invocations.
    near: bool,
    sequences: usize,
    /// How often what is read at a step has room in workgroup memory: twice if it can be written meanwhile for the next.
    sides: usize,
    /// Bytes of workgroup memory that all that takes.
    taken: usize,
}

impl Cut {
    fn constants(&self, tiles: &Tiles, shape: &LstmShape) -> [Constant; 12] {
        let [resident, held, holds] = tiles.on_chip(self.blocks, self.items, self.threads * self.parts, self.taken);
        [
            ("HIDDEN", shape.hidden_size),
            ("SEQUENCES", self.sequences),
            ("ITEM_THREADS", self.threads),
            ("ITEMS", self.items),
            ("PARTS", self.parts),
            ("BLOCKS", self.blocks),
            resident,
            held,
            holds,
            ("ZONEOUT", usize::from(shape.zones())),
            ("FAR", usize::from(!self.near)),
            ("SIDES", self.sides),
        ]
    }
}

impl Tiles {
    /// The most sequences, at most those wanted, that take no more than WebGPU's 16 KiB, some bytes `apart`.
    fn sequences_of(&self, bytes_each: usize, apart: usize) -> usize {
        self.sequences.min((WORKGROUP_BYTES - apart) / bytes_each).max(1)
    }

    fn invocations(&self) -> usize {
        self.threads.min(INVOCATIONS)
    }

    /// How many of the `blocks` of each of an invocation's `items` are in its registers and in workgroup memory, of which so many bytes
    /// are `taken`.
    fn on_chip(&self, blocks: usize, items: usize, invocations: usize, taken: usize) -> [Constant; 3] {
        let resident = blocks.min(self.blocks / items);
        let held = (blocks - resident).min(self.memory.saturating_sub(taken) / (64 * items * invocations));
        [("RESIDENT", resident), ("HELD", held), ("HOLDS", usize::from(held > 0))]
    }

    /// `count` items over the invocations, what is left of those over `along` blocks, of 16 bytes of a sequence each.
    fn cut(&self, count: usize, along: usize) -> Cut {
        let [threads, items, most, _] = split(count, along, self.invocations());
        let near = most == 1 || self.lanes > 1;
        let parts = if near { 1 << most.min(self.lanes.max(1)).ilog2() } else { most };
        let blocks = along.div_ceil(parts);
        let read = 16 * parts * blocks;
        let apart = if near { 0 } else { 16 * parts * count };
        let sequences = self.sequences_of(read + apart, 0).min((WRITTEN_OUT / items).max(1));
        let sides = if near && 2 * read * sequences <= WORKGROUP_BYTES { 2 } else { 1 };
        let taken = (sides * read + apart) * sequences;
        Cut { threads, items, parts, blocks, near, sequences, sides, taken }
    }

    fn forward_cut(&self, shape: &LstmShape) -> Cut {
        let padded = padded(shape.hidden_size);
        self.cut(padded, padded / 4)
    }

    /// `inputs` is what is multiplied along with h, of a first layer.
    fn forward(&self, shape: &LstmShape, inputs: usize) -> Tiled {
        if is_full(shape) {
            return self.full_forward(shape);
        }
        let cut = self.forward_cut(shape);
        let constants = [&cut.constants(self, shape)[..], &[("INPUTS", inputs)]].concat();
        Tiled { kernel: unrolled(kernels(&cut)[0], &constants), sequences: cut.sequences }
    }

    /// The inputs of the first layer if they are multiplied along with h, from a start state of zero; else none.
    fn inputs(&self, shape: &LstmShape) -> usize {
        let Cut { items, parts, sequences, .. } = self.forward_cut(shape);
        let pairs = items * sequences.div_ceil(parts);
        let few = shape.input_size <= self.inputs.min(4) && pairs <= 2;
        if few && !is_full(shape) { shape.input_size } else { 0 }
    }

    fn backward(&self, shape: &LstmShape) -> Tiled {
        if is_full(shape) {
            return self.full_backward(shape);
        }
        let padded = padded(shape.hidden_size);
        let cut = self.cut(padded / 4, padded);
        Tiled { kernel: unrolled(kernels(&cut)[1], &cut.constants(self, shape)), sequences: cut.sequences }
    }

    /// The kernels that these tiles make for a shape.
    pub fn kernels(&self, shape: &LstmShape) -> Vec<&'static Kernel> {
        let mut kernels = vec![self.forward(shape, 0).kernel, self.backward(shape).kernel];
        let inputs = self.inputs(shape);
        kernels.extend((inputs > 0).then(|| self.forward(shape, inputs).kernel));
        kernels
    }
}

/// Whether it takes more than the plain kernels do.
fn is_full(shape: &LstmShape) -> bool {
    shape.layer_norm || shape.proj_size > 0
}

/// What [`Tape::packed`] holds. Places are counted in fours but for that of the start states. What depends on the number of
/// steps comes last: a tape may be made for fewer than a pass's shape has.
struct Packed {
    cells: usize,
    weights: usize,    // fours of all recurrent weights
    projection: usize, // of one arrangement of one cell's projection
    gains: usize,      // of what layer normalisation needs of one cell's parameters
    start: usize,      // elements of the start states
    table: usize,      // fours of the first row of each step and their end
}

impl Packed {
    fn of(shape: &LstmShape) -> Self {
        let (padded, wide) = (padded(shape.hidden_size), padded(shape.width()));
        let only = |wanted: bool, len: usize| if wanted { len } else { 0 };
        Self {
            cells: shape.cells(),
            weights: Layout::PLAIN.place(shape, shape.cells(), false),
            projection: only(shape.proj_size > 0, padded * wide / 4),
            gains: only(shape.layer_norm, 3 * padded),
            start: only(is_full(shape), shape.cells() * shape.batch * (shape.width() + shape.hidden_size)),
            table: (shape.steps + 1).div_ceil(4),
        }
    }
    fn w_hr(&self) -> usize {
        self.weights
    }
    fn gains(&self) -> usize {
        self.w_hr() + 2 * self.cells * self.projection
    }
    fn start(&self) -> usize {
        4 * (self.gains() + self.cells * self.gains)
    }
    fn table(&self) -> usize {
        (self.start() + self.start).div_ceil(4)
    }
}

/// Elements of [`Tape::packed`].
pub(super) fn packed_len(shape: &LstmShape) -> usize {
    let packed = Packed::of(shape);
    // The plain kernels read whole rows of a matrix.
    4 * (packed.table() + packed.table.next_multiple_of(padded(shape.hidden_size)))
}

/// What one dispatch takes: of its first cell the steps from `begin` on, and how much more the number of each other cell and its
/// first step are, modulo 2³².
#[derive(Clone, Copy)]
struct Turn {
    cell: usize,
    cell_apart: usize,
    count: usize,
    begin: usize,
    begin_apart: usize,
}

impl Turn {
    /// Its cells and their first steps.
    fn each(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.count).map(move |index| {
            let more = |apart: usize| index.wrapping_mul(apart);
            (self.cell.wrapping_add(more(self.cell_apart)), self.begin.wrapping_add(more(self.begin_apart)))
        })
    }
}

/// The recurrences of a pass.
pub(super) struct Recurrences<'a> {
    gpu: &'a Gpu,
    pass: &'a Pass<'a>,
    tiles: Tiles,
    company: Company,
}

impl<'a> Recurrences<'a> {
    pub fn new(gpu: &'a Gpu, pass: &'a Pass, tiles: Tiles, company: Company) -> Self {
        Self { gpu, pass, tiles, company }
    }

    /// From the inputs of the first layer to the output of the last.
    pub fn forward(
        &self,
        params: &GpuBuffer,
        x: (&GpuBuffer, usize),
        start: Option<&LstmState<GpuBuffer>>,
        tape: &mut Tape,
    ) {
        let (gpu, pass, shape) = (self.gpu, self.pass, self.pass.shape);
        let inputs = if start.is_none() && !self.apart() { self.tiles.inputs(shape) } else { 0 };
        let by_itself = self.company != Company::Layers;
        self.prepare(params, start, tape);
        for cell in 0..shape.cells() {
            let (layer, direction) = (cell / shape.directions(), cell % shape.directions());
            if direction == 0 && by_itself {
                before_layer(gpu, pass, layer, 0..pass.rows(), false, tape);
            }
            let apart = if layer == 0 { inputs == 0 } else { by_itself };
            if apart {
                input_products(gpu, pass, (layer, direction), params, x, 0..pass.rows(), tape);
            }
            drop_weights(gpu, pass, (layer, direction), params, tape);
            Layout::PLAIN.pack_dropped(gpu, pass, cell, tape);
            masks::draw(gpu, pass, cell, &tape.sequences, &mut tape.layers[layer].cells[direction]);
            let cells = self.company.with(cell, shape);
            if cell + 1 < cells.end {
                continue;
            }
            for index in 0..self.turns(false) {
                let turn = self.turn(&cells, index, false);
                for (layer, begin) in turn.each().filter(|(layer, _)| *layer > 0 && !by_itself) {
                    let rows = self.rows(begin, false);
                    before_layer(gpu, pass, layer, rows.clone(), false, tape);
                    input_products(gpu, pass, (layer, 0), params, x, rows, tape);
                }
                match is_full(shape) {
                    true => self.full_forward(&cells, turn, start.is_some(), tape),
                    false => self.plain_forward(&cells, turn, start, params, x, inputs, tape),
                }
            }
        }
    }

    /// The arrangement of the weights of all layers, the start states where full kernels read them, and the first rows of the steps.
    fn prepare(&self, params: &GpuBuffer, start: Option<&LstmState<GpuBuffer>>, tape: &mut Tape) {
        let (gpu, pass) = (self.gpu, self.pass);
        Layout::PLAIN.pack_all(gpu, pass, params, tape);
        if is_full(pass.shape) {
            full::pack_all(gpu, pass, params, start, tape);
        }
        if !pass.packing.is_even() {
            let (rows, steps) = (pass.rows() as u32, pass.packing.steps() as u32);
            let params = StepsParams { rows, steps, place: 4 * Packed::of(pass.shape).table() as u32 };
            gpu.run(&STEPS, &params, &[&tape.sequences, &tape.packed], [1, 1, 1]);
        }
    }

    /// Steps of each dispatch of a cell.
    fn chunk(&self, back: bool) -> usize {
        // Where layers walk back side by side, unless that is too few for one more dispatch.
        const LEAST: usize = 16;
        let (shape, steps) = (self.pass.shape, self.pass.packing.steps());
        let together = match self.company {
            Company::None => 1,
            Company::Directions => 2,
            Company::Layers => shape.num_layers,
        };
        let most = self.gpu.tuning().at_a_time(steps.min(self.tiles.steps), 1, self.of_step(together));
        match self.company {
            Company::Layers if back => steps.div_ceil(self.tiles.chunks).max(LEAST).min(most),
            _ => most,
        }
    }

    /// Operations of the products of one step of so many cells.
    fn of_step(&self, cells: usize) -> u64 {
        let shape = self.pass.shape;
        2 * (shape.gates() * shape.width()) as u64 * (self.pass.batch() * cells) as u64
    }

    /// The chunks that dispatch `index` takes of `cells`, which go together, on the way forward or on the way `back`: each cell
    /// and the first step of its chunk.
    fn turn(&self, cells: &Range<usize>, index: usize, back: bool) -> Turn {
        let (chunk, layers) = (self.chunk(back), self.pass.shape.num_layers);
        let chunks = self.pass.packing.steps().div_ceil(chunk);
        let begin = |behind: usize| chunk * if back { chunks - 1 + behind - index } else { index - behind };
        if self.company != Company::Layers {
            return Turn { cell: cells.start, cell_apart: 1, count: cells.len(), begin: begin(0), begin_apart: 0 };
        }
        // Layers that are behind the first by so many dispatches.
        let (from, to) = ((index + 1).saturating_sub(chunks), layers.min(index + 1));
        let [cell, cell_apart, begin_apart] =
            if back { [layers - 1 - from, usize::MAX, chunk] } else { [from, 1, chunk.wrapping_neg()] };
        Turn { cell, cell_apart, count: to - from, begin: begin(from), begin_apart }
    }

    /// How many there are.
    fn turns(&self, back: bool) -> usize {
        let more = if self.company == Company::Layers { self.pass.shape.num_layers - 1 } else { 0 };
        self.pass.packing.steps().div_ceil(self.chunk(back)) + more
    }

    /// Whether a dispatch on the way forward takes several layers.
    fn apart(&self) -> bool {
        self.company == Company::Layers && self.pass.packing.steps() > self.chunk(false)
    }

    /// The rows of a chunk.
    fn rows(&self, begin: usize, back: bool) -> Range<usize> {
        let packing = self.pass.packing;
        packing.row(begin)..packing.row(packing.steps().min(begin + self.chunk(back)))
    }

    fn plain_forward(
        &self,
        cells: &Range<usize>,
        turn: Turn,
        start: Option<&LstmState<GpuBuffer>>,
        params_of: &GpuBuffer,
        x: (&GpuBuffer, usize),
        inputs: usize,
        tape: &Tape,
    ) {
        let shape = self.pass.shape;
        let (h_0, c_0) = start.map_or((params_of, params_of), |start| (&start.h, &start.c));
        let places = shape.cell(0, 0);
        let (b_ih, b_hh) = places.bias.unwrap_or_default();
        let inputs = if turn.cell < shape.directions() { inputs } else { 0 };
        let Tiled { kernel, sequences } = self.tiles.forward(shape, inputs);
        let h_0 = if inputs > 0 { x.0 } else { h_0 };
        let LayerTape { cells: of_layer, y, .. } = &tape.layers[cells.start / shape.directions()];
        let cell = &of_layer[cells.start % shape.directions()];
        let [mask, gates, h_in, c] =
            [&cell.mask, &cell.gates, &cell.h_in, &cell.c].map(|buffer| self.company.all_of(buffer));
        let params = WalkParams {
            x: x.1 as u32,
            w_ih: places.weight_ih as u32,
            b_ih: b_ih as u32,
            b_hh: b_hh as u32,
            biases: u32::from(shape.bias),
            parameters_apart: shape.cell_len(0) as u32,
            has_start: u32::from(start.is_some()),
            ..self.params(turn, false, cell)
        };
        let buffers = [&tape.packed, h_0, c_0, mask, gates, h_in, c, y];
        self.run(kernel, &params, &buffers, sequences, turn.count);
    }

    /// All steps of the cells that go together with `cell`, from the last to the first.
    pub fn backward(
        &self,
        cell: usize,
        params: &GpuBuffer,
        upstream: Option<(&GpuBuffer, usize)>,
        d_final: Option<&LstmState<GpuBuffer>>,
        tape: &mut Tape,
        d_start: Option<&mut LstmState<GpuBuffer>>,
    ) {
        let (gpu, pass, shape) = (self.gpu, self.pass, self.pass.shape);
        let (cells, directions) = (self.company.with(cell, shape), shape.directions());
        let place = |cell: usize| (cell / directions, cell % directions);
        if let Some(state) = d_final {
            for (layer, direction) in cells.clone().map(place) {
                let cell = layer * directions + direction;
                take_final(gpu, pass, cell, state, &mut tape.layers[layer].cells[direction]);
            }
        }
        let ends = [d_final.is_some(), d_start.is_some()];
        let stacked = self.company == Company::Layers;
        if let Some((d_y, from)) = upstream.filter(|_| stacked && is_full(shape)) {
            // To where the other layers have what comes from above: these kernels have no buffer left for both.
            let (row, width) = (pass.packing.row(from), shape.width());
            let to = Matrix::rows(row * width, width);
            let rows = RowsShape { rows: pass.rows() - row, width, from: Matrix::rows(0, width), to };
            gpu.copy_rows(&rows, Listed::No, d_y, &mut tape.between);
        }
        for index in 0..self.turns(true) {
            let turn = self.turn(&cells, index, true);
            match is_full(shape) {
                true => self.full_backward(&cells, turn, upstream, tape, ends),
                false => self.plain_backward(&cells, turn, upstream, tape, ends),
            }
            for (layer, begin) in turn.each().filter(|(layer, _)| *layer > 0 && stacked) {
                let Tape { layers, between, .. } = &mut *tape;
                let rows = self.rows(begin, true);
                input_gradient(gpu, pass, (layer, 0), params, rows.clone(), layers, (between, 0));
                after_layer(gpu, pass, layer, rows, tape);
            }
        }
        if let Some(state) = d_start {
            for (layer, direction) in cells.map(place) {
                give_start(gpu, pass, layer * directions + direction, &tape.layers[layer].cells[direction], state);
            }
        }
    }

    fn plain_backward(
        &self,
        cells: &Range<usize>,
        turn: Turn,
        upstream: Option<(&GpuBuffer, usize)>,
        tape: &Tape,
        [has_final, wants_start]: [bool; 2],
    ) {
        let (pass, shape) = (self.pass, self.pass.shape);
        let Tiled { kernel, sequences } = self.tiles.backward(shape);
        let Tape { layers, between, packed: packed_weights, .. } = tape;
        let (d_y, from) = upstream.unwrap_or((between, 0));
        let cell = &layers[cells.start / shape.directions()].cells[cells.start % shape.directions()];
        let [c, mask, gates, d_state] =
            [&cell.c, &cell.mask, &cell.gates, &cell.d_state].map(|buffer| self.company.all_of(buffer));
        let params = WalkParams {
            d_y_from: from as u32,
            d_y_row: pass.packing.row(from) as u32,
            has_final: u32::from(has_final),
            wants_start: u32::from(wants_start),
            ..self.params(turn, true, cell)
        };
        let buffers = [packed_weights, d_y, between, c, mask, gates, d_state];
        self.run(kernel, &params, &buffers, sequences, turn.count);
    }

    /// What all kernels have, of the cells that go together with that of `tape`.
    fn params(&self, turn: Turn, back: bool, tape: &CellTape<GpuBuffer>) -> WalkParams {
        let (pass, shape, company) = (self.pass, self.pass.shape, self.company);
        let zoneout = Zoneout::of(pass);
        WalkParams {
            begin: turn.begin as u32,
            begin_apart: turn.begin_apart as u32,
            chunk: self.chunk(back) as u32,
            cell: turn.cell as u32,
            cell_apart: turn.cell_apart as u32,
            rows_apart: (company.apart(&tape.gates) / shape.gates()) as u32,
            mask_apart: company.apart(&tape.mask) as u32,
            state_apart: company.apart(&tape.d_state) as u32,
            norm_apart: company.apart(&tape.norm) as u32,
            layers: self.layers(),
            steps: pass.packing.steps() as u32,
            batch: pass.batch() as u32,
            even: u32::from(pass.packing.is_even()),
            paired: u32::from(self.pairs()),
            table: Packed::of(shape).table() as u32,
            weights: Layout::PLAIN.place(shape, turn.cell, back) as u32,
            weights_apart: turn.cell_apart.wrapping_mul(Layout::PLAIN.place(shape, 1, false)) as u32,
            outputs: shape.output_size() as u32,
            shared_output: u32::from(shape.shares_output()),
            masked: u32::from(pass.recurrent_drop(turn.cell).is_some()),
            zoneout: zoneout.kind,
            first_step: zoneout.step(pass.first_step),
            limit_h: zoneout.limit_h,
            limit_c: zoneout.limit_c,
            rate_h: zoneout.rate_h,
            rate_c: zoneout.rate_c,
            seed_0: zoneout.seed[0],
            seed_1: zoneout.seed[1],
            ..WalkParams::zeroed()
        }
    }

    /// Layers of a stack that walk back side by side.
    fn layers(&self) -> u32 {
        if self.company == Company::Layers { self.pass.shape.num_layers as u32 } else { 0 }
    }

    /// Whether workgroups take long and short sequences by turns: where each thread of a processor is given as many of them in a
    /// row. Multiprocessors take one when they are free, the longest first.
    fn pairs(&self) -> bool {
        self.gpu.is_software() && !self.pass.packing.is_even()
    }

    /// A dispatch for a chunk of so many cells, whose workgroups take so many `sequences`, or several where a single step of all
    /// sequences would take too long.
    fn run(
        &self,
        kernel: &'static Kernel,
        params: &WalkParams,
        buffers: &[&GpuBuffer],
        sequences: usize,
        cells: usize,
    ) {
        let groups = self.pass.batch().div_ceil(sequences);
        let of_group = self.of_step(cells) * u64::from(params.chunk) / groups as u64;
        for groups in self.gpu.tuning().pieces(groups, 1, of_group) {
            let params = WalkParams { group: groups.start as u32, ..*params };
            self.gpu.run(kernel, &params, buffers, [groups.len() as u32, 1, cells as u32]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LstmShape, Packed, packed_len, padded};

    #[test]
    fn the_table_of_steps_is_in_whole_rows() {
        for (hidden_size, steps) in [(1, 1), (4, 9), (9, 37), (18, 3), (64, 256), (191, 4000)] {
            let shape = LstmShape { hidden_size, steps, num_layers: 2, bidirectional: true, ..LstmShape::default() };
            let (row, packed) = (4 * padded(hidden_size), Packed::of(&shape));
            assert!(packed_len(&shape).is_multiple_of(row), "{hidden_size} units, {steps} steps");
            assert!(packed_len(&shape) > 4 * packed.table() + steps, "{hidden_size} units, {steps} steps");
            assert!((4 * packed.table()).is_multiple_of(row), "{hidden_size} units, {steps} steps");
        }
    }
}
