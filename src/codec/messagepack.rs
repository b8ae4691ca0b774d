//! `payload = "messagepack"`: one object of `MessagePack` (<https://github.com/msgpack/msgpack/blob/master/spec.md>), which
//! becomes JSON text and is a document like that of [`super::json`]. Bytes behind the object are malformed.
//!
//! | object | JSON |
//! | --- | --- |
//! | integer | its digits |
//! | float of 32 or 64 bits | the fewest digits that tell it from others of its width |
//! | NaN, infinity, nil | `null` |
//! | str | text; what is not UTF-8 is malformed |
//! | bin | text in base64 with padding, as that of [`super::raw`] |
//! | timestamp (extension -1) | RFC 3339 in UTC, which `timestamp` reads |
//! | any other extension, and a timestamp beyond the year 9999 | `{"ext":5,"data":"…"}`, its type and its data in base64 |
//! | a key that is no str | the text of what it becomes; one that is an array, a map or an extension is malformed |
//!
//! Of two keys that are the same the last counts, as in JSON. Arrays and maps are nested as deep as in JSON. Lengths that
//! the payload claims are not believed: nothing is set aside for them.

use std::fmt::Write;
use std::ops::ControlFlow;

use base64::engine::general_purpose::STANDARD;
use rmp::Marker;

use super::decode::Decode;
use super::json_writer::JsonWriter;
use super::mapping::Document;
use super::{Input, Malformed, Take};

/// The type of a timestamp.
const TIMESTAMP: i8 = -1;

/// Reads payloads.
#[derive(Debug, Default)]
pub struct Decoder {
    json: JsonWriter,
    /// The text of a time.
    time: String,
}

impl Decode for Decoder {
    /// A payload is one document.
    const IS_MANY: bool = false;

    /// A payload is bytes.
    const IS_TEXT: bool = false;

    fn decode<'a>(&mut self, input: Input<'a>, take: &mut impl Take<'a>) -> ControlFlow<()> {
        take(input.payload, self.json(&input).map(Document::Json))
    }
}

impl Decoder {
    /// The JSON text of a payload.
    fn json(&mut self, input: &Input<'_>) -> Result<&str, Malformed> {
        if input.payload.is_empty() {
            return Err(Malformed::empty());
        }
        let Self { json, time } = self;
        json.begin(input);
        let mut reading = Reading { rest: input.payload, json, time };
        reading.object()?;
        if !reading.rest.is_empty() {
            let behind = reading.rest.len();
            return Err(malformed(&format!("{behind} bytes behind its object")));
        }
        Ok(self.json.json())
    }
}

/// One payload that is read.
struct Reading<'r, 'a> {
    rest: &'a [u8],
    json: &'r mut JsonWriter,
    time: &'r mut String,
}

