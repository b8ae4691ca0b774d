//! `sluicegate run`: assembles the gateway, runs it, returns exit code and balance.
//!
//! The log goes to standard error. Standard output gets one line, the last: the balance.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use crate::clock;
use crate::exit::{Exit, guarded};
use crate::limits::{SESSIONS_SHOWN_MAX, mebibytes};
use crate::mqtt::options::BrokerUrl;
use crate::ops::{self, View};
use crate::pace::Pace;
use crate::pipeline::{Pipeline, Report};
use crate::plan::Plan;
use crate::reload::control::Control;
use crate::reload::{Asking, Reloader, watching};
use crate::settings::Settings;
use crate::signals::Signals;
use crate::state::books::Books;
use crate::state::metrics::Balance;
use crate::telemetry::{self, Level, Logging};

/// Runs a gateway to its end; with its file watched, or not.
pub fn run(path: &Path, settings: Settings, watched: bool) -> (Exit, Option<Balance>) {
    let Some(log) = telemetry::start(&settings.log) else { return (Exit::Internal, None) };
    // One thread runs sockets, timers and simulated sensors; another, the worker's, makes batches. A reading
    // costs so little that more threads would only wake each other.
    let pace = Arc::new(Pace::default());
    let resting = Arc::clone(&pace);
    let runtime =
        Builder::new_current_thread().enable_all().on_thread_park(move || resting.rest()).build();
    let runtime: Runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            return (Exit::Internal, None);
        }
    };
    let books = OnceCell::new();
    let file = File { path, watched, level: log.level() };
    let serve = || runtime.block_on(serve(file, settings, pace, (&books, &log)));
    let ended = guarded(serve, || books.get().map(|books| books.balance()));
    // Tasks have been told to end. One that has not is abandoned.
    runtime.shutdown_background();
    ended
}

/// The configuration file, and what changes with it.
struct File<'a> {
    path: &'a Path,
    watched: bool,
    level: Level,
}

async fn serve(
    file: File<'_>,
    settings: Settings,
    pace: Arc<Pace>,
    (books, log): (&OnceCell<Arc<Books>>, &Logging),
) -> (Exit, Option<Balance>) {
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(%error, "cannot listen to signals");
            return (Exit::Internal, None);
        }
    };
    let seed = clock::now().wall.millis();
    introduce(file.path, &settings, seed);
    let fate = fate(&settings.plan);
    let pipeline = match Pipeline::build(settings.plan.clone(), pace, seed).await {
        Ok(pipeline) => pipeline,
        Err(error) => {
            tracing::error!("{error}");
            return (Exit::Settings, None);
        }
    };
    books.get_or_init(|| pipeline.books());
    say_where_to_look(&pipeline.plan());
    let path = file.path.to_owned();
    let (reloader, asking) =
        Reloader::new(path, settings, (pipeline.changes(), pipeline.books()), file.level);
    let watching =
        if file.watched { watching::start(file.path.to_owned(), asking.clone()) } else { Ok(()) };
    if let Err(error) = show(&pipeline, log).and(watching) {
        tracing::error!(%error, "cannot start a thread");
        return (Exit::Internal, None);
    }
    let control = pipeline.plan().gateway.control.clone();
    let (stop, stops) = mpsc::channel(4);
    let signals = signals.of_service(&asking);
    let beside = async {
        tokio::join!(signals.forward(stop), reloader.run(), controlled(control, asking));
        std::future::pending::<()>().await;
    };
    let report = tokio::select! {
        report = pipeline.run(stops) => report,
        () = beside => return (Exit::Internal, None),
    };
    (conclude(&report, &fate), Some(report.balance))
}

/// Serves `gateway.control`, if it is set. A socket that cannot be made stops no reading.
async fn controlled(path: Option<PathBuf>, asking: Asking) {
    let Some(path) = path else { return };
    match Control::listen(&path) {
        Ok(control) => control.serve(asking).await,
        Err(error) => tracing::error!("`sluicegate reload` cannot reach this gateway: {error}"),
    }
}

/// Starts the views of a running gateway: HTTP and systemd.
fn show(pipeline: &Pipeline, log: &Logging) -> std::io::Result<()> {
    let view = View::new(pipeline.current(), pipeline.books(), Arc::clone(&log.warnings));
    ops::systemd::start(view.clone())?;
    let Some(listen) = view.plan.get().http.listen.0 else { return Ok(()) };
    ops::http::start(view, listen)
}

fn introduce(path: &Path, settings: &Settings, seed: u64) {
    let bound = settings.plan.budget().total();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        gateway = settings.plan.gateway.id,
        config = %path.display(),
        memory_bound = mebibytes(bound),
        seed,
        "sluicegate starts"
    );
    if settings.plan.broker.url == BrokerUrl::Embedded {
        tracing::info!(
            "the embedded broker is for trying out: it keeps nothing after the end, and its own memory is \
             not in the bound"
        );
    }
    say_intakes(&settings.plan);
    for (key, text) in &settings.warnings {
        tracing::warn!("{key}: {text}");
    }
}

