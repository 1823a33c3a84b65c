//! A fleet of hosts, scraped together: a hundred series a target, of which one in six counts, one in six
//! wanders and the others are constant.

use narthex_storage::{
    Appendable, Column, Db, Labels, RowBuilder, TargetAppender, TargetKey, Timestamp,
};

/// The series of one target.
pub(crate) const COLUMNS: u64 = 100;

/// Writes the rows of every target.
pub(crate) struct Fleet {
    targets: Vec<(Box<dyn TargetAppender>, Vec<Column>)>,
    row: RowBuilder,
}

impl Fleet {
    /// `targets` of them, known to the store from now on.
    pub(crate) fn new(db: &Db, targets: u64) -> Self {
        let one = |target: u64| {
            let mut appender = db.target(&TargetKey(format!("job/{target}"))).unwrap();
            let columns = (0..COLUMNS).map(|column| {
                let labels = Labels::from_pairs([
                    ("__name__", format!("metric_{column}_total")),
                    ("instance", format!("host-{target}.example.com:9100")),
                    ("job", "node".to_owned()),
                ]);
                appender.column(&labels).unwrap()
            });
            let columns = columns.collect();
            (appender, columns)
        };
        Self {
            targets: (0..targets).map(one).collect(),
            row: RowBuilder::default(),
        }
    }

    /// Commits a row at `time` to every target. The counters stand at about `count`; `random` is the state
    /// of a generator.
    pub(crate) fn commit(&mut self, time: Timestamp, count: u64, random: &mut u64) {
        for (target, columns) in &mut self.targets {
            self.row.begin(time);
            for (index, column) in columns.iter().enumerate() {
                *random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let value = match index % 6 {
                    0 => count + (*random >> 60),
                    1 => *random >> 54,
                    _ => index as u64,
                };
                self.row.set(*column, value as f64);
            }
            target.commit(&mut self.row).unwrap();
        }
    }
}
