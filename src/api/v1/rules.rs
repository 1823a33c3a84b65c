//! Rules, their alerts, and where alerts go.
//!
//! Source: Prometheus `web/api/v1`, rules; shapes, order and messages observed in 3.5.3.

use std::fmt::Write as _;

use narthex_rules::{AlertState, AlertStatus, AlertingStatus, GroupStatus, RuleStatus};
use narthex_storage::Matcher;
use sha1::{Digest as _, Sha1};

use super::{
    Answer, ApiError, Call, Success, selectors,
    targets::{push_field, rfc3339},
};
use crate::api::{
    ErrorType, Params,
    json::{Escape, push_integer, push_labels, push_number, push_string},
    params::parse_integer,
    quote,
};

/// What a request asks for.
struct Wanted<'a> {
    alerting: bool,
    recording: bool,
    /// Names; any when there is none.
    rules: Vec<&'a str>,
    groups: Vec<&'a str>,
    files: Vec<&'a str>,
    /// One of these has to match a rule's labels; any when there is none.
    selectors: Vec<Vec<Matcher>>,
    exclude_alerts: bool,
    page: Page<'a>,
}

/// Which groups come in one answer.
struct Page<'a> {
    /// How many; `None` is all.
    limit: Option<usize>,
    /// The token of the first one; empty is the very first.
    token: &'a str,
}

/// `GET /api/v1/rules`
pub(crate) async fn rules(call: Call) -> Answer {
    // Many alerts make a large answer.
    let answer = tokio::task::spawn_blocking(move || {
        let wanted = Wanted::read(&call.params)?;
        let groups = (call.state.rules)();
        wanted.answer(&groups)
    });
    answer
        .await
        .unwrap_or_else(|panic| Err(ApiError::new(ErrorType::Internal, panic.to_string())))
}

impl<'a> Wanted<'a> {
    fn read(params: &'a Params) -> Result<Self, ApiError> {
        params.check_form()?;
        let selectors = selectors(params)?;
        let kind = params.first("type").to_ascii_lowercase();
        if !matches!(kind.as_str(), "" | "alert" | "record") {
            let problem = format!("not supported value {}", quote(kind.as_bytes()));
            return Err(ApiError::parameter("type", problem));
        }
        let exclude_alerts = params.boolean("exclude_alerts").map_err(|text| {
            let problem = format!(
                "error converting exclude_alerts: strconv.ParseBool: parsing {}: invalid syntax",
                quote(text.as_bytes())
            );
            ApiError::parameter("exclude_alerts", problem)
        })?;
        Ok(Self {
            alerting: kind != "record",
            recording: kind != "alert",
            rules: params.all("rule_name[]").collect(),
            groups: params.all("rule_group[]").collect(),
            files: params.all("file[]").collect(),
            selectors,
            exclude_alerts,
            page: Page::read(params)?,
        })
    }

    fn answer(&self, groups: &[GroupStatus]) -> Answer {
        let Page { limit, token } = self.page;
        let first = if token.is_empty() {
            0
        } else {
            let found = groups.iter().position(|group| page_token(group) == token);
            found.ok_or_else(|| {
                let problem =
                    format!("invalid group_next_token '{token}'. were rule groups changed?");
                ApiError::parameter("group_next_token", problem)
            })?
        };
        let mut success = Success::new();
        let out = &mut success.body;
        out.extend_from_slice(b"{\"groups\":[");
        let mut count = 0;
        let mut next = None;
        for group in groups.get(first..).unwrap_or_default() {
            let rules = self.rules_of(group);
            if rules.is_empty() {
                continue;
            }
            if limit == Some(count) {
                next = Some(page_token(group));
                break;
            }
            if count > 0 {
                out.push(b',');
            }
            count += 1;
            push_group(out, group, &rules, self.exclude_alerts);
        }
        out.push(b']');
        if let Some(token) = next {
            push_field(out, "groupNextToken", &token);
        }
        out.push(b'}');
        Ok(success)
    }

