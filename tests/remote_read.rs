//! Remote read as another server does it: what was pushed comes back, in either kind of answer.

use std::collections::BTreeMap;

use narthex_storage::{
    ChunkEncoding,
    internals::{ChunkSamples, decode_chunk},
};
use prost::Message;

use crate::harness::{Pushed, Response, Server, request};

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Matcher {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Query {
    #[prost(int64, tag = "1")]
    start: i64,
    #[prost(int64, tag = "2")]
    end: i64,
    #[prost(message, repeated, tag = "3")]
    matchers: Vec<Matcher>,
}

#[derive(Clone, PartialEq, Message)]
struct ReadRequest {
    #[prost(message, repeated, tag = "1")]
    queries: Vec<Query>,
    #[prost(int32, repeated, tag = "2")]
    accepted: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Chunk {
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(bytes = "vec", tag = "4")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ChunkedSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    chunks: Vec<Chunk>,
}

#[derive(Clone, PartialEq, Message)]
struct Frame {
    #[prost(message, repeated, tag = "1")]
    series: Vec<ChunkedSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    time: i64,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct QueryResult {
    #[prost(message, repeated, tag = "1")]
    series: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct ReadResponse {
    #[prost(message, repeated, tag = "1")]
    results: Vec<QueryResult>,
}

/// Times and value bits by labels.
type Samples = BTreeMap<String, Vec<(i64, u64)>>;

fn text(labels: &[Label]) -> String {
    let pairs = labels
        .iter()
        .map(|label| format!("{}={}", label.name, label.value));
    pairs.collect::<Vec<_>>().join(",")
}

/// The answer for all series of metrics that match a pattern.
fn read(server: &Server, pattern: &str, kind: i32) -> Response {
    let matcher = Matcher {
        kind: 2,
        name: "__name__".to_owned(),
        value: pattern.to_owned(),
    };
    let query = Query {
        start: 0,
        end: i64::MAX,
        matchers: vec![matcher],
    };
    let message = ReadRequest {
        queries: vec![query],
        accepted: vec![kind],
    };
    let body = snap::raw::Encoder::new().compress_vec(&message.encode_to_vec());
    let headers = [
        ("Content-Type", "application/x-protobuf"),
        ("Content-Encoding", "snappy"),
        ("X-Prometheus-Remote-Read-Version", "0.1.0"),
    ];
    request(
        server.address,
        "POST",
        "/api/v1/read",
        &headers,
        &body.unwrap(),
    )
    .unwrap()
}

fn streamed(server: &Server, pattern: &str) -> Samples {
    let answer = read(server, pattern, 1);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut rest = answer.body.as_slice();
    let mut found = Samples::new();
    while !rest.is_empty() {
        let length = prost::decode_length_delimiter(&mut rest).unwrap();
        let (message, after) = rest[4..].split_at(length);
        assert!(length < (1 << 20) + 4096, "a frame of {length} bytes");
        rest = after;
        for series in Frame::decode(message).unwrap().series {
            let samples = found.entry(text(&series.labels)).or_default();
            for chunk in series.chunks {
                assert_eq!(chunk.kind, 1);
                match decode_chunk(ChunkEncoding::Xor, &chunk.data).unwrap() {
                    ChunkSamples::Floats(floats) => {
                        samples.extend(floats.iter().map(|one| (one.time, one.value.to_bits())));
                    }
                    ChunkSamples::Histograms(..) => panic!("nobody pushed histograms"),
                }
            }
        }
    }
    found
}

fn whole(server: &Server, pattern: &str) -> Samples {
    let answer = read(server, pattern, 0);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let message = snap::raw::Decoder::new()
        .decompress_vec(&answer.body)
        .unwrap();
    let response = ReadResponse::decode(message.as_slice()).unwrap();
    let series = response
        .results
        .into_iter()
        .flat_map(|result| result.series);
    let bits = |samples: Vec<Sample>| {
        let bits = samples.iter().map(|one| (one.time, one.value.to_bits()));
        bits.collect()
    };
    series
        .map(|one| (text(&one.labels), bits(one.samples)))
        .collect()
}

#[test]
fn what_was_pushed_is_read_by_another_server() {
    let config = "global:\n  external_labels: {replica: a}\n";
    let server = Server::builder()
        .config(config)
        .arg("--web.enable-remote-write-receiver")
        .arg("--storage.remote.read-sample-limit=1000")
        .start();
    let start = 1_795_239_108_568;
    let mut expected = Samples::new();
    for index in 0..400_i64 {
        // Every series has bits of its own, so that chunks are as large as they come.
        let value = |time: i64| f64::from_bits((time * (2 * index + 1)) as u64 % (0x7ff << 52));
        let samples: Vec<(i64, f64)> = (0..300)
            .map(|step| start + step * 5_000 + index % 7)
            .map(|time| (time, value(time)))
            .collect();
        let name = format!("m{}", index % 100);
        let labels = [("__name__", name.as_str()), ("i", &index.to_string())];
        let answer = server.push(&[Pushed::new(&labels, &samples)]);
        assert_eq!(answer.status, 204, "{}", answer.text());
        let bits = samples.iter().map(|(time, value)| (*time, value.to_bits()));
        expected.insert(
            format!("__name__={name},i={index},replica=a"),
            bits.collect(),
        );
    }
    assert_eq!(streamed(&server, "m.*"), expected);
    let answer = read(&server, "m42", 0);
    assert_eq!(
        (answer.status, answer.text()),
        (400, "exceeded sample limit (1000)\n".to_owned())
    );
    let labels = [("__name__", "special")];
    let bits = [
        0x7ff0_0000_0000_0002,
        0xfff8_0000_0000_0001,
        1,
        0x7ff0_0000_0000_0000_u64,
    ];
    let times = (0..4).map(|step| start + step);
    let samples: Vec<(i64, f64)> = times.zip(bits.map(f64::from_bits)).collect();
    assert_eq!(server.push(&[Pushed::new(&labels, &samples)]).status, 204);
    let samples = samples.iter().map(|(time, value)| (*time, value.to_bits()));
    let expected = Samples::from([("__name__=special,replica=a".to_owned(), samples.collect())]);
    assert_eq!(whole(&server, "special"), expected);
    assert_eq!(streamed(&server, "special"), expected);
    let metrics = server.get("/metrics").text();
    for line in [
        "prometheus_remote_read_handler_queries 0",
        "prometheus_http_requests_total{handler=\"/api/v1/read\",code=\"200\"} 3",
        "prometheus_http_requests_total{handler=\"/api/v1/read\",code=\"400\"} 1",
    ] {
        let found = metrics.lines().any(|one| one == line);
        assert!(found, "{line}");
    }
    server.stop();
}
