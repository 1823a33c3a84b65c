//! `promtool check config`: is a configuration valid, with the files it names.
//!
//! Its rule files are checked whole. What the server does not support yet is valid here and said in a
//! WARNING line.

use std::{path::Path, time::Duration};

use narthex_query::format_duration;

use super::{
    Arguments, LINT_EXIT_CODE, Output,
    check_rules::{self, RuleChecks, Verdict},
    duration::flag_duration,
};
use crate::{
    config::{self, Config, DiscoveryConfigs, TargetGroup, TlsConfig, support},
    discovery, notifier, scrape,
};

/// How long a sample is looked back for, unless a flag says otherwise: five minutes.
const LOOKBACK_NANOSECONDS: i64 = 300_000_000_000;

/// What the flags ask for.
#[expect(clippy::struct_excessive_bools, reason = "one a flag")]
struct Options {
    syntax_only: bool,
    agent: bool,
    lint_interval: bool,
    lint_fatal: bool,
    /// Nanoseconds; intervals are not looked at unless it is positive.
    lookback: i64,
    rules: RuleChecks,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<u8, String> {
    let files = arguments.words();
    if files.is_empty() {
        return Err("required argument 'config-files' not provided".to_owned());
    }
    check_rules::existing_files(files)?;
    let mut options = Options {
        syntax_only: arguments.is_set("syntax-only"),
        agent: arguments.is_set("agent"),
        lint_interval: false,
        lint_fatal: arguments.is_set("lint-fatal"),
        lookback: LOOKBACK_NANOSECONDS,
        rules: RuleChecks {
            duplicates: false,
            file: check_rules::file_options(arguments),
        },
    };
    if let Some(text) = arguments.value("query.lookback-delta") {
        options.lookback = flag_duration(text)?;
    }
    let lints = arguments.value("lint").unwrap_or("duplicate-rules");
    // Anywhere in the list, and here alone, "none" leaves out the others, unread.
    let is_none = lints.split(',').any(|name| name == "none");
    for name in lints.split(',').filter(|_| !is_none) {
        match name {
            "all" => (options.lint_interval, options.rules.duplicates) = (true, true),
            "too-long-scrape-interval" => options.lint_interval = true,
            "duplicate-rules" => options.rules.duplicates = true,
            other => output.print(&format!("WARNING: unknown lint option: {other:?}")),
        }
    }
    let mut failed = false;
    let mut lint_found = false;
    for file in files {
        output.print(&format!("Checking {file}"));
        let checked = check(file, &options, output);
        match &checked {
            Ok((_, rule_files)) => {
                if !rule_files.is_empty() {
                    output.print(&format!("  SUCCESS: {} rule files found", rule_files.len()));
                }
                output.print(&format!(
                    " SUCCESS: {file} is valid prometheus config file syntax"
                ));
            }
            Err(message) => {
                output.complain(&format!("  FAILED: {message}"));
                failed = true;
            }
        }
        output.print("");
        if let Ok((config, rule_files)) = checked
            && !options.syntax_only
        {
            lint_found |= lint(&config, &options, output);
            for rule_file in rule_files {
                match check_rules::check_file(&rule_file, options.rules, output) {
                    Verdict::Good => {}
                    Verdict::Lint => lint_found = true,
                    Verdict::Bad => failed = true,
                }
            }
        }
    }
    Ok(match (failed, lint_found && options.lint_fatal) {
        (true, _) => 1,
        (false, true) => LINT_EXIT_CODE,
        (false, false) => 0,
    })
}

/// Checks one file; answers with its configuration and the rule files it names.
fn check(
    file: &str,
    options: &Options,
    output: &mut Output<'_>,
) -> Result<(Config, Vec<String>), String> {
    let environment = |name: &str| std::env::var(name).ok();
    let config =
        config::load_file(Path::new(file), &environment).map_err(|error| error.to_string())?;
    if options.agent {
        let alerting = &config.alerting;
        let refused = [
            (
                "alerting",
                alerting.alertmanagers.is_empty() && alerting.alert_relabel_configs.is_empty(),
            ),
            ("rule_files", config.rule_files.is_empty()),
            ("remote_read", config.remote_read.is_empty()),
        ];
        if let Some((field, _)) = refused.iter().find(|(_, empty)| !empty) {
            return Err(format!("field {field} is not allowed in agent mode"));
        }
    }
    let mut rule_files = Vec::new();
    if !options.syntax_only {
        for pattern in &config.rule_files {
            let found = config::matching_files(pattern)?;
            if found.is_empty() && !pattern.contains('*') {
                return Err(format!("{pattern:?} does not point to an existing file"));
            }
            rule_files.extend(found.iter().map(|path| path.display().to_string()));
        }
    }
    for job in config.jobs() {
        if let Some(authorization) = &job.http_client.authorization
            && let Some(file) = &authorization.credentials_file
            && !options.syntax_only
        {
            exists(file).map_err(|error| {
                format!(
                    "error checking authorization credentials or bearer token file {:?}: {error}",
                    file.display().to_string()
                )
            })?;
        }
        if !options.syntax_only {
            check_tls(&job.http_client.tls_config)?;
        }
        let whose = format!("scrape job {:?}", job.job_name);
        let check = |group: &TargetGroup| match scrape::first_problem(job, group) {
            Some((place, problem)) => Err(format!(
                "instance {place} in group {}: {problem}",
                group.source
            )),
            None => Ok(()),
        };
        check_discovery(&job.discovery, &whose, options, output, check)?;
    }
    for alertmanager in &config.alerting.alertmanagers {
        let check = |group: &TargetGroup| notifier::check_addresses(alertmanager, group);
        let discovery = &alertmanager.discovery;
        check_discovery(discovery, "alertmanager config", options, output, check)?;
    }
    let review = support::review(&config);
    for sentence in review.fatal {
        output.print(&format!(
            "  WARNING: the server does not start with it: {sentence}"
        ));
    }
    for sentence in review.warnings {
        output.print(&format!("  WARNING: {sentence}"));
    }
    Ok((config, rule_files))
}

fn exists(path: &Path) -> Result<(), String> {
    match std::fs::metadata(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "stat {}: {}",
            path.display(),
            config::io_reason(&error)
        )),
    }
}

