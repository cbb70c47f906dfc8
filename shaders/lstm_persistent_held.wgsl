// Blocks of recurrent weights in workgroup memory, HELD of each item of an invocation, by columns, so that neighbours read what lies
// side by side. Appended to the kernels that name this file. Nobody reads another's, so that there is nothing to wait for.

// repeat B in HOLDS
var<workgroup> held: array<vec4f, 4u * HELD * HELD_APART>;

fn hold(number: u32, own: u32, block: mat4x4f) {
    let at = 4u * HELD_APART * number + own;
    held[at] = block[0];
    held[at + HELD_APART] = block[1];
    held[at + 2u * HELD_APART] = block[2];
    held[at + 3u * HELD_APART] = block[3];
}

fn held_block(number: u32, own: u32) -> mat4x4f {
    let at = 4u * HELD_APART * number + own;
    return mat4x4f(held[at], held[at + HELD_APART], held[at + 2u * HELD_APART], held[at + 3u * HELD_APART]);
}
// end
