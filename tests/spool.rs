//! The spool: whatever plug is pulled, what was acknowledged to a sensor arrives.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::scene::{
    LONG, audit, drained, fault, fleet, letters, output, readings, report, subscribed,
    wait_readings,
};
use crate::support::SOON;
use crate::support::broker::Broker;
use crate::support::client::{Collector, Publisher};
use crate::support::gateway::Gateway;
use crate::support::http::Http;
use crate::support::mosquitto::{Mosquitto, NO_DROP};
use crate::support::proxy::{Proxy, Way};

/// A gateway with a spool in `folder` and its output at `sink`.
fn spooling(input: &str, sink: &str, folder: &Path, more: &[&str]) -> String {
    let own = [
        output(sink),
        format!("spool.path = \"{}\"", folder.display()),
        "spool.after = \"200ms\"".to_owned(),
        "batch.records_max = 50".to_owned(),
        "broker.window_messages = 500".to_owned(),
    ];
    let own = own.iter().map(String::as_str);
    fleet(input, &own.chain(more.iter().copied()).collect::<Vec<_>>())
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Waits until everything sent to a scripted input broker was acknowledged to it.
#[track_caller]
fn wait_acknowledged(input: &Broker, count: usize) {
    input.wait_until("everything is acknowledged", LONG, |log| log.acks("gw-in-fleet") >= count);
}

/// `tests/data/` has the spool of a program before records named their entry: five readings of each of two
/// sensors in batches of two, and a dead letter.
#[test]
fn a_spool_that_an_older_program_wrote_is_published() {
    let (input, sink, disk) = (Broker::start(), Broker::start(), folder());
    let old = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/spool-of-an-older-program.redb");
    fs::copy(old, disk.path().join("spool.redb")).unwrap();
    let config = spooling(&input.url(), &sink.url(), disk.path(), &[]);
    let mut gateway = Gateway::start(&config);
    wait_readings(&sink, 10, SOON);
    sink.wait_until("a dead letter", SOON, |log| letters(log).len() == 1);
    gateway.wait_for_line("the spool is empty", SOON);
    let balance = drained(&mut gateway);
    assert_eq!((balance.received, balance.delivered, balance.dead_lettered), (11, 10, 1));
    let verdict = audit(&sink).judge([("a", 5), ("b", 5)]);
    assert!(verdict.is_clean(), "{verdict:?}");
    assert_eq!(sink.look(letters)[0]["sensorId"], "bad");
}

#[test]
fn an_output_that_is_away_costs_the_sensors_nothing() {
    let (input, sink, disk) = (Broker::start(), Broker::start(), folder());
    let config = spooling(&input.url(), &sink.url(), disk.path(), &["queue.records_max = 600"]);
    let mut gateway = subscribed(&config);
    input.publish_all(readings(10, 1..=10, 1));
    wait_acknowledged(&input, 100);
    sink.go_away();
    // Far more than queue and window hold.
    input.publish_all(readings(10, 11..=1000, 1));
    wait_acknowledged(&input, 10_000);
    assert_eq!(gateway.count("batches go to the spool"), 1, "{}", gateway.text());
    sink.come_back();
    gateway.wait_for_line("the spool is empty", LONG);
    let balance = drained(&mut gateway);
    assert_eq!((balance.received, balance.delivered), (10_000, 10_000));
    audit(&sink).assert_exactly(10, 1000);
    assert_eq!(gateway.count("publishing from the spool"), 1, "{}", gateway.text());
}

#[test]
fn an_output_that_is_silent_is_as_good_as_away() {
    let (input, sink, disk) = (Broker::start(), Broker::start(), folder());
    let mut gateway = subscribed(&spooling(&input.url(), &sink.url(), disk.path(), &[]));
    sink.hold_acks("gw-out");
    input.publish_all(readings(10, 1..=300, 1));
    wait_acknowledged(&input, 3000);
    sink.resume_acks("gw-out");
    gateway.wait_for_line("the spool is empty", LONG);
    let name = "output takes and never answers";
    fault(name, 0, &mut gateway, || audit(&sink).judge_load(10, 300));
}

#[test]
fn a_stop_with_the_output_away_is_clean_and_the_next_run_delivers() {
    let (input, sink, disk) = (Broker::start(), Broker::start(), folder());
    let config = spooling(&input.url(), &sink.url(), disk.path(), &[]);
    let mut gateway = subscribed(&config);
    sink.go_away();
    input.publish_all(readings(5, 1..=100, 1));
    wait_acknowledged(&input, 500);
    gateway.signal("TERM");
    let (code, balance) = gateway.wait_balance(SOON);
    assert_eq!((code, balance.held, balance.spooled), (0, 500, 500), "{}", gateway.text());
    sink.come_back();
    let mut gateway = subscribed(&config);
    gateway.wait_for_line("published first", SOON);
    gateway.wait_for_line("the spool is empty", LONG);
    let balance = drained(&mut gateway);
    assert_eq!((balance.received, balance.delivered), (500, 500));
    audit(&sink).assert_exactly(5, 100);
}

#[test]
fn a_killed_gateway_has_what_it_acknowledged_on_disk() {
    let (input, sink, disk) = (Mosquitto::start(NO_DROP), Mosquitto::start(NO_DROP), folder());
    let proxy = Proxy::to(sink.port());
    let collector = Collector::start(sink.port());
    let config = spooling(&input.url(), &proxy.url(), disk.path(), &[]);
    let mut gateway = subscribed(&config);
    let load = Publisher::to(input.port()).sensors(20).readings(500).rate(5000.0).start();
    for kill in 1..=4 {
        load.wait_acknowledged(kill * 2000, LONG);
        // With the output's answers lost half of the time.
        if kill % 2 == 1 {
            proxy.stall(Way::ToClient);
            gateway.wait_for_line("batches go to the spool", SOON);
        }
        gateway.signal("KILL");
        gateway.wait_exit(SOON);
        proxy.resume(Way::ToClient);
        gateway = subscribed(&config);
    }
    assert_eq!(load.join(LONG).total(), 10_000);
    collector.wait_readings(10_000, LONG);
    drained(&mut gateway);
    let verdict = collector.audit().judge_load(20, 500);
    report(&format!("4 kills: {verdict:?}"));
    let faults = collector.audit().faults(500);
    assert_eq!((verdict.lost, verdict.reordered, verdict.strange), (0, 0, 0), "{faults}");
    // What was not acknowledged to the broker comes again: at most its window, each time.
    assert!(verdict.duplicated <= 4 * 500, "{verdict:?}");
}

#[test]
fn a_full_spool_makes_the_sensors_wait() {
    let (input, sink, disk) = (Broker::start(), Broker::start(), folder());
    let more = ["spool.bytes_max = \"16MiB\"", "queue.records_max = 600"];
    let mut gateway = subscribed(&spooling(&input.url(), &sink.url(), disk.path(), &more));
    sink.go_away();
    input.publish_all(readings(50, 1..=6000, 1));
    gateway.wait_for_line("the spool is filling up", LONG);
    gateway.wait_for_line("the spool is full", LONG);
    let acknowledged = input.look(|log| log.acks("gw-in-fleet"));
    assert!(acknowledged < 300_000, "{acknowledged}");
    sink.come_back();
    wait_acknowledged(&input, 300_000);
    gateway.wait_for_line("the spool is empty", LONG);
    fault("spool full", 0, &mut gateway, || audit(&sink).judge_load(50, 6000));
}

/// Other files have taken its disk before anything came.
#[test]
fn a_disk_without_room_from_the_start_is_said_once_and_nothing_is_lost() {
    let (input, sink, disk) = (Broker::start(), Broker::start(), folder());
    sink.go_away();
    let config = spooling(&input.url(), &sink.url(), disk.path(), &["queue.records_max = 600"]);
    // struct statfs: no block is free, none has a size.
    let inject = format!("inject=statfs,fstatfs:poke_exit=@arg2={}", "00".repeat(40));
    let mut gateway = Gateway::with_faulty_calls(&config, &inject).start();
    gateway.wait_for_line("subscribed", SOON);
    input.publish_all(readings(5, 1..=400, 1));
    gateway.wait_for_line("the spool is full: the disk of spool.path has 16 MiB", SOON);
    assert_eq!(input.look(|log| log.acks("gw-in-fleet")), 0);
    assert_eq!(gateway.count("the spool is full"), 1, "{}", gateway.text());
    sink.come_back();
    wait_acknowledged(&input, 2000);
    let name = "no room on the spool's disk, output away";
    fault(name, 0, &mut gateway, || audit(&sink).judge_load(5, 400));
}

#[test]
fn a_full_disk_is_said_once_and_waited_for() {
    let (input, sink, disk) = (Broker::start(), Broker::start(), folder());
    let config = spooling(&input.url(), &sink.url(), disk.path(), &["queue.records_max = 600"]);
    let mut gateway = Gateway::with_file_limit(&config, 4 * 2048).start();
    gateway.wait_for_line("subscribed", SOON);
    sink.go_away();
    input.publish_all(readings(50, 1..=2000, 1));
    gateway.wait_for_line("the spool's disk fails", LONG);
    let before = input.look(|log| log.acks("gw-in-fleet"));
    gateway.lift_file_limit();
    gateway.wait_for_line("the spool's disk works again", LONG);
    wait_acknowledged(&input, 100_000);
    assert!(before < 100_000, "{before}");
    assert_eq!(gateway.count("the spool's disk fails"), 1, "{}", gateway.text());
    sink.come_back();
    gateway.wait_for_line("the spool is empty", LONG);
    let name = "spool's disk full, output away";
    fault(name, 0, &mut gateway, || audit(&sink).judge_load(50, 2000));
}

/// Somebody tidies up. The gateway is killed after that, so that only the disk can tell.
#[test]
fn a_spool_whose_folder_is_deleted_is_written_anew() {
    let (input, sink, disk) = (Broker::start(), Broker::start(), folder());
    let spool = disk.path().join("spool");
    let config = spooling(&input.url(), &sink.url(), &spool, &[]);
    let mut gateway = subscribed(&config);
    sink.go_away();
    input.publish_all(readings(5, 1..=100, 1));
    wait_acknowledged(&input, 500);
    fs::remove_dir_all(&spool).unwrap();
    input.publish_all(readings(5, 101..=200, 1));
    wait_acknowledged(&input, 1000);
    let line = gateway.wait_for_line("was deleted or moved while in use", SOON);
    assert!(line.contains("ERROR") && line.contains("spool.redb"), "{line}");
    gateway.signal("KILL");
    gateway.wait_exit(SOON);
    sink.come_back();
    let mut gateway = subscribed(&config);
    gateway.wait_for_line("published first", SOON);
    gateway.wait_for_line("the spool is empty", LONG);
    let name = "spool's folder deleted, output away";
    fault(name, 0, &mut gateway, || audit(&sink).judge_load(5, 200));
}

#[test]
fn a_stop_after_the_spool_was_deleted_leaves_it_to_the_next_run() {
    let (input, sink, disk) = (Broker::start(), Broker::start(), folder());
    let config = spooling(&input.url(), &sink.url(), disk.path(), &[]);
    let mut gateway = subscribed(&config);
    sink.go_away();
    input.publish_all(readings(5, 1..=100, 1));
    wait_acknowledged(&input, 500);
    fs::remove_file(disk.path().join("spool.redb")).unwrap();
    gateway.signal("TERM");
    let (code, balance) = gateway.wait_balance(SOON);
    assert_eq!((code, balance.spooled), (0, 500), "{}", gateway.text());
    sink.come_back();
    let mut gateway = subscribed(&config);
    gateway.wait_for_line("the spool is empty", LONG);
    assert_eq!(drained(&mut gateway).delivered, 500);
    audit(&sink).assert_exactly(5, 100);
}

/// What was acknowledged before is still published; what comes is not acknowledged.
#[test]
fn a_spool_whose_place_is_taken_acknowledges_nothing_more() {
    let (input, sink, disk) = (Broker::start(), Broker::start(), folder());
    let spool = disk.path().join("spool");
    let more = ["gateway.shutdown_grace = \"2s\""];
    let config = spooling(&input.url(), &sink.url(), &spool, &more);
    let taken = |and_back: bool| {
        let mut gateway = subscribed(&config);
        let before = input.look(|log| log.acks("gw-in-fleet"));
        sink.go_away();
        input.publish_all(readings(5, 1..=100, 1));
        wait_acknowledged(&input, before + 500);
        fs::remove_dir_all(&spool).unwrap();
        fs::write(&spool, "somebody's").unwrap();
        input.publish_all(readings(5, 101..=110, 1));
        gateway.wait_for_line("move away what is there, and make the folder writable", SOON);
        gateway.wait_for_line("degraded: the spool fails: ", SOON);
        assert_eq!(input.look(|log| log.acks("gw-in-fleet")), before + 500);
        if and_back {
            sink.come_back();
            wait_acknowledged(&input, before + 550);
        }
        gateway.signal("TERM");
        let ended = gateway.wait_balance(SOON);
        fs::remove_file(&spool).unwrap();
        (ended, gateway)
    };
    let ((code, balance), gateway) = taken(true);
    assert_eq!((code, balance.delivered, balance.held), (0, 550, 0), "{}", gateway.text());
    let ((code, balance), gateway) = taken(false);
    assert_eq!((code, balance.held, balance.spooled), (74, 550, 0), "{}", gateway.text());
    assert!(gateway.said("the next run will not find what the spool held"), "{}", gateway.text());
}

#[test]
fn a_spool_that_cannot_be_used_is_named_with_the_remedy() {
    let (broker, disk) = (Broker::start(), folder());
    let config = |folder: &Path| spooling(&broker.url(), &broker.url(), folder, &[]);
    let file = disk.path().join("file");
    fs::write(&file, "no folder").unwrap();
    let foreign = disk.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("spool.redb"), "something else entirely\n".repeat(1000)).unwrap();
    let newer = disk.path().join("newer");
    drained(&mut subscribed(&config(&newer)));
    raise_format(&newer.join("spool.redb"));
    // No one may write there, not even root.
    let forbidden = PathBuf::from("/proc/sluicegate");
    for (folder, says) in [
        (&file, "not a folder"),
        (&foreign, "spool.redb"),
        (&newer, "run the newer version until it is empty, or set another spool.path"),
        (&forbidden, "/proc/sluicegate"),
    ] {
        let mut gateway = Gateway::start(&config(folder));
        assert_eq!(gateway.wait_exit(SOON), 74, "{}", gateway.text());
        assert!(gateway.said(says), "{}", gateway.text());
    }
    let used = disk.path().join("used");
    let mut first = subscribed(&config(&used));
    let mut second = Gateway::start(&config(&used));
    assert_eq!(second.wait_exit(SOON), 74, "{}", second.text());
    drained(&mut first);
}

