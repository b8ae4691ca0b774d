//! Over TLS: the broker is checked against a CA, the gateway shows a certificate of its own.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::scene::{audit, drained, fleet, output, wait_readings};
use crate::support::broker::Broker;
use crate::support::gateway::Gateway;
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::{SOON, thread};

/// Runs `openssl` in a folder.
fn openssl(folder: &Path, arguments: &str) {
    let arguments = arguments.split_whitespace();
    let done = Command::new("openssl").args(arguments).current_dir(folder).output();
    let done = done.expect("openssl is missing: apt-get install openssl");
    assert!(done.status.success(), "openssl: {}", String::from_utf8_lossy(&done.stderr));
}

const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

/// A CA, and for `localhost` and the gateway a key and a certificate by it.
pub(crate) fn certificates(folder: &Path) {
    let ca = format!("req -x509 {NEW_KEY} -days 2 -keyout ca.key -out ca.pem -subj /CN=test-ca");
    openssl(folder, &ca);
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost").unwrap();
    sign(folder, "localhost", 2);
    sign(folder, "gateway", 2);
}

/// A key and a certificate of this name by the CA in the folder, for so many days.
pub(crate) fn sign(folder: &Path, name: &str, days: u16) {
    openssl(folder, &format!("req {NEW_KEY} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
    openssl(
        folder,
        &format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} \
             -extfile names -out {name}.pem"
        ),
    );
}

/// A Mosquitto that speaks only TLS and wants a certificate from whoever comes.
fn broker(folder: &Path) -> Mosquitto {
    let at = folder.display();
    Mosquitto::start(&format!(
        "{NO_DROP}cafile {at}/ca.pem\ncertfile {at}/localhost.pem\nkeyfile {at}/localhost.key\n\
         require_certificate true\n"
    ))
}

fn tls(folder: &Path, ca: &str) -> String {
    let at = folder.display();
    format!(
        "broker.tls = {{ ca_file = \"{at}/{ca}\", cert_file = \"{at}/gateway.pem\", \
         key_file = \"{at}/gateway.key\" }}"
    )
}

/// Publishes each line with a client certificate.
fn publish(folder: &Path, port: u16, lines: &str) {
    let port = port.to_string();
    let mut client = Command::new("mosquitto_pub")
        .args(["-h", "localhost", "-p", &port, "-q", "1", "-l", "-t", "sensors/a/reading"])
        .args(["--cafile", "ca.pem", "--cert", "gateway.pem", "--key", "gateway.key"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .spawn()
        .expect("mosquitto_pub is missing: apt-get install mosquitto-clients");
    client.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(client.wait().unwrap().success(), "mosquitto_pub failed");
}

#[test]
fn readings_come_over_tls_with_certificates_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let (input, sink) = (broker(folder.path()), Broker::start());
    let url = format!("mqtts://localhost:{}", input.port());
    let config = fleet(&url, &[&tls(folder.path(), "ca.pem"), &output(&sink.url())]);
    let mut gateway = Gateway::start(&config);
    gateway.wait_for_line("subscribed", SOON);
    let lines =
        (1..=500).fold(String::new(), |text, n| text + &format!("{{\"value\":{n},\"n\":{n}}}\n"));
    publish(folder.path(), input.port(), &lines);
    wait_readings(&sink, 500, SOON);
    let balance = drained(&mut gateway);
    assert_eq!((balance.received, balance.delivered), (500, 500));
    assert_eq!(audit(&sink).records(), 500);
}

#[test]
fn a_broker_whose_certificate_is_not_trusted_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let other = tempfile::tempdir().unwrap();
    certificates(other.path());
    std::fs::copy(other.path().join("ca.pem"), folder.path().join("other.pem")).unwrap();
    let (input, sink) = (broker(folder.path()), Broker::start());
    let url = format!("mqtts://localhost:{}", input.port());
    let config = fleet(&url, &[&tls(folder.path(), "other.pem"), &output(&sink.url())]);
    let gateway = Gateway::start(&config);
    let line = gateway.wait_for_line("cannot connect", SOON);
    assert!(line.contains("is signed by none that is in tls.ca_file"), "{line}");
    assert!(line.contains("a CA of that name is there, with another key"), "{line}");
}

