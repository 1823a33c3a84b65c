//! Every stack on the real binary and on real time, sixty times as fast as its files say: the
//! intervals, `for`s and ranges of a copy of its files are divided by sixty, and its script is played
//! so much faster. History comes first, by remote write into the fresh store; then the scrapes begin.
//! The alerts that reach the Alertmanager, the answers to the queries of the dashboards, and whatever
//! the stack's text tells its people to do are checked.
//!
//! With `NARTHEX_PROMETHEUS=/path/to/prometheus` each stack runs on that program as well, and the
//! delivered alerts and all answers are compared. With `NARTHEX_RECORD=1` too, its answers become the
//! recorded ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    thread,
};

use narthex_storage::{Clock, SystemClock, Timestamp};
use tempfile::TempDir;

use super::{
    exporter::{LabelMap, Phase},
    live_answers::{self, Answer},
    live_history::{self, Stretch},
    live_operations,
    live_time::{FACTOR, quicker_file, resting_file},
    scene::Scene,
};
use crate::harness::{Alertmanager, PostedAlert, Server, wait_until};

const STACKS: [&str; 5] = ["butterfly", "chimera", "metald", "sidepanel", "zerostate"];

/// History before script time 0, in seconds of script time: an hour of offset, and the longest window.
const LEAD: i64 = 70 * 60;

const DAY: Timestamp = 86_400_000;

/// How much earlier and later than its phase says an alert may fire, in milliseconds: scrapes and
/// evaluations have offsets and come late on a busy machine, which moves what a window holds.
const EARLY: Timestamp = 3_000;
const LATE: Timestamp = 5_000;

/// Two alerts that fired so much apart on one program fire in the same order on the other.
const APART: Timestamp = 2_500;

/// What a program did with a stack.
#[derive(Debug)]
struct Outcome {
    /// In the order of the script's phases.
    alerts: Vec<Delivered>,
    answers: Vec<Answer>,
}

/// An alert that fired and was resolved.
#[derive(Debug)]
struct Delivered {
    starts_at: Timestamp,
    labels: LabelMap,
    annotations: LabelMap,
}

/// All at once, for each of them mostly waits.
#[test]
fn five_stacks_at_sixty_times_the_pace() {
    let peer = std::env::var_os("NARTHEX_PROMETHEUS").map(PathBuf::from);
    let is_recording = std::env::var_os("NARTHEX_RECORD").is_some();
    thread::scope(|scope| {
        for stack in STACKS {
            let peer = peer.as_deref();
            let named = thread::Builder::new().name(format!("stack {stack}"));
            named
                .spawn_scoped(scope, move || {
                    let theirs = peer.map(|peer| perform(stack, Some(peer)));
                    if let Some(theirs) = &theirs
                        && is_recording
                    {
                        live_answers::record(stack, &theirs.answers);
                    }
                    let ours = perform(stack, None);
                    live_answers::assert_recorded(stack, &ours.answers);
                    if let Some(theirs) = theirs {
                        assert_same_alerts(stack, &ours.alerts, &theirs.alerts);
                        live_answers::assert_same(stack, &ours.answers, &theirs.answers);
                    }
                })
                .unwrap();
        }
    });
}

