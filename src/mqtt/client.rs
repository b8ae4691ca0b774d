//! Runs a client of the gateway for as long as it is wanted: connects, serves the connection, connects again.
//!
//! All waiting is here. What a client does is a machine ([`Client`]): it is told what has happened, does what
//! can be done, and says what it waits for. So tests step the machines with bytes and a clock of their own, and
//! every client has the same rules: the task that polls a connection waits for nothing else, a packet is
//! answered on the connection it came on, an attempt and a pause end when the client is wanted no more.
//!
//! ```text
//!     ┌────────── handle_disconnected ◄──────────────────┐
//!     ▼ pause                                            │
//!  attempt ──────────────► handle_connected ─► advance ──┴─► wait: woken, turn, deadline
//!     ▲ pause                                     ▲                          │
//!     └────────── handle_failed                   └──────────────────────────┘
//! ```

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until};

use super::Error;
use super::attempt::{Attempt, Failed};
use super::connection::Connection;
use super::frame::Inbound;
use super::outbound::Outbound;
use super::packet::Greeting;
use crate::clock::{self, Now};
use crate::limits::CLOSE_MAX;

/// What a client does.
pub trait Client: Send {
    /// Whether it is to connect, or to go on.
    fn is_wanted(&mut self) -> bool;

    /// The next attempt to connect.
    fn attempt(&mut self) -> Attempt;

    /// An attempt has failed. Returns the pause before the next one. An error ends the client.
    fn handle_failed(&mut self, now: Now, failed: Failed) -> Result<Duration, Error>;

    /// A connection stands. An error ends it.
    fn handle_connected(
        &mut self,
        now: Now,
        greeting: Greeting,
        out: &mut Outbound,
    ) -> Result<(), Error>;

    /// Reads what has arrived, queues what is to be sent, and says what to wait for. It is called after
    /// everything that has been waited for. An error ends the connection.
    fn advance(
        &mut self,
        now: Now,
        inbound: &mut Inbound,
        out: &mut Outbound,
    ) -> Result<Step, Error>;

    /// A connection has ended: closed by us, or with this error. Returns the pause before the next attempt;
    /// `None` where it has done what it had to. An error ends the client.
    fn handle_disconnected(
        &mut self,
        now: Now,
        ended: Result<(), Error>,
    ) -> Result<Option<Duration>, Error>;

    /// Waits for whatever is not the connection's; it may be connected or not.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    fn woken(&mut self) -> impl Future<Output = ()> + Send;
}

/// What follows from the state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Something is waited for.
    Wait {
        /// What arrives is read: else it stays with the broker.
        reads: bool,
        /// No longer than until then.
        until: Option<Instant>,
    },
    /// There is nothing more to say.
    Close,
    /// The same, and with MQTT 5 the broker removes the session.
    CloseForGood,
}

/// Runs a client until it is wanted no more, has done what it had to, or cannot go on.
pub async fn run(client: &mut impl Client) -> Result<(), Error> {
    while client.is_wanted() {
        let Some(opened) = open(client).await else { break };
        let pause = match opened {
            Err(failed) => client.handle_failed(clock::now(), failed)?,
            Ok((connection, greeting)) => {
                let ended = serve(client, connection, greeting).await;
                match client.handle_disconnected(clock::now(), ended)? {
                    Some(pause) => pause,
                    None => break,
                }
            }
        };
        tokio::select! {
            biased;
            () = client.woken() => {}
            () = sleep(pause) => {}
        }
    }
    Ok(())
}

/// The next attempt to its end; `None` where the client is wanted no more.
async fn open(client: &mut impl Client) -> Option<Result<(Connection, Greeting), Failed>> {
    let mut attempt = pin!(client.attempt().run());
    loop {
        tokio::select! {
            biased;
            () = client.woken() => if !client.is_wanted() { return None },
            opened = &mut attempt => return Some(opened),
        }
    }
}

/// One connection. `Ok` when it is closed by us.
async fn serve(
    client: &mut impl Client,
    mut connection: Connection,
    greeting: Greeting,
) -> Result<(), Error> {
    let now = clock::now();
    client.handle_connected(now, greeting, connection.out())?;
    // Set back only where it would be late: it may fire too early, and then there is nothing to do.
    let mut alarm = pin!(sleep_until(now.instant.into()));
    loop {
        let (inbound, out) = connection.ends();
        let (reads, until) = match client.advance(clock::now(), inbound, out)? {
            Step::Wait { reads, until } => (reads, until),
            Step::Close => {
                connection.close(CLOSE_MAX).await;
                return Ok(());
            }
            Step::CloseForGood => {
                connection.close_for_good(CLOSE_MAX).await;
                return Ok(());
            }
        };
        if let Some(until) = until.map(tokio::time::Instant::from)
            && (alarm.is_elapsed() || until < alarm.deadline())
        {
            alarm.as_mut().reset(until);
        }
        tokio::select! {
            biased;
            () = client.woken() => {}
            turn = connection.turn(reads) => { turn?; }
            () = alarm.as_mut(), if until.is_some() => {}
        }
    }
}

#[cfg(test)]
mod tests;
