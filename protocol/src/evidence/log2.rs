//! Binary logarithms in integers, the same on every machine.

/// log2(`n`) in Q16.16 (the value times 2^16), rounded down; 0 for `n` = 0, where there is no logarithm.
///
/// The mantissa is squared once per fraction bit (the classical digit-by-digit method) in 64-bit precision. Truncation
/// there costs less than 2^-58, so the result lies below the true value by less than 2^-16 + 2^-58, and it never falls
/// when `n` rises.
pub fn log2_q16(n: u64) -> u32 {
    // At most 64 times 2^16.
    u32::try_from(log2(n, 16)).unwrap_or(u32::MAX)
}

/// log2(`n`) in Q32.32, rounded down as far as 64-bit precision goes: the error of each squaring is doubled by every later
/// one, so that the last bits may be low, by less than 2^-24 of the value in all; 0 for `n` = 0.
pub fn log2_q32(n: u64) -> u64 {
    log2(n, 32)
}

fn log2(n: u64, fraction_bits: u32) -> u64 {
    let Some(whole) = n.checked_ilog2() else { return 0 };
    // The mantissa in [1, 2), scaled by 2^63.
    let mut mantissa = u128::from(n << (63 - whole));
    let mut result = u64::from(whole);
    for _ in 0..fraction_bits {
        mantissa = (mantissa * mantissa) >> 63;
        let two_or_more = mantissa >> 64 != 0;
        mantissa >>= u32::from(two_or_more);
        result = result << 1 | u64::from(two_or_more);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_types, reason = "the oracle of a test is a float")]
    fn check(n: u64) {
        #[expect(clippy::cast_precision_loss, reason = "the oracle of a test")]
        let exact = (n as f64).log2() * 65_536.0;
        let got = f64::from(log2_q16(n));
        // The oracle's own error stays below 1e-9 of a unit in the last place.
        assert!(got <= exact + 1e-6 && exact - got < 1.0 + 1e-6, "log2({n}): {got} for {exact}");
    }

    #[test]
    fn within_one_unit_below_the_true_value() {
        (1..1 << 20).for_each(check);
        for power in 0..64 {
            let n = 1_u64 << power;
            assert_eq!(log2_q16(n), power << 16);
            [n, n.saturating_sub(1).max(1), n | 1, n | n >> 1, n | n >> 2, n + (n / 3)].into_iter().for_each(check);
        }
        check(u64::MAX);
        assert_eq!(log2_q16(0), 0);
    }

    #[test]
    #[expect(clippy::disallowed_types, reason = "the oracle of a test is a float")]
    fn thirty_two_bits_go_on_where_sixteen_end() {
        #[expect(clippy::cast_precision_loss, reason = "the oracle of a test")]
        for n in [1, 2, 3, 10, 1 << 40, (1 << 40) + 1, u64::MAX / 3, u64::MAX - 1, u64::MAX] {
            assert_eq!(log2_q32(n) >> 16, u64::from(log2_q16(n)), "{n}");
            let (exact, got) = ((n as f64).log2(), log2_q32(n) as f64 / 4_294_967_296.0);
            assert!((exact - got).abs() < 1e-9, "log2({n}): {got} for {exact}");
        }
        assert!(log2_q32(u64::MAX) < 64 << 32);
    }

    #[test]
    fn never_falls() {
        let small: Vec<u64> = (1..1 << 20).collect();
        let large: Vec<u64> = (0..1 << 16).map(|step| step << 48 | 0x1234_5678).collect();
        for numbers in [small, large] {
            assert!(numbers.is_sorted_by_key(|n| log2_q16(*n)));
        }
    }
}
