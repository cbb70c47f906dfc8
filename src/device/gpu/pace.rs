//! How many dispatches go into one submission: enough that handing it over costs little, few enough that it stays short.

use std::time::Duration;

/// What a submission of whole steps may take, by what those before took: watchdogs stop one after 2 s, a page stutters from
/// 100 ms on. A step of twice that is cut.
const WANTED: Duration = Duration::from_millis(50);
/// Beyond this nothing is saved any more.
const MOST_STEPS: u32 = 16;
/// Dispatches that go together before anything is known.
const FIRST: u32 = 16;
/// And at most.
const MOST: u32 = 4096;

/// What is recorded, and how much goes together.
pub(super) struct Pace {
    held: u32,  // dispatches
    steps: u32, // whole ones among them
    step: u32,  // dispatches of the step under way
    together: u32,
    compiled: bool,   // a kernel for what is recorded
    fit: Option<u32>, // how many may go together, by what was measured since a step's end
    clock: Clock,
}

impl Default for Pace {
    fn default() -> Self {
        Self { held: 0, steps: 0, step: 0, together: FIRST, compiled: false, fit: None, clock: Clock::default() }
    }
}

impl Pace {
    /// Whether it is time to hand over amid a step.
    pub fn is_full(&self) -> bool {
        self.held >= self.together.saturating_mul(2)
    }

    /// Takes note of a dispatch that is recorded.
    pub fn dispatch(&mut self) {
        self.held += 1;
        self.step += 1;
    }

    /// Takes note of a kernel that is compiled: what comes with it does not tell how long it takes.
    pub fn compiled(&mut self) {
        self.compiled = true;
    }

    /// Takes note of a step that is recorded, or of what a read ends; whether it is time to hand over.
    pub fn step(&mut self) -> bool {
        self.steps += 1;
        // More only if no part of a step was too long for that; at most twice as many.
        if let Some(fit) = self.fit.take() {
            self.together = self.together.max(fit.min(self.together.saturating_mul(2)).min(MOST));
        }
        let next = std::mem::take(&mut self.step);
        self.steps >= MOST_STEPS || self.held + next > self.together
    }

    /// Hands over all that is recorded, which is `commands`. Waits until what was handed over before is done, so that no more
    /// than one submission is on its way; a browser cannot wait.
    pub fn submit(&mut self, device: &wgpu::Device, queue: &wgpu::Queue, commands: wgpu::CommandBuffer) {
        let held = self.handed_over();
        let held = if std::mem::take(&mut self.compiled) { 0 } else { held };
        self.clock.submit(held, device, queue, commands).into_iter().for_each(|lap| self.took(&lap));
    }

    fn handed_over(&mut self) -> u32 {
        self.steps = 0;
        std::mem::take(&mut self.held)
    }

    fn took(&mut self, lap: &Lap) {
        // Copies alone, or new kernels.
        if lap.dispatches == 0 {
            return;
        }
        let within = |time: Duration| {
            (WANTED.as_secs_f64() / time.as_secs_f64().max(1e-9) * f64::from(lap.dispatches)).max(1.0) as u32
        };
        self.together = self.together.min(within(lap.least));
        self.fit = Some(within(lap.most).min(self.fit.unwrap_or(u32::MAX)));
    }
}

/// The time that a submission took on the device, at least and at most.
struct Lap {
    dispatches: u32,
    least: Duration,
    most: Duration,
}

/// While a device is kept busy, the waits for two submissions in a row end as far apart as the second one took. If it was not,
/// it took no longer than that, and no less than one waited for it, or than the call took that handed it over: some drivers compute
/// in that call.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Default)]
struct Clock(Option<Running>);

/// The last submission.
#[cfg(not(target_arch = "wasm32"))]
struct Running {
    submission: wgpu::SubmissionIndex,
    dispatches: u32,
    handing: Duration,         // the time that handing it over took
    begun: std::time::Instant, // thereafter, when the one before was done
}

#[cfg(not(target_arch = "wasm32"))]
impl Clock {
    fn submit(
        &mut self,
        dispatches: u32,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        commands: wgpu::CommandBuffer,
    ) -> Option<Lap> {
        let now = std::time::Instant::now();
        let submission = queue.submit([commands]);
        let handing = now.elapsed();
        let lap = self.0.take().map(|before| {
            let waiting = std::time::Instant::now();
            _ = device.poll(wgpu::PollType::Wait { submission_index: Some(before.submission), timeout: None });
            Lap {
                dispatches: before.dispatches,
                least: before.handing.max(waiting.elapsed()),
                most: before.handing + before.begun.elapsed().saturating_sub(handing),
            }
        });
        self.0 = Some(Running { submission, dispatches, handing, begun: std::time::Instant::now() });
        lap
    }
}

