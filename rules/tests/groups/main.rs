//! Groups on set time over a real store: what is stored, sent and shown.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]
#![expect(
    clippy::format_push_string,
    clippy::format_collect,
    reason = "what a test prints is short"
)]

mod recorded;
mod world;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use narthex_rules::UpdateSettings;
use narthex_storage::{
    Appendable, Budget, Labels, Querier, Queryable, ReadError, Sample, TimeRange,
};
use world::{SHARED_BYTES, World, file, settings};

#[test]
fn recorded_series_get_the_name_and_labels_and_end_with_a_marker() {
    let world = World::new();
    world.load(
        "groups:
- name: a
  labels: {team: x, job: group}
  rules:
  - record: job:up:sum
    expr: sum by (job, zone) (up)
    labels: {job: rule, zone: ''}
  - record: next
    expr: job:up:sum * 2
",
    );
    world.put(&[("__name__", "up"), ("job", "a"), ("zone", "z")], 0, 1.0);
    world.evaluate(0);
    assert_eq!(
        world.query("{__name__=~'job:up:sum|next'}", 0),
        "{__name__=\"job:up:sum\", job=\"rule\", team=\"x\"} 1\n\
         {__name__=\"next\", job=\"group\", team=\"x\"} 2\n"
    );
    world.put(
        &[("__name__", "up"), ("job", "a"), ("zone", "z")],
        1,
        narthex_storage::stale_marker(),
    );
    world.evaluate(1);
    assert_eq!(world.query("{__name__=~'job:up:sum|next'}", 1), "");
}

/// As with Prometheus 3.5, whose rules take vectors in the order in which its head has series.
#[test]
fn vectors_are_recorded_and_looked_at_in_the_order_of_creation() {
    let world = World::new();
    world.load(
        "groups:
- name: a
  rules:
  - {record: zero, expr: up * 0}
  - alert: First
    expr: vector(1)
    annotations: {first: '{{ query \"up\" | first | label \"i\" }}'}
",
    );
    for instance in ["b", "c", "a"] {
        world.put(&[("__name__", "up"), ("i", instance)], 0, 1.0);
    }
    world.evaluate(0);
    assert_eq!(
        world.query("topk(2, zero)", 0),
        "{__name__=\"zero\", i=\"b\"} 0\n{__name__=\"zero\", i=\"c\"} 0\n"
    );
    let alerting = world.group().status().rules.remove(1).alerting.unwrap();
    assert_eq!(
        *alerting.alerts[0].annotations,
        [("first".to_owned(), "b".to_owned())]
    );
}

#[test]
fn the_queries_of_all_rules_share_their_memory() {
    let world = World::new();
    world.load("groups:\n- {name: a, rules: [{record: two, expr: 'up * 2'}]}\n");
    world.put(&[("__name__", "up")], 0, 1.0);
    let elsewhere = Budget::sharing(u64::MAX, Arc::clone(&world.shared));
    elsewhere.charge(SHARED_BYTES).unwrap();
    world.evaluate(0);
    assert_eq!(
        world.shown(),
        "two err (query processing would load too many samples into memory in query execution)\n"
    );
    drop(elsewhere);
    world.evaluate(1);
    assert_eq!(world.shown(), "two ok\n");
}

const TWO: &str =
    r#"label_replace(vector(1), "a", "x", "", "") or label_replace(vector(2), "a", "y", "", "")"#;

