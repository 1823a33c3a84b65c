//! Requests as other servers send them. Statuses, texts and bytes are what Prometheus 3.5.3 answers to the
//! same bytes.

use std::sync::Arc;

use axum::body::{Body, HttpBody as _};
use narthex_storage::{
    Appendable as _, Budget, Counts, Db, DbOptions, Histogram, HistogramCounts, HistogramLayout,
    Labels, MemoryFs, ResetHint, Sample, Span, SystemClock,
    internals::{ChunkSamples, decode_chunk},
    stale_marker,
};
use prost::Message as _;

use super::{
    message::{ChunkedReadResponse, Count, TimeSeries, WireHistogram, ZeroCount},
    *,
};
use crate::api::test_support::{NOW, Reply, Site, World};

/// Queries, and what Prometheus answered.
const RECORDED: &str = include_str!("testdata/answers.txt");

fn hexadecimal(text: &str) -> Vec<u8> {
    let pairs = text.trim_matches('-').as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(byte).collect()
}

/// The recorded cases: name, request, stream and samples.
fn recorded() -> Vec<(String, [Vec<u8>; 3])> {
    let (_, cases) = RECORDED.split_once("nothing.\n\n").unwrap();
    let cases = cases
        .split("\n\n")
        .map(str::trim)
        .filter(|case| !case.is_empty());
    let fields = |case: &str| {
        let field = |key: &str| {
            let found = case.lines().find_map(|line| line.strip_prefix(key));
            hexadecimal(found.unwrap_or_else(|| panic!("{key} of {case}")).trim())
        };
        let name = case.lines().next().unwrap().to_owned();
        (name, ["request ", "stream ", "samples "].map(field))
    };
    cases.map(fields).collect()
}

/// A server with the recorded series.
fn site(limits: RemoteReadLimits) -> Site {
    let world = World {
        remote_read: limits,
        ..World::default()
    };
    let site = Site::with_world(|_| {}, world);
    let own = [("__name__", "up"), ("ext", "own")];
    site.store.add(&own, NOW - 2000, f64::INFINITY);
    site.store.add(&own, NOW - 1500, stale_marker());
    site.store
        .add(&own, NOW - 900, f64::from_bits(0xfff8_0000_0000_0123));
    site.store
        .add(&[("__name__", "own"), ("ext", "one")], NOW - 3000, 1.5);
    for index in 0..100 {
        let time = NOW - 100_000 + index * 1000;
        site.store
            .add(&[("__name__", "many"), ("Z", "1")], time, index as f64);
    }
    site
}

fn compressed(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(message).unwrap()
}

async fn post(site: &Site, body: Vec<u8>) -> Reply {
    let request = http::Request::post("/api/v1/read");
    site.send(request.body(Body::from(body)).unwrap()).await
}

/// Asks for samples (0) or chunks (1).
async fn read(site: &Site, queries: &[u8], kind: u8) -> Reply {
    let message = [queries, &[2 << 3 | 2, 1, kind]].concat();
    post(site, compressed(&message)).await
}

fn query(matchers: &[(&str, &str)]) -> Query {
    let matchers = matchers.iter().map(|(name, value)| WireMatcher {
        kind: 0,
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    });
    Query {
        start_ms: 0,
        end_ms: NOW,
        matchers: matchers.collect(),
        hints: None,
    }
}

fn encoded(queries: Vec<Query>) -> Vec<u8> {
    let accepted = Vec::new();
    Request { queries, accepted }.encode_to_vec()
}

/// The message of an answer with samples: the series of each result, in the order of their bytes.
fn results(message: &[u8]) -> Vec<Vec<Vec<u8>>> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Repeated {
        #[prost(bytes = "vec", repeated, tag = "1")]
        items: Vec<Vec<u8>>,
    }
    let results = Repeated::decode(message).unwrap().items.into_iter();
    let series = results.map(|result| {
        let mut series = Repeated::decode(result.as_slice()).unwrap().items;
        series.sort();
        series
    });
    series.collect()
}

