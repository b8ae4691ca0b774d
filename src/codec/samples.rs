//! Of tests only: records as each format writes them, and bytes.

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

/// The bytes of hexadecimal digits.
pub fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|it| it.to_digit(16)).collect();
    digits.chunks(2).map(|it| u8::try_from(it[0] * 16 + it[1]).unwrap()).collect()
}
