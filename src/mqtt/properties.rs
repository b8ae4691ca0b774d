//! The properties of MQTT 5 (§2.2.2), read where they lie.
//!
//! A property's form depends on its id alone, so they can be walked in any order. Where they matter
//! ([`Properties::each`]) one that does not belong to the packet, or that comes twice, is an error.

use super::Error;
use super::wire::{Wire, malformed};

/// Message Expiry Interval.
pub(super) const MESSAGE_EXPIRY: u8 = 0x02;
/// Session Expiry Interval.
pub(super) const SESSION_EXPIRY: u8 = 0x11;
/// Assigned Client Identifier.
pub(super) const ASSIGNED_CLIENT_ID: u8 = 0x12;
/// Server Keep Alive.
pub(super) const SERVER_KEEP_ALIVE: u8 = 0x13;
/// Server Reference.
pub(super) const SERVER_REFERENCE: u8 = 0x1c;
/// Reason String.
pub(super) const REASON_STRING: u8 = 0x1f;
/// Receive Maximum.
pub(super) const RECEIVE_MAX: u8 = 0x21;
/// Maximum `QoS`.
pub(super) const QOS_MAX: u8 = 0x24;
/// Retain Available.
pub(super) const RETAIN_AVAILABLE: u8 = 0x25;
/// User Property: the only one that may come more than once.
pub(super) const USER_PROPERTY: u8 = 0x26;
/// Maximum Packet Size.
pub(super) const PACKET_BYTES_MAX: u8 = 0x27;
/// Shared Subscription Available.
pub(super) const SHARED_AVAILABLE: u8 = 0x2a;

/// The properties that CONNACK may have (MQTT 5 §3.2.2.3).
pub(super) const OF_CONNACK: &[u8] = &[
    0x11, 0x12, 0x13, 0x15, 0x16, 0x1a, 0x1c, 0x1f, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29,
    0x2a,
];
/// The properties of an acknowledgement: PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK.
pub(super) const OF_ACKNOWLEDGEMENT: &[u8] = &[REASON_STRING, USER_PROPERTY];
/// The properties of DISCONNECT (MQTT 5 §3.14.2.2).
pub(super) const OF_DISCONNECT: &[u8] =
    &[SESSION_EXPIRY, SERVER_REFERENCE, REASON_STRING, USER_PROPERTY];
/// The properties of AUTH (MQTT 5 §3.15.2.2).
pub(super) const OF_AUTH: &[u8] = &[0x15, 0x16, REASON_STRING, USER_PROPERTY];

/// The value of a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A byte, an integer of two or four bytes, or a variable byte integer.
    Number(u32),
    /// A text or binary data.
    Data(&'a [u8]),
    /// Name and value of a user property.
    Pair(&'a [u8], &'a [u8]),
}

/// Properties that are left to read, without the length before them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Properties<'a>(Wire<'a>);

impl<'a> Properties<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self(Wire(bytes))
    }

    /// The next property: its id and its value.
    pub(super) fn next(&mut self) -> Result<Option<(u8, Value<'a>)>, Error> {
        let wire = &mut self.0;
        if wire.is_empty() {
            return Ok(None);
        }
        let id = wire.byte()?;
        let value = match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => {
                Value::Number(wire.byte()?.into())
            }
            0x13 | 0x21 | 0x22 | 0x23 => Value::Number(wire.two()?.into()),
            0x02 | 0x11 | 0x18 | 0x27 => Value::Number(wire.four()?),
            0x0b => Value::Number(u32::try_from(wire.varint()?).map_err(|_| malformed())?),
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => {
                Value::Data(wire.prefixed()?)
            }
            USER_PROPERTY => Value::Pair(wire.prefixed()?, wire.prefixed()?),
            _ => {
                return Err(Error::Protocol(format!("a property {id:#04x}, which MQTT 5 has not")));
            }
        };
        Ok(Some((id, value)))
    }

    /// Calls `take` with each property. An error if one is not among `allowed`, comes twice, or cannot be read.
    pub(super) fn each(
        mut self,
        allowed: &[u8],
        mut take: impl FnMut(u8, Value<'a>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut seen = 0_u64;
        while let Some((id, value)) = self.next()? {
            if !allowed.contains(&id) {
                let text = format!("a property {id:#04x} in a packet that may not have it");
                return Err(Error::Protocol(text));
            }
            let bit = 1_u64.checked_shl(id.into()).expect("all ids are below 64");
            if id != USER_PROPERTY && seen & bit != 0 {
                return Err(Error::Protocol(format!("the property {id:#04x} twice in one packet")));
            }
            seen |= bit;
            take(id, value)?;
        }
        Ok(())
    }
}
