//! A subscription at an MQTT broker: one sensor, or a wildcard fleet, on one connection.
//!
//! The task polls its connection and waits for nothing behind it. When the queue has no room it
//! *stops reading*: TCP and the broker's window do the rest, while pings and acknowledgements go
//! on. Acknowledgements leave in order, each when its record has settled (`mqtt::ledger`).
//!
//! - The session is persistent (`clean_start = false`, a stable client id), so what is not
//!   acknowledged comes again after a cut or a restart.
//! - It subscribes until it has been answered once in this run, in case the filter has changed, and
//!   whenever the broker has lost the session.
//! - QoS 2 is granted as 1: a persistent session that is cut between PUBREC and PUBREL can wedge,
//!   and at-least-once is what a batch can promise anyway.

use std::pin::pin;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use self::reader::Reader;
use super::Context;
use crate::clock;
use crate::codec::Payload;
use crate::limits::{CLOSE_MAX, GATHER_WINDOW_MIN, WINDOW_SILENCE};
use crate::mqtt::Error;
use crate::mqtt::connection::Connection;
use crate::mqtt::frame::Incoming;
use crate::mqtt::ledger::Ledger;
use crate::mqtt::options::Version;
use crate::mqtt::packet::{Greeting, Hello};
use crate::mqtt::session::Session;
use crate::mqtt::topic::{Filter, Group};
use crate::pace::Hurry;
use crate::phase::{Phase, Watch};
use crate::queue::{Inlet, Returned};
use crate::record::{Chunk};
use crate::settlement::{Outcome, Run, SensorIndex, SourceIndex};

mod reader;

/// `[sensors.<name>.mqtt]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What to subscribe to.
    pub topic: Filter,
    /// 0, 1 or 2; 2 is granted as 1.
    #[serde(default)]
    pub qos: Qos,
    /// Shares the subscription with all gateways of the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// What to do with messages that the broker had retained.
    #[serde(default)]
    pub retained: Retained,
    /// How payloads are read.
    #[serde(default)]
    pub payload: Payload,
}

/// A subscription's quality of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Qos(u8);

impl Default for Qos {
    fn default() -> Self {
        Self(1)
    }
}

impl TryFrom<u8> for Qos {
    type Error = String;

    fn try_from(qos: u8) -> Result<Self, String> {
        if qos <= 2 { Ok(Self(qos)) } else { Err(format!("{qos} is no QoS: write 0, 1 or 2")) }
    }
}

impl From<Qos> for u8 {
    fn from(qos: Qos) -> Self {
        qos.0
    }
}

impl Qos {
    /// What we ask for.
    pub fn granted(self) -> u8 {
        self.0.min(1)
    }

    /// Whether more was wished than we ask for.
    pub fn is_lowered(self) -> bool {
        self.0 > 1
    }
}

/// What to do with retained messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retained {
    /// Take them, marked `"retained":true`.
    #[default]
    Accept,
    /// Leave them: acknowledge and count.
    Skip,
}

/// An entry's intake.
#[derive(Debug)]
pub struct Intake<E> {
    reader: Reader,
    session: Session,
    ledger: Ledger,
    /// Unacknowledged messages that the broker is taken to allow, and what was set.
    window: usize,
    window_set: usize,
    inlet: Option<Inlet<E>>,
    returned: Returned<E>,
    settled: Vec<(Run, Outcome)>,
    chunk: Chunk,
    shed: Vec<SensorIndex>,
    context: Context,
}

impl<E> Intake<E> {
    /// The intake of entry `name`.
    pub fn new(
        (name, settings): (&str, Settings),
        session: Session,
        window: u16,
        (source, inlet, returned): (SourceIndex, Inlet<E>, Returned<E>),
        context: Context,
    ) -> Self {
        Self {
            reader: Reader::new(name, settings, session.options().version, source, &context),
            session,
            ledger: Ledger::default(),
            window: usize::from(window),
            window_set: usize::from(window),
            inlet: Some(inlet),
            returned,
            settled: Vec::new(),
            chunk: Chunk::default(),
            shed: Vec::new(),
            context,
        }
    }

