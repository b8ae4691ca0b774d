//! Every limit with its current value.

use super::{View, process};
use crate::limits::{
    DEAD_LETTERS_IN_FLIGHT_MAX, HTTP_CONNECTIONS_MAX, HTTP_STREAMS_MAX, WAITING_MAX,
};
use crate::plan::http::answers_max;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Level {
    /// The metric's name; the limit's is this with `_max`.
    pub(super) name: &'static str,
    /// The key of the configuration that sets the limit, or words.
    pub(super) limit: &'static str,
    pub(super) help: &'static str,
    pub(super) value: u64,
    pub(super) max: u64,
}

/// The name of the memory's.
pub(super) const MEMORY: &str = "memory_bytes";

/// All limits of the gateway as a whole.
pub(super) fn levels(view: &View) -> Vec<Level> {
    let (plan, books) = (view.plan.get(), &view.books);
    let gauges = &books.gauges;
    let level = |name, limit, help, value, max: u64| Level { name, limit, help, value, max };
    let mut levels = vec![
        level(
            "queue_records",
            "queue.records_max",
            "Records between their receipt and their settlement",
            books.queue.held(),
            plan.queue.records_max.get().into(),
        ),
        level(
            "queue_bytes",
            "queue.bytes_max",
            "Bytes of the texts of those records",
            books.queue.held_bytes() as u64,
            plan.queue.bytes_max.get() as u64,
        ),
        level(
            "batch_records",
            "batch.records_max",
            "Records in the open batch",
            gauges.batch_records.get(),
            plan.batch.records_max.get().into(),
        ),
        level(
            "window_batches",
            "output.window_batches",
            "Batches published and not yet acknowledged",
            gauges.window_batches.get(),
            plan.output.window_batches.get().into(),
        ),
        level(
            "window_dead_letters",
            "dead letters in flight",
            "Batches of dead letters published and not yet acknowledged",
            gauges.window_dead_letters.get(),
            DEAD_LETTERS_IN_FLIGHT_MAX as u64,
        ),
        level(
            "waiting_dead_letters",
            "queue.records_max",
            "Dead letters that wait for room on their topic, or in their batch",
            gauges.letters_waiting.get(),
            plan.queue.records_max.get().into(),
        ),
        level(
            "sensors",
            "gateway.sensors_max",
            "Sensors with books of their own",
            books.registry.sensors(),
            plan.gateway.sensors_max.get().into(),
        ),
        level(
            MEMORY,
            "memory bound",
            "Resident memory of the process, and the bound that was computed for it",
            process::resident_bytes().unwrap_or_default(),
            plan.budget().total(),
        ),
    ];
    levels.extend(of_http(view));
    levels.extend(of_spool(view));
    levels
}

fn of_http(view: &View) -> Vec<Level> {
    let level = |name, limit, help, value, max: u64| Level { name, limit, help, value, max };
    vec![
        level(
            "http_connections",
            "connections to http.listen",
            "Connections that ask for health, metrics or status",
            view.seats.connections() as u64,
            HTTP_CONNECTIONS_MAX as u64,
        ),
        level(
            "http_answers",
            "answers at a time on http.listen",
            "Answers with metrics or status that are being written",
            view.seats.answers() as u64,
            answers_max(view.books.registry.entries().len()) as u64,
        ),
        level(
            "http_streams",
            "streams at a time on http.listen",
            "Clients of /api/stream",
            view.seats.streams() as u64,
            HTTP_STREAMS_MAX as u64,
        ),
    ]
}

fn of_spool(view: &View) -> Vec<Level> {
    let (plan, gauges) = (view.plan.get(), &view.books.gauges);
    let settings = &plan.spool;
    if settings.path.is_none() {
        return Vec::new();
    }
    vec![
        Level {
            name: "spool_bytes",
            limit: "spool.bytes_max",
            help: "Bytes that the spool holds",
            value: gauges.spool_bytes.get(),
            max: settings.bytes_max.get(),
        },
        Level {
            name: "spool_waiting_batches",
            limit: "batches that wait for the disk",
            help: "Batches and dead letters that wait to be written to the spool",
            value: gauges.spool_waiting.get(),
            max: WAITING_MAX as u64,
        },
    ]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock;
    use crate::ops::seats::Size;
    use crate::ops::tests::view;
    use crate::plan::Plan;
    use crate::record::{Arrival, Body, Chunk, Record, Span};
    use crate::settlement::Token;

    /// Each has a value of its own: none is shown in place of another.
    #[test]
    fn each_limit_is_shown_with_what_is_counted_against_it() {
        let view = view();
        view.plan.set(Arc::new(Plan {
            spool: crate::spool::Settings { path: Some("/spool".into()), ..Default::default() },
            ..Plan::clone(&view.plan.get())
        }));
        let (books, gauges) = (&view.books, &view.books.gauges);
        let mut chunk = Chunk::default();
        for sensor in ["a", "b", "c"] {
            let row = books.registry.row_left(sensor, None);
            let (value, none) = (chunk.put(&[b'1'; 100]), Span::default());
            chunk.records.push(Record {
                sensor: row.index,
                id: none,
                sequence: 1,
                received: clock::now().wall,
                token: Token::NONE,
                topic: none,
                arrival: Arrival::default(),
                body: Body::Reading { value, timestamp: none, labels: none, extra: none },
            });
        }
        assert!(books.queue.inlet().try_offer(&mut chunk, &mut Vec::new()));
        gauges.batch_records.set(11);
        gauges.window_batches.set(12);
        gauges.window_dead_letters.set(13);
        gauges.letters_waiting.set(14);
        gauges.spool_bytes.set(15);
        gauges.spool_waiting.set(16);
        let connections: Vec<_> = (0..5).map(|_| view.seats.enter()).collect();
        let answers: Vec<_> = (0..2).map(|_| view.seats.answer(2, Size::Whole)).collect();
        let streams: Vec<_> = (0..4).map(|_| view.seats.stream()).collect();
        let shown = |name| {
            let level = levels(&view).into_iter().find(|it| it.name == name).unwrap();
            assert!(level.max > 0, "{name}");
            level.value
        };
        let sensors = books.registry.sensors();
        for (name, value) in [
            ("queue_records", 3),
            ("queue_bytes", 300),
            ("batch_records", 11),
            ("window_batches", 12),
            ("window_dead_letters", 13),
            ("waiting_dead_letters", 14),
            ("sensors", sensors),
            ("http_connections", 5),
            ("http_answers", 2),
            ("http_streams", 4),
            ("spool_bytes", 15),
            ("spool_waiting_batches", 16),
        ] {
            assert_eq!(shown(name), value, "{name}");
        }
        assert!(sensors >= 3 && shown("memory_bytes") > 0);
        drop((connections, answers, streams));
    }
}
