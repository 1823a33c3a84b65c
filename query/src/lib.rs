//! PromQL: parser and engine over `narthex-storage`'s read contract.
//!
//! **What it is not.** It never sees a page, a file or a lock, starts no threads of its own, reads
//! no clock and no environment. Any [`narthex_storage::Queryable`] will do.

mod duration;
mod error;
mod format;
pub mod functions;
pub mod parser;
mod value;

pub use duration::{DurationError, format_duration, parse_duration};
pub use error::QueryError;
pub use format::{FloatStyle, format_float, push_float};
pub use value::{Series, Value, VectorSample};
