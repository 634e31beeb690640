//! Random numbers that are the same on every machine: SplitMix64 (Steele, Lea and Flood, 2014).

/// A generator of numbers.
#[derive(Clone, Debug)]
pub(super) struct Draw {
    state: u64,
}

impl Draw {
    /// The generator of one purpose: different streams of one seed have nothing to do with each other.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut draw = Self { state: seed };
        let first = draw.next();
        Self { state: first ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03) }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.state;
        word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ word >> 31
    }

    /// A number below `bound`, which is above 0. The bias is below one in 2³² for the bounds of a bench.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let product = u128::from(self.next()) * bound as u128;
        usize::try_from(product >> 64).unwrap_or(0)
    }

    /// A number in [0, 1), of 53 bits.
    pub(super) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number of the normal distribution (Box and Muller).
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Puts things into random order.
    pub(super) fn shuffle<T>(&mut self, things: &mut [T]) {
        for at in (1..things.len()).rev() {
            things.swap(at, self.below(at + 1));
        }
    }

    /// So many of the numbers below `bound`, ascending.
    pub(super) fn subset(&mut self, bound: usize, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..bound).collect();
        self.shuffle(&mut all);
        all.truncate(count);
        all.sort_unstable();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_same_for_ever_and_look_drawn() {
        let mut draw = Draw { state: 1_234_567 };
        // The first numbers of the published generator for this seed.
        assert_eq!(draw.next(), 6_457_827_717_110_365_317);
        assert_eq!(draw.next(), 3_203_168_211_198_807_973);
        let mean = |numbers: &[f64]| numbers.iter().sum::<f64>() / numbers.len() as f64;
        let normal: Vec<f64> = (0..10_000).map(|_| draw.normal()).collect();
        let squares: Vec<f64> = normal.iter().map(|number| number * number).collect();
        assert!(mean(&normal).abs() < 0.05 && (mean(&squares) - 1.0).abs() < 0.05);
        let below: Vec<f64> = (0..10_000).map(|_| draw.below(7) as f64).collect();
        assert!((mean(&below) - 3.0).abs() < 0.1);
        let subset = draw.subset(10, 4);
        assert!(subset.windows(2).all(|pair| pair[0] < pair[1]) && subset.len() == 4 && subset[3] < 10);
        assert_ne!(Draw::new(1, 2).next(), Draw::new(1, 3).next());
    }
}
