//! Logging: to standard error, as text for people or one JSON object a line.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::settings::{Log, LogFormat};

/// The filter that a `log.level` stands for.
pub fn filter(level: &str) -> Result<EnvFilter, String> {
    let wrong = |why: &str| {
        format!("{level:?} is not a level ({why}): write error, warn, info, debug or trace")
    };
    // A word that is no level would be taken for the name of a module, and everything else be mute.
    let level_of = |part: &str| part.rsplit('=').next().unwrap_or(part).trim().to_owned();
    let no_level = |part: &&str| level_of(part).parse::<LevelFilter>().is_err() || part.is_empty();
    let word = level.split(',').find(no_level);
    if let Some(word) = word {
        return Err(wrong(&format!("{word:?} is none")));
    }
    // The broker of a zero-setup start has a lot to say that is not about readings; what the filter
    // does not speak of is logged from "info" on.
    EnvFilter::try_new(format!("info,rmqtt=error,{level}")).map_err(|it| wrong(&it.to_string()))
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
}
