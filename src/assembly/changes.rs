//! Changes of a gateway while it runs, and what is answered to them.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot};

use crate::plan::Output;
use crate::source::Kind;
use crate::units::{Period, Size};
use crate::{batch, queue};

/// A change while the gateway runs.
#[derive(Debug)]
pub enum Change {
    /// An entry more, of this name.
    Add(String, Box<Kind>),
    /// The entry of this name ends.
    Remove(String),
    /// It is to become this: entries that differ are added, changed and removed, in this order.
    Become(Box<Wanted>),
    /// Nothing changes: whether it could be.
    Try(Box<Wanted>),
}

/// What a running gateway is to become.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// All entries, by name.
    pub sensors: BTreeMap<String, Kind>,
    /// `[queue]`. Where it differs, every entry begins anew.
    pub queue: queue::Settings,
    /// `[batch]`.
    pub batch: batch::Settings,
    /// `[output]`. Where its sink differs, it is replaced.
    pub output: Output,
    /// `gateway.memory_max`.
    pub memory_max: Size,
    /// `gateway.shutdown_grace`: so long a change, too, waits for what an entry holds.
    pub shutdown_grace: Period,
}

/// Why an entry cannot be added or removed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is there already.
    #[error("sensors.{0} runs: remove it first")]
    Runs(String),
    /// There is none.
    #[error("sensors.{0} does not run")]
    Unknown(String),
    /// A gateway without an entry would end.
    #[error("sensors.{0} is the last one: stop the gateway")]
    Last(String),
    /// It is carried by a session that carries others.
    #[error(
        "sensors.{0} shares its session with others: give it one of its own, or restart the gateway"
    )]
    Shared(String),
    /// The settings would not be accepted: all that is wrong.
    #[error("{}", .0.join("; "))]
    Settings(Vec<String>),
    /// Entries that are ending have not ended.
    #[error("an earlier change is not over: ask again in a while")]
    Busy,
    /// The gateway is ending.
    #[error("the gateway is draining")]
    Draining,
    /// It was stopped after the change had begun.
    #[error(
        "the gateway was stopped in the middle of the change: the next start reads the file anew"
    )]
    Stopped,
}

/// Says what became of a change: when an entry has begun, or has ended.
pub type Reply = oneshot::Sender<Result<(), Refused>>;

/// A change, and where its answer goes.
pub type Asked = (Change, Reply);

/// Changes a gateway while it runs.
#[derive(Debug, Clone)]
pub struct Changes(mpsc::Sender<Asked>);

impl Changes {
    /// With the end that a running gateway asks.
    pub fn channel() -> (Self, mpsc::Receiver<Asked>) {
        let (changes, asked) = mpsc::channel(CHANGES_MAX);
        (Self(changes), asked)
    }

    /// Begins an entry of this name beside those that run.
    pub async fn add(&self, name: &str, kind: Kind) -> Result<(), Refused> {
        self.ask(Change::Add(name.to_owned(), Box::new(kind))).await
    }

    /// Ends an entry: it takes nothing new, and what it holds is delivered for `gateway.shutdown_grace`. Its
    /// session ends at its broker.
    pub async fn remove(&self, name: &str) -> Result<(), Refused> {
        self.ask(Change::Remove(name.to_owned())).await
    }

    /// Makes it this. Whatever entry is not as it was is added, changed or removed, in this order, and no other entry
    /// notices. Over when all that is to end has ended; a refusal changes nothing.
    pub async fn become_these(&self, wanted: Wanted) -> Result<(), Refused> {
        self.ask(Change::Become(Box::new(wanted))).await
    }

    /// Whether that would be refused.
    pub async fn try_these(&self, wanted: Wanted) -> Result<(), Refused> {
        self.ask(Change::Try(Box::new(wanted))).await
    }

    async fn ask(&self, change: Change) -> Result<(), Refused> {
        let (reply, answer) = oneshot::channel();
        let sent = self.0.send((change, reply)).await;
        // Without an answer the gateway has ended.
        sent.map_err(|_| Refused::Draining)?;
        answer.await.unwrap_or(Err(Refused::Draining))
    }
}

/// Changes that wait to be made.
const CHANGES_MAX: usize = 16;