/// A browser says when a submission is done.
#[cfg(target_arch = "wasm32")]
#[derive(Default)]
struct Clock(std::sync::Arc<std::sync::Mutex<Done>>);

#[cfg(target_arch = "wasm32")]
#[derive(Default)]
struct Done {
    laps: Vec<Lap>,
    last: Option<web_time::Instant>, // when
}

#[cfg(target_arch = "wasm32")]
impl Clock {
    fn submit(
        &mut self,
        dispatches: u32,
        _device: &wgpu::Device,
        queue: &wgpu::Queue,
        commands: wgpu::CommandBuffer,
    ) -> Vec<Lap> {
        queue.submit([commands]);
        let begun = web_time::Instant::now();
        let done = self.0.clone();
        queue.on_submitted_work_done(move || {
            let now = web_time::Instant::now();
            let mut done = done.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let time = now - done.last.map_or(begun, |last| begun.max(last));
            // A browser may tell late: it waits until nothing else is to be done, or for its next look at the device.
            done.laps.push(Lap { dispatches, least: time.saturating_sub(2 * WANTED), most: time });
            done.last = Some(now);
        });
        std::mem::take(&mut self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).laps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device, and the milliseconds of each dispatch that is not handed over yet.
    #[derive(Default)]
    struct Device {
        pace: Pace,
        held: Vec<u64>,
    }

    impl Device {
        /// The dispatches of each submission of a step whose dispatches take so long.
        fn step(&mut self, dispatches: &[u64]) -> Vec<usize> {
            let mut parts = Vec::new();
            for &time in dispatches {
                if self.pace.is_full() {
                    parts.push(self.hand_over());
                }
                self.pace.dispatch();
                self.held.push(time);
            }
            if self.pace.step() {
                parts.push(self.hand_over());
            }
            parts
        }

        fn hand_over(&mut self) -> usize {
            let dispatches = self.held.len();
            let time = Duration::from_millis(self.held.drain(..).sum());
            self.pace.handed_over();
            self.pace.took(&Lap { dispatches: dispatches as u32, least: time, most: time });
            dispatches
        }
    }

    #[test]
    fn short_steps_go_together() {
        let mut device = Device::default();
        assert_eq!(device.step(&[0; 20]), [20], "the first goes alone");
        let steps: Vec<_> = (0..60).map(|_| device.step(&[0; 20]).len()).collect();
        assert!(steps.iter().all(|&parts| parts <= 1));
        assert_eq!(steps[60 - MOST_STEPS as usize..].iter().sum::<usize>(), 1, "{steps:?}");
        assert!(steps[..16].iter().sum::<usize>() >= 3, "more than twice as many at once is a guess: {steps:?}");
        // And no longer once they take longer.
        for _ in 0..20 {
            device.step(&[3; 20]);
        }
        assert_eq!(device.step(&[3; 20]), [20], "60 ms go whole");
    }

    #[test]
    fn long_steps_are_cut() {
        let mut device = Device::default();
        assert_eq!(device.step(&[5; 100])[0], 2 * FIRST as usize);
        for _ in 0..10 {
            let parts = device.step(&[5; 100]);
            assert!(parts.iter().all(|&part| part <= 20) && parts.iter().sum::<usize>() == 100, "{parts:?}");
            assert!(parts.len() < 8, "{parts:?}");
        }
        // By their longest part, which nobody can cut further.
        let step: Vec<_> = (0..40).map(|index| if index < 30 { 0 } else { 200 }).collect();
        let mut device = Device::default();
        device.step(&step);
        for _ in 0..10 {
            let parts = device.step(&step);
            assert!(parts.iter().all(|&part| part <= 2), "{parts:?}");
        }
    }

    /// A device that is not kept busy took no longer than it was left alone, and nothing says that it took so long.
    #[test]
    fn a_host_that_stalls_says_nothing_of_the_device() {
        let mut pace = Pace { held: 20, ..Pace::default() };
        pace.took(&Lap { dispatches: 20, least: Duration::ZERO, most: Duration::from_secs(3) });
        pace.step();
        assert_eq!(pace.together, FIRST);
    }
}
