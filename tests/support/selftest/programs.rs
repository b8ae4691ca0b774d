//! Real processes: Mosquitto starts, stops, crashes and comes back; the proxy cuts; the gateway is
//! watched.

use std::time::Duration;

use crate::support::broker::Broker;
use crate::support::client::{Collector, Options, Publisher, Session};
use crate::support::gateway::{Balance, Gateway};
use crate::support::mosquitto::{Mosquitto, NO_DROP, STOCK, free_port};
use crate::support::proxy::{Cut, Proxy, Way};
use crate::support::wire::ConnectReturnCode;
use crate::support::{SOON, eventually, kill, seed};

#[test]
fn mosquitto_starts_and_stops() {
    let mut mosquitto = Mosquitto::start(STOCK);
    assert!(mosquitto.url().ends_with(&mosquitto.port().to_string()));
    let report = Publisher::to(mosquitto.port()).sensors(3).readings(50).run(SOON);
    assert_eq!(report.total(), 150);
    assert!(mosquitto.log().contains("running"), "{}", mosquitto.log());
    assert!(mosquitto.stop().success());
    assert!(Session::open(&Options::new(mosquitto.port(), "late")).is_err());
    mosquitto.restart();
    assert!(Session::open(&Options::new(mosquitto.port(), "later")).is_ok());
}

#[test]
fn several_mosquittos_at_once_end_with_their_owners() {
    let all: Vec<Mosquitto> = (0..3).map(|_| Mosquitto::start(NO_DROP)).collect();
    let ports: Vec<u16> = all.iter().map(Mosquitto::port).collect();
    drop(all);
    let open = |port: &u16| Session::open(&Options::new(*port, "late")).is_ok();
    assert!(!ports.iter().any(open));
    assert!(free_port() > 0);
}

#[test]
fn mosquitto_keeps_its_sessions_when_stopped_and_loses_them_when_killed() {
    let mut mosquitto = Mosquitto::with(NO_DROP).persistent().start();
    let options = Options::new(mosquitto.port(), "reader").persistent();
    Session::open(&options).unwrap().subscribe(&["sensors/#"]).unwrap();
    Publisher::to(mosquitto.port()).sensors(1).readings(30).run(SOON);
    mosquitto.stop();
    mosquitto.restart();
    let mut reader = Session::open(&options).unwrap();
    assert!(reader.session_present());
    for _ in 0..30 {
        let publish = reader.next_publish(SOON).unwrap().unwrap();
        reader.ack(publish.pkid).unwrap();
    }
    drop(reader);
    let options = Options::new(mosquitto.port(), "other").persistent();
    Session::open(&options).unwrap().subscribe(&["sensors/#"]).unwrap();
    mosquitto.crash();
    mosquitto.restart();
    assert!(!Session::open(&options).unwrap().session_present());
}

#[test]
fn mosquitto_checks_passwords_and_topics() {
    // Mosquitto 2.0.11 with `max_queued_messages 0` drops a client whose publish it denies.
    let setup = Mosquitto::with(STOCK).user("gateway", "secret");
    let mosquitto = setup.acl("user gateway\ntopic read sensors/#\n").start();
    let options = Options::new(mosquitto.port(), "one");
    let code = |options: &Options| Session::knock(options).unwrap().1.code;
    assert_eq!(code(&options), ConnectReturnCode::NotAuthorized);
    assert_eq!(code(&options.clone().login("gateway", "wrong")), ConnectReturnCode::NotAuthorized);
    assert_eq!(code(&options.login("gateway", "secret")), ConnectReturnCode::Success);
    let publisher = Publisher::to(mosquitto.port()).sensors(1).readings(5);
    let report = publisher.login("gateway", "secret").run(SOON);
    assert_eq!((report.refused, report.total(), report.reconnects), (5, 0, 0));
}

#[test]
fn a_frozen_mosquitto_answers_when_it_thaws() {
    let mosquitto = Mosquitto::start(NO_DROP);
    let mut session = Session::open(&Options::new(mosquitto.port(), "one")).unwrap();
    mosquitto.signal("STOP");
    assert!(session.ping(Duration::from_millis(200)).is_err());
    mosquitto.signal("CONT");
    assert!(session.receive(SOON).unwrap().is_some());
}

