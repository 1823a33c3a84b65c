//! Manager, pools and loops on set time against a target on loopback.

use std::{sync::Arc, time::Duration};

use narthex_storage::{Clock as _, Labels};

use super::{
    fixture::{Fixture, until},
    store::MemoryStore,
};
use crate::{
    clock::SetClock,
    config::{ScrapeConfig, TargetGroup},
    scrape::{PoolReport, ScrapeManager, ScrapeOptions, TargetHealth},
    self_metrics::Registry,
};

const START: i64 = 1_700_000_000_000;
const INTERVAL: Duration = Duration::from_secs(10);

struct World {
    clock: SetClock,
    store: MemoryStore,
    registry: Registry,
    manager: ScrapeManager,
    target: Fixture,
}

impl World {
    async fn new() -> Self {
        let clock = SetClock::new(START);
        let store = MemoryStore::default();
        let registry = Registry::new();
        let options = ScrapeOptions {
            first_scrape_within: Some(Duration::ZERO),
            ..ScrapeOptions::default()
        };
        let manager = ScrapeManager::new(
            options,
            Arc::new(store.clone()),
            Arc::new(clock.clone()),
            crate::discovery::discovered_targets(&registry),
            &registry,
        );
        Self {
            clock,
            store,
            registry,
            manager,
            target: Fixture::start().await,
        }
    }

    fn job(&self, change: impl FnOnce(&mut ScrapeConfig)) -> ScrapeConfig {
        let mut config = ScrapeConfig::new("j");
        config.scrape_interval = INTERVAL;
        config.scrape_timeout = Duration::from_secs(5);
        config.discovery.static_configs = vec![TargetGroup {
            source: "0".to_owned(),
            labels: Labels::empty(),
            targets: vec![Labels::from_pairs([("__address__", &self.target.address)])],
        }];
        change(&mut config);
        config
    }

    fn pool(&self) -> PoolReport {
        self.manager.pools().remove(0)
    }

    fn error(&self) -> String {
        self.pool().active[0].status.last_error.clone()
    }

    /// Waits until the first target was scraped at `START` plus so many intervals.
    async fn scraped(&self, intervals: i64) {
        let time = START + intervals * INTERVAL.as_millis() as i64;
        until("the scrape", || {
            self.pool().active[0].status.last_scrape == Some(time)
        })
        .await;
    }

    /// What the store holds, the target's address and the start of time cut short.
    fn text(&self) -> String {
        let text = self.store.text().replace(&self.target.address, "T");
        text.replace("@17000000", "@")
    }

    fn up(&self) -> Vec<f64> {
        let all = self.store.series();
        let up = all.iter().find(|(labels, _)| labels.contains("\"up\""));
        up.map(|(_, samples)| samples.iter().map(|(_, value)| *value).collect())
            .unwrap_or_default()
    }

    fn metric(&self, name: &str) -> String {
        let text = self.registry.render();
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap_or_default().to_owned()
    }
}

#[tokio::test]
async fn a_target_is_scraped_on_schedule_and_its_failures_leave_markers() {
    let world = World::new().await;
    let answers = &world.target.answers;
    answers.body("# TYPE a counter\na 1\nb 2\n");
    world.manager.apply([&world.job(|_| {})]).unwrap();
    world.scraped(0).await;
    answers.body("a 2\n");
    world.clock.advance(INTERVAL);
    world.scraped(1).await;
    answers.answer("500 Internal Server Error", "");
    world.clock.advance(INTERVAL);
    world.scraped(2).await;
    assert_eq!(
        world.error(),
        "server returned HTTP status 500 Internal Server Error"
    );
    assert_eq!(world.pool().active[0].status.health, TargetHealth::Down);
    answers.body("a 3\n");
    world.clock.advance(INTERVAL);
    world.scraped(3).await;
    assert_eq!(world.error(), "");
    assert_eq!(
        world.text(),
        "{__name__=\"a\", instance=\"T\", job=\"j\"} 1@00000 2@10000 stale@20000 3@30000\n\
         {__name__=\"b\", instance=\"T\", job=\"j\"} 2@00000 stale@10000\n\
         {__name__=\"up\", instance=\"T\", job=\"j\"} 1@00000 1@10000 0@20000 1@30000\n"
    );
    assert_eq!(answers.connections(), 1, "the connection is kept");
    let requests = answers.requests();
    assert!(
        requests[0].starts_with("GET /metrics HTTP/1.1\r\n"),
        "{}",
        requests[0]
    );
    world.manager.stop().await;
    assert_eq!(world.store.commits(), 4, "stopping writes no markers");
}

