//! A file system in memory that can stop at any write or sync and shows what a process kill or a
//! power cut would leave.
//!
//! Every file has a live image (what the kernel was handed: survives a process kill) and a durable
//! length (what was synced: survives a power cut). Names behave alike: a created, renamed or removed
//! name is durable once its folder was synced. After the crash point every operation fails, so the
//! store under test cannot do anything more; [`FaultyFs::after_crash`] gives the file system that the
//! next process finds.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use narthex_storage::{AppendFile, DirEntry, Fs, IoError, Mapped};

/// What the crash leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Survives {
    /// The process was killed: everything handed to the kernel is there.
    Written,
    /// The power was cut: only what was synced is there.
    Synced,
}

/// The file system; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct FaultyFs {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Live names.
    names: BTreeMap<PathBuf, Arc<Mutex<File>>>,
    /// Names as the last sync of their folder left them.
    durable_names: BTreeMap<PathBuf, Arc<Mutex<File>>>,
    folders: Vec<PathBuf>,
    locked: Vec<PathBuf>,
    /// Writes, syncs, creations, renames and removals so far.
    operations: u64,
    /// The operation (counted from 1) that fails, and with it every later one.
    crash_at: Option<u64>,
    /// Of the write at the crash point, this many bytes still arrive.
    torn_bytes: usize,
    /// Appends fail while this is set, as on a full disk.
    full: bool,
}

#[derive(Debug, Default)]
struct File {
    live: Vec<u8>,
    durable_len: usize,
}

impl FaultyFs {
    /// Fails operation number `operation` (from 1) and everything after it; of a write at that point
    /// the first `torn_bytes` still arrive.
    pub(crate) fn crash_at(&self, operation: u64, torn_bytes: usize) {
        let mut state = self.state();
        state.crash_at = Some(operation);
        state.torn_bytes = torn_bytes;
    }

    /// How many operations there were.
    pub(crate) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Whether the disk is full from now on.
    pub(crate) fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    /// The file system that the next process finds.
    pub(crate) fn after_crash(&self, survives: Survives) -> Self {
        let state = self.state();
        let names = match survives {
            Survives::Written => &state.names,
            Survives::Synced => &state.durable_names,
        };
        let names: BTreeMap<PathBuf, Arc<Mutex<File>>> = names
            .iter()
            .map(|(path, file)| {
                let file = file.lock().unwrap();
                let length = match survives {
                    Survives::Written => file.live.len(),
                    Survives::Synced => file.durable_len.min(file.live.len()),
                };
                let live = file.live[..length].to_vec();
                (path.clone(), Arc::new(Mutex::new(File { live, durable_len: length })))
            })
            .collect();
        let next = State {
            durable_names: names.clone(),
            names,
            folders: state.folders.clone(),
            ..State::default()
        };
        Self { state: Arc::new(Mutex::new(next)) }
    }

