//! The faults a test can switch on: rules that name clients by a part of their id.

use bytes::Bytes;

use crate::support::wire::{ConnectReturnCode, Login, PubAckReason};

/// Rules for clients whose id contains the given text; the newest that fits counts.
#[derive(Debug)]
pub(super) struct Rules<T>(Vec<(String, T)>);

impl<T> Default for Rules<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Rules<T> {
    pub(super) fn set(&mut self, who: &str, rule: T) {
        self.0.push((who.to_owned(), rule));
    }

    /// Ends the rules made for `who` and for anything more exact.
    pub(super) fn clear(&mut self, who: &str) {
        self.0.retain(|(made_for, _)| !made_for.contains(who));
    }

    pub(super) fn of(&self, client: &str) -> Option<&T> {
        self.0.iter().rev().find(|(who, _)| client.contains(who.as_str())).map(|(_, rule)| rule)
    }

    pub(super) fn applies(&self, client: &str) -> bool {
        self.of(client).is_some()
    }
}

/// Which packets of a client are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Any,
    Connect,
    Subscribe,
    Publish,
    PubAck,
    PingReq,
}

/// In which order withheld acknowledgements go out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    AsReceived,
    Reversed,
    Shuffled(u64),
}

/// How the window of a client is overrun.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Overrun {
    /// Always so many more than the client allowed.
    By(usize),
    /// Each acknowledgement releases so many more, whatever is still unacknowledged (Mosquitto
    /// 2.0.11 does this with 20).
    PerAck(usize),
}

/// What the broker announces in CONNACK (MQTT 5).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) receive_maximum: Option<u16>,
    pub(crate) max_packet_size: Option<u32>,
    pub(crate) server_keep_alive: Option<u16>,
    pub(crate) maximum_qos: Option<u8>,
    pub(crate) retain_available: Option<u8>,
    /// How long sessions are kept, in seconds: said only.
    pub(crate) session_expiry: Option<u32>,
}

/// The answer to publishes on a topic.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) filter: String,
    pub(super) reason: PubAckReason,
    pub(super) left: usize,
}

/// Drops a connection when it has received so many more packets.
#[derive(Clone, Debug)]
pub(super) struct DropAfter {
    pub(super) who: String,
    pub(super) kind: Kind,
    pub(super) left: usize,
}

#[derive(Debug, Default)]
pub(super) struct Levers {
    pub(super) hold_acks: Rules<()>,
    pub(super) mute_pings: Rules<()>,
    pub(super) stall_reads: Rules<()>,
    pub(super) stall_writes: Rules<()>,
    pub(super) refuse_connect: Rules<ConnectReturnCode>,
    pub(super) refuse_subscribe: Rules<u8>,
    pub(super) grant: Rules<u8>,
    /// SUBSCRIBE takes effect and is not answered.
    pub(super) mute_subacks: Rules<()>,
    pub(super) overrun: Rules<Overrun>,
    /// How many messages a session keeps while its client is away.
    pub(super) absent_max: Rules<usize>,
    /// What was unacknowledged when a connection ended is not sent again for now.
    pub(super) late: Rules<()>,
    /// What was unacknowledged when a connection ended is sent again without DUP.
    pub(super) unmarked: Rules<()>,
    /// Packets that go to a client again and again, whatever it says.
    pub(super) floods: Rules<Bytes>,
    /// Hangs up at a CONNECT of MQTT 5.
    pub(super) only_v3: bool,
    /// Gives clients other ids than theirs.
    pub(super) assigns_ids: bool,
    pub(super) answers: Vec<Answer>,
    pub(super) drops: Vec<DropAfter>,
    pub(super) login: Option<Login>,
    pub(super) limits: Limits,
    /// Bytes of a PUBLISH above which it hangs up without a word.
    pub(super) hangs_up_above: Option<usize>,
    /// Bytes of a PUBLISH above which it takes no notice of it.
    pub(super) ignores_above: Option<usize>,
    /// The window of a client that names none (always so with 3.1.1).
    pub(super) window: usize,
    /// Ends a connection that is silent for 1.5 times its keep-alive.
    pub(super) enforce_keep_alive: bool,
}

impl Levers {
    pub(super) fn new() -> Self {
        Self { window: 20, enforce_keep_alive: true, ..Self::default() }
    }

    /// The reason to answer a publish on `topic` with.
    pub(super) fn answer(&mut self, topic: &str) -> PubAckReason {
        let rule = self
            .answers
            .iter_mut()
            .rev()
            .find(|rule| rule.left > 0 && super::state::matches(&rule.filter, topic));
        rule.map_or(PubAckReason::Success, |rule| {
            rule.left -= 1;
            rule.reason
        })
    }

    /// Whether this packet is the one to drop the connection at.
    pub(super) fn drop_now(&mut self, client: &str, kind: Kind) -> bool {
        let mut now = false;
        self.drops.retain_mut(|rule| {
            if client.contains(&rule.who) && (rule.kind == Kind::Any || rule.kind == kind) {
                rule.left = rule.left.saturating_sub(1);
            }
            now |= rule.left == 0;
            rule.left > 0
        });
        now
    }
}

/// A reason code of PUBACK as the library names it.
pub(super) fn puback_reason(code: u8) -> PubAckReason {
    match code {
        0x00 => PubAckReason::Success,
        0x10 => PubAckReason::NoMatchingSubscribers,
        0x80 => PubAckReason::UnspecifiedError,
        0x83 => PubAckReason::ImplementationSpecificError,
        0x87 => PubAckReason::NotAuthorized,
        0x90 => PubAckReason::TopicNameInvalid,
        0x91 => PubAckReason::PacketIdentifierInUse,
        0x97 => PubAckReason::QuotaExceeded,
        0x99 => PubAckReason::PayloadFormatInvalid,
        other => panic!("0x{other:02x} is not a reason code of PUBACK"),
    }
}
