//! A program, checked: each name is found, each function has its arguments, and what can go wrong before a message is
//! there has been told with its place.
//!
//! The grammar is that of CEL, and the parser that of the `cel` crate. Its macros are nodes here, and run as loops.

use cel::Env;
use cel::common::ast::{
    CallExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr, SourceInfo,
};

use super::functions::{FUNCTIONS, Function, TYPES};
use super::texts::is_form;

/// Bytes of a program. A longer one is refused: the parser calls itself for each part of a chain, `a.b.c`, and there is one
/// stack.
pub(super) const PROGRAM_BYTES_MAX: usize = 8 * 1024;

/// Nodes of a program, one inside the other. A deeper one is refused: it is run by calls inside one another.
const DEPTH_MAX: usize = 64;

/// What is wrong, and where: a byte of the program, from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) at: usize,
    pub(super) what: String,
}

/// A part of a program, and where it is written.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: usize,
    pub(super) kind: Kind,
}

/// What a node makes.
#[derive(Debug)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    /// The document.
    Message,
    Entry,
    /// When the message was received.
    Received,
    /// What the topic has at this level.
    Level(Box<str>),
    /// A variable, by its place among those that are in effect.
    Local(usize),
    Member(Box<Node>, Box<str>),
    Has(Box<Node>, Box<str>),
    /// A member, if it is there: an optional value.
    Maybe(Box<Node>, Box<str>),
    /// The first of two optional values that is there.
    Either(Box<[Node; 2]>),
    /// An optional value, or what stands for it.
    OrValue(Box<[Node; 2]>),
    List(Vec<Node>),
    /// The members; one with an optional value that is not there is left out.
    Map(Vec<(Node, Node)>),
    If(Box<[Node; 3]>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    Call(&'static Function, Vec<Node>),
    /// The first is a variable of the second.
    Bind(Box<[Node; 2]>),
    Each(Box<Each>),
}

/// A loop over a list, or a map.
#[derive(Debug)]
pub(super) struct Each {
    pub(super) what: What,
    pub(super) over: Node,
    /// The elements that count.
    pub(super) when: Option<Node>,
    pub(super) body: Node,
    /// It has a variable for the place or the name, and one for the element.
    pub(super) has_key: bool,
}

/// What a loop makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Map,
    Filter,
    All,
    Exists,
    ExistsOne,
}

impl Node {
    /// Whether what it makes may not be there.
    const fn is_optional(&self) -> bool {
        matches!(self.kind, Kind::Maybe(..) | Kind::Either(_))
    }

    /// Shows each part of a program.
    pub(super) fn visit<'n>(&'n self, see: &mut dyn FnMut(&'n Self)) {
        see(self);
        match &self.kind {
            Kind::Member(of, _) | Kind::Has(of, _) | Kind::Maybe(of, _) => of.visit(see),
            Kind::List(all) | Kind::Call(_, all) => all.iter().for_each(|it| it.visit(see)),
            Kind::Map(all) => all.iter().flat_map(|it| [&it.0, &it.1]).for_each(|it| it.visit(see)),
            Kind::If(all) => all.iter().for_each(|it| it.visit(see)),
            Kind::And(all)
            | Kind::Or(all)
            | Kind::Bind(all)
            | Kind::Either(all)
            | Kind::OrValue(all) => {
                all.iter().for_each(|it| it.visit(see));
            }
            Kind::Each(each) => {
                let when = each.when.iter();
                [&each.over, &each.body].into_iter().chain(when).for_each(|it| it.visit(see));
            }
            _ => {}
        }
    }
}

/// Reads a program.
pub(super) fn read(source: &str) -> Result<Node, Mistake> {
    if source.len() > PROGRAM_BYTES_MAX {
        let what = format!("has {} bytes: write {PROGRAM_BYTES_MAX} at most", source.len());
        return Err(Mistake { at: 0, what });
    }
    // Without the macros of the crate: they stay calls.
    let program = Env::default().compile(source).map_err(|errors| {
        let first = errors.errors.first();
        let (line, column) = first.map_or((1, 1), |it| it.pos);
        let what = match first {
            Some(it) if it.msg.contains("Recursion limit") => too_deep(),
            Some(it) => it.msg.clone(),
            None => "is no program".to_owned(),
        };
        Mistake { at: at(source, line, column), what }
    })?;
    Reader { places: program.source_info(), names: Vec::new(), depth: 0 }.node(program.expression())
}

