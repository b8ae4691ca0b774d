//! `/metrics`: the metric families and their names.
//!
//! Names follow the Prometheus conventions (<https://prometheus.io/docs/practices/naming/>): prefix
//! `sluicegate_`, base units, `_total` behind counters. A limit is a gauge named as its value with `_max`
//! behind. Labels are bounded by the configuration: entries and connections, never the single sensors of a
//! wildcard.

use std::time::Instant;

use super::family::{Family, Labels, Values};
use super::levels::{Level, levels};
use super::snapshot::Listed;
use super::{View, process};
use crate::clock::{Now, Timestamp};
use crate::record::Reason;
use crate::state::certificates::Certificate;
use crate::state::metrics::Counted;
use crate::state::registry::Sum;

/// All metric families of the gateway.
pub(super) fn families(view: &View, now: Now) -> Vec<Family> {
    let mut families = counters(view);
    families.extend(of_balance(view));
    families.extend(of_health(view, now));
    families.extend(of_limits(view));
    families.extend(of_sessions(view));
    families.extend(of_entries(view));
    families.push(of_letters(view));
    families.push(of_certificates(view));
    families
}

fn gauge(name: &str, help: &str, value: f64) -> Family {
    gauges(name, help, vec![(Vec::new(), value)])
}

fn gauges(name: &str, help: &str, values: Vec<(Labels, f64)>) -> Family {
    Family { name: name.into(), help: help.into(), values: Values::Gauges(values) }
}

/// The family of a counter, and its label where counters share one: those of seals.
fn shown(name: &'static str) -> (String, Option<(&'static str, &'static str)>) {
    match name {
        "received" | "recovered" | "delivered" | "dead_lettered" | "shed" | "spooled"
        | "replayed" | "abandoned" => (format!("readings_{name}"), None),
        "spool_unreadable" => ("readings_lost_in_spool".into(), None),
        _ => match name.strip_prefix("sealed_") {
            Some(reason) => ("batches_sealed".into(), Some(("reason", reason))),
            None => (name.to_owned(), None),
        },
    }
}

fn counters(view: &View) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for Counted { name, help, values } in view.books.metrics.each() {
        let (name, shared) = shown(name);
        let labels = |own: Option<(_, &str)>| {
            own.or(shared).map(|(name, word)| (name, word.to_owned())).into_iter().collect()
        };
        let values = values.into_iter().map(|(label, value)| (labels(label), value));
        match families.last_mut() {
            Some(Family { name: last, values: Values::Counters(all), .. }) if *last == name => {
                all.extend(values);
            }
            _ => {
                let help = if shared.is_some() { SEALED } else { help.trim_end_matches('.') };
                let values = Values::Counters(values.collect());
                families.push(Family { name, help: help.to_owned(), values });
            }
        }
    }
    families
}

/// The help text of a family of several counters.
const SEALED: &str = "Batches sealed, by reason: full (batch.records_max), heavy (batch.bytes_max), \
     aged (batch.age_max), starved (nothing more could come before they settled), \
     route (a record of another route had to come behind it, or needed its place), draining";

fn of_balance(view: &View) -> Vec<Family> {
    let balance = view.books.balance();
    let accounted = balance.delivered + balance.dead_lettered + balance.shed + balance.held;
    vec![
        gauge(
            "readings_held",
            "Readings received and not yet delivered, dead-lettered or shed",
            count(balance.held),
        ),
        gauge("spool_readings", "Of those held, readings in the spool", count(balance.spooled)),
        gauge(
            "balance_difference_readings",
            "Received less delivered, dead-lettered, shed and held: 0 but for records on their way between two columns",
            count(balance.received) - count(accounted),
        ),
    ]
}

fn of_health(view: &View, now: Now) -> Vec<Family> {
    let readiness = view.readiness(now.instant);
    let moments = view.books.gauges.moments();
    let since = |moment: Option<Instant>| {
        moment.map_or(0.0, |it| now.instant.saturating_duration_since(it).as_secs_f64())
    };
    let build = vec![
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("embedded_broker", cfg!(feature = "embedded-broker").to_string()),
    ];
    let oldest = view.books.oldest_age(now.instant).unwrap_or_default().as_secs_f64();
    let latencies = view.books.gauges.confirmation.0.clone();
    vec![
        gauge("ready", "1 while readings come in and batches go out, or would: what /readyz says", f64::from(u8::from(readiness.ready))),
        gauge("oldest_reading_age_seconds", "Age of the oldest reading that has not settled; 0 if none waits", oldest),
        gauge("spooling_seconds", "How long the spool has held something; 0 if it is empty", since(moments.spooling)),
        Family {
            name: "batch_confirmation_seconds".into(),
            help: "From the receipt of a batch's oldest reading to the output broker's acknowledgement; without batches that went through the spool".into(),
            values: Values::Latencies(latencies),
        },
        gauge("last_reload_success", "0 if the configuration that was read last is refused, and the one before runs", f64::from(u8::from(view.books.gauges.reload_refused.get() == 0))),
        gauge("last_reload_timestamp_seconds", "When the configuration was read again, in seconds since 1970; 0 if it never was", count(view.books.gauges.reload_at.get()) / 1000.0),
        gauges("build_info", "1; the program's version and parts", vec![(build, 1.0)]),
    ]
}

fn of_limits(view: &View) -> Vec<Family> {
    let pair = |level: Level| {
        [
            gauge(level.name, level.help, count(level.value)),
            gauge(
                &format!("{}_max", level.name),
                &format!("Its limit: {}", level.limit),
                count(level.max),
            ),
        ]
    };
    let mut families: Vec<Family> = levels(view).into_iter().flat_map(pair).collect();
    families.push(gauge(
        "spool_batches",
        "Batches and dead letters in the spool",
        count(view.books.gauges.spool_batches.get()),
    ));
    families
}

