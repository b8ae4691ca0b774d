//! What can only be judged when all settings are known: relations between sections.

use super::Plan;
use crate::limits::{RECORD_OVERHEAD_BYTES, SOURCES_MAX, mebibytes};
use crate::mqtt::options::{BrokerUrl, Tls};

/// MQTT 5 §1.5.5: a packet has at most 268,435,455 bytes; the rest is for what is no record.
const BATCH_BYTES_MOST: usize = 268_000_000;

impl Plan {
    /// What is wrong with the settings taken together: key and remedy.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, text: String| problems.push((key.to_owned(), text));
        self.check_names(&mut wrong);
        self.check_brokers(&mut wrong);
        self.check_limits(&mut wrong);
        problems
    }

    fn check_names(&self, wrong: &mut impl FnMut(&str, String)) {
        let id = &self.gateway.id;
        let usable = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if id.is_empty() || id.len() > 64 || !id.chars().all(usable) {
            let text =
                format!("{id:?} is not usable: 1 to 64 letters, digits, \"-\", \"_\", \".\"");
            wrong("gateway.id", text);
        }
        if self.sensors.is_empty() {
            let text =
                "there is no sensor: add [sensors.<name>.simulated] or [sensors.<name>.mqtt]";
            wrong("sensors", text.into());
        }
        for name in self.sensors.keys() {
            if name.is_empty() || name.len() > 64 || !name.chars().all(|c| usable(c) && c != '.') {
                let text = "the name is not usable: 1 to 64 letters, digits, \"-\" or \"_\"";
                wrong(&format!("sensors.{name}"), text.into());
            }
        }
        if self.intakes().count() > SOURCES_MAX {
            let text = format!("more than {SOURCES_MAX} MQTT entries: join some with a wildcard");
            wrong("sensors", text);
        }
        if self.output.topic == self.output.dead_letter_topic {
            wrong("output.dead_letter_topic", "is the same as output.topic".into());
        }
        self.check_loops(wrong);
    }

    /// A gateway must not eat what it makes.
    fn check_loops(&self, wrong: &mut impl FnMut(&str, String)) {
        if self.output_broker().url != self.broker.url {
            return;
        }
        for (name, settings) in self.intakes() {
            let published = [&self.output.topic, &self.output.dead_letter_topic];
            for topic in published.iter().filter(|it| settings.topic.matches(it.as_str())) {
                let text = format!(
                    "{} matches {topic}, which this gateway publishes: its own batches would come \
                     back as readings; choose a narrower filter or another output topic",
                    settings.topic
                );
                wrong(&format!("sensors.{name}.mqtt.topic"), text);
            }
        }
    }

    fn check_brokers(&self, wrong: &mut impl FnMut(&str, String)) {
        let brokers =
            [("broker", Some(&self.broker)), ("output.broker", self.output.broker.as_ref())];
        for (key, broker) in brokers.into_iter().filter_map(|(key, it)| Some((key, it?))) {
            let keep_alive = broker.keep_alive.0.as_secs();
            if !(2..=65_535).contains(&keep_alive) {
                wrong(&format!("{key}.keep_alive"), "must be from 2s to 65535s".into());
            }
            if broker.password_file.is_some() && broker.username.is_none() {
                wrong(&format!("{key}.username"), "is missing beside password_file".into());
            }
            let tls = &broker.tls;
            if tls.cert_file.is_some() != tls.key_file.is_some() {
                let text = "cert_file and key_file belong together: one is missing";
                wrong(&format!("{key}.tls"), text.into());
            }
            let is_tls = matches!(broker.url, BrokerUrl::Remote { tls: true, .. });
            if *tls != Tls::default() && !is_tls {
                let text =
                    format!("is set, but the address is {}: write mqtts:// or wss://", broker.url);
                wrong(&format!("{key}.tls"), text);
            }
            if broker.url == BrokerUrl::Embedded && key != "broker" {
                let text = "only broker.url can be \"embedded\"";
                wrong(&format!("{key}.url"), text.into());
            }
            if broker.url == BrokerUrl::Embedded && !cfg!(feature = "embedded-broker") {
                let text = "this program was built without the embedded broker: give the address \
                            of one, such as \"mqtt://localhost:1883\"";
                wrong(&format!("{key}.url"), text.into());
            }
        }
    }

    fn check_limits(&self, wrong: &mut impl FnMut(&str, String)) {
        let record = self.queue.record_bytes_max.get() + RECORD_OVERHEAD_BYTES;
        if self.queue.bytes_max.get() < 4 * record {
            let text =
                format!("is too small for records of up to {record} bytes: at least 4 of them");
            wrong("queue.bytes_max", text);
        }
        if self.output.answer_max.0.as_secs() < 1 {
            wrong("output.answer_max", "must be at least 1s".into());
        }
        if self.batch.bytes_max.get() < record {
            let text = format!(
                "is too small for a record of up to {record} bytes (queue.record_bytes_max and its \
                 envelope)"
            );
            wrong("batch.bytes_max", text);
        }
        if self.batch.bytes_max.get() > BATCH_BYTES_MOST {
            let text = format!("is above {BATCH_BYTES_MOST} bytes, more than an MQTT packet holds");
            wrong("batch.bytes_max", text);
        }
        if self.batch.records_max > self.queue.records_max {
            let text = format!(
                "is above queue.records_max = {}: such a batch can never be full",
                self.queue.records_max
            );
            wrong("batch.records_max", text);
        }
        let simulated: u64 = self.simulated().map(|(_, it)| u64::from(it.sensors())).sum();
        if simulated > u64::from(self.gateway.sensors_max.get()) {
            let text = format!("is below the {simulated} simulated sensors");
            wrong("gateway.sensors_max", text);
        }
        let bound = self.budget().total();
        if bound > self.gateway.memory_max.get() as u64 {
            let text = format!(
                "is {}, but the limits add up to {}:\n{}\n  raise it, or lower one of these",
                mebibytes(self.gateway.memory_max.get() as u64),
                mebibytes(bound),
                self.budget()
            );
            wrong("gateway.memory_max", text);
        }
    }
}
