//! Compression of what is published, and back.
//!
//! A batch is compressed each time that it is published, always into the same bytes: no time stands in them, and the
//! level is fixed. What is in the window, and in the spool, is not compressed, so that it can be split. Batches are sealed
//! by their own size; what a broker takes in one packet is compared with the compressed one.
//!
//! This happens in the task of the output's connection, a batch at a time: it waits for nothing, and the readings' own
//! connections are served meanwhile.

use std::io::{self, Read, Write};

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zstd::bulk::{compress, decompress};

/// How batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// As gzip (RFC 1952).
    Gzip,
    /// As Zstandard (RFC 8878): smaller, and faster.
    Zstd,
}

/// Fast ones: a batch must not take long.
const GZIP_LEVEL: u32 = 3;
const ZSTD_LEVEL: i32 = 3;

/// Bytes of the state of either, while it compresses.
const STATE_BYTES: u64 = 6 << 20;

impl Compression {
    /// Its word on the wire; none where nothing is compressed.
    pub const fn encoding(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }

    /// What ends the topic of what is compressed so, where that is asked for.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }

    /// A text compressed; `None` where it is published as it is.
    pub fn pack(self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::None => None,
            Self::Gzip => {
                let out = Vec::with_capacity(text.len() / 4);
                let mut encoder = GzEncoder::new(out, flate2::Compression::new(GZIP_LEVEL));
                let written = encoder.write_all(text).and_then(|()| encoder.finish());
                Some(written.expect("memory can be written"))
            }
            Self::Zstd => Some(compress(text, ZSTD_LEVEL).expect("there is room for the bound")),
        }
    }

    /// Bytes that a text of so many may have more once it is compressed: one that cannot be.
    pub const fn growth_bytes(self, bytes: usize) -> usize {
        match self {
            Self::None => 0,
            Self::Gzip | Self::Zstd => 128 + bytes / 256,
        }
    }

    /// Bytes that it takes at most to compress a batch of so many.
    pub const fn bytes_max(self, batch_bytes: u64) -> u64 {
        match self {
            Self::None => 0,
            // The buffer of gzip grows, and holds twice its content.
            Self::Gzip | Self::Zstd => STATE_BYTES + 2 * (batch_bytes + batch_bytes / 256 + 128),
        }
    }
}

/// What was compressed, in at most so many bytes; `None` where it is not compressed, by its first bytes. No batch begins
/// like that.
pub fn unpacked(payload: &[u8], bytes_max: usize) -> Option<io::Result<Vec<u8>>> {
    match payload {
        [0x1f, 0x8b, ..] => {
            let (mut out, most) = (Vec::new(), bytes_max as u64 + 1);
            let read = MultiGzDecoder::new(payload).take(most).read_to_end(&mut out);
            Some(read.and_then(|_| if out.len() > bytes_max { Err(too_long()) } else { Ok(out) }))
        }
        // Reserves no more than the frame says.
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(decompress(payload, bytes_max)),
        _ => None,
    }
}

fn too_long() -> io::Error {
    io::Error::other("it unpacks to more than a batch may have")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    const BOTH: [Compression; 2] = [Compression::Gzip, Compression::Zstd];

    #[test]
    fn what_cannot_be_compressed_grows_by_less_than_what_is_set_aside() {
        let mut random = SmallRng::seed_from_u64(7);
        for bytes in [0, 1, 100, 1000, 40_000, 300_000, 3_000_000] {
            let text: Vec<u8> = (0..bytes).map(|_| random.random()).collect();
            for compression in BOTH {
                let packed = compression.pack(&text).unwrap();
                let most = bytes + compression.growth_bytes(bytes);
                assert!(packed.len() <= most, "{compression:?} {bytes}: {}", packed.len());
            }
        }
    }

    /// No time, no name, no system: RFC 1952 §2.3.
    #[test]
    fn a_batch_is_compressed_into_the_same_bytes_each_time() {
        let text = r#"{"sensorId":"a","value":21.5}"#.repeat(1000);
        for compression in BOTH {
            let packed = compression.pack(text.as_bytes()).unwrap();
            assert!(packed.len() < text.len() / 50, "{compression:?}: {}", packed.len());
            assert_eq!(compression.pack(text.as_bytes()), Some(packed));
        }
        let gzip = Compression::Gzip.pack(b"a").unwrap();
        assert_eq!(gzip[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
        assert_eq!(Compression::None.pack(b"a"), None);
    }

    #[test]
    fn no_more_is_unpacked_than_a_batch_may_have() {
        let text = vec![b'x'; 4_000_000];
        for compression in BOTH {
            let packed = compression.pack(&text).unwrap();
            assert!(unpacked(&packed, text.len()).unwrap().is_ok());
            let info = allocation_counter::measure(|| {
                assert!(unpacked(&packed, 1000).unwrap().is_err(), "{compression:?}");
            });
            assert!(info.bytes_max < 400_000, "{compression:?}: {}", info.bytes_max);
            assert!(unpacked(&packed[..packed.len() / 2], text.len()).unwrap().is_err());
        }
    }

    proptest! {
        #[test]
        fn what_was_compressed_is_read_back(text in prop::collection::vec(any::<u8>(), 0..3000)) {
            for compression in BOTH {
                let packed = compression.pack(&text).unwrap();
                prop_assert_eq!(unpacked(&packed, text.len()).unwrap().unwrap(), text.clone());
            }
        }
    }
}
