//! What a client knows across its connections: when to try again, what its session may have lost, and whether
//! another client has its id.
//!
//! Pure, but for the log: the time comes as an argument, and [`super::client`] connects and waits. Each attempt
//! makes a new connection. Between attempts there is a growing, jittered pause.
//!
//! A refusal that another attempt cannot mend (a wrong password, a forbidden topic) may be mended at the
//! broker: its users and permissions may load later than it starts, and someone may be editing its files right
//! now. A refusal ends the client only if nothing has worked in this run, and if it has lasted for
//! `gateway.start_grace` ([`Session::outlasts`]). A fault of our client ids ends the client at once: waiting
//! does not help.
//!
//! Whether another client has our id is judged in `takeover`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::time::timeout;

use super::Error;
use super::attempt::{Attempt, Failed};
use super::connection;
use super::left::{Own, Trace};
use super::look_up::LookUps;
use super::options::{Options, Version};
use super::outgoing::Hello;
use super::packet::Greeting;
use super::read_buffer::ReadAhead;
use super::roll_call::RollCall;
use super::steps::round;
use super::takeover::Takeover;
use crate::backoff::Backoff;
use crate::clock;
use crate::limits::{CLOSE_MAX, RECONNECT_PAUSE, SESSIONS_SHOWN_MAX};
use crate::repeat::PerCause;
use crate::state::standing::Standing;
use crate::unusable::Patience;

/// The longest pause after an attempt that no broker answered: a broker that returns is found within a second.
const NOBODY_PAUSE_MAX: Duration = Duration::from_millis(700);

/// One client's connections, one after the other.
#[derive(Debug)]
pub struct Session {
    options: Options,
    ahead: ReadAhead,
    backoff: Backoff,
    rng: SmallRng,
    failures: PerCause,
    connected: u64,
    said: Said,
    /// Since when the current connection is established.
    since: Option<Instant>,
    /// The current connection has carried a message.
    of_use: bool,
    takeover: Takeover,
    standing: Arc<Standing>,
    look_ups: LookUps,
    roll_call: Option<Arc<RollCall>>,
    /// Session Expiry Interval of our last CONNECT, in seconds, where the session is to be kept.
    expiry_asked: Option<u32>,
    /// Session Expiry Interval of the broker's CONNACK, in seconds, where it differs from ours.
    expiry_said: Option<u32>,
    own: Own,
    patience: Patience,
    /// It is one of many: what is as it should be is logged for debugging only.
    is_quiet: bool,
}

/// What was logged last: if a loss is left out of the log, the return is left out too.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Connected,
    Lost,
}

/// A connection that lasted this long was a good one.
const LASTING: Duration = Duration::from_millis(500);

/// The longest pause after a connection that carried a message and did not last.
const PAUSE_OF_USE_MAX: Duration = Duration::from_secs(1);

impl Session {
    /// A client that reads so much ahead.
    pub fn new(options: Options, ahead: impl Into<ReadAhead>, seed: u64) -> Self {
        let (first, longest) = RECONNECT_PAUSE;
        Self {
            options,
            ahead: ahead.into(),
            backoff: Backoff::new(first, longest),
            rng: SmallRng::seed_from_u64(seed),
            failures: PerCause::default(),
            connected: 0,
            said: Said::Lost,
            since: None,
            of_use: false,
            takeover: Takeover::default(),
            standing: Arc::new(Standing::new(clock::now().instant)),
            look_ups: LookUps::default(),
            roll_call: None,
            expiry_asked: None,
            expiry_said: None,
            own: Own::default(),
            patience: Patience::new(Some(Duration::ZERO)),
            is_quiet: false,
        }
    }

    /// Sets how long the client goes on while it is refused and has not worked yet.
    #[must_use]
    pub fn patient(self, start_grace: Option<Duration>) -> Self {
        Self { patience: Patience::new(start_grace), ..self }
    }

    /// Makes the client connect only where the broker keeps our own clients apart.
    #[must_use]
    pub fn beside(self, roll_call: Option<Arc<RollCall>>) -> Self {
        Self { roll_call, ..self }
    }

    /// Makes the session outlive the run.
    #[must_use]
    pub fn leaving(self, trace: Option<Trace>) -> Self {
        Self { own: Own::new(trace), ..self }
    }

