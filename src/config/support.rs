//! What a configuration may ask for and Narthex does not do yet: one rule and one table.
//!
//! **The rule.** A setting that Prometheus accepts is valid for `check config`. What protects,
//! forwards, fetches or deletes data and is not built yet ends the server's start, or a reload, with
//! a sentence that says where it stands and what to do instead. What only tunes Go or Prometheus's
//! own engine, or only adds to what is there, is accepted with one warning.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{AlertmanagerConfig, Config, RetentionConfig, ScrapeConfig, ScrapeProtocol};

/// A setting that is not built yet.
#[derive(Debug, Clone, Copy)]
pub struct NotBuilt {
    /// The key in `prometheus.yml`.
    pub setting: &'static str,
    /// What happens when the server is to start with it.
    pub outcome: Outcome,
    /// What it would do, or what to do instead.
    pub advice: &'static str,
}

/// What happens when the server is to start with a setting that is not built yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The server does not start, and a reload keeps the old configuration.
    Refused,
    /// The server runs without it and says so once.
    Warned,
}

use Outcome::{Refused, Warned};

const SD: &str = "*_sd_configs";
const REMOTE_WRITE: &str = "remote_write";
const REMOTE_READ: &str = "remote_read";
const OAUTH2: &str = "oauth2";
const PROXY: &str = "proxy_url, proxy_from_environment";
const PROTOBUF: &str = "scrape_protocols: [PrometheusProto]";
const SIGV4: &str = "sigv4";
const PERCENTAGE: &str = "storage.tsdb.retention.percentage";
const NATIVE: &str = "scrape_native_histograms, convert_classic_histograms_to_nhcb";
const FAILURE_LOG: &str = "scrape_failure_log_file";
const QUERY_LOG: &str = "global.query_log_file";
const TRACING: &str = "tracing";
const OTLP: &str = "otlp";
const GOGC: &str = "runtime.gogc";
const TUNING: &str = "storage.tsdb.stale_series_compaction_threshold, storage.tsdb.chunk_encoding";

/// Everything of `prometheus.yml` that is not built yet.
pub const NOT_BUILT: &[NotBuilt] = &[
    NotBuilt {
        setting: SD,
        outcome: Refused,
        advice: "only static_configs and file_sd_configs find targets yet: write the targets to a file and name it under file_sd_configs, it is watched",
    },
    NotBuilt {
        setting: REMOTE_WRITE,
        outcome: Refused,
        advice: "samples are not forwarded yet: remove the section, or keep a Prometheus or an agent that forwards",
    },
    NotBuilt {
        setting: REMOTE_READ,
        outcome: Refused,
        advice: "samples are not read from elsewhere yet: remove the section and query the other server directly",
    },
    NotBuilt {
        setting: OAUTH2,
        outcome: Refused,
        advice: "the client has basic_auth and authorization: use authorization with credentials_file",
    },
    NotBuilt {
        setting: PROXY,
        outcome: Refused,
        advice: "the client connects directly: remove the proxy settings if the target can be reached without",
    },
    NotBuilt {
        setting: SIGV4,
        outcome: Refused,
        advice: "requests to Alertmanagers are not signed for AWS yet: use basic_auth or authorization, or a proxy that signs",
    },
    NotBuilt {
        setting: PROTOBUF,
        outcome: Refused,
        advice: "only the text formats are read yet: add PrometheusText0.0.4 or OpenMetricsText1.0.0",
    },
    NotBuilt {
        setting: PERCENTAGE,
        outcome: Refused,
        advice: "retention goes by time and size: use storage.tsdb.retention.size",
    },
    NotBuilt {
        setting: NATIVE,
        outcome: Warned,
        advice: "native histograms are not built yet: the classic form is scraped and kept as it is",
    },
    NotBuilt {
        setting: FAILURE_LOG,
        outcome: Warned,
        advice: "the file is not written yet: failed scrapes are logged with --log.level=debug and shown under /targets",
    },
    NotBuilt {
        setting: QUERY_LOG,
        outcome: Warned,
        advice: "the file is not written yet",
    },
    NotBuilt {
        setting: TRACING,
        outcome: Warned,
        advice: "the server sends no traces of its own",
    },
    NotBuilt {
        setting: OTLP,
        outcome: Warned,
        advice: "the OTLP receiver is not built yet: the section has no effect",
    },
    NotBuilt {
        setting: GOGC,
        outcome: Warned,
        advice: "it tunes Go's garbage collector, which is not there",
    },
    NotBuilt {
        setting: TUNING,
        outcome: Warned,
        advice: "it tunes Prometheus's own store and has no effect",
    },
];

