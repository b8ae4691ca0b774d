//! Reads everything that has a length on the wire: packets, properties, texts and binary data.
//!
//! All bytes of a broker are read through [`Wire`]: the fixed header with the remaining length
//! ([`fixed_header`], MQTT 5 §2.1), the length of the properties ([`Wire::counted`], §2.2.2.1), and the two
//! bytes before a text or binary data ([`Wire::prefixed`], §1.5.4 and §1.5.6). 3.1.1 has the first and the last
//! in the same form.
//!
//! A length that reaches past the end is an error, never a shorter value. A variable byte integer that is
//! longer than necessary is read: it has only one meaning.

use super::Error;

/// The bytes that are not yet read. Nothing is copied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wire<'a>(pub(super) &'a [u8]);

impl<'a> Wire<'a> {
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The next `length` bytes.
    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Error> {
        let (byte, rest) = self.0.split_first().ok_or_else(malformed)?;
        self.0 = rest;
        Ok(*byte)
    }

    /// A two byte integer (MQTT 5 §1.5.2).
    pub(super) fn two(&mut self) -> Result<u16, Error> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or_else(malformed)?;
        self.0 = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    /// A four byte integer (MQTT 5 §1.5.3).
    pub(super) fn four(&mut self) -> Result<u32, Error> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or_else(malformed)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    /// A variable byte integer (MQTT 5 §1.5.5).
    pub(super) fn varint(&mut self) -> Result<usize, Error> {
        let (value, length) = varint(self.0)?.ok_or_else(malformed)?;
        self.0 = self.0.get(length..).expect("its bytes were read");
        Ok(value)
    }

    /// A text or binary data, with two bytes of length before it.
    pub(super) fn prefixed(&mut self) -> Result<&'a [u8], Error> {
        let length = self.two()?;
        self.bytes(length.into())
    }

    /// Properties, with their length before them.
    pub(super) fn counted(&mut self) -> Result<&'a [u8], Error> {
        let length = self.varint()?;
        self.bytes(length)
    }

    /// A packet id, which is never 0 (MQTT 5 §2.2.1).
    pub(super) fn packet_id(&mut self) -> Result<u16, Error> {
        match self.two()? {
            0 => Err(Error::Protocol("a packet id of 0".into())),
            packet_id => Ok(packet_id),
        }
    }

    /// An error unless everything has been read.
    pub(super) fn end(self) -> Result<(), Error> {
        if self.is_empty() { Ok(()) } else { Err(malformed()) }
    }
}

/// A variable byte integer and how many bytes it has; `None` if it is not complete.
pub(super) fn varint(bytes: &[u8]) -> Result<Option<(usize, usize)>, Error> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() >= 4 { Err(malformed()) } else { Ok(None) }
}

/// The bytes of the fixed header and of what follows it; `None` if the header is not complete.
pub(super) fn fixed_header(bytes: &[u8]) -> Result<Option<(usize, usize)>, Error> {
    let Some(rest) = bytes.get(1..) else { return Ok(None) };
    Ok(varint(rest)?.map(|(value, length)| (1 + length, value)))
}

/// The first byte of a whole packet, and the content after its fixed header.
pub(super) fn whole(packet: &[u8]) -> Result<(u8, Wire<'_>), Error> {
    let mut wire = Wire(packet);
    let first = wire.byte()?;
    let body = wire.counted()?;
    wire.end()?;
    Ok((first, Wire(body)))
}

pub(super) fn malformed() -> Error {
    Error::Protocol("a malformed packet".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_read_in_each_of_its_forms_and_never_past_the_end() {
        for (bytes, value) in [
            (&[0x00][..], 0),
            (&[0x7f], 127),
            (&[0x80, 0x01], 128),
            (&[0xff, 0x7f], 16_383),
            (&[0x80, 0x80, 0x01], 16_384),
            (&[0xff, 0xff, 0xff, 0x7f], 268_435_455),
        ] {
            assert_eq!(varint(bytes).unwrap(), Some((value, bytes.len())));
            let cut = &bytes[..bytes.len() - 1];
            assert_eq!(varint(cut).unwrap(), None);
            assert!(Wire(cut).varint().is_err());
        }
        assert!(varint(&[0xff; 4]).is_err());
        assert!(Wire(&[0, 3, b'a', b'b']).prefixed().is_err());
        assert!(Wire(&[3, b'a', b'b']).counted().is_err());
        assert_eq!(Wire(&[0, 2, b'a', b'b', 9]).prefixed().unwrap(), b"ab");
        assert!(whole(&[0xd0, 0, 0]).is_err() && whole(&[0xd0, 1]).is_err());
    }
}
