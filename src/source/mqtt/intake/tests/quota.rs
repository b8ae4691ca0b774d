//! Tests of readings that wait for their turn: they are acknowledged when they have settled, or when a later one took their
//! place.

use std::collections::VecDeque;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;

fn limited(places: u32) -> Scene {
    let quota = json!({"rate": "1/s", "over": "keep_latest"});
    scene(&[("fleet", json!({"topic": "s/{sensor}", "quota": quota}))], places).subscribed()
}

fn values(scene: &mut Scene) -> Vec<String> {
    scene.take(Outcome::Delivered).into_iter().map(|it| it.1).collect()
}

/// How many are shown as waiting.
fn waiting(scene: &Scene) -> u64 {
    scene.intake.registry.sums()[0].waiting
}

#[test]
fn a_reading_that_waits_is_acknowledged_after_it_was_delivered() {
    let mut scene = limited(99);
    let turn = scene.now.instant + Duration::from_secs(1);
    let step =
        scene.send(&[message(1, "s/a", "1"), message(2, "s/a", "2"), message(3, "s/a", "3")]);
    assert_eq!(values(&mut scene), ["1"]);
    assert!(matches!(step, Step::Wait { until: Some(until), .. } if until <= turn), "{step:?}");
    scene.step();
    // The second settled when the third came.
    assert_eq!(scene.peer.heard(), [Heard::PubAck(1), Heard::PubAck(2)]);
    scene.now = scene.now.later(Duration::from_secs(1));
    scene.step();
    assert_eq!((values(&mut scene), scene.peer.heard()), (vec!["3".to_owned()], vec![]));
    scene.step();
    assert_eq!(scene.peer.heard(), [Heard::PubAck(3)]);
    let metrics = &scene.intake.metrics;
    assert_eq!((metrics.received.get(), metrics.shed.total()), (3, 1));
}

/// Else the broker would send nothing more, and wait with us.
#[test]
fn what_takes_the_whole_window_goes_out_before_its_turn() {
    let mut scene = limited(99);
    (scene.intake.asked, scene.intake.window) = (8, 8);
    let sensors: Vec<String> = (1..=8).map(|it| format!("s/{it}")).collect();
    // Each has its burst of one, which is delivered; then each waits with one.
    for round in 0..2 {
        let messages: Vec<_> =
            (1..).zip(&sensors).map(|(id, topic)| message(round * 8 + id, topic, "1")).collect();
        scene.send(&messages);
        let delivered = if round == 0 { 8 } else { 0 };
        assert_eq!(values(&mut scene).len(), delivered);
        scene.step();
        assert_eq!(scene.peer.heard().len(), delivered);
    }
    assert_eq!(values(&mut scene).len(), 8);
    scene.step();
    assert_eq!(scene.peer.heard().len(), 8);
}

/// It settles by itself, and makes room.
#[test]
fn what_waits_behind_a_reading_that_is_on_its_way_waits_on() {
    let mut scene = limited(99);
    scene.send(&[message(1, "s/a", "1"), message(2, "s/a", "2")]);
    (scene.intake.asked, scene.intake.window) = (8, 8);
    let others: Vec<String> = (3..=8).map(|it| format!("s/{it}")).collect();
    let messages: Vec<_> = (3..).zip(&others).map(|(id, topic)| message(id, topic, "3")).collect();
    scene.send(&messages);
    scene.step();
    let came = values(&mut scene);
    assert!(came.len() == 7 && !came.contains(&"2".to_owned()), "{came:?}");
    // Now the broker waits for the one that waits here.
    scene.step();
    assert_eq!(scene.peer.heard(), [Heard::PubAck(1)]);
    assert_eq!(values(&mut scene), [] as [String; 0]);
}

