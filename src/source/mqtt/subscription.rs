//! An intake's subscription: when it is asked for, what is granted, and whether anything comes of it.
//!
//! A session that is present may be without its subscription: its broker was restored from a copy, or
//! somebody ended it. Nothing says so, and it brings nothing for ever.
//!
//! - MQTT 5: it is asked for at each connect. Retain handling 1 (§3.8.3.1) has the broker send again nothing
//!   that it had retained where the subscription is still there, and replacing one loses nothing (§3.8.4).
//! - MQTT 3.1.1 sends all that is retained at each SUBSCRIBE (§3.8.4). It is asked for at the first connect of a
//!   run, because the filter may have changed, and where the session is not present; at each connect
//!   where retained messages are skipped; else when a session that is present has brought nothing for
//!   [`SILENT_KEEP_ALIVES`].
//!
//! Nothing waits for the answer: what the session brings meanwhile is taken. A broker that leaves a SUBSCRIBE
//! unanswered is given up when it has brought nothing else for as long as a step may take. Time in which
//! we do not read does not count.
//!
//! Pure: the time comes as an argument.

use std::time::{Duration, Instant};

use super::reader::Reader;
use super::settings::{Retained, Settings};
use crate::mqtt::Error;
use crate::mqtt::options::{Options, Version};
use crate::mqtt::outbound::Outbound;
use crate::mqtt::packet::Greeting;
use crate::mqtt::topic::{Filter, Group};
use crate::repeat::Repeated;

/// Keep-alives after which a resumed session of MQTT 3.1.1 without a message may have lost its subscription. The intake then
/// subscribes again, once a connection: the broker sends its retained messages again.
const SILENT_KEEP_ALIVES: u32 = 2;

/// Time after which a subscription without a message is logged, once a run.
const NEVER_HEARD_MAX: Duration = Duration::from_mins(5);

/// What is to be done about a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Give the connection up: SUBSCRIBE is not answered within this time.
    GiveUp(Duration),
    /// Ask again: the session may be without it.
    Again,
    /// Say that nothing has ever come of it.
    Say,
}

/// On which terms it is asked for.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// 0 or 1.
    qos: u8,
    retained: Retained,
    group: Option<Group>,
}

impl Terms {
    /// Those of an entry's readings.
    pub(super) fn of(settings: &Settings) -> Self {
        let (qos, retained) = (settings.qos.granted(), settings.retained);
        Self { qos, retained, group: settings.group.clone() }
    }

    /// Those of what says whether its sensors are there: each gateway has to know, and what is retained says it.
    pub(super) fn of_availability() -> Self {
        Self { qos: 1, retained: Retained::Accept, group: None }
    }
}

/// A subscription of an entry.
#[derive(Debug)]
pub(super) struct Subscription {
    /// The place of its entry in the session.
    pub(super) of: usize,
    /// What it asks for.
    pub(super) filter: Filter,
    terms: Terms,
    /// Of its SUBSCRIBE, alone in its session.
    pub(super) packet_id: u16,
    /// How long a SUBACK may take.
    answer_max: Duration,
    /// How long a session that is present may bring nothing before it is asked for again, where that costs
    /// a copy of all that is retained; else it is asked for at each connect.
    silence_max: Option<Duration>,
    /// The session of today was there when we connected; the subscription was granted in it.
    present: bool,
    granted: bool,
    /// Of the line that it was granted; `None`: it is one of many, and that is logged for debugging only.
    said: Option<Repeated>,
    /// The last `QoS` that was granted lower than asked for, and said.
    lower_said: Option<u8>,
    /// Something has come in this run, or it was said that nothing has.
    heard: bool,
    /// SUBSCRIBE is out; then this connection is given up.
    answer_by: Option<Instant>,
    /// It was not asked for on this connection; then it is.
    again_at: Option<Instant>,
    /// It was granted, and nothing has come; then it is said.
    say_at: Option<Instant>,
}

impl Subscription {
    /// The one at this place in the client's session.
    pub(super) fn new(
        place: u16,
        (of, filter): (usize, Filter),
        options: &Options,
        terms: Terms,
    ) -> Self {
        let repeats_retained = options.version == Version::V3 && terms.retained == Retained::Accept;
        let silence_max = options.keep_alive.saturating_mul(SILENT_KEEP_ALIVES);
        Self {
            of,
            filter,
            terms,
            // The next one is its UNSUBSCRIBE's. 0 is none (MQTT 5 §2.2.1).
            packet_id: 2 * place + 1,
            answer_max: options.step_max(),
            silence_max: repeats_retained.then_some(silence_max),
            present: false,
            granted: false,
            said: Some(Repeated::default()),
            lower_said: None,
            heard: false,
            answer_by: None,
            again_at: None,
            say_at: None,
        }
    }

