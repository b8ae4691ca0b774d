//! The intake of the schedules: the one of `source::mqtt` as it is, stepped by hand. The schedule is its broker,
//! its driver and its clock.
//!
//! Judged here, at the message and at the acknowledgement: nothing is known that was not taken,
//! nothing taken twice that can be told, and an acknowledgement is for the oldest message of *this*
//! link that waits, and that one is safe.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::*;
use super::output::Output;
use super::upstream::{Giving, Sent, Upstream};
use super::values::{Form, message, readings, said};
use crate::mqtt::Error;
use crate::mqtt::client::{Client, Step};
use crate::mqtt::options::Version;
use crate::mqtt::session::Session;
use crate::mqtt::stepped::{Heard, Message, Peer};
use crate::phase::{self, PhaseSender};
use crate::source::{self, mqtt};

/// A reading that is held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    /// The first ordinal of its message.
    first: u64,
    says: u32,
}

/// Acknowledgements that the ledger remembers: more than a schedule has.
const REMEMBERED: usize = 4000;

/// A broker's ids are trusted when they have risen for so many windows (`mqtt::ids`).
const RISING_WINDOWS: usize = 4;

/// How often it came to what the schedules are about.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// Messages that were held and came again.
    pub(super) bound: u64,
    /// Messages whose acknowledgement was lost: known.
    pub(super) known: u64,
    /// The same, taken again.
    pub(super) again: u64,
    /// Records of a lost session that settled on a later one.
    pub(super) late: u64,
    /// Readings that are lost outside of the gateway.
    pub(super) gone: u64,
}

impl Seen {
    pub(super) fn add(&mut self, other: Self) {
        self.bound += other.bound;
        self.known += other.known;
        self.again += other.again;
        self.late += other.late;
        self.gone += other.gone;
    }
}

/// What of the gateway the intake is of.
const ENTRY: &str = "fleet";

/// Lines are readings, or elements of an array; what is retained has none.
pub(super) fn entry(form: Form) -> source::Kind {
    let own = form.settings();
    let settings = format!(r#"{{"mqtt":{{"topic":"s/{{sensor}}","retained":"skip",{own}}}}}"#);
    serde_json::from_str(&settings).unwrap()
}

/// Bytes of its read buffer: more than any message has.
const BUFFER_BYTES: usize = 16 * 1024;

/// The intake of one process.
pub(super) struct Intake {
    form: Form,
    real: mqtt::Intake,
    peer: Peer,
    _lead: PhaseSender,
    /// The broker can send: there is room for what was read.
    reads: bool,
    /// The ordinal of the next reading.
    next: u64,
    /// How much of what settled was observed, and the intake has not seen.
    observed: usize,
    /// What came on the link of today and is not acknowledged, in order.
    arrived: VecDeque<(u16, u32)>,
    /// The readings that the process holds unsettled, by their way back.
    held: BTreeMap<u64, Held>,
    /// How many of a message are unsettled, by its first ordinal.
    left: BTreeMap<u64, u32>,
    /// Those of lost sessions among them.
    old: BTreeSet<u64>,
    taken: BTreeSet<u32>,
    /// What was acknowledged, heard or not.
    written: BTreeSet<u32>,
    /// New messages of the session.
    fresh: usize,
    /// A lost acknowledgement is known on the link of today.
    sure: bool,
    /// The broker has been set back in time: it sends again what it has heard of.
    pub(super) set_back: bool,
    pub(super) seen: Seen,
}

/// Everything else that the intake works between.
pub(super) struct Between<'a> {
    pub(super) upstream: &'a mut Upstream,
    pub(super) bench: &'a mut Bench,
    pub(super) output: &'a Output,
    /// What has settled.
    pub(super) safe: &'a mut BTreeSet<u32>,
}