    /// Takes messages until the gateway drains, acknowledges until it closes. An error is
    /// permanent.
    pub async fn run(mut self, mut phase: Watch) -> Result<(), Error> {
        let hello = Hello {
            clean_start: false,
            session_expiry: Some(SESSION_EXPIRY_SECONDS),
            receive_max: Some(u16::try_from(self.window).unwrap_or(u16::MAX)),
            // None: a broker withholds larger messages without a word; we read past them.
            packet_bytes_max: None,
        };
        let ended = loop {
            let connected = tokio::select! {
                biased;
                () = phase.reached(Phase::Draining) => break Ok(()),
                connected = self.session.connect(&hello) => connected,
            };
            let (connection, greeting) = match connected {
                Ok(connected) => connected,
                Err(error) => break Err(error),
            };
            self.context.metrics.connections.one();
            let served = self.serve(connection, greeting, &mut phase).await;
            self.context.metrics.disconnections.one();
            match served {
                Ok(()) => break Ok(()),
                Err(error @ Error::SubscriptionRefused { .. }) if !self.reader.ever_subscribed => {
                    break Err(error);
                }
                Err(_) if phase.is(Phase::Draining) => break Ok(()),
                Err(error) => tokio::select! {
                    biased;
                    () = phase.reached(Phase::Draining) => break Ok(()),
                    () = self.session.lost(&error) => {}
                },
            }
        };
        // Taken from the connection, but never offered: the broker still has them.
        let left = self.chunk.records.len() as u64;
        self.context.metrics.received.add(left);
        self.context.metrics.abandoned.add(left);
        ended
    }

    /// One connection. `Ok` when the gateway closes.
    async fn serve(
        &mut self,
        mut connection: Connection,
        greeting: Greeting,
        phase: &mut Watch,
    ) -> Result<(), Error> {
        self.begin(&mut connection, greeting)?;
        // What came together with CONNACK.
        self.read(&mut connection)?;
        let small = self.reader.settings.qos.granted() > 0 && self.window < GATHER_WINDOW_MIN;
        let _hurry = small.then(|| Hurry::new(&self.context.pace));
        loop {
            self.offer(&mut connection, phase).await?;
            let draining = self.inlet.is_none();
            tokio::select! {
                biased;
                () = self.returned.some() => self.acknowledge(&mut connection),
                () = phase.reached(if draining { Phase::Closing } else { Phase::Draining }) => {
                    if draining {
                        break;
                    }
                    self.inlet = None;
                    self.returned.starved(false);
                }
                () = sleep(WINDOW_SILENCE), if !draining && self.is_assumed_too_much() => {
                    self.window = self.ledger.open();
                    self.returned.starved(true);
                }
                turn = connection.turn(!draining) => {
                    turn?;
                    if !draining {
                        self.read(&mut connection)?;
                    }
                }
            }
        }
        self.acknowledge(&mut connection);
        connection.close(CLOSE_MAX).await;
        Ok(())
    }

    fn begin(&mut self, connection: &mut Connection, greeting: Greeting) -> Result<(), Error> {
        let lost = self.ledger.connect(greeting.session_present);
        let (first, name) = (self.session.epoch() == 1, &self.reader.name);
        if !greeting.session_present && !first {
            self.context.metrics.sessions_lost.one();
            tracing::warn!(
                sensor = name,
                held = lost,
                "the broker has lost our session: readings it held for us may be lost there"
            );
        }
        // Until the broker has answered once: the filter may have changed since an earlier run, or a
        // cut may have come between CONNACK and SUBSCRIBE.
        if !greeting.session_present {
            self.reader.subscribed = false;
        }
        if !self.reader.subscribed {
            let settings = &self.reader.settings;
            let skip = settings.retained == Retained::Skip;
            let filter = self.reader.subscription();
            connection.subscribe(&filter, settings.qos.granted(), skip)?;
        }
        Ok(())
    }

