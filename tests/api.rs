//! What the page reads: the lists of what happened, the entries, the history, and the stream of changes with its bounds.

use serde_json::Value;

use crate::scene::{drained, fleet, message, output, reading, readings, wait_readings};
use crate::support::broker::Broker;
use crate::support::gateway::Gateway;
use crate::support::http::{Answer, Http};
use crate::support::stream::Stream;
use crate::support::{SOON, eventually};

/// Clients that may stream at a time.
const STREAMS_MAX: usize = 10;

fn started(input: &Broker, sink: &Broker, more: &[&str]) -> (Gateway, Http) {
    let output = output(&sink.url());
    let config = fleet(&input.url(), &[&[output.as_str()], more].concat());
    let launch = Gateway::with_config(&config).env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0");
    let gateway = launch.start();
    gateway.wait_for_line("subscribed", SOON);
    let http = Http::of(&gateway);
    (gateway, http)
}

/// Messages that become dead letters, as large as they are shown, and larger as JSON.
fn rubbish(input: &Broker, count: usize) {
    let payload = vec![1; 1024];
    let bad = std::iter::repeat_n(message("sensors/bad/reading", payload, 0), count);
    input.publish_all(bad.collect::<Vec<_>>());
}

/// Whether so many clients stream.
fn stream(http: Http, clients: u32) -> bool {
    http.metric("sluicegate_http_streams") == Some(clients.into())
}

#[test]
fn what_happened_is_listed_with_its_reasons() {
    let (input, sink) = (Broker::start(), Broker::start());
    let lines = ["broker.version = 3", "broker.session_expiry = \"9h\""];
    let (mut gateway, http) = started(&input, &sink, &lines);
    input.publish_all(readings(10, 1..=10, 1));
    for payload in [&b"{"[..], b"\xff\x01", &[b'{'; 2000]] {
        input.publish_all([message("sensors/bad/reading", payload.to_vec(), 1)]);
    }
    wait_readings(&sink, 100, SOON);
    let listed = || http.json("/api/dead-letters");
    eventually("three dead letters", SOON, || listed()["total"] == 3);
    let letters = listed()["deadLetters"].as_array().unwrap().clone();
    assert_eq!(letters.iter().map(|it| &it["number"]).collect::<Vec<_>>(), [3, 2, 1]);
    let [long, binary, first] = letters.as_slice() else { panic!("{letters:?}") };
    let member = |name: &str| first[name].as_str().unwrap().to_owned();
    assert_eq!((member("entry"), member("sensorId")), ("fleet".into(), "bad".into()));
    assert_eq!((member("reason"), member("payload")), ("malformed".into(), "{".into()));
    assert_eq!(member("topic"), "sensors/bad/reading");
    assert!(!member("detail").is_empty() && member("at").ends_with('Z'), "{first}");
    assert_eq!(binary["payloadBase64"], "/wE=");
    assert_eq!(long["payload"], "{".repeat(1024));
    assert!(long["detail"].as_str().unwrap().ends_with("2000 bytes, cut here"), "{long}");

    let warnings = http.json("/api/warnings")["warnings"].clone();
    let warnings = warnings.as_array().unwrap();
    let of_settings =
        warnings.iter().find(|it| it["message"].as_str().unwrap().starts_with("broker.session"));
    assert_eq!(of_settings.unwrap()["level"], "WARN", "{warnings:?}");
    let said = || {
        let all = http.json("/api/warnings")["warnings"].clone();
        let is_it = |it: &&Value| it["fields"]["reason"] == "malformed";
        all.as_array().unwrap().iter().find(is_it).cloned()
    };
    eventually("the warning of dead letters", SOON, || said().is_some());
    assert_eq!(said().unwrap()["fields"]["sensor"], "bad");

    let entries = http.json("/api/entries")["entries"].clone();
    let fleet = &entries[0];
    assert_eq!((&fleet["name"], &fleet["kind"]), (&"fleet".into(), &"mqtt".into()));
    assert_eq!(fleet["topics"], serde_json::json!(["sensors/{sensor}/reading"]));
    assert_eq!(fleet["session"]["usable"], true);
    assert_eq!((&fleet["sensors"], &fleet["received"]), (&11.into(), &103.into()));
    assert_eq!(fleet["deadLetters"], serde_json::json!({"malformed": 3}));

    let sums = |name: &str| {
        let history = http.json("/api/history");
        let steps = history["steps"].as_array().unwrap();
        steps.iter().map(|it| it[name].as_u64().unwrap()).sum::<u64>()
    };
    eventually("the history has all", SOON, || sums("received") == 103);
    eventually("and what became of it", SOON, || {
        sums("delivered") == 100 && sums("deadLettered") == 3
    });
    let steps = http.json("/api/history")["steps"].clone();
    assert!(steps[0]["p99Seconds"].as_f64().is_some_and(|it| it > 0.0), "{steps}");
    drained(&mut gateway);
}

