//! Logging the way Prometheus logs: one line an event on stderr, as logfmt or JSON.
//!
//! `time=2026-01-02T03:04:05.678Z level=INFO source=server.rs:12 msg="…" key=value`. Fields come in
//! the order they were given; those of the enclosing spans stand before the event's own.

use std::{
    fmt::{self, Write as _},
    io::Write as _,
    sync::Arc,
};

use jiff::tz::TimeZone;
use narthex_storage::Clock;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{
    Layer,
    filter::LevelFilter,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// `key=value` pairs.
    Logfmt,
    /// A JSON object a line.
    Json,
}

/// Sends everything that is traced at `level` or above to stderr from now on. Only the first call in
/// a process has an effect.
pub fn init(level: Level, format: LogFormat, clock: Arc<dyn Clock>) {
    let lines = Lines { format, clock }.with_filter(
        tracing_subscriber::filter::Targets::new()
            .with_default(LevelFilter::WARN)
            .with_target("narthex", level)
            .with_target("narthex_storage", level)
            .with_target("narthex_query", level),
    );
    // A second server in the same process (tests) shares the first one's log.
    let _already_set = tracing_subscriber::registry().with(lines).try_init();
}

struct Lines {
    format: LogFormat,
    clock: Arc<dyn Clock>,
}

/// Name and value of a field; JSON numbers and booleans stay bare.
#[derive(Default)]
struct Fields {
    message: String,
    pairs: Vec<(&'static str, String, bool)>,
}

impl Fields {
    fn push(&mut self, field: &Field, value: String, bare: bool) {
        if field.name() == "message" {
            self.message = value;
        } else {
            self.pairs.push((field.name(), value, bare));
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value.to_owned(), false);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value.to_string(), true);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value.to_string(), true);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, value.to_string(), value.is_finite());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value.to_string(), true);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            write!(text, ": {cause}").expect("writing to a string cannot fail");
            source = cause.source();
        }
        self.push(field, text, false);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, format!("{value:?}"), false);
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(
        &self,
        attributes: &span::Attributes<'_>,
        id: &span::Id,
        context: Context<'_, S>,
    ) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut own = Fields::default();
        event.record(&mut own);
        let mut pairs = Vec::new();
        for span in context
            .event_scope(event)
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .iter()
            .rev()
        {
            if let Some(fields) = span.extensions().get::<Fields>() {
                pairs.extend(fields.pairs.iter().cloned());
            }
        }
        pairs.append(&mut own.pairs);
        let metadata = event.metadata();
        let file = metadata.file().unwrap_or("");
        let file = file.rsplit('/').next().unwrap_or(file);
        let source = format!("{file}:{}", metadata.line().unwrap_or(0));
        let line = format_line(
            self.format,
            &format_time(self.clock.now()),
            metadata.level().as_str(),
            &source,
            &own.message,
            &pairs,
        );
        // Nobody is left to tell when stderr is gone.
        let _gone = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

/// RFC 3339 in UTC with milliseconds.
fn format_time(now: narthex_storage::Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(now) {
        Ok(time) => time
            .to_zoned(TimeZone::UTC)
            .strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
            .to_string(),
        Err(_) => now.to_string(),
    }
}

fn format_line(
    format: LogFormat,
    time: &str,
    level: &str,
    source: &str,
    message: &str,
    pairs: &[(&'static str, String, bool)],
) -> String {
    let head = [
        ("time", time),
        ("level", level),
        ("source", source),
        ("msg", message),
    ];
    let mut line = String::new();
    match format {
        LogFormat::Logfmt => {
            let pairs = pairs.iter().map(|(name, value, _)| (*name, value.as_str()));
            for (index, (name, value)) in head.into_iter().chain(pairs).enumerate() {
                if index > 0 {
                    line.push(' ');
                }
                line.push_str(name);
                line.push('=');
                if needs_quotes(value) {
                    push_quoted(&mut line, value);
                } else {
                    line.push_str(value);
                }
            }
        }
        LogFormat::Json => {
            let pairs = pairs
                .iter()
                .map(|(name, value, bare)| (*name, value.as_str(), *bare));
            let head = head.into_iter().map(|(name, value)| (name, value, false));
            for (index, (name, value, bare)) in head.chain(pairs).enumerate() {
                line.push(if index == 0 { '{' } else { ',' });
                push_quoted(&mut line, name);
                line.push(':');
                if bare {
                    line.push_str(value);
                } else {
                    push_quoted(&mut line, value);
                }
            }
            line.push('}');
        }
    }
    line.push('\n');
    line
}

/// Go's `log/slog` quotes values that are empty, hold spaces, quotes, `=` or anything unprintable.
fn needs_quotes(value: &str) -> bool {
    value.is_empty()
        || value
            .chars()
            .any(|character| matches!(character, ' ' | '"' | '=') || character.is_control())
}

/// A quoted string that is good for both formats.
fn push_quoted(line: &mut String, value: &str) {
    line.push('"');
    for character in value.chars() {
        match character {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            control if control.is_control() => {
                write!(line, "\\u{:04x}", control as u32).expect("writing to a string cannot fail");
            }
            other => line.push(other),
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shapes are those of Prometheus 3.5.3's own lines.
    #[test]
    fn lines_have_prometheus_shape_in_both_formats() {
        let pairs = [
            ("address", "[::]:9090".to_owned(), false),
            ("err", "open \"x\":\nno".to_owned(), false),
            ("http2", "false".to_owned(), true),
            ("empty", String::new(), false),
        ];
        let line = |format| {
            format_line(
                format,
                &format_time(1_795_228_739_708),
                "INFO",
                "web.rs:641",
                "Listening on",
                &pairs,
            )
        };
        assert_eq!(
            line(LogFormat::Logfmt),
            "time=2026-11-21T02:38:59.708Z level=INFO source=web.rs:641 msg=\"Listening on\" \
             address=[::]:9090 err=\"open \\\"x\\\":\\nno\" http2=false empty=\"\"\n"
        );
        assert_eq!(
            line(LogFormat::Json),
            "{\"time\":\"2026-11-21T02:38:59.708Z\",\"level\":\"INFO\",\"source\":\"web.rs:641\",\
             \"msg\":\"Listening on\",\"address\":\"[::]:9090\",\"err\":\"open \\\"x\\\":\\nno\",\
             \"http2\":false,\"empty\":\"\"}\n"
        );
    }
}
