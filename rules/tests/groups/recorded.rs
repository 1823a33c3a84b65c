//! A run of Prometheus 3.5.3, replayed: rules that depend on the time alone, evaluated every second,
//! with a reload behind the twenty-sixth and a restart behind the fortieth. Every sample that it
//! stored and every alert that it sent must come out alike.
//!
//! The flags were `--rules.alert.resend-delay=3s --rules.alert.for-grace-period=5s`. What was sent in
//! the first seconds of each life got lost, for Prometheus looks for Alertmanagers every five.

use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

use narthex_rules::UpdateSettings;
use narthex_storage::{
    Budget, Labels, Queryable, Select, TimeRange, Timestamp, Wants, is_stale_marker,
};

use crate::world::{Times, World, file};

const BEFORE: &str = include_str!("../corpus/recorded/before.yml");
const AFTER: &str = include_str!("../corpus/recorded/after.yml");
const SAMPLES: &str = include_str!("../corpus/recorded/samples.txt");
const ALERTS: &str = include_str!("../corpus/recorded/alerts.txt");

/// What the times in the recording count from.
const ORIGIN: Timestamp = 1_795_253_400_000;
/// When the new file was loaded.
const RELOAD: Timestamp = ORIGIN + 109_750;
/// When the server was started again.
const RESTART: Timestamp = ORIGIN + 129_780;

/// `{labels} time value` of each recorded sample, ascending.
fn recorded_samples() -> BTreeSet<(String, Timestamp, String)> {
    let mut samples = BTreeSet::new();
    let mut series = "";
    for line in SAMPLES.lines() {
        let Some(row) = line.strip_prefix("  ") else {
            series = line;
            continue;
        };
        for sample in row.split(' ') {
            let (time, value) = sample.split_once('=').unwrap();
            let time: Timestamp = time.parse().unwrap();
            samples.insert((series.to_owned(), ORIGIN + time, value.to_owned()));
        }
    }
    samples
}

/// All samples of the store in the same form.
fn stored_samples(world: &World) -> BTreeSet<(String, Timestamp, String)> {
    let budget = Budget::unlimited();
    let querier = world.db.querier(TimeRange::ALL).unwrap();
    let request = Select {
        matchers: &[],
        range: TimeRange::ALL,
        limit: None,
        wants: Wants::Samples,
    };
    let selection = querier.select(&request, &budget).unwrap();
    let mut scan = selection.scan(TimeRange::ALL, &budget);
    let mut samples = BTreeSet::new();
    for (index, series) in selection.series().iter().enumerate() {
        scan.seek(index).unwrap();
        while let Some(run) = scan.next_run().unwrap() {
            let (mut times, mut values) = (vec![0; run.len()], vec![0.0; run.len()]);
            run.times(&mut times).unwrap();
            run.values(&mut values).unwrap();
            for (time, value) in times.into_iter().zip(values) {
                let value = if is_stale_marker(value) {
                    "NaN".to_owned()
                } else {
                    value.to_string()
                };
                samples.insert((series.labels.to_string(), time, value));
            }
        }
    }
    samples
}

/// When a group was evaluated, told by the samples of a rule that records every time.
fn times_of(name: &str, offset: i64) -> impl Iterator<Item = Timestamp> {
    let start = format!("{{__name__=\"{name}\"");
    recorded_samples()
        .into_iter()
        .filter(move |(series, _, _)| series.starts_with(&start))
        .map(move |(_, time, _)| time + offset)
}

#[test]
fn a_recorded_run_comes_out_alike() {
    let mut world = World::with(Times {
        grace: Duration::from_secs(5),
        resend: Duration::from_secs(3),
    });
    let settings = UpdateSettings {
        interval: Duration::from_secs(1),
        query_offset: Duration::ZERO,
        external_labels: Labels::empty(),
    };
    let mut steps: BTreeSet<(Timestamp, &str)> =
        times_of("tick", 0).map(|time| (time, "a")).collect();
    steps.extend(times_of("tock", 2000).map(|time| (time, "b")));
    steps.insert((RELOAD, "reload"));
    steps.insert((RESTART, "restart"));
    world.manager.update(vec![file(BEFORE)], &settings);
    for (time, step) in steps {
        world.clock.0.store(time, Ordering::Relaxed);
        match step {
            "reload" => world.manager.update(vec![file(AFTER)], &settings),
            "restart" => {
                world.restart();
                world.manager.update(vec![file(AFTER)], &settings);
            }
            name => {
                let groups = world.manager.groups();
                let group = groups.iter().find(|group| group.name() == name).unwrap();
                group.evaluate(time);
            }
        }
    }
    let (expected, got) = (recorded_samples(), stored_samples(&world));
    let missing: Vec<_> = expected.difference(&got).collect();
    let surplus: Vec<_> = got.difference(&expected).collect();
    assert_eq!((missing, surplus), (Vec::new(), Vec::new()));
    compare_alerts(&world);
}

/// Alerts that were sent while Prometheus knew where to.
fn compare_alerts(world: &World) {
    const KNOWN: [(i64, i64); 2] = [(90_000, 123_700), (136_000, 155_700)];
    let is_known = |sent: i64| KNOWN.iter().any(|(from, to)| (*from..*to).contains(&sent));
    // A firing alert tells when it was sent: it is valid for four times the resend delay.
    let sent_at = |line: &str| {
        let mut fields = line.split(" | ");
        let ends: i64 = fields.nth(1).unwrap().parse().unwrap();
        match fields.next().unwrap() {
            "firing" => ends - 12_000,
            _ => ends,
        }
    };
    let expected: BTreeSet<String> = ALERTS
        .lines()
        .filter(|line| is_known(sent_at(line)))
        .map(str::to_owned)
        .collect();
    let messages = world.sink.sent.lock().unwrap();
    let got: BTreeSet<String> = messages
        .iter()
        .map(|(time, alert)| {
            let annotations: Vec<String> = alert
                .annotations
                .iter()
                .map(|(name, value)| format!("{name}={value:?}"))
                .collect();
            format!(
                "{} | {} | {} | {} | {} | {}",
                alert.starts_at - ORIGIN,
                alert.ends_at - ORIGIN,
                if alert.ends_at > *time {
                    "firing"
                } else {
                    "resolved"
                },
                alert.labels,
                annotations.join(", "),
                alert.generator_url
            )
        })
        .filter(|line| is_known(sent_at(line)))
        .collect();
    let missing: Vec<_> = expected.difference(&got).collect();
    let surplus: Vec<_> = got.difference(&expected).collect();
    assert_eq!((missing, surplus), (Vec::new(), Vec::new()));
    assert!(expected.len() > 80, "only {} alerts", expected.len());
}
