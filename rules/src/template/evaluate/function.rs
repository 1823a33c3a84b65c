//! What the functions answer.

use std::rc::Rc;

use narthex_storage::SearchRegex;

use super::{Evaluated, Evaluator, OUTPUT_BYTES_MAX};
use crate::template::{
    builtin, format,
    function::Function,
    method::time_pointer,
    quote::quote,
    text,
    value::{Arguments, Sample, Samples, Value},
};

/// What a query or the compilation of a pattern costs, in steps.
const DEAR_STEPS: usize = 1_000;

/// Most levels of what `args` makes within one another.
const ARGUMENTS_HEIGHT_MAX: usize = 32;

/// Most patterns that are kept compiled: enough for all but templates that make their patterns up.
const PATTERNS_MAX: usize = 8;

impl Evaluator<'_, '_> {
    /// The answer of a function, or the text that stands behind `error calling …: `. The arguments
    /// have been checked. Fails when a limit is reached.
    pub(super) fn function(
        &mut self,
        function: Function,
        values: &[Value],
    ) -> Evaluated<Result<Value, String>> {
        const NULL_POINTER: &str =
            "runtime error: invalid memory address or nil pointer dereference";
        let first = values.first().unwrap_or(&Value::Nil);
        let second = values.get(1).unwrap_or(&Value::Nil);
        let text_at = |index: usize| match values.get(index) {
            Some(Value::Text(text)) => Rc::clone(text),
            _ => "".into(),
        };
        let text_of = |text: String| Ok(Value::text(text));
        let number = |convert: fn(f64) -> String| {
            text::to_float(first).map(|value| Value::text(convert(value)))
        };
        Ok(match function {
            // Handled where they are called.
            Function::And | Function::Or | Function::Call => Ok(Value::Nil),
            Function::Equal => builtin::equal(values).map(Value::Bool),
            Function::NotEqual => builtin::equal(values).map(|equal| Value::Bool(!equal)),
            Function::Less
            | Function::LessOrEqual
            | Function::Greater
            | Function::GreaterOrEqual => {
                builtin::ordered(function, first, second).map(Value::Bool)
            }
            Function::Not => Ok(Value::Bool(!first.is_true())),
            Function::Length => builtin::length(first).map(|length| Value::int(length as i64)),
            Function::Index => builtin::index(values),
            Function::Slice => builtin::slice(values),
            Function::Print => text_of(format::print(values)),
            Function::Println => text_of(format::println(values)),
            Function::Printf => {
                let arguments = values.get(1..).unwrap_or_default();
                match format::printf(&text_at(0), arguments, OUTPUT_BYTES_MAX) {
                    Some(text) => text_of(text),
                    None => return self.too_long(),
                }
            }
            Function::Html => text_of(builtin::escape_html(&builtin::printable(values))),
            Function::JavaScript => text_of(builtin::escape_js(&builtin::printable(values))),
            Function::UrlQuery => text_of(builtin::escape_query(&builtin::printable(values))),
            Function::Args => {
                let arguments = Arguments::new(values);
                if arguments.height() > ARGUMENTS_HEIGHT_MAX {
                    return self.fail(format!(
                        "more than {ARGUMENTS_HEIGHT_MAX} args within one another"
                    ));
                }
                Ok(Value::Arguments(Rc::new(arguments)))
            }
            Function::ExternalUrl => Ok(Value::text(self.data.external_url)),
            Function::PathPrefix => Ok(Value::text(path_of(self.data.external_url))),
            Function::Query => {
                self.step(DEAR_STEPS)?;
                (self.data.query)(&text_at(0), self.data.time).map(|vector| {
                    let samples = vector.into_iter().map(|element| {
                        Rc::new(Sample {
                            value: Value::of_sample(&element.value),
                            labels: element.labels,
                        })
                    });
                    Value::Samples(Samples::new(samples.collect()))
                })
            }
            Function::First => match first {
                Value::Samples(samples) => match samples.get(0) {
                    Some(sample) => Ok(Value::Sample(Some(sample))),
                    None => Err("first() called on vector with no elements".to_owned()),
                },
                _ => Ok(Value::Nil),
            },
            Function::Label | Function::StringValue | Function::Value => {
                let sample = if function == Function::Label {
                    second
                } else {
                    first
                };
                let Value::Sample(Some(sample)) = sample else {
                    return Ok(Err(NULL_POINTER.to_owned()));
                };
                let label = |name: &str| sample.labels.get(name).unwrap_or_default();
                Ok(match function {
                    Function::Label => Value::text(label(&text_at(0))),
                    Function::StringValue => Value::text(label("__value__")),
                    _ => sample.value.clone(),
                })
            }
            Function::SortByLabel => match second {
                Value::Samples(samples) => {
                    self.step(samples.len())?;
                    samples.sort_by_label(&text_at(0));
                    Ok(second.clone())
                }
                _ => Ok(Value::Nil),
            },
            Function::Humanize => number(text::humanize),
            Function::Humanize1024 => number(text::humanize1024),
            Function::HumanizeDuration => number(text::humanize_duration),
            Function::HumanizePercentage => number(text::humanize_percentage),
            Function::HumanizeTimestamp => text::to_float(first)
                .and_then(text::humanize_timestamp)
                .map(Value::text),
            Function::ToTime => text::to_float(first)
                .and_then(text::to_time)
                .map(time_pointer),
            Function::ToDuration => text::to_float(first)
                .map(|seconds| Value::DurationPointer(Rc::new(text::to_int(seconds * 1e9)))),
            Function::Now => Ok(Value::Float(self.data.time as f64 / 1000.0)),
            Function::ParseDuration => match narthex_query::parse_duration(&text_at(0)) {
                Ok(duration) => Ok(Value::Float(duration.as_secs_f64())),
                Err(error) => Err(error.to_string()),
            },
            Function::Match => match self.pattern(&text_at(0))? {
                Ok(regex) => {
                    let text = text_at(1);
                    match self.scan_bytes.checked_sub(text.len()) {
                        Some(left) => self.scan_bytes = left,
                        None => return self.too_long(),
                    }
                    Ok(Value::Bool(regex.is_match(&text)))
                }
                Err(message) => Err(message),
            },
            Function::ReplaceAll => {
                let pattern = text_at(0);
                match self.pattern(&pattern)? {
                    Ok(regex) => {
                        let (template, text) = (text_at(1), text_at(2));
                        let left = &mut self.scan_bytes;
                        match regex.replace_all(&text, &template, OUTPUT_BYTES_MAX, left) {
                            Some(text) => text_of(text),
                            None => return self.too_long(),
                        }
                    }
                    Err(message) => {
                        let shown = if pattern.contains('`') {
                            quote(&pattern)
                        } else {
                            format!("`{pattern}`")
                        };
                        Err(format!("regexp: Compile({shown}): {message}"))
                    }
                }
            }
            Function::GraphLink => text_of(format!(
                "/graph?g0.expr={}&g0.tab=0",
                builtin::escape_query(&text_at(0))
            )),
            Function::TableLink => text_of(format!(
                "/graph?g0.expr={}&g0.tab=1",
                builtin::escape_query(&text_at(0))
            )),
            Function::SafeHtml => Ok(Value::Html(text_at(0))),
            Function::StripDomain => text_of(text::strip_domain(&text_at(0))),
            Function::StripPort => text_of(text::strip_port(&text_at(0)).to_owned()),
            Function::Title => text_of(text::title(&text_at(0))),
            Function::ToLower => text_of(text::to_lower(&text_at(0))),
            Function::ToUpper => text_of(text::to_upper(&text_at(0))),
            Function::UrlQueryEscape => text_of(builtin::escape_query(&text_at(0))),
        })
    }

    fn too_long<T>(&self) -> Evaluated<T> {
        self.fail(format!(
            "text of more than {OUTPUT_BYTES_MAX} bytes, or too long to look through"
        ))
    }

    /// A compiled pattern; one that was used before is not compiled again.
    fn pattern(&mut self, pattern: &Rc<str>) -> Evaluated<Result<Rc<SearchRegex>, String>> {
        if let Some(regex) = self.patterns.get(pattern) {
            return Ok(Ok(Rc::clone(regex)));
        }
        self.step(DEAR_STEPS)?;
        Ok(match SearchRegex::new(pattern) {
            Ok(regex) => {
                let regex = Rc::new(regex);
                if self.patterns.len() < PATTERNS_MAX {
                    self.patterns.insert(Rc::clone(pattern), Rc::clone(&regex));
                }
                Ok(regex)
            }
            Err(error) => Err(error.to_string()),
        })
    }
}

/// The path of a URL.
fn path_of(url: &str) -> &str {
    let behind = url.split_once("://").map_or(url, |(_, behind)| behind);
    let path = behind
        .find('/')
        .and_then(|at| behind.get(at..))
        .unwrap_or_default();
    path.split(['?', '#']).next().unwrap_or_default()
}
