//! `print`, `println` and `printf`: values as Go's `fmt` writes them.
//!
//! One thing differs, and must: Go writes a pointer within a list as its address, which nobody can
//! read; here the sample that it points to is written.
//!
//! Source: the documentation of Go's `fmt`; answers of `promtool test rules`.

use std::fmt::Write as _;

use super::{
    float,
    quote::{describe_char, quote_with},
    time::{Time, duration_text, month_name, weekday_name},
    value::{IntType, ROOT_TYPE, Root, Sample, Value},
};

/// The largest width or precision; larger ones are refused within the text, as in Go.
const WIDTH_MAX: i64 = 1_000_000;

/// The text of one value, as `{{ value }}` prints it.
pub(super) fn display(value: &Value) -> String {
    let mut printer = Printer::default();
    printer.argument(value, 'v');
    printer.out
}

/// The text of several values: a space between two of which neither is a text.
pub(super) fn print(values: &[Value]) -> String {
    let mut printer = Printer::default();
    let mut last_was_text = true;
    for (index, value) in values.iter().enumerate() {
        let is_text = matches!(value.inner(), Value::Text(_) | Value::Html(_));
        if index > 0 && !is_text && !last_was_text {
            printer.out.push(' ');
        }
        printer.argument(value, 'v');
        last_was_text = is_text;
    }
    printer.out
}

/// The text of several values with spaces between and a line break behind.
pub(super) fn println(values: &[Value]) -> String {
    let mut printer = Printer::default();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            printer.out.push(' ');
        }
        printer.argument(value, 'v');
    }
    printer.out.push('\n');
    printer.out
}

/// `format` with its verbs replaced by `arguments`. `None` when the text would be longer than
/// `bytes_max`.
pub(super) fn printf(format: &str, arguments: &[Value], bytes_max: usize) -> Option<String> {
    let mut formatting = Formatting {
        printer: Printer::default(),
        rest: format,
        arguments,
        next: 0,
        is_reordered: false,
        index_is_good: true,
    };
    while let Some((text, behind)) = formatting.rest.split_once('%') {
        formatting.printer.out.push_str(text);
        formatting.rest = behind;
        formatting.verb();
        if formatting.printer.out.len() > bytes_max {
            return None;
        }
    }
    let rest = formatting.rest;
    formatting.printer.out.push_str(rest);
    formatting.extra_arguments();
    let out = formatting.printer.out;
    (out.len() <= bytes_max).then_some(out)
}

struct Formatting<'a> {
    printer: Printer,
    rest: &'a str,
    arguments: &'a [Value],
    next: usize,
    /// Whether an argument was chosen by its number.
    is_reordered: bool,
    index_is_good: bool,
}

impl Formatting<'_> {
    /// One verb; its percent sign has been taken.
    fn verb(&mut self) {
        self.index_is_good = true;
        self.flags();
        let mut after_index = self.argument_number();
        if self.accept('*') {
            let width = self.int_argument();
            if width.is_none() {
                self.printer.out.push_str("%!(BADWIDTH)");
            }
            let width = width.unwrap_or_default();
            if width < 0 {
                self.printer.flags.minus = true;
                self.printer.flags.zero = false;
            }
            self.printer.flags.width = Some(width.unsigned_abs() as usize);
            after_index = false;
        } else {
            let width = self.number();
            self.index_is_good &= !(after_index && width.is_some());
            self.printer.flags.width = width;
        }
        if self.accept('.') {
            self.index_is_good &= !after_index;
            after_index = self.argument_number();
            if self.accept('*') {
                let precision = self.int_argument().filter(|precision| *precision >= 0);
                if precision.is_none() {
                    self.printer.out.push_str("%!(BADPREC)");
                }
                self.printer.flags.precision = precision.map(|precision| precision as usize);
                after_index = false;
            } else {
                self.printer.flags.precision = Some(self.number().unwrap_or(0));
            }
        }
        if !after_index {
            self.argument_number();
        }
        let mut chars = self.rest.chars();
        let Some(verb) = chars.next() else {
            self.printer.out.push_str("%!(NOVERB)");
            return;
        };
        self.rest = chars.as_str();
        if verb == '%' {
            self.printer.out.push('%');
            return;
        }
        if !self.index_is_good {
            self.printer.note(verb, "BADINDEX");
            return;
        }
        let Some(argument) = self.arguments.get(self.next) else {
            self.printer.note(verb, "MISSING");
            return;
        };
        self.next += 1;
        let flags = &mut self.printer.flags;
        if verb == 'v' {
            flags.go_syntax = std::mem::take(&mut flags.sharp);
            flags.field_names = std::mem::take(&mut flags.plus);
        }
        self.printer.argument(argument, verb);
    }

    fn flags(&mut self) {
        let mut flags = Flags::default();
        loop {
            let behind = self.rest;
            let mut chars = behind.chars();
            match chars.next() {
                Some('#') => flags.sharp = true,
                Some('0') => flags.zero = true,
                Some('+') => flags.plus = true,
                Some('-') => flags.minus = true,
                Some(' ') => flags.space = true,
                _ => break,
            }
            self.rest = chars.as_str();
        }
        self.printer.flags = flags;
    }

    fn accept(&mut self, wanted: char) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// A decimal number, if one is here. One that is too large uses up the whole format.
    fn number(&mut self) -> Option<usize> {
        let length = self.rest.len()
            - self
                .rest
                .trim_start_matches(|c: char| c.is_ascii_digit())
                .len();
        let (digits, behind) = self.rest.split_at(length);
        if digits.is_empty() {
            return None;
        }
        match digits
            .parse::<i64>()
            .ok()
            .filter(|number| *number <= WIDTH_MAX)
        {
            Some(number) => {
                self.rest = behind;
                Some(number as usize)
            }
            None => {
                self.rest = "";
                None
            }
        }
    }

    /// `[2]`: chooses the next argument. Answers whether it is well-formed.
    fn argument_number(&mut self) -> bool {
        let Some(behind) = self.rest.strip_prefix('[') else {
            return false;
        };
        self.is_reordered = true;
        let Some((digits, rest)) = behind.split_once(']').filter(|_| self.rest.len() >= 3) else {
            self.index_is_good = false;
            self.rest = behind;
            return false;
        };
        self.rest = rest;
        let number = digits
            .parse::<i64>()
            .ok()
            .filter(|_| digits.bytes().all(|digit| digit.is_ascii_digit()))
            .filter(|number| *number <= WIDTH_MAX);
        let Some(number) = number else {
            self.index_is_good = false;
            return false;
        };
        match usize::try_from(number - 1)
            .ok()
            .filter(|index| *index < self.arguments.len())
        {
            Some(index) => self.next = index,
            None => self.index_is_good = false,
        }
        true
    }

    /// The next argument as a width or precision.
    fn int_argument(&mut self) -> Option<i64> {
        let argument = self.arguments.get(self.next)?;
        self.next += 1;
        match argument.inner() {
            Value::Int(value, _) if value.abs() <= WIDTH_MAX => Some(*value),
            _ => None,
        }
    }

    fn extra_arguments(&mut self) {
        let extra = self.arguments.get(self.next..).unwrap_or_default();
        if self.is_reordered || extra.is_empty() {
            return;
        }
        self.printer.flags = Flags::default();
        self.printer.out.push_str("%!(EXTRA ");
        for (index, argument) in extra.iter().enumerate() {
            if index > 0 {
                self.printer.out.push_str(", ");
            }
            if !matches!(argument.inner(), Value::Nil) {
                self.printer.out.push_str(argument.inner().type_name());
                self.printer.out.push('=');
            }
            self.printer.argument(argument, 'v');
        }
        self.printer.out.push(')');
    }
}

