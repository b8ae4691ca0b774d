//! What births have said: the name, data type and unit of each metric, which later messages leave out; and the
//! numbers by which losses are noticed (Sparkplug 3.0 §6.4.5: `seq`, `bdSeq`).
//!
//! - What a birth says holds until the next one of its node or device, or its death. The birth of a node ends those of
//!   its devices, which are born again after it.
//! - All births of an entry have a bound of bytes. A birth that would go beyond it is not kept: its metrics are
//!   readings, but what comes later by alias cannot be read.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::metric::{DataType, Metric};

/// Bytes that a node or a device needs beside its names and metrics: its places in two maps.
const PLACE_BYTES: usize = 512;

/// Bytes that a metric needs beside its texts, with room for a list that grows.
const METRIC_BYTES: usize = 2 * (size_of::<Known>() + size_of::<(u64, u32)>()) + 64;

/// What is known of the nodes of an entry.
#[derive(Debug)]
pub(super) struct Births {
    nodes: HashMap<Box<str>, Node, RandomState>,
    bytes: usize,
    bytes_max: usize,
    /// A birth was not kept, for want of room.
    is_short: bool,
}

/// A node.
#[derive(Debug, Default)]
struct Node {
    /// The metrics of its devices, and under an empty name its own.
    devices: HashMap<Box<str>, Metrics, RandomState>,
    /// The number of its last message: 0 to 255.
    seq: Option<u64>,
    /// The number of its birth, which its death has, too.
    bd_seq: Option<u64>,
    /// Its birth is one that an earlier run has heard.
    is_old: bool,
}

/// The metrics of a node or of a device.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// By name.
    all: Vec<Known>,
    /// The places of those that have an alias, by alias.
    aliases: Vec<(u64, u32)>,
    bytes: usize,
}

/// A metric that was born.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) name: Box<str>,
    pub(super) data_type: DataType,
    pub(super) unit: Option<Box<str>>,
}

impl Metrics {
    pub(super) fn of_alias(&self, alias: u64) -> Option<&Known> {
        let at = self.aliases.binary_search_by_key(&alias, |it| it.0).ok()?;
        self.all.get(usize::try_from(self.aliases.get(at)?.1).ok()?)
    }

    pub(super) fn of_name(&self, name: &str) -> Option<&Known> {
        let at = self.all.binary_search_by(|it| (*it.name).cmp(name)).ok()?;
        self.all.get(at)
    }

    /// The metrics of a birth; `None` if they need more bytes than this.
    fn born(metrics: &mut dyn Iterator<Item = Metric<'_>>, bytes_max: usize) -> Option<Self> {
        let (mut born, mut bytes) = (Vec::new(), PLACE_BYTES);
        for metric in metrics {
            let Some(name) = metric.name else { continue };
            let unit = metric.unit();
            bytes += METRIC_BYTES + name.len() + unit.map_or(0, str::len);
            if bytes > bytes_max {
                return None;
            }
            let (data_type, unit) = (metric.data_type, unit.map(Into::into));
            born.push((Known { name: name.into(), data_type, unit }, metric.alias));
        }
        // Of two with one name the last one counts; of two with one alias the first one by name.
        born.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        born.reverse();
        born.dedup_by(|a, b| a.0.name == b.0.name);
        born.reverse();
        let aliases = (0..).zip(&born).filter_map(|(at, (_, alias))| alias.map(|it| (it, at)));
        let mut aliases: Vec<(u64, u32)> = aliases.collect();
        aliases.sort_unstable();
        aliases.dedup_by_key(|it| it.0);
        Some(Self { all: born.into_iter().map(|it| it.0).collect(), aliases, bytes })
    }
}

