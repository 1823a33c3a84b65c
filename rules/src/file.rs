//! Rule files: their types and how they are read.
//!
//! A file is read strictly: unknown and repeated keys, values of a wrong kind, expressions and
//! templates that do not parse are errors, all of them reported at once as `promtool check rules`
//! does, each with its place. Where Prometheus decodes a file twice and says the same twice, it is
//! said once.
//!
//! Limits: [`FILE_BYTES_MAX`], [`GROUPS_MAX`], [`RULES_MAX`].
//!
//! **Source**: Prometheus `model/rulefmt`; messages as observed in promtool 3.5.3.

use std::{path::Path, rc::Rc, sync::Arc, time::Duration};

use narthex_query::parser::{Expr, ParserOptions};
use narthex_yaml::{Node, Position};

use crate::{
    check,
    decode::{Abort, Decoder, Entry, Problem},
    error::RuleFileErrors,
    sink::Pairs,
    text::Texts,
};

/// The largest rule file, in bytes.
pub const FILE_BYTES_MAX: usize = 64 << 20;
/// The most groups in a file.
pub const GROUPS_MAX: usize = 100_000;
/// The most rules in a file.
pub const RULES_MAX: usize = 1_000_000;

/// How rule files are read.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileOptions {
    /// Unknown keys are no errors.
    pub ignore_unknown_fields: bool,
    /// Which expressions parse.
    pub parser: ParserOptions,
}

/// A rule file that was read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleFile {
    /// Its path, as it is shown and as it identifies its groups.
    pub path: String,
    /// Its groups, in its order, names unique.
    pub groups: Vec<GroupConfig>,
}

/// A group as written.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupConfig {
    /// Its name, not empty.
    pub name: String,
    /// How often it is evaluated; `None` (also for `0s`): the default.
    pub interval: Option<Duration>,
    /// How far back its queries and results lie; `None`: the default.
    pub query_offset: Option<Duration>,
    /// The most series or alerts that one of its rules may yield; 0 and below: no limit.
    pub limit: i64,
    /// Labels for all its rules, ascending by name; already part of each rule's labels.
    pub labels: Pairs,
    /// Its rules, in their order.
    pub rules: Vec<RuleConfig>,
}

/// A rule as written.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleConfig {
    /// What it does with its result.
    pub kind: RuleKind,
    /// Its expression.
    pub query: Arc<RuleQuery>,
    /// Labels that its results get, ascending by name, those of the group below its own. An empty
    /// value removes the label.
    pub labels: Pairs,
    /// What an alerting rule's labels and annotations say, parsed.
    pub(crate) texts: Texts,
}

/// What a rule does with its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleKind {
    /// Stores it as series of this name.
    Recording {
        /// The metric name.
        record: String,
    },
    /// Makes alerts of it.
    Alerting(AlertConfig),
}

/// What only alerting rules have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertConfig {
    /// The alert's name.
    pub alert: String,
    /// How long an alert is pending before it fires.
    pub hold: Duration,
    /// How long an alert goes on firing when its condition is gone.
    pub keep_firing_for: Duration,
    /// Templates of what is said about its alerts, ascending by name.
    pub annotations: Pairs,
}

/// A rule's expression; equal when the printed texts are.
#[derive(Debug, Clone)]
pub struct RuleQuery {
    /// The tree.
    pub expr: Expr,
    /// As Prometheus prints the tree on one line.
    pub text: String,
}