#[derive(Debug, Clone, Copy, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the flags of a verb are independent switches"
)]
struct Flags {
    sharp: bool,
    zero: bool,
    plus: bool,
    minus: bool,
    space: bool,
    /// `%#v`.
    go_syntax: bool,
    /// `%+v`.
    field_names: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Writes values into a text.
#[derive(Debug, Default)]
struct Printer {
    out: String,
    flags: Flags,
}

impl Printer {
    fn note(&mut self, verb: char, what: &str) {
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
        self.argument(value, 'v');
        self.out.push(')');
    }

    fn argument(&mut self, value: &Value, verb: char) {
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
                    self.out.push('&');
                    self.sample(&sample, verb);
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
            Value::Sample(Some(sample)) => {
                self.out.push('&');
                self.sample(sample, verb);
            }
            inner => self.value(inner, verb),
        }
    }

    fn time(&mut self, value: &Value, time: Time, verb: char) {
        match verb {
            'v' if self.flags.go_syntax => self.out.push_str(&time.go_syntax()),
            'v' | 's' | 'q' | 'x' | 'X' => self.text(value, &time.to_string(), verb),
            'd' => {
                // Go's own fields: nanoseconds, seconds since the year 1, and no time zone.
                if matches!(value, Value::TimePointer(_)) {
                    self.out.push('&');
                }
                let fields = [time.nanosecond(), time.seconds_since_year_1(), 0];
                self.structure(
                    "time.Time",
                    &fields.map(|field| ("", Value::int(field))),
                    verb,
                );
            }
            _ => self.bad_verb(value, verb),
        }
    }

    fn sample(&mut self, sample: &Sample, verb: char) {
        let labels = Value::Labels(sample.labels.clone());
        let fields = [("Labels", labels), ("Value", Value::Float(sample.value))];
        self.structure("template.sample", &fields, verb);
    }

    fn root(&mut self, root: &Root, verb: char) {
        let fields = [
            ("Labels", Value::Labels(root.labels.clone())),
            (
                "ExternalLabels",
                Value::Labels(root.external_labels.clone()),
            ),
            (
                "ExternalURL",
                Value::Text(std::rc::Rc::clone(&root.external_url)),
            ),
            ("Value", Value::Float(root.value)),
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
            text = with_point(&text, format, precision);
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
fn with_point(text: &str, format: char, precision: Option<usize>) -> String {
    let tail_at = if format == 'x' {
        text.find('p')
    } else {
        text.find('e')
    };
    let (number, tail) = text.split_at(tail_at.unwrap_or(text.len()));
    let mut digits_wanted = match format {
        'g' | 'x' => precision.unwrap_or(6),
        _ => 0,
    };
    let significant = number.trim_start_matches(['0', '.', 'x']);
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
