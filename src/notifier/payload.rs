//! The body of a POST to an Alertmanager.
//!
//! Source: Alertmanager's API v2; bytes observed in Prometheus 3.5.3.

use std::sync::Arc;

use bytes::Bytes;
use narthex_rules::AlertMessage;
use narthex_storage::Timestamp;

use crate::api::json::{Escape, push_string};

/// The alerts as Prometheus writes them: fields in its order, times with exactly three decimals,
/// annotations and the link left out when they are empty.
pub(super) fn body(alerts: &[Arc<AlertMessage>]) -> Bytes {
    let mut out = vec![b'['];
    for (index, alert) in alerts.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_alert(&mut out, alert);
    }
    out.push(b']');
    out.into()
}

fn push_alert(out: &mut Vec<u8>, alert: &AlertMessage) {
    out.push(b'{');
    if !alert.annotations.is_empty() {
        let pairs = alert.annotations.iter();
        out.extend_from_slice(b"\"annotations\":");
        push_pairs(out, pairs.map(|(name, value)| (&**name, &**value)));
        out.push(b',');
    }
    out.extend_from_slice(b"\"endsAt\":\"");
    push_date(out, alert.ends_at);
    out.extend_from_slice(b"\",\"startsAt\":\"");
    push_date(out, alert.starts_at);
    out.extend_from_slice(b"\",");
    if !alert.generator_url.is_empty() {
        out.extend_from_slice(b"\"generatorURL\":");
        push_string(out, &alert.generator_url, Escape::HtmlShort);
        out.push(b',');
    }
    out.extend_from_slice(b"\"labels\":");
    push_pairs(out, alert.labels.iter());
    out.push(b'}');
}

fn push_pairs<'a>(out: &mut Vec<u8>, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
    out.push(b'{');
    for (index, (name, value)) in pairs.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_string(out, name, Escape::HtmlShort);
        out.push(b':');
        push_string(out, value, Escape::HtmlShort);
    }
    out.push(b'}');
}

/// `2026-11-21T08:21:40.800Z`
fn push_date(out: &mut Vec<u8>, time: Timestamp) {
    // Times outside the calendar come from no clock; the calendar's ends stand for them.
    let time = jiff::Timestamp::from_millisecond(time).unwrap_or(if time < 0 {
        jiff::Timestamp::MIN
    } else {
        jiff::Timestamp::MAX
    });
    out.extend_from_slice(format!("{time:.3}").as_bytes());
}

#[cfg(test)]
mod tests {
    use narthex_storage::Labels;

    use super::*;

    /// The expected bytes are those that Prometheus 3.5.3 posted for these alerts.
    #[test]
    fn the_body_is_prometheus_to_the_byte() {
        let flap = AlertMessage {
            labels: Labels::from_pairs([
                ("a", "b"),
                ("alertname", "Flap"),
                ("am", "first"),
                ("ext", "e1"),
                ("n", "z"),
                ("severity", "fromext"),
            ]),
            annotations: [].into(),
            starts_at: 1_795_249_300_808,
            ends_at: 1_795_249_540_808,
            generator_url:
                "http://vm:19390/graph?g0.expr=vector%28time%28%29+%25+10+%3C+bool+5%29+%3D%3D+1&g0.tab=1"
                    .to_owned(),
        };
        let always = AlertMessage {
            labels: Labels::from_pairs([("alertname", "Always"), ("severity", "a<b>&\"q\" 1")]),
            annotations: [
                ("description".to_owned(), "two\nlines".to_owned()),
                ("summary".to_owned(), "v 1 <x> é".to_owned()),
            ]
            .into(),
            starts_at: 1_795_249_300_000,
            ends_at: 1_795_249_540_920,
            generator_url: String::new(),
        };
        let expected = concat!(
            r#"[{"endsAt":"2026-11-21T08:25:40.808Z","startsAt":"2026-11-21T08:21:40.808Z","generatorURL":"http://vm:19390/graph?g0.expr=vector%28time%28%29+%25+10+%3C+bool+5%29+%3D%3D+1\u0026g0.tab=1","labels":{"a":"b","alertname":"Flap","am":"first","ext":"e1","n":"z","severity":"fromext"}},"#,
            r#"{"annotations":{"description":"two\nlines","summary":"v 1 \u003cx\u003e é"},"endsAt":"2026-11-21T08:25:40.920Z","startsAt":"2026-11-21T08:21:40.000Z","labels":{"alertname":"Always","severity":"a\u003cb\u003e\u0026\"q\" 1"}}]"#,
        );
        let body = body(&[Arc::new(flap), Arc::new(always)]);
        assert_eq!(String::from_utf8_lossy(&body), expected);
    }
}
