//! Copies of the live directory, as `tar` makes them: file by file, in any order, while samples come,
//! are sealed and superseded files are removed. A copy that took no longer than ten minutes opens to
//! everything that was acknowledged before it began.
use std::{path::PathBuf, sync::Arc, time::Duration};

use narthex_storage::{Appendable, Db, RowBuilder, Sample, TargetKey, WalFsync};

use super::support::{Content, FaultyFs, SetClock, content, labels, options};

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        // Source: xorshift64, Marsaglia 2003.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// A copy in the making.
struct Copy {
    begun_at: i64,
    /// What it must hold.
    acknowledged: Content,
    /// What is still to be copied. A folder is listed when it is first looked into.
    files: Vec<PathBuf>,
    unlisted: Vec<&'static str>,
    to: FaultyFs,
}

impl Copy {
    fn begin(step: i64, acknowledged: &Content, random: &mut Random) -> Self {
        let mut unlisted = vec!["/data/narthex/wal", "/data/narthex/blocks", "/data/narthex"];
        let first = random.below(unlisted.len());
        unlisted.swap(0, first);
        Self {
            begun_at: step,
            acknowledged: acknowledged.clone(),
            files: Vec::new(),
            unlisted,
            to: FaultyFs::default(),
        }
    }

    /// Copies one file; `false` when nothing is left.
    fn go_on(&mut self, from: &FaultyFs, random: &mut Random) -> bool {
        while self.files.is_empty() {
            let Some(folder) = self.unlisted.pop() else {
                return false;
            };
            let paths = from.paths().into_iter();
            self.files = paths
                .filter(|path| path.parent() == Some(folder.as_ref()))
                .collect();
        }
        let chosen = random.below(self.files.len());
        let path = self.files.swap_remove(chosen);
        // Only what is not finished may go while the copy is made.
        let is_there = from.copy_to(&self.to, &path);
        assert!(
            is_there || path.extension().is_some_and(|extension| extension == "tmp"),
            "{} went before its ten minutes were over",
            path.display()
        );
        true
    }
}

/// Steps are half a minute; a copy takes up to 19 of them.
const STEP: Duration = Duration::from_secs(30);

#[test]
fn a_copy_of_the_live_directory_opens_to_what_was_there_when_it_began() {
    let mut random = Random(0x5eed);
    let fs = FaultyFs::default();
    let clock = Arc::new(SetClock::default());
    let (db, _) = Db::open(&options(&fs, &clock, WalFsync::Segment)).unwrap();
    let mut target = db.target(&TargetKey("t".to_owned())).unwrap();
    let columns = ["a", "b"].map(|series| target.column(&labels(series)).unwrap());
    let mut row = RowBuilder::default();
    let mut all = Content::new();
    let mut copies: Vec<Copy> = Vec::new();
    let mut opened = 0;
    for step in 0..400i64 {
        let time = step * STEP.as_millis() as i64;
        row.begin(time);
        for (column, (name, value)) in columns.iter().zip([("a", step as f64), ("b", 1.0)]) {
            row.set(*column, value);
            all.insert((name.to_owned(), time), value.to_bits());
        }
        assert_eq!(target.commit(&mut row).unwrap().refused, []);
        if step % 7 == 0 {
            let mut appender = db.appender();
            let series = appender.series(&labels("pushed")).unwrap();
            appender.samples(series, &[Sample { time, value: 0.5 }]);
            assert_eq!(appender.commit(true).unwrap().refused, []);
            all.insert(("pushed".to_owned(), time), 0.5f64.to_bits());
        }
        if random.below(3) == 0 {
            copies.push(Copy::begin(step, &all, &mut random));
        }
        for mut copy in std::mem::take(&mut copies) {
            let left = 19 - (step - copy.begun_at);
            let todo = copy.files.len() / left.max(1) as usize + random.below(3);
            let mut goes_on = true;
            for _ in 0..todo.max(1) {
                goes_on &= copy.go_on(&fs, &mut random);
            }
            while left <= 1 && goes_on {
                goes_on = copy.go_on(&fs, &mut random);
            }
            if goes_on {
                copies.push(copy);
                continue;
            }
            let (restored, report) =
                Db::open(&options(&copy.to, &clock, WalFsync::Segment)).unwrap();
            let found = content(&restored);
            let missing: Vec<_> = copy
                .acknowledged
                .iter()
                .filter(|(key, bits)| found.get(*key) != Some(*bits))
                .collect();
            assert!(
                missing.is_empty(),
                "begun at step {}: {report:?}\n{missing:?}",
                copy.begun_at
            );
            assert!(found.iter().all(|(key, bits)| all.get(key) == Some(bits)));
            opened += 1;
        }
        clock.advance(STEP);
        db.maintain().unwrap();
    }
    assert!(opened > 100, "{opened} copies");
    assert_eq!(content(&db), all);
}
