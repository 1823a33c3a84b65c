//! Rules: files, groups, recording and alerting rules, their templates and their unit tests.
//!
//! **What it is not.** It opens no socket, starts no thread and reads no clock: the server says when
//! a group is to be evaluated and carries the alerts away.

mod template;

pub use template::{Template, TemplateError};
