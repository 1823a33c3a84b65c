//! Starts the real binary and speaks to it. Every wait is for a condition, with a deadline; every
//! server that a test leaves behind is killed by its pid; unexpected WARN and ERROR lines fail the
//! test.

mod alertmanager;
mod http;
mod listener;
mod process;
mod remote_write;
mod target;

pub(crate) use alertmanager::{Alertmanager, Behaviour, PostedAlert};
pub(crate) use http::{Response, request};
pub(crate) use process::{Outcome, Server, ServerBuilder, binary, run, run_program, wait_until};
pub(crate) use remote_write::{Pushed, encode};
pub(crate) use target::{Exporter, Target};
