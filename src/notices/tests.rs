//! A client of notices, stepped by hand; the test is its broker.

use super::*;
use crate::clock;
use crate::clock::Timestamp;
use crate::mqtt::stepped::{greeting, options};
use crate::phase::{self, PhaseSender};
use crate::state::presence::Presence;
use crate::state::registry::Registry;

mod recalled;

/// A client, the broker's end of its connection, and the phase of its gateway.
struct Scene {
    notifier: Notifier,
    lead: PhaseSender,
    registry: Arc<Registry>,
    inbound: Inbound,
    out: Outbound,
    now: Now,
}

/// What a broker hears: a topic and a payload.
type Said = (String, String);

fn scene() -> Scene {
    scene_of("s/{entry}/{sensor}", Registry::new(9, [("fleet", None)]))
}

/// With this topic of sensors, and this registry.
fn scene_of(topic: &str, registry: Registry) -> Scene {
    let (lead, phase) = phase::start();
    let registry = Arc::new(registry);
    let settings = format!(r#"{{"topic":"{topic}","gateway_topic":"s/{{gateway}}"}}"#);
    let about = About {
        gateway: "gw-1".into(),
        started: Timestamp::from_millis(0),
        settings: serde_json::from_str(&settings).unwrap(),
        registry: Arc::clone(&registry),
        metrics: Arc::default(),
    };
    let notifier = Notifier::new(options(Version::V5), about, None, phase, 1);
    let (inbound, out) = (Inbound::new(Version::V5, 4096), Outbound::new(Version::V5));
    Scene { notifier, lead, registry, inbound, out, now: clock::now() }
}

impl Scene {
    fn connect(&mut self, greeting: Greeting) {
        self.notifier.handle_connected(self.now, greeting, &mut self.out).unwrap();
    }

    /// The sensor is heard, or is this.
    fn is(&self, sensor: &str, presence: Presence) {
        let row = self.registry.row_of(sensor, 0);
        row.receive(Timestamp::from_millis(1000));
        row.is_now(presence, Timestamp::from_millis(2000));
        self.registry.notices.put(&row);
    }

    fn step(&mut self) -> Result<Step, Error> {
        self.notifier.advance(self.now, &mut self.inbound, &mut self.out)
    }

    /// What is published next; all of it is answered with this reason code.
    fn answered(&mut self, reason: u8) -> Vec<Said> {
        self.step().unwrap();
        let said = self.published();
        for (packet_id, _) in &said {
            let [high, low] = packet_id.to_be_bytes();
            self.hear(&[0x40, 4, high, low, reason, 0]);
        }
        self.step().unwrap();
        said.into_iter().map(|(_, said)| said).collect()
    }

    /// What was published, with its packet id.
    fn published(&mut self) -> Vec<(u16, Said)> {
        self.sent().0
    }

    /// The same, and the other packets.
    fn sent(&mut self) -> (Vec<(u16, Said)>, Vec<Vec<u8>>) {
        let sent = self.out.take();
        let mut far = Inbound::new(Version::V5, 64 * 1024);
        far.space()[..sent.len()].copy_from_slice(&sent);
        far.filled(sent.len());
        let (mut published, mut others) = (Vec::new(), Vec::new());
        while let Some(incoming) = far.packet().unwrap() {
            match incoming {
                Incoming::Publish(it) => {
                    assert!(it.retain && it.qos <= 1);
                    let [topic, payload] = [it.topic, it.payload]
                        .map(|text| String::from_utf8(text.to_vec()).unwrap());
                    published.push((it.packet_id, (topic, payload)));
                }
                Incoming::Other(bytes) => others.push(bytes.to_vec()),
            }
        }
        (published, others)
    }

    /// The broker sends this.
    fn hear(&mut self, bytes: &[u8]) {
        self.inbound.space()[..bytes.len()].copy_from_slice(bytes);
        self.inbound.filled(bytes.len());
    }

    fn disconnect(&mut self) {
        self.notifier.handle_disconnected(self.now, Err(Error::Closed)).unwrap();
        self.out.take();
    }
}

fn states(said: &[Said]) -> Vec<(&str, &str)> {
    let state = |it: &'_ str| {
        let words = ["online", "draining", "offline", "late", "silent"];
        words.into_iter().find(|word| it.contains(&format!("\"state\":\"{word}\""))).unwrap_or("")
    };
    said.iter().map(|(topic, payload)| (&**topic, state(payload))).collect()
}

#[test]
fn a_notice_says_what_is_known_of_a_sensor() {
    let mut scene = scene();
    scene.is("a/b", Presence::Silent);
    scene.connect(greeting(false));
    let said = scene.answered(0);
    assert_eq!(states(&said), [("s/gw-1", "online"), ("s/fleet/a%2Fb", "silent")]);
    let expected = r#"{"gateway":"gw-1","entry":"fleet","sensorId":"a/b","state":"silent","since":"1970-01-01T00:00:02.000Z","lastReceivedAt":"1970-01-01T00:00:01.000Z"}"#;
    assert_eq!(said[1].1, expected);
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        r#"{{"gateway":"gw-1","state":"online","version":"{version}","startedAt":"1970-01-01T00:00:00.000Z"}}"#
    );
    assert_eq!(said[0].1, expected);
    assert_eq!(scene.notifier.about.metrics.notices.get(), 2);
    assert!(scene.answered(0).is_empty());
}

