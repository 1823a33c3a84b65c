//! Times and durations: Go's `time.Time` in UTC and `time.Duration`, with their text forms.
//!
//! **What it is not.** There is no time zone but UTC.
//!
//! Source: the documentation of Go's `time`; answers of `promtool test rules`.

use std::fmt::{self, Write as _};

use narthex_storage::Date;

const SECOND: i64 = 1_000_000_000;
const DAY_SECONDS: i64 = 86_400;
/// Seconds from the start of the year 1, where Go's times begin, to 1970.
const EPOCH_SECONDS: i64 = 62_135_596_800;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// A point in time, exact to the nanosecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time {
    /// Seconds since 1970.
    seconds: i64,
    /// Nanoseconds behind them, below a second.
    nanoseconds: i64,
}

impl Time {
    pub(super) fn from_milliseconds(milliseconds: i64) -> Self {
        Self::new(0, i128::from(milliseconds) * 1_000_000)
    }

    fn new(seconds: i64, nanoseconds: i128) -> Self {
        let second = i128::from(SECOND);
        Self {
            seconds: seconds.wrapping_add(nanoseconds.div_euclid(second) as i64),
            nanoseconds: nanoseconds.rem_euclid(second) as i64,
        }
    }

    /// Nanoseconds since the start of the year 1.
    fn absolute(self) -> i128 {
        (i128::from(self.seconds) + i128::from(EPOCH_SECONDS)) * i128::from(SECOND)
            + i128::from(self.nanoseconds)
    }

    fn from_absolute(nanoseconds: i128) -> Self {
        Self::new(-EPOCH_SECONDS, nanoseconds)
    }

    pub(super) fn unix(self) -> i64 {
        self.seconds
    }

    /// Units of `1 / per_second` s since 1970; wraps around like Go.
    pub(super) fn unix_in(self, per_second: i64) -> i64 {
        (self.seconds.wrapping_mul(per_second))
            .wrapping_add(self.nanoseconds / (SECOND / per_second))
    }

    pub(super) fn nanosecond(self) -> i64 {
        self.nanoseconds
    }

    pub(super) fn seconds_since_year_1(self) -> i64 {
        self.seconds.wrapping_add(EPOCH_SECONDS)
    }

    pub(super) fn is_zero(self) -> bool {
        self.seconds == -EPOCH_SECONDS && self.nanoseconds == 0
    }

    pub(super) fn add(self, nanoseconds: i64) -> Self {
        Self::new(
            self.seconds,
            i128::from(self.nanoseconds) + i128::from(nanoseconds),
        )
    }

