//! Parameters of a request: where they come from and what their texts mean.
//!
//! The query string and a form body are merged, the body first; of a `multipart/form-data` body the
//! query string comes first. What does not decode is left out and remembered, for some endpoints
//! refuse such a request and others do not look.

use std::time::Duration;

use narthex_query::parse_duration;
use narthex_storage::Timestamp;

use super::error::ApiError;

/// The longest form body, in bytes; Go's limit, so Prometheus's.
pub(crate) const FORM_BYTES_MAX: usize = 10 << 20;

/// The parameters of a request, in order: the first value of a name counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
    problem: Option<String>,
}

impl Params {
    /// Adds the pairs of a query string or form body.
    pub(crate) fn add(&mut self, text: &[u8]) {
        for pair in text.split(|byte| *byte == b'&') {
            if pair.is_empty() {
                continue;
            }
            if pair.contains(&b';') {
                self.note("invalid semicolon separator in query");
                continue;
            }
            let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &[][..]),
            };
            match (unescape(name), unescape(value)) {
                (Ok(name), Ok(value)) => self.pairs.push((name, value)),
                (Err(bad), _) | (_, Err(bad)) => {
                    self.note(&format!("invalid URL escape {bad:?}"));
                }
            }
        }
    }

    /// Adds names and values that need no decoding.
    pub(crate) fn extend(&mut self, pairs: Vec<(String, String)>) {
        self.pairs.extend(pairs);
    }

    /// Remembers the first thing that was wrong.
    pub(crate) fn note(&mut self, problem: &str) {
        self.problem.get_or_insert_with(|| problem.to_owned());
    }

    /// The first value of `name`, empty when there is none.
    pub(crate) fn first(&self, name: &str) -> &str {
        let found = self.pairs.iter().find(|(candidate, _)| candidate == name);
        found.map_or("", |(_, value)| value)
    }

    /// All values of `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs
            .iter()
            .filter(move |(candidate, _)| candidate == name)
            .map(|(_, value)| value.as_str())
    }

    /// Fails when something did not decode; for the endpoints that look.
    pub(crate) fn check_form(&self) -> Result<(), ApiError> {
        match &self.problem {
            Some(problem) => Err(ApiError::bad_data(format!(
                "error parsing form values: {problem}"
            ))),
            None => Ok(()),
        }
    }

    /// `limit` of queries and label reads; 0 is no limit.
    pub(crate) fn limit(&self) -> Result<usize, ApiError> {
        let text = self.first("limit");
        if text.is_empty() {
            return Ok(0);
        }
        match parse_integer(text) {
            Ok(limit) => usize::try_from(limit)
                .map_err(|_| ApiError::parameter("limit", "limit must be non-negative")),
            Err(problem) => Err(ApiError::parameter(
                "limit",
                format!("strconv.Atoi: {problem}"),
            )),
        }
    }

    /// A switch that is off when it is missing, read as Go's `strconv.ParseBool` does; the error is
    /// the text that is none.
    pub(crate) fn boolean(&self, name: &str) -> Result<bool, &str> {
        match self.first(name) {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
            "" | "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
            other => Err(other),
        }
    }

    /// A time that must be there.
    pub(crate) fn time(&self, name: &str) -> Result<Instant, ApiError> {
        let text = self.first(name);
        parse_time(text).ok_or_else(|| ApiError::parameter(name, not_a_time(text)))
    }

    /// A time that may be missing.
    pub(crate) fn time_or(&self, name: &str, default: Instant) -> Result<Instant, ApiError> {
        let text = self.first(name);
        if text.is_empty() {
            return Ok(default);
        }
        parse_time(text).ok_or_else(|| {
            let problem = not_a_time(text);
            ApiError::parameter(name, format!("invalid time value for '{name}': {problem}"))
        })
    }
}

fn not_a_time(text: &str) -> String {
    format!(
        "cannot parse {} to a valid timestamp",
        quote(text.as_bytes())
    )
}

/// `text` in double quotes as Go's `%q` prints it.
pub(crate) fn quote(text: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::from("\"");
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\u{7}' => out.push_str("\\a"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{b}' => out.push_str("\\v"),
                '\0'..='\u{1f}' | '\u{7f}' => {
                    write!(out, "\\x{:02x}", u32::from(character)).expect("strings take writes");
                }
                _ => out.push(character),
            }
        }
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}").expect("strings take writes");
        }
    }
    out.push('"');
    out
}

