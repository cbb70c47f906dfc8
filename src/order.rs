//! Places in the order of what stands there. One sort for all: the code for each type that is sorted by itself would be a
//! hundredth of what a page loads.

/// The places `0..count` by their keys, the smallest first; of equal keys the first place comes first.
pub fn by_key(count: usize, key: impl Fn(usize) -> u64) -> Vec<usize> {
    let mut keyed: Vec<(u64, usize)> = (0..count).map(|place| (key(place), place)).collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, place)| place).collect()
}

/// A key that orders numbers as [`f64::total_cmp`] does.
pub fn key_of(value: f64) -> u64 {
    let bits = value.to_bits();
    if value.is_sign_negative() { !bits } else { bits | 1 << 63 }
}

#[cfg(test)]
mod tests {
    use super::{by_key, key_of};

    #[test]
    fn equal_keys_keep_their_order() {
        let keys = [3, 1, 3, 0, 1];
        assert_eq!(by_key(5, |place| keys[place]), [3, 1, 4, 0, 2]);
        assert_eq!(by_key(0, |_| 0), [0; 0]);
    }

    #[test]
    fn numbers_of_all_kinds_are_in_order() {
        let values = [-f64::NAN, f64::NEG_INFINITY, -2.5, -1e-310, -0.0, 0.0, 1e-310, 1.0, f64::INFINITY, f64::NAN];
        for (a, b) in values.iter().flat_map(|a| values.iter().map(move |b| (a, b))) {
            assert_eq!(key_of(*a).cmp(&key_of(*b)), a.total_cmp(b), "{a} {b}");
        }
    }
}
