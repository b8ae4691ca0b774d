//! Tests of resolving packs, with the examples of the standard.

use super::*;
use crate::clock::Timestamp;
use crate::codec::samples::bytes;
use crate::record::Reason;

/// A part of a pack: what a dead letter shows, and its document or why it is none.
type Part = (Vec<u8>, Result<String, (Reason, String)>);

/// The first `max` parts of a pack that was received at the second 1,700,000,000.5.
fn parts_of(payload: &[u8], max: usize) -> Vec<Part> {
    let received = Timestamp::from_millis(1_700_000_000_500);
    let input = Input { payload, topic: b"", received, bytes_max: 4096 };
    let (mut parts, mut decoder) = (Vec::new(), Decoder::default());
    let mut take = |part: &[u8], document: Result<Document<'_>, Malformed>| {
        let document = document.map(|it| match it {
            Document::Json(text) | Document::Text(text) => text.to_owned(),
        });
        parts.push((part.to_vec(), document.map_err(|it| (it.reason, it.detail))));
        if parts.len() == max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let ended = decoder.decode(input, &mut take);
    assert_eq!(ended.is_break(), parts.len() == max);
    parts
}

fn documents(payload: &[u8]) -> Vec<String> {
    parts_of(payload, 99).into_iter().map(|it| it.1.unwrap()).collect()
}

/// The pack of §5.1.2, and what its records say.
const VOLTAGE: &str = r#"[
    {"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},
    {"n":"current","t":-5,"v":1.2},{"n":"current","t":-4,"v":1.3},{"n":"current","t":-3,"v":1.4},
    {"n":"current","t":-2,"v":1.5},{"n":"current","t":-1,"v":1.6},{"n":"current","v":1.7}]"#;

fn voltage() -> Vec<String> {
    let name = "urn:dev:ow:10e2073a0108006:";
    let record = |it: (&str, &str, &str, u32)| {
        let (quantity, value, unit, second) = it;
        format!(
            r#"{{"sensorId":"{name}{quantity}","value":{value},"unit":"{unit}","timestamp":{second}.001}}"#
        )
    };
    [
        ("voltage", "120.1", "V", 1_276_020_076),
        ("current", "1.2", "A", 1_276_020_071),
        ("current", "1.3", "A", 1_276_020_072),
        ("current", "1.4", "A", 1_276_020_073),
        ("current", "1.5", "A", 1_276_020_074),
        ("current", "1.6", "A", 1_276_020_075),
        ("current", "1.7", "A", 1_276_020_076),
    ]
    .map(record)
    .to_vec()
}

/// RFC 8428 §5.1.
#[test]
fn the_examples_of_the_standard_are_resolved() {
    for (pack, expected) in [
        (
            r#"[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]"#,
            &[r#"{"sensorId":"urn:dev:ow:10e2073a01080063","value":23.1,"unit":"Cel"}"#][..],
        ),
        (
            r#"[{"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,"bu":"%RH","v":20},
                {"u":"lon","v":24.30621},{"t":60,"v":20.3}]"#,
            &[
                r#"{"sensorId":"urn:dev:ow:10e2073a01080063","value":20,"unit":"%RH","timestamp":1320067464}"#,
                r#"{"sensorId":"urn:dev:ow:10e2073a01080063","value":24.30621,"unit":"lon","timestamp":1320067464}"#,
                r#"{"sensorId":"urn:dev:ow:10e2073a01080063","value":20.3,"unit":"%RH","timestamp":1320067524}"#,
            ],
        ),
        (
            r#"[{"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},{"n":"label","vs":"Machine Room"},
                {"n":"open","vb":false},{"n":"nfc-reader","vd":"aGkgCg"}]"#,
            &[
                r#"{"sensorId":"urn:dev:ow:10e2073a01080063:temp","value":23.1,"unit":"Cel"}"#,
                r#"{"sensorId":"urn:dev:ow:10e2073a01080063:label","value":"Machine Room"}"#,
                r#"{"sensorId":"urn:dev:ow:10e2073a01080063:open","value":false}"#,
                r#"{"sensorId":"urn:dev:ow:10e2073a01080063:nfc-reader","value":"aGkgCg"}"#,
            ],
        ),
        (
            r#"[{"bn":"2001:db8::2/","bt":1.320078429e+09,"n":"temperature","u":"Cel","v":25.2},
                {"n":"humidity","u":"%RH","v":30},{"bn":"2001:db8::1/","n":"temperature","u":"Cel","v":12.3}]"#,
            &[
                r#"{"sensorId":"2001:db8::2/temperature","value":25.2,"unit":"Cel","timestamp":1320078429}"#,
                r#"{"sensorId":"2001:db8::2/humidity","value":30,"unit":"%RH","timestamp":1320078429}"#,
                r#"{"sensorId":"2001:db8::1/temperature","value":12.3,"unit":"Cel","timestamp":1320078429}"#,
            ],
        ),
        (
            r#"[{"bn":"urn:dev:ow:10e2073a01080063:"},{"n":"fan","u":"/","v":0}]"#,
            &[r#"{"sensorId":"urn:dev:ow:10e2073a01080063:fan","value":0,"unit":"/"}"#],
        ),
    ] {
        assert_eq!(documents(pack.as_bytes()), expected, "{pack}");
    }
    assert_eq!(documents(VOLTAGE.as_bytes()), voltage());
}