    fn rules_of<'g>(&self, group: &'g GroupStatus) -> Vec<&'g RuleStatus> {
        let is_in = |list: &[&str], name: &str| list.is_empty() || list.contains(&name);
        if !is_in(&self.groups, &group.name) || !is_in(&self.files, &group.file) {
            return Vec::new();
        }
        let wants = |rule: &&RuleStatus| {
            let kind = if rule.alerting.is_some() {
                self.alerting
            } else {
                self.recording
            };
            kind && is_in(&self.rules, &rule.name) && self.matches(rule)
        };
        group.rules.iter().filter(wants).collect()
    }

    fn matches(&self, rule: &RuleStatus) -> bool {
        let value = |name: &str| {
            let pair = rule.labels.iter().find(|(label, _)| label == name);
            pair.map_or("", |(_, value)| value)
        };
        self.selectors.is_empty()
            || self.selectors.iter().any(|selector| {
                let mut matchers = selector.iter();
                matchers.all(|matcher| matcher.matches(value(matcher.name())))
            })
    }
}

impl<'a> Page<'a> {
    fn read(params: &'a Params) -> Result<Self, ApiError> {
        let token = params.first("group_next_token");
        let limit = params.first("group_limit");
        if limit.is_empty() {
            if !token.is_empty() {
                return Err(ApiError::parameter(
                    "group_next_token",
                    "group_limit needs to be present in order to paginate over the groups",
                ));
            }
            return Ok(Self { limit: None, token });
        }
        match parse_integer(limit) {
            Ok(limit @ 1..) => Ok(Self {
                limit: Some(usize::try_from(limit).unwrap_or(usize::MAX)),
                token,
            }),
            Ok(_) => Err(ApiError::parameter(
                "group_limit",
                "group_limit needs to be greater than 0",
            )),
            Err(problem) => Err(ApiError::parameter(
                "group_limit",
                format!("group_limit needs to be a valid number: strconv.ParseInt: {problem}"),
            )),
        }
    }
}

/// What a client names to go on with this group.
fn page_token(group: &GroupStatus) -> String {
    let digest = Sha1::digest(format!("{};{}", group.file, group.name));
    let mut token = String::with_capacity(40);
    for byte in digest {
        write!(token, "{byte:02x}").expect("writing to a string does not fail");
    }
    token
}

fn push_group(out: &mut Vec<u8>, group: &GroupStatus, rules: &[&RuleStatus], exclude_alerts: bool) {
    out.extend_from_slice(b"{\"name\":");
    push_string(out, &group.name, Escape::Html);
    push_field(out, "file", &group.file);
    out.extend_from_slice(b",\"rules\":[");
    for (index, rule) in rules.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_rule(out, rule, exclude_alerts);
    }
    out.extend_from_slice(b"],\"interval\":");
    push_number(out, group.interval.as_secs_f64());
    out.extend_from_slice(b",\"limit\":");
    push_integer(out, group.limit);
    out.extend_from_slice(b",\"evaluationTime\":");
    push_number(out, group.evaluation_time.as_secs_f64());
    push_field(out, "lastEvaluation", &rfc3339(group.last_evaluation));
    out.push(b'}');
}

fn push_rule(out: &mut Vec<u8>, rule: &RuleStatus, exclude_alerts: bool) {
    out.push(b'{');
    if let Some(alerting) = &rule.alerting {
        out.extend_from_slice(b"\"state\":");
        push_string(out, alerting.state.as_str(), Escape::Html);
        out.push(b',');
    }
    out.extend_from_slice(b"\"name\":");
    push_string(out, &rule.name, Escape::Html);
    push_field(out, "query", &rule.query);
    match &rule.alerting {
        Some(alerting) => push_alerting(out, rule, alerting, exclude_alerts),
        None if rule.labels.is_empty() => {}
        None => {
            out.extend_from_slice(b",\"labels\":");
            push_pairs(out, &rule.labels);
        }
    }
    push_field(out, "health", rule.health.as_str());
    if let Some(error) = &rule.last_error {
        push_field(out, "lastError", error);
    }
    out.extend_from_slice(b",\"evaluationTime\":");
    push_number(out, rule.evaluation_time.as_secs_f64());
    push_field(out, "lastEvaluation", &rfc3339(rule.last_evaluation));
    let kind = match rule.alerting {
        Some(_) => "alerting",
        None => "recording",
    };
    push_field(out, "type", kind);
    out.push(b'}');
}

