//! Takes everything from the output and the dead-letter topic, and keeps an audit of it as it goes.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::audit::{Audit, Counter};
use super::session::{Options, Session};
use crate::support::wire::{Publish, PublishProperties, Version};
use crate::support::{Monitor, SOON, ignore, now, pause, thread};

/// One message as it came.
#[derive(Clone, Debug)]
pub(crate) struct Collected {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    pub(crate) properties: Option<PublishProperties>,
    pub(crate) at: Instant,
}

impl Collected {
    fn new(publish: &Publish) -> Self {
        Self {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: publish.payload.to_vec(),
            qos: publish.qos as u8,
            dup: publish.dup,
            retain: publish.retain,
            properties: publish.properties.clone(),
            at: now(),
        }
    }

    /// A message of dead letters, one for each: alone it is an object, several are an array.
    fn letters(self) -> Vec<Self> {
        match serde_json::from_slice(&self.payload) {
            Ok(serde_json::Value::Array(letters)) => letters
                .iter()
                .map(|it| Self { payload: it.to_string().into_bytes(), ..self.clone() })
                .collect(),
            _ => vec![self],
        }
    }

    /// The payload as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.payload).unwrap()
    }
}

/// Everything collected so far.
#[derive(Debug)]
pub(crate) struct Collection {
    pub(crate) batches: Vec<Collected>,
    /// Each by itself, also where several came in one message.
    pub(crate) dead_letters: Vec<Collected>,
    pub(crate) audit: Audit,
    /// Times it was subscribed.
    pub(crate) connections: usize,
    stop: bool,
}

/// Where to collect.
#[derive(Clone, Debug)]
pub(crate) struct Collect {
    options: Options,
    output: String,
    dead_letters: String,
    counter: Counter,
}

impl Collect {
    /// A topic, or a filter.
    pub(crate) fn output(mut self, topic: &str) -> Self {
        topic.clone_into(&mut self.output);
        self
    }

    pub(crate) fn dead_letters(mut self, topic: &str) -> Self {
        topic.clone_into(&mut self.dead_letters);
        self
    }

    /// Where the audit finds a reading's number.
    pub(crate) fn counter(mut self, counter: Counter) -> Self {
        self.counter = counter;
        self
    }

    pub(crate) fn version(mut self, version: Version) -> Self {
        self.options.version = version;
        self
    }

    pub(crate) fn login(mut self, user: &str, password: &str) -> Self {
        self.options = self.options.login(user, password);
        self
    }

    /// The client id; two collectors on one broker need two.
    pub(crate) fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.options.client_id);
        self
    }

    /// Starts, and returns when it is subscribed.
    #[track_caller]
    pub(crate) fn start(self) -> Collector {
        let collection = Collection {
            batches: Vec::new(),
            dead_letters: Vec::new(),
            audit: Audit::new(self.counter),
            connections: 0,
            stop: false,
        };
        let collection = Arc::new(Monitor::new(collection));
        let shared = Arc::clone(&collection);
        let thread = thread("collector", move || run(&self, &shared));
        let collector = Collector { collection, thread: Some(thread) };
        collector.wait_until("the collector is subscribed", SOON, |all| all.connections > 0);
        collector
    }
}

/// A subscriber of its own with a persistent session; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Collector {
    collection: Arc<Monitor<Collection>>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    /// Collects from the default topics, `gateway/batches` and `gateway/dead-letters`.
    #[track_caller]
    pub(crate) fn start(port: u16) -> Self {
        Self::at(port).start()
    }

    pub(crate) fn at(port: u16) -> Collect {
        Collect {
            options: Options::new(port, "collector").persistent().receive_maximum(1000),
            output: "gateway/batches".to_owned(),
            dead_letters: "gateway/dead-letters".to_owned(),
            counter: Counter::Member("n"),
        }
    }

    pub(crate) fn look<R>(&self, look: impl FnOnce(&Collection) -> R) -> R {
        look(&self.collection.lock())
    }

    pub(crate) fn batches(&self) -> Vec<Collected> {
        self.look(|all| all.batches.clone())
    }

    pub(crate) fn dead_letters(&self) -> Vec<Collected> {
        self.look(|all| all.dead_letters.clone())
    }

    pub(crate) fn audit(&self) -> Audit {
        self.look(|all| all.audit.clone())
    }

    pub(crate) fn within(
        &self,
        deadline: Duration,
        mut shows: impl FnMut(&Collection) -> bool,
    ) -> bool {
        self.collection.wait(deadline, |all| shows(all)).1
    }

    #[track_caller]
    pub(crate) fn wait_until(
        &self,
        what: &str,
        deadline: Duration,
        shows: impl FnMut(&Collection) -> bool,
    ) {
        if !self.within(deadline, shows) {
            let text = self.look(|all| {
                let (batches, dead) = (all.batches.len(), all.dead_letters.len());
                let readings = all.audit.distinct();
                format!("{batches} batches with {readings} readings, {dead} dead letters")
            });
            panic!("not within {deadline:?}: {what}; collected: {text}");
        }
    }

    /// Waits for so many different readings.
    #[track_caller]
    pub(crate) fn wait_readings(&self, count: u64, deadline: Duration) {
        let what = format!("{count} readings");
        self.wait_until(&what, deadline, |all| all.audit.distinct() >= count);
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.collection.change(|all| all.stop = true);
        if let Some(thread) = self.thread.take() {
            ignore(thread.join(), "its panic was printed");
        }
    }
}

fn run(plan: &Collect, shared: &Monitor<Collection>) {
    while !shared.lock().stop {
        let filters = [plan.output.as_str(), plan.dead_letters.as_str()];
        let Ok(mut session) = Session::open(&plan.options) else {
            pause(Duration::from_millis(20));
            continue;
        };
        if session.subscribe(&filters).is_err() {
            continue;
        }
        shared.change(|all| all.connections += 1);
        // An error ends the connection; the session at the broker keeps what is missing.
        while take(&mut session, plan, shared).is_ok() && !shared.lock().stop {}
    }
}

fn take(
    session: &mut Session,
    plan: &Collect,
    shared: &Monitor<Collection>,
) -> std::io::Result<()> {
    let Some(publish) = session.next_publish(Duration::from_millis(20))? else { return Ok(()) };
    let message = Collected::new(&publish);
    shared.change(|all| {
        if message.topic == plan.dead_letters {
            all.dead_letters.extend(message.letters());
        } else {
            all.audit.add(&message.payload);
            all.batches.push(message);
        }
    });
    if publish.pkid > 0 { session.ack(publish.pkid) } else { Ok(()) }
}
