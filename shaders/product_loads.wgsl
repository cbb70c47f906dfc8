// What an invocation brings from A [M, K] and B [K, N] into workgroup memory, TERMS terms at a time, and asks for while the terms
// before are multiplied. Appended to the kernels that name this file, with tiles that say how many TERMS, and where
//   placed(k, q, …)    a tile keeps quad q of term k, `quads` of which a term has
// The kernels say where A and B lie:
//   a_at(i)            the places of A[i, 0] to A[i + 3, 0], from one term to the next a_apart()
//   a_four(at)         what lies at four places of A
//   b_at(part, j)      the places of B[0, j] to B[0, j + 3], from one term to the next b_apart(part)
//   b_four(part, at)   what lies at four places of B
//   part_of(j)         which part of B a column is in, the same for 8 columns
//   along_k()          whether neighbours in A, and in B, are neighbours in memory along K

// A quad of A's rows and one of B's columns, each at one of the TERMS.
struct Load {
    a: vec4u,
    b: vec4u,
    part: u32,
    terms: vec2u,
    to: vec2u, // their places in workgroup memory
}

// The load number `index` of the tile at (i, j), which has `quads` of rows and as many of columns.
fn load_of(i: u32, j: u32, index: u32, quads: u32) -> Load {
    let along = along_k();
    let a = loaded(index, quads, along.x);
    let b = loaded(index, quads, along.y);
    let column = j + 4u * b.x;
    let part = part_of(column);
    let to = vec2u(placed(a.y, a.x, quads), placed(b.y, b.x, quads));
    return Load(a_at(i + 4u * a.x), b_at(part, column), part, vec2u(a.y, b.y), to);
}

// Quad and term, so that neighbours read neighbours.
fn loaded(index: u32, quads: u32, along_k: bool) -> vec2u {
    return select(vec2u(index % quads, index / quads), vec2u(index / TERMS, index % TERMS), along_k);
}

// The numbers of a load of the terms from k on; zero from term `end` on.
fn a_of(load: Load, k: u32, end: u32) -> vec4f {
    let term = k + load.terms.x;
    return select(vec4f(), a_four(load.a + min(term, max(end, 1u) - 1u) * a_apart()), term < end);
}

fn b_of(load: Load, k: u32, end: u32) -> vec4f {
    let term = k + load.terms.y;
    return select(vec4f(), b_four(load.part, load.b + min(term, max(end, 1u) - 1u) * b_apart(load.part)), term < end);
}
