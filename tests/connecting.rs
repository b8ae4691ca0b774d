//! Each step to a connection has a limit that can be set, and the one that hangs is named.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::scene::{drained, fleet, output, readings, wait_readings};
use crate::support::broker::Broker;
use crate::support::gateway::Gateway;
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::proxy::{Proxy, Way};
use crate::support::{SOON, pause};
use crate::tls::certificates;

/// Each step has half of it.
const QUICK: &str = "broker.connect_timeout = \"1s\"";

/// Longer than a quick step, and shorter than one of [`PATIENT`].
const SLOW: Duration = Duration::from_millis(1200);
const PATIENT: &str = "broker.connect_timeout = \"20s\"";

const NO_WATCH: &str = "broker.watch = false";

/// A gateway at this address says which step has no answer.
#[track_caller]
fn names(step: &str, url: &str, more: &[&str]) {
    let sink = Broker::start();
    let output = output(&sink.url());
    let gateway = Gateway::start(&fleet(url, &[&[QUICK, NO_WATCH, &output], more].concat()));
    let line = gateway.wait_for_line("cannot connect", SOON);
    let expected =
        format!("no answer to {step} within 500ms (broker.connect_timeout sets the limit)");
    assert!(line.contains(&expected), "{line}");
}

/// It accepts what comes, and says nothing.
#[test]
fn a_step_without_an_answer_is_named() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let ca = format!("broker.tls.ca_file = \"{}/ca.pem\"", folder.path().display());
    names("CONNECT", &format!("mqtt://localhost:{port}"), &[]);
    names("the TLS handshake", &format!("mqtts://localhost:{port}"), &[&ca]);
    names("the WebSocket request", &format!("ws://localhost:{port}"), &[]);
}

#[test]
fn an_address_that_swallows_everything_is_named() {
    let full = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = full.local_addr().unwrap();
    // Its queue of connections is full: Linux leaves further ones without any answer.
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        queued.push(stream);
    }
    names("the TCP connect", &format!("mqtt://{address}"), &[]);
}

/// The broker takes its time with CONNACK, or with the TLS handshake: whoever waits for it gets in at once.
#[test]
fn a_slow_broker_is_waited_for_as_long_as_is_set() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let at = folder.path().display();
    let tls = Mosquitto::start(&format!(
        "{NO_DROP}certfile {at}/localhost.pem\nkeyfile {at}/localhost.key\n"
    ));
    let plain = Mosquitto::with(NO_DROP).start();
    let ca = format!("broker.tls.ca_file = \"{at}/ca.pem\"");
    for (scheme, port, more) in [("mqtt", plain.port(), ""), ("mqtts", tls.port(), &*ca)] {
        let sink = Broker::start();
        let slow = Proxy::to(port);
        slow.stall(Way::ToClient);
        let url = format!("{scheme}://localhost:{}", slow.port());
        let own = [PATIENT, NO_WATCH, more, &output(&sink.url())];
        let mut gateway = Gateway::start(&fleet(&url, &own));
        slow.wait_until("the first bytes", SOON, |traffic| traffic.bytes_to_broker > 0);
        pause(SLOW);
        slow.resume(Way::ToClient);
        gateway.wait_for_line("subscribed", SOON);
        assert!(!gateway.said("cannot connect"), "{scheme}: {}", gateway.text());
        drained(&mut gateway);
    }
}

/// What the resolver finds too late for one attempt is there for the next.
#[test]
fn a_slow_look_up_is_named_and_used_all_the_same() {
    let (input, sink) = (Broker::start(), Broker::start());
    let url = format!("mqtt://localhost:{}", input.port());
    let config = fleet(&url, &[QUICK, NO_WATCH, &output(&sink.url())]);
    // The resolver connects several times: to a cache, and to see by which way an address is reached.
    let slow = Gateway::with_faulty_calls(&config, "inject=connect:delay_enter=350ms");
    let mut gateway = slow.start();
    gateway.wait_for_line("no answer to the name look-up within 500ms", SOON);
    gateway.wait_for_line("subscribed", SOON);
    input.publish_all(readings(5, 1..=10, 1));
    wait_readings(&sink, 50, SOON);
    drained(&mut gateway);
}
