//! Matchers to bitmaps, and the label queries, over any index.
//!
//! Positive matchers intersect, from the fewest series on; a matcher that also accepts the empty
//! string (an absent label) subtracts what it refuses instead. Literal sets are looked up value by
//! value, so an alternation of thousands costs thousands of lookups and no automaton. Matchers that
//! must look at values come last: they test the values of the series that are left when those are
//! fewer than the name's values.

use std::ops::ControlFlow;

use roaring::RoaringBitmap;

use super::terms::{Among, Terms, Texts, Union};
use crate::{MatchOp, Matcher};

/// Reading the labels of a series costs as much as reading this many values in a row, or as looking
/// at the postings of as many pairs.
const SERIES_COST: u64 = 8;

/// So many series tell most label names.
const SAMPLE: usize = 64;

type HashSet<T> = std::collections::HashSet<T, foldhash::fast::RandomState>;

/// The series that pass every matcher.
pub(crate) fn select<T: Terms>(terms: &T, matchers: &[Matcher]) -> Result<RoaringBitmap, T::Error> {
    let selected = select_some(terms, matchers)?;
    Ok(selected.unwrap_or_else(|| terms.all()))
}

/// The series that pass every matcher; `None`: no matcher leaves one out.
pub(crate) fn select_some<T: Terms>(
    terms: &T,
    matchers: &[Matcher],
) -> Result<Option<RoaringBitmap>, T::Error> {
    let mut accepted: Vec<Listed> = Vec::new();
    let mut refused: Vec<u32> = Vec::new();
    let mut scans: Vec<Scan<'_>> = Vec::new();
    for matcher in matchers {
        match plan(terms, matcher)? {
            Plan::Everything => {}
            Plan::Nothing => return Ok(Some(RoaringBitmap::new())),
            Plan::Accept(listed) => accepted.push(listed),
            Plan::Refuse(pairs) => refused.extend(pairs),
            Plan::Scan(scan) => scans.push(scan),
        }
    }
    accepted.sort_by_key(|listed| listed.count);
    let mut found: Option<RoaringBitmap> = None;
    for listed in accepted {
        let left = with_any(terms, listed.pairs, found.as_ref())?;
        if left.is_empty() {
            return Ok(Some(left));
        }
        found = Some(left);
    }
    // What accepts comes before what subtracts: it may leave little to look at.
    scans.sort_by_key(|scan| (scan.accepts_empty, scan.values));
    for scan in scans {
        let left = scan.apply(terms, found)?;
        if left.is_empty() {
            return Ok(Some(left));
        }
        found = Some(left);
    }
    if refused.is_empty() {
        return Ok(found);
    }
    let mut found = found.unwrap_or_else(|| terms.all());
    found -= with_any(terms, refused, Some(&found))?;
    Ok(Some(found))
}

/// The series that have one of `pairs`: those in `among` if it is given.
fn with_any<T: Terms>(
    terms: &T,
    mut pairs: Vec<u32>,
    among: Option<&RoaringBitmap>,
) -> Result<RoaringBitmap, T::Error> {
    let few = among.filter(|among| among.len() < pairs.len() as u64 * SERIES_COST);
    if let Some(few) = few {
        pairs.sort_unstable();
        let mut found = RoaringBitmap::new();
        terms.each_label(few, &mut |series, label| {
            if pairs.binary_search(&label.pair).is_ok() {
                found.insert(series);
            }
            ControlFlow::Continue(())
        })?;
        return Ok(found);
    }
    let mut union = Union::default();
    for pair in pairs {
        terms.series(pair, among, &mut union)?;
    }
    Ok(union.finish())
}

/// How a matcher is answered.
enum Plan<'a> {
    Everything,
    Nothing,
    Accept(Listed),
    Refuse(Vec<u32>),
    Scan(Scan<'a>),
}

/// Pairs, and how many series they have together.
struct Listed {
    pairs: Vec<u32>,
    count: u64,
}

/// A matcher that must look at values.
struct Scan<'a> {
    matcher: &'a Matcher,
    name: u32,
    /// How many the name has.
    values: u64,
    accepts_empty: bool,
}

