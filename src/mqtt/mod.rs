//! MQTT, as far as a gateway needs it: one client connection at a time, both protocol versions.
//!
//! What comes is read by ours, all of it (`wire`, `packet`, `publish`): a length that is misread settles
//! what the broker does not have. rumqttc (`rumqttc::mqttbytes`, `rumqttc::v5::mqttbytes`), which only
//! this folder names, writes CONNECT, SUBSCRIBE, UNSUBSCRIBE and PUBLISH with properties, which it does
//! rightly; the few bytes of all other packets are ours (`short`, `plain`).
//! Its *reader* is used by tests alone: it takes codes that it does not know for errors, has no short forms
//! of DISCONNECT and waits for more after some of them.
//! Its *event loop* is not used, and that is a decision by measurement:
//! it writes one acknowledgement a system call and reads 8 KiB at a time with no way to gather
//! (10–30 × the cost of this loop at full rate), its v5 flush has no time limit, and after a
//! reconnect it can drop, overwrite or repeat publishes of its own accord. Here a connection is a
//! value that lives and dies with its socket ([`connection::Connection`]); what must outlive it is
//! owned by others: unacknowledged batches by the engine's window, unacknowledged readings by the
//! intake's [`ledger::Ledger`]. So a late acknowledgement cannot reach another connection.
//!
//! | file | job |
//! | --- | --- |
//! | `topic` | topics and filters, checked when made |
//! | `options` | where the broker is and who we are |
//! | `steps` | how long each step to a connection may take |
//! | `look_up` | names of brokers, looked up |
//! | `transport` | TCP |
//! | `tls` | TLS above it, and what goes wrong with it in words |
//! | `websocket` | WebSocket above them |
//! | `wire` | the lengths on the wire, for all that reads |
//! | `properties` | the properties of MQTT 5, for all that reads |
//! | `frame` | cutting the byte stream into packets |
//! | `publish` | a PUBLISH that came, without a copy |
//! | `packet` | all other packets that come |
//! | `answer` | what a broker says to a publish |
//! | `outgoing` | packets that go, by rumqttc |
//! | `reason` | reason codes: words, remedies |
//! | `plain` | small messages without properties |
//! | `short` | packets of a few bytes |
//! | `connection` | one connection: polls, pings, never waits for anything else |
//! | `session` | getting a connection, as often as it takes |
//! | `left` | sessions that earlier runs left at brokers |
//! | `roll_call` | whether a broker lets our own clients stand beside each other |
//! | `ids` | how a broker chooses packet ids |
//! | `system` | what a broker says of itself |
//! | `unheard` | acknowledgements that may have been lost with a connection |
//! | `ledger` | which reading waits for which PUBACK |

pub mod answer;
pub mod connection;
pub mod frame;
mod ids;
pub mod ledger;
pub mod left;
pub mod look_up;
pub mod options;
pub mod outgoing;
pub mod packet;
pub mod plain;
mod properties;
pub mod publish;
mod reason;
pub mod roll_call;
#[cfg(test)]
mod sent;
pub mod session;
mod short;
mod steps;
pub mod system;
pub mod tls;
pub mod topic;
pub mod transport;
mod unheard;
mod websocket;
mod wire;

use std::mem::{Discriminant, discriminant};

use crate::text;
use crate::unusable::Unusable;

