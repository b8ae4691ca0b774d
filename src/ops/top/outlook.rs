//! When the spool will be full, or empty, if it goes on like this: the same as the page's `outlook.js`.
//!
//! It is reckoned from the history: how many readings the spool holds at the end of each step of the last minute.

use serde_json::Value;

use super::state::moment;
use super::words::{duration, float, member, rows, whole};

/// Steps that are looked at.
const STEPS: usize = 13;

/// Nobody plans so far: a longer time is not said, in seconds.
const FAR: f64 = 30.0 * 86_400.0;

/// `full in about 2 h`, `empty in about 40 s`; nothing where it does not move, or nobody knows yet.
pub(super) fn outlook(status: &Value, steps: &[Value]) -> Option<String> {
    let limit = rows(status, "limits").iter().find(|it| member(it, "name") == "spool_bytes")?;
    let (value, max) = (float(whole(limit, "value")), float(whole(limit, "max")));
    let spooled = float(whole(member(status, "balance"), "spooled"));
    let newest = steps.iter().rev().take(STEPS);
    // What was before it began to fill says nothing of how fast it fills.
    let held = newest.take_while(|it| whole(it, "spooled") > 0);
    let held: Vec<_> = held
        .filter_map(|it| Some((float(moment(it)?) / 1000.0, float(whole(it, "spooled")))))
        .collect();
    let (last, first) = (held.first()?, held.last()?);
    let per_second = (last.1 - first.1) / (last.0 - first.0);
    let (word, left) = if per_second > 0.0 {
        ("full", (max / value * spooled - spooled) / per_second)
    } else {
        ("empty", spooled / -per_second)
    };
    let is_told = left > 0.0 && left < FAR;
    is_told.then(|| format!("{word} in about {}", duration(left.round().max(1.0))))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// `tests/page.rs` asks `outlook.js` the same.
    #[test]
    fn the_spool_is_full_or_empty_when_the_page_says_so() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/outlook.json");
        let cases: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let cases = cases.as_array().unwrap();
        assert!(cases.len() >= 9);
        for case in cases {
            let steps = case["steps"].as_array().unwrap();
            let told = outlook(&case["status"], steps).unwrap_or_default();
            assert_eq!(told, case["says"], "{}", case["case"]);
        }
    }
}
