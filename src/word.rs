//! Bytes as a word of the processor, so that several are looked at, or kept, in one step.

/// The first eight bytes of a text, the first one lowest; zeros where there are fewer.
#[inline]
pub fn word(bytes: &[u8]) -> u64 {
    if let Some(all) = bytes.first_chunk() {
        return u64::from_le_bytes(*all);
    }
    // Its two ends, which may overlap: a few instructions for most values.
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let last = u64::from(u32::from_le_bytes(*last)) << (8 * (bytes.len() - size_of::<u32>()));
        return u64::from(u32::from_le_bytes(*first)) | last;
    }
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stand_in_a_word_from_the_lowest_on() {
        for length in 0..=9 {
            let bytes: Vec<u8> = (1..=length).collect();
            let expected =
                bytes.iter().take(8).zip(0..).map(|(byte, at)| u64::from(*byte) << (8 * at));
            assert_eq!(word(&bytes), expected.sum::<u64>(), "{bytes:?}");
        }
    }
}
