//! The edges of a gateway, put together by its plan: its sources, its sink, the client that watches the
//! readings' broker, and the broker that is embedded.
//!
//! The engine knows what crosses its ports ([`crate::source`], [`crate::sink`]) and nothing of what is
//! behind them. What a protocol has to know of the whole plan it is told here: who its clients are, what
//! their share of each bound is, and which of them stand beside each other.

use std::sync::Arc;

use crate::clock;
use crate::metrics::Metrics;
use crate::mqtt::left::LeftSessions;
use crate::mqtt::roll_call::RollCall;
use crate::mqtt::session::Session;
use crate::pace::Pace;
use crate::phase::Watch;
use crate::plan::Plan;
use crate::queue::{Post, Queue};
use crate::registry::Registry;
use crate::sink::{self, file::FileSink, mqtt::MqttSink};
use crate::source::{self, Context, Entry};
use crate::standing::Standings;
use crate::tasks::Tasks;
use crate::watch::Watcher;

use self::embedded::{Embedded, embed};

pub mod embedded;

/// What makes the edges.
#[derive(Debug)]
pub struct Assembly {
    /// With the embedded broker's address in place.
    plan: Arc<Plan>,
    seed: u64,
    /// What the ids of all batches begin with: the sources know by it what is our own.
    run: Arc<str>,
    /// Of the readings' broker, and of the output's.
    roll_calls: [Option<Arc<RollCall>>; 2],
    /// Serves for as long as this lives.
    embedded: Option<Embedded>,
}

/// What the engine shares with its edges.
#[derive(Debug)]
pub struct Shared<'a> {
    /// Where records go.
    pub queue: &'a Queue,
    /// The sensors' rows.
    pub registry: &'a Arc<Registry>,
    /// The counters.
    pub metrics: &'a Arc<Metrics>,
    /// The pace of the thread that runs the edges.
    pub pace: &'a Arc<Pace>,
    /// How the connections stand.
    pub standings: &'a Standings,
    /// How far the gateway is on its way to the end.
    pub phase: &'a Watch,
}

impl Assembly {
    /// By this plan; starts the embedded broker if it wants one. All randomness comes from `seed`.
    pub async fn new(plan: Plan, run: Arc<str>, seed: u64) -> Result<Self, embedded::Error> {
        let (plan, embedded) = embed(plan).await?;
        Ok(Self { roll_calls: plan.roll_calls(), plan: Arc::new(plan), seed, run, embedded })
    }

    /// The plan, with the embedded broker's address in place.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Starts the tasks of all entries; their inlets exist when it returns.
    pub fn start_sources(&self, shared: &Shared<'_>) -> Tasks<source::Ended> {
        let broker = self.readings_broker(shared);
        let start = clock::now().instant;
        let mut tasks = Tasks::default();
        for (place, (name, kind)) in (0..).zip(&self.plan.sensors) {
            let entry = Entry {
                name,
                queue: shared.queue,
                phase: shared.phase,
                context: self.context(place, shared),
                start,
                start_grace: self.plan.gateway.start_grace.0,
                // Entries must not all do the same.
                seed: self.seed ^ u64::from(place) << 40,
                broker: &broker,
            };
            kind.start(&entry, &mut tasks);
        }
        tasks
    }

    fn context(&self, entry: u32, shared: &Shared<'_>) -> Context {
        Context {
            entry,
            run: Arc::clone(&self.run),
            registry: Arc::clone(shared.registry),
            metrics: Arc::clone(shared.metrics),
            pace: Arc::clone(shared.pace),
            on_full: self.plan.queue.on_full,
            record_bytes_max: self.plan.queue.record_bytes_max.get(),
            readings_max: self.plan.queue.readings_max.get() as usize,
        }
    }

    /// The readings' broker, as entries reach it.
    fn readings_broker<'a>(&'a self, shared: &'a Shared<'_>) -> source::mqtt::Broker<'a> {
        let left = self.plan.left_max().zip(self.plan.spool.path.as_deref());
        // The embedded broker's sessions end with it.
        let left = left.filter(|_| self.embedded.is_none());
        source::mqtt::Broker {
            options: Box::new(|name| self.plan.intake_options(name)),
            left: left.map(|(max, folder)| LeftSessions::open(folder, max)),
            roll_call: self.roll_calls[0].clone(),
            start_grace: self.plan.gateway.start_grace.0,
            standings: &shared.standings.entries,
            bounds: self.plan.intake_bounds(),
        }
    }

    /// Starts the sink, which reports to `post`, and the client that watches, if there is to be one.
    pub fn start_clients(&self, shared: &Shared<'_>, post: Post<sink::Event>) -> Tasks<()> {
        let mut tasks = Tasks::default();
        if let Some(options) = self.plan.watch_options() {
            let (roll_call, metrics) = (self.roll_calls[0].clone(), Arc::clone(shared.metrics));
            let (phase, seed) = (shared.phase.clone(), self.seed ^ 0x7761);
            tasks.start(Watcher::new(options, roll_call, metrics, phase, seed).run());
        }
        self.start_sink(shared, post, &mut tasks);
        tasks
    }

    fn start_sink(&self, shared: &Shared<'_>, post: Post<sink::Event>, tasks: &mut Tasks<()>) {
        let (output, lane_max, seed) =
            (&self.plan.output, self.plan.lane_max(), self.seed ^ 0x5157);
        let standing = &shared.standings.output;
        let (metrics, phase) = (Arc::clone(shared.metrics), shared.phase.clone());
        if let Some(file) = &output.file {
            let sink = FileSink::new(file, lane_max, post, standing, seed)
                .patient(self.plan.gateway.start_grace.0);
            return tasks.start(async move { sink.run(&metrics, phase).await });
        }
        let options = self.plan.output_options();
        let session = Session::new(options, sink::mqtt::READ_BUFFER_BYTES, seed)
            .with_status(standing)
            .beside(self.roll_calls[1].clone())
            .patient(self.plan.gateway.start_grace.0);
        let messages = self.plan.messages();
        let bounds = sink::mqtt::Bounds { lane_max, answer_max: output.answer_max.0 };
        let sink = MqttSink::new(session, messages, bounds, post, metrics, phase);
        tasks.start(sink.run());
    }
}
