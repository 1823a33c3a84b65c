//! Go's numbers: constants of templates, and the texts that `strconv.ParseFloat` reads.
//!
//! Source: the Go language specification and the documentation of `strconv`.

/// A number in a template, with every kind of value that it can stand for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Number {
    /// As a whole number, if it is one.
    pub(super) int: Option<i64>,
    /// As a float; every number is one.
    pub(super) float: f64,
    /// Whether it is written as a float, with a point or an exponent.
    pub(super) is_float: bool,
    /// As written.
    pub(super) text: String,
}

impl Number {
    /// A character constant.
    pub(super) fn from_char(code: i64, text: &str) -> Self {
        Self {
            int: Some(code),
            float: code as f64,
            is_float: false,
            text: text.to_owned(),
        }
    }

    /// Reads a number that is neither imaginary nor complex.
    ///
    /// # Errors
    /// Go's words for what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let is_hex = matches!(text.as_bytes(), [b'0', b'x' | b'X', ..]);
        let has_float_part = if is_hex {
            text.contains(['p', 'P'])
        } else {
            text.contains(['.', 'e', 'E', 'p', 'P'])
        };
        if let Some(int) = parse_int(text) {
            return match i64::try_from(int) {
                Ok(int) => Ok(Self {
                    int: Some(int),
                    float: int as f64,
                    is_float: false,
                    text: text.to_owned(),
                }),
                // An unsigned number is accepted here and refused where an int is wanted.
                Err(_) if (0..=i128::from(u64::MAX)).contains(&int) => Ok(Self {
                    int: None,
                    float: int as f64,
                    is_float: false,
                    text: text.to_owned(),
                }),
                Err(_) => Err(format!("integer overflow: {}", super::quote::quote(text))),
            };
        }
        let Ok(float) = parse_float(text) else {
            return Err(format!(
                "illegal number syntax: {}",
                super::quote::quote(text)
            ));
        };
        if !text.contains(['.', 'e', 'E', 'p', 'P']) {
            return Err(format!("integer overflow: {}", super::quote::quote(text)));
        }
        let int = float as i64;
        Ok(Self {
            int: (int as f64 == float).then_some(int),
            float,
            is_float: has_float_part,
            text: text.to_owned(),
        })
    }
}

/// A whole number with sign, prefix (`0x`, `0o`, `0b`, or `0` for octal) and underscores.
fn parse_int(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if !underscores_are_fine(digits) {
        return None;
    }
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, digits.get(2..)?),
        [b'0', b'o' | b'O', ..] => (8, digits.get(2..)?),
        [b'0', b'b' | b'B', ..] => (2, digits.get(2..)?),
        [b'0', _, ..] => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    let mut value: i128 = 0;
    let mut any = false;
    for digit in digits.chars().filter(|digit| *digit != '_') {
        any = true;
        let digit = digit.to_digit(radix)?;
        // Far beyond 64 bits it stays where it is: an overflow, whatever its value.
        value = (value * i128::from(radix) + i128::from(digit)).min(1 << 100);
    }
    any.then_some(if negative { -value } else { value })
}

/// Underscores may stand between digits, and between a prefix and a digit.
fn underscores_are_fine(text: &str) -> bool {
    if !text.contains('_') {
        return true;
    }
    let bytes = text.as_bytes();
    let (mut last, digits, hex) = match bytes {
        [b'0', b'x' | b'X', rest @ ..] => (b'0', rest, true),
        [b'0', b'o' | b'O' | b'b' | b'B', rest @ ..] => (b'0', rest, false),
        _ => (b'^', bytes, false),
    };
    for byte in digits {
        let is_digit = byte.is_ascii_digit() || (hex && byte.is_ascii_hexdigit());
        last = match byte {
            _ if is_digit => b'0',
            b'_' if last == b'0' => b'_',
            b'_' => return false,
            _ if last == b'_' => return false,
            _ => b'!',
        };
    }
    last != b'_'
}

/// Why a text is not a float.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FloatError {
    /// Not the form of a number.
    Syntax,
    /// Larger than the largest float.
    Range,
}

/// Reads what Go's `strconv.ParseFloat` reads: decimal and hexadecimal numbers with underscores,
/// `inf`, `infinity` and `nan` in any case.
pub(super) fn parse_float(text: &str) -> Result<f64, FloatError> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => (true, unsigned),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if unsigned.eq_ignore_ascii_case("inf") || unsigned.eq_ignore_ascii_case("infinity") {
        return Ok(if negative {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        });
    }
    if text.eq_ignore_ascii_case("nan") {
        return Ok(f64::NAN);
    }
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        || !underscores_are_fine(unsigned)
    {
        return Err(FloatError::Syntax);
    }
    let digits = unsigned.replace('_', "");
    let hex = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"));
    let value = match hex {
        Some(hex) => parse_hex_float(hex)?,
        None => {
            let starts_well = digits.contains(|digit: char| digit.is_ascii_digit());
            if !starts_well || digits.contains(|c: char| !is_decimal(c)) {
                return Err(FloatError::Syntax);
            }
            digits.parse().map_err(|_| FloatError::Syntax)?
        }
    };
    if f64::is_infinite(value) {
        return Err(FloatError::Range);
    }
    Ok(if negative { -value } else { value })
}

fn is_decimal(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-')
}

/// `1.8p3` without its `0x`; the exponent is a must.
fn parse_hex_float(text: &str) -> Result<f64, FloatError> {
    let (mantissa, exponent) = text.split_once(['p', 'P']).ok_or(FloatError::Syntax)?;
    let exponent_digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if exponent_digits.is_empty() || !exponent_digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(FloatError::Syntax);
    }
    // An exponent of more digits than fit is as good as the largest.
    let exponent: i64 = exponent.parse().unwrap_or(if exponent.starts_with('-') {
        i64::from(i32::MIN)
    } else {
        i64::from(i32::MAX)
    });
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return Err(FloatError::Syntax);
    }
    let mut value: u64 = 0;
    let mut power = exponent.clamp(-100_000, 100_000) - 4 * fraction.len() as i64;
    for digit in whole.chars().chain(fraction.chars()) {
        let digit = digit.to_digit(16).ok_or(FloatError::Syntax)?;
        if value >> 58 == 0 {
            value = value << 4 | u64::from(digit);
        } else {
            // Digits beyond the 53 bits of a float only decide how it is rounded.
            power += 4;
            value |= u64::from(digit != 0);
        }
    }
    let mut value = value as f64;
    let mut power = power.clamp(-5000, 5000) as i32;
    while power != 0 && value != 0.0 && value.is_finite() {
        let step = power.clamp(-1000, 1000);
        value *= 2f64.powi(step);
        power -= step;
    }
    Ok(value)
}
