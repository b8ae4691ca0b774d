//! The entries of a session. Each has subscriptions of its own, one a topic, and reads what comes of them.
//!
//! A message says on which topic it came, and not of which subscription: it is of the first one whose filter
//! its topic matches. So the filters of one session must not overlap: what two entries are both to take comes
//! on two sessions.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Instant;

use foldhash::fast::RandomState;

use super::reader::{Reader, Taken};
use super::subscription::{Due, Subscription, say_never_heard};
use crate::clock::Timestamp;
use crate::limits::TOPIC_REMEMBERED_BYTES_MAX;
use crate::mqtt::Error;
use crate::mqtt::options::Version;
use crate::mqtt::outbound::Outbound;
use crate::mqtt::packet::{Greeting, is_put_off};
use crate::record::Chunk;

/// The entries of a session, one at least, and their subscriptions.
#[derive(Debug)]
pub(super) struct Members {
    readers: Vec<Reader>,
    subscriptions: Vec<Subscription>,
    /// Subscriptions of an earlier configuration, which the session is to be without.
    former: Vec<String>,
    /// Of which subscription the messages of a topic are, where there are several.
    by_topic: HashMap<Box<[u8]>, usize, RandomState>,
    remembered_max: usize,
}

/// An invariant: a subscription is one of an entry.
const MEMBER: &str = "a session has an entry, and each entry a subscription";

impl Members {
    /// These entries; of so many topics it is remembered whose they are.
    pub(super) fn new(
        readers: Vec<Reader>,
        subscriptions: Vec<Subscription>,
        remembered_max: usize,
    ) -> Self {
        let (former, by_topic) = (Vec::new(), HashMap::default());
        Self { readers, subscriptions, former, by_topic, remembered_max }
    }

    /// Ends these subscriptions at each connect to the session.
    pub(super) fn end_former(&mut self, former: Vec<String>) {
        self.former = former;
    }

    /// Who takes a message on this topic, and by which subscription it came. One that is of none is of the first
    /// entry, which says so.
    pub(super) fn of(&mut self, topic: &[u8]) -> (&mut Reader, &mut Subscription) {
        let place = if self.subscriptions.len() < 2 { 0 } else { self.place(topic) };
        let subscription = self.subscriptions.get_mut(place).expect(MEMBER);
        (self.readers.get_mut(subscription.of).expect(MEMBER), subscription)
    }

    fn place(&mut self, topic: &[u8]) -> usize {
        if let Some(place) = self.by_topic.get(topic) {
            return *place;
        }
        let Ok(text) = std::str::from_utf8(topic) else { return 0 };
        let matches = |it: &Subscription| it.filter.matches(text);
        let Some(place) = self.subscriptions.iter().position(matches) else { return 0 };
        if topic.len() <= TOPIC_REMEMBERED_BYTES_MAX && self.by_topic.len() < self.remembered_max {
            self.by_topic.insert(topic.into(), place);
        }
        place
    }

    /// The subscriptions, each with its entry.
    fn pairs(&mut self) -> impl Iterator<Item = (&Reader, &mut Subscription)> {
        let Self { readers, subscriptions, .. } = self;
        subscriptions.iter_mut().map(|it| (readers.get(it.of).expect(MEMBER), it))
    }

    /// The entries, to take what has waited in them.
    pub(super) fn readers(&mut self) -> &mut [Reader] {
        &mut self.readers
    }

    /// Whether anything may wait in an entry: a message for another one, or a reading for its turn.
    pub(super) fn may_wait(&mut self) -> bool {
        self.waiting().next().is_some()
    }

    /// Makes records of what has waited next in an entry and waits no longer ([`Reader::take_due`]).
    pub(super) fn take_due(&mut self, chunk: &mut Chunk) -> Option<Taken> {
        self.waiting().find_map(|it| it.take_due(chunk))
    }

    /// What has waited in the entries long enough waits no longer.
    pub(super) fn expire(&mut self, now: Instant) {
        self.waiting().for_each(|it| it.expire(now));
    }

    /// Whether the message waits in an entry that has these ordinals, or a reading of it.
    pub(super) fn has_waiting(&mut self, ordinals: &Range<u64>) -> bool {
        self.waiting().any(|it| it.has_waiting(ordinals))
    }

    /// Nothing waits in the entries any longer.
    pub(super) fn release(&mut self, now: Instant) {
        self.waiting().for_each(|it| it.release(now));
    }

