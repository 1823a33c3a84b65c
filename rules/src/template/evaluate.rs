//! Expansion of a parsed template.
//!
//! Invariants: every node visited, command run and round of a loop is a step, and steps are bounded
//! ([`STEPS_MAX`]); so are the bytes of text that functions read and make ([`WORK_BYTES_MAX`]), the
//! output ([`OUTPUT_BYTES_MAX`]) and the depth ([`DEPTH_MAX`]). Hence expansion ends, within bounded
//! memory. The place that an error names is that of the operand looked at last, as in Go.
//!
//! Source: the documentation of Go's `text/template`; answers of `promtool test rules`.

use std::{collections::HashMap, fmt, rc::Rc};

use narthex_storage::SearchRegex;

use super::{
    DECLARATIONS, Template, TemplateData, builtin,
    error::TemplateError,
    format,
    function::{Function, Parameter, Signature},
    method::{Method, time_pointer},
    node::{Branch, Command, List, Node, Operand, OperandKind, Pipe},
    place,
    quote::quote,
    text,
    value::{Arguments, IntType, Root, Sample, Samples, Value},
};

/// Most bytes that a template may expand to.
pub(super) const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// Most steps that an expansion may take.
pub(super) const STEPS_MAX: usize = 1_000_000;

/// What a query or the compilation of a pattern costs, in steps.
const DEAR_STEPS: usize = 1_000;

/// Most bytes of text that the functions of one expansion may read and make together.
pub(super) const WORK_BYTES_MAX: usize = 16 << 20;

/// Most levels of blocks, parentheses and templates within one another while expanding. Go allows
/// 100,000 templates.
pub(super) const DEPTH_MAX: usize = 250;

/// Most levels of what `args` makes within one another.
const ARGUMENTS_HEIGHT_MAX: usize = 32;

