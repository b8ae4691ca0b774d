//! The sessions that an earlier run left at the broker, and that no entry has now: their entries were removed from the
//! file, or moved, while the gateway was stopped. The broker goes on filling them until they expire.
//!
//! Each is named once, with the command that deletes it. It is not deleted here: an entry that was taken out by mistake
//! would lose what waits for it.

use super::Sources;
use crate::mqtt::left::Trace;
use crate::mqtt::options::BrokerUrl;

/// Sessions that are named, each in a line. Of more the count is said.
const NAMED_MAX: usize = 20;

impl Sources {
    /// Names them.
    pub(super) fn say_left_behind(&self) {
        let Some(left) = &self.left else { return };
        let plan = &self.plan;
        let trace = |session: &str| left.trace(session, &plan.intake_options(session));
        let known: Vec<Trace> = plan.sessions().keys().map(|session| trace(session)).collect();
        let others = left.forget_others(&known);
        for (session, broker) in others.iter().take(NAMED_MAX).map(Trace::shown) {
            let is_ours = others.iter().any(|it| *it == trace(session));
            let command = match &plan.broker.url {
                BrokerUrl::Remote { host, port, .. } if is_ours => {
                    let id = match plan.broker.client_id_file {
                        None => plan.intake_options(session).client_id,
                        // It can be a secret.
                        Some(_) => format!("<the id in broker.client_id_file>-in-{session}"),
                    };
                    format!(
                        "mosquitto_sub -h {host} -p {port} -i {id} -t x -E, with the login of [broker]"
                    )
                }
                _ => format!(
                    "a client whose id ends with -in-{session} left it, under another id or address"
                ),
            };
            tracing::warn!(
                session,
                broker,
                "an earlier run subscribed in a session that no entry has now: the broker keeps messages for it until \
                 it expires. To delete it with them: {command}. This is said once"
            );
        }
        if let Some(more @ 1..) = others.len().checked_sub(NAMED_MAX) {
            tracing::warn!(
                more,
                "further sessions of earlier runs, that no entry has now, are not named"
            );
        }
    }
}
