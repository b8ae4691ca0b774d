//! One MQTT connection, from CONNECT to its end.
//!
//! A connection is a value: when it breaks it is dropped, and with it everything that was waiting to be read or
//! written. It waits for its socket and its timers only. Its owner calls [`Connection::turn`] in a `select!`
//! beside everything else that may happen.
//!
//! Invariants:
//! - Reading can be switched off for any time (the queue is full), and waits for a buffer that is shared. Pings
//!   still go out, and an answer is expected only while we read, so backpressure never ends a connection.
//! - All that is queued is written in one call. All that has arrived is read in one call (`pace` lets it
//!   gather).
//! - Both directions have a watchdog: a ping without an answer, and bytes that the peer does not read.
//! - The read buffer is bounded (`read_buffer`). The write buffer is bounded by its owner, who checks
//!   [`Outbound::backlog`] before queueing more.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Sleep, sleep_until, timeout};

use super::frame::{Inbound, Incoming};
use super::look_up::LookUps;
use super::options::{Options, Version};
use super::outbound::Outbound;
use super::outgoing::{self, Hello};
use super::packet::{self, Greeting, Packet, Refusal};
use super::read_buffer::ReadAhead;
use super::steps::Steps;
use super::transport::{self, Stream};
use super::{Error, short, tls};
use crate::clock;
use crate::limits::CLOSE_MAX;

/// Keep-alives after which a peer that does not read our bytes is disconnected.
const WRITE_STALL_KEEP_ALIVES: u32 = 3;

/// Removes a session that 3.1.1 would keep for ever.
pub(super) const REMOVE: Hello = Hello {
    clean_start: true,
    session_expiry: None,
    receive_max: Some(1),
    packet_bytes_max: None,
    will: None,
};

/// Removes the session of a client by a clean start, if its broker can be reached.
pub(super) async fn remove_session(options: &Options) {
    if let Ok((connection, _)) = Connection::open(options, &REMOVE, 0).await {
        connection.close(CLOSE_MAX).await;
    }
}

/// What a turn has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Bytes have arrived: call [`Connection::packet`].
    Received,
    /// All that was queued is written.
    Flushed,
}

pub struct Connection {
    stream: Box<dyn Stream>,
    version: Version,
    inbound: Inbound,
    outbound: Outbound,
    flushed: bool,
    keep_alive: Option<Duration>,
    /// Fires when a ping is due or a watchdog must check.
    timer: Pin<Box<Sleep>>,
    last_ping: Instant,
    /// When the oldest unanswered ping was sent; nothing has arrived since.
    unanswered: Option<Instant>,
    /// Since when we have been reading without interruption.
    reading: Option<Instant>,
    /// Since when the peer has read nothing although bytes were waiting.
    stuck: Option<Instant>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("outbound", &self.outbound.backlog())
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects, sends `hello`, waits for CONNACK.
    pub async fn open(
        options: &Options,
        hello: &Hello,
        ahead: impl Into<ReadAhead>,
    ) -> Result<(Self, Greeting), Error> {
        Self::open_with(&mut LookUps::default(), options, hello, ahead).await
    }

    /// The same for a client that connects again and again: a slow look-up is kept for its next attempt.
    pub async fn open_with(
        look_ups: &mut LookUps,
        options: &Options,
        hello: &Hello,
        ahead: impl Into<ReadAhead>,
    ) -> Result<(Self, Greeting), Error> {
        let steps = Steps::begin(options);
        let reached = transport::connect(options, look_ups, steps).await?;
        let mut connection = Self::new(reached.stream, options, ahead.into());
        outgoing::connect(&mut connection.outbound.bytes, options, hello)?;
        let greeted = steps.step("CONNECT", connection.greeted(options)).await;
        let greeted = greeted.map_err(|error| tls::in_words(options, error));
        let greeting = greeted.map_err(|error| error.at_connect(options.version))?;
        Ok((connection, Greeting { certificate_end: reached.certificate_end, ..greeting }))
    }

    fn new(stream: Box<dyn Stream>, options: &Options, ahead: ReadAhead) -> Self {
        let now = clock::now().instant;
        let keep_alive = Some(options.keep_alive).filter(|it| !it.is_zero());
        Self {
            stream,
            version: options.version,
            inbound: Inbound::new(options.version, ahead),
            outbound: Outbound::new(options.version),
            flushed: true,
            keep_alive,
            timer: Box::pin(sleep_until(now.into())),
            last_ping: now,
            unanswered: None,
            reading: None,
            stuck: None,
        }
    }

    async fn greeted(&mut self, options: &Options) -> Result<Greeting, Error> {
        loop {
            if let Some(error) = tls::foreign(options, self.inbound.unread()) {
                return Err(error);
            }
            let first = match self.inbound.packet()? {
                None => None,
                Some(Incoming::Other(bytes)) => Some(bytes.to_vec()),
                Some(Incoming::Publish(_)) => Some(Vec::new()),
            };
            match first {
                Some(bytes) => return self.greeting(&bytes, options),
                None => self.turn(true).await?,
            };
        }
    }

