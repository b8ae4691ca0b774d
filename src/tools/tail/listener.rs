//! The connection: subscribes, and shows what comes.

use std::time::{Duration, Instant};

use super::End;
use super::printer::Printer;
use super::shown::{self, Held, Line, Wanted};
use crate::clock::{self, Now};
use crate::codec::Format;
use crate::limits::READ_AHEAD_BYTES;
use crate::mqtt::options::{BrokerUrl, Version};
use crate::mqtt::outgoing::Hello;
use crate::mqtt::publish::Publish;
use crate::mqtt::topic::Filter;
use crate::plan::Plan;
use crate::tools::listening::{Hears, Listener, Topics, client, ended};
use crate::tools::verify::{Error, batch, line_bytes_max};

/// The smallest read buffer: batches of another gateway may be larger than this configuration's. A larger one is
/// shown as unreadable.
const READ_BUFFER_BYTES_MIN: usize = 1024 * 1024;

/// How often it is looked whether what was left out can be said.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// Shows what comes.
#[derive(Debug)]
struct Shows<'a> {
    /// For dead letters.
    letters: Filter,
    format: Format,
    batch_bytes_max: usize,
    wanted: Wanted,
    printer: Printer,
    end: End<'a>,
}

/// Listens to batches and dead letters, and shows them until its end.
pub(super) async fn listen(
    plan: &Plan,
    filters: [Filter; 2],
    wanted: Wanted,
    printer: Printer,
    end: End<'_>,
) -> Result<Printer, Error> {
    let client = client("tail", |name| plan.output_client(name)).ok_or(Error::Embedded)?;
    let buffer = plan.batch.bytes_max.get() + plan.batch_overhead_bytes() + READ_AHEAD_BYTES;
    let skipped = usize::from(wanted.is_of_dead_letters());
    let topics = filters.iter().skip(skipped).map(|it| it.subscription(None)).collect();
    let topics = Topics::new(topics, 0, true, clock::now().instant);
    let [_, letters] = filters;
    let (format, batch_bytes_max) = (plan.output.format, line_bytes_max(plan));
    let shows = Shows { letters, format, batch_bytes_max, wanted, printer, end };
    let ended = Listener::new(client, buffer.max(READ_BUFFER_BYTES_MIN), topics, shows).listen();
    let shows = ended.await.map_err(|(broker, error)| Error::Broker { broker, error })?;
    Ok(shows.printer)
}

impl Shows<'_> {
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
}

impl Hears for Shows<'_> {
    /// With QoS 0 there is no window.
    fn hello(&self, _: Version) -> Hello {
        Hello { clean_start: true, ..Hello::default() }
    }

    fn hears(&mut self, _: Now, broker: &BrokerUrl, again: bool) {
        if again {
            tracing::warn!("listening again; what was published meanwhile is not shown");
        } else {
            tracing::info!(%broker, "listening");
        }
    }

    fn take(&mut self, publish: &Publish<'_>, _: Now) {
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

    fn tend(&mut self, _: Instant) {
        self.printer.say();
    }

    fn is_full(&self) -> bool {
        self.printer.is_gone() || self.left() == 0
    }

    fn is_over(&mut self, now: Instant) -> bool {
        self.end.until.is_some_and(|until| now >= until)
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        let say = self.printer.owes().then(|| now + SAY_EVERY);
        [self.end.until, say].into_iter().flatten().min()
    }

    /// A stop, the end of the time, or of whoever reads.
    async fn ended(&mut self) {
        tokio::select! {
            () = ended(self.end.stops, self.end.until) => {}
            () = self.printer.gone() => {}
        }
    }
}
