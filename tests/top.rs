//! `sluicegate top`, on a terminal of its own: it shows what the gateway says, survives it, and gives the terminal back.

use std::process::Command;

use crate::scene::{drained, fleet, gateway, message, output, reading, readings};
use crate::support::broker::Broker;
use crate::support::gateway::Gateway;
use crate::support::http::Http;
use crate::support::mosquitto::free_port;
use crate::support::terminal::Terminal;
use crate::support::{SOON, eventually};

/// A gateway that is subscribed, and listens on this port.
#[track_caller]
fn started(config: &str, port: u16) -> Gateway {
    let listen = format!("127.0.0.1:{port}");
    let gateway = Gateway::with_config(config).env("SLUICEGATE__HTTP__LISTEN", &listen).start();
    gateway.wait_for_line("subscribed", SOON);
    gateway
}

/// The program on a terminal, which asks at this port.
fn top(port: u16, environment: &[(&str, &str)], size: (u16, u16)) -> Terminal {
    let config = fleet("mqtt://127.0.0.1:1", &[&format!("http.listen = \"127.0.0.1:{port}\"")]);
    Terminal::start("top", &config, environment, size)
}

/// Whether one of the lines has all of these.
fn has(text: &str, words: &[&str]) -> bool {
    text.lines().any(|line| words.iter().all(|word| line.contains(word)))
}

#[test]
fn one_look_at_80_by_24_says_what_the_status_says() {
    let (broker, port) = (Broker::start(), free_port());
    let _gateway = started(&fleet(&broker.url(), &["batch.age_max = \"10ms\""]), port);
    broker.publish_all(readings(3, 1..=5, 1));
    broker.publish_all([message("sensors/bad/reading", "{\"value\":\u{1b}[2J", 1)]);
    let mut top = top(port, &[("NO_COLOR", "1")], (80, 24));
    top.wait("its balance", |it| has(it, &["16 =", "15 +", "1 +", "0 +"]));
    top.wait("its sensors", |it| it.contains("fleet/s00000"));
    let text = top.wait("health", |it| has(it, &["ready: readings are taken"]));
    let status = Http { port }.json("/api/status");
    assert_eq!(status["balance"]["received"], 16);
    assert!(has(&text, &["received", "delivered", "dead-lettered", "shed", "held"]), "{text}");
    assert!(has(&text, &["gw", "live"]), "{text}");
    for name in ["Throughput", "Latency", "Limits", "Brokers", "Sensors 4:", "Dead letters 1"] {
        assert!(text.contains(name), "{name}:\n{text}");
    }
    assert!(has(&text, &["Queue ", "/", "reading stops"]), "{text}");
    assert!(has(&text, &["connected output"]) && has(&text, &["fleet/s00000"]), "{text}");
    assert!(has(&text, &["malformed", "fleet/bad"]), "{text}");
    assert!(top.is_taken() && !top.has_colours());
    top.press("5");
    top.wait("the dead letter", |it| has(it, &["{\"value\":\\u{1b}[2J", "(13 bytes)"]));
    top.press("2");
    top.wait("what happens at a limit", |it| it.contains("when full: nothing more is published"));
    top.press("\u{1b}[C\u{1b}[C");
    top.wait("a table of sensors", |it| has(it, &["state", "last reading", "gaps", "sensor"]));
    top.press("/s00002");
    top.wait("the search", |it| it.contains("search: s00002"));
    top.wait("one sensor", |it| it.contains("1 shown") && it.matches("fleet/").count() == 1);
    top.press("\r?");
    top.wait("the keys", |it| it.contains("search sensors by a part of their id"));
    top.press("x");
    top.wait("the table again", |it| it.contains("1 shown"));
    top.press("q");
    assert_eq!(top.wait_exit(), 0);
    assert!(!top.is_taken());
}

#[test]
fn what_devices_are_called_and_send_is_text_that_no_terminal_obeys() {
    const OBEYED: &str = "\u{1b}]0;mine\u{7}\u{1b}[2J\u{9b}2J\u{202e}";
    const AS_TEXT: &str = "\\u{1b}]0;mine\\u{7}\\u{1b}[2J\\u{9b}2J\\u{202e}";
    let (broker, port) = (Broker::start(), free_port());
    let _gateway = started(&fleet(&broker.url(), &["batch.age_max = \"10ms\""]), port);
    // An id with control characters is refused, and names a dead letter.
    broker.publish_all([reading("a\u{202e}b", 1, 1), message("sensors/bad/reading", OBEYED, 1)]);
    broker.publish_all([reading(&format!("c{OBEYED}"), 1, 1)]);
    let mut top = top(port, &[("NO_COLOR", "1")], (160, 40));
    top.wait("the sensor", |it| it.contains("fleet/a\\u{202e}b"));
    top.press("5");
    let text = top.wait("the payload", |it| it.contains(AS_TEXT));
    assert!(!text.contains(['\u{202e}', '\u{9b}']), "{text}");
}

