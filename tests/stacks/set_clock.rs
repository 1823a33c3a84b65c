//! Every alert of every stack on set time: the server runs the stack's own rule files for as long as
//! its script lasts, and what is pending, firing and resolved, and every payload that reaches the
//! Alertmanager, is compared with the times of the script's phases, which were calculated by hand.
//!
//! A phase says with which scrape an expression begins to hold and with which it ends to. The rule sees
//! that in the first slot of its group after the scrape.

use std::{collections::BTreeMap, time::Duration};

use narthex_storage::Timestamp;

use super::{
    exporter::{LabelMap, Phase},
    set_clock_stage::{ShownAlert, Slots, Stage},
};
use crate::harness::wait_until;

/// Script time 0, milliseconds since the Unix epoch; midnight, for subqueries.
const ORIGIN: Timestamp = 1_700_006_400_000;

/// A firing alert is sent again at the first evaluation later than this after the last time.
const RESEND_DELAY: Timestamp = 60_000;

/// A resolved alert is sent again for as long as this.
const RESOLVED_RETENTION: Timestamp = 15 * 60_000;

/// How a stack is played.
#[derive(Debug, Clone, Copy)]
struct Plan {
    stack: &'static str,
    scrape_interval: Duration,
    /// Quiet time before the script's time 0: the longest look back of its rules.
    lead: Duration,
    /// Alert, and the seconds of script time of the scrapes with which it begins and ends to hold,
    /// where scrapes are not 15 s apart.
    own_phases: &'static [(&'static str, i64, i64)],
    /// A rule file, and the files whose rules read what it records. Here the slots of the former come
    /// later in the interval than those of the latter, which so see what the scrape before gave.
    recorded: Option<(&'static str, &'static [&'static str])>,
}

/// An alert's life: the slots at which it is pending, firing, resolved.
#[derive(Debug)]
struct Life {
    labels: LabelMap,
    slots: Slots,
    active: Timestamp,
    fires: Timestamp,
    resolved: Timestamp,
}

/// A payload to come.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Post {
    /// The slot whose iteration sends it.
    slot: Timestamp,
    labels: LabelMap,
    starts_at: Timestamp,
    ends_at: Timestamp,
}

impl Life {
    /// Every payload, by hand of what Prometheus does: sent when the alert fires, again at the first
    /// evaluation later than the resend delay, when it is resolved, and again until that is long ago.
    fn posts(&self) -> Vec<Post> {
        let interval = self.slots.interval;
        let pace = (RESEND_DELAY / interval + 1) * interval;
        let validity = 4 * RESEND_DELAY.max(interval);
        let post = |slot, ends_at| Post {
            slot,
            labels: self.labels.clone(),
            starts_at: self.fires,
            ends_at,
        };
        let firing = (self.fires..self.resolved).step_by(pace as usize);
        let until = self.resolved + RESOLVED_RETENTION;
        let over = (self.resolved..=until).step_by(pace as usize);
        firing
            .map(|slot| post(slot, slot + validity))
            .chain(over.map(|slot| post(slot, self.resolved)))
            .collect()
    }
}

fn milliseconds(seconds: f64) -> Timestamp {
    (seconds * 1_000.0) as Timestamp
}

impl Plan {
    /// The lives of all alerts; `None` where a slot is also the time of a scrape, so that it is open
    /// which comes first, and where the recording group is not the last one: the folder's name
    /// decides that.
    fn lives(&self, stage: &Stage) -> Option<Vec<Life>> {
        let step = self.scrape_interval.as_millis() as Timestamp;
        // After a scrape; the offsets have no zero where scrapes are.
        let lag = |slots: &Slots| slots.after(ORIGIN) - ORIGIN;
        if stage.slots.iter().any(|slots| lag(slots) % step == 0) {
            return None;
        }
        if let Some((recording, readers)) = self.recorded {
            let slots = || stage.slots.iter();
            let reading = slots().filter(|slots| readers.contains(&slots.group.0.as_str()));
            let mut recording = slots().filter(|slots| slots.group.0 == recording);
            let last = reading.map(lag).max().unwrap();
            if recording.any(|slots| lag(slots) <= last) {
                return None;
            }
        }
        let phases = stage.scene.script.phases.iter();
        Some(phases.map(|phase| self.life(stage, phase)).collect())
    }

    fn life(&self, stage: &Stage, phase: &Phase) -> Life {
        let mut labels = phase.labels.clone();
        labels.insert("alertname".to_owned(), phase.alert.clone());
        let group = &stage.alerts[&phase.alert];
        let slots = stage.slots.iter().find(|slots| slots.group == *group);
        let slots = slots.unwrap().clone();
        let own = self.own_phases.iter();
        let (active, resolved) = own
            .filter(|(alert, ..)| *alert == phase.alert)
            .map(|(_, active, resolved)| (active * 1_000, resolved * 1_000))
            .next()
            .unwrap_or((milliseconds(phase.active), milliseconds(phase.resolved)));
        let is_reader = self
            .recorded
            .is_some_and(|(_, readers)| readers.contains(&group.0.as_str()));
        let later = if is_reader { slots.interval } else { 0 };
        let active = slots.after(ORIGIN + active) + later;
        let hold = milliseconds(phase.fires - phase.active);
        assert_eq!(hold % slots.interval, 0, "the slot at which it fires");
        Life {
            labels,
            active,
            fires: active + hold,
            resolved: slots.after(ORIGIN + resolved) + later,
            slots,
        }
    }

