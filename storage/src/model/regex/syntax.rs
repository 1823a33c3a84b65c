//! RE2's syntax as Go's `regexp/syntax` reads it (flags `Perl | DotNL`), turned into a [`Hir`].
//!
//! A parser of our own, because `regex-syntax` accepts what RE2 refuses (`(?x)`, `a**`, `[a&&b]` as
//! an intersection, Unicode `\d`) and the other way round (`\Q…\E`, `a{,2}` as text); its
//! intermediate form and engine do the rest. Errors are worded as Go's.
//!
//! Invariants: the parser does not recurse; the height of the answer is at most [`HEIGHT_MAX`] and
//! nested repetitions multiply to at most [`REPEAT_MAX`], so that later passes over the tree end
//! within a small stack. Captures carry no names in the tree (Go allows a name twice, the engine
//! does not); the names stand beside it.
//!
//! Source: observed in Prometheus 3.5.3 (`tests::verdicts_are_those_of_prometheus`).

use regex_syntax::hir::{
    Capture, Class, ClassUnicode, ClassUnicodeRange, Dot, Hir, HirKind, Look, Repetition,
};

use super::RegexError;

/// Levels of nesting (captures, repetitions, alternations) that a pattern may have.
const HEIGHT_MAX: u32 = 999;

/// The largest repeat count, and the largest product of nested counts.
const REPEAT_MAX: u32 = 1000;

/// A parsed pattern.
#[derive(Debug)]
pub(super) struct Parsed {
    /// What it matches, without anchors of ours.
    pub(super) hir: Hir,
    /// The names of the capture groups by index; 0 is the whole match; empty for unnamed ones.
    pub(super) names: Vec<String>,
    /// Whether its end is quoted, and what followed it would be too.
    pub(super) ends_quoted: bool,
}

/// What a dot matches unless the pattern says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoneDot {
    /// Any character.
    AnyChar,
    /// Any character but a line break.
    NotNewline,
}

/// Parses `pattern`.
pub(super) fn parse(pattern: &str, dot: LoneDot) -> Result<Parsed, RegexError> {
    let mut parser = Parser {
        pattern,
        rest: pattern,
        flags: Flags {
            fold_case: false,
            multi_line: false,
            dot_newline: dot == LoneDot::AnyChar,
            swap_greed: false,
        },
        groups: vec![Group::new(None, Flags::default())],
        names: vec![String::new()],
        ends_quoted: false,
    };
    parser.run()?;
    Ok(Parsed {
        hir: match parser.groups.pop() {
            Some(group) if parser.groups.is_empty() => group.finish().hir,
            _ => return Err(error("missing closing )", pattern)),
        },
        names: parser.names,
        ends_quoted: parser.ends_quoted,
    })
}

fn error(what: &str, part: &str) -> RegexError {
    RegexError {
        message: format!("{what}: `{part}`"),
    }
}

#[derive(Debug, Clone, Copy, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "RE2's flags are four independent switches"
)]
struct Flags {
    fold_case: bool,
    multi_line: bool,
    dot_newline: bool,
    swap_greed: bool,
}

/// A parsed part with what the limits need to know of it.
#[derive(Debug)]
struct Node {
    hir: Hir,
    height: u32,
    /// The largest product of nested repeat counts inside.
    repeats: u32,
}

impl Node {
    fn leaf(hir: Hir) -> Self {
        Self {
            hir,
            height: 1,
            repeats: 1,
        }
    }
}

/// An open parenthesis, or the whole pattern.
#[derive(Debug)]
struct Group {
    /// The index of a capturing group.
    capture: Option<u32>,
    /// The flags to return to at its end.
    outer_flags: Flags,
    /// Finished alternatives.
    alternatives: Vec<Node>,
    /// The parts of the alternative being read.
    parts: Vec<Node>,
}

impl Group {
    fn new(capture: Option<u32>, outer_flags: Flags) -> Self {
        Self {
            capture,
            outer_flags,
            alternatives: Vec::new(),
            parts: Vec::new(),
        }
    }

    fn end_alternative(&mut self) {
        let parts = std::mem::take(&mut self.parts);
        self.alternatives.push(join(parts, Hir::concat));
    }

    fn finish(mut self) -> Node {
        self.end_alternative();
        let inner = join(self.alternatives, Hir::alternation);
        match self.capture {
            None => inner,
            Some(index) => Node {
                hir: Hir::capture(Capture {
                    index,
                    name: None,
                    sub: Box::new(inner.hir),
                }),
                height: inner.height + 1,
                repeats: inner.repeats,
            },
        }
    }
}

