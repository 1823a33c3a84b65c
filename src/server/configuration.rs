//! Configurations are loaded, put in force, and loaded again: each whole, or nothing changes.

use anyhow::{Context as _, Result, anyhow};
use narthex_rules::UpdateSettings;
use narthex_storage::Db;
use tracing::info;

use super::{ConfigSource, Server, listen, reload::Loaded, store::out_of_order_window_ms};
use crate::{api::Configuration, notifier::Notifier, self_metrics::Gauge};

/// How many exemplars are kept when the configuration does not say, as in Prometheus.
const DEFAULT_EXEMPLARS_MAX: i64 = 100_000;

/// `prometheus_config_*` and `prometheus_ready`.
#[derive(Debug)]
pub(super) struct ReloadMetrics {
    pub(super) successful: Gauge,
    pub(super) success_seconds: Gauge,
    pub(super) ready: Gauge,
}

impl Server {
    pub(super) async fn checksum(&self) -> Result<u64> {
        let source = self.options.config.clone();
        Ok(tokio::task::spawn_blocking(move || source.checksum()).await?)
    }

    /// Loads the configuration and puts it in force, or leaves everything as it is.
    pub(super) async fn reload(&self, store: &Db) -> Result<()> {
        let outcome = async {
            let loaded = self.load().await?;
            let (time_ms, size_bytes) = self.retention(&loaded.config);
            let window_ms = out_of_order_window_ms(&loaded.config);
            let exemplars_max = self.exemplars_max(&loaded.config);
            self.apply(loaded).await?;
            store.set_retention(time_ms, size_bytes);
            store.set_out_of_order_window(window_ms);
            store.set_exemplars_max(exemplars_max);
            Ok(())
        };
        let outcome = outcome.await;
        self.note_outcome(&outcome);
        outcome
    }

    pub(super) fn note_outcome(&self, outcome: &Result<()>) {
        match outcome {
            Ok(()) => {
                self.reloads.successful.set(1.0);
                self.reloads
                    .success_seconds
                    .set((self.clock.now() / 1000) as f64);
            }
            Err(_) => {
                self.reloads.successful.set(0.0);
                let old = Configuration::clone(&self.state.configuration());
                self.state.set_configuration(Configuration {
                    last_reload_successful: false,
                    ..old
                });
            }
        }
    }

    /// The configuration and its rule files as they stand now, reviewed.
    pub(super) async fn load(&self) -> Result<Loaded> {
        let name = self.config_name();
        info!(filename = name, "Loading configuration file");
        let source = self.options.config.clone();
        let own_address = listen::reachable(self.addresses[0]);
        let prefix = self.state.settings.route_prefix.clone();
        let parser = self.options.features.parser();
        let mut loaded =
            tokio::task::spawn_blocking(move || source.load(&own_address, &prefix, parser))
                .await?
                .map_err(|problem| {
                    anyhow!("couldn't load configuration (--config.file={name:?}): {problem}")
                })?;
        if self.options.exemplar_storage {
            let max_exemplars = &mut loaded.config.storage.max_exemplars;
            max_exemplars.get_or_insert(DEFAULT_EXEMPLARS_MAX);
        }
        Ok(loaded)
    }

    /// Puts a configuration in force, or changes nothing.
    pub(super) async fn apply(&self, Loaded { config, rule_files }: Loaded) -> Result<()> {
        let scraping = self.scraping.get().context("scraping has not started")?;
        let rules = self.rules.get().context("rules have not started")?;
        let began = self.clock.monotonic();
        let notifier = Notifier::prepare(&config)?;
        scraping.apply(config.jobs())?;
        // Nothing fails from here on.
        self.notifier.apply(notifier);
        let settings = UpdateSettings {
            interval: config.global.evaluation_interval,
            query_offset: config.global.rule_query_offset,
            external_labels: config.global.external_labels.clone(),
        };
        rules.apply(rule_files, settings).await;
        self.state.set_configuration(Configuration {
            yaml: config.to_yaml(),
            external_labels: config.global.external_labels.clone(),
            storage_retention: self.retention_limits.show(self.retention(&config)),
            out_of_order_window_ms: out_of_order_window_ms(&config),
            loaded: self.clock.now(),
            last_reload_successful: true,
        });
        let took = self.clock.monotonic().saturating_sub(began);
        info!(
            filename = self.config_name(),
            totalDuration = format!("{took:?}"),
            "Completed loading of configuration file"
        );
        Ok(())
    }

    pub(super) fn config_name(&self) -> String {
        match &self.options.config {
            ConfigSource::File(path) => path.display().to_string(),
            ConfigSource::BuiltIn => "(built in)".to_owned(),
        }
    }
}
