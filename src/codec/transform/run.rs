//! Runs a program over one document. What it does is counted ([`Meter`]), so that it ends.
//!
//! The objects are made one by one where the program shows them as a list or a macro: one that fails is told with its
//! place, and the others are made. Only the limits end the run.

use std::fmt::Write as _;
use std::ops::ControlFlow;

use super::functions::{Run as Call, no_member, truth};
use super::meter::Meter;
use super::program::{Each, Kind, Node, What};
use super::value::{Key, Metered, Text, Value};
use crate::clock::Timestamp;

/// What a program sees.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The document: a JSON text.
    pub json: &'a str,
    /// The names of the topic's levels, and what is there.
    pub levels: (&'a [String], &'a [&'a str]),
    /// The entry's name.
    pub entry: &'a str,
    /// When the message was received.
    pub received: Timestamp,
}

/// Why there is no value, and where.
#[derive(Debug)]
pub(super) struct Fault {
    /// The byte of the program; the innermost part that failed says it.
    pub(super) at: Option<usize>,
    pub(super) what: String,
}

impl From<String> for Fault {
    fn from(what: String) -> Self {
        Self { at: None, what }
    }
}

type Got<'a> = Result<Value<'a>, Fault>;

/// Takes what the program makes.
pub(super) type Take<'t, 'a> = &'t mut dyn FnMut(&mut Meter, Got<'a>) -> ControlFlow<()>;

/// A run.
#[derive(Debug)]
pub(super) struct Run<'a> {
    scene: Scene<'a>,
    meter: Meter,
    locals: Vec<Value<'a>>,
}

impl Metered for Run<'_> {
    fn meter(&mut self) -> &mut Meter {
        &mut self.meter
    }
}

impl<'a> Run<'a> {
    pub(super) const fn new(scene: Scene<'a>, meter: Meter) -> Self {
        Self { scene, meter, locals: Vec::new() }
    }

    /// Steps that were done.
    pub(super) const fn steps(&self) -> u32 {
        self.meter.steps()
    }

    /// Whether a limit has ended it.
    pub(super) const fn has_ended(&self) -> bool {
        self.meter.has_ended()
    }

    /// Hands over each object that the program makes, or why one is not made.
    pub(super) fn objects(&mut self, node: &'a Node, take: Take<'_, 'a>) -> ControlFlow<()> {
        let done = match &node.kind {
            Kind::List(items) => {
                for item in items {
                    let made = self.eval(item);
                    self.hand_over(made, take)?;
                }
                return ControlFlow::Continue(());
            }
            Kind::If(parts) => {
                let [condition, yes, no] = &**parts;
                match self.truth(condition) {
                    Ok(is) => return self.objects(if is { yes } else { no }, take),
                    Err(fault) => Err(fault),
                }
            }
            Kind::Bind(parts) => {
                let [value, body] = &**parts;
                match self.eval(value) {
                    Ok(value) => return self.with([value], |run| run.objects(body, take)),
                    Err(fault) => Err(fault),
                }
            }
            Kind::Each(each) if each.what == What::Map => return self.objects_of(node, each, take),
            _ => self.eval(node).map_err(|fault| place(fault, node)),
        };
        match done {
            Ok(Value::Null) => ControlFlow::Continue(()),
            Ok(list) if list.is_list() => {
                let mut flow = ControlFlow::Continue(());
                let walked = list.each(self, |run, _, item| {
                    flow = run.hand_over(Ok(item), take);
                    Ok::<_, Fault>(flow)
                });
                match walked {
                    Err(fault) if flow.is_continue() => {
                        self.hand_over(Err(place(fault, node)), take)
                    }
                    _ => flow,
                }
            }
            made => self.hand_over(made, take),
        }
    }

    /// The objects of a loop, each by itself.
    fn objects_of(
        &mut self,
        node: &'a Node,
        each: &'a Each,
        take: Take<'_, 'a>,
    ) -> ControlFlow<()> {
        let mut flow = ControlFlow::Continue(());
        let over = match self.eval(&each.over) {
            Ok(over) => over,
            Err(fault) => return self.hand_over(Err(fault), take),
        };
        let is_map = over.is_map();
        let walked = over.each(self, |run, key, item| {
            if let Some(made) = run.turn(each, key, item, is_map).transpose() {
                flow = run.hand_over(made, take);
            }
            Ok::<_, Fault>(flow)
        });
        match walked {
            Err(fault) if flow.is_continue() => self.hand_over(Err(place(fault, node)), take),
            _ => flow,
        }
    }

