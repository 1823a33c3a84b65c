//! A file system in memory that fails where a test says so, and knows what a power cut leaves.
//!
//! As on a journaling disk, names are lost in the reverse order of their changes, a renaming is whole or
//! not there, and of a file there is at least what was synced. Folders are names like others: what lies
//! in one that is lost is lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use narthex_storage::{AppendFile, DirEntry, Fs, IoError, Mapped};

use super::random::Random;

/// The store's data path. It is there before the store is.
pub(crate) const ROOT: &str = "/data";

/// Content, and how much of it a power cut leaves.
pub(crate) type File = Arc<Mutex<(Vec<u8>, usize)>>;

/// Names and what they stand for.
#[derive(Debug, Default, Clone)]
struct Names {
    files: BTreeMap<PathBuf, File>,
    folders: BTreeSet<PathBuf>,
}

/// A change of names.
#[derive(Debug, Clone)]
enum Change {
    File(PathBuf, File),
    Folder(PathBuf),
    Removed(PathBuf),
    Renamed(PathBuf, PathBuf),
}

impl Change {
    /// The folder whose content it changes.
    fn folder(&self) -> Option<&Path> {
        match self {
            Self::File(path, _) | Self::Folder(path) | Self::Removed(path) => path.parent(),
            Self::Renamed(_, to) => to.parent(),
        }
    }
}

impl Names {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::File(path, file) => {
                self.files.insert(path.clone(), Arc::clone(file));
            }
            Change::Folder(path) => {
                self.folders.insert(path.clone());
            }
            Change::Removed(path) => {
                self.files.remove(path);
                self.folders.remove(path);
            }
            Change::Renamed(from, to) => {
                let moved = |path: &Path| match path.strip_prefix(from) {
                    Ok(below) if below.as_os_str().is_empty() => to.clone(),
                    Ok(below) => to.join(below),
                    Err(_) => path.to_owned(),
                };
                // A file that is replaced goes before its follower comes.
                if self.files.contains_key(from) {
                    self.files.remove(to);
                }
                let files = std::mem::take(&mut self.files).into_iter();
                self.files = files.map(|(path, file)| (moved(&path), file)).collect();
                self.folders = self.folders.iter().map(|path| moved(path)).collect();
            }
        }
    }

    /// Whether all folders of a path are there.
    fn reach(&self, path: &Path) -> bool {
        let below_root = |folder: &&Path| folder.starts_with(ROOT) && *folder != Path::new(ROOT);
        let mut folders = path.ancestors().skip(1).filter(below_root);
        folders.all(|folder| self.folders.contains(folder))
    }
}

/// What happens to the operations that change something; they count from 1, since it was said.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// This one fails, and nothing else.
    Once(usize),
    /// From this one on, of those that need room, nothing new fits on the disk.
    Full(usize),
}

/// What ended a process.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Crash {
    /// What was handed to the kernel is there.
    Kill,
    /// What was synced is there.
    PowerCut,
    /// So is some of the rest, and some of its bytes are zeros. By a seed.
    TornPowerCut(u64),
}

#[derive(Debug, Default)]
struct State {
    live: Names,
    /// What a power cut leaves for certain.
    durable: Names,
    /// The changes of names that it may undo, oldest first.
    pending: Vec<Change>,
    /// How many operations there were since the fault was said, …
    operations: usize,
    /// … and how many of them needed room.
    need_room: usize,
    fault: Fault,
    hook: Hook,
    watch: Watch,
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

/// Who looks on before every operation that changes something.
#[derive(Default, Clone)]
struct Watch(Option<Arc<Watcher>>);

type Watcher = dyn Fn(&FaultyFs) + Send + Sync;

impl Debug for Watch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Watch")
    }
}

/// See the module. Clones share it.
#[derive(Debug, Default, Clone)]
pub(crate) struct FaultyFs(Arc<Mutex<State>>);

