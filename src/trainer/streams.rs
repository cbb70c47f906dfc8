//! Truncated back-propagation: a part of the rows as streams side by side, taken a few time steps at once.

use std::ops::Range;

use crate::config::{BPTT_JITTER, Config};
use crate::error::{Error, Result};
use crate::rng::{Rng, Stream};

/// Consecutive rows cut into equally long streams. The state of each goes from part to part; at a stream's end it is
/// forgotten.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams {
    /// First row of each stream.
    pub starts: Vec<u32>,
    /// Rows of each.
    pub len: usize,
}

impl Streams {
    /// At most `most` streams from `rows`, of which the last `horizon` are targets alone; of at least `bptt` rows each, or
    /// one if there are fewer.
    pub fn cut(rows: &Range<usize>, horizon: usize, most: usize, bptt: usize) -> Self {
        let usable = rows.len().saturating_sub(horizon);
        let count = most.min((usable / bptt).max(1)).min(usable);
        let len = usable.checked_div(count).unwrap_or(0);
        Self { starts: (0..count).map(|stream| (rows.start + stream * len) as u32).collect(), len }
    }

    /// Those of the training rows: as many as a batch has.
    ///
    /// # Errors
    /// If they would be shorter than one part.
    pub fn training(rows: &Range<usize>, config: &Config, bptt: usize) -> Result<Self> {
        let streams = Self::cut(rows, config.horizon, config.batch_size, bptt);
        if streams.starts.len() == config.batch_size && streams.len >= bptt {
            return Ok(streams);
        }
        let most = rows.len().saturating_sub(config.horizon) / config.batch_size;
        let problem = format!(
            "is {bptt}, but {} training rows in {} streams are {most} rows each",
            rows.len(),
            config.batch_size
        );
        let remedy = match most {
            0 => "lower `batch_size`, or give a longer series".to_owned(),
            _ => format!("use at most {most}, lower `batch_size`, or give a longer series"),
        };
        Err(Error::option("bptt", problem, remedy))
    }

    /// The parts that an epoch takes the streams in, each `bptt` time steps long, the last one what is left. With jitter
    /// (Merity, Keskar & Socher 2018) a part's length is normal around `bptt`, or with probability 0.05 around half of it,
    /// with deviation 5, so that the cuts fall elsewhere in each epoch.
    pub fn parts(&self, config: &Config, bptt: usize, epoch: usize) -> Vec<Range<usize>> {
        let mut rng = Rng::new(config.seed, Stream::Parts { epoch: epoch as u32 });
        let mut parts = Vec::new();
        let mut from = 0;
        while from < self.len {
            let steps = if config.bptt_jitter { jitter(bptt, &mut rng) } else { bptt };
            parts.push(from..self.len.min(from + steps));
            from += steps;
        }
        parts
    }

    /// The most parts that an epoch can have.
    pub fn most_parts(&self, config: &Config, bptt: usize) -> usize {
        self.len.div_ceil(if config.bptt_jitter { least(bptt) } else { bptt })
    }
}

fn least(bptt: usize) -> usize {
    bptt.min(5)
}

fn jitter(bptt: usize, rng: &mut Rng) -> usize {
    let base = if rng.uniform() < 0.95 { bptt as f64 } else { bptt as f64 / 2.0 };
    (base + 5.0 * rng.normal()).clamp(least(bptt) as f64, (bptt + BPTT_JITTER) as f64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_cover_the_rows_side_by_side() {
        let streams = Streams::cut(&(10..115), 2, 4, 7);
        assert_eq!((streams.starts, streams.len), (vec![10, 35, 60, 85], 25));
        assert_eq!(Streams::cut(&(0..20), 1, 4, 7).starts, [0, 9], "fewer streams where they would be too short");
        assert_eq!(Streams::cut(&(0..5), 1, 4, 7).len, 4, "one, if there are fewer rows");
        assert!(Streams::cut(&(0..1), 1, 4, 7).starts.is_empty());
        let config = Config { batch_size: 4, horizon: 1, ..Config::default() };
        let error = Streams::training(&(0..20), &config, 7).unwrap_err().to_string();
        assert!(error.contains("are 4 rows each") && error.contains("use at most 4"), "{error}");
    }

    #[test]
    fn parts_follow_each_other_and_vary_as_asked() {
        let streams = Streams { starts: vec![0], len: 100_000 };
        let config = Config { bptt_jitter: true, ..Config::default() };
        let even = streams.parts(&Config::default(), 70, 0);
        assert_eq!((even.len(), even[1].clone(), even.last().cloned()), (1429, 70..140, Some(99_960..100_000)));
        let parts = streams.parts(&config, 70, 0);
        assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert_eq!((parts[0].start, parts.last().unwrap().end), (0, 100_000));
        let lengths: Vec<f64> = parts[..parts.len() - 1].iter().map(|part| part.len() as f64).collect();
        let mean = lengths.iter().sum::<f64>() / lengths.len() as f64;
        assert!((mean - (0.95 * 70.0 + 0.05 * 35.0)).abs() < 1.0, "{mean}");
        let halves = lengths.iter().filter(|&&len| len < 52.0).count() as f64 / lengths.len() as f64;
        assert!((halves - 0.05).abs() < 0.02, "{halves}");
        assert!(lengths.iter().all(|&len| (5.0..=85.0).contains(&len)));
        assert_ne!(parts, streams.parts(&config, 70, 1));
        assert_eq!(parts, streams.parts(&config, 70, 0));
        assert!(parts.len() <= streams.most_parts(&config, 70));
    }
}
