//! `sluicegate simulate`, `record`, `verify`, `tail` and `doctor`: assembles them, runs them, returns exit
//! code and output.
//!
//! The log goes to standard error. The text beside the exit code goes to standard output.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::mpsc;

use crate::cli::{Doctor, Explain, Record, Sensors, Simulate, Tail, Verify};
use crate::exit::Exit;
use crate::ops::{asking, listing, top};
use crate::pace::Pace;
use crate::reload::control::ask;
use crate::reload::{Answer, Outcome as Reloaded};
use crate::settings::Settings;
use crate::signals::Signals;
use crate::state::presence::Presence;
use crate::tools::doctor::verdict::{Conclusion, Fitness};
use crate::tools::explain::{self, Asked, Outcome};
use crate::tools::verify::verdict::Judgement;
use crate::tools::{doctor, record, simulate, tail, verify};
use crate::{clock, telemetry, text};

/// How long a verification with `--expect` waits in silence before it ends.
const IDLE_WITH_EXPECTATION: Duration = Duration::from_secs(5);

/// Runs a simulation to its end.
pub fn simulate(path: &Path, settings: &Settings, args: Simulate) -> (Exit, Option<String>) {
    let file = path.display().to_string();
    let arguments = simulate::Arguments {
        topic: args.topic,
        connections: args.connections,
        qos: args.qos,
        rate: args.rate,
        window: args.window,
        readings: args.readings,
        seconds: args.seconds.map(Duration::from_secs),
        report: args.report,
        recording: args.recording,
        speed: args.speed,
    };
    started(settings, async |pace, stops| {
        match simulate::run(&settings.plan, &file, &arguments, pace, stops).await {
            Ok(ended) => {
                let exit = if ended.complete { Exit::Drained } else { Exit::Unsettled };
                (exit, Some(ended.table))
            }
            Err(error @ simulate::Error::Panicked(_)) => failed(Exit::Internal, &error),
            Err(error) => failed(Exit::Settings, &error),
        }
    })
}

/// Records until its end.
pub fn record(settings: &Settings, args: Record) -> (Exit, Option<String>) {
    let arguments = record::Arguments {
        topics: args.topic,
        qos: args.qos,
        out: args.out,
        force: args.force,
        bytes_max: args.bytes_max,
        files: args.files,
        lasting: args.lasting,
        count: args.count,
    };
    started(settings, async |_, stops| match record::run(&settings.plan, &arguments, stops).await {
        Ok(recorded) => {
            let exit = match &recorded.failed {
                Some(_) => Exit::Spool,
                None if recorded.is_whole() => Exit::Drained,
                None => Exit::Unsettled,
            };
            (exit, Some(recorded.to_string()))
        }
        Err(error) => failed(Exit::Settings, &error),
    })
}

/// Runs a verification until its verdict.
pub fn verify(settings: &Settings, args: Verify) -> (Exit, Option<String>) {
    let idle = args.idle.map(Duration::from_secs);
    let arguments = verify::Arguments {
        idle: idle.or(args.expect.as_ref().map(|_| IDLE_WITH_EXPECTATION)),
        expect: args.expect,
        number: args.number,
        seconds: args.seconds.map(Duration::from_secs),
        files: args.file,
        topic: args.topic,
        dead_letter_topic: args.dead_letter_topic,
        sensors_max: args.sensors_max,
        late_ms: args.late_ms,
    };
    started(settings, async |_, stops| match verify::run(&settings.plan, &arguments, stops).await {
        Ok(verdict) => {
            let exit = match verdict.verdict {
                Judgement::Clean => Exit::Drained,
                Judgement::Faulty => Exit::Faults,
                Judgement::Inconclusive => Exit::Unsettled,
            };
            let json = || serde_json::to_string(&verdict).expect("a verdict is plain data");
            (exit, Some(if args.json { text::json(&json()) } else { verdict.to_string() }))
        }
        Err(error) => failed(Exit::Settings, &error),
    })
}

