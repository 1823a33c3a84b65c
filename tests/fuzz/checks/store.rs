//! Files of a store, opened in memory: damage is reported, never a panic and never part of an answer,
//! and a store that was opened and closed is the same when it is opened again.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use narthex_storage::{
    Appendable, Budget, Db, DbOptions, Fs, HistogramColumns, Kind, Labels, Matcher, MemoryFs,
    OpenError, OpenReport, OperationError, Queryable, ReadError, Sample, Select, SystemClock,
    TimeRange, Wants, internals::merge_blocks,
};

/// Times and value bits by series.
type Contents = BTreeMap<Labels, Vec<(i64, u64)>>;

/// The number of the segment that is checked.
const WAL_SEGMENT: u64 = 1;

/// A log segment as it lies on disk.
pub(super) fn check_wal_segment(bytes: &[u8]) -> bool {
    check_wal(bytes)
}

/// Frames of a log segment without their heads, which are right here: each is two bytes of length and
/// its kind and content.
pub(super) fn check_wal_records(bytes: &[u8]) -> bool {
    check_wal(&framed(WAL_SEGMENT, bytes))
}

/// The same, of the exemplars' file.
pub(super) fn check_exemplars_file(bytes: &[u8]) -> bool {
    let fs = store_with("narthex/exemplars", &framed(0, bytes));
    let (exemplars, report) = open_for_exemplars(&fs);
    let (again, second) = open_for_exemplars(&fs);
    assert_eq!(again, exemplars, "opened again");
    assert_eq!(second.wal_damage, report.wal_damage, "the file stays");
    report.wal_damage.is_empty()
}

/// What is kept, as text: NaN differs from itself.
fn open_for_exemplars(fs: &MemoryFs) -> (String, OpenReport) {
    let options = DbOptions {
        exemplars_max: 10,
        ..DbOptions::new("/data", Arc::new(fs.clone()), Arc::new(SystemClock::new()))
    };
    let (db, report) = Db::open(&options).expect("damage is no reason not to open");
    let exemplars = db.exemplars(&[Vec::new()], TimeRange::ALL);
    let kept: usize = exemplars.iter().map(|(_, exemplars)| exemplars.len()).sum();
    assert!(kept <= 10, "{kept} are kept");
    db.close().expect("memory takes it");
    (format!("{exemplars:?}"), report)
}

/// A segment of frames with right heads.
pub(super) fn framed(number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut segment = b"NXWAL\0\0\x02".to_vec();
    segment.extend_from_slice(&0u64.to_le_bytes());
    segment.extend_from_slice(&crc32c(&segment).to_le_bytes());
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(after.len());
        let (body, after) = after.split_at(length);
        let mut head = (length as u32).to_le_bytes().to_vec();
        head.extend_from_slice(&crc32c(body).to_le_bytes());
        let place = [number, segment.len() as u64].map(u64::to_le_bytes);
        let sum = crc32c(&[&head, place.as_flattened()].concat());
        head.extend_from_slice(&sum.to_le_bytes());
        segment.extend_from_slice(&head);
        segment.extend_from_slice(body);
        rest = after;
    }
    segment
}

fn check_wal(segment: &[u8]) -> bool {
    let path = format!("narthex/wal/{WAL_SEGMENT:08}");
    let fs = store_with(&path, segment);
    let (contents, report) = open(&fs);
    let contents = contents.expect("what is in memory can be read");
    let (again, second) = open(&fs);
    assert_eq!(again, Ok(contents), "opened again");
    let mut left = report.wal_damage.clone();
    left.retain(|damage| !damage.torn_tail);
    // A segment without a commit is not read again.
    assert!(
        second.wal_damage == left || second.wal_damage.is_empty(),
        "a torn end was cut off, the rest stays: {left:?} and {second:?}"
    );
    report.wal_damage.is_empty()
}

/// A block; the first byte says whether it follows as it is or gets right checksums.
pub(super) fn check_block(bytes: &[u8]) -> bool {
    let Some((mode, file)) = bytes.split_first() else {
        return false;
    };
    let mut file = file.to_vec();
    if *mode != 0 {
        correct_checksums(&mut file);
    }
    let fs = store_with(
        "narthex/blocks/00000000000000000001-00000000000000000009-0.nx",
        &file,
    );
    let (contents, report) = open(&fs);
    if let Ok(contents) = &contents {
        for (labels, samples) in contents {
            assert!(!samples.is_empty(), "{labels} has no samples");
        }
    }
    let (again, second) = open(&fs);
    assert_eq!(
        (&again, &second.block_damage),
        (&contents, &report.block_damage),
        "opened again"
    );
    report.block_damage.is_empty() && contents.is_ok()
}

