//! `/api/status`: the state of the gateway as one JSON object. Members are named as in the envelope, durations
//! are in seconds, times in RFC 3339.

use std::time::Instant;

use serde::Serialize;
use utoipa::ToSchema;

use super::levels::{MEMORY, levels};
use super::{Readiness, View};
use crate::clock::Now;
use crate::state::board::Spell;
use crate::state::certificates;
use crate::state::metrics::Balance;
use crate::state::registry::{OVERFLOW, Sum};
use crate::state::standing::Seen;

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Status)]
pub(super) struct Snapshot {
    gateway: String,
    version: &'static str,
    #[schema(format = DateTime)]
    started_at: String,
    uptime_seconds: u64,
    #[serde(flatten)]
    readiness: Readiness,
    /// Since when its health is so.
    #[schema(format = DateTime)]
    health_since: String,
    /// Absent: it was not degraded in this run, or is for the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_degraded: Option<Degraded>,
    balance: Books,
    losses: Losses,
    /// Age of the oldest reading that has not settled.
    oldest_reading_seconds: f64,
    /// Since when the spool has held batches.
    spooling_seconds: f64,
    limits: Vec<Limit>,
    sessions: Vec<Session>,
    certificates: Vec<Certificate>,
    sensors: Vec<Entry>,
}

/// The last time that it was degraded, and is no more.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Degraded {
    /// How often it was, this one with them.
    times: u64,
    #[schema(format = DateTime)]
    from: String,
    #[schema(format = DateTime)]
    until: String,
    /// Why, at its end.
    reason: String,
}

/// The columns of a balance.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Balance)]
pub(super) struct Books {
    received: u64,
    delivered: u64,
    dead_lettered: u64,
    shed: u64,
    held: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    spooled: Option<u64>,
}

/// What may be lost, or is, and shows in no column of the balance; since the start.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Losses {
    /// Messages that the readings' broker has dropped by its own count, for any of its clients.
    broker_dropped: u64,
    /// Sessions that a broker should have kept and had no longer, with the messages in them.
    sessions_lost: u64,
    /// Numbers of sensors that were passed over and have not come since.
    numbers_missing: u64,
    /// Batches that the output's broker took while nobody subscribed to their topic. Those that are held for that
    /// (`output.without_subscriber`) are not lost, and not among them.
    batches_without_subscriber: u64,
    /// Readings in the spool that cannot be read again. The balance has them as held.
    spool_unreadable: u64,
}

#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Limit {
    name: &'static str,
    from: &'static str,
    value: u64,
    max: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Session {
    name: String,
    usable: bool,
    for_seconds: u64,
    connections: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_trouble: Option<String>,
}

/// Certificates on which the connections to a broker stand.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Certificate {
    /// The section of the configuration that names the broker.
    broker: &'static str,
    /// `ca`, `client` or `server`.
    kind: &'static str,
    /// Where they are read from; absent where the broker has shown them.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// When the first of them expires.
    #[schema(format = DateTime)]
    expires_at: String,
}

impl From<certificates::Certificate> for Certificate {
    fn from(it: certificates::Certificate) -> Self {
        let certificates::Certificate { broker, kind, file, end } = it;
        let file = file.map(|it| it.display().to_string());
        Self { broker, kind: kind.word(), file, expires_at: end.to_string() }
    }
}

/// An entry's sensors, added up.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EntrySum)]
pub(super) struct Entry {
    name: String,
    sensors: u64,
    late: u64,
    silent: u64,
    /// Readings that wait for their turn (`quota.over = "keep_latest"`): in no column of the balance yet.
    waiting: u64,
    #[serde(flatten)]
    balance: Books,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    last_received_at: Option<String>,
}

/// An entry, as it is listed.
#[derive(Debug)]
pub(super) struct Listed {
    /// Its place in the registry; `None`: these sensors belong to no entry.
    pub(super) place: Option<u32>,
    pub(super) name: String,
    pub(super) sum: Sum,
}

