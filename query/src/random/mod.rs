//! Random queries and data for tests: the whole language, typed, from a seed or from a fuzzer's bytes.
//!
//! The same choices give the same text and the same data, always. What can be chosen is ordered from plain to
//! odd, and a fuzzer's bytes that are used up choose the plain one, so that every query ends. Data and queries
//! know each other: names, labels and times of [`random_data`] are those that [`QueryGenerator`] asks for.

mod choices;
mod data;
mod histograms;
mod language;
mod query;

pub use choices::Choices;
pub use data::{DATA_END, DATA_START, RandomSample, RandomSeries, random_data};
pub use language::Language;
pub use query::QueryGenerator;
