//! What a bucket's count is while histograms are added: a number, or a sum with its rounding error.

use crate::eval::add_exact;

/// A count that others can be added to.
pub trait Amount: Copy + Default + PartialEq + std::fmt::Debug + From<f64> {
    /// Adds a number.
    fn add(&mut self, number: f64);
    /// Adds all that the other has gathered.
    fn join(&mut self, other: Self);
    /// The sum so far as plain addition gives it.
    fn sum(self) -> f64;
    /// Whether nothing was counted.
    fn is_nothing(self) -> bool;
    /// Multiplies what was gathered.
    fn scale(self, factor: f64) -> Self;
}

impl Amount for f64 {
    #[inline]
    fn add(&mut self, number: f64) {
        *self += number;
    }

    #[inline]
    fn join(&mut self, other: Self) {
        *self += other;
    }

    #[inline]
    fn sum(self) -> f64 {
        self
    }

    #[inline]
    fn is_nothing(self) -> bool {
        self == 0.0
    }

    #[inline]
    fn scale(self, factor: f64) -> Self {
        self * factor
    }
}

/// A sum and what rounding took from it, see [`add_exact`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Exact {
    sum: f64,
    rest: f64,
}

impl Exact {
    /// Both together.
    pub(crate) fn total(self) -> f64 {
        self.sum + self.rest
    }

    /// A part of both.
    pub(crate) fn divided(self, divisor: f64) -> Self {
        Self {
            sum: self.sum / divisor,
            rest: self.rest / divisor,
        }
    }
}

impl From<f64> for Exact {
    #[inline]
    fn from(sum: f64) -> Self {
        Self { sum, rest: 0.0 }
    }
}

impl Amount for Exact {
    #[inline]
    fn add(&mut self, number: f64) {
        (self.sum, self.rest) = add_exact(number, self.sum, self.rest);
    }

    #[inline]
    fn join(&mut self, other: Self) {
        self.add(other.sum);
        if other.rest != 0.0 {
            self.add(other.rest);
        }
    }

    #[inline]
    fn sum(self) -> f64 {
        self.sum
    }

    #[inline]
    fn is_nothing(self) -> bool {
        self.sum == 0.0 && self.rest == 0.0
    }

    #[inline]
    fn scale(self, factor: f64) -> Self {
        Self {
            sum: self.sum * factor,
            rest: self.rest * factor,
        }
    }
}
