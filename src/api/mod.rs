//! The HTTP API under `/api/v1` and what its answers are made of.
//!
//! One [`State`] holds everything the HTTP side reads; [`crate::web::router`] turns it into a
//! router. Nothing here keeps data of its own but request metrics. What always holds: every answer
//! is an envelope with an error type out of one total table, every read runs on the bounded blocking
//! pool and ends when its client goes away.

mod error;
mod gate;
mod handover;
pub(crate) mod json;
mod metrics;
pub(crate) mod multipart;
mod params;
mod response;
mod result_cache;
mod state;
mod streamed;
#[cfg(test)]
pub(crate) mod test_support;
pub(crate) mod v1;

pub(crate) use error::{ApiError, ErrorType};
pub use gate::Gate;
pub(crate) use gate::{CancelOnDrop, Read};
pub use metrics::HttpMetrics;
pub(crate) use params::{FORM_BYTES_MAX, Instant, Params, quote};
pub(crate) use response::{
    Answer, Success, accepted_encoding, compress, compress_stream, error_text, respond, text,
};
pub use result_cache::result_cache;
pub use state::{
    Configuration, Control, HeadStatistics, ReadExemplars, ReadMetadata, Readiness, Settings,
    State, Store, StoreAdmin, WithMetadata,
};
pub(crate) use streamed::{AnswerWriter, ClientGone, Content};
pub use v1::targets::{ActiveTarget, DroppedTarget, TargetHealth, TargetMetadata, TargetPool};
