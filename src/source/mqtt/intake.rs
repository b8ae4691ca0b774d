//! A session's intake, as a machine: it takes what has arrived, offers it to the queue, and acknowledges what
//! has settled. [`client`] connects and waits for it.
//!
//! When the queue has no room it *stops reading*: TCP and the broker's window do the rest, while pings and
//! acknowledgements go on. Acknowledgements leave in order, each when all readings of its message have settled
//! (`mqtt::ledger`). It also stops reading while another intake keeps the desk where records are made ([`desk`]),
//! and while the broker does not take its answers, each of which a broken broker can ask for.
//!
//! [`desk`]: super::desk

use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use self::room::Room;
use super::backlog::Backlog;
use super::desk::{Desk, Place};
use super::entry::{self, Bounds};
use super::members::Members;
use super::reader::Reader;
use super::subscription::{Subscription, Terms};
use crate::clock::{self, Now};
use crate::limits::GATHER_WINDOW_MIN;
use crate::mqtt::Error;
use crate::mqtt::attempt::{Attempt, Failed};
use crate::mqtt::client::{self, Client, Step};
use crate::mqtt::frame::Inbound;
use crate::mqtt::ledger::{Answer, Ledger};
use crate::mqtt::options::Version;
use crate::mqtt::outbound::Outbound;
use crate::mqtt::outgoing::Hello;
use crate::mqtt::packet::Greeting;
use crate::mqtt::publish::Publish;
use crate::mqtt::session::Session;
use crate::mqtt::topic::Filter;
use crate::pace::{NoRest, Pace};
use crate::phase::{Phase, PhaseReceiver};
use crate::queue::{Inlet, Queue, Settlements};
use crate::record::Chunk;
use crate::repeat::Repeated;
use crate::settlement::{Outcome, Policy, Run, SensorIndex};
use crate::state::metrics::Metrics;
use crate::state::registry::Registry;

#[cfg(test)]
mod hooks;
mod read;
mod room;
#[cfg(test)]
mod tests;

/// If a broker has been silent for this time with at least [`WINDOW_LEAST`] messages unacknowledged, it allows no more.
const WINDOW_SILENCE: Duration = Duration::from_millis(20);

/// The smallest window that is noticed: RabbitMQ allows 10 by default, Mosquitto 20. Single readings must not look like it.
const WINDOW_LEAST: usize = 8;

/// If the window is only taken to be full, what waits for another message waits for so long beyond [`WINDOW_SILENCE`]: the
/// broker may allow more, and the message come late.
const STUCK_SILENCE: Duration = Duration::from_secs(2);

/// How long a client that may share its session with another one acknowledges nothing, if no new message shows whether it
/// does.
const HOLD_MAX: Duration = Duration::from_millis(500);

/// A session's intake.
#[derive(Debug)]
pub struct Intake {
    pub(super) members: Members,
    pub(super) session: Session,
    /// Of the warning that the broker has lost it.
    pub(super) sessions_lost: Repeated,
    pub(super) ledger: Ledger,
    backlog: Backlog,
    /// Tells messages apart that come under one packet id.
    digest: fn(&Publish<'_>) -> u64,
    /// Unacknowledged messages that the broker is asked for, and those that it is taken to allow.
    asked: u16,
    window: usize,
    pub(super) chunk_records_max: usize,
    chunk_bytes_max: usize,
    answers_bytes_max: usize,
    /// Programs have worked so long that the connection is to have its turn before more is read.
    is_weary: bool,
    /// None once nothing more is taken.
    pub(super) inlet: Option<Inlet>,
    pub(super) settlements: Settlements,
    settled: Vec<(Run, Outcome)>,
    desk: Arc<Desk>,
    /// The desk, while it is this intake's.
    place: Option<Place>,
    /// The desk's, while records are in it.
    pub(super) chunk: Chunk,
    pub(super) room: Room,
    pub(super) shed: Vec<SensorIndex>,
    /// By which the queue sheds, if it does.
    policy: Option<Policy>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) registry: Arc<Registry>,
    pace: Arc<Pace>,
    pub(super) phase: PhaseReceiver,
    current: Option<Current>,
}

/// What belongs to one connection.
#[derive(Debug)]
pub(super) struct Current {
    /// Acknowledgements are held back no longer.
    hold_until: Instant,
    /// If nothing happens until then, the broker's window is used up.
    silent_at: Instant,
    /// What the sensors send comes: the subscriptions are granted, and there is room.
    listens: bool,
    /// The entry is removed, and its subscription was ended.
    pub(super) unsubscribed: bool,
    /// With a small window the thread does not rest.
    _no_rest: Option<NoRest>,
}

