//! Logging: to standard error, as text for people or one JSON object a line.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::settings::{Log, LogFormat};

/// The filter that a `log.level` stands for.
pub fn filter(level: &str) -> Result<EnvFilter, String> {
    // The broker of a zero-setup start has a lot to say that is not about readings.
    let quiet = format!("rmqtt=error,{level}");
    EnvFilter::try_new(quiet).map_err(|error| {
        format!("{level:?} is not a level ({error}): write error, warn, info, debug or trace")
    })
}

/// Starts logging. Only the first call of a process has an effect.
pub fn start(log: &Log) {
    let filter = filter(&log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A log that cannot be written must not end what it tells of.
    let builder = builder.log_internal_errors(false);
    let started = match log.format {
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            builder.with_ansi(colour).with_target(false).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // Only fails where logging has been started before: a test's business.
    drop(started);
}
