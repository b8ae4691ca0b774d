//! A gateway: built from its plan, run until it has drained.
//!
//! The spool is opened before anything else. Started downstream first (worker, sink, sources), stopped
//! upstream first: *draining* (sources offer no more, the worker empties queue, batch and window),
//! *closing* (sources say their last acknowledgements, connections are closed). In between, an intake
//! whose connection has broken may come back to say what it has not yet acknowledged. A drain ends by
//! itself when every source is finite; otherwise the first stop request begins it, and the second, or the end of the grace, turns
//! it into an abort: what is held stays unacknowledged at the broker.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, interval, sleep_until};

use self::publisher::Failure;
use self::recovery::Opened;
use self::router::Router;
use self::spooler::Spooler;
use self::worker::{Ended, Worker};
use crate::assembly::changes::{Asked, Change, Changes, Reply};
use crate::assembly::output::{Output, Said};
use crate::assembly::sources::Sources;
use crate::assembly::{self, Assembly};
use crate::limits::CLOSE_MAX;
use crate::pace::Pace;
use crate::phase::{Phase, PhaseSender};
use crate::plan::Plan;
use crate::plan::current::Current;
use crate::queue::Reports;
use crate::state::board::Health;
use crate::state::books::Books;
use crate::state::liveness::Liveness;
use crate::state::metrics::Balance;
use crate::state::monitor::{LOOK_EVERY, Monitor};
use crate::tasks::{Panicked, Tasks};
use crate::{clock, phase, sink, source, spool, tasks};

pub mod content;
pub mod dead_letters;
pub mod entry_head;
pub mod in_flight;
pub mod outbox;
pub mod publisher;
mod recovery;
pub mod retry_timer;
pub mod router;
pub mod spares;
pub mod split;
pub mod spooler;
pub mod worker;

#[cfg(test)]
mod stepped;

