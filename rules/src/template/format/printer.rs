//! How one value is written by one verb.
//!
//! Source: the documentation of Go's `fmt`; answers of `promtool test rules`.

use std::{fmt::Write as _, rc::Rc};

use crate::template::{
    float,
    quote::{describe_char, quote_with},
    time::{Time, duration_text, month_name, weekday_name},
    value::{IntType, ROOT_TYPE, Root, Sample, Value},
};

#[derive(Debug, Clone, Copy, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the flags of a verb are independent switches"
)]
pub(super) struct Flags {
    pub(super) sharp: bool,
    pub(super) zero: bool,
    pub(super) plus: bool,
    pub(super) minus: bool,
    pub(super) space: bool,
    /// `%#v`.
    pub(super) go_syntax: bool,
    /// `%+v`.
    pub(super) field_names: bool,
    pub(super) width: Option<usize>,
    pub(super) precision: Option<usize>,
}

/// Writes values into a text.
#[derive(Debug, Default)]
pub(super) struct Printer {
    pub(super) out: String,
    pub(super) flags: Flags,
}

impl Printer {
    /// `%!d(MISSING)`.
    pub(super) fn note(&mut self, verb: char, what: &str) {
        write!(self.out, "%!{verb}({what})").expect("writing to a string does not fail");
    }

    fn pad(&mut self, text: &str) {
        let missing = (self.flags.width.unwrap_or(0)).saturating_sub(text.chars().count());
        if missing == 0 {
            self.out.push_str(text);
        } else if self.flags.minus {
            self.out.push_str(text);
            self.out.extend(std::iter::repeat_n(' ', missing));
        } else {
            let fill = if self.flags.zero { '0' } else { ' ' };
            self.out.extend(std::iter::repeat_n(fill, missing));
            self.out.push_str(text);
        }
    }

    /// Like [`Self::pad`], but never with zeros.
    fn pad_with_spaces(&mut self, text: &str) {
        let zero = std::mem::take(&mut self.flags.zero);
        self.pad(text);
        self.flags.zero = zero;
    }

    /// `%!d(string=abc)`: the verb does not suit the value.
    fn bad_verb(&mut self, value: &Value, verb: char) {
        write!(self.out, "%!{verb}(").expect("writing to a string does not fail");
        if !matches!(value, Value::Nil) {
            self.out.push_str(value.type_name());
            self.out.push('=');
        }
        match value {
            // What has a name is written as a number here.
            Value::Int(number, _) => self.integer(value, *number, 'v'),
            _ => self.argument(value, 'v'),
        }
        self.out.push(')');
    }

    /// A value as a verb writes it.
    pub(super) fn argument(&mut self, value: &Value, verb: char) {
        let value = value.inner();
        match (value, verb) {
            (Value::Nil, 'v') => return self.pad("<nil>"),
            (Value::Nil, 'T') => return self.pad("<nil>"),
            (Value::Nil, _) => {
                write!(self.out, "%!{verb}(<nil>)").expect("writing to a string does not fail");
                return;
            }
            (_, 'T') => return self.text(value, value.type_name(), 's'),
            (_, 'p') => return self.bad_verb(value, verb),
            _ => {}
        }
        match value {
            Value::Sample(Some(sample)) => {
                self.out.push('&');
                self.sample(sample, verb);
            }
            _ => self.value(value, verb),
        }
    }

