//! The page at `/`, in a real browser, beside what the gateway says of itself.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::scene::{drained, fleet, output, readings};
use crate::support::broker::Broker;
use crate::support::browser::{Browser, PATIENCE, Scheme};
use crate::support::gateway::Gateway;
use crate::support::http::Http;
use crate::support::mosquitto::{Mosquitto, free_port};
use crate::support::{SOON, eventually, ignore, now, number_from_environment};

/// Sensors that a list of all of them would be too long for.
const MANY: u64 = 50_000;

const COLUMNS: [&str; 5] = ["received", "delivered", "deadLettered", "shed", "held"];

/// What an attacker's device may call itself, or send.
const HOSTILE: &str = "<img src=x onerror=document.title='owned'>";

/// A gateway that is subscribed and listens on this port; 0: on any.
#[track_caller]
fn started(config: &str, port: u16) -> Gateway {
    let listen = format!("127.0.0.1:{port}");
    let gateway = Gateway::with_config(config).env("SLUICEGATE__HTTP__LISTEN", &listen).start();
    gateway.wait_for_line("subscribed", SOON);
    gateway
}

fn page(http: Http) -> String {
    format!("http://127.0.0.1:{}/", http.port)
}

/// A browser with the page, once it has shown a status.
#[track_caller]
fn opened(http: Http) -> Browser {
    let browser = Browser::start();
    browser.resize(1280, 900);
    browser.open(&page(http));
    browser.wait_text("#link-word", |it| it == "live");
    browser.wait_text("#received", |it| it != "–");
    browser
}

/// A number as the page writes it.
fn number(text: &str) -> Option<u64> {
    text.replace(',', "").parse().ok()
}

/// Nothing was refused by the page's policy, nothing was not found, nothing has failed.
#[track_caller]
fn assert_quiet(browser: &Browser) {
    assert_eq!(browser.console(), Vec::<String>::new());
}

/// Every rule of axe-core, in both schemes.
#[track_caller]
fn assert_accessible(browser: &Browser) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let axe = fs::read_to_string(root.join("tests/vendor/axe-core/axe.min.js")).unwrap();
    browser.run(&axe, Vec::new());
    for scheme in [Scheme::Light, Scheme::Dark] {
        browser.prefer(scheme);
        let script = "const done = arguments[0]; axe.run().then((it) => done({ passes: it.passes.length, \
                      violations: it.violations.map((rule) => [rule.id, rule.help, ...rule.nodes.map((node) => node.html + \
                      ' ' + node.failureSummary)].join('\\n')) }))";
        let found = browser.wait_for(script, Vec::new());
        assert!(found["passes"].as_u64().unwrap() > 20, "{found}");
        let violations = found["violations"].as_array().unwrap().iter();
        let violations: Vec<_> = violations.map(|it| it.as_str().unwrap()).collect();
        assert!(violations.is_empty(), "{scheme:?}:\n{}", violations.join("\n\n"));
    }
    browser.prefer(Scheme::Light);
}

#[test]
fn the_page_says_what_the_status_says_and_is_accessible() {
    let broker = Broker::start();
    let config = fleet(&broker.url(), &["batch.age_max = \"10ms\""]);
    let gateway = started(&config, 0);
    let http = Http::of(&gateway);
    let browser = opened(http);
    broker.publish_all(readings(7, 1..=30, 1));
    broker.publish("sensors/s00001/reading", "{\"value\":", 1, false);
    broker.publish(&format!("sensors/{HOSTILE}/reading"), "7", 1, false);
    broker.publish("sensors/s00002/reading", format!("{{{HOSTILE}"), 1, false);
    eventually("all has settled", SOON, || {
        let balance = http.json("/api/status")["balance"].clone();
        balance["received"] == 213 && balance["held"] == 0
    });
    let status = http.json("/api/status");
    for column in COLUMNS {
        let expected = status["balance"][column].as_u64();
        browser.wait_text(&format!("#{column}"), |it| number(it) == expected);
    }
    assert_eq!(status["balance"]["deadLettered"], 2);
    assert_eq!(browser.text("#closes"), "The books close.");
    assert_eq!(browser.text("#health-word"), "ready");
    assert_eq!(browser.text("#sessions li:first-child .state"), "connected");
    let queue = status["limits"].as_array().unwrap().iter();
    let queue = queue.clone().find(|it| it["name"] == "queue_records").unwrap();
    let shown = browser.wait_text("#gauges li:first-child .value", |it| it.starts_with("0 of "));
    assert_eq!(number(shown.split(' ').nth(2).unwrap()), queue["max"].as_u64());
    browser.wait_text("#sensors-span", |it| it.starts_with("8: 8 online"));
    assert_accessible(&browser);
    assert_hostile_text_is_text(&browser, http);
    assert_accessible(&browser);
    assert_quiet(&browser);
}

