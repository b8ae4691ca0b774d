//! Brokers that say small limits in CONNACK: readings get through, and no connection begins anew for ever.

use crate::scene::{audit, fault, fleet, output, readings, subscribed, violations};
use crate::support::SOON;
use crate::support::broker::{Broker, Limits};

const NONE: [String; 0] = [];

fn window(messages: u16) -> Limits {
    Limits { receive_maximum: Some(messages), ..Limits::default() }
}

fn packets(bytes: u32) -> Limits {
    Limits { max_packet_size: Some(bytes), ..Limits::default() }
}

/// Of both brokers; the loads are small enough for one publication at a time.
#[test]
fn small_limits_in_connack_let_readings_through_without_a_reconnect() {
    for (name, limits) in [
        ("Receive Maximum 1", window(1)),
        ("Receive Maximum 2", window(2)),
        ("Maximum Packet Size 512", packets(512)),
    ] {
        let (input, sink) = (Broker::start(), Broker::start());
        input.announce(limits);
        sink.announce(limits);
        let own = [&output(&sink.url()), "batch.records_max = 10"];
        let mut gateway = subscribed(&fleet(&input.url(), &own));
        input.publish_all(readings(5, 1..=100, 1));
        input.wait_until("acknowledgements", SOON, |log| log.acks("gw-in") == 500);
        let name = format!("brokers say {name}");
        let balance = fault(&name, 0, &mut gateway, || audit(&sink).judge_load(5, 100));
        assert_eq!((balance.received, balance.delivered), (500, 500), "{name}");
        for (broker, who) in [(&input, "gw-in"), (&sink, "gw-out")] {
            assert_eq!(broker.look(|log| log.connects(who)), 1, "{name}: {who}");
            assert_eq!(violations(broker), NONE, "{name}");
        }
    }
}