    /// Sets the cell where the client writes how its connections do.
    #[must_use]
    pub fn with_status(self, standing: &Arc<Standing>) -> Self {
        Self { standing: Arc::clone(standing), ..self }
    }

    /// Makes the client one of so many that each has little to say.
    #[must_use]
    pub fn among(self, sessions: usize) -> Self {
        Self { is_quiet: sessions > SESSIONS_SHOWN_MAX, ..self }
    }

    /// Whether what is as it should be is logged for debugging only.
    pub fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    /// The broker's address and our login.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Connections so far.
    pub fn epoch(&self) -> u64 {
        self.connected
    }

    /// The next attempt to connect.
    pub fn attempt(&mut self, hello: Hello) -> Attempt {
        self.expiry_asked = hello.session_expiry.filter(|_| !hello.clean_start);
        Attempt {
            options: self.options.clone(),
            hello,
            ahead: self.ahead.clone(),
            look_ups: std::mem::take(&mut self.look_ups),
            roll_call: self.roll_call.clone(),
            is_needed: true,
        }
    }

    /// An attempt has failed. Returns the pause before the next one. Every error is permanent.
    pub fn handle_failed(&mut self, now: Instant, failed: Failed) -> Result<Duration, Error> {
        self.look_ups = failed.look_ups;
        let error = match failed.error {
            // The broker has accepted this version before: it, or a proxy before it, is shutting down or
            // starting.
            Error::NotGreeted if self.connected > 0 => Error::Closed,
            error => error,
        };
        if self.outlasts(now, &error) {
            return Err(error);
        }
        self.takeover.was_away();
        Ok(self.failed(now, "cannot connect", &error))
    }

    pub fn handle_connected(&mut self, now: Instant, greeting: &Greeting) {
        self.connected += 1;
        self.since = Some(now);
        self.standing.connected(self.connected);
        self.standing.shown(now, greeting.certificate_end);
        self.say_connected(greeting);
        self.judge_expiry(greeting);
    }

    fn say_connected(&mut self, greeting: &Greeting) {
        if std::mem::replace(&mut self.said, Said::Connected) == Said::Connected {
            return;
        }
        let (broker, client) = (&self.options.url, &self.options.client_id);
        let (session_present, epoch) = (greeting.session_present, self.connected);
        if self.is_quiet && epoch == 1 {
            tracing::debug!(%broker, client, session_present, epoch, "connected");
        } else {
            tracing::info!(%broker, client, session_present, epoch, "connected");
        }
    }

    /// Logs, once, that the broker keeps the session for a shorter time than we asked for.
    fn judge_expiry(&mut self, greeting: &Greeting) {
        let asked = self.expiry_asked;
        let kept = greeting.session_expiry.filter(|kept| asked.is_some_and(|asked| *kept < asked));
        if kept.is_some() && kept != self.expiry_said {
            tracing::warn!(
                broker = %self.options.url,
                client = self.options.client_id,
                kept_seconds = kept,
                asked_seconds = asked,
                "the broker keeps our session for a shorter time than we asked for: if the gateway is away for \
                 longer, the messages in it are lost; let the broker keep sessions longer"
            );
        }
        self.expiry_said = kept.or(self.expiry_said);
    }

    /// Whether an error ends the client for good: it concerns our client ids; or the broker refuses us, nothing
    /// has worked in this run, and that has lasted for the start's grace.
    pub fn outlasts(&mut self, now: Instant, error: &Error) -> bool {
        // A broker that is away or busy does not refuse us for good.
        error.is_about_ids() || self.patience.failed(now, error.is_permanent())
    }

    /// Notes that the connection can carry readings or batches.
    pub fn usable(&mut self, now: Instant) {
        self.patience.worked();
        self.own.subscribed();
        if !self.standing.is_usable() {
            self.standing.usable(now);
        }
    }

    /// Whether readings or batches can pass.
    #[cfg(test)]
    pub fn is_usable(&self) -> bool {
        self.standing.is_usable()
    }

    /// The session is not wanted any more: it is forgotten, and removed at a broker of MQTT 3.1.1, where the end
    /// of the last connection does not do that.
    pub async fn remove(&mut self) {
        self.own.forget();
        if self.options.version == Version::V3 {
            // Out of time: the broker keeps an empty session that nobody asks for.
            drop(timeout(CLOSE_MAX, connection::remove_session(&self.options)).await);
        }
    }