/// Two blocks, which follow each other behind one byte as in [`check_block`] and the length of the first
/// in two bytes, the lower first: merged, they hold what both hold beside each other.
pub(super) fn check_merge(bytes: &[u8]) -> bool {
    let Some(([mode, low, high], rest)) = bytes.split_first_chunk::<3>() else {
        return false;
    };
    let len = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
    let (first, second) = rest.split_at(len);
    let mut files = [first.to_vec(), second.to_vec()];
    if *mode != 0 {
        for file in &mut files {
            correct_checksums(file);
        }
    }
    let Some(merged) = merge_blocks(&[&files[0], &files[1]]) else {
        return false;
    };
    let [first, second] = [0, 1].map(|index| format!("narthex/blocks/{}", merged.inputs[index]));
    let beside = store_with_all(&[(&first, &files[0]), (&second, &files[1])]);
    let (Ok(expected), report) = open(&beside) else {
        return false;
    };
    if !report.block_damage.is_empty() {
        return false;
    }
    let alone = store_with(&format!("narthex/blocks/{}", merged.name), &merged.file);
    let (found, report) = open(&alone);
    assert_eq!(report.block_damage, []);
    assert_eq!(found, Ok(expected));
    true
}

/// A list of deletions, behind one byte that says whether it follows as it is or gets a right checksum, in
/// a store of a few samples: it is refused by name, or takes away the same every time, and the list that
/// another deletion makes of it too.
pub(super) fn check_tombstones_file(bytes: &[u8]) -> bool {
    let Some((mode, list)) = bytes.split_first() else {
        return false;
    };
    let mut list = list.to_vec();
    if *mode != 0 {
        let end = list.len();
        set_checksum(&mut list, 8, 12..end);
    }
    let path = Path::new("/data/narthex/tombstones");
    let fs = store_with_all(&[]);
    let options = DbOptions::new("/data", Arc::new(fs.clone()), Arc::new(SystemClock::new()));
    let samples: Contents = {
        let (db, _) = Db::open(&options).expect("nothing is damaged");
        let mut appender = db.appender();
        for instance in ["a", "b", "c"] {
            let labels = Labels::from_pairs([("__name__", "up"), ("job", instance)]);
            let series = appender.series(&labels).expect("valid labels");
            let samples = [-1, 0, 999, 1_000, 5_000].map(|time| Sample { time, value: 1.0 });
            appender.samples(series, &samples);
        }
        appender.commit(true).expect("memory takes it");
        db.delete_series(&[], TimeRange::ALL)
            .expect("it only seals");
        db.close().expect("memory takes it");
        contents(&db).expect("nothing is damaged")
    };
    let mut file = fs.create(path).expect("memory takes it");
    file.append(&list).expect("memory takes it");
    drop(file);
    match Db::open(&options) {
        Ok(_) => {}
        Err(OpenError::Deletions(at)) => {
            assert_eq!(at.file, path);
            assert!(at.offset <= list.len() as u64, "{at}");
            assert_eq!(fs.read(path).expect("it is there"), list, "it stays");
            return false;
        }
        Err(other) => panic!("{other}"),
    }
    let read = || open(&fs).0.expect("the block is whole");
    let left = read();
    let is_left = |samples: &Vec<(i64, u64)>, sample: &(i64, u64)| samples.contains(sample);
    for (labels, some) in &left {
        let all = samples.get(labels).expect("a series that there was");
        assert!(some.iter().all(|sample| is_left(all, sample)), "{labels}");
    }
    assert_eq!(read(), left, "opened again");
    let (db, _) = Db::open(&options).expect("it was opened before");
    let matchers = vec![Matcher::equal("job", "a")];
    let refused = db.delete_series(&[matchers], TimeRange::new(0, 1_000));
    assert!(
        matches!(
            refused,
            Ok(()) | Err(OperationError::TooManyTombstones { .. })
        ),
        "{refused:?}"
    );
    let mut fewer = left;
    if refused.is_ok() {
        for (labels, samples) in &mut fewer {
            samples
                .retain(|(time, _)| labels.get("job") != Some("a") || !(0..=1_000).contains(time));
        }
        fewer.retain(|_, samples| !samples.is_empty());
    }
    assert_eq!(contents(&db).expect("the block is whole"), fewer);
    drop(db);
    assert_eq!(read(), fewer, "opened again");
    true
}

