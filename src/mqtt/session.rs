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
}

/// A connection that has stood for so long was a good one.
const LASTING: Duration = Duration::from_millis(500);

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

    /// The connection has been of use. If it has also lasted, the next pause is a short one: another
    /// client with our id, or a broker that ends the connection at each publish, would otherwise have
    /// us connect ten times a second.
    pub fn proved(&mut self) {
        if self.since.is_some_and(|since| since.elapsed() >= LASTING) {
            self.backoff.reset();
        }
    }

    /// Says that the connection broke and waits before the next.
    ///
    /// # Cancel safety
    /// The pause begins again.
    pub async fn lost(&mut self, error: &Error) {
        self.failed("connection lost", error).await;
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