/// Why a gateway ended before it had to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The output never worked.
    #[error("output: {0}")]
    Output(#[from] Failure),
    /// A source never worked.
    #[error(transparent)]
    Source(#[from] source::Failure),
    /// The embedded broker did not start.
    #[error("embedded broker: {0}")]
    Embedded(#[from] assembly::embedded::Error),
    /// The spool cannot be used.
    #[error("spool: {0}")]
    Spool(#[from] spool::Error),
    /// No thread could be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// A mistake in this program.
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// The worker's thread is gone.
    #[error("internal error: the worker's thread ended without a word")]
    Worker,
}

impl Error {
    /// Whether a broker has refused us for as long as we asked: a restart may find it mended.
    pub const fn is_refusal(&self) -> bool {
        match self {
            Self::Output(Failure::Refused { .. }) => true,
            Self::Output(Failure::Connect(error)) | Self::Source(source::Failure { error, .. }) => {
                error.may_mend
            }
            _ => false,
        }
    }

    /// Whether the settings are to blame (or what they name), and not the program: no restart mends it.
    pub const fn is_settings(&self) -> bool {
        let ours =
            matches!(self, Self::Spool(_) | Self::Thread(_) | Self::Panicked(_) | Self::Worker);
        !ours && !self.is_refusal()
    }

    /// Whether the spool's disk or file is.
    pub const fn is_spool(&self) -> bool {
        matches!(self, Self::Spool(_))
    }
}

/// How a run ended.
#[derive(Debug, Default)]
pub struct Report {
    pub balance: Balance,
    /// Readings of batches in the spool that could not be read again: lost, and held in the balance.
    pub lost: u64,
    /// Which books disagree, if any do.
    pub difference: Option<String>,
    /// Why it ended, if not because it had drained.
    pub error: Option<Error>,
}

/// A built gateway.
#[derive(Debug)]
pub struct Pipeline {
    plan: Arc<Plan>,
    books: Arc<Books>,
    /// What the ids of all batches begin with.
    run: Arc<str>,
    router: Router,
    assembly: Assembly,
    changes: (Changes, mpsc::Receiver<Asked>),
}

struct Running {
    books: Arc<Books>,
    reports: Reports<sink::Event>,
    lead: PhaseSender,
    worker: oneshot::Receiver<Result<Ended, Failure>>,
    sources: Sources,
    changes: mpsc::Receiver<Asked>,
    current: Current,
    output: Output,
    /// The watch client's, and others that stand beside.
    clients: Tasks<()>,
    lookout: Lookout,
}

impl Pipeline {
    /// Builds the gateway; starts the embedded broker if the plan wants one. All randomness comes
    /// from `seed`. `pace` is that of the thread that will run it.
    pub async fn build(plan: Plan, pace: Arc<Pace>, seed: u64) -> Result<Self, Error> {
        let books = Arc::new(plan.books(pace));
        let run = worker::run_id(&plan.gateway.id, clock::now().wall, rand::random());
        let run: Arc<str> = run.into();
        let assembly = Assembly::new(plan, Arc::clone(&run), seed).await?;
        let (plan, router) = (Arc::clone(assembly.plan()), Router::new(assembly.plan().measure()));
        Ok(Self { plan, books, run, router, assembly, changes: Changes::channel() })
    }

    /// The plan, with the embedded broker's address in place.
    pub fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plan)
    }

    /// The plan that runs, also after changes of the entries.
    pub fn current(&self) -> Current {
        self.assembly.current().clone()
    }

    /// The books, to be read while the gateway runs.
    pub fn books(&self) -> Arc<Books> {
        Arc::clone(&self.books)
    }

    /// Changes the entries while the gateway runs.
    pub fn changes(&self) -> Changes {
        self.changes.0.clone()
    }

    /// Runs until the gateway has drained. Each message of `stops` is a request to stop.
    pub async fn run(mut self, mut stops: mpsc::Receiver<()>) -> Report {
        let routing = self.router.routing();
        let spooler = match recovery::open(&self.plan, &self.books, routing, &mut stops).await {
            Ok(Opened::Spooler(spooler)) => spooler,
            Ok(Opened::Stopped) => return Report::default(),
            Err(error) => return self.report(Some(error)),
        };
        let mut running = match self.start(spooler) {
            Ok(running) => running,
            Err(error) => return self.report(Some(error)),
        };
        let error = running.until_ended(&mut stops).await;
        running.enter(Phase::Closing);
        let within = CLOSE_MAX + CLOSE_MAX / 2;
        let output_left = running.output.finish(within).await;
        let (_, clients_left) = running.clients.finish(within).await;
        let (ended, sources_left) = running.sources.finish(within).await;
        let tasks = output_left + clients_left + sources_left;
        if tasks > 0 {
            tracing::warn!(tasks, "connections did not close in time");
        }
        // A source that failed may have ended the worker before its own end was seen.
        let error = error.or(ended.into_iter().find_map(failed));
        self.report(error)
    }

    fn report(&self, error: Option<Error>) -> Report {
        self.books.say_outside();
        let difference = self.books.difference();
        let lost = self.books.metrics.spool_unreadable.get();
        Report { balance: self.books.balance(), lost, difference, error }
    }

    fn start(&mut self, spooler: Option<Box<Spooler>>) -> Result<Running, Error> {
        let (lead, phase) = phase::start();
        let books = &*self.books;
        let shared = assembly::Shared {
            queue: books.queue.clone(),
            registry: Arc::clone(&books.registry),
            metrics: Arc::clone(&books.metrics),
            pace: Arc::clone(&books.pace),
            standings: books.standings.clone(),
            certificates: Arc::clone(&books.certificates),
        };
        // Inlets exist before the worker does: it would take their absence for the end.
        let sources = self.assembly.start_sources(&shared);
        let outlet = books.queue.outlet();
        let reports = outlet.reports();
        let (current, books) = (self.current(), Arc::clone(&self.books));
        let (spooler, router) = (spooler.map(|it| *it), self.router.clone());
        let worker = Worker::new(current.clone(), books, spooler, clock::now(), &self.run, router);
        let worker = tasks::thread("worker", move || worker.run(outlet)).map_err(Error::Thread)?;
        let output = self.assembly.start_output(&shared, reports.clone());
        let clients = self.assembly.start_clients(&shared, &phase);
        let books = Arc::clone(&self.books);
        let (_, never) = mpsc::channel(1);
        let changes = std::mem::replace(&mut self.changes.1, never);
        let lookout = Lookout::new(&self.plan);
        let of = (changes, current);
        Ok(Running {
            books,
            reports,
            lead,
            worker,
            sources,
            changes: of.0,
            current: of.1,
            output,
            clients,
            lookout,
        })
    }
}

/// Looks at the books once a second.
struct Lookout {
    monitor: Monitor,
    liveness: Liveness,
}

impl Lookout {
    fn new(plan: &Plan) -> Self {
        let now = clock::now();
        Self { monitor: plan.monitor(now.instant), liveness: Liveness::new(now) }
    }

    fn look(&mut self, books: &Books, draining: bool) -> Health {
        let now = clock::now();
        if !draining {
            self.liveness.look(books, now);
        }
        self.monitor.look(books, draining, now.instant)
    }
}

impl Running {
    /// Waits for the end: drained, aborted or failed.
    async fn until_ended(&mut self, stops: &mut mpsc::Receiver<()>) -> Option<Error> {
        let mut error = None;
        let mut deadline: Option<Instant> = None;
        let (mut sources_left, mut asked) = (true, false);
        let mut looks = interval(LOOK_EVERY / 10);
        loop {
            let grace = self.sources.grace();
            let mut drain = false;
            let removal = self.sources.deadline().map(Instant::from);
            tokio::select! {
                ended = &mut self.worker => {
                    if matches!(ended, Ok(Ok(Ended::Drained))) {
                        let until = deadline.unwrap_or_else(|| (clock::now().instant + grace).into());
                        return error.or(self.until_acknowledged(stops, until).await);
                    }
                    return error.or(worker_error(ended));
                }
                Some(()) = stops.recv() => {
                    if std::mem::replace(&mut asked, true) {
                        tracing::warn!("second stop request: letting go of what is not settled");
                        self.reports.send(sink::Event::Abort);
                    }
                    drain = true;
                }
                Some((change, reply)) = self.changes.recv() => {
                    self.change(change, reply, grace);
                }
                () = sleep_until(removal.unwrap_or_else(far)), if removal.is_some() => {
                    self.sources.end_overdue(clock::now().instant);
                }
                ended = self.sources.next(), if sources_left => {
                    let failed = ended.map(failed);
                    sources_left = failed.is_some();
                    if !sources_left && deadline.is_none() {
                        tracing::info!("every source has ended: draining");
                    }
                    drain = matches!(failed, Some(Some(_)));
                    error = error.or(failed.flatten());
                }
                said = self.output.next() => match said {
                    Said::Changed => self.sources.output_has_become(),
                    Said::Ended(ended) => error = error.or(self.panicked(ended)),
                },
                // These may end at any time.
                Some(ended) = self.clients.next() => error = error.or(self.panicked(ended)),
                () = sleep_until(deadline.unwrap_or_else(far)), if deadline.is_some() => {
                    tracing::error!(
                        grace_seconds = grace.as_secs_f64(),
                        "the grace is over: letting go of what is not settled"
                    );
                    self.reports.send(sink::Event::Abort);
                    deadline = Some(far());
                }
                _ = looks.tick() => {
                    let health = self.lookout.look(&self.books, deadline.is_some());
                    if health != Health::Starting && looks.period() < LOOK_EVERY {
                        looks = interval(LOOK_EVERY);
                    }
                }
            }
            if drain && deadline.is_none() {
                tracing::info!(held = self.books.queue.held(), "draining");
                self.reports.send(sink::Event::Stop);
                self.enter(Phase::Draining);
                deadline = Some((clock::now().instant + grace).into());
            }
        }
    }

    /// Makes a change, and tells the worker what it has to know of it.
    fn change(&mut self, change: Change, reply: Reply, grace: Duration) {
        let (before, now) = (self.current.get(), clock::now().instant);
        let oldest = self.books.oldest_age(now);
        self.sources.holds_since(oldest.and_then(|age| now.checked_sub(age)));
        self.sources.change(change, reply, grace);
        let plan = self.current.get();
        if plan.is_same_downstream(&before) {
            return;
        }
        self.lookout.monitor.judge_by(plan.health_limits());
        let (told, settled) = oneshot::channel();
        self.reports.send(sink::Event::Changed(told));
        let next = (plan.output.sink != before.output.sink).then_some(plan);
        self.output.change(next, settled, grace);
    }

    /// A task that panicked ends the gateway.
    fn panicked(&self, ended: Result<(), Panicked>) -> Option<Error> {
        let panicked = ended.err()?;
        self.reports.send(sink::Event::Abort);
        Some(panicked.into())
    }

    fn enter(&mut self, phase: Phase) {
        self.output.enter(phase);
        self.sources.enter(phase);
        self.lead.enter(phase);
    }

    /// Everything is delivered: waits until every intake has acknowledged its part of it, and ended.
    async fn until_acknowledged(
        &mut self,
        stops: &mut mpsc::Receiver<()>,
        until: Instant,
    ) -> Option<Error> {
        let mut error = None;
        loop {
            let ended = tokio::select! {
                ended = self.sources.next() => ended,
                Some(()) = stops.recv() => None,
                () = sleep_until(until) => {
                    tracing::warn!(
                        "the grace is over: what is delivered and could not be acknowledged to its \
                         broker comes again"
                    );
                    None
                }
            };
            let Some(ended) = ended else { return error };
            error = error.or(failed(ended));
        }
    }
}

/// Why a source's task ended, if the gateway has to end for it.
fn failed(ended: Result<source::Ended, Panicked>) -> Option<Error> {
    ended.map_err(Error::from).and_then(|ended| ended.map_err(Error::from)).err()
}

fn far() -> Instant {
    (clock::now().instant + Duration::from_hours(24)).into()
}

fn worker_error(ended: Result<Result<Ended, Failure>, oneshot::error::RecvError>) -> Option<Error> {
    match ended {
        Ok(Ok(Ended::Drained | Ended::Aborted)) => None,
        Ok(Err(failure)) => Some(Error::Output(failure)),
        Err(_) => Some(Error::Worker),
    }
}
