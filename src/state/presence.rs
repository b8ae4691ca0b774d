//! Whether something comes of a sensor: `online`, `late` or `silent`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Times the interval between two reports, after which a sensor is late, and silent. Beside them [`SLACK`] is allowed.
const LATE: f64 = 1.5;
const SILENT: f64 = 3.0;

/// What the way from the sensor to the gateway may take more than it took the last time.
const SLACK: Duration = Duration::from_secs(1);

/// Whether something comes of a sensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Presence {
    /// It does, or nobody can say how often it should.
    Online,
    /// A report is missing.
    Late,
    /// Several are.
    Silent,
}

impl Presence {
    /// That of a number, as rows keep it.
    pub const fn of(number: u8) -> Self {
        match number {
            0 => Self::Online,
            1 => Self::Late,
            _ => Self::Silent,
        }
    }

    /// For how long nothing has come when a sensor that reports so often is this.
    pub fn after(self, interval: Duration) -> Duration {
        match self {
            Self::Online => Duration::ZERO,
            Self::Late => interval.mul_f64(LATE) + SLACK,
            Self::Silent => interval.mul_f64(SILENT) + SLACK,
        }
    }
}
