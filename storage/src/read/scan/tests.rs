//! Scans that forget time columns, against one that keeps them all.

use std::sync::Arc;

use super::*;
use crate::{
    Appendable, Db, DbOptions, Labels, MemoryFs, Queryable, RowBuilder, Select, SystemClock,
    TargetKey, Wants, read::join::Join,
};

/// Two blocks of three targets, each with a clock of its own and two series, of which one has a gap, and rows in
/// memory.
fn store() -> Db {
    let fs = Arc::new(MemoryFs::default());
    let clock = Arc::new(SystemClock::new());
    let (db, _) = Db::open(&DbOptions::new("/data", fs, clock)).unwrap();
    let mut targets = Vec::new();
    for target in 0..3 {
        let mut appender = db.target(&TargetKey(target.to_string())).unwrap();
        let columns = ["a", "b"].map(|name| {
            let instance = target.to_string();
            let labels = [("__name__", name), ("instance", &instance)];
            appender.column(&Labels::from_pairs(labels)).unwrap()
        });
        targets.push((appender, columns));
    }
    let mut row = RowBuilder::default();
    for index in 0..120_i64 {
        for (target, (appender, [a, b])) in targets.iter_mut().enumerate() {
            row.begin(index * 1_000 + target as i64);
            row.set(*a, (index * index) as f64);
            if target != 1 || !(20..23).contains(&index) {
                row.set(*b, index as f64);
            }
            assert_eq!(appender.commit(&mut row).unwrap().refused, []);
        }
        if index == 49 || index == 99 {
            db.snapshot(false).unwrap();
        }
    }
    db
}

/// What a scan answers of a series: the times of its axis, and its samples' times and bits, run after run.
type Answer = (Option<Vec<Timestamp>>, Vec<(Timestamp, u64)>);

/// Every series, the last one first, and once more.
fn answers(
    selection: &StoreSelection,
    kept_max: u64,
    budget: &Budget,
) -> Result<Vec<Answer>, ReadError> {
    let range = TimeRange::new(2_500, 110_000);
    let mut scan = StoreScan::new(selection, range, budget, kept_max);
    let mut axes = Vec::new();
    let mut answers = Vec::new();
    for series in (0..6).rev().chain(0..6) {
        let axis = match scan.seek(series)? {
            Shape::Aligned { axis, .. } => {
                axes.push(axis);
                Some(scan.axis(axis)?.to_vec())
            }
            _ => None,
        };
        let mut samples = Vec::new();
        while let Some(run) = scan.next_run()? {
            let (mut times, mut values) = (vec![0; run.len()], vec![0.0; run.len()]);
            run.times(&mut times)?;
            run.values(&mut values)?;
            samples.extend(times.into_iter().zip(values.into_iter().map(f64::to_bits)));
        }
        // A run tells the times that it has in the axis.
        if let Some(axis) = &axis {
            assert!(axis.iter().eq(samples.iter().map(|(time, _)| time)));
        }
        answers.push((axis, samples));
    }
    // Also of series that were read long ago.
    for axis in axes {
        scan.seek(0)?;
        answers.push((Some(scan.axis(axis)?.to_vec()), Vec::new()));
    }
    Ok(answers)
}

#[test]
fn columns_that_are_forgotten_are_decoded_again() {
    let db = store();
    let (head, budget) = (db.head(), Budget::unlimited());
    let request = Select {
        matchers: &[],
        range: TimeRange::ALL,
        limit: None,
        wants: Wants::Samples,
    };
    let catalog = head.catalog();
    let join = Join::new(
        head,
        &catalog,
        head.visible(),
        TimeRange::ALL,
        &request,
        &budget,
    );
    let selection = join.select(&request, false).unwrap();
    assert_eq!((selection.series.len(), selection.blocks.len()), (6, 2));
    let kept = answers(&selection, u64::MAX, &budget).unwrap();
    assert_eq!(kept[0].1.len(), 107);
    assert_eq!(answers(&selection, 0, &budget).unwrap(), kept);
    // The columns of two targets, the axis of one, and the times of all rows: a third of what all of it takes.
    let limit = (200 + 108 + 60) * 8;
    let tight = Budget::new(limit);
    assert_eq!(answers(&selection, 0, &tight).unwrap(), kept);
    tight.charge(limit).unwrap();
    tight.release(limit);
    let outcome = answers(&selection, u64::MAX, &tight);
    assert!(
        matches!(outcome, Err(ReadError::Budget { .. })),
        "{outcome:?}"
    );
    tight.charge(limit).unwrap();
}

#[test]
fn portions_are_pages_and_what_lies_in_memory() {
    let db = store();
    let budget = Budget::unlimited();
    let portions = |series: usize, min: Timestamp, max: Timestamp| {
        let range = TimeRange::new(min, max);
        let request = Select {
            matchers: &[],
            range,
            limit: None,
            wants: Wants::Samples,
        };
        let selection = db
            .querier(range)
            .unwrap()
            .select(&request, &budget)
            .unwrap();
        let portions = selection.portions(series).into_iter();
        let plain = portions.map(|portion| (portion.range.min, portion.range.max, portion.samples));
        plain.collect::<Vec<_>>()
    };
    let all = [
        (0, 49_000, 50),
        (50_000, 99_000, 50),
        (100_000, 119_000, 20),
    ];
    assert_eq!(portions(0, 0, 119_000), all);
    assert_eq!(portions(0, 49_001, 99_999), all[1..2]);
    assert_eq!(portions(0, 49_000, 100_000), all);
    // Three samples are missing, and the first of them left a staleness marker.
    assert_eq!(portions(4, 0, 49_000), [(1, 49_001, 48)]);
}