/// A gateway that is killed with its output away and 500 readings in its spool.
fn killed_with_500_in_the_spool(config: &str, (input, sink): (&Broker, &Broker)) {
    let mut gateway = subscribed(config);
    sink.go_away();
    input.publish_all(readings(5, 1..=100, 1));
    wait_acknowledged(input, 500);
    gateway.signal("KILL");
    gateway.wait_exit(SOON);
}

/// Makes a spool one of a later version's.
fn raise_format(file: &Path) {
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    let spool = redb::Database::open(file).unwrap();
    let change = spool.begin_write().unwrap();
    change.open_table(meta).unwrap().insert("format", 1000).unwrap();
    change.commit().unwrap();
}

/// Each read of its disk takes 0.3 s.
#[test]
fn a_spool_that_takes_long_to_check_is_said_and_a_start_can_be_stopped() {
    let (input, sink, disk) = (Broker::start(), Broker::start(), folder());
    let config = spooling(&input.url(), &sink.url(), disk.path(), &[]);
    killed_with_500_in_the_spool(&config, (&input, &sink));
    let slow = Gateway::with_faulty_calls(&config, "inject=pread64:delay_enter=300ms");
    let mut slow = slow.env("SLUICEGATE__HTTP__LISTEN", "127.0.0.1:0").start();
    slow.wait_for_line("checking what the spool holds: nothing flows before", SOON);
    let reason = Http::of(&slow).wait_health("starting", SOON);
    assert_eq!(reason, "what the spool holds is being checked");
    assert!(!slow.said("connected"), "{}", slow.text());
    slow.signal("TERM");
    assert_eq!(slow.wait_exit(SOON), 0, "{}", slow.text());
    sink.come_back();
    let mut gateway = subscribed(&config);
    gateway.wait_for_line("the spool is empty", SOON);
    assert_eq!(drained(&mut gateway).delivered, 500);
    audit(&sink).assert_exactly(5, 100);
}

#[test]
fn a_damaged_spool_is_set_aside_and_the_gateway_starts() {
    let (input, sink, disk) = (Broker::start(), Broker::start(), folder());
    let config = spooling(&input.url(), &sink.url(), disk.path(), &[]);
    killed_with_500_in_the_spool(&config, (&input, &sink));
    let file = disk.path().join("spool.redb");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes.iter_mut().skip(64).take(middle).for_each(|byte| *byte ^= 0x5a);
    fs::write(&file, bytes).unwrap();
    sink.come_back();
    let mut gateway = subscribed(&config);
    gateway.wait_for_line("set aside", SOON);
    input.publish_all(readings(5, 101..=120, 1));
    wait_acknowledged(&input, 600);
    drained(&mut gateway);
    let aside = fs::read_dir(disk.path()).unwrap().filter_map(Result::ok);
    let aside = aside.filter(|it| it.file_name().to_string_lossy().starts_with("spool.corrupt"));
    assert_eq!(aside.count(), 1);
}
