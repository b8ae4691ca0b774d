//! The gateway inside another program: built from settings in code, run until it has drained.
//!
//! ```text
//! cargo run --example embedded [mqtt://HOST:PORT]
//! ```
//!
//! Three simulated sensors make ten readings each. Then every source has ended, the gateway drains, and this
//! program looks at the balance. A message on `stop` would end it earlier; a second one would let go at once.

#![expect(clippy::print_stdout, reason = "the balance is what the example is for")]

use std::error::Error;
use std::sync::Arc;

use sluicegate::pace::Pace;
use sluicegate::pipeline::Pipeline;
use sluicegate::plan::Plan;
use tokio::sync::mpsc;

fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "embedded".to_owned());
    let mut plan = Plan::default();
    plan.broker.url = url.try_into()?;
    // Settings are the types that the file is read into; a part of it can be read in the same way.
    let sensors = r#"{"simulated":{"count":3,"interval":"50ms","readings":10}}"#;
    plan.sensors.insert("TEMP".into(), serde_json::from_str(sensors)?);
    if let Some((key, problem)) = plan.problems().into_iter().next() {
        return Err(format!("{key}: {problem}").into());
    }
    println!("bound on memory: {} bytes", plan.budget().total());

    // The gateway's tasks share one thread, which tells the pace when it rests.
    let pace = Arc::new(Pace::default());
    let resting = Arc::clone(&pace);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || resting.rest())
        .build()?;
    let report = runtime.block_on(async {
        let (stop, stops) = mpsc::channel(4);
        let pipeline = Pipeline::build(plan, pace, 1).await?;
        let report = pipeline.run(stops).await;
        drop(stop);
        Ok::<_, Box<dyn Error>>(report)
    })?;
    println!("{}", report.balance);
    match (report.error, report.difference) {
        (Some(error), _) => Err(error.into()),
        (None, Some(difference)) => Err(difference.into()),
        (None, None) => Ok(()),
    }
}
