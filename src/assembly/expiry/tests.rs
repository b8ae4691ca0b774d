//! What is put up and warned of when certificates come near their end.

use super::*;
use crate::mqtt::broker::Broker;
use crate::mqtt::options::BrokerUrl;

const LATE: &str = include_str!("../../../tests/data/certificates/late.pem");
const PAST: &str = include_str!("../../../tests/data/certificates/past.pem");

/// The end of `LATE`: 2050-01-01.
const LATE_END: u64 = 2_524_608_000;

/// A broker with these files and one session.
struct Scene {
    watched: Watched,
    standing: Arc<Standing>,
    start: Instant,
}

fn scene(ca: &Path, cert: &Path) -> Scene {
    let start = clock::now().instant;
    let standings = Standings::new(start);
    let standing = standings.session("fleet", start);
    let mut broker = Broker::default();
    broker.tls.ca_file = Some(ca.to_owned());
    broker.tls.cert_file = Some(cert.to_owned());
    let clients = Clients { standings, output: false, sessions: true };
    Scene {
        watched: Watched::new("broker", clients, broker.options("gw", "expiry")),
        standing,
        start,
    }
}

impl Scene {
    fn now(&self, after: Duration, seconds: u64) -> Now {
        Now { instant: self.start + after, wall: Timestamp::from_millis(seconds * 1000) }
    }

    /// What is warned of so long after the start, at this second since 1970.
    fn due(&mut self, after: Duration, seconds: u64) -> Vec<(&'static str, bool)> {
        let due = self.watched.due(self.now(after, seconds));
        due.into_iter().map(|(it, has_expired)| (it.kind.word(), has_expired)).collect()
    }

    fn ends(&mut self, after: Duration) -> Vec<(&'static str, u64)> {
        let all = self.watched.look(self.start + after);
        all.into_iter().map(|it| (it.kind.word(), it.end.millis() / 1000)).collect()
    }
}

const HOUR: Duration = Duration::from_hours(1);
const DAY: u64 = 86_400;

#[test]
fn a_file_is_read_again_when_it_changes_and_known_no_more_while_it_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let [ca, cert] = ["ca.pem", "cert.pem"].map(|it| folder.path().join(it));
    fs::write(&ca, LATE).unwrap();
    fs::write(&cert, [LATE, PAST].concat()).unwrap();
    let mut scene = scene(&ca, &cert);
    let past = 1_577_836_800;
    assert_eq!(scene.ends(HOUR), [("ca", LATE_END), ("client", past)], "the first to end");
    fs::write(&cert, LATE).unwrap();
    assert_eq!(scene.ends(HOUR), [("ca", LATE_END), ("client", LATE_END)]);
    fs::remove_file(&cert).unwrap();
    fs::write(&ca, "nothing").unwrap();
    assert_eq!(scene.ends(HOUR), []);
    fs::write(&cert, PAST).unwrap();
    assert_eq!(scene.ends(HOUR), [("client", past)]);
}

#[test]
fn a_file_that_seems_the_same_is_read_again_once_an_hour() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    fs::write(&path, LATE).unwrap();
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let mut file = File { kind: Kind::Ca, key: "ca_file", path, read: None, end: None };
    let start = clock::now().instant;
    let late = file.look(start);
    // Of the same length, at the same place, and at the same time.
    fs::write(&file.path, PAST).unwrap();
    let open = fs::File::options().write(true).open(&file.path).unwrap();
    open.set_modified(modified).unwrap();
    assert_eq!(file.look(start + HOUR / 2), late);
    assert!(file.look(start + HOUR) < late);
}

#[test]
fn what_a_broker_has_shown_last_is_put_up_whoever_it_was_shown() {
    let mut scene = scene(Path::new("/none"), Path::new("/none"));
    assert_eq!(scene.ends(HOUR), []);
    let other = scene.watched.clients.standings.session("other", scene.start);
    let show = |standing: &Standing, after: Duration, seconds: u64| {
        standing.shown(scene.start + after, Some(Timestamp::from_millis(seconds * 1000)));
    };
    show(&scene.standing, HOUR, 7);
    show(&other, HOUR / 2, 9);
    assert_eq!(scene.ends(HOUR), [("server", 7)]);
    scene.watched.asked = Some((scene.start + HOUR * 2, Some(Timestamp::from_millis(5000))));
    assert_eq!(scene.ends(HOUR), [("server", 5)], "asked since");
    other.shown(scene.start + HOUR * 3, None);
    assert_eq!(scene.ends(HOUR), [("server", 5)], "without TLS nothing is shown");
}

#[test]
fn a_certificate_is_warned_of_two_weeks_before_its_end_and_at_its_end_and_then_once_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let cert = folder.path().join("cert.pem");
    fs::write(&cert, LATE).unwrap();
    let mut scene = scene(Path::new("/none"), &cert);
    assert_eq!(scene.due(HOUR, LATE_END - 15 * DAY), []);
    assert_eq!(scene.due(HOUR, LATE_END - 14 * DAY), [("client", false)]);
    assert_eq!(scene.due(HOUR * 24, LATE_END - 13 * DAY), [], "it was said");
    assert_eq!(scene.due(HOUR * 25, LATE_END - 13 * DAY), [("client", false)]);
    assert_eq!(scene.due(HOUR * 26, LATE_END), [("client", true)], "it has expired");
    assert_eq!(scene.due(HOUR * 27, LATE_END + DAY), []);
    assert_eq!(scene.due(HOUR * 50, LATE_END + DAY), [("client", true)]);
    fs::write(&cert, PAST).unwrap();
    assert_eq!(scene.due(HOUR * 51, LATE_END), [("client", true)], "another one");
}

#[test]
fn only_brokers_with_tls_are_looked_at_each_with_its_own_clients() {
    let found = |plan: &Plan| {
        let standings = Standings::new(clock::now().instant);
        let expiry = Expiry::new(plan, (standings, Arc::default()));
        let brokers = expiry.map(|it| it.brokers).unwrap_or_default().into_iter();
        brokers.map(|it| (it.key, it.clients.sessions, it.clients.output)).collect::<Vec<_>>()
    };
    let url = |text: &str| BrokerUrl::try_from(text.to_owned()).unwrap();
    let mut plan = Plan::default();
    plan.broker.url = url("mqtt://a");
    assert_eq!(found(&plan), []);
    plan.broker.url = url("wss://a");
    assert_eq!(found(&plan), [("broker", true, true)]);
    let own = Broker { url: url("mqtts://b"), ..Broker::default() };
    let output = crate::sink::mqtt::Settings { broker: Some(Box::new(own)), ..Default::default() };
    plan.output.sink = crate::sink::Kind::Mqtt(output);
    assert_eq!(found(&plan), [("broker", true, false), ("output.mqtt.broker", false, true)]);
    plan.broker.url = url("mqtt://a");
    assert_eq!(found(&plan), [("output.mqtt.broker", false, true)]);
}
