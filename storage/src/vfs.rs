//! The file system as an argument: the machine's, one in memory, or a faulty one for tests.
//!
//! Every error carries the path. Files are append-only while they are written and never change once
//! they are closed, which is what makes mapping them sound (see [`crate::mmap`]).

mod memory;

use std::{
    fmt::Debug,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

pub use memory::MemoryFs;

use crate::{error::IoError, mmap::Mapped};

/// The operations a store needs of a file system.
pub trait Fs: Send + Sync + Debug {
    /// Creates a folder and its parents; an existing one is fine.
    ///
    /// # Errors
    /// [`IoError`] with the path.
    fn create_dir_all(&self, path: &Path) -> Result<(), IoError>;

    /// Creates a new, empty file for appending; an existing one is an error.
    ///
    /// # Errors
    /// [`IoError`] with the path.
    fn create(&self, path: &Path) -> Result<Box<dyn AppendFile>, IoError>;

    /// Opens an existing file for appending after its first `len` bytes; what follows is cut off.
    ///
    /// # Errors
    /// [`IoError`] with the path.
    fn open_append(&self, path: &Path, len: u64) -> Result<Box<dyn AppendFile>, IoError>;

    /// The whole content of a file.
    ///
    /// # Errors
    /// [`IoError`] with the path.
    fn read(&self, path: &Path) -> Result<Vec<u8>, IoError>;

    /// Maps the first `len` bytes of a file. The caller promises that these bytes never change
    /// and the file is never cut below them while the map lives; bytes may be appended after them.
    ///
    /// # Errors
    /// [`IoError`] with the path, also when the file is shorter than `len`.
    fn map(&self, path: &Path, len: u64) -> Result<Mapped, IoError>;

    /// The names in a folder with their sizes in bytes (0 for folders), ascending by name. A missing
    /// folder is empty.
    ///
    /// # Errors
    /// [`IoError`] with the path.
    fn list(&self, path: &Path) -> Result<Vec<DirEntry>, IoError>;

    /// Removes a file.
    ///
    /// # Errors
    /// [`IoError`] with the path.
    fn remove_file(&self, path: &Path) -> Result<(), IoError>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// [`IoError`] with the path, also when something is in it.
    fn remove_dir(&self, path: &Path) -> Result<(), IoError>;

    /// Gives a file a second name in the same file system; both stand for the same bytes until one
    /// of them is removed.
    ///
    /// # Errors
    /// [`IoError`] with the path, also when `to` exists or the file system has no such links.
    fn hard_link(&self, from: &Path, to: &Path) -> Result<(), IoError>;

    /// Renames a file, or a folder with what is in it, within one file system. A file replaces the
    /// file that was there; nothing may be where a folder is to go.
    ///
    /// # Errors
    /// [`IoError`] with the path.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// [`IoError`] with the path.
    fn sync_dir(&self, path: &Path) -> Result<(), IoError>;

    /// Takes an exclusive advisory lock on a file, creating it; `None` when another process has it.
    /// The lock ends with the returned guard.
    ///
    /// # Errors
    /// [`IoError`] with the path.
    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn Debug + Send + Sync>>, IoError>;
}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The file or folder name, without the path.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// The size of a file in bytes.
    pub size_bytes: u64,
}

/// A file that grows at its end.
pub trait AppendFile: Send + Debug {
    /// Hands all of `bytes` to the kernel. After an error the length of the file is unknown until
    /// [`AppendFile::truncate`] succeeded.
    ///
    /// # Errors
    /// [`IoError`] with the path.
    fn append(&mut self, bytes: &[u8]) -> Result<(), IoError>;

    /// Makes everything appended so far durable.
    ///
    /// # Errors
    /// [`IoError`] with the path.
    fn sync(&mut self) -> Result<(), IoError>;

    /// Cuts the file to `len` bytes and continues there.
    ///
    /// # Errors
    /// [`IoError`] with the path.
    fn truncate(&mut self, len: u64) -> Result<(), IoError>;
}

/// The machine's file system.
#[derive(Debug, Default, Clone, Copy)]
pub struct RealFs;

fn wrap<T>(action: &'static str, path: &Path, result: io::Result<T>) -> Result<T, IoError> {
    result.map_err(|source| IoError {
        action,
        path: path.to_owned(),
        source,
    })
}

impl Fs for RealFs {
    fn create_dir_all(&self, path: &Path) -> Result<(), IoError> {
        wrap("create folder", path, fs::create_dir_all(path))
    }

    fn create(&self, path: &Path) -> Result<Box<dyn AppendFile>, IoError> {
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path);
        let file = wrap("create", path, file)?;
        Ok(Box::new(RealAppendFile {
            file,
            path: path.to_owned(),
        }))
    }

    fn open_append(&self, path: &Path, len: u64) -> Result<Box<dyn AppendFile>, IoError> {
        let file = wrap("open", path, fs::OpenOptions::new().write(true).open(path))?;
        let mut file = RealAppendFile {
            file,
            path: path.to_owned(),
        };
        file.truncate(len)?;
        Ok(Box::new(file))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, IoError> {
        wrap("read", path, fs::read(path))
    }

    fn map(&self, path: &Path, len: u64) -> Result<Mapped, IoError> {
        let file = wrap("open", path, fs::File::open(path))?;
        wrap("map", path, Mapped::file(&file, len))
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>, IoError> {
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => wrap("list", path, other)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = wrap("list", path, entry)?;
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => wrap("inspect", &entry.path(), other)?,
            };
            names.push(DirEntry {
                name: entry.file_name().to_string_lossy().into_owned(),
                is_dir: metadata.is_dir(),
                size_bytes: if metadata.is_dir() { 0 } else { metadata.len() },
            });
        }
        names.sort();
        Ok(names)
    }

    fn remove_file(&self, path: &Path) -> Result<(), IoError> {
        wrap("remove", path, fs::remove_file(path))
    }

    fn remove_dir(&self, path: &Path) -> Result<(), IoError> {
        wrap("remove folder", path, fs::remove_dir(path))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        wrap("link", to, fs::hard_link(from, to))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        wrap("rename", from, fs::rename(from, to))
    }

    fn sync_dir(&self, path: &Path) -> Result<(), IoError> {
        let folder = wrap("open", path, fs::File::open(path))?;
        wrap("sync", path, folder.sync_all())
    }

    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn Debug + Send + Sync>>, IoError> {
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let file = wrap("open", path, file)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(Arc::new(file)))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(source)) => wrap("lock", path, Err(source)),
        }
    }
}

#[derive(Debug)]
struct RealAppendFile {
    file: fs::File,
    path: PathBuf,
}

impl AppendFile for RealAppendFile {
    fn append(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        wrap("write", &self.path, self.file.write_all(bytes))
    }

    fn sync(&mut self) -> Result<(), IoError> {
        wrap("sync", &self.path, self.file.sync_data())
    }

    fn truncate(&mut self, len: u64) -> Result<(), IoError> {
        use std::io::Seek;
        wrap("cut", &self.path, self.file.set_len(len))?;
        wrap(
            "seek in",
            &self.path,
            self.file.seek(io::SeekFrom::Start(len)).map(|_| ()),
        )
    }
}
