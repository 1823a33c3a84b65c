//! The way from a body to a row on its own: what benchmarks measure, without network and schedule.

use std::sync::Arc;

use anyhow::anyhow;
use bytes::Bytes;
use narthex_storage::{Appendable, Labels, Timestamp};

use super::{
    client::ScrapeClient,
    content_type::Exposed,
    exposition::Format,
    pool::{ScrapeJob, Settings},
    rows::{Counts, Rows},
    target::{Relabelled, relabel_group},
};
use crate::config::{ScrapeConfig, TargetGroup};

/// Appends bodies of one target as its scrapes would.
#[derive(Debug)]
pub struct BodyAppender {
    settings: Settings,
    rows: Rows,
}

impl BodyAppender {
    /// The target at `address` of a job.
    ///
    /// # Errors
    /// Relabelling leaves no target, or the store refuses it.
    pub fn new(
        config: &ScrapeConfig,
        address: &str,
        appendable: &dyn Appendable,
    ) -> anyhow::Result<Self> {
        let group = TargetGroup {
            targets: vec![Labels::from_pairs([("__address__", address)])],
            ..TargetGroup::default()
        };
        let Some(Relabelled::Active(spec)) = relabel_group(config, &group).pop() else {
            return Err(anyhow!("{address} is no target of the job"));
        };
        let rows = Rows::open(appendable, &spec.key(&config.job_name))?;
        let job = ScrapeJob {
            client: ScrapeClient::new(config)?,
            config: config.clone(),
            type_and_unit_labels: false,
        };
        let settings = Settings {
            job: Arc::new(job),
            spec: *spec,
            forced_error: None,
        };
        Ok(Self { settings, rows })
    }

    /// Appends one body, all of it or nothing; answers how many samples it held.
    ///
    /// # Errors
    /// The body is malformed or breaks a limit, or the store failed.
    pub fn append(&mut self, body: &Bytes, format: Format, time: Timestamp) -> anyhow::Result<u64> {
        let mut counts = Counts::default();
        let exposed = Exposed { format };
        let filled = self
            .rows
            .fill(&self.settings, time, body, exposed, &mut counts);
        self.rows.commit(&self.settings, None, &mut counts)?;
        filled.map_err(|problem| anyhow!(problem))?;
        Ok(counts.scraped)
    }
}
