//! The task that posts to one Alertmanager.

use std::{sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderValue, Method,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT},
};
use http_body_util::BodyExt as _;
use narthex_rules::AlertMessage;
use tokio::{sync::watch, task::JoinHandle};
use tracing::{error, warn};

use super::{
    alertmanager::Endpoint,
    metrics::{AlertmanagerMetrics, NotifierMetrics},
    payload,
    queue::Queue,
};
use crate::{
    client::{self, HttpClient, Outgoing},
    clock::AsyncClock,
};

/// How long an ending sender goes on delivering what waits: 5 s, so that a server that is told to
/// stop by a container runtime (10 s as a rule) still closes its store.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// How much of an answer is read, for the connection's sake alone: 1 MiB.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How alerts get to the Alertmanagers of one section.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) client: HttpClient,
    pub(super) timeout: Duration,
}

/// What holds for every sender of a server.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    pub(super) clock: Arc<dyn AsyncClock>,
    pub(super) metrics: NotifierMetrics,
    pub(super) queue_capacity: usize,
    pub(super) batch_size: usize,
    pub(super) drain: bool,
}

/// What the task is told.
#[derive(Debug, Clone)]
struct Order {
    settings: Arc<Settings>,
    ended: bool,
}

/// A running sender and its queue. It is ended with [`Sender::end`].
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) endpoint: Endpoint,
    pub(super) queue: Arc<Queue>,
    orders: watch::Sender<Order>,
    task: JoinHandle<()>,
}

impl Sender {
    pub(super) fn start(
        endpoint: Endpoint,
        settings: Arc<Settings>,
        surroundings: &Surroundings,
    ) -> Self {
        let metrics = surroundings.metrics.of(&endpoint.shown);
        let queue = Arc::new(Queue::new(
            &endpoint.shown,
            surroundings.queue_capacity,
            metrics.clone(),
        ));
        let (orders, receiver) = watch::channel(Order {
            settings,
            ended: false,
        });
        let running = Running {
            endpoint: endpoint.clone(),
            queue: Arc::clone(&queue),
            surroundings: surroundings.clone(),
            metrics,
        };
        Self {
            endpoint,
            queue,
            orders,
            task: tokio::spawn(running.run(receiver)),
        }
    }

    /// Goes on with other settings; what waits stays in the queue.
    pub(super) fn go_on(&self, settings: &Arc<Settings>) {
        self.orders
            .send_modify(|order| order.settings = Arc::clone(settings));
    }

    /// Tells it to deliver what waits, within bounds, and to end. Answers its task.
    pub(super) fn end(self) -> JoinHandle<()> {
        self.orders.send_modify(|order| order.ended = true);
        self.task
    }
}

struct Running {
    endpoint: Endpoint,
    queue: Arc<Queue>,
    surroundings: Surroundings,
    metrics: AlertmanagerMetrics,
}

impl Running {
    async fn run(self, mut orders: watch::Receiver<Order>) {
        let drain = self.surroundings.drain;
        let cut = self.cut(orders.clone());
        tokio::pin!(cut);
        loop {
            let Order { settings, ended } = orders.borrow_and_update().clone();
            if ended && !drain {
                break;
            }
            let batch = self.queue.take(self.surroundings.batch_size);
            if batch.is_empty() {
                if ended {
                    break;
                }
                tokio::select! {
                    () = self.queue.more() => {}
                    changed = orders.changed() => {
                        if changed.is_err() {
                            break;
                        }
                    }
                }
                continue;
            }
            tokio::select! {
                () = self.deliver(&settings, &batch) => {}
                () = &mut cut => {
                    self.note_failure(batch.len(), "the server is stopping");
                    break;
                }
            }
        }
        let left = self.queue.take(usize::MAX).len();
        if left > 0 {
            self.metrics.dropped.add(left as u64);
            warn!(
                component = "notifier",
                alertmanager = self.endpoint.shown,
                count = left,
                "Alert notification queue not drained on shutdown, dropping alerts"
            );
        }
    }

    /// Completes when an ended sender has had its time.
    fn cut(&self, mut orders: watch::Receiver<Order>) -> impl Future<Output = ()> + Send + use<> {
        let clock = Arc::clone(&self.surroundings.clock);
        let drain = self.surroundings.drain;
        async move {
            // A sender whose handle is gone ends as well.
            drop(orders.wait_for(|order| order.ended).await);
            if drain {
                clock.sleep_until(clock.monotonic() + DRAIN_TIME).await;
            }
        }
    }

    /// One POST; what it cannot deliver is given up, for the next resend carries it.
    async fn deliver(&self, settings: &Settings, batch: &[Arc<AlertMessage>]) {
        let clock = &self.surroundings.clock;
        let began = clock.monotonic();
        let timeout = clock.sleep_until(began + settings.timeout);
        let outcome = tokio::select! {
            outcome = self.post(settings, batch) => outcome,
            () = timeout => Err(format!(
                "Post \"{}\": context deadline exceeded",
                self.endpoint.shown
            )),
        };
        match outcome {
            Ok(()) => {
                let seconds = clock.monotonic().saturating_sub(began).as_secs_f64();
                self.metrics.latency.observe(seconds);
                self.metrics.latency_histogram.observe(seconds);
                self.metrics.sent.add(batch.len() as u64);
            }
            Err(problem) => self.note_failure(batch.len(), &problem),
        }
    }

    async fn post(&self, settings: &Settings, batch: &[Arc<AlertMessage>]) -> Result<(), String> {
        let Endpoint { url, shown } = &self.endpoint;
        let body = payload::body(batch);
        // In the order in which Go's client writes them.
        let mut headers = HeaderMap::new();
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        };
        if let Ok(host) = HeaderValue::from_str(&host) {
            headers.insert(HOST, host);
        }
        headers.insert(USER_AGENT, client::USER_AGENT);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let outgoing = Outgoing {
            method: Method::POST,
            url,
            shown,
            headers,
            body,
        };
        let response = settings.client.exchange(outgoing).await?;
        let status = response.status();
        if !status.is_success() {
            let reason = status.canonical_reason().unwrap_or_default();
            let text = format!("bad response status {} {reason}", status.as_u16());
            return Err(text.trim_end().to_owned());
        }
        // A connection whose answer was read can be used again.
        let mut answer = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        while let Some(Ok(_)) = answer.frame().await {}
        Ok(())
    }

    fn note_failure(&self, count: usize, problem: &str) {
        self.metrics.errors.add(count as u64);
        self.metrics.dropped.add(count as u64);
        error!(
            component = "notifier",
            alertmanager = self.endpoint.shown,
            count,
            err = problem,
            "Error sending alerts"
        );
    }
}
