//! A file system in memory, for stores that live no longer than their process: rule tests, and
//! whoever embeds the store and wants no disk.
//!
//! It holds what is written to it, uncompressed, and nothing bounds it but what its user writes.
//! Nothing survives it, so making something durable does nothing. Clones share the same files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use super::{AppendFile, DirEntry, Fs};
use crate::{error::IoError, mmap::Mapped};

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct MemoryFs(Arc<Mutex<State>>);

type Content = Arc<Mutex<Vec<u8>>>;

#[derive(Debug, Default)]
struct State {
    folders: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Content>,
    locks: BTreeMap<PathBuf, Weak<()>>,
}

fn refused<T>(action: &'static str, path: &Path, kind: io::ErrorKind) -> Result<T, IoError> {
    Err(IoError {
        action,
        path: path.to_owned(),
        source: kind.into(),
    })
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryFs {
    fn file(&self, action: &'static str, path: &Path) -> Result<Content, IoError> {
        match locked(&self.0).files.get(path) {
            Some(file) => Ok(Arc::clone(file)),
            None => refused(action, path, io::ErrorKind::NotFound),
        }
    }
}

impl Fs for MemoryFs {
    fn create_dir_all(&self, path: &Path) -> Result<(), IoError> {
        let mut state = locked(&self.0);
        for folder in path.ancestors() {
            if state.files.contains_key(folder) {
                return refused("create folder", path, io::ErrorKind::NotADirectory);
            }
        }
        state
            .folders
            .extend(path.ancestors().map(Path::to_path_buf));
        Ok(())
    }

    fn create(&self, path: &Path) -> Result<Box<dyn AppendFile>, IoError> {
        let mut state = locked(&self.0);
        let folder = path.parent().unwrap_or(Path::new(""));
        if !state.folders.contains(folder) {
            return refused("create", path, io::ErrorKind::NotFound);
        }
        if state.files.contains_key(path) || state.folders.contains(path) {
            return refused("create", path, io::ErrorKind::AlreadyExists);
        }
        let file = Content::default();
        state.files.insert(path.to_owned(), Arc::clone(&file));
        Ok(Box::new(MemoryFile {
            content: file,
            path: path.to_owned(),
        }))
    }

    fn open_append(&self, path: &Path, len: u64) -> Result<Box<dyn AppendFile>, IoError> {
        let mut file = MemoryFile {
            content: self.file("open", path)?,
            path: path.to_owned(),
        };
        file.truncate(len)?;
        Ok(Box::new(file))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, IoError> {
        Ok(locked(&*self.file("read", path)?).clone())
    }

    fn map(&self, path: &Path, len: u64) -> Result<Mapped, IoError> {
        let file = self.file("map", path)?;
        let content = locked(&file);
        match usize::try_from(len).ok().and_then(|len| content.get(..len)) {
            Some(bytes) => Ok(Mapped::memory(bytes.to_vec())),
            None => refused("map", path, io::ErrorKind::UnexpectedEof),
        }
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>, IoError> {
        let state = locked(&self.0);
        let inside = |name: &Path| {
            let own = name.file_name().filter(|_| name.parent() == Some(path));
            own.map(|own| own.to_string_lossy().into_owned())
        };
        let folders = state.folders.iter().filter_map(|folder| {
            Some(DirEntry {
                name: inside(folder)?,
                is_dir: true,
                size_bytes: 0,
            })
        });
        let files = state.files.iter().filter_map(|(file, content)| {
            Some(DirEntry {
                name: inside(file)?,
                is_dir: false,
                size_bytes: locked(content).len() as u64,
            })
        });
        let mut entries: Vec<DirEntry> = folders.chain(files).collect();
        entries.sort();
        Ok(entries)
    }

    fn remove_file(&self, path: &Path) -> Result<(), IoError> {
        match locked(&self.0).files.remove(path) {
            Some(_) => Ok(()),
            None => refused("remove", path, io::ErrorKind::NotFound),
        }
    }

    fn remove_dir(&self, path: &Path) -> Result<(), IoError> {
        let mut state = locked(&self.0);
        if !state.folders.contains(path) {
            return refused("remove folder", path, io::ErrorKind::NotFound);
        }
        let mut names = state.files.keys().chain(&state.folders);
        if names.any(|name| name.parent() == Some(path)) {
            return refused("remove folder", path, io::ErrorKind::DirectoryNotEmpty);
        }
        state.folders.remove(path);
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        let mut state = locked(&self.0);
        if state.files.contains_key(to) || state.folders.contains(to) {
            return refused("link", to, io::ErrorKind::AlreadyExists);
        }
        let is_in_folder = to.parent().is_some_and(|it| state.folders.contains(it));
        match state.files.get(from).filter(|_| is_in_folder) {
            Some(file) => {
                let file = Arc::clone(file);
                state.files.insert(to.to_owned(), file);
                Ok(())
            }
            None => refused("link", to, io::ErrorKind::NotFound),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        let mut state = locked(&self.0);
        if let Some(file) = state.files.remove(from) {
            state.files.insert(to.to_owned(), file);
            return Ok(());
        }
        if !state.folders.contains(from) {
            return refused("rename", from, io::ErrorKind::NotFound);
        }
        let moved = |name: &Path| match name.strip_prefix(from) {
            Ok(below) if below.as_os_str().is_empty() => to.to_owned(),
            Ok(below) => to.join(below),
            Err(_) => name.to_owned(),
        };
        state.folders = state.folders.iter().map(|name| moved(name)).collect();
        let files = std::mem::take(&mut state.files).into_iter();
        state.files = files.map(|(name, file)| (moved(&name), file)).collect();
        Ok(())
    }

    fn sync_dir(&self, _path: &Path) -> Result<(), IoError> {
        Ok(())
    }

    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn Debug + Send + Sync>>, IoError> {
        let mut state = locked(&self.0);
        let held = state.locks.get(path).and_then(Weak::upgrade);
        if held.is_some() {
            return Ok(None);
        }
        let guard = Arc::new(());
        state.locks.insert(path.to_owned(), Arc::downgrade(&guard));
        state.files.entry(path.to_owned()).or_default();
        Ok(Some(Box::new(guard)))
    }
}

#[derive(Debug)]
struct MemoryFile {
    content: Content,
    path: PathBuf,
}

impl AppendFile for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        locked(&self.content).extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), IoError> {
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> Result<(), IoError> {
        let mut content = locked(&self.content);
        match usize::try_from(len) {
            Ok(len) if len <= content.len() => {
                content.truncate(len);
                Ok(())
            }
            _ => refused("cut", &self.path, io::ErrorKind::UnexpectedEof),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RealFs;

    /// What both file systems answer to the same operations.
    fn answers(fs: &dyn Fs, root: &Path) -> Vec<String> {
        let at = |name: &str| root.join(name);
        let shown = |error: IoError| format!("{} {:?}", error.action, error.source.kind());
        let listed = |name: &str| format!("{:?}", fs.list(&at(name)).map_err(shown));
        let mut said = vec![listed("a")];
        said.push(format!("{:?}", fs.create(&at("a/f")).err().map(shown)));
        fs.create_dir_all(&at("a/b")).unwrap();
        fs.create_dir_all(&at("a")).unwrap();
        let mut file = fs.create(&at("a/f")).unwrap();
        said.push(format!("{:?}", fs.create(&at("a/f")).err().map(shown)));
        file.append(b"0123456789").unwrap();
        file.truncate(7).unwrap();
        file.append(b"abc").unwrap();
        file.sync().unwrap();
        let map = fs.map(&at("a/f"), 4).unwrap();
        said.push(format!("{:?}", fs.map(&at("a/f"), 11).is_err()));
        drop(file);
        fs.open_append(&at("a/f"), 5).unwrap().append(b"z").unwrap();
        said.push(format!("{:?} {:?}", fs.read(&at("a/f")).unwrap(), &*map));
        said.push(listed("a"));
        fs.create(&at("a/g")).unwrap();
        fs.rename(&at("a/f"), &at("a/g")).unwrap();
        fs.sync_dir(&at("a")).unwrap();
        said.push(listed("a"));
        said.push(format!(
            "{:?}",
            fs.rename(&at("a/f"), &at("x")).map_err(shown)
        ));
        said.push(format!("{:?}", fs.read(&at("a/f")).map_err(shown)));
        said.push(format!("{:?}", fs.remove_file(&at("a/f")).map_err(shown)));
        fs.remove_file(&at("a/g")).unwrap();
        fs.create_dir_all(&at("c/d.tmp/e")).unwrap();
        fs.create(&at("c/d.tmp/e/f"))
            .unwrap()
            .append(b"one")
            .unwrap();
        said.push(format!(
            "{:?}",
            fs.hard_link(&at("x"), &at("c/x")).map_err(shown)
        ));
        fs.hard_link(&at("c/d.tmp/e/f"), &at("c/f")).unwrap();
        said.push(format!(
            "{:?}",
            fs.hard_link(&at("c/d.tmp/e/f"), &at("c/f")).map_err(shown)
        ));
        fs.open_append(&at("c/f"), 3)
            .unwrap()
            .append(b"two")
            .unwrap();
        fs.rename(&at("c/d.tmp"), &at("c/d")).unwrap();
        said.push(format!("{:?}", fs.read(&at("c/d/e/f")).unwrap()));
        said.extend([listed("c"), listed("c/d"), listed("c/d.tmp")]);
        said.push(format!("{:?}", fs.remove_dir(&at("c/d/e")).map_err(shown)));
        fs.remove_file(&at("c/d/e/f")).unwrap();
        fs.remove_dir(&at("c/d/e")).unwrap();
        said.push(format!("{:?}", fs.remove_dir(&at("c/d/e")).map_err(shown)));
        said.push(format!("{:?}", fs.read(&at("c/f")).unwrap()));
        said.extend([listed("c"), listed("c/d")]);
        let guard = fs.try_lock(&at("a/lock")).unwrap();
        said.push(format!("{}", fs.try_lock(&at("a/lock")).unwrap().is_some()));
        drop(guard);
        said.push(format!("{}", fs.try_lock(&at("a/lock")).unwrap().is_some()));
        said.push(listed("a"));
        said
    }

    #[test]
    fn it_answers_as_the_machine_does() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            answers(&MemoryFs::default(), Path::new("/data")),
            answers(&RealFs, folder.path())
        );
    }
}
