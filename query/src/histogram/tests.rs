//! Expected values are worked out by hand from the specification, but for those of which it is said that they are
//! Prometheus's.

use std::sync::Arc;

use narthex_storage::{CUSTOM_BUCKETS_SCHEMA, ResetHint};

use super::{
    Addition, Buckets, FloatHistogram, HistogramSum, IncompatibleSchema, Keep, bounds::exponential,
};

fn buckets(first: i32, counts: &[f64]) -> Buckets {
    let end = first + counts.len() as i32;
    Buckets::new((first..end).collect(), counts.to_vec())
}

/// A histogram whose count is that of its buckets.
fn histogram(schema: i8, zero: (f64, f64), positive: Buckets, negative: Buckets) -> FloatHistogram {
    let sides = positive.iter().chain(negative.iter());
    FloatHistogram {
        schema,
        zero_threshold: zero.0,
        zero_count: zero.1,
        count: zero.1 + sides.map(|(_, count)| count).sum::<f64>(),
        positive,
        negative,
        ..FloatHistogram::default()
    }
}

fn custom(bounds: &[f64], counts: &[f64]) -> FloatHistogram {
    FloatHistogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        count: counts.iter().sum(),
        positive: buckets(0, counts),
        custom_bounds: Arc::from(bounds),
        ..FloatHistogram::default()
    }
}

#[test]
fn bounds_are_powers_of_two_and_even_steps_between_them() {
    for (index, schema, bound) in [
        (0, 0, 1.0),
        (1, 0, 2.0),
        (-1, 0, 0.5),
        // Prometheus's, one step below the nearest number.
        (1, 1, std::f64::consts::SQRT_2.next_down()),
        (2, 1, 2.0),
        (1, -1, 4.0),
        (-1, -1, 0.25),
        (1, -4, 65536.0),
        // 2^(1/256) to the nearest number.
        (1, 8, 1.0027112750502025),
        (1023, 0, 2_f64.powi(1023)),
        // The last bucket ends at the greatest number, what lies beyond has no end.
        (1024, 0, f64::MAX),
        (1025, 0, f64::INFINITY),
        (-1074, 0, 5e-324),
        (-1075, 0, 0.0),
        (i32::MIN, 8, 0.0),
        (i32::MAX, -4, f64::INFINITY),
    ] {
        assert_eq!(exponential(index, schema), bound, "{index} {schema}");
    }
}

#[test]
fn the_sum_of_two_schemas_has_the_coarser_one() {
    // (1, √2] 1, (√2, 2] 2, (2, 2√2] 4 beside (0.5, 1] 10, (1, 2] 20.
    let mut fine = histogram(
        1,
        (0.0, 0.0),
        buckets(1, &[1.0, 2.0, 4.0]),
        Buckets::default(),
    );
    let coarse = histogram(0, (0.0, 0.0), buckets(0, &[10.0, 20.0]), Buckets::default());
    let mut other = coarse.clone();
    let expected = "{count:37, sum:0, (0.5,1]:10, (1,2]:23, (2,4]:4}";
    assert_eq!(other.add(&fine), Ok(Addition::default()));
    assert_eq!(other.to_string(), expected);
    assert_eq!(fine.add(&coarse), Ok(Addition::default()));
    assert_eq!(fine.to_string(), expected);
    assert_eq!(fine.subtract(&coarse), Ok(Addition::default()));
    assert_eq!(
        fine.compact().to_string(),
        "{count:7, sum:0, (1,2]:3, (2,4]:4}"
    );
}

#[test]
fn zero_buckets_widen_to_the_end_of_a_bucket_they_begin_inside_of() {
    // The other's zero bucket reaches to 1.5, inside of (1, 2]: both reach to 2 then.
    let narrow = histogram(
        0,
        (0.001, 1.0),
        buckets(0, &[2.0, 4.0, 8.0]),
        buckets(1, &[16.0]),
    );
    let wide = histogram(0, (1.5, 32.0), buckets(2, &[64.0]), Buckets::default());
    let expected = "{count:127, sum:0, [-2,2]:55, (2,4]:72}";
    for (mut sum, other) in [(narrow.clone(), &wide), (wide.clone(), &narrow)] {
        assert_eq!(sum.add(other), Ok(Addition::default()));
        assert_eq!(
            (sum.zero_threshold, sum.to_string().as_str()),
            (2.0, expected)
        );
    }
    // Where the bucket is empty nothing has to widen.
    let empty = histogram(
        0,
        (0.001, 1.0),
        buckets(0, &[2.0, 0.0, 8.0]),
        Buckets::default(),
    );
    let mut sum = wide.clone();
    assert_eq!(sum.add(&empty), Ok(Addition::default()));
    assert_eq!(sum.zero_threshold, 1.5);
    assert_eq!(
        sum.to_string(),
        "{count:107, sum:0, [-1.5,1.5]:35, (2,4]:72}"
    );
}