    fn value(&mut self, value: &Value, verb: char) {
        match value {
            Value::Nil => self.pad("<nil>"),
            Value::Bool(truth) => match verb {
                't' | 'v' => self.pad(if *truth { "true" } else { "false" }),
                _ => self.bad_verb(value, verb),
            },
            Value::Int(number, kind) => {
                let name = match kind {
                    IntType::Month => Some(month_name(*number)),
                    IntType::Weekday => Some(weekday_name(*number)),
                    IntType::Duration => Some(duration_text(*number)),
                    IntType::Int | IntType::Int64 | IntType::Byte => None,
                };
                match name {
                    Some(name)
                        if matches!(verb, 'v' | 's' | 'q' | 'x' | 'X') && !self.flags.go_syntax =>
                    {
                        self.text(value, &name, verb);
                    }
                    _ => self.integer(value, *number, verb),
                }
            }
            Value::Float(number) => self.float(value, *number, verb),
            Value::Text(text) | Value::Html(text) => self.text(value, text, verb),
            Value::Labels(labels) => {
                let pairs = labels
                    .iter()
                    .map(|(name, value)| (name, Value::text(value)));
                self.map("map[string]string", pairs, verb);
            }
            Value::Arguments(arguments) => {
                let pairs = arguments
                    .map()
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.clone()));
                self.map("map[string]interface {}", pairs, verb);
            }
            Value::Samples(samples) => {
                let (open, between, close) = if self.flags.go_syntax {
                    ("template.queryResult{", ", ", '}')
                } else {
                    ("[", " ", ']')
                };
                self.out.push_str(open);
                for (index, sample) in samples.iter().enumerate() {
                    if index > 0 {
                        self.out.push_str(between);
                    }
                    self.sample_pointer(&sample, verb);
                }
                self.out.push(close);
            }
            Value::Sample(Some(sample)) | Value::SampleStruct(sample) => {
                self.sample(sample, verb);
            }
            Value::Sample(None) => self.pad("<nil>"),
            Value::Root(root) => self.root(root, verb),
            Value::Time(time) => self.time(value, *time, verb),
            Value::TimePointer(time) => self.time(value, **time, verb),
            Value::DurationPointer(nanoseconds) => {
                self.value(&Value::Int(**nanoseconds, IntType::Duration), verb);
            }
            Value::Boxed(inner) => self.value(inner, verb),
        }
    }

    fn map<'a>(
        &mut self,
        type_name: &str,
        pairs: impl Iterator<Item = (&'a str, Value)>,
        verb: char,
    ) {
        let between = if self.flags.go_syntax {
            self.out.push_str(type_name);
            self.out.push('{');
            ", "
        } else {
            self.out.push_str("map[");
            " "
        };
        for (index, (name, value)) in pairs.enumerate() {
            if index > 0 {
                self.out.push_str(between);
            }
            self.value(&Value::text(name), verb);
            self.out.push(':');
            self.nested(&value, verb);
        }
        self.out.push(if self.flags.go_syntax { '}' } else { ']' });
    }

    /// A value within another, of static type `interface {}`.
    fn nested(&mut self, value: &Value, verb: char) {
        match value.inner() {
            Value::Nil if self.flags.go_syntax => self.out.push_str("interface {}(nil)"),
            Value::Nil => self.out.push_str("<nil>"),
            Value::Sample(Some(sample)) => self.sample_pointer(sample, verb),
            inner => self.value(inner, verb),
        }
    }

    fn time(&mut self, value: &Value, time: Time, verb: char) {
        match verb {
            'v' if self.flags.go_syntax => self.out.push_str(&time.go_syntax()),
            'v' | 's' | 'q' | 'x' | 'X' => self.text(value, &time.to_string(), verb),
            _ => {
                let pointer = if matches!(value, Value::TimePointer(_)) {
                    "&{"
                } else {
                    "{"
                };
                self.out.push_str(pointer);
                self.time_field("uint64", time.nanosecond(), verb);
                self.out.push(' ');
                self.time_field("int64", time.seconds_since_year_1(), verb);
                self.out.push(' ');
                match verb {
                    'b' | 'd' | 'o' => self.time_field("uint64", 0, verb),
                    _ => {
                        write!(self.out, "%!{verb}(*time.Location=")
                            .expect("writing to a string does not fail");
                        self.pad("<nil>");
                        self.out.push(')');
                    }
                }
                self.out.push('}');
            }
        }
    }

    /// One of the whole numbers that Go's times consist of.
    fn time_field(&mut self, type_name: &str, number: i64, verb: char) {
        let value = Value::int(number);
        if matches!(verb, 'b' | 'c' | 'd' | 'o' | 'O' | 'U') {
            self.integer(&value, number, verb);
        } else {
            write!(self.out, "%!{verb}({type_name}=").expect("writing to a string does not fail");
            self.integer(&value, number, 'v');
            self.out.push(')');
        }
    }

    /// A pointer within another value. Go writes its address.
    fn sample_pointer(&mut self, sample: &Rc<Sample>, verb: char) {
        if matches!(verb, 'v' | 'b' | 'o' | 'd' | 'x' | 'X') {
            self.out.push('&');
            self.sample(sample, 'v');
        } else {
            self.bad_verb(&Value::Sample(Some(Rc::clone(sample))), verb);
        }
    }

    fn sample(&mut self, sample: &Sample, verb: char) {
        let labels = Value::Labels(sample.labels.clone());
        let fields = [("Labels", labels), ("Value", sample.value.clone())];
        self.structure("template.sample", &fields, verb);
    }

    fn root(&mut self, root: &Root, verb: char) {
        let fields = [
            ("Labels", Value::Labels(root.labels.clone())),
            (
                "ExternalLabels",
                Value::Labels(root.external_labels.clone()),
            ),
            ("ExternalURL", Value::Text(Rc::clone(&root.external_url))),
            ("Value", root.value.clone()),
        ];
        self.structure(ROOT_TYPE, &fields, verb);
    }

    fn structure(&mut self, type_name: &str, fields: &[(&str, Value)], verb: char) {
        if self.flags.go_syntax {
            self.out.push_str(type_name);
        }
        self.out.push('{');
        for (index, (name, value)) in fields.iter().enumerate() {
            if index > 0 {
                let between = if self.flags.go_syntax { ", " } else { " " };
                self.out.push_str(between);
            }
            if self.flags.go_syntax || self.flags.field_names {
                self.out.push_str(name);
                self.out.push(':');
            }
            self.value(value, verb);
        }
        self.out.push('}');
    }

    fn text(&mut self, value: &Value, text: &str, verb: char) {
        match verb {
            'v' if self.flags.go_syntax => self.quoted(text),
            'v' | 's' => {
                let text = self.truncated(text);
                self.pad(text);
            }
            'q' => self.quoted(text),
            'x' | 'X' => self.hexadecimal(text.as_bytes(), verb == 'X'),
            _ => self.bad_verb(value, verb),
        }
    }

    fn truncated<'t>(&self, text: &'t str) -> &'t str {
        let end = self
            .flags
            .precision
            .and_then(|precision| text.char_indices().nth(precision));
        match end {
            Some((end, _)) => text.get(..end).unwrap_or(text),
            None => text,
        }
    }

    fn quoted(&mut self, text: &str) {
        let text = self.truncated(text);
        let is_plain =
            |c: char| !matches!(c, '`' | '\u{7f}' | '\u{feff}') && (c >= ' ' || c == '\t');
        if self.flags.sharp && text.chars().all(is_plain) {
            self.pad(&format!("`{text}`"));
        } else {
            let quoted = quote_with(text, '"', self.flags.plus);
            self.pad(&quoted);
        }
    }

    fn hexadecimal(&mut self, bytes: &[u8], upper: bool) {
        let count = self.flags.precision.unwrap_or(usize::MAX).min(bytes.len());
        let prefix = if upper { "0X" } else { "0x" };
        let mut text = String::with_capacity(2 * count);
        for (index, byte) in bytes.iter().take(count).enumerate() {
            if self.flags.space && index > 0 {
                text.push(' ');
            }
            if self.flags.sharp && (self.flags.space || index == 0) {
                text.push_str(prefix);
            }
            let written = if upper {
                write!(text, "{byte:02X}")
            } else {
                write!(text, "{byte:02x}")
            };
            written.expect("writing to a string does not fail");
        }
        self.pad(&text);
    }

    fn integer(&mut self, value: &Value, number: i64, verb: char) {
        let magnitude = number.unsigned_abs();
        let (digits, prefix) = match verb {
            'v' | 'd' => {
                let go_byte = self.flags.go_syntax && matches!(value, Value::Int(_, IntType::Byte));
                if go_byte {
                    (format!("{magnitude:x}"), "0x")
                } else {
                    (magnitude.to_string(), "")
                }
            }
            'b' => (
                format!("{magnitude:b}"),
                if self.flags.sharp { "0b" } else { "" },
            ),
            'o' => (
                format!("{magnitude:o}"),
                if self.flags.sharp { "0" } else { "" },
            ),
            'O' => (format!("{magnitude:o}"), "0o"),
            'x' => (
                format!("{magnitude:x}"),
                if self.flags.sharp { "0x" } else { "" },
            ),
            'X' => (
                format!("{magnitude:X}"),
                if self.flags.sharp { "0X" } else { "" },
            ),
            'c' => return self.pad(to_char(number).encode_utf8(&mut [0; 4])),
            'q' => {
                let c = to_char(number);
                let quoted = quote_with(c.encode_utf8(&mut [0; 4]), '\'', self.flags.plus);
                return self.pad(&quoted);
            }
            'U' => return self.unicode(number),
            _ => return self.bad_verb(value, verb),
        };
        let has_sign = number < 0 || self.flags.plus || self.flags.space;
        let digits_min = match (self.flags.precision, self.flags.width) {
            (Some(0), _) if number == 0 => return self.pad_with_spaces(""),
            (Some(precision), _) => precision,
            (None, Some(width)) if self.flags.zero && !self.flags.minus => {
                width - usize::from(has_sign && width > 0)
            }
            _ => 0,
        };
        let mut text = String::new();
        if number < 0 {
            text.push('-');
        } else if self.flags.plus {
            text.push('+');
        } else if self.flags.space {
            text.push(' ');
        }
        let digits = with_zeros(&digits, digits_min);
        if !(prefix == "0" && digits.starts_with('0')) {
            text.push_str(prefix);
        }
        text.push_str(&digits);
        self.pad_with_spaces(&text);
    }

    fn unicode(&mut self, number: i64) {
        let digits = self.flags.precision.unwrap_or(4).max(4);
        let mut text = format!("U+{}", with_zeros(&format!("{number:X}"), digits));
        let shown = u32::try_from(number).ok().and_then(char::from_u32);
        if self.flags.sharp
            && let Some(c) = shown
            && let Some((_, quoted)) = describe_char(c).split_once(' ')
        {
            text.push(' ');
            text.push_str(quoted);
        }
        self.pad_with_spaces(&text);
    }

    fn float(&mut self, value: &Value, number: f64, verb: char) {
        let (format, default_precision) = match verb {
            'v' | 'g' | 'G' => ('g', None),
            'b' => ('b', None),
            'x' | 'X' => ('x', None),
            'f' | 'F' => ('f', Some(6)),
            'e' | 'E' => ('e', Some(6)),
            _ => return self.bad_verb(value, verb),
        };
        let precision = self.flags.precision.or(default_precision);
        let is_negative = number.is_sign_negative() && !number.is_nan();
        let sign = match (is_negative, self.flags.plus, self.flags.space) {
            (true, ..) => "-",
            (false, true, _) => "+",
            (false, false, true) => " ",
            (false, false, false) => "",
        };
        if !number.is_finite() {
            let text = match (number.is_nan(), sign) {
                (true, sign) => format!("{sign}NaN"),
                (false, "") => "+Inf".to_owned(),
                (false, sign) => format!("{sign}Inf"),
            };
            return self.pad_with_spaces(&text);
        }
        let mut text = float::magnitude(number, format, precision);
        if self.flags.sharp && format != 'b' {
            text = with_point(&text, verb, precision);
        }
        if matches!(verb, 'G' | 'E' | 'X') {
            text.make_ascii_uppercase();
        }
        // The sign goes before padding zeros.
        if self.flags.zero && !self.flags.minus && !sign.is_empty() {
            let width = self.flags.width.unwrap_or(0).saturating_sub(1);
            self.out.push_str(sign);
            self.out.push_str(&with_zeros(&text, width));
        } else {
            self.pad(&format!("{sign}{text}"));
        }
    }
}

