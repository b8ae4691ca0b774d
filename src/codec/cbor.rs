//! `payload = "cbor"`: one data item of CBOR (RFC 8949), which becomes the JSON text that §6.1 advises, and is a document
//! like that of [`super::json`]. Bytes behind the item are malformed.
//!
//! | item | JSON |
//! | --- | --- |
//! | integer, also a bignum of up to 128 bytes (tags 2, 3; §3.4.3) | its digits (§6.1 would have base64) |
//! | float of 16, 32 or 64 bits | the fewest digits that tell it from others of its width |
//! | NaN, infinity, `undefined`, other simple values | `null` |
//! | decimal fraction (tag 4, §3.4.4) | a number with an exponent: `27315e-2` |
//! | text, also in pieces | text; what is not UTF-8 is malformed |
//! | bytes, also in pieces | text: base64url without padding; as tags 21 (the same), 22 (base64) and 23 (base16) around it, or around what it is in, ask (§3.4.5.2) |
//! | time (tags 0, 1; §3.4.1, §3.4.2) | its text or number, which `timestamp` reads in either form |
//! | any other tag | what is in it |
//! | a key that is no text | the text of what it becomes; one that is an array or a map is malformed |
//!
//! Of two keys that are the same the last counts, as in JSON. Arrays and maps are nested as deep as in JSON. Lengths that
//! the payload claims are not believed: nothing is set aside for them.

use std::ops::ControlFlow;

use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use minicbor::data::Type;
use minicbor::decode::Error;

use super::decode::Decode;
use super::json_writer::JsonWriter;
use super::mapping::Document;
use super::{Input, Malformed, Take};

/// Reads payloads.
#[derive(Debug, Default)]
pub struct Decoder {
    json: JsonWriter,
    /// The pieces of a string, put together.
    pieces: Vec<u8>,
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
    pub(super) fn json(&mut self, input: &Input<'_>) -> Result<&str, Malformed> {
        if input.payload.is_empty() {
            return Err(Malformed::empty());
        }
        let Self { json, pieces } = self;
        json.begin(input);
        let mut reading = Reading { from: minicbor::Decoder::new(input.payload), json, pieces };
        reading.item(Base::Url)?;
        let end = reading.from.position();
        if end < input.payload.len() {
            let behind = input.payload.len() - end;
            return Err(malformed(&format!("{behind} bytes behind its item")));
        }
        Ok(self.json.json())
    }
}

/// How bytes become text.
#[derive(Debug, Clone, Copy)]
enum Base {
    Url,
    Classic,
    Sixteen,
}

/// One payload that is read.
struct Reading<'r, 'a> {
    from: minicbor::Decoder<'a>,
    json: &'r mut JsonWriter,
    pieces: &'r mut Vec<u8>,
}

impl Reading<'_, '_> {
    /// One item, and all that is in it.
    fn item(&mut self, mut base: Base) -> Result<(), Malformed> {
        let Self { from, json, .. } = self;
        while datatype(from)? == Type::Tag {
            match from.tag()?.as_u64() {
                2 => return self.bignum(false),
                3 => return self.bignum(true),
                4 => return self.fraction(),
                21 => base = Base::Url,
                22 => base = Base::Classic,
                23 => base = Base::Sixteen,
                _ => {}
            }
        }
        match datatype(from)? {
            Type::Bool => {
                let is_true = from.bool()?;
                json.word(if is_true { "true" } else { "false" })
            }
            Type::Null | Type::Undefined => {
                from.set_position(from.position() + 1);
                json.word("null")
            }
            Type::Simple => self.simple(),
            Type::F16 => json.float(from.f16()?),
            Type::F32 => json.float(from.f32()?),
            Type::F64 => json.float(from.f64()?),
            Type::String => json.text(from.str()?),
            Type::StringIndef => self.text_in_pieces(),
            Type::Bytes => {
                let bytes = from.bytes()?;
                based(json, bytes, base)
            }
            Type::BytesIndef => {
                self.bytes_in_pieces()?;
                based(self.json, self.pieces, base)
            }
            Type::Array | Type::ArrayIndef => self.array(base),
            Type::Map | Type::MapIndef => self.map(base),
            Type::Break => {
                let at = from.position() + 1;
                Err(malformed(&format!("byte {at} ends what was not begun")))
            }
            // Each of the widths of an integer.
            _ => json.integer(i128::from(from.int()?)),
        }
    }

    fn array(&mut self, base: Base) -> Result<(), Malformed> {
        let mut left = self.from.array()?;
        self.json.open("[")?;
        while self.is_more(&mut left)? {
            self.item(base)?;
        }
        self.json.close("]")
    }

