//! The methods of Go's times and durations.
//!
//! Source: the documentation of Go's `time`; answers of `promtool test rules`.

use std::rc::Rc;

use super::{
    function::{Parameter, Signature},
    time::{self, Time},
    value::{IntType, Value},
};

/// A method and the value it belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Method {
    receiver: Receiver,
    name: &'static str,
    fixed: &'static [Parameter],
}

#[derive(Debug, Clone, Copy)]
enum Receiver {
    Time(Time),
    Duration(i64),
    Month(i64),
    Weekday(i64),
}

const TIME: [(&str, &[Parameter]); 32] = [
    ("Add", &[Parameter::Duration]),
    ("AddDate", &[Parameter::Int, Parameter::Int, Parameter::Int]),
    ("After", &[Parameter::Time]),
    ("Before", &[Parameter::Time]),
    ("Clock", &[]),
    ("Compare", &[Parameter::Time]),
    ("Date", &[]),
    ("Day", &[]),
    ("Equal", &[Parameter::Time]),
    ("Format", &[Parameter::Text]),
    ("GoString", &[]),
    ("Hour", &[]),
    ("ISOWeek", &[]),
    ("IsDST", &[]),
    ("IsZero", &[]),
    ("Minute", &[]),
    ("Month", &[]),
    ("Nanosecond", &[]),
    ("Round", &[Parameter::Duration]),
    ("Second", &[]),
    ("String", &[]),
    ("Sub", &[Parameter::Time]),
    ("Truncate", &[Parameter::Duration]),
    ("UTC", &[]),
    ("Unix", &[]),
    ("UnixMicro", &[]),
    ("UnixMilli", &[]),
    ("UnixNano", &[]),
    ("Weekday", &[]),
    ("Year", &[]),
    ("YearDay", &[]),
    ("Zone", &[]),
];

const DURATION: [(&str, &[Parameter]); 10] = [
    ("Abs", &[]),
    ("Hours", &[]),
    ("Microseconds", &[]),
    ("Milliseconds", &[]),
    ("Minutes", &[]),
    ("Nanoseconds", &[]),
    ("Round", &[Parameter::Duration]),
    ("Seconds", &[]),
    ("String", &[]),
    ("Truncate", &[Parameter::Duration]),
];

const NAMED: [(&str, &[Parameter]); 1] = [("String", &[])];

impl Method {
    /// The method of that name, if `value` has it.
    pub(super) fn find(value: &Value, name: &str) -> Option<Self> {
        let (receiver, methods): (_, &[(&'static str, &'static [Parameter])]) = match value {
            Value::Time(time) => (Receiver::Time(*time), &TIME),
            Value::TimePointer(time) => (Receiver::Time(**time), &TIME),
            Value::DurationPointer(nanoseconds) => (Receiver::Duration(**nanoseconds), &DURATION),
            Value::Int(nanoseconds, IntType::Duration) => {
                (Receiver::Duration(*nanoseconds), &DURATION)
            }
            Value::Int(month, IntType::Month) => (Receiver::Month(*month), &NAMED),
            Value::Int(weekday, IntType::Weekday) => (Receiver::Weekday(*weekday), &NAMED),
            _ => return None,
        };
        let (name, fixed) = *methods.iter().find(|(known, _)| *known == name)?;
        Some(Self {
            receiver,
            name,
            fixed,
        })
    }

    pub(super) fn signature(&self) -> Signature {
        Signature {
            fixed: self.fixed,
            variadic: None,
        }
    }

    /// Why the method cannot be called from a template, if it cannot: it answers several values.
    pub(super) fn refusal(&self) -> Option<String> {
        match self.name {
            "Clock" | "Date" => Some(format!(
                "function {} has 3 return values; should be 1 or 2",
                self.name
            )),
            "ISOWeek" | "Zone" => Some(format!(
                "invalid function signature for {}: second return value should be error; is int",
                self.name
            )),
            _ => None,
        }
    }