impl PartialEq for RuleQuery {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl RuleConfig {
    /// The alert's or the series' name.
    pub fn name(&self) -> &str {
        match &self.kind {
            RuleKind::Recording { record } => record,
            RuleKind::Alerting(alert) => &alert.alert,
        }
    }
}

impl RuleFile {
    /// How many rules it has.
    pub fn rule_count(&self) -> usize {
        self.groups.iter().map(|group| group.rules.len()).sum()
    }
}

/// Reads and checks a rule file.
///
/// # Errors
/// [`RuleFileErrors`]: everything that is wrong with it.
pub fn parse_rule_file(
    path: &Path,
    bytes: &[u8],
    options: &FileOptions,
) -> Result<RuleFile, RuleFileErrors> {
    let shown = path.display().to_string();
    let errors = RuleFileErrors::new(&shown, bytes);
    if bytes.len() > FILE_BYTES_MAX {
        let text = format!(
            "the file has {} bytes, the limit is {FILE_BYTES_MAX}: split it",
            bytes.len()
        );
        return Err(errors.with_plain(&text, None));
    }
    let root = match narthex_yaml::parse(bytes) {
        Ok(root) => root,
        Err(error) => return Err(errors.with_plain(&error.message, error.position)),
    };
    let mut decoder = Decoder::new(options.ignore_unknown_fields);
    let groups = match root.map(|root| read_file(&mut decoder, &root)) {
        None => Vec::new(),
        Some(Ok(groups)) => groups,
        Some(Err(Abort(Problem { position, text }))) => {
            return Err(errors.with_plain(&text, Some(position)));
        }
    };
    let problems = decoder.into_problems();
    if !problems.is_empty() {
        return Err(errors.with_unmarshal_errors(&problems));
    }
    let (groups, faults) = check::check(groups, options.parser);
    if !faults.is_empty() {
        return Err(errors.with_faults(faults));
    }
    Ok(RuleFile {
        path: shown,
        groups,
    })
}

/// A group as read, not checked.
#[derive(Debug, Default)]
pub(crate) struct RawGroup {
    pub(crate) position: Position,
    pub(crate) name: String,
    pub(crate) interval: Duration,
    pub(crate) query_offset: Option<Duration>,
    pub(crate) limit: i64,
    pub(crate) labels: Vec<Entry>,
    pub(crate) rules: Vec<RawRule>,
}

/// A rule as read, not checked.
#[derive(Debug, Default)]
pub(crate) struct RawRule {
    pub(crate) position: Position,
    pub(crate) record: Placed,
    pub(crate) alert: Placed,
    pub(crate) expr: Placed,
    pub(crate) hold: Duration,
    pub(crate) keep_firing_for: Duration,
    pub(crate) labels: Vec<Entry>,
    pub(crate) annotations: Vec<Entry>,
}

/// A text with the place of its node, if there is one.
#[derive(Debug, Default, Clone)]
pub(crate) struct Placed {
    pub(crate) text: String,
    pub(crate) position: Option<Position>,
}

fn read_file(decoder: &mut Decoder, root: &Rc<Node>) -> Result<Vec<RawGroup>, Abort> {
    const TYPE: &str = "rulefmt.RuleGroups";
    let mut groups = Vec::new();
    for field in decoder.fields(root, TYPE)? {
        if field.name == "groups" {
            let items = decoder.items(&field.value, "[]rulefmt.RuleGroup");
            let mut rules_left = RULES_MAX;
            if items.len() > GROUPS_MAX {
                let text = format!("more than {GROUPS_MAX} groups in a file: split it");
                return Err(too_many(&field.value, text));
            }
            for item in items {
                groups.push(read_group(decoder, &item, &mut rules_left)?);
            }
        } else {
            decoder.unknown(&field, TYPE);
        }
    }
    Ok(groups)
}

fn too_many(node: &Node, text: String) -> Abort {
    Abort(Problem {
        position: node.position,
        text,
    })
}

fn read_group(
    decoder: &mut Decoder,
    node: &Rc<Node>,
    rules_left: &mut usize,
) -> Result<RawGroup, Abort> {
    const TYPE: &str = "rulefmt.RuleGroup";
    let mut group = RawGroup {
        position: node.position,
        ..RawGroup::default()
    };
    for field in decoder.fields(node, TYPE)? {
        let value = &field.value;
        match field.name.as_str() {
            "name" => group.name = decoder.text(value),
            "interval" => group.interval = decoder.duration(value)?,
            "query_offset" if crate::decode::is_null(value) => group.query_offset = None,
            "query_offset" => group.query_offset = Some(decoder.duration(value)?),
            "limit" => group.limit = decoder.integer(value),
            "labels" => group.labels = decoder.text_map(value)?,
            "rules" => {
                let items = decoder.items(value, "[]rulefmt.Rule");
                *rules_left = rules_left.checked_sub(items.len()).ok_or_else(|| {
                    let text = format!("more than {RULES_MAX} rules in a file: split it");
                    too_many(value, text)
                })?;
                for item in items {
                    group.rules.push(read_rule(decoder, &item)?);
                }
            }
            _ => decoder.unknown(&field, TYPE),
        }
    }
    Ok(group)
}

fn read_rule(decoder: &mut Decoder, node: &Rc<Node>) -> Result<RawRule, Abort> {
    const TYPE: &str = "rulefmt.Rule";
    let mut rule = RawRule {
        position: node.position,
        ..RawRule::default()
    };
    for field in decoder.fields(node, TYPE)? {
        let value = &field.value;
        match field.name.as_str() {
            "record" => rule.record = placed(decoder, value),
            "alert" => rule.alert = placed(decoder, value),
            "expr" => rule.expr = placed(decoder, value),
            "for" => rule.hold = decoder.duration(value)?,
            "keep_firing_for" => rule.keep_firing_for = decoder.duration(value)?,
            "labels" => rule.labels = decoder.text_map(value)?,
            "annotations" => rule.annotations = decoder.text_map(value)?,
            _ => decoder.unknown(&field, TYPE),
        }
    }
    Ok(rule)
}

fn placed(decoder: &mut Decoder, node: &Node) -> Placed {
    Placed {
        text: decoder.text(node),
        position: Some(node.position),
    }
}