    fn map(&mut self, base: Base) -> Result<(), Malformed> {
        let mut left = self.from.map()?;
        self.json.open("{")?;
        while self.is_more(&mut left)? {
            let at = self.json.key_at()?;
            self.item(base)?;
            self.json.key(at)?;
            self.item(base)?;
        }
        self.json.close("}")
    }

    /// Whether a list goes on of which so many items are left, or which goes on until it is ended.
    fn is_more(&mut self, left: &mut Option<u64>) -> Result<bool, Malformed> {
        match left {
            Some(0) => Ok(false),
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None if datatype(&self.from)? == Type::Break => {
                self.from.set_position(self.from.position() + 1);
                Ok(false)
            }
            None => Ok(true),
        }
    }

    /// A simple value without a meaning. Those below 32 have a shorter form, and no other (§3.3).
    fn simple(&mut self) -> Result<(), Malformed> {
        let at = self.from.position();
        let value = self.from.simple()?;
        if self.from.position() > at + 1 && value < 32 {
            return Err(malformed(&format!("the simple value {value} in two bytes")));
        }
        self.json.word("null")
    }

    fn text_in_pieces(&mut self) -> Result<(), Malformed> {
        let Self { from, json, pieces } = self;
        pieces.clear();
        for piece in from.str_iter()? {
            pieces.extend_from_slice(piece?.as_bytes());
        }
        json.text(std::str::from_utf8(pieces).expect("texts one behind the other are a text"))
    }

    fn bytes_in_pieces(&mut self) -> Result<(), Malformed> {
        let Self { from, pieces, .. } = self;
        pieces.clear();
        for piece in from.bytes_iter()? {
            pieces.extend_from_slice(piece?);
        }
        Ok(())
    }

    /// The content of a bignum.
    fn bignum(&mut self, is_negative: bool) -> Result<(), Malformed> {
        if datatype(&self.from)? == Type::BytesIndef {
            self.bytes_in_pieces()?;
            return self.json.long_integer(self.pieces, is_negative);
        }
        let bytes = self.from.bytes()?;
        self.json.long_integer(bytes, is_negative)
    }

    /// The content of a decimal fraction: its exponent and its mantissa.
    fn fraction(&mut self) -> Result<(), Malformed> {
        let mut left = self.from.array()?;
        let mut is_more = |it: &mut Self| it.is_more(&mut left);
        if !is_more(self)? {
            return Err(malformed("a fraction without an exponent"));
        }
        let exponent = self.from.i64()?;
        if !is_more(self)? {
            return Err(malformed("a fraction without a mantissa"));
        }
        if datatype(&self.from)? == Type::Tag {
            match self.from.tag()?.as_u64() {
                2 => self.bignum(false)?,
                3 => self.bignum(true)?,
                _ => return Err(malformed("a mantissa that is no integer")),
            }
        } else {
            let mantissa = self.from.int()?;
            self.json.integer(i128::from(mantissa))?;
        }
        if is_more(self)? {
            return Err(malformed("a fraction of more than two"));
        }
        self.json.exponent(exponent)
    }
}

fn based(json: &mut JsonWriter, bytes: &[u8], base: Base) -> Result<(), Malformed> {
    match base {
        Base::Url => json.base64(bytes, &URL_SAFE_NO_PAD),
        Base::Classic => json.base64(bytes, &STANDARD),
        Base::Sixteen => json.base16(bytes),
    }
}

fn datatype(from: &minicbor::Decoder<'_>) -> Result<Type, Malformed> {
    match from.datatype()? {
        Type::Unknown(byte) => {
            let at = from.position() + 1;
            Err(malformed(&format!("byte {at} is 0x{byte:02x}, which begins no item")))
        }
        datatype => Ok(datatype),
    }
}

impl From<Error> for Malformed {
    fn from(error: Error) -> Self {
        if error.is_end_of_input() {
            return malformed("it ends in the middle of an item");
        }
        malformed(&format!("{error}"))
    }
}

