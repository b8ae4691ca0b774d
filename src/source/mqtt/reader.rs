//! Makes records of messages: whose it is, what it says, and what can be no reading.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use foldhash::fast::{FixedState, RandomState};

use super::numbers::Numbers;
use super::own::{Back, Own};
use super::{Retained, Settings};
use crate::clock::Now;
use crate::codec::Malformed;
use crate::limits::{TOPIC_REMEMBERED_BYTES_MAX, TOPIC_SHOWN_BYTES_MAX};
use crate::metrics::Metrics;
use crate::mqtt::Error;
use crate::mqtt::ledger::{Entered, Ledger};
use crate::mqtt::options::Version;
use crate::mqtt::publish::Publish;
use crate::mqtt::topic::Group;
use crate::queue::OnFull;
use crate::record::{Body, Chunk, Reason, Record};
use crate::registry::Row;
use crate::settlement::Token;
use crate::source::{Context, unreadable, usable_id};
use crate::text;

/// Whose a message is.
struct Whose<'a> {
    /// Where it is counted.
    row: Arc<Row>,
    /// The sensor's id, where the row is shared; without one there it is the entry's own.
    id: Option<Cow<'a, str>>,
}

impl<'a> Whose<'a> {
    fn new(row: Arc<Row>, id: Cow<'a, str>) -> Self {
        let id = row.is_shared().then_some(id);
        Self { row, id }
    }
}

/// Makes records of messages.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) name: String,
    pub(super) settings: Settings,
    pub(super) version: Version,
    remembered_max: usize,
    context: Context,
    /// Rows by topic, for topics that name their sensor.
    by_topic: HashMap<Box<[u8]>, Arc<Row>, RandomState>,
    /// Rows by id, for payloads that name their sensor.
    by_id: HashMap<Box<str>, Arc<Row>, RandomState>,
    digest: FixedState,
    numbers: Numbers,
    output: Own,
    own: Option<Arc<Row>>,
}

impl Reader {
    pub(super) fn new(
        name: &str,
        settings: Settings,
        version: Version,
        remembered_max: usize,
        context: &Context,
    ) -> Self {
        Self {
            name: name.to_owned(),
            settings,
            version,
            remembered_max,
            context: context.clone(),
            by_topic: HashMap::default(),
            by_id: HashMap::default(),
            digest: FixedState::default(),
            numbers: Numbers::default(),
            output: Own::new(Arc::clone(&context.run)),
            own: None,
        }
    }

    pub(super) fn subscription(&self) -> String {
        self.settings.topic.subscription(self.settings.group.as_ref().map(Group::as_str))
    }

    /// Enters a message into the ledger; `None` when it is held already. An error where the broker
    /// breaks the protocol.
    pub(super) fn enter(
        &self,
        ledger: &mut Ledger,
        publish: &Publish<'_>,
        metrics: &Metrics,
    ) -> Result<Option<Token>, Error> {
        match publish.qos {
            0 => return Ok(Some(Token::NONE)),
            1 => {}
            // From a subscription that somebody else made in our session.
            _ => ledger.expect_qos_2(publish.packet_id),
        }
        match ledger.enter(publish.packet_id, publish.dup, self.digest(publish)) {
            Entered::New(ordinal) => {
                metrics.repeats_taken.add(u64::from(publish.dup));
                Ok(Some(Token { source: self.context.source(), ordinal }))
            }
            Entered::Known => {
                metrics.repeats_matched.one();
                Ok(None)
            }
            Entered::Against(what) => {
                metrics.protocol_errors.one();
                Err(Error::Protocol(format!("the broker has sent {what}")))
            }
        }
    }

    /// Matches a message with what is held, and takes nothing new.
    pub(super) fn recognise(&self, ledger: &mut Ledger, publish: &Publish<'_>) {
        let known = publish.qos > 0
            && ledger.recognise(publish.packet_id, publish.dup, self.digest(publish));
        if known {
            self.context.metrics.repeats_matched.one();
            if publish.qos > 1 {
                ledger.expect_qos_2(publish.packet_id);
            }
        }
    }

    fn digest(&self, publish: &Publish<'_>) -> u64 {
        let mut hasher = self.digest.build_hasher();
        hasher.write(publish.topic);
        hasher.write(publish.payload);
        hasher.finish()
    }

    /// Makes a record of a message; what can be no reading becomes a dead letter. False for a message of which
    /// none is made: it is done with.
    pub(super) fn take(
        &mut self,
        publish: &Publish<'_>,
        token: Token,
        now: Now,
        chunk: &mut Chunk,
    ) -> bool {
        if let Some(back) = self.output.back(publish) {
            return self.take_own(publish, &back, (token, now), chunk);
        }
        if publish.retain && self.settings.retained == Retained::Skip {
            self.context.metrics.retained_skipped.one();
            return false;
        }
        let before = chunk.bytes();
        let (whose, body) = match self.read(publish, chunk) {
            Ok((whose, reading)) => (whose, reading),
            Err((whose, malformed)) => {
                chunk.take_back(before);
                (whose, unreadable(publish.payload, &malformed, chunk))
            }
        };
        self.put(publish, (whose, body), (token, now), chunk);
        true
    }

