//! The store's upkeep: a short turn every few seconds, and compaction beside it.
//!
//! Turns run on the blocking pool, one after the other. Compaction has a thread of its own with the
//! lowest priority, so that scrapes, queries and turns come first, and gives way while there are queries.
//! A stop ends a merge within milliseconds; it is not waited for, and what it leaves is removed at the next
//! start.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow};
use narthex_storage::{AppendError, Db, OperationError, Pace};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tracing::{error, warn};

use crate::{
    api::Control,
    clock::AsyncClock,
    self_metrics::{Counter, Histogram, Registry},
};

/// How often the store is given time to seal, to drop what is past retention, to cut its log and to merge
/// its blocks.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long compaction rests after it failed.
const REST_AFTER_FAILURE: Duration = Duration::from_mins(1);

/// The least that a thread may be given.
const LOWEST_PRIORITY: i32 = 19;

/// Upper bounds of the time that merges take, in seconds: Prometheus's.
const MERGE_SECONDS: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0,
];

/// See the module.
pub(super) struct Upkeep {
    stop: watch::Sender<bool>,
    turns: JoinHandle<Result<()>>,
    compaction: JoinHandle<()>,
}

impl Upkeep {
    /// A store that has failed for good makes it ask the server to quit.
    pub(super) fn start(
        store: &Arc<Db>,
        clock: &Arc<dyn AsyncClock>,
        control: mpsc::Sender<Control>,
        registry: &Registry,
    ) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let turns = turns(
            Arc::clone(store),
            Arc::clone(clock),
            stopped.clone(),
            control,
        );
        let compactor = Compactor::start(Arc::clone(store), Arc::clone(clock), registry)?;
        let compaction = compact(compactor, Arc::clone(clock), stopped);
        Ok(Self {
            stop,
            turns: tokio::spawn(turns),
            compaction: tokio::spawn(compaction),
        })
    }

    /// Waits for the turn that is under way; says whether the store has failed for good.
    pub(super) async fn stop(self) -> Result<()> {
        self.stop.send_replace(true);
        self.compaction.await?;
        self.turns.await?
    }
}

async fn turns(
    store: Arc<Db>,
    clock: Arc<dyn AsyncClock>,
    mut stopped: watch::Receiver<bool>,
    control: mpsc::Sender<Control>,
) -> Result<()> {
    loop {
        let next = clock.sleep_until(clock.monotonic() + INTERVAL);
        tokio::select! {
            () = next => {}
            _ = stopped.wait_for(|stop| *stop) => return Ok(()),
        }
        let store = Arc::clone(&store);
        let turn = tokio::task::spawn_blocking(move || store.maintain()).await;
        let failure = match turn {
            Ok(Ok(())) => continue,
            Ok(Err(problem @ AppendError::Poisoned)) => anyhow!(problem),
            Err(panic) => anyhow!(panic),
            Ok(Err(problem)) => {
                // A full disk, for example: the next round tries again.
                error!(
                    err = format!("{:#}", anyhow!(problem)),
                    "The store's upkeep failed"
                );
                continue;
            }
        };
        // The server may be stopping already.
        let _stopping = control.send(Control::Quit).await;
        return Err(failure.context("the store failed for good"));
    }
}

async fn compact(
    compactor: Compactor,
    clock: Arc<dyn AsyncClock>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut rest = INTERVAL;
    loop {
        let next = clock.sleep_until(clock.monotonic() + rest);
        let outcome = async {
            next.await;
            compactor.run().await
        };
        let outcome = tokio::select! {
            outcome = outcome => outcome,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        rest = match outcome {
            Some(Ok(())) => INTERVAL,
            Some(Err(problem)) => {
                error!(
                    component = "tsdb",
                    err = format!("{:#}", anyhow!(problem)),
                    "compaction failed"
                );
                REST_AFTER_FAILURE
            }
            None => {
                error!(component = "tsdb", "The compaction thread ended");
                return;
            }
        };
    }
}

type Answer = oneshot::Sender<Result<(), OperationError>>;

/// A merge goes on while somebody waits for its answer.
struct WhileAwaited<'a>(&'a Answer);

impl Pace for WhileAwaited<'_> {
    fn is_stopped(&self) -> bool {
        self.0.is_closed()
    }

    fn wait(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// Merges what is due until there is nothing, or nobody waits for the answer any more.
fn merge_all(store: &Db, clock: &dyn AsyncClock, merges: &Histogram, answer: Answer) {
    let outcome = loop {
        let began = clock.monotonic();
        match store.compact_beside_queries(&WhileAwaited(&answer)) {
            Ok(true) => {
                let took = clock.monotonic().saturating_sub(began);
                merges.observe(took.as_secs_f64());
            }
            Ok(false) => break Ok(()),
            Err(problem) => break Err(problem),
        }
    };
    // The server may be stopping.
    let _stopping = answer.send(outcome);
}

/// The thread that merges; it ends when this is dropped and its merge is done.
struct Compactor {
    requests: std::sync::mpsc::Sender<Answer>,
    triggered: Counter,
}

impl Compactor {
    fn start(store: Arc<Db>, clock: Arc<dyn AsyncClock>, registry: &Registry) -> Result<Self> {
        let triggered = registry.counter(
            "prometheus_tsdb_compactions_triggered_total",
            "Total number of triggered compactions for the partition.",
        );
        let merges = registry.histograms(
            "prometheus_tsdb_compaction_duration_seconds",
            "Duration of compaction runs",
            &[],
            MERGE_SECONDS,
        );
        let merges = merges.with(&[]);
        let (requests, received) = std::sync::mpsc::channel::<Answer>();
        std::thread::Builder::new()
            .name("compaction".to_owned())
            .spawn(move || {
                // On Linux this is the priority of the calling thread alone.
                if let Err(problem) = rustix::process::setpriority_process(None, LOWEST_PRIORITY) {
                    warn!(err = %problem, "Compaction runs with the priority of everything else");
                }
                let requests = received.into_iter();
                for answer in requests {
                    merge_all(&store, &*clock, &merges, answer);
                }
            })
            .context("start the compaction thread")?;
        Ok(Self {
            requests,
            triggered,
        })
    }

    /// Merges everything that is due; `None` when the thread has ended.
    async fn run(&self) -> Option<Result<(), OperationError>> {
        self.triggered.increment();
        let (answer, outcome) = oneshot::channel();
        self.requests.send(answer).ok()?;
        outcome.await.ok()
    }
}
