//! What happens to the links: cut, stalled, byte by byte.

use std::time::Duration;

use crate::faults::{Trial, WINDOW};
use crate::scene::LONG;
use crate::support::proxy::{Proxy, Way};
use crate::support::{SOON, number_from_environment, seed};

/// How often a link is cut; `FAULT_CUTS=200` is a longer proof.
fn cuts() -> u32 {
    number_from_environment("FAULT_CUTS").unwrap_or(20)
}

/// Cuts a link as often, each connection after a short life.
fn cut(link: &Proxy, cuts: u32) {
    link.cut_every(Duration::from_millis(20)..Duration::from_millis(150), seed());
    link.wait_until("the cuts", LONG + cuts * Duration::from_secs(3), |traffic| {
        traffic.cuts >= cuts as usize
    });
    link.spare();
}

#[test]
fn cut_input() {
    // Until the broker's ids have been seen to count up, acknowledgements lost with the link repeat
    // readings.
    let cuts = cuts();
    let name = format!("input link cut {cuts} times");
    Trial::new(&name, u64::from(cuts) * 50, u64::from(cuts) * WINDOW).slow().run(|stage| {
        cut(&stage.to_input, cuts);
    });
}

#[test]
fn cut_output() {
    let cuts = cuts();
    Trial::new(format!("output link cut {cuts} times"), u64::from(cuts) * 125, 0).run(|stage| {
        cut(&stage.to_sink, cuts);
    });
}

#[test]
fn crumbs() {
    // Without a spool: beside one, a stop does not wait for the last answers, and these come byte by byte.
    Trial::new("both links byte by byte", 100, 0).without_spool().run(|stage| {
        stage.to_input.crumble();
        stage.to_sink.crumble();
    });
}

#[test]
fn stall_input() {
    Trial::new("input link stalled, each way", 500, 2 * WINDOW).slow().run(|stage| {
        for way in [Way::ToClient, Way::ToBroker] {
            stage.to_input.stall(way);
            stage.gateway.wait_for_line("connection lost", LONG);
            stage.to_input.resume(way);
            stage.wait(300..800);
        }
    });
}

#[test]
fn stall_output() {
    Trial::new("output link stalled, each way", 2000, 0).run(|stage| {
        for way in [Way::ToClient, Way::ToBroker] {
            stage.to_sink.stall(way);
            stage.wait(3000..5000);
            stage.to_sink.resume(way);
            stage.wait(300..800);
        }
    });
}

#[test]
fn stall_in_packets() {
    let name = "both links stalled in the middle of a packet, each way";
    Trial::new(name, 500, WINDOW * 2).slow().run(|stage| {
        for (way, bytes) in [(Way::ToClient, 30), (Way::ToBroker, 3)] {
            for link in [&stage.to_input, &stage.to_sink] {
                let before = link.traffic();
                link.stall_after(way, bytes);
                link.wait_until("the stall", SOON, |now| now.stalls > before.stalls);
                // What waits is given up.
                let again = before.connections + 1;
                link.wait_until("another connection", SOON, |now| now.connections >= again);
                link.resume(way);
            }
        }
    });
}
