//! What an earlier run has told of sensors, read back at the start: so a sensor that does not come back after a restart is
//! told to be silent, as any other one.
//!
//! - The client subscribes to its own notices on the first connection of a run, with QoS 0, each place of the topic as `+`.
//!   Of a sensor that was not heard in this run the registry takes up what the retained notice says
//!   ([`crate::state::registry::Registry::recall`]). The notice of a sensor that no entry has any more is taken back.
//! - It is over when for [`QUIET`] nothing retained has come, or after [`TIME_MAX`]. Then the client unsubscribes. Until the
//!   broker has confirmed that, each connection begins with a session that is new, so no session keeps the subscription.
//! - A broker that refuses the subscription, or ends the connection over it, is asked once in a run; one that ends the
//!   connection later, [`TRIES_MAX`] times. Then one warning says what is missing. Notices go out all the same.
//! - Some brokers grant the subscription and send nothing of what may not be read. That shows where they send no copy of
//!   a notice that they have just taken.
//! - Memory: a notice is read in place, in the read buffer of the connection, and nothing is kept but the rows. With QoS 0
//!   the rest waits in TCP, at the broker. What is larger than the buffer is not sent to us with MQTT 5 (Maximum Packet
//!   Size), and read past with 3.1.1.
//! - Whoever may publish there can have rows made of sensors that there are not: of entries that there are, no more than
//!   `gateway.sensors_max` leaves, each silent once. The books do not change.

use std::time::{Duration, Instant};

use super::about::{About, OfSensor};
use crate::clock::Timestamp;
use crate::limits::SENSOR_ID_BYTES_MAX;
use crate::mqtt::Error;
use crate::mqtt::options::BrokerUrl;
use crate::mqtt::outbound::Outbound;
use crate::mqtt::publish::Publish;
use crate::mqtt::topic::Topic;
use crate::mqtt::topic_pattern::TopicPattern;
use crate::state::presence::Presence;
use crate::state::registry::{Before, Recalled};
use crate::text;

/// When nothing retained has come for so long, all of it has.
pub(super) const QUIET: Duration = Duration::from_secs(2);

/// So long it is read at most. What comes later is left.
pub(super) const TIME_MAX: Duration = Duration::from_mins(1);

/// Connections on which it is begun, at most, in a run.
pub(super) const TRIES_MAX: u32 = 3;

/// Reads notices back.
#[derive(Debug)]
pub(super) struct Recall {
    broker: BrokerUrl,
    /// What it subscribes to.
    filter: String,
    step: Step,
    tries: u32,
    found: Found,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The next connection begins it.
    Due,
    /// SUBSCRIBE was sent, and maybe granted.
    Reads(Reads),
    /// UNSUBSCRIBE was sent, with this packet id.
    Leaves(u16),
    /// A connection has ended with the subscription: the next session is a new one.
    Left,
    Over,
}

/// What has come on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reads {
    since: Instant,
    /// When the subscription was granted.
    granted: Option<Instant>,
    /// When something retained came last.
    last: Option<Instant>,
    /// When the broker took the first notice of a sensor.
    told: Option<Instant>,
    /// Anything has come that we subscribed to: we may read it.
    has_read: bool,
}

/// What became of the notices.
#[derive(Debug, Default)]
struct Found {
    taken_up: u64,
    silent: u64,
    taken_back: u64,
    without_row: u64,
}

impl Reads {
    fn new(now: Instant) -> Self {
        Self { since: now, granted: None, last: None, told: None, has_read: false }
    }

    /// When it ends.
    fn until(&self) -> Instant {
        let told = self.told.filter(|_| !self.has_read);
        let quiet = self.granted.map(|granted| {
            [self.last, told].into_iter().flatten().fold(granted, Instant::max) + QUIET
        });
        let longest = self.since + TIME_MAX;
        quiet.map_or(longest, |quiet| quiet.min(longest))
    }
}

impl Recall {
    /// At this broker, where there are notices of sensors.
    pub(super) fn new(broker: &BrokerUrl, topic: Option<&TopicPattern>) -> Self {
        Self {
            broker: broker.clone(),
            filter: topic.map(TopicPattern::open).unwrap_or_default(),
            step: if topic.is_some() { Step::Due } else { Step::Over },
            tries: 0,
            found: Found::default(),
        }
    }

    /// Whether no session may have the subscription.
    pub(super) fn is_over(&self) -> bool {
        self.step == Step::Over
    }

