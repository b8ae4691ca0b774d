//! A batch that the broker took while nobody subscribed to its topic (PUBACK 0x10, MQTT 5 §3.4.2.1): by the
//! standard it is delivered, and in fact it is gone.
//!
//! With `output.without_subscriber = "hold"` it goes the way of one that was refused: kept, tried again
//! after a pause, one at a time. But it is no refusal for good, and never ends the gateway: a consumer may
//! come later. Dead letters are told to whoever listens: none are held, or one of them would stop its
//! session where nobody cares for them.

use super::Publisher;
use crate::clock::Now;
use crate::plan::WithoutSubscriber;
use crate::sink::Number;

/// What is said of a publication that counts as delivered all the same.
const GONE: &str = "delivered, but nobody subscribes to the topic, and what is published there is gone: start its \
                    consumer, with a session that is kept (output.without_subscriber = \"hold\" keeps batches)";

impl Publisher {
    /// Counts and says that nobody subscribes to the topic of a publication. Whether it is held for that.
    pub(super) fn nobody_listens(&mut self, now: Now, number: Number) -> bool {
        let Some(flight) = self.window.get(number.count) else { return false };
        let Some(sealed) = flight.parts().get(number.part) else { return false };
        let output = &self.plan.output;
        // A part of a batch may have become a dead letter of its own.
        let is_batch = !sealed.is_letters();
        let holds = is_batch && output.without_subscriber == WithoutSubscriber::Hold;
        let topic = self.measure.destination(sealed);
        self.books.metrics.batches_without_subscriber.add(u64::from(is_batch));
        if holds {
            self.books.gauges.nobody_subscribes(topic, now.instant);
            self.outbox.refused(now, number, false);
            // The topic may be written.
            self.refused_since = None;
        }
        if let Some(left_out) = self.nobody.due(now.instant) {
            if holds {
                tracing::error!(
                    topic,
                    left_out,
                    "nobody subscribes to the topic: its batches are held, and tried again until somebody \
                     does (output.without_subscriber = \"hold\")"
                );
            } else {
                tracing::warn!(topic, left_out, "{GONE}");
            }
        }
        holds
    }
}
