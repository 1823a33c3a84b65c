//! A file system that fails at every operation in turn, and what a store finds afterwards.
#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::{
    collections::BTreeMap,
    fmt::Debug,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use narthex_storage::{
    AppendError, AppendFile, Appendable, Budget, Clock, Db, DbOptions, DirEntry, Fs, IoError,
    Labels, Mapped, Matcher, OpenError, Queryable, RowBuilder, Sample, Select, TargetKey,
    TimeRange, Timestamp, WalFsync, Wants,
};

/// Content, and how much of it a power cut leaves.
type File = Arc<Mutex<(Vec<u8>, usize)>>;

#[derive(Debug, Default)]
struct State {
    live: BTreeMap<PathBuf, File>,
    /// The names that a power cut leaves.
    durable: BTreeMap<PathBuf, File>,
    operations: usize,
    fail_at: Option<usize>,
    is_full: bool,
}

/// A file system in memory. Clones share it.
#[derive(Debug, Default, Clone)]
struct FaultyFs(Arc<Mutex<State>>);

fn error<T>(path: &Path, kind: io::ErrorKind) -> Result<T, IoError> {
    Err(IoError {
        action: "do",
        path: path.to_owned(),
        source: kind.into(),
    })
}

impl FaultyFs {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Counts an operation that changes something; from the failing one on, all fail.
    fn change(&self, path: &Path) -> Result<(), IoError> {
        let mut state = self.state();
        state.operations += 1;
        if state.fail_at.is_some_and(|at| state.operations >= at) {
            return error(path, io::ErrorKind::BrokenPipe);
        }
        Ok(())
    }

    fn file(&self, path: &Path) -> Result<File, IoError> {
        let file = self.state().live.get(path).map(Arc::clone);
        file.map_or_else(|| error(path, io::ErrorKind::NotFound), Ok)
    }

    /// What is left after the process was killed, or after the power was cut.
    fn after_crash(&self, power_cut: bool) -> Self {
        let state = self.state();
        let names = if power_cut {
            &state.durable
        } else {
            &state.live
        };
        let mut left = State::default();
        for (path, file) in names {
            let (content, durable) = &*file.lock().unwrap();
            let kept = if power_cut { *durable } else { content.len() };
            let file: File = Arc::new(Mutex::new((content[..kept].to_vec(), kept)));
            left.live.insert(path.clone(), Arc::clone(&file));
            left.durable.insert(path.clone(), file);
        }
        Self(Arc::new(Mutex::new(left)))
    }
}

impl Fs for FaultyFs {
    fn create_dir_all(&self, path: &Path) -> Result<(), IoError> {
        self.change(path)
    }
    fn create(&self, path: &Path) -> Result<Box<dyn AppendFile>, IoError> {
        self.change(path)?;
        let file = File::default();
        let before = self.state().live.insert(path.to_owned(), Arc::clone(&file));
        assert!(before.is_none(), "{} exists", path.display());
        Ok(Box::new(FaultyFile(self.clone(), path.to_owned(), file)))
    }
    fn open_append(&self, path: &Path, len: u64) -> Result<Box<dyn AppendFile>, IoError> {
        let file = self.file(path)?;
        let mut opened = FaultyFile(self.clone(), path.to_owned(), file);
        opened.truncate(len)?;
        Ok(Box::new(opened))
    }
    fn read(&self, path: &Path) -> Result<Vec<u8>, IoError> {
        Ok(self.file(path)?.lock().unwrap().0.clone())
    }
    fn map(&self, path: &Path, len: u64) -> Result<Mapped, IoError> {
        Ok(Mapped::memory(self.read(path)?[..len as usize].to_vec()))
    }
    fn list(&self, path: &Path) -> Result<Vec<DirEntry>, IoError> {
        let state = self.state();
        let inside = state
            .live
            .iter()
            .filter(|(name, _)| name.parent() == Some(path));
        Ok(inside
            .map(|(name, file)| DirEntry {
                name: name.file_name().unwrap().to_string_lossy().into_owned(),
                is_dir: false,
                size_bytes: file.lock().unwrap().0.len() as u64,
            })
            .collect())
    }
    fn remove_file(&self, path: &Path) -> Result<(), IoError> {
        self.change(path)?;
        self.state().live.remove(path);
        Ok(())
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        self.change(from)?;
        let file = self.file(from)?;
        let mut state = self.state();
        state.live.remove(from);
        state.live.insert(to.to_owned(), file);
        Ok(())
    }
    fn sync_dir(&self, path: &Path) -> Result<(), IoError> {
        self.change(path)?;
        let mut state = self.state();
        let State { live, durable, .. } = &mut *state;
        durable.retain(|name, _| name.parent() != Some(path));
        let inside = live.iter().filter(|(name, _)| name.parent() == Some(path));
        durable.extend(inside.map(|(name, file)| (name.clone(), Arc::clone(file))));
        Ok(())
    }
    fn try_lock(&self, _: &Path) -> Result<Option<Box<dyn Debug + Send + Sync>>, IoError> {
        Ok(Some(Box::new(())))
    }
}

