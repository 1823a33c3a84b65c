//! `/federate`: the newest sample of each selected series, for another server to scrape.
//!
//! Source: Prometheus's federation, observed in 3.5.3: untyped families in the order of their names,
//! times in milliseconds, external labels behind the series' own, `instance` always there so that
//! `honor_labels` keeps it empty.

use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

use axum::body::Body;
use http::{Response, StatusCode};
use narthex_query::{FloatStyle, format_float, parser::parse_selector};
use narthex_storage::{
    Budget, Kind, Labels, METRIC_NAME, Matcher, Querier, ReadError, Sample, Select, TimeRange,
    Wants, is_stale_marker,
};

use crate::api::{Params, Read, State, error_text, text};

/// Answers the request; the caller sets the content type of a good answer.
pub(super) async fn federate(state: &Arc<State>, params: Params) -> Response<Body> {
    let selectors: Result<Vec<Vec<Matcher>>, _> =
        params.all("match[]").map(parse_selector).collect();
    let selectors = match selectors {
        Ok(selectors) => selectors,
        Err(error) => return error_text(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let store = match state.open_store() {
        Ok(store) => store.clone(),
        Err(error) => return error_text(error.kind.status(), &error.message),
    };
    let now = state.clock.now();
    let lookback_ms = state.settings.lookback.as_millis() as i64;
    // A sample exactly as old as the lookback is too old.
    let range = TimeRange::new(now - lookback_ms + 1, now);
    let external = state.configuration().external_labels.clone();
    let deadline = state.clock.monotonic() + state.settings.query_timeout;
    let work = move |budget: &Budget, _| {
        let querier = store.queryable.querier(range)?;
        let mut samples = newest(querier.as_ref(), &selectors, range, budget)?;
        samples.sort_by(|a, b| a.0.metric_name().cmp(b.0.metric_name()));
        Ok(render(&samples, &external))
    };
    match state.gate.run(state, Read::Lookup, deadline, work).await {
        Ok(body) => text(StatusCode::OK, body),
        Err(error) => error_text(error.kind.status(), &error.message),
    }
}

/// The newest sample in `range` of each series that a selector selects, in label order; series that
/// ended are left out, and so are those whose newest sample is a native histogram, which the text format cannot
/// say.
fn newest(
    querier: &dyn Querier,
    selectors: &[Vec<Matcher>],
    range: TimeRange,
    budget: &Budget,
) -> Result<Vec<(Labels, Sample)>, ReadError> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    let (mut times, mut values) = (Vec::new(), Vec::new());
    for matchers in selectors {
        let request = Select {
            matchers,
            range,
            limit: None,
            wants: Wants::Samples,
        };
        let selection = querier.select(&request, budget)?;
        let mut scan = selection.scan(range, budget);
        for (index, series) in selection.series().iter().enumerate() {
            if !seen.insert(series.labels.clone()) {
                continue;
            }
            scan.seek(index)?;
            let mut newest = None;
            while let Some(run) = scan.next_run()? {
                times.resize(run.len(), 0);
                values.resize(run.len(), 0.0);
                run.times(&mut times)?;
                let in_range = times.iter().rposition(|time| range.contains(*time));
                let Some(index) = in_range else {
                    continue;
                };
                if run.kind() == Kind::Histogram {
                    newest = None;
                    continue;
                }
                run.values(&mut values)?;
                newest = Some(Sample {
                    time: times[index],
                    value: values[index],
                });
            }
            if let Some(sample) = newest.filter(|sample| !is_stale_marker(sample.value)) {
                found.push((series.labels.clone(), sample));
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

fn render(samples: &[(Labels, Sample)], external: &Labels) -> String {
    let mut external = external.to_builder();
    let mut external: Vec<(String, String)> = {
        external.remove(METRIC_NAME);
        external
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    if !external.iter().any(|(name, _)| name == "instance") {
        external.push(("instance".to_owned(), String::new()));
        external.sort();
    }
    let mut out = String::new();
    let mut family = None;
    for (labels, sample) in samples {
        let name = labels.metric_name();
        if name.is_empty() {
            continue;
        }
        let written = underscored(name);
        if family != Some(name) {
            family = Some(name);
            writeln!(out, "# TYPE {written} untyped").expect("strings take writes");
        }
        out.push_str(&written);
        let own = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
        let added = external
            .iter()
            .filter(|(name, _)| labels.get(name).is_none())
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let mut separator = '{';
        for (name, value) in own.chain(added) {
            out.push(separator);
            separator = ',';
            out.push_str(&underscored(name));
            out.push_str("=\"");
            for character in value.chars() {
                match character {
                    '\\' => out.push_str("\\\\"),
                    '"' => out.push_str("\\\""),
                    '\n' => out.push_str("\\n"),
                    character => out.push(character),
                }
            }
            out.push('"');
        }
        let value = format_float(sample.value, FloatStyle::General);
        writeln!(out, "}} {value} {}", sample.time).expect("strings take writes");
    }
    out
}

/// A name with every character that the text format does not know replaced.
fn underscored(name: &str) -> String {
    name.chars()
        .enumerate()
        .map(|(index, character)| {
            let is_legal = character == '_'
                || character == ':'
                || character.is_ascii_alphabetic()
                || (index > 0 && character.is_ascii_digit());
            if is_legal { character } else { '_' }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Prometheus 3.5.3 with the external label `ext="one"` prints it.
    #[test]
    fn series_carry_external_labels_and_always_an_instance() {
        let sample = |value, time| Sample { time, value };
        let samples = [
            (
                Labels::from_pairs([("__name__", "esc"), ("a", "<&>\"\\")]),
                sample(1.0, 1_795_240_260_027),
            ),
            (
                Labels::from_pairs([("__name__", "up"), ("instance", "x:1"), ("job", "j")]),
                sample(0.0, 5),
            ),
            (
                Labels::from_pairs([("__name__", "up"), ("ext", "own")]),
                sample(1e6, 5),
            ),
        ];
        let external = Labels::from_pairs([("ext", "one")]);
        assert_eq!(
            render(&samples, &external),
            "# TYPE esc untyped\n\
             esc{a=\"<&>\\\"\\\\\",ext=\"one\",instance=\"\"} 1 1795240260027\n\
             # TYPE up untyped\n\
             up{instance=\"x:1\",job=\"j\",ext=\"one\"} 0 5\n\
             up{ext=\"own\",instance=\"\"} 1e+06 5\n"
        );
    }
}
