//! The answers of the binary against those of Prometheus, on random data and random queries.
//!
//! Opt-in: `NARTHEX_PROMETHEUS` is the path of a Prometheus 3.5 binary. `NARTHEX_PARITY_SEED` and
//! `NARTHEX_PARITY_QUERIES` choose what is asked. Both servers get the same samples by remote write, series in
//! any order. An answer must be the same to the last digit; where numbers of several series are added, which
//! Prometheus does in the order of creation, to 1e-9 of their size. Of what Prometheus itself answers now so, now
//! so, any answer will do. Of labels and series, ours are those that have
//! samples in the range. A difference prints its request.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    path::Path,
};

use narthex_query::{
    Features,
    functions::FunctionId,
    parser::BinaryOp,
    random::{
        Choices, DATA_END, DATA_START, Language, QueryGenerator, RandomSample, RandomSeries,
        random_data,
    },
};
use narthex_storage::is_stale_marker;
use serde_json::Value;

use crate::harness::{Pushed, Response, Server};

/// Functions that Prometheus 3.5 does not know yet.
const NEW_FUNCTIONS: [FunctionId; 11] = [
    FunctionId::End,
    FunctionId::FirstOverTime,
    FunctionId::HistogramQuantiles,
    FunctionId::MaxOf,
    FunctionId::MinOf,
    FunctionId::Range,
    FunctionId::Start,
    FunctionId::StartTimestamp,
    FunctionId::Step,
    FunctionId::TsOfFirstOverTime,
    FunctionId::TsOfLastOverTime,
];

/// What both servers understand alike.
fn language() -> Language {
    let mut language = Language::new(Features {
        experimental_functions: true,
        ..Features::default()
    });
    language
        .functions
        .retain(|function| !NEW_FUNCTIONS.contains(&function.id));
    // Both came with 3.11.
    let is_trim = |op| matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
    language.operators.retain(|op| !is_trim(*op));
    // Durations call no functions in 3.5.
    language.duration_calls = false;
    language
}

