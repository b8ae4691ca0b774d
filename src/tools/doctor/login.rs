//! Checks the login, the protocol versions, and the content of CONNACK.
//!
//! The first client resumes a session that is present. For an id that nobody has used, it belongs to another
//! client ([`super::apart`]) and must not be removed.

use serde::Serialize;

use super::apart;
use super::client::Client;
use super::scene::Scene;
use super::verdict::{Finding, grouped};
use crate::mqtt::Error;
use crate::mqtt::options::{Options, Version};
use crate::mqtt::packet::Greeting;

/// The client whose CONNACK is checked. Its session is removed at the end.
pub(super) const WHO: &str = "login";

/// Connects as an intake would, with both versions.
pub(super) async fn check(scene: &mut Scene<'_>, findings: &mut Vec<Finding>) -> Option<Greeting> {
    let wanted = scene.broker.version;
    let other = if wanted == Version::V5 { Version::V3 } else { Version::V5 };
    let expiry = scene.options(WHO).session_expiry_seconds();
    let first = open(scene, wanted, false, Some(expiry)).await;
    if let Ok(greeting) = &first
        && greeting.session_present
    {
        findings.push(apart::foreign_session(scene));
        scene.entered = false;
        return None;
    }
    let second = open(scene, other, true, None).await.is_ok();
    scene.knows_v5 = second || wanted == Version::V5;
    match first {
        Ok(greeting) => {
            findings.push(accepted(wanted, other, second));
            findings.push(judge_greeting(scene, &greeting));
            Some(greeting)
        }
        Err(error) => {
            scene.entered = false;
            findings.push(rejected(scene, other, second, &error));
            None
        }
    }
}

async fn open(
    scene: &Scene<'_>,
    version: Version,
    clean_start: bool,
    expiry: Option<u32>,
) -> Result<Greeting, Error> {
    let options = Options { version, ..scene.options(WHO) };
    let mut hello = scene.intake_hello(clean_start, 0);
    hello.session_expiry = expiry;
    // The next client of this name removes the session with a clean start.
    let client = Client::open(&options, &hello).await?;
    let greeting = client.greeting;
    client.close().await;
    Ok(greeting)
}

fn accepted(wanted: Version, other: Version, both: bool) -> Finding {
    let rest = if both { "is accepted too" } else { "is not" };
    let finding =
        Finding::fit("login", format!("accepted with MQTT {wanted}; MQTT {other} {rest}"));
    if both && other == Version::V5 {
        let better = "version = 5 would let the gateway ask for its own window, and learn why \
                      something is refused";
        return finding.change(better);
    }
    finding
}

fn rejected(scene: &Scene<'_>, other: Version, both: bool, error: &Error) -> Finding {
    let wanted = scene.broker.version;
    if let Error::Beneath { problem, remedy, .. } = error {
        return Finding::failed("login", problem.clone()).change(remedy.clone());
    }
    if both {
        let text = format!("MQTT {wanted} is not accepted ({error}); MQTT {other} is");
        let change = format!("{} = {}", scene.key("version"), u8::from(other));
        return Finding::unfit("login", text).change(change);
    }
    if error.is_permanent() {
        let keys = ["username", "password_file", "tls"].map(|name| scene.key(name)).join(", ");
        let change = format!("{keys}; or the broker's list of users");
        return Finding::refused("login", error.to_string()).change(change);
    }
    let url = scene.key("url");
    let change = if error.is_hang_up() {
        format!(
            "look into the broker's log; if the port wants TLS, {url} begins with mqtts:// or wss://"
        )
    } else {
        format!("start the broker, or another {url}")
    };
    Finding::failed("login", error.to_string()).change(change)
}

#[derive(Debug, Serialize)]
struct ConnackNumbers {
    receive_maximum: u16,
    maximum_qos: u8,
    maximum_packet_size: Option<u32>,
    retain_available: bool,
    shared_subscription_available: bool,
    session_expiry_interval: Option<u32>,
    server_keep_alive: Option<u16>,
    assigned_client_identifier: bool,
}

