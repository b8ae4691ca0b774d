//! The baselines: each payload read by its parser alone, as somebody would write it who knows the shape of the messages.
//!
//! They borrow what they can, keep their buffers, and give what a reading is made of: the text of the value, and the
//! time as RFC 3339. They pass over all else, and trust what they are sent: no bound on depth, no check of the time, no
//! second look at numbers out of range.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::{Decompress, FlushDecompress};
use prost::encoding::{WireType, decode_key, decode_varint};
use rmp::decode::{self, Bytes};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sluicegate::clock::Timestamp;

/// What is read.
#[derive(Default)]
pub(crate) struct Out {
    /// JSON texts, one behind the other.
    pub(crate) values: Vec<u8>,
    times: Vec<u8>,
}

impl Out {
    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.times.clear();
    }

    fn number(&mut self, value: f64) {
        self.values.extend_from_slice(ryu::Buffer::new().format(value).as_bytes());
    }

    fn time(&mut self, time: &str) {
        self.times.extend_from_slice(time.as_bytes());
    }

    fn seconds(&mut self, seconds: f64) {
        write!(self.times, "{}", Timestamp::from_millis((seconds * 1e3) as u64)).unwrap();
    }
}

#[derive(Deserialize)]
struct Simulated<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
    timestamp: &'a str,
}

pub(crate) fn json(payload: &[u8], out: &mut Out) {
    let read: Simulated<'_> = serde_json::from_slice(payload).unwrap();
    out.values.extend_from_slice(read.value.get().as_bytes());
    out.time(read.timestamp);
}

pub(crate) fn lines(payload: &[u8], out: &mut Out) {
    for line in payload.split(|byte| *byte == b'\n').filter(|it| !it.is_empty()) {
        json(line, out);
    }
}

/// As a JSON text.
pub(crate) fn text(payload: &[u8], out: &mut Out) {
    serde_json::to_writer(&mut out.values, std::str::from_utf8(payload).unwrap()).unwrap();
}

/// As a JSON text.
pub(crate) fn raw(payload: &[u8], out: &mut Out) {
    let mut text = [0; 64];
    let bytes = STANDARD.encode_slice(payload, &mut text).unwrap();
    out.values.push(b'"');
    out.values.extend_from_slice(&text[..bytes]);
    out.values.push(b'"');
}

pub(crate) fn cbor(payload: &[u8], out: &mut Out) {
    let mut cbor = minicbor::Decoder::new(payload);
    for _ in 0..cbor.map().unwrap().unwrap() {
        match cbor.str().unwrap() {
            "value" => out.number(cbor.f64().unwrap()),
            "timestamp" => out.time(cbor.str().unwrap()),
            _ => cbor.skip().unwrap(),
        }
    }
}

pub(crate) fn messagepack(payload: &[u8], out: &mut Out) {
    let mut bytes = Bytes::new(payload);
    for _ in 0..decode::read_map_len(&mut bytes).unwrap() {
        let (name, behind) = decode::read_str_from_slice(bytes.remaining_slice()).unwrap();
        bytes = Bytes::new(behind);
        match name {
            "value" => out.number(decode::read_f64(&mut bytes).unwrap()),
            "timestamp" => {
                let (time, behind) = decode::read_str_from_slice(bytes.remaining_slice()).unwrap();
                out.time(time);
                bytes = Bytes::new(behind);
            }
            _ => drop(decode::read_int::<u64, _>(&mut bytes).unwrap()),
        }
    }
}

#[derive(Deserialize)]
struct Senml<'a> {
    bn: Option<&'a str>,
    bt: Option<f64>,
    n: &'a str,
    #[serde(borrow)]
    v: &'a RawValue,
    t: f64,
    u: &'a str,
}

pub(crate) fn senml(payload: &[u8], out: &mut Out) {
    let pack: Vec<Senml<'_>> = serde_json::from_slice(payload).unwrap();
    let (mut base, mut time) = ("", 0.0);
    for record in &pack {
        base = record.bn.unwrap_or(base);
        time = record.bt.unwrap_or(time);
        out.values.extend_from_slice(record.v.get().as_bytes());
        for text in [base, record.n, record.u] {
            out.time(text);
        }
        out.seconds(time + record.t);
    }
}

pub(crate) fn senml_cbor(payload: &[u8], out: &mut Out) {
    let mut cbor = minicbor::Decoder::new(payload);
    let (mut base, mut time) = ("", 0.0);
    for _ in 0..cbor.array().unwrap().unwrap() {
        let (mut name, mut unit, mut after) = ("", "", 0);
        for _ in 0..cbor.map().unwrap().unwrap() {
            match cbor.i8().unwrap() {
                -2 => base = cbor.str().unwrap(),
                -3 => time = cbor.f64().unwrap(),
                0 => name = cbor.str().unwrap(),
                1 => unit = cbor.str().unwrap(),
                2 => out.number(cbor.f64().unwrap()),
                _ => after = cbor.u32().unwrap(),
            }
        }
        for text in [base, name, unit] {
            out.time(text);
        }
        out.seconds(time + f64::from(after));
    }
}