impl Snapshot {
    /// The state at `now`.
    pub(super) fn new(view: &View, now: Now) -> Self {
        let books = &view.books;
        let spooling = books.gauges.moments().spooling;
        let spooling = spooling.map(|since| now.instant.saturating_duration_since(since));
        let limits = levels(view).into_iter();
        let past = books.board.past();
        Self {
            gateway: view.plan.get().gateway.id.clone(),
            version: env!("CARGO_PKG_VERSION"),
            started_at: view.started.wall.to_string(),
            uptime_seconds: now.instant.saturating_duration_since(view.started.instant).as_secs(),
            readiness: view.readiness(now.instant),
            health_since: view.at(past.since),
            last_degraded: past.last.map(|it| Degraded::new(view, past.spells, it)),
            balance: Books::total(books.balance()),
            losses: Losses::new(view),
            oldest_reading_seconds: books.oldest_age(now.instant).unwrap_or_default().as_secs_f64(),
            spooling_seconds: spooling.unwrap_or_default().as_secs_f64(),
            limits: limits
                .map(|it| Limit { name: it.name, from: it.limit, value: it.value, max: it.max })
                .collect(),
            sessions: view
                .sessions()
                .into_iter()
                .map(|(name, seen)| Session::new(name, seen, now))
                .collect(),
            certificates: books.certificates.all().into_iter().map(Certificate::from).collect(),
            sensors: entries(view),
        }
    }

    /// The limits but for that of the memory.
    fn resting(&self) -> impl Iterator<Item = &Limit> {
        self.limits.iter().filter(|it| it.name != MEMORY)
    }

    /// Whether this says the same as the other one, but for ages, and for the memory, which never rests.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        self.readiness == other.readiness
            && self.last_degraded == other.last_degraded
            && self.balance == other.balance
            && self.losses == other.losses
            && self.resting().eq(other.resting())
            && self.sensors == other.sensors
            && self.certificates == other.certificates
            && self
                .sessions
                .iter()
                .map(Session::still)
                .eq(other.sessions.iter().map(Session::still))
    }
}

impl View {
    /// The time of a moment, by the wall clock of the start.
    fn at(&self, moment: Instant) -> String {
        let since = moment.saturating_duration_since(self.started.instant);
        self.started.later(since).wall.to_string()
    }

    /// Each connection's state, by name: the output first.
    pub(super) fn sessions(&self) -> Vec<(String, Seen)> {
        let standings = &self.books.standings;
        let sessions = standings.sessions().into_iter();
        let sessions = sessions.map(|(name, it)| (format!("sensors.{name}"), it.seen()));
        std::iter::once(("output".to_owned(), standings.output.seen())).chain(sessions).collect()
    }

    /// Each entry with the books of its sensors, and those of the sensors that belong to none. One that was removed is left
    /// out once nothing of it is held: its readings stay in the totals.
    pub(super) fn entries(&self) -> Vec<Listed> {
        let registry = &self.books.registry;
        // In this order: an entry that is added in between is shown the next time.
        let (names, mut sums) = (registry.entries(), registry.sums());
        let others = sums.pop().map(|sum| Listed { place: None, name: OVERFLOW.to_owned(), sum });
        let all = (0..).zip(names).zip(sums);
        let all = all.map(|((place, name), sum)| Listed { place: Some(place), name, sum });
        all.filter(|it| !it.sum.is_over()).chain(others).collect()
    }
}

impl Books {
    fn total(balance: Balance) -> Self {
        Self { spooled: Some(balance.spooled), ..Self::of(balance) }
    }

    /// Those of a sensor, or of several.
    pub(super) fn of(balance: Balance) -> Self {
        let Balance { received, delivered, dead_lettered, shed, held, spooled: _ } = balance;
        Self { received, delivered, dead_lettered, shed, held, spooled: None }
    }
}

impl Degraded {
    fn new(view: &View, times: u64, spell: Spell) -> Self {
        let Spell { from, until, reason } = spell;
        Self { times, from: view.at(from), until: view.at(until), reason }
    }
}

impl Losses {
    fn new(view: &View) -> Self {
        let metrics = &view.books.metrics;
        let holds = view.plan.get().output.sink.declared().holds_without_subscriber();
        let unheard = if holds { 0 } else { metrics.batches_without_subscriber.get() };
        Self {
            broker_dropped: metrics.broker_dropped.get(),
            sessions_lost: metrics.sessions_lost.get(),
            numbers_missing: metrics.numbers_still_missing(),
            batches_without_subscriber: unheard,
            spool_unreadable: metrics.spool_unreadable.get(),
        }
    }
}

