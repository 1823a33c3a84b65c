//! Scraping: from targets to rows in the store.
//!
//! To follow a sample: discovery's groups become the targets of a [`pool`](ScrapeManager::pools), a
//! loop fetches its target on schedule, the line cache finds each line's column (or the exposition
//! parser reads it), and the row is committed, one commit a scrape.
//!
//! **What always holds.** A scrape is stored whole or as failed: a body that does not parse, or
//! breaks a limit, leaves no sample but the report series, and every other series ends with a
//! staleness marker. One target never holds up another. Nothing here reads a clock but the one it is
//! given.
//!
//! **Limits.** A body has at most 256 MiB uncompressed, or `body_size_limit`; bodies above 64 MiB
//! are not kept between scrapes; ten redirects; the timeout holds for the whole exchange.

mod body_appender;
mod client;
mod content_type;
pub mod exposition;
mod line_cache;
mod manager;
mod pool;
mod report;
mod rows;
mod scrape_loop;
mod target;
#[cfg(test)]
mod tests;

pub use body_appender::BodyAppender;
pub(crate) use client::{FetchError, ScrapeClient};
pub use manager::{ScrapeManager, ScrapeOptions};
pub use report::{PoolReport, TargetHealth, TargetReport, TargetStatus};
pub(crate) use target::{ScrapeUrl, first_problem};

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        text = format!("{text}: {current}");
        cause = current.source();
    }
    text
}
