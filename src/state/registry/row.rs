//! A sensor's row: its books, its sequence, when it was heard, and whether it keeps silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::owner::Owner;
use crate::clock::Timestamp;
use crate::settlement::{Outcome, Policy, SensorIndex};
use crate::state::head::Head;
use crate::state::last_letter::LastLetter;
use crate::state::metrics::Balance;
use crate::state::presence::Presence;
use crate::state::rate::Rate;
use crate::state::rhythm::{REPORT_PAUSE, Rhythm};
use crate::state::series::{Seen, Series};
use crate::units::ExpectedInterval;

pub use self::recalled::Before;

mod recalled;

/// [`REPORT_PAUSE`] in milliseconds.
const REPORT_MILLIS: u64 = 1000;
const _: () = assert!(REPORT_PAUSE.as_millis() == REPORT_MILLIS as u128);

/// A moment; none at 0.
fn time(at: &AtomicU64) -> Option<Timestamp> {
    let millis = at.load(Ordering::Relaxed) & !GONE;
    (millis > 0).then_some(Timestamp::from_millis(millis))
}

/// Its notice is due ([`super::notices`]); one ever was; its state has changed, and nobody has looked; it was forgotten
/// ([`super::room`]), and its place may be another sensor's; the queue has shed a reading of it; an earlier run has left
/// its state ([`Before`]), and how often it reports.
const DUE: u8 = 1;
const KNOWN: u8 = 2;
const CHANGED: u8 = 4;
const FORGOTTEN: u8 = 8;
const SHED: u8 = 16;
const RECALLED: u8 = 32;
const LEARNED: u8 = 64;

/// In the time of its last reading: it was told that the sensor is gone, or that time is of an earlier run, and nothing has
/// come since. So the next reading is a report, however soon it comes.
const GONE: u64 = 1 << 63;

/// The policies that leave readings out before they are records.
const LEFT_OUT: [Policy; 3] = [Policy::Deduplicate, Policy::Filter, Policy::Quota];

/// What stands between the quotes of a JSON string.
fn unquoted(json: &str) -> Option<&str> {
    json.strip_prefix('"')?.strip_suffix('"')
}

/// One sensor.
///
/// What the intakes' thread writes for each reading comes first, behind the counts of who has the row, and what the worker's
/// thread writes for each record stands far from it, with what is seldom written in between: two processors that write
/// into one cache line wait for one another. So the order is this one.
#[derive(Debug)]
#[repr(C)]
pub struct Row {
    received: AtomicU64,
    last_received: AtomicU64,
    /// The head of its last value.
    last_value: Head,
    /// The state of its [`Series`].
    series: [AtomicU64; 3],

    numbers_missing: AtomicU64,
    pub(super) times_unused: AtomicU64,
    first_received: AtomicU64,
    /// Its [`Rhythm`], its [`Presence`], and since when it has that.
    rhythm: AtomicU64,
    since: AtomicU64,
    presence: AtomicU8,
    /// [`DUE`], [`KNOWN`], [`CHANGED`], [`FORGOTTEN`], [`SHED`], [`RECALLED`], [`LEARNED`].
    marks: AtomicU8,
    /// It is of all sensors of an entry that have no row of their own.
    pub(super) shared: bool,
    /// It was found in the spool, and its entry has not heard it in this run.
    pub(super) unheard: AtomicBool,
    pub index: SensorIndex,
    /// Its id as a JSON string.
    json: Box<str>,
    /// Its id, where that is not what stands between the quotes.
    plain: Option<Box<str>>,
    /// The entry that it is of; none where only a spool has named it.
    owner: Option<Arc<Owner>>,
    /// Its [`Rate`].
    rate: [AtomicU32; 3],
    /// The second in which it is looked at ([`crate::state::liveness`]).
    look_at: AtomicU32,
    /// Readings that policies left out before they were records, in the order of [`LEFT_OUT`].
    left_out: [AtomicU64; 3],
    /// When its last dead letter was taken, and why it was one.
    pub last_letter: LastLetter,

