//! What templates compute with: Go's values, as far as Prometheus hands them out.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use narthex_query::SampleValue;
use narthex_storage::Labels;

use super::time::Time;

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// No value at all.
    Nil,
    Bool(bool),
    /// A whole number of one of Go's types.
    Int(i64, IntType),
    Float(f64),
    Text(Rc<str>),
    /// Text that `safeHtml` made.
    Html(Rc<str>),
    /// `map[string]string`.
    Labels(Labels),
    /// `map[string]interface {}`, what `args` makes.
    Arguments(Rc<Arguments>),
    /// What `query` answers.
    Samples(Samples),
    /// One sample of it, or a null pointer.
    Sample(Option<Rc<Sample>>),
    /// What such a pointer points to: only ever printed.
    SampleStruct(Rc<Sample>),
    /// The data that a template is expanded with.
    Root(Rc<Root>),
    /// `time.Time`.
    Time(Time),
    /// `*time.Time`.
    TimePointer(Rc<Time>),
    /// `*time.Duration`, in nanoseconds.
    DurationPointer(Rc<i64>),
    /// A value whose static type is `interface {}`, as `.Value` is.
    Boxed(Rc<Value>),
}

/// Go's types of whole numbers that occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IntType {
    Int,
    Int64,
    /// `uint8`, a byte of a text.
    Byte,
    Month,
    Weekday,
    /// In nanoseconds.
    Duration,
}

/// A sample of a query's answer.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) labels: Labels,
    pub(super) value: Value,
}

/// What `args` makes: values by name, with what the limits need to know of them.
#[derive(Debug)]
pub(super) struct Arguments {
    map: BTreeMap<String, Value>,
    text_bytes: usize,
    height: usize,
}

impl Arguments {
    /// Names the values `arg0`, `arg1` and so on.
    pub(super) fn new(values: &[Value]) -> Self {
        let named = values.iter().enumerate();
        let inner_height = |value: &Value| match value.inner() {
            Value::Arguments(inner) => inner.height,
            _ => 0,
        };
        Self {
            map: named
                .map(|(index, value)| (format!("arg{index}"), value.clone()))
                .collect(),
            text_bytes: (values.iter()).fold(0, |sum: usize, value| {
                sum.saturating_add(value.text_bytes() + 8)
            }),
            height: 1 + values.iter().map(inner_height).max().unwrap_or(0),
        }
    }

    /// The values by name.
    pub(super) fn map(&self) -> &BTreeMap<String, Value> {
        &self.map
    }

    /// How many of these are within one another, this one counted.
    pub(super) fn height(&self) -> usize {
        self.height
    }
}

/// A list of samples, or a part of one: parts share their samples, so that sorting one is seen in
/// the other, as in Go.
#[derive(Debug, Clone)]
pub(super) struct Samples {
    items: Rc<RefCell<Vec<Rc<Sample>>>>,
    start: usize,
    end: usize,
}

impl Samples {
    pub(super) fn new(items: Vec<Rc<Sample>>) -> Self {
        Self {
            start: 0,
            end: items.len(),
            items: Rc::new(RefCell::new(items)),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) fn get(&self, index: usize) -> Option<Rc<Sample>> {
        let at = self.start + index;
        if at >= self.end {
            return None;
        }
        self.items.borrow().get(at).map(Rc::clone)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Rc<Sample>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// How many elements may be reached by slicing.
    pub(super) fn capacity(&self) -> usize {
        self.items.borrow().len() - self.start
    }

    /// The part from `start` up to `end`, which may go beyond this part's own end.
    pub(super) fn slice(&self, start: usize, end: usize) -> Self {
        Self {
            items: Rc::clone(&self.items),
            start: self.start + start,
            end: self.start + end,
        }
    }

    /// Sorts by the value of a label; equal ones keep their order.
    pub(super) fn sort_by_label(&self, label: &str) {
        let value = |sample: &Rc<Sample>| sample.labels.get(label).unwrap_or_default().to_owned();
        if let Some(part) = self.items.borrow_mut().get_mut(self.start..self.end) {
            part.sort_by_cached_key(value);
        }
    }
}

/// The data that a template is expanded with.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) labels: Labels,
    pub(super) external_labels: Labels,
    pub(super) external_url: Rc<str>,
    pub(super) value: Value,
}

/// The type of the data, as Go spells it.
pub(super) const ROOT_TYPE: &str = "struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }";

impl Value {
    /// The value of a sample; a native histogram is its text.
    pub(super) fn of_sample(value: &SampleValue) -> Self {
        match value {
            SampleValue::Float(value) => Self::Float(*value),
            SampleValue::Histogram(histogram) => Self::text(histogram.to_string()),
        }
    }

