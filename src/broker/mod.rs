//! An MQTT broker inside this process, for a start without any other program.
//!
//! For trying the gateway out, not for running a site. It has no access control, so it listens on loopback
//! only. It keeps everything in memory, so sessions, queues and retained messages are gone when the process
//! ends. The production image is built without it (cargo feature `embedded-broker` off); there `broker.url`
//! names a real broker.
//!
//! **Design.** The library is rmqtt 0.24 with its cargo features `retain` and `shared-subscription`: MQTT 3.1,
//! 3.1.1 and 5 on one port. It answers pings while a client's window is full, and accepts acknowledgements at
//! any time. `parts` implements what the library leaves to plugins. `hooks` mends its faults. The broker has
//! one thread and a runtime of its own: stopping the runtime ends every connection, and a burst of messages
//! uses one core at most. The library logs through the `log` crate, which this program does not read, and
//! prints nothing.
//!
//! **Measured** (two cores, loopback): 20 000 messages of 100 bytes from a publisher that does not pause all
//! arrive, in order, with both versions, at QoS 0 (up to 100 000/s) and 1 (up to 50 000/s). Each takes 13 µs of
//! processor time. When idle it takes 6 MiB and no processor time. A persistent session was cut off 500 times
//! at 5 000 messages/s, by FIN, RST and takeover: no message was missing, and unacknowledged messages were
//! resent in order with their packet id and DUP.
//!
//! **Limits.**
//!
//! * At most `QUEUE_MESSAGES_MAX` messages wait for one session, at about 470 bytes and the payload each.
//!   Beyond that the oldest of QoS 1 and the newest of QoS 0 are dropped. Nothing bounds the bytes, and
//!   publishers are not slowed down.
//! * A client that reads nothing for `WRITE_MAX` is disconnected, and gets no answers meanwhile. If its
//!   successor connects while it still holds its socket, messages after it froze are lost.
//! * Between the two versions a packet may grow by a few bytes: one within 16 bytes of the largest size may be
//!   dropped for an MQTT 5 client.
//! * No TLS, no WebSocket, no topic aliases, no `$SYS` topics.
//! * Each stopped broker leaks its tables (14 KiB), because the library's parts hold each other.

mod hooks;
mod parts;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use rmqtt::context::ServerContext;
use rmqtt::net::{Builder, Listener};
use rmqtt::server::MqttServer;
use tokio::runtime::Runtime;

/// Messages that wait for one session. Beyond that the oldest is dropped.
const QUEUE_MESSAGES_MAX: usize = 100_000;
/// The longest time for one write to a client that does not read. Then the client is disconnected.
const WRITE_MAX: Duration = Duration::from_secs(30);
/// The smallest limit on a packet: less could not carry a CONNECT.
const PACKET_BYTES_MIN: u32 = 1024;
/// How long [`Embedded::stop`] waits for the broker's thread.
const STOP_MAX: Duration = Duration::from_secs(2);

/// A running broker. Dropping it stops it.
#[derive(Debug)]
pub struct Embedded {
    address: SocketAddr,
    /// Its own runtime: stopping it ends every connection, and a burst uses one core at most.
    runtime: Option<Runtime>,
}

/// Why the broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker has no access control.
    #[error(
        "the embedded broker has no access control and listens on loopback only, not on {listen}: \
         write 127.0.0.1 or [::1], or run a broker of its own and set broker.url to it"
    )]
    NotLoopback { listen: SocketAddr },
    /// The address is in use, or not allowed.
    #[error(
        "the embedded broker cannot listen on {listen}: {cause}: stop the program that holds this \
         address, or give another port (0 takes any free one)"
    )]
    Bind { listen: SocketAddr, cause: io::Error },
    /// The thread did not start or ended at once.
    #[error(
        "the embedded broker for {listen} did not start: {cause}: raise the limit on threads, or \
         run a broker of its own and set broker.url to it"
    )]
    Thread { listen: SocketAddr, cause: io::Error },
}

impl Embedded {
    /// Binds `listen` (loopback only; port 0 is any free port) and serves until dropped or stopped.
    ///
    /// `packet_bytes_max` bounds a packet in both directions, without its first two to five bytes: allow 1 KiB
    /// more than the largest payload, for the topic and the properties. Must be called inside a tokio runtime;
    /// the broker has its own and spawns nothing on the caller's.
    pub async fn start(listen: SocketAddr, packet_bytes_max: u32) -> Result<Self, Error> {
        if !listen.ip().is_loopback() {
            return Err(Error::NotLoopback { listen });
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1) // the hooks count on it: a handover then takes a few polls
            .thread_name("mqtt-broker")
            .enable_all()
            .build()
            .map_err(|cause| Error::Thread { listen, cause })?;
        let opening = runtime.spawn(open(listen, packet_bytes_max));
        let mut broker = Self { address: listen, runtime: Some(runtime) };
        broker.address = opening
            .await
            .map_err(|cause| Error::Thread { listen, cause: io::Error::other(cause) })??;
        Ok(broker)
    }

    /// The address that is bound, with the chosen port for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection and frees the address before it returns.
    pub async fn stop(mut self) {
        if let Some(runtime) = self.runtime.take() {
            let ended = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(STOP_MAX));
            drop(ended.await);
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Binds and starts to serve, inside the broker's own runtime.
async fn open(listen: SocketAddr, packet_bytes_max: u32) -> Result<SocketAddr, Error> {
    let listener = bind(listen, packet_bytes_max).map_err(|error| bind_error(listen, error))?;
    let address = listener.local_addr().map_err(|error| bind_error(listen, error))?;
    // The library's overload check refuses connections while the machine's processors are busy.
    let context = ServerContext::new().busy_check_enable(false).build().await;
    parts::install(&context).await;
    hooks::install(&context).await;
    let server = MqttServer::new(context).listener(listener).build();
    // On the broker's own runtime, so it ends with that.
    tokio::runtime::Handle::current().spawn(server.run());
    Ok(address)
}

fn bind(listen: SocketAddr, packet_bytes_max: u32) -> rmqtt::Result<Listener> {
    Builder::new()
        .name("embedded")
        .laddr(listen)
        .reuseaddr(Some(cfg!(unix)))
        .nodelay(true)
        .max_packet_size(packet_bytes_max.max(PACKET_BYTES_MIN))
        .max_inflight(NonZeroU16::MAX) // a client's own Receive Maximum decides
        .max_mqueue_len(QUEUE_MESSAGES_MAX)
        .message_retry_interval(Duration::ZERO) // re-send on a new connection only
        .message_expiry_interval(Duration::ZERO) // only where the publisher asks for it
        .send_timeout(WRITE_MAX)
        .bind()?
        .tcp()
}

fn bind_error(listen: SocketAddr, error: rmqtt::Error) -> Error {
    Error::Bind { listen, cause: error.downcast().unwrap_or_else(io::Error::other) }
}