fn setting(name: &str, default: u64) -> u64 {
    let text = env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn random_queries_are_answered_as_prometheus_answers_them() {
    let Some(prometheus) = env::var_os("NARTHEX_PROMETHEUS") else {
        println!("skipped: NARTHEX_PROMETHEUS names no Prometheus binary");
        return;
    };
    let seed = setting("NARTHEX_PARITY_SEED", 20_261_122);
    let queries = setting("NARTHEX_PARITY_QUERIES", 300);
    println!("NARTHEX_PARITY_SEED={seed} NARTHEX_PARITY_QUERIES={queries}");
    let mut choices = Choices::Seeded(seed);
    let mut data = random_data(&mut choices, true);
    for index in (1..data.len()).rev() {
        data.swap(index, choices.below(index + 1));
    }
    let requests = requests(&data);
    // Every other seed.
    let names = match seed % 2 {
        0 => "",
        _ => ",promql-delayed-name-removal",
    };
    let start = |peer: Option<&Path>| {
        // What needs no name here is warned of.
        let histograms = peer.map_or("", |_| ",native-histograms");
        let server = Server::builder()
            .peer(peer)
            .config("global: {}\n")
            .arg("--storage.tsdb.path=data")
            .arg("--storage.tsdb.retention.time=100y")
            .arg("--web.enable-remote-write-receiver")
            .arg(&format!(
                "--enable-feature=promql-experimental-functions,promql-duration-expr\
                 {histograms}{names}"
            ))
            .start();
        for request in &requests {
            let answer = server.push(request);
            assert_eq!(answer.status, 204, "{}", answer.text());
        }
        server
    };
    let ours = start(None);
    let theirs = start(Some(Path::new(&prometheus)));

    let language = language();
    let mut differences = Vec::new();
    let (mut errors, mut empty) = (0, 0);
    for number in 0..queries {
        let query = QueryGenerator::new(&language, &mut choices).query(1 + number as usize % 4);
        let request = Request::new(query, &mut choices);
        let (our_answer, their_answer) = (request.send(&ours), request.send(&theirs));
        let answer = their_answer.json();
        errors += u64::from(answer["status"] == "error");
        empty += u64::from(
            answer["data"]["result"]
                .as_array()
                .is_some_and(Vec::is_empty),
        );
        if let Some(difference) = difference(&request, &our_answer, &their_answer)
            && !request.is_chance(&theirs, &their_answer)
        {
            println!("{number}: {difference}\n");
            differences.push(request.query);
        }
    }
    for _ in 0..queries / 10 {
        let lookup = Lookup::new(&data, &mut choices);
        if let Some(difference) = lookup.difference(&ours, &theirs) {
            println!("{difference}\n");
            differences.push(lookup.path);
        }
    }
    println!(
        "{queries} queries, {} differences, {errors} errors, {empty} empty answers",
        differences.len()
    );
    assert_eq!(differences, Vec::<String>::new(), "seed {seed}");
    ours.stop();
}

/// A stretch of samples of one kind of each series a request, in order.
fn requests(data: &[RandomSeries]) -> Vec<Vec<Pushed>> {
    let mut requests: Vec<Vec<Pushed>> = Vec::new();
    // A marker by itself: Prometheus makes one of the kind of the sample before, once that is stored.
    let kind = |sample: &RandomSample| match sample {
        RandomSample::Float(value) if is_stale_marker(*value) => 0,
        RandomSample::Float(_) => 1,
        RandomSample::Histogram(_) => 2,
    };
    for series in data {
        let labels: Vec<(&str, &str)> = series.labels.iter().collect();
        let stretches = series
            .samples
            .chunk_by(|left, right| kind(&left.1) == kind(&right.1));
        for (number, stretch) in stretches.enumerate() {
            let mut one = Pushed::new(&labels, &[]);
            for (time, sample) in stretch {
                match sample {
                    RandomSample::Float(value) => one.samples.push((*time, *value)),
                    RandomSample::Histogram(histogram) => {
                        one.histograms.push((*time, histogram.clone()));
                    }
                }
            }
            if requests.len() == number {
                requests.push(Vec::new());
            }
            requests[number].push(one);
        }
    }
    requests
}

/// A question for label names, values or series.
#[derive(Debug)]
struct Lookup {
    path: String,
    /// The range holds all samples.
    is_whole: bool,
    limit: usize,
}

impl Lookup {
    fn new(data: &[RandomSeries], choices: &mut Choices<'_>) -> Self {
        let series = &data[choices.below(data.len())].labels;
        let labels: Vec<(&str, &str)> = series.iter().collect();
        let (name, value) = labels[choices.below(labels.len())];
        let op = choices.pick(&["=", "!=", "=~", "!~"]);
        let value = choices.pick(&[value, "a.*", "nothing", "", "a|b"]);
        let selector = format!("{{{name:?}{op}{value:?}, __name__!=\"\"}}");
        let kind = choices.below(3);
        let mut query = form_urlencoded::Serializer::new(String::new());
        if kind == 2 || choices.once_in(2) {
            query.append_pair("match[]", &selector);
        }
        let is_whole = choices.once_in(2);
        let (mut start, mut end) = (DATA_START - 60_000, DATA_END + 60_000);
        if !is_whole {
            let span = (DATA_END - DATA_START) as usize + 600_000;
            start = DATA_START - 300_000 + choices.below(span) as i64;
            end = start + choices.below(span) as i64;
        }
        query.append_pair("start", &format!("{}.{:03}", start / 1000, start % 1000));
        query.append_pair("end", &format!("{}.{:03}", end / 1000, end % 1000));
        let limit = choices.pick(&[0, 0, 1, 3]);
        query.append_pair("limit", &limit.to_string());
        let path = match kind {
            0 => "labels".to_owned(),
            1 => {
                let name = choices.pick(&[name, "__name__", "instance", "missing"]);
                format!("label/{name}/values")
            }
            _ => "series".to_owned(),
        };
        Self {
            path: format!("/api/v1/{path}?{}", query.finish()),
            is_whole,
            limit,
        }
    }

    /// Prometheus tells whatever its head has where that has samples in the range; we tell what has samples
    /// there. With a limit it takes any.
    fn difference(&self, ours: &Server, theirs: &Server) -> Option<String> {
        let texts = |server: &Server| -> BTreeSet<String> {
            let answer = server.get(&self.path).json();
            let data = answer["data"].as_array().cloned();
            let data = data.unwrap_or_else(|| vec![answer]);
            data.iter().map(Value::to_string).collect()
        };
        let (ours, theirs) = (texts(ours), texts(theirs));
        let is_same = match (self.limit, self.is_whole) {
            (0, true) => ours == theirs,
            (0, false) => ours.is_subset(&theirs),
            (_, true) => ours.len() == theirs.len(),
            (_, false) => ours.len() <= theirs.len(),
        };
        (!is_same).then(|| format!("{}\n    ours   {ours:?}\n    theirs {theirs:?}", self.path))
    }
}

/// A query with its times.
#[derive(Debug)]
struct Request {
    query: String,
    path: &'static str,
    /// Times and step in seconds.
    times: Vec<(&'static str, String)>,
}

impl Request {
    fn new(query: String, choices: &mut Choices<'_>) -> Self {
        let seconds = |time: i64| format!("{}.{:03}", time / 1000, time % 1000);
        let span = (DATA_END - DATA_START) as usize / 1000 + 420;
        let mut time = DATA_START - 60_000 + choices.below(span) as i64 * 1000;
        time += choices.pick(&[0, 0, 1, 123, 500]);
        if choices.once_in(2) {
            return Self {
                query,
                path: "/api/v1/query",
                times: vec![("time", seconds(time))],
            };
        }
        let step = choices.pick(&[15_000, 30_000, 60_000, 17_300, 300_000, 1000]);
        let end = time + step * choices.below(25) as i64 + choices.pick(&[0, 0, 333]);
        Self {
            query,
            path: "/api/v1/query_range",
            times: vec![
                ("start", seconds(time)),
                ("end", seconds(end)),
                ("step", seconds(step)),
            ],
        }
    }

    fn send(&self, server: &Server) -> Response {
        let mut pairs = vec![("query", self.query.as_str())];
        pairs.extend(
            self.times
                .iter()
                .map(|(name, value)| (*name, value.as_str())),
        );
        server.form(self.path, &pairs)
    }

    /// Whether numbers of several series are added, in an order that may be another.
    fn adds_series(&self) -> bool {
        self.query
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .any(|word| {
                // Windows of native histograms are compensated since 3.10.
                [
                    "sum",
                    "avg",
                    "stddev",
                    "stdvar",
                    "sum_over_time",
                    // Which zero of two is chance.
                    "max",
                    "min",
                    "avg_over_time",
                ]
                .contains(&word)
            })
    }

    /// Whether some of several series are asked for, or the first that do not match, and it is chance which: series that come from a Go map, as
    /// results over a range do, have no order.
    fn is_chance(&self, server: &Server, answer: &Response) -> bool {
        const ASKED_AGAIN: usize = 64;
        let mut picks = ["topk", "bottomk", "limit", "sort"].into_iter();
        let mut of_two = ["found duplicate series", "multiple matches"].into_iter();
        let text = answer.text();
        let may_be =
            picks.any(|name| self.query.contains(name)) || of_two.any(|error| text.contains(error));
        may_be && (0..ASKED_AGAIN).any(|_| difference(self, &self.send(server), answer).is_some())
    }

    /// Whether the order of the answer is that of the query.
    fn is_ordered(&self) -> bool {
        let mut names = ["sort", "topk", "bottomk", "limit"].into_iter();
        self.path.ends_with("query") && names.any(|name| self.query.starts_with(name))
    }
}

/// What differs of two answers.
fn difference(request: &Request, ours: &Response, theirs: &Response) -> Option<String> {
    let (our_json, their_json) = (ours.json(), theirs.json());
    if is_left_out(request, &our_json, &their_json) {
        return None;
    }
    let tolerance = match request.adds_series() {
        // What is left of large squares.
        true if ["stddev", "stdvar"]
            .into_iter()
            .any(|name| request.query.contains(name)) =>
        {
            1e-5
        }
        true => 1e-9,
        false => 0.0,
    };
    let of = |key: &str| (&our_json[key], &their_json[key]);
    // Whether parentheses belong to an argument's place.
    let has_parens = request.query.contains("((") || request.query.contains(", (");
    let sorted = |notes: &Value| {
        let mut texts: Vec<String> = notes
            .as_array()
            .map(|texts| {
                let texts = texts.iter().map(without_newer_parts);
                texts
                    .map(|text| match text.rfind(" (") {
                        Some(place) if has_parens => text.split_at(place).0.to_owned(),
                        _ => text,
                    })
                    .collect()
            })
            .unwrap_or_default();
        texts.sort();
        // With the name and without it.
        texts.dedup();
        texts
    };
    let mut found = Vec::new();
    if ours.status != theirs.status {
        found.push(format!("status {} for {}", ours.status, theirs.status));
    }
    for key in ["status", "errorType", "error"] {
        let (ours, theirs) = of(key);
        if ours != theirs && !is_newer_error(ours, theirs) {
            found.push(format!("{key}\n    ours   {ours}\n    theirs {theirs}"));
        }
    }
    for key in ["warnings", "infos"] {
        let (ours, theirs) = of(key);
        let (ours, theirs) = (sorted(ours), sorted(theirs));
        // Of many it is chance which are shown.
        if ours != theirs && (ours.len() <= 10 || ours.len() != theirs.len()) {
            found.push(format!(
                "{key}\n    ours   {ours:#?}\n    theirs {theirs:#?}"
            ));
        }
    }
    let (ours, theirs) = of("data");
    if ours["resultType"] != theirs["resultType"] {
        found.push(format!(
            "type {} for {}",
            ours["resultType"], theirs["resultType"]
        ));
    } else {
        found.extend(different_results(
            request,
            &ours["result"],
            &theirs["result"],
            tolerance,
        ));
    }
    let parameters: Vec<String> = request
        .times
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    (!found.is_empty()).then(|| {
        format!(
            "{} {}\n  {}",
            parameters.join(" "),
            request.query,
            found.join("\n  ")
        )
    })
}

/// Whether later versions say it in other words, or what is said depends on the order of a Go map.
fn is_newer_error(ours: &Value, theirs: &Value) -> bool {
    let (ours, theirs) = (ours.as_str().unwrap_or(""), theirs.as_str().unwrap_or(""));
    let both = |text: &str| ours.contains(text) && theirs.contains(text);
    // The place of a duration was no place in lines and columns.
    both("duration must be greater than 0")
        || both("duration is out of range")
        || both("division by zero")
        // Which of two durations is looked at first.
        || (ours.contains("duration is out of range") && theirs.contains("duration must be greater than 0"))
        // Where an operand ends that has `@ start()` or an offset in parentheses in it.
        || both("must not occur in ON and GROUP clause at once")
        // `@` had no name.
        || theirs.replace("\"<Item 57400>\" ", "") == ours
}

/// Queries that 3.5 answers by another rule.
fn is_left_out(request: &Request, ours: &Value, theirs: &Value) -> bool {
    let query = request.query.as_str();
    let is_range = request.path.ends_with("range");
    let says = |answer: &Value, text: &str| answer.to_string().contains(text);
    let count = |answer: &Value, text: &str| answer.to_string().matches(text).count();
    let asks = |text: &str| query.contains(text);
    let names = |answer: &Value| count(&answer["data"], "__name__");
    let has_modifiers = asks("@") || asks("offset");
    // NaN is refused before anything is counted since 3.6, with words of its own.
    says(ours, "Parameter value is NaN")
        || says(ours, "Ratio value is NaN")
        || says(ours, "flows int64")
        // Info series were looked at without regard to modifiers, and their names counted as labels. At a step
        // at which one series had no sample the others were taken for one another, and removed names came back.
        || (asks("info(") && (is_range || has_modifiers || asks(", {") || names(ours) != names(theirs)))
        // Buckets without a bound were told apart by names, which are no longer told.
        || theirs.to_string().matches("bucket label").count() > 1
        // What a comparison left out took part in no match.
        || (says(ours, "multiple matches for labels") && says(theirs, "\"success\""))
        // Of histograms that are added in another order others do not go together, and what comes then is not looked at.
        || (request.adds_series() && says(theirs, "custom buckets schemas"))
        // Came with 3.8; the warning takes the place of a difference.
        || says(ours, "conflicting counter resets")
        // Observations that are no numbers were counted from the wrong end.
        || says(ours, "has NaN observations")
        // Since 3.10 a rise is not taken to before its counter was zero, which what is no counter often was.
        || says(theirs, "is not a counter")
        // The lowest classic bucket was open below.
        || (asks("histogram_fraction") && asks("_bucket"))
        // A classic histogram with a count that is no number has a quantile there, and none here.
        || (asks("histogram_quantile")
            && count(&ours["data"], "NaN") > count(&theirs["data"], "NaN"))
        // Results that only differ in the removed name are put together since 3.9.
        || (says(theirs, "vector cannot contain metrics with the same labelset")
            && says(ours, "\"success\""))
        // Sums of histograms are compensated since 3.10, which a text of them shows.
        || (asks("count_values") && (asks("sum_over_time") || asks("avg_over_time")))
        // What is too large for a duration became any.
        || (says(ours, "duration is out of range") && says(theirs, "\"success\""))
        // A histogram times a negative number was still taken for a counter.
        || (asks("-") && says(ours, "this native histogram metric is not a counter"))
        // A window with NaN has no deviation since 3.12.
        || (asks("mad_over_time") && says(ours, "NaN"))
        // Pinned selectors with an offset had no timestamps.
        || (asks("timestamp(") && has_modifiers)
        // Where counts or sums alone were asked for, the first selector's buckets and custom bounds were forgotten, so
        // that it was equal to nothing and added to nothing.
        || ((says(theirs, "incompatible bucket layout")
            || says(ours, "incompatible bucket layout")
            || says(ours, "custom buckets schemas")
            || asks(" == ")
            || asks(" != "))
            && ["count(", "sum(", "avg("].iter().any(|name| asks(&format!("histogram_{name}"))))
        // The last digits of a sum, which are chance, tell whether two are equal, and are in its text.
        || (request.adds_series() && ["count_values", " == ", " != "].into_iter().any(asks))
        // A name that a subquery's expression had lost came back.
        || (asks("last_over_time(") && asks(":") && names(ours) != names(theirs))
        // An aggregation of what is pinned was taken for pinned, whatever its parameter.
        || (is_range
            && asks("@")
            && ["quantile", "limit_ratio"].into_iter().any(asks)
            && (asks("()") || asks("scalar(")))
}

/// A warning or an info without what only one of the versions says: that a metric has no name, the name where a
/// bucket has no bound, and until 3.10 the name where buckets were repaired, since then which.
fn without_newer_parts(text: &Value) -> String {
    let mut text = text
        .as_str()
        .unwrap_or("")
        .replace(" for metric name \"\"", "");
    if text.contains("bucket label")
        && let (Some(name), Some(place)) = (text.find(" for metric name"), text.rfind(" ("))
    {
        text.replace_range(name..place, "");
    }
    let Some((before, after)) = text.split_once("/functions/#histogram_quantile)") else {
        return text;
    };
    let place = after.rfind(" (").and_then(|at| after.get(at..));
    format!("{before}{}", place.unwrap_or(""))
}

fn different_results(
    request: &Request,
    ours: &Value,
    theirs: &Value,
    tolerance: f64,
) -> Option<String> {
    let (Some(our_series), Some(their_series)) = (ours.as_array(), theirs.as_array()) else {
        return (ours != theirs).then(|| format!("result\n    ours   {ours}\n    theirs {theirs}"));
    };
    if !our_series.iter().chain(their_series).all(Value::is_object) {
        // A scalar or a text.
        return (!is_same(ours, theirs, tolerance))
            .then(|| format!("result\n    ours   {ours}\n    theirs {theirs}"));
    }
    let order = |series: &[Value], key: &str| -> Value {
        let keys = series.iter().map(|series| series[key].clone());
        Value::Array(keys.collect())
    };
    if request.is_ordered() {
        // The last digits of sums may tell which of two is the greater.
        let (key, tolerance) = if request.adds_series() {
            ("value", tolerance)
        } else {
            ("metric", 0.0)
        };
        let (ours, theirs) = (order(our_series, key), order(their_series, key));
        if !is_same(&ours, &theirs, tolerance) {
            return Some(format!(
                "another order\n    ours   {ours}\n    theirs {theirs}"
            ));
        }
    }
    let by_labels = |series: &[Value]| -> BTreeMap<String, Value> {
        series
            .iter()
            .map(|series| (series["metric"].to_string(), series.clone()))
            .collect()
    };
    let (ours, theirs) = (by_labels(our_series), by_labels(their_series));
    for labels in ours.keys().chain(theirs.keys()) {
        match (ours.get(labels), theirs.get(labels)) {
            (Some(ours), None) => return Some(format!("only ours has {ours}")),
            (None, Some(theirs)) => return Some(format!("only theirs has {theirs}")),
            (Some(ours), Some(theirs)) if !is_same(ours, theirs, tolerance) => {
                return Some(format!("series\n    ours   {ours}\n    theirs {theirs}"));
            }
            _ => {}
        }
    }
    (request.path.ends_with("range")
        && order(our_series, "metric") != order(their_series, "metric"))
    .then(|| "another order of series".to_owned())
}

/// Whether two answers are the same, numbers in texts up to `tolerance` of their size.
fn is_same(ours: &Value, theirs: &Value, tolerance: f64) -> bool {
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len()
                && ours
                    .iter()
                    .zip(theirs)
                    .all(|(ours, theirs)| is_same(ours, theirs, tolerance))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().all(|(key, ours)| {
                    theirs
                        .get(key)
                        .is_some_and(|theirs| is_same(ours, theirs, tolerance))
                })
        }
        (Value::String(ours), Value::String(theirs)) if tolerance > 0.0 => {
            let (Ok(our_number), Ok(their_number)) = (ours.parse::<f64>(), theirs.parse::<f64>())
            else {
                return ours == theirs;
            };
            let size = our_number.abs().max(their_number.abs());
            ours == theirs || (our_number - their_number).abs() <= tolerance * size
        }
        _ => ours == theirs,
    }
}
