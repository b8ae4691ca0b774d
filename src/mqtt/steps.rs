//! How long each step of an attempt to connect may take.
//!
//! All steps together may take `broker.connect_timeout`. Each step may take half of it, and no more than is
//! left. So a step that hangs is named in time, and quick steps before it do not shorten its half.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::Error;
use super::options::Options;
use crate::clock;

/// The time of one attempt to connect.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    step_max: Duration,
    until: Instant,
}

impl Steps {
    /// Starts the time of an attempt.
    pub(super) fn begin(options: &Options) -> Self {
        let until = clock::now().instant + options.connect_timeout;
        Self { step_max: options.step_max(), until }
    }

    /// Runs one step with its limit.
    ///
    /// # Cancel safety
    /// That of the step.
    pub(super) async fn step<T, E: Into<Error>>(
        self,
        to: &'static str,
        step: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error> {
        let left = self.until.saturating_duration_since(clock::now().instant);
        let within = round(left.min(self.step_max));
        match timeout(within, step).await {
            Ok(done) => done.map_err(Into::into),
            Err(_) => Err(Error::NoAnswer { to, within }),
        }
    }
}

/// Rounds to whole milliseconds for messages.
pub(super) fn round(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
