//! The client of a command that listens: it subscribes to topics, one after the other and in time, hands over what comes,
//! and comes back when its connection is lost. What it does with that, and when it ends, is the command's ([`Hears`]).

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use crate::clock::{self, Now};
use crate::limits::{CONNECT_MAX, WRITE_BUFFER_BYTES_MAX};
use crate::mqtt::Error;
use crate::mqtt::attempt::{Attempt, Failed};
use crate::mqtt::client::{self, Client, Step};
use crate::mqtt::connection::Connection;
use crate::mqtt::frame::{Inbound, Incoming};
use crate::mqtt::options::{BrokerUrl, Options, Version};
use crate::mqtt::outbound::Outbound;
use crate::mqtt::outgoing::Hello;
use crate::mqtt::packet::{Greeting, Packet};
use crate::mqtt::publish::Publish;
use crate::mqtt::session::Session;

/// Receive Maximum.
pub(super) const WINDOW_MESSAGES: u16 = 1000;

/// What a command does with what it hears.
pub(super) trait Hears: Send {
    /// How it connects: the broker keeps nothing for it, unless it says otherwise.
    fn hello(&self, _version: Version) -> Hello {
        Hello { clean_start: true, receive_max: Some(WINDOW_MESSAGES), ..Hello::default() }
    }

    /// A connection stands; whether the broker has kept its session.
    fn connected(&mut self, _session_present: bool) {}

    /// All topics are granted, for the first time or again.
    fn hears(&mut self, now: Now, broker: &BrokerUrl, again: bool);

    /// The connection, or an attempt to make one, has failed since it heard.
    fn deaf(&mut self, _now: Instant) {}

    /// A message, which is acknowledged then.
    fn take(&mut self, publish: &Publish<'_>, now: Now);

    /// What has come was taken.
    fn tend(&mut self, now: Instant);

    /// Whether no further message is wanted.
    fn is_full(&self) -> bool {
        false
    }

    /// Whether it is to end, while it is connected.
    fn is_over(&mut self, now: Instant) -> bool;

    /// When that is to be asked again, at the latest.
    fn due(&self, now: Instant) -> Option<Instant>;

    /// Waits until it is to end, whether it is connected or not.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    fn ended(&mut self) -> impl Future<Output = ()> + Send;
}

/// The client of a command that listens.
#[derive(Debug)]
pub(super) struct Listener<H> {
    session: Session,
    topics: Topics,
    hears: H,
    has_heard: bool,
    is_stopped: bool,
}

impl<H: Hears> Listener<H> {
    /// A listener to these topics, which reads messages of so many bytes.
    pub(super) fn new(
        (client, seed): (Options, u64),
        buffer_bytes: usize,
        topics: Topics,
        hears: H,
    ) -> Self {
        let session = Session::new(client, buffer_bytes, seed);
        Self { session, topics, hears, has_heard: false, is_stopped: false }
    }

    /// Listens until its end. An error is permanent, and has the broker's address.
    pub(super) async fn listen(mut self) -> Result<H, (String, Error)> {
        match client::run(&mut self).await {
            Ok(()) => Ok(self.hears),
            Err(error) => Err((self.session.options().url.to_string(), error)),
        }
    }

    fn take(&mut self, now: Now, inbound: &mut Inbound, out: &mut Outbound) -> Result<(), Error> {
        let version = self.session.options().version;
        while !self.hears.is_full()
            && let Some(incoming) = inbound.packet()?
        {
            let publish = match incoming {
                Incoming::Publish(publish) => publish,
                Incoming::Other(bytes) => {
                    self.control(now, Connection::read(version, bytes)?, out)?;
                    continue;
                }
            };
            self.hears.take(&publish, now);
            if publish.qos > 0 {
                out.puback(publish.packet_id);
            }
        }
        Ok(())
    }

    fn control(&mut self, now: Now, packet: Packet, out: &mut Outbound) -> Result<(), Error> {
        if self.topics.answered(packet, out)? {
            self.session.proved();
            let again = std::mem::replace(&mut self.has_heard, true);
            self.hears.hears(now, &self.session.options().url, again);
        }
        Ok(())
    }

    /// Returns the pause before the next attempt. A refusal ends one that has heard nothing yet.
    fn handle_lost(&mut self, now: Instant, error: Error) -> Result<Duration, Error> {
        if error.is_permanent() && !self.has_heard {
            return Err(error);
        }
        if self.has_heard {
            self.hears.deaf(now);
        }
        Ok(self.session.lost(now, &error))
    }
}

impl<H: Hears> Client for Listener<H> {
    fn is_wanted(&mut self) -> bool {
        !self.is_stopped && !self.hears.is_full()
    }

