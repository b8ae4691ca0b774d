//! MQTT, as far as a gateway needs it: one client connection at a time, both protocol versions.
//!
//! All packets that arrive are read by own code (`wire`, `packet`, `publish`): a length that is misread would
//! settle a message that the broker does not have. rumqttc (`rumqttc::mqttbytes`, `rumqttc::v5::mqttbytes`),
//! which only this folder names, writes CONNECT, SUBSCRIBE, UNSUBSCRIBE and PUBLISH with properties. All other
//! packets have a few bytes and are written by own code (`short`, `plain`).
//!
//! rumqttc's *reader* is used by tests only. It treats reason codes that it does not know as errors, it does
//! not read the short forms of DISCONNECT, and it waits for more bytes after some of them.
//!
//! rumqttc's *event loop* is not used. That was decided by measurement: it writes one acknowledgement per
//! system call and reads 8 KiB at a time (10–30 × the cost of this loop at full rate), its v5 flush has no time
//! limit, and after a reconnect it can drop, overwrite or repeat publishes. Here a connection is a value that
//! lives as long as its socket ([`connection::Connection`]). What must outlive it belongs to others:
//! unacknowledged batches to the engine's window, unacknowledged readings to the intake's [`ledger::Ledger`].
//! So a late acknowledgement cannot reach another connection.
//!
//! | file | job |
//! | --- | --- |
//! | `topic` | topics and filters, checked when made |
//! | `broker` | the settings of a broker |
//! | `options` | the broker's address and our login |
//! | `steps` | the time limits of an attempt to connect |
//! | `look_up` | looks up the names of brokers |
//! | `transport` | TCP |
//! | `tls` | TLS above it, and its errors in words |
//! | `websocket` | WebSocket above them |
//! | `wire` | reads lengths, for all readers |
//! | `properties` | reads the properties of MQTT 5, for all readers |
//! | `frame` | cuts the byte stream into packets |
//! | `read_buffer` | what has arrived, in buffers that connections share |
//! | `publish` | a PUBLISH that arrived, without a copy |
//! | `packet` | all other packets that arrive |
//! | `answer` | the answer of a broker to a publish |
//! | `outgoing` | packets that we send, written by rumqttc |
//! | `reason` | reason codes: words, remedies |
//! | `plain` | small messages without properties |
//! | `short` | packets of a few bytes |
//! | `connection` | one connection: reads, writes, pings |
//! | `session` | connects, again and again |
//! | `left` | the sessions that earlier runs left at brokers |
//! | `roll_call` | whether a broker keeps our own clients apart |
//! | `ids` | how a broker chooses packet ids |
//! | `system` | the topics of a broker's own figures |
//! | `unanswered` | what we published and has no answer yet |
//! | `unheard` | acknowledgements that may have been lost with a connection |
//! | `ledger` | which reading waits for which PUBACK |

pub mod answer;
pub mod attempt;
pub mod broker;
pub mod client;
pub mod connection;
pub mod frame;
mod ids;
pub mod ledger;
pub mod left;
pub mod look_up;
pub mod options;
pub mod outbound;
pub mod outgoing;
pub mod packet;
pub mod plain;
mod properties;
pub mod publish;
pub mod read_buffer;
mod reason;
pub mod roll_call;
#[cfg(test)]
mod sent;
pub mod session;
mod short;
#[cfg(test)]
pub mod stepped;
mod steps;
pub mod system;
mod takeover;
pub mod tls;
pub mod topic;
pub mod topic_pattern;
pub mod transport;
pub mod unanswered;
mod unheard;
mod validity;
mod websocket;
mod wire;

use std::mem::{Discriminant, discriminant};

use crate::text;
use crate::unusable::Unusable;