    /// Plays the script until every resolved alert is forgotten.
    fn play(&self) {
        let begin = ORIGIN - self.lead.as_millis() as Timestamp;
        let start = || {
            let stage = Stage::start(self.stack, begin, ORIGIN, self.scrape_interval);
            match self.lives(&stage) {
                Some(lives) => Some((stage, lives)),
                None => {
                    stage.stop();
                    None
                }
            }
        };
        let (stage, lives) = (0..100).find_map(|_| start()).unwrap();
        let mut posts: Vec<Post> = lives.iter().flat_map(Life::posts).collect();
        posts.sort();
        let end = posts.last().unwrap().slot + 60_000;
        let mut run = Run {
            stage,
            lives,
            posts,
            delivered: 0,
            shown: BTreeMap::new(),
        };
        while run.stage.now() < end {
            let shown = run.stage.advance();
            run.compare_shown(&shown);
            run.compare_delivered();
        }
        run.stage.stop();
    }
}

/// A stack being played.
#[derive(Debug)]
struct Run {
    stage: Stage,
    lives: Vec<Life>,
    /// Every payload of the run, in the order of time.
    posts: Vec<Post>,
    /// How many of them have come.
    delivered: usize,
    /// Each alert as it was shown last, by its labels.
    shown: BTreeMap<LabelMap, ShownAlert>,
}

impl Run {
    /// Exactly the alerts whose time it is are active, since when and in which state they should.
    fn compare_shown(&mut self, shown: &[ShownAlert]) {
        let now = self.stage.now();
        let mut expected = BTreeMap::new();
        for life in &self.lives {
            if life.active <= now && now < life.resolved {
                expected.insert(life.labels.clone(), (life.active, life.fires <= now));
            }
        }
        let mut found = BTreeMap::new();
        for alert in shown {
            found.insert(alert.labels.clone(), (alert.active_at, alert.is_firing));
            self.shown.insert(alert.labels.clone(), alert.clone());
        }
        assert_eq!(found, expected, "{}", self.place());
    }

    /// Waits for the payloads that are due, so that none is on its way when the clock moves on.
    fn compare_delivered(&mut self) {
        let now = self.stage.now();
        let due = self
            .posts
            .iter()
            .take_while(|post| post.slot <= now)
            .count();
        let posted = wait_until(&format!("{due} alerts are sent, {}", self.place()), || {
            let posted = self.stage.alertmanager.posted();
            (posted.len() >= due).then_some(posted)
        });
        let mut found = Vec::new();
        for alert in &posted[self.delivered..] {
            assert_eq!(alert.arrived, now);
            let scene = &self.stage.scene;
            let labels = scene.without_external(&scene.named_all(&alert.labels));
            let annotations = scene.named_all(&alert.annotations);
            assert_eq!(annotations, self.shown[&labels].annotations);
            found.push((labels, alert.starts_at, alert.ends_at));
        }
        let expected = &self.posts[self.delivered..due];
        let mut expected: Vec<_> = expected
            .iter()
            .map(|post| (post.labels.clone(), post.starts_at, post.ends_at))
            .collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{}", self.place());
        self.delivered = due;
    }

    fn place(&self) -> String {
        let seconds = (self.stage.now() - ORIGIN) / 1_000;
        format!("{} at {seconds} s", self.stage.scene.stack)
    }
}

fn plan(stack: &'static str) -> Plan {
    let plan = Plan {
        stack,
        scrape_interval: Duration::from_secs(15),
        lead: Duration::from_mins(12),
        own_phases: &[],
        recorded: None,
    };
    match stack {
        "butterfly" => Plan {
            recorded: Some((
                "rules/recording.yaml",
                &["alerts/errors.yaml", "alerts/latency.yaml"],
            )),
            ..plan
        },
        // Scrapes are 10 s apart: a window of 5m has 30 samples over 290 s.
        //
        // Failures of VM operations: 5.8 + 0.48 u of 580 requests are above a twentieth from
        // u = 48.3 s on, which is 3m50s; after 13m until as much of them is left, which is 13m and
        // 290 s - 48.3 s, so until 17m10s. Batches: all samples since 2m are equal, and 30 of them
        // fill the window at 6m50s; they go on after 14m.
        "metald" => Plan {
            scrape_interval: Duration::from_secs(10),
            own_phases: &[
                ("MetaldVmFailureRate", 230, 1_030),
                ("MetaldBillingBatchFailures", 410, 850),
            ],
            ..plan
        },
        // An hour of offset.
        "zerostate" => Plan {
            lead: Duration::from_mins(66),
            ..plan
        },
        _ => plan,
    }
}

fn on_set_time(stack: &'static str) {
    plan(stack).play();
}

for_each_stack!(on_set_time);
