//! Warnings: settings that are valid and will surprise.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Broker, Plan};
use crate::mqtt::options::Version;
use crate::queue::OnFull;

impl Plan {
    /// The warnings of `check` and of a start: key and remedy.
    pub fn warnings(&self) -> Vec<(String, String)> {
        let shedding = self.shedding_without_choice().map(|it| ("queue.on_full".to_owned(), it));
        let window =
            self.window_beyond_memory().map(|it| ("broker.window_messages".to_owned(), it));
        let (sink, kind) = (self.output.sink.declared(), self.output.sink.name());
        let of_sink = sink.warnings(&self.surroundings()).into_iter();
        let of_sink = of_sink.map(|(key, text)| (format!("output.{kind}.{key}"), text));
        let expiry =
            self.expiry_without_a_word().map(|it| ("broker.session_expiry".to_owned(), it));
        let warnings = shedding.into_iter().chain(window).chain(of_sink).chain(expiry);
        let warnings = warnings.chain(self.payloads_without_a_message());
        warnings.chain(self.idle()).chain(self.open_secrets()).collect()
    }

    /// Settings of payloads, which simulated sensors of this process do not have.
    fn payloads_without_a_message(&self) -> impl Iterator<Item = (String, String)> {
        self.simulated().flat_map(|(name, settings)| {
            let key = move |key: &&str| format!("sensors.{name}.simulated.{key}");
            let text = "has an effect with `sluicegate simulate` only: in the gateway's process there are no \
                        payloads";
            settings.of_payloads().into_iter().map(move |it| (key(&it), text.to_owned()))
        })
    }

    /// The warning for a setting that is never sent to the broker.
    fn expiry_without_a_word(&self) -> Option<String> {
        let is_set = self.broker.session_expiry != Broker::default().session_expiry;
        (self.broker.version == Version::V3 && is_set).then(|| {
            "has no effect with version = 3: MQTT 3.1.1 has no word for it, and the broker keeps sessions \
             for as long as its own settings say"
                .to_owned()
        })
    }

    /// The warning for a window with so many packet ids that a repeat cannot be told from a new message.
    fn window_beyond_memory(&self) -> Option<String> {
        let window = self.window_each();
        let waits = self.intakes().any(|(_, entry)| entry.qos.granted() > 0);
        if !waits || self.recognises_repeats() {
            return None;
        }
        Some(format!(
            "{window} for each entry is so large that readings whose acknowledgement was lost with a \
             connection are not recognised: they are delivered twice after a cut; write 16384 or less, \
             unless a burst at a broker with short queues is the greater danger"
        ))
    }

    /// Files with secrets that every user of this machine can read.
    fn open_secrets(&self) -> impl Iterator<Item = (String, String)> {
        let files = self.brokers().flat_map(|(key, broker)| {
            [
                ("client_id_file", &broker.client_id_file),
                ("password_file", &broker.password_file),
                ("tls.key_file", &broker.tls.key_file),
            ]
            .map(|(name, path)| (format!("{key}.{name}"), path.as_deref()))
        });
        let token = ("http.token_file".to_owned(), self.http.token_file.as_deref());
        files.chain([token]).filter_map(|(key, path)| {
            let path = path.filter(|path| is_open(path))?;
            let text = format!(
                "{} can be read by every user of this machine: chmod o-r it, and give it to the user or \
                 group that the gateway runs as",
                path.display()
            );
            Some((key, text))
        })
    }

    /// A policy that chooses which records to shed chooses among the waiting ones. Records in the window and in
    /// the open batch have left the queue and keep their places. If they can fill it, the first records are
    /// kept whatever the policy.
    fn shedding_without_choice(&self) -> Option<String> {
        let policy = match self.queue.on_full {
            OnFull::Wait | OnFull::ShedNewest => return None,
            OnFull::ShedOldest => "shed_oldest",
            OnFull::KeepLatest => "keep_latest",
        };
        let (records, batch) = (self.queue.records_max.get(), self.batch.records_max.get());
        let window = self.output.window_batches.get();
        // The window, the open batch, and one more batch that waits.
        let least = u64::from(batch) * (u64::from(window) + 2);
        if u64::from(records) >= least {
            return None;
        }
        let in_flight = least - u64::from(batch);
        Some(format!(
            "\"{policy}\" chooses among readings that wait, but up to {in_flight} can be in \
             flight (batch.records_max {batch} \u{d7} (output.window_batches {window} + 1)) and \
             queue.records_max is {records}: when the output stops, the oldest are kept; raise \
             queue.records_max to {least} or more, or lower the others"
        ))
    }
}

