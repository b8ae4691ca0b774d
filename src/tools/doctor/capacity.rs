//! How many messages the broker holds for a client that does not acknowledge, and whether it drops the rest
//! although it acknowledges them to the publisher. Sends pings while nothing is acknowledged.
//!
//! One client acknowledges nothing while another publishes. The window is the number of messages that have
//! arrived when all are published. Then one message is acknowledged (Mosquitto before 2.0.13 sends twenty for
//! it), then all. A message that was acknowledged to the publisher and does not arrive was dropped.

use std::collections::VecDeque;

use serde::Serialize;

use super::client::{ANSWER_MAX, Client, INBOX_MAX, Message, Published, unpublished};
use super::scene::{QUIET, Scene};
use super::verdict::{Finding, Software, grouped};
use crate::mqtt::Error;
use crate::mqtt::options::Version;
use crate::mqtt::outgoing::Hello;

/// Pings sent while the window is full.
const PINGS: u32 = 3;

#[derive(Debug, Clone, Copy, Serialize)]
struct Asked {
    /// Unacknowledged messages that an intake asks for; `None` where the gateway only publishes.
    window: Option<u16>,
    /// CONNECT carried it as Receive Maximum (MQTT 5).
    is_said: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(super) struct Capacity {
    /// Messages acknowledged to the publisher.
    taken: u32,
    /// Messages refused with a reason code.
    refused: u32,
    /// Messages that arrived before any acknowledgement.
    in_flight: u32,
    /// Messages that arrived after one acknowledgement; `None` if none waited.
    released: Option<u32>,
    /// Different messages that arrived.
    received: u32,
    /// Messages that arrived after a later one.
    reordered: u32,
    message_bytes: u32,
    /// Pings answered while nothing was acknowledged.
    pings: u32,
    /// The slowest answer to a ping, in milliseconds.
    ping_millis: u64,
}

impl Capacity {
    /// Messages that were acknowledged to the publisher and did not arrive.
    pub(super) fn lost(&self) -> u32 {
        self.taken.saturating_sub(self.received)
    }
}

/// Fills the broker's queue for one client, and empties it.
pub(super) async fn check(
    scene: &Scene<'_>,
    findings: &mut Vec<Finding>,
) -> Result<Capacity, Error> {
    let capacity = measure(scene).await?;
    let is_v5 = scene.broker.version == Version::V5;
    let asked = Asked {
        window: if is_v5 { scene.window() } else { scene.window().map(|_| scene.broker.window()) },
        is_said: is_v5,
    };
    findings.push(judge_queue(&scene.software, &capacity).with(&capacity));
    findings.push(judge_window(scene, asked, &capacity));
    findings.push(judge_pings(&scene.software, &capacity));
    if capacity.reordered > 0 {
        let text = format!("{} messages came behind later ones", grouped(capacity.reordered));
        let change = "another broker or version: the order of a sensor's readings cannot be kept";
        findings.push(Finding::risky("order", text).change(change));
    }
    Ok(capacity)
}

/// The messages that have arrived.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    seen: Vec<bool>,
    received: u32,
    reordered: u32,
    next: u32,
    /// Messages that may still arrive: each twice, and [`INBOX_MAX`] foreign ones.
    left: usize,
    /// Packet ids that are not acknowledged.
    unacknowledged: VecDeque<u16>,
}

impl Arrived {
    pub(super) fn new(count: u32) -> Self {
        let left = 2 * count as usize + INBOX_MAX;
        Self { seen: vec![false; count as usize], left, ..Self::default() }
    }

    /// Different messages that have arrived.
    pub(super) fn received(&self) -> u32 {
        self.received
    }

    fn note(&mut self, message: &Message) -> Result<(), Error> {
        self.left = self.left.checked_sub(1).ok_or_else(unpublished)?;
        self.unacknowledged.push_back(message.packet_id);
        let Some(number) = message.number() else { return Ok(()) };
        let Some(seen) = self.seen.get_mut(number as usize) else { return Ok(()) };
        if !std::mem::replace(seen, true) {
            self.received += 1;
            self.reordered += u32::from(number < self.next);
            self.next = self.next.max(number + 1);
        }
        Ok(())
    }

    /// Reads all messages and acknowledges none. Returns only with an error.
    async fn withhold(&mut self, client: &mut Client) -> Error {
        loop {
            if let Err(error) = self.until_quiet(client).await {
                return error;
            }
        }
    }

    /// Reads messages until none arrives for [`QUIET`], and acknowledges none.
    async fn until_quiet(&mut self, client: &mut Client) -> Result<(), Error> {
        while let Some(message) = client.message(QUIET).await? {
            self.note(&message)?;
        }
        Ok(())
    }

    /// Acknowledges each message as it arrives, until all of `taken` have arrived or none arrives for
    /// [`QUIET`].
    pub(super) async fn drain(&mut self, client: &mut Client, taken: u32) -> Result<(), Error> {
        loop {
            for packet_id in self.unacknowledged.drain(..) {
                client.acknowledge(packet_id);
            }
            if self.received >= taken {
                return Ok(());
            }
            match client.message(QUIET * 2).await? {
                Some(message) => self.note(&message)?,
                None => return Ok(()),
            }
        }
    }
}

