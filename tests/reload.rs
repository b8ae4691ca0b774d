//! The configuration in motion: read again while the gateway runs, without a reading lost, and without a word to the
//! entries that stay as they are.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use crate::scene::{LONG, audit, drained, gateway, message, reading, report, wait_readings};
use crate::support::broker::Broker;
use crate::support::client::{Collector, Options, Publisher, Session};
use crate::support::gateway::Gateway;
use crate::support::http::Http;
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::{SOON, eventually, now, thread};

/// Logs who connects, and who subscribes to what and ends it.
fn broker() -> Mosquitto {
    let types =
        ["notice", "subscribe", "unsubscribe", "error"].map(|it| format!("log_type {it}\n"));
    Mosquitto::start(&format!("{NO_DROP}\n{}", types.concat()))
}

/// The configuration of a gateway that can be asked, with these lines.
fn config(url: &str, lines: &[&str]) -> String {
    gateway(url, &[&["gateway.control = \"control\"", "batch.age_max = \"20ms\""], lines].concat())
}

fn started(config: &str) -> Gateway {
    let gateway =
        Gateway::with_config(config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0").start();
    gateway.wait_for_line("subscribed", SOON);
    gateway
}

/// Runs `sluicegate reload` in the folder of a gateway.
fn ask(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluicegate"));
    command.arg("reload").args(["--config", "sluicegate.toml"]).args(arguments);
    let Output { status, stdout, stderr } = command.current_dir(folder).output().unwrap();
    let said = [stdout, stderr].concat();
    (status.code().unwrap(), String::from_utf8(said).unwrap())
}

/// The same with this configuration in place of the one before.
fn reload(gateway: &Gateway, config: &str) -> (i32, String) {
    fs::write(gateway.config_path(), config).unwrap();
    ask(gateway.folder(), &[])
}

/// Whether the broker has a session of this client.
fn has_session(mosquitto: &Mosquitto, client: &str) -> bool {
    let options = Options::new(mosquitto.port(), client).persistent();
    Session::open(&options).unwrap().session_present()
}

/// Reloads of the one test under load, and the time that they may take together.
const RELOADS: usize = 100;
const RELOADS_MAX: Duration = Duration::from_secs(50);

#[test]
fn a_hundred_reloads_under_load_lose_nothing_and_touch_no_other_entry() {
    let mosquitto = broker();
    let collector = Collector::start(mosquitto.port());
    let at_round = |round: usize| {
        config(
            &mosquitto.url(),
            &[
                "sensors.steady.mqtt.topic = \"steady/{sensor}\"",
                "sensors.changed.mqtt.topic = \"changed/{sensor}\"",
                &format!("sensors.changed.mqtt.tags = {{ round = \"{round}\" }}"),
                &format!("sensors.extra-{}.mqtt.topic = \"extra/{round}/+\"", round % 3),
            ],
        )
    };
    let mut gateway = started(&at_round(0));
    let http = Http::of(&gateway);
    eventually("all subscribe", SOON, || mosquitto.log().contains("gw-in-changed 1 changed/+"));
    let topic = |sensor: &str, _| {
        let entry = if sensor.ends_with(['0', '2', '4', '6', '8']) { "steady" } else { "changed" };
        format!("{entry}/{sensor}")
    };
    let load = Publisher::to(mosquitto.port()).sensors(50).readings(1_000_000).rate(5000.0);
    let load = load.topic(topic).start();
    let (start, mut rounds) = (now(), 0);
    while rounds < RELOADS && now() - start < RELOADS_MAX {
        rounds += 1;
        load.wait_acknowledged(250 * rounds as u64, LONG);
        let (code, said) = reload(&gateway, &at_round(rounds));
        let expected = ["is added (mqtt)", "sensors.changed is changed: mqtt.tags", "is removed"];
        let all = expected.iter().all(|it| said.contains(it)) && said.lines().count() == 3;
        assert!(code == 0 && all, "{code}: {said}");
    }
    let took = now() - start;
    let published = load.stop();
    collector.wait_readings(published.total(), LONG);
    let applied = http.metric("sluicegate_reloads_total{result=\"applied\"}");
    assert_eq!(applied, Some(f64::from(u32::try_from(rounds).unwrap())));
    let entries = http.json("/api/entries")["entries"].clone();
    let shown = |name: &str| {
        let of = entries.as_array().unwrap().iter().find(|it| it["name"] == name).unwrap();
        (of["kind"].clone(), of["topics"][0].clone())
    };
    let last = format!("extra/{rounds}/+");
    assert_eq!(shown(&format!("extra-{}", rounds % 3)), ("mqtt".into(), last.into()), "{entries}");
    let sessions = http.json("/api/status")["sessions"].clone();
    let connections = |name: &str| {
        let of = sessions.as_array().unwrap().iter().find(|it| it["name"] == name);
        of.map(|it| it["connections"].clone())
    };
    assert_eq!(connections("sensors.steady"), Some(1.into()), "{sessions}");
    assert_eq!(connections("output"), Some(1.into()), "{sessions}");
    let gone = format!("extra-{}", (rounds + 1) % 3);
    assert_eq!(connections(&format!("sensors.{gone}")), None, "{sessions}");
    let balance = drained(&mut gateway);
    let verdict = collector.audit().judge_report(&published);
    report(&format!("{rounds} reloads in {took:?}: {balance:?}, {verdict:?}"));
    assert_eq!((verdict.lost, verdict.reordered, verdict.strange), (0, 0, 0));
    assert_eq!(verdict.duplicated, 0, "what has changed acknowledged all that it delivered");
    assert_eq!((balance.received, balance.dead_lettered), (balance.delivered, 0));
    let log = mosquitto.log();
    let connected = |client: &str| log.matches(&format!(" as {client} (")).count();
    assert_eq!((connected("gw-in-steady"), connected("gw-in-changed")), (1, rounds + 1));
    assert!(!has_session(&mosquitto, &format!("gw-in-{gone}")), "it ended with its entry");
    assert!(rounds >= 20, "{rounds} reloads in {took:?}");
}

#[test]
fn the_only_entry_can_be_changed_and_be_replaced_by_another() {
    let mosquitto = broker();
    let collector = Collector::start(mosquitto.port());
    let with = |line: &str| config(&mosquitto.url(), &[line]);
    let mut gateway = started(&with("sensors.one.mqtt.topic = \"old/{sensor}\""));
    let publish = |topic: &'static str, name: &str| {
        let topic = move |sensor: &str, _| format!("{topic}/{sensor}");
        let load = Publisher::to(mosquitto.port()).name(name).sensors(2).readings(50);
        load.topic(topic).run(LONG).total()
    };
    assert_eq!(publish("old", "a"), 100);
    collector.wait_readings(100, LONG);
    fs::write(gateway.config_path(), with("sensors.one.mqtt.topic = \"new/{sensor}\"")).unwrap();
    gateway.signal("HUP");
    gateway.wait_for_line(
        "sensors.one is changed: mqtt.topic: \"old/{sensor}\" → \"new/{sensor}\"",
        SOON,
    );
    eventually("the new topic is subscribed to, and the old one ends", SOON, || {
        let log = mosquitto.log();
        let new = log.find("gw-in-one 1 new/+");
        new.is_some_and(|at| log.rfind("gw-in-one old/+") > Some(at))
    });
    publish("old", "b");
    let topic = |sensor: &str, n: u64| format!("new/new-{sensor}-{}", n % 2);
    Publisher::to(mosquitto.port()).sensors(2).readings(50).topic(topic).run(LONG);
    let records = |count| {
        collector.wait_until("records", LONG, |it| it.audit.records() >= count);
    };
    records(200);
    let (code, said) = reload(&gateway, &with("sensors.two.mqtt.topic = \"two/{sensor}\""));
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("sensors.one is removed: its subscription ends at the broker"), "{said}");
    assert!(!has_session(&mosquitto, "gw-in-one"));
    gateway.wait_for_line("subscribed entry=\"two\"", SOON);
    publish("two", "c");
    records(300);
    assert!(gateway.runs() && !gateway.said("draining"), "{}", gateway.text());
    let balance = drained(&mut gateway);
    assert_eq!((balance.received, balance.delivered), (300, 300));
}