fn of_sessions(view: &View) -> Vec<Family> {
    let sessions = view.sessions();
    let label = |name: &str| vec![("session", name.to_owned())];
    let usable =
        sessions.iter().map(|(name, seen)| (label(name), f64::from(u8::from(seen.usable))));
    let epochs = sessions.iter().map(|(name, seen)| (label(name), seen.epoch));
    let open = view.books.standings.sessions().into_iter();
    let open = open.map(|(name, it)| (vec![("entry", name)], count(it.unacknowledged())));
    vec![
        gauges(
            "session_usable",
            "1 while readings (of an entry) or batches (of the output) can pass",
            usable.collect(),
        ),
        Family {
            name: "session_connections".into(),
            help: "Connections of this client so far; its epoch".into(),
            values: Values::Counters(epochs.collect()),
        },
        gauges(
            "unacknowledged_messages",
            "Messages that came and are not acknowledged yet",
            open.collect(),
        ),
        gauge(
            "unacknowledged_messages_max",
            "Its limit for each entry: broker.window_messages, or a share of queue.records_max",
            f64::from(view.plan.get().window_each()),
        ),
    ]
}

fn of_entries(view: &View) -> Vec<Family> {
    let entries = view.entries();
    let label = |name: &str| vec![("entry", name.to_owned())];
    let counters = |name: &str, help: &str, value: fn(&Sum) -> u64| Family {
        name: name.into(),
        help: format!("{help}, by configured entry"),
        values: Values::Counters(
            entries.iter().map(|it| (label(&it.name), value(&it.sum))).collect(),
        ),
    };
    let gauges = |name: &str, help: &str, value: fn(&Sum) -> f64| {
        let values = entries.iter().map(|it| (label(&it.name), value(&it.sum))).collect();
        gauges(name, &format!("{help}, by configured entry"), values)
    };
    vec![
        counters(
            "entry_readings_received",
            "Readings taken, with those of earlier runs found in the spool",
            |it| it.balance.received,
        ),
        counters(
            "entry_readings_delivered",
            "Readings whose batch the output broker acknowledged",
            |it| it.balance.delivered,
        ),
        counters("entry_readings_dead_lettered", "Readings put on the dead-letter topic", |it| {
            it.balance.dead_lettered
        }),
        counters("entry_readings_shed", "Readings lost on purpose", |it| it.balance.shed),
        gauges("entry_readings_held", "Readings not yet delivered, dead-lettered or shed", |it| {
            count(it.balance.held)
        }),
        gauges(
            "entry_readings_waiting",
            "Readings that wait for their turn (quota, keep_latest), in no column of the balance yet",
            |it| count(it.waiting),
        ),
        gauges("entry_sensors", "Sensors with books of their own", |it| count(it.sensors)),
        gauges(
            "entry_sensors_late",
            "Sensors of which nothing has come for one and a half of their intervals",
            |it| count(it.late),
        ),
        gauges(
            "entry_sensors_silent",
            "Sensors of which nothing has come for three of their intervals",
            |it| count(it.silent),
        ),
        counters(
            "entry_readings_without_sequence",
            "Readings of sensors for which gateway.sensors_max left no row",
            |it| it.without_row,
        ),
        counters(
            "entry_times_unused",
            "Readings with a time of their own that could not be read, or was not plausible",
            |it| it.times_unused,
        ),
        gauges(
            "entry_last_reading_timestamp_seconds",
            "When the last reading came, in seconds since 1970; 0 if none has",
            |it| count(it.last_received.map_or(0, Timestamp::millis)) / 1000.0,
        ),
    ]
}

fn of_letters(view: &View) -> Family {
    let letters = view.books.tally.by_entry();
    let mut values = Vec::new();
    for Listed { place, name, .. } in view.entries() {
        let Some(place) = place else { continue };
        for reason in Reason::ALL.map(Reason::as_str) {
            let labels = vec![("entry", name.clone()), ("reason", reason.to_owned())];
            values.push((labels, letters.get(&(place, reason)).copied().unwrap_or(0)));
        }
    }
    let words = Reason::ALL.map(Reason::as_str).join(", ");
    Family {
        name: "entry_dead_letters".into(),
        help: format!("Messages that became dead letters, by configured entry and reason: {words}"),
        values: Values::Counters(values),
    }
}

fn of_certificates(view: &View) -> Family {
    let value = |it: Certificate| {
        let labels = vec![("broker", it.broker.to_owned()), ("kind", it.kind.word().to_owned())];
        (labels, count(it.end.millis()) / 1000.0)
    };
    let values = view.books.certificates.all().into_iter().map(value).collect();
    gauges(
        "certificate_expiry_timestamp_seconds",
        "When the first of these certificates expires, in seconds since 1970, by the broker's section and by kind: ca (tls.ca_file), client (tls.cert_file), server (as the broker has shown them last)",
        values,
    )
}

/// The figures of the process, under the names that all Prometheus clients use.
pub(super) fn of_process(view: &View) -> Vec<Family> {
    let started = count(view.started.wall.millis()) / 1000.0;
    vec![
        gauge(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970",
            started,
        ),
        gauge(
            "process_resident_memory_bytes",
            "Resident memory",
            count(process::resident_bytes().unwrap_or_default()),
        ),
        Family {
            name: "process_cpu_seconds".into(),
            help: "Processor time used".into(),
            values: Values::Seconds(process::cpu_seconds().unwrap_or_default()),
        },
    ]
}

/// A count as a gauge's value; exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
pub(super) fn count(value: u64) -> f64 {
    value as f64
}
