//! Answers of a server and what is printed of them. The printed texts and messages are promtool
//! 3.5.3's for the same bodies.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use expect_test::{Expect, expect};
use http::StatusCode;

use super::*;
use crate::cli::promtool::{self, server::Answer};

/// What both formats print of a query's answer with this status and body.
fn check(status: u16, body: &str, expected: &Expect) {
    let printed = |format: Format| -> Result<String, ApiError> {
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            body: body.as_bytes().to_vec(),
        };
        format.value(&answer::value(&data(Ok(answer))?.data)?)
    };
    let shown = |format| match printed(format) {
        Ok(text) => text,
        Err(error) => format!("query error: {error}"),
    };
    let (promql, json) = (shown(Format::Promql), shown(Format::Json));
    expected.assert_eq(&if promql == json {
        promql
    } else {
        format!("{promql}\n{json}")
    });
}

fn check_result(kind: &str, result: &str, expected: &Expect) {
    let body =
        format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#);
    check(200, &body, expected);
}

#[test]
fn answers_are_printed_as_promtool_prints_them() {
    check_result(
        "scalar",
        r#"[3.5,"1"]"#,
        &expect![[r#"
        scalar: 1 @[3.5]
        [3.5,"1"]"#]],
    );
    check_result(
        "vector",
        "[]",
        &expect![[r"

        []"]],
    );
    check_result(
        "vector",
        r#"[{"metric":{"a":"b\"\n\u00e9<>&","__name__":"x","a1":"c","\u00e9":"1"},"value":[1.5,"NaN"]},{"metric":{"b":"c"},"value":[1000000000,"+Inf"]},{"metric":{"__name__":"m"},"value":[0.001,"1e30"]},{"metric":{"__name__":"m","c":"1"},"value":[12345678901.123,"1e-7"]},{"metric":{},"value":[-1.5,"-Inf"]}]"#,
        &expect![[r#"
            x{a1="c", a="b\"\né<>&", é="1"} => NaN @[1.5]
            {b="c"} => +Inf @[1000000000]
            m => 1000000000000000000000000000000 @[0.001]
            m{c="1"} => 0.0000001 @[12345678901.123]
            {} => -Inf @[-1.5]
            [{"metric":{"__name__":"x","a":"b\"\né\u003c\u003e\u0026","a1":"c","é":"1"},"value":[1.5,"NaN"]},{"metric":{"b":"c"},"value":[1000000000,"+Inf"]},{"metric":{"__name__":"m"},"value":[0.001,"1000000000000000000000000000000"]},{"metric":{"__name__":"m","c":"1"},"value":[12345678901.123,"0.0000001"]},{"metric":{},"value":[-1.5,"-Inf"]}]"#]],
    );
    check_result(
        "matrix",
        r#"[{"metric":{"__name__":"up","a":"2"},"values":[[1,"1"],[2.25,"0"]]},{"metric":{"a":"1"},"values":[[1,"5"]]},{"metric":{"__name__":"up","a":"1"},"values":[[1,"7"]]}]"#,
        &expect![[r#"
            {a="1"} =>
            5 @[1]
            up{a="1"} =>
            7 @[1]
            up{a="2"} =>
            1 @[1]
            0 @[2.25]
            [{"metric":{"__name__":"up","a":"2"},"values":[[1,"1"],[2.25,"0"]]},{"metric":{"a":"1"},"values":[[1,"5"]]},{"metric":{"__name__":"up","a":"1"},"values":[[1,"7"]]}]"#]],
    );
    check_result(
        "vector",
        r#"[{"metric":{"a":"b"},"histogram":[1.5,{"count":"3","sum":"2.5","buckets":[[0,"1","2","3"]]}]}]"#,
        &expect![[r#"
            {a="b"} => Count: 3.000000, Sum: 2.500000, Buckets: [(1,2]:3] @[1.5]
            [{"metric":{"a":"b"},"histogram":[1.5,{"count":"3","sum":"2.5","buckets":[[0,"1","2","3"]]}]}]"#]],
    );
}

#[test]
fn failed_answers_are_told_in_promtools_words() {
    check(
        400,
        r#"{"status":"error","errorType":"bad_data","error":"invalid parameter"}"#,
        &expect!["query error: bad_data: invalid parameter"],
    );
    check(
        200,
        r#"{"status":"error","errorType":"execution","error":"boom"}"#,
        &expect!["query error: execution: boom"],
    );
    check(
        400,
        r#"{"status":"success","data":{}}"#,
        &expect!["query error: bad_response: inconsistent body for response code"],
    );
    check(
        503,
        " service unavailable\n\n",
        &expect!["query error: server_error: server error: 503 (detail: service unavailable)"],
    );
    check(
        503,
        "",
        &expect!["query error: server_error: server error: 503"],
    );
    check(
        404,
        "404 page not found\n",
        &expect!["query error: client_error: client error: 404 (detail: 404 page not found)"],
    );
    check(
        300,
        "xx",
        &expect!["query error: bad_response: bad response code 300 (detail: xx)"],
    );
    check(
        200,
        "<html>hello</html>",
        &expect![
            "query error: bad_response: readObjectStart: expect { or n, but found <, error found in #1 byte of ...|<html>hello|..., bigger context ...|<html>hello</html>|..."
        ],
    );
    check(
        200,
        r#"{"status":"success"}"#,
        &expect![
            "query error: Skip: do not know how to skip: 0, error found in #0 byte of ...||..., bigger context ...||..."
        ],
    );
    check(
        200,
        r#"{"status":"success","data":{"resultType":"string","result":[1795249235,"foo"]}}"#,
        &expect![[
            r#"query error: unmarshalerDecoder: unexpected value type "string", error found in #10 byte of ...|35,"foo"]}|..., bigger context ...|"resultType":"string","result":[1795249235,"foo"]}|..."#
        ]],
    );
}

/// Runs a command line against a server that gives these answers in turn, and compares its first
/// request lines with their bodies, what is printed, and the exit code.
fn check_command(line: &str, answers: &[(u16, &str)], expected: &Expect) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answers: Vec<(u16, String)> = answers
        .iter()
        .map(|(status, body)| (*status, (*body).to_owned()))
        .collect();
    let server = thread::spawn(move || {
        let mut asked = String::new();
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let whole = |request: &[u8]| {
                let text = String::from_utf8_lossy(request).to_lowercase();
                let Some((head, body)) = text.split_once("\r\n\r\n") else {
                    return false;
                };
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "));
                body.len() >= length.map_or(0, |length| length.parse().unwrap())
            };
            while !whole(&request) {
                let mut part = [0; 4096];
                let count = stream.read(&mut part).unwrap();
                assert!(count > 0, "the request ends early");
                request.extend_from_slice(&part[..count]);
            }
            let request = String::from_utf8(request).unwrap();
            let (head, sent) = request.split_once("\r\n\r\n").unwrap();
            asked.push_str(head.lines().next().unwrap());
            let own = head
                .lines()
                .filter(|line| line.to_lowercase().starts_with("x-"));
            for line in own {
                asked.extend([" [", line, "]"]);
            }
            asked.extend([" ", sent, "\n"]);
            let answer = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).unwrap();
        }
        asked
    });
    let arguments: Vec<_> = line
        .split(' ')
        .map(|word| word.replace("$U", &url).into())
        .collect();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = promtool::run(&arguments, &mut out, &mut err);
    let asked = server.join().unwrap();
    let (out, err) = (
        String::from_utf8(out).unwrap(),
        String::from_utf8(err).unwrap(),
    );
    expected.assert_eq(&format!(
        "{asked}--- stdout\n{out}--- stderr\n{err}--- exit {code}\n"
    ));
}

#[test]
fn commands_ask_as_promtool_asks() {
    let vector = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up"},"value":[5,"1"]}]}}"#;
    let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
    check_command(
        "query instant $U up --time=5",
        &[(200, vector)],
        &expect![[r"
            POST /api/v1/query HTTP/1.1 query=up&time=5
            --- stdout
            up => 1 @[5]
            --- stderr
            --- exit 0
        "]],
    );
    check_command(
        "query -o json instant $U/prefix/ up --time=2020-01-01T00:00:00.25Z",
        &[(405, "no"), (200, vector)],
        &expect![[r#"
            POST /prefix/api/v1/query HTTP/1.1 query=up&time=1577836800.25
            GET /prefix/api/v1/query?query=up&time=1577836800.25 HTTP/1.1 
            --- stdout
            [{"metric":{"__name__":"up"},"value":[5,"1"]}]
            --- stderr
            --- exit 0
        "#]],
    );
    check_command(
        r#"query range $U up{a="b"} --start=1.0015 --end=2023-01-01T00:00:00Z --header X-A=b --header=X-B:d=e"#,
        &[(200, matrix)],
        &expect![[r"
            POST /api/v1/query_range HTTP/1.1 [X-A: b] [X-B: d=e] end=1672531200&query=up%7Ba%3D%22b%22%7D&start=1.0015&step=6690124
            --- stdout

            --- stderr
            --- exit 0
        "]],
    );
    check_command(
        "query series $U --match=up --match=down --start=1 --end=2",
        &[(
            200,
            r#"{"status":"success","data":[{"__name__":"up","a":"b"}]}"#,
        )],
        &expect![[r#"
            POST /api/v1/series HTTP/1.1 end=2&match%5B%5D=up&match%5B%5D=down&start=1
            --- stdout
            {__name__="up", a="b"}
            --- stderr
            --- exit 0
        "#]],
    );
    check_command(
        "query labels $U x/y%z --start=1 --end=2",
        &[(
            200,
            r#"{"status":"success","data":["a","b"],"warnings":["w1"],"infos":["i1"]}"#,
        )],
        &expect![[r"
            GET /api/v1/label/x/y%25z/values?end=2&start=1 HTTP/1.1 
            --- stdout
            a
            b
            --- stderr
            query warning: w1
            --- exit 0
        "]],
    );
}

#[test]
fn wrong_command_lines_ask_nobody() {
    const U: &str = "http://127.0.0.1:1";
    let refused = |line: &str, expected: &str| {
        let arguments: Vec<_> = line.split(' ').map(Into::into).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = promtool::run(&arguments, &mut out, &mut err);
        assert_eq!(
            (
                String::from_utf8(out).unwrap().as_str(),
                String::from_utf8(err).unwrap().trim_end(),
                code
            ),
            ("", expected, 1),
            "{line}"
        );
    };
    let usage = |line: &str, expected: &str| {
        refused(line, &format!("promtool: error: {expected}, try --help"));
    };
    usage("query instant", "required argument 'server' not provided");
    usage(
        "query labels http://a",
        "required argument 'name' not provided",
    );
    usage("query instant http://a 1 2", "unexpected 2");
    usage(
        "query series foo:1",
        "required flag(s) '--match' not provided",
    );
    usage("query instant -o", "expected argument for flag '-o'");
    usage(
        "query instant -o=json",
        "enum value must be one of promql,json, got '=json'",
    );
    usage("query instant -xyz", "unknown short flag '-x'");
    usage(
        "query instant --time=1 --time=2",
        "flag 'time' cannot be repeated",
    );
    usage(
        "query range x 1 --header X-A",
        "expected KEY=VALUE got 'X-A'",
    );
    usage(
        "query range x 1 --step=5",
        "time: missing unit in duration \"5\"",
    );
    usage("query range x 1 --step=x", "time: invalid duration \"x\"");
    usage(
        "query range x 1 --step=1q",
        "time: unknown unit \"q\" in duration \"1q\"",
    );
    usage(
        "query instant --http.config.file=/nonexistent x 1",
        "path '/nonexistent' does not exist",
    );
    refused(
        &format!("query range {U} 1 --start=5 --end=5"),
        "start time is not before end time",
    );
    refused(
        &format!("query range {U} 1 --end=x"),
        "error parsing end time: cannot parse \"x\" to a valid timestamp",
    );
    refused(
        &format!("query instant {U} 1 --time=foo"),
        "error parsing evaluation time: cannot parse \"foo\" to a valid timestamp",
    );
    refused(
        &format!("query instant {U} 1"),
        "query error: Post \"http://127.0.0.1:1/api/v1/query\": dial tcp 127.0.0.1:1: connect: connection refused",
    );
    refused(
        "query instant ftp://x/ 1",
        "query error: Post \"ftp://x/api/v1/query\": unsupported protocol scheme \"ftp\"",
    );
}
