//! PromQL: parser and engine over `narthex-storage`'s read contract.
//!
//! **What it is not.** It never sees a page, a file or a lock, starts no threads but for those that its caller grants
//! ([`Slicing`]), reads no clock and no environment. Any [`narthex_storage::Queryable`] will do.

mod annotations;
mod cache;
mod duration;
mod engine;
mod error;
mod eval;
mod float_text;
mod format;
pub mod functions;
mod histogram;
pub mod parser;
#[cfg(feature = "random")]
pub mod random;
mod slicing;
#[cfg(feature = "testscript")]
pub mod testscript;
mod value;

pub use cache::{ResultCache, ResultCacheStats};
pub use duration::{DurationError, format_duration, parse_duration};
pub use engine::{Answer, Engine, EngineOptions, Features, Grid, QueryContext};
pub use error::QueryError;
pub use format::{FloatStyle, format_float, push_float};
pub use histogram::{Bucket, FloatHistogram};
pub use slicing::{Slicing, Workers};
pub use value::{HistogramSample, Matrix, MatrixRow, SampleValue, Series, Value, VectorSample};
