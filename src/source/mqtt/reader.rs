//! Makes records of messages: whose it is, what it says, and what can be no reading.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::availability::Availability;
use super::own::{Back, Own};
use super::settings::OnExpiry;
use super::topics::Topics;
use super::user_properties::PROPERTIES_MAX;
use super::waiting::Waiting;
use super::{Retained, Settings};
use crate::clock::Now;
use crate::codec::Malformed;
use crate::codec::turn::{Request, Turn};
use crate::limits::{TOPIC_REMEMBERED_BYTES_MAX, TOPIC_SHOWN_BYTES_MAX};
use crate::mqtt::options::Version;
use crate::mqtt::publish::{self, Publish};
use crate::mqtt::topic::{Filter, LEVELS_MAX};
use crate::queue::OnFull;
use crate::record::{Arrival, Chunk, Expiry, Reason};
use crate::settlement::{Run, Token};
use crate::source::message::{Message, Whose};
use crate::source::policed::Policed;
use crate::source::records::{Records, See};
use crate::source::remembered::Remembered;
use crate::source::{Context, usable_id};
use crate::state::listening::Listening;
use crate::state::metrics::Skipped;
use crate::state::registry::Row;
use crate::text;

/// Makes records of messages.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) settings: Settings,
    pub(super) version: Version,
    topics: Topics,
    online: Option<Availability>,
    /// The topic names the sensor.
    is_named: bool,
    context: Context,
    records: Records,
    /// Rows by topic, for topics that name their sensor.
    by_topic: Remembered<[u8]>,
    output: Own,
    /// Messages may wait for others.
    is_in_turns: bool,
    waiting: Waiting,
}

/// What was made of a message that has waited.
#[derive(Debug)]
pub(super) struct Taken {
    /// How many records.
    pub(super) made: u32,
    /// What a program has done for them ([`Reader::work`]).
    pub(super) work: usize,
    /// The readings that it could have had, and has not: nothing else settles them.
    pub(super) without: Option<Run>,
}

/// What a topic is that is no sensor's readings.
#[derive(Debug)]
enum Other {
    /// That on which this sensor says whether it is there.
    Available(Arc<Row>),
    /// It is left out.
    Ignored,
    /// It is nobody's.
    Unusable(Malformed),
}

impl From<Malformed> for Other {
    fn from(malformed: Malformed) -> Self {
        Self::Unusable(malformed)
    }
}

impl Reader {
    pub(super) fn new(
        name: &str,
        settings: Settings,
        version: Version,
        remembered_max: usize,
        context: &Context,
    ) -> Self {
        let is_named = match &settings.sensor {
            Some(template) => template.is_of_topic(),
            None => settings.filters().any(Filter::has_placeholder),
        };
        let waits = settings.payload.waits();
        let waiting = waits.map(Waiting::new).unwrap_or_default();
        let mapping = settings.mapping().unwrap_or_default();
        let records = Records::new(
            name,
            &settings.payload,
            settings.compression,
            settings.payload.mapping(&mapping, &settings.levels()),
            remembered_max,
            context,
        );
        Self {
            is_named,
            records: records.with(&settings.policies()),
            online: settings.availability(),
            topics: Topics::new(&settings.filters().collect::<Vec<_>>(), &settings.ignore.0),
            settings,
            version,
            context: context.clone(),
            by_topic: Remembered::new(remembered_max),
            output: Own::new(Arc::clone(&context.run)),
            is_in_turns: waits.is_some(),
            waiting,
        }
    }