/// Why there is no connection, or why it ended. Text that comes from a peer is escaped ([`text::shown`]).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker cannot be reached, or the connection broke.
    #[error("{}", text::shown(&.0.to_string()))]
    Io(#[from] std::io::Error),
    #[error("no answer within {0:?}")]
    TimedOut(std::time::Duration),
    #[error("no answer to {to} within {within:?} (broker.connect_timeout sets the limit)")]
    NoAnswer { to: &'static str, within: std::time::Duration },
    /// The broker closed the connection without a DISCONNECT.
    #[error("the broker closed the connection")]
    Closed,
    /// The broker closed the connection at CONNECT, as a broker does that does not support the version.
    #[error(
        "the broker closed the connection when we asked for MQTT 5: if it speaks only MQTT 3.1.1, set \
         version = 3 beside its url; if its port is for TLS and the url is not, write mqtts:// (wss://)"
    )]
    NotGreeted,
    /// The broker sent a DISCONNECT.
    #[error("the broker ended the connection: {0}")]
    Ended(String),
    /// The broker sent a DISCONNECT whose reason may concern what we published.
    #[error("the broker ended the connection: {0}")]
    Forbidden(String),
    /// The broker sent DISCONNECT 0x95, "packet too large".
    #[error("the broker ended the connection: {0}")]
    TooLarge(String),
    /// Another client has connected with our client id: DISCONNECT 0x8e, "session taken over".
    #[error("the broker gave our session to another client that uses our client id")]
    TakenOver,
    /// The same, with the remedy: one of the two must use another id.
    #[error(
        "another client has connected to {broker} as {client:?} too, and the broker gave it our \
         session, with all that is unacknowledged: give each gateway its own gateway.id (and \
         broker.client_id, where that is set)"
    )]
    IdInUse { broker: String, client: String },
    /// The broker derives the client id from the user, so our own clients take over each other's session.
    #[error(
        "{broker} knows every client of {user} by one client id, so that our own clients would end each \
         other's connections and lose what waits there (Mosquitto: use_username_as_clientid): switch that \
         off, or, with one MQTT entry, give the output a user of its own with [output.broker] and username"
    )]
    OneForAll { broker: String, user: String },
    /// The broker keeps our session under another client id than ours.
    #[error(
        "{broker} gave {client:?} another client id, under which we would not find our session again: let \
         the broker keep the ids of its clients, or ask for one that it accepts (broker.client_id)"
    )]
    Renamed { broker: String, client: String },
    /// No packet has arrived for this time: no PINGRESP either.
    #[error("the broker has not answered a ping for {0:?}")]
    Silent(std::time::Duration),
    #[error("the broker has not read anything for {0:?}")]
    Stalled(std::time::Duration),
    /// The connection works, but a PUBLISH of ours got no PUBACK for this time.
    #[error("the broker has left a publication unanswered for {0:?}")]
    Unanswered(std::time::Duration),
    /// The broker refused the connection.
    #[error("the broker refused the connection: {reason}")]
    Refused {
        reason: String,
        /// Another attempt with the same settings cannot succeed.
        permanent: bool,
    },
    /// The broker refused the subscription.
    #[error("the broker refused the subscription to {filter}: {reason}")]
    SubscriptionRefused { filter: String, reason: String },
    /// The broker refused the subscription with a code that may pass ([`packet::is_put_off`]).
    #[error("the broker refused the subscription to {filter} for now: {reason}")]
    SubscriptionPutOff { filter: String, reason: String },
    /// What arrived breaks the protocol.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// TLS failed: the handshake, its files, or the peer speaks something else.
    #[error("{problem}: {remedy}")]
    Beneath {
        /// What is wrong, with the side or the file.
        problem: String,
        remedy: String,
        /// The peer only closed the connection: it may be shutting down or starting.
        hung_up: bool,
    },
    /// The password file or a certificate cannot be used.
    #[error("{what} {}: {}", text::shown(path), text::shown(problem))]
    Credentials { what: &'static str, path: String, problem: String },
}

