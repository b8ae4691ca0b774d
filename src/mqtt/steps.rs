//! How long each step to a connection may take.
//!
//! All steps together have `broker.connect_timeout`, each one half of it and no more than is left: so
//! the one that hangs is named, and what was quick before it leaves it its whole half.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::Error;
use super::options::Options;
use crate::clock;

/// The time of one attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    step_max: Duration,
    until: Instant,
}

impl Steps {
    /// An attempt that begins now.
    pub(super) fn begin(options: &Options) -> Self {
        let until = clock::now().instant + options.connect_timeout;
        Self { step_max: options.step_max(), until }
    }

    /// Does one step.
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

/// To whole milliseconds: more digits say nothing.
pub(super) fn round(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