impl<'a> Reading<'_, 'a> {
    /// One object, and all that is in it.
    fn object(&mut self) -> Result<(), Malformed> {
        let [marker] = self.take()?;
        match Marker::from_u8(marker) {
            Marker::Null => self.json.word("null"),
            Marker::False => self.json.word("false"),
            Marker::True => self.json.word("true"),
            Marker::FixPos(number) => self.json.integer(number),
            Marker::FixNeg(number) => self.json.integer(number),
            marker @ (Marker::U8 | Marker::U16 | Marker::U32 | Marker::U64) => {
                let number = self.unsigned(marker)?;
                self.json.integer(number)
            }
            Marker::I8 => self.take().and_then(|it| self.json.integer(i8::from_be_bytes(it))),
            Marker::I16 => self.take().and_then(|it| self.json.integer(i16::from_be_bytes(it))),
            Marker::I32 => self.take().and_then(|it| self.json.integer(i32::from_be_bytes(it))),
            Marker::I64 => self.take().and_then(|it| self.json.integer(i64::from_be_bytes(it))),
            Marker::F32 => self.take().and_then(|it| self.json.float(f32::from_be_bytes(it))),
            Marker::F64 => self.take().and_then(|it| self.json.float(f64::from_be_bytes(it))),
            Marker::FixStr(length) => self.text(length.into()),
            Marker::Str8 => self.unsigned(Marker::U8).and_then(|it| self.text(it)),
            Marker::Str16 => self.unsigned(Marker::U16).and_then(|it| self.text(it)),
            Marker::Str32 => self.unsigned(Marker::U32).and_then(|it| self.text(it)),
            Marker::Bin8 => self.unsigned(Marker::U8).and_then(|it| self.bytes(it)),
            Marker::Bin16 => self.unsigned(Marker::U16).and_then(|it| self.bytes(it)),
            Marker::Bin32 => self.unsigned(Marker::U32).and_then(|it| self.bytes(it)),
            Marker::FixArray(length) => self.array(length.into()),
            Marker::Array16 => self.unsigned(Marker::U16).and_then(|it| self.array(it)),
            Marker::Array32 => self.unsigned(Marker::U32).and_then(|it| self.array(it)),
            Marker::FixMap(length) => self.map(length.into()),
            Marker::Map16 => self.unsigned(Marker::U16).and_then(|it| self.map(it)),
            Marker::Map32 => self.unsigned(Marker::U32).and_then(|it| self.map(it)),
            Marker::FixExt1 => self.extension(1),
            Marker::FixExt2 => self.extension(2),
            Marker::FixExt4 => self.extension(4),
            Marker::FixExt8 => self.extension(8),
            Marker::FixExt16 => self.extension(16),
            Marker::Ext8 => self.unsigned(Marker::U8).and_then(|it| self.extension(it)),
            Marker::Ext16 => self.unsigned(Marker::U16).and_then(|it| self.extension(it)),
            Marker::Ext32 => self.unsigned(Marker::U32).and_then(|it| self.extension(it)),
            Marker::Reserved => Err(malformed("the byte 0xc1, which begins no object")),
        }
    }

    /// The next bytes.
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(ended)?;
        self.rest = rest;
        Ok(*bytes)
    }

    /// An integer, or a length, of this width.
    fn unsigned(&mut self, width: Marker) -> Result<u64, Malformed> {
        match width {
            Marker::U8 => self.take().map(|it| u8::from_be_bytes(it).into()),
            Marker::U16 => self.take().map(|it| u16::from_be_bytes(it).into()),
            Marker::U32 => self.take().map(|it| u32::from_be_bytes(it).into()),
            _ => self.take().map(u64::from_be_bytes),
        }
    }

    /// So many next bytes.
    fn slice(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(ended)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn text(&mut self, length: u64) -> Result<(), Malformed> {
        let bytes = self.slice(length)?;
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("a str that is not UTF-8"))?;
        self.json.text(text)
    }

    fn bytes(&mut self, length: u64) -> Result<(), Malformed> {
        let bytes = self.slice(length)?;
        self.json.base64(bytes, &STANDARD)
    }

    fn array(&mut self, length: u64) -> Result<(), Malformed> {
        self.json.open("[")?;
        for _ in 0..length {
            self.object()?;
        }
        self.json.close("]")
    }

    fn map(&mut self, length: u64) -> Result<(), Malformed> {
        self.json.open("{")?;
        for _ in 0..length {
            let at = self.json.key_at()?;
            self.object()?;
            self.json.key(at)?;
            self.object()?;
        }
        self.json.close("}")
    }

    fn extension(&mut self, length: u64) -> Result<(), Malformed> {
        let kind = self.take().map(i8::from_be_bytes)?;
        let data = self.slice(length)?;
        let time = if kind == TIMESTAMP { timestamp(data) } else { None };
        if let Some(time) = time {
            self.time.clear();
            write!(self.time, "{time}").expect("a time can be written to memory");
            return self.json.text(self.time);
        }
        self.json.open("{")?;
        let at = self.json.key_at()?;
        self.json.text("ext")?;
        self.json.key(at)?;
        self.json.integer(kind)?;
        let at = self.json.key_at()?;
        self.json.text("data")?;
        self.json.key(at)?;
        self.json.base64(data, &STANDARD)?;
        self.json.close("}")
    }
}

/// The time in a timestamp of 32, 64 or 96 bits.
fn timestamp(data: &[u8]) -> Option<jiff::Timestamp> {
    let (second, nanosecond) = match data.len() {
        4 => (u32::from_be_bytes(data.try_into().ok()?).into(), 0),
        8 => {
            // 30 bits of nanoseconds, and 34 of seconds.
            let both = u64::from_be_bytes(data.try_into().ok()?);
            (i64::try_from(both & ((1 << 34) - 1)).ok()?, both >> 34)
        }
        _ => {
            let (nanosecond, second) = data.split_first_chunk()?;
            (i64::from_be_bytes(second.try_into().ok()?), u32::from_be_bytes(*nanosecond).into())
        }
    };
    let nanosecond = i32::try_from(nanosecond).ok().filter(|it| *it < 1_000_000_000)?;
    jiff::Timestamp::new(second, nanosecond).ok()
}

fn ended() -> Malformed {
    malformed("it ends in the middle of an object")
}

