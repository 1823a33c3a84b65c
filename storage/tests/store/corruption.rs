//! Files damaged in every plain way: reported, left where they are, and the rest served.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use narthex_storage::{
    AppendError, Appendable, Budget, Clock, Corruption, Db, DbOptions, Fs, Labels, OpenError,
    OpenReport, OperationError, Queryable, ReadError, RealFs, RowBuilder, Select, TargetKey,
    TimeRange, Wants,
};

use crate::support::{
    self, Content, Crash, FaultyFs, SetClock,
    workload::{opened, push, row},
    world::{Selector, Step},
};

const COLUMNS: usize = 5;
const STEP_MS: i64 = 5_000;
const ROWS: i64 = 3_000;

fn try_open(path: &Path, clock: &Arc<SetClock>) -> Result<(Db, OpenReport), OpenError> {
    let clock: Arc<dyn Clock> = Arc::<SetClock>::clone(clock);
    Db::open(&DbOptions::new(path, Arc::new(RealFs), clock))
}

fn open(path: &Path) -> (Db, OpenReport) {
    try_open(path, &Arc::default()).unwrap()
}

fn name(column: usize) -> String {
    format!("metric_{column}")
}

fn value(column: usize, row: i64) -> f64 {
    (row * (column as i64 + 1)) as f64 / 8.0
}

/// Three thousand rows of five series over four hours: blocks of 180 rows, and a log with the rest.
fn filled() -> tempfile::TempDir {
    filled_with(ROWS)
}

/// The last seal of the three thousand rows is after row 2,280; this ends a few minutes later.
const ROWS_AFTER_SEAL: i64 = 2_330;

fn filled_with(rows: i64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    let (db, _) = try_open(folder.path(), &clock).unwrap();
    let mut target = db.target(&TargetKey("t".to_owned())).unwrap();
    let columns: Vec<_> = (0..COLUMNS)
        .map(|column| Labels::from_pairs([("__name__", name(column))]))
        .map(|labels| target.column(&labels).unwrap())
        .collect();
    let mut row = RowBuilder::default();
    for index in 0..rows {
        row.begin(index * STEP_MS);
        for (column, id) in columns.iter().enumerate() {
            row.set(*id, value(column, index));
        }
        assert_eq!(target.commit(&mut row).unwrap().refused, []);
        if index % 60 == 0 {
            clock.advance(Duration::from_mins(5));
            db.maintain().unwrap();
        }
    }
    drop(target);
    db.close().unwrap();
    folder
}

/// The rows that all series have, or the first error. A sample that was not written is a failure.
fn rows(db: &Db) -> Result<Vec<i64>, ReadError> {
    let budget = Budget::unlimited();
    let querier = db.querier(TimeRange::ALL)?;
    let select = Select {
        matchers: &[],
        range: TimeRange::ALL,
        limit: None,
        wants: Wants::Samples,
    };
    let selection = querier.select(&select, &budget)?;
    let mut scan = selection.scan(TimeRange::ALL, &budget);
    let mut by_series: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (index, series) in selection.series().iter().enumerate() {
        let metric = series.labels.get("__name__").unwrap().to_owned();
        let column = (0..COLUMNS).find(|column| name(*column) == metric).unwrap();
        let found = by_series.entry(metric).or_default();
        scan.seek(index)?;
        while let Some(run) = scan.next_run()? {
            let (mut times, mut values) = (vec![0; run.len()], vec![0.0; run.len()]);
            run.times(&mut times)?;
            run.values(&mut values)?;
            for (time, got) in times.into_iter().zip(values) {
                assert_eq!(got.to_bits(), value(column, time / STEP_MS).to_bits());
                found.push(time / STEP_MS);
            }
        }
    }
    let all: Vec<Vec<i64>> = by_series.into_values().collect();
    assert!(
        all.windows(2).all(|pair| pair[0] == pair[1]),
        "the series differ"
    );
    Ok(all.into_iter().next().unwrap_or_default())
}

