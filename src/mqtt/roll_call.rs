//! Checks whether a broker keeps our own clients apart.
//!
//! Some brokers derive the client id from the user name or from the certificate (Mosquitto's
//! `use_username_as_clientid`). Then our intake and our output, with one user, are one client to them: each
//! connect of one ends the other, and the clean start of the output removes the session of the intake with all
//! messages in it. Most of these brokers say nothing of it in CONNACK.
//!
//! So two probe clients connect before any other client of ours, with random client ids. If the first still
//! answers a ping after the second was accepted, the broker keeps our clients apart. The probes resume the
//! session that is there, acknowledge nothing and subscribe to nothing: if it is the session of an intake, it
//! stays as it is. The check is repeated after the broker was away: it may return with other settings. Nobody
//! else has a random id, so another gateway cannot be mistaken for us.
//!
//! A broker that refuses the probes, or closes their connections, is taken to keep client ids apart: the
//! clients connect without the check.

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

/// Bytes that the two probe clients hold, at most, beside what lies below MQTT.
pub const BYTES: u64 = 2 * 4 * BUFFER_BYTES as u64;

/// If the first probe is closed without a DISCONNECT while the second works, this often in a row, that is not
/// chance.
const HUNG_UP_MAX: u32 = 2;

/// Removes a session that 3.1.1 would keep for ever.
const REMOVE: Hello =
    Hello { clean_start: true, session_expiry: None, receive_max: Some(1), packet_bytes_max: None };

/// The check for the clients of one user at one broker.
#[derive(Debug)]
pub struct RollCall {
    options: Options,
    /// Clients that the gateway needs.
    needed: usize,
    /// Whether the broker takes all for one client, once that is known.
    one: Mutex<Arc<OnceCell<bool>>>,
}

impl RollCall {
    /// For clients with these options, except their ids. `None` if they have neither a user nor a certificate:
    /// nothing to derive one client id from.
    ///
    /// `needed` counts the clients that the gateway needs. If it is one, it may connect even to such a broker.
    pub fn new(options: Options, needed: usize) -> Option<Arc<Self>> {
        let named = options.username.is_some() || options.tls.cert_file.is_some();
        named.then(|| Arc::new(Self { options, needed, one: Mutex::default() }))
    }

    /// Checks the broker, unless that is done. An error if it takes all for one client, or does not answer.
    ///
    /// # Cancel safety
    /// The check begins again.
    pub async fn pass(&self) -> Result<(), Error> {
        let cell = Arc::clone(&self.one.lock().unwrap_or_else(PoisonError::into_inner));
        match cell.get_or_try_init(|| self.are_one()).await {
            Ok(true) => Err(self.one_for_all()),
            Err(error) if error.is_no_answer() && !error.is_hang_up() => Err(error),
            // The broker keeps them apart, or the client itself will get the error.
            Ok(false) | Err(_) => Ok(()),
        }
    }

    /// The same, for a client that the gateway needs: if it is the only one, it may connect.
    ///
    /// # Cancel safety
    /// The check begins again.
    pub async fn pass_needed(&self) -> Result<(), Error> {
        match self.pass().await {
            Err(Error::OneForAll { .. }) if self.needed < 2 => Ok(()),
            passed => passed,
        }
    }

    /// Forgets the answer: the broker was away.
    pub fn forget(&self) {
        *self.one.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
    }

    fn one_for_all(&self) -> Error {
        let name = self.options.username.as_ref().map(|name| format!("user {name:?}"));
        let user = name.unwrap_or_else(|| "our certificate".to_owned());
        Error::OneForAll { broker: self.options.url.to_string(), user }
    }

    async fn are_one(&self) -> Result<bool, Error> {
        // The probe may be given the session of an intake: it resumes it, and asks for the same expiry.
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
                // The broker works, and has closed the first connection only.
                Err(error) if error.is_hang_up() => self.answers(&mut two).await?,
                Err(error) => return Err(error),
            }
            hung_up += 1;
            // Keeps the session: it may belong to an intake.
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
        connection.out().ping();
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

    /// Removes the sessions of the probes. 3.1.1 removes a session by a clean start.
    async fn remove(&self, clients: [Options; 2]) {
        for options in clients.iter().filter(|it| it.version == Version::V3) {
            // A session that cannot be removed is empty: it costs the broker a few bytes.
            if let Ok((connection, _)) = Connection::open(options, &REMOVE, BUFFER_BYTES).await {
                connection.close(CLOSE_MAX).await;
            }
        }
    }
}
