//! Checks the relations between sections, once all settings are known.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use super::{Broker, Plan};
use crate::codec::Payload;
use crate::limits::RECORD_OVERHEAD_BYTES;
use crate::mqtt::options::{BrokerUrl, CREDENTIAL_BYTES_MAX, Tls};
use crate::mqtt::topic::Filter;
use crate::mqtt::topic_pattern::TopicPattern;
use crate::source::Kind;
use crate::spool;
use crate::units::DiskSize;

impl Plan {
    /// The problems of the settings taken together: key and remedy.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, text: String| problems.push((key.to_owned(), text));
        self.check_names(&mut wrong);
        self.check_brokers(&mut wrong);
        self.check_paths(&mut wrong);
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
        for (key, broker) in self.brokers() {
            let id = broker.client_id.as_ref();
            if let Some(id) = id.filter(|it| !is_client_id(it)) {
                let text = format!(
                    "{id:?} is not usable: 1 to {CLIENT_ID_BYTES_MAX} bytes without control characters \
                     and blanks"
                );
                wrong(&format!("{key}.client_id"), text);
            }
        }
        if self.sensors.is_empty() {
            let kinds = Kind::sections("sensors.<name>");
            wrong("sensors", format!("there is no sensor: add {kinds}"));
        }
        for name in self.sensors.keys() {
            if name.is_empty() || name.len() > 64 || !name.chars().all(|c| usable(c) && c != '.') {
                let text = "the name is not usable: 1 to 64 letters, digits, \"-\" or \"_\"";
                wrong(&format!("sensors.{name}"), text.into());
            }
        }
        let mut inputs = self.standard_inputs();
        if let Some(first) = inputs.next() {
            for name in inputs {
                let text =
                    format!("is read by sensors.{first}.stdin already: remove one of the two");
                wrong(&format!("sensors.{name}.stdin"), text);
            }
        }
        for (name, settings) in self.intakes() {
            for (key, text) in settings.topic_problems() {
                wrong(&format!("sensors.{name}.mqtt.{key}"), text);
            }
        }
        self.check_sessions(wrong);
        let (sink, kind) = (self.output.sink.declared(), self.output.sink.name());
        for (key, text) in sink.problems() {
            wrong(&format!("output.{kind}.{key}"), text);
        }
        if sink.is_of_lines() && !self.output.format.is_json() {
            let text = format!(
                "{:?} is for topics: a line of it that a crash tore would be read as another; write \"json\", \
                 \"json_array\" or \"ndjson\"",
                self.output.format.as_str()
            );
            wrong("output.format", text);
        }
        self.check_loops(wrong);
        self.check_notices(wrong);
        self.check_numbers(wrong);
        self.check_mappings(wrong);
    }

    /// With `group`, a gateway sees only some of each sensor's messages.
    fn check_numbers(&self, wrong: &mut impl FnMut(&str, String)) {
        for (name, settings) in self.simulated() {
            for (key, text) in settings.problems() {
                wrong(&format!("sensors.{name}.simulated.{key}"), text);
            }
        }
        for (name, settings) in self.intakes().filter(|(_, it)| it.group.is_some()) {
            if settings.counter.is_some() {
                let text = "stands beside group: the numbers that other gateways of the group take \
                            would look missing here; remove one of the two";
                wrong(&format!("sensors.{name}.mqtt.counter"), text.into());
            }
            if settings.payload.waits().is_some() {
                let text = "stands beside group: a birth goes to one gateway of the group only, and the others \
                            cannot read what comes after it; remove group";
                wrong(&format!("sensors.{name}.mqtt.payload"), text.into());
            }
        }
    }

    /// What the settings of a mapping say must fit together, and into the entry's topic.
    fn check_mappings(&self, wrong: &mut impl FnMut(&str, String)) {
        for (name, kind) in &self.sensors {
            let Some(mapping) = kind.mapping() else { continue };
            let is_text = kind.payload().is_none_or(Payload::is_text);
            if !is_text && !matches!(kind, Kind::Mqtt(_)) {
                let text = "is of bytes, and a line is text: write \"json\", or \"text\"";
                wrong(&format!("sensors.{name}.{}.payload", kind.name()), text.into());
            }
            let levels = match kind {
                Kind::Mqtt(settings) => settings.levels(),
                _ => Vec::new(),
            };
            for (key, text) in mapping.problems(&levels) {
                wrong(&format!("sensors.{name}.{}.{key}", kind.name()), text);
            }
            for (key, text) in kind.policies().problems(mapping.counter.is_some()) {
                wrong(&format!("sensors.{name}.{}.{key}", kind.name()), text);
            }
        }
    }

    /// A gateway must not subscribe to its own output.
    fn check_loops(&self, wrong: &mut impl FnMut(&str, String)) {
        if !is_same(self.output_broker(), &self.broker) {
            return;
        }
        let published: Vec<TopicPattern> =
            self.published().into_iter().chain(self.notices()).collect();
        for (name, settings) in self.intakes() {
            let pairs =
                settings.filters().flat_map(|it| published.iter().map(move |topic| (it, topic)));
            let comes_back = |(filter, topic): &(&Filter, &TopicPattern)| {
                topic.is_matched_by(filter) && !settings.ignores(&topic.open())
            };
            for (filter, topic) in pairs.filter(comes_back) {
                let text = format!(
                    "{filter} matches {topic}, which this gateway publishes: what it publishes would come \
                     back as readings; choose a narrower filter or another topic, or let `ignore` name it"
                );
                wrong(&format!("sensors.{name}.mqtt.{}", settings.topic_key()), text);
            }
        }
    }

    fn check_brokers(&self, wrong: &mut impl FnMut(&str, String)) {
        for (key, broker) in self.brokers() {
            let keep_alive = broker.keep_alive.0.as_secs();
            if !(2..=65_535).contains(&keep_alive) {
                wrong(&format!("{key}.keep_alive"), "must be from 2s to 65535s".into());
            }
            if broker.session_expiry.0.as_secs() < 1 {
                wrong(&format!("{key}.session_expiry"), "must be at least 1s".into());
            }
            if broker.connect_timeout.0.as_secs() < 1 {
                wrong(&format!("{key}.connect_timeout"), "must be at least 1s".into());
            }
            if broker.password_file.is_some() && broker.username.is_none() {
                let text =
                    format!("is missing beside {key}.password_file: write whose password it is");
                wrong(&format!("{key}.username"), text);
            }
            let name_bytes = broker.username.as_ref().map_or(0, String::len);
            if name_bytes > CREDENTIAL_BYTES_MAX {
                let text = format!("has {name_bytes} bytes: write {CREDENTIAL_BYTES_MAX} at most");
                wrong(&format!("{key}.username"), text);
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
                let text = "only broker.url can be \"embedded\": give an address, or remove \
                            this section";
                wrong(&format!("{key}.url"), text.into());
            }
            if broker.url == BrokerUrl::Embedded && !cfg!(feature = "embedded-broker") {
                let text = "this program was built without the embedded broker: give the address \
                            of one, such as \"mqtt://localhost:1883\"";
                wrong(&format!("{key}.url"), text.into());
            }
        }
    }

    /// An empty path comes from a variable that should hold a path and is empty.
    fn check_paths(&self, wrong: &mut impl FnMut(&str, String)) {
        let files = self.brokers().flat_map(|(key, it)| {
            let tls = &it.tls;
            [
                ("client_id_file", &it.client_id_file),
                ("password_file", &it.password_file),
                ("tls.ca_file", &tls.ca_file),
                ("tls.cert_file", &tls.cert_file),
                ("tls.key_file", &tls.key_file),
            ]
            .map(|(name, path)| (format!("{key}.{name}"), path))
        });
        let own = [
            ("spool.path", &self.spool.path),
            ("http.token_file", &self.http.token_file),
            ("gateway.control", &self.gateway.control),
        ];
        let own = own.into_iter().map(|(key, path)| (key.to_owned(), path));
        for (key, _) in own.chain(files).filter(|(_, path)| is_empty(path.as_ref())) {
            wrong(&key, "is empty: write a path, or leave the key out to do without".into());
        }
        let control = self.gateway.control.as_ref().map_or(0, |it| it.as_os_str().len());
        if control > CONTROL_BYTES_MAX {
            let text = format!(
                "has {control} bytes: the name of a socket has {CONTROL_BYTES_MAX} at most; write a shorter path"
            );
            wrong("gateway.control", text);
        }
    }

    fn check_spool(&self, wrong: &mut impl FnMut(&str, String)) {
        if self.spool.path.is_none() {
            return;
        }
        let batch = (self.batch.bytes_max.get() + self.batch_overhead_bytes()) as u64;
        let least = spool::BYTES_MIN.max(16 * batch);
        if self.spool.bytes_max.get() < least {
            let text = format!(
                "is below {}, room for some batches of up to batch.bytes_max: raise it",
                DiskSize::bytes(least.next_multiple_of(1 << 20))
            );
            wrong("spool.bytes_max", text);
        }
        if batch > spool::ENTRY_BYTES_MAX as u64 / 2 {
            let text =
                format!("is above {} bytes, too large for the spool", spool::ENTRY_BYTES_MAX / 2);
            wrong("batch.bytes_max", text);
        }
    }

    fn check_limits(&self, wrong: &mut impl FnMut(&str, String)) {
        let record = self.queue.record_bytes_max.get() + RECORD_OVERHEAD_BYTES;
        if self.queue.bytes_max.get() < 4 * record {
            let text =
                format!("is too small for records of up to {record} bytes: at least 4 of them");
            wrong("queue.bytes_max", text);
        }
        if self.batch.bytes_max.get() < record {
            let text = format!(
                "is too small for a record of up to {record} bytes (queue.record_bytes_max and its \
                 envelope)"
            );
            wrong("batch.bytes_max", text);
        }
        let (most, kind) =
            (self.output.sink.declared().batch_bytes_most(), self.output.sink.name());
        if self.batch.bytes_max.get() > most {
            let text = format!("is above {most} bytes, more than [output.{kind}] takes: lower it");
            wrong("batch.bytes_max", text);
        }
        if self.batch.records_max > self.queue.records_max {
            let text = format!(
                "is above queue.records_max = {}: such a batch can never be full; lower it, or \
                 raise the other",
                self.queue.records_max
            );
            wrong("batch.records_max", text);
        }
        let many = self.sensors.iter().find(|(_, kind)| kind.is_many());
        if let Some((name, _)) = many.filter(|_| self.queue.readings_max > self.queue.records_max) {
            let text = format!(
                "is above queue.records_max = {}: a message of sensors.{name} might never have room at once; \
                 lower it, or raise the other",
                self.queue.records_max
            );
            wrong("queue.readings_max", text);
        }
        self.check_spool(wrong);
        let simulated: u64 = self.simulated().map(|(_, it)| u64::from(it.sensors())).sum();
        let others =
            self.sensors.values().filter(|kind| kind.known_sensors().is_none()).count() as u64;
        if simulated + others > u64::from(self.gateway.sensors_max.get()) {
            let text = format!(
                "is below the {simulated} simulated sensors and one for each of {others} other \
                 entries: raise it"
            );
            wrong("gateway.sensors_max", text);
        }
    }
}

