//! What several routes take: open batches beside the first one, and what is known of routes and sensors.

use super::Plan;
use crate::limits::{Budget, ROUTE_KEY_BYTES_MAX, ROUTES_REMEMBERED_MAX, TOPIC_MADE_BYTES_MAX};

/// Bytes of a route that is remembered, with what decides it, and what the allocator and the lists add.
const ROUTE_BYTES: u64 = (ROUTE_KEY_BYTES_MAX + TOPIC_MADE_BYTES_MAX + 128) as u64;

/// Bytes by which it is known of a sensor which open batch holds its records, in a list that grows.
const HOLDER_BYTES: u64 = 2 * size_of::<u64>() as u64;

impl Plan {
    /// Adds what several routes need: a batch of `batch` bytes that is open for each, what is known of `rows` sensors,
    /// and the routes that are remembered. With one route that is nothing.
    pub(super) fn add_routes(&self, budget: &mut Budget, rows: u64, batch: u64) {
        if !self.measure().is_one() {
            let further = self.batch.routes_max.get() as u64 - 1;
            // A buffer that grows holds twice its content.
            let batches = 2 * further * batch;
            let known = ROUTES_REMEMBERED_MAX as u64 * ROUTE_BYTES;
            let bytes = batches + rows * HOLDER_BYTES + known;
            budget.add("routes and their open batches (batch.routes_max)", bytes);
        }
    }

    /// Bytes that a batch's own route takes, with the topic that is made of it.
    pub(super) fn route_bytes(&self) -> usize {
        if self.measure().is_one() { 0 } else { 2 * TOPIC_MADE_BYTES_MAX }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_routes_are_paid_for_and_one_is_not() {
        let bytes = |topic: &str, routes_max: u16| {
            let mut plan = Plan::default();
            let sink = format!(r#"{{"mqtt":{{"topic":"{topic}"}}}}"#);
            plan.output.sink = serde_json::from_str(&sink).unwrap();
            plan.batch.routes_max = routes_max.try_into().unwrap();
            let mut budget = Budget::default();
            plan.add_routes(&mut budget, 10, 1000);
            budget.total()
        };
        assert_eq!(bytes("a", 16), 0);
        let known = ROUTES_REMEMBERED_MAX as u64 * ROUTE_BYTES + 160;
        assert_eq!(bytes("a/{sensor}", 1), known);
        assert_eq!(bytes("a/{sensor}", 16), known + 15 * 2000);
    }

    #[test]
    fn topics_that_readings_make_fit_into_the_default() {
        let mut plan = Plan::default();
        plan.sensors.insert("a".into(), serde_json::from_str(r#"{"mqtt":{"topic":"a"}}"#).unwrap());
        plan.output.sink = serde_json::from_str(r#"{"mqtt":{"topic":"x/{sensor}"}}"#).unwrap();
        assert_eq!(plan.above_memory_max(), None, "{}", plan.budget());
    }
}