    /// The session is lost: what came before on it may be, too.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        self.readers.iter_mut().for_each(|it| it.begin_anew(now));
    }

    /// The entries in which anything may wait.
    fn waiting(&mut self) -> impl Iterator<Item = &mut Reader> {
        self.readers.iter_mut().filter_map(|it| it.may_wait().then_some(it))
    }

    /// Until when the first of what waits in an entry does.
    pub(super) fn waits_until(&mut self) -> Option<Instant> {
        self.waiting().filter_map(Reader::waits_until).min()
    }

    /// Of how many topics it is remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.by_topic.len()
    }

    /// The name of each entry, joined by commas.
    pub(super) fn names(&self) -> String {
        let names: Vec<&str> = self.readers.iter().map(Reader::name).collect();
        names.join(", ")
    }

    /// Whether what the broker has sent us comes again to us alone: of a group, another gateway may get it.
    pub(super) fn own_their_session(&self) -> bool {
        self.readers.iter().all(|it| it.settings.group.is_none())
    }

    /// Whether any asks for messages that are to be acknowledged.
    pub(super) fn acknowledge(&self) -> bool {
        self.readers.iter().any(|it| it.settings.are_acknowledged())
    }

    /// All entries listen from now on.
    pub(super) fn begin_listening(&self, now: Timestamp) {
        self.readers.iter().for_each(|it| it.listening().begin(now));
    }

    /// No entry listens from now on.
    pub(super) fn end_listening(&self, now: Timestamp) {
        self.readers.iter().for_each(|it| it.listening().end(now));
    }

    /// Whether all subscriptions are granted: readings can come.
    pub(super) fn are_granted(&self) -> bool {
        self.subscriptions.iter().all(Subscription::is_granted)
    }

    /// Begins a connection: asks for the subscriptions that are to be asked for.
    pub(super) fn connected(
        &mut self,
        now: Instant,
        greeting: Greeting,
        out: &mut Outbound,
    ) -> Result<(), Error> {
        for (reader, subscription) in self.pairs() {
            subscription.fits(reader, greeting)?;
            if subscription.connected(now, greeting.session_present) {
                subscription.ask(now, out)?;
            }
        }
        if greeting.session_present {
            // After the new ones: what both bring comes all the time.
            let free = (1..).skip(2 * self.subscriptions.len());
            free.zip(&self.former)
                .try_for_each(|(packet_id, it)| out.unsubscribe(packet_id, it))?;
        }
        Ok(())
    }

    /// Ends all subscriptions.
    pub(super) fn unsubscribe(&mut self, out: &mut Outbound) -> Result<(), Error> {
        self.subscriptions.iter().try_for_each(|it| it.end(out))
    }

    /// The broker's answer to the SUBSCRIBE with this packet id.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        (packet_id, granted): (u16, Result<u8, String>),
        bytes: &[u8],
        version: Version,
    ) -> Result<(), Error> {
        let asked = self.pairs().find(|(_, it)| it.packet_id == packet_id);
        let (reader, subscription) = asked.ok_or_else(|| {
            Error::Protocol(format!(
                "a SUBACK for packet id {packet_id}, which no SUBSCRIBE of ours has"
            ))
        })?;
        match granted {
            Ok(qos) => subscription.granted(now, reader, qos),
            Err(reason) => {
                let filter = subscription.asked();
                return Err(if is_put_off(bytes, version) {
                    Error::SubscriptionPutOff { filter, reason }
                } else {
                    Error::SubscriptionRefused { filter, reason }
                });
            }
        }
        Ok(())
    }

    /// We have not read until now.
    pub(super) fn waited(&mut self, now: Instant) {
        self.subscriptions.iter_mut().for_each(|it| it.heard(now, false));
    }

    /// When to look at the subscriptions again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.subscriptions.iter().filter_map(Subscription::deadline).min()
    }

    /// Does what is due about the subscriptions.
    pub(super) fn attend(&mut self, now: Instant, out: &mut Outbound) -> Result<(), Error> {
        for (reader, subscription) in self.pairs() {
            match subscription.due(now) {
                None => {}
                Some(Due::GiveUp(within)) => {
                    return Err(Error::NoAnswer { to: "SUBSCRIBE", within });
                }
                Some(Due::Again) => {
                    tracing::info!(
                        entry = reader.name(),
                        "the resumed session has been silent for long: subscribing again, in case the \
                         broker has lost the subscription; what it had retained comes again"
                    );
                    subscription.ask(now, out)?;
                }
                Some(Due::Say) => {
                    say_never_heard(reader.name(), &subscription.asked());
                }
            }
        }
        Ok(())
    }
}
