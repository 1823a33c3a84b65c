//! A cursor over bytes from outside, and varints.

use std::path::Path;

use crate::Corruption;

/// Bytes that are not what an encoder writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub(crate) struct CodecError {
    /// What should have been there.
    pub(crate) expected: &'static str,
}

impl CodecError {
    /// The same, as damage of the bytes at `offset` of `file`.
    pub(crate) fn at(self, file: &Path, offset: u64) -> Corruption {
        Corruption {
            file: file.to_owned(),
            offset,
            expected: self.expected.to_owned(),
            found: "other bytes".to_owned(),
        }
    }
}

/// Reads from the front of a slice; what is not there is an error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `len` bytes; `expected` says what they should be.
    #[inline]
    pub(crate) fn take(
        &mut self,
        len: usize,
        expected: &'static str,
    ) -> Result<&'a [u8], CodecError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(CodecError { expected })?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    #[inline]
    pub(crate) fn array<const N: usize>(
        &mut self,
        expected: &'static str,
    ) -> Result<[u8; N], CodecError> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(CodecError { expected })?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self, expected: &'static str) -> Result<u8, CodecError> {
        self.array::<1>(expected).map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self, expected: &'static str) -> Result<u32, CodecError> {
        self.array(expected).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, expected: &'static str) -> Result<u64, CodecError> {
        self.array(expected).map(u64::from_le_bytes)
    }

    /// A number in groups of seven bits, the lowest first.
    #[inline]
    pub(crate) fn varint(&mut self, expected: &'static str) -> Result<u64, CodecError> {
        // Most are one or two bytes.
        match *self.rest {
            [byte @ 0..=0x7f, ref rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            [low @ 0x80..=0xff, high @ 0..=0x7f, ref rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(low & 0x7f) | u64::from(high) << 7)
            }
            _ => self.long_varint(expected),
        }
    }

    fn long_varint(&mut self, expected: &'static str) -> Result<u64, CodecError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(expected)?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(CodecError { expected })
    }

    /// Steps over so many numbers that [`Cursor::varint`] reads, however long they are.
    pub(crate) fn skip_varints(
        &mut self,
        count: usize,
        expected: &'static str,
    ) -> Result<(), CodecError> {
        let mut left = count;
        let ends = |byte: &u8| {
            left -= usize::from(*byte < 0x80);
            left == 0
        };
        if count > 0 {
            let last = self.rest.iter().position(ends);
            self.take(last.ok_or(CodecError { expected })? + 1, expected)?;
        }
        Ok(())
    }

    /// Nothing may be left.
    pub(crate) fn end(&self) -> Result<(), CodecError> {
        self.rest.is_empty().then_some(()).ok_or(CodecError {
            expected: "the end of the encoded bytes",
        })
    }

    #[inline]
    pub(crate) fn zigzag(&mut self, expected: &'static str) -> Result<i64, CodecError> {
        self.varint(expected).map(unzigzag)
    }
}

/// Appends a number in groups of seven bits, the lowest first.
pub(crate) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_zigzag(value: i64, out: &mut Vec<u8>) {
    put_varint(zigzag(value), out);
}

/// Small numbers of either sign to small numbers: 0, -1, 1, -2 … to 0, 1, 2, 3 …
pub(crate) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub(crate) const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
