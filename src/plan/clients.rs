//! The gateway's own clients: their client ids and logins, and which of them share a user.

use std::sync::Arc;

use super::{Broker, Plan};
use crate::mqtt::options::{BrokerUrl, Options};
use crate::mqtt::roll_call::RollCall;
use crate::notices::Settings;
use crate::sink::{self, Measure};

impl Plan {
    /// The options of the client of this session: of the MQTT entry `name`, or of several.
    pub fn intake_options(&self, name: &str) -> Options {
        self.input_client(&format!("in-{name}"))
    }

    /// The options of the output's client.
    pub fn output_options(&self) -> Options {
        self.output_client(sink::mqtt::CLIENT)
    }

    /// Counts the bytes that the sink needs for a batch.
    pub fn measure(&self) -> Arc<dyn Measure> {
        self.output.sink.declared().measure(&self.surroundings())
    }

    /// The options of the client that watches the readings' broker; `None` if it is switched off. The embedded
    /// broker keeps no count.
    pub fn watch_options(&self) -> Option<Options> {
        let worth = self.broker.url != BrokerUrl::Embedded && self.intakes().next().is_some();
        (self.broker.watch && worth).then(|| self.input_client("watch"))
    }

    /// The options of the client that gives notice; `None` if nobody asks for any.
    pub fn notices_options(&self) -> Option<Options> {
        let Settings { topic, gateway_topic } = &self.status;
        let is_asked = topic.is_some() || gateway_topic.is_some();
        is_asked.then(|| self.output_client("status"))
    }

    /// The options of a client that is not the gateway's own, at the readings' broker.
    pub fn input_client(&self, name: &str) -> Options {
        self.broker.options(&self.gateway.id, name)
    }

    /// The same at the output's broker.
    pub fn output_client(&self, name: &str) -> Options {
        self.output_broker().options(&self.gateway.id, name)
    }

    /// Checks whether the broker keeps our clients apart: for the clients at the readings' broker, and for those at the
    /// output's. Clients share a user if address, user name and certificate are the same.
    pub fn roll_calls(&self) -> [Option<Arc<RollCall>>; 2] {
        let (broker, output) = (&self.broker, self.output_broker());
        let user = |it: &Broker| (it.url.clone(), it.username.clone(), it.tls.cert_file.clone());
        let (is_topic, together) = (self.mqtt_output().is_some(), user(broker) == user(output));
        let (watches, tells) = (self.watch_options().is_some(), self.notices_options().is_some());
        let call = |needed: usize, others: [bool; 2], options: Options| {
            let others = others.into_iter().filter(|it| *it).count();
            (needed + others > 1).then(|| RollCall::new(options, needed)).flatten()
        };
        let needed = self.sessions().len() + usize::from(is_topic && together);
        let input = call(needed, [watches, tells && together], self.input_client("beside"));
        if together {
            return [input.clone(), input];
        }
        [input, call(1, [tells, false], self.output_client("beside"))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::with_broker;

    #[test]
    fn client_ids_begin_as_asked_for_and_with_the_gateways_id_else() {
        let mut plan = Plan::default();
        assert_eq!(plan.intake_options("a").client_id, "gw-1-in-a");
        plan.broker.client_id = Some("plant/7".into());
        assert_eq!(plan.intake_options("a").client_id, "plant/7-in-a");
        assert_eq!(plan.output_options().client_id, "plant/7-out");
        plan.output.sink = with_broker(Broker::default());
        assert_eq!(plan.output_options().client_id, "gw-1-out");
    }

    #[test]
    fn only_clients_of_one_named_user_can_be_one_to_a_broker() {
        let mut plan = Plan::default();
        let asked = |plan: &Plan| plan.roll_calls().map(|it| it.is_some());
        let intake = crate::source::Kind::Mqtt(serde_json::from_str(r#"{"topic":"t"}"#).unwrap());
        plan.sensors.insert("t".into(), intake);
        assert_eq!(asked(&plan), [false, false], "nobody has a name");
        plan.broker.username = Some("gateway".into());
        assert_eq!(asked(&plan), [true, true]);
        let own = Broker { username: Some("out".into()), ..plan.broker.clone() };
        plan.output.sink = with_broker(own);
        assert_eq!(asked(&plan), [true, false], "the watch client beside the intake");
        plan.broker.watch = false;
        assert_eq!(asked(&plan), [false, false], "one client a user");
    }
}
