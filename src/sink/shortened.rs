//! A dead letter that is too large for the output broker, made smaller: never without what tells which
//! value it was.
//!
//! The payload is cut first, to a head; its length and SHA-256 come in as `bytes` and `sha256`. Then goes,
//! one member after the other, what is not needed to find the value again, and the head at last.
//! What is left at least is the reason, the sensor's id, and length and digest. A letter whose `detail`
//! already has the digest of the whole keeps that instead: its payload is only a head.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::dead_letter::DeadLetter;
use crate::limits::DEAD_LETTER_HEAD_BYTES_MAX;

/// The members that go, in this order, when length and digest leave no room for them.
const NOT_NEEDED: [&str; 5] = ["detail", "topic", "gateway", "receivedAt", "entry"];

/// Bytes of a payload's text that are worth more than the members that are not needed.
const WHOLE_BYTES: usize = 64;

/// The members that hold a payload.
const PAYLOADS: [&str; 2] = ["payload", "payloadBase64"];

/// The member that holds a payload, and its text.
type Payload = (&'static str, String);

/// As much of an encoded letter as `bytes_max` hold; `None` where not even the least fits.
pub fn shortened(encoded: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    if encoded.len() <= bytes_max {
        return Some(encoded.to_vec());
    }
    let (letter, payload) = parted(encoded)?;
    let stages = stages(letter);
    let headed = payload.and_then(|(member, text)| {
        // A short value stays whole, at the cost of other members; of a long one any head will do.
        [text.len().min(WHOLE_BYTES), 1].into_iter().find_map(|least| {
            let payload = (member, text.as_str(), least);
            stages.iter().find_map(|letter| with_head(letter, payload, bytes_max))
        })
    });
    headed.or_else(|| stages.iter().map(bytes_of).find(|bare| bare.len() <= bytes_max))
}

/// A letter with the head of its payload, as much as `bytes_max` hold; `None` where not even the least
/// fits.
pub fn headed(letter: &DeadLetter<'_>, bytes_max: usize) -> Option<Vec<u8>> {
    let encoded = letter.encode();
    let cut = letter.payload.len() > DEAD_LETTER_HEAD_BYTES_MAX;
    shortened(&encoded, if cut { bytes_max.min(encoded.len() - 1) } else { bytes_max })
}

/// The least of an encoded letter; `None` where it is no smaller.
pub fn least(encoded: &[u8]) -> Option<Vec<u8>> {
    let (letter, _) = parted(encoded)?;
    stages(letter).last().map(bytes_of).filter(|it| it.len() < encoded.len())
}

/// The letter, and what is left of it as one member after the other goes.
fn stages(letter: Map<String, Value>) -> Vec<Map<String, Value>> {
    let mut stages = vec![letter.clone()];
    let mut left = letter;
    for member in removable(&left) {
        left.remove(member);
        stages.push(left.clone());
    }
    stages
}

/// The letter without its payload and with length and digest; and the payload.
fn parted(encoded: &[u8]) -> Option<(Map<String, Value>, Option<Payload>)> {
    let mut letter: Map<String, Value> = serde_json::from_slice(encoded).ok()?;
    let mut payload = None;
    for member in PAYLOADS {
        if let Some(Value::String(text)) = letter.remove(member) {
            payload = Some((member, text));
        }
    }
    if let Some((member, text)) = &payload
        && !has_digest(&letter)
    {
        let bytes = if *member == "payload" {
            text.as_bytes().to_vec()
        } else {
            STANDARD.decode(text).unwrap_or_default()
        };
        letter.insert("bytes".into(), bytes.len().into());
        letter.insert("sha256".into(), hex_digest(&bytes).into());
    }
    Some((letter, payload))
}

fn hex_digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

fn detail_has_digest(letter: &Map<String, Value>) -> bool {
    letter.get("detail").and_then(Value::as_str).is_some_and(|it| it.contains("; sha256 "))
}

fn has_digest(letter: &Map<String, Value>) -> bool {
    letter.contains_key("sha256") || detail_has_digest(letter)
}

fn removable(letter: &Map<String, Value>) -> Vec<&'static str> {
    let keeps_detail = !letter.contains_key("sha256") && detail_has_digest(letter);
    NOT_NEEDED.into_iter().filter(|it| !(keeps_detail && *it == "detail")).collect()
}

