//! Whole answers of the router. Expected texts, codes and headers are what Prometheus 3.5.3 answers
//! to the same requests.

use std::{io::Read as _, time::Duration};

use http::Request;
use narthex_storage::{Appendable as _, Exemplar, Labels, Metadata, MetricType, TimeRange};

use super::*;
use crate::api::{
    ActiveTarget, DroppedTarget, Instant, TargetHealth, TargetMetadata, TargetPool,
    test_support::{NOW, Reply, Site},
};

fn site() -> Site {
    Site::with(|_| {})
}

async fn check(site: &Site, path: &str, status: u16, body: &str) {
    let reply = site.call("GET", path).await;
    assert_eq!(
        (reply.status.as_u16(), reply.text()),
        (status, body),
        "{path}"
    );
}

fn failed(kind: &str, message: &str) -> String {
    format!(r#"{{"status":"error","errorType":"{kind}","error":"{message}"}}"#)
}

#[tokio::test]
async fn instant_queries_answer_as_prometheus_does() {
    let site = site();
    let ok = |data: &str| format!(r#"{{"status":"success","data":{data}}}"#);
    let reply = site.post("/api/v1/query", "query=1%2B1&time=4").await;
    assert_eq!(
        reply.text(),
        ok(r#"{"resultType":"scalar","result":[4,"2"]}"#)
    );
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("vary"), "Origin");
    check(
        &site,
        "/api/v1/query?query=up",
        200,
        &ok(
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","a":"b","instance":"127.0.0.1:1","job":"down"},"value":[1795239108.568,"0"]},{"metric":{"__name__":"up","instance":"127.0.0.1:19390","job":"prometheus"},"value":[1795239108.568,"1"]}]}"#,
        ),
    )
    .await;
    check(
        &site,
        "/api/v1/query?query=up%5B10s%5D",
        200,
        &ok(
            r#"{"resultType":"matrix","result":[{"metric":{"__name__":"up","a":"b","instance":"127.0.0.1:1","job":"down"},"values":[[1795239107.568,"0"]]},{"metric":{"__name__":"up","instance":"127.0.0.1:19390","job":"prometheus"},"values":[[1795239107.568,"1"]]}]}"#,
        ),
    )
    .await;
    check(
        &site,
        "/api/v1/query?query=%22abc%3C%22",
        200,
        &ok(r#"{"resultType":"string","result":[1795239108.568,"abc\u003c"]}"#),
    )
    .await;
    check(
        &site,
        "/api/v1/query?query=up&limit=1",
        200,
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","a":"b","instance":"127.0.0.1:1","job":"down"},"value":[1795239108.568,"0"]}]},"warnings":["results truncated due to limit"]}"#,
    )
    .await;
    for (ago_ms, value) in [(3_000, 20.0), (2_000, 21.0)] {
        site.store
            .add(&[("__name__", "temperature")], NOW - ago_ms, value);
    }
    check(
        &site,
        "/api/v1/query?query=count(rate(temperature%5B5m%5D))",
        200,
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1795239108.568,"1"]}]},"infos":["PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"temperature\" (1:12)"]}"#,
    )
    .await;
    for (path, data) in [
        (
            "query=1e-7&time=1",
            r#"{"resultType":"scalar","result":[1,"0.0000001"]}"#,
        ),
        (
            "query=vector(1e-7)&time=1.5",
            r#"{"resultType":"vector","result":[{"metric":{},"value":[1.500,"1e-07"]}]}"#,
        ),
        (
            "query=vector(1e21)&time=1",
            r#"{"resultType":"vector","result":[{"metric":{},"value":[1,"1e+21"]}]}"#,
        ),
        (
            "query=1&time=1e300",
            r#"{"resultType":"scalar","result":[0,"1"]}"#,
        ),
        (
            "query=1&lookback_delta=-1&time=4",
            r#"{"resultType":"scalar","result":[4,"1"]}"#,
        ),
    ] {
        check(&site, &format!("/api/v1/query?{path}"), 200, &ok(data)).await;
    }
}