/// What comes from outside is text, wherever it is shown.
#[track_caller]
fn assert_hostile_text_is_text(browser: &Browser, http: Http) {
    browser.wait_text("#sensor-rows", |it| it.contains(HOSTILE));
    browser.wait_text("#letters-list pre", |it| it == format!("{{{HOSTILE}"));
    browser.wait_text("#warnings-list", |it| it.contains("reason=malformed"));
    let named = "location.hash = '#/sensor/fleet/' + encodeURIComponent(arguments[0])";
    browser.run(named, vec![HOSTILE.into()]);
    browser.wait_text("#sensor-body", |it| it.contains("received1") && it.contains("online"));
    assert_eq!(browser.text("#sensor-title"), HOSTILE);
    assert_eq!(browser.run("return document.images.length", Vec::new()), 0);
    assert_ne!(browser.text("title"), "owned");
    let letters = http.json("/api/dead-letters")["deadLetters"].clone();
    assert_eq!(letters.as_array().unwrap().len(), 2);
}

#[test]
fn a_sensor_shows_its_last_dead_letter_and_what_is_left_of_one_that_has_left_the_list() {
    let broker = Broker::start();
    let gateway = started(&fleet(&broker.url(), &[]), 0);
    let http = Http::of(&gateway);
    broker.publish("sensors/pump/reading", "{\"value\":", 1, false);
    eventually("it is taken", SOON, || http.json("/api/dead-letters")["total"] == 1);
    let browser = opened(http);
    browser.run("location.hash = '#/sensor/fleet/pump'", Vec::new());
    let whole = |it: &str| it.contains("malformed") && it.contains("{\"value\":");
    browser.wait_text("#sensor-body", whole);
    // What is open stays open while nothing new comes.
    browser.click("#sensor-body summary");
    let asked = browser.text("#sensor-body .facts-of");
    browser.wait_text("#sensor-body .facts-of", |it| it != asked);
    browser.wait_text("#sensor-body details", |it| it.contains("sluicegate explain"));
    (0..100).for_each(|_| broker.publish("sensors/other/reading", "{", 1, false));
    let left = browser.wait_text("#sensor-body", |it| it.contains("no longer among the last"));
    assert!(left.contains("malformed") && !left.contains("explain"), "{left}");
    // Whose messages become dead letters is found, however many there were.
    let first = "#sensor-rows tr:first-child";
    browser.wait_text(first, |it| it.contains("pump"));
    browser.choose("#ask [name=sort]", "letters");
    browser.wait_text(first, |it| it.contains("other") && it.contains("100"));
    assert_accessible(&browser);
    assert_quiet(&browser);
}

#[test]
fn a_certificate_that_expires_soon_is_beside_the_connections() {
    let folder = tempfile::tempdir().unwrap();
    crate::tls::certificates(folder.path());
    let at = folder.path().display();
    let input =
        Mosquitto::start(&format!("certfile {at}/localhost.pem\nkeyfile {at}/localhost.key\n"));
    let sink = Broker::start();
    let ca = format!("broker.tls.ca_file = \"{at}/ca.pem\"");
    let url = format!("mqtts://localhost:{}", input.port());
    let gateway = started(&fleet(&url, &[&ca, &output(&sink.url())]), 0);
    let browser = opened(Http::of(&gateway));
    let shown = browser.wait_text("#certificates", |it| it.contains("certificate of the broker"));
    assert!(shown.contains("CA certificate, [broker]"), "{shown}");
    assert!(shown.contains("expires in 1 d") && shown.contains("/ca.pem"), "{shown}");
    browser.wait_text("#warnings-list", |it| it.contains("expires soon"));
    assert_accessible(&browser);
    assert_quiet(&browser);
}