    /// Offers what has been read; while there is no room, does everything but read.
    async fn offer(
        &mut self,
        connection: &mut Connection,
        phase: &mut Watch,
    ) -> Result<(), Error> {
        let Some(inlet) = &self.inlet else { return Ok(()) };
        let before = self.chunk.records.len();
        if before == 0 {
            return Ok(());
        }
        let all = inlet.try_offer(&mut self.chunk, &mut self.shed);
        self.context.metrics.received.add((before - self.chunk.records.len()) as u64);
        if !self.shed.is_empty() {
            self.context.metrics.shed.add(self.shed.len() as u64);
            self.context.registry.shed(&self.shed);
            self.shed.clear();
        }
        if all {
            return Ok(());
        }
        let waiting = self.chunk.records.len();
        let ended = wait_for_room(
            inlet,
            &mut self.chunk,
            (connection, phase),
            Acknowledging {
                ledger: &mut self.ledger,
                returned: &mut self.returned,
                settled: &mut self.settled,
                window: self.window,
            },
        );
        let ended = ended.await;
        self.context.metrics.received.add((waiting - self.chunk.records.len()) as u64);
        ended
    }

    /// MQTT 3.1.1 does not say what the broker allows. It once sent more than was set; if now it is
    /// silent with no less than that unacknowledged, this is what it allows.
    fn is_assumed_too_much(&self) -> bool {
        (self.window_set..self.window).contains(&self.ledger.open())
    }

    fn acknowledge(&mut self, connection: &mut Connection) {
        let mut acknowledging = Acknowledging {
            ledger: &mut self.ledger,
            returned: &mut self.returned,
            settled: &mut self.settled,
            window: self.window,
        };
        acknowledging.acknowledge(connection);
    }

    /// Reads all packets that have come into the chunk.
    fn read(&mut self, connection: &mut Connection) -> Result<(), Error> {
        let now = clock::now().wall;
        let mut skipped = false;
        while let Some(incoming) = connection.packet()? {
            let publish = match incoming {
                Incoming::Publish(publish) => publish,
                Incoming::Other(bytes) => {
                    self.reader.control(bytes)?;
                    continue;
                }
            };
            let metrics = &self.context.metrics;
            let entered = self.reader.enter(&mut self.ledger, &publish, metrics)?;
            let Some(token) = entered else { continue };
            if publish.retain && self.reader.settings.retained == Retained::Skip {
                self.context.metrics.retained_skipped.one();
                let run = Run { source: token.source, first: token.ordinal, count: 1 };
                if !token.is_none() {
                    self.ledger.settle(run, Outcome::Delivered);
                    skipped = true;
                }
                continue;
            }
            self.reader.take(&publish, token, now, &mut self.chunk);
        }
        if self.ledger.open() > self.window && self.reader.version == Version::V3 {
            // The broker allows more than was assumed.
            self.window = self.ledger.open();
        }
        self.returned.starved(self.ledger.open() >= self.window);
        if skipped {
            self.acknowledge(connection);
        }
        self.session.proved();
        Ok(())
    }
}

/// How long the broker keeps our session after a connection has ended, in seconds: a day.
pub const SESSION_EXPIRY_SECONDS: u32 = 86_400;

/// What acknowledging needs while the chunk is lent to the queue.
struct Acknowledging<'a, E> {
    ledger: &'a mut Ledger,
    returned: &'a mut Returned<E>,
    settled: &'a mut Vec<(Run, Outcome)>,
    window: usize,
}

impl<E> Acknowledging<'_, E> {
    fn acknowledge(&mut self, connection: &mut Connection) {
        self.returned.take(self.settled);
        for (run, outcome) in self.settled.drain(..) {
            self.ledger.settle(run, outcome);
        }
        self.ledger.acknowledge(|packet_id| connection.acknowledge(packet_id));
        self.returned.starved(self.ledger.open() >= self.window);
    }
}

async fn wait_for_room<E>(
    inlet: &Inlet<E>,
    chunk: &mut Chunk,
    (connection, phase): (&mut Connection, &mut Watch),
    mut acknowledging: Acknowledging<'_, E>,
) -> Result<(), Error> {
    let mut offer = pin!(inlet.offer(chunk));
    loop {
        tokio::select! {
            biased;
            () = &mut offer => return Ok(()),
            // The worker is gone: there will be no room.
            () = phase.reached(Phase::Closing) => return Ok(()),
            () = acknowledging.returned.some() => acknowledging.acknowledge(connection),
            turn = connection.turn(false) => { turn?; }
        }
    }
}
