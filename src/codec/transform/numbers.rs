//! Numbers and comparisons of a program. Whole numbers stay whole among themselves, as in CEL; a number of the message is a
//! double where it is computed with, so that `21` and `21.5` are divided alike.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use super::meter::Meter;
use super::value::{Key, Text, Value, number_text};

/// An operator of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Arithmetic {
    const fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }

    /// Of two values.
    pub(super) fn of<'a>(self, left: &Value<'a>, right: &Value<'a>) -> Result<Value<'a>, String> {
        let sign = self.sign();
        if let (Value::Int(left), Value::Int(right)) = (left, right) {
            let made = match self {
                Self::Add => left.checked_add(*right),
                Self::Subtract => left.checked_sub(*right),
                Self::Multiply => left.checked_mul(*right),
                Self::Divide => left.checked_div(*right),
                Self::Remainder => left.checked_rem(*right),
            };
            return made
                .map(Value::Int)
                .ok_or_else(|| format!("{left} {sign} {right} is no number"));
        }
        let (Some(left), Some(right)) = (double(left), double(right)) else {
            return Err(format!("no {sign} of {} and {}", left.kind(), right.kind()));
        };
        finite(match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide => left / right,
            Self::Remainder => left % right,
        })
        .ok_or_else(|| {
            let (left, right) = (number_text(left), number_text(right));
            format!("{left} {sign} {right} is no number")
        })
    }
}

/// A number that JSON can write.
pub(super) fn finite<'a>(number: f64) -> Option<Value<'a>> {
    number.is_finite().then_some(Value::Double(number))
}

/// A number as a double.
pub(super) fn double(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Int(number) => Some(of_int(*number)),
        Value::Double(number) => Some(*number),
        Value::Number(text) => text.parse().ok().filter(|it: &f64| it.is_finite()),
        _ => None,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "beyond 2^53 a double is the nearest one, as in CEL"
)]
pub(super) const fn of_int(number: i64) -> f64 {
    number as f64
}

/// The whole number of a double without what is behind the point, if it has so few digits.
pub(super) fn to_int(number: f64) -> Option<i64> {
    /// 2^63: doubles below have a whole number.
    const END: f64 = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "what is behind the point goes, as in CEL")]
    (-END..END).contains(&number).then_some(number as i64)
}

/// A whole number: one that is, or a number that has nothing behind its point.
pub(super) fn whole(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Number(text) if let Ok(number) = text.parse() => Some(number),
        _ => double(value).filter(|it| it.fract() == 0.0).and_then(to_int),
    }
}

/// A place in a list, a text or bytes.
pub(super) fn place(value: &Value<'_>) -> Result<usize, String> {
    let place = whole(value).ok_or_else(|| format!("{} is no place", value.kind()))?;
    usize::try_from(place).map_err(|_| format!("{place} is no place: they begin at 0"))
}

/// Which of two values is before the other.
pub(super) fn compare(left: &Value<'_>, right: &Value<'_>) -> Result<Ordering, String> {
    let ordering = match (left, right) {
        (Value::Text(left), Value::Text(right)) => Some(str::cmp(left, right)),
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        _ => double(left).zip(double(right)).and_then(|(left, right)| left.partial_cmp(&right)),
    };
    ordering.ok_or_else(|| format!("{} and {} have no order", left.kind(), right.kind()))
}

/// Whether two values are the same; those of two kinds are not.
pub(super) fn equal<'a>(
    left: &Value<'a>,
    right: &Value<'a>,
    meter: &mut Meter,
) -> Result<bool, String> {
    meter.step()?;
    left.read(meter)?;
    right.read(meter)?;
    Ok(match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Text(left), Value::Text(right)) => **left == **right,
        (Value::Bytes(left), Value::Bytes(right)) => {
            meter.read(left.len().min(right.len()))?;
            left == right
        }
        (Value::Int(left), Value::Int(right)) => left == right,
        _ if left.is_list() && right.is_list() || left.is_map() && right.is_map() => {
            return elements(left, meter)?.iter().zip(&elements(right, meter)?).try_fold(
                size(left, meter)? == size(right, meter)?,
                |same, pair| {
                    let (left, right) = pair;
                    Ok(same
                        && key_of(&left.0) == key_of(&right.0)
                        && equal(&left.1, &right.1, meter)?)
                },
            );
        }
        _ => double(left)
            .zip(double(right))
            .is_some_and(|(left, right)| left.partial_cmp(&right) == Some(Ordering::Equal)),
    })
}

fn key_of<'k>(key: &'k Key<'_>) -> (i64, &'k str) {
    match key {
        Key::At(place) => (*place, ""),
        Key::Name(name) => (-1, name),
    }
}

/// The elements of a list, or the members of a map in the order of their names.
fn elements<'a>(of: &Value<'a>, meter: &mut Meter) -> Result<Vec<(Key<'a>, Value<'a>)>, String> {
    let mut all = Vec::new();
    of.each(meter, |meter, key, value| {
        meter.read(key_of(&key).1.len())?;
        meter.make(size_of::<(Key<'_>, Value<'_>)>())?;
        all.push((key, value));
        Ok::<_, String>(ControlFlow::Continue(()))
    })?;
    all.sort_by(|(left, _), (right, _)| key_of(left).cmp(&key_of(right)));
    Ok(all)
}

/// How many elements, members, characters or bytes it has.
pub(super) fn size(of: &Value<'_>, meter: &mut Meter) -> Result<i64, String> {
    let size = match of {
        Value::Text(text) => text.chars().count(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.len(),
        Value::Map(members) => members.len(),
        Value::Raw(_) => {
            let mut count = 0;
            of.each(meter, |_, _, _| {
                count += 1;
                Ok::<_, String>(ControlFlow::Continue(()))
            })?;
            count
        }
        _ => return Err(format!("{} has no size", of.kind())),
    };
    i64::try_from(size).map_err(|it| it.to_string())
}

/// `a + b`: of numbers, texts, bytes or lists.
pub(super) fn add<'a>(
    left: &Value<'a>,
    right: &Value<'a>,
    meter: &mut Meter,
) -> Result<Value<'a>, String> {
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => {
            meter.make(left.len() + right.len())?;
            Ok(Value::Text(Text::Made([&**left, &**right].concat().into())))
        }
        (Value::Bytes(left), Value::Bytes(right)) => {
            meter.make(left.len() + right.len())?;
            Ok(Value::Bytes([&left[..], &right[..]].concat().into()))
        }
        _ if left.is_list() && right.is_list() => {
            let mut all = Vec::new();
            for of in [left, right] {
                push_all(&mut all, of, meter)?;
            }
            Ok(Value::List(all.into()))
        }
        (Value::Text(_), _) | (_, Value::Text(_)) => Err(format!(
            "no + of {} and {}: write string(…) around what is no text",
            left.kind(),
            right.kind()
        )),
        _ => Arithmetic::Add.of(left, right),
    }
}

/// Appends the elements of a list.
pub(super) fn push_all<'a>(
    all: &mut Vec<Value<'a>>,
    of: &Value<'a>,
    meter: &mut Meter,
) -> Result<(), String> {
    of.each(meter, |meter, _, value| {
        meter.make(size_of::<Value<'_>>())?;
        all.push(value);
        Ok(ControlFlow::Continue(()))
    })
}
