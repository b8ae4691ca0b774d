//! Whether another client has our client id. Pure.
//!
//! Two gateways with one client id take over each other's session, with all that is unacknowledged. With MQTT 5
//! the broker must say so (DISCONNECT "session taken over", §4.13.1). MQTT 3.1.1 has no such packet, and Mosquitto
//! 2.0.11 does not send it. Then there are two signs, and each may have another reason once.
//!
//! | what has happened | state | what follows |
//! | --- | --- | --- |
//! | the broker says that our session was taken over | any | the client ends: the other one has the session |
//! | closed without a DISCONNECT, and then the resumed session misses messages that we had not acknowledged | `Alone` → `Suspected` | it is logged; what comes on the next connection is acknowledged only when it is clear whether something is missing again |
//! | the same | `Suspected` | the client ends. Mostly that is the one that connected first, because it sees the sign first |
//! | a connection stood for [`SOON`] | → `Alone` | |
//! | the broker was away | → `Alone` | that explains closed connections and missing messages |
//! | [`OFTEN`] connections in a row were closed soon | stays | contested: it is logged, and none of these connections counts as good |

use std::time::Duration;

use super::Error;
use super::options::Version;
use crate::limits::RECONNECT_PAUSE;

/// A connection that a client with our id takes over lasts as long as that client's pause, at most this long.
pub(super) const SOON: Duration = RECONNECT_PAUSE.1.saturating_mul(2);

/// After so many connections in a row that were closed soon, another client with our id is suspected.
const OFTEN: u32 = 4;

/// What is known of another client.
#[derive(Debug, Default)]
pub(super) struct Takeover {
    state: State,
    /// The last connection was closed without a DISCONNECT.
    unsaid: bool,
    /// Connections in a row that were closed soon after they were established.
    in_a_row: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Alone,
    /// Messages were missing once since the last good connection. That may be a broker that was killed and lost
    /// what it had promised to keep.
    Suspected,
}

impl Takeover {
    /// A connection has ended that stood for so long, if it stood. Returns how many in a row, where they are
    /// contested.
    pub(super) fn ended(
        &mut self,
        lasted: Option<Duration>,
        error: &Error,
        version: Version,
    ) -> Option<u32> {
        let soon = lasted.is_some_and(|lasted| lasted < SOON);
        self.unsaid = error.is_hang_up();
        if !soon {
            self.state = State::Alone;
        }
        // With MQTT 5 the broker would have sent a DISCONNECT; some brokers only close.
        let closed = self.unsaid && version == Version::V3 || matches!(error, Error::Closed);
        self.in_a_row = if soon && closed { self.in_a_row.saturating_add(1) } else { 0 };
        (self.in_a_row >= OFTEN).then_some(self.in_a_row)
    }

    /// The session was resumed, and so many messages that we held unacknowledged were not sent again. Returns
    /// whether that is suspicious; an error, if another client has acknowledged them.
    pub(super) fn resumed(&mut self, missing: usize) -> Result<bool, Error> {
        if missing == 0 || !self.unsaid {
            return Ok(false);
        }
        match self.state {
            State::Alone => self.state = State::Suspected,
            State::Suspected => return Err(Error::TakenOver),
        }
        Ok(true)
    }

    /// Whether messages were missing since the last good connection.
    pub(super) fn is_suspected(&self) -> bool {
        self.state == State::Suspected
    }

    /// The broker was away.
    pub(super) fn was_away(&mut self) {
        *self = Self::default();
    }

    /// The reason for the closed connections is known.
    pub(super) fn explained(&mut self) {
        self.in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The connection is closed after `stood`; after the reconnect `missing` messages are not sent again.
    fn back(takeover: &mut Takeover, stood: Duration, missing: usize) -> Result<bool, Error> {
        takeover.ended(Some(stood), &Error::Closed, Version::V5);
        takeover.resumed(missing)
    }

    #[test]
    fn messages_that_are_gone_twice_since_the_last_good_connection_are_another_clients() {
        let soon = SOON / 2;
        let mut it = Takeover::default();
        assert!(back(&mut it, SOON, 5).unwrap() && it.is_suspected());
        assert!(!back(&mut it, soon, 0).unwrap() && it.is_suspected());
        assert!(matches!(back(&mut it, soon, 1), Err(Error::TakenOver)));

        let mut it = Takeover::default();
        assert!(back(&mut it, soon, 5).is_ok());
        assert!(back(&mut it, SOON, 5).is_ok(), "a good one in between");
        it.was_away();
        assert!(back(&mut it, soon, 5).is_ok(), "a broker that was restarted twice");
        it.ended(Some(soon), &Error::Ended("busy".into()), Version::V5);
        assert!(!it.resumed(5).unwrap(), "it has said why");
    }

    #[test]
    fn connections_that_are_closed_soon_again_and_again_are_contested() {
        let reset = || Error::Io(std::io::ErrorKind::ConnectionReset.into());
        for (version, error, is_sign) in [
            (Version::V5, Error::Closed, true),
            (Version::V3, Error::Closed, true),
            // With MQTT 5 that is a link that broke.
            (Version::V5, reset(), false),
            (Version::V3, reset(), true),
            (Version::V3, Error::Ended("busy".into()), false),
        ] {
            let mut it = Takeover::default();
            let mut ended = |stood| it.ended(Some(stood), &error, version);
            let told: Vec<_> = (0..5).map(|_| ended(SOON / 2)).collect();
            let expected = [None, None, None, Some(4), Some(5)].map(|it| it.filter(|_| is_sign));
            assert_eq!(told, expected, "{version:?} {error}");
            assert_eq!((ended(SOON), ended(SOON / 2)), (None, None), "one stood");
        }
        let mut it = Takeover::default();
        for _ in 0..3 {
            it.ended(Some(SOON / 2), &Error::Closed, Version::V5);
        }
        it.was_away();
        assert_eq!(it.ended(Some(SOON / 2), &Error::Closed, Version::V5), None, "all anew");
        it.was_away();
        assert!(!it.resumed(5).unwrap(), "it may have lost them");
        for _ in 0..3 {
            it.ended(Some(SOON / 2), &Error::Closed, Version::V5);
        }
        it.explained();
        for stood in [Some(SOON / 2), Some(SOON / 2), Some(SOON / 2), None] {
            assert_eq!(it.ended(stood, &Error::Closed, Version::V5), None, "{stood:?}");
        }
    }
}
