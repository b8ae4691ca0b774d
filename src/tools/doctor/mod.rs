//! `sluicegate doctor`: checks the brokers of a configuration before anyone trusts them.
//!
//! Each check measures first and judges after. The measurement is a value; the verdict is a pure function of
//! that value and the settings. What a broker says of itself is compared with what it does.
//!
//! Invariants:
//! - The probe has its own topics below a prefix, and its own clients. It does not touch the gateway's sessions
//!   and topics, except that it publishes one empty message to each output topic if that is asked for.
//! - Everything is bounded: messages, bytes, each wait, and the whole by [`Probe::within`].
//! - However it ends, it removes its sessions and its retained message (`cleaned`).
//!
//! | file | job |
//! | --- | --- |
//!  `verdict` | verdicts, findings, the conclusion |
//! | `scene` | one broker under audit: settings, names, sizes |
//! | `client` | the probe's client |
//! | `login` | logging in, versions, CONNACK |
//! | `certificates` | until when certificates are valid |
//!  `apart` | whether the broker keeps our clients apart |
//! | `system` | `$SYS`: version, drops |
//! | `echo` | a subscription, its QoS, one message |
//! | `resume` | a session that lives on |
//! | `capacity` | window, queue, drops, pings |
//!  `absence` | messages queued for a client that is away |
//! | `features` | retained messages, shared subscriptions |
//! | `size` | the largest packet |
//! | `output` | permission to publish, and whether anyone listens |
//!  `report` | the audit as text and as JSON |

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Builder;
use tokio::time::{timeout, timeout_at};

use self::report::{AuditReport, BrokerReport};
use self::scene::{PROBE_BYTES_MAX, Probe, Role, Scene};
use self::system::System;
use self::verdict::{Finding, Software, grouped};
use crate::clock;
use crate::mqtt;
use crate::mqtt::options::{BrokerUrl, Version};
use crate::mqtt::packet::Greeting;
use crate::mqtt::topic::Topic;
use crate::plan::{self, Plan};

mod absence;
mod apart;
mod capacity;
mod certificates;
mod client;
mod echo;
mod features;
mod login;
mod output;
pub mod report;
mod resume;
pub mod scene;
mod size;
mod system;
pub mod verdict;

/// The longest time for the end, out of [`Probe::within`]: removing sessions and a retained message.
const CLEAN_MAX: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file has only the embedded broker.
    #[error(
        "broker.url is \"embedded\": that broker ends with its gateway, with everything in it; \
         doctor needs a broker that runs by itself: set broker.url, or \
         SLUICEGATE__BROKER__URL=mqtt://host:1883"
    )]
    Embedded,
    /// There is no broker in use.
    #[error(
        "no broker is used: no entry subscribes to one, and batches go to a file ([output.file])"
    )]
    NoBroker,
    /// The probe's messages have too many bytes.
    #[error(
        "the capacity probe would send {} bytes; its bound is {}: lower --messages or --message-bytes",
        grouped(*.0), grouped(PROBE_BYTES_MAX)
    )]
    TooLarge(u64),
    #[error("cannot start the runtime: {0}")]
    Runtime(#[from] std::io::Error),
}

/// Audits the brokers of `plan`. Random names follow from `seed`. `stop` ends it early, after its clean-up.
pub fn run(
    plan: &Plan,
    probe: &Probe,
    seed: u64,
    stop: impl Future<Output = ()>,
) -> Result<AuditReport, Error> {
    let tag = SmallRng::seed_from_u64(seed).random::<u32>();
    let random = || Topic::try_from(format!("sluicegate-doctor/{tag:08x}")).expect("a plain topic");
    let prefix = probe.topic_prefix.clone().unwrap_or_else(random);
    let scenes = scenes(plan, probe, &prefix, tag);
    if scenes.is_empty() {
        return Err(Error::NoBroker);
    }
    if scenes.iter().any(|scene| scene.broker.url == BrokerUrl::Embedded) {
        return Err(Error::Embedded);
    }
    let messages = u64::from(probe.messages) + u64::from(plan.window_each());
    let bytes = messages * u64::from(probe.message_bytes);
    if bytes > PROBE_BYTES_MAX {
        return Err(Error::TooLarge(bytes));
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let brokers = runtime.block_on(audit(scenes, probe.within, stop));
    // A look-up that hangs is abandoned.
    runtime.shutdown_background();
    Ok(AuditReport { prefix: prefix.to_string(), brokers })
}

/// The brokers that the gateway would use.
fn scenes<'a>(plan: &'a Plan, probe: &'a Probe, prefix: &Topic, tag: u32) -> Vec<Scene<'a>> {
    let scene = |key, broker: &'a plan::Broker, role| Scene {
        plan,
        key,
        broker,
        role,
        probe,
        prefix: prefix.clone(),
        id: format!("{}-doctor-{tag:08x}", broker.ids_begin(&plan.gateway.id)),
        software: Software::Other,
        knows_v5: broker.version == Version::V5,
        entered: true,
    };
    let input = plan.intakes().next().is_some();
    let output = plan.mqtt_output();
    let own = output.and_then(|it| it.broker.as_deref());
    if output.is_some() && own.is_none() {
        return vec![scene("broker", &plan.broker, Role { input, output: true })];
    }
    let takes = input.then(|| scene("broker", &plan.broker, Role { input: true, output: false }));
    let gives =
        own.map(|output| scene("output.broker", output, Role { input: false, output: true }));
    takes.into_iter().chain(gives).collect()
}

