//! Plays a recording back, on one connection, so that its messages keep their order.

use std::path::Path;
use std::sync::Arc;

use super::course::Course;
use super::recorded::Recorded;
use super::report::rate;
use super::sender::{Common, READ_BUFFER_BYTES, Sender};
use super::{Arguments, Error, Summary, unheard};
use crate::clock::{self, Now};
use crate::mqtt::session::Session;
use crate::plan::Plan;
use crate::tasks::Tasks;
use crate::text::from_path;
use crate::tools::record::Recording;

/// Publishes the messages of a recording to the broker of a plan.
pub(super) async fn play(
    (plan, path): (&Plan, &Path),
    arguments: &Arguments,
    common: Common,
    now: Now,
    mut course: Course<'_>,
) -> Result<Summary, Error> {
    let recording = Recording::open(path).map_err(Error::Recording)?;
    let (totals, seed) = (Arc::clone(&common.totals), now.wall.millis());
    let run = seed ^ u64::from(std::process::id()) << 24;
    let session =
        Session::new(plan.input_client(&format!("sim-{run:x}-0")), READ_BUFFER_BYTES, seed);
    let Arguments { qos, speed, .. } = *arguments;
    let (broker, file) = (plan.broker.url.to_string(), from_path(path));
    tracing::info!(%broker, %file, qos, speed, "playback starts");
    let mut tasks = Tasks::default();
    let recorded = Recorded::new(recording, speed, &totals);
    tasks.start(Sender::new(session, recorded, common).run());
    let played = course.follow(tasks, &broker).await?;
    let took = clock::now().instant.saturating_duration_since(now.instant);
    let (sent, acknowledged) = (totals.sent.get(), totals.acknowledged.get());
    let mut table = format!(
        "simulate: {acknowledged} of {sent} messages of {file} acknowledged in {:.1} s ({}/s), QoS {qos}\n",
        took.as_secs_f64(),
        rate(acknowledged, took),
    );
    table.extend(played.iter().map(Recorded::said));
    table.push_str(&unheard(&totals));
    let is_read = played.iter().all(Recorded::is_read);
    Ok(Summary { table, complete: is_read && sent > 0 && sent == acknowledged })
}
