//! `sluicegate run`: assembles, runs, and says how it ended.
//!
//! The log goes to standard error; standard output carries one line, the last: the balance.

use std::cell::OnceCell;
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use crate::exit::{Exit, guarded};
use crate::limits::mebibytes;
use crate::metrics::Balance;
use crate::mqtt::options::BrokerUrl;
use crate::pace::Pace;
use crate::pipeline::books::Books;
use crate::pipeline::plan::Plan;
use crate::pipeline::{Pipeline, Report};
use crate::settings::Settings;
use crate::signals::Signals;
use crate::{clock, telemetry};

/// Runs a gateway to its end.
pub fn run(path: &Path, settings: Settings) -> (Exit, Option<Balance>) {
    let Some(_log) = telemetry::start(&settings.log) else { return (Exit::Internal, None) };
    // One thread for sockets, timers and simulated sensors, one (the worker's) for batches: readings
    // cost so little that more threads would only wake each other.
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
    let serve = || runtime.block_on(serve(path, settings, pace, &books));
    let ended = guarded(serve, || books.get().map(|books| books.balance()));
    // What has not ended by now has been told to; a task that will not is left behind.
    runtime.shutdown_background();
    ended
}

async fn serve(
    path: &Path,
    settings: Settings,
    pace: Arc<Pace>,
    books: &OnceCell<Arc<Books>>,
) -> (Exit, Option<Balance>) {
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(%error, "cannot listen to signals");
            return (Exit::Internal, None);
        }
    };
    let seed = clock::now().wall.millis();
    introduce(path, &settings, seed);
    let pipeline = match Pipeline::build(settings.plan, pace, seed).await {
        Ok(pipeline) => pipeline,
        Err(error) => {
            tracing::error!("{error}");
            return (Exit::Settings, None);
        }
    };
    books.get_or_init(|| pipeline.books());
    say_where_to_look(pipeline.plan());
    let (stop, stops) = mpsc::channel(4);
    let report = tokio::select! {
        report = pipeline.run(stops) => report,
        () = async { signals.forward(stop).await; std::future::pending().await } => return (Exit::Internal, None),
    };
    (conclude(&report), Some(report.balance))
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
    if let Some(listen) = settings.http.listen {
        tracing::warn!(%listen, "http.listen is set, but this version serves no HTTP");
    }
    if settings.plan.broker.url == BrokerUrl::Embedded {
        tracing::info!(
            "the embedded broker is for trying out: it forgets everything at the end, and its own \
             memory is not in the bound"
        );
    }
    for (name, entry) in settings.plan.intakes() {
        if entry.qos.is_lowered() {
            tracing::info!(sensor = name, "qos = 2 is granted as 1: readings come at least once");
        }
    }
}

fn say_where_to_look(plan: &Plan) {
    let (broker, topic) = (plan.output_broker(), &plan.output.topic);
    if let BrokerUrl::Remote { tls: false, websocket: None, host, port } = &broker.url {
        let look = format!("mosquitto_sub -h {host} -p {port} -t {topic}");
        tracing::info!(broker = %broker.url, %topic, "batches: {look}");
    } else {
        tracing::info!(broker = %broker.url, %topic, "batches go there");
    }
}

fn conclude(report: &Report) -> Exit {
    if let Some(error) = &report.error {
        tracing::error!("{error}");
    }
    if let Some(difference) = &report.difference {
        tracing::error!("{difference}");
    }
    let exit = match (&report.error, &report.difference) {
        (Some(error), None) if error.is_settings() => Exit::Settings,
        (_, Some(_)) | (Some(_), None) => Exit::Internal,
        (None, None) if report.balance.held > 0 => Exit::Unsettled,
        (None, None) => Exit::Drained,
    };
    if exit == Exit::Unsettled {
        tracing::warn!(
            held = report.balance.held,
            "stopped before everything was settled: MQTT readings stay unacknowledged at the broker"
        );
    }
    exit
}
