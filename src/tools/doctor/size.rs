//! The largest packet: whether a full batch passes.
//!
//! The limit in CONNACK is compared, and then a packet of that size is sent: a broker may drop what it has
//! acknowledged (Mosquitto's `message_size_limit`), or close the connection (3.1.1 cannot announce a limit),
//! which would happen again for every such batch. A small message follows each packet on the same topic. If
//! only that arrives, the packet was dropped.

use bytes::{Bytes, BytesMut};
use serde::Serialize;

use super::client::{Client, message};
use super::scene::{QUIET, Scene};
use super::verdict::{Finding, Software, grouped};
use crate::limits::RECORD_OVERHEAD_BYTES;
use crate::mqtt::Error;
use crate::mqtt::answer::Answer;
use crate::mqtt::outgoing;
use crate::mqtt::packet::Greeting;
use crate::mqtt::topic::Topic;
use crate::mqtt::topic_pattern::TopicPattern;
use crate::sink::message;

const CHECK: &str = "packet size";

/// Sizes that are tried to find the largest that passes, if the wanted one does not.
const TRIES: u32 = 6;

/// The smallest size that is tried.
const LEAST_BYTES: u32 = 1024;

/// The sizes of packets, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Sizes {
    /// A full batch.
    batch: u32,
    /// A batch with one record of the largest size.
    record: u32,
    /// Maximum Packet Size in CONNACK.
    announced: Option<u32>,
    /// The largest packet that was tried.
    tried: u32,
    /// The largest packet that arrived.
    passed: Option<u32>,
}

pub(super) async fn check(
    scene: &Scene<'_>,
    greeting: &Greeting,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    let Some(output) = scene.output() else {
        findings.push(Finding::skipped(CHECK, "no batches go to this broker"));
        return Ok(());
    };
    let (batch, record) = wanted(scene, &output.published());
    let announced = greeting.packet_bytes_max;
    let tried = batch.min(announced.unwrap_or(u32::MAX)).min(scene.probe.packet_bytes_max);
    let passed = largest(scene, tried).await?;
    let sizes = Sizes { batch, record, announced, tried, passed };
    findings.push(judge(&scene.software, &sizes).with(&sizes));
    Ok(())
}

/// Bytes of the packet of a full batch, and of one with a single record of the largest size.
fn wanted(scene: &Scene<'_>, topic: &TopicPattern) -> (u32, u32) {
    let plan = scene.plan;
    let around = plan.batch_overhead_bytes() + message::overhead_bytes(topic, &plan.gateway.id);
    let bytes = |inside: usize| u32::try_from(inside + around).unwrap_or(u32::MAX);
    let record = plan.queue.record_bytes_max.get() + RECORD_OVERHEAD_BYTES;
    (bytes(plan.batch.bytes_max.get()), bytes(record))
}

/// The largest packet up to `bytes` that passes.
async fn largest(scene: &Scene<'_>, bytes: u32) -> Result<Option<u32>, Error> {
    if passes(scene, bytes).await? {
        return Ok(Some(bytes));
    }
    let (mut passed, mut failed) = (None, bytes);
    for _ in 0..TRIES {
        let middle = u32::midpoint(passed.unwrap_or_default(), failed);
        if middle < LEAST_BYTES {
            break;
        }
        if passes(scene, middle).await? {
            passed = Some(middle);
        } else {
            failed = middle;
        }
    }
    Ok(passed)
}

/// Whether a packet of this size is accepted and arrives at a subscriber. An error if the broker is gone.
async fn passes(scene: &Scene<'_>, bytes: u32) -> Result<bool, Error> {
    let topic = scene.topic("size");
    let mut subscriber = scene.client("size-sub").await?;
    drop(subscriber.subscribe(topic.as_str(), 1).await?);
    let publisher = scene.client("size-pub").await?;
    let payload = payload(scene, &topic, bytes)?;
    let length = payload.len() as u64;
    let passed = match published(publisher, &topic, payload).await {
        // The broker may close the connection; it must accept the next one.
        Err(_) | Ok(Answer::Refused(_)) => false,
        // The first message that arrives is the packet, or the message behind it.
        Ok(_) => subscriber.message(QUIET * 3).await?.is_some_and(|it| it.bytes == length),
    };
    subscriber.close().await;
    Ok(passed)
}

