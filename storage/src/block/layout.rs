//! Where things are in a block file. All numbers are little endian.

/// What a section of a block holds. The number of a kind is in the file and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub(crate) enum SectionKind {
    /// Where the frames are and how they check.
    Frames = 1,
    /// The time columns: in which frame each is, how many timestamps, the first and the last.
    Times = 2,
    /// The patterns of gaps: in which frame each is.
    Presence = 3,
    /// The pages of each series.
    Directory = 4,
    /// Index: the label names.
    Symbols = 16,
    /// Index: the values of each label name.
    Pairs = 17,
    /// Index: the pairs of each series.
    Series = 18,
    /// Index: the series of each pair.
    Postings = 19,
    /// Index: from the hash of labels to the series.
    Lookup = 20,
    /// Index: the id of each series.
    Ids = 21,
}

impl SectionKind {
    /// Every kind there is.
    pub(crate) const ALL: [Self; 10] = [
        Self::Frames,
        Self::Times,
        Self::Presence,
        Self::Directory,
        Self::Symbols,
        Self::Pairs,
        Self::Series,
        Self::Postings,
        Self::Lookup,
        Self::Ids,
    ];

    /// The kind of a number in a file.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == number)
    }
}