/// Decodes `+` and `%41`; the error is the bad escape. Bytes that are not UTF-8 become U+FFFD.
fn unescape(text: &[u8]) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut index = 0;
    while let Some(byte) = text.get(index) {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let escape = text.get(index..(index + 3).min(text.len())).unwrap_or(b"%");
                let byte = hex_escape(escape)
                    .ok_or_else(|| String::from_utf8_lossy(escape).into_owned())?;
                bytes.push(byte);
                index += 2;
            }
            byte => bytes.push(*byte),
        }
        index += 1;
    }
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn hex_escape(escape: &[u8]) -> Option<u8> {
    let [b'%', high, low] = escape else {
        return None;
    };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    Some((digit(high)? * 16 + digit(low)?) as u8)
}

/// A whole number in decimal, as Go's `strconv` reads and refuses it.
pub(crate) fn parse_integer(text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "parsing {}: invalid syntax",
            quote(text.as_bytes())
        ));
    }
    text.parse()
        .map_err(|_| format!("parsing {}: value out of range", quote(text.as_bytes())))
}

/// A point in time as Go's `time.Time` holds it: seconds since the epoch, of any magnitude, and
/// nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant {
    seconds: i64,
    nanoseconds: u32,
}

impl Instant {
    /// The earliest time that Prometheus names, the default of `start`.
    pub(crate) const MIN: Self = Self {
        seconds: i64::MIN / 1000 + 62_135_596_801,
        nanoseconds: 0,
    };

    /// The latest time that Prometheus names, the default of `end`.
    pub(crate) const MAX: Self = Self {
        seconds: i64::MAX / 1000 - 62_135_596_801,
        nanoseconds: 999_999_999,
    };

    /// From milliseconds since the epoch.
    pub(crate) const fn from_milliseconds(time: Timestamp) -> Self {
        Self {
            seconds: time.div_euclid(1000),
            nanoseconds: time.rem_euclid(1000) as u32 * 1_000_000,
        }
    }

    /// Go's `time.Unix`: nanoseconds of any size are carried over.
    const fn from_parts(seconds: i64, nanoseconds: i64) -> Self {
        Self {
            seconds: seconds.wrapping_add(nanoseconds.div_euclid(1_000_000_000)),
            nanoseconds: nanoseconds.rem_euclid(1_000_000_000) as u32,
        }
    }

    /// Milliseconds since the epoch for label and series reads. Wraps where Go's arithmetic does.
    pub(crate) const fn milliseconds(self) -> Timestamp {
        self.seconds
            .wrapping_mul(1000)
            .wrapping_add((self.nanoseconds / 1_000_000) as i64)
    }

    /// Milliseconds since the epoch for evaluations, which Prometheus computes by way of 64-bit
    /// nanoseconds: outside the years 1678 to 2262 the result wraps, as there.
    pub(crate) const fn evaluation_milliseconds(self) -> Timestamp {
        self.seconds
            .wrapping_mul(1_000_000_000)
            .wrapping_add(self.nanoseconds as i64)
            / 1_000_000
    }

    /// Seconds since the epoch, as Go's client prints them.
    pub(crate) fn as_seconds(self) -> f64 {
        self.seconds as f64 + f64::from(self.nanoseconds) / 1e9
    }

    /// `nanoseconds` later, or earlier when they are negative.
    pub(crate) const fn plus_nanoseconds(self, nanoseconds: i64) -> Self {
        let (whole, rest) = (
            nanoseconds.div_euclid(1_000_000_000),
            nanoseconds.rem_euclid(1_000_000_000),
        );
        Self::from_parts(
            self.seconds.wrapping_add(whole),
            self.nanoseconds as i64 + rest,
        )
    }

    /// A time on a command line or in a test file: seconds since the epoch as a float, or RFC 3339.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let parsed = match parse_go_float(text) {
            Some(seconds) => {
                let whole = seconds.trunc();
                let nanoseconds = (seconds - whole) * 1e9;
                Some(Self::from_parts(go_int(whole), go_int(nanoseconds)))
            }
            None => parse_rfc3339(text),
        };
        parsed.ok_or_else(|| not_a_time(text))
    }

    /// Nanoseconds from `earlier` to `self`; stays at the ends of the 64-bit range.
    pub(crate) fn nanoseconds_since(self, earlier: Self) -> i64 {
        let total =
            |time: Self| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
        let difference = total(self) - total(earlier);
        i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
    }
}

