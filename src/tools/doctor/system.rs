//! The broker's own figures below `$SYS`: its version, and how many messages it has dropped.

use std::time::Duration;

use serde::Serialize;

use super::scene::{QUIET, Scene};
use super::verdict::{Finding, Software, grouped};
use crate::clock;
use crate::mqtt::Error;
use crate::mqtt::system::{DROPPED, QUEUE_ROOM, UPTIME, VERSION};

/// The longest wait for the values to be published again: Mosquitto does it every ten seconds unless
/// `sys_interval` says otherwise, and publishes the counter only when it has changed.
const TURN_MAX: Duration = Duration::from_secs(11);

/// How long after the uptime the counter may still arrive.
const TURN_LASTS: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(super) struct System {
    pub(super) version: Option<String>,
    /// Messages dropped since it started, for all clients. Mosquitto keeps the number for a minute
    /// after it has changed.
    pub(super) dropped: Option<u64>,
    /// The values were published while we were subscribed.
    pub(super) turned: bool,
}

impl System {
    /// The program of the broker.
    pub(super) fn software(&self) -> Software {
        self.version.as_deref().map_or(Software::Other, Software::of)
    }
}

/// Reads the retained values, which follow the SUBACK. The uptime is subscribed to last, so it arrives last: a
/// counter that has not arrived before it does not exist.
pub(super) async fn read(scene: &Scene<'_>) -> Result<System, Error> {
    watch(scene, "sys-before", QUIET, false).await
}

/// Waits until the values are published again.
pub(super) async fn read_next(scene: &Scene<'_>) -> Result<System, Error> {
    watch(scene, "sys-after", TURN_MAX, true).await
}

async fn watch(
    scene: &Scene<'_>,
    who: &str,
    within: Duration,
    next_turn: bool,
) -> Result<System, Error> {
    let mut client = scene.client(who).await?;
    let mut system = System::default();
    for topic in [VERSION, DROPPED, UPTIME] {
        if client.subscribe(topic, 0).await?.is_err() {
            client.close().await;
            return Ok(system);
        }
    }
    let mut end = clock::now().instant + within;
    let mut is_last = false;
    loop {
        let complete = system.version.is_some() && (system.dropped.is_some() || is_last);
        let left = end.saturating_duration_since(clock::now().instant);
        if (complete && !next_turn) || left.is_zero() {
            break;
        }
        let Some(message) = client.message(left).await? else { break };
        match message.topic.as_slice() {
            topic if topic == VERSION.as_bytes() => system.version = Some(message.text()),
            topic if topic == DROPPED.as_bytes() => system.dropped = message.text().parse().ok(),
            topic if topic == UPTIME.as_bytes() && message.retain => is_last = true,
            topic if topic == UPTIME.as_bytes() && !system.turned => {
                system.turned = true;
                end = clock::now().instant + TURN_LASTS;
            }
            _ => {}
        }
    }
    client.close().await;
    Ok(system)
}

/// The finding for the broker's version.
pub(super) fn judge_version(system: &System) -> Finding {
    const CHECK: &str = "software";
    let Some(version) = &system.version else {
        return Finding::skipped(CHECK, format!("{VERSION} is not readable"));
    };
    Finding::fit(CHECK, version.clone()).with(system)
}

#[derive(Debug, Serialize)]
struct Dropped {
    before: Option<u64>,
    after: u64,
    own: u32,
}

/// The finding for the counter of dropped messages, of which `own` are the probe's. A counter that moves is
/// believed, one that does not move is not: newer versions of Mosquitto do not count all drops.
pub(super) fn judge_dropped(before: &System, after: &System, own: u32) -> Finding {
    const CHECK: &str = "dropped";
    let (from, to) = (before.dropped.unwrap_or(0), after.dropped.or(before.dropped).unwrap_or(0));
    if after.turned && to.saturating_sub(from) < u64::from(own) {
        let text = format!(
            "{} messages of the probe were dropped, and the broker's count grew by {}: it does not count \
             all that it drops, and broker.watch cannot warn of it",
            grouped(own),
            grouped(to.saturating_sub(from))
        );
        let change =
            "let the sensors number their readings (payload.json.number): gaps are counted";
        let dropped = Dropped { before: before.dropped, after: to, own };
        return Finding::risky(CHECK, text).change(change).with(&dropped);
    }
    let Some(last) = after.dropped.or(before.dropped) else {
        if !after.turned {
            return Finding::skipped(CHECK, format!("{DROPPED} is not readable"));
        }
        let text =
            "the broker counts no message dropped during the probe, nor in the minute before";
        return Finding::fit(CHECK, text);
    };
    let dropped = Dropped { before: before.dropped, after: last, own };
    if last == 0 {
        return Finding::fit(CHECK, "the broker counts 0 dropped messages").with(&dropped);
    }
    let text = format!(
        "the broker counts {} dropped messages since it started, for all clients; {} are the probe's",
        grouped(last),
        grouped(own)
    );
    let change = "look for clients that are away or slow: its limits have been reached";
    let change = before.software().change(change, QUEUE_ROOM);
    Finding::risky(CHECK, text).change(change).with(&dropped)
}

#[cfg(test)]
mod tests {
    use super::super::verdict::{CheckEnd, Fitness};
    use super::*;

    #[test]
    fn any_drop_is_risky_and_no_counter_is_no_finding() {
        let outcome_of = |before, after, turned, own| {
            let before = System { dropped: before, ..System::default() };
            let after = System { dropped: after, turned, version: None };
            judge_dropped(&before, &after, own).outcome
        };
        let outcome = |before, after, turned| outcome_of(before, after, turned, 0);
        let (fit, risky) = (CheckEnd::Judged(Fitness::Fit), CheckEnd::Judged(Fitness::Risky));
        assert_eq!(outcome(Some(0), Some(0), true), fit);
        assert_eq!(outcome(Some(0), None, true), fit);
        assert_eq!(outcome(None, None, true), fit);
        assert_eq!(outcome(None, None, false), CheckEnd::Skipped);
        assert_eq!(outcome(None, Some(7), true), risky);
        assert_eq!(outcome(Some(7), Some(7), true), risky);
        assert_eq!(outcome(Some(7), None, false), risky);
        assert_eq!(
            outcome_of(Some(0), Some(0), true, 2000),
            risky,
            "it does not count the probe's"
        );
        assert_eq!(outcome_of(Some(0), None, true, 2000), risky);
        assert_eq!(outcome_of(None, None, false, 2000), CheckEnd::Skipped);
    }
}
