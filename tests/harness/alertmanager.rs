//! An Alertmanager that records what it is sent.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use narthex_storage::{Clock, Timestamp};
use serde_json::Value;

use super::listener::{Answer, Listener, Request};

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Takes what it is sent.
    Accept,
    /// Answers 500.
    Fail,
    /// Never answers.
    Hang,
}

/// One alert of one POST. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PostedAlert {
    /// When the POST came, on the clock that the Alertmanager was given.
    pub(crate) arrived: Timestamp,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) starts_at: Timestamp,
    pub(crate) ends_at: Timestamp,
    pub(crate) generator_url: String,
}

impl PostedAlert {
    /// Whether the alert was over when it was sent.
    pub(crate) fn is_resolved(&self) -> bool {
        self.ends_at <= self.arrived
    }
}

/// Listens on loopback; every POST that is not to `/api/v2/alerts`, or not in the documented shape, is
/// answered with 400 and noted as a complaint.
#[derive(Debug)]
pub(crate) struct Alertmanager {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    _listener: Listener,
}

#[derive(Debug)]
struct State {
    behaviour: Mutex<Behaviour>,
    posted: Mutex<Vec<PostedAlert>>,
    complaints: Mutex<Vec<String>>,
    clock: Arc<dyn Clock>,
}

impl Alertmanager {
    /// Arrival times are read from `clock`.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let state = Arc::new(State {
            behaviour: Mutex::new(Behaviour::Accept),
            posted: Mutex::new(Vec::new()),
            complaints: Mutex::new(Vec::new()),
            clock,
        });
        let listener = Listener::start({
            let state = Arc::clone(&state);
            move |request| state.take(&request)
        });
        Self {
            address: listener.address,
            state,
            _listener: listener,
        }
    }

    /// How to behave from now on.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.state.behaviour.lock().unwrap() = behaviour;
    }

    /// Every alert that was taken so far, in order of arrival. Panics when something else came.
    pub(crate) fn posted(&self) -> Vec<PostedAlert> {
        let complaints = self.state.complaints.lock().unwrap().clone();
        assert_eq!(complaints, Vec::<String>::new());
        self.state.posted.lock().unwrap().clone()
    }
}

impl State {
    fn take(&self, request: &Request) -> Answer {
        let status = match *self.behaviour.lock().unwrap() {
            Behaviour::Hang => return Answer::Silence,
            Behaviour::Fail => "500 Internal Server Error",
            Behaviour::Accept => match alerts(request, self.clock.now()) {
                Some(alerts) => {
                    self.posted.lock().unwrap().extend(alerts);
                    "200 OK"
                }
                None => {
                    let body = String::from_utf8_lossy(&request.body);
                    let complaint = format!("{}{body}", request.head);
                    self.complaints.lock().unwrap().push(complaint);
                    "400 Bad Request"
                }
            },
        };
        Answer::Whole {
            status: status.to_owned(),
            content_type: "application/json".to_owned(),
            body: Vec::new(),
        }
    }
}

/// The alerts of a request in the documented shape.
fn alerts(request: &Request, arrived: Timestamp) -> Option<Vec<PostedAlert>> {
    let is_json = request
        .head
        .lines()
        .any(|line| line.eq_ignore_ascii_case("content-type: application/json"));
    if !request.head.starts_with("POST ") || request.path() != "/api/v2/alerts" || !is_json {
        return None;
    }
    let body: Vec<BTreeMap<String, Value>> = serde_json::from_slice(&request.body).ok()?;
    body.into_iter()
        .map(|alert| posted(&alert, arrived))
        .collect()
}

fn posted(alert: &BTreeMap<String, Value>, arrived: Timestamp) -> Option<PostedAlert> {
    let known = [
        "annotations",
        "endsAt",
        "generatorURL",
        "labels",
        "startsAt",
    ];
    if alert.keys().any(|key| !known.contains(&key.as_str())) {
        return None;
    }
    Some(PostedAlert {
        arrived,
        labels: texts(alert.get("labels")?)?,
        // Left out when there are none.
        annotations: alert
            .get("annotations")
            .map_or(Some(BTreeMap::new()), texts)?,
        starts_at: time(alert.get("startsAt")?)?,
        ends_at: time(alert.get("endsAt")?)?,
        generator_url: alert.get("generatorURL")?.as_str()?.to_owned(),
    })
}

fn texts(value: &Value) -> Option<BTreeMap<String, String>> {
    let object = value.as_object()?;
    object
        .iter()
        .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// Milliseconds of a time in RFC 3339.
fn time(value: &Value) -> Option<Timestamp> {
    let time: jiff::Timestamp = value.as_str()?.parse().ok()?;
    Some(time.as_millisecond())
}
