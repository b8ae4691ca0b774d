//! What works and will surprise: settings that cannot do what they are there for.

use super::Plan;
use crate::queue::OnFull;

impl Plan {
    /// What `check` and a start warn of: key and remedy.
    pub fn warnings(&self) -> Vec<(&'static str, String)> {
        self.shedding_without_choice().map(|text| ("queue.on_full", text)).into_iter().collect()
    }

    /// A policy that chooses what to lose does so among the records that wait. Those that the
    /// window and the open batch hold are past it, and hold their places; when they can be all of
    /// them, what came first is kept whatever the policy says.
    fn shedding_without_choice(&self) -> Option<String> {
        let policy = match self.queue.on_full {
            OnFull::Wait | OnFull::ShedNewest => return None,
            OnFull::ShedOldest => "shed_oldest",
            OnFull::KeepLatest => "keep_latest",
        };
        let (records, batch) = (self.queue.records_max.get(), self.batch.records_max.get());
        let window = self.output.window_batches.get();
        // The window, the open batch, and as many that wait.
        let least = u64::from(batch) * (u64::from(window) + 2);
        if u64::from(records) >= least {
            return None;
        }
        let in_flight = least - u64::from(batch);
        Some(format!(
            "\"{policy}\" chooses among readings that wait, but up to {in_flight} can be in \
             flight (batch.records_max {batch} \u{d7} (output.window_batches {window} + 1)) and \
             queue.records_max is {records}: when the output stops, the oldest are kept; raise \
             queue.records_max to {least} or more, or lower the others"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_cannot_choose_is_warned_of_with_the_numbers() {
        let mut plan = Plan::default();
        assert!(plan.warnings().is_empty(), "the default waits");
        for policy in [OnFull::ShedOldest, OnFull::KeepLatest] {
            plan.queue.on_full = policy;
            plan.queue.records_max = 8999.try_into().unwrap();
            let warnings = plan.warnings();
            let text = &warnings.first().unwrap().1;
            for word in ["8500", "8999", "9000 or more", "output.window_batches 16"] {
                assert!(text.contains(word), "{text}");
            }
            plan.queue.records_max = 9000.try_into().unwrap();
            assert!(plan.warnings().is_empty(), "{policy:?}");
        }
    }
}
