//! `sluicegate doctor`: a broker is judged by what it does, each fault is found and named with the
//! setting to change, and nothing but the probe's own topics and sessions is touched.

use std::time::Duration;

use serde_json::Value;

use crate::scene::{BATCHES, LETTERS, fleet, output, violations};
use crate::support::broker::{Broker, Limits};
use crate::support::gateway::{Gateway, Launch};
use crate::support::mosquitto::{Mosquitto, NO_DROP, free_port};
use crate::support::{SOON, pause};

/// A whole audit, on a busy machine.
const AUDIT: Duration = Duration::from_mins(2);

/// So that the broker's own counters need not be waited for.
const COUNT_OFTEN: &str = "sys_interval 1\n";

const SECRET: &str = "s3cr3t-Pa55word";

fn doctor(config: &str) -> Launch {
    Gateway::command("doctor", config)
}

/// What an audit printed, and how it ended.
struct Audit {
    code: i32,
    json: Value,
}

#[track_caller]
fn audited(launch: Launch) -> Audit {
    let mut gateway = launch.arg("--json").start();
    let code = gateway.wait_exit(AUDIT);
    let json = serde_json::from_str(&gateway.stdout());
    let json = json.unwrap_or_else(|error| panic!("{error} in:\n{}", gateway.text()));
    Audit { code, json }
}

/// The test for each of these at the same time: an audit mostly waits, and few tests run at once.
fn each<T: Copy + Send>(cases: impl IntoIterator<Item = T>, test: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        for case in cases {
            let test = &test;
            scope.spawn(move || test(case));
        }
    });
}

impl Audit {
    /// The finding of a check at the first broker.
    #[track_caller]
    fn finding(&self, check: &str) -> &Value {
        let findings = self.json["brokers"][0]["findings"].as_array().unwrap();
        let found = findings.iter().find(|it| it["check"] == check);
        found.unwrap_or_else(|| panic!("no {check} in {:#}", self.json))
    }

    /// The check came out so, and what it says to change names all of this.
    #[track_caller]
    fn says(&self, check: &str, outcome: &str, changes: &[&str]) {
        let finding = self.finding(check);
        assert_eq!(finding["outcome"], outcome, "{finding:#}");
        let change = finding["change"].as_str().unwrap_or_default();
        for word in changes {
            assert!(change.contains(word), "{word:?} is missing in {finding:#}");
        }
    }

    #[track_caller]
    fn ended(&self, code: i32, verdict: &str) {
        let ended = (self.code, self.json["verdict"].as_str().unwrap());
        assert_eq!(ended, (code, verdict), "{:#}", self.json);
    }

    #[track_caller]
    fn number(&self, check: &str, name: &str) -> u64 {
        let number = &self.finding(check)["numbers"][name];
        number.as_u64().unwrap_or_else(|| panic!("no {name} in {:#}", self.finding(check)))
    }
}

#[test]
fn mosquitto_as_installed_is_found_out_and_it_is_said() {
    let tests: [fn(); 2] =
        [it_is_risky_with_the_numbers_and_the_settings, people_get_lines_with_the_verdict_last];
    each(tests, |test| test());
}

fn it_is_risky_with_the_numbers_and_the_settings() {
    each([(3, 20), (5, 500)], |(version, window)| {
        let mosquitto = Mosquitto::start(COUNT_OFTEN);
        let version = format!("broker.version = {version}");
        let more = [version.as_str(), &format!("broker.window_messages = {window}")];
        let audit = audited(doctor(&fleet(&mosquitto.url(), &more)));
        audit.ended(1, "risky");
        let keys = ["max_queued_messages", "max_queued_bytes", "max_inflight_messages"];
        audit.says("capacity", "risky", &keys);
        audit.says("dropped", "risky", &["max_queued_messages"]);
        let number = |name| audit.number("capacity", name);
        let (taken, received) = (number("taken"), number("received"));
        assert_eq!(number("in_flight"), window);
        // Newer versions count a little differently: 1040 instead of 1020 of 3.1.1.
        assert!((window + 1000..=window + 1020).contains(&received), "{received}");
        assert_eq!(taken, window + 3000);
        audit.says("absence", "risky", &["max_queued_messages", "max_queued_bytes"]);
        let absent = |name| audit.number("absence", name);
        assert_eq!(absent("taken"), window + 3000);
        assert!((1000..=1020).contains(&absent("received")), "{}", absent("received"));
        let lost = taken - received + absent("taken") - absent("received");
        assert_eq!(audit.number("dropped", "after"), lost, "the broker counts the same");
        for fit in ["login", "session", "keep-alive", "retained", "sharing", "packet size"] {
            audit.says(fit, "fit", &[]);
        }
    });
}