/// Data of Sparkplug B by alias, behind this birth: names are looked up, payloads walked field by field.
pub(crate) fn sparkplug(birth: &[u8]) -> impl FnMut(&[u8], &mut Out) + use<> {
    let mut names: Vec<(u64, String, String)> = Vec::new();
    each(birth, |number, _, metric| {
        if number == 2 {
            let mut alias = 0;
            each(metric, |number, value, _| alias = if number == 2 { value } else { alias });
            let text = |bytes| String::from_utf8(bytes).unwrap();
            let unit = find(&find(&find(metric, 9), 2), 8);
            names.push((alias, text(find(metric, 1)), text(unit)));
        }
    });
    names.sort_unstable();
    move |payload, out| {
        each(payload, |number, _, metric| {
            let (mut alias, mut time) = (0, 0);
            if number != 2 {
                return;
            }
            each(metric, |number, value, _| match number {
                2 => alias = value,
                3 => time = value,
                13 => out.number(f64::from_bits(value)),
                _ => {}
            });
            let at = names.binary_search_by_key(&alias, |it| it.0).unwrap();
            out.time(&names[at].1);
            out.time(&names[at].2);
            write!(out.times, "{}", Timestamp::from_millis(time)).unwrap();
        });
    }
}

/// The bytes of a field.
fn find(message: &[u8], wanted: u32) -> Vec<u8> {
    let mut found = Vec::new();
    each(message, |number, _, bytes| {
        if number == wanted {
            found = bytes.to_vec();
        }
    });
    found
}

/// Hands over each field of a message: its number, its value where that is a number, else its bytes.
fn each(mut rest: &[u8], mut take: impl FnMut(u32, u64, &[u8])) {
    while !rest.is_empty() {
        let (number, wire) = decode_key(&mut rest).unwrap();
        match wire {
            WireType::Varint => take(number, decode_varint(&mut rest).unwrap(), &[]),
            WireType::SixtyFourBit => {
                let (value, behind) = rest.split_first_chunk().unwrap();
                rest = behind;
                take(number, u64::from_le_bytes(*value), &[]);
            }
            _ => {
                let bytes = usize::try_from(decode_varint(&mut rest).unwrap()).unwrap();
                let (bytes, behind) = rest.split_at(bytes);
                rest = behind;
                take(number, 0, bytes);
            }
        }
    }
}

/// Messages of these values, and messages with elements of them; each value is an object.
macro_rules! shape {
    ($module:ident: $($field:ident)+) => {
        pub(crate) mod $module {
            use super::{Deserialize, Out, RawValue};

            #[derive(Deserialize)]
            struct Values<'a> {
                $(#[serde(borrow)] $field: &'a RawValue,)+
            }

            impl Values<'_> {
                fn write(&self, out: &mut Out) {
                    let out = &mut out.values;
                    out.push(b'{');
                    $(
                        out.extend_from_slice(concat!('"', stringify!($field), "\":").as_bytes());
                        out.extend_from_slice(self.$field.get().as_bytes());
                        out.push(b',');
                    )+
                    out.pop();
                    out.push(b'}');
                }
            }

            #[derive(Deserialize)]
            struct Message<'a> {
                #[serde(borrow)]
                data: Values<'a>,
            }

            #[derive(Deserialize)]
            struct Elements<'a> {
                #[serde(borrow)]
                points: Vec<Values<'a>>,
            }

            pub(crate) fn message(payload: &[u8], out: &mut Out) {
                serde_json::from_slice::<Message<'_>>(payload).unwrap().data.write(out);
            }

            pub(crate) fn elements(payload: &[u8], out: &mut Out) {
                for values in &serde_json::from_slice::<Elements<'_>>(payload).unwrap().points {
                    values.write(out);
                }
            }
        }
    };
}

shape!(one: v00);
shape!(five: v00 v01 v02 v03 v04);
shape!(twenty: v00 v01 v02 v03 v04 v05 v06 v07 v08 v09 v10 v11 v12 v13 v14 v15 v16 v17 v18 v19);

/// Reads a message by pointers in a tree, and writes the members.
pub(crate) fn tree(payload: &[u8], pointers: &[String], out: &mut Vec<u8>) {
    write(&serde_json::from_slice(payload).unwrap(), pointers, out);
}

/// The same of each element.
pub(crate) fn tree_of_each(payload: &[u8], pointers: &[String], out: &mut Vec<u8>) {
    let tree: Value = serde_json::from_slice(payload).unwrap();
    for element in tree.pointer("/points").and_then(Value::as_array).unwrap() {
        write(element, pointers, out);
    }
}

fn write(document: &Value, pointers: &[String], out: &mut Vec<u8>) {
    for pointer in pointers {
        out.extend_from_slice(pointer.as_bytes());
        serde_json::to_writer(&mut *out, document.pointer(pointer).unwrap()).unwrap();
    }
}

/// In gzip without a name, of which the length of the header is known.
pub(crate) fn gzip(read: fn(&[u8], &mut Out)) -> impl FnMut(&[u8], &mut Out) {
    let (mut inflate, mut unpacked) = (Decompress::new(false), vec![0; 64 << 10]);
    move |payload, out| {
        inflate.reset(false);
        inflate.decompress(&payload[10..], &mut unpacked, FlushDecompress::Finish).unwrap();
        let bytes = usize::try_from(inflate.total_out()).unwrap();
        read(&unpacked[..bytes], out);
    }
}

/// In Zstandard.
pub(crate) fn zstd(read: fn(&[u8], &mut Out)) -> impl FnMut(&[u8], &mut Out) {
    let mut zstd = zstd::bulk::Decompressor::new().unwrap();
    let mut unpacked = vec![0; 64 << 10];
    move |payload, out| {
        let bytes = zstd.decompress_to_buffer(payload, &mut unpacked[..]).unwrap();
        read(&unpacked[..bytes], out);
    }
}
