//! The topics of a broker's own figures below `$SYS`. No standard names them: they are Mosquitto's.
//!
//! Mosquitto publishes them every `sys_interval` (ten seconds unless set), retained. It publishes the counter
//! only when it has changed, and removes a value after a minute. A start counts as a change: the counter begins
//! with 0. Other brokers count messages that nobody subscribes to, or keep no count: they are ignored.

/// Name and version of the broker.
pub const VERSION: &str = "$SYS/broker/version";

/// Messages that the broker has dropped since it started, for all clients.
pub const DROPPED: &str = "$SYS/broker/publish/messages/dropped";

/// How long the broker has run; published each time, after the counter.
pub const UPTIME: &str = "$SYS/broker/uptime";

/// The lines of `mosquitto.conf` that make it keep what it would drop.
pub const QUEUE_ROOM: &str = "max_queued_messages 0, max_queued_bytes 1073741824";
