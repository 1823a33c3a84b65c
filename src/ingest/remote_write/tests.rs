//! Requests as senders send them. Status codes and sentences are what Prometheus 3.5.3 answers to
//! the same bytes.

use narthex_storage::{Exemplar, KeptMetadata, Metadata, MetricType, stale_marker};

use prost::Message as _;

use super::{
    message::{Label, TimeSeries, WireExemplar, WireMetadata, WireSample, WriteRequest},
    *,
};
use crate::{
    api::test_support::{NOW, Reply, Site},
    wire_histogram::{Count, WireHistogram, WireSpan},
};

fn label(name: &str, value: &str) -> Label {
    Label {
        name: name.as_bytes().to_vec(),
        value: value.as_bytes().to_vec(),
    }
}

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
    TimeSeries {
        labels: labels
            .iter()
            .map(|(name, value)| label(name, value))
            .collect(),
        samples: samples
            .iter()
            .map(|(timestamp, value)| WireSample {
                value: *value,
                timestamp: *timestamp,
            })
            .collect(),
        exemplars: Vec::new(),
        histograms: Vec::new(),
    }
}

fn exemplar(labels: Vec<Label>, value: f64, timestamp: i64) -> WireExemplar {
    WireExemplar {
        labels,
        value,
        timestamp,
    }
}

fn body(series: Vec<TimeSeries>) -> Vec<u8> {
    body_with(series, Vec::new())
}

fn body_with(series: Vec<TimeSeries>, metadata: Vec<WireMetadata>) -> Vec<u8> {
    let message = WriteRequest { series, metadata }.encode_to_vec();
    snap::raw::Encoder::new().compress_vec(&message).unwrap()
}

async fn push_with(site: &Site, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
    let mut request = http::Request::post("/api/v1/write");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    site.send(request.body(Body::from(body)).unwrap()).await
}

async fn push(site: &Site, series: Vec<TimeSeries>) -> (u16, String) {
    let headers = [
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "snappy"),
    ];
    let reply = push_with(site, &headers, body(series)).await;
    (reply.status.as_u16(), reply.text().to_owned())
}

fn site() -> Site {
    Site::with(|_| {})
}

/// What the store holds of a metric: labels and samples as text.
fn stored(site: &Site, metric: &str) -> Vec<(String, Vec<(i64, u64)>)> {
    site.store
        .contents()
        .iter()
        .filter(|(labels, _)| labels.metric_name() == metric)
        .map(|(labels, samples)| {
            let samples = samples.iter();
            (
                labels.to_string(),
                samples
                    .map(|sample| (sample.time, sample.value.to_bits()))
                    .collect(),
            )
        })
        .collect()
}

fn bits(samples: &[(i64, f64)]) -> Vec<(i64, u64)> {
    samples
        .iter()
        .map(|(time, value)| (*time, value.to_bits()))
        .collect()
}

