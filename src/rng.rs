//! Random numbers from a counter: the same (seed, stream, position) gives the same number on every machine, and a run
//! can go on from any position without having kept a state.

/// Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3").
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let [a, b, c, d] = counter;
        let (x, y) = (u64::from(a) * 0xD251_1F53, u64::from(c) * 0xCD9E_8D57);
        counter = [(y >> 32) as u32 ^ b ^ key[0], y as u32, (x >> 32) as u32 ^ d ^ key[1], x as u32];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// What the masks of one draw are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Dropout on a layer's input.
    Input = 2,
    /// Dropout on h on its way into the gates.
    Recurrent = 3,
    /// Dropout on the recurrent weights.
    Weight = 4,
    /// Zoneout of h and c.
    Zoneout = 5,
}

/// Random words by place: the same in the backward pass as in the forward pass, and on every device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskKey {
    /// The run's seed.
    pub seed: u64,
    /// The number of the draw, new for each batch.
    pub draw: u32,
    /// What for.
    pub purpose: Purpose,
    /// Layer and direction.
    pub cell: u32,
}

/// Blocks that are drawn together, as many as fill two of the widest registers with words of 64 bits.
pub const LANES: usize = 16;

impl MaskKey {
    /// The key's two words for [`philox`], and the three words of the counter after the block's number.
    pub fn parts(&self) -> ([u32; 2], [u32; 3]) {
        ([self.seed as u32, (self.seed >> 32) as u32], [self.draw, self.purpose as u32, self.cell])
    }

    /// The words of blocks `first .. first + 16`: word `w` of block `first + b` lies at `[w][b]`.
    #[inline(always)]
    pub fn blocks(&self, first: u32) -> [[u32; LANES]; 4] {
        let (mut key, counter) = self.parts();
        let mut a = [0; LANES];
        for (lane, a) in a.iter_mut().enumerate() {
            *a = u64::from(first.wrapping_add(lane as u32));
        }
        // Each word is the low half of one twice as wide, whose high half is a product's: so nothing moves from lane to lane.
        let [mut b, mut c, mut d] = counter.map(|word| [u64::from(word); LANES]);
        for _ in 0..10 {
            for lane in 0..LANES {
                let (x, y) = (u64::from(a[lane] as u32) * 0xD251_1F53, u64::from(c[lane] as u32) * 0xCD9E_8D57);
                a[lane] = (y >> 32) ^ b[lane] ^ u64::from(key[0]);
                c[lane] = (x >> 32) ^ d[lane] ^ u64::from(key[1]);
                (b[lane], d[lane]) = (y, x);
            }
            key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
        }
        let mut words = [[0; LANES]; 4];
        for (words, wide) in words.iter_mut().zip([a, b, c, d]) {
            words.iter_mut().zip(wide).for_each(|(word, wide)| *word = wide as u32);
        }
        words
    }

    /// The words at places `first ..`, four to a block.
    #[inline(always)]
    pub fn fill(&self, first: usize, words: &mut [u32]) {
        let mut skip = first % 4;
        let mut block = (first / 4) as u32;
        let mut rest = words;
        while !rest.is_empty() {
            let [a, b, c, d] = self.blocks(block);
            let mut in_order = [0; 4 * LANES];
            for lane in 0..LANES {
                in_order[4 * lane..][..4].copy_from_slice(&[a[lane], b[lane], c[lane], d[lane]]);
            }
            let (now, after) = rest.split_at_mut(rest.len().min(4 * LANES - skip));
            now.copy_from_slice(&in_order[skip..][..now.len()]);
            (rest, skip, block) = (after, 0, block.wrapping_add(LANES as u32));
        }
    }
}

/// What a stream of numbers is for. Numbers of one purpose never depend on how many another one took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Start values of the parameters.
    Init,
    /// Order of the training windows in an epoch.
    Shuffle {
        /// The epoch, counted from 0.
        epoch: u32,
    },
    /// Data of the tasks that are made up.
    Data,
    /// Lengths of the parts in an epoch of truncated back-propagation.
    Parts {
        /// The epoch, counted from 0.
        epoch: u32,
    },
    /// Characters that a model of text chooses.
    Choice,
}

/// The numbers of one stream in order.
#[derive(Clone, Debug)]
pub struct Rng {
    key: [u32; 2],
    stream: [u32; 2],
    position: u64,
    block: [u32; 4],
}

