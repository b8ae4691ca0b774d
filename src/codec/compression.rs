//! `compression`: payloads that are packed, unpacked before a codec reads them. Pure.
//!
//! | word | what is unpacked |
//! | --- | --- |
//! | `gzip` | RFC 1952, one member or several |
//! | `zlib` | RFC 1950 |
//! | `zstd` | RFC 8878, one frame or several |
//! | `auto` | any of them, known by its first bytes; what begins like none is read as it is |
//!
//! With a word for one format a payload that is not packed so is a dead letter, `malformed`; an empty one is as empty as it
//! was.
//!
//! - A payload unpacks to `queue.record_bytes_max` bytes at most, and nothing is made of more: a dead letter, `oversize`. So
//!   the work of the task that polls a connection is bounded for each message, as it is by reading it.
//! - The buffer and the states are made for the first payload that needs them, and used again. A window that a frame asks
//!   for is not set aside: the buffer is the window.
//! - Text that begins like zlib (`x^2`) and is none is text, with `auto`.

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zstd::bulk::Decompressor;

use super::Malformed;
use crate::record::Reason;

/// Bytes of the states of all formats.
const STATE_BYTES: u64 = 256 * 1024;

/// How payloads are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// As one of the others, known by its first bytes, or not at all.
    Auto,
    /// As gzip (RFC 1952).
    Gzip,
    /// As zlib (RFC 1950).
    Zlib,
    /// As Zstandard (RFC 8878).
    Zstd,
}

impl Compression {
    /// Bytes that an unpacker holds, at most.
    pub const fn bytes_max(record_bytes_max: usize) -> u64 {
        record_bytes_max as u64 + STATE_BYTES
    }

    /// For the payloads of one entry.
    pub fn unpacker(self) -> Unpacker {
        Unpacker { compression: self, out: Vec::new(), inflate: None, zstd: None }
    }
}

/// Unpacks the payloads of one entry, one after the other.
pub struct Unpacker {
    compression: Compression,
    /// What was unpacked, and room for one byte more than may be.
    out: Vec<u8>,
    inflate: Option<Decompress>,
    zstd: Option<Decompressor<'static>>,
}

impl fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpacker").field("compression", &self.compression).finish_non_exhaustive()
    }
}