    /// Sets whether it is one of many.
    pub(super) fn quiet(self, is_quiet: bool) -> Self {
        Self { said: self.said.filter(|_| !is_quiet), ..self }
    }

    /// Whether it was granted in the session of today: readings can come.
    pub(super) fn is_granted(&self) -> bool {
        self.granted
    }

    /// Begins a connection. Whether to ask now.
    pub(super) fn connected(&mut self, now: Instant, session_present: bool) -> bool {
        self.answer_by = None;
        self.present = session_present;
        self.granted &= session_present;
        // While there was no connection nothing could come.
        self.say_at = self.say_at.map(|_| now + NEVER_HEARD_MAX);
        self.again_at = self.silence_max.filter(|_| self.granted).map(|max| now + max);
        self.again_at.is_none()
    }

    /// An error where the broker takes no packet of our SUBSCRIBE's size: it would hang up, again and again.
    pub(super) fn fits(&self, reader: &Reader, greeting: Greeting) -> Result<(), Error> {
        let Some(most) = greeting.packet_bytes_max else { return Ok(()) };
        let mut packet = Outbound::new(reader.version);
        self.subscribe(&mut packet)?;
        let bytes = packet.backlog();
        if bytes <= most as usize {
            return Ok(());
        }
        let reason = format!(
            "it takes packets of {most} bytes, and our subscription has {bytes}: raise the broker's maximum \
             packet size"
        );
        Err(Error::Refused { reason, permanent: true })
    }

    /// Asks for it.
    pub(super) fn ask(&mut self, now: Instant, out: &mut Outbound) -> Result<(), Error> {
        if self.terms.group.is_some() && self.present && !self.granted {
            // The session may be older than the group: a plain subscription beside the shared one would
            // bring every reading twice.
            out.unsubscribe(self.packet_id + 1, &self.filter.subscription(None))?;
        }
        self.subscribe(out)?;
        self.answer_by = Some(now + self.answer_max);
        Ok(())
    }

    /// Ends it.
    pub(super) fn end(&self, out: &mut Outbound) -> Result<(), Error> {
        out.unsubscribe(self.packet_id + 1, &self.asked())
    }

    /// The filter as it stands in SUBSCRIBE.
    pub(super) fn asked(&self) -> String {
        self.filter.subscription(self.terms.group.as_ref().map(Group::as_str))
    }

    fn subscribe(&self, out: &mut Outbound) -> Result<(), Error> {
        let skips_retained = self.terms.retained == Retained::Skip;
        out.subscribe(self.packet_id, &self.asked(), self.terms.qos, skips_retained)
    }

    /// Something has come, or we have not read until now.
    pub(super) fn heard(&mut self, now: Instant, came: bool) {
        if came {
            (self.heard, self.say_at) = (true, None);
        }
        if self.answer_by.is_some() {
            self.answer_by = Some(now + self.answer_max);
        }
        if self.again_at.is_some() {
            self.again_at = self.silence_max.map(|max| now + max);
        }
    }

    /// When to look again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.answer_by, self.again_at, self.say_at].into_iter().flatten().min()
    }

    /// What is to be done now.
    pub(super) fn due(&mut self, now: Instant) -> Option<Due> {
        let over = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        if over(&mut self.answer_by) {
            return Some(Due::GiveUp(self.answer_max));
        }
        if over(&mut self.again_at) {
            return Some(Due::Again);
        }
        let says = over(&mut self.say_at);
        self.heard |= says;
        says.then_some(Due::Say)
    }

    /// The broker grants it.
    pub(super) fn granted(&mut self, now: Instant, reader: &Reader, qos: u8) {
        let again = self.grant(now);
        self.say_granted(now, reader, qos, again);
    }

    /// Notes that it is granted. Whether it already was, in the session of today.
    fn grant(&mut self, now: Instant) -> bool {
        self.answer_by = None;
        if !self.heard && self.say_at.is_none() {
            self.say_at = Some(now + NEVER_HEARD_MAX);
        }
        std::mem::replace(&mut self.granted, true)
    }

    fn say_granted(&mut self, now: Instant, reader: &Reader, qos: u8, again: bool) {
        let (entry, filter) = (&reader.name(), self.asked());
        if again {
            tracing::debug!(entry, filter, qos, "subscribed again");
        } else if self.said.is_none() {
            tracing::debug!(entry, filter, qos, "subscribed");
        } else if let Some(left_out) = self.said.as_mut().and_then(|it| it.due(now)) {
            tracing::info!(entry, filter, qos, left_out, "subscribed");
        }
        let asked = self.terms.qos;
        let lower = (qos < asked).then_some(qos);
        if lower.is_some() && lower != self.lower_said {
            tracing::warn!(
                entry,
                filter,
                asked,
                granted = qos,
                "the broker granted a lower QoS than asked for: readings that come while the gateway is \
                 away, or slow, are lost there; let it grant this account what is asked for"
            );
        }
        self.lower_said = lower;
    }
}

