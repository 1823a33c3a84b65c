//! Binary operations. Series find their partners once a query; what Prometheus checks at each step
//! (several series on the side that must be one, equal labels in the result) is checked where two
//! rows have a sample at the same step.

use std::{collections::HashMap, sync::Arc};

use narthex_storage::{Labels, METRIC_NAME};

use crate::{
    QueryError,
    annotations::Remark,
    functions::go_math,
    parser::{Binary, BinaryOp, Cardinality, Span, VectorMatching},
};

use super::{
    ABSENT, Evaluation, Frame, HistogramCell, Node, Row,
    frame::{Merge, hasher},
    internal, is_absent,
    operation::{self, Operand, Outcome},
    without_name,
};

impl Evaluation<'_> {
    #[inline(never)]
    pub(super) fn binary(
        &mut self,
        binary: &Binary,
        lhs: Node,
        rhs: Node,
        span: Span,
    ) -> Result<Node, QueryError> {
        self.check()?;
        match (lhs, rhs) {
            (Node::Scalar(_), Node::Scalar(_)) if is_trim(binary.op) => {
                Err(QueryError::Execution(format!(
                    "operator \"{}\" not allowed for Scalar operations",
                    binary.op.as_str()
                )))
            }
            (Node::Scalar(lhs), Node::Scalar(rhs)) => Ok(Node::Scalar(
                lhs.iter()
                    .zip(&rhs)
                    .map(|(lhs, rhs)| scalar_operation(binary.op, *lhs, *rhs))
                    .collect(),
            )),
            (Node::Vector(frame), Node::Scalar(scalars)) => {
                self.vector_scalar(binary, frame, &scalars, false, span)
            }
            (Node::Scalar(scalars), Node::Vector(frame)) => {
                self.vector_scalar(binary, frame, &scalars, true, span)
            }
            (Node::Vector(lhs), Node::Vector(rhs)) => {
                let matching = binary
                    .matching
                    .as_ref()
                    .ok_or_else(|| internal("two vectors have a matching"))?;
                let frame = match binary.op {
                    BinaryOp::And | BinaryOp::Unless | BinaryOp::Or => {
                        set_operation(binary.op, matching, lhs, &rhs)?
                    }
                    _ => self.vector_vector(binary, matching, &lhs, &rhs, span)?,
                };
                Ok(Node::Vector(frame))
            }
            _ => Err(internal("a text is no operand")),
        }
    }

    fn vector_scalar(
        &mut self,
        binary: &Binary,
        mut frame: Frame,
        scalars: &[f64],
        swapped: bool,
        span: Span,
    ) -> Result<Node, QueryError> {
        let op = binary.op;
        let mut remarks = LastRemarks::default();
        let mut operands = Vec::with_capacity(frame.steps);
        for index in 0..frame.len() {
            self.check()?;
            let place = frame.heads[index].place;
            let cells = frame.histograms_mut(index).iter_mut().zip(scalars);
            for (step, (cell, scalar)) in cells.enumerate() {
                let Some(histogram) = cell else { continue };
                let (left, right) = if swapped {
                    (Operand::Float(*scalar), Operand::Histogram(histogram))
                } else {
                    (Operand::Histogram(histogram), Operand::Float(*scalar))
                };
                let mut remark = None;
                *cell = match operation::combine(op, left, right, &mut remark) {
                    Outcome::Histogram(result) => Some(result),
                    Outcome::Compared(_) | Outcome::Refused => None,
                };
                remarks.add(step, place, remark);
            }
            if is_trim(op) {
                for (step, cell) in frame.floats_mut(index).iter_mut().enumerate() {
                    if !is_absent(*cell) {
                        *cell = ABSENT;
                        let remark = Remark::IncompatibleKinds("float", op.as_str(), "float");
                        remarks.add(step, place, Some(remark));
                    }
                }
                continue;
            }
            let cells = frame.floats_mut(index);
            operands.clear();
            operands.extend_from_slice(cells);
            if swapped {
                combine_rows(binary, scalars, &operands, Side::Right, cells);
            } else {
                combine_rows(binary, &operands, scalars, Side::Left, cells);
            }
        }
        self.say_all(remarks, span);
        let mut frame = frame.drop_empty_rows();
        if changes_metric(binary) {
            frame = self.drop_names(frame);
        }
        if !self.options.features.delayed_name_removal {
            frame = frame.merge_same_labels()?;
        }
        Ok(Node::Vector(frame))
    }

    fn vector_vector(
        &mut self,
        binary: &Binary,
        matching: &VectorMatching,
        lhs: &Frame,
        rhs: &Frame,
        span: Span,
    ) -> Result<Frame, QueryError> {
        let mut remarks = LastRemarks::default();
        let steps = lhs.steps;
        let swapped = matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
        // `fill_left` is for the many, whichever side they are on.
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        let filled_many = self.fill(many, one, matching, matching.fill_left)?;
        let filled_one = self.fill(one, many, matching, matching.fill_right)?;
        let many = filled_many.as_ref().unwrap_or(many);
        let one = filled_one.as_ref().unwrap_or(one);
        let delayed = self.options.features.delayed_name_removal;
        let mut keys = Signatures::new(matching);
        let one_groups: Vec<usize> = one
            .heads
            .iter()
            .map(|head| keys.find(&head.labels))
            .collect();
        let mut partners: Vec<Vec<usize>> = vec![Vec::new(); keys.count()];
        for (row, group) in one_groups.iter().enumerate() {
            partners[*group].push(row);
        }
        for rows in &mut partners {
            rows.sort_by_key(|row| one.heads[*row].place);
        }
        let refusal = match check_one_side(matching, (!fills).then_some(many), one, &partners) {
            Some((0, error)) => return Err(error),
            refusal => refusal,
        };
        // What is wrong at an earlier step is said first.
        let limit = refusal.as_ref().map_or(steps, |(step, _)| *step);
        let mut out = Merge::new(steps);
        let mut cells = vec![ABSENT; steps];
        let mut histograms: Vec<HistogramCell> = Vec::new();
        let is_one_to_one = matching.cardinality == Cardinality::OneToOne;
        let filters = binary.op.is_comparison() && !binary.return_bool;
        // Many-to-one: only labels of the one side can make two results one.
        let may_clash = !is_one_to_one && !matching.include.is_empty();
        // At which steps a group, or the labels of a result of it, were already matched.
        let mut taken: HashMap<(usize, Labels), Vec<bool>, _> = HashMap::with_hasher(hasher());
        let mut crowded = vec![0_u32; partners.len()];
        let many_groups: Vec<Option<usize>> = many
            .heads
            .iter()
            .map(|head| keys.look(&head.labels))
            .collect();
        for group in many_groups.iter().flatten() {
            crowded[*group] += 1;
        }
        // Many-to-one: the results of one group by their labels.
        let mut results: HashMap<(usize, Labels), usize, _> = HashMap::with_hasher(hasher());
        for (row, group) in many_groups.iter().enumerate() {
            let Some(group) = *group else { continue };
            self.check()?;
            let place = many.heads[row].place;
            for partner in &partners[group] {
                let (left, right) = if swapped {
                    (one.row(*partner), many.row(row))
                } else {
                    (many.row(row), one.row(*partner))
                };
                let mut any = false;
                histograms.clear();
                let are_numbers = left.histograms.is_empty() && right.histograms.is_empty();
                if are_numbers && !is_trim(binary.op) {
                    let (left, right) = (&left.floats[..limit], &right.floats[..limit]);
                    any = combine_rows(binary, left, right, Side::Left, &mut cells[..limit]);
                } else {
                    for step in 0..limit {
                        let (a, b) = (left.floats[step], right.floats[step]);
                        cells[step] = ABSENT;
                        if is_absent(a) || is_absent(b) {
                            let pair = (operand(left, step), operand(right, step));
                            if let (Some(a), Some(b)) = pair {
                                histograms.resize(steps, None);
                                let mut remark = None;
                                let outcome = operation::combine(binary.op, a, b, &mut remark);
                                remarks.add(step, place, remark);
                                any |= keep(
                                    outcome,
                                    a,
                                    binary,
                                    &mut cells[step],
                                    &mut histograms[step],
                                );
                            }
                            continue;
                        }
                        cells[step] = match (binary.op.is_comparison(), binary.return_bool) {
                            _ if is_trim(binary.op) => {
                                let name = binary.op.as_str();
                                let remark = Remark::IncompatibleKinds("float", name, "float");
                                remarks.add(step, place, Some(remark));
                                continue;
                            }
                            (false, _) => arithmetic(binary.op, a, b),
                            (true, true) => f64::from(compare(binary.op, a, b)),
                            (true, false) if compare(binary.op, a, b) => a,
                            (true, false) => continue,
                        };
                        any = true;
                    }
                }
                // What a comparison leaves out takes part in a match nevertheless.
                if filters && (is_one_to_one && crowded[group] > 1 || may_clash) {
                    let labels = if is_one_to_one {
                        Labels::empty()
                    } else {
                        let (many, one) = (&many.heads[row], &one.heads[*partner]);
                        result_labels(&many.labels, &one.labels, matching, false)
                    };
                    self.charge(steps as u64 / 8 + 1)?;
                    let taken = taken
                        .entry((group, labels))
                        .or_insert_with(|| vec![false; steps]);
                    let is_compared = |step| step < limit && compares(binary.op, left, right, step);
                    claim(taken, is_compared, matching)?;
                }
                if !any {
                    continue;
                }
                let out_row = Row {
                    floats: &cells,
                    histograms: &histograms,
                    place,
                };
                let (many_head, one_head) = (&many.heads[row], &one.heads[*partner]);
                let drops = changes_metric(binary);
                let labels = result_labels(
                    &many_head.labels,
                    &one_head.labels,
                    matching,
                    drops && !(delayed && binary.return_bool),
                );
                // What a comparison keeps has its name again.
                let drop_name = delayed && binary.return_bool;
                if is_one_to_one {
                    if !filters && crowded[group] > 1 {
                        let taken = taken
                            .entry((group, Labels::empty()))
                            .or_insert_with(|| vec![false; steps]);
                        claim(taken, |step| out_row.is_present(step), matching)?;
                    }
                } else if let Some(index) = results.get(&(group, labels.clone()))
                    && overlap(out.frame.row(*index), out_row)
                {
                    return Err(several_matches(matching));
                }
                self.charge(out_row.cost_cells())?;
                let index = out.add(&labels, drop_name, out_row)?;
                if !is_one_to_one {
                    results.insert((group, labels), index);
                }
            }
        }
        self.say_all(remarks, span);
        match refusal {
            Some((_, error)) => Err(error),
            None => Ok(out.frame),
        }
    }

    /// The frame and, for each match group of `other`, a row of the group's labels that has `value` where
    /// `other` has a sample of the group and the frame has none.
    fn fill(
        &self,
        frame: &Frame,
        other: &Frame,
        matching: &VectorMatching,
        value: Option<f64>,
    ) -> Result<Option<Frame>, QueryError> {
        let Some(value) = value else { return Ok(None) };
        let mut known = Signatures::new(matching);
        let here = presence(frame, &mut known);
        let mut groups = Signatures::new(matching);
        let there = presence(other, &mut groups);
        let mut filled = frame.clone();
        let behind = frame.place_behind();
        for (group, labels) in groups.in_order().into_iter().enumerate() {
            self.check()?;
            let here = known.known.get(labels).map(|group| &here[*group]);
            let cells: Vec<f64> = (0..frame.steps)
                .map(|step| {
                    let is_missing = there[group][step] && here.is_none_or(|here| !here[step]);
                    if is_missing { value } else { ABSENT }
                })
                .collect();
            let row = Row::floats(&cells).at(behind + group as u64);
            if !row.is_empty() {
                self.charge(row.cost_cells())?;
                filled.push(labels.clone(), false, row);
            }
        }
        Ok(Some(filled))
    }

    /// Says what is to be said about an operator, each thing once.
    fn say_all(&mut self, remarks: LastRemarks, span: Span) {
        let remarks = remarks.steps.into_iter().flatten();
        let mut remarks: Vec<Remark<'_>> = remarks.map(|(_, remark)| remark).collect();
        remarks.dedup();
        for remark in remarks {
            self.notes.say(remark.say(), span);
        }
    }
}