#[tokio::test]
async fn samples_of_any_age_are_kept_bit_for_bit() {
    let site = site();
    let samples = [(0, 1.5), (NOW, stale_marker()), (NOW + 1, f64::NAN)];
    let sent = series(&[("__name__", "m"), ("a", "b")], &samples);
    assert_eq!(push(&site, vec![sent]).await, (204, String::new()));
    assert_eq!(
        stored(&site, "m"),
        [(r#"{__name__="m", a="b"}"#.to_owned(), bits(&samples))]
    );
}

#[tokio::test]
async fn exemplars_refuse_nothing_and_go_with_their_request() {
    let site = site();
    let not_utf8 = Label {
        name: b"t".to_vec(),
        value: b"\xff".to_vec(),
    };
    let limit = NOW + 600_000;
    let exemplars = vec![
        exemplar(vec![label("t", "1"), label("b", "")], 1.5, NOW),
        exemplar(Vec::new(), -0.0, 0),
        exemplar(vec![label("t", "2")], f64::INFINITY, limit),
        exemplar(vec![label("t", "ahead")], 1.0, limit + 1),
        exemplar(vec![label("t", "1"), label("t", "2")], 1.0, NOW),
        exemplar(vec![not_utf8], 1.0, NOW),
    ];
    let mut with = series(&[("__name__", "m")], &[(NOW, 1.0)]);
    with.exemplars = exemplars;
    let mut bad = series(&[("no", "name")], &[]);
    bad.exemplars = vec![exemplar(vec![label("t", "3")], 1.0, NOW)];
    let mut alone = series(&[("__name__", "n")], &[]);
    alone.exemplars = vec![exemplar(vec![label("t", "4")], 1.0, NOW)];
    assert_eq!(
        push(&site, vec![with, bad, alone]).await,
        (204, String::new())
    );
    let kept = |series: &str, labels: &[(&str, &str)], value, time| {
        let exemplar = Exemplar {
            labels: Labels::from_pairs(labels.iter().copied()),
            value,
            time,
            is_timed: true,
        };
        (Labels::from_pairs([("__name__", series)]), exemplar)
    };
    let expected = [
        kept("m", &[("t", "1")], 1.5, NOW),
        kept("m", &[], -0.0, 0),
        kept("m", &[("t", "2")], f64::INFINITY, limit),
        kept("n", &[("t", "4")], 1.0, NOW),
    ];
    assert_eq!(site.store.exemplars(), expected);
}

#[tokio::test]
async fn metadata_is_kept_with_its_request_and_alone() {
    let site = site();
    let wire = |family: &[u8], kind, unit: &str, help: &[u8]| WireMetadata {
        kind,
        family: family.to_vec(),
        help: help.to_vec(),
        unit: unit.as_bytes().to_vec(),
    };
    let sent = vec![
        wire(b"m", 1, "seconds", b"what <it>\nis"),
        wire(b"n", 7, "", b""),
        wire(b"o", 8, "", b"of a later version"),
        wire(b"p", -1, "", b""),
        wire(b"bad\xff", 1, "", b""),
        wire(b"q", 1, "", b"\xff"),
    ];
    let of = series(&[("__name__", "m")], &[(NOW, 1.0)]);
    for (series, metadata, status) in [
        (vec![of], sent, 204),
        (Vec::new(), vec![wire(b"m", 2, "", b"else")], 204),
    ] {
        let reply = push_with(&site, &[], body_with(series, metadata)).await;
        assert_eq!(reply.status.as_u16(), status);
    }
    let kept = |kind, unit: &str, help: &str| KeptMetadata {
        metadata: Metadata {
            kind,
            unit: unit.to_owned(),
            help: help.to_owned(),
        },
        from_target: false,
        from_push: true,
    };
    let counter = kept(MetricType::Counter, "seconds", "what <it>\nis");
    let expected = [
        ("m", vec![kept(MetricType::Gauge, "", "else"), counter]),
        ("n", vec![kept(MetricType::StateSet, "", "")]),
        (
            "o",
            vec![kept(MetricType::Unknown, "", "of a later version")],
        ),
        ("p", vec![kept(MetricType::Unknown, "", "")]),
    ];
    let expected = expected.map(|(family, kept)| (family.to_owned(), kept));
    assert_eq!(site.store.families(), expected.into());
    assert_eq!(stored(&site, "m").len(), 1);
}

#[tokio::test]
async fn a_refused_sample_refuses_the_whole_request() {
    let site = site();
    let name = [("__name__", "m")];
    let first = series(&name, &[(NOW, 1.0), (NOW + 1_000, 2.0)]);
    assert_eq!(push(&site, vec![first]).await.0, 204);
    let other = || series(&[("__name__", "other")], &[(NOW, 1.0)]);
    for (sample, message) in [
        ((NOW, 3.0), "out of order sample\n".to_owned()),
        (
            (NOW + 1_000, 3.0),
            format!(
                "duplicate sample for timestamp {}; overrides not allowed: existing 2, new value 3\n",
                NOW + 1_000
            ),
        ),
        (
            (NOW + 3_600_000, 3.0),
            "out of bounds: timestamp is too far in the future\n".to_owned(),
        ),
    ] {
        let sent = vec![other(), series(&name, &[sample])];
        assert_eq!(push(&site, sent).await, (400, message));
        assert_eq!(stored(&site, "other"), []);
    }
    assert_eq!(
        stored(&site, "m")[0].1,
        bits(&[(NOW, 1.0), (NOW + 1_000, 2.0)])
    );
    // The newest sample again is no news.
    let again = series(&name, &[(NOW + 1_000, 2.0)]);
    assert_eq!(push(&site, vec![again]).await.0, 204);
}

/// What is kept of a request and what is answered. Expected values: Prometheus 3.5.3, given the same
/// requests.
#[tokio::test]
async fn samples_overtaken_within_a_request_are_left_out() {
    type Pieces<'a> = &'a [(&'a str, &'a [(i64, f64)])];
    let site = site();
    let at = |samples: &[(i64, f64)]| -> Vec<(i64, f64)> {
        let samples = samples.iter();
        samples
            .map(|(second, value)| (NOW + second * 1_000, *value))
            .collect()
    };
    let duplicate = format!(
        "duplicate sample for timestamp {}; overrides not allowed: existing 9, new value 1\n",
        NOW + 9_000
    );
    let cases: [(Pieces<'_>, (u16, &str), Pieces<'_>); 13] = [
        (
            &[("u", &[(2, 2.0), (1, 1.0), (3, 3.0)])],
            (204, ""),
            &[("u", &[(2, 2.0), (3, 3.0)])],
        ),
        (
            &[("d", &[(1, 1.0), (1, 1.0), (2, 2.0)])],
            (204, ""),
            &[("d", &[(1, 1.0), (2, 2.0)])],
        ),
        (
            &[("e", &[(1, 1.0), (1, 5.0), (2, 2.0)])],
            (204, ""),
            &[("e", &[(1, 1.0), (2, 2.0)])],
        ),
        (
            &[("p", &[(1, 1.0)]), ("p", &[(2, 2.0)])],
            (204, ""),
            &[("p", &[(1, 1.0), (2, 2.0)])],
        ),
        (
            &[("r", &[(2, 2.0)]), ("r", &[(1, 1.0)])],
            (204, ""),
            &[("r", &[(2, 2.0)])],
        ),
        (
            &[("s", &[(1, 1.0)]), ("s", &[(1, 7.0)])],
            (204, ""),
            &[("s", &[(1, 1.0)])],
        ),
        (
            &[("w", &[(1, 1.0), (3, 3.0)]), ("w", &[(2, 2.0), (4, 4.0)])],
            (204, ""),
            &[("w", &[(1, 1.0), (3, 3.0), (4, 4.0)])],
        ),
        (&[("z", &[(5, 5.0)])], (204, ""), &[]),
        (
            &[("z", &[(7, 7.0), (6, 6.0)])],
            (204, ""),
            &[("z", &[(5, 5.0), (7, 7.0)])],
        ),
        (
            &[("z", &[(6, 6.0), (8, 8.0)])],
            (400, "out of order sample\n"),
            &[("z", &[(5, 5.0), (7, 7.0)])],
        ),
        (&[("z", &[(8, 8.0), (9, 9.0)])], (204, ""), &[]),
        (&[("z", &[(9, 1.0), (10, 10.0)])], (400, &duplicate), &[]),
        (
            &[("z", &[(11, 11.0), (9, 1.0)])],
            (400, &duplicate),
            &[("z", &[(5, 5.0), (7, 7.0), (8, 8.0), (9, 9.0)])],
        ),
    ];
    for (pieces, (status, message), expected) in cases {
        let sent = pieces
            .iter()
            .map(|(name, samples)| series(&[("__name__", name)], &at(samples)));
        let answer = push(&site, sent.collect()).await;
        assert_eq!(answer, (status, message.to_owned()), "{pieces:?}");
        for (name, samples) in expected {
            let found = stored(&site, name);
            assert_eq!(found[0].1, bits(&at(samples)), "{pieces:?}");
        }
    }
}

#[tokio::test]
async fn series_with_invalid_labels_are_skipped_and_counted() {
    let site = site();
    let sample = [(NOW, 1.0)];
    let not_utf8 = TimeSeries {
        labels: vec![
            label("__name__", "m"),
            Label {
                name: b"a".to_vec(),
                value: b"\xff".to_vec(),
            },
        ],
        ..series(&[], &sample)
    };
    let sent = vec![
        series(&[("a", "b")], &sample),
        series(&[("__name__", ""), ("a", "b")], &sample),
        series(&[("__name__", "m"), ("a", "b"), ("a", "c")], &sample),
        series(&[("__name__", "m"), ("", "x")], &sample),
        not_utf8,
        series(&[("__name__", "m"), ("a-b", "x")], &sample),
    ];
    assert_eq!(push(&site, sent).await, (204, String::new()));
    assert_eq!(
        stored(&site, "m"),
        [(r#"{__name__="m", "a-b"="x"}"#.to_owned(), bits(&sample))]
    );
    assert!(
        site.state
            .registry
            .render()
            .contains("prometheus_api_remote_write_invalid_labels_samples_total 5\n")
    );
}

/// Sentences are those of Prometheus 3.5.3, which answers 500 where a histogram breaks a rule.
#[tokio::test]
async fn a_native_histogram_that_breaks_a_rule_refuses_the_whole_request() {
    let site = site();
    let sent = WireHistogram {
        count: Some(Count::Integer(3)),
        positive_spans: vec![WireSpan {
            offset: 0,
            length: 2,
        }],
        positive_deltas: vec![1, 1],
        timestamp: NOW,
        ..WireHistogram::default()
    };
    let changed = |change: &dyn Fn(&mut WireHistogram)| {
        let mut changed = sent.clone();
        change(&mut changed);
        changed
    };
    for (broken, message) in [
        (
            changed(&|sent| sent.count = Some(Count::Integer(7))),
            "3 observations found in buckets, but the Count field is 7: histogram's observation count should equal the number of observations found in the buckets (in absence of NaN)\n",
        ),
        (
            changed(&|sent| sent.positive_deltas = vec![1]),
            "positive side: spans need 2 buckets, have 1 buckets: histogram spans specify different number of buckets than provided\n",
        ),
        (
            changed(&|sent| sent.positive_deltas = vec![1, -2]),
            "positive side: bucket number 2 has observation count of -1: histogram has a bucket whose observation count is negative\n",
        ),
        (
            changed(&|sent| sent.custom_values = vec![1.0]),
            "histogram with exponential schema must not have custom bounds\n",
        ),
        (
            changed(&|sent| sent.schema = 1000),
            "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, or -53 for custom buckets, got schema 1000\n",
        ),
        (
            changed(&|sent| sent.timestamp = NOW + 600_001),
            "out of bounds: timestamp is too far in the future\n",
        ),
    ] {
        let native = TimeSeries {
            histograms: vec![broken],
            ..series(&[("__name__", "h")], &[])
        };
        let sent = vec![series(&[("__name__", "m")], &[(NOW, 1.0)]), native];
        assert_eq!(push(&site, sent).await, (400, message.to_owned()));
        assert_eq!(stored(&site, "m"), []);
    }
}

#[tokio::test]
async fn what_does_not_decode_is_refused_before_memory_is_taken() {
    let site = site();
    for (bytes, message) in [
        (&b"\xff\xff\xff\xff\xff"[..], "snappy: corrupt input\n"),
        (b"\x00\x01\x02", "snappy: corrupt input\n"),
        (
            b"\x80\x80\x80\x80\x08\x00a",
            "snappy: decoded length 2147483648 exceeds limit 33554432\n",
        ),
    ] {
        let reply = push_with(&site, &[], bytes.to_vec()).await;
        assert_eq!((reply.status.as_u16(), reply.text()), (400, message));
    }
    let truncated = snap::raw::Encoder::new()
        .compress_vec(b"\xff\xff\xff")
        .unwrap();
    let reply = push_with(&site, &[], truncated).await;
    assert_eq!(reply.status, 400);
    assert!(reply.text().starts_with("proto: "));
}

#[tokio::test]
async fn content_types_and_encodings_are_told_apart() {
    let site = site();
    let v1 = "application/x-protobuf;proto=prometheus.WriteRequest";
    for (content_type, encoding, status, message) in [
        ("", "", 204, ""),
        ("application/x-protobuf", "Snappy", 204, ""),
        ("application/x-protobuf; charset=utf-8", "snappy", 204, ""),
        (v1, "snappy", 204, ""),
        (
            "application/json",
            "snappy",
            415,
            "expected application/x-protobuf as the first (media) part, got application/json content-type\n",
        ),
        (
            "application/x-protobuf;proto=foo",
            "snappy",
            415,
            "got application/x-protobuf;proto=foo content type; unknown remote write protobuf message foo, supported: prometheus.WriteRequest\n",
        ),
        (
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            "snappy",
            415,
            "io.prometheus.write.v2.Request protobuf message is not accepted by this server; only accepts prometheus.WriteRequest\n",
        ),
        (
            "application/x-protobuf;proto",
            "snappy",
            415,
            "as per https://www.rfc-editor.org/rfc/rfc9110#parameter expected parameters to be key-values, got proto in application/x-protobuf;proto content-type\n",
        ),
        (
            "application/x-protobuf",
            "gzip",
            415,
            "gzip encoding (compression) is not accepted by this server; only snappy is acceptable\n",
        ),
    ] {
        let headers: Vec<(&str, &str)> = [
            ("content-type", content_type),
            ("content-encoding", encoding),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
        let reply = push_with(&site, &headers, body(Vec::new())).await;
        assert_eq!(
            (reply.status.as_u16(), reply.text()),
            (status, message),
            "{content_type} {encoding}"
        );
    }
}

#[tokio::test]
async fn the_receiver_is_off_by_default() {
    let site = Site::with(|settings| settings.enable_remote_write_receiver = false);
    let reply = push_with(&site, &[], body(Vec::new())).await;
    assert_eq!(
        (reply.status.as_u16(), reply.text()),
        (
            404,
            "remote write receiver needs to be enabled with --web.enable-remote-write-receiver\n"
        )
    );
}