impl From<Error> for Unusable {
    fn from(error: Error) -> Self {
        Self { may_mend: !error.is_about_ids(), reason: error.to_string() }
    }
}

impl Error {
    /// Whether another attempt with the same settings cannot succeed.
    pub const fn is_permanent(&self) -> bool {
        match self {
            Self::Refused { permanent, .. } => *permanent,
            Self::SubscriptionRefused { .. } | Self::Credentials { .. } => true,
            _ => self.is_about_ids(),
        }
    }

    /// Whether it concerns our client ids: waiting and restarting do not help.
    pub const fn is_about_ids(&self) -> bool {
        matches!(self, Self::IdInUse { .. } | Self::OneForAll { .. } | Self::Renamed { .. })
    }

    /// The kind of error, without what its text says of the moment. It limits repeated warnings.
    fn kind(&self) -> (Discriminant<Self>, Option<std::io::ErrorKind>) {
        let of_system = match self {
            Self::Io(error) => Some(error.kind()),
            _ => None,
        };
        (discriminant(self), of_system)
    }

    /// Whether an attempt ended without any answer of the broker: it is stopped, starting, or out of reach. A
    /// certificate that we do not accept is an answer.
    fn is_no_answer(&self) -> bool {
        match self {
            Self::Closed
            | Self::NotGreeted
            | Self::TimedOut(_)
            | Self::NoAnswer { .. }
            | Self::Silent(_)
            | Self::Stalled(_) => true,
            Self::Io(error) => error.kind() != std::io::ErrorKind::InvalidData,
            Self::Beneath { hung_up, .. } => *hung_up,
            _ => false,
        }
    }

    /// Turns a closed connection at CONNECT into the error for a version that the broker does not support.
    fn at_connect(self, version: options::Version) -> Self {
        match version {
            options::Version::V5 if self.is_hang_up() => Self::NotGreeted,
            _ => self,
        }
    }

    /// Whether the broker, or a proxy before it, closed the connection without a DISCONNECT. TLS reports a
    /// close without notice as `UnexpectedEof`.
    pub fn is_hang_up(&self) -> bool {
        use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match self {
            Self::Closed | Self::NotGreeted => true,
            Self::Io(error) => matches!(
                error.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
            ),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::time::Duration;

    #[test]
    fn a_cause_is_the_same_whatever_its_text_says_of_the_moment() {
        let expired = |seconds: u64| {
            let text = format!("invalid peer certificate: expired {seconds} seconds ago");
            Error::Io(std::io::Error::new(ErrorKind::InvalidData, text))
        };
        assert_eq!(expired(1).kind(), expired(2).kind());
        assert_ne!(expired(1).kind(), Error::Io(ErrorKind::ConnectionRefused.into()).kind());
        let silent = |millis| Error::Silent(Duration::from_millis(millis));
        assert_eq!(silent(1).kind(), silent(2).kind());
        assert_ne!(silent(1).kind(), Error::Closed.kind());
    }

    #[test]
    fn an_attempt_that_no_broker_answered_is_told_from_one_that_it_refused() {
        let second = Duration::from_secs(1);
        let no_answer = [
            Error::Closed,
            Error::NotGreeted,
            Error::TimedOut(second),
            // Its keep-alive is shorter than the time for an attempt.
            Error::Silent(second),
            Error::Stalled(second),
            Error::Io(ErrorKind::ConnectionRefused.into()),
            Error::Io(ErrorKind::ConnectionReset.into()),
            Error::Io(std::io::Error::other("failed to lookup address information")),
        ];
        assert!(no_answer.iter().all(Error::is_no_answer));
        let answers = [
            Error::Refused { reason: "busy".into(), permanent: false },
            // A certificate that is not accepted.
            Error::Io(ErrorKind::InvalidData.into()),
            Error::TakenOver,
            Error::Protocol("?".into()),
        ];
        assert!(!answers.iter().any(Error::is_no_answer));
    }
}
