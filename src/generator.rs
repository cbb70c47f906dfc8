//! A trained model of text at work: it reads a prompt and goes on, one character after the other.

use crate::device::Real;
use crate::error::{Error, Result};
use crate::interop::{Model, ModelInfo};
use crate::kernels::Kernels;
use crate::model::{Batch, Network};
use crate::order;
use crate::rng::{Rng, Stream};

/// How the next character is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Probabilities are taken to the power 1 / temperature: below 1 it dares less, above 1 more. 0 always takes the likeliest.
    pub temperature: f64,
    /// Only this many of the likeliest may be chosen; 0 is no limit (Fan, Lewis & Dauphin 2018).
    pub top_k: usize,
    /// Only the likeliest that together have this probability may be chosen (Holtzman et al. 2020).
    pub top_p: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.8, top_k: 0, top_p: 1.0 }
    }
}

impl Sampling {
    /// Fails on values that cannot be used.
    ///
    /// # Errors
    /// Names the option.
    pub fn validate(&self) -> Result<()> {
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            let problem = format!("is {}", self.temperature);
            return Err(Error::option("temperature", problem, "use 0 or a number above it, such as 0.8"));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            let remedy = "use a share above 0, up to 1";
            return Err(Error::option("top_p", format!("is {}", self.top_p), remedy));
        }
        Ok(())
    }

    /// One of the classes, by their logits; `uniform` in [0, 1) decides.
    pub fn choose(&self, logits: &[f64], uniform: f64) -> usize {
        let mut order = order::by_key(logits.len(), |class| !order::key_of(logits[class]));
        if self.temperature == 0.0 {
            return order[0];
        }
        if self.top_k > 0 {
            order.truncate(self.top_k);
        }
        let largest = logits[order[0]];
        let weight = |class: usize| ((logits[class] - largest) / self.temperature).exp();
        let all: f64 = order.iter().map(|&class| weight(class)).sum();
        let mut sum = 0.0;
        let enough = order.iter().position(|&class| {
            sum += weight(class) / all;
            sum >= self.top_p
        });
        order.truncate(enough.map_or(order.len(), |last| last + 1));
        let mut left = uniform * order.iter().map(|&class| weight(class)).sum::<f64>();
        let chosen = order.iter().position(|&class| {
            left -= weight(class);
            left < 0.0
        });
        order[chosen.unwrap_or(order.len() - 1)]
    }
}

/// A model of text on a device.
pub struct Generator<D: Kernels> {
    device: D,
    alphabet: Vec<char>,
    net: Network<D>,
    rng: Rng,
    logits: Vec<f64>, // of the next character; none before there was a prompt
}

impl<D: Kernels> Generator<D> {
    /// Puts `model` on `device`. Equal seeds choose alike.
    ///
    /// # Errors
    /// If it is no model of text, or does not fit the device.
    pub fn new(device: D, model: &Model, seed: u64) -> Result<Self> {
        let ModelInfo { alphabet, .. } = &model.info;
        if alphabet.is_empty() {
            let remedy = "give a model that was trained on a text, or use `bptt forecast`";
            return Err(Error::option("model", "forecasts numbers and writes no text", remedy));
        }
        let mut shape = model.info.shape();
        if shape.lstm.bidirectional {
            let remedy = "train one without `bidirectional`";
            return Err(Error::option("model", "reads its text from both ends, so that it cannot go on", remedy));
        }
        (shape.lstm.steps, shape.lstm.batch, shape.checkpoint_every) = (1, 1, 0);
        device.check(&shape.needs(&device))?;
        let mut net = Network::new(&device, shape);
        device.write_f32(&mut net.params, &model.parameters);
        Ok(Self {
            device,
            alphabet: alphabet.chars().collect(),
            net,
            rng: Rng::new(seed, Stream::Choice),
            logits: Vec::new(),
        })
    }

    /// `length` characters that follow `prompt`. `each` is called with every one as it comes.
    ///
    /// # Errors
    /// Those of [`begin`](Generator::begin) and [`next`](Generator::next).
    pub async fn write(
        &mut self,
        prompt: &str,
        length: usize,
        sampling: &Sampling,
        mut each: impl FnMut(char),
    ) -> Result<()> {
        sampling.validate()?;
        self.begin(prompt).await?;
        for _ in 0..length {
            each(self.next(sampling).await?);
        }
        Ok(())
    }

    /// Forgets what was before and reads `prompt`; an empty one is a line's end, or the first character of the alphabet.
    ///
    /// # Errors
    /// Characters that the model has never seen, or those of the device.
    pub async fn begin(&mut self, prompt: &str) -> Result<()> {
        let mut read = Vec::new();
        for letter in prompt.chars() {
            read.push(self.place(letter).ok_or_else(|| {
                let problem = format!("has {letter:?}, which the model has never seen");
                Error::option("prompt", problem, "leave it out")
            })?);
        }
        if read.is_empty() {
            read.push(self.place('\n').unwrap_or(0));
        }
        for (index, &class) in read.iter().enumerate() {
            self.logits = self.read(class, index > 0).await?;
        }
        Ok(())
    }

    /// The next character.
    ///
    /// # Errors
    /// A sampling that cannot be used, or those of the device.
    pub async fn next(&mut self, sampling: &Sampling) -> Result<char> {
        sampling.validate()?;
        if self.logits.is_empty() {
            self.begin("").await?;
        }
        let class = sampling.choose(&self.logits, self.rng.uniform());
        self.logits = self.read(class, true).await?;
        Ok(self.alphabet[class])
    }

    fn place(&self, letter: char) -> Option<usize> {
        self.alphabet.iter().position(|&known| known == letter)
    }

    /// Takes one character in; the logits of the next.
    async fn read(&mut self, class: usize, stateful: bool) -> Result<Vec<f64>> {
        let mut x = vec![0.0; self.alphabet.len()];
        x[class] = 1.0;
        let batch = Batch { stateful, ..Batch::even(1, 1) };
        self.device.write_f32(&mut self.net.x, &x);
        self.net.forward(&self.device, &batch);
        self.net.carry(&self.device, &batch);
        self.net.advance();
        let logits = self.device.read(&self.net.prediction, 0..self.alphabet.len()).await?;
        Ok(logits.into_iter().map(Real::double).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::Sampling;

    #[test]
    fn choices_follow_their_probabilities() {
        let logits = [0.1f64, 0.6, 0.3].map(f64::ln);
        let count = |sampling: Sampling| {
            let mut counts = [0; 3];
            (0..1000).for_each(|i| counts[sampling.choose(&logits, f64::from(i) / 1000.0)] += 1);
            counts
        };
        let all = Sampling { temperature: 1.0, ..Sampling::default() };
        assert_eq!(count(all), [100, 600, 300]);
        assert_eq!(count(Sampling { temperature: 0.0, ..all }), [0, 1000, 0]);
        assert_eq!(count(Sampling { top_k: 2, ..all }), [0, 667, 333]);
        assert_eq!(count(Sampling { top_p: 0.7, ..all }), [0, 667, 333]);
        assert_eq!(count(Sampling { top_p: 0.5, ..all }), [0, 1000, 0]);
        let bold = count(Sampling { temperature: 2.0, ..all });
        assert!(bold[0] > 100 && bold[1] < 600, "{bold:?}");
        assert!(Sampling { temperature: -1.0, ..all }.validate().is_err());
        assert!(Sampling { top_p: 0.0, ..all }.validate().is_err());
    }
}