    /// Whether CONNACK says that our session is gone, and with it the messages that it may have held.
    pub fn is_lost(&mut self, greeting: &Greeting) -> bool {
        self.own.is_lost(greeting.session_present)
    }

    /// Sets the number of messages that have arrived and are not acknowledged.
    pub fn set_unacknowledged(&self, messages: usize) {
        self.standing.set_unacknowledged(messages);
    }

    /// Notes that the connection has carried a message.
    pub fn proved(&mut self) {
        self.of_use = true;
    }

    /// Notes that the reason for the lost connection is known and is being mended.
    pub fn explained(&mut self) {
        self.takeover.explained();
        self.backoff.at_most(PAUSE_OF_USE_MAX);
    }

    /// Whether messages were missing from the session after the last good connection.
    pub fn is_suspicious(&self) -> bool {
        self.takeover.is_suspected()
    }

    /// Takes the number of messages that we held unacknowledged when the session was resumed, and that were not
    /// sent again. An error if another client with our id has acknowledged them.
    pub fn resumed(&mut self, missing: usize) -> Result<(), Error> {
        if !self.takeover.resumed(missing)? {
            return Ok(());
        }
        tracing::warn!(
            broker = %self.options.url,
            client = self.options.client_id,
            missing,
            "messages that we had not acknowledged are missing from our session: perhaps another client has \
             our client id (give each gateway its own gateway.id)"
        );
        Ok(())
    }

    /// The error that ends the client for good, if another client with our id took the connection: a reconnect
    /// would only take the session back from it.
    pub fn id_in_use(&self, lost: &Error) -> Option<Error> {
        let (broker, client) = (self.options.url.to_string(), self.options.client_id.clone());
        matches!(lost, Error::TakenOver).then_some(Error::IdInUse { broker, client })
    }

    /// Notes and logs that the connection broke. Returns the pause before the next attempt.
    pub fn lost(&mut self, now: Instant, error: &Error) -> Duration {
        self.judge(now, error);
        self.failed(now, "connection lost", error)
    }

    /// Resets the pause after a connection that carried messages and lasted. Carrying messages is not enough:
    /// with another client of our id, or with a broker that closes at each publish, we would connect ten times
    /// a second.
    fn judge(&mut self, now: Instant, error: &Error) {
        let lasted = self.since.map(|since| now.saturating_duration_since(since));
        let contested = self.takeover.ended(lasted, error, self.options.version);
        if let Some(in_a_row) = contested {
            self.say_contested(now, in_a_row);
        }
        if std::mem::take(&mut self.of_use) {
            if contested.is_none() && lasted.is_some_and(|lasted| lasted >= LASTING) {
                self.backoff.reset();
            } else {
                self.backoff.at_most(PAUSE_OF_USE_MAX);
            }
        }
    }

    fn say_contested(&mut self, now: Instant, in_a_row: u32) {
        if let Some(left_out) = self.failures.due(now, &"another client") {
            tracing::warn!(
                broker = %self.options.url,
                client = self.options.client_id,
                in_a_row,
                left_out,
                "the broker closes each connection soon after it is made: either it forbids what we do there, \
                 or another client has our client id (give each gateway its own gateway.id)"
            );
        }
    }

    /// An attempt that no broker answers costs little, and a broker that returns is found soon: a short pause.
    fn pause_after(&mut self, error: &Error) -> Duration {
        let nobody = self.since.take().is_none() && error.is_no_answer();
        let pause_max = if nobody { NOBODY_PAUSE_MAX } else { RECONNECT_PAUSE.1 };
        self.backoff.pause_within(pause_max, &mut self.rng)
    }

    fn failed(&mut self, now: Instant, what: &'static str, error: &Error) -> Duration {
        self.standing.lost(now, error);
        let pause = self.pause_after(error);
        let Some(left_out) = self.failures.due(now, &(what, error.kind())) else { return pause };
        self.said = Said::Lost;
        let (broker, client) = (&self.options.url, &self.options.client_id);
        let again_in = round(pause);
        if let Some(left) = self.patience.left(now) {
            let ends_in = round(left);
            tracing::error!(%broker, client, %error, ?again_in, ?ends_in, left_out, "{what}");
        } else {
            tracing::warn!(%broker, client, %error, ?again_in, left_out, "{what}");
        }
        pause
    }
}

#[cfg(test)]
mod tests;
