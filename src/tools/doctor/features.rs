//! Retained messages and shared subscriptions. What CONNACK says is no proof, so each is tried.

use bytes::Bytes;
use serde::Serialize;

use super::client::Client;
use super::scene::{QUIET, Scene};
use super::verdict::Finding;
use crate::mqtt::Error;
use crate::mqtt::answer::Answer;
use crate::mqtt::packet::Greeting;
use crate::source::mqtt::Retained;

/// The topic of the retained message, below the prefix; it is deleted at the end.
pub(super) const RETAINED: &str = "retained";

/// Messages published to the shared subscription.
const SHARED_MESSAGES: u32 = 20;

/// Tries whether a later subscriber gets a retained message.
pub(super) async fn check_retained(
    scene: &Scene<'_>,
    greeting: &Greeting,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    let came =
        if greeting.features.retained { retained_came(scene).await? } else { Came::default() };
    let mut intakes = scene.plan.intakes();
    let needed = scene.role.input && intakes.any(|(_, it)| it.retained == Retained::Accept);
    findings.push(judge_retained(scene, greeting, &came, needed).with(&came));
    Ok(())
}

#[derive(Debug, Default, Serialize)]
struct Came {
    came: bool,
    marked: bool,
}

async fn retained_came(scene: &Scene<'_>) -> Result<Came, Error> {
    let topic = scene.topic(RETAINED);
    let mut publisher = scene.client("retained-pub").await?;
    let answer = publisher.publish_retained(&topic, Bytes::from_static(b"kept")).await?;
    publisher.close().await;
    if let Answer::Refused(_) = answer {
        return Ok(Came::default());
    }
    let mut client = scene.client("retained-sub").await?;
    drop(client.subscribe(topic.as_str(), 1).await?);
    let message = client.message(QUIET * 2).await?;
    client.close().await;
    Ok(Came { came: message.is_some(), marked: message.is_some_and(|it| it.retain) })
}

fn judge_retained(scene: &Scene<'_>, greeting: &Greeting, came: &Came, needed: bool) -> Finding {
    const CHECK: &str = "retained";
    let text = match (greeting.features.retained, came.came, came.marked) {
        (_, true, true) => {
            return Finding::fit(CHECK, "a retained message came to who subscribed later, marked");
        }
        (_, true, false) => "a retained message came, but not marked: it passes for a new reading",
        (true, false, _) => "a retained message did not come to who subscribed later",
        (false, ..) => "the broker says that it has no retained messages",
    };
    if !needed {
        return Finding::skipped(CHECK, format!("{text}; no setting needs it"));
    }
    let change = scene.software.change("switch retained messages on", "retain_available true");
    let own = "retained = \"skip\" at each sensor, if none publishes retained readings";
    Finding::risky(CHECK, text).change(format!("{change}; or {own}"))
}

#[derive(Debug, Default, Serialize)]
struct SharedGroup {
    refused: Option<String>,
    published: u32,
    one: u32,
    other: u32,
    /// Different messages that both got.
    distinct: u32,
}

/// Tries whether two clients of a group share the messages.
pub(super) async fn check_shared(
    scene: &Scene<'_>,
    greeting: &Greeting,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    let shared = if greeting.features.shared { share(scene).await? } else { unavailable() };
    let needed = scene.role.input && scene.plan.intakes().any(|(_, it)| it.group.is_some());
    findings.push(judge_shared(&shared, needed).with(&shared));
    Ok(())
}

fn unavailable() -> SharedGroup {
    SharedGroup {
        refused: Some("the broker says that it has none".into()),
        ..SharedGroup::default()
    }
}

async fn share(scene: &Scene<'_>) -> Result<SharedGroup, Error> {
    let topic = scene.topic("shared");
    let filter = format!("$share/sluicegate-doctor/{topic}");
    let mut one = scene.client("shared-one").await?;
    let mut other = scene.client("shared-other").await?;
    for client in [&mut one, &mut other] {
        if let Err(reason) = client.subscribe(&filter, 1).await? {
            return Ok(SharedGroup { refused: Some(reason), ..SharedGroup::default() });
        }
    }
    let mut publisher = scene.client("shared-pub").await?;
    let sent = publisher.publish_numbers(&topic, 0..SHARED_MESSAGES, 32).await?.taken;
    publisher.close().await;
    let (first, second) = tokio::try_join!(numbers(&mut one), numbers(&mut other))?;
    one.close().await;
    other.close().await;
    let all: std::collections::BTreeSet<u32> = first.iter().chain(&second).copied().collect();
    let count = |numbers: usize| u32::try_from(numbers).unwrap_or(u32::MAX);
    Ok(SharedGroup {
        refused: None,
        published: sent,
        one: count(first.len()),
        other: count(second.len()),
        distinct: count(all.len()),
    })
}

/// Reads and acknowledges all messages; returns their numbers.
async fn numbers(client: &mut Client) -> Result<Vec<u32>, Error> {
    let mut numbers = Vec::new();
    // A sensible broker sends no more than twice what was published.
    while numbers.len() < 2 * SHARED_MESSAGES as usize
        && let Some(message) = client.message(QUIET).await?
    {
        client.acknowledge(message.packet_id);
        numbers.extend(message.number());
    }
    Ok(numbers)
}

fn judge_shared(shared: &SharedGroup, needed: bool) -> Finding {
    const CHECK: &str = "sharing";
    let SharedGroup { refused, published, one, other, distinct } = shared;
    let text = match refused {
        Some(reason) => format!("a shared subscription is refused: {reason}"),
        None if one + other == *published && distinct == published => {
            let text =
                format!("{published} messages came to two clients of a group: {one} + {other}");
            return Finding::fit(CHECK, text);
        }
        None => format!(
            "shared subscriptions are granted and do not work: of {published} messages {one} came to \
             one client of the group and {other} to the other, {distinct} different ones in all"
        ),
    };
    if !needed {
        return Finding::skipped(CHECK, format!("{text}; no setting needs it"));
    }
    let change = "another broker or version, or sensors.<name>.mqtt without group and one gateway";
    Finding::unfit(CHECK, text).change(change)
}

#[cfg(test)]
mod tests {
    use super::super::verdict::{CheckEnd, Fitness};
    use super::*;

    #[test]
    fn sharing_means_each_message_once() {
        let shared = |one, other, distinct| {
            let shared = SharedGroup { refused: None, published: 20, one, other, distinct };
            (judge_shared(&shared, true).outcome, judge_shared(&shared, false).outcome)
        };
        let fit = CheckEnd::Judged(Fitness::Fit);
        let unfit = CheckEnd::Judged(Fitness::Unfit);
        let unneeded = CheckEnd::Skipped;
        assert_eq!(shared(10, 10, 20), (fit, fit));
        assert_eq!(shared(20, 0, 20), (fit, fit));
        assert_eq!(shared(20, 20, 20), (unfit, unneeded));
        assert_eq!(shared(0, 0, 0), (unfit, unneeded));
        assert_eq!(judge_shared(&unavailable(), true).outcome, unfit);
    }
}
