//! Pipelines, commands and their operands.

use std::rc::Rc;

use super::{At, Evaluated, Evaluator, call::Callee};
use crate::template::{
    method::Method,
    node::{Command, Operand, OperandKind, Pipe},
    value::Value,
};

impl<'t> Evaluator<'t, '_> {
    pub(super) fn pipe(&mut self, dot: &Value, pipe: &'t Pipe) -> Evaluated<Value> {
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

    pub(super) fn no_function(
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
    pub(super) fn constant(&self, dot: &Value, operand: &'t Operand) -> Evaluated<Value> {
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
    pub(super) fn fields_of(
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
            (Value::Root(root), "Value") => Value::boxed(root.value.clone()),
            (Value::Sample(None), "Labels" | "Value") => {
                return self.fail(format!("nil pointer evaluating {type_name}.{name}"));
            }
            (Value::Sample(Some(sample)), "Labels") => Value::Labels(sample.labels.clone()),
            (Value::Sample(Some(sample)), "Value") => sample.value.clone(),
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
}
