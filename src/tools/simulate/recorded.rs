//! A recording that is played back: its messages, as far apart as they were, or faster.
//!
//! Messages keep their order, whatever the clock of the recorder did: a line is read when the message before it is sent, and
//! one that was due before goes at once.

use std::sync::Arc;
use std::time::Duration;

use super::Totals;
use super::supply::{Offer, Supply};
use crate::clock::{Now, Timestamp};
use crate::mqtt::packet::Greeting;
use crate::mqtt::plain::Plain;
use crate::tools::record::{Message, Recording};

/// Bytes of unacknowledged messages above which no further one is read.
const HELD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of a message that is held, beside its texts.
const MESSAGE_BYTES: usize = 128;

#[derive(Debug)]
pub(super) struct Recorded {
    recording: Recording,
    /// 0: as fast as it goes.
    speed: f64,
    totals: Arc<Totals>,
    /// The next message, and when it is due.
    next: Option<(Duration, Message)>,
    /// The time of the first message.
    first: Option<Timestamp>,
    held_bytes: usize,
    packet_bytes_max: usize,
    retains: bool,
    /// Messages that are too large for the broker.
    too_large: u64,
    /// Why the recording cannot be read any further.
    failed: Option<String>,
}

impl Recorded {
    pub(super) fn new(recording: Recording, speed: f64, totals: &Arc<Totals>) -> Self {
        Self {
            recording,
            speed,
            totals: Arc::clone(totals),
            next: None,
            first: None,
            held_bytes: 0,
            packet_bytes_max: usize::MAX,
            retains: true,
            too_large: 0,
            failed: None,
        }
    }

    /// Whether all of it was read.
    pub(super) fn is_read(&self) -> bool {
        self.failed.is_none()
    }

    /// What to say of what was not published.
    pub(super) fn said(&self) -> String {
        let (no_message, too_large) = (self.recording.left_out(), self.too_large);
        let counts = [
            (no_message, "lines are no message, and were left out"),
            (too_large, "messages are larger than the broker takes, and were left out"),
        ];
        let counts = counts.into_iter().filter(|it| it.0 > 0);
        let counts = counts.map(|(count, why)| format!("{count} {why}\n"));
        let failed = self.failed.iter();
        let failed = failed.map(|error| format!("it cannot be read any further: {error}\n"));
        counts.chain(failed).collect()
    }

    /// Reads a message; `None` at the end.
    fn read(&mut self) -> Option<(Duration, Message)> {
        let read = self.recording.read();
        let message = read.unwrap_or_else(|error| {
            self.failed = Some(error.to_string());
            None
        })?;
        let first = *self.first.get_or_insert(message.received);
        let after = message.received.millis().saturating_sub(first.millis());
        let due = Duration::from_millis(after).as_secs_f64() / self.speed;
        // Without a speed everything is due at once.
        Some((Duration::try_from_secs_f64(due).unwrap_or_default(), message))
    }

    fn published(message: &Message, retains: bool) -> Plain<'_> {
        Plain {
            topic: message.topic.as_str(),
            qos: 0,
            dup: false,
            retain: message.retained && retains,
            properties: &message.properties,
            payload: &message.payload,
        }
    }

    fn let_go(&mut self, message: &Message) {
        self.held_bytes -= bytes(message);
    }
}

fn bytes(message: &Message) -> usize {
    let texts = message.topic.as_str().len() + message.properties.len() + message.payload.len();
    MESSAGE_BYTES + texts
}

impl Supply for Recorded {
    type Message = Arc<Message>;

    fn greet(&mut self, greeting: &Greeting) {
        let bytes_max = greeting.packet_bytes_max.and_then(|it| usize::try_from(it).ok());
        self.packet_bytes_max = bytes_max.unwrap_or(usize::MAX);
        self.retains = greeting.features.retained;
    }

    fn next(&mut self, _: Now, elapsed: Duration) -> Offer<Arc<Message>> {
        if self.held_bytes > HELD_BYTES_MAX {
            return Offer::Full;
        }
        let Some((due, message)) = self.next.take().or_else(|| self.read()) else {
            return Offer::Over;
        };
        if due > elapsed {
            self.next = Some((due, message));
            return Offer::Wait(due);
        }
        if Self::published(&message, self.retains).packet_bytes_max() > self.packet_bytes_max {
            self.too_large += 1;
            return Offer::Absent;
        }
        self.held_bytes += bytes(&message);
        self.totals.sent.one();
        Offer::Message(Arc::new(message))
    }

    fn plain<'s>(&'s mut self, message: &'s Arc<Message>) -> Plain<'s> {
        Self::published(message, self.retains)
    }

