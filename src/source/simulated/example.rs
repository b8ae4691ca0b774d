//! What a simulated sensor publishes, by an example.

use super::sparkplug::{Place, Sample, Writer};
use super::{Fill, Planted, Settings, Shared, Turn, Values};
use crate::clock::Timestamp;

/// Readings that are left out by planted faults before the example is given up.
const TURNS_MAX: usize = 1000;

impl Settings {
    /// The payload of the first reading that `sluicegate simulate` makes of the entry of this name; `None` where it
    /// makes none. Of an edge node it is the birth that says this value.
    pub fn example(&self, name: &str, now: Timestamp) -> Option<Vec<u8>> {
        let shared = Shared::new(self, name, now.millis());
        let mut values = Values::new(&shared, 0);
        let made = (0..TURNS_MAX).find_map(|_| match values.turn() {
            Turn::Made(value, _) => Some(value),
            Turn::Absent(_) | Turn::Over => None,
        });
        let value = made?;
        if self.edge_node(name).is_some() {
            let (place, last) = (Place { at: now, seq: 1 }, Sample { value, at: now });
            let mut writer = Writer::default();
            return Some(writer.device_birth(place, 0, Some(last), shared.unit()).to_vec());
        }
        let mut text = ryu::Buffer::new();
        let fill = Fill {
            value: shared.decimals().text(value, &mut text),
            time: &now.to_string(),
            epoch: now.millis(),
            number: 1,
            sensor: &self.sensor_id(name, 0),
        };
        let mut payload = Vec::new();
        shared.write(&mut payload, &fill, Planted::default());
        Some(payload)
    }
}