fn check_tls(tls: &TlsConfig) -> Result<(), String> {
    if let Some(file) = &tls.cert_file {
        exists(file).map_err(|error| {
            format!(
                "error checking client cert file {:?}: {error}",
                file.display().to_string()
            )
        })?;
    }
    if let Some(file) = &tls.key_file {
        exists(file).map_err(|error| {
            format!(
                "error checking client key file {:?}: {error}",
                file.display().to_string()
            )
        })?;
    }
    Ok(())
}

/// Checks all groups that are in the configuration or in files that it names.
fn check_discovery(
    configs: &DiscoveryConfigs,
    whose: &str,
    options: &Options,
    output: &mut Output<'_>,
    check: impl Fn(&TargetGroup) -> Result<(), String>,
) -> Result<(), String> {
    configs.static_configs.iter().try_for_each(&check)?;
    let files = configs.file_sd_configs.iter();
    for config in files.filter(|_| !options.syntax_only) {
        for pattern in &config.files {
            let shown = pattern.to_string_lossy();
            let files = config::matching_files(&shown)?;
            if files.is_empty() {
                output.print(&format!(
                    "  WARNING: file {shown:?} for file_sd in {whose} does not exist"
                ));
            }
            for file in files {
                let groups = discovery::read_groups(&file)
                    .map_err(|error| format!("checking SD file {shown:?}: {error}"))?;
                for mut group in groups {
                    // Until it is discovered it has no name.
                    group.source.clear();
                    check(&group)?;
                }
            }
        }
    }
    Ok(())
}

/// Looks for an interval at which every series is stale before its next sample; says the first.
fn lint(config: &Config, options: &Options, output: &mut Output<'_>) -> bool {
    if !options.lint_interval || options.lookback <= 0 {
        return false;
    }
    let lookback = Duration::from_nanos(options.lookback.unsigned_abs());
    let found = config.jobs().find(|job| job.scrape_interval >= lookback);
    if let Some(job) = found {
        output.complain(&format!(
            "  FAILED: too long scrape interval found, data point will be marked as stale - job: {}, interval: {}",
            job.job_name,
            format_duration(job.scrape_interval)
        ));
    }
    found.is_some()
}
