//! A single value as a decimal: what constants are stored as outside of pages.

use super::values::{POWERS, as_integer};

/// The least exponent `e` (0 to 18) and the integer of at most 2^53 with `integer / 10^e == value`,
/// bit for bit.
pub(crate) fn to_decimal(value: f64) -> Option<(u8, i64)> {
    (POWERS.iter().enumerate())
        .find_map(|(exponent, power)| Some((exponent as u8, as_integer(value, *power)?)))
}

/// The value of an integer and an exponent; `None` when the exponent is above 18.
pub(crate) fn from_decimal(exponent: u8, integer: i64) -> Option<f64> {
    let power = POWERS.get(usize::from(exponent))?;
    Some(integer as f64 / power)
}