#[test]
fn what_changes_while_the_broker_is_away_is_one_notice() {
    let mut scene = scene();
    scene.connect(greeting(false));
    scene.answered(0);
    scene.is("a", Presence::Late);
    scene.step().unwrap();
    assert_eq!(scene.published().len(), 1);
    scene.disconnect();
    scene.is("b", Presence::Late);
    for presence in [Presence::Silent, Presence::Online] {
        scene.is("a", presence);
    }
    scene.connect(greeting(true));
    let said = scene.answered(0);
    assert_eq!(
        states(&said),
        [("s/gw-1", "online"), ("s/fleet/a", "online"), ("s/fleet/b", "late")]
    );
}

/// Its retained messages may be gone with our session.
#[test]
fn a_broker_that_does_not_know_us_any_more_is_told_all_again() {
    let mut scene = scene();
    scene.is("a", Presence::Online);
    scene.is("b", Presence::Silent);
    scene.connect(greeting(false));
    scene.answered(0);
    for (session_present, sensors) in [(true, 0), (false, 2)] {
        scene.disconnect();
        scene.connect(greeting(session_present));
        assert_eq!(scene.answered(0).len(), 1 + sensors, "{session_present}");
    }
}

#[test]
fn no_more_notices_are_unanswered_than_the_broker_allows() {
    let mut scene = scene();
    for id in 0..9 {
        scene.is(&id.to_string(), Presence::Online);
    }
    scene.connect(Greeting { receive_max: 3, ..greeting(false) });
    let counts: Vec<usize> = (0..5).map(|_| scene.answered(0).len()).collect();
    assert_eq!(counts, [3, 3, 3, 1, 0]);
}

#[test]
fn a_refused_notice_is_counted_and_stops_no_other() {
    let mut scene = scene();
    scene.is("a", Presence::Late);
    scene.connect(Greeting { packet_bytes_max: Some(150), ..greeting(false) });
    assert_eq!(states(&scene.answered(0x87)), [("s/gw-1", "online")], "the other is too large");
    assert_eq!(scene.notifier.about.metrics.notices_refused.get(), 2);
    scene.disconnect();
    scene.connect(greeting(true));
    scene.is("a", Presence::Silent);
    assert_eq!(states(&scene.answered(0)), [("s/gw-1", "online"), ("s/fleet/a", "silent")]);
}

#[test]
fn a_removed_entrys_notices_are_taken_back_and_given_again_when_it_is() {
    let mut scene = scene();
    scene.is("a", Presence::Online);
    scene.connect(greeting(false));
    scene.answered(0);
    scene.registry.end_entry("fleet");
    assert_eq!(scene.answered(0), [("s/fleet/a".to_owned(), String::new())]);
    scene.registry.add_entry("fleet", None);
    assert_eq!(states(&scene.answered(0)), [("s/fleet/a", "online")]);
}

#[test]
fn a_stop_is_told_and_the_session_ends_once_it_was_taken() {
    let mut scene = scene();
    scene.connect(greeting(false));
    scene.answered(0);
    scene.lead.enter(Phase::Draining);
    assert_eq!(states(&scene.answered(0)), [("s/gw-1", "draining")]);
    scene.lead.enter(Phase::Closing);
    assert!(matches!(scene.step(), Ok(Step::Wait { until: Some(_), .. })));
    assert_eq!(states(&[scene.published().remove(0).1]), [("s/gw-1", "offline")]);
    let asked = scene.now;
    scene.now = asked.later(FAREWELL_MAX);
    assert!(scene.step().is_err(), "the will says it");
    scene.now = asked;
    // Behind SUBSCRIBE the third notice of this connection.
    scene.hear(&[0x40, 2, 0, 4]);
    assert_eq!(scene.step().unwrap(), Step::CloseForGood);
}

#[test]
fn the_last_will_says_that_it_is_offline_and_the_session_is_kept_with_mqtt_5_only() {
    let Scene { mut notifier, .. } = scene();
    let hello = notifier.attempt().hello;
    let will = hello.will.unwrap();
    assert_eq!((will.topic.as_str(), will.retain), ("s/gw-1", true));
    assert!(String::from_utf8(will.payload).unwrap().contains("\"state\":\"offline\""));
    assert!(hello.session_expiry.is_some());
    notifier.options.version = Version::V3;
    let hello = notifier.attempt().hello;
    assert!(hello.clean_start && hello.session_expiry.is_none());
}

#[test]
fn an_answer_that_never_comes_ends_the_connection() {
    let mut scene = scene();
    scene.connect(greeting(false));
    scene.step().unwrap();
    scene.now = scene.now.later(scene.notifier.options.connect_timeout);
    assert!(matches!(scene.step(), Err(Error::Unanswered(_))));
}

#[test]
fn a_broker_that_keeps_nothing_is_refused() {
    let mut scene = scene();
    let features = crate::mqtt::packet::Features { retained: false, shared: true };
    let greeting = Greeting { features, ..greeting(false) };
    let refused = scene.notifier.handle_connected(scene.now, greeting, &mut scene.out);
    assert!(refused.unwrap_err().to_string().contains("remove [status]"));
}
