//! A dispatch for every time step of one direction of one layer, or of all that go together: for every option and every size.
//! Two with a projection or with layer normalisation, which needs whole rows of gates, and three forwards with both. What
//! multiplies by the recurrent weights there is of three kinds: plain, in tiles, and by matrices of 16-bit numbers.

use std::ops::Range;

use bytemuck::Zeroable;

use super::masks::{self, Zoneout};
use super::step_kernels::{
    self, BACKWARD_STEP, FORWARD_PROJECT, StepKernel, StepParams, Steps, plain_grid, projection_place,
};
use super::waves::{Company, Wave};
use super::weights::Layout;
use super::{
    CellTape, LayerTape, LstmState, Pass, Tape, before_layer, drop_weights, give_start, input_products, take_final,
};
use crate::device::{Device, Gpu, GpuBuffer, Kernel, grid, kernel, params};
use crate::kernels::lstm::packing::Step;
use crate::kernels::lstm::shape::CellPlaces;
use crate::kernels::rows::{Listed, OF_ELEMENT, Rows, RowsShape};
use crate::kernels::{Matrix, Onto, Product, ProductShape};

params! {
    struct TransposeParams { rows: u32, columns: u32, place: u32, to: u32, before: u32 }
}
params! {
    struct StartParams {
        row: u32, present: u32, batch: u32, hidden: u32, width: u32,
        has_start: u32, start_h: u32, start_c: u32, masked: u32,
    }
}
static TRANSPOSE: Kernel = kernel!("transpose", TransposeParams, [Read, Write]);
static START: Kernel = kernel!("lstm_start", StartParams, [Read, Read, Read, Write, Write]);
static FORWARD_NORM_STEP: Kernel = kernel!(
    "lstm_forward_norm_step" + "lstm_publish" + "lstm_step_shared" + "lstm_gates" + "lstm_zone" + "workgroup_sum",
    StepParams,
    [Write, Read, Read, Write, Write, Write, Write, Write]
);
static BACKWARD_NORM_STEP: Kernel = kernel!(
    "lstm_backward_norm_step" + "lstm_step_shared" + "lstm_gates" + "lstm_zone" + "workgroup_sum",
    StepParams,
    [Read, Read, Read, Read, Write, Write, Write]
);
pub(super) static KERNELS: &[&Kernel] = &[&TRANSPOSE, &START, &FORWARD_NORM_STEP, &BACKWARD_NORM_STEP];

/// So many times as long as in tiles an operation takes in a plain kernel, which loads a number for each, in software.
const OF_PLAIN: u64 = 3;

/// The recurrences of a pass.
pub(super) struct Recurrences<'a> {
    gpu: &'a Gpu,
    pass: &'a Pass<'a>,
    zoneout: Zoneout,
    kind: Steps,
    company: Company,
    layout: Layout,
}

impl<'a> Recurrences<'a> {
    pub fn new(gpu: &'a Gpu, pass: &'a Pass, kind: Steps, company: Company) -> Self {
        let layout = kind.layout(Company::of(gpu, pass.shape) == Company::Layers);
        Self { gpu, pass, zoneout: Zoneout::of(pass), kind, company, layout }
    }

    /// Whether layers pass on what goes up and down by themselves.
    fn are_stacked(&self) -> bool {
        self.company == Company::Layers
    }

    fn grid(&self, backward: bool, units: usize, sequences: usize) -> [u32; 3] {
        step_kernels::grid(self.kind, self.pass.shape, backward, units, sequences)
    }

    fn masked(&self, cell: usize) -> bool {
        self.pass.recurrent_drop(cell).is_some()
    }

    /// From the inputs of the first layer to the output of the last; `keeps_zeros` if the start states are zero already.
    pub fn forward(
        &self,
        params: &GpuBuffer,
        x: (&GpuBuffer, usize),
        start: Option<&LstmState<GpuBuffer>>,
        tape: &mut Tape,
        keeps_zeros: bool,
    ) {
        let (gpu, pass, directions) = (self.gpu, self.pass, self.pass.shape.directions());
        if self.kind != Steps::Plain {
            self.layout.pack_all(gpu, pass, params, tape);
        }
        for cell in 0..pass.shape.cells() {
            let (layer, direction) = (cell / directions, cell % directions);
            if direction == 0 {
                before_layer(gpu, pass, layer, 0..pass.rows(), self.are_stacked(), tape);
            }
            if layer > 0 && self.are_stacked() {
                self.prepare_gates(layer, params, tape);
            } else {
                input_products(gpu, pass, (layer, direction), params, x, 0..pass.rows(), tape);
            }
            drop_weights(gpu, pass, (layer, direction), params, tape);
            self.prepare(cell, params, start, tape, keeps_zeros);
            let cells = self.company.with(cell, pass.shape);
            if cell + 1 == cells.end {
                self.walk(&cells, start, params, tape);
            }
        }
    }