impl Unpacker {
    /// A payload, unpacked: `bytes_max` bytes at most.
    pub fn unpack<'a>(
        &'a mut self,
        payload: &'a [u8],
        bytes_max: usize,
    ) -> Result<&'a [u8], Malformed> {
        let Some(format) = self.format(payload) else { return Ok(payload) };
        self.out.resize(bytes_max.saturating_add(1), 0);
        let unpacked = match format {
            Compression::Zstd => self.zstd(payload),
            Compression::Zlib => self.zlib(payload),
            _ => self.gzip(payload),
        };
        let is_guessed = self.compression == Compression::Auto && format == Compression::Zlib;
        match unpacked {
            Ok(bytes) if bytes <= bytes_max => Ok(self.out.get(..bytes).unwrap_or_default()),
            Err(Broken::Wrong(_)) if is_guessed => Ok(payload),
            Err(Broken::Wrong(what)) => Err(Malformed::because(what)),
            Ok(_) | Err(Broken::Long) => {
                let detail =
                    format!("unpacks to more than {bytes_max} bytes (queue.record_bytes_max)");
                Err(Malformed { reason: Reason::Oversize, detail })
            }
        }
    }

    /// How a payload is packed; `None` where it is read as it is.
    fn format(&self, payload: &[u8]) -> Option<Compression> {
        match (self.compression, payload) {
            (Compression::Auto, [0x1f, 0x8b, 8, ..]) => Some(Compression::Gzip),
            (Compression::Auto, [0x28, 0xb5, 0x2f, 0xfd, ..]) => Some(Compression::Zstd),
            // The check bits of a header of the usual window, without a dictionary (RFC 1950 §2.2).
            (Compression::Auto, [0x78, flags @ (0x01 | 0x5e | 0x9c | 0xda), ..]) => {
                debug_assert_eq!((0x7800 + u16::from(*flags)) % 31, 0);
                Some(Compression::Zlib)
            }
            (Compression::Auto, _) | (_, []) => None,
            (format, _) => Some(format),
        }
    }

    /// Unpacks into the buffer; returns how many bytes there are.
    fn zstd(&mut self, payload: &[u8]) -> Result<usize, Broken> {
        let zstd = self.zstd.get_or_insert_default();
        zstd.decompress_to_buffer(payload, &mut *self.out).map_err(|error| {
            let what = error.to_string();
            if what.contains("too small") { Broken::Long } else { wrong("zstd", &what) }
        })
    }

    fn zlib(&mut self, payload: &[u8]) -> Result<usize, Broken> {
        let (used, bytes) = self.inflate("zlib", payload, 0)?;
        if used < payload.len() {
            return Err(wrong("zlib", &format!("{} bytes behind it", payload.len() - used)));
        }
        Ok(bytes)
    }

    fn gzip(&mut self, payload: &[u8]) -> Result<usize, Broken> {
        let ended = || wrong("gzip", "it ends too early");
        let (mut rest, mut bytes) = (payload, 0);
        while !rest.is_empty() {
            rest = behind_header(rest)?;
            let (used, more) = self.inflate("gzip", rest, bytes)?;
            let member = self.out.get(bytes..bytes + more).unwrap_or_default();
            let behind = rest.get(used..).unwrap_or_default();
            let (crc, behind) = behind.split_first_chunk().ok_or_else(ended)?;
            let (length, behind) = behind.split_first_chunk().ok_or_else(ended)?;
            let is_whole = u32::from_le_bytes(*crc) == crc32fast::hash(member)
                && usize::try_from(u32::from_le_bytes(*length)) == Ok(member.len());
            if !is_whole {
                return Err(wrong("gzip", "its check sum or its length does not fit"));
            }
            (rest, bytes) = (behind, bytes + more);
        }
        Ok(bytes)
    }

    /// Unpacks what was deflated into the buffer, behind so many bytes. Returns how many bytes it was, and became.
    fn inflate(
        &mut self,
        format: &str,
        input: &[u8],
        behind: usize,
    ) -> Result<(usize, usize), Broken> {
        let is_zlib = format == "zlib";
        let inflate = self.inflate.get_or_insert_with(|| Decompress::new(is_zlib));
        inflate.reset(is_zlib);
        let out = self.out.get_mut(behind..).unwrap_or_default();
        let status = inflate.decompress(input, out, FlushDecompress::Finish);
        let in_bytes = |count: u64| usize::try_from(count).expect("it is of a slice");
        let (used, bytes) = (in_bytes(inflate.total_in()), in_bytes(inflate.total_out()));
        match status {
            Ok(Status::StreamEnd) => Ok((used, bytes)),
            Ok(_) if bytes == out.len() => Err(Broken::Long),
            Ok(_) => Err(wrong(format, "it ends too early")),
            Err(error) => Err(wrong(format, &error.to_string())),
        }
    }
}

/// Why a payload cannot be unpacked.
enum Broken {
    /// It is not of its format.
    Wrong(String),
    /// It is longer than the buffer.
    Long,
}

fn wrong(format: &str, what: &str) -> Broken {
    Broken::Wrong(format!("no {format}: {what}"))
}

