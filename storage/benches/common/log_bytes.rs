//! How much was written to a log whose old files are deleted meanwhile.

use std::{collections::BTreeMap, path::Path};

/// The log's files by the most bytes that each ever had: old ones are deleted.
#[derive(Default)]
pub(crate) struct LogBytes(BTreeMap<std::ffi::OsString, u64>);

impl LogBytes {
    /// Takes the files' bytes as they are now.
    pub(crate) fn look(&mut self, path: &Path) {
        for entry in std::fs::read_dir(path.join("narthex/wal")).unwrap() {
            let entry = entry.unwrap();
            let bytes = entry.metadata().unwrap().len();
            let most = self.0.entry(entry.file_name()).or_default();
            *most = bytes.max(*most);
        }
    }

    /// All bytes that were ever written.
    pub(crate) fn sum(&self) -> u64 {
        self.0.values().sum()
    }
}
