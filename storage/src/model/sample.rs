//! Samples, timestamps and staleness markers.

/// Milliseconds since the Unix epoch, UTC. Negative before 1970.
pub type Timestamp = i64;

/// One value of one series at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When, in milliseconds since the Unix epoch.
    pub time: Timestamp,
    /// The value; any bit pattern is allowed.
    pub value: f64,
}

/// The bits of the NaN that says "this series ended here".
///
/// Source: Prometheus `model/value`, the stale NaN.
pub const STALE_MARKER_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The staleness marker as a float.
pub fn stale_marker() -> f64 {
    f64::from_bits(STALE_MARKER_BITS)
}

/// Whether `value` is the staleness marker; other NaNs are ordinary values.
pub fn is_stale_marker(value: f64) -> bool {
    value.to_bits() == STALE_MARKER_BITS
}

/// A span of time in milliseconds, inclusive on both ends. Empty when `min > max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// The earliest time that belongs to the range.
    pub min: Timestamp,
    /// The latest time that belongs to the range.
    pub max: Timestamp,
}

impl TimeRange {
    /// Every timestamp there is.
    pub const ALL: Self = Self {
        min: Timestamp::MIN,
        max: Timestamp::MAX,
    };

    /// The range from `min` to `max`, both inclusive.
    pub const fn new(min: Timestamp, max: Timestamp) -> Self {
        Self { min, max }
    }

    /// Whether `time` lies in the range.
    pub const fn contains(&self, time: Timestamp) -> bool {
        self.min <= time && time <= self.max
    }

    /// Whether the two ranges share at least one timestamp.
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}
