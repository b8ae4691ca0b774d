//! A subscription at an MQTT broker: one sensor, or a wildcard fleet, on one connection.
//!
//! The task polls its connection and waits for nothing behind it. When the queue has no room it
//! *stops reading*: TCP and the broker's window do the rest, while pings and acknowledgements go
//! on. Acknowledgements leave in order, each when its record has settled (`mqtt::ledger`). It also
//! stops while the broker does not take its answers, each of which a broken broker can ask for.
//!
//! - The session is persistent (`clean_start = false`, a stable client id), so what is not
//!   acknowledged comes again after a cut or a restart.
//! - It subscribes at each connect, or where that has a price, when it must (`subscription`).
//! - While the gateway drains it takes nothing new, but comes back after a cut for as long as there is
//!   something to acknowledge (`drain`).
//! - What this run has published itself is not taken (`own`).
//! - QoS 2 is granted as 1: a persistent session that is cut between PUBREC and PUBREL can wedge,
//!   and at-least-once is what a batch can promise anyway.

use std::pin::pin;

use bytes::BytesMut;
use tokio::time::{Instant, sleep, sleep_until};

pub(super) use self::entry::start;
pub use self::entry::{Bounds, Broker};
use self::reader::Reader;
pub use self::settings::{Qos, Retained, Settings};
use self::subscription::{Due, Subscription};
use super::Context;
use crate::clock;
use crate::limits::{ANSWERS_BYTES_MAX, GATHER_WINDOW_MIN, HOLD_MAX, WINDOW_LEAST, WINDOW_SILENCE};
use crate::mqtt::Error;
use crate::mqtt::connection::Connection;
use crate::mqtt::frame::Incoming;
use crate::mqtt::ledger::{Answer, Ledger};
use crate::mqtt::outgoing::{self, Hello};
use crate::mqtt::packet::Greeting;
use crate::mqtt::session::Session;
use crate::pace::NoRest;
use crate::phase::{Phase, Watch};
use crate::queue::{Inlet, Queue, Returned};
use crate::record::Chunk;
use crate::repeat::Repeated;
use crate::settlement::{Outcome, Run, SensorIndex};

mod drain;
mod entry;
#[cfg(test)]
mod fuzz;
mod own;
mod reader;
mod settings;
mod subscription;

/// An entry's intake.
#[derive(Debug)]
pub struct Intake {
    reader: Reader,
    subscription: Subscription,
    session: Session,
    /// Of the warning that the broker has lost it.
    sessions_lost: Repeated,
    ledger: Ledger,
    /// Unacknowledged messages that the broker is taken to allow.
    window: usize,
    chunk_records_max: usize,
    /// Packets may be left in the connection's buffer: the chunk was full.
    unread: bool,
    inlet: Option<Inlet>,
    returned: Returned,
    settled: Vec<(Run, Outcome)>,
    chunk: Chunk,
    shed: Vec<SensorIndex>,
    context: Context,
}

impl Intake {
    /// The intake of entry `name`.
    pub fn new(
        name: &str,
        settings: Settings,
        session: Session,
        bounds: Bounds,
        queue: &Queue,
        context: Context,
    ) -> Self {
        let (version, window) = (session.options().version, usize::from(bounds.window));
        Self {
            subscription: Subscription::new(session.options(), settings.retained),
            reader: Reader::new(name, settings, version, bounds.remembered_max, &context),
            session,
            sessions_lost: Repeated::default(),
            ledger: Ledger::new(window, bounds.acknowledgements_max),
            window,
            chunk_records_max: bounds.chunk_records_max,
            unread: false,
            inlet: Some(queue.inlet()),
            returned: queue.returned(context.source()),
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
            session_expiry: Some(self.session.options().session_expiry_seconds()),
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
        let hold_until = Instant::from(clock::now().instant) + HOLD_MAX;
        let mut alarm = pin!(sleep_until(hold_until));
        let _no_rest = small.then(|| NoRest::new(&self.context.pace));
        loop {
            self.offer(&mut connection, phase).await?;
            if self.unread && !phase.is(Phase::Draining) {
                self.read(&mut connection)?;
                continue;
            }
            let has_room = connection.backlog() < ANSWERS_BYTES_MAX;
            let deadline = self.subscription.deadline().map(Instant::from);
            if let Some(at) = deadline.filter(|at| *at < alarm.deadline()) {
                alarm.as_mut().reset(at);
            }
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
                () = alarm.as_mut(), if has_room && deadline.is_some() => {
                    self.attend(&mut connection)?;
                    if let Some(next) = self.subscription.deadline() {
                        alarm.as_mut().reset(next.into());
                    }
                }
            }
        }
    }