impl Session {
    /// What does not change by itself.
    fn still(&self) -> (&str, bool, u64, Option<&str>) {
        (&self.name, self.usable, self.connections, self.last_trouble.as_deref())
    }

    pub(super) fn new(name: String, seen: Seen, now: Now) -> Self {
        let Seen { usable, since, epoch, trouble, certificate_end: _ } = seen;
        let for_seconds = now.instant.saturating_duration_since(since).as_secs();
        Self { name, usable, for_seconds, connections: epoch, last_trouble: trouble }
    }
}

fn entries(view: &View) -> Vec<Entry> {
    view.entries().into_iter().map(|it| Entry::new(it.name, &it.sum)).collect()
}

impl Entry {
    pub(super) fn new(name: String, sum: &Sum) -> Self {
        Self {
            name,
            sensors: sum.sensors,
            late: sum.late,
            silent: sum.silent,
            waiting: sum.waiting,
            balance: Books::of(sum.balance),
            last_received_at: sum.last_received.map(|at| at.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::mqtt::Error;
    use crate::ops::tests::view;
    use crate::state::board::{Health, Status};

    #[test]
    fn the_status_tells_how_long_things_have_waited_and_what_the_trouble_was() {
        let view = view();
        let (books, start) = (&view.books, view.started);
        books.recovered("a", None, 7);
        books.gauges.spool_batches.set(1);
        books.gauges.look(Some(start.instant), start.instant);
        let trouble = Error::TimedOut(Duration::from_secs(3));
        books.standings.output.lost(start.instant, &trouble);
        let now = start.later(Duration::from_secs(8));
        let told = serde_json::to_value(Snapshot::new(&view, now)).unwrap();
        assert_eq!(told["uptimeSeconds"], 8);
        assert_eq!(told["oldestReadingSeconds"], 8.0);
        assert_eq!(told["spoolingSeconds"], 8.0);
        assert_eq!(told["balance"]["spooled"], books.balance().spooled);
        let output = &told["sessions"][0];
        assert_eq!((&output["name"], &output["usable"]), (&"output".into(), &false.into()));
        assert_eq!(output["lastTrouble"], trouble.to_string());
    }

    #[test]
    fn the_status_tells_since_when_it_is_ready_and_when_it_was_degraded_last() {
        let view = view();
        let told = |seconds, health, reason: Option<&str>| {
            let now = view.started.later(Duration::from_secs(seconds));
            let reason = reason.map(str::to_owned);
            view.books.board.put_up(Status { health, reason, looked: now.instant });
            (serde_json::to_value(Snapshot::new(&view, now)).unwrap(), now.wall.to_string())
        };
        let (away, from) = told(60, Health::Degraded, Some("the output is away"));
        assert_eq!((&away["healthSince"], away.get("lastDegraded")), (&from.clone().into(), None));
        let (back, until) = told(90, Health::Ready, None);
        assert_eq!(back["healthSince"], until);
        let expected = serde_json::json!({
            "times": 1, "from": from, "until": until, "reason": "the output is away"
        });
        assert_eq!(back["lastDegraded"], expected);
    }

    #[test]
    fn a_loss_that_no_column_shows_is_in_the_status_and_is_news() {
        let view = view();
        let before = Snapshot::new(&view, view.started);
        let metrics = &view.books.metrics;
        metrics.broker_dropped.add(12);
        metrics.sessions_lost.one();
        metrics.numbers_missing.add(5);
        metrics.numbers_late.add(2);
        metrics.batches_without_subscriber.add(7);
        metrics.spool_unreadable.add(4);
        let now = Snapshot::new(&view, view.started);
        assert!(!now.is_as(&before));
        let expected = serde_json::json!({
            "brokerDropped": 12, "sessionsLost": 1, "numbersMissing": 3, "batchesWithoutSubscriber": 7,
            "spoolUnreadable": 4
        });
        assert_eq!(serde_json::to_value(now).unwrap()["losses"], expected);
    }
}