#[test]
fn what_changes_is_streamed_behind_a_snapshot() {
    let (input, sink) = (Broker::start(), Broker::start());
    let every = "sensors.fleet.mqtt.expected_interval = \"1s\"";
    let (mut gateway, http) = started(&input, &sink, &[every]);
    http.wait_health("ready", SOON);
    let mut stream = Stream::open(http);
    let first = stream.next().unwrap();
    assert_eq!((first.name.as_str(), &first.data["health"]), ("status", &"ready".into()));
    assert!(first.id.is_some());
    input.publish_all([reading("gone", 1, 0), message("sensors/bad/reading", "{", 0)]);
    let letter = stream.wait("dead_letter", |_| true);
    assert_eq!(letter, http.json("/api/dead-letters")["deadLetters"][0]);
    let told = stream.wait("status", |it| it["balance"]["delivered"] == 1);
    assert_eq!(told["sensors"][0]["received"], 2);
    let late = stream.wait("sensor", |it| it["sensorId"] == "gone");
    assert_eq!((&late["state"], &late["entry"]), (&"late".into(), &"fleet".into()));
    stream.wait("sensor", |it| it["sensorId"] == "gone" && it["state"] == "silent");
    let warning = stream.wait("warning", |it| it["message"].as_str().unwrap().contains("silent"));
    assert_eq!(warning["level"], "WARN");
    let step = stream.wait("history", |_| true);
    let steps = http.json("/api/history")["steps"].clone();
    assert!(steps.as_array().unwrap().contains(&step), "{step}");
    drained(&mut gateway);
}

/// A page that comes back begins again.
#[test]
fn streams_have_seats_of_their_own_and_each_begins_with_a_snapshot() {
    let (input, sink) = (Broker::start(), Broker::start());
    let (mut gateway, http) = started(&input, &sink, &[]);
    http.wait_health("ready", SOON);
    let mut all: Vec<_> = (0..STREAMS_MAX).map(|_| Stream::open(http)).collect();
    let refused = http.get("/api/stream");
    assert_eq!(refused.status, 503);
    assert_eq!(refused.body, "10 clients stream already: close one of them\n");
    assert_eq!(http.get("/api/status").status, 200, "streams take no other seat");
    // More than there are places: none of the streams has to go for them.
    let others: Vec<_> = (0..100).map(|_| http.connect()).collect();
    assert!(all.iter_mut().all(|it| it.next().is_some_and(|event| event.name == "status")));
    input.publish_all(readings(1, 1..=7, 1));
    for stream in &mut all {
        stream.wait("status", |it| it["balance"]["delivered"] == 7);
    }
    drop((all.pop(), others));
    eventually("a free seat", SOON, || stream(http, 9));
    let again = Stream::open(http).next().unwrap();
    assert_eq!((again.name.as_str(), &again.data["balance"]["delivered"]), ("status", &7.into()));
    drained(&mut gateway);
}

