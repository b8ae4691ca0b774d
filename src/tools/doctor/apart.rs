//! Checks whether the broker keeps our clients apart.
//!
//! Some brokers derive the client id from the user name (Mosquitto's `use_username_as_clientid`) or from the
//! certificate. Then all clients of one account are one client: each connect ends the connection of the others,
//! and takes or removes their session. All other checks would measure only that, and the gateway's own clients
//! would do it to each other.
//!
//! The first sign is a session that is present for a client id that nobody has used: then nothing more is
//! tried, because it may be the gateway's. Otherwise two clients connect in turn, twice: one broken connection
//! may be chance.
//! breaks once.

use std::time::Duration;

use super::client::{ANSWER_MAX, Client};
use super::scene::Scene;
use super::verdict::Finding;
use crate::mqtt::Error;

const CHECK: &str = "client ids";

/// How often two clients connect in turn.
const ROUNDS: u32 = 2;

/// The finding, if the broker does not keep them apart.
pub(super) async fn check(scene: &Scene<'_>) -> Result<Option<Finding>, Error> {
    for _ in 0..ROUNDS {
        let mut one = scene.client("apart-one").await?;
        let other = scene.client("apart-other").await?;
        let lives = answers(&mut one, ANSWER_MAX / 2).await;
        other.close().await;
        if lives {
            one.close().await;
            return Ok(None);
        }
    }
    let text = "each client that connects ends the connection of the one before, though their ids \
                differ: the broker takes all clients of this account for one";
    Ok(Some(judge(scene, text)))
}

async fn answers(client: &mut Client, within: Duration) -> bool {
    matches!(client.ping(within).await, Ok(Some(_)))
}

/// The finding for a session that was present when the first client connected.
pub(super) fn foreign_session(scene: &Scene<'_>) -> Finding {
    let text = "the broker has a session for a client id that nobody has used before: it takes all \
                clients of this account for one, and the session is another client's";
    judge(scene, text)
}

fn judge(scene: &Scene<'_>, text: &str) -> Finding {
    let text = format!(
        "{text}. The gateway's clients would end each other's connections and lose what waits in their \
         session"
    );
    let general = "let the broker keep the ids that clients give, instead of making them of the user \
                   name or the certificate";
    let change = scene.software.change(general, "use_username_as_clientid false");
    Finding::unfit(CHECK, text).change(change)
}