impl Intake {
    pub(super) fn new(
        (form, window): (Form, usize),
        alike: bool,
        plan: &Plan,
        bench: &Bench,
    ) -> Self {
        let source::Kind::Mqtt(settings) = entry(form) else { panic!("it is one of MQTT") };
        let books = &bench.books;
        let context = source::Context {
            entry: 0,
            run: "run".into(),
            registry: Arc::clone(&books.registry),
            metrics: Arc::clone(&books.metrics),
            pace: Arc::default(),
            on_full: plan.queue.on_full,
            record_bytes_max: 1024,
            readings_max: 64,
            folder: None,
            listening: Arc::default(),
        };
        let bounds = mqtt::Bounds {
            window: window.try_into().unwrap(),
            acknowledgements_max: REMEMBERED,
            ..plan.intake_bounds()
        };
        let session = Session::new(plan.intake_options(ENTRY), BUFFER_BYTES, 1);
        let (lead, phase) = phase::start();
        let entries = vec![(ENTRY.to_owned(), settings, context)];
        let mut real =
            mqtt::Intake::new(entries, session, bounds, (&books.queue, &Arc::default()), phase);
        if alike {
            real.take_all_for_alike();
        }
        Self {
            form,
            real,
            peer: Peer::new(Version::V5, BUFFER_BYTES),
            _lead: lead,
            reads: false,
            next: 0,
            observed: 0,
            arrived: VecDeque::new(),
            held: BTreeMap::new(),
            left: BTreeMap::new(),
            old: BTreeSet::new(),
            taken: BTreeSet::new(),
            written: BTreeSet::new(),
            fresh: 0,
            sure: false,
            set_back: false,
            seen: Seen::default(),
        }
    }

    pub(super) fn holds(&self, value: u32) -> bool {
        self.held.values().any(|it| message(it.says) == value)
    }

    /// The messages of which it holds readings.
    pub(super) fn held(&self) -> BTreeSet<u32> {
        self.held.values().map(|it| message(it.says)).collect()
    }

    /// Whether a message waits for its acknowledgement.
    pub(super) fn waits(&self) -> bool {
        self.real.waits()
    }

    /// Whether everything that was read is in the totals, too.
    pub(super) fn has_offered_all(&self) -> bool {
        self.real.has_offered_all()
    }

    /// The link is gone: closed without a word, unless the broker has forgotten things. A client that finds
    /// them missing then would take that for another client with its id.
    pub(super) fn disconnected(&mut self, now: Now) {
        let silent = Error::Silent(Duration::from_secs(1));
        let error = if self.set_back { silent } else { Error::Closed };
        self.real.handle_disconnected(now, Err(error)).expect("it goes on");
        self.arrived.clear();
        self.reads = false;
    }

    /// Connects; `wary`: as if another client might have our session.
    pub(super) fn connect(&mut self, wary: bool, between: &mut Between<'_>) {
        let (now, upstream) = (between.bench.now, &mut *between.upstream);
        let present = upstream.resume();
        self.peer = Peer::new(Version::V5, BUFFER_BYTES);
        self.peer.connect(now, present, &mut self.real).unwrap();
        if wary {
            self.real.be_wary();
        }
        if !present {
            self.fresh = 0;
            self.old.extend(self.held.keys());
        }
        let counts_up = upstream.giving == Giving::CountsUp;
        self.sure = counts_up && upstream.marks && self.fresh > RISING_WINDOWS * upstream.window;
        let subscribes = self.peer.heard();
        let [Heard::Subscribe(packet_id)] = subscribes[..] else { panic!("{subscribes:?}") };
        self.peer.grant(packet_id, 1);
        self.step(between);
    }

    /// Reads so many messages, if what was read before had room. Returns values that came again and
    /// could not be known.
    pub(super) fn read(&mut self, count: usize, between: &mut Between<'_>) -> Vec<u32> {
        let mut again = Vec::new();
        for _ in 0..count {
            self.step(between);
            let sent = if self.reads { between.upstream.read() } else { None };
            let Some(sent) = sent else { break };
            again.extend(self.enter(sent, between));
        }
        again
    }

