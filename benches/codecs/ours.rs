//! An entry that reads payloads: its unpacker, its decoder and its mapping.

use std::ops::ControlFlow;

use serde_json::{Value, json};
use sluicegate::clock::Timestamp;
use sluicegate::codec::compression::{Compression, Unpacker};
use sluicegate::codec::mapping::{Mapping, Origin};
use sluicegate::codec::turn::Turn;
use sluicegate::codec::{Decoder, Input, Reading};
use sluicegate::record::{Chunk, Span};
use sluicegate::source::mqtt::Settings;

/// As `queue.record_bytes_max` is unless it is set.
const BYTES_MAX: usize = 64 << 10;

pub(crate) struct Ours {
    unpacker: Option<Unpacker>,
    decoder: Decoder,
    mapping: Mapping,
    topic: &'static str,
    /// The level of the topic that names the sensor, where one does.
    named: Option<&'static str>,
    chunk: Chunk,
    values: Vec<Span>,
}

impl Ours {
    /// With these keys of `[sensors.<name>.mqtt]`.
    pub(crate) fn new(keys: &Value, compression: Option<Compression>) -> Self {
        let (topic, named) = ("t/boiler", Some("boiler"));
        Self::at(json!({ "topic": "t/{sensor}" }), keys, (topic, named), compression)
    }

    /// Of Sparkplug B, behind this birth of a device.
    pub(crate) fn behind(birth: &[u8]) -> Self {
        let entry = json!({ "topic": "spBv1.0/#", "payload": "sparkplug_b" });
        let topic = "spBv1.0/Plant/DBIRTH/line/oven";
        let mut it = Self::at(entry, &json!({}), (topic, None), None);
        it.read(birth);
        it.topic = "spBv1.0/Plant/DDATA/line/oven";
        it
    }

    fn at(
        mut entry: Value,
        keys: &Value,
        (topic, named): (&'static str, Option<&'static str>),
        compression: Option<Compression>,
    ) -> Self {
        entry.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let entry: Settings = serde_json::from_value(entry).unwrap();
        let levels: Vec<String> = named.map(|_| "sensor".to_owned()).into_iter().collect();
        Self {
            unpacker: compression.map(Compression::unpacker),
            decoder: entry.payload.decoder(),
            mapping: entry.payload.mapping(&entry.mapping().unwrap(), &levels),
            topic,
            named,
            chunk: Chunk::default(),
            values: Vec::new(),
        }
    }

    /// Reads a payload into the chunk.
    pub(crate) fn read(&mut self, payload: &[u8]) {
        let Self { unpacker, decoder, mapping, topic, named, chunk, values } = self;
        chunk.clear();
        values.clear();
        let payload = match unpacker {
            Some(unpacker) => unpacker.unpack(payload, BYTES_MAX).unwrap(),
            None => payload,
        };
        let received = Timestamp::from_millis(1_795_332_650_601);
        let (levels, properties) = (named.as_slice(), &[]);
        let origin = Origin { levels, named: *named, entry: "fleet", properties, received };
        let input = Input { payload, topic: topic.as_bytes(), received, bytes_max: BYTES_MAX };
        let is_ready =
            !matches!(decoder.turn(&input, false), Turn::Waits(_)) && decoder.missing() == 0;
        assert!(is_ready, "a message that is to be read now");
        let flow = decoder.decode(input, &mut |_: &[u8], document| {
            let mut put = |_: &mut Chunk, _: Option<&str>, read: Result<Reading<'_>, _>| {
                values.push(read.unwrap().value);
                ControlFlow::Continue(())
            };
            mapping.read(document.unwrap(), &origin, chunk, &mut put)
        });
        assert!(flow.is_continue());
    }

    /// The values of a payload, one behind the other.
    pub(crate) fn values(&mut self, payload: &[u8]) -> String {
        self.read(payload);
        let texts = self.values.iter().map(|it| self.chunk.text(*it));
        String::from_utf8(texts.collect::<Vec<_>>().concat()).unwrap()
    }
}
