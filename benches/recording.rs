//! A recording: the bodies that targets really served, with the times of their scrapes.
//!
//! A folder with a file `<job>.scrapes` for each target. A file is a list of scrapes, oldest first,
//! each a line `scrape <milliseconds since the epoch, when the request began> <microseconds until the
//! body was whole> <bytes of the body>`, the body, and a line feed.

use std::{fs::File, io::Write, path::Path};

use anyhow::{Context, ensure};
use bytes::Bytes;

/// One scrape.
#[derive(Debug)]
pub(crate) struct Scrape {
    /// Index of its target.
    pub(crate) target: usize,
    /// When it began, in milliseconds since the epoch.
    pub(crate) time: i64,
    /// The exposition text.
    pub(crate) body: Bytes,
}

/// Adds a scrape to a target's file.
pub(crate) fn write(
    file: &mut File,
    time: i64,
    took_microseconds: u128,
    body: &[u8],
) -> std::io::Result<()> {
    let mut entry = format!("scrape {time} {took_microseconds} {}\n", body.len()).into_bytes();
    entry.extend_from_slice(body);
    entry.push(b'\n');
    file.write_all(&entry)
}

/// Reads a recording: the jobs' names, and all scrapes in the order of their times.
///
/// # Errors
/// The folder or a file in it cannot be read.
pub(crate) fn read(folder: &Path) -> anyhow::Result<(Vec<String>, Vec<Scrape>)> {
    let (mut jobs, mut scrapes) = (Vec::new(), Vec::new());
    let mut paths: Vec<_> = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|end| end == "scrapes"));
    paths.sort();
    for path in paths {
        let text = Bytes::from(std::fs::read(&path)?);
        let name = path.file_stem().and_then(|name| name.to_str());
        jobs.push(name.context("a name that is no text")?.to_owned());
        let mut at = 0;
        while let Some(end) = text[at..].iter().position(|byte| *byte == b'\n') {
            let line = std::str::from_utf8(&text[at..at + end])?;
            let mut fields = line.split(' ');
            ensure!(
                fields.next() == Some("scrape"),
                "{}: no scrape at byte {at}",
                path.display()
            );
            let (time, bytes) = (fields.next(), fields.nth(1));
            let time = time.context("no time")?.parse()?;
            let bytes: usize = bytes.context("no length")?.parse()?;
            let start = at + end + 1;
            if start + bytes >= text.len() {
                // The recorder is still writing.
                break;
            }
            scrapes.push(Scrape {
                target: jobs.len() - 1,
                time,
                body: text.slice(start..start + bytes),
            });
            at = start + bytes + 1;
        }
    }
    scrapes.sort_by_key(|scrape| (scrape.time, scrape.target));
    Ok((jobs, scrapes))
}