#[tokio::test]
async fn answers_are_those_of_prometheus() {
    let site = site(RemoteReadLimits::default());
    let cases = recorded();
    assert_eq!(cases.len(), 16);
    for (name, [request, stream, samples]) in cases {
        let reply = read(&site, &request, 1).await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("content-type")),
            (
                200,
                "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"
            )
        );
        assert_eq!(reply.body, stream, "the stream of {name}");
        let reply = read(&site, &request, 0).await;
        assert_eq!(
            ["content-type", "content-encoding"].map(|header| reply.header(header)),
            ["application/x-protobuf", "snappy"]
        );
        let message = snap::raw::Decoder::new()
            .decompress_vec(&reply.body)
            .unwrap();
        // Prometheus has the series in any order.
        assert_eq!(
            results(&message),
            results(&samples),
            "the samples of {name}"
        );
    }
}

#[tokio::test]
async fn wrong_requests_are_refused_in_prometheus_words() {
    let site = site(RemoteReadLimits {
        samples_max: 100,
        ..RemoteReadLimits::default()
    });
    let check = async |body: Vec<u8>, status: u16, text: &str| {
        let reply = post(&site, body).await;
        assert_eq!((reply.status.as_u16(), reply.text()), (status, text));
        assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(reply.header("content-encoding"), "");
    };
    check(b"garbage".to_vec(), 400, "snappy: corrupt input\n").await;
    check(Vec::new(), 400, "snappy: corrupt input\n").await;
    let long = b"\x80\x80\x80\x11\0a".to_vec();
    let text = "snappy: decoded length 35651584 exceeds limit 33554432\n";
    check(long, 400, text).await;
    let reply = post(&site, compressed(b"\xff\xff")).await;
    assert_eq!(reply.status.as_u16(), 400);
    assert!(reply.text().starts_with("proto: "), "{}", reply.text());
    let text = "server does not support any of the requested response types: [7 9]; supported: map[SAMPLES:{} STREAMED_XOR_CHUNKS:{}]\n";
    check(compressed(&[2 << 3 | 2, 2, 7, 9]), 400, text).await;
    let with = |kind: i32, value: &str| {
        let mut query = query(&[("__name__", value)]);
        query.matchers[0].kind = kind;
        compressed(&encoded(vec![query]))
    };
    check(with(4, "x"), 500, "invalid matcher type\n").await;
    let text = "error parsing regexp: missing closing ): `(`\n";
    check(with(2, "("), 500, text).await;
    // The limit is that of each query.
    let twice = vec![query(&[("__name__", "many")]); 2];
    let reply = post(&site, compressed(&encoded(twice))).await;
    assert_eq!(reply.status.as_u16(), 200);
    check(with(1, "x"), 400, "exceeded sample limit (100)\n").await;
    // And does not hold for streams.
    let everything = encoded(vec![query(&[("", "")])]);
    assert_eq!(read(&site, &everything, 1).await.status.as_u16(), 200);
    // The first kind that is known counts, and samples are asked for without one.
    let reply = post(&site, compressed(&[2 << 3 | 2, 3, 7, 1, 0])).await;
    assert!(
        reply
            .header("content-type")
            .starts_with("application/x-streamed")
    );
    assert_eq!(post(&site, compressed(b"")).await.body, b"\0");
    let reply = site.call("GET", "/api/v1/read").await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("allow")),
        (405, "OPTIONS, POST")
    );
}

/// The frames of a stream, after their lengths and checksums were looked at.
fn frames(mut stream: &[u8]) -> Vec<ChunkedReadResponse> {
    let mut frames = Vec::new();
    while !stream.is_empty() {
        let length = prost::decode_length_delimiter(&mut stream).unwrap();
        let (sum, rest) = stream.split_first_chunk().unwrap();
        let (message, rest) = rest.split_at(length);
        assert_eq!(u32::from_be_bytes(*sum), crc32c::crc32c(message));
        frames.push(ChunkedReadResponse::decode(message).unwrap());
        stream = rest;
    }
    frames
}

