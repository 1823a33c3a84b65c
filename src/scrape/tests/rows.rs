//! Bodies into rows, without a network: what is kept, what is refused, what the cache may not change.

use std::{collections::BTreeMap, env, sync::Arc};

use bytes::Bytes;
use narthex_storage::{
    Budget, Db, DbOptions, Labels, METRIC_NAME, Queryable as _, RealFs, STALE_MARKER_BITS, Select,
    SystemClock, TimeRange, Wants,
};
use proptest::prelude::*;

use super::store::{MemoryStore, Series};
use crate::{
    config::{ScrapeConfig, ScrapeLimits, TargetGroup},
    relabel::{Action, RelabelConfig},
    scrape::{
        client::ScrapeClient,
        content_type::Exposed,
        exposition::{Entry, Format, Parser},
        pool::{ScrapeJob, Settings},
        rows::{Counts, Rows},
        target::{Relabelled, relabel_group},
    },
};

fn settings(change: impl FnOnce(&mut ScrapeConfig), type_and_unit_labels: bool) -> Settings {
    let mut config = ScrapeConfig::new("j");
    change(&mut config);
    let group = TargetGroup {
        targets: vec![Labels::from_pairs([("__address__", "h:1")])],
        ..TargetGroup::default()
    };
    let Some(Relabelled::Active(spec)) = relabel_group(&config, &group).pop() else {
        panic!("the target is scraped");
    };
    let client = ScrapeClient::new(&config).unwrap();
    Settings {
        job: Arc::new(ScrapeJob {
            config,
            client,
            type_and_unit_labels,
        }),
        spec: *spec,
        forced_error: None,
    }
}

/// Feeds bodies at 1000, 2000, …; answers each one's counts or error.
struct Feed {
    settings: Settings,
    store: MemoryStore,
    rows: Rows,
    time: i64,
    format: Format,
}

impl Feed {
    fn new(change: impl FnOnce(&mut ScrapeConfig)) -> Self {
        Self::with(settings(change, false), Format::Text)
    }

    /// OpenMetrics bodies, and samples with labels of their type and unit.
    fn with_metadata_labels() -> Self {
        Self::with(settings(|_| {}, true), Format::OpenMetrics)
    }

    fn with(settings: Settings, format: Format) -> Self {
        let store = MemoryStore::default();
        let rows = Rows::open(&store, "k").unwrap();
        Self {
            settings,
            store,
            rows,
            time: 0,
            format,
        }
    }

    fn body(&mut self, body: &str) -> Result<Counts, String> {
        self.time += 1000;
        let mut counts = Counts::default();
        let body = Bytes::copy_from_slice(body.as_bytes());
        let format = Exposed {
            format: self.format,
        };
        let outcome = self
            .rows
            .fill(&self.settings, self.time, &body, format, &mut counts);
        self.rows.commit(&self.settings, None, &mut counts).unwrap();
        outcome.map(|()| counts)
    }
}

fn counts(scraped: u64, kept: u64, added: u64) -> Counts {
    Counts {
        scraped,
        kept,
        added,
        ..Counts::default()
    }
}

#[test]
fn a_vanished_series_ends_with_a_marker_and_a_bad_body_ends_all() {
    let mut feed = Feed::new(|_| {});
    assert_eq!(feed.body("a 1\nb 1\n"), Ok(counts(2, 2, 2)));
    assert_eq!(feed.body("a 1\n"), Ok(counts(1, 1, 0)));
    let error = feed.body("a 5\nx y\n").unwrap_err();
    assert_eq!(
        error,
        "strconv.ParseFloat: parsing \"y\": invalid syntax while parsing: \"x y\""
    );
    assert_eq!(feed.body("a 2\nb 2\n"), Ok(counts(2, 2, 1)));
    assert_eq!(
        feed.store.text(),
        "{__name__=\"a\", instance=\"h:1\", job=\"j\"} 1@1000 1@2000 stale@3000 2@4000\n\
         {__name__=\"b\", instance=\"h:1\", job=\"j\"} 1@1000 stale@2000 2@4000\n"
    );
}

