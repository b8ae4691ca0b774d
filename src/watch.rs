//! Reads the count of dropped messages of the readings' broker, and logs when it grows.
//!
//! No gateway sees a message that a broker drops because its limits are reached; the broker has acknowledged it
//! to the sensor. This is a client of its own, with a session that ends with its connection, so it cannot
//! disturb an intake. Nothing depends on it:
//!
//! - If a broker refuses it, or closes when it subscribes, it tries `WATCH_REFUSALS_MAX` times. Then it stops
//!   until the next start, with one debug line. Once its subscription was granted it tries again for ever, at
//!   growing pauses (`WATCH_PAUSE`), and does not log that the broker is away: the intakes do.
//! - A broker without such a counter grants the subscription and sends nothing.
//!
//! The count is for all clients of the broker: a growth is a *possible* loss. Counting begins at the first
//! value. But a first value without RETAIN was published because it has just changed: at least one message was
//! dropped. A value below the last one means that the broker was restarted: counting begins there. Messages
//! dropped between such a restart and its first value are not noticed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::clock::Now;
use crate::limits::REPEATED_WARNING_PAUSE;
use crate::mqtt::Error;
use crate::mqtt::attempt::{Attempt, Failed};
use crate::mqtt::client::{self, Client, Step};
use crate::mqtt::connection::Connection;
use crate::mqtt::frame::{Inbound, Incoming};
use crate::mqtt::look_up::LookUps;
use crate::mqtt::options::Options;
use crate::mqtt::outbound::Outbound;
use crate::mqtt::outgoing::Hello;
use crate::mqtt::packet::{Greeting, Packet};
use crate::mqtt::publish::Publish;
use crate::mqtt::roll_call::RollCall;
use crate::mqtt::system::{DROPPED, QUEUE_ROOM};
use crate::phase::{Phase, PhaseReceiver};
use crate::repeat::Repeated;
use crate::state::metrics::Metrics;
use rand::SeedableRng;
use rand::rngs::SmallRng;

/// First and longest pause before the client connects again: nothing waits for it.
const WATCH_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// Refusals (of the connection, the login or the subscription) after which a client that was never granted its
/// subscription gives up until the next start.
const WATCH_REFUSALS_MAX: u32 = 3;

/// Bytes of its read buffer. A larger message is read past.
const BUFFER_BYTES: usize = 8 * 1024;

/// Bytes that the client holds, at most, beside what lies below MQTT.
pub const BYTES: u64 = 4 * BUFFER_BYTES as u64;

const HELLO: Hello = Hello {
    clean_start: true,
    session_expiry: None,
    receive_max: None,
    packet_bytes_max: None,
    will: None,
};

#[derive(Debug)]
pub struct Watcher {
    options: Options,
    look_ups: LookUps,
    roll_call: Option<Arc<RollCall>>,
    metrics: Arc<Metrics>,
    phase: PhaseReceiver,
    backoff: Backoff,
    rng: SmallRng,
    refusals: u32,
    /// Since when the current connection is established.
    since: Option<Instant>,
    /// The subscription is granted: on the current connection; on any.
    granted: bool,
    ever_granted: bool,
    count: DropCount,
    /// Dropped messages that are not yet logged.
    unsaid: u64,
    said: Repeated,
    /// When to look for more that is not logged.
    say_at: Option<Instant>,
}

impl Watcher {
    /// A client with these options. It connects only where the broker keeps our own clients apart.
    pub fn new(
        options: Options,
        roll_call: Option<Arc<RollCall>>,
        metrics: Arc<Metrics>,
        phase: PhaseReceiver,
        seed: u64,
    ) -> Self {
        let (first, longest) = WATCH_PAUSE;
        Self {
            options,
            look_ups: LookUps::default(),
            roll_call,
            metrics,
            phase,
            backoff: Backoff::new(first, longest),
            rng: SmallRng::seed_from_u64(seed),
            refusals: 0,
            since: None,
            granted: false,
            ever_granted: false,
            count: DropCount::default(),
            unsaid: 0,
            said: Repeated::default(),
            say_at: None,
        }
    }