fn too_deep() -> String {
    format!("more than {DEPTH_MAX} parts, one inside the other: write cel.bind(…)")
}

/// The byte at a line and column, which counts characters, from 1.
fn at(source: &str, line: isize, column: isize) -> usize {
    let before = |number: isize| usize::try_from(number - 1).unwrap_or_default();
    let mut lines = source.split_inclusive('\n');
    let begin: usize = lines.by_ref().take(before(line)).map(str::len).sum();
    let letters = lines.next().unwrap_or_default().chars().take(before(column));
    begin + letters.map(char::len_utf8).sum::<usize>()
}

struct Reader<'s> {
    places: &'s SourceInfo,
    /// The variables that are in effect.
    names: Vec<String>,
    depth: usize,
}

type Read = Result<Node, Mistake>;

impl Reader<'_> {
    fn mistake(&self, of: &IdedExpr, what: impl Into<String>) -> Mistake {
        Mistake { at: self.at(of.id), what: what.into() }
    }

    fn at(&self, id: u64) -> usize {
        self.places.offset_for(id).map_or(0, |it| it.0 as usize)
    }

    /// A part that makes a value.
    fn node(&mut self, of: &IdedExpr) -> Read {
        let node = self.any(of)?;
        if node.is_optional() {
            let what = "may not be there: write {?'name': x.?name}, or x.?name.orValue(…)";
            return Err(self.mistake(of, what));
        }
        Ok(node)
    }

    /// A part that makes a value, or may make one.
    fn any(&mut self, of: &IdedExpr) -> Read {
        if self.depth == DEPTH_MAX {
            return Err(self.mistake(of, too_deep()));
        }
        self.depth += 1;
        let kind = match &of.expr {
            Expr::Literal(literal) => self.literal(of, literal),
            Expr::Ident(name) => self.name(of, name),
            Expr::Select(select) => match &select.operand.expr {
                Expr::Ident(name) if name == "topic" && !self.names.contains(name) => {
                    Ok(Kind::Level(select.field.as_str().into()))
                }
                _ => {
                    let operand = self.any(&select.operand)?;
                    let is_optional = operand.is_optional();
                    let (operand, name) = (Box::new(operand), select.field.as_str().into());
                    // Of what may not be there, a member may not be either.
                    Ok(if is_optional {
                        Kind::Maybe(operand, name)
                    } else {
                        Kind::Member(operand, name)
                    })
                }
            },
            Expr::List(list) => self.list(of, list),
            Expr::Map(map) => self.map(map),
            Expr::Call(call) => self.call(of, call),
            Expr::Struct(_) => {
                Err(self.mistake(of, "no types of messages: write a map, {'value': …}"))
            }
            Expr::Comprehension(_) | Expr::Unspecified => Err(self.mistake(of, "is no program")),
        };
        self.depth -= 1;
        Ok(Node { at: self.at(of.id), kind: kind? })
    }

    fn nodes(&mut self, all: &[&IdedExpr]) -> Result<Vec<Node>, Mistake> {
        all.iter().map(|it| self.node(it)).collect()
    }

    fn literal(&self, of: &IdedExpr, literal: &LiteralValue) -> Result<Kind, Mistake> {
        Ok(match literal {
            LiteralValue::Null => Kind::Null,
            LiteralValue::Boolean(it) => Kind::Bool(*it.inner()),
            LiteralValue::Int(it) => Kind::Int(*it.inner()),
            LiteralValue::Double(it) => Kind::Double(*it.inner()),
            LiteralValue::String(it) => Kind::Text(it.inner().into()),
            LiteralValue::Bytes(it) => Kind::Bytes(it.inner().into()),
            LiteralValue::UInt(_) => {
                return Err(self.mistake(of, "whole numbers have no u here: leave it out"));
            }
        })
    }

    fn name(&self, of: &IdedExpr, name: &str) -> Result<Kind, Mistake> {
        if let Some(place) = self.names.iter().rposition(|it| it == name) {
            return Ok(Kind::Local(place));
        }
        Ok(match name {
            "msg" => Kind::Message,
            "entry" => Kind::Entry,
            "received" => Kind::Received,
            "topic" => {
                return Err(self.mistake(
                    of,
                    "topic has a member for each level with a name: write topic.device",
                ));
            }
            _ if TYPES.contains(&name) => Kind::Text(name.into()),
            _ => {
                let what = format!(
                    "{name} is not known: write msg, topic.…, entry, received, or a variable of a macro"
                );
                return Err(self.mistake(of, what));
            }
        })
    }

    fn list(&mut self, of: &IdedExpr, list: &ListExpr) -> Result<Kind, Mistake> {
        if !list.optional_indices.is_empty() {
            return Err(self.mistake(of, NO_OPTIONALS));
        }
        Ok(Kind::List(self.nodes(&list.elements.iter().collect::<Vec<_>>())?))
    }

    fn map(&mut self, map: &MapExpr) -> Result<Kind, Mistake> {
        let mut members: Vec<(Node, Node)> = Vec::new();
        for entry in &map.entries {
            let EntryExpr::MapEntry(it) = &entry.expr else { continue };
            let key = self.node(&it.key)?;
            if let Kind::Text(name) = &key.kind
                && members.iter().any(|it| matches!(&it.0.kind, Kind::Text(other) if other == name))
            {
                return Err(self.mistake(&it.key, format!("{name} is there twice")));
            }
            let value = if it.optional { self.any(&it.value)? } else { self.node(&it.value)? };
            if it.optional && !value.is_optional() {
                return Err(
                    self.mistake(&it.key, "? is of a value that may not be there: write x.?name")
                );
            }
            members.push((key, value));
        }
        Ok(Kind::Map(members))
    }

    fn call(&mut self, of: &IdedExpr, call: &CallExpr) -> Result<Kind, Mistake> {
        let name = &*call.func_name;
        match (name, &*call.args) {
            ("_?_:_", [condition, yes, no]) => {
                let all = [self.node(condition)?, self.node(yes)?, self.node(no)?];
                return Ok(Kind::If(Box::new(all)));
            }
            ("_&&_", [left, right]) => {
                return Ok(Kind::And(Box::new([self.node(left)?, self.node(right)?])));
            }
            ("_||_", [left, right]) => {
                return Ok(Kind::Or(Box::new([self.node(left)?, self.node(right)?])));
            }
            _ => {}
        }
        match (&call.target, name, &*call.args) {
            (None, "has", [of]) => return self.has(of),
            (None, "_?._", [operand, name]) => {
                let operand = Box::new(self.any(operand)?);
                let name = match &name.expr {
                    Expr::Literal(LiteralValue::String(name)) => name.inner().into(),
                    _ => return Err(self.mistake(name, NO_OPTIONALS)),
                };
                return Ok(Kind::Maybe(operand, name));
            }
            (Some(target), "or" | "orValue", [other]) => {
                let target = self.any(target)?;
                if !target.is_optional() {
                    return Err(self.mistake(of, format!("{name} is of x.?name")));
                }
                return Ok(if name == "or" {
                    Kind::Either(Box::new([target, self.any(other)?]))
                } else {
                    Kind::OrValue(Box::new([target, self.node(other)?]))
                });
            }
            (Some(target), "bind", [name, value, body]) if is_name(target, "cel") => {
                let name = self.variable(name)?;
                let value = self.node(value)?;
                let body = self.with(vec![name], |reader| reader.node(body))?;
                return Ok(Kind::Bind(Box::new([value, body])));
            }
            (Some(over), name, arguments) => {
                if let Some((what, keys)) = MACROS.iter().find(|it| it.0 == name).map(|it| it.1) {
                    return self.each(of, (what, keys), over, arguments);
                }
            }
            _ => {}
        }
        let is_namespace = |it: &&IdedExpr| {
            NAMESPACES
                .iter()
                .any(|name| is_name(it, name) && !self.names.iter().any(|it| it == name))
        };
        let namespace = call.target.as_deref().filter(is_namespace);
        let name = match namespace.map(|it| &it.expr) {
            Some(Expr::Ident(namespace)) => format!("{namespace}.{name}"),
            _ => name.to_owned(),
        };
        // Before its arguments: those of a macro that is misspelt are not known either.
        if !FUNCTIONS.iter().any(|it| it.name == name) {
            return Err(self.no_function(of, &name));
        }
        let target = call.target.as_deref().filter(|_| namespace.is_none());
        let arguments = self.nodes(&target.into_iter().chain(&call.args).collect::<Vec<_>>())?;
        self.function(of, &name, arguments)
    }

    fn no_function(&self, of: &IdedExpr, name: &str) -> Mistake {
        let known = FUNCTIONS.iter().map(|it| it.name).chain(MACROS.iter().map(|it| it.0));
        let alike = known.map(|it| (strsim::jaro_winkler(it, name), it)).filter(|it| it.0 > 0.85);
        let alike = alike.max_by(|left, right| left.0.total_cmp(&right.0));
        let meant = alike.map_or(String::new(), |it| format!("; did you mean {:?}?", it.1));
        self.mistake(of, format!("{} is no function{meant}", crate::text::shown(name)))
    }

    fn function(&self, of: &IdedExpr, name: &str, arguments: Vec<Node>) -> Result<Kind, Mistake> {
        let mut named = FUNCTIONS.iter().filter(|it| it.name == name).peekable();
        let takes = named.peek().map_or(0, |it| it.arguments());
        let Some(function) = named.find(|it| it.arguments() == arguments.len()) else {
            let has = arguments.len();
            let what =
                format!("{name} takes {takes}, the one before the point among them, and has {has}");
            return Err(self.mistake(of, what));
        };
        if name == "strptime"
            && let Some(Node { at, kind: Kind::Text(form) }) = arguments.last()
            && !is_form(form)
        {
            let what =
                format!("{form:?} is no form of a time: write %d.%m.%Y %H:%M, as strptime does");
            return Err(Mistake { at: *at, what });
        }
        Ok(Kind::Call(function, arguments))
    }

    fn has(&mut self, of: &IdedExpr) -> Result<Kind, Mistake> {
        let Expr::Select(select) = &of.expr else {
            return Err(self.mistake(of, "has is of a member: write has(msg.name)"));
        };
        let operand = self.node(&select.operand)?;
        Ok(Kind::Has(Box::new(operand), select.field.as_str().into()))
    }

    fn each(
        &mut self,
        of: &IdedExpr,
        (what, keys): (What, usize),
        over: &IdedExpr,
        arguments: &[IdedExpr],
    ) -> Result<Kind, Mistake> {
        let has_when = what == What::Map && arguments.len() == keys + 2;
        let (names, bodies) = match arguments.split_at_checked(keys) {
            Some((names, bodies)) if bodies.len() == 1 + usize::from(has_when) => (names, bodies),
            _ => {
                let takes = keys + 1;
                return Err(self.mistake(
                    of,
                    format!("a macro of {takes}: its variables, and what it makes of them"),
                ));
            }
        };
        let over = self.node(over)?;
        let names = names.iter().map(|it| self.variable(it)).collect::<Result<Vec<_>, _>>()?;
        let mut nodes =
            self.with(names, |reader| reader.nodes(&bodies.iter().collect::<Vec<_>>()))?;
        let body = nodes.pop().expect("a macro has a body");
        let when = nodes.pop();
        Ok(Kind::Each(Box::new(Each { what, over, when, body, has_key: keys == 2 })))
    }

    /// The name of a variable that begins here.
    fn variable(&self, of: &IdedExpr) -> Result<String, Mistake> {
        match &of.expr {
            Expr::Ident(name) if matches!(&**name, "msg" | "topic" | "entry" | "received") => {
                Err(self.mistake(of, format!("{name} is taken: choose another name")))
            }
            Expr::Ident(name) => Ok(name.clone()),
            _ => Err(self.mistake(of, "the name of a variable belongs here")),
        }
    }

    /// Reads something in which these variables are in effect.
    fn with<T>(&mut self, names: Vec<String>, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.names.len();
        self.names.extend(names);
        let read = read(self);
        self.names.truncate(before);
        read
    }
}

fn is_name(of: &IdedExpr, name: &str) -> bool {
    matches!(&of.expr, Expr::Ident(it) if it == name)
}

/// The macros that go over something, and how many variables each has.
const MACROS: [(&str, (What, usize)); 7] = [
    ("map", (What::Map, 1)),
    ("filter", (What::Filter, 1)),
    ("all", (What::All, 1)),
    ("exists", (What::Exists, 1)),
    ("exists_one", (What::ExistsOne, 1)),
    ("existsOne", (What::ExistsOne, 1)),
    ("transformList", (What::Map, 2)),
];

/// What stands before the point of a function's name.
const NAMESPACES: [&str; 3] = ["math", "base64", "lists"];

const NO_OPTIONALS: &str = "? is not known here: write x.?name, or {?'name': x.?name}";
