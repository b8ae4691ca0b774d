//! Checks whether a session lives on: subscribe, leave without acknowledging, publish meanwhile, return.

use std::time::Duration;

use serde::Serialize;

use super::client::{Client, Message};
use super::scene::{QUIET, Scene};
use super::verdict::Finding;
use crate::clock;
use crate::mqtt::Error;

const CHECK: &str = "session";

/// The client with the session, which is removed at the end.
pub(super) const WHO: &str = "session-sub";

/// Messages published before leaving, and as many while away.
const MESSAGES: u32 = 5;

/// The Session Expiry Interval: a probe that is killed leaves its session no longer.
const SESSION_SECONDS: u32 = 60;

/// Bytes of a message.
const BYTES: usize = 32;

/// The longest time after the return for a message to be resent: some brokers wait as if the old connection
/// could still acknowledge it (NATS: 30 s by default).
const LATE_MAX: Duration = Duration::from_secs(35);

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Resumed {
    present: bool,
    /// Unacknowledged messages that were resent.
    again: usize,
    /// Of these, those with DUP.
    dup: usize,
    /// Of these, those with their packet id.
    same_id: usize,
    /// Messages that arrived of those published while away.
    away: usize,
    in_order: bool,
    /// Seconds from the return to the last resent message, if some did not arrive at once.
    late_seconds: Option<u64>,
}

pub(super) async fn check(scene: &Scene<'_>, findings: &mut Vec<Finding>) -> Result<(), Error> {
    let resumed = measure(scene).await?;
    findings.push(judge(scene, &resumed).with(&resumed));
    Ok(())
}

async fn measure(scene: &Scene<'_>) -> Result<Resumed, Error> {
    let topic = scene.topic("session");
    let options = scene.options(WHO);
    let hello = scene.intake_hello(false, SESSION_SECONDS);
    let mut client = Client::open(&options, &hello).await?;
    if let Err(reason) = client.subscribe(topic.as_str(), 1).await? {
        let filter = topic.to_string();
        return Err(Error::SubscriptionRefused { filter, reason });
    }
    let mut publisher = scene.client("session-pub").await?;
    publisher.publish_numbers(&topic, 0..MESSAGES, BYTES).await?;
    let before = collect(&mut client, MESSAGES as usize, QUIET * 5, false).await?;
    // Cut as by a network fault: no DISCONNECT, no acknowledgement.
    drop(client);
    publisher.publish_numbers(&topic, MESSAGES..2 * MESSAGES, BYTES).await?;
    publisher.close().await;
    let mut client = Client::open(&options, &hello).await?;
    let present = client.greeting.session_present;
    let wanted = if present { 2 * MESSAGES as usize } else { 0 };
    let back = clock::now().instant;
    let mut after = collect(&mut client, wanted, QUIET * 2, true).await?;
    let mut late_seconds = None;
    while after.len() < wanted {
        let left = LATE_MAX.saturating_sub(clock::now().instant - back);
        let Some(message) = client.message(left).await? else { break };
        client.acknowledge(message.packet_id);
        after.push(message);
        late_seconds = Some((clock::now().instant - back).as_secs());
    }
    client.close().await;
    Ok(Resumed { late_seconds, ..compare(present, &before, &after) })
}

/// Reads this many messages, or until none arrives in this time.
async fn collect(
    client: &mut Client,
    count: usize,
    quiet: Duration,
    acknowledge: bool,
) -> Result<Vec<Message>, Error> {
    let mut messages = Vec::new();
    while messages.len() < count
        && let Some(message) = client.message(quiet).await?
    {
        if acknowledge {
            client.acknowledge(message.packet_id);
        }
        messages.push(message);
    }
    Ok(messages)
}

