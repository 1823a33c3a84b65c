//! A file system in memory that fails where a test says so, a clock that it sets, and everything that
//! a store holds.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use narthex_storage::{
    AppendFile, Budget, Clock, Db, DbOptions, DirEntry, Fs, IoError, Labels, Mapped, Matcher,
    Queryable, Select, TimeRange, Timestamp, WalFsync, Wants,
};

/// Content, and how much of it a power cut leaves.
pub(crate) type File = Arc<Mutex<(Vec<u8>, usize)>>;

#[derive(Debug, Default)]
pub(crate) struct State {
    live: BTreeMap<PathBuf, File>,
    /// The names that a power cut leaves.
    durable: BTreeMap<PathBuf, File>,
    /// Folders whose new name is not durable yet.
    moved: Vec<(PathBuf, PathBuf)>,
    operations: usize,
    pub(crate) hook: Hook,
    pub(crate) fail_at: Option<usize>,
    pub(crate) is_full: bool,
}

type Work = Box<dyn FnOnce() + Send>;

/// What is to be done before a file with such an ending is created.
#[derive(Default)]
pub(crate) struct Hook(Option<(&'static str, Work)>);

impl Hook {
    /// Does `work` once, before the next file is created whose name ends so.
    pub(crate) fn new(ending: &'static str, work: impl FnOnce() + Send + 'static) -> Self {
        Self(Some((ending, Box::new(work))))
    }

    fn take(&mut self, path: &Path) -> Option<Work> {
        let is_due = |(ending, _): &mut (&'static str, Work)| {
            path.as_os_str().to_string_lossy().ends_with(*ending)
        };
        self.0.take_if(is_due).map(|(_, work)| work)
    }
}

impl Debug for Hook {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Hook")
    }
}

/// See the module. Clones share it.
#[derive(Debug, Default, Clone)]
pub(crate) struct FaultyFs(Arc<Mutex<State>>);

fn error<T>(path: &Path, kind: io::ErrorKind) -> Result<T, IoError> {
    Err(IoError {
        action: "do",
        path: path.to_owned(),
        source: kind.into(),
    })
}

impl FaultyFs {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
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

    pub(crate) fn file(&self, path: &Path) -> Result<File, IoError> {
        let file = self.state().live.get(path).map(Arc::clone);
        file.map_or_else(|| error(path, io::ErrorKind::NotFound), Ok)
    }

    /// The paths of all files, ascending.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.state().live.keys().cloned().collect()
    }

    /// Copies a file as it is now into another file system; `false` when it is gone.
    pub(crate) fn copy_to(&self, other: &Self, path: &Path) -> bool {
        let Ok(file) = self.file(path) else {
            return false;
        };
        let content = file.lock().unwrap().0.clone();
        let len = content.len();
        let copy: File = Arc::new(Mutex::new((content, len)));
        let mut state = other.state();
        state.live.insert(path.to_owned(), Arc::clone(&copy));
        state.durable.insert(path.to_owned(), copy);
        true
    }

    /// What is left after the process was killed, or after the power was cut.
    pub(crate) fn after_crash(&self, power_cut: bool) -> Self {
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

/// Whether there was such a folder with something in it.
fn rename_folder(names: &mut BTreeMap<PathBuf, File>, from: &Path, to: &Path) -> bool {
    let inside: Vec<PathBuf> = names
        .keys()
        .filter(|name| name.starts_with(from))
        .cloned()
        .collect();
    for name in &inside {
        let file = names.remove(name).unwrap();
        names.insert(to.join(name.strip_prefix(from).unwrap()), file);
    }
    !inside.is_empty()
}

impl Fs for FaultyFs {
    fn create_dir_all(&self, path: &Path) -> Result<(), IoError> {
        self.change(path)
    }
    fn create(&self, path: &Path) -> Result<Box<dyn AppendFile>, IoError> {
        let hook = self.state().hook.take(path);
        if let Some(work) = hook {
            work();
        }
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
        let mut entries = BTreeMap::new();
        for (name, file) in &state.live {
            let Ok(below) = name.strip_prefix(path) else {
                continue;
            };
            let mut parts = below.iter();
            let name = parts.next().unwrap().to_string_lossy().into_owned();
            let is_dir = parts.next().is_some();
            let bytes = file.lock().unwrap().0.len() as u64;
            let entry = DirEntry {
                name: name.clone(),
                is_dir,
                size_bytes: if is_dir { 0 } else { bytes },
            };
            entries.insert(name, entry);
        }
        Ok(entries.into_values().collect())
    }
    fn remove_file(&self, path: &Path) -> Result<(), IoError> {
        self.change(path)?;
        self.state().live.remove(path);
        Ok(())
    }
    fn remove_dir(&self, path: &Path) -> Result<(), IoError> {
        self.change(path)
    }
    fn hard_link(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        self.change(to)?;
        let file = self.file(from)?;
        let before = self.state().live.insert(to.to_owned(), file);
        assert!(before.is_none(), "{} exists", to.display());
        Ok(())
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        self.change(from)?;
        let mut state = self.state();
        if let Some(file) = state.live.remove(from) {
            state.live.insert(to.to_owned(), file);
            return Ok(());
        }
        let moved = rename_folder(&mut state.live, from, to);
        assert!(moved, "{} is missing", from.display());
        state.moved.push((from.to_owned(), to.to_owned()));
        Ok(())
    }
    fn sync_dir(&self, path: &Path) -> Result<(), IoError> {
        self.change(path)?;
        let mut state = self.state();
        let State {
            live,
            durable,
            moved,
            ..
        } = &mut *state;
        moved.retain(|(from, to)| {
            let is_synced = to.parent() == Some(path);
            if is_synced {
                rename_folder(durable, from, to);
            }
            !is_synced
        });
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
pub(crate) struct SetClock(Mutex<Duration>);

impl SetClock {
    pub(crate) fn advance(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        0
    }
    fn monotonic(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

pub(crate) type Content = BTreeMap<(String, Timestamp), u64>;

pub(crate) fn options(fs: &FaultyFs, clock: &Arc<SetClock>, wal_fsync: WalFsync) -> DbOptions {
    let clock: Arc<dyn Clock> = Arc::<SetClock>::clone(clock);
    let mut options = DbOptions::new("/data", Arc::new(fs.clone()), clock);
    options.wal_fsync = wal_fsync;
    options
}

pub(crate) fn labels(series: &str) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("series", series)])
}

pub(crate) fn content(db: &Db) -> Content {
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
