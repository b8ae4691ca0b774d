//! What expressions are, what a program makes of a message, and which programs are mistakes.

use super::*;

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
    let error = Transform::try_from("msg.matches('a')".to_owned()).unwrap_err();
    assert!(error.ends_with("matches is no function"), "nothing is like it: {error}");
    let deep = format!("{}1{}", "[".repeat(80), "]".repeat(80));
    let error = Transform::try_from(deep).unwrap_err();
    assert!(error.contains("more than 64 parts, one inside the other"), "{error}");
    let deeper = Transform::try_from("[".repeat(200)).unwrap_err();
    assert!(deeper.contains("more than 64 parts, one inside the other"), "{deeper}");
    let error = Transform::try_from("1 ".repeat(10_000)).unwrap_err();
    assert!(error.contains("has 20000 bytes: write 8192 at most"), "{error}");
}