    pub(super) fn text(text: impl Into<Rc<str>>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn int(value: i64) -> Self {
        Self::Int(value, IntType::Int)
    }

    pub(super) fn boxed(value: Self) -> Self {
        match value {
            Self::Boxed(_) => value,
            _ => Self::Boxed(Rc::new(value)),
        }
    }

    /// The value without its box.
    pub(super) fn unboxed(self) -> Self {
        match self {
            Self::Boxed(inner) => (*inner).clone().unboxed(),
            _ => self,
        }
    }

    /// The value without its box.
    pub(super) fn inner(&self) -> &Self {
        match self {
            Self::Boxed(inner) => inner.inner(),
            _ => self,
        }
    }

    /// Go's name of the type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_, IntType::Int) => "int",
            Self::Int(_, IntType::Int64) => "int64",
            Self::Int(_, IntType::Byte) => "uint8",
            Self::Int(_, IntType::Month) => "time.Month",
            Self::Int(_, IntType::Weekday) => "time.Weekday",
            Self::Int(_, IntType::Duration) => "time.Duration",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Html(_) => "template.HTML",
            Self::Labels(_) => "map[string]string",
            Self::Arguments(_) => "map[string]interface {}",
            Self::Samples(_) => "template.queryResult",
            Self::Sample(_) => "*template.sample",
            Self::SampleStruct(_) => "template.sample",
            Self::Root(_) => ROOT_TYPE,
            Self::Time(_) => "time.Time",
            Self::TimePointer(_) => "*time.Time",
            Self::DurationPointer(_) => "*time.Duration",
            Self::Boxed(_) => "interface {}",
        }
    }

    /// Whether `if` takes it for true: not zero, not empty, not nothing.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil | Self::Sample(None) => false,
            Self::Bool(value) => *value,
            Self::Int(value, _) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) | Self::Html(text) => !text.is_empty(),
            Self::Labels(labels) => !labels.is_empty(),
            Self::Arguments(arguments) => !arguments.map().is_empty(),
            Self::Samples(samples) => samples.len() > 0,
            Self::Sample(Some(_))
            | Self::SampleStruct(_)
            | Self::Root(_)
            | Self::Time(_)
            | Self::TimePointer(_)
            | Self::DurationPointer(_) => true,
            Self::Boxed(inner) => inner.is_true(),
        }
    }

    /// About how many bytes it takes to write the value out.
    pub(super) fn text_bytes(&self) -> usize {
        let value_bytes = |value: &Self| match value {
            Self::Text(text) => text.len(),
            _ => 8,
        };
        let sample_bytes =
            |sample: &Rc<Sample>| sample.labels.as_bytes().len() + value_bytes(&sample.value);
        match self.inner() {
            Self::Text(text) | Self::Html(text) => text.len(),
            Self::Labels(labels) => labels.as_bytes().len(),
            Self::Samples(samples) => samples.iter().map(|sample| sample_bytes(&sample)).sum(),
            Self::Sample(Some(sample)) | Self::SampleStruct(sample) => sample_bytes(sample),
            Self::Arguments(arguments) => arguments.text_bytes,
            Self::Root(root) => {
                root.labels.as_bytes().len()
                    + root.external_labels.as_bytes().len()
                    + root.external_url.len()
            }
            _ => 8,
        }
    }
}
