//! `sluicegate check`: describes the run that the configuration would make, and warns of surprises.

use std::fmt::{self, Write};

use super::certificates::{self, Named};
use crate::clock::{self, Timestamp};
use crate::limits::{SESSIONS_SHOWN_MAX, mebibytes};
use crate::mqtt::options::BrokerUrl;
use crate::mqtt::options::Options;
use crate::mqtt::system::DROPPED;
use crate::notices::Settings as Notices;
use crate::plan::{Broker, Plan};

/// The report: the effective configuration, the bound on memory item by item, every client id and topic, until when
/// certificates are valid, and the warnings.
pub fn report(path: &str, effective: &str, plan: &Plan, warnings: &[(String, String)]) -> String {
    let mut out = format!("# {path} is fine. In effect:\n\n{effective}");
    describe(&mut out, plan, warnings).expect("text can be written to memory");
    out
}

fn describe(out: &mut String, plan: &Plan, warnings: &[(String, String)]) -> fmt::Result {
    let budget = plan.budget();
    let max = mebibytes(plan.gateway.memory_max.get() as u64);
    writeln!(out, "# Memory: at most {} (gateway.memory_max {max})", mebibytes(budget.total()))?;
    for line in budget.to_string().lines() {
        writeln!(out, "# {line}")?;
    }
    let broker = &plan.broker;
    if broker.url == BrokerUrl::Embedded {
        writeln!(
            out,
            "#   the embedded broker is not counted: it is for trying out, and has no bound"
        )?;
    }
    writeln!(out, "#\n# Clients and topics")?;
    describe_intakes(out, plan)?;
    for (name, settings) in plan.simulated() {
        let last = settings.sensors() - 1;
        let (first, last) = (settings.sensor_id(name, 0), settings.sensor_id(name, last));
        let ids = if first == last { first } else { format!("{first} to {last}") };
        let every = settings.interval;
        writeln!(out, "#   {ids}: simulated, one reading each every {every}")?;
    }
    for (name, settings) in plan.commands() {
        let command = settings.command.program();
        writeln!(out, "#   {name}: the lines that {command} writes, at most once up to the queue")?;
    }
    for name in plan.standard_inputs() {
        writeln!(out, "#   {name}: the lines of standard input, at most once up to the queue")?;
    }
    if let Some(watch) = plan.watch_options() {
        let (client, url, version) = (&watch.client_id, &watch.url, watch.version);
        writeln!(
            out,
            "#   {client} reads {DROPPED} at {url} (MQTT {version}, QoS 0): broker.watch"
        )?;
    }
    if let Some(client) = plan.notices_options() {
        describe_notices(out, &client, plan)?;
    }
    let destination = plan.output.sink.declared().destination(&plan.surroundings());
    writeln!(out, "#   {destination}")?;
    for (key, broker) in plan.brokers().filter(|(_, broker)| broker.url.hides_query()) {
        writeln!(
            out,
            "#   {key}.url has a query, which may hold a token and is not shown ({}): whoever copies \
             what is above has to put it back",
            broker.url
        )?;
    }
    let certificates: Vec<_> = plan
        .brokers()
        .flat_map(|(key, broker)| certificates::named(broker).map(move |it| (key, it)))
        .collect();
    describe_certificates(out, &certificates)?;
    let now = clock::now().wall;
    let expire = certificates.iter().filter_map(|(key, it)| expires(key, it, now));
    let warnings: Vec<_> = warnings.iter().cloned().chain(expire).collect();
    if !warnings.is_empty() {
        writeln!(out, "#\n# Warnings")?;
    }
    warnings.iter().try_for_each(|(key, text)| writeln!(out, "#   {key}: {text}"))
}

/// Until when each file of certificates is of use.
fn describe_certificates(out: &mut String, all: &[(&str, Named<'_>)]) -> fmt::Result {
    if !all.is_empty() {
        writeln!(out, "#\n# Certificates")?;
    }
    all.iter().try_for_each(|(broker, it)| writeln!(out, "#   {broker}.{}: {it}", it.key))
}

/// The warning for a file of certificates: key and remedy.
fn expires(broker: &str, it: &Named<'_>, now: Timestamp) -> Option<(String, String)> {
    Some((format!("{broker}.{}", it.key), it.warning(now)?))
}

/// The client that gives notice.
fn describe_notices(out: &mut String, client: &Options, plan: &Plan) -> fmt::Result {
    let Notices { topic, gateway_topic } = &plan.status;
    let of_sensors = topic.iter().map(|it| format!("how each sensor does to {it} (status.topic)"));
    let of_gateway = gateway_topic.iter().map(|it| {
        format!("how the gateway does to {} (status.gateway_topic)", it.of(&plan.gateway.id))
    });
    let told = of_sensors.chain(of_gateway).collect::<Vec<_>>().join(", and ");
    let Options { client_id, url, version, .. } = client;
    writeln!(out, "#   {client_id} publishes {told} at {url} (MQTT {version}, QoS 1, retained)")
}

/// The clients of the MQTT entries: each, or many of them by what they have in common.
fn describe_intakes(out: &mut String, plan: &Plan) -> fmt::Result {
    let Broker { url, version, .. } = &plan.broker;
    let window = plan.window_each();
    if plan.sessions().len() > SESSIONS_SHOWN_MAX {
        return describe_many(out, plan, &format!("at {url} (MQTT {version}, window {window}"));
    }
    for (name, settings) in plan.intakes() {
        let filters = settings.subscriptions().collect::<Vec<_>>().join(", ");
        let online = settings.online.as_ref().map(|it| it.topic.subscription(None));
        let online = online.map(|it| format!(", and for online to {it},")).unwrap_or_default();
        let client = plan.intake_options(settings.session_of(name)).client_id;
        let qos = settings.qos.granted();
        writeln!(
            out,
            "#   {client} subscribes to {filters}{online} at {url} (MQTT {version}, QoS {qos}, window {window})"
        )?;
        if settings.qos.is_lowered() {
            writeln!(out, "#     sensors.{name}.mqtt.qos = 2 is granted as 1: at least once")?;
        }
    }
    Ok(())
}

fn describe_many(out: &mut String, plan: &Plan, broker: &str) -> fmt::Result {
    let sessions = plan.sessions();
    let client = |session: Option<&&str>| session.map(|it| plan.intake_options(it).client_id);
    let (first, last) = (client(sessions.keys().next()), client(sessions.keys().next_back()));
    let (first, last) = (first.unwrap_or_default(), last.unwrap_or_default());
    let topics: usize = plan.intakes().map(|(_, it)| it.subscribed().count()).sum();
    let (clients, entries) = (sessions.len(), plan.intakes().count());
    writeln!(
        out,
        "#   {clients} clients, {first} to {last}, subscribe to {topics} topics of {entries} entries {broker} each)"
    )?;
    let of_qos = |qos| plan.intakes().filter(|(_, it)| it.qos.granted() == qos).count();
    writeln!(out, "#     {} entries of QoS 0, {} of QoS 1", of_qos(0), of_qos(1))?;
    let lowered = plan.intakes().filter(|(_, it)| it.qos.is_lowered()).count();
    if lowered > 0 {
        writeln!(out, "#     qos = 2 of {lowered} entries is granted as 1: at least once")?;
    }
    Ok(())
}
