//! Distributes the sensors of a file over the connections. An edge node of Sparkplug B has one to itself.

use super::node::Node;
use super::report::Counts;
use super::schedule::{Schedule, Turns};
use super::sender::{self, Common, Sender};
use super::sensors::{Sensor, Sensors};
use super::{Arguments, CONNECTIONS_MAX, Error};
use crate::mqtt::session::Session;
use crate::mqtt::topic::Topic;
use crate::plan::Plan;
use crate::source::simulated::{Settings, Shared, Values};

/// What stands for the sensor's id in a topic.
const PLACEHOLDER: &str = "{sensor}";

/// The sensors of one connection.
type Share = (Vec<Sensor>, Vec<Turns>);

/// An entry, and its place among those of the file.
type Entry<'p> = (usize, (&'p str, &'p Settings));

/// The connections of a simulation.
#[derive(Debug)]
pub(super) struct Dealt {
    /// Those that share sensors: the numbers of these differ by one at most.
    pub(super) senders: Vec<Sender<Sensors>>,
    /// Those of edge nodes.
    pub(super) nodes: Vec<Sender<Node>>,
}

/// The connections of a file's sensors.
pub(super) fn deal(
    plan: &Plan,
    (file, seed): (&str, u64),
    arguments: &Arguments,
    common: &Common,
) -> Result<Dealt, Error> {
    let is_node = |(_, (name, it)): &Entry<'_>| it.edge_node(name).is_some();
    let (nodes, others): (Vec<Entry<'_>>, Vec<Entry<'_>>) =
        plan.simulated().enumerate().partition(is_node);
    let count = |of: &[Entry<'_>]| of.iter().map(|it| u64::from(it.1.1.sensors())).sum::<u64>();
    let (of_nodes, of_others) = (count(&nodes), count(&others));
    if of_nodes + of_others == 0 {
        return Err(Error::NoSensor(file.to_owned()));
    }
    if of_others > 0 {
        check_topic(&arguments.topic, of_others)?;
    }
    if nodes.len() > usize::from(CONNECTIONS_MAX) {
        return Err(Error::Nodes { nodes: nodes.len(), file: file.to_owned() });
    }
    let whole = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    let sensors = whole(of_nodes + of_others);
    let connections = whole(of_others).min(arguments.connections.into());
    let dealer = Dealer { plan, seed, arguments, common, sensors };
    let shares = dealer.shares(others, connections).into_iter().enumerate();
    Ok(Dealt {
        senders: shares.map(|(index, share)| dealer.sender(index, share)).collect(),
        nodes: (connections..).zip(nodes).map(|(index, it)| dealer.node(index, it)).collect(),
    })
}

/// What the connections of a simulation are made of.
struct Dealer<'p> {
    plan: &'p Plan,
    seed: u64,
    arguments: &'p Arguments,
    common: &'p Common,
    /// How many there are in all.
    sensors: usize,
}

impl<'p> Dealer<'p> {
    /// The sensors of the connections that share them.
    fn shares(&self, entries: Vec<Entry<'p>>, connections: usize) -> Vec<Share> {
        let mut shares: Vec<Share> = Vec::new();
        shares.resize_with(connections, Share::default);
        let all = entries.into_iter().flat_map(|it| self.sensors_of(it));
        for (at, (sensor, turns)) in all.enumerate() {
            let own = shares.get_mut(at % connections).expect("there are as many as connections");
            own.0.push(sensor);
            own.1.push(turns);
        }
        shares
    }

    /// The sensors of an entry, each with its turns.
    fn sensors_of(
        &self,
        (entry, (name, settings)): Entry<'p>,
    ) -> impl Iterator<Item = (Sensor, Turns)> {
        let shared = Shared::new(settings, name, self.seed);
        (0..settings.sensors()).map(move |index| {
            let id = settings.sensor_id(name, index);
            let sensor = Sensor {
                topic: self.arguments.topic.replace(PLACEHOLDER, &id).into(),
                id: id.into(),
                entry,
                values: Values::new(&shared, index),
                counts: Counts::default(),
            };
            let turns = Turns {
                phase: settings.phase(index),
                interval: settings.interval.0,
                readings: self.arguments.readings.or(settings.readings),
            };
            (sensor, turns)
        })
    }

    fn sender(&self, index: usize, share: Share) -> Sender<Sensors> {
        Sender::new(self.session(index), self.scheduled(index, share), self.common.clone())
    }

