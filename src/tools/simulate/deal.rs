//! Distributes the sensors of a file over the connections.

use super::report::Counts;
use super::schedule::{Schedule, Turns};
use super::sender::{self, Common, Sender};
use super::sensors::{Sensor, Sensors};
use super::{Arguments, Error};
use crate::mqtt::session::Session;
use crate::mqtt::topic::Topic;
use crate::plan::Plan;
use crate::source::simulated::{Shared, Values};

/// What stands for the sensor's id in a topic.
const PLACEHOLDER: &str = "{sensor}";

/// The sensors of one connection.
type Share = (Vec<Sensor>, Vec<Turns>);

/// The connections with their sensors: the numbers of sensors differ by one at most.
pub(super) fn senders(
    plan: &Plan,
    (file, seed): (&str, u64),
    arguments: &Arguments,
    common: &Common,
) -> Result<Vec<Sender<Sensors>>, Error> {
    let sensors: u64 = plan.simulated().map(|(_, it)| u64::from(it.sensors())).sum();
    if sensors == 0 {
        return Err(Error::NoSensor(file.to_owned()));
    }
    check_topic(&arguments.topic, sensors)?;
    let sensors = usize::try_from(sensors).unwrap_or(usize::MAX);
    let connections = usize::from(arguments.connections).clamp(1, sensors);
    // The suffix keeps the client ids of two simulations of one file apart.
    let run = seed ^ u64::from(std::process::id()) << 24;
    let sender = |(index, (mine, turns)): (usize, Share)| {
        let schedule = schedule(turns, arguments.rate, (index, sensors));
        let client = plan.input_client(&format!("sim-{run:x}-{index}"));
        let session =
            Session::new(client, sender::READ_BUFFER_BYTES, seed.wrapping_add(index as u64));
        Sender::new(session, Sensors::new(mine, schedule, &common.totals), common.clone())
    };
    let sensors_of_each = sensors_of_each(plan, seed, arguments, connections);
    Ok(sensors_of_each.into_iter().enumerate().map(sender).collect())
}

fn sensors_of_each(
    plan: &Plan,
    seed: u64,
    arguments: &Arguments,
    connections: usize,
) -> Vec<Share> {
    let mut sensors_of_each: Vec<Share> = Vec::new();
    sensors_of_each.resize_with(connections, Share::default);
    let all = plan.simulated().enumerate().flat_map(|(entry, (name, settings))| {
        let shared = Shared::new(settings, name, seed);
        let of = move |index| (entry, name, settings, Values::new(&shared, index), index);
        (0..settings.sensors()).map(of)
    });
    for (at, (entry, name, settings, values, index)) in all.enumerate() {
        let id = settings.sensor_id(name, index);
        let sensor = Sensor {
            topic: arguments.topic.replace(PLACEHOLDER, &id).into(),
            id: id.into(),
            entry,
            values,
            counts: Counts::default(),
        };
        let turns = Turns {
            phase: settings.phase(index),
            interval: settings.interval.0,
            readings: arguments.readings.or(settings.readings),
        };
        let own = sensors_of_each.get_mut(at % connections);
        let (sensors, all_turns) = own.expect("there are as many as connections");
        sensors.push(sensor);
        all_turns.push(turns);
    }
    sensors_of_each
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
