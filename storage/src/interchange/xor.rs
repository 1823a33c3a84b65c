//! A chunk of numbers.

use super::bits::{BitWriter, XorValue};
use crate::{Timestamp, codec::zigzag};

/// Writes a chunk of numbers: the first time and value as they are, the second time against the first,
/// each further one by how much its distance to the one before changed.
#[derive(Debug)]
pub(super) struct FloatEncoder {
    out: BitWriter,
    samples: u16,
    newest: Timestamp,
    /// From the time before the newest to it.
    distance: u64,
    value: XorValue,
}

impl FloatEncoder {
    /// A chunk with its first sample.
    pub(super) fn new(time: Timestamp, value: f64) -> Self {
        let mut out = BitWriter::default();
        // The number of samples is set in the end.
        out.put(0, 16);
        out.put_byte_varint(zigzag(time));
        out.put(value.to_bits(), 64);
        Self {
            out,
            samples: 1,
            newest: time,
            distance: 0,
            value: XorValue::first(value),
        }
    }

    /// Adds a sample to a chunk that has fewer than 65,535.
    #[inline]
    pub(super) fn push(&mut self, time: Timestamp, value: f64) {
        let distance = time.wrapping_sub(self.newest) as u64;
        if self.samples == 1 {
            self.out.put_byte_varint(distance);
        } else {
            self.put_change(distance.wrapping_sub(self.distance) as i64);
        }
        self.value.put(value, &mut self.out);
        (self.newest, self.distance) = (time, distance);
        self.samples += 1;
    }

    #[inline]
    fn put_change(&mut self, change: i64) {
        if change == 0 {
            return self.out.put(0, 1);
        }
        for (ones, bits) in (1..).zip(CHANGE_WIDTHS) {
            let end = 1_i64 << (bits - 1);
            if (1 - end..=end).contains(&change) {
                self.out.put((1 << (ones + 1)) - 2, ones + 1);
                return self.out.put(change as u64, bits);
            }
        }
        self.out.put(0b1111, 4);
        self.out.put(change as u64, 64);
    }

    pub(super) fn samples(&self) -> u16 {
        self.samples
    }

    pub(super) fn newest(&self) -> Timestamp {
        self.newest
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let mut bytes = self.out.finish();
        super::set_samples(&mut bytes, self.samples);
        bytes
    }
}

/// The widths of changes of the distance behind one, two and three ones and a zero; behind four ones there
/// are 64 bits.
pub(super) const CHANGE_WIDTHS: [u32; 3] = [14, 17, 20];