    /// The connection of a node: its devices are called as a gateway calls them.
    fn node(&self, index: usize, entry: Entry<'p>) -> Sender<Node> {
        let (_, (name, settings)) = entry;
        let edge = settings.edge_node(name).expect("the entry is a node");
        let mut names = Vec::new();
        let device = |(sensor, turns): (Sensor, Turns)| {
            let (id, topic) = (edge.sensor_of(&sensor.id), edge.topic_of("DDATA", &sensor.id));
            names.push(sensor.id);
            (Sensor { id: id.into(), topic: topic.into(), ..sensor }, turns)
        };
        let devices = self.scheduled(index, self.sensors_of(entry).map(device).collect());
        let common = Common { qos: 0, ..self.common.clone() };
        Sender::new(self.session(index), Node::new(edge, devices, names), common)
    }

    fn scheduled(&self, index: usize, (sensors, turns): Share) -> Sensors {
        let schedule = schedule(turns, self.arguments.rate, (index, self.sensors));
        Sensors::new(sensors, schedule, &self.common.totals)
    }

    fn session(&self, index: usize) -> Session {
        // The suffix keeps the client ids of two simulations of one file apart.
        let run = self.seed ^ u64::from(std::process::id()) << 24;
        let client = self.plan.input_client(&format!("sim-{run:x}-{index}"));
        Session::new(client, sender::READ_BUFFER_BYTES, self.seed.wrapping_add(index as u64))
    }
}

/// The schedule of connection `index`, which sends its share of all `sensors`.
#[expect(clippy::cast_precision_loss, reason = "sensors are far fewer than 2^53")]
fn schedule(turns: Vec<Turns>, rate: Option<f64>, (index, sensors): (usize, usize)) -> Schedule {
    let Some(rate) = rate else { return Schedule::by_interval(turns) };
    if rate <= 0.0 {
        return Schedule::in_turn(turns, None, std::time::Duration::ZERO);
    }
    let per_second = rate * turns.len() as f64 / sensors as f64;
    // Connections take turns too: sensor `index` is the first of this one.
    let first = std::time::Duration::from_secs_f64(index as f64 / rate);
    Schedule::in_turn(turns, Some(per_second), first)
}

/// Each sensor needs a topic of its own.
fn check_topic(template: &str, sensors: u64) -> Result<(), Error> {
    let wrong = |problem: String| Error::Topic { topic: template.to_owned(), problem };
    if sensors > 1 && !template.contains(PLACEHOLDER) {
        return Err(wrong(format!(
            "has no {PLACEHOLDER}, so {sensors} sensors would share it: write \
             \"sensors/{{sensor}}/reading\""
        )));
    }
    // Ids are letters, digits, "-" and "_", 64 of them and a number at most.
    let longest = template.replace(PLACEHOLDER, &"x".repeat(96));
    let topic = Topic::try_from(longest).map_err(|error| wrong(error.to_string()))?;
    if topic.as_str().contains(['{', '}']) {
        return Err(wrong(format!("has braces; the only placeholder is {PLACEHOLDER}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::schedule::Next;
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_topic_must_tell_the_sensors_apart() {
        assert!(check_topic("a/{sensor}/b", 1000).is_ok());
        assert!(check_topic("a/dev-{sensor}", 2).is_ok());
        assert!(check_topic("a/b", 1).is_ok());
        for (bad, word) in [
            ("a/b", "has no {sensor}"),
            ("a/{sensor}/+", "wildcard"),
            ("a/{sensor}/#", "wildcard"),
            ("{id}/{sensor}", "braces"),
        ] {
            let error = check_topic(bad, 2).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert!(check_topic("", 1).is_err());
    }

    #[test]
    fn connections_share_the_rate_and_take_turns() {
        // Five sensors on two connections, 1000 readings a second: three fifths and two fifths.
        let turns = Turns { phase: Duration::ZERO, interval: Duration::ZERO, readings: None };
        let mut due = Vec::new();
        for (index, count) in [(0, 3), (1, 2)] {
            let mut schedule = schedule(vec![turns; count], Some(1000.0), (index, 5));
            while let Next::Reading(it) = schedule.next(Duration::from_millis(99)) {
                due.push(it.at);
            }
        }
        assert!((98..=101).contains(&due.len()), "{}", due.len());
    }
}
