//! Certificates, passwords and CA files that change while the gateway runs: the next connection uses the new ones, and the
//! one that stands is not touched. And when they expire: it is said before.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::scene::{drained, fleet, output, wait_readings};
use crate::support::broker::Broker;
use crate::support::gateway::Gateway;
use crate::support::http::Http;
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::proxy::{Cut, Proxy};
use crate::support::{SOON, eventually};
use crate::tls::{certificates, expired, sign};

/// One client of the gateway, so that its connections can be counted; HTTP; the batches go to `sink`.
fn started(url: &str, sink: &Broker, more: &[&str]) -> (Gateway, Http) {
    let alone = ["broker.watch = false", &output(&sink.url())];
    let launch = Gateway::with_config(&fleet(url, &[&alone[..], more].concat()));
    let gateway = launch.env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0").start();
    gateway.wait_for_line("subscribed", SOON);
    let http = Http::of(&gateway);
    (gateway, http)
}

/// A Mosquitto that names each client after its certificate.
fn broker(folder: &Path) -> Mosquitto {
    let at = folder.display();
    Mosquitto::start(&format!(
        "{NO_DROP}cafile {at}/ca.pem\ncertfile {at}/broker.pem\nkeyfile {at}/broker.key\n\
         require_certificate true\nuse_identity_as_username true\n"
    ))
}

fn copy(from: &Path, to: &Path) {
    // In one step, as a tool that renews certificates does it.
    let beside = to.with_extension("new");
    fs::copy(from, &beside).unwrap();
    fs::rename(&beside, to).unwrap();
}

/// How often the gateway connected as this user.
fn connects(broker: &Mosquitto, user: &str) -> usize {
    let log = broker.log();
    let is_it = |line: &&str| line.contains(" as gw-in-fleet ") && line.contains(user);
    log.lines().filter(is_it).count()
}

/// Publishes the reading with this number.
fn publish(client: &[impl AsRef<std::ffi::OsStr>], n: u64) {
    let payload = format!("{{\"value\":{n},\"n\":{n}}}");
    let mut command = Command::new("mosquitto_pub");
    let command = command.args(["-q", "1", "-t", "sensors/a/reading", "-m", &payload]).args(client);
    assert!(command.status().unwrap().success(), "mosquitto_pub failed");
}

/// What a sensor with a certificate needs to publish.
fn as_sensor(folder: &Path, broker: &Mosquitto) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    let port = broker.port().to_string();
    let files = [("--cafile", "trusted.pem"), ("--cert", "gateway.pem"), ("--key", "gateway.key")];
    let files = files.into_iter().flat_map(|(option, name)| [option.to_owned(), file(name)]);
    ["-h", "localhost", "-p", &port].map(str::to_owned).into_iter().chain(files).collect()
}

