//! How many messages the broker keeps for a client that is away and whose session lives on: an outage of the
//! gateway needs that. Brokers bound it differently from the queue of a connected client.
//!
//! Subscribe, leave, publish as many as the capacity probe (by default 3,000 beyond the window: more than the
//! 1,000 that Mosquitto queues as installed), return, count what arrives. The broker's own counter is not used:
//! not every version counts these drops.

use serde::Serialize;

use super::capacity::{self, Arrived};
use super::client::Client;
use super::scene::Scene;
use super::verdict::{Finding, grouped};
use crate::mqtt::Error;

const CHECK: &str = "absence";

/// The client that is away. Its session is removed at the end.
pub(super) const WHO: &str = "absence-sub";

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Absence {
    /// CONNACK said that the session was present at the return.
    present: bool,
    /// Messages acknowledged to the publisher.
    taken: u32,
    /// Messages refused with a reason code.
    refused: u32,
    /// Different messages that arrived after the return.
    received: u32,
    message_bytes: u32,
}

impl Absence {
    /// Messages that were acknowledged to the publisher and did not arrive.
    pub(super) fn lost(&self) -> u32 {
        self.taken.saturating_sub(self.received)
    }
}

/// Makes a client be away, and counts.
pub(super) async fn check(
    scene: &Scene<'_>,
    findings: &mut Vec<Finding>,
) -> Result<Absence, Error> {
    let absence = measure(scene).await?;
    findings.push(judge(scene, &absence).with(&absence));
    Ok(absence)
}

async fn measure(scene: &Scene<'_>) -> Result<Absence, Error> {
    let topic = scene.topic("absence");
    let options = scene.options(WHO);
    // As long as the whole probe: a probe that is killed leaves its session no longer.
    let seconds = u32::try_from(scene.probe.within.as_secs()).unwrap_or(u32::MAX);
    let hello = scene.intake_hello(false, seconds);
    let mut client = Client::open(&options, &hello).await?;
    if let Err(reason) = client.subscribe(topic.as_str(), 1).await? {
        return Err(Error::SubscriptionRefused { filter: topic.to_string(), reason });
    }
    client.close().await;
    let count = capacity::count(scene);
    let message_bytes = scene.probe.message_bytes;
    let mut publisher = scene.client("absence-pub").await?;
    let sent = publisher.publish_numbers(&topic, 0..count, message_bytes as usize).await?;
    publisher.close().await;
    let mut client = Client::open(&options, &hello).await?;
    let present = client.greeting.session_present;
    let mut arrived = Arrived::new(count);
    if present {
        arrived.drain(&mut client, sent.taken).await?;
    }
    client.close().await;
    let (taken, refused, received) = (sent.taken, sent.refused, arrived.received());
    Ok(Absence { present, taken, refused, received, message_bytes })
}

fn judge(scene: &Scene<'_>, absence: &Absence) -> Finding {
    let Absence { present, received, message_bytes, .. } = *absence;
    let (taken, came) = (grouped(absence.taken), grouped(received));
    let refused = match absence.refused {
        0 => String::new(),
        refused => format!("; {} more were refused, and its publisher told", grouped(refused)),
    };
    if present && absence.lost() == 0 {
        let text = format!(
            "all {taken} messages of {message_bytes} bytes that were acknowledged to their publisher \
             while the subscriber was away came when it returned{refused}"
        );
        return Finding::fit(CHECK, text);
    }
    let general =
        "raise the number and the bytes of messages that are queued for a client that is away";
    let keys = "max_queued_messages 0, max_queued_bytes 1073741824 (what one client's messages may \
                take while it is away)";
    let mut change = scene.software.change(general, keys);
    let window = scene.window().map(u32::from);
    if scene.is_v5() && window.is_some_and(|window| window.abs_diff(received) <= 1) {
        let own = scene.key("window_messages");
        change = format!(
            "{change}; as many came as the subscriber's Receive Maximum ({own}) allows in flight: \
             where the broker goes by it, a larger one keeps more"
        );
    }
    let session = if present { "" } else { ": its session was gone" };
    let text = format!(
        "of {taken} messages of {message_bytes} bytes that were acknowledged to their publisher while \
         the subscriber was away, {came} came when it returned{session}{refused}: the others are lost"
    );
    let finding = if received == 0 && scene.role.input {
        Finding::unfit(CHECK, text)
    } else {
        Finding::risky(CHECK, text)
    };
    finding.change(change)
}

#[cfg(test)]
mod tests {
    use super::super::scene::{Role, with_scene};
    use super::super::verdict::{CheckEnd, Fitness, Software};
    use super::*;

    fn judged(absence: &Absence, software: Software) -> Finding {
        with_scene(Role { input: true, output: true }, |scene| {
            scene.software = software;
            judge(scene, absence)
        })
    }

    #[test]
    fn what_never_comes_is_lost_and_the_advice_fits_the_broker() {
        let mosquitto = || Software::Mosquitto(2, 0, 22);
        let all =
            Absence { present: true, taken: 7096, refused: 0, received: 7096, message_bytes: 64 };
        let outcome = |it: &Absence| judged(it, mosquitto()).outcome;
        assert_eq!(outcome(&all), CheckEnd::Judged(Fitness::Fit));
        let some = Absence { received: 1000, ..all.clone() };
        assert_eq!(outcome(&some), CheckEnd::Judged(Fitness::Risky));
        let none = Absence { received: 0, ..all.clone() };
        assert_eq!(outcome(&none), CheckEnd::Judged(Fitness::Unfit));
        let gone = Absence { present: false, received: 0, ..all.clone() };
        assert!(judged(&gone, mosquitto()).measured.contains("its session was gone"));
        let told = Absence { taken: 1000, refused: 6096, received: 1000, ..all };
        assert_eq!(outcome(&told), CheckEnd::Judged(Fitness::Fit));
        assert!(judged(&some, mosquitto()).change.unwrap().contains("max_queued_messages"));
        assert!(!judged(&some, Software::Other).change.unwrap().contains("max_queued"));
    }
}