/// Shows what a gateway delivers.
pub fn tail(settings: &Settings, args: Tail) -> Exit {
    let arguments = tail::Arguments {
        sensors: args.sensor,
        entries: args.entry,
        tags: args.tag,
        dead_letters: args.dead_letters,
        json: args.json,
        follow: args.follow,
        count: args.count,
        lasting: args.lasting,
        files: args.file,
        topic: args.topic,
        dead_letter_topic: args.dead_letter_topic,
    };
    let shown = started(settings, async |_, stops| {
        match tail::run(&settings.plan, &arguments, stops).await {
            Ok(tail::Ended { failed: Some(error), .. }) => {
                failed(Exit::Spool, &format!("standard output takes no more: {error}"))
            }
            Ok(ended) if ended.shown > 0 || ended.is_unread => (Exit::Drained, None),
            Ok(_) => (Exit::Unsettled, None),
            Err(error) => failed(Exit::Settings, &error),
        }
    });
    shown.0
}

/// The longest payload that is read; MQTT carries no longer one (MQTT 5 §1.5.5).
const PAYLOAD_BYTES_MAX: u64 = 256 << 20;

/// Shows what the gateway would make of a message. Writes no log.
pub fn explain(
    settings: &Settings,
    args: &Explain,
) -> Result<(Exit, Option<String>), Box<dyn std::error::Error>> {
    let reads = explain::reads(&settings.plan, args.entry.as_deref())?;
    let payload = match (&args.payload, &args.file) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, Some(path)) => of_file(path)?,
        (None, None) if reads => whole(std::io::stdin().lock())?,
        (None, None) => Vec::new(),
    };
    let before = args.before.iter().map(|(topic, path)| Ok((topic.clone(), of_file(path)?)));
    let before = before.collect::<Result<Vec<_>, Box<dyn std::error::Error>>>()?;
    let asked = if args.dead_letter {
        Asked::of_dead_letter(&settings.plan, &payload)?
    } else {
        Asked {
            entry: args.entry.clone(),
            topic: args.topic.clone(),
            payload,
            before,
            retained: args.retained,
            properties: args.property.clone(),
        }
    };
    let explanation = explain::explain(&settings.plan, &asked, args.format)?;
    let exit = match explanation.outcome() {
        Outcome::Readings => Exit::Drained,
        Outcome::DeadLetters => Exit::Faults,
        Outcome::Nothing => Exit::Unfit,
    };
    let json = || text::json(&explanation.to_json());
    Ok((exit, Some(if args.json { json() } else { explanation.to_string() })))
}

fn of_file(path: &Path) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = std::fs::File::open(path).map_err(|error| wrong(&error))?;
    whole(file).map_err(|error| wrong(&error).into())
}

fn whole(from: impl Read) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut payload = Vec::new();
    let bytes = from.take(PAYLOAD_BYTES_MAX + 1).read_to_end(&mut payload)?;
    if bytes as u64 > PAYLOAD_BYTES_MAX {
        return Err(format!(
            "the payload has more than {PAYLOAD_BYTES_MAX} bytes: MQTT cannot carry it"
        )
        .into());
    }
    Ok(payload)
}

/// Asks a running gateway whether it is ready. Writes no log.
pub fn health(settings: &Settings) -> (Exit, Option<String>) {
    match asking::health(&settings.plan.http) {
        Ok((true, said)) => (Exit::Drained, Some(said)),
        Ok((false, said)) => (Exit::Faults, Some(said)),
        Err(error) => (Exit::Faults, Some(error.to_string())),
    }
}

/// Lists the sensors of a running gateway. An error is one of the arguments. Writes no log.
pub fn sensors(
    settings: &Settings,
    args: Sensors,
) -> Result<(Exit, Option<String>), asking::Error> {
    let silent = args.silent.then_some(Presence::Silent);
    let asked = listing::Arguments {
        state: silent.or(args.state),
        entry: args.entry,
        search: args.search,
        sort: args.sort,
        json: args.json,
    };
    match listing::list(&settings.plan.http, &asked, &mut std::io::stdout()) {
        Ok(()) => Ok((Exit::Drained, None)),
        Err(error @ asking::Error::Refused(_)) => Err(error),
        Err(error) => Ok((Exit::Faults, Some(error.to_string()))),
    }
}

