//! What routes take: open batches beside the first one.

use crate::limits::{Budget, ROUTES_OPEN_MAX};

/// Routes of all records: each goes to the output.
pub(super) const ROUTES: usize = 1;

/// Bytes by which it is known of a sensor which open batch holds its records, in a list that grows.
const HOLDER_BYTES: u64 = 2 * size_of::<u64>() as u64;

/// Adds what further routes need: a batch of `batch` bytes that is open for each, as far as so many may be open,
/// and what is known of `rows` sensors. With one route that is nothing.
pub(super) fn add(budget: &mut Budget, routes: usize, rows: u64, batch: u64) {
    let further = routes.min(ROUTES_OPEN_MAX).saturating_sub(1) as u64;
    if further > 0 {
        // A buffer that grows holds twice its content.
        let batches = 2 * further * batch;
        budget.add("open batches of further routes", batches + rows * HOLDER_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_batches_are_paid_for_as_far_as_they_may_be_open() {
        let bytes = |routes| {
            let mut budget = Budget::default();
            add(&mut budget, routes, 10, 1000);
            budget.total()
        };
        assert_eq!(bytes(1), 0);
        assert_eq!(bytes(2), 2000 + 160);
        assert_eq!(bytes(3) - bytes(2), 2000);
        assert_eq!(bytes(ROUTES_OPEN_MAX), bytes(10_000));
    }
}