fn push_alerting(
    out: &mut Vec<u8>,
    rule: &RuleStatus,
    alerting: &AlertingStatus,
    exclude_alerts: bool,
) {
    out.extend_from_slice(b",\"duration\":");
    push_number(out, alerting.hold.as_secs_f64());
    out.extend_from_slice(b",\"keepFiringFor\":");
    push_number(out, alerting.keep_firing_for.as_secs_f64());
    out.extend_from_slice(b",\"labels\":");
    push_pairs(out, &rule.labels);
    out.extend_from_slice(b",\"annotations\":");
    push_pairs(out, &alerting.annotations);
    out.extend_from_slice(b",\"alerts\":");
    if exclude_alerts {
        out.extend_from_slice(b"null");
    } else {
        push_alerts(out, alerting.alerts.iter());
    }
}

fn push_alerts<'a>(out: &mut Vec<u8>, alerts: impl Iterator<Item = &'a AlertStatus>) {
    out.push(b'[');
    for (index, alert) in alerts.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"labels\":");
        push_labels(out, &alert.labels);
        out.extend_from_slice(b",\"annotations\":");
        push_pairs(out, &alert.annotations);
        push_field(out, "state", alert.state.as_str());
        push_field(out, "activeAt", &rfc3339(Some(alert.active_at)));
        if let Some(since) = alert.keep_firing_since {
            push_field(out, "keepFiringSince", &rfc3339(Some(since)));
        }
        push_field(out, "value", &exponent_form(alert.value));
        out.push(b'}');
    }
    out.push(b']');
}

/// Names and values as an object; a value may be empty, unlike in a label set.
fn push_pairs(out: &mut Vec<u8>, pairs: &[(String, String)]) {
    out.push(b'{');
    for (index, (name, value)) in pairs.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_string(out, name, Escape::Minimal);
        out.push(b':');
        push_string(out, value, Escape::Minimal);
    }
    out.push(b'}');
}