#[test]
fn metadata_is_handed_over_when_a_body_says_something_new() {
    let mut feed = Feed::new(|_| {});
    let a = "# HELP a the\\na\n# TYPE a counter\na 1\n";
    let b = "# TYPE b gauge\nb 1\n";
    let said_a = "a counter the\na";
    for (body, said) in [
        (format!("{a}{b}"), vec![said_a, "b gauge "]),
        (format!("{a}{b}"), vec![]),
        (format!("{a}b 2\n"), vec![]),
        (format!("# any\n{b}{a}"), vec![said_a, "b gauge "]),
        // One line less, and one that is new: all of the body's families are given.
        (
            format!("# HELP b the b\n{b}{a}"),
            vec![said_a, "b gauge the b"],
        ),
        // Nothing of a bad body, and everything of the next.
        (format!("# HELP b other\n{a}x y\n"), vec![]),
        (a.to_owned(), vec![said_a]),
        (a.to_owned(), vec![]),
    ] {
        let is_good = !body.contains('x');
        assert_eq!(feed.body(&body).is_ok(), is_good, "{body}");
        assert_eq!(feed.store.families(), said, "{body}");
    }
    feed.rows.forget_lines();
    feed.body(a).unwrap();
    assert_eq!(feed.store.families(), [said_a]);
    // Now and then all of it is given again.
    let again = (0..128).filter(|_| {
        feed.body(a).unwrap();
        !feed.store.families().is_empty()
    });
    assert_eq!(again.count(), 2);
}

#[test]
fn the_second_sample_of_a_series_in_a_body_is_refused_and_counted() {
    let mut feed = Feed::new(|_| {});
    let expected = Counts {
        duplicate: 1,
        ..counts(2, 2, 1)
    };
    assert_eq!(feed.body("a 1\na 2\n"), Ok(expected));
    // The line that was refused stands first now, and its text is known.
    assert_eq!(feed.body("b 1\na 2\n"), Ok(counts(2, 2, 1)));
    let a = "{__name__=\"a\", instance=\"h:1\", job=\"j\"}";
    assert_eq!(feed.store.series()[a], [(1000, 1.0), (2000, 2.0)]);
}

#[test]
fn unchanged_lines_are_repeated_without_reading_their_value() {
    let mut feed = Feed::new(|_| {});
    feed.body("a 1\nb 2\nc 3\n").unwrap();
    feed.body("a 1\nb 2\nc 4\n").unwrap();
    assert_eq!(feed.store.repeated(), 2);
    // The row before is that of a refused body: nothing can be repeated.
    feed.body("a\n").unwrap_err();
    feed.body("a 1\nb 2\nc 4\n").unwrap();
    assert_eq!(feed.store.repeated(), 2);
}

#[test]
fn limits_fail_the_body_in_prometheus_words() {
    type Change = fn(&mut ScrapeLimits);
    let cases: [(Change, &str, &str); 4] = [
        (
            |limits| limits.samples = 2,
            "a 1\nb 1\nc 1\n",
            "sample limit exceeded",
        ),
        (
            |limits| limits.labels = 3,
            "metric_name{b=\"c\",d=\"e\"} 1\n",
            "label_limit exceeded (metric: metric_name, number of labels: 5, limit: 3)",
        ),
        (
            |limits| limits.label_name_bytes = 10,
            "metric_name{bbbbbbbbbbbbbbbb=\"c\"} 1\n",
            "label_name_length_limit exceeded (metric: metric_name, label name: bbbbbbbbbbbbbbbb, length: 16, limit: 10)",
        ),
        (
            |limits| limits.label_value_bytes = 11,
            "metric_name{b=\"cccccccccccc\"} 1\n",
            "label_value_length_limit exceeded (metric: metric_name, label name: b, value: \"cccccccccccc\", length: 12, limit: 11)",
        ),
    ];
    for (change, body, expected) in cases {
        let mut feed = Feed::new(|config| change(&mut config.limits));
        assert_eq!(feed.body(body), Err(expected.to_owned()));
        assert_eq!(feed.store.text(), "");
    }
    let mut feed = Feed::new(|config| config.limits.samples = 2);
    assert_eq!(feed.body("a 1\nb 1\n"), Ok(counts(2, 2, 2)));
    feed.body("a 1\nb 1\nc 1\nd 1\n").unwrap_err();
    assert_eq!(
        feed.store.columns(),
        2,
        "series beyond the limit are not created"
    );
}

