//! The log as a whole: what is written is read, and of a damaged file everything else.

use std::{path::Path, sync::Arc};

use super::{change::Change, *};
use crate::{
    Counts, Exemplar, Fs, Histogram, HistogramCounts, HistogramLayout, Labels, MemoryFs, Metadata,
    MetricType, ResetHint, STALE_MARKER_BITS, Sample, Span, SystemClock,
    codec::{PackedHistogram, PackedSample},
    metadata::{LoggedMetadata, Origins},
};

/// The same row as it is written.
fn written_row<'a>(row: &RowRecord<'a>, changed: &'a mut Changed) -> RowRecord<'a, &'a Changed> {
    for (column, change) in row.changed {
        changed.push(*column, *change);
    }
    RowRecord {
        commit: row.commit,
        target: row.target,
        reset: row.reset,
        previous: row.previous,
        time: row.time,
        bindings: row.bindings,
        present: row.present,
        changed,
        solo: row.solo,
        histograms: row.histograms,
        metadata: row.metadata,
        has_row: row.has_row,
    }
}

/// A row of 80 columns, every third of them changed.
fn row(commit: u64, previous: u64, reset: Option<&str>) -> Vec<u8> {
    let changed: Vec<(u32, Change)> = (0..80)
        .filter(|column| reset.is_some() || column % 3 == 0)
        .map(|column| (column, Change::between(0, f64::from(column).to_bits())))
        .collect();
    let bindings: Vec<(u32, u32)> = (0..80).map(|column| (column, column + 5)).collect();
    let mut out = Vec::new();
    let row = RowRecord {
        commit,
        target: 3,
        reset,
        previous,
        time: 1_700_000_000_000,
        bindings: if reset.is_some() { &bindings } else { &[] },
        present: reset.map(|_| &[(0, 80)][..]),
        changed: &*changed,
        solo: &[],
        histograms: &[],
        metadata: &[],
        has_row: true,
    };
    encode_row(&mut out, &written_row(&row, &mut Changed::default()));
    out
}

fn solo(commit: u64) -> Vec<u8> {
    let mut out = Vec::new();
    encode_solo(
        &mut out,
        commit,
        &[(
            7,
            Sample {
                time: -5,
                value: 0.1,
            },
        )],
        &[],
        &[],
    );
    out
}

fn series() -> Vec<u8> {
    let labels = Labels::from_pairs([("__name__", "metric"), ("a", "ü")]);
    let mut out = Vec::new();
    encode_series(&mut out, &[(7, &labels), (3, &labels)]);
    out
}

const FOLDER: &str = "/wal";

fn log(fs: &MemoryFs, number: u64, last_commit: u64) -> Wal {
    let fs = Arc::new(fs.clone());
    fs.create_dir_all(Path::new(FOLDER)).unwrap();
    let clock = Arc::new(SystemClock::new());
    let folder = FOLDER.into();
    Wal::begin(
        fs,
        clock,
        folder,
        number,
        last_commit,
        Vec::new(),
        false,
        1 << 20,
    )
    .unwrap()
}

fn write(wal: &mut Wal, records: &[u8]) {
    assert!(wal.write(records).is_ok());
}

/// What a record is, in a word.
fn word(record: &Record<'_>) -> String {
    match record {
        Record::Series(series) => format!("{} series", series.len()),
        Record::Row(row) => format!("row {}", row.commit),
        Record::Solo { commit, .. } => format!("solo {commit}"),
        Record::Push { commit, rows, .. } => format!("push {commit}, {} rows", rows.len()),
        Record::Exemplars(exemplars) => format!("{} exemplars", exemplars.len()),
        Record::End => "end".to_owned(),
    }
}

/// The records that are read, and the damage: segment, offset, bytes, whether it was cut off.
type Contents = (Vec<String>, Vec<(String, u64, u64, bool)>);

fn up_to(commit: u64) -> Covered {
    Covered {
        commit,
        segment: u64::MAX,
    }
}

fn read(fs: &MemoryFs, covered: u64) -> Contents {
    let mut words = Vec::new();
    let segments = read_folder(fs, Path::new(FOLDER), up_to(covered), |_, record| {
        words.push(word(&record));
        Ok(())
    })
    .unwrap();
    let damage = segments.into_iter().flat_map(|segment| segment.damage);
    let damage = damage.map(|damage| {
        let name = damage.at.file.file_name().unwrap();
        let name = name.to_str().unwrap().to_owned();
        (name, damage.at.offset, damage.bytes, damage.torn_tail)
    });
    (words, damage.collect())
}

