//! What the ledger says of messages.

/// What an entering message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// To be taken; the ordinal of its first reading.
    New(u64),
    /// Held already, or settled: nothing to take.
    Known,
    /// Against the protocol, or more than can be kept: nothing to take from this connection any more.
    Against(&'static str),
}

/// How a message is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    PubAck,
    /// QoS 2, from a subscription that somebody else made in our session: the broker answers with
    /// PUBREL, which is answered at once.
    PubRec,
}