/// `%#g`: a decimal point always, and the zeros that `g` leaves out.
fn with_point(text: &str, verb: char, precision: Option<usize>) -> String {
    let tail_at = if matches!(verb, 'x' | 'X') {
        text.find('p')
    } else {
        text.find('e')
    };
    let (number, tail) = text.split_at(tail_at.unwrap_or(text.len()));
    let mut digits_wanted = match verb {
        'v' | 'g' | 'G' | 'x' => precision.unwrap_or(6),
        _ => 0,
    };
    let significant = number.trim_start_matches(['0', '.']);
    let count = significant.chars().filter(|c| *c != '.').count();
    digits_wanted = digits_wanted.saturating_sub(count);
    let mut out = number.to_owned();
    if !number.contains('.') {
        if number == "0" {
            digits_wanted = digits_wanted.saturating_sub(1);
        }
        out.push('.');
    }
    out.extend(std::iter::repeat_n('0', digits_wanted));
    out.push_str(tail);
    out
}

/// `digits` with zeros in front up to a length.
fn with_zeros(digits: &str, length: usize) -> String {
    let mut text = "0".repeat(length.saturating_sub(digits.len()));
    text.push_str(digits);
    text
}

fn to_char(number: i64) -> char {
    u32::try_from(number)
        .ok()
        .and_then(char::from_u32)
        .unwrap_or(char::REPLACEMENT_CHARACTER)
}