/// Whoever pastes the command that the page shows into a shell runs nothing else.
#[test]
fn the_command_that_explains_a_dead_letter_is_one_command_with_its_payload() {
    let broker = Broker::start();
    let gateway = started(&fleet(&broker.url(), &[]), 0);
    let browser = opened(Http::of(&gateway));
    for payload in
        ["", "7", HOSTILE, "$(id) `id` \"x\" \\", "a\nb\t'c' \u{1b}[31m", "\u{202e}1\u{85}1 é"]
    {
        let script = "const [payload, done] = arguments; import('/assets/journal.js').then((it) => \
                      done(it.command({ entry: 'fleet', topic: \"a/'b c\", payload })))";
        let command = browser.wait_for(script, vec![payload.into()]);
        let shell =
            format!("sluicegate() {{ printf '%s\\0' \"$@\"; }}\n{}", command.as_str().unwrap());
        let output = Command::new("bash").args(["-c", &shell]).env("LC_ALL", "C.UTF-8").output();
        let said = String::from_utf8(output.unwrap().stdout).unwrap();
        let words: Vec<_> = said.split_terminator('\0').collect();
        let expected = ["explain", "--entry", "fleet", "--topic", "a/'b c", "--payload", payload];
        assert_eq!(words, expected, "{command}");
    }
}

#[test]
fn the_page_asks_for_the_token_until_it_has_the_right_one() {
    let broker = Broker::start();
    let config = fleet(&broker.url(), &["http.token_file = \"token\""]);
    let gateway = Gateway::with_config(&config).file("token", "s3cret\n");
    let gateway = gateway.env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0").start();
    let url = page(Http::of(&gateway));
    let browser = Browser::start();
    browser.open(&url);
    let asks = || browser.run("return document.querySelector('#login').open", Vec::new()) == true;
    for token in ["wrong", "naïve ✗", "s3cret"] {
        eventually("it asks", PATIENCE, asks);
        browser.choose("#token", token);
        browser.click("#login button");
    }
    browser.wait_text("#health-word", |it| it == "ready");
    browser.open(&url);
    browser.wait_text("#health-word", |it| it == "ready");
    assert!(!asks(), "it is kept");
}

#[test]
fn an_output_that_is_away_shows_on_the_page_and_so_does_its_return() {
    let (input, sink) = (Broker::start(), Broker::start());
    let made = "sensors.oven.simulated = { count = 24, interval = \"250ms\" }";
    let gateway = started(&fleet(&input.url(), &[&output(&sink.url()), made]), 0);
    let http = Http::of(&gateway);
    let browser = opened(http);
    browser.wait_text("#health-word", |it| it == "ready");
    browser.resize(1200, 860);
    picture(&browser, http, Scheme::Light, "page.png");
    sink.go_away();
    browser.wait_text("#sessions li:first-child .state", |it| it == "away");
    assert_eq!(browser.text("#count-connections"), "1 away");
    browser.wait_text("#health-word", |it| it == "degraded");
    browser.wait_text("#health-reason", |it| it.contains("output"));
    browser.resize(360, 640);
    picture(&browser, http, Scheme::Dark, "page-degraded.png");
    sink.come_back();
    browser.wait_text("#sessions li:first-child .state", |it| it == "connected");
    browser.wait_text("#health-word", |it| it == "ready");
    assert_eq!(browser.text("#count-connections"), "");
    let before = browser.wait_text("#health-before", |it| it.contains("It was degraded once"));
    assert!(before.contains(": the output ") && before.contains(" to "), "{before}");
}

