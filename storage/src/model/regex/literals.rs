//! Patterns that need no automaton: finite lists of texts, and plain text around `.*`.
//!
//! Grafana sends alternations of thousands of values; looking a value up in a hash set is both
//! quicker to build and quicker to ask than any automaton.

use std::collections::HashSet;

use memchr::memmem::Finder;
use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// Most texts that classes and optional parts may multiply to.
const PRODUCT_MAX: usize = 1024;

/// Most bytes that the expanded texts may take.
const BYTES_MAX: usize = 4 << 20;

/// A set of texts.
pub(super) type Set = HashSet<String, foldhash::fast::RandomState>;

/// Every text that the whole pattern matches, if they are few and plain.
pub(super) fn set(hir: &Hir) -> Option<Set> {
    Some(texts(hir, true, true)?.into_iter().collect())
}

/// The texts that `hir` matches; `start` and `end` say whether it touches the ends of the pattern,
/// where anchors mean nothing new.
fn texts(hir: &Hir, start: bool, end: bool) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![String::from_utf8(literal.0.to_vec()).ok()?]),
        HirKind::Class(Class::Unicode(class)) => {
            let count: usize = class
                .iter()
                .map(regex_syntax::hir::ClassUnicodeRange::len)
                .sum();
            (count <= 100).then(|| {
                class
                    .iter()
                    .flat_map(|range| range.start()..=range.end())
                    .map(String::from)
                    .collect()
            })
        }
        HirKind::Look(Look::Start) if start => Some(vec![String::new()]),
        HirKind::Look(Look::End) if end => Some(vec![String::new()]),
        HirKind::Capture(capture) => texts(&capture.sub, start, end),
        HirKind::Repetition(repetition) if (repetition.min, repetition.max) == (0, Some(1)) => {
            let mut texts = texts(&repetition.sub, false, false)?;
            texts.push(String::new());
            Some(texts)
        }
        HirKind::Concat(parts) => {
            let last = parts.len() - 1;
            let mut all = vec![String::new()];
            let mut bytes = 0;
            for (index, part) in parts.iter().enumerate() {
                let next = texts(part, start && index == 0, end && index == last)?;
                let count = all.len().checked_mul(next.len())?;
                if count > PRODUCT_MAX.max(all.len()).max(next.len()) {
                    return None;
                }
                let size = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
                bytes = size(&all)
                    .checked_mul(next.len())?
                    .checked_add(size(&next).checked_mul(all.len())?)?
                    .max(bytes);
                if bytes > BYTES_MAX {
                    return None;
                }
                all = match <[String; 1]>::try_from(next) {
                    Ok([only]) => {
                        for text in &mut all {
                            text.push_str(&only);
                        }
                        all
                    }
                    Err(next) => all
                        .iter()
                        .flat_map(|head| next.iter().map(move |tail| format!("{head}{tail}")))
                        .collect(),
                };
            }
            Some(all)
        }
        HirKind::Alternation(alternatives) => {
            let mut all = Vec::with_capacity(alternatives.len());
            let mut bytes = 0_usize;
            for alternative in alternatives {
                let next = texts(alternative, start, end)?;
                bytes = next
                    .iter()
                    .map(String::len)
                    .fold(bytes, usize::saturating_add);
                if bytes > BYTES_MAX {
                    return None;
                }
                all.extend(next);
            }
            Some(all)
        }
        _ => None,
    }
}

/// Plain text with gaps that hold anything: `parts[0] .* parts[1] .* …`.
#[derive(Debug)]
pub(super) struct Glob {
    first: String,
    middle: Vec<Finder<'static>>,
    last: String,
}

impl Glob {
    /// The glob that `hir` is, if it is one: at least one `.*` that takes newlines, and text.
    pub(super) fn new(hir: &Hir) -> Option<Self> {
        let mut parts = vec![String::new()];
        push_parts(hir, &mut parts)?;
        let last = parts.pop()?;
        let mut parts = parts.into_iter();
        Some(Self {
            first: parts.next()?,
            middle: (parts.filter(|part| !part.is_empty()))
                .map(|part| Finder::new(&part).into_owned())
                .collect(),
            last,
        })
    }

    /// The text before the first gap.
    pub(super) fn prefix(&self) -> &str {
        &self.first
    }

    /// Whether the whole of `text` matches. Taking the earliest place for each part is enough, for
    /// a gap may be of any length.
    pub(super) fn is_match(&self, text: &str) -> bool {
        let Some(mut rest) = text.as_bytes().strip_prefix(self.first.as_bytes()) else {
            return false;
        };
        for part in &self.middle {
            let at = part.find(rest);
            let after = at.and_then(|at| rest.get(at + part.needle().len()..));
            match after {
                Some(after) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(self.last.as_bytes())
    }
}

fn push_parts(hir: &Hir, parts: &mut Vec<String>) -> Option<()> {
    match hir.kind() {
        HirKind::Empty => {}
        HirKind::Literal(literal) => parts
            .last_mut()?
            .push_str(std::str::from_utf8(&literal.0).ok()?),
        HirKind::Capture(capture) => push_parts(&capture.sub, parts)?,
        HirKind::Concat(all) => all.iter().try_for_each(|part| push_parts(part, parts))?,
        HirKind::Repetition(repetition) if (repetition.min, repetition.max) == (0, None) => {
            match repetition.sub.kind() {
                HirKind::Class(Class::Unicode(class)) if is_everything(class) => {
                    parts.push(String::new());
                }
                _ => return None,
            }
        }
        _ => return None,
    }
    Some(())
}

fn is_everything(class: &regex_syntax::hir::ClassUnicode) -> bool {
    matches!(class.ranges(), [range] if range.start() == '\0' && range.end() == char::MAX)
}

/// The text that every match begins with, perhaps empty.
pub(super) fn prefix(hir: &Hir) -> String {
    match hir.kind() {
        HirKind::Literal(literal) => String::from_utf8(literal.0.to_vec()).unwrap_or_default(),
        HirKind::Concat(parts) => parts.first().map(prefix).unwrap_or_default(),
        _ => String::new(),
    }
}