    fn greeting(&mut self, bytes: &[u8], options: &Options) -> Result<Greeting, Error> {
        let version = self.version;
        if bytes.is_empty() {
            return Err(Error::Protocol("a PUBLISH before CONNACK".into()));
        }
        if let Some(Refusal { reason, permanent, remedy }) = packet::refusal(bytes, version)? {
            let remedy = remedy.map(|remedy| format!(": {remedy}")).unwrap_or_default();
            let reason = format!("{reason} ({}){remedy}", options.who_and_where());
            return Err(Error::Refused { reason, permanent });
        }
        let Packet::ConnAck(mut greeting) = packet::read(bytes, version)? else {
            return Err(Error::Protocol("the first answer is no CONNACK".into()));
        };
        greeting.renames = version == Version::V5 && packet::renames(bytes, &options.client_id)?;
        if let Some(seconds) = greeting.keep_alive {
            // 0 means that the broker does not ask for pings. We still need them, or we would not notice a dead
            // link.
            let wanted = Some(Duration::from_secs(u64::from(seconds)));
            // A longer keep-alive of the broker does not make us notice a dead link later.
            let ours = self.keep_alive.unwrap_or(Duration::MAX);
            self.keep_alive =
                wanted.filter(|it| !it.is_zero()).map(|it| it.min(ours)).or(self.keep_alive);
        }
        Ok(greeting)
    }

    /// Reads (if `read`) and writes, and keeps the connection alive, until bytes have arrived or all is
    /// written.
    ///
    /// # Cancel safety
    /// Nothing is lost: all progress is kept in the connection.
    pub async fn turn(&mut self, read: bool) -> Result<Turn, Error> {
        let now = clock::now().instant;
        let reads = read && !self.inbound.is_waiting();
        self.reading = if reads { self.reading.or(Some(now)) } else { None };
        if !read {
            self.inbound.rest();
        }
        self.set_timer(now);
        match poll_fn(|cx| self.poll_turn(cx, read)).await {
            Err(error) if error.is_hang_up() => Err(self.last_words(error).await),
            turned => turned,
        }
    }

    /// The broker may have sent a DISCONNECT before it closed, while we were writing or not reading: it is then
    /// still in the buffers. Only "session taken over" matters now. Everything else is sent again, or is lost
    /// with the connection.
    async fn last_words(&mut self, hung_up: Error) -> Error {
        while !self.says_takeover() {
            let more = poll_fn(|cx| Poll::Ready(self.poll_read(cx))).await;
            if !matches!(more, Poll::Ready(Ok(()))) {
                return hung_up;
            }
        }
        Error::TakenOver
    }

    fn says_takeover(&mut self) -> bool {
        while let Ok(Some(incoming)) = self.packet() {
            if matches!(incoming, Incoming::Other(bytes) if packet::is_takeover(bytes)) {
                return true;
            }
        }
        false
    }

