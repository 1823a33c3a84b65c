//! Narthex: a monitoring server that takes Prometheus's place.
//!
//! This crate is wiring, HTTP and process: the only place with sockets, signals and an async
//! runtime. Samples live in `narthex-storage`, PromQL in `narthex-query`. To follow a sample start
//! at [`scrape`], a query at [`api`], the start and stop order at [`server`].

pub mod api;
pub mod cli;
mod client;
pub mod clock;
pub mod config;
pub mod discovery;
pub mod ingest;
pub mod notifier;
pub mod relabel;
pub mod remote_read;
pub mod scrape;
pub mod self_metrics;
pub mod server;
pub mod telemetry;
pub mod web;
mod wire_histogram;

/// The version of Prometheus whose API, flags and PromQL are followed; what clients are told.
pub const PROMETHEUS_VERSION: &str = "3.14.0";