fn error<T>(action: &'static str, path: &Path, kind: ErrorKind) -> Result<T, IoError> {
    Err(IoError {
        action,
        path: path.to_owned(),
        source: kind.into(),
    })
}

impl FaultyFs {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Says what is to be done once.
    pub(crate) fn hook(&self, hook: Hook) {
        self.state().hook = hook;
    }

    /// Says what happens from now on.
    pub(crate) fn fail(&self, fault: Fault) {
        let mut state = self.state();
        state.fault = fault;
        state.operations = 0;
        state.need_room = 0;
    }

    /// Whether the fault has begun.
    pub(crate) fn has_failed(&self) -> bool {
        let state = self.state();
        match state.fault {
            Fault::None => false,
            Fault::Once(at) => state.operations >= at,
            Fault::Full(at) => state.need_room >= at,
        }
    }

    /// Calls `each` before every operation that changes something; when bytes are written, half of
    /// them are there.
    pub(crate) fn watch(&self, each: impl Fn(&Self) + Send + Sync + 'static) {
        self.state().watch = Watch(Some(Arc::new(each)));
    }

    /// Counts an operation that changes something, and fails if it is to.
    fn change(&self, action: &'static str, path: &Path, needs_room: bool) -> Result<(), IoError> {
        let watch = self.state().watch.clone();
        if let Watch(Some(watch)) = watch {
            watch(self);
        }
        let mut state = self.state();
        state.operations += 1;
        state.need_room += usize::from(needs_room);
        match state.fault {
            Fault::Once(at) if state.operations == at => error(action, path, ErrorKind::Other),
            Fault::Full(at) if state.need_room >= at && needs_room => {
                error(action, path, ErrorKind::StorageFull)
            }
            _ => Ok(()),
        }
    }

    fn rename_names(&self, change: Change) {
        let mut state = self.state();
        state.live.apply(&change);
        state.pending.push(change);
    }

    pub(crate) fn file(&self, path: &Path) -> Result<File, IoError> {
        let file = self.state().live.files.get(path).map(Arc::clone);
        file.map_or_else(|| error("open", path, ErrorKind::NotFound), Ok)
    }

    /// The paths of all files, ascending.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.state().live.files.keys().cloned().collect()
    }

    /// Puts a file there, durably, with the folders it needs.
    pub(crate) fn put(&self, path: &Path, content: Vec<u8>) {
        let len = content.len();
        let file: File = Arc::new(Mutex::new((content, len)));
        let mut state = self.state();
        let State { live, durable, .. } = &mut *state;
        for names in [live, durable] {
            let folders = path.ancestors().skip(1).map(Path::to_path_buf);
            names.folders.extend(folders);
            names.files.insert(path.to_owned(), Arc::clone(&file));
        }
    }

    /// Copies a file as it is now into another file system; `false` when it is gone.
    pub(crate) fn copy_to(&self, other: &Self, path: &Path) -> bool {
        let Ok(file) = self.file(path) else {
            return false;
        };
        let content = file.lock().unwrap().0.clone();
        other.put(path, content);
        true
    }

    /// What is left after a crash.
    pub(crate) fn after(&self, crash: Crash) -> Self {
        let state = self.state();
        let mut random = Random::new(match crash {
            Crash::TornPowerCut(seed) => seed,
            _ => 0,
        });
        let names = match crash {
            Crash::Kill => state.live.clone(),
            Crash::PowerCut => state.durable.clone(),
            Crash::TornPowerCut(_) => {
                let mut names = state.durable.clone();
                let kept = random.below(state.pending.len() + 1);
                for change in &state.pending[..kept] {
                    names.apply(change);
                }
                names
            }
        };
        let left = Self::default();
        for (path, file) in &names.files {
            if !names.reach(path) {
                continue;
            }
            let (content, synced) = &*file.lock().unwrap();
            let mut content = content.clone();
            match crash {
                Crash::Kill => {}
                Crash::PowerCut => content.truncate(*synced),
                Crash::TornPowerCut(_) => {
                    let unsynced = content.len() - synced;
                    content.truncate(synced + random.below(unsynced + 1));
                    let whole = synced + random.below(content.len() - synced + 1);
                    if random.below(2) == 0 {
                        content[whole..].fill(0);
                    }
                }
            }
            left.put(path, content);
        }
        left
    }
}