#[test]
fn a_certificate_file_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), "nothing").unwrap();
    let sink = Broker::start();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtts://localhost:{}", listener.local_addr().unwrap().port());
    let ca = format!("broker.tls.ca_file = \"{}/ca.pem\"", folder.path().display());
    let mut gateway = Gateway::start(&fleet(&url, &[&ca, &output(&sink.url())]));
    assert_eq!(gateway.wait_exit(SOON), 64, "{}", gateway.text());
    assert!(gateway.text().contains("ca_file"), "{}", gateway.text());
    assert!(gateway.text().contains("holds no certificate"), "{}", gateway.text());
}

/// Certificates for `localhost` that brokers should not show: `v1.pem`, as the recipe of mosquitto-tls(7)
/// makes it; `past.pem` and `future.pem`, out of their time.
fn bad_certificates(folder: &Path) {
    certificates(folder);
    let sign = "-CA ca.pem -CAkey ca.key -CAcreateserial -days 2";
    openssl(folder, &format!("x509 -req -in localhost.csr {sign} -out v1.pem"));
    for (name, year) in [("past", 2020), ("future", 2090)] {
        of_year(folder, "localhost", name, year);
    }
}

/// A certificate called `name`, and its key, that has expired in 2021: what was asked for under another name.
pub(crate) fn expired(folder: &Path, asked: &str, name: &str) {
    of_year(folder, asked, name, 2020);
    let key = |name: &str| folder.join(format!("{name}.key"));
    std::fs::copy(key(asked), key(name)).unwrap();
}

/// A certificate called `name` by the CA in the folder, valid in this year only.
fn of_year(folder: &Path, asked: &str, name: &str, year: u16) {
    let config = "[ca]\ndefault_ca=own\n[own]\ndatabase=index\nserial=serial\nnew_certs_dir=.\n\
                  default_md=sha256\npolicy=any\nunique_subject=no\n[any]\ncommonName=supplied\n";
    std::fs::write(folder.join("ca.conf"), config).unwrap();
    for (file, text) in [("index", ""), ("serial", "01")] {
        let file = folder.join(file);
        if !file.exists() {
            std::fs::write(file, text).unwrap();
        }
    }
    let next = year + 1;
    let dates = format!("-startdate {year}0101000000Z -enddate {next}0101000000Z");
    openssl(
        folder,
        &format!(
            "ca -batch -notext -config ca.conf -in {asked}.csr -cert ca.pem -keyfile ca.key {dates} \
             -extfile names -out {name}.pem"
        ),
    );
}

/// What the gateway's log and `doctor` say of a broker that cannot be connected to: each of these words.
#[track_caller]
fn said_of(url: &str, tls: &str, words: &[&str]) {
    let config = fleet(url, &[tls, "output.broker.url = \"mqtt://127.0.0.1:1\""]);
    let gateway = Gateway::start(&config);
    let line = gateway.wait_for_line(words[0], SOON);
    let mut doctor = Gateway::command("doctor", &config).arg("--json").start();
    assert_eq!(doctor.wait_exit(SOON), 75, "{}", doctor.text());
    let audit: serde_json::Value = serde_json::from_str(&doctor.stdout()).unwrap();
    let finding = audit["brokers"][0]["findings"][0].to_string();
    for word in words {
        assert!(line.contains(word), "{word:?} is missing in {line}");
        assert!(finding.contains(word), "{word:?} is missing in {finding}");
    }
    assert!(!finding.contains("start the broker"), "{finding}");
}

#[test]
fn a_brokers_certificate_that_is_not_accepted_is_said_in_words_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    bad_certificates(folder.path());
    let at = folder.path().display();
    let ca = format!("broker.tls = {{ ca_file = \"{at}/ca.pem\" }}");
    let made = "subjectAltName=DNS:localhost";
    for (certificate, key, words) in [
        ("v1", "localhost", ["is X.509 version 1, as the recipe of mosquitto-tls(7)", made]),
        ("ca", "ca", ["is a CA's own", made]),
        ("past", "localhost", ["was valid until 2021-01-01T00:00:00Z", "renew it at the broker"]),
        ("future", "localhost", ["it is from 2090-01-01T00:00:00Z on", "clock of this machine"]),
    ] {
        let broker =
            Mosquitto::start(&format!("certfile {at}/{certificate}.pem\nkeyfile {at}/{key}.key\n"));
        said_of(&format!("mqtts://localhost:{}", broker.port()), &ca, &words);
    }
    let fine = format!("certfile {at}/localhost.pem\nkeyfile {at}/localhost.key\n");
    let broker = Mosquitto::start(&fine);
    let name = ["is for localhost and not for 127.0.0.1", "subjectAltName=IP:127.0.0.1"];
    said_of(&format!("mqtts://127.0.0.1:{}", broker.port()), &ca, &name);
    let trusted = format!("broker.tls.ca_file = \"{at}/past.pem\"");
    let unknown =
        ["is signed by none that is in tls.ca_file", "certificate of the CA that signed it"];
    said_of(&format!("mqtts://localhost:{}", broker.port()), &trusted, &unknown);
    let wanted = Mosquitto::start(&format!("{fine}cafile {at}/ca.pem\nrequire_certificate true\n"));
    let words = ["set tls.cert_file and tls.key_file"];
    said_of(&format!("mqtts://localhost:{}", wanted.port()), &ca, &words);
}

