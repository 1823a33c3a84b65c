//! The store against a map, over any sequence of appends, upkeep, operations, reopening and jumps of
//! the clock, on a real disk.

use std::sync::Arc;

use narthex_storage::{Clock, DbOptions, RealFs};
use proptest::{
    collection::{btree_map, btree_set, vec},
    prelude::*,
};

use crate::support::{
    EXEMPLARS_MAX, SetClock, setting,
    world::{RowStep, SERIES, Selector, Step, VALUES, World, check_exemplars},
};

const HOUR: i64 = 3_600_000;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let by = prop_oneof![8 => 1..600_000i64, 1 => -2 * HOUR..1, 1 => Just(0)];
    let late = prop_oneof![4 => -3_000..20_000i64, 2 => -3 * HOUR..1];
    let sample = (0..SERIES, late, 0..VALUES);
    let row = (
        0..2usize,
        by,
        btree_map(0..SERIES - 2, 0..VALUES, 0..5),
        btree_set(0..SERIES - 2, 0..4),
        prop_oneof![6 => Just(Vec::new()), 1 => vec(sample.clone(), 1..3)],
    );
    let row = row.prop_map(|(target, after_ms, set, same, timed)| {
        Step::Row(RowStep {
            target,
            after_ms,
            set,
            same,
            timed,
        })
    });
    let push = (any::<bool>(), vec(sample, 0..5));
    let push = push.prop_map(|(all_or_nothing, samples)| Step::Push {
        all_or_nothing,
        samples,
    });
    // What an agent sends: all of its series, at one time.
    let together = (
        prop_oneof![9 => 1..20_000i64, 1 => Just(0)],
        vec(proptest::option::weighted(0.97, 0..VALUES), SERIES as usize),
    );
    let together = together.prop_map(|(by, values)| {
        let samples = (0..).zip(values);
        let samples = samples.filter_map(|(series, value)| Some((series, by, value?)));
        Step::Push {
            all_or_nothing: false,
            samples: samples.collect(),
        }
    });
    let selector = prop_oneof![
        4 => (0..SERIES).prop_map(Selector::One),
        1 => (0..SERIES, 0..SERIES).prop_map(|(one, other)| Selector::Two(one, other)),
        1 => Just(Selector::High),
        1 => Just(Selector::All),
    ];
    let deleted = prop_oneof![
        2 => (-8 * HOUR..0i64, 0..2 * HOUR).prop_map(|(from, len)| from..from + len),
        1 => Just(-2_000 * HOUR..2_000 * HOUR),
    ];
    let step = prop_oneof![
        60 => row,
        20 => push,
        20 => together,
        2 => (0..2usize).prop_map(Step::Renew),
        9 => (1..12u64).prop_map(Step::Wait),
        3 => Just(Step::Compact),
        3 => (selector, deleted).prop_map(|(selector, range)| Step::Delete(selector, range)),
        2 => Just(Step::Clean),
        2 => any::<bool>().prop_map(|skip_head| Step::Snapshot { skip_head }),
        1 => (3 * HOUR..12 * HOUR).prop_map(Step::Retain),
        3 => Just(Step::Hold),
        4 => Just(Step::Reopen),
    ];
    vec(step, 1..250)
}

fn run(window_ms: i64, steps: &[Step]) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    let time: Arc<dyn Clock> = Arc::<SetClock>::clone(&clock);
    let mut options = DbOptions::new(folder.path(), Arc::new(RealFs), time);
    options.out_of_order_window_ms = window_ms;
    options.exemplars_max = EXEMPLARS_MAX as usize;
    let mut world = World::new(options, &clock);
    world.open().unwrap();
    for step in steps {
        world.run(step).unwrap();
        world.check();
        let history = world.history();
        check_exemplars(world.db(), history.exemplars..=history.exemplars);
        if let (Step::Snapshot { .. }, Some((name, states))) = (step, history.snapshots.last()) {
            history.check_snapshot(&world.options, name, states.clone());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: setting("NARTHEX_PROPTEST_CASES", 24) as u32,
        failure_persistence: None,
        max_shrink_iters: 10_000,
        ..ProptestConfig::default()
    })]
    #[test]
    fn the_store_is_a_map(window_ms in prop_oneof![Just(0), Just(2 * HOUR)], steps in steps()) {
        run(window_ms, &steps);
    }
}
