//! Go's own template functions: comparison, indexing, escaping.
//!
//! Errors are the texts that stand behind `error calling …: `.
//!
//! Source: the documentation of Go's `text/template`; answers of `promtool test rules`.

use std::{cmp::Ordering, fmt::Write as _, rc::Rc};

use super::{
    format,
    function::Function,
    quote::is_printable,
    value::{IntType, Value},
};

const MISSING: &str = "missing argument for comparison";
const INVALID_TYPE: &str = "invalid type for comparison";

/// `eq`: whether the first value equals any of the others.
pub(super) fn equal(values: &[Value]) -> Result<bool, String> {
    let Some((first, others)) = values
        .split_first()
        .filter(|(_, others)| !others.is_empty())
    else {
        return Err(MISSING.to_owned());
    };
    for other in others {
        if equal_pair(first.inner(), other.inner())? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn equal_pair(left: &Value, right: &Value) -> Result<bool, String> {
    Ok(match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Int(left, _), Value::Int(right, _)) => left == right,
        (Value::Float(left), Value::Float(right)) => left == right,
        (Value::Text(left) | Value::Html(left), Value::Text(right) | Value::Html(right)) => {
            left == right
        }
        (Value::Nil, Value::Nil) => true,
        (Value::Nil, _) | (_, Value::Nil) => false,
        _ if is_basic(left) || is_basic(right) => return Err(incompatible(left, right)),
        (Value::Sample(Some(left)), Value::Sample(Some(right))) => Rc::ptr_eq(left, right),
        (Value::Sample(left), Value::Sample(right)) => left.is_none() && right.is_none(),
        (Value::TimePointer(left), Value::TimePointer(right)) => Rc::ptr_eq(left, right),
        (Value::Time(left), Value::Time(right)) => left == right,
        (Value::DurationPointer(left), Value::DurationPointer(right)) => Rc::ptr_eq(left, right),
        _ if kind(left) != kind(right) => {
            return Err(format!(
                "non-comparable types {}: {}, {}: {}",
                as_text(left),
                left.type_name(),
                right.type_name(),
                format::display(right)
            ));
        }
        _ if is_comparable(right) => false,
        _ => {
            return Err(format!(
                "non-comparable type {}: {}",
                as_text(right),
                right.type_name()
            ));
        }
    })
}

/// What Go's `%s` makes of a value.
fn as_text(value: &Value) -> String {
    format::printf("%s", std::slice::from_ref(value), usize::MAX).unwrap_or_default()
}

/// Go's kind of a value that is not basic.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Labels(_) | Value::Arguments(_) => "map",
        Value::Samples(_) => "slice",
        Value::Root(_) | Value::Time(_) => "struct",
        _ => "pointer",
    }
}

/// Whether a value has an order or an equality of its own.
fn is_basic(value: &Value) -> bool {
    matches!(
        value,
        Value::Bool(_) | Value::Int(..) | Value::Float(_) | Value::Text(_) | Value::Html(_)
    )
}

fn is_comparable(value: &Value) -> bool {
    !matches!(
        value,
        Value::Labels(_) | Value::Arguments(_) | Value::Samples(_) | Value::Root(_)
    )
}

fn incompatible(left: &Value, right: &Value) -> String {
    format!(
        "incompatible types for comparison: {} and {}",
        left.type_name(),
        right.type_name()
    )
}

/// `lt`, `le`, `gt` and `ge`. As in Go the last two negate the others, so that NaN is greater than
/// anything.
pub(super) fn ordered(function: Function, left: &Value, right: &Value) -> Result<bool, String> {
    let order = order(left.inner(), right.inner())?;
    let is_less = order == Some(Ordering::Less);
    let is_equal = order == Some(Ordering::Equal);
    Ok(match function {
        Function::Less => is_less,
        Function::LessOrEqual => is_less || is_equal,
        Function::Greater => !(is_less || is_equal),
        _ => !is_less,
    })
}

fn order(left: &Value, right: &Value) -> Result<Option<Ordering>, String> {
    match (left, right) {
        (Value::Int(left, _), Value::Int(right, _)) => Ok(Some(left.cmp(right))),
        (Value::Float(left), Value::Float(right)) => Ok(left.partial_cmp(right)),
        (Value::Text(left) | Value::Html(left), Value::Text(right) | Value::Html(right)) => {
            Ok(Some(left.cmp(right)))
        }
        (Value::Bool(_), Value::Bool(_)) => Err(INVALID_TYPE.to_owned()),
        _ if !is_basic(left) || !is_basic(right) => Err(INVALID_TYPE.to_owned()),
        _ => Err(incompatible(left, right)),
    }
}

/// `index`: an element of an element of … the first value.
pub(super) fn index(values: &[Value]) -> Result<Value, String> {
    let Some((item, indexes)) = values.split_first() else {
        return Err("index of untyped nil".to_owned());
    };
    let mut item = item.inner().clone();
    if matches!(item, Value::Nil) {
        return Err("index of untyped nil".to_owned());
    }
    for index in indexes {
        let index = index.inner();
        item = match item.inner() {
            Value::Text(text) | Value::Html(text) => {
                let at = position(index, text.len())?;
                match text.as_bytes().get(at) {
                    Some(byte) => Value::Int(i64::from(*byte), IntType::Byte),
                    None => return Err("reflect: string index out of range".to_owned()),
                }
            }
            Value::Samples(samples) => {
                let at = position(index, samples.len())?;
                match samples.get(at) {
                    Some(sample) => Value::Sample(Some(sample)),
                    None => return Err("reflect: slice index out of range".to_owned()),
                }
            }
            Value::Labels(labels) => Value::text(labels.get(&key(index)?).unwrap_or_default()),
            Value::Arguments(arguments) => arguments
                .map()
                .get(&*key(index)?)
                .cloned()
                .unwrap_or(Value::Nil),
            Value::Nil | Value::Sample(None) => return Err("index of nil pointer".to_owned()),
            other => return Err(format!("can't index item of type {}", pointee(other))),
        };
    }
    Ok(item)
}

