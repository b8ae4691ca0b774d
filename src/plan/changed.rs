//! A plan beside the one that it comes in the place of.

use super::Plan;

impl Plan {
    /// Whether what is behind the queue is the same: batches and the output, and how long a stop waits for them.
    pub fn is_same_downstream(&self, other: &Self) -> bool {
        let grace = self.gateway.shutdown_grace == other.gateway.shutdown_grace;
        grace && self.batch == other.batch && self.output == other.output
    }

    /// Raises the limits behind the entries to those of the plan before it: what was begun with them is held for a while.
    pub fn hold_also(&mut self, before: &Self) {
        let (queue, old) = (&mut self.queue, &before.queue);
        queue.records_max = queue.records_max.max(old.records_max);
        queue.bytes_max = queue.bytes_max.max(old.bytes_max);
        queue.record_bytes_max = queue.record_bytes_max.max(old.record_bytes_max);
        queue.readings_max = queue.readings_max.max(old.readings_max);
        let (batch, old) = (&mut self.batch, &before.batch);
        batch.records_max = batch.records_max.max(old.records_max);
        batch.bytes_max = batch.bytes_max.max(old.bytes_max);
        batch.routes_max = batch.routes_max.max(old.routes_max);
        self.output.window_batches = self.output.window_batches.max(before.output.window_batches);
        // One after the other: the one that takes more.
        let mut other = self.clone();
        other.output.sink = before.output.sink.clone();
        if other.budget().total() > self.budget().total() {
            self.output.sink = other.output.sink;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(queue: serde_json::Value, batch: serde_json::Value, topic: &str) -> Plan {
        let (queue, batch) =
            (serde_json::from_value(queue).unwrap(), serde_json::from_value(batch).unwrap());
        let mut plan = Plan { queue, batch, ..Plan::default() };
        plan.output.sink = serde_json::from_value(json!({"mqtt": {"topic": topic}})).unwrap();
        plan
    }

    #[test]
    fn the_larger_limit_of_each_two_counts_for_a_while() {
        let small = json!({"records_max": 100, "bytes_max": 500_000, "readings_max": 10});
        let one = plan(small, json!({"records_max": 900, "routes_max": 2}), "a");
        let heavy = json!({"records_max": 50, "bytes_max": 9_000_000, "readings_max": 20});
        let batch = json!({"records_max": 10, "routes_max": 9});
        let two = plan(heavy, batch, "a/{sensor}");
        let [mut up, mut down] = [&one, &two].map(Plan::clone);
        up.hold_also(&two);
        down.hold_also(&one);
        assert_eq!(up, down, "in either direction");
        assert!(up.budget().total() >= one.budget().total().max(two.budget().total()));
        assert_eq!((up.queue.records_max.get(), up.queue.readings_max.get()), (100, 20));
        assert_eq!((up.batch.records_max.get(), up.batch.routes_max.get()), (900, 9));
        assert_eq!(up.output.sink, two.output.sink, "with its open batches");
        let mut same = one.clone();
        same.hold_also(&one);
        assert_eq!(same, one);
    }
}
