// Tiles of 16-bit numbers, whose products are summed up in 32 bits.
enable f16;

alias Kept = vec4<f16>;

@compute @workgroup_size(256)
fn half(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let at = tile(group, groups, 64u, 64u);
    tile_64(at.x, at.y, terms(group, at), local);
}

@compute @workgroup_size(256)
fn half_large(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let at = tile(group, groups, 128u, 128u);
    tile_128(at.x, at.y, terms(group, at), local);
}
