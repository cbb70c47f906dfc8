//! How many steps go into one submission: enough that handing it over costs little, few enough that it stays short.

use std::time::Duration;

/// What a submission may take, by what the last one took: watchdogs stop one after 2 s, a page stutters from 100 ms on.
const WANTED: Duration = Duration::from_millis(50);
/// Beyond this nothing is saved any more.
const MOST: u32 = 16;

/// Steps that are recorded, and how many go together.
pub(super) struct Pace {
    held: u32,
    together: u32,
    clock: Clock,
}

impl Default for Pace {
    fn default() -> Self {
        Self { held: 0, together: 1, clock: Clock::default() }
    }
}

impl Pace {
    /// Takes note of a step that is recorded; whether it is time to hand over.
    pub fn step(&mut self) -> bool {
        self.held += 1;
        self.held >= self.together
    }

    /// Takes note of a submission, after the wait for the one before it.
    pub fn submitted(&mut self) {
        let steps = std::mem::take(&mut self.held);
        if let Some((steps, time)) = self.clock.lap(steps) {
            self.together = together(self.together, steps, time);
        }
    }
}

/// How many steps go together after `steps` took `time`; at most twice as many as before.
fn together(before: u32, steps: u32, time: Duration) -> u32 {
    let fit = WANTED.as_secs_f64() / (time.as_secs_f64() / f64::from(steps)).max(1e-9);
    (fit as u32).clamp(1, (2 * before).min(MOST))
}

/// While a device is kept busy, the waits for two submissions in a row end as far apart as the second one took.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Default)]
struct Clock(Option<(std::time::Instant, u32)>);

#[cfg(not(target_arch = "wasm32"))]
impl Clock {
    /// The steps of the last submission and the time it took; `steps` go with the next.
    fn lap(&mut self, steps: u32) -> Option<(u32, Duration)> {
        let now = std::time::Instant::now();
        let (begun, before) = self.0.replace((now, steps))?;
        (before > 0).then(|| (before, now - begun))
    }
}

/// In a browser nobody waits, so that nothing is known: each step goes by itself.
#[cfg(target_arch = "wasm32")]
#[derive(Default)]
struct Clock {}

#[cfg(target_arch = "wasm32")]
impl Clock {
    fn lap(&mut self, _steps: u32) -> Option<(u32, Duration)> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submissions_stay_short() {
        let ms = Duration::from_millis;
        assert_eq!(together(1, 1, ms(300)), 1, "long steps go alone");
        assert_eq!(together(1, 1, ms(1)), 2, "more than twice as many at once is a guess");
        assert_eq!(together(8, 8, ms(4)), MOST);
        assert_eq!(together(16, 16, ms(160)), 5);
        assert_eq!(together(16, 16, Duration::ZERO), MOST);
        for (steps, step) in [(1, 3), (4, 9), (16, 40), (16, 200)] {
            let next = together(16, steps, ms(steps.into()) * step);
            assert!(next == 1 || ms(next.into()) * step <= WANTED, "{next} steps of {step} ms");
        }
    }

    #[test]
    fn the_first_steps_go_alone() {
        let mut pace = Pace::default();
        assert!(pace.step());
        pace.submitted();
        assert!(pace.step());
    }
}