/// Bytes of the path of a Unix socket: 107, less those that its name has while it is made.
const CONTROL_BYTES_MAX: usize = 100;

/// Bytes of the prefix of the client ids, so that the id and the entry's name behind it stay readable. The
/// broker limits the length of the whole id (MQTT 5 §3.1.3.1: at least 23 bytes).
const CLIENT_ID_BYTES_MAX: usize = 256;

fn is_client_id(id: &str) -> bool {
    let printable = |c: char| !c.is_control() && !c.is_whitespace();
    (1..=CLIENT_ID_BYTES_MAX).contains(&id.len()) && id.chars().all(printable)
}

fn is_empty(path: Option<&PathBuf>) -> bool {
    path.is_some_and(|it| it.as_os_str().is_empty())
}

/// Whether two addresses are of one broker, as far as their text tells: host names in any case, the names of
/// this machine, and the default ports of MQTT, TLS and WebSocket.
fn is_same(a: &Broker, b: &Broker) -> bool {
    let (Some(a), Some(b)) = (place(a), place(b)) else { return a.url == b.url };
    a.0 == b.0 && (a.1 == b.1 || [a.1, b.1].iter().all(|port| DEFAULT_PORTS.contains(port)))
}

/// Of `mqtt://`, `mqtts://`, `ws://` and `wss://`.
const DEFAULT_PORTS: [u16; 4] = [1883, 8883, 80, 443];

