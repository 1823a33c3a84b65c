//! The text of a sample's value in JSON: a large answer prints millions of them.
//!
//! Three kinds of numbers are told apart, the cheapest first, and print the same as the last would print
//! them: whole ones below 2^53; those of at most six decimals below 10^9, which money, temperatures and
//! most measured times are; all others, by the shortest digits that read back to the same value.
//!
//! Why the second kind is right: `k / 10^6` with whole `k` below 10^15 is rounded once, so if it is the
//! value, `k`'s digits read back to it; and no two texts of at most 15 digits read back to the same
//! value, so that there is no shorter one.

/// From here on not every whole number is a float of its own: 2^53.
const WHOLE_END: f64 = 9_007_199_254_740_992.0;

/// `0` in each of eight bytes.
const ZEROS: u64 = 0x3030_3030_3030_3030;

/// Appends the text of `value` as [`crate::FloatStyle::Json`] has it, at most 25 bytes
/// (`-0.0000012345678901234567`).
pub(crate) fn push_json(out: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    // What is not a number, or too large, is not below.
    if magnitude < WHOLE_END {
        if value.is_sign_negative() {
            out.push(b'-');
        }
        let whole = magnitude as u64;
        if whole as f64 == magnitude {
            push_whole(out, whole);
        } else if let Some(millionths) = millionths(magnitude) {
            push_whole(out, millionths / 1_000_000);
            let decimals = eight_digits((millionths % 1_000_000 * 100) as u32);
            let length = 8 - decimals.leading_zeros() / 8;
            out.push(b'.');
            push_word(out, decimals | ZEROS, length as usize);
        } else {
            push_shortest(out, magnitude);
        }
    } else if magnitude.is_finite() {
        if value.is_sign_negative() {
            out.push(b'-');
        }
        push_shortest(out, magnitude);
    } else {
        out.extend_from_slice(match value {
            f64::INFINITY => b"+Inf",
            f64::NEG_INFINITY => b"-Inf",
            _ => b"NaN",
        });
    }
}

/// Appends the first `length` of the bytes of `word`, the lowest first: to write eight and cut is cheaper than
/// to write so many.
#[inline]
fn push_word(out: &mut Vec<u8>, word: u64, length: usize) {
    let end = out.len() + length;
    out.extend_from_slice(&word.to_le_bytes());
    out.truncate(end);
}

/// Appends a number below 10^16.
#[inline]
fn push_whole(out: &mut Vec<u8>, whole: u64) {
    const HALF: u64 = 100_000_000;
    if whole >= HALF {
        push_first_digits(out, (whole / HALF) as u32);
        push_word(out, eight_digits((whole % HALF) as u32) | ZEROS, 8);
    } else {
        push_first_digits(out, whole as u32);
    }
}

/// Appends a number below 10^8 without leading zeros.
#[inline]
fn push_first_digits(out: &mut Vec<u8>, whole: u32) {
    let digits = eight_digits(whole);
    // The last digit stays, whatever it is.
    let leading = (digits | 1 << 56).trailing_zeros() / 8;
    push_word(out, (digits | ZEROS) >> (8 * leading), 8 - leading as usize);
}

