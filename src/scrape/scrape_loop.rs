//! The life of one target: wait, fetch, store, report; until it is told to end.
//!
//! The schedule runs on the monotonic clock: a wall clock that jumps never causes a burst or a
//! pause. Timestamps are the wall clock's, snapped to the schedule where they are within the
//! tolerance, so that scrapes are evenly spaced in the store.
//!
//! A target that discovery lost writes its last markers after two intervals and a tenth, dated to
//! the first scrape it missed, unless it comes back before. A server that stops writes none.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use narthex_storage::{Appendable, Timestamp};
use tokio::sync::watch;
use tracing::{debug, error, warn};

use super::{
    ScrapeOptions,
    client::{Answer, FetchError},
    content_type::exposed,
    line_cache::KEPT_BYTES_MAX,
    pool::Settings,
    report::{ScrapeMetrics, SharedStatus, TargetHealth},
    rows::{Counts, Report, Rows},
    target::offset,
};
use crate::clock::AsyncClock;

/// What a loop is told to do.
#[derive(Debug, Clone)]
pub(super) enum Command {
    /// Scrape with these settings.
    Run(Arc<Settings>),
    /// The target is gone: end after the last markers.
    End,
    /// The server stops: end at once.
    Stop,
}

/// What all loops share.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    pub(super) appendable: SharedAppendable,
    pub(super) clock: Arc<dyn AsyncClock>,
    pub(super) options: ScrapeOptions,
    pub(super) metrics: ScrapeMetrics,
}

/// A store that prints as its kind alone.
#[derive(Clone)]
pub(super) struct SharedAppendable(pub(super) Arc<dyn Appendable>);

impl std::fmt::Debug for SharedAppendable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Appendable")
    }
}

/// One target's loop.
#[derive(Debug)]
pub(super) struct ScrapeLoop {
    pub(super) key: String,
    pub(super) surroundings: Surroundings,
    pub(super) commands: watch::Receiver<Command>,
    pub(super) status: Arc<SharedStatus>,
    /// Set, under its lock, when the loop will look at no further command.
    pub(super) finished: Arc<Mutex<bool>>,
    /// What was stored so far; moves into the blocking part of each scrape.
    pub(super) rows: Option<Rows>,
    /// The settings that `rows` knows.
    pub(super) known: Option<Arc<Settings>>,
    pub(super) warned: Warned,
}

/// Which conditions were logged and did not end yet.
#[derive(Debug, Clone, Copy, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each condition comes and goes on its own"
)]
pub(super) struct Warned {
    duplicate: bool,
    out_of_order: bool,
    exemplars: bool,
    out_of_bounds: bool,
    series_limit: bool,
    storage: bool,
}

/// Where a schedule began, on both clocks.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    interval: Duration,
    /// The next scrape, on the monotonic clock.
    next: Duration,
    /// The wall time that belongs to `next`.
    wall: Timestamp,
    /// Scrapes in a row whose timestamp was off the schedule.
    off: u32,
}

impl Schedule {
    /// The first scrape is at `offset` within the interval, counted on the wall clock, so that a
    /// restarted server keeps every target's place.
    fn new(
        clock: &dyn AsyncClock,
        interval: Duration,
        offset: Duration,
        cap: Option<Duration>,
    ) -> Self {
        let interval_ns = interval.as_nanos().max(1);
        let since_epoch = u128::try_from(clock.now()).unwrap_or(0) * 1_000_000;
        let until_next = Duration::from_nanos((interval_ns - since_epoch % interval_ns) as u64);
        let mut wait = until_next + offset;
        if wait > interval {
            wait -= interval;
        }
        if let Some(cap) = cap {
            wait = wait.min(cap);
        }
        Self {
            interval,
            next: clock.monotonic() + wait,
            wall: clock.now() + wait.as_millis() as Timestamp,
            off: 0,
        }
    }