#[test]
fn a_bad_file_changes_nothing_and_all_mistakes_are_answered_and_logged() {
    let input = Broker::start();
    let good = config(&input.url(), &["sensors.fleet.mqtt.topic = \"sensors/{sensor}/reading\""]);
    let mut gateway = started(&good);
    let bad = format!("{good}batch.records_max = 0\nsensors.more.mqtt.topic = \"a/#/b\"\n");
    for arguments in [&[][..], &["--dry-run"]] {
        fs::write(gateway.config_path(), &bad).unwrap();
        let (code, said) = ask(gateway.folder(), arguments);
        assert_eq!(code, 64, "{said}");
        for mistake in [
            "2 mistakes",
            "batch.records_max: 0 is too small",
            "sensors.more.mqtt.topic: has \"#\"",
        ] {
            assert!(said.contains(mistake), "{said}");
        }
        // In one line, and what is only tried is not logged.
        let line = gateway.wait_for_line("nothing has changed, for 2 reasons: ", SOON);
        assert!(line.contains(": (1) batch.records_max: 0 is too small"), "{line}");
        assert!(line.contains(" (2) sensors.more.mqtt.topic: has \"#\""), "{line}");
        assert_eq!(gateway.count(" ERROR "), 1, "{}", gateway.text());
    }
    let http = Http::of(&gateway);
    assert_eq!(http.metric("sluicegate_reloads_total{result=\"refused\"}"), Some(1.0));
    assert_eq!(http.metric("sluicegate_last_reload_success"), Some(0.0));
    assert_eq!(reload(&gateway, &good).0, 0);
    assert_eq!(http.metric("sluicegate_last_reload_success"), Some(1.0));
    // A relation to what needs a restart: the output's broker that runs is another one.
    let output =
        "output.broker.url = \"mqtt://b\"\nsensors.more.mqtt.topic = \"gateway/batches\"\n";
    let (code, said) = reload(&gateway, &format!("{good}{output}"));
    assert!(
        code == 64 && said.contains("sensors.more.mqtt.topic: gateway/batches matches"),
        "{said}"
    );
    let (half, _) = good.rsplit_once(" = ").unwrap();
    let (code, said) = reload(&gateway, half);
    assert!(code == 64 && said.contains("sluicegate.toml"), "{code} {said}");
    fs::remove_file(gateway.config_path()).unwrap();
    let (code, said) = ask(gateway.folder(), &["--control", "control"]);
    assert!(code == 64 && said.contains("cannot read"), "{said}");
    input.publish_all([reading("a", 1, 1)]);
    wait_readings(&input, 1, SOON);
    assert_eq!(input.look(|log| log.connects("gw-in")), 1);
    assert_eq!(drained(&mut gateway).delivered, 1);
}

