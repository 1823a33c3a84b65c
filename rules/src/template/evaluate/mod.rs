//! Expansion of a parsed template.
//!
//! Invariants: every node visited, command run and round of a loop is a step, and steps are bounded
//! ([`STEPS_MAX`]); so are the bytes of text that functions read and make ([`WORK_BYTES_MAX`]), the
//! output ([`OUTPUT_BYTES_MAX`]) and the depth ([`DEPTH_MAX`]). Hence expansion ends, within bounded
//! memory. The place that an error names is that of the operand looked at last, as in Go.
//!
//! Source: the documentation of Go's `text/template`; answers of `promtool test rules`.

mod call;
mod function;
mod operand;

use std::{collections::HashMap, fmt, rc::Rc};

use narthex_storage::SearchRegex;

use super::{
    DECLARATIONS, Template, TemplateData, builtin,
    error::TemplateError,
    format,
    node::{Branch, Command, List, Node, Operand, Pipe},
    place,
    quote::quote,
    value::{Root, Value},
};

/// Most bytes that a template may expand to.
pub(super) const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// Most steps that an expansion may take.
pub(super) const STEPS_MAX: usize = 1_000_000;

/// Most bytes of text that the functions of one expansion may read and make together.
pub(super) const WORK_BYTES_MAX: usize = 16 << 20;

/// Most bytes that the searches of patterns may look through, each counted as if it read all that
/// is left of its text.
const SCAN_BYTES_MAX: usize = 64 << 20;

/// Most levels of blocks, parentheses and templates within one another while expanding. Go allows
/// 100,000 templates.
pub(super) const DEPTH_MAX: usize = 250;

/// Expands `template`.
pub(super) fn expand(
    template: &Template,
    data: &TemplateData<'_>,
) -> Result<String, TemplateError> {
    let root = Value::Root(Rc::new(Root {
        labels: data.labels.clone(),
        external_labels: data.external_labels.clone(),
        external_url: data.external_url.into(),
        value: Value::of_sample(&data.value),
    }));
    let mut evaluator = Evaluator {
        template,
        data,
        executing: &template.name,
        out: String::new(),
        variables: vec![("$", root.clone())],
        at: At::Nothing,
        steps: 0,
        work_bytes: 0,
        depth: 0,
        scan_bytes: SCAN_BYTES_MAX,
        patterns: HashMap::new(),
    };
    evaluator.list(&root, &template.trees.root)?;
    Ok(evaluator.out)
}

/// The part of the template that is looked at.
#[derive(Clone, Copy)]
enum At<'t> {
    Nothing,
    Node(&'t Node, usize),
    Pipe(&'t Pipe),
    Command(&'t Command),
    Operand(&'t Operand),
}

impl fmt::Display for At<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Node(node, _) => node.fmt(formatter),
            Self::Pipe(pipe) => pipe.fmt(formatter),
            Self::Command(command) => command.fmt(formatter),
            Self::Operand(operand) => operand.fmt(formatter),
        }
    }
}

impl At<'_> {
    fn position(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Node(_, position) => position,
            Self::Pipe(pipe) => pipe.position,
            Self::Command(command) => command.position,
            Self::Operand(operand) => operand.position,
        }
    }
}

/// How a list ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

type Evaluated<T> = Result<T, TemplateError>;

struct Evaluator<'t, 'd> {
    template: &'t Template,
    data: &'t TemplateData<'d>,
    /// The name of the template that is running.
    executing: &'t str,
    out: String,
    /// The variables in scope, the innermost last.
    variables: Vec<(&'t str, Value)>,
    at: At<'t>,
    steps: usize,
    work_bytes: usize,
    depth: usize,
    /// How many bytes patterns may still look through.
    scan_bytes: usize,
    patterns: HashMap<Rc<str>, Rc<SearchRegex>>,
}

impl<'t> Evaluator<'t, '_> {
    fn fail<T>(&self, message: impl AsRef<str>) -> Evaluated<T> {
        let position = self.at.position();
        let (line, _) = place(&self.template.text, position, 0);
        let before = self.template.text.get(..position).unwrap_or_default();
        let byte = position - before.rfind('\n').map_or(0, |newline| newline + 1);
        let (_, column) = place(&self.template.text, position, DECLARATIONS.len());
        let name = &self.template.name;
        Err(TemplateError::new(
            format!(
                "error executing template {name}: template: {name}:{line}:{byte}: executing {} at <{}>: {}",
                quote(self.executing),
                self.at,
                message.as_ref()
            ),
            line,
            column,
        ))
    }