/// RFC 8428 §6: the same pack in CBOR.
#[test]
fn the_example_in_cbor_says_the_same_as_that_in_json() {
    let hex = "87a721781b75726e3a6465763a6f773a3130653230373361303130383030363a22fb41d303a15b00106223614120050067766f6c\
        7461676501615602fb405e066666666666a3006763757272656e74062402fb3ff3333333333333a3006763757272656e74062302fb3f\
        f4cccccccccccda3006763757272656e74062202fb3ff6666666666666a3006763757272656e74062102f93e00a3006763757272656e\
        74062002fb3ff999999999999aa3006763757272656e74060002fb3ffb333333333333";
    assert_eq!(documents(&bytes(hex)), voltage());
    let parts = parts_of(b"\x82\xa2\x00\x61a\x02\xf5\xa2\x00\x61a\x08\x41\xff", 99);
    assert_eq!(parts[0].0, b"\x82\xa2\x00\x61a\x02\xf5\xa2\x00\x61a\x08\x41\xff", "the whole pack");
    assert_eq!(parts[0].1.as_ref().unwrap_err().0, Reason::Malformed);
    assert_eq!(parts[1].1, Ok(r#"{"sensorId":"a","value":"_w"}"#.to_owned()), "bytes");
}

#[test]
fn base_values_are_added_and_times_are_relative_to_the_receipt() {
    let pack = r#"[{"bn":"a","bt":-10,"bv":20,"bs":5,"v":0.5,"s":1},{"t":3.25},{"bt":0,"vs":"x","s":2},
        {"t":0.5,"vb":true,"ut":60,"place":"hall"},{"bt":1.7e9,"t":-1700000000,"vd":"_w"}]"#;
    let expected = [
        r#"{"sensorId":"a","value":20.5,"sum":6.0,"timestamp":1699999990.5}"#,
        r#"{"sensorId":"a","value":20.0,"sum":5.0,"timestamp":1699999993.75}"#,
        r#"{"sensorId":"a","value":"x","sum":7.0}"#,
        r#"{"place":"hall","sensorId":"a","value":true,"sum":5.0,"timestamp":1700000001,"updateTime":60}"#,
        r#"{"sensorId":"a","value":"_w","sum":5.0}"#,
    ];
    assert_eq!(documents(pack.as_bytes()), expected);
    let sum = r#"[{"n":"meter","u":"J","s":1234567890.123456789}]"#;
    let expected = [r#"{"sensorId":"meter","value":1234567890.123456789,"unit":"J"}"#];
    assert_eq!(documents(sum.as_bytes()), expected, "a sum alone, with its digits");
    let escaped = "\u{feff} [{\"bn\":\"a\\\"\",\"n\":\"\\u00e9\",\"v\":1}] ";
    assert_eq!(documents(escaped.as_bytes()), [r#"{"sensorId":"a\"é","value":1}"#]);
}

#[test]
fn a_record_that_cannot_be_read_is_a_dead_letter_and_the_others_live() {
    let good = r#"{"n":"a","v":1}"#;
    for (bad, detail) in [
        ("7", "it is no object"),
        (r#"{"n":"a"}"#, "it has no value"),
        (r#"{"n":"a","v":1,"vs":"x"}"#, "it has several values"),
        (r#"{"n":"a","v":"1"}"#, "v is no number"),
        (r#"{"n":"a","vb":1}"#, "vb is not true or false, or there are several values"),
        (r#"{"n":"a","vs":1}"#, "vs is no text"),
        (r#"{"n":7,"v":1}"#, "n is no text"),
        (r#"{"n":"a","v":1,"t":"now"}"#, "t is no number"),
        (r#"{"n":"a","v":1,"secret_":1}"#, "secret_ must be understood, and is not known"),
        (r#"{"n":"a","v":1,"v":1e999}"#, "v is no number"),
    ] {
        let parts = parts_of(format!("[{good},{bad},{good}]").as_bytes(), 99);
        let detail = format!("record 2 of the pack: {detail}");
        assert_eq!(parts.len(), 3, "{bad}");
        assert_eq!(parts[1], (bad.as_bytes().to_vec(), Err((Reason::Malformed, detail))));
        assert!(parts[0].1.is_ok() && parts[2].1.is_ok(), "{bad}");
    }
    let later = parts_of(format!("[{good},{{\"bver\":11,\"v\":1}},{good}]").as_bytes(), 99);
    assert!(later[0].1.is_ok() && later[1].1.is_err() && later[2].1.is_err(), "{later:?}");
    assert_eq!(parts_of(format!("[{good},{good},{good}]").as_bytes(), 2).len(), 2);
    let packs = [
        &b""[..],
        b" ",
        b"[]",
        b"{}",
        b"[{\"bn\":\"a\"}]",
        b"[{",
        b"open",
        b"\xa0",
        b"\x80",
        b"\x81",
        b"\xef\xbb",
    ];
    for pack in packs {
        let parts = parts_of(pack, 99);
        assert!(parts.len() == 1 && parts[0].1.is_err() && parts[0].0 == pack, "{parts:?}");
    }
}
