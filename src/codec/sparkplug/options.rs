//! What can be set for payloads of Sparkplug B.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Decoder;
use crate::codec::decode::Makes;
use crate::codec::mapping::keys::Extra;
use crate::codec::pointer::Pointer;
use crate::codec::turn::Waits;
use crate::units::{Period, Size};

/// Bytes of what is asked of nodes.
const REQUESTS_BYTES: u64 = 256 * 1024;

/// What can be set for Sparkplug B.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How long a message waits for the birth that says what its aliases mean. Then what cannot be read of it is a dead
    /// letter. 0: it does not wait.
    pub birth_wait: Period,
    /// Bytes of the messages that wait; where there are more, the oldest wait no longer.
    pub waiting_bytes_max: Size,
    /// Bytes of the births of an entry that are remembered. One more is not: what its device sends by alias is a dead
    /// letter.
    pub state_bytes_max: Size,
    /// Asks a node for its birth (NCMD, `Node Control/Rebirth`) where it is missing, or `seq` has a gap; each at most
    /// once in `birth_wait`, or 30 seconds. Leave it off where another host application does it.
    pub rebirth: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            birth_wait: Period::millis(30_000),
            waiting_bytes_max: Size::bytes(256 * 1024),
            state_bytes_max: Size::bytes(512 * 1024),
            rebirth: false,
        }
    }
}

impl Makes<Decoder> for Options {
    fn decoder(&self) -> Decoder {
        Decoder::new(self)
    }

    fn waits(&self) -> Option<Waits> {
        Some(Waits {
            time: self.birth_wait.0,
            bytes_max: self.waiting_bytes_max.get(),
            // Births as they came are shorter than what is made of them.
            kept_bytes_max: self.state_bytes_max.get() / 2,
        })
    }

    fn state_bytes(&self) -> u64 {
        let waits = self.waits().map_or(0, |it| it.bytes_max + 2 * it.kept_bytes_max);
        let requests = if self.rebirth { REQUESTS_BYTES } else { 0 };
        // The births; the messages that wait; beside the spool the births as they came, and as many again that are written
        // while others take their place.
        (self.state_bytes_max.get() + waits) as u64 + requests
    }
}

/// What stays of a document as `extra` unless something else is set: the topic says the rest.
pub(super) fn extra() -> Extra {
    let all =
        ["/type", "/dataType", "/historical", "/transient", "/stale", "/properties", "/metadata"];
    let pointer = |text: &str| Pointer::try_from(text.to_owned()).expect("it is a pointer");
    Extra::These(all.into_iter().map(pointer).collect())
}
