//! The file of the store's metadata: what is read of it is bounded, and the same when it is read again.

use std::{collections::BTreeMap, sync::Arc};

use narthex_storage::{Db, DbOptions, KeptMetadata, MemoryFs, OpenReport, SystemClock};

use super::store::{framed, store_with};

/// Frames of the file without their heads, which are right here, as in `wal_records`.
pub(super) fn check(bytes: &[u8]) -> bool {
    let fs = store_with("narthex/metadata", &framed(0, bytes));
    let (kept, report) = open(&fs);
    for (family, of_family) in &kept {
        let texts = of_family
            .iter()
            .map(|kept| (&kept.metadata, kept.from_target, kept.from_push));
        let texts: Vec<_> = texts.collect();
        assert!(
            (1..=4).contains(&texts.len()) && texts.iter().all(|text| text.1 || text.2),
            "{family}: {texts:?}"
        );
        for (at, (metadata, ..)) in texts.iter().enumerate() {
            let others = texts.iter().skip(at + 1);
            assert!(
                others.into_iter().all(|(other, ..)| other != metadata),
                "{family}: {texts:?}"
            );
        }
    }
    // Whatever number the file ended with, the store goes on behind it: what is read again is the same.
    let (again, second) = open(&fs);
    assert_eq!(again, kept, "opened again");
    assert!(
        second.wal_damage == report.wal_damage || second.wal_damage.is_empty(),
        "the file stays, or is written anew: {:?} and {:?}",
        report.wal_damage,
        second.wal_damage
    );
    report.wal_damage.is_empty()
}

fn open(fs: &MemoryFs) -> (BTreeMap<String, Vec<KeptMetadata>>, OpenReport) {
    let options = DbOptions::new("/data", Arc::new(fs.clone()), Arc::new(SystemClock::new()));
    let (db, report) = Db::open(&options).expect("damage is no reason not to open");
    let kept = db.metadata(None);
    db.close().expect("memory takes it");
    (kept, report)
}