    /// The next packet among the bytes that have arrived.
    pub fn packet(&mut self) -> Result<Option<Incoming<'_>>, Error> {
        self.inbound.packet()
    }

    /// Reads a packet other than PUBLISH. A DISCONNECT is an error: the connection has ended.
    pub fn read(version: Version, bytes: &[u8]) -> Result<Packet, Error> {
        if packet::is_takeover(bytes) {
            return Err(Error::TakenOver);
        }
        match packet::read(bytes, version)? {
            Packet::Disconnect(reason) if packet::is_too_large(bytes) => {
                Err(Error::TooLarge(reason))
            }
            Packet::Disconnect(reason) if packet::is_about_publish(bytes) => {
                Err(Error::Forbidden(reason))
            }
            Packet::Disconnect(reason) => Err(Error::Ended(reason)),
            packet => Ok(packet),
        }
    }

    /// The packets that wait to be written.
    pub fn out(&mut self) -> &mut Outbound {
        &mut self.outbound
    }

    /// What has arrived, and the packets that wait to be written.
    pub fn ends(&mut self) -> (&mut Inbound, &mut Outbound) {
        (&mut self.inbound, &mut self.outbound)
    }

    /// Writes what is queued and DISCONNECT, then reads and discards until the broker closes, for at most
    /// `within`. A socket that is closed with unread bytes is reset, and a reset can delete what we wrote last
    /// at the broker: acknowledgements.
    pub async fn close(mut self, within: Duration) {
        short::disconnect(&mut self.outbound.bytes);
        self.hang_up(within).await;
    }

    /// The same, and with MQTT 5 the broker removes the session (3.1.1 has no packet for it).
    pub async fn close_for_good(mut self, within: Duration) {
        match self.version {
            Version::V3 => short::disconnect(&mut self.outbound.bytes),
            Version::V5 => short::disconnect_for_good(&mut self.outbound.bytes),
        }
        self.hang_up(within).await;
    }

    /// Writes the rest, ends our side, as whoever sends DISCONNECT has to (MQTT 5 §3.14.4), and reads to the end of the
    /// broker's: so it has read all before the socket is closed.
    async fn hang_up(mut self, within: Duration) {
        self.inbound.discard();
        let closing = async {
            while !self.flushed || !self.outbound.bytes.is_empty() {
                self.turn(true).await?;
                self.inbound.discard();
            }
            self.stream.shutdown().await?;
            loop {
                self.turn(true).await?;
                self.inbound.discard();
            }
        };
        // Out of time: the socket is closed anyway. What was not written was not sent.
        let ended: Result<Result<Infallible, Error>, _> = timeout(within, closing).await;
        drop(ended);
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<Result<Turn, Error>> {
        while self.timer.as_mut().poll(cx).is_ready() {
            self.look(clock::now().instant)?;
        }
        let mut wrote = false;
        if (!self.flushed || !self.outbound.bytes.is_empty())
            && let Poll::Ready(written) = self.poll_write(cx)
        {
            written?;
            wrote = true;
        }
        if read && let Poll::Ready(received) = self.poll_read(cx) {
            received?;
            return Poll::Ready(Ok(Turn::Received));
        }
        if wrote { Poll::Ready(Ok(Turn::Flushed)) } else { Poll::Pending }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Poll::Ready(space) = self.inbound.poll_space(cx) else {
            self.reading = None;
            return Poll::Pending;
        };
        let mut space = ReadBuf::new(space);
        let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, &mut space) else {
            self.inbound.rest();
            self.reads_again(cx)?;
            return Poll::Pending;
        };
        read?;
        let bytes = space.filled().len();
        if bytes == 0 {
            return Poll::Ready(Err(Error::Closed));
        }
        self.inbound.filled(bytes);
        self.unanswered = None;
        Poll::Ready(Ok(()))
    }

    /// It may have waited for a buffer: only from now on an answer is expected.
    fn reads_again(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        if self.reading.is_none() {
            let now = clock::now().instant;
            self.reading = Some(now);
            self.wait_anew(cx, now)?;
        }
        Ok(())
    }

    /// Ready when all is written and flushed.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while !self.outbound.bytes.is_empty() {
            self.flushed = false;
            let Poll::Ready(written) =
                Pin::new(&mut self.stream).poll_write(cx, &self.outbound.bytes)
            else {
                self.stuck_since(cx, clock::now().instant)?;
                return Poll::Pending;
            };
            let written = written?;
            if written == 0 {
                return Poll::Ready(Err(Error::Closed));
            }
            self.stuck = None;
            drop(self.outbound.bytes.split_to(written));
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.flushed = true;
        Poll::Ready(Ok(()))
    }

    /// Starts the watchdog over bytes that the peer does not read, if it is not running.
    fn stuck_since(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<(), Error> {
        if self.stuck.is_none() {
            self.stuck = Some(now);
            self.wait_anew(cx, now)?;
        }
        Ok(())
    }

    /// Sets the timer, and waits for it.
    fn wait_anew(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<(), Error> {
        self.set_timer(now);
        while self.timer.as_mut().poll(cx).is_ready() {
            self.look(now)?;
        }
        Ok(())
    }

    /// Sends a ping that is due, or ends a connection that is dead.
    fn look(&mut self, now: Instant) -> Result<(), Error> {
        if let Some(keep_alive) = self.keep_alive {
            let since = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
            let silent = self.unanswered.zip(self.reading).map(|(ping, read)| ping.max(read));
            if since(silent).is_some_and(|silent| silent >= keep_alive) {
                return Err(Error::Silent(keep_alive));
            }
            let stall_max = keep_alive * WRITE_STALL_KEEP_ALIVES;
            if since(self.stuck).is_some_and(|stuck| stuck >= stall_max) {
                return Err(Error::Stalled(stall_max));
            }
            if now >= self.ping_due(keep_alive) {
                short::pingreq(&mut self.outbound.bytes);
                self.last_ping = now;
                self.unanswered = self.unanswered.or(Some(now));
            }
        }
        self.set_timer(now);
        Ok(())
    }

    /// Three quarters of the keep-alive: the broker receives our ping in time even if we are late.
    fn ping_due(&self, keep_alive: Duration) -> Instant {
        self.last_ping + keep_alive.mul_f64(0.75)
    }

    fn set_timer(&mut self, now: Instant) {
        let Some(keep_alive) = self.keep_alive else {
            // Far in the future, but within the timer's range.
            self.timer.as_mut().reset((now + Duration::from_hours(24)).into());
            return;
        };
        let mut due = self.ping_due(keep_alive);
        if let (Some(unanswered), Some(reading)) = (self.unanswered, self.reading) {
            due = due.min(unanswered.max(reading) + keep_alive);
        }
        if let Some(stuck) = self.stuck {
            due = due.min(stuck + keep_alive * WRITE_STALL_KEEP_ALIVES);
        }
        if self.timer.deadline() != due.into() {
            self.timer.as_mut().reset(due.into());
        }
    }
}

#[cfg(test)]
mod tests;