    /// Decides from the end of a connection, or of an attempt, whether and when to connect again.
    fn judge(&mut self, now: Instant, stood: bool, error: Error) -> Result<Duration, Error> {
        let since = self.since.take().unwrap_or(now);
        let lasted = now.saturating_duration_since(since);
        if std::mem::take(&mut self.granted) && lasted >= WATCH_PAUSE.1 {
            self.backoff.reset();
        }
        if !self.ever_granted && (stood || matches!(error, Error::Refused { .. })) {
            self.refusals += 1;
        }
        if self.refusals >= WATCH_REFUSALS_MAX || error.is_about_ids() {
            return Err(error);
        }
        Ok(self.backoff.pause(&mut self.rng))
    }

    /// Watches until the gateway drains, or until the broker has refused it too often.
    pub async fn run(mut self) {
        if let Err(error) = client::run(&mut self).await {
            let client = self.options.client_id;
            tracing::debug!(client, %error, "stopped reading the count of dropped messages");
        }
    }

    fn read(&mut self, now: Instant, inbound: &mut Inbound) -> Result<(), Error> {
        while let Some(incoming) = inbound.packet()? {
            match incoming {
                Incoming::Publish(publish) => self.take(now, &publish),
                Incoming::Other(bytes) => match Connection::read(self.options.version, bytes)? {
                    Packet::SubAck { granted: Ok(_), .. } => {
                        (self.granted, self.ever_granted) = (true, true);
                    }
                    Packet::SubAck { granted: Err(reason), .. } => {
                        let filter = DROPPED.to_owned();
                        return Err(Error::SubscriptionRefused { filter, reason });
                    }
                    _ => {}
                },
            }
        }
        Ok(())
    }

    fn take(&mut self, now: Instant, publish: &Publish<'_>) {
        let value = std::str::from_utf8(publish.payload).ok().and_then(|text| text.parse().ok());
        let Some(value) = value.filter(|_| publish.topic == DROPPED.as_bytes()) else { return };
        let grown = self.count.read(value, publish.retain);
        tracing::debug!(total = value, grown, "the broker's count of dropped messages");
        if grown > 0 {
            self.metrics.broker_dropped.add(grown);
            self.unsaid += grown;
            self.say(now);
        }
    }

    fn say(&mut self, now: Instant) {
        // How many warnings were left out is not logged: `dropped` counts their messages.
        if self.said.due(now).is_none() {
            return;
        }
        self.say_at = Some(now + REPEATED_WARNING_PAUSE);
        tracing::warn!(
            broker = %self.options.url,
            dropped = std::mem::take(&mut self.unsaid),
            total = self.count.last,
            "possible loss outside the gateway: the broker has dropped messages of its clients, because its \
             limits were reached; for Mosquitto use those of config/mosquitto.conf ({QUEUE_ROOM}), and \
             run `sluicegate doctor`"
        );
    }
}

impl Client for Watcher {
    fn is_wanted(&mut self) -> bool {
        !self.phase.is(Phase::Draining)
    }

    /// Connects only if the broker keeps our clients apart: the clean start could remove the session of an
    /// intake.
    fn attempt(&mut self) -> Attempt {
        Attempt {
            options: self.options.clone(),
            hello: HELLO,
            ahead: BUFFER_BYTES.into(),
            look_ups: std::mem::take(&mut self.look_ups),
            roll_call: self.roll_call.clone(),
            is_needed: false,
        }
    }

    fn handle_failed(&mut self, now: Now, failed: Failed) -> Result<Duration, Error> {
        self.look_ups = failed.look_ups;
        self.judge(now.instant, false, failed.error)
    }

    fn handle_connected(
        &mut self,
        now: Now,
        _greeting: Greeting,
        out: &mut Outbound,
    ) -> Result<(), Error> {
        self.since = Some(now.instant);
        out.subscribe(1, DROPPED, 0, false)
    }

