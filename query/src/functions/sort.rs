//! Orders of an instant vector's elements.

use narthex_storage::Labels;

/// Whether one number comes before another in Prometheus's order, NaN last. Of two NaNs each comes before the other.
pub(crate) fn is_value_before(a: f64, b: f64, descending: bool) -> bool {
    b.is_nan() || if descending { a > b } else { a < b }
}

/// Whether labels come before others in the order of the values of the named ones, then of all labels.
pub(crate) fn are_labels_before(
    a: &Labels,
    b: &Labels,
    names: &[String],
    descending: bool,
) -> bool {
    for name in names {
        let (a, b) = (a.get(name).unwrap_or(""), b.get(name).unwrap_or(""));
        if a != b {
            return is_text_before(a, b) != descending;
        }
    }
    if descending { b < a } else { a < b }
}

/// Compares texts piece by piece: runs of digits as numbers, the rest byte by byte. An empty text is behind every
/// other, and every other behind it; of texts that differ only in zeros before a number each is before the other.
///
/// **Source**: what Prometheus's library for natural order does.
fn is_text_before(mut a: &str, mut b: &str) -> bool {
    while !a.is_empty() && !b.is_empty() {
        let (left, right);
        (left, a) = piece(a);
        (right, b) = piece(b);
        match (left.parse::<i64>(), right.parse::<i64>()) {
            (Ok(left), Ok(right)) if left != right => return left < right,
            (Ok(_), Ok(_)) => {}
            _ if left != right => return left < right,
            _ => {}
        }
        if a.is_empty() {
            return true;
        }
    }
    false
}

/// The leading run of digits, or of anything else, and the rest.
fn piece(text: &str) -> (&str, &str) {
    let is_number = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != is_number);
    text.split_at(end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_compare_as_numbers() {
        // Ascending; Prometheus 3.5 sorts single series with these values so.
        let texts = [
            "1.9",
            "1.10",
            "99999999999999999999",
            "cpu",
            "cpu9",
            "cpu10",
            "cpux",
        ];
        for (index, text) in texts.iter().enumerate() {
            for (other, before) in texts.iter().enumerate() {
                let expected = other < index;
                if other != index {
                    assert_eq!(is_text_before(before, text), expected, "{before} {text}");
                }
            }
        }
        assert!(is_text_before("cpu9", "cpu09") && is_text_before("cpu09", "cpu9"));
        assert!(!is_text_before("", "a") && !is_text_before("a", ""));
    }
}