/// What stands behind the header of a member of gzip (RFC 1952 §2.3).
fn behind_header(member: &[u8]) -> Result<&[u8], Broken> {
    const CHECK: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    let [0x1f, 0x8b, 8, flags @ 0..32, _, _, _, _, _, _, rest @ ..] = member else {
        return Err(wrong("gzip", "it does not begin so"));
    };
    let ended = || wrong("gzip", "it ends in its header");
    let mut rest = rest;
    if flags & EXTRA > 0 {
        let (length, behind) = rest.split_first_chunk().ok_or_else(ended)?;
        rest = behind.get(u16::from_le_bytes(*length).into()..).ok_or_else(ended)?;
    }
    for flag in [NAME, COMMENT] {
        if flags & flag > 0 {
            let end = rest.iter().position(|byte| *byte == 0).ok_or_else(ended)?;
            rest = rest.get(end + 1..).unwrap_or_default();
        }
    }
    if flags & CHECK > 0 {
        rest = rest.get(2..).ok_or_else(ended)?;
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use crate::codec::samples::bytes;
    use std::io::Write;

    use flate2::Compression as Level;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;
    use crate::fuzz::{allocated, fuzz};

    const MAX: usize = 4096;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Level::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Level::new(level));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(bytes, 3).unwrap()
    }

    /// Packed in each format.
    fn packed(bytes: &[u8]) -> [(Compression, Vec<u8>); 3] {
        [
            (Compression::Gzip, gzip(bytes)),
            (Compression::Zlib, zlib(bytes, 6)),
            (Compression::Zstd, zstd(bytes)),
        ]
    }

    fn unpacked(compression: Compression, payload: &[u8]) -> Result<Vec<u8>, Reason> {
        let mut unpacker = compression.unpacker();
        unpacker.unpack(payload, MAX).map(<[u8]>::to_vec).map_err(|it| it.reason)
    }

    #[test]
    fn a_payload_comes_out_as_it_was_packed() {
        let long: Vec<u8> = (0..MAX).map(|it| u8::try_from(it % 251).unwrap()).collect();
        let mut auto = Compression::Auto.unpacker();
        for plain in [&b""[..], b"{\"value\":21.5}", &long, &[0; MAX]] {
            for (format, payload) in packed(plain) {
                assert_eq!(unpacked(format, &payload), Ok(plain.to_vec()), "{format:?}");
                assert_eq!(auto.unpack(&payload, MAX).unwrap(), plain, "{format:?}");
            }
        }
        for level in 0..=9 {
            assert_eq!(auto.unpack(&zlib(b"plain", level), MAX).unwrap(), b"plain", "{level}");
        }
    }

    /// By Python and by the command `zstd`.
    #[test]
    fn what_other_programs_packed_is_read() {
        for (format, hex) in [
            (
                Compression::Gzip,
                "1f8b08080100000002ff612e6a736f6e00ab562a4bcc294d55b23232d433ad05000772e4c40e000000",
            ),
            (Compression::Zlib, "785eab562a4bcc294d55b23232d433ad0500232b045a"),
            (Compression::Zstd, "28b52ffd04587100007b2276616c7565223a32312e357d5c00490e"),
        ] {
            for word in [format, Compression::Auto] {
                let plain = unpacked(word, &bytes(hex));
                assert_eq!(plain.as_deref(), Ok(&b"{\"value\":21.5}"[..]), "{format:?}");
            }
        }
    }

    #[test]
    fn members_with_every_part_of_a_header_are_read() {
        let deflated = zlib(b"{\"value\":21.5}", 6);
        let deflated = &deflated[2..deflated.len() - 4];
        let crc = crc32fast::hash(b"{\"value\":21.5}").to_le_bytes();
        let member = |flags: u8, parts: &[u8]| {
            let head = [0x1f, 0x8b, 8, flags, 1, 0, 0, 0, 2, 3];
            [&head, parts, deflated, &crc, &[14, 0, 0, 0]].concat()
        };
        let all = member(2 + 4 + 8 + 16, b"\x03\0xyza.json\0comment\0\xab\xcd");
        for payload in [&member(0, b""), &member(8, b"a.json\0"), &member(1 + 4, b"\x01\0x"), &all]
        {
            let plain = unpacked(Compression::Gzip, payload);
            assert_eq!(plain.as_deref(), Ok(&b"{\"value\":21.5}"[..]));
        }
        assert_eq!(unpacked(Compression::Gzip, &member(32, b"")), Err(Reason::Malformed));
        let (one, other) = (gzip(b"{\"value\""), gzip(b":21.5}"));
        let twice = unpacked(Compression::Gzip, &[one, other].concat());
        assert_eq!(twice.as_deref(), Ok(&b"{\"value\":21.5}"[..]), "several members");
        let frames = [zstd(b"{\"value\""), zstd(b":21.5}")].concat();
        let twice = unpacked(Compression::Zstd, &frames);
        assert_eq!(twice.as_deref(), Ok(&b"{\"value\":21.5}"[..]), "several frames");
    }

    #[test]
    fn a_small_payload_does_not_become_a_large_one() {
        for (format, payload) in packed(&[0; MAX + 1]) {
            assert_eq!(unpacked(format, &payload), Err(Reason::Oversize), "{format:?}");
        }
        for (format, payload) in packed(&vec![7; 10 << 20]) {
            let mut unpacker = format.unpacker();
            let (read, peak) = allocated(|| unpacker.unpack(&payload, MAX).map(<[u8]>::len));
            assert_eq!(read.unwrap_err().reason, Reason::Oversize, "{format:?}");
            assert!(peak <= Compression::bytes_max(MAX), "{peak} bytes: {format:?}");
        }
        let members = gzip(&[1; 3000]).repeat(2);
        assert_eq!(unpacked(Compression::Gzip, &members), Err(Reason::Oversize));
    }

    #[test]
    fn what_is_not_packed_so_is_malformed_and_with_auto_as_it_is() {
        for (format, payload) in packed(b"{\"value\":21.5}") {
            for end in 1..payload.len() {
                let cut = &payload[..end];
                assert_eq!(unpacked(format, cut), Err(Reason::Malformed), "{format:?} {end}");
            }
            let longer = [&payload[..], b"\0"].concat();
            assert_eq!(unpacked(format, &longer), Err(Reason::Malformed), "{format:?}");
            assert_eq!(unpacked(format, b"{\"value\":21.5}"), Err(Reason::Malformed), "{format:?}");
            assert_eq!(unpacked(format, b""), Ok(Vec::new()), "{format:?}");
        }
        let mut spoilt = gzip(b"{\"value\":21.5}");
        let crc = spoilt.len() - 8;
        spoilt[crc] ^= 1;
        for format in [Compression::Gzip, Compression::Auto] {
            assert_eq!(unpacked(format, &spoilt), Err(Reason::Malformed));
        }
        for plain in [&b"21.5"[..], b"", b"x^2", b"x", b"\x1f\x8b", b"{}", b"x\x9c"] {
            assert_eq!(unpacked(Compression::Auto, plain), Ok(plain.to_vec()));
        }
    }

    #[test]
    fn any_bytes_are_unpacked_or_refused_within_the_bounds() {
        let mut samples: Vec<Vec<u8>> = Vec::new();
        for plain in [&b"{\"value\":21.5}"[..], &[0; 3000], b""] {
            samples.extend(packed(plain).map(|it| it.1));
        }
        samples.push(bytes("28b52ffd a0 ffffffff 010000"));
        let formats = [Compression::Auto, Compression::Gzip, Compression::Zlib, Compression::Zstd];
        let mut unpackers = formats.map(Compression::unpacker);
        fuzz(20_000, &samples, |payload, _| {
            for unpacker in &mut unpackers {
                let (read, peak) = allocated(|| unpacker.unpack(payload, MAX).map(<[u8]>::len));
                assert!(peak <= Compression::bytes_max(MAX), "{peak} bytes");
                let is_as_it_is = read == Ok(payload.len());
                assert!(is_as_it_is || read.is_err() || read.is_ok_and(|bytes| bytes <= MAX));
            }
        });
    }

    #[test]
    fn a_payload_like_the_last_one_costs_no_allocation() {
        for (format, payload) in packed(b"{\"value\":21.5}") {
            let mut unpacker = format.unpacker();
            assert!(unpacker.unpack(&payload, MAX).is_ok());
            let again = allocation_counter::measure(|| {
                assert!(unpacker.unpack(&payload, MAX).is_ok());
            });
            assert_eq!(again.count_total, 0, "{format:?}");
        }
    }
}