/// The limits of the shipped configuration, read from its file.
fn ours() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/mosquitto.conf");
    let text = std::fs::read_to_string(path).unwrap();
    let elsewhere = ["listener", "allow_anonymous", "persistence", "persistence_location"];
    let ours = |line: &&str| {
        let key = line.split_whitespace().next().unwrap_or("#");
        !key.starts_with('#') && !elsewhere.contains(&key) && key != "log_dest"
    };
    text.lines().filter(ours).fold(COUNT_OFTEN.to_owned(), |text, line| text + line + "\n")
}

#[test]
fn mosquitto_with_our_limits_is_fit() {
    each([3, 5], |version| {
        let mosquitto = Mosquitto::with(&ours()).persistent().start();
        let version = format!("broker.version = {version}");
        let audit = audited(doctor(&fleet(&mosquitto.url(), &[&version])));
        audit.ended(0, "fit");
        let (taken, received) =
            (audit.number("capacity", "taken"), audit.number("capacity", "received"));
        assert_eq!(taken, received);
        assert!(taken >= 3000);
        audit.says("absence", "fit", &[]);
        let (taken, received) =
            (audit.number("absence", "taken"), audit.number("absence", "received"));
        assert_eq!(taken, received);
        assert!(taken > 3000);
    });
}

fn people_get_lines_with_the_verdict_last() {
    let mosquitto = Mosquitto::start(COUNT_OFTEN);
    let more = ["broker.window_messages = 100"];
    let mut gateway = doctor(&fleet(&mosquitto.url(), &more)).start();
    assert_eq!(gateway.wait_exit(AUDIT), 1, "{}", gateway.text());
    let text = gateway.stdout();
    assert_eq!(text.lines().last(), Some("verdict: risky"));
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "100 in flight + 1,000 queued",
        "of 3,100 messages acknowledged to their publisher the broker dropped 2,000",
        "in mosquitto.conf: max_queued_messages 0",
        "gateway/batches not checked: --probe-output",
    ] {
        assert!(words.contains(part), "{part:?} is missing in:\n{text}");
    }
    assert!(gateway.stderr().is_empty(), "{}", gateway.stderr());
}

#[test]
fn packets_too_small_for_a_batch_are_risky_and_for_a_reading_unfit() {
    each(
        [(5, 100_000, 1, "risky"), (5, 20_000, 2, "unfit"), (3, 20_000, 2, "unfit")],
        |(version, bytes, code, verdict)| {
            let limit = format!("{NO_DROP}{COUNT_OFTEN}max_packet_size {bytes}\n");
            let mosquitto = Mosquitto::start(&limit);
            let version = format!("broker.version = {version}");
            let audit = audited(doctor(&fleet(&mosquitto.url(), &[&version])));
            audit.ended(code, verdict);
            audit.says("packet size", verdict, &["max_packet_size 262"]);
            let passed = audit.number("packet size", "passed");
            assert!(passed > bytes / 2 && passed <= bytes, "{passed} of {bytes}");
        },
    );
}

/// A message above the limit is acknowledged with 3.1.1, and dropped.
#[test]
fn a_batch_that_is_acknowledged_and_dropped_is_found() {
    let limit = format!("{NO_DROP}{COUNT_OFTEN}message_size_limit 20000\n");
    let mosquitto = Mosquitto::start(&limit);
    let audit = audited(doctor(&fleet(&mosquitto.url(), &["broker.version = 3"])));
    audit.ended(2, "unfit");
    audit.says("packet size", "unfit", &["message_size_limit"]);
}