fn compare(present: bool, before: &[Message], after: &[Message]) -> Resumed {
    let is_before = |message: &&Message| message.number().is_some_and(|it| it < MESSAGES);
    let again: Vec<&Message> = after.iter().filter(is_before).collect();
    let numbers: Vec<_> = after.iter().map(Message::number).collect();
    let same = |message: &&&Message| {
        before.iter().any(|it| it.number() == message.number() && it.packet_id == message.packet_id)
    };
    Resumed {
        present,
        again: again.len(),
        dup: again.iter().filter(|it| it.dup).count(),
        same_id: again.iter().filter(same).count(),
        away: after.len() - again.len(),
        in_order: numbers.is_sorted(),
        late_seconds: None,
    }
}

fn judge(scene: &Scene<'_>, resumed: &Resumed) -> Finding {
    let Resumed { present, again, dup, away, in_order, .. } = *resumed;
    let all = MESSAGES as usize;
    let broken = |text: String| {
        // A client that only publishes needs no session; consumers of the batches do.
        if scene.role.input { Finding::unfit(CHECK, text) } else { Finding::risky(CHECK, text) }
    };
    let keep = || {
        let keys = "no persistent_client_expiration below 1d, and persistence true";
        scene.software.change("keep the sessions of clients that are away", keys)
    };
    if !present {
        let text = "the session was gone when its client returned: what was in flight or came \
                    meanwhile is lost";
        return broken(text.into()).change(keep());
    }
    if again < all || away < all {
        let text = format!(
            "the session was resumed without all that it held: {again} of {all} unacknowledged \
             messages came again, {away} of {all} that were published meanwhile"
        );
        return broken(text).change(keep());
    }
    if let Some(seconds) = resumed.late_seconds {
        let text = format!(
            "resumed, but the last unacknowledged messages came again only {seconds} s after the return: \
             behind newer ones of the same sensor, and a gateway that restarts waits for them"
        );
        let change = "a shorter time after which the broker sends again what is not acknowledged";
        return Finding::risky(CHECK, text).change(change);
    }
    if (1..all).contains(&dup) {
        let text = format!("resumed, but only {dup} of {all} repeated messages are marked as such");
        let change = "another broker or version: of one that marks some, an unmarked repeat is a new reading";
        return Finding::risky(CHECK, text).change(change);
    }
    if !in_order {
        let text = "resumed, but the messages come in another order than they were published";
        let change = "another broker or version: the order of a sensor's readings cannot be kept";
        return Finding::risky(CHECK, text).change(change);
    }
    let marked = if dup == 0 {
        "not marked, but known by packet id and content"
    } else {
        "marked as repeats"
    };
    let text = format!(
        "resumed: {again} of {all} unacknowledged messages came again, {marked}, and {away} of {all} that \
         were published meanwhile, in order"
    );
    Finding::fit(CHECK, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u32, packet_id: u16, dup: bool) -> Message {
        let head = format!("{number:010}").into_bytes();
        Message { topic: Vec::new(), head, bytes: 32, dup, retain: false, packet_id }
    }

    fn messages(numbers: impl IntoIterator<Item = u32>, dup: bool) -> Vec<Message> {
        numbers.into_iter().map(|n| message(n, u16::try_from(n).unwrap() + 1, dup)).collect()
    }

    #[test]
    fn repeats_order_and_packet_ids_are_seen() {
        let before = messages(0..5, false);
        let good = [messages(0..5, true), messages(5..10, false)].concat();
        let whole = Resumed {
            present: true,
            again: 5,
            dup: 5,
            same_id: 5,
            away: 5,
            in_order: true,
            late_seconds: None,
        };
        assert_eq!(compare(true, &before, &good), whole);
        let reversed = [messages((0..5).rev(), true), messages(5..10, false)].concat();
        let resumed = compare(true, &before, &reversed);
        assert_eq!(resumed, Resumed { in_order: false, ..whole.clone() });
        let part = compare(true, &before, &messages(3..8, false));
        assert_eq!((part.again, part.dup, part.away), (2, 0, 3));
        let other = [message(0, 9, true)];
        assert_eq!(compare(true, &before, &other).same_id, 0);
    }
}