/// The letter with as long a head of the payload as fits, in halves, of so many bytes at least: escapes take
/// what they take.
fn with_head(
    letter: &Map<String, Value>,
    (member, text, least): (&'static str, &str, usize),
    bytes_max: usize,
) -> Option<Vec<u8>> {
    let mut letter = letter.clone();
    letter.insert(member.into(), Value::from(""));
    let room = bytes_max.checked_sub(bytes_of(&letter).len())?;
    let mut cut = room.min(DEAD_LETTER_HEAD_BYTES_MAX).min(text.len());
    while cut >= least.max(1) {
        // Four digits of Base64 stand for whole bytes.
        let end = text.floor_char_boundary(if member == "payload" { cut } else { cut & !3 });
        letter.insert(member.into(), text.get(..end).unwrap_or_default().into());
        let headed = bytes_of(&letter);
        if end > 0 && headed.len() <= bytes_max {
            return Some(headed);
        }
        cut /= 2;
    }
    None
}

fn bytes_of(letter: &Map<String, Value>) -> Vec<u8> {
    serde_json::to_vec(letter).expect("text and numbers can be written")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::record::Reason;
    use proptest::prelude::*;

    fn letter(detail: &str, payload: &[u8]) -> Vec<u8> {
        DeadLetter {
            gateway: "gw-1",
            reason: Reason::Oversize,
            detail: detail.as_bytes(),
            sensor: "boiler",
            entry: Some("fleet"),
            topic: b"plant/boiler",
            received: Timestamp::from_millis(1_763_796_650_655),
            payload,
        }
        .encode()
    }

    fn json(encoded: &[u8]) -> Value {
        serde_json::from_slice(encoded).unwrap()
    }

    proptest! {
        #[test]
        fn whatever_fits_keeps_reason_sensor_length_and_digest(
            payload in prop::collection::vec(any::<u8>(), 0..3000),
            bytes_max in 0_usize..1200,
        ) {
            let encoded = letter("why", &payload);
            let least = least(&encoded);
            let Some(short) = shortened(&encoded, bytes_max) else {
                prop_assert!(least.is_none_or(|it| it.len() > bytes_max));
                return Ok(());
            };
            prop_assert!(short.len() <= bytes_max);
            let short = json(&short);
            prop_assert_eq!((&short["reason"], &short["sensorId"]), (&"oversize".into(), &"boiler".into()));
            if encoded.len() > bytes_max {
                prop_assert_eq!(&short["bytes"], &Value::from(payload.len()));
                prop_assert_eq!(&short["sha256"], &Value::from(hex_digest(&payload)));
            }
            if let Some(head) = short["payload"].as_str() {
                prop_assert!(payload.starts_with(head.as_bytes()));
            }
            if let Some(head) = short["payloadBase64"].as_str() {
                prop_assert!(payload.starts_with(&STANDARD.decode(head).unwrap()));
            }
        }
    }

    /// A small value says more than the time and the topic that it came with.
    #[test]
    fn a_head_of_the_payload_goes_last() {
        for payload in [&b"1"[..], &[0xff; 3000]] {
            let encoded = letter("why", payload);
            let least = least(&encoded).map_or(encoded.len(), |it| it.len());
            let room = r#","payloadBase64":"AAAA""#.len();
            let short = json(&shortened(&encoded, least + room).unwrap());
            assert!(short.get("payload").or(short.get("payloadBase64")).is_some(), "{short}");
        }
        for bytes_max in 170..300 {
            let short = json(&shortened(&letter("why", &[b'7'; 20]), bytes_max).unwrap());
            assert_eq!(short["payload"], "7".repeat(20), "{bytes_max}: {short}");
        }
    }

    #[test]
    fn it_is_shortened_again_without_another_digest() {
        let encoded = letter("why", &[b'x'; 5000]);
        let first = shortened(&encoded, 900).unwrap();
        let digest = json(&first)["sha256"].clone();
        let again = shortened(&first, 250).unwrap();
        assert_eq!((&json(&again)["sha256"], &json(&again)["bytes"]), (&digest, &5000.into()));
        let last = least(&again).unwrap();
        assert_eq!((&json(&last)["sha256"], least(&last)), (&digest, None));
    }

    #[test]
    fn the_digest_of_the_whole_in_the_detail_stays_and_no_other_is_made_of_a_head() {
        let encoded = letter("70000 bytes; sha256 abc", &[b'x'; 1000]);
        let last = json(&least(&encoded).unwrap());
        assert_eq!(last["detail"], "70000 bytes; sha256 abc");
        assert_eq!(last.get("sha256"), None);
    }
}
