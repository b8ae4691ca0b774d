//! Starts the sources: a task for each MQTT entry and for each simulated sensor; and the client that
//! watches their broker.

use std::sync::Arc;

use super::tasks::Tasks;
use super::{Error, Pipeline};
use crate::mqtt::left::LeftSessions;
use crate::mqtt::session::Session;
use crate::phase::Watch;
use crate::settlement::SourceIndex;
use crate::source::mqtt::Intake;
use crate::source::simulated::Sensor;
use crate::watch::Watcher;
use crate::{clock, source};

impl Pipeline {
    /// Starts all sources; their inlets exist when it returns.
    pub(super) fn start_sources(&self, watch: &Watch) -> Tasks<Result<(), Error>> {
        let mut sources = Tasks::default();
        self.start_intakes(&mut sources, watch);
        self.start_simulated(&mut sources, watch);
        sources
    }

    /// For the entry of this name.
    fn context(&self, name: &str) -> source::Context {
        let entry = self.plan.sensors.keys().position(|it| it == name);
        source::Context {
            entry: entry.and_then(|it| u32::try_from(it).ok()).expect("the plan's own entry"),
            run: Arc::clone(&self.run),
            registry: Arc::clone(&self.books.registry),
            metrics: Arc::clone(&self.books.metrics),
            pace: Arc::clone(&self.pace),
            on_full: self.plan.queue.on_full,
            remembered_max: self.plan.remembered_max(),
            acknowledgements_max: self.plan.acknowledgements_max(),
            chunk_records_max: self.plan.chunk_records_max(),
            record_bytes_max: self.plan.queue.record_bytes_max.get(),
        }
    }

    fn start_intakes(&self, sources: &mut Tasks<Result<(), Error>>, watch: &Watch) {
        let queue = &self.books.queue;
        let left = self.plan.left_max().zip(self.plan.spool.path.as_deref());
        // The embedded broker's end with it.
        let left = left.filter(|_| self.embedded.is_none());
        let left = left.map(|(max, folder)| LeftSessions::open(folder, max));
        let standings = &self.books.standings.intakes;
        for ((index, (name, settings)), standing) in (0..).zip(self.plan.intakes()).zip(standings) {
            let options = self.plan.intake_options(name);
            let seed = self.seed.wrapping_add(u64::from(index));
            // A broker keeps nothing of QoS 0 for a client that is away.
            let keeps = settings.qos.granted() > 0;
            let trace = left.as_ref().filter(|_| keeps).map(|it| it.trace(name, &options));
            let session = Session::new(options, self.plan.read_buffer_bytes(), seed)
                .shown(standing)
                .leaving(trace);
            let session =
                session.beside(self.roll_calls[0].clone()).patient(self.plan.gateway.start_grace.0);
            let source = SourceIndex(index);
            let ends = (source, queue.inlet(), queue.returned(source));
            let window = self.plan.window_each();
            let intake =
                Intake::new((name, settings.clone()), session, window, ends, self.context(name));
            let (name, watch) = (name.to_owned(), watch.clone());
            sources.start(async move {
                intake.run(watch).await.map_err(|error| Error::Intake { name, error: error.into() })
            });
        }
    }

    /// Starts the client that watches the readings' broker, if there is to be one.
    pub(super) fn start_watch(&self, clients: &mut Tasks<()>, watch: &Watch) {
        let Some(options) = self.plan.watch_options() else { return };
        let (roll_call, metrics) = (self.roll_calls[0].clone(), Arc::clone(&self.books.metrics));
        let watcher = Watcher::new(options, roll_call, metrics, self.seed ^ 0x7761);
        clients.start(watcher.run(watch.clone()));
    }

    fn start_simulated(&self, sources: &mut Tasks<Result<(), Error>>, watch: &Watch) {
        let start = clock::now().instant;
        for (entry, (name, settings)) in (0_u64..).zip(self.plan.simulated()) {
            let context = self.context(name);
            // Entries without a seed of their own must not all make the same values.
            let seed = self.seed ^ entry << 40;
            for index in 0..settings.sensors() {
                let sensor = Sensor::new(settings, index, start, seed);
                let id = settings.sensor_id(name, index);
                let ends = (self.books.queue.inlet(), watch.clone());
                sources.start(sensor.run(&id, ends, &context));
            }
        }
    }
}
