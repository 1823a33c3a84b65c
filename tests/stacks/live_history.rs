//! History that is there before the first scrape: what scrapes of a stack's script would have stored,
//! pushed by remote write.

use narthex_storage::Timestamp;

use super::{
    exporter::{LabelMap, Script, Target},
    scene::Scene,
};
use crate::harness::{Pushed, Server};

/// Script time that goes into one request: Prometheus refuses what is more than an hour older than
/// the newest sample of a fresh store, so that all series move on together.
const SLICE_SECONDS: u32 = 1_200;

/// The value that ends a series.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// A stretch of script time, in whole seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    pub(super) from: i64,
    /// Not included.
    pub(super) until: i64,
    /// From scrape to scrape.
    pub(super) step: u32,
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

/// What scrapes of the stretch would have stored, in requests that are to be sent one after the other;
/// times are counted from script time 0.
pub(super) fn requests(script: &Script, labels: &[LabelMap], stretch: Stretch) -> Vec<Vec<Pushed>> {
    let Stretch { from, until, .. } = stretch;
    let slices = (from..until).step_by(SLICE_SECONDS as usize);
    slices
        .flat_map(|start| {
            let slice = Stretch {
                from: start,
                until: until.min(start + i64::from(SLICE_SECONDS)),
                ..stretch
            };
            let targets = script.targets.iter().zip(labels);
            targets.map(move |(target, labels)| series(target, labels, slice))
        })
        .collect()
}

/// Pushes the requests with script time 0 at `origin`; everything must be taken.
pub(super) fn push(server: &Server, requests: Vec<Vec<Pushed>>, origin: Timestamp) {
    for mut request in requests {
        for series in &mut request {
            for (time, _) in &mut series.samples {
                *time += origin;
            }
        }
        let answer = server.push(&request);
        assert!(answer.status == 204, "{}: {}", answer.status, answer.text());
    }
}

/// One target's series: `up`, and those of its script, which are the same at each time. A target that
/// goes down ends its series.
fn series(target: &Target, labels: &LabelMap, stretch: Stretch) -> Vec<Pushed> {
    let speed = f64::from(stretch.speed);
    let named = |name: &str, own: &LabelMap| {
        let mut all = own.clone();
        all.extend(labels.clone());
        all.insert("__name__".to_owned(), name.to_owned());
        Pushed {
            labels: all.into_iter().collect(),
            samples: Vec::new(),
            histograms: Vec::new(),
        }
    };
    let mut up = named("up", &LabelMap::new());
    let exposed = target.samples(0.0, speed).into_iter();
    let mut series: Vec<Pushed> = exposed
        .map(|sample| named(&sample.name, &sample.labels))
        .collect();
    let mut was_up = false;
    for at in (stretch.from..stretch.until).step_by(stretch.step as usize) {
        let time = at * 1_000 / i64::from(stretch.speed);
        let is_up = target.is_up(at as f64);
        up.samples.push((time, f64::from(u8::from(is_up))));
        if is_up {
            let samples = target.samples(at as f64, speed);
            assert_eq!(samples.len(), series.len());
            for (series, sample) in series.iter_mut().zip(samples) {
                series.samples.push((time, sample.value));
            }
        } else if was_up {
            for series in &mut series {
                series.samples.push((time, f64::from_bits(STALE)));
            }
        }
        was_up = is_up;
    }
    series.push(up);
    series
}
