//! What notices say, and where they go.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::settings::Settings;
use crate::clock::Timestamp;
use crate::codec::pattern::Filling;
use crate::mqtt::topic::Topic;
use crate::state::metrics::Metrics;
use crate::state::presence::Presence;
use crate::state::registry::{Registry, Row};

/// How the gateway does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Online,
    Draining,
    Offline,
}

/// The notice of the gateway.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OfGateway<'a> {
    gateway: &'a str,
    state: State,
    version: &'static str,
    started_at: String,
}

/// The notice of a sensor. Members are named as in `/api/sensors`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OfSensor<'a> {
    #[serde(borrow)]
    pub(super) gateway: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) entry: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) sensor_id: Cow<'a, str>,
    pub(super) state: Presence,
    pub(super) since: Option<String>,
    pub(super) last_received_at: Option<String>,
    /// How often it reports, as it is set or learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) interval_seconds: Option<f64>,
}

/// What the notices are of, and where they go.
#[derive(Debug, Clone)]
pub struct About {
    /// The gateway's id.
    pub gateway: String,
    pub started: Timestamp,
    pub settings: Settings,
    pub registry: Arc<Registry>,
    pub metrics: Arc<Metrics>,
}

impl About {
    pub(super) fn of_gateway(&self, state: State) -> Option<(Topic, Vec<u8>)> {
        let topic = self.settings.gateway_topic.as_ref()?.of(&self.gateway);
        let notice = OfGateway {
            gateway: &self.gateway,
            state,
            version: env!("CARGO_PKG_VERSION"),
            started_at: self.started.to_string(),
        };
        Some((topic, json(&notice)))
    }

    /// Nothing where the topic would be too long, or the sensor has no entry.
    pub(super) fn of_sensor(&self, row: &Row) -> Option<(Topic, Vec<u8>)> {
        let entry = row.entry_name()?;
        let topic = self.topic_of(entry, row.id())?;
        if row.is_removed() {
            return Some((topic, Vec::new()));
        }
        let text = |at: Option<Timestamp>| at.map(|it| it.to_string());
        let notice = OfSensor {
            gateway: self.gateway.as_str().into(),
            entry: entry.into(),
            sensor_id: row.id().into(),
            state: row.presence(),
            since: text(row.since()),
            last_received_at: text(row.last_received()),
            interval_seconds: row.interval().map(|it| it.as_secs_f64()),
        };
        Some((topic, json(&notice)))
    }

    /// The topic of a sensor's notice; nothing where it would be too long.
    pub(super) fn topic_of(&self, entry: &str, sensor: &str) -> Option<Topic> {
        let pattern = self.settings.topic.as_ref()?;
        let topic = pattern.fill(&Filling::of_letter(Some(entry), sensor)).ok()?;
        Topic::made(&topic)
    }
}

fn json(notice: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(notice).expect("numbers and text can be written")
}