#[test]
fn a_dry_run_says_what_would_change_and_a_restart_is_named_each_time() {
    let input = Broker::start();
    let lines = ["sensors.fleet.mqtt.topic = \"sensors/{sensor}/reading\""];
    let good = config(&input.url(), &lines);
    let mut gateway = started(&good);
    let changed = format!(
        "{}log.level = \"debug\"\nsensors.more.simulated = {{}}\n",
        good.replace("id = \"gw\"", "id = \"other\"")
    );
    let log = "log.level is changed: \"info\" → \"debug\"";
    let more = "sensors.more is added (simulated)";
    let restart = "gateway.id needs a restart: \"gw\" → \"other\"";
    let all = [log, more, restart].join("\n");
    for (arguments, lines) in [
        (&["--dry-run"][..], all.as_str()),
        (&["--dry-run"], &all),
        (&[], &all),
        (&[], restart),
        (&["--dry-run"], restart),
    ] {
        fs::write(gateway.config_path(), &changed).unwrap();
        let (code, said) = ask(gateway.folder(), arguments);
        assert_eq!((code, said.trim_end()), (0, lines), "{arguments:?}");
    }
    let (code, said) = reload(&gateway, &good);
    assert!(code == 0 && said.contains("sensors.more is removed (simulated)"), "{said}");
    assert_eq!(reload(&gateway, &good), (0, "nothing has changed\n".to_owned()));
    assert_eq!(input.look(|log| log.connects("gw-in")), 1);
    gateway.signal("TERM");
    assert_eq!(gateway.wait_exit(SOON), 0);
    assert!(!gateway.folder().join("control").exists(), "the socket is removed");
}