    fn advance(
        &mut self,
        now: Now,
        inbound: &mut Inbound,
        _out: &mut Outbound,
    ) -> Result<Step, Error> {
        if self.phase.is(Phase::Draining) {
            return Ok(Step::Close);
        }
        self.read(now.instant, inbound)?;
        let within = self.options.step_max();
        let answer_by = self.since.filter(|_| !self.granted).map(|since| since + within);
        if answer_by.is_some_and(|at| at <= now.instant) {
            return Err(Error::NoAnswer { to: "SUBSCRIBE", within });
        }
        if self.say_at.take_if(|at| *at <= now.instant).is_some() && self.unsaid > 0 {
            self.say(now.instant);
        }
        let until = [answer_by, self.say_at].into_iter().flatten().min();
        Ok(Step::Wait { reads: true, until })
    }

    fn handle_disconnected(
        &mut self,
        now: Now,
        ended: Result<(), Error>,
    ) -> Result<Option<Duration>, Error> {
        let Err(error) = ended else { return Ok(None) };
        self.judge(now.instant, true, error).map(Some)
    }

    async fn woken(&mut self) {
        self.phase.reached(Phase::Draining).await;
    }
}

/// Follows the broker's count.
#[derive(Debug, Default)]
struct DropCount {
    last: Option<u64>,
}

impl DropCount {
    /// How many messages were dropped since the last value, at least.
    fn read(&mut self, value: u64, retained: bool) -> u64 {
        match self.last.replace(value) {
            Some(last) => value.saturating_sub(last),
            None => u64::from(!retained && value > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::mqtt::options::{BrokerUrl, Tls, Version};
    use crate::phase;
    use std::time::Duration;

    /// The sum of growths over these values. The first is retained if `retained`.
    fn grown(retained: bool, values: &[u64]) -> u64 {
        let mut count = DropCount::default();
        let read = |(at, value): (usize, &u64)| count.read(*value, retained && at == 0);
        values.iter().enumerate().map(read).sum()
    }

    #[test]
    fn only_growth_between_two_values_is_loss() {
        for (values, expected) in [
            (&[0, 0, 0][..], 0),
            (&[0, 70], 70),
            (&[1000, 1000, 1003, 1010], 10),
            // The broker was restarted.
            (&[1000, 0, 0], 0),
            (&[1000, 0, 5], 5),
            (&[1000, 7, 9], 2),
        ] {
            assert_eq!(grown(true, values), expected, "{values:?}");
        }
    }

    #[test]
    fn a_first_value_that_is_news_says_that_something_was_dropped() {
        assert_eq!(grown(false, &[300, 305]), 1 + 5);
        assert_eq!(grown(false, &[0, 5]), 5, "a broker that has just started");
    }

    #[test]
    fn refusals_end_it_and_a_broker_that_is_away_does_not() {
        let url = BrokerUrl::try_from("mqtt://localhost".to_owned()).unwrap();
        let options = Options {
            url,
            version: Version::V5,
            client_id: "gw-watch".into(),
            username: None,
            password_file: None,
            keep_alive: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(30),
            session_expiry: Duration::ZERO,
            tls: Tls::default(),
        };
        let (_lead, phase) = phase::start();
        let mut watcher = Watcher::new(options, None, Arc::default(), phase, 1);
        let now = clock::now().instant;
        let refused = || Error::Refused { reason: String::new(), permanent: false };
        for _ in 0..10 {
            assert!(watcher.judge(now, false, Error::TimedOut(Duration::ZERO)).is_ok(), "away");
        }
        assert!(watcher.judge(now, true, Error::Closed).is_ok(), "hung up when it subscribed");
        assert!(watcher.judge(now, false, refused()).is_ok());
        assert_eq!(watcher.refusals, 2);
        (watcher.granted, watcher.ever_granted) = (true, true);
        for _ in 0..10 {
            assert!(watcher.judge(now, true, Error::Closed).is_ok(), "granted in between");
        }
        watcher.ever_granted = false;
        assert!(watcher.judge(now, false, refused()).is_err(), "the third one");
    }
}