    /// Our own output that came back: counted, and mostly no more.
    fn take_own(
        &mut self,
        publish: &Publish<'_>,
        back: &Back<'_>,
        (token, now): (Token, Now),
        chunk: &mut Chunk,
    ) -> bool {
        self.context.metrics.loop_messages.one();
        if let Some(left_out) = self.output.warns(now.instant) {
            tracing::warn!(
                entry = self.name,
                topic = text::from_bytes(publish.topic),
                batch = %text::shown(back.batch),
                left_out,
                "our own output comes back by the subscription to {}: it is acknowledged and not taken; take \
                 the output topics out of the entry's topic, or publish elsewhere",
                self.subscription()
            );
        }
        let becomes_letter = self.output.becomes_letter(back, now.instant);
        if becomes_letter {
            let (batch, filter) = (back.batch, self.subscription());
            let detail =
                format!("batch {batch} of this run came back by the subscription to {filter}");
            let body =
                unreadable(publish.payload, &Malformed { reason: Reason::Loop, detail }, chunk);
            let own = self.own();
            self.put(publish, (own, body), (token, now), chunk);
        }
        becomes_letter
    }

    /// Puts a record into the chunk.
    fn put(
        &self,
        publish: &Publish<'_>,
        (Whose { row, id }, body): (Whose<'_>, Body),
        (token, now): (Token, Now),
        chunk: &mut Chunk,
    ) {
        let shown = publish.topic.get(..TOPIC_SHOWN_BYTES_MAX).unwrap_or(publish.topic);
        let topic = match std::str::from_utf8(shown) {
            Ok(topic) => chunk.put(topic.as_bytes()),
            Err(_) => chunk.put(String::from_utf8_lossy(shown).as_bytes()),
        };
        let id = id.as_deref().unwrap_or(&self.name).as_bytes();
        let record = Record {
            token,
            topic,
            retained: publish.retain,
            sheddable: publish.qos == 0 && self.context.on_full != OnFull::Wait,
            ..self.context.record(&row, id, body, now, chunk)
        };
        chunk.records.push(record);
    }

    /// Whose a message is, and its content.
    fn read<'a>(
        &mut self,
        publish: &Publish<'a>,
        chunk: &mut Chunk,
    ) -> Result<(Whose<'a>, Body), (Whose<'a>, Malformed)> {
        let whose = match self.whose(publish.topic) {
            Ok(whose) => whose,
            Err(malformed) => return Err((self.own(), malformed)),
        };
        if let Some(malformed) = self.oversize(publish) {
            return Err((whose, malformed));
        }
        let named = self.settings.topic.has_placeholder();
        let named = named.then(|| whose.id.as_deref().unwrap_or(&whose.row.id));
        let reading = match self.settings.payload.decode(publish.payload, named, chunk) {
            Ok(reading) => reading,
            Err(malformed) => return Err((whose, malformed)),
        };
        let body = match self.context.body(&reading) {
            Ok(body) => body,
            Err(malformed) => return Err((whose, malformed)),
        };
        let whose = match reading.sensor {
            Some(id) => match self.row_by_id(&id) {
                Ok(row) => Whose::new(row, id),
                Err(malformed) => return Err((whose, malformed)),
            },
            None => whose,
        };
        if let Some(number) = reading.number {
            self.numbers.judge(&whose.row, number, publish, &self.context.metrics);
        }
        Ok((whose, body))
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

    /// Whose a message on this topic is: the sensor's that the topic names, or the entry's own. A row that
    /// is shared is not remembered: what somebody invents takes no place from those who have one.
    fn whose<'a>(&mut self, topic: &'a [u8]) -> Result<Whose<'a>, Malformed> {
        if let Some(row) = self.by_topic.get(topic) {
            return Ok(Whose { row: Arc::clone(row), id: None });
        }
        let wrong = |detail: &str| Malformed { reason: Reason::Topic, detail: detail.to_owned() };
        let text = std::str::from_utf8(topic).map_err(|_| wrong("the topic is not UTF-8"))?;
        if topic.len() > TOPIC_SHOWN_BYTES_MAX {
            return Err(wrong(&format!("the topic has {} bytes; cut here", topic.len())));
        }
        if !self.settings.topic.matches(text) {
            return Err(wrong(
                "not a topic of this entry: an earlier configuration's subscription is still in \
                 the broker's session",
            ));
        }
        let Some(id) = self.settings.topic.sensor(topic) else { return Ok(self.own()) };
        let id = usable_id(id)?;
        let whose = Whose::new(self.row(id), Cow::Borrowed(id));
        let worth = !whose.row.is_shared() && topic.len() <= TOPIC_REMEMBERED_BYTES_MAX;
        if worth && self.by_topic.len() < self.remembered_max {
            self.by_topic.insert(topic.into(), Arc::clone(&whose.row));
        }
        Ok(whose)
    }

    /// The entry itself. Its row is made when it is needed: an entry whose sensors are all named by their
    /// topic takes none of `gateway.sensors_max`.
    fn own(&mut self) -> Whose<'static> {
        let (registry, entry) = (&self.context.registry, self.context.entry);
        let own = self.own.get_or_insert_with(|| registry.row_of(&self.name, entry));
        Whose { row: Arc::clone(own), id: None }
    }

    fn row_by_id(&mut self, id: &str) -> Result<Arc<Row>, Malformed> {
        if let Some(row) = self.by_id.get(id) {
            return Ok(Arc::clone(row));
        }
        let row = self.row(usable_id(id.as_bytes())?);
        if !row.is_shared() && self.by_id.len() < self.remembered_max {
            self.by_id.insert(id.into(), Arc::clone(&row));
        }
        Ok(row)
    }

    fn row(&self, id: &str) -> Arc<Row> {
        self.context.registry.row_of(id, self.context.entry)
    }
}

#[cfg(test)]
mod tests;