    fn hand_over(&mut self, made: Got<'a>, take: Take<'_, 'a>) -> ControlFlow<()> {
        let flow = take(&mut self.meter, made);
        // At the limits there is one fault, and nothing behind it.
        if self.meter.has_ended() { ControlFlow::Break(()) } else { flow }
    }

    /// One turn of a loop; nothing where the element does not count.
    fn turn(
        &mut self,
        each: &'a Each,
        key: Key<'a>,
        item: Value<'a>,
        is_map: bool,
    ) -> Result<Option<Value<'a>>, Fault> {
        let run = |run: &mut Self| {
            if let Some(when) = &each.when
                && !run.truth(when)?
            {
                return Ok(None);
            }
            run.eval(&each.body).map(Some)
        };
        match (each.has_key, is_map) {
            (true, _) => self.with([key.into(), item], run),
            (false, true) => self.with([key.into()], run),
            (false, false) => self.with([item], run),
        }
    }

    fn with<const N: usize, T>(
        &mut self,
        values: [Value<'a>; N],
        run: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let before = self.locals.len();
        self.locals.extend(values);
        let done = run(self);
        self.locals.truncate(before);
        done
    }

    fn truth(&mut self, node: &'a Node) -> Result<bool, Fault> {
        let value = self.eval(node)?;
        truth(&value).map_err(|what| place(what.into(), node))
    }

    fn eval(&mut self, node: &'a Node) -> Got<'a> {
        self.value(node).map_err(|fault| place(fault, node))
    }

    fn value(&mut self, node: &'a Node) -> Got<'a> {
        self.meter.step()?;
        Ok(match &node.kind {
            Kind::Null => Value::Null,
            Kind::Bool(it) => Value::Bool(*it),
            Kind::Int(it) => Value::Int(*it),
            Kind::Double(it) => Value::Double(*it),
            Kind::Text(it) => Value::Text(Text::Of(it)),
            Kind::Bytes(it) => Value::bytes(it, &mut self.meter)?,
            Kind::Message => Value::of_json(self.scene.json, &mut self.meter)?,
            Kind::Entry => Value::Text(Text::Of(self.scene.entry)),
            Kind::Received => {
                let mut text = String::new();
                let written = write!(text, "{}", self.scene.received);
                written.map_err(|it| it.to_string())?;
                Value::made(&text, &mut self.meter)?
            }
            Kind::Level(name) => {
                let (names, texts) = self.scene.levels;
                let place = names.iter().position(|it| **it == **name);
                let text = place.and_then(|it| texts.get(it)).copied().unwrap_or_default();
                Value::Text(Text::Of(text))
            }
            Kind::Local(place) => {
                self.locals.get(*place).expect("the program was read: it is in effect").clone()
            }
            Kind::Member(of, name) => {
                let of = self.eval(of)?;
                of.member(name, &mut self.meter)?.ok_or_else(|| no_member(name))?
            }
            Kind::Has(of, name) => {
                let of = self.eval(of)?;
                Value::Bool(of.is_map() && of.member(name, &mut self.meter)?.is_some())
            }
            Kind::Maybe(..) | Kind::Either(_) => {
                unreachable!("the program was read: what may not be there is not a value")
            }
            Kind::OrValue(parts) => {
                let [value, other] = &**parts;
                match self.maybe(value)? {
                    Some(value) => value,
                    None => self.eval(other)?,
                }
            }
            Kind::List(items) => {
                let mut made = Vec::with_capacity(items.len());
                for item in items {
                    self.meter.make(size_of::<Value<'_>>())?;
                    made.push(self.eval(item)?);
                }
                Value::List(made.into())
            }
            Kind::Map(members) => self.map(members)?,
            Kind::If(parts) => {
                let [condition, yes, no] = &**parts;
                let is = self.truth(condition)?;
                self.eval(if is { yes } else { no })?
            }
            Kind::And(parts) => Value::Bool(self.decided(parts, false)?),
            Kind::Or(parts) => Value::Bool(self.decided(parts, true)?),
            Kind::Call(function, arguments) => self.call(&function.run, arguments)?,
            Kind::Bind(parts) => {
                let [value, body] = &**parts;
                let value = self.eval(value)?;
                self.with([value], |run| run.eval(body))?
            }
            Kind::Each(each) => self.each(each)?,
        })
    }

    /// A value, if it is there.
    fn maybe(&mut self, node: &'a Node) -> Result<Option<Value<'a>>, Fault> {
        match &node.kind {
            Kind::Maybe(of, name) => {
                self.meter.step()?;
                let Some(of) = self.maybe(of)?.filter(Value::is_map) else { return Ok(None) };
                Ok(of.member(name, &mut self.meter)?)
            }
            Kind::Either(parts) => {
                let [first, second] = &**parts;
                match self.maybe(first)? {
                    Some(value) => Ok(Some(value)),
                    None => self.maybe(second),
                }
            }
            _ => self.eval(node).map(Some),
        }
    }

    fn map(&mut self, members: &'a [(Node, Node)]) -> Got<'a> {
        let mut made = Vec::with_capacity(members.len());
        for (name, value) in members {
            self.meter.make(size_of::<(Text<'_>, Value<'_>)>())?;
            let key = match self.eval(name)? {
                Value::Text(key) => key,
                other => {
                    let what = format!("{} is no name of a member: write a text", other.kind());
                    return Err(place(what.into(), name));
                }
            };
            if let Some(value) = self.maybe(value)? {
                made.push((key, value));
            }
        }
        Ok(Value::Map(made.into()))
    }

    /// `&&` and `||`: one side alone decides with `deciding`, even if the other one fails.
    fn decided(&mut self, sides: &'a [Node; 2], deciding: bool) -> Result<bool, Fault> {
        let [left, right] = sides;
        let left = self.truth(left);
        if let Ok(is) = left
            && is == deciding
        {
            return Ok(deciding);
        }
        if self.truth(right)? == deciding { Ok(deciding) } else { left }
    }

    fn call(&mut self, function: &Call, arguments: &'a [Node]) -> Got<'a> {
        match (function, arguments) {
            (Call::One(run), [it]) => {
                let it = self.argument(it)?;
                Ok(run(&mut self.meter, &it)?)
            }
            (Call::Two(run), [left, right]) => {
                let (left, right) = (self.argument(left)?, self.argument(right)?);
                Ok(run(&mut self.meter, &left, &right)?)
            }
            (Call::Three(run), [first, second, third]) => {
                let (first, second) = (self.argument(first)?, self.argument(second)?);
                let third = self.argument(third)?;
                Ok(run(&mut self.meter, &first, &second, &third)?)
            }
            _ => unreachable!("the program was read: a function has its arguments"),
        }
    }

    /// A value that a function takes. A text or a number of the message is read as a whole by most, so it is counted
    /// here: a function counts what it reads of others, and what it makes.
    fn argument(&mut self, node: &'a Node) -> Got<'a> {
        let value = self.eval(node)?;
        value.read(&mut self.meter)?;
        Ok(value)
    }

    /// A loop that is a value.
    fn each(&mut self, each: &'a Each) -> Got<'a> {
        let over = self.eval(&each.over)?;
        let is_map = over.is_map();
        let (mut made, mut count, mut is_decided) = (Vec::new(), 0_usize, false);
        over.each(self, |run, key, item| {
            let element = match each.what {
                What::Filter if is_map => Some(key.clone().into()),
                What::Filter => Some(item.clone()),
                _ => None,
            };
            let Some(turned) = run.turn(each, key, item, is_map)? else {
                return Ok(ControlFlow::Continue(()));
            };
            if each.what == What::Map {
                run.meter.make(size_of::<Value<'_>>())?;
                made.push(turned);
                return Ok(ControlFlow::Continue(()));
            }
            let is = truth(&turned).map_err(|what| place(what.into(), &each.body))?;
            count += usize::from(is);
            if is && let Some(element) = element {
                run.meter.make(size_of::<Value<'_>>())?;
                made.push(element);
            }
            is_decided = each.what == What::All && !is || each.what == What::Exists && is;
            Ok::<_, Fault>(if is_decided {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        })?;
        Ok(match each.what {
            What::Map | What::Filter => Value::List(made.into()),
            What::All => Value::Bool(!is_decided),
            What::Exists => Value::Bool(is_decided),
            What::ExistsOne => Value::Bool(count == 1),
        })
    }
}

/// A fault of this part, unless a part of it has said so.
fn place(fault: Fault, node: &Node) -> Fault {
    Fault { at: fault.at.or(Some(node.at)), ..fault }
}
