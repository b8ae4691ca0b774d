//! The functions of a program: those of CEL and of its extensions for texts, lists and numbers, and ours for the bytes and
//! times of devices. `f(x, y)` and `x.f(y)` are the same.

use std::ops::ControlFlow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::meter::Meter;
use super::numbers::{
    Arithmetic, add, compare, double, equal, finite, place, push_all, size, to_int, whole,
};
use super::octets::{big_endian, bytes, float, little_endian, of_hex, signed, uint};
use super::texts::{join, part, replace, split, text, time};
use super::value::{Key, Text, Value};

/// What a function makes of its arguments.
type Made<'a> = Result<Value<'a>, String>;

/// A function of so many arguments.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) run: Run,
}

/// How a function is called.
#[derive(Debug)]
pub(super) enum Run {
    One(for<'a> fn(&mut Meter, &Value<'a>) -> Made<'a>),
    Two(for<'a> fn(&mut Meter, &Value<'a>, &Value<'a>) -> Made<'a>),
    Three(for<'a> fn(&mut Meter, &Value<'a>, &Value<'a>, &Value<'a>) -> Made<'a>),
}

impl Function {
    /// How many arguments it takes, the one before the point among them.
    pub(super) const fn arguments(&self) -> usize {
        match self.run {
            Run::One(_) => 1,
            Run::Two(_) => 2,
            Run::Three(_) => 3,
        }
    }
}

macro_rules! functions {
    ($($name:literal $arguments:ident $run:expr,)+) => {
        &[$(Function { name: $name, run: Run::$arguments($run) },)+]
    };
}