#[test]
fn what_waits_when_the_gateway_drains_is_offered() {
    let mut scene = limited(99);
    scene.send(&[message(1, "s/a", "1"), message(2, "s/a", "2")]);
    scene.lead.enter(Phase::Draining);
    scene.step();
    assert_eq!(values(&mut scene), ["1", "2"]);
    assert_eq!(scene.step(), Step::Close);
    assert_eq!(scene.peer.heard(), [Heard::PubAck(1), Heard::PubAck(2)]);
    let metrics = &scene.intake.metrics;
    assert_eq!((metrics.received.get(), metrics.abandoned.get()), (2, 0));
    assert_eq!(waiting(&scene), 0);
}

/// The broker has it, and sends it to the next run.
#[test]
fn what_waits_and_has_no_room_at_the_end_is_let_go() {
    let mut scene = limited(1);
    scene.send(&[message(1, "s/a", "1"), message(2, "s/a", "2")]);
    scene.lead.enter(Phase::Closing);
    assert_eq!(scene.step(), Step::Close);
    assert_eq!(values(&mut scene), ["1"]);
    let metrics = &scene.intake.metrics;
    assert_eq!((metrics.received.get(), metrics.abandoned.get()), (2, 1));
    assert_eq!(waiting(&scene), 0);
    assert!(scene.intake.is_over());
}

#[test]
fn what_is_shown_as_waiting_ends_with_its_intake_and_with_a_lost_session() {
    let messages = [message(1, "s/a", "1"), message(2, "s/a", "2")];
    let mut scene = limited(99);
    scene.send(&messages);
    assert_eq!(waiting(&scene), 1);
    scene.connect(false);
    scene.step();
    assert_eq!((waiting(&scene), values(&mut scene).len()), (0, 2));
    let mut scene = limited(99);
    scene.send(&messages);
    let registry = Arc::clone(&scene.intake.registry);
    drop(scene);
    assert_eq!(registry.sums()[0].waiting, 0);
}

/// A lost connection changes nothing of it: it is bound to the next one.
#[test]
fn what_waits_over_a_connection_that_was_cut_is_not_taken_twice() {
    let mut scene = limited(99);
    scene.send(&[message(1, "s/a", "1"), message(2, "s/a", "2")]);
    assert_eq!(values(&mut scene), ["1"]);
    scene.cut();
    scene.send(&[
        Message { dup: true, ..message(1, "s/a", "1") },
        Message { dup: true, ..message(2, "s/a", "2") },
    ]);
    assert_eq!((scene.intake.metrics.repeats_matched.get(), waiting(&scene)), (2, 1));
    scene.now = scene.now.later(Duration::from_secs(1));
    scene.step();
    assert_eq!((values(&mut scene), waiting(&scene)), (vec!["2".to_owned()], 0));
    scene.step();
    let acknowledged: Vec<_> =
        scene.peer.heard().into_iter().filter(|it| matches!(it, Heard::PubAck(_))).collect();
    assert_eq!(acknowledged, [Heard::PubAck(1), Heard::PubAck(2)]);
}

/// What came on it may be lost with it, and nobody would send that again.
#[test]
fn after_a_lost_session_a_repeat_is_none() {
    let settings = json!({"topic": "s/{sensor}", "filter": {"deadband": 0}});
    let mut scene = scene(&[("fleet", settings)], 99).subscribed();
    scene.send(&[message(1, "s/a", "1"), message(2, "s/a", "1")]);
    scene.connect(true);
    scene.send(&[message(3, "s/a", "1")]);
    scene.connect(false);
    scene.send(&[message(4, "s/a", "1")]);
    assert_eq!(values(&mut scene), ["1", "1"]);
}

/// A broker that keeps what is not acknowledged, and sends it again on each connection.
struct Broker {
    scene: Scene,
    random: SmallRng,
    /// Packet id, sensor and value, in the order in which they were sent.
    open: VecDeque<(u16, usize, u32)>,
    sent: u32,
    /// The last value of each sensor, and those that came out.
    last: [u32; 3],
    came: [Vec<u32>; 3],
}

impl Broker {
    const TOPICS: [&str; 3] = ["s/a", "s/b", "s/c"];

