//! Keys of a mapping as they were written in version 0.1: inside `payload.json` and `payload.ndjson`.
//!
//! They are read for one version more, as if they stood in the entry, and a warning names the new place.

use serde_json::{Map, Value, json};

/// Old keys and new ones.
const KEYS: [(&str, &str); 4] =
    [("value", "value"), ("timestamp", "timestamp"), ("sensor", "sensor"), ("number", "counter")];

/// Moves the old keys of all entries to their new places; says which. One whose new place is taken stays, and is
/// refused as unknown.
pub(super) fn raise(tree: &mut Value) -> Vec<(String, String)> {
    let mut moved = Vec::new();
    let sensors = tree.get_mut("sensors").and_then(Value::as_object_mut);
    for (name, kinds) in sensors.into_iter().flatten() {
        for (kind, entry) in kinds.as_object_mut().into_iter().flatten() {
            let Some(entry) = entry.as_object_mut() else { continue };
            for codec in ["json", "ndjson"] {
                moved.extend(raise_entry(&format!("sensors.{name}.{kind}"), entry, codec));
            }
        }
    }
    moved
}

fn raise_entry(path: &str, entry: &mut Map<String, Value>, codec: &str) -> Vec<(String, String)> {
    let mut moved = Vec::new();
    for (old, new) in KEYS {
        let is_taken = entry.contains_key(new);
        let names_sensor =
            entry.get("topic").and_then(Value::as_str).is_some_and(|it| it.contains("{sensor}"));
        let options = entry.get_mut("payload").and_then(|it| it.get_mut(codec));
        let Some(options) = options.and_then(Value::as_object_mut).filter(|_| !is_taken) else {
            continue;
        };
        let Some(value) = options.remove(old) else { continue };
        moved.push((
            format!("{path}.payload.{codec}.{old}"),
            format!("has moved: write {new} in [{path}] itself; the old place is read in this version only"),
        ));
        match (old, value) {
            // The topic's name went before it.
            ("sensor", _) if names_sensor => {}
            // Without one, the entry's name stood.
            ("sensor", Value::String(pointer)) => {
                entry.insert(new.into(), json!([pointer, "{entry}"]));
            }
            (_, value) => {
                entry.insert(new.into(), value);
            }
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_last_version_move_to_their_new_places_and_mean_the_same() {
        let mut tree = json!({"sensors": {
            "a": {"mqtt": {"topic": "t", "payload": {"json": {
                "value": "/v", "timestamp": "/t", "sensor": "/s", "number": "/n",
            }}}},
            "b": {"exec": {"command": ["x"], "payload": {"ndjson": {"value": "/v"}}, "value": "/w"}},
            "c": {"mqtt": {"topic": "c/{sensor}", "payload": {"json": {"sensor": "/s"}}}},
            "d": {"simulated": {}}, "e": 7, "f": {"mqtt": {"payload": "json"}},
        }});
        let said = raise(&mut tree);
        let expected = json!({"sensors": {
            "a": {"mqtt": {
                "topic": "t", "payload": {"json": {}},
                "value": "/v", "timestamp": "/t", "sensor": ["/s", "{entry}"], "counter": "/n",
            }},
            "b": {"exec": {"command": ["x"], "payload": {"ndjson": {"value": "/v"}}, "value": "/w"}},
            "c": {"mqtt": {"topic": "c/{sensor}", "payload": {"json": {}}}},
            "d": {"simulated": {}}, "e": 7, "f": {"mqtt": {"payload": "json"}},
        }});
        assert_eq!(tree, expected);
        assert_eq!(said.len(), 5);
        assert_eq!(said[3].0, "sensors.a.mqtt.payload.json.number");
        assert!(
            said[3].1.starts_with("has moved: write counter in [sensors.a.mqtt] itself"),
            "{}",
            said[3].1
        );
    }
}