/// Messages of the probe: the window, and those beyond it.
pub(super) fn count(scene: &Scene<'_>) -> u32 {
    scene.probe.messages + u32::from(scene.window().unwrap_or_default())
}

async fn measure(scene: &Scene<'_>) -> Result<Capacity, Error> {
    let topic = scene.topic("capacity");
    let hello = Hello { session_expiry: None, ..scene.intake_hello(true, 0) };
    let mut subscriber = Client::open(&scene.options("capacity-sub"), &hello).await?;
    if let Err(reason) = subscriber.subscribe(topic.as_str(), 1).await? {
        return Err(Error::SubscriptionRefused { filter: topic.to_string(), reason });
    }
    let mut publisher = scene.client("capacity-pub").await?;
    let count = count(scene);
    let mut arrived = Arrived::new(count);
    let sent: Published = {
        let bytes = scene.probe.message_bytes as usize;
        tokio::select! {
            sent = publisher.publish_numbers(&topic, 0..count, bytes) => sent?,
            error = arrived.withhold(&mut subscriber) => return Err(error),
        }
    };
    publisher.close().await;
    arrived.until_quiet(&mut subscriber).await?;
    let taken = sent.taken;
    let mut capacity = Capacity {
        taken,
        refused: sent.refused,
        in_flight: arrived.received,
        message_bytes: scene.probe.message_bytes,
        ..Capacity::default()
    };
    for _ in 0..PINGS {
        let Some(answered) = subscriber.ping(ANSWER_MAX / 2).await? else { break };
        capacity.pings += 1;
        let millis = u64::try_from(answered.as_millis()).unwrap_or(u64::MAX);
        capacity.ping_millis = capacity.ping_millis.max(millis);
    }
    if arrived.received < taken
        && let Some(first) = arrived.unacknowledged.pop_front()
    {
        subscriber.acknowledge(first);
        arrived.until_quiet(&mut subscriber).await?;
        capacity.released = Some(arrived.received - capacity.in_flight);
    }
    arrived.drain(&mut subscriber, taken).await?;
    subscriber.close().await;
    (capacity.received, capacity.reordered) = (arrived.received, arrived.reordered);
    Ok(capacity)
}

fn judge_queue(software: &Software, capacity: &Capacity) -> Finding {
    const CHECK: &str = "capacity";
    let (in_flight, taken) = (grouped(capacity.in_flight), grouped(capacity.taken));
    let queued = grouped(capacity.received.saturating_sub(capacity.in_flight));
    let refused = match capacity.refused {
        0 => String::new(),
        refused => format!("; {} more were refused, and its publisher told", grouped(refused)),
    };
    if capacity.lost() == 0 {
        let text = format!(
            "{in_flight} in flight + {queued} queued for a client that does not acknowledge: all \
             {taken} of {} bytes came, none was dropped{refused}",
            capacity.message_bytes
        );
        return Finding::fit(CHECK, text);
    }
    let lost = grouped(capacity.lost());
    let text = format!(
        "{in_flight} in flight + {queued} queued for a client that does not acknowledge; of {taken} \
         messages acknowledged to their publisher the broker dropped {lost}{refused}"
    );
    let general = "raise the number and the bytes of messages that are queued for each client";
    let keys = "max_queued_messages 0, max_queued_bytes 1073741824 (what one client's messages may \
                take while it is away), max_inflight_messages 1000";
    Finding::risky(CHECK, text).change(software.change(general, keys))
}

fn judge_window(scene: &Scene<'_>, asked: Asked, capacity: &Capacity) -> Finding {
    const CHECK: &str = "window";
    let in_flight = capacity.in_flight;
    let came = grouped(in_flight);
    let is_full = in_flight < capacity.taken;
    let overrun = capacity.released.is_some_and(|released| released > 1);
    let finding = match asked.window {
        None => Finding::fit(CHECK, format!("{came} unacknowledged messages at a time, unasked")),
        Some(window) if asked.is_said && in_flight > u32::from(window) => {
            let text = format!("{came} unacknowledged messages came where {window} were asked for");
            let change = "another broker or version, or the smaller window; the gateway bears it";
            Finding::risky(CHECK, text).change(change)
        }
        Some(window) if is_full && in_flight < u32::from(window) => {
            let text = format!(
                "{came} unacknowledged messages at a time, where {} are asked for: the gateway waits \
                 for more than may come",
                grouped(window)
            );
            let key = format!("max_inflight_messages {window}");
            let change = scene.software.change("allow more", &key);
            let own = scene.key("window_messages");
            Finding::risky(CHECK, text).change(format!("{own} = {in_flight}; or {change}"))
        }
        Some(_) if !is_full => {
            Finding::fit(CHECK, format!("all {came} came unacknowledged: no bound up to there"))
        }
        Some(window) => {
            let wanted = if asked.is_said { "asked for" } else { "expected" };
            let window = grouped(window);
            Finding::fit(
                CHECK,
                format!("{came} unacknowledged messages at a time, {window} {wanted}"),
            )
        }
    };
    if !overrun {
        return finding;
    }
    let released = grouped(capacity.released.unwrap_or_default());
    let text = format!(
        "{}; one acknowledgement released {released} more, whatever else was unacknowledged: the \
         gateway bears it",
        finding.measured
    );
    let newer = if scene.software.overruns_windows() {
        "Mosquitto 2.0.13 or later"
    } else {
        "another version"
    };
    let change = format!("{newer} keeps to the window");
    let change = finding.change.clone().map_or(change.clone(), |it| format!("{it}; {change}"));
    Finding { measured: text, ..finding }.change(change)
}

