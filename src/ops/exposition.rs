//! Metrics as text, and as the table of the manual.

use std::fmt::{self, Write};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeMetric, MetricEncoder, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::View;
use super::families::{families, of_process};
use super::family::{Family, Labels, Values};
use crate::clock::{self, Now};
use crate::state::metrics::Latencies;

/// The prefix of each metric's name.
const PREFIX: &str = "sluicegate";

/// The two text formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus' own format, version 0.0.4.
    Prometheus,
    /// `OpenMetrics` 1.0, if the request asks for it.
    OpenMetrics,
}

impl Exposition {
    /// The format that the `Accept` header asks for.
    pub fn asked(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// All metrics as text.
pub fn exposed(view: &View, now: Now, exposition: Exposition) -> String {
    let mut own = Registry::default();
    own.register_collector(Box::new(Families(of_process(view))));
    written(&[&of_gateway(families(view, now)), &own], exposition)
}

/// These as text, with the gateway's prefix.
pub(super) fn exposed_families(families: Vec<Family>, exposition: Exposition) -> String {
    written(&[&of_gateway(families)], exposition)
}

fn of_gateway(families: Vec<Family>) -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Families(families)));
    registry
}

fn written(registries: &[&Registry], exposition: Exposition) -> String {
    let mut out = String::new();
    let mut write = |registry: &&Registry| match exposition {
        Exposition::Prometheus => prometheus_text::encode(&mut out, registry),
        Exposition::OpenMetrics => text::encode_registry(&mut out, registry),
    };
    registries.iter().try_for_each(&mut write).expect(WRITTEN);
    if exposition == Exposition::OpenMetrics {
        text::encode_eof(&mut out).expect(WRITTEN);
    }
    out
}

const WRITTEN: &str = "a string takes what is written to it";

/// How many took at most so long, by bound; the last one is infinite. The library gives them as text only.
pub(super) fn counts(latencies: &Latencies) -> Vec<(f64, u64)> {
    let (mut registry, mut out) = (Registry::default(), String::new());
    registry.register("took", "", latencies.0.clone());
    text::encode(&mut out, &registry).expect("a string takes what is written to it");
    let count = |line: &str| {
        let (bound, count) = line.strip_prefix("took_bucket{le=\"")?.split_once("\"} ")?;
        Some((bound.parse().ok()?, count.parse().ok()?))
    };
    out.lines().filter_map(count).collect()
}

/// The table of all metrics for the manual.
pub fn table(view: &View) -> String {
    let mut out = "| metric | labels | meaning |\n| --- | --- | --- |\n".to_owned();
    let families = families(view, clock::now()).into_iter().map(|it| (format!("{PREFIX}_"), it));
    let own = of_process(view).into_iter().map(|it| (String::new(), it));
    for (prefix, family) in families.chain(own) {
        let (suffix, labels) = match &family.values {
            Values::Counters(values) => ("_total", names(values)),
            Values::Seconds(_) => ("_total", String::new()),
            Values::Gauges(values) => ("", names(values)),
            Values::Latencies(_) => (" (histogram)", String::new()),
        };
        let (name, suffix) = match suffix.strip_prefix(' ') {
            Some(kind) => (family.name, format!("` {kind}")),
            None => (family.name + suffix, "`".to_owned()),
        };
        writeln!(out, "| `{prefix}{name}{suffix} | {labels} | {} |", family.help)
            .expect("a string takes what is written to it");
    }
    out
}

fn names<T>(values: &[(Labels, T)]) -> String {
    let labels = values.first().map(|(labels, _)| labels.as_slice()).unwrap_or_default();
    labels.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Writes families into one exposition.
#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Family { name, help, values } in &self.0 {
            let kind = match values {
                Values::Counters(_) | Values::Seconds(_) => MetricType::Counter,
                Values::Gauges(_) => MetricType::Gauge,
                Values::Latencies(_) => MetricType::Histogram,
            };
            write(values, encoder.encode_descriptor(name, help, None, kind)?)?;
        }
        Ok(())
    }
}

fn write(values: &Values, mut metric: MetricEncoder<'_>) -> fmt::Result {
    match values {
        Values::Counters(values) => values.iter().try_for_each(|(labels, value)| {
            ConstCounter::new(*value).encode(metric.encode_family(labels)?)
        }),
        Values::Gauges(values) => values.iter().try_for_each(|(labels, value)| {
            ConstGauge::new(*value).encode(metric.encode_family(labels)?)
        }),
        Values::Seconds(seconds) => ConstCounter::new(*seconds).encode(metric),
        Values::Latencies(histogram) => histogram.encode(metric),
    }
}