#[test]
fn a_gateway_that_cannot_be_reached_is_said_with_75_and_one_without_a_socket_with_64() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sluicegate.toml");
    fs::write(&path, config("mqtt://localhost", &["sensors.a.simulated = {}"])).unwrap();
    let (code, said) = ask(folder.path(), &[]);
    assert!(code == 75 && said.starts_with("no gateway answers at control"), "{code} {said}");
    fs::write(&path, gateway("mqtt://localhost", &["sensors.a.simulated = {}"])).unwrap();
    let (code, said) = ask(folder.path(), &[]);
    assert!(code == 64 && said.contains("gateway.control is not set"), "{code} {said}");
    let long = format!("gateway.control = \"/{}\"", "x".repeat(100));
    let mut check =
        Gateway::command("check", &gateway("mqtt://h", &[&long, "sensors.a.simulated = {}"]))
            .start();
    assert_eq!(check.wait_exit(SOON), 64);
    assert!(check.said("gateway.control: has 101 bytes"), "{}", check.text());
}

#[test]
fn an_entry_that_was_removed_is_shown_no_more_and_its_readings_stay_in_the_totals() {
    let input = Broker::start();
    let steady = "sensors.fleet.mqtt.topic = \"sensors/{sensor}/reading\"";
    let both = config(&input.url(), &[steady, "sensors.old.mqtt.topic = \"old/{sensor}\""]);
    let mut gateway = started(&both);
    let http = Http::of(&gateway);
    input.wait_until("both subscribe", SOON, |log| log.connects("gw-in-old") == 1);
    input.publish_all([reading("a", 1, 1), message("old/b", "1", 1), message("old/c", "{", 1)]);
    let settled = || {
        let balance = http.json("/api/status")["balance"].clone();
        balance["received"] == 3 && balance["held"] == 0
    };
    eventually("all has settled", SOON, settled);
    let is_shown = |name: &str| {
        let label = format!("{{entry=\"{name}\"");
        let named = |list: &serde_json::Value, key: &str| {
            list.as_array().unwrap().iter().any(|it| it[key] == name)
        };
        [
            named(&http.json("/api/entries")["entries"], "name"),
            named(&http.json("/api/status")["sensors"], "name"),
            named(&http.json("/api/sensors")["sensors"], "entry"),
            http.get("/metrics").body.contains(&label),
        ]
    };
    assert_eq!(["fleet", "old"].map(is_shown), [[true; 4]; 2]);
    assert_eq!(reload(&gateway, &config(&input.url(), &[steady])).0, 0);
    assert_eq!(["fleet", "old"].map(is_shown), [[true; 4], [false; 4]]);
    assert_eq!(http.metric("sluicegate_readings_received_total"), Some(3.0));
    assert!(settled());
    // What begins again goes on from what it had.
    assert_eq!(reload(&gateway, &both).0, 0);
    assert_eq!(is_shown("old"), [true; 4]);
    let delivered = http.metric("sluicegate_entry_readings_delivered_total{entry=\"old\"}");
    assert_eq!(delivered, Some(1.0));
    let balance = drained(&mut gateway);
    assert_eq!((balance.received, balance.delivered, balance.dead_lettered), (3, 2, 1));
}