#[test]
fn an_acl_that_denies_the_output_is_found_when_asked_and_only_then() {
    let acl = "user gateway\ntopic readwrite sluicegate-doctor/#\ntopic read $SYS/#\n";
    each([(3, false), (3, true), (5, false), (5, true)], |(version, is_asked)| {
        let (_mosquitto, launch) = with_acl(acl, version);
        if !is_asked {
            let audit = audited(launch);
            audit.ended(0, "fit");
            return audit.says("output topic", "skipped", &[]);
        }
        let audit = audited(launch.arg("--probe-output"));
        audit.ended(2, "unfit");
        audit.says("output topic", "unfit", &["acl_file", "topic write gateway/batches"]);
        audit.says("dead letters", "unfit", &["topic write gateway/dead-letters"]);
        assert!(!audit.json.to_string().contains(SECRET));
    });
}

/// A Mosquitto whose only account may do this, and an audit with that account.
fn with_acl(acl: &str, version: u8) -> (Mosquitto, Launch) {
    let limits = format!("{NO_DROP}{COUNT_OFTEN}");
    let mosquitto = Mosquitto::with(&limits).user("gateway", SECRET).acl(acl).start();
    let version = format!("broker.version = {version}");
    let account = ["broker.username = \"gateway\"", "broker.password_file = \"password\""];
    let config = fleet(&mosquitto.url(), &[&account[..], &[&version]].concat());
    (mosquitto, doctor(&config).file("password", SECRET))
}

#[test]
fn a_probe_that_may_use_no_topic_cannot_judge_and_says_how_it_could() {
    let acl = "user gateway\ntopic readwrite gateway/#\ntopic read $SYS/#\n";
    each([(3, false), (3, true), (5, false), (5, true)], |(version, is_told)| {
        let (_mosquitto, launch) = with_acl(acl, version);
        if is_told {
            return audited(launch.arg("--topic-prefix").arg("gateway/doctor")).ended(0, "fit");
        }
        let audit = audited(launch);
        audit.ended(75, "could not judge");
        audit.says("subscription", "failed", &["acl_file", "sluicegate-doctor/", "--topic-prefix"]);
    });
}

#[test]
fn a_wrong_password_is_a_wrong_setting_and_not_shown() {
    each([3, 5], |version| {
        let mosquitto = Mosquitto::with("").user("gateway", "right").start();
        let more = [
            format!("broker.version = {version}"),
            "broker.username = \"gateway\"".to_owned(),
            "broker.password_file = \"password\"".to_owned(),
        ];
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let audit = audited(doctor(&fleet(&mosquitto.url(), &more)).file("password", SECRET));
        audit.ended(64, "refused");
        audit.says("login", "refused", &["broker.password_file"]);
        assert!(!audit.json.to_string().contains(SECRET));
    });
}

#[test]
fn where_no_broker_is_nothing_can_be_judged() {
    let url = format!("mqtt://127.0.0.1:{}", free_port());
    let audit = audited(doctor(&fleet(&url, &[])));
    audit.ended(75, "could not judge");
    audit.says("login", "failed", &["broker.url"]);
}

#[test]
fn a_configuration_without_a_broker_of_its_own_is_refused_with_the_remedy() {
    // Without the feature the address itself is a mistake.
    let mut gateway = doctor("broker.url = \"embedded\"\nsensors.T.simulated.count = 1\n").start();
    assert_eq!(gateway.wait_exit(SOON), 64, "{}", gateway.text());
    assert!(gateway.stderr().contains("broker.url"), "{}", gateway.text());
    let mut gateway = doctor(&fleet("mqtt://127.0.0.1:1", &[])).arg("--messages").arg("0").start();
    assert_eq!(gateway.wait_exit(SOON), 64, "{}", gateway.text());
    assert!(gateway.stderr().contains("--messages"), "{}", gateway.text());
}

