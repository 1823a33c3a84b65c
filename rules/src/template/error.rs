//! Why a template is refused or fails.

/// A template that was refused when it was parsed, or that failed when it was expanded.
///
/// The text is Prometheus's: `template: __alert_X:1: function "foo" not defined` of a refused one,
/// `error executing template __alert_X: template: __alert_X:1:115: executing …` of a failed one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    message: String,
    line: usize,
    column: usize,
}

impl TemplateError {
    pub(super) fn new(message: String, line: usize, column: usize) -> Self {
        Self {
            message,
            line,
            column,
        }
    }

    /// The line of the template's text that is at fault, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The byte in that line, from 1, of the text as its author wrote it. (The column within the
    /// message counts from 0 and, in the first line, the declarations that are put in front.)
    pub fn column(&self) -> usize {
        self.column
    }
}
