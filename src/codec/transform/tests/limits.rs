//! What no program and no message does: it takes no more steps and bytes than it may, loses nothing where it is stopped,
//! says nothing long or unsafe, and uses up no stack.

use serde_json::Value as Json;

use super::*;
use crate::codec::transform::program::PROGRAM_BYTES_MAX;
use crate::fuzz::{allocated, fuzz};
use crate::text::{SHOWN_BYTES_MAX, is_unsafe};

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