/// The files of one of the store's folders, in order.
fn files(folder: &Path, part: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("narthex").join(part)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// What a damaged file is called in the report, and the rows that are served.
fn after(folder: &Path) -> (OpenReport, Vec<i64>) {
    let (db, report) = open(folder);
    let found = rows(&db).unwrap();
    (report, found)
}

#[test]
fn a_damaged_sealed_file_is_reported_and_the_others_are_served() {
    let folder = filled();
    let all: Vec<i64> = (0..ROWS).collect();
    let (report, found) = after(folder.path());
    assert_eq!((report.block_damage, found), (vec![], all.clone()));
    let sealed = files(folder.path(), "blocks");
    assert!(sealed.len() >= 3, "{sealed:?}");
    // The log still has what the newest file has for a while, but nothing of the first.
    let first = &sealed[0];
    let whole = std::fs::read(first).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 0x10;
    for (what, bytes) in [
        ("a byte", flipped),
        ("cut", whole[..whole.len() / 2].to_vec()),
        ("cut in its header", whole[..9].to_vec()),
        ("empty", Vec::new()),
    ] {
        std::fs::write(first, &bytes).unwrap();
        let (report, found) = after(folder.path());
        let damaged: Vec<&Path> = report.block_damage.iter().map(|d| &*d.at.file).collect();
        assert_eq!(damaged, [&**first], "{what}");
        assert_eq!(report.wal_damage, [], "{what}");
        let lost = ROWS - found.len() as i64;
        assert_eq!(lost, 121, "{what}: the rows of the first seal");
        assert!(found.into_iter().eq(lost..ROWS), "{what}: a hole");
        assert_eq!(std::fs::read(first).unwrap(), bytes, "{what}: not touched");
    }
    std::fs::write(first, &whole).unwrap();
    assert_eq!(after(folder.path()).1, all);
}

/// Bytes that rot long after they were read, and found good.
#[test]
fn what_is_damaged_since_it_was_read_is_not_merged_and_not_served() {
    let folder = filled();
    let blocks = files(folder.path(), "blocks");
    let second = &blocks[1];
    let away = folder.path().join("away");
    std::fs::rename(second, &away).unwrap();
    let (_, others) = after(folder.path());
    std::fs::rename(&away, second).unwrap();
    let all: Vec<i64> = (0..ROWS).collect();
    let whole = std::fs::read(second).unwrap();
    let put = |at: usize, byte: u8| {
        let file = std::fs::File::options().write(true).open(second).unwrap();
        file.write_all_at(&[byte], at as u64).unwrap();
    };
    let (mut in_frames, mut elsewhere) = (0, 0);
    for at in (0..whole.len()).step_by(7) {
        let (db, _) = open(folder.path());
        assert_eq!(rows(&db).unwrap(), all);
        put(at, whole[at] ^ 0x04);
        let Err(OperationError::Corruption(found)) = db.compact() else {
            panic!("byte {at} was merged");
        };
        assert_eq!(&found.file, second, "byte {at}");
        assert_eq!(db.stats().blocks_damaged, 1, "byte {at}");
        assert_eq!(files(folder.path(), "blocks"), blocks, "byte {at}");
        match rows(&db) {
            Err(ReadError::Corruption(found)) => {
                assert_eq!(&found.file, second, "byte {at}");
                in_frames += 1;
            }
            served => {
                assert_eq!(served.unwrap(), others, "byte {at}");
                elsewhere += 1;
            }
        }
        put(at, whole[at]);
    }
    assert!(in_frames > 5 && elsewhere > 5, "{in_frames} {elsewhere}");
    // The others are merged.
    let (db, _) = open(folder.path());
    assert_eq!(rows(&db).unwrap(), all);
    put(70, whole[70] ^ 0x04);
    assert!(db.compact().is_err());
    while db.compact().unwrap() {}
    assert!(files(folder.path(), "blocks").len() > blocks.len());
    drop(db);
    put(70, whole[70]);
    assert_eq!(after(folder.path()).1, all);
}

#[test]
fn a_damaged_newest_file_comes_back_from_the_log_while_it_is_there() {
    let folder = filled_with(ROWS_AFTER_SEAL);
    let all: Vec<i64> = (0..ROWS_AFTER_SEAL).collect();
    let newest = files(folder.path(), "blocks").pop().unwrap();
    let whole = std::fs::read(&newest).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 0x10;
    for (what, bytes) in [
        ("cut", &whole[..whole.len() / 2]),
        ("empty", &[]),
        ("a byte", &flipped),
    ] {
        std::fs::write(&newest, bytes).unwrap();
        let (report, found) = after(folder.path());
        let restored: Vec<&Path> = report.blocks_restored.iter().map(|d| &*d.at.file).collect();
        assert_eq!(restored, [&*newest], "{what}");
        assert_eq!(
            (report.block_damage, found),
            (vec![], all.clone()),
            "{what}"
        );
        assert_eq!(
            std::fs::read(&newest).unwrap(),
            bytes,
            "{what}: not touched"
        );
    }

    // The next seal takes what came from the log, and does not need it any more.
    let clock = Arc::new(SetClock::default());
    let (db, _) = try_open(folder.path(), &clock).unwrap();
    clock.advance(Duration::from_hours(1));
    db.maintain().unwrap();
    db.close().unwrap();
    drop(db);
    let log = files(folder.path(), "wal");
    for path in &log {
        std::fs::write(path, []).unwrap();
    }
    let (report, found) = after(folder.path());
    let replaced: Vec<&Path> = report.blocks_restored.iter().map(|d| &*d.at.file).collect();
    assert_eq!(
        (replaced, report.block_damage, found),
        (vec![&*newest], vec![], all)
    );
}

#[test]
fn a_damaged_newest_file_is_left_out_when_the_log_lacks_a_part_of_it() {
    let folder = filled_with(ROWS_AFTER_SEAL);
    let newest = files(folder.path(), "blocks").pop().unwrap();
    let whole = std::fs::read(&newest).unwrap();
    std::fs::write(&newest, &whole[..whole.len() / 2]).unwrap();
    let log = files(folder.path(), "wal");
    std::fs::remove_file(&log[0]).unwrap();
    let (report, found) = after(folder.path());
    let damaged: Vec<&Path> = report.block_damage.iter().map(|d| &*d.at.file).collect();
    assert_eq!((damaged, report.blocks_restored), (vec![&*newest], vec![]));
    let lost = ROWS_AFTER_SEAL - found.len() as i64;
    assert_eq!(lost, 180, "the rows of a seal");
}

#[test]
fn every_damaged_byte_of_a_sealed_file_is_an_error_or_left_out() {
    let folder = filled();
    let first = files(folder.path(), "blocks").remove(0);
    let whole = std::fs::read(&first).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x04;
        std::fs::write(&first, damaged).unwrap();
        let (db, report) = open(folder.path());
        match rows(&db) {
            Ok(found) => {
                assert_eq!(report.block_damage.len(), 1, "byte {at}");
                assert!(found.len() < ROWS as usize, "byte {at}");
            }
            Err(ReadError::Corruption(damage)) => assert_eq!(damage.file, first),
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
}

#[test]
fn a_cut_or_empty_log_segment_keeps_what_is_sealed() {
    let folder = filled();
    let sealed_rows = {
        for path in files(folder.path(), "wal") {
            std::fs::write(path, []).unwrap();
        }
        let (_, found) = after(folder.path());
        found
    };
    assert!(sealed_rows.len() > 2_000, "{}", sealed_rows.len());
    assert!(sealed_rows.iter().copied().eq(0..sealed_rows.len() as i64));

    let folder = filled();
    let log = files(folder.path(), "wal");
    let newest = log
        .iter()
        .rfind(|path| path.metadata().unwrap().len() > 100)
        .unwrap();
    let whole = std::fs::read(newest).unwrap();
    std::fs::write(newest, &whole[..whole.len() - 7]).unwrap();
    let (report, found) = after(folder.path());
    assert_eq!(report.wal_damage.len(), 1, "{report:?}");
    assert!(report.wal_damage[0].torn_tail);
    assert_eq!(report.wal_damage[0].at.file, *newest);
    assert!(found.into_iter().eq(0..ROWS - 1), "the last row is torn");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    // A file stands where the store's folder would be: this also fails for a superuser, whom a mode
    // does not stop.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("narthex"), "a file").unwrap();
    let error = try_open(folder.path(), &Arc::default()).unwrap_err();
    let OpenError::Io(io) = error else {
        panic!("{error}");
    };
    assert_eq!(io.path, folder.path().join("narthex"));
    let path = io.path.display().to_string();
    assert!(io.to_string().ends_with(&path), "{io}");
}

#[test]
fn a_target_has_one_appender_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let (db, _) = open(folder.path());
    let key = TargetKey("job/instance".to_owned());
    let first = db.target(&key).unwrap();
    let second = db.target(&key);
    let Err(AppendError::TargetBusy(busy)) = second else {
        panic!("two appenders for one target");
    };
    assert_eq!(busy, key.0);
    drop(first);
    assert!(db.target(&key).is_ok());
}

/// A store that has a file of every kind: merged and sealed blocks, log segments, tombstones, and
/// whatever else lies there.
fn small_store() -> (FaultyFs, DbOptions, Content) {
    let (fs, _, options, mut world) = opened();
    let hour = 3_600_000;
    for step in [
        push(&[(0, 0, 1), (1, 5, 4), (1, 9, 10)]),
        push(&[(0, 3 * hour, 1), (0, 3 * hour + 7, 2)]),
        Step::Wait(1),
        push(&[(0, hour, 11), (1, hour, 4), (1, hour + 1, 6)]),
        Step::Wait(1),
        push(&[(0, hour, 1), (1, hour, 7)]),
        Step::Delete(Selector::One(1), -hour..-hour / 2),
        Step::Compact,
        push(&[(0, hour, 5), (1, hour, 8)]),
        push(&[(0, 1, 9), (1, 2, 11), (2, 2, 11)]),
        // Each builds on the one before.
        row(0, 10, &[(3, 0), (4, 1), (5, 9)]),
        row(0, 10, &[(3, 9)]),
        row(0, 10, &[(4, 10)]),
        row(0, 10, &[(5, 11)]),
        row(0, 10, &[]),
    ] {
        world.run(&step).unwrap();
    }
    let content = world.content().clone();
    (fs, options, content)
}

/// Reads what is left of a store: the samples, and the places that are reported or end the reading.
fn read_damaged(options: &DbOptions) -> (Content, Vec<Corruption>) {
    let (db, report) = match Db::open(options) {
        Ok(opened) => opened,
        Err(OpenError::Corruption(at) | OpenError::Deletions(at)) => {
            return (Content::new(), vec![at]);
        }
        Err(OpenError::Version { path, .. }) => {
            let at = Corruption {
                file: path,
                offset: 0,
                expected: String::new(),
                found: String::new(),
            };
            return (Content::new(), vec![at]);
        }
        Err(other) => panic!("{other}"),
    };
    let damage = [
        report.block_damage,
        report.blocks_restored,
        report.wal_damage,
    ]
    .concat();
    let mut reported: Vec<Corruption> = damage.into_iter().map(|damage| damage.at).collect();
    let querier = db.querier(TimeRange::ALL).unwrap();
    match support::read(&*querier, &[], TimeRange::ALL) {
        Ok(content) => (content, reported),
        Err(ReadError::Corruption(at)) => {
            reported.push(at);
            (Content::new(), reported)
        }
        Err(other) => panic!("{other}"),
    }
}

/// An error with its causes.
fn text(error: &dyn std::error::Error) -> String {
    let cause = error.source();
    cause.map_or_else(
        || error.to_string(),
        |cause| format!("{error}: {}", text(cause)),
    )
}

#[test]
fn a_file_that_the_store_cannot_go_by_is_told_with_what_to_do() {
    const FORMAT: &str = "this build reads version 2: use the version that wrote it";
    const DELETIONS: &str = "the list of deletions is damaged: put the file back from a copy, or remove it, and what was deleted and is still in blocks comes back: /data/narthex/tombstones at offset ";
    let (fs, options, content) = small_store();
    for (file, bytes, expected) in [
        ("format", &b""[..], Err(FORMAT)),
        ("format", b"3\n", Err(FORMAT)),
        ("format", b"2\n2\n", Err(FORMAT)),
        ("format", b"\xff\0", Err(FORMAT)),
        ("format", b"2", Ok(0)),
        ("tombstones", b"", Err(DELETIONS)),
        ("tombstones", b"NXTOMB1\n\0\0\0\0\0", Err(DELETIONS)),
        ("tombstones", &[0; 40], Err(DELETIONS)),
        // Of exemplars what can be read is taken; samples do not wait for them.
        ("exemplars", b"", Ok(1)),
        ("exemplars", &[0; 40], Ok(1)),
        ("exemplars", b"exemplars", Ok(1)),
        // Left by a process that was killed.
        ("format.tmp", b"", Ok(0)),
        ("tombstones.tmp", b"?", Ok(0)),
        ("exemplars.tmp", b"?", Ok(0)),
    ] {
        let left = fs.after(Crash::Kill);
        let path = Path::new("/data/narthex").join(file);
        left.put(&path, bytes.to_vec());
        let options = DbOptions {
            fs: Arc::new(left.clone()),
            ..options.clone()
        };
        match (Db::open(&options), expected) {
            (Ok((db, report)), Ok(damaged)) => {
                assert_eq!(support::content(&db), content, "{file} {bytes:?}");
                let named = report
                    .wal_damage
                    .iter()
                    .filter(|damage| damage.at.file == path);
                assert_eq!(named.count(), damaged, "{file} {bytes:?}: {report:?}");
            }
            (Err(error), Err(expected)) => {
                let found = text(&error);
                assert!(found.contains(expected), "{file} {bytes:?}: {found}");
                assert!(found.contains(path.to_str().unwrap()), "{found}");
                assert_eq!(left.read(&path).unwrap(), bytes, "{file}: not touched");
            }
            (found, expected) => panic!("{file} {bytes:?}: {found:?}, not {expected:?}"),
        }
    }
    // A lock that is no file.
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("lock")).unwrap();
    let error = try_open(folder.path(), &Arc::default()).unwrap_err();
    let lock = folder.path().join("lock");
    assert!(text(&error).contains(&*lock.to_string_lossy()), "{error}");
    assert!(!folder.path().join("narthex").exists(), "nothing is begun");
}

