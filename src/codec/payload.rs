//! The payload codecs: their list, and the setting that chooses one.

use std::ops::ControlFlow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::decode::{Decode, Input, Makes, NoOptions, Take};
use super::mapping::Mapping;
use super::mapping::plan::Defaults;
use super::mapping::settings::Settings;
use super::mapping::time_told::TimesTold;
use super::sparkplug;
use super::turn::{Note, Request, Turn, Waits};

macro_rules! payloads {
    ($($(#[$doc:meta])+ $module:ident => $kind:ident($options:ty),)+) => {
        /// A payload codec, with its options.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case", rename = "payload codec")]
        pub enum Codec { $($(#[$doc])+ $kind($options),)+ }

        /// The words of the codecs, for the schema.
        #[derive(JsonSchema)]
        #[schemars(rename_all = "snake_case", rename = "payload codec's word")]
        #[expect(dead_code, reason = "only its schema is used")]
        enum Word { $($(#[$doc])+ $kind,)+ }

        /// Reads the payloads of one entry, one after the other.
        #[derive(Debug)]
        pub enum Decoder { $($(#[$doc])+ $kind(super::$module::Decoder),)+ }

        impl Payload {
            /// A decoder for an entry.
            pub fn decoder(&self) -> Decoder {
                match &self.0 { $(Codec::$kind(options) => Decoder::$kind(options.decoder()),)+ }
            }

            /// Whether a payload may hold several readings.
            pub const fn is_many(&self) -> bool {
                match &self.0 { $(Codec::$kind(_) => super::$module::Decoder::IS_MANY,)+ }
            }

            /// Whether a payload is text, so that it can be a line.
            pub const fn is_text(&self) -> bool {
                match &self.0 { $(Codec::$kind(_) => super::$module::Decoder::IS_TEXT,)+ }
            }

            /// How messages may wait for others, if they do.
            pub fn waits(&self) -> Option<Waits> {
                match &self.0 {
                    $(Codec::$kind(options) => Makes::<super::$module::Decoder>::waits(options),)+
                }
            }

            fn state_bytes(&self) -> u64 {
                match &self.0 {
                    $(Codec::$kind(options) => Makes::<super::$module::Decoder>::state_bytes(options),)+
                }
            }

            /// Sets what its documents mean where these settings do not say otherwise.
            fn complete(&self, settings: &mut Settings) {
                match &self.0 { $(Codec::$kind(_) => super::$module::Decoder::complete(settings),)+ }
            }
        }

        impl Decoder {
            /// Reads a payload, and hands over its documents, in their order, until `take` breaks.
            pub fn decode<'a>(&mut self, input: Input<'a>, take: &mut impl Take<'a>) -> ControlFlow<()> {
                match self {
                    $(Self::$kind(decoder) => {
                        let is_text = super::$module::Decoder::IS_TEXT;
                        let input = if is_text { input.unwrapped() } else { input };
                        decoder.decode(input, take)
                    })+
                }
            }

            /// Whether a message may be read now. Called once for each, before it is read; `again` of one that has
            /// perhaps come before.
            pub fn turn(&mut self, input: &Input<'_>, again: bool) -> Turn {
                match self { $(Self::$kind(decoder) => decoder.turn(input, again),)+ }
            }

            /// What a message says that holds on, after its turn.
            pub fn note(&mut self, input: &Input<'_>) -> Option<Note> {
                match self { $(Self::$kind(decoder) => decoder.note(input),)+ }
            }

            /// Lets it know a message that came before this run, of which no record is made. What it says that holds
            /// on.
            pub fn learn(&mut self, input: &Input<'_>) -> Option<Note> {
                match self { $(Self::$kind(decoder) => decoder.learn(input),)+ }
            }

            /// Lets it know that a message came which is not read. Its payload may be cut, or not be there.
            pub fn pass(&mut self, input: &Input<'_>) {
                match self { $(Self::$kind(decoder) => decoder.pass(input),)+ }
            }

            /// Messages that were lost before they came here, as far as those that came say so; since this was asked
            /// last.
            pub fn missing(&mut self) -> u64 {
                match self { $(Self::$kind(decoder) => decoder.missing(),)+ }
            }

            /// Whether the message that was read last says that its sensors are there (`true`), or are gone.
            pub fn says(&self) -> Option<bool> {
                match self { $(Self::$kind(decoder) => decoder.says(),)+ }
            }

            /// What is to be published, so that messages can be read that come later.
            pub fn request(&mut self) -> Option<Request> {
                match self { $(Self::$kind(decoder) => decoder.request(),)+ }
            }
        }
    };
}

payloads! {
    /// JSON, or a plain number or word.
    json => Json(NoOptions),
    /// Lines of JSON, each as `json` reads it: a reading, or a dead letter. Lines without a word are none.
    json_lines => Ndjson(NoOptions),
    /// The whole payload as text, whatever it looks like; an empty one too.
    text => Text(NoOptions),
    /// The whole payload, whatever it is, as text in base64 (RFC 4648 §4).
    raw => Raw(NoOptions),
    /// One item of CBOR (RFC 8949), read as the JSON that it stands for.
    cbor => Cbor(NoOptions),
    /// One object of `MessagePack`, read as the JSON that it stands for.
    messagepack => Messagepack(NoOptions),
    /// A pack of `SenML` (RFC 8428), in JSON or CBOR: each of its records, resolved.
    senml => Senml(NoOptions),
    /// A message of an edge node of Sparkplug B: each of its metrics.
    sparkplug => SparkplugB(sparkplug::Options),
}

/// How payloads are read: the word of a codec, `"json"`, or a table where it has options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Value", into = "Value")]
#[schemars(with = "PayloadShape")]
pub struct Payload(pub Codec);

/// The shapes of a [`Payload`], for the schema.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum PayloadShape {
    Word(Word),
    Table(Codec),
}

impl Payload {
    /// A mapping of its documents with these settings. `levels` names the topic levels that templates may use.
    pub fn mapping(&self, settings: &Settings, levels: &[String]) -> Mapping {
        Mapping::new(&self.completed(settings.clone()), levels, &DEFAULTS)
    }

    /// These settings, with what its documents mean where they do not say otherwise. The objects of a `transform` mean the
    /// same, whatever they are made of.
    pub fn completed(&self, mut settings: Settings) -> Settings {
        if settings.transform.is_none() {
            self.complete(&mut settings);
        }
        settings
    }

    /// Tells of the readings of its documents which times they have, with these settings.
    pub fn times_told(&self, settings: &Settings) -> TimesTold {
        TimesTold::new(settings, &DEFAULTS)
    }

    /// Bytes that its decoder holds, at most, where a payload and the text that is made of it have so many.
    pub fn decoder_bytes(&self, record_bytes_max: usize) -> u64 {
        // The text, and the pieces of a string in it. A buffer that grows holds twice its content, and its old self
        // while it moves.
        let text = if self.is_text() { 0 } else { 2 * 3 * record_bytes_max as u64 };
        text + self.state_bytes()
    }
}

/// The members that are read of documents unless others are set.
const DEFAULTS: Defaults = Defaults { value: "value", timestamp: "timestamp", sensor: "sensorId" };

impl Codec {
    /// The words of all codecs, as they are written in a message.
    const CHOICE: &'static str = "write \"json\", \"ndjson\", \"text\", \"raw\", \"cbor\", \"messagepack\", \"senml\" or \"sparkplug_b\"";
}

impl Default for Payload {
    fn default() -> Self {
        Self(Codec::Json(NoOptions {}))
    }
}

impl TryFrom<Value> for Payload {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let choice = Codec::CHOICE;
        let map = match value {
            Value::String(word) => serde_json::Map::from_iter([(word, serde_json::json!({}))]),
            Value::Object(map) if map.is_empty() => return Err(format!("is empty: {choice}")),
            Value::Object(map) if map.len() > 1 => {
                return Err(format!("holds {} at once: {choice}", map.len()));
            }
            Value::Object(map) => map,
            _ => return Err(format!("is no codec: {choice}")),
        };
        let (word, options) = map.iter().next().expect("it holds one");
        let (word, is_table) = (word.clone(), options.is_object());
        serde_json::from_value(Value::Object(map)).map(Self).map_err(|error| {
            let said = error.to_string();
            let option = said.strip_prefix("unknown field `").and_then(|it| it.split('`').next());
            match option {
                Some(option) => format!("{option} is no option of {word}"),
                None if said.starts_with("unknown variant") => format!("is no codec: {choice}"),
                None if !is_table => format!("the options of {word} are a table: write \"{word}\""),
                None => said,
            }
        })
    }
}

impl From<Payload> for Value {
    fn from(payload: Payload) -> Self {
        let value = serde_json::to_value(&payload.0).expect("settings are texts");
        let word = value.as_object().and_then(|map| map.keys().next()).cloned();
        // With all options as they are without a word of them, its word is enough.
        let is_plain =
            |word: &String| Payload::try_from(Self::String(word.clone())).as_ref() == Ok(&payload);
        word.filter(is_plain).map_or(value, Self::String)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::codec::Reading;
    use crate::codec::mapping::{Origin, Read};
    use crate::record::{Chunk, Reason};

    /// The values of a payload's readings, and why its other parts are none.
    fn read(payload: &Payload, text: &[u8]) -> Vec<Result<String, Reason>> {
        let mut mapping = payload.mapping(&Settings::default(), &[]);
        let received = Timestamp::from_millis(0);
        let origin = Origin { levels: &[], named: None, entry: "entry", properties: &[], received };
        let (mut chunk, mut parts) = (Chunk::default(), Vec::new());
        let mut take = |chunk: &mut Chunk, _: Option<&str>, read: Read<'_>| {
            let value = |it: Reading<'_>| String::from_utf8(chunk.text(it.value).to_vec()).unwrap();
            parts.push(read.map(value).map_err(|it| it.reason));
            ControlFlow::Continue(())
        };
        let input = Input { payload: text, topic: b"", received, bytes_max: 1024 };
        let ended = payload.decoder().decode(input, &mut |_, document| match document {
            Ok(document) => mapping.read(document, &origin, &mut chunk, &mut take),
            Err(malformed) => take(&mut chunk, None, Err(malformed)),
        });
        assert_eq!(ended, ControlFlow::Continue(()));
        parts
    }

    #[test]
    fn what_wraps_a_payload_is_no_part_of_it() {
        let (bom, text) = ("\u{feff}", Payload(Codec::Text(NoOptions {})));
        for (codec, payload, expected) in [
            (Payload::default(), format!("{bom}21.5\0\0"), "21.5"),
            (Payload::default(), format!("{bom}{{\"value\":1}}\n\0"), "1"),
            (Payload::default(), "open\0".to_owned(), "\"open\""),
            (text.clone(), format!("{bom}open\0"), "\"open\""),
        ] {
            assert_eq!(read(&codec, payload.as_bytes()), [Ok(expected.to_owned())]);
        }
        // Bytes in binary that happen to be UTF-8: UTF-16, MessagePack, Sparkplug B.
        for binary in ["2\x001\0", "\x02\x05\0", "\x08d\x12\x07\n\x01t \x03P", "\x15"] {
            for codec in [Payload::default(), text.clone()] {
                assert_eq!(read(&codec, binary.as_bytes()), [Err(Reason::Malformed)], "{binary:?}");
            }
        }
        assert_eq!(read(&Payload::default(), b"\xef\xbb\xbf\0"), [Err(Reason::Empty)]);
    }

    #[test]
    fn what_a_codec_completes_is_of_its_documents_and_not_of_a_programs_objects() {
        for word in ["sparkplug_b", "senml"] {
            let payload = Payload::try_from(Value::from(word)).unwrap();
            let documents = Settings::default();
            assert_ne!(payload.completed(documents.clone()), documents, "{word}");
            let transform = Some("msg".to_owned().try_into().unwrap());
            let objects = Settings { transform, ..documents };
            assert_eq!(payload.completed(objects.clone()), objects, "{word}");
        }
    }
}
