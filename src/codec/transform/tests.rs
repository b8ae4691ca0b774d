//! Tests of programs: what they make, what is refused, and what no message makes them do.

use serde_json::Value as Json;

use super::meter::{BYTES_MAX, Meter, STEPS_MAX};
use super::program::PROGRAM_BYTES_MAX;
use super::*;
use crate::clock::Timestamp;
use crate::fuzz::{allocated, fuzz};
use crate::text::{SHOWN_BYTES_MAX, is_unsafe};

/// What a program makes of a document: JSON texts with their tags behind, or why there is none.
fn made(program: &str, json: &str) -> Vec<Result<String, String>> {
    run(&program.to_owned().try_into().unwrap(), json).0
}

fn run(transform: &Transform, json: &str) -> (Vec<Result<String, String>>, u32) {
    run_within(Meter::new(STEPS_MAX, BYTES_MAX), transform, json)
}

/// The same, with so many steps and bytes.
fn run_within(
    meter: Meter,
    transform: &Transform,
    json: &str,
) -> (Vec<Result<String, String>>, u32) {
    let levels = (&["device".to_owned()][..], &["d1"][..]);
    let received = Timestamp::from_millis(1_795_332_650_692);
    let scene = Scene { json, levels, entry: "boiler", received };
    let mut all = Vec::new();
    let (steps, flow) = transform.run_within(meter, scene, &mut |made| {
        all.push(match made {
            Ok(Object { json, tags }) => {
                Ok(tags.iter().fold(json.to_owned(), |it, tag| format!("{it} {}={}", tag.0, tag.1)))
            }
            Err(malformed) => {
                assert_eq!(malformed.reason, Reason::Transform);
                Err(malformed.detail)
            }
        });
        ControlFlow::Continue(())
    });
    assert!(flow.is_continue() || all.last().is_some_and(Result::is_err));
    (all, steps)
}

/// What an expression is, as JSON.
fn value(expression: &str, json: &str) -> Result<String, String> {
    let all = made(&format!("{{'v': {expression}}}"), json);
    assert_eq!(all.len(), 1);
    let object = all.into_iter().next().unwrap()?;
    let content = object.strip_prefix("{\"v\":").and_then(|it| it.strip_suffix('}'));
    Ok(content.unwrap().to_owned())
}

#[track_caller]
fn are(json: &str, expected: &[(&str, &str)]) {
    for (expression, expected) in expected {
        assert_eq!(value(expression, json).as_deref(), Ok(*expected), "{expression}");
    }
}

#[track_caller]
fn fail(json: &str, expected: &[(&str, &str)]) {
    for (expression, words) in expected {
        let error = value(expression, json).expect_err(expression);
        assert!(error.contains(words), "{expression}: {error}");
    }
}

const MESSAGE: &str = r#"{"t":21,"h":55.50,"s":"a\"b é","n":null,"l":[1,2.5,"x"],"o":{"k":{"m":true}},"big":12345678901234567890}"#;