    fn sent_again(&mut self, _: &Arc<Message>) {
        self.totals.again.one();
    }

    fn took(&mut self, message: Arc<Message>) {
        self.totals.acknowledged.one();
        self.let_go(&message);
    }

    fn refused(&mut self, message: Arc<Message>) {
        self.totals.refused.one();
        self.let_go(&message);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::clock;
    use crate::mqtt::packet::Features;

    /// Of lines with these times, in milliseconds, and payloads.
    fn recorded(lines: &[(u64, &str)], speed: f64) -> Recorded {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let line = |(at, payload): &(u64, &str)| {
            let at = Timestamp::from_millis(*at);
            format!("{{\"receivedAt\":\"{at}\",\"topic\":\"t\",\"payload\":\"{payload}\"}}\n")
        };
        std::fs::write(&path, lines.iter().map(line).collect::<String>()).unwrap();
        Recorded::new(Recording::open(&path).unwrap(), speed, &Arc::default())
    }

    pub(in super::super) fn greeting(packet_bytes_max: Option<u32>, retained: bool) -> Greeting {
        Greeting {
            session_present: false,
            receive_max: 10,
            packet_bytes_max,
            keep_alive: None,
            qos_max: 1,
            session_expiry: None,
            features: Features { retained, shared: true },
            renames: false,
            certificate_end: None,
        }
    }

    /// What is offered so many milliseconds after the start.
    fn offered(of: &mut Recorded, after: u64) -> Result<String, String> {
        match of.next(clock::now(), Duration::from_millis(after)) {
            Offer::Message(it) => Ok(String::from_utf8(it.payload.clone()).unwrap()),
            Offer::Wait(until) => Err(format!("{} ms", until.as_millis())),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn messages_are_due_as_far_apart_as_they_were_and_faster_if_that_is_asked_for() {
        // The clock of the recorder was set back.
        let lines = [(5000, "1"), (5200, "2"), (4000, "3"), (5300, "4")];
        for (speed, second, last) in [(1.0, 200, 300), (2.0, 100, 150), (0.5, 400, 600)] {
            let mut it = recorded(&lines, speed);
            assert_eq!(offered(&mut it, 0), Ok("1".into()));
            assert_eq!(offered(&mut it, second - 1), Err(format!("{second} ms")));
            assert_eq!(offered(&mut it, second), Ok("2".into()));
            assert_eq!(offered(&mut it, second), Ok("3".into()));
            assert_eq!(offered(&mut it, second), Err(format!("{last} ms")));
            assert_eq!(offered(&mut it, last), Ok("4".into()));
            assert_eq!(offered(&mut it, last), Err("Over".into()));
        }
        let mut at_once = recorded(&lines, 0.0);
        let all: Vec<_> = (0..4).map(|_| offered(&mut at_once, 0).unwrap()).collect();
        assert_eq!(all, ["1", "2", "3", "4"]);
    }

    #[test]
    fn what_the_broker_does_not_take_is_left_out_and_counted() {
        let mut it = recorded(&[(0, &"x".repeat(500)), (0, "small")], 0.0);
        it.greet(&greeting(Some(400), false));
        assert_eq!(offered(&mut it, 0), Err("Absent".into()));
        assert_eq!(offered(&mut it, 0), Ok("small".into()));
        assert!(it.said().starts_with("1 messages are larger"), "{}", it.said());
        let retained = Message {
            received: Timestamp::from_millis(0),
            topic: crate::mqtt::topic::Topic::made("t").unwrap(),
            retained: true,
            properties: Vec::new(),
            payload: Vec::new(),
        };
        let retained = Arc::new(retained);
        assert!(!it.plain(&retained).retain);
        it.greet(&greeting(None, true));
        assert!(it.plain(&retained).retain);
    }

    #[test]
    fn no_more_is_read_than_may_be_held_unacknowledged() {
        let long = "x".repeat(1_000_000);
        let mut it = recorded(&[(0, &*long); 30], 0.0);
        let mut held = Vec::new();
        let full = loop {
            match it.next(clock::now(), Duration::ZERO) {
                Offer::Message(message) => held.push(message),
                other => break other,
            }
        };
        assert!(matches!(full, Offer::Full) && held.len() == 17, "{}", held.len());
        it.took(held.remove(0));
        assert!(matches!(it.next(clock::now(), Duration::ZERO), Offer::Message(_)));
        it.refused(held.remove(0));
        assert!(matches!(it.next(clock::now(), Duration::ZERO), Offer::Message(_)));
    }
}
