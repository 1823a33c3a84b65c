//! A store in your own program: open, append, query, delete, copy, close.
//!
//! `cargo run -p narthex-storage --example embedded -- /tmp/store` leaves a store there that the next run
//! goes on with; without a path everything happens in memory. Times are in milliseconds since 1970.

use std::{error::Error, path::PathBuf, sync::Arc};

use narthex_storage::{
    Appendable as _, Budget, Clock, Db, DbOptions, Fs, Labels, Matcher, MemoryFs, Metadata,
    MetricType, Queryable as _, RealFs, RowBuilder, Sample, Select, SystemClock, TargetKey,
    TimeRange, Timestamp, Wants,
};

fn main() -> Result<(), Box<dyn Error>> {
    let clock = Arc::new(SystemClock::new());
    let now = clock.now();
    let (fs, path): (Arc<dyn Fs>, PathBuf) = match std::env::args().nth(1) {
        Some(path) => (Arc::new(RealFs), path.into()),
        None => (Arc::new(MemoryFs::default()), "/store".into()),
    };
    for line in run(&DbOptions::new(path, fs, clock), now)? {
        #[expect(clippy::print_stdout, reason = "this is what it is run for")]
        {
            println!("{line}");
        }
    }
    Ok(())
}

/// Works with the store and answers with what it found.
fn run(options: &DbOptions, now: Timestamp) -> Result<Vec<String>, Box<dyn Error>> {
    // One process at a time. The report says what was found damaged; nothing was here.
    let (db, _report) = Db::open(options)?;
    let mut lines = Vec::new();

    // A source of many values at one time, such as a device with its readings, appends rows: the series
    // share one column of times. A series that a row lacks ends with a staleness marker.
    let mut device = db.target(&TargetKey("device 7".to_owned()))?;
    let labels = |name, room| Labels::from_pairs([("__name__", name), ("room", room)]);
    let kitchen = device.column(&labels("temperature_celsius", "kitchen"))?;
    let cellar = device.column(&labels("temperature_celsius", "cellar"))?;
    let mut row = RowBuilder::default();
    for minute in 0..60 {
        row.begin(now + minute * 60_000);
        row.set(kitchen, 21.5);
        row.set(cellar, 12.0 + 0.1 * minute as f64);
        // What a family of metrics is; to say it again costs a comparison.
        let metadata = Metadata {
            kind: MetricType::Gauge,
            unit: "celsius".to_owned(),
            help: "Temperature of a room.".to_owned(),
        };
        row.metadata("temperature_celsius", metadata);
        let commit = device.commit(&mut row)?;
        lines.extend(
            commit
                .refused
                .iter()
                .map(|(at, why)| format!("sample {at}: {why}")),
        );
    }

    // Anything else is pushed. All or nothing: one sample that is refused keeps out the others.
    let mut appender = db.appender();
    let door = appender.series(&labels("door_opened_total", "cellar"))?;
    let times = [(now + 1_000, 1.0), (now + 2_000, 2.0)];
    appender.samples(door, &times.map(|(time, value)| Sample { time, value }));
    let commit = appender.commit(true)?;
    lines.push(format!("{} samples pushed", commit.accepted));
    lines.extend(read(&db, &[Matcher::equal("room", "cellar")])?);
    for (family, kept) in db.metadata(None) {
        // The newest first, where sources do not agree.
        let newest = kept.into_iter().next().map(|kept| kept.metadata);
        let newest = newest.unwrap_or_default();
        lines.push(format!(
            "{family}: {}, {}",
            newest.kind.as_str(),
            newest.help
        ));
    }

    // What is accepted later at these times would stay. The range is inclusive on both ends.
    let doors = vec![Matcher::equal("__name__", "door_opened_total")];
    db.delete_series(&[doors], TimeRange::ALL)?;
    lines.push("deleted".to_owned());
    lines.extend(read(&db, &[Matcher::equal("room", "cellar")])?);

    // A copy in a folder of its own, which is a store.
    let name = db.snapshot(false)?;
    let copy = DbOptions {
        path: options.path.join("snapshots").join(name),
        ..options.clone()
    };
    let (copy, _report) = Db::open(&copy)?;
    lines.push("copy".to_owned());
    lines.extend(read(&copy, &[Matcher::equal("room", "kitchen")])?);

    // A program that goes on calls these every few seconds; the latter also from another thread.
    db.maintain()?;
    while db.compact()? {}
    copy.close()?;
    db.close()?;
    Ok(lines)
}

/// Each series that passes all matchers: how many samples, and the last.
fn read(db: &Db, matchers: &[Matcher]) -> Result<Vec<String>, Box<dyn Error>> {
    // How much memory the read may take; others may cancel it.
    let budget = Budget::new(64 << 20);
    let range = TimeRange::ALL;
    let select = Select {
        matchers,
        range,
        limit: None,
        wants: Wants::Samples,
    };
    let selection = db.querier(range)?.select(&select, &budget)?;
    let mut scan = selection.scan(range, &budget);
    let mut lines = Vec::new();
    for (index, series) in selection.series().iter().enumerate() {
        scan.seek(index)?;
        let (mut count, mut last) = (0, f64::NAN);
        let mut values = Vec::new();
        while let Some(run) = scan.next_run()? {
            values.resize(run.len(), 0.0);
            run.values(&mut values)?;
            count += values.len();
            last = values.last().copied().unwrap_or(last);
        }
        lines.push(format!("{}: {count} samples, last {last}", series.labels));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_what_it_put_in() -> Result<(), Box<dyn Error>> {
        let (fs, clock) = (Arc::new(MemoryFs::default()), Arc::new(SystemClock::new()));
        let lines = run(&DbOptions::new("/store", fs, clock), 1_000_000_000_000)?;
        let cellar = r#"{__name__="temperature_celsius", room="cellar"}: 60 samples, last 17.9"#;
        assert_eq!(
            lines,
            [
                "2 samples pushed",
                r#"{__name__="door_opened_total", room="cellar"}: 2 samples, last 2"#,
                cellar,
                "temperature_celsius: gauge, Temperature of a room.",
                "deleted",
                cellar,
                "copy",
                r#"{__name__="temperature_celsius", room="kitchen"}: 60 samples, last 21.5"#,
            ]
        );
        Ok(())
    }
}
