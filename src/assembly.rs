//! The edges of a gateway, put together by its plan: its sources, its sink, the client that watches the
//! readings' broker, and the broker that is embedded.
//!
//! The engine knows what crosses its ports ([`crate::source`], [`crate::sink`]) and nothing of what is
//! behind them. What a protocol has to know of the whole plan it is told here: who its clients are, what
//! their share of each bound is, and which of them stand beside each other.

use std::sync::Arc;

use crate::clock;
use crate::mqtt::left::LeftSessions;
use crate::mqtt::roll_call::RollCall;
use crate::notices::{About, Notifier};
use crate::pace::Pace;
use crate::phase::PhaseReceiver;
use crate::plan::Plan;
use crate::plan::current::Current;
use crate::queue::{Queue, Reports};
use crate::sink;
use crate::state::certificates::Certificates;
use crate::state::metrics::Metrics;
use crate::state::registry::Registry;
use crate::state::standing::Standings;
use crate::tasks::Tasks;
use crate::watch::Watcher;

use self::embedded::{Embedded, embed};
use self::expiry::Expiry;
use self::output::Output;
use self::sources::Sources;

pub mod changes;
pub mod embedded;
mod expiry;
pub mod output;
pub mod sources;

/// What makes the edges.
#[derive(Debug)]
pub struct Assembly {
    /// With the embedded broker's address in place.
    plan: Arc<Plan>,
    current: Current,
    seed: u64,
    /// What the ids of all batches begin with: the sources know by it what is our own.
    run: Arc<str>,
    /// Of the readings' broker, and of the output's.
    roll_calls: [Option<Arc<RollCall>>; 2],
    /// Serves for as long as this lives.
    embedded: Option<Embedded>,
}

/// What the engine shares with its edges.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Where records go.
    pub queue: Queue,
    pub registry: Arc<Registry>,
    pub metrics: Arc<Metrics>,
    /// The pace of the thread that runs the edges.
    pub pace: Arc<Pace>,
    /// How the connections stand.
    pub standings: Standings,
    /// When certificates expire.
    pub certificates: Arc<Certificates>,
}

impl Assembly {
    /// By this plan; starts the embedded broker if it wants one. All randomness comes from `seed`.
    pub async fn new(plan: Plan, run: Arc<str>, seed: u64) -> Result<Self, embedded::Error> {
        let (plan, embedded) = embed(plan).await?;
        let (roll_calls, plan) = (plan.roll_calls(), Arc::new(plan));
        Ok(Self { roll_calls, current: Current::new(Arc::clone(&plan)), plan, seed, run, embedded })
    }

    /// The plan that runs, also after changes of the entries.
    pub fn current(&self) -> &Current {
        &self.current
    }

    /// The plan, with the embedded broker's address in place.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Starts the tasks of all entries; their inlets exist when it returns.
    pub fn start_sources(&self, shared: &Shared) -> Sources {
        let left = self.plan.left_max().zip(self.plan.spool.path.as_deref());
        // The embedded broker's sessions end with it.
        let left = left.filter(|_| self.embedded.is_none());
        let left = left.map(|(max, folder)| LeftSessions::open(folder, max));
        let edges = (left, self.roll_calls[0].clone());
        Sources::start(&self.current, (&self.run, self.seed), edges, shared.clone())
    }

    /// Starts the sink, which sends `reports`.
    pub fn start_output(&self, shared: &Shared, reports: Reports<sink::Event>) -> Output {
        let (roll_call, seed) = (self.roll_calls[1].clone(), self.seed ^ 0x5157);
        Output::start(&self.plan, shared, reports, roll_call, seed)
    }

    /// Starts the clients that watch and give notice, if there are to be any.
    pub fn start_clients(&self, shared: &Shared, phase: &PhaseReceiver) -> Tasks<()> {
        let mut tasks = Tasks::default();
        if let Some(options) = self.plan.watch_options() {
            let (roll_call, metrics) = (self.roll_calls[0].clone(), Arc::clone(&shared.metrics));
            let (phase, seed) = (phase.clone(), self.seed ^ 0x7761);
            tasks.start(Watcher::new(options, roll_call, metrics, phase, seed).run());
        }
        if let Some(options) = self.plan.notices_options() {
            let about = About {
                gateway: self.plan.gateway.id.clone(),
                started: clock::now().wall,
                settings: self.plan.status.clone(),
                registry: Arc::clone(&shared.registry),
                metrics: Arc::clone(&shared.metrics),
            };
            let (roll_call, phase) = (self.roll_calls[1].clone(), phase.clone());
            let seed = self.seed ^ 0x7374;
            tasks.start(Notifier::new(options, about, roll_call, phase, seed).run());
        }
        let of = (shared.standings.clone(), Arc::clone(&shared.certificates));
        if let Some(expiry) = Expiry::new(&self.plan, of) {
            tasks.start(expiry.run(phase.clone()));
        }
        tasks
    }
}