/// Seconds since the epoch as a float of any magnitude, or RFC 3339, or one of the two texts that
/// Prometheus prints for the ends of time.
fn parse_time(text: &str) -> Option<Instant> {
    if let Some(seconds) = parse_go_float(text) {
        let whole = seconds.trunc();
        let fraction = ((seconds - whole) * 1000.0).round() / 1000.0;
        return Some(Instant::from_parts(go_int(whole), go_int(fraction * 1e9)));
    }
    match text {
        "-292273086-05-16T16:47:06Z" => Some(Instant::MIN),
        "292277025-08-18T07:12:54.999999999Z" => Some(Instant::MAX),
        _ => parse_rfc3339(text),
    }
}

/// Go's conversion from float to int64 on amd64: what does not fit is the smallest integer.
fn go_int(value: f64) -> i64 {
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value) {
        value as i64
    } else {
        i64::MIN
    }
}

/// A float as Go's `strconv.ParseFloat` reads it; `None` also for what is out of range.
fn parse_go_float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if ["inf", "infinity"]
        .iter()
        .any(|name| unsigned.eq_ignore_ascii_case(name))
    {
        let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
        return Some(sign * f64::INFINITY);
    }
    if text.eq_ignore_ascii_case("nan") {
        return Some(f64::NAN);
    }
    if unsigned.starts_with("0x") || unsigned.starts_with("0X") {
        let value = parse_hexadecimal_float(&unsigned.as_bytes()[2..])?;
        return Some(if text.starts_with('-') { -value } else { value });
    }
    // Rust's parser takes the same decimal forms but for underscores between digits.
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    let value: f64 = if text.contains('_') {
        let bytes = text.as_bytes();
        let is_digit = |index: Option<usize>| {
            index
                .and_then(|index| bytes.get(index))
                .is_some_and(u8::is_ascii_digit)
        };
        let between_digits = (0..bytes.len())
            .filter(|index| bytes[*index] == b'_')
            .all(|index| is_digit(index.checked_sub(1)) && is_digit(Some(index + 1)));
        if !between_digits {
            return None;
        }
        text.replace('_', "").parse().ok()?
    } else {
        text.parse().ok()?
    };
    value.is_finite().then_some(value)
}

/// What follows `0x` in a float such as `0x1.8p3`: the exponent of two must be there, and an
/// underscore stands before a digit, behind a digit or the prefix.
fn parse_hexadecimal_float(text: &[u8]) -> Option<f64> {
    let power = text
        .iter()
        .position(|byte| byte.eq_ignore_ascii_case(&b'p'))?;
    let (digits, exponent) = (&text[..power], &text[power + 1..]);
    let (mut mantissa, mut shift, mut count) = (0_u64, 0_i64, 0);
    let mut in_fraction = false;
    let mut before = b'0';
    for (index, byte) in digits.iter().enumerate() {
        match (*byte, char::from(*byte).to_digit(16)) {
            (_, Some(digit)) => {
                count += 1;
                if mantissa >> 60 == 0 {
                    mantissa = mantissa << 4 | u64::from(digit);
                    shift -= if in_fraction { 4 } else { 0 };
                } else {
                    // Only whether anything follows decides how the last bit is rounded.
                    mantissa |= u64::from(digit != 0);
                    shift += if in_fraction { 0 } else { 4 };
                }
            }
            (b'.', _) if !in_fraction => in_fraction = true,
            (b'_', _)
                if before.is_ascii_hexdigit()
                    && digits.get(index + 1).is_some_and(u8::is_ascii_hexdigit) => {}
            _ => return None,
        }
        before = *byte;
    }
    let exponent = std::str::from_utf8(exponent).ok()?;
    let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let between_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if count == 0 || !unsigned.split('_').all(between_digits) {
        return None;
    }
    // Far beyond every float, so that sums stay small.
    let magnitude = unsigned.replace('_', "").parse().unwrap_or(100_000_i64);
    let magnitude = magnitude.min(100_000);
    let mut power = shift
        + if exponent.starts_with('-') {
            -magnitude
        } else {
            magnitude
        };
    let mut value = mantissa as f64;
    while power != 0 && value != 0.0 && value.is_finite() {
        let step = power.clamp(-500, 500);
        value *= 2.0_f64.powi(step as i32);
        power -= step;
    }
    value.is_finite().then_some(value)
}