#[tokio::test]
async fn negotiation_says_what_prometheus_says() {
    let world = World::new().await;
    world.target.answers.body("a 1\n");
    world.manager.apply([&world.job(|_| {})]).unwrap();
    world.scraped(0).await;
    let request = world.target.answers.requests().remove(0).to_lowercase();
    for header in [
        "accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2\r\n",
        "accept-encoding: gzip\r\n",
        "user-agent: prometheus/3.14.0\r\n",
        "x-prometheus-scrape-timeout-seconds: 5\r\n",
    ] {
        assert!(request.contains(header), "{header} in {request}");
    }
}

#[tokio::test]
async fn a_target_that_hangs_fails_at_its_timeout_and_holds_up_nobody() {
    let world = World::new().await;
    world.target.answers.answer("", "");
    let other = Fixture::start().await;
    other.answers.body("a 1\n");
    let second = Labels::from_pairs([("__address__", &other.address)]);
    let job = world.job(|job| job.discovery.static_configs[0].targets.push(second));
    world.manager.apply([&job]).unwrap();
    let hanging = |report: &PoolReport| {
        let mut targets = report.active.iter();
        targets
            .find(|target| target.scrape_url.contains(&world.target.address))
            .unwrap()
            .status
            .clone()
    };
    until("the other target's scrape", || {
        world.store.text().contains("\"a\"")
    })
    .await;
    until("the request", || {
        !world.target.answers.requests().is_empty()
    })
    .await;
    assert_eq!(hanging(&world.pool()).health, TargetHealth::Unknown);
    world.clock.advance(Duration::from_secs(5));
    until("the timeout", || {
        hanging(&world.pool()).health == TargetHealth::Down
    })
    .await;
    assert_eq!(
        hanging(&world.pool()).last_error,
        format!(
            "Get \"http://{}/metrics\": context deadline exceeded",
            world.target.address
        )
    );
    assert_eq!(
        hanging(&world.pool()).last_scrape_duration,
        Duration::from_secs(5)
    );
    // Stopping does not wait for a target that hangs.
    world.clock.advance(Duration::from_secs(5));
    until("the next request", || {
        world.target.answers.requests().len() == 2
    })
    .await;
    world.manager.stop().await;
}

#[tokio::test]
async fn a_vanished_target_gets_its_markers_after_two_intervals_unless_it_returns() {
    let world = World::new().await;
    world.target.answers.body("a 1\n");
    let job = world.job(|_| {});
    world.manager.apply([&job]).unwrap();
    world.scraped(0).await;
    let gone = world.job(|job| job.discovery.static_configs.clear());
    world.manager.apply([&gone]).unwrap();
    assert!(world.pool().active.is_empty());
    // Back before the markers: the same loop goes on, nothing was written between.
    world.clock.advance(INTERVAL);
    world.manager.apply([&job]).unwrap();
    world.scraped(1).await;
    let up = "{__name__=\"up\", instance=\"T\", job=\"j\"} 1@00000 1@10000";
    assert!(world.text().contains(up), "{}", world.text());
    world.manager.apply([]).unwrap();
    assert!(world.manager.scrape_pools().is_empty());
    for _ in 0..30 {
        tokio::task::yield_now().await;
    }
    until("the last markers", || {
        world.clock.advance(Duration::from_secs(1));
        world.store.commits() == 3
    })
    .await;
    for name in ["a", "up"] {
        let all = world.store.series();
        let labels = all
            .keys()
            .find(|labels| labels.contains(&format!("\"{name}\"")))
            .unwrap();
        let (_, last) = all[labels].last().unwrap();
        assert!(narthex_storage::is_stale_marker(*last), "{name}");
    }
    // It can come back as a new target afterwards.
    world.manager.apply([&job]).unwrap();
    until("a scrape after its end", || world.store.commits() == 4).await;
}