fn join(mut nodes: Vec<Node>, combine: fn(Vec<Hir>) -> Hir) -> Node {
    if nodes.len() == 1
        && let Some(only) = nodes.pop()
    {
        return only;
    }
    let height = nodes.iter().map(|node| node.height).max().unwrap_or(0) + 1;
    let repeats = nodes.iter().map(|node| node.repeats).max().unwrap_or(1);
    Node {
        hir: combine(nodes.into_iter().map(|node| node.hir).collect()),
        height,
        repeats,
    }
}

struct Parser<'p> {
    pattern: &'p str,
    rest: &'p str,
    flags: Flags,
    groups: Vec<Group>,
    names: Vec<String>,
    ends_quoted: bool,
}

impl<'p> Parser<'p> {
    fn run(&mut self) -> Result<(), RegexError> {
        // Where the repetition just read began, if the last thing read was one.
        let mut last_repeat: Option<&'p str> = None;
        while let Some(next) = self.rest.chars().next() {
            let before = self.rest;
            let mut repeat = None;
            match next {
                '(' => self.open()?,
                ')' => self.close()?,
                '|' => {
                    self.bump();
                    self.group().end_alternative();
                }
                '^' | '$' | '.' => {
                    self.bump();
                    let hir = self.symbol(next);
                    self.push(Node::leaf(hir))?;
                }
                '[' => {
                    let class = self.class()?;
                    self.push(Node::leaf(Hir::class(Class::Unicode(class))))?;
                }
                '*' | '+' | '?' => {
                    self.bump();
                    let (min, max) = match next {
                        '*' => (0, None),
                        '+' => (1, None),
                        _ => (0, Some(1)),
                    };
                    self.repeat(min, max, before, last_repeat)?;
                    repeat = Some(before);
                }
                '{' => match counts(before) {
                    None => {
                        self.bump();
                        self.literal('{')?;
                    }
                    Some((counts, rest)) => {
                        self.rest = rest;
                        let Some((min, max)) = counts else {
                            return Err(error("invalid repeat count", consumed(before, rest)));
                        };
                        self.repeat(min, max, before, last_repeat)?;
                        repeat = Some(before);
                    }
                },
                '\\' => self.backslash()?,
                literal => {
                    self.bump();
                    self.literal(literal)?;
                }
            }
            last_repeat = repeat;
        }
        Ok(())
    }

    /// Takes the next character.
    fn bump(&mut self) -> Option<char> {
        let mut rest = self.rest.chars();
        let next = rest.next();
        self.rest = rest.as_str();
        next
    }

