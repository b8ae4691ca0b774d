//! A consumer of the gateway's batches that drops those that come again.
//!
//! ```text
//! cargo run --example consumer [HOST [PORT [TOPIC]]]
//! ```
//!
//! It prints each record as a line of JSON on standard output, and each batch that it dropped on standard
//! error. It stands on `rumqttc` and `serde_json` alone: nothing of the gateway is needed to read its batches.
//!
//! - A batch that comes again has the same id and the same bytes, so its id is enough. The ids of the last
//!   [`REMEMBERED_MAX`] batches are remembered, and the oldest is forgotten first. A batch that comes again
//!   after more others than that is taken twice. A gateway sends again what was not acknowledged
//!   (`output.window_batches`, 16, and as many again from a spool after a kill), so the limit is far away; it
//!   bounds the memory.
//! - What is sent again comes in its old order and before anything new. So each sensor's records stay in
//!   order when the second copy of a batch is dropped.
//! - A batch is acknowledged to the broker after its records were stored. If this program is killed in
//!   between, the batch comes again and is stored twice, because the ids are in memory only. Where that
//!   matters, store the records and the batch's id in one transaction, with the id as a unique key.

#![expect(clippy::print_stderr, reason = "who runs the example sees what is dropped")]

use std::collections::{HashSet, VecDeque};
use std::error::Error;
use std::io::Write;
use std::time::Duration;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Batches whose ids are remembered; some 100 bytes each.
const REMEMBERED_MAX: usize = 10_000;

/// Batches that the broker may send before the first of them is acknowledged.
const UNACKNOWLEDGED_MAX: u16 = 64;

/// Bytes of a batch's message; above `batch.bytes_max` of the gateway. The broker leaves out larger ones.
const MESSAGE_BYTES_MAX: u32 = 1 << 20;

/// Seconds that the broker keeps the session, and what waits in it, while we are away.
const SESSION_SECONDS: u32 = 86_400;

/// The ids of the last batches.
#[derive(Default)]
struct Seen {
    ids: HashSet<String>,
    oldest_first: VecDeque<String>,
}

impl Seen {
    fn has(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    fn remember(&mut self, id: String) {
        self.oldest_first.push_back(id.clone());
        self.ids.insert(id);
        if self.oldest_first.len() > REMEMBERED_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

/// A batch; records are left as they are.
#[derive(Deserialize)]
struct Batch<'a> {
    batch: String,
    #[serde(borrow)]
    records: Vec<&'a RawValue>,
}

/// The id and the records of a message. A bare array has its id beside it; `None`: it cannot be told.
fn read(message: &Publish) -> Result<(Option<String>, Vec<&RawValue>), serde_json::Error> {
    if message.payload.starts_with(b"[") {
        let beside = message.properties.iter().flat_map(|it| &it.user_properties);
        let id = beside.filter(|(name, _)| name == "batch").map(|(_, id)| id.clone()).next();
        return Ok((id, serde_json::from_slice(&message.payload)?));
    }
    let batch: Batch<'_> = serde_json::from_slice(&message.payload)?;
    Ok((Some(batch.batch), batch.records))
}

/// Here a database would be written.
fn store(records: &[&RawValue]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for record in records {
        writeln!(out, "{record}")?;
    }
    out.flush()
}

fn take(seen: &mut Seen, message: &Publish) -> std::io::Result<()> {
    let (id, records) = match read(message) {
        Ok(read) => read,
        Err(error) => {
            // It is acknowledged all the same: it would come again for ever.
            eprintln!("no batch on {:?}: {error}", message.topic);
            return Ok(());
        }
    };
    if let Some(id) = id.as_ref().filter(|id| seen.has(id)) {
        eprintln!("dropped {id}: it came again");
        return Ok(());
    }
    store(&records)?;
    if let Some(id) = id {
        seen.remember(id);
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let host = args.next().unwrap_or_else(|| "localhost".to_owned());
    let port = args.next().map_or(Ok(1883), |port| port.parse())?;
    let topic = args.next().unwrap_or_else(|| "gateway/batches".to_owned());

    let mut options = MqttOptions::new("consumer-rs", host, port);
    options.set_clean_start(false).set_session_expiry_interval(Some(SESSION_SECONDS));
    options.set_receive_maximum(Some(UNACKNOWLEDGED_MAX)).set_manual_acks(true);
    options.set_max_packet_size(Some(MESSAGE_BYTES_MAX));
    // Acknowledgements wait in the client's channel until it is polled again: it must hold all of them.
    let (client, mut connection) = AsyncClient::new(options, usize::from(UNACKNOWLEDGED_MAX) + 16);
    let mut seen = Seen::default();
    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    let mut stopping = false;
    loop {
        let event = tokio::select! {
            event = connection.poll() => event,
            _ = &mut stop, if !stopping => {
                // Behind the acknowledgements that wait in the channel.
                stopping = true;
                client.disconnect().await?;
                continue;
            }
        };
        match event {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                client.subscribe(&topic, QoS::AtLeastOnce).await?;
            }
            Ok(Event::Incoming(Packet::Publish(message))) if !stopping => {
                take(&mut seen, &message)?;
                client.ack(&message).await?;
            }
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return Ok(()),
            Ok(_) => {}
            Err(error) => {
                eprintln!("{error}; tried again in a second");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