fn contents(fs: &MemoryFs, number: u64) -> Vec<u8> {
    fs.read(&Path::new(FOLDER).join(format!("{number:08}")))
        .unwrap()
}

fn replace(fs: &MemoryFs, number: u64, bytes: &[u8]) {
    let path = Path::new(FOLDER).join(format!("{number:08}"));
    fs.remove_file(&path).unwrap();
    fs.create(&path).unwrap().append(bytes).unwrap();
}

/// A segment of one frame of each kind between others, and where each frame begins.
fn written(fs: &MemoryFs) -> (Vec<&'static str>, Vec<usize>) {
    let mut wal = log(fs, 1, 40);
    let mut begins = Vec::new();
    for records in [
        series(),
        row(41, 0, Some("a target")),
        solo(42),
        row(43, 41, None),
        series(),
        solo(44),
    ] {
        begins.push(wal.bytes() as usize);
        write(&mut wal, &records);
    }
    begins.push(wal.bytes() as usize);
    let words = [
        "2 series", "row 41", "solo 42", "row 43", "2 series", "solo 44",
    ];
    (words.to_vec(), begins)
}

#[test]
fn any_damaged_byte_of_a_segment_costs_one_frame_and_is_reported() {
    let fs = MemoryFs::default();
    let (words, begins) = written(&fs);
    let whole = contents(&fs, 1);
    // A newer segment, so that nothing is a torn end.
    drop(log(&fs, 2, 44));
    assert_eq!(
        read(&fs, 0),
        (
            words.iter().map(|word| (*word).to_owned()).collect(),
            vec![]
        )
    );
    for at in 0..whole.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= change;
            replace(&fs, 1, &damaged);
            let (found, damage) = read(&fs, 0);
            let frame = begins.iter().rposition(|begin| *begin <= at);
            let expected: Vec<&str> = words
                .iter()
                .enumerate()
                .filter(|(index, _)| Some(*index) != frame)
                .map(|(_, word)| *word)
                .collect();
            assert_eq!(found, expected, "byte {at}");
            let (from, to) =
                frame.map_or((0, begins[0]), |frame| (begins[frame], begins[frame + 1]));
            let place = (
                "00000001".to_owned(),
                from as u64,
                (to - from) as u64,
                false,
            );
            assert_eq!(damage, [place], "byte {at}");
        }
    }
    // Bytes that went missing, or came from elsewhere, move everything behind them.
    for at in begins[0]..begins[5] {
        let mut damaged = whole.clone();
        damaged.remove(at);
        replace(&fs, 1, &damaged);
        let (found, damage) = read(&fs, 0);
        let frame = begins.iter().rposition(|begin| *begin <= at).unwrap();
        assert_eq!(found, words[..frame], "byte {at}");
        let bytes = (damaged.len() - begins[frame]) as u64;
        assert_eq!(
            damage,
            [("00000001".to_owned(), begins[frame] as u64, bytes, false)]
        );
    }
}

#[test]
fn a_stretch_of_zeros_costs_the_frames_that_it_touches() {
    let fs = MemoryFs::default();
    let (words, begins) = written(&fs);
    let whole = contents(&fs, 1);
    drop(log(&fs, 2, 44));
    let mut damaged = whole.clone();
    damaged[begins[2] + 3..begins[4] - 1].fill(0);
    replace(&fs, 1, &damaged);
    let (found, damage) = read(&fs, 0);
    assert_eq!(found, [&words[..2], &words[4..]].concat());
    let bytes = (begins[4] - begins[2]) as u64;
    assert_eq!(
        damage,
        [("00000001".to_owned(), begins[2] as u64, bytes, false)]
    );
}