#[tokio::test]
async fn range_queries_answer_as_prometheus_does() {
    let site = site();
    check(
        &site,
        "/api/v1/query_range?query=1&start=1&end=2&step=0.5&limit=0",
        200,
        r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"],[1.500,"1"],[2,"1"]]}]}}"#,
    )
    .await;
    check(
        &site,
        "/api/v1/query_range?query=up&start=1&end=11001&step=1",
        200,
        r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#,
    )
    .await;
    let parameter = |name: &str, problem: &str| {
        failed(
            "bad_data",
            &format!(r#"invalid parameter \"{name}\": {problem}"#),
        )
    };
    let step =
        "zero or negative query resolution step widths are not accepted. Try a positive integer";
    for (query, body) in [
        ("start=1&end=2&step=0", parameter("step", step)),
        ("start=1&end=2&step=-1", parameter("step", step)),
        ("start=1&end=2&step=NaN", parameter("step", step)),
        (
            "start=2&end=1&step=1",
            parameter("end", "end timestamp must not be before start time"),
        ),
        (
            "start=1&end=11002&step=1",
            failed(
                "bad_data",
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
            ),
        ),
        (
            "start=a&end=2&step=1",
            parameter("start", r#"cannot parse \"a\" to a valid timestamp"#),
        ),
        (
            "start=1&step=1",
            parameter("end", r#"cannot parse \"\" to a valid timestamp"#),
        ),
        (
            "start=1&end=2",
            parameter("step", r#"cannot parse \"\" to a valid duration"#),
        ),
        (
            "start=1&end=2&step=1e300",
            parameter(
                "step",
                r#"cannot parse \"1e300\" to a valid duration. It overflows int64"#,
            ),
        ),
        (
            "start=x&limit=y",
            parameter("limit", r#"strconv.Atoi: parsing \"y\": invalid syntax"#),
        ),
        (
            "start=1&end=2&step=1&timeout=x",
            parameter("timeout", r#"cannot parse \"x\" to a valid duration"#),
        ),
    ] {
        check(
            &site,
            &format!("/api/v1/query_range?query=up&{query}"),
            400,
            &body,
        )
        .await;
    }
    check(
        &site,
        "/api/v1/query_range?query=up%5B5m%5D&start=1&end=2&step=0.5",
        400,
        &parameter("query", r#"invalid expression type \"range vector\" for range query, must be Scalar or instant Vector"#),
    )
    .await;
}

#[tokio::test]
async fn refused_queries_say_why() {
    let site = site();
    let parameter = |name: &str, problem: &str| {
        failed(
            "bad_data",
            &format!(r#"invalid parameter \"{name}\": {problem}"#),
        )
    };
    for (query, status, body) in [
        (
            "query=up%7B",
            400,
            parameter(
                "query",
                "1:4: parse error: unexpected end of input inside braces",
            ),
        ),
        (
            "query=",
            400,
            parameter(
                "query",
                "unknown position: parse error: no expression found in input",
            ),
        ),
        (
            "query=1%zz",
            400,
            parameter(
                "query",
                "unknown position: parse error: no expression found in input",
            ),
        ),
        (
            "query=up&limit=-1",
            400,
            parameter("limit", "limit must be non-negative"),
        ),
        (
            "query=up&time=abc",
            400,
            parameter(
                "time",
                r#"invalid time value for 'time': cannot parse \"abc\" to a valid timestamp"#,
            ),
        ),
        (
            "query=up&timeout=-1",
            400,
            parameter("query", "context deadline exceeded"),
        ),
        (
            "query=up&lookback_delta=abc",
            400,
            failed(
                "bad_data",
                r#"error parsing lookback delta duration: cannot parse \"abc\" to a valid duration"#,
            ),
        ),
    ] {
        check(&site, &format!("/api/v1/query?{query}"), status, &body).await;
    }
    let reply = site
        .call("GET", "/api/v1/query?query=up%20%2B%20on()%20up")
        .await;
    assert_eq!(reply.status, 422);
    assert!(reply.text().starts_with(
        r#"{"status":"error","errorType":"execution","error":"found duplicate series for the match group {} on the "#
    ));
}

#[tokio::test]
async fn statistics_come_on_demand() {
    let reply = site().call("GET", "/api/v1/query?query=up&stats=all").await;
    let json: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    let statistics = &json["data"]["stats"];
    assert_eq!(
        statistics["samples"],
        serde_json::json!({
            "totalQueryableSamplesPerStep": [[1_795_239_108.568, 2]],
            "totalQueryableSamples": 2,
            "peakSamples": 2,
        })
    );
    let reply = site().call("GET", "/api/v1/query?query=up&stats=1").await;
    let totals: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(
        totals["data"]["stats"]["samples"],
        serde_json::json!({"totalQueryableSamples": 2, "peakSamples": 2})
    );
    let timings: Vec<&String> = statistics["timings"].as_object().unwrap().keys().collect();
    assert_eq!(
        timings,
        [
            "evalTotalTime",
            "execQueueTime",
            "execTotalTime",
            "innerEvalTime",
            "queryPreparationTime",
            "resultSortTime"
        ]
    );
}

#[tokio::test]
async fn queries_are_formatted() {
    let site = site();
    check(
        &site,
        "/api/v1/format_query?query=sum(up)by(a)%2B1",
        200,
        r#"{"status":"success","data":"sum by (a) (up) + 1"}"#,
    )
    .await;
    check(
        &site,
        "/api/v1/format_query?query=esc%7Ba%3D%22%3C%26%22%7D",
        200,
        r#"{"status":"success","data":"esc{a=\"\u003c\u0026\"}"}"#,
    )
    .await;
    check(
        &site,
        "/api/v1/format_query?query=sum(up",
        400,
        &failed(
            "bad_data",
            r#"invalid parameter \"query\": 1:7: parse error: unclosed left parenthesis"#,
        ),
    )
    .await;
}

/// Expected texts are what Prometheus 3.5.3 answers, but for `offsetExpr` in the last one.
#[tokio::test]
async fn queries_are_answered_as_syntax_trees() {
    let site = site();
    for (query, expected) in [
        (
            "-Inf",
            r#"{"status":"success","data":{"type":"numberLiteral","val":"-Inf"}}"#,
        ),
        (
            "%22a%3Cb%5Cb%22",
            r#"{"status":"success","data":{"type":"stringLiteral","val":"a\u003cb\u0008"}}"#,
        ),
        (
            "foo{a%3D%22b%22,c%21~%22d%22}%20offset%20-90s",
            r#"{"status":"success","data":{"matchers":[{"name":"a","type":"=","value":"b"},{"name":"c","type":"!~","value":"d"},{"name":"__name__","type":"=","value":"foo"}],"name":"foo","offset":-90000,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"}}"#,
        ),
        (
            "{%22foo.bar%22}%20%40%20end()",
            r#"{"status":"success","data":{"matchers":[{"name":"__name__","type":"=","value":"foo.bar"}],"name":"","offset":0,"startOrEnd":"end","timestamp":null,"type":"vectorSelector"}}"#,
        ),
        (
            "foo%5B1h%5D%20%40%205.5",
            r#"{"status":"success","data":{"matchers":[{"name":"__name__","type":"=","value":"foo"}],"name":"foo","offset":0,"range":3600000,"startOrEnd":null,"timestamp":5500,"type":"matrixSelector"}}"#,
        ),
        (
            "rate(foo%5B5m:%5D%20offset%203m)",
            r#"{"status":"success","data":{"args":[{"expr":{"matchers":[{"name":"__name__","type":"=","value":"foo"}],"name":"foo","offset":0,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"offset":180000,"range":300000,"startOrEnd":null,"step":0,"timestamp":null,"type":"subquery"}],"func":{"argTypes":["matrix"],"name":"rate","returnType":"vector","variadic":0},"type":"call"}}"#,
        ),
        (
            "topk(3,%20foo)",
            r#"{"status":"success","data":{"expr":{"matchers":[{"name":"__name__","type":"=","value":"foo"}],"name":"foo","offset":0,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"grouping":[],"op":"topk","param":{"type":"numberLiteral","val":"3"},"type":"aggregation","without":false}}"#,
        ),
        (
            "sum%20without%20(a,%20b)%20((foo))",
            r#"{"status":"success","data":{"expr":{"expr":{"matchers":[{"name":"__name__","type":"=","value":"foo"}],"name":"foo","offset":0,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"type":"parenExpr"},"grouping":["a","b"],"op":"sum","param":null,"type":"aggregation","without":true}}"#,
        ),
        (
            "-foo",
            r#"{"status":"success","data":{"expr":{"matchers":[{"name":"__name__","type":"=","value":"foo"}],"name":"foo","offset":0,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"op":"-","type":"unaryExpr"}}"#,
        ),
        (
            "a%20%3E%20bool%20ignoring%20(x)%20b",
            r#"{"status":"success","data":{"bool":true,"lhs":{"matchers":[{"name":"__name__","type":"=","value":"a"}],"name":"a","offset":0,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"matching":{"card":"one-to-one","include":[],"labels":["x"],"on":false},"op":"\u003e","rhs":{"matchers":[{"name":"__name__","type":"=","value":"b"}],"name":"b","offset":0,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"type":"binaryExpr"}}"#,
        ),
        (
            "a%20*%20on%20(x)%20group_left%20(y)%20b",
            r#"{"status":"success","data":{"bool":false,"lhs":{"matchers":[{"name":"__name__","type":"=","value":"a"}],"name":"a","offset":0,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"matching":{"card":"many-to-one","include":["y"],"labels":["x"],"on":true},"op":"*","rhs":{"matchers":[{"name":"__name__","type":"=","value":"b"}],"name":"b","offset":0,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"type":"binaryExpr"}}"#,
        ),
        (
            "1%20%2B%202",
            r#"{"status":"success","data":{"bool":false,"lhs":{"type":"numberLiteral","val":"1"},"matching":null,"op":"+","rhs":{"type":"numberLiteral","val":"2"},"type":"binaryExpr"}}"#,
        ),
        (
            "time()",
            r#"{"status":"success","data":{"args":[],"func":{"argTypes":[],"name":"time","returnType":"scalar","variadic":0},"type":"call"}}"#,
        ),
        (
            "round(foo)",
            r#"{"status":"success","data":{"args":[{"matchers":[{"name":"__name__","type":"=","value":"foo"}],"name":"foo","offset":0,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"}],"func":{"argTypes":["vector","scalar"],"name":"round","returnType":"vector","variadic":1},"type":"call"}}"#,
        ),
        (
            "label_join(foo,%20%22a%22,%20%22b%22)",
            r#"{"status":"success","data":{"args":[{"matchers":[{"name":"__name__","type":"=","value":"foo"}],"name":"foo","offset":0,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},{"type":"stringLiteral","val":"a"},{"type":"stringLiteral","val":"b"}],"func":{"argTypes":["vector","string","string","string"],"name":"label_join","returnType":"vector","variadic":-1},"type":"call"}}"#,
        ),
        (
            "foo{",
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:5: parse error: unexpected end of input inside braces"}"#,
        ),
        (
            "rate(foo%5B5m%5D%20anchored)%20%2B%20fill_right(2)%20bar%20smoothed",
            r#"{"status":"success","data":{"bool":false,"lhs":{"args":[{"anchored":true,"matchers":[{"name":"__name__","type":"=","value":"foo"}],"name":"foo","offset":0,"range":300000,"smoothed":false,"startOrEnd":null,"timestamp":null,"type":"matrixSelector"}],"func":{"argTypes":["matrix"],"name":"rate","returnType":"vector","variadic":0},"type":"call"},"matching":{"card":"one-to-one","fillValues":{"lhs":null,"rhs":2},"include":[],"labels":[],"on":false},"op":"+","rhs":{"anchored":false,"matchers":[{"name":"__name__","type":"=","value":"bar"}],"name":"bar","offset":0,"smoothed":true,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"type":"binaryExpr"}}"#,
        ),
        (
            "foo%20offset%20(1h%2F2)",
            r#"{"status":"success","data":{"matchers":[{"name":"__name__","type":"=","value":"foo"}],"name":"foo","offset":0,"offsetExpr":{"lhs":{"duration":true,"type":"numberLiteral","val":"3600"},"op":"/","rhs":{"duration":false,"type":"numberLiteral","val":"2"},"type":"durationExpr","wrapped":true},"startOrEnd":null,"timestamp":null,"type":"vectorSelector"}}"#,
        ),
    ] {
        let status = if expected.contains("success") {
            200
        } else {
            400
        };
        let path = format!("/api/v1/parse_query?query={query}");
        check(&site, &path, status, expected).await;
    }
}

#[tokio::test]
async fn series_and_labels_are_listed() {
    let site = site();
    let first = r#"{"__name__":"up","a":"b","instance":"127.0.0.1:1","job":"down"}"#;
    let second = r#"{"__name__":"up","instance":"127.0.0.1:19390","job":"prometheus"}"#;
    let truncated = r#","warnings":["results truncated due to limit"]}"#;
    let ok = |data: &str| format!(r#"{{"status":"success","data":{data}}}"#);
    for (path, body) in [
        ("series?match[]=up", ok(&format!("[{first},{second}]"))),
        (
            "series?match[]=up&match[]=up",
            ok(&format!("[{first},{second}]")),
        ),
        (
            "series?match[]=up&limit=1",
            format!(r#"{{"status":"success","data":[{first}]{truncated}"#),
        ),
        ("series?match[]=up&start=5&end=1", ok("[]")),
        ("series?match[]=up&start=1&end=2", ok("[]")),
        ("labels", ok(r#"["__name__","a","instance","job"]"#)),
        (
            "labels?match[]=up&limit=1",
            format!(r#"{{"status":"success","data":["__name__"]{truncated}"#),
        ),
        (
            "labels?match[]=up&x=%zz&limit=4",
            ok(r#"["__name__","a","instance","job"]"#),
        ),
        ("label/job/values", ok(r#"["down","prometheus"]"#)),
        ("label/job/values?limit=2", ok(r#"["down","prometheus"]"#)),
        (
            "label/job/values?limit=1",
            format!(r#"{{"status":"success","data":["down"]{truncated}"#),
        ),
        ("label/U__job/values", ok(r#"["down","prometheus"]"#)),
        ("label/nope/values", ok("[]")),
        (
            "label/job/values?match[]=up&match[]=foo",
            ok(r#"["down","prometheus"]"#),
        ),
    ] {
        check(&site, &format!("/api/v1/{path}"), 200, &body).await;
    }
    let none = "match[] must contain at least one non-empty matcher";
    for (path, message) in [
        ("series", "no match[] parameter provided".to_owned()),
        (
            "series?match[]=%7B%7D",
            format!(r#"invalid parameter \"match[]\": {none}"#),
        ),
        (
            "series?match[]=up%7B",
            r#"invalid parameter \"match[]\": 1:4: parse error: unexpected end of input inside braces"#
                .to_owned(),
        ),
        (
            "series?match[]=up%zz",
            r#"error parsing form values: invalid URL escape \"%zz\""#.to_owned(),
        ),
        (
            "series?match[]=up;a=b",
            "error parsing form values: invalid semicolon separator in query".to_owned(),
        ),
        ("labels?match[]=%7Ba=~%22%22%7D", none.to_owned()),
        (
            "labels?match[]=%7B%7D&match[]=up%7B",
            "1:4: parse error: unexpected end of input inside braces".to_owned(),
        ),
        (
            "labels?start=x",
            r#"invalid parameter \"start\": invalid time value for 'start': cannot parse \"x\" to a valid timestamp"#
                .to_owned(),
        ),
        ("label/%ff/values", r#"invalid label name: \"\\xff\""#.to_owned()),
    ] {
        let body = failed("bad_data", &message);
        check(&site, &format!("/api/v1/{path}"), 400, &body).await;
    }
    let reply = site.call("DELETE", "/api/v1/series?match[]=up").await;
    assert_eq!(
        (reply.status.as_u16(), reply.text()),
        (500, failed("internal", "not implemented").as_str())
    );
}

#[tokio::test]
async fn a_form_that_is_too_large_is_left_aside() {
    let site = site();
    let form = "a".repeat(FORM_BYTES_MAX + 1);
    let reply = site.post("/api/v1/query?query=1&time=4", &form).await;
    assert_eq!(reply.status, 200);
    let reply = site.post("/api/v1/series?match[]=up", &form).await;
    assert_eq!(
        reply.text(),
        failed(
            "bad_data",
            "error parsing form values: http: POST too large"
        )
    );
}

/// Answers of Prometheus 3.5.3 to the same requests, but for the limit, which is ours.
#[tokio::test]
async fn multipart_forms_come_after_the_query_string() {
    let site = site();
    let form = |pairs: &[(&str, &str)]| {
        let part = |(name, value): &(&str, &str)| {
            format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        pairs.iter().map(part).collect::<String>() + "--B--\r\n"
    };
    let padding = "x".repeat(FORM_BYTES_MAX);
    let large = form(&[("query", "1"), ("x", &padding)]);
    let query = form(&[("query", "1"), ("time", "5")]);
    let range = form(&[("query", "1"), ("start", "0"), ("end", "5"), ("step", "5")]);
    let selectors = form(&[("match[]", "{")]);
    let scalar = |time: u8, value: u8| {
        format!(
            r#"{{"status":"success","data":{{"resultType":"scalar","result":[{time},"{value}"]}}}}"#
        )
    };
    let open = failed(
        "bad_data",
        "1:2: parse error: unexpected end of input inside braces",
    );
    let too_large = failed(
        "bad_data",
        "multipart form not read: it is cut off or larger than 10485760 bytes",
    );
    for (method, path, body, expected) in [
        ("POST", "query", &query, scalar(5, 1)),
        ("GET", "query", &query, scalar(5, 1)),
        ("POST", "query?query=3&time=4", &query, scalar(4, 3)),
        ("POST", "query", &large, too_large),
        (
            "POST",
            "query_range",
            &range,
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[0,"1"],[5,"1"]]}]}}"#
                .to_owned(),
        ),
        (
            "POST",
            "format_query",
            &query,
            r#"{"status":"success","data":"1"}"#.to_owned(),
        ),
        ("POST", "labels", &selectors, open.clone()),
        ("GET", "label/job/values", &selectors, open),
        (
            "POST",
            "series",
            &selectors,
            failed("bad_data", "no match[] parameter provided"),
        ),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1/{path}"))
            .header("content-type", "multipart/form-data; boundary=B")
            .body(Body::from(body.clone()))
            .unwrap();
        assert_eq!(site.send(request).await.text(), expected, "{method} {path}");
    }
}

#[tokio::test]
async fn exemplars_of_every_selector_are_listed() {
    let site = site();
    let form = "query=test&start=1795228739708&end=1795228739709";
    let reply = site.post("/api/v1/query_exemplars", form).await;
    assert_eq!(reply.text(), r#"{"status":"success","data":[]}"#);
    let mut appender = site.store.appender();
    for (series, trace, value, time) in [
        ([("__name__", "m_total"), ("job", "a")], "x", 1.5, NOW),
        (
            [("__name__", "m_total"), ("job", "a")],
            "y",
            f64::NAN,
            NOW + 1,
        ),
        ([("__name__", "a_total"), ("job", "b")], "1", 1e300, -5),
    ] {
        let exemplar = Exemplar {
            labels: Labels::from_pairs([("trace_id", trace)]),
            value,
            time,
            is_timed: true,
        };
        appender.exemplar(&Labels::from_pairs(series), exemplar);
    }
    let m = r#"{"seriesLabels":{"__name__":"m_total","job":"a"},"exemplars":[{"labels":{"trace_id":"x"},"value":"1.5","timestamp":1795239108.568},{"labels":{"trace_id":"y"},"value":"NaN","timestamp":1795239108.569}]}"#;
    let a = r#"{"seriesLabels":{"__name__":"a_total","job":"b"},"exemplars":[{"labels":{"trace_id":"1"},"value":"1e+300","timestamp":-0.005}]}"#;
    let first = m.replace(
        r#",{"labels":{"trace_id":"y"},"value":"NaN","timestamp":1795239108.569}"#,
        "",
    );
    for (query, data) in [
        ("query=m_total", m.to_owned()),
        (
            "query=sum(rate(m_total%5B5m%5D offset 1d)) %2B a_total",
            format!("{a},{m}"),
        ),
        (
            "query=topk(scalar(a_total),max_over_time(m_total%5B5m:1m%5D))",
            format!("{a},{m}"),
        ),
        ("query=-({job=\"b\"} @ 3)", a.to_owned()),
        ("query=m_total&end=1795239108.5684", first),
        ("query=m_total&start=1795239108.5701", String::new()),
        ("query={job=\"c\"}", String::new()),
    ] {
        let query = [(" ", "%20"), ("{", "%7B"), ("}", "%7D"), ("\"", "%22")]
            .iter()
            .fold(query.to_owned(), |query, (from, to)| {
                query.replace(from, to)
            });
        let path = format!("/api/v1/query_exemplars?{query}");
        let body = format!(r#"{{"status":"success","data":[{data}]}}"#);
        check(&site, &path, 200, &body).await;
    }
    check(&site, "/api/v1/query_exemplars?query=time()", 204, "").await;
    for (path, message) in [
        (
            "query=test%7B&start=1",
            "1:6: parse error: unexpected end of input inside braces",
        ),
        (
            "",
            "unknown position: parse error: no expression found in input",
        ),
        (
            "query=test%7B&start=2&end=1",
            "end timestamp must not be before start timestamp",
        ),
    ] {
        let body = failed("bad_data", message);
        check(
            &site,
            &format!("/api/v1/query_exemplars?{path}"),
            400,
            &body,
        )
        .await;
    }
}

#[tokio::test]
async fn rules_and_alertmanagers_are_empty_in_their_shapes() {
    let site = site();
    for (path, data) in [
        ("rules", r#"{"groups":[]}"#),
        ("rules?type=alert&group_limit=1", r#"{"groups":[]}"#),
        ("alerts", r#"{"alerts":[]}"#),
        (
            "alertmanagers",
            r#"{"activeAlertmanagers":[],"droppedAlertmanagers":[]}"#,
        ),
        ("notifications", "[]"),
        ("status/walreplay", r#"{"min":0,"max":0,"current":0}"#),
        ("metadata", "{}"),
        ("scrape_pools", r#"{"scrapePools":[]}"#),
        ("status/flags", r#"{"web.listen-address":"0.0.0.0:9090"}"#),
        (
            "status/config",
            r#"{"yaml":"global:\n  scrape_interval: 15s\n"}"#,
        ),
    ] {
        let body = format!(r#"{{"status":"success","data":{data}}}"#);
        check(&site, &format!("/api/v1/{path}"), 200, &body).await;
    }
    for (path, message) in [
        (
            "type=x",
            r#"invalid parameter \"type\": not supported value \"x\""#,
        ),
        (
            "group_limit=x",
            r#"invalid parameter \"group_limit\": group_limit needs to be a valid number: strconv.ParseInt: parsing \"x\": invalid syntax"#,
        ),
        (
            "group_next_token=x",
            r#"invalid parameter \"group_next_token\": group_limit needs to be present in order to paginate over the groups"#,
        ),
        (
            "exclude_alerts=x",
            r#"invalid parameter \"exclude_alerts\": error converting exclude_alerts: strconv.ParseBool: parsing \"x\": invalid syntax"#,
        ),
        (
            "match[]=x%7B",
            "1:3: parse error: unexpected end of input inside braces",
        ),
    ] {
        let body = failed("bad_data", message);
        check(&site, &format!("/api/v1/rules?{path}"), 400, &body).await;
    }
}

/// Every answer was recorded from Prometheus 3.5.3.
#[tokio::test]
async fn admin_requests_are_refused_as_prometheus_refuses_them() {
    let disabled = site();
    for path in ["snapshot", "delete_series?start=x", "clean_tombstones"] {
        let path = format!("/api/v1/admin/tsdb/{path}");
        for method in ["POST", "PUT"] {
            let reply = disabled.call(method, &path).await;
            assert_eq!(
                (reply.status.as_u16(), reply.text()),
                (500, failed("unavailable", "admin APIs disabled").as_str())
            );
        }
        let reply = disabled.call("GET", &path).await;
        assert_eq!(
            (reply.status.as_u16(), reply.text(), reply.header("allow")),
            (405, "Method Not Allowed\n", "OPTIONS, POST, PUT")
        );
    }
    let site = Site::with(|settings| settings.enable_admin_api = true);
    for (path, message) in [
        ("delete_series", "no match[] parameter provided"),
        (
            "delete_series?start=abc&end=1",
            "no match[] parameter provided",
        ),
        (
            "delete_series?match[]=a&x=%zz",
            r#"error parsing form values: invalid URL escape \"%zz\""#,
        ),
        (
            "delete_series?match[]=%7B&start=abc",
            r#"invalid parameter \"start\": invalid time value for 'start': cannot parse \"abc\" to a valid timestamp"#,
        ),
        (
            "delete_series?match[]=%7B&start=5&end=abc",
            r#"invalid parameter \"end\": invalid time value for 'end': cannot parse \"abc\" to a valid timestamp"#,
        ),
        (
            "delete_series?match[]=a&match[]=%7B",
            r#"invalid parameter \"match[]\": 1:2: parse error: unexpected end of input inside braces"#,
        ),
        (
            "delete_series?match[]=rate(a[5m])",
            r#"invalid parameter \"match[]\": 1:5: parse error: unexpected \"(\""#,
        ),
        (
            "delete_series?match[]=",
            r#"invalid parameter \"match[]\": unknown position: parse error: unexpected end of input"#,
        ),
        (
            "snapshot?skip_head=maybe",
            r#"invalid parameter \"skip_head\": unable to parse boolean: strconv.ParseBool: parsing \"maybe\": invalid syntax"#,
        ),
    ] {
        let path = format!("/api/v1/admin/tsdb/{path}");
        let reply = site.call("POST", &path).await;
        assert_eq!(
            (reply.status.as_u16(), reply.text()),
            (400, failed("bad_data", message).as_str()),
            "{path}"
        );
    }
    assert_eq!(*site.admin.lock().unwrap(), [""; 0], "nothing was done");
}

#[tokio::test]
async fn admin_requests_reach_the_store() {
    let site = Site::with(|settings| settings.enable_admin_api = true);
    let name = r#"{"status":"success","data":{"name":"20261121T053148Z-00112233aabbccdd"}}"#;
    for (path, status, body) in [
        ("snapshot", 200, name),
        ("snapshot?skip_head=", 200, name),
        ("snapshot?skip_head=T", 200, name),
        ("snapshot?skip_head=%zz", 200, name),
        (
            "delete_series?match[]=up&match[]=%7Ba%3D~%22x%22%7D&start=1.5",
            204,
            "",
        ),
        (
            "delete_series?match[]=%7Ba=%22%22%7D&end=2020-01-01T00:00:00Z",
            204,
            "",
        ),
        ("delete_series?match[]=up&start=10&end=5", 204, ""),
        // Without a matcher nothing is selected.
        ("delete_series?match[]=%7B%7D", 204, ""),
        ("clean_tombstones?x=%zz", 204, ""),
        (
            "delete_series?match[]=broken",
            500,
            r#"{"status":"error","errorType":"internal","error":"the disk is full"}"#,
        ),
    ] {
        let reply = site
            .call("PUT", &format!("/api/v1/admin/tsdb/{path}"))
            .await;
        assert_eq!(
            (reply.status.as_u16(), reply.text(), reply.header("vary")),
            (status, body, "Origin"),
            "{path}"
        );
        let content_type = if status == 204 {
            ""
        } else {
            "application/json"
        };
        assert_eq!(reply.header("content-type"), content_type);
    }
    let all = TimeRange::new(Instant::MIN.milliseconds(), Instant::MAX.milliseconds());
    assert_eq!(
        *site.admin.lock().unwrap(),
        [
            "snapshot skip_head=false".to_owned(),
            "snapshot skip_head=false".to_owned(),
            "snapshot skip_head=true".to_owned(),
            "snapshot skip_head=false".to_owned(),
            format!(
                "delete {:?} {:?}",
                [vec!["__name__=up"], vec!["a=~x"]],
                TimeRange::new(1_500, Instant::MAX.milliseconds())
            ),
            format!(
                "delete [[\"a=\"]] {:?}",
                TimeRange::new(Instant::MIN.milliseconds(), 1_577_836_800_000)
            ),
            "clean".to_owned(),
            format!("delete [[\"__name__=broken\"]] {all:?}"),
        ]
    );
}

#[tokio::test]
async fn grafana_learns_the_version_and_no_features() {
    let reply = site().call("GET", "/api/v1/status/buildinfo").await;
    let json: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(json["data"]["version"], "3.14.0");
    assert_eq!(json["data"]["narthexVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(json["data"].get("features"), None);
}

#[tokio::test]
async fn runtime_information_has_prometheuss_fields() {
    let reply = site().call("GET", "/api/v1/status/runtimeinfo").await;
    let json: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    let data = &json["data"];
    assert_eq!(data["startTime"], "2026-11-21T05:30:48.568Z");
    assert_eq!(data["serverTime"], "2026-11-21T05:31:48.568Z");
    assert_eq!(data["lastConfigTime"], "2026-11-21T05:30:49Z");
    assert_eq!(data["reloadConfigSuccess"], true);
    assert_eq!(data["storageRetention"], "15d");
    assert_eq!(data["corruptionCount"], 0);
    let mut fields: Vec<&String> = data.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            "CWD",
            "GODEBUG",
            "GOGC",
            "GOMAXPROCS",
            "GOMEMLIMIT",
            "corruptionCount",
            "goroutineCount",
            "hostname",
            "lastConfigTime",
            "reloadConfigSuccess",
            "serverTime",
            "startTime",
            "storageRetention"
        ]
    );
}

#[tokio::test]
async fn the_store_is_counted_by_metric_and_label() {
    let site = site();
    check(
        &site,
        "/api/v1/status/tsdb?limit=1",
        200,
        r#"{"status":"success","data":{"headStats":{"numSeries":2,"numLabelPairs":6,"chunkCount":2,"minTime":1795239107568,"maxTime":1795239108568},"seriesCountByMetricName":[{"name":"up","value":2}],"labelValueCountByLabelName":[{"name":"instance","value":2}],"memoryInBytesByLabelName":[{"name":"\u003cb\u003e","value":26}],"seriesCountByLabelValuePair":[{"name":"__name__=up","value":2}]}}"#,
    )
    .await;
    for limit in ["x", "0"] {
        let body = failed("bad_data", "limit must be a positive number");
        check(
            &site,
            &format!("/api/v1/status/tsdb?limit={limit}"),
            400,
            &body,
        )
        .await;
    }
}

fn pools() -> Vec<TargetPool> {
    let discovered = |address: &str| {
        Labels::from_pairs([
            ("__address__", address),
            ("__scheme__", "http"),
            ("job", "down"),
        ])
    };
    vec![TargetPool {
        name: "down".to_owned(),
        active: vec![ActiveTarget {
            discovered_labels: discovered("127.0.0.1:1"),
            labels: Labels::from_pairs([("instance", "127.0.0.1:1"), ("job", "down")]),
            scrape_url: "http://127.0.0.1:1/metrics".to_owned(),
            global_url: "http://vm:1/metrics".to_owned(),
            last_error: "Get \"http://127.0.0.1:1/metrics\": connection refused".to_owned(),
            last_scrape: Some(NOW),
            last_scrape_duration: Duration::from_nanos(279_963),
            health: TargetHealth::Down,
            scrape_interval: Duration::from_secs(2),
            scrape_timeout: Duration::from_millis(1_500),
            metadata: vec![TargetMetadata {
                family: "go_goroutines".to_owned(),
                kind: "gauge",
                unit: String::new(),
                help: "Number of goroutines.".to_owned(),
            }],
        }],
        dropped: vec![DroppedTarget {
            discovered_labels: discovered("127.0.0.1:2"),
        }],
        dropped_count: 1,
    }]
}

#[tokio::test]
async fn targets_are_listed_by_state() {
    let site = Site::with_targets(|_| {}, pools());
    let active = r#"{"discoveredLabels":{"__address__":"127.0.0.1:1","__scheme__":"http","job":"down"},"labels":{"instance":"127.0.0.1:1","job":"down"},"scrapePool":"down","scrapeUrl":"http://127.0.0.1:1/metrics","globalUrl":"http://vm:1/metrics","lastError":"Get \"http://127.0.0.1:1/metrics\": connection refused","lastScrape":"2026-11-21T05:31:48.568Z","lastScrapeDuration":0.000279963,"health":"down","scrapeInterval":"2s","scrapeTimeout":"1s500ms"}"#;
    let dropped = r#"{"discoveredLabels":{"__address__":"127.0.0.1:2","__scheme__":"http","job":"down"},"scrapePool":"down"}"#;
    for (query, active, dropped, counts) in [
        ("", active, dropped, r#"{"down":1}"#),
        ("?state=active&scrapePool=down", active, "", "null"),
        ("?state=dropped", "", dropped, r#"{"down":1}"#),
        ("?state=foo", "", "", "null"),
        ("?scrapePool=other", "", "", "{}"),
    ] {
        let body = format!(
            r#"{{"status":"success","data":{{"activeTargets":[{active}],"droppedTargets":[{dropped}],"droppedTargetCounts":{counts}}}}}"#
        );
        check(&site, &format!("/api/v1/targets{query}"), 200, &body).await;
    }
    check(
        &site,
        "/api/v1/scrape_pools",
        200,
        r#"{"status":"success","data":{"scrapePools":["down"]}}"#,
    )
    .await;
}

#[tokio::test]
async fn metadata_is_listed_by_family_and_by_target() {
    let site = Site::with_targets(|_| {}, pools());
    let mut appender = site.store.appender();
    for (family, help) in [("go_goroutines", "pushed"), ("a", "<first>"), ("a", "then")] {
        let help = help.to_owned();
        let metadata = Metadata {
            kind: MetricType::Info,
            unit: "s".to_owned(),
            help,
        };
        appender.metadata(family, metadata);
    }
    let entry = r#""type":"gauge","unit":"","help":"Number of goroutines.""#;
    let scraped = format!(r#""go_goroutines":[{{{entry}}}]"#);
    let by_family = format!("{{{scraped}}}");
    let newest = r#""a":[{"type":"info","unit":"s","help":"then"}"#;
    let pushed = format!(r#"{newest},{{"type":"info","unit":"s","help":"\u003cfirst\u003e"}}]"#);
    let all = format!("{{{pushed},{scraped}}}");
    for (path, data) in [
        ("metadata", all.as_str()),
        ("metadata?metric=a", &format!("{{{pushed}}}")),
        (
            "metadata?limit=1&limit_per_metric=1",
            &format!("{{{newest}]}}"),
        ),
        (
            "metadata?metric=go_goroutines&limit_per_metric=0",
            &by_family,
        ),
        ("metadata?metric=nope", "{}"),
        ("metadata?limit=0", "{}"),
        (
            "targets/metadata?metric=go_goroutines",
            r#"[{"target":{"instance":"127.0.0.1:1","job":"down"},"type":"gauge","help":"Number of goroutines.","unit":""}]"#,
        ),
        (
            "targets/metadata?match_target=%7Bjob=%22down%22%7D",
            r#"[{"target":{"instance":"127.0.0.1:1","job":"down"},"metric":"go_goroutines","type":"gauge","help":"Number of goroutines.","unit":""}]"#,
        ),
        ("targets/metadata?match_target=x", "[]"),
    ] {
        let body = format!(r#"{{"status":"success","data":{data}}}"#);
        check(&site, &format!("/api/v1/{path}"), 200, &body).await;
    }
    for (path, message) in [
        ("metadata?limit=x", "limit must be a number"),
        (
            "metadata?limit_per_metric=x",
            "limit_per_metric must be a number",
        ),
        ("targets/metadata?limit=x", "limit must be a number"),
    ] {
        check(
            &site,
            &format!("/api/v1/{path}"),
            400,
            &failed("bad_data", message),
        )
        .await;
    }
}

#[tokio::test]
async fn methods_are_those_of_prometheus() {
    let site = site();
    for (method, path, status, allow) in [
        ("PUT", "/api/v1/query", 405, "GET, OPTIONS, POST"),
        ("HEAD", "/api/v1/query?query=up", 405, "GET, OPTIONS, POST"),
        ("POST", "/api/v1/targets", 405, "GET, OPTIONS"),
        ("POST", "/api/v1/label/job/values", 405, "GET, OPTIONS"),
        ("GET", "/api/v1/write", 405, "OPTIONS, POST"),
        ("OPTIONS", "/api/v1/query", 204, ""),
        ("OPTIONS", "/api/v1/nope", 204, ""),
        ("HEAD", "/-/healthy", 200, ""),
        ("OPTIONS", "/-/healthy", 200, "GET, HEAD, OPTIONS"),
        ("POST", "/-/healthy", 405, "GET, HEAD, OPTIONS"),
        ("TRACE", "/-/healthy", 405, "GET, HEAD, OPTIONS"),
        ("HEAD", "/metrics", 405, "GET, OPTIONS"),
        ("DELETE", "/-/reload", 405, "GET, OPTIONS, POST, PUT"),
        ("OPTIONS", "/-/reload", 200, "GET, OPTIONS, POST, PUT"),
        ("GET", "/api/v1/nope", 404, ""),
        ("GET", "/api/v1/features", 404, ""),
        ("GET", "/api/v1/label/a%2Fb/values", 404, ""),
        ("GET", "/nope", 404, ""),
        ("POST", "/-/healthy/", 404, ""),
    ] {
        let reply = site.call(method, path).await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("allow")),
            (status, allow),
            "{method} {path}"
        );
        let body = match status {
            405 => "Method Not Allowed\n",
            404 => "404 page not found\n",
            _ => continue,
        };
        assert_eq!(reply.text(), if method == "HEAD" { "" } else { body });
        assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
    }
}

fn redirect_of(reply: &Reply) -> (u16, &str, &str) {
    (
        reply.status.as_u16(),
        reply.header("location"),
        reply.text(),
    )
}

#[tokio::test]
async fn old_and_misspelt_paths_redirect() {
    let site = site();
    for (path, status, location) in [
        ("/", 302, "/query"),
        ("/graph", 302, "/query?"),
        ("/graph?g0.expr=up", 302, "/query?g0.expr=up"),
        ("/-/healthy/", 301, "/-/healthy"),
        ("/-/HEALTHY", 301, "/-/healthy"),
        ("/targets/", 301, "/targets"),
        (
            "//api/v1/query?query=1&time=4",
            301,
            "/api/v1/query?query=1&time=4",
        ),
        ("/api/v1/../v1/query?query=1", 301, "/api/v1/query?query=1"),
    ] {
        let reply = site.call("GET", path).await;
        let reason = if status == 302 {
            "Found"
        } else {
            "Moved Permanently"
        };
        let shown = location.replace('&', "&amp;");
        let body = format!("<a href=\"{shown}\">{reason}</a>.\n\n");
        assert_eq!(
            redirect_of(&reply),
            (status, location, body.as_str()),
            "{path}"
        );
        assert_eq!(reply.header("content-type"), "text/html; charset=utf-8");
    }
    let reply = site.call("POST", "//api/v1/query?query=1").await;
    assert_eq!(redirect_of(&reply), (301, "/api/v1/query?query=1", ""));
}

#[tokio::test]
async fn everything_lies_below_the_prefix() {
    let site = Site::with(|settings| {
        settings.external_url = "http://h.example/pp/".parse().unwrap();
        settings.route_prefix = "/pp".to_owned();
    });
    for (path, status, location) in [
        ("/", 302, "/pp"),
        ("/pp", 301, "/pp/"),
        ("/pp/", 302, "/pp/query"),
        ("/pp/graph?a=b", 302, "/pp/query?a=b"),
        ("/-/healthy", 404, ""),
        ("/metrics", 404, ""),
        ("/api/v1/query?query=1", 404, ""),
        ("/pp/-/healthy", 200, ""),
        ("/pp/metrics", 200, ""),
        ("/pp/api/v1/query?query=1", 200, ""),
    ] {
        let reply = site.call("GET", path).await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("location")),
            (status, location),
            "{path}"
        );
    }
    let page = site.call("GET", "/pp/targets").await;
    assert!(
        page.text()
            .contains(r#"<meta name="prefix" content="/pp">"#)
    );
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
}

#[tokio::test]
async fn other_origins_may_read_if_they_match() {
    let origin = |site: Site| async move {
        let request = http::Request::builder()
            .uri("/api/v1/query?query=1")
            .header("origin", "http://x");
        let reply = site.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.header("vary"), "Origin");
        [
            "access-control-allow-origin",
            "access-control-allow-methods",
            "access-control-allow-headers",
            "access-control-expose-headers",
        ]
        .map(|name| reply.header(name).to_owned())
    };
    assert_eq!(
        origin(site()).await,
        [
            "http://x",
            "GET, POST, OPTIONS",
            "Accept, Authorization, Content-Type, Origin",
            "Date"
        ]
    );
    let strict = Site::with(|settings| {
        settings.cors_origin = narthex_storage::Regex::new("https?://y").unwrap();
    });
    assert_eq!(origin(strict).await, ["", "", "", ""]);
}

#[tokio::test]
async fn answers_are_compressed_on_demand() {
    let site = site();
    let plain = r#"{"status":"success","data":{"resultType":"scalar","result":[4,"1"]}}"#;
    for (accepted, encoding) in [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("deflate, gzip", "deflate"),
        ("br, gzip, deflate", "gzip"),
        ("zstd", ""),
        ("gzip;q=0", ""),
    ] {
        let request = http::Request::builder()
            .uri("/api/v1/query?query=1&time=4")
            .header("accept-encoding", accepted);
        let reply = site.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.header("content-encoding"), encoding, "{accepted}");
        let mut text = String::new();
        let read = match encoding {
            "gzip" => flate2::read::GzDecoder::new(reply.body.as_slice()).read_to_string(&mut text),
            "deflate" => {
                flate2::read::ZlibDecoder::new(reply.body.as_slice()).read_to_string(&mut text)
            }
            _ => reply.body.as_slice().read_to_string(&mut text),
        };
        read.unwrap();
        assert_eq!(text, plain);
    }
}

/// A matrix of more than one chunk, with gaps, equal neighbours, and a series that comes late: its bytes are
/// put together here once more.
#[tokio::test]
async fn a_large_answer_is_printed_in_chunks() {
    const SERIES: i64 = 50;
    const STEPS: i64 = 160;
    let site = site();
    let mut expected = Vec::new();
    for series in 0..SERIES {
        let name = format!("{series:02}");
        let mut points = Vec::new();
        for step in series..STEPS {
            let value = [0.25, 1e15, 123_456.789, -1e-7][(step / 3 % 4) as usize] * series as f64;
            let time_ms = 1_000_000 + step * 1_500;
            site.store
                .add(&[("__name__", "big"), ("series", &name)], time_ms, value);
            let time_s = match time_ms % 1_000 {
                0 => format!("{}", time_ms / 1_000),
                _ => format!("{}.500", time_ms / 1_000),
            };
            let value = match value {
                value if value != 0.0 && value.abs() < 1e-6 => {
                    let text = format!("{value:e}");
                    let (mantissa, exponent) = text.split_once("e-").unwrap();
                    format!("{mantissa}e-{exponent:0>2}")
                }
                value => format!("{value}"),
            };
            points.push(format!("[{time_s},\"{value}\"]"));
        }
        expected.push(format!(
            "{{\"metric\":{{\"__name__\":\"big\",\"series\":\"{name}\"}},\"values\":[{}]}}",
            points.join(",")
        ));
    }
    let whole = |series: &[String], more: &str| {
        format!(
            "{{\"status\":\"success\",\"data\":{{\"resultType\":\"matrix\",\"result\":[{}]}}{more}}}",
            series.join(",")
        )
    };
    let all = whole(&expected, "");
    assert!(all.len() > 150_000, "that makes several chunks");
    let grid = "query=big&start=1000&end=1238.5&step=1.5&lookback_delta=1ms";
    let path = format!("/api/v1/query_range?{grid}");
    check(&site, &path, 200, &all).await;
    check(
        &site,
        &format!("{path}&limit=40"),
        200,
        &whole(
            &expected[..40],
            ",\"warnings\":[\"results truncated due to limit\"]",
        ),
    )
    .await;
    check(
        &site,
        "/api/v1/query?query=big%5B1h%5D&time=1238.5",
        200,
        &all,
    )
    .await;
    for (encoding, level) in [("gzip", 4), ("deflate", 4)] {
        let request = Request::builder()
            .uri(&path)
            .header("accept-encoding", encoding);
        let reply = site.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.header("content-encoding"), encoding);
        assert!(reply.body.len() * level < all.len());
        let mut text = String::new();
        let body = reply.body.as_slice();
        let read = match encoding {
            "gzip" => flate2::read::GzDecoder::new(body).read_to_string(&mut text),
            _ => flate2::read::ZlibDecoder::new(body).read_to_string(&mut text),
        };
        read.unwrap();
        assert!(text == all);
    }
    let metrics = site.call("GET", "/metrics").await;
    for line in [
        "prometheus_http_requests_total{handler=\"/api/v1/query_range\",code=\"200\"} 4\n",
        "prometheus_http_response_size_bytes_bucket{handler=\"/api/v1/query_range\",le=\"100000\"} 2\n",
        "prometheus_http_response_size_bytes_bucket{handler=\"/api/v1/query_range\",le=\"1000000\"} 4\n",
    ] {
        assert!(metrics.text().contains(line), "{line}");
    }
}

#[tokio::test]
async fn reload_and_quit_are_gated_and_passed_on() {
    let mut site = site();
    for path in ["/-/reload", "/-/quit"] {
        let get = site.call("GET", path).await;
        assert_eq!(
            (get.status.as_u16(), get.text()),
            (405, "Only POST or PUT requests allowed")
        );
        let post = site.call("POST", path).await;
        assert_eq!(
            (post.status.as_u16(), post.text()),
            (403, "Lifecycle API is not enabled.")
        );
    }
    assert!(site.control.try_recv().is_err());

    let mut site = Site::with(|settings| settings.enable_lifecycle = true);
    let reply = site.call("PUT", "/-/quit").await;
    assert_eq!(reply.text(), "Requesting termination... Goodbye!");
    assert!(matches!(site.control.recv().await, Some(Control::Quit)));
    for (outcome, status, body) in [
        (Ok(()), 200, ""),
        (
            Err("line 3".to_owned()),
            500,
            "failed to reload config: line 3\n",
        ),
    ] {
        let router = router(Arc::clone(&site.state));
        let Site { control, .. } = &mut site;
        let request = http::Request::post("/-/reload")
            .body(Body::empty())
            .unwrap();
        let answer = async {
            match control.recv().await {
                Some(Control::Reload(answer)) => answer.send(outcome).unwrap(),
                other => panic!("{other:?}"),
            }
        };
        let (response, ()) = tokio::join!(tower::ServiceExt::oneshot(router, request), answer);
        let (head, bytes) = response.unwrap().into_parts();
        let bytes = axum::body::to_bytes(bytes, usize::MAX).await.unwrap();
        assert_eq!(
            (head.status.as_u16(), &bytes[..]),
            (status, body.as_bytes())
        );
    }
}

#[tokio::test]
async fn nothing_but_health_answers_before_the_store_is_open() {
    let site = site();
    site.state.readiness.set_stopping();
    for (path, status) in [
        ("/-/healthy", 200),
        ("/metrics", 200),
        ("/api/v1/status/walreplay", 200),
        ("/-/ready", 503),
        ("/api/v1/query?query=1", 503),
        ("/federate?match[]=up", 503),
    ] {
        let reply = site.call("GET", path).await;
        assert_eq!(reply.status.as_u16(), status, "{path}");
        if status == 503 {
            assert_eq!(reply.text(), "Service Unavailable");
            assert_eq!(reply.header("x-prometheus-stopping"), "true");
        }
    }
}

#[tokio::test]
async fn health_and_readiness_speak_prometheuss_words() {
    let site = site();
    check(&site, "/-/healthy", 200, "Prometheus Server is Healthy.\n").await;
    check(&site, "/-/ready", 200, "Prometheus Server is Ready.\n").await;
}

#[tokio::test]
async fn requests_are_counted_by_handler() {
    let site = site();
    site.call("GET", "/api/v1/query?query=1").await;
    site.call("GET", "/api/v1/query?query=up%7B").await;
    let metrics = site.call("GET", "/metrics").await;
    assert_eq!(
        metrics.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
    );
    for line in [
        "prometheus_http_requests_total{handler=\"/api/v1/query\",code=\"200\"} 1\n",
        "prometheus_http_requests_total{handler=\"/api/v1/query\",code=\"400\"} 1\n",
        "prometheus_http_request_duration_seconds_count{handler=\"/api/v1/query\"} 2\n",
        "prometheus_http_response_size_bytes_bucket{handler=\"/api/v1/query\",le=\"1000\"} 2\n",
        "prometheus_engine_queries_concurrent_max 2\n",
        "prometheus_engine_queries 0\n",
    ] {
        assert!(metrics.text().contains(line), "{line}");
    }
}

#[tokio::test]
async fn federation_gives_the_newest_samples() {
    let site = site();
    check(
        &site,
        "/federate?match[]=up&match[]=up",
        200,
        "# TYPE up untyped\n\
         up{a=\"b\",instance=\"127.0.0.1:1\",job=\"down\",ext=\"one\"} 0 1795239107568\n\
         up{instance=\"127.0.0.1:19390\",job=\"prometheus\",ext=\"one\"} 1 1795239107568\n",
    )
    .await;
    check(&site, "/federate", 200, "").await;
    check(
        &site,
        "/federate?match[]=up%7B",
        400,
        "1:4: parse error: unexpected end of input inside braces\n",
    )
    .await;
    site.clock.advance(Duration::from_secs(299));
    check(&site, "/federate?match[]=up", 200, "").await;
}

#[tokio::test]
async fn a_query_waits_for_a_place_no_longer_than_its_timeout() {
    let site = site();
    let state = &site.state;
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(held));
    let far = Duration::from_hours(1);
    let holders: Vec<_> = (0..2)
        .map(|_| {
            let (state, held) = (Arc::clone(state), Arc::clone(&held));
            tokio::spawn(async move {
                let work = move |_: &narthex_storage::Budget, _| {
                    held.lock().unwrap().recv().unwrap();
                    Ok(())
                };
                state
                    .gate
                    .run(&state, crate::api::Read::Query, far, work)
                    .await
            })
        })
        .collect();
    let running = || {
        state
            .registry
            .render()
            .contains("prometheus_engine_queries 2\n")
    };
    while !running() {
        tokio::task::yield_now().await;
    }
    let waiting = site.call("GET", "/api/v1/query?query=1&timeout=1s");
    let advance = async {
        while !state
            .registry
            .render()
            .contains("prometheus_engine_queries 3\n")
        {
            tokio::task::yield_now().await;
        }
        site.clock.advance(Duration::from_secs(1));
    };
    let (reply, ()) = tokio::join!(waiting, advance);
    assert_eq!(
        (reply.status.as_u16(), reply.text()),
        (
            503,
            failed("timeout", "query timed out in query queue").as_str()
        )
    );
    // Label reads have places of their own.
    check(
        &site,
        "/api/v1/label/a/values",
        200,
        r#"{"status":"success","data":["b"]}"#,
    )
    .await;
    // Either holder may take either message, so both are sent before one is awaited.
    for _ in &holders {
        release.send(()).unwrap();
    }
    for holder in holders {
        holder.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_read_ends_when_its_client_goes_away() {
    let site = site();
    let state = Arc::clone(&site.state);
    let (started, mut has_started) = tokio::sync::mpsc::channel(1);
    let (ended, has_ended) = oneshot::channel();
    let request = tokio::spawn(async move {
        let work = move |budget: &narthex_storage::Budget, _| {
            started.blocking_send(()).unwrap();
            while !budget.is_canceled() {
                std::thread::yield_now();
            }
            ended.send(()).unwrap();
            Ok(())
        };
        let far = Duration::from_hours(1);
        state
            .gate
            .run(&state, crate::api::Read::Query, far, work)
            .await
    });
    has_started.recv().await.unwrap();
    request.abort();
    has_ended.await.unwrap();
}
