// to[r] = from[r] for rows of any distance; or to[r] = from[list[r]], or to[list[r]] = from[r].
// One invocation per element.

struct Params {
    rows: u32,
    width: u32,
    listed: u32,
    source: u32,
    source_row: u32,
    place: u32,
    place_row: u32,
    before: u32, // invocations of other dispatches
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<f32>;         // [≥ rows, width], rows source_row apart
@group(0) @binding(2) var<storage, read> list: array<u32>;           // [rows], if listed
@group(0) @binding(3) var<storage, read_write> copied: array<f32>;   // [≥ rows, width], rows place_row apart

const FROM = 1u;
const TO = 2u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let index = params.before + flat_index(group, groups, 64u, local);
    if index >= params.rows * params.width {
        return;
    }
    var source = index / params.width;
    var place = source;
    if params.listed == FROM {
        source = list[source];
    } else if params.listed == TO {
        place = list[place];
    }
    let column = index % params.width;
    copied[params.place + place * params.place_row + column] =
        values[params.source + source * params.source_row + column];
}