#[test]
fn an_output_that_is_away_and_a_restart_show_and_the_terminal_may_change() {
    let (input, sink, port) = (Broker::start(), Broker::start(), free_port());
    let config = fleet(&input.url(), &[&output(&sink.url())]);
    let mut gateway = started(&config, port);
    let top = top(port, &[], (120, 40));
    top.wait("health", |it| it.contains("ready: "));
    assert!(top.has_colours());
    sink.go_away();
    top.wait("that it is away", |it| has(it, &["away output"]) && it.contains("degraded: "));
    top.resize(80, 24);
    top.wait("the keys in the last line", |it| it.lines().nth(23).unwrap_or("").contains("q quit"));
    sink.come_back();
    top.wait("its return", |it| has(it, &["connected output"]) && it.contains("ready: "));
    top.wait("what was", |it| has(it, &["degraded at ", " for "]) && it.contains("the output "));
    top.resize(30, 8);
    top.wait("what it needs", |it| it.contains("60x20"));
    top.resize(100, 30);
    drained(&mut gateway);
    top.wait("that it is away", |it| has(it, &["reconnecting… last seen"]));
    top.wait("since when", |it| it.contains("unreachable: no answer since "));
    let _again = started(&config, port);
    top.wait("the restart", |it| {
        it.contains("the gateway has restarted at ") && has(it, &["live"])
    });
}

#[test]
fn what_may_be_lost_where_no_column_shows_it_is_below_the_balance() {
    let (broker, port) = (Broker::start(), free_port());
    let counts = "sensors.fleet.mqtt.counter = \"/n\"";
    let _gateway = started(&fleet(&broker.url(), &[counts]), port);
    let top = top(port, &[("NO_COLOR", "1")], (80, 24));
    broker.publish_all(readings(2, 1..=3, 1));
    let text = top.wait("its balance", |it| has(it, &["6 =", "6 +", "0 +"]));
    assert!(!text.contains("loss"), "{text}");
    broker.publish_all(readings(2, 9..=9, 1));
    top.wait("the loss", |it| has(it, &["possible loss: 10 numbers of sensors missing"]));
}

#[test]
fn a_signal_gives_the_terminal_back_and_so_does_the_key_of_a_terminal() {
    for end in ["TERM", "INT", "\u{3}"] {
        let mut top = top(free_port(), &[], (80, 24));
        let text = top.wait("why there is nothing", |it| {
            it.contains("unreachable: no answer yet: cannot ask 127.0.0.1:")
        });
        // It needs more than one line, and has no end that is cut off.
        assert!(text.contains("http.listen?") && !text.contains("last seen"), "{text}");
        assert!(top.is_taken());
        if end.len() > 1 {
            top.signal(end);
        } else {
            top.press(end);
        }
        assert_eq!(top.wait_exit(), 0, "{end:?}");
        eventually("the terminal is as before", SOON, || !top.is_taken());
    }
}

#[test]
fn a_gateway_that_wants_a_token_gets_it_and_without_a_terminal_there_is_nothing_to_see() {
    let (broker, port) = (Broker::start(), free_port());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "s3cret\n").unwrap();
    let token = format!("http.token_file = \"{}\"", path.display());
    let _gateway = started(&fleet(&broker.url(), &[&token]), port);
    let without = top(port, &[], (80, 24));
    let text = without.wait("that it needs one", |it| it.contains("refuses the token"));
    assert!(!text.contains("no answer"), "that is one: {text}");
    let file = path.display().to_string();
    let with = top(port, &[("SLUICEGATE__HTTP__TOKEN_FILE", &file)], (80, 24));
    with.wait("health", |it| it.contains("ready: "));
    let config = folder.path().join("g.toml");
    let sensor = "sensors.x.simulated = {}";
    std::fs::write(&config, gateway(&broker.url(), &[sensor])).unwrap();
    for (listen, code, says) in
        [("127.0.0.1:1", 64, "no terminal"), ("off", 1, "http.listen is \"off\"")]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluicegate"));
        command.args(["top", "--config"]).arg(&config).env("SLUICEGATE__HTTP__LISTEN", listen);
        let output = command.output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        assert!(String::from_utf8(told).unwrap().contains(says), "{listen}");
        assert_eq!(output.status.code(), Some(code));
    }
}
