//! What the readings of a message say, its value and their place in it; and how they are written.

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

/// How a message holds its readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Each is a line.
    Lines,
    /// Each is an element of an array (`each`).
    Elements,
}

impl Form {
    /// What an entry has to set for such messages.
    pub(super) const fn settings(self) -> &'static str {
        match self {
            Self::Lines => r#""payload":"ndjson""#,
            Self::Elements => r#""each":"","type":"number""#,
        }
    }

    /// A message, and whether it is retained, which the entry skips: lines of no reading would be a dead letter.
    pub(super) fn message(self, value: u32) -> (String, bool) {
        let readings: Vec<String> = said(value).map(|says| self.reading(says)).collect();
        match self {
            Self::Lines => (readings.join("\n"), readings.is_empty()),
            Self::Elements => (format!("[{}]", readings.join(",")), false),
        }
    }

    /// A reading that says this, or rubbish that tells it: a dead letter by itself.
    fn reading(self, says: u32) -> String {
        match self {
            _ if says % 11 != 10 => says.to_string(),
            Self::Lines => format!("{{{says}"),
            Self::Elements => format!("\"{{{says}\""),
        }
    }
}
