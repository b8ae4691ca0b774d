//! The connection: subscribes, and shows what comes.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::End;
use super::printer::Printer;
use super::shown::{self, Held, Line, Wanted};
use crate::clock::{self, Now};
use crate::codec::Format;
use crate::limits::{READ_AHEAD_BYTES, WRITE_BUFFER_BYTES_MAX};
use crate::mqtt;
use crate::mqtt::attempt::{Attempt, Failed};
use crate::mqtt::client::{self, Client, Step};
use crate::mqtt::connection::Connection;
use crate::mqtt::frame::{Inbound, Incoming};
use crate::mqtt::options::BrokerUrl;
use crate::mqtt::outbound::Outbound;
use crate::mqtt::outgoing::Hello;
use crate::mqtt::packet::{Greeting, Packet};
use crate::mqtt::publish::Publish;
use crate::mqtt::session::Session;
use crate::mqtt::topic::Filter;
use crate::plan::Plan;
use crate::tools::listening::{Topics, ended};
use crate::tools::verify::{Error, batch, line_bytes_max};

/// The smallest read buffer: batches of another gateway may be larger than this configuration's. A larger one is
/// shown as unreadable.
const READ_BUFFER_BYTES_MIN: usize = 1024 * 1024;

/// How often it is looked whether what was left out can be said.
const SAY_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Listener<'a> {
    session: Session,
    /// For dead letters.
    letters: Filter,
    topics: Topics,
    format: Format,
    batch_bytes_max: usize,
    wanted: Wanted,
    printer: Printer,
    end: End<'a>,
    has_heard: bool,
    is_stopped: bool,
}

impl<'a> Listener<'a> {
    /// A listener to batches and dead letters.
    pub(super) fn new(
        plan: &Plan,
        filters: [Filter; 2],
        wanted: Wanted,
        printer: Printer,
        end: End<'a>,
    ) -> Result<Self, Error> {
        let now = clock::now();
        let seed = now.wall.millis() ^ u64::from(std::process::id()) << 40;
        let suffix: u32 = SmallRng::seed_from_u64(seed).random();
        let client = plan.output_client(&format!("tail-{suffix:08x}"));
        if client.url == BrokerUrl::Embedded {
            return Err(Error::Embedded);
        }
        let buffer = plan.batch.bytes_max.get() + plan.batch_overhead_bytes() + READ_AHEAD_BYTES;
        let skipped = usize::from(wanted.is_of_dead_letters());
        let topics = filters.iter().skip(skipped).map(|it| it.subscription(None)).collect();
        let [_, letters] = filters;
        Ok(Self {
            session: Session::new(client, buffer.max(READ_BUFFER_BYTES_MIN), seed),
            letters,
            topics: Topics::new(topics, 0, true, now.instant),
            format: plan.output.format,
            batch_bytes_max: line_bytes_max(plan),
            wanted,
            printer,
            end,
            has_heard: false,
            is_stopped: false,
        })
    }

    /// Shows until its end.
    pub(super) async fn listen(mut self) -> Result<Printer, Error> {
        match client::run(&mut self).await {
            Err(error) => {
                Err(Error::Broker { broker: self.session.options().url.to_string(), error })
            }
            Ok(()) => Ok(self.printer),
        }
    }

    fn take(
        &mut self,
        now: Instant,
        inbound: &mut Inbound,
        out: &mut Outbound,
    ) -> Result<(), mqtt::Error> {
        let version = self.session.options().version;
        while !self.is_over(now)
            && let Some(incoming) = inbound.packet()?
        {
            match incoming {
                Incoming::Publish(publish) => self.show(&publish, out),
                Incoming::Other(bytes) => {
                    let packet = Connection::read(version, bytes)?;
                    self.control(packet, out)?;
                }
            }
        }
        Ok(())
    }

    fn show(&mut self, publish: &Publish<'_>, out: &mut Outbound) {
        if publish.qos > 0 {
            out.puback(publish.packet_id);
        }
        // From before.
        if publish.retain {
            return;
        }
        let mut lines = self.lines(publish);
        lines.truncate(self.left());
        if lines.is_empty() {
            return;
        }
        let count = lines.len() as u64;
        let text: String = lines.into_iter().map(|it| it.text).collect();
        self.printer.offer(&text, count);
    }

