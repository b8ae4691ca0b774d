//! What the standard asks of a client and only a connection shows: what goes first and last, whose limits
//! count, and what a broker's breach of the protocol costs.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::scene::{
    audit, drained, fleet, output, readings, subscribed, violations, wait_readings,
};
use crate::support::SOON;
use crate::support::broker::{Broker, Limits, Log};
use crate::support::gateway::Gateway;

const NONE: [String; 0] = [];

/// Reads one packet that is shorter than 128 bytes.
fn packet(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    let mut body = vec![0; head[1].into()];
    stream.read_exact(&mut body).unwrap();
    [&head[..], &body].concat()
}

#[test]
fn connect_is_the_first_that_is_sent_and_disconnect_the_last() {
    let (listener, sink) = (TcpListener::bind(("127.0.0.1", 0)).unwrap(), Broker::start());
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let own = [&output(&sink.url()), "broker.watch = false", "broker.keep_alive = \"5s\""];
    let mut gateway = Gateway::start(&fleet(&url, &own));
    let (mut broker, _) = listener.accept().unwrap();
    broker.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(packet(&mut broker)[0], 0x10, "CONNECT");
    broker.set_nonblocking(true).unwrap();
    assert!(broker.read(&mut [0]).is_err(), "nothing before CONNACK");
    broker.set_nonblocking(false).unwrap();
    broker.write_all(&[0x20, 3, 0, 0, 0]).unwrap();
    assert_eq!(packet(&mut broker)[0], 0x82, "SUBSCRIBE");
    broker.write_all(&[0x90, 4, 0, 1, 0, 1]).unwrap();
    gateway.wait_for_line("subscribed", SOON);
    gateway.signal("TERM");
    let mut rest = Vec::new();
    broker.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, [0xe0, 0], "DISCONNECT, and the end of the connection");
    assert_eq!(gateway.wait_exit(SOON), 0);
}

/// Both with one second: the one that the broker names in CONNACK, and our own.
#[test]
fn an_idle_client_pings_within_the_keep_alive_of_either_side() {
    for (announced, own) in
        [(Some(1), "broker.keep_alive = \"60s\""), (None, "broker.keep_alive = \"2s\"")]
    {
        let (input, sink) = (Broker::start(), Broker::start());
        input.announce(Limits { server_keep_alive: announced, ..Limits::default() });
        let mut gateway = subscribed(&fleet(&input.url(), &[own, &output(&sink.url())]));
        input.wait_until("pings", SOON, |log| log.pings("gw-in") >= 3);
        assert_eq!(input.look(|log| log.connects("gw-in")), 1);
        assert_eq!(violations(&input), NONE, "none is silent for too long");
        drained(&mut gateway);
    }
}

#[test]
fn a_broker_that_takes_no_qos_1_is_sent_none() {
    let (input, sink) = (Broker::start(), Broker::start());
    sink.announce(Limits { maximum_qos: Some(0), ..Limits::default() });
    let gateway = Gateway::start(&fleet(&input.url(), &[&output(&sink.url())]));
    gateway.wait_for_line("it takes no QoS above 0: set output.qos", SOON);
    input.wait_until("a subscription", SOON, |log| log.subscribes("gw-in") > 0);
    input.publish_all(readings(5, 1..=10, 1));
    sink.wait_until("another attempt", SOON, |log| log.connects("gw-out") >= 3);
    assert_eq!(sink.look(|log| log.published.len()), 0);
    let own = [&output(&sink.url()), "output.qos = 0", "broker.client_id = \"gw2\""];
    let mut other = subscribed(&fleet(&input.url(), &own));
    input.publish_all(readings(5, 11..=20, 1));
    wait_readings(&sink, 50, SOON);
    drained(&mut other);
    assert!(sink.look(|log| log.published.iter().all(|it| it.qos == 0)));
}

/// Waits for a client's connection of this number.
#[track_caller]
fn stands(broker: &Broker, who: &str, number: usize) {
    let stands = |log: &Log| log.connects(who) == number && log.connected(who);
    broker.wait_until("a connection", SOON, stands);
}

#[test]
fn a_breach_of_the_protocol_costs_the_connection_and_no_reading() {
    let (input, sink) = (Broker::start(), Broker::start());
    let mut gateway = subscribed(&fleet(&input.url(), &[&output(&sink.url())]));
    let breaches: [&[u8]; 6] = [
        &[0x10, 0],
        &[0x41, 2, 0, 1],
        &[0x40, 2, 0, 0],
        // Both bits of the QoS; a topic of no length; a property that reaches past the end.
        &[0x36, 6, 0, 1, b'a', 0, 1, 0],
        &[0x30, 3, 0, 0, 0],
        &[0x32, 8, 0, 1, b'a', 0, 9, 9, 1, 1],
    ];
    for (at, breach) in breaches.iter().enumerate() {
        let connects = at + 1;
        for (broker, who) in [(&input, "gw-in"), (&sink, "gw-out")] {
            stands(broker, who, connects);
            broker.send_raw(who, breach);
            stands(broker, who, connects + 1);
        }
        let n = 10 * at as u64;
        input.publish_all(readings(5, n + 1..=n + 10, 1));
        wait_readings(&sink, 5 * (n + 10), SOON);
    }
    gateway.wait_for_line("protocol error", Duration::ZERO);
    drained(&mut gateway);
    let verdict = audit(&sink).judge_load(5, 60);
    assert_eq!((verdict.lost, verdict.reordered), (0, 0));
}