/// Host and port; `None` if the port is chosen at start.
fn place(broker: &Broker) -> Option<(String, u16)> {
    let this = || "localhost".to_owned();
    let (host, port) = match &broker.url {
        BrokerUrl::Embedded if broker.embedded_port == 0 => return None,
        BrokerUrl::Embedded => return Some((this(), broker.embedded_port)),
        BrokerUrl::Remote { host, port, .. } => (host.trim_end_matches('.'), *port),
    };
    // 127.0.0.2 is left out: another broker may listen there.
    let is_this =
        |it: &IpAddr| [IpAddr::from([127, 0, 0, 1]), Ipv6Addr::LOCALHOST.into()].contains(it);
    let host = match host.parse::<IpAddr>().map(|it| it.to_canonical()) {
        Ok(address) if is_this(&address) || address.is_unspecified() => this(),
        Ok(address) => address.to_string(),
        Err(_) => host.to_ascii_lowercase(),
    };
    Some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::with_broker;

    fn broker(url: &str) -> Broker {
        let url = BrokerUrl::try_from(url.to_owned()).unwrap();
        Broker { url, ..Broker::default() }
    }

    #[test]
    fn one_broker_has_many_addresses() {
        for (a, b) in [
            ("mqtt://localhost", "mqtt://127.0.0.1:1883"),
            ("mqtt://LocalHost:1884", "mqtt://[::1]:1884"),
            ("mqtt://127.0.0.1", "tcp://localhost."),
            ("mqtt://plant.example", "mqtts://Plant.Example"),
            ("mqtt://[2001:DB8::0:1]", "mqtt://[2001:db8::1]:1883"),
            ("embedded", "mqtt://localhost"),
            ("mqtt://h:1890", "ws://h:1890"),
        ] {
            assert!(is_same(&broker(a), &broker(b)), "{a} {b}");
        }
        for (a, b) in [
            ("mqtt://localhost", "mqtt://localhost:1884"),
            ("mqtt://localhost", "mqtt://127.0.0.2"),
            ("mqtt://a", "mqtt://b"),
            ("mqtt://10.0.0.1", "mqtt://10.0.0.2"),
        ] {
            assert!(!is_same(&broker(a), &broker(b)), "{a} {b}");
        }
    }

    #[test]
    fn a_loop_is_found_whatever_its_address_is_called() {
        let text = r#"{"topic": "gateway/+"}"#;
        let intake = Kind::Mqtt(serde_json::from_str(text).unwrap());
        let mut plan = Plan { broker: broker("mqtt://localhost"), ..Plan::default() };
        plan.sensors.insert("all".into(), intake);
        plan.output.sink = with_broker(broker("mqtt://127.0.0.1:1883"));
        let problems = plan.problems();
        assert!(problems.iter().any(|(key, _)| key == "sensors.all.mqtt.topic"), "{problems:?}");
    }

    #[test]
    fn numbers_are_not_judged_where_others_take_a_part_of_them() {
        let problems = |group: &str, codec: &str| {
            let text = format!(r#"{{"topic":"t",{group}"payload":"{codec}","counter":"/n"}}"#);
            let intake = Kind::Mqtt(serde_json::from_str(&text).unwrap());
            let mut plan = Plan::default();
            plan.sensors.insert("all".into(), intake);
            plan.problems()
        };
        for codec in ["json", "ndjson"] {
            assert!(problems("", codec).is_empty());
            let (key, _) = problems(r#""group":"g","#, codec).swap_remove(0);
            assert_eq!(key, "sensors.all.mqtt.counter");
        }
        let keys: Vec<_> =
            problems(r#""group":"g","#, "sparkplug_b").into_iter().map(|it| it.0).collect();
        assert_eq!(keys, ["sensors.all.mqtt.counter", "sensors.all.mqtt.payload"]);
    }

    #[test]
    fn bytes_are_no_lines() {
        let problems = |kind: &str, codec: &str| {
            let own = if kind == "mqtt" { r#""topic":"t""# } else { r#""command":["c"]"# };
            let text = format!(r#"{{"{kind}":{{{own},"payload":"{codec}"}}}}"#);
            let mut plan = Plan::default();
            plan.sensors.insert("a".into(), serde_json::from_str(&text).unwrap());
            plan.problems().into_iter().map(|it| it.0).collect::<Vec<_>>()
        };
        for codec in ["json", "ndjson", "text"] {
            assert_eq!(problems("exec", codec), [""; 0]);
        }
        for codec in ["raw", "cbor", "messagepack", "senml"] {
            assert_eq!(problems("exec", codec), ["sensors.a.exec.payload"]);
            assert_eq!(problems("mqtt", codec), [""; 0]);
        }
    }

    #[test]
    fn a_user_name_that_mqtt_cannot_carry_is_refused() {
        let mut plan = Plan::default();
        plan.broker.username = Some("x".repeat(65_536));
        assert!(plan.problems().iter().any(|(key, _)| key == "broker.username"));
    }

    #[test]
    fn a_batch_is_no_larger_than_its_sink_takes() {
        let refused = |sink: &str, bytes| {
            let mut plan = Plan::default();
            plan.output.sink = serde_json::from_str(sink).unwrap();
            plan.batch.bytes_max = crate::units::Size::bytes(bytes);
            plan.problems().into_iter().find(|(key, _)| key == "batch.bytes_max").map(|it| it.1)
        };
        let (topic, file) = (r#"{"mqtt":{}}"#, r#"{"file":{"path":"-"}}"#);
        assert_eq!(refused(topic, 268_000_000), None);
        let said = refused(topic, 268_000_001).unwrap();
        assert!(said.contains("268000000 bytes, more than [output.mqtt] takes"), "{said}");
        assert_eq!(refused(file, 1 << 30), None);
        assert!(refused(file, (1 << 30) + 1).unwrap().contains("[output.file]"));
    }

    #[test]
    fn a_spool_must_have_room_for_batches() {
        let wrong = |bytes_max, batch| {
            let mut plan = Plan::default();
            plan.spool.path = Some("spool".into());
            plan.spool.bytes_max = DiskSize::bytes(bytes_max);
            plan.batch.bytes_max = crate::units::Size::bytes(batch);
            let keys = plan.problems().into_iter().map(|it| it.0);
            keys.filter(|key| key.ends_with("bytes_max")).collect::<Vec<_>>()
        };
        assert_eq!(wrong(40 << 20, 2 << 20), [""; 0]);
        assert_eq!(wrong(8 << 20, 256 << 10), ["spool.bytes_max"]);
        assert_eq!(wrong(16 << 20, 4 << 20), ["spool.bytes_max"]);
        assert_eq!(wrong(1 << 30, 40 << 20), ["batch.bytes_max"]);
    }
}
