//! Rules: files, groups, recording and alerting rules, their templates and their unit tests.
//!
//! **What it is not.** It opens no socket, starts no thread and reads no clock: the server says when
//! a group is to be evaluated and carries the alerts away.

mod alerting;
mod check;
mod decode;
mod error;
mod file;
mod group;
mod link;
mod manager;
mod output;
mod recording;
mod restore;
mod sink;
mod slot;
mod status;
mod template;
mod text;
pub mod unit_test;

pub use error::{RuleFileError, RuleFileErrors};
pub use file::{
    AlertConfig, FILE_BYTES_MAX, FileOptions, GROUPS_MAX, GroupConfig, RULES_MAX, RuleConfig,
    RuleFile, RuleKind, RuleQuery, parse_rule_file,
};
pub use group::Group;
pub use manager::{EvaluationObserver, Manager, ManagerOptions, UpdateSettings};
pub use sink::{AlertMessage, AlertSink, Pairs};
pub use status::{
    AlertState, AlertStatus, AlertingStatus, GroupCounters, GroupStatus, Health, RuleStatus,
};
pub use template::{QueryFunction, Template, TemplateData, TemplateError};
