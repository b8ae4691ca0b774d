//! A metric family: a name, its help, and its values.

use prometheus_client::metrics::histogram::Histogram;

/// A metric family: the values of one name.
#[derive(Debug)]
pub(super) struct Family {
    /// The name, without prefix and `_total`.
    pub(super) name: String,
    pub(super) help: String,
    pub(super) values: Values,
}

/// Values with their labels.
#[derive(Debug)]
pub(super) enum Values {
    /// Counters: they only grow.
    Counters(Vec<(Labels, u64)>),
    /// A counter of seconds.
    Seconds(f64),
    /// Gauges: they rise and fall.
    Gauges(Vec<(Labels, f64)>),
    /// A histogram of seconds.
    Latencies(Histogram),
}

/// The labels that tell a value from the others of its family.
pub(super) type Labels = Vec<(&'static str, String)>;
