//! The commands that show what a gateway does: `sensors`, `top` and `tail`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Configuration, filter, period, property};
use crate::mqtt::topic::Filter;
use crate::ops::Sort;
use crate::state::metrics::Label;
use crate::state::presence::Presence;
use crate::tools::tail;

/// `sluicegate sensors`.
#[derive(Debug, Clone, Args)]
pub struct Sensors {
    #[command(flatten)]
    pub config: Configuration,
    /// Those only of which nothing has come for three of their intervals.
    #[arg(long, conflicts_with = "state")]
    pub silent: bool,
    /// Those only of this state.
    #[arg(long, value_name = "STATE", value_parser = one_of::<Presence>(Presence::ALL.iter().map(|it| it.word())))]
    pub state: Option<Presence>,
    /// Those of this entry only.
    #[arg(long, value_name = "NAME")]
    pub entry: Option<String>,
    /// Those only whose id has this in it.
    #[arg(long, value_name = "TEXT")]
    pub search: Option<String>,
    /// Their order: silence (nothing has come for longest), received (most has come), rate (most comes in a second), letters (most has
    /// become dead letters) or id.
    #[arg(long, value_name = "ORDER", default_value = "silence", value_parser = one_of::<Sort>(Sort::WORDS))]
    pub sort: Sort,
    /// One JSON object for each, as /api/sensors has it, instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// One of these words, as the API has them.
fn one_of<T: DeserializeOwned + Clone + Send + Sync + 'static>(
    words: impl IntoIterator<Item = &'static str>,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(words).try_map(|it| serde_json::from_value(Value::from(it)))
}

/// `sluicegate tail`.
#[derive(Debug, Clone, Args)]
pub struct Tail {
    /// The gateway's configuration; its output says where to listen, or which files to read.
    #[command(flatten)]
    pub config: Configuration,
    /// Those of this sensor only. May be given several times.
    #[arg(long, value_name = "ID")]
    pub sensor: Vec<String>,
    /// Those of this entry only. May be given several times.
    #[arg(long, value_name = "NAME")]
    pub entry: Vec<String>,
    /// Records only that have this tag. May be given several times: they have all of them. Dead letters have none.
    #[arg(long, value_name = "NAME=VALUE", value_parser = property)]
    pub tag: Vec<(String, String)>,
    /// Dead letters only.
    #[arg(long, conflicts_with = "tag")]
    pub dead_letters: bool,
    /// One JSON object a line, as the output has it; that of a dead letter has "reason".
    #[arg(long)]
    pub json: bool,
    /// Go on until it is stopped: of files the last --count come first. Without it the command ends after --count.
    #[arg(long, short)]
    pub follow: bool,
    /// The next N of a broker, or the last N of files, 1 to 1000000.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=tail::COUNT_MAX))]
    pub count: u64,
    /// End after this time, such as 30s.
    #[arg(long = "for", value_name = "TIME", value_parser = period)]
    pub lasting: Option<Duration>,
    /// Read what an output wrote there, as verify does: a file with those that rotation renamed, and
    /// PATH.dead-letters. May be given several times. Without a configuration the defaults apply.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["topic", "dead_letter_topic"])]
    pub file: Vec<PathBuf>,
    /// Listen to these batches in place of output.topic; + and # as usual.
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    pub topic: Option<Filter>,
    /// Listen to these dead letters in place of the output's.
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    pub dead_letter_topic: Option<Filter>,
}

pub(super) const AFTER_SENSORS: &str = "\
Exit codes:
  0   they are listed
  1   no answer: is the gateway running, with the same http.listen?
  64  wrong arguments or settings";

pub(super) const AFTER_TOP: &str = "\
Keys: q quits, tab and 1 to 6 show another part, / searches sensors, ? shows all keys. A gateway that is away is asked
again, and a restart of it is told. Colours are left out where NO_COLOR is set. The page at http.listen shows the same in
a browser, and more.

Exit codes:
  0   it was left, by a key or a signal
  1   http.listen is off
  64  wrong arguments or settings, or standard output is no terminal
  70  internal error";

pub(super) const AFTER_TAIL: &str = "\
sluicegate tail --follow --entry fleet --tag site=north
sluicegate tail --dead-letters --follow --json | head -1 | sluicegate explain --dead-letter

A line has the record's time (UTC), entry/sensor, value, unit, quantity and tags; \"waited\" and the like say how it
came. That of a dead letter has its reason, its detail, and its payload's first 256 bytes. What cannot be shown is
written as an escape; any format and compression of an output is read.

At a broker it listens with a session of its own and QoS 0, from now on: what was published before, or while its
connection is lost, is not shown, and a batch that comes again is shown again. A terminal that is slower than the
records come is not waited for: what has no room in 8 MiB is left out, and the next line says how much ({\"leftOut\":N}
with --json). The last ones of files are those of the youngest times; nothing of files is left out.

Exit codes:
  0   it ended as it was asked to, by a signal, or because nobody reads it any more
  64  wrong arguments or settings, the broker refuses us, or a file cannot be read
  70  internal error
  74  standard output takes no more
  75  nothing came that was asked for";

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn the_words_of_a_state_and_of_an_order_are_in_the_help_and_in_the_error() {
        let asked = |option, word| {
            let asked = Cli::try_parse_from(["sluicegate", "sensors", option, word]);
            asked.map(drop).map_err(|error| error.to_string())
        };
        let states: Vec<_> = Presence::ALL.iter().map(|it| it.word()).collect();
        let help = Cli::command().find_subcommand_mut("sensors").unwrap().render_help().to_string();
        for (option, words) in [("--state", states), ("--sort", Sort::WORDS.to_vec())] {
            let all = format!("[possible values: {}]", words.join(", "));
            assert!(help.contains(&all), "{help}");
            let wrong = asked(option, "none").unwrap_err();
            assert!(wrong.contains(&all), "{wrong}");
            assert!(words.into_iter().all(|word| asked(option, word).is_ok()));
        }
    }
}
