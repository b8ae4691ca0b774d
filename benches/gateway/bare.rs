//! The baseline: a bare rumqttc event loop (MQTT 5) that counts and does nothing else.
//!
//! It acknowledges at once, has no output, keeps no order and no books. It runs in a process of its
//! own (this program again, with [`FLAG`]), and writes its count after every [`STEP`] messages.

use std::io::Write;
use std::time::Duration;

use rumqttc::NetworkOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};

/// The argument that makes this program the baseline; a port and a QoS follow.
pub(crate) const FLAG: &str = "--bare-loop";

/// Messages between two reports.
pub(crate) const STEP: u64 = 1000;

/// Counts until it is killed.
pub(crate) fn count(port: u16, qos: u8) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(poll(port, qos));
}

async fn poll(port: u16, qos: u8) {
    let mut options = MqttOptions::new("bench-bare", "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(30));
    options.set_max_packet_size(Some(1 << 20));
    options.set_receive_maximum(Some(4096));
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    let (client, mut events) = AsyncClient::new(options, 4096 + 16);
    let qos = if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
    client.subscribe(crate::subject::READINGS, qos).await.unwrap();
    let mut out = std::io::stdout();
    let mut messages = 0;
    loop {
        if let Event::Incoming(Packet::Publish(_)) = events.poll().await.unwrap() {
            messages += 1;
            // One write, not one for each part of the line.
            if messages % STEP == 0 && out.write_all(format!("{messages}\n").as_bytes()).is_err() {
                return;
            }
        }
    }
}
