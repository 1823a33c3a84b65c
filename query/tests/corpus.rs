//! Runs the scripts of `corpus/`; every evaluation must pass.

use narthex_query::{
    Features,
    testscript::{RunOptions, StoreKind, run},
};

#[test]
fn every_evaluation_passes_on_series_in_memory() {
    check(StoreKind::Memory);
}

#[test]
fn every_evaluation_passes_on_series_in_a_store() {
    check(StoreKind::Database);
}

fn check(store: StoreKind) {
    let options = RunOptions {
        store,
        ..RunOptions::default()
    };
    let mut failures = Vec::new();
    for (name, text, total) in [
        ("extended", include_str!("corpus/extended.test"), 27),
        ("fill", include_str!("corpus/fill.test"), 10),
        ("functions", include_str!("corpus/functions.test"), 43),
        ("info", include_str!("corpus/info.test"), 21),
        ("language", include_str!("corpus/language.test"), 27),
        ("parity", include_str!("corpus/parity.test"), 38),
        ("resets", include_str!("corpus/resets.test"), 18),
        (
            "start_timestamps",
            include_str!("corpus/start_timestamps.test"),
            30,
        ),
    ] {
        let report = run(text, name, &options);
        assert_eq!(report.total, total, "evaluations of {name}");
        failures.extend(report.failures.into_iter().map(|failure| (name, failure)));
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn start_timestamps_count_only_where_enabled() {
    let script = "load 1m\n  c_total@st _ -30s -30s\n  c_total _ 45 50\n\n\
                  eval instant at 2m start_timestamp(c_total)\n\n\
                  eval instant at 1m increase(c_total[5m])\n\n\
                  eval instant at 2m irate(c_total[5m])\n  {} 0.08333333333333333";
    let options = RunOptions {
        features: Features {
            start_timestamps: false,
            ..Features::ALL
        },
        ..RunOptions::default()
    };
    let report = run(script, "off", &options);
    assert_eq!((report.passed, &report.failures[..]), (3, &[][..]));
}

/// The texts are those of Prometheus 3.14; 3.5.3 names the counter alone.
#[test]
fn types_tell_what_is_no_counter_where_enabled() {
    let info = "  expect info msg: PromQL info: metric might not be a counter, __type__ label is not \
                set to \"counter\" or \"histogram\", got";
    let script = format!(
        "load 1m\n  a_total{{__type__=\"gauge\"}} 1 2\n  b{{__type__=\"counter\"}} 1 2\n  \
         c{{__type__=\"histogram\"}} 1 2\n  d_total 1 2\n\n\
         eval instant at 1m rate(a_total[5m])\n{info} \"gauge\": \"a_total\" (1:6)\n  \
         {{}} 0.005\n\n\
         eval instant at 1m sum(rate({{__name__=~\"b|c\"}}[5m]))\n  expect no_info\n  {{}} 0.01\n\n\
         eval instant at 1m increase(d_total[5m])\n{info} \"\": \"d_total\" (1:10)\n  {{}} 1.5\n\n\
         eval instant at 1m irate(d_total[5m])\n  expect no_info\n  {{}} 0.016666666666666666"
    );
    let options = RunOptions {
        features: Features {
            type_and_unit_labels: true,
            ..Features::ALL
        },
        ..RunOptions::default()
    };
    let report = run(&script, "types", &options);
    assert_eq!((report.passed, &report.failures[..]), (4, &[][..]));
}

/// The answers are those of Prometheus 3.5.3.
#[test]
fn what_is_told_of_a_histogram_keeps_its_type_and_unit() {
    let script = "load 1m\n  h{__type__=\"histogram\",__unit__=\"s\"} {{sum:7 count:7 buckets:[1 6]}}\n\n\
                  eval instant at 1m histogram_count(h)\n  {__type__=\"histogram\", __unit__=\"s\"} 7\n\n\
                  eval instant at 1m histogram_avg(h)\n  {__type__=\"histogram\", __unit__=\"s\"} 1\n\n\
                  eval instant at 1m histogram_quantile(1, h)\n  {} 2\n\n\
                  eval instant at 1m h / 1\n  {} {{sum:7 count:7 buckets:[1 6]}}";
    let options = RunOptions {
        features: Features {
            delayed_name_removal: false,
            ..Features::ALL
        },
        ..RunOptions::default()
    };
    let report = run(script, "kept", &options);
    assert_eq!((report.passed, &report.failures[..]), (4, &[][..]));
}