#[test]
fn clashing_labels_move_aside_unless_honoured() {
    let keep = |honor: bool, body: &str| {
        let mut feed = Feed::new(|config| config.honor_labels = honor);
        feed.body(body).unwrap();
        feed.store.series().into_keys().next().unwrap()
    };
    assert_eq!(
        keep(false, "a{exported_job=\"z\",job=\"q\"} 1\n"),
        r#"{__name__="a", exported_exported_job="q", exported_job="z", instance="h:1", job="j"}"#
    );
    assert_eq!(
        keep(true, "a{job=\"x\",instance=\"\"} 1\n"),
        r#"{__name__="a", job="x"}"#
    );
}

#[test]
fn relabelling_drops_and_merges_series() {
    let rule = |action, regex: &str| RelabelConfig {
        source_labels: vec![METRIC_NAME.to_owned()],
        regex: Some(narthex_storage::Regex::new(regex).unwrap()),
        action,
        ..RelabelConfig::default()
    };
    let mut feed = Feed::new(|config| {
        let mut drop_label = rule(Action::LabelDrop, "x");
        drop_label.source_labels.clear();
        config.metric_relabel_configs = vec![rule(Action::Drop, "b"), drop_label];
    });
    let merged = Counts {
        duplicate: 1,
        ..counts(3, 2, 2)
    };
    assert_eq!(
        feed.body("a{x=\"1\"} 1\nb 1\na{x=\"2\"} 2\n"),
        Ok(merged.clone())
    );
    let again = Counts { added: 0, ..merged };
    assert_eq!(feed.body("a{x=\"1\"} 1\nb 1\na{x=\"2\"} 2\n"), Ok(again));
    assert_eq!(
        feed.store.text(),
        "{__name__=\"a\", instance=\"h:1\", job=\"j\"} 1@1000 1@2000\n"
    );
    let mut feed = Feed::new(|config| {
        let mut nameless = rule(Action::LabelDrop, METRIC_NAME);
        nameless.source_labels.clear();
        config.metric_relabel_configs = vec![nameless];
    });
    let error = "missing metric name (__name__ label)";
    assert_eq!(feed.body("a 1\n"), Err(error.to_owned()));
}

#[test]
fn explicit_timestamps_are_kept_ignored_or_tracked() {
    let mut feed = Feed::new(|_| {});
    feed.body("a 1 500\n").unwrap();
    feed.body("b 1\n").unwrap();
    let text = feed.store.text();
    assert!(
        text.starts_with("{__name__=\"a\", instance=\"h:1\", job=\"j\"} 1@500\n"),
        "{text}"
    );
    let mut feed = Feed::new(|config| config.honor_timestamps = false);
    feed.body("a 1 500\n").unwrap();
    let text = feed.store.text();
    assert!(text.ends_with("} 1@1000\n"), "{text}");
    let mut feed = Feed::new(|config| config.track_timestamps_staleness = true);
    feed.body("a 1 500\n").unwrap();
    feed.body("a 2 600\n").unwrap();
    feed.body("b 1\n").unwrap();
    feed.body("b 1\n").unwrap();
    let text = feed.store.text();
    assert!(text.contains(" 1@500 2@600 stale@3000\n"), "{text}");
}

