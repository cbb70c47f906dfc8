//! What each kernel did: how often it ran, and, where the adapter has timestamps, how long.

use std::collections::BTreeMap;

use super::kernel::Kernel;

/// Dispatches in one set of queries: each has a begin and an end.
const DISPATCHES: usize = wgpu::QUERY_SET_MAX_QUERIES as usize / 2;

/// What a dispatch computes and moves at the least.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Floating-point operations, two for a multiply-add.
    pub operations: f64,
    /// Bytes read and written, each number once.
    pub bytes: f64,
}

impl Cost {
    /// Of a dispatch with so many operations that reads and writes so many numbers.
    pub fn new(operations: usize, numbers: usize) -> Self {
        Self { operations: operations as f64, bytes: 4.0 * numbers as f64 }
    }
}

/// What one kernel did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KernelTime {
    /// Its file.
    pub name: &'static str,
    /// Its function.
    pub entry: &'static str,
    /// Dispatches.
    pub runs: u64,
    /// Time of all of them; `None` if the adapter has no timestamps.
    pub seconds: Option<f64>,
    /// What they cost together; `None` if that is not known of each.
    pub cost: Option<Cost>,
}

/// Dispatches since the last report.
pub(super) struct Profiler {
    timed: bool,
    sets: Vec<Queries>,
    dispatches: Vec<(&'static str, &'static str, Option<Cost>)>,
    /// What the next dispatch costs.
    pub next: Option<Cost>,
}

/// Timestamps of some dispatches.
pub(super) struct Queries {
    pub set: wgpu::QuerySet,
    pub resolved: wgpu::Buffer,
}

impl Profiler {
    pub fn new(device: &wgpu::Device) -> Self {
        let timed = device.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        Self { timed, sets: Vec::new(), dispatches: Vec::new(), next: None }
    }

    /// Takes note of a dispatch; the set and the places of its timestamps.
    pub fn dispatch(&mut self, kernel: &Kernel, device: &wgpu::Device) -> Option<(&wgpu::QuerySet, [u32; 2])> {
        let index = self.dispatches.len();
        self.dispatches.push((kernel.name, kernel.entry, self.next.take()));
        if !self.timed {
            return None;
        }
        if index / DISPATCHES == self.sets.len() {
            self.sets.push(Queries::new(device));
        }
        let place = 2 * (index % DISPATCHES) as u32;
        Some((&self.sets[index / DISPATCHES].set, [place, place + 1]))
    }

    /// The sets in use, and the timestamps in each.
    pub fn used(&self) -> impl Iterator<Item = (&Queries, usize)> {
        let left = |index: usize| self.dispatches.len().saturating_sub(index * DISPATCHES).min(DISPATCHES);
        self.sets.iter().enumerate().map(move |(index, set)| (set, 2 * left(index))).filter(|(_, count)| *count > 0)
    }

    /// By kernel, the longest first, from all timestamps, a tick of which is `period` nanoseconds. The next report begins.
    pub fn report(&mut self, ticks: &[u64], period: f32) -> Vec<KernelTime> {
        let mut kernels: BTreeMap<_, KernelTime> = BTreeMap::new();
        for (index, (name, entry, cost)) in self.dispatches.drain(..).enumerate() {
            let ran = ticks.get(2 * index..2 * index + 2);
            let seconds = ran.map(|ran| ran[1].saturating_sub(ran[0]) as f64 * f64::from(period) * 1e-9);
            let first = KernelTime { name, entry, runs: 0, seconds: Some(0.0), cost: Some(Cost::default()) };
            let kernel = kernels.entry((name, entry)).or_insert(first);
            kernel.runs += 1;
            kernel.seconds = kernel.seconds.zip(seconds).map(|(sum, seconds)| sum + seconds);
            kernel.cost = kernel.cost.zip(cost).map(|(sum, cost)| Cost {
                operations: sum.operations + cost.operations,
                bytes: sum.bytes + cost.bytes,
            });
        }
        let mut kernels: Vec<_> = kernels.into_values().collect();
        kernels.sort_by(|a, b| b.seconds.unwrap_or(0.0).total_cmp(&a.seconds.unwrap_or(0.0)));
        kernels
    }
}

impl Queries {
    fn new(device: &wgpu::Device) -> Self {
        let set = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("timestamps"),
            ty: wgpu::QueryType::Timestamp,
            count: 2 * DISPATCHES as u32,
        });
        let resolved = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("timestamps"),
            size: 16 * DISPATCHES as u64,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        Self { set, resolved }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_added_by_kernel() {
        let cost = Some(Cost::new(10, 2));
        let dispatches = vec![("a", "main", cost), ("b", "main", cost), ("a", "main", cost), ("a", "other", None)];
        let mut profiler = Profiler { timed: true, sets: Vec::new(), dispatches, next: None };
        let kernels = profiler.report(&[0, 5, 5, 100, 100, 102, 110, 111], 2e9);
        let found: Vec<_> = kernels.iter().map(|kernel| (kernel.name, kernel.entry, kernel.runs)).collect();
        assert_eq!(found, [("b", "main", 1), ("a", "main", 2), ("a", "other", 1)]);
        let near = |kernel: &KernelTime, want: f64| (kernel.seconds.unwrap() / want - 1.0).abs() < 1e-6;
        assert!(near(&kernels[0], 190.0) && near(&kernels[1], 14.0), "{kernels:?}");
        assert_eq!(kernels[1].cost, Some(Cost { operations: 20.0, bytes: 16.0 }));
        assert_eq!(kernels[2].cost, None);
        assert!(profiler.report(&[], 1.0).is_empty());
        profiler.dispatches = vec![("a", "main", None)];
        assert_eq!(profiler.report(&[], 1.0)[0].seconds, None, "without timestamps");
    }
}