/// Publishes it, and an empty message behind it.
async fn published(mut client: Client, topic: &Topic, payload: Bytes) -> Result<Answer, Error> {
    let answer = client.publish(topic, payload).await?;
    // If the connection is closed, no message follows.
    drop(client.publish(topic, Bytes::new()).await);
    client.close().await;
    Ok(answer)
}

/// A payload that makes a packet of `bytes`, or at most three bytes less.
fn payload(scene: &Scene<'_>, topic: &Topic, bytes: u32) -> Result<Bytes, Error> {
    let mut empty = BytesMut::new();
    outgoing::publish(&mut empty, scene.broker.version, 1, &message(topic, Bytes::new()))?;
    // The length field has one byte for an empty packet and up to four for this one.
    Ok(vec![b'.'; (bytes as usize).saturating_sub(empty.len() + 3)].into())
}

fn judge(software: &Software, sizes: &Sizes) -> Finding {
    let Sizes { batch, record, announced, tried, passed } = *sizes;
    let keys = format!("max_packet_size {batch} or more, message_size_limit 0");
    let change = software.change("let it take larger packets", &keys);
    let (batch_bytes, said) = (
        grouped(batch),
        match announced {
            Some(bytes) => format!("the broker says {} at most", grouped(bytes)),
            None => "the broker says no limit".into(),
        },
    );
    if passed != Some(tried) {
        let passes = passed.map_or("none".to_owned(), |it| format!("one of {}", grouped(it)));
        let text = format!(
            "a packet of {} bytes does not come through ({said}), {passes} does; a batch may have \
             {batch_bytes}: a larger one would never be delivered",
            grouped(tried)
        );
        return Finding::unfit(CHECK, text)
            .change(format!("{change}; or a smaller batch.bytes_max"));
    }
    if announced.is_some_and(|most| most < record) {
        let text = format!(
            "{said}, and a batch of one reading may have {} bytes: such readings would become dead \
             letters",
            grouped(record)
        );
        let own = "a smaller queue.record_bytes_max";
        return Finding::unfit(CHECK, text).change(format!("{change}; or {own}"));
    }
    if announced.is_some_and(|most| most < batch) {
        let text =
            format!("{said}, and a batch may have {batch_bytes} bytes: batches become smaller");
        return Finding::risky(CHECK, text)
            .change(format!("{change}; or a smaller batch.bytes_max"));
    }
    if tried < batch {
        let text = format!(
            "a packet of {} bytes comes through ({said}); a batch may have {batch_bytes}, which was \
             not tried",
            grouped(tried)
        );
        return Finding::fit(CHECK, text).change(format!("to try it: --packet-bytes-max {batch}"));
    }
    Finding::fit(CHECK, format!("a batch of {batch_bytes} bytes comes through; {said}"))
}

#[cfg(test)]
mod tests {
    use super::super::verdict::{CheckEnd, Fitness};
    use super::*;

    #[test]
    fn a_batch_must_fit_a_record_must_and_no_limit_may_be_kept_secret() {
        use Fitness::{Fit, Risky, Unfit};
        let (batch, record) = (262_900, 68_000);
        for (announced, tried, passed, verdict) in [
            (None, batch, Some(batch), Fit),
            (Some(1 << 20), batch, Some(batch), Fit),
            (Some(100_000), 100_000, Some(100_000), Risky),
            (Some(20_000), 20_000, Some(20_000), Unfit),
            (None, batch, Some(19_000), Unfit),
            (None, batch, None, Unfit),
            (Some(1 << 20), batch, Some(1024), Unfit),
            (None, 100_000, Some(100_000), Fit),
        ] {
            let sizes = Sizes { batch, record, announced, tried, passed };
            let finding = judge(&Software::Mosquitto(2, 0, 11), &sizes);
            assert_eq!(finding.outcome, CheckEnd::Judged(verdict), "{sizes:?}");
            let says = finding.change.is_some_and(|it| it.contains("max_packet_size"));
            assert_eq!(says, verdict != Fit, "{sizes:?}");
        }
    }
}