#[test]
fn a_new_certificate_and_a_new_ca_are_used_by_the_next_connection_and_not_before() {
    let (ours, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (at, other) = (ours.path(), others.path());
    certificates(at);
    certificates(other);
    sign(at, "renewed", 400);
    for (name, from) in [("broker", "localhost"), ("in-use", "gateway")] {
        for kind in ["pem", "key"] {
            copy(&at.join(format!("{from}.{kind}")), &at.join(format!("{name}.{kind}")));
        }
    }
    copy(&at.join("ca.pem"), &at.join("trusted.pem"));
    let (mut input, sink) = (broker(at), Broker::start());
    let proxy = Proxy::to(input.port());
    let shown = at.display();
    let tls = format!(
        "broker.tls = {{ ca_file = \"{shown}/trusted.pem\", cert_file = \"{shown}/in-use.pem\", \
         key_file = \"{shown}/in-use.key\" }}"
    );
    let url = format!("mqtts://localhost:{}", proxy.port());
    let (mut gateway, http) = started(&url, &sink, &[&tls]);
    assert_eq!(connects(&input, "u'gateway'"), 1, "{}", input.log());
    let expiry = |kind: &str| {
        let labels = format!("{{broker=\"broker\",kind=\"{kind}\"}}");
        http.metric(&format!("sluicegate_certificate_expiry_timestamp_seconds{labels}"))
    };
    eventually("what the broker has shown", SOON, || expiry("server").is_some());
    // Both are for two days, made one after the other.
    let later = |days: f64| expiry("server").map(|it| it + days * 86_400.0);
    assert!(expiry("client") < later(1.0), "{:?}", expiry("client"));
    for said in ["certificate in tls.ca_file", "certificate in tls.cert_file", "the broker's"] {
        let line = gateway.wait_for_line(said, SOON);
        assert!(line.contains("expires soon") && line.contains("expires="), "{line}");
    }

    let connections = proxy.traffic().connections;
    copy(&at.join("renewed.key"), &at.join("in-use.key"));
    copy(&at.join("renewed.pem"), &at.join("in-use.pem"));
    eventually("the new certificate is seen", SOON, || expiry("client") > later(300.0));
    let status = http.json("/api/status");
    let certificates = status["certificates"].as_array().unwrap();
    let kinds: Vec<_> = certificates.iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ca", "client", "server"]);
    assert_eq!(certificates[1]["file"], format!("{shown}/in-use.pem"));
    publish(&as_sensor(at, &input), 1);
    wait_readings(&sink, 1, SOON);
    assert_eq!(connects(&input, "u'renewed'"), 0, "nobody has connected again");
    proxy.cut(Cut::Reset);
    eventually("it connects with the new one", SOON, || connects(&input, "u'renewed'") == 1);
    publish(&as_sensor(at, &input), 2);
    wait_readings(&sink, 2, SOON);
    // What is about to expire is looked at by handshakes of their own; they are none of its connections.
    assert_eq!(connects(&input, "u'gateway'"), 1, "{}", input.log());
    assert!(proxy.traffic().connections > connections);

    // The broker's next certificate is by a CA that the gateway does not know yet.
    input.stop();
    copy(&other.join("localhost.pem"), &at.join("broker.pem"));
    copy(&other.join("localhost.key"), &at.join("broker.key"));
    input.restart();
    gateway.wait_for_line("is signed by none that is in tls.ca_file", SOON);
    copy(&other.join("ca.pem"), &at.join("trusted.pem"));
    eventually("it trusts the new CA", SOON * 2, || connects(&input, "u'renewed'") == 2);
    publish(&as_sensor(at, &input), 3);
    wait_readings(&sink, 3, SOON);
    // An acknowledgement may have been on its way when the connection was cut: its reading comes again.
    let balance = drained(&mut gateway);
    assert!(balance.received >= 3 && balance.delivered == balance.received, "{balance:?}");
}

#[test]
fn a_new_password_is_used_by_the_next_connection_and_not_before() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Broker::start());
    let password = folder.path().join("password");
    fs::write(&password, "old\n").unwrap();
    let users = Mosquitto::with(NO_DROP).user("gateway", "old").user("sensor", "s");
    let mut input = users.start();
    let proxy = Proxy::to(input.port());
    let login = [
        "broker.username = \"gateway\"".to_owned(),
        format!("broker.password_file = \"{}\"", password.display()),
    ];
    let (mut gateway, _) = started(&proxy.url(), &sink, &[&login[0], &login[1]]);
    let connections = proxy.traffic().connections;
    fs::write(&password, "new\n").unwrap();
    let port = input.port().to_string();
    let sensor = ["-p", &port, "-u", "sensor", "-P", "s"];
    publish(&sensor, 1);
    wait_readings(&sink, 1, SOON);
    assert_eq!(proxy.traffic().connections, connections, "it stands");
    input.stop();
    input.set_password("gateway", "new");
    input.restart();
    gateway.wait_for_line("epoch=2", SOON);
    publish(&sensor, 2);
    wait_readings(&sink, 2, SOON);
    assert!(!gateway.said("not authorized"), "{}", gateway.text());
    drained(&mut gateway);
}

/// The section of a broker with these certificates of a folder.
fn with(folder: &Path, ca: &str, own: &str) -> String {
    let at = folder.display();
    format!(
        "broker.tls = {{ ca_file = \"{at}/{ca}.pem\", cert_file = \"{at}/{own}.pem\", key_file = \"{at}/{own}.key\" }}"
    )
}