#[test]
fn only_topics_and_clients_of_its_own_are_used_and_nothing_is_left() {
    each([3, 5], |version| {
        let broker = Broker::start();
        let version = format!("broker.version = {version}");
        let audit = audited(doctor(&fleet(&broker.url(), &[&version])));
        audit.ended(0, "fit");
        assert_eq!(violations(&broker), [""; 0]);
        let prefix = audit.json["topic_prefix"].as_str().unwrap().to_owned() + "/";
        assert!(prefix.starts_with("sluicegate-doctor/"), "{prefix}");
        broker.look(|log| {
            assert!(!log.published.is_empty());
            assert!(log.published.iter().all(|it| it.topic.starts_with(&prefix)));
            assert!(log.clients.keys().all(|id| id.starts_with("gw-doctor-")), "{log:?}");
            let kept = log.published.iter().rfind(|it| it.retain).unwrap();
            assert!(kept.payload.is_empty(), "the retained message is deleted");
        });
        for who in ["-login", "-session-sub"] {
            let log = broker.client(who);
            assert!(log.connects.last().unwrap().connect.clean_start, "{who} ends its session");
            assert!(!log.connected);
        }
    });
}

#[test]
fn an_output_broker_of_its_own_is_audited_for_what_it_is_for() {
    let (input, sink) = (Broker::start(), Broker::start());
    let config = fleet(&input.url(), &[&output(&sink.url())]);
    let audit = audited(doctor(&config).arg("--probe-output"));
    let keys: Vec<_> =
        audit.json["brokers"].as_array().unwrap().iter().map(|it| it["key"].clone()).collect();
    assert_eq!(keys, ["broker", "output.broker"]);
    for topic in [BATCHES, LETTERS] {
        let published = sink.published(topic);
        assert_eq!(published.len(), 1, "one message on {topic}");
        assert!(published[0].payload.is_empty() && !published[0].retain);
        assert!(input.published(topic).is_empty());
    }
    audit.says("packet size", "skipped", &[]);
    audit.ended(0, "fit");
}

#[test]
fn each_fault_of_a_broker_is_found() {
    let faults: [fn(); 5] = [
        a_broker_that_retains_nothing_is_asked_to_retain_nothing,
        nobody_at_the_output_is_risky,
        a_broker_that_grants_less_is_unfit_for_who_asks_for_more,
        a_broker_that_takes_one_publish_at_a_time_is_risky_and_not_overrun,
        a_broker_that_does_not_answer_pings_while_it_waits_is_unfit,
    ];
    each(faults, |fault| fault());
}

fn a_broker_that_retains_nothing_is_asked_to_retain_nothing() {
    let broker = Broker::start();
    broker.announce(Limits { retain_available: Some(0), ..Limits::default() });
    let audit = audited(doctor(&fleet(&broker.url(), &[])));
    audit.says("retained", "risky", &["retained = \"skip\""]);
    assert_eq!(violations(&broker), [""; 0]);
}

fn nobody_at_the_output_is_risky() {
    let broker = Broker::start();
    broker.answer_publishes("gateway/#", 0x10, usize::MAX);
    let audit = audited(doctor(&fleet(&broker.url(), &[])).arg("--probe-output"));
    audit.ended(1, "risky");
    audit.says("output topic", "risky", &["consumer"]);
    audit.says("dead letters", "fit", &[]);
}

#[test]
fn a_broker_that_forgets_sessions_is_unfit() {
    each([3, 5], |version| {
        let broker = Broker::start();
        broker.hold_acks("session-pub");
        let version = format!("broker.version = {version}");
        let launch = doctor(&fleet(&broker.url(), &[&version])).arg("--json");
        let mut gateway = launch.start();
        broker.wait_until("five before it leaves", AUDIT, |log| log.held_acks("session-pub") == 5);
        broker.release_some_acks("session-pub", 5);
        broker.wait_until("five while it is away", SOON, |log| {
            log.held_acks("session-pub") == 5 && !log.connected("session-sub")
        });
        broker.forget_sessions("session-sub");
        broker.resume_acks("session-pub");
        let code = gateway.wait_exit(AUDIT);
        let json = serde_json::from_str(&gateway.stdout()).unwrap();
        let audit = Audit { code, json };
        audit.ended(2, "unfit");
        audit.says("session", "unfit", &["sessions"]);
        audit.says("capacity", "fit", &[]);
    });
}