#[test]
fn the_log_level_counts_at_once() {
    let input = Broker::start();
    let with = |level: &str| {
        let level = format!("log.level = \"{level}\"");
        config(&input.url(), &["sensors.fleet.mqtt.topic = \"sensors/{sensor}/reading\"", &level])
    };
    let mut gateway = started(&with("info"));
    let said = "the configuration was read again";
    for (level, lines) in [("error", 0), ("warn", 0), ("info", 1)] {
        assert_eq!(reload(&gateway, &with(level)).0, 0);
        if lines > 0 {
            gateway.wait_for_line("log.level is changed: \"warn\" → \"info\"", SOON);
        }
        assert_eq!(gateway.count(said), lines, "{level}: {}", gateway.text());
    }
    drained(&mut gateway);
}

#[test]
fn a_file_that_is_watched_is_applied_once_it_stays_the_same() {
    let input = Broker::start();
    let with = |count: u32| {
        let lines = [
            "sensors.fleet.mqtt.topic = \"sensors/{sensor}/reading\"".to_owned(),
            format!("sensors.more.simulated = {{ count = {count}, readings = 1 }}"),
        ];
        config(&input.url(), &lines.each_ref().map(String::as_str))
    };
    let launch = Gateway::with_config(&with(1)).arg("--watch-config");
    let mut gateway = launch.start();
    gateway.wait_for_line("subscribed", SOON);
    // As an editor does.
    let other = gateway.folder().join("other");
    fs::write(&other, with(2)).unwrap();
    fs::rename(&other, gateway.config_path()).unwrap();
    gateway.wait_for_line("sensors.more is changed: simulated.count: 1 → 2", SOON);
    fs::write(gateway.config_path(), "broken =").unwrap();
    gateway.wait_for_line("is refused: nothing has changed", SOON);
    fs::write(gateway.config_path(), with(3)).unwrap();
    gateway.wait_for_line("sensors.more is changed: simulated.count: 2 → 3", SOON);
    assert_eq!(gateway.count("by=\"--watch-config\""), 3, "{}", gateway.text());
    assert_eq!(input.look(|log| log.connects("gw-in")), 1);
    drained(&mut gateway);
}

#[test]
fn a_watched_file_that_was_refused_is_tried_again_until_what_it_names_is_mended() {
    let input = Broker::start();
    let with = |count: u32, more: &str| {
        let lines = [
            "sensors.fleet.mqtt.topic = \"sensors/{sensor}/reading\"".to_owned(),
            format!("sensors.more.simulated = {{ count = {count}, readings = 1 }}"),
            more.to_owned(),
        ];
        config(&input.url(), &lines.each_ref().map(String::as_str))
    };
    let mut gateway = Gateway::with_config(&with(1, "")).arg("--watch-config").start();
    gateway.wait_for_line("subscribed", SOON);
    fs::write(gateway.config_path(), with(2, "http.token_file = \"token\"")).unwrap();
    let refused = "is refused: nothing has changed, for 1 reason: http.token_file: token";
    gateway.wait_for_line(&format!("{refused}: does not exist: create it"), SOON);
    let token = gateway.folder().join("token");
    fs::write(&token, "").unwrap();
    gateway.wait_for_line(&format!("{refused} is empty"), SOON);
    fs::write(&token, "s3cret").unwrap();
    gateway.wait_for_line("sensors.more is changed: simulated.count: 1 → 2", SOON);
    gateway.wait_for_line("http.token_file needs a restart", SOON);
    // Other content is said again, although the reason is the same.
    fs::remove_file(&token).unwrap();
    fs::write(gateway.config_path(), with(3, "http.token_file = \"token\"")).unwrap();
    eventually("it is refused", SOON, || gateway.count(refused) == 3);
    fs::write(gateway.config_path(), with(4, "")).unwrap();
    gateway.wait_for_line("sensors.more is changed: simulated.count: 2 → 4", SOON);
    assert_eq!(gateway.count(refused), 3, "{}", gateway.text());
    drained(&mut gateway);
}

