//! What the listeners of commands share: topics that are subscribed to one after the other, in time, and an end.

use std::time::Instant;

use tokio::sync::mpsc;
use tokio::time::sleep_until;

use crate::limits::CONNECT_MAX;
use crate::mqtt::Error;
use crate::mqtt::outbound::Outbound;
use crate::mqtt::packet::Packet;

/// The topics of a listener.
#[derive(Debug)]
pub(super) struct Topics {
    filters: Vec<String>,
    qos: u8,
    skip_retained: bool,
    /// Those that the broker has granted on this connection.
    granted: usize,
    /// When the current connection was established.
    opened: Instant,
}

impl Topics {
    /// To be asked for with this QoS, with or without what the broker has retained.
    pub(super) fn new(filters: Vec<String>, qos: u8, skip_retained: bool, now: Instant) -> Self {
        Self { filters, qos, skip_retained, granted: 0, opened: now }
    }

    /// Begins a connection: asks for the first one.
    pub(super) fn connected(&mut self, now: Instant, out: &mut Outbound) -> Result<(), Error> {
        (self.granted, self.opened) = (0, now);
        self.ask(out)
    }

    /// Asks for the next one. One at a time, because a SUBACK is read without its packet id.
    fn ask(&self, out: &mut Outbound) -> Result<(), Error> {
        match self.filters.get(self.granted) {
            Some(filter) => out.subscribe(1, filter, self.qos, self.skip_retained),
            None => Ok(()),
        }
    }

    /// A packet that is no PUBLISH. Whether the last topic is granted by it.
    pub(super) fn answered(&mut self, packet: Packet, out: &mut Outbound) -> Result<bool, Error> {
        let Packet::SubAck { granted, .. } = packet else { return Ok(false) };
        let Some(filter) = self.filters.get(self.granted) else { return Ok(false) };
        let refused = |reason| Error::SubscriptionRefused { filter: filter.clone(), reason };
        let qos = granted.map_err(refused)?;
        if qos < self.qos {
            tracing::warn!(filter, "the broker granted QoS 0: it may drop what it should show us");
        }
        self.granted += 1;
        self.ask(out)?;
        Ok(self.granted == self.filters.len())
    }

    /// Until when all must be granted, if they are not. After it the connection is of no use.
    pub(super) fn due(&self, now: Instant) -> Result<Option<Instant>, Error> {
        let due = self.opened + CONNECT_MAX;
        match self.granted < self.filters.len() {
            false => Ok(None),
            true if now >= due => Err(Error::TimedOut(CONNECT_MAX)),
            true => Ok(Some(due)),
        }
    }
}

/// Waits for a stop, or for the end of the time, if there is one.
pub(super) async fn ended(stops: &mut mpsc::Receiver<()>, until: Option<Instant>) {
    let at = async {
        match until {
            Some(until) => sleep_until(until.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        Some(()) = stops.recv() => {}
        () = at => {}
    }
}