fn a_broker_that_grants_less_is_unfit_for_who_asks_for_more() {
    each([1, 0], |qos| {
        let broker = Broker::start();
        broker.grant_at_most("sluicegate-doctor", 0);
        let qos = format!("sensors.fleet.mqtt.qos = {qos}");
        let audit = audited(doctor(&fleet(&broker.url(), &[&qos])));
        if qos.ends_with('0') {
            return audit.says("subscription", "fit", &[]);
        }
        audit.ended(2, "unfit");
        audit.says("subscription", "unfit", &["QoS 1"]);
        audit.says("capacity", "skipped", &[]);
        assert_eq!(audit.number("subscription", "granted"), 0);
    });
}

fn a_broker_that_takes_one_publish_at_a_time_is_risky_and_not_overrun() {
    let broker = Broker::start();
    broker.announce(Limits { receive_maximum: Some(1), ..Limits::default() });
    let audit = audited(doctor(&fleet(&broker.url(), &[])));
    audit.ended(1, "risky");
    audit.says("greeting", "risky", &["let it take more", "output.window_batches = 1"]);
    assert_eq!(violations(&broker), [""; 0]);
}

fn a_broker_that_does_not_answer_pings_while_it_waits_is_unfit() {
    let broker = Broker::start();
    broker.mute_pings("capacity-sub");
    let audit = audited(doctor(&fleet(&broker.url(), &[])));
    audit.ended(2, "unfit");
    audit.says("keep-alive", "unfit", &["broker"]);
    assert_eq!(audit.number("capacity", "pings"), 0);
}

#[test]
fn what_is_not_kept_for_a_client_that_is_away_is_found_and_the_advice_is_no_other_brokers() {
    each([(0, "unfit"), (50, "risky"), (1000, "risky")], |(kept, outcome)| {
        let broker = Broker::start();
        broker.keep_for_absent("absence-sub", kept);
        let more = ["broker.window_messages = 50", "broker.watch = false"];
        let audit = audited(doctor(&fleet(&broker.url(), &more)));
        audit.says("absence", outcome, &["queued for a client that is away"]);
        assert_eq!(audit.number("absence", "received"), kept as u64);
        assert_eq!(audit.number("absence", "taken"), 3050);
        audit.says("session", "fit", &[]);
        audit.says("capacity", "fit", &[]);
        // Nothing said that it was Mosquitto.
        let text = audit.json.to_string();
        assert!(!text.contains("mosquitto.conf") && !text.contains("max_queued"), "{text}");
        // It keeps what the window holds, and says nothing more.
        let change = audit.finding("absence")["change"].as_str().unwrap();
        assert_eq!(change.contains("broker.window_messages"), kept == 50, "{change}");
    });
}

#[test]
fn messages_that_come_again_late_are_waited_for_and_risky() {
    let broker = Broker::start();
    broker.hold_repeats("session-sub");
    let mut gateway = doctor(&fleet(&broker.url(), &[])).arg("--json").start();
    broker.wait_until("the client is back", AUDIT, |log| {
        log.of("session-sub").any(|it| it.connects.len() == 2 && it.delivered.len() == 10)
    });
    // Longer than anything else is waited for.
    pause(Duration::from_secs(4));
    broker.send_repeats("session-sub");
    let code = gateway.wait_exit(AUDIT);
    let audit = Audit { code, json: serde_json::from_str(&gateway.stdout()).unwrap() };
    audit.ended(1, "risky");
    audit.says("session", "risky", &["sends again what is not acknowledged"]);
    assert!((3..=30).contains(&audit.number("session", "late_seconds")));
    assert!(!audit.json.to_string().contains("mosquitto.conf"));
}

