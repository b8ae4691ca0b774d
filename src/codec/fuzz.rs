//! Any payload gives a reading or a dead letter: what is written is JSON that any reader takes, and not
//! longer than the payload by more than a factor; nor does reading it take more memory.

use std::ops::ControlFlow;

use serde_json::{Map, Value};

use super::mapping::mapped::tests::Entry;
use super::mapping::settings::Settings;
use super::mapping::{Origin, Read};
use super::{Format, Input, Malformed, Options, Payload, Reading, View, Whose, influx};
use crate::clock::Timestamp;
use crate::fuzz::{allocated, fuzz};
use crate::record::{Arrival, Chunk, Span};

/// Text grows most: a control character becomes `\u0001`. And there are two quotes.
const GROWTH: usize = 6;
const QUOTES: usize = 2;

/// Bytes that are allocated beside.
const DECODER_BYTES: usize = 4096;

/// Bytes of what is said about a payload that is no reading.
const DETAIL_BYTES_MAX: usize = 256;

fn codecs() -> Vec<(Payload, Settings)> {
    let settings = |text: &str| {
        let it: Entry = serde_json::from_str(text).unwrap();
        (it.payload.clone(), it.mapping().unwrap())
    };
    vec![
        settings("{}"),
        settings(r#"{"payload":"text"}"#),
        settings(r#"{"payload":"ndjson"}"#),
        settings(r#"{"payload":"raw"}"#),
        settings(r#"{"payload":"cbor"}"#),
        settings(r#"{"payload":"senml"}"#),
        settings(
            r#"{"payload":"messagepack","values":{"a":"/v","b":{"from":"/0","missing":"skip"}}}"#,
        ),
        settings(
            r#"{"payload":"cbor","value":["/v","/b/0"],"timestamp":"/t","sensor":"{/id}","missing":"skip"}"#,
        ),
        settings(
            r#"{"value":"/data/value","timestamp":"/data/timestamp","sensor":"/data/id","counter":"/n","missing":"whole"}"#,
        ),
        settings(r#"{"value":"/value","timestamp":"/value","sensor":"/value","counter":"/value"}"#),
        settings(
            r#"{"value":["/a~1b","/x/0"],"timestamp":["/a~1b/x",""],"sensor":"/at","extra":"drop","type":"number"}"#,
        ),
        settings(
            r#"{"each":["",""],"value":["/value",""],"sensor":["{key.1}{key}","{key}","{entry}"],"extra":["/u","$/b"]}"#,
        ),
        settings(r#"{"transform":"msg.map(it, {'value': it})"}"#),
        settings(
            r#"{"each":["","/a"],"extra":"drop","timestamp":["/at","$/at","$/data/timestamp"]}"#,
        ),
        settings(
            r#"{"values":{"a":"/value","b":{"from":"/0","missing":"skip"}},"tags":{"t":"{/u}-{/unit}"},"quantity":"/u"}"#,
        ),
    ]
}

fn samples() -> Vec<Vec<u8>> {
    let mut samples: Vec<Vec<u8>> = BINARY.iter().map(|it| it.to_vec()).collect();
    samples.extend(texts().into_iter().map(String::into_bytes));
    samples
}

/// Payloads in binary.
const BINARY: [&[u8]; 5] = [
    b"\x82\xa5\x21\x63dev\x22\x1a\x67\x40\x53\xc8\x23\x61C\x00\x61a\x02\xf9\x3e\x00\xa3\x00\x61b\x06\x24\x04\xf5",
    b"\x84\xa1v\xcb\x40\x35\xb3\x33\x33\x33\x33\x33\xa9timestamp\xd6\xff\x67\x40\x53\xc8\x01\x93\xe0\xc4\x02\xff\xfe\xd4\x05\x00\xa1x\xdd\x00\x00\x00\x01\xc3",
    b"\xa4\x61v\xfb\x40\x35\xb3\x33\x33\x33\x33\x33\x61t\xc1\x1a\x67\x40\x5b\x88\x62id\x61S\x61b\x9f\xf9\x3e\x00\xc2\x42\x01\x00\xff",
    b"\xbf\x61v\xc4\x82\x21\x19\x6a\xb3\x20\xd6\x43\x01\x02\x03\x61t\x7f\x64\x32\x30\x32\x36\x61\x01\xff\xff",
    b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff\x81\x81\x81\x5b\xff\xff\xff\xff\xff\xff\xff\xff\x00",
];

fn texts() -> Vec<String> {
    let mut samples = vec![
        "[".repeat(200_000),
        "{\"value\":".repeat(2000),
        format!("{}1{}", "[".repeat(64), "]".repeat(64)),
        "9".repeat(400),
        format!("{{\"value\":{}.5}}", "1".repeat(320)),
        "\u{1}\u{2}\u{3}open\u{7f}".repeat(9),
    ];
    samples.extend(
        [
            r#"[{"bn":"a:","bt":1.7e9,"bu":"C","bv":1,"n":"t","v":20.1},{"n":"u","t":-5,"vs":"x"},{"bs":2,"s":1,"ut":9},{"n":"w","vb":true,"x_":1},{"vd":"_w","z":[1]}]"#,
            r#"{"value":21.50,"timestamp":"2026-01-01T00:00:00Z","sensorId":"S","unit":"C","x":[1, 2]}"#,
            r#"{"data":{"value":3,"timestamp":4,"id":"D","more":{"a":[{},[]]}},"at":9}"#,
            r#"{"a/b":{"x":1e3},"v\u0061lue":-1.5E-7,"\ud83d\ude00":"\ud800","":null}"#,
            r#" ["open",true,false,null,0.1,-0,{"n":"\n\"\\\/"}] "#,
            "12345678901234567890.123456789",
            "\"\u{e9}\u{1f600}\"",
            "open",
            "21,5\r\n",
            "{\"value\":1,\"sensorId\":\"a\"}\n{\"value\":2}\r\n\n3\n[\nopen",
        ]
        .map(str::to_owned),
    );
    samples
}

#[test]
fn any_payload_gives_a_reading_that_all_can_read_or_a_dead_letter() {
    let codecs = codecs();
    fuzz(30_000, &samples(), |payload, _| {
        for (codec, settings) in &codecs {
            let (mut chunk, mut decoder) = (Chunk::default(), codec.decoder());
            let mut mapping = codec.mapping(settings, &[]);
            let received = Timestamp::from_millis(1_795_332_650_692);
            let origin =
                Origin { levels: &[], named: None, entry: "entry", properties: &[], received };
            let input =
                Input { payload, topic: b"", received, bytes_max: payload.len() * GROWTH + QUOTES };
            let mut reads = Vec::with_capacity(if codec.is_many() || settings.is_many() {
                payload.len()
            } else {
                1
            });
            let mut take = |_: &mut Chunk, _: Option<&str>, read: Read<'_>| {
                let sensor = |it: &Reading<'_>| it.sensor.map_or(0, str::len);
                // A template may have a place twice.
                assert!(read.as_ref().map_or(0, sensor) <= 2 * payload.len());
                let spans = |it: Reading<'_>| [it.value, it.timestamp, it.extra, it.labels];
                reads.push(read.map(spans));
                ControlFlow::Continue(())
            };
            let (_, peak) = allocated(|| {
                decoder.decode(input, &mut |_, document| match document {
                    Ok(document) => mapping.read(document, &origin, &mut chunk, &mut take),
                    Err(malformed) => take(&mut chunk, None, Err(malformed)),
                })
            });
            let parts = reads.len();
            for read in reads {
                check(&chunk, read);
            }
            let skipped = usize::from(mapping.skipped() > 0);
            let is_many = codec.is_many() || settings.is_many();
            assert!(parts + skipped == 1 || (is_many && parts > 1), "{parts}: {codec:?}");
            let parts = parts + skipped;
            // A buffer that grows holds twice its content, and its old self while it moves.
            // A payload in binary is written as text first, which may be in the chunk twice: as the value, and as the rest.
            let buffers = if codec.is_text() { 1 } else { 3 };
            let peak_max = buffers * 3 * payload.len() * GROWTH + parts * DECODER_BYTES;
            assert!(peak <= peak_max as u64, "{peak} bytes: {codec:?}");
            let chunk_max = buffers * payload.len() * GROWTH + parts * QUOTES;
            assert!(chunk.bytes() <= chunk_max, "{codec:?}");
        }
    });
}

fn check(chunk: &Chunk, read: Result<[Span; 4], Malformed>) {
    match read {
        Ok([value, timestamp, extra, labels]) => check_record(&View {
            sensor: Whose::Counted("\"s\"", 1),
            entry: "",
            value: chunk.text(value),
            timestamp: chunk.text(timestamp),
            received: Timestamp::from_millis(0),
            labels: chunk.text(labels),
            topic: b"",
            extra: chunk.text(extra),
            arrival: Arrival::default(),
            expires: None,
        }),
        Err(malformed) => {
            assert!((1..=DETAIL_BYTES_MAX).contains(&malformed.detail.len()), "{malformed:?}");
        }
    }
}

/// One object, with a value, a timestamp that is no structure, and nothing that leaks out of its place.
fn check_record(view: &View<'_>) {
    let mut out = Vec::new();
    let options = Options { influx: &influx::Settings::default() };
    Format::Json.encoder(&options).record(&mut out, view).unwrap();
    let record: Map<String, Value> = serde_json::from_slice(&out).unwrap();
    assert!(record["timestamp"].is_string());
    let names = [
        "extra",
        "quantity",
        "receivedAt",
        "sensorId",
        "sequence",
        "tags",
        "timestamp",
        "unit",
        "value",
    ];
    assert!(record.keys().all(|name| names.contains(&name.as_str())), "{record:?}");
    assert_eq!((&record["sensorId"], &record["sequence"]), (&"s".into(), &1.into()));
}
