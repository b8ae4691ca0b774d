//! Whether a broker lets our own clients stand beside each other.
//!
//! Some brokers make the client id of the user name or of the certificate (Mosquitto's
//! `use_username_as_clientid`). Then our intake and our output, with one user, are one client to them: each
//! connect of one ends the other, and the output's clean start removes the intake's session with all
//! that waits in it. Most say nothing of it in CONNACK.
//!
//! So, before any client of ours connects, two are sent ahead, with ids of their own and random ends: when
//! the first still answers a ping after the second was greeted, all can stand beside each other. They
//! resume what there may be, acknowledge nothing and subscribe to nothing: where they are given an
//! intake's session, it stays as it is. It is asked again once the broker was away: it may come back
//! with other settings. A random id is nobody else's, so another gateway cannot be mistaken for us.
//!
//! A broker that refuses these two, or hangs up on them, tells client ids apart: the clients go on without.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::Error;
use super::connection::Connection;
use super::frame::Incoming;
use super::options::{Options, Version};
use super::outgoing::Hello;
use super::packet::Packet;
use crate::limits::CLOSE_MAX;

/// Bytes of a read buffer. A larger message is read past.
const BUFFER_BYTES: usize = 8 * 1024;

/// Bytes that the two clients hold, at most, beside what lies beneath MQTT.
pub const BYTES: u64 = 2 * 4 * BUFFER_BYTES as u64;

/// A first client that was hung up on without a word, while the second lives, so often in a row, was not
/// cut off by chance.
const HUNG_UP_MAX: u32 = 2;

/// Removes what 3.1.1 would keep for ever.
const REMOVE: Hello =
    Hello { clean_start: true, session_expiry: None, receive_max: Some(1), packet_bytes_max: None };

/// The clients of one user at one broker.
#[derive(Debug)]
pub struct RollCall {
    options: Options,
    /// Clients that the gateway cannot do without.
    needed: usize,
    /// Whether all are one to the broker, once that is known.
    one: Mutex<Arc<OnceCell<bool>>>,
}

impl RollCall {
    /// For clients with these options, but for their ids. `None` where a broker has nothing to make one
    /// client id of.
    ///
    /// So many are `needed`: a single one of them may be what the broker likes.
    pub fn new(options: Options, needed: usize) -> Option<Arc<Self>> {
        let named = options.username.is_some() || options.tls.cert_file.is_some();
        named.then(|| Arc::new(Self { options, needed, one: Mutex::default() }))
    }

    /// Asks the broker, unless it has been asked. An error where they are all one to it, or where nobody
    /// answers.
    ///
    /// # Cancel safety
    /// It is asked again.
    pub async fn pass(&self) -> Result<(), Error> {
        let cell = Arc::clone(&self.one.lock().unwrap_or_else(PoisonError::into_inner));
        match cell.get_or_try_init(|| self.are_one()).await {
            Ok(true) => Err(self.one_for_all()),
            Err(error) if error.is_no_answer() && !error.is_hang_up() => Err(error),
            // They can, or the client itself will be told.
            Ok(false) | Err(_) => Ok(()),
        }
    }

    /// The same, of a client that the gateway cannot do without: alone, it may go on. What it is asked
    /// for is over then, and ends no connection of its own.
    ///
    /// # Cancel safety
    /// It is asked again.
    pub async fn pass_needed(&self) -> Result<(), Error> {
        match self.pass().await {
            Err(Error::OneForAll { .. }) if self.needed < 2 => Ok(()),
            passed => passed,
        }
    }

    /// The broker was away.
    pub fn forget(&self) {
        *self.one.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
    }

    fn one_for_all(&self) -> Error {
        let name = self.options.username.as_ref().map(|name| format!("user {name:?}"));
        let user = name.unwrap_or_else(|| "our certificate".to_owned());
        Error::OneForAll { broker: self.options.url.to_string(), user }
    }

    async fn are_one(&self) -> Result<bool, Error> {
        // It resumes, and leaves what it finds; for as long as an intake's session is kept, which that may be.
        let session_expiry = Some(self.options.session_expiry_seconds());
        let hello = Hello { clean_start: false, session_expiry, ..REMOVE };
        let mut hung_up = 0;
        while hung_up < HUNG_UP_MAX {
            let tag: u32 = rand::random();
            let [first, second] = ["a", "b"].map(|it| self.named(tag, it));
            let (mut one, _) = Connection::open(&first, &hello, BUFFER_BYTES).await?;
            let (mut two, _) = Connection::open(&second, &hello, BUFFER_BYTES).await?;
            match self.answers(&mut one).await {
                Ok(()) => {
                    tokio::join!(one.close_for_good(CLOSE_MAX), two.close_for_good(CLOSE_MAX));
                    self.remove([first, second]).await;
                    return Ok(false);
                }
                Err(Error::TakenOver) => hung_up = HUNG_UP_MAX,
                // The broker lives, and has cut off the first only.
                Err(error) if error.is_hang_up() => self.answers(&mut two).await?,
                Err(error) => return Err(error),
            }
            hung_up += 1;
            // Not for good: it may be an intake's session.
            two.close(CLOSE_MAX).await;
        }
        Ok(true)
    }

    fn named(&self, tag: u32, end: &str) -> Options {
        let client_id = format!("{}-{tag:08x}{end}", self.options.client_id);
        Options { client_id, ..self.options.clone() }
    }

    /// Waits for the answer to a ping.
    async fn answers(&self, connection: &mut Connection) -> Result<(), Error> {
        connection.ping();
        let within = self.options.step_max();
        let silent = |_| Error::NoAnswer { to: "a ping", within };
        timeout(within, self.ping_answered(connection)).await.map_err(silent)?
    }

    async fn ping_answered(&self, connection: &mut Connection) -> Result<(), Error> {
        loop {
            let answered = match connection.packet()? {
                Some(Incoming::Other(bytes)) => Connection::read(self.options.version, bytes)?,
                Some(Incoming::Publish(_)) => continue,
                None => {
                    connection.turn(true).await?;
                    continue;
                }
            };
            if matches!(answered, Packet::PingResp) {
                return Ok(());
            }
        }
    }

    /// With 3.1.1 a session is removed by a clean start.
    async fn remove(&self, clients: [Options; 2]) {
        for options in clients.iter().filter(|it| it.version == Version::V3) {
            // What cannot be removed is an empty session: it costs the broker a few bytes.
            if let Ok((connection, _)) = Connection::open(options, &REMOVE, BUFFER_BYTES).await {
                connection.close(CLOSE_MAX).await;
            }
        }
    }
}