fn say_intakes(plan: &Plan) {
    let (sessions, broker) = (plan.sessions().len(), &plan.broker.url);
    let lowered = plan.intakes().filter(|(_, entry)| entry.qos.is_lowered());
    let text = "qos = 2 is granted as 1: readings come at least once";
    if sessions <= SESSIONS_SHOWN_MAX {
        lowered.for_each(|(name, _)| tracing::info!(entry = name, "{text}"));
        return;
    }
    let topics = plan.intakes().map(|(_, entry)| entry.filters().count()).sum::<usize>();
    tracing::info!(
        %broker,
        sessions,
        topics,
        "many sessions: that each is connected and subscribed is logged with log.level = \"debug\""
    );
    let entries = lowered.count();
    if entries > 0 {
        tracing::info!(entries, "{text}");
    }
}

fn say_where_to_look(plan: &Plan) {
    let Some(output) = plan.mqtt_output() else {
        tracing::info!("{}", plan.output.sink.declared().destination(&plan.surroundings()));
        return;
    };
    let (broker, topic) = (output.broker(&plan.broker), output.published());
    if let BrokerUrl::Remote { tls: false, websocket: None, host, port } = &broker.url {
        let filter = topic.filter().map_or_else(|_| topic.to_string(), |it| it.to_string());
        let look = format!("mosquitto_sub -h {host} -p {port} -t {filter}");
        tracing::info!(broker = %broker.url, %topic, "batches: {look}");
    } else {
        tracing::info!(broker = %broker.url, %topic, "batches are published");
    }
}

/// What happens to readings that are held when the gateway ends.
fn fate(plan: &Plan) -> String {
    let mut fates = Vec::new();
    let acknowledged = plan.intakes().any(|(_, it)| it.qos.granted() > 0);
    if plan.broker.url == BrokerUrl::Embedded && plan.intakes().next().is_some() {
        fates.push("MQTT readings are lost with the embedded broker");
    } else {
        if acknowledged {
            fates.push(
                "MQTT readings of QoS 1 stay unacknowledged in the broker's session, which sends them again",
            );
        }
        if plan.intakes().next().is_some() {
            fates.push("MQTT readings of QoS 0 are lost");
        }
    }
    if plan.simulated().next().is_some() {
        fates.push("simulated readings are lost");
    }
    if plan.commands().next().is_some() {
        fates.push("lines of commands are lost");
    }
    if plan.standard_inputs().next().is_some() {
        fates.push("lines of standard input are lost");
    }
    fates.join("; ")
}

fn conclude(report: &Report, fate: &str) -> Exit {
    if let Some(error) = &report.error {
        tracing::error!("{error}");
    }
    if let Some(difference) = &report.difference {
        tracing::error!("{difference}");
    }
    let exit = match (&report.error, &report.difference) {
        (Some(error), None) if error.is_settings() => Exit::Settings,
        (Some(error), None) if error.is_refusal() => Exit::Refused,
        (Some(error), None) if error.is_spool() => Exit::Spool,
        (_, Some(_)) | (Some(_), None) => Exit::Internal,
        (None, None) if report.lost > 0 => Exit::Spool,
        (None, None) if report.balance.held > report.balance.spooled => Exit::Unsettled,
        (None, None) => Exit::Drained,
    };
    if report.lost > 0 {
        let readings = report.lost;
        tracing::error!(readings, "lost in a damaged spool; they stay held in the balance");
    }
    let held = report.balance.held.saturating_sub(report.balance.spooled + report.lost);
    if exit == Exit::Unsettled && held > 0 {
        tracing::warn!(held, "stopped before everything was settled: {fate}");
    }
    exit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_held_readings_is_said_for_the_kinds_that_there_are() {
        let plan = |url: &str, sensors: &[&str]| {
            let mut plan = Plan::default();
            plan.broker.url = BrokerUrl::try_from(url.to_owned()).unwrap();
            for (name, kind) in sensors.iter().enumerate() {
                plan.sensors.insert(name.to_string(), serde_json::from_str(kind).unwrap());
            }
            fate(&plan)
        };
        let (made_up, lossy) = (r#"{"simulated":{}}"#, r#"{"mqtt":{"topic":"a","qos":0}}"#);
        let sure = r#"{"mqtt":{"topic":"b"}}"#;
        assert_eq!(plan("mqtt://h", &[made_up]), "simulated readings are lost");
        assert_eq!(plan("mqtt://h", &[lossy]), "MQTT readings of QoS 0 are lost");
        let both = plan("mqtt://h", &[sure, made_up]);
        assert!(both.contains("QoS 1 stay") && both.contains("simulated readings are lost"));
        let piped = plan("mqtt://h", &[r#"{"stdin":{}}"#, r#"{"exec":{"command":["yes"]}}"#]);
        assert_eq!(piped, "lines of commands are lost; lines of standard input are lost");
        let embedded = plan("embedded", &[sure]);
        assert!(embedded.contains("lost with the embedded") && !embedded.contains("stay"));
    }
}