impl Intake {
    /// The intake of a session that carries these entries: the name, the settings, and what their sources know.
    ///
    /// # Panics
    /// If there is none.
    pub fn new(
        entries: Vec<entry::Joined>,
        session: Session,
        bounds: Bounds,
        (queue, desk): (&Queue, &Arc<Desk>),
        phase: PhaseReceiver,
    ) -> Self {
        let (version, window) = (session.options().version, usize::from(bounds.window));
        let (_, _, context) = entries.first().expect("a session has an entry");
        let (metrics, registry, pace) = (
            Arc::clone(&context.metrics),
            Arc::clone(&context.registry),
            Arc::clone(&context.pace),
        );
        let policy = context.on_full.policy();
        let remembered_max = bounds.remembered_max / entries.len();
        // First those of `online`: what comes on a topic of both has come of these.
        let online = entries.iter().enumerate().filter_map(|(of, (_, settings, _))| {
            Some((of, settings.online.as_ref()?.topic.clone(), Terms::of_availability()))
        });
        let filters = entries.iter().enumerate().flat_map(|(of, (_, settings, _))| {
            settings.filters().map(move |it| (of, it.clone(), Terms::of(settings)))
        });
        let subscription = |(place, (of, filter, terms)): (u16, (usize, Filter, Terms))| {
            let it = Subscription::new(place, (of, filter), session.options(), terms);
            it.quiet(session.is_quiet())
        };
        let subscriptions = (0..).zip(online.chain(filters)).map(subscription).collect();
        let reader = |(name, settings, context): entry::Joined| {
            Reader::new(&name, settings, version, remembered_max, &context)
        };
        let readers = entries.into_iter().map(reader).collect();
        Self {
            members: Members::new(readers, subscriptions, bounds.remembered_max),
            session,
            sessions_lost: Repeated::default(),
            ledger: Ledger::new(window, bounds.acknowledgements_max)
                .with_blocked_max(bounds.blocked_max),
            backlog: Backlog::default(),
            digest: read::digest,
            asked: bounds.window,
            window,
            chunk_records_max: bounds.chunk_records_max,
            chunk_bytes_max: bounds.chunk_bytes_max,
            answers_bytes_max: bounds.answers_bytes_max,
            is_weary: false,
            inlet: Some(queue.inlet()),
            settlements: queue.settlements(),
            settled: Vec::new(),
            desk: Arc::clone(desk),
            place: None,
            chunk: Chunk::default(),
            room: Room::Free,
            shed: Vec::new(),
            policy,
            metrics,
            registry,
            pace,
            phase,
            current: None,
        }
    }

    /// Ends these subscriptions, which an earlier configuration made in the session.
    #[must_use]
    pub fn in_place_of(mut self, former: Vec<String>) -> Self {
        self.members.end_former(former);
        self
    }

    /// Takes messages until the gateway drains, acknowledges until nothing waits or it closes. An
    /// error is permanent.
    pub async fn run(mut self) -> Result<(), Error> {
        let ended = client::run(&mut self).await;
        self.stop_taking();
        if self.phase.is_removed() {
            self.session.remove().await;
        }
        ended
    }

    pub(super) fn current(&mut self) -> &mut Current {
        self.current.as_mut().expect("a connection stands")
    }

    fn version(&self) -> Version {
        self.session.options().version
    }

    /// The phase that changes what is to be done.
    fn next_phase(&self) -> Phase {
        let waits = self.current.is_some() && matches!(self.room, Room::Waited(_));
        if waits || self.inlet.is_none() { Phase::Closing } else { Phase::Draining }
    }

    /// Offers what has been read. False while there is no room.
    fn offer(&mut self, now: Instant) -> bool {
        let Some(inlet) = &self.inlet else { return true };
        let before = self.chunk.records.len();
        match std::mem::replace(&mut self.room, Room::Free) {
            Room::Free => {}
            // What is in the chunk has come without the desk: it is taken, or shed.
            in_line @ Room::InLine(_) => self.room = in_line,
            Room::Seated(place) => {
                // Answers may have come while nothing was read.
                self.members.waited(now);
                self.sit(place);
                return true;
            }
            Room::Waited(claim) => {
                self.room = Room::Waited(claim);
                return false;
            }
            Room::Claimed(claim) => {
                inlet.put(claim, &mut self.chunk);
                self.members.waited(now);
            }
        }
        if before > 0 {
            let all = inlet.try_offer(&mut self.chunk, &mut self.shed);
            if !all {
                self.room = Room::Waited(Box::pin(inlet.claim(&self.chunk)));
            }
            self.count_offered(before);
            if all {
                self.leave_desk();
            }
        }
        matches!(self.room, Room::Free)
    }