    fn attempt(&mut self) -> Attempt {
        self.session.attempt(self.hears.hello(self.session.options().version))
    }

    fn handle_failed(&mut self, now: Now, failed: Failed) -> Result<Duration, Error> {
        match self.session.handle_failed(now.instant, failed) {
            Err(error) => self.handle_lost(now.instant, error),
            pause => pause,
        }
    }

    fn handle_connected(
        &mut self,
        now: Now,
        greeting: Greeting,
        out: &mut Outbound,
    ) -> Result<(), Error> {
        self.session.handle_connected(now.instant, &greeting);
        self.hears.connected(greeting.session_present);
        self.topics.connected(now.instant, out)
    }

    fn advance(
        &mut self,
        now: Now,
        inbound: &mut Inbound,
        out: &mut Outbound,
    ) -> Result<Step, Error> {
        self.take(now, inbound, out)?;
        let now = now.instant;
        let granted_by = self.topics.due(now)?;
        self.hears.tend(now);
        if !self.is_wanted() || self.hears.is_over(now) {
            return Ok(Step::CloseForGood);
        }
        let until = [granted_by, self.hears.due(now)].into_iter().flatten().min();
        Ok(Step::Wait { reads: out.backlog() < WRITE_BUFFER_BYTES_MAX, until })
    }

    fn handle_disconnected(
        &mut self,
        now: Now,
        ended: Result<(), Error>,
    ) -> Result<Option<Duration>, Error> {
        ended.err().map(|error| self.handle_lost(now.instant, error)).transpose()
    }

    async fn woken(&mut self) {
        self.hears.ended().await;
        self.is_stopped = true;
    }
}

/// The options of a client of a command, with an id that no other has, and the seed of its randomness; `None` where the broker is
/// inside the gateway's process.
pub(super) fn client(command: &str, of: impl FnOnce(&str) -> Options) -> Option<(Options, u64)> {
    let seed = clock::now().wall.millis() ^ u64::from(std::process::id()) << 40;
    let suffix: u32 = SmallRng::seed_from_u64(seed).random();
    let client = of(&format!("{command}-{suffix:08x}"));
    (client.url != BrokerUrl::Embedded).then_some((client, seed))
}

/// The topics of a listener.
#[derive(Debug)]
pub(super) struct Topics {
    filters: Vec<String>,
    qos: u8,
    skip_retained: bool,
    /// Those that the broker has granted on this connection.
    granted: usize,
    /// When the current connection was established.
    opened: Instant,
}

impl Topics {
    /// To be asked for with this QoS, with or without what the broker has retained.
    pub(super) fn new(filters: Vec<String>, qos: u8, skip_retained: bool, now: Instant) -> Self {
        Self { filters, qos, skip_retained, granted: 0, opened: now }
    }

    /// Begins a connection: asks for the first one.
    pub(super) fn connected(&mut self, now: Instant, out: &mut Outbound) -> Result<(), Error> {
        (self.granted, self.opened) = (0, now);
        self.ask(out)
    }

    /// Asks for the next one. One at a time, because a SUBACK is read without its packet id.
    fn ask(&self, out: &mut Outbound) -> Result<(), Error> {
        match self.filters.get(self.granted) {
            Some(filter) => out.subscribe(1, filter, self.qos, self.skip_retained),
            None => Ok(()),
        }
    }

    /// A packet that is no PUBLISH. Whether the last topic is granted by it.
    pub(super) fn answered(&mut self, packet: Packet, out: &mut Outbound) -> Result<bool, Error> {
        let Packet::SubAck { granted, .. } = packet else { return Ok(false) };
        let Some(filter) = self.filters.get(self.granted) else { return Ok(false) };
        let refused = |reason| Error::SubscriptionRefused { filter: filter.clone(), reason };
        let qos = granted.map_err(refused)?;
        if qos < self.qos {
            tracing::warn!(filter, "the broker granted QoS 0: it may drop what it should show us");
        }
        self.granted += 1;
        self.ask(out)?;
        Ok(self.granted == self.filters.len())
    }

    /// Until when all must be granted, if they are not. After it the connection is of no use.
    pub(super) fn due(&self, now: Instant) -> Result<Option<Instant>, Error> {
        let due = self.opened + CONNECT_MAX;
        match self.granted < self.filters.len() {
            false => Ok(None),
            true if now >= due => Err(Error::TimedOut(CONNECT_MAX)),
            true => Ok(Some(due)),
        }
    }
}

/// Waits for a stop, or for the end of the time, if there is one.
pub(super) async fn ended(stops: &mut mpsc::Receiver<()>, until: Option<Instant>) {
    let at = async {
        match until {
            Some(until) => sleep_until(until.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        Some(()) = stops.recv() => {}
        () = at => {}
    }
}
