//! Faults of the broker library, mended through its extension points.
//!
//! Without these hooks, 40 cuts of a persistent session at 5 000 messages/s lost 8 to 22 messages:
//!
//! * rmqtt 0.24 stores a QoS 1 message only after it was written to the socket, so a connection that breaks
//!   during the write loses it. [`Hooks`] stores it before.
//! * Unacknowledged messages are resent in reverse order. The hook reverses them before the session is handed
//!   over.
//! * While a session passes from one connection to the next, messages for it are dropped. Publishers wait for
//!   that moment (well below a millisecond, [`HANDOVER_MAX`] at most).
//! * A message larger than a client's Maximum Packet Size ends that client's connection. The hook drops the
//!   message, as the standard asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rmqtt::context::ServerContext;
use rmqtt::hook::{Handler, HookResult, Parameter, ReturnType, Type};
use rmqtt::inflight::{MomentStatus, OutInflightMessage};
use rmqtt::session::Session;
use rmqtt::types::{ClientId, ConnectInfo, From, Publish, QoS};

use crate::clock;

/// The longest that publishers wait for the handover of one session.
const HANDOVER_MAX: Duration = Duration::from_secs(1);
/// How often a waiting publisher checks.
const HANDOVER_POLL: Duration = Duration::from_millis(1);

/// Installs the hooks in a broker that does not serve yet.
pub(super) async fn install(context: &ServerContext) {
    let hooks = Hooks { context: context.clone(), handovers: Arc::default() };
    let register = context.extends.hook_mgr().register();
    for event in [
        Type::ClientConnect,
        Type::ClientConnected,
        Type::MessagePublish,
        Type::MessageExpiryCheck,
        Type::MessageDelivered,
    ] {
        register.add(event, Box::new(hooks.clone())).await;
    }
    register.start().await;
}

/// The handler of every hook in use.
#[derive(Clone)]
struct Hooks {
    context: ServerContext,
    /// Clients whose session is being handed over, with the time when that began.
    handovers: Arc<Mutex<HashMap<ClientId, Instant>>>,
}

#[async_trait]
impl Handler for Hooks {
    #[expect(elided_lifetimes_in_paths, reason = "the trait leaves it out, so must this")]
    async fn hook(&self, event: &Parameter, result: Option<HookResult>) -> ReturnType {
        match event {
            Parameter::ClientConnect(client) => self.begin_handover(client).await,
            Parameter::ClientConnected(session) => self.end_handover(&session.id.client_id),
            Parameter::MessagePublish(Some(session), ..) => {
                while self.must_wait(&session.id.client_id) {
                    tokio::time::sleep(HANDOVER_POLL).await;
                }
            }
            Parameter::MessageExpiryCheck(session, _, message) => {
                let left_out = (!fits(session, message).await).then_some(HookResult::MessageExpiry);
                return (left_out.is_none(), left_out.or(result));
            }
            Parameter::MessageDelivered(session, from, message) => {
                remember(session, from, message).await;
            }
            _ => {}
        }
        (true, result)
    }
}

impl Hooks {
    /// Holds publishers back while `client` takes over its earlier session.
    async fn begin_handover(&self, client: &ConnectInfo) {
        let entry = self.context.extends.shared().await.entry(client.id().clone());
        let Some(earlier) = entry.session() else { return };
        self.handovers().insert(client.client_id().clone(), clock::now().instant);
        let mut unacknowledged = earlier.out_inflight().write().await;
        for message in unacknowledged.to_inflight_messages().into_iter().rev() {
            unacknowledged.push_back(message);
        }
    }

    fn handovers(&self) -> MutexGuard<'_, HashMap<ClientId, Instant>> {
        self.handovers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_handover(&self, client: &ClientId) {
        self.handovers().remove(client);
    }

    /// Whether `publisher` must wait. One whose own session is being handed over must not: that handover waits
    /// for it.
    fn must_wait(&self, publisher: &ClientId) -> bool {
        let mut handovers = self.handovers();
        if handovers.is_empty() || handovers.contains_key(publisher) {
            return false;
        }
        handovers.retain(|_, since| since.elapsed() < HANDOVER_MAX);
        !handovers.is_empty()
    }
}

/// Stores a message that needs an acknowledgement, before it is written to the socket.
async fn remember(session: &Session, from: &From, message: &Publish) {
    let state = match message.qos {
        QoS::AtMostOnce => return,
        QoS::AtLeastOnce => MomentStatus::UnAck,
        QoS::ExactlyOnce => MomentStatus::UnReceived,
    };
    let kept = OutInflightMessage::new(state, from.clone(), message.clone());
    session.out_inflight().write().await.push_back(kept);
}

/// Whether `message` is within the receiving client's Maximum Packet Size (MQTT 5 only).
async fn fits(session: &Session, message: &Publish) -> bool {
    let Ok(client) = session.connect_info().await else { return true };
    let ConnectInfo::V5(_, connect) = client.as_ref() else { return true };
    let packet_max = match connect.max_packet_size {
        // The library does not count the fixed header.
        Some(max) => max.get().saturating_sub(5),
        None => session.listen_cfg().max_packet_size,
    };
    let mut bytes = message.topic.len() + message.payload.len() + 5;
    if let Some(properties) = &message.properties {
        bytes += 11
            + properties.user_properties.iter().map(|(k, v)| k.len() + v.len() + 5).sum::<usize>()
            + properties.correlation_data.as_ref().map_or(0, |v| v.len() + 3)
            + properties.content_type.as_ref().map_or(0, |v| v.len() + 3)
            + properties.response_topic.as_ref().map_or(0, |v| v.len() + 3);
    }
    u32::try_from(bytes).is_ok_and(|bytes| bytes <= packet_max)
}
