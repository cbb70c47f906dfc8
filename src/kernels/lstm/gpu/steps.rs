//! A dispatch for every time step of one direction of one layer: for every option and every size. Two with a projection or with
//! layer normalisation, which needs whole rows of gates, and three forwards with both. What multiplies by the recurrent weights
//! there is of three kinds: plain, in tiles, and by matrices of 16-bit numbers.

use super::masks::{self, Zoneout};
use super::step_kernels::{
    self, BACKWARD_STEP, BackwardParams, FORWARD_PROJECT, ForwardParams, Steps, plain_grid, projection_place,
};
use super::weights;
use super::{CellTape, LayerTape, LstmState, Pass, Tape, give_start, take_final};
use crate::device::{Device, Gpu, GpuBuffer, Kernel, grid, kernel, params};
use crate::kernels::Matrix;
use crate::kernels::lstm::packing::Step;
use crate::kernels::rows::{Listed, Rows, RowsShape};

params! {
    struct TransposeParams { rows: u32, columns: u32, place: u32, to: u32 }
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
    "lstm_forward_norm_step" + "lstm_forward_shared" + "lstm_zone" + "workgroup_sum",
    ForwardParams,
    [Write, Read, Read, Write, Write, Write, Write, Write]
);
static BACKWARD_NORM_STEP: Kernel = kernel!(
    "lstm_backward_norm_step" + "lstm_backward_shared" + "lstm_zone" + "workgroup_sum",
    BackwardParams,
    [Read, Read, Read, Read, Write, Write, Write]
);
pub(super) static KERNELS: &[&Kernel] = &[&TRANSPOSE, &START, &FORWARD_NORM_STEP, &BACKWARD_NORM_STEP];

/// One direction of one layer.
pub(super) struct Recurrence<'a> {
    gpu: &'a Gpu,
    pass: &'a Pass<'a>,
    layer: usize,
    direction: usize,
    cell: usize,
    zoneout: Zoneout,
    kind: Steps,
}

impl<'a> Recurrence<'a> {
    pub fn new(gpu: &'a Gpu, pass: &'a Pass, kind: Steps, layer: usize, direction: usize) -> Self {
        let cell = layer * pass.shape.directions() + direction;
        Self { gpu, pass, layer, direction, cell, zoneout: Zoneout::of(pass), kind }
    }

    fn grid(&self, backward: bool, units: usize, sequences: usize) -> [u32; 3] {
        step_kernels::grid(self.kind, self.pass.shape, backward, units, sequences)
    }

    fn masked(&self) -> bool {
        self.pass.recurrent_drop(self.cell).is_some()
    }

    /// The weights' arrangement, the masks and the start states.
    pub fn prepare(
        &self,
        params: &GpuBuffer,
        start: Option<&LstmState<GpuBuffer>>,
        tape: &mut Tape,
        keeps_zeros: bool,
    ) {
        let (gpu, pass, shape) = (self.gpu, self.pass, self.pass.shape);
        let places = shape.cell(self.layer, self.direction);
        let transpose = |from: &GpuBuffer, place: usize, rows: usize, columns: usize, to: usize| {
            let params =
                TransposeParams { rows: rows as u32, columns: columns as u32, place: place as u32, to: to as u32 };
            gpu.run(&TRANSPOSE, &params, &[from, &tape.packed], grid(rows * columns, 64));
        };
        match pass.weight_drop(self.cell) {
            _ if self.kind != Steps::Plain => weights::pack_dropped(gpu, pass, self.kind.are_half(), self.cell, tape),
            Some(_) => transpose(&tape.dropped, pass.dropped_at(self.cell), shape.gates(), shape.width(), 0),
            None => transpose(params, places.weight_hh, shape.gates(), shape.width(), 0),
        }
        if let Some(place) = places.weight_hr {
            transpose(params, place, shape.proj_size, shape.hidden_size, projection_place(self.kind, shape));
        }
        let cell = &mut tape.layers[self.layer].cells[self.direction];
        self.prepare_norm(params, &mut cell.norm);
        masks::draw(gpu, pass, self.cell, &tape.sequences, cell);
        if keeps_zeros {
            return;
        }
        if shape.shares_output() && start.is_none() {
            gpu.zero(&mut cell.h_in, 0, pass.batch() * shape.width());
            gpu.zero(&mut cell.c, 0, pass.batch() * shape.hidden_size);
            return;
        }
        let first = pass.packing.walk(self.direction == 1).next().expect("at least one step");
        let start_params = StartParams {
            row: first.row as u32,
            present: first.present as u32,
            batch: pass.batch() as u32,
            hidden: shape.hidden_size as u32,
            width: shape.width() as u32,
            has_start: u32::from(start.is_some()),
            start_h: pass.h_at(self.cell) as u32,
            start_c: pass.c_at(self.cell) as u32,
            masked: u32::from(self.masked()),
        };
        let (h_0, c_0) = start.map_or((params, params), |start| (&start.h, &start.c));
        let buffers = [h_0, c_0, &cell.mask, &cell.h_in, &cell.c];
        gpu.run(&START, &start_params, &buffers, grid(pass.batch() * shape.hidden_size, 64));
    }