    fn step(&mut self, count: usize) -> Evaluated<()> {
        self.steps += count;
        if self.steps > STEPS_MAX {
            return self.fail(format!("more than {STEPS_MAX} steps"));
        }
        Ok(())
    }

    fn work(&mut self, bytes: usize) -> Evaluated<()> {
        self.work_bytes = self.work_bytes.saturating_add(bytes);
        if self.work_bytes > WORK_BYTES_MAX {
            return self.fail(format!(
                "functions read and made more than {WORK_BYTES_MAX} bytes of text"
            ));
        }
        Ok(())
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Evaluated<T>) -> Evaluated<T> {
        if self.depth >= DEPTH_MAX {
            return self.fail(format!("exceeded maximum template depth ({DEPTH_MAX})"));
        }
        self.depth += 1;
        let evaluated = inner(self);
        self.depth -= 1;
        evaluated
    }

    fn write(&mut self, text: &str) -> Evaluated<()> {
        if self.out.len() + text.len() > OUTPUT_BYTES_MAX {
            return self.fail(format!("output of more than {OUTPUT_BYTES_MAX} bytes"));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn list(&mut self, dot: &Value, list: &'t List) -> Evaluated<Flow> {
        for node in &list.0 {
            self.step(1)?;
            let flow = self.node(dot, node)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, dot: &Value, node: &'t Node) -> Evaluated<Flow> {
        match node {
            Node::Text(text) => {
                self.write(text)?;
                Ok(Flow::Next)
            }
            Node::Action(pipe) => {
                let value = self.pipe(dot, pipe)?;
                if pipe.variables.is_empty() {
                    self.at = At::Node(node, pipe.position);
                    self.print(&value)?;
                }
                Ok(Flow::Next)
            }
            Node::If(branch) => self.scoped(|evaluator| evaluator.if_or_with(dot, branch, false)),
            Node::With(branch) => self.scoped(|evaluator| evaluator.if_or_with(dot, branch, true)),
            Node::Range(branch) => self.scoped(|evaluator| evaluator.range(dot, branch)),
            Node::Template {
                position,
                name,
                pipe,
            } => {
                self.at = At::Node(node, *position);
                self.call_template(dot, name, pipe.as_ref())?;
                Ok(Flow::Next)
            }
            Node::Break => Ok(Flow::Break),
            Node::Continue => Ok(Flow::Continue),
        }
    }

    fn print(&mut self, value: &Value) -> Evaluated<()> {
        self.work(value.text_bytes())?;
        let text = match value {
            Value::Text(text) | Value::Html(text) => return self.write(text),
            _ => format::display(&builtin::printable_value(value)),
        };
        self.write(&text)
    }

    /// Runs `inner` and forgets the variables that it declared.
    fn scoped<T>(&mut self, inner: impl FnOnce(&mut Self) -> Evaluated<T>) -> Evaluated<T> {
        let scope = self.variables.len();
        let evaluated = self.deeper(inner);
        self.variables.truncate(scope);
        evaluated
    }

    fn if_or_with(&mut self, dot: &Value, branch: &'t Branch, is_with: bool) -> Evaluated<Flow> {
        let value = self.pipe(dot, &branch.pipe)?;
        if value.is_true() {
            self.list(if is_with { &value } else { dot }, &branch.list)
        } else if let Some(otherwise) = &branch.otherwise {
            self.list(dot, otherwise)
        } else {
            Ok(Flow::Next)
        }
    }

    fn range(&mut self, dot: &Value, branch: &'t Branch) -> Evaluated<Flow> {
        let value = self.pipe(dot, &branch.pipe)?;
        let mut ran = false;
        match value.inner() {
            Value::Samples(samples) => {
                for (index, sample) in samples.iter().enumerate() {
                    ran = true;
                    let key = Value::int(index as i64);
                    if self.round(branch, key, &Value::Sample(Some(sample)))? == Flow::Break {
                        return Ok(Flow::Next);
                    }
                }
            }
            Value::Labels(labels) => {
                for (name, value) in labels.iter() {
                    ran = true;
                    if self.round(branch, Value::text(name), &Value::text(value))? == Flow::Break {
                        return Ok(Flow::Next);
                    }
                }
            }
            Value::Arguments(arguments) => {
                for (name, value) in arguments.map() {
                    ran = true;
                    let value = Value::boxed(value.clone());
                    if self.round(branch, Value::text(name.as_str()), &value)? == Flow::Break {
                        return Ok(Flow::Next);
                    }
                }
            }
            Value::Int(count, kind) => {
                if branch.pipe.variables.len() > 1 {
                    return self.fail(format!(
                        "can't use {} to iterate over more than one variable",
                        format::display(&value)
                    ));
                }
                for index in 0..*count {
                    ran = true;
                    let element = Value::Int(index, *kind);
                    if self.round(branch, Value::Nil, &element)? == Flow::Break {
                        return Ok(Flow::Next);
                    }
                }
            }
            Value::Nil => {}
            other => {
                let shown = format::display(&builtin::printable_value(other));
                return self.fail(format!("range can't iterate over {shown}"));
            }
        }
        match &branch.otherwise {
            Some(otherwise) if !ran => self.list(dot, otherwise),
            _ => Ok(Flow::Next),
        }
    }

    /// One round of a loop.
    fn round(&mut self, branch: &'t Branch, key: Value, element: &Value) -> Evaluated<Flow> {
        self.step(1)?;
        let scope = self.variables.len();
        let variables = branch.pipe.variables.as_slice();
        if branch.pipe.is_assignment {
            match variables {
                [name] => self.assign(name, element.clone())?,
                [first, second, ..] => {
                    self.assign(first, key)?;
                    self.assign(second, element.clone())?;
                }
                [] => {}
            }
        } else {
            // The pipe has declared them, the last one last.
            let slots = self.variables.iter_mut().rev();
            let values = [element.clone(), key];
            for ((_, slot), value) in slots.zip(values).take(variables.len()) {
                *slot = value;
            }
        }
        let flow = self.list(element, &branch.list);
        self.variables.truncate(scope);
        flow
    }

    fn assign(&mut self, name: &str, value: Value) -> Evaluated<()> {
        let slot = (self.variables.iter_mut().rev()).find(|(known, _)| *known == name);
        let Some((_, slot)) = slot else {
            return self.fail(format!("undefined variable: {name}"));
        };
        *slot = value;
        Ok(())
    }

    fn call_template(
        &mut self,
        dot: &Value,
        name: &'t str,
        pipe: Option<&'t Pipe>,
    ) -> Evaluated<()> {
        let list = if name == self.template.name {
            &self.template.trees.root
        } else {
            match self.template.trees.defined.get(name) {
                Some(list) => list,
                None => return self.fail(format!("template {} not defined", quote(name))),
            }
        };
        let dot = match pipe {
            Some(pipe) => self.pipe(dot, pipe)?,
            None => Value::Nil,
        };
        let variables = std::mem::replace(&mut self.variables, vec![("$", dot.clone())]);
        let executing = std::mem::replace(&mut self.executing, name);
        self.deeper(|evaluator| evaluator.list(&dot, list))?;
        self.variables = variables;
        self.executing = executing;
        Ok(())
    }
}