/// `1.5e+00`: the shortest digits that give the value, always with an exponent of two digits or more.
fn exponent_form(value: f64) -> String {
    if !value.is_finite() {
        return narthex_query::format_float(value, narthex_query::FloatStyle::Json);
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

/// `GET /api/v1/alerts`
pub(crate) async fn alerts(call: Call) -> Answer {
    let answer = tokio::task::spawn_blocking(move || {
        let groups = (call.state.rules)();
        let rules = groups.iter().flat_map(|group| &group.rules);
        let active = rules
            .filter_map(|rule| rule.alerting.as_ref())
            .flat_map(|alerting| &alerting.alerts)
            .filter(|alert| alert.state >= AlertState::Pending);
        let mut success = Success::new();
        success.body.extend_from_slice(b"{\"alerts\":");
        push_alerts(&mut success.body, active);
        success.body.push(b'}');
        success
    });
    answer
        .await
        .map_err(|panic| ApiError::new(ErrorType::Internal, panic.to_string()))
}

/// `GET /api/v1/alertmanagers`
pub(crate) fn alertmanagers(call: &Call) -> Success {
    let report = (call.state.alertmanagers)();
    let mut success = Success::new();
    let out = &mut success.body;
    for (start, urls) in [
        ("{\"activeAlertmanagers\":[", &report.active),
        (",\"droppedAlertmanagers\":[", &report.dropped),
    ] {
        out.extend_from_slice(start.as_bytes());
        for (index, url) in urls.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"url\":");
            push_string(out, url, Escape::Html);
            out.push(b'}');
        }
        out.push(b']');
    }
    out.push(b'}');
    success
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use narthex_rules::{GroupCounters, Health};
    use narthex_storage::Labels;

    use super::*;
    use crate::{
        api::test_support::{NOW, Site, World},
        notifier::AlertmanagerReport,
    };

    fn pairs(pairs: &[(&str, &str)]) -> narthex_rules::Pairs {
        let owned = pairs
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        owned.collect()
    }

    fn recording(name: &str, labels: &[(&str, &str)]) -> RuleStatus {
        RuleStatus {
            name: name.to_owned(),
            query: "vector(1) > 0".to_owned(),
            labels: pairs(labels),
            health: Health::Good,
            last_error: None,
            evaluation_time: Duration::from_nanos(67_987),
            last_evaluation: Some(NOW),
            alerting: None,
        }
    }

    fn alerting(name: &str, labels: &[(&str, &str)], alerts: Vec<AlertStatus>) -> RuleStatus {
        RuleStatus {
            alerting: Some(AlertingStatus {
                state: AlertState::Firing,
                hold: Duration::from_millis(4_500),
                keep_firing_for: Duration::from_mins(10),
                annotations: pairs(&[("description", "two\nlines"), ("summary", "<{{ $value }}>")]),
                alerts,
            }),
            ..recording(name, labels)
        }
    }

    fn group(file: &str, name: &str, rules: Vec<RuleStatus>) -> GroupStatus {
        GroupStatus {
            name: name.to_owned(),
            file: file.to_owned(),
            interval: Duration::from_secs(2),
            limit: 10,
            evaluation_time: Duration::from_nanos(826_754),
            last_evaluation: None,
            rules,
            counters: GroupCounters::default(),
        }
    }

    fn site() -> Site {
        let alert = AlertStatus {
            labels: Labels::from_pairs([("alertname", "Always"), ("severity", "a<b>&\"q\" 1")]),
            annotations: pairs(&[("summary", "<1>")]),
            state: AlertState::Firing,
            active_at: NOW - 68,
            keep_firing_since: Some(NOW),
            value: 1.0,
        };
        let failing = RuleStatus {
            health: Health::Bad,
            last_error: Some("many-to-many <matching>".to_owned()),
            ..recording("failing", &[("x", "y")])
        };
        let rules = vec![
            group("r1.yml", "g0", vec![recording("up", &[]), failing]),
            group(
                "r1.yml",
                "g1",
                vec![alerting("Always", &[("grp", "1")], vec![alert])],
            ),
            group("sub/two.yml", "empty", Vec::new()),
            group(
                "sub/two.yml",
                "flap",
                vec![alerting("Flap", &[], Vec::new())],
            ),
        ];
        let alertmanagers = AlertmanagerReport {
            active: vec!["http://a:9093/api/v2/alerts".to_owned()],
            dropped: vec!["http://b/api/v2/alerts".to_owned()],
        };
        let world = World {
            rules,
            alertmanagers,
            ..World::default()
        };
        Site::with_world(|_| {}, world)
    }

    async fn check(path: &str, expected: &str) {
        let reply = site().call("GET", &format!("/api/v1/{path}")).await;
        assert_eq!(reply.text(), expected, "{path}");
    }

    const G0: &str = r#"{"name":"g0","file":"r1.yml","rules":[{"name":"up","query":"vector(1) \u003e 0","health":"ok","evaluationTime":0.000067987,"lastEvaluation":"2026-11-21T05:31:48.568Z","type":"recording"},{"name":"failing","query":"vector(1) \u003e 0","labels":{"x":"y"},"health":"err","lastError":"many-to-many \u003cmatching\u003e","evaluationTime":0.000067987,"lastEvaluation":"2026-11-21T05:31:48.568Z","type":"recording"}],"interval":2,"limit":10,"evaluationTime":0.000826754,"lastEvaluation":"0001-01-01T00:00:00Z"}"#;
    const ALERT: &str = r#"{"labels":{"alertname":"Always","severity":"a<b>&\"q\" 1"},"annotations":{"summary":"<1>"},"state":"firing","activeAt":"2026-11-21T05:31:48.5Z","keepFiringSince":"2026-11-21T05:31:48.568Z","value":"1e+00"}"#;

    fn g1(alerts: &str) -> String {
        format!(
            r#"{{"name":"g1","file":"r1.yml","rules":[{{"state":"firing","name":"Always","query":"vector(1) \u003e 0","duration":4.5,"keepFiringFor":600,"labels":{{"grp":"1"}},"annotations":{{"description":"two\nlines","summary":"<{{{{ $value }}}}>"}},"alerts":{alerts},"health":"ok","evaluationTime":0.000067987,"lastEvaluation":"2026-11-21T05:31:48.568Z","type":"alerting"}}],"interval":2,"limit":10,"evaluationTime":0.000826754,"lastEvaluation":"0001-01-01T00:00:00Z"}}"#
        )
    }

    fn flap() -> String {
        g1("[]")
            .replace("g1", "flap")
            .replace("r1.yml", "sub/two.yml")
            .replace("Always", "Flap")
            .replace(r#""grp":"1""#, "")
    }

    fn answer(groups: &[&str], token: &str) -> String {
        let groups = groups.join(",");
        format!(r#"{{"status":"success","data":{{"groups":[{groups}]{token}}}}}"#)
    }

    /// Shapes, escapes, order, filters and tokens are those that Prometheus 3.5.3 answered for groups
    /// of these names.
    #[tokio::test]
    async fn rules_are_shown_filtered_and_paged_as_in_prometheus() {
        let (g1, flap) = (g1(&format!("[{ALERT}]")), flap());
        let token = |token: &str| format!(r#","groupNextToken":"{token}""#);
        let (second, third) = (
            token("0625b1fcb3f107bdf552c9e6f35b4869535d1967"),
            token("b999ef136f3ffea2c2e78a25f95df6ebdf4bfdaa"),
        );
        for (query, groups, token) in [
            ("", vec![G0, &g1, &flap], ""),
            ("?type=record", vec![G0], ""),
            ("?type=Alert", vec![&g1, &flap], ""),
            ("?rule_name[]=Flap&rule_name[]=Always", vec![&g1, &flap], ""),
            ("?rule_group[]=g0&rule_group[]=x", vec![G0], ""),
            ("?file[]=sub/two.yml", vec![&flap], ""),
            ("?match[]={grp=\"1\"}&match[]={x=\"z\"}", vec![&g1], ""),
            ("?match[]={alertname=\"Always\"}", vec![], ""),
            ("?group_limit=1", vec![G0], &second),
            ("?group_limit=2", vec![G0, &g1], &third),
            ("?group_limit=3", vec![G0, &g1, &flap], ""),
            (
                "?group_limit=1&group_next_token=0625b1fcb3f107bdf552c9e6f35b4869535d1967",
                vec![&g1],
                &third,
            ),
            ("?group_limit=1&rule_name[]=Always", vec![&g1], ""),
        ] {
            let query = query
                .replace('{', "%7B")
                .replace('}', "%7D")
                .replace('"', "%22");
            check(&format!("rules{query}"), &answer(&groups, token)).await;
        }
        let without = self::g1("null");
        check(
            "rules?rule_group[]=g1&exclude_alerts=1",
            &answer(&[&without], ""),
        )
        .await;
        check(
            "rules?group_limit=1&group_next_token=abc",
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"group_next_token\": invalid group_next_token 'abc'. were rule groups changed?"}"#,
        )
        .await;
    }

    #[tokio::test]
    async fn alerts_and_alertmanagers_are_listed() {
        check(
            "alerts",
            &format!(r#"{{"status":"success","data":{{"alerts":[{ALERT}]}}}}"#),
        )
        .await;
        check(
            "alertmanagers",
            r#"{"status":"success","data":{"activeAlertmanagers":[{"url":"http://a:9093/api/v2/alerts"}],"droppedAlertmanagers":[{"url":"http://b/api/v2/alerts"}]}}"#,
        )
        .await;
    }

    /// Go's `strconv.FormatFloat(value, 'e', -1, 64)`.
    #[test]
    fn values_of_alerts_always_have_an_exponent() {
        for (value, expected) in [
            (0.0, "0e+00"),
            (-1.5, "-1.5e+00"),
            (0.000_012, "1.2e-05"),
            (123_456.789, "1.23456789e+05"),
            (1e100, "1e+100"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(exponent_form(value), expected);
        }
    }
}
