//! Starts the intake of a configured entry: its session at the readings' broker, and its bounds.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::desk::Desk;
use super::{Intake, Settings};
use crate::mqtt::left::LeftSessions;
use crate::mqtt::options::Options;
use crate::mqtt::read_buffer::ReadAhead;
use crate::mqtt::roll_call::RollCall;
use crate::mqtt::session::Session;
use crate::source::{Context, Ended, Entry, Failure};
use crate::state::standing::Standings;
use crate::tasks::Tasks;

/// The readings' broker, as entries reach it.
pub struct Broker<'a> {
    /// The client of the entry of this name.
    pub options: Box<dyn Fn(&str) -> Options + 'a>,
    /// Remembers the sessions for the next run, where there is a folder for it.
    pub left: Option<Arc<LeftSessions>>,
    /// Whether the broker lets our clients stand beside each other, where that is a question.
    pub roll_call: Option<Arc<RollCall>>,
    /// How the connections stand, by session.
    pub standings: &'a Standings,
    /// Where all make their records.
    pub desk: Arc<Desk>,
    /// Of each connection.
    pub ahead: ReadAhead,
    /// Those of each intake.
    pub bounds: Bounds,
    /// The sessions, with the names of the entries that each carries.
    pub sessions: BTreeMap<&'a str, Vec<&'a str>>,
    /// What an earlier configuration subscribed to in the session that starts, and is to be ended.
    pub former: &'a [String],
    /// The entries that wait until all others of their session are here, by session.
    pub joining: RefCell<BTreeMap<String, Vec<Joined>>>,
}

/// An entry of a session: its name, its settings, and what its source knows.
pub type Joined = (String, Settings, Context);

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
    /// Topics and ids whose rows it remembers.
    pub remembered_max: usize,
    /// Acknowledgements that it remembers, in case they were lost with a connection.
    pub acknowledgements_max: usize,
    /// Messages that may wait behind one that is not settled.
    pub blocked_max: usize,
    /// Bytes of answers that wait to be written, above which it reads nothing more.
    pub answers_bytes_max: usize,
    /// Records that it makes before it offers them.
    pub chunk_records_max: usize,
    /// Bytes of their texts, above which it makes no further one before it offers them.
    pub chunk_bytes_max: usize,
}

/// Lets an entry join its session; the last one starts the intake.
pub(in crate::source) fn start(settings: &Settings, entry: &Entry<'_>, tasks: &mut Tasks<Ended>) {
    let Entry { name, broker, .. } = *entry;
    let session = settings.session_of(name);
    let mut joining = broker.joining.borrow_mut();
    let members = joining.entry(session.to_owned()).or_default();
    members.push((name.to_owned(), settings.clone(), entry.context.clone()));
    let needed = broker.sessions.get(session).expect("each entry has a session").len();
    if members.len() < needed {
        return;
    }
    let members = std::mem::take(members);
    let options = (broker.options)(session);
    // A broker keeps nothing of QoS 0 for a client that is away.
    let keeps = members.iter().any(|(_, settings, _)| settings.are_acknowledged());
    let trace = broker.left.as_ref().filter(|_| keeps).map(|it| it.trace(session, &options));
    let place = match &members[..] {
        [_] => format!("sensors.{name}.mqtt"),
        _ => format!("session {session}"),
    };
    let session = Session::new(options, broker.ahead.clone(), entry.seed)
        .with_status(&broker.standings.session(session, entry.start))
        .leaving(trace)
        .beside(broker.roll_call.clone())
        .among(broker.sessions.len())
        .patient(entry.start_grace);
    let intake = {
        let ends = (entry.queue, &broker.desk);
        let intake = Intake::new(members, session, broker.bounds, ends, entry.phase.clone());
        intake.in_place_of(broker.former.to_vec())
    };
    tasks.start(async move {
        intake.run().await.map_err(|error| Failure { place, error: error.into() })
    });
}