    /// The timestamp of a scrape that begins at `now`.
    fn timestamp(&mut self, now: Timestamp, options: &ScrapeOptions) -> Timestamp {
        if !options.adjust_timestamps {
            return now;
        }
        let tolerance = options.timestamp_tolerance.min(self.interval / 100);
        let difference = now - self.wall;
        if difference.unsigned_abs() <= tolerance.as_millis() as u64 {
            self.off = 0;
            return self.wall;
        }
        // A clock that was set, or that drifted away, gets a schedule of its own; a single late
        // wake-up does not.
        self.off += 1;
        if difference < 0
            || difference.unsigned_abs() >= self.interval.as_millis() as u64
            || self.off >= 10
        {
            self.wall = now;
            self.off = 0;
        }
        now
    }

    /// Moves to the next scrape that is not past; missed ones are left out.
    fn advance(&mut self, now: Duration) {
        let late = now.saturating_sub(self.next).as_nanos() / self.interval.as_nanos().max(1);
        let steps = u32::try_from(late).unwrap_or(u32::MAX).saturating_add(1);
        let step = self.interval.saturating_mul(steps);
        self.next += step;
        self.wall += step.as_millis() as Timestamp;
    }
}

impl ScrapeLoop {
    /// Runs until the loop is told to stop, or has ended.
    pub(super) async fn run(mut self) {
        loop {
            let command = self.commands.borrow_and_update().clone();
            let goes_on = match command {
                Command::Run(settings) => self.scrape_until_changed(settings).await,
                Command::End => self.end().await,
                Command::Stop => false,
            };
            if goes_on {
                continue;
            }
            self.rows = None;
            let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
            // A target that came back at the last moment goes on.
            let is_back = self.commands.has_changed().unwrap_or(false)
                && matches!(*self.commands.borrow(), Command::Run(_));
            if !is_back {
                *finished = true;
                return;
            }
        }
    }

    /// Scrapes on schedule until there is another command; false when nobody is left to give one.
    async fn scrape_until_changed(&mut self, mut settings: Arc<Settings>) -> bool {
        let clock = Arc::clone(&self.surroundings.clock);
        let options = self.surroundings.options;
        let mut schedule = self.schedule(&settings, options.first_scrape_within);
        let mut last_start: Option<Duration> = None;
        loop {
            tokio::select! {
                () = clock.sleep_until(schedule.next) => {}
                changed = self.commands.changed() => {
                    if changed.is_err() {
                        return false;
                    }
                    let command = self.commands.borrow_and_update().clone();
                    match command {
                        Command::Run(changed) => {
                            if changed.spec.interval != settings.spec.interval {
                                schedule = self.schedule(&changed, None);
                            }
                            settings = changed;
                            continue;
                        }
                        Command::End => {
                            self.commands.mark_changed();
                            return true;
                        }
                        Command::Stop => return false,
                    }
                }
            }
            let start = clock.monotonic();
            if let Some(last) = last_start.replace(start) {
                let interval = narthex_query::format_duration(settings.spec.interval);
                let lengths = self.surroundings.metrics.interval_length.with(&[&interval]);
                lengths.observe(start.saturating_sub(last).as_secs_f64());
            }
            let time = schedule.timestamp(clock.now(), &options);
            let Some(fetched) = self.fetch(&settings, start).await else {
                return false;
            };
            self.store(&settings, start, time, fetched).await;
            schedule.advance(clock.monotonic());
        }
    }

    fn schedule(&self, settings: &Settings, cap: Option<Duration>) -> Schedule {
        let Surroundings { clock, options, .. } = &self.surroundings;
        let interval = settings.spec.interval;
        let offset = offset(&self.key, options.offset_seed, interval);
        Schedule::new(clock.as_ref(), interval, offset, cap)
    }

    /// The answer of the target within its timeout; `None` when the server stops meanwhile.
    async fn fetch(
        &mut self,
        settings: &Settings,
        start: Duration,
    ) -> Option<Result<Answer, FetchError>> {
        if let Some(problem) = &settings.forced_error {
            return Some(Err(FetchError::Failed(problem.clone())));
        }
        let timeout = settings.spec.timeout;
        let clock = Arc::clone(&self.surroundings.clock);
        let commands = &mut self.commands;
        let answering = AtomicBool::new(false);
        tokio::select! {
            answer = settings.job.client.get(&settings.spec.url, timeout, &answering) => Some(answer),
            () = clock.sleep_until(start + timeout) => {
                let problem = "context deadline exceeded";
                Some(Err(if answering.load(Ordering::Relaxed) {
                    FetchError::Failed(problem.to_owned())
                } else {
                    FetchError::get(&settings.spec.url.shown, problem)
                }))
            }
            stopped = commands.wait_for(|command| matches!(command, Command::Stop)) => {
                drop(stopped);
                None
            }
        }
    }