/// What is to be said about an operator: of each step what is said of the last row, as in Prometheus.
#[derive(Debug, Default)]
struct LastRemarks {
    /// With the place of the row.
    steps: Vec<Option<(u64, Remark<'static>)>>,
}

impl LastRemarks {
    /// What is said of a step of the row at a place, if anything is.
    fn add(&mut self, step: usize, place: u64, remark: Option<Remark<'static>>) {
        let Some(remark) = remark else { return };
        if self.steps.len() <= step {
            self.steps.resize(step + 1, None);
        }
        let last = &mut self.steps[step];
        if last.as_ref().is_none_or(|(known, _)| *known <= place) {
            *last = Some((place, remark));
        }
    }
}

/// Whether the result is another metric than the operand.
fn changes_metric(binary: &Binary) -> bool {
    (!binary.op.is_comparison() && !is_trim(binary.op)) || binary.return_bool
}

fn is_trim(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower)
}

/// The sample at a step as an operand.
fn operand(row: Row<'_>, step: usize) -> Option<Operand<'_>> {
    match row.histogram(step) {
        Some(histogram) => Some(Operand::Histogram(histogram)),
        None if is_absent(row.floats[step]) => None,
        None => Some(Operand::Float(row.floats[step])),
    }
}

/// Puts the outcome of an operation with histograms into its cell; whether there is one.
fn keep(
    outcome: Outcome,
    left: Operand<'_>,
    binary: &Binary,
    float: &mut f64,
    histogram: &mut HistogramCell,
) -> bool {
    match (outcome, left) {
        (Outcome::Histogram(_), _) if binary.return_bool => *float = 1.0,
        (Outcome::Histogram(result), _) => *histogram = Some(result),
        (Outcome::Compared(holds), _) if binary.return_bool => *float = f64::from(holds),
        (Outcome::Compared(true), Operand::Histogram(left)) => *histogram = Some(Arc::clone(left)),
        (Outcome::Compared(_) | Outcome::Refused, _) => return false,
    }
    true
}

/// The first step at which several series of one match group have samples on the side that must be
/// one, and what is to be said of the first two of them. Without `many` every step counts.
fn check_one_side(
    matching: &VectorMatching,
    many: Option<&Frame>,
    one: &Frame,
    partners: &[Vec<usize>],
) -> Option<(usize, QueryError)> {
    let crowded: Vec<&Vec<usize>> = partners.iter().filter(|rows| rows.len() > 1).collect();
    if crowded.is_empty() {
        return None;
    }
    // A step without any sample on the other side is not looked at.
    let mut any_many = vec![many.is_none(); one.steps];
    for (_, row) in many.into_iter().flat_map(Frame::iter) {
        for (step, any) in any_many.iter_mut().enumerate() {
            *any |= row.is_present(step);
        }
    }
    let (step, second, first) = crowded
        .iter()
        .filter_map(|rows| {
            (0..one.steps)
                .filter(|step| any_many[*step])
                .find_map(|step| {
                    let mut present = rows.iter().filter(|row| one.row(**row).is_present(step));
                    let (first, second) = (present.next()?, present.next()?);
                    Some((step, *second, *first))
                })
        })
        .min_by_key(|(step, second, _)| (*step, one.heads[*second].place))?;
    let side = if matching.cardinality == Cardinality::OneToMany {
        "left"
    } else {
        "right"
    };
    let (first, second) = (&one.heads[first].labels, &one.heads[second].labels);
    let error = QueryError::Execution(format!(
        "found duplicate series for the match group {} on the {side} hand-side of the operation: \
         [{second}, {first}];many-to-many matching not allowed: matching labels must be unique on \
         one side",
        signature(second, matching),
    ));
    Some((step, error))
}

/// Marks the steps at which a one-to-one group has its result.
fn claim(
    taken: &mut [bool],
    takes: impl Fn(usize) -> bool,
    matching: &VectorMatching,
) -> Result<(), QueryError> {
    for (step, taken) in taken.iter_mut().enumerate() {
        if takes(step) {
            if *taken {
                return Err(several_matches(matching));
            }
            *taken = true;
        }
    }
    Ok(())
}

fn several_matches(matching: &VectorMatching) -> QueryError {
    QueryError::Execution(format!(
        "multiple matches for labels: {}",
        match matching.cardinality {
            Cardinality::OneToOne =>
                "many-to-one matching must be explicit (group_left/group_right)",
            _ => "grouping labels must ensure unique matches",
        }
    ))
}

/// Whether a comparison has two samples at a step that it can compare.
fn compares(op: BinaryOp, left: Row<'_>, right: Row<'_>, step: usize) -> bool {
    match (operand(left, step), operand(right, step)) {
        (Some(Operand::Float(_)), Some(Operand::Float(_))) => true,
        (Some(Operand::Histogram(_)), Some(Operand::Histogram(_))) => {
            matches!(op, BinaryOp::Equal | BinaryOp::NotEqual)
        }
        _ => false,
    }
}

/// Whether both rows have a sample at the same step.
fn overlap(a: Row<'_>, b: Row<'_>) -> bool {
    (0..a.steps()).any(|step| a.is_present(step) && b.is_present(step))
}

fn set_operation(
    op: BinaryOp,
    matching: &VectorMatching,
    mut lhs: Frame,
    rhs: &Frame,
) -> Result<Frame, QueryError> {
    let steps = lhs.steps;
    let mut keys = Signatures::new(matching);
    if op == BinaryOp::Or {
        let present = presence(&lhs, &mut keys);
        let mut out = Merge::new(steps);
        for (head, row) in lhs.iter() {
            out.add(&head.labels, head.drop_name, row)?;
        }
        let behind = lhs.place_behind();
        let mut rest = rhs.clone();
        for index in 0..rest.len() {
            if let Some(group) = keys.look(&rest.heads[index].labels) {
                for (step, present) in present[group].iter().enumerate() {
                    if *present {
                        rest.remove(index, step);
                    }
                }
            }
        }
        for (head, row) in rest.iter().filter(|(_, row)| !row.is_empty()) {
            let row = row.at(behind + row.place);
            out.add(&head.labels, head.drop_name, row)?;
        }
        return Ok(out.frame);
    }
    let present = presence(rhs, &mut keys);
    let wanted = op == BinaryOp::And;
    for index in 0..lhs.len() {
        let group = keys.look(&lhs.heads[index].labels);
        let in_group = |step: usize| group.is_some_and(|group| present[group][step]);
        for step in (0..steps).filter(|step| in_group(*step) != wanted) {
            lhs.remove(index, step);
        }
    }
    Ok(lhs.drop_empty_rows())
}

/// At which steps each match group has a sample.
fn presence(frame: &Frame, keys: &mut Signatures<'_>) -> Vec<Vec<bool>> {
    let mut present: Vec<Vec<bool>> = Vec::new();
    for (head, row) in frame.iter() {
        let group = keys.find(&head.labels);
        if group == present.len() {
            present.push(vec![false; frame.steps]);
        }
        for (step, present) in present[group].iter_mut().enumerate() {
            *present |= row.is_present(step);
        }
    }
    present
}

/// Numbers the match groups.
struct Signatures<'m> {
    matching: &'m VectorMatching,
    known: HashMap<Labels, usize, foldhash::fast::RandomState>,
}