#[test]
fn members_and_elements_are_found() {
    are(
        MESSAGE,
        &[
            ("msg.t", "21"),
            ("msg.h", "55.50"),
            ("msg.big", "12345678901234567890"),
            ("msg.s", r#""a\"b é""#),
            ("msg['l']", r#"[1,2.5,"x"]"#),
            ("msg.l[1]", "2.5"),
            ("msg.o.k.m", "true"),
            ("msg.n", "null"),
            ("has(msg.n) && !has(msg.x) && !has(msg.t.x)", "true"),
            ("'t' in msg && !('x' in msg) && 2.5 in msg.l && !('y' in msg.l)", "true"),
            ("[topic.device, entry, received]", r#"["d1","boiler","2026-11-22T07:30:50.692Z"]"#),
            ("{'a': [msg.l, {}], 'b\"': []}", r#"{"a":[[1,2.5,"x"],{}],"b\"":[]}"#),
            ("[1, 2][1] + {'a': 3}.a", "5"),
        ],
    );
    are(r#"{"a":1,"a":2}"#, &[("msg.a", "2")]);
    are("\"21.5 C\"", &[("msg", "\"21.5 C\"")]);
    fail(
        MESSAGE,
        &[
            ("msg.x", "line 1 column 10: no member x: ask has(…) first"),
            ("msg.t.x", "a number has no members"),
            ("msg.l[3]", "the list ends before 3"),
            ("msg.l[-1]", "-1 is no place"),
            ("msg.l['x']", "a text is no place"),
            ("msg.o[1]", "a number is no text"),
            ("msg.t in 7", "neither a list nor a map"),
            ("{msg.t: 1}", "a number is no name of a member"),
        ],
    );
}

#[test]
fn numbers_of_the_message_are_divided_alike_and_whole_numbers_stay_whole() {
    are(
        MESSAGE,
        &[
            ("msg.t / 10", "2.1"),
            ("msg.t * 1.8 + 32", "69.80000000000001"),
            ("msg.h - 0.5", "55"),
            ("7 / 2 + 7 % 2 - 10", "-6"),
            ("-msg.t", "-21"),
            ("int(msg.h) + int('5') + int(2.9) + int(true)", "63"),
            ("double('2.50')", "2.5"),
            ("string(msg.h) + string(1) + string(false) + string(2.0)", "\"55.501false2\""),
            ("msg.t == 21 && msg.t < msg.h && 1 <= 1.5 && 'a' < 'b' && true > false", "true"),
            ("1.5 >= 2 || 1 != 1.0", "false"),
            ("[1, 2.0] == msg.l || {'m': true} != msg.o.k", "false"),
            ("{'b': 1, 'a': [2]} == {'a': [2.0], 'b': 1} && 'a' != 1", "true"),
            (
                "math.round(21.5) + math.floor(-0.5) + math.ceil(0.2) + math.abs(-3) + math.trunc(1.9)",
                "26",
            ),
            ("math.bitAnd(12, 10) + math.bitOr(12, 10) + math.bitXor(12, 10)", "28"),
            ("math.bitShiftRight(44086, 5) + math.bitShiftLeft(1, 3)", "1385"),
            ("math.bitShiftRight(1, 64) + math.bitShiftLeft(1, 99)", "0"),
            ("msg.t > 20 ? 'warm' : 'cold'", "\"warm\""),
            (
                "type(msg.t) == double && type(msg.l) == list && type(1) == int && type(null) == null_type",
                "true",
            ),
            ("1e300 * 1e3", "1e303"),
        ],
    );
    fail(
        MESSAGE,
        &[
            ("1 / 0", "1 / 0 is no number"),
            ("1.0 / 0", "is no number"),
            ("9223372036854775807 + 1", "is no number"),
            ("-9223372036854775808 / -1", "is no number"),
            ("-(-9223372036854775807 - 1)", "is no number"),
            ("math.abs(-9223372036854775808)", "no number"),
            ("1e300 * 1e300", "is no number"),
            ("'a' + 1", "write string(…)"),
            ("'a' - 1", "no - of a text and a number"),
            ("double('nan')", "nan is no number"),
            ("double('x')", "x is no number"),
            ("int('2.5')", "is no whole number"),
            ("int(1e300)", "is no whole number"),
            ("'a' < 1", "have no order"),
            ("!msg.t", "a number is no truth value"),
            ("msg.t ? 1 : 2", "a number is no truth value"),
            ("math.bitShiftLeft(1, -1)", "less than nothing"),
            ("b'x'", "bytes are no value"),
        ],
    );
}

#[test]
fn what_may_not_be_there_is_left_out_or_stood_for() {
    are(
        MESSAGE,
        &[
            ("{?'a': msg.?t, ?'b': msg.?x, 'c': 1}", r#"{"a":21,"c":1}"#),
            ("{?'a': msg.?o.k.m, ?'b': msg.?o.x.m, ?'c': msg.?t.x}", r#"{"a":true}"#),
            ("[msg.?x.orValue(7), msg.?t.orValue(7), msg.?x.y.orValue(msg.h)]", "[7,21,55.50]"),
            ("{?'a': msg.?x.or(msg.?h), ?'b': msg.?x.or(msg.?y)}", r#"{"a":55.50}"#),
            ("msg.?x.or(msg.?y).or(msg.?t).orValue(0)", "21"),
        ],
    );
    fail(MESSAGE, &[("{?'a': msg.x.?y}", "no member x")]);
}

#[test]
fn one_side_that_decides_is_enough() {
    are(
        MESSAGE,
        &[("msg.x || true", "true"), ("false && msg.x", "false"), ("msg.x && false", "false")],
    );
    fail(MESSAGE, &[("msg.x || false", "no member x"), ("msg.x && true", "no member x")]);
}

#[test]
fn texts_are_taken_apart() {
    are(
        r#"{"a":"37.0;off;é€","e":"x\ny"}"#,
        &[
            ("msg.a.split(';')", r#"["37.0","off","é€"]"#),
            ("msg.e.split('\\n').join('+')", "\"x+y\""),
            ("['a', 'b'].join()", "\"ab\""),
            ("size(msg.a) + size(msg.a.split(';')) + size({'a': 1}) + size(msg)", "17"),
            ("msg.a.contains('off') && msg.a.startsWith('37') && msg.a.endsWith('€')", "true"),
            ("msg.a.indexOf(';') + msg.a.indexOf('€') + msg.a.indexOf('x')", "13"),
            ("msg.a.substring(9) + msg.a.substring(0, 2) + msg.a.substring(10, 10)", "\"é€37\""),
            (
                "msg.a.charAt(10) + ' a '.trim() + 'aB'.lowerAscii() + 'aB'.upperAscii()",
                "\"€aabAB\"",
            ),
            ("'a.b.c'.replace('.', '::')", "\"a::b::c\""),
            ("strptime('31.12.2022 12:25', '%d.%m.%Y %H:%M')", "\"2022-12-31T12:25:00\""),
            ("strptime('2022-12-31', '%Y-%m-%d')", "\"2022-12-31T00:00:00\""),
            (
                "strptime('31 Dec 2022 12:25 +0100', '%d %b %Y %H:%M %z')",
                "\"2022-12-31T11:25:00Z\"",
            ),
        ],
    );
    fail(
        r#"{"a":"37"}"#,
        &[
            ("msg.a.substring(3)", "has no such part"),
            ("msg.a.substring(2, 1)", "has no such part"),
            ("msg.a.charAt(2)", "ends before 2"),
            ("strptime(msg.a, '%d.%m.%Y')", "no time of the form %d.%m.%Y"),
            ("[1].join()", "a number is no text"),
            ("1.trim()", "a number is no text"),
        ],
    );
}

#[test]
fn bytes_are_taken_apart() {
    are(
        r#"{"d":"12FC5394FFFC","b":"AEHIAAA="}"#,
        &[
            ("hex(msg.d).uintBE(0, 2)", "4860"),
            ("hex(msg.d).uintLE(0, 2)", "64530"),
            ("hex(msg.d).intBE(4, 2)", "-4"),
            ("hex(msg.d).intLE(4, 2)", "-769"),
            ("hex(msg.d).uintBE(1, 3) + size(hex(msg.d))", "16536474"),
            ("hex('FFFFFFFFFFFFFFFF').intBE(0, 8)", "-1"),
            ("base64.decode(msg.b).floatBE(1, 4)", "25"),
            ("hex('cdcc4c3e').floatLE(0, 4)", "0.2"),
            ("hex('3ff8000000000000').floatBE(0, 8)", "1.5"),
            ("string(hex('6869').slice(0, 2)) + base64.encode(b'hi' + b'!')", "\"hiaGkh\""),
            ("[1, 2, 3].slice(1, 3)", "[2,3]"),
            ("hex('00') == b'\\x00'", "true"),
        ],
    );
    fail(
        r#"{"d":"12F"}"#,
        &[
            ("hex(msg.d)", "12F is not hexadecimal"),
            ("hex('g0')", "not hexadecimal"),
            ("base64.decode('?')", "no base64"),
            ("hex('00').uintBE(0, 2)", "no 2 bytes at 0: there are 1"),
            ("hex('00').uintBE(9223372036854775807, 2)", "no 2 bytes"),
            ("hex('00').uintBE(0, 9)", "write 1 to 8"),
            ("hex('00').floatBE(0, 1)", "write 4 or 8"),
            ("hex('7fc00000').floatBE(0, 4)", "no finite number"),
            ("hex('FFFFFFFFFFFFFFFF').uintBE(0, 8)", "beyond 2^63"),
            ("'00'.uintBE(0, 1)", "a text is no bytes: write hex(…)"),
            ("string(hex('ff'))", "no text"),
            ("hex('00').slice(0, 2)", "nothing there from 0 to 2"),
            ("[1].slice(1, 0)", "nothing there from 1 to 0"),
        ],
    );
}

#[test]
fn macros_go_over_lists_and_maps() {
    are(
        r#"{"l":[1,2,3],"o":{"a":1,"b":2}}"#,
        &[
            ("msg.l.map(x, x * 2)", "[2,4,6]"),
            ("msg.l.map(x, x > 1, [x])", "[[2],[3]]"),
            ("msg.l.filter(x, x != 2)", "[1,3]"),
            ("msg.o.map(name, name)", r#"["a","b"]"#),
            ("msg.o.filter(name, msg.o[name] == 2)", r#"["b"]"#),
            ("msg.o.transformList(name, it, [name, it])", r#"[["a",1],["b",2]]"#),
            ("msg.l.transformList(i, it, i > 0, i * it)", "[2,6]"),
            ("msg.l.all(x, x > 0) && !msg.l.all(x, x > 1)", "true"),
            ("msg.l.exists(x, x == 3) && !msg.l.exists(x, x == 4)", "true"),
            ("msg.l.exists_one(x, x == 3) && !msg.l.existsOne(x, x > 1)", "true"),
            ("cel.bind(a, 2, cel.bind(b, a + 1, [a, b]))", "[2,3]"),
            ("msg.l.map(x, msg.l.map(y, x * y))", "[[1,2,3],[2,4,6],[3,6,9]]"),
            ("msg.l.map(x, [x, x]).flatten()", "[1,1,2,2,3,3]"),
            ("lists.range(3).map(i, msg.l[i]) + [4]", "[1,2,3,4]"),
        ],
    );
    fail(
        r#"{"l":[1,0]}"#,
        &[
            ("msg.l.map(x, 1 / int(x))", "line 1 column 22: 1 / 0 is no number"),
            ("msg.l.filter(x, x)", "a number is no truth value"),
            ("1.map(x, x)", "neither a list nor a map"),
        ],
    );
}

#[test]
fn a_program_makes_no_object_or_one_or_many() {
    let ok = |all: &[&str]| all.iter().map(|it| Ok((*it).to_owned())).collect::<Vec<_>>();
    for (program, json, expected) in [
        ("null", "1", &[][..]),
        ("[]", "1", &[]),
        ("msg.l.map(it, {'value': it})", r#"{"l":[]}"#, &[]),
        ("msg.t > 3 ? {'value': msg.t} : null", r#"{"t":1}"#, &[]),
        ("{'value': msg}", "1", &[r#"{"value":1}"#]),
        ("msg", r#"{"value":1,"x":2}"#, &[r#"{"value":1,"x":2}"#]),
        ("msg", r#"[{"value":1},{"value":2}]"#, &[r#"{"value":1}"#, r#"{"value":2}"#]),
        ("[{'value': 1}, msg]", r#"{"value":2}"#, &[r#"{"value":1}"#, r#"{"value":2}"#]),
        (
            "cel.bind(id, msg.id, msg.l.map(it, it > 1, {'value': it, 'sensorId': id}))",
            r#"{"id":"p","l":[1,2,3]}"#,
            &[r#"{"value":2,"sensorId":"p"}"#, r#"{"value":3,"sensorId":"p"}"#],
        ),
        (
            "msg.l.map(it, it.v).flatten().map(v, {'value': v})",
            r#"{"l":[{"v":[1,2]},{"v":[3]}]}"#,
            &[r#"{"value":1}"#, r#"{"value":2}"#, r#"{"value":3}"#],
        ),
        (
            "{'value': 1, 'tags': {'a': 'x', 'n': 1.50, 'null': null, 'list': []}, 'q': 'é\\n'}",
            "1",
            &["{\"value\":1,\"q\":\"é\\n\"} a=x n=1.5"],
        ),
        ("{'value': 1, 'tags': msg}", r#"{"a\n":"\"","a\u000a":2}"#, &["{\"value\":1} a\n=\""]),
    ] {
        assert_eq!(made(program, json), ok(expected), "{program}");
    }
    let fifty = (0..50).map(|n| format!("{{\"v\":{n}}}")).collect::<Vec<_>>().join(",");
    let all = made("msg.map(it, {'value': it.v})", &format!("[{fifty}]"));
    assert_eq!((all.len(), all.last()), (50, Some(&Ok(r#"{"value":49}"#.to_owned()))));
}

#[test]
fn of_many_tags_the_first_ones_are_an_objects() {
    let many: Vec<String> = (0..100).map(|n| format!("\"t{n}\":{n}")).collect();
    let json = format!("{{{}}}", many.join(","));
    let all = made("{'value': 1, 'tags': msg}", &json);
    let first: Vec<String> = (0..TAGS_MAX).map(|n| format!("t{n}={n}")).collect();
    assert_eq!(all, [Ok(format!("{{\"value\":1}} {}", first.join(" ")))]);
    let many: Vec<String> = (0..2 * TAGS_MAX).map(|n| format!("'t{n}': 'x'")).collect();
    let all = made(&format!("{{'value': 1, 'tags': {{{}}}}}", many.join(",")), "1");
    assert_eq!(all[0].as_ref().unwrap().matches("=x").count(), TAGS_MAX);
}

#[test]
fn an_object_that_fails_does_not_stop_the_others() {
    let all = made("msg.map(it, {\n  'value': it.v\n})", r#"[{"v":1},{"w":2},{"v":3}]"#);
    assert_eq!(all[0].as_deref(), Ok(r#"{"value":1}"#));
    assert_eq!(
        all[1].as_ref().unwrap_err(),
        "transform, line 2 column 14: no member v: ask has(…) first (object 2)"
    );
    assert_eq!((all[2].as_deref(), all.len()), (Ok(r#"{"value":3}"#), 3));
    let all =
        made("[{'value': msg.a}, {'value': msg.b}, 7, {'value': 1, 'tags': 2}]", r#"{"b":1}"#);
    let is_ok: Vec<bool> = all.iter().map(Result::is_ok).collect();
    assert_eq!(is_ok, [false, true, false, false]);
    assert!(all[2].as_ref().unwrap_err().contains("it makes a number: write {'value': …}"));
    assert!(all[3].as_ref().unwrap_err().contains("its tags are a number"));
}

#[test]
fn a_mistake_is_told_with_its_place_and_remedy() {
    for (program, words) in [
        ("", "line 1 column 1: "),
        ("msg.l.map(", "line 1 column 11: "),
        ("'é€' + ]", "line 1 column 8: "),
        ("[1,\n  foo(2)]", "line 2 column 6: foo is no function"),
        ("{'é': msgg.t}", "line 1 column 7: msgg is not known: write msg"),
        ("'a'.startWith('b')", "did you mean \"startsWith\"?"),
        ("msg.fliter(x, x)", "did you mean \"filter\"?"),
        ("size(1, 2)", "size takes 1, the one before the point among them, and has 2"),
        ("msg.map(x)", "a macro of 2"),
        ("msg.map('x', x)", "the name of a variable belongs here"),
        ("msg.map(msg, msg)", "msg is taken"),
        ("msg.map(x, x) + x", "x is not known"),
        ("has(msg)", "has is of a member"),
        ("topic", "write topic.device"),
        ("1u", "no u here"),
        ("a.B{c: 1}", "no types of messages"),
        ("{'a': 1, 'a': 2}", "a is there twice"),
        ("msg.?a", "write {?'name': x.?name}, or x.?name.orValue(…)"),
        ("{'a': msg.?a.b}", "may not be there"),
        ("{?'a': msg.a}", "? is of a value that may not be there"),
        ("msg.a.orValue(1)", "orValue is of x.?name"),
        ("msg[?'a']", "is no function"),
        ("[?msg]", "? is not known"),
        ("strptime(msg, '%Y-%Q')", "no form of a time"),
        ("strptime(msg, '%H')", "no form of a time"),
        ("math.sqroot(2)", "math.sqroot is no function"),
    ] {
        let error = Transform::try_from(program.to_owned()).unwrap_err();
        assert!(error.starts_with("line ") && error.contains(words), "{program}: {error}");
    }
    let deep = format!("{}1{}", "[".repeat(80), "]".repeat(80));
    let error = Transform::try_from(deep).unwrap_err();
    assert!(error.contains("more than 64 parts, one inside the other"), "{error}");
    let deeper = Transform::try_from("[".repeat(200)).unwrap_err();
    assert!(deeper.contains("more than 64 parts, one inside the other"), "{deeper}");
    let error = Transform::try_from("1 ".repeat(10_000)).unwrap_err();
    assert!(error.contains("has 20000 bytes: write 8192 at most"), "{error}");
}

/// The parser calls itself for each part of a chain. The program's first thread has 8 MiB for that.
#[test]
fn the_longest_chain_of_parts_is_a_mistake_and_no_more() {
    let read = || {
        for link in [".a", "+a", "[a]", ".?a", "&&a", "?a:a", "==a", "(a)", ".a()", " in a"] {
            let chain = format!("a{}", link.repeat((PROGRAM_BYTES_MAX - 1) / link.len()));
            assert!(Transform::try_from(chain).unwrap_err().starts_with("line 1 column"));
        }
    };
    let thread = std::thread::Builder::new().stack_size(3 * 1024 * 1024).spawn(read);
    thread.unwrap().join().unwrap();
}

/// Programs that are as slow, or as large, as they can be with some message.
const GREEDY: [&str; 17] = [
    "msg.map(x, msg.map(y, msg.map(z, {'value': x + y + z})))",
    "msg.map(x, {'value': msg})",
    "[{'value': msg.map(x, msg)}]",
    "msg.map(x, {'value': msg.filter(y, y == x).map(y, msg.exists(z, z == y))})",
    "cel.bind(a, [msg, msg, msg, msg], cel.bind(b, [a, a, a, a], cel.bind(c, [b, b, b, b], cel.bind(d, \
     [c, c, c, c], cel.bind(e, [d, d, d, d], cel.bind(f, [e, e, e, e], {'value': [f, f, f, f]}))))))",
    "cel.bind(a, [msg, msg, msg, msg], cel.bind(b, [a, a, a, a], cel.bind(c, [b, b, b, b], cel.bind(d, \
     [c, c, c, c], cel.bind(e, [d, d, d, d], {'value': [[e, e] == [e, e], e.flatten().flatten().flatten()]})))))",
    "cel.bind(a, string(size(msg)) + '0123456789', cel.bind(b, a + a + a + a, cel.bind(c, b + b + b + b, \
     cel.bind(d, c + c + c + c, cel.bind(e, d + d + d + d, cel.bind(f, e + e + e + e, cel.bind(g, f + f + f + f, cel.bind(h, g + g + g + g, {'value': h + h + h + h}))))))))",
    "lists.range(1000000000).map(x, {'value': x})",
    "lists.range(9000).map(x, lists.range(9000).map(y, {'value': y}))",
    "lists.range(3000).map(x, {'value': msg[size(msg) - 1]})",
    "msg.map(x, {'value': 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'.replace('a', string(msg.map(y, 'bbbbbbbb').join())), \
     'tags': {'x': msg.map(y, 'bbbbbbbb').join()}})",
    "lists.range(5000).map(x, {'value': msg.map(y, string(y)).join().split('').size()})",
    "lists.range(5000).map(x, {'value': msg == msg, 'x': msg.map(y, y) == msg})",
    "lists.range(5000).map(x, {'value': hex(msg.map(y, '00').join()).uintBE(0, 1)})",
    "cel.bind(big, hex(msg[0]), lists.range(1000).map(x, {'value': string(big)}))",
    "cel.bind(big, msg[0] + 'x', cel.bind(other, msg[0] + 'y', lists.range(1000).map(x, {'value': {big: 1}[other]})))",
    "cel.bind(big, msg[0] + 'x', cel.bind(map, {big: 1}, lists.range(1000).map(x, {'value': map == map})))",
];

/// Messages with many elements, or large ones.
fn heavy() -> Vec<String> {
    vec![
        format!("[{}1]", "1,".repeat(32_000)),
        format!("[{}1]", "1,".repeat(50)),
        format!("[\"{}\"]", "\\n".repeat(32_000)),
        format!("[{}0]", "{\"a\":[1,2,3],\"b\":\"x\"},".repeat(2_500)),
        format!("{}{}", "[".repeat(60), "]".repeat(60)),
        // A number that is finite, and texts of such, of what is hexadecimal, and of what is nearly text.
        format!("[0.{}]", "1".repeat(32_000)),
        format!("[\"{}\"]", "1".repeat(32_000)),
        format!("[\"{}ff\"]", "61".repeat(16_000)),
    ]
}

/// Functions of something large, which fail or come to nothing, so that only what they read of it is work.
const READING: [&str; 35] = [
    "'a'.contains(big)",
    "'a'.startsWith(big)",
    "'a'.endsWith(big)",
    "'a'.indexOf(big)",
    "'a'.replace(big, 'b')",
    "'a'.split(big)",
    "'a'.substring(big)",
    "'a'.charAt(big)",
    "strptime(big, '%d.%m.%Y')",
    "strptime('1', big)",
    "size(big)",
    "big.contains('#')",
    "big.startsWith('#')",
    "big.indexOf('#')",
    "big.replace('#', '')",
    "big.trim()",
    "hex(big)",
    "base64.decode(big)",
    "int(big)",
    "int(string(big))",
    "double(big)",
    "double(string(big))",
    "-big",
    "big + 1",
    "2 * big",
    "big < 1",
    "big == 1",
    "[big] == [1]",
    "1 in [big]",
    "big in [1, 2]",
    "[1][big]",
    "[1, 2].slice(0, big)",
    "math.round(big)",
    "math.bitAnd(1, big)",
    "hex('00').uintBE(big, 1)",
];

/// All of them, each of the first element of the message.
fn greedy() -> Vec<String> {
    let reading =
        |it: &&str| format!("cel.bind(big, msg[0], lists.range(1000).map(x, {{'value': {it}}}))");
    let all = GREEDY.iter().map(|it| (*it).to_owned());
    all.chain(READING.iter().map(reading)).collect()
}

/// What a run may hold: what is counted, in buffers that grow, and a little beside.
const PEAK_MAX: u64 = 3 * BYTES_MAX as u64 + 64 * 1024;

/// A step takes 0.2 µs at most, so a program that ends at a limit has a bound in time. What is not counted has none.
#[test]
fn each_program_that_is_made_to_be_slow_ends_at_a_limit() {
    let mut unlimited = Vec::new();
    for program in greedy() {
        let transform = Transform::try_from(program.clone()).unwrap();
        let mut is_limited = false;
        for json in heavy() {
            let ((is_at_limit, steps), peak) = allocated(|| run_only(&transform, &json));
            is_limited |= is_at_limit;
            assert!(
                steps <= STEPS_MAX && peak <= PEAK_MAX,
                "{steps} steps, {peak} bytes: {program}"
            );
        }
        if !is_limited {
            unlimited.push(program);
        }
    }
    assert_eq!(unlimited, [""; 0]);
}

/// Whether it ends at a limit, and its steps; nothing is kept of what it makes.
fn run_only(transform: &Transform, json: &str) -> (bool, u32) {
    let received = Timestamp::from_millis(0);
    let scene = Scene { json, levels: (&[], &[]), entry: "e", received };
    let mut is_at_limit = false;
    let (steps, _) = transform.run(scene, &mut |made| {
        assert!(!is_at_limit, "it is the last one");
        is_at_limit = made.is_err_and(|it| is_of_limit(&it.detail));
        ControlFlow::Continue(())
    });
    (is_at_limit, steps)
}

fn is_of_limit(detail: &str) -> bool {
    detail.contains("it needs more than") || detail.contains("it makes more than")
}

#[test]
fn at_a_limit_the_rest_is_one_fault_and_what_was_made_before_lives() {
    let all = made("msg.map(x, {'value': size(msg)})", &format!("[{}1]", "1,".repeat(2_000)));
    let (last, before) = all.split_last().unwrap();
    assert!(before.len() > 10 && before.iter().all(Result::is_ok));
    let error = last.as_ref().unwrap_err();
    assert!(error.contains("it needs more than 100000 steps: go over less"), "{error}");
    let all = made("[{'value': 1}, {'value': lists.range(50000)}, {'value': 3}]", "1");
    assert_eq!(all.len(), 2);
    let error = all[1].as_ref().unwrap_err();
    assert!(error.contains("it makes more than 1048576 bytes: take less"), "{error}");
    let all = made("{'value': size(lists.range(50000)) == 1 || true}", "1");
    let error = all[0].as_ref().unwrap_err();
    assert!(error.contains("it makes more than 1048576 bytes: take less"), "{error}");
}

#[test]
fn wherever_a_limit_is_nothing_is_lost_without_a_fault() {
    let numbers = |count: u32| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let json = format!("[{}]", numbers(30));
    let listed =
        format!("[{}]", numbers(30).replace(',', ", msg, ").replace("msg", "{'value': 1}"));
    for program in [
        "msg.map(x, {'value': x})",
        "msg.map(x, x > 20, {'value': x, 'tags': {'a': 'b'}})",
        "msg.transformList(n, x, {'value': [n, x]})",
        "cel.bind(all, msg, msg[1] == 1 ? all.map(x, {'value': x}) : null)",
        "msg.filter(x, x < 9)",
        "lists.range(30)",
        "[{'value': 1}, {'value': msg}, 3, {'value': size(msg)}]",
        &listed,
    ] {
        let transform = Transform::try_from(program.to_owned()).unwrap();
        let (whole, needed) = run(&transform, &json);
        let steps = (0..=needed).map(|it| Meter::new(it, BYTES_MAX));
        let bytes = (0..5_000).map(|it| Meter::new(STEPS_MAX, it));
        let mut limited = 0;
        for meter in steps.chain(bytes) {
            let left = format!("{program}: {meter:?}");
            let (all, _) = run_within(meter, &transform, &json);
            if all == whole {
                continue;
            }
            limited += 1;
            let (last, before) = all.split_last().expect(&left);
            assert!(last.as_ref().is_err_and(|it| is_of_limit(it)), "{left}: {last:?}");
            assert!(whole.starts_with(before), "{left}: {before:?}");
        }
        assert!(limited > needed, "{program}: at limits of both kinds");
    }
}

/// A dead letter shows what is wrong, and not the message once more.
#[test]
fn a_fault_is_short_and_clean_whatever_the_message_is() {
    let ugly = "\u{1b}[31m\u{202e}\n1".repeat(4_000);
    let texts = [&ugly, &format!("1{ugly}"), &format!("2026-01-01{ugly}")];
    let mut faults = 0;
    for it in READING.iter().chain(&["{'a': 1}[big]", "strptime(big, '%Y-%m-%d')"]) {
        let program = format!("cel.bind(big, msg[0], {{'value': {it}}})");
        for text in texts {
            let all = made(&program, &serde_json::to_string(&[text]).unwrap());
            for detail in all.into_iter().filter_map(Result::err) {
                faults += 1;
                // Two texts, of which each byte may be escaped.
                assert!(detail.len() < 16 * SHOWN_BYTES_MAX, "{} bytes: {detail}", detail.len());
                assert!(!detail.contains(is_unsafe), "{detail:?}");
            }
        }
    }
    assert!(faults > 50, "{faults}");
}

/// Programs that use all functions.
const PROGRAMS: [&str; 8] = [
    "msg.map(it, {'value': it, 'tags': msg, 'timestamp': string(it)})",
    "{'value': has(msg.value) ? msg.value : msg, 'sensorId': msg.data.id, 'x': type(msg)}",
    "msg.transformList(k, v, {'value': [v, k].flatten(), 'y': v == msg, 'z': size(v)})",
    "msg.split(';').map(it, {'value': double(it.trim()), 'a': it.substring(1), 'b': it.charAt(0), 'c': int(it)})",
    "[msg, {'value': msg[0]}, {'value': hex(msg).intLE(0, 2)}, {'value': base64.decode(msg.value)}, {'value': \
     msg.lowerAscii().replace('o', 'ö').indexOf('n')}, {'value': strptime(msg.t, '%Y-%m-%d')}]",
    "msg.filter(x, x in msg).map(x, {'value': -x * 2 / 3 % 4, 'b': math.bitAnd(x, 3), 'c': math.round(x)})",
    "msg.map(it, {?'value': it.?v.or(it.?value.x), 'sensorId': it.?id.orValue('none')})",
    "{'value': msg.all(a, a > 1) || msg.exists(b, b == 'open'), 'b': msg.slice(0, 1), 'c': msg + msg}",
];

#[test]
fn any_document_gives_objects_or_faults_within_the_limits() {
    let programs: Vec<Transform> =
        PROGRAMS.iter().chain(&GREEDY).map(|it| (*it).to_owned().try_into().unwrap()).collect();
    let samples = [
        r#"{"value":21.50,"timestamp":"2026-01-01T00:00:00Z","sensorId":"S","x":[1, 2]}"#,
        r#"{"data":{"value":3,"id":"D","more":{"a":[{},[]]}},"at":9,"t":"2026-01-01"}"#,
        r#"{"a/b":{"x":1e3},"v\u0061lue":-1.5E-7,"\ud83d\ude00":"\u0000","":null}"#,
        r#" ["open",true,false,null,0.1,-0,{"n":"\n\"\\\/"}] "#,
        "[1,2,3,9223372036854775807,9223372036854775808,-1,1e308]",
        "\"37.0;36;off\"",
        "\"0201061BFF99040512FC\"",
    ];
    let (mut objects, mut faults) = (0, 0);
    fuzz(200, &samples, |payload, _| {
        // What is no JSON does not come as far as a program.
        let Ok(json) = std::str::from_utf8(payload) else { return };
        if serde_json::from_str::<Json>(json).is_err() {
            return;
        }
        let json = json.trim();
        for transform in &programs {
            let ((_, steps), peak) = allocated(|| run_only(transform, json));
            assert!(steps <= STEPS_MAX && peak <= PEAK_MAX + 4 * json.len() as u64);
            let (all, _) = run(transform, json);
            objects += all.iter().filter(|it| it.is_ok()).count();
            faults += all.iter().filter(|it| it.is_err()).count();
            all.iter().for_each(check);
        }
    });
    assert!(objects > 1_000 && faults > 1_000, "{objects} and {faults}");
}

/// Bytes of what is said about a document.
const DETAIL_BYTES_MAX: usize = 512;

/// An object is JSON, with its tags behind.
fn check(made: &Result<String, String>) {
    match made {
        Ok(object) => {
            let mut values = serde_json::Deserializer::from_str(object).into_iter::<Json>();
            assert!(matches!(values.next(), Some(Ok(Json::Object(_)))), "{object}");
        }
        Err(detail) => {
            assert!((1..=DETAIL_BYTES_MAX).contains(&detail.len()), "{detail}");
            assert!(!detail.contains(is_unsafe), "{detail:?}");
        }
    }
}

#[test]
fn any_text_is_a_program_or_a_mistake_with_a_place() {
    let samples: Vec<&str> = PROGRAMS.iter().chain(&GREEDY).copied().collect();
    let mut programs = 0;
    fuzz(1_500, &samples, |text, _| {
        let Ok(text) = std::str::from_utf8(text) else { return };
        match Transform::try_from(text.to_owned()) {
            Ok(transform) => {
                programs += 1;
                run_only(&transform, "[1,{\"value\":2}]");
            }
            Err(error) => assert!(error.starts_with("line "), "{error}"),
        }
    });
    assert!(programs > 100, "{programs}");
}
