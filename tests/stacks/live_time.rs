//! A stack's files at sixty times the pace: every interval, `for`, offset and range of a
//! `prometheus.yml`, a rule file or a query is divided by [`FACTOR`]; every other byte stays.

/// How much quicker a stack runs on the real binary than its files say.
pub(super) const FACTOR: u32 = 60;

/// The keys of `prometheus.yml` and of rule files whose value is a duration.
const DURATION_KEYS: [&str; 9] = [
    "scrape_interval",
    "scrape_timeout",
    "evaluation_interval",
    "rule_query_offset",
    "interval",
    "limit_interval",
    "query_offset",
    "for",
    "keep_firing_for",
];

/// A `prometheus.yml` or a rule file at the quicker pace.
pub(super) fn quicker_file(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // The column of an `expr` whose block is being read.
    let mut block: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let column = line.len() - line.trim_start_matches([' ', '-']).len();
        if block.is_some_and(|expr| column > expr || line.trim().is_empty()) {
            out.push_str(&quicker_query(line));
            continue;
        }
        block = None;
        let (key, value) = line.split_once(':').unwrap_or((line, ""));
        let key = key.trim_start_matches([' ', '-']);
        let (before, value) = line.split_at(line.len() - value.len());
        out.push_str(before);
        if key == "expr" {
            let start = value.trim_start();
            assert!(
                !start.starts_with(['"', '\'']),
                "write expressions plain or as a block: {line}"
            );
            if start.starts_with(['|', '>']) {
                block = Some(column);
                out.push_str(value);
            } else {
                out.push_str(&quicker_query(value));
            }
        } else if DURATION_KEYS.contains(&key) {
            out.push_str(&quicker_query(value));
        } else {
            out.push_str(value);
        }
    }
    out
}

/// A `prometheus.yml` or a rule file whose scrapes and evaluations are a day apart, so that none
/// comes before the history is there.
pub(super) fn resting_file(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let key = line.trim_start_matches([' ', '-']).split(':').next();
        match (key, line.split_once(':')) {
            (Some("scrape_interval" | "evaluation_interval" | "interval"), Some((before, _))) => {
                out.extend([before, ": 1d\n"]);
            }
            _ => out.push_str(line),
        }
    }
    out
}

/// A query at the quicker pace: every duration outside of strings, names and comments.
pub(super) fn quicker_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' | '\'' | '`' => string_length(rest, first),
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '0'..='9' => word_length(rest, false),
            _ if first.is_alphabetic() || first == '_' => word_length(rest, true),
            _ => first.len_utf8(),
        };
        let (token, behind) = rest.split_at(length);
        match milliseconds(token) {
            Some(time) => out.push_str(&shown(divided(time))),
            None => out.push_str(token),
        }
        rest = behind;
    }
    out
}

/// Milliseconds at the quicker pace, to the nearest one.
pub(super) fn divided(milliseconds: u64) -> u64 {
    let factor = u64::from(FACTOR);
    (milliseconds + factor / 2) / factor
}

/// The bytes of a number or, with its colons, of a name.
fn word_length(text: &str, is_name: bool) -> usize {
    text.find(|letter: char| {
        !(letter.is_alphanumeric() || letter == '_' || letter == '.' || (is_name && letter == ':'))
    })
    .unwrap_or(text.len())
}

/// The bytes up to and with the closing quote.
fn string_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if letter == '\\' && quote != '`' {
            escaped = true;
        } else if letter == quote {
            return at + 1;
        }
    }
    text.len()
}

/// The milliseconds of a duration as Prometheus writes it (`1h30m`); `None` when it is none.
pub(super) fn milliseconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let (number, behind) = rest.split_at(digits);
        let letters = behind
            .find(|letter: char| letter.is_ascii_digit())
            .unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        let unit = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        total += number.parse::<u64>().ok()? * unit;
        rest = behind;
    }
    (!text.is_empty()).then_some(total)
}

fn shown(milliseconds: u64) -> String {
    if milliseconds.is_multiple_of(1_000) {
        format!("{}s", milliseconds / 1_000)
    } else {
        format!("{milliseconds}ms")
    }
}

#[test]
fn durations_are_divided_and_every_other_byte_stays() {
    let file = "global:\n  scrape_interval: 15s  # 15s\n  external_labels: {a5m: 5m}\n\
        rule_files: ['alerts/*.yml']\n";
    assert_eq!(
        quicker_file(file),
        "global:\n  scrape_interval: 250ms  # 15s\n  external_labels: {a5m: 5m}\n\
         rule_files: ['alerts/*.yml']\n"
    );
    let rules = "groups:\n- name: g5m\n  interval: 1m\n  rules:\n  - alert: A\n    expr: |\n      \
        rate(a:5m{x=~\"[5m]\"}[5m] offset 1h)\n        > 5 # 5m\n    for: 10m\n    annotations:\n      \
        summary: over 5m [5m]\n  - alert: B\n    expr: max_over_time(x5m[1h30m:1m]) > 1e3\n    for: 0s\n";
    assert_eq!(
        quicker_file(rules),
        "groups:\n- name: g5m\n  interval: 1s\n  rules:\n  - alert: A\n    expr: |\n      \
         rate(a:5m{x=~\"[5m]\"}[5s] offset 60s)\n        > 5 # 5m\n    for: 10s\n    annotations:\n      \
         summary: over 5m [5m]\n  - alert: B\n    expr: max_over_time(x5m[90s:1s]) > 1e3\n    for: 0s\n"
    );
}
