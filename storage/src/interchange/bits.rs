//! Bits, the highest of each byte first, and the numbers that Prometheus writes with them.

/// Bits in the order in which they were put.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits that are not in `bytes` yet, from the highest down.
    pending: u64,
    /// How many they are, below 64.
    pending_bits: u32,
}

impl BitWriter {
    /// Puts the lowest `bits` of a number, at most 64 of them, the highest first.
    #[inline]
    pub(super) fn put(&mut self, number: u64, bits: u32) {
        if bits == 0 {
            return;
        }
        let number = number & (u64::MAX >> (64 - bits));
        let free = 64 - self.pending_bits;
        if bits < free {
            self.pending |= number << (free - bits);
            self.pending_bits += bits;
        } else {
            let left = bits - free;
            self.pending |= number >> left;
            self.bytes.extend_from_slice(&self.pending.to_be_bytes());
            self.pending = number.checked_shl(64 - left).unwrap_or(0);
            self.pending_bits = left;
        }
    }

    /// A number in groups of seven bits, the lowest first.
    pub(super) fn put_byte_varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.put(number | 0x80, 8);
            number >>= 7;
        }
        self.put(number, 8);
    }

    /// A number of either sign: a prefix that tells its width, and so many bits.
    #[inline]
    pub(super) fn put_varbit_int(&mut self, number: i64) {
        if number == 0 {
            return self.put(0, 1);
        }
        let fits = |bits: u32| {
            let end = 1_i64 << (bits - 1);
            (1 - end..=end).contains(&number)
        };
        self.put_with_prefix(number as u64, fits);
    }

    /// A number without a sign, likewise.
    pub(super) fn put_varbit_uint(&mut self, number: u64) {
        if number == 0 {
            return self.put(0, 1);
        }
        self.put_with_prefix(number, |bits| number < 1 << bits);
    }

    #[inline]
    fn put_with_prefix(&mut self, number: u64, fits: impl Fn(u32) -> bool) {
        for (ones, bits) in (1..).zip(WIDTHS) {
            if fits(bits) {
                // So many ones and a zero.
                self.put((1 << (ones + 1)) - 2, ones + 1);
                return self.put(number, bits);
            }
        }
        self.put(0xff, 8);
        self.put(number, 64);
    }

    /// Bytes so far, the last one perhaps not full.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() + self.pending_bits.div_ceil(8) as usize
    }

    /// The bytes; what is left of the last one is zero.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let left = self.pending_bits.div_ceil(8) as usize;
        let pending = self.pending.to_be_bytes();
        self.bytes.extend(pending.iter().take(left));
        self.bytes
    }
}

/// The widths of numbers behind one, two … seven ones and a zero; behind eight ones there are 64 bits.
pub(super) const WIDTHS: [u32; 7] = [3, 6, 9, 12, 18, 25, 56];

/// A value that is written as what changed of its bits since the one before.
#[derive(Debug, Clone, Copy)]
pub(super) struct XorValue {
    pub(super) bits: u64,
    /// How many bits at the top and at the bottom did not change when the window was last told.
    pub(super) window: Option<(u32, u32)>,
}

impl XorValue {
    /// A value that is written out.
    pub(super) fn first(value: f64) -> Self {
        Self {
            bits: value.to_bits(),
            window: None,
        }
    }

    /// Goes on to another value.
    #[inline]
    pub(super) fn put(&mut self, value: f64, out: &mut BitWriter) {
        let changed = self.bits ^ value.to_bits();
        self.bits = value.to_bits();
        if changed == 0 {
            return out.put(0, 1);
        }
        // Five bits tell the leading zeros.
        let leading = changed.leading_zeros().min(31);
        let trailing = changed.trailing_zeros();
        match self.window {
            Some((above, below)) if leading >= above && trailing >= below => {
                out.put(0b10, 2);
                out.put(changed >> below, 64 - above - below);
            }
            _ => {
                self.window = Some((leading, trailing));
                let significant = 64 - leading - trailing;
                out.put(0b11, 2);
                out.put(u64::from(leading), 5);
                // 64 are told as 0.
                out.put(u64::from(significant), 6);
                out.put(changed >> trailing, significant);
            }
        }
    }
}
