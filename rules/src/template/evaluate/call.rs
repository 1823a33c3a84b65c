//! Calls: which arguments a function or method takes, and that it gets them.

use super::{At, Evaluated, Evaluator};
use crate::template::{
    builtin,
    function::{Function, Parameter, Signature},
    method::Method,
    node::{Operand, OperandKind},
    value::{IntType, Samples, Value},
};

impl<'t> Evaluator<'t, '_> {
    /// Calls a function or method. `whole` is what errors of the call itself are shown at.
    pub(super) fn call(
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
                // Without an operand to show, Go shows a text, or the type of anything else.
                let shown = match (arguments.first(), values.first()) {
                    (Some(operand), _) => operand.to_string(),
                    (None, Some(Value::Text(text) | Value::Html(text))) => text.to_string(),
                    (None, value) => {
                        format!("<{} Value>", value.map_or("invalid", Value::type_name))
                    }
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
}

/// What is called.
#[derive(Clone, Copy)]
pub(super) enum Callee<'t> {
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