#[derive(Debug)]
struct FaultyFile(FaultyFs, PathBuf, File);

impl AppendFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        let failed = self.0.change(&self.1);
        let full = self.0.state().is_full;
        let mut file = self.2.lock().unwrap();
        let written = if failed.is_err() || full {
            bytes.len() / 2
        } else {
            bytes.len()
        };
        file.0.extend_from_slice(&bytes[..written]);
        failed?;
        if full {
            return error(&self.1, io::ErrorKind::StorageFull);
        }
        Ok(())
    }
    fn sync(&mut self) -> Result<(), IoError> {
        self.0.change(&self.1)?;
        let mut file = self.2.lock().unwrap();
        file.1 = file.0.len();
        Ok(())
    }
    fn truncate(&mut self, len: u64) -> Result<(), IoError> {
        self.0.change(&self.1)?;
        let mut file = self.2.lock().unwrap();
        file.0.truncate(len as usize);
        file.1 = file.1.min(len as usize);
        Ok(())
    }
}

#[derive(Debug, Default)]
struct SetClock(Mutex<Duration>);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        0
    }
    fn monotonic(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

type Content = BTreeMap<(String, Timestamp), u64>;

fn options(fs: &FaultyFs, clock: &Arc<SetClock>, wal_fsync: WalFsync) -> DbOptions {
    let clock: Arc<dyn Clock> = Arc::<SetClock>::clone(clock);
    let mut options = DbOptions::new("/data", Arc::new(fs.clone()), clock);
    options.wal_fsync = wal_fsync;
    options
}

fn labels(series: &str) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("series", series)])
}

fn content(db: &Db) -> Content {
    let budget = Budget::unlimited();
    let querier = db.querier(TimeRange::ALL).unwrap();
    let select = Select {
        matchers: &[Matcher::equal("__name__", "m")],
        range: TimeRange::ALL,
        limit: None,
        wants: Wants::Samples,
    };
    let selection = querier.select(&select, &budget).unwrap();
    let mut scan = selection.scan(TimeRange::ALL, &budget);
    let mut content = Content::new();
    for (index, series) in selection.series().iter().enumerate() {
        scan.seek(index).unwrap();
        let name = series.labels.get("series").unwrap();
        while let Some(run) = scan.next_run().unwrap() {
            let (mut times, mut values) = (vec![0; run.len()], vec![0.0; run.len()]);
            run.times(&mut times).unwrap();
            run.values(&mut values).unwrap();
            for (time, value) in times.into_iter().zip(values) {
                let before = content.insert((name.to_owned(), time), value.to_bits());
                assert_eq!(before, None, "a sample twice");
            }
        }
    }
    content
}