#[tokio::test]
async fn a_frame_is_full_when_its_chunks_have_no_room_left() {
    // 23 bytes of labels, four messages of 66 bytes around chunks of 120 samples, and one of 41 around the
    // rest.
    for (frame_bytes_max, expected) in [
        (1 << 20, vec![5]),
        (156, vec![3, 2]),
        (155, vec![2, 2, 1]),
        (90, vec![2, 2, 1]),
        (89, vec![1, 1, 1, 1, 1]),
        (0, vec![1, 1, 1, 1, 1]),
    ] {
        let site = Site::with_world(
            |_| {},
            World {
                remote_read: RemoteReadLimits {
                    frame_bytes_max,
                    ..RemoteReadLimits::default()
                },
                ..World::default()
            },
        );
        for index in 0..500 {
            site.store
                .add(&[("__name__", "m")], NOW - 500_000 + index * 1000, 0.0);
        }
        let reply = read(&site, &encoded(vec![query(&[("__name__", "m")])]), 1).await;
        let frames = frames(&reply.body);
        let chunks = frames
            .iter()
            .map(|frame| frame.chunked_series[0].chunks.len());
        assert_eq!(chunks.collect::<Vec<_>>(), expected, "{frame_bytes_max}");
        let names: Vec<&str> = (frames[0].chunked_series[0].labels.iter())
            .map(|label| label.name.as_str())
            .collect();
        assert_eq!(names, ["__name__", "ext"]);
    }
}

fn histogram(reset_hint: ResetHint, count: u64) -> Histogram {
    Histogram {
        reset_hint,
        layout: HistogramLayout {
            schema: 2,
            zero_threshold: 0.5,
            positive_spans: vec![Span {
                offset: -1,
                length: 2,
            }],
            negative_spans: vec![Span {
                offset: 3,
                length: 1,
            }],
            custom_bounds: Vec::new(),
        },
        sum: -0.0,
        counts: HistogramCounts::Integer(Counts {
            count,
            zero: 1,
            positive: vec![count - 3, 1],
            negative: vec![1],
        }),
    }
}

/// A number or a histogram.
#[derive(Debug, Clone)]
enum Value {
    Float(f64),
    Histogram(Histogram),
}

/// Samples with their times.
type Samples = Vec<(i64, Value)>;

/// A store with a series of numbers and histograms, and its samples.
fn store_with_histograms() -> (Db, Samples) {
    let options = DbOptions::new(
        "/data",
        Arc::new(MemoryFs::default()),
        Arc::new(SystemClock::new()),
    );
    let (db, _) = Db::open(&options).unwrap();
    let floats = Histogram {
        counts: HistogramCounts::Float(Counts {
            count: 7.5,
            zero: 1.0,
            positive: vec![2.25, 3.25],
            negative: vec![1.0],
        }),
        ..histogram(ResetHint::Gauge, 5)
    };
    let samples = vec![
        (1, Value::Float(1.5)),
        (2, Value::Histogram(histogram(ResetHint::Unknown, 5))),
        (3, Value::Histogram(histogram(ResetHint::Unknown, 6))),
        (4, Value::Histogram(histogram(ResetHint::Unknown, 4))),
        (5, Value::Histogram(Histogram::stale())),
        (6, Value::Float(-0.0)),
        (7, Value::Histogram(floats)),
    ];
    let labels = Labels::from_pairs([("__name__", "h")]);
    for (time, value) in &samples {
        let mut appender = db.appender();
        let series = appender.series(&labels).unwrap();
        match value {
            Value::Float(value) => {
                let sample = Sample {
                    time: *time,
                    value: *value,
                };
                appender.samples(series, &[sample]);
            }
            Value::Histogram(histogram) => {
                appender.histograms(series, &[(*time, histogram.clone())]);
            }
        }
        assert_eq!(appender.commit(true).unwrap().refused, []);
    }
    (db, samples)
}