    /// Of how many topics it remembers the sensor.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.by_topic.len()
    }

    /// What a program of the entry has done since it was asked last, in records that take as long.
    pub(super) fn work(&mut self) -> usize {
        self.records.work()
    }

    /// Whether the entry listens.
    pub(super) fn listening(&self) -> &Listening {
        &self.context.listening
    }

    /// The entry's name.
    pub(super) fn name(&self) -> &str {
        &self.records.name
    }

    /// What it subscribes to, for people.
    fn subscriptions(&self) -> String {
        self.settings.subscriptions().collect::<Vec<_>>().join(", ")
    }

    /// Makes records of a message that is taken now, and perhaps waited at the broker; what can be no reading becomes a
    /// dead letter. Returns how many there are: where there is none, the message is done with. `None`: it waits here for
    /// another message, and will have [`Self::readings_max`] at most.
    pub(super) fn take(
        &mut self,
        publish: &Publish<'_>,
        token: Token,
        (now, waited): (Now, bool),
        chunk: &mut Chunk,
    ) -> Option<u32> {
        let made = self.make(publish, token, (now, waited), true, chunk, None);
        if made.is_none() {
            self.context.metrics.messages_waited.one();
            self.waiting.put(publish, token, (now, waited));
        }
        made
    }

    /// Lets the decoder know a message that came before.
    pub(super) fn learn(&mut self, topic: &str, payload: &[u8], now: Now) {
        self.records.learn(topic, payload, now);
    }

    /// Makes records of a message that waits for no other one; `see` is shown of what each record is made.
    pub(super) fn take_seen(
        &mut self,
        publish: &Publish<'_>,
        now: Now,
        chunk: &mut Chunk,
        see: See<'_>,
    ) {
        self.make(publish, Token::NONE, (now, false), false, chunk, see);
    }

    /// Makes records of the next message, or reading, that waits no longer.
    pub(super) fn take_due(&mut self, chunk: &mut Chunk) -> Option<Taken> {
        if self.records.policed().is_some_and(|it| it.take_due(chunk)) {
            return Some(Taken { made: 1, work: 0, without: None });
        }
        let held = self.waiting.next()?;
        let (Token { source, ordinal }, came) = (held.token, (held.taken, held.waited));
        let made = self.make(&held.publish(), held.token, came, false, chunk, None);
        let made = made.expect("a message that is due does not wait");
        let (first, count) = (ordinal + u64::from(made), u64::from(self.readings_max() - made));
        let without = (!held.token.is_none()).then_some(Run { source, first, count });
        Some(Taken { made, work: self.work(), without })
    }

    /// Whether messages may wait for others.
    pub(super) fn is_in_turns(&self) -> bool {
        self.is_in_turns
    }

    /// Whether messages may wait for others, or readings for their turn.
    pub(super) fn may_wait(&mut self) -> bool {
        self.is_in_turns || self.records.policed().is_some_and(|it| it.may_wait())
    }

    /// What has waited long enough waits no longer.
    pub(super) fn expire(&mut self, now: Instant) {
        self.waiting.expire(now);
        self.records.policed().into_iter().for_each(|it| it.expire(now));
    }

    /// Until when the first of what waits does.
    pub(super) fn waits_until(&mut self) -> Option<Instant> {
        let reading = self.records.policed().and_then(|it| it.until());
        [self.waiting.until(), reading].into_iter().flatten().min()
    }

    /// Whether the message waits that has these ordinals, or a reading of it.
    pub(super) fn has_waiting(&mut self, ordinals: &Range<u64>) -> bool {
        let reading = self.records.policed().is_some_and(|it| it.has(ordinals));
        reading || self.waiting.has(ordinals.start)
    }

    /// Nothing waits any longer.
    pub(super) fn release(&mut self, now: Instant) {
        self.waiting.release();
        self.release_readings(now);
    }

    /// The session is lost: what came before on it may be, too.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        self.records.policed().into_iter().for_each(|it| it.begin_anew(now));
    }

    /// No message waits any longer that came with QoS 0, and no reading. What the others were entered under: they are left
    /// to the broker.
    pub(super) fn end_waiting(&mut self, now: Instant) -> Vec<Token> {
        self.release_readings(now);
        self.waiting.end_all()
    }

    fn release_readings(&mut self, now: Instant) {
        self.records.policed().into_iter().for_each(|it| it.release(now));
    }

    /// Forgets what waits: ordinals of it that are to be let go, and how much it was.
    pub(super) fn clear(&mut self) -> (Vec<u64>, usize) {
        let (ordinals, readings) = self.records.policed().map(Policed::clear).unwrap_or_default();
        (ordinals, readings + self.waiting.clear())
    }

    /// The readings in whose place others wait, since this was asked last.
    pub(super) fn superseded(&mut self) -> impl Iterator<Item = Run> {
        self.records.policed().into_iter().flat_map(Policed::superseded)
    }

    /// Readings that a message has, at most.
    pub(super) fn readings_max(&self) -> u32 {
        u32::try_from(self.context.readings_max.max(1)).unwrap_or(u32::MAX)
    }

    /// What is to be published, so that messages can be read that come later.
    pub(super) fn request(&mut self) -> Option<Request> {
        self.records.request()
    }

    /// Makes records of a message; `None` where it is `fresh` and must wait.
    fn make(
        &mut self,
        publish: &Publish<'_>,
        token: Token,
        (now, waited): (Now, bool),
        fresh: bool,
        chunk: &mut Chunk,
        see: See<'_>,
    ) -> Option<u32> {
        // Few messages have properties: room for them is made only then.
        let mut pairs;
        let (expiry, properties) = match publish.properties {
            [] => (Expiry::default(), &[][..]),
            properties => {
                let expiry = publish::expiry(properties).map_or_else(Expiry::default, Expiry);
                pairs = [("", ""); PROPERTIES_MAX];
                (expiry, self.tags(properties, &mut pairs))
            }
        };
        let (retained, repeated) = (publish.retain, publish.dup);
        let message = Message {
            payload: publish.payload,
            topic: publish.topic,
            token,
            arrival: Arrival {
                retained,
                waited: waited || retained || repeated,
                sheddable: publish.qos == 0 && self.context.on_full != OnFull::Wait,
                expires_to_letter: self.settings.expiry == OnExpiry::DeadLetter,
                expiry,
            },
            properties,
            repeated,
            taken: now,
        };
        if let Some(back) = self.output.back(publish) {
            return Some(self.take_own(&message, &back, chunk));
        }
        let skips_retained = self.settings.retained == Retained::Skip;
        if publish.retain && skips_retained && !self.is_availability(publish.topic) {
            self.context.metrics.messages_skipped.of(Skipped::Retained).one();
            return Some(0);
        }
        let whose = match self.by_topic.get(publish.topic) {
            Some(row) => Whose::known(row),
            None => match self.find(publish.topic) {
                Ok(whose) => whose,
                Err(other) => return Some(self.take_other(&message, other, chunk)),
            },
        };
        if let Some(malformed) = self.oversize(publish) {
            self.records.pass(&message);
            return Some(self.records.refuse(&message, &whose, &malformed, chunk));
        }
        let found;
        let levels: &[&str] = if self.records.needs_levels() {
            let topic = std::str::from_utf8(publish.topic).unwrap_or_default();
            found = self.topics.levels(topic);
            &found
        } else {
            &[]
        };
        let Self { records, waiting, is_named, is_in_turns, .. } = self;
        let mut may_read = |turn| waiting.may_read(turn);
        let asks = fresh && *is_in_turns;
        let may_read = asks.then_some(&mut may_read as &mut dyn FnMut(Turn) -> bool);
        records.take(&message, &whose, (*is_named, levels), may_read, chunk, see)
    }

    /// What is on no topic of a sensor's readings.
    #[cold]
    fn take_other(&mut self, message: &Message<'_>, other: Other, chunk: &mut Chunk) -> u32 {
        self.records.pass(message);
        match other {
            Other::Ignored => self.context.metrics.messages_skipped.of(Skipped::Ignored).one(),
            Other::Available(row) => self.take_availability(message.payload, &row, message.taken),
            Other::Unusable(malformed) => {
                let own = self.records.own();
                return self.records.refuse(message, &own, &malformed, chunk);
            }
        }
        0
    }

    /// What a sensor says of itself.
    fn take_availability(&self, payload: &[u8], row: &Row, now: Now) {
        self.context.metrics.messages_skipped.of(Skipped::Online).one();
        if let Some(is_there) = self.online.as_ref().and_then(|it| it.says(payload)) {
            row.told(is_there, now.wall);
        }
    }

    /// Our own output that came back: counted, and mostly no more.
    fn take_own(&mut self, message: &Message<'_>, back: &Back<'_>, chunk: &mut Chunk) -> u32 {
        self.context.metrics.messages_skipped.of(Skipped::Loop).one();
        if let Some(left_out) = self.output.warns(message.taken.instant) {
            tracing::warn!(
                entry = self.name(),
                topic = text::from_bytes(message.topic),
                batch = %text::shown(back.batch),
                left_out,
                "our own output comes back by the subscription to {}: it is acknowledged and not taken; take \
                 the output topics out of the entry's topic, or publish elsewhere",
                self.subscriptions()
            );
        }
        if !self.output.becomes_letter(back, message.taken.instant) {
            return 0;
        }
        let (batch, filter) = (back.batch, self.subscriptions());
        let detail = format!("batch {batch} of this run came back by the subscription to {filter}");
        let own = self.records.own();
        self.records.refuse(message, &own, &Malformed { reason: Reason::Loop, detail }, chunk)
    }

    /// The user properties that become tags: the first of each name, and [`PROPERTIES_MAX`] at most.
    fn tags<'a, 'p>(
        &self,
        properties: &'a [u8],
        pairs: &'p mut [(&'a str, &'a str); PROPERTIES_MAX],
    ) -> &'p [(&'a str, &'a str)] {
        let mut count = 0;
        for (name, value) in publish::user_properties(properties) {
            let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value))
            else {
                continue;
            };
            let is_new = !pairs.iter().take(count).any(|pair| pair.0 == name);
            if is_new
                && self.settings.properties.keep(name)
                && let Some(place) = pairs.get_mut(count)
            {
                *place = (name, value);
                count += 1;
            }
        }
        pairs.get(..count).unwrap_or_default()
    }

    fn oversize(&self, publish: &Publish<'_>) -> Option<Malformed> {
        if let Some(cut) = publish.cut {
            return Some(self.context.oversize(cut.bytes, &cut.sha256));
        }
        (publish.payload.len() > self.context.record_bytes_max).then(|| {
            use sha2::Digest;
            let sha256 = sha2::Sha256::digest(publish.payload);
            self.context.oversize(publish.payload.len() as u64, &sha256)
        })
    }

    /// Whether a topic is that of `online`.
    fn is_availability(&self, topic: &[u8]) -> bool {
        let text = std::str::from_utf8(topic).unwrap_or_default();
        self.online.as_ref().is_some_and(|it| it.is_of(text))
    }

    /// Whose a message on this topic is, of which no row is remembered: the sensor's that the topic names, or the
    /// entry's own.
    fn find<'a>(&mut self, topic: &'a [u8]) -> Result<Whose<'a>, Other> {
        let wrong = |detail: &str| Malformed { reason: Reason::Topic, detail: detail.to_owned() };
        let text = std::str::from_utf8(topic).map_err(|_| wrong("the topic is not UTF-8"))?;
        if topic.len() > TOPIC_SHOWN_BYTES_MAX {
            return Err(wrong(&format!("the topic has {} bytes; cut here", topic.len())).into());
        }
        if self.topics.ignore(text) {
            return Err(Other::Ignored);
        }
        if let Some(online) = self.online.as_ref().filter(|it| it.is_of(text)) {
            let (levels, sensor) = (online.levels(text), online.sensor(text));
            let row = self.whose(&levels, sensor)?.row.into_owned();
            return Err(Other::Available(row));
        }
        if !self.topics.match_it(text) {
            return Err(wrong(
                "not a topic of this entry: an earlier configuration's subscription is still in \
                 the broker's session",
            )
            .into());
        }
        let (levels, sensor) = (self.topics.levels(text), self.topics.sensor(text));
        let whose = self.whose(&levels, sensor)?;
        if self.is_named && topic.len() <= TOPIC_REMEMBERED_BYTES_MAX {
            self.by_topic.put(topic, &whose.row);
        }
        Ok(whose)
    }

    /// Whose a message is whose topic has these at its named levels, and this as `{sensor}`.
    fn whose<'a>(
        &mut self,
        levels: &[&'a str; LEVELS_MAX],
        sensor: Option<&'a [u8]>,
    ) -> Result<Whose<'a>, Malformed> {
        let id = match &self.settings.sensor {
            _ if !self.is_named => return Ok(self.records.own()),
            Some(template) => {
                let filled = self.records.of_topic(template, levels);
                Cow::Owned(usable_id(filled.as_bytes())?.to_owned())
            }
            None => Cow::Borrowed(usable_id(sensor.unwrap_or_default())?),
        };
        Ok(Whose::new(self.context.row(&id), id))
    }
}

#[cfg(test)]
mod policies;
#[cfg(test)]
mod tests;
