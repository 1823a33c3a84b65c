//! `promtool query`: asks a server's API and prints what it answers.
//!
//! Streams, texts and exit codes are promtool's; warnings of a query are not shown, as there.

mod answer;
mod print;

use narthex_storage::{Clock as _, SystemClock};

use self::{
    answer::{ApiError, data},
    print::Format,
};
use super::{
    Arguments, Output,
    arguments::Flag,
    duration::flag_duration,
    server::{Failure, ServerClient, ServerUrl, http_client},
};
use crate::api::Instant;

/// Flags of every query command.
const FORMAT: Flag = Flag::value("format").or_short('o');
const HTTP_CONFIG_FILE: Flag = Flag::value("http.config.file");

pub(super) const INSTANT_FLAGS: &[Flag] = &[FORMAT, HTTP_CONFIG_FILE, Flag::value("time")];
pub(super) const RANGE_FLAGS: &[Flag] = &[
    FORMAT,
    HTTP_CONFIG_FILE,
    Flag::value("start"),
    Flag::value("end"),
    Flag::value("step"),
    Flag::values("header"),
];
pub(super) const SELECT_FLAGS: &[Flag] = &[
    FORMAT,
    HTTP_CONFIG_FILE,
    Flag::value("start"),
    Flag::value("end"),
    Flag::values("match"),
];

/// The default span of a range query.
const RANGE_NANOSECONDS: i64 = 5 * 60 * SECOND;
/// How far series and labels are looked for around now.
const SELECT_NANOSECONDS: i64 = 9999 * 3600 * SECOND;
const SECOND: i64 = 1_000_000_000;

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Run(format!("query error: {error}"))
    }
}

fn now() -> Instant {
    Instant::from_milliseconds(SystemClock::default().now())
}

fn usage(message: String) -> Failure {
    Failure::Usage(message)
}

fn finish(outcome: Result<(), Failure>, output: &mut Output<'_>) -> Result<u8, String> {
    match outcome {
        Ok(()) => Ok(0),
        Err(failure) => failure.finish(output),
    }
}

/// The client that the flags and the server's address ask for.
fn client(
    arguments: &Arguments,
    server: &str,
    headers: &[(String, String)],
) -> Result<ServerClient, Failure> {
    let server = ServerUrl::parse(server).map_err(usage)?;
    let http_client = http_client(arguments)?;
    ServerClient::new(server, &http_client, headers)
        .map_err(|error| Failure::Run(format!("error creating API client: {error}")))
}

fn time_flag(arguments: &Arguments, flag: &str, what: &str) -> Result<Option<Instant>, Failure> {
    match arguments.value(flag) {
        None | Some("") => Ok(None),
        Some(text) => match Instant::parse(text) {
            Ok(time) => Ok(Some(time)),
            Err(message) => Err(Failure::Run(format!(
                "error parsing {what} time: {message}"
            ))),
        },
    }
}

fn seconds(time: Instant) -> String {
    print::decimal(time.as_seconds())
}

/// `query instant`
pub(super) fn instant(arguments: &Arguments, output: &mut Output<'_>) -> Result<u8, String> {
    let run = |output: &mut Output<'_>| {
        let format = Format::from_flags(arguments).map_err(usage)?;
        let [server, query] = arguments.exact_words(["server", "expr"]).map_err(usage)?;
        let client = client(arguments, server, &[])?;
        let time = time_flag(arguments, "time", "evaluation")?.unwrap_or_else(now);
        let form = [("query", query.to_owned()), ("time", seconds(time))];
        let answer = data(client.post("api/v1/query", &form))?;
        output.print(&format.value(&answer::value(&answer.data)?)?);
        Ok(())
    };
    let outcome = run(output);
    finish(outcome, output)
}

