//! What can be seen from outside: health by progress, metrics, status, bounds of HTTP, systemd.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::scene::{drained, fleet, output, readings, wait_readings};
use crate::support::SOON;
use crate::support::broker::Broker;
use crate::support::gateway::{Gateway, Launch};
use crate::support::http::{Http, answer};
use crate::support::mosquitto::{Mosquitto, NO_DROP};

/// Five seconds without progress, a look each second, a busy machine.
const NOTICED: Duration = Duration::from_secs(30);

/// A gateway that is asked over HTTP.
fn open(config: &str) -> Launch {
    Gateway::with_config(config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0")
}

fn started(config: &str) -> (Gateway, Http) {
    let gateway = open(config).start();
    gateway.wait_for_line("subscribed", SOON);
    let http = Http::of(&gateway);
    (gateway, http)
}

#[test]
fn an_output_that_is_connected_and_silent_is_not_ready_and_the_reason_says_so() {
    let (input, sink) = (Broker::start(), Broker::start());
    let (mut gateway, http) = started(&fleet(&input.url(), &[&output(&sink.url())]));
    assert_eq!(http.wait_health("ready", SOON), "");
    sink.hold_acks("gw-out");
    input.publish_all(readings(10, 1..=10, 1));
    let reason = http.wait_health("degraded", NOTICED);
    assert!(reason.starts_with("100 readings are held and none has been delivered"), "{reason}");
    gateway.wait_for_line("degraded: 100 readings are held", SOON);
    assert_eq!(http.get("/healthz").status, 200, "it lives");
    assert!(http.metric("sluicegate_oldest_reading_age_seconds").unwrap() >= 5.0);
    assert_eq!(http.metric("sluicegate_ready"), Some(0.0));
    sink.resume_acks("gw-out");
    http.wait_health("ready", NOTICED);
    assert_eq!(http.metric("sluicegate_oldest_reading_age_seconds"), Some(0.0));
    assert_eq!(drained(&mut gateway).delivered, 100);
}

#[test]
fn a_broker_that_is_stopped_is_named_and_its_return_is_seen() {
    let mut input = Mosquitto::with(NO_DROP).persistent().start();
    let sink = Mosquitto::start(NO_DROP);
    let (mut gateway, http) = started(&fleet(&input.url(), &[&output(&sink.url())]));
    http.wait_health("ready", SOON);
    input.stop();
    let reason = http.wait_health("degraded", NOTICED);
    assert!(reason.starts_with("sensors.fleet has been away for "), "{reason}");
    let status = http.json("/api/status");
    let sessions = status["sessions"].as_array().unwrap();
    let usable =
        |name: &str| sessions.iter().find(|it| it["name"] == name).unwrap()["usable"].clone();
    assert_eq!((usable("output"), usable("sensors.fleet")), (true.into(), false.into()));
    input.restart();
    http.wait_health("ready", NOTICED);
    drained(&mut gateway);
}

#[test]
fn a_gateway_without_its_brokers_is_starting_and_says_what_it_waits_for() {
    let nobody = crate::support::mosquitto::free_port();
    let gateway = open(&fleet(&format!("mqtt://127.0.0.1:{nobody}"), &[])).start();
    let http = Http::of(&gateway);
    let reason = http.wait_health("starting", SOON);
    let asked = crate::support::within(SOON, || {
        http.json("/readyz")["reason"].as_str().unwrap().contains("refused")
    });
    assert!(asked, "the first reason was {reason}");
}

#[test]
fn the_metrics_and_the_status_tell_the_same_balance_by_entry() {
    let (input, sink) = (Broker::start(), Broker::start());
    let (mut gateway, http) = started(&fleet(&input.url(), &[&output(&sink.url())]));
    input.publish_all(readings(10, 1..=20, 1));
    input.publish("sensors/s1/reading", "{", 1, false);
    wait_readings(&sink, 200, SOON);
    http.wait_health("ready", SOON);
    let settled = || http.metric("sluicegate_readings_held") == Some(0.0);
    assert!(crate::support::within(SOON, settled), "{}", http.get("/metrics").body);
    for (name, value) in [
        ("sluicegate_readings_received_total", 201.0),
        ("sluicegate_readings_delivered_total", 200.0),
        ("sluicegate_readings_dead_lettered_total", 1.0),
        ("sluicegate_balance_difference_readings", 0.0),
        ("sluicegate_entry_readings_received_total{entry=\"fleet\"}", 201.0),
        ("sluicegate_entry_readings_delivered_total{entry=\"fleet\"}", 200.0),
        ("sluicegate_entry_readings_dead_lettered_total{entry=\"fleet\"}", 1.0),
        ("sluicegate_entry_readings_received_total{entry=\"(others)\"}", 0.0),
        ("sluicegate_entry_sensors{entry=\"fleet\"}", 11.0),
        ("sluicegate_session_usable{session=\"output\"}", 1.0),
        ("sluicegate_session_connections_total{session=\"sensors.fleet\"}", 1.0),
        ("sluicegate_queue_records_max", 16384.0),
        ("sluicegate_window_batches_max", 16.0),
    ] {
        assert_eq!(http.metric(name), Some(value), "{name}");
    }
    let batches = http.metric("sluicegate_batches_delivered_total").unwrap();
    assert_eq!(http.metric("sluicegate_batch_confirmation_seconds_count"), Some(batches));
    let memory = http.metric("sluicegate_memory_bytes").unwrap();
    assert!(memory > 1e6 && memory < http.metric("sluicegate_memory_bytes_max").unwrap());
    let status = http.json("/api/status");
    let balance = serde_json::json!({
        "received": 201, "delivered": 200, "deadLettered": 1, "shed": 0, "held": 0, "spooled": 0
    });
    assert_eq!(status["balance"], balance);
    assert_eq!((&status["gateway"], &status["health"]), (&"gw".into(), &"ready".into()));
    assert_eq!(status["sensors"][0]["received"], 201);
    drained(&mut gateway);
}

#[test]
fn readings_that_wait_in_the_spool_are_told_apart_and_it_is_not_ready() {
    let (input, sink) = (Broker::start(), Broker::start());
    let disk = tempfile::tempdir().unwrap();
    let spool = format!("spool.path = \"{}\"", disk.path().display());
    let (mut gateway, http) = started(&fleet(&input.url(), &[&output(&sink.url()), &spool]));
    sink.hold_acks("gw-out");
    input.publish_all(readings(10, 1..=10, 1));
    let spooled = || http.metric("sluicegate_spool_readings") == Some(100.0);
    assert!(crate::support::within(NOTICED, spooled));
    assert!(http.metric("sluicegate_spool_bytes").unwrap() > 0.0);
    assert!(http.metric("sluicegate_spool_batches").unwrap() >= 1.0);
    assert_eq!(http.metric("sluicegate_readings_held"), Some(100.0));
    assert_eq!(
        http.metric("sluicegate_queue_records"),
        Some(0.0),
        "their sensors have their answer"
    );
    http.wait_health("degraded", NOTICED);
    sink.resume_acks("gw-out");
    http.wait_health("ready", NOTICED);
    let empty = || http.metric("sluicegate_spool_readings") == Some(0.0);
    assert!(crate::support::within(SOON, empty));
    assert_eq!(drained(&mut gateway).delivered, 100);
}

#[test]
fn a_drain_is_told_for_as_long_as_it_lasts() {
    let (input, sink) = (Broker::start(), Broker::start());
    let (mut gateway, http) = started(&fleet(&input.url(), &[&output(&sink.url())]));
    sink.hold_acks("gw-out");
    input.publish_all(readings(10, 1..=10, 1));
    sink.wait_until("a batch", SOON, |log| !log.published.is_empty());
    gateway.signal("TERM");
    let reason = http.wait_health("draining", SOON);
    assert_eq!(reason, "a stop was asked for; 100 readings held");
    sink.resume_acks("gw-out");
    assert_eq!(crate::scene::ended(&mut gateway).delivered, 100);
}

#[test]
fn requests_have_bounds_and_what_exceeds_them_is_answered_or_cut_off() {
    let (input, sink) = (Broker::start(), Broker::start());
    let (mut gateway, http) = started(&fleet(&input.url(), &[&output(&sink.url())]));
    let metrics = http.get("/metrics").head;
    assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
    let missing = http.get("/nothing");
    assert_eq!(missing.status, 404);
    assert!(missing.body.contains("/readyz"), "{missing:?}");
    let posted =
        "POST /metrics HTTP/1.1\r\nhost: [::1]\r\nconnection: close\r\ncontent-length: 9\r\n\r\n";
    assert_eq!(http.send(posted).status, 405);
    let large = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(20_000));
    let large = http.send(&large);
    assert!([414, 431].contains(&large.status), "{large:?}");
    let mut slow = http.connect();
    slow.write_all(b"GET /readyz HTTP/1.1\r\n").unwrap();
    let slow = answer(&mut slow);
    assert!([0, 408].contains(&slow.status), "cut off within the read timeout: {slow:?}");
    drained(&mut gateway);
}

