//! The tree of a parsed template, and how its parts are shown in error messages.
//!
//! Invariants: positions are byte offsets into the text the tree was parsed from; a command has at
//! least one operand, a pipe at least one command; every variable that is used was declared.

use std::fmt;

use super::{function::Function, number::Number, quote::quote};

/// A sequence of texts and actions.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct List(pub(super) Vec<Node>);

/// A text or an action.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// Text, copied to the output.
    Text(String),
    /// `{{pipeline}}`.
    Action(Pipe),
    /// `{{if}}`.
    If(Branch),
    /// `{{range}}`.
    Range(Branch),
    /// `{{with}}`.
    With(Branch),
    /// `{{template}}`, also what remains of `{{block}}`.
    Template {
        position: usize,
        name: String,
        pipe: Option<Pipe>,
    },
    /// `{{break}}`.
    Break,
    /// `{{continue}}`.
    Continue,
}

/// `{{if}}`, `{{range}}` or `{{with}}` with what they enclose.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Branch {
    pub(super) pipe: Pipe,
    pub(super) list: List,
    pub(super) otherwise: Option<List>,
}

/// Commands of which each gets the answer of the one before as its last argument.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pipe {
    pub(super) position: usize,
    /// The variables that get the answer, with their dollar sign; two only in `range`.
    pub(super) variables: Vec<String>,
    /// `=` rather than `:=`.
    pub(super) is_assignment: bool,
    pub(super) commands: Vec<Command>,
}

/// A function or value with its arguments.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Command {
    pub(super) position: usize,
    pub(super) operands: Vec<Operand>,
}

/// A part of a command.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operand {
    pub(super) position: usize,
    pub(super) kind: OperandKind,
}

/// What an operand is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum OperandKind {
    Bool(bool),
    Nil,
    Dot,
    Number(Number),
    Text {
        quoted: String,
        text: String,
    },
    /// `.A.B`, at least one name.
    Field(Vec<String>),
    /// `$x.A.B`.
    Variable {
        name: String,
        fields: Vec<String>,
    },
    Function(Function),
    Pipe(Box<Pipe>),
    /// `(pipeline).A.B` and `function.A`.
    Chain {
        base: Box<Operand>,
        fields: Vec<String>,
    },
}

impl fmt::Display for List {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|node| node.fmt(formatter))
    }
}

impl fmt::Display for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let branch = |formatter: &mut fmt::Formatter<'_>, word: &str, branch: &Branch| {
            write!(formatter, "{{{{{word} {}}}}}{}", branch.pipe, branch.list)?;
            if let Some(otherwise) = &branch.otherwise {
                write!(formatter, "{{{{else}}}}{otherwise}")?;
            }
            formatter.write_str("{{end}}")
        };
        match self {
            Self::Text(text) => formatter.write_str(text),
            Self::Action(pipe) => write!(formatter, "{{{{{pipe}}}}}"),
            Self::If(inner) => branch(formatter, "if", inner),
            Self::Range(inner) => branch(formatter, "range", inner),
            Self::With(inner) => branch(formatter, "with", inner),
            Self::Template { name, pipe, .. } => {
                write!(formatter, "{{{{template {}", quote(name))?;
                if let Some(pipe) = pipe {
                    write!(formatter, " {pipe}")?;
                }
                formatter.write_str("}}")
            }
            Self::Break => formatter.write_str("{{break}}"),
            Self::Continue => formatter.write_str("{{continue}}"),
        }
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            let sign = if self.is_assignment { "=" } else { ":=" };
            write!(formatter, "{} {sign} ", self.variables.join(", "))?;
        }
        for (index, command) in self.commands.iter().enumerate() {
            if index > 0 {
                formatter.write_str(" | ")?;
            }
            command.fmt(formatter)?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, operand) in self.operands.iter().enumerate() {
            if index > 0 {
                formatter.write_str(" ")?;
            }
            match &operand.kind {
                OperandKind::Pipe(pipe) => write!(formatter, "({pipe})")?,
                _ => operand.fmt(formatter)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chained = |formatter: &mut fmt::Formatter<'_>, fields: &[String]| {
            (fields.iter()).try_for_each(|field| write!(formatter, ".{field}"))
        };
        match &self.kind {
            OperandKind::Bool(value) => write!(formatter, "{value}"),
            OperandKind::Nil => formatter.write_str("nil"),
            OperandKind::Dot => formatter.write_str("."),
            OperandKind::Number(number) => formatter.write_str(&number.text),
            OperandKind::Text { quoted, .. } => formatter.write_str(quoted),
            OperandKind::Field(fields) => chained(formatter, fields),
            OperandKind::Variable { name, fields } => {
                formatter.write_str(name)?;
                chained(formatter, fields)
            }
            OperandKind::Function(function) => formatter.write_str(function.name()),
            OperandKind::Pipe(pipe) => pipe.fmt(formatter),
            OperandKind::Chain { base, fields } => {
                match &base.kind {
                    OperandKind::Pipe(pipe) => write!(formatter, "({pipe})")?,
                    _ => base.fmt(formatter)?,
                }
                chained(formatter, fields)
            }
        }
    }
}