#[test]
fn a_client_that_lags_behind_is_told_so_and_disconnected() {
    let (input, sink) = (Broker::start(), Broker::start());
    let (mut gateway, http) = started(&input, &sink, &[]);
    let (mut slow, mut quick) = (Stream::open_small(http), Stream::open(http));
    // More than the list of events and the buffers between hold.
    for hundred in 1..=4 {
        rubbish(&input, 100);
        quick.wait("dead_letter", |it| it["number"] == 100 * hundred);
    }
    let mut last = slow.next().unwrap();
    while let Some(event) = slow.next() {
        assert!(event.id < Some(2000), "it has no end");
        last = event;
    }
    assert_eq!((last.name.as_str(), last.id), ("dropped", None));
    assert!(last.data["events"].as_u64().unwrap() > 0);
    eventually("its seat is free", SOON, || stream(http, 1));
    drained(&mut gateway);
}

#[test]
fn a_client_that_takes_nothing_is_disconnected_and_the_others_go_on() {
    let (input, sink) = (Broker::start(), Broker::start());
    let (mut gateway, http) = started(&input, &sink, &[]);
    let (stalled, mut quick) = (Stream::open_small(http), Stream::open(http));
    assert!(stream(http, 2));
    // More than the buffers between hold, and not so much that any is lost.
    rubbish(&input, 100);
    quick.wait("dead_letter", |it| it["number"] == 100);
    eventually("it has taken nothing for ten seconds", SOON, || stream(http, 1));
    rubbish(&input, 1);
    quick.wait("dead_letter", |it| it["number"] == 101);
    drop(stalled);
    drained(&mut gateway);
}

/// A request with this token, or without one.
fn with_token(http: Http, path: &str, token: Option<&str>) -> Answer {
    let authorization = token.map(|it| format!("authorization: Bearer {it}\r\n"));
    let head = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n");
    http.send(&format!("{head}{}\r\n", authorization.unwrap_or_default()))
}

/// What a command that asks the running gateway ends with, and says.
fn command(name: &str, config: &str, http: Http) -> (i32, String) {
    let listen = format!("127.0.0.1:{}", http.port);
    let launch = Gateway::command(name, config).env("SLUICEGATE__HTTP__LISTEN", &listen);
    let mut asked = launch.start();
    (asked.wait_exit(SOON), asked.text())
}

#[test]
fn with_a_token_only_who_has_it_is_told_more_than_health_in_a_word() {
    let (input, sink) = (Broker::start(), Broker::start());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "s3cret-token\n").unwrap();
    let key = format!("http.token_file = \"{}\"", path.display());
    let (mut gateway, http) = started(&input, &sink, &[&key]);
    let ready = || with_token(http, "/readyz", None).status == 200;
    eventually("it is ready", SOON, ready);
    for path in ["/metrics", "/api/status", "/api/stream", "/api/dead-letters", "/nothing"] {
        let refused = with_token(http, path, None);
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.head.contains("www-authenticate: bearer"), "{refused:?}");
        assert_eq!(with_token(http, path, Some("s3cret-tokem")).status, 401, "{path}");
    }
    assert_eq!(with_token(http, "/api/status", Some("s3cret-token")).status, 200);

    sink.go_away();
    let unready = |token| {
        let answer = with_token(http, "/readyz", token);
        (answer.status == 503).then(|| serde_json::from_str::<Value>(&answer.body).unwrap())
    };
    eventually("it is not ready", SOON * 2, || unready(None).is_some());
    let word = serde_json::json!({"ready": false, "health": "degraded"});
    assert_eq!(unready(None), Some(word));
    assert!(unready(Some("s3cret-token")).unwrap()["reason"].is_string());
    let config = fleet(&input.url(), &[&key]);
    let (code, said) = command("health", &config, http);
    assert!(code == 1 && said.contains("the output has been away"), "{code}: {said}");
    assert_eq!(command("sensors", &config, http).0, 0);
    let (code, said) = command("sensors", &fleet(&input.url(), &[]), http);
    assert!(code == 1 && said.contains("refuses the token"), "{code}: {said}");
    sink.come_back();

    std::fs::write(&path, "another").unwrap();
    let status = |token| with_token(http, "/api/status", Some(token)).status;
    eventually("the new token", SOON, || status("another") == 200);
    assert_eq!(status("s3cret-token"), 401);
    std::fs::write(&path, "").unwrap();
    eventually("nobody is let in", SOON, || status("another") == 401);
    gateway.wait_for_line("http.token_file: ", SOON);
    assert!(["s3cret-token", "another"].iter().all(|it| !gateway.text().contains(it)));
    drained(&mut gateway);
}