/// `query range`
pub(super) fn range(arguments: &Arguments, output: &mut Output<'_>) -> Result<u8, String> {
    let run = |output: &mut Output<'_>| {
        let format = Format::from_flags(arguments).map_err(usage)?;
        let headers = headers(arguments).map_err(usage)?;
        let step = arguments.value("step").map(flag_duration).transpose();
        let step = step.map_err(usage)?.unwrap_or(0);
        let [server, query] = arguments.exact_words(["server", "expr"]).map_err(usage)?;
        let client = client(arguments, server, &headers)?;
        let end = time_flag(arguments, "end", "end")?.unwrap_or_else(now);
        let start = time_flag(arguments, "start", "start")?
            .unwrap_or_else(|| end.plus_nanoseconds(-RANGE_NANOSECONDS));
        if start >= end {
            return Err(Failure::Run("start time is not before end time".to_owned()));
        }
        let step = match step {
            0 => (end.nanoseconds_since(start) / SECOND / 250).max(1) * SECOND,
            step => step,
        };
        let form = [
            ("query", query.to_owned()),
            ("start", seconds(start)),
            ("end", seconds(end)),
            ("step", print::decimal(step as f64 / SECOND as f64)),
        ];
        let answer = data(client.post("api/v1/query_range", &form))?;
        output.print(&format.value(&answer::value(&answer.data)?)?);
        Ok(())
    };
    let outcome = run(output);
    finish(outcome, output)
}

/// `query series`
pub(super) fn series(arguments: &Arguments, output: &mut Output<'_>) -> Result<u8, String> {
    let run = |output: &mut Output<'_>| {
        let format = Format::from_flags(arguments).map_err(usage)?;
        if arguments.values("match").is_empty() {
            return Err(usage("required flag(s) '--match' not provided".to_owned()));
        }
        let [server] = arguments.exact_words(["server"]).map_err(usage)?;
        let client = client(arguments, server, &[])?;
        let form = selection(arguments)?;
        let answer = data(client.post("api/v1/series", &form))?;
        for line in format.series(&answer::series(&answer.data)?) {
            output.print(&line);
        }
        Ok(())
    };
    let outcome = run(output);
    finish(outcome, output)
}

/// `query labels`
pub(super) fn labels(arguments: &Arguments, output: &mut Output<'_>) -> Result<u8, String> {
    let run = |output: &mut Output<'_>| {
        let format = Format::from_flags(arguments).map_err(usage)?;
        let [server, name] = arguments.exact_words(["server", "name"]).map_err(usage)?;
        let client = client(arguments, server, &[])?;
        let form = selection(arguments)?;
        let path = format!("api/v1/label/{name}/values");
        let answer = data(client.get(&path, &form))?;
        for warning in &answer.warnings {
            output.complain(&format!("query warning: {warning}"));
        }
        for line in format.names(&answer::names(&answer.data)?) {
            output.print(&line);
        }
        Ok(())
    };
    let outcome = run(output);
    finish(outcome, output)
}

/// What `--start`, `--end` and `--match` select.
fn selection(arguments: &Arguments) -> Result<Vec<(&'static str, String)>, Failure> {
    let start = time_flag(arguments, "start", "start")?
        .unwrap_or_else(|| now().plus_nanoseconds(-SELECT_NANOSECONDS));
    let end = time_flag(arguments, "end", "end")?
        .unwrap_or_else(|| now().plus_nanoseconds(SELECT_NANOSECONDS));
    let mut form = vec![("start", seconds(start)), ("end", seconds(end))];
    let matchers = arguments.values("match").iter();
    form.extend(matchers.map(|matcher| ("match[]", matcher.clone())));
    Ok(form)
}

fn headers(arguments: &Arguments) -> Result<Vec<(String, String)>, String> {
    let pairs = arguments.values("header").iter().map(|text| {
        let (name, value) = text
            .split_once([':', '='])
            .ok_or_else(|| format!("expected KEY=VALUE got '{text}'"))?;
        Ok((name.to_owned(), value.to_owned()))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests;
