//! The embedded broker, if the plan wants one.

#[cfg(not(feature = "embedded-broker"))]
pub use std::convert::{Infallible as Embedded, Infallible as Error};

#[cfg(feature = "embedded-broker")]
pub use crate::broker::{Embedded, Error};
#[cfg(feature = "embedded-broker")]
use crate::mqtt::options::BrokerUrl;
use crate::plan::Plan;

/// Without the embedded broker: the plan cannot want it, it would not have been accepted.
#[cfg(not(feature = "embedded-broker"))]
pub(super) async fn embed(plan: Plan) -> Result<(Plan, Option<Embedded>), Error> {
    std::future::ready(Ok((plan, None))).await
}

/// Starts the embedded broker if the plan wants one, and puts its address into the plan.
#[cfg(feature = "embedded-broker")]
pub(super) async fn embed(mut plan: Plan) -> Result<(Plan, Option<Embedded>), Error> {
    if plan.broker.url != BrokerUrl::Embedded {
        return Ok((plan, None));
    }
    let packet_bytes_max = u32::try_from(plan.batch.bytes_max.get() * 2).unwrap_or(u32::MAX);
    let listen = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let wanted = listen(plan.broker.embedded_port);
    let embedded = match Embedded::start(wanted, packet_bytes_max.max(1 << 20)).await {
        Ok(embedded) => embedded,
        Err(error) if plan.broker.embedded_port != 0 => {
            tracing::warn!(%error, "taking a free port for the embedded broker instead");
            Embedded::start(listen(0), packet_bytes_max.max(1 << 20)).await?
        }
        Err(error) => return Err(error),
    };
    let address = embedded.address();
    let (host, port) = (address.ip().to_string(), address.port());
    // It keeps no such counter.
    plan.broker.watch = false;
    plan.broker.url = BrokerUrl::Remote { tls: false, websocket: None, host, port };
    Ok((plan, Some(embedded)))
}
