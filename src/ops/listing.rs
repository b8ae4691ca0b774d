//! `sluicegate sensors`: the sensors of a running gateway, page by page, as a table or as JSON.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::asking::{self, Error};
use crate::clock::{self, Timestamp};
use crate::text;

/// Which sensors, in which order, and how.
#[derive(Debug, Clone)]
pub struct Arguments {
    /// Those of this state only.
    pub state: Option<String>,
    /// Those of this entry only.
    pub entry: Option<String>,
    /// Those only whose id has this in it.
    pub search: Option<String>,
    /// `silence`, `received` or `id`.
    pub sort: String,
    /// One JSON object for each, instead of a table.
    pub json: bool,
}

/// A page, as far as this reads it.
#[derive(Debug, Deserialize)]
struct Page {
    total: u64,
    sensors: Vec<Value>,
    next: Option<String>,
}

/// What the table shows of a sensor.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    #[serde(default)]
    entry: String,
    sensor_id: String,
    state: String,
    last_received_at: Option<String>,
    interval_seconds: Option<f64>,
    received: u64,
    missing: u64,
}

/// Writes all sensors that are asked for.
pub fn list(
    listen: Option<SocketAddr>,
    asked: &Arguments,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let mut after: Option<String> = None;
    loop {
        let answer = asking::get(listen, &path(asked, after.as_deref()))?;
        let page: Page = serde_json::from_slice(&answer).map_err(|_| {
            Error::Refused(
                "what listens there has no sensors: is it a gateway of this version?".into(),
            )
        })?;
        // The reader closed its pipe: not our error.
        if write(&page, asked.json, after.is_none(), out).is_err() {
            return Ok(());
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

fn path(asked: &Arguments, after: Option<&str>) -> String {
    let all = [
        ("sort", Some(&*asked.sort)),
        ("state", asked.state.as_deref()),
        ("entry", asked.entry.as_deref()),
        ("search", asked.search.as_deref()),
        ("after", after),
        ("limit", Some("1000")),
    ];
    let all: Vec<_> = all.iter().filter_map(|(name, value)| Some((name, (*value)?))).collect();
    let query = serde_urlencoded::to_string(all).expect("names and texts can be written");
    format!("/api/sensors?{query}")
}

fn write(page: &Page, json: bool, is_first: bool, out: &mut dyn Write) -> std::io::Result<()> {
    if json {
        return page.sensors.iter().try_for_each(|it| writeln!(out, "{it}"));
    }
    if is_first {
        writeln!(out, "{} sensors", page.total)?;
        line(out, ["state", "last reading", "every", "readings", "missing", "sensor"])?;
    }
    let now = clock::now().wall;
    for sensor in &page.sensors {
        let Ok(it) = serde_json::from_value::<Shown>(sensor.clone()) else { continue };
        let last = it.last_received_at.as_deref().and_then(Timestamp::parse);
        let ago = last.map(|at| format!("{} ago", shown(since(at, now))));
        let every = it.interval_seconds.map(|seconds| shown(Duration::from_secs_f64(seconds)));
        line(
            out,
            [
                &it.state,
                ago.as_deref().unwrap_or("none yet"),
                every.as_deref().unwrap_or("-"),
                &it.received.to_string(),
                &it.missing.to_string(),
                &text::escaped(&format!("{}/{}", it.entry, it.sensor_id)),
            ],
        )?;
    }
    Ok(())
}

fn line(
    out: &mut dyn Write,
    [state, last, every, received, missing, sensor]: [&str; 6],
) -> std::io::Result<()> {
    writeln!(out, "{state:<7} {last:>16} {every:>9} {received:>12} {missing:>8}  {sensor}")
}

fn since(at: Timestamp, now: Timestamp) -> Duration {
    Duration::from_millis(now.millis().saturating_sub(at.millis()))
}

/// The two largest units.
fn shown(time: Duration) -> String {
    let text = humantime::format_duration(Duration::from_secs(time.as_secs())).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}
