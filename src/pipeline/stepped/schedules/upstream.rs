//! The sensors' broker: one subscriber with one session, QoS 1, a window, and a way to choose packet
//! ids.
//!
//! What it has had no PUBACK for it sends again when the session resumes, with its first id and DUP,
//! before anything new (MQTT 5 §4.4); some leave out DUP. It sends ahead of what is read, so a cut link can lose messages
//! that nobody has seen, and acknowledgements that it has not heard.

use std::collections::{BTreeSet, VecDeque};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// How packet ids are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Giving {
    /// As Mosquitto does.
    CountsUp,
    /// With a counter that serves other clients too: by any multiple of [`STEP`] up to so many.
    StepsUp(u16),
    LowestFree,
    LastFreed,
}

/// Divides 65,535: the few ids that are left come back within a schedule.
const STEP: u16 = 1285;

/// A message on its way to the gateway.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) packet_id: u16,
    pub(super) dup: bool,
    pub(super) value: u32,
}

/// What it keeps for the gateway.
#[derive(Debug, Clone, Default)]
struct Session {
    queued: VecDeque<u32>,
    /// In the order they were sent first.
    unacknowledged: Vec<(u16, u32)>,
    freed: Vec<u16>,
    counter: u16,
}

impl Session {
    fn values(&self) -> BTreeSet<u32> {
        self.unacknowledged.iter().map(|it| it.1).chain(self.queued.iter().copied()).collect()
    }

    fn packet_id(&mut self, giving: Giving, random: &mut SmallRng) -> u16 {
        let used = |id: &u16| self.unacknowledged.iter().any(|it| it.0 == *id);
        match giving {
            Giving::CountsUp => self.counter = self.counter % 65_535 + 1,
            Giving::StepsUp(most) => loop {
                let step = u32::from(STEP) * random.random_range(1..=u32::from(most));
                let next = (u32::from(self.counter) + step - 1) % 65_535 + 1;
                self.counter = u16::try_from(next).expect("below 65,536");
                if !used(&self.counter) {
                    break;
                }
            },
            Giving::LowestFree => return (1..=u16::MAX).find(|id| !used(id)).unwrap(),
            Giving::LastFreed => match self.freed.pop() {
                Some(id) => return id,
                None => self.counter += 1,
            },
        }
        self.counter
    }
}

/// One connection.
#[derive(Debug, Default)]
struct Link {
    wire: VecDeque<Sent>,
    /// Acknowledgements on their way here.
    acknowledgements: VecDeque<u16>,
}

/// The broker.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) giving: Giving,
    /// Whether it marks what it sends again with DUP, as it must.
    pub(super) marks: bool,
    pub(super) window: usize,
    session: Option<Session>,
    backup: Option<Session>,
    link: Option<Link>,
    /// What the gateway has acknowledged and the broker has heard.
    heard: BTreeSet<u32>,
    /// Of its own: how ids are chosen changes nothing else.
    random: SmallRng,
}

impl Upstream {
    pub(super) fn new(random: &mut SmallRng) -> Self {
        let steps = Giving::StepsUp(random.random_range(2..=10));
        let givings = [Giving::CountsUp, Giving::LowestFree, Giving::LastFreed, steps];
        Self {
            giving: givings[random.random_range(0..4)],
            marks: random.random_bool(0.8),
            window: [1, 2, 2, 3, 8, 20][random.random_range(0..6)],
            session: None,
            backup: None,
            link: None,
            heard: BTreeSet::new(),
            random: SmallRng::from_rng(random),
        }
    }

    /// A sensor publishes. False where nobody has subscribed: the broker keeps nothing.
    pub(super) fn publish(&mut self, value: u32) -> bool {
        let Some(session) = &mut self.session else { return false };
        session.queued.push_back(value);
        self.send();
        true
    }

    pub(super) fn is_linked(&self) -> bool {
        self.link.is_some()
    }

    /// Whether it has it and will send it, again or for the first time.
    pub(super) fn holds(&self, value: u32) -> bool {
        self.session.as_ref().is_some_and(|session| session.values().contains(&value))
    }

    pub(super) fn is_done(&self) -> bool {
        self.session.as_ref().is_none_or(|session| session.values().is_empty())
    }

    /// Whether much waits for the window.
    pub(super) fn is_behind(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.queued.len() > 8)
    }

    /// Sends as much as the window allows.
    fn send(&mut self) {
        let (Some(link), Some(session)) = (&mut self.link, &mut self.session) else { return };
        while session.unacknowledged.len() < self.window {
            let Some(value) = session.queued.pop_front() else { return };
            let packet_id = session.packet_id(self.giving, &mut self.random);
            session.unacknowledged.push((packet_id, value));
            link.wire.push_back(Sent { packet_id, dup: false, value });
        }
    }

    /// The next message that the gateway reads.
    pub(super) fn read(&mut self) -> Option<Sent> {
        self.link.as_mut()?.wire.pop_front()
    }

    /// The gateway writes an acknowledgement.
    pub(super) fn acknowledge(&mut self, packet_id: u16) {
        let link = self.link.as_mut().expect("only what is linked is written to");
        link.acknowledgements.push_back(packet_id);
    }

    /// Hears so many acknowledgements: of messages that it waits for.
    pub(super) fn hear(&mut self, count: usize) {
        let Some(link) = &mut self.link else { return };
        let session = self.session.as_mut().expect("a link has a session");
        let count = count.min(link.acknowledgements.len());
        for packet_id in link.acknowledgements.drain(..count) {
            let at = session.unacknowledged.iter().position(|it| it.0 == packet_id);
            let at = at.unwrap_or_else(|| panic!("{packet_id} is not waited for"));
            self.heard.insert(session.unacknowledged.remove(at).1);
            session.freed.push(packet_id);
        }
        self.send();
    }

    /// The link breaks, behind some of the acknowledgements and in the middle of what it sent.
    pub(super) fn cut(&mut self, random: &mut SmallRng) {
        if self.link.is_some() {
            self.hear(random.random_range(0..8));
        }
        self.link = None;
    }

    /// The gateway connects. Returns whether its session was there.
    pub(super) fn resume(&mut self) -> bool {
        let present = self.session.is_some();
        let session = self.session.get_or_insert_default();
        let again = session.unacknowledged.iter();
        let again = again.map(|&(packet_id, value)| Sent { packet_id, dup: self.marks, value });
        self.link = Some(Link { wire: again.collect(), ..Link::default() });
        self.send();
        present
    }

    /// It starts anew without what it had. Returns what that was.
    pub(super) fn lose(&mut self, random: &mut SmallRng) -> BTreeSet<u32> {
        self.cut(random);
        self.session.take().map(|session| session.values()).unwrap_or_default()
    }

    /// Somebody makes a copy of its files.
    pub(super) fn back_up(&mut self) {
        self.backup = self.session.clone();
    }

    /// It starts anew from that copy, if there is one. Returns what it had.
    pub(super) fn restore(&mut self, random: &mut SmallRng) -> Option<BTreeSet<u32>> {
        let backup = self.backup.clone()?;
        let had = self.lose(random);
        self.session = Some(backup);
        Some(had)
    }

    /// Everything that it will not send any more because the gateway has said so.
    pub(super) fn heard(&self) -> &BTreeSet<u32> {
        &self.heard
    }
}
