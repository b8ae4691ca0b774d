//! A subscription at an MQTT broker: one sensor, or a wildcard fleet, on one connection.
//!
//! The task polls its connection and waits for nothing behind it. When the queue has no room it
//! *stops reading*: TCP and the broker's window do the rest, while pings and acknowledgements go
//! on. Acknowledgements leave in order, each when its record has settled (`mqtt::ledger`). It also
//! stops while the broker does not take its answers, each of which a broken broker can ask for.
//!
//! - The session is persistent (`clean_start = false`, a stable client id), so what is not
//!   acknowledged comes again after a cut or a restart.
//! - It subscribes until it has been answered once in this run, in case the filter has changed, and
//!   whenever the broker has lost the session.
//! - While the gateway drains it takes nothing new, but comes back after a cut for as long as there is
//!   something to acknowledge (`drain`).
//! - What this run has published itself is not taken (`own`).
//! - QoS 2 is granted as 1: a persistent session that is cut between PUBREC and PUBREL can wedge,
//!   and at-least-once is what a batch can promise anyway.

use std::pin::pin;

use bytes::BytesMut;
use tokio::time::{Instant, sleep, sleep_until};

use self::reader::Reader;
pub use self::settings::{Qos, Retained, Settings};
use super::Context;
use crate::clock;
use crate::limits::{
    ANSWERS_BYTES_MAX, CHUNK_RECORDS_MAX, GATHER_WINDOW_MIN, HOLD_MAX, WINDOW_LEAST, WINDOW_SILENCE,
};
use crate::mqtt::Error;
use crate::mqtt::connection::Connection;
use crate::mqtt::frame::Incoming;
use crate::mqtt::ledger::{Answer, Ledger};
use crate::mqtt::outgoing::{self, Hello};
use crate::mqtt::packet::Greeting;
use crate::mqtt::session::Session;
use crate::pace::Hurry;
use crate::phase::{Phase, Watch};
use crate::queue::{Inlet, Returned};
use crate::record::Chunk;
use crate::repeat::Repeated;
use crate::settlement::{Outcome, Run, SensorIndex, SourceIndex};

mod drain;
#[cfg(test)]
mod fuzz;
mod numbers;
mod own;
mod reader;
mod settings;