/// The table in Markdown, as the README quotes it.
pub fn markdown_table() -> String {
    let mut text = "| setting | here |\n|---|---|\n".to_owned();
    for entry in NOT_BUILT {
        let outcome = match entry.outcome {
            Refused => "refused at start and reload",
            Warned => "accepted with a warning",
        };
        writeln!(
            text,
            "| `{}` | {outcome}: {} |",
            entry.setting, entry.advice
        )
        .expect("writing to a string does not fail");
    }
    text
}

/// What stands in the way of running with a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Review {
    /// Sentences about what must not be ignored; the server does not start when there is one.
    pub fatal: Vec<String>,
    /// Sentences about what is ignored.
    pub warnings: Vec<String>,
}

/// Looks for everything in `config` that is not built yet.
pub fn review(config: &Config) -> Review {
    let mut found = Found::default();
    for job in config.jobs() {
        review_job(job, &mut found);
    }
    let count = |list: usize| match list {
        1 => "1 endpoint".to_owned(),
        more => format!("{more} endpoints"),
    };
    if !config.remote_write.is_empty() {
        found.note(REMOTE_WRITE, &count(config.remote_write.len()));
    }
    if !config.remote_read.is_empty() {
        found.note(REMOTE_READ, &count(config.remote_read.len()));
    }
    if let Some(RetentionConfig {
        percentage: Some(_),
        ..
    }) = config.storage.retention
    {
        found.note(PERCENTAGE, "");
    }
    for alertmanagers in &config.alerting.alertmanagers {
        review_alertmanagers(alertmanagers, &mut found);
    }
    if config.global.query_log_file.is_some() {
        found.note(QUERY_LOG, "");
    }
    if config.tracing.is_some() {
        found.note(TRACING, "");
    }
    if config.otlp.is_some() {
        found.note(OTLP, "");
    }
    if config.gogc.is_some() {
        found.note(GOGC, "");
    }
    if !config.storage.tuning.is_empty() {
        found.note(TUNING, "");
    }
    found.review()
}

fn review_job(job: &ScrapeConfig, found: &mut Found) {
    let whose = format!("job {:?}", job.job_name);
    for mechanism in &job.discovery.other {
        found.note(SD, &format!("{} of {whose}", mechanism.key));
    }
    if job.http_client.oauth2.is_some() {
        found.note(OAUTH2, &whose);
    }
    if job.http_client.proxy.is_set() {
        found.note(PROXY, &whose);
    }
    let only_protobuf = |protocols: &[ScrapeProtocol]| {
        protocols
            .iter()
            .all(|protocol| *protocol == ScrapeProtocol::PrometheusProto)
    };
    if only_protobuf(&job.scrape_protocols)
        || job.fallback_scrape_protocol == Some(ScrapeProtocol::PrometheusProto)
    {
        found.note(PROTOBUF, &whose);
    }
    if job.scrape_native_histograms || job.convert_classic_histograms_to_nhcb {
        found.note(NATIVE, &whose);
    }
    if job.scrape_failure_log_file.is_some() {
        found.note(FAILURE_LOG, &whose);
    }
}

fn review_alertmanagers(section: &AlertmanagerConfig, found: &mut Found) {
    let whose = "alerting.alertmanagers";
    for mechanism in &section.discovery.other {
        found.note(SD, &format!("{} of {whose}", mechanism.key));
    }
    if section.http_client.oauth2.is_some() {
        found.note(OAUTH2, whose);
    }
    if section.http_client.proxy.is_set() {
        found.note(PROXY, whose);
    }
    if section.sigv4 {
        found.note(SIGV4, whose);
    }
}