    /// The nanoseconds from `other` to this, as far as they can be told.
    pub(super) fn since(self, other: Self) -> i64 {
        let difference = self.absolute() - other.absolute();
        difference.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    /// The same time of the day so many years, months and days later.
    pub(super) fn add_date(self, years: i64, months: i64, days: i64) -> Self {
        let date = self.date();
        let months = i128::from(date.month) - 1 + i128::from(months);
        let year = i128::from(date.year) + i128::from(years) + months.div_euclid(12);
        // Years that do not fit in Go's times are not worth wrapping around as Go does.
        let year = year.clamp(-290_000_000_000, 290_000_000_000) as i64;
        let first = Date {
            year,
            month: months.rem_euclid(12) as i64 + 1,
            day: 1,
        };
        let day = i128::from(first.to_days()) + i128::from(date.day) - 1 + i128::from(days);
        let seconds = day * i128::from(DAY_SECONDS) + i128::from(self.second_of_day());
        Self {
            seconds: seconds.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64,
            nanoseconds: self.nanoseconds,
        }
    }

    /// Down to a multiple of `unit` nanoseconds since the year 1.
    pub(super) fn truncate(self, unit: i64) -> Self {
        if unit <= 0 {
            return self;
        }
        let absolute = self.absolute();
        Self::from_absolute(absolute - absolute.rem_euclid(i128::from(unit)))
    }

    /// To the nearest multiple of `unit` nanoseconds since the year 1, half up.
    pub(super) fn round(self, unit: i64) -> Self {
        if unit <= 0 {
            return self;
        }
        let (absolute, unit) = (self.absolute(), i128::from(unit));
        let rest = absolute.rem_euclid(unit);
        let down = absolute - rest;
        Self::from_absolute(if rest * 2 < unit { down } else { down + unit })
    }

    fn second_of_day(self) -> i64 {
        self.seconds.rem_euclid(DAY_SECONDS)
    }

    pub(super) fn hour(self) -> i64 {
        self.second_of_day() / 3600
    }

    pub(super) fn minute(self) -> i64 {
        self.second_of_day() / 60 % 60
    }

    pub(super) fn second(self) -> i64 {
        self.second_of_day() % 60
    }

    pub(super) fn date(self) -> Date {
        Date::from_days(self.seconds.div_euclid(DAY_SECONDS))
    }

    /// 0 is Sunday.
    pub(super) fn weekday(self) -> i64 {
        (self.seconds.div_euclid(DAY_SECONDS) + 4).rem_euclid(7)
    }

    /// From 1.
    pub(super) fn year_day(self) -> i64 {
        let first = Date {
            month: 1,
            day: 1,
            ..self.date()
        };
        self.seconds.div_euclid(DAY_SECONDS) - first.to_days() + 1
    }

    /// As Go source text.
    pub(super) fn go_syntax(self) -> String {
        let Date { year, month, day } = self.date();
        format!(
            "time.Date({year}, time.{}, {day}, {}, {}, {}, {}, time.UTC)",
            month_name(month),
            self.hour(),
            self.minute(),
            self.second(),
            self.nanoseconds
        )
    }

    /// As `layout`, which shows how 2 January 2006 15:04:05 would be written, says.
    pub(super) fn format(self, layout: &str) -> String {
        let mut out = String::with_capacity(layout.len() + 10);
        let mut rest = layout;
        while let Some(first) = rest.chars().next() {
            if let Some((element, length)) = element(rest) {
                self.push_element(&mut out, element);
                rest = rest.get(length..).unwrap_or_default();
            } else {
                out.push(first);
                rest = rest.get(first.len_utf8()..).unwrap_or_default();
            }
        }
        out
    }

    fn push_element(self, out: &mut String, element: Element) {
        let Date { year, month, day } = self.date();
        let month_text = month_name(month);
        let weekday_text = weekday_name(self.weekday());
        let short = |text: &str| text.chars().take(3).collect::<String>();
        let hour12 = match self.hour() % 12 {
            0 => 12,
            hour => hour,
        };
        let text = match element {
            Element::LongMonth => month_text,
            Element::Month => short(&month_text),
            Element::NumMonth => month.to_string(),
            Element::ZeroMonth => format!("{month:02}"),
            Element::LongWeekday => weekday_text,
            Element::Weekday => short(&weekday_text),
            Element::Day => day.to_string(),
            Element::UnderDay => format!("{day:2}"),
            Element::ZeroDay => format!("{day:02}"),
            Element::UnderYearDay => format!("{:3}", self.year_day()),
            Element::ZeroYearDay => format!("{:03}", self.year_day()),
            Element::Hour => format!("{:02}", self.hour()),
            Element::Hour12 => hour12.to_string(),
            Element::ZeroHour12 => format!("{hour12:02}"),
            Element::Minute => self.minute().to_string(),
            Element::ZeroMinute => format!("{:02}", self.minute()),
            Element::Second => self.second().to_string(),
            Element::ZeroSecond => format!("{:02}", self.second()),
            Element::LongYear if year < 0 => format!("-{:04}", -year),
            Element::LongYear => format!("{year:04}"),
            Element::Year => format!("{:02}", year.rem_euclid(100)),
            Element::UpperHalf => (if self.hour() >= 12 { "PM" } else { "AM" }).to_owned(),
            Element::LowerHalf => (if self.hour() >= 12 { "pm" } else { "am" }).to_owned(),
            Element::Zone => "UTC".to_owned(),
            Element::Offset(text) => text.to_owned(),
            Element::Fraction {
                separator,
                digits,
                trims,
            } => self.fraction(separator, digits, trims),
        };
        out.push_str(&text);
    }

    fn fraction(self, separator: char, digits: usize, trims: bool) -> String {
        let all = format!("{:09}", self.nanoseconds);
        let kept: String = all.chars().take(digits).collect();
        let kept = if trims {
            kept.trim_end_matches('0')
        } else {
            kept.as_str()
        };
        if trims && kept.is_empty() {
            return String::new();
        }
        let mut text = format!("{separator}{kept}");
        if !trims {
            text.extend(std::iter::repeat_n('0', digits - kept.len()));
        }
        text
    }
}

impl fmt::Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.format("2006-01-02 15:04:05.999999999 -0700 MST"))
    }
}

