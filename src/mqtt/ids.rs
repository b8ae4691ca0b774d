//! How a broker chooses packet ids, as far as it can be told from those of new messages.
//!
//! One that takes the lowest free id, or the one freed last, shows it as soon as it has received an
//! acknowledgement: its next id is one of those before. A run of rising ids that is several windows
//! long cannot come from it, because no more than a window of them was ever in use.
//!
//! One that counts up need not count by one: its counter may serve other clients, too. With steps of
//! up to `s` an id comes back after 65,535 / `s` messages at the earliest, so that is how far back the
//! ids say anything. Half of it is relied on: the other half is for steps that nobody has seen yet.

/// What the ids of new messages have shown so far.
#[derive(Debug, Default)]
pub(super) struct Ids {
    last: Option<u16>,
    run: usize,
    fell: bool,
    /// The largest step seen.
    step_max: usize,
}

/// Windows that a run of rising ids must be long.
const RISING_WINDOWS: usize = 4;

/// Most that may be unacknowledged and remembered together, of a broker that counts by one: half of all
/// ids.
pub(super) const IDS_TRUSTED_MAX: usize = 1 << 15;

impl Ids {
    /// Notes the id of a message that was not sent before.
    pub(super) fn fresh(&mut self, packet_id: u16) {
        let step = self.step_to(packet_id);
        self.fell |= step.is_none();
        self.run += 1;
        self.went(packet_id, step.unwrap_or_default());
    }

    /// Notes the id of a message that was sent before and has not come: it is one that the broker gave
    /// away on a connection that broke, if it lies ahead.
    pub(super) fn sent_before(&mut self, packet_id: u16) {
        if let Some(step) = self.step_to(packet_id) {
            self.went(packet_id, step);
        }
    }

    /// How far an id lies ahead; 65,535 is followed by 1. `None` where it lies behind.
    fn step_to(&self, packet_id: u16) -> Option<usize> {
        let Some(last) = self.last else { return Some(0) };
        let step = (usize::from(packet_id) + 65_535 - usize::from(last)) % 65_535;
        (1..65_535 / 2).contains(&step).then_some(step)
    }

    fn went(&mut self, packet_id: u16, step: usize) {
        self.last = Some(packet_id);
        self.step_max = self.step_max.max(step);
    }

    /// Of how many messages before those that are in use, at most `window`, the broker has given no id
    /// away again.
    pub(super) fn trusted(&self, window: usize) -> usize {
        let counts_up = !self.fell && self.run > RISING_WINDOWS * window;
        let proved = IDS_TRUSTED_MAX / self.step_max.max(1);
        if counts_up { proved.saturating_sub(window) } else { 0 }
    }
}

/// A set of packet ids: a bit for each, made when the first one comes.
#[derive(Debug, Default)]
pub(super) struct OpenIds(Vec<u64>);

impl OpenIds {
    pub(super) fn has(&self, id: u16) -> bool {
        self.0.get(usize::from(id >> 6)).is_some_and(|bits| bits & (1 << (id & 63)) != 0)
    }

    pub(super) fn insert(&mut self, id: u16) {
        if self.0.is_empty() {
            self.0.resize(1 << 10, 0);
        }
        if let Some(bits) = self.0.get_mut(usize::from(id >> 6)) {
            *bits |= 1 << (id & 63);
        }
    }

    pub(super) fn remove(&mut self, id: u16) {
        if let Some(bits) = self.0.get_mut(usize::from(id >> 6)) {
            *bits &= !(1 << (id & 63));
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.fill(0);
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
        let trusts = |ids: Ids| ids.trusted(20) > 0;
        assert!(!trusts(after(1..=80)), "may be what was free at first");
        assert!(trusts(after(1..=81)));
        assert!(trusts(after((65_500..=65_535).chain(1..=60))), "and begins again");
        assert!(!trusts(after((1..=20).cycle().take(1000))), "the lowest free");
        assert!(!trusts(after((7..=7).cycle().take(1000))), "the one freed last");
    }

    #[test]
    fn the_largest_step_says_how_far_back_ids_can_be_trusted() {
        let by = |step: usize| after((1..=65_535).step_by(step).cycle().take(500));
        assert_eq!(by(1).trusted(20), IDS_TRUSTED_MAX - 20);
        assert_eq!(by(50).trusted(20), IDS_TRUSTED_MAX / 50 - 20);
        assert_eq!(by(2000).trusted(20), 0, "all may have come back");
        let mut seldom = after(1..=200);
        seldom.fresh(250);
        seldom.fresh(251);
        assert_eq!(seldom.trusted(20), IDS_TRUSTED_MAX / 50 - 20);
        assert_eq!(
            after((1..=65_535).cycle().take(200_000)).trusted(IDS_TRUSTED_MAX),
            0,
            "too wide"
        );
    }

    #[test]
    fn what_was_lost_with_a_connection_and_comes_again_is_no_wide_step() {
        let mut ids = after(1..=200);
        for id in [150, 201, 202, 203, 204] {
            ids.sent_before(id);
        }
        ids.fresh(205);
        assert_eq!(ids.trusted(20), IDS_TRUSTED_MAX - 20);
    }

    #[test]
    fn each_id_is_open_by_itself() {
        let mut open = OpenIds::default();
        assert!(!open.has(1));
        for id in [1, 2, 64, 65_535] {
            open.insert(id);
        }
        open.remove(2);
        let among = [1, 2, 3, 63, 64, 65, 65_535].map(|id| open.has(id));
        assert_eq!(among, [true, false, false, false, true, false, true]);
        open.clear();
        assert!(!open.has(1) && !open.has(65_535));
    }
}
