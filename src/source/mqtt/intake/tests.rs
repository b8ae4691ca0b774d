//! The intake stepped by hand, between a queue and the far end of its connection.

use serde_json::json;

use super::*;
use crate::clock;
use crate::mqtt::stepped::{self, Heard, Message, Peer};
use crate::phase::{self, PhaseSender};
use crate::queue::{self, Event, Outlet, Want};
use crate::record::Body;
use crate::settlement::{Settled, SourceIndex};
use crate::source::Context;
use crate::state::metrics::Counter;
use crate::state::standing::Standing;

mod connections;
mod desk;
mod entries;
mod line;
mod quota;
mod reading;
mod turns;

const BUFFER_BYTES: usize = 16 * 1024;
const ANSWERS_BYTES_MAX: usize = 1024;

struct Scene {
    now: Now,
    intake: Intake,
    peer: Peer,
    queue: Queue,
    outlet: Outlet<()>,
    lead: PhaseSender,
    standing: Arc<Standing>,
}

/// A scene with these entries in one session, and so many places in the queue.
fn scene(entries: &[(&str, serde_json::Value)], places: u32) -> Scene {
    let settings =
        queue::Settings { records_max: places.try_into().unwrap(), ..queue::Settings::default() };
    scene_of(Version::V5, entries, settings)
}

fn scene_of(
    version: Version,
    entries: &[(&str, serde_json::Value)],
    settings: queue::Settings,
) -> Scene {
    scene_at(version, entries, settings, (&Queue::new(settings), &Arc::default()))
}

/// The same, of this queue, with this desk.
fn scene_at(
    version: Version,
    entries: &[(&str, serde_json::Value)],
    settings: queue::Settings,
    (queue, desk): (&Queue, &Arc<Desk>),
) -> Scene {
    let queue = queue.clone();
    let names: Vec<&str> = entries.iter().map(|(name, _)| *name).collect();
    let registry = Arc::new(Registry::new(9, names.iter().map(|name| (*name, None))));
    let context = Context {
        entry: 0,
        run: "gw-1".into(),
        registry,
        metrics: Arc::default(),
        pace: Arc::default(),
        on_full: settings.on_full,
        record_bytes_max: 1024,
        readings_max: 9,
        folder: None,
        listening: Arc::default(),
    };
    let member = |(entry, (name, settings)): (u32, &(&str, serde_json::Value))| {
        let settings = serde_json::from_value(settings.clone()).unwrap();
        ((*name).to_owned(), settings, Context { entry, ..context.clone() })
    };
    let members = (0..).zip(entries).map(member).collect();
    let standing = Arc::new(Standing::new(clock::now().instant));
    let session = Session::new(stepped::options(version), BUFFER_BYTES, 1).with_status(&standing);
    let (lead, watch) = phase::start();
    let bounds = Bounds {
        window: 20,
        remembered_max: 9,
        acknowledgements_max: 40,
        blocked_max: 1064,
        answers_bytes_max: ANSWERS_BYTES_MAX,
        chunk_records_max: 100,
        chunk_bytes_max: 4096,
    };
    let intake = Intake::new(members, session, bounds, (&queue, desk), watch);
    let peer = Peer::new(version, BUFFER_BYTES);
    Scene { now: clock::now(), intake, peer, outlet: queue.outlet(), queue, lead, standing }
}

fn fleet(places: u32) -> Scene {
    scene(&[("fleet", json!({"topic": "s/{sensor}"}))], places)
}

fn message<'a>(packet_id: u16, topic: &'a str, payload: &'a str) -> Message<'a> {
    let payload = payload.as_bytes();
    Message { packet_id, qos: 1, dup: false, retain: false, topic, payload }
}

impl Scene {
    /// A new connection.
    fn connect(&mut self, session_present: bool) {
        self.intake.current.take();
        self.peer = Peer::new(self.intake.version(), BUFFER_BYTES);
        self.peer.connect(self.now, session_present, &mut self.intake).unwrap();
    }

    fn step(&mut self) -> Step {
        self.peer.step(self.now, &mut self.intake).unwrap()
    }

    /// Connected, and all subscriptions are granted.
    fn subscribed(mut self) -> Self {
        self.connect(false);
        for heard in self.peer.heard() {
            let Heard::Subscribe(packet_id) = heard else { panic!("{heard:?}") };
            self.peer.grant(packet_id, 1);
        }
        self.step();
        self
    }

