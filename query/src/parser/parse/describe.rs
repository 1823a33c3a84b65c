//! Tokens in the texts of errors.

use crate::parser::{
    lexer::{Keyword, TokenKind},
    quote::quote,
};

/// A token in an error text.
pub(super) fn describe(kind: TokenKind, text: &str) -> String {
    match kind {
        TokenKind::End => "end of input".to_owned(),
        TokenKind::Identifier => format!("identifier {}", quote(text)),
        TokenKind::MetricIdentifier => format!("metric identifier {}", quote(text)),
        TokenKind::String => format!("string {}", shortened(text)),
        TokenKind::Number => format!("number {}", shortened(text)),
        TokenKind::Duration => format!("duration {}", shortened(text)),
        TokenKind::Keyword(Keyword::Start | Keyword::End | Keyword::Step | Keyword::Range) => {
            quote(text)
        }
        TokenKind::Keyword(_) => format!("<{text}>"),
        TokenKind::Aggregate(_) => format!("<aggr:{text}>"),
        TokenKind::Operator(_)
        | TokenKind::At
        | TokenKind::Match
        | TokenKind::NotMatch
        | TokenKind::TrimUpper
        | TokenKind::TrimLower => format!("<op:{text}>"),
        TokenKind::LeftParen
        | TokenKind::RightParen
        | TokenKind::LeftBrace
        | TokenKind::RightBrace
        | TokenKind::LeftBracket
        | TokenKind::RightBracket
        | TokenKind::Comma
        | TokenKind::Colon
        | TokenKind::Assign => quote(text),
    }
}

/// Go's `%.10q...` for what is longer than ten bytes.
fn shortened(text: &str) -> String {
    if text.len() <= 10 {
        return quote(text);
    }
    let start: String = text.chars().take(10).collect();
    format!("{}...", quote(&start))
}