#[test]
fn entries_join_and_leave_a_session_that_others_use_and_lose_nothing() {
    let mosquitto = broker();
    let collector = Collector::start(mosquitto.port());
    let with = |entries: &[&str]| {
        let lines = entries.iter().flat_map(|entry| {
            [
                format!("sensors.{entry}.mqtt.topic = \"{entry}/{{sensor}}\""),
                format!("sensors.{entry}.mqtt.session = \"plant\""),
            ]
        });
        let lines: Vec<String> = lines.collect();
        config(&mosquitto.url(), &lines.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let mut gateway = started(&with(&["a", "b"]));
    let load = Publisher::to(mosquitto.port()).sensors(10).readings(400).rate(2000.0);
    let load = load.topic(|sensor, _| format!("b/{sensor}")).start();
    let port = mosquitto.port();
    let entries: [&[&str]; 4] = [&["a", "b", "c"], &["b", "c"], &["b"], &["a", "b"]];
    for entries in entries {
        let (code, said) = reload(&gateway, &with(entries));
        assert_eq!(code, 0, "{said}");
    }
    let ended = thread("load", move || load.join(LONG)).join().unwrap();
    collector.wait_readings(4000, LONG);
    drained(&mut gateway);
    collector.audit().assert_exactly(10, 400);
    assert_eq!(ended.total(), 4000);
    let log = mosquitto.log();
    assert!(log.contains("gw-in-plant a/+") && log.contains("gw-in-plant c/+"), "{log}");
    assert_eq!(log.matches(" as gw-in-plant (").count(), 5, "{port}: {log}");
}

/// What was read and is not settled is delivered before the new one begins; what cannot be in its time comes again.
#[test]
fn an_entry_that_changes_while_the_output_is_silent_loses_nothing() {
    let (input, sink) = (Broker::start(), Broker::start());
    let with = |value: &str| {
        let lines = [
            "sensors.fleet.mqtt.topic = \"sensors/{sensor}/reading\"".to_owned(),
            format!("sensors.fleet.mqtt.tags = {{ a = \"{value}\" }}"),
            "gateway.shutdown_grace = \"1s\"".to_owned(),
            format!("output.broker.url = \"{}\"", sink.url()),
        ];
        config(&input.url(), &lines.each_ref().map(String::as_str))
    };
    let mut gateway = started(&with("1"));
    sink.hold_acks("");
    input.publish_all((1..=50).map(|n| reading("a", n, 1)));
    eventually("all is held", SOON, || audit(&sink).distinct() == 50);
    let (code, said) = reload(&gateway, &with("2"));
    assert_eq!(code, 0, "{said}");
    input.wait_until("it is back", SOON, |log| log.connects("gw-in") == 2);
    input.publish_all((51..=60).map(|n| reading("a", n, 1)));
    input.publish_all([message("else", "1", 1)]);
    sink.resume_acks("");
    input.wait_until("all is acknowledged", SOON, |log| log.acks("gw-in") >= 60);
    drained(&mut gateway);
    let verdict = audit(&sink).judge([("a", 60)]);
    report(&format!("changed with 50 held: {verdict:?}"));
    assert_eq!((verdict.lost, verdict.reordered, verdict.strange), (0, 0, 0));
    assert!(verdict.duplicated <= 50, "{verdict:?}");
}