    delivered: AtomicU64,
    dead_lettered: AtomicU64,
    shed: AtomicU64,
    spooled: AtomicU64,
    recovered: AtomicU64,
    abandoned: AtomicU64,
}

impl Row {
    pub(super) fn new(index: u32, id: &str, shared: bool, owner: Option<Arc<Owner>>) -> Arc<Self> {
        let json: Box<str> = serde_json::Value::from(id).to_string().into();
        let plain = (unquoted(&json) != Some(id)).then(|| id.into());
        Arc::new(Self {
            index: SensorIndex(index),
            json,
            plain,
            shared,
            owner,
            unheard: AtomicBool::new(false),
            received: AtomicU64::new(0),
            recovered: AtomicU64::new(0),
            spooled: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            dead_lettered: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            left_out: Default::default(),
            abandoned: AtomicU64::new(0),
            first_received: AtomicU64::new(0),
            last_received: AtomicU64::new(0),
            rhythm: AtomicU64::new(0),
            presence: AtomicU8::new(0),
            since: AtomicU64::new(0),
            series: Default::default(),
            numbers_missing: AtomicU64::new(0),
            times_unused: AtomicU64::new(0),
            marks: AtomicU8::new(0),
            last_value: Head::default(),
            last_letter: LastLetter::default(),
            rate: Default::default(),
            look_at: AtomicU32::new(0),
        })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        self.plain.as_deref().or_else(|| unquoted(&self.json)).unwrap_or_default()
    }

    /// Its id as a JSON string, as it stands in envelopes.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Counts a record taken at `at` and gives its sequence number, from 1.
    pub fn receive(&self, at: Timestamp) -> u64 {
        self.heard(at);
        self.count()
    }

    /// A reading has come.
    pub fn heard(&self, at: Timestamp) {
        let before = self.last_received.load(Ordering::Relaxed);
        self.last_received.store(at.millis(), Ordering::Relaxed);
        // A clock that was set back has a long pause, too.
        if at.millis().wrapping_sub(before) >= REPORT_MILLIS {
            self.hear(before, at);
        }
    }