/// More than may be connected, in each way in which one can stay connected: health is answered all the same.
#[test]
fn clients_that_stay_connected_keep_no_health_check_out() {
    let (input, sink) = (Broker::start(), Broker::start());
    let (mut gateway, http) = started(&fleet(&input.url(), &[&output(&sink.url())]));
    http.wait_health("ready", SOON);
    let listen = format!("127.0.0.1:{}", http.port);
    let metrics = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for sent in [&b""[..], b"GET /readyz HTTP/1.1\r\n", metrics] {
        let staying: Vec<_> = (0..200)
            .map(|_| {
                let mut stream = http.connect();
                stream.write_all(sent).unwrap();
                stream
            })
            .collect();
        let config = fleet(&input.url(), &[]);
        let launch = Gateway::command("health", &config).env("SLUICEGATE__HTTP__LISTEN", &listen);
        let mut asked = launch.start();
        assert_eq!(asked.wait_exit(SOON), 0, "{}", asked.text());
        assert!(http.metric("sluicegate_http_connections").unwrap() <= 64.0);
        drop(staying);
    }
    input.publish_all(readings(10, 1..=10, 1));
    wait_readings(&sink, 100, SOON);
    drained(&mut gateway);
}

/// What a web page asks when its own name has been led to this machine.
#[test]
fn a_name_that_is_not_known_gets_health_and_nothing_else() {
    let input = Broker::start();
    let config = fleet(&input.url(), &["http.hosts = [\"gateway\"]"]);
    let (mut gateway, http) = started(&config);
    let ask = |path: &str, host: &str| {
        http.send(&format!("GET {path} HTTP/1.1\r\n{host}connection: close\r\n\r\n"))
    };
    for path in ["/api/status", "/metrics", "/nothing"] {
        let refused = ask(path, "host: evil.example:8080\r\n");
        assert_eq!(refused.status, 421, "{refused:?}");
        assert!(refused.body.contains("http.hosts"), "{refused:?}");
        let known = ask(path, "host: gateway:8080\r\n").status;
        assert_eq!(known, if path == "/nothing" { 404 } else { 200 });
    }
    let status = "GET /api/status HTTP/1.0\r\n\r\n";
    assert_eq!(http.send(status).status, 200, "a browser names its host");
    assert!([200, 503].contains(&ask("/readyz", "host: evil.example\r\n").status));
    assert_eq!(ask("/healthz", "host: evil.example\r\n").status, 200);
    drained(&mut gateway);
}

