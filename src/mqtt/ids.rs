//! How a broker chooses packet ids, as far as it can be told from those of new messages.
//!
//! One that takes the lowest free id, or the one freed last, shows it as soon as it has received an
//! acknowledgement: its next id is one of those before. A run of rising ids that is several windows
//! long cannot come from it, because no more than a window of them was ever in use.

/// What the ids of new messages have shown so far.
#[derive(Debug, Default)]
pub(super) struct Ids {
    last: Option<u16>,
    run: usize,
    fell: bool,
}

/// Windows that a run of rising ids must be long.
const RISING_WINDOWS: usize = 4;

/// Most that may be unacknowledged and remembered together: half of all ids.
pub(super) const IDS_TRUSTED_MAX: usize = 1 << 15;

impl Ids {
    /// Notes the id of a message that was not sent before.
    pub(super) fn fresh(&mut self, packet_id: u16) {
        // 65,535 is followed by 1.
        let rose = self.last.is_none_or(|last| {
            let step = (u32::from(packet_id) + 65_535 - u32::from(last)) % 65_535;
            (1..65_535 / 2).contains(&step)
        });
        self.last = Some(packet_id);
        self.run += 1;
        self.fell |= !rose;
    }

    /// Whether the broker counts up, so that it gives no id away that was in use of late: one of `window`
    /// that were at once, or of the `remembered` before them.
    pub(super) fn are_counted_up(&self, window: usize, remembered: usize) -> bool {
        let trusted = window + remembered <= IDS_TRUSTED_MAX;
        !self.fell && self.run > RISING_WINDOWS * window && trusted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(ids: impl Iterator<Item = u16>) -> Ids {
        let mut seen = Ids::default();
        ids.for_each(|id| seen.fresh(id));
        seen
    }

    #[test]
    fn only_a_long_rise_is_counting_up() {
        assert!(!after(1..=80).are_counted_up(20, 20), "may be what was free at first");
        assert!(after(1..=81).are_counted_up(20, 20));
        assert!(after((65_500..=65_535).chain(1..=60)).are_counted_up(20, 20), "and begins again");
        assert!(!after((1..=20).cycle().take(1000)).are_counted_up(20, 20), "the lowest free");
        assert!(
            !after((1..=65_535).cycle().take(200_000)).are_counted_up(20_000, 20_000),
            "too wide"
        );
    }
}