#[test]
fn what_may_be_lost_where_no_column_shows_it_is_beside_the_balance() {
    let broker = Broker::start();
    let counts = "sensors.fleet.mqtt.counter = \"/n\"";
    let gateway = started(&fleet(&broker.url(), &[counts]), 0);
    let browser = opened(Http::of(&gateway));
    broker.publish_all(readings(2, 1..=3, 1));
    browser.wait_text("#received", |it| it == "6");
    assert_eq!(browser.text("#losses"), "No sign of loss before the gateway or behind it.");
    // Of each sensor the numbers 4 to 8 have not come.
    broker.publish_all(readings(2, 9..=9, 1));
    let lost = browser.wait_text("#losses", |it| it.starts_with("Possible loss"));
    assert_eq!(lost, "Possible loss since the start: 10 numbers of sensors have not come.");
    assert_eq!(browser.text("#closes"), "The books close.", "that is another thing");
    assert_accessible(&browser);
    assert_quiet(&browser);
}

/// `top` says the same, by its unit test.
#[test]
fn when_the_spool_will_be_full_or_empty_is_said() {
    let broker = Broker::start();
    let gateway = started(&fleet(&broker.url(), &[]), 0);
    let browser = opened(Http::of(&gateway));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/outlook.json");
    let cases: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let script = "
        const [cases, done] = arguments;
        Promise.all([import('/assets/overview.js'), import('/assets/outlook.js')]).then(async ([{ drawHealth }, { outlook }]) => {
          const status = await (await fetch('/api/status')).json();
          done(cases.map((it) => {
            const { balance, limits } = it.status;
            const state = { seen: Date.now(), steps: it.steps, status: { ...status, balance, limits, spoolingSeconds: 9 } };
            drawHealth(state, { isAway: false }, 0);
            return [outlook(state), document.getElementById('health-facts').textContent];
          }));
        });";
    let told = browser.wait_for(script, vec![cases.clone()]);
    for (case, told) in cases.as_array().unwrap().iter().zip(told.as_array().unwrap()) {
        let (says, facts) = (case["says"].as_str().unwrap(), told[1].as_str().unwrap());
        assert_eq!(told[0], says, "{}", case["case"]);
        let is_said = facts.ends_with(&format!(" · the spool is {says}"));
        assert!(is_said || says.is_empty() && facts.ends_with("spooling for 9 s"), "{facts}");
    }
    assert_quiet(&browser);
}

/// With `RENEW=1`: writes the picture that docs/operating.md shows, once there is a line to see.
fn picture(browser: &Browser, http: Http, scheme: Scheme, name: &str) {
    browser.prefer(scheme);
    let fits = "return document.documentElement.scrollWidth <= innerWidth";
    eventually("the page is no wider than the screen", PATIENCE, || {
        browser.run(fits, Vec::new()) == true
    });
    let picture = browser.screenshot();
    assert!(picture.starts_with(b"\x89PNG"));
    if number_from_environment::<u8>("RENEW").is_some() {
        eventually("there is a history", PATIENCE, || {
            http.json("/api/history")["steps"].as_array().unwrap().len() >= 8
        });
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
        fs::write(path, browser.screenshot()).unwrap();
    }
}

#[test]
fn a_restart_of_the_gateway_shows_on_the_page() {
    let (broker, port) = (Broker::start(), free_port());
    let config = fleet(&broker.url(), &["batch.age_max = \"10ms\""]);
    let mut gateway = started(&config, port);
    let browser = opened(Http { port });
    broker.publish_all(readings(3, 1..=5, 1));
    browser.wait_text("#received", |it| it == "15");
    assert_eq!(browser.text("#notice"), "");
    drained(&mut gateway);
    browser.wait_text("#link-word", |it| it.starts_with("reconnecting… last seen "));
    assert_eq!(browser.text("#health-word"), "unreachable");
    browser.wait_text("#health-reason", |it| it.starts_with("No answer since "));
    // A page that never had an answer says so, and no time.
    let never = "const done = arguments[0];
        Promise.all([import('/assets/link.js'), import('/assets/state.js')]).then(([{ Link }, { nothing }]) => {
          const link = new Link();
          link.is('away');
          link.draw(nothing());
          done(['link-word', 'health-reason'].map((it) => document.getElementById(it).textContent));
        });";
    let said = browser.wait_for(never, Vec::new());
    assert_eq!(said[0], "reconnecting… no answer yet");
    assert!(said[1].as_str().unwrap().starts_with("No answer yet. "), "{said}");
    assert_eq!(browser.text("#received"), "15", "what was last seen stays");
    let _gateway = started(&config, port);
    browser.wait_text("#notice", |it| it.contains("The gateway has restarted"));
    browser.wait_text("#link-word", |it| it == "live");
    browser.wait_text("#received", |it| it == "0");
    browser.click("#notice button");
    assert_eq!(browser.text("#notice"), "");
}