#[test]
fn check_says_until_when_certificates_are_valid_and_warns_before_they_expire() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    certificates(at);
    sign(at, "lasting", 400);
    expired(at, "gateway", "past");
    let checked = |ca: &str, own: &str| {
        let config = fleet("mqtts://localhost:1", &[&with(at, ca, own)]);
        let mut check = Gateway::command("check", &config).start();
        assert_eq!(check.wait_exit(SOON), 0, "{}", check.text());
        let text = check.stdout();
        let (_, text) = text.split_once("# Certificates\n").expect("they are described");
        let (described, warnings) = text.split_once("# Warnings\n").unwrap_or((text, ""));
        (described.to_owned(), warnings.to_owned())
    };
    let (described, warnings) = checked("lasting", "lasting");
    for key in ["cert_file", "ca_file"] {
        let line = format!("broker.tls.{key}: {}/lasting.pem is valid until 20", at.display());
        assert!(described.contains(&line), "{described}");
    }
    assert!(!warnings.contains("broker.tls.c"), "{warnings}");
    let (described, warnings) = checked("ca", "past");
    assert!(described.contains("past.pem is valid until 2021-01-01T00:00:00.000Z"), "{described}");
    let own = "broker.tls.cert_file: our certificate in tls.cert_file, or one of its chain, has expired (2021-01-01";
    assert!(warnings.contains(own) && warnings.contains("its key into tls.key_file"), "{warnings}");
    let ca = "broker.tls.ca_file: a certificate in tls.ca_file expires soon (20";
    assert!(warnings.contains(ca), "{warnings}");
    // Beside a certificate that lasts an old one does no harm; in a chain it does.
    let read = |name: &str| fs::read(at.join(name)).unwrap();
    fs::write(at.join("beside.pem"), [read("past.pem"), read("lasting.pem")].concat()).unwrap();
    fs::write(at.join("chain.pem"), [read("lasting.pem"), read("ca.pem")].concat()).unwrap();
    let (described, warnings) = checked("beside", "lasting");
    assert!(described.contains("2 certificates in "), "{described}");
    assert!(!warnings.contains("broker.tls.c"), "{warnings}");
    let (described, warnings) = checked("chain", "lasting");
    assert!(described.contains("the first of 2 certificates in "), "{described}");
    assert!(warnings.contains("broker.tls.ca_file: a certificate in"), "{warnings}");
}

#[test]
fn doctor_says_until_when_certificates_are_valid_also_where_the_login_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    certificates(at);
    sign(at, "broker", 2);
    sign(at, "lasting", 400);
    expired(at, "gateway", "past");
    let input = broker(at);
    let url = format!("mqtts://localhost:{}", input.port());
    let told = |own: &str| {
        let config = fleet(&url, &[&with(at, "ca", own)]);
        let doctor = Gateway::command("doctor", &config).arg("--json");
        let mut doctor = doctor.arg("--messages").arg("10").start();
        let code = doctor.wait_exit(SOON * 4);
        let audit: serde_json::Value = serde_json::from_str(&doctor.stdout()).unwrap();
        let findings = audit["brokers"][0]["findings"].as_array().unwrap();
        let found = findings.iter().find(|it| it["check"] == "certificates");
        (code, findings[0]["outcome"].clone(), found.expect("they are looked at").clone())
    };
    let (_, login, found) = told("lasting");
    assert_eq!((&login, &found["outcome"]), (&"fit".into(), &"risky".into()), "{found:#}");
    let change = found["change"].as_str().unwrap();
    assert!(
        change.contains("renew it at the broker") && change.contains("in tls.ca_file"),
        "{change}"
    );
    assert!(!change.contains("tls.cert_file"), "{change}");
    let numbers = found["numbers"].as_array().unwrap();
    let kinds: Vec<_> = numbers.iter().map(|it| &it["certificate"]).collect();
    assert_eq!(kinds, ["client", "ca", "server"]);
    let (code, login, found) = told("past");
    assert!(login != "fit" && [2, 64].contains(&code), "{code} {login}");
    assert_eq!(found["outcome"], "unfit", "{found:#}");
    let change = found["change"].as_str().unwrap();
    assert!(change.contains("has expired (2021-01-01"), "{change}");
}