fn judge_pings(software: &Software, capacity: &Capacity) -> Finding {
    const CHECK: &str = "keep-alive";
    let (answered, waiting) = (capacity.pings, grouped(capacity.in_flight));
    let text =
        format!("{answered} of {PINGS} pings answered with {waiting} messages unacknowledged");
    if answered < PINGS {
        let change = software.change(
            "another broker: this one stops answering while acknowledgements are withheld, and the \
             gateway withholds them while its output is away",
            "another version",
        );
        return Finding::unfit(CHECK, text).change(change);
    }
    Finding::fit(CHECK, format!("{text}, the slowest within {} ms", capacity.ping_millis + 1))
}

#[cfg(test)]
mod tests {
    use super::super::verdict::{CheckEnd, Fitness};
    use super::*;
    use proptest::prelude::*;

    fn capacity(taken: u32, in_flight: u32, received: u32) -> Capacity {
        let (message_bytes, pings) = (64, PINGS);
        Capacity { taken, in_flight, received, message_bytes, pings, ..Capacity::default() }
    }

    #[test]
    fn mosquittos_default_is_risky_with_its_numbers_and_keys() {
        let software = Software::Mosquitto(2, 0, 11);
        let finding = judge_queue(&software, &capacity(3020, 20, 1020));
        assert_eq!(finding.outcome, CheckEnd::Judged(Fitness::Risky));
        let text = "20 in flight + 1,000 queued for a client that does not acknowledge; of 3,020 \
                    messages acknowledged to their publisher the broker dropped 2,000";
        assert_eq!(finding.measured, text);
        let change = finding.change.unwrap();
        for key in ["max_queued_messages", "max_queued_bytes", "max_inflight_messages"] {
            assert!(change.contains(key), "{change}");
        }
    }

    #[test]
    fn what_is_refused_openly_is_not_lost() {
        let all = Capacity { refused: 2000, ..capacity(1020, 20, 1020) };
        let finding = judge_queue(&Software::Other, &all);
        assert_eq!(finding.outcome, CheckEnd::Judged(Fitness::Fit));
        assert!(finding.measured.contains("2,000 more were refused"), "{}", finding.measured);
    }

    #[test]
    fn an_unanswered_ping_is_unfit() {
        let mute = Capacity { pings: 1, ..capacity(3020, 20, 3020) };
        let finding = judge_pings(&Software::Other, &mute);
        assert_eq!(finding.outcome, CheckEnd::Judged(Fitness::Unfit));
        let finding = judge_pings(&Software::Other, &capacity(3020, 20, 3020));
        assert_eq!(finding.outcome, CheckEnd::Judged(Fitness::Fit));
    }

    #[test]
    fn a_tally_takes_no_more_than_there_can_be() {
        let mut arrived = Arrived::new(5);
        let head = b"9999999999".to_vec();
        let (topic, bytes) = (Vec::new(), 10);
        let message = Message { topic, head, bytes, dup: false, retain: false, packet_id: 1 };
        for _ in 0..10 + INBOX_MAX {
            arrived.note(&message).unwrap();
        }
        assert!(arrived.note(&message).is_err());
        assert_eq!(arrived.unacknowledged.len(), 10 + INBOX_MAX);
    }

    proptest! {
        #[test]
        fn the_tally_counts_each_message_once_and_sees_what_comes_late(
            numbers in prop::collection::vec(0_u32..50, 0..200),
        ) {
            let mut arrived = Arrived::new(50);
            for number in &numbers {
                let head = format!("{number:010}").into_bytes();
                let (topic, bytes) = (Vec::new(), 10);
                let message =
                    Message { topic, head, bytes, dup: false, retain: false, packet_id: 1 };
                arrived.note(&message).unwrap();
            }
            let distinct: std::collections::BTreeSet<_> = numbers.iter().collect();
            prop_assert_eq!(arrived.received as usize, distinct.len());
            let firsts: Vec<u32> = numbers.iter().enumerate()
                .filter(|(at, n)| !numbers[..*at].contains(n)).map(|(_, n)| *n).collect();
            let late = firsts.iter().enumerate()
                .filter(|(at, n)| firsts[..*at].iter().any(|before| before > n)).count();
            prop_assert_eq!(arrived.reordered as usize, late);
            prop_assert_eq!(arrived.unacknowledged.len(), numbers.len());
        }
    }
}