/// Says that nothing has ever come of a subscription.
pub(super) fn say_never_heard(entry: &str, filter: &str) {
    tracing::warn!(
        entry,
        filter,
        minutes = NEVER_HEARD_MAX.as_secs() / 60,
        "the subscription is granted, and nothing has come of it since: check that the filter is what \
         sensors publish to, letter by letter, that they publish at this broker, and that it lets this \
         account read there (some brokers grant all, and withhold)"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::mqtt::packet;
    use crate::mqtt::stepped;

    fn subscription(version: Version, retained: Retained) -> Subscription {
        let options = stepped::options(version);
        let filter = Filter::try_from("s/+".to_owned()).unwrap();
        let terms = Terms { qos: 1, retained, group: None };
        Subscription::new(0, (0, filter), &options, terms)
    }

    /// Granted at the first connect of a run, where something has come.
    fn granted(version: Version, retained: Retained) -> (Subscription, Instant) {
        let (mut it, now) = (subscription(version, retained), clock::now().instant);
        assert!(it.connected(now, true), "the filter may have changed since an earlier run");
        assert!(!it.grant(now) && it.is_granted());
        it.heard(now, true);
        assert_eq!(it.deadline(), None, "nothing to wait for");
        (it, now)
    }

    #[test]
    fn it_is_asked_for_at_each_connect_unless_that_brings_what_is_retained_again() {
        for (version, retained, asks) in [
            (Version::V5, Retained::Accept, true),
            (Version::V5, Retained::Skip, true),
            (Version::V3, Retained::Skip, true),
            (Version::V3, Retained::Accept, false),
        ] {
            let (mut it, now) = granted(version, retained);
            assert_eq!(it.connected(now, true), asks, "{version:?} {retained:?}");
            assert!(it.is_granted(), "what is there can come");
            assert!(it.connected(now, false) && !it.is_granted(), "{version:?} {retained:?}");
        }
    }

    #[test]
    fn a_session_of_3_1_1_that_is_silent_for_long_is_asked_for_again_once() {
        let (mut it, now) = granted(Version::V3, Retained::Accept);
        it.connected(now, true);
        let whole = it.silence_max.unwrap();
        let half = whole / 2;
        it.heard(now + half, true);
        assert_eq!(it.due(now + whole), None, "something has come");
        assert_eq!(it.due(now + whole + half), Some(Due::Again));
        assert_eq!((it.due(now + whole * 9), it.deadline()), (None, None));
    }

    #[test]
    fn an_answer_is_waited_for_while_other_things_come_or_we_do_not_read() {
        let (mut it, now) = granted(Version::V5, Retained::Accept);
        it.connected(now, true);
        it.answer_by = Some(now + it.answer_max);
        it.heard(now + it.answer_max / 2, false);
        assert_eq!(it.due(now + it.answer_max), None);
        assert_eq!(it.due(now + it.answer_max * 2), Some(Due::GiveUp(it.answer_max)));
    }

    #[test]
    fn a_subscription_that_never_brings_anything_is_said_once_a_run() {
        let (mut it, now) = (subscription(Version::V5, Retained::Accept), clock::now().instant);
        it.connected(now, false);
        it.grant(now);
        assert_eq!(it.due(now + NEVER_HEARD_MAX / 2), None);
        let now = now + NEVER_HEARD_MAX;
        it.connected(now, true);
        it.grant(now);
        assert_eq!(it.due(now + NEVER_HEARD_MAX / 2), None, "its time begins with the connection");
        assert_eq!(it.due(now + NEVER_HEARD_MAX), Some(Due::Say));
        it.connected(now, false);
        it.grant(now);
        assert_eq!(it.deadline(), None, "once");
        let (mut it, now) = granted(Version::V5, Retained::Accept);
        it.connected(now, false);
        it.grant(now);
        assert_eq!(it.deadline(), None, "it has brought something");
    }

    #[test]
    fn a_suback_for_more_or_fewer_filters_than_ours_is_no_grant() {
        for (bytes, version) in [
            (&[0x90, 3, 0, 1, 0][..], Version::V5),
            (&[0x90, 5, 0, 1, 0, 1, 1], Version::V5),
            (&[0x90, 2, 0, 1], Version::V3),
            (&[0x90, 4, 0, 1, 1, 1], Version::V3),
        ] {
            assert!(packet::read(bytes, version).is_err(), "{bytes:?}");
        }
    }
}
