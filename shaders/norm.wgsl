// status = [norm, min(1, max_norm / (norm + 1e-6)) / scale, held, scale, steps], history[row, 1] = norm,
// with norm = √Σ parts / scale
// A step that is held changes nothing: those from a loss or norm on that is not finite, and one whose norm alone is not
// while the loss's scale can be halved. `steps` counts the others since the scale was last changed.
// One workgroup of one invocation for each part.

struct Params {
    parts: u32,
    max_norm: f32,
    row: u32,
    scale_steps: u32, // after so many the scale is doubled,
    most_scale: f32,  // but not beyond this
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<f32>;          // [parts ≤ 256]
@group(0) @binding(2) var<storage, read_write> status: array<f32>;   // [5]
@group(0) @binding(3) var<storage, read_write> history: array<f32>;  // [rows, 2]

const STEP = 1.0; // this step is held
const ALL = 2.0;  // it and all that follow

var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) local: u32) {
    sums[local] = 0.0;
    if local < params.parts {
        sums[local] = parts[local];
    }
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            sums[local] += sums[local + half];
        }
    }
    if local == 0u {
        let scale = status[3];
        let norm = sqrt(sums[0]) / scale;
        let well = is_finite(norm);
        let loss_well = is_finite(history[2u * params.row]);
        if status[2] == STEP {
            status[2] = 0.0;
        }
        if scale > 1.0 {
            status[4] = select(0.0, status[4] + 1.0, well);
            if !well {
                status[3] = max(scale / 2.0, 2.0);
            } else if status[4] >= f32(params.scale_steps) {
                status[3] = min(2.0 * scale, params.most_scale);
                status[4] = 0.0;
            }
        }
        if scale > 2.0 && !well && loss_well {
            status[2] = max(status[2], STEP);
            // The norm of the step before stands for this one's.
            history[2u * params.row + 1u] = status[0];
            return;
        }
        status[0] = norm;
        status[1] = min(1.0, params.max_norm / (norm + 1e-6)) / scale;
        if !well || !loss_well {
            status[2] = ALL;
        }
        history[2u * params.row + 1u] = norm;
    }
}
