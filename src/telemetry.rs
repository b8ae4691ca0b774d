//! Logging to standard error, as text for people or as one JSON object per line. A panic is logged too.
//!
//! The log never blocks the program: if its reader does not read, lines are dropped and counted (`lines`). So
//! nothing else may write to standard error while it runs, not even a panic.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::{Debug, Write as _};
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::time::Duration;

use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::{FormatFields, Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::Handle;
use tracing_subscriber::util::SubscriberInitExt;

use self::keeping::Keeping;
use self::lines::Lines;
use crate::clock::{self, Timestamp};
use crate::settings::{Log, LogFormat};
use crate::state::recent::Recent;
use crate::state::said::Warning;
use crate::text;

mod keeping;
mod lines;

/// The longest time for the last log lines to be written at the end. Lines that nobody has read by then are lost.
const LOG_FLUSH_MAX: Duration = Duration::from_secs(1);

/// The filter for a `log.level`.
pub fn filter(level: &str) -> Result<EnvFilter, String> {
    let wrong = |why: &str| {
        format!("{level:?} is not a level ({why}): write error, warn, info, debug or trace")
    };
    // A word that is not a level would be taken for a module's name, and everything else would be silent.
    let level_of = |part: &str| part.rsplit('=').next().unwrap_or(part).trim().to_owned();
    let no_level = |part: &&str| level_of(part).parse::<LevelFilter>().is_err() || part.is_empty();
    let word = level.split(',').find(no_level);
    if let Some(word) = word {
        return Err(wrong(&format!("{word:?} is none")));
    }
    // The library of the embedded broker logs much that does not concern readings. What the user's filter does
    // not name is logged from "info" on.
    EnvFilter::try_new(format!("info,rmqtt=error,{level}")).map_err(|it| wrong(&it.to_string()))
}

/// A running log. Dropping it waits until its last lines are written, for `LOG_FLUSH_MAX` at most.
#[derive(Debug)]
#[must_use]
pub struct Logging {
    lines: Arc<Lines>,
    /// Its last warnings and errors.
    pub warnings: Arc<Recent<Warning>>,
    level: Level,
}

impl Logging {
    /// Sets its level while it runs.
    pub fn level(&self) -> Level {
        self.level.clone()
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.lines.close(LOG_FLUSH_MAX);
    }
}

/// Sets `log.level` of a running log. What is not logged costs no more than with a level that stands: callers remember it
/// until the level is set.
#[derive(Clone)]
pub struct Level(Arc<dyn Fn(EnvFilter) + Send + Sync>);

impl Level {
    /// Sets a level that [`filter`] takes.
    pub fn set(&self, level: &str) {
        if let Ok(filter) = filter(level) {
            (self.0)(filter);
        }
    }

    /// That of the log behind this handle.
    fn of<S: 'static>(handle: Handle<EnvFilter, S>) -> Self {
        // It fails only when the log is gone.
        Self(Arc::new(move |filter| drop(handle.reload(filter))))
    }
}

impl Debug for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Level")
    }
}

/// Starts logging. Only the first call in a process has an effect. `None` if its thread cannot be started,
/// which is printed.
pub fn start(log: &Log) -> Option<Logging> {
    let filter = filter(&log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let format = log.format;
    let missing = move |count| missing(format, clock::now().wall, count);
    let lines = match Lines::start(io::stderr(), missing) {
        Ok(lines) => lines,
        Err(error) => {
            drop(writeln!(io::stderr(), "sluicegate: cannot start the log's thread: {error}"));
            return None;
        }
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Arc::clone(&lines));
    // An error of the log must not end the program.
    let builder = builder.log_internal_errors(false);
    let warnings = Arc::default();
    let keeping = Keeping(Arc::clone(&warnings));
    let (started, level) = match format {
        LogFormat::Text => {
            let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let builder = builder.with_ansi(colour).with_target(false).fmt_fields(fields());
            let builder = builder.with_filter_reloading();
            let level = Level::of(builder.reload_handle());
            (builder.finish().with(keeping).try_init(), level)
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let level = Level::of(builder.reload_handle());
            (builder.finish().with(keeping).try_init(), level)
        }
    };
    // Fails only if logging was started before, as in a test.
    if started.is_ok() {
        std::panic::set_hook(Box::new(panicked));
    }
    Some(Logging { lines, warnings, level })
}

/// Formats messages and fields as tracing-subscriber does, but escapes characters that could forge a line or
/// change the direction of writing ([`text`]): whatever a peer sends, one event is one line. JSON escapes them
/// by itself.
fn fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    debug_fn(|writer: &mut Writer<'_>, field: &Field, value: &dyn Debug| {
        match (field.name(), writer.has_ansi_escapes()) {
            ("message", _) => {}
            (name, false) => write!(writer, "{name}=")?,
            (name, true) => write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m")?,
        }
        write!(text::Escaping(writer), "{value:?}")
    })
    .delimited(" ")
}

/// The line that replaces `count` dropped lines.
fn missing(format: LogFormat, now: Timestamp, count: u64) -> String {
    let text = "log lines were dropped: nobody read standard error";
    match format {
        LogFormat::Text => format!("{now}  WARN {count} {text}\n"),
        LogFormat::Json => format!(
            "{{\"timestamp\":\"{now}\",\"level\":\"WARN\",\"message\":\"{text}\",\"dropped\":{count}}}\n"
        ),
    }
}

fn panicked(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let message = info.payload_as_str().unwrap_or("without a message");
    tracing::error!(place, "internal error: a thread panicked: {message}");
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        trace.to_string().lines().for_each(|line| tracing::error!("{line}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_refused() {
        for good in
            ["info", "warn", "off", "debug,sluicegate::mqtt=trace", "sluicegate::mqtt=debug"]
        {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["inof", "warning", "", "info,loud", "sluicegate=loud"] {
            assert!(filter(bad).is_err_and(|it| it.contains("write error, warn")), "{bad}");
        }
        let module = filter("sluicegate::mqtt=debug").unwrap().to_string();
        assert!(module.contains("info") && module.contains("sluicegate::mqtt=debug"), "{module}");
    }

    /// Collects the lines of a test.
    #[derive(Clone, Default)]
    struct Written(Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn whatever_is_said_one_event_is_one_line() {
        let written = Written::default();
        let writer = written.clone();
        let log = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .fmt_fields(fields());
        let said = "no\n2026 ERROR forged \u{202e}\u{1b}[31m\u{9b}";
        tracing::subscriber::with_default(log.finish(), || {
            tracing::warn!(count = 7, quoted = said, plain = %said, "refused: {said}");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let escaped = "no\\n2026 ERROR forged \\u{202e}\\u{1b}[31m\\u{9b}";
        let expected =
            format!(" WARN refused: {escaped} count=7 quoted=\"{escaped}\" plain={escaped}\n");
        assert_eq!(text, expected);
    }
}