/// Runs the stack from its history to the last resolved alert.
fn perform(stack: &'static str, peer: Option<&Path>) -> Outcome {
    let clock = Arc::new(SystemClock::new());
    let alertmanager = Alertmanager::new(Arc::clone(&clock) as Arc<dyn Clock>);
    let origin = Arc::new(OnceLock::<Timestamp>::new());
    let at = {
        let (clock, origin) = (Arc::clone(&clock), Arc::clone(&origin));
        move || {
            let since = origin.get().map_or(0, |origin| clock.now() - origin);
            since as f64 * f64::from(FACTOR) / 1_000.0
        }
    };
    let scene = Scene::serve(stack, alertmanager.address, at, f64::from(FACTOR));
    let folder = Arc::new(TempDir::new().unwrap());
    scene.copy(folder.path(), resting_file);
    let server = live_operations::flags(stack, peer)
        .folder(&folder)
        .peer(peer)
        .arg("--config.file=prometheus.yml")
        .arg("--storage.tsdb.path=data")
        .arg("--web.enable-lifecycle")
        .arg("--web.enable-remote-write-receiver")
        .start();
    let labels = wait_until("every target is found", || {
        let answer = server.get("/api/v1/targets?state=active").json();
        let count = answer["data"]["activeTargets"].as_array().unwrap().len();
        (count == scene.script.targets.len()).then(|| live_history::target_labels(&server, &scene))
    });

    // The whole script at its own pace, a day ago: what the queries of the dashboards are asked about.
    let script = &scene.script;
    let end = script
        .phases
        .iter()
        .map(|phase| phase.resolved as i64)
        .max();
    let end = end.unwrap() + 60;
    let whole = Stretch {
        from: -LEAD,
        until: end + 15,
        step: 15,
        speed: 1,
    };
    let yesterday = clock.now() / DAY * DAY - DAY;
    let requests = live_history::requests(script, &labels, whole);
    let before = clock.now();
    live_history::push(&server, requests, yesterday);
    let push_took = clock.now() - before;
    let moments = moments(&script.phases, end);
    let answers = live_answers::ask(&server, &scene, yesterday, &moments);

    // The hour before, at the quicker pace, up to now; then the script plays on. Nothing may look
    // back at the gap between them, which is about as long as the push before took.
    let preparation = 3_000 + 2 * push_took;
    let lately = Stretch {
        from: -LEAD,
        until: -preparation * i64::from(FACTOR) / 1_000,
        step: 15,
        speed: FACTOR,
    };
    let requests = live_history::requests(script, &labels, lately);
    let begin = clock.now() + preparation;
    live_history::push(&server, requests, begin);
    origin.set(begin).unwrap();
    scene.copy(folder.path(), quicker_file);
    let reloaded = server.post("/-/reload");
    assert_eq!(reloaded.status, 200, "{stack}: {}", reloaded.text());
    let prepared = clock.now();
    assert!(prepared < begin - 1_000, "{stack}: the machine is too slow");

    watch(&server, &scene, &alertmanager);
    let alerts = delivered(&scene, &alertmanager.posted(), begin);
    check_annotations(&live_operations::annotation_texts(&server), &alerts);
    if peer.is_none() {
        live_operations::check(&server, &scene, yesterday, &answers, &moments);
    }
    server.stop();
    Outcome { alerts, answers }
}

/// Script times at which the queries are asked: before anything happens, when the most alerts fire,
/// and at the end.
fn moments(phases: &[Phase], end: i64) -> [i64; 3] {
    let firing = |at: f64| {
        let at_once = phases.iter();
        at_once
            .filter(|phase| phase.fires <= at && at < phase.resolved)
            .count()
    };
    let busiest = phases.iter().map(|phase| phase.fires).max_by(|one, other| {
        let order = firing(*one).cmp(&firing(*other));
        order.then(other.total_cmp(one))
    });
    [0, busiest.unwrap() as i64, end]
}

/// Waits for every alert to fire and to be resolved, in the order in which they should.
fn watch(server: &Server, scene: &Scene, alertmanager: &Alertmanager) {
    let mut events: Vec<(f64, bool, LabelMap)> = Vec::new();
    for phase in &scene.script.phases {
        let labels = with_name(phase);
        events.push((phase.fires, false, labels.clone()));
        events.push((phase.resolved, true, labels));
    }
    events.sort_by(|one, other| one.0.total_cmp(&other.0));
    let middle = events.len() / 2;
    for (number, (at, is_resolved, labels)) in events.into_iter().enumerate() {
        if number == middle {
            live_operations::check_alerts(server);
            server.signal("HUP");
        }
        let what = format!("at {at} s, resolved: {is_resolved}: {labels:?}");
        wait_until(&what, || {
            let posted = alertmanager.posted();
            let found = posted.iter().any(|alert| {
                alert.is_resolved() == is_resolved && own_labels(scene, alert) == labels
            });
            found.then_some(())
        });
    }
}