/// Compares CONNACK with what the gateway needs.
fn judge_greeting(scene: &Scene<'_>, greeting: &Greeting) -> Finding {
    const CHECK: &str = "greeting";
    let said = ConnackNumbers {
        receive_maximum: greeting.receive_max,
        maximum_qos: greeting.qos_max,
        maximum_packet_size: greeting.packet_bytes_max,
        retain_available: greeting.features.retained,
        shared_subscription_available: greeting.features.shared,
        session_expiry_interval: greeting.session_expiry,
        server_keep_alive: greeting.keep_alive,
        assigned_client_identifier: greeting.renames,
    };
    if !scene.is_v5() {
        return Finding::skipped(CHECK, "MQTT 3.1.1: the broker says nothing of its limits");
    }
    let window = scene.plan.output.window_batches.get();
    let published = scene.output().map_or(0, |it| it.qos.0);
    let expiry = scene.options(WHO).session_expiry_seconds();
    let finding = if greeting.qos_max < published {
        let text = format!("it takes QoS {} at most; output.qos is {published}", said.maximum_qos);
        let change = scene.software.change("let it take QoS 1", "max_qos 2");
        Finding::unfit(CHECK, text).change(format!("{change}; or output.qos"))
    } else if scene.role.input && greeting.renames {
        let text = "it gives clients other ids than theirs: no session can be resumed, and what comes \
                    while the gateway is away is lost";
        Finding::unfit(CHECK, text).change("let the broker keep the ids that clients give")
    } else if let Some(seconds) =
        greeting.session_expiry.filter(|it| scene.role.input && *it < expiry)
    {
        let text = format!(
            "it keeps a session for {} s without its client, where {} are asked for: a gateway that \
             is away longer loses what waits",
            grouped(seconds),
            grouped(expiry)
        );
        let change =
            scene.software.change("keep sessions longer", "persistent_client_expiration 14d");
        Finding::risky(CHECK, text).change(change)
    } else if scene.role.output && greeting.receive_max < window {
        let most = greeting.receive_max;
        let text = format!(
            "it takes {most} unacknowledged publishes at a time; output.window_batches is {window}: \
             batches wait for each other"
        );
        let change =
            scene.software.change("let it take more", &format!("max_inflight_messages {window}"));
        Finding::risky(CHECK, text).change(format!("{change}; or output.window_batches = {most}"))
    } else {
        Finding::fit(CHECK, described(greeting))
    };
    finding.with(&said)
}

fn described(greeting: &Greeting) -> String {
    let mut said = vec![format!(
        "takes {} unacknowledged publishes of QoS {} at most",
        grouped(greeting.receive_max),
        greeting.qos_max
    )];
    said.push(match greeting.packet_bytes_max {
        Some(bytes) => format!("packets up to {} bytes", grouped(bytes)),
        None => "no limit on packets said".into(),
    });
    said.push(match greeting.session_expiry {
        Some(seconds) => format!("sessions kept for {} s", grouped(seconds)),
        None => "sessions kept as asked".into(),
    });
    if let Some(seconds) = greeting.keep_alive {
        said.push(format!("wants a keep-alive of {seconds} s"));
    }
    if greeting.renames {
        said.push("gives clients other ids than theirs".into());
    }
    for (is_there, what) in
        [(greeting.features.retained, "retained messages"), (greeting.features.shared, "sharing")]
    {
        if !is_there {
            said.push(format!("has no {what}"));
        }
    }
    said.join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::scene::{Role, with_scene};
    use super::super::verdict::{CheckEnd, Fitness};
    use super::*;
    use crate::mqtt::packet::Features;

    const GREETING: Greeting = Greeting {
        session_present: false,
        receive_max: 20,
        packet_bytes_max: None,
        keep_alive: None,
        qos_max: 2,
        session_expiry: None,
        features: Features { retained: true, shared: true },
        renames: false,
        certificate_end: None,
    };

    #[test]
    fn a_greeting_is_compared_with_what_the_gateway_does_there() {
        let outcome = |greeting: Greeting, input, output| {
            let finding = with_scene(Role { input, output }, |it| judge_greeting(it, &greeting));
            let CheckEnd::Judged(verdict) = finding.outcome else { panic!("{finding:?}") };
            verdict
        };
        assert_eq!(outcome(GREETING, true, true), Fitness::Fit);
        let qos_0 = Greeting { qos_max: 0, ..GREETING };
        assert_eq!(outcome(qos_0, true, true), Fitness::Unfit);
        assert_eq!(outcome(qos_0, true, false), Fitness::Fit);
        let renames = Greeting { renames: true, ..GREETING };
        assert_eq!(outcome(renames, true, false), Fitness::Unfit);
        let forgets = Greeting { session_expiry: Some(60), ..GREETING };
        assert_eq!(outcome(forgets, true, false), Fitness::Risky);
        assert_eq!(outcome(forgets, false, true), Fitness::Fit);
        let narrow = Greeting { receive_max: 15, ..GREETING };
        assert_eq!(outcome(narrow, false, true), Fitness::Risky);
    }

    #[test]
    fn another_version_is_unfit_a_wrong_login_refused_and_no_broker_leaves_it_open() {
        let outcome = |both, error: Error| {
            let role = Role { input: true, output: true };
            with_scene(role, |it| rejected(it, Version::V3, both, &error)).outcome
        };
        let refused = || Error::Refused { reason: "no".into(), permanent: true };
        assert_eq!(outcome(true, refused()), CheckEnd::Judged(Fitness::Unfit));
        assert_eq!(outcome(false, refused()), CheckEnd::Refused);
        assert_eq!(outcome(false, Error::Closed), CheckEnd::Failed);
    }
}
