//! Runs the scripts of `corpus/`; every evaluation must pass.

use narthex_query::testscript::{RunOptions, run};

#[test]
fn every_evaluation_passes() {
    let mut failures = Vec::new();
    for (name, text, total) in [
        ("functions", include_str!("corpus/functions.test"), 43),
        ("info", include_str!("corpus/info.test"), 21),
        ("language", include_str!("corpus/language.test"), 25),
    ] {
        let report = run(text, name, &RunOptions::default());
        assert_eq!(report.total, total, "evaluations of {name}");
        failures.extend(report.failures.into_iter().map(|failure| (name, failure)));
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
