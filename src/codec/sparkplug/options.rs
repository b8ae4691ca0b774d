//! What can be set for payloads of Sparkplug B.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::mapping::settings::Extra;
use crate::codec::pointer::Pointer;
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

impl Options {
    /// Bytes of births as they came, which are kept beside the spool: they are shorter than what is made of them.
    pub const fn kept_bytes_max(&self) -> usize {
        self.state_bytes_max.get() / 2
    }

    /// Bytes that an entry needs for them.
    pub const fn bytes_max(&self) -> u64 {
        // The births; beside the spool the births as they came, and the text of their file while it is written, in
        // base64; and the messages that wait.
        let (births, kept) = (self.state_bytes_max.get() as u64, self.kept_bytes_max() as u64);
        let requests = if self.rebirth { REQUESTS_BYTES } else { 0 };
        births + 3 * kept + self.waiting_bytes_max.get() as u64 + requests
    }
}

/// What stays of a document as `extra` unless something else is set: the topic says the rest.
pub(in crate::codec) fn extra() -> Extra {
    let all =
        ["/type", "/dataType", "/historical", "/transient", "/stale", "/properties", "/metadata"];
    let pointer = |text: &str| Pointer::try_from(text.to_owned()).expect("it is a pointer");
    Extra::These(all.into_iter().map(pointer).collect())
}