fn lookup() -> Lookup {
    Lookup::new(&query(&[("__name__", "h")]), &Labels::empty()).unwrap()
}

#[test]
fn a_stream_has_the_histograms_of_the_store() {
    let (db, samples) = store_with_histograms();
    let plan = stream::Plan {
        lookups: vec![lookup()],
        external: Labels::empty(),
        frame_bytes_max: 1 << 20,
    };
    let mut stream = Vec::new();
    let mut send = |frame: bytes::Bytes| {
        stream.extend_from_slice(&frame);
        Ok(())
    };
    plan.write(&db, &Budget::unlimited(), &mut send).unwrap();
    let frames = frames(&stream);
    assert_eq!(frames.len(), 1);
    let chunks = &frames[0].chunked_series[0].chunks;
    let mut kinds = Vec::new();
    let mut found = Samples::new();
    for chunk in chunks {
        let encoding = match chunk.kind {
            1 => narthex_storage::ChunkEncoding::Xor,
            2 => narthex_storage::ChunkEncoding::Histogram,
            3 => narthex_storage::ChunkEncoding::FloatHistogram,
            other => panic!("{other}"),
        };
        let before = found.len();
        match decode_chunk(encoding, &chunk.data).unwrap() {
            ChunkSamples::Floats(samples) => {
                found.extend(
                    samples
                        .iter()
                        .map(|sample| (sample.time, Value::Float(sample.value))),
                );
            }
            ChunkSamples::Histograms(times, columns) => {
                let rows = (0..columns.len()).map(|row| Value::Histogram(columns.get(row)));
                found.extend(times.into_iter().zip(rows));
            }
        }
        let of_chunk = &found[before..];
        let (first, last) = (of_chunk[0].0, of_chunk[of_chunk.len() - 1].0);
        assert_eq!((chunk.min_time_ms, chunk.max_time_ms), (first, last));
        kinds.push((chunk.kind, of_chunk.len()));
    }
    assert_eq!(kinds, [(1, 1), (2, 2), (2, 2), (1, 1), (3, 1)]);
    // Hints are those of the chunks.
    let without_hints = |samples: &Samples| {
        let mut samples = samples.clone();
        for (_, value) in &mut samples {
            if let Value::Histogram(histogram) = value {
                histogram.reset_hint = ResetHint::Unknown;
            }
        }
        format!("{samples:?}")
    };
    assert_eq!(without_hints(&found), without_hints(&samples));
}

#[test]
fn samples_have_the_histograms_of_the_store() {
    let (db, _) = store_with_histograms();
    let body = samples::body(&db, &[lookup()], &Labels::empty(), 7, &Budget::unlimited()).unwrap();
    let message = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    let series = &results(&message)[0][0];
    let series = TimeSeries::decode(series.as_slice()).unwrap();
    let numbers = series.samples.iter();
    let numbers = numbers.map(|sample| (sample.timestamp, sample.value.unwrap_or(0.0).to_bits()));
    let zero = (-0.0_f64).to_bits();
    assert_eq!(
        numbers.collect::<Vec<_>>(),
        [(1, 1.5_f64.to_bits()), (6, zero)]
    );
    let span = |offset, length| message::WireSpan { offset, length };
    let integers = |timestamp, count: u64| WireHistogram {
        count: Some(Count::Integer(count)),
        sum: Some(-0.0),
        schema: 2,
        zero_threshold: 0.5,
        zero_count: Some(ZeroCount::Integer(1)),
        negative_spans: vec![span(3, 1)],
        negative_deltas: vec![1],
        positive_spans: vec![span(-1, 2)],
        positive_deltas: vec![count as i64 - 3, 4 - count as i64],
        timestamp,
        ..WireHistogram::default()
    };
    let stale = WireHistogram {
        count: Some(Count::Integer(0)),
        sum: Some(stale_marker()),
        zero_count: Some(ZeroCount::Integer(0)),
        timestamp: 5,
        ..WireHistogram::default()
    };
    let floats = WireHistogram {
        count: Some(Count::Float(7.5)),
        zero_count: Some(ZeroCount::Float(1.0)),
        negative_deltas: Vec::new(),
        negative_counts: vec![1.0],
        positive_deltas: Vec::new(),
        positive_counts: vec![2.25, 3.25],
        reset_hint: 3,
        ..integers(7, 5)
    };
    // As Prometheus 3.5.3 tells: nothing of the one behind a number, and nothing of a reset.
    let going_on = WireHistogram {
        reset_hint: 2,
        ..integers(3, 6)
    };
    let expected = [integers(2, 5), going_on, integers(4, 4), stale, floats];
    assert_eq!(format!("{:?}", series.histograms), format!("{expected:?}"));
    // Histograms count as samples.
    let refused = samples::body(&db, &[lookup()], &Labels::empty(), 6, &Budget::unlimited());
    assert_eq!(
        refused.unwrap_err().to_string(),
        "exceeded sample limit (6)"
    );
    let budget = Budget::new(100);
    let refused = samples::body(&db, &[lookup()], &Labels::empty(), 0, &budget).unwrap_err();
    assert!(
        matches!(refused, Failure::Read(ReadError::Budget { .. })),
        "{refused}"
    );
}