    /// Takes a message. Returns its value if it was taken before.
    fn enter(&mut self, sent: Sent, between: &mut Between<'_>) -> Option<u32> {
        let Sent { packet_id, dup, value } = sent;
        self.fresh += usize::from(!dup);
        self.arrived.push_back((packet_id, value));
        let count = readings(value);
        let topic = format!("s/{}", SENSORS[value as usize % SENSORS.len()]);
        let (payload, retain) = self.form.message(value);
        self.peer.publish(&Message {
            packet_id,
            qos: 1,
            dup,
            retain,
            topic: &topic,
            payload: payload.as_bytes(),
        });
        // Before the intake sees it: what follows from it may be acknowledged at once.
        let first = self.next;
        let known = between.bench.books.metrics.repeats_matched.get();
        let held = (first..).zip(said(value)).map(|(at, says)| (at, Held { first, says }));
        let mut held: BTreeMap<u64, Held> = held.collect();
        self.held.append(&mut held);
        if count == 0 {
            between.safe.insert(value);
        }
        self.step(between);
        if between.bench.books.metrics.repeats_matched.get() > known {
            for ordinal in first..first + u64::from(count) {
                self.held.remove(&ordinal);
            }
            assert!(self.taken.contains(&value), "{value} is known and was never taken");
            let unheard = self.written.contains(&value);
            let seen = if unheard { &mut self.seen.known } else { &mut self.seen.bound };
            *seen += 1;
            return None;
        }
        self.next += u64::from(count);
        if count > 0 {
            self.left.insert(first, count);
        }
        if self.taken.insert(value) {
            return None;
        }
        let heard = self.written.contains(&value) && !self.sure;
        assert!(self.set_back || heard, "{value} is taken twice");
        self.seen.again += 1;
        Some(value)
    }

    /// Looks at what has settled since: adds the messages that have as a whole to what is safe.
    pub(super) fn observe(&mut self, between: &mut Between<'_>) {
        for (run, outcome) in self.real.unseen().into_iter().skip(self.observed) {
            self.observed += 1;
            assert!(outcome.is_safe(), "{outcome:?}");
            for ordinal in run.first..run.first + run.count {
                let Held { first, says } =
                    self.held.remove(&ordinal).expect("it is held, and settles once");
                let spooled = outcome == Outcome::Spooled;
                assert!(
                    spooled || between.output.ids.contains_key(&says),
                    "{says} is {outcome:?} and never came"
                );
                self.seen.late += u64::from(self.old.remove(&ordinal));
                let left = self.left.get_mut(&first).expect("one is held");
                *left -= 1;
                between.safe.extend((*left == 0).then_some(message(says)));
            }
        }
    }

    /// Lets the intake go on: what has settled is acknowledged, what was read has room now.
    pub(super) fn step(&mut self, between: &mut Between<'_>) {
        self.observe(between);
        if !between.upstream.is_linked() {
            return;
        }
        Peer::wake(&mut self.real);
        let step = self.peer.step(between.bench.now, &mut self.real);
        self.observed = 0;
        let Ok(Step::Wait { reads, .. }) = step else {
            panic!("it keeps to the protocol: {step:?}")
        };
        self.reads = reads;
        between.bench.offered();
        assert!(self.set_back || !self.real.is_suspicious(), "missing, and nobody took them");
        for heard in self.peer.heard() {
            let Heard::PubAck(packet_id) = heard else { panic!("{heard:?}") };
            let (expected, value) = self.arrived.pop_front().expect("it came on this link");
            assert_eq!(packet_id, expected, "in the order of this link");
            assert!(between.safe.contains(&value), "{value} is acknowledged and not safe");
            self.written.insert(value);
            between.upstream.acknowledge(packet_id);
        }
    }
}
