//! `sluicegate sensors`: the sensors of a running gateway, page by page, as a table or as JSON.

use std::cmp::Reverse;
use std::io::Write;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::Sort;
use super::asking::{self, Error};
use crate::clock::{self, Timestamp};
use crate::plan::http::Http;
use crate::state::metrics::Label;
use crate::state::presence::Presence;
use crate::text;

/// Which sensors, in which order, and how.
#[derive(Debug, Clone)]
pub struct Arguments {
    /// Those of this state only.
    pub state: Option<Presence>,
    /// Those of this entry only.
    pub entry: Option<String>,
    /// Those only whose id has this in it.
    pub search: Option<String>,
    /// Their order.
    pub sort: Sort,
    /// One JSON object for each, instead of a table.
    pub json: bool,
}

/// A page, as far as this reads it.
#[derive(Debug, Deserialize)]
struct Page {
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
    #[serde(default)]
    readings_per_second: f64,
    received: u64,
    dead_lettered: u64,
    missing: u64,
}

/// Writes all sensors that are asked for.
///
/// Pages are asked for by id: any other order moves while it is read, and a sensor that reports would come again and
/// again. They are sorted here.
pub fn list(http: &Http, asked: &Arguments, out: &mut dyn Write) -> Result<(), Error> {
    let (mut all, mut after) = (Vec::new(), None::<String>);
    loop {
        let answer = asking::get(http, &path(asked, after.as_deref()))?;
        let page: Page = serde_json::from_slice(&answer).map_err(|_| {
            let text = "what listens there has no sensors: is it a gateway of this version?";
            Error::Refused(text.into())
        })?;
        all.extend(page.sensors);
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    match asked.sort {
        // What was not heard is first.
        Sort::Silence => {
            all.sort_by_cached_key(|it| it["lastReceivedAt"].as_str().map(str::to_owned));
        }
        Sort::Rate => all.sort_by(|a, b| per_second(b).total_cmp(&per_second(a))),
        Sort::Received => all.sort_by_key(|it| Reverse(it["received"].as_u64())),
        Sort::Letters => all.sort_by_key(|it| Reverse(it["deadLettered"].as_u64())),
        Sort::Id => {}
    }
    // The reader closed its pipe: not our error.
    drop(write(&all, asked.json, out));
    Ok(())
}

fn per_second(sensor: &Value) -> f64 {
    sensor["readingsPerSecond"].as_f64().unwrap_or_default()
}

fn path(asked: &Arguments, after: Option<&str>) -> String {
    let all = [
        ("sort", Some("id")),
        ("state", asked.state.map(Label::word)),
        ("entry", asked.entry.as_deref()),
        ("search", asked.search.as_deref()),
        ("after", after),
        ("limit", Some("1000")),
    ];
    let all: Vec<_> = all.iter().filter_map(|(name, value)| Some((name, (*value)?))).collect();
    let query = serde_urlencoded::to_string(all).expect("names and texts can be written");
    format!("/api/sensors?{query}")
}

fn write(all: &[Value], json: bool, out: &mut dyn Write) -> std::io::Result<()> {
    if json {
        return all.iter().try_for_each(|it| writeln!(out, "{it}"));
    }
    writeln!(out, "{} sensors", all.len())?;
    let head = ["state", "last reading", "every", "rate", "readings", "dead", "missing", "sensor"];
    line(out, head)?;
    let now = clock::now().wall;
    for sensor in all {
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
                &rate(it.readings_per_second),
                &it.received.to_string(),
                &it.dead_lettered.to_string(),
                &it.missing.to_string(),
                &text::escaped(&format!("{}/{}", it.entry, it.sensor_id)),
            ],
        )?;
    }
    Ok(())
}

fn line(
    out: &mut dyn Write,
    [state, last, every, rate, received, dead, missing, sensor]: [&str; 8],
) -> std::io::Result<()> {
    writeln!(
        out,
        "{state:<7} {last:>16} {every:>9} {rate:>9} {received:>12} {dead:>8} {missing:>8}  {sensor}"
    )
}

/// Readings a second, with three digits or so: one in an hour is not none.
fn rate(value: f64) -> String {
    let text = match value {
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 1.0 => format!("{value:.1}").trim_end_matches(".0").to_owned(),
        _ if value <= 0.0 => "0".to_owned(),
        _ => format!("{value:.4}").trim_end_matches('0').trim_end_matches('.').to_owned(),
    };
    format!("{text}/s")
}

fn since(at: Timestamp, now: Timestamp) -> Duration {
    Duration::from_millis(now.millis().saturating_sub(at.millis()))
}

/// The two largest units.
fn shown(time: Duration) -> String {
    let text = humantime::format_duration(Duration::from_secs(time.as_secs())).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By silence, a sensor that reports between two pages would come again, and there would be no last page.
    #[test]
    fn pages_are_asked_for_in_an_order_that_does_not_move() {
        for sort in [Sort::Silence, Sort::Received, Sort::Rate, Sort::Letters, Sort::Id] {
            let asked = Arguments {
                state: Some(Presence::Late),
                entry: None,
                search: Some("a b/ü".into()),
                sort,
                json: false,
            };
            let path = path(&asked, Some("0/plant/a"));
            let all = "sort=id&state=late&search=a+b%2F%C3%BC&after=0%2Fplant%2Fa&limit=1000";
            assert_eq!(path, format!("/api/sensors?{all}"));
        }
    }

    #[test]
    fn a_row_says_how_much_comes_in_a_second_and_what_became_dead_letters() {
        let sensor = |rate: f64| {
            serde_json::json!({
                "entry": "fleet", "sensorId": "a", "state": "online", "received": 7, "deadLettered": 5,
                "missing": 0, "readingsPerSecond": rate
            })
        };
        let mut out = Vec::new();
        let rates = [0.0, 0.0167, 0.1, 2.0, 2.26, 41_250.4];
        write(&rates.map(sensor), false, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let mut lines = text.lines().skip(1);
        assert!(lines.next().unwrap().contains(" every      rate "), "{text}");
        let shown: Vec<_> = lines.map(|line| line.split_whitespace().nth(4).unwrap()).collect();
        assert_eq!(shown, ["0/s", "0.0167/s", "0.1/s", "2/s", "2.3/s", "41250/s"], "{text}");
        assert!(text.contains("    readings     dead  missing  sensor"), "{text}");
        assert!(
            text.lines()
                .all(|it| !it.contains("fleet/a") || it.contains("  7        5        0  ")),
            "{text}"
        );
    }
}