    /// A connection stands, with a new session where it is not over: subscribes, if it is due.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        packet_id: u16,
        out: &mut Outbound,
    ) -> Result<(), Error> {
        match self.step {
            Step::Due => {
                self.step = Step::Reads(Reads::new(now));
                self.tries += 1;
                return out.subscribe(packet_id, &self.filter, 0, false);
            }
            Step::Left => self.step = Step::Over,
            Step::Reads(_) | Step::Leaves(_) | Step::Over => {}
        }
        Ok(())
    }

    /// The subscription was granted, or refused.
    pub(super) fn answered(&mut self, now: Instant, granted: Result<u8, String>) {
        let Step::Reads(reads) = &mut self.step else { return };
        match granted {
            Ok(_) => reads.granted = Some(now),
            Err(reason) => {
                self.step = Step::Over;
                self.say_forbidden(&reason);
            }
        }
    }

    /// The broker has taken a notice of a sensor.
    pub(super) fn told(&mut self, now: Instant) {
        if let Step::Reads(reads) = &mut self.step {
            reads.told = reads.told.or(Some(now));
        }
    }

    /// The subscription has ended.
    pub(super) fn unsubscribed(&mut self, packet_id: u16) {
        if self.step == Step::Leaves(packet_id) {
            self.step = Step::Over;
        }
    }

    /// A message has come. Returns its topic where it is a notice to be taken back.
    pub(super) fn take(
        &mut self,
        now: Instant,
        about: &About,
        message: &Publish<'_>,
    ) -> Option<Topic> {
        let Step::Reads(reads) = &mut self.step else { return None };
        reads.has_read = true;
        if !message.retain {
            return None;
        }
        reads.last = Some(now);
        let Some((topic, notice, before)) = read(about, message) else {
            let topic = String::from_utf8_lossy(message.topic);
            let topic = text::shown(&topic);
            tracing::debug!(%topic, "a retained message that is no notice of ours is left alone");
            return None;
        };
        match about.registry.recall(&notice.entry, &notice.sensor_id, &before) {
            Recalled::TakenUp => {
                self.found.taken_up += 1;
                self.found.silent += u64::from(before.presence == Presence::Silent);
            }
            Recalled::NoRow => self.found.without_row += 1,
            Recalled::OfNone if !is_anothers(about, &notice) => {
                self.found.taken_back += 1;
                return Some(topic);
            }
            Recalled::OfNone | Recalled::Heard => {}
        }
        None
    }

    /// Ends it when it is time; until when to wait for that.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        spare_id: impl FnOnce() -> u16,
        out: &mut Outbound,
    ) -> Result<Option<Instant>, Error> {
        let Step::Reads(reads) = self.step else { return Ok(None) };
        let until = reads.until();
        if until > now {
            return Ok(Some(until));
        }
        self.say(&reads);
        let packet_id = spare_id();
        self.step = Step::Leaves(packet_id);
        out.unsubscribe(packet_id, &self.filter)?;
        Ok(None)
    }

    /// The connection has ended with this error.
    pub(super) fn cut(&mut self, error: &Error) {
        match self.step {
            Step::Reads(Reads { granted: Some(_), .. }) if self.tries < TRIES_MAX => {
                self.step = Step::Due;
            }
            Step::Reads(_) => {
                self.step = Step::Left;
                self.say_forbidden(&error.to_string());
            }
            Step::Leaves(_) => self.step = Step::Left,
            Step::Due | Step::Left | Step::Over => {}
        }
    }

    fn say(&self, reads: &Reads) {
        if reads.granted.is_none() {
            return self.say_forbidden("no answer to SUBSCRIBE");
        }
        if !reads.has_read && reads.told.is_some() {
            return self.say_forbidden("the broker sends nothing of what it takes there");
        }
        let broker = &self.broker;
        let Found { taken_up: sensors, silent, taken_back, without_row } = self.found;
        if sensors + taken_back + without_row > 0 {
            let text = "an earlier run has told of these sensors (status): they are watched";
            tracing::info!(%broker, sensors, silent, taken_back, "{text}");
        }
        if without_row > 0 {
            tracing::warn!(
                %broker,
                sensors = without_row,
                "no row is left for sensors of which an earlier run has told (status): those that do not come back \
                 stay unknown; raise gateway.sensors_max"
            );
        }
        if reads.since + TIME_MAX <= reads.until() {
            tracing::warn!(
                %broker,
                "not all notices of an earlier run (status) came within {TIME_MAX:?}: sensors of which none has \
                 come, and that do not come back, stay unknown"
            );
        }
    }

    fn say_forbidden(&self, reason: &str) {
        tracing::warn!(
            broker = %self.broker,
            topic = self.filter,
            "the gateway cannot read its own notices (status) back: {reason}; sensors that do not come back after \
             this start stay unknown; let the gateway's user subscribe to this topic and read it"
        );
    }
}

/// A notice of ours, its topic, and what it says.
fn read<'a>(about: &About, message: &Publish<'a>) -> Option<(Topic, OfSensor<'a>, Before)> {
    let whole = message.cut.is_none().then_some(message.payload)?;
    let notice: OfSensor<'a> = serde_json::from_slice(whole).ok()?;
    let is_id = (1..=SENSOR_ID_BYTES_MAX).contains(&notice.sensor_id.len());
    if !is_id || *notice.gateway != *about.gateway {
        return None;
    }
    let topic = about.topic_of(&notice.entry, &notice.sensor_id)?;
    let is_its_own = topic.as_str().as_bytes() == message.topic;
    let interval = notice.interval_seconds.and_then(|it| Duration::try_from_secs_f64(it).ok());
    let before = Before {
        presence: notice.state,
        since: notice.since.as_deref().and_then(Timestamp::parse)?,
        last_received: notice.last_received_at.as_deref().and_then(Timestamp::parse),
        interval: interval.map(in_millis),
    };
    is_its_own.then_some((topic, notice, before))
}

/// A time as it was before it became a number with a point: else it would be longer at each start.
fn in_millis(time: Duration) -> Duration {
    let millis = time.saturating_add(Duration::from_micros(500)).as_millis();
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// Whether its topic is that of a sensor that another entry has: where the topic does not name the entry.
fn is_anothers(about: &About, notice: &OfSensor<'_>) -> bool {
    let names = about.settings.topic.as_ref().is_some_and(|it| it.pattern().has_entry());
    let has = |entry: &String| about.registry.row(entry, &notice.sensor_id).is_some();
    !names && about.registry.entries().iter().any(has)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_read_as_it_was_written() {
        for millis in [1, 1070, 999_999, 20_000_000_123, 31_000_000_007] {
            let interval = Duration::from_millis(millis);
            let written = interval.as_secs_f64().to_string().parse().unwrap();
            let read = Duration::try_from_secs_f64(written).unwrap();
            assert_eq!(in_millis(read), interval);
        }
        assert!(in_millis(Duration::MAX) >= Duration::from_hours(1_000_000));
    }
}