#[test]
fn a_gateway_without_the_token_that_it_is_to_ask_for_does_not_start() {
    let input = Broker::start();
    let key = "http.token_file = \"/nowhere/token\"";
    let launch = Gateway::with_config(&fleet(&input.url(), &[key]));
    let mut gateway = launch.env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0").start();
    assert_eq!(gateway.wait_exit(SOON), 64);
    assert!(gateway.text().contains("http.token_file: /nowhere/token: does not exist: create it"));
}

#[test]
fn every_answer_says_to_browsers_that_it_is_for_this_page_only() {
    let (input, sink) = (Broker::start(), Broker::start());
    let (mut gateway, http) = started(&input, &sink, &[]);
    let ask = |request: &str, host: &str| {
        http.send(&format!("{request} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"))
    };
    for (request, host, status) in [
        ("GET /api/status", "127.0.0.1", 200),
        ("HEAD /api/status", "127.0.0.1", 200),
        ("HEAD /api/stream", "127.0.0.1", 200),
        ("GET /metrics", "localhost", 200),
        ("GET /nothing", "127.0.0.1", 404),
        ("GET /api/sensors?state=dead", "127.0.0.1", 400),
        ("GET /api/status", "evil.example", 421),
        ("OPTIONS /api/status", "127.0.0.1", 405),
        ("DELETE /nothing", "127.0.0.1", 405),
    ] {
        let Answer { status: told, head, .. } = ask(request, host);
        assert_eq!(told, status, "{request} {host}");
        for header in [
            "content-security-policy: default-src 'self'; ",
            "frame-ancestors 'none'\r\n",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "referrer-policy: no-referrer",
            "cross-origin-opener-policy: same-origin",
            "cross-origin-embedder-policy: require-corp",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(head.contains(header), "{request}: {header} is not in {head}");
        }
        assert!(!head.contains("access-control"), "{head}");
    }
    drained(&mut gateway);
}

#[test]
fn metrics_of_single_sensors_are_given_to_who_asks_for_them_and_never_else() {
    let (input, sink) = (Broker::start(), Broker::start());
    let (mut gateway, http) = started(&input, &sink, &[]);
    input.publish_all(readings(3, 1..=2, 1));
    let delivered = |id: &str| {
        let name = format!(
            "sluicegate_sensor_readings_delivered_total{{entry=\"fleet\",sensor=\"{id}\"}} 2"
        );
        http.get("/metrics/sensors?entry=fleet").body.contains(&name)
    };
    eventually("all are delivered", SOON, || {
        ["s00000", "s00001", "s00002"].iter().all(|it| delivered(it))
    });
    let first = http.get("/metrics/sensors?entry=fleet&limit=2");
    assert!(first.head.contains("content-type: text/plain; version=0.0.4"), "{first:?}");
    let (_, rest) = first.head.split_once("link: <").unwrap();
    let (next, rest) = rest.split_once('>').unwrap();
    assert!(rest.starts_with("; rel=\"next\""), "{first:?}");
    let last = http.get(next);
    assert!(last.body.contains("s00002") && !last.body.contains("s00001"), "{last:?}");
    assert!(!last.head.contains("link:"), "{last:?}");
    assert!(!http.get("/metrics/sensors?entry=none").body.contains("sensor="));
    assert_eq!(http.get("/metrics/sensors?limit=0").status, 400);
    assert!(!http.get("/metrics").body.contains("s00000"));
    drained(&mut gateway);
}
