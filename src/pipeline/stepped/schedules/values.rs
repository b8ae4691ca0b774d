//! What the readings of a message say: its value, and their place in it.

/// More than the readings of any message: what a reading says is its message's value, times this, and its place.
const READINGS: u32 = 64;

/// How many readings a message has.
pub(super) fn readings(value: u32) -> u32 {
    match value % 13 {
        4 => 0,
        8 => 50,
        _ => 1,
    }
}

/// What the readings of a message say.
pub(super) fn said(value: u32) -> impl Iterator<Item = u32> {
    (0..readings(value)).map(move |place| value * READINGS + place)
}

/// The value of the message that has a reading.
pub(super) fn message(said: u32) -> u32 {
    said / READINGS
}
