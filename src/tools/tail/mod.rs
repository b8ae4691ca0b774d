//! `sluicegate tail`: what a gateway delivers, a line for each record and each dead letter.
//!
//! - It reads where `verify` does, and as it does: at the output's broker, or in the files that the output wrote.
//! - At a broker it is a client of its own, with QoS 0 and a clean start: the broker keeps nothing for it, and it sees
//!   what is published from now on.
//! - Memory is bounded: one message and what waits for the terminal (`printer`). A terminal that is slower than the
//!   records come is not waited for: what it cannot take is left out, and the next line says how much. Files wait
//!   for it, and nothing of them is left out.
//! - Nothing from outside reaches the terminal but as text (`shown`).

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock;
use crate::mqtt::topic::Filter;
use crate::plan::Plan;
use crate::tools::verify::{Error, Named, Place, line_bytes_max, place};

use self::files::Files;
use self::printer::Printer;
use self::shown::Wanted;

mod files;
mod last;
mod listener;
mod printer;
mod shown;

/// Records that `--count` may ask for.
pub const COUNT_MAX: u64 = 1_000_000;

/// The arguments.
#[derive(Debug, Clone)]
pub struct Arguments {
    /// Those of these sensors only; empty: of all.
    pub sensors: Vec<String>,
    /// Those of these entries only; empty: of all.
    pub entries: Vec<String>,
    /// Those only that have all of these tags: name and value.
    pub tags: Vec<(String, String)>,
    /// No records.
    pub dead_letters: bool,
    /// One JSON object a line.
    pub json: bool,
    /// Goes on until it is stopped.
    pub follow: bool,
    /// The next of a topic, the last of a file, up to [`COUNT_MAX`].
    pub count: u64,
    /// Ends after this time.
    pub lasting: Option<Duration>,
    /// Files in place of the output.
    pub files: Vec<PathBuf>,
    /// In place of `output.topic`.
    pub topic: Option<Filter>,
    /// In place of `output.dead_letter_topic`.
    pub dead_letter_topic: Option<Filter>,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// Records and dead letters that were written.
    pub shown: u64,
    /// Those that the terminal was too slow for.
    pub left_out: u64,
    /// Why standard output takes no more, unless its reader is gone: that is a wish to end.
    pub failed: Option<std::io::Error>,
    /// Its reader is gone.
    pub is_unread: bool,
}

/// Shows until it has shown enough, or is stopped.
pub async fn run(
    plan: &Plan,
    arguments: &Arguments,
    mut stops: mpsc::Receiver<()>,
) -> Result<Ended, Error> {
    let Arguments { files, topic, dead_letter_topic, .. } = arguments;
    let (topic, dead_letter_topic) = (topic.as_ref(), dead_letter_topic.as_ref());
    let place = place(plan, Named { files, topic, dead_letter_topic })?;
    let wanted = Wanted::new(arguments);
    let printer = Printer::to_stdout(arguments.json);
    let end = End {
        stops: &mut stops,
        until: arguments.lasting.map(|it| clock::now().instant + it),
        count: arguments.count,
        follows: arguments.follow,
    };
    let printer = match place {
        Place::Topics(filters) => listener::listen(plan, filters, wanted, printer, end).await?,
        Place::Files(found) => {
            let format = (plan.output.format, line_bytes_max(plan));
            Files::new(found, format, wanted, printer, end).read().await?
        }
    };
    Ok(printer.finish(&mut stops).await)
}

/// What ends it.
#[derive(Debug)]
struct End<'a> {
    stops: &'a mut mpsc::Receiver<()>,
    until: Option<std::time::Instant>,
    count: u64,
    follows: bool,
}