    /// Takes `prefix` if it comes next.
    fn take(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn group(&mut self) -> &mut Group {
        self.groups
            .last_mut()
            .expect("the whole pattern's group is never closed while parsing")
    }

    fn push(&mut self, node: Node) -> Result<(), RegexError> {
        if node.height > HEIGHT_MAX {
            return Err(error("expression nests too deeply", self.pattern));
        }
        self.group().parts.push(node);
        Ok(())
    }

    fn literal(&mut self, literal: char) -> Result<(), RegexError> {
        let hir = if self.flags.fold_case {
            let mut class = ClassUnicode::new([ClassUnicodeRange::new(literal, literal)]);
            class.case_fold_simple();
            Hir::class(Class::Unicode(class))
        } else {
            let mut buffer = [0; 4];
            Hir::literal(literal.encode_utf8(&mut buffer).as_bytes())
        };
        self.push(Node::leaf(hir))
    }

    fn symbol(&self, symbol: char) -> Hir {
        match (symbol, self.flags) {
            ('^', flags) if flags.multi_line => Hir::look(Look::StartLF),
            ('^', _) => Hir::look(Look::Start),
            ('$', flags) if flags.multi_line => Hir::look(Look::EndLF),
            ('$', _) => Hir::look(Look::End),
            (_, flags) if flags.dot_newline => Hir::dot(Dot::AnyChar),
            _ => Hir::dot(Dot::AnyCharExceptLF),
        }
    }

    /// `(`, `(?P<name>`, `(?<name>`, `(?flags)` or `(?flags:`.
    fn open(&mut self) -> Result<(), RegexError> {
        let before = self.rest;
        let after_named = ["(?P<", "(?<"]
            .iter()
            .find_map(|prefix| before.strip_prefix(prefix));
        if let Some(after) = after_named.filter(|after| !after.is_empty()) {
            let Some((name, rest)) = after.split_once('>') else {
                return Err(error("invalid named capture", before));
            };
            let valid = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
            if name.is_empty() || !name.bytes().all(valid) {
                return Err(error("invalid named capture", consumed(before, rest)));
            }
            self.rest = rest;
            self.open_capture(name);
            return Ok(());
        }
        if !self.take("(?") {
            self.bump();
            self.open_capture("");
            return Ok(());
        }
        let mut flags = self.flags;
        let mut on = true;
        let mut saw_flag = false;
        while let Some(flag) = self.bump() {
            match flag {
                'i' => flags.fold_case = on,
                'm' => flags.multi_line = on,
                's' => flags.dot_newline = on,
                'U' => flags.swap_greed = on,
                '-' if on => {
                    on = false;
                    saw_flag = false;
                    continue;
                }
                ':' | ')' if on || saw_flag => {
                    if flag == ':' {
                        let outer = self.flags;
                        self.groups.push(Group::new(None, outer));
                    }
                    self.flags = flags;
                    return Ok(());
                }
                _ => break,
            }
            saw_flag = true;
        }
        Err(error(
            "invalid or unsupported Perl syntax",
            consumed(before, self.rest),
        ))
    }

    fn open_capture(&mut self, name: &str) {
        let index = u32::try_from(self.names.len()).expect("a pattern is shorter than 4 GiB");
        self.names.push(name.to_owned());
        let flags = self.flags;
        self.groups.push(Group::new(Some(index), flags));
    }

    fn close(&mut self) -> Result<(), RegexError> {
        self.bump();
        let Some(group) = self.groups.pop().filter(|_| !self.groups.is_empty()) else {
            return Err(error("unexpected )", self.pattern));
        };
        self.flags = group.outer_flags;
        let node = group.finish();
        self.push(node)
    }

    /// Repeats the last part; `before` is the text from the operator on, whose counts are read.
    fn repeat(
        &mut self,
        min: u32,
        max: Option<u32>,
        before: &'p str,
        last_repeat: Option<&'p str>,
    ) -> Result<(), RegexError> {
        let lazy = self.take("?");
        let operator = consumed(before, self.rest);
        if let Some(last) = last_repeat {
            return Err(error(
                "invalid nested repetition operator",
                consumed(last, self.rest),
            ));
        }
        let greedy = lazy == self.flags.swap_greed;
        let Some(node) = self.group().parts.pop() else {
            return Err(error("missing argument to repetition operator", operator));
        };
        let count = max.unwrap_or(min).max(1);
        let repeats = node.repeats.saturating_mul(count);
        let counted = min >= 2 || max.is_some_and(|max| max >= 2);
        if counted && repeats > REPEAT_MAX {
            return Err(error("invalid repeat count", operator));
        }
        self.push(Node {
            height: node.height + 1,
            repeats,
            hir: Hir::repetition(Repetition {
                min,
                max,
                greedy,
                sub: Box::new(node.hir),
            }),
        })
    }

    /// Everything that begins with a backslash outside a class.
    fn backslash(&mut self) -> Result<(), RegexError> {
        let look = match self.rest.get(1..2) {
            Some("A") => Some(Look::Start),
            Some("z") => Some(Look::End),
            Some("b") => Some(Look::WordAscii),
            Some("B") => Some(Look::WordAsciiNegate),
            _ => None,
        };
        if let Some(look) = look {
            self.bump();
            self.bump();
            return self.push(Node::leaf(Hir::look(look)));
        }
        if self.take("\\Q") {
            let split = self.rest.split_once("\\E");
            self.ends_quoted = split.is_none();
            let (quoted, rest) = split.unwrap_or((self.rest, ""));
            self.rest = rest;
            for literal in quoted.chars() {
                self.literal(literal)?;
            }
            return Ok(());
        }
        if let Some(class) = self.class_escape()? {
            return self.push(Node::leaf(Hir::class(Class::Unicode(class))));
        }
        match char::from_u32(self.escape()?) {
            Some(literal) => self.literal(literal),
            // A surrogate is no character of any text.
            None => self.push(Node::leaf(Hir::fail())),
        }
    }

    /// `\d`, `\pL`, `\p{Greek}` and their like; `None` when something else comes next.
    fn class_escape(&mut self) -> Result<Option<ClassUnicode>, RegexError> {
        let before = self.rest;
        let Some(letter) = before
            .strip_prefix('\\')
            .and_then(|rest| rest.chars().next())
        else {
            return Ok(None);
        };
        let ranges: &[(char, char)] = match letter.to_ascii_lowercase() {
            'd' => &[('0', '9')],
            's' => &[('\t', '\n'), ('\x0c', '\r'), (' ', ' ')],
            'w' => WORD,
            'p' => return self.unicode_class(letter == 'P').map(Some),
            _ => return Ok(None),
        };
        self.bump();
        self.bump();
        Ok(Some(self.named(ranges, letter.is_ascii_uppercase())))
    }

    /// A named class under the present flags: folded first, negated then.
    fn named(&self, ranges: &[(char, char)], negate: bool) -> ClassUnicode {
        let ranges = ranges
            .iter()
            .map(|&(first, last)| ClassUnicodeRange::new(first, last));
        self.finish_named(ClassUnicode::new(ranges), negate)
    }

    fn finish_named(&self, mut class: ClassUnicode, negate: bool) -> ClassUnicode {
        if self.flags.fold_case {
            class.case_fold_simple();
        }
        if negate {
            class.negate();
        }
        class
    }

    fn unicode_class(&mut self, mut negate: bool) -> Result<ClassUnicode, RegexError> {
        let before = self.rest;
        self.bump();
        self.bump();
        let name = if self.take("{") {
            let Some((name, rest)) = self.rest.split_once('}') else {
                return Err(error("invalid character class range", before));
            };
            self.rest = rest;
            name
        } else {
            let from = self.rest;
            self.bump();
            consumed(from, self.rest)
        };
        let plain = name.strip_prefix('^');
        negate ^= plain.is_some();
        match unicode_table(plain.unwrap_or(name)) {
            Some(class) => Ok(self.finish_named(class, negate)),
            None => Err(error(
                "invalid character class range",
                consumed(before, self.rest),
            )),
        }
    }

    /// An escaped character; may be a surrogate, hence a number.
    fn escape(&mut self) -> Result<u32, RegexError> {
        let before = self.rest;
        self.bump();
        let Some(letter) = self.bump() else {
            return Err(error("trailing backslash at end of expression", ""));
        };
        let value = match letter {
            // A single digit from 1 on would be a back-reference.
            '1'..='7' if !self.rest.starts_with(|next| ('0'..='7').contains(&next)) => None,
            '0'..='7' => {
                let mut value = letter.to_digit(8).unwrap_or_default();
                for _ in 0..2 {
                    let Some(digit) = self.rest.chars().next().and_then(|next| next.to_digit(8))
                    else {
                        break;
                    };
                    self.bump();
                    value = value * 8 + digit;
                }
                Some(value)
            }
            'x' => self.hexadecimal(),
            'a' => Some(0x07),
            'f' => Some(0x0c),
            'n' => Some(0x0a),
            'r' => Some(0x0d),
            't' => Some(0x09),
            'v' => Some(0x0b),
            other if other.is_ascii() && !other.is_ascii_alphanumeric() => Some(u32::from(other)),
            _ => None,
        };
        value.ok_or_else(|| error("invalid escape sequence", consumed(before, self.rest)))
    }

    /// What follows `\x`: two digits, or any number in braces.
    fn hexadecimal(&mut self) -> Option<u32> {
        let first = self.bump()?;
        if first != '{' {
            let second = self.bump()?;
            return Some(first.to_digit(16)? * 16 + second.to_digit(16)?);
        }
        let mut value = None;
        loop {
            let next = self.bump()?;
            if next == '}' {
                return value;
            }
            let next = value.unwrap_or(0) * 16 + next.to_digit(16)?;
            if next > u32::from(char::MAX) {
                return None;
            }
            value = Some(next);
        }
    }

    /// A class in brackets.
    fn class(&mut self) -> Result<ClassUnicode, RegexError> {
        let whole = self.rest;
        self.bump();
        let negate = self.take("^");
        let mut class = ClassUnicode::empty();
        let mut first = true;
        while first || !self.take("]") {
            first = false;
            if let Some(named) = self.posix_class()? {
                class.union(&named);
                continue;
            }
            if let Some(named) = self.class_escape()? {
                class.union(&named);
                continue;
            }
            let before = self.rest;
            let low = self.class_character(whole)?;
            let mut high = low;
            if self.rest.len() >= 2 && self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.bump();
                high = self.class_character(whole)?;
                if high < low {
                    return Err(error(
                        "invalid character class range",
                        consumed(before, self.rest),
                    ));
                }
            }
            if let Some(range) = range_without_surrogates(low, high) {
                let mut range = ClassUnicode::new([range]);
                if self.flags.fold_case {
                    range.case_fold_simple();
                }
                class.union(&range);
            }
        }
        if negate {
            class.negate();
        }
        Ok(class)
    }