/// As Prometheus 3.5.3 shows these rules.
#[test]
fn a_rule_that_fails_is_shown_and_stops_no_other() {
    let world = World::new();
    world.load(&format!(
        "groups:
- name: a
  limit: 1
  rules:
  - {{record: l1, expr: '{TWO}'}}
  - {{alert: l2, expr: '{TWO}'}}
  - {{record: dup, expr: '{TWO}', labels: {{a: z}}}}
  - {{alert: DupA, expr: '{TWO}', labels: {{a: z}}}}
  - {{record: str, expr: '\"hello\"'}}
  - {{record: many, expr: 'vector(1) + on() group_right() vector(1) / on() ({TWO})'}}
  - {{record: sc, expr: 5}}
  - {{record: sc, expr: 6}}
  - {{alert: Good, expr: vector(3)}}
"
    ));
    assert_eq!(
        world.shown(),
        "l1 unknown\nl2 unknown unknown\ndup unknown\nDupA unknown unknown\nstr unknown\n\
         many unknown\nsc unknown\nsc unknown\nGood unknown unknown\n"
    );
    world.evaluate(0);
    assert_eq!(
        world.shown(),
        "l1 err (exceeded limit of 1 with 2 series)\n\
         l2 err (exceeded limit of 1 with 2 alerts) inactive\n\
         dup err (vector contains metrics with the same labelset after applying rule labels)\n\
         DupA err (vector contains metrics with the same labelset after applying alert labels) inactive\n\
         str err (rule result is not a vector or scalar)\n\
         many err (found duplicate series for the match group {} on the right hand-side of the operation: [{a=\"y\"}, {a=\"x\"}];many-to-many matching not allowed: matching labels must be unique on one side)\n\
         sc ok\n\
         sc err (duplicate sample for timestamp)\n\
         Good ok firing\n  {alertname=\"Good\"} firing since 0 value 3\n"
    );
    assert_eq!(world.query("{__name__=~'.+'}", 0), "{__name__=\"sc\"} 5\n");
    let counters = world.group().status().counters;
    assert_eq!(
        (
            counters.evaluations,
            counters.failures,
            counters.last_samples
        ),
        (9, 6, 2)
    );
}

