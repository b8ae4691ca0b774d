//! What the sessions of the MQTT entries may hold: the bounds of each, and what they add up to.

use super::Plan;
use crate::limits::{
    ANSWERS_BYTES_LEAST, Budget, LARGE_BUFFERS_MAX, READ_AHEAD_BYTES, READ_BYTES,
    READING_OVERHEAD_BYTES, RECORD_OVERHEAD_BYTES, SENSOR_ID_BYTES_MAX, TOPIC_SHOWN_BYTES_MAX,
};
use crate::mqtt::frame::SKIPPED_BYTES_MAX;
use crate::mqtt::ledger::{self, all_blocked_max, blocked_max};
use crate::record::Record;
use crate::source;
use crate::source::mqtt::Bounds;
use crate::source::mqtt::desk::CHUNKS_MAX;

/// Records that an intake makes before it offers them to the queue; the other messages are read after that.
const CHUNK_RECORDS_MAX: usize = 2048;

/// Bytes of a message in a ledger, in lists that grow and in the map of a resumed session, and of its acknowledgement.
const LEDGER_ENTRY_BYTES: u64 = 112;

/// Bytes of the set of open packet ids of an intake: one bit for each, and one for each of QoS 2.
const OPEN_IDS_BYTES: u64 = 2 * 65_536 / 8;

/// Bytes of an acknowledgement that is remembered, in a buffer that grows and in the map of a resumed session.
const ACKNOWLEDGEMENT_BYTES: u64 = 96;

/// Bytes of a session beside its buffers and its ledger: its task, its entries and their subscriptions. Measured, with
/// four topics.
const SESSION_BYTES: u64 = 48 * 1024;

/// Bytes of a character of a text in JSON, at most.
const ESCAPED_MAX: usize = 6;

/// Bytes of a PUBACK.
const ACK_BYTES: usize = 4;

/// Bytes of a SUBSCRIBE beside its filter.
const SUBSCRIBE_BYTES: usize = 32;

impl Plan {
    /// Topics and ids that each intake remembers: together at most as many as there may be sensors.
    pub fn remembered_max(&self) -> usize {
        self.gateway.sensors_max.get() as usize / self.sessions().len().max(1)
    }

    /// Bytes of a large read buffer, which the intakes share.
    pub fn read_buffer_bytes(&self) -> usize {
        self.queue.record_bytes_max.get() + READ_AHEAD_BYTES
    }

    /// Acknowledgements that each intake remembers, in case they were lost with a connection: together twice as
    /// many as the queue has places.
    pub fn acknowledgements_max(&self) -> usize {
        2 * self.queue.records_max.get() as usize / self.sessions().len().max(1)
    }

    /// Receive Maximum of each intake: together at most the queue's places.
    pub fn window_each(&self) -> u16 {
        let intakes = u32::try_from(self.sessions().len().max(1)).unwrap_or(u32::MAX);
        let share = (self.queue.records_max.get() / intakes).max(1);
        self.broker.window().min(u16::try_from(share).unwrap_or(u16::MAX))
    }

    /// The bounds of each intake.
    pub fn intake_bounds(&self) -> Bounds {
        Bounds {
            window: self.window_each(),
            remembered_max: self.remembered_max(),
            acknowledgements_max: self.acknowledgements_max(),
            blocked_max: self.blocked_max(),
            answers_bytes_max: self.answers_bytes_max(),
            chunk_records_max: CHUNK_RECORDS_MAX,
            chunk_bytes_max: self.read_buffer_bytes(),
        }
    }

    /// Messages that may wait in each intake's ledger behind one that is not settled.
    pub fn blocked_max(&self) -> usize {
        blocked_max(self.acknowledgements_max(), self.sessions().len())
    }

    /// Bytes of answers that may wait on each intake's connection before it stops reading.
    pub fn answers_bytes_max(&self) -> usize {
        ANSWERS_BYTES_LEAST + ACK_BYTES * usize::from(self.window_each())
    }

    /// Whether an intake's window leaves enough packet ids to tell a repeated message, whose acknowledgement
    /// was lost, from a new one, at a broker that counts its packet ids up by one.
    pub fn recognises_repeats(&self) -> bool {
        ledger::recognises(self.window_each().into(), self.acknowledgements_max())
    }

    /// Adds what the ledgers hold.
    pub(super) fn add_unacknowledged(&self, budget: &mut Budget) {
        let intakes = self.sessions().len();
        // In the queue, on the way there, or settled and waiting.
        let blocked = all_blocked_max(self.acknowledgements_max(), intakes);
        let waiting = CHUNK_RECORDS_MAX + blocked;
        let entries = u64::from(self.queue.records_max.get()) + waiting as u64;
        let ids = intakes as u64 * OPEN_IDS_BYTES;
        budget.add("unacknowledged messages", entries * LEDGER_ENTRY_BYTES + ids);
        let remembered = (intakes * self.acknowledgements_max()) as u64;
        budget.add("acknowledgements remembered", remembered * ACKNOWLEDGEMENT_BYTES);
    }