#[test]
fn custom_bounds_meet_at_those_that_both_have() {
    let mut sum = custom(&[1.0, 2.0, 4.0], &[1.0, 2.0, 4.0, 8.0]);
    let other = custom(&[2.0, 3.0, 5.0], &[10.0, 20.0, 40.0, 80.0]);
    let addition = Addition {
        resets_collide: false,
        bounds_reconciled: true,
    };
    assert_eq!(sum.add(&other), Ok(addition));
    assert_eq!(
        sum.to_string(),
        "{count:165, sum:0, [-Inf,2]:13, (2,+Inf]:152}"
    );
    let exponential = histogram(0, (0.0, 0.0), buckets(0, &[1.0]), Buckets::default());
    let before = sum.clone();
    assert_eq!(sum.add(&exponential), Err(IncompatibleSchema));
    assert_eq!(sum, before);
}

#[test]
fn hints_of_sums_follow_the_kinds() {
    use ResetHint::{Gauge, NoReset, Reset, Unknown};
    for (left, right, hint, collide) in [
        (Unknown, Unknown, Unknown, false),
        (NoReset, NoReset, NoReset, false),
        (Reset, Unknown, Unknown, false),
        (Unknown, NoReset, Unknown, false),
        (Gauge, Reset, Gauge, false),
        (NoReset, Gauge, Gauge, false),
        (Reset, NoReset, Unknown, true),
    ] {
        let with = |reset_hint| FloatHistogram {
            reset_hint,
            ..FloatHistogram::default()
        };
        let mut sum = with(left);
        let addition = sum.add(&with(right)).unwrap();
        assert_eq!(
            (sum.reset_hint, addition.resets_collide),
            (hint, collide),
            "{left:?} {right:?}"
        );
    }
}

#[test]
fn a_counter_began_anew_where_something_fell() {
    let base = histogram(
        1,
        (0.001, 5.0),
        buckets(1, &[3.0, 0.0, 7.0]),
        buckets(2, &[1.0]),
    );
    let mut same = base.clone();
    assert!(!same.is_reset_after(&base));
    same.reset_hint = ResetHint::Reset;
    assert!(same.is_reset_after(&base));
    let reset = |change: &dyn Fn(&mut FloatHistogram)| {
        let mut next = base.clone();
        // One count that falls is not made up for by the sum of all.
        next.count += 100.0;
        change(&mut next);
        next.is_reset_after(&base)
    };
    assert!(!reset(&|_| {}));
    assert!(reset(&|next| next.zero_count = 4.0));
    assert!(reset(&|next| next.positive = buckets(1, &[2.0, 9.0, 9.0])));
    assert!(
        reset(&|next| next.positive = buckets(1, &[3.0, 0.0])),
        "a bucket is gone"
    );
    // As Prometheus 3.5.3 does: behind the last bucket only the next one of before counts, which is empty.
    assert!(!reset(&|next| next.positive = buckets(1, &[3.0])));
    assert!(reset(&|next| next.negative = Buckets::default()));
    assert!(reset(&|next| next.schema = 2));
    assert!(reset(&|next| next.zero_threshold = 0.0005));
    assert!(
        reset(&|next| next.zero_threshold = 1.1),
        "inside of a bucket that counts"
    );
    // A coarser schema adds up what was finer: (1, 2] had 3, (2, 4] 7.
    let coarse = |positive: &[f64]| FloatHistogram {
        schema: 0,
        positive: buckets(1, positive),
        negative: buckets(1, &[1.0]),
        count: 100.0,
        ..base.clone()
    };
    assert!(!coarse(&[3.0, 7.0]).is_reset_after(&base));
    assert!(coarse(&[2.0, 7.0]).is_reset_after(&base));
    // Of other custom bounds the common ones count.
    let old = custom(&[1.0, 2.0], &[5.0, 5.0, 0.0]);
    assert!(!custom(&[2.0, 3.0], &[10.0, 0.0, 0.0]).is_reset_after(&old));
    assert!(custom(&[2.0, 3.0], &[9.0, 9.0, 9.0]).is_reset_after(&old));
    assert!(base.is_reset_after(&old) && old.is_reset_after(&base));
}

