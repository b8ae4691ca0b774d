//! Our own output that comes back: a subscription takes the output topic, perhaps by another listener or
//! another name of the broker, which no check of addresses can see. Each batch would be a reading of the next
//! one, for ever.
//!
//! With MQTT 5 the batches of readings and of dead letters have a user property `batch`, whose id begins with
//! this run: gateway id, start and a random number. Such a message is acknowledged, counted as a loop and not
//! taken. Once a minute one is warned of, and one becomes a dead letter (`loop`), so that whoever reads those
//! learns of it; a dead letter of ours that comes back never becomes one again.
//!
//! Only this run's are known, by decision: an earlier run had the same gateway id, but so may another gateway
//! have at whose output this one listens (the id has a default). To take theirs for ours would be to
//! acknowledge readings and lose them. What an earlier run left in a queue, or in the spool, comes in once as
//! a reading, leaves in a batch of this run, and is known when it comes again. Batches of other gateways are
//! a legitimate input.
//!
//! MQTT 3.1.1 has no user properties, and a bridge may drop them: there only `check` looks, at addresses and
//! topics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::mqtt::publish::{Publish, user_property};
use crate::repeat::{LeftOut, Repeated};

/// For each entry, one message of our own output is logged and becomes a dead letter at most this often. The others are only
/// counted.
const LOOP_PAUSE: Duration = Duration::from_mins(1);

/// What this run has published.
#[derive(Debug)]
pub(super) struct Own {
    /// What the ids of all its batches begin with.
    run: Arc<str>,
    warned: Repeated,
    lettered: Repeated,
}

/// A batch that has come back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Back<'a> {
    /// Its id.
    pub(super) batch: &'a str,
    /// It is one of dead letters.
    is_letters: bool,
}

impl Own {
    pub(super) fn new(run: Arc<str>) -> Self {
        Self { run, warned: Repeated::default(), lettered: Repeated::default() }
    }

    /// Whether a message is of this run.
    pub(super) fn back<'a>(&self, publish: &Publish<'a>) -> Option<Back<'a>> {
        if publish.properties.is_empty() {
            return None;
        }
        let batch = std::str::from_utf8(user_property(publish.properties, "batch")?).ok()?;
        let rest = batch.strip_prefix(&*self.run)?.strip_prefix('-')?;
        Some(Back { batch, is_letters: rest.starts_with('d') || rest.ends_with("-d") })
    }

    /// Whether to warn of one now, and how many were not.
    pub(super) fn warns(&mut self, now: Instant) -> Option<LeftOut> {
        self.warned.due_after(LOOP_PAUSE, now)
    }

    /// Whether one becomes a dead letter now.
    pub(super) fn becomes_letter(&mut self, back: &Back<'_>, now: Instant) -> bool {
        !back.is_letters && self.lettered.due_after(LOOP_PAUSE, now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The user properties of this message, name and value in turn.
    fn properties(pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in pairs {
            out.push(0x26);
            for text in [name, value] {
                out.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
                out.extend_from_slice(text.as_bytes());
            }
        }
        out
    }

    fn publish(properties: &[u8]) -> Publish<'_> {
        Publish {
            dup: false,
            qos: 1,
            retain: false,
            topic: b"t",
            packet_id: 1,
            properties,
            payload: b"1",
            cut: None,
        }
    }

    #[test]
    fn only_the_batches_of_this_run_are_known() {
        let own = Own::new("gw-18f3c2a70007".into());
        let mut told = Vec::new();
        for batch in [
            "gw-18f3c2a70007-1",
            "gw-18f3c2a70007-12.3",
            "gw-18f3c2a70007-d4/2",
            "gw-18f3c2a70007-4.1-d",
            "gw-18f3c2a700071-1",
            "gw-18f3c2a60007-1",
            "other-18f3c2a70007-1",
            "",
        ] {
            let bytes = properties(&[("gateway", "gw"), ("batch", batch), ("count", "1")]);
            told.push(own.back(&publish(&bytes)).map(|it| (it.batch == batch, it.is_letters)));
        }
        let (batch, letters) = (Some((true, false)), Some((true, true)));
        assert_eq!(told, [batch, batch, letters, letters, None, None, None, None]);
        assert_eq!(own.back(&publish(b"")), None);
        assert_eq!(own.back(&publish(&properties(&[("gateway", "gw")]))), None);
    }

    #[test]
    fn one_a_minute_is_a_dead_letter_and_none_of_letters_is() {
        let mut own = Own::new("gw-1".into());
        let now = crate::clock::now().instant;
        let back = |is_letters| Back { batch: "gw-1-1", is_letters };
        assert!(
            !own.becomes_letter(&back(true), now),
            "our dead letters never become dead letters"
        );
        assert!(own.becomes_letter(&back(false), now));
        assert!(!own.becomes_letter(&back(false), now + LOOP_PAUSE / 2));
        assert!(!own.becomes_letter(&back(true), now + LOOP_PAUSE));
        assert!(own.becomes_letter(&back(false), now + LOOP_PAUSE));
        assert!(own.warns(now).is_some() && own.warns(now + LOOP_PAUSE / 2).is_none());
    }
}