#[test]
fn a_long_stream_is_not_held_in_memory() {
    const SERIES: i64 = 20;
    const SAMPLES: i64 = 60_000;
    let (db, _) = store_with_histograms();
    for series in 0..SERIES {
        // Each has times of its own.
        let samples = (0..SAMPLES).map(|index| Sample {
            time: index * 50 + index % (series + 2),
            value: 0.0,
        });
        let mut appender = db.appender();
        let labels = [("__name__", "long"), ("n", &series.to_string())];
        let reference = appender.series(&Labels::from_pairs(labels)).unwrap();
        appender.samples(reference, &samples.collect::<Vec<_>>());
        assert!(appender.commit(true).unwrap().refused.is_empty());
    }
    // Everything lies in a block then.
    db.snapshot(false).unwrap();
    let plan = stream::Plan {
        lookups: vec![Lookup::new(&query(&[("__name__", "long")]), &Labels::empty()).unwrap()],
        external: Labels::empty(),
        frame_bytes_max: 1 << 20,
    };
    let mut series = 0;
    let mut send = |_: bytes::Bytes| {
        series += 1;
        Ok(())
    };
    let all_times_bytes = (SERIES * SAMPLES) as u64 * 8;
    let budget = Budget::new(all_times_bytes * 2 / 3);
    plan.write(&db, &budget, &mut send).unwrap();
    assert_eq!(series, SERIES, "a frame each");
}

/// A request for many frames.
fn long_request(site: &Site) -> http::Request<Body> {
    for index in 0..2_000 {
        site.store
            .add(&[("__name__", "m")], NOW - 2_000_000 + index * 1000, 0.0);
    }
    let message = [
        encoded(vec![query(&[("__name__", "m")])]),
        vec![2 << 3 | 2, 1, 1],
    ]
    .concat();
    let request = http::Request::post("/api/v1/read");
    request.body(Body::from(compressed(&message))).unwrap()
}

fn one_at_a_time() -> RemoteReadLimits {
    RemoteReadLimits {
        concurrency: 1,
        frame_bytes_max: 0,
        ..RemoteReadLimits::default()
    }
}

async fn respond(site: &Site, request: http::Request<Body>) -> http::Response<Body> {
    let router = crate::web::router(Arc::clone(&site.state));
    tower::ServiceExt::oneshot(router, request).await.unwrap()
}

