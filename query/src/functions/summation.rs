//! Compensated sums, taken in another order where that has the same bits.
//!
//! Neumaier's summation keeps beside a sum what each addition to it lost. Where the magnitudes of the terms tell that
//! this is kept without a loss of its own, sum and compensation are the exact sum together, and their total is
//! that, rounded once. Then whatever else finds the exact sum has the same bits. What is done here begins with a
//! number far above all sums, the anchor: so the larger summand is known, what an addition lost is found in
//! half the operations, and terms need not wait for the ones before them.

use crate::eval::add_finite;

/// Terms that are summed at once.
const LANES: usize = 4;

/// How terms of known magnitudes are summed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Summation {
    /// Nothing where a compensation might lose something, which is to be lost here, too.
    anchor: Option<f64>,
}

impl Summation {
    /// For sums of up to `count` terms, each of them 0 or of a magnitude from `least` to `most`, inclusive.
    pub(super) fn of(count: usize, (least, most): (f64, f64)) -> Self {
        const SAFE_FROM: f64 = 1e-250;
        const SAFE_TO: f64 = 1e250;
        const TWO_TO_54: f64 = (1_u64 << 54) as f64;
        let count = count as f64;
        // At least four times any sum, and a power of two: what lies between it and its double has its last place
        // in common, and all sums that begin at the anchor do.
        let reach = 8.0 * power_of_two(count * most);
        // An addition loses up to half of that place, 2^-53 of the reach. All losses are whole multiples of the
        // last place of the least term, and those below its 2^53-fold are added exactly.
        let is_exact = least >= SAFE_FROM
            && reach <= SAFE_TO
            && count * reach <= TWO_TO_54 * power_of_two(least);
        Self {
            anchor: is_exact.then_some(1.5 * reach),
        }
    }

    /// What compensated summation of the terms of all pairs gives, in their order; not finite where an infinity or
    /// NaN came into it.
    #[inline]
    pub(super) fn total(
        self,
        lefts: &[f64],
        rights: &[f64],
        term: impl Fn(f64, f64) -> f64,
    ) -> f64 {
        let Some(anchor) = self.anchor else {
            let pairs = lefts.iter().zip(rights);
            let (sum, rest) = pairs.fold((0.0, 0.0), |(sum, rest), (left, right)| {
                add_finite(term(*left, *right), sum, rest)
            });
            return sum + rest;
        };
        let (mut sums, mut rests) = ([anchor; LANES], [0.0; LANES]);
        let mut add = |lane: usize, left: f64, right: f64| {
            let term = term(left, right);
            let sum = sums[lane] + term;
            rests[lane] += term - (sum - sums[lane]);
            sums[lane] = sum;
        };
        let (lefts, last_lefts) = lefts.as_chunks::<LANES>();
        let (rights, last_rights) = rights.as_chunks::<LANES>();
        for (lefts, rights) in lefts.iter().zip(rights) {
            for lane in 0..LANES {
                add(lane, lefts[lane], rights[lane]);
            }
        }
        for (lane, (left, right)) in last_lefts.iter().zip(last_rights).enumerate() {
            add(lane, *left, *right);
        }
        let sum: f64 = sums.iter().map(|sum| sum - anchor).sum();
        sum + rests.iter().sum::<f64>()
    }
}

/// The least and the greatest magnitude of the values that are not 0; the greatest is no number where one of them is
/// none.
pub(super) fn magnitudes(values: &[f64]) -> (f64, f64) {
    let (mut least, mut most) = (f64::INFINITY.to_bits(), 0);
    for value in values {
        // Magnitudes are in the order of their bits, NaN above all.
        let bits = value.abs().to_bits();
        most = bits.max(most);
        least = if bits == 0 { least } else { bits.min(least) };
    }
    (f64::from_bits(least), f64::from_bits(most))
}

/// The greatest power of two that is not above a number, which is positive and not subnormal; 0 of 0.
fn power_of_two(number: f64) -> f64 {
    f64::from_bits(number.to_bits() & f64::INFINITY.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::add_exact;

    #[test]
    fn totals_have_the_bits_of_compensated_sums_in_order() {
        let mut state = 1_u64;
        let mut below = |end: u64| {
            state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
            (state >> 11) % end
        };
        let mut anchored = 0;
        for round in 0..4_000 {
            let count = 1 + below(300) as usize;
            // The wider, the sooner a compensation loses something.
            let (least, width) = (1_000 + below(50), 1 + below(60));
            let terms = (0..count).map(|_| match below(20) {
                0 => 0.0,
                1 => -0.0,
                _ => {
                    let exponent = least + below(width);
                    f64::from_bits(below(2) << 63 | exponent << 52 | below(1 << 52))
                }
            });
            let mut terms: Vec<f64> = terms.collect();
            if round % 100 == 0 {
                terms[count / 2] = [f64::NAN, f64::INFINITY][round / 100 % 2];
            }
            let summation = Summation::of(count, magnitudes(&terms));
            anchored += u32::from(summation.anchor.is_some());
            // A term is made of its halves, each of a column.
            let halves: Vec<f64> = terms.iter().map(|term| term / 2.0).collect();
            let found = summation.total(&halves, &halves, |left, right| left + right);
            let in_order = terms
                .iter()
                .fold((0.0, 0.0), |(sum, rest), term| add_exact(*term, sum, rest));
            let expected = in_order.0 + in_order.1;
            assert!(
                found.to_bits() == expected.to_bits()
                    || !(found.is_finite() || expected.is_finite()),
                "round {round}: {found}, in order {expected}, of {count} from 2^{least} on, {width} wide"
            );
        }
        assert!((1_000..3_000).contains(&anchored), "{anchored}");
    }

    #[test]
    fn magnitudes_leave_zeros_out_and_keep_what_is_no_number() {
        assert_eq!(magnitudes(&[-3.0, 0.5, -0.0, 0.0, 2.0]), (0.5, 3.0));
        assert_eq!(magnitudes(&[0.0]), (f64::INFINITY, 0.0));
        assert!(magnitudes(&[1.0, f64::NAN, f64::INFINITY]).1.is_nan());
    }
}
