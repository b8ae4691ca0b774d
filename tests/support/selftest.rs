//! The test support, tested: a lever that does nothing would make every test behind it worthless.

mod broker;
mod load;
mod programs;
mod sessions;

use std::time::Duration;

use crate::support::broker::Broker;
use crate::support::client::{Options, Session};
use crate::support::wire::{Packet, PubAckReason, QoS, SubscribeReasonCode};

/// Long enough to see that nothing comes.
const SHORT: Duration = Duration::from_millis(100);

fn subscriber(options: &Options, filter: &str) -> Session {
    let mut session = Session::open(options).unwrap();
    let codes = session.subscribe(&[filter]).unwrap();
    assert_eq!(codes, [SubscribeReasonCode::Success(QoS::AtLeastOnce)]);
    session
}

fn send(session: &mut Session, topic: &str, payload: &str) -> u16 {
    let id = session.write_publish(topic, payload.as_bytes().to_vec(), 1);
    session.flush().unwrap();
    id
}

fn puback(session: &mut Session) -> Option<(u16, PubAckReason)> {
    session.receive(SHORT).unwrap().map(|packet| match packet {
        Packet::PubAck(ack) => (ack.pkid, ack.reason),
        other => panic!("not a PUBACK: {other:?}"),
    })
}

/// Packet id, DUP and payload of what is delivered until nothing more comes.
fn delivered(session: &mut Session) -> Vec<(u16, bool, String)> {
    let mut all = Vec::new();
    while let Some(publish) = session.next_publish(SHORT).unwrap() {
        let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
        all.push((publish.pkid, publish.dup, payload));
    }
    all
}

fn publish_numbers(broker: &Broker, topic: &str, numbers: std::ops::Range<u32>) {
    numbers.for_each(|n| broker.publish(topic, n.to_string(), 1, false));
}
