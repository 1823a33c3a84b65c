//! Windows over a time column, and exact sums over the values in them.

/// The samples in `(end - range_ms, end]` for each end, as index pairs `low..high`. `times` and
/// `ends` ascend, so that one pass over both suffices.
pub(crate) fn bounds(
    times: &[i64],
    ends: impl Iterator<Item = i64>,
    range_ms: i64,
    out: &mut Vec<(u32, u32)>,
) {
    out.clear();
    out.reserve(ends.size_hint().0);
    let (mut low, mut high) = (Walk::default(), Walk::default());
    for end in ends {
        let start = end.saturating_sub(range_ms);
        let high = high.pass(times, end);
        let low = low.pass(times, start);
        out.push((low as u32, high as u32));
    }
}

/// A place in ascending times that only moves forward.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    index: usize,
    /// By how much it moved last.
    stride: usize,
}

impl Walk {
    /// Moves behind all times up to `end`, and says how many those are. It is quick when the place is as far
    /// away as last time, for most times and ends are even, or near.
    #[inline]
    pub(crate) fn pass(&mut self, times: &[i64], end: i64) -> usize {
        let rest = &times[self.index..];
        let passes = |index: usize| rest.get(index).map(|time| *time <= end);
        let is_there = self.stride.checked_sub(1).and_then(passes) != Some(false)
            && self.stride <= rest.len()
            && passes(self.stride) != Some(true);
        if !is_there {
            self.stride = partition_point_near(rest, end);
        }
        self.index += self.stride;
        self.index
    }
}

/// How many times are not after `end`, in steps that double.
fn partition_point_near(times: &[i64], end: i64) -> usize {
    let mut reach = 1;
    while reach < times.len() && times[reach - 1] <= end {
        reach *= 2;
    }
    let from = reach / 2;
    let to = reach.min(times.len());
    from + times[from..to].partition_point(|time| *time <= end)
}

/// Adds to a sum with its compensation; the sum is `sum + compensation`.
///
/// **Source**: Neumaier's variant of Kahan's summation, as Prometheus uses it; the compensation is
/// forgotten when the sum overflows.
#[inline]
pub(crate) fn add_exact(value: f64, sum: f64, compensation: f64) -> (f64, f64) {
    let total = sum + value;
    let (larger, smaller) = if sum.abs() >= value.abs() {
        (sum, value)
    } else {
        (value, sum)
    };
    let rest = (larger - total) + smaller;
    let compensation = if total.is_infinite() {
        0.0
    } else {
        compensation + rest
    };
    (total, compensation)
}

/// [`add_exact`] in half the time, with the same bits as long as no sum overflows and every value is a finite
/// number: after one that is not, sum and compensation together are not finite any more.
///
/// **Source**: Knuth's two-sum finds what an addition lost without asking which summand is the larger; both
/// ways find it exactly.
#[inline]
pub(crate) fn add_finite(value: f64, sum: f64, compensation: f64) -> (f64, f64) {
    let total = sum + value;
    let added = total - sum;
    let rest = (sum - (total - added)) + (value - added);
    (total, compensation + rest)
}

/// A running mean: a plain sum until that overflows, a weighted mean from then on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mean {
    /// The sum, or the mean when `incremental`.
    value: f64,
    compensation: f64,
    count: f64,
    incremental: bool,
}

impl Mean {
    /// The mean of one value.
    #[inline]
    pub(crate) fn of(value: f64) -> Self {
        Self {
            value,
            compensation: 0.0,
            count: 1.0,
            incremental: false,
        }
    }

    /// The mean of so many values with this sum, which is finite unless it is of one value.
    #[inline]
    pub(crate) fn of_sum(sum: f64, compensation: f64, count: f64) -> Self {
        Self {
            value: sum,
            compensation,
            count,
            incremental: false,
        }
    }

    /// Takes one more value into account.
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        let count = self.count;
        if !self.incremental {
            let (sum, compensation) = add_exact(value, self.value, self.compensation);
            if !sum.is_infinite() {
                (self.value, self.compensation) = (sum, compensation);
                return;
            }
            self.incremental = true;
            self.value /= count - 1.0;
            self.compensation /= count - 1.0;
        }
        let weight = (count - 1.0) / count;
        (self.value, self.compensation) = add_exact(
            value / count,
            weight * self.value,
            weight * self.compensation,
        );
    }

    /// The mean.
    #[inline]
    pub(crate) fn finish(self) -> f64 {
        if self.incremental {
            self.value + self.compensation
        } else {
            self.value / self.count + self.compensation / self.count
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_open_on_the_left_and_closed_on_the_right() {
        let times = [0, 10, 20, 30, 40];
        let mut out = Vec::new();
        bounds(&times, [10, 20, 25, 100].into_iter(), 20, &mut out);
        assert_eq!(out, [(0, 2), (1, 3), (1, 3), (5, 5)]);
    }

    #[test]
    fn a_walk_comes_where_a_search_from_the_front_does() {
        let mut state = 1_u64;
        let mut below = |end: u64| {
            state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
            ((state >> 33) % end).cast_signed()
        };
        for _ in 0..2_000 {
            let (interval, step) = (1 + below(4), below(12));
            let (mut time, mut end) = (below(20), below(20));
            let times = (0..below(40)).map(|_| {
                time += if below(8) == 0 { below(9) } else { interval };
                time
            });
            let times: Vec<i64> = times.collect();
            let mut walk = Walk::default();
            for _ in 0..12 {
                end += if below(8) == 0 { below(30) } else { step };
                let expected = times.iter().filter(|time| **time <= end).count();
                assert_eq!(walk.pass(&times, end), expected, "{times:?} to {end}");
            }
        }
    }

    #[test]
    fn a_mean_of_huge_values_does_not_overflow() {
        let mut mean = Mean::of(f64::MAX);
        mean.add(f64::MAX);
        mean.add(f64::MAX);
        assert!((mean.finish() / f64::MAX - 1.0).abs() < 1e-15, "{mean:?}");
    }

    #[test]
    fn two_ways_to_add_agree_in_every_bit() {
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
            state >> 11
        };
        let mut finite = 0;
        for _ in 0..20_000 {
            let (mut exact, mut other) = ((0.0, 0.0), (0.0, 0.0));
            let reach = random() % 2_046 + 1;
            for _ in 0..8 {
                // Of all signs, with exponents near one another, now and then far off or at the end.
                let exponent = match random() % 8 {
                    0 => random() % 2_047,
                    1 => 2_046,
                    _ => (reach + random() % 60).min(2_046),
                };
                let bits = random() << 63 | exponent << 52 | random() & ((1 << 52) - 1);
                let value = match random() % 16 {
                    0 => 0.0,
                    1 => -0.0,
                    2 if random() % 64 == 0 => f64::INFINITY,
                    _ => f64::from_bits(bits),
                };
                exact = add_exact(value, exact.0, exact.1);
                other = add_finite(value, other.0, other.1);
                if (other.0 + other.1).is_finite() {
                    finite += 1;
                    assert_eq!(other.0.to_bits(), exact.0.to_bits());
                    assert_eq!(other.1.to_bits(), exact.1.to_bits());
                }
            }
        }
        assert!((50_000..160_000).contains(&finite), "{finite}");
    }

    #[test]
    fn small_values_are_not_lost_beside_a_huge_one() {
        let (mut sum, mut compensation) = (0.0, 0.0);
        for value in [1.0, 1e100, 1.0, -1e100] {
            (sum, compensation) = add_exact(value, sum, compensation);
        }
        assert_eq!(sum + compensation, 2.0);
    }
}
