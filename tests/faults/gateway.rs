//! What happens to the gateway itself: killed, stopped, replaced, its clock set back.

use std::fs;
use std::time::Duration;

use crate::faults::{Trial, UNCONFIRMED, WINDOW, begun};
use crate::scene::assert_readable;
use crate::support::gateway::Gateway;
use crate::support::proxy::Cut;
use crate::support::{SOON, eventually, pause, wall};

#[test]
fn kill_gateway() {
    Trial::new("gateway killed 20 times", 5000, 20 * (WINDOW + UNCONFIRMED)).run(|stage| {
        for _ in 0..20 {
            stage.wait(100..700);
            stage.kill_gateway();
        }
    });
}

#[test]
fn kill_gateway_while_the_output_is_away() {
    Trial::new("gateway killed 5 times, output away", 2500, 5 * (WINDOW + UNCONFIRMED)).run(
        |stage| {
            stage.to_sink.refuse();
            stage.to_sink.cut(Cut::Reset);
            for _ in 0..5 {
                stage.wait(200..900);
                stage.kill_gateway();
            }
            stage.to_sink.accept();
        },
    );
}

/// What is not settled is still at the broker.
#[test]
fn kill_gateway_without_a_spool() {
    let repeats_max = 20 * (WINDOW + UNCONFIRMED);
    let trial = Trial::new("gateway killed 20 times, no spool", 3000, repeats_max);
    trial.without_spool().run(|stage| {
        for _ in 0..20 {
            stage.wait(100..400);
            stage.kill_gateway();
        }
    });
}

#[test]
fn stop_gateway_in_turns() {
    Trial::new("gateway stopped 5 times", 2000, 0).run(|stage| {
        for _ in 0..5 {
            stage.wait(100..700);
            let peak = stage.gateway.memory_peak();
            drained_or_spooled(&mut stage.gateway);
            let next = begun(Gateway::with_config(&stage.config));
            stage.succeed(next, peak);
        }
    });
}

/// A stop that leaves nothing unsettled.
fn drained_or_spooled(gateway: &mut Gateway) {
    gateway.signal("TERM");
    let (code, balance) = gateway.wait_balance(SOON * 2);
    let text = gateway.text();
    assert!(code == 0 && balance.held == balance.spooled && balance.closes(), "{code}:\n{text}");
    assert_readable(&gateway.stderr());
}

/// One of them yields, and the other one is left alone. Mosquitto 2.0.11 tells neither what happened.
#[test]
fn second_gateway() {
    let repeats_max = 6 * (WINDOW + UNCONFIRMED);
    // Without a spool: what is in the one of who yields waits for its next run.
    let trial = Trial::new("a second gateway with the same id", 2500, repeats_max);
    trial.without_spool().contested().run(|stage| {
        stage.wait(300..800);
        let mut newer = begun(Gateway::with_config(&stage.config));
        eventually("one yields", SOON, || !stage.gateway.runs() || !newer.runs());
        if newer.runs() {
            std::mem::swap(&mut stage.gateway, &mut newer);
        }
        assert_eq!(newer.wait_exit(SOON), 64, "{}", newer.text());
        assert!(newer.said("give each gateway its own gateway.id"), "{}", newer.text());
        assert_readable(&newer.stderr());
        let connections =
            || stage.to_input.traffic().connections + stage.to_sink.traffic().connections;
        eventually("the other one is left alone", SOON, || {
            let before = connections();
            pause(Duration::from_secs(2));
            connections() == before
        });
    });
}

/// An hour back, with the output away, and a crash there; then an hour forward again.
#[test]
fn clock() {
    let folder = tempfile::tempdir().unwrap();
    let offset = folder.path().join("offset");
    let set = |text: &str| fs::write(&offset, text).unwrap();
    set("+0");
    let trial =
        Trial::new("clock set back 1 h, output away, gateway killed", 2500, WINDOW + UNCONFIRMED);
    let file = offset.clone();
    trial.launched(move |config| Gateway::with_config(config).with_clock_of(&file)).run(|stage| {
        stage.wait(200..500);
        set("-1h");
        stage.wait(200..500);
        stage.to_sink.refuse();
        stage.to_sink.cut(Cut::Reset);
        stage.gateway.wait_for_line("batches go to the spool", SOON);
        stage.wait(300..600);
        stage.kill_gateway();
        let started = stage.gateway.wait_for_line("sluicegate starts", SOON);
        let started = humantime::parse_rfc3339(started.split(' ').next().unwrap()).unwrap();
        let behind = wall().duration_since(started).unwrap();
        assert!(
            behind > Duration::from_mins(50),
            "not set back (apt-get install faketime): {behind:?}"
        );
        stage.wait(200..500);
        stage.to_sink.accept();
        stage.wait(300..600);
        set("+0");
        stage.wait(300..600);
    });
}
