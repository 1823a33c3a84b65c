//! What matching needs of an index: names, values, and the series that have a pair.

use std::ops::{ControlFlow, RangeInclusive};

use roaring::RoaringBitmap;

/// An index of series by label pairs. Names, pairs and series are numbers; what a series' number is
/// (an ordinal of a block, an id) is the index's own business.
pub(crate) trait Terms {
    /// What reading may end in.
    type Error;

    /// Every series.
    fn all(&self) -> RoaringBitmap;

    /// How many pairs there are.
    fn pairs_len(&self) -> u64;

    /// Hands on the names, ascending.
    fn each_name(
        &self,
        each: &mut dyn FnMut(u32, &str) -> ControlFlow<()>,
    ) -> Result<(), Self::Error>;

    /// The number of a name.
    fn name(&self, name: &str) -> Result<Option<u32>, Self::Error>;

    /// The number of a pair.
    fn pair(&self, name: u32, value: &str) -> Result<Option<u32>, Self::Error>;

    /// How many values a name has.
    fn values_len(&self, name: u32) -> Result<u64, Self::Error>;

    /// Hands on the values of a name that begin with `prefix`, and their pairs' numbers, in any
    /// order.
    fn each_value(
        &self,
        name: u32,
        prefix: &str,
        each: &mut dyn FnMut(u32, &str) -> ControlFlow<()>,
    ) -> Result<(), Self::Error>;

    /// Hands on the values of a name, ascending, and their pairs' numbers.
    fn each_value_in_order(
        &self,
        name: u32,
        each: &mut dyn FnMut(u32, &str) -> ControlFlow<()>,
    ) -> Result<(), Self::Error>;

    /// How many series have a pair.
    fn count(&self, pair: u32) -> Result<u64, Self::Error>;

    /// Adds the series that have a pair, those in `among` if it is given, to `out`.
    fn series(
        &self,
        pair: u32,
        among: Option<&RoaringBitmap>,
        out: &mut Union,
    ) -> Result<(), Self::Error>;

    /// Whether a series that is asked about has the pair.
    fn has_any(&self, pair: u32, among: &mut Among<'_>) -> Result<bool, Self::Error>;

    /// Hands on each series of `among` with each of its labels, series by series.
    fn each_label(
        &self,
        among: &RoaringBitmap,
        each: &mut dyn FnMut(u32, Label) -> ControlFlow<()>,
    ) -> Result<(), Self::Error>;

    /// Hands on each series of `among` that has `name` with the pair.
    fn each_pair_of(
        &self,
        name: u32,
        among: &RoaringBitmap,
        each: &mut dyn FnMut(u32, u32),
    ) -> Result<(), Self::Error>;

    /// Hands on the value of `name`, empty where it is absent, of each series of `among`.
    fn each_value_of(
        &self,
        name: u32,
        among: &RoaringBitmap,
        each: &mut dyn FnMut(u32, &str),
    ) -> Result<(), Self::Error>;
}

/// The series that names or values are asked of.
pub(crate) struct Among<'a> {
    /// These; all if there is nothing.
    pub(crate) selected: Option<&'a RoaringBitmap>,
    /// Of them those for which it answers so; all if there is nothing. It is asked about as few as will do.
    pub(crate) counts: Option<&'a mut dyn FnMut(u32) -> bool>,
}

impl<'a> Among<'a> {
    /// These, or all, and each of them counts.
    pub(crate) const fn of(selected: Option<&'a RoaringBitmap>) -> Self {
        Self {
            selected,
            counts: None,
        }
    }

    /// Whether one of the selected series counts.
    pub(crate) fn counts(&mut self, series: u32) -> bool {
        self.counts.as_mut().is_none_or(|counts| counts(series))
    }

    /// Whether a series is selected and counts.
    pub(crate) fn has(&mut self, series: u32) -> bool {
        let is_selected = self.selected.is_none_or(|all| all.contains(series));
        is_selected && self.counts(series)
    }
}

/// Takes texts that come in ascending order.
pub(crate) trait Texts {
    /// Whether the text is known already, so that nobody needs to look whether it is there: it may be put
    /// though it is not.
    fn has(&mut self, text: &str) -> bool;

    /// Takes one; breaks when there are enough.
    fn put(&mut self, text: &str) -> ControlFlow<()>;
}

impl<F: FnMut(&str) -> ControlFlow<()>> Texts for F {
    fn has(&mut self, _: &str) -> bool {
        false
    }

    fn put(&mut self, text: &str) -> ControlFlow<()> {
        self(text)
    }
}

/// A label of a series, in numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Label {
    /// The name.
    pub(crate) name: u32,
    /// The pair.
    pub(crate) pair: u32,
}

/// Series that come from many postings in no order.
#[derive(Debug, Default)]
pub(crate) struct Union {
    few: Vec<u32>,
    many: RoaringBitmap,
}

impl Union {
    /// Adds one series.
    pub(crate) fn push(&mut self, series: u32) {
        self.few.push(series);
    }

    /// Adds a run of series.
    pub(crate) fn push_range(&mut self, series: RangeInclusive<u32>) {
        if series.start() == series.end() {
            self.few.push(*series.start());
        } else {
            self.many.insert_range(series);
        }
    }

    /// Where to add many at once.
    pub(crate) fn bitmap(&mut self) -> &mut RoaringBitmap {
        &mut self.many
    }

    /// All of them.
    pub(crate) fn finish(mut self) -> RoaringBitmap {
        if !self.few.is_sorted() {
            self.few.sort_unstable();
        }
        self.few.dedup();
        let few = RoaringBitmap::from_sorted_iter(self.few).expect("sorted, each once");
        if self.many.is_empty() {
            return few;
        }
        self.many |= few;
        self.many
    }
}
