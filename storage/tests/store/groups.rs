//! Pushed series that come together, come apart, pause and come back, against the model: that they are kept as
//! rows of groups is not to be seen, in no answer, refusal or count, before or after a restart.

use std::sync::Arc;

use narthex_storage::{Clock, DbOptions, RealFs};
use proptest::{collection::vec, option::weighted, prelude::*};

use crate::support::{
    EXEMPLARS_MAX, SetClock, setting,
    world::{Selector, Step, VALUES, World},
};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// Enough for several groups.
const SERIES: u8 = 48;

/// What comes in one commit, of the series that are sent in turn.
#[derive(Debug, Clone)]
struct Batch {
    /// In milliseconds after the store's newest sample.
    after_ms: i64,
    /// Each series has the value of the batch, or the next.
    value: u8,
    /// Series that are left out.
    without: Vec<u8>,
    /// How many samples of each series, and how far apart, in milliseconds.
    of_each: (u8, i64),
    /// Series whose first samples are not among them: which, and how many.
    later: Vec<(u8, u8)>,
    /// Samples between the others: before which of them, series, time, value.
    others: Vec<(u8, u8, i64, u8)>,
    all_or_nothing: bool,
}

/// The series from one to another, each so many.
type Part = (u8, u8, u8);

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        3 => Just((0, SERIES, 1)),
        2 => Just((0, SERIES / 2, 1)),
        2 => Just((SERIES / 2, SERIES, 1)),
        1 => Just((0, SERIES, 2)),
        1 => Just((1, SERIES, 2)),
        2 => (0..SERIES, 1..SERIES, 1..4u8).prop_map(|(from, len, step)| (from, from.saturating_add(len).min(SERIES), step)),
    ]
}

fn batch() -> impl Strategy<Value = Batch> {
    let after_ms = prop_oneof![
        12 => 1..90_000i64,
        2 => Just(0),
        2 => -20_000..0i64,
        1 => -3 * HOUR..0,
        1 => MINUTE..HOUR,
    ];
    let other = (
        0..SERIES,
        0..SERIES,
        prop_oneof![3 => -5_000..120_000i64, 1 => -4 * HOUR..HOUR],
        0..VALUES,
    );
    (
        after_ms,
        0..VALUES,
        prop_oneof![3 => Just(Vec::new()), 1 => vec(0..SERIES, 0..20)],
        prop_oneof![3 => Just((1, 0)), 2 => (2..5u8, 1..30_000i64)],
        vec((0..SERIES, 1..4u8), 0..20),
        prop_oneof![3 => Just(Vec::new()), 2 => vec(other, 1..4)],
        weighted(0.1, Just(())),
    )
        .prop_map(
            |(after_ms, value, without, of_each, later, others, whole)| Batch {
                after_ms,
                value,
                without,
                of_each,
                later,
                others,
                all_or_nothing: whole.is_some(),
            },
        )
}

impl Batch {
    /// The samples of a part of the series.
    fn of(&self, (from, to, step): Part) -> Step {
        let mut samples = Vec::new();
        for series in 0..SERIES {
            for (before, other, by, value) in &self.others {
                if *before == series {
                    samples.push((*other, *by, *value));
                }
            }
            let is_sent = (from..to).contains(&series) && (series - from) % step == 0;
            if is_sent && !self.without.contains(&series) {
                let later = self.later.iter().find(|(other, _)| *other == series);
                let (count, apart_ms) = self.of_each;
                let first = later.map_or(0, |(_, skipped)| *skipped);
                for number in first.min(count - 1)..count {
                    let value = (self.value + (series + number) % 2) % VALUES;
                    samples.push((series, self.after_ms + i64::from(number) * apart_ms, value));
                }
            }
        }
        Step::Push {
            all_or_nothing: self.all_or_nothing,
            samples,
        }
    }
}

/// The same parts come several times in turn, as those of one sender do.
fn rounds() -> impl Strategy<Value = Vec<Step>> {
    (vec(part(), 1..4), vec(batch(), 1..9)).prop_map(|(parts, batches)| {
        let turns = batches.iter().zip(parts.iter().cycle());
        turns.map(|(batch, part)| batch.of(*part)).collect()
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let selector = prop_oneof![
        2 => (0..SERIES).prop_map(Selector::One),
        1 => Just(Selector::High),
        1 => Just(Selector::All),
    ];
    let range = prop_oneof![
        1 => (-5 * HOUR..0i64, 0..HOUR).prop_map(|(from, len)| from..from + len),
        1 => Just(-2_000 * HOUR..2_000 * HOUR),
    ];
    let one = prop_oneof![
        8 => (1..12u64).prop_map(Step::Wait),
        1 => Just(Step::Compact),
        1 => (selector, range).prop_map(|(selector, range)| Step::Delete(selector, range)),
        1 => Just(Step::Clean),
        1 => any::<bool>().prop_map(|skip_head| Step::Snapshot { skip_head }),
        2 => Just(Step::Hold),
        3 => Just(Step::Reopen),
    ];
    let some = prop_oneof![3 => rounds(), 2 => one.prop_map(|step| vec![step])];
    vec(some, 1..40).prop_map(|some| some.concat())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: setting("NARTHEX_PROPTEST_CASES", 8) as u32,
        failure_persistence: None,
        max_shrink_iters: 4_000,
        ..ProptestConfig::default()
    })]
    #[test]
    fn that_pushed_series_are_grouped_is_not_to_be_seen(
        window_ms in prop_oneof![Just(0), Just(2 * HOUR)],
        steps in steps(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SetClock::default());
        let time: Arc<dyn Clock> = Arc::<SetClock>::clone(&clock);
        let mut options = DbOptions::new(folder.path(), Arc::new(RealFs), time);
        options.out_of_order_window_ms = window_ms;
        options.exemplars_max = EXEMPLARS_MAX as usize;
        let mut world = World::new(options, &clock);
        world.open().unwrap();
        for step in &steps {
            world.run(step).unwrap();
            world.check();
        }
    }
}

/// Series 4 joins the group of the others with the first of its two samples of a push; at the time of the second
/// there are enough samples for a row, but none of the group, which has its row.
#[test]
fn a_series_joins_a_group_once_a_push() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    let time: Arc<dyn Clock> = Arc::<SetClock>::clone(&clock);
    let mut options = DbOptions::new(folder.path(), Arc::new(RealFs), time);
    options.exemplars_max = EXEMPLARS_MAX as usize;
    let mut world = World::new(options, &clock);
    world.open().unwrap();
    let pushes = [
        (0..9).map(|series| (series, 1_000, 1)).collect(),
        [0, 1, 2, 3, 5, 6, 7, 8]
            .map(|series| (series, 1_000, 4))
            .to_vec(),
        vec![
            (0, 1_000, 1),
            (0, 2_000, 4),
            (4, 1_000, 9),
            (4, 2_000, 10),
            (5, 1_000, 1),
            (6, 1_000, 1),
            (7, 1_000, 1),
            (9, 2_000, 1),
            (10, 2_000, 1),
        ],
        (4..9).map(|series| (series, 1_000, 4)).collect(),
    ];
    for samples in pushes {
        let push = Step::Push {
            all_or_nothing: false,
            samples,
        };
        world.run(&push).unwrap();
        world.check();
    }
    world.run(&Step::Reopen).unwrap();
    world.check();
}