#[test]
fn the_newest_segment_is_cut_behind_its_last_whole_frame_only() {
    let fs = MemoryFs::default();
    let (words, begins) = written(&fs);
    let whole = contents(&fs, 1);
    for len in 0..whole.len() {
        replace(&fs, 1, &whole[..len]);
        let (found, damage) = read(&fs, 0);
        let frames = begins.iter().filter(|begin| **begin <= len).count();
        assert_eq!(found, words[..frames.saturating_sub(1)], "cut at {len}");
        let end = if frames == 0 { 0 } else { begins[frames - 1] };
        let torn = ("00000001".to_owned(), end as u64, (len - end) as u64, true);
        let expected = if len > end || len == 0 {
            vec![torn]
        } else {
            vec![]
        };
        assert_eq!(damage, expected, "cut at {len}");
        if end == 0 {
            assert_eq!(fs.list(Path::new(FOLDER)).unwrap(), [], "not begun");
            fs.create(&Path::new(FOLDER).join("00000001")).unwrap();
        } else {
            assert_eq!(contents(&fs, 1), whole[..end], "cut at {len}");
            assert_eq!(read(&fs, 0), (found, vec![]), "read again");
        }
    }
    // Damage in the middle stays, and is reported each time.
    let mut damaged = whole.clone();
    damaged[begins[1] + 20] ^= 1;
    damaged.extend_from_slice(&[0; 5]);
    replace(&fs, 1, &damaged);
    let (found, damage) = read(&fs, 0);
    assert_eq!(found, [&words[..1], &words[2..]].concat());
    let middle = (begins[2] - begins[1]) as u64;
    let middle = ("00000001".to_owned(), begins[1] as u64, middle, false);
    let torn = ("00000001".to_owned(), whole.len() as u64, 5, true);
    assert_eq!(damage, [middle.clone(), torn]);
    assert_eq!(read(&fs, 0), (found, vec![middle]));
}

#[test]
fn a_frame_of_another_place_is_no_frame() {
    let fs = MemoryFs::default();
    let (_, begins) = written(&fs);
    let first = contents(&fs, 1);
    let mut wal = log(&fs, 2, 44);
    write(&mut wal, &solo(45));
    // The same offset, another segment; the same segment, another offset; inside of a text.
    let mut moved = contents(&fs, 2);
    let begin = moved.len();
    moved.extend_from_slice(&first[begins[1]..begins[2]]);
    let name = String::from_utf8_lossy(&first[begins[0]..]).into_owned();
    moved.extend_from_slice(name.as_bytes());
    replace(&fs, 2, &moved);
    let (found, damage) = read(&fs, 44);
    assert_eq!(found, ["solo 45"]);
    let bytes = (moved.len() - begin) as u64;
    assert_eq!(damage, [("00000002".to_owned(), begin as u64, bytes, true)]);
}

#[test]
fn covered_segments_are_not_read() {
    let fs = MemoryFs::default();
    let mut wal = log(&fs, 1, 0);
    write(&mut wal, &solo(1));
    wal.rotate(1).ok().unwrap();
    write(&mut wal, &solo(2));
    write(&mut wal, &solo(3));
    wal.rotate(3).ok().unwrap();
    // An empty segment goes on.
    wal.rotate(3).ok().unwrap();
    write(&mut wal, &solo(4));
    drop(wal);
    // Were it read, it would be damaged.
    let len = contents(&fs, 1).len();
    replace(&fs, 1, &vec![9; len]);
    for (covered, expected) in [
        (1, vec!["solo 2", "solo 3", "solo 4"]),
        (2, vec!["solo 2", "solo 3", "solo 4"]),
        (3, vec!["solo 4"]),
        (9, vec!["solo 4"]),
    ] {
        let mut words = Vec::new();
        let segments = read_folder(&fs, Path::new(FOLDER), up_to(covered), |_, record| {
            words.push(word(&record));
            Ok(())
        })
        .unwrap();
        assert_eq!(words, expected, "covered up to {covered}");
        let last: Vec<u64> = segments.iter().map(|segment| segment.last_commit).collect();
        assert_eq!(last, [1, 3, 4]);
    }
    let holds = |after, last| holds_commits(&fs, Path::new(FOLDER), after, last).unwrap();
    assert!(holds(1, 4) && holds(3, 4) && !holds(3, 5) && !holds(0, 4));
}

