//! Points → what is drawn of them.

/// Points of one line, by increasing x.
pub(super) type Line = Vec<(f64, f64)>;

/// More than this on the width of a page cannot be seen.
pub(super) const MOST_POINTS: usize = 2000;

/// At most [`MOST_POINTS`] points: the lowest and the highest of each stretch, in their order, so that no spike is lost. A
/// stretch without a finite value stays a gap.
pub(super) fn thin(line: &[(f64, f64)]) -> Line {
    if line.len() <= MOST_POINTS {
        return line.to_vec();
    }
    let mut thinned = Line::new();
    for stretch in line.chunks(line.len().div_ceil(MOST_POINTS / 2)) {
        let values = || stretch.iter().enumerate().filter(|(_, p)| p.1.is_finite());
        let low = values().min_by(|a, b| a.1.1.total_cmp(&b.1.1));
        let high = values().max_by(|a, b| a.1.1.total_cmp(&b.1.1));
        match (low, high) {
            (Some((i, &a)), Some((j, &b))) if i < j => thinned.extend([a, b]),
            (Some((i, &a)), Some((j, &b))) if i > j => thinned.extend([b, a]),
            (Some((_, &a)), _) => thinned.push(a),
            _ => thinned.push((stretch[0].0, f64::NAN)),
        }
    }
    thinned
}

/// The stretches of finite points.
pub(super) fn split_at_gaps(line: &[(f64, f64)]) -> impl Iterator<Item = &[(f64, f64)]> {
    line.split(|p| !p.1.is_finite()).filter(|stretch| !stretch.is_empty())
}