#[test]
fn a_taken_port_is_said_and_tried_again_and_the_gateway_runs() {
    let (input, sink) = (Broker::start(), Broker::start());
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = fleet(&input.url(), &[&output(&sink.url())]);
    let launch = Gateway::with_config(&config).env("SLUICEGATE__HTTP__LISTEN", &address);
    let mut gateway = launch.start();
    gateway.wait_for_line("no health and no metrics: cannot listen on http.listen", SOON);
    gateway.wait_for_line("subscribed", SOON);
    input.publish_all(readings(10, 1..=10, 1));
    wait_readings(&sink, 100, SOON);
    drop(taken);
    assert_eq!(Http::of(&gateway).get("/healthz").status, 200);
    drained(&mut gateway);
}

#[test]
fn health_asks_the_gateway_and_ends_with_what_it_says() {
    let (input, sink) = (Broker::start(), Broker::start());
    let (mut gateway, http) = started(&fleet(&input.url(), &[&output(&sink.url())]));
    http.wait_health("ready", SOON);
    let ask = |listen: &str| {
        let config = fleet(&input.url(), &[]);
        let launch = Gateway::command("health", &config).env("SLUICEGATE__HTTP__LISTEN", listen);
        let mut asked = launch.start();
        (asked.wait_exit(SOON), asked.text())
    };
    let listen = format!("0.0.0.0:{}", http.port);
    assert_eq!(ask(&listen), (0, "{\"ready\":true,\"health\":\"ready\"}\n".to_owned()));
    sink.hold_acks("gw-out");
    input.publish_all(readings(10, 1..=10, 1));
    http.wait_health("degraded", NOTICED);
    let (code, said) = ask(&listen);
    assert!(code == 1 && said.contains("100 readings are held"), "{code}: {said}");
    sink.resume_acks("gw-out");
    drained(&mut gateway);
    let (code, said) = ask(&listen);
    assert!(code == 1 && said.contains("is the gateway running"), "{code}: {said}");
    let (code, said) = ask("off");
    assert!(code == 1 && said.contains("there is nothing to ask"), "{code}: {said}");
    assert_eq!(ask("nowhere").0, 64);
    let strange = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = strange.local_addr().unwrap().to_string();
    let answers = std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = strange.accept().unwrap();
            stream.write_all(b"SSH-2.0-Server\r\n").unwrap();
        });
        ask(&address)
    });
    assert!(answers.0 == 1 && answers.1.contains("does not answer as a gateway"), "{answers:?}");
}

