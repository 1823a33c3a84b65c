//! Unit tests of rules in promtool's file format: input series, what the rules make of them, and
//! what alerts and expressions are expected at which times.
//!
//! Each test has a store of its own in memory. Input samples and groups advance together: at every
//! evaluation interval from the start to the latest time that is asked about, first the samples up to
//! that time are appended, then every group is evaluated, whatever its own interval is, then the
//! alerts asked about in the interval that begins there are compared. Expressions are evaluated at
//! the end and see what was appended by then.
//!
//! **What it is not.** It reads no files and prints nothing: the caller hands in texts and carries the
//! messages away.
//!
//! **Source**: promtool of Prometheus 3.5.3, whose messages these are.

mod diff;
mod file;
mod report;
mod run;
mod series;

pub use file::{
    AlertTest, ExpectedAlert, ExpectedSample, ExprTest, InputSeries, TestFile, TestGroup,
};
pub use report::go_duration;
pub use run::{TestOptions, TestReport, run_test};