    fn class_character(&mut self, whole: &str) -> Result<u32, RegexError> {
        if self.rest.starts_with('\\') {
            return self.escape();
        }
        self.bump()
            .map(u32::from)
            .ok_or_else(|| error("missing closing ]", whole))
    }

    /// `[:alpha:]` inside brackets.
    fn posix_class(&mut self) -> Result<Option<ClassUnicode>, RegexError> {
        let Some((name, rest)) = self
            .rest
            .strip_prefix("[:")
            .and_then(|rest| rest.split_once(":]"))
        else {
            return Ok(None);
        };
        let part = consumed(self.rest, rest);
        let plain = name.strip_prefix('^');
        let ranges: &[(char, char)] = match plain.unwrap_or(name) {
            "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
            "alpha" => &[('A', 'Z'), ('a', 'z')],
            "ascii" => &[('\0', '\x7f')],
            "blank" => &[('\t', '\t'), (' ', ' ')],
            "cntrl" => &[('\0', '\x1f'), ('\x7f', '\x7f')],
            "digit" => &[('0', '9')],
            "graph" => &[('!', '~')],
            "lower" => &[('a', 'z')],
            "print" => &[(' ', '~')],
            "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
            "space" => &[('\t', '\r'), (' ', ' ')],
            "upper" => &[('A', 'Z')],
            "word" => WORD,
            "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
            _ => return Err(error("invalid character class range", part)),
        };
        self.rest = rest;
        Ok(Some(self.named(ranges, plain.is_some())))
    }
}