#[test]
fn the_proxy_cuts_stalls_and_counts() {
    let broker = Broker::start();
    let proxy = Proxy::to(broker.port());
    assert!(proxy.url().ends_with(&proxy.port().to_string()));
    let options = Options::new(proxy.port(), "one");
    let mut session = Session::open(&options).unwrap();
    session.ping(SOON).unwrap();
    proxy.stall(Way::ToClient);
    assert!(session.ping(Duration::from_millis(100)).is_err());
    broker.wait_until("the ping went through", SOON, |log| log.pings("one") == 2);
    proxy.resume(Way::ToClient);
    assert!(session.receive(SOON).unwrap().is_some());
    proxy.stall(Way::ToBroker);
    assert!(session.ping(Duration::from_millis(100)).is_err());
    assert_eq!(broker.look(|log| log.pings("one")), 2);
    proxy.resume(Way::ToBroker);
    assert!(session.receive(SOON).unwrap().is_some());
    for how in [Cut::Reset, Cut::Close] {
        proxy.cut(how);
        assert!(session.receive(SOON).is_err());
        session = Session::open(&options).unwrap();
    }
    proxy.cut_after(Way::ToBroker, 3);
    assert!(session.ping(SOON).is_ok());
    assert!(session.ping(SOON).is_err());
    proxy.wait_until("three cuts", SOON, |traffic| traffic.cuts == 3 && traffic.open == 0);
    assert_eq!(proxy.traffic().connections, 3);
    proxy.refuse();
    assert!(Session::open(&options).is_err());
    proxy.accept();
    let other = Broker::start();
    proxy.retarget(other.port());
    Session::open(&options).unwrap();
    assert_eq!(other.look(|log| log.connects("one")), 1);
    assert!(proxy.bytes(Way::ToClient) > 0);
}

#[test]
fn a_load_gets_through_a_proxy_that_cuts_at_random() {
    let broker = Broker::start();
    let proxy = Proxy::to(broker.port());
    proxy.cut_every(Duration::from_millis(20)..Duration::from_millis(60), seed());
    let publisher = Publisher::to(proxy.port()).sensors(4).readings(200).rate(2000.0);
    let running = publisher.start();
    proxy.wait_until("three cuts", SOON, |traffic| traffic.cuts >= 3);
    proxy.spare();
    let report = running.join(SOON);
    assert_eq!(report.total(), 800);
    assert!(report.reconnects >= 3);
}

#[test]
fn a_balance_is_read_and_checked() {
    let line = "received 50000 = delivered 49990 + dead-lettered 10 + shed 0 + held 0";
    let balance = Balance::parse(line).unwrap();
    assert_eq!((balance.received, balance.dead_lettered), (50_000, 10));
    assert!(balance.closes());
    assert!(!Balance { held: 1, ..balance }.closes());
    assert_eq!(Balance::parse("received nothing"), None);
}

#[test]
fn the_gateway_is_started_watched_and_ended() {
    let mut help = Gateway::bare().arg("--help").start();
    assert_eq!(help.wait_exit(SOON), 0);
    assert!(help.stdout().contains("check") && help.stderr().is_empty());
    let mut wrong = Gateway::command("check", "[unknown]\nkey = 1\n").start();
    assert_eq!(wrong.wait_exit(SOON), 64);
    assert!(wrong.said("unknown"), "{}", wrong.text());

    let broker = Broker::start();
    let collector = Collector::start(broker.port());
    let config = format!(
        "[broker]\nurl = \"{}\"\n[sensors.T.simulated]\ninterval = \"10ms\"\n",
        broker.url()
    );
    let launch = Gateway::with_config(&config).file("note.txt", "read me");
    let mut gateway = launch.env("SLUICEGATE__LOG__LEVEL", "debug").start();
    collector.wait_until("a batch", SOON, |all| !all.batches.is_empty());
    assert!(gateway.runs() && gateway.folder().join("note.txt").exists());
    assert!(gateway.memory() > 0 && gateway.memory_peak() >= gateway.memory());
    assert!(gateway.cpu() < SOON && gateway.config_path().exists());
    gateway.signal("TERM");
    gateway.wait_for_line("received ", SOON);
    let (code, balance) = gateway.wait_balance(SOON);
    assert_eq!((code, balance.closes(), balance.held), (0, true, 0));
    assert!(balance.received > 0 && gateway.count("received ") > 0);
}

#[test]
fn a_killed_gateway_ends_by_its_signal() {
    let broker = Broker::start();
    let config = format!("[broker]\nurl = \"{}\"\n[sensors.T.simulated]\n", broker.url());
    let mut gateway = Gateway::start(&config);
    broker.wait_until("it published", SOON, |log| log.count("gateway/batches") > 0);
    gateway.signal("KILL");
    assert_eq!(gateway.wait_exit(SOON), -9);
    assert_eq!(gateway.balance(), None);
    let gateway = Gateway::start(&config);
    let pid = gateway.pid();
    drop(gateway);
    let alive = || std::path::Path::new(&format!("/proc/{pid}")).exists();
    eventually("its process is gone", SOON, || !alive());
    let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn();
    kill(child.as_mut().unwrap().id(), "TERM");
    assert!(!child.unwrap().wait().unwrap().success());
}