    /// Stores one scrape, off the async threads, and reports it.
    async fn store(
        &mut self,
        settings: &Arc<Settings>,
        start: Duration,
        time: Timestamp,
        fetched: Result<Answer, FetchError>,
    ) {
        if self
            .known
            .as_ref()
            .is_none_or(|known| !Arc::ptr_eq(known, settings))
        {
            if let Some(rows) = &mut self.rows {
                rows.forget_lines();
            }
            self.known = Some(Arc::clone(settings));
        }
        let too_large = matches!(fetched, Err(FetchError::BodyTooLarge));
        let job = Job {
            rows: self.rows.take(),
            key: self.key.clone(),
            settings: Arc::clone(settings),
            surroundings: self.surroundings.clone(),
            start,
            time,
        };
        let done = match tokio::task::spawn_blocking(move || job.run(fetched)).await {
            Ok(done) => done,
            Err(panic) => {
                error!(target = %settings.spec.url.shown, error = %panic, "Scrape loop panicked; the target starts anew");
                return;
            }
        };
        self.rows = done.rows;
        self.status.update(|status| {
            status.health = if done.error.is_empty() {
                TargetHealth::Up
            } else {
                TargetHealth::Down
            };
            status.last_error.clone_from(&done.error);
            status.last_scrape = Some(time);
            status.last_scrape_duration = done.duration;
            if let Some(body) = done.body {
                status.body = Some(body);
            }
        });
        if !done.error.is_empty() {
            debug!(target = %settings.spec.url.shown, err = %done.error, "Scrape failed");
        }
        self.count(settings, &done.counts, too_large, done.exceeded_samples);
        if let Some(problem) = &done.storage_error
            && !self.warned.storage
        {
            error!(target = %settings.spec.url.shown, err = %problem, "Scrape commit failed");
        }
        self.warned.storage = done.storage_error.is_some();
    }

    fn count(&mut self, settings: &Settings, counts: &Counts, too_large: bool, exceeded: bool) {
        let metrics = &self.surroundings.metrics;
        metrics.duplicate.add(counts.duplicate);
        metrics.out_of_order.add(counts.out_of_order);
        metrics.out_of_bounds.add(counts.out_of_bounds);
        metrics
            .exemplar_out_of_order
            .add(counts.exemplars_out_of_order);
        if too_large {
            metrics.exceeded_body_size_limit.increment();
        }
        if exceeded {
            metrics.exceeded_sample_limit.increment();
        }
        let target = &settings.spec.url.shown;
        let scrape_pool = &settings.job.config.job_name;
        let before = self.warned;
        self.warned = Warned {
            duplicate: counts.duplicate > 0,
            out_of_order: counts.out_of_order > 0,
            out_of_bounds: counts.out_of_bounds > 0,
            series_limit: counts.series_limit > 0,
            exemplars: counts.exemplars_out_of_order > 0,
            ..before
        };
        if self.warned.duplicate && !before.duplicate {
            warn!(%scrape_pool, %target, num_dropped = counts.duplicate, "Error on ingesting samples with different value but same timestamp");
        }
        if self.warned.out_of_order && !before.out_of_order {
            warn!(%scrape_pool, %target, num_dropped = counts.out_of_order, "Error on ingesting out-of-order samples");
        }
        if self.warned.out_of_bounds && !before.out_of_bounds {
            warn!(%scrape_pool, %target, num_dropped = counts.out_of_bounds, "Error on ingesting samples that are too old or are too far into the future");
        }
        if self.warned.exemplars && !before.exemplars {
            warn!(%scrape_pool, %target, num_dropped = counts.exemplars_out_of_order, "Error on ingesting out-of-order exemplars");
        }
        if self.warned.series_limit && !before.series_limit {
            warn!(%scrape_pool, %target, num_dropped = counts.series_limit, "Error on ingesting samples of new series: the store takes no more series");
        }
    }