/// The same recordings make the same states in the page and, by its unit test, in `top`.
#[test]
fn recorded_events_make_the_states_that_top_makes_of_them() {
    let broker = Broker::start();
    let gateway = started(&fleet(&broker.url(), &[]), 0);
    let browser = opened(Http::of(&gateway));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/events");
    let files = fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path());
    let files: Vec<_> =
        files.filter(|it| it.extension().is_some_and(|it| it == "events")).collect();
    assert!(files.len() >= 4, "{files:?}");
    // The page's own reader takes the stream apart. An event came when the last status says that it did.
    let script = "
        const [text, done] = arguments;
        Promise.all([import('/assets/state.js'), import('/assets/gateway.js')]).then(([{ nothing, take }, { Gateway }]) => {
          const state = nothing();
          let at = 0;
          globalThis.fetch = async (path) =>
            path === '/api/stream' ? new Response(text) : new Response('', { status: 404 });
          new Gateway({
            ask() {},
            link: (word) => { if (word === 'away') done(JSON.stringify(state)); },
            take(name, data) {
              if (name === 'status') at = Date.parse(data.startedAt) + data.uptimeSeconds * 1000;
              take(state, name, data, at);
            },
          }).follow();
        });";
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let made = browser.wait_for(script, vec![text.into()]);
        let made: Value = serde_json::from_str(made.as_str().unwrap()).unwrap();
        let expected = fs::read(path.with_extension("json")).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        assert!(plain(made) == plain(expected), "{}", path.display());
        browser.open(&page(Http::of(&gateway)));
    }
}

/// The same with each number as JavaScript has it.
fn plain(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(all) => all.into_iter().map(plain).collect(),
        Value::Object(all) => all.into_iter().map(|(name, it)| (name, plain(it))).collect(),
        other => other,
    }
}

fn say(text: &str) {
    ignore(writeln!(std::io::stderr(), "{text}"), "it is for people");
}

#[test]
fn one_of_fifty_thousand_sensors_is_found() {
    let broker = Broker::start();
    let made = format!("sensors.T.simulated = {{ count = {MANY}, interval = \"10s\" }}");
    let gateway = started(&fleet(&broker.url(), &[&made, "gateway.memory_max = \"512MiB\""]), 0);
    let http = Http::of(&gateway);
    let begun = now();
    let browser = opened(http);
    browser.wait_text("#sensor-place", |it| it.starts_with("50,000 sensors, page 1 "));
    say(&format!("all were there after {:?}", begun.elapsed()));
    let rows =
        "return [...document.querySelectorAll('#sensor-rows a')].map((it) => it.textContent)";
    let shown =
        || -> Vec<String> { serde_json::from_value(browser.run(rows, Vec::new())).unwrap() };
    browser.choose("#ask [name=sort]", "id");
    eventually("they are in order", PATIENCE, || shown().first().is_some_and(|it| it == "T_00000"));
    let mut last = shown();
    assert!((50..=100).contains(&last.len()), "{}", last.len());
    for page in 2..=4 {
        let begun = now();
        browser.click("#on");
        eventually("the next page comes", PATIENCE, || shown().first() > last.last());
        say(&format!("page {page} came after {:?}", begun.elapsed()));
        assert!(browser.text("#sensor-place").contains(&format!("page {page} ")));
        last = shown();
    }
    browser.click("#first");
    eventually("the first page is back", PATIENCE, || {
        shown().first().is_some_and(|it| it == "T_00000")
    });
    let begun = now();
    browser.choose("#ask [name=search]", "t_49999");
    browser.wait_text("#sensor-rows", |it| it.matches("T_").count() == 1 && it.contains("T_49999"));
    say(&format!("the search took {:?}", begun.elapsed()));
    assert_eq!(browser.text("#sensor-place"), "1 sensor, page 1 of about 1");
    assert_quiet(&browser);
}
