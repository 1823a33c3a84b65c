//! The queries of a stack's dashboards: `queries.txt`, one a line.
//!
//! `instant | PANEL | QUERY` or `range LENGTH STEP | PANEL | QUERY`; the query is what follows the
//! second ` | `, whatever it contains. `#` begins a comment line.

use std::{collections::BTreeSet, fs};

use narthex_query::parser::{ParserOptions, parse};

use super::exporter::{folder, seconds};

/// A panel's query.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) panel: String,
    /// Length and step in seconds; an instant query has none.
    pub(crate) range: Option<(f64, f64)>,
    pub(crate) expression: String,
}

/// Reads `tests/stacks/<stack>/queries.txt`.
pub(crate) fn load(stack: &str) -> Vec<Query> {
    let text = fs::read_to_string(folder(stack).join("queries.txt")).unwrap();
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| query(line).unwrap_or_else(|| panic!("{stack}: not understood: {line}")))
        .collect()
}

fn query(line: &str) -> Option<Query> {
    let mut parts = line.splitn(3, " | ");
    let (kind, panel, expression) = (parts.next()?, parts.next()?, parts.next()?);
    let words: Vec<&str> = kind.split(' ').collect();
    let range = match words[..] {
        ["instant"] => None,
        ["range", length, step] => Some((seconds(length)?, seconds(step)?)),
        _ => return None,
    };
    Some(Query {
        panel: panel.to_owned(),
        range,
        expression: expression.to_owned(),
    })
}

for_each_stack!(every_query_parses_and_every_panel_has_a_name_of_its_own);

fn every_query_parses_and_every_panel_has_a_name_of_its_own(stack: &str) {
    let mut panels = BTreeSet::new();
    for query in load(stack) {
        parse(&query.expression, ParserOptions::default())
            .unwrap_or_else(|error| panic!("{stack}, {}: {error:?}", query.panel));
        assert!(
            query.range.is_none_or(|(length, step)| {
                step > 0.0 && length >= step && length / step <= 11_000.0
            }),
            "{stack}, {}: the range",
            query.panel
        );
        assert!(
            panels.insert(query.panel.clone()),
            "{stack}: two panels {}",
            query.panel
        );
    }
}
