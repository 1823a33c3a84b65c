//! Which format an answer is in, by its `Content-Type` and the job's fallback.
//!
//! Source: observed in Prometheus 3.5.3: the version does not matter, the type does; an answer
//! without a usable type fails unless the job names a fallback.

use super::exposition::Format;
use crate::config::ScrapeProtocol;

/// How a body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exposed {
    pub(super) format: Format,
}

/// The format of an answer.
///
/// # Errors
/// Why it cannot be read, in Prometheus's words.
pub(super) fn exposed(
    content_type: &str,
    fallback: Option<ScrapeProtocol>,
) -> Result<Exposed, String> {
    let problem = match media_type(content_type) {
        _ if content_type.is_empty() => "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target".to_owned(),
        Ok(media) => match media.as_str() {
            "text/plain" => return Ok(Exposed { format: Format::Text }),
            "application/openmetrics-text" => return Ok(Exposed { format: Format::OpenMetrics }),
            "application/vnd.google.protobuf" => return protobuf(),
            _ => format!("received unsupported Content-Type {content_type:?} and no fallback_scrape_protocol specified for target"),
        },
        Err(problem) => format!("cannot parse Content-Type {content_type:?} and no fallback_scrape_protocol for target\nmime: {problem}"),
    };
    match fallback {
        None => Err(problem),
        Some(ScrapeProtocol::PrometheusProto) => protobuf(),
        Some(ScrapeProtocol::PrometheusText0_0_4 | ScrapeProtocol::PrometheusText1_0_0) => {
            Ok(Exposed {
                format: Format::Text,
            })
        }
        Some(ScrapeProtocol::OpenMetricsText0_0_1 | ScrapeProtocol::OpenMetricsText1_0_0) => {
            Ok(Exposed {
                format: Format::OpenMetrics,
            })
        }
    }
}

fn protobuf() -> Result<Exposed, String> {
    Err("the protobuf exposition format is not built in: let the target answer with text/plain or application/openmetrics-text".to_owned())
}

/// The type in front of the parameters, in lower case.
fn media_type(content_type: &str) -> Result<String, &'static str> {
    let mut parts = content_type.split(';');
    let media = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_token = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte))
    };
    if media.is_empty() {
        return Err("no media type");
    }
    let is_media = match media.split_once('/') {
        Some((kind, subtype)) => is_token(kind) && is_token(subtype),
        None => is_token(&media),
    };
    if !is_media {
        return Err("expected token after slash");
    }
    let parameters: Vec<&str> = parts.map(str::trim).collect();
    for (index, parameter) in parameters.iter().enumerate() {
        if parameter.is_empty() && index + 1 == parameters.len() {
            continue;
        }
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let is_quoted = value.len() > 1 && value.starts_with('"') && value.ends_with('"');
        if !is_token(name.trim_end()) || !(is_token(value) || is_quoted) {
            return Err("invalid media parameter");
        }
    }
    Ok(media)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_taken_and_refused_as_by_the_released_prometheus() {
        let text = Ok(Exposed {
            format: Format::Text,
        });
        let open = Ok(Exposed {
            format: Format::OpenMetrics,
        });
        for (sent, expected) in [
            ("text/plain", text.clone()),
            ("text/plain; version=9.9.9", text.clone()),
            ("TEXT/PLAIN; charset=\"utf-8\"", text.clone()),
            ("application/openmetrics-text; version=7", open.clone()),
            ("", Err("non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target".to_owned())),
            ("text/html", Err("received unsupported Content-Type \"text/html\" and no fallback_scrape_protocol specified for target".to_owned())),
            ("application/json; charset=utf-8", Err("received unsupported Content-Type \"application/json; charset=utf-8\" and no fallback_scrape_protocol specified for target".to_owned())),
            ("garbage;;;=", Err("cannot parse Content-Type \"garbage;;;=\" and no fallback_scrape_protocol for target\nmime: invalid media parameter".to_owned())),
        ] {
            assert_eq!(exposed(sent, None), expected, "{sent}");
        }
        for sent in ["", "text/html", "garbage;;;="] {
            assert_eq!(
                exposed(sent, Some(ScrapeProtocol::PrometheusText0_0_4)),
                text
            );
        }
    }
}
