//! Of tests only: records as each format writes them.

use super::{Format, Options, View, Whose, influx};
use crate::clock::Timestamp;
use crate::record::Arrival;

/// The first record of this sensor, whose id is a JSON string, with this value.
pub fn record(format: Format, id: &str, value: &str) -> Vec<u8> {
    let view = View {
        sensor: Whose::Counted(id, 1),
        entry: "\"fleet\"",
        value: value.as_bytes(),
        timestamp: b"",
        received: Timestamp::from_millis(1_763_796_650_601),
        labels: b"",
        topic: b"t",
        extra: b"",
        arrival: Arrival::default(),
        expires: None,
    };
    let (mut out, influx) = (Vec::new(), influx::Settings::default());
    format.encoder(&Options { influx: &influx }).record(&mut out, &view).unwrap();
    out
}
