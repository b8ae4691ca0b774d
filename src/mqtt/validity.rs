//! When certificates expire (RFC 5280, 4.1.2.5).
//!
//! A chain is as good as the first of its certificates that expires. One that cannot be read as X.509 says nothing: whether
//! a certificate is of use is for the TLS library to judge.

use x509_parser::parse_x509_certificate;

use crate::clock::Timestamp;

/// When the first of these certificates in DER expires. `None` if none of them can be read.
pub(super) fn first_end<T: AsRef<[u8]>>(chain: impl Iterator<Item = T>) -> Option<Timestamp> {
    chain.filter_map(|it| end(it.as_ref())).min()
}

/// When a certificate expires; one of before 1970 at the beginning of that year.
fn end(der: &[u8]) -> Option<Timestamp> {
    let (_, certificate) = parse_x509_certificate(der).ok()?;
    let seconds = certificate.validity().not_after.timestamp();
    Some(Timestamp::from_millis(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Self-signed. The ends have the two forms that RFC 5280 asks for: of four digits from 2050 on, of two before.
    const LATE: &[u8] = include_bytes!("../../tests/data/certificates/late.der");
    const PAST: &[u8] = include_bytes!("../../tests/data/certificates/past.der");

    #[test]
    fn a_chain_ends_with_the_first_of_its_certificates() {
        let ends = |chain: &[&[u8]]| first_end(chain.iter()).map(|it| it.to_string());
        assert_eq!(ends(&[LATE]).as_deref(), Some("2050-01-01T00:00:00.000Z"));
        let past = Some("2020-01-01T00:00:00.000Z");
        assert_eq!(ends(&[PAST, LATE]).as_deref(), past);
        assert_eq!(ends(&[LATE, PAST]).as_deref(), past);
        assert_eq!(ends(&[]), None);
        assert_eq!(ends(&[b"no certificate", PAST]).as_deref(), past);
        assert_eq!(ends(&[&LATE[..100]]), None);
    }

    proptest! {
        #[test]
        fn spoilt_certificates_are_no_certificates_or_others(at in 0..LATE.len(), byte: u8) {
            let mut spoilt = LATE.to_vec();
            spoilt[at] = byte;
            // Whatever it says: it ends without a panic.
            let _ = end(&spoilt);
        }
    }
}
