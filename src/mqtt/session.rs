//! Getting a connection, as often as it takes.
//!
//! Each attempt is a new [`Connection`]. Between attempts there is a growing, jittered pause. A
//! refusal that trying again cannot mend (a wrong password, a forbidden client id) ends the
//! attempts only if there never was a connection: a gateway that has worked goes on trying, since
//! someone may be changing the broker's files right now.

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::Error;
use super::connection::Connection;
use super::options::Options;
use super::packet::{Greeting, Hello};
use crate::backoff::Backoff;
use crate::clock;
use crate::limits::RECONNECT_PAUSE;
use crate::repeat::Repeated;

/// One client's connections, one after the other.
#[derive(Debug)]
pub struct Session {
    options: Options,
    buffer_bytes: usize,
    backoff: Backoff,
    rng: SmallRng,
    repeated: Repeated,
    connected: u64,
    /// Since when the connection of today has stood.
    since: Option<Instant>,
    /// It has brought something.
    of_use: bool,
}

/// A connection that has stood for so long was a good one.
const LASTING: Duration = Duration::from_millis(500);

/// The longest pause after a connection that was of use and did not last.
const PAUSE_OF_USE_MAX: Duration = Duration::from_secs(1);

impl Session {
    /// For a client with a read buffer of `buffer_bytes`.
    pub fn new(options: Options, buffer_bytes: usize, seed: u64) -> Self {
        let (first, longest) = RECONNECT_PAUSE;
        Self {
            options,
            buffer_bytes,
            backoff: Backoff::new(first, longest),
            rng: SmallRng::seed_from_u64(seed),
            repeated: Repeated::default(),
            connected: 0,
            since: None,
            of_use: false,
        }
    }

    /// Where and as whom.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// How many connections there have been.
    pub fn epoch(&self) -> u64 {
        self.connected
    }

    /// Connects, however long it takes. An error is permanent.
    ///
    /// # Cancel safety
    /// A half-made connection is dropped; the pause begins again.
    pub async fn connect(&mut self, hello: &Hello) -> Result<(Connection, Greeting), Error> {
        loop {
            match Connection::open(&self.options, hello, self.buffer_bytes).await {
                Ok((connection, greeting)) => {
                    self.connected += 1;
                    self.since = Some(clock::now().instant);
                    tracing::info!(
                        broker = %self.options.url,
                        client = self.options.client_id,
                        session_present = greeting.session_present,
                        epoch = self.connected,
                        "connected"
                    );
                    return Ok((connection, greeting));
                }
                Err(error) if error.is_permanent() && self.connected == 0 => return Err(error),
                Err(error) => self.failed("cannot connect", &error).await,
            }
        }
    }

    /// The connection has been of use.
    pub fn proved(&mut self) {
        self.of_use = true;
    }

    /// Says that the connection broke and waits before the next.
    ///
    /// # Cancel safety
    /// The pause begins again.
    pub async fn lost(&mut self, error: &Error) {
        self.judge(clock::now().instant);
        self.failed("connection lost", error).await;
    }

    /// After a connection that was of use and lasted, the pause is short again. Another client with our
    /// id, or a broker that ends the connection at each publish, would have us connect ten times a
    /// second if being of use were enough.
    fn judge(&mut self, now: Instant) {
        let lasted = self.since.map(|since| now.saturating_duration_since(since));
        if std::mem::take(&mut self.of_use) {
            if lasted.is_some_and(|lasted| lasted >= LASTING) {
                self.backoff.reset();
            } else {
                self.backoff.at_most(PAUSE_OF_USE_MAX);
            }
        }
    }

    async fn failed(&mut self, what: &'static str, error: &Error) {
        let pause = self.backoff.pause(&mut self.rng);
        if let Some(left_out) = self.repeated.due(clock::now().instant) {
            tracing::warn!(
                broker = %self.options.url,
                client = self.options.client_id,
                %error,
                again_in = ?round(pause),
                left_out,
                "{what}"
            );
        }
        tokio::time::sleep(pause).await;
    }
}

/// To whole milliseconds: more digits say nothing.
fn round(pause: Duration) -> Duration {
    Duration::from_millis(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX))
}