/// Flipped, zeroed and cut: the same samples, or fewer and an error that names file and offset. Only a log
/// that is cut behind a whole record is one that ended there. Damaged blocks stay where they are.
#[test]
fn every_damaged_byte_of_every_file_is_harmless_or_reported() {
    let (fs, options, content) = small_store();
    let mut kinds = BTreeSet::new();
    let is_log = |path: &&PathBuf| path.parent().is_some_and(|folder| folder.ends_with("wal"));
    let newest_log = fs.paths().iter().rfind(is_log).cloned();
    for path in fs.paths() {
        let whole = fs.read(&path).unwrap();
        kinds.insert(path.parent().unwrap().to_owned());
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            let mut zeroed = whole.clone();
            zeroed[at] = 0;
            let cut = whole[..at].to_vec();
            for (what, bytes) in [("flipped", flipped), ("zeroed", zeroed), ("cut", cut)] {
                if bytes == whole {
                    continue;
                }
                let place = format!("{} {what} at {at}", path.display());
                let left = fs.after(Crash::Kill);
                left.put(&path, bytes.clone());
                let options = DbOptions {
                    fs: Arc::new(left.clone()),
                    ..options.clone()
                };
                let (found, reported) = read_damaged(&options);
                let only_true = found
                    .iter()
                    .all(|(key, bits)| content.get(key) == Some(bits));
                assert!(only_true, "{place}: {found:?}");
                let may_have_ended = what == "cut" && newest_log.as_ref() == Some(&path);
                if found != content && !may_have_ended {
                    let named = reported.iter().find(|damage| damage.file == path);
                    let named = named.unwrap_or_else(|| panic!("{place}: {reported:?}"));
                    assert!(named.offset <= whole.len() as u64, "{place}: {named}");
                }
                if path.extension().is_some_and(|extension| extension == "nx") {
                    assert_eq!(left.read(&path).unwrap(), bytes, "{place}");
                }
            }
        }
    }
    assert_eq!(kinds.len(), 3, "{kinds:?}");
}