#[test]
fn systemd_is_told_when_it_is_ready_how_it_is_and_that_it_moves() {
    let (input, sink) = (Broker::start(), Broker::start());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut told = String::new();
    let mut wait_told = |text: &str| {
        let deadline = crate::support::now() + SOON;
        while !told.contains(text) {
            assert!(crate::support::now() < deadline, "no {text}; it was told: {told}");
            let mut bytes = [0; 4096];
            let count = socket.recv(&mut bytes).unwrap();
            told.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
        told.clone()
    };
    let launch = Gateway::with_config(&fleet(&input.url(), &[&output(&sink.url())]));
    let launch = launch.env("NOTIFY_SOCKET", path.to_str().unwrap());
    let mut gateway = launch.env("WATCHDOG_USEC", "200000").start();
    wait_told("READY=1\n");
    let told = wait_told("STATUS=ready\n");
    assert!(told.starts_with("READY=1\nSTATUS=starting"), "{told}");
    let fed = told.matches("WATCHDOG=1\n").count();
    wait_told(&"WATCHDOG=1\n".repeat(3));
    assert!(fed < 200, "not more often than it asks: {fed}");
    sink.hold_acks("gw-out");
    input.publish_all(readings(10, 1..=10, 1));
    sink.wait_until("a batch", SOON, |log| !log.published.is_empty());
    gateway.signal("TERM");
    wait_told("STOPPING=1\nSTATUS=draining: a stop was asked for; 100 readings held\n");
    sink.resume_acks("gw-out");
    assert_eq!(crate::scene::ended(&mut gateway).delivered, 100);
}
