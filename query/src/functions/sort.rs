//! Orders of an instant vector's elements.

use std::cmp::Ordering;

use narthex_storage::Labels;

/// Ascending, NaN last; descending, NaN last.
pub(crate) fn by_value(a: f64, b: f64, descending: bool) -> Ordering {
    a.is_nan().cmp(&b.is_nan()).then_with(|| {
        let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
        if descending { order.reverse() } else { order }
    })
}

/// By the values of the named labels, digits compared as numbers; then by all labels.
pub(crate) fn by_labels(a: &Labels, b: &Labels, names: &[String]) -> Ordering {
    for name in names {
        let (a, b) = (a.get(name).unwrap_or(""), b.get(name).unwrap_or(""));
        let order = natural(a, b);
        if order != Ordering::Equal {
            return order;
        }
    }
    a.cmp(b)
}

/// Compares texts piece by piece: runs of digits as numbers, the rest byte by byte.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() && !b.is_empty() {
        let (left, right) = (piece(a), piece(b));
        let order = if left[0].is_ascii_digit() && right[0].is_ascii_digit() {
            let (x, y) = (significant(left), significant(right));
            // More digits are a larger number; of equal numbers the one with fewer zeros first.
            x.len()
                .cmp(&y.len())
                .then_with(|| x.cmp(y))
                .then_with(|| left.len().cmp(&right.len()))
        } else {
            left.cmp(right)
        };
        if order != Ordering::Equal {
            return order;
        }
        a = &a[left.len()..];
        b = &b[right.len()..];
    }
    a.len().cmp(&b.len())
}

/// The leading run of digits, or of anything else.
fn piece(text: &[u8]) -> &[u8] {
    let is_number = text[0].is_ascii_digit();
    let end = text
        .iter()
        .position(|byte| byte.is_ascii_digit() != is_number)
        .unwrap_or(text.len());
    &text[..end]
}

/// Digits without leading zeros.
fn significant(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_compare_as_numbers() {
        let mut texts = ["cpu10", "cpu9", "cpu", "cpu09", "1.10", "1.9", ""];
        texts.sort_by(|a, b| natural(a, b));
        assert_eq!(texts, ["", "1.9", "1.10", "cpu", "cpu9", "cpu09", "cpu10"]);
    }
}
