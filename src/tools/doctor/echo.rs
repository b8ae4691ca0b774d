//! Checks whether the probe can work: a subscription below its prefix, the granted QoS, and one message that
//! comes back.

use bytes::Bytes;
use serde::Serialize;

use super::client::ANSWER_MAX;
use super::scene::{QUIET, Scene, permission};
use super::verdict::Finding;
use crate::mqtt::Error;
use crate::mqtt::answer::Answer;

const CHECK: &str = "subscription";

#[derive(Debug, Serialize)]
struct Echo {
    asked: u8,
    granted: Option<u8>,
    came: bool,
}

/// Subscribes and publishes. Returns whether messages arrive with QoS 1: most checks need that.
pub(super) async fn check(scene: &Scene<'_>, findings: &mut Vec<Finding>) -> Result<bool, Error> {
    let topic = scene.topic("echo");
    let mut client = scene.client("echo-sub").await?;
    let granted = client.subscribe(topic.as_str(), 1).await?;
    let (mut answer, mut came) = (Answer::Taken, false);
    if granted.is_ok() {
        // A connection of its own: a broker may close it at a publish that is not permitted.
        let mut publisher = scene.client("echo-pub").await?;
        answer = publisher.publish(&topic, Bytes::from_static(b"echo")).await?;
        publisher.close().await;
        // With 3.1.1 a broker cannot refuse what an ACL forbids: the message does not arrive.
        let wait = if answer == Answer::Taken { ANSWER_MAX / 2 } else { QUIET };
        came = client.message(wait).await?.is_some();
    }
    client.close().await;
    let asked = wanted_qos(scene);
    let finding = judge(scene, asked, &granted, came, &answer);
    let works = came && granted == Ok(1);
    findings.push(finding.with(&Echo { asked, granted: granted.ok(), came }));
    Ok(works)
}

/// The QoS that the settings need.
fn wanted_qos(scene: &Scene<'_>) -> u8 {
    let wanted = scene.plan.intakes().map(|(_, settings)| settings.qos.granted()).max();
    let published = scene.output().map(|it| it.qos.0);
    wanted.filter(|_| scene.role.input).or(published).unwrap_or(1)
}

fn judge(
    scene: &Scene<'_>,
    asked: u8,
    granted: &Result<u8, String>,
    came: bool,
    answer: &Answer,
) -> Finding {
    let filter = format!("{}/#", scene.prefix);
    let lacking = || {
        let permit = permission(&scene.software, "readwrite", &filter);
        format!("{permit}; or give a prefix that is permitted: --topic-prefix")
    };
    match (granted, answer) {
        (Err(reason), _) => {
            let text = format!("the probe may not subscribe to {filter}: {reason}");
            Finding::failed(CHECK, text).change(lacking())
        }
        (Ok(_), Answer::Refused(reason)) => {
            let text = format!("the probe may not publish to {filter}: {reason}");
            Finding::failed(CHECK, text).change(lacking())
        }
        (Ok(_), _) if !came => {
            let text = format!(
                "a message on {filter} was acknowledged to its publisher and did not come to its \
                 subscriber: most likely one of them is not permitted"
            );
            Finding::failed(CHECK, text).change(lacking())
        }
        (Ok(granted), _) if *granted < asked => {
            let text = format!(
                "QoS {granted} is granted where {asked} is asked for: what is lost on the way to the \
                 gateway is not sent again"
            );
            let change = scene.software.change("grant QoS 1 to this account", "max_qos 2");
            Finding::unfit(CHECK, text).change(change)
        }
        (Ok(granted), _) => {
            Finding::fit(CHECK, format!("QoS {granted} granted, {asked} asked for; messages come"))
        }
    }
}