#[tokio::test]
async fn a_wall_clock_that_jumps_back_is_counted_and_recovers_and_forward_is_no_burst() {
    let world = World::new().await;
    world.target.answers.body("a 1\n");
    world.manager.apply([&world.job(|_| {})]).unwrap();
    world.scraped(0).await;
    world.clock.set_wall(START - 25_000);
    for step in 1..=3_i64 {
        world.clock.advance(INTERVAL);
        let time = START - 25_000 + step * 10_000;
        until("the scrape", || {
            world.pool().active[0].status.last_scrape == Some(time)
        })
        .await;
    }
    // Two scrapes lay before the newest sample, six series each; the third did not.
    let counter = "prometheus_target_scrapes_sample_out_of_order_total";
    assert_eq!(world.metric(counter), format!("{counter} 12"));
    assert_eq!(world.up(), [1.0, 1.0]);
    let requests = world.target.answers.requests().len();
    world.clock.set_wall(START + 86_400_000);
    world.clock.advance(INTERVAL);
    let time = START + 86_400_000 + 10_000;
    until("the scrape", || {
        world.pool().active[0].status.last_scrape == Some(time)
    })
    .await;
    assert_eq!(world.target.answers.requests().len(), requests + 1);
    // A long pause (a suspended machine) is one scrape, not one for each that was missed.
    world.clock.advance(INTERVAL * 100);
    until("the scrape", || {
        world.target.answers.requests().len() == requests + 2
    })
    .await;
    world.clock.advance(Duration::from_millis(1));
    world.manager.stop().await;
    assert_eq!(world.target.answers.requests().len(), requests + 2);
}

#[tokio::test]
async fn reloads_leave_unchanged_targets_alone_and_refuse_whole() {
    let world = World::new().await;
    world.target.answers.body("a 1\n");
    let job = world.job(|_| {});
    world.manager.apply([&job]).unwrap();
    world.scraped(0).await;
    let mut broken =
        world.job(|job| job.http_client.tls_config.ca_file = Some("/nonexistent".into()));
    broken.job_name = "broken".to_owned();
    let error = world.manager.apply([&broken]).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "error creating HTTP client of job \"broken\": tls_config: read ca_file /nonexistent: No such file or directory (os error 2)"
    );
    assert_eq!(world.manager.scrape_pools(), ["j"]);
    let renamed = world.job(|job| {
        job.discovery.static_configs[0].labels = Labels::from_pairs([("zone", "x")]);
        job.discovery.static_configs[0]
            .targets
            .push(Labels::from_pairs([("__address__", &world.target.address)]));
    });
    world.manager.apply([&renamed]).unwrap();
    let pool = world.pool();
    assert_eq!(pool.active.len(), 1, "equal targets are one");
    assert_eq!(pool.active[0].labels.get("zone"), Some("x"));
    assert_eq!(pool.active[0].status.health, TargetHealth::Unknown);
}

#[tokio::test]
async fn too_many_targets_fail_all_and_dropped_ones_are_remembered() {
    let world = World::new().await;
    let job = world.job(|job| {
        job.limits.targets = 1;
        job.discovery.static_configs[0]
            .targets
            .push(Labels::from_pairs([("__address__", "h:1")]));
    });
    world.manager.apply([&job]).unwrap();
    let expected = "target_limit exceeded (number of targets: 2, limit: 1)";
    until("both failures", || {
        let pool = world.pool();
        pool.active
            .iter()
            .all(|target| target.status.last_error == expected)
    })
    .await;
    assert!(world.target.answers.requests().is_empty());
    assert_eq!(world.up(), [0.0]);
    let job = world.job(|job| {
        job.limits.keep_dropped_targets = 1;
        job.discovery.static_configs[0]
            .targets
            .push(Labels::from_pairs([("__address__", "h:1")]));
        job.relabel_configs = vec![crate::relabel::RelabelConfig {
            action: crate::relabel::Action::Drop,
            ..Default::default()
        }];
    });
    world.manager.apply([&job]).unwrap();
    let pool = world.pool();
    assert_eq!(
        (pool.active.len(), pool.dropped.len(), pool.dropped_count),
        (0, 1, 2)
    );
    assert_eq!(pool.dropped[0].get("__scrape_interval__"), Some("10s"));
}

#[tokio::test]
async fn what_a_target_says_about_its_metrics_is_reported() {
    let world = World::new().await;
    world
        .target
        .answers
        .body("# HELP a what\n# TYPE a counter\na 1\n");
    world.manager.apply([&world.job(|_| {})]).unwrap();
    world.scraped(0).await;
    let metadata = world.pool().active[0].metadata();
    assert_eq!(metadata["a"].help, "what");
    assert_eq!(metadata["a"].kind.as_str(), "counter");
    assert_eq!(world.clock.now(), START);
}
