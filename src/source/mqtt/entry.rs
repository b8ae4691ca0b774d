//! Starts the intake of a configured entry: its session at the readings' broker, and its bounds.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Intake, Settings};
use crate::mqtt::left::LeftSessions;
use crate::mqtt::options::Options;
use crate::mqtt::roll_call::RollCall;
use crate::mqtt::session::Session;
use crate::source::{Ended, Entry, Failure};
use crate::standing::Standing;
use crate::tasks::Tasks;

/// The readings' broker, as entries reach it.
pub struct Broker<'a> {
    /// The client of the entry of this name.
    pub options: Box<dyn Fn(&str) -> Options + 'a>,
    /// Remembers the sessions for the next run, where there is a folder for it.
    pub left: Option<Arc<LeftSessions>>,
    /// Whether the broker lets our clients stand beside each other, where that is a question.
    pub roll_call: Option<Arc<RollCall>>,
    /// How long it may refuse us before anything has worked.
    pub start_grace: Duration,
    /// How the connections stand, by entry.
    pub standings: &'a BTreeMap<String, Arc<Standing>>,
    /// Those of each intake.
    pub bounds: Bounds,
}

impl fmt::Debug for Broker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

/// The bounds of an intake.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Unacknowledged messages that it asks for or expects.
    pub window: u16,
    /// Of the read buffer.
    pub read_buffer_bytes: usize,
    /// Topics and ids whose rows it remembers.
    pub remembered_max: usize,
    /// Acknowledgements that it remembers, in case they were lost with a connection.
    pub acknowledgements_max: usize,
    /// Records that it makes before it offers them.
    pub chunk_records_max: usize,
}

/// Starts an entry's intake.
pub(in crate::source) fn start(settings: &Settings, entry: &Entry<'_>, tasks: &mut Tasks<Ended>) {
    let Entry { name, queue, broker, .. } = *entry;
    let options = (broker.options)(name);
    // A broker keeps nothing of QoS 0 for a client that is away.
    let keeps = settings.qos.granted() > 0;
    let trace = broker.left.as_ref().filter(|_| keeps).map(|it| it.trace(name, &options));
    let standing = broker.standings.get(name).expect("there is a standing of each entry");
    let session = Session::new(options, broker.bounds.read_buffer_bytes, entry.seed)
        .with_status(standing)
        .leaving(trace)
        .beside(broker.roll_call.clone())
        .patient(broker.start_grace);
    let entries = vec![(name, settings.clone(), entry.context.clone())];
    let intake = Intake::new(entries, session, broker.bounds, queue, entry.phase.clone());
    let place = format!("sensors.{name}.mqtt");
    tasks.start(async move {
        intake.run().await.map_err(|error| Failure { place, error: error.into() })
    });
}
