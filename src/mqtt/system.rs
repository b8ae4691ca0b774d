//! What a broker says of itself below `$SYS`. No standard names these topics: they are Mosquitto's.
//!
//! Mosquitto writes them every `sys_interval` (ten seconds unless set), retained, the counter only when it
//! has changed, and forgets a value a minute after. A start is a change: it begins with 0.
//! Other brokers count as dropped what nobody subscribes to, or keep no count; they are left out.

/// Which program it is.
pub const VERSION: &str = "$SYS/broker/version";

/// Messages dropped since it started, for all clients.
pub const DROPPED: &str = "$SYS/broker/publish/messages/dropped";

/// For how long it has run; in every turn, behind the counter.
pub const UPTIME: &str = "$SYS/broker/uptime";

/// The lines of `mosquitto.conf` that make it keep what it would drop.
pub const QUEUE_ROOM: &str = "max_queued_messages 0, max_queued_bytes 1073741824";
