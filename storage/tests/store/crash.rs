//! A crash at every operation of the file system, a kill or a power cut that loses what was not synced:
//! what a store finds afterwards, and that it goes on from there.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use narthex_storage::{DbOptions, Fs, WalFsync};

use crate::support::{
    Crash, FaultyFs, ROOT, SetClock, content, options,
    workload::{WINDOW_MS, opened, workloads},
    world::{History, Step, World, check_exemplars},
};

/// Every snapshot that was acknowledged is there, and every one that is there is whole.
fn check_snapshots(history: &History, left: &FaultyFs, options: &DbOptions) {
    let entries = left.list(&Path::new(ROOT).join("snapshots")).unwrap();
    let mut names: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
    names.retain(|name| name.strip_suffix(".tmp").is_none());
    let acknowledged = history.snapshots.iter().cloned();
    for (name, states) in acknowledged {
        let at = names.iter().position(|other| *other == name).unwrap();
        names.swap_remove(at);
        history.check_snapshot(options, &name, states);
    }
    for name in names {
        history.check_snapshot(options, &name, 0..history.states.len());
    }
}

/// Opens what a crash left, compares it with what was acknowledged, and goes on.
pub(crate) fn check_left(history: &History, crash: Crash, left: &FaultyFs, options: DbOptions) {
    let clock = Arc::new(SetClock::default());
    let options = DbOptions {
        fs: Arc::new(left.clone()),
        clock: Arc::<SetClock>::clone(&clock),
        ..options
    };
    check_snapshots(history, left, &options);
    let may_lose = !matches!(crash, Crash::Kill) && options.wal_fsync == WalFsync::Segment;
    let must_have = if may_lose {
        history.sealed
    } else {
        history.acknowledged
    };
    let mut after = World::new(options, &clock);
    let report = after.open().unwrap();
    let found = content(after.db());
    if history.keeps_exemplars {
        let must_have = match crash {
            Crash::Kill => history.exemplars,
            _ => history.sealed_exemplars,
        };
        check_exemplars(after.db(), must_have..=history.exemplars + 1);
    }
    let mut may_be = history.states[must_have..].iter();
    assert!(
        may_be.any(|state| state.is(&found)),
        "{report:?}\nfound {found:?}\nacknowledged {:?}",
        history.states[history.acknowledged].content()
    );
    assert_eq!(report.block_damage, []);
    let damage = &report.wal_damage;
    assert!(damage.iter().all(|damage| damage.torn_tail), "{damage:?}");
    // What is there stays there.
    after.adopt(found);
    let later = |by| Step::Push {
        all_or_nothing: true,
        samples: vec![(0, by, 1), (7, by, 2)],
    };
    for step in [
        later(700_000),
        Step::Wait(10),
        Step::Compact,
        Step::Clean,
        later(1),
        Step::Wait(10),
        Step::Wait(10),
        Step::Reopen,
    ] {
        after.run(&step).unwrap();
        assert_eq!(content(after.db()), *after.content(), "{step:?}");
        if history.keeps_exemplars {
            let last = after.history().exemplars;
            check_exemplars(after.db(), last..=last);
        }
    }
}

/// Runs the steps, with a crash before each operation and at the end.
fn crash_everywhere(name: &str, steps: &[Step], wal_fsync: WalFsync) {
    let fs = FaultyFs::default();
    let clock = Arc::new(SetClock::default());
    let options = DbOptions {
        out_of_order_window_ms: WINDOW_MS,
        ..options(&fs, &clock, wal_fsync)
    };
    let mut world = World::new(options.clone(), &clock);
    let history = Arc::clone(&world.history);
    let (name, crashes) = (name.to_owned(), Mutex::new(0));
    let crash = move |fs: &FaultyFs| {
        let history = history.lock().unwrap();
        *crashes.lock().unwrap() += 1;
        let seed = *crashes.lock().unwrap();
        for crash in [Crash::Kill, Crash::PowerCut, Crash::TornPowerCut(seed)] {
            println!("{name}, {wal_fsync:?}, operation {seed}, {crash:?}");
            check_left(&history, crash, &fs.after(crash), options.clone());
        }
    };
    fs.watch(crash);
    world.open().unwrap();
    for step in steps {
        world.run(step).unwrap();
    }
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_acknowledged() {
    for (name, steps) in workloads() {
        for wal_fsync in [WalFsync::Segment, WalFsync::Commit] {
            crash_everywhere(&name, &steps, wal_fsync);
        }
    }
}

#[test]
fn a_store_that_was_closed_loses_nothing_to_a_power_cut() {
    let (fs, _, options, mut world) = opened();
    for time in 1..4 {
        let push = Step::Push {
            all_or_nothing: true,
            samples: vec![(0, time, 1), (7, time, 2)],
        };
        world.run(&push).unwrap();
    }
    world.db().close().unwrap();
    let mut history = world.history();
    assert!(
        history.sealed < history.acknowledged,
        "the log alone has it"
    );
    // A commit that is sealed is one that must be there.
    history.sealed = history.acknowledged;
    for crash in [Crash::PowerCut, Crash::TornPowerCut(7)] {
        check_left(&history, crash, &fs.after(crash), options.clone());
    }
}