    fn lines(&self, publish: &Publish<'_>) -> Vec<Line> {
        let unreadable = |why| Vec::from_iter(self.wanted.unreadable(publish.payload, why));
        if publish.cut.is_some() {
            return unreadable("larger than a batch may be");
        }
        // Dead letters first: "gateway/#" for batches matches them too.
        if self.letters.matches(&String::from_utf8_lossy(publish.topic)) {
            return self.wanted.lines(&Held::DeadLetters(shown::of_letters(publish.payload)));
        }
        let Some(text) = batch::text(publish.payload, self.batch_bytes_max) else {
            return unreadable("cannot be unpacked");
        };
        match batch::records(&text, self.format) {
            records if records.is_empty() => unreadable("no batch"),
            records => self.wanted.lines(&Held::Records(records)),
        }
    }

    /// How many more are to be shown.
    fn left(&self) -> usize {
        if self.end.follows {
            return usize::MAX;
        }
        usize::try_from(self.end.count.saturating_sub(self.printer.shown())).unwrap_or(usize::MAX)
    }

    fn control(&mut self, packet: Packet, out: &mut Outbound) -> Result<(), mqtt::Error> {
        if self.topics.answered(packet, out)? {
            self.session.proved();
            if std::mem::replace(&mut self.has_heard, true) {
                tracing::warn!("listening again; what was published meanwhile is not shown");
            } else {
                tracing::info!(broker = %self.session.options().url, "listening");
            }
        }
        Ok(())
    }

    /// Returns the pause before the next attempt. A refusal ends one that has heard nothing yet.
    fn handle_lost(&mut self, now: Instant, error: mqtt::Error) -> Result<Duration, mqtt::Error> {
        if error.is_permanent() && !self.has_heard {
            return Err(error);
        }
        Ok(self.session.lost(now, &error))
    }

    fn is_over(&self, now: Instant) -> bool {
        self.is_stopped
            || self.printer.is_gone()
            || self.left() == 0
            || self.end.until.is_some_and(|until| now >= until)
    }
}

impl Client for Listener<'_> {
    fn is_wanted(&mut self) -> bool {
        !self.is_over(clock::now().instant)
    }

    fn attempt(&mut self) -> Attempt {
        self.session.attempt(Hello {
            clean_start: true,
            session_expiry: None,
            receive_max: None,
            packet_bytes_max: None,
            will: None,
        })
    }

    fn handle_failed(&mut self, now: Now, failed: Failed) -> Result<Duration, mqtt::Error> {
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
    ) -> Result<(), mqtt::Error> {
        self.session.handle_connected(now.instant, &greeting);
        self.topics.connected(now.instant, out)
    }

    fn advance(
        &mut self,
        now: Now,
        inbound: &mut Inbound,
        out: &mut Outbound,
    ) -> Result<Step, mqtt::Error> {
        let now = now.instant;
        self.take(now, inbound, out)?;
        self.printer.say();
        if self.is_over(now) {
            return Ok(Step::CloseForGood);
        }
        let say = self.printer.owes().then(|| now + SAY_EVERY);
        let due = [self.topics.due(now)?, self.end.until, say];
        let until = due.into_iter().flatten().min();
        Ok(Step::Wait { reads: out.backlog() < WRITE_BUFFER_BYTES_MAX, until })
    }

    fn handle_disconnected(
        &mut self,
        now: Now,
        ended: Result<(), mqtt::Error>,
    ) -> Result<Option<Duration>, mqtt::Error> {
        ended.err().map(|error| self.handle_lost(now.instant, error)).transpose()
    }

    /// A stop, the end of the time, or of whoever reads.
    async fn woken(&mut self) {
        tokio::select! {
            () = ended(self.end.stops, self.end.until) => {}
            () = self.printer.gone() => {}
        }
        self.is_stopped = true;
    }
}