#[test]
fn what_is_trimmed_is_interpolated() {
    let whole = histogram(0, (0.5, 4.0), buckets(1, &[8.0, 16.0]), Buckets::default());
    // √2 parts (1, 2] in the middle of its logarithms; the sum is that of the buckets' middles:
    // 4 * 0.25 + 4 * √(1 * √2), and 4 * √(√2 * 2) + 16 * √8.
    let below = whole.trimmed(std::f64::consts::SQRT_2, Keep::Below);
    assert_eq!(
        (below.count, below.to_string().starts_with("{count:8, ")),
        (8.0, true)
    );
    assert!((below.sum - 5.756_828_460).abs() < 1e-8, "{below}");
    let above = whole.trimmed(std::f64::consts::SQRT_2, Keep::Above);
    assert_eq!(above.count, 20.0);
    assert!((above.sum - 51.982_005_318).abs() < 1e-8, "{above}");
    // There are no buckets below zero: the zero bucket begins at zero.
    let small = whole.trimmed(0.25, Keep::Below);
    assert_eq!(small.to_string(), "{count:2, sum:0.25, [-0.5,0.5]:2}");
    assert_eq!(whole.trimmed(f64::INFINITY, Keep::Below), whole);
    assert_eq!(
        whole.trimmed(f64::INFINITY, Keep::Above).to_string(),
        "{count:0, sum:0}"
    );
    let open = custom(&[5.0], &[10.0, 6.0]);
    assert_eq!(
        open.trimmed(2.0, Keep::Below).to_string(),
        "{count:4, sum:4, [-Inf,5]:4}"
    );
    assert_eq!(
        open.trimmed(7.0, Keep::Above).to_string(),
        "{count:6, sum:42, (5,+Inf]:6}"
    );
    assert_eq!(
        open.trimmed(7.0, Keep::Below).to_string(),
        "{count:10, sum:25, [-Inf,5]:10}"
    );
}

#[test]
fn sums_lose_nothing_to_rounding_and_means_do_not_overflow() {
    let of = |value: f64| FloatHistogram {
        count: value,
        sum: -value,
        positive: buckets(0, &[value]),
        ..FloatHistogram::default()
    };
    let mut sum = HistogramSum::sum_of(&of(1.0));
    for value in [1e100, 1.0, -1e100] {
        sum.add(&of(value)).unwrap();
    }
    assert_eq!(sum.finish(), of(2.0));
    let mut mean = HistogramSum::mean_of(&of(f64::MAX));
    for _ in 0..2 {
        mean.add(&of(f64::MAX)).unwrap();
    }
    let mean = mean.finish();
    assert!((mean.count / f64::MAX - 1.0).abs() < 1e-15, "{mean}");
    let mut mean = HistogramSum::mean_of(&of(1.0));
    mean.add(&of(2.0)).unwrap();
    assert_eq!(mean.finish(), of(1.5));
}

#[test]
fn the_store_gives_back_what_it_was_given() {
    let spread = FloatHistogram {
        sum: 12.5,
        reset_hint: ResetHint::Gauge,
        positive: Buckets::new([-3, -2, 5].as_slice().into(), vec![1.0, 0.0, 2.5]),
        ..histogram(3, (1e-3, 2.0), Buckets::default(), buckets(7, &[4.0]))
    };
    assert_eq!(FloatHistogram::from_stored(&spread.to_stored()), spread);
    let bounds = custom(&[0.1, 1.0], &[1.0, 2.0, 3.0]);
    assert_eq!(FloatHistogram::from_stored(&bounds.to_stored()), bounds);
}
