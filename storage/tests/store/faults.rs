//! A disk that is full, or fails once, at any operation: what is there can be read, what cannot be done
//! is refused with the reason, and the store goes on, or can be opened and goes on then.

use std::{io::ErrorKind, sync::Arc};

use narthex_storage::{AppendError, Appendable, DbOptions, OperationError, Sample, WalFsync};

use crate::{
    crash::check_left,
    support::{
        Crash, Fault, FaultyFs, SetClock, content, labels, options,
        workload::{WINDOW_MS, workloads},
        world::{Step, World},
    },
};

fn world(fs: &FaultyFs) -> World {
    let clock = Arc::new(SetClock::default());
    let options = DbOptions {
        out_of_order_window_ms: WINDOW_MS,
        ..options(fs, &clock, WalFsync::Commit)
    };
    let world = World::new(options, &clock);
    // A disk that does not take an exemplar fails no commit.
    world.history().keeps_exemplars = false;
    world
}

/// Everything acknowledged is there, and nothing else but what was tried.
fn check_reading(world: &World) {
    let found = content(world.db());
    let history = world.history();
    let mut may_be = history.states[history.acknowledged..].iter();
    assert!(may_be.any(|state| state.is(&found)), "{found:?}");
}

fn check_is_full(error: &OperationError) {
    match error {
        OperationError::Append(AppendError::Full { .. }) => {}
        OperationError::Io(error) | OperationError::Append(AppendError::Io(error)) => {
            assert_eq!(error.source.kind(), ErrorKind::StorageFull, "{error}");
        }
        other => panic!("{other}"),
    }
}

/// Runs the steps on a disk that is full from an operation on, until something failed; then there is
/// room. Answers whether it was full at all.
fn fill(steps: &[Step], full_at: usize) -> bool {
    let fs = FaultyFs::default();
    let mut world = world(&fs);
    fs.fail(Fault::Full(full_at));
    let mut was_full = false;
    if let Err(error) = world.open() {
        check_is_full(&error);
        fs.fail(Fault::None);
        world.open().unwrap();
        was_full = true;
    }
    for step in steps {
        let is_full = fs.has_failed();
        was_full |= is_full;
        if is_full && matches!(step, Step::Reopen) {
            // What waits in memory for the disk is lost by a process that does not wait for it.
            fs.fail(Fault::None);
            world.run(&Step::Wait(0)).unwrap();
        }
        let Err(error) = world.run(step) else {
            continue;
        };
        check_is_full(&error);
        was_full = true;
        if !matches!(step, Step::Reopen) {
            check_reading(&world);
            let mut appender = world.db().appender();
            let series = appender.series(&labels("x")).unwrap();
            let (time, value) = (i64::MAX, 1.0);
            appender.samples(series, &[Sample { time, value }]);
            let refused = appender.commit(true).unwrap_err();
            check_is_full(&refused.into());
            check_reading(&world);
        }
        fs.fail(Fault::None);
        world.run(step).unwrap();
        check_reading(&world);
    }
    fs.fail(Fault::None);
    world.run(&Step::Wait(1)).unwrap();
    world.check();
    world.run(&Step::Reopen).unwrap();
    world.check();
    was_full
}

#[test]
fn a_full_disk_at_any_operation_refuses_what_does_not_fit_and_nothing_else() {
    for (name, steps) in workloads() {
        for full_at in 1.. {
            println!("{name}, full at operation {full_at}");
            if !fill(&steps, full_at) {
                assert!(full_at > 100, "{name} has {full_at} operations");
                break;
            }
        }
    }
}

/// Runs the steps with one operation that fails. Answers whether it was reached.
fn fail_once(steps: &[Step], fail_at: usize) -> bool {
    let fs = FaultyFs::default();
    let mut world = world(&fs);
    fs.fail(Fault::Once(fail_at));
    if world.open().is_err() {
        world.open().unwrap();
    }
    for step in steps {
        if world.run(step).is_ok() {
            continue;
        }
        if !matches!(step, Step::Reopen) {
            check_reading(&world);
        }
        // Again, or not before it was opened anew.
        if world.run(step).is_err() {
            check_reading(&world);
            world.run(&Step::Reopen).unwrap();
            check_reading(&world);
            break;
        }
    }
    let has_failed = fs.has_failed();
    fs.fail(Fault::None);
    // Rows that wait for the disk are written.
    world.run(&Step::Wait(0)).unwrap();
    check_reading(&world);
    for crash in [Crash::Kill, Crash::PowerCut] {
        let options = world.options.clone();
        check_left(&world.history(), crash, &fs.after(crash), options);
    }
    has_failed
}

#[test]
fn an_operation_that_fails_once_loses_nothing_that_was_acknowledged() {
    for (name, steps) in workloads() {
        for fail_at in 1.. {
            println!("{name}, operation {fail_at} fails");
            if !fail_once(&steps, fail_at) {
                assert!(fail_at > 100, "{name} has {fail_at} operations");
                break;
            }
        }
    }
}
