//! `--diff`: expected and received alerts as one JSON text in which what is missing is red, what is
//! too much is green and what differs is yellow.

use std::collections::BTreeSet;

use narthex_query::parser::quote;

use super::report::ComparedAlert;

const ADDED: &str = "\u{1b}[0;32m";
const REMOVED: &str = "\u{1b}[0;31m";
const CHANGED: &str = "\u{1b}[0;33m";
const PLAIN: &str = "\u{1b}[0m";

type Object = [(String, String)];

/// The difference; no alerts count as one without labels and annotations, as in promtool.
pub(super) fn diff(expected: &[ComparedAlert], got: &[ComparedAlert]) -> String {
    let nothing = [ComparedAlert {
        labels: Vec::new(),
        annotations: Vec::new(),
    }];
    let or_nothing = |alerts: &[ComparedAlert]| {
        if alerts.is_empty() {
            nothing.to_vec()
        } else {
            alerts.to_vec()
        }
    };
    let (expected, got) = (or_nothing(expected), or_nothing(got));
    let count = expected.len().max(got.len());
    let mut items = Vec::new();
    for index in 0..count {
        items.push(match (expected.get(index), got.get(index)) {
            (Some(expected), Some(got)) => both(expected, got),
            (Some(expected), None) => whole(expected, REMOVED),
            (None, Some(got)) => whole(got, ADDED),
            (None, None) => String::new(),
        });
    }
    format!("[\n{}\n]", items.join(",\n"))
}

fn both(expected: &ComparedAlert, got: &ComparedAlert) -> String {
    let object = |name: &str, expected: &Object, got: &Object| {
        let fields = fields(expected, got);
        if fields.is_empty() {
            return format!("        {name}: {{}}");
        }
        let lines: Vec<String> = fields
            .into_iter()
            .map(|field| format!("            {field}"))
            .collect();
        format!("        {name}: {{\n{}\n        }}", lines.join(",\n"))
    };
    format!(
        "    {{\n{},\n{}\n    }}",
        object("\"Annotations\"", &expected.annotations, &got.annotations),
        object("\"Labels\"", &expected.labels, &got.labels)
    )
}

fn fields(expected: &Object, got: &Object) -> Vec<String> {
    let find = |object: &Object, name: &str| {
        let found = object.iter().find(|(candidate, _)| candidate == name);
        found.map(|(_, value)| quote(value))
    };
    let names: BTreeSet<&String> = expected.iter().chain(got).map(|(name, _)| name).collect();
    names
        .into_iter()
        .map(|name| {
            let key = quote(name);
            match (find(expected, name), find(got, name)) {
                (Some(expected), Some(got)) if expected == got => format!("{key}: {got}"),
                (Some(expected), Some(got)) => {
                    format!("{key}: {CHANGED}{expected} => {got}{PLAIN}")
                }
                (Some(expected), None) => format!("{REMOVED}{key}: {expected}{PLAIN}"),
                (None, got) => format!("{ADDED}{key}: {}{PLAIN}", got.unwrap_or_default()),
            }
        })
        .collect()
}

/// An alert that is only on one side: every line has the colour.
fn whole(alert: &ComparedAlert, colour: &str) -> String {
    let mut lines = vec![(1, "{".to_owned())];
    for (name, object, comma) in [
        ("\"Annotations\"", &alert.annotations, ","),
        ("\"Labels\"", &alert.labels, ""),
    ] {
        if object.is_empty() {
            lines.push((2, format!("{name}: {{}}{comma}")));
            continue;
        }
        lines.push((2, format!("{name}: {{")));
        for (index, (key, value)) in object.iter().enumerate() {
            let comma = if index + 1 < object.len() { "," } else { "" };
            lines.push((3, format!("{}: {}{comma}", quote(key), quote(value))));
        }
        lines.push((2, format!("}}{comma}")));
    }
    lines.push((1, "}".to_owned()));
    let lines: Vec<String> = lines
        .into_iter()
        .map(|(depth, text)| format!("{}{colour}{text}{PLAIN}", "    ".repeat(depth)))
        .collect();
    lines.join("\n")
}
