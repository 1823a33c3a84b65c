//! The scripts of the stacks: `exporter.txt` says, as functions of script time, what each target of a
//! stack answers to a scrape and when each alert of its rule file is pending, firing and resolved.
//!
//! What always holds: the same script time gives the same bytes; counters never fall; the buckets of
//! a histogram are cumulative and end in `+Inf`; a script knows no wall clock, its caller brings the
//! time. Before 0 everything is as quiet as at 0, so that a caller can take up to a day of history.
//!
//! # The language
//!
//! One statement a line, `#` begins a comment line. Durations are written `90s`, `4m30s`, `1h`.
//!
//! ```text
//! alertmanager HOST:PORT                 the address that prometheus.yml names
//! target JOB HOST:PORT                   what follows is exposed there, as prometheus.yml names it
//! down FROM UNTIL                        the target answers no scrape with FROM <= time < UNTIL
//! gauge|counter|summary NAME HELP...     a family
//! histogram NAME LE,LE,... HELP...       its buckets without +Inf
//!   [SUFFIX]{LABELS} SCHEDULE            a series of the family above; the suffix is added to its name
//!   {LABELS} VALUE at SCHEDULE           of a histogram: observations of VALUE, as many as SCHEDULE says
//! phase ALERT {LABELS} active T fires T resolved T
//! ```
//!
//! A schedule is `FIRST | FROM NEXT | FROM NEXT ...`; each piece holds until the next begins. A piece is
//! `8` (a value), `42.5 slope -5.2/h` (a value at its beginning that changes so much an hour; the first
//! begins at 0) or `2/s` (a counter's rate: the series is its integral since 24 hours before 0).
//!
//! A `phase` line is a hand calculation for scrapes and evaluations at 0 s, 15 s, 30 s, … of one clock:
//! the first evaluation at which the expression holds, the first at which the alert fires, and the
//! first at which the expression no longer holds. In a server scrapes and evaluations have offsets, so
//! that each of the three comes up to one scrape interval plus one evaluation interval later, or, for
//! windows, one scrape interval earlier. The labels are all of the alert's but `alertname`.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

/// How long before script time 0 every counter was 0, in seconds.
const COUNTERS_BEGAN: f64 = 86_400.0;

/// Label names and values.
pub(crate) type LabelMap = BTreeMap<String, String>;

/// A stack's `exporter.txt`.
#[derive(Debug)]
pub(crate) struct Script {
    /// The Alertmanager's address in `prometheus.yml`.
    pub(crate) alertmanager: String,
    pub(crate) targets: Vec<Target>,
    pub(crate) phases: Vec<Phase>,
}

/// One target's part of the script.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) job: String,
    /// `host:port` as `prometheus.yml` names it.
    pub(crate) address: String,
    down: Vec<(f64, f64)>,
    families: Vec<Family>,
}

/// When one alert changes its state, in seconds of script time.
#[derive(Debug, PartialEq)]
pub(crate) struct Phase {
    pub(crate) alert: String,
    /// All but `alertname`.
    pub(crate) labels: LabelMap,
    pub(crate) active: f64,
    pub(crate) fires: f64,
    pub(crate) resolved: f64,
}

/// One sample of a target at some time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: LabelMap,
    pub(crate) value: f64,
}

#[derive(Debug)]
struct Family {
    name: String,
    kind: String,
    help: String,
    /// Upper bounds as they are written, for a histogram.
    buckets: Vec<String>,
    series: Vec<Series>,
}

#[derive(Debug)]
struct Series {
    suffix: String,
    labels: LabelMap,
    /// The observed value, for a histogram.
    observed: Option<f64>,
    schedule: Vec<Piece>,
}

/// Part of a schedule, from `from` on.
#[derive(Debug)]
struct Piece {
    from: f64,
    value: Value,
}

#[derive(Debug)]
enum Value {
    /// A value at the piece's beginning and its change a second.
    Level(f64, f64),
    /// So much a second.
    Rate(f64),
}

/// The folder of a stack.
pub(crate) fn folder(stack: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/stacks")
        .join(stack)
}

