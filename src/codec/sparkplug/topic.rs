//! Topics of Sparkplug B (Sparkplug 3.0 §4): `spBv1.0/{group}/{kind}/{node}` and, of a device,
//! `spBv1.0/{group}/{kind}/{node}/{device}`; and the state of a host application, `spBv1.0/STATE/{host}`.

use crate::codec::Malformed;
use crate::record::Reason;

/// The first level of all topics.
pub const NAMESPACE: &str = "spBv1.0";

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// All metrics of a node or of a device, with what they are called and how they are written.
    Birth,
    /// The end of their life.
    Death,
    /// Metrics that have changed.
    Data,
    /// What a host asks of a node or a device.
    Command,
    /// The state of a host.
    State,
}

/// Whose a message is, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address<'a> {
    pub(super) kind: Kind,
    /// The kind as it stands in the topic: `DDATA`.
    pub(super) word: &'a str,
    pub(super) group: &'a str,
    /// The node; of a state, the host.
    pub(super) node: &'a str,
    /// Empty where it is of the node itself.
    pub(super) device: &'a str,
}

impl<'a> Address<'a> {
    pub(super) fn of(topic: &'a [u8]) -> Result<Self, Malformed> {
        let wrong = || Malformed {
            reason: Reason::Topic,
            detail:
                "no topic of Sparkplug B: spBv1.0/group/kind/node or spBv1.0/group/kind/node/device"
                    .to_owned(),
        };
        let text = std::str::from_utf8(topic).map_err(|_| wrong())?;
        let mut levels = text.split('/');
        let mut next = || levels.next();
        if next() != Some(NAMESPACE) {
            return Err(wrong());
        }
        let (Some(group), Some(word)) = (next(), next()) else { return Err(wrong()) };
        let (node, device, behind) = (next(), next(), next());
        if group == "STATE" && node.is_none() && !word.is_empty() {
            let (kind, word, node) = (Kind::State, group, word);
            return Ok(Self { kind, word, group: "", node, device: "" });
        }
        let (kind, is_device) = match word {
            "NBIRTH" => (Kind::Birth, false),
            "NDEATH" => (Kind::Death, false),
            "NDATA" => (Kind::Data, false),
            "NCMD" => (Kind::Command, false),
            "DBIRTH" => (Kind::Birth, true),
            "DDEATH" => (Kind::Death, true),
            "DDATA" => (Kind::Data, true),
            "DCMD" => (Kind::Command, true),
            _ => return Err(wrong()),
        };
        let (node, is_whole) = (node.unwrap_or_default(), behind.is_none());
        let device = if is_device { device.unwrap_or_default() } else { device.unwrap_or("") };
        let is_named = !group.is_empty() && !node.is_empty() && device.is_empty() != is_device;
        if !is_whole || !is_named {
            return Err(wrong());
        }
        Ok(Self { kind, word, group, node, device })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_says_whose_a_message_is_and_what_it_is() {
        let of = |topic: &'static str| {
            let it = Address::of(topic.as_bytes()).ok()?;
            Some((it.kind, it.group, it.node, it.device))
        };
        assert_eq!(of("spBv1.0/G/NBIRTH/N"), Some((Kind::Birth, "G", "N", "")));
        assert_eq!(of("spBv1.0/G/NDEATH/N"), Some((Kind::Death, "G", "N", "")));
        assert_eq!(of("spBv1.0/G/DDATA/N/D"), Some((Kind::Data, "G", "N", "D")));
        assert_eq!(of("spBv1.0/G/DCMD/N/D"), Some((Kind::Command, "G", "N", "D")));
        assert_eq!(of("spBv1.0/STATE/scada"), Some((Kind::State, "", "scada", "")));
        for wrong in [
            "spAv1.0/G/NDATA/N",
            "spBv1.0/G/NDATA",
            "spBv1.0/G/NDATA/",
            "spBv1.0//NDATA/N",
            "spBv1.0/G/NDATA/N/D",
            "spBv1.0/G/DDATA/N",
            "spBv1.0/G/DDATA/N/",
            "spBv1.0/G/DDATA/N/D/x",
            "spBv1.0/G/XDATA/N",
            "spBv1.0/STATE",
            "spBv1.0/STATE/",
            "",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
