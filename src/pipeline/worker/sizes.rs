//! A reading that cannot travel as one: larger than what the output broker takes in one packet, or nothing that
//! the output's format writes.

use super::{Next, Worker};
use crate::clock::Now;
use crate::clock::Timestamp;
use crate::codec::Head;
use crate::pipeline::content::Content;
use crate::record::{Body, Reason};
use crate::sealed::Sealed;

impl Worker {
    /// Adapts the batch's size to what the broker takes.
    pub(super) fn fit(&mut self) {
        let known = (self.publisher.bytes_max(), self.publisher.batch_bytes_max());
        if self.fitted.replace(known) == Some(known) {
            return;
        }
        let room = |dead_letters: bool| {
            let sent = self.measure.overhead_bytes(&self.plan.gateway.id, dead_letters);
            let overhead = sent + self.plan.batch_overhead_bytes();
            known.0.map(|max| max.saturating_sub(overhead))
        };
        let dead_letters_room = room(true).unwrap_or(usize::MAX);
        self.fits = room(false);
        let all = self.plan.batch.bytes_max.get();
        let bytes_max = all.min(self.fits.unwrap_or(usize::MAX)).min(known.1);
        self.open.fit(bytes_max);
        self.dead_letters.fit(known.0, bytes_max.min(dead_letters_room));
    }

    /// Whether the record that was written fits into a batch of its own: the bound that batches keep
    /// to leaves room for the longest id and count.
    pub(super) fn travels_alone(&self, now: Now) -> bool {
        let Some((Some(bytes_max), _)) = self.fitted else { return true };
        // The open batch may be sealed before it.
        let batch = format!("{}-{}", self.batch_prefix, self.batches + 2);
        let gateway = &self.plan.gateway.id;
        let head = Head { gateway, batch: &batch, sealed_at: now.wall, count: 1 };
        let (format, record) = (self.plan.output.format, self.open.written());
        let route = self.open.route().clone();
        let alone = Sealed::readings(&head, route, format, record, [].into(), Vec::new());
        self.measure.takes(&alone, bytes_max)
    }

    /// Makes a dead letter of a reading that the broker does not take even alone. False where it does not
    /// take that either.
    pub(super) fn make_oversize_dead_letter(&mut self, next: &Next<'_>, bytes: usize) -> bool {
        let max = self.fitted.and_then(|it| it.0).unwrap_or(usize::MAX);
        let detail =
            format!("{bytes} bytes as a record; the output broker takes packets of {max} bytes");
        let (origin, content) = (next.origin(), content_of(next, Reason::Oversize, &detail));
        let fits = self.dead_letters.can_take(&origin, content);
        if fits {
            self.dead_letters.take(origin, content);
        }
        fits
    }

    /// Makes a dead letter of a reading that the format refuses, or that has no route: no other broker or batch would
    /// mend that.
    pub(super) fn make_unwritable_dead_letter(&mut self, next: &Next<'_>, what: &str) {
        self.dead_letters.take(next.origin(), content_of(next, Reason::Format, what));
    }

    /// Makes a dead letter of a reading that waited for longer than its sender says that it is of use.
    pub(super) fn make_expired_dead_letter(&mut self, next: &Next<'_>, at: Timestamp) {
        let detail = format!("it expired at {at}, before a batch took it");
        self.dead_letters.take(next.origin(), content_of(next, Reason::Expired, &detail));
    }
}

/// The dead letter of a reading: it shows the value.
fn content_of<'a>(next: &Next<'a>, reason: Reason, detail: &'a str) -> Content<'a> {
    let Next { chunk, record, .. } = *next;
    let value = match record.body {
        Body::Reading { value, .. } => value,
        Body::Unreadable { payload, .. } => payload,
    };
    let [id, topic, payload] = [record.id, record.topic, value].map(|it| chunk.text(it));
    Content { reason, detail: detail.as_bytes(), id, topic, payload }
}