fn plan<'a, T: Terms>(terms: &T, matcher: &'a Matcher) -> Result<Plan<'a>, T::Error> {
    if matcher.op() == MatchOp::Regex && matcher.value() == ".*" {
        return Ok(Plan::Everything);
    }
    let accepts_empty = matcher.matches("");
    let Some(name) = terms.name(matcher.name())? else {
        return Ok(if accepts_empty {
            Plan::Everything
        } else {
            Plan::Nothing
        });
    };
    // Of a positive matcher the values that it accepts, of a negative one those that it refuses.
    let literals = matcher.literals();
    let is_negative = matches!(matcher.op(), MatchOp::NotEqual | MatchOp::NotRegex);
    if let Some(literals) = literals
        && accepts_empty == is_negative
    {
        let mut pairs = Vec::with_capacity(literals.len());
        let mut count = 0;
        for literal in literals {
            if let Some(pair) = terms.pair(name, literal)? {
                pairs.push(pair);
                count += terms.count(pair)?;
            }
        }
        return Ok(match (is_negative, pairs.is_empty()) {
            (true, true) => Plan::Everything,
            (true, false) => Plan::Refuse(pairs),
            (false, true) => Plan::Nothing,
            (false, false) => Plan::Accept(Listed { pairs, count }),
        });
    }
    Ok(Plan::Scan(Scan {
        matcher,
        name,
        values: terms.values_len(name)?,
        accepts_empty,
    }))
}

impl Scan<'_> {
    /// Those of `found` that pass.
    fn apply<T: Terms>(
        &self,
        terms: &T,
        found: Option<RoaringBitmap>,
    ) -> Result<RoaringBitmap, T::Error> {
        let few = found
            .as_ref()
            .filter(|found| found.len().saturating_mul(SERIES_COST) < self.values);
        if let Some(few) = few {
            let mut left = RoaringBitmap::new();
            terms.each_value_of(self.name, few, &mut |series, value| {
                if self.matcher.matches(value) {
                    left.insert(series);
                }
            })?;
            return Ok(left);
        }
        // Series with the label whose value decides: accepted, or refused when the absent pass.
        let mut pairs = Vec::new();
        let prefix = if self.accepts_empty {
            ""
        } else {
            self.matcher.prefix()
        };
        terms.each_value(self.name, prefix, &mut |pair, value| {
            if self.matcher.matches(value) != self.accepts_empty {
                pairs.push(pair);
            }
            ControlFlow::Continue(())
        })?;
        let with_any = with_any(terms, pairs, found.as_ref())?;
        if !self.accepts_empty {
            return Ok(with_any);
        }
        let mut found = found.unwrap_or_else(|| terms.all());
        found -= with_any;
        Ok(found)
    }
}

/// Hands on the label names, ascending, of the series that are asked about, until it is enough.
pub(crate) fn label_names<T: Terms>(
    terms: &T,
    among: &mut Among<'_>,
    texts: &mut dyn Texts,
) -> Result<(), T::Error> {
    let Some(selected) = among.selected else {
        return each_found(texts, &mut |each| terms.each_name(each), &mut |name| {
            has_name(terms, name, among)
        });
    };
    let mut open = HashSet::<u32>::default();
    terms.each_name(&mut |name, text| {
        if !texts.has(text) {
            open.insert(name);
        }
        ControlFlow::Continue(())
    })?;
    // Few series tell all names they have, many most of the names there are.
    let is_few = selected.len() < terms.pairs_len() / SERIES_COST;
    let mut left = if is_few { usize::MAX } else { SAMPLE };
    let (mut latest, mut counts) = (None, false);
    terms.each_label(selected, &mut |series, label| {
        if latest != Some(series) {
            if left == 0 || open.is_empty() {
                return ControlFlow::Break(());
            }
            left -= 1;
            latest = Some(series);
            counts = among.counts(series);
        }
        if counts {
            open.remove(&label.name);
        }
        ControlFlow::Continue(())
    })?;
    each_found(texts, &mut |each| terms.each_name(each), &mut |name| {
        Ok(!open.contains(&name) || (!is_few && has_name(terms, name, among)?))
    })
}

