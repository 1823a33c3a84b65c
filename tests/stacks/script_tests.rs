//! The scripts against the rule files: with the samples of the script, scraped and evaluated every 15
//! seconds, each alert is pending, firing and resolved when its `phase` line says so, and no other
//! alert is. promtool is the judge: the script becomes a unit-test file.

use std::{collections::BTreeMap, fmt::Write as _, fs};

use tempfile::TempDir;

use super::{
    Promtool,
    exporter::{LabelMap, Script, braces, folder},
    rule_tests::{copy_folder, parts},
};

/// Seconds between two scrapes and two evaluations.
const INTERVAL: u32 = 15;

/// Quiet time before script time 0, in intervals: more than the longest look back, 65 minutes.
const QUIET: u32 = 260;

for_each_stack!(
    the_scripts_lead_every_alert_through_its_phases,
    the_configurations_name_the_targets_of_the_scripts,
    counters_never_fall_and_speed_divides_them
);

fn the_scripts_lead_every_alert_through_its_phases(stack: &str) {
    let script = Script::load(stack);
    let copy = TempDir::new().unwrap();
    copy_folder(&folder(stack), copy.path());
    fs::write(copy.path().join("script.yml"), unit_test(stack, &script)).unwrap();
    for promtool in Promtool::all() {
        let tested = promtool.run(copy.path(), &["test", "rules", "script.yml"]);
        assert_eq!(tested.code, Some(0), "{stack}: {}", tested.stderr);
    }
}

fn the_configurations_name_the_targets_of_the_scripts(stack: &str) {
    let config = fs::read_to_string(folder(stack).join("prometheus.yml")).unwrap();
    let script = Script::load(stack);
    let quoted = |address: &str| {
        config.matches(&format!("\"{address}\"")).count()
            + config.matches(&format!("'{address}'")).count()
    };
    assert_eq!(quoted(&script.alertmanager), 1, "{stack}");
    for target in &script.targets {
        assert_eq!(quoted(&target.address), 1, "{stack}: {}", target.address);
        assert!(
            config
                .lines()
                .any(|line| line.replace('\'', "").trim_start_matches([' ', '-'])
                    == format!("job_name: {}", target.job)),
            "{stack}: {}",
            target.job
        );
    }
}

fn counters_never_fall_and_speed_divides_them(stack: &str) {
    for target in Script::load(stack).targets {
        for minute in -60..60 {
            let at = f64::from(minute) * 60.0;
            let (now, then) = (target.samples(at, 1.0), target.samples(at + 15.0, 1.0));
            let slow = target.samples(at, 60.0);
            assert_eq!(now.len(), then.len());
            for ((now, then), slow) in now.iter().zip(&then).zip(&slow) {
                let counter = ["_total", "_bucket", "_sum", "_count"]
                    .iter()
                    .any(|suffix| now.name.ends_with(suffix));
                if counter && slow.value != now.value {
                    assert!(now.value <= then.value, "{stack}: {now:?} {then:?}");
                    assert!((slow.value * 60.0 - now.value).abs() < 1e-6 * now.value);
                }
            }
        }
    }
}

#[test]
fn a_body_is_the_classic_text_format() {
    let script = Script::load("sidepanel");
    let body = script.targets[0].body(0.0, 1.0);
    assert!(script.targets[0].is_up(0.0));
    for lines in [
        "# HELP sidepanel_ws_active_connections Number of active WebSocket connections\n\
         # TYPE sidepanel_ws_active_connections gauge\n\
         sidepanel_ws_active_connections 8\n",
        // A day of 4 observations of 0.08 s and 1 of 0.3 s a second.
        "sidepanel_request_duration_seconds_bucket{le=\"0.05\",method=\"chat\"} 0\n\
         sidepanel_request_duration_seconds_bucket{le=\"0.1\",method=\"chat\"} 345600\n\
         sidepanel_request_duration_seconds_bucket{le=\"0.25\",method=\"chat\"} 345600\n\
         sidepanel_request_duration_seconds_bucket{le=\"0.5\",method=\"chat\"} 432000\n",
        "sidepanel_request_duration_seconds_bucket{le=\"+Inf\",method=\"chat\"} 432000\n\
         sidepanel_request_duration_seconds_sum{method=\"chat\"} 53568\n\
         sidepanel_request_duration_seconds_count{method=\"chat\"} 432000\n",
    ] {
        assert!(body.contains(lines), "{lines}\nis not in\n{body}");
    }
}

/// The script as a unit-test file: `QUIET` intervals before script time 0 are its time 0.
fn unit_test(stack: &str, script: &Script) -> String {
    let last = script
        .phases
        .iter()
        .map(|phase| phase.resolved)
        .fold(0.0, f64::max);
    let steps = QUIET + (last as u32) / INTERVAL + 20;
    let (mut text, _) = parts(stack);
    writeln!(text, "  - interval: {INTERVAL}s\n    input_series:").unwrap();
    for (series, values) in scraped(script, steps) {
        writeln!(
            text,
            "      - series: '{series}'\n        values: '{values}'"
        )
        .unwrap();
    }
    text.push_str("    promql_expr_test:\n");
    let mut times: Vec<f64> = vec![0.0, f64::from((steps - QUIET) * INTERVAL)];
    for phase in &script.phases {
        assert!(phase.active <= phase.fires && phase.fires < phase.resolved);
        for time in [phase.active, phase.fires, phase.resolved] {
            times.extend([time - f64::from(INTERVAL), time]);
        }
    }
    times.sort_by(f64::total_cmp);
    times.dedup();
    for time in times {
        let mut expected = String::new();
        for phase in &script.phases {
            if phase.active <= time && time < phase.resolved {
                let mut labels = phase.labels.clone();
                let state = if time < phase.fires {
                    "pending"
                } else {
                    "firing"
                };
                labels.insert("alertname".to_owned(), phase.alert.clone());
                labels.insert("alertstate".to_owned(), state.to_owned());
                write!(
                    expected,
                    "\n          - labels: 'ALERTS{}'\n            value: 1",
                    braces(&labels)
                )
                .unwrap();
            }
        }
        if expected.is_empty() {
            expected.push_str(" []");
        }
        writeln!(
            text,
            "      - expr: ALERTS\n        eval_time: {}s\n        exp_samples:{expected}",
            time + f64::from(QUIET * INTERVAL)
        )
        .unwrap();
    }
    text
}

/// Every series with the labels of its scrape, and its values as promtool reads them.
fn scraped(script: &Script, steps: u32) -> BTreeMap<String, String> {
    let mut series: BTreeMap<String, String> = BTreeMap::new();
    for target in &script.targets {
        let scrape = |name: &str, labels: &LabelMap| {
            let mut labels = labels.clone();
            labels.insert("instance".to_owned(), target.address.clone());
            labels.insert("job".to_owned(), target.job.clone());
            format!("{name}{}", braces(&labels))
        };
        for step in 0..steps {
            let at = f64::from(step * INTERVAL) - f64::from(QUIET * INTERVAL);
            let up = target.is_up(at);
            let was_up = target.is_up(at - f64::from(INTERVAL));
            for sample in target.samples(at, 1.0) {
                let values = series
                    .entry(scrape(&sample.name, &sample.labels))
                    .or_default();
                match (up, was_up) {
                    (true, _) => write!(values, "{} ", sample.value).unwrap(),
                    (false, true) => values.push_str("stale "),
                    (false, false) => values.push_str("_ "),
                }
            }
            series
                .entry(scrape("up", &LabelMap::new()))
                .or_default()
                .push_str(if up { "1 " } else { "0 " });
        }
    }
    series
}
