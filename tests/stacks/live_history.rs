//! History that is there before the first scrape: what scrapes of a stack's script would have stored,
//! pushed by remote write.

use std::collections::{BTreeMap, BTreeSet};

use narthex_storage::Timestamp;

use super::{
    exporter::{LabelMap, Script},
    scene::Scene,
};
use crate::harness::{Pushed, Server};

/// Script time that goes into one request: Prometheus refuses what is more than an hour older than
/// the newest sample of a fresh store, so that all series move on together.
const SLICE_SECONDS: u32 = 1_200;

/// The value that ends a series.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// A stretch of script time, in whole seconds, and where it lies on the wall clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    pub(super) from: i64,
    /// Not included.
    pub(super) until: i64,
    /// From scrape to scrape.
    pub(super) step: u32,
    /// The wall time of script time 0, in milliseconds.
    pub(super) origin: Timestamp,
    /// How many times faster than the wall clock the script runs.
    pub(super) speed: u32,
}

/// The labels that a scrape adds to each target's samples, in the order of the script's targets, as
/// the running server says.
pub(super) fn target_labels(server: &Server, scene: &Scene) -> Vec<LabelMap> {
    let answer = server.get("/api/v1/targets?state=active").json();
    let active = answer["data"]["activeTargets"].as_array().unwrap();
    let targets = scene.script.targets.iter();
    targets
        .map(|target| {
            let url = format!("http://{}/", scene.real(&target.address));
            let found = active
                .iter()
                .find(|one| one["scrapeUrl"].as_str().unwrap().starts_with(&url));
            let found = found.unwrap_or_else(|| panic!("{url}: {answer}"));
            assert_eq!(
                found["scrapeInterval"], "1d",
                "no scrape before the history"
            );
            serde_json::from_value(found["labels"].clone()).unwrap()
        })
        .collect()
}

/// Pushes the stretch; everything must be taken.
pub(super) fn push(server: &Server, script: &Script, labels: &[LabelMap], stretch: Stretch) {
    let Stretch { from, until, .. } = stretch;
    let mut known = vec![BTreeSet::new(); script.targets.len()];
    let mut start = from;
    while start < until {
        let end = until.min(start + i64::from(SLICE_SECONDS));
        let slice = Stretch {
            from: start,
            until: end,
            ..stretch
        };
        let series = series(script, labels, slice, &mut known);
        for batch in series.chunks(500) {
            let answer = server.push(batch);
            assert!(answer.status == 204, "{}: {}", answer.status, answer.text());
        }
        start = end;
    }
}

/// What scrapes would have stored; `known` are each target's series of the scrape before.
fn series(
    script: &Script,
    labels: &[LabelMap],
    stretch: Stretch,
    known: &mut [BTreeSet<LabelMap>],
) -> Vec<Pushed> {
    let mut all: BTreeMap<LabelMap, Vec<(Timestamp, f64)>> = BTreeMap::new();
    let speed = f64::from(stretch.speed);
    for at in (stretch.from..stretch.until).step_by(stretch.step as usize) {
        let wall = stretch.origin + at * 1_000 / i64::from(stretch.speed);
        for (index, target) in script.targets.iter().enumerate() {
            let named = |name: &str, own: &LabelMap| {
                let mut series = own.clone();
                series.extend(labels[index].clone());
                series.insert("__name__".to_owned(), name.to_owned());
                series
            };
            let is_up = target.is_up(at as f64);
            let up = named("up", &LabelMap::new());
            all.entry(up)
                .or_default()
                .push((wall, f64::from(u8::from(is_up))));
            let mut seen = BTreeSet::new();
            if is_up {
                for sample in target.samples(at as f64, speed) {
                    let series = named(&sample.name, &sample.labels);
                    seen.insert(series.clone());
                    all.entry(series).or_default().push((wall, sample.value));
                }
            }
            for ended in known[index].difference(&seen) {
                let stale = (wall, f64::from_bits(STALE));
                all.entry(ended.clone()).or_default().push(stale);
            }
            known[index] = seen;
        }
    }
    all.into_iter()
        .map(|(labels, samples)| Pushed {
            labels: labels.into_iter().collect(),
            samples,
        })
        .collect()
}