#[test]
fn a_port_with_tls_and_one_without_are_told_from_each_other() {
    let plain = Mosquitto::start("");
    let hung_up = ["hung up during the TLS handshake", "write mqtt://"];
    said_of(&format!("mqtts://127.0.0.1:{}", plain.port()), "", &hung_up);
    // Mosquitto's listener with TLS says nothing to who does not speak it.
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let at = folder.path().display();
    let tls =
        Mosquitto::start(&format!("certfile {at}/localhost.pem\nkeyfile {at}/localhost.key\n"));
    let mut doctor = Gateway::command("doctor", &fleet(&tls.url(), &[])).start();
    assert_eq!(doctor.wait_exit(SOON), 75, "{}", doctor.text());
    assert!(doctor.stdout().contains("if the port wants TLS"), "{}", doctor.text());
    said_of(&tls.url(), "", &["set version = 3", "write mqtts://"]);
    for (scheme, bytes, words) in [
        ("mqtt", &b"\x15\x03\x03\x00\x02\x02\x46"[..], ["answers with TLS", "write mqtts://"]),
        ("mqtt", b"HTTP/1.1 400 Bad Request\r\n\r\n", ["answers with HTTP", "write ws://"]),
        ("mqtts", b"HTTP/1.1 400 Bad Request\r\n\r\n", ["does not speak TLS", "write mqtt://"]),
    ] {
        let port = answering(bytes);
        said_of(&format!("{scheme}://127.0.0.1:{port}"), "", &words);
    }
}

/// Somebody who answers the first bytes of each connection with these, and hangs up.
fn answering(bytes: &'static [u8]) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(thread("answering", move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut read = [0; 4096];
            // Who is gone by now needs no answer.
            if stream.read(&mut read).is_ok_and(|count| count > 0) {
                drop(stream.write_all(bytes));
            }
        }
    }));
    port
}

#[test]
fn files_that_cannot_be_used_for_tls_are_found_by_check_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    certificates(at);
    openssl(at, "x509 -in ca.pem -outform der -out ca.der");
    openssl(at, "pkey -in gateway.key -aes256 -passout pass:x -out locked.key");
    openssl(
        at,
        "x509 -req -in gateway.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out v1.pem",
    );
    std::fs::write(at.join("empty"), "").unwrap();
    for (ca, cert, key, words) in [
        ("empty", "gateway.pem", "gateway.key", "tls.ca_file: {}/empty: is empty"),
        (
            "ca.der",
            "gateway.pem",
            "gateway.key",
            "tls.ca_file: {}/ca.der: is DER and not PEM: openssl x509",
        ),
        (".", "gateway.pem", "gateway.key", "tls.ca_file: {}/.: is a folder"),
        ("ca.key", "gateway.pem", "gateway.key", "holds no certificate, but a private key"),
        (
            "ca.pem",
            "gateway.pem",
            "localhost.key",
            "tls.key_file: {}/localhost.key: does not belong to",
        ),
        ("ca.pem", "gateway.pem", "locked.key", "tls.key_file: {}/locked.key: is encrypted"),
        ("ca.pem", "gateway.pem", "ca.pem", "holds no private key, but a certificate"),
        ("ca.pem", "v1.pem", "gateway.key", "tls.cert_file: {}/v1.pem: is X.509 version 1"),
    ] {
        let at = at.display().to_string();
        let tls = format!(
            "broker.tls = {{ ca_file = \"{at}/{ca}\", cert_file = \"{at}/{cert}\", key_file = \
             \"{at}/{key}\" }}"
        );
        let config = fleet("mqtts://localhost:1", &[&tls]);
        let mut check = Gateway::command("check", &config).start();
        assert_eq!(check.wait_exit(SOON), 64, "{}", check.text());
        let words = words.replace("{}", &at);
        assert!(check.stderr().contains(&words), "{words:?} is missing in:\n{}", check.text());
        assert!(check.stderr().contains("1 mistake"), "{}", check.text());
    }
}