#[test]
fn alerts_are_pending_fire_are_kept_firing_and_resolve() {
    let world = World::new();
    world.load(
        "groups:
- name: a
  rules:
  - alert: Down
    expr: up == 0
    for: 2m
    keep_firing_for: 2m
    labels: {severity: page}
    annotations: {text: plain, empty: ''}
",
    );
    let up = [("__name__", "up"), ("job", "j")];
    let mut told = String::new();
    let values = [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0];
    for (minute, value) in (0i64..).zip(values) {
        world.put(&up, minute, value);
        world.evaluate(minute);
        told += &format!("minute {minute}: {}", world.shown());
        told += &world.query("{__name__=~'ALERTS.*'}", minute);
        told += &world.sent();
    }
    expect_test::expect![[r#"
        minute 0: Down ok pending
          {alertname="Down", job="j", severity="page"} pending since 0 value 0
        minute 1: Down ok pending
          {alertname="Down", job="j", severity="page"} pending since 0 value 0
        minute 2: Down ok firing
          {alertname="Down", job="j", severity="page"} firing since 0 value 0
        {__name__="ALERTS", alertname="Down", alertstate="firing", job="j", severity="page"} 1
        {__name__="ALERTS_FOR_STATE", alertname="Down", job="j", severity="page"} 0
        {alertname="Down", job="j", severity="page"} [("empty", ""), ("text", "plain")] 2..6 http://localhost:9090/graph?g0.expr=up+%3D%3D+0&g0.tab=1
        minute 3: Down ok firing
          {alertname="Down", job="j", severity="page"} firing since 0 value 0
        {__name__="ALERTS", alertname="Down", alertstate="firing", job="j", severity="page"} 1
        {__name__="ALERTS_FOR_STATE", alertname="Down", job="j", severity="page"} 0
        minute 4: Down ok firing
          {alertname="Down", job="j", severity="page"} firing since 0 kept since 4 value 0
        {__name__="ALERTS", alertname="Down", alertstate="firing", job="j", severity="page"} 1
        {__name__="ALERTS_FOR_STATE", alertname="Down", job="j", severity="page"} 0
        {alertname="Down", job="j", severity="page"} [("empty", ""), ("text", "plain")] 2..8 http://localhost:9090/graph?g0.expr=up+%3D%3D+0&g0.tab=1
        minute 5: Down ok firing
          {alertname="Down", job="j", severity="page"} firing since 0 kept since 4 value 0
        {__name__="ALERTS", alertname="Down", alertstate="firing", job="j", severity="page"} 1
        {__name__="ALERTS_FOR_STATE", alertname="Down", job="j", severity="page"} 0
        minute 6: Down ok inactive
        {alertname="Down", job="j", severity="page"} [("empty", ""), ("text", "plain")] 2..6 http://localhost:9090/graph?g0.expr=up+%3D%3D+0&g0.tab=1
        minute 7: Down ok pending
          {alertname="Down", job="j", severity="page"} pending since 7 value 0
        {__name__="ALERTS", alertname="Down", alertstate="pending", job="j", severity="page"} 1
        {__name__="ALERTS_FOR_STATE", alertname="Down", job="j", severity="page"} 420
    "#]].assert_eq(&told);
}

#[test]
fn a_resolved_alert_is_sent_for_fifteen_minutes() {
    let world = World::new();
    world.load("groups: [{name: a, rules: [{alert: Down, expr: up == 0}]}]");
    let up = [("__name__", "up")];
    world.put(&up, 0, 0.0);
    world.evaluate(0);
    assert_eq!(
        world.sent(),
        "{alertname=\"Down\"} [] 0..4 http://localhost:9090/graph?g0.expr=up+%3D%3D+0&g0.tab=1\n"
    );
    let mut sent_at = Vec::new();
    for minute in 1..30 {
        world.put(&up, minute, 1.0);
        world.evaluate(minute);
        let sent = world.sent();
        if !sent.is_empty() {
            assert!(sent.contains(" 0..1 "), "{sent}");
            sent_at.push(minute);
        }
    }
    // Resolved at 1; then more than the resend delay of a minute lies between two; kept to 16.
    assert_eq!(sent_at, [1, 3, 5, 7, 9, 11, 13, 15]);
}

#[test]
fn queries_and_samples_lie_back_by_the_offset_and_alerts_do_not() {
    let world = World::new();
    world.load(
        "groups:
- name: a
  query_offset: 3m
  rules:
  - {record: at, expr: time() / 60}
  - {alert: A, expr: vector(time() / 60)}
",
    );
    for minute in 10..13 {
        world.evaluate(minute);
    }
    assert_eq!(
        world.shown(),
        "at ok\nA ok firing\n  {alertname=\"A\"} firing since 10 value 9\n"
    );
    assert_eq!(world.query("at", 9), "{__name__=\"at\"} 9\n");
    assert_eq!(world.query("timestamp(at) / 60", 12), "{} 9\n");
    assert_eq!(
        world.query("ALERTS_FOR_STATE", 9),
        "{__name__=\"ALERTS_FOR_STATE\", alertname=\"A\"} 600\n"
    );
    assert_eq!(world.query("ALERTS_FOR_STATE", 8), "");
}

#[test]
fn an_unchanged_group_goes_on_through_a_reload() {
    let world = World::new();
    let text = "groups: [{name: a, rules: [{alert: A, expr: vector(1), for: 5m}]}]";
    world.load(text);
    let before = world.group();
    world.evaluate(0);
    world.load(text);
    assert!(Arc::ptr_eq(&before, &world.group()));
    world.load(&text.replace("5m", "300s"));
    assert!(Arc::ptr_eq(&before, &world.group()));
    let other_labels = UpdateSettings {
        external_labels: Labels::from_pairs([("site", "x")]),
        ..settings()
    };
    world.manager.update(vec![file(text)], &other_labels);
    assert!(!Arc::ptr_eq(&before, &world.group()));
    assert_eq!(
        world.shown(),
        "A ok pending\n  {alertname=\"A\"} pending since 0 value 1\n"
    );
}

#[test]
fn a_changed_group_takes_over_alerts_and_series_and_ends_the_rest() {
    let world = World::new();
    world.load(
        "groups:
- name: a
  rules:
  - {alert: A, expr: vector(1), for: 2m, labels: {n: '1'}}
  - {alert: A, expr: vector(2), labels: {n: '1', m: x}}
  - {record: gone, expr: 1}
  - {record: kept, expr: 1}
  - {record: renamed, expr: 1}
",
    );
    let old = world.group();
    for minute in 0..4 {
        world.evaluate(minute);
    }
    world.sent();
    world.load(
        "groups:
- name: a
  rules:
  - {record: kept, expr: 2}
  - {alert: A, expr: vector(1), for: 10m, labels: {n: '1'}}
  - {record: new, expr: 1}
",
    );
    // The old group does nothing any more.
    old.evaluate(4 * 60_000);
    assert_eq!(world.query("gone", 4), "{__name__=\"gone\"} 1\n");
    assert_eq!(
        world.shown(),
        "kept ok\n\
         A ok firing\n  {alertname=\"A\", n=\"1\"} firing since 0 value 1\n\
         new unknown\n"
    );
    world.evaluate(4);
    // `for` was raised: the alert is pending again, and nothing is sent of it.
    assert_eq!(
        world.shown(),
        "kept ok\n\
         A ok pending\n  {alertname=\"A\", n=\"1\"} pending since 0 value 1\n\
         new ok\n"
    );
    assert_eq!(world.sent(), "");
    assert_eq!(
        world.query("{__name__=~'.+'}", 4),
        "{__name__=\"ALERTS\", alertname=\"A\", alertstate=\"pending\", n=\"1\"} 1\n\
         {__name__=\"ALERTS_FOR_STATE\", alertname=\"A\", n=\"1\"} 0\n\
         {__name__=\"kept\"} 2\n\
         {__name__=\"new\"} 1\n"
    );
}

#[test]
fn series_of_a_removed_group_end_after_two_intervals_unless_another_goes_on_with_them() {
    let world = World::new();
    world.load(
        "groups:
- {name: a, rules: [{record: gone, expr: 1}, {record: taken, expr: 1}]}
",
    );
    world.evaluate(0);
    world.clock.0.store(30_000, Ordering::Relaxed);
    world.load("groups: [{name: b, rules: [{record: taken, expr: 2}]}]");
    world.evaluate(1);
    world.manager.sweep();
    assert_eq!(world.query("gone", 1), "{__name__=\"gone\"} 1\n");
    world.evaluate(2);
    world.evaluate(3);
    world.manager.sweep();
    assert_eq!(world.query("gone", 1), "");
    assert_eq!(
        world.query("count_over_time(taken[3m]) + taken", 3),
        "{} 5\n"
    );
}

/// What Prometheus 3.5.3 does: the first two iterations write no `ALERTS`; then alerts are active
/// since when they were, the time in which the server was down not counted.
#[test]
fn the_time_that_an_alert_was_pending_is_restored_after_a_restart() {
    let mut world = World::new();
    let text = "groups:
- name: a
  rules:
  - {alert: Long, expr: vector(1), for: 30m, labels: {n: '{{ $value }}'}}
  - {alert: Nearly, expr: vector(1), for: 15m}
  - {alert: Fired, expr: vector(1), for: 10m}
  - {alert: Short, expr: vector(1), for: 9m}
  - {alert: New, expr: vector(1) and on() (vector(time()) > 1200), for: 30m}
";
    world.load(text);
    for minute in 0..=12 {
        world.evaluate(minute);
    }
    world.restart();
    world.load(text);
    world.evaluate(22);
    assert_eq!(world.query("count(ALERTS)", 22), "");
    assert_eq!(
        world.shown().matches("since 22").count(),
        5,
        "{}",
        world.shown()
    );
    world.evaluate(23);
    world.sent();
    expect_test::expect![[r#"
        Long ok pending
          {alertname="Long", n="1"} pending since 11 value 1
        Nearly ok pending
          {alertname="Nearly"} pending since 18 value 1
        Fired ok pending
          {alertname="Fired"} pending since 0 value 1
        Short ok pending
          {alertname="Short"} pending since 22 value 1
        New ok pending
          {alertname="New"} pending since 22 value 1
    "#]]
    .assert_eq(&world.shown());
    world.evaluate(24);
    assert!(world.sent().starts_with("{alertname=\"Fired\"} [] 24..28 "));
    assert_eq!(
        world.query("ALERTS_FOR_STATE{alertname='Fired'}", 24),
        "{__name__=\"ALERTS_FOR_STATE\", alertname=\"Fired\"} 0\n"
    );
    let status = world.group().status();
    assert_eq!(status.counters.last_restore, Some(Duration::ZERO));
}

#[test]
fn nothing_is_restored_from_before_the_outage_tolerance() {
    let mut world = World::new();
    let text = "groups: [{name: a, rules: [{alert: A, expr: vector(1), for: 30m}]}]";
    world.load(text);
    for minute in 0..=12 {
        world.evaluate(minute);
    }
    world.restart();
    world.load(text);
    for minute in 73..=74 {
        world.evaluate(minute);
    }
    assert_eq!(
        world.shown(),
        "A ok pending\n  {alertname=\"A\"} pending since 73 value 1\n"
    );
}

#[test]
fn a_store_that_takes_nothing_is_shown_as_the_rules_error() {
    let world = World::new();
    world.load("groups: [{name: a, rules: [{record: r, expr: 1}, {alert: A, expr: vector(1)}]}]");
    world.db.close().unwrap();
    for minute in 0..3 {
        world.evaluate(minute);
    }
    assert_eq!(
        world.shown(),
        "r err (the store is closed)\n\
         A err (the store is closed) firing\n  {alertname=\"A\"} firing since 0 value 1\n"
    );
    assert_eq!(
        world.sent(),
        "{alertname=\"A\"} [] 0..4 http://localhost:9090/graph?g0.expr=vector%281%29&g0.tab=1\n\
         {alertname=\"A\"} [] 0..6 http://localhost:9090/graph?g0.expr=vector%281%29&g0.tab=1\n"
    );
}

#[test]
fn missed_iterations_are_counted_and_a_stopped_group_does_nothing() {
    let world = World::new();
    world.load("groups: [{name: a, rules: [{record: r, expr: 1}]}]");
    world.evaluate(0);
    let group = world.group();
    group.note_missed(3);
    world.manager.stop();
    world.evaluate(4);
    let counters = group.status().counters;
    assert_eq!(
        (
            counters.iterations,
            counters.iterations_missed,
            counters.evaluations
        ),
        (4, 3, 1)
    );
    assert_eq!(world.query("timestamp(r)", 4), "{} 0\n");
}

#[test]
fn a_rule_may_yield_a_hundred_thousand_alerts() {
    let world = World::new();
    world
        .load("groups: [{name: a, rules: [{alert: A, expr: x}, {record: after, expr: count(x)}]}]");
    let mut appender = world.db.appender();
    for index in 0..100_000 {
        let labels = Labels::from_pairs([("__name__", "x"), ("i", &index.to_string())]);
        let series = appender.series(&labels).unwrap();
        appender.samples(
            series,
            &[Sample {
                time: 0,
                value: 1.0,
            }],
        );
    }
    appender.commit(true).unwrap();
    world.evaluate(0);
    assert_eq!(world.sink.sent.lock().unwrap().len(), 100_000);
    assert_eq!(world.query("after", 0), "{__name__=\"after\"} 100000\n");
}

/// As Prometheus 3.5.3 answered.
#[test]
fn labels_and_annotations_are_expanded_and_a_failing_template_says_so() {
    let world = World::new();
    let text = r#"groups:
- name: a
  labels: {team: g, over: g}
  rules:
  - alert: Always
    expr: label_replace(vector(1), "inst", "i1", "", "")
    labels: {empty: "{{ $labels.none }}", v: "v{{ $value }}", sev: page}
    annotations: {e: "", bad: "{{ query \"sum(\" }}", s: "{{ $labels.inst }} of {{ $labels.alertname }} {{ $externalLabels.site }}"}
- name: off
  query_offset: 10s
  rules:
  - alert: OffA
    expr: vector(time())
    annotations: {t: '{{ with query "time()" }}{{ . | first | value }}{{ end }}'}
"#;
    let settings = UpdateSettings {
        external_labels: Labels::from_pairs([("site", "home")]),
        ..settings()
    };
    world.manager.update(vec![file(text)], &settings);
    let groups = world.manager.groups();
    for second in [100, 160, 220] {
        world.clock.0.store(second * 1000, Ordering::Relaxed);
        for group in &groups {
            group.evaluate(second * 1000);
        }
    }
    let alerts: String = groups
        .iter()
        .flat_map(|group| group.status().rules)
        .flat_map(|rule| rule.alerting.unwrap().alerts)
        .map(|alert| format!("{} {:#?}\n", alert.labels, alert.annotations))
        .collect();
    expect_test::expect![[r#"
        {alertname="Always", inst="i1", over="g", sev="page", team="g", v="v1"} [
            (
                "bad",
                "<error expanding template: error executing template __alert_Always: template: __alert_Always:1:115: executing \"__alert_Always\" at <query \"sum(\">: error calling query: 1:5: parse error: unclosed left parenthesis>",
            ),
            (
                "e",
                "",
            ),
            (
                "s",
                "i1 of  home",
            ),
        ]
        {alertname="OffA"} [
            (
                "t",
                "220",
            ),
        ]
    "#]].assert_eq(&alerts);
    world.clock.0.store(240_000, Ordering::Relaxed);
    assert_eq!(
        world.query("ALERTS", 4),
        "{__name__=\"ALERTS\", alertname=\"Always\", alertstate=\"firing\", empty=\"{{ $labels.none }}\", inst=\"i1\", over=\"g\", sev=\"page\", team=\"g\", v=\"v1\"} 1\n\
         {__name__=\"ALERTS\", alertname=\"OffA\", alertstate=\"firing\"} 1\n"
    );
}

#[test]
fn a_query_that_takes_too_long_fails_its_rule_alone() {
    let world = World::new();
    world.load(
        "groups: [{name: a, rules: [{record: slow, expr: sum(x)}, {alert: A, expr: x > 0}]}]",
    );
    world.put(&[("__name__", "x")], 0, 1.0);
    world.clock.1.store(130_000, Ordering::Relaxed);
    world.evaluate(0);
    assert_eq!(
        world.shown(),
        "slow err (query timed out in expression evaluation)\n\
         A err (query timed out in expression evaluation) inactive\n"
    );
    world.clock.1.store(0, Ordering::Relaxed);
    world.evaluate(1);
    assert!(world.shown().starts_with("slow ok\nA ok firing\n"));
}

/// A store that fails in ways that no store should.
struct Faulty;

impl Queryable for Faulty {
    fn querier(&self, _: TimeRange) -> Result<Box<dyn Querier>, ReadError> {
        panic!("a fault that a test plants");
    }
}

#[test]
fn a_panic_ends_the_evaluation_of_its_rule_alone() {
    let mut world = World::new();
    world.manager = world.manager_on(Arc::new(Faulty));
    world.load("groups: [{name: a, rules: [{record: r, expr: x}, {alert: A, expr: x}]}]");
    for minute in 0..3 {
        world.evaluate(minute);
    }
    assert_eq!(
        world.shown(),
        "r err (the evaluation panicked)\nA err (the evaluation panicked) inactive\n"
    );
    let counters = world.group().status().counters;
    assert_eq!((counters.iterations, counters.failures), (3, 6));
}