const WORD: &[(char, char)] = &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];

/// The text of `before` up to where its suffix `rest` begins.
fn consumed<'t>(before: &'t str, rest: &str) -> &'t str {
    before
        .get(..before.len() - rest.len())
        .expect("rest is a suffix of before")
}

/// What a repeat's braces hold: minimum and maximum, or `None` when they are out of bounds.
type Counts = Option<(u32, Option<u32>)>;

/// `{n}`, `{n,}` or `{n,m}` and what follows; `None` when the brace is a plain character.
fn counts(text: &str) -> Option<(Counts, &str)> {
    let (min, rest) = number(text.strip_prefix('{')?)?;
    let (max, rest) = match rest.strip_prefix(',') {
        None => (Some(min), rest),
        Some(rest) if rest.starts_with('}') => (None, rest),
        Some(rest) => {
            let (max, rest) = number(rest)?;
            (Some(max), rest)
        }
    };
    let rest = rest.strip_prefix('}')?;
    let valid = min <= REPEAT_MAX && max.is_none_or(|max| max <= REPEAT_MAX && min <= max);
    Some((valid.then_some((min, max)), rest))
}

/// A decimal number without leading zeros; too large ones become `u32::MAX`.
fn number(text: &str) -> Option<(u32, &str)> {
    let rest = text.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let digits = consumed(text, rest);
    if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    Some((digits.parse().unwrap_or(u32::MAX), rest))
}

fn range_without_surrogates(low: u32, high: u32) -> Option<ClassUnicodeRange> {
    let low = char::from_u32(low).unwrap_or('\u{e000}');
    let high = char::from_u32(high).unwrap_or('\u{d7ff}');
    (low <= high).then(|| ClassUnicodeRange::new(low, high))
}

/// The class of a general category or script, by the exact names that Go knows.
fn unicode_table(name: &str) -> Option<ClassUnicode> {
    let property = match name {
        "Any" => {
            return Some(ClassUnicode::new([ClassUnicodeRange::new('\0', char::MAX)]));
        }
        // Surrogates are a category without a character.
        "Cs" => return Some(ClassUnicode::empty()),
        "C" | "Cc" | "Cf" | "Cn" | "Co" | "L" | "LC" | "Ll" | "Lm" | "Lo" | "Lt" | "Lu" | "M"
        | "Mc" | "Me" | "Mn" | "N" | "Nd" | "Nl" | "No" | "P" | "Pc" | "Pd" | "Pe" | "Pf"
        | "Pi" | "Po" | "Ps" | "S" | "Sc" | "Sk" | "Sm" | "So" | "Z" | "Zl" | "Zp" | "Zs" => "gc",
        _ => "sc",
    };
    let plain = |byte: u8| byte == b'_' || byte.is_ascii_alphabetic();
    if !name.starts_with(|first: char| first.is_ascii_uppercase()) || !name.bytes().all(plain) {
        return None;
    }
    let parsed = regex_syntax::parse(&format!("\\p{{{property}={name}}}")).ok()?;
    match parsed.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