/// Shows a running gateway until it is left. An error is one of the arguments or the terminal. Writes no log.
pub fn top(settings: &Settings) -> Result<(Exit, Option<String>), top::Unshown> {
    let shown = stoppable(Builder::new_current_thread(), async |mut stops| {
        top::run(&settings.plan.http, &mut stops).await
    });
    match shown {
        Ok(Ok(())) => Ok((Exit::Drained, None)),
        Ok(Err(top::Unshown::Asking(error))) => Ok((Exit::Faults, Some(error.to_string()))),
        Ok(Err(error)) => Err(error),
        Err(error) => Ok((Exit::Internal, Some(error.to_string()))),
    }
}

/// Asks a running gateway to read its configuration again. An error is a refusal. Writes no log.
pub fn reload(
    control: Option<&Path>,
    dry_run: bool,
) -> Result<(Exit, Option<String>), Box<dyn std::error::Error>> {
    let control = control.ok_or(
        "gateway.control is not set: name a socket there and restart the gateway, name one with --control, \
         or send SIGHUP",
    )?;
    match ask(control, dry_run) {
        Ok(Answer { outcome: Reloaded::Refused, lines }) => Err(lines.join("\n").into()),
        Ok(Answer { lines, .. }) => Ok((Exit::Drained, Some(lines.join("\n")))),
        Err(error) => Ok((Exit::Unsettled, Some(error.to_string()))),
    }
}

/// Audits the brokers. A signal ends it after its sessions are removed. Writes no log.
pub fn doctor(settings: &Settings, args: &Doctor) -> Result<(Exit, Option<String>), doctor::Error> {
    let stop = async {
        match Signals::listen() {
            Ok(signals) => signals.first().await,
            // Without a handler a signal ends the program at once, the system's default.
            Err(_) => pending().await,
        }
    };
    let seed = clock::now().wall.millis();
    let report = doctor::run(&settings.plan, &args.probe(), seed, stop)?;
    let exit = match report.conclusion() {
        Conclusion::Judged(Fitness::Fit) => Exit::Drained,
        Conclusion::Judged(Fitness::Risky) => Exit::Faults,
        Conclusion::Judged(Fitness::Unfit) => Exit::Unfit,
        Conclusion::Refused => Exit::Settings,
        Conclusion::Open => Exit::Unsettled,
    };
    let said =
        if args.json { text::json(&report.to_json().to_string()) } else { report.to_string() };
    Ok((exit, Some(said)))
}

fn failed(exit: Exit, error: &dyn std::fmt::Display) -> (Exit, Option<String>) {
    tracing::error!("{error}");
    (exit, None)
}

/// Starts logging, a runtime that gathers reads at high rates, and signals as stop requests; runs `work`.
fn started<W, F>(settings: &Settings, work: W) -> (Exit, Option<String>)
where
    W: FnOnce(Arc<Pace>, mpsc::Receiver<()>) -> F,
    F: Future<Output = (Exit, Option<String>)>,
{
    let Some(_log) = telemetry::start(&settings.log) else { return (Exit::Internal, None) };
    let pace = Arc::new(Pace::default());
    let resting = Arc::clone(&pace);
    let mut runtime = Builder::new_current_thread();
    runtime.on_thread_park(move || resting.rest());
    let ended = stoppable(runtime, async |stops| work(pace, stops).await);
    ended.unwrap_or_else(|error| failed(Exit::Internal, &error))
}

/// Runs `work` in such a runtime, with signals as stop requests.
fn stoppable<T>(
    mut runtime: Builder,
    work: impl AsyncFnOnce(mpsc::Receiver<()>) -> T,
) -> std::io::Result<T> {
    let runtime = runtime.enable_all().build()?;
    let ended = runtime.block_on(async {
        let signals = Signals::listen()?;
        let (stop, stops) = mpsc::channel(4);
        tokio::select! {
            ended = work(stops) => Ok(ended),
            never = async { signals.forward(stop).await; pending::<Infallible>().await } => match never {},
        }
    });
    // Tasks have been told to end. One that has not is abandoned.
    runtime.shutdown_background();
    ended
}
