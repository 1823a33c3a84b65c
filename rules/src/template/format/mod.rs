//! `print`, `println` and `printf`: values as Go's `fmt` writes them.
//!
//! One thing differs, and must: Go writes a pointer within a list as its address, which nobody can
//! read; here the sample that it points to is written.
//!
//! Source: the documentation of Go's `fmt`; answers of `promtool test rules`.

mod printer;

use super::value::Value;
use printer::{Flags, Printer};

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
        // A point at the very end is a verb, if an unknown one.
        if self.rest.len() > 1 && self.accept('.') {
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