/// The type behind a pointer, or that of the value itself.
fn pointee(value: &Value) -> &'static str {
    let name = value.type_name();
    name.strip_prefix('*').unwrap_or(name)
}

/// An index of a text or list: at most its length.
fn position(index: &Value, length: usize) -> Result<usize, String> {
    match index {
        Value::Int(at, _) => usize::try_from(*at)
            .ok()
            .filter(|at| *at <= length)
            .ok_or_else(|| format!("index out of range: {at}")),
        Value::Nil => Err("cannot index slice/array with nil".to_owned()),
        _ => Err(format!(
            "cannot index slice/array with type {}",
            index.type_name()
        )),
    }
}

/// An index of a map.
fn key(index: &Value) -> Result<Rc<str>, String> {
    match index {
        Value::Text(text) => Ok(Rc::clone(text)),
        Value::Nil => Err("value is nil; should be of type string".to_owned()),
        _ => Err(format!(
            "value has type {}; should be string",
            index.type_name()
        )),
    }
}

/// `slice`: a part of a text or list.
pub(super) fn slice(values: &[Value]) -> Result<Value, String> {
    let Some((item, indexes)) = values.split_first() else {
        return Err("slice of untyped nil".to_owned());
    };
    let item = item.inner();
    if matches!(item, Value::Nil) {
        return Err("slice of untyped nil".to_owned());
    }
    if indexes.len() > 3 {
        return Err(format!("too many slice indexes: {}", indexes.len()));
    }
    let (length, capacity) = match item {
        Value::Text(_) | Value::Html(_) if indexes.len() == 3 => {
            return Err("cannot 3-index slice a string".to_owned());
        }
        Value::Text(text) | Value::Html(text) => (text.len(), text.len()),
        Value::Samples(samples) => (samples.len(), samples.capacity()),
        _ => return Err(format!("can't slice item of type {}", pointee(item))),
    };
    let mut bounds = [0, length, capacity];
    for (bound, index) in bounds.iter_mut().zip(indexes) {
        *bound = position(index.inner(), capacity)?;
    }
    let [start, end, limit] = bounds;
    if start > end {
        return Err(format!("invalid slice index: {start} > {end}"));
    }
    if end > limit {
        return Err(format!("invalid slice index: {end} > {limit}"));
    }
    // Bytes that are no characters once cut become U+FFFD.
    let part = |text: &str| String::from_utf8_lossy(&text.as_bytes()[start..end]).into_owned();
    Ok(match item {
        Value::Html(text) => Value::Html(part(text).into()),
        Value::Text(text) => Value::text(part(text)),
        Value::Samples(samples) => Value::Samples(samples.slice(start, end)),
        _ => Value::Nil,
    })
}

/// `len`.
pub(super) fn length(value: &Value) -> Result<usize, String> {
    match value.inner() {
        Value::Text(text) | Value::Html(text) => Ok(text.len()),
        Value::Labels(labels) => Ok(labels.len()),
        Value::Arguments(arguments) => Ok(arguments.map().len()),
        Value::Samples(samples) => Ok(samples.len()),
        Value::Nil => Err("reflect: call of reflect.Value.Type on zero Value".to_owned()),
        Value::Sample(None) => Err("len of nil pointer".to_owned()),
        other => Err(format!("len of type {}", pointee(other))),
    }
}

/// `call`: none of our values is a function.
pub(super) fn call(shown: &str, value: &Value) -> String {
    match value.inner() {
        Value::Nil => "call of nil".to_owned(),
        value => format!("non-function {shown} of type {}", value.type_name()),
    }
}

/// The text that `html`, `js` and `urlquery` escape: that of `print`, except that nothing prints as
/// `<no value>` and pointers as what they point to.
pub(super) fn printable(values: &[Value]) -> String {
    let values: Vec<Value> = values.iter().map(printable_value).collect();
    format::print(&values)
}

/// The value that is printed in place of `value` by actions and by what escapes.
pub(super) fn printable_value(value: &Value) -> Value {
    match value.inner() {
        Value::Nil => Value::text("<no value>"),
        Value::Sample(Some(sample)) => Value::SampleStruct(Rc::clone(sample)),
        value => value.clone(),
    }
}

/// `html`.
pub(super) fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\0' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
    out
}

/// `js`.
pub(super) fn escape_js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '\'' | '"' => {
                out.push('\\');
                out.push(c);
            }
            '<' | '>' | '&' | '=' | '\0'..' ' => {
                write!(out, "\\u{:04X}", u32::from(c)).expect("writing to a string does not fail");
            }
            _ if c.is_ascii() || is_printable(c) => out.push(c),
            _ => {
                write!(out, "\\u{:04X}", u32::from(c)).expect("writing to a string does not fail");
            }
        }
    }
    out
}

/// `urlquery`: for the query part of a URL.
pub(super) fn escape_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            _ => write!(out, "%{byte:02X}").expect("writing to a string does not fail"),
        }
    }
    out
}