/// A part of a layout that stands for a part of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    LongMonth,
    Month,
    NumMonth,
    ZeroMonth,
    LongWeekday,
    Weekday,
    Day,
    UnderDay,
    ZeroDay,
    UnderYearDay,
    ZeroYearDay,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    LongYear,
    Year,
    UpperHalf,
    LowerHalf,
    Zone,
    /// The offset of UTC in one of its forms.
    Offset(&'static str),
    /// Parts of a second, with trailing zeros left out or not.
    Fraction {
        separator: char,
        digits: usize,
        trims: bool,
    },
}

/// The elements by their text. Of two that begin alike the longer one stands first.
const ELEMENTS: [(&str, Element); 33] = [
    ("January", Element::LongMonth),
    ("Monday", Element::LongWeekday),
    ("MST", Element::Zone),
    ("002", Element::ZeroYearDay),
    ("01", Element::ZeroMonth),
    ("02", Element::ZeroDay),
    ("03", Element::ZeroHour12),
    ("04", Element::ZeroMinute),
    ("05", Element::ZeroSecond),
    ("06", Element::Year),
    ("15", Element::Hour),
    ("1", Element::NumMonth),
    ("2006", Element::LongYear),
    ("2", Element::Day),
    ("__2", Element::UnderYearDay),
    ("_2", Element::UnderDay),
    ("3", Element::Hour12),
    ("4", Element::Minute),
    ("5", Element::Second),
    ("PM", Element::UpperHalf),
    ("pm", Element::LowerHalf),
    ("-07:00:00", Element::Offset("+00:00:00")),
    ("-070000", Element::Offset("+000000")),
    ("-07:00", Element::Offset("+00:00")),
    ("-0700", Element::Offset("+0000")),
    ("-07", Element::Offset("+00")),
    ("Z07:00:00", Element::Offset("Z")),
    ("Z070000", Element::Offset("Z")),
    ("Z07:00", Element::Offset("Z")),
    ("Z0700", Element::Offset("Z")),
    ("Z07", Element::Offset("Z")),
    // The short names, which yield to words that go on in lower case.
    ("Jan", Element::Month),
    ("Mon", Element::Weekday),
];

/// The element at the start of `rest` and its length.
fn element(rest: &str) -> Option<(Element, usize)> {
    if let Some(fraction) = fraction(rest) {
        return Some(fraction);
    }
    // `_2006` is an underscore and a year.
    if rest.starts_with("_2006") {
        return None;
    }
    let (text, element) = (ELEMENTS.iter()).find(|(text, element)| {
        let goes_on = || {
            let behind = rest.get(text.len()..).unwrap_or_default();
            behind.starts_with(|next: char| next.is_ascii_lowercase())
        };
        let is_short = matches!(element, Element::Month | Element::Weekday);
        rest.starts_with(text) && !(is_short && goes_on())
    })?;
    Some((*element, text.len()))
}

