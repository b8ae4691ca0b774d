//! The far side of the sink: what has come, under which ids and in which order.

use std::collections::{BTreeMap, BTreeSet};

use super::values::{message, said};
use crate::mqtt::outgoing::Outgoing;

#[derive(Debug, Default)]
pub(super) struct Output {
    /// Batch ids under which each reading came.
    pub(super) ids: BTreeMap<u32, BTreeSet<String>>,
    /// The first arrival of each reading, by sensor.
    pub(super) order: [Vec<u32>; 3],
}

impl Output {
    pub(super) fn take(&mut self, publication: &Outgoing) {
        let json: serde_json::Value = serde_json::from_slice(&publication.payload).unwrap();
        let id = json.get("batch").and_then(|it| it.as_str()).unwrap_or("letter").to_owned();
        for value in values(&json) {
            let first = !self.ids.contains_key(&value);
            self.ids.entry(value).or_default().insert(id.clone());
            if first && id != "letter" {
                self.order[message(value) as usize % 3].push(value);
            }
        }
    }

    /// Whether all readings of a message have come.
    pub(super) fn has(&self, value: u32) -> bool {
        said(value).all(|says| self.ids.contains_key(&says))
    }
}

/// The values of a batch, or of dead letters.
fn values(json: &serde_json::Value) -> Vec<u32> {
    if let Some(letters) = json.as_array() {
        return letters.iter().flat_map(values).collect();
    }
    let number = |it: &serde_json::Value| u32::try_from(it.as_u64().unwrap()).unwrap();
    match json["records"].as_array() {
        Some(records) => records.iter().map(|it| number(&it["value"])).collect(),
        None => vec![letter(json["payload"].as_str().unwrap())],
    }
}

/// The value in a dead letter: of rubbish, or of a record that was too large.
fn letter(payload: &str) -> u32 {
    let (_, value) = payload.split_once("\"value\":").unwrap_or(("", payload));
    let mut digits = value.trim_start_matches(['"', '{']).split(|c: char| !c.is_ascii_digit());
    digits.next().unwrap().parse().unwrap()
}
