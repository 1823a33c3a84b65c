//! Patterns that need no automaton: finite lists of texts, and plain text around `.*`.
//!
//! Grafana sends alternations of thousands of values; looking a value up in a hash set is both
//! quicker to build and quicker to ask than any automaton.

use std::collections::HashSet;

use memchr::memmem::Finder;
use regex_syntax::hir::{Class, Hir, HirKind, Look};

use crate::model::affix::{has_suffix, strip_prefix};

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

/// Most alternatives that are tried one after another.
const GLOBS_MAX: usize = 16;

/// Alternatives of plain text with gaps that hold anything: `abc.*|.+def.*`.
#[derive(Debug)]
pub(super) struct Globs {
    globs: Vec<Glob>,
    prefix: String,
}

/// Text, and gaps of at least so many characters before each further text.
#[derive(Debug)]
struct Glob {
    first: String,
    middle: Vec<(usize, Finder<'static>)>,
    /// What ends the text; without it there is no gap.
    last: Option<(usize, String)>,
}

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    /// Fewest characters.
    Gap(usize),
}

impl Globs {
    /// The globs that `hir` is, if it is made of few: text, `.*` and `.+` that take newlines.
    pub(super) fn new(hir: &Hir) -> Option<Self> {
        let globs: Vec<Glob> = alternatives(hir)?.into_iter().map(Glob::new).collect();
        let mut prefix = globs.first()?.first.clone();
        for glob in &globs {
            let both = prefix.chars().zip(glob.first.chars());
            let common = both.take_while(|(a, b)| a == b);
            let bytes = common.map(|(char, _)| char.len_utf8()).sum();
            prefix.truncate(bytes);
        }
        Some(Self { globs, prefix })
    }

    /// What every match begins with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether the whole of `text` matches.
    pub(super) fn is_match(&self, text: &str) -> bool {
        self.globs.iter().any(|glob| glob.is_match(text))
    }
}

impl Glob {
    fn new(pieces: Vec<Piece>) -> Self {
        let mut texts = vec![(0, String::new())];
        let mut has_gap = false;
        for piece in pieces {
            match (piece, texts.last_mut()) {
                (Piece::Text(text), Some((_, last))) => last.push_str(&text),
                // Gaps behind each other are one.
                (Piece::Gap(chars), Some((gap, last))) if has_gap && last.is_empty() => {
                    *gap += chars;
                }
                (Piece::Gap(chars), _) => {
                    has_gap = true;
                    texts.push((chars, String::new()));
                }
                (Piece::Text(_), None) => {}
            }
        }
        let last = if has_gap { texts.pop() } else { None };
        let mut texts = texts.into_iter();
        Self {
            first: texts.next().unwrap_or_default().1,
            middle: texts
                .map(|(gap, text)| (gap, Finder::new(&text).into_owned()))
                .collect(),
            last,
        }
    }

    /// Whether the whole of `text` matches. Taking the earliest place for each text is enough, for
    /// a gap may be of any length above its least.
    fn is_match(&self, text: &str) -> bool {
        let Some(mut rest) = strip_prefix(text, &self.first) else {
            return false;
        };
        for (gap, text) in &self.middle {
            let after = skip(rest, *gap).and_then(|rest| {
                let at = text.find(rest.as_bytes())?;
                rest.get(at + text.needle().len()..)
            });
            match after {
                Some(after) => rest = after,
                None => return false,
            }
        }
        match &self.last {
            Some((gap, last)) => {
                skip(rest, *gap).is_some_and(|rest| has_suffix(rest.as_bytes(), last.as_bytes()))
            }
            None => rest.is_empty(),
        }
    }
}

/// `text` without its first characters, if it has so many.
fn skip(text: &str, chars: usize) -> Option<&str> {
    let mut rest = text.chars();
    for _ in 0..chars {
        rest.next()?;
    }
    Some(rest.as_str())
}

/// What `hir` matches, each alternative as its pieces, if they are few.
fn alternatives(hir: &Hir) -> Option<Vec<Vec<Piece>>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![Vec::new()]),
        HirKind::Literal(literal) => {
            let text = String::from_utf8(literal.0.to_vec()).ok()?;
            Some(vec![vec![Piece::Text(text)]])
        }
        HirKind::Capture(capture) => alternatives(&capture.sub),
        HirKind::Class(Class::Unicode(class)) => {
            let count: usize = class
                .iter()
                .map(regex_syntax::hir::ClassUnicodeRange::len)
                .sum();
            let chars = class.iter().flat_map(|range| range.start()..=range.end());
            let texts = chars.map(|char| vec![Piece::Text(char.into())]);
            (count <= GLOBS_MAX).then(|| texts.collect())
        }
        HirKind::Repetition(repetition) => {
            let is_gap = match repetition.sub.kind() {
                HirKind::Class(Class::Unicode(class)) => is_everything(class),
                _ => false,
            };
            match (repetition.min, repetition.max) {
                (min, None) if is_gap => Some(vec![vec![Piece::Gap(min as usize)]]),
                (0, Some(1)) => {
                    let mut all = alternatives(&repetition.sub)?;
                    all.push(Vec::new());
                    (all.len() <= GLOBS_MAX).then_some(all)
                }
                _ => None,
            }
        }
        HirKind::Concat(parts) => {
            let mut all = vec![Vec::new()];
            for part in parts {
                let next = alternatives(part)?;
                if all.len() * next.len() > GLOBS_MAX {
                    return None;
                }
                all = all
                    .iter()
                    .flat_map(|head| next.iter().map(move |tail| [&head[..], tail].concat()))
                    .collect();
            }
            Some(all)
        }
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(alternatives(part)?);
                if all.len() > GLOBS_MAX {
                    return None;
                }
            }
            Some(all)
        }
        HirKind::Class(Class::Bytes(_)) | HirKind::Look(_) => None,
    }
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