/// `.000`, `,000`, `.999` or `,999`, of any number of digits with none behind.
fn fraction(rest: &str) -> Option<(Element, usize)> {
    let separator = rest
        .chars()
        .next()
        .filter(|first| matches!(first, '.' | ','))?;
    let behind = rest.get(1..)?;
    let digit = behind
        .chars()
        .next()
        .filter(|next| matches!(next, '0' | '9'))?;
    let after = behind.trim_start_matches(digit);
    if after.starts_with(|next: char| next.is_ascii_digit()) {
        return None;
    }
    let digits = behind.len() - after.len();
    let fraction = Element::Fraction {
        separator,
        digits,
        trims: digit == '9',
    };
    Some((fraction, digits + 1))
}

/// The name of a month, 1 being January; Go's form of what is none.
pub(super) fn month_name(month: i64) -> String {
    match usize::try_from(month - 1)
        .ok()
        .and_then(|index| MONTHS.get(index))
    {
        Some(name) => (*name).to_owned(),
        None => format!("%!Month({})", month as u64),
    }
}

/// The name of a day of the week, 0 being Sunday; Go's form of what is none.
pub(super) fn weekday_name(weekday: i64) -> String {
    match usize::try_from(weekday)
        .ok()
        .and_then(|index| WEEKDAYS.get(index))
    {
        Some(name) => (*name).to_owned(),
        None => format!("%!Weekday({})", weekday as u64),
    }
}

/// A duration as Go writes it: `1h0m0.5s`, `250ms`, `0s`.
pub(super) fn duration_text(nanoseconds: i64) -> String {
    let magnitude = nanoseconds.unsigned_abs();
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let decimal = |unit: u64| {
        let digits = unit.ilog10() as usize;
        let fraction = format!("{:0digits$}", magnitude % unit);
        match fraction.trim_end_matches('0') {
            "" => (magnitude / unit).to_string(),
            fraction => format!("{}.{fraction}", magnitude / unit),
        }
    };
    match magnitude {
        0 => return "0s".to_owned(),
        1..1_000 => return format!("{sign}{magnitude}ns"),
        1_000..1_000_000 => return format!("{sign}{}µs", decimal(1_000)),
        1_000_000..1_000_000_000 => return format!("{sign}{}ms", decimal(1_000_000)),
        _ => {}
    }
    let minute = 60 * SECOND as u64;
    let seconds = magnitude % minute;
    let (hours, minutes) = (magnitude / minute / 60, magnitude / minute % 60);
    let mut text = sign.to_owned();
    let mut push = |number: u64, unit: char| {
        write!(text, "{number}{unit}").expect("writing to a string does not fail");
    };
    if hours > 0 {
        push(hours, 'h');
    }
    if hours > 0 || minutes > 0 {
        push(minutes, 'm');
    }
    let fraction = format!("{:09}", seconds % SECOND as u64);
    let whole = seconds / SECOND as u64;
    match fraction.trim_end_matches('0') {
        "" => push(whole, 's'),
        fraction => {
            write!(text, "{whole}.{fraction}s").expect("writing to a string does not fail");
        }
    }
    text
}

/// Rounds a duration to a multiple of `unit`, half away from zero; `truncates` cuts instead. A
/// result that does not fit becomes the largest or smallest duration.
pub(super) fn round_duration(nanoseconds: i64, unit: i64, truncates: bool) -> i64 {
    if unit <= 0 {
        return nanoseconds;
    }
    let (value, unit) = (i128::from(nanoseconds), i128::from(unit));
    let rest = value % unit;
    let cut = value - rest;
    let rounded = if truncates || rest.abs() * 2 < unit {
        cut
    } else {
        cut + unit * rest.signum()
    };
    rounded.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}
