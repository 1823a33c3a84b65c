//! Metadata of metric families, as scrape targets gave it, and as it was pushed.
//!
//! What targets give is what the active ones say now, as in Prometheus. A family of which none says
//! anything is listed as it was pushed, newest first; Prometheus does not list it. Families come in the order of their names, where Prometheus's order changes from answer to
//! answer.

use std::collections::BTreeMap;

use narthex_query::parser::parse_selector;
use narthex_storage::KeptMetadata;

use super::{Answer, ApiError, Call, Success, targets::metadata_by_family};
use crate::api::{
    TargetMetadata, WithMetadata,
    json::{Escape, push_labels, push_string},
    params::parse_integer,
};

/// `/api/v1/metadata`
pub(crate) fn metadata(call: &Call) -> Answer {
    let limit = whole(call, "limit")?.unwrap_or(-1);
    // No entry at all makes no sense, so 0 means all of them, as a negative number does.
    let per_metric = whole(call, "limit_per_metric")?.unwrap_or(-1);
    let metric = call.params.first("metric");
    let pools = (call.state.targets)(WithMetadata::Yes);
    let mut families = metadata_by_family(&pools);
    let kept = (call.state.open_store()?.metadata)(Some(metric).filter(|name| !name.is_empty()));
    let pushed = pushed_by_family(kept);
    for (name, entries) in &pushed {
        let entries = || entries.iter().collect();
        families.entry(name).or_insert_with(entries);
    }
    let families = families
        .iter()
        .filter(|(name, _)| metric.is_empty() || **name == metric)
        .take(usize::try_from(limit).unwrap_or(usize::MAX));

    let mut success = Success::new();
    let out = &mut success.body;
    out.push(b'{');
    for (index, (name, entries)) in families.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_string(out, name, Escape::Html);
        out.extend_from_slice(b":[");
        let taken = match usize::try_from(per_metric) {
            Ok(count) if count > 0 => count,
            _ => usize::MAX,
        };
        for (index, entry) in entries.iter().take(taken).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"type\":");
            push_string(out, entry.kind, Escape::Html);
            out.extend_from_slice(b",\"unit\":");
            push_string(out, &entry.unit, Escape::Html);
            out.extend_from_slice(b",\"help\":");
            push_string(out, &entry.help, Escape::Html);
            out.push(b'}');
        }
        out.push(b']');
    }
    out.push(b'}');
    Ok(success)
}

/// Of what the store keeps what was pushed, never none of a family.
fn pushed_by_family(
    kept: BTreeMap<String, Vec<KeptMetadata>>,
) -> BTreeMap<String, Vec<TargetMetadata>> {
    let pushed = kept.into_iter().map(|(family, kept)| {
        let pushed = kept.into_iter().filter(|kept| kept.from_push);
        let entries = pushed.map(|kept| TargetMetadata {
            family: family.clone(),
            kind: kept.metadata.kind.as_str(),
            unit: kept.metadata.unit,
            help: kept.metadata.help,
        });
        let entries: Vec<_> = entries.collect();
        (family, entries)
    });
    pushed.filter(|(_, entries)| !entries.is_empty()).collect()
}

/// `/api/v1/targets/metadata`: `limit` counts targets.
pub(crate) fn targets_metadata(call: &Call) -> Answer {
    let limit = whole(call, "limit")?.unwrap_or(-1);
    let selector = call.params.first("match_target");
    let matchers = if selector.is_empty() {
        Vec::new()
    } else {
        parse_selector(selector).map_err(|error| ApiError::bad_data(error.to_string()))?
    };
    let metric = call.params.first("metric");
    let pools = (call.state.targets)(WithMetadata::Yes);
    let targets = pools
        .iter()
        .flat_map(|pool| &pool.active)
        .filter(|target| {
            matchers
                .iter()
                .all(|matcher| matcher.matches_labels(&target.labels))
        })
        .take(usize::try_from(limit).unwrap_or(usize::MAX));

    let mut success = Success::new();
    let out = &mut success.body;
    out.push(b'[');
    let mut is_first = true;
    for target in targets {
        for entry in &target.metadata {
            if !metric.is_empty() && entry.family != metric {
                continue;
            }
            if !is_first {
                out.push(b',');
            }
            is_first = false;
            out.extend_from_slice(b"{\"target\":");
            push_labels(out, &target.labels);
            if metric.is_empty() {
                out.extend_from_slice(b",\"metric\":");
                push_string(out, &entry.family, Escape::Html);
            }
            out.extend_from_slice(b",\"type\":");
            push_string(out, entry.kind, Escape::Html);
            out.extend_from_slice(b",\"help\":");
            push_string(out, &entry.help, Escape::Html);
            out.extend_from_slice(b",\"unit\":");
            push_string(out, &entry.unit, Escape::Html);
            out.push(b'}');
        }
    }
    out.push(b']');
    Ok(success)
}

fn whole(call: &Call, name: &str) -> Result<Option<i64>, ApiError> {
    match call.params.first(name) {
        "" => Ok(None),
        text => parse_integer(text)
            .map(Some)
            .map_err(|_| ApiError::bad_data(format!("{name} must be a number"))),
    }
}