/// Audits the brokers, one after the other.
async fn audit(
    scenes: Vec<Scene<'_>>,
    within: Duration,
    stop: impl Future<Output = ()>,
) -> Vec<BrokerReport> {
    let cleaning = CLEAN_MAX * u32::try_from(scenes.len()).unwrap_or(1);
    let end = clock::now().instant + within.saturating_sub(cleaning);
    let mut stop = pin!(stop);
    let mut stopped = false;
    let mut brokers = Vec::new();
    for mut scene in scenes {
        let mut findings = Vec::new();
        if !stopped {
            tokio::select! {
                biased;
                () = &mut stop => stopped = true,
                () = bounded(&mut scene, &mut findings, end) => {}
            }
            if scene.entered {
                findings.extend(cleaned(&scene).await);
            }
        }
        if stopped {
            findings.push(Finding::failed("all checks", "stopped by a signal"));
        }
        let (url, version) = (scene.broker.url.to_string(), scene.broker.version.to_string());
        brokers.push(BrokerReport { key: scene.key, url, version, findings });
    }
    brokers
}

/// Runs all checks that the time allows.
async fn bounded(scene: &mut Scene<'_>, findings: &mut Vec<Finding>, end: Instant) {
    let seconds = scene.probe.within.as_secs();
    if timeout_at(end.into(), checks(scene, findings)).await.is_err() {
        let text = format!("not all were made within {seconds} s");
        let change = "a larger --seconds, or a smaller probe: --messages";
        findings.push(Finding::failed("all checks", text).change(change));
    }
}

/// Runs all checks, one after the other. A check that fails does not stop the others: a connection that one
/// check ended tells nothing of the next check.
async fn checks(scene: &mut Scene<'_>, findings: &mut Vec<Finding>) {
    let greeting = login::check(scene, findings).await;
    findings.extend(certificates::check(scene, greeting.as_ref(), clock::now().wall));
    let Some(greeting) = greeting else { return };
    let before = match system::read(scene).await {
        Ok(system) => system,
        Err(error) => {
            findings.push(broken("software", &error));
            System::default()
        }
    };
    scene.software = before.software();
    findings.push(system::judge_version(&before));
    match apart::check(scene).await {
        Ok(None) => {}
        Ok(Some(finding)) => {
            findings.push(finding);
            return untried(
                findings,
                &HELD,
                "not tried: the probe's clients are one to the broker",
            );
        }
        Err(error) => findings.push(broken("client ids", &error)),
    }
    match echo::check(scene, findings).await {
        Ok(true) => held(scene, &greeting, &before, findings).await,
        Ok(false) => {
            untried(findings, &HELD, "not tried: QoS 1 does not work below the probe's topics");
        }
        Err(error) => findings.push(broken("subscription", &error)),
    }
    if let Err(error) = output::check(scene, findings).await {
        findings.push(broken("output topic", &error));
    }
}

/// The checks that [`held`] runs.
const HELD: [&str; 7] =
    ["session", "absence", "capacity", "keep-alive", "retained", "sharing", "packet size"];

fn untried(findings: &mut Vec<Finding>, checks: &[&'static str], why: &str) {
    findings.extend(checks.iter().map(|check| Finding::skipped(check, why)));
}

/// The checks of what the broker holds. They need messages to arrive below the probe's prefix.
async fn held(
    scene: &Scene<'_>,
    greeting: &Greeting,
    before: &System,
    findings: &mut Vec<Finding>,
) {
    let mut own = 0;
    if greeting.renames {
        let text = "not tried: who is given another client id does not find its session again";
        untried(findings, &["session", "absence"], text);
    } else {
        if let Err(error) = resume::check(scene, findings).await {
            findings.push(broken("session", &error));
        }
        match absence::check(scene, findings).await {
            Ok(absence) => own += absence.lost(),
            Err(error) => findings.push(broken("absence", &error)),
        }
    }
    match capacity::check(scene, findings).await {
        Ok(capacity) => own += capacity.lost(),
        Err(error) => findings.push(broken("capacity", &error)),
    }
    if let Err(error) = features::check_retained(scene, greeting, findings).await {
        findings.push(broken("retained", &error));
    }
    if let Err(error) = features::check_shared(scene, greeting, findings).await {
        findings.push(broken("sharing", &error));
    }
    if let Err(error) = size::check(scene, greeting, findings).await {
        findings.push(broken("packet size", &error));
    }
    let after = match before.version {
        None => Ok(System::default()),
        // A broker that publishes its version publishes the other values too, at its interval.
        Some(_) => system::read_next(scene).await,
    };
    findings.push(match after {
        Ok(after) => system::judge_dropped(before, &after, own),
        Err(error) => broken("dropped", &error),
    });
}

/// The finding for a check whose connection ended too early.
fn broken(check: &'static str, error: &mqtt::Error) -> Finding {
    let change = "try again; if it stays so, look into the broker's log";
    Finding::failed(check, format!("could not be tried: {error}")).change(change)
}

/// Removes the probe's sessions and its retained message. A finding if that fails.
async fn cleaned(scene: &Scene<'_>) -> Option<Finding> {
    let cleaning = async {
        for who in [login::WHO, resume::WHO, absence::WHO] {
            // A clean start without an expiry removes the earlier session, and this one too.
            scene.client(who).await?.close().await;
        }
        let mut client = scene.client("clean").await?;
        if client.greeting.features.retained {
            // A broker without retained messages may close the connection here: then there is nothing to
            // delete.
            drop(client.publish_retained(&scene.topic(features::RETAINED), Bytes::new()).await);
        }
        client.close().await;
        Ok::<(), mqtt::Error>(())
    };
    let problem = match timeout(CLEAN_MAX, cleaning).await {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("not within {CLEAN_MAX:?}"),
    };
    let text = format!(
        "sessions of {}-… and a message below {} may be left: {problem}",
        scene.id, scene.prefix
    );
    Some(Finding::skipped("cleaning up", text))
}
