//! Gaps in the sensors' own numbers: counted for each sensor and in total, and said.
//!
//! Only for entries with `counter`, and for payloads that number the messages of their node.

use crate::clock;
use crate::repeat::Repeated;
use crate::state::metrics::Metrics;
use crate::state::registry::Row;
use crate::state::series::Seen;
use crate::text;

/// Judges the numbers of an entry's sensors.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    said: Repeated,
}

impl Numbers {
    /// Counts messages that were lost before this one came to an entry, as its number says.
    pub(super) fn lost(&mut self, entry: &str, topic: &[u8], missing: u64, metrics: &Metrics) {
        if missing == 0 {
            return;
        }
        metrics.numbers_missing.add(missing);
        let Some(left_out) = self.said.due(clock::now().instant) else { return };
        tracing::warn!(
            entry,
            topic = text::from_bytes(topic),
            missing,
            total = metrics.numbers_still_missing(),
            left_out,
            "possible loss outside the gateway: numbers of a node's messages (seq) have not come"
        );
    }

    /// Judges the number of a reading; `repeated` where it may have come before.
    pub(super) fn judge(&mut self, row: &Row, number: u64, repeated: bool, metrics: &Metrics) {
        match row.number(number, repeated) {
            Seen::Next | Seen::Known => {}
            Seen::Late => metrics.numbers_late.one(),
            Seen::Missing(gap) => {
                metrics.numbers_missing.add(gap.end - gap.start);
                let Some(left_out) = self.said.due(clock::now().instant) else { return };
                tracing::warn!(
                    sensor = row.id(),
                    from = gap.start,
                    to = gap.end - 1,
                    of_sensor = row.numbers_missing(),
                    total = metrics.numbers_still_missing(),
                    left_out,
                    "possible loss outside the gateway: numbers of a sensor have not come"
                );
            }
        }
    }
}
