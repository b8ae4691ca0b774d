//! A start with no file edited and no other program: the shipped configuration and the embedded
//! broker.

use crate::support::SOON;
use crate::support::client::{Collector, Counter, Options, Session};
use crate::support::gateway::Gateway;
use crate::support::wire::{Packet, PingReq, Publish, Version};

/// The shipped configuration on any free port; the gateway, and the port its first lines name.
fn started() -> (Gateway, u16) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/sluicegate.toml");
    let config = std::fs::read_to_string(path).unwrap();
    let launch = Gateway::with_config(&config).env("SLUICEGATE__BROKER__EMBEDDED_PORT", "0");
    let gateway = launch.start();
    let line = gateway.wait_for_line("mosquitto_sub", SOON);
    let mut words = line.split_whitespace().skip_while(|word| *word != "-p");
    let port = words.nth(1).and_then(|port| port.parse().ok());
    let port = port.unwrap_or_else(|| panic!("no port in {line}"));
    (gateway, port)
}

#[test]
fn ten_simulated_sensors_come_in_batches_to_clients_of_both_versions() {
    let (mut gateway, port) = started();
    for version in [Version::V3, Version::V5] {
        let name = format!("look-{version:?}");
        let batches =
            Collector::at(port).counter(Counter::Sequence).version(version).name(&name).start();
        assert!(batches.within(SOON, |seen| seen.audit.sensors.len() >= 10), "{name}");
    }
    gateway.signal("INT");
    let (code, balance) = gateway.wait_balance(SOON);
    assert_eq!((code, balance.held, balance.closes()), (0, 0, true), "{}", gateway.text());
}

#[test]
fn a_reading_that_is_published_to_the_embedded_broker_comes_back_in_a_batch() {
    let (mut gateway, port) = started();
    gateway.wait_for_line("subscribed", SOON);
    let batches = Collector::at(port).counter(Counter::Sequence).start();
    for (options, sensor) in
        [(Options::new(port, "device-3").v3(), "boiler"), (Options::new(port, "device-5"), "pump")]
    {
        let mut session = Session::open(&options).unwrap();
        session.write_publish(&format!("sensors/{sensor}/reading"), b"71.5".to_vec(), 1);
        session.flush().unwrap();
        let taken = batches.within(SOON, |seen| seen.audit.sensors.contains_key(sensor));
        assert!(taken, "{sensor}: {}", gateway.text());
    }
    gateway.signal("TERM");
    let (code, balance) = gateway.wait_balance(SOON);
    assert_eq!((code, balance.held), (0, 0), "{}", gateway.text());
}

#[test]
fn a_port_that_is_taken_is_replaced_and_said() {
    let (_first, port) = started();
    let config = "broker.url = \"embedded\"\nsensors.T.simulated.interval = \"50ms\"\n";
    let launch = Gateway::with_config(config);
    let mut second = launch.env("SLUICEGATE__BROKER__EMBEDDED_PORT", &port.to_string()).start();
    second.wait_for_line("taking a free port", SOON);
    second.wait_for_line("ready", SOON);
    second.signal("TERM");
    let (code, _) = second.wait_balance(SOON);
    assert_eq!(code, 0, "{}", second.text());
}

#[test]
fn a_session_whose_window_is_full_gets_answers_and_after_a_cut_its_messages_again() {
    let (_gateway, port) = started();
    let v3 = Options::new(port, "keeper-3").v3().persistent();
    let v5 = Options::new(port, "keeper-5").persistent().receive_maximum(10);
    // MQTT 3.1.1 cannot say a window.
    for (options, window) in [(v3, 30), (v5, 10)] {
        let next = |session: &mut Session| session.next_publish(SOON).unwrap().expect("a message");
        let mut session = Session::open(&options).unwrap();
        session.subscribe(&["lot"]).unwrap();
        let mut device = Session::open(&Options::new(port, "device")).unwrap();
        for number in 0..30 {
            device.write_publish("lot", vec![number], 1);
        }
        device.flush().unwrap();
        let taken: Vec<Publish> = (0..window).map(|_| next(&mut session)).collect();
        session.write(&Packet::PingReq(PingReq));
        session.flush().unwrap();
        let answer = session.receive(SOON).unwrap();
        assert!(matches!(answer, Some(Packet::PingResp(_))), "{answer:?}");
        drop(session);
        let mut session = Session::open(&options).unwrap();
        assert!(session.session_present());
        for number in 0..30 {
            let message = next(&mut session);
            session.ack(message.pkid).unwrap();
            assert_eq!(message.payload[..], [number]);
            assert_eq!(message.dup, usize::from(number) < window);
            let earlier = taken.get(usize::from(number)).map_or(message.pkid, |it| it.pkid);
            assert_eq!(message.pkid, earlier);
        }
    }
}