    /// Writes the last markers once it is sure that the target stays away; true when there is
    /// another command.
    async fn end(&mut self) -> bool {
        let (Some(settings), Some(_)) = (self.known.clone(), &self.rows) else {
            return false;
        };
        let clock = Arc::clone(&self.surroundings.clock);
        let interval = settings.spec.interval;
        let start = clock.monotonic();
        let missed = clock.now() + interval.as_millis() as Timestamp;
        let wait = interval * 2 + interval / 10;
        tokio::select! {
            () = clock.sleep_until(start + wait) => {}
            changed = self.commands.changed() => {
                if changed.is_ok() {
                    self.commands.mark_changed();
                }
                return changed.is_ok();
            }
        }
        if let Some(mut rows) = self.rows.take() {
            let written = tokio::task::spawn_blocking(move || {
                rows.fill_nothing(missed);
                rows.commit(&settings, None, &mut Counts::default())
            })
            .await;
            match written {
                Ok(Ok(())) => {}
                Ok(Err(problem)) => {
                    warn!(target = %self.key, err = %problem, "Stale commit failed");
                }
                Err(panic) => error!(target = %self.key, error = %panic, "Stale commit panicked"),
            }
        }
        false
    }
}

/// The blocking part of one scrape.
struct Job {
    rows: Option<Rows>,
    key: String,
    settings: Arc<Settings>,
    surroundings: Surroundings,
    start: Duration,
    time: Timestamp,
}

/// What it came to.
struct Done {
    rows: Option<Rows>,
    error: String,
    storage_error: Option<String>,
    counts: Counts,
    duration: Duration,
    exceeded_samples: bool,
    body: Option<(Bytes, super::exposition::Format)>,
}

impl Job {
    fn run(self, fetched: Result<Answer, FetchError>) -> Done {
        let mut done = Done {
            rows: None,
            error: String::new(),
            storage_error: None,
            counts: Counts::default(),
            duration: Duration::ZERO,
            exceeded_samples: false,
            body: None,
        };
        let rows = match self.rows {
            Some(rows) => Ok(rows),
            None => Rows::open(self.surroundings.appendable.0.as_ref(), &self.key),
        };
        let mut rows = match rows {
            Ok(rows) => rows,
            Err(problem) => {
                done.error = problem.to_string();
                done.storage_error = Some(problem.to_string());
                return done;
            }
        };
        let config = &self.settings.job.config;
        let mut body_bytes = Some(0);
        let outcome = match fetched {
            Ok(Answer { body, content_type }) => {
                body_bytes = Some(body.len() as u64);
                exposed(&content_type, config.fallback_scrape_protocol).and_then(|how| {
                    let body = Bytes::from(body);
                    rows.fill(&self.settings, self.time, &body, how, &mut done.counts)?;
                    if body.len() <= KEPT_BYTES_MAX {
                        done.body = Some((body, how.format));
                    }
                    Ok(())
                })
            }
            Err(FetchError::BodyTooLarge) => {
                body_bytes = None;
                Err("body size limit exceeded".to_owned())
            }
            Err(FetchError::Failed(problem)) => Err(problem),
        };
        if let Err(problem) = outcome {
            let limit = config.limits.samples;
            done.exceeded_samples = limit > 0 && done.counts.kept > limit;
            done.error = problem;
            rows.fill_nothing(self.time);
        }
        done.duration = self
            .surroundings
            .clock
            .monotonic()
            .saturating_sub(self.start);
        let report = Report {
            up: done.error.is_empty(),
            duration: done.duration,
            body_bytes,
        };
        if let Err(problem) = rows.commit(&self.settings, Some(report), &mut done.counts) {
            done.storage_error = Some(super::chain(&problem));
        }
        done.rows = Some(rows);
        done
    }
}
