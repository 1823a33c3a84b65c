//! Runs scripts in the language of Prometheus's own PromQL tests: `load`, `clear`, `eval`.
//!
//! ```text
//! load 1m
//!   requests_total{path="/"} 0+60x10
//!
//! eval instant at 5m rate(requests_total[5m])
//!   {path="/"} 1
//! ```
//!
//! Each `eval` counts once, passed or failed. An instant evaluation must also answer the same in
//! the middle of a range query, as upstream demands. The engine is set as in upstream's runner:
//! experimental functions, start timestamps, a lookback of 5 m, subqueries without a step at 1 m, at
//! most 10,000 samples. A line `x@st -1m` says since when the samples of `x` count, from their times.

mod compare;
mod custom_buckets;
mod database;
mod histograms;
mod memory;
mod run;
mod script;
mod start_times;
mod values;

pub use histograms::describe_histogram;
pub use memory::MemoryStore;
pub use run::{Failure, Report, RunOptions, StoreKind, run};
pub use values::{SeriesError, SeriesLine, Values, parse_metric, parse_series};