/// Why there is no connection, or no longer. What others say in it is [`text::shown`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker cannot be reached, or the connection broke.
    #[error("{}", text::shown(&.0.to_string()))]
    Io(#[from] std::io::Error),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(std::time::Duration),
    /// No answer to one step of a connection in time.
    #[error("no answer to {to} within {within:?} (broker.connect_timeout sets the limit)")]
    NoAnswer {
        /// Which step.
        to: &'static str,
        /// The limit.
        within: std::time::Duration,
    },
    /// The broker closed the connection without a word.
    #[error("the broker closed the connection")]
    Closed,
    /// The broker closed the connection at CONNECT, as one does that does not know the version.
    #[error(
        "the broker closed the connection when we asked for MQTT 5: if it speaks only MQTT 3.1.1, set \
         version = 3 beside its url; if its port is for TLS and the url is not, write mqtts:// (wss://)"
    )]
    NotGreeted,
    /// The broker said why it closes the connection.
    #[error("the broker ended the connection: {0}")]
    Ended(String),
    /// The broker said a reason that may be about what we published.
    #[error("the broker ended the connection: {0}")]
    Forbidden(String),
    /// The broker said that a packet is too large for it.
    #[error("the broker ended the connection: {0}")]
    TooLarge(String),
    /// Another client has connected with our client id, and the broker said so.
    #[error("the broker gave our session to another client that uses our client id")]
    TakenOver,
    /// The same, for who has to choose another id.
    #[error(
        "another client has connected to {broker} as {client:?} too, and the broker gave it our \
         session, with all that is unacknowledged: give each gateway its own gateway.id (and \
         broker.client_id, where that is set)"
    )]
    IdInUse {
        /// Where.
        broker: String,
        /// Our client id.
        client: String,
    },
    /// The broker makes the client id of the user, so that our own clients take each other's session.
    #[error(
        "{broker} knows every client of {user} by one client id, so that our own clients would end each \
         other's connections and lose what waits there (Mosquitto: use_username_as_clientid): switch that \
         off, or, with one MQTT entry, give the output a user of its own with [output.broker] and username"
    )]
    OneForAll {
        /// Where.
        broker: String,
        /// As whom.
        user: String,
    },
    /// The broker keeps our session under another id than ours.
    #[error(
        "{broker} gave {client:?} another client id, under which we would not find our session again: let \
         the broker keep the ids of its clients, or ask for one that it accepts (broker.client_id)"
    )]
    Renamed {
        /// Where.
        broker: String,
        /// Our client id.
        client: String,
    },
    /// No PINGRESP, nor anything else.
    #[error("the broker has not answered a ping for {0:?}")]
    Silent(std::time::Duration),
    /// The broker does not take our bytes.
    #[error("the broker has not read anything for {0:?}")]
    Stalled(std::time::Duration),
    /// It lives, and leaves a publication without an answer.
    #[error("the broker has left a publication unanswered for {0:?}")]
    Unanswered(std::time::Duration),
    /// The broker refused the connection.
    #[error("the broker refused the connection: {reason}")]
    Refused {
        /// Its reason.
        reason: String,
        /// Whether trying again with the same settings is pointless.
        permanent: bool,
    },
    /// The broker refused the subscription.
    #[error("the broker refused the subscription to {filter}: {reason}")]
    SubscriptionRefused {
        /// The filter.
        filter: String,
        /// Its reason.
        reason: String,
    },
    /// The broker could not grant the subscription just now.
    #[error("the broker refused the subscription to {filter} for now: {reason}")]
    SubscriptionPutOff {
        /// The filter.
        filter: String,
        /// Its reason.
        reason: String,
    },
    /// What came is not MQTT as agreed.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// TLS does not come about, or is where none is expected, or what answers is something else.
    #[error("{problem}: {remedy}")]
    Beneath {
        /// What is wrong, and with which side or file.
        problem: String,
        /// What to do about it.
        remedy: String,
        /// The other side has only hung up: it may be on its way down, or up.
        hung_up: bool,
    },
    /// The password file or a certificate cannot be used.
    #[error("{what} {}: {}", text::shown(path), text::shown(problem))]
    Credentials {
        /// Which kind of file.
        what: &'static str,
        /// Its path.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl From<Error> for Unusable {
    fn from(error: Error) -> Self {
        Self { may_mend: !error.is_about_ids(), reason: error.to_string() }
    }
}

impl Error {
    /// Whether trying again with the same settings is pointless.
    pub const fn is_permanent(&self) -> bool {
        match self {
            Self::Refused { permanent, .. } => *permanent,
            Self::SubscriptionRefused { .. } | Self::Credentials { .. } => true,
            _ => self.is_about_ids(),
        }
    }

    /// Whether it is about our client ids: what no waiting and no restart mends.
    pub const fn is_about_ids(&self) -> bool {
        matches!(self, Self::IdInUse { .. } | Self::OneForAll { .. } | Self::Renamed { .. })
    }

    /// What it is, whatever its text says of the moment: repeated warnings are limited by it.
    fn kind(&self) -> (Discriminant<Self>, Option<std::io::ErrorKind>) {
        let of_system = match self {
            Self::Io(error) => Some(error.kind()),
            _ => None,
        };
        (discriminant(self), of_system)
    }

    /// Whether an attempt ended without any answer of a broker's: it is away, being started, or out of
    /// reach. A certificate that is not accepted is an answer.
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

    /// The same of an attempt to connect with this version.
    fn at_connect(self, version: options::Version) -> Self {
        match version {
            options::Version::V5 if self.is_hang_up() => Self::NotGreeted,
            _ => self,
        }
    }

    /// Whether the broker, or what lies before it, has hung up without a word. `UnexpectedEof` is how TLS
    /// says that it was closed without notice.
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