/// Whether a series that is asked about has a name.
fn has_name<T: Terms>(terms: &T, name: u32, among: &mut Among<'_>) -> Result<bool, T::Error> {
    let mut found = Ok(false);
    terms.each_value(name, "", &mut |pair, _| {
        found = terms.has_any(pair, among);
        if matches!(found, Ok(false)) {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    found
}

/// Hands on the values of a label, ascending, of the series that are asked about, until it is enough.
pub(crate) fn label_values<T: Terms>(
    terms: &T,
    name: &str,
    among: &mut Among<'_>,
    texts: &mut dyn Texts,
) -> Result<(), T::Error> {
    let Some(name) = terms.name(name)? else {
        return Ok(());
    };
    let values_cost = terms.values_len(name)?.saturating_mul(SERIES_COST);
    let few = among.selected.filter(|few| few.len() < values_cost);
    let Some(few) = few else {
        return each_found(
            texts,
            &mut |each| terms.each_value_in_order(name, each),
            &mut |pair| terms.has_any(pair, among),
        );
    };
    let mut pairs = HashSet::<u32>::default();
    terms.each_pair_of(name, few, &mut |series, pair| {
        if !pairs.contains(&pair) && among.counts(series) {
            pairs.insert(pair);
        }
    })?;
    terms.each_value_in_order(name, &mut |pair, value| {
        if pairs.contains(&pair) {
            texts.put(value)
        } else {
            ControlFlow::Continue(())
        }
    })
}

/// Whether there is a label name that is not known.
pub(crate) fn has_other_names<T: Terms>(
    terms: &T,
    texts: &mut dyn Texts,
) -> Result<bool, T::Error> {
    has_others(texts, &mut |each| terms.each_name(each))
}

/// Whether a label has a value that is not known.
pub(crate) fn has_other_values<T: Terms>(
    terms: &T,
    name: &str,
    texts: &mut dyn Texts,
) -> Result<bool, T::Error> {
    match terms.name(name)? {
        Some(name) => has_others(texts, &mut |each| terms.each_value_in_order(name, each)),
        None => Ok(false),
    }
}

fn has_others<E>(
    texts: &mut dyn Texts,
    walk: &mut dyn FnMut(&mut EachText<'_>) -> Result<(), E>,
) -> Result<bool, E> {
    let mut has_others = false;
    walk(&mut |_, text| {
        if texts.has(text) {
            return ControlFlow::Continue(());
        }
        has_others = true;
        ControlFlow::Break(())
    })?;
    Ok(has_others)
}

/// Is handed numbers and their texts, ascending, until it breaks.
type EachText<'a> = dyn FnMut(u32, &str) -> ControlFlow<()> + 'a;

/// Hands on the texts that are known, or whose number passes.
fn each_found<E>(
    texts: &mut dyn Texts,
    walk: &mut dyn FnMut(&mut EachText<'_>) -> Result<(), E>,
    passes: &mut dyn FnMut(u32) -> Result<bool, E>,
) -> Result<(), E> {
    let mut result = Ok(());
    walk(&mut |number, text| {
        let passed = if texts.has(text) {
            Ok(true)
        } else {
            passes(number)
        };
        match passed {
            Ok(true) => texts.put(text),
            Ok(false) => ControlFlow::Continue(()),
            Err(error) => {
                result = Err(error);
                ControlFlow::Break(())
            }
        }
    })?;
    result
}

/// Hands on every pair with the number of its series that are not `hidden`, by name, then value; a pair that no
/// other series has is passed over.
pub(crate) fn each_pair<T: Terms>(
    terms: &T,
    hidden: &RoaringBitmap,
    each: &mut dyn FnMut(&str, &str, u64),
) -> Result<(), T::Error> {
    let mut result = Ok(());
    terms.each_name(&mut |name, name_text| {
        let walked = terms.each_value_in_order(name, &mut |pair, value| match count_without(
            terms, pair, hidden,
        ) {
            Ok(0) => ControlFlow::Continue(()),
            Ok(count) => {
                each(name_text, value, count);
                ControlFlow::Continue(())
            }
            Err(error) => {
                result = Err(error);
                ControlFlow::Break(())
            }
        });
        if let Err(error) = walked {
            result = Err(error);
        }
        if result.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    result
}

/// How many series that are not `hidden` have a pair.
fn count_without<T: Terms>(terms: &T, pair: u32, hidden: &RoaringBitmap) -> Result<u64, T::Error> {
    let all = terms.count(pair)?;
    if hidden.is_empty() {
        return Ok(all);
    }
    let mut found = Union::default();
    terms.series(pair, Some(hidden), &mut found)?;
    Ok(all.saturating_sub(found.finish().len()))
}