impl<'m> Signatures<'m> {
    fn new(matching: &'m VectorMatching) -> Self {
        Self {
            matching,
            known: HashMap::with_hasher(hasher()),
        }
    }

    fn count(&self) -> usize {
        self.known.len()
    }

    /// The labels of every group, by number.
    fn in_order(&self) -> Vec<&Labels> {
        let mut groups: Vec<(&usize, &Labels)> = self
            .known
            .iter()
            .map(|(labels, group)| (group, labels))
            .collect();
        groups.sort_unstable_by_key(|(group, _)| **group);
        groups.into_iter().map(|(_, labels)| labels).collect()
    }

    /// The group's number, a new one if it was never seen.
    fn find(&mut self, labels: &Labels) -> usize {
        let next = self.known.len();
        *self
            .known
            .entry(signature(labels, self.matching))
            .or_insert(next)
    }

    /// The group's number, if it was seen.
    fn look(&self, labels: &Labels) -> Option<usize> {
        self.known.get(&signature(labels, self.matching)).copied()
    }
}

/// The labels that must agree.
fn signature(labels: &Labels, matching: &VectorMatching) -> Labels {
    let listed = |name: &[u8]| matching.labels.iter().any(|label| label.as_bytes() == name);
    labels.filtered(|name| {
        if matching.on {
            listed(name)
        } else {
            name != METRIC_NAME.as_bytes() && !listed(name)
        }
    })
}