    /// Adds what the connections hold, where what lies below MQTT takes `stream` bytes of each.
    pub(super) fn add_connections(&self, budget: &mut Budget, stream: u64) {
        let intakes = self.sessions().len() as u64;
        if intakes == 0 {
            return;
        }
        let filters = self.intakes().flat_map(|(_, it)| it.subscriptions());
        let subscribes: usize = filters.map(|it| it.len() + SUBSCRIBE_BYTES).sum();
        // A buffer that grows holds twice its content, and its old self while it moves.
        let answers = 3 * (intakes * self.answers_bytes_max() as u64 + subscribes as u64);
        let each = SESSION_BYTES + (READ_BYTES + SKIPPED_BYTES_MAX) as u64 + stream;
        let all = intakes * each + answers;
        let shown = all.div_ceil(intakes).div_ceil(1024);
        budget.add(format!("intake connections ({intakes} × {shown} KiB)"), all);
        let large = LARGE_BUFFERS_MAX as u64 * self.read_buffer_bytes() as u64;
        budget.add("what intake connections share", large + self.desk_bytes());
    }

    /// Bytes of the records that the intakes make before they offer them.
    fn desk_bytes(&self) -> u64 {
        let record_bytes_max = self.queue.record_bytes_max.get();
        let may_be_many = self
            .intakes()
            .any(|(name, _)| self.sensors.get(name).is_some_and(source::Kind::is_many));
        let readings = if may_be_many { self.queue.readings_max.get() as usize } else { 1 };
        let records = (CHUNK_RECORDS_MAX + readings) * size_of::<Record>();
        // A large buffer's content, and the last message: its readings have one topic.
        let message =
            ESCAPED_MAX * record_bytes_max + RECORD_OVERHEAD_BYTES + TOPIC_SHOWN_BYTES_MAX;
        let beside = readings * (SENSOR_ID_BYTES_MAX + READING_OVERHEAD_BYTES);
        let texts = self.read_buffer_bytes() + message + beside;
        let chunks = if self.queue.on_full.policy().is_some() { CHUNKS_MAX } else { 1 };
        // A buffer that grows holds twice its content, and its old self while it moves.
        (3 * chunks * (records + texts)) as u64 + source::Kind::message_bytes(readings)
    }
}

impl Bounds {
    /// Bytes that an intake with other bounds, which it was given when there were fewer, may hold beyond these.
    pub fn bytes_below(&self, other: &Self) -> u64 {
        let more = |of: fn(&Self) -> usize| of(other).saturating_sub(of(self)) as u64;
        more(|it| it.acknowledgements_max) * ACKNOWLEDGEMENT_BYTES
            + more(|it| it.blocked_max) * LEDGER_ENTRY_BYTES
            + 3 * more(|it| it.answers_bytes_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::options::BrokerUrl;

    /// With so many entries of four topics each at the broker of this address.
    fn house(url: &str, entries: usize) -> Plan {
        let mut plan = Plan::default();
        plan.broker.url = BrokerUrl::try_from(url.to_owned()).unwrap();
        for entry in 0..entries {
            let topics: Vec<String> = (0..4).map(|it| format!("house/{entry}/{it}")).collect();
            let kind = serde_json::json!({"mqtt": {"topics": topics}});
            plan.sensors.insert(format!("family-{entry}"), serde_json::from_value(kind).unwrap());
        }
        plan
    }

    #[test]
    fn a_further_entry_costs_little_however_many_there_are() {
        for (url, kibibytes) in [("mqtt://b", 256), ("mqtts://b", 448)] {
            let bound = |entries| house(url, entries).budget().total();
            for entries in 1..=100 {
                let more = bound(entries + 1) - bound(entries);
                assert!(more <= kibibytes << 10, "{url}, {entries}: {more} bytes more");
            }
            assert_eq!(house(url, 40).problems(), []);
            assert_eq!(house(url, 40).above_memory_max(), None);
        }
    }

    #[test]
    fn messages_of_several_readings_start_beside_a_spool_by_default() {
        for payload in ["json", "ndjson", "senml", "sparkplug_b"] {
            let mut plan = Plan {
                spool: serde_json::from_str(r#"{"path":"spool"}"#).unwrap(),
                ..Plan::default()
            };
            let kind = serde_json::json!({"mqtt": {"topic": "a", "payload": payload}});
            plan.sensors.insert("a".into(), serde_json::from_value(kind).unwrap());
            assert_eq!(plan.above_memory_max(), None, "{payload}");
        }
    }

    /// Of all entries only one at a time holds a message of several readings.
    #[test]
    fn entries_of_several_readings_share_what_their_messages_need() {
        let with = |payload: &str, entries: usize| {
            let mut plan = house("mqtt://b", 1);
            for entry in 0..entries {
                let kind = serde_json::json!({"mqtt": {"topic": format!("a/{entry}"), "payload": payload}});
                plan.sensors.insert(format!("a-{entry}"), serde_json::from_value(kind).unwrap());
            }
            plan.budget().total()
        };
        let more = |entries| with("ndjson", entries) - with("json", entries);
        assert!(more(1) > 1 << 20, "{}", more(1));
        assert!(more(41) < more(1) + (40 << 14), "{} {}", more(41), more(1));
    }
}
