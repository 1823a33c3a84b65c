//! Time columns: the timestamps that many series share.
//!
//! Layout: one byte (version in the high half, mode of the integer column in the low half), the
//! count as a varint, the integer column.

use super::{
    bytes::{CodecError, Cursor, put_varint},
    integers::{self, Integers, Mode},
};
use crate::Timestamp;

/// Most timestamps of a column.
pub(crate) const TIMES_MAX: usize = 1 << 16;

const VERSION: u8 = 1;

/// Appends a column of 1 to [`TIMES_MAX`] strictly rising timestamps in milliseconds.
///
/// # Panics
/// When there are none or too many, or when they do not rise strictly.
pub(crate) fn encode_times(times: &[Timestamp], out: &mut Vec<u8>) {
    assert!(
        (1..=TIMES_MAX).contains(&times.len()) && times.is_sorted_by(|a, b| a < b),
        "a time column has 1 to {TIMES_MAX} strictly rising timestamps"
    );
    let head = out.len();
    out.push(0);
    put_varint(times.len() as u64, out);
    let mode = integers::encode(times, out);
    if let Some(byte) = out.get_mut(head) {
        *byte = VERSION << 4 | mode.code();
    }
}

/// Appends the timestamps of a column to `out`, which grows by at most [`TIMES_MAX`]. The bytes must
/// hold the column and nothing else.
///
/// # Errors
/// [`CodecError`] when the bytes are not a column or its timestamps do not rise strictly; `out` is
/// then as before.
pub(crate) fn decode_times(bytes: &[u8], out: &mut Vec<Timestamp>) -> Result<(), CodecError> {
    let mut cursor = Cursor::new(bytes);
    let head = cursor.u8("the version of a time column")?;
    let mode = Mode::from_code(head & 0xf).filter(|_| head >> 4 == VERSION);
    let mode = mode.ok_or(CodecError {
        expected: "a time column of version 1 in a known mode",
    })?;
    let len = cursor.varint("the length of a time column")?;
    let len = usize::try_from(len)
        .ok()
        .filter(|len| (1..=TIMES_MAX).contains(len));
    let len = len.ok_or(CodecError {
        expected: "a time column of 1 to 65536 timestamps",
    })?;
    let column = Integers::parse(mode, len, cursor)?;
    let before = out.len();
    out.resize(before + len, 0);
    let decoded = match out.get_mut(before..) {
        Some(times) => column.decode(0, times, &()).map(|()| &*times),
        None => Ok(&[][..]),
    };
    let checked = decoded.and_then(|times| {
        let rising = times.is_sorted_by(|a, b| a < b);
        rising.then_some(()).ok_or(CodecError {
            expected: "strictly rising timestamps",
        })
    });
    if checked.is_err() {
        out.truncate(before);
    }
    checked
}