impl Rng {
    /// The start of `stream` for `seed`.
    pub fn new(seed: u64, stream: Stream) -> Self {
        let stream = match stream {
            // A mask's purpose stands where these have 0 and 1.
            Stream::Init => [0, 0],
            Stream::Shuffle { epoch } => [1, epoch],
            Stream::Data => [6, 0],
            Stream::Parts { epoch } => [7, epoch],
            Stream::Choice => [8, 0],
        };
        Self { key: [seed as u32, (seed >> 32) as u32], stream, position: 0, block: [0; 4] }
    }

    /// The next 32 random bits.
    pub fn bits(&mut self) -> u32 {
        let lane = (self.position % 4) as usize;
        if lane == 0 {
            let block = self.position / 4;
            self.block = philox([block as u32, (block >> 32) as u32, self.stream[0], self.stream[1]], self.key);
        }
        self.position += 1;
        self.block[lane]
    }

    /// A number in [0, 1), a multiple of 2⁻²⁴, so that it is exact in f32.
    pub fn uniform(&mut self) -> f64 {
        f64::from(self.bits() >> 8) / f64::from(1u32 << 24)
    }

    /// A normal number, mean 0 and variance 1 (Box & Muller 1958). Never 0: the generator's bits stand for the middles of
    /// 2³² equal parts of the interval (0, 1).
    pub fn normal(&mut self) -> f64 {
        let mut middle = || (f64::from(self.bits()) + 0.5) / 2f64.powi(32);
        let radius = (-2.0 * middle().ln()).sqrt();
        radius * (std::f64::consts::TAU * middle()).cos()
    }

    /// A whole number below `bound`, each equally likely (Lemire 2019).
    pub fn below(&mut self, bound: u32) -> u32 {
        assert!(bound > 0);
        let unfair = bound.wrapping_neg() % bound;
        loop {
            let wide = u64::from(self.bits()) * u64::from(bound);
            if wide as u32 >= unfair {
                return (wide >> 32) as u32;
            }
        }
    }

    /// Puts `values` into a random order, each order equally likely (Fisher & Yates).
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            values.swap(last, self.below(last as u32 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers published with Random123.
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([!0; 4], [!0; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]);
        assert_eq!(pi, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn masks_have_the_words_of_philox() {
        let key = MaskKey { seed: 0x1234_5678_9abc_def0, draw: 7, purpose: Purpose::Zoneout, cell: 3 };
        let mut words = [0; 75];
        key.fill(30, &mut words);
        for (at, &word) in (30..).zip(&words) {
            let block = philox([at / 4, 7, 5, 3], [0x9abc_def0, 0x1234_5678]);
            assert_eq!(word, block[at as usize % 4], "{at}");
        }
    }

    #[test]
    fn shuffle_is_a_permutation_that_depends_on_seed_and_epoch() {
        let order = |seed, epoch| {
            let mut order: Vec<u32> = (0..100).collect();
            Rng::new(seed, Stream::Shuffle { epoch }).shuffle(&mut order);
            order
        };
        let mut sorted = order(1, 0);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert_eq!(order(1, 0), order(1, 0));
        assert_ne!(order(1, 0), order(1, 1));
        assert_ne!(order(1, 0), order(2, 0));
    }

    #[test]
    fn uniform_and_below_have_the_right_mean() {
        let mut rng = Rng::new(7, Stream::Init);
        let mean = (0..40_000).map(|_| rng.uniform()).sum::<f64>() / 40_000.0;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        let mean = (0..40_000).map(|_| f64::from(rng.below(7))).sum::<f64>() / 40_000.0;
        assert!((mean - 3.0).abs() < 0.05, "{mean}");
    }

    #[test]
    fn normal_has_the_right_moments() {
        let mut rng = Rng::new(7, Stream::Init);
        let values: Vec<f64> = (0..40_000).map(|_| rng.normal()).collect();
        let moment = |power| values.iter().map(|value| value.powi(power)).sum::<f64>() / 40_000.0;
        // Four standard errors each: the variances of x, x², x³ and x⁴ are 1, 2, 15 and 96.
        for (power, want, variance) in [(1, 0.0, 1.0f64), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
            let got = moment(power);
            assert!((got - want).abs() < 4.0 * (variance / 40_000.0).sqrt(), "mean of x^{power}: {got}");
        }
        assert!(values.iter().all(|value| *value != 0.0 && value.is_finite()));
    }
}