/// Rows, pushed samples, seals and a new log segment. Notes the content after each commit before
/// it is tried, and the last that was acknowledged; ends at the first error.
fn workload(
    db: &Db,
    clock: &SetClock,
    states: &mut Vec<Content>,
    acknowledged: &mut usize,
) -> Result<(), AppendError> {
    let mut target = db.target(&TargetKey("t".to_owned()))?;
    let columns = ["a", "b"].map(|series| target.column(&labels(series)).unwrap());
    let mut row = RowBuilder::default();
    for step in 0..36i64 {
        let time = step * 600_000;
        let mut next = states.last().unwrap().clone();
        if step % 3 == 2 {
            next.insert(("pushed".to_owned(), time), 0.5f64.to_bits());
            next.insert(("a".to_owned(), time), 7f64.to_bits());
            states.push(next);
            let mut appender = db.appender();
            for (series, value) in [("pushed", 0.5), ("a", 7.0)] {
                let series = appender.series(&labels(series)).unwrap();
                appender.samples(series, &[Sample { time, value }]);
            }
            assert_eq!(appender.commit(true)?.refused, []);
        } else {
            for (name, value) in [("a", step as f64), ("b", 1.0)] {
                next.insert((name.to_owned(), time), value.to_bits());
            }
            states.push(next);
            row.begin(time);
            row.set(columns[0], step as f64);
            row.set(columns[1], 1.0);
            assert_eq!(target.commit(&mut row)?.refused, []);
        }
        *acknowledged = states.len() - 1;
        *clock.0.lock().unwrap() += Duration::from_mins(10);
        db.maintain()?;
    }
    Ok(())
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_acknowledged() {
    for policy in [WalFsync::Segment, WalFsync::Commit] {
        let mut fail_at = 1;
        loop {
            let fs = FaultyFs::default();
            let clock = Arc::new(SetClock::default());
            fs.state().fail_at = Some(fail_at);
            let mut states = vec![Content::new()];
            let mut acknowledged = 0;
            let ended = match Db::open(&options(&fs, &clock, policy)) {
                Ok((db, _)) => workload(&db, &clock, &mut states, &mut acknowledged).is_ok(),
                Err(OpenError::Io(_)) => false,
                Err(other) => panic!("{other}"),
            };
            for power_cut in [false, true] {
                let left = fs.after_crash(power_cut);
                let (db, report) = Db::open(&options(&left, &clock, policy)).unwrap();
                let found = content(&db);
                let must_have = if power_cut && policy == WalFsync::Segment {
                    0
                } else {
                    acknowledged
                };
                assert!(
                    states[must_have..].contains(&found),
                    "{policy:?}, operation {fail_at}, power cut {power_cut}: {report:?}\n\
                     found {found:?}\nacknowledged {:?}",
                    states[acknowledged]
                );
                // What is there stays there, and goes on.
                let mut appender = db.appender();
                let series = appender.series(&labels("after")).unwrap();
                let (time, value) = (36 * 600_000, 1.0);
                appender.samples(series, &[Sample { time, value }]);
                assert_eq!(appender.commit(true).unwrap().accepted, 1);
                drop(db);
                let (db, report) = Db::open(&options(&left, &clock, policy)).unwrap();
                assert_eq!(report.wal_damage, []);
                assert_eq!(content(&db).len(), found.len() + 1);
            }
            if ended {
                break;
            }
            fail_at += 1;
        }
        assert!(fail_at > 100, "the workload has {fail_at} operations");
    }
}

#[test]
fn a_full_disk_refuses_pushes_keeps_rows_and_recovers() {
    let fs = FaultyFs::default();
    let clock = Arc::new(SetClock::default());
    let (db, _) = Db::open(&options(&fs, &clock, WalFsync::Segment)).unwrap();
    let mut target = db.target(&TargetKey("t".to_owned())).unwrap();
    let column = target.column(&labels("a")).unwrap();
    let mut row = RowBuilder::default();
    let mut commit_row = |time: Timestamp| {
        row.begin(time);
        row.set(column, 1.0);
        target.commit(&mut row).unwrap()
    };
    let push = |time: Timestamp| {
        let mut appender = db.appender();
        let series = appender.series(&labels("b")).unwrap();
        appender.samples(series, &[Sample { time, value: 2.0 }]);
        appender.commit(true)
    };
    commit_row(1);
    fs.state().is_full = true;
    assert_eq!(commit_row(2).accepted, 1);
    assert!(matches!(push(2), Err(AppendError::Full { .. })));
    assert!(db.maintain().is_err());
    let rows: Content = [1, 2]
        .map(|time| (("a".to_owned(), time), 1f64.to_bits()))
        .into();
    assert_eq!(content(&db), rows, "reading goes on");
    fs.state().is_full = false;
    assert_eq!(push(3).unwrap().accepted, 1);
    commit_row(4);
    let all = content(&db);
    assert_eq!(all.len(), 4);
    drop(db);
    let (db, _) = Db::open(&options(&fs.after_crash(false), &clock, WalFsync::Segment)).unwrap();
    assert_eq!(content(&db), all);
}

#[test]
fn a_damaged_log_gives_a_prefix_and_never_a_panic() {
    let fs = FaultyFs::default();
    let clock = Arc::new(SetClock::default());
    let (db, _) = Db::open(&options(&fs, &clock, WalFsync::Segment)).unwrap();
    let mut states = vec![Content::new()];
    let mut target = db.target(&TargetKey("t".to_owned())).unwrap();
    let column = target.column(&labels("a")).unwrap();
    let mut row = RowBuilder::default();
    for time in 0..4 {
        row.begin(time);
        row.set(column, time as f64 / 3.0);
        target.commit(&mut row).unwrap();
        states.push(content(&db));
    }
    let path = Path::new("/data/narthex/wal/00000001");
    let whole = fs.read(path).unwrap();
    let check = |damaged: Vec<u8>, what: String| {
        let left = fs.after_crash(false);
        *left.file(path).unwrap().lock().unwrap() = (damaged, 0);
        let (db, _) = Db::open(&options(&left, &clock, WalFsync::Segment)).unwrap();
        assert!(states.contains(&content(&db)), "{what}");
    };
    for at in 0..whole.len() {
        check(whole[..at].to_vec(), format!("cut at {at}"));
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= flip;
            check(damaged, format!("byte {at} ^ {flip:#x}"));
        }
    }
}