    /// Every file with its content, for tests that damage bytes.
    pub(crate) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let state = self.state();
        let content = |file: &Arc<Mutex<File>>| file.lock().unwrap().live.clone();
        state.names.iter().map(|(path, file)| (path.clone(), content(file))).collect()
    }

    /// Replaces a file's bytes, durably.
    pub(crate) fn put(&self, path: &Path, bytes: Vec<u8>) {
        let file = Arc::new(Mutex::new(File { durable_len: bytes.len(), live: bytes }));
        let mut state = self.state();
        state.names.insert(path.to_owned(), Arc::clone(&file));
        state.durable_names.insert(path.to_owned(), file);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn error(action: &'static str, path: &Path, kind: io::ErrorKind) -> IoError {
    IoError { action, path: path.to_owned(), source: kind.into() }
}

impl State {
    /// Counts one operation; fails at and after the crash point.
    fn step(&mut self, action: &'static str, path: &Path) -> Result<(), IoError> {
        self.operations += 1;
        match self.crash_at {
            Some(at) if self.operations >= at => {
                Err(error(action, path, io::ErrorKind::BrokenPipe))
            }
            _ => Ok(()),
        }
    }

    fn file(&self, action: &'static str, path: &Path) -> Result<Arc<Mutex<File>>, IoError> {
        self.names.get(path).cloned().ok_or_else(|| error(action, path, io::ErrorKind::NotFound))
    }
}

impl Fs for FaultyFs {
    fn create_dir_all(&self, path: &Path) -> Result<(), IoError> {
        let mut state = self.state();
        for folder in path.ancestors() {
            if !state.folders.iter().any(|known| known == folder) {
                state.folders.push(folder.to_owned());
            }
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> Result<Box<dyn AppendFile>, IoError> {
        let mut state = self.state();
        state.step("create", path)?;
        if state.names.contains_key(path) {
            return Err(error("create", path, io::ErrorKind::AlreadyExists));
        }
        let file = Arc::new(Mutex::new(File::default()));
        state.names.insert(path.to_owned(), Arc::clone(&file));
        Ok(Box::new(Handle { file, path: path.to_owned(), fs: self.clone() }))
    }

    fn open_append(&self, path: &Path, len: u64) -> Result<Box<dyn AppendFile>, IoError> {
        let file = self.state().file("open", path)?;
        let mut handle = Handle { file, path: path.to_owned(), fs: self.clone() };
        handle.truncate(len)?;
        Ok(Box::new(handle))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, IoError> {
        let file = self.state().file("read", path)?;
        let bytes = file.lock().unwrap().live.clone();
        Ok(bytes)
    }

    fn map(&self, path: &Path, len: u64) -> Result<Mapped, IoError> {
        let bytes = self.read(path)?;
        match bytes.get(..usize::try_from(len).unwrap()) {
            Some(bytes) => Ok(Mapped::memory(bytes.to_vec())),
            None => Err(error("map", path, io::ErrorKind::UnexpectedEof)),
        }
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>, IoError> {
        let state = self.state();
        let mut entries = Vec::new();
        for (name, file) in &state.names {
            if name.parent() == Some(path) {
                entries.push(DirEntry {
                    name: name.file_name().unwrap().to_string_lossy().into_owned(),
                    is_dir: false,
                    size_bytes: file.lock().unwrap().live.len() as u64,
                });
            }
        }
        for folder in &state.folders {
            if folder.parent() == Some(path) {
                entries.push(DirEntry {
                    name: folder.file_name().unwrap().to_string_lossy().into_owned(),
                    is_dir: true,
                    size_bytes: 0,
                });
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn remove_file(&self, path: &Path) -> Result<(), IoError> {
        let mut state = self.state();
        state.step("remove", path)?;
        match state.names.remove(path) {
            Some(_) => Ok(()),
            None => Err(error("remove", path, io::ErrorKind::NotFound)),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        let mut state = self.state();
        state.step("rename", from)?;
        let file = state.file("rename", from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> Result<(), IoError> {
        let mut state = self.state();
        state.step("sync", path)?;
        let state = &mut *state;
        state.durable_names.retain(|name, _| name.parent() != Some(path));
        for (name, file) in &state.names {
            if name.parent() == Some(path) {
                state.durable_names.insert(name.clone(), Arc::clone(file));
            }
        }
        Ok(())
    }

    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn Debug + Send + Sync>>, IoError> {
        let mut state = self.state();
        if state.locked.iter().any(|locked| locked == path) {
            return Ok(None);
        }
        state.locked.push(path.to_owned());
        Ok(Some(Box::new(LockGuard { path: path.to_owned(), fs: self.clone() })))
    }
}

#[derive(Debug)]
struct LockGuard {
    path: PathBuf,
    fs: FaultyFs,
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.fs.state().locked.retain(|locked| *locked != self.path);
    }
}

#[derive(Debug)]
struct Handle {
    file: Arc<Mutex<File>>,
    path: PathBuf,
    fs: FaultyFs,
}

impl AppendFile for Handle {
    fn append(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        let mut state = self.fs.state();
        if state.full {
            // A full disk takes a part of the write.
            let part = bytes.len() / 2;
            self.file.lock().unwrap().live.extend_from_slice(&bytes[..part]);
            return Err(error("write", &self.path, io::ErrorKind::StorageFull));
        }
        let torn_bytes = state.torn_bytes.min(bytes.len());
        if let Err(error) = state.step("write", &self.path) {
            // Only the write at the crash point itself is torn; later ones do not happen.
            if state.crash_at == Some(state.operations) {
                self.file.lock().unwrap().live.extend_from_slice(&bytes[..torn_bytes]);
            }
            return Err(error);
        }
        self.file.lock().unwrap().live.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), IoError> {
        self.fs.state().step("sync", &self.path)?;
        let mut file = self.file.lock().unwrap();
        file.durable_len = file.live.len();
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> Result<(), IoError> {
        self.fs.state().step("cut", &self.path)?;
        let mut file = self.file.lock().unwrap();
        file.live.truncate(usize::try_from(len).unwrap());
        file.durable_len = file.durable_len.min(file.live.len());
        Ok(())
    }
}