/// Every sample of a database.
fn contents(db: &Db) -> Series {
    let querier = db.querier(TimeRange::ALL).unwrap();
    let budget = Budget::unlimited();
    let request = Select {
        matchers: &[],
        range: TimeRange::ALL,
        limit: None,
        wants: Wants::Samples,
    };
    let selection = querier.select(&request, &budget).unwrap();
    let mut scan = selection.scan(TimeRange::ALL, &budget);
    let mut all = Series::new();
    for (index, series) in selection.series().iter().enumerate() {
        scan.seek(index).unwrap();
        let samples = all.entry(series.labels.to_string()).or_default();
        while let Some(run) = scan.next_run().unwrap() {
            let (mut times, mut values) = (vec![0; run.len()], vec![0.0; run.len()]);
            run.times(&mut times).unwrap();
            run.values(&mut values).unwrap();
            samples.extend(times.into_iter().zip(values));
        }
    }
    all
}

/// What a server without any cache would hold after these bodies; with labels of metadata, of OpenMetrics bodies.
fn naive(bodies: &[String], metadata_labels: bool) -> Series {
    let format = if metadata_labels {
        Format::OpenMetrics
    } else {
        Format::Text
    };
    let mut series: Series = BTreeMap::new();
    let mut previous: Vec<String> = Vec::new();
    for (index, body) in bodies.iter().enumerate() {
        let time = 1000 * (index as i64 + 1);
        let mut parser = Parser::new(body.as_bytes(), format);
        parser.add_metadata_labels(metadata_labels);
        let mut samples: Vec<(String, f64, Option<i64>)> = Vec::new();
        let mut texts: BTreeMap<Vec<u8>, String> = BTreeMap::new();
        let mut failed = false;
        loop {
            match parser.next_entry() {
                Ok(Some(Entry::Sample {
                    value,
                    time,
                    series,
                })) => {
                    let mut labels = parser.labels().unwrap().to_builder();
                    labels.set("instance", "h:1").set("job", "j");
                    let labels = labels.build().to_string();
                    let labels = if metadata_labels {
                        labels
                    } else {
                        texts.entry(series.to_vec()).or_insert(labels).clone()
                    };
                    samples.push((labels, value, time));
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => {
                    failed = true;
                    break;
                }
            }
        }
        if failed {
            samples.clear();
        }
        let mut present: Vec<String> = Vec::new();
        for (labels, value, own) in &samples {
            if own.is_none() && !present.contains(labels) {
                present.push(labels.clone());
                let kept = series.entry(labels.clone()).or_default();
                if kept.last().is_none_or(|(last, _)| *last < time) {
                    kept.push((time, *value));
                }
            }
        }
        for labels in previous.iter().filter(|labels| !present.contains(labels)) {
            let kept = series.get_mut(labels).unwrap();
            kept.push((time, f64::from_bits(STALE_MARKER_BITS)));
        }
        previous = present;
    }
    series
}

/// The lines at these places, those of samples with these values.
fn text_of(lines: &[&str], picked: &[(usize, u8)]) -> String {
    let mut text = String::new();
    for (line, value) in picked {
        let line = lines[*line];
        text.push_str(line);
        if !line.starts_with('#') {
            text.push_str([" 0", " 1", " 2"][usize::from(*value)]);
        }
        text.push('\n');
    }
    text
}

fn bits(series: Series) -> BTreeMap<String, Vec<(i64, u64)>> {
    let samples = |samples: Vec<(i64, f64)>| {
        let samples = samples.into_iter();
        samples
            .map(|(time, value)| (time, value.to_bits()))
            .collect()
    };
    let all = series.into_iter();
    all.map(|(labels, all)| (labels, samples(all))).collect()
}

#[test]
fn a_series_is_another_when_its_type_or_unit_is() {
    let mut feed = Feed::with_metadata_labels();
    for (kind, unit) in [
        ("gauge", "# UNIT a_b b\n"),
        ("counter", ""),
        ("gauge", "# UNIT a_b b\n"),
    ] {
        let body = format!("# TYPE a_b {kind}\n{unit}a_b 1\nc{{__type__=\"own\"}} 2\n# EOF\n");
        feed.body(&body).unwrap();
    }
    let target = "instance=\"h:1\", job=\"j\"";
    let with_unit = format!("__type__=\"gauge\", __unit__=\"b\", {target}");
    let without = format!("__type__=\"counter\", {target}");
    assert_eq!(
        feed.store.text(),
        format!(
            "{{__name__=\"a_b\", {without}}} 1@2000 stale@3000\n\
             {{__name__=\"a_b\", {with_unit}}} 1@1000 stale@2000 1@3000\n\
             {{__name__=\"c\", {without}}} 2@2000 stale@3000\n\
             {{__name__=\"c\", {with_unit}}} 2@1000 stale@2000 2@3000\n"
        )
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        env::var("NARTHEX_PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(96)
    ))]

    /// Lines that come, go, move, repeat and change give what reading each body afresh gives.
    #[test]
    fn the_line_cache_changes_nothing(
        bodies in proptest::collection::vec(
            proptest::collection::vec((0_usize..14, 0_u8..3), 0..12), 1..8
        ),
    ) {
        let lines = [
            "a", "b", "c", "d{x=\"1\"}", "d{x=\"2\"}", "e{le=\"1\"}", "f", "# TYPE e histogram",
            "# HELP a b", "{\"a\"}", "a{x=\"\"}", "# TYPE e gauge", "ab", "# x",
        ];
        let bodies: Vec<String> = bodies.iter().map(|body| {
            let text = text_of(&lines, body);
            // Now and then the last line has no line break, or the body is malformed.
            match body.len() {
                5 => text.trim_end().to_owned(),
                7 => format!("{text}a x\n"),
                _ => text,
            }
        }).collect();
        // What a text means is fixed by its first reading; bounds that change kind between bodies
        // are left out here.
        let has_kinds = bodies.iter().any(|body| body.contains("# TYPE"));
        let bodies: Vec<String> = bodies.iter().map(|body| {
            if has_kinds { body.replace("e{le=\"1\"}", "e") } else { body.clone() }
        }).collect();
        let mut feed = Feed::new(|_| {});
        for body in &bodies {
            let _failed = feed.body(body);
        }
        prop_assert_eq!(bits(feed.store.series()), bits(naive(&bodies, false)));
        // The database takes the same rows, unchanged ranges included.
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::new());
        let options = DbOptions::new(folder.path(), Arc::new(RealFs), clock);
        let (db, _) = Db::open(&options).unwrap();
        feed.rows = Rows::open(&db, "k").unwrap();
        feed.time = 0;
        for body in &bodies {
            let _failed = feed.body(body);
        }
        prop_assert_eq!(bits(contents(&db)), bits(naive(&bodies, false)));
    }

    /// The same where a sample's labels depend on the lines of metadata before it.
    #[test]
    fn the_line_cache_changes_nothing_where_types_are_labels(
        bodies in proptest::collection::vec(
            proptest::collection::vec((0_usize..12, 0_u8..2), 0..14), 1..8
        ),
    ) {
        let lines = [
            "a", "b", "c", "d{__type__=\"own\"}", "e_s", "f", "# TYPE a gauge", "# TYPE a counter", "# UNIT e_s s",
            "# UNIT e_s ", "# HELP a b", "# TYPE a unknown",
        ];
        let bodies: Vec<String> = bodies.iter().map(|body| {
            let mut text = text_of(&lines, body);
            let is_malformed = body.len() == 7;
            text.push_str(if is_malformed { "a x\n" } else { "# EOF\n" });
            text
        }).collect();
        let mut feed = Feed::with_metadata_labels();
        for body in &bodies {
            let _failed = feed.body(body);
        }
        prop_assert_eq!(bits(feed.store.series()), bits(naive(&bodies, true)));
    }
}