#[test]
fn refused_records_are_counted_by_reason() {
    let fs = MemoryFs::default();
    let (_, begins) = written(&fs);
    let segments = read_folder(&fs, Path::new(FOLDER), up_to(0), |number, record| {
        assert_eq!(number, 1);
        match record {
            Record::Row(_) => Err("a target"),
            Record::Solo { commit: 44, .. } => Err("a series"),
            _ => Ok(()),
        }
    })
    .unwrap();
    let damage = &segments[0].damage;
    let shown: Vec<String> = damage.iter().map(|damage| damage.at.to_string()).collect();
    assert_eq!(
        shown,
        [
            format!(
                "/wal/00000001 at offset {}: expected a target, found 2 records that do not fit",
                begins[1]
            ),
            format!(
                "/wal/00000001 at offset {}: expected a series, found a record that does not fit",
                begins[5]
            ),
        ]
    );
    assert!(damage.iter().all(|damage| !damage.torn_tail));
    assert_eq!(contents(&fs, 1).len(), begins[6], "nothing is cut off");
}

#[test]
fn records_share_a_frame_up_to_its_size_and_are_compressed() {
    let fs = MemoryFs::default();
    let mut wal = log(&fs, 1, 0);
    let labels: Vec<Labels> = (0..20_000)
        .map(|index| {
            Labels::from_pairs([
                ("__name__", "http_requests_total".to_owned()),
                ("instance", "localhost:9090".to_owned()),
                ("path", format!("/api/v1/{index}")),
            ])
        })
        .collect();
    let mut records = Vec::new();
    for (index, labels) in labels.iter().enumerate() {
        encode_series(&mut records, &[(index as u32, labels)]);
    }
    write(&mut wal, &records);
    let len = contents(&fs, 1).len();
    assert!(len < records.len() / 4, "{len} of {}", records.len());
    let mut read = Vec::new();
    let segments = read_folder(&fs, Path::new(FOLDER), up_to(0), |_, record| {
        if let Record::Series(series) = record {
            read.extend(series.iter().cloned());
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(segments[0].damage, []);
    assert!(read.into_iter().eq((0..).zip(labels)));
    // One damaged byte costs the records of one frame, not of the whole write.
    let mut damaged = contents(&fs, 1);
    damaged[len / 2] ^= 1;
    replace(&fs, 1, &damaged);
    let (found, damage) = self::read(&fs, 0);
    assert!(found.len() > 20_000 * 9 / 10, "{}", found.len());
    assert_eq!(damage.len(), 1);
}

fn histograms() -> [(u32, PackedSample); 3] {
    let histogram = |sum: f64| Histogram {
        reset_hint: ResetHint::Gauge,
        layout: HistogramLayout {
            positive_spans: vec![Span {
                offset: -2,
                length: 1,
            }],
            ..HistogramLayout::default()
        },
        sum,
        counts: HistogramCounts::Integer(Counts {
            count: 300,
            zero: 0,
            positive: vec![300],
            negative: Vec::new(),
        }),
    };
    let sample = |id: u32, time, histogram: &Histogram| {
        let histogram = PackedHistogram::new(histogram).unwrap();
        (id, PackedSample { time, histogram })
    };
    [
        sample(7, 10, &histogram(2.5)),
        sample(6, 9, &Histogram::stale()),
        sample(u32::MAX, i64::MIN, &histogram(-0.0)),
    ]
}

#[test]
fn histograms_have_the_documented_bytes() {
    let mut expected = vec![7, 5];
    // No numbers. Two histograms: series 7, time 10; series 6, which is 2 less than 8, time 9.
    expected.extend([0, 2, 14, 20, 21]);
    // The hint, the sum, the layout (flags, schema, a span of one bucket at -2, no negative ones), counts.
    expected.push(3);
    expected.extend(2.5_f64.to_le_bytes());
    expected.extend([6, 0, 0, 1, 3, 1, 0, 0xac, 2, 0, 0xd8, 4]);
    expected.extend([3, 1, 16, 0]);
    expected.extend(STALE_MARKER_BITS.to_le_bytes());
    expected.extend([4, 0, 0, 0, 0, 0, 0]);
    let mut record = Vec::new();
    encode_solo(&mut record, 5, &[], &histograms()[..2], &[]);
    let (record, _) = frame::split_record(&record).unwrap();
    assert_eq!(record, expected);
}

/// Steps of numbers and times, and differences of values, on both sides of each length that they may have.
#[test]
fn samples_have_the_documented_bytes_whatever_their_lengths() {
    fn zigzag(number: i64) -> u64 {
        (if number < 0 {
            -2 * number - 1
        } else {
            2 * number
        }) as u64
    }
    fn varint(mut number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while number > 127 {
            bytes.push((number % 128) as u8 + 128);
            number /= 128;
        }
        bytes.push(number as u8);
        bytes
    }
    fn change(number: u64) -> Vec<u8> {
        let bytes = number.to_le_bytes();
        match number {
            0..0x80 => vec![bytes[0]],
            0x80..0x4000 => vec![128 + bytes[1], bytes[0]],
            0x4000..0x10_0000 => vec![192 + bytes[2], bytes[0], bytes[1]],
            0x10_0000..0x800_0000 => vec![208 + bytes[3], bytes[0], bytes[1], bytes[2]],
            _ => [&[216], &bytes[..4]].concat(),
        }
    }
    let both = |number: i64| [number, -number, -number - 1];
    let steps = [0, 63, 64, 8_191, 8_192].into_iter();
    let longer = [524_287, 524_288, 67_108_863, 67_108_864].into_iter();
    let values: Vec<i64> = steps.clone().chain(longer).flat_map(both).collect();
    let steps: Vec<i64> = steps.flat_map(both).collect();
    let mut samples = Vec::new();
    let mut expected = Vec::new();
    let (mut series, mut time) = (1 << 30, 0);
    let of_steps = |step: i64| steps.iter().map(move |elapsed| (step, *elapsed));
    let of_both = steps.iter().flat_map(|step| of_steps(*step));
    for ((step, elapsed), value) in
        of_both.flat_map(|both| values.iter().map(move |value| (both, *value)))
    {
        let before = series;
        series += step;
        time += elapsed;
        let next = if samples.is_empty() { 0 } else { before };
        expected.extend(varint(zigzag(series - next)));
        expected.extend(varint(zigzag(elapsed)));
        expected.extend(change(zigzag(value)));
        let value = value as f64;
        samples.push((series as u32, Sample { time, value }));
        series += 1;
    }
    let mut record = Vec::new();
    encode_solo(&mut record, 5, &samples, &[], &[]);
    let (record, _) = frame::split_record(&record).unwrap();
    let head = [&[3, 5][..], &varint(samples.len() as u64)].concat();
    assert_eq!(record, [head, expected].concat());
}

/// The example of `docs/wal.md`.
fn example_metadata() -> Vec<LoggedMetadata> {
    let logged = |family: &str, origins, kind, unit: &str, help: &str| LoggedMetadata {
        family: family.to_owned(),
        origins: Origins::from_number(origins).unwrap(),
        metadata: Metadata {
            kind,
            unit: unit.to_owned(),
            help: help.to_owned(),
        },
    };
    vec![
        logged("up", 1, MetricType::Gauge, "", "Is it ü?"),
        logged("t_s", 2, MetricType::StateSet, "s", ""),
    ]
}

#[test]
fn metadata_has_the_documented_bytes() {
    let mut expected = vec![28, 6, 5, 0, 0, 2];
    expected.extend(b"\x02up\x12\x00\x09Is it \xc3\xbc?");
    expected.extend(b"\x03t_s\x27\x01s\x00");
    let mut record = Vec::new();
    encode_solo(&mut record, 5, &[], &[], &example_metadata());
    assert_eq!(record, expected);
    // A row at time 1 of target 3, built on commit 4, with nothing changed.
    let mut expected = vec![2, 5, 3, 4 | 32, 2, 1, 0, 0, 0, 1];
    expected.extend(b"\x03t_s\x27\x01s\x00");
    let row = RowRecord {
        commit: 5,
        target: 3,
        reset: None,
        previous: 4,
        time: 1,
        bindings: &[],
        present: None,
        changed: &[][..],
        solo: &[],
        histograms: &[],
        metadata: &example_metadata()[1..],
        has_row: true,
    };
    let mut record = Vec::new();
    encode_row(&mut record, &written_row(&row, &mut Changed::default()));
    let (record, _) = frame::split_record(&record).unwrap();
    assert_eq!(record, expected);
    // No type has this number, and it came from somewhere.
    let mut buffers = record::Buffers::default();
    for byte in [0x18, 0x02, 0x42] {
        let mut bad = expected.clone();
        let at = bad.len() - 4;
        bad[at] = byte;
        assert!(record::decode(&bad, &mut buffers).is_err(), "{byte:#x}");
    }
}

#[test]
fn kinds_and_flags_that_are_not_known_are_refused() {
    let mut buffers = record::Buffers::default();
    // A row in which nothing changed, by its flags.
    let row = |flags| [2, 42, 3, flags, 2, 1, 0, 0, 0];
    assert!(record::decode(&row(4), &mut buffers).is_ok());
    for unknown in [
        &row(4 | 64)[..],
        &row(4 | 128),
        &[8, 42, 0, 0, 0],
        &[10, 42, 0],
    ] {
        let error = record::decode(unknown, &mut buffers).unwrap_err();
        assert_eq!(error.expected, "a well-formed record", "{unknown:?}");
    }
}

#[test]
fn rows_of_groups_have_the_documented_bytes() {
    let anew = RowRecord {
        commit: 300,
        target: 2,
        reset: Some(""),
        previous: 0,
        time: 1_000,
        bindings: &[(0, 7), (1, 8), (3, 4)],
        present: Some(&[(0, 2), (3, 1)]),
        changed: &[
            (0, Change::between(0, 5f64.to_bits())),
            (1, Change::between(0, 0.25f64.to_bits())),
            (3, Change::between(0, STALE_MARKER_BITS)),
        ][..],
        solo: &[],
        histograms: &[],
        metadata: &[],
        has_row: true,
    };
    let unchanged = RowRecord {
        target: 9,
        reset: None,
        previous: 297,
        time: 999,
        bindings: &[],
        present: None,
        changed: &[][..],
        ..anew
    };
    let samples = [(
        7,
        Sample {
            time: -5,
            value: 1.0,
        },
    )];
    let mut expected = vec![9, 0xac, 2, 2];
    // Target 2 begins anew with its presence: two columns from 0 on, one behind a gap of one.
    expected.extend([2, 3, 0xd0, 0xf, 2, 0, 1, 1, 0]);
    // The changed columns, a bitmap of one byte from column 0 on; 5, 25 with two decimals, a marker.
    expected.extend([2, 0, 1, 0b1011, 10, 225, 50, 251]);
    // Two columns from 0 on are given to series from 7 on, one behind a gap to series 4, five below 9.
    expected.extend([2, 0, 14, 1, 1, 9, 0]);
    // Target 9, three commits after its row before, at 999: nothing changed.
    expected.extend([9, 0, 0xce, 0xf, 3, 0, 0, 0]);
    // One sample, no histogram, no metadata.
    expected.extend([1, 14, 9, 2, 0, 0]);
    let mut changed = [Changed::default(), Changed::default()];
    let [first, second] = &mut changed;
    let rows = vec![written_row(&anew, first), written_row(&unchanged, second)];
    let mut record = Vec::new();
    encode_push(&mut record, 300, rows.into_iter(), &samples, &[], &[]);
    let (record, _) = frame::split_record(&record).unwrap();
    assert_eq!(record, expected);
    let mut buffers = record::Buffers::default();
    let Ok(Record::Push {
        commit: 300,
        rows,
        samples: found,
        histograms: [],
        metadata: [],
    }) = record::decode(record, &mut buffers)
    else {
        panic!("a push")
    };
    let rows: Vec<_> = rows.iter().map(|row| row.record(300)).collect();
    assert_eq!((rows, found), (vec![anew, unchanged], &samples[..]));
    for len in 0..record.len() {
        let cut = record::decode(&record[..len], &mut buffers);
        assert!(cut.is_err(), "cut at {len}");
    }
    let mut many = vec![9, 1];
    many.extend([0x81, 2]);
    many.extend([0; 10_000]);
    assert!(record::decode(&many, &mut buffers).is_err());
}

#[test]
fn records_come_back() {
    let labels = Labels::from_pairs([("__name__", "m"), ("a", "ü")]);
    let solo = [
        (
            7,
            Sample {
                time: -5,
                value: -0.0,
            },
        ),
        (
            6,
            Sample {
                time: i64::MAX,
                value: 1.5,
            },
        ),
        (
            u32::MAX,
            Sample {
                time: i64::MIN,
                value: 1e300,
            },
        ),
    ];
    let change = |column: u32, value: f64| (column, Change::between(0, value.to_bits()));
    let sparse = [change(0, 5.0), change(130, -0.0), change(100_000, 0.25)];
    let dense: Vec<(u32, Change)> = (40..400)
        .filter(|column| column % 7 < 3)
        .map(|column| change(column, f64::from(column) / 8.0))
        .collect();
    let runs: Vec<(u32, Change)> = (0..90)
        .chain(100..300)
        .map(|column| change(column, 1.0))
        .collect();
    let bound: Vec<(u32, u32)> = (0..90)
        .zip(2..)
        .chain([(100, 4), (101, 5), (299, 0)])
        .collect();
    let base = RowRecord {
        commit: 300,
        target: 2,
        reset: None,
        previous: 297,
        time: 1_700_000_000_000,
        bindings: &[],
        present: None,
        changed: &sparse[..],
        solo: &[],
        histograms: &[],
        metadata: &[],
        has_row: true,
    };
    let histograms = histograms();
    let metadata = example_metadata();
    let rows = [
        base,
        RowRecord {
            reset: Some("job/instance"),
            previous: 0,
            bindings: &[(0, 7), (130, 1)],
            present: Some(&[(0, 1), (130, 2), (100_000, 1)]),
            solo: &solo,
            ..base
        },
        RowRecord {
            changed: &*dense,
            present: Some(&[]),
            time: i64::MIN,
            ..base
        },
        RowRecord {
            changed: &*runs,
            bindings: &bound,
            ..base
        },
        RowRecord {
            changed: &[],
            ..base
        },
        RowRecord {
            changed: &[],
            previous: 0,
            solo: &solo,
            has_row: false,
            ..base
        },
        RowRecord {
            histograms: &histograms,
            ..base
        },
        RowRecord {
            metadata: &metadata,
            ..base
        },
        RowRecord {
            changed: &[],
            previous: 0,
            metadata: &metadata[1..],
            has_row: false,
            ..base
        },
    ];
    let series = [
        (7, labels.clone()),
        (8, Labels::empty()),
        (u32::MAX, labels.clone()),
        (0, labels),
    ];
    let mut records: Vec<Record<'_>> = rows.into_iter().map(Record::Row).collect();
    records.push(Record::Series(&series));
    let pushed = Record::Solo {
        commit: u64::MAX,
        samples: &solo,
        histograms: &[],
        metadata: &[],
    };
    let with = |samples, histograms, metadata| Record::Solo {
        commit: 9,
        samples,
        histograms,
        metadata,
    };
    records.extend([
        pushed,
        with(&[], &histograms, &[]),
        with(&solo, &histograms[1..], &[]),
        with(&[], &[], &metadata),
        with(&solo, &[], &metadata[..1]),
        with(&solo, &histograms, &metadata),
    ]);
    let exemplars = [1.5, f64::NAN].map(|value| {
        let exemplar = Exemplar {
            labels: Labels::from_pairs([("trace_id", "ü")]),
            value,
            time: -7,
            is_timed: value > 1.0,
        };
        (Labels::from_pairs([("__name__", "m")]), exemplar)
    });
    records.push(Record::Exemplars(&exemplars));
    let mut buffers = record::Buffers::default();
    for record in &records {
        let mut bytes = Vec::new();
        match record {
            Record::Series(series) => {
                let series: Vec<(u32, &Labels)> =
                    series.iter().map(|(id, labels)| (*id, labels)).collect();
                encode_series(&mut bytes, &series);
            }
            Record::Row(row) => {
                encode_row(&mut bytes, &written_row(row, &mut Changed::default()));
            }
            Record::Solo {
                commit,
                samples,
                histograms,
                metadata,
            } => encode_solo(&mut bytes, *commit, samples, histograms, metadata),
            Record::Push { .. } => unreachable!("its bytes have a test of their own"),
            Record::Exemplars(exemplars) => encode_exemplars(&mut bytes, exemplars),
            Record::End => record::encode_end(&mut bytes),
        }
        let (bytes, after) = frame::split_record(&bytes).unwrap();
        assert_eq!(after, &[0u8; 0]);
        // Compared as text: -0 is not 0 there.
        let decoded = record::decode(bytes, &mut buffers).unwrap();
        assert_eq!(format!("{decoded:?}"), format!("{record:?}"));
        for len in 0..bytes.len() {
            assert!(
                record::decode(&bytes[..len], &mut buffers).is_err(),
                "cut at {len}"
            );
        }
    }
}

/// The example of `docs/wal.md`.
fn example_exemplars() -> Vec<(Labels, Exemplar)> {
    let exemplar = |trace, value, time, is_timed| Exemplar {
        labels: Labels::from_pairs([("t", trace)]),
        value,
        time,
        is_timed,
    };
    vec![
        (
            Labels::from_pairs([("a", "b")]),
            exemplar("1", 2.0, 1_000, true),
        ),
        (
            Labels::from_pairs([("c", "d")]),
            exemplar("ü", 0.5, 999, false),
        ),
    ]
}

fn example_side_file() -> Vec<u8> {
    let mut file = b"NXWAL\0\0\x02\x07\0\0\0\0\0\0\0".to_vec();
    file.extend(0xc714_6ef1u32.to_le_bytes());
    // The frame: length, checksum of the body, checksum of both and of the place.
    file.extend(35u32.to_le_bytes());
    file.extend(0xc596_5814u32.to_le_bytes());
    file.extend(0x702b_c6fbu32.to_le_bytes());
    file.extend(b"\x01\x1f\x04\x02");
    file.extend(b"\x01\x01a\x01b\x01\x01t\x011\x01\xd0\x0f\x04");
    file.extend(b"\x01\x01c\x01d\x01\x01t\x02\xc3\xbc\x00\x01\xe0\x0a");
    file.extend(b"\x01\x05");
    file
}

#[test]
fn a_side_file_has_the_documented_bytes() {
    let mut records = Vec::new();
    encode_exemplars(&mut records, &example_exemplars());
    assert_eq!(side::side_file(7, records), example_side_file());
    // The metadata's, in the same frame but of kind 6.
    let mut records = Vec::new();
    encode_solo(&mut records, 5, &[], &[], &example_metadata()[1..]);
    let file = side::side_file(7, records);
    assert_eq!(file[..20], example_side_file()[..20]);
    let mut body = b"\x01\x0d\x06\x05\x00\x00\x01".to_vec();
    body.extend(b"\x03t_s\x27\x01s\x00\x01\x05");
    assert_eq!(file[20..24], (body.len() as u32).to_le_bytes());
    assert_eq!(file[24..28], crc32c::crc32c(&body).to_le_bytes());
    assert_eq!(file[32..], body);
}

#[test]
fn a_damaged_side_file_says_where_and_nothing_of_the_log() {
    let path = Path::new("/narthex/exemplars");
    let read = |bytes: &[u8]| {
        let mut exemplars = Vec::new();
        let file = side::read_side_file(bytes, path, |record| match record {
            Record::Exemplars(found) => {
                exemplars.extend_from_slice(found);
                true
            }
            _ => false,
        });
        (exemplars, file)
    };
    let mut records = Vec::new();
    let all: Vec<_> = (0..2_000).flat_map(|_| example_exemplars()).collect();
    for some in all.chunks(100) {
        encode_exemplars(&mut records, some);
    }
    let many = side::side_file(7, records);
    for whole in [example_side_file(), many] {
        let (exemplars, file) = read(&whole);
        assert_eq!((file.first_segment, file.damage), (7, Vec::new()));
        let check = |damaged: &[u8], what: &str| {
            let (some, file) = read(damaged);
            assert_eq!(file.first_segment, 0, "{what}");
            assert_ne!(file.damage, [], "{what}");
            assert!(
                file.damage.iter().all(|damage| damage.at.file == path),
                "{what}"
            );
            assert!(some.iter().all(|one| exemplars.contains(one)), "{what}");
        };
        for at in 0..whole.len() {
            check(&whole[..at], &format!("cut at {at}"));
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                check(&damaged, &format!("byte {at} ^ {flip:#x}"));
            }
            let mut zeroed = whole.clone();
            zeroed[at..].fill(0);
            if zeroed != whole {
                check(&zeroed, &format!("zeros from {at}"));
            }
        }
        check(&[&whole[..], &whole[20..]].concat(), "twice");
    }
}