/// Whether others than its owner and group may read a file.
fn is_open(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o004 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::{Kind, mqtt};

    #[test]
    fn a_window_too_large_to_recognise_repeats_is_warned_of() {
        let warned = |window: u16, qos: u8| {
            let mut plan = Plan::default();
            let entry = format!(r#"{{"mqtt":{{"topic":"a","qos":{qos}}}}}"#);
            plan.sensors.insert("fleet".into(), serde_json::from_str(&entry).unwrap());
            plan.broker.window_messages = window.try_into().ok();
            plan.queue.records_max = u32::from(window).try_into().unwrap();
            plan.warnings().iter().any(|(key, _)| *key == "broker.window_messages")
        };
        assert!(!warned(16_384, 1), "the default");
        assert!(warned(65_535, 1));
        assert!(!warned(65_535, 0), "nothing is acknowledged");
    }

    /// A topic whose batches are held where nobody subscribes to it.
    fn holding(change: fn(&mut mqtt::Settings)) -> Kind {
        let without_subscriber = mqtt::WithoutSubscriber::Hold;
        let mut settings = mqtt::Settings { without_subscriber, ..mqtt::Settings::default() };
        change(&mut settings);
        Kind::Mqtt(settings)
    }

    #[test]
    fn what_concerns_payloads_alone_is_warned_of() {
        let keys = |text: &str| {
            let mut plan = Plan::default();
            let settings = serde_json::from_str(text).unwrap();
            plan.sensors.insert("T".into(), crate::source::Kind::Simulated(settings));
            plan.warnings().into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        assert_eq!(keys(r#"{"faults":{"duplicate":1}}"#), [""; 0]);
        let both = keys(r#"{"payload":"{value}","faults":{"malformed":0.5}}"#);
        let expected = ["sensors.T.simulated.payload", "sensors.T.simulated.faults.malformed"];
        assert_eq!(both, expected);
    }

    #[test]
    fn an_expiry_that_is_never_sent_is_warned_of() {
        let warned = |expiry: &str, version: u8| {
            let mut plan = Plan::default();
            let settings =
                format!(r#"{{{expiry}"broker":{{"url":"mqtt://h","version":{version}}}}}"#);
            plan.output.sink = Kind::Mqtt(serde_json::from_str(&settings).unwrap());
            plan.warnings().iter().any(|(key, _)| key == "output.mqtt.expiry")
        };
        assert!(warned(r#""expiry":"1h","#, 3));
        assert!(!warned(r#""expiry":"1h","#, 5) && !warned("", 3));
    }

    #[test]
    fn what_a_broker_has_no_word_for_is_warned_of() {
        let keys = |change: fn(&mut Plan)| {
            let mut plan = Plan::default();
            plan.output.sink = holding(|_| {});
            plan.broker.session_expiry = crate::units::Period::millis(1000);
            change(&mut plan);
            plan.warnings().into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        let (hold, expiry) = ("output.mqtt.without_subscriber", "broker.session_expiry");
        assert_eq!(keys(|_| {}), [""; 0]);
        assert_eq!(keys(|plan| plan.broker.version = Version::V3), [hold, expiry]);
        assert_eq!(keys(|plan| plan.output.sink = holding(|it| it.qos.0 = 0)), [hold]);
        let with_properties = |plan: &mut Plan| {
            let entry =
                r#"{"mqtt":{"topic":"a","ignore":"b","properties":"all","expiry":"dead_letter"}}"#;
            plan.sensors.insert("x".into(), serde_json::from_str(entry).unwrap());
        };
        assert_eq!(keys(with_properties), ["sensors.x.mqtt.ignore"]);
        let mqtt_3 = keys(|plan| {
            let entry = r#"{"mqtt":{"topic":"a","properties":"all","expiry":"dead_letter"}}"#;
            plan.sensors.insert("x".into(), serde_json::from_str(entry).unwrap());
            plan.broker.version = Version::V3;
        });
        let of_entry = ["sensors.x.mqtt.properties", "sensors.x.mqtt.expiry"];
        assert_eq!(mqtt_3, [hold, expiry, of_entry[0], of_entry[1]]);
        let apart = |plan: &mut Plan| {
            plan.output.sink = holding(|it| it.broker = Some(Box::default()));
            plan.broker.version = Version::V3;
        };
        assert_eq!(keys(apart), [expiry]);
    }

    #[test]
    fn a_secret_that_everyone_can_read_is_warned_of() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut plan = Plan::default();
        plan.broker.tls.key_file = Some(file.path().to_owned());
        let warned = |plan: &Plan, mode| {
            file.as_file().set_permissions(PermissionsExt::from_mode(mode)).unwrap();
            plan.warnings().into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        assert_eq!(warned(&plan, 0o640), [""; 0]);
        assert_eq!(warned(&plan, 0o644), ["broker.tls.key_file"]);
        plan.broker.password_file = Some(file.path().to_owned());
        assert_eq!(warned(&plan, 0o604), ["broker.password_file", "broker.tls.key_file"]);
        plan.http.token_file = Some(file.path().to_owned());
        assert_eq!(warned(&plan, 0o604)[2..], ["http.token_file"]);
    }

    #[test]
    fn a_policy_that_cannot_choose_is_warned_of_with_the_numbers() {
        let mut plan = Plan::default();
        assert!(plan.warnings().is_empty(), "the default waits");
        for policy in [OnFull::ShedOldest, OnFull::KeepLatest] {
            plan.queue.on_full = policy;
            plan.queue.records_max = 8999.try_into().unwrap();
            let warnings = plan.warnings();
            let text = &warnings.first().unwrap().1;
            for word in ["8500", "8999", "9000 or more", "output.window_batches 16"] {
                assert!(text.contains(word), "{text}");
            }
            plan.queue.records_max = 9000.try_into().unwrap();
            assert!(plan.warnings().is_empty(), "{policy:?}");
        }
    }
}
