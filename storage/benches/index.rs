//! The index of a block and of the series in memory: size, building, finding, selecting.
//!
//! Times are processor time, but for the first of a selector. `NARTHEX_INDEX_SERIES` (1000000) series with eight labels as Kubernetes has them: 500 metrics of
//! 2000 pods. Then the same for a scraped set: 40 targets with histograms.
#![expect(clippy::unwrap_used, reason = "a bench ends at what it did not expect")]
#![expect(clippy::print_stdout, reason = "the figures are the purpose")]
#![expect(clippy::disallowed_methods, reason = "a bench takes the time")]

#[path = "common/parameter.rs"]
mod parameter;
#[path = "common/processor.rs"]
mod processor;

use std::{hint::black_box, time::Instant};

use narthex_storage::{
    Labels, MatchOp, Matcher,
    internals::{Index, Recent},
};
use parameter::parameter;
use processor::processor_seconds;

const METRICS: u64 = 500;

/// Series `number` of pods with five hundred metrics each.
fn pod_labels(number: u64) -> Labels {
    let (pod, metric) = (number / METRICS, number % METRICS);
    let mixed = pod.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    Labels::from_pairs([
        ("__name__", format!("application_metric_{metric:03}_total")),
        ("cluster", "production-1".to_owned()),
        ("container", format!("container-{}", pod % 20)),
        (
            "instance",
            format!("10.{}.{}.{}:8080", pod % 7, pod / 250 % 250, pod % 250),
        ),
        ("job", format!("service-{}", pod % 60)),
        ("namespace", format!("namespace-{}", pod % 12)),
        ("node", format!("node-{}.example.internal", mixed % 200)),
        ("pod", format!("service-{}-{mixed:06x}-{pod:05}", pod % 60)),
    ])
}

/// Series `number` of forty targets with requests by handler, code and bucket.
fn scraped_labels(number: u64) -> Labels {
    let (target, rest) = (number % 40, number / 40);
    let (bucket, rest) = (rest % 12, rest / 12);
    let (code, rest) = (rest % 4, rest / 4);
    let (handler, metric) = (rest % 25, rest / 25);
    Labels::from_pairs([
        ("__name__", format!("http_request_{metric}_seconds_bucket")),
        ("code", (200 + code * 100).to_string()),
        ("handler", format!("/api/v1/resource/{handler}")),
        ("instance", format!("host-{target}.example.org:9100")),
        ("job", format!("job-{}", target / 10)),
        ("le", format!("{}", 0.005 * f64::from(1 << bucket))),
    ])
}

/// Seconds of processor time.
fn seconds<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let start = processor_seconds();
    let result = black_box(work());
    (processor_seconds() - start, result)
}

/// Microseconds: the first time by the clock, and the times after in processor time.
fn times<T>(mut work: impl FnMut() -> T) -> (f64, f64) {
    let start = Instant::now();
    black_box(work());
    let first = start.elapsed().as_secs_f64();
    let (mut rounds, mut after) = (1, 0.0);
    // The kernel counts processor time in ticks.
    while after < 0.1 && rounds < 1 << 20 {
        rounds *= 2;
        after = seconds(|| (0..rounds).for_each(|_| drop(black_box(work())))).0;
    }
    (first * 1e6, after * 1e6 / f64::from(rounds))
}