    fn begin(&mut self, connection: &mut Connection, greeting: Greeting) -> Result<(), Error> {
        self.resume(greeting);
        if self.session.is_suspicious() && self.owns_session() {
            self.ledger.hold();
        }
        let now = clock::now().instant;
        if self.subscription.connected(now, greeting.session_present) {
            self.subscription.ask(now, &self.reader, connection)?;
        }
        Ok(())
    }

    /// Does what is due about the subscription.
    fn attend(&mut self, connection: &mut Connection) -> Result<(), Error> {
        let now = clock::now().instant;
        match self.subscription.due(now) {
            None => {}
            Some(Due::GiveUp) => {
                let within = self.session.options().step_max();
                return Err(Error::NoAnswer { to: "SUBSCRIBE", within });
            }
            Some(Due::Again) => {
                tracing::info!(
                    entry = self.reader.name(),
                    "the resumed session has been silent for long: subscribing again, in case the broker \
                     has lost the subscription; what it had retained comes again"
                );
                self.subscription.ask(now, &self.reader, connection)?;
            }
            Some(Due::Say) => subscription::say_never_heard(&self.reader),
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
        // Its answers may have come meanwhile.
        self.subscription.heard(clock::now().instant, false);
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
        self.context.shed(&mut self.shed);
    }

    fn acknowledge(&mut self, connection: &mut Connection) {
        let mut acknowledging = Acknowledging {
            ledger: &mut self.ledger,
            returned: &mut self.returned,
            settled: &mut self.settled,
            window: self.window,
        };
        acknowledging.acknowledge(connection);
        self.session.set_unacknowledged(self.ledger.open());
    }

    /// Reads all packets that have come into the chunk.
    fn read(&mut self, connection: &mut Connection) -> Result<(), Error> {
        let now = clock::now();
        let (mut known, mut came, mut messages) = (false, false, 0);
        self.unread = true;
        // Messages that make no record count, too: what they wait for is acknowledged in between.
        let mut left = self.chunk_records_max.saturating_sub(self.chunk.records.len());
        while left > 0 {
            left -= 1;
            let Some(incoming) = connection.packet()? else {
                self.unread = false;
                break;
            };
            let publish = match incoming {
                Incoming::Publish(publish) => publish,
                Incoming::Other(bytes) => {
                    let answers = self.subscription.control(now.instant, &self.reader, bytes)?;
                    if let Some(packet_id) = answers {
                        connection.pubcomp(packet_id);
                    }
                    self.session.proved();
                    continue;
                }
            };
            came = true;
            let metrics = &self.context.metrics;
            let entered = self.reader.enter(&mut self.ledger, &publish, metrics)?;
            self.session.proved();
            let Some(token) = entered else {
                known = true;
                continue;
            };
            messages += 1;
            let readings = self.reader.take(&publish, token, now, &mut self.chunk);
            if readings != 1 && !token.is_none() {
                self.ledger.readings(readings);
            }
            known |= readings == 0 && !token.is_none();
            left = left.saturating_sub(readings.saturating_sub(1) as usize);
        }
        if came {
            self.subscription.heard(now.instant, true);
        }
        self.context.metrics.messages.add(messages);
        self.context.metrics.held_given_up.add(self.ledger.replaced());
        if let Some(missing) = self.ledger.missing() {
            if self.owns_session() {
                self.session.resumed(missing)?;
            }
            // What was held back meanwhile.
            known = true;
        }
        if self.subscription.is_granted() {
            self.session.usable();
        }
        if self.ledger.open() > self.window {
            // The broker allows more than was assumed.
            self.window = self.ledger.open();
        }
        self.returned.starved(self.ledger.open() >= self.window);
        self.session.set_unacknowledged(self.ledger.open());
        if known {
            // Some may have settled already, and nothing else would say so again.
            self.acknowledge(connection);
        }
        Ok(())
    }
}

/// What acknowledging needs while the chunk is lent to the queue.
struct Acknowledging<'a> {
    ledger: &'a mut Ledger,
    returned: &'a mut Returned,
    settled: &'a mut Vec<(Run, Outcome)>,
    window: usize,
}

impl Acknowledging<'_> {
    fn acknowledge(&mut self, connection: &mut Connection) {
        self.returned.take(self.settled);
        for (run, outcome) in self.settled.drain(..) {
            self.ledger.settle(run, outcome);
        }
        self.ledger.acknowledge(|packet_id, answer| match answer {
            Answer::PubAck => connection.puback(packet_id),
            Answer::PubRec => connection.pubrec(packet_id),
        });
        self.returned.starved(self.ledger.open() >= self.window);
    }
}

async fn wait_for_room(
    inlet: &Inlet,
    chunk: &mut Chunk,
    (connection, phase): (&mut Connection, &mut Watch),
    mut acknowledging: Acknowledging<'_>,
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