    fn new(seed: u64) -> Self {
        let random = SmallRng::seed_from_u64(seed);
        Self {
            scene: limited(99),
            random,
            open: VecDeque::new(),
            sent: 0,
            last: [0; 3],
            came: Default::default(),
        }
    }

    fn publish(&mut self) {
        if self.open.len() >= 20 {
            return;
        }
        self.sent += 1;
        let (id, sensor) = (u16::try_from(self.sent).unwrap(), self.random.random_range(0..3));
        self.last[sensor] = self.sent;
        self.open.push_back((id, sensor, self.sent));
        let payload = self.sent.to_string();
        self.scene.send(&[message(id, Self::TOPICS[sensor], &payload)]);
    }

    fn cut(&mut self) {
        self.hear();
        self.scene.cut();
        for (id, sensor, value) in self.open.clone() {
            let payload = value.to_string();
            let again = message(id, Self::TOPICS[sensor], &payload);
            self.scene.send(&[Message { dup: true, ..again }]);
        }
    }

    fn hear(&mut self) {
        for heard in self.scene.peer.heard() {
            let id = match heard {
                Heard::PubAck(id) => id,
                // It asks again where a session has been silent for long.
                Heard::Subscribe(id) => {
                    self.scene.peer.grant(id, 1);
                    continue;
                }
                _ => continue,
            };
            let (open, ..) = self.open.pop_front().expect("something is open");
            assert_eq!(open, id, "in order");
        }
    }

    fn deliver(&mut self) {
        let Some(chunk) = self.scene.offered() else { return };
        let mut settled = Settled::default();
        for record in &chunk.records {
            settled.add(record.token, record.sensor, record.bytes());
            let Body::Reading { value, .. } = record.body else { panic!("{record:?}") };
            let value: u32 = String::from_utf8_lossy(chunk.text(value)).parse().unwrap();
            let sensor = chunk.text(record.topic).last().unwrap() - b'a';
            self.came[usize::from(sensor)].push(value);
        }
        let totals = &self.scene.intake.metrics;
        self.scene.intake.registry.enter(totals, &settled.sensors, Outcome::Delivered);
        self.scene.queue.release(&settled, Outcome::Delivered);
    }

    fn step(&mut self) {
        match self.random.random_range(0..10) {
            0..5 => self.publish(),
            5 | 6 => self.deliver(),
            7 => self.scene.now = self.scene.now.later(Duration::from_millis(400)),
            8 => _ = self.scene.step(),
            _ if self.random.random_ratio(1, 4) => self.cut(),
            _ => self.hear(),
        }
    }

    /// All that is left goes out.
    fn finish(&mut self) {
        for _ in 0..40 {
            self.scene.now = self.scene.now.later(Duration::from_secs(1));
            self.scene.step();
            self.deliver();
            self.hear();
        }
    }
}

#[test]
fn of_each_sensor_the_latest_arrives_in_order_and_all_is_acknowledged() {
    let mut shed = 0;
    for seed in 0..500 {
        let mut broker = Broker::new(seed);
        for _ in 0..120 {
            broker.step();
            let sum = broker.scene.intake.registry.sums()[0];
            let came = u64::from(broker.sent);
            assert_eq!(
                sum.balance.received + sum.waiting,
                came,
                "seed {seed}: none is in two places"
            );
        }
        broker.finish();
        assert_eq!(waiting(&broker.scene), 0, "seed {seed}");
        let Broker { scene, open, last, came, sent, .. } = broker;
        for (last, came) in last.iter().zip(&came) {
            assert!(came.windows(2).all(|it| it[0] < it[1]), "seed {seed}: {came:?}");
            assert_eq!(came.last().unwrap_or(&0), last, "seed {seed}");
        }
        assert_eq!(open, [], "seed {seed}");
        let metrics = &scene.intake.metrics;
        let counted = [metrics.received.get(), metrics.delivered.get() + metrics.shed.total()];
        assert_eq!(counted, [u64::from(sent); 2], "seed {seed}");
        shed += metrics.shed.total();
    }
    assert!(shed > 1000, "else nothing was tried: {shed}");
}
