//! What a broker with the limits that it comes with drops of a burst, by the window that the gateway asks
//! for: it keeps what is in flight, and a thousand messages behind it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audit::{Auditor, CountOnly};
use crate::broker::Mosquitto;
use crate::figures::{Figures, Spread, Target};
use crate::load::{Flow, Load, Pace, Publishers};
use crate::process::until_calm;
use crate::subject::Gateway;

const ROUNDS: usize = 3;
const READINGS: u64 = 100_000;

/// `None`: as it is unless set.
const WINDOWS: [Option<u16>; 4] = [Some(4096), None, Some(32_768), Some(65_535)];

/// Each window in turn.
pub(crate) fn measure(figures: &mut Figures) {
    let mut lost: [Spread; WINDOWS.len()] = Default::default();
    let mut peaks = 0.0_f64;
    for _ in 0..ROUNDS {
        for (window, lost) in WINDOWS.iter().zip(&mut lost) {
            until_calm();
            let (missing, peak) = round(*window);
            lost.add(100.0 * missing as f64 / READINGS as f64);
            peaks = peaks.max(peak);
        }
    }
    println!("{READINGS} readings of QoS 1 at once, percent that the broker dropped");
    for (window, lost) in WINDOWS.iter().zip(lost) {
        let name = window.map_or("unset".to_owned(), |window| window.to_string());
        println!("window_messages {name:>6}: {lost:.1}");
        let name = format!("burst at a stock broker, window {name}: lost there");
        figures.note(name, lost.median(), (1, "%"), Target::None);
    }
    figures.note("burst at a stock broker: peak memory", peaks, (1, "MB"), Target::None);
}

/// Readings that did not come out, and the gateway's peak memory in MB.
fn round(window: Option<u16>) -> (u64, f64) {
    let (broker, output) = (Mosquitto::stock(), Mosquitto::start());
    let flow = Arc::new(Flow::default());
    let auditor = Auditor::start(output.port, 1, &flow, CountOnly);
    let window = window.map_or(String::new(), |window| {
        // The largest is above what memory_max allows unless set.
        format!(
            "window_messages = {window}\n[queue]\nrecords_max = {window}\n\
             [gateway]\nmemory_max = \"1GiB\"\n"
        )
    });
    let mut gateway = Gateway::start(&format!(
        "[http]\nlisten = \"off\"\n[sensors.fleet.mqtt]\ntopic = \"sensors/{{sensor}}/reading\"\n\
         [output.broker]\n{}\n[broker]\n{}\n{window}",
        output.url(),
        broker.url()
    ));
    broker.until_subscribed("sensors/+/reading");
    let start = Instant::now() + Duration::from_millis(100);
    let load = Load {
        port: broker.port,
        qos: 1,
        pace: Pace::Flood,
        readings: READINGS,
        padding: 0,
        start,
    };
    Publishers::start(load, &flow).join();
    flow.until_quiet();
    let peak = gateway.process.memory_peak() as f64 / 1e6;
    let (status, balance) = gateway.drain();
    assert!(status.is_some_and(|it| it.success()), "{balance}");
    let CountOnly = auditor.finish();
    (READINGS - flow.got(), peak)
}