#[test]
fn a_broker_that_takes_all_clients_of_an_account_for_one_is_found_and_nothing_else_is_judged() {
    each([3, 5], |version| {
        let setup = Mosquitto::with("use_username_as_clientid true\n");
        let mosquitto = setup.user("gateway", SECRET).user("sensor", SECRET).start();
        let more = [
            &format!("broker.version = {version}"),
            "broker.username = \"gateway\"",
            "broker.password_file = \"password\"",
        ];
        let audited = || audited(doctor(&fleet(&mosquitto.url(), &more)).file("password", SECRET));
        let audit = audited();
        audit.ended(2, "unfit");
        audit.says("client ids", "unfit", &["use_username_as_clientid false"]);
        audit.says("session", "skipped", &[]);
        audit.says("capacity", "skipped", &[]);
        // A session of the gateway's own is seen, and not wiped.
        let client = |program, user, more: &[&str]| {
            let account = ["-u", user, "-P", SECRET, "-t", "readings", "-q", "1"];
            mosquitto_client(program, mosquitto.port(), &[&account, more].concat());
        };
        client("mosquitto_sub", "gateway", &["-i", "any", "-c", "-E"]);
        client("mosquitto_pub", "sensor", &["-m", "kept"]);
        let audit = audited();
        audit.ended(2, "unfit");
        audit.says("client ids", "unfit", &["keep the ids that clients give"]);
        client("mosquitto_sub", "gateway", &["-i", "any", "-c", "-C", "1", "-W", "10"]);
    });
}

/// Runs a client of Mosquitto's to its end.
#[track_caller]
fn mosquitto_client(program: &str, port: u16, arguments: &[&str]) {
    let mut command = std::process::Command::new(program);
    let done = command.args(["-p", &port.to_string()]).args(arguments).output();
    let done = done.expect("apt-get install mosquitto-clients");
    assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_broker_that_gives_other_client_ids_is_unfit_and_its_sessions_are_not_judged() {
    let broker = Broker::start();
    broker.assign_ids();
    let audit = audited(doctor(&fleet(&broker.url(), &[])));
    audit.ended(2, "unfit");
    audit.says("greeting", "unfit", &["keep the ids that clients give"]);
    audit.says("session", "skipped", &[]);
    audit.says("absence", "skipped", &[]);
    audit.says("capacity", "fit", &[]);
}

#[test]
fn the_output_is_probed_at_a_broker_that_hangs_up_on_mqtt_5() {
    let broker = Broker::start();
    broker.know_only_v3();
    let config = fleet(&broker.url(), &["broker.version = 3"]);
    let audit = audited(doctor(&config).arg("--probe-output"));
    audit.ended(0, "fit");
    audit.says("output topic", "skipped", &["subscribe to gateway/batches"]);
    assert_eq!(broker.published(BATCHES).len(), 1);
    assert_eq!(broker.published(LETTERS).len(), 1);
}

#[test]
fn out_of_time_and_stopped_end_cleanly_and_judge_nothing() {
    each([true, false], |is_stopped| {
        let broker = Broker::start();
        broker.hold_acks("session-pub");
        let launch = doctor(&fleet(&broker.url(), &[])).arg("--json").arg("--seconds");
        let mut gateway = launch.arg(if is_stopped { "90" } else { "10" }).start();
        broker.wait_until("a session", AUDIT, |log| log.held_acks("session-pub") == 5);
        if is_stopped {
            gateway.signal("TERM");
        }
        let code = gateway.wait_exit(SOON);
        let audit = Audit { code, json: serde_json::from_str(&gateway.stdout()).unwrap() };
        audit.ended(75, "could not judge");
        let (said, word) =
            (audit.finding("all checks"), if is_stopped { "signal" } else { "10 s" });
        assert!(said["measured"].as_str().unwrap().contains(word), "{said:#}");
        let last = broker.client("session-sub").connects.pop().unwrap();
        assert!(last.connect.clean_start, "the session is ended");
    });
}