    /// Counts a record of which nobody can say when its sensor sent it, and gives its sequence number.
    pub fn count(&self) -> u64 {
        self.received.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The last of what was counted was not taken after all.
    pub(super) fn take_back(&self) {
        self.received.fetch_sub(1, Ordering::Relaxed);
    }

    /// A report begins.
    #[cold]
    fn hear(&self, before: u64, at: Timestamp) {
        let before = before & !GONE;
        if before == 0 {
            self.since.store(at.millis(), Ordering::Relaxed);
        }
        let first = self.first_received();
        // The clock may have been set back.
        if first.is_none_or(|first| at < first) {
            self.first_received.store(at.millis(), Ordering::Relaxed);
        }
        let Some(owner) = self.owner.as_ref().filter(|_| !self.shared) else { return };
        let pause = at.millis().checked_sub(before).map(Duration::from_millis);
        let listened = owner.listening.since(at).filter(|since| since.millis() <= before);
        if let Some((pause, _)) = pause.zip(listened) {
            let rhythm = Rhythm(self.rhythm.load(Ordering::Relaxed)).with(pause);
            self.rhythm.store(rhythm.0, Ordering::Relaxed);
        }
        if self.presence() != Presence::Online {
            self.is_now(Presence::Online, at);
            self.has_changed(owner);
        }
    }

    /// It was told that the sensor is there, or is gone.
    pub fn told(&self, is_there: bool, at: Timestamp) {
        let Some(owner) = self.owner.as_ref().filter(|_| !self.shared) else { return };
        if is_there && self.since().is_none() {
            self.since.store(at.millis(), Ordering::Relaxed);
            return;
        }
        let presence = if is_there { Presence::Online } else { Presence::Silent };
        if !is_there {
            self.last_received.fetch_or(GONE, Ordering::Relaxed);
        }
        if self.presence() != presence {
            self.is_now(presence, at);
            self.has_changed(owner);
        }
    }

    /// Whether it was told that the sensor is gone, and nothing has come since.
    pub fn is_gone(&self) -> bool {
        self.last_received.load(Ordering::Relaxed) & GONE > 0
    }

    fn has_changed(&self, owner: &Owner) {
        if self.marks.fetch_or(CHANGED, Ordering::Relaxed) & CHANGED == 0 {
            owner.has_changed(self.index);
        }
    }

    /// Somebody has looked at its state.
    pub fn is_seen(&self) {
        self.marks.fetch_and(!CHANGED, Ordering::Relaxed);
    }

    /// Whether something comes of it.
    pub fn presence(&self) -> Presence {
        Presence::of(self.presence.load(Ordering::Relaxed))
    }

    /// Since when it is that; `None` before it was heard.
    pub fn since(&self) -> Option<Timestamp> {
        time(&self.since)
    }

    /// Sets it.
    pub fn is_now(&self, presence: Presence, at: Timestamp) {
        self.presence.store(presence as u8, Ordering::Relaxed);
        self.since.store(at.millis(), Ordering::Relaxed);
    }

    /// Its notice is due now. Whether it was not before.
    pub(super) fn is_now_due(&self) -> bool {
        self.marks.fetch_or(DUE | KNOWN, Ordering::Relaxed) & DUE == 0
    }

    /// Its notice was taken.
    pub(super) fn is_due_no_more(&self) {
        self.marks.fetch_and(!DUE, Ordering::Relaxed);
    }

    /// Whether its notice ever was due.
    pub(super) fn was_ever_due(&self) -> bool {
        self.marks.load(Ordering::Relaxed) & KNOWN > 0
    }

    /// Whether a broker may keep a notice of it, of this run or of an earlier one.
    pub(super) fn may_have_notice(&self) -> bool {
        self.marks.load(Ordering::Relaxed) & (KNOWN | RECALLED) > 0
    }

    /// How often it reports, as it is set or learned; `None`: nobody can say, or not yet.
    pub fn interval(&self) -> Option<Duration> {
        let owner = self.owner.as_ref().filter(|_| !self.shared)?;
        match owner.expected() {
            Some(ExpectedInterval::None) => None,
            Some(ExpectedInterval::Every(period)) => Some(period.0),
            None => {
                let rhythm = Rhythm(self.rhythm.load(Ordering::Relaxed));
                if self.marks.load(Ordering::Relaxed) & LEARNED > 0 {
                    return Some(rhythm.going_on());
                }
                rhythm.interval(self.observed(), self.received())
            }
        }
    }

    /// How long it has been heard in this run.
    fn observed(&self) -> Duration {
        let heard = self.first_received().zip(self.last_received());
        let millis = heard.map(|(first, last)| last.millis().saturating_sub(first.millis()));
        Duration::from_millis(millis.unwrap_or_default())
    }

    /// Whether it is of no sensor any more: its entry was removed, or it was forgotten.
    pub fn is_removed(&self) -> bool {
        self.owner.as_ref().is_some_and(|it| it.is_ended()) || self.is_forgotten()
    }

    /// Whether nothing comes of it any more: it is of no sensor, and nothing of it is held.
    pub fn is_over(&self) -> bool {
        self.is_removed() && self.balance().held == 0
    }

    /// Whether nothing is held of it, and its entry has heard it or was to: so its row may be another one's.
    pub(super) fn may_be_left(&self) -> bool {
        !self.unheard.load(Ordering::Relaxed) && self.balance().held == 0
    }

    /// Whether it was forgotten: its sensor has another row, or shares one.
    pub fn is_forgotten(&self) -> bool {
        self.marks.load(Ordering::Relaxed) & FORGOTTEN > 0
    }

    /// Sensors of its entry that were forgotten.
    pub fn forgotten_beside(&self) -> u64 {
        self.owner.as_ref().map_or(0, |it| it.forgotten())
    }

    /// It is forgotten: its books go to this row.
    pub(super) fn forget(&self, shared: &Self) {
        self.marks.fetch_or(FORGOTTEN, Ordering::Relaxed);
        for (from, to) in self.columns().into_iter().zip(shared.columns()) {
            to.fetch_add(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        if let Some(owner) = &self.owner {
            owner.forgets_one();
        }
    }

    /// The head of its last value, as JSON, and whether that is cut; nothing before the first.
    pub fn last_value(&self) -> Option<(String, bool)> {
        self.last_value.get()
    }

    /// Sets its last value.
    pub fn has_value(&self, json: &[u8]) {
        self.last_value.set(json);
    }

    /// Readings a second of late.
    pub fn rate(&self, now: Timestamp) -> f64 {
        let since = self.first_received().map(|it| now.millis().saturating_sub(it.millis()));
        match self.presence() {
            Presence::Silent => 0.0,
            _ => self.rate_kept().of_late(self.received(), since.map(Duration::from_millis)),
        }
    }

    /// Measures it; called now and then.
    pub fn measure_rate(&self, now: Timestamp) {
        let rate = self.rate_kept().measured(self.received(), now, self.interval());
        for (kept, now) in self.rate.iter().zip(rate.0) {
            kept.store(now, Ordering::Relaxed);
        }
    }

    fn rate_kept(&self) -> Rate {
        Rate(self.rate.each_ref().map(|it| it.load(Ordering::Relaxed)))
    }

    /// Since when nothing has come of it, or it has said that it is not there; `None` before either.
    pub(super) fn quiet_since(&self) -> Option<Timestamp> {
        self.last_received().or_else(|| self.since())
    }

    /// The second in which it is looked at.
    pub fn look_at(&self) -> &AtomicU32 {
        &self.look_at
    }

    /// Its entry listens from now on, or does not.
    pub fn listens(&self, listens: bool, now: Timestamp) {
        let Some(owner) = &self.owner else { return };
        if listens { owner.listening.begin(now) } else { owner.listening.end(now) }
    }

    /// Since when its entry has listened; `None` while it does not.
    pub fn listened_since(&self, now: Timestamp) -> Option<Timestamp> {
        self.owner.as_ref()?.listening.since(now)
    }

    /// Everything that is counted of it.
    fn columns(&self) -> [&AtomicU64; 11] {
        let [repeats, nothing_new, over] = &self.left_out;
        [
            repeats,
            nothing_new,
            over,
            &self.received,
            &self.recovered,
            &self.spooled,
            &self.delivered,
            &self.dead_lettered,
            &self.shed,
            &self.abandoned,
            &self.times_unused,
        ]
    }

    /// Counts a reading with a time of its own that is not used.
    pub fn time_unused(&self) {
        self.times_unused.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it is of all sensors of an entry that have no row of their own.
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// Readings taken in this run.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed) + self.all_left_out()
    }

    /// Whether the queue has shed a reading of it since this was asked last.
    pub fn was_shed(&self) -> bool {
        self.marks.fetch_and(!SHED, Ordering::Relaxed) & SHED > 0
    }

    /// Counts a reading that a policy leaves out before it is a record: it is received and shed, and has no sequence.
    pub fn leave_out(&self, policy: Policy) {
        let columns = LEFT_OUT.iter().zip(&self.left_out);
        let column = columns.into_iter().find(|(it, _)| **it == policy).map(|(_, column)| column);
        column.expect("a policy of an entry").fetch_add(1, Ordering::Relaxed);
    }

    /// Readings that policies left out before they were records: those policies that did.
    pub fn left_out(&self) -> impl Iterator<Item = (Policy, u64)> {
        let count = |column: &AtomicU64| column.load(Ordering::Relaxed);
        let columns = LEFT_OUT.iter().zip(&self.left_out);
        columns.map(move |(policy, column)| (*policy, count(column))).filter(|it| it.1 > 0)
    }

    fn all_left_out(&self) -> u64 {
        self.left_out.iter().map(|column| column.load(Ordering::Relaxed)).sum()
    }

    /// Judges the number that the sensor gave a reading. All intakes run on one thread, so no two are
    /// here at once; if they were, a number might be misjudged, and nothing else. A shared row has the
    /// numbers of many sensors and judges none.
    pub fn number(&self, number: u64, repeated: bool) -> Seen {
        if self.shared {
            return Seen::Known;
        }
        let mut series = Series(self.series.each_ref().map(|it| it.load(Ordering::Relaxed)));
        let seen = series.see(number, repeated);
        for (kept, now) in self.series.iter().zip(series.0) {
            kept.store(now, Ordering::Relaxed);
        }
        match &seen {
            Seen::Next | Seen::Known => {}
            Seen::Missing(gap) => {
                self.numbers_missing.fetch_add(gap.end - gap.start, Ordering::Relaxed);
            }
            Seen::Late => {
                self.numbers_missing.fetch_sub(1, Ordering::Relaxed);
            }
        }
        seen
    }

    /// The place of the entry that it is of.
    pub fn entry(&self) -> Option<u32> {
        self.owner.as_ref().map(|owner| owner.place)
    }

    /// The name of the entry that it is of.
    pub fn entry_name(&self) -> Option<&str> {
        self.owner.as_ref().map(|owner| &*owner.name)
    }

    /// That name as a JSON string; empty where it is of none.
    pub fn entry_json(&self) -> &str {
        self.owner.as_ref().map_or("", |owner| &owner.json)
    }

    /// Numbers of the sensor that were passed over and have not come since.
    pub fn numbers_missing(&self) -> u64 {
        self.numbers_missing.load(Ordering::Relaxed)
    }

    /// Counts records of an earlier run that were found in the spool. Their numbers were given then.
    pub fn recover(&self, records: u64) {
        self.recovered.fetch_add(records, Ordering::Relaxed);
    }

    /// When a record was first taken in this run, if ever.
    pub fn first_received(&self) -> Option<Timestamp> {
        time(&self.first_received)
    }

    /// When a record was last taken, if ever: where none was in this run, and that is known, in an earlier one.
    pub fn last_received(&self) -> Option<Timestamp> {
        time(&self.last_received)
    }

    /// Enters what became of a record.
    pub(super) fn settle(&self, outcome: Outcome) {
        let column = match outcome {
            Outcome::Delivered => &self.delivered,
            Outcome::DeadLettered => &self.dead_lettered,
            Outcome::Shed { policy: _ } => {
                self.marks.fetch_or(SHED, Ordering::Relaxed);
                &self.shed
            }
            // On its way: still held.
            Outcome::Spooled => &self.spooled,
            Outcome::Abandoned => &self.abandoned,
        };
        column.fetch_add(1, Ordering::Relaxed);
    }

    /// Its books. `held` is what has not settled, so a row cannot show a difference of its own; the
    /// gateway's balance, where held records are counted apart, can.
    pub fn balance(&self) -> Balance {
        let counters =
            [&self.delivered, &self.dead_lettered, &self.shed, &self.received, &self.recovered];
        let [delivered, dead_lettered, shed, taken, recovered] =
            counters.map(|counter| counter.load(Ordering::Relaxed));
        // What is left out is shed as it is received.
        let left_out = self.all_left_out();
        let (shed, received) = (shed + left_out, taken + recovered + left_out);
        let held = received.saturating_sub(delivered + dead_lettered + shed);
        Balance { received, delivered, dead_lettered, shed, held, spooled: 0 }
    }
}