    /// The desk is this intake's.
    fn sit(&mut self, place: Place) {
        self.place = Some(place);
        self.take_chunk();
    }

    /// For records, with the desk or without.
    pub(super) fn take_chunk(&mut self) {
        if self.chunk.capacity_bytes() == 0 {
            self.chunk = self.desk.chunk();
        }
    }

    /// The chunk is empty: another intake may have the desk.
    pub(super) fn leave_desk(&mut self) {
        if self.chunk.capacity_bytes() > 0 {
            self.desk.give_back(std::mem::take(&mut self.chunk));
        }
        self.place = None;
    }

    /// Enters what the queue took or shed of the chunk's `before` records.
    pub(super) fn count_offered(&mut self, before: usize) {
        self.metrics.received.add((before - self.chunk.records.len()) as u64);
        if !self.shed.is_empty() {
            let policy = self.policy.expect("the queue sheds by a policy");
            self.registry.enter(&self.metrics, &self.shed, Outcome::Shed { policy });
            self.shed.clear();
        }
    }

    /// What the broker allows is never said: MQTT 3.1.1 has no word for it, and with MQTT 5 a broker
    /// may have a bound of its own below ours. If it is silent with a good number unacknowledged,
    /// this is what it allows; when more come, it allows more.
    fn is_assumed_too_much(&self) -> bool {
        (WINDOW_LEAST..self.window).contains(&self.ledger.open())
    }

    /// Tells the ledger what has settled; whether anything has.
    fn settle(&mut self) -> bool {
        self.settlements.take(&mut self.settled);
        let some = !self.settled.is_empty();
        for (run, outcome) in self.settled.drain(..) {
            self.ledger.settle(run, outcome);
        }
        some
    }

    /// Acknowledges what can be.
    pub(super) fn acknowledge(&mut self, out: &mut Outbound) {
        self.ledger.acknowledge(|packet_id, answer| match answer {
            Answer::PubAck => out.puback(packet_id),
            Answer::PubRec => out.pubrec(packet_id),
        });
        let open = self.ledger.open();
        self.settlements.starved(self.inlet.is_some() && open >= self.window);
        self.session.set_unacknowledged(open);
    }

    /// Whether the broker takes our answers, each of which it can ask for.
    pub(super) fn may_answer(&self, out: &Outbound) -> bool {
        out.backlog() < self.answers_bytes_max
    }

    /// What waits for another message, or for its turn, takes a part of the window. When that is full, and the broker waits
    /// for the acknowledgement of a message that waits here, nothing comes that this one could wait for: until when it
    /// waits.
    fn stuck_until(&mut self, now: Instant, silent_at: Instant) -> Option<Instant> {
        if self.ledger.open() < self.window {
            return None;
        }
        let waits = self.ledger.awaited().is_some_and(|it| self.members.has_waiting(&it));
        let is_assumed = self.window < usize::from(self.asked);
        waits.then(|| if is_assumed { silent_at + STUCK_SILENCE } else { now })
    }

    /// Whether what the sensors send comes now, as far as it is this intake's doing.
    fn listen(&mut self, now: Now, may: bool) {
        let Some(current) = &mut self.current else { return };
        if current.listens == may || may && !self.members.are_granted() {
            return;
        }
        current.listens = may;
        if may {
            self.members.begin_listening(now.wall);
        } else {
            self.members.end_listening(now.wall);
        }
    }

    /// Does what is due. Returns until when nothing else is.
    fn attend(
        &mut self,
        now: Instant,
        moved: bool,
        out: &mut Outbound,
    ) -> Result<Option<Instant>, Error> {
        let current = self.current();
        if moved {
            current.silent_at = now + WINDOW_SILENCE;
        }
        let Current { silent_at, hold_until, .. } = *current;
        if self.is_assumed_too_much() && silent_at <= now {
            self.window = self.ledger.open();
            self.settlements.starved(true);
        }
        let stuck_until = self.stuck_until(now, silent_at);
        if stuck_until.is_some_and(|it| it <= now) {
            self.members.release(now);
        }
        if self.ledger.is_holding() && hold_until <= now {
            self.ledger.release();
            self.acknowledge(out);
        }
        let silent_at = Some(silent_at).filter(|_| self.is_assumed_too_much());
        let hold_until = Some(hold_until).filter(|_| self.ledger.is_holding());
        let waits_until = self.members.waits_until();
        let mut due = None;
        // A broker that does not take our answers has no time to answer.
        if self.may_answer(out) {
            self.members.attend(now, out)?;
            due = self.members.deadline();
        }
        Ok([stuck_until, silent_at, hold_until, waits_until, due].into_iter().flatten().min())
    }
}

