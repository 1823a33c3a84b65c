//! Steps that go through all of the store: rows, pushed and late samples, seals, merges, deletions,
//! clean-ups, snapshots, retention, reopening.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use narthex_storage::{DbOptions, WalFsync};

use super::{
    FaultyFs, Random, SetClock, options, setting,
    world::{RowStep, SERIES, Selector, Step, VALUES, World},
};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// How late samples may be.
pub(crate) const WINDOW_MS: i64 = 5 * HOUR;
/// Everything up to now.
const ALWAYS: Range<i64> = -10_000 * HOUR..HOUR;

/// An open store with nothing in it, which takes late samples; before it where it lies, its clock and options.
pub(crate) fn opened() -> (FaultyFs, Arc<SetClock>, DbOptions, World) {
    let fs = FaultyFs::default();
    let clock = Arc::new(SetClock::default());
    let options = DbOptions {
        out_of_order_window_ms: WINDOW_MS,
        ..options(&fs, &clock, WalFsync::Segment)
    };
    let mut world = World::new(options.clone(), &clock);
    world.open().unwrap();
    (fs, clock, options, world)
}

pub(crate) fn row(target: usize, after_ms: i64, set: &[(u8, u8)]) -> Step {
    Step::Row(RowStep {
        target,
        after_ms,
        set: set.iter().copied().collect(),
        same: (0..SERIES).collect(),
        timed: Vec::new(),
    })
}

pub(crate) fn push(samples: &[(u8, i64, u8)]) -> Step {
    Step::Push {
        all_or_nothing: true,
        samples: samples.to_vec(),
    }
}

/// All series at one time, so often as it takes to learn that they come so.
fn push_together(after_ms: i64, value: u8) -> impl Iterator<Item = Step> {
    (0..4).map(move |round| {
        let value = |series: u8| (value + round as u8 * (series % 3)) % VALUES;
        let samples = (0..SERIES).map(|series| (series, after_ms + round, value(series)));
        push(&samples.collect::<Vec<_>>())
    })
}

/// Everything once, by hand.
fn everything() -> Vec<Step> {
    let mut steps = Vec::new();
    for round in 0..18u8 {
        let target = usize::from(round % 2);
        let own = if round % 2 == 0 { [0, 1] } else { [4, 5] };
        steps.push(row(target, 24 * MINUTE, &[(own[0], round % VALUES)]));
        let values = own.map(|series| (series, (series + round) % VALUES));
        steps.push(row(target, MINUTE, &values));
        if round % 3 == 0 {
            // New, and an hour late.
            steps.push(push(&[(2, MINUTE, 1), (6, 2 * MINUTE, round % VALUES)]));
            steps.push(push(&[(3, -HOUR, round % VALUES), (0, -HOUR + 1, 4)]));
        }
        if round % 5 == 1 {
            steps.extend(push_together(MINUTE, round));
        }
        steps.push(Step::Wait(10));
        match round {
            4 => steps.extend([
                Step::Delete(Selector::One(0), -2 * HOUR..-HOUR / 2),
                Step::Snapshot { skip_head: false },
                push(&[(0, -HOUR, 2), (0, -HOUR + 7, 3)]),
            ]),
            7 => steps.push(Step::Reopen),
            9 => steps.extend([
                Step::Delete(Selector::High, ALWAYS),
                push(&[(6, -3 * HOUR, 1), (4, -HOUR, 1)]),
                Step::Delete(Selector::Two(1, 2), -3 * HOUR..-HOUR),
                Step::Clean,
            ]),
            12 => steps.push(Step::Snapshot { skip_head: true }),
            14 => steps.push(Step::Renew(0)),
            16 => steps.push(Step::Retain(WINDOW_MS)),
            _ => {}
        }
        if round % 4 == 3 {
            steps.push(Step::Compact);
        }
    }
    steps.extend([Step::Wait(10), Step::Wait(10), Step::Compact]);
    steps
}

/// Steps by a seed.
fn any(seed: u64) -> Vec<Step> {
    let mut random = Random::new(seed);
    let mut number = |end: usize| random.below(end);
    let mut steps = Vec::new();
    for _ in 0..60 {
        let series = |at: usize| (at % usize::from(SERIES)) as u8;
        let value = |at: usize| (at % usize::from(VALUES)) as u8;
        if number(8) == 0 {
            let after_ms = number(MINUTE as usize) as i64;
            steps.extend(push_together(after_ms, value(number(99))));
        }
        steps.push(match number(24) {
            0..8 => {
                let mut set = BTreeMap::new();
                for _ in 0..number(5) {
                    set.insert(series(number(6)), value(number(99)));
                }
                let timed = match number(4) {
                    0 => vec![(series(number(99)), -(number(9_000_000) as i64), 1)],
                    _ => Vec::new(),
                };
                Step::Row(RowStep {
                    target: number(2),
                    after_ms: number(20 * MINUTE as usize) as i64 - MINUTE,
                    set,
                    same: (0..series(number(99))).collect(),
                    timed,
                })
            }
            8..12 => {
                let mut samples = Vec::new();
                for _ in 0..number(4) {
                    let by = number(3 * HOUR as usize) as i64 - 2 * HOUR;
                    samples.push((series(number(99)), by, value(number(99))));
                }
                Step::Push {
                    all_or_nothing: number(2) == 0,
                    samples,
                }
            }
            12..16 => Step::Wait(1 + number(11) as u64),
            16 | 17 => Step::Compact,
            18 | 19 => {
                let from = -(number(6 * HOUR as usize) as i64);
                let range = match number(3) {
                    0 => ALWAYS,
                    _ => from..from + number(2 * HOUR as usize) as i64,
                };
                let selector = match number(4) {
                    0 => Selector::All,
                    1 => Selector::High,
                    2 => Selector::Two(series(number(99)), series(number(99))),
                    _ => Selector::One(series(number(99))),
                };
                Step::Delete(selector, range)
            }
            20 => Step::Clean,
            21 => Step::Snapshot {
                skip_head: number(2) == 0,
            },
            22 => Step::Retain(WINDOW_MS + number(5 * HOUR as usize) as i64),
            _ => match number(3) {
                0 => Step::Renew(number(2)),
                _ => Step::Reopen,
            },
        });
    }
    steps
}

/// Everything once, and others by `NARTHEX_KILL_ROUNDS`, one unless it is set; each with its name.
pub(crate) fn workloads() -> Vec<(String, Vec<Step>)> {
    let mut workloads = vec![("everything".to_owned(), everything())];
    let from = setting("NARTHEX_KILL_SEED", 1);
    for seed in from..from + setting("NARTHEX_KILL_ROUNDS", 1) {
        workloads.push((format!("NARTHEX_KILL_SEED={seed}"), any(seed)));
    }
    workloads
}