/// Every alert of the script fired once and was resolved once, at its time, and no other came.
fn delivered(scene: &Scene, posted: &[PostedAlert], begin: Timestamp) -> Vec<Delivered> {
    let stack = scene.stack;
    let mut by_labels: BTreeMap<LabelMap, Vec<&PostedAlert>> = BTreeMap::new();
    for alert in posted {
        let labels = own_labels(scene, alert);
        by_labels.entry(labels).or_default().push(alert);
    }
    let expected: BTreeSet<LabelMap> = scene.script.phases.iter().map(with_name).collect();
    let found: BTreeSet<LabelMap> = by_labels.keys().cloned().collect();
    assert_eq!(found, expected, "{stack}");
    let mut alerts = Vec::new();
    for phase in &scene.script.phases {
        let labels = with_name(phase);
        let [firing, resolved] = by_labels[&labels][..] else {
            panic!("{stack}: sent twice: {:?}", by_labels[&labels]);
        };
        let wall = |at: f64| begin + (at * 1_000.0) as i64 / i64::from(FACTOR);
        let (fires, ends) = (wall(phase.fires), wall(phase.resolved));
        for (time, expected) in [(firing.starts_at, fires), (resolved.ends_at, ends)] {
            let late = time - expected;
            assert!(
                (-EARLY..LATE).contains(&late),
                "{stack}: {late} ms late: {labels:?}"
            );
        }
        assert_eq!(firing.starts_at, resolved.starts_at, "{stack}: {labels:?}");
        // Four times the resend delay, which is longer than the interval.
        let validity = firing.ends_at - firing.starts_at;
        assert_eq!(validity, 4 * 60_000, "{stack}: {labels:?}");
        assert_eq!(firing.generator_url, resolved.generator_url);
        alerts.push(Delivered {
            starts_at: firing.starts_at,
            annotations: scene.named_all(&firing.annotations),
            labels,
        });
    }
    alerts
}

/// Two programs sent the same, apart from the numbers in annotations, which no two runs share to the
/// last digit.
fn assert_same_alerts(stack: &str, ours: &[Delivered], theirs: &[Delivered]) {
    let texts = |alert: &Delivered| {
        let digits = |text: &String| {
            text.replace(|letter: char| letter.is_ascii_digit() || letter == '.', "")
        };
        let annotations: Vec<String> = alert.annotations.values().map(digits).collect();
        (alert.labels.clone(), annotations)
    };
    let all = |alerts: &[Delivered]| alerts.iter().map(texts).collect::<Vec<_>>();
    assert_eq!(all(ours), all(theirs), "{stack}");
    for (one, first) in theirs.iter().enumerate() {
        for (other, second) in theirs.iter().enumerate() {
            let is_before = ours[one].starts_at < ours[other].starts_at;
            let are_apart = second.starts_at - first.starts_at > APART;
            assert!(is_before || !are_apart, "{stack}: {first:?}, {second:?}");
        }
    }
}

/// Annotations arrive as they are written, expanded where they have templates.
fn check_annotations(written: &BTreeMap<(String, LabelMap), LabelMap>, alerts: &[Delivered]) {
    for alert in alerts {
        let rule = written.iter().find(|((name, labels), _)| {
            let mut own = labels.iter();
            *name == alert.labels["alertname"]
                && own.all(|(name, value)| {
                    value.contains("{{") || alert.labels.get(name) == Some(value)
                })
        });
        let (_, texts) = rule.unwrap();
        assert!(texts.keys().eq(alert.annotations.keys()), "{alert:?}");
        for (name, text) in texts {
            let sent = &alert.annotations[name];
            if text.contains("{{") {
                let is_expanded = !sent.contains("{{") && !sent.contains("<error") && sent != text;
                assert!(is_expanded, "{alert:?}");
            } else {
                assert_eq!(sent, text, "{alert:?}");
            }
        }
    }
}

/// The labels of a phase's alert.
fn with_name(phase: &Phase) -> LabelMap {
    let mut labels = phase.labels.clone();
    labels.insert("alertname".to_owned(), phase.alert.clone());
    labels
}

/// The labels of a delivered alert that its rule gave it.
fn own_labels(scene: &Scene, alert: &PostedAlert) -> LabelMap {
    scene.without_external(&scene.named_all(&alert.labels))
}