fn measure(title: &str, labels: impl Fn(u64) -> Labels, count: u64) -> Index {
    println!("{title}: {count} series");
    let mut sorted: Vec<(u32, Labels)> = (0..count)
        .map(|number| (number as u32, labels(number)))
        .collect();
    let per_series = 1e9 / count as f64;

    let mut recent = Recent::default();
    let (time, ()) = seconds(|| {
        for (id, labels) in &sorted {
            recent.insert(*id, labels);
        }
    });
    println!(
        "  in memory: insert {:.0} ns, {:.1} bytes a series",
        time * per_series,
        recent.bytes() as f64 / count as f64
    );
    let (time, ()) = seconds(|| {
        for (id, labels) in &sorted {
            assert_eq!(recent.find(labels), Some(*id));
        }
    });
    println!("  in memory: find {:.0} ns", time * per_series);

    sorted.sort_by(|a, b| a.1.cmp(&b.1));
    let entries = || sorted.iter().map(|(id, labels)| (*id, labels));
    let (time, plain) = seconds(|| Index::build(entries(), false));
    println!("  block: build {:.0} ns", time * per_series);
    let (time, index) = seconds(|| Index::build(entries(), true));
    println!("  block: build with lookup {:.0} ns", time * per_series);
    let bytes = |bytes: usize| bytes as f64 / count as f64;
    for (section, size) in index.bytes() {
        println!("    {section}: {:.2} bytes a series", bytes(*size));
    }
    let all = |index: &Index| index.bytes().iter().map(|(_, size)| size).sum::<usize>();
    println!(
        "    together: {:.2}, with lookup {:.2}",
        bytes(all(&plain)),
        bytes(all(&index))
    );
    for (title, index) in [("lookup", &index), ("search", &plain)] {
        let (time, ()) = seconds(|| {
            for (_, labels) in sorted.iter().step_by(37) {
                assert!(index.find(labels).is_some());
            }
        });
        println!(
            "  block: find by {title} {:.0} ns",
            time * per_series * 37.0
        );
    }
    let (time, _) = seconds(|| index.read(0..count as u32));
    println!("  block: read labels in order {:.0} ns", time * per_series);
    let (time, _) = seconds(|| index.read((0..count as u32).rev().step_by(37)));
    println!(
        "  block: read labels at random {:.0} ns",
        time * per_series * 37.0
    );
    let (time, _) = seconds(|| index.rewrite());
    println!("  block: rewrite {:.0} ns", time * per_series);
    index
}

fn selector(index: &Index, matchers: &[(&str, MatchOp, &str)]) {
    let matchers: Vec<Matcher> = matchers
        .iter()
        .map(|(name, op, value)| Matcher::new(*name, *op, *value).unwrap())
        .collect();
    let found = index.select(&matchers).len();
    let (first, after) = times(|| index.select(&matchers));
    let text: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    println!(
        "  {{{}}}: {found} series, first {first:.0} us, then {after:.0} us",
        text.join(", ")
    );
}

fn main() {
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    let count = parameter("NARTHEX_INDEX_SERIES", 1_000_000);
    let index = measure("pods", pod_labels, count);
    let metric = ("__name__", Equal, "application_metric_007_total");
    selector(&index, &[metric, ("job", Equal, "service-7")]);
    selector(&index, &[metric, ("instance", Regex, "10.1.*")]);
    selector(
        &index,
        &[
            metric,
            ("pod", Regex, "service-7-.*"),
            ("node", NotEqual, "node-3"),
        ],
    );
    selector(&index, &[("job", Equal, "service-7")]);
    selector(
        &index,
        &[
            ("namespace", NotRegex, "namespace-1.*"),
            ("job", Equal, "service-7"),
        ],
    );
    selector(&index, &[("pod", Equal, "service-7-ccccc-00007"), metric]);
    let some = index.select(&[Matcher::equal("__name__", "application_metric_007_total")]);
    let (first, after) = times(|| index.count_values("pod", Some(&some)));
    println!(
        "  values of pod among {}: first {first:.0} us, then {after:.0} us",
        some.len()
    );
    let (first, after) = times(|| index.count_values("pod", None));
    println!("  values of pod: first {first:.0} us, then {after:.0} us");
    drop(index);

    measure("scraped", scraped_labels, count.min(200_000));

    let values = 100_000;
    let value = |number: u64| format!("{:08x}-session", number.wrapping_mul(0x9e37_79b9) as u32);
    let mut sets: Vec<Labels> = (0..values)
        .map(|number| Labels::from_pairs([("__name__", "m".to_owned()), ("x", value(number))]))
        .collect();
    sets.sort();
    let index = Index::build((0..).zip(&sets), false);
    println!("one name with {values} values");
    for pattern in [
        ".*abc.*",
        ".*abc.*def.*",
        "abc.*",
        ".*abc-session",
        "a|b|c",
        "[a-f]+.*",
        ".*(abc|def).*",
        ".+abc.+",
    ] {
        selector(&index, &[("x", Regex, pattern)]);
        selector(&index, &[("x", NotRegex, pattern)]);
    }
    let mut recent = Recent::default();
    for (id, labels) in (0..).zip(&sets) {
        recent.insert(id, labels);
    }
    let matchers = [Matcher::new("x", Regex, ".*abc.*").unwrap()];
    let (first, after) = times(|| recent.select(&matchers));
    println!("  in memory .*abc.*: first {first:.0} us, then {after:.0} us");
}
