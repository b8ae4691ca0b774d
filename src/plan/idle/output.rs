//! Places of the output that no entry fills, or no dead letter.

use super::{Idle, Plan};
use crate::codec::Format;
use crate::codec::mapping::settings::Settings;
use crate::codec::pattern::Pattern;
use crate::source::Kind;
use crate::source::mqtt::Properties;

impl Plan {
    /// Places of the output that no record, or no dead letter, fills.
    pub(super) fn places_of_the_output(&self) -> Vec<Idle> {
        let mut idle = Vec::new();
        for (key, pattern) in self.patterns() {
            for tag in pattern.tags().filter(|it| !self.gives_tag(it)) {
                let text = format!(
                    "has a place for {{tag.{tag}}}, and no entry gives it: let one say tags = {{ {tag} = \"…\" }}, or \
                     remove it"
                );
                idle.push((key.clone(), text));
            }
            if pattern.has_quantity() && !self.gives_quantity() {
                let text = "has a place for {quantity}, and no entry gives it: let one say its `quantity`, or `split` \
                            its `values`, or remove it";
                idle.push((key, text.to_owned()));
            }
        }
        let letters = self.mqtt_output().map(|it| it.dead_letter_topic.pattern());
        if let Some(letters) = letters.filter(|it| it.has_quantity() || it.tags().next().is_some())
        {
            let text = format!(
                "{} has a place for a tag or a quantity, and dead letters have none: remove it",
                letters.as_str()
            );
            idle.push(("output.mqtt.dead_letter_topic".to_owned(), text));
        }
        idle
    }

    /// What readings fill, by key.
    fn patterns(&self) -> Vec<(String, &Pattern)> {
        let topic = self.mqtt_output().map(|it| it.topic.pattern());
        let topic = topic.map(|it| ("output.mqtt.topic".to_owned(), it)).into_iter();
        if self.output.format != Format::Influx {
            return topic.collect();
        }
        let influx = &self.output.influx;
        let own = influx.field.iter().map(|it| ("output.influx.field".to_owned(), it));
        let own = own.chain([("output.influx.measurement".to_owned(), &influx.measurement)]);
        let tags = influx.tags.iter().map(|(name, it)| (format!("output.influx.tags.{name}"), it));
        topic.chain(own).chain(tags).collect()
    }

    /// What the messages of each entry mean, as their codec has it.
    fn mappings(&self) -> impl Iterator<Item = Settings> {
        let of = |kind: &Kind| Some(kind.payload()?.completed(kind.mapping()?));
        self.sensors.values().filter_map(of)
    }

    fn gives_tag(&self, tag: &str) -> bool {
        // An object of a program may have any.
        let by_mapping = |it: Settings| it.transform.is_some() || it.tags.contains_key(tag);
        let by_sender = |kind: &Kind| match kind {
            Kind::Mqtt(settings) => match &settings.properties {
                Properties::None => false,
                Properties::All => true,
                Properties::These(names) => names.iter().any(|it| it == tag),
            },
            _ => false,
        };
        self.mappings().any(by_mapping) || self.sensors.values().any(by_sender)
    }

    fn gives_quantity(&self) -> bool {
        let gives = |it: Settings| {
            it.quantity.is_some() || it.transform.is_some() || it.split && !it.values.is_empty()
        };
        self.mappings().any(gives)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What is warned of with this output, and an entry of MQTT.
    fn with_output(output: &Value, entry: &Value) -> Vec<Idle> {
        let mut mqtt = json!({"topic": "a"});
        mqtt.as_object_mut().unwrap().extend(entry.as_object().unwrap().clone());
        let mut plan = Plan::default();
        plan.sensors.insert("x".into(), serde_json::from_value(json!({"mqtt": mqtt})).unwrap());
        plan.output.sink = serde_json::from_value(json!({"mqtt": output})).unwrap();
        plan.idle()
    }

    #[test]
    fn a_quantity_that_the_codec_completes_is_given() {
        let output = json!({"topic": "out/{quantity}"});
        assert_eq!(with_output(&output, &json!({"payload": "sparkplug_b"})), []);
        assert_eq!(with_output(&output, &json!({"payload": "senml"})).len(), 1);
    }

    #[test]
    fn a_program_may_give_any_tag_and_a_quantity() {
        let output = json!({"topic": "out/{tag.site}/{quantity}"});
        assert_eq!(with_output(&output, &json!({"transform": "msg"})), []);
    }

    #[test]
    fn places_of_the_output_that_nothing_fills_are_warned_of() {
        let topic = json!({"topic": "out/{tag.site}/{quantity}/{sensor}"});
        let found = with_output(&topic, &json!({}));
        let texts: Vec<_> = found.iter().map(|it| &*it.1).collect();
        assert!(
            found.iter().all(|it| it.0 == "output.mqtt.topic") && texts.len() == 2,
            "{found:?}"
        );
        assert!(texts[0].contains("{tag.site}, and no entry gives it"), "{texts:?}");
        assert!(texts[1].contains("{quantity}, and no entry gives it"), "{texts:?}");
        for entry in [
            json!({"tags": {"site": "n"}, "quantity": "t"}),
            json!({"properties": "all", "values": {"t": "/t"}, "split": true}),
            json!({"properties": ["site"], "quantity": "t"}),
        ] {
            assert_eq!(with_output(&topic, &entry), []);
        }
        let letters = json!({"dead_letter_topic": "dead/{tag.site}"});
        let found = with_output(&letters, &json!({"tags": {"site": "n"}}));
        assert!(
            found.len() == 1 && found[0].1.contains("dead/{tag.site} has a place for a tag or a quantity, and dead letters have none"),
            "{found:?}"
        );
        let mut plan = Plan::default();
        plan.output.format = Format::Influx;
        plan.output.influx.tags = serde_json::from_value(json!({"s": "{tag.site}"})).unwrap();
        assert_eq!(plan.idle()[0].0, "output.influx.tags.s");
        plan.output.format = Format::Json;
        assert_eq!(plan.idle(), [], "that section is not used");
    }
}
