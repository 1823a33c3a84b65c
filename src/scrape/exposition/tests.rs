use std::{collections::BTreeMap, env, fmt::Write as _};

use proptest::prelude::*;

use super::*;

#[derive(Debug, serde::Deserialize)]
struct Case {
    format: String,
    /// Characters up to U+00FF stand for bytes.
    body: String,
    error: String,
    #[serde(default)]
    scraped: usize,
    #[serde(default)]
    series: Vec<(BTreeMap<String, String>, String)>,
}

type Samples = Vec<(Labels, f64, Option<i64>)>;

/// Every sample of a body, or why it is refused; the first of a repeated series counts.
fn parse(body: &[u8], format: Format) -> Result<(usize, Samples), String> {
    let mut parser = Parser::new(body, format);
    let mut samples: Vec<(Labels, f64, Option<i64>)> = Vec::new();
    let mut scraped = 0;
    let mut texts = Vec::new();
    while let Some(entry) = parser.next_entry().map_err(|error| error.to_string())? {
        if let Entry::Sample {
            series,
            value,
            time,
        } = entry
        {
            scraped += 1;
            if texts.contains(&series) {
                continue;
            }
            texts.push(series);
            let labels = parser.labels().map_err(|error| error.to_string())?;
            if labels.metric_name().is_empty() {
                return Err("missing metric name (__name__ label)".to_owned());
            }
            if !samples.iter().any(|(known, ..)| *known == labels) {
                samples.push((labels, value, time));
            }
        }
    }
    Ok((scraped, samples))
}

