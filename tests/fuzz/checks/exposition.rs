//! Expositions: the samples that are read are written out in the text format and read again.

use narthex::scrape::exposition::{Entry, Format, Parser};
use narthex_query::{FloatStyle, format_float};
use narthex_storage::{Labels, METRIC_NAME};

/// Labels, value bits, time.
type Sample = (Labels, u64, Option<i64>);

pub(super) fn check_text(bytes: &[u8]) -> bool {
    check(bytes, Format::Text)
}

pub(super) fn check_openmetrics(bytes: &[u8]) -> bool {
    check(bytes, Format::OpenMetrics)
}

fn check(bytes: &[u8], format: Format) -> bool {
    let Some(mut samples) = read(bytes, format) else {
        return false;
    };
    for (_, _, time) in &mut samples {
        // The text format has no negative times.
        *time = time.filter(|time| *time >= 0);
    }
    let written = write(&samples);
    let again = read(written.as_bytes(), Format::Text);
    assert_eq!(again.as_ref(), Some(&samples), "written as {written}");
    true
}

/// The samples of a body; `None` when it is refused.
fn read(body: &[u8], format: Format) -> Option<Vec<Sample>> {
    let mut parser = Parser::new(body, format);
    let mut samples = Vec::new();
    let mut entries = 0;
    while let Some(entry) = parser.next_entry().ok()? {
        entries += 1;
        assert!(entries <= body.len(), "an entry consumed nothing");
        if let Entry::Sample { value, time, .. } = entry {
            let labels = parser.labels().ok()?;
            // Such a sample is refused by the scrape.
            if !labels.metric_name().is_empty() {
                samples.push((labels, value.to_bits(), time));
            }
        }
    }
    Some(samples)
}

fn write(samples: &[Sample]) -> String {
    let quote = |text: &str| {
        let text = text.replace('\\', "\\\\").replace('"', "\\\"");
        ["\"", &text.replace('\n', "\\n"), "\""].concat()
    };
    let mut out = String::new();
    for (labels, bits, time) in samples {
        let mut inside = vec![quote(labels.metric_name())];
        let others = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
        inside.extend(others.map(|(name, value)| quote(name) + "=" + &quote(value)));
        let value = format_float(f64::from_bits(*bits), FloatStyle::Json);
        out += &["{", &inside.join(","), "} ", &value].concat();
        if let Some(time) = time {
            out += " ";
            out += &time.to_string();
        }
        out.push('\n');
    }
    out
}