impl Client for Intake {
    fn is_wanted(&mut self) -> bool {
        if self.phase.is(Phase::Draining) {
            self.stop_taking();
        }
        !self.is_over()
    }

    fn attempt(&mut self) -> Attempt {
        let session_expiry = Some(self.session.options().session_expiry_seconds());
        self.session.attempt(Hello {
            clean_start: false,
            session_expiry,
            receive_max: Some(self.asked),
            // None: a broker withholds larger messages without a word; we read past them.
            packet_bytes_max: None,
            will: None,
        })
    }

    fn handle_failed(&mut self, now: Now, failed: Failed) -> Result<Duration, Error> {
        self.session.handle_failed(now.instant, failed)
    }

    fn handle_connected(
        &mut self,
        now: Now,
        greeting: Greeting,
        out: &mut Outbound,
    ) -> Result<(), Error> {
        self.metrics.connections.one();
        self.session.handle_connected(now.instant, &greeting);
        self.backlog.connected(greeting.session_present);
        let is_small = self.members.acknowledge() && self.window < GATHER_WINDOW_MIN;
        self.current = Some(Current {
            hold_until: now.instant + HOLD_MAX,
            silent_at: now.instant + WINDOW_SILENCE,
            listens: false,
            unsubscribed: false,
            _no_rest: is_small.then(|| NoRest::new(&self.pace)),
        });
        self.resume(now.instant, greeting);
        if self.inlet.is_none() {
            self.session.usable(now.instant);
            return Ok(());
        }
        if self.session.is_suspicious() && self.members.own_their_session() {
            self.ledger.hold();
        }
        self.members.connected(now.instant, greeting, out)
    }

    fn advance(
        &mut self,
        now: Now,
        inbound: &mut Inbound,
        out: &mut Outbound,
    ) -> Result<Step, Error> {
        let mut moved = self.settle();
        // Before the phase is looked at: what has waited for room is offered, also while the gateway drains.
        let mut has_room = self.offer(now.instant);
        if self.phase.is(self.next_phase()) {
            self.stop_taking();
        }
        if self.inlet.is_none() {
            return self.drain(now.instant, inbound, out);
        }
        while has_room {
            let (unread, came) = self.read(now, inbound, out)?;
            moved |= came;
            has_room = self.offer(now.instant);
            if !unread || self.is_weary || !self.may_answer(out) {
                break;
            }
        }
        self.acknowledge(out);
        if has_room {
            self.leave_desk();
        } else {
            self.listen(now, false);
            return Ok(Step::Wait { reads: false, until: None });
        }
        self.listen(now, true);
        let mut until = self.attend(now.instant, moved, out)?;
        if std::mem::take(&mut self.is_weary) {
            until = Some(now.instant);
        }
        Ok(Step::Wait { reads: self.may_answer(out), until })
    }

    fn handle_disconnected(
        &mut self,
        now: Now,
        ended: Result<(), Error>,
    ) -> Result<Option<Duration>, Error> {
        self.listen(now, false);
        self.current = None;
        if matches!(self.room, Room::InLine(_)) {
            self.room = Room::Free;
        }
        // What is in the chunk goes on waiting: others wait for the desk.
        if self.offer(now.instant) {
            self.leave_desk();
        }
        self.settlements.starved(false);
        self.metrics.disconnections.one();
        let Err(error) = ended else { return Ok(None) };
        if let Some(error) = self.session.id_in_use(&error) {
            return self.yields(error);
        }
        if self.session.outlasts(now.instant, &error) {
            return Err(error);
        }
        Ok(Some(self.session.lost(now.instant, &error)))
    }

    async fn woken(&mut self) {
        loop {
            let (next, stands) = (self.next_phase(), self.current.is_some());
            let Self { phase, settlements, room, .. } = self;
            tokio::select! {
                biased;
                () = settlements.some(), if stands => return,
                () = phase.reached(next) => return,
                () = room.came() => if stands { return },
            }
            self.offer(clock::now().instant);
        }
    }
}