#[test]
fn readers_see_whole_commits_while_others_write() {
    let fs = FaultyFs::default();
    let clock = Arc::new(SetClock::default());
    let (db, _) = Db::open(&options(&fs, &clock, WalFsync::Segment)).unwrap();
    // No writer may fall behind the others by the hour after which samples are refused.
    let barrier = std::sync::Barrier::new(3);
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let (db, barrier) = (&db, &barrier);
            scope.spawn(move || {
                let mut target = db.target(&TargetKey(writer.to_string())).unwrap();
                let columns = ["x", "y"]
                    .map(|part| target.column(&labels(&format!("{part}{writer}"))).unwrap());
                let mut row = RowBuilder::default();
                for step in 0..400 {
                    if step % 20 == 0 {
                        barrier.wait();
                    }
                    row.begin(step * 60_000);
                    for column in columns {
                        row.set(column, step as f64);
                    }
                    assert_eq!(target.commit(&mut row).unwrap().refused, []);
                }
            });
        }
        for _ in 0..60 {
            *clock.0.lock().unwrap() += Duration::from_secs(70);
            db.maintain().unwrap();
            let found = content(&db);
            for writer in 0..3 {
                let of = |part: &str| -> Vec<(Timestamp, u64)> {
                    let name = format!("{part}{writer}");
                    let samples = found.iter().filter(|((series, _), _)| *series == name);
                    samples.map(|((_, time), bits)| (*time, *bits)).collect()
                };
                let x = of("x");
                assert_eq!(x, of("y"), "a commit was torn");
                let whole: Vec<Timestamp> = (0..x.len() as i64).map(|step| step * 60_000).collect();
                assert!(x.iter().map(|(time, _)| *time).eq(whole), "a hole");
            }
        }
    });
    assert_eq!(content(&db).len(), 3 * 2 * 400);
}