    /// The answer. The arguments have been checked.
    pub(super) fn call(&self, arguments: &[Value]) -> Value {
        match self.receiver {
            Receiver::Time(time) => call_time(time, self.name, arguments),
            Receiver::Duration(nanoseconds) => call_duration(nanoseconds, self.name, arguments),
            Receiver::Month(month) => Value::text(time::month_name(month)),
            Receiver::Weekday(weekday) => Value::text(time::weekday_name(weekday)),
        }
    }
}

fn int(arguments: &[Value], index: usize) -> i64 {
    match arguments.get(index) {
        Some(Value::Int(value, _)) => *value,
        _ => 0,
    }
}

fn call_time(time: Time, name: &str, arguments: &[Value]) -> Value {
    let other = match arguments.first() {
        Some(Value::Time(other)) => *other,
        _ => time,
    };
    let unit = int(arguments, 0);
    match name {
        "Add" => Value::Time(time.add(unit)),
        "AddDate" => Value::Time(time.add_date(unit, int(arguments, 1), int(arguments, 2))),
        "After" => Value::Bool(time > other),
        "Before" => Value::Bool(time < other),
        "Compare" => Value::int(time.cmp(&other) as i64),
        "Day" => Value::int(time.date().day),
        "Equal" => Value::Bool(time == other),
        "Format" => match arguments.first() {
            Some(Value::Text(layout)) => Value::text(time.format(layout)),
            _ => Value::Nil,
        },
        "GoString" => Value::text(time.go_syntax()),
        "Hour" => Value::int(time.hour()),
        "IsDST" => Value::Bool(false),
        "IsZero" => Value::Bool(time.is_zero()),
        "Minute" => Value::int(time.minute()),
        "Month" => Value::Int(time.date().month, IntType::Month),
        "Nanosecond" => Value::int(time.nanosecond()),
        "Round" => Value::Time(time.round(unit)),
        "Second" => Value::int(time.second()),
        "String" => Value::text(time.to_string()),
        "Sub" => Value::Int(time.since(other), IntType::Duration),
        "Truncate" => Value::Time(time.truncate(unit)),
        "UTC" => Value::Time(time),
        "Unix" => Value::Int(time.unix(), IntType::Int64),
        "UnixMicro" => Value::Int(time.unix_in(1_000_000), IntType::Int64),
        "UnixMilli" => Value::Int(time.unix_in(1_000), IntType::Int64),
        "UnixNano" => Value::Int(time.unix_in(1_000_000_000), IntType::Int64),
        "Weekday" => Value::Int(time.weekday(), IntType::Weekday),
        "Year" => Value::int(time.date().year),
        "YearDay" => Value::int(time.year_day()),
        _ => Value::Nil,
    }
}

fn call_duration(nanoseconds: i64, name: &str, arguments: &[Value]) -> Value {
    let duration = |nanoseconds| Value::Int(nanoseconds, IntType::Duration);
    let whole = |unit| Value::Int(nanoseconds / unit, IntType::Int64);
    // The whole units and the rest apart, as in Go, for the last digit's sake.
    let float = |unit: i64| {
        Value::Float((nanoseconds / unit) as f64 + (nanoseconds % unit) as f64 / unit as f64)
    };
    let unit = int(arguments, 0);
    match name {
        "Abs" => duration(nanoseconds.saturating_abs()),
        "Hours" => float(3_600_000_000_000),
        "Microseconds" => whole(1_000),
        "Milliseconds" => whole(1_000_000),
        "Minutes" => float(60_000_000_000),
        "Nanoseconds" => whole(1),
        "Round" => duration(time::round_duration(nanoseconds, unit, false)),
        "Seconds" => float(1_000_000_000),
        "String" => Value::text(time::duration_text(nanoseconds)),
        "Truncate" => duration(time::round_duration(nanoseconds, unit, true)),
        _ => Value::Nil,
    }
}

/// A new `*time.Time`.
pub(super) fn time_pointer(time: Time) -> Value {
    Value::TimePointer(Rc::new(time))
}
