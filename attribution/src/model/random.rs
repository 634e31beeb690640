//! Numbers that look random and follow from a seed alone, the same on every machine.

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub(super) struct SplitMix(u64);

impl SplitMix {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator of its own for each place of use, so that none repeats another's numbers.
    pub(super) fn keyed(seed: u64, place: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("tributary v1 model random");
        hasher.update(&seed.to_le_bytes());
        hasher.update(place);
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        Self(u64::from_le_bytes(first))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in [0, 1), one of 65,536: exact in a float, and fine enough among forty tokens.
    pub(super) fn unit(&mut self) -> f32 {
        let bits = u16::try_from(self.next() >> 48).unwrap_or(0);
        f32::from(bits) / 65_536.0
    }

    /// A number in [0, 1) with the 53 bits of a double.
    pub(super) fn double(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number below `bound`, which is not 0, by the high half of a product: without division, and
    /// off from uniform by less than `bound / 2^64`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let product = u128::from(self.next()) * bound as u128;
        usize::try_from(product >> 64).unwrap_or(0)
    }

    /// `count` floats, uniform between `-limit` and `limit`. Uniform and not normal, because a
    /// normal one takes a logarithm, whose last bit differs between machines.
    pub(super) fn floats(&mut self, count: usize, limit: f64) -> Vec<f32> {
        (0..count).map(|_| single((self.double() * 2.0 - 1.0) * limit)).collect()
    }
}

/// The nearest `f32`.
#[expect(clippy::cast_possible_truncation, reason = "rounding to the nearest float is what is asked for")]
pub(super) fn single(x: f64) -> f32 {
    x as f32
}