impl Script {
    /// Reads `tests/stacks/<stack>/exporter.txt`.
    pub(crate) fn load(stack: &str) -> Self {
        let path = folder(stack).join("exporter.txt");
        let text = fs::read_to_string(&path).unwrap();
        let mut script = Self {
            alertmanager: String::new(),
            targets: Vec::new(),
            phases: Vec::new(),
        };
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                script.statement(line).unwrap_or_else(|| {
                    panic!("{}:{}: not understood: {line}", path.display(), index + 1)
                });
            }
        }
        script
    }

    fn statement(&mut self, line: &str) -> Option<()> {
        if line.starts_with(['{', '_']) {
            return self.targets.last_mut()?.families.last_mut()?.add(line);
        }
        let (keyword, rest) = line.split_once(' ')?;
        match keyword {
            "alertmanager" => rest.clone_into(&mut self.alertmanager),
            "target" => {
                let (job, address) = rest.split_once(' ')?;
                self.targets.push(Target {
                    job: job.to_owned(),
                    address: address.to_owned(),
                    down: Vec::new(),
                    families: Vec::new(),
                });
            }
            "down" => {
                let (from, until) = rest.split_once(' ')?;
                let span = (seconds(from)?, seconds(until)?);
                self.targets.last_mut()?.down.push(span);
            }
            "phase" => self.phases.push(phase(rest)?),
            "gauge" | "counter" | "summary" | "histogram" => {
                let (name, mut help) = rest.split_once(' ')?;
                let mut buckets = Vec::new();
                if keyword == "histogram" {
                    let (bounds, text) = help.split_once(' ')?;
                    buckets = bounds.split(',').map(str::to_owned).collect();
                    help = text;
                }
                self.targets.last_mut()?.families.push(Family {
                    name: name.to_owned(),
                    kind: keyword.to_owned(),
                    help: help.to_owned(),
                    buckets,
                    series: Vec::new(),
                });
            }
            _ => return None,
        }
        Some(())
    }
}

impl Target {
    /// Whether the target answers a scrape at `at` seconds of script time.
    pub(crate) fn is_up(&self, at: f64) -> bool {
        !self
            .down
            .iter()
            .any(|&(from, until)| from <= at && at < until)
    }

    /// The exposition in the classic text format at `at` seconds of script time.
    ///
    /// Counters are divided by `speed`: a caller that runs the script `speed` times as fast as the
    /// wall clock sees the script's rates.
    pub(crate) fn body(&self, at: f64, speed: f64) -> String {
        let mut body = String::new();
        for family in &self.families {
            let Family {
                name, kind, help, ..
            } = family;
            writeln!(body, "# HELP {name} {help}\n# TYPE {name} {kind}").unwrap();
            for sample in family.samples(at, speed) {
                body.push_str(&sample.name);
                if !sample.labels.is_empty() {
                    write!(body, "{}", braces(&sample.labels)).unwrap();
                }
                writeln!(body, " {}", sample.value).unwrap();
            }
        }
        body
    }

    /// What a scrape of [`Target::body`] stores, without the labels that the scrape adds: bounds in
    /// `le` and `quantile` are in their normal form (`1.0` for `1`).
    pub(crate) fn samples(&self, at: f64, speed: f64) -> Vec<Sample> {
        let mut samples = Vec::new();
        for family in &self.families {
            for mut sample in family.samples(at, speed) {
                for name in ["le", "quantile"] {
                    if let Some(bound) = sample.labels.get_mut(name) {
                        *bound = normal_bound(bound);
                    }
                }
                samples.push(sample);
            }
        }
        samples
    }
}

impl Family {
    fn add(&mut self, line: &str) -> Option<()> {
        let brace = line.find('{')?;
        let (suffix, rest) = line.split_at(brace);
        let (labels, rest) = labels(rest)?;
        let (observed, rest) = if self.kind == "histogram" {
            let (value, rest) = rest.split_once(" at ")?;
            (Some(value.trim().parse().ok()?), rest)
        } else {
            (None, rest)
        };
        self.series.push(Series {
            suffix: suffix.to_owned(),
            labels,
            observed,
            schedule: schedule(rest)?,
        });
        Some(())
    }

    fn samples(&self, at: f64, speed: f64) -> Vec<Sample> {
        if self.kind != "histogram" {
            return self
                .series
                .iter()
                .map(|series| Sample {
                    name: format!("{}{}", self.name, series.suffix),
                    labels: series.labels.clone(),
                    value: series.at(at, speed),
                })
                .collect();
        }
        let mut by_labels: Vec<(&LabelMap, Vec<(f64, f64)>)> = Vec::new();
        for series in &self.series {
            let observed = (series.observed.unwrap(), series.at(at, speed));
            match by_labels
                .iter_mut()
                .find(|(labels, _)| *labels == &series.labels)
            {
                Some((_, all)) => all.push(observed),
                None => by_labels.push((&series.labels, vec![observed])),
            }
        }
        let mut samples = Vec::new();
        for (labels, observed) in by_labels {
            let mut push = |suffix: &str, bound: Option<&str>, value: f64| {
                let mut labels = labels.clone();
                if let Some(bound) = bound {
                    labels.insert("le".to_owned(), bound.to_owned());
                }
                samples.push(Sample {
                    name: format!("{}{suffix}", self.name),
                    labels,
                    value,
                });
            };
            for bound in &self.buckets {
                let limit: f64 = bound.parse().unwrap();
                let below = observed
                    .iter()
                    .filter(|(value, _)| *value <= limit)
                    .fold(0.0, |below, (_, count)| below + count);
                push("_bucket", Some(bound), below);
            }
            let count = observed.iter().map(|(_, count)| count).sum();
            push("_bucket", Some("+Inf"), count);
            push(
                "_sum",
                None,
                observed.iter().map(|(value, count)| value * count).sum(),
            );
            push("_count", None, count);
        }
        samples
    }
}