/// `2006-01-02T15:04:05.999999999Z07:00`, as strictly as Go reads it.
fn parse_rfc3339(text: &str) -> Option<Instant> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = bytes.get(from..to)?;
        digits.iter().try_fold(0, |value, digit| {
            digit
                .is_ascii_digit()
                .then(|| value * 10 + i64::from(digit - b'0'))
        })
    };
    let at = |index: usize, expected: u8| (bytes.get(index) == Some(&expected)).then_some(());
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    at(4, b'-')?;
    at(7, b'-')?;
    at(10, b'T')?;
    at(13, b':')?;
    at(16, b':')?;
    let mut rest = bytes.get(19..)?;
    let mut nanoseconds = 0;
    if let [b'.' | b',', tail @ ..] = rest {
        let digits = tail.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        for place in 0..9 {
            let digit = tail.get(place).filter(|_| place < digits);
            nanoseconds = nanoseconds * 10 + digit.map_or(0, |digit| i64::from(digit - b'0'));
        }
        rest = tail.get(digits..)?;
    }
    let zone_seconds = match rest {
        [b'Z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let start = bytes.len() - 5;
            let (hours, minutes) = (number(start, start + 2)?, number(start + 3, start + 5)?);
            if hours > 24 || minutes > 60 {
                return None;
            }
            let seconds = hours * 3600 + minutes * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    let date = jiff::civil::Date::new(
        i16::try_from(year).ok()?,
        i8::try_from(month).ok()?,
        i8::try_from(day).ok()?,
    )
    .ok()?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let epoch = jiff::civil::Date::constant(1970, 1, 1);
    let days = i64::from((date - epoch).get_days());
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - zone_seconds;
    Some(Instant::from_parts(seconds, nanoseconds))
}

/// A duration in nanoseconds: float seconds, or Prometheus's notation.
pub(crate) fn parse_nanoseconds(text: &str) -> Result<i64, String> {
    let not_a_duration = || {
        format!(
            "cannot parse {} to a valid duration",
            quote(text.as_bytes())
        )
    };
    if let Some(seconds) = parse_go_float(text) {
        let nanoseconds = seconds * 1e9;
        if nanoseconds.abs() > 9_223_372_036_854_775_808.0 {
            return Err(format!("{}. It overflows int64", not_a_duration()));
        }
        return Ok(go_int(nanoseconds));
    }
    parse_duration(text)
        .map(|duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
        .map_err(|_| not_a_duration())
}

/// Undoes the `U__` escaping of label names in paths; what is not such an escape stays as it is.
///
/// Source: Prometheus's UTF-8 names in URLs, observed in 3.5.3.
pub(crate) fn unescape_name(name: &str) -> String {
    fn decode(escaped: &str) -> Option<String> {
        let mut out = String::with_capacity(escaped.len());
        let mut rest = escaped;
        while let Some((before, after)) = rest.split_once('_') {
            out.push_str(before);
            if let Some(after) = after.strip_prefix('_') {
                out.push('_');
                rest = after;
                continue;
            }
            let (code, after) = after.split_once('_')?;
            if code.len() > 5 || !code.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return None;
            }
            out.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
            rest = after;
        }
        out.push_str(rest);
        Some(out)
    }
    name.strip_prefix("U__")
        .and_then(decode)
        .unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(text: &str) -> Params {
        let mut params = Params::default();
        params.add(text.as_bytes());
        params
    }

    #[test]
    fn a_body_comes_before_the_query_string() {
        let mut both = params("query=2&match[]=a");
        both.add(b"query=1&match%5B%5D=b+c");
        assert_eq!(both.first("query"), "2");
        assert_eq!(both.all("match[]").collect::<Vec<_>>(), ["a", "b c"]);
        assert_eq!(both.first("time"), "");
        assert_eq!(both.check_form(), Ok(()));
    }

    #[test]
    fn what_does_not_decode_is_left_out_and_remembered() {
        let check = |text: &str, problem: &str| {
            let params = params(text);
            assert_eq!(params.first("a"), "1");
            assert_eq!(
                params.check_form().unwrap_err().message,
                format!("error parsing form values: {problem}")
            );
        };
        check("a=1&b=%zz", r#"invalid URL escape "%zz""#);
        check("a=1&b=%4", r#"invalid URL escape "%4""#);
        check("b=1;2&a=1", "invalid semicolon separator in query");
    }

    /// Evaluation times as Prometheus 3.5.3 prints them in the answer of `query=1`.
    #[test]
    fn times_of_any_magnitude_are_read_as_go_reads_them() {
        let check = |text: &str, milliseconds: Option<i64>| {
            assert_eq!(
                parse_time(text).map(Instant::evaluation_milliseconds),
                milliseconds,
                "{text}"
            );
        };
        check("4", Some(4_000));
        check("1.0006", Some(1_001));
        check("-1.0006", Some(-1_001));
        check("1_0", Some(10_000));
        check("1e300", Some(0));
        check("9223372036854775807", Some(0));
        check("NaN", Some(-9_223_372_036_854));
        check("-62135596800.5", Some(-6_795_364_579_371));
        check("2020-01-01T00:00:00.1234+01:00", Some(1_577_833_200_123));
        check("1970-01-01T00:00:01Z", Some(1_000));
        check("0x10", None);
        check("0x1p4", Some(16_000));
        check("-0X1P+4", Some(-16_000));
        check("0x1.8p-2", Some(375));
        check("0x1_0p4", Some(256_000));
        check("0x1P1_0", Some(1_024_000));
        check("0xffffffffffffffffffp-72", Some(1_000));
        check("0x.p0", None);
        check("0x1__0p4", None);
        check("0x1p", None);
        check("0x1p9999", None);
        check("_1", None);
        check("1__0", None);
        check("1e400", None);
        check("abc", None);
        check("", None);
        check("2020-01-01", None);
        check("2020-02-30T00:00:00Z", None);
        check("2020-01-01T24:00:00Z", None);
        check("2020-01-01t00:00:00Z", None);
        check("2020-01-01T00:00:00.Z", None);
    }

    #[test]
    fn milliseconds_are_not_cut_where_only_evaluations_are() {
        assert_eq!(
            parse_time("1795228739708").unwrap().milliseconds(),
            1_795_228_739_708_000
        );
        assert_eq!(parse_time("-292273086-05-16T16:47:06Z"), Some(Instant::MIN));
        assert!(Instant::MIN.milliseconds() < -9_000_000_000_000_000);
        assert!(Instant::MAX.milliseconds() > 9_000_000_000_000_000);
    }

    #[test]
    fn durations_are_float_seconds_or_units() {
        let check = |text: &str, expected: Result<i64, &str>| {
            assert_eq!(
                parse_nanoseconds(text),
                expected.map_err(str::to_owned),
                "{text}"
            );
        };
        check("0.5", Ok(500_000_000));
        check("-1", Ok(-1_000_000_000));
        check("1m30s", Ok(90_000_000_000));
        check("NaN", Ok(i64::MIN));
        check("c", Err("cannot parse \"c\" to a valid duration"));
        check("", Err("cannot parse \"\" to a valid duration"));
        check(
            "1e300",
            Err("cannot parse \"1e300\" to a valid duration. It overflows int64"),
        );
    }

    #[test]
    fn limits_are_whole_and_not_negative() {
        let check = |text: &str, expected: Result<usize, &str>| {
            assert_eq!(
                params(text).limit().map_err(|error| error.message),
                expected.map_err(Into::into)
            );
        };
        check("", Ok(0));
        check("limit=40000", Ok(40_000));
        check(
            "limit=-1",
            Err("invalid parameter \"limit\": limit must be non-negative"),
        );
        check(
            "limit=x",
            Err("invalid parameter \"limit\": strconv.Atoi: parsing \"x\": invalid syntax"),
        );
        check(
            "limit=99999999999999999999",
            Err(
                "invalid parameter \"limit\": strconv.Atoi: parsing \"99999999999999999999\": value out of range",
            ),
        );
    }

    #[test]
    fn escaped_names_in_paths_are_undone() {
        for (escaped, name) in [
            ("job", "job"),
            ("U__job", "job"),
            ("U__a_2e_b", "a.b"),
            ("U__a__b", "a_b"),
            ("U__a_zz_b", "U__a_zz_b"),
            ("U__a_2e", "U__a_2e"),
            ("U__a_d800_", "U__a_d800_"),
        ] {
            assert_eq!(unescape_name(escaped), name);
        }
    }

    #[test]
    fn quoting_is_gos() {
        assert_eq!(quote(b"a\"\\\n\x01\xff"), r#""a\"\\\n\x01\xff""#);
    }
}