#[test]
fn bodies_are_read_and_refused_as_the_released_prometheus_does() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("corpus.json")).unwrap();
    assert!(cases.len() > 290);
    let mut wrong = Vec::new();
    for case in cases {
        let body: Vec<u8> = case.body.chars().map(|character| character as u8).collect();
        let format = match case.format.as_str() {
            "text" => Format::Text,
            _ => Format::OpenMetrics,
        };
        match parse(&body, format) {
            Err(error) => {
                // Prometheus shows the whole label set here, the target's labels included.
                let names = "invalid metric name or label names";
                let both = error.starts_with(names) && case.error.starts_with(names);
                if error != case.error && !both {
                    wrong.push(format!(
                        "{body:?}\n  theirs {}\n  ours   {error}",
                        case.error
                    ));
                }
            }
            Ok((scraped, samples)) => {
                let stored = samples.iter().filter(|(_, _, time)| time.is_none());
                let mut ours: Vec<(Labels, u64)> = stored
                    .filter(|(labels, ..)| {
                        // Those clash with the labels the target had in the recording.
                        labels.get("job").is_none() && labels.get("instance").is_none()
                    })
                    .map(|(labels, value, _)| (labels.clone(), value.to_bits()))
                    .collect();
                ours.sort();
                let mut theirs: Vec<(Labels, u64)> = case
                    .series
                    .iter()
                    .map(|(pairs, value)| {
                        let value = parse_float(value.as_bytes()).unwrap();
                        (Labels::from_pairs(pairs), value.to_bits())
                    })
                    .collect();
                theirs.sort();
                if !case.error.is_empty() || ours != theirs || scraped != case.scraped {
                    wrong.push(format!(
                        "{:?}\n  theirs {} {theirs:?} {}\n  ours   {scraped} {ours:?}",
                        case.body, case.scraped, case.error
                    ));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn timestamps_are_milliseconds_in_text_and_seconds_in_openmetrics() {
    let times = |body: &str, format| -> Vec<Option<i64>> {
        let (_, samples) = parse(body.as_bytes(), format).unwrap();
        samples.into_iter().map(|(_, _, time)| time).collect()
    };
    assert_eq!(
        times("a 1 1700000000123\nb 1\n", Format::Text),
        [Some(1_700_000_000_123), None]
    );
    assert_eq!(
        times("a 1 1700000000.1239\nb 1 -5\n# EOF\n", Format::OpenMetrics),
        [Some(1_700_000_000_123), Some(-5000)]
    );
}

#[test]
fn metadata_lines_are_entries_and_exemplars_have_labels_of_their_own() {
    let body = "# HELP a_seconds what\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
                a_seconds_total{x=\"y\"} 2 # {trace=\"t\\n\",\"q.x\"=\"1\",e=\"\"} 1 -5.0019\n\
                b 1\nc 1 # {} +Inf\nd 1 # {a=\"1\",a=\"2\"} 1\n# EOF\n";
    let mut parser = Parser::new(body.as_bytes(), Format::OpenMetrics);
    let name: &[u8] = b"a_seconds";
    let expected = [
        Entry::Help { name, text: "what" },
        Entry::Type {
            name,
            kind: MetricType::Counter,
        },
        Entry::Unit {
            name,
            text: b"seconds",
        },
        Entry::Sample {
            series: b"a_seconds_total{x=\"y\"}",
            value: 2.0,
            time: None,
        },
    ];
    for entry in expected {
        assert_eq!(parser.next_entry(), Ok(Some(entry)));
    }
    let labels = parser.labels().unwrap();
    assert_eq!(labels.to_string(), r#"{__name__="a_seconds_total", x="y"}"#);
    // Escapes stay as they are, timestamps are cut towards zero; observed in Prometheus 3.5.3.
    let exemplar = |pairs: &[(&str, &str)], value, time| ExposedExemplar {
        labels: Labels::from_pairs(pairs.iter().copied()),
        value,
        time,
    };
    let found = parser.exemplar();
    let labels = [("trace", r"t\n"), ("q.x", "1")];
    assert_eq!(found, Some(exemplar(&labels, 1.0, Some(-5_001))));
    for expected in [None, Some(exemplar(&[], f64::INFINITY, None)), None] {
        parser.next_entry().unwrap();
        assert_eq!(parser.exemplar(), expected);
    }
    assert!(parser.has_exemplar());
    assert_eq!(parser.next_entry(), Ok(None));
}

#[test]
fn blanks_before_a_name_are_not_part_of_it() {
    let (_, samples) = parse(b" \ta 1\n", Format::Text).unwrap();
    assert_eq!(
        samples,
        [(Labels::from_pairs([(METRIC_NAME, "a")]), 1.0, None)]
    );
}

#[test]
fn help_escapes_differ_between_the_formats() {
    let text = r#"a\nb\\c\"d\x"#;
    assert_eq!(unescape_help(text, Format::Text), "a\nb\\c\\\"d\\x");
    assert_eq!(unescape_help(text, Format::OpenMetrics), "a\nb\\c\"d\\x");
}

fn cases() -> u32 {
    env::var("NARTHEX_PROPTEST_CASES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(64)
}

fn quoted(text: &str) -> String {
    let escaped = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("\"{escaped}\"")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// Bytes that look like an exposition, and bytes that do not, never panic and always end.
    #[test]
    fn hostile_bytes_end_in_entries_or_an_error(
        pieces in proptest::collection::vec(prop_oneof![
            Just(b"# HELP a b\n".to_vec()), Just(b"# TYPE a counter\n".to_vec()),
            Just(b"# EOF\n".to_vec()), Just(b"a{b=\"c\"} 1\n".to_vec()), Just(b"{\"a.b\"".to_vec()),
            Just(b" # {t=\"x\"} 1".to_vec()), Just(b"\\".to_vec()), Just(b"\"".to_vec()),
            Just(b"\n".to_vec()), Just(b" 1".to_vec()), Just(b"a".to_vec()), Just(b"{".to_vec()),
            Just(b"}".to_vec()), Just(b",".to_vec()), Just(b"=".to_vec()), Just(b"#".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..6),
        ], 0..24),
        open_metrics in any::<bool>(),
    ) {
        let body = pieces.concat();
        let format = if open_metrics { Format::OpenMetrics } else { Format::Text };
        let mut parser = Parser::new(&body, format);
        let mut entries = 0;
        while let Ok(Some(_)) = parser.next_entry() {
            let _checked = parser.labels();
            entries += 1;
            prop_assert!(entries <= body.len() + 1);
        }
    }

    /// What is printed is read back, whatever the names and values hold.
    #[test]
    fn printed_samples_are_read_back(
        samples in proptest::collection::vec((
            "[^\u{0}]{1,8}",
            proptest::collection::btree_map("[a-z .\\\\\"\n\u{e9}]{1,5}", "[^\u{0}]{1,8}", 0..4),
            any::<f64>(),
            proptest::option::of(0_i64..2_000_000_000_000),
        ), 0..6),
        open_metrics in any::<bool>(),
    ) {
        let mut body = String::new();
        let mut expected = Vec::new();
        for (name, pairs, value, time) in &samples {
            write!(body, "{{{}", quoted(name)).unwrap();
            for (label, value) in pairs {
                write!(body, ",{}={}", quoted(label), quoted(value)).unwrap();
            }
            write!(body, "}} {value:e}").unwrap();
            let time = time.map(|time| time / 1000 * 1000);
            if let Some(time) = time {
                let shown = if open_metrics { time / 1000 } else { time };
                write!(body, " {shown}").unwrap();
            }
            body.push('\n');
            let all = pairs.iter().map(|(label, value)| (label.as_str(), value.as_str()));
            let labels = Labels::from_pairs(all.chain([(METRIC_NAME, name.as_str())]));
            expected.push((labels, *value, time));
        }
        let format = if open_metrics { Format::OpenMetrics } else { Format::Text };
        if open_metrics {
            body.push_str("# EOF\n");
        }
        let mut parser = Parser::new(body.as_bytes(), format);
        for (labels, value, time) in expected {
            let entry = parser.next_entry().unwrap();
            let Some(Entry::Sample { value: read, time: read_time, .. }) = entry else {
                panic!("no sample but {entry:?}");
            };
            prop_assert_eq!(parser.labels().unwrap(), labels);
            prop_assert!(read.to_bits() == value.to_bits() || (read.is_nan() && value.is_nan()));
            prop_assert_eq!(read_time, time);
        }
        prop_assert_eq!(parser.next_entry(), Ok(None));
    }
}

/// As Prometheus 3.5.3 reads these bodies with `--enable-feature=type-and-unit-labels`.
#[test]
fn type_and_unit_are_labels_where_they_are_asked_for() {
    let read = |body: &str, format| {
        let mut parser = Parser::new(body.as_bytes(), format);
        parser.add_metadata_labels(true);
        let mut found = String::new();
        while let Some(entry) = parser.next_entry().unwrap() {
            if let Entry::Sample { .. } = entry {
                writeln!(found, "{}", parser.labels().unwrap()).unwrap();
            }
        }
        found
    };
    assert_eq!(
        read(
            "nt 1\n# TYPE a gauge\na 1\nz{__type__=\"mine\",__unit__=\"u\"} 4\n# TYPE h histogram\n\
             h_bucket{le=\"1\"} 1\n# TYPE u untyped\nu{__type__=\"mine\",__unit__=\"v\"} 1\n",
            Format::Text
        ),
        "{__name__=\"nt\"}\n\
         {__name__=\"a\", __type__=\"gauge\"}\n\
         {__name__=\"z\", __type__=\"gauge\", __unit__=\"u\"}\n\
         {__name__=\"h_bucket\", __type__=\"histogram\", le=\"1.0\"}\n\
         {__name__=\"u\", __type__=\"mine\", __unit__=\"v\"}\n"
    );
    assert_eq!(
        read(
            "# TYPE a_seconds gauge\n# UNIT a_seconds seconds\na_seconds 1\n# TYPE b counter\n\
             b_total{__type__=\"mine\",__unit__=\"x\"} 1\n# TYPE i info\ni_info{x=\"y\"} 1\n# EOF\n",
            Format::OpenMetrics
        ),
        "{__name__=\"a_seconds\", __type__=\"gauge\", __unit__=\"seconds\"}\n\
         {__name__=\"b_total\", __type__=\"counter\", __unit__=\"seconds\"}\n\
         {__name__=\"i_info\", __type__=\"info\", __unit__=\"seconds\", x=\"y\"}\n"
    );
}