#[tokio::test]
async fn a_read_waits_until_the_one_before_has_ended() {
    let site = site(one_at_a_time());
    let gauge = &site.state.remote_read.queries;
    let first = respond(&site, long_request(&site)).await;
    assert_eq!(gauge.get(), 1.0);
    // The first is not read any further; the second comes to its turn when the first is dropped.
    let second = read(&site, &[], 0);
    let first = async {
        tokio::task::yield_now().await;
        assert_eq!(gauge.get(), 2.0, "one that runs, one that waits");
        drop(first);
    };
    let (second, ()) = tokio::join!(second, first);
    assert_eq!(second.status.as_u16(), 200);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up_and_cannot_take_its_answer_for_whole() {
    let site = site(one_at_a_time());
    let response = respond(&site, long_request(&site)).await;
    let give_up = async {
        while site.state.remote_read.queries.get() > 0.0 {
            site.clock.advance(site.state.settings.query_timeout);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), give_up)
        .await
        .expect("the read ends");
    let mut body = response.into_body();
    let mut frames = 0;
    let failure = loop {
        let frame =
            std::future::poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context));
        match frame.await.expect("the body ends in an error") {
            Ok(_) => frames += 1,
            Err(failure) => break failure,
        }
    };
    assert_eq!(failure.to_string(), "the client does not read its answer");
    assert!((1..17).contains(&frames), "{frames} of 17");
}

/// As Prometheus 3.5.3 tells after such remote writes, with its window for late samples.
#[test]
fn samples_tell_which_counters_went_on() {
    let options = DbOptions {
        out_of_order_window_ms: 3_600_000,
        ..DbOptions::new(
            "/data",
            Arc::new(MemoryFs::default()),
            Arc::new(SystemClock::new()),
        )
    };
    let (db, _) = Db::open(&options).unwrap();
    let hints = |name: &str, from: i64| {
        let mut asked = query(&[("__name__", name)]);
        asked.start_ms = from;
        asked.end_ms = 100;
        let lookup = Lookup::new(&asked, &Labels::empty()).unwrap();
        let budget = Budget::unlimited();
        let body = samples::body(&db, &[lookup], &Labels::empty(), 0, &budget).unwrap();
        let message = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let series = TimeSeries::decode(results(&message)[0][0].as_slice()).unwrap();
        let histograms = series.histograms.iter();
        histograms
            .map(|histogram| (histogram.timestamp, histogram.reset_hint))
            .collect::<Vec<_>>()
    };
    let push = |name: &str, time: i64, value: Value| {
        let mut appender = db.appender();
        let series = appender.series(&Labels::from_pairs([("__name__", name)]));
        match value {
            Value::Float(value) => appender.samples(series.unwrap(), &[Sample { time, value }]),
            Value::Histogram(histogram) => {
                appender.histograms(series.unwrap(), &[(time, histogram)]);
            }
        }
        assert_eq!(appender.commit(true).unwrap().refused, []);
    };
    let unknown = |count| Value::Histogram(histogram(ResetHint::Unknown, count));
    let told = |hint, count| Value::Histogram(histogram(hint, count));
    for (time, value) in [
        unknown(5),
        unknown(6),
        unknown(4),
        unknown(5),
        told(ResetHint::Reset, 6),
        told(ResetHint::NoReset, 4),
        told(ResetHint::Gauge, 7),
        unknown(8),
        Value::Histogram(Histogram::stale()),
        unknown(9),
        unknown(10),
        Value::Float(1.0),
        unknown(11),
        unknown(12),
    ]
    .into_iter()
    .enumerate()
    {
        push("h", time as i64, value);
    }
    let all = [
        (0, 0),
        (1, 2),
        (2, 0),
        (3, 2),
        (4, 0),
        (5, 0),
        (6, 3),
        (7, 0),
        (8, 0),
        (9, 0),
        (10, 2),
        (12, 0),
        (13, 2),
    ];
    assert_eq!(hints("h", 0), all);
    for from in 1..all.len() {
        assert_eq!(hints("h", all[from].0), all[from..]);
    }
    for (time, count) in [(10, 4), (20, 5), (50, 6), (60, 7), (55, 9), (70, 8)] {
        push("late", time, unknown(count));
    }
    assert_eq!(
        hints("late", 10),
        [(10, 0), (20, 2), (50, 2), (55, 0), (60, 0), (70, 2)]
    );
}