/// The operators, by the names that the parser gives them, and the functions.
pub(super) const FUNCTIONS: &[Function] = functions! {
    "_+_" Two |meter, left, right| add(left, right, meter),
    "_-_" Two |_, left, right| Arithmetic::Subtract.of(left, right),
    "_*_" Two |_, left, right| Arithmetic::Multiply.of(left, right),
    "_/_" Two |_, left, right| Arithmetic::Divide.of(left, right),
    "_%_" Two |_, left, right| Arithmetic::Remainder.of(left, right),
    "-_" One |_, it| Arithmetic::Subtract.of(&Value::Int(0), it),
    "!_" One |_, it| truth(it).map(|it| Value::Bool(!it)),
    "_==_" Two |meter, left, right| equal(left, right, meter).map(Value::Bool),
    "_!=_" Two |meter, left, right| equal(left, right, meter).map(|it| Value::Bool(!it)),
    "_<_" Two |_, left, right| Ok(Value::Bool(compare(left, right)?.is_lt())),
    "_<=_" Two |_, left, right| Ok(Value::Bool(compare(left, right)?.is_le())),
    "_>_" Two |_, left, right| Ok(Value::Bool(compare(left, right)?.is_gt())),
    "_>=_" Two |_, left, right| Ok(Value::Bool(compare(left, right)?.is_ge())),
    "_[_]" Two |meter, of, key| index(of, key, meter),
    "@in" Two |meter, item, of| contains(of, item, meter).map(Value::Bool),

    "size" One |meter, of| size(of, meter).map(Value::Int),
    "type" One |_, it| Ok(Value::Text(Text::Of(kind(it)))),
    "int" One |_, it| integer(it),
    "double" One |_, it| number(it),
    "string" One |meter, it| string(it, meter),

    "contains" Two |_, it, part| {
        let (it, part) = (text(it)?, text(part)?);
        Ok(Value::Bool(it.contains(&**part)))
    },
    "startsWith" Two |_, it, part| {
        let (it, part) = (text(it)?, text(part)?);
        Ok(Value::Bool(it.starts_with(&**part)))
    },
    "endsWith" Two |_, it, part| {
        let (it, part) = (text(it)?, text(part)?);
        Ok(Value::Bool(it.ends_with(&**part)))
    },
    "indexOf" Two |_, it, part| {
        let (it, part) = (text(it)?, text(part)?);
        let before = it.split_once(&**part).map(|(before, _)| before.chars().count());
        Ok(Value::Int(before.and_then(|it| i64::try_from(it).ok()).unwrap_or(-1)))
    },
    "trim" One |meter, it| Value::made(text(it)?.trim(), meter),
    "lowerAscii" One |meter, it| {
        let it = text(it)?;
        meter.make(it.len())?;
        Ok(Value::Text(Text::Made(it.to_ascii_lowercase().into())))
    },
    "upperAscii" One |meter, it| {
        let it = text(it)?;
        meter.make(it.len())?;
        Ok(Value::Text(Text::Made(it.to_ascii_uppercase().into())))
    },
    "charAt" Two |meter, it, at| {
        let (it, at) = (text(it)?, place(at)?);
        let letter = it.chars().nth(at).ok_or_else(|| format!("the text ends before {at}"))?;
        Value::made(letter.encode_utf8(&mut [0; 4]), meter)
    },
    "substring" Two |meter, it, from| part(it, from, None, meter),
    "substring" Three |meter, it, from, to| part(it, from, Some(to), meter),
    "replace" Three |meter, it, from, to| replace(it, from, to, meter),
    "split" Two |meter, it, by| split(it, by, meter),
    "join" One |meter, all| join(all, "", meter),
    "join" Two |meter, all, by| join(all, text(by)?, meter),

    "lists.range" One |meter, count| {
        let count = place(count)?;
        meter.make(count.saturating_mul(size_of::<Value<'_>>()))?;
        let count = i64::try_from(count).map_err(|it| it.to_string())?;
        Ok(Value::List((0..count).map(Value::Int).collect()))
    },
    "flatten" One |meter, all| {
        let mut flat = Vec::new();
        all.each(meter, |meter, _, item| {
            if item.is_list() {
                push_all(&mut flat, &item, meter)?;
            } else {
                meter.make(size_of::<Value<'_>>())?;
                flat.push(item);
            }
            Ok::<_, String>(ControlFlow::Continue(()))
        })?;
        Ok(Value::List(flat.into()))
    },
    "slice" Three |meter, of, from, to| slice(of, from, to, meter),

    "math.abs" One |_, it| match it {
        Value::Int(number) => number.checked_abs().map(Value::Int).ok_or_else(|| "no number".into()),
        _ => rounded(it, f64::abs),
    },
    "math.floor" One |_, it| rounded(it, f64::floor),
    "math.ceil" One |_, it| rounded(it, f64::ceil),
    "math.round" One |_, it| rounded(it, f64::round),
    "math.trunc" One |_, it| rounded(it, f64::trunc),
    "math.bitAnd" Two |_, left, right| Ok(Value::Int(int(left)? & int(right)?)),
    "math.bitOr" Two |_, left, right| Ok(Value::Int(int(left)? | int(right)?)),
    "math.bitXor" Two |_, left, right| Ok(Value::Int(int(left)? ^ int(right)?)),
    "math.bitShiftLeft" Two |_, it, by| Ok(Value::Int(int(it)?.checked_shl(bits(by)?).unwrap_or(0))),
    "math.bitShiftRight" Two |_, it, by| {
        // As in CEL: what comes in from the left is 0.
        let shifted = int(it)?.cast_unsigned().checked_shr(bits(by)?).unwrap_or(0);
        Ok(Value::Int(shifted.cast_signed()))
    },

    "hex" One |meter, it| of_hex(text(it)?, meter),
    "base64.decode" One |meter, it| {
        let it = text(it)?;
        meter.make(it.len())?;
        let bytes = STANDARD.decode(&**it).map_err(|it| format!("no base64: {it}"))?;
        Ok(Value::Bytes(bytes.into()))
    },
    "base64.encode" One |meter, it| {
        let it = bytes(it)?;
        meter.make(2 * it.len())?;
        Ok(Value::Text(Text::Made(STANDARD.encode(it).into())))
    },
    "uintBE" Three |_, it, at, count| uint(big_endian(it, at, count)?),
    "uintLE" Three |_, it, at, count| uint(little_endian(it, at, count)?),
    "intBE" Three |_, it, at, count| Ok(signed(big_endian(it, at, count)?)),
    "intLE" Three |_, it, at, count| Ok(signed(little_endian(it, at, count)?)),
    "floatBE" Three |_, it, at, count| float(big_endian(it, at, count)?),
    "floatLE" Three |_, it, at, count| float(little_endian(it, at, count)?),

    "strptime" Two |meter, it, format| time(it, format, meter),
};

/// What the types are called, which `type(x)` gives.
pub(super) const TYPES: [&str; 8] =
    ["null_type", "bool", "int", "double", "string", "bytes", "list", "map"];

fn kind(it: &Value<'_>) -> &'static str {
    match it {
        Value::Null => "null_type",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Double(_) | Value::Number(_) => "double",
        Value::Text(_) => "string",
        Value::Bytes(_) => "bytes",
        _ if it.is_list() => "list",
        _ => "map",
    }
}

/// A truth value.
pub(super) fn truth(it: &Value<'_>) -> Result<bool, String> {
    if let Value::Bool(it) = it { Ok(*it) } else { Err(format!("{} is no truth value", it.kind())) }
}

fn int(it: &Value<'_>) -> Result<i64, String> {
    whole(it).ok_or_else(|| format!("{} is no whole number", it.kind()))
}

fn bits(it: &Value<'_>) -> Result<u32, String> {
    u32::try_from(int(it)?).map_err(|_| "a shift by less than nothing".to_owned())
}

fn index<'a>(of: &Value<'a>, key: &Value<'a>, meter: &mut Meter) -> Made<'a> {
    if of.is_map() {
        let name = text(key)?;
        return of.member(name, meter)?.ok_or_else(|| no_member(name));
    }
    let place = place(key)?;
    of.element(place, meter)?.ok_or_else(|| format!("the list ends before {place}"))
}

/// Why a member is not there.
pub(super) fn no_member(name: &str) -> String {
    format!("no member {}: ask has(…) first", crate::text::shown(name))
}

fn contains<'a>(of: &Value<'a>, item: &Value<'a>, meter: &mut Meter) -> Result<bool, String> {
    if of.is_map() {
        return Ok(of.member(text(item)?, meter)?.is_some());
    }
    let mut is_there = false;
    of.each(meter, |meter, _, other| {
        is_there = equal(&other, item, meter)?;
        Ok::<_, String>(if is_there { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(is_there)
}

fn integer<'a>(it: &Value<'a>) -> Made<'a> {
    let no_number = || format!("{} is no whole number", it.kind());
    let number = match it {
        Value::Text(text) => text.trim().parse().ok(),
        Value::Bool(it) => Some(i64::from(*it)),
        _ => whole(it).or_else(|| double(it).and_then(to_int)),
    };
    number.map(Value::Int).ok_or_else(no_number)
}

fn number<'a>(it: &Value<'a>) -> Made<'a> {
    let number = match it {
        Value::Text(text) => text.trim().parse().ok(),
        _ => double(it),
    };
    let shown = || crate::text::shown(if let Value::Text(text) = it { text } else { it.kind() });
    number.and_then(finite).ok_or_else(|| format!("{} is no number", shown()))
}

fn string<'a>(it: &Value<'a>, meter: &mut Meter) -> Made<'a> {
    match it {
        Value::Text(_) => Ok(it.clone()),
        Value::Number(text) => Ok(Value::Text(Text::Of(text))),
        Value::Bool(it) => Ok(Value::Text(Text::Of(if *it { "true" } else { "false" }))),
        Value::Bytes(bytes) => {
            meter.read(bytes.len())?;
            let text = std::str::from_utf8(bytes).map_err(|it| format!("no text: {it}"))?;
            Value::made(text, meter)
        }
        _ => {
            let text = it.as_text().ok_or_else(|| format!("{} has no text", it.kind()))?;
            Value::made(&text, meter)
        }
    }
}

/// Elements of a list, or bytes, from one place up to another.
fn slice<'a>(of: &Value<'a>, from: &Value<'_>, to: &Value<'_>, meter: &mut Meter) -> Made<'a> {
    let (from, to) = (place(from)?, place(to)?);
    let wrong = || format!("nothing there from {from} to {to}");
    if let Value::Bytes(bytes) = of {
        return Value::bytes(bytes.get(from..to).ok_or_else(wrong)?, meter);
    }
    if !of.is_list() {
        return Err(format!("{} is no list and no bytes", of.kind()));
    }
    let mut part = Vec::new();
    of.each(meter, |meter, key, item| {
        let Key::At(at) = key else { return Ok(ControlFlow::Break(())) };
        if usize::try_from(at).is_ok_and(|at| (from..to).contains(&at)) {
            meter.make(size_of::<Value<'_>>())?;
            part.push(item);
        }
        Ok::<_, String>(ControlFlow::Continue(()))
    })?;
    if to.checked_sub(from) == Some(part.len()) {
        Ok(Value::List(part.into()))
    } else {
        Err(wrong())
    }
}

fn rounded<'a>(it: &Value<'_>, by: impl Fn(f64) -> f64) -> Made<'a> {
    let number = double(it).ok_or_else(|| format!("{} is no number", it.kind()))?;
    finite(by(number)).ok_or_else(|| "no number".to_owned())
}