/// The labels of a result.
fn result_labels(
    many: &Labels,
    one: &Labels,
    matching: &VectorMatching,
    drops_name: bool,
) -> Labels {
    let base = if drops_name {
        without_name(many)
    } else {
        many.clone()
    };
    if matching.cardinality == Cardinality::OneToOne {
        let listed = |name: &[u8]| matching.labels.iter().any(|label| label.as_bytes() == name);
        return base.filtered(|name| listed(name) == matching.on);
    }
    if matching.include.is_empty() {
        return base;
    }
    let included = matching.include.iter();
    included.fold(base, |labels, name| {
        labels.with(name, one.get(name).unwrap_or_default())
    })
}

/// Fills `out` with what a binary operator makes of two rows of numbers: where one of them has none there is
/// nothing, and a comparison without `bool` leaves the numbers of one side, where it holds. Answers whether
/// there is anything.
fn combine_rows(
    binary: &Binary,
    left: &[f64],
    right: &[f64],
    keeps: Side,
    out: &mut [f64],
) -> bool {
    fn each(
        left: &[f64],
        right: &[f64],
        out: &mut [f64],
        operate: impl Fn(f64, f64) -> f64,
    ) -> bool {
        let mut any = 0;
        for ((cell, a), b) in out.iter_mut().zip(left).zip(right) {
            let result = operate(*a, *b);
            let is_missing = is_absent(*a) || is_absent(*b);
            *cell = if is_missing { ABSENT } else { result };
            any |= u64::from(!is_absent(*cell));
        }
        any != 0
    }
    let op = binary.op;
    match (op, binary.return_bool, keeps) {
        (BinaryOp::Add, ..) => each(left, right, out, |a, b| a + b),
        (BinaryOp::Sub, ..) => each(left, right, out, |a, b| a - b),
        (BinaryOp::Mul, ..) => each(left, right, out, |a, b| a * b),
        (BinaryOp::Div, ..) => each(left, right, out, |a, b| a / b),
        (_, true, _) => each(left, right, out, |a, b| f64::from(compare(op, a, b))),
        (_, false, Side::Left) if op.is_comparison() => {
            each(
                left,
                right,
                out,
                |a, b| {
                    if compare(op, a, b) { a } else { ABSENT }
                },
            )
        }
        (_, false, Side::Right) if op.is_comparison() => {
            each(
                left,
                right,
                out,
                |a, b| {
                    if compare(op, a, b) { b } else { ABSENT }
                },
            )
        }
        _ => each(left, right, out, |a, b| arithmetic(op, a, b)),
    }
}

