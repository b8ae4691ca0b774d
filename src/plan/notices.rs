//! The topics on which the gateway publishes, and whether those of its notices are apart from the others.

use super::Plan;
use crate::mqtt::topic_pattern::TopicPattern;
use crate::sink;

impl Plan {
    /// The topics of batches and dead letters.
    pub(super) fn published(&self) -> Vec<TopicPattern> {
        let published =
            |it: &sink::mqtt::Settings| vec![it.published(), it.dead_letter_topic.clone()];
        self.mqtt_output().map(published).unwrap_or_default()
    }

    /// The topics of notices.
    pub(super) fn notices(&self) -> impl Iterator<Item = TopicPattern> {
        let of_gateway = self.status.gateway_topic.as_ref().map(|it| it.of(&self.gateway.id));
        let of_gateway = of_gateway.and_then(|it| TopicPattern::try_from(it.to_string()).ok());
        self.status.topic.clone().into_iter().chain(of_gateway)
    }

    /// Each sensor has a notice of its own, on a topic that nothing else is on.
    pub(super) fn check_notices(&self, wrong: &mut impl FnMut(&str, String)) {
        let Some(topic) = &self.status.topic else { return };
        let places = topic.pattern();
        let other = places.tags().next().map(|tag| format!("{{tag.{tag}}}"));
        let other = other.or_else(|| places.has_quantity().then(|| "{quantity}".to_owned()));
        if let Some(place) = other {
            let text =
                format!("has {place}, which a sensor has none of: write {{entry}} and {{sensor}}");
            wrong("status.topic", text);
        }
        let missing = [("{sensor}", true), ("{entry}", self.sensors.len() > 1)];
        for (place, _) in
            missing.into_iter().filter(|(it, needed)| *needed && !places.as_str().contains(it))
        {
            let text = format!(
                "has no {place}: sensors would share a notice; write \"gateway/status/{{entry}}/{{sensor}}\""
            );
            wrong("status.topic", text);
        }
        let others = self.published().into_iter().chain(self.notices().skip(1));
        for other in others.filter(|other| topic.overlaps(other)) {
            let text = format!(
                "may be the same as {other}, on which something else is published: write another one"
            );
            wrong("status.topic", text);
        }
    }
}