fn malformed(what: &str) -> Malformed {
    Malformed::because(format!("no CBOR: {what}"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::clock::Timestamp;
    use crate::codec::samples::bytes;
    use crate::fuzz::{allocated, fuzz};
    use crate::record::Reason;

    /// What a payload becomes, by a decoder that has read others.
    fn json_by(decoder: &mut Decoder, payload: &[u8]) -> Result<String, Malformed> {
        let (received, bytes_max) = (Timestamp::from_millis(0), 4096);
        let mut parts = Vec::new();
        let ended = decoder.decode(
            Input { payload, topic: b"", received, bytes_max },
            &mut |part, document| {
                assert_eq!(part, payload);
                parts.push(document.map(|it| match it {
                    Document::Json(json) => json.to_owned(),
                    Document::Text(text) => panic!("text: {text}"),
                }));
                ControlFlow::Continue(())
            },
        );
        assert!(ended.is_continue() && parts.len() == 1);
        parts.remove(0)
    }

    fn json(hex: &str) -> Result<String, Reason> {
        json_by(&mut Decoder::default(), &bytes(hex)).map_err(|it| it.reason)
    }

    /// RFC 8949, Appendix A: all of it, as bytes and what becomes of them.
    const EXAMPLES: &str = r#"
        00 0
        01 1
        0a 10
        17 23
        1818 24
        1819 25
        1864 100
        1903e8 1000
        1a000f4240 1000000
        1b000000e8d4a51000 1000000000000
        1bffffffffffffffff 18446744073709551615
        c249010000000000000000 18446744073709551616
        3bffffffffffffffff -18446744073709551616
        c349010000000000000000 -18446744073709551617
        20 -1
        29 -10
        3863 -100
        3903e7 -1000
        f90000 0.0
        f98000 -0.0
        f93c00 1.0
        fb3ff199999999999a 1.1
        f93e00 1.5
        f97bff 65504.0
        fa47c35000 100000.0
        fa7f7fffff 3.4028235e38
        fb7e37e43c8800759c 1e300
        f90001 5.9604645e-8
        f90400 0.000061035156
        f9c400 -4.0
        fbc010666666666666 -4.1
        f97c00 null
        f97e00 null
        f9fc00 null
        fa7f800000 null
        fa7fc00000 null
        faff800000 null
        fb7ff0000000000000 null
        fb7ff8000000000000 null
        fbfff0000000000000 null
        f4 false
        f5 true
        f6 null
        f7 null
        f0 null
        f8ff null
        c074323031332d30332d32315432303a30343a30305a "2013-03-21T20:04:00Z"
        c11a514b67b0 1363896240
        c1fb41d452d9ec200000 1363896240.5
        d74401020304 "01020304"
        d818456449455446 "ZElFVEY"
        d82076687474703a2f2f7777772e6578616d706c652e636f6d "http://www.example.com"
        40 ""
        4401020304 "AQIDBA"
        60 ""
        6161 "a"
        6449455446 "IETF"
        62225c "\"\\"
        62c3bc "ü"
        63e6b0b4 "水"
        64f0908591 "𐅑"
        80 []
        83010203 [1,2,3]
        8301820203820405 [1,[2,3],[4,5]]
        98190102030405060708090a0b0c0d0e0f101112131415161718181819 [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25]
        a0 {}
        a201020304 {"1":2,"3":4}
        a26161016162820203 {"a":1,"b":[2,3]}
        826161a161626163 ["a",{"b":"c"}]
        a56161614161626142616361436164614461656145 {"a":"A","b":"B","c":"C","d":"D","e":"E"}
        5f42010243030405ff "AQIDBAU"
        7f657374726561646d696e67ff "streaming"
        9fff []
        9f018202039f0405ffff [1,[2,3],[4,5]]
        9f01820203820405ff [1,[2,3],[4,5]]
        83018202039f0405ff [1,[2,3],[4,5]]
        83019f0203ff820405 [1,[2,3],[4,5]]
        9f0102030405060708090a0b0c0d0e0f101112131415161718181819ff [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25]
        bf61610161629f0203ffff {"a":1,"b":[2,3]}
        826161bf61626163ff ["a",{"b":"c"}]
        bf6346756ef563416d7421ff {"Fun":true,"Amt":-2}
    "#;

    #[test]
    fn the_examples_of_the_standard_come_out() {
        let mut decoder = Decoder::default();
        let examples = EXAMPLES.lines().filter_map(|it| it.trim().split_once(' '));
        assert_eq!(examples.clone().count(), 81);
        for (hex, expected) in examples {
            assert_eq!(json_by(&mut decoder, &bytes(hex)), Ok(expected.to_owned()), "{hex}");
        }
    }

    /// RFC 8949, Appendix F.1: all of it.
    #[test]
    fn what_the_standard_calls_not_well_formed_is_malformed() {
        let examples = "18 19 1a 1b 1901 1a0102 1b01020304050607 38 58 78 98 9a01ff00 b8 d8 f8 f900 fa0000 fb000000 41 61 \
            5affffffff00 5bffffffffffffffff010203 7affffffff00 7b7fffffffffffffff010203 81 818181818181818181 8200 a1 \
            a20102 a100 a2000000 c0 5f4100 7f6100 9f 9f0102 bf bf01020102 819f 9f8000 9f9f9f9f9fffffffff \
            9f819f819f9fffffff 1c 1d 1e 3c 3d 3e 5c 5d 5e 7c 7d 7e 9c 9d 9e bc bd be dc dd de fc fd fe f800 f801 f818 \
            f81f 5f00ff 5f21ff 5f6100ff 5f80ff 5fa0ff 5fc000ff 5fe0ff 7f4100ff 5f5f4100ffff 7f7f6100ffff ff 81ff 8200ff \
            a1ff a1ff00 a100ff a20000ff 9f81ff 9f829f819f9fffffffff bf00ff bf000000ff 1f 3f df";
        for hex in examples.split_whitespace() {
            assert_eq!(json(hex), Err(Reason::Malformed), "{hex}");
        }
        assert_eq!(json(""), Err(Reason::Empty));
        for (hex, what) in [
            ("0000", "something behind it"),
            ("61ff", "text that is none"),
            ("7f61c361bcff", "half a character"),
            ("c200", "a bignum of no bytes"),
            ("a1800000", "a key that is an array"),
            ("c481", "half a fraction"),
            ("c48300010a", "a fraction of three"),
        ] {
            assert_eq!(json(hex), Err(Reason::Malformed), "{what}");
        }
    }

    #[test]
    fn tags_say_how_bytes_and_numbers_are_written() {
        for (hex, expected) in [
            // Bytes below a tag, and not below one in it.
            ("d5 82 41ff d6 41ff", r#"["_w","/w=="]"#),
            ("d6 a1 61 61 82 41ff d7 41ff", r#"{"a":["/w==","FF"]}"#),
            // A fraction, also of a bignum; what describes itself; tags around tags.
            ("c4 82 21 19 6ab3", "27315e-2"),
            ("c4 9f 21 c2 41 01 ff", "1e-2"),
            ("d9d9f7 c1 01", "1"),
            ("c2 5f 41 01 41 00 ff", "256"),
            ("c3 40", "-1"),
            // Keys that are no text.
            ("a4 20 01 f5 02 41ff 03 c2 41 05 04", r#"{"-1":1,"true":2,"_w":3,"5":4}"#),
            ("a2 61 61 01 61 61 02", r#"{"a":1,"a":2}"#),
        ] {
            assert_eq!(json(hex), Ok(expected.to_owned()), "{hex}");
        }
    }

    #[test]
    fn a_small_payload_does_not_become_a_large_text() {
        let text = |letters: usize| [vec![0x79, 0x10, 0], vec![1; letters]].concat();
        let long = json_by(&mut Decoder::default(), &text(0x1000)).unwrap_err();
        assert_eq!(long.reason, Reason::Oversize);
        assert_eq!(json(&"81".repeat(64)), Err(Reason::Malformed), "it ends too early");
        assert_eq!(json(&("81".repeat(64) + "80")), Err(Reason::Malformed), "65 deep");
        assert!(json(&("81".repeat(63) + "80")).is_ok());
        assert!(json(&("c1".repeat(2000) + "80")).is_ok(), "tags are no depth");
    }

    /// Whatever the bytes are, there is JSON or a reason; no length that is claimed is set aside for.
    #[test]
    fn any_bytes_are_json_or_malformed() {
        let samples = [
            "bf61610161629f0203ffff",
            "d6a16161824101d74102",
            "c48221196ab3",
            "7f657374726561646d696e67ff",
            "c249010000000000000000",
            "9affffffff00",
            "a56161f97e006162fb3ff199999999999a61635f41014102ff616420f5f6",
            "5affffffff00",
            "5b7fffffffffffffff",
            "9b7fffffffffffffff80",
        ];
        let samples: Vec<Vec<u8>> = samples.iter().map(|it| bytes(it)).collect();
        let mut decoder = Decoder::default();
        fuzz(50_000, &samples, |payload, _| {
            let (read, peak) = allocated(|| json_by(&mut decoder, payload));
            assert!(peak <= 4 * 4096 + 4 * payload.len() as u64, "{peak} bytes");
            if let Ok(json) = read {
                assert!(json.len() <= 4096);
                // A number may be beyond a double.
                let parsed = serde_json::from_str::<Value>(&json);
                assert!(parsed.is_ok() || json.contains('e'), "{json}");
            }
        });
    }

    #[test]
    fn a_payload_like_the_last_one_costs_no_allocation() {
        let payload = bytes("a26161fb3ff199999999999a61629f0203ff");
        let mut decoder = Decoder::default();
        let (received, bytes_max) = (Timestamp::from_millis(0), 4096);
        let mut read = || {
            let input = Input { payload: &payload, topic: b"", received, bytes_max };
            decoder.json(&input).unwrap().len()
        };
        assert_eq!(read(), r#"{"a":1.1,"b":[2,3]}"#.len());
        let again = allocation_counter::measure(|| assert!(read() > 0));
        assert_eq!(again.count_total, 0);
    }
}