/// An entry's intake.
#[derive(Debug)]
pub struct Intake<E> {
    reader: Reader,
    session: Session,
    /// Of the warning that the broker has lost it.
    sessions_lost: Repeated,
    ledger: Ledger,
    /// Unacknowledged messages that the broker is taken to allow.
    window: usize,
    /// Packets may be left in the connection's buffer: the chunk was full.
    unread: bool,
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
            sessions_lost: Repeated::default(),
            ledger: Ledger::new(usize::from(window), context.acknowledgements_max),
            window: usize::from(window),
            unread: false,
            inlet: Some(inlet),
            returned,
            settled: Vec::new(),
            chunk: Chunk::default(),
            shed: Vec::new(),
            context,
        }
    }

    /// Takes messages until the gateway drains, acknowledges until nothing waits or it closes. An
    /// error is permanent.
    pub async fn run(mut self, mut phase: Watch) -> Result<(), Error> {
        let hello = Hello {
            clean_start: false,
            session_expiry: Some(SESSION_EXPIRY_SECONDS),
            receive_max: Some(u16::try_from(self.window).unwrap_or(u16::MAX)),
            // None: a broker withholds larger messages without a word; we read past them.
            packet_bytes_max: None,
        };
        let ended = loop {
            if self.is_over(&phase) {
                break Ok(());
            }
            let connected = tokio::select! {
                biased;
                () = phase.reached(self.next_phase()) => {
                    self.stop_taking();
                    continue;
                }
                connected = self.session.connect(&hello) => connected,
            };
            let (connection, greeting) = match connected {
                Ok(connected) => connected,
                Err(error) => break Err(error),
            };
            self.context.metrics.connections.one();
            let served = self.serve(connection, greeting, &mut phase).await;
            self.returned.starved(false);
            self.context.metrics.disconnections.one();
            let Err(error) = served else { break Ok(()) };
            if let Some(error) = self.session.id_in_use(&error) {
                break self.yields(error, &phase);
            }
            if self.session.outlasts(&error) {
                break Err(error);
            }
            tokio::select! {
                biased;
                () = phase.reached(self.next_phase()) => self.stop_taking(),
                () = self.session.lost(&error) => {}
            }
        };
        self.stop_taking();
        ended
    }

    /// One connection. `Ok` when there is nothing more to say.
    async fn serve(
        &mut self,
        mut connection: Connection,
        greeting: Greeting,
        phase: &mut Watch,
    ) -> Result<(), Error> {
        if self.inlet.is_none() {
            self.resume(greeting);
            self.session.usable();
            return self.see_out(connection, phase).await;
        }
        can_subscribe(&self.reader, greeting)?;
        self.begin(&mut connection, greeting)?;
        // What has settled meanwhile is in nobody's way when the broker sends on.
        self.acknowledge(&mut connection);
        // What is left from the connection before goes first, then what came with CONNACK.
        self.offer(&mut connection, phase).await?;
        self.read(&mut connection)?;
        let small = self.reader.settings.qos.granted() > 0 && self.window < GATHER_WINDOW_MIN;
        let opened = Instant::from(clock::now().instant);
        let subscribe_max = self.session.options().step_max();
        let (hold_until, subscribed_by) = (opened + HOLD_MAX, opened + subscribe_max);
        let _hurry = small.then(|| Hurry::new(&self.context.pace));
        loop {
            self.offer(&mut connection, phase).await?;
            if self.unread && !phase.is(Phase::Draining) {
                self.read(&mut connection)?;
                continue;
            }
            let has_room = connection.backlog() < ANSWERS_BYTES_MAX;
            tokio::select! {
                biased;
                () = self.returned.some() => self.acknowledge(&mut connection),
                () = phase.reached(Phase::Draining) => {
                    self.stop_taking();
                    return self.see_out(connection, phase).await;
                }
                turn = connection.turn(has_room) => {
                    turn?;
                    self.read(&mut connection)?;
                }
                () = sleep(WINDOW_SILENCE), if self.is_assumed_too_much() => {
                    self.window = self.ledger.open();
                    self.returned.starved(true);
                }
                () = sleep_until(hold_until), if self.ledger.is_holding() => {
                    self.ledger.release();
                    self.acknowledge(&mut connection);
                }
                () = sleep_until(subscribed_by), if !self.reader.subscribed => {
                    return Err(Error::NoAnswer { to: "SUBSCRIBE", within: subscribe_max });
                }
            }
        }
    }

    fn begin(&mut self, connection: &mut Connection, greeting: Greeting) -> Result<(), Error> {
        self.resume(greeting);
        if self.session.is_suspicious() && self.owns_session() {
            self.ledger.hold();
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
            if settings.group.is_some() && greeting.session_present {
                // The session may be older than the group: a plain subscription beside the shared one
                // would bring every reading twice.
                connection.unsubscribe(&settings.topic.subscription(None))?;
            }
            connection.subscribe(&filter, settings.qos.granted(), skip)?;
        }
        Ok(())
    }

    /// Whether what the broker has sent us comes again to us alone: of a group, another member may get it.
    fn owns_session(&self) -> bool {
        self.reader.settings.group.is_none()
    }

    /// Offers what has been read; while there is no room, does everything but read.
    async fn offer(&mut self, connection: &mut Connection, phase: &mut Watch) -> Result<(), Error> {
        let Some(inlet) = &self.inlet else { return Ok(()) };
        let before = self.chunk.records.len();
        if before == 0 {
            return Ok(());
        }
        let all = inlet.try_offer(&mut self.chunk, &mut self.shed);
        self.count_offered(before);
        let Some(inlet) = self.inlet.as_ref().filter(|_| !all) else { return Ok(()) };
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

    /// What the broker allows is never said: MQTT 3.1.1 has no word for it, and with MQTT 5 a broker
    /// may have a bound of its own below ours. If it is silent with a good number unacknowledged,
    /// this is what it allows; when more come, it allows more.
    fn is_assumed_too_much(&self) -> bool {
        (WINDOW_LEAST..self.window).contains(&self.ledger.open())
    }

    /// Enters what the queue took or shed of the chunk's `before` records.
    fn count_offered(&mut self, before: usize) {
        self.context.metrics.received.add((before - self.chunk.records.len()) as u64);
        if !self.shed.is_empty() {
            self.context.metrics.shed.add(self.shed.len() as u64);
            self.context.registry.shed(&self.shed);
            self.shed.clear();
        }
    }

    fn acknowledge(&mut self, connection: &mut Connection) {
        let mut acknowledging = Acknowledging {
            ledger: &mut self.ledger,
            returned: &mut self.returned,
            settled: &mut self.settled,
            window: self.window,
        };
        acknowledging.acknowledge(connection);
        self.session.open(self.ledger.open());
    }

    /// Reads all packets that have come into the chunk.
    fn read(&mut self, connection: &mut Connection) -> Result<(), Error> {
        let now = clock::now();
        let mut known = false;
        self.unread = true;
        // Messages that make no record count, too: what they wait for is acknowledged in between.
        for _ in self.chunk.records.len()..CHUNK_RECORDS_MAX {
            let Some(incoming) = connection.packet()? else {
                self.unread = false;
                break;
            };
            let publish = match incoming {
                Incoming::Publish(publish) => publish,
                Incoming::Other(bytes) => {
                    if let Some(packet_id) = self.reader.control(bytes)? {
                        connection.complete(packet_id);
                    }
                    self.session.proved();
                    continue;
                }
            };
            let metrics = &self.context.metrics;
            let entered = self.reader.enter(&mut self.ledger, &publish, metrics)?;
            self.session.proved();
            let Some(token) = entered else {
                known = true;
                continue;
            };
            let is_record = self.reader.take(&publish, token, now, &mut self.chunk);
            if !is_record && !token.is_none() {
                let run = Run { source: token.source, first: token.ordinal, count: 1 };
                self.ledger.settle(run, Outcome::Delivered);
                known = true;
            }
        }
        self.context.metrics.held_given_up.add(self.ledger.replaced());
        if let Some(missing) = self.ledger.missing() {
            if self.owns_session() {
                self.session.resumed(missing)?;
            }
            // What was held back meanwhile.
            known = true;
        }
        if self.reader.subscribed {
            self.session.usable();
        }
        if self.ledger.open() > self.window {
            // The broker allows more than was assumed.
            self.window = self.ledger.open();
        }
        self.returned.starved(self.ledger.open() >= self.window);
        self.session.open(self.ledger.open());
        if known {
            // Some may have settled already, and nothing else would say so again.
            self.acknowledge(connection);
        }
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
        self.ledger.acknowledge(|packet_id, answer| match answer {
            Answer::PubAck => connection.acknowledge(packet_id),
            Answer::PubRec => connection.receive(packet_id),
        });
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

/// An error where the broker takes no packet of our SUBSCRIBE's size: it would hang up, again and again.
fn can_subscribe(reader: &Reader, greeting: Greeting) -> Result<(), Error> {
    let Some(most) = greeting.packet_bytes_max else { return Ok(()) };
    let (filter, qos) = (reader.subscription(), reader.settings.qos.granted());
    let mut packet = BytesMut::new();
    outgoing::subscribe(&mut packet, reader.version, &filter, qos, false)?;
    if packet.len() <= most as usize {
        return Ok(());
    }
    let reason = format!(
        "it takes packets of {most} bytes, and our subscription has {}: raise the broker's maximum packet \
         size",
        packet.len()
    );
    Err(Error::Refused { reason, permanent: true })
}