/// Appends a number above 0 by the shortest digits that read back to it.
fn push_shortest(out: &mut Vec<u8>, magnitude: f64) {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(magnitude).as_bytes();
    // `text` is `digits[.digits][e[-]exponent]`, with an exponent only far from 1.
    let end = if (1e-3..1e12).contains(&magnitude) {
        None
    } else {
        text.iter().position(|byte| *byte == b'e')
    };
    let Some(end) = end else {
        out.extend_from_slice(text.strip_suffix(b".0").unwrap_or(text));
        return;
    };
    let (mantissa, exponent) = (&text[..end], &text[end + 1..]);
    let (is_small, exponent) = match exponent {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    let power = exponent
        .iter()
        .fold(0, |power, digit| power * 10 + usize::from(digit - b'0'));
    let (first, rest) = mantissa.split_at(1);
    let rest = rest.strip_prefix(b".").unwrap_or(rest);
    let rest = rest.strip_suffix(b"0").unwrap_or(rest);
    if is_small && power <= 6 {
        out.extend_from_slice(&b"0.000000"[..=power]);
        out.extend_from_slice(first);
        out.extend_from_slice(rest);
    } else if !is_small && power < 21 {
        out.extend_from_slice(first);
        out.extend_from_slice(rest);
        out.extend_from_slice(&b"00000000000000000000"[..power - rest.len()]);
    } else {
        out.extend_from_slice(first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        out.extend_from_slice(if is_small { b"e-" } else { b"e+" });
        if exponent.len() == 1 {
            out.push(b'0');
        }
        out.extend_from_slice(exponent);
    }
}

/// The value in millionths, if it is a whole number of them below 10^15; it must not be negative.
#[inline]
fn millionths(value: f64) -> Option<u64> {
    const PARTS: f64 = 1e6;
    if value >= 1e9 {
        return None;
    }
    let scaled = value * PARTS;
    let parts = (scaled + 0.5) as u64;
    // A division is dear, and most numbers are far from a whole number of parts: both roundings together
    // move one that is by at most this much.
    if (scaled - parts as f64).abs() > scaled * f64::EPSILON {
        return None;
    }
    (parts as f64 / PARTS == value).then_some(parts)
}

/// The eight digits of a number below 10^8, each in a byte, the first in the lowest one.
#[inline]
fn eight_digits(number: u32) -> u64 {
    // Divisions by multiplication, two of four digits, four of two and eight of one side by side.
    let fours = u64::from(number / 10_000) | u64::from(number % 10_000) << 32;
    let hundreds = (fours * 10_486) >> 20 & 0x0000_007f_0000_007f;
    let twos = hundreds | (fours - hundreds * 100) << 16;
    let tens = (twos * 103) >> 10 & 0x000f_000f_000f_000f;
    tens | (twos - tens * 10) << 8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Go's `strconv.FormatFloat` as Prometheus's JSON calls it, from the shortest digits; of two that are as
    /// near the even one is taken, otherwise than in the standard library.
    fn naive(value: f64) -> String {
        if !value.is_finite() {
            let text = match value {
                f64::INFINITY => "+Inf",
                f64::NEG_INFINITY => "-Inf",
                _ => "NaN",
            };
            return text.to_owned();
        }
        let sign = if value.is_sign_negative() { "-" } else { "" };
        let shortest = zmij::Buffer::new().format_finite(value.abs()).to_owned();
        let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let digits = all.trim_start_matches('0');
        let leading = (all.len() - digits.len()) as i32;
        let digits = digits.trim_end_matches('0');
        if digits.is_empty() {
            return format!("{sign}0");
        }
        // The value is 0.digits * 10^point.
        let point = whole.len() as i32 + exponent.parse::<i32>().unwrap() - leading;
        if !(-5..=21).contains(&point) {
            let (first, rest) = digits.split_at(1);
            let dot = if rest.is_empty() { "" } else { "." };
            return format!("{sign}{first}{dot}{rest}e{:+03}", point - 1);
        }
        let zeros = "0".repeat(point.unsigned_abs() as usize);
        if point <= 0 {
            return format!("{sign}0.{zeros}{digits}");
        }
        let padded = format!("{digits}{zeros}");
        let (whole, _) = padded.split_at(point as usize);
        match digits.get(point as usize..) {
            Some(fraction) if !fraction.is_empty() => format!("{sign}{whole}.{fraction}"),
            _ => format!("{sign}{whole}"),
        }
    }

    fn printed(value: f64) -> String {
        let mut out = b"before".to_vec();
        push_json(&mut out, value);
        String::from_utf8(out.split_off(6)).unwrap()
    }

    fn check(value: f64) {
        for value in [value, -value, value.next_up(), value.next_down()] {
            assert_eq!(printed(value), naive(value), "{:x}", value.to_bits());
        }
    }

    #[test]
    fn numbers_at_the_edges_of_every_kind_print_alike() {
        for power in -330..=308 {
            let value: f64 = format!("1e{power}").parse().unwrap();
            check(value);
            check(value * 9.0);
            check(value / 3.0);
        }
        for power in 0..64 {
            check(2_f64.powi(power));
            check(2_f64.powi(-power));
            check(2_f64.powi(power) - 1.0);
            check(2_f64.powi(power) + 0.5);
        }
        for value in [
            0.0,
            f64::NAN,
            f64::INFINITY,
            f64::MAX,
            f64::MIN_POSITIVE,
            5e-324,
        ] {
            check(value);
        }
        for number in (0..100_000_000).step_by(9_973) {
            let digits = eight_digits(number) | ZEROS;
            assert_eq!(digits.to_le_bytes(), format!("{number:08}").as_bytes());
        }
    }

    proptest! {
        #[test]
        fn any_bits_print_alike(bits in any::<u64>()) {
            check(f64::from_bits(bits));
        }

        #[test]
        fn whole_numbers_and_decimals_print_alike(
            digits in 0..=10_000_000_000_000_000_u64,
            cut in 0..16_u32,
            decimals in 0..=20_i32,
        ) {
            let digits = (digits / 10_u64.pow(cut)) as f64;
            check(digits);
            check(digits / 10_f64.powi(decimals));
            check(digits * 10_f64.powi(decimals));
        }
    }
}