    /// In this kind; that of stacks whose layers' ways part by itself, as it takes more registers.
    fn kernel(&self, kernel: &'static StepKernel) -> &'static Kernel {
        kernel.of(self.kind, self.pass.shape, self.are_stacked() && self.pass.shape.parts_ways())
    }

    /// Whether dropout lies between layers that pass on what goes up and down by themselves.
    fn drops(&self) -> bool {
        self.are_stacked() && self.pass.input_drop(1).is_some()
    }

    /// The biases of a layer whose input comes step by step.
    fn prepare_gates(&self, layer: usize, params: &GpuBuffer, tape: &mut Tape) {
        let (pass, shape) = (self.pass, self.pass.shape);
        let none = Matrix::rows(0, 0);
        let product = ProductShape { m: pass.rows(), n: shape.gates(), k: 0, a: none, b: none, c: 0 };
        let biases = shape.cell(layer, 0).early_biases();
        self.gpu.product(
            &product,
            params,
            params,
            Onto::Biases(params, &biases),
            &mut tape.layers[layer].cells[0].gates,
        );
    }

    /// The weights' arrangement, the masks and the start states of one cell.
    fn prepare(
        &self,
        cell: usize,
        params: &GpuBuffer,
        start: Option<&LstmState<GpuBuffer>>,
        tape: &mut Tape,
        keeps_zeros: bool,
    ) {
        let (gpu, pass, shape) = (self.gpu, self.pass, self.pass.shape);
        let (layer, direction) = (cell / shape.directions(), cell % shape.directions());
        let places = shape.cell(layer, direction);
        let transpose = |from: &GpuBuffer, place: usize, rows: usize, columns: usize, to: usize| {
            let count = rows * columns;
            let [rows, columns, place, to] = [rows, columns, place, to].map(|number| number as u32);
            let params = TransposeParams { rows, columns, place, to, before: 0 };
            gpu.run_each(&TRANSPOSE, &params, &[from, &tape.packed], count, OF_ELEMENT);
        };
        match pass.weight_drop(cell) {
            _ if self.kind != Steps::Plain => self.layout.pack_dropped(gpu, pass, cell, tape),
            Some(_) => transpose(&tape.dropped, pass.dropped_at(cell), shape.gates(), shape.width(), 0),
            None => transpose(params, places.weight_hh, shape.gates(), shape.width(), 0),
        }
        if let Some(place) = places.weight_hr {
            transpose(params, place, shape.proj_size, shape.hidden_size, self.projection_place(cell));
        }
        let masked = self.masked(cell);
        let own = &mut tape.layers[layer].cells[direction];
        self.prepare_norm(places, params, &mut own.norm);
        masks::draw(gpu, pass, cell, &tape.sequences, own);
        if keeps_zeros {
            return;
        }
        if shape.shares_output() && start.is_none() {
            gpu.zero(&mut own.h_in, 0, pass.batch() * shape.width());
            gpu.zero(&mut own.c, 0, pass.batch() * shape.hidden_size);
            return;
        }
        let first = pass.packing.step(0, direction == 1);
        let start_params = StartParams {
            row: first.row as u32,
            present: first.present as u32,
            batch: pass.batch() as u32,
            hidden: shape.hidden_size as u32,
            width: shape.width() as u32,
            has_start: u32::from(start.is_some()),
            start_h: pass.h_at(cell) as u32,
            start_c: pass.c_at(cell) as u32,
            masked: u32::from(masked),
        };
        let (h_0, c_0) = start.map_or((params, params), |start| (&start.h, &start.c));
        let buffers = [h_0, c_0, &own.mask, &own.h_in, &own.c];
        gpu.run(&START, &start_params, &buffers, grid(pass.batch() * shape.hidden_size, 64));
    }

    fn projection_place(&self, cell: usize) -> usize {
        projection_place(self.kind, self.layout, self.pass.shape, cell)
    }

    /// Copies the parameters that layer normalisation needs behind what it keeps.
    fn prepare_norm(&self, places: CellPlaces, params: &GpuBuffer, norm: &mut GpuBuffer) {
        let (own, gates) = (self.pass.norm_places::<Gpu>().own, self.pass.shape.gates());
        let Some(gains) = places.layer_norm else { return };
        let after = own + self.pass.shape.norm_parameters();
        let biases = places.bias.map(|(ih, hh)| [(ih, after, gates), (hh, after + gates, gates)]);
        for (from, to, width) in [(gains, own, after - own)].into_iter().chain(biases.into_iter().flatten()) {
            let shape = RowsShape { rows: 1, width, from: Matrix::rows(from, width), to: Matrix::rows(to, width) };
            self.gpu.copy_rows(&shape, Listed::No, params, norm);
        }
        if biases.is_none() {
            self.gpu.zero(norm, after, 2 * gates);
        }
    }

    /// A dispatch for a wave, or several where one would take too long. The workgroups are those of one of its cells, the operations
    /// those of all.
    fn run(
        &self,
        kernel: &'static Kernel,
        params: &StepParams,
        buffers: &[&GpuBuffer],
        wave: &Wave,
        [x, y, _]: [u32; 3],
        operations: u64,
    ) {
        let tuning = self.gpu.tuning();
        let of_group = operations / u64::from(x * y);
        for down in tuning.pieces(y as usize, 1, of_group * u64::from(x)) {
            for across in tuning.pieces(x as usize, 1, of_group * down.len() as u64) {
                let params = StepParams { group_x: across.start as u32, group_y: down.start as u32, ..*params };
                let grid = wave.of_each([across.len() as u32, down.len() as u32, 1]);
                self.gpu.run(kernel, &params, buffers, grid);
            }
        }
    }

    /// Operations of the products with the recurrent weights, and in a stack with those of the inputs, of so many sequences.
    fn operations(&self, wave: &Wave, sequences: usize) -> u64 {
        let (shape, products) = (self.pass.shape, 1 + usize::from(self.are_stacked()));
        let loads = if self.kind == Steps::Plain { OF_PLAIN } else { 1 };
        2 * loads * (shape.gates() * shape.width()) as u64 * (sequences * wave.count * products) as u64
    }

    /// Likewise of the products with the projection, which are plain.
    fn projecting(&self, wave: &Wave, sequences: usize) -> u64 {
        2 * OF_PLAIN * (self.pass.shape.hidden_size * self.pass.shape.width()) as u64 * (sequences * wave.count) as u64
    }

    /// All steps of `cells`, which go together.
    fn walk(&self, cells: &Range<usize>, start: Option<&LstmState<GpuBuffer>>, params: &GpuBuffer, tape: &Tape) {
        let (gpu, shape) = (self.gpu, self.pass.shape);
        let LayerTape { cells: of_layer, y, .. } = &tape.layers[cells.start / shape.directions()];
        let cell = &of_layer[cells.start % shape.directions()];
        let h_0 = start.map_or(params, |start| &start.h);
        let [gates, h_in, c, mask, norm, u] = [&cell.gates, &cell.h_in, &cell.c, &cell.mask, &cell.norm, &cell.u]
            .map(|buffer| self.company.all_of(buffer));
        let y = if self.are_stacked() { y.whole() } else { y };
        // With a projection what multiplies writes u and reads no start state; without, it is the other way round.
        let (h_0_or_drop, u_or_drop) = match self.drops() {
            true if shape.proj_size > 0 => (tape.layers[1].x.whole(), u),
            true => (h_0, tape.layers[1].x.whole()),
            false => (h_0, u),
        };
        let buffers = [&tape.packed, h_0_or_drop, mask, gates, h_in, c, y, u_or_drop];
        let normed = [norm, h_0, mask, gates, h_in, c, y, u];
        let projecting = [&tape.packed, h_0, mask, gates, h_in, c, y, u];
        let [forward, recur] = [&step_kernels::FORWARD, &step_kernels::RECUR].map(|kernel| self.kernel(kernel));
        for wave in Wave::all(self.company, self.pass, cells.start, false) {
            let params = self.forward_params(&wave, start.is_some(), cell);
            let [present, sequences] = [false, true].map(|joining| wave.sequences(joining));
            if shape.layer_norm {
                let groups = self.grid(false, shape.hidden_size, present);
                self.run(recur, &params, &buffers, &wave, groups, self.operations(&wave, present));
                gpu.run(&FORWARD_NORM_STEP, &params, &normed, wave.of_each(grid(sequences, 1)));
            } else {
                let groups = self.grid(false, shape.hidden_size, sequences);
                self.run(forward, &params, &buffers, &wave, groups, self.operations(&wave, present));
            }
            if shape.proj_size > 0 {
                let groups = plain_grid(shape.width(), sequences);
                self.run(&FORWARD_PROJECT, &params, &projecting, &wave, groups, self.projecting(&wave, present));
            }
        }
    }

    /// What both ways have.
    fn params(&self, wave: &Wave, tape: &CellTape<GpuBuffer>) -> StepParams {
        let (pass, shape, company, zoneout) = (self.pass, self.pass.shape, self.company, self.zoneout);
        let numbers = |cell: usize, at: &Step| [zoneout.step(pass.first_step + at.t) as usize, cell];
        let [[t, cell], [t_apart, cell_apart]] = wave.numbers(numbers);
        StepParams {
            step_rows: wave.rows,
            place: wave.place[0],
            place_apart: wave.place[1],
            t,
            t_apart,
            cell,
            cell_apart,
            rows_apart: (company.apart(&tape.gates) / shape.gates()) as u32,
            state_apart: company.apart(&tape.d_state) as u32,
            mask_apart: company.apart(&tape.mask) as u32,
            norm_apart: company.apart(&tape.norm) as u32,
            dropped: u32::from(self.drops()),
            layers: if self.are_stacked() { shape.num_layers as u32 } else { 0 },
            rows: pass.rows() as u32,
            batch: pass.batch() as u32,
            hidden: shape.hidden_size as u32,
            width: shape.width() as u32,
            outputs: shape.output_size() as u32,
            // Where the first cell's h begins in a row of its layer's output.
            column: (wave.cells[0] % shape.directions() * shape.width()) as u32,
            projected: u32::from(shape.proj_size > 0),
            masked: u32::from(self.masked(wave.cells[0])),
            zoneout: zoneout.kind,
            limit_h: zoneout.limit_h,
            limit_c: zoneout.limit_c,
            rate_h: zoneout.rate_h,
            rate_c: zoneout.rate_c,
            seed_0: zoneout.seed[0],
            seed_1: zoneout.seed[1],
            ..StepParams::zeroed()
        }
    }

    fn forward_params(&self, wave: &Wave, has_start: bool, tape: &CellTape<GpuBuffer>) -> StepParams {
        let shape = self.pass.shape;
        let numbers = |cell: usize, _: &Step| {
            let weights = if self.kind == Steps::Plain { 0 } else { self.layout.place(shape, cell, false) };
            [weights, self.projection_place(cell)]
        };
        let [[w_hh, w_hr], [w_hh_apart, w_hr_apart]] = wave.numbers(numbers);
        StepParams {
            w_hh,
            w_hh_apart,
            w_hr,
            w_hr_apart,
            shared_output: u32::from(shape.shares_output()),
            has_start: u32::from(has_start),
            ..self.params(wave, tape)
        }
    }

    /// All steps of the cells that go together with `cell`, from the last to the first.
    pub fn backward(
        &self,
        cell: usize,
        params_of: &GpuBuffer,
        upstream: Option<(&GpuBuffer, usize)>,
        d_final: Option<&LstmState<GpuBuffer>>,
        all: &mut Tape,
        d_start: Option<&mut LstmState<GpuBuffer>>,
    ) {
        let Tape { layers, between, dropped, packed, .. } = &mut *all;
        let (d_y, from) = upstream.unwrap_or((between, 0));
        let (dropped, packed) = (&*dropped, &*packed);
        let (gpu, pass, shape, cells) =
            (self.gpu, self.pass, self.pass.shape, &self.company.with(cell, self.pass.shape));
        let (hidden, width, directions) = (shape.hidden_size, shape.width(), shape.directions());
        if let Some(state) = d_final {
            for cell in cells.clone() {
                take_final(gpu, pass, cell, state, &mut layers[cell / directions].cells[cell % directions]);
            }
        }
        let params_or_drop = if self.drops() { layers[1].x.whole() } else { params_of };
        let tape = &layers[cells.start / directions].cells[cells.start % directions];
        let weights = match pass.weight_drop(cells.start) {
            _ if self.kind != Steps::Plain => packed,
            Some(_) => dropped,
            None => params_of,
        };
        let [gates, c, mask, d_state, d_h, norm] =
            [&tape.gates, &tape.c, &tape.mask, &tape.d_state, &tape.d_h, &tape.norm]
                .map(|buffer| self.company.all_of(buffer));
        let buffers = [weights, params_or_drop, d_y, c, mask, gates, d_state, d_h];
        let projecting = [weights, params_of, d_y, c, mask, gates, d_state, d_h];
        let normed = [params_of, d_h, c, mask, gates, d_state, norm];
        let [backward, project, start] =
            [&step_kernels::BACKWARD, &step_kernels::PROJECT, &step_kernels::START].map(|kernel| self.kernel(kernel));
        for wave in Wave::all(self.company, pass, cells.start, true) {
            let params = self.backward_params(&wave, from, d_final.is_some(), tape);
            let present = wave.sequences(false);
            let (of_width, operations) = (self.grid(true, width, present), self.operations(&wave, present));
            if shape.proj_size > 0 || shape.layer_norm {
                self.run(project, &params, &buffers, &wave, of_width, operations);
            }
            if shape.layer_norm {
                gpu.run(&BACKWARD_NORM_STEP, &params, &normed, wave.of_each(grid(present, 1)));
            } else if shape.proj_size > 0 {
                let groups = plain_grid(hidden, present);
                self.run(&BACKWARD_STEP, &params, &projecting, &wave, groups, self.projecting(&wave, present));
            } else {
                self.run(backward, &params, &buffers, &wave, self.grid(true, hidden, present), operations);
            }
            // A stack's come below.
            if d_start.is_some() && wave.begins() && !self.are_stacked() {
                self.run(start, &params, &buffers, &wave, of_width, operations);
            }
        }
        if let Some(state) = d_start {
            for cell in cells.clone() {
                let (layer, direction) = (cell / directions, cell % directions);
                if self.are_stacked() {
                    let first = pass.packing.step(0, false);
                    let tape = &layers[layer].cells[direction];
                    let alone = Self { company: Company::None, ..*self };
                    let wave = Wave::one(pass, cell, 0);
                    let params = alone.backward_params(&wave, from, d_final.is_some(), tape);
                    let buffers = [packed, params_of, d_y, &tape.c, &tape.mask, &tape.gates, &tape.d_state, &tape.d_h];
                    let (groups, operations) =
                        (self.grid(true, width, first.present), alone.operations(&wave, first.present));
                    self.run(start, &params, &buffers, &wave, groups, operations);
                }
                give_start(gpu, pass, cell, &layers[layer].cells[direction], state);
            }
        }
        for layer in (1..shape.num_layers).filter(|_| self.are_stacked()) {
            before_layer(gpu, pass, layer, 0..pass.rows(), false, all);
        }
    }

    fn backward_params(&self, wave: &Wave, from: usize, has_final: bool, tape: &CellTape<GpuBuffer>) -> StepParams {
        let (pass, shape) = (self.pass, self.pass.shape);
        let places = |cell: usize| shape.cell(cell / shape.directions(), cell % shape.directions());
        let first_d_y = pass.packing.row(from);
        let numbers = |cell: usize, at: &Step| {
            let d_y = at.row.saturating_sub(first_d_y) * shape.output_size();
            let weights = match pass.weight_drop(cell) {
                _ if self.kind != Steps::Plain => self.layout.place(shape, cell, true),
                Some(_) => pass.dropped_at(cell),
                None => places(cell).weight_hh,
            };
            [usize::from(at.t >= from), d_y, weights, places(cell).weight_hr.unwrap_or(0)]
        };
        let [first, apart] = wave.numbers(numbers);
        let [has_d_y, d_y, w_hh, w_hr] = first;
        let [has_d_y_apart, d_y_apart, w_hh_apart, w_hr_apart] = apart;
        StepParams {
            has_d_y,
            has_d_y_apart,
            d_y,
            d_y_apart,
            w_hh,
            w_hh_apart,
            w_hr,
            w_hr_apart,
            has_final: u32::from(has_final),
            ..self.params(wave, tape)
        }
    }
}