impl Fs for FaultyFs {
    fn create_dir_all(&self, path: &Path) -> Result<(), IoError> {
        self.change("create folder", path, true)?;
        let mut folders: Vec<&Path> = path.ancestors().collect();
        folders.reverse();
        for folder in folders {
            let is_there = self.state().live.folders.contains(folder);
            if !is_there {
                self.rename_names(Change::Folder(folder.to_owned()));
            }
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> Result<Box<dyn AppendFile>, IoError> {
        let hook = self.state().hook.take(path);
        if let Some(work) = hook {
            work();
        }
        self.change("create", path, true)?;
        let names = self.state().live.clone();
        if names.files.contains_key(path) {
            return error("create", path, ErrorKind::AlreadyExists);
        }
        if !names.reach(path) {
            return error("create", path, ErrorKind::NotFound);
        }
        let file = File::default();
        self.rename_names(Change::File(path.to_owned(), Arc::clone(&file)));
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
        let name = |below: &Path| {
            let name = below.file_name().filter(|_| below.parent() == Some(path));
            name.map(|name| name.to_string_lossy().into_owned())
        };
        let folders = state.live.folders.iter().filter_map(|folder| {
            Some(DirEntry {
                name: name(folder)?,
                is_dir: true,
                size_bytes: 0,
            })
        });
        let files = state.live.files.iter().filter_map(|(path, file)| {
            Some(DirEntry {
                name: name(path)?,
                is_dir: false,
                size_bytes: file.lock().unwrap().0.len() as u64,
            })
        });
        let mut entries: Vec<DirEntry> = folders.chain(files).collect();
        entries.sort();
        Ok(entries)
    }

    fn remove_file(&self, path: &Path) -> Result<(), IoError> {
        self.change("remove", path, false)?;
        self.file(path)?;
        self.rename_names(Change::Removed(path.to_owned()));
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> Result<(), IoError> {
        self.change("remove folder", path, false)?;
        if !self.list(path)?.is_empty() {
            return error("remove folder", path, ErrorKind::DirectoryNotEmpty);
        }
        self.rename_names(Change::Removed(path.to_owned()));
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        self.change("link", to, true)?;
        let file = self.file(from)?;
        if self.file(to).is_ok() {
            return error("link", to, ErrorKind::AlreadyExists);
        }
        self.rename_names(Change::File(to.to_owned(), file));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        self.change("rename", from, true)?;
        let is_there = {
            let state = self.state();
            state.live.files.contains_key(from) || state.live.folders.contains(from)
        };
        if !is_there {
            return error("rename", from, ErrorKind::NotFound);
        }
        self.rename_names(Change::Renamed(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> Result<(), IoError> {
        self.change("sync", path, false)?;
        let mut state = self.state();
        let State {
            durable, pending, ..
        } = &mut *state;
        pending.retain(|change| {
            let is_synced = change.folder() == Some(path);
            if is_synced {
                durable.apply(change);
            }
            !is_synced
        });
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
        let (half, rest) = bytes.split_at(bytes.len() / 2);
        self.2.lock().unwrap().0.extend_from_slice(half);
        self.0.change("write", &self.1, true)?;
        self.2.lock().unwrap().0.extend_from_slice(rest);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), IoError> {
        self.0.change("sync", &self.1, false)?;
        let mut file = self.2.lock().unwrap();
        file.1 = file.0.len();
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> Result<(), IoError> {
        self.0.change("cut", &self.1, false)?;
        let mut file = self.2.lock().unwrap();
        file.0.truncate(len as usize);
        file.1 = file.1.min(len as usize);
        Ok(())
    }
}