fn malformed(what: &str) -> Malformed {
    Malformed::because(format!("no MessagePack: {what}"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::clock::Timestamp;
    use crate::codec::samples::bytes;
    use crate::fuzz::{allocated, fuzz};
    use crate::record::Reason;

    fn input(payload: &[u8]) -> Input<'_> {
        Input { payload, topic: b"", received: Timestamp::from_millis(0), bytes_max: 4096 }
    }

    fn json(hex: &str) -> Result<String, Reason> {
        let (payload, mut decoder) = (bytes(hex), Decoder::default());
        let json = decoder.json(&input(&payload)).map(str::to_owned);
        json.map_err(|it| it.reason)
    }

    /// Each format of the specification, at its ends; and its first example.
    const EXAMPLES: &str = r#"
        82a7636f6d70616374c3a6736368656d6100 => {"compact":true,"schema":0}
        c0 => null
        c2 => false
        c3 => true
        00 => 0
        7f => 127
        e0 => -32
        ff => -1
        cc80 => 128
        ccff => 255
        cd0100 => 256
        ce00010000 => 65536
        ceffffffff => 4294967295
        cf0000000100000000 => 4294967296
        cfffffffffffffffff => 18446744073709551615
        d0df => -33
        d080 => -128
        d1ff7f => -129
        d18000 => -32768
        d2ffff7fff => -32769
        d280000000 => -2147483648
        d3ffffffff7fffffff => -2147483649
        d38000000000000000 => -9223372036854775808
        ca41ad999a => 21.7
        cac0800000 => -4.0
        ca7f800000 => null
        ca7fc00000 => null
        cb4035b33333333333 => 21.7
        cbfff0000000000000 => null
        a0 => ""
        a161 => "a"
        a422615c0a => "\"a\\\n"
        d90161 => "a"
        da00026162 => "ab"
        db00000003c3bc62 => "üb"
        c400 => ""
        c402fffe => "//4="
        c50001ff => "/w=="
        c600000001ff => "/w=="
        90 => []
        9301a162c0 => [1,"b",null]
        dc000193010203 => [[1,2,3]]
        dd00000001c3 => [true]
        80 => {}
        81a16101 => {"a":1}
        de0001a16180 => {"a":{}}
        df00000002010203c0 => {"1":2,"3":null}
        83c301ca3fc0000002c401ff03 => {"true":1,"1.5":2,"/w==":3}
        d40500 => {"ext":5,"data":"AA=="}
        d580ffff => {"ext":-128,"data":"//8="}
        d6ff67405bc8 => "2024-11-22T10:24:08Z"
        d7ff7735940067405bc8 => "2024-11-22T10:24:08.5Z"
        d7ffee6b280067405bc8 => {"ext":-1,"data":"7msoAGdAW8g="}
        c70cff1dcd6500ffffffffffffffff => "1969-12-31T23:59:59.5Z"
        c70cff000000007fffffffffffffff => {"ext":-1,"data":"AAAAAH//////////"}
        d8010102030405060708090a0b0c0d0e0f10 => {"ext":1,"data":"AQIDBAUGBwgJCgsMDQ4PEA=="}
        c8000307010203 => {"ext":7,"data":"AQID"}
        c90000000007 => {"ext":7,"data":""}
    "#;

    #[test]
    fn every_format_of_the_specification_is_read() {
        let examples = EXAMPLES.lines().filter_map(|it| it.trim().split_once(" => "));
        assert_eq!(examples.clone().count(), 58);
        for (hex, expected) in examples {
            assert_eq!(json(hex).as_deref(), Ok(expected), "{hex}");
        }
    }

    #[test]
    fn what_is_none_is_malformed() {
        for (hex, what) in [
            ("c1", "a byte that is never used"),
            ("0000", "something behind it"),
            ("a2c3", "a text that is too short"),
            ("a1ff", "a text that is not UTF-8"),
            ("cd01", "half a number"),
            ("ddffffffff00", "an array that claims too much"),
            ("dfffffffff", "a map of nothing"),
            ("c6ffffffff00", "bytes that are too few"),
            ("81900001", "a key that is an array"),
            ("81d4050001", "a key that is an extension"),
            ("d6ff0000", "half a time"),
        ] {
            assert_eq!(json(hex), Err(Reason::Malformed), "{what}");
        }
        assert_eq!(json(""), Err(Reason::Empty));
        assert_eq!(json(&("91".repeat(64) + "90")), Err(Reason::Malformed), "65 deep");
        assert!(json(&("91".repeat(63) + "90")).is_ok());
        let text = [vec![0xda, 0x08, 0], vec![1; 0x800]].concat();
        let mut decoder = Decoder::default();
        assert_eq!(decoder.json(&input(&text)).unwrap_err().reason, Reason::Oversize);
    }

    #[test]
    fn any_bytes_are_json_or_malformed() {
        let samples = [
            "82a7636f6d70616374c3a6736368656d6100",
            "94d6ff67405bc8ca41ad999ac402fffed40500",
            "ddffffffff00",
            "c6ffffffff00",
            "c70cff1dcd6500ffffffffffffffff",
            "83c301ca3fc0000002c401ff03",
        ];
        let samples: Vec<Vec<u8>> = samples.iter().map(|it| bytes(it)).collect();
        let mut decoder = Decoder::default();
        fuzz(50_000, &samples, |payload, _| {
            let (read, peak) = allocated(|| decoder.json(&input(payload)).map(str::to_owned));
            assert!(peak <= 5 * 4096, "{peak} bytes");
            if let Ok(json) = read {
                assert!(
                    serde_json::from_str::<Value>(&json).is_ok() && json.len() <= 4096,
                    "{json}"
                );
            }
        });
    }

    #[test]
    fn a_payload_like_the_last_one_costs_no_allocation() {
        let payload = bytes("93 d6ff67405bc8 ca41ad999a 81a16101");
        let mut decoder = Decoder::default();
        let mut read = || decoder.json(&input(&payload)).unwrap().len();
        assert_eq!(read(), r#"["2024-11-22T10:24:08Z",21.7,{"a":1}]"#.len());
        let again = allocation_counter::measure(|| assert!(read() > 0));
        assert_eq!(again.count_total, 0);
    }
}
