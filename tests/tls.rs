//! Over TLS: the broker is checked against a CA, the gateway shows a certificate of its own.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::scene::{audit, drained, fleet, output, wait_readings};
use crate::support::SOON;
use crate::support::broker::Broker;
use crate::support::gateway::Gateway;
use crate::support::mosquitto::{Mosquitto, NO_DROP};

/// Runs `openssl` in a folder.
fn openssl(folder: &Path, arguments: &str) {
    let arguments = arguments.split_whitespace();
    let done = Command::new("openssl").args(arguments).current_dir(folder).output();
    let done = done.expect("openssl is missing: apt-get install openssl");
    assert!(done.status.success(), "openssl: {}", String::from_utf8_lossy(&done.stderr));
}

/// A CA, and for `localhost` and the gateway a key and a certificate by it.
pub(crate) fn certificates(folder: &Path) {
    let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    let ca = format!("req -x509 {new_key} -days 2 -keyout ca.key -out ca.pem -subj /CN=test-ca");
    openssl(folder, &ca);
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost").unwrap();
    for name in ["localhost", "gateway"] {
        openssl(
            folder,
            &format!("req {new_key} -keyout {name}.key -out {name}.csr -subj /CN={name}"),
        );
        openssl(
            folder,
            &format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
                 -extfile names -out {name}.pem"
            ),
        );
    }
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
    assert!(line.contains("invalid peer certificate"), "{line}");
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