/// A side of an operator.
#[derive(Debug, Clone, Copy)]
enum Side {
    Left,
    Right,
}

/// An operation of two numbers; a comparison gives 1 or 0.
fn scalar_operation(op: BinaryOp, lhs: f64, rhs: f64) -> f64 {
    if op.is_comparison() {
        f64::from(compare(op, lhs, rhs))
    } else {
        arithmetic(op, lhs, rhs)
    }
}

#[inline]
fn arithmetic(op: BinaryOp, lhs: f64, rhs: f64) -> f64 {
    match op {
        BinaryOp::Add => lhs + rhs,
        BinaryOp::Sub => lhs - rhs,
        BinaryOp::Mul => lhs * rhs,
        BinaryOp::Div => lhs / rhs,
        BinaryOp::Mod => lhs % rhs,
        BinaryOp::Pow => go_math::pow(lhs, rhs),
        BinaryOp::Atan2 => go_math::atan2(lhs, rhs),
        _ => f64::NAN,
    }
}

#[inline]
fn compare(op: BinaryOp, lhs: f64, rhs: f64) -> bool {
    match op {
        BinaryOp::Equal => lhs == rhs,
        BinaryOp::NotEqual => lhs != rhs,
        BinaryOp::Less => lhs < rhs,
        BinaryOp::LessEqual => lhs <= rhs,
        BinaryOp::Greater => lhs > rhs,
        BinaryOp::GreaterEqual => lhs >= rhs,
        _ => false,
    }
}
