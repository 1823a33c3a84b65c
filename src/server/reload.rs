//! Where the configuration comes from, and whether it changed.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use anyhow::{Result, anyhow, bail};
use narthex_query::parser::ParserOptions;
use narthex_rules::RuleFile;
use tracing::warn;

use super::rules;
use crate::config::{self, Config, matching_files, support};

/// A configuration that can be put in force, with the rule files it names.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) config: Config,
    pub(super) rule_files: Vec<RuleFile>,
}

/// Where the configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigSource {
    /// A file.
    File(PathBuf),
    /// None was named and `prometheus.yml` does not exist: the server scrapes itself.
    BuiltIn,
}

impl ConfigSource {
    /// The configuration as it is now. `own_address` and `prefix` are where the server itself is
    /// reached.
    ///
    /// # Errors
    /// What is wrong, or not built yet, in words for a person.
    pub(super) fn load(
        &self,
        own_address: &str,
        prefix: &str,
        parser: ParserOptions,
    ) -> Result<Loaded> {
        let config = match self {
            Self::File(path) => load_file(path)?,
            Self::BuiltIn => {
                let text = format!(
                    "scrape_configs:\n  - job_name: prometheus\n    scrape_interval: 15s\n    \
                     metrics_path: {prefix}/metrics\n    static_configs:\n      - targets: ['{own_address}']\n"
                );
                config::load(text.as_bytes(), Path::new("built-in.yml"), &|_| None)
                    .map_err(|error| anyhow!("the built-in configuration: {}", error.message()))?
            }
        };
        let rule_files =
            rules::load(&config, parser).map_err(|problems| rules::refused(&problems))?;
        Ok(Loaded { config, rule_files })
    }

    /// A number that changes when the file, or a file that it names, changes.
    pub(super) fn checksum(&self) -> u64 {
        let Self::File(path) = self else {
            return 0;
        };
        let mut hasher = DefaultHasher::new();
        let mut add = |path: &Path| {
            path.hash(&mut hasher);
            std::fs::read(path).ok().hash(&mut hasher);
        };
        add(path);
        if let Ok(config) = config::load_file(path, &environment) {
            for pattern in config.rule_files.iter().chain(&config.scrape_config_files) {
                for file in matching_files(pattern).unwrap_or_default() {
                    add(&file);
                }
            }
        }
        hasher.finish()
    }
}

/// Reads and reviews a configuration file.
///
/// # Errors
/// What is wrong, or not built yet, in words for a person.
pub(super) fn check_config(path: &Path) -> Result<Config> {
    load_file(path)
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn load_file(path: &Path) -> Result<Config> {
    let config = config::load_file(path, &environment).map_err(|error| anyhow!("{error}"))?;
    let review = support::review(&config);
    for warning in &review.warnings {
        warn!(file = %path.display(), "{warning}");
    }
    if !review.fatal.is_empty() {
        bail!("{}", review.fatal.join("; "));
    }
    Ok(config)
}