/// A store's files in memory, one of them with this content.
pub(super) fn store_with(path: &str, content: &[u8]) -> MemoryFs {
    store_with_all(&[(path, content)])
}

fn store_with_all(files: &[(&str, &[u8])]) -> MemoryFs {
    let fs = MemoryFs::default();
    let root = Path::new("/data");
    for (path, content) in [("narthex/format", &b"2\n"[..])].iter().chain(files) {
        let path = root.join(path);
        let folder = path.parent().expect("files lie in folders");
        fs.create_dir_all(folder).expect("memory takes it");
        let mut file = fs.create(&path).expect("memory takes it");
        file.append(content).expect("memory takes it");
    }
    fs
}

/// Opens the store, reads everything and closes it.
fn open(fs: &MemoryFs) -> (Result<Contents, String>, OpenReport) {
    let options = DbOptions::new("/data", Arc::new(fs.clone()), Arc::new(SystemClock::new()));
    let (db, report) = Db::open(&options).expect("damage is no reason not to open");
    let contents = contents(&db).map_err(|error| match error {
        ReadError::Corruption(damage) => damage.to_string(),
        other => panic!("{other}"),
    });
    db.close().expect("memory takes it");
    (contents, report)
}

fn contents(db: &Db) -> Result<Contents, ReadError> {
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
    let mut contents = Contents::new();
    for (index, series) in selection.series().iter().enumerate() {
        scan.seek(index)?;
        let mut samples = Vec::new();
        while let Some(run) = scan.next_run()? {
            let (mut times, mut values) = (vec![0; run.len()], vec![0.0; run.len()]);
            run.times(&mut times)?;
            let bits: Vec<u64> = match run.kind() {
                Kind::Float => {
                    run.values(&mut values)?;
                    values.iter().map(|value| value.to_bits()).collect()
                }
                Kind::Histogram => {
                    let mut columns = HistogramColumns::default();
                    run.histograms(&mut columns)?;
                    let rows = (0..columns.len()).map(|row| columns.get(row));
                    rows.map(|row| u64::from(crc32c(format!("{row:?}").as_bytes())))
                        .collect()
                }
            };
            samples.extend(times.into_iter().zip(bits));
        }
        let known = contents.insert(series.labels.clone(), samples);
        assert_eq!(known, None, "{} is there twice", series.labels);
    }
    Ok(contents)
}

/// Sets the checksum at a place to that of some bytes.
fn set_checksum(file: &mut [u8], at: usize, bytes: std::ops::Range<usize>) {
    let Some(sum) = file.get(bytes).map(crc32c) else {
        return;
    };
    if let Some(to) = file.get_mut(at..at.saturating_add(4)) {
        to.copy_from_slice(&sum.to_le_bytes());
    }
}

/// Gives a block the checksums of what is in it, as far as its offsets and lengths make sense. The
/// layout is in `storage/docs/format.md`.
fn correct_checksums(file: &mut [u8]) {
    const HEADER: usize = 64;
    const TAIL: usize = 64;
    const SECTION: usize = 24;
    const FRAME: usize = 20;
    let number = |file: &[u8], at: usize, bytes: usize| {
        let field = at.checked_add(bytes).and_then(|end| file.get(at..end));
        let low_first = field.unwrap_or_default().iter().rev();
        low_first.fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    set_checksum(file, HEADER - 4, 0..HEADER - 4);
    let Some(tail) = file.len().checked_sub(TAIL) else {
        return;
    };
    let sections = number(file, tail + 48, 4).min(100);
    let Some(table) = tail.checked_sub(sections * SECTION) else {
        return;
    };
    let place = |file: &[u8], entry: usize| {
        let start = number(file, entry + 8, 8);
        start..start.saturating_add(number(file, entry + 16, 8))
    };
    for entry in (table..tail).step_by(SECTION) {
        let section = place(file, entry);
        if number(file, entry, 4) == 1 && section.end <= table {
            for frame in section.step_by(FRAME) {
                let start = number(file, frame, 8);
                let end = start.saturating_add(number(file, frame + 8, 4));
                set_checksum(file, frame + 16, start..end);
            }
        }
    }
    for entry in (table..tail).step_by(SECTION) {
        let section = place(file, entry);
        set_checksum(file, entry + 4, section);
    }
    set_checksum(file, tail + 52, table..tail + 52);
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ ((crc & 1) * 0x82f6_3b78);
        }
    }
    !crc
}
