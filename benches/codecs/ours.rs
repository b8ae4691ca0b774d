//! An entry that reads payloads: its unpacker, its decoder and its mapping.

use std::ops::ControlFlow;

use serde_json::{Value, json};
use sluicegate::clock::Timestamp;
use sluicegate::codec::compression::{Compression, Unpacker};
use sluicegate::codec::mapping::{Mapping, Origin};
use sluicegate::codec::{Decoder, Input, Reading};
use sluicegate::record::{Chunk, Span};
use sluicegate::source::mqtt::Settings;

/// As `queue.record_bytes_max` is unless it is set.
const BYTES_MAX: usize = 64 << 10;

pub(crate) struct Ours {
    unpacker: Option<Unpacker>,
    decoder: Decoder,
    mapping: Mapping,
    chunk: Chunk,
    values: Vec<Span>,
}

impl Ours {
    /// With these keys of `[sensors.<name>.mqtt]`.
    pub(crate) fn new(keys: &Value, compression: Option<Compression>) -> Self {
        let mut entry = json!({ "topic": "t/{sensor}" });
        entry.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let entry: Settings = serde_json::from_value(entry).unwrap();
        Self {
            unpacker: compression.map(Compression::unpacker),
            decoder: entry.payload.decoder(),
            mapping: entry.payload.mapping(&entry.mapping().unwrap(), &["sensor".to_owned()]),
            chunk: Chunk::default(),
            values: Vec::new(),
        }
    }

    /// Reads a payload into the chunk.
    pub(crate) fn read(&mut self, payload: &[u8]) {
        let Self { unpacker, decoder, mapping, chunk, values } = self;
        chunk.clear();
        values.clear();
        let payload = match unpacker {
            Some(unpacker) => unpacker.unpack(payload, BYTES_MAX).unwrap(),
            None => payload,
        };
        let received = Timestamp::from_millis(1_795_332_650_601);
        let (levels, properties) = (&["boiler"], &[]);
        let origin = Origin { levels, named: Some("boiler"), entry: "fleet", properties, received };
        let input = Input { payload, topic: b"t/boiler", received, bytes_max: BYTES_MAX };
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