/// Expands `template`.
pub(super) fn expand(
    template: &Template,
    data: &TemplateData<'_>,
) -> Result<String, TemplateError> {
    let root = Value::Root(Rc::new(Root {
        labels: data.labels.clone(),
        external_labels: data.external_labels.clone(),
        external_url: data.external_url.into(),
        value: data.value,
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
                    if self.round(branch, key, Value::Sample(Some(sample)))? == Flow::Break {
                        return Ok(Flow::Next);
                    }
                }
            }
            Value::Labels(labels) => {
                for (name, value) in labels.iter() {
                    ran = true;
                    if self.round(branch, Value::text(name), Value::text(value))? == Flow::Break {
                        return Ok(Flow::Next);
                    }
                }
            }
            Value::Arguments(arguments) => {
                for (name, value) in arguments.map() {
                    ran = true;
                    let value = Value::boxed(value.clone());
                    if self.round(branch, Value::text(name.as_str()), value)? == Flow::Break {
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
                    if self.round(branch, Value::Nil, element)? == Flow::Break {
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
    fn round(&mut self, branch: &'t Branch, key: Value, element: Value) -> Evaluated<Flow> {
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
        let flow = self.list(&element, &branch.list);
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

    fn pipe(&mut self, dot: &Value, pipe: &'t Pipe) -> Evaluated<Value> {
        self.at = At::Pipe(pipe);
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(dot, command, value)?.unboxed());
        }
        let value = value.unwrap_or(Value::Nil);
        for name in &pipe.variables {
            if pipe.is_assignment {
                self.assign(name, value.clone())?;
            } else {
                self.variables.push((name, value.clone()));
            }
        }
        Ok(value)
    }

    /// `last` is the answer of the command before, which becomes the last argument.
    fn command(
        &mut self,
        dot: &Value,
        command: &'t Command,
        last: Option<Value>,
    ) -> Evaluated<Value> {
        self.step(1)?;
        let Some((first, arguments)) = command.operands.split_first() else {
            return Ok(Value::Nil);
        };
        match &first.kind {
            OperandKind::Field(_) | OperandKind::Chain { .. } | OperandKind::Variable { .. } => {
                self.fields_of(dot, first, arguments, last)
            }
            OperandKind::Function(function) => {
                self.at = At::Operand(first);
                self.call(
                    dot,
                    Callee::Function(*function),
                    At::Command(command),
                    arguments,
                    last,
                )
            }
            OperandKind::Pipe(pipe) => {
                self.no_function(first, arguments, last.as_ref())?;
                self.deeper(|evaluator| evaluator.pipe(dot, pipe))
            }
            OperandKind::Nil => {
                self.at = At::Operand(first);
                self.no_function(first, arguments, last.as_ref())?;
                self.fail("nil is not a command")
            }
            _ => {
                self.at = At::Operand(first);
                self.no_function(first, arguments, last.as_ref())?;
                self.constant(dot, first)
            }
        }
    }

    fn no_function(
        &self,
        first: &'t Operand,
        arguments: &[Operand],
        last: Option<&Value>,
    ) -> Evaluated<()> {
        if arguments.is_empty() && last.is_none() {
            return Ok(());
        }
        self.fail(format!("can't give argument to non-function {first}"))
    }

    /// The value of a constant or of the dot.
    fn constant(&self, dot: &Value, operand: &'t Operand) -> Evaluated<Value> {
        match &operand.kind {
            OperandKind::Bool(value) => Ok(Value::Bool(*value)),
            OperandKind::Dot => Ok(dot.clone()),
            OperandKind::Text { text, .. } => Ok(Value::text(text.as_str())),
            OperandKind::Number(number) if number.is_float => Ok(Value::Float(number.float)),
            OperandKind::Number(number) => match number.int {
                Some(int) => Ok(Value::int(int)),
                None => self.fail(format!("{} overflows int", number.text)),
            },
            _ => Ok(Value::Nil),
        }
    }

    /// The value of an operand with fields: `.A.B`, `$x.A`, `(pipeline).A`.
    fn fields_of(
        &mut self,
        dot: &Value,
        operand: &'t Operand,
        arguments: &'t [Operand],
        last: Option<Value>,
    ) -> Evaluated<Value> {
        self.at = At::Operand(operand);
        let (mut value, fields) = match &operand.kind {
            OperandKind::Field(fields) => (dot.clone(), fields),
            OperandKind::Variable { name, fields } => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let Some((_, value)) = known else {
                    return self.fail(format!("undefined variable: {name}"));
                };
                let value = value.clone();
                if fields.is_empty() {
                    self.no_function(operand, arguments, last.as_ref())?;
                }
                (value, fields)
            }
            OperandKind::Chain { base, fields } => (self.base(dot, base)?, fields),
            _ => return self.constant(dot, operand),
        };
        let Some((name, before)) = fields.split_last() else {
            return Ok(value);
        };
        for name in before {
            value = self.field(dot, &value, name, operand, &[], None)?;
        }
        self.field(dot, &value, name, operand, arguments, last)
    }

    /// What stands in front of the fields of a chain.
    fn base(&mut self, dot: &Value, base: &'t Operand) -> Evaluated<Value> {
        self.at = At::Operand(base);
        match &base.kind {
            OperandKind::Pipe(pipe) => self.deeper(|evaluator| evaluator.pipe(dot, pipe)),
            OperandKind::Function(function) => self.call(
                dot,
                Callee::Function(*function),
                At::Operand(base),
                &[],
                None,
            ),
            _ => self.constant(dot, base),
        }
    }

    /// A field, map element or method's answer.
    fn field(
        &mut self,
        dot: &Value,
        receiver: &Value,
        name: &'t str,
        operand: &'t Operand,
        arguments: &'t [Operand],
        last: Option<Value>,
    ) -> Evaluated<Value> {
        let type_name = receiver.type_name();
        let value = match receiver {
            Value::Nil => return Ok(Value::Nil),
            Value::Boxed(inner) if matches!(inner.inner(), Value::Nil) => {
                return self.fail(format!("nil pointer evaluating {type_name}.{name}"));
            }
            _ => receiver.inner(),
        };
        if let Some(method) = Method::find(value, name) {
            let callee = Callee::Method(name, method);
            return self.call(dot, callee, At::Operand(operand), arguments, last);
        }
        let has_arguments = !arguments.is_empty() || last.is_some();
        let element = match value {
            Value::Labels(labels) => Some(Value::text(labels.get(name).unwrap_or_default())),
            Value::Arguments(map) => Some(Value::boxed(
                map.map().get(name).cloned().unwrap_or(Value::Nil),
            )),
            _ => None,
        };
        if let Some(element) = element {
            if has_arguments {
                return self.fail(format!("{name} is not a method but has arguments"));
            }
            return Ok(element);
        }
        let field = match (value, name) {
            (Value::Root(root), "Labels") => Value::Labels(root.labels.clone()),
            (Value::Root(root), "ExternalLabels") => Value::Labels(root.external_labels.clone()),
            (Value::Root(root), "ExternalURL") => Value::Text(Rc::clone(&root.external_url)),
            (Value::Root(root), "Value") => Value::boxed(Value::Float(root.value)),
            (Value::Sample(None), "Labels" | "Value") => {
                return self.fail(format!("nil pointer evaluating {type_name}.{name}"));
            }
            (Value::Sample(Some(sample)), "Labels") => Value::Labels(sample.labels.clone()),
            (Value::Sample(Some(sample)), "Value") => Value::Float(sample.value),
            _ => {
                return self.fail(format!("can't evaluate field {name} in type {type_name}"));
            }
        };
        if has_arguments {
            return self.fail(format!(
                "{name} has arguments but cannot be invoked as function"
            ));
        }
        Ok(field)
    }

    /// Calls a function or method. `whole` is what errors of the call itself are shown at.
    fn call(
        &mut self,
        dot: &Value,
        callee: Callee<'t>,
        whole: At<'t>,
        arguments: &'t [Operand],
        last: Option<Value>,
    ) -> Evaluated<Value> {
        let name = callee.name();
        let Signature { fixed, variadic } = callee.signature();
        let count = arguments.len() + usize::from(last.is_some());
        if variadic.is_some() && count < fixed.len() {
            return self.fail(format!(
                "wrong number of args for {name}: want at least {} got {}",
                fixed.len(),
                arguments.len()
            ));
        }
        if variadic.is_none() && count != fixed.len() {
            return self.fail(format!(
                "wrong number of args for {name}: want {} got {count}",
                fixed.len()
            ));
        }
        if let Some(refusal) = callee.refusal() {
            return self.fail(refusal);
        }
        let parameter = |index: usize| {
            let parameter = fixed.get(index).copied().or(variadic);
            parameter.unwrap_or(Parameter::Any)
        };
        if let Callee::Function(function @ (Function::And | Function::Or)) = callee {
            let mut value = Value::Nil;
            for operand in arguments {
                value = self.argument(dot, Parameter::Raw, operand)?;
                if value.is_true() == (function == Function::Or) {
                    return Ok(value);
                }
            }
            return Ok(last.unwrap_or(value));
        }
        let mut values = Vec::with_capacity(count);
        for (index, operand) in arguments.iter().enumerate() {
            values.push(self.argument(dot, parameter(index), operand)?);
        }
        if let Some(last) = last {
            let parameter = parameter(values.len());
            values.push(self.checked(last, parameter)?);
        }
        let bytes = values.iter().map(|value| callee.bytes(value));
        self.work(bytes.fold(0, usize::saturating_add))?;
        let answer = match callee {
            Callee::Function(Function::Call) => {
                let shown = match arguments.first() {
                    Some(operand) => operand.to_string(),
                    None => values.first().map(format::display).unwrap_or_default(),
                };
                let called = values.first().unwrap_or(&Value::Nil);
                Err(builtin::call(&shown, called))
            }
            Callee::Function(function) => self.function(function, &values)?,
            Callee::Method(_, method) => Ok(method.call(&values)),
        };
        match answer {
            Ok(value) => {
                self.work(callee.bytes(&value))?;
                Ok(value)
            }
            Err(message) => {
                self.at = whole;
                self.fail(format!("error calling {name}: {message}"))
            }
        }
    }

    /// An operand as an argument.
    fn argument(
        &mut self,
        dot: &Value,
        parameter: Parameter,
        operand: &'t Operand,
    ) -> Evaluated<Value> {
        self.step(1)?;
        self.at = At::Operand(operand);
        let value = match &operand.kind {
            OperandKind::Dot => dot.clone(),
            OperandKind::Nil => {
                return match parameter {
                    Parameter::Any | Parameter::Raw => Ok(Value::Nil),
                    Parameter::Samples => Ok(Value::Samples(Samples::new(Vec::new()))),
                    Parameter::Sample => Ok(Value::Sample(None)),
                    _ => self.fail(format!("cannot assign nil to {}", type_of(parameter))),
                };
            }
            OperandKind::Field(_) | OperandKind::Chain { .. } | OperandKind::Variable { .. } => {
                self.fields_of(dot, operand, &[], None)?
            }
            OperandKind::Function(function) => self.call(
                dot,
                Callee::Function(*function),
                At::Operand(operand),
                &[],
                None,
            )?,
            OperandKind::Pipe(pipe) => self.deeper(|evaluator| evaluator.pipe(dot, pipe))?,
            OperandKind::Bool(_) | OperandKind::Number(_) | OperandKind::Text { .. } => {
                return self.literal(dot, parameter, operand);
            }
        };
        self.checked(value, parameter)
    }

    /// A constant as an argument: its form decides whether it suits.
    fn literal(
        &mut self,
        dot: &Value,
        parameter: Parameter,
        operand: &'t Operand,
    ) -> Evaluated<Value> {
        let expected = match (parameter, &operand.kind) {
            (Parameter::Any | Parameter::Raw, _) | (Parameter::Text, OperandKind::Text { .. }) => {
                return self.constant(dot, operand);
            }
            (Parameter::Int | Parameter::Duration, OperandKind::Number(number)) => {
                if let Some(int) = number.int {
                    let is_int = parameter == Parameter::Int;
                    let kind = if is_int {
                        IntType::Int
                    } else {
                        IntType::Duration
                    };
                    return Ok(Value::Int(int, kind));
                }
                "integer"
            }
            (Parameter::Text, _) => "string",
            (Parameter::Int | Parameter::Duration, _) => "integer",
            _ => {
                return self.fail(format!(
                    "can't handle {operand} for arg of type {}",
                    type_of(parameter)
                ));
            }
        };
        self.fail(format!("expected {expected}; found {operand}"))
    }

    /// A value as an argument: of the type that is wanted, or a pointer to one.
    fn checked(&self, value: Value, parameter: Parameter) -> Evaluated<Value> {
        let expected = type_of(parameter);
        match (parameter, value.inner()) {
            (Parameter::Raw, _) => return Ok(value),
            (Parameter::Any, _) => return Ok(value.unboxed()),
            (Parameter::Samples, Value::Nil) if !is_boxed(&value) => {
                return Ok(Value::Samples(Samples::new(Vec::new())));
            }
            (Parameter::Sample, Value::Nil) if !is_boxed(&value) => {
                return Ok(Value::Sample(None));
            }
            (_, Value::Nil) if !is_boxed(&value) => {
                return self.fail(format!("invalid value; expected {expected}"));
            }
            (Parameter::Text, Value::Text(_))
            | (Parameter::Int, Value::Int(_, IntType::Int))
            | (Parameter::Duration, Value::Int(_, IntType::Duration))
            | (Parameter::Time, Value::Time(_))
            | (Parameter::Samples, Value::Samples(_))
            | (Parameter::Sample, Value::Sample(_)) => return Ok(value.unboxed()),
            (Parameter::Time, Value::TimePointer(time)) => return Ok(Value::Time(**time)),
            (Parameter::Duration, Value::DurationPointer(nanoseconds)) => {
                return Ok(Value::Int(**nanoseconds, IntType::Duration));
            }
            _ => {}
        }
        let got = match value.inner() {
            Value::Nil => value.type_name(),
            inner => inner.type_name(),
        };
        self.fail(format!(
            "wrong type for value; expected {expected}; got {got}"
        ))
    }

    /// The answer of a function, or the text that stands behind `error calling …: `. The arguments
    /// have been checked. Fails when a limit is reached.
    fn function(
        &mut self,
        function: Function,
        values: &[Value],
    ) -> Evaluated<Result<Value, String>> {
        const NULL_POINTER: &str =
            "runtime error: invalid memory address or nil pointer dereference";
        let first = values.first().unwrap_or(&Value::Nil);
        let second = values.get(1).unwrap_or(&Value::Nil);
        let text_at = |index: usize| match values.get(index) {
            Some(Value::Text(text)) => Rc::clone(text),
            _ => "".into(),
        };
        let text_of = |text: String| Ok(Value::text(text));
        let number = |convert: fn(f64) -> String| {
            text::to_float(first).map(|value| Value::text(convert(value)))
        };
        Ok(match function {
            // Handled where they are called.
            Function::And | Function::Or | Function::Call => Ok(Value::Nil),
            Function::Equal => builtin::equal(values).map(Value::Bool),
            Function::NotEqual => builtin::equal(values).map(|equal| Value::Bool(!equal)),
            Function::Less
            | Function::LessOrEqual
            | Function::Greater
            | Function::GreaterOrEqual => {
                builtin::ordered(function, first, second).map(Value::Bool)
            }
            Function::Not => Ok(Value::Bool(!first.is_true())),
            Function::Length => builtin::length(first).map(|length| Value::int(length as i64)),
            Function::Index => builtin::index(values),
            Function::Slice => builtin::slice(values),
            Function::Print => text_of(format::print(values)),
            Function::Println => text_of(format::println(values)),
            Function::Printf => {
                let arguments = values.get(1..).unwrap_or_default();
                match format::printf(&text_at(0), arguments, OUTPUT_BYTES_MAX) {
                    Some(text) => text_of(text),
                    None => return self.too_long(),
                }
            }
            Function::Html => text_of(builtin::escape_html(&builtin::printable(values))),
            Function::JavaScript => text_of(builtin::escape_js(&builtin::printable(values))),
            Function::UrlQuery => text_of(builtin::escape_query(&builtin::printable(values))),
            Function::Args => {
                let arguments = Arguments::new(values);
                if arguments.height() > ARGUMENTS_HEIGHT_MAX {
                    return self.fail(format!(
                        "more than {ARGUMENTS_HEIGHT_MAX} args within one another"
                    ));
                }
                Ok(Value::Arguments(Rc::new(arguments)))
            }
            Function::ExternalUrl => Ok(Value::text(self.data.external_url)),
            Function::PathPrefix => Ok(Value::text(path_of(self.data.external_url))),
            Function::Query => {
                self.step(DEAR_STEPS)?;
                (self.data.query)(&text_at(0), self.data.time).map(|vector| {
                    let samples = vector.into_iter().map(|element| {
                        Rc::new(Sample {
                            labels: element.labels,
                            value: element.sample.value,
                        })
                    });
                    Value::Samples(Samples::new(samples.collect()))
                })
            }
            Function::First => match first {
                Value::Samples(samples) => match samples.get(0) {
                    Some(sample) => Ok(Value::Sample(Some(sample))),
                    None => Err("first() called on vector with no elements".to_owned()),
                },
                _ => Ok(Value::Nil),
            },
            Function::Label | Function::StringValue | Function::Value => {
                let sample = if function == Function::Label {
                    second
                } else {
                    first
                };
                let Value::Sample(Some(sample)) = sample else {
                    return Ok(Err(NULL_POINTER.to_owned()));
                };
                let label = |name: &str| sample.labels.get(name).unwrap_or_default();
                Ok(match function {
                    Function::Label => Value::text(label(&text_at(0))),
                    Function::StringValue => Value::text(label("__value__")),
                    _ => Value::Float(sample.value),
                })
            }
            Function::SortByLabel => match second {
                Value::Samples(samples) => {
                    self.step(samples.len())?;
                    samples.sort_by_label(&text_at(0));
                    Ok(second.clone())
                }
                _ => Ok(Value::Nil),
            },
            Function::Humanize => number(text::humanize),
            Function::Humanize1024 => number(text::humanize1024),
            Function::HumanizeDuration => number(text::humanize_duration),
            Function::HumanizePercentage => number(text::humanize_percentage),
            Function::HumanizeTimestamp => text::to_float(first)
                .and_then(text::humanize_timestamp)
                .map(Value::text),
            Function::ToTime => text::to_float(first)
                .and_then(text::to_time)
                .map(time_pointer),
            Function::ToDuration => text::to_float(first)
                .map(|seconds| Value::DurationPointer(Rc::new((seconds * 1e9) as i64))),
            Function::Now => Ok(Value::Float(self.data.time as f64 / 1000.0)),
            Function::ParseDuration => match narthex_query::parse_duration(&text_at(0)) {
                Ok(duration) => Ok(Value::Float(duration.as_secs_f64())),
                Err(error) => Err(error.to_string()),
            },
            Function::Match => match self.pattern(&text_at(0))? {
                Ok(regex) => Ok(Value::Bool(regex.is_match(&text_at(1)))),
                Err(message) => Err(message),
            },
            Function::ReplaceAll => {
                let pattern = text_at(0);
                match self.pattern(&pattern)? {
                    Ok(regex) => {
                        match regex.replace_all(&text_at(2), &text_at(1), OUTPUT_BYTES_MAX) {
                            Some(text) => text_of(text),
                            None => return self.too_long(),
                        }
                    }
                    Err(message) => {
                        let shown = if pattern.contains('`') {
                            quote(&pattern)
                        } else {
                            format!("`{pattern}`")
                        };
                        Err(format!("regexp: Compile({shown}): {message}"))
                    }
                }
            }
            Function::GraphLink => text_of(format!(
                "/graph?g0.expr={}&g0.tab=0",
                builtin::escape_query(&text_at(0))
            )),
            Function::TableLink => text_of(format!(
                "/graph?g0.expr={}&g0.tab=1",
                builtin::escape_query(&text_at(0))
            )),
            Function::SafeHtml => Ok(Value::Html(text_at(0))),
            Function::StripDomain => text_of(text::strip_domain(&text_at(0))),
            Function::StripPort => text_of(text::strip_port(&text_at(0)).to_owned()),
            Function::Title => text_of(text::title(&text_at(0))),
            Function::ToLower => text_of(text::to_lower(&text_at(0))),
            Function::ToUpper => text_of(text::to_upper(&text_at(0))),
            Function::UrlQueryEscape => text_of(builtin::escape_query(&text_at(0))),
        })
    }

    fn too_long<T>(&self) -> Evaluated<T> {
        self.fail(format!("text of more than {OUTPUT_BYTES_MAX} bytes"))
    }

    /// A compiled pattern; one that was used before is not compiled again.
    fn pattern(&mut self, pattern: &Rc<str>) -> Evaluated<Result<Rc<SearchRegex>, String>> {
        if let Some(regex) = self.patterns.get(pattern) {
            return Ok(Ok(Rc::clone(regex)));
        }
        self.step(DEAR_STEPS)?;
        Ok(match SearchRegex::new(pattern) {
            Ok(regex) => {
                let regex = Rc::new(regex);
                // A handful serves all but templates that make their patterns up.
                if self.patterns.len() < 8 {
                    self.patterns.insert(Rc::clone(pattern), Rc::clone(&regex));
                }
                Ok(regex)
            }
            Err(error) => Err(error.to_string()),
        })
    }
}

/// What is called.
#[derive(Clone, Copy)]
enum Callee<'t> {
    Function(Function),
    Method(&'t str, Method),
}

impl Callee<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Function(function) => function.name(),
            Self::Method(name, _) => name,
        }
    }

    fn signature(&self) -> Signature {
        match self {
            Self::Function(function) => function.signature(),
            Self::Method(_, method) => method.signature(),
        }
    }

    /// What a value counts for among the bytes read and made. Lists and maps do only where they are
    /// written out.
    fn bytes(&self, value: &Value) -> usize {
        let writes = matches!(
            self,
            Self::Function(
                Function::Args
                    | Function::Html
                    | Function::JavaScript
                    | Function::Print
                    | Function::Printf
                    | Function::Println
                    | Function::UrlQuery
            )
        );
        match value.inner() {
            Value::Samples(_) | Value::Arguments(_) if !writes => 8,
            value => value.text_bytes(),
        }
    }

    fn refusal(&self) -> Option<String> {
        match self {
            Self::Function(_) => None,
            Self::Method(_, method) => method.refusal(),
        }
    }
}

fn is_boxed(value: &Value) -> bool {
    matches!(value, Value::Boxed(_))
}

/// Go's name of what a parameter takes.
fn type_of(parameter: Parameter) -> &'static str {
    match parameter {
        Parameter::Any => "interface {}",
        Parameter::Raw => "reflect.Value",
        Parameter::Text => "string",
        Parameter::Int => "int",
        Parameter::Samples => "template.queryResult",
        Parameter::Sample => "*template.sample",
        Parameter::Time => "time.Time",
        Parameter::Duration => "time.Duration",
    }
}

/// The path of a URL.
fn path_of(url: &str) -> &str {
    let behind = url.split_once("://").map_or(url, |(_, behind)| behind);
    let path = behind
        .find('/')
        .and_then(|at| behind.get(at..))
        .unwrap_or_default();
    path.split(['?', '#']).next().unwrap_or_default()
}
