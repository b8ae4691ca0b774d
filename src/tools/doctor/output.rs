//! Checks whether batches and dead letters may be published, and whether anyone subscribes: one empty message
//! to each topic, if that is asked for. The probe publishes nothing else outside its own topics.
//!
//! Only MQTT 5 answers: its PUBACK has a reason code. With 3.1.1 a broker cannot refuse a publish; Mosquitto
//! 2.0 acknowledges and drops it. Permission belongs to the account, not to the version. So the check uses MQTT
//! 5 if the broker supports it; otherwise the version of the settings, and it reports what an acknowledgement
//! proves. Each topic gets its own connection: Mosquitto 2.0.11 with `max_queued_messages 0` closes it after a
//! publish that is not permitted.

use bytes::Bytes;
use serde_json::json;

use super::client::{Client, passing};
use super::scene::{Scene, permission};
use super::verdict::{Finding, Software};
use crate::mqtt::Error;
use crate::mqtt::answer::Answer;
use crate::mqtt::options::{Options, Version};
use crate::mqtt::topic::Topic;

const OUTPUT: &str = "output topic";
const DEAD_LETTERS: &str = "dead letters";

/// Checks the topics, if that is asked for.
pub(super) async fn check(scene: &Scene<'_>, findings: &mut Vec<Finding>) -> Result<(), Error> {
    let Some(output) = scene.output() else { return Ok(()) };
    let published = output.published();
    // With its places empty, where a topic has some.
    let topics = [(OUTPUT, published.plain()), (DEAD_LETTERS, output.dead_letter_topic.plain())];
    if !scene.probe.output {
        for (check, topic) in topics {
            let text =
                format!("{topic} not checked: --probe-output publishes one empty message there");
            findings.push(Finding::skipped(check, text));
        }
        return Ok(());
    }
    let version = if scene.knows_v5 { Version::V5 } else { scene.broker.version };
    let options = Options { version, ..scene.options("output") };
    for (check, topic) in topics {
        let mut client = Client::open(&options, &passing()).await?;
        let answer = client.publish(topic, Bytes::new()).await;
        findings.push(match answer {
            Ok(answer) if version == Version::V5 => judge(&scene.software, check, topic, &answer),
            Ok(_) => unknown(check, topic),
            Err(error) if error.is_hang_up() => hung_up(&scene.software, check, topic, &error),
            Err(error) => return Err(error),
        });
        client.close().await;
    }
    Ok(())
}

/// The finding for an acknowledgement with MQTT 3.1.1, which proves little.
fn unknown(check: &'static str, topic: &Topic) -> Finding {
    let text = format!(
        "one empty message to {topic} was acknowledged, which says little: the broker knows only MQTT \
         3.1.1, which has no word for a refusal, nor for a topic that nobody subscribes to"
    );
    let change = format!("subscribe to {topic} and look whether the message comes");
    Finding::skipped(check, text).change(change)
}

/// The finding for a broker that closes the connection at a publish.
fn hung_up(software: &Software, check: &'static str, topic: &Topic, error: &Error) -> Finding {
    let text = format!("{error} when one empty message was published to {topic}");
    let permit = permission(software, "write", topic.as_str());
    let change = format!("most likely it is not permitted: {permit}; or another topic in [output]");
    Finding::unfit(check, text).change(change)
}

fn judge(software: &Software, check: &'static str, topic: &Topic, answer: &Answer) -> Finding {
    let finding = match answer {
        Answer::Taken => {
            Finding::fit(check, format!("{topic} may be written, and somebody listens"))
        }
        Answer::NobodyListens if check == OUTPUT => {
            let text = format!(
                "{topic} may be written, and nobody subscribes to it: batches would be acknowledged \
                 and gone"
            );
            let change = "start its consumer, with a session that is kept, before the gateway";
            Finding::risky(check, text).change(change)
        }
        Answer::NobodyListens => {
            let text = format!("{topic} may be written; nobody subscribes to it now");
            Finding::fit(check, text).change("subscribe to it to learn of unreadable messages")
        }
        Answer::Refused(reason) => {
            let text = format!("{topic} must not be written: {reason}");
            let permit = permission(software, "write", topic.as_str());
            Finding::unfit(check, text).change(format!("{permit}; or another topic in [output]"))
        }
    };
    let (listened, permitted) = (*answer == Answer::Taken, !matches!(answer, Answer::Refused(_)));
    finding.with(&json!({ "permitted": permitted, "somebody_listens": listened }))
}

#[cfg(test)]
mod tests {
    use super::super::verdict::{CheckEnd, Fitness};
    use super::*;
    use crate::mqtt::answer::NotTaken;

    #[test]
    fn a_refusal_is_unfit_and_names_the_line_that_permits() {
        let topic = Topic::try_from("gateway/batches".to_owned()).unwrap();
        let software = Software::Mosquitto(2, 0, 11);
        let judged = |check, answer| judge(&software, check, &topic, &answer);
        let refused = judged(OUTPUT, Answer::Refused(NotTaken::new(0x87, &[])));
        assert_eq!(refused.outcome, CheckEnd::Judged(Fitness::Unfit));
        assert!(refused.change.unwrap().contains("\"topic write gateway/batches\""));
        let nobody = judged(OUTPUT, Answer::NobodyListens).outcome;
        assert_eq!(nobody, CheckEnd::Judged(Fitness::Risky));
        let nobody = judged(DEAD_LETTERS, Answer::NobodyListens).outcome;
        assert_eq!(nobody, CheckEnd::Judged(Fitness::Fit));
        assert_eq!(judged(OUTPUT, Answer::Taken).outcome, CheckEnd::Judged(Fitness::Fit));
    }
}