    /// Copies the parameters that layer normalisation needs behind what it keeps.
    fn prepare_norm(&self, params: &GpuBuffer, norm: &mut GpuBuffer) {
        let places = self.pass.shape.cell(self.layer, self.direction);
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

    pub fn forward(&self, start: Option<&LstmState<GpuBuffer>>, params: &GpuBuffer, tape: &Tape) {
        let (gpu, shape) = (self.gpu, self.pass.shape);
        let LayerTape { cells, y, .. } = &tape.layers[self.layer];
        let cell = &cells[self.direction];
        let h_0 = start.map_or(params, |start| &start.h);
        let buffers = [&tape.packed, h_0, &cell.mask, &cell.gates, &cell.h_in, &cell.c, y, &cell.u];
        let to_norm = [&tape.packed, h_0, &cell.mask, &cell.norm, &cell.h_in, &cell.c, y, &cell.u];
        let normed = [&cell.norm, h_0, &cell.mask, &cell.gates, &cell.h_in, &cell.c, y, &cell.u];
        let [forward, recur] = [&step_kernels::FORWARD, &step_kernels::RECUR].map(|kernel| kernel.of(self.kind, shape));
        for step in self.pass.packing.walk(self.direction == 1) {
            let params = self.forward_params(&step, start.is_some());
            let sequences = step.present.max(step.joining);
            if shape.layer_norm {
                gpu.run(recur, &params, &to_norm, self.grid(false, shape.hidden_size, step.present));
                gpu.run(&FORWARD_NORM_STEP, &params, &normed, grid(sequences, 1));
            } else {
                gpu.run(forward, &params, &buffers, self.grid(false, shape.hidden_size, sequences));
            }
            if shape.proj_size > 0 {
                gpu.run(&FORWARD_PROJECT, &params, &buffers, plain_grid(shape.width(), sequences));
            }
        }
    }

    fn forward_params(&self, step: &Step, has_start: bool) -> ForwardParams {
        let (pass, shape, zoneout) = (self.pass, self.pass.shape, self.zoneout);
        ForwardParams {
            t: self.zoneout.step(pass.first_step + step.t),
            row: step.row as u32,
            present: step.present as u32,
            before: step.before as u32,
            ongoing: step.ongoing as u32,
            next: step.next as u32,
            following: step.following as u32,
            joining: step.joining as u32,
            rows: pass.rows() as u32,
            batch: pass.batch() as u32,
            hidden: shape.hidden_size as u32,
            width: shape.width() as u32,
            outputs: shape.output_size() as u32,
            column: (self.direction * shape.width()) as u32,
            projected: u32::from(shape.proj_size > 0),
            w_hh_t: if self.kind == Steps::Plain { 0 } else { weights::place(shape, self.cell, false) as u32 },
            w_hr_t: projection_place(self.kind, shape) as u32,
            shared_output: u32::from(shape.shares_output()),
            has_start: u32::from(has_start),
            start_h: pass.h_at(self.cell) as u32,
            masked: u32::from(self.masked()),
            zoneout: zoneout.kind,
            limit_h: zoneout.limit_h,
            limit_c: zoneout.limit_c,
            rate_h: zoneout.rate_h,
            rate_c: zoneout.rate_c,
            seed_0: zoneout.seed[0],
            seed_1: zoneout.seed[1],
            cell: self.cell as u32,
        }
    }

    pub fn backward(
        &self,
        (params, dropped, packed): (&GpuBuffer, &GpuBuffer, &GpuBuffer),
        (d_y, from): (&GpuBuffer, usize),
        d_final: Option<&LstmState<GpuBuffer>>,
        cell: &mut CellTape<GpuBuffer>,
        d_start: Option<&mut LstmState<GpuBuffer>>,
    ) {
        let (gpu, pass, shape) = (self.gpu, self.pass, self.pass.shape);
        let (hidden, width) = (shape.hidden_size, shape.width());
        if let Some(state) = d_final {
            take_final(gpu, pass, self.cell, state, cell);
        }
        let (weights, w_hh) = match pass.weight_drop(self.cell) {
            _ if self.kind != Steps::Plain => (packed, weights::place(shape, self.cell, true)),
            Some(_) => (dropped, pass.dropped_at(self.cell)),
            None => (params, shape.cell(self.layer, self.direction).weight_hh),
        };
        // What goes back through W_hh.
        let d_recurrent = if shape.layer_norm { &cell.norm } else { &cell.gates };
        let buffers = [weights, params, d_y, &cell.c, &cell.mask, d_recurrent, &cell.d_state, &cell.d_h];
        let [backward, project, start] = [&step_kernels::BACKWARD, &step_kernels::PROJECT, &step_kernels::START]
            .map(|kernel| kernel.of(self.kind, shape));
        let normed = [params, &cell.d_h, &cell.c, &cell.mask, &cell.gates, &cell.d_state, &cell.norm];
        for step in pass.packing.walk(self.direction == 1).rev() {
            let params = self.backward_params(&step, from, w_hh, d_final.is_some());
            if shape.proj_size > 0 || shape.layer_norm {
                gpu.run(project, &params, &buffers, self.grid(true, width, step.present));
            }
            if shape.layer_norm {
                gpu.run(&BACKWARD_NORM_STEP, &params, &normed, grid(step.present, 1));
            } else if shape.proj_size > 0 {
                gpu.run(&BACKWARD_STEP, &params, &buffers, plain_grid(hidden, step.present));
            } else {
                gpu.run(backward, &params, &buffers, self.grid(true, hidden, step.present));
            }
            if d_start.is_some() && step.ongoing < step.present {
                gpu.run(start, &params, &buffers, self.grid(true, width, step.present));
            }
        }
        if let Some(state) = d_start {
            give_start(gpu, pass, self.cell, cell, state);
        }
    }

    fn backward_params(&self, step: &Step, from: usize, w_hh: usize, has_final: bool) -> BackwardParams {
        let (pass, shape, zoneout) = (self.pass, self.pass.shape, self.zoneout);
        let places = shape.cell(self.layer, self.direction);
        let d_y = step.row.saturating_sub(pass.packing.row(from)) * shape.output_size();
        BackwardParams {
            t: self.zoneout.step(pass.first_step + step.t),
            row: step.row as u32,
            present: step.present as u32,
            before: step.before as u32,
            ongoing: step.ongoing as u32,
            next: step.next as u32,
            following: step.following as u32,
            rows: pass.rows() as u32,
            batch: pass.batch() as u32,
            hidden: shape.hidden_size as u32,
            width: shape.width() as u32,
            outputs: shape.output_size() as u32,
            column: (self.direction * shape.width()) as u32,
            projected: u32::from(shape.proj_size > 0),
            w_hh: w_hh as u32,
            w_hr: places.weight_hr.unwrap_or(0) as u32,
            has_d_y: u32::from(step.t >= from),
            d_y: d_y as u32,
            has_final: u32::from(has_final),
            masked: u32::from(self.masked()),
            zoneout: zoneout.kind,
            limit_h: zoneout.limit_h,
            limit_c: zoneout.limit_c,
            rate_h: zoneout.rate_h,
            rate_c: zoneout.rate_c,
            seed_0: zoneout.seed[0],
            seed_1: zoneout.seed[1],
            cell: self.cell as u32,
        }
    }
}
