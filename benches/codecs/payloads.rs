//! The payloads that are read.

use std::io::Write as _;

use flate2::write::GzEncoder;
use prost::encoding::{WireType, encode_key, encode_varint};

/// Records of a payload that holds several.
pub(crate) const MANY: usize = 20;

/// What `simulate` sends.
pub(crate) const JSON: &str =
    r#"{"value":21.57,"timestamp":"2026-11-22T07:30:50.601Z","number":7}"#;

/// A payload of text.
pub(crate) const TEXT: &str = "21.57 C, door open";

/// Bytes that are no text.
pub(crate) const RAW: [u8; 24] = *b"\x01\x67\x01\x10\x02\x68\x50\xff\x00\x80\x7f\xfe\x01\x67\x01\x10\x02\x68\x50\xff\x00\x80\x7f\xfe";

/// Several lines of JSON.
pub(crate) fn lines() -> Vec<u8> {
    format!("{JSON}\n").repeat(MANY).into_bytes()
}

/// `JSON` in CBOR.
pub(crate) fn cbor() -> Vec<u8> {
    let mut cbor = minicbor::Encoder::new(Vec::new());
    cbor.map(3).unwrap().str("value").unwrap().f64(21.57).unwrap();
    cbor.str("timestamp").unwrap().str("2026-11-22T07:30:50.601Z").unwrap();
    cbor.str("number").unwrap().u8(7).unwrap();
    cbor.into_writer()
}

/// `JSON` in `MessagePack`: a map of three, short texts, a double, a small number.
pub(crate) fn messagepack() -> Vec<u8> {
    let value = 21.57_f64.to_be_bytes();
    let parts: [&[u8]; 4] = [
        b"\x83\xa5value\xcb",
        &value,
        b"\xa9timestamp\xb82026-11-22T07:30:50.601Z",
        b"\xa6number\x07",
    ];
    parts.concat()
}

/// A pack of `SenML` in JSON.
pub(crate) fn senml() -> Vec<u8> {
    let base = r#""bn":"urn:dev:ow:10e2073a01080063:","bt":1795332650.601,"#;
    let records = (0..MANY).map(|at| {
        let base = if at == 0 { base } else { "" };
        format!(r#"{{{base}"n":"t{at:02}","u":"Cel","v":21.57,"t":{at}}}"#)
    });
    format!("[{}]", records.collect::<Vec<_>>().join(",")).into_bytes()
}

/// The same pack in CBOR.
pub(crate) fn senml_cbor() -> Vec<u8> {
    let mut cbor = minicbor::Encoder::new(Vec::new());
    cbor.array(MANY as u64).unwrap();
    for at in 0..MANY {
        cbor.map(if at == 0 { 6 } else { 4 }).unwrap();
        if at == 0 {
            cbor.i8(-2).unwrap().str("urn:dev:ow:10e2073a01080063:").unwrap();
            cbor.i8(-3).unwrap().f64(1_795_332_650.601).unwrap();
        }
        cbor.u8(0).unwrap().str(&format!("t{at:02}")).unwrap().u8(1).unwrap().str("Cel").unwrap();
        cbor.u8(2).unwrap().f64(21.57).unwrap().u8(6).unwrap().u64(at as u64).unwrap();
    }
    cbor.into_writer()
}

/// The birth of a device of Sparkplug B with so many metrics, by name and alias, each with its unit.
pub(crate) fn birth(metrics: usize) -> Vec<u8> {
    payload((0..metrics).map(|at| {
        let mut metric = Vec::new();
        bytes(1, format!("Zone {at:02}/Temperature").as_bytes(), &mut metric);
        metric.extend(value(at));
        number(4, 10, &mut metric);
        let (mut text, mut set) = (Vec::new(), Vec::new());
        number(1, 12, &mut text);
        bytes(8, b"C", &mut text);
        bytes(1, b"engUnit", &mut set);
        bytes(2, &text, &mut set);
        bytes(9, &set, &mut metric);
        metric
    }))
}

/// Its data: the same metrics, by alias.
pub(crate) fn metrics(metrics: usize) -> Vec<u8> {
    payload((0..metrics).map(value))
}

/// Alias, time and value, a double.
fn value(at: usize) -> Vec<u8> {
    let mut metric = Vec::new();
    number(2, at as u64, &mut metric);
    number(3, 1_795_332_650_601, &mut metric);
    encode_key(13, WireType::SixtyFourBit, &mut metric);
    metric.extend_from_slice(&21.57_f64.to_le_bytes());
    metric
}

fn payload(metrics: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut payload = Vec::new();
    number(1, 1_795_332_650_601, &mut payload);
    metrics.for_each(|it| bytes(2, &it, &mut payload));
    number(3, 1, &mut payload);
    payload
}

fn number(field: u32, value: u64, into: &mut Vec<u8>) {
    encode_key(field, WireType::Varint, into);
    encode_varint(value, into);
}

fn bytes(field: u32, value: &[u8], into: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, into);
    encode_varint(value.len() as u64, into);
    into.extend_from_slice(value);
}

/// The members of so many values.
fn members(values: usize) -> String {
    let members = (0..values).map(|at| format!(r#""v{at:02}":{at}.57"#));
    members.collect::<Vec<_>>().join(",")
}

/// A message with so many values.
pub(crate) fn message(values: usize) -> Vec<u8> {
    let data = members(values);
    format!(r#"{{"device":"a81758fffe0301b5","battery":3.61,"data":{{{data}}}}}"#).into_bytes()
}

/// A message with several elements of so many values.
pub(crate) fn elements(values: usize) -> Vec<u8> {
    let element = format!(r#"{{"port":1,{}}}"#, members(values));
    let elements = vec![element; MANY].join(",");
    format!(r#"{{"device":"a81758fffe0301b5","battery":3.61,"points":[{elements}]}}"#).into_bytes()
}

/// In gzip.
pub(crate) fn gzip(payload: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(payload).unwrap();
    gzip.finish().unwrap()
}

/// In Zstandard.
pub(crate) fn zstd(payload: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(payload, zstd::DEFAULT_COMPRESSION_LEVEL).unwrap()
}