impl Births {
    /// Of an entry, of which so many bytes are kept.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { nodes: HashMap::default(), bytes: 0, bytes_max, is_short: false }
    }

    /// Whether births were left out, for want of room.
    pub(super) fn are_short(&self) -> bool {
        self.is_short
    }

    /// The bound of their bytes.
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// What is known of a device, or of the node itself.
    pub(super) fn of(&self, node: &str, device: &str) -> Option<&Metrics> {
        self.nodes.get(node)?.devices.get(device)
    }

    /// A node or a device is born, with these metrics.
    pub(super) fn born(
        &mut self,
        (node, device): (&str, &str),
        metrics: &mut dyn Iterator<Item = Metric<'_>>,
        bd_seq: Option<u64>,
    ) {
        self.forget(node, device);
        let names = node.len() + device.len();
        let left = self.bytes_max.saturating_sub(self.bytes + names + PLACE_BYTES);
        let Some(metrics) = Metrics::born(metrics, left) else {
            self.is_short = true;
            return;
        };
        let is_new = !self.nodes.contains_key(node);
        self.bytes += if is_new { node.len() + PLACE_BYTES } else { 0 };
        self.bytes += device.len() + metrics.bytes;
        let entry = self.nodes.entry(node.into()).or_default();
        if device.is_empty() {
            entry.bd_seq = bd_seq;
        }
        entry.devices.insert(device.into(), metrics);
    }

    /// The same, of a birth that an earlier run has heard.
    pub(super) fn learn(
        &mut self,
        (node, device): (&str, &str),
        metrics: &mut dyn Iterator<Item = Metric<'_>>,
        bd_seq: Option<u64>,
    ) {
        self.born((node, device), metrics, bd_seq);
        if let Some(known) = self.nodes.get_mut(node) {
            known.is_old = true;
        }
    }

    /// A device is no more, or, without a name, a node with all its devices.
    pub(super) fn forget(&mut self, node: &str, device: &str) {
        let Some(known) = self.nodes.get_mut(node) else { return };
        if device.is_empty() {
            let held = known.devices.iter().map(|(name, it)| name.len() + it.bytes).sum::<usize>();
            self.bytes -= held + node.len() + PLACE_BYTES;
            self.nodes.remove(node);
            return;
        }
        if let Some((name, metrics)) = known.devices.remove_entry(device) {
            self.bytes -= name.len() + metrics.bytes;
        }
    }

    /// Whether their bytes are those that are counted, and no more than may be.
    #[cfg(test)]
    pub(super) fn are_within(&self) -> bool {
        let of = |node: &Node| {
            node.devices.iter().map(|(name, it)| name.len() + it.bytes).sum::<usize>()
        };
        let held = self.nodes.iter().map(|(name, node)| name.len() + PLACE_BYTES + of(node));
        self.bytes == held.sum::<usize>() && self.bytes <= self.bytes_max
    }

    /// The names of a node's devices, in order.
    pub(super) fn devices(&self, node: &str) -> Vec<&str> {
        let devices = self.nodes.get(node).map(|it| it.devices.keys()).into_iter().flatten();
        let mut all: Vec<&str> = devices.map(AsRef::as_ref).filter(|it| !it.is_empty()).collect();
        all.sort_unstable();
        all
    }

    /// Whether a death with this number is that of a birth before the last one.
    pub(super) fn is_stale(&self, node: &str, bd_seq: Option<u64>) -> bool {
        let born = self.nodes.get(node).and_then(|it| it.bd_seq);
        born.is_some_and(|born| bd_seq.is_some_and(|it| it != born))
    }

    /// Whether a node's birth is one that an earlier run has heard: there may have been another one since.
    pub(super) fn is_unsure(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|it| it.is_old)
    }

    /// The number of a node's last message is not known.
    pub(super) fn lose_count(&mut self, node: &str) {
        if let Some(known) = self.nodes.get_mut(node) {
            known.seq = None;
        }
    }

    /// Notes the number of a node's message; how many before it have not come. Numbers count to 255 and begin again
    /// (§6.4.5): one that is less than half of them behind is of a message that comes again, so where 128 or more are lost
    /// in a row, none is noticed.
    pub(super) fn count(&mut self, node: &str, is_birth: bool, seq: Option<u64>) -> u64 {
        let Some(seq) = seq.filter(|it| *it < 256) else { return 0 };
        let Some(known) = self.nodes.get_mut(node) else { return 0 };
        let Some(before) = known.seq.filter(|_| !is_birth) else {
            known.seq = Some(seq);
            return 0;
        };
        let ahead = (seq + 256 - before) % 256;
        if (1..=128).contains(&ahead) {
            known.seq = Some(seq);
        }
        if ahead <= 128 { ahead.saturating_sub(1) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &'static str, alias: u64) -> Metric<'static> {
        Metric { name: Some(name), alias: Some(alias), data_type: DataType(9), ..Metric::default() }
    }

    #[test]
    fn a_metric_is_known_by_name_and_alias_until_its_device_dies() {
        let mut births = Births::new(1 << 16);
        births.born(("G/N", ""), &mut [metric("a", 1)].into_iter(), Some(0));
        births.born(
            ("G/N", "D"),
            &mut [metric("c", 9), metric("b", 7), metric("b", 8)].into_iter(),
            None,
        );
        let name = |births: &Births, device, alias| {
            births.of("G/N", device)?.of_alias(alias).map(|it| it.name.to_string())
        };
        assert_eq!(name(&births, "", 1).as_deref(), Some("a"));
        assert_eq!(name(&births, "D", 8).as_deref(), Some("b"), "the last one counts");
        assert_eq!(name(&births, "D", 7), None);
        assert_eq!(name(&births, "D", 9).as_deref(), Some("c"));
        assert!(births.of("G/N", "D").unwrap().of_name("c").is_some());
        assert_eq!(births.devices("G/N"), ["D"]);
        births.born(("G/N", ""), &mut [metric("a", 2)].into_iter(), Some(1));
        assert_eq!(name(&births, "D", 9), None, "a node's birth ends those of its devices");
        assert_eq!(
            (births.is_stale("G/N", Some(0)), births.is_stale("G/N", Some(1))),
            (true, false)
        );
        births.forget("G/N", "");
        assert_eq!(births.bytes, 0, "the books of bytes close");
    }

    #[test]
    fn births_that_have_no_room_are_not_kept() {
        let mut births = Births::new(4 * PLACE_BYTES);
        births.born(("G/N", ""), &mut [metric("a", 1)].into_iter(), None);
        assert!(!births.are_short());
        for device in ["D", "E", "F", "G"] {
            births.born(("G/N", device), &mut [metric("b", 7)].into_iter(), None);
            assert!(births.bytes <= births.bytes_max);
        }
        assert!(births.are_short());
        births.born(("G/N", "D"), &mut (0..1000).map(|it| metric("x", it)), None);
        assert!(births.of("G/N", "D").is_none() && births.bytes <= births.bytes_max);
    }

    #[test]
    fn what_is_missing_is_told_by_the_numbers() {
        let mut births = Births::new(1 << 16);
        assert_eq!(births.count("G/N", false, Some(9)), 0, "a node that is not known");
        births.born(("G/N", ""), &mut [].into_iter(), None);
        assert_eq!(births.count("G/N", true, Some(0)), 0);
        assert_eq!(births.count("G/N", false, Some(1)), 0);
        assert_eq!(births.count("G/N", false, Some(4)), 2);
        assert_eq!(births.count("G/N", false, Some(4)), 0, "it comes again");
        for seq in [2, 3] {
            assert_eq!(
                births.count("G/N", false, Some(seq)),
                0,
                "they come again, and 4 was the last"
            );
        }
        assert_eq!(births.count("G/N", false, Some(5)), 0);
        assert_eq!(births.count("G/N", false, Some(133)), 127);
        assert_eq!(births.count("G/N", false, Some(255)), 121);
        assert_eq!(births.count("G/N", false, Some(0)), 0);
        assert_eq!(births.count("G/N", false, None), 0);
        assert_eq!(births.count("G/N", true, Some(7)), 0, "a birth begins anew");
    }
}
