//! Whether more can be published: batches of readings and batches of dead letters have room of their own.

use super::Publisher;
use crate::limits::{DEAD_LETTER_BYTES_IN_FLIGHT_MAX, DEAD_LETTERS_IN_FLIGHT_MAX};
use crate::pipeline::flight::Flight;
use crate::pipeline::store::Store;

impl Publisher {
    /// Whether a batch of readings can be published now.
    pub fn has_room(&self) -> bool {
        self.has_room_in(self.window_has_room())
    }

    /// Whether a batch of dead letters can be published now.
    pub fn has_letter_room(&self) -> bool {
        self.has_room_in(self.window_has_letter_room())
    }

    fn has_room_in(&self, window: bool) -> bool {
        let ahead = self.store.as_ref().is_some_and(Store::is_ahead);
        let direct = !ahead && window;
        direct || self.store.as_ref().is_some_and(|it| it.is_used() && it.has_room())
    }

    pub(super) fn window_has_room(&self) -> bool {
        self.batches < usize::from(self.plan.output.window_batches.get()) && self.takes_more()
    }

    pub(super) fn window_has_letter_room(&self) -> bool {
        self.letters < DEAD_LETTERS_IN_FLIGHT_MAX
            && self.letter_bytes < DEAD_LETTER_BYTES_IN_FLIGHT_MAX
            && self.takes_more()
    }

    /// Room for what the spool brings, whichever it is.
    pub(super) fn window_has_room_for_any(&self) -> bool {
        self.window_has_room() && self.window_has_letter_room()
    }

    fn takes_more(&self) -> bool {
        let window_batches = usize::from(self.plan.output.window_batches.get());
        let span = self.oldest().map_or(0, |(oldest, _)| self.next - oldest);
        let span_max = (window_batches + DEAD_LETTERS_IN_FLIGHT_MAX) as u64;
        self.known
            && !self.outbox.holds_back()
            && span < span_max
            && self.window.len() - self.outbox.aside() < self.outbox.in_flight_max()
    }

    /// The oldest flight that others wait behind. A dead letter that is refused holds nothing back.
    pub(super) fn oldest(&self) -> Option<(u64, &Flight)> {
        self.window.iter().find(|(count, _)| !self.outbox.is_aside(*count))
    }
}