impl Series {
    fn at(&self, at: f64, speed: f64) -> f64 {
        let mut total = 0.0;
        for (index, piece) in self.schedule.iter().enumerate() {
            let next = self.schedule.get(index + 1).map(|next| next.from);
            match piece.value {
                Value::Level(value, slope) => {
                    if next.is_none_or(|next| at < next) {
                        return value + slope * (at - piece.from);
                    }
                }
                Value::Rate(rate) => {
                    let from = if index == 0 {
                        -COUNTERS_BEGAN
                    } else {
                        piece.from
                    };
                    let until = next.map_or(at, |next| next.min(at));
                    total += rate * (until - from).max(0.0);
                }
            }
        }
        total / speed
    }
}

/// A bucket's or quantile's bound as a scrape stores it: `1.0` for `1`, `1.6777216e+07` for
/// `16777216`.
fn normal_bound(bound: &str) -> String {
    match bound.parse::<f64>() {
        Ok(value) if value.is_infinite() => "+Inf".to_owned(),
        Ok(value) if value >= 1e6 => format!("{value:e}").replace('e', "e+0"),
        Ok(value) if value.fract() == 0.0 => format!("{value:.1}"),
        _ => bound.to_owned(),
    }
}

/// `{a="b",c="d"}` as the exposition and PromQL write it.
pub(crate) fn braces(labels: &LabelMap) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    format!("{{{}}}", pairs.join(","))
}

/// Reads `{a="b",c="d"}` (values without quotes and backslashes); answers what follows it as well.
fn labels(text: &str) -> Option<(LabelMap, &str)> {
    let mut labels = LabelMap::new();
    let mut rest = text.strip_prefix('{')?;
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after.trim()));
        }
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = after.split_once('"')?;
        labels.insert(name.trim_start_matches(',').to_owned(), value.to_owned());
        rest = after;
    }
}

fn schedule(text: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    for (index, part) in text.split('|').map(str::trim).enumerate() {
        let (from, part) = if index == 0 {
            (0.0, part)
        } else {
            let (from, part) = part.split_once(' ')?;
            (seconds(from)?, part)
        };
        let value = if let Some(rate) = part.strip_suffix("/s") {
            Value::Rate(rate.parse().ok().filter(|rate| *rate >= 0.0)?)
        } else if let Some((value, slope)) = part.split_once(" slope ") {
            let an_hour: f64 = slope.strip_suffix("/h")?.parse().ok()?;
            Value::Level(value.parse().ok()?, an_hour / 3600.0)
        } else {
            Value::Level(part.parse().ok()?, 0.0)
        };
        pieces.push(Piece { from, value });
    }
    Some(pieces)
}

fn phase(text: &str) -> Option<Phase> {
    let (alert, rest) = text.split_at(text.find(" {")?);
    let (labels, rest) = labels(rest.trim_start())?;
    let words: Vec<&str> = rest.split(' ').collect();
    let ["active", active, "fires", fires, "resolved", resolved] = words[..] else {
        return None;
    };
    Some(Phase {
        alert: alert.to_owned(),
        labels,
        active: seconds(active)?,
        fires: seconds(fires)?,
        resolved: seconds(resolved)?,
    })
}

/// `1h2m30s` in seconds.
pub(crate) fn seconds(text: &str) -> Option<f64> {
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let unit = rest.find(['d', 'h', 'm', 's'])?;
        let (number, after) = rest.split_at(unit);
        let factor = match after.chars().next()? {
            'd' => 86_400.0,
            'h' => 3_600.0,
            'm' => 60.0,
            _ => 1.0,
        };
        total += number.parse::<f64>().ok()? * factor;
        rest = after.get(1..)?;
    }
    Some(total)
}