/// Where each setting of the table stands.
#[derive(Default)]
struct Found(BTreeMap<&'static str, Vec<String>>);

impl Found {
    fn note(&mut self, setting: &'static str, place: &str) {
        let places = self.0.entry(setting).or_default();
        if !place.is_empty() {
            places.push(place.to_owned());
        }
    }

    /// One sentence a setting, in the order of the table.
    fn review(self) -> Review {
        let mut review = Review::default();
        for entry in NOT_BUILT {
            let Some(places) = self.0.get(entry.setting) else {
                continue;
            };
            let at = if places.is_empty() {
                String::new()
            } else {
                format!(" ({})", places.join(", "))
            };
            let verdict = match entry.outcome {
                Refused => "is not supported yet",
                Warned => "has no effect yet",
            };
            let sentence = format!("{}{at} {verdict}: {}", entry.setting, entry.advice);
            match entry.outcome {
                Refused => review.fatal.push(sentence),
                Warned => review.warnings.push(sentence),
            }
        }
        review
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn review_text(text: &str) -> Review {
        let config =
            super::super::load(text.as_bytes(), Path::new("prometheus.yml"), &|_| None).unwrap();
        review(&config)
    }

    #[test]
    fn a_plain_configuration_has_nothing_to_say() {
        let text = "global: {scrape_interval: 5s, external_labels: {a: b}}\nstorage: {tsdb: {retention: {time: 15d, size: 1GB}}}\nrule_files: [a.yml]\nalerting: {alert_relabel_configs: [{regex: a, action: labeldrop}], alertmanagers: [{static_configs: [{targets: [a]}]}]}\nscrape_configs: [{job_name: a, static_configs: [{targets: [a]}], file_sd_configs: [{files: [a.json]}], basic_auth: {username: a}}]\n";
        assert_eq!(review_text(text), Review::default());
    }

    #[test]
    fn refusals_name_the_job_and_the_way_out() {
        let review = review_text(
            "scrape_configs:\n- {job_name: a, dns_sd_configs: [{names: [x]}], consul_sd_configs: [{}]}\n- {job_name: b, dns_sd_configs: [{names: [x]}], scrape_protocols: [PrometheusProto]}\n",
        );
        assert_eq!(
            review.fatal,
            [
                "*_sd_configs (dns_sd_configs of job \"a\", consul_sd_configs of job \"a\", dns_sd_configs of job \"b\") is not supported yet: only static_configs and file_sd_configs find targets yet: write the targets to a file and name it under file_sd_configs, it is watched",
                "scrape_protocols: [PrometheusProto] (job \"b\") is not supported yet: only the text formats are read yet: add PrometheusText0.0.4 or OpenMetricsText1.0.0",
            ]
        );
        assert!(review.warnings.is_empty());
    }

    /// Every row of the table is found by some configuration, and with the outcome it names.
    #[test]
    fn every_row_of_the_table_can_be_found() {
        let text = "global: {query_log_file: a}\nalerting: {alertmanagers: [{sigv4: {region: a}}]}\nremote_write: [{url: 'http://a'}]\nremote_read: [{url: 'http://a'}, {url: 'http://b'}]\ntracing: {endpoint: a}\notlp: {}\nruntime: {gogc: 50}\nstorage: {exemplars: {max_exemplars: 5}, tsdb: {chunk_encoding: {floats: xor}, retention: {percentage: 50}}}\nscrape_configs: [{job_name: a, http_sd_configs: [{url: 'http://x'}], oauth2: {client_id: a, token_url: b}}, {job_name: b, proxy_url: 'http://p', scrape_native_histograms: true, scrape_protocols: [PrometheusProto], scrape_failure_log_file: x}]\n";
        let review = review_text(text);
        let expected = |outcome| {
            NOT_BUILT
                .iter()
                .filter(|entry| entry.outcome == outcome)
                .map(|entry| entry.setting)
                .collect::<Vec<_>>()
        };
        let found = |sentences: &[String]| {
            NOT_BUILT
                .iter()
                .map(|entry| entry.setting)
                .filter(|setting| sentences.iter().any(|text| text.starts_with(setting)))
                .collect::<Vec<_>>()
        };
        assert_eq!(found(&review.fatal), expected(Refused));
        assert_eq!(found(&review.warnings), expected(Warned));
    }
}