    fn send(&mut self, messages: &[Message<'_>]) -> Step {
        for it in messages {
            self.peer.publish(it);
        }
        self.step()
    }

    /// What waits in the queue, taken out of it.
    fn offered(&mut self) -> Option<Chunk> {
        let want = Want {
            records: true,
            fill_records: 99,
            fill_bytes: 9999,
            hold: Duration::ZERO,
            stalled: false,
            // What is not there comes by no waiting; the scene's own time may be far ahead.
            deadline: Some(clock::now().instant),
        };
        match self.outlet.next(want) {
            Event::Offered(chunk, _) => Some(chunk),
            _ => None,
        }
    }

    /// Of what waits in the queue, whether each probably waited at the broker before. It never settles.
    fn waited(&mut self) -> Vec<bool> {
        let chunk = self.offered().unwrap_or_default();
        chunk.records.iter().map(|it| it.arrival.waited).collect()
    }

    /// The values that wait in the queue with their entry, taken out of it. Then they settle so.
    fn take(&mut self, outcome: Outcome) -> Vec<(u32, String)> {
        let Some(chunk) = self.offered() else { return Vec::new() };
        let mut settled = Settled::default();
        let value = |record: &crate::record::Record| {
            settled.add(record.token, record.sensor, record.bytes());
            let Body::Reading { value, .. } = record.body else { panic!("{record:?}") };
            let text = String::from_utf8(chunk.text(value).to_vec()).unwrap();
            let entry =
                |rows: &[Arc<crate::state::registry::Row>]| rows[record.sensor.0 as usize].entry();
            (self.intake.registry.with_rows(entry).unwrap(), text)
        };
        let values = chunk.records.iter().map(value).collect();
        self.queue.release(&settled, outcome);
        values
    }

    fn is_usable(&self) -> bool {
        self.standing.is_usable()
    }

    /// The broker closes the connection without a word, and the session is resumed on the next one.
    fn cut(&mut self) {
        let ended = self.intake.handle_disconnected(self.now, Err(Error::Closed));
        assert!(matches!(ended, Ok(Some(_))), "{ended:?}");
        self.connect(true);
    }

    /// Whether the worker, which takes all there is and settles nothing, is told that nothing more can come.
    fn is_stalled(&mut self) -> bool {
        let deadline = Some(self.now.instant);
        let mut next = |records| {
            let (fill_records, fill_bytes, hold) = (99, 9999, Duration::ZERO);
            let want = Want { records, fill_records, fill_bytes, hold, stalled: true, deadline };
            self.outlet.next(want)
        };
        next(true);
        matches!(next(false), Event::Stalled)
    }
}

#[test]
fn a_message_is_acknowledged_when_it_has_settled_and_not_before() {
    let mut scene = fleet(9).subscribed();
    assert!(scene.intake.is_wanted());
    scene.send(&[message(1, "s/a", "1"), message(2, "s/b", "2")]);
    assert_eq!(scene.peer.heard(), []);
    assert_eq!(scene.intake.metrics.messages.get(), 2);
    let values = scene.take(Outcome::Delivered);
    assert_eq!(values, [(0, "1".to_owned()), (0, "2".to_owned())]);
    scene.step();
    assert_eq!(scene.peer.heard(), [Heard::PubAck(1), Heard::PubAck(2)]);
}

/// The broker keeps what is not read; acknowledgements go on, and make the room.
#[test]
fn without_room_nothing_is_read_until_something_has_settled() {
    let mut scene = fleet(4).subscribed();
    let values: Vec<String> = (1..=9).map(|value| value.to_string()).collect();
    let messages: Vec<_> = (1..).zip(&values).map(|(id, it)| message(id, "s/a", it)).collect();
    let waits = Step::Wait { reads: false, until: None };
    assert_eq!(scene.send(&messages), waits);
    let mut came = Vec::new();
    for _ in 0..9 {
        came.extend(scene.take(Outcome::Delivered).into_iter().map(|it| it.1));
        Peer::wake(&mut scene.intake);
        scene.step();
    }
    assert_eq!(came, values);
    let acknowledged = (1..=9).map(Heard::PubAck).collect::<Vec<_>>();
    assert_eq!(scene.peer.heard(), acknowledged);
}

/// It has been taken from the broker: of QoS 0 there is no other copy.
#[test]
fn what_waits_for_room_when_the_drain_begins_is_offered_when_there_is_some() {
    let mut scene = fleet(4).subscribed();
    let values: Vec<String> = (1..=8).map(|value| value.to_string()).collect();
    let messages: Vec<_> =
        values.iter().map(|it| Message { qos: 0, ..message(0, "s/a", it) }).collect();
    scene.send(&messages);
    scene.lead.enter(Phase::Draining);
    assert!(matches!(scene.step(), Step::Wait { .. }), "they go on waiting");
    let mut came = Vec::new();
    for _ in 0..8 {
        came.extend(scene.take(Outcome::Delivered).into_iter().map(|it| it.1));
        Peer::wake(&mut scene.intake);
        scene.step();
    }
    assert_eq!((came, scene.intake.metrics.abandoned.get()), (values, 0));
    assert_eq!(scene.step(), Step::Close);
}

/// By its packet id alone none is: a broker that was set back gives the id of a held one to another.
#[test]
fn a_held_message_is_known_by_its_topic_and_its_payload() {
    for (topic, payload, is_new) in [("s/a", "1", false), ("s/a", "2", true), ("s/b", "1", true)] {
        let mut scene = fleet(9).subscribed();
        scene.send(&[message(1, "s/a", "1")]);
        scene.connect(true);
        scene.send(&[Message { dup: true, ..message(1, topic, payload) }]);
        let metrics = &scene.intake.metrics;
        let counted = [&metrics.repeats_taken, &metrics.held_given_up, &metrics.repeats_matched];
        let expected = if is_new { [1, 1, 0] } else { [0, 0, 1] };
        assert_eq!(counted.map(Counter::get), expected, "{topic} {payload}");
        assert_eq!(scene.take(Outcome::Delivered).len(), 1 + usize::from(is_new));
        scene.step();
        let answers = scene.peer.heard();
        assert_eq!(answers.last(), Some(&Heard::PubAck(1)), "{topic} {payload}");
    }
}

#[test]
fn a_drain_takes_nothing_new_and_acknowledges_what_comes_again() {
    let mut scene = fleet(9).subscribed();
    scene.send(&[Message { qos: 2, ..message(1, "s/a", "1") }]);
    scene.lead.enter(Phase::Draining);
    assert!(scene.intake.is_wanted(), "something is held");
    scene.cut();
    assert!(scene.is_usable() && scene.peer.heard().is_empty(), "it subscribes to nothing");
    let repeat = Message { qos: 2, dup: true, ..message(1, "s/a", "1") };
    let of_qos_0 = Message { qos: 0, ..message(0, "s/a", "0") };
    let step = scene.send(&[of_qos_0, repeat, message(2, "s/a", "2")]);
    assert_eq!((scene.peer.heard(), scene.take(Outcome::Delivered).len()), (vec![], 1));
    assert!(matches!(step, Step::Wait { reads: true, .. }));
    assert_eq!(scene.step(), Step::Close);
    assert_eq!(scene.peer.heard(), [Heard::PubRec(1)]);
    assert!(!scene.intake.is_wanted());
}

#[test]
fn a_message_against_the_protocol_is_an_error_and_counted() {
    let mut scene = fleet(9).subscribed();
    scene.send(&[message(1, "s/a", "1")]);
    scene.peer.publish(&message(1, "s/a", "1"));
    let ended = scene.peer.step(scene.now, &mut scene.intake);
    assert!(matches!(ended, Err(Error::Protocol(_))), "{ended:?}");
    assert_eq!(scene.intake.metrics.protocol_errors.get(), 1);
}

/// What a silent broker is taken to allow is not what it is asked for: else it could never allow more again.
#[test]
fn the_broker_is_asked_for_the_whole_window_at_each_connect() {
    let mut scene = fleet(99).subscribed();
    let values: Vec<String> = (1..=10).map(|value| value.to_string()).collect();
    let messages: Vec<_> = (1..).zip(&values).map(|(id, it)| message(id, "s/a", it)).collect();
    scene.send(&messages);
    assert_eq!(scene.intake.window, 20);
    scene.now = scene.now.later(WINDOW_SILENCE);
    scene.step();
    assert_eq!(scene.intake.window, 10, "it is taken to allow no more");
    let hello = scene.intake.attempt().hello;
    assert_eq!((hello.receive_max, hello.clean_start), (Some(20), false));
}

fn two() -> Scene {
    let (boilers, pumps) = (json!({"topic": "boilers/+"}), json!({"topic": "pumps/{sensor}"}));
    scene(&[("boilers", boilers), ("pumps", pumps)], 9)
}

/// In one order, on one connection.
#[test]
fn each_entry_of_a_session_takes_what_comes_of_its_own_subscription() {
    let mut scene = two().subscribed();
    scene.send(&[
        message(1, "pumps/a", "1"),
        message(2, "boilers/a", "2"),
        message(3, "pumps/a", "3"),
    ]);
    let values = scene.take(Outcome::Delivered);
    let expected = [(1, "1"), (0, "2"), (1, "3")].map(|(entry, it)| (entry, it.to_owned()));
    assert_eq!(values, expected);
    scene.step();
    assert_eq!(scene.peer.heard(), [1, 2, 3].map(Heard::PubAck));
}

/// Until the broker, with room in the window, has had nothing more for a while.
#[test]
fn what_a_resumed_session_brings_first_is_marked_as_waiting() {
    let mut scene = fleet(9).subscribed();
    scene.send(&[message(1, "s/a", "1")]);
    assert_eq!(scene.waited(), [false], "the session is new");
    scene.cut();
    scene.send(&[message(2, "s/a", "2"), message(3, "s/a", "3")]);
    assert_eq!(scene.waited(), [true, true]);
    scene.now = scene.now.later(Duration::from_secs(1));
    scene.send(&[message(4, "s/a", "4")]);
    assert_eq!(scene.waited(), [false]);
}

/// Each topic is a subscription of its own, and what never brings anything is noticed of each.
#[test]
fn each_topic_of_an_entry_is_subscribed_to_by_itself() {
    let settings =
        json!({"topics": ["tele/{device}/a", "stat/{device}/b"], "ignore": ["tele/x/a"]});
    let mut scene = scene(&[("weather", settings), ("pumps", json!({"topic": "pumps/+"}))], 9);
    scene.connect(false);
    assert_eq!(scene.peer.heard(), [1, 3, 5].map(Heard::Subscribe));
    for (packet_id, is_usable) in [(1, false), (5, false), (3, true)] {
        scene.peer.grant(packet_id, 1);
        scene.step();
        assert_eq!(scene.is_usable(), is_usable);
    }
    scene.send(&[
        message(1, "stat/t/b", "1"),
        message(2, "tele/x/a", "2"),
        message(3, "pumps/a", "3"),
        message(4, "tele/t/a", "4"),
    ]);
    let expected = [(0, "1"), (1, "3"), (0, "4")].map(|(entry, it)| (entry, it.to_owned()));
    assert_eq!(scene.take(Outcome::Delivered), expected);
    scene.step();
    assert_eq!(scene.peer.heard(), [1, 2, 3, 4].map(Heard::PubAck), "what is ignored, too");
}

#[test]
fn a_session_is_usable_when_all_its_subscriptions_are_granted() {
    let mut scene = two();
    scene.connect(false);
    assert_eq!(scene.peer.heard(), [1, 3].map(Heard::Subscribe));
    for (packet_id, is_usable) in [(3, false), (3, false), (1, true)] {
        scene.peer.grant(packet_id, 1);
        scene.step();
        assert_eq!(scene.is_usable(), is_usable);
    }
}

#[test]
fn a_suback_for_a_subscribe_that_was_never_sent_is_against_the_protocol() {
    let mut scene = two();
    scene.connect(false);
    scene.peer.grant(2, 1);
    let ended = scene.peer.step(scene.now, &mut scene.intake);
    assert!(matches!(ended, Err(Error::Protocol(_))), "{ended:?}");
}

/// Two intakes of one queue: what one has taken settles for it alone.
#[test]
fn each_session_is_a_source_of_its_own() {
    let mut scene = fleet(9).subscribed();
    let other = scene.queue.settlements();
    assert_eq!(
        (scene.intake.settlements.source(), other.source()),
        (SourceIndex(0), SourceIndex(1))
    );
    scene.send(&[message(1, "s/a", "1")]);
    scene.take(Outcome::Delivered);
    let mut settled = Vec::new();
    other.take(&mut settled);
    assert_eq!(settled, []);
    drop(other);
    assert_eq!(scene.queue.settlements().source(), SourceIndex(2), "no index is used again");
}
